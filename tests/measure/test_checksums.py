"""Checksums as the standard and astropy compute them."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flatnorm_xr.camera.cards import Cards
from flatnorm_xr.camera.geometry import describe
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.camera.image_place import find_place
from flatnorm_xr.camera.profiles import load_profile
from flatnorm_xr.measure.checksums import add_sums, ones_complement_sum, verify_sums
from flatnorm_xr.measure.words import open_words

fits = pytest.importorskip("astropy.io.fits")


IMAGE = ("XTENSION= 'IMAGE   '", "BITPIX  = 8", "NAXIS   = 2", "NAXIS1  = 4", "NAXIS2  = 3")


def slow_sum(data: bytes) -> int:
    data += bytes(-len(data) % 4)
    total = sum(int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4))
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


@settings(deadline=None)
@given(st.binary(max_size=100))
def test_the_sum_is_that_of_big_endian_words(data: bytes) -> None:
    assert ones_complement_sum(np.frombuffer(data, "u1")) == slow_sum(data)


@given(st.lists(st.binary(max_size=40).map(lambda data: data + bytes(-len(data) % 4)), max_size=5))
def test_sums_add_up_to_that_of_all(parts: list[bytes]) -> None:
    assert add_sums(map(slow_sum, parts)) == slow_sum(b"".join(parts))


def test_carries_are_many() -> None:
    data = np.full(1 << 20, 255, "u1")
    assert ones_complement_sum(data) == 0xFFFFFFFF
    data[-1] = 0
    assert ones_complement_sum(data) == slow_sum(data.tobytes())


def test_zero_has_two_signs() -> None:
    ones = np.full(4, 255, "u1")
    assert verify_sums(ones, b"", datasum=0, checksum=True) == ""
    assert verify_sums(np.zeros(4, "u1"), b"", datasum=0xFFFFFFFF, checksum=True) == ""


@pytest.fixture(params=["plain", "gz", "RICE_1", "GZIP_2", "HCOMPRESS_1"])
def summed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    image = np.random.default_rng(5).integers(100, 200, (9, 33)).astype("u2")
    in_tiles = request.param not in ("plain", "gz")
    hdus: list[Any] = [
        fits.ImageHDU(image + n) if not in_tiles else fits.CompImageHDU(image + n, compression_type=request.param)
        for n in range(2)
    ]
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, checksum=True)
    if request.param == "gz":
        path = tmp_path / "a.fits.gz"
        path.write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    return path


def rewrite(path: Path, how: Callable[[bytes], bytes]) -> None:
    """Change what a file holds, packed or not."""
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(how(gzip.decompress(path.read_bytes()))))
    else:
        path.write_bytes(how(path.read_bytes()))


def change(path: Path, at: int, *, by: int) -> None:
    rewrite(path, lambda content: content[:at] + bytes([content[at] ^ by]) + content[at + 1 :])


def test_what_astropy_wrote_is_right(summed: Path) -> None:
    with open_words(read_headers(summed)) as words:
        for _ in range(2):
            assert [words.verify(n) for n in (1, 2)] == ["", ""]
            before = words(2).words.copy()
            assert words.verify(2) == ""
            assert (words(2).words == before).all()
            words.release()


@pytest.mark.parametrize("where", ["first", "last"])
def test_a_byte_of_the_data_is_seen(summed: Path, where: str) -> None:
    place = read_headers(summed).places[2]
    change(summed, place.offset + (0 if where == "first" else place.length - 1), by=1)
    with open_words(read_headers(summed)) as words:
        assert words.verify(1) == ""
        assert "and DATASUM is" in words.verify(2)


def test_a_byte_of_the_header_is_seen(summed: Path) -> None:
    place = read_headers(summed).places[2]
    change(summed, place.offset - 1, by=1)
    with open_words(read_headers(summed)) as words:
        assert words.verify(1) == ""
        assert "CHECKSUM" in words.verify(2)


def test_a_byte_of_the_primary_header_is_seen_in_all(summed: Path) -> None:
    change(summed, 2879, by=1)
    with open_words(read_headers(summed)) as words:
        for n in (1, 2):
            assert words.verify(n) == "the primary HDU: its header and bytes do not add up to CHECKSUM"


def test_the_primary_header_spoils_the_file_whatever_the_next_hdu_is(tmp_path: Path) -> None:
    image = np.ones((4, 4), "i2")
    for n, second in enumerate((fits.ImageHDU(), fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1])]))):
        for primary in (fits.PrimaryHDU(), fits.PrimaryHDU(image)):
            primary.header["EXPNUM"] = 7
            path = tmp_path / f"{n}.fits"
            fits.HDUList([primary, second, fits.ImageHDU(image)]).writeto(path, checksum=True, overwrite=True)
            with open_words(read_headers(path)) as words:
                assert words.verify(2) == ""
            path.write_bytes(path.read_bytes().replace(b"                   7", b"                   T"))
            with open_words(read_headers(path)) as words:
                assert "the primary HDU" in words.verify(2)


def test_no_checksum_nothing_wrong(tmp_path: Path) -> None:
    fits.PrimaryHDU(np.ones((4, 4), "i2")).writeto(tmp_path / "a.fits")
    with open_words(read_headers(tmp_path / "a.fits")) as words:
        assert words.verify(0) == ""
    assert read_headers(tmp_path / "a.fits").places[0].datasum is None


def test_what_is_cut_off_is_said(summed: Path) -> None:
    end = read_headers(summed).places[2].offset + 1
    rewrite(summed, lambda content: content[:end])
    with open_words(read_headers(summed)) as words:
        assert "bytes early" in words.verify(2)


@pytest.mark.parametrize("card", ["DATASUM = 'n/a     '", "DATASUM = 4294967296", "DATASUM = 'x", "CHECKSUM= 'x"])
def test_a_sum_that_makes_no_sense_spoils_no_pixels(tmp_path: Path, card: str) -> None:
    """Only who asks for a comparison is told."""
    image = np.arange(12, dtype="i2").reshape(3, 4)
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(image), fits.ImageHDU(image)]).writeto(path, checksum=True)
    content = path.read_bytes()
    at = content.rindex(card[:8].encode())
    path.write_bytes(content[:at] + card.ljust(80).encode() + content[at + 80 :])
    headers = read_headers(path)
    file = describe(headers, profile=load_profile("generic"))
    assert file.datasums == ()
    with open_words(headers) as words:
        assert (words(2).words == image).all()
        assert card[:8].strip() in words.verify(2)
        assert (words(2).words == image).all()
        assert words.verify(1) == ""


@pytest.mark.parametrize(
    ("card", "datasum"), [("0", 0), ("'0       '", 0), ("'  12    '", 12), ("''", None), ("", None)]
)
def test_a_sum_may_be_a_text_or_a_number(card: str, datasum: int | None) -> None:
    cards = Cards("".join(text.ljust(80) for text in (*IMAGE, f"DATASUM = {card}")).encode())
    place = find_place(cards, hdu=0, header_offset=0, offset=2880, length=12)
    assert (place.datasum, place.sum_fault, place.fault) == (datasum, "", "")


def test_a_sum_of_thousands_of_digits_is_a_fault_of_the_sum() -> None:
    long = [f"DATASUM = '{'9' * 60}&'", *[f"CONTINUE  '{'9' * 60}&'"] * 100]
    cards = Cards("".join(text.ljust(80) for text in (*IMAGE, *long)).encode())
    place = find_place(cards, hdu=0, header_offset=0, offset=2880, length=12)
    assert place.sum_fault.startswith("DATASUM is '999")
    assert place.fault == ""


def test_headers_are_compared_without_reading_data(summed: Path) -> None:
    """A byte of the data is none of theirs, a byte of any header is."""
    places = read_headers(summed).places
    with open_words(read_headers(summed)) as words:
        assert words.verify_headers() == ""
    change(summed, places[2].offset, by=1)
    with open_words(read_headers(summed)) as words:
        assert words.verify_headers() == ""
    change(summed, places[1].offset - 1, by=1)
    with open_words(read_headers(summed)) as words:
        assert words.verify_headers() == "HDU 1: its header does not add up to CHECKSUM"
        assert words.verify_headers(besides={1}) == ""


def test_headers_with_no_datasum_and_tables_are_compared_too(tmp_path: Path) -> None:
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])
    path = tmp_path / "a.fits"
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(np.ones((3, 4), "i2")), table, fits.ImageHDU(np.ones((3, 4), "i2"))]
    fits.HDUList(hdus).writeto(path, checksum=True)
    content = path.read_bytes()
    path.write_bytes(content.replace(b"TTYPE1  = 'a", b"TTYPE1  = 'b"))
    with open_words(read_headers(path)) as words:
        assert words.verify_headers().startswith("HDU 2: its header")
    # Without DATASUM the sum is that of the data; a card that makes no sense is wrong.
    path.write_bytes(content.replace(b"DATASUM =", b"COMMENT =", 2))
    with open_words(read_headers(path)) as words:
        assert words.verify_headers().startswith("HDU 0: its header")
    path.write_bytes(content.replace(b"DATASUM = '0 ", b"DATASUM = 'x ", 1))
    with open_words(read_headers(path)) as words:
        assert words.verify_headers() == "HDU 0: DATASUM is 'x'"
    fits.HDUList([fits.PrimaryHDU(np.ones((3, 4), "i2"))]).writeto(path, overwrite=True)
    with open_words(read_headers(path)) as words:
        assert words.verify_headers() == ""
