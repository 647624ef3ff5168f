"""Pixels of one HDU as they lie in the file: plain, packed as a whole, or compressed by tiles."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.file_bytes import FileBytes, FileStamp, Unreadable
from flatnorm_xr.camera.image_place import ImagePlace
from flatnorm_xr.measure.checksums import verify_sums

__all__ = ["ImageFile", "RawImage", "Unreadable", "Words", "open_words"]

Array = npt.NDArray[Any]

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


class Words:
    """Reader of the images of one open file; made by `open_words`."""

    def __init__(self, source: FileBytes, images: Mapping[int, ImagePlace]) -> None:
        self._source = source
        self._images = images
        self._free: list[npt.NDArray[np.uint8]] = []
        self._taken: list[npt.NDArray[np.uint8]] = []

    def release(self) -> None:
        """Say that the images read so far are done with: their memory is used again."""
        self._free += self._taken
        self._taken.clear()

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
        if place.compression or place.tiles is not None:
            from flatnorm_xr.measure.tiles import decompress

            return decompress(place, self._data(place), header=self._header(place))
        dtype = np.dtype(_DTYPES[place.bitpix])
        rows, columns = place.shape
        data = self._data(place, rows * columns * dtype.itemsize)
        words = data.view(dtype).reshape(place.shape)
        return RawImage(words, place.zero, place.scale, place.blank)

    def verify(self, hdu: int) -> str:
        """Compare an image's bytes with DATASUM, and its header and bytes with CHECKSUM.

        Returns
        -------
        str
            What is wrong; empty when nothing is, or when the header has neither.
        """
        place = self._place(hdu)
        if place.datasum is None and not place.checksum:
            return ""
        try:
            return verify_sums(self._data(place), self._header(place), datasum=place.datasum, checksum=place.checksum)
        except Unreadable as error:
            return str(error)

    def _place(self, hdu: int) -> ImagePlace:
        if hdu not in self._images:
            msg = f"there is no image in HDU {hdu}"
            raise Unreadable(msg)
        return self._images[hdu]

    def _header(self, place: ImagePlace) -> bytes:
        return self._source.read(place.header_offset, place.offset - place.header_offset)

    def _data(self, place: ImagePlace, length: int | None = None) -> npt.NDArray[np.uint8]:
        """Bytes of the data unit, or the first of them."""
        length = place.length if length is None else length
        self._source.check_holds(place.offset, length)
        data = self._buffer(length)
        self._source.read_into(place.offset, data.data)
        self._source.check_unchanged()
        return data

    def _buffer(self, length: int) -> npt.NDArray[np.uint8]:
        """Memory for so many bytes: of those that are free the smallest that is large enough, else new."""
        large = [k for k, one in enumerate(self._free) if one.size >= length + _SLACK]
        if large:
            buffer = self._free.pop(min(large, key=lambda k: self._free[k].size))
        else:
            self._free.clear()
            try:
                buffer = np.empty(length + _SLACK, np.uint8)
            except (MemoryError, ValueError) as error:
                msg = f"{length} bytes do not fit into memory"
                raise Unreadable(msg) from error
        self._taken.append(buffer)
        return buffer[:length]


_SLACK = 16
"""Bytes behind the data that decoders may look at."""


@contextmanager
def open_words(file: ImageFile) -> Iterator[Words]:
    """Open a file to read the words of its images.

    Parameters
    ----------
    file : FileDescription
        From `flatnorm_xr.camera.geometry.describe`; no header is parsed again.

    Yields
    ------
    Words
        Call it with the number of an HDU for its `RawImage`. Memory is that of the images read since `Words.release`.

    Raises
    ------
    Unreadable
        The file cannot be opened, or has changed since its headers were read.
    """
    with FileBytes(file.path, stamp=file.stamp) as source:
        yield Words(source, file.images)
