"""Sections of an image as FITS headers write them, and as numpy slices."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from flatnorm_xr.errors import CameraError

__all__ = ["Section", "parse_section"]

_PATTERN = re.compile(r"\[\s*([+-]?\d+)\s*:\s*([+-]?\d+)\s*,\s*([+-]?\d+)\s*:\s*([+-]?\d+)\s*\]")


@dataclass(frozen=True)
class Section:
    """A rectangle of pixels: 1-based, inclusive, x first; a reversed range means a flipped axis.

    Examples
    --------
    >>> section = Section(1081, 2104, 51, 4146)
    >>> section.slices
    (slice(50, 4146, None), slice(1080, 2104, None))
    >>> section.shape
    (4096, 1024)
    """

    x1: int
    x2: int
    y1: int
    y2: int

    @property
    def flip_x(self) -> bool:
        """Whether x runs backwards."""
        return self.x1 > self.x2

    @property
    def flip_y(self) -> bool:
        """Whether y runs backwards."""
        return self.y1 > self.y2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns, in numpy's order."""
        return abs(self.y2 - self.y1) + 1, abs(self.x2 - self.x1) + 1

    @property
    def centre(self) -> tuple[float, float]:
        """Middle of the rectangle in x and y, in FITS pixels (the first pixel's centre is 1)."""
        return (self.x1 + self.x2) / 2, (self.y1 + self.y2) / 2

    @property
    def slices(self) -> tuple[slice, slice]:
        """Slices (y, x) of the numpy image, always forwards: flips are `flip_x` and `flip_y`."""
        return (
            slice(min(self.y1, self.y2) - 1, max(self.y1, self.y2)),
            slice(min(self.x1, self.x2) - 1, max(self.x1, self.x2)),
        )

    @classmethod
    def from_slices(cls, rows: slice, columns: slice) -> Section:
        """Section of a numpy image that ``image[rows, columns]`` cuts out; both slices need a start and a stop.

        Examples
        --------
        >>> str(Section.from_slices(slice(50, 4146), slice(1080, 2104)))
        '[1081:2104,51:4146]'
        """
        return cls(columns.start + 1, columns.stop, rows.start + 1, rows.stop)

    def binned(self, x: int, y: int) -> Section:
        """Turn a section in unbinned pixels into one in pixels of ``x`` by ``y``.

        Examples
        --------
        >>> str(Section(2048, 1025, 1, 4096).binned(2, 4))
        '[1024:513,1:1024]'
        """
        if x == y == 1:
            return self
        return Section(
            (self.x1 - 1) // x + 1,
            (self.x2 - 1) // x + 1,
            (self.y1 - 1) // y + 1,
            (self.y2 - 1) // y + 1,
        )

    def lies_inside(self, shape: tuple[int, ...]) -> bool:
        """Whether an image of this shape (rows, columns) has all of the section's pixels.

        Examples
        --------
        >>> Section(1, 10, 5, 1).lies_inside((5, 10)), Section(0, 9, 1, 5).lies_inside((5, 10))
        (True, False)
        """
        x, y = (self.x1, self.x2), (self.y1, self.y2)
        return min(x) >= 1 and min(y) >= 1 and max(y) <= shape[0] and max(x) <= shape[1]

    def __str__(self) -> str:
        return f"[{self.x1}:{self.x2},{self.y1}:{self.y2}]"


def parse_section(text: str, *, name: str = "section", where: str = "parse_section") -> Section | None:
    """Read a section such as ``[x1:x2,y1:y2]``.

    Parameters
    ----------
    text : str
        The header's value; ``[0:0,0:0]`` and a blank string mean that there is none.
    name, where : str
        Keyword, and file with HDU, for the message.

    Returns
    -------
    Section or None

    Raises
    ------
    CameraError
        ``text`` is not a section.

    Examples
    --------
    >>> parse_section("[2048:1025,4096:1]").flip_x
    True
    >>> parse_section("[0:0,0:0]") is None
    True
    """
    try:
        return _read(text)
    except ValueError as error:
        msg = f"{where}: section {name} is {text!r}; it must be written [x1:x2,y1:y2]"
        raise CameraError(msg) from error


@lru_cache(maxsize=4096)
def _read(text: str) -> Section | None:
    """Read a section; all CCDs of a camera have much the same, so that most texts were read before."""
    if not text.strip():
        return None
    found = _PATTERN.fullmatch(text.strip())
    if found is None:
        raise ValueError(text)
    ends = tuple(map(int, found.groups()))
    return Section(*ends) if any(ends) else None
