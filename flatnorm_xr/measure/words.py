"""Pixels of one HDU as they lie in the file: plain, packed as a whole, or compressed by tiles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Lock
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.cards import CardError
from flatnorm_xr.camera.file_bytes import FileBytes, FileStamp, Unreadable
from flatnorm_xr.camera.headers import FileHeaders, HeaderSpan, header_spans
from flatnorm_xr.camera.image_place import ImagePlace, sums_of
from flatnorm_xr.measure.checksums import add_sums, ones_complement_sum, verify_sums
from flatnorm_xr.measure.rice import SLACK

__all__ = ["Buffers", "ImageFile", "RawImage", "Unreadable", "Words", "open_words"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_DTYPES = {8: ">u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}


@dataclass(frozen=True)
class RawImage:
    """Words of one HDU.

    Attributes
    ----------
    words : array (rows, columns)
        uint8, int16, int32, int64, float32 or float64, big-endian as in the file or native. Not to be written to, and
        valid until `Words.release`: they may lie in a buffer that is used again.
    zero, scale : float
        value = zero + scale * word.
    blank : int or None
        The integer word that means "no value"; in float words NaN does.
    """

    words: Array
    zero: float = 0.0
    scale: float = 1.0
    blank: int | None = None


class Buffers:
    """Memory for images, kept from file to file: to be given fresh memory costs several times as much as to fill it.

    Parameters
    ----------
    most : int
        Bytes that are kept; what is given back beyond them is freed.
    """

    def __init__(self, most: int = 1 << 28) -> None:
        self._free: list[Bytes] = []
        self._most = most
        self._lock = Lock()

    def take(self, size: int) -> Bytes:
        """Give a buffer of at least ``size`` bytes of any content: the smallest free one that will do, else a new one.

        Raises
        ------
        Unreadable
            There is not so much memory.
        """
        with self._lock:
            large = [n for n, one in enumerate(self._free) if size <= one.size <= 4 * size]
            if large:
                return self._free.pop(min(large, key=lambda n: self._free[n].size))
        try:
            return np.empty(size, np.uint8)
        except (MemoryError, ValueError) as error:
            msg = f"{size} bytes do not fit into memory"
            raise Unreadable(msg) from error

    def give(self, buffers: Iterable[Bytes]) -> None:
        """Take buffers back."""
        with self._lock:
            self._free += buffers
            kept = 0
            for n in reversed(range(len(self._free))):
                kept += self._free[n].size
                if kept > self._most:
                    del self._free[: n + 1]
                    break


_BUFFERS = Buffers()
"""Shared by the whole process: a file is opened, read and closed by whichever thread is free, so only memory that
outlives readers and threads is used again. Guarded by a lock; what it contains is never looked at."""


class ImageFile(Protocol):
    """What `open_words` needs to know of a file: a FileDescription does."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def images(self) -> Mapping[int, ImagePlace]:
        """Where the pixels of each image lie."""

    @property
    def stamp(self) -> FileStamp | None:
        """What the file was when its headers were read."""


_LONGEST_PRIMARY = 1 << 24
"""Bytes of a primary HDU that has more than a header."""


class Words:
    """Reader of the images of one open file; made by `open_words`."""

    def __init__(self, source: FileBytes, images: Mapping[int, ImagePlace], buffers: Buffers) -> None:
        self._source = source
        self._images = images
        self._buffers = buffers
        self._taken: list[Bytes] = []
        self._verified: tuple[int, Bytes] | None = None
        self._primary_fault: str | None = None

    @property
    def hdus(self) -> tuple[int, ...]:
        """Numbers of the HDUs that hold an image, in the file's order."""
        return tuple(sorted(self._images))

    def release(self) -> None:
        """Say that the images read so far are done with: their memory is used again."""
        self._verified = None
        self._buffers.give(self._taken)
        self._taken = []

    def __call__(self, hdu: int) -> RawImage:
        """Read one image.

        Raises
        ------
        Unreadable
            There is no such image, it is cut off or damaged, or the file has changed since its headers were read.
        """
        place = self._place(hdu)
        if place.fault:
            raise Unreadable(place.fault)
        if place.tiles is not None:
            from flatnorm_xr.measure.tiles import decompress

            stored = self._data(place, place.length)
            words = decompress(place, stored, header=lambda: self._header(place), empty=self._take)
            self._give(stored)
        else:
            dtype = np.dtype(_DTYPES[place.bitpix])
            size = place.shape[0] * place.shape[1] * dtype.itemsize
            words = self._data(place, size)[:size].view(dtype).reshape(place.shape)
        return RawImage(words, place.zero, place.scale, place.blank)

    def verify(self, hdu: int) -> str:
        """Compare an image's bytes with DATASUM, and its header and bytes, and the primary HDU, with CHECKSUM.

        Bytes that were verified are not read again when the image is asked for next.

        Returns
        -------
        str
            What is wrong, be it the card itself; empty when nothing is, or when the header has neither.
        """
        place = self._place(hdu)
        if place.sum_fault or (place.datasum is None and not place.checksum):
            return place.sum_fault
        try:
            if self._primary_fault is None and hdu > 0:
                self._primary_fault = self._verify_primary()
            if self._primary_fault:
                return self._primary_fault
            header = self._header(place)
            stored = self._data(place, place.length)
        except Unreadable as error:
            return str(error)
        self._verified = hdu, stored
        return verify_sums(stored[: place.length], header, datasum=place.datasum, checksum=place.checksum)

    def _verify_primary(self) -> str:
        """Compare the primary HDU with its CHECKSUM: its keywords are those of all other HDUs too."""
        primary = next(header_spans(self._source), None)
        if primary is None:
            return "the file is empty"
        cards, size = primary.cards, primary.offset + primary.length
        try:
            if size > _LONGEST_PRIMARY or not str(cards.get("CHECKSUM") or "").strip():
                return ""
        except CardError as error:
            return f"the primary HDU: {error}"
        stored = np.frombuffer(self._source.read(0, size), np.uint8)
        wrong = verify_sums(stored, b"", datasum=None, checksum=True)
        return wrong and "the primary HDU: " + wrong

    def verify_headers(self, *, besides: Collection[int] = ()) -> str:
        """Compare headers with CHECKSUM, tables' and others' too: one that is wrong may hide an image that is wanted.

        No data are read: they are taken to be what DATASUM says.

        Parameters
        ----------
        besides : collection of int
            Numbers of HDUs that are left out.

        Returns
        -------
        str
            What is wrong with the first wrong one; empty when nothing is. A file that breaks off is no fault here.
        """
        with suppress(Unreadable):
            for index, span in enumerate(header_spans(self._source)):
                wrong = self._verify_span(span) if index not in besides else ""
                if wrong:
                    return f"HDU {index}: {wrong}"
        return ""

    def _verify_span(self, span: HeaderSpan) -> str:
        sums = sums_of(span.cards)
        if not sums.get("checksum"):
            return str(sums.get("sum_fault", ""))
        if sums["datasum"] is None:
            if span.length > _LONGEST_PRIMARY:
                return ""
            sums["datasum"] = ones_complement_sum(np.frombuffer(self._source.read(span.offset, span.length), np.uint8))
        header = self._source.read(span.header_offset, span.offset - span.header_offset)
        total = add_sums([ones_complement_sum(np.frombuffer(header, np.uint8)), sums["datasum"]])
        return "its header does not add up to CHECKSUM" if total % 0xFFFFFFFF else ""

    def _take(self, size: int) -> Bytes:
        buffer = self._buffers.take(size)
        self._taken.append(buffer)
        return buffer[:size]

    def _give(self, part: Bytes) -> None:
        """Give one buffer back, by the part of it that was taken."""
        mine = [n for n, buffer in enumerate(self._taken) if buffer is part.base]
        self._buffers.give([self._taken.pop(n) for n in mine])

    def _place(self, hdu: int) -> ImagePlace:
        if hdu not in self._images:
            msg = f"there is no image in HDU {hdu}"
            raise Unreadable(msg)
        return self._images[hdu]

    def _header(self, place: ImagePlace) -> bytes:
        return self._source.read(place.header_offset, place.offset - place.header_offset)

    def _data(self, place: ImagePlace, length: int) -> Bytes:
        """First bytes of the data unit, and some that mean nothing behind them."""
        if self._verified is not None:
            (hdu, stored), self._verified = self._verified, None
            if hdu == place.hdu:
                return stored
            self._give(stored)
        self._source.check_holds(place.offset, length)
        data = self._take(length + SLACK)
        self._source.read_into(place.offset, data[:length].data)
        self._source.check_unchanged()
        return data


@contextmanager
def open_words(file: ImageFile | FileHeaders, *, buffers: Buffers | None = None) -> Iterator[Words]:
    """Open a file to read the words of its images.

    Parameters
    ----------
    file : FileDescription or FileHeaders
        Of a file that was read; no header is parsed again.
    buffers : Buffers, optional
        Memory to read into; that of the whole process when not given.

    Yields
    ------
    Words
        Call it with the number of an HDU for its `RawImage`. Memory is that of the images read since `Words.release`.

    Raises
    ------
    Unreadable
        The file cannot be opened, or has changed since its headers were read. Also when it is closed: a file packed as
        a whole ends in a checksum, and where that is wrong no image read from it is to be trusted.
    """
    with FileBytes(file.path, stamp=file.stamp) as source:
        images = file.places if isinstance(file, FileHeaders) else file.images
        words = Words(source, images, _BUFFERS if buffers is None else buffers)
        try:
            yield words
            source.check_rest()
        finally:
            words.release()
