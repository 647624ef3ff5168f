"""Where detectors and amplifiers lie in the focal plane, from sections of the mosaic or a WCS in the headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.headers import HduHeader
from flatnorm_xr.camera.sections import Section, parse_section

if TYPE_CHECKING:
    from flatnorm_xr.camera.amplifiers import Amplifier, Draft
    from flatnorm_xr.camera.profiles import Profile

__all__ = ["UNKNOWN", "Affine", "Place", "map_of_sections", "places_in_mosaic", "to_trimmed"]

_Number = TypeVar("_Number", float, npt.NDArray[np.float64])

_SAME_SHAPE = 0.05
"""Relative difference up to which a section of the mosaic has the shape of the trimmed image."""


class Place(NamedTuple):
    """Rectangle in the focal plane: centre and size, mm; NaN when not known."""

    x: float = nan
    y: float = nan
    width: float = nan
    height: float = nan


UNKNOWN = Place()


class Affine(NamedTuple):
    """A plane's points from those of another: ``x = x0 + x_column * column + x_row * row``, and y likewise.

    Columns and rows count from 1, as in FITS, so that the first pixel's centre is (1, 1).
    """

    x0: float
    x_column: float
    x_row: float
    y0: float
    y_column: float
    y_row: float

    def __call__(self, column: _Number, row: _Number) -> tuple[_Number, _Number]:
        """Where points come to lie; numbers, or arrays that broadcast."""
        return (
            self.x0 + self.x_column * column + self.x_row * row,
            self.y0 + self.y_column * column + self.y_row * row,
        )

    def then(self, other: Affine) -> Affine:
        """Make one map of this one and another after it."""
        x0, y0 = other(self.x0, self.y0)
        columns = other.x_column * self.x_column + other.x_row * self.y_column
        rows = other.x_column * self.x_row + other.x_row * self.y_row
        y_columns = other.y_column * self.x_column + other.y_row * self.y_column
        y_rows = other.y_column * self.x_row + other.y_row * self.y_row
        return Affine(x0, columns, rows, y0, y_columns, y_rows)


def map_of_sections(source: Section, target: Section) -> Affine:
    """Pixels of one section onto those of another that shows the same light: turned and binned as the two differ.

    Examples
    --------
    >>> map_of_sections(Section(1, 10, 1, 10), Section(40, 21, 1, 20))(1.0, 1.0)
    (39.5, 1.5)
    """
    slopes, starts = [], []
    for axis in (1, 0):
        slope = target.shape[axis] / source.shape[axis]
        slopes.append(-slope if _reversed(source)[axis] != _reversed(target)[axis] else slope)
    for slope, before, after in zip(slopes, source.centre, target.centre, strict=True):
        starts.append(after - slope * before)
    return Affine(starts[0], slopes[0], 0.0, starts[1], 0.0, slopes[1])


def _reversed(section: Section) -> tuple[bool, bool]:
    return section.flip_y, section.flip_x


def to_trimmed(amplifier: Amplifier | Draft) -> Affine | None:
    """Pixels of an amplifier's HDU onto those of the detector's trimmed image; None where that is not known."""
    return None if amplifier.trimmed is None else map_of_sections(amplifier.data, amplifier.trimmed)


class _Box(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float


def places_in_mosaic(
    hdus: Sequence[HduHeader], amplifiers: Sequence[Draft], shape: tuple[int, ...], profile: Profile, path: str
) -> tuple[Place, list[tuple[Place, Affine | None]]]:
    """Find the places of a detector and of each of its amplifiers.

    Parameters
    ----------
    hdus : sequence of HduHeader
        Those the detector is read from.
    amplifiers : sequence of Draft
        Its amplifiers, with their sections in the trimmed image where these are known.
    shape : tuple of int
        Rows and columns of the trimmed image; empty when not known.
    profile : Profile
        Whose ``position`` says where to look.
    path : str
        The file, for messages.

    Returns
    -------
    Place
        Of the detector; `UNKNOWN` when the profile or a header does not say.
    list of (Place, Affine or None)
        Of each amplifier, with the map from pixels of its HDU to the focal plane, mm. `UNKNOWN` and None also where the
        detector's section of the mosaic has another shape than its trimmed image, so that nobody knows how it is
        turned.
    """
    unknown: list[tuple[Place, Affine | None]] = [(UNKNOWN, None)] * len(amplifiers)
    rules = profile.position
    if not rules.known or rules.pixel_size is None:
        return UNKNOWN, unknown
    whole: _Box | None = None
    if rules.wcs is not None:
        headers = {hdu.index: hdu for hdu in hdus}
        maps: list[Affine] | None = [_map_of_wcs(headers[a.hdu], rules.wcs, rules.origin) for a in amplifiers]
    else:
        sections = {hdu.index: _mosaic_section(hdu, profile, path) for hdu in hdus}
        found = {index: section for index, section in sections.items() if section is not None}
        if len(found) < len(sections):
            return UNKNOWN, unknown
        whole = _bounds([_box(section, origin) for section, origin in found.values()])
        if profile.layout == "hdu-is-amplifier":
            maps = [_about(map_of_sections(a.data, found[a.hdu][0]), found[a.hdu][1]) for a in amplifiers]
        else:
            maps = _divided(*next(iter(found.values())), amplifiers, shape, _aspect(hdus[0], profile, path))
    boxes = [] if maps is None else [_covered(one, a.data) for one, a in zip(maps, amplifiers, strict=True)]
    whole = whole or _bounds(boxes)
    if not all(isfinite(value) for box in (whole, *boxes) for value in box):
        return UNKNOWN, unknown
    if maps is None:
        return _place(whole, rules.pixel_size), unknown
    scale = Affine(0.0, rules.pixel_size, 0.0, 0.0, 0.0, rules.pixel_size)
    places = [(_place(box, rules.pixel_size), one.then(scale)) for box, one in zip(boxes, maps, strict=True)]
    return _place(whole, rules.pixel_size), list(places)


def _place(box: _Box, pixel_size: float) -> Place:
    return Place(
        (box.left + box.right) / 2 * pixel_size,
        (box.bottom + box.top) / 2 * pixel_size,
        (box.right - box.left) * pixel_size,
        (box.top - box.bottom) * pixel_size,
    )


def _bounds(boxes: Sequence[_Box]) -> _Box:
    return _Box(*(end(box[side] for box in boxes) for side, end in enumerate((min, max, min, max))))


def _covered(pixels: Affine, data: Section) -> _Box:
    """Find what a data section covers, edges of pixels included."""
    (x, y), (rows, columns) = pixels(*data.centre), data.shape
    width = (abs(pixels.x_column) * columns + abs(pixels.x_row) * rows) / 2
    height = (abs(pixels.y_column) * columns + abs(pixels.y_row) * rows) / 2
    return _Box(x - width, x + width, y - height, y + height)


def _mosaic_section(hdu: HduHeader, profile: Profile, path: str) -> tuple[Section, tuple[float, float]] | None:
    """Section of the mosaic that an HDU says it covers, and the pixel that is the mosaic's centre."""
    rules = profile.position
    value, size = (rule.find(hdu, path=path) if rule is not None else None for rule in (rules.section, rules.size))
    where = f"{path}[{hdu.index}]"
    section = parse_section(str(value), name="position", where=where) if value is not None else None
    whole = parse_section(str(size), name="position.size", where=where) if size is not None else None
    if section is None:
        return None
    return section, whole.centre if whole is not None else (0.0, 0.0)


def _box(section: Section, origin: tuple[float, float]) -> _Box:
    (x, y), (rows, columns) = section.centre, section.shape
    x, y = x - origin[0], y - origin[1]
    return _Box(x - columns / 2, x + columns / 2, y - rows / 2, y + rows / 2)


def _about(pixels: Affine, origin: Sequence[float]) -> Affine:
    """Count from the pixel ``origin`` on."""
    return pixels._replace(x0=pixels.x0 - origin[0], y0=pixels.y0 - origin[1])


def _divided(
    section: Section,
    origin: tuple[float, float],
    amplifiers: Sequence[Draft],
    shape: tuple[int, ...],
    aspect: float,
) -> list[Affine] | None:
    """Map amplifiers into the detector's section of the mosaic, which may be reversed; None when not known."""
    maps = [one for one in map(to_trimmed, amplifiers) if one is not None]
    if len(shape) != 2 or len(maps) < len(amplifiers):
        return None
    rows, columns = section.shape
    if abs(rows * shape[1] * aspect / (columns * shape[0]) - 1) > _SAME_SHAPE:
        return None
    whole = _about(map_of_sections(Section(1, shape[1], 1, shape[0]), section), origin)
    return [one.then(whole) for one in maps]


def _aspect(hdu: HduHeader, profile: Profile, path: str) -> float:
    """Width of a binned pixel over its height, both in unbinned pixels; 1 where the header does not say."""
    rule = profile.detector.binning
    words = str(rule.find(hdu, path=path)).split() if rule is not None else []
    given = len(words) == 2 and all(word.isdigit() and int(word) > 0 for word in words)
    return int(words[0]) / int(words[1]) if given else 1.0


def _map_of_wcs(hdu: HduHeader, letter: str, origin: Sequence[float]) -> Affine:
    """Pixels of an HDU onto focal plane pixels, less the origin; NaN where the cards do not say it or contradict."""
    cards = _cards_of_wcs(hdu, letter)
    (a, b), (c, d) = matrix = _matrix_of_wcs(cards)
    if a * d == b * c:  # all pixels on a line
        return Affine(*[nan] * 6)
    x, y = (cards.get(f"CRPIX{i}", 0.0) for i in (1, 2))
    found: list[float] = []
    for i, (columns, rows) in enumerate(matrix):
        found += [cards.get(f"CRVAL{i + 1}", nan) - columns * x - rows * y - origin[i], columns, rows]
    return Affine(*found)


def _cards_of_wcs(hdu: HduHeader, letter: str) -> dict[str, float]:
    """Numbers that a header gives to a linear WCS, by keyword without the letter; NaN for what is no number."""
    names = [f"{name}{i}" for name in ("CRPIX", "CRVAL", "CDELT") for i in (1, 2)]
    names += [f"{name}{i}_{j}" for name in ("CD", "PC") for i in (1, 2) for j in (1, 2)]
    values = {name: hdu.get(f"{name}{letter}") for name in names}
    return {
        name: float(value) if isinstance(value, int | float) else nan
        for name, value in values.items()
        if value is not None
    }


def _matrix_of_wcs(cards: Mapping[str, float]) -> list[tuple[float, float]]:
    """Change of each coordinate per column and per row: CD, or else CDELT times PC; NaN where both are given.

    As FITS has it: where there is any card of CD, those of CD that lack are 0, and CDELT means nothing.
    """
    kinds = {name[:2] for name in cards if "_" in name}
    if kinds == {"CD", "PC"}:
        return [(nan, nan)] * 2
    if kinds == {"CD"}:
        return [(cards.get(f"CD{i}_1", 0.0), cards.get(f"CD{i}_2", 0.0)) for i in (1, 2)]
    step = {i: cards.get(f"CDELT{i}", 1.0) for i in (1, 2)}
    return [
        (step[i] * cards.get(f"PC{i}_1", float(i == 1)), step[i] * cards.get(f"PC{i}_2", float(i == 2))) for i in (1, 2)
    ]
