"""Standard errors against a dense covariance, and against what really scatters."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.decompose.covariance import fitted_variance, full_covariance
from flatnorm_xr.decompose.variance import as_fitted

quiet = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


def night(*, n=6, m=5, missing=0.0, seed=0, error=1e-3):
    rng = np.random.default_rng(seed)
    G, E = rng.uniform(0.8, 1.2, n), rng.uniform(1e3, 5e4, m)
    counts = rng.uniform(1e3, 1e5, (n, m))
    relative = error * np.sqrt(1e4 / counts)
    levels = np.multiply.outer(G, E) * np.exp(relative * rng.normal(size=(n, m)))
    lost = rng.random((n, m)) < missing
    lost[0], lost[:, 0] = False, False
    levels[lost] = np.nan
    sigma = relative * np.sqrt(counts) * np.multiply.outer(G, E)
    return fx.make(levels, counts=counts, sigma=sigma), G, E


def dense_variances(sol, gradient):
    """Variances of ln G and ln E by inverting the whole design, in the gauge ``gradient . g = 0``."""
    weight = sol.weight.values
    n, m = weight.shape
    row, column = np.nonzero(weight > 0)
    design = np.zeros((row.size, n + m))
    design[np.arange(row.size), row] = 1
    design[np.arange(row.size), n + column] = 1
    information = design.T @ (weight[row, column][:, None] * design)
    constraint = np.concatenate([gradient, np.zeros(m)])
    bordered = np.block([[information, constraint[:, None]], [constraint[None], np.zeros((1, 1))]])
    variance = np.diag(np.linalg.inv(bordered))[:-1]
    return variance[:n], variance[n:]


@quiet
@pytest.mark.parametrize("gauge", ["mean", "geometric", 2, [1, 4]])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_errors_are_those_of_the_dense_covariance_in_the_gauge_of_the_solution(gauge, missing):
    ds, _, _ = night(missing=missing)
    sol = fx.solve(ds, weights="variance", uncertainty="analytic", gauge=gauge)
    gradient = sol.gauge_weight.values * (1 if gauge == "geometric" else sol.G.values)
    g, e = dense_variances(sol, gradient)
    factor = sol.attrs["variance_factor"]
    np.testing.assert_allclose((sol.G_stderr / sol.G) ** 2, g * factor, rtol=1e-9, atol=1e-13 * g.max() * factor)
    np.testing.assert_allclose((sol.E_stderr / sol.E) ** 2, e * factor, rtol=1e-9)


@quiet
def test_detector_that_is_the_gauge_has_no_error():
    ds, _, _ = night()
    sol = fx.solve(ds, weights="variance", uncertainty="analytic", gauge=3)
    assert float(sol.G_stderr[3]) == 0.0
    assert float(sol.G[3]) == pytest.approx(1.0)


@quiet
@pytest.mark.parametrize("weights", ["counts", "variance"])
@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_pulls_scatter_by_one(weights, missing):
    pulls_E, pulls_G = [], []
    for seed in range(60):
        ds, G, E = night(n=20, m=8, missing=missing, seed=seed)
        sol = fx.solve(ds, weights=weights, uncertainty="analytic", gauge="geometric")
        true = np.exp(np.log(G).mean())
        pulls_G.append(np.log(sol.G * true / G) * sol.G / sol.G_stderr)
        pulls_E.append(np.log(sol.E / (E * true)) * sol.E / sol.E_stderr)
    assert np.std(pulls_G) == pytest.approx(1.0, abs=0.06)
    assert np.std(pulls_E) == pytest.approx(1.0, abs=0.08)


@quiet
def test_errors_are_of_the_scatter_and_not_of_the_size_of_the_weights():
    ds, _, _ = night()
    one = fx.solve(ds, weights="counts", uncertainty="analytic")
    other = fx.solve(ds.assign(counts=ds.counts * 1e3), weights="counts", uncertainty="analytic")
    xr.testing.assert_allclose(one.E_stderr, other.E_stderr)
    assert one.attrs["variance_factor"] == pytest.approx(other.attrs["variance_factor"] / 1e3)


def test_without_a_degree_of_freedom_only_known_variances_give_errors(says):
    ds, _, _ = night(n=1, m=4)
    with says("nothing can be checked"):
        sol = fx.solve(ds, weights="variance", uncertainty="analytic")
    relative = ds.sigma / (np.sqrt(ds.counts) * ds.background)
    np.testing.assert_allclose(sol.E_stderr / sol.E, relative[0], rtol=1e-12)
    with says("nothing can be checked"):
        sol = fx.solve(ds, weights="counts", uncertainty="analytic")
    assert np.isnan(sol.E_stderr).all()


@quiet
def test_unmeasured_has_no_error():
    ds, _, _ = night()
    ds.background[2] = np.nan
    ds.background[:, 3] = np.nan
    sol = fx.solve(ds, uncertainty="analytic")
    assert np.isnan(sol.G_stderr[2])
    assert np.isnan(sol.E_stderr[3])
    assert np.isfinite(sol.E_stderr).sum() == 4


@pytest.mark.parametrize("link", [1e-4, 1e-6, 1e-9])
def test_error_across_a_weak_tie_is_that_of_the_tie(link):
    weight = np.zeros((6, 20))
    weight[:3, :10] = weight[3:, 10:] = 1.0
    weight[0, 10] = link
    levels = xr.DataArray(np.where(weight > 0, 1000.0, np.nan), coords={"detector": range(6), "exposure": range(20)})
    given = xr.DataArray(weight, coords=levels.coords)
    with pytest.warns(fx.FlatnormWarning):
        sol = fx.solve(fx.make(levels), weights=given, uncertainty="analytic", gauge=[1, 2])
    # noise-free: what is compared are the errors before they are scaled by the scatter, which is 0
    assert sol.attrs["converged"] == 1
    from flatnorm_xr.decompose.connectivity import connect
    from flatnorm_xr.decompose.covariance import analytic_errors
    from flatnorm_xr.decompose.sweeps import NormalEquations

    bare = xr.DataArray(weight, dims=("detector", "exposure"))
    gradient = xr.DataArray([0, 0.5, 0.5, 0, 0, 0], dims="detector")
    errors = analytic_errors(NormalEquations.of(xr.zeros_like(bare), bare), connect(bare > 0), gradient)
    assert float(errors.e[15]) == pytest.approx(link**-0.5, rel=1e-3)
    assert float(errors.e[0]) < 1.0


@quiet
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_leverages_are_those_of_the_hat_matrix(missing):
    ds, _, _ = night(missing=missing)
    sol = fx.solve(ds, weights="variance", uncertainty=None)
    weight = sol.weight.values
    n, m = weight.shape
    row, column = np.nonzero(weight > 0)
    design = np.zeros((row.size, n + m))
    design[np.arange(row.size), row] = 1
    design[np.arange(row.size), n + column] = 1
    root = np.sqrt(weight[row, column])[:, None]
    hat = (root * design) @ np.linalg.pinv(root * design)
    found = (sol.weight * fitted_variance(*as_fitted(sol))).values[row, column]
    np.testing.assert_allclose(found, np.diag(hat), rtol=1e-8)
    assert found.sum() == pytest.approx(n + m - 1)


@quiet
def test_full_covariance_has_the_errors_on_its_diagonal_and_no_component_along_the_gauge():
    ds, _, _ = night(missing=0.3)
    sol = fx.solve(ds, weights="variance", uncertainty="analytic", gauge=[1, 4])
    equations, components = as_fitted(sol)
    gradient = (sol.gauge_weight * sol.G).drop_vars("detector")
    factor = sol.attrs["variance_factor"]
    g = full_covariance(equations, components, gradient, of="G").values * factor
    e = full_covariance(equations, components, gradient, of="E").values * factor
    np.testing.assert_allclose(np.sqrt(np.diag(g)), sol.G_stderr / sol.G, rtol=1e-9)
    np.testing.assert_allclose(np.sqrt(np.diag(e)), sol.E_stderr / sol.E, rtol=1e-9)
    np.testing.assert_allclose(g @ gradient.values, 0, atol=1e-9 * g.max())
