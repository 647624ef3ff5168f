"""E against time, order, and any coordinate of the exposures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

pytestmark = pytest.mark.usefixtures("figures")

LAMPS = ["red", "white", "red", "", "LED 740 nm", "white", "red", "white"]
SECONDS = [5.0, 10.0, 20.0, 5.0, np.nan, 20.0, 400.0, 5.0]


@pytest.fixture
def solution() -> xr.Dataset:
    ds = simulate(seed=1)
    coords = {"lamp": LAMPS, "exposure_time": SECONDS, "night": [20250314] * 4 + [20250315] * 4, "sky": range(8)}
    return fx.solve(ds.assign_coords({k: ("exposure", v, ds[k].attrs if k in ds else {}) for k, v in coords.items()}))


def placed(drawn: plots.Points) -> dict[float, float]:
    """E by its place along x."""
    return {
        x: y
        for container in drawn.points
        for x, y in zip(*container.lines[0].get_data(), strict=True)
        if np.isfinite(y)
    }


def legend(drawn: plots.Points) -> list[str]:
    found = drawn.points[0].lines[0].axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def test_numbers_lie_on_an_axis_with_units(solution: xr.Dataset) -> None:
    drawn = plots.E(solution, against="exposure_time")
    ax = drawn.points[0].lines[0].axes
    x, y = drawn.points[0].lines[0].get_data()
    known = np.isfinite(SECONDS)
    np.testing.assert_array_equal(x, np.array(SECONDS)[known])
    np.testing.assert_array_equal(y, solution.E[known])
    assert ax.get_xlabel() == "exposure time [s]"
    assert ax.get_xscale() == "log"


def test_texts_have_a_place_each_where_no_two_points_coincide(solution: xr.Dataset) -> None:
    drawn = plots.E(solution, against="lamp")
    ax = drawn.points[0].lines[0].axes
    names = [tick.get_text() for tick in ax.get_xticklabels()]
    assert names == ["red", "white", "LED 740 nm"]
    places = placed(drawn)
    assert len(places) == 7
    for x, level in places.items():
        lamp = LAMPS[int(np.argmin(abs(solution.E.values - level)))]
        assert names[round(x)] == lamp
    within = [x for x in places if round(x) == 0]
    assert [places[x] for x in sorted(within)] == [solution.E.values[i] for i in (0, 2, 6)]
    assert "calibration lamp" in ax.get_xlabel()


@pytest.mark.parametrize(("against", "missing"), [("lamp", 3), ("exposure_time", 4)])
def test_exposures_without_the_coordinate_stand_at_the_edge(solution: xr.Dataset, against: str, missing: int) -> None:
    drawn = plots.E(solution, against=against)
    assert drawn.unplaced is not None
    np.testing.assert_array_equal(drawn.unplaced.get_ydata(), solution.E.values[[missing]])
    assert legend(drawn) == [f"{against} missing (1)"]


def test_time_that_is_missing_for_some_is_drawn_when_asked_for(solution: xr.Dataset) -> None:
    solution["time"][2] = np.datetime64("NaT", "ns")
    drawn = plots.E(solution, against="time")
    assert drawn.unplaced is not None
    assert len(placed(drawn)) == 7
    assert legend(drawn) == ["time missing (1)"]
    assert plots.E(solution).unplaced is None


def test_a_lost_exposure_without_a_place_is_said(solution: xr.Dataset) -> None:
    solution["E"][3] = np.nan
    assert legend(plots.E(solution, against="lamp")) == ["lamp missing (1, 1 of them without a usable level)"]
    assert plots.E(solution, against="order").unmeasured is not None


def test_order_and_nights(solution: xr.Dataset) -> None:
    order = plots.E(solution, against="order")
    np.testing.assert_array_equal(order.points[0].lines[0].get_xdata(), range(8))
    nights = plots.E(solution, against="night").points[0].lines[0].axes
    assert [tick.get_text() for tick in nights.get_xticklabels()] == ["20250314", "20250315"]
    assert plots.E(solution, against="sky").points[0].lines[0].axes.get_xlabel() == "sky"


def test_a_coordinate_of_nothing_but_holes_can_be_drawn(solution: xr.Dataset) -> None:
    empty = solution.assign_coords(lamp=("exposure", [""] * 8), exposure_time=("exposure", np.full(8, np.nan)))
    for against in ("lamp", "exposure_time"):
        assert legend(plots.E(empty, against=against)) == [f"{against} missing (8)"]


def test_unknown_coordinate_is_told_the_choices(solution: xr.Dataset) -> None:
    with pytest.raises(fx.FlatnormError) as error:
        plots.E(solution, against="airmass")
    said = str(error.value)
    assert said.startswith("plot.E: against is 'airmass'; it must be one of order, ")
    assert {"time", "lamp", "exposure_time", "night", "sky"} <= set(said.partition("one of ")[2].split(", "))
    with pytest.raises(fx.FlatnormError, match="against is 'x'"):
        plots.E(solution, against="x")


def test_groups_keep_their_colours(solution: xr.Dataset) -> None:
    grouped = fx.solve(solution.assign_coords(physical_filter=("exposure", list("grgrgrgr"))), by="physical_filter")
    drawn = plots.E(grouped, against="lamp")
    assert len(drawn.points) == 2
    assert len(placed(drawn)) == 7
    assert legend(drawn) == ["lamp missing (1)", "g", "r"]


def test_what_was_rejected_whole_has_a_ring(says: Callable[..., Any]) -> None:
    ds = simulate(seed=1, n_exposures=12)
    ds["background"][:, 6] *= np.exp(0.05 * np.random.default_rng(0).normal(size=12))
    ds["background"][4] *= np.exp(0.05 * np.random.default_rng(1).normal(size=12))
    with says("rejected 1 exposure, 1 unit"):
        solution = fx.solve(ds, robust="tukey", weights="variance")
    E, G = plots.E(solution, against="order"), plots.G(solution)
    assert E.rejected is not None
    assert G.rejected is not None
    np.testing.assert_array_equal(E.rejected.get_data(), ([6], solution.E.values[[6]]))
    np.testing.assert_array_equal(G.rejected.get_data(), ([4], solution.G.values[[4]]))
    assert legend(E) == legend(G) == ["rejected (1)"]
