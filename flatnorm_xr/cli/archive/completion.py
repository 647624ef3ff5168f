"""What a shell completes of an archive: its runs, cameras, filters, as its catalogue has them.

Nothing is made or mended for it, and nobody waits: whatever is wrong with the catalogue, there is nothing to complete.
"""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import typer

__all__ = ["cameras", "certificates", "coordinates_of_runs", "filters", "runs"]

_MOST = 200
"""Rows that are read; nobody chooses among more."""

_PATIENCE = 0.2
"""Seconds to wait for a writer."""

_SHOWN = 12


def runs(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """List names of runs, the latest first, with what each is of."""
    if not re.fullmatch("[0-9a-f]*", incomplete):
        return []
    question = (
        "SELECT runs.run, camera, group_concat(filter, ' '), date(begin / 1000000, 'unixepoch') FROM runs "
        "LEFT JOIN filters USING (run) WHERE runs.run >= ? AND runs.run < ? GROUP BY runs.run ORDER BY begin DESC"
    )
    return [
        (_plain(run)[:_SHOWN], " ".join(_plain(part) for part in of if part))
        for run, *of in _asked(context, question, incomplete, incomplete + "g")
    ]


def cameras(context: typer.Context, incomplete: str) -> list[str]:
    """List cameras that runs are of."""
    return _beginning(incomplete, _asked(context, "SELECT DISTINCT camera FROM runs ORDER BY camera"))


def filters(context: typer.Context, incomplete: str) -> list[str]:
    """List filters that runs are of."""
    return _beginning(incomplete, _asked(context, "SELECT DISTINCT filter FROM filters ORDER BY filter"))


def certificates(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """List numbers of certificates, the latest first, with the run of each."""
    question = "SELECT number, run, camera, filter FROM certificates ORDER BY number DESC"
    return [
        (str(number), " ".join([_plain(run)[:_SHOWN], *map(_plain, of)]))
        for number, run, *of in _asked(context, question)
        if str(number).startswith(incomplete)
    ]


def coordinates_of_runs(context: typer.Context, incomplete: str) -> list[str]:
    """List names of what a run's exposures tell as numbers, after those that are given already."""
    before, comma, last = incomplete.rpartition(",")
    names: set[str] = set()
    for (means,) in _asked(context, "SELECT DISTINCT means FROM filters LIMIT 5"):
        names |= set(json.loads(means))
    return [before + comma + name for name in _beginning(last, [(name,) for name in sorted(names)])]


def _asked(context: typer.Context, question: str, *values: str) -> list[tuple[str, ...]]:
    """Rows of the catalogue of the archive that stands on the line."""
    # behind an option that has no value yet, arguments are left unread
    given = context.params.get("archive") or next(iter(context.args), "")
    path = Path(str(given)) / "catalogue.sqlite"
    try:
        if not path.is_file():
            return []
        log = path.with_name(f"{path.name}-wal")
        whole = not (log.exists() and log.stat().st_size)  # then it is read without leaving files beside it
        uri = f"file:{quote(str(path.absolute()))}?mode=ro{'&immutable=1' if whole else ''}"
        with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE)) as connection:
            return connection.execute(question, values).fetchmany(_MOST)
    except (OSError, sqlite3.Error):
        return []


def _beginning(incomplete: str, rows: list[tuple[str, ...]]) -> list[str]:
    return [name for (name,) in rows if name and name.isprintable() and name.startswith(incomplete)]


def _plain(text: object) -> str:
    """Text without characters that a terminal would obey."""
    return "".join(c for c in str(text) if c.isprintable())[:60]
