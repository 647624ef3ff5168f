"""Numbers and lists as a page writes them, so that they can be copied."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

from flatnorm_xr.show.looks import MMAG_PER_PERCENT
from flatnorm_xr.show.texts import shown

__all__ = ["listed", "number", "per_cent", "plural", "with_mmag"]


def number(value: Any, digits: int = 6) -> str:
    """Write a number with so many significant digits; nothing for NaN.

    Examples
    --------
    >>> number(20123.456789, 8), number(float("nan")), number(3)
    ('20123.457', '', '3')
    """
    if value is None or not math.isfinite(float(value)):
        return ""
    if float(value).is_integer() and abs(float(value)) < 1e15:
        return str(int(value))
    return f"{float(value):.{digits}g}"


def per_cent(ratio: Any, digits: int = 3) -> str:
    """Write 100 times a number; nothing for NaN."""
    return number(100 * float(ratio), digits)


def with_mmag(ratio: float, *, signed: bool = False) -> str:
    """Write a difference of ln(level) in per cent and mmag.

    Examples
    --------
    >>> with_mmag(0.0012)
    '0.12 % (1.3 mmag)'
    """
    sign = "+" if signed else ""
    return f"{100 * ratio:{sign}.3g} % ({100 * ratio * MMAG_PER_PERCENT:{sign}.2g} mmag)"


def plural(n: int, word: str) -> str:
    """Write how many of what.

    Examples
    --------
    >>> plural(1, "exposure"), plural(3, "exposure")
    ('1 exposure', '3 exposures')
    """
    return f"{n} {word}" if n == 1 else f"{n} {word}s"


def listed(labels: Iterable[object], *, most: int = 5) -> str:
    """Write the first few labels, and how many more there are."""
    texts = [shown(label, longest=60) for label in labels]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return ", ".join(texts[:most]) + more
