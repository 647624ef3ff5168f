"""Compressed floats come back bit by bit as astropy and fitsio give them, rounded to integers or not."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from flatnorm_xr.camera.file_bytes import Unreadable
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.measure.quantised import restore_floats

fits = pytest.importorskip("astropy.io.fits")

Array = npt.NDArray[Any]
WordsOf = Callable[[Path], Array]

pytestmark = pytest.mark.usefixtures("own_decoder")


def image_of(dtype: str) -> Array:
    """Noise, a row of zeros and one of one value, which cannot be rounded, and pixels without a value."""
    image = np.random.default_rng(7).normal(100, 10, (120, 151)).astype(dtype)
    image[2], image[7], image[5, 3:6], image[9] = 0, 3.25, np.nan, np.nan
    image[11, ::2] = 0
    return image


@pytest.mark.parametrize("tile", [(1, 151), (120, 151), (7, 50)])
@pytest.mark.parametrize("dither", [-1, 1, 2])
@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats_as_astropy_wrote_them(
    words_of: WordsOf, tmp_path: Path, dtype: str, compression: str, dither: int, tile: tuple[int, int]
) -> None:
    options = {"compression_type": compression, "quantize_method": dither, "tile_shape": tile, "dither_seed": 9990}
    fits.CompImageHDU(image_of(dtype), **options).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus:
        assert_array_equal(words_of(tmp_path / "a.fits"), hdus[1].data)


@pytest.mark.parametrize("compression", ["GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats_that_were_not_rounded(words_of: WordsOf, tmp_path: Path, dtype: str, compression: str) -> None:
    image = image_of(dtype)
    fits.CompImageHDU(image, compression_type=compression, quantize_level=0).writeto(tmp_path / "a.fits")
    assert_array_equal(words_of(tmp_path / "a.fits"), image)


@pytest.mark.parametrize("method", [None, "SUBTRACTIVE_DITHER_1", "SUBTRACTIVE_DITHER_2"])
@pytest.mark.parametrize("compression", ["RICE", "GZIP", "GZIP_2"])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_floats_as_fitsio_wrote_them(
    words_of: WordsOf, tmp_path: Path, dtype: str, compression: str, method: str | None
) -> None:
    fitsio = pytest.importorskip("fitsio")
    for name, options in {"rows": {}, "tiles": {"tile_dims": (17, 50)}, "seed": {"dither_seed": 4711}}.items():
        path = tmp_path / f"{name}.fits"
        fitsio.write(path, image_of(dtype), compress=compression, qlevel=4.0, qmethod=method, **options)
        assert_array_equal(words_of(path), fitsio.read(path, ext=1))
        with fits.open(path) as hdus:
            assert_array_equal(words_of(path), hdus[1].data)


CONSTANTS = {"ZSCALE": 0.25, "ZZERO": 104.5, "ZBLANK": -2147483648}


def with_constants(path: Path, *, cards: Collection[str] = (), absent: Collection[str] = ()) -> Path:
    """Give all tiles of HDU 1 the same constants: in the columns, or in cards, the columns being named otherwise."""
    place = read_headers(path).places[1]
    content = path.read_bytes()
    header, data = content[place.header_offset : place.offset], bytearray(content[place.offset :])
    assert place.tiles is not None
    for name in CONSTANTS.keys() & place.tiles.columns.keys():
        form, offset = place.tiles.columns[name]
        value = np.array(CONSTANTS[name], {"D": ">f8", "J": ">i4"}[form.lstrip("1")]).tobytes()
        for begin in range(offset, place.tiles.rows * place.tiles.row_length, place.tiles.row_length):
            data[begin : begin + len(value)] = value
    for name in (*cards, *absent):
        header = header.replace(f"'{name:8s}'".encode(), b"'OTHER   '")
        if (at := header.find(f"{name:8s}= ".encode())) >= 0:
            header = header[:at] + b" " * 80 + header[at + 80 :]
    added = "".join(f"{name:8s}= {CONSTANTS[name]:>20}".ljust(80) for name in cards).encode()
    at = header.rindex(b"END     ")
    header = (header[:at] + added + header[at:].rstrip()).ljust(-(-(at + len(added) + 3) // 2880) * 2880)
    path.write_bytes(content[: place.header_offset] + header + data)
    return path


@pytest.mark.parametrize("cards", [["ZSCALE", "ZZERO"], ["ZSCALE"], ["ZZERO"], ["ZSCALE", "ZZERO", "ZBLANK"]])
@pytest.mark.parametrize("dither", [-1, 1, 2])
@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_2"])
def test_a_column_of_one_value_may_be_a_card(
    words_of: WordsOf, tmp_path: Path, compression: str, dither: int, cards: list[str]
) -> None:
    image = np.random.default_rng(7).normal(100, 10, (20, 31))
    image[3, 3] = np.nan
    options = {"compression_type": compression, "quantize_method": dither, "tile_shape": (7, 10)}
    fits.CompImageHDU(image, **options).writeto(tmp_path / "a.fits")
    expected = words_of(with_constants(tmp_path / "a.fits"))
    assert (expected != image).sum() > 500
    assert_array_equal(np.isnan(expected), np.isnan(image))
    assert_array_equal(words_of(with_constants(tmp_path / "a.fits", cards=cards)), expected)


@pytest.mark.parametrize("compression", ["RICE_1", "GZIP_1", "HCOMPRESS_1"])
def test_a_scale_that_would_be_passed_over_is_refused(words_of: WordsOf, tmp_path: Path, compression: str) -> None:
    image = np.random.default_rng(7).normal(100, 10, (20, 31)).astype("f4")
    options = {"compression_type": compression, "tile_shape": (20, 31), "quantize_level": 4}

    def write(**how: Any) -> Path:
        fits.CompImageHDU(image, **options).writeto(tmp_path / "a.fits", overwrite=True)
        return with_constants(tmp_path / "a.fits", **how)

    for how in ({"absent": ["ZZERO"]}, {"absent": ["ZSCALE"]}, {"cards": ["ZSCALE"], "absent": ["ZZERO"]}):
        with pytest.raises(Unreadable, match=r"^it has only one of ZSCALE and ZZERO$"):
            words_of(write(**how))
    if compression == "HCOMPRESS_1":
        with pytest.raises(Unreadable, match=r"^ZSCALE and ZZERO are cards and not columns"):
            words_of(write(cards=["ZSCALE", "ZZERO"]))


def test_a_blank_that_no_code_can_be_is_none(
    words_of: WordsOf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = np.random.default_rng(7).normal(100, 10, (20, 31)).astype("f4")
    fits.CompImageHDU(image).writeto(tmp_path / "a.fits")
    expected = words_of(with_constants(tmp_path / "a.fits"))
    monkeypatch.setitem(CONSTANTS, "ZBLANK", int("9" * 40))
    assert_array_equal(words_of(with_constants(tmp_path / "a.fits", cards=["ZBLANK"])), expected)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({b"'COMPRESSED_DATA'": b"'COMPRESSED_ELSE'"}, "its table has no column COMPRESSED_DATA"),
        (
            {b"ZBITPIX =                  -32": b"ZBITPIX =                   32", b"'ZSCALE  '": b"'ZBLANK  '"},
            "its table of integers has a column ZBLANK, which is known as a card only",
        ),
    ],
)
def test_tables_of_other_columns(words_of: WordsOf, tmp_path: Path, changes: dict[bytes, bytes], reason: str) -> None:
    image = np.random.default_rng(7).normal(100, 10, (20, 31)).astype("f4")
    fits.CompImageHDU(image).writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    for old, new in changes.items():
        assert old in content
        content = content.replace(old, new)
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(Unreadable, match=f"^{reason}$"):
        words_of(tmp_path / "a.fits")


@pytest.mark.parametrize("compression", ["GZIP_1", "GZIP_2"])
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4"])
def test_integers(words_of: WordsOf, tmp_path: Path, dtype: str, compression: str) -> None:
    image = np.random.default_rng(7).integers(0, 250, (20, 31)).astype(dtype)
    image[3, 3] = np.iinfo(dtype).max
    fits.CompImageHDU(image, compression_type=compression).writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits", do_not_scale_image_data=True) as hdus:
        assert_array_equal(words_of(tmp_path / "a.fits"), hdus[1].data)


def test_a_tile_whose_gzip_stream_is_damaged(words_of: WordsOf, tmp_path: Path) -> None:
    fits.CompImageHDU(image_of("f4"), compression_type="GZIP_1").writeto(tmp_path / "a.fits")
    place = read_headers(tmp_path / "a.fits").places[1]
    content = (tmp_path / "a.fits").read_bytes()
    assert place.tiles is not None
    at = place.offset + place.tiles.heap + 20
    (tmp_path / "a.fits").write_bytes(content[:at] + bytes([content[at] ^ 4]) + content[at + 1 :])
    with pytest.raises(Unreadable, match="tile 1 of 120 is damaged"):
        words_of(tmp_path / "a.fits")


def test_the_rounding_is_that_of_the_standard() -> None:
    codes = np.array([[0, 10, -2147483646, -2147483648]], "i4")
    found = np.empty((1, 4))
    how: dict[str, Any] = {"tile": (1, 4), "scales": np.array([2.0]), "zeros": np.array([5.0])}
    restore_floats(codes, found, blanks=np.array([-(2**31)]), **how)
    assert_array_equal(found[0], [5, 25, 5 - 2.0 * 2147483646, np.nan])
    # The list of the standard's appendix begins with 16807 / (2**31 - 1), which says where in it a tile begins.
    restore_floats(codes, found, blanks=np.array([1 << 40]), dither="SUBTRACTIVE_DITHER_2", seed=1, **how)
    state = 1
    numbers = [state := 16807 * state % 2147483647 for _ in range(20)]
    begin = int(np.float32(numbers[0] / 2147483647) * 500)
    first = np.float64(np.float32(numbers[begin] / 2147483647))
    assert found[0, 0] == (0 - first + 0.5) * 2 + 5
    assert found[0, 2] == 0
