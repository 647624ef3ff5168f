"""Headers as astropy reads them, and what becomes of headers and files that make no sense."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flatnorm_xr.camera.cards import CardError, Cards
from flatnorm_xr.camera.files import find_files
from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.errors import ReadError

fits = pytest.importorskip("astropy.io.fits")

CARDS = [
    "SIMPLE  =                    T / conforms",
    "GAIN    =                  2.5 / e/adu",
    "NEGATIVE=                  -12",
    "LARGE   = 123456789012345678901234567890",
    "EXPONENT=           1.5D+03 / as Fortran writes it",
    "SMALL   =                1E-07",
    "POINT   =                   .5",
    "FILTER  = 'r       '           / with a comment",
    "QUOTE   = 'the ''best'' night'",
    "SLASH   = 'a/b     ' / c/d",
    "EMPTY   = ''",
    "BLANKED =                      / no value",
    "COMPLEX = (1.0, 2.0)",
    "LOOSE   =5",
    "lower   =                    7",
    "SHORT= 8",
    "DP1     = 'NAXIS: 2'",
    "HIERARCH ESO DET CHIP1 ID = 'CCD 45' / name",
    "HIERARCH ESO DET OUT1 GAIN = 2.17",
    "EXTNAME = 'first'",
    "EXTNAME = 'second'",
    "COMMENT one",
    "COMMENT two = 2",
    "LONGTEXT= 'a text that does not fit into one card and so goes on in another on&'",
    "CONTINUE  'e'",
    "",
    "LAST    =                    F",
]
RAW = "".join(card.ljust(80) for card in CARDS).encode()


@pytest.mark.filterwarnings("ignore:The following header keyword is invalid")
def test_every_card_is_what_astropy_says() -> None:
    cards, header = Cards(RAW), fits.Header.fromstring(RAW)
    before: list[str] = []
    for card in header.cards:
        key = card.keyword
        before.append(key)
        if not key or key == "COMMENT" or "." in key:
            continue
        expected = card.value if not isinstance(card.value, fits.card.Undefined) else None
        for name in (key, key.lower()):
            assert name in cards
            assert cards.count(name) == header.count(key)
            assert cards[name, before.count(key) - 1] == expected
        assert type(cards[key]) is type(header[key]) or cards[key] is None
    assert cards["ESO DET CHIP1 ID"] == cards["HIERARCH ESO DET CHIP1 ID"] == "CCD 45"
    assert [cards["EXTNAME", n] for n in range(2)] == ["first", "second"]
    assert cards.count("COMMENT") == 2


def test_cards_that_are_not_there() -> None:
    cards = Cards(RAW)
    assert ("NONE" in cards, cards.count("NONE"), cards.get("NONE"), cards.get("NONE", 3)) == (False, 0, None, 3)
    for key in ("NONE", ("EXTNAME", 2), ("GAIN", 1), ("GAIN", -1)):
        with pytest.raises(KeyError):
            cards[key]


@pytest.mark.parametrize("card", ["KEY     =   2.0x7y 3", "KEY     = 'open", "KEY     = 1 2"])
def test_a_card_that_cannot_be_parsed(card: str) -> None:
    with pytest.raises(CardError, match="KEY"):
        Cards(card.ljust(80).encode())["KEY"]


@pytest.mark.parametrize("value", ["NaN", "INF", "2.0x7y 3", "r band"])
def test_what_is_wrong_with_a_card_is_said_of_its_value(value: str) -> None:
    with pytest.raises(CardError, match=f"^BZERO is {value}: neither a number nor a text in quotes$"):
        Cards(f"BZERO   = {value:>20}".ljust(80).encode())["BZERO"]


def test_bytes_that_are_no_text() -> None:
    cards = Cards(b"KEY     = 'r\xe9\n\x1b[31m'".ljust(80) + b"NUL     = 'r\0\0\0'".ljust(80) + b"\xff" * 80)
    assert (cards["KEY"], cards["NUL"]) == ("r???[31m", "r")


def test_a_long_header_and_an_end_that_is_none(tmp_path: Path) -> None:
    header = fits.Header([(f"KEY{n}", n) for n in range(1000)] + [("TEXT", "END     ")])
    path = tmp_path / "a.fits"
    fits.HDUList([fits.PrimaryHDU(header=header), fits.ImageHDU(np.ones((3, 4), "i2"))]).writeto(path)
    headers = read_headers(path)
    assert headers.hdus[0].header["KEY999"] == 999
    assert [hdu.shape for hdu in headers.hdus] == [(), (3, 4)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Write three images, and a table, and a cube, between which there are other things."""
    image = np.ones((6, 5), "i2")
    table = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=np.arange(5))])
    hdus = [fits.PrimaryHDU(), fits.ImageHDU(image), table, fits.ImageHDU(np.ones((2, 6, 5))), fits.CompImageHDU(image)]
    fits.HDUList([*hdus, fits.ImageHDU(), fits.ImageHDU(image.astype("f4"))]).writeto(tmp_path / "a.fits")
    return tmp_path / "a.fits"


def test_places_are_where_astropy_finds_them(file: Path) -> None:
    headers = read_headers(file)
    assert sorted(headers.places) == [1, 4, 6] == [hdu.index for hdu in headers.images]
    with fits.open(file, disable_image_compression=True) as hdus:
        for n, place in headers.places.items():
            info = hdus[n].fileinfo()
            assert (place.header_offset, place.offset) == (info["hdrLoc"], info["datLoc"])
            assert place.length == hdus[n].size
    assert headers.places[4].compression == "RICE_1"
    assert headers.damage == ""


def with_card(path: Path, card: str, hdu: int) -> Path:
    """Put a card in the place of another of the same key."""
    content = path.read_bytes()
    with fits.open(path, disable_image_compression=True) as hdus:
        begin = hdus[hdu].fileinfo()["hdrLoc"]
    start = content.index(card[:8].encode(), begin)
    path.write_bytes(content[:start] + card.ljust(80).encode() + content[start + 80 :])
    return path


@pytest.mark.parametrize(
    ("card", "damage"),
    [
        ("NAXIS1  =                   -5", "HDU 4: NAXIS1 is -5"),
        ("NAXIS1  = 'five'", "HDU 4: NAXIS1 is 'five'"),
        ("NAXIS1  =                  5.5", "HDU 4: NAXIS1 is 5.5"),
        ("NAXIS   =                 1000", "HDU 4: NAXIS is 1000"),
        ("NAXIS   =                   22", "HDU 4: there is no card NAXIS3"),
        ("BITPIX  =                   11", "HDU 4: BITPIX is 11"),
        ("BITPIX  =", "HDU 4: BITPIX is None"),
        ("PCOUNT  =                   -1", "HDU 4: PCOUNT is -1"),
        ("PCOUNT  =  9999999999999999999", "HDU 4: PCOUNT is 9999999999999999999"),
        ("PCOUNT  =           4000000000", "the file ends within its last HDU"),
        (
            "PCOUNT  =     4000000000000000",
            r"HDU 4: its header says that 40{13}\d\d bytes follow, which cannot be",
        ),
        ("NAXIS2  =  4000000000000000000", "HDU 4: NAXISn and PCOUNT make"),
        ("ZNAXIS1 =                    x", "HDU 4: .*ZNAXIS1"),
        ("END     x", ""),
        ("XTENSION= 'IMAGE   '", ""),
    ],
)
def test_cards_that_lie(file: Path, card: str, damage: str) -> None:
    headers = read_headers(with_card(file, card, 4))
    assert re.search(damage, headers.damage) if damage else not headers.damage
    assert {1} <= set(headers.places) <= {1, 4, 6}
    assert "\n" not in headers.damage


def test_a_file_whose_first_header_lies(tmp_path: Path) -> None:
    path = tmp_path / "a.fits"
    fits.PrimaryHDU(np.ones((4, 4), "i2")).writeto(path)
    content = path.read_bytes()
    for card in ("NAXIS1  =  9000000000000000000", "BITPIX  =  1", "NAXIS   =  -1", "SIMPLE==", "NAXIS   = 0"):
        start = content.index(card[:6].encode())
        path.write_bytes(content[:start] + card.ljust(80).encode() + content[start + 80 :])
        with pytest.raises(ReadError, match=r"a\.fits: not a readable FITS file") as error:
            read_headers(path)
        assert "\n" not in str(error.value)


def test_a_header_of_more_axes_than_can_be_multiplied(tmp_path: Path) -> None:
    """The product of 999 sizes has more digits than Python writes out; an axis of none makes it none."""
    cards = {"XTENSION": "'IMAGE   '", "BITPIX": 16, "NAXIS": 999} | {f"NAXIS{n}": 10**18 for n in range(1, 1000)}
    primary = fits.PrimaryHDU(np.ones((4, 4), "i2"))
    for last, damage in ((10**18, "HDU 1: NAXISn and PCOUNT make more than 4611686018427387904 bytes"), (0, "")):
        cards["NAXIS999"] = last
        header = "".join(f"{key:8s}= {value:>20}".ljust(80) for key, value in cards.items()) + "END".ljust(80)
        primary.writeto(tmp_path / "a.fits", overwrite=True)
        with (tmp_path / "a.fits").open("ab") as stream:
            stream.write(header.ljust(-(-len(header) // 2880) * 2880).encode())
        headers = read_headers(tmp_path / "a.fits")
        assert (sorted(headers.places), headers.damage) == ([0], damage)


def test_a_value_that_makes_no_sense_is_shown_in_part(tmp_path: Path) -> None:
    header = fits.Header([("BLANK", "long " * 1000)])
    fits.PrimaryHDU(np.ones((4, 4), "i2")).writeto(tmp_path / "a.fits")
    content = (tmp_path / "a.fits").read_bytes()
    cards = content[: content.index(b"END     ")] + header.tostring(padding=False, endcard=True).encode()
    (tmp_path / "a.fits").write_bytes(cards.ljust(-(-len(cards) // 2880) * 2880) + content[2880:])
    (place,) = read_headers(tmp_path / "a.fits").places.values()
    assert place.fault.startswith("BLANK is 'long long")
    assert len(place.fault) < 60


def test_a_header_whose_cards_are_in_another_order(file: Path) -> None:
    content = file.read_bytes()
    start = content.index(b"XTENSION=")
    file.write_bytes(
        content[:start] + content[start + 80 : start + 160] + content[start : start + 80] + content[start + 160 :]
    )
    with pytest.raises(ReadError, match=r"HDU 1 begins with the card BITPIX, not with XTENSION"):
        read_headers(file)


def test_a_file_without_pixels(tmp_path: Path) -> None:
    fits.PrimaryHDU().writeto(tmp_path / "a.fits")
    headers = read_headers(tmp_path / "a.fits")
    assert (headers.images, headers.places, headers.damage) == ((), {}, "")


def test_a_header_that_never_ends(tmp_path: Path) -> None:
    (tmp_path / "a.fits").write_bytes(b"SIMPLE  =                    T".ljust(80) + b"COMMENT ".ljust(80) * 10000)
    with pytest.raises(ReadError, match="the header of HDU 0 has no END"):
        read_headers(tmp_path / "a.fits")


@pytest.mark.parametrize(("content", "reason"), [(b"", "no header"), (b"P" * 99, "begin"), (b"\x1f\x8b", "ends early")])
def test_files_without_any_header(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "a.fits").write_bytes(content)
    with pytest.raises(ReadError, match=f"not a readable FITS file .*{reason}"):
        read_headers(tmp_path / "a.fits")


def test_links_in_a_circle_folders_and_pipes(tmp_path: Path) -> None:
    (tmp_path / "a.fits").symlink_to(tmp_path / "b.fits")
    (tmp_path / "b.fits").symlink_to(tmp_path / "a.fits")
    (tmp_path / "broken.fits").symlink_to(tmp_path / "none.fits")
    os.mkfifo(tmp_path / "pipe.fits")
    (tmp_path / "folder.fits").mkdir()
    reasons = {
        "a.fits": "links of it form a circle",
        "broken.fits": "no such file",
        "pipe.fits": "is not a regular file",
        "folder.fits": "is a directory",
    }
    for name, reason in reasons.items():
        for function in (read_headers, lambda path: find_files(path, caller="measure")):
            with pytest.raises(ReadError, match=rf"{name}.*{reason}") as error:
                function(tmp_path / name)
            assert "\n" not in str(error.value)
    with pytest.raises(ReadError, match=r"form a circle.*form a circle.*no such file"):
        find_files(str(tmp_path / "*.fits"), caller="measure")


def test_headers_of_plain_files_need_no_astropy(file: Path) -> None:
    code = (
        "import sys\nfrom flatnorm_xr.camera.headers import read_headers\n"
        f"read_headers({str(file)!r})\nprint('astropy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_value_may_be_in_the_primary_header_only(tmp_path: Path) -> None:
    hdus: list[Any] = [fits.PrimaryHDU(header=fits.Header([("FILTER", "r"), ("GAIN", 2.0)]))]
    hdus.append(fits.ImageHDU(np.ones((2, 2)), fits.Header([("FILTER", " "), ("GAIN", 3.0)])))
    fits.HDUList(hdus).writeto(tmp_path / "a.fits")
    (hdu,) = read_headers(tmp_path / "a.fits").images
    assert (hdu.get("FILTER"), list(hdu.values("GAIN")), hdu.get("NONE")) == ("r", [3.0, 2.0], None)


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_disk_that_fails(file: Path, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """Headers that were read before are kept; if there is no image among them, it is one clear error."""
    reads = iter(range(after))
    pread = os.pread

    def fail_later(*args: Any) -> bytes:
        if next(reads, None) is None:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return pread(*args)

    monkeypatch.setattr(os, "pread", fail_later)
    if after == 3:
        headers = read_headers(file)
        assert (headers.damage, set(headers.places)) == (os.strerror(errno.ESTALE), {1})
    else:
        with pytest.raises(ReadError, match=rf"a\.fits: not a readable FITS file \({os.strerror(errno.ESTALE)}\)"):
            read_headers(file)
