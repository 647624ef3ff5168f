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
from flatnorm_xr.measure.quantised import DITHERS, restore_floats
from flatnorm_xr.measure.tile_box import tile_box

__all__ = ["decompress"]

Array = npt.NDArray[Any]
Bytes = npt.NDArray[np.uint8]

_CARD, _BLOCK = 80, 2880

_TYPES = {8: np.uint8, 16: np.int16, 32: np.int32, 64: np.int64, -32: np.float32, -64: np.float64}

_RICE, _GZIP = ("RICE_1", "RICE_ONE"), ("GZIP_1", "GZIP_2")

_SIZES = {"B": 1, "I": 2, "J": 4, "E": 4, "D": 8}
"""Bytes of what descriptors count."""

_NO_BLANK = 1 << 40
"""No 32-bit integer."""

_MOST_PIXELS = 5000
"""Pixels that a stored byte can stand for in an image of a gigabyte or more, lest a card that lies takes all memory."""


class _Tiles(NamedTuple):
    """Where the bytes of tiles lie in the data unit."""

    starts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]


def decompress(
    place: ImagePlace, stored: Bytes, *, header: Callable[[], bytes], empty: Callable[[int], Bytes]
) -> Array:
    """Decompress one image.

    Rice and gzip are undone here, everything else by astropy.

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
    if _is_ours(place, table):
        return _undo(place, table, stored, empty)
    if place.bitpix < 0 and (table.scale is not None or table.zero is not None):
        msg = "ZSCALE and ZZERO are cards and not columns, which is known of Rice and gzip in their usual forms only"
        raise Unreadable(msg)
    image = _by_astropy(stored[: place.length], header())
    if image.shape != place.shape or image.dtype.itemsize * 8 != abs(place.bitpix):
        msg = f"decompressed it is {image.shape[::-1]} of {image.dtype}"
        raise Unreadable(msg)
    return image


def _is_ours(place: ImagePlace, table: TileTable) -> bool:
    """Whether this is Rice or gzip in one of the usual forms."""
    if _kind(table, "COMPRESSED_DATA") != "B":
        return False
    rounded = _is_rounded(place, table)
    extra = {"ZBLANK", "ZSCALE", "ZZERO"} & set(table.columns)
    if rounded:
        forms = {"ZSCALE": "D", "ZZERO": "D", "ZBLANK": "J"}
        if table.dither not in DITHERS or any(table.columns[name][0].lstrip("1") != forms[name] for name in extra):
            return False
    elif extra or (place.bitpix < 0 and table.blank is not None):
        return False
    if place.compression in _RICE:
        return rounded or (place.bitpix in (8, 16, 32) and table.bytes * 8 == place.bitpix)
    return place.compression in _GZIP


def _is_rounded(place: ImagePlace, table: TileTable) -> bool:
    """Whether floats were rounded to integers before compression."""
    scale = "ZSCALE" in table.columns or table.scale is not None
    zero = "ZZERO" in table.columns or table.zero is not None
    return place.bitpix < 0 and scale and zero and table.bytes == 4


def _kind(table: TileTable, column: str) -> str:
    """Type of the elements of a column of descriptors; empty if it is none."""
    form = table.columns.get(column, ("", 0))[0].lstrip("1")
    return form[1:2] if form[:1] in ("P", "Q") else ""


def _undo(place: ImagePlace, table: TileTable, stored: Bytes, empty: Callable[[int], Bytes]) -> Array:
    rows, columns = place.shape
    size = rows * columns * abs(place.bitpix) // 8
    image = empty(size)[:size].view(_TYPES[place.bitpix]).reshape(place.shape)
    rounded = _is_rounded(place, table)
    codes = image
    if rounded:
        memory = image.view(np.uint8) if place.bitpix == -32 else empty(4 * rows * columns)[: 4 * rows * columns]
        codes = memory.reshape(-1).view(np.int32).reshape(place.shape)
    tiles = _find_tiles(place, table, "COMPRESSED_DATA", stored)
    if place.compression in _RICE:
        from flatnorm_xr.measure.rice import rice_tiles

        bad = rice_tiles(stored, tiles.starts, tiles.lengths, codes, tile=table.shape, block=table.block)
        if bad >= 0:
            raise _damaged(bad, table)
    else:
        _gunzip_tiles(place, table, tiles, stored, codes)
    if rounded:
        blank = table.blank if table.blank is not None and abs(table.blank) < _NO_BLANK else _NO_BLANK
        restore_floats(
            codes,
            image,
            tile=table.shape,
            scales=_numbers(table, "ZSCALE", ">f8", stored, otherwise=table.scale),
            zeros=_numbers(table, "ZZERO", ">f8", stored, otherwise=table.zero),
            blanks=_numbers(table, "ZBLANK", ">i4", stored, otherwise=blank).astype(np.int64),
            dither=table.dither,
            seed=table.seed,
        )
    lacking = np.flatnonzero(tiles.lengths == 0)
    if lacking.size:
        _fill_otherwise(place, table, stored, image, lacking)
    return image


def _damaged(tile: int, table: TileTable, what: str = "damaged") -> Unreadable:
    return Unreadable(f"tile {tile + 1} of {table.rows} is {what}")


def _part(image: Array, table: TileTable, tile: int) -> Array:
    """Place of a tile in the image."""
    top, bottom, left, right = tile_box(tile, image.shape[0], image.shape[1], *table.shape)
    return image[top:bottom, left:right]


def _numbers(table: TileTable, column: str, dtype: str, stored: Bytes, *, otherwise: float | None) -> Array:
    """Values of a column of the table, native; where there is no such column, what its card has for all tiles."""
    if column not in table.columns:
        return np.full(table.rows, otherwise)
    offset = table.columns[column][1]
    cells = stored[: table.rows * table.row_length].reshape(table.rows, table.row_length)
    found = np.ascontiguousarray(cells[:, offset : offset + np.dtype(dtype).itemsize]).view(dtype)[:, 0]
    return found.astype(found.dtype.newbyteorder("="))


def _gunzip_tiles(place: ImagePlace, table: TileTable, tiles: _Tiles, stored: Bytes, image: Array) -> None:
    """Undo gzip; GZIP_2 has the first bytes of all pixels first, then the second ones, and so on."""
    for n in np.flatnonzero(tiles.lengths).tolist():
        part = _part(image, table, n)
        content = _gunzip(stored[tiles.starts[n] : tiles.starts[n] + tiles.lengths[n]], 8 * part.size)
        size = len(content) // part.size
        # Integers may have been written wider or narrower than they are; floats not.
        if len(content) != size * part.size or size not in ((1, 2, 4, 8) if image.dtype.kind in "iu" else (4, 8)):
            raise _damaged(n, table)
        if image.dtype.kind == "f" and size != image.dtype.itemsize:
            raise _damaged(n, table)
        if place.compression == "GZIP_2":
            content = np.frombuffer(content, np.uint8).reshape(size, part.size).T.tobytes()
        kind = "f" if image.dtype.kind == "f" else "u" if size == 1 else "i"
        found = np.frombuffer(content, f">{kind}{size}").reshape(part.shape)
        part[...] = found
        if size > image.dtype.itemsize and not np.array_equal(part, found):
            raise _damaged(n, table)


def _gunzip(data: Bytes, most: int) -> bytes:
    """Unpack a gzip stream; nothing if it is damaged, cut off, or holds more than ``most`` bytes."""
    unpack = zlib.decompressobj(zlib.MAX_WBITS | 32)
    try:
        content = unpack.decompress(data.data, most + 1)
    except zlib.error:
        return b""
    return content if unpack.eof else b""


def _find_tiles(place: ImagePlace, table: TileTable, column: str, stored: Bytes) -> _Tiles:
    """Descriptors of a column; all of what they describe lies in the data unit."""
    form, offset = table.columns[column]
    width, kind = (8, ">u4") if form.lstrip("1")[:1] == "P" else (16, ">u8")
    cells = stored[: table.rows * table.row_length].reshape(table.rows, table.row_length)
    counts, places = np.ascontiguousarray(cells[:, offset : offset + width]).view(kind).T
    size = _SIZES[_kind(table, column)]
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
        if _kind(table, name) in _SIZES
    ]
    for n in lacking.tolist():
        part = _part(image, table, n)
        name, tiles = next(((name, tiles) for name, tiles in others if tiles.lengths[n]), (None, None))
        content = b""
        if tiles is not None:
            there = stored[tiles.starts[n] : tiles.starts[n] + tiles.lengths[n]]
            content = _gunzip(there, part.nbytes) if name == "GZIP_COMPRESSED_DATA" else there.tobytes()
        if len(content) != part.nbytes:
            raise _damaged(n, table, "damaged" if name else "missing")
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
