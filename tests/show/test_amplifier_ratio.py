"""Ratios of amplifiers beside header gains: on the line where gains are right, named where they are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

pytestmark = pytest.mark.usefixtures("figures")


def with_gains(ds: xr.Dataset, *, error: float = 0.0, **wrong: float) -> xr.Dataset:
    """Gains that are all of the difference between amplifiers, but for a scatter and some that are wrong."""
    of_detector = np.exp(np.log(ds.true_G.values).mean(axis=1, keepdims=True))
    scatter = np.exp(np.random.default_rng(5).normal(0, error, ds.true_G.shape))
    gain = 1.5 * of_detector / ds.true_G.values * scatter
    gain = gain * 10 ** np.arange(len(gain))[:, None]
    for place, factor in wrong.items():
        _, detector, amplifier = place.split("_")
        gain[int(detector), int(amplifier)] *= factor
    return ds.assign_coords(gain=(("detector", "amplifier"), gain))


@pytest.fixture(scope="module")
def levels() -> xr.Dataset:
    return simulate(n_detectors=6, n_amplifiers=4, noise=1e-4, seed=2)


def drawn_at(drawn: plots.AmplifierRatio, group: int = 0) -> tuple[Any, Any]:
    line = drawn.points[group].lines[0]
    assert line is not None
    return line.get_data()


def test_right_gains_lie_on_the_line(levels: xr.Dataset) -> None:
    solution = fx.solve(with_gains(levels))
    drawn = plots.amplifier_ratio(solution)
    x, y = drawn_at(drawn)
    assert len(x) == 24
    np.testing.assert_allclose(x, y, rtol=1e-3)
    np.testing.assert_allclose(y, fx.hierarchy(solution).amplifier_ratio.values.ravel())
    assert (drawn.departing, drawn.note) == ({}, "")
    assert drawn.expected.get_slope() == 1
    assert drawn.expected.get_xy1() == (1, 1)


def test_error_bars_are_those_of_the_hierarchy(levels: xr.Dataset) -> None:
    solution = fx.solve(with_gains(levels))
    (bars,) = plots.amplifier_ratio(solution).points[0].lines[2]
    heights = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
    np.testing.assert_allclose(heights, fx.hierarchy(solution).amplifier_ratio_stderr.values.ravel(), rtol=1e-6)


def test_a_wrong_gain_is_named_and_no_other(levels: xr.Dataset) -> None:
    drawn = plots.amplifier_ratio(fx.solve(with_gains(levels, error=1e-3, at_2_1=1.1, at_4_3=0.95)))
    first, second = drawn.departing
    assert first.startswith("1: 3 C01: +10 %, ")
    assert second.startswith("2: 5 C03: -5 %, ")
    legend = drawn.expected.axes.get_legend()
    assert {text.get_text() for text in legend.get_texts()} == {"1:1", first, second}
    x, y = drawn_at(drawn)
    np.testing.assert_allclose(drawn.departing[first].get_xydata(), [[x[9], y[9]]])
    assert len(plots.amplifier_ratio(fx.solve(with_gains(levels, at_2_1=1.1, at_4_3=0.95)), named=1).departing) == 1


def test_amplifiers_without_a_gain_are_counted(levels: xr.Dataset) -> None:
    ds = with_gains(levels)
    gain = ds.gain.values.copy()
    gain[0, 0], gain[1, 2], gain[2, :3] = np.nan, 0.0, -1.0
    drawn = plots.amplifier_ratio(fx.solve(ds.assign_coords(gain=(("detector", "amplifier"), gain))))
    assert drawn.note == (
        "5 of 24 amplifiers without a gain in the header; 1 has a gain, but no level or no other amplifier beside it"
    )
    x, y = drawn_at(drawn)
    assert len(x) == 18
    np.testing.assert_allclose(x, y, rtol=1e-3)
    assert drawn.note[:30] in drawn.expected.axes.get_xlabel().replace("\n", " ")


def test_gains_that_are_all_equal_are_no_gains(levels: xr.Dataset) -> None:
    drawn = plots.amplifier_ratio(fx.solve(levels))
    assert drawn.note == "all header gains are 1.5 electron/adu: perhaps a placeholder, so nothing is compared"
    axes = drawn.expected.axes
    assert axes.get_xlabel().startswith("detector, its amplifiers side by side")
    x, _ = drawn_at(drawn)
    np.testing.assert_array_equal(np.round(x), np.repeat(np.arange(6), 4))
    alike = levels.assign_coords(gain=(("detector", "amplifier"), np.repeat(1 + 0.1 * np.arange(6), 4).reshape(6, 4)))
    said = "header gains are alike in a detector: perhaps a placeholder, so nothing is compared"
    assert plots.amplifier_ratio(fx.solve(alike)).note == said


def test_levels_in_electron_have_the_gain_in_them(levels: xr.Dataset) -> None:
    ds = with_gains(levels, error=0.01)
    level = (ds.background * ds.gain).drop_attrs()
    in_electron = fx.make(level.values, units="electron", coords={"gain": ds.gain.values})
    drawn = plots.amplifier_ratio(fx.solve(in_electron))
    axes = drawn.expected.axes
    assert "electron" in axes.get_ylabel()
    np.testing.assert_array_equal(drawn.expected.get_ydata(), [1, 1])


def test_padding_and_dead_amplifiers_are_left_out(levels: xr.Dataset, says: Any) -> None:
    ds = with_gains(levels)
    exists = np.ones((6, 4), dtype=bool)
    exists[5, 2:] = False
    level = ds.background.where(xr.DataArray(exists, dims=("detector", "amplifier")))
    level[1, 1] = np.nan
    ds = ds.assign(background=level).assign_coords(exists=(("detector", "amplifier"), exists))
    with says("no usable level"):
        solution = fx.solve(ds)
    drawn = plots.amplifier_ratio(solution)
    x, y = drawn_at(drawn)
    assert len(x) == 21
    np.testing.assert_allclose(x, y, rtol=1e-3)
    assert drawn.note == "1 has a gain, but no level or no other amplifier beside it"


def test_groups_have_a_look_each(levels: xr.Dataset) -> None:
    ds = with_gains(levels).assign_coords(physical_filter=("exposure", list("ggggrrrr")))
    solution = fx.solve(ds, by="physical_filter")
    drawn = plots.amplifier_ratio(solution)
    assert [text.get_text() for text in drawn.expected.axes.get_legend().get_texts()] == ["1:1", "g", "r"]
    one = plots.amplifier_ratio(solution, group="r")
    np.testing.assert_array_equal(drawn_at(one), drawn_at(drawn, 1))
    with pytest.raises(fx.FlatnormError, match=r"^plot\.amplifier_ratio: there is no group 'z'; there are g, r$"):
        plots.amplifier_ratio(solution, group="z")


@pytest.mark.parametrize("gain", [None, np.nan, 0.0])
def test_without_gains_it_says_what_to_do(levels: xr.Dataset, gain: float | None) -> None:
    ds = levels.drop_vars("gain")
    if gain is not None:
        ds = ds.assign_coords(gain=(("detector", "amplifier"), np.full((6, 4), gain)))
    said = r"^plot\.amplifier_ratio: no detector has two amplifiers with a level and a gain; .*assign_coords\(gain="
    with pytest.raises(fx.FlatnormError, match=said):
        plots.amplifier_ratio(fx.solve(ds))


def test_unsolved_and_without_amplifiers() -> None:
    with pytest.raises(fx.FlatnormError, match=r"^plot\.amplifier_ratio: the dataset has no G; solve it first"):
        plots.amplifier_ratio(simulate(n_amplifiers=2))
    with pytest.raises(fx.FlatnormError, match=r"^plot\.amplifier_ratio: the solution has no amplifiers"):
        plots.amplifier_ratio(fx.solve(simulate()))


def test_inputs_are_not_changed(levels: xr.Dataset) -> None:
    solution = fx.solve(with_gains(levels))
    before = solution.copy(deep=True)
    plots.amplifier_ratio(solution)
    assert solution.identical(before)


def test_it_looks_as_it_did(baselines: Any, levels: xr.Dataset) -> None:
    ax = baselines.axes()
    plots.amplifier_ratio(fx.solve(with_gains(levels, error=5e-3, at_2_1=1.1)), ax=ax)
    baselines.check(ax.figure, "amplifier_ratio")
