"""Sizes of drifts and changes as pictures and pages write them: with their errors, in per cent and mmag."""

from __future__ import annotations

import numpy as np

from flatnorm_xr.show.looks import MMAG_PER_PERCENT

__all__ = ["day", "digits_of", "in_mmag", "sized"]


def sized(size: float, error: float = np.nan) -> str:
    """Write a difference of ln G in per cent, with an error to the digits of which the error has two.

    Examples
    --------
    >>> sized(-0.00512, 0.00013), sized(0.003)
    ('-0.512 ± 0.013 %', '+0.3 %')
    """
    if not (np.isfinite(error) and error > 0):
        return f"{100 * size:+.3g} %"
    digits = digits_of(100 * error)
    return f"{100 * size:+.{digits}f} ± {100 * error:.{digits}f} %"


def digits_of(error: float) -> int:
    """Count the decimals to which an error has two digits.

    Examples
    --------
    >>> digits_of(0.013), digits_of(4.0)
    (3, 1)
    """
    return int(np.clip(1 - np.floor(np.log10(error)), 0, 8))


def in_mmag(size: float) -> str:
    """Write a difference of ln G in mmag, positive where the response grew.

    Examples
    --------
    >>> in_mmag(-0.005)
    '-5.4 mmag'
    """
    return f"{100 * size * MMAG_PER_PERCENT:+.2g} mmag"


def day(time: np.datetime64) -> str:
    """Write the day of a time; nothing for NaT."""
    return "" if np.isnat(time) else str(time)[:10]
