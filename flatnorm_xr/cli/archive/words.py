"""How commands of an archive write runs, times, sizes and texts from files, and how they print for machines."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import typer

from flatnorm_xr.cli.console import screen_width

if TYPE_CHECKING:
    import pandas as pd
    import xarray as xr
    from numpy.typing import ArrayLike, NDArray

__all__ = [
    "cell",
    "columns_of_units",
    "day",
    "p_value",
    "print_json",
    "printed",
    "records",
    "rows_of_units",
    "short",
    "show_facts",
    "with_errors",
]

_SHOWN = 12
"""Digits of a run that are shown."""


def short(run: str) -> str:
    """Write the first digits of a run."""
    return cell(run)[:_SHOWN]


def cell(value: object) -> str:
    """Write anything that a file may have said in one line of a table."""
    from flatnorm_xr.show.texts import shown

    return " ".join(shown(value, longest=600).split())


def day(time: Any) -> str:
    """Write the day of a time; nothing where it is not known."""
    text = str(time)[:10]
    return "" if text in ("NaT", "None") else text


def p_value(p: float) -> str:
    """Write a probability; nothing where it is not known.

    Examples
    --------
    >>> p_value(0.0123), p_value(3.2e-200), p_value(float("nan"))
    ('0.012', '<1e-99', '')
    """
    if p != p:
        return ""
    return "<1e-99" if p < 1e-99 else f"{p:.2g}"


def with_errors(sizes: ArrayLike, errors: ArrayLike) -> list[str]:
    """Write differences of ln G in mmag with their errors, all to as many decimals as the typical error asks for.

    Examples
    --------
    >>> with_errors([0.0130, -0.0005], [0.0004, 0.0003])
    ['+14.11 ± 0.43', ' -0.54 ± 0.33']
    """
    import numpy as np

    from flatnorm_xr.show.looks import MMAG_PER_PERCENT
    from flatnorm_xr.show.sizes import digits_of

    in_mmag = 100 * MMAG_PER_PERCENT * np.stack([np.asarray(sizes, dtype=float), np.asarray(errors, dtype=float)])
    known = in_mmag[1][np.isfinite(in_mmag[1]) & (in_mmag[1] > 0)]
    digits = digits_of(float(np.median(known))) if known.size else 2
    texts = [
        ("", "")
        if not np.isfinite(size)
        else (f"{size:+.{digits}f}", f" ± {error:.{digits}f}" if np.isfinite(error) else "")
        for size, error in in_mmag.T
    ]
    width = max((len(size) for size, _ in texts), default=0)
    return [f"{size:>{width}}{error}" for size, error in texts]


def columns_of_units(ds: xr.Dataset, like: str) -> dict[str, NDArray[Any]]:
    """Give the labels of the units that exist, and every variable that lies along them as ``like`` does."""
    dims = ds[like].dims
    names = [str(name) for name, array in ds.data_vars.items() if set(array.dims) == set(dims)]
    columns = {str(dim): ds[dim].broadcast_like(ds[like]).transpose(*dims).values.ravel() for dim in dims}
    columns |= {name: ds[name].transpose(*dims).values.ravel() for name in names}
    if "exists" not in ds.coords:
        return columns
    exists = ds["exists"].broadcast_like(ds[like]).transpose(*dims).values.ravel().astype(bool)
    return {name: values[exists] for name, values in columns.items()}


def rows_of_units(ds: xr.Dataset, like: str) -> list[dict[str, Any]]:
    """Give `columns_of_units` as one mapping a unit."""
    columns = columns_of_units(ds, like)
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def print_json(value: Any) -> None:
    """Print for a machine: times as ISO 8601, what is not known as null."""
    typer.echo(json.dumps(_for_json(value), indent=2))


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Give the rows of a table, the index among the columns."""
    rows = table.reset_index().to_dict(orient="records")
    return [{str(name): value for name, value in row.items()} for row in rows]


def show_facts(facts: Mapping[str, object]) -> None:
    """Print facts below one another, those that are empty left out, also when quiet; long ones in several lines."""
    told = {name: cell(value) for name, value in facts.items()}
    told = {name: text for name, text in told.items() if text}
    width = max(map(len, told), default=0)
    for name, text in told.items():
        lines = textwrap.wrap(text, max(screen_width() - width - 4, 20), break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(lines):
            typer.echo(f"  {name if number == 0 else '':<{width}}  {line}")


def printed(lines: Iterable[str]) -> None:
    """Print lines that the command was called for, also when quiet."""
    for line in lines:
        typer.echo(line)


def _for_json(value: Any) -> Any:
    import math

    import numpy as np
    import pandas as pd

    if isinstance(value, dict):
        return {str(key): _for_json(one) for key, one in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [_for_json(one) for one in value]
    if value is pd.NaT or (isinstance(value, np.datetime64) and np.isnat(value)):
        return None
    if isinstance(value, pd.Timestamp):
        return value.isoformat()
    if isinstance(value, np.datetime64):
        return str(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int) else str(value)
