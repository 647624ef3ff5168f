"""diagnose on published numbers: DESI's lamps and spectrographs, and its guide cameras."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest

import flatnorm_xr as fx
from flatnorm_xr.decompose.structure import diagnose


def solved(ds, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        return fx.solve(ds, **keywords)


@pytest.fixture(scope="module")
def fluxes(shared):
    return pd.read_csv(shared / "data" / "desi-nightwatch" / "derived_independent_epochs.csv", dtype={"epoch": str})


def arm(fluxes, name):
    """Four lamps in four epochs on ten spectrographs, petal k at 36k degrees."""
    rows = fluxes[(fluxes["arm"] == name) & fluxes["lamp"].str.startswith("CALIB")]
    table = rows.pivot_table(index="spectrograph", columns=["epoch", "lamp"], values="flux")
    angle = np.deg2rad(36 * table.index.to_numpy())
    return fx.make(
        table.to_numpy(),
        coords={
            "detector": table.index.to_numpy(),
            "exposure": [" ".join(column) for column in table.columns],
            "lamp": [lamp for _, lamp in table.columns],
            "x": 400 * np.cos(angle),
            "y": 400 * np.sin(angle),
        },
    )


@pytest.mark.parametrize("name", ["B", "R", "Z"])
def test_four_lamps_light_ten_spectrographs_differently(fluxes, name):
    levels = arm(fluxes, name)
    diagnosis = diagnose(solved(levels))
    assert diagnosis.attrs["causes"].split(", ")[0] == "lamp"
    assert diagnosis.attrs["verdict"].startswith("the 4 lamps light the focal plane differently")
    assert "solve with by='lamp'" in diagnosis.attrs["verdict"]
    lamp, plane = diagnosis.sel(test="lamp"), diagnosis.sel(test="plane")
    assert float(lamp.p_holm) < 1e-10
    assert 5.5 <= float(lamp["size"]) <= 6.0
    assert float(plane.p_holm) < 1e-10
    assert float(plane.share) >= 0.85
    without = diagnose(solved(levels.drop_vars("lamp")))
    assert without.attrs["causes"].split(", ")[0] == "plane"
    assert "residuals follow a plane across the focal plane (9" in without.attrs["verdict"]
    assert "plane" not in diagnose(solved(levels, by="lamp")).attrs["causes"]


def test_the_camera_whose_response_jumped_between_epochs_is_named(fluxes):
    diagnosis = diagnose(solved(arm(fluxes, "Z"), by="lamp"))
    assert diagnosis.attrs["groups"] == 4
    assert diagnosis.attrs["causes"].split(", ")[0] == "jump"
    assert str(diagnosis.jump_exposure.sel(detector=1).values) == "20250101 CALIB-00"
    assert float(diagnosis.jump.sel(detector=1)) == pytest.approx(-0.064, abs=0.005)


def test_two_noisy_guide_cameras_are_named(shared):
    rows = pd.read_csv(shared / "data" / "desi-gfa" / "gfa_rescale_factors.csv")
    table = rows.pivot_table(index="detector", columns="expid", values="rel_level")
    ds = fx.make(
        table.to_numpy(),
        coords={"detector": table.index.to_numpy().astype(str), "exposure": table.columns.to_numpy()},
    ).assign_coords(group_of_4=("exposure", np.arange(64) // 4))
    diagnosis = diagnose(solved(ds, by="group_of_4", weights="uniform"))
    assert diagnosis.attrs["groups"] == 16
    assert diagnosis.attrs["causes"].split(", ")[0] == "scatter"
    noisy = diagnosis.detector.values[diagnosis.own_scale.values > 5]
    assert list(noisy) == ["GUIDE3", "GUIDE7"]
