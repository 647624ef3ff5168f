"""What the rows of a table cannot say: written beside them, and read again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive.rows import (
    cell_dims,
    columns_of_coordinates,
    columns_of_values,
    default_dims,
    padding,
    units_of_levels,
)
from flatnorm_xr.errors import SchemaError, offenders
from flatnorm_xr.measure.columns import Columns
from flatnorm_xr.model.schema import COORDINATES, VARIABLES, attributes_of

__all__ = ["BESIDE", "Beside", "beside_rows", "edited", "plain", "storable_attributes"]

BESIDE = "flatnorm_table"
"""Key, among the attributes of a table, of what its rows cannot say."""

Array = np.ndarray[Any, Any]


def beside_rows(ds: xr.Dataset) -> dict[str, Any]:
    """Give what rows leave out, or leave open, as plain dictionaries and lists; only what is not as usual.

    Parameters
    ----------
    ds : Dataset

    Returns
    -------
    dict
        ``labels``: amplifiers in order, where not all detectors have all; ``exists``: True where the coordinate is
        there and all are; ``grouped``; ``padding``: the one value that a variable has in padding; ``dims``,
        ``attrs``: of variables, where they differ from the model's; ``times``: coordinates that are moments and not
        the model's; ``arrays``: what lies along no dim of the cells; ``texts``: global attributes of several
        lines, which astropy joins when it reads a header.
    """
    dims = cell_dims(ds)
    columns = [*columns_of_values(ds, dims), *columns_of_coordinates(ds, dims)]
    units = units_of_levels(ds)
    others = [n for n in map(str, [*ds.data_vars, *ds.coords]) if n not in (*columns, *dims, "exists")]
    others = [n for n in others if (n in VARIABLES or n in ds.coords) and ds[n].dtype.kind in "biufMOUT"]
    named = [n for n in (*dims, *columns, *others, "exists") if n in ds.variables]
    beside = {
        **_of_padding(ds, dims, columns),
        **({"grouped": False} if "exposure_group" in ds.coords and "group" not in ds.dims else {}),
        "dims": {n: list(map(str, ds[n].dims)) for n in columns if _unusual_dims(ds, n, dims)},
        "attrs": {n: _plain_attrs(ds[n].attrs) for n in named if _unusual_attrs(ds, n, units)},
        "times": [n for n in columns if n not in COORDINATES and ds[n].dtype.kind == "M"],
        "arrays": {n: _plain_array(ds[n]) for n in others},
        "texts": {str(n): text for n, text in ds.attrs.items() if isinstance(text, str) and not text.isprintable()},
    }
    return {key: value for key, value in beside.items() if value not in ({}, [])}


def plain(value: Any) -> Any:
    """Give a number or a list for what numpy holds; all else as it is."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value


@dataclass(frozen=True)
class Beside:
    """What a table says beside its rows; empty where another program wrote it."""

    labels: list[str] | None
    exists: bool
    grouped: bool | None
    padding: dict[str, Any]
    dims: dict[str, tuple[str, ...]]
    attrs: dict[str, dict[str, Any]]
    times: frozenset[str]
    arrays: dict[str, tuple[tuple[str, ...], Array]]
    texts: dict[str, str]

    @classmethod
    def of(cls, columns: Columns) -> Beside:
        """Read it, trusting nothing of it."""
        try:
            found = json.loads(columns.meta.get(BESIDE, "{}"))
        except (TypeError, ValueError, RecursionError) as error:
            raise SchemaError(edited(columns, BESIDE)) from error
        if not isinstance(found, dict):
            raise SchemaError(edited(columns, BESIDE))
        parts = {key: found.get(key) or {} for key in ("padding", "dims", "attrs", "arrays", "texts")}
        wrong = [key for key, part in parts.items() if not isinstance(part, Mapping)]
        labels, grouped, times = found.get("labels"), found.get("grouped"), found.get("times") or []
        wrong += [key for key, value in (("labels", labels or []), ("times", times)) if not _are_texts(value)]
        if wrong:
            raise SchemaError(edited(columns, offenders(wrong)))
        wrong = [name for name, text in parts["texts"].items() if not isinstance(text, str)]
        wrong += [name for name, dims in parts["dims"].items() if not _are_texts(dims)]
        wrong += [name for name, value in parts["padding"].items() if not isinstance(value, str | int | float)]
        wrong += [name for name, attrs in parts["attrs"].items() if not isinstance(attrs, Mapping)]
        if wrong or not isinstance(grouped, bool | None):
            raise SchemaError(edited(columns, offenders(wrong or ["grouped"])))
        return cls(
            labels,
            found.get("exists") is True,
            grouped,
            dict(parts["padding"]),
            {name: tuple(dims) for name, dims in parts["dims"].items()},
            {name: storable_attributes(attrs)[0] for name, attrs in parts["attrs"].items()},
            frozenset(times),
            {str(name): _array(columns, str(name), value) for name, value in parts["arrays"].items()},
            dict(parts["texts"]),
        )


def edited(columns: Columns, name: str) -> str:
    """Sentence on what stands beside the rows and cannot be so."""
    return f"{columns.said}: what it says of {name} beside its rows is damaged; was it edited? export it again"


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _array(columns: Columns, name: str, value: object) -> tuple[tuple[str, ...], Array]:
    """Read one array, which is a flat list with a shape."""
    parts = value if isinstance(value, Mapping) else {}
    dims, shape, dtype, values = (parts.get(key) for key in ("dims", "shape", "dtype", "values"))
    try:
        if not _are_texts(dims) or not isinstance(values, list) or not isinstance(shape, list):
            raise SchemaError(edited(columns, name))
        if not re.fullmatch(r"str|[<>|=]?[biuf][1248]|[<>]?M8\[(s|ms|us|ns)\]", str(dtype)):
            raise SchemaError(edited(columns, name))
        if not all(isinstance(one, str | int | float) for one in [*values, *shape]):
            raise SchemaError(edited(columns, name))
        return tuple(map(str, dims or ())), np.array(values, dtype=str(dtype)).reshape(shape)
    except (ValueError, TypeError, OverflowError) as error:
        raise SchemaError(edited(columns, name)) from error


def storable_attributes(attrs: Mapping[Any, Any]) -> tuple[dict[str, Any], list[str]]:
    """Attributes that are text, numbers or lists of numbers, and the names of the others."""
    kept: dict[str, Any] = {}
    for name, value in attrs.items():
        if isinstance(value, list) and value and all(type(one) in (int, float) for one in value):
            kept[str(name)] = np.array(value)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            kept[str(name)] = value
    return kept, [str(name) for name in attrs if str(name) not in kept]


def _of_padding(ds: xr.Dataset, dims: list[str], columns: list[str]) -> dict[str, Any]:
    """Which amplifiers there are, and what stands where a detector lacks one, if it is one value and not the usual."""
    if "exists" not in ds.coords or "amplifier" not in dims:
        return {}
    exists = ds["exists"].transpose("detector", "amplifier").values
    if exists.all():
        return {"exists": True}
    stands: dict[str, Any] = {}
    for name in columns:
        if not {"detector", "amplifier"} <= set(ds[name].dims):
            continue
        values = ds[name].transpose("detector", "amplifier", ...).values[~exists].ravel()
        first = values[0]
        usual = padding(VARIABLES.get(name), values.dtype)
        if _same(values, first).all() and not _same(values[:1], usual).all():
            stands[name] = str(first) if values.dtype.kind == "M" else plain(first)
    return {"labels": list(map(str, ds["amplifier"].values)), "padding": stands}


def _same(values: Array, one: Any) -> Array:
    return np.asarray((values == one) | ((values != values) & (one != one)))


def _unusual_dims(ds: xr.Dataset, name: str, dims: list[str]) -> bool:
    usual = default_dims(name, dims, grouped="group" in ds.dims)
    return usual is None or set(usual) != set(ds[name].dims)


def _unusual_attrs(ds: xr.Dataset, name: str, units: str) -> bool:
    usual = attributes_of(name, units=units) if name in VARIABLES or name in COORDINATES else {}
    attrs = ds[name].attrs
    return attrs.keys() != usual.keys() or any(not np.array_equal(attrs[key], usual[key]) for key in usual)


def _plain_array(array: xr.DataArray) -> dict[str, Any]:
    values = array.values
    texts = values.dtype.kind in "OUT"
    listed = values.astype(str) if texts or values.dtype.kind == "M" else values
    return {
        "dims": list(map(str, array.dims)),
        "shape": list(array.shape),
        "dtype": "str" if texts else values.dtype.str,
        "values": listed.ravel().tolist(),
    }


def _plain_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes as numbers, texts and lists of them."""
    return {str(key): plain(value) for key, value in attrs.items()}
