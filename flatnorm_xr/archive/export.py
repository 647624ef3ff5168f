"""Write a solution as a long table, or its scales as Rubin reads them, for programs that do not read NetCDF."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from flatnorm_xr.archive.atomic import whole_file
from flatnorm_xr.archive.netcdf import not_unicode, storable, write_unprotected
from flatnorm_xr.archive.rows import rows_of
from flatnorm_xr.archive.scales import pack_scales
from flatnorm_xr.archive.tables import table_meta, unit_of
from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.model.validate import needs_levels, validate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["export"]


def export(
    solution: xr.Dataset, path: str | os.PathLike[str], *, to: str | None = None, overwrite: bool = False
) -> Path:
    """Write a solution, or measurements, as a long table: one row a detector or amplifier in one exposure.

    Or, with ``to="lsst"``, only the scales and responses of a solution, as the YAML that Rubin's combine reads: see
    `flatnorm_xr.archive.scales.pack_scales`.

    `flatnorm_xr.read_solution` reads all of it back: floats are written with all their digits, and the header of ECSV
    also has what rows cannot say. `flatnorm_xr.read_table` reads the levels, counts, sigmas and coordinates alone.
    Where they read CSV, labels that are strings of plain digits come back as integers.

    Parameters
    ----------
    solution : Dataset
        Without levels there must be ``E`` and ``G``. Of all variables and coordinates of the data model those that are
        there, and coordinates of your own along its dims. With a ``group`` dim, ``G`` and the like are those of the
        exposure's group. Padding (``exists`` False) is left out; cells that were not measured are kept, with an empty
        (ECSV: nan) level.
    path : path
        Its folder must exist.
    to : {"csv", "ecsv", "lsst", "nc"}, optional
        Format; by default that of the file's ending, with which it must agree (``.yaml`` for ``"lsst"``). ECSV has
        units and the global attributes as well. ``"nc"`` is what `flatnorm_xr.save` writes.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    SchemaError
        The dataset departs from the data model.
    FlatnormError
        The format is unknown or not that of the file's ending, or the file exists or cannot be written.

    Examples
    --------
    >>> import tempfile, flatnorm_xr as fx
    >>> ds = fx.make([[100.0, 200.0]], coords={"detector": ["S1"], "lamp": ["A", "B"]})
    >>> print(export(ds, Path(tempfile.mkdtemp()) / "levels.csv").read_text().strip())
    detector,exposure,background,lamp
    S1,0,100.0,A
    S1,1,200.0,B
    """
    writers: dict[str, Callable[[xr.Dataset, Path], None]] = {
        "csv": _write_csv,
        "ecsv": _write_ecsv,
        "lsst": _write_scales,
        "nc": _write_netcdf,
    }
    extension = Path(path).suffix.lower().lstrip(".")
    extension = "lsst" if extension in ("yaml", "yml") else extension
    chosen = to if to is not None else extension
    if chosen not in writers:
        given = f"to={to!r}" if to is not None else f"the extension of {path}"
        msg = f"export: {given} is no known format; pass to= one of {offenders(writers)}"
        raise FlatnormError(msg)
    if extension in writers and extension != chosen:
        msg = f"export: {path} ends in {Path(path).suffix} and to is {chosen!r}; leave to= out, or rename the file"
        raise FlatnormError(msg)
    validate(solution, caller="export", needs_levels=needs_levels(solution))
    problems = list(_not_writable(solution))
    if problems:
        msg = f"export: {offenders(problems)}"
        raise SchemaError(msg)
    with whole_file(path, overwrite=overwrite, caller="export") as temporary:
        writers[chosen](solution, temporary)
    return Path(path)


def _not_writable(ds: xr.Dataset) -> Iterator[str]:
    """Sentences on what has no place in a table of text."""
    import pandas as pd

    for name, variable in ds.variables.items():
        if not isinstance(name, str):
            yield f"the name {name!r} is no string; rename it"
        elif isinstance(variable.dtype, pd.CategoricalDtype):
            yield f"{name} is categorical; convert it, for example with .astype(str)"
        elif variable.dtype.kind in "OUT":
            values = np.asarray(variable.values, dtype=object).ravel().tolist()
            yield from not_unicode(name, [value for value in values if isinstance(value, str)])
        yield from not_unicode("a name", [str(name)])


def _long(ds: xr.Dataset) -> pd.DataFrame:
    """One row a cell that exists, times as text."""
    import pandas as pd

    return pd.DataFrame({name: _text(values) for name, values in rows_of(ds).items()})


def _text(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Write times as ISO 8601 text, empty for NaT; leave all else as it is."""
    if values.dtype.kind != "M":
        return values
    distinct, codes = np.unique(values, return_inverse=True)
    written = np.where(np.isnat(distinct), "", np.datetime_as_string(distinct))
    return np.asarray(written[codes.reshape(values.shape)])


def _write_netcdf(ds: xr.Dataset, path: Path) -> None:
    write_unprotected(storable(ds, caller="export"), path, path)


def _write_scales(ds: xr.Dataset, path: Path) -> None:
    import yaml

    text = yaml.safe_dump(pack_scales(ds), sort_keys=False, allow_unicode=True)
    path.write_text(text, encoding="utf-8")


def _write_csv(ds: xr.Dataset, path: Path) -> None:
    table = _long(ds)
    table.to_csv(path, index=False, na_rep="", lineterminator="\n", encoding="utf-8", quoting=_quoting(table))


def _quoting(table: pd.DataFrame) -> Literal[0, 2]:
    """Quote all strings where one has a carriage return: it ends a line too, and the writer would not quote it."""
    texts: list[Any] = [table[name].unique() for name in table.columns if table[name].dtype.kind in "OUT"]
    returns = any("\r" in str(text) for distinct in [*texts, table.columns] for text in distinct)
    return csv.QUOTE_NONNUMERIC if returns else csv.QUOTE_MINIMAL


def _write_ecsv(ds: xr.Dataset, path: Path) -> None:
    """Write the header with astropy and the rows with pandas, whose writer is compiled."""
    import io

    from astropy.table import Column, Table

    table = _long(ds)
    header = Table(meta=table_meta(ds))
    for name in table.columns:
        values = table[name].to_numpy()
        dtype = values.dtype if values.dtype.kind in "biuf" else np.dtype("U1")
        described = ds[name].attrs.get("long_name") if name in ds else None
        header[name] = Column(
            [], dtype=dtype, unit=unit_of(ds, name) if values.dtype.kind in "iuf" else None, description=described
        )
    text = io.StringIO()
    header.write(text, format="ascii.ecsv", delimiter=",")
    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.write(text.getvalue())
        table.to_csv(stream, index=False, header=False, na_rep="nan", lineterminator="\n", quoting=_quoting(table))
