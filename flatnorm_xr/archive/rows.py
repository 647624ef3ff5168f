"""A dataset as the rows of a long table, one a cell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.flags import Flag
from flatnorm_xr.model.schema import COORDINATES, VARIABLES, Variable, level_units, units_of

__all__ = [
    "cell_dims",
    "columns_of_coordinates",
    "columns_of_values",
    "default_dims",
    "padding",
    "rows_of",
    "units_of_levels",
]

Array = np.ndarray[Any, Any]

_FIRST = ("background", "counts", "sigma", "E", "G", "bgModel", "scales", "residual", "weight", "quality")


def rows_of(ds: xr.Dataset) -> dict[str, Array]:
    """Columns of the long table: labels first, then values, then coordinates; exposures vary fastest.

    Parameters
    ----------
    ds : Dataset
        Levels or a solution. Padding (``exists`` False) has no rows. What lies along ``group`` is that of the
        exposure's group.

    Returns
    -------
    dict of array
        All of one length.
    """
    dims = cell_dims(ds)
    shape = tuple(ds.sizes[dim] for dim in dims)
    keep: Any = slice(None)
    if "exists" in ds.coords and "amplifier" in dims:
        keep = _spread(ds["exists"], dims, shape)
    labels = {dim: _spread(_labels(ds, dim), dims, shape)[keep] for dim in dims}
    names = [*columns_of_values(ds, dims), *columns_of_coordinates(ds, dims)]
    return labels | {name: _spread(_of_exposures_group(ds, ds[name]), dims, shape)[keep] for name in names}


def cell_dims(ds: xr.Dataset) -> list[str]:
    """Dims of a cell: those of the levels, or in a solution without levels of its scales or responses."""
    of_cells = next((ds[name] for name in ("background", "scales", "bgModel") if name in ds), None)
    dims = {*ds["G"].dims, "exposure"} if of_cells is None else set(of_cells.dims)
    return [dim for dim in VARIABLES["background"].allowed_dims if dim in dims]


def default_dims(name: str, dims: Sequence[str], grouped: bool) -> tuple[str, ...] | None:
    """Dims that the model gives a variable or coordinate in a table with these dims; None for one it does not know."""
    row = VARIABLES.get(name) or COORDINATES.get(name)
    own = {*dims, "group"} if grouped else set(dims)
    return None if row is None else tuple(dim for dim in row.allowed_dims if dim in own)


def padding(row: Variable | None, dtype: np.dtype[Any]) -> Any:
    """Give what a solve leaves in a cell of an amplifier that does not exist."""
    if row is not None and row.name == "quality":
        return int(Flag.NO_SUCH_AMPLIFIER)
    if row is not None and row.name == "component":
        return -1
    if (row is not None and row.name in ("weight", "gauge_weight", "rejection")) or dtype.kind in "iu":
        return 0
    return {"M": np.datetime64("NaT"), "U": "", "O": "", "b": False}.get(dtype.kind, np.nan)


def units_of_levels(ds: xr.Dataset) -> str:
    """Units of the levels of a dataset, or of E where it has none."""
    found = next((ds[name] for name in ("background", "E", "scales") if name in ds), None)
    return level_units(None if found is None else units_of(found))


def _labels(ds: xr.Dataset, dim: str) -> xr.DataArray:
    return ds[dim] if dim in ds.coords else xr.DataArray(np.arange(ds.sizes[dim]), dims=dim)


def columns_of_values(ds: xr.Dataset, dims: list[str]) -> list[str]:
    """Names of the variables of the model that have a value in each cell."""
    rest = [name for name in VARIABLES if name not in _FIRST]
    names = [name for name in (*_FIRST, *rest) if name in ds.data_vars]
    of_cells = {name: {str(dim) for dim in ds[name].dims} - {"group"} for name in names}
    return [name for name, own in of_cells.items() if own and own <= set(dims)]


def columns_of_coordinates(ds: xr.Dataset, dims: list[str]) -> list[str]:
    """Names of the coordinates that have a value in each cell."""
    return [
        str(name)
        for name, coordinate in ds.coords.items()
        if name not in dims and name != "exists" and coordinate.dims and set(coordinate.dims) <= set(dims)
    ]


def _of_exposures_group(ds: xr.Dataset, array: xr.DataArray) -> xr.DataArray:
    """Along exposure what lies along group: the value of each exposure's group."""
    if "group" not in array.dims:
        return array
    import pandas as pd

    position = ds.get_index("group").get_indexer(pd.Index(ds["exposure_group"].values))
    picked = array.isel(group=xr.DataArray(np.maximum(position, 0), dims="exposure")).drop_vars(
        "group", errors="ignore"
    )
    known = xr.DataArray(position >= 0, dims="exposure")
    return picked if bool(known.all()) else picked.where(known)


def _spread(array: xr.DataArray, dims: list[str], shape: tuple[int, ...]) -> Array:
    """Values on every cell, as one row; only positions are used, so labels are not looked at again."""
    missing = {dim: size for dim, size in zip(dims, shape, strict=True) if dim not in array.dims}
    bare = array.drop_vars(list(array.coords))
    return np.asarray(bare.expand_dims(missing).transpose(*dims).values).ravel()
