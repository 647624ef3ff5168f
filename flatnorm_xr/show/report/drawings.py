"""What a page draws by itself: the focal plane as shapes, the residuals as an image, and the numbers behind both."""

from __future__ import annotations

import base64
import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.flags import SENTENCES, Flag
from flatnorm_xr.show.looks import SOLID, looks_of_causes
from flatnorm_xr.show.places import places_of
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.words import flag_words

__all__ = ["FocalPlane", "ResidualImage", "draw_focal_plane", "draw_residuals", "numbers"]

MOST_CELLS = 400_000
"""Cells up to which every unit has a row of its own among the residuals; above, every detector."""

_STEPS = 65
"""Colours of a scale; an odd number has a middle."""

_HOLE = "#c7c7c7"
_WIDTH = 1000.0


@dataclass(frozen=True)
class Shape:
    """One unit on the focal plane: a rectangle in the page's units, its colour, its words."""

    unit: int
    x: float
    y: float
    width: float
    height: float
    colour: str
    words: str


@dataclass(frozen=True)
class Outline:
    """One detector on the focal plane: its place, its label where there is room, and its units."""

    detector: int
    label: str
    x: float
    y: float
    width: float
    height: float
    font: float
    words: str
    units: list[Shape]


@dataclass(frozen=True)
class FocalPlane:
    """The focal plane: its size in the page's units, its detectors, its colour scale, and what is not real about it."""

    width: float
    height: float
    outlines: list[Outline]
    colours: list[str]
    low: str
    high: str
    note: str


@dataclass(frozen=True)
class RowName:
    """A name beside the rows of residuals, at a share of their height."""

    text: str
    at: float


@dataclass(frozen=True)
class Legend:
    """A cause of weight zero: its colour, its words, how many cells."""

    colour: str
    words: str
    count: int


@dataclass(frozen=True)
class ResidualImage:
    """Residuals as an image of one pixel a cell."""

    png: str
    rows: int
    columns: int
    height: int
    limit: float
    row_names: list[RowName]
    column_names: list[RowName]
    foot: int
    """Height of the names of the exposures."""
    legend: list[Legend]
    colours: list[str]
    by_detector: bool


def draw_focal_plane(facts: Facts) -> FocalPlane:
    """Put every unit at its place, coloured by G (the first group's, where there are groups)."""
    places = places_of(facts.solution)
    frames = places.detectors[facts.rows_of_detectors]
    boxes = np.concatenate([places.units, frames])
    left, bottom = boxes[:, 0].min(), boxes[:, 1].min()
    wide, high = (boxes[:, 0] + boxes[:, 2]).max() - left, (boxes[:, 1] + boxes[:, 3]).max() - bottom
    scale = _WIDTH / max(wide, high / 1.2)

    def placed(box: NDArray[np.float64]) -> tuple[float, float, float, float]:
        x, y = (box[0] - left) * scale, (bottom + high - box[1] - box[3]) * scale
        return round(x, 2), round(y, 2), round(box[2] * scale, 2), round(box[3] * scale, 2)

    response = facts.G[:, 0]
    colours = _ramp("cividis")
    low, top = _range(response)
    shades = _shades(response, low, top, colours)
    outlines = []
    for d, label in enumerate(facts.detectors):
        x, y, width, height = placed(frames[d])
        units = [
            Shape(i, *placed(places.units[i]), shades[i], f"{facts.units[i]}: G {_short(response[i])}")
            for i in range(facts.rows.starts[d], facts.rows.starts[d + 1])
        ]
        known = response[facts.rows.starts[d] : facts.rows.starts[d + 1]]
        mean = float(np.nanmean(known)) if np.isfinite(known).any() else math.nan
        words = f"detector {label}, mean G {_short(mean)}"
        font = min(0.8 * width / max(0.62 * len(label), 1.0), 0.34 * height, 30.0)
        outlines.append(Outline(d, label if font >= 7 else "", x, y, width, height, round(font, 1), words, units))
    return FocalPlane(
        _WIDTH if wide * scale >= _WIDTH * 0.999 else round(wide * scale, 1),
        round(high * scale, 1),
        outlines,
        colours,
        _short(low),
        _short(top),
        places.note,
    )


def draw_residuals(facts: Facts) -> ResidualImage:
    """Colour every cell by its residual, and those without weight by the cause."""
    from matplotlib.colors import to_hex

    values, causes, by_detector = _matrix(facts)
    used = np.isfinite(values) & (causes == 0)
    limit = _limit(values[used])
    colours = _ramp("RdBu_r")
    palette = [*colours, _HOLE]
    place = np.rint((np.clip(np.nan_to_num(values) / limit, -1, 1) + 1) / 2 * (_STEPS - 1))
    pixels = np.where(np.isfinite(values), place, palette.index(_HOLE)).astype(np.uint8)
    legend = []
    for flag, k in looks_of_causes(Flag(int(value)) for value in np.unique(causes[causes != 0])):
        cells = causes == np.uint32(flag)
        colour = _HOLE if k < 0 else to_hex(SOLID[k])
        palette.append(colour)
        pixels[cells] = len(palette) - 1
        legend.append(Legend(colour, flag_words(str(flag.name)), int(cells.sum())))
    rows, columns = values.shape
    names = facts.detectors if by_detector or not facts.by_amplifier else facts.units
    edges = np.arange(rows + 1) if len(names) == rows else facts.rows.starts
    if rows > 40 and facts.by_amplifier and not by_detector:
        names, edges = facts.detectors, facts.rows.starts
    height = int(np.clip(rows * 22, 120, max(620, 2 * rows)))
    return ResidualImage(
        png=_png(pixels, palette),
        rows=rows,
        columns=columns,
        height=height,
        limit=100 * limit,
        row_names=_names(names, (edges[:-1] + edges[1:]) / 2 / rows, height / 15),
        column_names=_names(facts.exposures, (np.arange(columns) + 0.5) / columns, 12),
        foot=22 + int(6.2 * max(len(name[:24]) for name in facts.exposures)),
        legend=legend,
        colours=colours,
        by_detector=by_detector,
    )


def _matrix(facts: Facts) -> tuple[NDArray[np.float64], NDArray[np.uint32], bool]:
    """Residuals and causes, one row a unit, or a detector where there are too many."""
    values, causes = facts.residual, facts.cause
    if values.size <= MOST_CELLS or not facts.by_amplifier:
        return values, causes, False
    used = facts.weight > 0
    starts = facts.rows.starts[:-1]
    number = np.add.reduceat(used, starts, axis=0)
    total = np.add.reduceat(np.where(used, np.nan_to_num(values), 0.0), starts, axis=0)
    mean = np.divide(total, number, out=np.full(total.shape, np.nan), where=number > 0)
    worst = np.where(number == 0, np.maximum.reduceat(causes, starts, axis=0), 0).astype(np.uint32)
    return mean, worst, True


def numbers(facts: Facts, image: ResidualImage) -> dict[str, Any]:
    """Collect the numbers that the page shows when a cell or a detector is pointed at.

    Residuals are little-endian float32 in base64, row by row; a missing number is null, or NaN among the residuals.
    """
    values, _, _ = _matrix(facts)
    flagged = np.argwhere(facts.quality != 0) if not image.by_detector else np.empty((0, 2), dtype=int)
    columns = facts.residual.shape[1]
    units = facts.units if not image.by_detector else facts.detectors
    of_detector = facts.detector if not image.by_detector else np.arange(len(facts.detectors))
    modes = facts.solution.attrs.get("modes", 0) not in (0, "0")
    return {
        "units": units,
        "detectorOf": of_detector.tolist(),
        "detectors": facts.detectors,
        "exposures": facts.exposures,
        "groupOf": facts.group.tolist(),
        "groups": facts.groups,
        "levelUnits": str(facts.solution["E"].attrs.get("units", "adu")),
        "E": _plain(facts.E, 9),
        "G": None if image.by_detector or modes else [_plain(column, 9) for column in facts.G.T],
        "variables": _variables(facts),
        "shown": len(facts.units),
        "residual": base64.b64encode(values.astype("<f4").tobytes()).decode("ascii"),
        "flags": [[int(i * columns + j), int(facts.quality[i, j])] for i, j in flagged],
        "flagWords": {str(int(flag)): SENTENCES[flag] for flag in Flag},
        "perRow": "detector" if image.by_detector else "unit",
    }


def _variables(facts: Facts) -> list[dict[str, Any]]:
    """List what the focal plane can be coloured by."""
    groups = facts.groups or [""]
    found: list[dict[str, Any]] = []

    def add(name: str, values: Any, *, middle: bool = False) -> None:
        found.append({"name": name, "values": _plain(np.asarray(values, dtype=float), 7), "middle": middle})

    for k, group in enumerate(groups):
        add(f"G{', ' + group if group else ''}", facts.G[:, k])
    if facts.G_stderr is not None:
        for k, group in enumerate(groups):
            add(f"standard error of G{', ' + group if group else ''} [%]", 100 * facts.G_stderr[:, k] / facts.G[:, k])
    add("rms residual [%]", 100 * facts.unit_rms)
    add("cells that were not used", facts.unused.sum(axis=1))
    for name, words in (("gain", "gain [electron adu-1]"), ("read_noise", "read noise [electron]")):
        if name in facts.solution.coords and np.isfinite(values := facts.of_units(name)[:, 0].astype(float)).any():
            add(words, values)
    return found


def _plain(values: NDArray[np.float64], digits: int) -> list[float | None]:
    return [float(f"{value:.{digits}g}") if math.isfinite(value) else None for value in values.tolist()]


def _names(texts: list[str], at: NDArray[np.float64], room: float) -> list[RowName]:
    """As many names as there is room for, the same number of rows apart."""
    step = max(1, math.ceil(len(texts) / max(room, 1)))
    return [RowName(texts[k][:24], round(float(at[k]), 5)) for k in range(0, len(texts), step)]


def _limit(values: NDArray[np.float64]) -> float:
    """End of the colour scale: four robust standard deviations, or the largest if that is less."""
    if not values.size:
        return 0.01
    largest, scatter = float(np.abs(values).max()), 1.4826 * float(np.median(np.abs(values)))
    return max(min(4 * scatter, largest) if scatter > 0 else largest, 1e-8)


def _range(values: NDArray[np.float64]) -> tuple[float, float]:
    """Choose the ends of a scale: the extremes, unless a few values are far from all others."""
    known = values[np.isfinite(values)]
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, [0.5, 99.5]) if known.size > 400 else (known.min(), known.max())
    return (float(low), float(high)) if high > low else (float(low) - 0.5, float(low) + 0.5)


def _shades(values: NDArray[np.float64], low: float, high: float, colours: list[str]) -> list[str]:
    place = np.clip(np.nan_to_num((values - low) / (high - low)), 0, 1) * (len(colours) - 1)
    return [colours[round(p)] if known else _HOLE for p, known in zip(place.tolist(), np.isfinite(values), strict=True)]


def _ramp(name: str) -> list[str]:
    import matplotlib
    from matplotlib.colors import to_hex

    return [to_hex(colour) for colour in matplotlib.colormaps[name](np.linspace(0, 1, _STEPS))]


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))


def _png(places: NDArray[np.uint8], palette: list[str]) -> str:
    """Encode an image whose pixels are places in a palette."""
    from PIL import Image

    image = Image.frombytes("P", places.shape[::-1], places.tobytes())
    image.putpalette([part for colour in palette for part in _rgb(colour)])
    buffer = io.BytesIO()
    image.save(buffer, format="png", optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _short(value: float) -> str:
    return f"{value:.4g}" if math.isfinite(value) else "not known"
