"""The linear algebra under diagnose, held against dense least squares."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import flatnorm_xr as fx
from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.covariance import fitted_variance
from flatnorm_xr.decompose.structure.finding import holm
from flatnorm_xr.decompose.structure.residual_table import tabulate
from flatnorm_xr.decompose.structure.two_way import PositiveSystem, TwoWayFit, fit_wider
from flatnorm_xr.decompose.structure.unit_scatter import Scatter, judged_scatter
from flatnorm_xr.decompose.sweeps import NormalEquations

STARTS = {"one group": [0], "three groups": [0, 3, 7]}


def table_of(seed, shape=(8, 11), missing=0.3):
    rng = np.random.default_rng(seed)
    weight = rng.uniform(0.5, 3, shape) * (rng.random(shape) > missing)
    return rng.standard_normal(shape), weight


def dense(table, weight, of_unit, of_exposure):
    """Weighted least squares with a column a coefficient."""
    n, m = table.shape
    columns = [np.where(np.arange(n)[:, None] == i, p, 0.0).ravel() for p in of_unit for i in range(n)]
    columns += [np.where(np.arange(m) == j, p, 0.0).ravel() for p in of_exposure for j in range(m)]
    design, root = np.array(columns).T, np.sqrt(weight).ravel()
    coefficients, _, rank, _ = np.linalg.lstsq(root[:, None] * design, root * table.ravel(), rcond=1e-10)
    return table - (design @ coefficients).reshape(n, m), rank


@pytest.mark.parametrize("shape", [(8, 11), (15, 6)])
@pytest.mark.parametrize("starts", STARTS.values(), ids=STARTS)
def test_residuals_are_those_of_least_squares(shape, starts):
    if starts[-1] >= shape[1] - 1:
        starts = [0, 2, 4]
    table, weight = table_of(1, shape)
    fit = TwoWayFit.of(weight, np.array(starts))
    groups = np.searchsorted(starts, np.arange(shape[1]), side="right") - 1
    indicators = [np.broadcast_to(groups == k, shape).astype(float) for k in range(len(starts))]
    expected, rank = dense(table, weight, indicators, [np.ones(shape)])
    used = weight > 0
    np.testing.assert_allclose(fit.residual(table)[used], expected[used], atol=1e-12)
    assert fit.rank == rank
    batch = fit.residual(np.stack([table, 2 * table, table**2]))
    np.testing.assert_allclose(batch[1], 2 * batch[0], atol=1e-12)
    assert fit.leverage.sum() == pytest.approx(rank)


@pytest.mark.parametrize("shape", [(9, 12), (20, 5)])
def test_wider_models_are_those_of_least_squares(shape):
    table, weight = table_of(2, shape, missing=0.15)
    rng = np.random.default_rng(3)
    x, y, t = (rng.standard_normal(k) for k in (shape[0], shape[0], shape[1]))
    one = np.ones(shape)
    for of_unit, of_exposure in (
        ([one], [one, one * x[:, None], one * y[:, None]]),
        ([one, one * t], [one]),
        ([one, one * (t > 0), one * (t < 0)], [one]),
    ):
        wider = fit_wider(table, weight, of_unit=of_unit, of_exposure=of_exposure)
        expected, rank = dense(table, weight, of_unit, of_exposure)
        assert wider.rank == rank
        used = weight > 0
        np.testing.assert_allclose(wider.residual[used], expected[used], atol=1e-9)


def test_leverages_are_those_of_the_covariance():
    ds = fx.simulate(n_detectors=9, n_exposures=7, missing=0.3, seed=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        solution = fx.solve(ds, weights="variance", floor=1e-3)
    table = tabulate(solution)
    equations = NormalEquations.of(solution.residual.fillna(0.0), solution.weight)
    expected = solution.weight * fitted_variance(equations, connect(solution.weight > 0))
    np.testing.assert_allclose(table.fit.leverage, expected.values, atol=1e-10)
    assert table.dof == solution.attrs["dof"]
    assert table.scatter == pytest.approx(solution.attrs["variance_factor"])


def test_a_system_without_unknowns_has_the_answer_zero():
    assert (PositiveSystem.of(np.zeros((3, 3))).solve(np.ones((2, 3))) == 0).all()


def test_holm_holds_for_the_numbers_tested():
    p = np.array([0.04, np.nan, 0.001, 0.03, 0.2])
    np.testing.assert_allclose(holm(p), [0.09, np.nan, 0.004, 0.09, 0.2])


def test_units_that_scatter_alike_share_their_scatter():
    rng = np.random.default_rng(1)
    dof = np.full(200, 6.0)
    alike = Scatter(rng.chisquare(dof) / dof, dof)
    shared = judged_scatter(alike, usual=alike)
    assert np.unique(shared.variance).size <= 2
    assert shared.variance[0] == pytest.approx(1, abs=0.1)
    different = Scatter(alike.variance * np.exp(rng.uniform(-2, 2, 200)), dof)
    own = judged_scatter(different, usual=different)
    assert np.corrcoef(np.log(own.variance), np.log(different.variance))[0, 1] > 0.95
    assert (own.dof < 12).all()


def test_a_far_noisier_unit_keeps_its_own_scatter():
    dof = np.full(50, 8.0)
    variance = np.random.default_rng(2).chisquare(dof) / dof
    variance[7] = 400.0
    judged = judged_scatter(Scatter(variance, dof), usual=Scatter(variance, dof))
    assert judged.variance[7] == 400.0
    assert judged.dof[7] == 8.0
    assert judged.variance[8] < 2
