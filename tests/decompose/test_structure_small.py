"""diagnose on small cameras, where what one detector does shows in all others with the opposite sign."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.decompose.structure import diagnose
from flatnorm_xr.decompose.structure.two_way import TwoWayFit


def a_night(n_detectors, seed, *, rising=False):
    """Ten exposures of levels from a fifth of the usual to twice that; detector 2 is to be spoilt."""
    ds = fx.simulate(n_detectors=n_detectors, n_exposures=10, seed=seed)
    levels = np.linspace(0.2, 2, 10)
    if not rising:
        levels = np.random.default_rng(seed).permutation(levels)
    return ds.assign(background=ds.background * xr.DataArray(levels, dims="exposure"))


def spoilt(ds, *, factor=1.0, bias=0.0):
    """Detector 2 times a factor, plus a bias."""
    own = ds.detector == 2
    background = ds.background * xr.where(own, factor, 1.0) + xr.where(own, bias, 0.0)
    return ds.assign(background=background.transpose(*ds.background.dims))


def diagnosed(ds, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        return diagnose(fx.solve(ds, weights="variance", **keywords), permutations=99)


def along_exposures(values):
    return xr.DataArray(values, dims="exposure")


@pytest.mark.parametrize("rising", [False, True])
@pytest.mark.parametrize("n_detectors", [3, 4, 8, 12])
@pytest.mark.parametrize("seed", [2, 5])
def test_a_bias_is_the_fault_of_its_detector_alone(n_detectors, seed, rising):
    diagnosis = diagnosed(spoilt(a_night(n_detectors, seed, rising=rising), bias=150.0))
    assert diagnosis.attrs["causes"].split(", ")[0] == "bias"
    assert diagnosis.attrs["verdict"].startswith("bias left in the levels of detector 2 (+1")
    others = diagnosis.leftover_bias_p_holm.drop_sel(detector=2)
    assert float(others.min()) > 0.01
    one = diagnosis.sel(detector=2)
    assert abs(float(one.leftover_bias) - 150) < 4 * float(one.leftover_bias_stderr) < 40


@pytest.mark.parametrize("n_detectors", [4, 12])
def test_a_slope_is_the_fault_of_its_detector_alone(n_detectors):
    ds = a_night(n_detectors, 1)
    diagnosis = diagnosed(spoilt(ds, factor=ds.background.mean("detector") ** 0.01))
    assert diagnosis.attrs["causes"] == "slope"
    assert "d ln E) of detector 2 (" in diagnosis.attrs["verdict"]
    assert float(diagnosis.slope_p_holm.drop_sel(detector=2).min()) > 0.01


@pytest.mark.parametrize("n_detectors", [4, 12])
def test_a_jump_is_the_fault_of_its_detector_alone(n_detectors):
    ds = a_night(n_detectors, 1)
    diagnosis = diagnosed(spoilt(ds, factor=xr.where(ds.exposure >= 106, 1.02, 1.0)))
    assert diagnosis.attrs["verdict"].startswith("jump of the gain of detector 2 (")
    assert float(diagnosis.jump_p_holm.drop_sel(detector=2).min()) > 0.01


def test_two_detectors_at_fault_are_both_named_and_no_other():
    ds = a_night(8, 3)
    ds = ds.assign(background=ds.background + xr.where(ds.detector == 6, -100.0, 0.0))
    diagnosis = diagnosed(spoilt(ds, bias=150.0))
    assert list(diagnosis.detector[diagnosis.leftover_bias_p_holm < 0.01]) == [2, 6]
    assert "detectors 2 (" in diagnosis.attrs["verdict"]
    np.testing.assert_allclose(diagnosis.leftover_bias.sel(detector=[2, 6]), [150, -100], atol=25)


def test_a_bad_cell_and_its_detector_are_named():
    ds = a_night(4, 1)
    diagnosis = diagnosed(spoilt(ds, factor=xr.where(ds.exposure == 105, 0.9, 1.0)))
    assert diagnosis.attrs["causes"].split(", ")[0] == "scatter"
    assert diagnosis.attrs["verdict"].startswith("detector 2 (")
    assert "nearly all of it in exposure 105" in diagnosis.attrs["verdict"]


def test_a_noisy_detector_of_four_is_named():
    noise = np.exp(0.01 * np.random.default_rng(1).standard_normal(10))
    verdict = diagnosed(spoilt(a_night(4, 1), factor=along_exposures(noise))).attrs["verdict"]
    assert verdict.startswith("detector 2 (")
    assert "scatters more than the others" in verdict
    assert "share" not in verdict


def test_one_detector_that_drifts_is_named():
    ds = a_night(8, 1)
    diagnosis = diagnosed(spoilt(ds, factor=along_exposures(np.linspace(1, 1.01, 10))))
    assert diagnosis.attrs["causes"] == "time"
    assert diagnosis.attrs["verdict"].startswith("drift of the response of detector 2 (+")
    assert diagnosis.attrs["verdict"].endswith(" %/hour)")


def test_a_common_nonlinearity_is_said_to_be_of_the_level():
    assert "per adu of the level" in str(diagnosed(a_night(8, 1)).sentence.sel(test="nonlinearity").values)


@pytest.mark.parametrize("robust", [None, "tukey"])
def test_a_jump_is_as_large_whether_its_cells_were_rejected_or_not(robust):
    sizes, stderrs = [], []
    for seed in range(12):
        ds = fx.simulate(n_detectors=4, n_exposures=6, seed=seed)
        diagnosis = diagnosed(spoilt(ds, factor=xr.where(ds.exposure >= 104, 1.02, 1.0)), robust=robust)
        assert diagnosis.attrs["causes"].startswith("jump")
        sizes.append(100 * float(np.expm1(diagnosis.jump.sel(detector=2))))
        stderrs.append(100 * float(diagnosis.jump_stderr.sel(detector=2)))
    assert np.mean(sizes) == pytest.approx(2.0, abs=0.09)
    assert 0.5 < np.std(sizes, ddof=1) / np.mean(stderrs) < 2.0


@pytest.mark.parametrize("shape", [(5, 9), (9, 5)])
def test_information_on_single_rows_is_that_of_the_whole_fit(shape):
    rng = np.random.default_rng(1)
    weight = rng.uniform(0.5, 3, shape) * (rng.random(shape) > 0.2)
    pattern = rng.standard_normal(shape)
    fit = TwoWayFit.of(weight, np.array([0, 2]))
    alone = np.eye(shape[0])[:, :, np.newaxis] * pattern
    expected = (weight * fit.residual(alone) ** 2).sum((1, 2))
    np.testing.assert_allclose(fit.information_of_rows(pattern), expected, atol=1e-12)
