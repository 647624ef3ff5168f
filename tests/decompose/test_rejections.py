"""The table of what was left out says what happened, where, when and by how much."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.decompose.robust.rejections import rejections

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture
def night():
    return fx.simulate(n_detectors=30, n_exposures=12, seed=1)


def table_of(ds, **keywords):
    return rejections(fx.solve(ds, robust="tukey", **keywords))


def within(row, size, *, errors=4):
    assert abs(row["size"] - size) < errors * row["stderr"], row
    assert row["significance"] == pytest.approx(row["size"] / row["stderr"])


def test_one_row_an_event_numbered_as_in_the_solution(night):
    night.background[4, 5] *= 1.05
    night.background[9, 3:6] *= 0.97
    sol = fx.solve(night, robust="tukey")
    table = rejections(sol)
    assert table.index.name == "rejection"
    assert table.index.tolist() == [1, 2]
    assert table.kind.tolist() == ["cell", "run"]
    assert table.detector.tolist() == [5, 10]
    assert table.first_exposure.tolist() == [106, 104]
    assert table.last_exposure.tolist() == [106, 106]
    assert table.n_cells.tolist() == [1, 3]
    assert table.jump_at.isna().all()
    assert "amplifier" not in table
    assert "group" not in table
    for number, row in table.iterrows():
        assert int((sol.rejection == number).sum()) == row.n_cells
    within(table.loc[1], 0.05)
    within(table.loc[2], -0.03)


@pytest.mark.parametrize(("at", "first", "last"), [(3, 101, 103), (8, 109, 112)])
@pytest.mark.parametrize("size", [0.01, -0.02])
def test_jump_is_after_over_before_whichever_side_went(night, at, first, last, size):
    night.background[6, at:] *= 1 + size
    row = table_of(night).loc[1]
    assert row.kind == "gain jump"
    assert row.detector == 7
    assert row.jump_at == 101 + at
    assert (row.first_exposure, row.last_exposure) == (first, last)
    within(row, size)


def test_errors_of_sizes_are_true():
    pulls = []
    for seed in range(20):
        ds = fx.simulate(n_detectors=40, n_exposures=10, seed=seed)
        ds.background[3, 6:] *= 1.01
        ds.background[5, 2] *= 0.9
        table = table_of(ds, uncertainty=None)
        jump, cell = table[table.kind == "gain jump"].iloc[0], table[table.n_cells == 1].iloc[0]
        pulls += [(jump["size"] - 0.01) / jump.stderr, (cell["size"] + 0.1) / cell.stderr]
    assert np.std(pulls) == pytest.approx(1.0, abs=0.25)


def test_exposures_and_units_are_measured_by_how_widely_they_scatter(night):
    rng = np.random.default_rng(3)
    night.background[:, 4] *= np.exp(0.01 * rng.normal(size=30))
    night.background[11] *= np.exp(0.05 * rng.normal(size=12))
    table = table_of(night).set_index("kind")
    exposure, unit = table.loc["exposure"], table.loc["unit"]
    assert pd.isna(exposure.detector)
    assert exposure.first_exposure == exposure.last_exposure == 105
    assert exposure.n_cells == 30
    assert 0.005 < exposure["size"] < 0.015
    assert unit.detector == 12
    assert (unit.first_exposure, unit.last_exposure, unit.n_cells) == (101, 112, 11)
    assert unit["size"] > 0.01
    for row in (exposure, unit):
        assert 0.5e-3 < row.stderr < 2e-3
        assert row.significance > 4


def test_time_decides_what_is_first(night):
    night.background[6, 9:] *= 1.02
    row = table_of(night.isel(exposure=np.random.default_rng(0).permutation(12))).loc[1]
    assert (row.kind, row.first_exposure, row.last_exposure, row.jump_at) == ("gain jump", 110, 112, 110)


def test_amplifiers_are_named():
    ds = fx.simulate(n_detectors=8, n_amplifiers=4, n_exposures=8, seed=3)
    ds.background[2, 1, 5] *= 0.9
    row = table_of(ds).loc[1]
    assert (row.detector, row.amplifier, row.first_exposure) == (3, "C01", 106)
    within(row, -0.1)


def test_detectors_may_have_names_and_exposures_none():
    ds = fx.simulate(n_detectors=20, n_exposures=8, seed=3)
    levels = xr.DataArray(
        ds.background.values, dims=("detector", "exposure"), coords={"detector": list("abcdefghijklmnopqrst")}
    )
    levels[2, 1] *= 0.9
    row = table_of(fx.make(levels)).loc[1]
    assert (row.detector, row.first_exposure) == ("c", 1)


def test_groups_are_told_apart_and_held_against_themselves(night):
    night = night.assign_coords(lamp=("exposure", ["red", "blue"] * 6))
    night.background[4, 1::2] *= 1.3
    night.background[4, 6] *= 1.05
    table = table_of(night, by="lamp")
    assert table.kind.tolist() == ["cell"]
    assert table.group.tolist() == ["red"]
    within(table.iloc[0], 0.05)


@pytest.mark.parametrize("by", [None, "lamp"])
def test_nothing_rejected_is_an_empty_table_with_the_same_columns(night, by):
    clean = table_of(night, by=by)
    night.background[4, 5] *= 1.05
    full = table_of(night, by=by)
    assert len(clean) == 0
    assert len(full) == 1
    assert clean.columns.tolist() == full.columns.tolist()
    assert clean.dtypes.tolist() == full.dtypes.tolist()
    assert clean.index.dtype == full.index.dtype


def test_solution_is_not_changed(night):
    night.background[4, 5] *= 1.05
    sol = fx.solve(night, robust="tukey")
    before = sol.copy(deep=True)
    rejections(sol)
    xr.testing.assert_identical(sol, before)


def test_solution_may_have_been_saved(night, tmp_path):
    night.background[4, 5:] *= 1.05
    sol = fx.solve(night, robust="tukey")
    fx.save(sol, tmp_path / "run.nc")
    pd.testing.assert_frame_equal(rejections(fx.open(tmp_path / "run.nc")), rejections(sol))


def test_plain_solution_is_refused(night):
    with pytest.raises(fx.FlatnormError, match=r"rejections: .*robust='tukey'"):
        rejections(fx.solve(night))


@pytest.mark.parametrize("wrong", [None, 3, "run.nc", np.ones((2, 3))])
def test_what_is_no_solution_is_refused(wrong):
    with pytest.raises(fx.FlatnormError, match="rejections: solution is a"):
        rejections(wrong)


def test_measurements_are_no_solution(night):
    with pytest.raises(fx.FlatnormError, match=r"rejections: .* was not solved"):
        rejections(night)
