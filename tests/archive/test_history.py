"""A history of detectors follows the amplifiers that were there all the time."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.history import of_detectors
from flatnorm_xr.archive.trend.follow import follow
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.simulate.years import simulate_history


def amplifiers(**keywords) -> xr.Dataset:
    return simulate_history(n_detectors=6, n_amplifiers=3, runs=24, seed=4, **keywords)


def test_an_amplifier_that_dies_does_not_move_its_detector():
    history = amplifiers()
    whole = of_detectors(history)
    dead = (history.detector == 2) & (history.amplifier == history.amplifier[1]) & (history.time > history.time[12])
    history["G"] = history["G"].where(~dead)
    found = of_detectors(history)
    assert found["G"].dims == ("run", "detector")
    assert "amplifier" not in found.variables
    kept = history["G"].sel(detector=2).isel(amplifier=[0, 2])
    np.testing.assert_allclose(found["G"].sel(detector=2), np.exp(np.log(kept).mean("amplifier")), rtol=1e-14)
    others = found["detector"].values != 2
    np.testing.assert_array_equal(found["G"].values[:, others], whole["G"].values[:, others])
    assert follow(found).sizes["change"] == 0


def test_a_detector_that_was_never_measured_has_no_scale():
    history = amplifiers()
    history["G"] = history["G"].where(history.detector != 3)
    assert of_detectors(history)["G"].sel(detector=3).isnull().all()


def test_errors_are_those_of_a_mean_of_independent_amplifiers():
    history = amplifiers()
    history["G_stderr"] = 0.01 * history["G"]
    found = of_detectors(history)
    np.testing.assert_allclose(found["G_stderr"] / found["G"], 0.01 / np.sqrt(3), rtol=1e-12)


def test_whole_detectors_have_no_amplifiers_to_join():
    with pytest.raises(FlatnormError, match="needs runs of amplifiers; these are of whole detectors: follow 'G'"):
        of_detectors(simulate_history(n_detectors=6, runs=5, seed=1))


def test_names_that_a_trend_needs_are_left_out(tmp_path):
    archive = fx.Archive(tmp_path / "calib")
    for night in range(2):
        levels = fx.simulate(n_detectors=4, n_exposures=5, seed=night)
        levels = levels.assign_coords(
            time=levels.time + np.timedelta64(night, "D"),
            scatter=("exposure", np.arange(5.0)),
            drift=("detector", np.arange(4.0)),
            G_stderr_note=("detector", np.arange(4.0)),
            humidity=("exposure", np.full(5, 30.0 + night)),
        )
        archive.add(fx.solve(levels), camera="testcam")
    assert archive.history()["humidity"].values.tolist() == [30.0, 31.0]
    trend = archive.trend()
    assert trend["scatter"].dims == trend["drift"].dims == ("detector",)


def test_numbers_and_text_as_labels_are_not_mixed(tmp_path):
    archive = fx.Archive(tmp_path / "calib")
    solution = fx.solve(fx.simulate(n_detectors=4, n_exposures=5, seed=1))
    archive.add(solution, camera="testcam")
    archive.add(solution.assign_coords(detector=[str(label) for label in solution.detector.values]), camera="testcam")
    with pytest.raises(FlatnormError, match="some runs label their detectors with numbers and others with text"):
        archive.history()
