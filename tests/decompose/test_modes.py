"""Patterns beside the product: found where they are, not where they are not, and never part of G or E."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

import flatnorm_xr as fx
from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.modes import fit_modes
from flatnorm_xr.decompose.sweeps import NormalEquations

DIMS = ("detector", "exposure")


def tilted(seed, *, units=62, exposures=12, noise=1e-3, tilt=0.0, missing=0.25):
    """What a tilt of the light of ``tilt`` rms over the focal plane adds to ln B, with noise, and the weights."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, units), np.sqrt(rng.uniform(0, 1, units))
    place = np.stack([radius * np.cos(angle), radius * np.sin(angle)])
    place -= place.mean(axis=1, keepdims=True)
    place /= np.sqrt((place**2).sum(axis=0).mean())
    pattern = place.T @ rng.normal(0, tilt, (2, exposures))
    used = rng.random(pattern.shape) > missing
    used[0], used[:, 0] = True, True
    levels = pattern + noise * rng.normal(size=pattern.shape)
    return (xr.DataArray(x, dims=DIMS) for x in (pattern, levels, used.astype(float)))


def equal_share(weight):
    return xr.full_like(weight.isel(exposure=0), 1 / weight.sizes["detector"])


def correction(found):
    return (found.g + found.e + found.correction).transpose(*DIMS)


def plain_residual(levels, weight):
    fit = solve_exactly(NormalEquations.of(levels, weight))
    return levels - fit.g - fit.e, fit.g, fit.e


def rms(values):
    return float(np.sqrt((values**2).mean()))


@pytest.mark.slow
@pytest.mark.parametrize("size", [(62, 12), (20, 5)])
def test_no_mode_is_found_on_clean_nights(size):
    numbers = []
    for seed in range(40):
        _, levels, weight = tilted(seed, units=size[0], exposures=size[1])
        numbers.append(fit_modes(levels, weight, modes="auto", gauge_share=equal_share(weight)).number)
    assert np.mean(np.array(numbers) == 0) >= 0.95


@pytest.mark.parametrize("noise", [1e-3, 2e-4])
def test_tilt_is_found_and_taken_out(noise):
    corrected, uncorrected = [], []
    for seed in range(12):
        pattern, levels, weight = tilted(seed, tilt=2e-3, noise=noise)
        found = fit_modes(levels, weight, modes="auto", gauge_share=equal_share(weight))
        none = fit_modes(levels, weight, modes=0, gauge_share=equal_share(weight))
        assert found.number >= 1
        assert found.held_out[found.number] < found.held_out[0]
        corrected.append(rms(correction(found) - pattern))
        uncorrected.append(rms(correction(none) - pattern))
    assert (np.array(corrected) < np.array(uncorrected)).all()
    assert rms(np.array(corrected)) < 0.5 * rms(np.array(uncorrected))


def test_G_in_the_gauge_is_free_of_the_pattern():
    """Units that miss some exposures see another mean tilt than the others; the modes say which."""
    with_modes, without = [], []
    for seed in range(20):
        pattern, levels, weight = tilted(seed, tilt=2e-3, noise=2e-4)
        rng = np.random.default_rng(1000 + seed)
        g = xr.DataArray(rng.normal(0, 0.1, 62), dims="detector")
        residual, plain_g, _ = plain_residual(levels + g, weight)
        found = fit_modes(residual, weight, modes=2, gauge_share=equal_share(weight))
        of_exposure = weight.sum("detector") / weight.sum()
        truth = g + (pattern * of_exposure).sum("exposure")
        for errors, estimate in ((with_modes, plain_g + found.g), (without, plain_g)):
            errors.append((estimate - estimate.mean()) - (truth - truth.mean()))
    expected = 2e-4 / np.sqrt(9)
    assert rms(np.array(with_modes)) < 1.4 * expected
    assert rms(np.array(without)) > 3 * expected


@pytest.mark.parametrize("uneven", [False, True])
def test_rank_one_departure_is_recovered_exactly_with_cells_missing(uneven):
    rng = np.random.default_rng(3)
    unit, exposure = rng.normal(0, 0.01, 30), rng.normal(size=10)
    used = rng.random((30, 10)) > 0.25
    weight = xr.DataArray(used * (rng.uniform(0.1, 3, used.shape) if uneven else 1.0), dims=DIMS)
    g, e = xr.DataArray(rng.normal(size=30), dims="detector"), xr.DataArray(rng.normal(size=10), dims="exposure")
    truth = (g + e + xr.DataArray(np.outer(unit, exposure), dims=DIMS)).transpose(*DIMS)
    residual, plain_g, plain_e = plain_residual(truth.where(weight > 0, 0.0), weight)
    found = fit_modes(residual.where(weight > 0), weight, modes=1, gauge_share=equal_share(weight))
    assert found.converged
    model = plain_g + plain_e + correction(found)
    assert_allclose(model.transpose(*DIMS), truth, rtol=0, atol=2e-11)
    assert found.held_out[1] < 1e-3 * found.held_out[0]
    assert found.parameters == 30 + 10 - 3


def test_modes_are_orthogonal_to_the_gauge_and_to_each_other():
    _, levels, weight = tilted(5, tilt=2e-3, noise=2e-4)
    rng = np.random.default_rng(0)
    weight = weight * xr.DataArray(rng.uniform(0.5, 2, weight.shape), dims=DIMS)
    share = xr.DataArray(rng.dirichlet(np.ones(62)), dims="detector")
    found = fit_modes(levels, weight, modes=2, gauge_share=share)
    of_exposure = weight.sum("detector") / weight.sum()
    assert_allclose((found.exposure * of_exposure).sum("exposure"), 0, atol=1e-12)
    assert_allclose((found.unit * share).sum("detector"), 0, atol=1e-12)
    assert_allclose((found.exposure**2 * of_exposure).sum("exposure"), 1, rtol=1e-10)
    assert_allclose((found.g * share).sum(), 0, atol=1e-12)
    between = xr.dot(found.unit, found.unit.rename(mode="other"), dim="detector").values
    assert between[0, 0] > between[1, 1] > 0
    assert_allclose(between[0, 1], 0, atol=1e-12)
    strongest = found.unit.isel(detector=abs(found.unit).argmax("detector"))
    assert (strongest > 0).all()


def test_with_no_cell_missing_G_and_E_stay_what_they_were():
    _, levels, weight = tilted(6, tilt=2e-3, missing=0)
    residual, _, _ = plain_residual(levels, weight)
    found = fit_modes(residual, weight, modes=2, gauge_share=equal_share(weight))
    assert_allclose(found.g, 0, atol=1e-12)
    assert_allclose(found.e, 0, atol=1e-12)
    leading = np.linalg.svd(residual.values)[1][:2]
    strength = np.sqrt((found.unit**2).sum("detector") * 12)
    # patterns are held back a little, by what noise adds to them
    assert (strength < leading).all()
    assert_allclose(strength, leading, rtol=0.2)


def test_unit_and_exposure_without_weight_have_no_mode_and_lonely_ones_hardly_any():
    _, levels, weight = tilted(7, tilt=2e-3, noise=2e-4)
    weight[3], weight[:, 4], weight[5, 1:] = 0.0, 0.0, 0.0
    found = fit_modes(levels.where(weight > 0), weight, modes=2, gauge_share=equal_share(weight))
    assert found.unit[3].isnull().all()
    assert found.g[3] == 0
    assert (found.correction.isel(detector=3) == 0).all()
    assert np.isfinite(found.correction).all()
    assert found.exposure[4].isnull().all()
    assert np.isfinite(found.unit[5]).all()
    assert rms(found.unit[5]) < 3 * rms(found.unit)


def test_amplifiers_and_labels_are_kept_and_order_does_not_matter():
    _, levels, weight = tilted(8, units=24, exposures=8, tilt=2e-3, noise=2e-4)
    coords = {"detector": list("abcdef"), "amplifier": ["p", "q", "r", "s"], "exposure": np.arange(8) + 100}
    levels, weight = (
        xr.DataArray(x.values.reshape(6, 4, 8), dims=("detector", "amplifier", "exposure"), coords=coords)
        for x in (levels, weight)
    )
    share = xr.full_like(weight.isel(exposure=0, drop=True), 1 / 24)
    found = fit_modes(levels, weight, modes=2, gauge_share=share)
    assert found.unit.dims == ("detector", "amplifier", "mode")
    assert found.unit.detector.values.tolist() == coords["detector"]
    assert found.exposure.mode.values.tolist() == [1, 2]
    turned = fit_modes(
        levels.transpose("exposure", ...).isel(detector=slice(None, None, -1)),
        weight.isel(exposure=slice(None, None, -1), detector=slice(None, None, -1)).sel(exposure=coords["exposure"]),
        modes=2,
        gauge_share=share.isel(detector=slice(None, None, -1)),
    )
    assert_allclose(turned.unit.sel(detector=coords["detector"]), found.unit, atol=1e-9)


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1), (2, 2), (3, 3)])
def test_small_cameras_have_none(shape):
    rng = np.random.default_rng(0)
    levels = xr.DataArray(rng.normal(size=shape), dims=DIMS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = fit_modes(levels, xr.ones_like(levels), modes="auto", gauge_share=equal_share(levels))
    assert found.number <= max(0, min(shape) - 2)
    assert np.isfinite(found.g).all()


@pytest.mark.parametrize("modes", [-1, 11, 1.5, True, "many"])
def test_number_out_of_range(modes):
    _, levels, weight = tilted(0)
    with pytest.raises(fx.FlatnormError, match=r"modes is .*from 0 to 10"):
        fit_modes(levels, weight, modes=modes, gauge_share=equal_share(weight))


def test_disconnected_units_are_refused():
    levels = xr.DataArray(np.zeros((4, 4)), dims=DIMS)
    weight = xr.DataArray(np.kron(np.eye(2), np.ones((2, 2))), dims=DIMS)
    with pytest.raises(fx.DisconnectedError, match="modes"):
        fit_modes(levels, weight, modes=1, gauge_share=equal_share(weight))
