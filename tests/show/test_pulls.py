"""The histogram of pulls: every cell counted once, those left out apart."""

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


def with_faults(**keywords: int) -> xr.Dataset:
    ds = simulate(seed=2, **keywords)
    ds["background"][..., 1, 2] *= 1.05
    ds["background"][..., 2, 3] *= 0.9
    ds["background"][..., 3, 3] = np.nan
    return fx.solve(ds, robust="tukey", weights="variance")


def cells(drawn: plots.Pulls, n: int) -> float:
    """Number of cells that the bars stand for."""
    return n * sum(bar.get_height() for bar in drawn.used) * drawn.used[1].get_width()


def legend(drawn: plots.Pulls) -> list[str]:
    return [text.get_text() for text in drawn.normal.axes.get_legend().get_texts()]


@pytest.mark.parametrize("keywords", [{}, {"n_detectors": 40, "n_exposures": 30}, {"n_amplifiers": 4}])
def test_every_cell_is_counted_once(keywords: dict[str, int]) -> None:
    solution = with_faults(**keywords)
    pull = fx.pulls(solution)
    used, out = (pull.where(chosen).count().item() for chosen in (solution.weight > 0, solution.weight == 0))
    drawn = plots.pulls(solution)
    assert cells(drawn, used) == pytest.approx(used)
    assert drawn.left_out is not None
    assert np.nansum(drawn.left_out.get_data().values) * drawn.used[1].get_width() * used == pytest.approx(out)
    rms = float(np.sqrt((pull.where(solution.weight > 0) ** 2).mean()))
    assert set(legend(drawn)) == {
        "N(0, 1)",
        f"cells of the fit ({used}), rms {rms:.2f}",
        f"left out of the fit ({out})",
    }


def test_the_normal_curve_is_a_density() -> None:
    drawn = plots.pulls(fx.solve(simulate(seed=1)))
    x, y = drawn.normal.get_data()
    assert np.trapezoid(y, x) == pytest.approx(1, abs=1e-5)
    assert drawn.left_out is None
    assert drawn.beyond == []


def test_pulls_beyond_the_ends_are_numbered() -> None:
    drawn = plots.pulls(with_faults())
    said = [text.get_text().replace("\n", " ") for text in drawn.beyond]
    assert said == ["<\N{MINUS SIGN}5: 1 left out", ">5: 1 left out"]
    wild = fx.solve(simulate(seed=2, n_detectors=30, n_exposures=30), weights="uniform")
    wild["residual"][0, 0] *= 100 / abs(fx.pulls(wild)[0, 0].item())
    assert sum(any(char.isdigit() for char in text.get_text()[2:]) for text in plots.pulls(wild).beyond) == 1


def test_scale_is_logarithmic_for_many() -> None:
    few, many = simulate(seed=1), simulate(seed=1, n_detectors=40, n_exposures=30)
    assert plots.pulls(fx.solve(few)).normal.axes.get_yscale() == "linear"
    assert plots.pulls(fx.solve(many)).normal.axes.get_yscale() == "log"
    assert plots.pulls(fx.solve(many), log=False).normal.axes.get_yscale() == "linear"


def test_without_errors_it_says_so() -> None:
    solution = fx.solve(simulate(n_detectors=1, n_exposures=3), uncertainty=None)
    with pytest.raises(fx.FlatnormError, match=r"^plot\.pulls: no residual has a known error: .*; solve more"):
        plots.pulls(solution)


def test_cells_whose_error_is_not_known_are_said() -> None:
    ds = simulate(seed=1)
    ds["background"][1:, 0] = np.nan
    drawn = plots.pulls(fx.solve(ds, on_disconnected="separate"))
    assert "not drawn, no error known (1)" in legend(drawn)


def test_a_part_of_a_solution_is_refused() -> None:
    with pytest.raises(fx.FlatnormError, match="part of what was solved"):
        plots.pulls(fx.solve(simulate(seed=1)).isel(exposure=slice(4)))
