"""Simulated years are what they say they are, run by run."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.simulate.years import simulate_history, simulate_years

QUIET = {"noise": 0.0, "run_noise": 0.0}
PLANTED = {
    "runs": 25,
    "years": 6.0,
    "n_detectors": 6,
    "n_amplifiers": 3,
    "drift": {3: 0.002, (4, "C01"): -0.003},
    "jumps": [(5, 2.0, 0.01), ((1, "C02"), 3.5, -0.02)],
    "response": {2: 3e-4},
    "dead": {(6, "C00"): 4.0},
    "replaced": {4: 5.0},
    "seed": 3,
}


def true_response(truth, run):
    """Written anew: ln G of a run at its temperature, with what was planted."""
    since = run * 6.0 / 24
    g = truth.true_level + truth.true_drift * since + truth.true_response * (truth.temperature[run] - 10.0)
    g = g + 0.01 * ((truth.detector == 5) & (since >= 2.0))
    g = g - 0.02 * ((truth.detector == 1) & (truth.amplifier == "C02") & (since >= 3.5))
    gone = (truth.detector == 6) & (truth.amplifier == "C00") & (since >= 4.0)
    gone = gone | ((truth.detector == 4) & (since >= 5.0)) | ((truth.detector == 7) & (since < 5.0))
    return g.where(~gone)


def test_a_solution_of_each_run_is_the_planted_response():
    decade = simulate_years(**PLANTED, **QUIET)
    decade.template["sigma"] *= 1e-9
    for run in (0, 8, 14, 16, 20, 24):
        ds = decade[run]
        with pytest.warns(fx.FlatnormWarning) if run in (16, 20, 24) else _nothing():
            G = fx.solve(ds, gauge=[2]).G
        expected = true_response(decade.truth, run).sel(detector=G.detector)
        ratio = np.log(G) - expected
        np.testing.assert_allclose(ratio - ratio.mean(), np.where(expected.notnull(), 0.0, np.nan), atol=1e-9)


def _nothing():
    import contextlib

    return contextlib.nullcontext()


def test_runs_follow_the_data_model_and_one_another():
    decade = simulate_years(**PLANTED)
    runs = list(decade)
    assert len(runs) == len(decade) == 25
    for ds in runs:
        fx.validate(ds)
        assert ds.attrs["camera"] == "simulated"
        assert ds.temperature.dims == ("exposure",)
    times = np.concatenate([ds.time.values for ds in runs])
    assert (np.diff(times) > np.timedelta64(0)).all()
    assert len({int(e) for ds in runs for e in ds.exposure.values}) == times.size
    np.testing.assert_array_equal([ds.time.values[0] for ds in runs], decade.truth.time)
    np.testing.assert_allclose([float(ds.temperature.mean()) for ds in runs], decade.truth.temperature, atol=0.3)
    assert json.loads(runs[0].attrs["simulation"])["drift"] == {"3": 0.002, "(4, 'C01')": -0.003}


def test_detectors_come_and_go_and_amplifiers_die():
    decade = simulate_years(**PLANTED)
    before, after = decade[0], decade[24]
    assert before.detector.values.tolist() == [1, 2, 3, 4, 5, 6]
    assert after.detector.values.tolist() == [1, 2, 3, 5, 6, 7]
    assert float(after.x.sel(detector=7)) == float(before.x.sel(detector=4))
    dead = after.sel(detector=6, amplifier="C00")
    assert dead.background.isnull().all()
    assert (dead.counts == 0).all()
    assert before.background.notnull().all()


def test_levels_scatter_as_asked():
    decade = simulate_years(runs=40, n_detectors=30, noise=2e-3, run_noise=5e-3, n_exposures=10, seed=1)
    exact = decade.truth.true_level.values
    left = np.array([np.log(ds.background.values) - exact[:, None] for ds in decade])
    left -= left.mean(axis=1, keepdims=True)
    assert left.std(axis=2, ddof=1).mean() == pytest.approx(2e-3, rel=0.05)
    assert left.mean(axis=2).std() == pytest.approx(np.hypot(5e-3, 2e-3 / np.sqrt(10)), rel=0.05)


def test_a_run_does_not_depend_on_which_were_made_before_it():
    one, other = simulate_years(runs=5, seed=4), simulate_years(runs=5, seed=4)
    list(one)
    xr.testing.assert_identical(one[3], other[3])
    assert not one[3].background.equals(simulate_years(runs=5, seed=5)[3].background)
    xr.testing.assert_identical(one[-1], one[4])
    with pytest.raises(IndexError):
        one[5]


def test_the_history_is_that_of_the_runs_solved():
    planted = {**PLANTED, "noise": 1e-6, "run_noise": 0.0}
    history = simulate_history(**planted)
    decade = simulate_years(**planted)
    for run in (0, 9, 15):
        solved = fx.solve(decade[run], weights="uniform").G
        made = history.G.isel(run=run).sel(detector=solved.detector)
        np.testing.assert_allclose(solved, made, rtol=2e-3)
        ratio = np.log(history.G.isel(run=run) / history.true_G.isel(run=run))
        assert float(ratio.std()) < 2e-4
    assert history.G.isel(run=24).isnull().sum() == 4


def test_errors_of_the_history_are_those_of_its_noise():
    history = simulate_history(runs=100, n_detectors=30, noise=2e-3, run_noise=0.0, gauge_noise=0.1, seed=1)
    left = np.log(history.G / history.true_G)
    left = left - left.mean("detector")
    assert float((left / (history.G_stderr / history.G)).std()) == pytest.approx(1, abs=0.05)
    assert float(np.log(history.G.mean("detector")).std()) == pytest.approx(0.1, rel=0.2)
    assert "G_stderr" not in simulate_history(runs=3, stderr=False)


def test_drifts_and_responses_may_be_drawn():
    truth = simulate_years(runs=2, n_detectors=500, drift=0.01, response=1e-4, seed=2).truth
    assert float(truth.true_drift.std()) == pytest.approx(0.01, rel=0.1)
    assert float(truth.true_response.std()) == pytest.approx(1e-4, rel=0.1)


def test_runs_are_made_one_at_a_time():
    decade = simulate_years(runs=100_000, n_detectors=3)
    assert len(list(itertools.islice(decade, 2))) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"runs": 0}, "runs=0 must be at least 1"),
        ({"noise": -1.0, "weather": float("nan")}, r"noise=-1.0 must be zero or positive, weather=nan"),
        ({"jumps": [(3, 11.0, 0.1)]}, r"jumps at 11.0 years must be within 10"),
        ({"jumps": [(99, 1.0, 0.1)]}, r"there is no unit 99; have detectors 1, 2"),
        ({"drift": {(3, "C07"): 0.1}, "n_amplifiers": 2}, r"no unit \(3, 'C07'\).*amplifiers C00, C01"),
        ({"drift": -0.1}, r"drift=-0.1 must be a standard deviation"),
        ({"replaced": {99: 1.0}}, r"replaced names detectors 99"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments, words):
    with pytest.raises(FlatnormError, match=words) as caught:
        simulate_years(**arguments)
    assert "\n" not in str(caught.value)
