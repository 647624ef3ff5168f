"""Build a dataset of measurements that follows the data model, from arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike

from flatnorm_xr.errors import SchemaError, offenders
from flatnorm_xr.model.schema import (
    COORDINATES,
    LEVEL_UNITS,
    MIN_READER,
    SCHEMA_VERSION,
    VARIABLES,
    Variable,
    attributes_of,
    level_units,
    units_of,
)
from flatnorm_xr.model.validate import validate

__all__ = ["make", "stamp", "version_attributes"]


def make(
    background: xr.DataArray | ArrayLike,
    *,
    units: str | None = None,
    coords: Mapping[str, Any] | None = None,
    attrs: Mapping[str, Any] | None = None,
    **variables: Any,
) -> xr.Dataset:
    """Build a dataset of measurements from arrays, with the attributes of the data model.

    Parameters
    ----------
    background : DataArray or array, (detector[, amplifier], exposure)
        Level of each cell in adu or electron. A plain array of two dimensions is (detector, exposure), of three
        (detector, amplifier, exposure). NaN means "not measured".
    units : {"adu", "electron"}, optional
        Units of the levels; those that ``background`` carries, else adu.
    coords : mapping, optional
        Coordinates by name: DataArrays, ``(dims, values)``, or, for the names of the model
        (`flatnorm_xr.model.schema.COORDINATES`), plain arrays in the order of the dims given there. Those of your own
        need their dims said. ISO strings become times in ``time``. Dims without labels are numbered from 0.
    attrs : mapping, optional
        Global attributes.
    **variables : DataArray or array
        ``counts``, ``sigma``, ``detector_background`` and the other measured variables of the model.

    Returns
    -------
    Dataset
        New arrays' attributes come from the model; values are converted to its dtypes and not otherwise changed.

    Raises
    ------
    SchemaError
        An unknown variable, a coordinate whose dims are not known, labels that differ between arrays, or anything
        `validate` finds.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> ds = fx.make([[100.0, 200.0], [110.0, 220.0]], coords={"detector": ["S1", "S2"]})
    >>> ds.background.sel(detector="S2", exposure=1).item()
    220.0
    """
    given = {"background": background, **variables}
    coords = dict(coords or {})
    unknown = [name for name in given if name not in VARIABLES]
    misplaced = [name for name in coords if name in VARIABLES]
    if misplaced:
        msg = f"make: {offenders(misplaced)} among coords, but a variable of the data model; give it as a keyword"
        raise SchemaError(msg)
    if unknown:
        msg = f"make: {offenders(unknown)} not in the data model; see flatnorm_xr.model.schema for the names"
        raise SchemaError(msg)
    _check_arrays(given)
    carried = _carried_units(given, units)
    has_amplifiers = (
        ("amplifier" in background.dims) if isinstance(background, xr.DataArray) else (np.ndim(background) == 3)
    )
    arrays = {name: _as_array(value, VARIABLES[name], has_amplifiers) for name, value in given.items()}
    labels = {name: _as_coordinate(name, value, has_amplifiers) for name, value in coords.items()}
    ds = _joined(arrays, labels)
    ds = ds.assign_coords({dim: np.arange(size) for dim, size in ds.sizes.items() if dim not in ds.coords})
    if "amplifier" in ds.coords and ds.amplifier.dtype.kind in "iu":
        ds = ds.assign_coords(amplifier=ds.amplifier.astype(str))
    ds.attrs = {**version_attributes(), **(attrs or {})}
    ds = stamp(ds, units=level_units(carried))
    validate(ds, caller="make")
    return ds


def stamp(ds: xr.Dataset, *, units: str) -> xr.Dataset:
    """Give every variable and coordinate of the model its canonical dim order, dtype and attributes.

    Parameters
    ----------
    ds : Dataset
        Not changed.
    units : str
        Units of the levels.
    """
    ds = ds.copy()
    stamped: dict[str, xr.Variable] = {}
    for name in ds.variables:
        row = VARIABLES.get(str(name)) or COORDINATES.get(str(name))
        if row is None:
            continue
        attrs = attributes_of(row.name, units=units)
        if name in ds.indexes:
            ds[name].attrs = attrs
            continue
        variable = ds.variables[name]
        variable = variable.transpose(*(d for d in row.allowed_dims if d in variable.dims), ...)
        if row.dtype in ("f8", "i8", "i4", "u4") and _converts(variable, row.dtype):
            variable = variable.astype(row.dtype, copy=False)
        stamped[str(name)] = xr.Variable(variable.dims, variable.data, attrs)
    return ds.assign({name: variable for name, variable in stamped.items() if name not in ds.coords}).assign_coords(
        {name: variable for name, variable in stamped.items() if name in ds.coords}
    )


def _check_arrays(given: Mapping[str, Any]) -> None:
    """Refuse what is no array, before it is asked for its dims."""
    for name, value in given.items():
        if isinstance(value, xr.Dataset):
            msg = f"make: {name} is a Dataset; give one of its variables, for example ds.{name}"
            raise SchemaError(msg)
        try:
            np.ndim(value)
        except ValueError as error:
            msg = f"make: {name} is ragged, its rows differ in length; fill them up with NaN"
            raise SchemaError(msg) from error


def _carried_units(given: Mapping[str, Any], units: str | None) -> str | None:
    """Units of the levels: those given, else those that the arrays carry as attribute or as astropy's quantity."""
    found = {"units=": units}
    for name, value in given.items():
        carried = units_of(value) if isinstance(value, xr.DataArray) else getattr(value, "unit", None)
        quantity = carried is not None and not isinstance(value, xr.DataArray)
        text = str(carried or "")
        if VARIABLES[name].units != "level" or not text:
            continue
        if quantity and text not in LEVEL_UNITS:
            msg = f"make: {name} is in {text!r}; levels are in {' or '.join(LEVEL_UNITS)}: convert it"
            raise SchemaError(msg)
        if name == "background" or text in LEVEL_UNITS:
            found[name] = text
    known = {name: unit for name, unit in found.items() if unit in LEVEL_UNITS}
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{name} {unit}" for name, unit in known.items())
        msg = f"make: the units conflict ({listed}); convert the levels or correct one of them"
        raise SchemaError(msg)
    return units or found.get("background") or next(iter(known.values()), None)


def _joined(arrays: Mapping[str, xr.DataArray], labels: Mapping[str, xr.DataArray]) -> xr.Dataset:
    try:
        aligned = xr.align(*arrays.values(), join="exact")
        ds = xr.Dataset(dict(zip(arrays, aligned, strict=True)))
        ds = ds.assign_coords({name: label for name, label in labels.items() if name in label.dims})
        others = {name: label for name, label in labels.items() if name not in label.dims}
        xr.align(ds, *others.values(), join="exact")  # assign_coords alone would fill what does not match with NaN
        return ds.assign_coords(others)
    except ValueError as error:
        msg = f"make: the labels or sizes of the arrays differ ({error})".replace("\n", " ")
        raise SchemaError(msg) from error


def _converts(array: xr.DataArray | xr.Variable, dtype: str) -> bool:
    """Whether the values stay what they are; flags that would wrap or be cut are left for `validate` to name."""
    if dtype == "u4" and array.dtype.kind == "i":
        return bool((array >= 0).all())
    return array.dtype.kind in ("ub" if dtype == "u4" else "iufb")


def version_attributes() -> dict[str, Any]:
    """Global attributes that say which program and data model wrote a dataset."""
    from flatnorm_xr import __version__

    return {
        "Conventions": "CF-1.11",
        "flatnorm_version": __version__,
        "flatnorm_schema_version": SCHEMA_VERSION,
        "flatnorm_min_reader": MIN_READER,
    }


def _as_coordinate(name: str, value: Any, has_amplifiers: bool) -> xr.DataArray:
    """Make a DataArray of a coordinate; one that the model does not know must say its dims itself."""
    if isinstance(value, tuple) and len(value) == 2 and _are_dims(value[0]):
        dims = (value[0],) if isinstance(value[0], str) else tuple(value[0])
        try:
            known = COORDINATES.get(name)
            numbers = value[1] if known is None else _without_unit(value[1], known)
            value = xr.DataArray(np.asarray(numbers), dims=dims)
        except ValueError as error:
            msg = f"make: coordinate {name} does not have the dims ({', '.join(dims)}) ({error})"
            raise SchemaError(msg) from error
    row = COORDINATES.get(name)
    if row is None:
        if not isinstance(value, xr.DataArray):
            msg = f"make: coordinate {name} is not in the data model, so its dims are not known: give (dims, values)"
            raise SchemaError(msg)
        return value.rename(name)
    array = _as_array(value, row, has_amplifiers)
    return _as_times(array) if row.dtype == "datetime64" and array.dtype.kind in "UOT" else array


def _are_dims(value: Any) -> bool:
    known = VARIABLES["background"].allowed_dims
    names = [value] if isinstance(value, str) else value
    return isinstance(names, tuple | list) and all(name in known for name in names)


def _as_times(array: xr.DataArray) -> xr.DataArray:
    """Make UTC times of ISO 8601 strings."""
    import pandas as pd

    words = [text for text in array.values.ravel().tolist() if isinstance(text, str) and re.match(r"\s*[A-Za-z]", text)]
    words = [text for text in words if text.strip() not in ("NaT", "nan", "None")]
    if words:  # pandas takes "now" and "today" for times
        msg = f"make: {array.name} must be datetime64 or ISO 8601 strings, not {offenders(words)}"
        raise SchemaError(msg)
    try:
        times = pd.to_datetime(array.values.ravel(), format="ISO8601", utc=True).tz_localize(None).to_numpy()
    except (ValueError, TypeError) as error:
        msg = f"make: {array.name} must be datetime64 or ISO 8601 strings ({' '.join(str(error).split())})"
        raise SchemaError(msg) from error
    return array.copy(data=times.astype("datetime64[ns]").reshape(array.shape))


def _without_unit(value: Any, row: Variable) -> Any:
    """Numbers of an astropy quantity, times and lengths in the model's units, NaN where it is masked."""
    if not (hasattr(value, "unit") and hasattr(value, "to_value")):
        return value
    try:
        value = value.to(row.units) if row.units in ("s", "mm") else value
    except ValueError as error:
        msg = f"make: {row.name} is in {value.unit}; it must be in {row.units} or what converts to it"
        raise SchemaError(msg) from error
    mask = getattr(value, "mask", None)
    numbers = np.asarray(getattr(value, "unmasked", value).value)
    return numbers if mask is None else np.where(mask, np.nan, numbers)


def _as_array(value: Any, row: Variable, has_amplifiers: bool) -> xr.DataArray:
    if isinstance(value, xr.DataArray):
        return value.rename(row.name)
    dims = tuple(d for d in row.allowed_dims if d in row.required_dims or (d == "amplifier" and has_amplifiers))
    value = _without_unit(value, row)
    try:
        masked = np.ma.isMaskedArray(value)
        array = np.ma.filled(np.ma.asarray(value, dtype=float), np.nan) if masked else np.asarray(value)
    except (ValueError, TypeError) as error:
        msg = f"make: {row.name} is no array for ({row.dims}): {' '.join(str(error).split())}"
        raise SchemaError(msg) from error
    if array.ndim != len(dims):
        if array.ndim == len(row.required_dims):
            dims = row.required_dims
        else:
            msg = f"make: {row.name} has {array.ndim} dimensions; it needs ({row.dims})"
            raise SchemaError(msg)
    return xr.DataArray(array, dims=dims, name=row.name)
