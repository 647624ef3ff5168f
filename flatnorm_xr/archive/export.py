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
from flatnorm_xr.archive.netcdf import not_unicode
from flatnorm_xr.archive.scales import pack_scales
from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.model.schema import VARIABLES
from flatnorm_xr.model.validate import validate

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["export"]

_FIRST = ("background", "counts", "sigma", "E", "G", "bgModel", "scales", "residual", "weight", "quality")


def export(
    solution: xr.Dataset, path: str | os.PathLike[str], *, to: str | None = None, overwrite: bool = False
) -> Path:
    """Write a solution, or measurements, as a long table: one row a detector or amplifier in one exposure.

    Or, with ``to="lsst"``, only the scales and responses of a solution, as the YAML that Rubin's combine reads: see
    `flatnorm_xr.archive.scales.pack_scales`.

    `flatnorm_xr.read_table` reads the levels, counts, sigmas and coordinates back exactly: floats are written with
    all their digits. Where it reads CSV, labels that are strings of plain digits come back as integers, and
    constant columns as coordinates; ECSV also says which columns are strings.

    Parameters
    ----------
    solution : Dataset
        Of all variables and coordinates of the data model those that are there, and coordinates of your own along its
        dims. With a ``group`` dim, ``G`` and the like are those of the exposure's group. Padding (``exists`` False)
        is left out; cells that were not measured are kept, with an empty (ECSV: nan) level.
    path : path
        Its folder must exist.
    to : {"csv", "ecsv", "lsst"}, optional
        Format; by default that of the file's ending, with which it must agree (``.yaml`` for ``"lsst"``). ECSV has
        units and the global attributes as well.
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
    validate(solution, caller="export")
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
    """One row a cell that exists, exposures varying fastest; labels first, then values, then coordinates."""
    import pandas as pd

    dims = [dim for dim in VARIABLES["background"].allowed_dims if dim in ds["background"].dims]
    shape = tuple(ds.sizes[dim] for dim in dims)
    keep: Any = slice(None)
    if "exists" in ds.coords and "amplifier" in dims:
        keep = _spread(ds["exists"], dims, shape)
    columns: dict[str, Any] = {}
    for dim in dims:
        columns[dim] = _spread(ds[dim], dims, shape)[keep]
    for name in [*_values(ds, dims), *_coordinates(ds, dims)]:
        columns[name] = _text(_spread(_of_exposures_group(ds, ds[name]), dims, shape)[keep])
    return pd.DataFrame(columns)


def _values(ds: xr.Dataset, dims: list[str]) -> list[str]:
    rest = [name for name in VARIABLES if name not in _FIRST]
    names = [name for name in (*_FIRST, *rest) if name in ds.data_vars]
    of_cells = {name: {str(dim) for dim in ds[name].dims} - {"group"} for name in names}
    return [name for name, own in of_cells.items() if own and own <= set(dims)]


def _coordinates(ds: xr.Dataset, dims: list[str]) -> list[str]:
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


def _spread(array: xr.DataArray, dims: list[str], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Values on every cell, as one row; only positions are used, so labels are not looked at again."""
    missing = {dim: size for dim, size in zip(dims, shape, strict=True) if dim not in array.dims}
    bare = array.drop_vars(list(array.coords))
    return np.asarray(bare.expand_dims(missing).transpose(*dims).values).ravel()


def _text(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Write times as ISO 8601 text, empty for NaT; leave all else as it is."""
    if values.dtype.kind != "M":
        return values
    distinct, codes = np.unique(values, return_inverse=True)
    written = np.where(np.isnat(distinct), "", np.datetime_as_string(distinct))
    return np.asarray(written[codes.reshape(values.shape)])


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
    header = Table(meta={str(name): _plain(value) for name, value in ds.attrs.items()})
    for name in table.columns:
        values = table[name].to_numpy()
        dtype = values.dtype if values.dtype.kind in "biuf" else np.dtype("U1")
        unit = ds[name].attrs.get("units")
        header[name] = Column([], dtype=dtype, unit=_unit(unit), description=ds[name].attrs.get("long_name"))
    text = io.StringIO()
    header.write(text, format="ascii.ecsv", delimiter=",")
    with open(path, "w", encoding="utf-8", newline="") as stream:
        stream.write(text.getvalue())
        table.to_csv(stream, index=False, header=False, na_rep="nan", lineterminator="\n", quoting=_quoting(table))


def _unit(text: object) -> Any:
    """Give the unit if astropy knows it, else none; "1" is no use in a table."""
    from astropy.units import Unit

    if not isinstance(text, str) or text in ("", "1"):
        return None
    try:
        return Unit(text)
    except ValueError:
        return None


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
