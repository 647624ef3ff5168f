"""diagnose: what it answers, in what form, and on what it keeps silent."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr import FlatnormError
from flatnorm_xr.decompose.structure import describe, diagnose
from flatnorm_xr.decompose.structure.verdict import TESTS
from flatnorm_xr.flags import Flag
from flatnorm_xr.simulate.levels import simulate


def solved(ds, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        return fx.solve(ds, **keywords)


def times(ds, factor):
    """Levels multiplied by a factor, which need not have all dims."""
    return ds.assign(background=(ds.background * factor).transpose(*ds.background.dims))


@pytest.fixture(scope="module")
def night():
    return simulate(n_detectors=20, n_exposures=10, seed=5)


@pytest.fixture(scope="module")
def clean(night):
    return diagnose(solved(night))


@pytest.fixture(scope="module")
def jumped(night):
    factor = xr.where((night.detector == 6) & (night.exposure >= 107), 1.01, 1.0)
    return times(night, factor)


def test_a_clean_night_is_given_a_clean_bill(clean):
    assert clean.attrs["verdict"].startswith("no departure from background = G E was found (smallest p 0.")
    assert clean.attrs["causes"] == ""
    assert list(clean.test.values) == list(TESTS)
    assert (clean.cause == 0).all()
    assert (clean.p_left.fillna(-1) == clean.p_value.fillna(-1)).all()
    assert {"leftover_bias", "slope", "jump", "drift", "own_scale"} <= set(clean.data_vars)
    assert clean.gradient_x.dims == ("exposure",)
    assert clean.mode_unit.dims == ("mode", "detector")


def test_it_says_which_tests_could_not_be_made_and_why(clean):
    lamp = clean.sel(test="lamp")
    assert int(lamp.made) == 0
    assert np.isnan(lamp.p_value)
    assert "one lamp only" in str(lamp.sentence.values)
    bare = solved(fx.make(simulate(n_detectors=20, n_exposures=10, seed=5).background.values))
    for test, word in (("plane", "x and y"), ("time", "time"), ("lamp", "lamp")):
        one = diagnose(bare).sel(test=test)
        assert int(one.made) == 0
        assert f"no coordinate{'s' if test == 'plane' else ''} {word}" in str(one.sentence.values)


def test_the_diagnosis_survives_netcdf(jumped, tmp_path):
    diagnosis = diagnose(solved(jumped))
    diagnosis.to_netcdf(tmp_path / "diagnosis.nc")
    with xr.open_dataset(tmp_path / "diagnosis.nc") as again:
        assert describe(again.load()) == describe(diagnosis)
        xr.testing.assert_equal(again.drop_encoding(), diagnosis)


def test_the_solution_is_not_changed_and_the_seed_decides(jumped):
    solution = solved(jumped)
    before = solution.copy(deep=True)
    first, second = diagnose(solution, seed=3), diagnose(solution, seed=3)
    assert solution.identical(before)
    assert first.identical(second)


def test_the_text_has_a_line_for_each_test_and_the_verdict_last(jumped):
    diagnosis = diagnose(solved(jumped))
    text = describe(diagnosis, width=1000).splitlines()
    narrow = describe(diagnosis, width=70).splitlines()
    assert max(map(len, narrow[:-1])) <= 70
    assert " ".join(" ".join(narrow).split()) == " ".join(" ".join(text).split())
    assert text[0] == "20 units x 10 exposures, 200 cells, 171 degrees of freedom"
    assert [line.split()[0] for line in text[3:13]] == list(TESTS)
    assert text[-1].startswith("verdict: jump of the gain of detector 6 (+")
    assert "from exposure 107 on" in text[-1]
    stars = {line.split()[0] for line in text[3:13] if "*" in line.split()[:4]}
    assert "jump" in stars
    assert "plane" not in stars


def test_a_jump_is_measured(jumped):
    one = diagnose(solved(jumped)).sel(detector=6)
    assert str(one.jump_exposure.values) == "107"
    assert abs(float(one.jump) - np.log(1.01)) < 3 * float(one.jump_stderr)
    assert float(one.jump_p_holm) < 1e-4


def test_gradients_are_those_of_the_tilt(night):
    slope = xr.DataArray(1e-4 * np.array([1, -1, 0.5, 1, -0.5, -1, 0.5, -0.5, -1, 1]), dims="exposure")
    diagnosis = diagnose(solved(times(night, 1 + slope * night.x)))
    assert diagnosis.attrs["causes"] == "plane"
    pull = (diagnosis.gradient_x - slope) / diagnosis.gradient_x_stderr
    assert float(abs(pull).max()) < 4
    assert 0.3 < float(pull.std()) < 2


def test_a_rejected_jump_is_still_seen(jumped):
    solution = solved(jumped, robust="tukey")
    assert int(((solution.quality & Flag.GAIN_JUMP) > 0).sum()) > 0
    diagnosis = diagnose(solution)
    assert diagnosis.attrs["causes"] == "jump"
    assert str(diagnosis.jump_exposure.sel(detector=6).values) == "107"


def test_a_rejected_outlier_is_no_bias_and_no_noise(night):
    faintest = night.exposure.values[int(night.true_E.argmin("exposure"))]
    broken = times(night, xr.where((night.detector == 6) & (night.exposure == faintest), 0.7, 1.0))
    assert diagnose(solved(broken)).attrs["causes"] == "scatter"
    assert "nearly all of it in exposure" in diagnose(solved(broken)).attrs["verdict"]
    mended = diagnose(solved(broken, robust="tukey"))
    assert mended.attrs["causes"] == ""
    assert mended.attrs["rejected_cells"] == 1


def test_a_bias_whose_faint_cells_were_rejected_is_still_a_bias():
    ds = simulate(n_detectors=30, n_exposures=12, seed=8)
    level = xr.DataArray(np.geomspace(1e3, 5e4, 12), dims="exposure") / ds.true_E
    ds = times(ds, level)
    ds = ds.assign(background=ds.background + xr.where(ds.detector == 4, 20.0, 0.0))
    flagged = ((ds.detector == 4) & (ds.exposure <= 103)) * np.uint32(Flag.OUTLIER)
    diagnosis = diagnose(solved(ds.assign(quality=flagged.transpose("detector", "exposure").astype("u4"))))
    assert diagnosis.attrs["causes"] == "bias"
    assert abs(float(diagnosis.leftover_bias.sel(detector=4)) - 20) < 3


def test_a_unit_rejected_whole_is_named(night):
    noise = np.exp(0.05 * np.random.default_rng(1).standard_normal(10))
    broken = times(night, xr.where(night.detector == 9, xr.DataArray(noise, dims="exposure"), 1.0))
    solution = solved(broken, robust="tukey")
    assert int(((solution.quality & Flag.REJECTED_UNIT) > 0).sum()) == 10
    assert diagnose(solution).attrs["verdict"].startswith("detector 9 (")


def test_groups_are_judged_together():
    rng = np.random.default_rng(2)
    ds = simulate(n_detectors=30, n_exposures=16, seed=3).assign_coords(filter=("exposure", ["g", "r", "i", "z"] * 4))
    colour = xr.DataArray(np.exp(0.1 * rng.standard_normal((30, 4))), dims=("detector", "band"))
    ds = times(ds, colour.isel(band=xr.DataArray([0, 1, 2, 3] * 4, dims="exposure")))
    apart = diagnose(solved(ds, by="filter"))
    assert apart.attrs["groups"] == 4
    assert apart.attrs["dof"] == 4 * 29 * 3
    assert apart.attrs["causes"] == ""
    assert "in 4 groups solved by themselves" in describe(apart)
    tilt = xr.DataArray(1e-4 * rng.standard_normal(16), dims="exposure")
    assert diagnose(solved(times(ds, 1 + tilt * ds.x), by="filter")).attrs["causes"] == "plane"


def test_groups_of_different_noise_do_not_drown_each_other():
    quiet = simulate(n_detectors=30, n_exposures=12, noise=1e-4, seed=3)
    kind = xr.DataArray(["a", "b"] * 6, dims="exposure")
    noise = xr.DataArray(np.random.default_rng(4).normal(0, 3e-3, (30, 12)), dims=("detector", "exposure"))
    tilt = xr.where(kind == "a", 1e-6, 0.0) * xr.DataArray([1, -1, 0, 0, -1, 1] * 2, dims="exposure") * quiet.x
    ds = times(quiet, 1 + noise.where(kind == "b", 0.0) + tilt).assign_coords(kind=("exposure", kind.values))
    assert diagnose(solved(ds, by="kind")).attrs["causes"] == "plane"


def test_amplifiers_are_units(says):
    ds = simulate(n_detectors=8, n_exposures=8, n_amplifiers=4, seed=2)
    exists = np.ones((8, 4), dtype=bool)
    exists[2, 3] = False
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    ds = ds.assign(background=ds.background.where(ds.exists))
    step = (ds.detector == 5) & (ds.amplifier == "C02") & (ds.exposure >= 105)
    diagnosis = diagnose(solved(times(ds, xr.where(step, 1.01, 1.0))))
    assert diagnosis.own_scale.dims == ("detector", "amplifier")
    assert diagnosis.attrs["units"] == 31
    assert "jump of the gain of amplifier 5/C02" in diagnosis.attrs["verdict"]
    assert bool(diagnosis.leftover_bias.isnull().sel(detector=3, amplifier="C03"))


def test_an_alternation_that_was_stopped_early_is_judged_by_its_levels_alone():
    ds = simulate(n_detectors=12, n_exposures=10, missing=0.5, seed=4)
    exact = diagnose(solved(ds, weights="uniform"))
    rough = diagnose(solved(ds, weights="uniform", method="alternation", iterations=1))
    of_residuals = ["plane", "modes", "jump", "scatter", "time"]
    xr.testing.assert_allclose(exact.p_value.sel(test=of_residuals), rough.p_value.sel(test=of_residuals))


@pytest.mark.parametrize(
    "shape", [(1, 5), (5, 1), (2, 2), (2, 3), (3, 2), (3, 3), (4, 3), (3, 4), (2, 12), (40, 2), (3, 50), (60, 3)]
)
def test_small_tables_are_tested_as_far_as_they_go(shape):
    diagnosis = diagnose(solved(simulate(n_detectors=shape[0], n_exposures=shape[1], seed=1)))
    assert (diagnosis.made == diagnosis.p_value.notnull()).all()
    assert diagnosis.attrs["causes"] == ""
    if min(shape) == 1:
        assert diagnosis.attrs["verdict"].startswith("nothing could be tested: ")


def test_rounding_is_no_structure():
    exact = diagnose(solved(simulate(n_detectors=9, n_exposures=7, noise=0, photon_noise=False, seed=1)))
    assert exact.attrs["verdict"] == "nothing could be tested: the levels are an outer product to rounding"
    assert (exact.made == 0).all()


def test_levels_with_holes_dead_rows_and_no_times():
    ds = simulate(n_detectors=14, n_exposures=9, missing=0.4, seed=6)
    dead = (ds.detector == 3) | (ds.exposure == 104)
    time = ds.time.where(ds.exposure < 105)
    ds = ds.assign(background=ds.background.where(~dead)).assign_coords(time=time, x=ds.x.where(ds.detector > 2))
    diagnosis = diagnose(solved(ds))
    assert diagnosis.attrs["causes"] == ""
    assert bool(diagnosis.own_scale.isnull().sel(detector=3))
    assert bool(diagnosis.gradient_x.isnull().sel(exposure=104))


def test_sets_that_share_no_exposure_are_judged_together():
    ds = simulate(n_detectors=16, n_exposures=12, seed=7)
    apart = (ds.detector < 9) == (ds.exposure < 107)
    diagnosis = diagnose(solved(ds.assign(background=ds.background.where(apart)), on_disconnected="separate"))
    assert diagnosis.attrs["dof"] == 2 * 7 * 5
    assert diagnosis.attrs["causes"] == ""


def test_labels_may_be_words_and_columns_in_any_order(jumped):
    mixed = jumped.isel(exposure=[7, 2, 9, 0, 5, 1, 8, 3, 6, 4]).assign_coords(detector=[f"S{k}" for k in range(20)])
    plain, other = diagnose(solved(jumped)), diagnose(solved(mixed))
    assert str(other.jump_exposure.sel(detector="S5").values) == "107"
    rows = plain.test != "modes"
    np.testing.assert_allclose(other.p_value[rows], plain.p_value[rows], rtol=1e-6)
    np.testing.assert_allclose(other.gradient_y.sortby("exposure"), plain.gradient_y, rtol=1e-6, atol=1e-12)


def test_what_is_no_solution_is_refused(night):
    with pytest.raises(FlatnormError, match="diagnose: the dataset has no E, G, residual, weight, bgModel: it was not"):
        diagnose(night)
    with pytest.raises(FlatnormError, match="diagnose: solution is a DataArray"):
        diagnose(night.background)
    with pytest.raises(FlatnormError, match="describe: diagnosis is not what diagnose returns"):
        describe(night)


@pytest.mark.parametrize(
    ("keyword", "value"),
    [("permutations", 3), ("permutations", 99.5), ("seed", -1), ("alpha", 0.0), ("alpha", 1.5), ("alpha", "much")],
)
def test_keywords_out_of_range_are_refused(night, keyword, value):
    with pytest.raises(FlatnormError, match=f"diagnose: {keyword} is {value!r}; it must be"):
        diagnose(solved(night), **{keyword: value})


def test_what_chance_makes_is_not_called_a_departure():
    """Some clean nights have one p below 0.05; adjusted for ten tests it is nothing, and the sentence says so."""
    told = 0
    for seed in range(12):
        diagnosis = fx.diagnose(fx.solve(fx.simulate(n_detectors=12, n_exposures=10, seed=seed)), permutations=99)
        for one in range(diagnosis.sizes["test"]):
            test = diagnosis.isel(test=one)
            chance = bool(test.p_value < 0.05) and bool(test.p_holm >= 0.05)
            assert ("no more than chance" in str(test.sentence.values)) == chance
            told += chance
    assert told > 0
