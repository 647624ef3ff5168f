"""flatnorm archive certify: a run holds from one date until another, because somebody says so."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flatnorm_xr.cli.archive import completion
from flatnorm_xr.cli.archive.options import Approver, ArchivePath, Run
from flatnorm_xr.cli.archive.words import cell, print_json, short
from flatnorm_xr.cli.console import say, state
from flatnorm_xr.cli.options import AsJson
from flatnorm_xr.errors import FlatnormError, UnfitError
from flatnorm_xr.progress import waiting

if TYPE_CHECKING:
    from flatnorm_xr.archive.acceptance import Thresholds
    from flatnorm_xr.archive.certificates import Certificate, Waiver

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm archive certify calib 3f2a91c05b7e --begin 2026-12-24 --approver 'M. Curie'"


def _waiver(help: str, *, metavar: str) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel="Waiver")


def _limit(help: str, *names: str) -> Any:
    return typer.Option(*names, metavar="X", help=help, rich_help_panel="Checks (none: no limit)")


def command(
    archive: ArchivePath,
    run: Run,
    begin: Annotated[str, typer.Option(metavar="DATE", help="From when it holds, UTC.")],
    approver: Approver,
    end: Annotated[
        str | None,
        typer.Option(
            metavar="DATE", help="First moment at which it holds no more; default: until another is certified."
        ),
    ] = None,
    filter: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Of a run of several filters.", autocompletion=completion.filters),
    ] = None,
    supersede: Annotated[
        bool, typer.Option("--supersede", metavar="", help="Take the interval from runs that hold in it now.")
    ] = False,
    comment: Annotated[str, typer.Option(metavar="TEXT", help="Goes into the records.")] = "",
    waive: Annotated[str | None, _waiver("Why the run is used although it fails a check.", metavar="WHY")] = None,
    waived_by: Annotated[str | None, _waiver("Who decided that.", metavar="NAME")] = None,
    waived_on: Annotated[str | None, _waiver("When; default: today.", metavar="DATE")] = None,
    rms_residual: Annotated[str, _limit("Weighted rms of the residuals.")] = "0.005",
    unused_cells: Annotated[str, _limit("Share of the cells without weight.")] = "0.1",
    lost_units: Annotated[str, _limit("Share of the units without G.")] = "0.05",
    lost_exposures: Annotated[str, _limit("Share of the exposures without E.")] = "0.2",
    G_stderr: Annotated[str, _limit("Median relative standard error of G.", "--g-stderr")] = "0.002",
    alpha: Annotated[str, _limit("Chance that a good run fails its diagnosis; none: not diagnosed.")] = "0.01",
    as_json: AsJson = False,
) -> None:
    """Say that a run holds from a date on.

    The run is diagnosed and held against the limits below. Where it fails it is refused, with exit status 1, unless the
    failure is waived: who decided that, when and why goes into the records with the certificate.
    """
    from flatnorm_xr.archive.archive import Archive

    limits = {
        "rms_residual": rms_residual,
        "unused_cells": unused_cells,
        "lost_units": lost_units,
        "lost_exposures": lost_exposures,
        "G_stderr": G_stderr,
        "alpha": alpha,
    }
    waiver, thresholds = _waiver_of(waive, waived_by, waived_on), _thresholds(limits)
    try:
        with waiting("certify", wanted=not state.quiet):
            certificate = Archive(archive, create=False).certify(
                run,
                begin,
                end,
                approver=approver,
                filter=filter,
                supersede=supersede,
                waiver=waiver,
                thresholds=thresholds,
                comment=comment,
            )
    except UnfitError as error:
        _refuse(run, error.failures, as_json=as_json)
        raise typer.Exit(1) from error
    if as_json:
        print_json(asdict(certificate))
    else:
        _show(certificate)


def _waiver_of(why: str | None, who: str | None, when: str | None) -> Waiver | None:
    from flatnorm_xr.archive.certificates import Waiver

    if why is None and who is None and when is None:
        return None
    if why is None or who is None:
        msg = "certify: a waiver says why and by whom; pass --waive WHY --waived-by NAME"
        raise FlatnormError(msg)
    return Waiver(who, why, when or "")


def _thresholds(limits: dict[str, str]) -> Thresholds:
    from flatnorm_xr.archive.acceptance import Thresholds

    return Thresholds(**{name: _number(name, text) for name, text in limits.items()})


def _number(name: str, text: str) -> float | None:
    if text.strip().lower() == "none":
        return None
    try:
        return float(text)
    except ValueError as error:
        msg = f"certify: --{name.lower().replace('_', '-')} is {text!r}; it must be a number, or none"
        raise FlatnormError(msg) from error


def _refuse(run: str, failures: tuple[str, ...], *, as_json: bool) -> None:
    """Say what speaks against the run."""
    if as_json:
        print_json({"run": run, "failures": failures})
    typer.echo(f"flatnorm: certify: refused, for {short(run)} fails {len(failures)} of its checks:", err=True)
    for failure in failures:
        typer.echo(f"  {cell(failure)}", err=True)
    typer.echo("certify another, or pass --waive WHY --waived-by NAME", err=True)


def _show(certificate: Certificate) -> None:
    from flatnorm_xr.archive.certificates import interval_words

    of = cell(f"{certificate.camera} {certificate.filter}")
    words = interval_words(certificate.begin, certificate.end)
    say(f"certificate {certificate.number}: {short(certificate.run)} holds for {of} {words}")
    if certificate.supersede:
        say("  it supersedes what held in that time")
    if certificate.waiver is not None:
        say(f"  waived by {cell(certificate.waiver.who)}: {cell('; '.join(certificate.failures))}")
