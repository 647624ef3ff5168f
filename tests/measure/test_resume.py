"""Measured in one go or in several, a night is the same; nothing is read twice without need."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from astropy.io import fits

import flatnorm_xr as fx
from flatnorm_xr import FlatnormError
from flatnorm_xr.camera.profiles import load_profile
from flatnorm_xr.errors import CameraError
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure import file_levels, schedule
from flatnorm_xr.measure.levels import measure
from flatnorm_xr.simulate.night import simulate_night

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files whose pixels were read, in order."""
    seen: list[str] = []
    before = file_levels.measure_file

    def noted(file: Any, *, setting: Any) -> Any:
        seen.append(os.path.basename(file.path))
        return before(file, setting=setting)

    monkeypatch.setattr(schedule, "measure_file", noted)
    return seen


def night(folder: Path, camera: str = "decam", **options: Any) -> list[str]:
    simulate_night(folder, camera=camera, n_detectors=3, n_exposures=4, seed=2, **options)
    return sorted(map(str, folder.glob("*.fits*")))


def measured(files: list[str], **options: Any) -> xr.Dataset:
    return measure(files, progress=False, threads=1, **options)


def assert_same(ds: xr.Dataset, expected: xr.Dataset) -> None:
    """Everything but the time of writing, and the order in which inputs are listed."""
    xr.testing.assert_identical(ds.drop_attrs(deep=False), expected.drop_attrs(deep=False))
    ours, theirs = (sorted(map(str, json.loads(one.attrs["inputs"]))) for one in (ds, expected))
    assert ours == theirs
    assert ds.attrs["measure_configuration"] == expected.attrs["measure_configuration"]


@pytest.mark.parametrize("camera", ["decam", "lsstcam", "hsc"])
@pytest.mark.parametrize("saved", [False, True])
def test_two_calls_are_one(tmp_path: Path, camera: str, saved: bool, reads: list[str]) -> None:
    files = night(tmp_path / "night", camera)
    expected = measured(files, edge_strips=4)
    some = files[: len(files) // 2 + 1]
    before = measured(some, edge_strips=4)
    if saved:
        before = fx.open(fx.save(before, tmp_path / "some.nc"))
    reads.clear()
    assert_same(measured(files, edge_strips=4, resume=before), expected)
    assert reads == [os.path.basename(path) for path in files if path not in some]


def test_what_is_complete_reads_nothing(tmp_path: Path, reads: list[str]) -> None:
    files = night(tmp_path / "night")
    expected = measured(files)
    reads.clear()
    assert_same(measured(files, resume=expected), expected)
    assert reads == []


def test_files_that_are_not_asked_for_are_kept(tmp_path: Path) -> None:
    files = night(tmp_path / "night")
    assert_same(measured(files[2:], resume=measured(files[:2])), measured(files))


def test_a_file_that_changed_is_measured_again(tmp_path: Path, reads: list[str]) -> None:
    files = night(tmp_path / "night")
    before = measured(files)
    with fits.open(files[1], mode="update") as hdus:
        hdus[1].data = hdus[1].data + np.uint16(100)
    os.utime(files[1], (1e9, 1e9))
    reads.clear()
    ds = measured(files, resume=before)
    assert reads == [os.path.basename(files[1])]
    assert_same(ds, measured(files))


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, reads: list[str]) -> None:
    files = night(tmp_path / "night")
    expected = measured(files)
    content, times = Path(files[2]).read_bytes(), os.stat(files[2])
    Path(files[2]).write_bytes(content[:-80_000])
    before = measured(files)
    assert (before.quality & np.uint32(Flag.UNREADABLE)).any()
    reads.clear()
    ds = measured(files, resume=before)  # still cut
    assert reads == [os.path.basename(files[2])]
    assert (ds.quality & np.uint32(Flag.UNREADABLE)).any()
    Path(files[2]).write_bytes(content)
    os.utime(files[2], ns=(times.st_atime_ns, times.st_mtime_ns))
    assert_same(measured(files, resume=ds), expected)


def test_a_solution_is_levels_too(tmp_path: Path) -> None:
    files = night(tmp_path / "night")
    solved = fx.solve(measured(files[:3]), robust="tukey")
    assert_same(measured(files, resume=solved), measured(files))


EVERY_OPTION: list[dict[str, Any]] = [
    {"statistic": "median"},
    {"edge_strips": 8},
    {"border": 4, "vignetting": "circle 0 0 1000 mm"},
    {"saturation": np.float32(40_000), "clip": np.float64(2.5), "iterations": np.int64(2)},
    {"checksum": True, "verify_checksum": np.bool_(True), "strict": np.bool_(False)},
    {"mask_bits": np.array([0, 3]), "mask": "image"},
    {"mask_bits": np.int64(0), "mask": "image"},
    {"bias": "image", "mask": "image"},
]


def images(files: list[str], value: float = 0.0) -> dict[Any, Any]:
    """One image a detector, of the raw file's shape."""
    found = {}
    for path in files:
        with fits.open(path) as hdus:
            shapes = {hdu.header["CCDNUM"]: hdu.shape for hdu in hdus if hdu.header["NAXIS"]}
        found |= {label: np.full(shape, value, np.int16) for label, shape in shapes.items()}
    return found


@pytest.mark.parametrize("options", EVERY_OPTION, ids=lambda options: "-".join(options))
def test_every_option_goes_on_from_where_it_was(tmp_path: Path, options: dict[str, Any], reads: list[str]) -> None:
    files = night(tmp_path / "night")
    options = {
        name: images(files) if isinstance(value, str) and value == "image" else value for name, value in options.items()
    }
    expected = measured(files, **options)
    reads.clear()
    assert_same(measured(files, resume=fx.open(fx.save(expected, tmp_path / "all.nc")), **options), expected)
    assert reads == []


@pytest.mark.parametrize("what", ["bias", "mask"])
def test_another_bias_or_mask_of_the_same_name_is_refused(tmp_path: Path, what: str) -> None:
    files = night(tmp_path / "night")
    before = measured(files[:2], **{what: images(files)})
    measured(files[:2], **{what: images(files)}, resume=before)
    with pytest.raises(FlatnormError, match=f"measured with another {what} of the same name"):
        measured(files, **{what: images(files, 1)}, resume=before)

    path = tmp_path / f"{what}.fits"
    for value in (0, 1):
        hdus = [fits.ImageHDU(image, name=str(label)) for label, image in images(files, value).items()]
        fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(path, overwrite=True)
        if value:
            with pytest.raises(FlatnormError, match=f"measured with another {what} of the same name"):
                measured(files, **{what: path}, resume=before)
        before = measured(files[:2], **{what: path})


def test_another_profile_of_the_same_name_is_refused(tmp_path: Path) -> None:
    files = night(tmp_path / "night")
    decam = load_profile("decam")
    before = measured(files[:2], camera=decam)
    with pytest.raises(FlatnormError, match="measured with another profile of the same name"):
        measured(files, camera=replace(decam, overscan="none"), resume=before)
    own = replace(decam, name="our decam")
    before = measured(files[:2], camera=own)
    assert_same(measured(files, camera=own, resume=before), measured(files, camera=own))
    with pytest.raises(FlatnormError, match="levels of our decam, which is no packaged profile; pass camera= again"):
        measured(files, resume=before)


def test_levels_that_were_not_verified_are_no_verified_ones(tmp_path: Path) -> None:
    files = night(tmp_path / "night")
    for keyword in ("verify_checksum", "checksum"):
        with pytest.raises(FlatnormError, match=rf"measured with {keyword}=False \(now True\)"):
            measured(files, resume=measured(files[:2]), **{keyword: True})
        measured(files, resume=measured(files[:2], **{keyword: True}))  # more than is asked for


def test_a_change_within_the_same_second_is_seen(tmp_path: Path, reads: list[str]) -> None:
    files = night(tmp_path / "night")
    os.utime(files[1], ns=(10**18, 10**18 + 1))
    before = measured(files)
    os.utime(files[1], ns=(10**18, 10**18 + 2))
    reads.clear()
    measured(files, resume=before)
    assert reads == [os.path.basename(files[1])]


def test_files_of_one_name_in_two_folders_are_told_apart(
    tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = night(tmp_path / "night")
    folders = [tmp_path / name for name in "ab"]
    for folder, path in zip(folders, files, strict=False):
        folder.mkdir()
        shutil.copy2(path, folder / "flat.fits")
    monkeypatch.chdir(folders[0])
    before = measured(["flat.fits"])
    monkeypatch.chdir(folders[1])
    ds = measured(["flat.fits"], resume=before)
    assert ds.sizes["exposure"] == 2
    assert sorted(set(ds.path.values.ravel()) - {""}) == [str(folder / "flat.fits") for folder in folders]
    expected = measured([str(folder / "flat.fits") for folder in folders])
    np.testing.assert_array_equal(ds.background, expected.background)
    # one is now a copy of the other, to its time of change: what is known of the other's content is not its own
    shutil.copy2(files[2], folders[0] / "flat.fits")
    before = measured([str(folder / "flat.fits") for folder in folders])
    shutil.copy2(files[1], folders[0] / "flat.fits")
    reads.clear()
    with pytest.raises(CameraError, match="found twice"):
        measured([str(folder / "flat.fits") for folder in folders], resume=before)


@pytest.mark.parametrize(("options", "said"), [({"clip": 2.5}, "clip=3.0"), ({"border": 3}, "border=0")])
def test_levels_measured_in_another_way_are_refused(tmp_path: Path, options: Any, said: str) -> None:
    files = night(tmp_path / "night")
    with pytest.raises(FlatnormError, match=f"resume holds levels measured with {said}"):
        measured(files, resume=measured(files[:2]), **options)


def test_what_is_no_measurement_of_files_is_refused(tmp_path: Path) -> None:
    files = night(tmp_path / "night")
    with pytest.raises(FlatnormError, match="this dataset names no files"):
        measured(files, resume=fx.simulate(n_detectors=3, n_exposures=4))
    with pytest.raises(FlatnormError, match="common_mask needs all exposures in one call"):
        measured(files, resume=measured(files[:2]), common_mask=True)
    other = night(tmp_path / "other", "hsc")
    with pytest.raises(FlatnormError, match="resume holds levels of decam, and the camera is hsc"):
        measured(other, resume=measured(files), camera="hsc")
    with pytest.raises(FlatnormError, match=r"resume holds levels measured with camera='decam' \(now 'hsc'\)"):
        measured(other, resume=measured(files))


def test_a_moved_file_is_found_twice(tmp_path: Path) -> None:
    files = night(tmp_path / "night")
    before = measured(files)
    moved = tmp_path / "moved.fits"
    os.rename(files[0], moved)
    with pytest.raises(CameraError, match=r"found twice: detector .* in .* and .*moved\.fits"):
        measured([str(moved)], resume=before)


def test_parts_are_handed_out_on_the_way_and_when_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = night(tmp_path / "night")
    expected = measured(files)
    before = schedule.measure_file

    def interrupted(file: Any, *, setting: Any) -> Any:
        if file.path == files[2]:
            raise KeyboardInterrupt
        return before(file, setting=setting)

    monkeypatch.setattr(schedule, "measure_file", interrupted)
    parts: list[xr.Dataset] = []
    with pytest.raises(KeyboardInterrupt):
        measured(files, partial=parts.append)
    assert [part.sizes["exposure"] for part in parts] == [2]
    monkeypatch.setattr(schedule, "measure_file", before)
    assert_same(measured(files, resume=parts[-1]), expected)
    monkeypatch.setattr(schedule, "_BETWEEN_PARTIALS", 0.0)
    parts.clear()
    measured(files, partial=parts.append)
    assert [part.sizes["exposure"] for part in parts] == [1, 2, 3]
