"""Check every file of an archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from flatnorm_xr.archive import catalogue as index
from flatnorm_xr.archive.certificates import certificates_of, interval_words
from flatnorm_xr.archive.certify import all_holding
from flatnorm_xr.archive.holdings import SHOWN, Holdings, saying_why
from flatnorm_xr.archive.journal import Record
from flatnorm_xr.archive.store import Moving, sha256_of
from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["Problem", "problems_of"]


@dataclass(frozen=True)
class Problem:
    """What is wrong with one file."""

    path: Path
    what: str
    done: str = ""


def problems_of(holdings: Holdings, *, quarantine: bool, progress: bool = False) -> list[Problem]:
    """Check the checksum of every run, that it can be read, every record, and that what is certified is there.

    Parameters
    ----------
    holdings : Holdings
    quarantine : bool
        Move runs whose checksum is wrong out of the way. One that is whole and cannot be read, such as one of a newer
        program or one that this user may not read, stays where it is.
    progress : bool
        Show how far it is.
    """
    if quarantine:
        holdings.store.sweep()
    return [*_of_runs(holdings, quarantine, progress), *_of_strangers(holdings), *_of_records(holdings)]


def _of_runs(holdings: Holdings, quarantine: bool, progress: bool) -> Iterator[Problem]:
    from flatnorm_xr.progress import counted

    runs = sorted(holdings.store.runs())
    with counted(runs, "verify", wanted=progress, noun="runs") as names:
        for run in names:
            path = holdings.store.path(run)
            try:
                holdings.contents(run)
            except FlatnormError as error:
                if not holdings.store.has(run):  # removed meanwhile
                    continue
                if _is_damaged(path, run):
                    words = "is damaged: its checksum is not its name"
                    yield Problem(path, words, _put_aside(holdings, run, words) if quarantine else "")
                elif holdings.store.has(run):
                    yield Problem(path, str(error).removeprefix("archive: "))


def _is_damaged(path: Path, run: str) -> bool:
    try:
        return os.path.isfile(path) and sha256_of(path) != run
    except OSError:
        return False


def _put_aside(holdings: Holdings, run: str, why: str) -> str:
    """Move a damaged run away; say what was done."""
    moving = Moving(holdings.store, run, "quarantine")
    try:
        with saying_why("verify", holdings.root):
            holdings.journal.append("quarantine", lambda records: {"run": run, "why": why}, act=moving.do)
            if not _is_damaged(moving.target, run):  # another process has mended it since it was read
                moving.undo()
                return "mended by another process"
    except FlatnormError as error:
        return f"not moved: {error}"
    return f"moved to {moving.target}"


def _of_strangers(holdings: Holdings) -> Iterator[Problem]:
    for path in holdings.store.strangers():
        yield Problem(path, "is no run of this archive: a run is named by its checksum; add it, or take it away")


def _of_last_record(holdings: Holdings, records: list[Record]) -> Iterator[Problem]:
    """Report records that the catalogue knows and that are gone from the end, where nothing else shows it."""
    known = holdings.ask(index.records_applied)[0]
    # others may have written more since the records were read
    if records and known > len(records) and not os.path.exists(holdings.journal.path(known - 1)):
        yield Problem(holdings.journal.path(len(records)), "the record is missing; copy it back from a backup")


def _of_records(holdings: Holdings) -> Iterator[Problem]:
    try:
        records = holdings.journal.records()
        yield from _of_last_record(holdings, records)
        for part in all_holding(certificates_of(records)):
            path = holdings.store.path(part.certificate.run)
            if not holdings.store.has(part.certificate.run):
                words = f"certified {interval_words(part.begin, part.end)} by {offenders([part.certificate.approver])}"
                yield Problem(path, f"is missing, but {words}; add {part.certificate.run[:SHOWN]} from a backup")
    except FlatnormError as error:
        yield Problem(holdings.journal.folder, str(error).removeprefix("archive: "))
