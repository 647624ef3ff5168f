"""Tile-compressed images: the table of one HDU to the words of its image."""

from __future__ import annotations

import io
import warnings
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from flatnorm_xr.camera.file_bytes import Unreadable, one_line
from flatnorm_xr.camera.image_place import ImagePlace, TileTable

__all__ = ["decompress"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_CARD, _BLOCK = 80, 2880

_RICE_TYPES = {8: np.uint8, 16: np.int16, 32: np.int32}

_MOST_PIXELS = 5000
"""Pixels that a stored byte can stand for in an image of a gigabyte or more, lest a card that lies takes all memory."""


class _Tiles(NamedTuple):
    """Where the bytes of tiles lie in the data unit."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def decompress(
    place: ImagePlace, stored: Bytes, *, header: Callable[[], bytes], empty: Callable[[int], Bytes] = np.empty
) -> Array:
    """Decompress one image.

    Rice compression of integers is undone here, everything else by astropy.

    Parameters
    ----------
    place : ImagePlace
        Of a tile-compressed image.
    stored : array of uint8
        The data unit (table and heap), with `flatnorm_xr.measure.rice.SLACK` bytes more behind it.
    header : callable
        Gives the header, for what astropy decompresses.
    empty : callable
        Gives an array of so many uint8 for the image.

    Returns
    -------
    array (rows, columns)
        Integers native, floats as astropy gives them.

    Raises
    ------
    Unreadable
        Tiles that are missing, cut off or damaged, or of a compression that is not known.
    """
    table = place.tiles
    assert table is not None
    rows, columns = place.shape
    tiles = -(-rows // table.shape[0]) * -(-columns // table.shape[1])
    if tiles != table.rows:
        msg = f"its table has {table.rows} rows, and the image {tiles} tiles"
        raise Unreadable(msg)
    if table.rows * table.row_length > place.length:
        msg = "its table is cut off"
        raise Unreadable(msg)
    size = rows * columns * abs(place.bitpix) // 8
    if size > 1 << 30 and size > _MOST_PIXELS * place.length:
        msg = f"{columns} x {rows} pixels cannot be in {place.length} bytes"
        raise Unreadable(msg)
    if _is_rice(place, table):
        return _rice(place, table, stored, empty(size))
    image = _by_astropy(stored[: place.length], header())
    if image.shape != place.shape or image.dtype.itemsize * 8 != abs(place.bitpix):
        msg = f"decompressed it is {image.shape[::-1]} of {image.dtype}"
        raise Unreadable(msg)
    return image


def _is_rice(place: ImagePlace, table: TileTable) -> bool:
    return (
        place.compression in ("RICE_1", "RICE_ONE")
        and place.bitpix in _RICE_TYPES
        and table.bytes * 8 == place.bitpix
        and _kind(table, "COMPRESSED_DATA") == "B"
        and not {"ZBLANK", "ZSCALE", "ZZERO"} & set(table.columns)
    )


def _kind(table: TileTable, column: str) -> str:
    """Type of the elements of a column of descriptors; empty if it is none."""
    form = table.columns.get(column, ("", 0))[0].lstrip("1")
    return form[1:2] if form[:1] in ("P", "Q") else ""


def _rice(place: ImagePlace, table: TileTable, stored: Bytes, buffer: Bytes) -> Array:
    from flatnorm_xr.measure.rice import rice_tiles

    image = buffer.view(_RICE_TYPES[place.bitpix]).reshape(place.shape)
    tiles = _find_tiles(place, table, "COMPRESSED_DATA", stored)
    bad = rice_tiles(stored, tiles.starts, tiles.lengths, image, tile=table.shape, block=table.block)
    if bad >= 0:
        msg = f"tile {bad + 1} of {table.rows} is damaged"
        raise Unreadable(msg)
    lacking = np.flatnonzero(tiles.lengths == 0)
    if lacking.size:
        _fill_otherwise(place, table, stored, image, lacking)
    return image


def _find_tiles(place: ImagePlace, table: TileTable, column: str, stored: Bytes) -> _Tiles:
    """Descriptors of a column; all of what they describe lies in the data unit."""
    form, offset = table.columns[column]
    width, kind = (8, ">u4") if form.lstrip("1")[:1] == "P" else (16, ">u8")
    cells = stored[: table.rows * table.row_length].reshape(table.rows, table.row_length)
    counts, places = np.ascontiguousarray(cells[:, offset : offset + width]).view(kind).T
    size = {"B": 1, "I": 2, "J": 4}[_kind(table, column)]
    room = place.length - table.heap
    outside = (counts > max(room, 0) // size) | (places > max(room, 0))
    if not outside.any():
        starts, lengths = places.astype(np.int64) + table.heap, counts.astype(np.int64) * size
        outside = (starts + lengths > place.length) & (lengths > 0)
    if outside.any():
        msg = f"tile {int(np.argmax(outside)) + 1} of {table.rows} lies outside the data"
        raise Unreadable(msg)
    return _Tiles(starts, lengths)


def _fill_otherwise(place: ImagePlace, table: TileTable, stored: Bytes, image: Array, lacking: Array) -> None:
    """Fill in tiles that Rice would not have made smaller: as gzip made them, or as they are."""
    others = [
        (name, _find_tiles(place, table, name, stored))
        for name in ("GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA")
        if _kind(table, name) in ("B", "I", "J")
    ]
    across = -(-image.shape[1] // table.shape[1])
    for n in lacking.tolist():
        top, left = n // across * table.shape[0], n % across * table.shape[1]
        part = image[top : top + table.shape[0], left : left + table.shape[1]]
        name, tiles = next(((name, tiles) for name, tiles in others if tiles.lengths[n]), (None, None))
        content = b"" if tiles is None else bytes(stored[tiles.starts[n] : tiles.starts[n] + tiles.lengths[n]])
        if name == "GZIP_COMPRESSED_DATA":
            try:
                content = zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(content, part.nbytes + 1)
            except zlib.error:
                content = b""
        if len(content) != part.nbytes:
            msg = f"tile {n + 1} of {table.rows} is {'damaged' if name else 'missing'}"
            raise Unreadable(msg)
        part[...] = np.frombuffer(content, image.dtype.newbyteorder(">")).reshape(part.shape)


def _by_astropy(stored: Bytes, header: bytes) -> Array:
    """Words of an image, decompressed by astropy from a file in memory that has nothing else."""
    from astropy.io import fits

    primary = b"SIMPLE  =                    T".ljust(_CARD) + b"BITPIX  =                    8".ljust(_CARD)
    primary += b"NAXIS   =                    0".ljust(_CARD) + b"END".ljust(_CARD)
    memory = io.BytesIO(primary.ljust(_BLOCK) + header + stored.tobytes() + bytes(-len(stored) % _BLOCK))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(memory, memmap=False, do_not_scale_image_data=True) as hdus:
                image: Array = hdus[1].data
        except Exception as error:  # decompressors raise anything on damaged bytes
            raise Unreadable(one_line(error)) from error
    return image
