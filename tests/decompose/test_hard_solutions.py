"""Solutions that are hard to ask: parts of one, dead groups, unknown noise, weights that differ by decades."""

from __future__ import annotations

import numpy as np
import pytest

import flatnorm_xr as fx

quiet = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture
def night():
    return fx.simulate(n_detectors=12, n_exposures=12, seed=1)


def tilted(ds, rng, size=3e-3):
    x = ds.x / ds.x.std()
    return ds.assign(background=ds.background * (1 + np.outer(x, size * rng.normal(size=ds.sizes["exposure"]))))


@pytest.mark.parametrize("ask", [fx.pulls, fx.covariance])
def test_part_of_a_solution_is_not_taken_for_the_whole(night, ask):
    sol = fx.solve(night, uncertainty="analytic")
    for part in (sol.isel(exposure=slice(0, 3)), sol.isel(detector=[1, 2, 5])):
        with pytest.raises(fx.FlatnormError, match="a part of what was solved"):
            ask(part)


@pytest.mark.parametrize("ask", [fx.pulls, fx.covariance, fx.rejections, fx.diagnose, fx.hierarchy, fx.interval])
@pytest.mark.parametrize("where", [{"exposure": []}, {"exposure": 3}, {"detector": 3}])
def test_selection_without_cells_or_without_a_dim_is_told_of(night, ask, where):
    sol = fx.solve(night, robust="tukey")
    with pytest.raises(fx.FlatnormError, match="select with a list of labels"):
        ask(sol.isel(where))


@quiet
@pytest.mark.parametrize("keywords", [{}, {"modes": "auto"}, {"robust": "tukey"}, {"weights": "variance"}])
def test_group_without_a_usable_cell_spoils_no_other(keywords):
    rng = np.random.default_rng(2)
    levels = np.exp(rng.normal(9, 0.01, (8, 15)))
    levels[:, 14] = np.nan
    coords = {"lamp": ("exposure", list("aaaaaaabbbbbbbc"))}
    ds = fx.make(levels, sigma=np.full(levels.shape, 50.0), counts=np.full(levels.shape, 10_000), coords=coords)
    sol = fx.solve(ds, by="lamp", **keywords)
    assert np.isnan(sol.G.sel(group="c")).all()
    assert np.isnan(sol.rms_residual.sel(group="c"))
    alone = fx.solve(ds.isel(exposure=slice(0, 14)), by="lamp", **keywords)
    np.testing.assert_array_equal(sol.G.sel(group=["a", "b"]), alone.G)


@quiet
def test_levels_whose_pixels_do_not_scatter_say_nothing_of_the_floor():
    rng = np.random.default_rng(0)
    levels = np.outer(rng.uniform(0.8, 1.2, 6), rng.uniform(1e4, 2e4, 8)) * np.exp(1e-3 * rng.normal(size=(6, 8)))
    sigma = 1e-4 * levels
    sigma.flat[[10, 20, 33]] = 0
    sol = fx.solve(fx.make(levels, sigma=sigma), weights="variance")
    assert sol.attrs["floor"] == pytest.approx(1e-3, rel=0.3)
    assert (sol.weight > 0).all()
    large = fx.solve(fx.make(levels, sigma=sigma * 20), weights="variance")
    assert large.attrs["floor"] == 0
    assert int((large.weight == 0).sum()) == 3
    assert np.isfinite(fx.pulls(large)).sum() == 45


@quiet
def test_modes_that_fit_nothing_cost_nothing():
    ds = fx.make(np.exp(9 + 1e-3 * np.random.default_rng(3).normal(size=(12, 40))))
    plain, more = (fx.solve(ds, modes=k, uncertainty="analytic") for k in (0, 5))
    np.testing.assert_allclose(more.G_stderr, plain.G_stderr, rtol=0.05)
    assert plain.attrs["dof"] - more.attrs["dof"] < 30


@quiet
def test_gauge_changes_no_model_with_modes(night):
    ds = tilted(night, np.random.default_rng(4))
    one, other = (fx.solve(ds, modes=1, gauge=gauge) for gauge in ("mean", [3]))
    np.testing.assert_allclose(one.bgModel, other.bgModel, rtol=1e-10)
    assert float((one.mode_unit * one.gauge_weight).sum()) == pytest.approx(0, abs=1e-12)
    assert float(other.mode_unit.sel(detector=3).item()) == pytest.approx(0, abs=1e-12)


@quiet
def test_rejected_exposure_that_a_mode_explains_is_free_again():
    kept = 0
    for seed in range(12):
        ds = fx.simulate(n_detectors=40, n_exposures=12, seed=seed)
        ds = tilted(ds, np.random.default_rng(seed), size=2e-3)
        sol = fx.solve(ds, weights="variance", modes="auto", robust="tukey", uncertainty=None)
        kept += int((sol.rejection > 0).all("detector").sum() == 0)
    assert kept >= 10


@quiet
def test_one_cell_that_outweighs_its_unit_has_nothing_to_scatter():
    rng = np.random.default_rng(5)
    counts = np.round(10 ** rng.uniform(1, 7, (12, 10)))
    levels = np.outer(rng.uniform(0.7, 1.3, 12), rng.uniform(1e4, 3e4, 10))
    levels *= np.exp(0.1 / np.sqrt(counts) * rng.normal(size=counts.shape))
    sol = fx.solve(fx.make(levels, counts=counts), gauge="geometric", uncertainty=["jackknife", "analytic"])
    alone = (sol.weight.max("exposure") / sol.weight.sum("exposure")) > 0.7
    assert alone.any()
    np.testing.assert_allclose(sol.G_stderr.where(alone, 1), sol.G_stderr_analytic.where(alone, 1), rtol=1e-12)


@quiet
def test_covariance_of_a_group_named_by_a_time(night):
    ds = night.assign_coords(evening=("exposure", np.repeat(np.array(["2024-01-01", "2024-01-02"], "M8[ns]"), 6)))
    sol = fx.solve(ds, by="evening")
    assert fx.covariance(sol, group=sol.group.values[0]).shape == (12, 12)


@quiet
def test_hierarchy_of_a_ragged_camera():
    ds = fx.simulate(n_detectors=3, n_exposures=6, n_amplifiers=2, seed=3)
    exists = np.ones((3, 2), bool)
    exists[2, 0] = False
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    ds = ds.assign({name: ds[name].where(ds.exists) for name in ("background", "sigma")})
    sol = fx.solve(ds, hierarchy=True)
    np.testing.assert_allclose(sol.detector_scale * sol.amplifier_ratio, sol.G, rtol=1e-12)
    assert np.isnan(sol.amplifier_ratio[2, 0])
    assert float(sol.amplifier_ratio[2, 1]) == 1.0


def test_exact_fit_leaves_no_floor_to_be_found(says):
    ds = fx.make([[1.0, 2.0], [3.0, 6.5]], sigma=np.full((2, 2), 0.01))
    with says("nothing is left to estimate the floor from, 0 was taken"):
        sol = fx.solve(ds.isel(exposure=[0]), weights="variance")
    assert sol.attrs["floor"] == 0


@quiet
def test_model_of_a_rejected_exposure_is_that_of_its_residuals_with_modes():
    ds = tilted(fx.simulate(n_detectors=40, n_exposures=12, seed=2), np.random.default_rng(2), size=2e-3)
    light = 1 + 0.02 * np.sin(ds.x / 15) * np.cos(ds.y / 15) * (ds.exposure == 105)
    ds = ds.assign(background=(ds.background * light).transpose(*ds.background.dims))
    sol = fx.solve(ds, weights="variance", modes=1, robust="tukey", uncertainty=None)
    assert (sol.rejection.sel(exposure=105) > 0).all()
    np.testing.assert_allclose(np.log(sol.background / sol.bgModel), sol.residual, atol=1e-12)
