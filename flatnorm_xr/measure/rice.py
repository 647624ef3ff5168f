"""Rice decompression of the tiles of an image, compiled.

Pixels of a tile, in order of rows, become differences from the pixel before, and these non-negative numbers (0, -1, 1,
-2 ... become 0, 1, 2, 3 ...). Each block of them is written with a number of low bits that suits it: the high part of a
number as so many zeros and a one, then the low bits.

References
----------
FITS Standard 4.0, section 10.4.1; Rice, Yeh & Miller 1993 (doi:10.2514/6.1993-4541); White & Becker 1998.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import types
from numba.extending import intrinsic

from flatnorm_xr.compiled import compiled
from flatnorm_xr.measure.tile_box import tile_box

__all__ = ["SLACK", "rice_tiles"]

SLACK = 16
"""Bytes behind the stored ones that are looked at, though never used."""

_CODES = {1: (3, 6), 2: (4, 14), 4: (5, 25)}
"""Bits of a block's code, and the code of a block of plain differences, for pixels of so many bytes."""


def rice_tiles(
    stored: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    image: npt.NDArray[Any],
    *,
    tile: tuple[int, int],
    block: int,
) -> int:
    """Decompress tiles into their places in an image.

    Parameters
    ----------
    stored : array of uint8, contiguous
        At least `SLACK` bytes longer than what the tiles take.
    starts, lengths : array of int64
        Where each tile's bytes lie in ``stored``, tile after tile along the rows of the image; inside it, the slack not
        counted. Tiles of no bytes are left out.
    image : array of uint8, int16 or int32, (rows, columns), contiguous
        Filled in place.
    tile : tuple of int
        Rows and columns of a tile; those at the upper and right edge may be smaller.
    block : int
        Pixels of a block.

    Returns
    -------
    int
        -1, or the number of the first tile whose bytes are too few or too many for its pixels; the image is then
        not to be used. Too many are no padding: where bytes were lost and are zero, blocks of equal pixels are read
        from a few of them and the others are left over.
    """
    code_bits, plain = _CODES[image.dtype.itemsize]
    return int(_decode_tiles(stored, starts, lengths, image, tile[0], tile[1], block, code_bits, plain))


def _leading_zeros_code(_context: Any, _word: Any) -> Any:
    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.ctlz(arguments[0], context.get_constant(types.boolean, False))

    return types.uint64(types.uint64), generate


_leading_zeros: Any = intrinsic(_leading_zeros_code)
"""Number of zero bits above the highest one; 64 of zero. One instruction, for which Numba has no public name."""


@compiled()
def _window(stored: Any, position: Any) -> Any:
    """64 bits from a bit on, the last 7 of which may be zeros that are not there."""
    at = position >> np.uint64(3)
    word = np.uint64(0)
    for i in range(8):
        word = (word << np.uint64(8)) | np.uint64(stored[at + np.uint64(i)])
    return word << (position & np.uint64(7))


@compiled()
def _signed(code: Any) -> Any:
    """0, 1, 2, 3 ... to 0, -1, 1, -2 ..."""
    return np.int64(code >> np.uint64(1)) ^ -np.int64(code & np.uint64(1))


@compiled()
def _count_zeros(stored: Any, position: Any, end: Any) -> Any:
    """Zeros before the next one, however many; too many if that lies behind the end."""
    zeros = np.uint64(0)
    while position + zeros <= end:
        more = _leading_zeros(_window(stored, position + zeros))
        if more <= np.uint64(56):
            return zeros + more
        zeros += np.uint64(56)
    return zeros


@compiled()
def _decode_block(stored: Any, position: Any, end: Any, pixels: Any, last: Any, low: Any) -> Any:
    """Decompress a block of so many low bits; gives where it ends, or a place behind ``end`` that is as far as it got.

    A window of 56 bits mostly holds several pixels.
    """
    one = np.uint64(1)
    rest = np.uint64(63) - low
    window = _window(stored, position)
    have = np.uint64(56)
    for i in range(len(pixels)):
        zeros = _leading_zeros(window)
        used = zeros + one + low
        if used > have:
            if position > end:
                return position
            window = _window(stored, position)
            have = np.uint64(56)
            zeros = _leading_zeros(window)
            used = zeros + one + low
            if used > have:
                zeros = _count_zeros(stored, position, end)
                position += zeros + one
                if position > end:
                    return position
                last += _signed((zeros << low) | (_window(stored, position) >> one >> rest))
                pixels[i] = last
                position += low
                if position > end:
                    return position
                window = _window(stored, position)
                continue
        window = window << zeros << one
        last += _signed((zeros << low) | (window >> one >> rest))
        pixels[i] = last
        window <<= low
        have -= used
        position += used
    return position


@compiled()
def _decode(
    stored: Any, start: int, length: int, pixels: Any, size: int, block: int, code_bits: int, plain: int
) -> bool:
    """Decompress one tile; False if it does not take just the bytes it has. No window is opened behind the end."""
    full = np.uint64(8 * size)
    position = np.uint64(8 * start)
    end = np.uint64(8 * (start + length))
    if length < size:
        return False
    last = np.int64(_window(stored, position) >> (np.uint64(64) - full))
    position += full
    done = 0
    while done < len(pixels):
        stop = min(done + block, len(pixels))
        if position > end:
            return False
        code = np.int64(_window(stored, position) >> np.uint64(64 - code_bits)) - 1
        position += np.uint64(code_bits)
        if position > end or code > plain:
            return False
        if code < 0:
            for i in range(done, stop):
                pixels[i] = last
        elif code == plain:
            if position + np.uint64(stop - done) * full > end:
                return False
            for i in range(done, stop):
                last += _signed(_window(stored, position) >> (np.uint64(64) - full))
                position += full
                pixels[i] = last
        else:
            position = _decode_block(stored, position, end, pixels[done:stop], last, np.uint64(code))
            if position > end:
                return False
            last = np.int64(pixels[stop - 1])
        done = stop
    return bool(position <= end and end - position < np.uint64(8))


@compiled()
def _decode_tiles(
    stored: Any,
    starts: Any,
    lengths: Any,
    image: Any,
    tile_rows: int,
    tile_columns: int,
    block: int,
    code_bits: int,
    plain: int,
) -> int:
    rows, columns = image.shape
    whole_rows = tile_columns >= columns
    flat = image.reshape(rows * columns)
    kept = np.empty(0 if whole_rows else tile_rows * tile_columns, dtype=image.dtype)
    for n in range(len(starts)):
        if lengths[n] == 0:
            continue
        top, bottom, left, right = tile_box(n, rows, columns, tile_rows, tile_columns)
        width = right - left
        target = flat[top * columns : bottom * columns] if whole_rows else kept[: (bottom - top) * width]
        if not _decode(stored, starts[n], lengths[n], target, image.itemsize, block, code_bits, plain):
            return n
        if not whole_rows:
            for row in range(top, bottom):
                for column in range(left, right):
                    image[row, column] = kept[(row - top) * width + column - left]
    return -1
