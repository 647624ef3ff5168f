"""Frames damaged at random: a clear error, a flagged hole, or the right number; never a crash, never another number.

``FUZZ_EXAMPLES=5000 pytest tests/faults/test_damaged_frames.py`` takes longer and looks farther.
"""

from __future__ import annotations

import gzip
import io
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import flatnorm_xr as fx
from flatnorm_xr.errors import FlatnormError, FlatnormWarning
from flatnorm_xr.flags import Flag

fits = pytest.importorskip("astropy.io.fits")

FORMS = ["plain", "gz", "RICE_1", "GZIP_1", "HCOMPRESS_1", "float"]

fuzz = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

Levels = dict[tuple[Any, ...], float]


@cache
def frame(form: str) -> bytes:
    """Write two detectors of two amplifiers each, with checksums."""
    rng = np.random.default_rng(20260101)
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "DECam", "EXPNUM": 7, "EXPTIME": 10.0, "OBSTYPE": "dome flat"})
    primary.header.update({"FILTER": "g DECam SDSS c0001 4720.0 1520.0", "DATE-OBS": "2024-01-02T01:00:00"})
    hdus: list[Any] = [primary]
    for detector in (1, 2):
        pixels = rng.normal(100, 1, (10, 24))
        pixels[:, 2:22] += rng.normal(1000 * detector, 30, (10, 20))
        image = pixels.astype("f4") if form == "float" else np.rint(pixels).astype("u2")
        cards = {"CCDNUM": detector, "DETPOS": f"S{detector}", "GAINA": 4.0, "GAINB": 5.0, "RDNOISEA": 7.0}
        cards |= {"DATASECA": "[13:22,1:10]", "BIASSECA": "[23:24,1:10]", "SATURATA": 60000}
        cards |= {"DATASECB": "[3:12,1:10]", "BIASSECB": "[1:2,1:10]", "SATURATB": 60000}
        cards |= {"DETSIZE": "[1:40,1:10]", "DETSEC": f"[{20 * detector - 19}:{20 * detector},1:10]"}
        compression = {"float": "GZIP_2"}.get(form, form)
        plain = form in ("plain", "gz")
        hdu = fits.ImageHDU(image) if plain else fits.CompImageHDU(image, compression_type=compression)
        hdu.header.update(cards)
        hdus.append(hdu)
    memory = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fits.HDUList(hdus).writeto(memory, checksum=True)
    return gzip.compress(memory.getvalue(), mtime=0) if form == "gz" else memory.getvalue()


def levels_of(path: Path, *, verify: bool) -> Levels:
    """Levels that are there; nothing but clear errors and warnings may come out on the way."""
    told: list[str] = []
    ds = None
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            told += [text for record in fx.inspect(path, progress=False) for text in (record.error, *record.remarks)]
            ds = fx.measure(path, camera="decam", verify_checksum=verify, progress=False, threads=1)
        except FlatnormError as error:
            told.append(str(error))
    assert not any("\n" in text for text in told), told
    if ds is None:
        return {}
    for one in caught:
        assert issubclass(one.category, FlatnormWarning), one
        assert "\n" not in str(one.message)
    found: Levels = {}
    for name, quality in (("background", ds.quality), ("detector_background", ds.detector_quality)):
        stacked = ds[name].stack(cell=ds[name].dims)
        flags = quality.stack(cell=ds[name].dims)
        for label, value, flag in zip(stacked.cell.values, stacked.values, flags.values, strict=True):
            assert np.isnan(value) or not flag & Flag.UNREADABLE
            if not np.isnan(value):
                found[(name, *map(str, label))] = float(value)
    return found


@cache
def undamaged(form: str, folder: Path) -> Levels:
    path = folder / "whole.fits"
    path.write_bytes(frame(form))
    return levels_of(path, verify=True)


def run(folder: Path, form: str, damage: Callable[[bytes], bytes]) -> None:
    expected = undamaged(form, folder)
    assert len(expected) == 6
    content = damage(frame(form))
    (folder / "a.fits").write_bytes(content)
    found = levels_of(folder / "a.fits", verify=True)
    for cell, value in found.items():
        assert value == expected.get(cell), (cell, value)
    if content == frame(form):
        assert found == expected
    levels_of(folder / "a.fits", verify=False)


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
    *("INSTRUME", "EXPNUM", "EXPTIME", "FILTER", "DATE-OBS", "CCDNUM", "DETPOS", "GAINA", "DATASECA"),
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
    run(folder, form, damage)


@given(damage=lies())
@fuzz
def test_cards_that_lie(folder: Path, form: str, damage: Callable[[bytes], bytes]) -> None:
    run(folder, form, damage)


def hdus_of(form: str) -> Any:
    return fits.open(io.BytesIO(frame(form)), disable_image_compression=True)


def test_compressed_and_plain_hdus_in_one_file(folder: Path, form: str) -> None:
    """Whatever the second detector is stored as, it has the levels that it has in a file all like it."""
    if form == "gz":
        pytest.skip("a file as a whole is gzipped, or not")
    with hdus_of("plain") as plain, hdus_of(form) as other:
        fits.HDUList([plain[0], plain[1], other[2]]).writeto(folder / "mixed.fits", overwrite=True)
    expected = {cell: v for cell, v in undamaged("plain", folder).items() if cell[1] == "1"}
    expected |= {cell: v for cell, v in undamaged(form, folder).items() if cell[1] == "2"}
    assert levels_of(folder / "mixed.fits", verify=True) == expected


def test_a_file_that_changes_after_its_headers_were_read(tmp_path: Path) -> None:
    from flatnorm_xr.camera.geometry import describe
    from flatnorm_xr.camera.inspect import take
    from flatnorm_xr.measure.file_levels import Reduction, measure_file

    path = tmp_path / "a.fits"
    for change in (lambda: path.write_bytes(frame("plain") + b"more"), lambda: path.write_bytes(b""), path.unlink):
        path.write_bytes(frame("plain"))
        headers, profile, rule = take(str(path), None)
        file = describe(headers, profile=profile, rule=rule)
        change()
        found = measure_file(file, setting=Reduction())
        assert len(found.levels) == 6
        assert all(level.quality == Flag.UNREADABLE for level in found.levels)
