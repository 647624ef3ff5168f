"""Where the data sections of amplifiers lie in the trimmed image of their detector."""

from __future__ import annotations

from collections.abc import Sequence

from flatnorm_xr.camera.sections import Section

__all__ = ["overlapping", "place_in_trimmed"]


def place_in_trimmed(
    data: Sequence[Section], given: Sequence[Section | None], *, one_image: bool
) -> tuple[list[Section | None], tuple[int, ...]]:
    """Give each amplifier its place in the trimmed image, from (1, 1) on.

    Parameters
    ----------
    data : sequence of Section
        What is left of each amplifier's image.
    given : sequence of Section or None
        Where the headers say that these lie, from any origin; all or none are used.
    one_image : bool
        Data sections are of one image, so that they can be pushed together where nothing is given.

    Returns
    -------
    list of Section or None, tuple of int
        Places, and rows and columns of the trimmed image. None and an empty tuple where they are not known: also
        where places do not fit the data sections, or overlap (some files have them wrong).
    """
    unknown: list[Section | None] = [None] * len(data)
    known = [place for place in given if place is not None]
    if len(known) == len(data):
        places = _shift(known)
    elif one_image:
        places = _pack(data)
    else:
        return unknown, ()
    if any(place.shape != section.shape for place, section in zip(places, data, strict=True)):
        return unknown, ()
    if overlapping(places):
        return unknown, ()
    return list(places), (max(max(p.y1, p.y2) for p in places), max(max(p.x1, p.x2) for p in places))


def _shift(places: Sequence[Section]) -> list[Section]:
    x = min(min(place.x1, place.x2) for place in places) - 1
    y = min(min(place.y1, place.y2) for place in places) - 1
    return [Section(p.x1 - x, p.x2 - x, p.y1 - y, p.y2 - y) for p in places] if x or y else list(places)


def _pack(data: Sequence[Section]) -> list[Section]:
    """Push data sections together: columns of overscan between them close up."""

    def starts(ranges: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
        place, taken = {}, 1
        for first, last in sorted(ranges):
            place[first, last] = taken
            taken += last - first + 1
        return place

    columns = [(min(s.x1, s.x2), max(s.x1, s.x2)) for s in data]
    rows = [(min(s.y1, s.y2), max(s.y1, s.y2)) for s in data]
    x, y = starts(set(columns)), starts(set(rows))
    return [Section(x[c], x[c] + c[1] - c[0], y[r], y[r] + r[1] - r[0]) for c, r in zip(columns, rows, strict=True)]


def overlapping(sections: Sequence[Section]) -> list[tuple[int, int]]:
    """Pairs of sections (by number, the first the smaller) that have a pixel in common.

    Examples
    --------
    >>> overlapping([Section(1, 5, 1, 9), Section(6, 9, 1, 9), Section(5, 6, 9, 9)])
    [(0, 2), (1, 2)]
    """
    boxes = [(min(s.x1, s.x2), max(s.x1, s.x2), min(s.y1, s.y2), max(s.y1, s.y2)) for s in sections]
    return [
        (j, i)
        for i, a in enumerate(boxes)
        for j, b in enumerate(boxes[:i])
        if a[0] <= b[1] and b[0] <= a[1] and a[2] <= b[3] and b[2] <= a[3]
    ]
