"""Frames damaged at random: a clear error, a flagged hole, or the right number; never a crash, never another number.

``FUZZ_EXAMPLES=5000 pytest tests/faults/test_damaged_frames.py`` takes longer and looks farther.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flatnorm_xr as fx
from flatnorm_xr.errors import CameraError, FlatnormError, FlatnormWarning, ReadError
from flatnorm_xr.flags import Flag

fits = pytest.importorskip("astropy.io.fits")

FORMS = ["plain", "gz", "RICE_1", "GZIP_1", "HCOMPRESS_1", "float", "amplifiers", "amplifiers gz", "planes", "bias"]
DECAM = FORMS[:6]

PLANES = """\
name: planes
layout: plain-images
exposure: {id: EXPNUM}
detector: {id: CHIP, only: {EXTNAME: ^SCI$}}
mask: {only: {EXTNAME: ^DQ$}, pair: EXTVER}
"""

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "15")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Levels = dict[tuple[Any, ...], float]


@cache
def content(form: str) -> bytes:
    """Write one file, with checksums; as it is before it is packed as a whole."""
    hdus = amplifiers() if "amplifiers" in form else planes() if form == "planes" else detectors(form)
    memory = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(memory, checksum=True)
    return memory.getvalue()


def packed(form: str) -> bool:
    return "gz" in form.split() or form == "bias"


def stored(form: str, data: bytes) -> bytes:
    return gzip.compress(data, mtime=0) if packed(form) else data


def detectors(form: str) -> list[Any]:
    """Two detectors of two amplifiers each."""
    rng = np.random.default_rng(20260101)
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "DECam", "EXPNUM": 7, "EXPTIME": 10.0, "OBSTYPE": "dome flat"})
    primary.header.update({"FILTER": "g DECam SDSS c0001 4720.0 1520.0", "DATE-OBS": "2024-01-02T01:00:00"})
    hdus: list[Any] = [primary]
    for detector in (1, 2):
        pixels = rng.normal(100, 1, (10, 24))
        pixels[:, 2:22] += rng.normal(1000 * detector if form != "bias" else 10, 3, (10, 20))
        image = pixels.astype("f4") if form == "float" else np.rint(pixels).astype("u2")
        cards = {"CCDNUM": detector, "DETPOS": f"S{detector}", "GAINA": 4.0, "GAINB": 5.0, "RDNOISEA": 7.0}
        cards |= {"DATASECA": "[13:22,1:10]", "BIASSECA": "[23:24,1:10]", "SATURATA": 60000}
        cards |= {"DATASECB": "[3:12,1:10]", "BIASSECB": "[1:2,1:10]", "SATURATB": 60000}
        cards |= {"DETSIZE": "[1:40,1:10]", "DETSEC": f"[{20 * detector - 19}:{20 * detector},1:10]"}
        compression = {"float": "GZIP_2"}.get(form, form)
        plain = form in ("plain", "gz", "bias")
        hdu = fits.ImageHDU(image) if plain else fits.CompImageHDU(image, compression_type=compression)
        hdu.header.update(cards)
        hdus.append(hdu)
    return hdus


def amplifiers() -> list[Any]:
    """One detector, an HDU for each of its four amplifiers."""
    rng = np.random.default_rng(20260102)
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "LSSTCam", "RAFTBAY": "R22", "CCDSLOT": "S11", "DAYOBS": "20240102"})
    primary.header.update({"SEQNUM": 7, "MJD-BEG": 60311.0, "EXPTIME": 10.0, "FILTER": "r_57", "IMGTYPE": "FLAT"})
    hdus: list[Any] = [primary]
    for k in range(4):
        image = rng.normal(25000, 5, (6, 16))
        image[:5, 3:11] += rng.normal(5000 + 1000 * k, 10, (5, 8))
        hdu = fits.CompImageHDU(np.rint(image).astype("i4"), compression_type="RICE_1")
        hdu.header.update(
            {"EXTNAME": f"Segment1{k}", "DATASEC": "[4:11,1:5]", "DETSEC": f"[{8 * k + 1}:{8 * k + 8},1:5]"}
        )
        hdus.append(hdu)
    return hdus


def planes() -> list[Any]:
    """Two images, each with one of data quality."""
    rng = np.random.default_rng(20260103)
    hdus: list[Any] = [fits.PrimaryHDU(header=fits.Header([("EXPNUM", 7), ("EXPTIME", 10.0)]))]
    for name in ("SCI", "DQ"):
        for chip in (1, 2):
            image = np.rint(rng.normal(1000 * chip, 30, (10, 20))).astype("i2")
            hdu = fits.ImageHDU(image if name == "SCI" else (image > 1030 * chip).astype("i2"))
            hdu.header.update({"EXTNAME": name, "EXTVER": chip, "CHIP": chip})
            hdus.append(hdu)
    return hdus


def levels_of(path: Path, form: str, *, verify: bool) -> Levels:
    """Levels that are there; nothing but clear errors and warnings may come out on the way."""
    told: list[str] = []
    ds = None
    options: dict[str, Any] = {"camera": "lsstcam" if "amplifiers" in form else "decam"}
    if form == "planes":
        options["camera"] = path.with_name("planes.yaml")
    if form == "bias":
        options["bias"], path = path, path.with_name("frame.fits")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if verify:
                told += [text for one in fx.inspect(path, progress=False) for text in (one.error, *one.remarks)]
            ds = fx.measure(path, verify_checksum=verify, progress=False, threads=1, **options)
        except FlatnormError as error:
            told.append(str(error))
    assert not any("\n" in text for text in told), told
    if ds is None:
        return {}
    for one in caught:
        assert issubclass(one.category, FlatnormWarning), one
        assert "\n" not in str(one.message)
    return dict(cells(ds))


def cells(ds: xr.Dataset) -> Iterator[tuple[tuple[Any, ...], float]]:
    """Each level by its labels; no level is flagged as none."""
    for name, flags in (("background", "quality"), ("detector_background", "detector_quality")):
        if name in ds:
            levels, quality = (ds[one].stack(cell=ds[name].dims) for one in (name, flags))
            assert not (levels.notnull() & (quality & Flag.UNREADABLE != 0)).any()
            for label, value in zip(levels.cell.values, levels.values, strict=True):
                if not np.isnan(value):
                    yield (name, *map(str, label)), float(value)


@cache
def undamaged(form: str, folder: Path) -> Levels:
    (folder / "planes.yaml").write_text(PLANES)
    (folder / "frame.fits").write_bytes(content("plain"))
    path = folder / "whole.fits"
    path.write_bytes(stored(form, content(form)))
    found = levels_of(path, form, verify=True)
    assert len(found) == (5 if "amplifiers" in form else 2 if form == "planes" else 6)
    return found


def check(folder: Path, form: str, data: bytes, *, verify: bool) -> None:
    """Whatever has a level has the right one."""
    expected = undamaged(form, folder)
    (folder / "a.fits").write_bytes(data)
    found = levels_of(folder / "a.fits", form, verify=verify)
    for cell, value in found.items():
        assert value == expected.get(cell), (cell, value)
    if data == stored(form, content(form)):
        assert found == expected


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bytes that are changed, lost, put in, or all missing from somewhere on."""
    kind = draw(st.sampled_from(["bits", "bytes", "zeros", "cut", "loss", "insertion", "block"]))
    where = draw(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=4))
    size = draw(st.sampled_from([1, 2, 4, 8, 80, 2880]))
    fill = draw(st.binary(min_size=1, max_size=80))

    def damage(content: bytes) -> bytes:
        data = bytearray(content)
        for share in where:
            at = int(share * len(data))
            if kind == "bits":
                data[at] ^= 1 << fill[0] % 8
            elif kind in ("bytes", "zeros"):
                put = bytes(size) if kind == "zeros" else (fill * size)[:size]
                data[at : at + size] = put[: len(data) - at]
            elif kind == "cut":
                return bytes(data[:at])
            elif kind == "loss":
                del data[at : at + size]
            elif kind == "insertion":
                data[at:at] = (fill * size)[:size]
            else:
                start = at // 2880 * 2880
                data[start : start + 2880] = data[:2880]
            if not data:
                break
        return bytes(data)

    return damage


# A header whose CHECKSUM is taken away has none, so that card stays.
KEYS = (
    *("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2", "PCOUNT", "GCOUNT", "TFIELDS", "TFORM1", "TTYPE1"),
    *("THEAP", "ZIMAGE", "ZCMPTYPE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2", "ZNAME1", "ZVAL1"),
    *("ZNAME2", "ZVAL2", "ZQUANTIZ", "ZBLANK", "ZSCALE", "ZZERO", "BZERO", "BSCALE", "BLANK", "EXTNAME", "DATASUM"),
    *("INSTRUME", "EXPNUM", "EXPTIME", "FILTER", "DATE-OBS", "CCDNUM", "DETPOS", "GAINA", "DATASECA", "DATASEC"),
    *("RAFTBAY", "CCDSLOT", "DAYOBS", "SEQNUM", "CHIP", "EXTVER"),
    *("BIASSECA", "DATASECB", "SATURATA", "DETSEC", "DETSIZE", "CCDSUM", "RDNOISEA", "END"),
)

SPECIAL = (
    *("T", "F", "", "0", "-1", "1", "2", "3", "8", "16", "-32", "999", "2147483648", "4294967295", "1E30", "-1E-30"),
    *("9223372036854775807", "99999999999999999999999", "1E999", "0.0", "'T'", "''", "'1PB(0)'", "'1QB(9)'"),
    *("'99999999E'", "'NOCOMPRESS'", "'RICE_1'", "'HCOMPRESS_1'", "'PLIO_1'", "'GZIP_2'", "'[1:5,1:5]'"),
    *("'[0:0,0:0]'", "'[99999999999999999999:1,1:2]'", "'[5:1,9:2]'", "(1,2)", "'&'", "'a: 2'", "'\xe9\n'"),
)

VALUES = st.one_of(
    st.sampled_from(SPECIAL),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(str),
    st.text(st.characters(codec="latin-1"), max_size=68).map(lambda text: "'" + text.replace("'", "''") + "'"),
    st.binary(max_size=70).map(lambda data: data.decode("latin-1")),
)


@st.composite
def lies(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Cards that say something else, are lost, or are put in."""
    changes = draw(st.lists(st.tuples(st.sampled_from(KEYS), VALUES, st.integers(0, 2)), min_size=1, max_size=3))

    def damage(content: bytes) -> bytes:
        data = bytearray(content)
        for key, value, nth in changes:
            card = f"{key:8s}= {value}".encode("latin-1", "replace")[:80].ljust(80)
            places = [at for at in range(0, len(data), 80) if data.startswith(key.ljust(8).encode(), at)]
            places = places or [at for at in range(0, len(data), 80) if data.startswith(b"EXPTIME ", at)]
            if places:
                at = places[nth % len(places)]
                data[at : at + 80] = card
        return bytes(data)

    return damage


@pytest.fixture(scope="module", params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def folder(form: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp(form)


@given(damage=damages())
@fuzz
def test_damaged_bytes(folder: Path, form: str, damage: Callable[[bytes], bytes]) -> None:
    """A file that is packed as a whole has a checksum that is always verified."""
    data = damage(stored(form, content(form)))
    check(folder, form, data, verify=True)
    if packed(form):
        check(folder, form, data, verify=False)
    else:
        levels_of(folder / "a.fits", form, verify=False)


@given(damage=lies())
@fuzz
def test_cards_that_lie(folder: Path, form: str, damage: Callable[[bytes], bytes]) -> None:
    """Those within a file that is packed, too, so that its own checksum is right."""
    check(folder, form, stored(form, damage(content(form))), verify=True)
    levels_of(folder / "a.fits", form, verify=False)


def hdus_of(form: str) -> Any:
    return fits.open(io.BytesIO(content(form)), disable_image_compression=True)


@pytest.mark.parametrize("form", [form for form in DECAM if form not in ("plain", "gz")])
def test_compressed_and_plain_hdus_in_one_file(tmp_path: Path, form: str) -> None:
    """Whatever the second detector is stored as, it has the levels that it has in a file all like it."""
    with hdus_of("plain") as plain, hdus_of(form) as other:
        fits.HDUList([plain[0], plain[1], other[2]]).writeto(tmp_path / "mixed.fits", overwrite=True)
    expected = {cell: v for cell, v in undamaged("plain", tmp_path).items() if cell[1] == "1"}
    expected |= {cell: v for cell, v in undamaged(form, tmp_path).items() if cell[1] == "2"}
    assert levels_of(tmp_path / "mixed.fits", "plain", verify=True) == expected


def test_a_file_that_changes_after_its_headers_were_read(tmp_path: Path) -> None:
    from flatnorm_xr.camera.geometry import describe
    from flatnorm_xr.camera.inspect import take
    from flatnorm_xr.measure.file_levels import Reduction, measure_file

    path = tmp_path / "a.fits"
    for change in (lambda: path.write_bytes(content("plain") + b"more"), lambda: path.write_bytes(b""), path.unlink):
        path.write_bytes(content("plain"))
        headers, profile, rule = take(str(path), None)
        file = describe(headers, profile=profile, rule=rule)
        change()
        found = measure_file(file, setting=Reduction())
        assert len(found.levels) == 6
        assert all(level.quality == Flag.UNREADABLE for level in found.levels)


def measured(folder: Path, form: str, data: bytes, **options: Any) -> xr.Dataset:
    """Levels of one file, whatever is warned of."""
    undamaged(form, folder)
    (folder / "a.fits").write_bytes(data)
    camera = {"amplifiers": "lsstcam", "planes": folder / "planes.yaml"}.get(form, "decam")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlatnormWarning)
        return fx.measure(folder / "a.fits", camera=camera, progress=False, threads=1, **options)


@pytest.mark.parametrize("form", ["gz", "amplifiers gz", "bias"])
def test_what_follows_a_packed_file_costs_no_level_of_an_amplifier(tmp_path: Path, form: str) -> None:
    """A detector may have lost amplifiers that are HDUs of their own, if it was a part of the file before."""
    expected = undamaged(form, tmp_path)
    if "amplifiers" in form:
        expected = {cell: value for cell, value in expected.items() if cell[0] == "background"}
    (tmp_path / "a.fits").write_bytes(stored(form, content(form)) + b"garbage")
    for verify in (False, True):
        assert levels_of(tmp_path / "a.fits", form, verify=verify) == expected


@pytest.mark.parametrize("form", ["gz", "amplifiers gz", "bias"])
def test_gzip_members_of_any_length_are_one_file(tmp_path: Path, form: str) -> None:
    data = content(form)
    expected = undamaged(form, tmp_path)
    for end in (1, 2880, len(data) // 2 // 2880 * 2880, len(data) // 2, data.rindex(b"XTENSION")):
        for at in (end, len(data) - end):
            (tmp_path / "a.fits").write_bytes(gzip.compress(data[:at]) + gzip.compress(data[at:]))
            assert levels_of(tmp_path / "a.fits", form, verify=False) == expected


def renamed(form: str, name: str) -> bytes:
    """Change one letter of EXTNAME in the first HDU of this name."""
    data = content(form)
    at = data.index(name.encode())
    return data[:at] + b"X" + data[at + 1 :]


def test_a_detector_that_may_have_lost_amplifiers_has_no_level(tmp_path: Path) -> None:
    data = content("amplifiers")
    ds = measured(tmp_path, "amplifiers", data[: data.rindex(b"XTENSION")] + b"x" * 2880)
    assert ds.background.notnull().sum() == 3
    assert (ds.detector_quality == Flag.UNREADABLE).all()
    assert ds.detector_background.isnull().all()


def test_a_detector_that_may_have_lost_its_data_quality_has_no_level(tmp_path: Path) -> None:
    data = content("planes")
    ds = measured(tmp_path, "planes", data[: data.rindex(b"XTENSION")] + b"x" * 2880)
    assert (ds.quality.sel(detector=[1, 2]).squeeze().values == [0, Flag.UNREADABLE]).all()
    assert ds.background.isnull().sum() == 1


@pytest.mark.parametrize(("form", "name"), [("amplifiers", "Segment12"), ("planes", "SCI"), ("planes", "DQ")])
def test_a_wrong_header_that_hides_an_image_is_seen_where_checksums_are_verified(
    tmp_path: Path, form: str, name: str
) -> None:
    """It cannot be told what it hides: an amplifier of any detector, the data quality of any image."""
    ds = measured(tmp_path, form, renamed(form, name), verify_checksum=True)
    assert ds.background.isnull().all()
    assert ((ds.quality & Flag.UNREADABLE) != 0).all()


@pytest.mark.parametrize("form", ["plain", "RICE_1"])
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE])
def test_a_disk_that_fails_leaves_flagged_holes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, code: int
) -> None:
    """Headers that were read, and pixels that are not; then headers that are not read either."""
    undamaged(form, tmp_path)

    def fail(*_: Any) -> Any:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "preadv", fail)
    ds = measured(tmp_path, form, content(form))
    assert (ds.quality == Flag.UNREADABLE).all()
    assert (ds.detector_quality == Flag.UNREADABLE).all()
    monkeypatch.setattr(os, "pread", fail)
    with pytest.raises(ReadError, match=os.strerror(code)):
        measured(tmp_path, form, content(form))


@pytest.mark.parametrize("what", ["bias", "mask"])
def test_the_bias_or_mask_of_one_detector_is_not_that_of_another(tmp_path: Path, what: str) -> None:
    """A file with a header that is lost may have just one image left."""
    with hdus_of("bias") as hdus:
        fits.HDUList([hdus[0], hdus[2]]).writeto(tmp_path / "other.fits")
    with pytest.raises(CameraError, match=r"other\.fits: no image of detector 1"):
        measured(tmp_path, "plain", content("plain"), **{what: tmp_path / "other.fits"})
