"""Say in a few lines what a dataset holds and how well it was solved, for people and for machines."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from flatnorm_xr.errors import SchemaError
from flatnorm_xr.flags import REJECTED, WITHOUT_WEIGHT, Flag
from flatnorm_xr.model.schema import level_units, units_of
from flatnorm_xr.model.validate import needs_levels

__all__ = ["PARTS", "Part", "summary", "without_level"]


class Part(NamedTuple):
    """One part of a summary."""

    reads: tuple[str, ...]
    """Variables without which there is no such part."""
    tell: Callable[[xr.Dataset], dict[str, Any]]
    may_read: tuple[str, ...] = ()
    """Variables that it reads besides, where they are there."""


def summary(ds: xr.Dataset) -> dict[str, Any]:
    """Describe a dataset of measurements or a solution.

    Parameters
    ----------
    ds : Dataset
        With ``background``; read whole, so that one that is not in memory is computed.

    Returns
    -------
    dict
        Strings, numbers, lists and dicts, as JSON holds them: sizes, numbers of flags, and for a solution its method,
        gauge, range of E and G, and the figures of the fit (by group where there are groups).

    Raises
    ------
    SchemaError
        There is no ``background``.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> summary(fx.make([[50.0, 100.0], [150.0, 300.0]]))["cells"]
    {'measured': 4, 'of': 4}
    """
    if not isinstance(ds, xr.Dataset) or ("background" not in ds and needs_levels(ds)):
        msg = "summary: background is missing: the levels go into a variable of that name"
        raise SchemaError(msg)
    described: dict[str, Any] = {}
    for part in PARTS:
        if all(name in ds for name in part.reads):
            described |= part.tell(ds)
    return described


def without_level(ds: xr.Dataset) -> dict[str, list[str]]:
    """Name the units and the exposures that have no usable level.

    Parameters
    ----------
    ds : Dataset
        Of a solution, those whose G or E is NaN (in every group); of measurements, those that have no cell which a
        solve could use.

    Returns
    -------
    dict
        ``"units"`` and ``"exposures"``: labels. A detector all of whose amplifiers are without is named once, by
        itself; an amplifier is named after its detector. Amplifiers that do not exist are not named.
    """
    if "G" in ds and "E" in ds:
        lost_units = ds["G"].isnull()
        lost_units = lost_units.all("group") if "group" in lost_units.dims else lost_units
        lost_exposures = ds["E"].isnull()
    else:
        level = ds["background"]
        lost = ~((level > 0) & (level < np.inf))
        if "quality" in ds:
            lost = lost | ((ds["quality"] & np.uint32(WITHOUT_WEIGHT)) != 0)
        lost_units = lost.all("exposure")
        lost_exposures = lost.all([dim for dim in lost.dims if dim != "exposure"])
    return {"units": _name_units(lost_units, _real(ds)), "exposures": _labels(lost_exposures)}


def _name_units(lost: xr.DataArray, real: xr.DataArray) -> list[str]:
    if "amplifier" not in lost.dims:
        return _labels(lost)
    lost, real = xr.broadcast(lost.transpose("detector", "amplifier"), real)
    amplifiers = lost["amplifier"].values
    names = []
    for detector, gone, there in zip(lost["detector"].values, lost.values, real.values, strict=True):
        if gone[there].all() and there.any():
            names.append(f"{detector} (all amplifiers)")
        else:
            names += [f"{detector} {amplifier}" for amplifier in amplifiers[gone & there]]
    return names


def _labels(chosen: xr.DataArray) -> list[str]:
    (dim,) = chosen.dims
    return [str(label) for label in chosen[dim].values[chosen.values]]


def _real(ds: xr.Dataset) -> xr.DataArray:
    """Whether a unit exists."""
    return ds["exists"] if "exists" in ds.coords else xr.DataArray(True)


def _camera(ds: xr.Dataset) -> dict[str, Any]:
    return {"camera": str(ds.attrs["camera"])} if ds.attrs.get("camera") else {}


def _of_cells(ds: xr.Dataset) -> xr.DataArray:
    """Levels, or what lies along the same dims in a solution without levels."""
    names = [name for name in ("background", "scales", "bgModel") if name in ds]
    return ds[names[0]] if names else ds["G"] * ds["E"]


def _sizes(ds: xr.Dataset) -> dict[str, Any]:
    level = _of_cells(ds)
    return {"sizes": {str(dim): int(level.sizes[dim]) for dim in level.dims}}


def _units(ds: xr.Dataset) -> dict[str, Any]:
    level = _of_cells(ds)
    unit = level.isel(exposure=0, drop=True) if "exposure" in level.dims else level
    return {"units": int(_real(ds).broadcast_like(unit).sum()) if "exists" in ds.coords else int(unit.size)}


def _cells(ds: xr.Dataset) -> dict[str, Any]:
    level = ds["background"]
    return {"cells": {"measured": int(level.notnull().sum()), "of": int(_real(ds).broadcast_like(level).sum())}}


def _filters(ds: xr.Dataset) -> dict[str, Any]:
    return {"filters": sorted({str(name) for name in np.atleast_1d(ds["physical_filter"].values)} - {""})}


def _nights(ds: xr.Dataset) -> dict[str, Any]:
    return {"nights": sorted({str(name) for name in np.atleast_1d(ds["night"].values)} - {""})}


def _times(ds: xr.Dataset) -> dict[str, Any]:
    time = np.atleast_1d(ds["time"].values)
    known = time[~np.isnat(time)]
    if not known.size:
        return {}
    first, last = (str(moment.astype("datetime64[s]")) for moment in (known.min(), known.max()))
    return {"times": {"first": first, "last": last}}


def _flags(ds: xr.Dataset) -> dict[str, Any]:
    values = ds["quality"].values
    numbers = {str(flag.name): int(np.count_nonzero(values & np.uint32(flag))) for flag in Flag}
    return {"flags": {name: number for name, number in numbers.items() if number}}


_HOW = ("method", "model", "weights", "robust", "gauge", "uncertainty")
"""Attributes that say how a solution was found."""

_FIGURES = ("iterations", "converged", "rms_residual", "dof", "variance_factor")
"""Attributes, or variables along ``group``, that say how well the model fits."""


def _how(ds: xr.Dataset) -> dict[str, Any]:
    return {name: _plain(ds.attrs[name]) for name in _HOW if name in ds.attrs}


def _exposure_levels(ds: xr.Dataset) -> dict[str, Any]:
    return {"E": {**_range(ds["E"]), "units": level_units(units_of(ds["E"]))}}


def _responses(ds: xr.Dataset) -> dict[str, Any]:
    return {"G": _range(ds["G"])}


def _errors(ds: xr.Dataset) -> dict[str, Any]:
    return {"typical relative error": {name: _typical(ds[f"{name}_stderr"] / ds[name]) for name in ("E", "G")}}


def _lost(ds: xr.Dataset) -> dict[str, Any]:
    unknown = {"units": int((ds["G"].isnull() & _real(ds)).sum()), "exposures": int(ds["E"].isnull().sum())}
    return {"without a usable level": unknown} if any(unknown.values()) else {}


def _sets(ds: xr.Dataset) -> dict[str, Any]:
    component = ds["component"]
    number = int(np.unique(component.values[component.values >= 0]).size)
    return {"connected sets": number} if number > 1 and "group" not in component.dims else {}


def _fit(ds: xr.Dataset) -> dict[str, Any]:
    described: dict[str, Any] = {}
    for name in _FIGURES:
        if name in ds.attrs:
            described[name] = _plain(ds.attrs[name])
        elif name in ds:
            described[name] = {str(g): ds[name].values[i].item() for i, g in enumerate(ds["group"].values)}
    return described


def _rejected(ds: xr.Dataset) -> dict[str, Any]:
    """How many events of each kind took cells out."""
    events, quality = ds["rejection"].values, ds["quality"].values
    numbers = {
        str(flag.name): np.unique(events[(quality & np.uint32(flag) != 0) & (events > 0)]).size
        for flag in Flag
        if flag & REJECTED
    }
    return {"rejected": {name: number for name, number in numbers.items() if number}}


def _typical(array: xr.DataArray) -> float | None:
    finite = array.values[np.isfinite(array.values)]
    return float(np.median(finite)) if finite.size else None


def _range(array: xr.DataArray) -> dict[str, float | None]:
    finite = array.values[np.isfinite(array.values)]
    return {
        "smallest": float(finite.min()) if finite.size else None,
        "largest": float(finite.max()) if finite.size else None,
    }


def _plain(value: Any) -> Any:
    """Python's own number for one of NumPy, which JSON does not know."""
    return value.item() if isinstance(value, np.generic) else value


PARTS = (
    Part((), _camera),
    Part((), _sizes),
    Part((), _units, ("exists",)),
    Part(("background",), _cells, ("exists",)),
    Part(("physical_filter",), _filters),
    Part(("night",), _nights),
    Part(("time",), _times),
    Part(("quality",), _flags),
    Part(("E", "G"), _how),
    Part(("E", "G"), _exposure_levels),
    Part(("E", "G"), _responses),
    Part(("E", "G", "E_stderr", "G_stderr"), _errors),
    Part(("E", "G", "rejection", "quality"), _rejected),
    Part(("E", "G"), _lost, ("exists",)),
    Part(("E", "G", "component"), _sets),
    Part(("E", "G"), _fit, _FIGURES),
)
"""The parts of a summary, in order."""
