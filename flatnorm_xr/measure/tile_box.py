"""Which pixels of an image a tile of it covers; compiled."""

from __future__ import annotations

from flatnorm_xr.compiled import compiled

__all__ = ["tile_box"]


@compiled()
def tile_box(number: int, rows: int, columns: int, tile_rows: int, tile_columns: int) -> tuple[int, int, int, int]:
    """First row, row behind the last, first column, column behind the last.

    Tiles are numbered along the rows of the image; those at the upper and right edge may be smaller.
    """
    across = (columns + tile_columns - 1) // tile_columns
    top, left = number // across * tile_rows, number % across * tile_columns
    return top, min(top + tile_rows, rows), left, min(left + tile_columns, columns)
