"""flatnorm measure: who does the work, going on after an interruption, and what is left out."""

from __future__ import annotations

import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits

import flatnorm_xr as fx
from flatnorm_xr.cli.resuming import going_on
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure import schedule

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture
def night(tmp_path):
    fx.simulate_night(tmp_path / "night", camera="decam", n_detectors=3, n_exposures=4, faults=False, seed=6)
    return tmp_path / "night"


def same_levels(path, expected):
    assert fx.open(path).drop_attrs(deep=False).identical(expected.drop_attrs(deep=False))


@pytest.mark.parametrize("option", [("--threads", 3), ("--workers", 2)])
def test_who_does_the_work_changes_nothing(flatnorm, night, tmp_path, option):
    status, _, err = flatnorm("measure", night / "*.fits", "-o", tmp_path / "levels.nc", *option)
    assert status == 0, err
    assert "distributed" not in err
    same_levels(tmp_path / "levels.nc", fx.measure(str(night / "*.fits")))


def test_a_scheduler_does_the_work(flatnorm, night, tmp_path):
    import distributed

    with distributed.LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=":0") as cluster:
        where = cluster.scheduler_address
        status, _, err = flatnorm("measure", night / "*.fits", "-o", tmp_path / "levels.nc", "--scheduler", where)
    assert status == 0, err
    same_levels(tmp_path / "levels.nc", fx.measure(str(night / "*.fits")))


@pytest.fixture
def stopped(monkeypatch):
    """Files whose reading brings a signal to the process, which is to be set, and the files that were read."""
    whole = schedule.measure_file
    found = SimpleNamespace(at={}, read=[])

    def noted(file, *, setting):
        if file.path in found.at:
            signal.raise_signal(found.at[file.path])
        found.read.append(file.path)
        return whole(file, setting=setting)

    monkeypatch.setattr(schedule, "measure_file", noted)
    return found


@pytest.mark.parametrize(
    ("number", "left", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_the_same_command_goes_on_after_an_interruption(flatnorm, night, tmp_path, stopped, number, left, said):
    levels, files = tmp_path / "levels.nc", sorted(night.glob("*.fits"))
    stopped.at = {str(files[2]): number}
    before = signal.getsignal(signal.SIGTERM)
    command = ("measure", *files, "--resume", levels, "--threads", 1)
    status, _, err = flatnorm(*command)
    assert status == left
    assert signal.getsignal(signal.SIGTERM) == before
    assert f"flatnorm: error: {said}\n" in err
    assert f"what has been measured is in {levels}: the same command goes on from there" in err
    assert fx.open(levels).sizes["exposure"] == 2
    stopped.at = {}
    stopped.read.clear()
    status, out, _ = flatnorm(*command)
    assert status == 0
    assert "4 files of decam (2 of them measured before)" in out
    assert stopped.read == [str(path) for path in files[2:]]
    same_levels(levels, fx.measure(str(night / "*.fits")))
    stopped.read.clear()
    assert flatnorm(*command)[0] == 0  # nothing is left to do
    assert stopped.read == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["levels.nc", "night"]


def test_a_run_goes_on_after_an_interruption(flatnorm, night, tmp_path, stopped):
    levels, files = tmp_path / "levels.nc", sorted(night.glob("*.fits"))
    stopped.at = {str(files[2]): signal.SIGTERM}
    command = ("run", *files, "--resume", levels, "--threads", 1, "-o", tmp_path / "run")
    assert flatnorm(*command)[0] == 143
    assert fx.open(levels).sizes["exposure"] == 2
    assert not (tmp_path / "run").exists()
    stopped.at = {}
    stopped.read.clear()
    assert flatnorm(*command)[0] == 0
    assert stopped.read == [str(path) for path in files[2:]]
    same_levels(tmp_path / "run" / "levels.nc", fx.measure(str(night / "*.fits")))
    same_levels(levels, fx.open(tmp_path / "run" / "levels.nc"))
    status, _, err = flatnorm("run", *files, "-o", tmp_path / "b", "--resume", tmp_path / "b" / "levels.nc")
    assert (status, "is what this run writes at its end" in err) == (2, True)


def test_two_processes_do_not_write_one_file(flatnorm, night, tmp_path):
    levels = tmp_path / "levels.nc"
    command = ("measure", night / "*.fits", "--resume", levels)
    with going_on(levels):
        status, _, err = flatnorm(*command)
    assert status == 2
    assert f"another process is measuring into {levels}: wait for it, or give another name" in err
    assert flatnorm(*command)[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["levels.nc", "night"]


def test_a_loop_of_links_is_said_to_be_one(flatnorm, night, tmp_path):
    loop = night / "loop.fits"
    loop.symlink_to(loop)
    status, _, err = flatnorm("measure", *night.glob("*.fits"), "-o", tmp_path / "levels.nc")
    assert status == 2
    assert f"{loop}: links of it form a circle" in err


def test_resume_writes_elsewhere_if_told_so(flatnorm, night, tmp_path):
    files = sorted(night.glob("*.fits"))
    some, all_of_it = tmp_path / "some.nc", tmp_path / "all.nc"
    assert flatnorm("measure", *files[:2], "-o", some)[0] == 0
    assert flatnorm("measure", *files, "--resume", some, "-o", all_of_it)[0] == 0
    same_levels(all_of_it, fx.measure(str(night / "*.fits")))
    status, _, err = flatnorm("measure", *files, "--resume", some, "-o", all_of_it)
    assert (status, "already there" in err) == (2, True)
    status, _, err = flatnorm("measure", *files, "--resume", some, "--clip", 2)
    assert status == 2
    assert "resume holds levels measured with clip=3.0 (now 2.0)" in err


def test_somewhere_to_write_is_needed(flatnorm, night):
    status, _, err = flatnorm("measure", night / "*.fits")
    assert status == 2
    assert "-o says where to write" in err


def test_wrong_bytes_are_found_by_their_checksum(flatnorm, night, tmp_path):
    path = sorted(night.glob("*.fits"))[1]
    with fits.open(path) as hdus:
        hdus.writeto(tmp_path / "summed.fits", checksum=True)
    with fits.open(tmp_path / "summed.fits") as hdus:
        place = hdus[2].fileinfo()["datLoc"]
    content = bytearray((tmp_path / "summed.fits").read_bytes())
    content[place + 5000] ^= 0x40
    (tmp_path / "summed.fits").write_bytes(content)
    assert flatnorm("measure", tmp_path / "summed.fits", "-o", tmp_path / "a.nc")[0] == 0
    assert not (fx.open(tmp_path / "a.nc").quality & np.uint32(Flag.UNREADABLE)).any()
    status, _, err = flatnorm("measure", tmp_path / "summed.fits", "-o", tmp_path / "b.nc", "--verify-checksum")
    assert status == 0
    assert "HDU 2: " in err
    assert "DATASUM" in err
    found = fx.open(tmp_path / "b.nc").isel(exposure=0)
    assert (found.quality == Flag.UNREADABLE).sum("amplifier").values.tolist() == [0, 2, 0]
    words = ("measure", tmp_path / "summed.fits", "-o", tmp_path / "c.nc", "--verify-checksum", "--strict")
    assert flatnorm(*words)[0] == 2
    assert not (tmp_path / "c.nc").exists()


def test_what_is_left_out_from_the_shell(flatnorm, night, tmp_path):
    files = sorted(night.glob("*.fits"))
    first = fx.measure([str(path) for path in files], progress=False)
    mask = {label: np.zeros((128, 128), "i4") for label in first.detector.values.tolist()}
    for image in mask.values():
        image[:10], image[50:60] = 1, 4
    hdus = [fits.ImageHDU(image, fits.Header([("CCDNUM", label)])) for label, image in mask.items()]
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(tmp_path / "mask.fits")
    words = ["--mask", tmp_path / "mask.fits", "--mask-bits", "2", "--vignetting", "circle 64.5 64.5 50 pixel"]
    words += ["--common-mask", "--border", 3, "--statistic", "sigmaclip"]
    status, _, err = flatnorm("measure", *files, "-o", tmp_path / "levels.nc", *words)
    assert status == 0, err
    found = fx.open(tmp_path / "levels.nc")
    y, x = np.mgrid[1:129, 1:129]
    inside = ((x - 64.5) ** 2 + (y - 64.5) ** 2 <= 50**2) & ~((y > 50) & (y <= 60))
    expected = fx.measure(
        [str(path) for path in files],
        mask=dict.fromkeys(mask, ~inside),
        border=3,
        common_mask=True,
        statistic="sigmaclip",
        progress=False,
    )
    assert found.counts.equals(expected.counts)
    assert found.background.equals(expected.background)
    configuration = json.loads(found.attrs["measure_configuration"])
    assert (configuration["mask_bits"], configuration["vignetting"]) == ([2], "circle 64.5 64.5 50 pixel")


def test_regions_and_bits_that_cannot_be_are_one_line(flatnorm, night, tmp_path):
    for words, said in (
        (("--vignetting", "circle 1 2"), "vignetting"),
        (("--mask-bits", "3"), "mask_bits is given, and there is no mask"),
        (("--threads", "0"), "threads"),
        (("--workers", "0"), "workers"),
        (("--workers", "2", "--scheduler", "tcp://127.0.0.1:9"), "give one"),
        (("--workers", "2", "--threads", "2"), "--threads says how many files this process reads"),
    ):
        status, _, err = flatnorm("measure", night / "*.fits", "-o", tmp_path / "levels.nc", *words)
        assert status == 2
        assert said in err
        assert err.count("\n") == 1
