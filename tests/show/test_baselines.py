"""A few pictures compared with stored images, which see what no property says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.flags import Flag
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate


def faulty() -> xr.Dataset:
    """Twelve detectors of eight exposures: one dead, one exposure saturated, single levels bad."""
    ds = simulate(seed=1)
    level = ds.background.copy(deep=True)
    level[2], level[5, 1], level[9, 5], level[7, 5:] = float("nan"), -5, float("inf"), level[7, 5:] * 1.02
    quality = xr.zeros_like(level, dtype="u4")
    quality[:, 3] = int(Flag.SATURATED)
    return ds.assign(background=level, quality=quality)


@pytest.fixture
def rejected(says: Callable[..., Any]) -> xr.Dataset:
    with says("no usable level of 3"):
        return fx.solve(faulty(), robust="tukey", weights="variance")


@pytest.fixture
def grouped() -> xr.Dataset:
    ds = simulate(n_exposures=12, seed=1).assign_coords(physical_filter=("exposure", list("gggrrriiigri")))
    return fx.solve(ds, by="physical_filter", uncertainty="analytic")


def test_background_with_faults(baselines: Any) -> None:
    ax = baselines.axes()
    plots.background(faulty(), ax=ax)
    baselines.check(ax.figure, "background")


def test_residual_with_rejections(baselines: Any, rejected: xr.Dataset) -> None:
    ax = baselines.axes()
    plots.residual(rejected, ax=ax)
    baselines.check(ax.figure, "residual")


def test_E_grouped_against_time(baselines: Any, grouped: xr.Dataset) -> None:
    ax = baselines.axes()
    plots.E(grouped, ax=ax)
    baselines.check(ax.figure, "E_grouped")


def test_pulls(baselines: Any, rejected: xr.Dataset) -> None:
    ax = baselines.axes()
    plots.pulls(rejected, ax=ax)
    baselines.check(ax.figure, "pulls")


def test_residual_vs_level(baselines: Any, rejected: xr.Dataset) -> None:
    ax = baselines.axes()
    plots.residual_vs_level(rejected, ax=ax)
    baselines.check(ax.figure, "residual_vs_level")


@pytest.mark.parametrize("name", ["background", "residual", "E_grouped", "pulls", "residual_vs_level"])
def test_a_missing_mark_is_seen(baselines: Any, rejected: xr.Dataset, grouped: xr.Dataset, name: str) -> None:
    ax = baselines.axes()
    if name == "E_grouped":
        drawn = plots.E(grouped, ax=ax)
        x, y = drawn.points[0].lines[0].get_data()
        drawn.points[0].lines[0].set_data(x[1:], y[1:])
    elif name == "pulls":
        outline = plots.pulls(rejected, ax=ax).left_out
        assert outline is not None
        outline.remove()
    elif name == "residual_vs_level":
        departing = next(iter(plots.residual_vs_level(rejected, ax=ax).points.values()))
        departing.remove()
    else:
        matrix = plots.background(faulty(), ax=ax) if name == "background" else plots.residual(rejected, ax=ax)
        matrix.marks["non positive (1)"].remove()
    assert baselines.difference(ax.figure, name) > baselines.tolerance


def test_stored_pictures_are_few_and_small() -> None:
    stored = list((Path(__file__).parent / "baselines").glob("*"))
    assert {path.suffix for path in stored} == {".png"}
    assert len(stored) <= 8
    assert all(path.stat().st_size < 40_000 for path in stored)
