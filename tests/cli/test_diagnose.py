"""flatnorm diagnose, and the options of a solve that say how far to trust it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx

quiet = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture
def faulty(tmp_path):
    """Levels of a night in which the gain of detector 5 jumps."""
    ds = fx.simulate(n_detectors=62, n_exposures=12, seed=1)
    background = ds.background.copy()
    background.loc[5, 106:] *= 1.01
    return fx.save(ds.assign(background=background), tmp_path / "levels.nc")


@quiet
def test_solve_then_diagnose(flatnorm, faulty, tmp_path):
    run, kept = tmp_path / "run.nc", tmp_path / "diagnosis.nc"
    options = ["--weights", "variance", "--robust", "tukey", "--uncertainty", "jackknife,analytic"]
    assert flatnorm("solve", faulty, "-o", run, *options)[0] == 0
    solution = fx.open(run)
    assert {"E_stderr", "G_stderr_analytic", "rejection"} <= set(solution)
    status, out, err = flatnorm("diagnose", run, "-o", kept)
    assert (status, err) == (0, "")
    assert "verdict: jump of the gain of detector 5" in out
    assert "gain jump" in out
    assert "106" in out
    diagnosis = fx.diagnose(solution)
    assert fx.describe(diagnosis) in out
    xr.testing.assert_identical(fx.open(kept), diagnosis)


@quiet
def test_diagnose_as_json(flatnorm, faulty, tmp_path):
    run = fx.save(fx.solve(fx.open(faulty), weights="variance", robust="tukey"), tmp_path / "run.nc")
    status, out, _ = flatnorm("diagnose", run, "--json", "--permutations", "99")
    found = json.loads(out)
    assert status == 0
    assert found["verdict"].startswith("jump of the gain of detector 5")
    assert [row["kind"] for row in found["rejections"]] == ["gain jump"]
    assert found["rejections"][0]["size"] == pytest.approx(0.01, abs=0.003)


@quiet
def test_diagnose_of_what_is_no_solution(flatnorm, faulty, tmp_path):
    status, out, err = flatnorm("diagnose", faulty)
    assert (status, out) == (2, "")
    assert "was not solved" in err
    assert err.count("\n") == 1
    status, _, err = flatnorm("diagnose", tmp_path / "absent.nc")
    assert status == 2
    assert "no such file" in err


@quiet
def test_options_of_a_solve_are_its_keywords(flatnorm, tmp_path):
    ds = fx.simulate(n_detectors=6, n_amplifiers=2, n_exposures=12, seed=2, noise=2e-4)
    ds = ds.assign_coords(night=("exposure", np.repeat(["a", "b", "c"], 4)))
    levels, run = fx.save(ds, tmp_path / "levels.nc"), tmp_path / "run.nc"
    asked = {
        "weights": "variance",
        "floor_by": "night",
        "robust": "huber",
        "uncertainty": ["bootstrap", "jackknife"],
        "replicates": 50,
        "seed": 3,
        "jackknife_block": "night",
        "modes": 1,
    }
    words = {**asked, "uncertainty": "bootstrap,jackknife"}
    options = [word for name, value in words.items() for word in (f"--{name.replace('_', '-')}", value)]
    assert flatnorm("solve", levels, "-o", run, *options, "--hierarchy")[0] == 0
    expected = fx.solve(ds, **asked, hierarchy=True)
    found = fx.open(run)
    found.attrs.pop("history"), expected.attrs.pop("history")
    xr.testing.assert_identical(found, expected)


@quiet
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--uncertainty", "guess"], "uncertainty is 'guess'"),
        (["--floor", "much"], "floor is 'much'"),
        (["--floor", "1.2.3", "--weights", "variance"], "floor is '1.2.3'"),
        (["--modes", "-1"], "modes is '-1'"),
        (["--modes", "70"], "modes"),
        (["--floor-by", "moon", "--weights", "variance"], "floor_by is 'moon'"),
    ],
)
def test_bad_options_are_one_line(flatnorm, faulty, tmp_path, options, message):
    status, _, err = flatnorm("solve", faulty, "-o", tmp_path / "run.nc", *options)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "run.nc").exists()
