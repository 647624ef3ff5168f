"""Where the rows of a long table stand: labels, positions, units, and the columns that are coordinates."""

from __future__ import annotations

import contextlib
import datetime
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.errors import SchemaError, offenders, warn
from flatnorm_xr.measure.columns import Columns
from flatnorm_xr.model.schema import COORDINATES, LEVEL_UNITS, VARIABLES, level_units, solved_names

__all__ = [
    "LABELS",
    "Grid",
    "check_duplicates",
    "coordinate_values",
    "coordinates_of",
    "grid_of",
    "in_model_units",
    "levels_units",
    "nothing",
    "places_of",
    "some_rows",
    "times_of",
    "values_of",
    "warn_left_out",
]

LABELS = ("detector", "amplifier", "exposure")
"""Columns that say which cell a row is of."""

_MOST_CELLS = 2_000_000_000

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Grid:
    """Where each row of the table stands: its position along every dim, and the dims' labels."""

    codes: dict[str, Array]
    labels: dict[str, Array]

    @property
    def dims(self) -> tuple[str, ...]:
        """Names of the dims, in canonical order."""
        return tuple(self.codes)

    def size(self, dims: Sequence[str]) -> int:
        """Give the number of places along some dims."""
        return int(np.prod([self.labels[dim].size for dim in dims], dtype=float))

    def flat(self, dims: Sequence[str]) -> Array:
        """Give each row's place along some dims, as one number."""
        shape = [self.labels[dim].size for dim in dims]
        return np.ravel_multi_index([self.codes[dim] for dim in dims], shape)

    def is_constant(self, codes: Array, dims: Sequence[str]) -> bool:
        """Whether rows of the same labels along ``dims`` have the same code."""
        position = self.flat(dims)
        one_of_them = np.zeros(self.size(dims), dtype=np.int64)
        one_of_them[position] = codes
        return bool((one_of_them[position] == codes).all())

    def place(self, values: Array, dims: Sequence[str], *, fill: object) -> xr.Variable:
        """Put the rows' values on the grid; ``fill`` where there is no row, which may make floats of integers."""
        position, size = self.flat(dims), self.size(dims)
        covered = np.zeros(size, dtype=bool)
        covered[position] = True
        dtype = values.dtype
        if not covered.all():
            dtype = np.result_type(dtype, float) if isinstance(fill, float) and dtype.kind in "iuf" else dtype
        out = np.full(size, fill if not covered.all() else values[0], dtype=dtype)
        out[position] = values
        return xr.Variable(tuple(dims), out.reshape([self.labels[dim].size for dim in dims]))


def levels_units(columns: Columns, units: str | None, *, of: Sequence[str] = ("background", "sigma")) -> str:
    """Units of the levels: those given, else those of the columns ``of``, else adu.

    Raises
    ------
    SchemaError
        Unknown units, or several.
    """
    found = {name: columns.units[name] for name in of if columns.units.get(name)}
    given = {**({"units=": units} if units is not None else {}), **found}
    if units is not None and units not in LEVEL_UNITS:
        msg = f"{columns.caller}: units {units!r} are unknown; levels are in {' or '.join(LEVEL_UNITS)}"
        raise SchemaError(msg)
    known = {name: unit for name, unit in given.items() if unit in LEVEL_UNITS}
    if len(set(known.values())) > 1:
        listed = ", ".join(f"{name} {unit}" for name, unit in known.items())
        msg = f"{columns.said}: the units conflict ({listed}); convert the levels or correct one of them"
        raise SchemaError(msg)
    if units is None and len(known) < len(given):
        listed = ", ".join(f"{name} {unit!r}" for name, unit in given.items() if name not in known)
        msg = f"{columns.said}: unknown units ({listed}); pass units='adu' or units='electron'"
        raise SchemaError(msg)
    return level_units(next(iter(known.values()), None))


def in_model_units(columns: Columns) -> Columns:
    """Convert columns of the model, other than levels, to the units that the model gives them.

    Raises
    ------
    SchemaError
        Units that do not convert.
    """
    frame, problems = columns.frame.copy(deep=False), []
    for name, given in columns.units.items():
        row = VARIABLES.get(name) or COORDINATES.get(name)
        if row is None or row.units in (None, "level") or name not in frame:
            continue
        factor = _factor(given, str(row.units))
        if factor is None:
            problems.append(f"{name} is in {given!r}, not in {'plain numbers' if row.units == '1' else row.units}")
        elif factor != 1:
            frame[name] = frame[name] * factor
    if problems:
        msg = f"{columns.said}: {offenders(problems)}; convert the columns, or correct their units"
        raise SchemaError(msg)
    return replace(columns, frame=frame)


def _factor(given: str, wanted: str) -> float | None:
    from astropy.units import Unit

    try:
        return float(Unit(given).to(Unit(wanted)))
    except (ValueError, TypeError):  # what astropy raises where units do not parse, or do not convert
        return None


def grid_of(columns: Columns) -> Grid:
    """Find the labels, in order of first appearance, and where each row stands.

    Raises
    ------
    SchemaError
        Rows without a label, naming the lines; too many cells.
    """
    codes, labels = {}, {}
    blank: list[str] = []
    for name in LABELS:
        if name not in columns.frame:
            continue
        codes[name], uniques = values_of(columns, name)
        empty = np.array([label == "" for label in uniques])
        if empty.any():
            if name == "amplifier" and empty.all():
                del codes[name]
                continue
            rows = np.flatnonzero(empty[codes[name]])
            blank.append(f"{name} is empty in {some_rows(columns, rows)}")
        labels[name] = _label_values(name, uniques, columns)
    if blank:
        msg = f"{columns.said}: {'; '.join(blank)}; every row needs its labels"
        raise SchemaError(msg)
    grid = Grid(codes, labels)
    if grid.size(grid.dims) > _MOST_CELLS:
        sizes = " x ".join(f"{labels[dim].size} {dim}s" for dim in grid.dims)
        msg = f"{columns.said} has {sizes}, too many cells to hold; is a column something else than a label?"
        raise SchemaError(msg)
    return grid


def values_of(columns: Columns, name: str) -> tuple[Array, list[Any]]:
    """Code of every row and the distinct values in order of first appearance; "" for what is missing.

    Spaces around a value in a file are not part of it.
    """
    import pandas as pd

    codes, uniques = pd.factorize(columns.frame[name], use_na_sentinel=False)
    values = ["" if value is None or value != value else value for value in list(uniques)]
    if columns.path is not None:
        values = [value.strip() if isinstance(value, str) else value for value in values]
    again, distinct = pd.factorize(np.array(values, dtype=object))
    return again[codes], list(distinct)


def _label_values(name: str, uniques: list[Any], columns: Columns) -> Array:
    """Labels as int64 when they are declared so, or all are plain integers of that size, else as strings."""
    texts = [str(value) for value in uniques]
    declared = columns.dtypes.get(name)
    if declared is not None and declared.kind in "iu" and name != "amplifier":
        with contextlib.suppress(ValueError, OverflowError):
            return np.array([int(text) for text in texts], dtype=np.int64)
    plain = name not in columns.text and all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts)
    return np.array([int(text) for text in texts]) if plain and name != "amplifier" else np.array(texts)


def check_duplicates(columns: Columns, grid: Grid) -> None:
    """Raise if two rows are of the same cell, naming cells and lines."""
    position = grid.flat(grid.dims)
    order = np.argsort(position, kind="stable")
    again = np.flatnonzero(np.diff(position[order]) == 0)
    if again.size:
        cells = np.unique(position[order[again]])
        named = []
        for cell in cells[:5]:
            rows = np.flatnonzero(position == cell)
            labels = " ".join(f"{dim} {offenders([grid.labels[dim][grid.codes[dim][rows[0]]]])}" for dim in grid.dims)
            named.append(f"{labels} ({', '.join(columns.where(rows[:5]))})")
        more = f" (+{cells.size - 5} more)" if cells.size > 5 else ""
        msg = f"{columns.said}: rows occur twice: {'; '.join(named)}{more}; keep one row a cell"
        raise SchemaError(msg)


def some_rows(columns: Columns, rows: Array) -> str:
    """Say where the first of some rows stand, and how many more there are."""
    return ", ".join(columns.where(rows[:5])) + (f" (+{rows.size - 5} more)" if rows.size > 5 else "")


def coordinates_of(columns: Columns, grid: Grid) -> dict[str, xr.Variable]:
    """Every other column that is constant along some of the dims."""
    solved = solved_names()[0]
    coordinates: dict[str, xr.Variable] = {}
    varying, reserved = [], []
    for name in columns.frame.columns:
        if name in LABELS or name in VARIABLES or name == "exists":
            continue
        if name in solved or name in {"group", *LABELS} or not name:
            if name != "exposure_group":
                reserved.append(name or "(no name)")
            continue
        codes, uniques = values_of(columns, name)
        places = places_of(name, grid)
        dims = next((dims for dims in places if grid.is_constant(codes, dims)), None)
        if dims is None:
            varying.append(name)
            continue
        values = coordinate_values(columns, name, codes, uniques)
        coordinates[name] = grid.place(values[codes], dims, fill=nothing(values.dtype))
    warn_left_out(columns, varying, "vary along every dimension a coordinate of theirs may have")
    warn_left_out(columns, reserved, "have a name that the solve uses, or none")
    return coordinates


def nothing(dtype: np.dtype[Any]) -> Any:
    """Give what stands on the grid where there is no row."""
    return {"M": np.datetime64("NaT"), "U": "", "b": False}.get(dtype.kind, np.nan)


def places_of(name: str, grid: Grid) -> list[tuple[str, ...]]:
    """Dims that a coordinate may lie along, the likeliest first."""
    if name in COORDINATES:
        return [tuple(dim for dim in COORDINATES[name].allowed_dims if dim in grid.dims)]
    places: list[tuple[str, ...]] = [("exposure",), ("detector",)]
    return [*places, ("detector", "amplifier")] if "amplifier" in grid.dims else places


def warn_left_out(columns: Columns, names: list[str], reason: str) -> None:
    """Warn of columns that are not in the dataset."""
    if names:
        msg = f"{columns.said}: columns {offenders(names)} {reason} and were left out; rename or drop them"
        warn(msg)


def coordinate_values(columns: Columns, name: str, codes: Array, uniques: list[Any]) -> Array:
    """Convert the distinct values of a coordinate to the type of the model, else to what the file declares.

    Else to integers, numbers or bool where all of them are, else to strings.

    Parameters
    ----------
    columns : Columns
    name : str
    codes, uniques
        What `values_of` gave.
    """
    row = COORDINATES.get(name)
    if row is not None and row.dtype == "datetime64":
        return times_of(columns, name, codes, uniques)
    if row is not None and row.dtype == "f8":
        return np.array([np.nan if value == "" else float(value) for value in uniques])
    given = [value for value in uniques if value != ""]
    texts = [str(value) for value in uniques]
    declared = columns.dtypes.get(name)
    if declared is not None and (declared.kind == "f" or (declared.kind in "iu" and len(given) == len(uniques))):
        with contextlib.suppress(ValueError, OverflowError):
            return np.array([np.nan if value == "" else value for value in uniques]).astype(declared)
    if not given or name in columns.text or (row is not None and row.dtype == "str"):
        return np.array(texts)
    if set(texts) <= {"True", "False"}:
        return np.array([text == "True" for text in texts])
    if all(isinstance(value, datetime.date) for value in given):
        return times_of(columns, name, codes, uniques)
    if all(isinstance(value, int | float | np.number) for value in given):
        return np.array([np.nan if value == "" else value for value in uniques])
    if all(re.fullmatch(r"0|-?[1-9]\d{0,17}", text) for text in texts):
        return np.array([int(text) for text in texts])
    if all(re.fullmatch(r"|nan|-?(0|[1-9]\d*)(\.\d*)?([eE][-+]?\d+)?", text) for text in texts):
        return np.array([float(text or "nan") for text in texts])
    return np.array(texts)


def times_of(columns: Columns, name: str, codes: Array, uniques: list[Any]) -> Array:
    """Convert the distinct values of a column to UTC; an error names the lines of what is no time.

    Parameters
    ----------
    columns : Columns
    name : str
    codes, uniques
        What `values_of` gave.
    """
    import pandas as pd

    times = np.full(len(uniques), np.datetime64("NaT"), dtype="datetime64[ns]")
    bad = []
    for i, value in enumerate(uniques):
        if isinstance(value, str) and value in ("", "NaT"):
            continue
        if isinstance(value, str) and not re.match(r"\d{4}", value.strip()):  # pandas takes "now" for a time
            bad.append(i)
            continue
        try:
            stamped = pd.to_datetime(value, utc=True, format="ISO8601" if isinstance(value, str) else None)
            times[i] = stamped.tz_localize(None).as_unit("ns").to_datetime64()
        except (ValueError, TypeError, AttributeError):
            bad.append(i)
    if bad:
        where = some_rows(columns, np.flatnonzero(np.isin(codes, bad)))
        msg = f"{columns.said}: {name} is no ISO 8601 time ({uniques[bad[0]]!r}, ...) in {where}; "
        raise SchemaError(msg + "write it as 2024-01-31T23:59:59.5")
    return times
