"""The focal plane as a page draws it: each unit a rectangle where it lies, each detector a link to its row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.show.places import places_of
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.scales import ABOUT, ends_of, ramp, shades, short

__all__ = ["PlaneDrawing", "draw_plane"]

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


def draw_plane(facts: Facts) -> PlaneDrawing:
    """Put every unit at its place, coloured by G, the first group's where there are groups."""
    places = places_of(facts.solution)
    frames = places.detectors[facts.rows_of_detectors]
    boxes = np.concatenate([places.units, frames])
    left, bottom = boxes[:, :2].min(axis=0)
    right, top = (boxes[:, :2] + boxes[:, 2:]).max(axis=0)
    scale = _WIDTH / max(right - left, (top - bottom) / _TALLEST)
    frame = _Frame(left, top, scale)
    response, colours = facts.G[:, 0], ramp(ABOUT)
    low, high = ends_of(response, centre=1.0)
    shade = shades(response, low, high, colours)
    outlines = []
    for d, name in enumerate(facts.detectors):
        units = range(facts.rows.starts[d], facts.rows.starts[d + 1])
        shapes = [
            Shape(i, *frame.place(places.units[i]), shade[i], f"{facts.units[i]}: G {short(response[i])}")
            for i in units
        ]
        x, y, width, height = frame.place(frames[d])
        font = min(1.3 * width / max(len(name), 1), 0.34 * height, _LARGEST_NAME)
        words = f"detector {name}, mean G {short(facts.detector_G[d, 0])}"
        shown = name if font >= _SMALLEST_NAME else ""
        outlines.append(Outline(d, shown, x, y, width, height, round(font, 1), words, shapes))
    size = round((right - left) * scale, 1), round((top - bottom) * scale, 1)
    return PlaneDrawing(*size, outlines, colours, short(low), short(high), places.note)
