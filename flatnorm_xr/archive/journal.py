"""What was decided in an archive, in order: one small file a decision, never changed, each sealing the one before."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from flatnorm_xr import __version__
from flatnorm_xr.archive.atomic import claim_file
from flatnorm_xr.archive.locks import held
from flatnorm_xr.camera.files import check_regular
from flatnorm_xr.errors import FlatnormError, ReadError

__all__ = ["Journal", "Record"]

_NAME = re.compile(r"(\d{8})\.json")
_LARGEST = 1_000_000
_SEAL = "sha256"


@dataclass(frozen=True)
class Record:
    """One decision: its number, what kind, and all that it says."""

    number: int
    kind: str
    body: dict[str, Any]
    seal: str
    """Sha256 of the record, which the next one repeats."""


class Journal:
    """The records of an archive.

    The order of decisions is that of their numbers, not of any clock. One writer at a time reads all records, decides,
    and claims the next number. Where the file system knows no locks and another writer was faster, he reads on and
    decides again. A process that is killed leaves no lock behind.

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._read: dict[int, Record] = {}

    def path(self, number: int) -> Path:
        """Where the record of a number lies."""
        return self.folder / f"{number:08d}.json"

    def numbers(self) -> list[int]:
        """Numbers of the records that are there, in order."""
        found = (_NAME.fullmatch(entry.name) for entry in self.folder.glob("*.json"))
        return sorted(int(match[1]) for match in found if match)

    def records(self) -> list[Record]:
        """All records, in order.

        Raises
        ------
        ReadError
            A record was changed or is damaged, or one is missing.
        """
        numbers = self.numbers()
        records = [self.read(number) for number in numbers]
        missing = sorted(set(range(numbers[-1] + 1)) - set(numbers)) if numbers else []
        if missing:
            msg = f"archive: the record {self.path(missing[0])} is missing; copy it back from a backup"
            raise ReadError(msg)
        for before, after in pairwise(records):
            if after.body["previous"] != before.seal:
                msg = (
                    f"archive: {self.path(before.number)} is not the record that {self.path(after.number).name} "
                    "followed; copy the folder of records back from a backup"
                )
                raise ReadError(msg)
        return records

    def read(self, number: int) -> Record:
        """One record, whose seal is whole."""
        if number not in self._read:
            self._read[number] = _parsed(self.path(number), number)
        return self._read[number]

    def append(
        self,
        kind: str,
        decide: Callable[[list[Record]], dict[str, Any]],
        *,
        act: Callable[[], Callable[[], None]] | None = None,
    ) -> Record:
        """Write the next record.

        Parameters
        ----------
        kind : str
        decide : callable
            Given all records before it, returns what the record says, or raises; called again when another writer was
            faster.
        act : callable, optional
            Does what was decided, before the record says so and before another writer decides anything; gives what
            undoes it, which is called when the record cannot be written.
        """
        with held(self.folder / "lock"):
            while True:
                records = self.records()
                said = decide(records)
                number = records[-1].number + 1 if records else 0
                previous = records[-1].seal if records else ""
                content = _written(kind, number, said, previous)
                undo = None if act is None else act()
                try:
                    claimed = claim_file(self.path(number), content)
                except BaseException:
                    if undo is not None:
                        undo()
                    raise
                if claimed:
                    return self.read(number)
                if undo is not None:
                    undo()


def _written(kind: str, number: int, said: dict[str, Any], previous: str) -> bytes:
    body = {
        "number": number,
        "kind": kind,
        "recorded": datetime.now(UTC).isoformat(timespec="seconds"),
        "program": f"flatnorm {__version__}",
        **said,
        "previous": previous,
    }
    content = json.dumps({**body, _SEAL: _seal(body)}, indent=1, ensure_ascii=True).encode("ascii") + b"\n"
    if len(content) > _LARGEST:
        msg = f"archive: a record of {len(content)} bytes is too long; shorten the comment"
        raise FlatnormError(msg)
    return content


def _seal(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True, ensure_ascii=True).encode("ascii")).hexdigest()


def _parsed(path: Path, number: int) -> Record:
    damaged = f"archive: the record {path} is damaged; copy it back from a backup"
    try:
        check_regular(path, caller="archive")
        with open(path, "rb") as stream:
            content = stream.read(_LARGEST + 1)
        body = json.loads(content.decode("ascii"))
        seal = body.pop(_SEAL)
        whole = len(content) <= _LARGEST and _seal(body) == seal and body["number"] == number
        kind = str(body["kind"])
        body["previous"]
    except FileNotFoundError as error:
        msg = f"archive: the record {path} is missing; copy it back from a backup"
        raise ReadError(msg) from error
    except OSError as error:
        msg = f"archive: {path}: {error.strerror or error}"
        raise ReadError(msg) from error
    except ReadError:
        raise
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ReadError(damaged) from error
    if not whole:
        raise ReadError(damaged)
    return Record(number, kind, body, seal)
