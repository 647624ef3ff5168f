"""Floats that were rounded to integers before compression, with or without dithering, back to floats; compiled.

References
----------
FITS Standard 4.0, section 10.2 and appendix I; Pence, Seaman & White 2009 (doi:10.1086/599023).
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from flatnorm_xr.compiled import compiled
from flatnorm_xr.measure.tile_box import tile_box

__all__ = ["DITHERS", "restore_floats"]

DITHERS = {"NO_DITHER": 0, "SUBTRACTIVE_DITHER_1": 1, "SUBTRACTIVE_DITHER_2": 2}

_COUNT = 10_000
"""Random numbers of the standard's list."""


def restore_floats(
    codes: npt.NDArray[np.int32],
    image: npt.NDArray[Any],
    *,
    tile: tuple[int, int],
    scales: npt.NDArray[np.float64],
    zeros: npt.NDArray[np.float64],
    blanks: npt.NDArray[np.int64],
    dither: str = "NO_DITHER",
    seed: int = 1,
) -> None:
    """Turn the integers of each tile into floats: zero + scale * (code - random number + 1/2).

    Parameters
    ----------
    codes : array of int32, (rows, columns), contiguous
        Integers. May be the memory of ``image``.
    image : array of float32 or float64, same shape, contiguous
        Filled in place; NaN where a code is blank.
    tile : tuple of int
        Rows and columns of a tile.
    scales, zeros, blanks : array (tiles)
        ZSCALE, ZZERO and ZBLANK of each tile; a blank outside int32 is none.
    dither : str
        ZQUANTIZ, one of `DITHERS`. With the second kind of dithering one code stands for 0 exactly.
    seed : int
        ZDITHER0.
    """
    _restore(codes, image, tile[0], tile[1], scales, zeros, blanks, DITHERS[dither], seed % _COUNT, _random_numbers())


@cache
def _random_numbers() -> npt.NDArray[np.float32]:
    """Give the standard's list: the generator of Park and Miller, from 1 on."""
    state = 1
    numbers = []
    for _ in range(_COUNT):
        state = 16807 * state % 2147483647
        numbers.append(state / 2147483647)
    return np.array(numbers, dtype=np.float32)


@compiled()
def _restore(
    codes: Any,
    image: Any,
    tile_rows: int,
    tile_columns: int,
    scales: Any,
    zeros: Any,
    blanks: Any,
    dither: int,
    seed: int,
    random: Any,
) -> None:
    rows, columns = codes.shape
    for n in range(len(scales)):
        top, bottom, left, right = tile_box(n, rows, columns, tile_rows, tile_columns)
        first = (n + seed - 1) % len(random)
        at = int(random[first] * 500)
        scale, zero, blank = scales[n], zeros[n], blanks[n]
        for row in range(top, bottom):
            for column in range(left, right):
                code = codes[row, column]
                if code == blank:
                    image[row, column] = np.nan
                elif dither == 0:
                    image[row, column] = code * scale + zero
                elif dither == 2 and code == -2147483646:
                    image[row, column] = 0
                else:
                    image[row, column] = (code - np.float64(random[at]) + 0.5) * scale + zero
                at += 1
                if at == len(random):
                    first = (first + 1) % len(random)
                    at = int(random[first] * 500)
