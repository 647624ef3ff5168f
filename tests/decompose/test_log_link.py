"""Faint levels: the log link is unbiased where logarithms of noisy levels are not, and agrees with them elsewhere."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

import flatnorm_xr as fx
from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.covariance import analytic_errors
from flatnorm_xr.decompose.log_link import fit_log_link
from flatnorm_xr.decompose.sweeps import NormalEquations

DIMS = ("detector", "exposure")


class Night(NamedTuple):
    """Half of the units are faint; all have the same noise."""

    background: xr.DataArray
    usable: xr.DataArray
    noise: xr.DataArray
    g: np.ndarray
    e: np.ndarray


def night(seed, *, units=62, exposures=12, faint=3.0, bright=10.0, missing=0.25, floor=0.0):
    """Levels ``faint`` and ``bright`` times their own errors."""
    rng = np.random.default_rng(seed)
    g = rng.normal(0, 0.1, units)
    g[: units // 2] += np.log(faint / bright)
    e = np.log(100) + rng.normal(0, 0.05, exposures)
    model = np.exp(g[:, np.newaxis] + e)
    noise = np.full(model.shape, 100 / bright)
    levels = model * (1 + floor * rng.normal(size=model.shape)) + noise * rng.normal(size=model.shape)
    usable = rng.random(model.shape) > missing
    usable[[0, -1]], usable[:, 0] = True, True
    return Night(*(xr.DataArray(x, dims=DIMS) for x in (levels, usable, noise**2)), g, e)


def log_fit(simulated):
    """ln G of the plain fit of ln(background), each cell with the weight that its own level gives it."""
    positive = simulated.usable & (simulated.background > 0)
    y = np.log(simulated.background.where(positive, 1.0))
    weight = (simulated.background**2 / simulated.noise).where(positive, 0.0)
    return solve_exactly(NormalEquations.of(y, weight)).g.values


def faint_over_bright(g, truth):
    """Mean G of the faint units over that of the bright ones, relative to the truth."""
    half = g.size // 2
    ratio = np.exp(g - truth)
    return ratio[:half].mean() / ratio[half:].mean() - 1


def test_logarithms_of_faint_levels_are_biased_and_the_log_link_is_not():
    nights = [night(seed) for seed in range(16)]
    fits = [fit_log_link(one.background, one.usable, noise_variance=one.noise) for one in nights]
    found = np.array([faint_over_bright(fit.g.values, one.g) for fit, one in zip(fits, nights, strict=True)])
    plain = np.array([faint_over_bright(log_fit(one), one.g) for one in nights])
    error = found.std(ddof=1) / np.sqrt(found.size)
    assert all(fit.converged for fit in fits)
    assert error < 0.01
    assert abs(found.mean()) < 3 * error
    assert plain.mean() > 0.1
    assert any((one.background.where(one.usable) < 0).any() for one in nights)


def test_pulls_are_standard_normal():
    pulls = {"G": [], "E": []}
    for seed in range(16):
        one = night(seed, floor=0.03)
        fit = fit_log_link(one.background, one.usable, noise_variance=one.noise, floor=0.03)
        # the gauge is the bright half, whose logarithms are straight enough
        share = xr.DataArray(np.where(np.arange(one.g.size) < one.g.size // 2, 0.0, 2 / one.g.size), dims="detector")
        errors = analytic_errors(NormalEquations.of(one.background, fit.weight), connect(fit.weight > 0), share)
        offset = float((share * (fit.g - one.g)).sum())
        pulls["G"].append((fit.g - one.g - offset) / errors.g)
        pulls["E"].append((fit.e - one.e + offset) / errors.e)
    for name, values in pulls.items():
        values = np.concatenate(values)
        assert abs(values.std() - 1) < 0.1, name
        assert abs(values.mean()) < 0.2, name


def quasi_score(one, fit, *, floor):
    model = np.exp(fit.g + fit.e)
    return ((one.background - model) * model / (one.noise + (floor * model) ** 2)).where(one.usable, 0.0)


@pytest.mark.parametrize("floor", [0.0, 1e-3, 0.1])
def test_quasi_score_is_zero(floor):
    one = night(1, units=20, exposures=8, floor=floor)
    fit = fit_log_link(one.background, one.usable, noise_variance=one.noise, floor=floor)
    score = quasi_score(one, fit, floor=floor)
    assert_allclose(score.sum("exposure"), 0, atol=1e-9)
    assert_allclose(score.sum("detector"), 0, atol=1e-9)


def test_given_weights_make_the_weighted_mean_of_level_over_model_one():
    one = night(2, units=20, exposures=8)
    weight = xr.DataArray(np.random.default_rng(0).uniform(0.2, 3, one.background.shape), dims=DIMS)
    fit = fit_log_link(one.background, one.usable, weight=weight)
    weight = weight.where(one.usable, 0.0)
    over = weight * one.background / np.exp(fit.g + fit.e)
    assert_allclose(over.sum("exposure"), weight.sum("exposure"), rtol=1e-10)
    assert_allclose(over.sum("detector"), weight.sum("detector"), rtol=1e-10)
    assert_allclose(fit.weight, weight.transpose(*DIMS))


def test_plain_fit_of_the_working_levels_is_the_same_solution():
    one = night(3, units=20, exposures=8)
    fit = fit_log_link(one.background, one.usable, noise_variance=one.noise, floor=0.01)
    working = (fit.g + fit.e + fit.residual.where(one.usable, 0.0)).transpose(*DIMS)
    again = solve_exactly(NormalEquations.of(working, fit.weight))
    assert_allclose(again.g + again.e, fit.g + fit.e, rtol=1e-11)
    model = np.exp(fit.g + fit.e)
    assert_allclose(
        fit.weight, (model**2 / (one.noise + (0.01 * model) ** 2)).transpose(*DIMS).where(one.usable, 0.0), rtol=1e-10
    )


@pytest.mark.parametrize(("relative", "agree"), [(1e-3, 5e-6), (1e-4, 5e-8), (1e-5, 5e-10)])
def test_bright_levels_agree_with_their_logarithms_to_the_square_of_their_errors(relative, agree):
    one = night(4, units=20, exposures=8, faint=0.5 / relative, bright=1 / relative)
    fit = fit_log_link(one.background, one.usable, noise_variance=one.noise)
    y, weight = np.log(one.background), (np.exp(2 * (fit.g + fit.e)) / one.noise).where(one.usable, 0.0)
    plain = solve_exactly(NormalEquations.of(y, weight.transpose(*DIMS)))
    assert_allclose(plain.g - plain.g.mean(), fit.g - fit.g.mean(), atol=agree)
    assert_allclose(plain.g + plain.e, fit.g + fit.e, atol=3 * agree)


def test_exact_product_is_recovered():
    one = night(5, units=9, exposures=7)
    exact = xr.DataArray(np.exp(one.g[:, np.newaxis] + one.e), dims=DIMS)
    fit = fit_log_link(exact, one.usable, noise_variance=one.noise)
    assert_allclose(np.exp(fit.g + fit.e), exact, rtol=1e-11)


@pytest.mark.parametrize("factor", [1e-30, 0.37, 1e30])
def test_unit_of_the_levels_does_not_matter(factor):
    one = night(6, units=12, exposures=6)
    fit = fit_log_link(one.background, one.usable, noise_variance=one.noise, floor=0.01)
    scaled = fit_log_link(factor * one.background, one.usable, noise_variance=one.noise * factor * factor, floor=0.01)
    assert_allclose(scaled.g + scaled.e, fit.g + fit.e + np.log(factor), rtol=1e-11)
    assert_allclose(scaled.weight, fit.weight, rtol=1e-9)


def test_brighter_exposure_with_as_many_errors_changes_only_its_own_E():
    one = night(7, units=12, exposures=6)
    factor = xr.DataArray([7.0, 1, 1, 1, 1, 1], dims="exposure")
    fit = fit_log_link(one.background, one.usable, noise_variance=one.noise)
    brighter = fit_log_link(one.background * factor, one.usable, noise_variance=one.noise * factor**2)
    assert_allclose(brighter.g + brighter.e, fit.g + fit.e + np.log(factor), rtol=1e-10)


@pytest.mark.parametrize("kind", ["noise", "weight"])
def test_units_and_exposures_without_light_are_named_and_change_nothing(kind):
    one = night(8, units=12, exposures=6, faint=20, bright=30, missing=0)
    levels = one.background.copy()
    levels[3], levels[:, 2] = -abs(levels[3]) / 100, -abs(levels[:, 2]) / 100
    usable = one.usable.copy()
    usable[5] = False

    def fit(usable):
        if kind == "noise":
            return fit_log_link(levels, usable, noise_variance=one.noise, floor=0.01)
        return fit_log_link(levels, usable, weight=xr.ones_like(levels))

    dark = fit(usable)
    assert dark.converged
    assert np.flatnonzero(dark.lost_unit).tolist() == [3]
    assert np.flatnonzero(dark.lost_exposure).tolist() == [2]
    assert np.flatnonzero(dark.g.isnull()).tolist() == [3, 5]
    assert np.flatnonzero(dark.e.isnull()).tolist() == [2]
    assert (dark.weight[3] == 0).all()
    assert (dark.weight[:, 2] == 0).all()
    usable[3], usable[:, 2] = False, False
    without = fit(usable)
    assert_allclose(dark.g + dark.e, without.g + without.e, rtol=1e-10)
    assert not without.lost_unit.any()


def test_nothing_but_darkness():
    levels = xr.DataArray([[0.0, -1.0], [-2.0, 0.0]], dims=DIMS)
    fit = fit_log_link(levels, levels < 1, noise_variance=xr.ones_like(levels))
    assert fit.lost_unit.all()
    assert fit.lost_exposure.all()
    assert fit.g.isnull().all()
    assert fit.residual.isnull().all()


def test_tie_that_shows_no_light_ties_nothing():
    """Units 0, 1 and exposures 0, 1 on one side, 2 and 2, 3 on the other; one negative cell between them."""
    levels = xr.DataArray(
        [[10.0, 11.0, np.nan, np.nan], [12.0, 13.0, np.nan, np.nan], [np.nan, -2.0, 9.0, 8.0]], dims=DIMS
    )
    fit = fit_log_link(levels, levels.notnull(), noise_variance=xr.ones_like(levels))
    assert fit.weight[2, 1] == 0
    assert connect(fit.weight > 0).unit.values.tolist() == [0, 0, 1]


def test_any_noise_ends_in_numbers_or_is_named():
    rng = np.random.default_rng(9)
    for _ in range(12):
        units, exposures = rng.integers(1, 10, 2)
        signal = 10 ** rng.uniform(-1.5, 3)
        G = np.exp(rng.normal(0, 1, (units, 1))) * (rng.random((units, 1)) > 0.15)
        levels = G * np.exp(rng.normal(0, 1, exposures)) + rng.normal(size=(units, exposures)) / signal
        levels, usable = (xr.DataArray(x, dims=DIMS) for x in (levels, rng.random(levels.shape) > 0.3))
        fit = fit_log_link(levels, usable, noise_variance=xr.full_like(levels, signal**-2), floor=1e-3)
        assert np.isfinite(fit.weight).all()
        assert (fit.g.notnull() | fit.lost_unit | ~usable.any("exposure")).all()
        assert (fit.e.notnull() | fit.lost_exposure | ~usable.any("detector")).all()
        assert not (fit.weight > 0).where(~usable, False).any()


def test_infinite_and_missing_levels_have_no_weight():
    one = night(10, units=6, exposures=5, missing=0)
    levels = one.background.copy()
    levels[1, 2], levels[2, 3] = np.nan, np.inf
    fit = fit_log_link(levels, one.usable, noise_variance=one.noise)
    assert fit.converged
    assert fit.weight[1, 2] == fit.weight[2, 3] == 0
    assert fit.residual.isnull().sum() == 2


def test_noise_and_weight_exclude_each_other():
    one = night(11, units=3, exposures=3)
    with pytest.raises(fx.FlatnormError, match="noise_variance or weight"):
        fit_log_link(one.background, one.usable)
