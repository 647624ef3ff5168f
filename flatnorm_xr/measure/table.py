"""Read levels from a long table (CSV, ECSV, Parquet): one row a detector or amplifier in one exposure."""

from __future__ import annotations

import datetime
import json
import os
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.errors import ReadError, SchemaError, offenders
from flatnorm_xr.flags import WITHOUT_WEIGHT, Flag
from flatnorm_xr.measure.columns import Columns, read_columns
from flatnorm_xr.measure.grid import (
    Grid,
    check_duplicates,
    coordinates_of,
    grid_of,
    in_model_units,
    levels_units,
    some_rows,
    values_of,
    warn_left_out,
)
from flatnorm_xr.model.make import stamp, version_attributes
from flatnorm_xr.model.schema import COORDINATES, VARIABLES
from flatnorm_xr.model.validate import validate

__all__ = ["read_table"]

_REQUIRED = ("detector", "exposure", "background")
_MEASURED = tuple(name for name, row in VARIABLES.items() if row.stage != "solve")
# Flags that say what only the pixels could tell; all others are found again from the levels.
_KEPT_FLAGS = Flag.UNREADABLE | Flag.ALL_MASKED | Flag.SATURATED

Array = np.ndarray[Any, Any]


def read_table(path: str | os.PathLike[str], *, units: str | None = None) -> xr.Dataset:
    r"""Read levels from a long table: one row a detector (or amplifier) in one exposure.

    Parameters
    ----------
    path : path
        A ``.csv`` (commas, first line names the columns, UTF-8), ``.ecsv`` or ``.parquet`` file (the last needs
        ``pip install pyarrow``). Columns ``detector``, ``exposure``, ``background``; optional
        ``amplifier``, ``counts``, ``sigma``. Any other column that is constant along exposure, else along detector,
        else for each (detector, amplifier), becomes a coordinate there; the coordinates of the data model
        (``time``, ``physical_filter``, ``x``, ``gain``, ...) go where the model has them. Columns that only a solve
        makes (``E``, ``G``, ``bgModel``, ...) are not read.
    units : {"adu", "electron"}, optional
        Units of the levels; those of an ECSV column, else adu.

    Returns
    -------
    Dataset
        ``background``, and ``counts`` and ``sigma`` where the table has them, on (detector[, amplifier], exposure),
        and ``quality``. An empty or NaN level, and a cell without a row, is NaN and flagged NOT_MEASURED; a
        (detector, amplifier) that never occurs is padding (``exists`` False, NO_SUCH_AMPLIFIER). Zero, negative and
        infinite levels are kept as they are and flagged. Exposures are in order of ``time`` where there is one, else,
        as detectors and amplifiers always, in order of first appearance. Labels are integers when all of them are
        written as plain integers (``007`` is not), else strings; amplifiers are strings; spaces around a label are
        not part of it. Times are ISO 8601; without a zone they are UTC.

    Raises
    ------
    ReadError
        The file is missing, unreadable, empty, or its rows do not fit its header.
    SchemaError
        A column is missing or holds what are not numbers, labels are empty, rows occur twice, counts or sigma are
        negative, units conflict. All offenders of a kind are named with their lines.

    Warns
    -----
    FlatnormWarning
        Columns that vary along every dimension are left out.

    Examples
    --------
    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "levels.csv"
    >>> _ = path.write_text("detector,exposure,lamp,background\nS1,1,A,100\nS2,1,A,110\nS1,2,B,200\n")
    >>> ds = read_table(path)
    >>> ds.background.sel(exposure=2).values
    array([200.,  nan])
    >>> ds.lamp.values.tolist()
    ['A', 'B']
    """
    columns = read_columns(path, numbers=[*_MEASURED, *(n for n, row in COORDINATES.items() if row.dtype == "f8")])
    _check_columns(columns)
    columns = in_model_units(columns)
    resolved = levels_units(columns, units)
    grid = grid_of(columns)
    check_duplicates(columns, grid)
    ds = xr.Dataset(_variables(columns, grid), coords={dim: (dim, grid.labels[dim]) for dim in grid.dims})
    ds = ds.assign_coords(coordinates_of(columns, grid))
    ds = _with_quality(_with_exists(ds, grid))
    if "time" in ds.coords:
        ds = ds.isel(exposure=np.argsort(ds.time.values, kind="stable"))
    ds.attrs = _attributes(columns)
    ds = stamp(ds, units=resolved)
    validate(ds, caller=columns.said)
    return ds


def _check_columns(columns: Columns) -> None:
    missing = [name for name in _REQUIRED if name not in columns.frame]
    if missing:
        found = offenders(columns.frame.columns, show=20)
        msg = (
            f"{columns.said} has no column {offenders(missing)}; it has {found or 'none'}. "
            "The columns are separated by commas and named in the first line: rename or add them"
        )
        raise SchemaError(msg)
    if columns.frame.empty:
        msg = f"{columns.said}: the table has no rows"
        raise ReadError(msg)


def _variables(columns: Columns, grid: Grid) -> dict[str, xr.Variable]:
    """Measured variables, on the dims that the model gives them."""
    variables = {}
    left_out = []
    for name in _MEASURED:
        if name not in columns.frame:
            continue
        dims = [dim for dim in VARIABLES[name].allowed_dims if dim in grid.dims]
        values = columns.frame[name].to_numpy()
        if name.endswith("quality"):
            values = _flags(columns, name, values)
        if len(dims) < len(grid.dims) and not grid.is_constant(values_of(columns, name)[0], dims):
            left_out.append(f"{name} ({', '.join(dims)})")
            continue
        variables[name] = grid.place(values, dims, fill=0 if name.endswith("quality") else np.nan)
    warn_left_out(columns, left_out, "vary along more than their dimensions")
    return variables


def _flags(columns: Columns, name: str, values: Array) -> Array:
    """Make integers of flags, 0 where the table has none."""
    given = np.where(np.isnan(values), 0, values) if values.dtype.kind == "f" else values
    bad = np.flatnonzero(~((given >= 0) & (given < 2**32) & (np.trunc(given) == given)))
    if bad.size:
        where = some_rows(columns, bad)
        msg = f"{columns.said}: {name} must be whole numbers from 0 to {2**32 - 1}, but is not in {where}"
        raise SchemaError(msg)
    return given.astype(np.int64)


def _with_exists(ds: xr.Dataset, grid: Grid) -> xr.Dataset:
    if "amplifier" not in ds.dims:
        return ds
    exists = np.zeros(grid.size(("detector", "amplifier")), dtype=bool)
    exists[grid.flat(("detector", "amplifier"))] = True
    if exists.all():
        return ds
    return ds.assign_coords(exists=(("detector", "amplifier"), exists.reshape(ds.sizes["detector"], -1)))


def _with_quality(ds: xr.Dataset) -> xr.Dataset:
    """Flag what the levels themselves show; of the table's own flags keep those that only the pixels could tell."""
    exists = ds.exists if "exists" in ds.coords else xr.DataArray(True)
    found = {}
    for prefix in ("", "detector_"):
        if f"{prefix}background" not in ds:
            continue
        level = ds[f"{prefix}background"]
        kept = xr.zeros_like(level, dtype="u4")
        if f"{prefix}quality" in ds:
            kept = ds[f"{prefix}quality"].astype("u4") & np.uint32(_KEPT_FLAGS)
        unexplained = level.isnull() & ((kept & np.uint32(WITHOUT_WEIGHT)) == 0)
        quality = kept | (unexplained * np.uint32(Flag.NOT_MEASURED)).astype("u4")
        quality = quality | (np.isinf(level) * np.uint32(Flag.NON_FINITE)).astype("u4")
        quality = quality | ((level <= 0) & np.isfinite(level)) * np.uint32(Flag.NON_POSITIVE)
        if prefix == "":
            quality = quality.where(exists, np.uint32(Flag.NO_SUCH_AMPLIFIER))
        found[f"{prefix}quality"] = quality.astype("u4").transpose(*level.dims)
    return ds.assign(found)


def _attributes(columns: Columns) -> dict[str, Any]:
    assert columns.path is not None
    stat = columns.path.stat()
    mtime = datetime.datetime.fromtimestamp(stat.st_mtime, tz=datetime.UTC)
    inputs = [{"name": columns.path.name, "size": stat.st_size, "mtime": mtime.isoformat(timespec="seconds")}]
    now = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    versions = version_attributes()
    lines = [f"{now} flatnorm_xr {versions['flatnorm_version']}: read_table({columns.path.name!r})"]
    before = columns.meta.get("history")
    camera = columns.meta.get("camera")
    return {
        **versions,
        "title": f"Levels from the table {columns.path.name}",
        "history": "\n".join([*lines, before] if isinstance(before, str) and before else lines),
        "source": "table",
        **({"camera": camera} if isinstance(camera, str) else {}),
        "inputs": json.dumps(inputs),
    }
