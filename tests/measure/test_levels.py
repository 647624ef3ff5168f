"""Nights of small files in the cameras' layouts, whose levels are exact arithmetic."""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from numpy.testing import assert_array_equal

from flatnorm_xr.camera.headers import read_headers
from flatnorm_xr.errors import CameraError, FlatnormError, FlatnormWarning, ReadError
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.levels import measure

LIGHT = {"A": 1000, "B": 2000}


def decam(path: Path, exposure: int, detectors: tuple[int, ...] = (1, 2), *, hour: int = 1, **changes: Any) -> Path:
    """One file a exposure: overscan 100, light 1000 (A) and 2000 (B), times exposure, plus detector."""
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "DECam", "EXPNUM": exposure, "EXPTIME": 10.0, "OBSTYPE": "dome flat"})
    primary.header.update({"FILTER": "g DECam SDSS c0001 4720.0 1520.0", "DTCALDAT": "2024-01-01"})
    primary.header["DATE-OBS"] = f"2024-01-02T{hour:02d}:00:00"
    hdus: list[Any] = [primary]
    for detector in detectors:
        image = np.full((10, 24), 100, dtype="u2")
        image[:, 12:22] += LIGHT["A"] * exposure + detector
        image[:, 2:12] += LIGHT["B"] * exposure + detector
        hdu = fits.ImageHDU(image, name=f"S{detector}")
        hdu.header.update({"CCDNUM": detector, "DETPOS": f"S{detector}", "GAINA": 4.0, "GAINB": 5.0, "RDNOISEA": 7.0})
        hdu.header.update({"DATASECA": "[13:22,1:10]", "BIASSECA": "[23:24,1:10]", "SATURATA": 60000})
        hdu.header.update({"DATASECB": "[3:12,1:10]", "BIASSECB": "[1:2,1:10]", "SATURATB": 60000})
        hdu.header.update({"DETSIZE": "[1:40,1:10]", "DETSEC": f"[{20 * detector - 19}:{20 * detector},1:10]"})
        hdus.append(hdu)
    opened = fits.HDUList(hdus)
    changes.get("change", lambda hdus: None)(opened)
    opened.writeto(path, checksum=True)
    return path


def lsst(path: Path, sequence: int, slot: str, segments: int, level: int) -> Path:
    primary = fits.PrimaryHDU()
    primary.header.update({"INSTRUME": "LSSTCam", "RAFTBAY": "R00" if slot[:2] == "SW" else "R22", "CCDSLOT": slot})
    primary.header.update({"DAYOBS": "20240102", "SEQNUM": sequence, "MJD-BEG": 60311.0 + sequence / 1000})
    names = [f"Segment1{k}" for k in range(8)] + [f"Segment0{k}" for k in range(7, -1, -1)]
    hdus: list[Any] = [primary]
    for k, name in enumerate(names[:segments]):
        image = np.full((6, 16), 25000, dtype="i4")
        image[:5, 3:11] += level + k
        hdu = fits.ImageHDU(image)
        hdu.header.update({"EXTNAME": name, "DATASEC": "[4:11,1:5]", "DETSEC": f"[{8 * k + 1}:{8 * k + 8},1:5]"})
        hdu.header.update({"CRVAL1F": 31750.5, "CRVAL2F": 31750.5})
        hdus.append(hdu)
    fits.HDUList(hdus).writeto(path)
    return path


def night(folder: Path) -> str:
    # Written in an order that is neither that of ids nor of detectors.
    decam(folder / "a.fits", 3, (2, 1), hour=1)
    decam(folder / "b.fits", 1, (1, 2), hour=2)
    decam(folder / "c.fits", 2, (1, 2), hour=3)
    return str(folder / "*.fits")


def quiet(*args: Any, **options: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FlatnormWarning)
        return measure(*args, progress=False, **options)


def test_levels_of_a_night(tmp_path: Path) -> None:
    ds = measure(night(tmp_path))
    assert ds.background.dims == ("detector", "amplifier", "exposure")
    assert ds.detector.values.tolist() == [1, 2]
    assert ds.amplifier.values.tolist() == ["A", "B"]
    assert ds.exposure.values.tolist() == [3, 1, 2]  # by time
    for detector in (1, 2):
        for amplifier, light in LIGHT.items():
            level = ds.background.sel(detector=detector, amplifier=amplifier)
            assert_array_equal(level, light * ds.exposure + detector)
        whole = ds.detector_background.sel(detector=detector)
        assert_array_equal(whole, 1500 * ds.exposure + detector)
    assert (ds.counts == 100).all()
    assert (ds.detector_counts == 200).all()
    assert ds.counts.dtype == np.int64
    assert (ds.sigma == 0).all()
    assert (ds.quality == 0).all()
    assert (ds.detector_quality == 0).all()


def test_coordinates_and_attributes_follow_the_model(tmp_path: Path) -> None:
    ds = measure(night(tmp_path), checksum=True)
    assert ds.time.values[0] == np.datetime64("2024-01-02T01:00:05")
    assert set(ds.physical_filter.values) == {"g DECam SDSS"}
    assert set(ds.observation_type.values) == {"dome flat"}
    assert set(ds.night.values) == {"2024-01-01"}
    assert (ds.exposure_time == 10).all()
    assert ds.detector_name.values.tolist() == ["S1", "S2"]
    assert_array_equal(ds.gain.transpose("detector", "amplifier"), [[4, 5], [4, 5]])
    assert_array_equal(ds.read_noise.isel(detector=0), [7, np.nan])
    np.testing.assert_allclose(ds.x, [(10.5 - 20.5) * 0.015, (30.5 - 20.5) * 0.015])
    assert "exists" not in ds.coords
    assert "lamp" not in ds.coords
    assert ds.path.sel(detector=1, exposure=3).item() == str(tmp_path / "a.fits")
    assert ds.background.attrs["units"] == "adu"
    assert ds.attrs["camera"] == "decam"
    assert ds.attrs["title"]
    assert "statistic meanclip" in ds.attrs["source"]
    assert datetime.datetime.fromisoformat(ds.attrs["history"].split()[0]).tzinfo is not None
    assert "\n" not in ds.attrs["history"]
    first = json.loads(ds.attrs["inputs"])[0]
    path = tmp_path / "a.fits"
    assert (first["name"], first["size"]) == ("a.fits", path.stat().st_size)
    assert first["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    total = sum(int(fits.getheader(path, n)["DATASUM"]) for n in (1, 2))
    assert first["DATASUM"] % 0xFFFFFFFF == total % 0xFFFFFFFF
    configuration = json.loads(ds.attrs["measure_configuration"])
    assert (configuration["clip"], configuration["camera"], configuration["bias"]) == (3.0, "decam", None)
    assert "sha256" not in ds.pipe(lambda _: measure(str(path))).attrs["inputs"]


def test_same_files_same_levels_in_any_order(tmp_path: Path) -> None:
    ds = measure(night(tmp_path))
    again = measure([tmp_path / "c.fits", str(tmp_path / "[ab].fits")])
    assert again.drop_attrs().identical(ds.drop_attrs())


def test_compressed_files_give_the_same_levels(tmp_path: Path) -> None:
    ds = measure(night(tmp_path))
    packed = tmp_path / "packed"
    packed.mkdir()
    (packed / "a.fits.gz").write_bytes(gzip.compress((tmp_path / "a.fits").read_bytes()))
    for name in ("b", "c"):
        with fits.open(tmp_path / f"{name}.fits") as hdus:
            tiles = [fits.CompImageHDU(hdu.data, hdu.header) for hdu in hdus[1:]]
            fits.HDUList([hdus[0], *tiles]).writeto(packed / f"{name}.fits.fz")
    again = measure([packed / "a.fits.gz", packed / "b.fits.fz", packed / "c.fits.fz"])
    for name in ds.data_vars:
        assert_array_equal(again[name], ds[name])


def test_ragged_detectors_are_padded(tmp_path: Path) -> None:
    for sequence in (1, 2):
        lsst(tmp_path / f"{sequence}_S11.fits", sequence, "S11", 16, 1000 * sequence)
        lsst(tmp_path / f"{sequence}_SW0.fits", sequence, "SW0", 8, 500 * sequence)
    ds = measure(str(tmp_path / "*.fits"))
    assert ds.sizes == {"detector": 2, "amplifier": 16, "exposure": 2}
    assert ds.detector.values.tolist() == ["R00_SW0", "R22_S11"]
    assert ds.exposure.values.tolist() == [2024010200001, 2024010200002]
    corner = ds.sel(detector="R00_SW0")
    assert corner.exists.values.tolist() == [True] * 8 + [False] * 8
    padding = corner.isel(amplifier=slice(8, None))
    assert (padding.quality == Flag.NO_SUCH_AMPLIFIER).all()
    assert padding.background.isnull().all()
    assert (padding.counts == 0).all()
    assert_array_equal(corner.background.isel(exposure=1)[:8], 1000 + np.arange(8))
    assert "gain" not in ds.coords


def test_generic_images_have_no_amplifiers(tmp_path: Path) -> None:
    for exposure in (1, 2):
        images = [fits.ImageHDU(np.full((4, 4), 1.5 * exposure * n, "f4"), name=f"CCD{n}") for n in (1, 2)]
        primary = fits.PrimaryHDU()
        primary.header["DATE-OBS"] = f"2024-01-0{exposure}T00:00:00"
        fits.HDUList([primary, *images]).writeto(tmp_path / f"flat{exposure}.fits")
    with pytest.warns(FlatnormWarning, match=r"no profile recognises .*flat1\.fits, .*flat2\.fits: ") as caught:
        ds = measure(str(tmp_path / "flat*.fits"))
    assert len(caught) == 1
    assert measure(str(tmp_path / "flat*.fits"), camera="generic").background.identical(ds.background)  # no warning
    assert ds.background.dims == ("detector", "exposure")
    assert "detector_background" not in ds
    assert "amplifier" not in ds.dims
    assert_array_equal(ds.background, [[1.5, 3], [3, 6]])
    assert ds.exposure.values.tolist() == ["flat1", "flat2"]
    assert ds.camera == "generic"


def test_a_missing_file_is_a_hole(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1, (1, 2))
    decam(tmp_path / "b.fits", 2, (2,))
    ds = measure(str(tmp_path / "*.fits"))
    hole = ds.sel(detector=1, exposure=2)
    assert (hole.quality == Flag.NOT_MEASURED).all()
    assert hole.detector_quality == Flag.NOT_MEASURED
    assert hole.background.isnull().all()
    assert (hole.counts == 0).all()
    assert hole.path.item() == ""


def test_more_than_one_percent_saturated_is_flagged_and_kept(tmp_path: Path) -> None:
    def saturate(number: int) -> Any:
        def change(hdus: Any) -> None:
            hdus[1].data[0, 12 : 12 + number] = 60000

        return change

    decam(tmp_path / "a.fits", 1, (1,), change=saturate(1), hour=1)
    decam(tmp_path / "b.fits", 2, (1,), change=saturate(2), hour=2)
    decam(tmp_path / "c.fits", 3, (1,), change=saturate(3), hour=3)
    ds = measure(str(tmp_path / "*.fits")).sel(detector=1)
    a = ds.sel(amplifier="A")
    assert a.quality.values.tolist() == [0, Flag.SATURATED, Flag.SATURATED]
    assert_array_equal(a.background, [1001, 2001, 3001])
    assert a.counts.values.tolist() == [99, 98, 97]
    assert (ds.sel(amplifier="B").quality == 0).all()
    assert ds.detector_quality.values.tolist() == [0, 0, Flag.SATURATED]  # 1, 1 and 1.5 %


def test_dead_and_negative_amplifiers(tmp_path: Path) -> None:
    def change(hdus: Any) -> None:
        hdus[1].data[:, 12:22] = 100
        hdus[2].data[:, 12:22] = 90

    decam(tmp_path / "a.fits", 1, change=change)
    mask = {1: np.zeros((10, 20)), 2: np.zeros((10, 20))}
    mask[1][:, :10] = 1
    ds = measure(tmp_path / "a.fits", mask=mask).isel(exposure=0)
    assert_array_equal(ds.quality, [[Flag.NON_POSITIVE, Flag.ALL_MASKED], [Flag.NON_POSITIVE, 0]])
    assert_array_equal(ds.background, [[0, np.nan], [-10, 2002]])
    assert ds.counts.values.tolist() == [[100, 0], [100, 100]]
    assert mask[1].sum() == 100


def test_a_detector_measured_in_part_is_flagged(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1)
    mask = {1: np.zeros((10, 20)), 2: np.zeros((10, 20))}
    mask[1][:, :10] = 1
    ds = measure(tmp_path / "a.fits", mask=mask).isel(exposure=0)
    assert ds.detector_quality.values.tolist() == [Flag.PARTIAL, 0]
    assert ds.detector_background.values.tolist() == [1001, 1502]
    mask[1][:] = 1
    ds = measure(tmp_path / "a.fits", mask=mask).isel(exposure=0)
    assert ds.detector_quality.values.tolist() == [Flag.ALL_MASKED, 0]
    assert (ds.quality.sel(detector=1) == Flag.ALL_MASKED).all()


def test_a_detector_that_lacks_amplifiers_in_one_exposure_is_flagged_there(tmp_path: Path) -> None:
    for sequence, segments in ((1, 16), (2, 12)):
        lsst(tmp_path / f"{sequence}.fits", sequence, "S11", segments, 100)
        lsst(tmp_path / f"{sequence}_corner.fits", sequence, "SW0", 8, 100)
    ds = measure(str(tmp_path / "*.fits"))
    assert ds.detector_quality.sel(detector="R22_S11").values.tolist() == [0, Flag.PARTIAL]
    assert ds.detector_quality.sel(detector="R00_SW0").values.tolist() == [0, 0]
    assert not (ds.quality & np.uint32(Flag.PARTIAL)).any()


def test_files_of_one_exposure_id_and_two_exposures(tmp_path: Path) -> None:
    def change(**cards: Any) -> Any:
        return lambda hdus: hdus[0].header.update(cards)

    decam(tmp_path / "a.fits", 7, (1,))
    decam(tmp_path / "b.fits", 7, (2,), change=change(FILTER="r DECam SDSS c0002 6415.0 1480.0"))
    decam(tmp_path / "c.fits", 7, (2,), change=change(**{"DATE-OBS": "2024-01-02T01:10:01"}))
    decam(tmp_path / "d.fits", 7, (2,), change=change(**{"DATE-OBS": "2024-01-02T01:09:00"}))
    with pytest.raises(
        CameraError, match=r"exposure 7 is g .* in .*a\.fits and r .* in .*b\.fits: exposure ids repeat"
    ):
        measure([tmp_path / "a.fits", tmp_path / "b.fits"])
    with pytest.raises(CameraError, match=r"exposure 7 is of .* in .*a\.fits and of .* in .*c\.fits"):
        measure([tmp_path / "a.fits", tmp_path / "c.fits"])
    assert measure([tmp_path / "a.fits", tmp_path / "d.fits"]).sizes["exposure"] == 1


def test_numbers_may_be_of_numpy(tmp_path: Path) -> None:
    path = decam(tmp_path / "a.fits", 1)
    options = {"border": np.int64(2), "saturation": np.float32(1e4), "clip": np.float32(2), "iterations": np.int64(2)}
    ds = measure(path, **options)  # type: ignore[arg-type]
    plain = measure(path, border=2, saturation=1e4, clip=2.0, iterations=2)
    assert ds.attrs["measure_configuration"] == plain.attrs["measure_configuration"]
    assert ds.drop_attrs().identical(plain.drop_attrs())


def test_bias_and_border_change_the_levels_of_all_detectors(tmp_path: Path) -> None:
    path = decam(tmp_path / "a.fits", 1)
    bias = [fits.ImageHDU(np.full((10, 20), 5.0 * n), fits.Header([("CCDNUM", n)])) for n in (2, 1)]
    fits.HDUList([fits.PrimaryHDU(), *bias]).writeto(tmp_path / "bias.fits")
    ds = measure(path, bias=tmp_path / "bias.fits", border=1).isel(exposure=0)
    assert_array_equal(ds.background, [[1001 - 5, 2001 - 5], [1002 - 10, 2002 - 10]])
    assert (ds.counts == 8 * 9).all()
    assert (ds.detector_counts == 8 * 18).all()
    assert json.loads(ds.attrs["measure_configuration"])["bias"] == str(tmp_path / "bias.fits")


def test_electrons_when_the_profile_applies_the_gain(tmp_path: Path) -> None:
    from dataclasses import replace

    from flatnorm_xr.camera.profiles import load_profile

    profile = replace(load_profile("decam"), apply_gain=True)
    ds = measure(decam(tmp_path / "a.fits", 1, (1,)), camera=profile)
    assert_array_equal(ds.background.squeeze(), [4 * 1001, 5 * 2001])
    assert ds.background.attrs["units"] == "electron"


@pytest.mark.parametrize("paths", ["*.fits", "none.fits", ".", []])
def test_paths_without_files(tmp_path: Path, paths: Any) -> None:
    given = paths if paths == [] else str(tmp_path / paths)
    with pytest.raises(ReadError, match="measure: "):
        measure(given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"statistic": "mode"}, "statistic"),
        ({"clip": 0}, "clip"),
        ({"iterations": 0}, "iterations"),
        ({"saturation": -1}, "saturation"),
        ({"border": -1}, "border"),
        ({"border": 1.5}, "border"),
        ({"camera": "nocam"}, "nocam"),
    ],
)
def test_wrong_keywords_are_refused_before_any_file(tmp_path: Path, options: Any, message: str) -> None:
    with pytest.raises(FlatnormError, match=message):
        measure(str(tmp_path / "none.fits"), **options)


def test_files_of_two_cameras(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1)
    lsst(tmp_path / "b.fits", 1, "S11", 16, 100)
    with pytest.raises(CameraError, match=r"2 cameras \(decam: .*a\.fits; lsstcam: .*b\.fits\)"):
        measure(str(tmp_path / "*.fits"))


def test_files_without_readable_header_are_left_out(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1)
    (tmp_path / "b.fits").write_text("nothing")
    (tmp_path / "c.fits").write_bytes(b"")
    with pytest.warns(FlatnormWarning, match=r"left out 2 of 3 files: .*b\.fits.*c\.fits") as caught:
        ds = measure(str(tmp_path / "*.fits"))
    assert len(caught) == 1
    assert ds.exposure.values.tolist() == [1]
    with pytest.raises(ReadError, match=r"b\.fits"):
        measure(str(tmp_path / "*.fits"), strict=True)
    with pytest.raises(ReadError, match=r"b\.fits"):
        measure([tmp_path / "b.fits", tmp_path / "c.fits"])


def test_a_file_with_a_bad_card_is_left_out(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1)
    content = decam(tmp_path / "b.fits", 2).read_bytes()
    for card in (b"EXPTIME =   2.0x7y 3", b"EXPTIME = 1E30"):
        start = content.index(b"EXPTIME =")
        (tmp_path / "b.fits").write_bytes(content[:start] + card.ljust(80) + content[start + 80 :])
        with pytest.warns(FlatnormWarning, match=r"left out 1 of 2 files: .*b\.fits.*EXPTIME"):
            ds = measure(str(tmp_path / "*.fits"))
        assert ds.exposure.values.tolist() == [1]
        with pytest.raises(ReadError, match=r"b\.fits"):
            measure(str(tmp_path / "*.fits"), strict=True)


def test_damage_where_nothing_is_measured_costs_no_level(tmp_path: Path) -> None:
    path = decam(tmp_path / "b.fits", 2)
    image = fits.ImageHDU(np.zeros((64, 64), "u2"), name="FS1")
    image.header.update({"CCDNUM": 65, "DETPOS": "FS1"})
    with fits.open(path, mode="append") as hdus:
        hdus.append(image)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.warns(
        FlatnormWarning, match=r"damaged files, in which all .* could be read: .*b\.fits \(the file ends"
    ):
        ds = measure(path)
    assert (ds.quality == 0).all()
    with pytest.raises(ReadError, match=r"damaged files: .*b\.fits"):
        measure(path, strict=True)


@pytest.mark.parametrize("missing", [100, 2880, 2880 + 100, 2 * 2880 - 100])
def test_a_truncated_file_leaves_a_flagged_hole(tmp_path: Path, missing: int) -> None:
    decam(tmp_path / "a.fits", 1)
    path = decam(tmp_path / "b.fits", 2)
    path.write_bytes(path.read_bytes()[:-missing])
    if missing == 100:  # only padding is gone
        ds = quiet(str(tmp_path / "*.fits"))
        assert_array_equal(ds.background.sel(exposure=2, detector=1), [2001, 4001])
        return
    with pytest.warns(FlatnormWarning, match=r"flagged UNREADABLE: .*b\.fits \(2 A, 2 B: "):
        ds = measure(str(tmp_path / "*.fits"))
    assert (ds.quality.sel(exposure=1) == 0).all()
    cut = ds.sel(exposure=2)
    assert_array_equal(cut.background.sel(detector=1), [2001, 4001])
    assert (cut.quality.sel(detector=2) == Flag.UNREADABLE).all()
    assert cut.detector_quality.sel(detector=2) == Flag.UNREADABLE
    assert cut.background.sel(detector=2).isnull().all()
    assert (cut.counts.sel(detector=2) == 0).all()
    with pytest.raises(ReadError, match=r"b\.fits"):
        measure(str(tmp_path / "*.fits"), strict=True)


def test_a_truncated_gzip_is_a_flagged_hole(tmp_path: Path) -> None:
    """As a whole: without its checksum nothing tells the end of what was cut from that of what was changed."""
    decam(tmp_path / "a.fits", 1)
    content = gzip.compress(decam(tmp_path / "b.fits", 2).read_bytes(), compresslevel=0)
    (tmp_path / "b.fits").unlink()
    (tmp_path / "b.fits.gz").write_bytes(content[: len(content) - 3000])
    ds = quiet(str(tmp_path / "*.fits*"))
    assert_array_equal(ds.background.sel(exposure=1, detector=1), [1001, 2001])
    assert (ds.quality.sel(exposure=2) == Flag.UNREADABLE).all()
    assert ds.background.sel(exposure=2).isnull().all()


@pytest.mark.parametrize("detector", [1, 2])
def test_a_byte_that_only_the_checksum_of_gzip_shows_is_a_flagged_hole(tmp_path: Path, detector: int) -> None:
    """Whichever detector it is in: both are holes."""
    decam(tmp_path / "a.fits", 1)
    path = decam(tmp_path / "b.fits", 2)
    content = gzip.compress(path.read_bytes() + bytes(1 << 16), compresslevel=0)  # the sum stands far behind
    at = content.index(path.read_bytes()[read_headers(path).places[detector].offset :][:200]) + 100
    path.unlink()
    path.with_suffix(".fits.gz").write_bytes(content[:at] + bytes([content[at] ^ 64]) + content[at + 1 :])
    ds = quiet(str(tmp_path / "*.fits*"))
    assert (ds.quality.sel(exposure=1) == 0).all()
    assert (ds.quality.sel(exposure=2) == Flag.UNREADABLE).all()
    assert ds.background.sel(exposure=2).isnull().all()


def test_corrupt_tiles_leave_a_flagged_hole(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1)
    with fits.open(decam(tmp_path / "b.fits", 2)) as hdus:
        tiles = [fits.CompImageHDU(hdu.data, hdu.header) for hdu in hdus[1:]]
        fits.HDUList([hdus[0], *tiles]).writeto(tmp_path / "b.fits.fz")
    (tmp_path / "b.fits").unlink()
    with fits.open(tmp_path / "b.fits.fz", mode="update", disable_image_compression=True) as hdus:
        hdus[2].header["ZCMPTYPE"] = "NONSENSE"
    ds = quiet(str(tmp_path / "*.fits*"))
    assert (ds.quality.sel(exposure=2, detector=2) == Flag.UNREADABLE).all()
    assert_array_equal(ds.background.sel(exposure=2, detector=1), [2001, 4001])


def test_when_nothing_was_measured_the_flags_are_counted(tmp_path: Path) -> None:
    with pytest.warns(FlatnormWarning, match="nothing was measured, no cell has a level: 12 ALL_MASKED, 12 SATURATED"):
        measure(night(tmp_path), saturation=1)


def test_a_segment_that_is_cut_off_is_unreadable_not_absent(tmp_path: Path) -> None:
    lsst(tmp_path / "1.fits", 1, "S11", 16, 100)
    path = lsst(tmp_path / "2.fits", 2, "S11", 16, 200)
    path.write_bytes(path.read_bytes()[: -(5760 + 2700)])
    ds = quiet(str(tmp_path / "*.fits"))
    assert ds.quality.isel(detector=0, exposure=1).values.tolist() == [0] * 14 + [Flag.UNREADABLE] * 2
    assert "exists" not in ds.coords


def test_one_cell_from_two_files_is_an_error(tmp_path: Path) -> None:
    decam(tmp_path / "a.fits", 1)
    decam(tmp_path / "b.fits", 1, (2, 3))
    with pytest.raises(CameraError, match=r"detector 2 exposure 1 in .*a\.fits and .*b\.fits"):
        measure(str(tmp_path / "*.fits"))


def test_absences_are_one_warning_a_kind(tmp_path: Path) -> None:
    def change(hdus: Any) -> None:
        del hdus[0].header["DATE-OBS"]
        for hdu in hdus[1:]:
            del hdu.header["BIASSECA"]
            del hdu.header["DETSEC"]

    decam(tmp_path / "a.fits", 2, change=change)
    decam(tmp_path / "b.fits", 1, change=change)
    with pytest.warns(FlatnormWarning) as caught:
        ds = measure(str(tmp_path / "*.fits"))
    messages = sorted(str(one.message) for one in caught)
    assert len(messages) == 3
    assert "no overscan section, so none was subtracted: detector 1, 2" in messages[0]
    assert "no position" in messages[1]
    assert "no time in the header, so it is NaT" in messages[2]
    assert "a.fits" in messages[2]
    assert {one.filename for one in caught} == {__file__}
    assert_array_equal(ds.background.sel(detector=1, amplifier="A"), [1101, 2101])  # nothing subtracted
    assert ds.exposure.values.tolist() == [1, 2]  # by id, for want of times
    assert ds.time.isnull().all()
    assert "x" not in ds.coords


def test_images_that_change_their_shape_during_the_night_are_named(tmp_path: Path, says: Any) -> None:
    def longer(hdus: Any) -> None:
        hdus[1].data = np.vstack([hdus[1].data, hdus[1].data])

    def cut(hdus: Any) -> None:
        hdus[2].header["DATASECA"] = "[13:21,1:10]"

    for number in (1, 2, 3):
        decam(tmp_path / f"{number}.fits", number)
    decam(tmp_path / "4.fits", 4, change=longer)
    decam(tmp_path / "5.fits", 5, change=cut)
    with says(
        r"the image is 24 x 20, in most exposures 24 x 10 \(detector 1\) in .*4\.fits",
        r"the sections are others than in most exposures \(detector 2\) in .*5\.fits; measure .* apart",
    ):
        ds = measure(str(tmp_path / "*.fits"))
    assert (ds.quality == 0).all()


def test_a_profile_that_does_not_fit_is_an_error(tmp_path: Path) -> None:
    path = decam(tmp_path / "a.fits", 1)
    with pytest.raises(CameraError, match="profile megaprime wants"):
        measure(path, camera="megaprime")


def test_progress_is_for_terminals(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    path = decam(tmp_path / "a.fits", 1)
    measure(path)
    assert capsys.readouterr() == ("", "")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "xterm")
    measure(path, progress=False)
    assert capsys.readouterr() == ("", "")
    measure(path, progress=True)
    out, err = capsys.readouterr()
    assert out == ""
    assert "measure" in err


def test_importing_levels_is_light() -> None:
    code = (
        "import sys, flatnorm_xr.measure.levels\n"
        "print(sorted({'astropy', 'numba', 'yaml', 'rich', 'scipy', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
