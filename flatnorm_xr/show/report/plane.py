"""The focal plane as a page draws it: each unit a rectangle where it lies, each detector a link to its row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.show.axes import Rows
from flatnorm_xr.show.places import places_of
from flatnorm_xr.show.report.scales import ABOUT, ends_of, ramp, shades, short

__all__ = ["PlaneDrawing", "draw_plane"]

Array = NDArray[np.float64]

_WIDTH = 1000.0
"""Width of the drawing in units of its own; a page scales it."""

_TALLEST = 1.2
"""Height over width that it may have."""

_SMALLEST_NAME, _LARGEST_NAME = 7.0, 30.0
"""Height of letters, in units of the drawing, below which a detector is not named, and the largest."""


@dataclass(frozen=True)
class Shape:
    """One unit: its rectangle, its colour, its words."""

    unit: int
    x: float
    y: float
    width: float
    height: float
    colour: str
    words: str


@dataclass(frozen=True)
class Outline:
    """One detector: its rectangle, its name where there is room, its words, and its units."""

    detector: int
    name: str
    x: float
    y: float
    width: float
    height: float
    font: float
    words: str
    units: list[Shape]


@dataclass(frozen=True)
class PlaneDrawing:
    """The focal plane: its size, its detectors, its colours from low to high, and what is not real about it."""

    width: float
    height: float
    outlines: list[Outline]
    colours: list[str]
    low: str
    high: str
    note: str


class Units(Protocol):
    """Units of a page, in order, with their names."""

    @property
    def rows(self) -> Rows:
        """The units that exist."""

    @property
    def units(self) -> list[str]:
        """Their labels."""

    @property
    def detectors(self) -> list[str]:
        """Labels of the detectors that have a unit."""

    @property
    def rows_of_detectors(self) -> NDArray[np.bool_]:
        """Which detectors of the dataset these are."""


@dataclass(frozen=True)
class _Frame:
    """How places in the focal plane, y upwards, become places on the page, y downwards."""

    left: float
    top: float
    scale: float

    def place(self, box: NDArray[np.float64]) -> tuple[float, float, float, float]:
        """Give x, y, width and height of a box of left, bottom, width and height."""
        x, y = (box[0] - self.left) * self.scale, (self.top - box[1] - box[3]) * self.scale
        return round(x, 2), round(y, 2), round(box[2] * self.scale, 2), round(box[3] * self.scale, 2)


def draw_plane(ds: xr.Dataset, names: Units, values: Array, *, means: Array, words: str, centre: float) -> PlaneDrawing:
    """Put every unit at its place, coloured by its value about a centre.

    Parameters
    ----------
    ds : Dataset
        With the coordinates that say where units lie.
    names : Facts or Followed
        Units and detectors of the page.
    values : array, (units)
    means : array, (detectors)
        What is said of a detector as a whole.
    words : str
        What the values are.
    centre : float
        Value of the middle colour.
    """
    places = places_of(ds)
    frames = places.detectors[names.rows_of_detectors]
    boxes = np.concatenate([places.units, frames])
    left, bottom = boxes[:, :2].min(axis=0)
    right, top = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    scale = _WIDTH / max(right - left, (top - bottom) / _TALLEST)
    frame, colours = _Frame(left, top, scale), ramp(ABOUT)
    low, high = ends_of(values, centre=centre)
    shade = shades(values, low, high, colours)
    outlines = []
    for d, name in enumerate(names.detectors):
        units = range(names.rows.starts[d], names.rows.starts[d + 1])
        shapes = [
            Shape(i, *frame.place(places.units[i]), shade[i], f"{names.units[i]}: {words} {short(values[i])}")
            for i in units
        ]
        x, y, width, height = frame.place(frames[d])
        font = min(1.3 * width / max(len(name), 1), 0.34 * height, _LARGEST_NAME)
        told = f"detector {name}, mean {words} {short(means[d])}"
        shown = name if font >= _SMALLEST_NAME else ""
        outlines.append(Outline(d, shown, x, y, width, height, round(font, 1), told, shapes))
    size = round((right - left) * scale, 1), round((top - bottom) * scale, 1)
    return PlaneDrawing(*size, outlines, colours, short(low), short(high), places.note)
