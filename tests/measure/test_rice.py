"""Rice compression undone bit by bit as astropy and fitsio undo it, and refused where tiles are damaged."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.measure.rice import SLACK, rice_tiles
from flatnorm_xr.measure.words import open_words

fits = pytest.importorskip("astropy.io.fits")

Array = npt.NDArray[Any]
WordsOf = Callable[[Path], Array]

pytestmark = pytest.mark.usefixtures("own_decoder")


def noise(kind: str, dtype: str, shape: tuple[int, int]) -> Array:
    """Images of every kind that Rice codes differ for: smooth, faint, wild, empty, and with spikes."""
    rng = np.random.default_rng(20260101)
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    middle, step = (low + high) // 2 + 1, max((high - low) >> 12, 1)
    if kind == "wild":
        return rng.integers(low, high, shape, dtype=dtype, endpoint=True)
    if kind == "extremes":
        return np.where(rng.random(shape) < 0.5, low, high).astype(dtype)
    image = np.full(shape, middle, dtype=dtype)
    if kind == "smooth":
        image += rng.integers(0, 20 * step, shape, dtype=dtype)
    if kind == "faint":
        image += rng.integers(0, 2, shape, dtype=dtype)
    if kind == "spikes":
        image[rng.random(shape) < 0.01] = high
        image[rng.random(shape) < 0.01] = low
    return image


@pytest.mark.parametrize("kind", ["smooth", "faint", "wild", "extremes", "constant", "spikes"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4"])
def test_every_kind_of_integers_comes_back(tmp_path: Path, dtype: str, kind: str) -> None:
    image = noise(kind, dtype, (40, 131))
    fits.CompImageHDU(image, compression_type="RICE_1").writeto(tmp_path / "a.fits")
    with open_words(read_headers(tmp_path / "a.fits")) as words:
        raw = words(1)
        assert_array_equal(raw.zero + raw.scale * raw.words.astype("f8"), image)
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        assert_array_equal(raw.words, hdus[1].data)


@pytest.mark.parametrize("tile", [(131, 1), (131, 40), (50, 7), (1, 1), (131, 3), (64, 64), (33, 40)])
@pytest.mark.parametrize("dtype", ["u1", "u2", "i4"])
def test_tiles_of_any_shape(words_of: WordsOf, tmp_path: Path, dtype: str, tile: tuple[int, int]) -> None:
    image = noise("smooth", dtype, (40, 131))
    fits.CompImageHDU(image, compression_type="RICE_1", tile_shape=tile[::-1]).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        assert_array_equal(words_of(tmp_path / "a.fits"), hdus[1].data)


@pytest.mark.parametrize("kind", ["smooth", "wild", "spikes", "constant"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4"])
def test_what_fitsio_wrote(tmp_path: Path, dtype: str, kind: str) -> None:
    fitsio = pytest.importorskip("fitsio")
    image = noise(kind, dtype, (40, 131))
    for name, options in {"rows": {}, "tiles": {"tile_dims": (17, 50)}, "far": {"qlevel": 0}}.items():
        path = tmp_path / f"{name}.fits"
        fitsio.write(path, image, compress="RICE", **options)
        with open_words(read_headers(path)) as words:
            raw = words(1)
            assert_array_equal(raw.zero + raw.scale * raw.words.astype("f8"), fitsio.read(path, ext=1))


def test_a_code_longer_than_a_machine_word() -> None:
    # A first pixel, one block of code 0 (no low bits), a difference of +200 as 400 zeros and a one, then 31 of nothing.
    bits = f"{7:016b}" + "0001" + "0" * 400 + "1" + "1" * 31
    stored = np.packbits(np.array(list(bits), dtype="u1"))
    image = np.zeros((1, 32), dtype="i2")
    assert decode(stored, image) == -1
    assert_array_equal(image[0], 207)


def decode(stored: Array, image: Array, block: int = 32) -> int:
    padded = np.concatenate([stored, np.full(SLACK, 255, "u1")])
    starts, lengths = np.zeros(1, "i8"), np.array([len(stored)])
    return rice_tiles(padded, starts, lengths, image, tile=image.shape, block=block)


def tile(dtype: str, kind: str = "smooth") -> tuple[Array, Array]:
    """Bytes of one tile, and its pixels."""
    image = noise(kind, dtype, (1, 300))
    hdu = fits.CompImageHDU(image, compression_type="RICE_1")
    memory = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(memory)
    memory.seek(0)
    with fits.open(memory, disable_image_compression=True) as hdus:
        return hdus[1].data["COMPRESSED_DATA"][0].copy(), image


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
def test_too_few_and_too_many_bytes_are_seen(dtype: str) -> None:
    stored, image = tile(dtype)
    found = np.zeros_like(image)
    assert decode(stored, found) == -1
    assert_array_equal(found, image)
    assert all(decode(stored[:n], found) == 0 for n in range(1, len(stored)))
    assert decode(np.append(stored, np.uint8(0)), found) == 0


@pytest.mark.parametrize("dtype", ["u1", "i2", "i4"])
def test_no_bytes_whatever_lead_out_of_bounds(dtype: str) -> None:
    """What lies behind the bytes of a tile never becomes a pixel, whatever the bytes are."""
    rng = np.random.default_rng(3)
    stored, image = tile(dtype, "spikes")
    for _ in range(300):
        damaged = stored.copy()
        damaged[rng.integers(0, len(stored), 3)] = rng.integers(0, 256, 3)
        if rng.random() < 0.3:
            damaged = np.zeros_like(damaged) if rng.random() < 0.5 else rng.integers(0, 256, 50, dtype="u1")
        results = []
        for behind in (0, 255):
            found = np.zeros_like(image)
            padded = np.concatenate([damaged, np.full(SLACK, behind, "u1")])
            whole = rice_tiles(padded, np.zeros(1, "i8"), np.array([len(damaged)]), found, tile=image.shape, block=32)
            results.append((whole, found.tobytes() if whole < 0 else b""))
        assert results[0] == results[1]


def rewrite(path: Path, change: Any) -> Path:
    """Change the table of a compressed file."""
    with fits.open(path, disable_image_compression=True, mode="update") as hdus:
        change(hdus[1])
    return path


@pytest.fixture
def packed(tmp_path: Path) -> tuple[Path, Array]:
    image = noise("smooth", "u2", (6, 50))
    hdu = fits.CompImageHDU(image, compression_type="RICE_1")
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(tmp_path / "a.fits", checksum=True)
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        return tmp_path / "a.fits", hdus[1].data.copy()


def descriptors(path: Path) -> int:
    """Where the table of a file of one HDU begins."""
    return read_headers(path).places[1].offset


@pytest.mark.parametrize(
    ("at", "value", "reason"),
    [
        (0, b"\0\0\x07\xff", "tile 1 of 6 lies outside"),
        (0, b"\xff\xff\xff\xff", "tile 1 of 6 lies outside"),
        (12, b"\x7f\xff\xff\xff", "tile 2 of 6 lies outside"),
        (8, b"\0\0\0\0", "tile 2 of 6 is missing"),
        (8, b"\0\0\0\x03", "tile 2 of 6 is damaged"),
        (20, b"\0\0\0\0", "tile 3 of 6 is damaged"),
    ],
)
def test_descriptors_that_lie(
    words_of: WordsOf, packed: tuple[Path, Array], at: int, value: bytes, reason: str
) -> None:
    path, _ = packed
    content = bytearray(path.read_bytes())
    content[descriptors(path) + at : descriptors(path) + at + 4] = value
    path.write_bytes(content)
    with pytest.raises(Unreadable, match=reason):
        words_of(path)
    with open_words(read_headers(path)) as words:
        assert "DATASUM" in words.verify(1)


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("ZTILE1  =                    0", "ZTILE1 = 0"),
        ("ZTILE1  =                   -5", "ZTILE1 is -5"),
        ("ZTILE1  =                   10", "6 rows, and the image 30 tiles"),
        ("ZBITPIX =                   17", "ZBITPIX is 17"),
        ("ZNAXIS1 =           2000000000", "6 rows, and the image 240000000 tiles"),
        ("ZNAXIS2 =  2000000000000000000", "6 rows, and the image 2000000000000000000 tiles"),
        ("THEAP   =           2000000000", "outside"),
        ("ZVAL1   =                    0", "BLOCKSIZE is 0"),
        ("TFORM1  = '1QB(200)'          ", "columns of 16 bytes in rows of 8"),
        ("TFORM1  = '1ZB(200)'          ", "a table column of format '1ZB"),
    ],
)
def test_cards_that_lie(words_of: WordsOf, packed: tuple[Path, Array], card: str, reason: str) -> None:
    path, _ = packed
    content = path.read_bytes()
    place = read_headers(path).places[1]
    key = card[:8].encode()
    start = content.find(key, place.header_offset)
    if start < 0:  # a card in the place of a comment
        start = content.index(b"EXTNAME ", place.header_offset)
    path.write_bytes(content[:start] + card.ljust(80).encode() + content[start + 80 :])
    with pytest.raises(Unreadable, match=reason):
        words_of(path)


def test_a_tile_that_would_take_all_memory(words_of: WordsOf, packed: tuple[Path, Array]) -> None:
    path, _ = packed
    content = path.read_bytes()
    place = read_headers(path).places[1]
    for key in (b"ZNAXIS1 ", b"ZTILE1  "):
        start = content.index(key, place.header_offset)
        content = content[:start] + key + b"= 2000000000".ljust(72) + content[start + 80 :]
    path.write_bytes(content)
    with pytest.raises(Unreadable, match="2000000000 x 6 pixels cannot be in"):
        words_of(path)


@pytest.mark.parametrize("otherwise", ["GZIP_COMPRESSED_DATA", "UNCOMPRESSED_DATA"])
def test_tiles_that_are_not_rice_compressed(words_of: WordsOf, tmp_path: Path, otherwise: str) -> None:
    image = noise("wild", "i2", (4, 20))
    fits.CompImageHDU(image, compression_type="RICE_1").writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", disable_image_compression=True) as hdus:
        header, rows = hdus[1].header.copy(), [row.copy() for row in hdus[1].data["COMPRESSED_DATA"]]
    other: list[Array] = [np.empty(0, "u1")] * 4
    for n in (1, 3):
        rows[n] = np.empty(0, "u1")
        content = image[n].astype(">i2")
        other[n] = np.frombuffer(gzip.compress(content.tobytes()), "u1") if "GZIP" in otherwise else content
    columns = [
        fits.Column("COMPRESSED_DATA", "1PB()", array=np.array(rows, dtype=object)),
        fits.Column(otherwise, "1PB()" if "GZIP" in otherwise else "1PI()", array=np.array(other, dtype=object)),
    ]
    table = fits.BinTableHDU.from_columns(columns)
    table.header.extend([card for card in header.cards if card.keyword.startswith("Z")])
    table.writeto(tmp_path / "b.fits")
    assert_array_equal(words_of(tmp_path / "b.fits"), image)
