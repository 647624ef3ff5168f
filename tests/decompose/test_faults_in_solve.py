"""Faulty nights through the whole solve: what is named, what is left out, and what the rest then says."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx

quiet = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")

ASKED = {"weights": "variance", "gauge": "geometric"}


def night(seed, **keywords):
    return fx.simulate(n_detectors=62, n_exposures=12, seed=seed, **keywords)


def with_faults(ds, rng):
    """One cell 30 % low, one 20 % low, six of other units 3 % high, all in different units and anywhere."""
    levels = ds.background.values.copy()
    units = rng.permutation(62)[:8]
    cells = [(unit, rng.choice(np.flatnonzero(np.isfinite(levels[unit])))) for unit in units]
    for (unit, exposure), change in zip(cells, (-0.3, -0.2, *[0.03] * 6), strict=True):
        levels[unit, exposure] *= 1 + change
    return ds.assign(background=(ds.background.dims, levels)), cells


def error_of_e(sol, ds):
    """Errors of ln E in the geometric gauge of the measured units."""
    offset = np.log(ds.true_G).where(sol.component >= 0).mean()
    return np.log(sol.E) - np.log(ds.true_E) - offset


@quiet
@pytest.mark.slow
@pytest.mark.parametrize(("robust", "missing"), [("tukey", 0.0), ("tukey", 0.25), ("huber", 0.25)])
def test_faulty_cells_change_neither_E_nor_its_errors(robust, missing):
    rng = np.random.default_rng(1)
    squares, pulls, plain, others = [], [], [], 0
    for seed in range(40):
        ds = night(seed, missing=missing)
        broken, cells = with_faults(ds, rng)
        sol = fx.solve(broken, robust=robust, **ASKED)
        error = error_of_e(sol, ds)
        squares.append(error**2)
        pulls.append(error / (sol.E_stderr / sol.E))
        plain.append(error_of_e(fx.solve(broken, uncertainty=None, **ASKED), ds) ** 2)
        rejected = sol.rejection.values > 0
        assert all(rejected[cell] for cell in cells)
        others += rejected.sum() - len(cells)
    assert np.sqrt(np.mean(squares)) < 2e-4
    assert np.sqrt(np.mean(plain)) > 1e-3
    assert np.std(pulls) == pytest.approx(1, abs=0.1)
    assert others <= 4


@quiet
def test_rejected_unit_and_exposure_keep_residuals_and_leave_gauge_and_scales():
    ds = night(3)
    rng = np.random.default_rng(2)
    levels = ds.background.copy()
    levels[7] *= 1 + 0.05 * rng.normal(size=12)
    levels[:, 4] *= 1 + 0.01 * np.sin(ds.x / 20)
    ds = ds.assign(background=levels)
    sol = fx.solve(ds, robust="tukey", **ASKED)
    kinds = dict(zip(sol.flatnorm.rejections().kind, sol.flatnorm.rejections().n_cells, strict=True))
    assert kinds == {"unit": 11, "exposure": 62} or kinds == {"unit": 12, "exposure": 62}
    assert np.isfinite(sol.residual).all()
    assert np.isfinite(sol.G).all()
    assert np.isfinite(sol.E).all()
    assert sol.gauge_weight[7] == 0
    assert sol.component[7] == -1
    assert np.isnan(sol.scales[:, 4]).all()
    assert np.isfinite(sol.scales.isel(exposure=[k for k in range(12) if k != 4])).all()
    assert np.isnan(sol.E_stderr[4])
    assert np.isnan(sol.G_stderr[7])
    clean = fx.solve(ds.drop_isel(detector=7, exposure=4), **ASKED)
    np.testing.assert_allclose(sol.G.drop_isel(detector=7), clean.G, rtol=1e-10)
    np.testing.assert_allclose(sol.E_stderr.drop_isel(exposure=4), clean.E_stderr, rtol=1e-9)
    np.testing.assert_allclose(np.log(sol.background / sol.bgModel), sol.residual, atol=1e-12)


@quiet
def test_solving_again_frees_what_was_rejected_and_holds_what_a_user_flagged():
    ds, _ = with_faults(night(4), np.random.default_rng(3))
    once = fx.solve(ds, robust="tukey", **ASKED)
    again = fx.solve(once, robust="tukey", **ASKED)
    xr.testing.assert_identical(once.drop_attrs(), again.drop_attrs())
    plain = fx.solve(once, **ASKED)
    assert "rejection" not in plain
    assert (plain.weight > 0).all()
    flagged = once.copy(deep=True)
    flagged.quality[30, 6] |= np.uint32(fx.Flag.OUTLIER)
    held = fx.solve(flagged, robust="tukey", **ASKED)
    assert held.weight[30, 6] == 0
    assert held.rejection[30, 6] == 0
    assert int((held.weight == 0).sum()) == int((once.weight == 0).sum()) + 1


@quiet
def test_rejections_stay_with_a_solution_through_the_file(tmp_path):
    ds, cells = with_faults(night(5), np.random.default_rng(4))
    sol = fx.solve(ds, robust="tukey", **ASKED)
    kept = fx.open(fx.save(sol, tmp_path / "run.nc"))
    table = fx.rejections(kept)
    assert table.equals(fx.rejections(sol))
    assert set(table.detector) == {unit + 1 for unit, _ in cells}


@quiet
def test_coordinate_named_group_may_make_the_groups():
    ds = night(6).assign_coords(group=("exposure", np.repeat([1, 2, 3], 4)))
    sol = fx.solve(ds, by="group", robust="tukey")
    named = fx.solve(ds.rename(group="series"), by="series", robust="tukey")
    assert sol.G.dims == ("detector", "group")
    np.testing.assert_array_equal(sol.G, named.G)
    xr.testing.assert_identical(fx.solve(sol, by="group", robust="tukey").drop_attrs(), sol.drop_attrs())


def test_what_was_rejected_is_said(says):
    ds, _ = with_faults(night(7), np.random.default_rng(5))
    ds = ds.assign(
        background=ds.background.copy(data=ds.background * (1 + 0.01 * np.sin(ds.x / 20) * (ds.exposure == 104)))
    )
    with says(r"rejected 1 exposure, [678] cells or runs", "exposures 104 were rejected: their scales are NaN"):
        fx.solve(ds, robust="tukey", **ASKED)


@quiet
def test_modes_take_the_lamp_out_of_the_residuals_and_leave_G():
    rng = np.random.default_rng(6)
    ds = night(8, noise=2e-4)
    x, y = ((ds[name] - ds[name].mean()) / ds[name].std() for name in ("x", "y"))
    slopes = 2e-3 * rng.normal(size=(2, 12))
    slopes -= slopes.mean(axis=1, keepdims=True)
    tilt = x * ds.exposure.copy(data=slopes[0]) + y * ds.exposure.copy(data=slopes[1])
    leaning = ds.assign(background=(ds.background * np.exp(tilt)).transpose(*ds.background.dims))
    sol = fx.solve(leaning, modes="auto", hierarchy=False, **ASKED)
    assert sol.attrs["modes"] == 2
    assert sol.attrs["rms_residual"] < 2.5e-4
    assert sol.attrs["floor"] == pytest.approx(2e-4, rel=0.2)
    np.testing.assert_allclose(np.log(sol.background / sol.bgModel), sol.residual, atol=1e-12)
    np.testing.assert_allclose(sol.scales, sol.bgModel / sol.G, rtol=1e-12)
    clean = fx.solve(ds, **ASKED)
    np.testing.assert_allclose(sol.G, clean.G, rtol=3e-4)
    assert not {"mode", "modes_tried"} & set(fx.solve(sol, **ASKED).dims)


@quiet
def test_log_link_takes_faint_levels_as_they_are():
    rng = np.random.default_rng(7)
    G, E = np.exp(rng.normal(0, 0.2, 40)), rng.uniform(20, 60, 30)
    G /= np.exp(np.log(G).mean())
    levels = np.outer(G, E) + 10 * rng.normal(size=(40, 30))
    ds = fx.make(levels, sigma=np.full(levels.shape, 1000.0), counts=np.full(levels.shape, 10_000))
    assert (levels < 0).any()
    sol = fx.solve(ds, model="log-link", **ASKED)
    assert sol.attrs["model"] == "log-link"
    assert (sol.weight > 0).all()
    assert np.isfinite(sol.residual).all()
    pull = np.log(sol.G / G) / (sol.G_stderr / sol.G)
    assert abs(float(pull.mean())) < 0.5
    assert 0.75 < float(pull.std()) < 1.3
    # in the geometric gauge a bias of all ln E is one of the level
    link = float(np.log(sol.E / E).mean())
    log = float(np.log(fx.solve(ds, uncertainty=None, **ASKED).E / E).mean())
    assert abs(link) < 0.02 < abs(log)


def test_faint_levels_are_told_of_the_log_link(says):
    ds = fx.simulate(n_detectors=8, n_exposures=6, pixels=100, level=30.0, read_noise=10.0, noise=0.0, seed=1)
    with says("levels below 30 of their own errors, where ln is biased .LOW_SIGNAL.; use model='log-link'"):
        fx.solve(ds)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fx.solve(ds, model="log-link", weights="variance")


@quiet
def test_log_link_and_logarithm_agree_where_levels_are_bright():
    ds = night(9)
    one, other = (fx.solve(ds, model=model, **ASKED) for model in ("log", "log-link"))
    np.testing.assert_allclose(one.G, other.G, rtol=3e-6)
    np.testing.assert_allclose(one.G_stderr, other.G_stderr, rtol=1e-2)


@quiet
def test_hierarchy_is_in_the_solution_when_asked():
    ds = fx.simulate(n_detectors=5, n_amplifiers=4, n_exposures=6, seed=10)
    sol = fx.solve(ds, hierarchy=True)
    np.testing.assert_allclose(sol.detector_scale * sol.amplifier_ratio, sol.G, rtol=1e-12)
    assert "detector_scale" not in fx.solve(sol)
    with pytest.raises(fx.FlatnormError, match="no amplifiers"):
        fx.solve(night(0), hierarchy=True)
