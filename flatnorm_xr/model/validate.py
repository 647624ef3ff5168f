"""Check a dataset against the data model, and say everything that is wrong with it in one error."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
import xarray as xr

from flatnorm_xr.errors import SchemaError, offenders
from flatnorm_xr.model.schema import COORDINATES, LEVEL_UNITS, VARIABLES, Variable, units_of

__all__ = ["check_attributes", "is_of_runs", "needs_levels", "validate"]

_NUMBERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f4", "f8")


def validate(ds: xr.Dataset, *, caller: str = "validate", needs_levels: bool = True) -> None:
    """Raise one error that lists everything in which ``ds`` departs from the data model.

    Names that the model does not know are left alone; NaN, infinite, zero and negative levels are data, not
    errors (the solve flags them).

    Parameters
    ----------
    ds : Dataset
        Measurements or a solution.
    caller : str
        Name of the function that was called, for the message.
    needs_levels : bool
        Whether ``background`` must be there; a diagnosis holds none.

    Raises
    ------
    SchemaError
        With all offenders: missing ``background``, wrong dims, values that are not numbers, repeated or missing
        labels, negative counts or sigma, unknown units, ``exists`` that is not bool.

    Examples
    --------
    >>> import xarray as xr
    >>> validate(xr.Dataset({"background": ("detector", [1.0, 2.0])}))
    Traceback (most recent call last):
    flatnorm_xr.errors.SchemaError: validate: background has dims (detector); it needs (detector[, amplifier],
    exposure)
    """
    if not isinstance(ds, xr.Dataset):
        msg = f"{caller}: the data are a {type(ds).__name__}, not an xarray.Dataset; build one with flatnorm_xr.make"
        raise SchemaError(msg)
    problems = list(_problems(ds, needs_levels))
    if problems:
        raise SchemaError(f"{caller}: " + "; ".join(problems))


def needs_levels(ds: xr.Dataset) -> bool:
    """Whether there must be levels: a diagnosis has none, nor has a solution that another program kept without."""
    return "verdict" not in ds.attrs and not {"E", "G"} <= set(ds.data_vars)


def is_of_runs(ds: object) -> bool:
    """Whether this is a trend or a comparison of runs, which have no levels, and where names lie along other dims."""
    if not isinstance(ds, xr.Dataset) or "exposure" in ds.dims or "E" in ds.data_vars:
        return False
    return "detector" in ds.dims and not {"drift", "G_ratio"}.isdisjoint(ds.data_vars)


def check_attributes(ds: xr.Dataset, *, caller: str = "save") -> None:
    """Raise one error that names every attribute NetCDF cannot hold.

    Strings, numbers of up to 8 bytes and flat arrays of them can be held; None, bool, dict, list and dates cannot.

    Raises
    ------
    SchemaError
        Naming each attribute, its variable and its type.
    """
    bad = [
        f"attribute {name!r} of {where} is a {type(value).__name__}"
        for where, attrs in [("the dataset", ds.attrs), *((str(v), ds[v].attrs) for v in ds.variables)]
        for name, value in attrs.items()
        if not _storable(value)
    ]
    if bad:
        msg = f"{caller}: {offenders(bad)}; NetCDF holds strings and numbers: convert it, for example with json.dumps"
        raise SchemaError(msg)


def _storable(value: object) -> bool:
    if isinstance(value, bool | np.bool_):
        return False
    if isinstance(value, np.ndarray):
        return value.ndim == 1 and value.size > 0 and value.dtype.str[1:] in _NUMBERS
    if isinstance(value, np.generic) and not isinstance(value, str):
        return value.dtype.str[1:] in _NUMBERS
    return isinstance(value, str | float) or (isinstance(value, int) and -(2**63) <= value < 2**63)


def _problems(ds: xr.Dataset, needs_levels: bool) -> Iterator[str]:
    if needs_levels and "background" not in ds:
        yield "background is missing: the levels go into a variable of that name"
    for table, names in ((VARIABLES, ds.data_vars), (COORDINATES, ds.coords)):
        for name in names:
            row = table.get(str(name))
            if row is not None:
                yield from _wrong_dims(ds[name], row)
                yield from _wrong_type(ds[name], row)
    for dim in ("detector", "amplifier", "exposure", "group"):
        if dim in ds.dims:
            yield from _wrong_labels(ds, dim)
    for name in ("counts", "detector_counts", "sigma", "detector_sigma", "quality", "detector_quality"):
        if name in ds and ds[name].dtype.kind in "if":
            yield from _negative(ds[name])
    for name in ("background", "detector_background"):
        units = units_of(ds[name]) if name in ds else None
        if units not in (None, "", *LEVEL_UNITS):
            yield f"{name} has units {units!r}; levels are in {' or '.join(LEVEL_UNITS)}"


def _wrong_dims(array: xr.DataArray, row: Variable) -> Iterator[str]:
    dims = {str(dim) for dim in array.dims}
    if not set(row.required_dims) <= dims or not dims <= set(row.allowed_dims):
        yield f"{row.name} has dims ({', '.join(str(d) for d in array.dims)}); it needs ({row.dims})"


def _wrong_type(array: xr.DataArray, row: Variable) -> Iterator[str]:
    kind = array.dtype.kind
    if row.dtype == "bool" and kind != "b":
        yield f"{row.name} is {array.dtype}; it must be bool"
    elif row.dtype == "datetime64" and kind != "M":
        yield f"{row.name} is {array.dtype}; it must be datetime64 (UTC)"
    elif row.dtype[:2] in ("f8", "i8", "i4") and kind not in "iuf":
        yield f"{row.name} is {array.dtype}; it must be numbers"
    elif row.dtype == "u4" and kind not in "iu":
        yield f"{row.name} is {array.dtype}; flags are unsigned integers"


def _wrong_labels(ds: xr.Dataset, dim: str) -> Iterator[str]:
    if ds.sizes[dim] == 0:
        yield f"dim {dim} is empty"
    index = ds.indexes.get(dim)
    if index is None:
        return
    if isinstance(index, pd.MultiIndex):
        yield f"{dim} is a MultiIndex; unstack it into the dims detector, amplifier and exposure"
        return
    if index.hasnans:
        yield f"{dim} has missing labels"
    if index.has_duplicates:
        yield f"{dim} labels are repeated: {offenders(index[index.duplicated()].unique())}"
    if dim != "group" and not (pd.api.types.is_integer_dtype(index) or all(isinstance(label, str) for label in index)):
        yield f"{dim} labels must be all integers or all strings, not {index.dtype}"


def _negative(array: xr.DataArray) -> Iterator[str]:
    negative = (array < 0).compute()
    if negative.any():
        cells = negative.to_series()
        where = [" ".join(map(str, np.atleast_1d(np.asarray(key, dtype=object)))) for key in cells.index[cells]]
        yield f"{array.name} is negative at ({', '.join(map(str, array.dims))}) {offenders(where)}"
