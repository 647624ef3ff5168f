"""Colours of numbers on a page: ramps, their ends, and the colour of each value."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

__all__ = ["ABOUT", "HOLE", "PLAIN", "STEPS", "ends_of", "ramp", "shades", "short"]

PLAIN, ABOUT = "cividis", "RdBu_r"
"""Maps of matplotlib: for numbers from low to high, and for those about a centre; those of the pictures."""

STEPS = 65
"""Colours of a ramp; an odd number has a middle."""

HOLE = "#c7c7c7"
"""Colour of what is not known."""


def ramp(name: str) -> list[str]:
    """Give the colours of one of matplotlib's maps, as a page writes them."""
    import matplotlib
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in matplotlib.colormaps[name](np.linspace(0, 1, STEPS))]


def ends_of(values: NDArray[np.float64], *, centre: float) -> tuple[float, float]:
    """Choose the ends of a ramp about a centre: the extreme, but of many values that of all but 1 %."""
    known = np.abs(values[np.isfinite(values)] - centre)
    if not known.size:
        return centre - 0.5, centre + 0.5
    half = float(np.percentile(known, 99) if known.size > 400 else known.max()) or 0.5
    return centre - half, centre + half


def shades(values: NDArray[np.float64], low: float, high: float, colours: list[str]) -> list[str]:
    """Give each value its colour; `HOLE` for NaN."""
    place = np.clip(np.nan_to_num((values - low) / (high - low)), 0, 1) * (len(colours) - 1)
    return [colours[round(p)] if known else HOLE for p, known in zip(place.tolist(), np.isfinite(values), strict=True)]


def short(value: float) -> str:
    """Write a number with four digits, or that it is not known."""
    return f"{value:.4g}" if math.isfinite(value) else "not known"
