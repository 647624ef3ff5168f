"""Residuals against the level: every cell drawn or counted, few and many detectors."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

pytestmark = [
    pytest.mark.usefixtures("figures"),
    pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning"),  # faults and holes are made on purpose
]


def solved(**keywords: int) -> xr.Dataset:
    """Detector 2 has an outlier, the first cell of all is lost."""
    ds = simulate(**{"n_detectors": 4, "n_exposures": 10, "seed": 1, **keywords})
    ds["background"][1, ..., 3] *= 1.03
    ds["background"][0, ..., 0] = np.nan
    return fx.solve(ds, robust="tukey", weights="variance")


def cells(drawn: plots.Trends) -> int:
    """Number of cells of the fit that are drawn."""
    others = 0 if drawn.others is None else len(drawn.others.get_xdata())
    return others + sum(len(container.lines[0].get_xdata()) for container in drawn.points.values())


def marks(drawn: plots.Trends) -> int:
    """Number of open marks."""
    return sum(len(line.get_xdata()) for line in (drawn.left_out, drawn.beyond) if line is not None)


def legend(drawn: plots.Trends) -> list[str]:
    ax = next(iter(drawn.points.values())).lines[0].axes
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("keywords", [{}, {"n_detectors": 12}, {"n_amplifiers": 4}])
def test_every_cell_is_drawn_once(keywords: dict[str, int]) -> None:
    solution = solved(**keywords)
    drawn = plots.residual_vs_level(solution)
    known = solution.residual.notnull()
    assert cells(drawn) == int((known & (solution.weight > 0)).sum())
    assert marks(drawn) == int((known & (solution.weight == 0)).sum()) > 0
    assert drawn.band is None


def test_few_detectors_have_a_colour_and_a_marker_each() -> None:
    solution = solved()
    drawn = plots.residual_vs_level(solution)
    lines = [container.lines[0] for container in drawn.points.values()]
    assert list(drawn.points) == ["1", "2", "3", "4"]
    assert len({line.get_color() for line in lines}) == len({line.get_marker() for line in lines}) == 4
    x, y = lines[2].get_data()
    np.testing.assert_array_equal(x, solution.background[2])
    np.testing.assert_allclose(y, 100 * solution.residual[2])
    assert all(container.has_yerr for container in drawn.points.values())


def test_axes_say_units_and_mmag() -> None:
    drawn = plots.residual_vs_level(solved())
    ax = drawn.points["1"].lines[0].axes
    assert ax.get_xlabel() == "level of the flat light [adu]"
    assert ax.get_ylabel() == "residual, ln(background / bgModel) [%]"
    (mmag,) = ax.child_axes
    assert mmag.get_ylabel() == "2.5 log10(background / bgModel) [mmag]"
    ax.figure.draw_without_rendering()
    assert mmag.get_ylim()[1] == pytest.approx(2.5 * np.log10(np.exp(ax.get_ylim()[1] / 100)) * 1000)


def test_cells_beyond_the_axis_stand_at_its_end() -> None:
    drawn = plots.residual_vs_level(solved())
    assert drawn.left_out is None
    assert drawn.beyond is not None
    limit = drawn.beyond.axes.get_ylim()[1]
    assert limit < 2
    np.testing.assert_allclose(drawn.beyond.get_ydata(), 0.97 * limit)
    assert "left out, beyond the axis (1)" in legend(drawn)
    assert drawn.beyond.get_markerfacecolor() == "none"


def test_detectors_can_be_chosen() -> None:
    solution = solved(n_detectors=30, n_amplifiers=3)
    drawn = plots.residual_vs_level(solution, detector=[7, 3])
    assert list(drawn.points) == ["7", "3"]
    assert cells(drawn) == 2 * 3 * 10
    assert list(plots.residual_vs_level(solution, detector=3).points) == ["3"]
    named = solution.assign_coords(detector=[f"R{i:02d}" for i in range(30)])
    assert list(plots.residual_vs_level(named, detector="R07").points) == ["R07"]
    with pytest.raises(fx.FlatnormError) as error:
        plots.residual_vs_level(named, detector=["R07", "R99"])
    assert str(error.value).startswith("plot.residual_vs_level: detector has no R99; choose from R00, R01, ")
    with pytest.raises(fx.FlatnormError, match="detector is empty"):
        plots.residual_vs_level(named, detector=[])


def bent(**keywords: int) -> xr.Dataset:
    """Detector 5 loses 1 % of its response from the lowest level to the highest."""
    ds = simulate(**{"n_detectors": 12, "n_exposures": 30, "seed": 1, **keywords})
    ramp = xr.DataArray(np.linspace(0.2, 1, ds.sizes["exposure"]), dims="exposure")
    ds["background"] = ds.background * ramp
    ds["background"][4] = ds["background"][4] * (1 - 0.01 * ramp)
    return fx.solve(ds, weights="variance")


@pytest.mark.parametrize("keywords", [{}, {"n_detectors": 60, "n_exposures": 100}])
def test_the_detector_that_departs_most_stands_out(keywords: dict[str, int]) -> None:
    drawn = plots.residual_vs_level(bent(**keywords))
    assert next(iter(drawn.points)) == "5"
    assert len(drawn.points) == 3
    assert any("detector 5" in text for text in legend(drawn))
    assert (drawn.band is None) == (not keywords)
    assert (drawn.others is None) == bool(keywords)


def test_many_cells_become_a_band_that_holds_two_thirds() -> None:
    solution = fx.solve(simulate(n_detectors=60, n_exposures=100, seed=1), weights="variance")
    drawn = plots.residual_vs_level(solution)
    assert drawn.band is not None
    assert drawn.median is not None
    assert len(drawn.median.get_xdata()) == 20
    assert drawn.median.get_ydata() == pytest.approx(np.zeros(20), abs=0.03)
    assert "16 to 84 % of 6000 cells" in legend(drawn)
    (corners,) = drawn.band.get_paths()
    low, high = corners.vertices[:, 1].min(), corners.vertices[:, 1].max()
    inside = (100 * solution.residual > low) & (100 * solution.residual < high)
    assert 0.65 < float(inside.mean()) < 0.8


def test_hundreds_of_cells_left_out_are_a_mark_a_detector() -> None:
    ds = simulate(n_detectors=60, n_exposures=100, seed=1)
    ds["background"][:, 7:14] *= np.exp(0.05 * np.random.default_rng(0).normal(size=(60, 7)))
    solution = fx.solve(ds, robust="tukey", weights="variance")
    left = int((solution.weight == 0).sum())
    drawn = plots.residual_vs_level(solution)
    assert left > 300
    assert marks(drawn) == 60
    assert any(f"detectors' medians of {left} cells" in text for text in legend(drawn))


def test_a_detector_without_a_level_and_exact_levels_can_be_drawn() -> None:
    ds = simulate(noise=0, photon_noise=False)
    ds["background"][2] = np.nan
    solution = fx.solve(ds)
    assert cells(plots.residual_vs_level(solution)) == 88
    assert cells(plots.residual_vs_level(solution, detector=3)) == 0


def test_scale_of_levels_is_logarithmic_when_wide_unless_some_are_negative() -> None:
    ds = simulate(n_exposures=8, seed=1, level=200.0, pixels=1000)
    ds["background"] = ds.background * xr.DataArray(np.geomspace(0.05, 1, 8), dims="exposure")
    ax = plots.residual_vs_level(fx.solve(ds)).points
    assert next(iter(ax.values())).lines[0].axes.get_xscale() == "log"
    ds["background"][0, 0] = -1.0
    solution = fx.solve(ds, model="log-link", weights="variance", floor=0.0)
    drawn = plots.residual_vs_level(solution)
    assert next(iter(drawn.points.values())).lines[0].axes.get_xscale() == "linear"
    assert cells(drawn) + marks(drawn) == int(solution.residual.notnull().sum()) == 96
