"""Solving: options, weights, groups, levels, what is kept, and every bad keyword."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx

quiet = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


def night(*, shape=(6, 5), missing=0.0, noise=1e-3, seed=0, amplifiers=0):
    """Levels, counts and sigma of a connected night."""
    rng = np.random.default_rng(seed)
    units = (shape[0], amplifiers) if amplifiers else (shape[0],)
    G, E = rng.uniform(0.8, 1.2, units), rng.uniform(1e3, 5e4, shape[1])
    levels = np.multiply.outer(G, E)
    levels *= 1 + noise * rng.normal(size=levels.shape)
    lost = rng.random(levels.shape) < missing
    lost[0], lost[..., 0] = False, False
    levels[lost] = np.nan
    return fx.make(
        levels,
        counts=rng.integers(1_000, 100_000, levels.shape),
        sigma=np.sqrt(np.where(lost, 1.0, levels)),
        coords={
            "detector": [f"S{i}" for i in range(shape[0])],
            "exposure": np.arange(shape[1]) + 100,
            "physical_filter": ["g"] * shape[1],
        },
    )


def least_squares(ds, weight):
    """ln G and ln E by an explicit design matrix, in the gauge sum(ln G) = 0."""
    y = np.log(ds.background.values.reshape(-1, ds.sizes["exposure"]))
    n, m = y.shape
    row, column = np.nonzero(weight.reshape(n, m) > 0)
    design = np.zeros((row.size + 1, n + m))
    root = np.sqrt(weight.reshape(n, m)[row, column])
    design[np.arange(row.size), row] = root
    design[np.arange(row.size), n + column] = root
    design[-1, :n] = 1.0
    right = np.append(root * y[row, column], 0.0)
    solution = np.linalg.lstsq(design, right, rcond=None)[0]
    return solution[:n], solution[n:]


@quiet
@pytest.mark.parametrize("amplifiers", [0, 3])
@pytest.mark.parametrize("weights", ["counts", "uniform", "variance"])
def test_exact_is_weighted_least_squares(weights, amplifiers):
    ds = night(missing=0.3, amplifiers=amplifiers)
    sol = fx.solve(ds, weights=weights, gauge="geometric", floor=1e-3 if weights == "variance" else 0.0)
    expected = {
        "counts": ds.counts,
        "uniform": xr.ones_like(ds.background),
        "variance": 1 / (ds.sigma**2 / (ds.counts * ds.background**2) + 1e-6),
    }[weights]
    weight = expected.where(ds.background > 0, 0.0).values
    np.testing.assert_allclose(sol.weight, weight, rtol=1e-12)
    g, e = least_squares(ds, weight)
    np.testing.assert_allclose(np.log(sol.G).values.ravel(), g, atol=1e-10)
    np.testing.assert_allclose(np.log(sol.E), e, atol=1e-10)


@quiet
def test_given_weights_are_used_and_their_zeros_flagged():
    ds = night()
    given = xr.ones_like(ds.background)
    given[2, 3] = 0.0
    sol = fx.solve(ds, weights=given.isel(detector=slice(None, None, -1)).isel(detector=slice(None, None, -1)))
    assert sol.quality[2, 3] & fx.Flag.ZERO_WEIGHT
    assert sol.weight[2, 3] == 0
    assert np.isfinite(sol.residual[2, 3])
    along_detector = xr.DataArray(np.arange(1.0, 7.0), coords={"detector": ds.detector})
    np.testing.assert_allclose(fx.solve(ds, weights=along_detector).weight[:, 0], along_detector)


@quiet
def test_mean_gauge_is_the_counts_weighted_mean_whatever_the_weights():
    ds = night(missing=0.3)
    for weights in ("counts", "uniform", "variance"):
        sol = fx.solve(ds, weights=weights)
        share = ds.counts.where(sol.weight > 0, 0).sum("exposure")
        assert float((share * sol.G).sum() / share.sum()) == pytest.approx(1.0, rel=1e-12)
        np.testing.assert_allclose(sol.gauge_weight, share / share.sum())


@quiet
@pytest.mark.parametrize(
    ("gauge", "mean"),
    [
        ("geometric", lambda G: np.exp(np.log(G).mean())),
        ("S1", lambda G: G.sel(detector="S1").mean()),
        (["S1", "S4"], lambda G: G.sel(detector=["S1", "S4"]).mean()),
    ],
)
@pytest.mark.parametrize("amplifiers", [0, 2])
def test_gauge_sets_its_mean_to_one(gauge, mean, amplifiers):
    sol = fx.solve(night(missing=0.2, amplifiers=amplifiers), gauge=gauge)
    assert float(mean(sol.G)) == pytest.approx(1.0, rel=1e-12)
    assert float(sol.gauge_weight.sum()) == pytest.approx(1.0)


@quiet
def test_gauge_changes_only_one_factor():
    ds = night(missing=0.3)
    one, other = fx.solve(ds), fx.solve(ds, gauge="S3")
    factor = (other.E / one.E).values
    np.testing.assert_allclose(factor, factor[0], rtol=1e-12)
    xr.testing.assert_allclose(one.bgModel, other.bgModel, rtol=1e-12)


@quiet
@pytest.mark.parametrize("method", ["exact", "alternation"])
@pytest.mark.parametrize("uncertainty", [None, "analytic"])
def test_groups_are_solved_each_by_itself(method, uncertainty):
    ds = night(shape=(5, 8), missing=0.2)
    lamp = np.array(list("babbaabb"))
    ds = ds.assign_coords(lamp=("exposure", lamp))
    sol = fx.solve(ds, by="lamp", method=method, uncertainty=uncertainty)
    assert list(sol.group.values) == ["a", "b"]
    np.testing.assert_array_equal(sol.exposure_group, lamp)
    for label in "ab":
        alone = fx.solve(ds.isel(exposure=lamp == label), method=method, uncertainty=uncertainty)
        chosen = sol.isel(exposure=lamp == label)
        names = ["E", "bgModel", "scales", "residual", "weight"] + (["E_stderr"] if uncertainty else [])
        for name in names:
            xr.testing.assert_allclose(chosen[name].drop_vars("exposure_group"), alone[name], rtol=1e-12)
        for name in ["G", "component", "gauge_weight"] + (["G_stderr"] if uncertainty else []):
            xr.testing.assert_allclose(sol[name].sel(group=label, drop=True), alone[name], rtol=1e-12)
        for name in ("iterations", "converged", "rms_residual", "dof"):
            assert float(sol[name].sel(group=label)) == pytest.approx(alone.attrs[name])
            assert name not in sol.attrs


def test_two_filters_need_groups():
    ds = night().assign_coords(physical_filter=("exposure", list("ggrgr")))
    with pytest.raises(fx.FlatnormError, match=r"2 filters \(g: 3, r: 2\).*by='physical_filter'"):
        fx.solve(ds)
    assert fx.solve(ds, by="physical_filter").sizes["group"] == 2
    ds = ds.assign_coords(lamp=("exposure", list("aaabb")))
    with pytest.raises(fx.FlatnormError, match="in lamp a were taken in 2 filters"):
        fx.solve(ds, by="lamp")


def test_grouping_by_what_is_not_there_or_missing():
    ds = night()
    with pytest.raises(
        fx.FlatnormError, match=r"by is 'colour'; it must be a coordinate along exposure: .*physical_filter"
    ):
        fx.solve(ds, by="colour")
    with pytest.raises(fx.FlatnormError, match="lamp is missing for exposures 101"):
        fx.solve(ds.assign_coords(lamp=("exposure", ["a", "", "a", "b", "b"])), by="lamp")
    with pytest.raises(fx.FlatnormError, match="exposure_time is missing for exposures 104"):
        fx.solve(ds.assign_coords(exposure_time=("exposure", [1.0, 1, 2, 2, np.nan])), by="exposure_time")


@quiet
def test_level_chooses_what_a_unit_is():
    ds = night(amplifiers=2)
    whole = ds.background.mean("amplifier") * 1.01
    ds = ds.assign(detector_background=whole, detector_counts=ds.counts.sum("amplifier"))
    assert fx.solve(ds).G.dims == ("detector", "amplifier")
    sol = fx.solve(ds, level="detector")
    assert "amplifier" not in sol.dims
    assert not any(str(name).startswith("detector_") for name in sol.data_vars)
    np.testing.assert_allclose(sol.background, whole)
    np.testing.assert_allclose(sol.counts, ds.counts.sum("amplifier"))
    xr.testing.assert_identical(fx.solve(sol.drop_vars("G"), level="detector").E, sol.E)
    with pytest.raises(fx.FlatnormError, match="detector_background is absent"):
        fx.solve(ds.drop_vars("detector_background"), level="detector")
    with pytest.raises(fx.FlatnormError, match="no dim amplifier"):
        fx.solve(night(), level="amplifier")


@quiet
def test_separate_components_have_a_gauge_each_and_flags():
    ds = night(shape=(5, 6), noise=0)
    levels = ds.background.values.copy()
    levels[:3, 4:] = np.nan
    levels[3:, :4] = np.nan
    ds = ds.assign(background=(ds.background.dims, levels))
    sol = fx.solve(ds, on_disconnected="separate", gauge="geometric", uncertainty="analytic")
    assert sol.component.values.tolist() == [0, 0, 0, 1, 1]
    np.testing.assert_allclose(np.log(sol.G).groupby(sol.component).mean(), 0, atol=1e-12)
    model = sol.bgModel.where(sol.weight > 0)
    np.testing.assert_allclose(model, levels, rtol=1e-12)
    flagged = (sol.quality & np.uint32(fx.Flag.UNIDENTIFIABLE)) != 0
    np.testing.assert_array_equal(flagged, np.isfinite(levels) & (np.arange(5) > 2)[:, None])
    with pytest.raises(fx.FlatnormError, match="no detector of component 1"):
        fx.solve(ds, on_disconnected="separate", gauge="S0")


@quiet
def test_dask_gives_the_same_numbers():
    ds = night(shape=(7, 9), missing=0.25, amplifiers=3)
    for keywords in ({}, {"method": "alternation"}, {"weights": "variance", "uncertainty": "analytic"}):
        plain = fx.solve(ds, **keywords)
        chunked = fx.solve(ds.chunk(detector=3, exposure=4), **keywords).load()
        for name in plain.data_vars:
            xr.testing.assert_allclose(chunked[name], plain[name], rtol=1e-11)


@quiet
def test_solving_a_solution_again_changes_nothing_but_its_history():
    ds = night(missing=0.2).assign_coords(lamp=("exposure", list("abaab")))
    once = fx.solve(ds, by="lamp", uncertainty="analytic")
    again = fx.solve(once, by="lamp", uncertainty="analytic")
    assert again.attrs.pop("history").count("solve(") == 2
    assert once.attrs.pop("history").count("solve(") == 1
    xr.testing.assert_identical(again, once)
    plain = fx.solve(once, uncertainty=None)
    assert "group" not in plain.dims
    assert "G_stderr" not in plain


@quiet
def test_input_is_not_changed():
    ds = night(missing=0.2)
    before = ds.copy(deep=True)
    fx.solve(ds, weights="variance", uncertainty="analytic")
    xr.testing.assert_identical(ds, before)


def test_a_bare_dataset_without_labels_or_counts_is_enough():
    bare = xr.Dataset({"background": (("exposure", "detector"), [[1.0, 2.0], [3.0, 6.0], [2.0, 4.0]])})
    sol = fx.solve(bare)
    assert sol.G.dims == ("detector",)
    np.testing.assert_allclose(sol.G, [2 / 3, 4 / 3])
    assert sol.attrs["weights"] == "counts (absent: 1 for each measured cell)"
    assert sol.E.attrs["units"] == "adu"


def test_attributes_tell_what_was_done():
    sol = fx.solve(night(), weights="variance", floor=2e-3, gauge=["S1", "S2"])
    assert sol.attrs["weights"] == "variance (floor 0.002)"
    assert sol.attrs["gauge"] == "mean of G over detectors S1, S2 is 1 (equal weights)"
    assert json.loads(sol.attrs["configuration"])["gauge"] == ["S1", "S2"]
    assert all(isinstance(value, str | int | float) for value in sol.attrs.values())
    assert sol.attrs["dof"] == 30 - 6 - 5 + 1
    r, w = sol.residual, sol.weight
    assert sol.attrs["rms_residual"] == pytest.approx(float(np.sqrt((w * r**2).sum() / w.sum())), rel=1e-12)


def test_residual_is_kept_for_cells_that_carry_no_weight():
    ds = night()
    ds["counts"] = ds.counts.where(ds.detector != "S2", 0)
    ds["counts"] = ds.counts.where((ds.detector != "S1") | (ds.exposure != 101))
    with pytest.warns(fx.FlatnormWarning) as caught:
        sol = fx.solve(ds)
    assert any("NO_COUNTS 6" in str(w.message) for w in caught)
    assert np.isfinite(sol.residual.sel(detector="S1", exposure=101))
    assert np.isnan(sol.G.sel(detector="S2"))


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (1, 1)])
@pytest.mark.parametrize("uncertainty", [None, "analytic"])
def test_one_exposure_or_one_detector_is_solved_with_a_warning(shape, uncertainty, says):
    ds = night(shape=shape)
    with says("nothing can be checked"):
        sol = fx.solve(ds, uncertainty=uncertainty)
    np.testing.assert_allclose(sol.bgModel, ds.background, rtol=1e-12)
    if uncertainty:
        assert np.isnan(sol.E_stderr).all()


def test_unfinished_alternation_says_so():
    levels = np.full((8, 8), np.nan)
    for i in range(8):
        levels[i, i : i + 2] = 1000.0 + 100 * i
    with pytest.warns(fx.FlatnormWarning) as caught:
        sol = fx.solve(fx.make(levels), method="alternation")
    assert any("the alternation still moves G" in str(w.message) for w in caught)
    assert sol.attrs["converged"] == 0


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"method": "svd"}, "method is 'svd'; it must be 'exact' or 'alternation'"),
        ({"weights": "flux"}, "weights is 'flux'"),
        ({"level": "chip"}, "level is 'chip'"),
        ({"uncertainty": "guess"}, "uncertainty is 'guess'"),
        ({"on_disconnected": "ignore"}, "on_disconnected is 'ignore'"),
        ({"iterations": 0, "method": "alternation"}, "iterations is 0"),
        ({"tolerance": -1}, "tolerance is -1"),
        ({"floor": float("nan")}, "floor is nan"),
        ({"gauge": "S9"}, "gauge names detectors S9, which are not there; have S0, S1"),
        ({"gauge": []}, "gauge names detectors"),
        ({"weights": xr.DataArray([1.0, 2.0], dims="colour")}, "weights has dims colour"),
        ({"weights": np.ones((6, 5))}, "weights is a ndarray; it must be a name or a DataArray"),
        ({"weights": None}, "weights is a NoneType"),
        ({"gauge": None}, "gauge is None; it must be"),
        ({"gauge": 1.0}, "gauge is 1.0; it must be"),
        ({"floor": None}, "floor is None"),
        ({"floor": "guess"}, "floor is 'guess'; it must be a number from 0 to below 1, or 'estimate'"),
        ({"floor": 1e-3, "floor_by": "exposure"}, "floor_by needs floor='estimate'"),
        ({"floor_by": "exposure"}, "only weights='variance' have a floor"),
        ({"robust": True}, "robust is True; it must be None or 'tukey' or 'huber'"),
        ({"uncertainty": "guess"}, "uncertainty is 'guess'; it must be one of 'auto', 'none', 'analytic'"),
        ({"uncertainty": ["analytic", "analytic"]}, "or two different of the last three"),
        ({"model": "linear"}, "model is 'linear'; it must be 'log' or 'log-link'"),
        ({"replicates": 10**8}, "more than 10000 tell no more"),
        ({"uncertainty": [["jackknife"]]}, "or two different of the last three"),
        ({"floor": 1e-3, "weights": "counts"}, "only weights='variance' have a floor"),
        ({"jackknife_block": "exposure", "uncertainty": "analytic"}, "no jackknife was asked for"),
        ({"replicates": 1}, "replicates is 1; it must be a whole number, at least 2"),
        ({"jackknife_block": "moon"}, "jackknife_block is 'moon'; it must be a coordinate along exposure"),
        ({"iterations": "10"}, "iterations is '10'"),
        ({"floor": 1e200}, "floor is 1e[+]200; it must be a number from 0 to below 1"),
    ],
)
def test_bad_keywords(keywords, message):
    with pytest.raises(fx.FlatnormError, match=message) as caught:
        fx.solve(night(), **keywords)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, -1.0, np.inf])
def test_bad_given_weights(value):
    ds = night()
    given = xr.ones_like(ds.background)
    given[1, 2] = value
    with pytest.raises(fx.FlatnormError, match=r"weights is NaN, infinite or negative at \('S1', 102\)"):
        fx.solve(ds, weights=given)


def test_variance_weights_need_sigma(says):
    with pytest.raises(fx.FlatnormError, match="needs the variable sigma"):
        fx.solve(night().drop_vars("sigma"), weights="variance")
    ds = night()
    ds["sigma"] = ds.sigma.where(ds.exposure != 102, 0.0)
    with says("NO_SIGMA 6"):
        sol = fx.solve(ds, weights="variance", floor=0.0)
    assert np.isnan(sol.E.sel(exposure=102))
    assert np.isfinite(fx.solve(ds, weights="variance", floor=1e-3).E).all()


@pytest.mark.parametrize("value", [np.nan, 0.0, -1.0, np.inf])
def test_nothing_usable(value):
    with pytest.raises(fx.FlatnormError, match="none of the 6 cells can be used"):
        fx.solve(fx.make(np.full((2, 3), value)))


def test_flags_of_the_measurement_take_weight_away_and_survive(says):
    ds = night()
    quality = xr.zeros_like(ds.background, dtype="u4")
    quality[0, 0] = fx.Flag.SATURATED
    quality[1, 1] = fx.Flag.LOW_SIGNAL
    with says("SATURATED 1"):
        sol = fx.solve(ds.assign(quality=quality))
    assert sol.weight[0, 0] == 0
    assert sol.quality[0, 0] == fx.Flag.SATURATED
    assert sol.weight[1, 1] > 0
    assert sol.quality[1, 1] == 0


def test_low_signal_warns_and_keeps_its_weight(says):
    ds = night()
    ds["sigma"] = ds.sigma.where(ds.detector != "S1", ds.background * np.sqrt(ds.counts) / 20)
    with says("LOW_SIGNAL"):
        sol = fx.solve(ds)
    assert (sol.weight.sel(detector="S1") > 0).all()


def test_dark_unit_that_is_all_noise_does_not_move_the_others(says):
    ds = night(noise=0)
    dark = ds.copy(deep=True)
    dark.background[2] = [0.02, 0.05, -0.03, 0.01, 0.04]
    dark.counts[2] = 10_000
    dark.sigma[2] = 3.0
    with says("NON_POSITIVE 1, NO_SIGNAL 4", "no usable level of S2"):
        sol = fx.solve(dark, gauge=["S0", "S1"])
    np.testing.assert_allclose(sol.E, fx.solve(ds, gauge=["S0", "S1"]).E, rtol=1e-12)


@pytest.mark.parametrize("with_sigma", [True, False])
def test_exposure_with_the_lamp_off_is_dark_even_where_a_bias_is_left_over(says, with_sigma):
    ds = night(noise=0)
    dark = ds.copy(deep=True)
    dark.background[:, 1] = [-0.5, 1.2, -0.1, -0.3, 0.8, -0.2]
    dark.sigma[:, 1] = 3.0
    if not with_sigma:
        dark = dark.drop_vars(["sigma", "counts"])
        ds = ds.drop_vars(["sigma", "counts"])
    with says("NON_POSITIVE 4, NO_SIGNAL 2", "no usable level in exposures 101"):
        sol = fx.solve(dark, gauge="S0", uncertainty=None)
    assert np.isnan(sol.E.sel(exposure=101))
    expected = fx.solve(ds, gauge="S0", uncertainty=None)
    np.testing.assert_allclose(sol.G, expected.G, rtol=1e-12)


@quiet
def test_faint_unit_is_not_biased_by_dropping_its_faint_cells():
    signal_to_noise, found = 6.0, []
    for seed in range(60):
        ds = night(shape=(6, 8), noise=0, seed=seed)
        ds["counts"] = xr.full_like(ds.counts, 10_000)
        ds["sigma"] = xr.full_like(ds.background, 1.0)
        noise = 0.01 * np.random.default_rng(seed).normal(size=8)
        ds.background[2] = signal_to_noise * 0.01 + noise
        sol = fx.solve(ds, gauge="S0", weights="uniform")
        found.append(float(np.log(sol.G[2]) + np.log(sol.E).mean() - np.log(signal_to_noise * 0.01)))
    assert np.isfinite(found).sum() > 50
    assert np.nanmean(found) == pytest.approx(-0.5 / signal_to_noise**2, abs=0.02)


def test_missing_floor_is_told(says):
    ds = night(noise=1e-2)
    with says(r"scatter .* times more than sigma, counts and floor say.*leave floor out"):
        fx.solve(ds, weights="variance", floor=0.0)
    assert fx.solve(ds, weights="variance").attrs["floor"] == pytest.approx(1e-2, rel=0.4)


@quiet
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f2"])
def test_levels_of_any_number_type_are_solved_in_double_precision(dtype):
    levels = np.multiply.outer([0.9, 1.0, 1.1], [2e4, 3e4, 5.5e4 if dtype != "f2" else 1e4, 5e4])
    bare = xr.Dataset({name: (("detector", "exposure"), levels.astype(dtype)) for name in ("background", "sigma")})
    sol = fx.solve(bare, weights="variance", floor=1e-3)
    np.testing.assert_allclose(sol.bgModel, levels, rtol=1e-9 if dtype[0] in "ui" else 2e-3)


@quiet
def test_flags_that_a_user_sets_hold():
    ds = night(noise=0)
    quality = xr.zeros_like(ds.background, dtype="u4")
    quality[0, 0], quality[:, 3] = fx.Flag.OUTLIER, fx.Flag.REJECTED_EXPOSURE
    ds.background[0, 0] *= 5
    sol = fx.solve(ds.assign(quality=quality))
    assert sol.weight[0, 0] == 0
    assert np.isnan(sol.E[3])
    xr.testing.assert_equal(sol.quality, quality)


@pytest.mark.parametrize("big", [1e6, 1e12, 1e14])
def test_small_weights_keep_their_say_beside_large_ones(big):
    levels = np.array([[100.0, 200.0, np.nan], [np.nan, 220.0, 440.0]])
    weights = xr.DataArray([[big, 1, 0], [0, 1, big]], dims=("detector", "exposure"))
    weights = weights.assign_coords(detector=[0, 1], exposure=[0, 1, 2])
    with pytest.warns(fx.FlatnormWarning):
        sol = fx.solve(fx.make(levels), weights=weights)
    assert float(sol.G[1] / sol.G[0]) == pytest.approx(1.1, rel=1e-12)


def test_grouping_by_values_without_order_or_beside_a_group_of_ones_own():
    ds = night()
    mixed = ds.assign_coords(lamp=("exposure", np.array(["a", 1, "a", 1, "a"], dtype=object)))
    with pytest.raises(fx.FlatnormError, match="lamp mixes kinds of values"):
        fx.solve(mixed, by="lamp")
    lined = ds.assign_coords(lamp=("exposure", ["p\nq", "r", "r", "r", "r"]))
    lined.background[1:, 0] = np.nan
    lined.background[0, 0] = -1
    with pytest.raises(fx.FlatnormError) as caught:
        fx.solve(lined.assign_coords(physical_filter=("exposure", ["g\nh", "g", "r", "g", "g"])), by="lamp")
    assert "\n" not in str(caught.value)
