"""flatnorm archive: the group of its commands, in the order of the work."""

from __future__ import annotations

import typer

from flatnorm_xr.cli.archive import (
    add,
    certificates,
    certify,
    diff,
    export,
    find,
    list,
    recommend,
    reindex,
    remove,
    revoke,
    show,
    trend,
    verify,
)

__all__ = ["EXAMPLE", "PANELS", "app"]

EXAMPLE = "Example: flatnorm archive add calib 'nights/*/run.nc'"

PANELS = {
    "Runs": (add, list, show, export, remove),
    "Which run holds": (certify, find, certificates, revoke),
    "Over the years": (trend, recommend, diff),
    "Care": (verify, reindex),
}
"""Commands by the panel of the help that they stand in."""

app = typer.Typer(
    name="archive",
    help="Keep runs: which holds when, and how the camera drifts.\n\n"
    "ARCHIVE is a folder: one NetCDF file a run, one small file a decision, and an index that may be lost. "
    "RUN is the first digits of a run's name, four at least.",
    epilog=EXAMPLE,
    rich_markup_mode="rich",
)


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


for panel, commands in PANELS.items():
    for command in commands:
        name = command.__name__.rpartition(".")[2]
        app.command(name=name, epilog=command.EXAMPLE, rich_help_panel=panel)(command.command)
