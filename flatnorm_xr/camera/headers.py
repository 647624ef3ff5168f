"""Read the headers of a FITS file, and look keywords up the way cameras mean them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from flatnorm_xr.camera.cards import CardError, Cards
from flatnorm_xr.camera.file_bytes import FileBytes, FileStamp, Unreadable
from flatnorm_xr.camera.files import check_regular, why_absent
from flatnorm_xr.camera.image_place import ImagePlace, beyond_reason, data_length, find_place, image_shape
from flatnorm_xr.errors import ReadError

__all__ = ["FileHeaders", "HduHeader", "HeaderSpan", "header_spans", "read_headers"]

_FPACK_NAME = "COMPRESSED_IMAGE"
"""What compressors write into EXTNAME, before the image's own name if it has one."""

_BLOCK, _CARD, _END = 2880, 80, b"END     "

_KEYWORD = re.compile(rb"([A-Z0-9_-]{1,8}) *= ")
"""Beginning of any card that has a value."""

_FIRST_READ = 5 * _BLOCK
"""Bytes read of each header at first: 180 cards; most headers are shorter."""

_LONGEST_HEADER = 1 << 24
"""Bytes after which a header without END is given up."""


@dataclass(frozen=True)
class HduHeader:
    """Header of one HDU.

    Attributes
    ----------
    index : int
        Number of the HDU in the file, 0 the primary.
    header : Cards or astropy.io.fits.Header
        Its cards; of a tile-compressed image, those of the table that holds it.
    shape : tuple of int
        Rows and columns of the image, empty when the HDU is not an image of two dimensions.
    primary : Cards or astropy.io.fits.Header or None
        Where keywords are looked up that the HDU itself lacks.
    path : str
        The file, for messages.
    """

    index: int
    header: Any
    shape: tuple[int, ...]
    primary: Any = None
    path: str = "header"

    @property
    def number(self) -> int:
        """Number of the HDU before compression: fpack moves a primary image into HDU 1."""
        moved = self.index > 0 and ("SIMPLE" in self.header or "ZSIMPLE" in self.header)
        return self.index - moved

    def get(self, key: str) -> Any:
        """First non-blank value of a keyword, here or in the primary header; None when there is none."""
        try:
            value = self.header[key] if type(self.header) is Cards else None
        except (CardError, KeyError):
            value = None
        if type(value) in (int, float, bool) or (type(value) is str and value and key != "EXTNAME"):
            return value  # the usual case, at a third of the price
        return next(self.values(key), None)

    def values(self, key: str) -> Iterator[Any]:
        """All non-blank values of a keyword: those of this header, then those of the primary header.

        A keyword may stand in a header twice (EXTNAME does), and may stand in the primary header only.

        Raises
        ------
        ReadError
            The card does not follow the rules of FITS.
        """
        headers = [self.header] if self.primary is None else [self.header, self.primary]
        for header in headers:
            for nth in range(header.count(key) if key in header else 0):
                try:
                    value = header[key, nth]
                except Exception as error:
                    if not isinstance(error, CardError) and type(error).__name__ != "VerifyError":  # astropy's
                        raise
                    msg = f"{self.path}[{self.index}]: the header card {key} cannot be read; correct it in the file"
                    raise ReadError(msg) from error
                if not _blank(value) and not (key == "EXTNAME" and value == _FPACK_NAME):
                    yield value


def _blank(value: Any) -> bool:
    """Whether a card has no value; astropy then gives an object of a type of its own."""
    return value is None or (isinstance(value, str) and not value.strip()) or type(value).__name__ == "Undefined"


@dataclass(frozen=True)
class FileHeaders:
    """Headers of one file.

    Attributes
    ----------
    path : str
        The file.
    hdus : tuple of HduHeader
        In the file's order.
    damage : str
        Empty, or what is wrong with the part that could not be read: the file ends early, or a header lies, or what
        follows a gzip file is no gzip.
    places : dict of int to ImagePlace
        Where the pixels of each image lie.
    stamp : FileStamp or None
        Size and time of the file when its headers were read; None for headers that come from no file.
    packed : bool
        Whether the file is packed as a whole (gzip and its like), so that it is read from its beginning.
    """

    path: str
    hdus: tuple[HduHeader, ...]
    damage: str = ""
    places: Mapping[int, ImagePlace] = field(default_factory=dict)
    stamp: FileStamp | None = None
    packed: bool = False

    @property
    def images(self) -> tuple[HduHeader, ...]:
        """HDUs that hold an image of two dimensions."""
        return tuple(hdu for hdu in self.hdus if hdu.shape)

    @classmethod
    def from_headers(cls, headers: Sequence[Any], *, path: str = "header", damage: str = "") -> FileHeaders:
        """Collect astropy headers, the primary first."""
        return cls(
            path=path,
            hdus=tuple(
                HduHeader(index, header, image_shape(header), headers[0] if index else None, path)
                for index, header in enumerate(headers)
            ),
            damage=damage,
        )


def read_headers(path: str | Path) -> FileHeaders:
    """Read all headers of a FITS file, plain, tile-compressed or packed as a whole; no pixel is read.

    Only the cards that are asked for are parsed.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    FileHeaders
        Where the file ends early or a header makes no sense, the headers before that point, and ``damage`` says so.

    Raises
    ------
    ReadError
        The file is missing, is not FITS, or not even its first image can be found.
    """
    path = os.fspath(path)
    check_regular(path)
    if not os.path.exists(path):
        msg = f"{path}: {why_absent(path)}"
        raise ReadError(msg)
    found: list[tuple[Cards, ImagePlace | None]] = []
    stamp = None
    packed = False
    damage = ""
    try:
        with FileBytes(path) as source:
            stamp, packed = source.stamp, source.packed
            for one in _hdus(source):
                found.append(one)
            damage = source.leftover
    except Unreadable as error:
        damage = str(error)
    places = {place.hdu: place for _, place in found if place is not None}
    if not found or (damage and not places):
        msg = f"{path}: not a readable FITS file ({damage or 'no header'})"
        raise ReadError(msg)
    primary = found[0][0]
    return FileHeaders(
        path=path,
        hdus=tuple(
            HduHeader(index, cards, () if place is None else place.shape, primary if index else None, path)
            for index, (cards, place) in enumerate(found)
        ),
        damage=damage,
        places=places,
        stamp=stamp,
        packed=packed,
    )


class HeaderSpan(NamedTuple):
    """Cards of one HDU, where its header and its data begin, and how many bytes the data are without padding."""

    cards: Cards
    header_offset: int
    offset: int
    length: int


def header_spans(source: FileBytes) -> Iterator[HeaderSpan]:
    """Header after header of an open file.

    Raises
    ------
    Unreadable
        In the end, if the file is not what its headers promise.
    """
    index = header_offset = 0
    while (first := source.read(header_offset, _FIRST_READ)) and (index == 0 or first.strip(b"\0")):
        cards, offset = _read_cards(source, header_offset, first, index)
        try:
            length = data_length(cards)
        except CardError as error:
            msg = f"HDU {index}: {error}"
            raise Unreadable(msg) from error
        yield HeaderSpan(cards, header_offset, offset, length)
        header_offset = offset + -(-length // _BLOCK) * _BLOCK
        if why := beyond_reason(length):
            msg = f"HDU {index}: {why}"
            raise Unreadable(msg)
        if not source.packed and header_offset > source.stamp.size:
            msg = "the file ends within its last HDU"
            raise Unreadable(msg)
        if source.holds_nothing_after(header_offset):
            return
        index += 1


def _hdus(source: FileBytes) -> Iterator[tuple[Cards, ImagePlace | None]]:
    """Header after header, with the places of images; Unreadable as in `header_spans`."""
    for index, span in enumerate(header_spans(source)):
        try:
            shape = image_shape(span.cards)
        except CardError as error:
            msg = f"HDU {index}: {error}"
            raise Unreadable(msg) from error
        cards, header_offset, offset, length = span
        place = None
        if shape:
            place = find_place(cards, hdu=index, header_offset=header_offset, offset=offset, length=length)
        yield cards, place


def _read_cards(source: FileBytes, offset: int, first: bytes, index: int) -> tuple[Cards, int]:
    """Cards of the header at an offset, of which the first bytes were read already, and where its data begin."""
    if not first.startswith(b"XTENSION" if index else b"SIMPLE  "):
        card = _KEYWORD.match(first)
        msg = "what follows the last HDU cannot be read" if index else "it does not begin with the card SIMPLE"
        if index and card:
            msg = f"HDU {index} begins with the card {card[1].decode()}, not with XTENSION"
        raise Unreadable(msg)
    raw, searched = first, 0
    while (end := _find_end(raw, searched)) < 0:
        searched = len(raw)
        more = source.read(offset + len(raw), max(len(raw), _BLOCK)) if len(raw) < _LONGEST_HEADER else b""
        if not more:
            msg = f"the header of HDU {index} has no END"
            raise Unreadable(msg)
        raw += more
    return Cards(raw[:end]), offset + -(-(end + _CARD) // _BLOCK) * _BLOCK


def _find_end(raw: bytes, start: int) -> int:
    """Where the card END stands, -1 if nowhere."""
    at = raw.find(_END, start - start % _CARD)
    while at >= 0 and at % _CARD:
        at = raw.find(_END, at + 1)
    return at
