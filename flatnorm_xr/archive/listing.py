"""What an archive tells of its runs and certificates: tables, all of one run, the runs of one camera and filter."""

from __future__ import annotations

import sqlite3
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from flatnorm_xr.archive import catalogue as index
from flatnorm_xr.archive.certificates import Certificate, certificates_of, moment, time_words
from flatnorm_xr.archive.certify import all_holding, choose_kind
from flatnorm_xr.archive.history import Labels
from flatnorm_xr.archive.holdings import SHOWN, Holdings
from flatnorm_xr.errors import FlatnormError, ReadError, offenders, warn

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Chosen", "choose_runs", "describe_run", "list_certificates", "list_runs"]

_LISTED = ("nights", "exposures", "detectors", "units", "lost_units", "rms_residual", "converged")


@dataclass(frozen=True)
class _Window:
    """From one moment on and before another; None: no limit."""

    since: int | None
    until: int | None

    @classmethod
    def of(cls, since: Any, until: Any, *, caller: str) -> _Window:
        limits = [
            None if value is None else int(moment(value, caller=caller, argument=name).astype(np.int64))
            for name, value in (("since", since), ("until", until))
        ]
        return cls(*limits)

    def holds(self, begin: int | None, end: int | None) -> bool:
        if begin is None or end is None:
            return self.since is None and self.until is None
        return (self.since is None or end >= self.since) and (self.until is None or begin < self.until)


def list_runs(holdings: Holdings, *, camera: str | None, filter: str | None, since: Any, until: Any) -> pd.DataFrame:
    """List runs; see `flatnorm_xr.archive.archive.Archive.list`."""
    import pandas as pd

    window = _Window.of(since, until, caller="list")

    def asked(connection: sqlite3.Connection) -> tuple[list[index.Entry], dict[str, list[str]], dict[str, str]]:
        certified, unreadable = index.certified(connection), index.known_runs(connection)[1]
        return index.entries(connection, camera, filter), certified, unreadable

    found, certified, unreadable = holdings.ask(asked)
    if unreadable:
        warn(f"list: {offenders(run[:SHOWN] for run in sorted(unreadable))} cannot be read; verify tells more")
    rows = {
        entry.run: {
            "camera": entry.camera,
            "filter": ", ".join(entry.filters),
            "begin": _time(entry.begin),
            "end": _time(entry.end),
            **{key: entry.facts[key] for key in _LISTED},
            "certified": ", ".join(certified.get(entry.run, [])),
            "added": np.datetime64(entry.facts["added"], "s"),
        }
        for entry in found
        if window.holds(entry.begin, entry.end)
    }
    columns = ["camera", "filter", "begin", "end", *_LISTED, "certified", "added"]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    table.index.name = "run"
    for name in ("begin", "end", "added"):
        table[name] = pd.to_datetime(table[name])
    return table


def describe_run(holdings: Holdings, run: str) -> dict[str, Any]:
    """Tell all that is known of a run; see `flatnorm_xr.archive.archive.Archive.show`."""
    entry = next((e for e in holdings.ask(lambda c: index.entries(c, None, None)) if e.run == run), None)
    if entry is None:
        why = holdings.ask(index.known_runs)[1].get(run, "it is not in the catalogue")
        msg = f"show: {run[:SHOWN]} cannot be read: {why.removeprefix('archive: ')}"
        raise ReadError(msg)
    records = holdings.journal.records()
    return {
        "run": run,
        "path": str(holdings.store.path(run)),
        "camera": entry.camera,
        "filters": [*entry.filters],
        "begin": _written(entry.begin),
        "end": _written(entry.end),
        **entry.facts,
        "added": time_words(np.datetime64(entry.facts["added"], "s")),
        "certificates": [_told(c) for c in certificates_of(records) if c.run == run],
        "decisions": [
            {key: r.body[key] for key in ("number", "kind", "recorded", "who", "why") if key in r.body}
            for r in records
            if r.kind in ("remove", "quarantine") and r.body["run"] == run
        ],
    }


def list_certificates(holdings: Holdings, *, camera: str | None, filter: str | None, history: bool) -> pd.DataFrame:
    """List certificates; see `flatnorm_xr.archive.archive.Archive.certificates`."""
    import pandas as pd

    found = [
        c
        for c in certificates_of(holdings.journal.records())
        if (camera is None or c.camera == camera) and (filter is None or c.filter == filter)
    ]
    parts = [(c.begin, c.end, c) for c in found]
    if not history:
        parts = [(part.begin, part.end, part.certificate) for part in all_holding(found)]
    rows = [
        {
            "number": c.number,
            "camera": c.camera,
            "filter": c.filter,
            "begin": begin,
            "end": np.datetime64("NaT", "us") if end is None else end,
            "run": c.run,
            "approver": c.approver,
            "recorded": np.datetime64(c.recorded[:19], "s"),
            "waiver": "" if c.waiver is None else f"{c.waiver.why} ({c.waiver.who}, {c.waiver.when})",
            "comment": c.comment,
            "revoked": c.revoked,
        }
        for begin, end, c in parts
    ]
    columns = ["number", "camera", "filter", "begin", "end", "run", "approver", "recorded", "waiver", "comment"]
    table = pd.DataFrame(rows, columns=[*columns, "revoked"])
    for name in ("begin", "end", "recorded"):
        table[name] = pd.to_datetime(table[name])
    return table.set_index("number")


class Chosen(NamedTuple):
    """Runs of one camera and filter, in order of time."""

    camera: str
    filter: str
    series: list[index.Series]
    labels: dict[int, Labels]
    """Of the units, by the number under which a run refers to them."""


def choose_runs(
    holdings: Holdings, caller: str, *, camera: str | None, filter: str | None, since: Any, until: Any
) -> Chosen:
    """Choose the runs of one camera and filter within a time.

    Raises
    ------
    FlatnormError
        There are none, or several cameras or filters to choose from.
    """
    window = _Window.of(since, until, caller=caller)

    def asked(connection: sqlite3.Connection) -> Chosen:
        of, name = choose_kind(index.kinds(connection), camera, filter, caller=caller, what="archived")
        return Chosen(of, name, index.series(connection, of, name), index.labels_of(connection))

    chosen = holdings.ask(asked)
    inside = [one for one in chosen.series if window.holds(one.time, one.time)]
    if not inside:
        limits = [f"from {since} on"] * (since is not None) + [f"before {until}"] * (until is not None)
        msg = f"{caller}: no run has exposures {' and '.join(limits)}; list() shows when there are runs"
        raise FlatnormError(msg)
    return chosen._replace(series=inside)


def _time(microseconds: int | None) -> np.datetime64:
    return np.datetime64("NaT", "us") if microseconds is None else np.datetime64(microseconds, "us")


def _written(microseconds: int | None) -> str | None:
    return None if microseconds is None else time_words(_time(microseconds))


def _told(certificate: Certificate) -> dict[str, Any]:
    return {
        "number": certificate.number,
        "filter": certificate.filter,
        "begin": time_words(certificate.begin),
        "end": None if certificate.end is None else time_words(certificate.end),
        "approver": certificate.approver,
        "recorded": certificate.recorded,
        "failures": [*certificate.failures],
        "waiver": None if certificate.waiver is None else asdict(certificate.waiver),
        "comment": certificate.comment,
        "revoked": certificate.revoked,
    }
