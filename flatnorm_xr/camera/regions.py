"""The part of a focal plane or detector that gets light: a circle, a polygon, or what lies in both."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.errors import CameraError, offenders

__all__ = ["UNITS", "Region", "read_region"]

UNITS = ("mm", "pixel")
"""mm: of the focal plane; pixel: of the detector's trimmed image, the first pixel's centre being 1."""

_WAYS = 'for example {"circle": [0, 0, 180], "units": "mm"} or "polygon 1 1 2000 1 2000 4000 pixel"'

Booleans = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Region:
    """Where there is light; with a circle and a polygon, what lies inside both.

    Attributes
    ----------
    circle : tuple of float or None
        Centre x and y, and radius.
    polygon : tuple of (x, y)
        Its vertices in order, either way round; empty when there is none. Where it crosses itself, a point is inside
        when a ray from it crosses the edges an odd number of times. Lists and arrays are made tuples, as of ``circle``.
    units : {"mm", "pixel"}
        mm in the focal plane, or pixels of the detector's trimmed image (1-based, as in FITS).

    Raises
    ------
    CameraError
        Neither circle nor polygon, a radius that is not positive, fewer than three vertices or all in one line, what is
        no number or not finite, other units.
    """

    circle: tuple[float, float, float] | None = None
    polygon: tuple[tuple[float, float], ...] = ()
    units: str = "mm"

    def __post_init__(self) -> None:
        try:
            circle = None if self.circle is None else _numbers(self.circle)
            polygon = tuple(map(_numbers, self.polygon))
        except (TypeError, ValueError) as error:
            msg = f"region: circle {self.circle!r}, polygon {self.polygon!r} must be lists of numbers, {_WAYS}"
            raise CameraError(msg) from error
        # lists and arrays are as good, but a region must be hashable
        object.__setattr__(self, "circle", circle)
        object.__setattr__(self, "polygon", polygon)
        problems = list(_problems(self))
        if problems:
            msg = f"region: {offenders(problems)}; {_WAYS}"
            raise CameraError(msg)

    def inside(self, x: npt.ArrayLike, y: npt.ArrayLike) -> Booleans:
        """Whether points lie inside; those on the circle or on an edge of the polygon do.

        Parameters
        ----------
        x, y : array-like
            Coordinates in the region's units, of shapes that broadcast; NaN is outside.

        Returns
        -------
        array of bool

        Examples
        --------
        >>> Region(circle=(0, 0, 5)).inside([3, 4], [4, 4]).tolist()
        [True, False]
        """
        px, py = np.broadcast_arrays(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        found: Booleans = np.isfinite(px) & np.isfinite(py)
        if self.circle is not None:
            a, b, radius = self.circle
            found &= (px - a) ** 2 + (py - b) ** 2 <= radius**2
        if self.polygon:
            found &= _in_polygon(px, py, self.polygon)
        return found

    def distance_to_boundary(self, x: Numbers, y: Numbers) -> Numbers:
        """Distance of points from the nearest place where the light may end, in the region's units."""
        found = np.full(np.broadcast_shapes(x.shape, y.shape), np.inf)
        if self.circle is not None:
            a, b, radius = self.circle
            np.minimum(found, np.abs(np.hypot(x - a, y - b) - radius), out=found)
        for (ax, ay), (bx, by) in _edges(self.polygon):
            dx, dy = bx - ax, by - ay
            square = dx * dx + dy * dy
            along = np.clip(((x - ax) * dx + (y - ay) * dy) / square, 0, 1) if square else 0.0
            np.minimum(found, np.hypot(x - ax - along * dx, y - ay - along * dy), out=found)
        return found


def _problems(region: Region) -> Sequence[str]:
    problems = []
    circle, polygon = region.circle, region.polygon
    if circle is None and not polygon:
        problems.append("neither circle nor polygon is given")
    if circle is not None and (len(circle) != 3 or not all(map(isfinite, circle)) or not circle[2] > 0):
        problems.append(f"circle {list(circle)} must be x, y and a positive radius")
    if polygon and (len(polygon) < 3 or not all(len(p) == 2 and all(map(isfinite, p)) for p in polygon)):
        problems.append(f"polygon of {len(polygon)} vertices must have three or more, each x and y")
    elif polygon and not _spans_an_area(polygon):
        problems.append("all vertices of the polygon lie in one line")
    if region.units not in UNITS:
        problems.append(f"units {region.units!r} must be one of {', '.join(UNITS)}")
    return problems


def _spans_an_area(polygon: Sequence[tuple[float, float]]) -> bool:
    (ax, ay), *others = polygon
    return any((bx - ax) * (cy - ay) != (by - ay) * (cx - ax) for (bx, by), (cx, cy) in itertools.pairwise(others))


def _edges(polygon: Sequence[tuple[float, float]]) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    return list(zip(polygon, [*polygon[1:], *polygon[:1]], strict=True))


def _in_polygon(x: Numbers, y: Numbers, polygon: Sequence[tuple[float, float]]) -> Booleans:
    odd = np.zeros(x.shape, dtype=np.bool_)
    on_edge = np.zeros(x.shape, dtype=np.bool_)
    for (ax, ay), (bx, by) in _edges(polygon):
        side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
        # a vertex belongs to the edge that starts there only, or a ray through it would cross twice
        odd ^= ((ay > y) != (by > y)) & ((side > 0) == (by > ay))
        within = (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx)) & (np.minimum(ay, by) <= y)
        on_edge |= (side == 0) & within & (y <= np.maximum(ay, by))
    return odd | on_edge


def read_region(given: Any, *, what: str = "vignetting") -> Region | None:
    """Make a region of what a profile, a keyword or the command line says.

    Parameters
    ----------
    given : Region, mapping, str or None
        A mapping with ``circle: [x, y, radius]``, ``polygon: [[x, y], ...]`` or both, and ``units``; or the same as a
        text: ``"circle 0 0 180 mm"``, ``"polygon 1 1 2000 1 2000 4000 pixel"``. ``"none"`` and None are no region.
    what : str
        What the region is for, for messages.

    Returns
    -------
    Region or None

    Raises
    ------
    CameraError
        Anything else; units are not guessed.

    Examples
    --------
    >>> read_region("circle 0 0 180 mm")
    Region(circle=(0.0, 0.0, 180.0), polygon=(), units='mm')
    """
    if given is None or isinstance(given, Region):
        return given
    if isinstance(given, str):
        words = given.replace(",", " ").split()
        if [word.lower() for word in words] == ["none"]:
            return None
        given = _parsed(words, what)
    if not isinstance(given, Mapping):
        msg = f"{what}: {given!r} is no region; give circle or polygon, and units, {_WAYS}"
        raise CameraError(msg)
    unknown = [key for key in given if key not in ("circle", "polygon", "units")]
    if unknown or "units" not in given:
        problem = f"unknown key {offenders(unknown)}; allowed: circle, polygon, units" if unknown else "no units"
        msg = f"{what}: {problem} ({' or '.join(UNITS)}); {_WAYS}"
        raise CameraError(msg)
    polygon = given.get("polygon")
    try:
        return Region(given.get("circle"), () if polygon is None else polygon, given["units"])
    except CameraError as error:
        msg = f"{what}: {str(error).removeprefix('region: ')}"
        raise CameraError(msg) from error


def _numbers(values: Any) -> tuple[float, ...]:
    if isinstance(values, str) or any(isinstance(value, bool) for value in values):
        raise TypeError(values)
    return tuple(float(value) for value in values)


def _parsed(words: Sequence[str], what: str) -> dict[str, Any]:
    """Split words such as ``circle 0 0 180 mm`` into the keys of a mapping."""
    found: dict[str, Any] = {}
    key = ""
    for word in words:
        lower = word.lower()
        if lower in UNITS and "units" not in found:
            found["units"], key = lower, ""
        elif lower in ("circle", "polygon") and lower not in found:
            key = lower
            found[key] = []
        elif key:
            found[key].append(word)
        else:
            msg = f"{what}: {word!r} in {' '.join(words)!r} is not understood; {_WAYS}"
            raise CameraError(msg)
    if "polygon" in found:
        numbers = found["polygon"]
        if len(numbers) % 2:
            msg = f"{what}: polygon has {len(numbers)} numbers; it needs x and y of each vertex, {_WAYS}"
            raise CameraError(msg)
        found["polygon"] = list(zip(numbers[::2], numbers[1::2], strict=True))
    return found
