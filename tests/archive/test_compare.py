"""Two solutions side by side: differences with their sizes and errors, in one gauge."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.trend.compare import MMAG, compare_solutions
from flatnorm_xr.errors import FlatnormError

NIGHT = fx.simulate(n_detectors=9, n_exposures=8, n_amplifiers=4, noise=0, photon_noise=False, seed=1)


def another(ds, *, seed=0, noise=0.0, factor=1.0):
    """The same units on another night."""
    rng = np.random.default_rng(seed)
    E = 2e4 * np.exp(rng.normal(0, 0.05, ds.sizes["exposure"]))
    level = ds.true_G * factor * xr.DataArray(E, dims="exposure") * (1 + noise * rng.normal(size=ds.background.shape))
    return ds.assign(background=level.transpose(*ds.background.dims).assign_attrs(ds.background.attrs))


def changed(ds, **units):
    """Factors that are 1.02 for the units named and 1 for all others."""
    there = xr.ones_like(ds.true_G, dtype=bool)
    for dim, label in units.items():
        there = there & (ds[dim] == label)
    return xr.where(there, 1.02, 1.0)


def test_a_change_is_found_exactly_and_moves_no_other_unit():
    a = fx.solve(another(NIGHT, seed=1, factor=changed(NIGHT, detector=3, amplifier="C01")))
    found = compare_solutions(a, fx.solve(NIGHT))
    expected = changed(NIGHT, detector=3, amplifier="C01")
    np.testing.assert_allclose(found.G_ratio, expected, rtol=1e-10)
    np.testing.assert_allclose(found.level_ratio, expected, rtol=1e-10)
    assert found.attrs["rms"] == pytest.approx(MMAG * np.log(1.02) / np.sqrt(36), rel=1e-6)


def test_the_gauges_of_the_solutions_do_not_matter():
    a, b = another(NIGHT, seed=1, noise=1e-3), another(NIGHT, seed=2, noise=1e-3)
    first = compare_solutions(*(fx.solve(one, uncertainty="analytic") for one in (a, b)))
    other = fx.solve(a, gauge="geometric", uncertainty="analytic"), fx.solve(b, gauge=[4], uncertainty="analytic")
    second = compare_solutions(*other)
    np.testing.assert_allclose(second.G_ratio, first.G_ratio, rtol=1e-10)
    np.testing.assert_allclose(second.G_ratio_stderr, first.G_ratio_stderr, rtol=1e-6)


def test_swapping_the_two_turns_the_ratios_over():
    a, b = (fx.solve(another(NIGHT, seed=seed, noise=1e-3)) for seed in (1, 2))
    there, back = compare_solutions(a, b), compare_solutions(b, a)
    np.testing.assert_allclose(there.G_ratio * back.G_ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(there.level_ratio * back.level_ratio, 1, rtol=1e-12)
    np.testing.assert_allclose(there.p_holm, back.p_holm)


def test_units_that_one_lacks_are_nan_and_the_others_stay():
    a, b = another(NIGHT, seed=1, noise=1e-3), another(NIGHT, seed=2, noise=1e-3)
    whole = compare_solutions(fx.solve(a), fx.solve(b), gauge=[5])
    part = compare_solutions(fx.solve(a.isel(detector=slice(0, 7))), fx.solve(b.isel(detector=slice(3, 9))), gauge=[5])
    assert part.detector.values.tolist() == list(range(1, 10))
    assert part.G_ratio.notnull().all("amplifier").values.tolist() == [False] * 3 + [True] * 4 + [False] * 2
    assert part.p_holm.isnull().sum() == 5 * 4
    np.testing.assert_allclose(part.G_ratio.sel(detector=[4, 5, 6, 7]), whole.G_ratio.sel(detector=[4, 5, 6, 7]), 1e-3)
    for name in ("x", "detector_name", "amplifier_x"):
        assert part[name].equals(NIGHT[name].drop_vars(set(NIGHT[name].coords) - set(part[name].coords))), name


def test_a_named_gauge_holds_its_mean():
    a = another(NIGHT, seed=1, factor=changed(NIGHT, detector=3, amplifier="C01"), noise=1e-3)
    one, other = fx.solve(a), fx.solve(another(NIGHT, seed=2, noise=1e-3))
    found = compare_solutions(one, other, gauge=[3])
    mean_before = other.G.sel(detector=3).mean()
    mean_after = (found.G_ratio * other.G).sel(detector=3).mean()
    assert float(mean_after / mean_before) == pytest.approx(1, abs=1e-12)
    assert "detectors 3" in found.attrs["gauge"]


def test_one_unit_that_is_the_gauge_has_no_error():
    ds = fx.simulate(n_detectors=6, n_exposures=8, seed=3)
    found = compare_solutions(fx.solve(ds), fx.solve(another(ds, seed=4, noise=1e-3)), gauge=2)
    assert float(found.G_ratio.sel(detector=2)) == pytest.approx(1, abs=1e-14)
    assert float(found.G_ratio_stderr.sel(detector=2)) == pytest.approx(0, abs=1e-9)
    assert (found.G_ratio_stderr.drop_sel(detector=2) > 3e-4).all()


# Where the scatter of a unit's eight levels says its error, differences are Student's t of 14 degrees of freedom.
FEW = np.sqrt(14 / 12)


@pytest.mark.parametrize(("uncertainty", "spread"), [("analytic", 1), ("jackknife", FEW)])
def test_nights_without_a_change_differ_as_much_as_the_errors_say(uncertainty, spread):
    significance, level, false = [], [], 0
    for seed in range(12):
        pair = [fx.solve(another(NIGHT, seed=2 * seed + k, noise=1e-3), uncertainty=uncertainty) for k in (0, 1)]
        found = compare_solutions(*pair)
        significance.append(found.significance.values)
        level.append(np.log(found.level_ratio) / (found.level_ratio_stderr / found.level_ratio))
        false += bool((found.p_holm < 0.01).any())
    assert np.std(significance) == pytest.approx(spread, abs=0.12)
    assert np.std(level) == pytest.approx(FEW, abs=0.12)
    assert false <= 1


def test_the_sentence_says_which_and_how_much():
    a = fx.solve(another(NIGHT, seed=1, factor=changed(NIGHT, detector=3, amplifier="C01"), noise=1e-3))
    found = compare_solutions(a, fx.solve(another(NIGHT, seed=2, noise=1e-3)))
    assert found.attrs["sentence"].startswith("1 of 36 amplifiers differs; rms ")
    assert "most certain 3 C01: +21" in found.attrs["sentence"]
    assert np.flatnonzero(found.p_holm < 0.01).tolist() == [9]


def test_solutions_without_errors_have_ratios_alone(says):
    with says("the fit is exact"):
        solution = fx.solve(fx.simulate(n_detectors=5, n_exposures=1, seed=1), uncertainty=None)
    found = compare_solutions(solution, solution)
    assert (found.G_ratio == 1).all()
    assert found.G_ratio_stderr.isnull().all()
    assert found.p_holm.isnull().all()


def two_filters(seed):
    ds = another(NIGHT, seed=seed, noise=1e-3)
    return fx.solve(ds.assign_coords(physical_filter=("exposure", ["g"] * 4 + ["r"] * 4)), by="physical_filter")


def test_a_group_is_picked_by_its_label():
    a, b = two_filters(1), two_filters(2)
    found = compare_solutions(a, b, group="r")
    alone = [fx.solve(another(NIGHT, seed=seed, noise=1e-3).isel(exposure=slice(4, 8))) for seed in (1, 2)]
    np.testing.assert_allclose(found.G_ratio, compare_solutions(*alone).G_ratio, rtol=1e-9)
    assert compare_solutions(a, alone[1], group="g").G_ratio.notnull().all()
    with pytest.raises(FlatnormError, match=r"compare: a was solved in groups .*group= with one of g, r"):
        compare_solutions(a, b)


def test_neither_is_changed():
    pair = [fx.solve(another(NIGHT, seed=seed, noise=1e-3)) for seed in (1, 2)]
    before = [one.copy(deep=True) for one in pair]
    compare_solutions(*pair)
    for one, copy in zip(pair, before, strict=True):
        xr.testing.assert_identical(one, copy)


def test_what_cannot_be_compared_is_named():
    amplifiers, detectors = fx.solve(NIGHT), fx.solve(NIGHT, level="detector")
    with pytest.raises(FlatnormError, match="a is of amplifiers and b of whole detectors"):
        compare_solutions(amplifiers, detectors)
    with pytest.raises(FlatnormError, match="no unit was measured in both"):
        compare_solutions(fx.solve(NIGHT.isel(detector=slice(0, 4))), fx.solve(NIGHT.isel(detector=slice(4, 9))))
    with pytest.raises(FlatnormError, match="gauge names detectors 77, not measured in both"):
        compare_solutions(amplifiers, amplifiers, gauge=[3, 77])
    with pytest.raises(FlatnormError, match="gauge names detectors middle, not measured"):
        compare_solutions(amplifiers, amplifiers, gauge="middle")
    with pytest.raises(FlatnormError, match="compare: "):
        compare_solutions(NIGHT, amplifiers)
