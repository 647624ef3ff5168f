"""The record of what was left to correct after each iteration."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.simulate.levels import simulate

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")  # cells are missing on purpose


def test_one_number_an_iteration_and_the_last_is_below_the_tolerance() -> None:
    solution = fx.solve(simulate(missing=0.2, seed=3), tolerance=1e-10)
    assert solution.correction.dims == ("iteration",)
    np.testing.assert_array_equal(solution.iteration, np.arange(1, solution.attrs["iterations"] + 1))
    assert (solution.correction[:-1] > 1e-10).any()
    assert solution.correction.min() <= 1e-10


def test_a_chain_that_needs_refinement_records_its_rounds() -> None:
    n = 60
    level = np.full((n, n), np.nan)
    level[np.arange(n), np.arange(n)] = 100.0
    level[np.arange(1, n), np.arange(n - 1)] = 101.0
    solution = fx.solve(fx.make(level), uncertainty=None)
    assert solution.correction.size == solution.attrs["iterations"] >= 2
    assert solution.correction[0] > 0.1
    assert solution.correction[-1] < 1e-12


def test_the_alternation_records_how_far_G_would_still_move() -> None:
    ds = simulate(missing=0.2, seed=3)
    G = [fx.solve(ds, method="alternation", iterations=n, uncertainty=None, gauge="geometric").G for n in (3, 4, 5)]
    left = fx.solve(ds, method="alternation", iterations=5, uncertainty=None).correction
    assert left.sizes == {"iteration": 5}
    assert (left[1:].values < left[:-1].values).all()
    # another gauge shifts all of ln G alike, so the spread of the steps is at most twice the largest
    steps = [float(np.ptp(np.log(after / before).values)) for before, after in pairwise(G)]
    for step, recorded in zip(steps, left.values[2:4], strict=True):
        assert recorded <= step * (1 + 1e-9) <= 2 * recorded


def test_groups_are_padded_with_nan() -> None:
    ds = simulate(seed=3).assign_coords(lamp=("exposure", list("aaaaaaab")))
    ds["background"][::2, :3] = np.nan
    solution = fx.solve(ds, by="lamp")
    number = solution.correction.notnull().sum("iteration")
    np.testing.assert_array_equal(number, solution.iterations)
    assert solution.correction.dims == ("group", "iteration")
    assert solution.correction.sizes["iteration"] == solution.iterations.max() > solution.iterations.min()


def test_the_record_is_kept_in_a_file_and_dropped_by_another_solve(tmp_path: Path) -> None:
    ds = simulate(missing=0.2, seed=3).assign_coords(lamp=("exposure", list("aaaabbbb")))
    for keywords in ({}, {"by": "lamp"}):
        solution = fx.solve(ds, **keywords)
        xr.testing.assert_identical(fx.open(fx.save(solution, tmp_path / f"{len(keywords)}.nc")), solution)
        again = fx.solve(solution, method="alternation", iterations=7)
        assert again.correction.dims == ("iteration",)
        assert again.sizes["iteration"] == 7
        assert fx.solve(solution, tolerance=1e-3, uncertainty=None).sizes["iteration"] <= solution.sizes["iteration"]


@pytest.mark.parametrize("keywords", [{"model": "log-link"}, {"robust": "tukey"}, {"modes": 1}])
def test_of_several_fits_the_last_is_recorded(keywords: dict[str, Any]) -> None:
    solution = fx.solve(simulate(seed=3), weights="variance", **keywords)
    assert solution.correction.size == solution.attrs["iterations"]
