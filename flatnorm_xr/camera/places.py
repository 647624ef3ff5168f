"""Where detectors and amplifiers lie in the focal plane, from sections of the mosaic or a WCS in the headers."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite, nan
from typing import TYPE_CHECKING, NamedTuple

from flatnorm_xr.camera.headers import HduHeader
from flatnorm_xr.camera.sections import Section, parse_section

if TYPE_CHECKING:
    from flatnorm_xr.camera.geometry import Amplifier
    from flatnorm_xr.camera.profiles import Profile

__all__ = ["UNKNOWN", "Place", "places_in_mosaic"]

_SAME_SHAPE = 0.05
"""Relative difference up to which a section of the mosaic has the shape of the trimmed image."""


class Place(NamedTuple):
    """Rectangle in the focal plane: centre and size, mm; NaN when not known."""

    x: float = nan
    y: float = nan
    width: float = nan
    height: float = nan


UNKNOWN = Place()


class _Box(NamedTuple):
    left: float
    right: float
    bottom: float
    top: float


def places_in_mosaic(
    hdus: Sequence[HduHeader], amplifiers: Sequence[Amplifier], shape: tuple[int, ...], profile: Profile, path: str
) -> tuple[Place, list[Place]]:
    """Find the places of a detector and of each of its amplifiers.

    Parameters
    ----------
    hdus : sequence of HduHeader
        Those the detector is read from.
    amplifiers : sequence of Amplifier
        Its amplifiers, with their sections in the trimmed image where these are known.
    shape : tuple of int
        Rows and columns of the trimmed image; empty when not known.
    profile : Profile
        Whose ``position`` says where to look.
    path : str
        The file, for messages.

    Returns
    -------
    Place, list of Place
        All `UNKNOWN` when the profile or a header does not say. Amplifiers are unknown where the detector's section of
        the mosaic has another shape than its trimmed image, so that nobody knows how it is turned.
    """
    unknown = [UNKNOWN] * len(amplifiers)
    rules = profile.position
    if not rules.known or rules.pixel_size is None:
        return UNKNOWN, unknown
    if rules.wcs is not None:
        headers = {hdu.index: hdu for hdu in hdus}
        boxes = [_box_of_wcs(headers[a.hdu], a.data, rules.wcs, rules.origin) for a in amplifiers]
        parts: list[_Box] | None = boxes
    else:
        sections = {hdu.index: _mosaic_section(hdu, profile, path) for hdu in hdus}
        found = [section for section in sections.values() if section is not None]
        if len(found) < len(sections):
            return UNKNOWN, unknown
        boxes = [_box(section, origin) for section, origin in found]
        if profile.layout == "hdu-is-amplifier":
            parts = boxes if len(boxes) == len(amplifiers) else None
        else:
            parts = _divided(*found[0], amplifiers, shape)
    whole = _Box(*(end(box[side] for box in boxes) for side, end in enumerate((min, max, min, max))))
    if not all(isfinite(value) for box in boxes for value in box):
        return UNKNOWN, unknown
    places = unknown if parts is None else [_place(box, rules.pixel_size) for box in parts]
    return _place(whole, rules.pixel_size), places


def _place(box: _Box, pixel_size: float) -> Place:
    return Place(
        (box.left + box.right) / 2 * pixel_size,
        (box.bottom + box.top) / 2 * pixel_size,
        (box.right - box.left) * pixel_size,
        (box.top - box.bottom) * pixel_size,
    )


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


def _divided(
    section: Section, origin: tuple[float, float], amplifiers: Sequence[Amplifier], shape: tuple[int, ...]
) -> list[_Box] | None:
    """Places of amplifiers in the detector's section of the mosaic, which may be reversed; None when not known."""
    given = [amplifier.trimmed for amplifier in amplifiers]
    trimmed = [place for place in given if place is not None]
    if len(shape) != 2 or len(trimmed) < len(given):
        return None
    rows, columns = section.shape
    if abs(rows * shape[1] / (columns * shape[0]) - 1) > _SAME_SHAPE:
        return None
    whole = _box(section, origin)
    boxes = []
    for part_rows, part_columns in (place.slices for place in trimmed):
        x, y = (
            sorted(1 - end / size if flip else end / size for end in (part.start, part.stop))
            for part, size, flip in (
                (part_columns, shape[1], section.flip_x),
                (part_rows, shape[0], section.flip_y),
            )
        )
        left, right = (whole.left + end * columns for end in x)
        bottom, top = (whole.bottom + end * rows for end in y)
        boxes.append(_Box(left, right, bottom, top))
    return boxes


def _box_of_wcs(hdu: HduHeader, data: Section, letter: str, origin: Sequence[float]) -> _Box:
    """Focal plane pixels that a data section covers, less the origin; NaN where a card is missing."""

    def card(name: str, default: float) -> float:
        value = hdu.get(f"{name}{letter}")
        return default if value is None else float(value)

    (x, y), (rows, columns) = data.centre, data.shape
    offset = [x - card("CRPIX1", 0.0), y - card("CRPIX2", 0.0)]
    ends = []
    for i in (1, 2):
        matrix = [card(f"CDELT{i}", 1.0) * card(f"PC{i}_{j}", float(i == j)) for j in (1, 2)]
        centre = card(f"CRVAL{i}", nan) + matrix[0] * offset[0] + matrix[1] * offset[1] - origin[i - 1]
        half = (abs(matrix[0]) * columns + abs(matrix[1]) * rows) / 2
        ends += [centre - half, centre + half]
    return _Box(*ends)
