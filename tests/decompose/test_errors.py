"""Standard errors against what really scatters, over hundreds of nights with known truth."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from scipy import stats

import flatnorm_xr as fx
from flatnorm_xr.decompose.groups import split_groups

quiet = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")

N_UNITS, N_NIGHTS = 62, 200


def focal_plane(n):
    """Places of n detectors on a square grid, with rms 1 along each axis."""
    side = int(np.ceil(np.sqrt(n)))
    x, y = np.arange(n) % side, np.arange(n) // side
    return (x - x.mean()) / x.std(), (y - y.mean()) / y.std()


def nights(*, m, missing=0.0, floor=1e-3, tilt=0.0, n=N_UNITS, nights=N_NIGHTS, seed=0):
    """Levels of many nights of one camera, with ``night`` along exposure, and ln of the true G and E."""
    rng = np.random.default_rng(seed)
    g, e = rng.normal(0, 0.06, n), rng.normal(9.9, 0.05, m * nights)
    levels = np.exp(g[:, None] + e)
    x, y = focal_plane(n)
    slopes = tilt / np.sqrt(2) * rng.normal(size=(2, m * nights))
    sigma = np.sqrt(levels / 1.5 + 16)
    levels *= np.exp(floor * rng.normal(size=levels.shape) + np.outer(x, slopes[0]) + np.outer(y, slopes[1]))
    levels += sigma / 1e3 * rng.normal(size=levels.shape)
    levels[rng.random(levels.shape) < missing] = np.nan
    ds = fx.make(
        levels,
        counts=np.full(levels.shape, 1_000_000),
        sigma=sigma,
        coords={"detector": np.arange(n), "exposure": np.arange(m * nights), "x": x, "y": y},
    )
    ds = ds.assign_coords(night=("exposure", np.repeat(np.arange(nights), m)))
    return ds, xr.DataArray(g, dims="detector"), xr.DataArray(e, dims="exposure")


def deviations(sol, g, e):
    """Errors of ln G and ln E in the geometric gauge of the units that each night measured."""
    measured = sol.G.notnull()
    offset = g.where(measured).mean("detector")
    of_night = offset.isel(group=xr.DataArray(sol.exposure_group.values, dims="exposure"))
    return {"G": np.log(sol.G) - (g - offset), "E": np.log(sol.E) - (e + of_night)}


@quiet
@pytest.mark.slow
@pytest.mark.parametrize("missing", [0.0, 0.25])
@pytest.mark.parametrize("m", [5, 12])
def test_errors_are_what_scatters(m, missing):
    ds, g, e = nights(m=m, missing=missing, seed=m)
    asked = {"by": "night", "weights": "variance", "gauge": "geometric"}
    sol = fx.solve(ds, **asked, uncertainty=["jackknife", "analytic"])
    assert sol.attrs["floor"] == pytest.approx(1e-3, rel=0.02)
    for name, deviation in deviations(sol, g, e).items():
        analytic = sol[f"{name}_stderr_analytic"] / sol[name]
        assert float((deviation / analytic).std()) == pytest.approx(1, abs=0.1)
        assert 0.64 < float((abs(deviation) < analytic).mean()) < 0.72
        interval = fx.interval(sol, 0.68)[name]
        truth = sol[name] / np.exp(deviation)
        inside = (interval.sel(bound="lower") < truth) & (truth < interval.sel(bound="upper"))
        assert 0.64 < float(inside.mean()) < 0.72
        if m == 12:
            found = sol[f"{name}_stderr"] / sol[name]
            assert float(np.sqrt((deviation**2).mean() / (found**2).mean())) == pytest.approx(1, abs=0.1)


@quiet
@pytest.mark.slow
def test_jackknife_sees_a_lamp_that_tilts_and_analytic_errors_do_not():
    ds, g, e = nights(m=12, floor=2e-4, tilt=2e-3, seed=1)
    sol = fx.solve(ds, by="night", weights="variance", gauge="geometric", uncertainty=["jackknife", "analytic"])
    scatter = np.sqrt((deviations(sol, g, e)["G"] ** 2).mean("group"))
    jackknife = np.sqrt(((sol.G_stderr / sol.G) ** 2).mean("group"))
    analytic = np.sqrt(((sol.G_stderr_analytic / sol.G) ** 2).mean("group"))
    edge = np.hypot(sol.x, sol.y) > 1.9
    centre = np.hypot(sol.x, sol.y) < 0.4
    for where in (edge, centre):
        assert int(where.sum()) >= 4
        ratio = np.sqrt((jackknife.where(where) ** 2).mean() / (scatter.where(where) ** 2).mean())
        assert float(ratio) == pytest.approx(1, abs=0.15)
    assert float((analytic / scatter).where(edge).mean()) < 0.8
    assert float((analytic / scatter).where(centre).mean()) > 2


def says_disagreement(ds):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fx.solve(ds, weights="variance", gauge="geometric")
    return any("than chance allows" in str(warning.message) for warning in caught)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tilt", "missing", "number"), [(0.0, 0.0, 200), (0.0, 0.25, 100), (2e-3, 0.0, 100), (2e-3, 0.25, 40)]
)
def test_errors_that_disagree_are_told_of_and_no_others(tilt, missing, number):
    ds, _, _ = nights(m=12, floor=2e-4, tilt=tilt, missing=missing, nights=number, seed=2)
    share = np.mean([says_disagreement(one) for _, one in ds.groupby("night")])
    assert share >= 0.95 if tilt else share <= 0.02


def halves(m=12, n=20, seed=3):
    """Two halves of a camera that only the middle exposure sees together."""
    ds, _, _ = nights(m=m, n=n, nights=1, seed=seed)
    first, early = np.arange(n) < n // 2, np.arange(m) < m // 2
    apart = first[:, None] ^ early[None]
    apart[:, m // 2] = False
    return ds.assign(background=ds.background.where(~apart))


def test_two_halves_joined_by_one_exposure_are_fragile(says):
    with says(r"units 0, 1, 2, 3, 4 \(\+15 more\) hang on fewer than 3 .* or on one .*analytic \(FRAGILE\)"):
        sol = fx.solve(halves(), weights="variance", uncertainty="jackknife")
    assert ((sol.quality & fx.Flag.FRAGILE) != 0).all()
    with says("FRAGILE", "carry no weight"):
        both = fx.solve(halves(), weights="variance", uncertainty=["jackknife", "analytic"])
    xr.testing.assert_allclose(both.G_stderr, both.G_stderr_analytic.rename("G_stderr"), rtol=1e-12)
    xr.testing.assert_allclose(both.E_stderr, both.E_stderr_analytic.rename("E_stderr"), rtol=1e-12)
    assert (both.G_dof == both.attrs["dof"]).all()


def test_one_unit_that_hangs_on_one_exposure_is_fragile_alone(says):
    ds, _, _ = nights(m=8, n=20, nights=1, seed=4)
    ds = ds.assign(background=ds.background.where((ds.detector != 7) | (ds.exposure == 3)))
    with says("solve: units 7 hang"):
        sol = fx.solve(ds, uncertainty="jackknife")
    assert (((sol.quality & fx.Flag.FRAGILE) != 0).any("exposure") == (sol.detector == 7)).all()
    assert (sol.G_dof.where(sol.detector != 7, 7.0) == 7).all()


@quiet
@pytest.mark.parametrize(("m", "method"), [(1, "none"), (2, "analytic"), (4, "analytic"), (5, "jackknife")])
def test_default_follows_the_number_of_exposures(m, method):
    ds, _, _ = nights(m=m, n=10, nights=1)
    sol = fx.solve(ds)
    assert sol.attrs["uncertainty"] == method
    assert ("E_stderr" in sol) == (method != "none")


@quiet
def test_groups_of_different_size_each_have_their_method():
    ds, _, _ = nights(m=13, n=10, nights=1)
    ds = ds.assign_coords(lamp=("exposure", list("aaaaaaa" + "bbbb" + "cc")))
    ds = ds.isel(exposure=slice(0, 12))
    sol = fx.solve(ds, by="lamp")
    assert sol.attrs["uncertainty"] == "jackknife (1 groups), analytic (1 groups), none (1 groups)"
    assert np.isfinite(sol.G_stderr.sel(group=["a", "b"])).all()
    assert np.isnan(sol.G_stderr.sel(group="c")).all()
    for label, part in split_groups(sol):
        alone = fx.solve(ds.sel(exposure=part.exposure))
        if label != "c":
            np.testing.assert_allclose(part.G_stderr, alone.G_stderr, rtol=1e-10)


def delete_one(ds, sol):
    """Refit without each exposure in turn, the gauge held, the long way."""
    shifts = []
    for exposure in ds.exposure.values:
        rest = fx.solve(
            ds.sel(exposure=ds.exposure != exposure), weights="uniform", gauge="geometric", uncertainty=None
        )
        shift = np.log(rest.G) - np.log(sol.G)
        shifts.append(shift - (sol.gauge_weight * sol.G * shift).sum())
    return xr.concat(shifts, "replicate")


@quiet
@pytest.mark.parametrize("gauge", ["mean", 4, [2, 3]])
def test_jackknife_is_that_of_fits_without_each_exposure(gauge):
    ds, _, _ = nights(m=6, n=9, nights=1, seed=5)
    sol = fx.solve(ds, weights="uniform", gauge=gauge, uncertainty="jackknife")
    expected = np.sqrt(5 / 6 * (delete_one(ds, sol) ** 2).sum("replicate"))
    np.testing.assert_allclose(sol.G_stderr / sol.G, expected, rtol=1e-6, atol=1e-12)


@quiet
def test_blocks_of_more_than_32_exposures_are_runs_in_time():
    ds, _, _ = nights(m=100, n=9, nights=1, seed=6)
    sol = fx.solve(ds, weights="uniform")
    assert (sol.G_dof == 31).all()
    # a lamp that drifts slowly is one error shared by neighbours: blocks see more of it than single exposures do
    drift = xr.DataArray(np.outer(focal_plane(9)[0], np.sin(np.arange(100) / 8)) * 5e-3, dims=("detector", "exposure"))
    drifting = ds.assign(background=ds.background * (1 + drift)).assign_coords(single=("exposure", np.arange(100)))
    runs = fx.solve(drifting, weights="uniform")
    single = fx.solve(drifting, weights="uniform", jackknife_block="single")
    assert (single.G_dof == 99).all()
    assert float((runs.G_stderr / single.G_stderr).mean()) > 1.3
    mixed = np.random.default_rng(0).permutation(100)
    shuffled = drifting.assign_coords(time=("exposure", np.datetime64("2026-01-01", "ns") + np.arange(100)))
    again = fx.solve(shuffled.isel(exposure=mixed), weights="uniform")
    np.testing.assert_allclose(again.G_stderr, runs.G_stderr, rtol=1e-6)


@quiet
def test_bootstrap_agrees_with_the_jackknife_and_repeats_itself():
    ds, _, _ = nights(m=20, n=30, nights=1, seed=7)
    asked = {"weights": "uniform", "gauge": "geometric", "replicates": 400}
    sol = fx.solve(ds, uncertainty=["bootstrap", "jackknife"], seed=1, **asked)
    ratio = sol.G_stderr / sol.G_stderr_jackknife
    assert float(np.sqrt((ratio**2).mean())) == pytest.approx(1, abs=0.05)
    assert float(ratio.std()) < 0.08
    again = fx.solve(ds, uncertainty="bootstrap", seed=1, **asked)
    other = fx.solve(ds, uncertainty="bootstrap", seed=2, **asked)
    assert again.G_stderr.equals(sol.G_stderr)
    assert not other.G_stderr.equals(sol.G_stderr)


@quiet
def test_gauge_of_one_detector_puts_its_error_into_E():
    ds, _, _ = nights(m=12, n=62, nights=1, seed=8)
    spread = fx.solve(ds, gauge="geometric")
    single = fx.solve(ds, gauge=5)
    assert float(single.G_stderr.sel(detector=5)) == pytest.approx(0, abs=1e-12)
    of_five = float((spread.G_stderr / spread.G).sel(detector=5))
    expected = np.hypot(spread.E_stderr / spread.E, of_five)
    np.testing.assert_allclose(single.E_stderr / single.E, expected, rtol=1e-3)


@quiet
def test_floor_of_each_night_is_found():
    rng = np.random.default_rng(9)
    ds, _, _ = nights(m=12, n=62, nights=3, seed=9, floor=0.0)
    true = np.repeat([3e-4, 1e-3, 3e-3], 12)
    ds = ds.assign(background=ds.background * (1 + true * rng.normal(size=ds.background.shape)))
    sol = fx.solve(ds, weights="variance", floor_by="night")
    np.testing.assert_allclose(sol.floor, true, rtol=0.1)
    assert sol.attrs["variance_factor"] == pytest.approx(1, abs=0.02)
    assert "by night, estimated" in sol.attrs["weights"]
    common = fx.solve(ds, weights="variance")
    assert common.attrs["floor"] == pytest.approx(np.sqrt((true**2).mean()), rel=0.1)


@quiet
def test_floor_is_nothing_where_pixels_explain_the_scatter():
    ds, _, _ = nights(m=12, n=62, nights=1, seed=10, floor=0.0)
    sol = fx.solve(ds, weights="variance")
    assert sol.attrs["floor"] < 1e-5
    assert sol.attrs["variance_factor"] == pytest.approx(1, abs=0.15)


@quiet
def test_pulls_are_standard_normal_also_where_cells_are_missing():
    ds, _, _ = nights(m=8, n=62, nights=20, missing=0.25, seed=11)
    sol = fx.solve(ds, by="night", weights="variance")
    pulls = fx.pulls(sol).values
    pulls = pulls[np.isfinite(pulls)]
    assert pulls.size > 7000
    assert pulls.std() == pytest.approx(1, abs=0.02)
    assert stats.kstest(pulls, "norm").pvalue > 1e-3


@quiet
def test_covariance_has_the_errors_of_the_solution_in_any_gauge():
    ds, _, _ = nights(m=6, n=9, nights=1, missing=0.2, seed=12)
    sol = fx.solve(ds, uncertainty="analytic")
    other = fx.solve(ds, uncertainty="analytic", gauge=[2, 3])
    for name in ("G", "E"):
        dim = "detector" if name == "G" else "exposure"
        own = fx.covariance(sol, name)
        moved = fx.covariance(sol, name, gauge=[2, 3])
        assert own.dims == (dim, f"{dim}_2")
        np.testing.assert_allclose(np.sqrt(np.diag(own)), sol[f"{name}_stderr"] / sol[name], rtol=1e-9)
        # shares of named detectors follow G, which differs between the gauges by a factor alone
        np.testing.assert_allclose(np.sqrt(np.diag(moved)), other[f"{name}_stderr"] / other[name], rtol=1e-9)


@quiet
@pytest.mark.slow
def test_errors_of_G_know_that_a_pattern_has_a_mean():
    pulls, residual_pulls = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        ds, g, _ = nights(m=12, n=40, nights=1, floor=1e-3, seed=seed)
        pattern = np.outer(focal_plane(40)[0], 2e-3 * rng.normal(size=12))
        sol = fx.solve(
            ds.assign(background=ds.background * np.exp(pattern)),
            weights="variance",
            gauge="geometric",
            modes=1,
            uncertainty=["jackknife", "analytic"],
        )
        error = np.log(sol.G) - (g - g.mean())
        pulls.append([error / (sol.G_stderr / sol.G), error / (sol.G_stderr_analytic / sol.G)])
        residual_pulls.append(fx.pulls(sol).values)
    jackknife, analytic = np.sqrt(np.mean(np.square(pulls), axis=(0, 2)))
    assert 0.85 < analytic < 1.25
    assert 0.85 < jackknife < 1.35
    assert np.std(residual_pulls) == pytest.approx(1, abs=0.01)


def test_covariance_is_that_of_dense_algebra():
    ds, _, _ = nights(m=5, n=7, nights=1, seed=13)
    sol = fx.solve(ds, weights="variance", gauge=[2, 3], uncertainty="analytic")
    weight = sol.weight.values
    n, m = weight.shape
    design = np.zeros((n * m, n + m))
    design[np.arange(n * m), np.repeat(np.arange(n), m)] = 1
    design[np.arange(n * m), n + np.tile(np.arange(m), n)] = 1
    gradient = np.concatenate([(sol.gauge_weight * sol.G).values, np.zeros(m)])
    bordered = np.block(
        [[design.T @ (weight.ravel()[:, None] * design), gradient[:, None]], [gradient[None], np.zeros((1, 1))]]
    )
    dense = np.linalg.inv(bordered)[: n + m, : n + m] * sol.attrs["variance_factor"]
    np.testing.assert_allclose(fx.covariance(sol, "G"), dense[:n, :n], rtol=1e-7, atol=1e-9 * dense.max())
    np.testing.assert_allclose(fx.covariance(sol, "E"), dense[n:, n:], rtol=1e-7, atol=1e-9 * dense.max())
    assert fx.covariance(sol, "G").attrs["long_name"] == "covariance of ln G"


@quiet
def test_uneven_counts_accuse_nobody(says):
    accused = 0
    for seed in range(12):
        rng = np.random.default_rng(seed)
        levels = np.exp(rng.normal(0, 0.05, (62, 1)) + rng.normal(9, 0.1, 12) + 1e-3 * rng.normal(size=(62, 12)))
        counts = np.full(levels.shape, 250_000)
        counts[:4] *= 4
        ds = fx.make(levels, counts=counts)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            plain = fx.solve(ds)
        accused += "no departure" not in fx.diagnose(plain, permutations=99).attrs["verdict"]
        accused += bool((fx.solve(ds, robust="tukey").rejection > 0).any())
    assert accused <= 1


def test_level_without_scatter_is_no_perfect_one(says):
    ds, _, _ = nights(m=12, n=20, nights=1, floor=0.0, seed=14)
    ds["sigma"][4, 5] = 0.0
    with says("NO_SIGMA 1|G is NaN|carry no weight"):
        sol = fx.solve(ds, weights="variance")
    assert sol.weight[4, 5] == 0
    assert sol.quality[4, 5] & fx.Flag.NO_SIGMA


def test_errors_that_were_not_asked_for_are_told_of():
    ds, _, _ = nights(m=6, n=9, nights=1)
    sol = fx.solve(ds, uncertainty=None)
    with pytest.raises(fx.FlatnormError, match="no standard errors; solve with uncertainty="):
        fx.interval(sol)
    with pytest.raises(fx.FlatnormError, match="were solved together; leave group out"):
        fx.covariance(sol, group="a")


@quiet
def test_bootstrap_does_not_look_at_blocks():
    ds, _, _ = nights(m=8, n=9, nights=1)
    ds = ds.assign_coords(half=("exposure", list("aaaabbbb")))
    sol = fx.solve(ds, uncertainty=["bootstrap", "jackknife"], jackknife_block="half")
    alone = fx.solve(ds, uncertainty="bootstrap")
    np.testing.assert_array_equal(sol.G_stderr, alone.G_stderr)


def test_few_units_cannot_be_searched(says):
    ds, _, _ = nights(m=12, n=3, nights=1)
    with says("fewer than 4 units or 3 exposures: robust= can hardly tell"):
        fx.solve(ds, robust="tukey")
