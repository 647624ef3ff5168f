"""Datasets as astropy tables, one row a cell, and back."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import xarray as xr

from flatnorm_xr.archive.beside import BESIDE, beside_rows, plain
from flatnorm_xr.archive.from_rows import dataset_of, numbers_of_the_model
from flatnorm_xr.archive.rows import rows_of, units_of_levels
from flatnorm_xr.errors import SchemaError, offenders
from flatnorm_xr.model.schema import COORDINATES, VARIABLES, attributes_of, units_of
from flatnorm_xr.model.validate import needs_levels, validate

if TYPE_CHECKING:
    from astropy.table import QTable, Table

__all__ = ["from_table", "table_meta", "to_table", "unit_of"]


def to_table(ds: xr.Dataset) -> QTable:
    """Give levels or a solution as an astropy table: one row a detector or amplifier in one exposure.

    Parameters
    ----------
    ds : Dataset
        Of all variables and coordinates of the data model those that are there, and coordinates of your own along its
        dims. Padding (``exists`` False) has no rows.

    Returns
    -------
    QTable
        Levels, lengths, times and gains are quantities, numbers without a unit plain columns, ``time`` and other
        moments ``astropy.time.Time`` in UTC. NaN stays NaN, because that is what "not measured" is here and a quantity
        can hold it; only a moment that is not known is masked. With a ``group`` dim, ``G`` and the like are those of
        the exposure's group. ``meta`` has the global attributes and, under ``flatnorm_table``, what rows cannot say,
        by which `flatnorm_xr.from_table` gives the same dataset again.

    Raises
    ------
    SchemaError
        The dataset departs from the data model.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> table = to_table(fx.make([[100.0, 200.0]], coords={"detector": ["S1"], "lamp": ["A", "B"]}))
    >>> print(table)
    detector exposure background lamp
                         adu
    -------- -------- ---------- ----
          S1        0      100.0    A
          S1        1      200.0    B
    """
    from astropy.table import QTable
    from astropy.time import Time
    from astropy.units import Quantity

    validate(ds, caller="to_table", needs_levels=needs_levels(ds))
    table = QTable(meta=table_meta(ds))
    for name, values in rows_of(ds).items():
        unit = unit_of(ds, name)
        if values.dtype.kind == "M":
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*dubious year")  # leap seconds of the far future
                table[name] = Time(values.astype("datetime64[ns]"), scale="utc")
        elif unit is not None and values.dtype.kind in "iuf":
            table[name] = Quantity(values, unit, dtype=values.dtype)
        else:
            table[name] = values.astype(str) if values.dtype.kind in "OT" else values
        described = ds[name].attrs.get("long_name") if name in ds.variables else None
        table[name].info.description = described if isinstance(described, str) else None
    return table


def from_table(table: Table, *, units: str | None = None) -> xr.Dataset:
    """Build a dataset of levels or of a solution from an astropy table, the way back of `to_table`.

    Parameters
    ----------
    table : Table or QTable
        Columns ``detector``, ``exposure`` and ``background``, or ``E`` and ``G``; optionally ``amplifier`` and all
        other variables of the data model. Any other column that is constant along exposure, else along detector, else
        for each (detector, amplifier), becomes a coordinate there. What is masked is NaN, an empty text or NaT; times
        are converted to UTC, lengths to mm, durations to s. Not changed.
    units : {"adu", "electron"}, optional
        Units of the levels; those of the columns, else adu.

    Returns
    -------
    Dataset
        Of a table that `to_table` made the dataset it was made of, identical: all variables and coordinates of the
        model, your own coordinates, and the attributes. Times come back as datetime64[ns]; other variables of your own
        are not in the table, and in padding only what was the same everywhere. A cell without a row is NaN, of weight
        0 and flagged NOT_MEASURED; a (detector, amplifier) without a row does not exist.

    Raises
    ------
    SchemaError
        A column is missing, holds what it must not hold, or differs within what should be one exposure or one unit;
        rows occur twice; units conflict.

    Warns
    -----
    FlatnormWarning
        Columns that vary along every dimension, and attributes that are neither text nor numbers, are left out.

    Examples
    --------
    >>> import flatnorm_xr as fx
    >>> ds = fx.make([[100.0, 200.0], [110.0, 220.0]])
    >>> from_table(to_table(ds)).identical(ds)
    True
    """
    from astropy.table import Table

    from flatnorm_xr.measure.columns import columns_of_table, with_numbers

    if not isinstance(table, Table):
        msg = f"from_table: table is a {type(table).__name__}, not an astropy Table; read a file with read_solution"
        raise SchemaError(msg)
    many = [name for name in table.colnames if getattr(table[name], "ndim", 1) != 1]
    if many:
        msg = f"from_table: {offenders(many)} has several values a row; one row is one cell: take such columns out"
        raise SchemaError(msg)
    columns = columns_of_table(table, caller="from_table")
    return dataset_of(with_numbers(columns, numbers_of_the_model()), units=units)


def table_meta(ds: xr.Dataset) -> dict[str, Any]:
    """Global attributes for a table, and under `BESIDE` what its rows cannot say."""
    return {**{str(name): plain(value) for name, value in ds.attrs.items()}, BESIDE: json.dumps(beside_rows(ds))}


def unit_of(ds: xr.Dataset, name: str) -> Any:
    """Give the unit of a column if astropy knows it, else none; "1" is no use in a table."""
    from astropy.units import Unit

    known = name in VARIABLES or name in COORDINATES
    text = attributes_of(name, units=units_of_levels(ds)).get("units") if known else None
    if name in ds.variables:
        text = units_of(ds[name])
    if not isinstance(text, str) or text in ("", "1"):
        return None
    try:
        return Unit(text)
    except ValueError:
        return None
