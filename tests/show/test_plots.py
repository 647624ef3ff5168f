"""Pictures by property: what is written on them, that every unit is there once, and that holes show."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.flags import Flag
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

PLOTS = {
    "background": plots.background,
    "residual": plots.residual,
    "E": plots.E,
    "G": plots.G,
    "weights": plots.weights,
    "pulls": plots.pulls,
    "residual_vs_level": plots.residual_vs_level,
    "connectivity": plots.connectivity,
    "convergence": plots.convergence,
}
VARIABLE = {"weights": "weight", "pulls": "residual", "residual_vs_level": "residual", "convergence": "E"}
"""What a picture is drawn from, where it has another name."""


pytestmark = pytest.mark.usefixtures("figures")


@pytest.fixture
def solution() -> xr.Dataset:
    return fx.solve(simulate(seed=1), uncertainty="analytic")


@pytest.fixture
def by_amplifier() -> xr.Dataset:
    return fx.solve(simulate(n_detectors=3, n_amplifiers=4, seed=1))


@pytest.fixture
def with_faults(says: Callable[..., Any]) -> xr.Dataset:
    """Detector 3 dead, exposure 104 saturated, one negative and one infinite level."""
    ds = simulate(seed=1)
    level = ds.background.copy(deep=True)
    level[2], level[5, 1], level[9, 5] = np.nan, -5, np.inf
    quality = xr.zeros_like(level, dtype="u4")
    quality[:, 3] = int(Flag.SATURATED | Flag.ALL_MASKED)
    with says("no usable level of 3"):
        return fx.solve(ds.assign(background=level, quality=quality))


def data_points(drawn: plots.Points) -> list[tuple[Any, Any]]:
    """x and y of every group."""
    lines = [container.lines[0] for container in drawn.points]
    return [(line.get_xdata(), line.get_ydata()) for line in lines if line is not None]


@pytest.mark.parametrize("name", PLOTS)
def test_draws_where_it_is_told(solution: xr.Dataset, name: str) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    PLOTS[name](solution, ax=ax)
    assert plt.get_fignums() == [figure.number]
    assert ax.get_ylabel()
    PLOTS[name](solution, figsize=(6, 3))
    assert tuple(plt.gcf().get_size_inches()) == (6, 3)
    with pytest.raises(fx.FlatnormError, match=rf"^plot\.{name}: ax and figsize are both given.*leave figsize out$"):
        PLOTS[name](solution, ax=ax, figsize=(6, 3))


@pytest.mark.parametrize("name", ["residual", "E", "G", *VARIABLE])
def test_unsolved_dataset_is_told_what_to_do(name: str) -> None:
    with pytest.raises(fx.FlatnormError) as error:
        PLOTS[name](simulate())
    variable = VARIABLE.get(name, name)
    assert str(error.value) == f"plot.{name}: the dataset has no {variable}; solve it first: ds.flatnorm.solve()"


@pytest.mark.parametrize("name", PLOTS)
def test_inputs_are_not_changed(with_faults: xr.Dataset, name: str) -> None:
    before = with_faults.copy(deep=True)
    PLOTS[name](with_faults)
    assert with_faults.identical(before)


def test_levels_carry_name_and_units() -> None:
    ds = simulate()
    in_electron = fx.make(ds.background.drop_attrs(), units="electron")
    assert plots.background(ds).colorbar.ax.get_ylabel() == "level of the flat light [adu]"
    assert plots.background(in_electron).colorbar.ax.get_ylabel() == "level of the flat light [electron]"


def test_gauge_is_in_the_labels(solution: xr.Dataset) -> None:
    named = fx.solve(simulate(), gauge=[2, 5])
    E_label = plots.E(solution).points[0].lines[0].axes.get_ylabel()
    assert E_label == "exposure level E [adu]\nmean of G over the measured units is 1"
    G_label = plots.G(named).points[0].lines[0].axes.get_ylabel()
    assert G_label == "relative response G\nmean of G over detectors 2, 5 is 1"


def test_every_unit_has_one_row_and_padding_none(by_amplifier: xr.Dataset) -> None:
    exists = np.ones((3, 4), dtype=bool)
    exists[2, 2:] = False
    ragged = by_amplifier.assign_coords(exists=(("detector", "amplifier"), exists))
    for draw in (plots.background, plots.residual, plots.weights):
        image = draw(ragged).image
        labels = [tick.get_text() for tick in image.axes.get_yticklabels()]
        assert labels == [f"{d} C0{a}" for d in (1, 2, 3) for a in range(4) if exists[d - 1, a]]
        assert image.get_array().shape == (10, 8)


def test_matrix_holds_the_levels_in_order(solution: xr.Dataset) -> None:
    drawn = plots.background(solution.transpose("exposure", "detector", ...))
    np.testing.assert_array_equal(drawn.image.get_array(), solution.background)
    np.testing.assert_allclose(plots.residual(solution).image.get_array(), 100 * solution.residual)


def test_residual_scale_is_symmetric_and_reads_in_mmag(solution: xr.Dataset) -> None:
    drawn = plots.residual(solution)
    low, high = drawn.image.get_clim()
    assert low == -high
    drawn.image.figure.draw_without_rendering()
    (mmag,) = drawn.colorbar.ax.child_axes
    assert mmag.get_ylim()[1] == pytest.approx(-2.5 * np.log10(np.exp(-high / 100)) * 1000)
    assert plots.residual(solution, limit=0.5).image.get_clim() == (-0.5, 0.5)
    with pytest.raises(fx.FlatnormError, match=r"^plot\.residual: limit is 0"):
        plots.residual(solution, limit=0)


def test_one_wild_cell_does_not_set_the_residual_scale() -> None:
    ds = simulate(n_detectors=30, n_exposures=30)
    ds["background"][3, 4] *= 2
    assert plots.residual(fx.solve(ds, uncertainty=None)).image.get_clim()[1] < 10


def test_rounding_is_not_painted() -> None:
    solution = fx.solve(simulate(noise=0, photon_noise=False))
    assert plots.residual(solution).image.get_clim() == (-1e-6, 1e-6)


@pytest.mark.parametrize("name", ["background", "residual", "weights"])
def test_holes_are_marked_by_cause(with_faults: xr.Dataset, name: str) -> None:
    drawn = PLOTS[name](with_faults)
    assert isinstance(drawn, plots.Matrix)
    assert set(drawn.marks) == {"not measured (7)", "saturated (12)", "non positive (1)", "non finite (1)"}
    legend = drawn.image.axes.get_legend()
    assert {text.get_text() for text in legend.get_texts()} == set(drawn.marks)
    assert len({mark.get_hatch() for mark in drawn.marks.values()}) == 4
    masked = np.ma.getmaskarray(drawn.image.get_array())
    assert masked[2].all()
    assert masked[5, 1]
    assert masked[9, 5]
    assert masked.sum() == {"background": 10, "residual": 21, "weights": 21}[name]


def test_eight_causes_can_be_told_apart() -> None:
    causes = (Flag.UNREADABLE, Flag.ALL_MASKED, Flag.SATURATED, Flag.OUTLIER)
    causes += (Flag.GAIN_JUMP, Flag.REJECTED_UNIT, Flag.REJECTED_EXPOSURE, Flag.PARTIAL)
    for size in (12, 400):  # hatched, and filled where cells are too small for that
        ds = simulate(n_detectors=size)
        quality = xr.zeros_like(ds.background, dtype="u4")
        for k, flag in enumerate(causes):
            quality[k, 0] = int(flag)
        marks = plots.background(ds.assign(quality=quality)).marks.values()
        looks = {(mark.get_hatch(), tuple(mark.get_facecolor().ravel())) for mark in marks}
        assert len(looks) == len(causes)


def test_unsolved_levels_show_what_a_solve_would_leave_out() -> None:
    ds = simulate()
    ds["background"][0, 0] = -1
    ds["counts"][1, 1] = 0
    assert set(plots.background(ds).marks) == {"non positive (1)", "no counts (1)"}


def test_wide_range_of_levels_is_logarithmic() -> None:
    ds = simulate()
    assert plots.background(ds).image.norm.__class__.__name__ == "Normalize"
    ds["background"] = ds.background * xr.where(ds.exposure > 104, 20, 1)
    assert plots.background(ds).image.norm.__class__.__name__ == "LogNorm"
    assert plots.E(fx.solve(ds)).points[0].lines[0].axes.get_yscale() == "log"


def test_levels_of_nothing_can_be_drawn() -> None:
    ds = fx.make(np.full((2, 3), np.nan))
    assert set(plots.background(ds).marks) == {"not measured (6)"}


def test_E_lies_on_time_else_on_order(solution: xr.Dataset) -> None:
    ((x, y),) = data_points(plots.E(solution))
    np.testing.assert_array_equal(x, solution.time)
    np.testing.assert_array_equal(y, solution.E)
    solution["time"][2] = np.datetime64("NaT", "ns")
    drawn = plots.E(solution)
    np.testing.assert_array_equal(data_points(drawn)[0][0], range(8))
    labels = [tick.get_text() for tick in drawn.points[0].lines[0].axes.get_xticklabels()]
    assert labels == [str(label) for label in solution.exposure.values]


def test_error_bars_are_the_standard_errors(solution: xr.Dataset) -> None:
    for draw, error in ((plots.E, solution.E_stderr), (plots.G, solution.G_stderr)):
        (container,) = draw(solution).points
        (bars,) = container.lines[2]
        heights = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
        np.testing.assert_allclose(heights, error, rtol=1e-6)
    assert not plots.G(solution.drop_vars("G_stderr")).points[0].has_yerr


def test_what_was_never_measured_is_crossed(with_faults: xr.Dataset) -> None:
    E, G = plots.E(with_faults), plots.G(with_faults)
    assert E.unmeasured is not None
    assert G.unmeasured is not None
    np.testing.assert_array_equal(E.unmeasured.get_xdata(), with_faults.time[[3]])
    np.testing.assert_array_equal(G.unmeasured.get_xdata(), [2])
    for drawn in (E, G):
        assert [text.get_text() for text in drawn.unmeasured.axes.get_legend().get_texts()] == ["no usable level (1)"]


@pytest.mark.parametrize(
    ("names", "dim"),
    [
        (("background", "residual", "G", "weights", "residual_vs_level", "connectivity"), "detector"),
        (("background", "residual", "E", "weights", "residual_vs_level", "connectivity"), "exposure"),
    ],
)
def test_a_dim_that_a_selection_dropped_is_named(solution: xr.Dataset, names: tuple[str, ...], dim: str) -> None:
    for name in names:
        said = rf"^plot\.{name}: the dataset has no dim {dim}; select with a list: ds\.sel\({dim}=\[\.\.\.\]\)$"
        with pytest.raises(fx.FlatnormError, match=said):
            PLOTS[name](solution.isel({dim: 0}))
        PLOTS[name](solution.isel({dim: [0]}))


def test_one_group_of_a_solution_can_be_drawn() -> None:
    ds = simulate().assign_coords(physical_filter=("exposure", list("ggggrrrr")))
    one = fx.solve(ds, by="physical_filter").sel(group="r")
    assert len(plots.E(one).points) == len(plots.G(one).points) == 1


def test_amplifiers_stand_beside_each_other(by_amplifier: xr.Dataset) -> None:
    ((x, y),) = data_points(plots.G(by_amplifier))
    assert (np.diff(x) > 0).all()
    np.testing.assert_array_equal(np.round(x), np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(y, by_amplifier.G.values.ravel())


def test_groups_have_colours_and_a_legend() -> None:
    ds = simulate().assign_coords(physical_filter=("exposure", list("ggggrrrr")))
    solution = fx.solve(ds, by="physical_filter")
    for draw in (plots.E, plots.G):
        drawn = draw(solution)
        lines = [container.lines[0] for container in drawn.points]
        assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 2
        assert [text.get_text() for text in lines[0].axes.get_legend().get_texts()] == ["g", "r"]
    assert sum(y.size for _, y in data_points(plots.E(solution))) == 8


def test_many_groups_with_long_names_leave_room_for_the_picture() -> None:
    ds = simulate(n_exposures=36, seed=1)
    names = [f"filter {letter} of the survey" for letter in "ugrizyNML"] * 4
    solution = fx.solve(ds.assign_coords(physical_filter=("exposure", names)), by="physical_filter")
    for draw in (plots.E, plots.G):
        lines = [container.lines[0] for container in draw(solution).points]
        assert len({(line.get_color(), line.get_marker()) for line in lines}) == 9
        ax = lines[0].axes
        ax.figure.draw_without_rendering()
        assert ax.get_legend().get_window_extent().width <= ax.get_window_extent().width
        assert ax.get_window_extent().width > 0.7 * ax.figure.get_window_extent().width


def test_long_names_of_exposures_stand_upright_and_thinned() -> None:
    ds = simulate(n_exposures=90).drop_vars("time")
    ds = ds.assign_coords(exposure=[f"c4d_140607_{i:06d}" for i in range(90)])
    ticks = plots.background(ds).image.axes.get_xticklabels()
    assert 5 < len(ticks) < 60
    assert {tick.get_rotation() for tick in ticks} == {90.0}


def test_a_large_camera_stays_readable() -> None:
    ds = simulate(n_detectors=189, n_amplifiers=16, n_exposures=20, missing=0.01)
    ds["background"][3, 2, 4] = -1.0
    image = plots.background(ds).image
    figure = image.figure
    figure.draw_without_rendering()
    assert image.get_array().shape == (3024, 20 * 50)
    np.testing.assert_array_equal(image.get_array()[:, ::50].filled(np.nan)[0], ds.background[0, 0])
    assert tuple(image.get_extent()) == (-0.5, 19.5, 3023.5, -0.5)
    assert image.axes.get_ylabel().endswith("(averaged where rows are finer than the print)")
    boxes = [tick.get_window_extent() for tick in image.axes.get_yticklabels()]
    assert 10 < len(boxes) < 100
    assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert len(image.axes.get_yticks(minor=True)) == 188
    assert max(figure.get_size_inches()) < 14


@pytest.fixture(scope="module")
def large() -> xr.Dataset:
    """3 024 amplifiers in 20 exposures; a dead one, and two levels that are no levels."""
    ds = simulate(n_detectors=189, n_amplifiers=16, n_exposures=20, seed=1)
    ds["background"][5, 3], ds["background"][7, 2, 4], ds["background"][100, 1, 6] = np.nan, -1.0, np.inf
    with warnings.catch_warnings(action="ignore", category=fx.FlatnormWarning):
        return fx.solve(ds, uncertainty="analytic")


@pytest.mark.parametrize("name", PLOTS)
def test_3024_amplifiers_fit_on_a_page(large: xr.Dataset, name: str) -> None:
    import matplotlib.pyplot as plt

    PLOTS[name](large)
    figure = plt.gcf()
    figure.draw_without_rendering()
    assert max(figure.get_size_inches()) <= 14
    ax = figure.axes[0]
    for ticks in (ax.get_xticklabels(), ax.get_yticklabels()):
        boxes = [tick.get_window_extent() for tick in ticks if tick.get_text()]
        assert not any(a.overlaps(b) for a, b in pairwise(boxes))
    assert len(ax.get_children()) < 200


@pytest.mark.parametrize("name", PLOTS)
def test_dollars_in_labels_are_drawn_as_they_are(name: str) -> None:
    ds = simulate(n_detectors=2, n_exposures=3, seed=1)
    ds = ds.assign_coords(detector=["$\\frac$", "a$b$"], exposure=["$x_$", "$^$", "c"], lamp=("exposure", ["$_$"] * 3))
    ds = ds.drop_vars("time", errors="ignore")
    solution = fx.solve(ds, by="lamp")
    solution["residual"].attrs["long_name"] = "$\\residual$"
    drawn = PLOTS[name](solution)
    assert drawn is not None
