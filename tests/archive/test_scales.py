"""The dictionaries that Rubin's combine reads."""

from __future__ import annotations

import math

import numpy as np
import pytest
import yaml

import flatnorm_xr as fx
from flatnorm_xr.archive.scales import pack_scales, scales_by_amplifier

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture
def solution():
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=4, seed=2)
    background = ds.background.copy()
    background[0, 1] = np.nan  # a dead amplifier
    background[:, :, 2] = np.nan  # a dark exposure
    return fx.solve(ds.assign(background=background), uncertainty=None)


def test_every_amplifier_is_divided_by_the_level_of_the_exposure(solution):
    scales = scales_by_amplifier(solution)
    for detector in (1, 2, 3):
        for amplifier in ("C00", "C01"):
            row = scales[detector][amplifier]
            assert list(row) == [101, 102, 103, 104]
            np.testing.assert_array_equal(list(row.values()), solution.E.values)


def test_packed_scales_leave_out_the_dark_exposure_and_keep_the_dead_amplifier(solution):
    packed = pack_scales(solution)
    assert list(packed["expScale"][1]["C01"]) == [101, 102, 104]
    assert math.isnan(packed["detScale"][1]["C01"])
    assert packed["detScale"][2]["C00"] == float(solution.G.sel(detector=2, amplifier="C00"))


def test_scales_of_whole_detectors_need_the_names_of_amplifiers():
    sol = fx.solve(fx.simulate(n_detectors=2, n_exposures=3, seed=1), uncertainty=None)
    packed = pack_scales(sol, {1: ["A", "B"], 2: ["A"]})
    assert packed["expScale"][1]["B"] == dict(zip([101, 102, 103], sol.E.values.tolist(), strict=True))
    assert list(packed["expScale"][2]) == ["A"]
    assert packed["detScale"] == dict(zip([1, 2], sol.G.values.tolist(), strict=True))
    with pytest.raises(fx.FlatnormError, match="amplifiers of 1, 2 are not known"):
        pack_scales(sol)


def test_rejected_exposures_are_not_to_be_combined():
    ds = fx.simulate(n_detectors=8, n_exposures=8, n_amplifiers=2, seed=4)
    rng = np.random.default_rng(1)
    factor = np.ones(ds.background.shape)
    factor[..., 5] += rng.normal(0, 0.05, factor.shape[:2])
    sol = fx.solve(ds.assign(background=ds.background * factor), robust="tukey", uncertainty=None)
    assert np.isfinite(sol.E.sel(exposure=106))
    assert 106 not in pack_scales(sol)["expScale"][1]["C00"]


def test_scales_of_units_that_differ_stay_their_own():
    ds = fx.simulate(n_detectors=6, n_exposures=12, n_amplifiers=2, seed=3)
    lamp = np.linspace(-0.02, 0.02, 12)[:, None] * np.linspace(-1, 1, 12)
    tilted = ds.background * (1 + lamp.reshape(6, 2, 12))
    sol = fx.solve(ds.assign(background=tilted), modes=1, uncertainty=None)
    scales = scales_by_amplifier(sol)
    for detector in (1, 6):
        np.testing.assert_array_equal(
            list(scales[detector]["C01"].values()), sol.scales.sel(detector=detector, amplifier="C01")
        )
    assert scales[1]["C00"] != scales[6]["C01"]


def test_padding_of_a_ragged_camera_is_not_there():
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=3, seed=2)
    exists = np.array([[True, False], [True, True], [True, True]])
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    ds["background"] = ds.background.where(ds.exists)
    packed = pack_scales(fx.solve(ds, uncertainty=None))
    assert list(packed["expScale"][1]) == ["C00"]
    assert list(packed["detScale"][1]) == ["C00"]


def test_groups_and_unsolved_levels_are_refused():
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=4, seed=2)
    with pytest.raises(fx.FlatnormError, match="solve it first"):
        pack_scales(ds)
    two = ds.assign_coords(physical_filter=("exposure", ["g", "g", "r", "r"]))
    with pytest.raises(fx.FlatnormError, match="several groups"):
        pack_scales(fx.solve(two, by="physical_filter", uncertainty=None))


def test_export_writes_the_yaml_that_rubin_reads(solution, tmp_path):
    path = fx.export(solution, tmp_path / "scales.yaml")
    read = yaml.safe_load(path.read_text())
    packed = pack_scales(solution)
    assert read["expScale"] == packed["expScale"]
    np.testing.assert_equal(read["detScale"], packed["detScale"])
    assert fx.export(solution, tmp_path / "scales.txt", to="lsst").read_bytes() == path.read_bytes()
    with pytest.raises(fx.FlatnormError, match=r"ends in \.csv and to is 'lsst'"):
        fx.export(solution, tmp_path / "scales.csv", to="lsst")
    with pytest.raises(fx.FlatnormError, match="solve it first"):
        fx.export(solution.drop_vars(["scales", "G"]), tmp_path / "none.yaml")
    assert not (tmp_path / "none.yaml").exists()


def test_order_of_the_dims_does_not_matter():
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=3, seed=2)
    exists = np.array([[True, True], [False, True], [True, True]])
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    ds["background"] = ds.background.where(ds.exists)
    sol = fx.solve(ds, uncertainty=None)
    assert pack_scales(sol.transpose()) == pack_scales(sol)
    assert list(pack_scales(sol)["expScale"][2]) == ["C01"]


@pytest.mark.parametrize("given", [{1: ["C00"]}, {1: ["C00", "C01"]}, {1: ["X", "Y"], 2: ["C00", "C01"]}], ids=str)
def test_names_that_are_not_the_solutions_are_refused(given):
    sol = fx.solve(fx.simulate(n_detectors=2, n_amplifiers=2, n_exposures=3, seed=2), uncertainty=None)
    with pytest.raises(fx.FlatnormError, match="are not those of the solution"):
        pack_scales(sol, given)
