"""Where the pixels of one HDU lie in its file, and how they are stored; found once, from the header."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any, overload

from flatnorm_xr.camera.cards import CardError

__all__ = ["ImagePlace", "TileTable", "find_place"]

_BITPIX = (8, 16, 32, 64, -32, -64)

_MOST = 1 << 62
"""What no size reaches."""

_REASON = 1 << 40
"""Bytes of one HDU that no camera writes."""

_LONGEST_TEXT = 40
"""Characters of a value that a message shows: a text may go on over any number of cards."""

_DIGITS = 20
"""Of a DATASUM at most: it has ten, and Python turns no text of thousands of them into a number."""


@dataclass(frozen=True)
class TileTable:
    """How the table of a tile-compressed image is laid out.

    Attributes
    ----------
    row_length, rows : int
        Bytes of a row; number of rows, one a tile.
    heap : int
        Offset of the heap in the data unit.
    columns : dict of str to tuple
        Format (as TFORM has it) and offset in the row of each column.
    shape : tuple of int
        Rows and columns of a tile.
    block, bytes : int
        Pixels of a Rice block, bytes of a Rice pixel.
    dither : str
        ZQUANTIZ: how floats were rounded to integers.
    seed : int
        ZDITHER0: where the dithering begins.
    blank : int or None
        ZBLANK, else BLANK: the integer that means "no value", of floats that were rounded too.
    scale, zero : float or None
        ZSCALE and ZZERO as cards, which hold for all tiles; None where they are columns, or absent.
    """

    row_length: int
    rows: int
    heap: int
    columns: Mapping[str, tuple[str, int]]
    shape: tuple[int, int]
    block: int = 32
    bytes: int = 4
    dither: str = "NO_DITHER"
    seed: int = 0
    blank: int | None = None
    scale: float | None = None
    zero: float | None = None


@dataclass(frozen=True)
class ImagePlace:
    """Where the pixels of one HDU lie.

    Attributes
    ----------
    hdu : int
        Number of the HDU.
    header_offset, offset, length : int
        Where its header begins, where its data begin, and how many bytes these are without padding; in the file, or
        in what it holds if the file is packed.
    bitpix : int
        Type of the pixels.
    shape : tuple of int
        Rows, columns.
    zero, scale : float
        BZERO, BSCALE: value = zero + scale * word.
    blank : int or None
        The word that means "no value".
    datasum : int or None
        DATASUM of the header.
    checksum : bool
        Whether the header has a CHECKSUM.
    sum_fault : str
        Why the checksums cannot be compared: one of their cards makes no sense. The pixels can be read all the same.
    compression : str
        Empty, or ZCMPTYPE.
    tiles : TileTable or None
        Of a tile-compressed image.
    fault : str
        Why the pixels cannot be read, though the image is there: a card that makes no sense.
    """

    hdu: int
    header_offset: int
    offset: int
    length: int
    bitpix: int
    shape: tuple[int, int]
    zero: float = 0.0
    scale: float = 1.0
    blank: int | None = None
    datasum: int | None = None
    checksum: bool = False
    sum_fault: str = ""
    compression: str = ""
    tiles: TileTable | None = None
    fault: str = ""


def data_length(cards: Any) -> int:
    """Bytes of the data unit that a header promises, without padding.

    Raises
    ------
    CardError
        A size or type that cannot be.
    """
    axes = [_whole(cards, f"NAXIS{n + 1}") for n in range(_whole(cards, "NAXIS", most=999))]
    bitpix = _bitpix(cards, "BITPIX")
    if not axes:
        return 0
    if len(axes) > 1 and axes[0] == 0 and cards.get("GROUPS") is True:
        axes = axes[1:]
    pixels = 1
    for axis in axes:
        pixels = min(pixels * axis, _MOST)  # of 999 axes the product has more digits than Python prints
    length: int = abs(bitpix) // 8 * _whole(cards, "GCOUNT", 1) * (_whole(cards, "PCOUNT", 0) + pixels)
    if length >= _MOST:
        msg = f"NAXISn and PCOUNT make more than {_MOST} bytes"
        raise CardError(msg)
    return length


def beyond_reason(length: int) -> str:
    """Say that no data unit is so long: it is the header that is wrong, not the file that ends early."""
    return f"its header says that {length} bytes follow, which cannot be" if length > _REASON else ""


def image_shape(cards: Any) -> tuple[int, ...]:
    """Rows and columns of a header's image; empty when it is not one of two dimensions.

    Raises
    ------
    CardError
        A size that cannot be.
    """
    compressed = cards.get("ZIMAGE") is True
    if not compressed and str(cards.get("XTENSION", "IMAGE")).strip() != "IMAGE":
        return ()
    prefix = "ZNAXIS" if compressed else "NAXIS"
    if cards.get(prefix, 0) != 2:
        return ()
    shape = _whole(cards, f"{prefix}2"), _whole(cards, f"{prefix}1")
    return shape if all(shape) else ()


def find_place(cards: Any, *, hdu: int, header_offset: int, offset: int, length: int) -> ImagePlace:
    """Where the image of a header lies; the header must have one of two dimensions.

    Parameters
    ----------
    cards : Cards or astropy Header
        The header.
    hdu, header_offset, offset, length : int
        As in `ImagePlace`.
    """
    shape = image_shape(cards)
    place = ImagePlace(hdu, header_offset, offset, length, 0, (shape[0], shape[1]), **sums_of(cards))
    try:
        return replace(place, **_storage(cards, place.shape, length))
    except CardError as error:
        return replace(place, fault=str(error))


def _storage(cards: Any, shape: tuple[int, int], length: int) -> dict[str, Any]:
    compressed = cards.get("ZIMAGE") is True
    bitpix = _bitpix(cards, "ZBITPIX" if compressed else "BITPIX")
    needed = length if compressed else shape[0] * shape[1] * abs(bitpix) // 8
    if why := beyond_reason(needed):
        raise CardError(why)
    if length < needed:
        msg = f"{length} bytes for {shape[1]} x {shape[0]} pixels"
        raise CardError(msg)
    scale = _real(cards, "BSCALE", 1.0)
    if scale == 0:
        msg = "BSCALE is 0, which makes all pixels one"
        raise CardError(msg)
    found: dict[str, Any] = {
        "bitpix": bitpix,
        "zero": _real(cards, "BZERO", 0.0),
        "scale": scale,
        "blank": _blank(cards, compressed) if bitpix > 0 else None,
    }
    if compressed:
        tiles = _tiles(cards, shape)
        _check_columns(tiles, bitpix)
        found |= {"compression": str(cards.get("ZCMPTYPE", "")).strip(), "tiles": tiles}
    return found


def _check_columns(tiles: TileTable, bitpix: int) -> None:
    """Refuse a table without what is needed, or with what would be passed over."""
    msg = ""
    if "COMPRESSED_DATA" not in tiles.columns:
        msg = "its table has no column COMPRESSED_DATA"
    elif bitpix > 0 and "ZBLANK" in tiles.columns:
        msg = "its table of integers has a column ZBLANK, which is known as a card only"
    elif bitpix < 0 and ("ZSCALE" in tiles.columns or tiles.scale is not None) != (
        "ZZERO" in tiles.columns or tiles.zero is not None
    ):
        msg = "it has only one of ZSCALE and ZZERO"
    if msg:
        raise CardError(msg)


def _blank(cards: Any, compressed: bool) -> int | None:
    value = cards.get("ZBLANK") if compressed else None
    value = cards.get("BLANK") if value is None else value
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool):
        msg = f"BLANK is {_shown(value)}"
        raise CardError(msg)
    return value


def sums_of(cards: Any) -> dict[str, Any]:
    """Find what the header says of checksums, as attributes of `ImagePlace`.

    A card of them that makes no sense is no fault of the pixels.
    """
    try:
        return {"datasum": _datasum(cards), "checksum": bool(str(cards.get("CHECKSUM") or "").strip())}
    except CardError as error:
        return {"sum_fault": str(error)}


def _datasum(cards: Any) -> int | None:
    value = cards.get("DATASUM")
    text = "" if value is None else str(value).strip()
    if not text:
        return None
    if not (text.isdecimal() and len(text) <= _DIGITS and int(text) < 1 << 32):
        msg = f"DATASUM is {_shown(text)}"
        raise CardError(msg)
    return int(text)


def _tiles(cards: Any, shape: tuple[int, int]) -> TileTable:
    row_length, rows = _whole(cards, "NAXIS1"), _whole(cards, "NAXIS2")
    tile = _whole(cards, "ZTILE2", 1), _whole(cards, "ZTILE1", shape[1])
    if not all(tile):
        msg = f"ZTILE1 = {tile[1]}, ZTILE2 = {tile[0]}"
        raise CardError(msg)
    tile = min(tile[0], shape[0]), min(tile[1], shape[1])
    options = {}
    for n in range(1, 100):
        name = cards.get(f"ZNAME{n}")
        if name is None:
            break
        options[str(name).strip()] = cards.get(f"ZVAL{n}")
    columns = {}
    offset = 0
    for n in range(1, _whole(cards, "TFIELDS", most=999) + 1):
        form = str(cards.get(f"TFORM{n}", "")).strip()
        columns[str(cards.get(f"TTYPE{n}", "")).strip().upper()] = (form, offset)
        offset += _field_bytes(form)
    if offset > row_length:
        msg = f"columns of {offset} bytes in rows of {row_length}"
        raise CardError(msg)
    block, size = options.get("BLOCKSIZE", 32), options.get("BYTEPIX", 4)
    if not (isinstance(block, int) and isinstance(size, int) and 0 < block <= 1 << 16 and size in (1, 2, 4, 8)):
        msg = f"BLOCKSIZE is {_shown(block)}, BYTEPIX is {_shown(size)}"
        raise CardError(msg)
    heap = _whole(cards, "THEAP", row_length * rows)
    dither = str(cards.get("ZQUANTIZ") or "NO_DITHER").strip()
    seed = _whole(cards, "ZDITHER0", 0)
    scale, zero = (None if key in columns else _real(cards, key, None) for key in ("ZSCALE", "ZZERO"))
    return TileTable(row_length, rows, heap, columns, tile, block, size, dither, seed, _blank(cards, True), scale, zero)


_FIELD = {"L": 1, "X": 1, "B": 1, "A": 1, "I": 2, "J": 4, "E": 4, "K": 8, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16}


def _field_bytes(form: str) -> int:
    digits = form[: len(form) - len(form.lstrip("0123456789"))]
    kind = form[len(digits) : len(digits) + 1]
    if kind not in _FIELD or len(digits) > 9:
        msg = f"a table column of format {_shown(form)}"
        raise CardError(msg)
    count = int(digits or 1)
    return -(-count // 8) if kind == "X" else count * _FIELD[kind]


def _bitpix(cards: Any, key: str) -> int:
    value = cards.get(key)
    if value not in _BITPIX or not isinstance(value, int):
        msg = f"{key} is {_shown(value)}"
        raise CardError(msg)
    return value


def _shown(value: Any) -> str:
    """Write a value as Python does; of a long text the beginning."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TEXT else text[:_LONGEST_TEXT] + "..."


def _whole(cards: Any, key: str, default: int | None = None, *, most: int = _MOST) -> int:
    value = cards.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        msg = f"there is no card {key}" if value is None else f"{key} is {_shown(value)}"
        raise CardError(msg)
    return value


@overload
def _real(cards: Any, key: str, default: float) -> float: ...


@overload
def _real(cards: Any, key: str, default: None) -> float | None: ...


def _real(cards: Any, key: str, default: float | None) -> float | None:
    value = cards.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        msg = f"{key} is {_shown(value)}"
        raise CardError(msg)
    return float(value)
