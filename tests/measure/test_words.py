"""Words of images as they lie in the file, and what is said of files that cannot be read."""

from __future__ import annotations

import bz2
import errno
import gzip
import lzma
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from numpy.testing import assert_array_equal

from flatnorm_xr.camera.file_bytes import FileBytes, Unreadable
from flatnorm_xr.camera.headers import FileHeaders, read_headers
from flatnorm_xr.errors import ReadError
from flatnorm_xr.measure.words import Buffers, RawImage, open_words

fits = pytest.importorskip("astropy.io.fits")

Array = npt.NDArray[Any]
COMPRESSIONS = ["RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1"]


def image_of(dtype: str) -> Array:
    return np.random.default_rng(7).normal(100, 10, (30, 41)).astype(dtype)


def values(raw: RawImage) -> Array:
    return raw.zero + raw.scale * raw.words.astype("f8")


def write(path: Path, image: Array, *, compression: str = "", count: int = 3, **cards: Any) -> Path:
    """Write one image several times, each one more than the one before."""
    hdus: list[Any] = [fits.PrimaryHDU()]
    for n in range(count):
        one = (image + n).astype(image.dtype)
        hdu = fits.CompImageHDU(one, compression_type=compression) if compression else fits.ImageHDU(one)
        hdu.header.update(cards)
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "u4", "i8", "f4", "f8"])
def test_plain_words_are_those_of_the_file(tmp_path: Path, dtype: str) -> None:
    path = write(tmp_path / "a.fits", image_of(dtype))
    with fits.open(path, do_not_scale_image_data=True) as hdus, open_words(read_headers(path)) as words:
        for n in (3, 1, 2):
            raw = words(n)
            assert_array_equal(raw.words, hdus[n].data)
            assert_array_equal(values(raw), image_of(dtype) + (n - 1))
            assert raw.words.dtype == hdus[n].data.dtype.newbyteorder(">")


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u2", "i4", "f4", "f8"])
def test_compressed_words_are_those_of_astropy(tmp_path: Path, dtype: str, compression: str) -> None:
    if compression == "PLIO_1" and dtype not in ("u1", "i2"):
        pytest.skip("PLIO holds small positive integers only")
    path = write(tmp_path / "a.fits", image_of(dtype), compression=compression)
    with fits.open(path) as hdus, open_words(read_headers(path)) as words:
        for n in (3, 1):
            assert_array_equal(values(words(n)), hdus[n].data.astype("f8"))


@pytest.mark.parametrize("dither", [-1, 1, 2])
def test_quantised_floats_with_and_without_dithering(tmp_path: Path, dither: int) -> None:
    image = image_of("f4")
    image[3, 5], image[2] = np.nan, 0
    hdu = fits.CompImageHDU(image, quantize_method=dither, quantize_level=4, dither_seed=9)
    hdu.writeto(tmp_path / "a.fits")
    with fits.open(tmp_path / "a.fits") as hdus, open_words(read_headers(tmp_path / "a.fits")) as words:
        raw = words(1)
        assert_array_equal(raw.words, hdus[1].data)
        assert np.isnan(raw.words[3, 5])


@pytest.mark.parametrize("pack", [gzip, bz2, lzma], ids=["gz", "bz2", "xz"])
@pytest.mark.parametrize("compression", ["", "RICE_1", "GZIP_1"])
def test_packed_files(tmp_path: Path, pack: Any, compression: str) -> None:
    path = write(tmp_path / "a.fits", image_of("u2"), compression=compression)
    (tmp_path / "a.packed").write_bytes(pack.compress(path.read_bytes()))
    headers = read_headers(tmp_path / "a.packed")
    assert headers.damage == ""
    with open_words(headers) as words:
        for n in (1, 2, 3, 2, 1):
            assert_array_equal(values(words(n)), image_of("u2") + n - 1)


def test_a_gzip_file_of_several_members(tmp_path: Path) -> None:
    content = write(tmp_path / "a.fits", image_of("u2")).read_bytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:5000]) + gzip.compress(content[5000:]) + bytes(100))
    headers = read_headers(tmp_path / "a.gz")
    assert headers.damage == ""
    with open_words(headers) as words:
        assert_array_equal(values(words(3)), image_of("u2") + 2)


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_last_gzip_member_as_long_as_some_hdus(tmp_path: Path, last: int) -> None:
    """A gzip file ends in the length of its last member, which says nothing of the members before."""
    path = write(tmp_path / "a.fits", image_of("u2"))
    content = path.read_bytes()
    end = read_headers(path).places[last].header_offset
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:-end]) + gzip.compress(content[-end:]))
    headers = read_headers(tmp_path / "a.gz")
    assert (sorted(headers.places), headers.damage) == ([1, 2, 3], "")
    with open_words(headers) as words:
        for n in headers.places:
            assert_array_equal(values(words(n)), image_of("u2") + n - 1)


def test_the_end_of_a_gzip_file_of_one_member_is_known_without_unpacking(tmp_path: Path) -> None:
    content = write(tmp_path / "a.fits", image_of("u2"), compression="RICE_1").read_bytes()
    packed = gzip.compress(content)
    for data, known in ((packed, True), (packed + packed, False), (packed + bytes(4), False), (packed[:-1], False)):
        (tmp_path / "a.gz").write_bytes(data)
        with FileBytes(str(tmp_path / "a.gz")) as source:
            assert source.holds_nothing_after(len(content)) == known
            assert not source.holds_nothing_after(len(content) - 2880)


def test_the_beginning_of_a_gzip_member_is_found_wherever_it_lies(tmp_path: Path) -> None:
    """Also across the borders of what is searched at once."""
    content, last = bytes(2880), gzip.compress(bytes(2880))
    for padding in range(5):
        first = gzip.compress(content)
        (tmp_path / "a.gz").write_bytes(first + bytes((1 << 20) - len(first) - padding) + last)
        with FileBytes(str(tmp_path / "a.gz")) as source:
            assert not source.holds_nothing_after(2880)
            assert source.read(2880, 2880) == content


@pytest.mark.parametrize("rest", [b"garbage", b"\0\0x", b"\x1f", bytes(1 << 15) + b"\x1fx", b"x" * (1 << 15)])
def test_what_follows_a_gzip_file_costs_none_of_its_images(tmp_path: Path, rest: bytes) -> None:
    """The checksum of what was packed is right, as gunzip finds; but a member of the file may be gone."""
    content = write(tmp_path / "a.fits", image_of("u2")).read_bytes()
    (tmp_path / "a.gz").write_bytes(gzip.compress(content) + rest)
    headers = read_headers(tmp_path / "a.gz")
    assert headers.damage == "bytes that are not gzip follow what is packed; the file may lack its end"
    with open_words(headers) as words:
        for n in (3, 1, 2):
            assert_array_equal(values(words(n)), image_of("u2") + n - 1)


def test_a_gzip_member_that_is_damaged_is_not_what_follows_a_file(tmp_path: Path) -> None:
    content = write(tmp_path / "a.fits", np.tile(image_of("u2"), (9, 9))).read_bytes()
    end = len(content) // 2
    last = bytearray(gzip.compress(content[end:]))
    last[40] ^= 4
    (tmp_path / "a.gz").write_bytes(gzip.compress(content[:end]) + last)
    headers = read_headers(tmp_path / "a.gz")
    with pytest.raises(Unreadable, match="Error -3"), open_words(headers) as words:
        words(1)


def test_scale_zero_and_blank_are_told_not_applied(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", image_of("i2"), BSCALE=0.5, BZERO=-3.0, BLANK=-99)
    with open_words(read_headers(path)) as words:
        raw = words(2)
    assert (raw.zero, raw.scale, raw.blank) == (-3.0, 0.5, -99)
    assert_array_equal(np.unique(raw.words - image_of("i2")), [1])


def test_places_can_be_sent_elsewhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", image_of("u2"), compression="RICE_1")
    headers = read_headers(path)
    sent = pickle.loads(pickle.dumps(FileHeaders(headers.path, (), "", headers.places, headers.stamp)))
    with open_words(sent) as words:
        assert_array_equal(values(words(1)), image_of("u2"))


def test_images_stay_until_they_are_released(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", image_of("u2"))
    buffers = Buffers()
    with open_words(read_headers(path), buffers=buffers) as words, open_words(read_headers(path), buffers=buffers) as b:
        raws = [words(1), b(1), words(2), words(3), b(2)]
        b.release()
        b(3)
        for n, raw in ((1, raws[0]), (2, raws[2]), (3, raws[3])):
            assert_array_equal(values(raw), image_of("u2") + n - 1)
        words.release()
        again = words(1).words
        assert any(np.shares_memory(again, raw.words) for raw in raws)


def test_memory_beyond_the_limit_is_not_kept() -> None:
    buffers = Buffers(most=1000)
    taken = [buffers.take(400) for _ in range(4)]
    buffers.give(taken)
    again = [buffers.take(400) for _ in range(4)]
    assert sum(any(one is other for other in taken) for one in again) == 2


@pytest.mark.parametrize("compression", ["", "RICE_1"])
def test_a_file_that_changed_is_not_read(tmp_path: Path, compression: str) -> None:
    path = write(tmp_path / "a.fits", image_of("u2"), compression=compression)
    headers, content = read_headers(path), path.read_bytes()
    size = len(content)
    for other, reason in {content[:-2880]: "was cut", content + bytes(2880): "grew"}.items():
        path.write_bytes(other)
        with pytest.raises(Unreadable, match=f"{reason} from {size} to {len(other)} bytes"), open_words(headers):
            pass
    path.write_bytes(content)
    os.utime(path, ns=(0, 10**18))
    with pytest.raises(Unreadable, match="was written to"), open_words(headers):
        pass
    path.unlink()
    with pytest.raises(Unreadable, match="No such file"), open_words(headers):
        pass


@pytest.mark.parametrize("cut", ["shorter", "longer", "emptied", "replaced"])
def test_a_file_that_changes_while_it_is_read(tmp_path: Path, cut: str) -> None:
    """The process lives, too: of a file that is mapped, bytes that are no more there are a fatal signal."""
    path = write(tmp_path / "a.fits", np.tile(image_of("u2"), (40, 40)))
    with open_words(read_headers(path)) as words:
        before = words(1).words.copy()
        if cut == "replaced":  # the open file is the old one
            (tmp_path / "b.fits").write_bytes(b"")
            os.replace(tmp_path / "b.fits", path)
            assert_array_equal(words(1).words, before)
            return
        if cut == "longer":
            with path.open("ab") as stream:
                stream.write(b"more")
        else:
            os.truncate(path, 0 if cut == "emptied" else path.stat().st_size // 2)
        for n in (1, 2, 3):
            with pytest.raises(Unreadable, match=r"early|grew|was cut"):
                words(n)
            assert words.verify(n) == ""  # there is no sum to compare with


@pytest.mark.parametrize("keep", [0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("form", ["plain", "RICE_1"])
def test_images_before_the_end_of_a_cut_file_are_read(tmp_path: Path, form: str, keep: float) -> None:
    path = write(tmp_path / "a.fits", image_of("u2"), compression="RICE_1" if form == "RICE_1" else "")
    content = path.read_bytes()
    path.write_bytes(content[: int(keep * len(content))])
    headers = read_headers(path)
    assert headers.damage
    found = 0
    with open_words(headers) as words:
        for n in headers.places:
            try:
                image = values(words(n))
            except Unreadable:
                continue
            assert_array_equal(image, image_of("u2") + n - 1)
            found += 1
    assert found < 3 or keep > 0.99  # only padding is gone


@pytest.mark.parametrize(
    ("key", "card"),
    [
        ("BZERO", "BZERO   = 'much'"),
        ("BZERO", "BZERO   = NaN"),
        ("BSCALE", "BSCALE  =                1E999"),
        ("BSCALE", "BSCALE  =                  0.0"),
        ("BLANK", "BLANK   = 1.5"),
    ],
)
def test_one_card_that_makes_no_sense_is_one_hole(tmp_path: Path, key: str, card: str) -> None:
    path = write(tmp_path / "a.fits", image_of("i2"), BZERO=1.0, BSCALE=2.0, BLANK=7)
    content = path.read_bytes()
    start = content.rindex(key.ljust(8).encode() + b"=")
    path.write_bytes(content[:start] + card.ljust(80).encode() + content[start + 80 :])
    with open_words(read_headers(path)) as words:
        assert_array_equal(values(words(1)), 1 + 2.0 * image_of("i2"))
        with pytest.raises(Unreadable, match=f"{key} is "):
            words(3)
        with pytest.raises(Unreadable, match="no image in HDU 9"):
            words(9)


def test_of_a_header_that_lies_the_file_is_not_blamed(tmp_path: Path) -> None:
    path = write(tmp_path / "a.fits", image_of("i2"))
    content = path.read_bytes()
    start = content.rindex(b"NAXIS1  =")
    path.write_bytes(content[:start] + b"NAXIS1  =        1000000000000".ljust(80) + content[start + 80 :])
    headers = read_headers(path)
    assert headers.damage == "HDU 3: its header says that 60000000000000 bytes follow, which cannot be"
    with open_words(headers) as words:
        assert_array_equal(values(words(2)), image_of("i2") + 1)
        with pytest.raises(Unreadable, match="its header says that 60000000000000 bytes follow, which cannot be"):
            words(3)


@pytest.mark.parametrize("pack", [gzip, bz2, lzma], ids=["gz", "bz2", "xz"])
@pytest.mark.parametrize("keep", [0.3, 0.6, 0.999])
def test_a_packed_file_that_is_cut_is_not_trusted(tmp_path: Path, pack: Any, keep: float) -> None:
    """Its checksum is gone, and bytes that were changed can look like an early end, too."""
    content = pack.compress(write(tmp_path / "a.fits", np.tile(image_of("u2"), (20, 20))).read_bytes())
    (tmp_path / "a.packed").write_bytes(content[: int(keep * len(content))])
    try:
        headers = read_headers(tmp_path / "a.packed")
    except ReadError:  # not even a header: bzip2 gives nothing of a block that is not whole
        return
    assert headers.damage
    with pytest.raises(Unreadable, match=r"ends early|ended before|end-of-stream"), open_words(headers) as words:
        words(1)


def wrong_sum(packed: bytes) -> bytes:
    """Change the checksum of what a gzip or xz file holds, which is as good as any other change that it shows."""
    if packed.startswith(b"\x1f"):
        at = len(packed) - 8
    else:  # the sum stands before the index, of which the footer has the length
        footer = packed[-12:]
        at = len(packed) - 12 - 4 * (int.from_bytes(footer[4:8], "little") + 1) - 8
    return packed[:at] + bytes([packed[at] ^ 1]) + packed[at + 1 :]


@pytest.mark.parametrize("order", [(1,), (2,), (3,), (3, 1)])
@pytest.mark.parametrize("pack", [gzip, lzma], ids=["gz", "xz"])
def test_damage_that_only_the_checksum_of_the_packed_file_shows(tmp_path: Path, pack: Any, order: Any) -> None:
    """It is seen whichever images are read, when the file is closed."""
    image = np.tile(image_of("u2"), (5, 5))
    content = write(tmp_path / "a.fits", image).read_bytes() + bytes(1 << 16)  # the sum stands far behind the images
    (tmp_path / "a.packed").write_bytes(wrong_sum(pack.compress(content)))
    headers = read_headers(tmp_path / "a.packed")
    found: list[Array] = []
    with pytest.raises(Unreadable, match=r"incorrect data check|Corrupt"), open_words(headers) as words:
        found.extend(values(words(n)) for n in order)
    assert_array_equal(found, [image + n - 1 for n in order])


def test_the_rest_of_a_packed_file_is_read_once(tmp_path: Path) -> None:
    content = gzip.compress(write(tmp_path / "a.fits", image_of("u2")).read_bytes())
    (tmp_path / "a.gz").write_bytes(content)
    with FileBytes(str(tmp_path / "a.gz")) as source:
        source.check_rest()  # nothing was read, so nothing can be wrong
        source.read(0, 80)
        source.check_rest()
        os.truncate(tmp_path / "a.gz", 0)
        source.check_rest()
    (tmp_path / "a.gz").write_bytes(content[:-4])
    with FileBytes(str(tmp_path / "a.gz")) as source:
        source.read(0, 80)
        for _ in range(2):
            with pytest.raises(Unreadable, match="ends early"):
                source.check_rest()


@pytest.mark.parametrize("pack", ["", "gz"])
def test_a_disk_that_fails_is_a_hole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pack: str) -> None:
    path = write(tmp_path / "a.fits", image_of("u2"))
    if pack:
        path.write_bytes(gzip.compress(path.read_bytes()))
    headers = read_headers(path)

    def fail(*_: Any) -> Any:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with open_words(headers) as words:
        monkeypatch.setattr(os, "dup" if pack else "preadv", fail)
        with pytest.raises(Unreadable, match=f"^{os.strerror(errno.EIO)}$"):
            words(1)
        monkeypatch.undo()
        assert_array_equal(values(words(2)), image_of("u2") + 1)
        monkeypatch.setattr(os, "fstat", fail)
        with pytest.raises(Unreadable, match="Input/output"):
            words(3)
    monkeypatch.undo()
    for name in ("open", "fstat", "pread"):
        monkeypatch.setattr(os, name, fail)
        with pytest.raises(Unreadable, match="Input/output"), open_words(headers):
            pass
        monkeypatch.undo()
