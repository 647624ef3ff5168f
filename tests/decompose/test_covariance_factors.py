"""The covariance of ln G as a diagonal plus factors is the covariance of ln G."""

from __future__ import annotations

import numpy as np
import pytest

import flatnorm_xr as fx
from flatnorm_xr.decompose.confidence import covariance_factors


@pytest.mark.parametrize("missing", [0.0, 0.3])
@pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
def test_factors_make_the_whole_covariance(missing):
    levels = fx.simulate(n_detectors=5, n_amplifiers=3, n_exposures=7, missing=missing, seed=2)
    solution = fx.solve(levels, uncertainty="analytic")
    own, shared = covariance_factors(solution)
    F = shared.values.reshape(15, -1)
    # both in the gauge of the geometric mean, where what all units share is gone
    apart = np.eye(15) - 1 / 15
    made = apart @ (np.diag(own.values.ravel()) + F @ F.T) @ apart
    whole = fx.covariance(solution, gauge="geometric").values.reshape(15, 15)
    np.testing.assert_allclose(made, whole, atol=1e-12 * whole.max())


def test_factors_of_a_group_are_those_of_its_exposures():
    levels = fx.simulate(n_detectors=5, n_exposures=8, seed=2)
    levels = levels.assign_coords(lamp=("exposure", list("aaabbbbb")))
    together = fx.solve(levels, by="lamp", uncertainty="analytic")
    alone = fx.solve(levels.isel(exposure=slice(3, None)), uncertainty="analytic")
    own, shared = covariance_factors(together, group=1)
    own_alone, shared_alone = covariance_factors(alone)
    np.testing.assert_allclose(own, own_alone, rtol=1e-10)
    np.testing.assert_allclose(shared.values @ shared.values.T, shared_alone.values @ shared_alone.values.T, rtol=1e-8)


def test_what_was_never_measured_has_no_variance(says):
    levels = fx.simulate(n_detectors=5, n_exposures=8, seed=2)
    levels["background"] = levels.background.where(levels.detector != 3)
    with says("NOT_MEASURED|NON_FINITE"):
        solution = fx.solve(levels, uncertainty="analytic")
    own, shared = covariance_factors(solution)
    assert np.isnan(own.sel(detector=3))
    assert (shared.sel(detector=3) == 0).all()
