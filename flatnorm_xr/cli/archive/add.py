"""flatnorm archive add: runs go into an archive, each once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flatnorm_xr.cli.archive.options import ArchivePath
from flatnorm_xr.cli.archive.words import cell, print_json, short
from flatnorm_xr.cli.console import complain, explain, say, show_table, state
from flatnorm_xr.cli.options import AsJson, Camera
from flatnorm_xr.errors import FlatnormError, offenders

if TYPE_CHECKING:
    from flatnorm_xr.archive.archive import Archive

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive add calib run.nc"


@dataclass(frozen=True)
class _Outcome:
    """What came of one file."""

    file: str
    run: str = ""
    new: bool = False
    error: str = ""

    @property
    def words(self) -> str:
        return "not added" if self.error else "new" if self.new else "there already"


def command(
    archive: ArchivePath,
    files: Annotated[list[str], typer.Argument(metavar="FILES", help="Solutions (.nc, or tables), or quoted globs.")],
    camera: Camera = None,
    filter: Annotated[
        str | None, typer.Option(metavar="NAME", help="Of runs that do not tell it.", rich_help_panel="Input")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Put runs into an archive, which is made when absent.

    Reads solutions; copies them. A run that is there already is not kept twice. Files that cannot be added are named at
    the end, and the others are added all the same; the exit status is 2 then.
    """
    from flatnorm_xr.archive.archive import Archive
    from flatnorm_xr.progress import counted

    listed = list(_paths(files))
    if all(one.error for one in listed):
        _finish(listed, as_json=as_json)
    made = not archive.exists()
    kept = Archive(archive, create=True)
    known = set(kept.list().index)
    outcomes = []
    with counted(listed, "add", wanted=not state.quiet, noun="runs", keep=False) as ones:
        for one in ones:
            outcomes.append(one if one.error else _added(kept, one.file, known, camera, filter))
            known.add(outcomes[-1].run)
    if not as_json:
        if made:
            say(f"archive made: {archive}")
        rows = [(short(one.run), one.words, cell(one.file)) for one in outcomes]
        show_table(("run", "", "file"), rows, noun="runs")
    _finish(outcomes, as_json=as_json)


def _paths(files: Sequence[str]) -> Iterator[_Outcome]:
    """Files that are meant, each once; and what is wrong with those that are none."""
    from flatnorm_xr.camera.files import find_files

    seen = set()
    for given in files:
        if Path(given).is_dir():
            yield _Outcome(given, error=f"{given} is a folder: name its files, for example {Path(given) / '*.nc'}")
            continue
        try:
            found = find_files(given, caller="add")
        except FlatnormError as error:
            yield _Outcome(given, error=explain(error))
            continue
        for path in found:
            place = Path(path).resolve()
            if place not in seen:
                yield _Outcome(path)
            seen.add(place)


def _added(kept: Archive, file: str, known: set[str], camera: str | None, filter: str | None) -> _Outcome:
    """Add one file; whatever is wrong with it must not keep the others out."""
    try:
        run = kept.add(file, camera=camera, filter=filter)
    except Exception as error:
        if state.debug:
            raise
        return _Outcome(file, error=explain(error))
    return _Outcome(file, run, new=run not in known)


def _finish(outcomes: Sequence[_Outcome], *, as_json: bool) -> None:
    """Print for machines, say what could not be added, and leave with status 2 if anything could not."""
    if as_json:
        print_json(
            [
                {"file": one.file, "error": one.error}
                if one.error
                else {"file": one.file, "run": one.run, "new": one.new}
                for one in outcomes
            ]
        )
    failed = [one for one in outcomes if one.error]
    for one in failed:
        rest = one.error.removeprefix("add: ").removeprefix("open: ")
        complain(f"add: {rest}" if one.file in rest else f"add: {one.file}: {rest}")
    if failed and len(outcomes) > 1:
        complain(f"{len(failed)} of {len(outcomes)} files not added: {offenders(one.file for one in failed)}")
    if failed:
        raise typer.Exit(2)
