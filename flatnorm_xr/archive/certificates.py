"""Who said which run holds when: certificates, and the intervals in which each is the one that holds."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flatnorm_xr.archive.journal import Record
from flatnorm_xr.errors import FlatnormError, ReadError, offenders

__all__ = [
    "Certificate",
    "Interval",
    "Waiver",
    "certificate_of",
    "certificates_of",
    "holding",
    "interval_words",
    "moment",
    "time_words",
]

UNIT = "datetime64[us]"
_YEARS = range(1800, 2500)


@dataclass(frozen=True)
class Waiver:
    """The signed reason why a run is used although a check failed."""

    who: str
    why: str
    when: str = ""
    """Date of the decision; empty: the day the certificate was recorded."""


@dataclass(frozen=True)
class Certificate:
    """One decision that a run holds for a camera and a filter from ``begin`` until ``end``."""

    number: int
    """Number of the decision in the archive's records."""
    run: str
    camera: str
    filter: str
    begin: np.datetime64
    """First moment, UTC."""
    end: np.datetime64 | None
    """First moment at which it holds no more; None: until another is certified."""
    approver: str
    recorded: str
    """When the decision was written down."""
    comment: str = ""
    waiver: Waiver | None = None
    failures: tuple[str, ...] = ()
    """Checks that failed, and were waived."""
    supersede: bool = False
    revoked: str = ""
    """Why it was taken back; empty: it was not."""
    path: Path | None = None
    """File of the run."""


@dataclass(frozen=True)
class Interval:
    """Part of the time in which one certificate is the one that holds."""

    begin: np.datetime64
    end: np.datetime64 | None
    certificate: Certificate

    def overlaps(self, begin: np.datetime64, end: np.datetime64 | None) -> bool:
        """Whether it has a moment in common with [begin, end)."""
        return bool((end is None or self.begin < end) and (self.end is None or begin < self.end))


def moment(value: Any, *, caller: str, argument: str) -> np.datetime64:
    """Read a date, as text, datetime, datetime64 or astropy time, as UTC.

    Raises
    ------
    FlatnormError
        Not a date, or one outside the years 1800 to 2500.
    """
    from datetime import UTC, date, datetime

    try:
        if hasattr(value, "utc") and hasattr(value, "to_datetime"):
            value = value.utc.to_datetime()
        if isinstance(value, str):
            value = datetime.fromisoformat(value.strip())
        if isinstance(value, datetime) and value.tzinfo is not None:
            value = value.astimezone(UTC).replace(tzinfo=None)
        if isinstance(value, date | np.datetime64):
            given: np.datetime64 = np.datetime64(value)
            found: np.datetime64 = given.astype(UNIT)
            # counted in years, for NumPy lets a date that is far outside come round to one inside
            if int(given.astype("datetime64[Y]").astype(np.int64)) + 1970 in _YEARS:
                return found
    except (ValueError, TypeError, OverflowError):
        pass
    msg = f"{caller}: {argument} is {offenders([value])}; give a date such as 2026-11-22 or 2026-11-22T18:30, UTC"
    raise FlatnormError(msg)


def certificates_of(records: Sequence[Record]) -> list[Certificate]:
    """All certificates, in the order in which they were decided; those taken back say why.

    Raises
    ------
    ReadError
        A record does not say what one of its kind must.
    """
    revoked = {}
    for record in records:
        if record.kind == "revoke":
            with _understood(record):
                revoked[int(record.body["certificate"])] = str(record.body["why"])
    return [certificate_of(record, revoked.get(record.number, "")) for record in records if record.kind == "certify"]


def certificate_of(record: Record, revoked: str = "") -> Certificate:
    """Read a certificate from its record; a later one may say that it was ``revoked``."""
    with _understood(record):
        body = record.body
        end = body["end"]
        return Certificate(
            number=record.number,
            run=str(body["run"]),
            camera=str(body["camera"]),
            filter=str(body["filter"]),
            begin=np.datetime64(body["begin"], "us"),
            end=None if end is None else np.datetime64(end, "us"),
            approver=str(body["approver"]),
            recorded=str(body["recorded"]),
            comment=str(body["comment"]),
            waiver=None if body["waiver"] is None else Waiver(**body["waiver"]),
            failures=tuple(map(str, body["failures"])),
            supersede=bool(body["supersede"]),
            revoked=revoked,
        )


@contextlib.contextmanager
def _understood(record: Record) -> Iterator[None]:
    """Say which record it is that cannot be understood."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        msg = (
            f"archive: the record {record.number} ({offenders([record.kind])}) cannot be understood; was it written by "
            "another program?"
        )
        raise ReadError(msg) from error


def holding(certificates: Iterable[Certificate]) -> list[Interval]:
    """When each certificate of one camera and filter holds, in order of time.

    A later decision holds in all of its interval, whatever earlier ones said; those keep the rest of theirs. One that
    was taken back is as if it had never been.
    """
    intervals: list[Interval] = []
    for certificate in sorted(certificates, key=lambda c: c.number):
        if not certificate.revoked:
            new = Interval(certificate.begin, certificate.end, certificate)
            intervals = [part for old in intervals for part in _without(old, new)] + [new]
    return sorted(intervals, key=lambda interval: interval.begin)


def _without(old: Interval, new: Interval) -> list[Interval]:
    """Give what is left of an interval when another takes its part."""
    if not old.overlaps(new.begin, new.end):
        return [old]
    parts = []
    if old.begin < new.begin:
        parts.append(Interval(old.begin, new.begin, old.certificate))
    if new.end is not None and (old.end is None or new.end < old.end):
        parts.append(Interval(new.end, old.end, old.certificate))
    return parts


def interval_words(begin: np.datetime64, end: np.datetime64 | None) -> str:
    """Write an interval as people do.

    Examples
    --------
    >>> interval_words(np.datetime64("2026-11-22", "us"), None)
    'from 2026-11-22 on'
    """
    return f"from {time_words(begin)}" + (" on" if end is None else f" until {time_words(end)}")


def time_words(value: np.datetime64) -> str:
    """Write a moment to the second, and midnight as the day."""
    text = str(value.astype("datetime64[s]"))
    return text.removesuffix("T00:00:00")
