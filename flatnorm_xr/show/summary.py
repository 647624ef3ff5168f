"""Say in a few lines what a dataset holds and how well it was solved, for people and for machines."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.flags import REJECTED, Flag

__all__ = ["summary"]


_HOW = ("method", "model", "weights", "robust", "gauge", "uncertainty")
"""Attributes that say how a solution was found."""


def summary(ds: xr.Dataset) -> dict[str, Any]:
    """Describe a dataset of measurements or a solution.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    dict
        Strings, numbers, lists and dicts, as JSON holds them: sizes, numbers of flags, and for a solution its method,
        gauge, range of E and G, and the figures of the fit (by group where there are groups).

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> summary(fx.make([[50.0, 100.0], [150.0, 300.0]]))["cells"]
    {'measured': 4, 'of': 4}
    """
    level = ds["background"]
    padding = ~ds["exists"] if "exists" in ds.coords else xr.zeros_like(level, dtype=bool)
    described: dict[str, Any] = {}
    if ds.attrs.get("camera"):
        described["camera"] = str(ds.attrs["camera"])
    described["sizes"] = {str(dim): int(level.sizes[dim]) for dim in level.dims}
    described["cells"] = {
        "measured": int(level.notnull().sum()),
        "of": int((~padding.broadcast_like(level)).sum()),
    }
    if "physical_filter" in ds.coords:
        described["filters"] = sorted({str(name) for name in np.atleast_1d(ds["physical_filter"].values)} - {""})
    if "quality" in ds:
        values = ds["quality"].values
        numbers = {str(flag.name): int(np.count_nonzero(values & np.uint32(flag))) for flag in Flag}
        described["flags"] = {name: number for name, number in numbers.items() if number}
    if "E" in ds and "G" in ds:
        described |= _fit(ds)
    return described


def _fit(ds: xr.Dataset) -> dict[str, Any]:
    described: dict[str, Any] = {name: ds.attrs[name] for name in _HOW if name in ds.attrs}
    described["E"] = {**_range(ds["E"]), "units": str(ds["E"].attrs.get("units", "adu"))}
    described["G"] = _range(ds["G"])
    if "E_stderr" in ds and "G_stderr" in ds:
        described["typical relative error"] = {name: _typical(ds[f"{name}_stderr"] / ds[name]) for name in ("E", "G")}
    if "rejection" in ds:
        described["rejected"] = _rejected(ds)
    real = ds["exists"] if "exists" in ds.coords else xr.DataArray(True)
    unknown = {"units": int((ds["G"].isnull() & real).sum()), "exposures": int(ds["E"].isnull().sum())}
    if any(unknown.values()):
        described["without a usable level"] = unknown
    for name in ("iterations", "converged", "rms_residual", "dof", "variance_factor"):
        if name in ds.attrs:
            described[name] = ds.attrs[name]
        elif name in ds:
            described[name] = {str(g): ds[name].values[i].item() for i, g in enumerate(ds["group"].values)}
    return described


def _typical(array: xr.DataArray) -> float | None:
    finite = array.values[np.isfinite(array.values)]
    return float(np.median(finite)) if finite.size else None


def _rejected(ds: xr.Dataset) -> dict[str, int]:
    """How many events of each kind took cells out."""
    events, quality = ds["rejection"].values, ds["quality"].values
    numbers = {
        str(flag.name): np.unique(events[(quality & np.uint32(flag) != 0) & (events > 0)]).size
        for flag in Flag
        if flag & REJECTED
    }
    return {name: number for name, number in numbers.items() if number}


def _range(array: xr.DataArray) -> dict[str, float | None]:
    finite = array.values[np.isfinite(array.values)]
    return {
        "smallest": float(finite.min()) if finite.size else None,
        "largest": float(finite.max()) if finite.size else None,
    }
