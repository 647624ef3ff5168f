"""The focal plane by property: every unit once and where it lies, labels that say what is drawn, errors that help."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.flags import Flag
from flatnorm_xr.show import plots
from flatnorm_xr.show.places import places_of
from flatnorm_xr.simulate.levels import simulate

pytestmark = pytest.mark.usefixtures("figures")

AMPLIFIERS = ["amplifier_x", "amplifier_y", "amplifier_width", "amplifier_height"]


def faulty() -> xr.Dataset:
    """Eight detectors of four amplifiers; the last has two of them, and one of detector 3 is dead."""
    ds = simulate(n_detectors=8, n_amplifiers=4, seed=1)
    exists = np.ones((8, 4), dtype=bool)
    exists[-1, 2:] = False
    level = ds.background.where(xr.DataArray(exists, dims=("detector", "amplifier")))
    level[2, 1] = np.nan
    return ds.assign(background=level).assign_coords(exists=(("detector", "amplifier"), exists))


@pytest.fixture
def solution() -> xr.Dataset:
    return fx.solve(simulate(seed=1))


@pytest.fixture
def ragged(says: Callable[..., Any]) -> xr.Dataset:
    with says("no usable level"):
        return fx.solve(faulty())


@pytest.fixture
def grouped() -> xr.Dataset:
    return fx.solve(
        simulate(seed=1).assign_coords(physical_filter=("exposure", list("ggggrrrr"))), by="physical_filter"
    )


def drawn_boxes(drawn: plots.FocalPlane) -> np.ndarray[Any, Any]:
    """Left, bottom, width, height of all rectangles that are not outlines, sorted."""
    collections = [*([drawn.values] if drawn.values is not None else []), *drawn.marks.values()]
    corners = np.array([path.vertices[:4] for one in collections for path in one.get_paths()])
    low, high = corners.min(axis=1), corners.max(axis=1)
    return sorted_rows(np.concatenate([low, high - low], axis=1))


def sorted_rows(boxes: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return boxes[np.lexsort(boxes.round(6).T)]


def title(drawn: plots.FocalPlane) -> str:
    axes = drawn.outlines.axes
    legend = axes.get_legend()
    return axes.get_title() or (legend.get_title().get_text() if legend is not None else "")


@pytest.mark.parametrize(
    "variable", ["G", "G_stderr", "gain", "component", "amplifier_ratio", "quality", "x", "exists"]
)
def test_every_unit_is_drawn_once_at_its_place(ragged: xr.Dataset, variable: str) -> None:
    drawn = plots.focal_plane(ragged, variable)
    places = places_of(ragged)
    expected = places.detectors if variable == "x" else places.units
    np.testing.assert_allclose(drawn_boxes(drawn), sorted_rows(expected), atol=1e-9)
    assert len(drawn.outlines.get_paths()) == 8
    assert [name.get_text() for name in drawn.names] == [str(label) for label in ragged.detector.values]
    assert drawn.outlines.axes.get_aspect() == 1


def test_values_are_those_of_the_units(ragged: xr.Dataset) -> None:
    drawn = plots.focal_plane(ragged)
    assert drawn.values is not None
    there = ragged.G.values[ragged.exists.values & np.isfinite(ragged.G.values)]
    np.testing.assert_array_equal(drawn.values.get_array(), there)
    assert set(drawn.marks) == {"no value (1)"}
    assert drawn.marks["no value (1)"].get_hatch()


def test_labels_carry_units_and_gauge(solution: xr.Dataset) -> None:
    def label(variable: str, **keywords: Any) -> str:
        bar = plots.focal_plane(solution, variable, **keywords).colorbar
        assert bar is not None
        return str(bar.ax.get_ylabel())

    assert label("G") == "relative response G\nmean of G over the measured units is 1"
    assert label("gain") == "gain [electron adu-1]"
    assert label("background", exposure=103) == "level of the flat light [adu]"
    assert label("residual", exposure=103) == "residual, ln(background / bgModel) [%]"


def test_axes_are_in_mm(solution: xr.Dataset) -> None:
    axes = plots.focal_plane(solution).outlines.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("focal plane x [mm]", "focal plane y [mm]")
    assert len(axes.get_xticks()) > 1


def test_a_grid_has_no_ticks_and_says_so(ragged: xr.Dataset) -> None:
    drawn = plots.focal_plane(ragged.drop_vars(["x", "y", *AMPLIFIERS]))
    axes = drawn.outlines.axes
    assert axes.get_xlabel().replace("\n", " ") == (
        "positions are not known: detectors in a grid, in order; amplifiers drawn as strips, in order: their sections "
        "are not known"
    )
    assert list(axes.get_xticks()) == list(axes.get_yticks()) == []
    assert axes.get_ylabel() == ""


def test_whatever_the_axes_all_is_seen(ragged: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(3, 9))
    plots.focal_plane(ragged, ax=ax)
    figure.draw_without_rendering()
    detectors = places_of(ragged).detectors
    assert ax.get_xlim()[0] < detectors[:, 0].min()
    assert ax.get_xlim()[1] > (detectors[:, 0] + detectors[:, 2]).max()
    assert ax.get_ylim()[0] < detectors[:, 1].min()
    assert ax.get_ylim()[1] > (detectors[:, 1] + detectors[:, 3]).max()
    box = ax.get_window_extent()
    assert np.ptp(ax.get_xlim()) / box.width == pytest.approx(np.ptp(ax.get_ylim()) / box.height)
    with pytest.raises(fx.FlatnormError, match="ax and figsize are both given"):
        plots.focal_plane(ragged, ax=ax, figsize=(3, 3))


def limits(drawn: plots.FocalPlane) -> tuple[float, float]:
    assert drawn.values is not None
    low, high = drawn.values.get_clim()
    assert low is not None
    assert high is not None
    return low, high


def test_scales_are_about_what_is_expected(solution: xr.Dataset) -> None:
    low, high = limits(plots.focal_plane(solution))
    assert low + high == pytest.approx(2)
    residual = plots.focal_plane(solution, "residual", exposure=103)
    low, high = limits(residual)
    assert low == -high
    np.testing.assert_allclose(residual.values.get_array(), 100 * solution.residual.sel(exposure=103))
    residual.outlines.figure.draw_without_rendering()
    assert residual.colorbar is not None
    (mmag,) = residual.colorbar.ax.child_axes
    assert mmag.get_ylim()[1] == pytest.approx(2.5 * np.log10(np.exp(high / 100)) * 1000)
    positive = plots.focal_plane(solution, "G_stderr")
    assert limits(positive)[0] >= solution.G_stderr.min()
    assert positive.values.get_cmap().name == "cividis"
    assert limits(plots.focal_plane(solution, limits=(0.5, 2))) == (0.5, 2)
    assert plots.focal_plane(solution, cmap="PuOr").values.get_cmap().name == "PuOr"


def test_one_wild_unit_does_not_set_the_scale() -> None:
    ds = simulate(n_detectors=30)
    G = xr.ones_like(ds.true_G).rename("G") * np.random.default_rng(1).normal(1, 0.02, 30)
    G[4] = 30
    drawn = plots.focal_plane(ds, G)
    assert limits(drawn)[1] < 1.2
    assert drawn.colorbar is not None
    assert drawn.colorbar.extend == "max"


def test_a_constant_has_a_colour() -> None:
    low, high = limits(plots.focal_plane(simulate(), "read_noise"))
    assert low < 6 < high


def test_one_exposure_or_group_is_chosen_by_its_label(solution: xr.Dataset, grouped: xr.Dataset) -> None:
    drawn = plots.focal_plane(solution, "background", exposure="104")
    assert title(drawn) == "exposure 104"
    np.testing.assert_array_equal(drawn.values.get_array(), solution.background.sel(exposure=104))
    drawn = plots.focal_plane(grouped, "G", group="r")
    assert title(drawn) == "group r"
    np.testing.assert_array_equal(drawn.values.get_array(), grouped.G.sel(group="r"))


def test_the_only_group_needs_no_choice(grouped: xr.Dataset) -> None:
    assert title(plots.focal_plane(grouped.isel(group=[0], exposure=slice(4)))) == "group g"


@pytest.mark.parametrize(
    ("variable", "keywords", "said"),
    [
        ("residual", {}, r"residual lies along exposure; choose one: exposure= one of 101, 102, .* \(\+3 more\)"),
        ("residual", {"exposure": 7}, r"there is no exposure 7; there are 101, 102"),
        ("G", {"exposure": 101}, r"G does not lie along exposure; leave exposure out"),
        ("E", {}, r"E has dims \(exposure\)|E lies along exposure"),
        ("Gee", {}, r"the dataset has no Gee; along detector lie .*G.*"),
        ("G", {"limits": (2, 1)}, r"limits are \(2, 1\); they must be two finite numbers, the smaller first"),
    ],
)
def test_what_cannot_be_drawn_is_said(solution: xr.Dataset, variable: str, keywords: dict[str, Any], said: str) -> None:
    with pytest.raises(fx.FlatnormError, match=rf"^plot\.focal_plane: {said}"):
        plots.focal_plane(solution, variable, **keywords)


def test_a_missing_group_names_the_labels(grouped: xr.Dataset) -> None:
    with pytest.raises(
        fx.FlatnormError, match=r"^plot\.focal_plane: G lies along group; choose one: group= one of g, r$"
    ):
        plots.focal_plane(grouped)


def test_unsolved_dataset_is_told_what_to_do() -> None:
    said = r"^plot\.focal_plane: the dataset has no G; solve it first: ds\.flatnorm\.solve\(\)$"
    with pytest.raises(fx.FlatnormError, match=said):
        plots.focal_plane(simulate())
    with pytest.raises(fx.FlatnormError, match=r"select with a list: ds\.sel\(detector="):
        plots.focal_plane(simulate().isel(detector=0), "gain")


def test_an_array_of_ones_own(solution: xr.Dataset) -> None:
    drawn = plots.focal_plane(solution, solution.residual.mean("exposure"))
    np.testing.assert_allclose(drawn.values.get_array(), 100 * solution.residual.mean("exposure"))
    scatter = plots.focal_plane(solution, solution.residual.std("exposure"))
    assert limits(scatter)[0] > 0
    assert scatter.values.get_cmap().name == "cividis"
    with pytest.raises(fx.FlatnormError, match="labels along detector are not those of the dataset"):
        plots.focal_plane(solution, solution.G.isel(detector=slice(3)))
    with pytest.raises(fx.FlatnormError, match="labels along detector are not those of the dataset"):
        plots.focal_plane(solution, xr.DataArray(np.ones(3), dims="detector"))


def test_flags_are_drawn_by_cause() -> None:
    ds = simulate(n_detectors=6, n_exposures=4)
    quality = xr.zeros_like(ds.background, dtype="u4")
    quality[1], quality[2, :2], quality[2, 2:], quality[3, 0] = (
        int(Flag.NOT_MEASURED), int(Flag.SATURATED), int(Flag.LOW_SIGNAL), int(Flag.SATURATED | Flag.ALL_MASKED)
    )  # fmt: skip
    ds = ds.assign(quality=quality)
    drawn = plots.focal_plane(ds, "quality")
    assert title(drawn) == "quality flags, the most frequent of each unit in 4 exposures"
    assert set(drawn.marks) == {"no flag (3)", "not measured (1)", "saturated (2)"}
    assert set(plots.focal_plane(ds, "quality", exposure=103).marks) == {
        "no flag (4)", "not measured (1)", "low signal (1)"
    }  # fmt: skip


def test_components_and_texts_are_categories(solution: xr.Dataset) -> None:
    ds = solution.assign_coords(detector_type=("detector", ["ITL", "E2V", ""] * 4))
    drawn = plots.focal_plane(ds, "detector_type")
    assert set(drawn.marks) == {"ITL (4)", "E2V (4)", "no value (4)"}
    assert drawn.values is drawn.colorbar is None
    looks = {tuple(mark.get_facecolor()[0]) for mark in drawn.marks.values()}
    assert len(looks) == 3
    component = solution.assign(component=("detector", [0, 0, 0, 0, 1, 1, 2, -1, 3, 4, 5, 6]))
    assert set(plots.focal_plane(component, "component").marks) == {
        "component 0 (4)", "component 1 (2)", "component 2 (1)", "component 3 (1)", "component 4 (1)",
        "2 others (2)", "not in the fit (1)",
    }  # fmt: skip


def test_nothing_known_can_be_drawn(solution: xr.Dataset) -> None:
    drawn = plots.focal_plane(solution, xr.full_like(solution.G, np.nan))
    assert drawn.values is drawn.colorbar is None
    assert set(drawn.marks) == {"no value (12)"}


def test_a_large_camera_stays_readable() -> None:
    ds = simulate(n_detectors=189, n_amplifiers=16, n_exposures=2)
    drawn = plots.focal_plane(ds, "true_G")
    assert drawn.values is not None
    assert len(drawn.values.get_paths()) == 3024
    figure = drawn.values.figure
    figure.draw_without_rendering()
    boxes = [name.get_window_extent() for name in drawn.names]
    assert len(boxes) == 189
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert max(figure.get_size_inches()) < 10


def test_names_without_room_are_left_out() -> None:
    ds = simulate(n_detectors=189, n_exposures=2)
    ds = ds.assign_coords(detector=[f"a detector with a long name {k}" for k in range(189)])
    assert plots.focal_plane(ds, "gain").names == []


def test_dollars_are_drawn_as_they_are() -> None:
    ds = simulate(n_detectors=2, n_exposures=2)
    ds = ds.assign_coords(
        detector=["$\\frac$", "a$b$"], exposure=["$_$", "$^$"], detector_type=("detector", ["$_x$", "$^$"])
    )
    plots.focal_plane(ds, "background", exposure="$_$")
    plots.focal_plane(ds, "detector_type")
    plots.focal_plane(ds.assign_coords(x=("detector", [np.nan, 1.0])), "gain")


def test_inputs_are_not_changed(ragged: xr.Dataset) -> None:
    before = ragged.copy(deep=True)
    for variable in ("G", "quality", "amplifier_ratio"):
        plots.focal_plane(ragged, variable)
    assert ragged.identical(before)


def test_ragged_focal_plane_looks_as_it_did(baselines: Any, ragged: xr.Dataset) -> None:
    ax = baselines.axes(rect=(0.1, 0.12, 0.6, 0.72))
    plots.focal_plane(ragged, ax=ax)
    baselines.check(ax.figure, "focal_plane")


def test_a_unit_that_is_missing_is_seen(baselines: Any, ragged: xr.Dataset) -> None:
    ax = baselines.axes(rect=(0.1, 0.12, 0.6, 0.72))
    plots.focal_plane(ragged, ax=ax).marks["no value (1)"].remove()
    assert baselines.difference(ax.figure, "focal_plane") > 2.0
