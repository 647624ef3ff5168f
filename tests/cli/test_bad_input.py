"""Bad input at the shell: one clear line, exit status 2, no traceback, nothing half written."""

from __future__ import annotations

import re

import numpy as np
import pytest

import flatnorm_xr as fx
from flatnorm_xr.cli.main import main


@pytest.fixture
def refused(capsys):
    """Run the program; it must leave with status 2 and one line that matches."""

    def call(pattern, *arguments):
        with pytest.raises(SystemExit) as left:
            main([str(argument) for argument in arguments])
        captured = capsys.readouterr()
        errors = [line for line in captured.err.splitlines() if "warning:" not in line]
        assert left.value.code == 2, captured
        assert len(errors) == 1, errors
        assert errors[0].startswith("flatnorm: error: ")
        assert re.search(pattern, errors[0]), errors[0]
        assert "Traceback" not in captured.err

    return call


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    fx.simulate_night(folder, camera="hsc", n_exposures=4, n_detectors=3, faults=False, seed=1)
    return folder


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out.nc"


def table(path, rows, header="detector,exposure,background"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_no_such_file(refused, out, tmp_path):
    refused("no such file", "measure", tmp_path / "absent.fits", "-o", out)
    refused("no file|matches", "measure", tmp_path / "*.fits", "-o", out)
    refused("absent.nc", "solve", tmp_path / "absent.nc", "-o", out)
    assert not out.exists()


def test_directory(refused, out, tmp_path):
    refused("folder|directory", "measure", tmp_path, "-o", out)
    (tmp_path / "levels.nc").mkdir()
    refused("folder|directory", "solve", tmp_path / "levels.nc", "-o", out)


def test_not_fits(refused, out, tmp_path):
    (tmp_path / "x.fits").write_text("SIMPLE? no")
    refused("x.fits", "measure", tmp_path / "x.fits", "-o", out)
    (tmp_path / "empty.fits").touch()
    refused("empty.fits", "run", tmp_path / "empty.fits", "-o", tmp_path / "folder")


def test_truncated_file_is_a_flagged_hole_or_with_strict_an_error(refused, night, out, tmp_path, capsys):
    files = []
    for source in sorted(night.glob("*.fits")):
        files.append(tmp_path / source.name)
        files[-1].write_bytes(source.read_bytes())
    whole = files[0].read_bytes()
    files[0].write_bytes(whole[: len(whole) // 2])
    refused(files[0].name, "measure", *files, "-o", out, "--strict")
    with pytest.raises(SystemExit) as left:
        main(["measure", *map(str, files), "-o", str(out)])
    assert left.value.code == 0
    assert files[0].name in capsys.readouterr().err
    flags = fx.open(out).quality.values
    assert (flags & fx.Flag.UNREADABLE).any()


def test_mixed_cameras(refused, night, out, tmp_path):
    fx.simulate_night(tmp_path / "other", camera="decam", n_exposures=1, n_detectors=2, faults=False)
    refused("2 cameras", "measure", night / "*.fits", tmp_path / "other" / "*.fits", "-o", out)


def test_unknown_camera(refused, night, out):
    refused("camera|profile", "measure", night / "*.fits", "--camera", "nonesuch", "-o", out)


def test_two_filters(refused, out, tmp_path):
    rows = [f"{d},{e},{1000 * e + d},{'gr'[e % 2]}" for d in (1, 2) for e in (1, 2, 3)]
    stats = table(tmp_path / "levels.csv", rows, "detector,exposure,background,physical_filter")
    refused("2 filters .g: 1, r: 2.*--by physical_filter", "solve", stats, "-o", out)


def test_disconnected(refused, out, tmp_path):
    stats = table(tmp_path / "levels.csv", ["1,1,10", "2,2,20"])
    refused("share no exposure", "solve", stats, "-o", out)


@pytest.mark.parametrize("value", ["0", "-5", "inf", "nan", ""])
def test_no_usable_level(refused, out, tmp_path, value):
    stats = table(tmp_path / "levels.csv", [f"1,1,{value}", f"2,1,{value}"])
    refused("none of the 2 cells can be used", "solve", stats, "-o", out)


def test_bad_tables(refused, out, tmp_path):
    path = tmp_path / "levels.csv"
    refused("background", "solve", table(path, ["1,1,x"]), "-o", out)
    refused("duplicate|twice|repeated", "solve", table(path, ["1,1,5", "1,1,6"]), "-o", out)
    refused("background", "solve", table(path, ["1,1"], "detector,exposure"), "-o", out)
    refused("negative", "solve", table(path, ["1,1,5,-1"], "detector,exposure,background,counts"), "-o", out)
    refused("empty|no rows", "solve", table(path, []), "-o", out)
    refused("kind of file", "solve", table(tmp_path / "levels.txt", ["1,1,5"]), "-o", out)
    assert not out.exists()


def test_not_one_of_ours(refused, out, tmp_path):
    import xarray as xr

    xr.Dataset({"x": ("t", np.arange(3.0))}).to_netcdf(tmp_path / "other.nc")
    refused("other.nc", "solve", tmp_path / "other.nc", "-o", out)
    whole = fx.save(fx.simulate(), tmp_path / "levels.nc").read_bytes()
    (tmp_path / "cut.nc").write_bytes(whole[:5000])
    refused("cut.nc", "solve", tmp_path / "cut.nc", "-o", out)


def test_output_in_the_way_is_refused_before_any_work(refused, night, tmp_path):
    stats = fx.save(fx.simulate(), tmp_path / "levels.nc")
    before = stats.read_bytes()
    for arguments in (
        ("measure", "nothing.fits", "-o", stats),
        ("solve", "nothing.nc", "-o", stats),
        ("plot", "G", "nothing.nc", "-o", stats),
        ("export", "nothing.nc", "-o", stats),
    ):
        refused("already there: .*; choose another name or pass --overwrite", *arguments)
    assert stats.read_bytes() == before
    refused("folder .* does not exist", "solve", stats, "-o", tmp_path / "absent" / "run.nc")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.nc").touch()
    refused("already there", "run", night / "*.fits", "-o", tmp_path / "run")
    refused("already there", "demo", "-o", tmp_path / "run")


def test_failed_run_leaves_nothing_or_says_what_it_keeps(refused, night, tmp_path):
    refused("no file|matches", "run", tmp_path / "*.fits", "-o", tmp_path / "new")
    assert not (tmp_path / "new").exists()
    refused(
        "never measured|not there.*levels are kept: go on with flatnorm solve",
        *("run", night / "*.fits", "-o", tmp_path / "new", "--gauge", "99"),
    )
    assert fx.open(tmp_path / "new" / "levels.nc").sizes["exposure"] == 4
    assert not (tmp_path / "new" / "run.nc").exists()


def test_output_name_that_would_lie(refused, tmp_path):
    stats = fx.save(fx.simulate(), tmp_path / "levels.nc")
    refused("does not end in .nc", "solve", stats, "-o", tmp_path / "run.fits")
    refused("does not end in .nc", "measure", stats, "-o", tmp_path / "run.csv")


def test_output_that_is_the_input_is_refused_even_to_overwrite(refused, night, tmp_path):
    frame = tmp_path / "frame.nc"
    frame.write_bytes(next(night.glob("*.fits")).read_bytes())
    refused("is the input", "measure", frame, "-o", frame, "--overwrite")
    stats = fx.save(fx.simulate(), tmp_path / "levels.nc")
    before = stats.read_bytes()
    refused("is the input", "solve", stats, "-o", tmp_path / "." / "levels.nc", "--overwrite")
    refused("is the input", "export", stats, "-o", stats, "--overwrite")
    assert stats.read_bytes() == before


def test_failed_run_over_an_earlier_one_changes_nothing(refused, night, tmp_path):
    with pytest.raises(SystemExit) as left:
        main(["run", str(night / "*.fits"), "-o", str(tmp_path / "run"), "--quiet"])
    assert left.value.code == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    refused("not there", "run", night / "*.fits", "-o", tmp_path / "run", "--overwrite", "--gauge", "nonesuch")
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before
    assert set(before) == {"levels.nc", "run.nc", "residual.png", "report.html"}


def test_file_names_are_not_rewritten_as_options(refused, out, tmp_path):
    refused(re.escape("gauge='x'.nc"), "solve", tmp_path / "gauge='x'.nc", "-o", out)
    refused(re.escape("k=True.nc"), "solve", tmp_path / "k=True.nc", "-o", out)


@pytest.mark.parametrize("gauge", ["--1", "²", "-", "1,,2"])
def test_gauge_that_is_no_label(refused, out, tmp_path, gauge):
    stats = fx.save(fx.simulate(), tmp_path / "levels.nc")
    refused("gauge names detectors", "solve", stats, "-o", out, f"--gauge={gauge}")


def test_folder_that_is_a_file(refused, night, tmp_path):
    (tmp_path / "file").touch()
    refused("file", "run", night / "*.fits", "-o", tmp_path / "file")
    refused("file", "demo", "-o", tmp_path / "file" / "below")


def test_bad_options(refused, out, tmp_path):
    stats = fx.save(fx.simulate(), tmp_path / "levels.nc")
    refused("weights", "solve", stats, "-o", out, "--weights", "flux")
    refused("gauge names detectors 99", "solve", stats, "-o", out, "--gauge", "99")
    refused("by is 'colour'", "solve", stats, "-o", out, "--by", "colour")
    refused("No such option", "solve", stats, "-o", out, "--colour", "red")
    refused("No such command", "resolve", stats)
    refused("does not end in", "plot", "background", stats, "-o", tmp_path / "x.gif")
    refused("solve it first", "plot", "G", stats, "-o", tmp_path / "x.png")
    refused("Missing (option|parameter)", "solve", stats)
    assert not (tmp_path / "x.png").exists()


def test_unforeseen_error_is_one_line_unless_debug(refused, tmp_path, monkeypatch):
    from flatnorm_xr.cli import options, solve

    def broken(path, *, units=None):
        raise RuntimeError("first\nsecond")  # noqa: EM101

    monkeypatch.setattr(solve, "open_levels", broken)
    monkeypatch.setattr(options, "open_levels", broken)
    refused("internal error, please report it: RuntimeError: first second", "solve", "x.nc", "-o", tmp_path / "y.nc")
    with pytest.raises(RuntimeError, match="first"):
        main(["solve", "x.nc", "-o", str(tmp_path / "y.nc"), "--debug"])
