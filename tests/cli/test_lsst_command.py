"""flatnorm lsst: one command makes a repository and shows the pipeline at work, and says what it needs."""

from __future__ import annotations

import builtins
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import flatnorm_xr as fx
from flatnorm_xr.cli.lsst import FILES


@pytest.fixture
def middleware():
    """Skip where Rubin's middleware is absent."""
    pytest.importorskip("lsst.daf.butler", reason="Rubin's middleware is not installed")
    pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed")


@pytest.fixture
def levels(tmp_path):
    """Levels of a camera without amplifiers, whose attribute does not say which one."""
    return fx.save(fx.simulate(n_detectors=3, n_exposures=8, seed=4), tmp_path / "levels.nc")


def in_a_shell(line):
    """Run a line as one would who has activated the environment."""
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    return subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=120, check=False, env=environment
    )


@pytest.mark.parametrize("name", FILES)
def test_packaged_files_are_where_it_says(flatnorm, name):
    status, out, err = flatnorm("lsst", "path", name)
    assert (status, err) == (0, "")
    path = Path(out.strip())
    assert path.exists()
    assert out.count("\n") == 1
    if path.is_file():
        assert yaml.safe_load(path.read_text())


def test_an_unknown_file_is_refused_with_those_that_there_are(flatnorm):
    status, _, err = flatnorm("lsst", "path", "camera")
    assert status == 2
    assert "bps-laptop" in err


def test_without_a_command_it_shows_those_that_there_are(flatnorm):
    status, out, err = flatnorm("lsst")
    assert (status, err) == (0, "")
    assert "init" in out
    assert "path" in out
    assert "flatnorm-xr[lsst]" in out


def test_help_does_not_import_the_middleware():
    code = (
        "import sys\nfrom flatnorm_xr.cli.main import main\n"
        "try:\n    main(['lsst', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(name.partition('.')[0] == 'lsst' for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Butler" in done.stdout


def test_without_the_middleware_one_line_says_how_to_get_it(flatnorm, tmp_path, monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name.partition(".")[0] == "lsst":
            raise ModuleNotFoundError(name, name=name)
        return plain(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("flatnorm_xr.lsst")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(fx, "lsst", None, raising=False)  # so that the package as it was is put back afterwards
    monkeypatch.setattr(builtins, "__import__", without)
    status, out, err = flatnorm("lsst", "init", tmp_path / "r")
    assert (status, out) == (2, "")
    assert err == "flatnorm: error: flatnorm lsst needs Rubin's middleware: pip install 'flatnorm-xr[lsst]'\n"
    assert not any(tmp_path.iterdir())
    assert flatnorm("lsst", "path", "pipeline")[0] == 0


@pytest.mark.usefixtures("middleware")
def test_one_command_simulates_runs_and_shows(flatnorm, tmp_path):
    sizes = ("--detectors", 2, "--amplifiers", 2, "--exposures", 2, "--seed", 7)
    status, out, err = flatnorm("lsst", "init", tmp_path / "r", *sizes, "--run")
    assert (status, err) == (0, "")
    assert "4 in filters g, r" in out
    rows = [line.split() for line in out.splitlines() if line.split()[1:2] in (["detector"], ["amplifier"])]
    assert [row[:3] for row in rows] == [
        [name, level, units] for name in "gr" for level, units in (("detector", "2"), ("amplifier", "4"))
    ]
    assert all(float(row[3]) < 5e-3 for row in rows)
    status, out, _ = flatnorm("lsst", "init", tmp_path / "again", *sizes, "--run", "--json")
    found = json.loads(out)
    assert (status, found["datasets"], found["collection"]) == (0, 8, "FlatnormSim/defaults")
    for row, one in zip(rows, found["solved"], strict=True):
        assert [f"{value:.6g}" for value in one["E"]] == [text.strip(",") for text in row[4:]]


@pytest.mark.usefixtures("middleware")
def test_an_exposure_without_light_and_a_filter_without_any_are_said_in_one_line_each(flatnorm, tmp_path):
    ds = fx.simulate(n_detectors=3, n_exposures=5, seed=2)
    ds = ds.assign_coords(physical_filter=("exposure", ["g", "g", "g", "z", "z"]))
    ds["background"] = ds.background.where(~ds.exposure.isin([102, 104, 105]), -1.0)
    fx.save(ds, tmp_path / "d.nc")
    status, out, err = flatnorm(
        "lsst", "init", tmp_path / "r", "--levels", tmp_path / "d.nc", "--instrument", "T", "--run"
    )
    assert status == 0
    assert "note: no solution in z" in out
    assert any(
        line.startswith("flatnorm: warning:") and "no scale" in line and "102" in line for line in err.splitlines()
    )
    assert all(line.startswith("flatnorm: warning:") for line in err.splitlines())
    _, out, _ = flatnorm(
        "lsst", "init", tmp_path / "s", "--levels", tmp_path / "d.nc", "--instrument", "T", "--run", "--json"
    )
    (one,) = json.loads(out, parse_constant=pytest.fail)["solved"]
    assert [value is None for value in one["E"]] == [False, True, False]


@pytest.mark.usefixtures("middleware")
def test_the_lines_it_prints_can_be_pasted(flatnorm, tmp_path, levels):
    folder = tmp_path / "it's a night & more"
    folder.mkdir()
    status, out, err = flatnorm("lsst", "init", folder / "r", "--levels", levels, "--instrument", "Toy", "--run")
    assert (status, err) == (0, "")
    assert "(+3 more)" in out
    (line,) = (line for line in out.splitlines() if line.lstrip().startswith("python -c"))
    shown = in_a_shell(line)
    assert shown.stdout.startswith("solution of Toy\n"), shown.stderr
    (line,) = (line for line in out.splitlines() if line.lstrip().startswith("pipetask run"))
    words = in_a_shell(f"printf '%s\\n' {line}")
    assert str(folder / "r") in words.stdout.splitlines()
    assert f"{FILES['pipeline']}#cpFlatNorm" in words.stdout.splitlines()


@pytest.mark.usefixtures("middleware")
def test_the_printed_pipetask_line_adds_a_run_to_the_same_output(flatnorm, tmp_path, levels):
    pytest.importorskip("lsst.ctrl.mpexec", reason="pipetask is not installed")
    _, out, _ = flatnorm("lsst", "init", tmp_path / "r", "--levels", levels, "--instrument", "Toy", "--run", "--json")
    made = json.loads(out)
    done = in_a_shell(made["commands"]["run"])
    assert done.returncode == 0, done.stderr
    from lsst.daf.butler import Butler

    butler = Butler.from_config(str(tmp_path / "r"), collections=made["output"])
    try:
        runs = [
            name for name in butler.collections.query(made["output"], flatten_chains=True) if name.startswith("Toy/f")
        ]
        solution = butler.get("cpFlatNormSolution", instrument="Toy", physical_filter="r")
    finally:
        butler.close()
    assert len(runs) == 2
    np.testing.assert_allclose(solution.E, made["solved"][0]["E"], rtol=1e-12)


@pytest.mark.usefixtures("middleware")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--levels", "LEVELS"), "pass --instrument"),
        (("--levels", "LEVELS", "--instrument", "a b"), "'a b' becomes the name of collections"),
        (("--levels", "LEVELS", "--detectors", "3", "--seed", "1"), "--detectors, --seed with --levels"),
        (("--levels", "absent.nc", "--instrument", "Toy"), "absent.nc"),
        (("--instrument", "Toy"), "is a name for measured levels"),
        (("--detectors", "0"), "detectors"),
    ],
)
def test_bad_use_is_one_line_and_leaves_nothing(flatnorm, tmp_path, levels, arguments, words):
    given = [str(levels) if word == "LEVELS" else word for word in arguments]
    status, out, err = flatnorm("lsst", "init", tmp_path / "r", *given)
    assert (status, out) == (2, "")
    assert words in err
    assert err.count("\n") == 1
    assert "internal" not in err
    assert list(tmp_path.iterdir()) == [levels]


@pytest.fixture
def repository(flatnorm, tmp_path, levels):
    """A repository that has one night of a camera named Toy."""
    assert flatnorm("lsst", "init", tmp_path / "r", "--levels", levels, "--instrument", "Toy")[0] == 0
    return tmp_path / "r"


def next_night(tmp_path):
    ds = fx.simulate(n_detectors=3, n_exposures=8, seed=5)
    later = ds.assign_coords(
        exposure=ds.exposure + 100, time=ds.time + np.timedelta64(1, "D"), night=("exposure", ["2025-03-15"] * 8)
    )
    return fx.save(later, tmp_path / "next.nc")


@pytest.mark.usefixtures("middleware")
def test_one_more_night_is_put_and_the_command_that_runs_it_alone_is_told(flatnorm, tmp_path, repository):
    status, out, err = flatnorm("lsst", "ingest", repository, next_night(tmp_path))
    assert (status, err) == (0, "")
    assert "24 statistics of levels" in out
    (line,) = (line for line in out.splitlines() if "pipetask run" in line)
    assert "-d \"instrument='Toy' AND exposure.day_obs IN (20250315)\"" in line
    alone = line.replace("pipetask run", "pipetask qgraph").removesuffix("-j 2").replace("--register-dataset-types", "")
    done = in_a_shell(f"{alone} --show inputs")
    assert done.returncode == 0, done.stderr


@pytest.mark.usefixtures("middleware")
def test_a_night_of_a_camera_that_is_not_there_is_refused_unless_it_is_meant(flatnorm, tmp_path, repository):
    ours = ("lsst", "ingest", repository, next_night(tmp_path), "--instrument", "Toi")
    status, out, err = flatnorm(*ours)
    assert (status, out) == (2, "")
    assert "no instrument Toi, but Toy; pass one of these as --instrument NAME, or --new-instrument" in err
    status, out, _ = flatnorm(*ours, "--new-instrument", "--json")
    assert status == 0
    assert json.loads(out)["instrument"] == "Toi"


@pytest.mark.usefixtures("middleware")
@pytest.mark.parametrize("kind", ["again", "nowhere"])
def test_what_cannot_be_put_is_one_line(flatnorm, tmp_path, repository, levels, kind):
    where, words = {
        "again": (repository, "Toy/levels has flatStats of exposures 101, 102, 103, 104, 105 (+3 more) already"),
        "nowhere": (tmp_path / "nowhere", "is no Butler repository that can be opened; flatnorm lsst init makes one"),
    }[kind]
    status, out, err = flatnorm("lsst", "ingest", where, levels, "--instrument", "Toy")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert words in err


@pytest.mark.usefixtures("middleware")
def test_the_options_of_a_simulation_are_its_keywords(flatnorm, tmp_path):
    options = ("--filters", "u,y", "--pixels", 8, "--ragged", "--detectors", 2, "--amplifiers", 3, "--exposures", 1)
    status, out, _ = flatnorm("lsst", "init", tmp_path / "s", *options, "--json")
    made = json.loads(out)
    assert (status, made["filters"], made["amplifiers"], made["datasets"]) == (0, ["u", "y"], 5, 4)
