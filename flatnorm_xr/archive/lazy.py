"""One variable of many runs as one array along ``run``, of which only what is asked for is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.catalogue import Series
from flatnorm_xr.archive.history import Labels, UnitLabels, values_in_place
from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.model.schema import COORDINATES, VARIABLES

__all__ = ["on_demand", "over_runs"]

_UNITS = ("detector", "amplifier")
PLACE = "exposure_number"
"""Dim that stands for exposure, whose labels differ from run to run."""


def over_runs(
    name: str,
    series: Sequence[Series],
    labels: Mapping[int, Labels],
    *,
    path: Callable[[str], Path],
    place: Callable[[str], Path],
) -> xr.DataArray:
    """Join one variable of many runs.

    Parameters
    ----------
    name : str
        Variable or coordinate of the runs; in a run that has it not, all of it is missing.
    series : sequence of Series
    labels : mapping of int to Labels
    path : callable
        Of the file of a run, whose checksum is right.
    place : callable
        Of the file of a run, of which only the part that is read is checked.

    Returns
    -------
    DataArray, (run, dims...)
        Read when values are asked for. Missing: NaN, NaT, or an empty string.
    """
    form = _form_of(name, series, path)
    units = UnitLabels({one.labels: labels[one.labels] for one in series})
    sizes = dict(zip(units.dims, units.shape, strict=True))
    longest = max(one.exposures for one in series)
    dims = [PLACE if dim == "exposure" else dim for dim in form.dims]
    shape = tuple(sizes.get(dim, longest) for dim in dims)
    source = _Runs(name, tuple(series), form, units, shape, path, place)
    data = indexing.LazilyIndexedArray(source)
    coords = {
        "run": [one.run for one in series],
        "time": ("run", np.array([_NAT if one.time is None else one.time for one in series], "datetime64[us]")),
        **{dim: values for dim, values in units.coords.items() if dim in dims},
    }
    coords["time"] = ("run", coords["time"][1].astype("datetime64[ns]"))
    if name in coords:
        coords = {key: value for key, value in coords.items() if key != name or key == "run"}
    variable = xr.Variable(("run", *dims), data, form.attrs)
    return xr.DataArray(variable, coords=coords, name=name)


_NAT = np.iinfo(np.int64).min


class _Form:
    """What a variable looks like in a run that has it."""

    def __init__(self, array: xr.DataArray) -> None:
        self.dims = tuple(str(dim) for dim in array.dims if dim != "group")
        self.attrs = dict(array.attrs)
        kind = array.dtype.kind
        if kind == "M":
            self.dtype, self.missing = np.dtype("datetime64[ns]"), np.datetime64("NaT")
        elif kind in "OUT":
            self.dtype, self.missing = np.dtype(object), ""
        else:
            self.dtype, self.missing = np.dtype(float), np.nan

    dtype: np.dtype[Any]
    missing: Any


def _form_of(name: str, series: Sequence[Series], path: Callable[[str], Path]) -> _Form:
    for one in series:
        with netcdf.open_lazily(path(one.run)) as ds:
            if name not in ds.variables:
                continue
            form = _Form(ds[name])
        known = {*_UNITS, "exposure"}
        strange = [dim for dim in form.dims if dim not in known]
        if strange:
            msg = f"load: {name} lies along {offenders(strange)}, which are not the same in all runs; open single runs"
            raise FlatnormError(msg)
        return form
    likely = [known for known in (*VARIABLES, *COORDINATES) if known.lower() == str(name).lower()]
    msg = f"load: no run has {offenders([name])}" + (f"; is it {likely[0]}?" if likely else "; open(run) shows what is")
    raise FlatnormError(msg)


class _Runs(BackendArray):
    """The values, in the files."""

    def __init__(
        self,
        name: str,
        series: tuple[Series, ...],
        form: _Form,
        units: UnitLabels,
        shape: tuple[int, ...],
        path: Callable[[str], Path],
        place: Callable[[str], Path],
    ) -> None:
        self.shape = (len(series), *shape)
        self.dtype = form.dtype
        self._name, self._series, self._form, self._units = name, series, form, units
        self._path, self._place = path, place

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        first, rest = key[0], key[1:]
        if isinstance(first, int | np.integer):
            return _indexed(self._of_run(self._series[int(first)]), rest)
        parts = [_indexed(self._of_run(self._series[k]), rest) for k in np.arange(self.shape[0])[first]]
        return np.stack(parts) if parts else _indexed(np.empty((0, *self.shape[1:]), self.dtype), (slice(None), *rest))

    def _of_run(self, one: Series) -> Any:
        """All of one run, with every unit that any run has."""
        form = self._form
        whole = np.full(self.shape[1:], form.missing, dtype=self.dtype)
        values = values_in_place(one, self._name, dims=form.dims, path=self._place, caller="load")
        if values is not None:
            self._units.place(values, one.labels, into=whole, dims=form.dims)
            return whole
        path = self._path(one.run)
        # threads of dask come here together
        with netcdf.READING, netcdf.open_lazily(path) as ds:
            if self._name not in ds.variables:
                return whole
            array = ds[self._name].load()
            if "exposure" in array.dims and one.exposures < one.all_exposures:
                array = array.isel(exposure=ds["physical_filter"].values.astype(str) == one.filter)
        if "group" in array.dims:
            array = array.isel(group=one.only_group("load"))
        if set(array.dims) != set(form.dims):
            msg = (
                f"load: {self._name} lies along {offenders(array.dims)} in the run {one.run[:12]} and along "
                f"{offenders(form.dims)} in others; open single runs"
            )
            raise FlatnormError(msg)
        array = array.transpose(*form.dims)
        self._units.place(array.values.astype(self.dtype), one.labels, into=whole, dims=form.dims)
        return whole


def on_demand(path: Callable[[], Path]) -> xr.Dataset:
    """Give a run of which each variable is read when it is asked for; its file does not stay open.

    Parameters
    ----------
    path : callable
        Of the file, checked.
    """
    with netcdf.READING, netcdf.open_lazily(path()) as ds:
        variables = {
            name: variable.load()
            if name in ds.indexes or variable.dtype.kind in "OUT"
            else variable._replace(data=indexing.LazilyIndexedArray(_InFile(str(name), variable, path)))
            for name, variable in ds.variables.items()
        }
        coordinates = {name: variables[name] for name in ds.coords}
        return xr.Dataset({name: variables[name] for name in ds.data_vars}, coordinates, ds.attrs)


class _InFile(BackendArray):
    """A variable of one run, in its file."""

    def __init__(self, name: str, variable: xr.Variable, path: Callable[[], Path]) -> None:
        self.shape, self.dtype = variable.shape, variable.dtype
        self._name, self._path = name, path

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.OUTER, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        path = self._path()
        with netcdf.READING, netcdf.open_lazily(path) as ds:
            return ds.variables[self._name][key].values


def _indexed(values: Any, key: tuple[Any, ...]) -> Any:
    """Index each dim by itself."""
    for axis in reversed(range(len(key))):
        values = values[(slice(None),) * axis + (key[axis],)]
    return values
