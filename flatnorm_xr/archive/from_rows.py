"""Rows of a long table to a solution: every column on the dims that the data model gives it."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive.beside import BESIDE, Beside, edited, storable_attributes
from flatnorm_xr.archive.merged_order import merged_order
from flatnorm_xr.archive.netcdf import check_versions
from flatnorm_xr.archive.rows import default_dims, padding
from flatnorm_xr.errors import ReadError, SchemaError, offenders, warn
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.columns import Columns
from flatnorm_xr.measure.grid import (
    LABELS,
    Grid,
    check_duplicates,
    coordinate_values,
    grid_of,
    in_model_units,
    levels_units,
    places_of,
    some_rows,
    times_of,
    values_of,
    warn_left_out,
)
from flatnorm_xr.model.make import stamp, version_attributes
from flatnorm_xr.model.schema import COORDINATES, VARIABLES
from flatnorm_xr.model.validate import validate

__all__ = ["attributes_of_import", "dataset_of", "numbers_of_the_model"]

_LEVELS = tuple(name for name, row in VARIABLES.items() if row.units == "level")

Array = np.ndarray[Any, Any]


def numbers_of_the_model() -> list[str]:
    """Names of the columns that must be numbers."""
    return [*VARIABLES, *(name for name, row in COORDINATES.items() if row.dtype == "f8")]


def dataset_of(columns: Columns, *, units: str | None = None) -> xr.Dataset:
    """Build a dataset from the rows of a table.

    Parameters
    ----------
    columns : Columns
        Of a file, or of a table in memory.
    units : {"adu", "electron"}, optional
        Units of the levels; those of the columns, else adu.

    Raises
    ------
    ReadError, SchemaError
        What `flatnorm_xr.read_solution` says.
    """
    _check_names(columns)
    beside = Beside.of(columns)
    columns = in_model_units(columns)
    resolved = levels_units(columns, units, of=_LEVELS)
    grid = _ordered(columns, grid_of(columns), beside.labels)
    check_duplicates(columns, grid)
    _check_density(columns, grid)
    rows = _Rows(columns, grid, beside)
    ds = xr.Dataset(rows.variables(), coords={dim: (dim, grid.labels[dim]) for dim in grid.dims})
    ds = ds.assign_coords(rows.coordinates())
    ds = _with_arrays(ds, beside, columns)
    ds.attrs = _attributes(columns) | beside.texts
    ds = stamp(ds, units=resolved)
    for name, attrs in beside.attrs.items():
        if name in ds.variables:
            ds[name].attrs = attrs
    validate(ds, caller=columns.said, needs_levels="background" in columns.frame)
    return ds


def attributes_of_import(what: str, kind: str, caller: str, path: Path | None) -> dict[str, Any]:
    """Global attributes of a dataset that something else than NetCDF has kept.

    Parameters
    ----------
    what, kind : str
        "Solution" or "Levels", and what kept it.
    caller : str
        Function that was called.
    path : Path or None
        File that was read.
    """
    now = datetime.datetime.now(tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    versions = version_attributes()
    name = "" if path is None else path.name
    attrs = {
        **versions,
        "title": f"{what} from the {kind} {name}".rstrip(),
        "history": f"{now} flatnorm_xr {versions['flatnorm_version']}: {caller}({repr(name) if name else ''})",
        "source": f"{kind} {name}".rstrip(),
    }
    if path is not None:
        stat = path.stat()
        mtime = datetime.datetime.fromtimestamp(stat.st_mtime, tz=datetime.UTC).isoformat(timespec="seconds")
        attrs["inputs"] = json.dumps([{"name": name, "size": stat.st_size, "mtime": mtime}])
    return attrs


def _check_names(columns: Columns) -> None:
    frame = columns.frame
    missing = [name for name in ("detector", "exposure") if name not in frame]
    if "background" not in frame:
        missing += [name for name in ("E", "G") if name not in frame]
    if missing:
        found = offenders(frame.columns, show=20)
        msg = f"{columns.said} has no column {offenders(missing)}; it has {found or 'none'}: rename or add them"
        raise SchemaError(msg)
    if frame.empty:
        msg = f"{columns.said}: the table has no rows"
        raise ReadError(msg)


def _check_density(columns: Columns, grid: Grid) -> None:
    """Refuse a few rows that would become a huge grid; a solution has a row for nearly every cell."""
    if grid.size(grid.dims) > 1_000_000 + 100 * len(columns.frame):
        sizes = " x ".join(f"{grid.labels[dim].size} {dim}s" for dim in grid.dims)
        msg = (
            f"{columns.said} has {sizes}, but only {len(columns.frame)} rows; is a column something else than a label?"
        )
        raise SchemaError(msg)


def _ordered(columns: Columns, grid: Grid, labels: list[str] | None) -> Grid:
    """Put exposures and amplifiers in an order that agrees with every unit's; or amplifiers in that of ``labels``."""
    units = [dim for dim in grid.dims if dim != "exposure"]
    grid = _relabelled(grid, "exposure", _merged(grid, units, "exposure"))
    if "amplifier" not in grid.dims:
        return grid
    wanted = _merged(grid, ["detector"], "amplifier") if labels is None else labels
    if len(set(wanted)) != len(wanted) or not set(grid.labels["amplifier"].tolist()) <= set(wanted):
        raise SchemaError(edited(columns, "labels"))
    return _relabelled(grid, "amplifier", wanted)


def _relabelled(grid: Grid, dim: str, wanted: list[Any]) -> Grid:
    """Give the grid with the labels of a dim in another order, or with more of them."""
    place = {label: i for i, label in enumerate(wanted)}
    codes = np.array([place[label] for label in grid.labels[dim].tolist()])[grid.codes[dim]]
    return Grid({**grid.codes, dim: codes}, {**grid.labels, dim: np.array(wanted)})


def _merged(grid: Grid, within: list[str], dim: str) -> list[Any]:
    """One order of labels that keeps the order they have within each place along other dims."""
    labels: list[Any] = grid.labels[dim].tolist()
    _, rows = np.unique(grid.flat([*within, dim]), return_index=True)
    rows = np.sort(rows)
    place, code = grid.flat(within)[rows], grid.codes[dim][rows]
    order = np.argsort(place, kind="stable")
    place, code = place[order], code[order]
    if (np.diff(code)[np.diff(place) == 0] > 0).all():
        return labels
    starts = np.flatnonzero(np.diff(place, prepend=-1))
    return merged_order([[labels[i] for i in part] for part in np.split(code, starts[1:])])


class _Rows:
    """The rows of a table on their grid."""

    def __init__(self, columns: Columns, grid: Grid, beside: Beside) -> None:
        self._columns, self._beside = columns, beside
        self._dims = list(grid.dims)
        self._reserved: list[str] = []
        self._grouped = "exposure_group" in columns.frame if beside.grouped is None else beside.grouped
        self._exists = _existing(grid)
        self._grid = self._with_groups(grid) if self._grouped else grid

    def variables(self) -> dict[str, xr.Variable]:
        """Variables of the model; an error for what differs within what should be one value."""
        placed, differing = {}, []
        for name in [name for name in self._columns.frame.columns if name in VARIABLES]:
            dims = self._dims_of(name)
            if not dims:
                self._reserved.append(name)
                continue
            if not self._is_constant(name, dims):
                differing.append(f"{name} ({', '.join(dims)})")
                continue
            placed[name] = self._placed(name, self._numbers(name), dims)
        if differing:
            msg = (
                f"{self._columns.said}: {offenders(differing)} differ between rows of the same labels; "
                "correct them, or read the levels alone with read_table"
            )
            raise SchemaError(msg)
        return placed

    def coordinates(self) -> dict[str, xr.Variable]:
        """Coordinates of the model and others; a warning for what varies along every dim."""
        placed, varying = {}, []
        for name in self._columns.frame.columns:
            if name in VARIABLES or name in (*LABELS, "exists", "group") or not name:
                continue
            known = name in COORDINATES or name in self._beside.dims
            places = [self._dims_of(name)] if known else places_of(name, self._grid)
            if places == [()]:
                self._reserved.append(name)
                continue
            dims = next((dims for dims in places if self._is_constant(name, dims)), None)
            if dims is None:
                varying.append(name)
                continue
            placed[name] = self._placed(name, self._texts_or_numbers(name), dims)
        warn_left_out(self._columns, varying, "vary along every dimension a coordinate of theirs may have")
        warn_left_out(self._columns, self._reserved, "have a name that the solve uses for what is of no cell")
        if "amplifier" in self._dims and (self._beside.exists or not self._exists.all()):
            placed["exists"] = xr.Variable(("detector", "amplifier"), self._exists)
        if self._grouped:
            placed["group"] = xr.Variable("group", self._grid.labels["group"])
        return placed

    def _dims_of(self, name: str) -> tuple[str, ...]:
        usual = default_dims(name, self._dims, self._grouped)
        dims = self._beside.dims.get(name, usual) or ()
        if not set(dims) <= {*self._dims, *(["group"] if self._grouped else [])}:
            raise SchemaError(edited(self._columns, name))
        return tuple(dims)

    def _with_groups(self, grid: Grid) -> Grid:
        """Give the grid with one more dim, the group of the row's exposure; -1 for one that is not there."""
        if "exposure_group" not in self._columns.frame:
            raise SchemaError(edited(self._columns, "grouped"))
        codes, uniques = values_of(self._columns, "exposure_group")
        labels = coordinate_values(self._columns, "exposure_group", codes, uniques)
        given = self._beside.arrays.get("group")
        known = np.array([value == value and value != "" for value in labels.tolist()])
        sorted_labels = np.unique(labels[known]) if given is None else given[1].ravel()
        place = {label: i for i, label in enumerate(sorted_labels.tolist())}
        number = np.array([place.get(label, -1) for label in labels.tolist()])
        return Grid({**grid.codes, "group": number[codes]}, {**grid.labels, "group": sorted_labels})

    def _within(self, dims: Iterable[str]) -> tuple[Grid, Array]:
        """Rows that have a place along these dims."""
        if "group" not in dims:
            return self._grid, np.arange(len(self._columns.frame))
        rows = np.flatnonzero(self._grid.codes["group"] >= 0)
        return Grid({dim: codes[rows] for dim, codes in self._grid.codes.items()}, self._grid.labels), rows

    def _is_constant(self, name: str, dims: tuple[str, ...]) -> bool:
        grid, rows = self._within(dims)
        return set(dims) == set(self._dims) or grid.is_constant(values_of(self._columns, name)[0][rows], dims)

    def _numbers(self, name: str) -> Array:
        values = self._columns.frame[name].to_numpy()
        dtype = VARIABLES[name].dtype
        if dtype not in ("u4", "i4", "i8"):
            return values
        low, high = (0, 2**32 - 1) if dtype == "u4" else (-(2**31), 2**31 - 1)
        given = (
            np.where(np.isnan(values), -1 if name == "component" else 0, values) if values.dtype.kind == "f" else values
        )
        bad = np.flatnonzero(~((given >= low) & (given <= high) & (np.trunc(given) == given)))
        if bad.size:
            where = some_rows(self._columns, bad)
            msg = f"{self._columns.said}: {name} must be whole numbers from {low} to {high}, but is not in {where}"
            raise SchemaError(msg)
        return given.astype(dtype)

    def _texts_or_numbers(self, name: str) -> Array:
        codes, uniques = values_of(self._columns, name)
        convert = times_of if name in self._beside.times else coordinate_values
        return convert(self._columns, name, codes, uniques)[codes]

    def _placed(self, name: str, values: Array, dims: tuple[str, ...]) -> xr.Variable:
        """Put values on the grid, with what stands where there is no row."""
        grid, rows = self._within(dims)
        row, sizes = VARIABLES.get(name), {dim: grid.labels[dim].size for dim in dims}
        gap = int(Flag.NOT_MEASURED) if name.endswith("quality") else padding(row, values.dtype)
        stands = self._beside.padding.get(name, padding(row, values.dtype))
        dtype = np.result_type(values, np.array(stands)) if values.dtype.kind == "U" else values.dtype
        out = np.full(int(np.prod(list(sizes.values()))), gap, dtype=dtype)
        if {"detector", "amplifier"} <= set(dims):
            try:
                out[_spread(~self._exists, sizes).ravel()] = np.array(stands).astype(dtype)
            except (ValueError, TypeError, OverflowError) as error:
                raise SchemaError(edited(self._columns, name)) from error
        out[grid.flat(dims)] = values[rows]
        return xr.Variable(dims, out.reshape(list(sizes.values())))


def _spread(of_amplifiers: Array, sizes: Mapping[str, int]) -> Array:
    """Give what is of (detector, amplifier) for every cell."""
    placed = of_amplifiers if list(sizes).index("detector") < list(sizes).index("amplifier") else of_amplifiers.T
    shape = [size if dim in ("detector", "amplifier") else 1 for dim, size in sizes.items()]
    return np.broadcast_to(placed.reshape(shape), list(sizes.values()))


def _existing(grid: Grid) -> Array:
    if "amplifier" not in grid.dims:
        return np.array(True)
    shape = [grid.labels[dim].size for dim in ("detector", "amplifier")]
    exists = np.zeros(int(np.prod(shape)), dtype=bool)
    exists[grid.flat(("detector", "amplifier"))] = True
    return exists.reshape(shape)


def _with_arrays(ds: xr.Dataset, beside: Beside, columns: Columns) -> xr.Dataset:
    """Add what lies along no dim of the cells."""
    for name, (dims, values) in beside.arrays.items():
        if name == "group":
            continue
        if name in ds.variables:
            raise SchemaError(edited(columns, name))
        try:
            given = {name: (dims, values)}
            ds = ds.assign(given) if name in VARIABLES else ds.assign_coords(given)
        except ValueError as error:
            raise SchemaError(edited(columns, name)) from error
    return ds


def _attributes(columns: Columns) -> dict[str, Any]:
    """Global attributes: those of the dataset that the table was made of, else where the table is from."""
    meta = {str(name): value for name, value in columns.meta.items() if name not in (BESIDE, "__serialized_columns__")}
    kept, others = storable_attributes(meta)
    if others:
        warn(f"{columns.said}: the attributes {offenders(others)} are neither text nor numbers and were left out")
    if BESIDE in columns.meta or "flatnorm_schema_version" in meta:
        if "flatnorm_schema_version" in meta:
            check_versions(kept, columns.said)
        return kept
    what = "Solution" if "E" in columns.frame else "Levels"
    made = attributes_of_import(what, "table", columns.caller, columns.path)
    before = kept.get("history")
    made["history"] = "\n".join([made["history"], *([before] if isinstance(before, str) and before else [])])
    return {**kept, **made}
