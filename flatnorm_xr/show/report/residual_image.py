"""Residuals as a page draws them, one pixel a cell, with the names beside them."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.flags import Flag
from flatnorm_xr.show.looks import SOLID, looks_of_causes, residual_limit
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.scales import ABOUT, HOLE, STEPS, ramp

__all__ = ["ResidualImage", "draw_residuals", "residual_rows"]

_ROW, _THIN_ROW = 22, 2
"""Height of a row in pixels of the screen: of few, and the least of many."""

_LOWEST, _HIGH = 120, 620
"""Heights of the image: the least, and the one above which rows become thin."""

_LINE = 15
"""Height of a name beside the rows."""

_MOST_COLUMN_NAMES = 12
_LONGEST_NAME = 18
_MOST_NAMED_UNITS = 40
"""Rows up to which amplifiers are named; above, detectors."""


@dataclass(frozen=True)
class AxisName:
    """A name beside the image, at a share of its height or width."""

    text: str
    at: float


@dataclass(frozen=True)
class LegendEntry:
    """A cause of weight zero: its colour, its words, and how many cells have it."""

    colour: str
    words: str
    count: int


@dataclass(frozen=True)
class ResidualImage:
    """The image as PNG in base64, its sizes in cells and pixels, and what stands beside it."""

    png: str
    rows: int
    columns: int
    height: int
    foot: int
    """Height of the names of the exposures."""
    limit: float
    """End of the colours, per cent."""
    row_names: list[AxisName]
    column_names: list[AxisName]
    legend: list[LegendEntry]
    colours: list[str]
    by_detector: bool


def draw_residuals(facts: Facts, *, by_detector: bool) -> ResidualImage:
    """Colour every cell by its residual, and those without weight by the cause."""
    values, causes = residual_rows(facts, by_detector=by_detector)
    limit = residual_limit(values[np.isfinite(values) & (causes == 0)])
    png, colours, legend = _painted(values, causes, limit, counted=facts.cause)
    rows, columns = values.shape
    height = int(np.clip(rows * _ROW, _LOWEST, max(_HIGH, _THIN_ROW * rows)))
    names, middles = _row_names(facts, by_detector=by_detector)
    return ResidualImage(
        png=png,
        rows=rows,
        columns=columns,
        height=height,
        foot=_LINE + 7 + int(6.2 * min(max(map(len, facts.exposures)), _LONGEST_NAME)),
        limit=100 * limit,
        row_names=_names(names, middles / rows, height / _LINE),
        column_names=_names(facts.exposures, (np.arange(columns) + 0.5) / columns, _MOST_COLUMN_NAMES),
        legend=legend,
        colours=colours,
        by_detector=by_detector,
    )


def residual_rows(facts: Facts, *, by_detector: bool) -> tuple[NDArray[np.float64], NDArray[np.uint32]]:
    """Give residuals and causes of weight zero, (rows, exposures).

    A row is a unit, or with ``by_detector`` a detector: the mean residual of its amplifiers in the fit, and where none
    is, the cause that most of them have.
    """
    values, causes = facts.residual, facts.cause
    if not by_detector:
        return values, causes
    used, starts = facts.weight > 0, facts.rows.starts[:-1]
    number = np.add.reduceat(used, starts, axis=0, dtype=int)
    total = np.add.reduceat(np.where(used, np.nan_to_num(values), 0.0), starts, axis=0)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    found = np.unique(causes[causes != 0])
    most, leading = np.zeros(number.shape, dtype=int), np.zeros(number.shape, dtype=np.uint32)
    for cause in found:
        having = np.add.reduceat(causes == cause, starts, axis=0, dtype=int)
        leading, most = np.where(having > most, cause, leading), np.maximum(having, most)
    return mean, np.where(number == 0, leading, np.uint32(0))


def _painted(
    values: NDArray[np.float64], causes: NDArray[np.uint32], limit: float, *, counted: NDArray[np.uint32]
) -> tuple[str, list[str], list[LegendEntry]]:
    """Paint one pixel a cell; give the image, the colours of residuals, and those of causes, counted in all cells."""
    from matplotlib.colors import to_hex

    colours = ramp(ABOUT)
    palette = [*colours, HOLE]
    place = np.rint((np.clip(np.nan_to_num(values) / limit, -1, 1) + 1) / 2 * (STEPS - 1))
    pixels = np.where(np.isfinite(values), place, STEPS).astype(np.uint8)
    legend = []
    for flag, k in looks_of_causes(Flag(int(value)) for value in np.unique(causes[causes != 0])):
        cells = causes == np.uint32(flag)
        colour = HOLE if k < 0 else to_hex(SOLID[k])
        pixels[cells] = len(palette)
        palette.append(colour)
        legend.append(LegendEntry(colour, flag.words, int((counted == np.uint32(flag)).sum())))
    return _png(pixels, palette), colours, legend


def _png(places: NDArray[np.uint8], palette: list[str]) -> str:
    """Encode an image whose pixels are places in a palette."""
    from PIL import Image

    image = Image.frombytes("P", places.shape[::-1], places.tobytes())
    image.putpalette([int(colour[k : k + 2], 16) for colour in palette for k in (1, 3, 5)])
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _row_names(facts: Facts, *, by_detector: bool) -> tuple[list[str], NDArray[np.floating]]:
    """Names of the rows, or of the detectors they belong to, and the middles of what they name, in rows."""
    if by_detector or not facts.by_amplifier:
        return facts.detectors, np.arange(len(facts.detectors)) + 0.5
    if len(facts.units) <= _MOST_NAMED_UNITS:
        return facts.units, np.arange(len(facts.units)) + 0.5
    return facts.detectors, (facts.rows.starts[:-1] + facts.rows.starts[1:]) / 2


def _names(texts: list[str], at: NDArray[np.floating], room: float) -> list[AxisName]:
    """Choose as many names as there is room for, the same number of rows apart."""
    step = max(1, math.ceil(len(texts) / max(room, 1)))
    return [AxisName(_cut(texts[k]), round(float(at[k]), 5)) for k in range(0, len(texts), step)]


def _cut(name: str) -> str:
    """Leave out the middle of a long name: its ends tell it from the others."""
    return name if len(name) <= _LONGEST_NAME else f"{name[:8]}...{name[-7:]}"
