"""How much cells weigh, and how the solver came to its solution."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import flatnorm_xr as fx
from flatnorm_xr.show import plots
from flatnorm_xr.simulate.levels import simulate

pytestmark = [
    pytest.mark.usefixtures("figures"),
    pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning"),  # cells are missing on purpose
]


def test_weights_are_relative_to_the_median_of_those_used() -> None:
    ds = simulate(seed=1, missing=0.1)
    given = ds.counts * ds.detector / 3.0
    solution = fx.solve(ds, weights=given.rename("mine"))
    drawn = plots.weights(solution)
    used = solution.weight.where(solution.weight > 0)
    np.testing.assert_allclose(drawn.image.get_array().filled(np.nan), (used / used.median()).values)
    assert drawn.image.norm.__class__.__name__ == "LogNorm"
    assert drawn.colorbar.ax.get_ylabel() == "weight of the cell over the median\nweights: given (mine)"
    assert set(drawn.marks) == {f"not measured ({int((solution.weight == 0).sum())})"}


def test_equal_weights_have_one_colour_and_a_scale_that_says_one() -> None:
    drawn = plots.weights(fx.solve(simulate(seed=1), weights="uniform"))
    assert drawn.image.norm.__class__.__name__ == "Normalize"
    assert drawn.image.get_clim() == (0, 1)
    assert (drawn.image.get_array() == 1).all()


def lines(drawn: plots.Convergence) -> list[tuple[Any, Any]]:
    return [(line.get_xdata(), line.get_ydata()) for line in drawn.lines]


def test_convergence_draws_the_record_and_the_tolerance() -> None:
    solution = fx.solve(simulate(seed=1, missing=0.2), tolerance=1e-9)
    drawn = plots.convergence(solution)
    ((x, y),) = lines(drawn)
    np.testing.assert_array_equal(x, solution.iteration)
    np.testing.assert_array_equal(y, solution.correction)
    assert drawn.tolerance is not None
    assert set(drawn.tolerance.get_ydata()) == {1e-9}
    ax = drawn.lines[0].axes
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "largest correction of ln E left"
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["converged", "tolerance 1e-09"]


def test_groups_have_a_line_each() -> None:
    ds = simulate(seed=1, missing=0.2).assign_coords(physical_filter=("exposure", list("ggggrrrr")))
    solution = fx.solve(ds, by="physical_filter")
    drawn = plots.convergence(solution)
    assert [line.get_label() for line in drawn.lines] == ["g", "r"]
    assert len({line.get_color() for line in drawn.lines}) == len({line.get_marker() for line in drawn.lines}) == 2
    for (_, y), recorded in zip(lines(drawn), solution.correction, strict=True):
        np.testing.assert_array_equal(y, recorded.where(recorded > 0))


def test_the_alternation_is_named_and_said_not_to_have_converged() -> None:
    drawn = plots.convergence(fx.solve(simulate(seed=1, missing=0.2), method="alternation", iterations=3))
    assert drawn.lines[0].axes.get_ylabel() == "largest correction of ln G left"
    assert drawn.lines[0].get_label() == "not converged"
    np.testing.assert_array_equal(drawn.lines[0].get_xdata(), [1, 2, 3])


def test_nothing_left_is_crossed_because_a_logarithm_cannot_show_it() -> None:
    solution = fx.solve(simulate(seed=1, missing=0.2))
    solution["correction"][-1] = 0.0
    drawn = plots.convergence(solution)
    assert drawn.exact is not None
    np.testing.assert_array_equal(drawn.exact.get_xdata(), solution.iteration[[-1]])


def test_a_solution_without_a_record_is_to_be_solved_again() -> None:
    older = fx.solve(simulate(seed=1)).drop_dims("iteration")
    with pytest.raises(fx.FlatnormError, match=r"^plot\.convergence: .*no record.*solve it again: ds\.flatnorm\.solve"):
        plots.convergence(older)
    with pytest.raises(fx.FlatnormError, match="needed no iteration"):
        plots.convergence(older.assign_attrs(iterations=0))
