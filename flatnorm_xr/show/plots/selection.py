"""Which array a picture of the focal plane draws: found by name, one label of each dim that is not drawn."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.model.schema import VARIABLES
from flatnorm_xr.model.validate import needs_levels, validate
from flatnorm_xr.show.followed import is_comparison, is_trend

__all__ = ["chosen_array", "is_flags"]

_OF_HIERARCHY = (
    "detector_scale",
    "detector_scale_stderr",
    "amplifier_ratio",
    "amplifier_ratio_stderr",
    "gain_ratio",
    "gain_times_ratio",
)

_DRAWN = ("detector", "amplifier")


def chosen_array(
    ds: xr.Dataset, variable: str | xr.DataArray, labels: Mapping[str, Any], *, caller: str
) -> tuple[xr.DataArray, str]:
    """Find what to draw along detector[, amplifier], and the words for the labels that were chosen.

    Parameters
    ----------
    ds : Dataset
    variable : str or DataArray
        Flags keep the dim exposure where no exposure is chosen.
    labels : mapping of str to label or None
        Choices by dim. A label is also found by how it is written.
    caller : str
        For messages.

    Raises
    ------
    FlatnormError
        No such variable or label, none chosen, or one chosen along a dim that the variable does not have.
    """
    if isinstance(ds, xr.Dataset) and "background" in ds and "detector" not in ds["background"].dims:
        msg = f"{caller}: the dataset has no dim detector; select with a list: ds.sel(detector=[...])"
        raise FlatnormError(msg)
    if not (is_trend(ds) or is_comparison(ds)):
        validate(ds, caller=caller, needs_levels=not isinstance(ds, xr.Dataset) or needs_levels(ds))
    if not isinstance(variable, str | xr.DataArray):
        kind = type(variable).__name__
        msg = f"{caller}: variable is a {kind}; it must be a name, or a DataArray with the labels of the units"
        raise FlatnormError(msg)
    array = _aligned(variable, ds, caller) if isinstance(variable, xr.DataArray) else _found(ds, variable, caller)
    words = []
    for dim, label in labels.items():
        if dim not in array.dims:
            if label is not None:
                msg = f"{caller}: {array.name} does not lie along {dim}; leave {dim} out"
                raise FlatnormError(msg)
        elif label is not None or array.sizes[dim] == 1:
            array = array.isel({dim: _place(array, dim, label, caller)})
            words.append(f"{dim} {array[dim].values}")
        elif not (dim == "exposure" and is_flags(array)):
            which = offenders(array[dim].values)
            msg = f"{caller}: {array.name} lies along {dim}; choose one: {dim}= one of {which}"
            raise FlatnormError(msg)
    others = [str(dim) for dim in array.dims if dim not in (*_DRAWN, "exposure")]
    if "detector" not in array.dims or others or ("exposure" in array.dims and not is_flags(array)):
        msg = (
            f"{caller}: {array.name} has dims ({', '.join(map(str, array.dims))}); it must lie along "
            "detector[, amplifier], so select or average along the others"
        )
        raise FlatnormError(msg)
    order = [dim for dim in (*_DRAWN, "exposure") if dim in array.dims]
    return array.transpose(*order), ", ".join(words)


def is_flags(array: xr.DataArray) -> bool:
    """Whether the values are bits of quality flags."""
    row = VARIABLES.get(str(array.name))
    return row is not None and row.dtype == "u4"


def _found(ds: xr.Dataset, name: str, caller: str) -> xr.DataArray:
    if name in ds.variables:
        return ds[name]
    if name in _OF_HIERARCHY and "G" in ds and "amplifier" in ds["G"].dims:
        from flatnorm_xr.decompose.hierarchy import hierarchy

        found = hierarchy(ds)
        if name in found:
            return found[name]
    row = VARIABLES.get(name)
    if row is not None and row.stage == "solve" and "G" not in ds:
        msg = f"{caller}: the dataset has no {name}; solve it first: ds.flatnorm.solve()"
        raise FlatnormError(msg)
    there = [str(key) for key, array in ds.variables.items() if "detector" in array.dims]
    msg = f"{caller}: the dataset has no {name}; along detector lie {offenders(there, show=20)}"
    raise FlatnormError(msg)


def _aligned(array: xr.DataArray, ds: xr.Dataset, caller: str) -> xr.DataArray:
    named = array if array.name is not None else array.rename("values")
    given = named.drop_vars([name for name in named.coords if name not in named.dims])
    there = {dim: ds[dim] for dim in _DRAWN if dim in given.dims and dim in ds.dims}
    wrong = [
        dim for dim, of in there.items() if dim in given.coords and not np.array_equal(given[dim].values, of.values)
    ]
    wrong += [dim for dim, of in there.items() if dim not in given.coords and given.sizes[dim] != of.size]
    if wrong:
        msg = (
            f"{caller}: the labels along {offenders(wrong)} are not those of the dataset; select the same units in both"
        )
        raise FlatnormError(msg)
    return given


def _place(array: xr.DataArray, dim: str, label: Any, caller: str) -> int:
    values = array[dim].values
    if label is None:
        return 0
    for place, value in enumerate(values):
        if value == label or str(value) == str(label):
            return place
    msg = f"{caller}: there is no {dim} {label!r}; there are {offenders(values)}"
    raise FlatnormError(msg)
