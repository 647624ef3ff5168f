"""Colours, markers and hatches that all pictures share: told apart by colour-blind eyes, and in black and white."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.flags import Flag

__all__ = [
    "COLOURS",
    "HATCHES",
    "HOLE",
    "MARKERS",
    "MMAG_PER_PERCENT",
    "PALE",
    "SMALLEST_HATCHED",
    "SOLID",
    "WIDE",
    "looks_of_causes",
]

MMAG_PER_PERCENT = 25 / np.log(10)
"""2.5 log10 of a ratio, in mmag, for each percent of its natural logarithm."""

WIDE = 10.0
"""Largest over smallest value from which a scale is logarithmic."""

# Okabe & Ito
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
HOLE = "0.78"
PALE = (1.0, 1.0, 1.0, 0.55)
"""Laid over a cell below its hatch, which would not be seen on a dark colour."""
HATCHES = ("////", "\\\\\\\\", "xxxx", "....", "++++", "oooo", "||||", "----", "**")
SOLID = ("#000000", "#009E73", "#CC79A7", "#F0E442", "0.45", "#E69F00", "#56B4E9", "#D55E00", "#0072B2")
"""Those least like a colour of the scale first."""
SMALLEST_HATCHED = 5.0
"""Points of the shorter side of a cell below which it is filled instead."""


def looks_of_causes(present: Iterable[Flag]) -> Iterator[tuple[Flag, int]]:
    """Yield each cause of weight zero with a number, so that every picture of a solution shows it alike.

    Parameters
    ----------
    present : iterable of Flag
        Causes that are there, one a cell.

    Yields
    ------
    flag, number : Flag, int
        The number is a place in `HATCHES` and `SOLID`; -1 stands for `HOLE`, the look of what was not measured.
    """
    there = set(present)
    number = 0
    for flag in (Flag.SATURATED, *(flag for flag in Flag if flag is not Flag.SATURATED)):
        if flag not in there:
            continue
        if flag is Flag.NOT_MEASURED:
            yield flag, -1
            continue
        yield flag, number % len(HATCHES)
        number += 1


def residual_limit(residual: NDArray[np.float64]) -> float:
    """Choose the end of a scale of residuals, the same in every picture of the same cells.

    Parameters
    ----------
    residual : array, any shape
        ln(background / bgModel) of the cells with weight, all finite.

    Returns
    -------
    float
        Four robust standard deviations, or the largest residual if that is less; 0.01 where there is none.
    """
    if not residual.size:
        return 0.01
    size = abs(residual)
    largest, scatter = float(size.max()), 1.4826 * float(np.median(size))
    # below 1e-8 there is only rounding, and no reason to paint it
    return max(min(4 * scatter, largest) if scatter > 0 else largest, 1e-8)
