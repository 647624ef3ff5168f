"""Save a dataset as one NetCDF file, whole or not at all, and open it again identical."""

from __future__ import annotations

import builtins
import functools
import importlib.util
import os
import re
import threading
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import xarray as xr

from flatnorm_xr.archive.atomic import whole_file
from flatnorm_xr.archive.file_units import with_file_units, with_model_units
from flatnorm_xr.camera.files import check_regular
from flatnorm_xr.errors import FlatnormError, ReadError, SchemaError, offenders
from flatnorm_xr.model.make import version_attributes
from flatnorm_xr.model.schema import SCHEMA_VERSION
from flatnorm_xr.model.validate import check_attributes, is_of_runs, needs_levels, validate

__all__ = ["check_versions", "not_unicode", "open", "save", "storable", "write_unprotected"]

_NAT = np.iinfo(np.int64).min
_SINCE = "since 1970-01-01"
_TIME_UNITS = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
# Names that NetCDF or the CF conventions give a meaning of their own; as plain attributes they would change the values.
_RESERVED_ATTRIBUTES = frozenset(
    (
        *("_FillValue", "missing_value", "scale_factor", "add_offset", "_Unsigned", "_Encoding"),
        *("_NCProperties", "_Netcdf4Coordinates", "_Netcdf4Dimid", "_nc3_strict"),
        *("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "coordinates", "dtype", "calendar"),
    )
)
P = ParamSpec("P")
T = TypeVar("T")
READING = threading.RLock()
"""Held while a file is opened or read: the library crashes when two threads are in it."""

_HDF5 = b"\x89HDF\r\n\x1a\n"
_PROGRAM, _MODEL, _READER = "flatnorm_version", "flatnorm_schema_version", "flatnorm_min_reader"
_FLAG_ATTRIBUTES = ("flag_masks", "flag_values")


def save(ds: xr.Dataset, path: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
    """Write measurements, a solution, a diagnosis, a trend or a comparison to a NetCDF file.

    The file appears whole or not at all, also when the disk fills up or the process is killed. `open` gives the
    dataset back identical.

    Parameters
    ----------
    ds : Dataset
        Not changed. Variables, coordinates and attributes that the data model does not know are kept. The ``encoding``
        left over from another file is not used. The attributes that say which program made it and which data model the
        file follows are set; ``history`` is not touched. In the file ``units`` are those that UDUNITS knows: levels
        are in ``count``, and ``flatnorm_units`` says that these are adu or electron.
    path : path
        Usually ``*.nc``; its folder must exist.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    SchemaError
        The dataset departs from the data model, or holds what NetCDF cannot: attributes that are None, bool, dict or
        dates, values that are complex, time differences or mixed objects.
    FlatnormError
        The file exists, or cannot be written.

    Examples
    --------
    >>> import tempfile, flatnorm_xr as fx
    >>> folder = Path(tempfile.mkdtemp())
    >>> ds = fx.make([[100.0, 200.0], [110.0, 220.0]])
    >>> open(save(ds, folder / "levels.nc")).identical(ds)
    True
    """
    bare = storable(ds, caller="save")
    try:
        os.path.realpath(path).encode("utf-8")
    except UnicodeEncodeError as error:
        msg = f"save: {offenders([path])} is no name in UTF-8, which the NetCDF library needs; give another name"
        raise FlatnormError(msg) from error
    with whole_file(path, overwrite=overwrite, caller="save") as temporary:
        write_unprotected(bare, temporary, path)
    return Path(path)


def storable(ds: xr.Dataset, *, caller: str) -> xr.Dataset:
    """Give a dataset as it goes into a file, or raise one error that names all that cannot.

    Parameters
    ----------
    ds : Dataset
        Not changed.
    caller : str
        Name of the function that was called, for the messages.

    Returns
    -------
    Dataset
        Without the encoding of another file, with the attributes that say which program made it and which data model
        it follows: this one, or a newer one that it has followed before.
    """
    if not is_of_runs(ds):
        validate(ds, caller=caller, needs_levels=needs_levels(ds))
    check_attributes(ds, caller=caller)
    problems = list(_not_storable(ds))
    if problems:
        msg = f"{caller}: {offenders(problems)}"
        raise SchemaError(msg)
    return with_model_units(ds.drop_encoding()).assign_attrs(_versions(ds.attrs))


def _one_thread(function: Callable[P, T]) -> Callable[P, T]:
    @functools.wraps(function)
    def alone(*args: P.args, **keywords: P.kwargs) -> T:
        with READING:
            return function(*args, **keywords)

    return alone


@_one_thread
def open(path: str | os.PathLike[str], *, chunks: Any = None) -> xr.Dataset:
    """Read a dataset that `save` wrote.

    Parameters
    ----------
    path : path
        A file written by `save`.
    chunks : int, dict or "auto", optional
        Leave the values in the file and read them when they are needed, in dask chunks of this size. By default the
        values are read and the file is closed.

    Returns
    -------
    Dataset
        Identical to what was saved. An attribute that was an array of one number comes back as a number
        (``flag_masks`` and ``flag_values`` stay arrays).

    Raises
    ------
    ReadError
        There is no such file, or it is damaged, truncated or not NetCDF.
    SchemaError
        Another program wrote it, or a newer version of this one.
    """
    if chunks is not None and importlib.util.find_spec("dask") is None:
        msg = "open: chunks= needs dask: pip install dask"
        raise FlatnormError(msg)
    raw = _opened(path, chunks)
    try:
        check_versions(raw.attrs, f"open: {path}")
        ds = _decode(raw)
        if chunks is None:
            ds = ds.load()
            _check_written(ds, path)
            if not is_of_runs(ds):
                validate(ds, caller=f"open: {path}", needs_levels=needs_levels(ds))
    except FlatnormError:
        raw.close()
        raise
    except (OSError, RuntimeError, ValueError) as error:
        raw.close()
        raise ReadError(_unreadable(path, error)) from error
    if chunks is None:
        raw.close()
    else:
        ds.set_close(raw.close)
    return ds


@_one_thread
def open_lazily(path: str | os.PathLike[str]) -> xr.Dataset:
    """Read a dataset that `save` wrote, each value when it is asked for; it must be closed.

    Parameters
    ----------
    path : path

    Raises
    ------
    ReadError, SchemaError
        As `open`, but for values that are damaged, which shows when they are read.
    """
    raw = _opened(path, None)
    try:
        check_versions(raw.attrs, f"open: {path}")
        ds = _decode(raw)
        for variable in ds.variables.values():
            if variable.dtype.kind in "OUT":
                variable.load()  # HDF5 crashes (its issue 5359) when strings are read only at a later opening
    except BaseException:
        raw.close()
        raise
    ds.set_close(raw.close)
    return ds


def _opened(path: str | os.PathLike[str], chunks: Any) -> xr.Dataset:
    if not os.path.exists(path):
        msg = f"open: {path}: no such file"
        raise ReadError(msg)
    if os.path.isdir(path):
        msg = f"open: {path} is a folder; give the name of a NetCDF file"
        raise ReadError(msg)
    check_regular(path, caller="open")
    try:
        return xr.open_dataset(os.path.abspath(path), engine="netcdf4", decode_cf=False, chunks=chunks)
    except (OSError, RuntimeError, ValueError, AttributeError) as error:
        raise ReadError(_unreadable(path, error)) from error


def _versions(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes of what is written now; a dataset of an older data model follows the present one from here on."""
    versions = {**version_attributes(), **{name: attrs[name] for name in ("Conventions", _PROGRAM) if name in attrs}}
    for name in (_MODEL, _READER):
        former = attrs.get(name)
        newer = isinstance(former, int | np.integer) and former > versions[name]
        versions[name] = former if newer else versions[name]
    return versions


def write_unprotected(
    bare: xr.Dataset,
    temporary: Path,
    path: str | os.PathLike[str],
    *,
    unpacked: frozenset[str] = frozenset(),
    caller: str = "save",
) -> None:
    """Write what `storable` gave, to a file that nobody else sees yet.

    Parameters
    ----------
    bare : Dataset
    temporary : Path
        File to write to.
    path : path
        What it will be called, for the messages.
    unpacked : frozenset of str
        Variables that shall lie in the file in one piece, as they are in memory.
    caller : str
        Name of the function that was called, for the messages.
    """
    encoding = {
        name: {"_FillValue": None} if name in unpacked else _encoding(variable)
        for name, variable in bare.variables.items()
    }
    try:
        with_file_units(bare).to_netcdf(temporary, mode="w", engine="netcdf4", format="NETCDF4", encoding=encoding)
    except PermissionError:
        # The library says so of whatever keeps it from writing; writing ourselves gives the reason.
        with builtins.open(temporary, "wb") as stream:
            stream.write(bytes(1 << 16))
            stream.flush()
            os.fsync(stream.fileno())
        raise
    except RuntimeError as error:
        if "NetCDF" not in str(error):
            raise
        msg = f"{caller}: {path} could not be written ({error}); is the disk full?"
        raise FlatnormError(msg) from error


def _encoding(variable: xr.Variable) -> dict[str, Any]:
    kind = variable.dtype.kind
    if kind == "M":
        # xarray's own choice of units may be too coarse for a time that is not there yet; the count itself is exact
        unit = _TIME_UNITS[np.datetime_data(variable.dtype)[0]]
        return {
            "units": f"{unit} {_SINCE}",
            "calendar": "proleptic_gregorian",
            "dtype": "i8",
            "_FillValue": _NAT,
        }
    if kind in "iufb" and variable.ndim:
        packed: dict[str, Any] = {"zlib": True, "complevel": 1, "shuffle": True, "fletcher32": True}
        return {**packed, "_FillValue": None} if kind != "b" else packed
    return {"_FillValue": None} if kind in "iuf" else {}


def _decode(raw: xr.Dataset) -> xr.Dataset:
    ds = xr.decode_cf(_exact_times(raw), decode_timedelta=False).drop_encoding()
    ds = with_model_units(ds)
    for variable in ds.variables.values():
        for key in _FLAG_ATTRIBUTES:
            if key in variable.attrs and not isinstance(variable.attrs[key], str):
                variable.attrs[key] = np.atleast_1d(variable.attrs[key])
    return ds


def _exact_times(raw: xr.Dataset) -> xr.Dataset:
    """Read the times that `save` wrote as what they are: counts of the very unit, with NaT as the smallest integer."""
    ds = raw.copy()
    for name, variable in raw.variables.items():
        for unit, word in _TIME_UNITS.items():
            if variable.dtype == np.int64 and variable.attrs.get("units") == f"{word} {_SINCE}":
                attrs = {k: v for k, v in variable.attrs.items() if k not in ("units", "calendar", "_FillValue")}
                ds[name] = (variable.dims, variable.data.astype(f"datetime64[{unit}]"), attrs)
    return ds


def _check_written(ds: xr.Dataset, path: str | os.PathLike[str]) -> None:
    """Refuse variables that hold nothing but what the library gives for values that never reached the file."""
    from netCDF4 import default_fillvals

    blank = [
        str(name)
        for name, variable in ds.variables.items()
        if variable.size and variable.dtype.str[1:] in ("f4", "f8") and variable.ndim
        if bool((variable.values == variable.dtype.type(default_fillvals[variable.dtype.str[1:]])).all())
    ]
    if blank:
        msg = f"open: {path} is damaged: no value of {offenders(blank)} was ever written; copy or make it again"
        raise ReadError(msg)


def check_versions(attrs: Mapping[str, Any], said: str) -> None:
    """Raise for what another program wrote, or a newer version of this one.

    Parameters
    ----------
    attrs : mapping
        Global attributes.
    said : str
        How the message begins: the function that was called, and the file.

    Raises
    ------
    SchemaError
    """
    version, reader = attrs.get(_MODEL), attrs.get(_READER, 1)
    if version is None:
        msg = f"{said} was not written by flatnorm-xr; open it with xarray and pass its levels to flatnorm_xr.make"
        raise SchemaError(msg)
    try:
        too_new = int(reader) > SCHEMA_VERSION
    except (OverflowError, TypeError, ValueError) as error:
        msg = f"{said} has flatnorm_min_reader {reader!r}; it must be a whole number: was the file edited?"
        raise SchemaError(msg) from error
    if too_new:
        msg = (
            f"{said} was written by flatnorm {attrs.get(_PROGRAM, '(unknown)')} with data model "
            f"{version}; this program reads up to {SCHEMA_VERSION}: upgrade flatnorm-xr"
        )
        raise SchemaError(msg)


def _unreadable(path: str | os.PathLike[str], error: Exception) -> str:
    reason = " ".join(str(error).split())
    try:
        with builtins.open(path, "rb") as stream:
            head = stream.read(8)
    except OSError as refused:
        return f"open: {path}: {refused.strerror or refused}"
    if head == _HDF5 or head[:3] == b"CDF":
        return f"open: {path} is damaged or truncated ({reason}); copy or make it again"
    return f"open: {path} is not a NetCDF file"


def _not_storable(ds: xr.Dataset) -> Iterator[str]:
    """Sentences on what NetCDF, or xarray's reading of it, would refuse or silently change."""
    names = [*ds.variables, *ds.dims]
    for name in dict.fromkeys(names):
        if not _plain_name(name) or (name in ds.coords and re.search(r"\s", str(name))):
            yield f"the name {name!r} cannot stand in a NetCDF file; rename it"
    for key in ds.attrs:
        if not _plain_name(key) or key in _RESERVED_ATTRIBUTES:
            yield f"the attribute {key!r} of the dataset has a name that NetCDF keeps for itself; rename it"
    yield from _not_text("an attribute of the dataset", [v for v in ds.attrs.values() if isinstance(v, str)])
    for name, variable in ds.variables.items():
        yield from _not_storable_variable(str(name), variable)


def _not_storable_variable(name: str, variable: xr.Variable) -> Iterator[str]:
    for key, value in variable.attrs.items():
        timelike = key == "units" and (variable.dtype.kind == "M" or re.search(r"\bsince\b", str(value)))
        if timelike or not _plain_name(key) or key in _RESERVED_ATTRIBUTES:
            yield f"the attribute {key!r} of {name} would change its values when they are read back; rename or drop it"
    yield from _not_text(f"an attribute of {name}", [v for v in variable.attrs.values() if isinstance(v, str)])
    dtype = variable.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        yield f"{name} is categorical; convert it, for example with .astype(str)"
    elif dtype.kind in "OUT" or not isinstance(dtype, np.dtype):
        values = np.asarray(variable.values, dtype=object).ravel().tolist()
        if all(isinstance(value, str) for value in values):
            yield from _not_text(name, values)
        else:
            kinds = sorted({type(value).__name__ for value in values if not isinstance(value, str)})
            yield f"{name} holds objects ({', '.join(kinds)}); NetCDF holds numbers, strings, bool and datetime64"
    elif dtype.kind == "M" and np.datetime_data(dtype)[0] not in _TIME_UNITS:
        yield f"{name} is {dtype}; convert it to datetime64[ns]"
    elif dtype.kind == "M" and _outside_calendars(variable.values):
        yield f"{name} holds times outside the years 1 to 9999; NaT says that a time is not known"
    elif dtype.kind not in "biufM" or dtype.itemsize > 8 or dtype == np.float16:
        yield f"{name} is {dtype}; NetCDF holds numbers of up to 8 bytes, strings, bool and datetime64: convert it"


def _outside_calendars(values: Any) -> bool:
    years = values.astype("datetime64[Y]").astype(np.int64) + 1970
    return bool((~np.isnat(values) & ((years < 1) | (years > 9999))).any())


def _plain_name(name: object) -> bool:
    return (
        isinstance(name, str)
        and name != ""
        and name == unicodedata.normalize("NFC", name)  # what the NetCDF library makes of it anyway
        and name == name.strip()
        and "/" not in name
        and name.isprintable()
    )


def _not_text(where: str, values: list[str]) -> Iterator[str]:
    if "\0" in "".join(values):
        yield f"{where} has a NUL character in a string; NetCDF would cut the string there"
    yield from not_unicode(where, values)


def not_unicode(where: str, values: list[str]) -> Iterator[str]:
    """Sentence on strings that have no form in UTF-8."""
    try:
        "".join(values).encode("utf-8")
    except UnicodeEncodeError:
        yield f"{where} has a string that is not valid Unicode (a file name in another encoding?); replace it"
