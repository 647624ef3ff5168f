"""Read a CSV, ECSV or Parquet file into columns: numbers where numbers must be, all other text as it is written."""

from __future__ import annotations

import csv
import itertools
import os
import re
import warnings
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from flatnorm_xr.camera.files import check_regular
from flatnorm_xr.errors import FlatnormError, ReadError, SchemaError, offenders

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "column_names", "columns_of_table", "read_columns", "with_numbers"]

_NO_NUMBER = ("", "nan", "NaN", "NAN", "NA", "N/A", "null", "None")
"""What stands for "not measured" in a column of numbers; in any other column these are ordinary text."""

_EXTENSIONS = (".csv", ".ecsv", ".parquet")


@dataclass(frozen=True)
class Columns:
    """The columns of a file, or of a table in memory, whose ``path`` is None.

    ``frame`` has float or integer columns for the names that must be numbers and, from text files, strings for all
    others. ``text`` names the columns that the file itself declares to be strings, ``dtypes`` what it declares of
    others.
    """

    path: Path | None
    frame: pd.DataFrame
    units: Mapping[str, str] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    text: frozenset[str] = frozenset()
    dtypes: Mapping[str, np.dtype[Any]] = field(default_factory=dict)
    caller: str = "read_table"

    @property
    def said(self) -> str:
        """How a message begins: the function that was called, and the file."""
        return f"{self.caller}: the table" if self.path is None else f"{self.caller}: {self.path}"

    def where(self, rows: np.ndarray[Any, Any]) -> list[str]:
        """Say where rows (counted from 0) stand: "line 7" of a file of text, "row 6" (from 1) of any other table."""
        if self.path is None or self.path.suffix.lower() == ".parquet":
            return [f"row {row + 1}" for row in rows]
        wanted = {int(row) for row in rows}
        lines: dict[int, int] = {}
        with open(self.path, encoding="utf-8-sig", newline="") as stream:
            for number, (line, _) in enumerate(_records(stream, _delimiter(self.path)), start=-1):
                if number in wanted:
                    lines[number] = line
        return [f"line {lines.get(int(row), '?')}" for row in rows]


def read_columns(path: str | os.PathLike[str], *, numbers: Collection[str], caller: str = "read_table") -> Columns:
    """Read the columns of a file.

    Parameters
    ----------
    path : path
        ``.csv`` (commas), ``.ecsv`` or ``.parquet``.
    numbers : collection of str
        Columns that must hold numbers; empty, NaN and NA become NaN there.
    caller : str
        Name of the function that was called, for the messages.

    Raises
    ------
    ReadError
        The file is missing, not text, not of the kind its extension says, or its rows do not fit the header.
    SchemaError
        A column that must hold numbers does not; the message has the lines.
    FlatnormError
        A Parquet file, and pyarrow is not installed.
    """
    path = Path(path)
    extension = path.suffix.lower()
    if extension not in _EXTENSIONS:
        msg = f"{caller}: {path} has the extension {extension!r}; a table is {', '.join(_EXTENSIONS)}"
        raise ReadError(msg)
    if path.is_dir():
        msg = f"{caller}: {path} is a folder; give the name of a table"
        raise ReadError(msg)
    check_regular(path, caller=caller)
    try:
        if extension == ".parquet":
            columns = _read_parquet(path, caller)
        else:
            _check_text(path)
            columns = _read_ecsv(path, numbers) if _is_ecsv(path) else _read_csv(path, numbers)
    except FileNotFoundError as error:
        msg = f"{caller}: {path}: no such file"
        raise ReadError(msg) from error
    except UnicodeDecodeError as error:
        msg = f"{caller}: {path} is not text in UTF-8; is it a table?"
        raise ReadError(msg) from error
    except OSError as error:
        msg = f"{caller}: {path}: {error.strerror or error}"
        raise ReadError(msg) from error
    except csv.Error as error:
        msg = f"{caller}: {path}: the rows cannot be read ({error})"
        raise ReadError(msg) from error
    except _UnreadableError as error:
        msg = f"{caller}: {path}: {error}"
        raise ReadError(msg) from error
    return with_numbers(replace(columns, caller=caller), numbers)


def column_names(path: str | os.PathLike[str]) -> list[str]:
    """Names of the columns of a table; none where they cannot be read, which `read_columns` says better."""
    path = Path(path)
    try:
        check_regular(path)
        if path.suffix.lower() != ".parquet":
            _check_text(path)
            return _check_shape(path, _delimiter(path))[0]
        import pyarrow.parquet

        return [str(name) for name in pyarrow.parquet.ParquetFile(path).schema_arrow.names]
    except (ImportError, OSError, ValueError, csv.Error, _UnreadableError):
        return []


class _UnreadableError(Exception):
    """What is wrong with the file, for the message."""


def _check_text(path: Path) -> None:
    with open(path, "rb") as stream:
        if b"\0" in stream.read(8192):
            msg = "it is not text; is it a table?"
            raise _UnreadableError(msg)


def _is_ecsv(path: Path) -> bool:
    """Whether the file is ECSV, whatever its name says."""
    if path.suffix.lower() == ".ecsv":
        return True
    with open(path, encoding="utf-8-sig") as stream:
        return stream.readline().startswith("# %ECSV")


def _ecsv_header(path: Path) -> list[str]:
    with open(path, encoding="utf-8-sig") as stream:
        lines = []
        for line in stream:
            if not line.startswith("#"):
                break
            lines.append(line.rstrip("\r\n"))
    return lines


def _delimiter(path: Path) -> str:
    if not _is_ecsv(path):
        return ","
    declared = [re.match(r"#\s*delimiter:\s*(['\"])(.)\1", line) for line in _ecsv_header(path)]
    return next((found.group(2) for found in declared if found), " ")


def _records(stream: Iterator[str], delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Line number and fields of the header and of every row, comments and blank lines left out."""
    skipped = 0

    def lines() -> Iterator[str]:
        nonlocal skipped
        in_header = True
        for line in stream:
            if in_header and line.startswith("#"):
                skipped += 1
                continue
            in_header = False
            yield line

    reader = csv.reader(lines(), delimiter=delimiter, skipinitialspace=True)
    for record in reader:
        if record and record != [""]:
            yield reader.line_num + skipped, record


def _check_shape(path: Path, delimiter: str) -> tuple[list[str], int]:
    """Names of the columns, and the line they stand in; an error for a repeated name."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        line, names = next(_records(stream, delimiter), (0, []))
    names = [name.strip() for name in names]
    if not any(names):
        msg = "the file is empty; the first line must name the columns"
        raise _UnreadableError(msg)
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        msg = f"the columns {offenders(repeated)} occur more than once; rename them"
        raise _UnreadableError(msg)
    return names, line


def _counts_match(path: Path, delimiter: str, header_line: int, n_commas: int) -> bool:
    """Whether the rows hold so many delimiters in all, and no quote that could hide one."""
    comma, found = delimiter.encode(), 0
    with open(path, "rb") as raw:
        for _ in range(header_line):
            raw.readline()
        while chunk := raw.read(1 << 20):
            if b'"' in chunk:
                return False
            found += chunk.count(comma)
    return found == n_commas


def _check_rows(path: Path, delimiter: str, n_fields: int) -> None:
    """Raise if a row has not as many fields as the header, and name the lines."""
    with open(path, encoding="utf-8-sig", newline="") as stream:
        records = itertools.islice(_records(stream, delimiter), 1, None)
        wrong = [f"line {line} ({len(record)})" for line, record in records if len(record) != n_fields]
    if wrong:
        msg = (
            f"the header names {n_fields} fields, and these lines have another number of them: {offenders(wrong)}; "
            "complete or drop them, or copy the file again if it was cut off"
        )
        raise _UnreadableError(msg)


def _read_csv(path: Path, numbers: Collection[str]) -> Columns:
    import pandas as pd

    delimiter = _delimiter(path)
    names, line = _check_shape(path, delimiter)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        try:
            frame = _pandas_reads(path, delimiter, line, {i: name in numbers for i, name in enumerate(names)})
        except pd.errors.EmptyDataError as error:
            msg = "the table has no rows"
            raise _UnreadableError(msg) from error
        except (pd.errors.ParserError, pd.errors.ParserWarning) as error:
            _check_rows(path, delimiter, len(names))
            msg = f"the rows cannot be read ({' '.join(str(error).split())})"
            raise _UnreadableError(msg) from error
    # the parser refuses rows that are too long and fills those that are too short: only then is a delimiter missing
    if not _counts_match(path, delimiter, line, len(frame) * (len(names) - 1)):
        _check_rows(path, delimiter, len(names))
    used = [i for i, name in enumerate(names) if name or not frame[i].isin(["", np.nan]).all()]
    frame = frame[used]
    frame.columns = pd.Index([names[i] for i in used])
    return Columns(path, frame)


def _pandas_reads(path: Path, delimiter: str, header_line: int, is_number: dict[int, bool]) -> pd.DataFrame:
    import pandas as pd

    options: dict[str, Any] = {
        "dtype": {i: object for i, number in is_number.items() if not number},
        "na_values": {i: list(_NO_NUMBER) for i, number in is_number.items() if number},
        "keep_default_na": False,
    }
    if int(pd.__version__.split(".")[0]) < 3:
        options["float_precision"] = "round_trip"  # pandas rounded the last digit of a float unless told not to
    with open(path, encoding="utf-8-sig", newline="") as stream:
        # by line here: skiprows would take a quote in a comment for the start of a field of many lines
        for _ in range(header_line):
            stream.readline()
        frame: pd.DataFrame = pd.read_csv(
            stream,
            sep=delimiter,
            header=None,
            names=list(is_number),
            index_col=False,
            skipinitialspace=True,
            low_memory=False,
            **options,
        )
    return frame


def _read_ecsv(path: Path, numbers: Collection[str]) -> Columns:
    """Columns, units and metadata; astropy reads the header, and the rows too where columns are objects (Time, ...)."""
    import yaml
    from astropy.io.ascii import InconsistentTableError
    from astropy.table import QTable

    header = _ecsv_header(path)
    names, _ = _check_shape(path, _delimiter(path))
    try:
        if any("__serialized_columns__" in line for line in header):
            return columns_of_table(QTable.read(path, format="ascii.ecsv"), path)
        # only the header: astropy's reader of rows is slow in Python, that of pandas is compiled
        writable = [line for line in header if not re.match(r"#\s*delimiter:", line)]
        empty = QTable.read([*writable, " ".join(_quoted(name) for name in names)], format="ascii.ecsv")
    except (InconsistentTableError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        msg = f"it is not valid ECSV ({' '.join(str(error).split())[:200]})"
        raise _UnreadableError(msg) from error
    rows = _read_csv(path, numbers)
    units = {name: str(empty[name].unit) for name in empty.colnames if getattr(empty[name], "unit", None)}
    text = frozenset(name for name in empty.colnames if empty[name].dtype.kind in "USO")
    dtypes = {name: empty[name].dtype for name in empty.colnames if empty[name].dtype.kind in "biuf"}
    return Columns(path, rows.frame, units, dict(empty.meta), text, dtypes)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def columns_of_table(table: Any, path: Path | None = None, *, caller: str = "read_table") -> Columns:
    """Columns of an astropy table; what is masked is NaN, NaT or empty text, times are UTC.

    Parameters
    ----------
    table : astropy.table.Table
        With plain columns, quantities, masked columns and times.
    path : Path, optional
        File that it was read from.
    caller : str
        Name of the function that was called, for the messages.
    """
    import pandas as pd
    from astropy.time import Time

    data: dict[str, pd.Series[Any]] = {}
    units: dict[str, str] = {}
    text: set[str] = set()
    dtypes: dict[str, np.dtype[Any]] = {}
    for name in table.colnames:
        column = table[name]
        if isinstance(column, Time):
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*dubious year")  # leap seconds of the far future
                times = column.utc.datetime64
            plain = np.asarray(getattr(times, "unmasked", times)).astype("datetime64[ns]")
            data[name] = pd.Series(np.where(np.asarray(column.mask), np.datetime64("NaT", "ns"), plain))
            continue
        if getattr(column, "unit", None):
            units[name] = str(column.unit)
        values = np.ma.asarray(getattr(column, "value", column))
        if values.dtype.kind in "US":
            text.add(name)
            data[name] = pd.Series([str(v) for v in values.filled("").tolist()], dtype=object)
        else:
            masked = np.ma.getmaskarray(values)
            plain = np.where(masked, np.nan, values.data.astype(float)) if masked.any() else values.data
            data[name], dtypes[name] = pd.Series(plain), plain.dtype
    return Columns(path, pd.DataFrame(data), units, dict(table.meta), frozenset(text), dtypes, caller)


def _read_parquet(path: Path, caller: str) -> Columns:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        msg = f"{caller}: {path}: reading Parquet needs pyarrow: pip install pyarrow"
        raise FlatnormError(msg) from error
    import pandas as pd

    try:
        # without pandas' own metadata an index of the writer's frame is a column like any other
        frame = pyarrow.parquet.ParquetFile(path).read().to_pandas(ignore_metadata=True)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError) as error:
        msg = f"it is not a Parquet file, or it is damaged ({' '.join(str(error).split())})"
        raise _UnreadableError(msg) from error
    frame = frame.loc[:, [not re.fullmatch(r"__index_level_\d+__", str(name)) for name in frame.columns]].copy()
    text = set()
    for name in frame.columns:
        column = frame[name]
        if isinstance(column.dtype, pd.CategoricalDtype):
            column = column.astype(column.cat.categories.dtype)
        if pd.api.types.is_string_dtype(column.dtype) or column.dtype == object:
            text.add(str(name))
            column = column.astype(object).where(column.notna(), "")
        frame[name] = column
    frame.columns = pd.Index([str(name) for name in frame.columns])
    return Columns(path, frame, text=frozenset(text))


def with_numbers(columns: Columns, numbers: Collection[str]) -> Columns:
    """Make the columns that must be numbers int64 or float64, or say which entries are no numbers.

    Raises
    ------
    SchemaError
        Naming the columns, and the first lines.
    """
    import pandas as pd

    frame, problems = columns.frame.copy(deep=False), []
    for name in [name for name in frame.columns if name in numbers]:
        column = frame[name]
        if column.dtype.kind not in "iuf":
            blank = column.isna() | column.isin(_NO_NUMBER)
            numeric = column.dtype.kind not in "bMm"
            converted = (
                pd.to_numeric(column.where(~blank), errors="coerce") if numeric else column.map(lambda _: np.nan)
            )
            bad = np.flatnonzero((converted.isna() & ~blank).to_numpy())
            if bad.size:
                shown = [f"{w} ({str(column.iloc[i])!r})" for w, i in zip(columns.where(bad[:5]), bad[:5], strict=True)]
                more = f" (+{bad.size - 5} more)" if bad.size > 5 else ""
                problems.append(f"column {name} must be numbers, but is not in {', '.join(shown)}{more}")
                continue
            column = converted
        frame[name] = column.astype("int64" if column.dtype.kind in "iu" else "float64")
    if problems:
        msg = f"{columns.said}: {'; '.join(problems)}; write numbers with a decimal point and nothing else"
        raise SchemaError(msg)
    return replace(columns, frame=frame)
