"""Datasets for the tests of saving: measurements and solutions built by hand, without the solve."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.acceptance import Thresholds
from flatnorm_xr.model.make import stamp


def build_measurements(*, amplifiers: bool = False, exposures: int = 4, seed: int = 1) -> xr.Dataset:
    """Levels of three detectors with a hole, an infinite, a zero and a negative level, and every kind of coordinate."""
    rng = np.random.default_rng(seed)
    shape = (3, 2, exposures) if amplifiers else (3, exposures)
    background = rng.normal(20_000.0, 100.0, shape)
    background[0, ..., 0], background[1, ..., 0], background[2, ..., 0] = np.nan, np.inf, 0.0
    background[2, ..., 1] = -1.0 / 3.0
    counts = rng.integers(1, 2**40, shape).astype(float)
    coords = {
        "detector": [3, 1, 2],
        "exposure": [f"é{i}" for i in range(exposures)],
        "time": np.datetime64("2024-01-31T23:59:59.123456789", "ns") + np.arange(exposures),
        "physical_filter": ["g", "NA", "None", 'ñ, "r"'][:exposures] + ["i"] * (exposures - 4),
        "night": 20240131 + np.arange(exposures) // 2,
        "detector_name": ["S1", "", "nan"],
        "x": [0.1, np.nan, -3.0],
    }
    if amplifiers:
        coords |= {"amplifier": ["A", "B"], "exists": [[True, True], [True, False], [True, True]]}
        coords |= {"gain": np.array([[1.1, 1.2], [1.3, np.nan], [1.5, 1.6]])}
        background[1, 1] = np.nan
    ds = fx.make(
        background,
        coords=coords,
        counts=counts,
        sigma=np.sqrt(np.abs(np.where(np.isfinite(background), background, 4.0))),
        quality=np.zeros(shape, dtype="u4"),
        attrs={"title": "a test", "history": "", "source": "simulation", "inputs": "[]"},
    )
    if amplifiers:
        ds["counts"] = ds.counts.where(ds.exists)
        ds["sigma"] = ds.sigma.where(ds.exists)
        ds = stamp(ds, units="adu")
    return ds


def build_solution(*, amplifiers: bool = False, by: bool = False, exposures: int = 4) -> xr.Dataset:
    """Build a dataset of the solved kind, with E, G and all that follows from them; ``by`` adds two groups."""
    ds = build_measurements(amplifiers=amplifiers, exposures=exposures)
    rng = np.random.default_rng(7)
    unit = ("detector", "amplifier") if amplifiers else ("detector",)
    sizes = [ds.sizes[dim] for dim in unit]
    E = xr.DataArray(rng.uniform(1e4, 3e4, exposures), dims="exposure", coords={"exposure": ds.exposure})
    if by:
        ds = ds.assign_coords(group=["g1", "g2"], exposure_group=("exposure", ["g2", *["g1"] * (exposures - 1)]))
        G = xr.DataArray(rng.uniform(0.9, 1.1, (*sizes, 2)), dims=(*unit, "group"))
        of_exposure = G.isel(group=xr.DataArray([1, *[0] * (exposures - 1)], dims="exposure"))
    else:
        G = of_exposure = xr.DataArray(rng.uniform(0.9, 1.1, sizes), dims=unit)
    ds["E"], ds["G"] = E.drop_vars("exposure"), G
    ds["bgModel"] = of_exposure * ds.E
    ds["scales"] = ds.E.broadcast_like(ds.background)
    with np.errstate(invalid="ignore", divide="ignore"):
        ds["residual"] = np.log(ds.background / ds.bgModel)
    ds["weight"] = ds.counts.where(ds.background > 0, 0.0)
    ds["component"] = G * 0
    ds.attrs |= {"gauge": "mean", "method": "exact", "iterations": 5, "converged": 1, "rms_residual": 0.01}
    return stamp(ds, units="adu")


@pytest.fixture(scope="session")
def measurements() -> Callable[..., xr.Dataset]:
    return build_measurements


@pytest.fixture(scope="session")
def solution() -> Callable[..., xr.Dataset]:
    return build_solution


@pytest.fixture
def calib(tmp_path: Path) -> fx.Archive:
    """Give an empty archive."""
    return fx.Archive(tmp_path / "calib")


@pytest.fixture(scope="session")
def unchecked() -> Thresholds:
    """Give no limits, so that a run of a few numbers is certified without a diagnosis."""
    return Thresholds(**{field.name: None for field in fields(Thresholds)})
