"""What all commands share at the terminal: quiet or not, summaries as text or JSON, files that are in the way."""

from __future__ import annotations

import inspect
import json
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from flatnorm_xr.errors import FlatnormError, offenders

if TYPE_CHECKING:
    import xarray as xr

__all__ = [
    "complain",
    "explain",
    "flowing",
    "for_the_shell",
    "netcdf_name",
    "refuse_existing",
    "say",
    "screen_width",
    "show_description",
    "show_table",
    "show_values",
    "state",
]


_KEYWORDS = "|".join(
    [
        "by",
        "camera",
        "filter",
        "floor",
        "gauge",
        "group",
        "instrument",
        "level",
        "method",
        "new_instrument",
        "on_disconnected",
        "overwrite",
        "since",
        "strict",
        "supersede",
        "to",
        "uncertainty",
        "units",
        "until",
        "weights",
    ]
)
"""Of the functions; what a message writes as ``by=...`` is an option here."""


_NARROWEST = 16
"""Characters of a column below which its texts are not broken into lines."""


@dataclass
class State:
    """Options that may stand anywhere on the command line."""

    debug: bool = False
    quiet: bool = False


state = State()


def say(line: str) -> None:
    """One line of the summary, unless quiet."""
    if not state.quiet:
        typer.echo(line)


def show_values(values: dict[str, Any], *, as_json: bool) -> None:
    """Show a summary: JSON on request, also when quiet; else aligned lines."""
    if as_json:
        typer.echo(json.dumps(values, indent=2, default=str))
        return
    width = max(map(len, values), default=0)
    for name, value in values.items():
        say(f"  {name:<{width}}  {_text(value)}")


def show_description(ds: xr.Dataset, *, as_json: bool, next_step: str) -> None:
    """Say what a dataset is, and what command to type next; as JSON its summary."""
    if as_json:
        from flatnorm_xr.show.summary import summary

        show_values(summary(ds), as_json=True)
        return
    from flatnorm_xr.show.description import describe_dataset

    say(replace(describe_dataset(ds), next_step=next_step).text(screen_width()))


def screen_width() -> int:
    """Columns of the terminal; in a log, enough for nearly any line."""
    return shutil.get_terminal_size((120, 24)).columns if _is_terminal() else 120


def _is_terminal() -> bool:
    return sys.stdout is not None and sys.stdout.isatty()


def show_table(
    columns: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    noun: str = "rows",
    asked_for: bool = False,
) -> None:
    """Show a table, unless quiet; columns as wide as they must be, so that nothing is cut.

    On a terminal that is too narrow, what is the same in all rows (``noun`` in the plural) is said once, above; if that
    is not enough, the longest texts are written in several lines.

    Parameters
    ----------
    columns : sequence of str
        Their names.
    rows : iterable of sequence of str
    noun : str
        What rows are, in the plural.
    asked_for : bool
        The table is what the command was called for: it is shown also when quiet.
    """
    if state.quiet and not asked_for:
        return
    cells = [list(columns), *(list(row) for row in rows)]
    if _is_terminal() and _table_width(cells) > screen_width():
        found = [{row[i] for row in cells[1:]} for i in range(len(columns))]
        same = [i for i, texts in enumerate(found) if texts == {""} or (i and len(texts) == 1 and len(cells) > 2)]
        told = [f"{columns[i]} {cells[1][i]}" for i in same if cells[1][i]]
        if told:
            words = f"  all {noun}: {', '.join(told)}"
            typer.echo(textwrap.fill(words, screen_width(), subsequent_indent="    "))
        cells = [[cell for i, cell in enumerate(row) if i not in same] for row in cells]
    _print_table(_broken(cells, screen_width()) if _is_terminal() else cells)


def _broken(cells: list[list[str]], width: int) -> list[list[str]]:
    """Write the texts of the widest column in lines short enough for the table to fit, each a row."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widest = max(range(len(widths)), key=widths.__getitem__)
    room = widths[widest] - (_table_width(cells) - width)
    if room >= widths[widest] or room < _NARROWEST:
        return cells
    rows = []
    for row in cells:
        for number, line in enumerate(textwrap.wrap(row[widest], room) or [""]):
            others = row if number == 0 else [""] * len(row)
            rows.append([line if i == widest else cell for i, cell in enumerate(others)])
    return rows


def _table_width(cells: Sequence[Sequence[str]]) -> int:
    return sum(2 + max(map(len, column)) for column in zip(*cells, strict=True))


def _print_table(cells: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for number, row in enumerate(cells):
        typer.echo("  " + "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            typer.echo("  " + "  ".join("-" * width for width in widths))


def refuse_existing(paths: Iterable[Path], *, overwrite: bool, inputs: Iterable[str | Path] = ()) -> None:
    """Refuse to start work whose output is in the way, has no folder to go to, or would replace its own input."""
    targets = list(paths)
    sources = {os.path.realpath(given) for given in inputs}
    eaten = [path for path in targets if os.path.realpath(path) in sources]
    if eaten:
        msg = f"the output {offenders(eaten)} is the input; choose another name"
        raise FlatnormError(msg)
    existing = [path for path in targets if path.exists()]
    if existing and not overwrite:
        msg = f"already there: {offenders(existing)}; choose another name or pass --overwrite"
        raise FlatnormError(msg)
    homeless = sorted({str(path.parent) for path in targets if not path.parent.is_dir()})
    if homeless:
        msg = f"the folder {offenders(homeless)} does not exist; make it first"
        raise FlatnormError(msg)


def for_the_shell(line: str) -> str:
    """Write what a message says in Python as one types it here: ``by='lamp'`` as ``--by lamp``."""

    def option(found: re.Match[str]) -> str:
        return f"--{found[1].replace('_', '-')}{' ' + found[3] if found[3] else ''}"

    line = line.replace("ds.flatnorm.solve()", "flatnorm solve")
    line = re.sub(r"(?<![^ (])(certificates|list)\(\)", r"flatnorm archive \1", line)
    line = re.sub(r"choose one: (\w+)= one of", lambda found: f"choose one: --{found[1]}, one of", line)
    return re.sub(rf"""(?<![^ (])({_KEYWORDS})=(?:True|(['"])([\w ]+)\2|)(?![^ ,;.)])""", option, line)


def explain(error: Exception) -> str:
    """One line for what went wrong."""
    line = " ".join(str(error).split())
    if isinstance(error, FlatnormError):
        return for_the_shell(line)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return f"not enough memory ({line})"
    return f"internal error, please report it: {type(error).__name__}: {line} (--debug shows the traceback)"


def complain(line: str) -> None:
    """Say what is wrong, on standard error; what stands in files and names reaches no terminal as it is."""
    from flatnorm_xr.show.texts import shown

    typer.echo(f"flatnorm: error: {shown(line, longest=4000)}", err=True)


def netcdf_name(path: Path) -> Path:
    """``path``, if its ending says that it is NetCDF."""
    if path.suffix.lower() not in (".nc", ".nc4"):
        msg = f"{path} does not end in .nc; what is written is NetCDF"
        raise FlatnormError(msg)
    return path


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(v)}" for name, v in value.items()) or "none"
    if isinstance(value, list):
        return ", ".join(map(_text, value)) or "none"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def flowing(docstring: str | None) -> str:
    r"""Join the lines of each paragraph, so that a terminal breaks them where it ends and not where the source did.

    Examples
    --------
    >>> flowing("Write.\n\n    One\n    two.")
    'Write.\n\nOne two.'
    """
    paragraphs = inspect.cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(text if "  " in text else " ".join(text.split()) for text in paragraphs)
