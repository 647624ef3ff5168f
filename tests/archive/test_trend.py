"""G over the years: what was planted is found with its size, error and date, and nothing else is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy.signal import lfilter

from flatnorm_xr.archive.trend.follow import follow
from flatnorm_xr.errors import DisconnectedError, FlatnormError, SchemaError
from flatnorm_xr.simulate.years import simulate_history

START = np.datetime64("2024-01-01", "ns")
YEAR = np.timedelta64(31_557_600_000_000_000, "ns")
NOISE = 1e-3


def history(y, *, years=3.0, stderr=None, **coords):
    """History of ln G, (run, detector[, amplifier])."""
    runs = y.shape[0]
    dims = ("run", "detector", "amplifier")[: y.ndim]
    since = np.linspace(0, years, runs)
    ds = xr.Dataset(
        {"G": (dims, np.exp(y))},
        coords={
            "run": [f"{k:08x}" for k in range(runs)],
            "time": ("run", START + (since * YEAR.astype(float)).astype("m8[ns]")),
            "detector": np.arange(1, y.shape[1] + 1),
        },
    )
    if y.ndim == 3:
        ds = ds.assign_coords(amplifier=[f"C{k:02d}" for k in range(y.shape[2])])
    if stderr is not None:
        ds["G_stderr"] = ds.G * stderr
    return ds.assign_coords({name: ("run", np.asarray(values, dtype=float)) for name, values in coords.items()})


def steady(rng, runs, units, *, noise=NOISE):
    """Levels of units in runs that have gauges of their own."""
    return rng.normal(0, 0.05, units) + noise * rng.normal(size=(runs, units)) + rng.normal(0, 0.1, (runs, 1))


def wandering(rng, runs, units, rho):
    """Noise of unit variance whose neighbours in time are correlated."""
    new = rng.normal(size=(runs + 300, units)) * np.sqrt(1 - rho**2)
    return lfilter([1], [1, -rho], new, axis=0)[300:]


def with_gaps(y, rng, share=0.2):
    return np.where(rng.random(y.shape) < share, np.nan, y)


# exact recovery


@pytest.mark.parametrize("gaps", [0.0, 0.25])
@pytest.mark.parametrize("units", [5, 12])
def test_without_noise_what_was_planted_is_found_exactly(gaps, units):
    rng = np.random.default_rng(1)
    temperature = rng.normal(10, 5, 40)
    y = steady(rng, 40, units, noise=0.0)
    since = np.linspace(0, 3, 40)
    y[:, 1] += 0.01 * since
    y[:, 3] += 2e-4 * temperature
    y[25:, 4] -= 0.02
    measured = with_gaps(y, rng, gaps)
    measured[:3] = y[:3]
    found = follow(history(measured, temperature=temperature), against="temperature")
    expected = np.zeros((3, units))
    expected[0, 1], expected[1, 3] = 0.01, 2e-4
    np.testing.assert_allclose(found.drift, expected[0], atol=1e-9)
    np.testing.assert_allclose(found.response_temperature, expected[1], atol=1e-9)
    assert found.change_detector.values.tolist() == [5]
    np.testing.assert_allclose(found.change_size, -0.02, atol=1e-9)
    there = np.flatnonzero(np.isfinite(measured[:, 4]))
    assert found.change_run.values[0] == f"{there[there >= 25][0]:08x}"
    np.testing.assert_allclose(np.log(found.G / found.model).where(found.G.notnull(), 0), 0, atol=1e-9)
    assert found.change_last_before.values[0] == found.time.values[there[there < 25][-1]]


def test_drifts_of_all_units_are_found_beside_the_typical_one():
    rng = np.random.default_rng(2)
    drift = rng.normal(0.001, 0.01, 9)
    y = steady(rng, 30, 9, noise=0.0) + np.linspace(0, 3, 30)[:, None] * drift
    found = follow(history(with_gaps(y, rng)))
    left = found.drift - drift
    np.testing.assert_allclose(left, left[0], atol=1e-9)
    assert abs(float(left[0] + np.median(drift))) < 0.005
    assert found.sizes["change"] == 0


def test_the_gauge_set_has_a_mean_of_one():
    found = follow(history(steady(np.random.default_rng(3), 20, 7)))
    assert float(found.G.mean()) == pytest.approx(1, abs=1e-12)
    assert found.in_gauge.values.tolist() == [1] * 7
    assert "7 of 7 units" in found.attrs["gauge"]


# invariances


def planted(seed=4, runs=36, units=8):
    rng = np.random.default_rng(seed)
    y = steady(rng, runs, units)
    y[20:, 2] += 0.015
    y[:, 5] += 0.004 * np.linspace(0, 3, runs)
    return with_gaps(y, rng, 0.1)


def test_the_gauge_of_a_run_changes_its_offset_alone():
    y = planted()
    factor = np.random.default_rng(5).normal(0, 1, y.shape[0])
    one, other = follow(history(y)), follow(history(y + factor[:, None]))
    np.testing.assert_allclose(other.gauge_offset - one.gauge_offset, factor, atol=1e-9)
    xr.testing.assert_allclose(other.drop_vars("gauge_offset"), one.drop_vars("gauge_offset"), rtol=1e-6, atol=1e-12)


def test_order_and_labels_of_units_do_not_matter():
    ds = history(planted())
    order = np.random.default_rng(6).permutation(8)
    one, other = follow(ds), follow(ds.isel(detector=order))
    xr.testing.assert_allclose(other.sel(detector=one.detector), one, rtol=1e-8)
    named = follow(ds.assign_coords(detector=[f"R{k}" for k in ds.detector.values]))
    np.testing.assert_array_equal(named.drift, one.drift)
    assert named.change_detector.values.tolist() == ["R3"]


def test_amplifiers_are_units_like_detectors():
    y = planted()
    flat, folded = follow(history(y)), follow(history(y.reshape(-1, 4, 2)))
    np.testing.assert_array_equal(folded.drift.values.ravel(), flat.drift)
    assert folded.change_detector.values.tolist() == [2]
    assert folded.change_amplifier.values.tolist() == ["C00"]
    assert folded.G.dims == ("run", "detector", "amplifier")


def test_time_backwards_turns_signs_over():
    rng = np.random.default_rng(7)
    y = steady(rng, 30, 6)
    y[:, 0] += 0.01 * np.linspace(0, 3, 30)
    one, other = follow(history(y)), follow(history(y[::-1]))
    np.testing.assert_allclose(other.drift, -one.drift, rtol=1e-6, atol=1e-12)


def test_the_input_is_not_changed():
    ds = history(planted(), stderr=1e-3)
    before = ds.copy(deep=True)
    follow(ds)
    xr.testing.assert_identical(ds, before)


# membership


def test_a_unit_that_comes_goes_or_dies_moves_no_other():
    rng = np.random.default_rng(8)
    y = steady(rng, 40, 12, noise=0.0)
    whole = follow(history(y))
    part = y.copy()
    part[30:, 3] = np.nan
    part[:10, 7] = np.nan
    part[:25, 9] = np.nan
    found = follow(history(part))
    ratio = np.log(found.G / whole.G).values
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], ratio[0, 0], atol=1e-12)
    assert found.sizes["change"] == 0
    assert found.in_gauge.values.tolist() == [1] * 9 + [0] + [1] * 2
    assert found.model.isel(detector=9).notnull().sum() == 15
    assert "11 of 12 units" in found.attrs["gauge"]


def test_losing_cells_does_not_move_the_gauge_as_a_mean_of_one_does():
    rng = np.random.default_rng(9)
    y = steady(rng, 20, 12, noise=0.0)
    y[7, np.argmax(y[7])] = np.nan
    y -= np.log(np.nanmean(np.exp(y), axis=1, keepdims=True))
    found = follow(history(y))
    spread = np.log(found.G).std("run", skipna=True)
    assert float(spread.max()) < 1e-12
    assert float(abs(np.log(np.nanmean(np.exp(y - y[0]), axis=1))).max()) > 1e-3


def test_one_jump_in_a_small_camera_is_not_the_opposite_jump_of_all_others():
    for seed in range(5):
        rng = np.random.default_rng(seed)
        y = steady(rng, 40, 5)
        y[18:, 2] += 0.02
        found = follow(history(y))
        assert found.change_detector.values.tolist() == [3]
        np.testing.assert_allclose(found.change_size, 0.02, atol=3 * float(found.change_size_stderr[0]))
        assert (abs(found.drift / found.drift_stderr) < 4).all()


def test_a_jump_of_a_whole_detector_is_one_row_an_amplifier():
    rng = np.random.default_rng(11)
    y = steady(rng, 50, 6 * 8)
    y[30:, 8:16] += 0.01
    found = follow(history(y.reshape(50, 6, 8)))
    assert set(found.change_detector.values) == {2}
    assert sorted(found.change_amplifier.values) == [f"C{k:02d}" for k in range(8)]
    assert set(found.change_run.values) == {f"{30:08x}"}


def test_runs_that_share_no_unit_are_named():
    rng = np.random.default_rng(12)
    y = steady(rng, 10, 8)
    y[:5, 4:] = np.nan
    y[5:, :4] = np.nan
    with pytest.raises(
        DisconnectedError, match=r"follow: runs 0000000[05].* \(\+\d more\)? ?.*measured no unit|follow: runs"
    ):
        follow(history(y))
    lonely = steady(rng, 10, 8)
    lonely[:9, 7] = np.nan
    lonely[9, :7] = np.nan
    with pytest.raises(DisconnectedError, match="runs 00000009 measured no unit"):
        follow(history(lonely))


# named gauges


def test_a_named_gauge_is_one_in_each_run():
    y = planted()
    y[:, 3:5] = np.where(np.isfinite(y[:, 3:5]), y[:, 3:5], -0.1)
    found = follow(history(y, stderr=1e-3), gauge=[4, 5])
    np.testing.assert_allclose(found.G.sel(detector=[4, 5]).mean("detector"), 1, atol=1e-12)
    assert found.in_gauge.values.tolist() == [0, 0, 0, 1, 1, 0, 0, 0]
    one = follow(history(y, stderr=1e-3), gauge=4)
    np.testing.assert_allclose(one.G.sel(detector=4), 1, atol=1e-12)
    np.testing.assert_allclose(one.G_stderr.sel(detector=4), 0, atol=1e-12)
    others = (one.G_stderr / one.G).drop_sel(detector=4).values
    np.testing.assert_allclose(others[np.isfinite(others)], np.sqrt(2) * 1e-3, rtol=1e-9)


def test_an_amplifier_that_dies_leaves_its_detectors_gauge_alone():
    y = steady(np.random.default_rng(13), 20, 12, noise=0.0).reshape(20, 3, 4)
    whole = follow(history(y), gauge=2)
    part = y.copy()
    part[10:, 1, 0] = np.nan
    found = follow(history(part), gauge=2)
    ratio = np.log(found.G / whole.G).values
    np.testing.assert_allclose(ratio[np.isfinite(ratio)], ratio[0, 0, 0], atol=1e-12)
    assert "(equal weights of 3 units)" in found.attrs["gauge"]


def test_a_gauge_that_some_runs_lack_is_refused_by_name():
    y = steady(np.random.default_rng(14), 10, 4)
    y[[3, 6], 1] = np.nan
    with pytest.raises(FlatnormError, match="gauge names detector 2, not measured in runs 00000003, 00000006"):
        follow(history(y), gauge=2)
    with pytest.raises(FlatnormError, match="gauge names detectors 77, which are not there"):
        follow(history(y), gauge=[1, 77])
    with pytest.raises(FlatnormError, match=r"gauge is 3.5; it must be 'common'"):
        follow(history(y), gauge=3.5)


# errors of G


def test_errors_in_the_common_gauge_are_those_of_contrasts():
    y = steady(np.random.default_rng(15), 6, 4)
    y[2, 3] = np.nan
    found = follow(history(y, stderr=2e-3))
    relative = (found.G_stderr / found.G).values
    np.testing.assert_allclose(relative[0], 2e-3 * np.sqrt(3 / 4), rtol=1e-9)
    np.testing.assert_allclose(relative[2, :3], 2e-3 * np.sqrt(2 / 3), rtol=1e-9)
    assert np.isnan(relative[2, 3])
    assert "G_stderr" not in follow(history(y))


def test_errors_from_the_factors_of_a_covariance_are_exact():
    rng = np.random.default_rng(16)
    y = steady(rng, 6, 6)
    own, shared = rng.uniform(1e-6, 4e-6, (6, 6)), 1e-3 * rng.normal(size=(6, 6, 2))
    own[5], shared[5] = np.nan, np.nan
    ds = history(y, stderr=2e-3).assign(
        G_own_variance=(("run", "detector"), own), G_shared=(("run", "detector", "rank"), shared)
    )
    for gauge, share in (("common", np.full(6, 1 / 6)), (3, np.eye(6)[2])):
        found = follow(ds, gauge=gauge)
        for run in range(5):
            covariance = np.diag(own[run]) + shared[run] @ shared[run].T
            contrast = np.eye(6) - share
            expected = np.einsum("ij,jk,ik->i", contrast, covariance, contrast)
            np.testing.assert_allclose((found.G_stderr / found.G)[run] ** 2, expected, rtol=1e-9, atol=1e-20)
        # a run without them has the errors that it states
        contrast = ((np.eye(6) - share) ** 2).sum(axis=1)
        np.testing.assert_allclose((found.G_stderr / found.G)[5], 2e-3 * np.sqrt(contrast), rtol=1e-9)


# sizes, errors and rates


def test_pulls_of_drifts_steps_and_responses_are_normal():
    drifts, steps, responses, right = [], [], [], []
    for seed in range(50):
        rng = np.random.default_rng(seed)
        temperature = rng.normal(10, 5, 60)
        y = steady(rng, 60, 10)
        y[:, 1] += 0.003 * np.linspace(0, 3, 60)
        y[:, 2] += 2e-4 * temperature
        place = int(rng.integers(10, 50))
        y[place:, 3] += 0.008
        found = follow(history(y, temperature=temperature), against=["temperature"])
        truth = np.where(found.detector == 2, 0.003, 0.0)
        drifts.append((found.drift - truth) / found.drift_stderr)
        truth = np.where(found.detector == 3, 2e-4, 0.0)
        responses.append((found.response_temperature - truth) / found.response_temperature_stderr)
        assert found.change_detector.values[0] == 4
        steps.append(float((found.change_size[0] - 0.008) / found.change_size_stderr[0]))
        time = found.time.values[place]
        right.append(found.change_earliest.values[0] < time <= found.change_latest.values[0])
    assert np.std(drifts) == pytest.approx(1, abs=0.1)
    assert np.std(responses) == pytest.approx(1, abs=0.1)
    assert np.std(steps) == pytest.approx(1, abs=0.25)
    assert abs(np.mean(steps)) < 0.4
    assert np.mean(right) >= 0.9


def test_the_time_of_a_faint_change_is_bracketed():
    right, width = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        y = steady(rng, 60, 20)
        place = int(rng.integers(15, 45))
        y[place:, 3] += 0.0025
        found = follow(history(y))
        mine = np.flatnonzero(found.change_detector.values == 4)
        if mine.size:
            low, high = (found[name].values[mine[0]] for name in ("change_earliest", "change_latest"))
            right.append(low < found.time.values[place] <= high)
            width.append((high - low) / YEAR)
    assert len(right) > 30
    assert np.mean(right) >= 0.85
    assert 0.05 < np.median(width) < 1.0


ALPHA = 0.05
NIGHTS = 80


def rates(noise, *, runs=40, units=15):
    """Share of histories with a false change, changes a unit, share with a false drift, spread of drifts."""
    changed, number, drifted, pulls = 0, 0, 0, []
    for seed in range(NIGHTS):
        rng = np.random.default_rng([seed, 17])
        y = steady(rng, runs, units, noise=0.0) + noise(rng, runs, units)
        found = follow(history(y), alpha=ALPHA)
        changed += found.sizes["change"] > 0
        number += found.sizes["change"]
        drifted += bool((found.drift_p_holm < ALPHA).any())
        pulls.append(found.drift / found.drift_stderr)
    return changed / NIGHTS, number / NIGHTS / units, drifted / NIGHTS, float(np.std(pulls))


ALMOST_ALPHA = ALPHA + 3 * np.sqrt(ALPHA * (1 - ALPHA) / NIGHTS)


def test_steady_units_change_and_drift_as_rarely_as_asked():
    changed, _, drifted, spread = rates(lambda rng, runs, units: NOISE * rng.normal(size=(runs, units)))
    assert changed <= ALMOST_ALPHA
    assert drifted <= ALMOST_ALPHA
    assert spread == pytest.approx(1, abs=0.08)


def test_neighbouring_runs_that_are_alike_make_no_false_changes():
    changed, _, drifted, spread = rates(lambda rng, runs, units: NOISE * wandering(rng, runs, units, 0.5))
    assert changed <= ALMOST_ALPHA
    assert drifted <= 2 * ALMOST_ALPHA
    assert spread == pytest.approx(1, abs=0.15)


def test_random_walks_are_not_called_jumps():
    changed, number, _, _ = rates(lambda rng, runs, units: NOISE * rng.normal(size=(runs, units)).cumsum(axis=0))
    assert changed <= 2 * ALMOST_ALPHA
    assert number < 0.01


def test_one_unit_that_wanders_among_steady_ones_is_not_called_a_hundred_jumps():
    rng = np.random.default_rng(18)
    y = steady(rng, 400, 20)
    y[:, 6] += 5e-4 * rng.normal(size=400).cumsum()
    found = follow(history(y))
    assert found.sizes["change"] <= 1
    others = found.noise_factor.drop_sel(detector=7)
    assert float(found.noise_factor.sel(detector=7)) > 4
    assert float(others.median()) == 1
    assert (abs(found.drift / found.drift_stderr).drop_sel(detector=7) < 4.5).all()


def test_a_jump_is_found_in_a_unit_that_wanders():
    rng = np.random.default_rng(19)
    y = steady(rng, 200, 12)
    y[:, 6] += 3e-4 * rng.normal(size=200).cumsum()
    y[120:, 6] += 0.02
    found = follow(history(y))
    assert found.change_detector.values.tolist() == [7]
    assert found.change_run.values.tolist() == [f"{120:08x}"]
    np.testing.assert_allclose(found.change_size, 0.02, atol=3 * float(found.change_size_stderr[0]))


def test_several_changes_of_one_unit_are_told_apart():
    rng = np.random.default_rng(20)
    y = steady(rng, 120, 15)
    for place, size in ((30, 0.01), (60, -0.02), (90, 0.006)):
        y[place:, 4] += size
    found = follow(history(y))
    assert found.change_detector.values.tolist() == [5, 5, 5]
    by_time = found.isel(change=np.argsort(found.change_time.values))
    assert by_time.change_run.values.tolist() == [f"{k:08x}" for k in (30, 60, 90)]
    np.testing.assert_allclose(by_time.change_size, [0.01, -0.02, 0.006], atol=1.5e-3)
    assert (np.diff(found.change_p.values) >= 0).all()
    assert float(found.change_size[0]) == pytest.approx(-0.02, abs=1.5e-3)


def test_a_single_run_that_is_off_is_no_change():
    rng = np.random.default_rng(21)
    y = steady(rng, 50, 10)
    for unit, run in ((2, 0), (3, 1), (4, 20), (5, 48), (6, 49)):
        y[run, unit] += 0.05
    y[30:32, 7] += 0.05
    found = follow(history(y))
    assert found.change_detector.values.tolist() == [8, 8]
    np.testing.assert_allclose(abs(found.change_size), 0.05, atol=3e-3)


def test_a_run_with_large_errors_has_little_to_say():
    rng = np.random.default_rng(22)
    y = steady(rng, 40, 8)
    bad = np.arange(40) % 4 == 0
    y[bad] += 0.01 * rng.normal(size=(10, 8))
    stderr = np.where(bad, 0.01, NOISE)[:, None] * np.ones(8)
    one, other = follow(history(y)), follow(history(y, stderr=stderr))
    assert float((other.drift_stderr / one.drift_stderr).median()) < 0.5
    assert abs(other.drift / other.drift_stderr).max() < 4.5


def test_what_moves_with_temperature_is_told_from_drift():
    rng = np.random.default_rng(23)
    temperature = 10 + 8 * np.sin(2 * np.pi * np.linspace(0, 3, 90)) + rng.normal(0, 2, 90)
    y = steady(rng, 90, 10)
    y[:, 4] += -3e-4 * temperature
    ds = history(y, temperature=temperature)
    ds.temperature.attrs["units"] = "degC"
    found = follow(ds, against="temperature")
    assert np.flatnonzero(found.response_temperature_p_holm < 0.01).tolist() == [4]
    assert float(found.response_temperature[4]) == pytest.approx(
        -3e-4, abs=3 * float(found.response_temperature_stderr[4])
    )
    assert float(found.correlation_temperature[4]) < -0.8
    assert float(abs(found.correlation_temperature).drop_sel(detector=5).max()) < 0.5
    assert found.sizes["change"] == 0
    assert (found.drift_p_holm > 0.01).all()
    assert found.response_temperature.attrs["units"] == "degC-1"
    assert found.attrs["against"] == "temperature"


# few runs, holes, bad input


@pytest.mark.parametrize("runs", [1, 2, 3])
def test_few_runs_have_levels_and_nothing_else(runs):
    found = follow(history(steady(np.random.default_rng(24), runs, 5)))
    assert found.G.notnull().all()
    assert found.drift.isnull().all()
    assert found.drift_p_holm.isnull().all()
    assert found.scatter.isnull().all()
    assert found.model.notnull().all()
    assert found.sizes["change"] == 0
    assert found.change_time.dtype.kind == "M"


def test_one_unit_is_its_own_gauge():
    found = follow(history(steady(np.random.default_rng(25), 8, 1), stderr=1e-3))
    np.testing.assert_allclose(found.G, 1, atol=1e-12)
    np.testing.assert_allclose(found.G_stderr, 0, atol=1e-12)
    assert found.sizes["change"] == 0
    assert not (found.drift_p_holm < 1).any()


def test_a_unit_never_measured_is_nan_throughout():
    y = steady(np.random.default_rng(26), 12, 6)
    y[:, 2] = np.nan
    y[3:, 4] = np.nan
    found = follow(history(y))
    assert found.G.isel(detector=2).isnull().all()
    assert found.model.isel(detector=2).isnull().all()
    for unit in (2, 4):
        for name in ("drift", "drift_stderr", "drift_p_holm", "scatter", "noise_factor"):
            assert np.isnan(found[name][unit]), (name, unit)
    assert found.model.isel(detector=4).notnull().sum() == 3


def test_padding_zeros_and_negative_values_are_not_measured():
    y = steady(np.random.default_rng(27), 12, 6).reshape(12, 3, 2)
    ds = history(y)
    ds = ds.assign_coords(exists=(("detector", "amplifier"), [[True, True], [True, False], [True, True]]))
    ds["G"][4, 0, 0], ds["G"][5, 0, 0] = 0.0, -1.0
    found = follow(ds)
    assert found.G.isel(detector=1, amplifier=1).isnull().all()
    assert np.flatnonzero(found.G.isel(detector=0, amplifier=0).isnull()).tolist() == [4, 5]
    assert found.in_gauge.values.tolist() == [[1, 1], [1, 0], [1, 1]]


def test_runs_without_the_covariate_have_no_part_and_are_named(says):
    rng = np.random.default_rng(28)
    temperature = rng.normal(10, 5, 30)
    temperature[[4, 9]] = np.nan
    y = steady(rng, 30, 6)
    y[4] += 0.05 * rng.normal(size=6)
    with says("follow: temperature is unknown in runs 00000004, 00000009"):
        found = follow(history(y, temperature=temperature), against="temperature")
    assert found.model.isel(run=[4, 9]).isnull().all()
    assert found.G.notnull().all()
    assert float(found.scatter.max()) < 2 * NOISE


def test_a_covariate_that_does_not_vary_tells_nothing():
    y = steady(np.random.default_rng(29), 20, 5)
    found = follow(history(y, temperature=np.full(20, 0.1)), against="temperature")
    assert found.response_temperature.isnull().all()
    assert found.response_temperature_p_holm.isnull().all()
    assert found.drift.notnull().all()
    time = follow(history(y, years=0.0))
    assert time.drift.isnull().all()
    assert time.scatter.notnull().all()


def test_some_units_alone_are_as_among_all():
    ds = history(planted(units=12).reshape(36, 6, 2), stderr=1e-3)
    whole = follow(ds)
    one = follow(ds, units={"detector": 3, "amplifier": "C01"})
    assert one.G.sizes == {"run": 36, "detector": 1, "amplifier": 1}
    same = whole.sel(detector=[3], amplifier=["C01"])
    for name in ("G", "G_stderr", "model", "scatter", "in_gauge"):
        np.testing.assert_allclose(one[name], same[name], rtol=1e-9)
    several = follow(ds, units={"detector": [2, 5]})
    np.testing.assert_allclose(several.drift, whole.drift.sel(detector=[2, 5]), rtol=1e-9)
    assert several.change_detector.values.tolist() == [2]
    with pytest.raises(FlatnormError, match="units names detector 77, not in the history"):
        follow(ds, units={"detector": 77})
    with pytest.raises(FlatnormError, match="units names exposure; a unit has the dims detector, amplifier"):
        follow(ds, units={"exposure": 1})


def test_some_units_of_a_large_table_are_nearly_as_among_all(monkeypatch):
    from flatnorm_xr.archive.trend import common_gauge, fitting

    ds = simulate_history(runs=50, n_detectors=40, n_amplifiers=4, drift=1e-3, jumps=[(3, 4.0, 0.02)], seed=1)
    whole = follow(ds)
    monkeypatch.setattr(fitting, "_SMALL", 10)
    monkeypatch.setattr(common_gauge, "_SMALL", 10)
    one = follow(ds, units={"detector": [3, 8]})
    same = whole.sel(detector=[3, 8])
    # what the typical unit of 160 that drift by 1e-3 does is itself known to 8e-5
    assert float(abs(one.drift - same.drift).max()) < 0.25 * 1e-3 / np.sqrt(160)
    assert float(abs(np.log(one.G / same.G)).max()) < 0.3 * float(same.scatter.min())
    assert sorted(one.change_amplifier.values) == ["C00", "C01", "C02", "C03"]


def test_bad_input_is_named_in_one_line():
    ds = history(planted())
    cases = [
        (SchemaError, "history must be a Dataset with G", ds.drop_vars("G"), {}),
        (SchemaError, r"has the dims \(run, unit\)", ds.rename(detector="unit"), {}),
        (SchemaError, "no run or no unit", ds.isel(run=slice(0, 0)), {}),
        (SchemaError, "runs 00000000 are earlier", ds.isel(run=[3, 0, 5]), {}),
        (SchemaError, "needs a coordinate time", ds.drop_vars("time"), {}),
        (FlatnormError, "against names wind, no numeric coordinate along run; have ", ds, {"against": "wind"}),
        (FlatnormError, "alpha is 2", ds, {"alpha": 2}),
    ]
    for kind, words, data, keywords in cases:
        with pytest.raises(kind, match=words) as caught:
            follow(data, **keywords)
        assert "\n" not in str(caught.value)
    unknown = ds.assign_coords(time=ds.time.where(ds.run != "00000002"))
    with pytest.raises(SchemaError, match="the time of runs 00000002 is unknown"):
        follow(unknown)


def test_ten_years_of_nights_are_as_planted():
    planted_there = {
        "drift": {3: 0.002},
        "response": {4: 2e-4},
        "jumps": [(5, 3.3, 0.004), ((7, "C01"), 6.1, -0.01)],
        "dead": {(9, "C00"): 5.0},
        "replaced": {11: 8.0},
    }
    ds = simulate_history(runs=400, n_detectors=12, n_amplifiers=2, gauge_noise=0.05, seed=6, **planted_there)
    found = follow(ds, against="temperature")
    within = abs(found.drift - 0.002) / found.drift_stderr
    assert (within.sel(detector=3) < 2.5).all()
    within = abs(found.response_temperature - 2e-4) / found.response_temperature_stderr
    assert (within.sel(detector=4) < 2.5).all()
    changed = list(zip(found.change_detector.values.tolist(), found.change_amplifier.values.tolist(), strict=True))
    assert sorted(changed) == [(5, "C00"), (5, "C01"), (7, "C01")]
    for k, (detector, _) in enumerate(changed):
        size, years = (-0.01, 6.1) if detector == 7 else (0.004, 3.3)
        assert abs(found.change_size.values[k] - size) < 2.5 * found.change_size_stderr.values[k]
        time = ds.time.values[0] + (years * YEAR.astype(float)).astype("m8[ns]")
        assert found.change_earliest.values[k] <= time <= found.change_latest.values[k]
    significant = found.drift_p_holm.where(found.drift_p_holm < 0.01).stack(u=("detector", "amplifier")).dropna("u")
    assert set(significant.detector.values) == {3}


def test_the_result_is_a_file_like_others(tmp_path):
    found = follow(history(planted(), stderr=1e-3, temperature=np.arange(36.0)), against="temperature")
    found.to_netcdf(tmp_path / "trend.nc")
    with xr.open_dataset(tmp_path / "trend.nc") as read:
        np.testing.assert_array_equal(read.drift, found.drift)
        np.testing.assert_array_equal(read.change_time, found.change_time)
    quiet = follow(history(steady(np.random.default_rng(30), 10, 4)))
    quiet.to_netcdf(tmp_path / "quiet.nc")


def test_a_large_jump_is_found_at_any_alpha():
    y = steady(np.random.default_rng(31), 60, 10)
    y[30:, 3] += 0.05
    assert follow(history(y), alpha=1e-13).change_detector.values.tolist() == [4]
