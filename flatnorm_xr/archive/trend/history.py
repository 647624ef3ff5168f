"""Read a history of G: one row a unit, one column a run, and what is known of the runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, SchemaError, offenders, warn

__all__ = ["History", "covariates", "read_history", "select_units"]

Array = NDArray[Any]

YEAR = np.timedelta64(31_557_600_000_000_000, "ns")
"""A Julian year of 365.25 days."""


@dataclass(frozen=True)
class History:
    """G of all units in all runs."""

    dataset: xr.Dataset
    dims: tuple[str, ...]
    """Those of a unit: detector, and amplifier where there are any."""
    y: Array
    """(unit, run), ln G, NaN where not measured."""
    years: Array
    """(run), from the mean time."""
    names: list[str]
    """(unit), for sentences."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Sizes of the dims of a unit."""
        return tuple(self.dataset.sizes[dim] for dim in self.dims)

    def of_runs(self, name: str, which: Array | slice) -> Array:
        """Values of a variable in some runs, (run, unit[, rank])."""
        variable = self.dataset.variables[name].transpose("run", *self.dims, ...)
        values = np.asarray(variable.isel(run=which).values, dtype=float)
        return values.reshape(values.shape[0], -1, *values.shape[1 + len(self.dims) :])


def read_history(history: xr.Dataset, *, caller: str) -> History:
    """Check a history and take the logarithm of its G.

    Parameters
    ----------
    history : Dataset
        ``G`` (run, detector[, amplifier]) and the coordinates ``run`` and ``time`` (run).
    caller : str
        Name of the function that errors name.

    Raises
    ------
    SchemaError
        No G, other dims, no run, or times that are missing or not in order.
    """
    if not isinstance(history, xr.Dataset) or "G" not in history:
        msg = f"{caller}: history must be a Dataset with G (run, detector[, amplifier]), as an archive loads it"
        raise SchemaError(msg)
    dims = tuple(dim for dim in ("detector", "amplifier") if dim in history["G"].dims)
    if set(history["G"].dims) != {"run", *dims} or "detector" not in dims:
        found = ", ".join(map(str, history["G"].dims))
        msg = f"{caller}: G of history has the dims ({found}); it must have (run, detector[, amplifier])"
        raise SchemaError(msg)
    if not history["G"].size:
        msg = f"{caller}: history holds no run or no unit; add runs to the archive or widen the selection"
        raise SchemaError(msg)
    years = _years(history, caller)
    shape = [history.sizes[dim] for dim in dims]
    y = np.full((int(np.prod(shape)), history.sizes["run"]), np.nan)
    G = history.variables["G"].transpose("run", *dims)
    for first in range(0, y.shape[1], 64):
        some = np.asarray(G.isel(run=slice(first, first + 64)).values, dtype=float)
        some = some.reshape(some.shape[0], -1)
        good = (some > 0) & np.isfinite(some)
        y[:, first : first + 64] = np.log(some, out=np.full(some.shape, np.nan), where=good).T
    if "exists" in history.coords and set(history["exists"].dims) == set(dims):
        y[~history["exists"].transpose(*dims).values.astype(bool).ravel()] = np.nan
    return History(history, dims, y, years, _names(history, dims))


def select_units(history: History, units: Mapping[str, Any] | None, *, caller: str) -> tuple[xr.Dataset, Array]:
    """Give the history of some units, and which rows they are; all of them where ``units`` is None.

    Parameters
    ----------
    units : mapping
        Labels, or lists of them, by dim.
    """
    whole = history.dataset
    if units is None:
        return whole, np.arange(history.y.shape[0])
    rows = np.arange(history.y.shape[0]).reshape(history.shape)
    strange = [dim for dim in units if dim not in history.dims]
    if strange:
        msg = f"{caller}: units names {offenders(strange)}; a unit has the dims {', '.join(history.dims)}"
        raise FlatnormError(msg)
    for axis, dim in enumerate(history.dims):
        if dim not in units:
            continue
        wanted = np.atleast_1d(np.asarray(units[dim]))
        known = whole[dim].values.tolist()
        absent = [label for label in wanted.tolist() if label not in known]
        if absent:
            msg = f"{caller}: units names {dim} {offenders(absent)}, not in the history; have {offenders(known)}"
            raise FlatnormError(msg)
        places = np.array([known.index(label) for label in wanted.tolist()], dtype=int)
        rows = np.take(rows, places, axis=axis)
        whole = whole.isel({dim: places})
    return whole, rows.ravel()


def covariates(history: History, against: str | Iterable[str], *, caller: str) -> dict[str, Array]:
    """Values of the coordinates along run that G is held against, NaN where a run has none; warns of those runs.

    Raises
    ------
    FlatnormError
        A name that is no numeric coordinate along run.
    """
    names = list(dict.fromkeys([against] if isinstance(against, str) else against))
    ds = history.dataset
    able = [
        str(name)
        for name, array in ds.coords.items()
        if array.dims == ("run",) and array.dtype.kind in "iuf" and name != "run"
    ]
    strange = [name for name in names if name not in able]
    if strange:
        msg = f"{caller}: against names {offenders(strange)}, no numeric coordinate along run; have {offenders(able)}"
        raise FlatnormError(msg)
    values = {name: np.asarray(ds[name].values, dtype=float) for name in names}
    for name, along in values.items():
        lost = np.flatnonzero(~np.isfinite(along))
        if lost.size:
            runs = offenders([str(label)[:12] for label in ds["run"].values[lost]])
            warn(f"{caller}: {name} is unknown in runs {runs}; they have no part in the drifts and responses")
    return values


def _years(history: xr.Dataset, caller: str) -> Array:
    if "time" not in history.coords or history["time"].dims != ("run",) or history["time"].dtype.kind != "M":
        msg = f"{caller}: history needs a coordinate time (run) of datetime64"
        raise SchemaError(msg)
    time = history["time"].values.astype("datetime64[ns]")
    runs = [str(label)[:12] for label in history["run"].values]
    unknown = [runs[k] for k in np.flatnonzero(np.isnat(time))]
    if unknown:
        msg = (
            f"{caller}: the time of runs {offenders(unknown)} is unknown; give their exposures times or leave them out"
        )
        raise SchemaError(msg)
    since = (time - time[0]) / YEAR
    early = [runs[k + 1] for k in np.flatnonzero(np.diff(since) < 0)]
    if early:
        msg = f"{caller}: runs {offenders(early)} are earlier than the ones before them; sort the history by time"
        raise SchemaError(msg)
    return np.asarray(since - since.mean())


def _names(history: xr.Dataset, dims: tuple[str, ...]) -> list[str]:
    detectors = [str(label) for label in history["detector"].values]
    if "amplifier" not in dims:
        return detectors
    return [f"{detector} {amplifier}" for detector in detectors for amplifier in history["amplifier"].values]
