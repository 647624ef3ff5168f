"""Published numbers, solved from a table: DESI's lamps and spectrographs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import flatnorm_xr as fx
from flatnorm_xr.cli.main import main

RECIPE = Path(__file__).resolve().parents[1] / "docs" / "examples" / "desi_long_form.py"


@pytest.fixture(scope="module")
def arms(shared, tmp_path_factory):
    """Levels of the three arms, in the long form."""
    source = shared / "data" / "desi-nightwatch" / "derived_independent_epochs.csv"
    folder = tmp_path_factory.mktemp("desi")
    for arm in "BRZ":
        subprocess.run([sys.executable, str(RECIPE), str(source), arm, str(folder / f"{arm}.csv")], check=True)
    return folder


@pytest.fixture(scope="module")
def red_arm(arms):
    return fx.read_table(arms / "R.csv", units="adu")


def calibration_lamps(ds):
    return ds.isel(exposure=ds.lamp.str.startswith("CALIB").values)


@pytest.mark.parametrize("lamp", ["CALIB-00", "CALIB-01", "CALIB-02", "CALIB-03"])
def test_one_lamp_follows_the_outer_product_to_half_a_percent(red_arm, lamp):
    sol = fx.solve(red_arm.isel(exposure=(red_arm.lamp == lamp).values))
    assert 0.0050 <= sol.attrs["rms_residual"] <= 0.0053


def test_all_lamps_together_do_not(red_arm):
    lamps = calibration_lamps(red_arm)
    assert lamps.sizes["exposure"] == 16
    assert 0.055 <= fx.solve(lamps).attrs["rms_residual"] <= 0.057


def test_grouping_by_lamp_brings_it_back(red_arm):
    sol = fx.solve(calibration_lamps(red_arm), by="lamp")
    assert (sol.rms_residual >= 0.0050).all()
    assert (sol.rms_residual <= 0.0053).all()
    assert sol.G.dims == ("detector", "group")


@pytest.mark.parametrize(
    ("arm", "smallest", "largest"), [("R", 0.0050, 0.0052), ("Z", 0.0102, 0.0108), ("B", 0.0136, 0.0153)]
)
def test_one_lamp_at_a_time_from_the_shell(arms, tmp_path, arm, smallest, largest):
    with pytest.raises(SystemExit) as left:
        main(["solve", str(arms / f"{arm}.csv"), "-o", str(tmp_path / "run.nc"), "--by", "lamp", "--quiet"])
    assert left.value.code == 0
    rms = calibration_groups(fx.open(tmp_path / "run.nc")).rms_residual
    assert smallest <= float(rms.min()) <= float(rms.max()) <= largest


def calibration_groups(sol):
    return sol.isel(group=sol.group.str.startswith("CALIB").values)


@pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
@pytest.mark.parametrize(("arm", "left"), [("R", 0.006), ("Z", 0.011), ("B", 0.015)])
def test_four_lamps_light_the_focal_plane_from_four_sides(arms, arm, left):
    ds = calibration_lamps(fx.read_table(arms / f"{arm}.csv", units="adu"))
    angle = np.radians(36 * np.array([int(str(label).lstrip("BRZbrz")) for label in ds.detector.values]))
    ds = ds.assign_coords(x=("detector", 400 * np.cos(angle)), y=("detector", 400 * np.sin(angle)))
    together = fx.solve(ds)
    assert 0.055 <= together.attrs["rms_residual"] < 0.0605
    diagnosis = fx.diagnose(together)
    plane = diagnosis.sel(test="plane")
    assert float(plane.p_value) < 0.01
    assert float(plane.share) >= 0.85
    assert diagnosis.attrs["verdict"].startswith("the 4 lamps light the focal plane differently")
    assert re.search(r"a plane is 9\d % of it", diagnosis.attrs["verdict"])
    alone = fx.diagnose(together.drop_vars("lamp"))
    assert alone.attrs["verdict"].startswith("residuals follow a plane across the focal plane")
    each = fx.solve(ds, by="lamp")
    assert float(np.sqrt((each.residual**2).mean())) <= left


@pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
def test_guide_cameras_that_err_are_named_among_eight_that_agree_to_parts_in_a_hundred_thousand(shared):
    table = pd.read_csv(shared / "data" / "desi-gfa" / "gfa_rescale_factors.csv")
    levels = table.pivot(index="detector", columns="expid", values="rel_level")
    ds = fx.make(levels.values, coords={"detector": levels.index.values.astype(str), "exposure": levels.columns.values})
    # what was published is relative to the median of each four exposures of one camera
    ds = ds.assign_coords(group=("exposure", np.arange(64) // 4))
    sol = fx.solve(ds, by="group", robust="tukey")
    scatter = 1.4826 * abs(sol.residual - sol.residual.median("exposure")).median("exposure")
    bad = sol.detector.isin(["GUIDE3", "GUIDE7"])
    assert (scatter.where(~bad, 3e-5) > 1.5e-5).all()
    assert (scatter.where(~bad, 3e-5) < 4e-5).all()
    assert (scatter.where(bad, 1) > 5e-4).all()
    table = fx.rejections(sol)
    units = table.detector[table.kind == "unit"].value_counts()
    assert (units[["GUIDE3", "GUIDE7"]] >= 12).all()
    assert (units.drop(["GUIDE3", "GUIDE7"]) <= 2).all()
