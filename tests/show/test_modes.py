"""Modes by property: shares against noise, the pattern on the focal plane, what the diagnosis says of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.decompose.structure.leading_mode import leading_modes, shares_of_noise
from flatnorm_xr.decompose.structure.residual_table import tabulate
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

pytestmark = pytest.mark.usefixtures("figures")


def tilted(ds: xr.Dataset, *, slope: float = 0.01) -> xr.Dataset:
    """A plane in x that differs between exposures: the light moved."""
    amount = xr.DataArray(np.random.default_rng(1).normal(0, 1, ds.sizes["exposure"]), dims="exposure")
    x = ds["amplifier_x"] if "amplifier_x" in ds.coords else ds["x"]
    factor = xr.ufuncs.exp(slope * (x / abs(x).max()).drop_vars(list(x.coords)) * amount)
    return ds.assign(background=(ds.background * factor).transpose(*ds.background.dims))


@pytest.fixture(scope="module")
def solution() -> xr.Dataset:
    with pytest.warns(fx.FlatnormWarning, match="background = G E does not hold"):
        return fx.solve(tilted(simulate(n_detectors=12, n_exposures=10, seed=4)))


@pytest.fixture(scope="module")
def diagnosis(solution: xr.Dataset) -> xr.Dataset:
    return fx.diagnose(solution, permutations=99)


@pytest.fixture(scope="module")
def noise() -> xr.Dataset:
    return fx.solve(simulate(n_detectors=30, n_exposures=12, seed=5))


def test_shares_are_those_of_the_singular_values(solution: xr.Dataset, diagnosis: xr.Dataset) -> None:
    drawn = plots.modes(solution, diagnosis=diagnosis)
    x, y = drawn.shares.get_data()
    np.testing.assert_array_equal(x, np.arange(1, 10))
    assert np.sum(y) == pytest.approx(100)
    np.testing.assert_allclose(np.asarray(y)[:3], 100 * diagnosis.mode_share)
    table = tabulate(solution)
    squares = np.linalg.svd(np.sqrt(table.weight) * table.residual, compute_uv=False) ** 2
    np.testing.assert_allclose(y, 100 * squares[:9] / squares.sum())


def test_labels_and_words(solution: xr.Dataset, diagnosis: xr.Dataset) -> None:
    drawn = plots.modes(solution, diagnosis=diagnosis)
    left, right = drawn.shares.axes, drawn.plane.outlines.axes
    assert (left.get_xlabel(), left.get_ylabel()) == ("mode", "share of the residual variance [%]")
    assert left.get_title() == "leading mode: p < 1e-06"
    assert right.get_title().endswith("% of it is a plane in x and y")
    assert drawn.plane.colorbar is not None
    assert drawn.plane.colorbar.ax.get_ylabel() == "mode 1 [%]"
    texts = [text.get_text() for text in left.get_legend().get_texts()]
    assert texts == ["permuted residuals, 20 times", "their mean", "residuals"]


def test_the_pattern_is_on_the_focal_plane(solution: xr.Dataset, diagnosis: xr.Dataset) -> None:
    for mode in (1, 2):
        values = plots.modes(solution, diagnosis=diagnosis, mode=mode).plane.values
        assert values is not None
        np.testing.assert_allclose(values.get_array(), 100 * diagnosis.mode_unit.sel(mode=mode))


def test_noise_lies_where_noise_does(noise: xr.Dataset) -> None:
    drawn = plots.modes(noise, permutations=99)
    shares = np.asarray(drawn.shares.get_ydata())
    band = drawn.noise.get_paths()[0].vertices
    for mode, share in enumerate(shares, start=1):
        here = band[band[:, 0] == mode, 1]
        assert 0.9 * here.min() < share < 1.1 * here.max()
    assert drawn.plane.outlines.axes.get_title() == ""


def test_shares_of_noise_fall_and_are_seeded(noise: xr.Dataset) -> None:
    table = tabulate(noise)
    shares = shares_of_noise(table, 11, permutations=5, seed=3)
    np.testing.assert_array_equal(shares, shares_of_noise(table, 11, permutations=5, seed=3))
    assert (np.diff(shares, axis=1) <= 0).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-6)
    assert abs(shares[:, 0].mean() / leading_modes(table, 1)[0].share - 1) < 0.3


def test_fitted_modes_are_drawn_as_fitted() -> None:
    fitted = fx.solve(tilted(simulate(n_detectors=12, n_exposures=10, seed=4)), modes=1)
    drawn = plots.modes(fitted, permutations=99)
    assert drawn.plane.values is not None
    np.testing.assert_allclose(drawn.plane.values.get_array(), 100 * fitted.mode_unit.sel(mode=1))
    assert drawn.plane.colorbar is not None
    assert drawn.plane.colorbar.ax.get_ylabel() == "mode 1, as fitted [%]"
    assert drawn.shares.axes.get_title().startswith("leading mode beside those fitted: p = 0.")


def test_units_without_weight_are_grey(says: Callable[..., Any]) -> None:
    ds = simulate(n_detectors=8, n_amplifiers=2, seed=1)
    level = ds.background.copy(deep=True)
    level[2, 1] = np.nan
    with says("no usable level"):
        solution = fx.solve(ds.assign(background=level))
    drawn = plots.modes(solution, permutations=19)
    assert set(drawn.plane.marks) == {"no value (1)"}
    assert drawn.plane.values is not None
    assert len(drawn.plane.values.get_paths()) == 15


def test_groups_are_pooled() -> None:
    ds = simulate(n_detectors=6, seed=1).assign_coords(physical_filter=("exposure", list("ggggrrrr")))
    drawn = plots.modes(fx.solve(ds, by="physical_filter"), permutations=19)
    assert len(drawn.shares.get_xdata()) == 5


def test_axes_are_a_pair_or_one_that_is_divided(solution: xr.Dataset, diagnosis: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    figure, pair = plt.subplots(1, 2)
    drawn = plots.modes(solution, diagnosis=diagnosis, ax=pair)
    assert (drawn.shares.axes, drawn.plane.outlines.axes) == tuple(pair)
    single, ax = plt.subplots()
    drawn = plots.modes(solution, diagnosis=diagnosis, ax=ax)
    assert {drawn.shares.axes, drawn.plane.outlines.axes} == set(ax.child_axes)
    assert plt.get_fignums() == [figure.number, single.number]
    plots.modes(solution, diagnosis=diagnosis, figsize=(7, 3))
    assert tuple(plt.gcf().get_size_inches()) == (7, 3)
    with pytest.raises(fx.FlatnormError, match="ax and figsize are both given"):
        plots.modes(solution, diagnosis=diagnosis, ax=pair, figsize=(7, 3))
    with pytest.raises(fx.FlatnormError, match="ax must be two Axes"):
        plots.modes(solution, diagnosis=diagnosis, ax=[ax])


def test_what_cannot_be_drawn_is_said(solution: xr.Dataset, diagnosis: xr.Dataset, noise: xr.Dataset) -> None:
    def refused(said: str, ds: xr.Dataset, **keywords: Any) -> None:
        with pytest.raises(fx.FlatnormError, match=rf"^plot\.modes: {said}"):
            plots.modes(ds, **keywords)

    refused("the dataset has no residual; solve it first", simulate())
    refused("there is no mode 9; there are 1, 2, 3$", solution, diagnosis=diagnosis, mode=9)
    refused("diagnosis is no diagnosis", solution, diagnosis=solution)
    refused("the diagnosis is of other units than the solution", noise, diagnosis=diagnosis)
    refused("fewer than 3 units or exposures", fx.solve(simulate(n_detectors=2)))


def test_inputs_are_not_changed(solution: xr.Dataset, diagnosis: xr.Dataset) -> None:
    before = solution.copy(deep=True), diagnosis.copy(deep=True)
    plots.modes(solution, diagnosis=diagnosis)
    assert solution.identical(before[0])
    assert diagnosis.identical(before[1])


def test_it_looks_as_it_did(baselines: Any, solution: xr.Dataset, diagnosis: xr.Dataset) -> None:
    left = baselines.axes(rect=(0.1, 0.15, 0.3, 0.7))
    right = left.figure.add_axes((0.5, 0.15, 0.35, 0.7))
    plots.modes(solution, diagnosis=diagnosis, ax=(left, right))
    baselines.check(left.figure, "modes")
