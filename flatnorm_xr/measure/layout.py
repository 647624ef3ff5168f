"""Hand pixels to compiled loops in the one layout that these are compiled for, without a copy where that can be."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.compiled import compiled
from flatnorm_xr.measure.parts import Array

__all__ = ["Bits", "Rows", "bits_of", "flags_of", "no_rows", "plain", "rows_of", "turn_words", "widened"]


class Rows(NamedTuple):
    """Contiguous memory in which row r of a section begins at r * stride, all in pixels."""

    memory: Array
    stride: int


def plain(array: Array, dtype: npt.DTypeLike | None = None) -> Array:
    """View (or copy) as the one kind of array that the kernels are compiled for: flat, contiguous, read-only."""
    flat = np.require(array, dtype, ["C_CONTIGUOUS", "ALIGNED"]).reshape(-1).view()
    flat.flags.writeable = False
    return flat


@cache
def no_rows(dtype: npt.DTypeLike) -> Rows:
    """Rows of a section that is not there."""
    return Rows(plain(np.zeros(0, dtype)), 0)


class Bits(NamedTuple):
    """Words of a section as unsigned integers of 2, 4 or 8 bytes; two of the three memories are empty.

    ``kind`` is i, u or f as a number (the words' own type), and ``swap`` tells that the bytes are in the other order.
    """

    short: Array
    wide: Array
    long: Array
    stride: int
    kind: int
    swap: bool


def rows_of(array: Array) -> Rows:
    """Flat memory of a 2-D section in native byte order; copied only when its columns are not side by side."""
    rows, columns = array.shape
    size = array.itemsize
    step, side = array.strides
    in_place = (side == size or columns == 1) and (rows == 1 or (step % size == 0 and step >= columns * size))
    if array.size == 0 or not in_place or not array.flags.aligned:
        return Rows(plain(array), columns)
    stride = step // size if rows > 1 else columns
    length = (rows - 1) * stride + columns
    return Rows(np.lib.stride_tricks.as_strided(array, (length,), (size,), writeable=False), stride)


def widened(words: Array) -> Array:
    """Words of 1 byte as 2, half floats as float32, and floats of more than 8 bytes as float64; others as they are."""
    if words.dtype.itemsize == 1:
        return words.astype(np.int16)
    if words.dtype.kind == "f" and words.dtype.itemsize not in (4, 8):
        return words.astype(np.float32 if words.dtype.itemsize == 2 else np.float64)
    return words


def flags_of(bad: Array | None) -> Rows:
    """Flat memory of a 2-D section of flags as bytes; empty when there is none."""
    if bad is None:
        return no_rows(np.uint8)
    memory, stride = rows_of(bad)
    return Rows(memory.view(np.uint8), stride)


def bits_of(words: Array) -> Bits:
    """Raw bits of a 2-D section of words of 2, 4 or 8 bytes, in the order of bytes in which they lie."""
    size = words.itemsize
    raw = rows_of(words.view(f"u{size}"))
    short, wide, long = (raw.memory if size == width else no_rows(f"u{width}").memory for width in (2, 4, 8))
    return Bits(short, wide, long, raw.stride, ord(words.dtype.kind), not words.dtype.isnative)


@compiled()
def turn_words(words: Array, swap: bool, turned: Array) -> None:
    """Copy unsigned words to the front of ``turned``, their bytes the other way round if ``swap``."""
    kind = words.dtype.type
    bytes_, shorts = kind(0x00FF00FF00FF00FF), kind(0x0000FFFF0000FFFF)
    if not swap:
        for i in range(words.size):
            turned[i] = words[i]
    elif words.itemsize == 2:
        for i in range(words.size):
            turned[i] = (words[i] >> kind(8)) | (words[i] << kind(8))
    elif words.itemsize == 4:
        for i in range(words.size):
            word = ((words[i] >> kind(8)) & bytes_) | ((words[i] & bytes_) << kind(8))
            turned[i] = (word >> kind(16)) | (word << kind(16))
    else:
        for i in range(words.size):
            word = ((words[i] >> kind(8)) & bytes_) | ((words[i] & bytes_) << kind(8))
            word = ((word >> kind(16)) & shorts) | ((word & shorts) << kind(16))
            turned[i] = (word >> kind(32)) | (word << kind(32))
