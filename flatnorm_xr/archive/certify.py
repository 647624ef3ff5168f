"""Decide which run holds when, and find the decision that holds at a date."""

from __future__ import annotations

import operator
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive import catalogue as index
from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.acceptance import Thresholds, failures_of, losses_since
from flatnorm_xr.archive.certificates import (
    Certificate,
    Interval,
    Waiver,
    certificate_of,
    certificates_of,
    holding,
    interval_words,
    moment,
    time_words,
)
from flatnorm_xr.archive.holdings import SHOWN, Holdings, saying_why
from flatnorm_xr.archive.journal import Record
from flatnorm_xr.archive.store import Moving
from flatnorm_xr.errors import FlatnormError, ReadError, UnfitError, offenders, warn

__all__ = ["all_holding", "certify", "choose_kind", "find", "remove", "required", "revoke"]


def certify(
    holdings: Holdings,
    run: str,
    begin: Any,
    end: Any,
    *,
    approver: str,
    filter: str | None,
    supersede: bool,
    waiver: Waiver | None,
    thresholds: Thresholds,
    comment: str,
) -> Certificate:
    """Record that a run holds in [begin, end); see `flatnorm_xr.archive.archive.Archive.certify`."""
    first = moment(begin, caller="certify", argument="begin")
    last = None if end is None else moment(end, caller="certify", argument="end")
    if last is not None and last <= first:
        msg = f"certify: end {last} is not after begin {first}; the end is the first moment at which it holds no more"
        raise FlatnormError(msg)
    approver = required(approver, "certify", "approver")
    waiver = None if waiver is None else _signed(waiver)
    name = holdings.resolved(run)
    solution = netcdf.open(holdings.checked(name))
    camera, chosen = str(solution.attrs.get("camera", "")), _filter_of(solution, filter)
    failures = failures_of(solution, thresholds)
    before = _run_before(holdings, camera, chosen, first)
    if before is not None and before != name:
        failures += losses_since(netcdf.open(holdings.checked(before)), solution, thresholds, before[:SHOWN])
    if failures and waiver is None:
        msg = f"certify: {name[:SHOWN]} fails: {'; '.join(failures)}. Certify another, or pass waiver=Waiver(who, why)"
        raise UnfitError(msg, failures)

    def decide(records: list[Record]) -> dict[str, Any]:
        _check_there(holdings, name, "certify")
        overlapping = [part for part in _holding_of(records, camera, chosen) if part.overlaps(first, last)]
        if overlapping and not supersede:
            told = [f"{p.certificate.run[:SHOWN]} ({interval_words(p.begin, p.end)})" for p in overlapping]
            msg = (
                f"certify: {interval_words(first, last)} there is a run that holds for {_kind_words(camera, chosen)}: "
                f"{offenders(told)}; give another interval, or pass supersede=True"
            )
            raise FlatnormError(msg)
        return {
            "run": name,
            "camera": camera,
            "filter": chosen,
            "begin": str(first),
            "end": None if last is None else str(last),
            "approver": approver,
            "comment": str(comment),
            "failures": failures,
            "waiver": asdict(waiver) if failures and waiver is not None else None,
            "supersede": bool(overlapping),
        }

    with saying_why("certify", holdings.root):
        record = holdings.journal.append("certify", decide)
    return _with_path(holdings, certificate_of(record))


def revoke(holdings: Holdings, certificate: Certificate | int, *, approver: str, why: str) -> Certificate:
    """Record that a certificate is taken back; see `flatnorm_xr.archive.archive.Archive.revoke`."""
    number = _number(certificate)
    approver, why = required(approver, "revoke", "approver"), required(why, "revoke", "why")

    def decide(records: list[Record]) -> dict[str, Any]:
        found = {c.number: c for c in certificates_of(records)}.get(number)
        if found is None or found.revoked:
            said = "is no certificate; certificates() lists them" if found is None else "was revoked before"
            msg = f"revoke: {offenders([number])} {said}"
            raise FlatnormError(msg)
        return {"certificate": number, "approver": approver, "why": why}

    with saying_why("revoke", holdings.root):
        holdings.journal.append("revoke", decide)
    certificates = certificates_of(holdings.journal.records())
    found = next(c for c in certificates if c.number == number)
    for part in all_holding(c for c in certificates if (c.camera, c.filter) == (found.camera, found.filter)):
        run = part.certificate.run
        if part.overlaps(found.begin, found.end) and not holdings.store.has(run):
            warn(
                f"revoke: {interval_words(part.begin, part.end)} {run[:SHOWN]} holds again, which is not in the "
                f"archive; add {_where_to_find(holdings, run)}, or certify another"
            )
    return _with_path(holdings, found)


def remove(holdings: Holdings, run: str, *, who: str, why: str) -> Path:
    """Move a run to the trash; see `flatnorm_xr.archive.archive.Archive.remove`."""
    name = holdings.resolved(run)
    who, why = required(who, "remove", "who"), required(why, "remove", "why")

    def decide(records: list[Record]) -> dict[str, Any]:
        _check_there(holdings, name, "remove")
        parts = [part for part in all_holding(certificates_of(records)) if part.certificate.run == name]
        if parts:
            told = [f"{p.certificate.number} ({interval_words(p.begin, p.end)})" for p in parts]
            msg = (
                f"remove: {name[:SHOWN]} holds by certificate {offenders(told)}; revoke it, or certify another run in "
                "its place with supersede=True"
            )
            raise FlatnormError(msg)
        return {"run": name, "who": who, "why": why}

    moving = Moving(holdings.store, name, "trash")
    with saying_why("remove", holdings.root):
        holdings.journal.append("remove", decide, act=moving.do)
    return moving.target


def find(holdings: Holdings, camera: str | None, filter: str | None, date: Any) -> Certificate:
    """Find which run holds at a date; see `flatnorm_xr.archive.archive.Archive.find`."""
    at = moment(datetime.now(UTC) if date is None else date, caller="find", argument="date")

    def asked(connection: sqlite3.Connection) -> int:
        of, name = choose_kind(index.certified_kinds(connection), camera, filter, caller="find", what="certified")
        number = index.holding_at(connection, of, name, int(at.astype(np.int64)))
        if number is None:
            raise FlatnormError(_nothing_holds(holdings, connection, of, name, at))
        return number

    number = holdings.ask(asked, scan=False, need_records=True)
    certificate = _with_path(holdings, certificate_of(holdings.journal.read(number)))
    if not holdings.store.has(certificate.run):
        msg = (
            f"find: the run {certificate.run[:SHOWN]}, certified by {offenders([certificate.approver])} "
            f"{interval_words(certificate.begin, certificate.end)}, is not in {holdings.root / 'runs'}; "
            f"add {_where_to_find(holdings, certificate.run)}, or certify another"
        )
        raise ReadError(msg)
    return certificate


def all_holding(certificates: Iterable[Certificate]) -> list[Interval]:
    """When each certificate holds, by camera and filter, in order of time."""
    by_kind: dict[tuple[str, str], list[Certificate]] = {}
    for certificate in certificates:
        by_kind.setdefault((certificate.camera, certificate.filter), []).append(certificate)
    return [part for kind in sorted(by_kind) for part in holding(by_kind[kind])]


def choose_kind(
    kinds: list[tuple[str, str]], camera: str | None, filter: str | None, *, caller: str, what: str
) -> tuple[str, str]:
    """Choose camera and filter; each may be left out where there is only one.

    Raises
    ------
    FlatnormError
        Several are left, or none.
    """
    left = [(c, f) for c, f in kinds if (camera is None or c == camera) and (filter is None or f == filter)]
    if len(left) == 1:
        return left[0]
    if not kinds:
        msg = f"{caller}: nothing is {what} yet"
    elif not left:
        asked = " ".join(repr(one) for one in (camera, filter) if one is not None)
        msg = f"{caller}: nothing is {what} for {asked}; there is {offenders(_kind_words(*kind) for kind in kinds)}"
    else:
        argument = "camera" if len({c for c, _ in left}) > 1 else "filter"
        choices = sorted({kind[0] if argument == "camera" else kind[1] for kind in left})
        msg = f"{caller}: several are {what}; pass {argument}= with one of {offenders(choices)}"
    raise FlatnormError(msg)


def required(text: str, caller: str, argument: str) -> str:
    """Give a name or a reason without the space around it, or raise when there is none."""
    if not isinstance(text, str) or not text.strip():
        msg = f"{caller}: {argument} is {offenders([repr(text)])}; it must say something, for it goes into the records"
        raise FlatnormError(msg)
    return text.strip()


def _number(certificate: Certificate | int) -> int:
    if isinstance(certificate, Certificate):
        return certificate.number
    try:
        return operator.index(certificate)
    except TypeError as error:
        msg = f"revoke: certificate is {offenders([repr(certificate)])}; pass a Certificate or its number"
        raise FlatnormError(msg) from error


def _check_there(holdings: Holdings, run: str, caller: str) -> None:
    """Raise when another process has taken a run away meanwhile."""
    if not holdings.store.has(run):
        msg = f"{caller}: another process has just taken {run[:SHOWN]} out of the archive"
        raise ReadError(msg)


def _signed(waiver: Waiver) -> Waiver:
    if not isinstance(waiver, Waiver):
        msg = f"certify: waiver is a {type(waiver).__name__}; pass Waiver(who, why)"
        raise FlatnormError(msg)
    when = waiver.when or datetime.now(UTC).date().isoformat()
    day = moment(when, caller="certify", argument="the date of the waiver")
    return Waiver(
        required(waiver.who, "certify", "who of the waiver"),
        required(waiver.why, "certify", "why of the waiver"),
        time_words(day),
    )


def _filter_of(solution: xr.Dataset, filter: str | None) -> str:
    names = (
        sorted(set(solution["physical_filter"].values.astype(str).ravel())) if "physical_filter" in solution else [""]
    )
    if filter is None and len(names) == 1:
        return str(names[0])
    if filter not in names:
        given = "several filters" if filter is None else f"no filter {filter!r}"
        msg = f"certify: the run has {given}; pass filter= with one of {offenders(names)}"
        raise FlatnormError(msg)
    return str(filter)


def _run_before(holdings: Holdings, camera: str, filter: str, begin: np.datetime64) -> str | None:
    """Find the run that holds at a moment, or else did so last before it, where it is still there."""
    held = [part for part in _holding_of(holdings.journal.records(), camera, filter) if part.begin <= begin]
    runs = [part.certificate.run for part in held if holdings.store.is_whole(part.certificate.run)]
    return runs[-1] if runs else None


def _where_to_find(holdings: Holdings, run: str) -> str:
    moved = [path for path in holdings.store.moved(run) if path.parent.name == "trash"]
    return str(moved[-1]) if moved else f"{run}.nc from a backup"


def _holding_of(records: list[Record], camera: str, filter: str) -> list[Interval]:
    return holding(c for c in certificates_of(records) if (c.camera, c.filter) == (camera, filter))


def _nothing_holds(
    holdings: Holdings, connection: sqlite3.Connection, camera: str, filter: str, at: np.datetime64
) -> str:
    before, after = index.neighbours(connection, camera, filter, int(at.astype(np.int64)))
    parts = []
    for found, verb in ((before, "held until"), (after, "holds from")):
        if found is not None:
            number, when = found
            run = certificate_of(holdings.journal.read(number)).run
            parts.append(f"{run[:SHOWN]} {verb} {time_words(np.datetime64(when, 'us'))}")
    return (
        f"find: no run holds for {_kind_words(camera, filter)} at {time_words(at)}: {'; '.join(parts)}; certify one, "
        "or give another date"
    )


def _kind_words(camera: str, filter: str) -> str:
    return offenders([f"{camera} {filter}".strip()])


def _with_path(holdings: Holdings, certificate: Certificate) -> Certificate:
    return replace(certificate, path=holdings.store.path(certificate.run))
