"""The program ``flatnorm``: its commands, and how it fails: one clear line and exit status 2."""

from __future__ import annotations

import os
import signal
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from flatnorm_xr import __version__
from flatnorm_xr.cli import demo, diagnose, export, inspect, lsst, measure, plot, report, run, solve
from flatnorm_xr.cli.archive import program as archive
from flatnorm_xr.cli.console import complain, explain, flowing, for_the_shell, state

__all__ = ["app", "main"]

app = typer.Typer(
    name="flatnorm",
    help="Normalise the flats of a mosaic camera: the level of a detector in an exposure is G of the detector times E "
    "of the exposure.",
    epilog="--debug and --quiet may stand anywhere. Exit status: 0 output written, 1 verdict failed, 2 bad input.",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
PANELS = {
    "The whole job": (demo, run),
    "Step by step": (inspect, measure, solve),
    "Look": (diagnose, plot, report),
    "Hand on": (export,),
}
"""Commands by the panel of the help that they stand in, in the order of the work."""

for panel, commands in PANELS.items():
    for command in commands:
        name = command.__name__.rpartition(".")[2]
        app.command(name=name, epilog=command.EXAMPLE, rich_help_panel=panel)(command.command)
app.add_typer(lsst.app, rich_help_panel="Hand on")
app.add_typer(archive.app, rich_help_panel="Keep for years")
for registered in (*app.registered_commands, *lsst.app.registered_commands, *archive.app.registered_commands):
    registered.help = flowing(registered.callback.__doc__ if registered.callback else None)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"flatnorm {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", metavar="", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", metavar="", help="Show the traceback of an error.")] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", metavar="", help="No progress and no summary; warnings stay.")
    ] = False,
) -> None:
    """Normalise the flats of a mosaic camera."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the program and leave with its exit status."""
    os.environ["MPLBACKEND"] = "agg"  # pictures go into files, whatever display there is
    given = list(sys.argv[1:] if arguments is None else arguments)
    ours = given[: given.index("--")] if "--" in given else given
    state.debug, state.quiet = "--debug" in ours, "--quiet" in ours
    kept = [a for a in ours if a not in ("--debug", "--quiet")] + given[len(ours) :]
    with warnings.catch_warnings(), _ending_well():
        warnings.showwarning = _show_warning
        warnings.simplefilter("default")
        for noisy in (DeprecationWarning, PendingDeprecationWarning, ResourceWarning, ImportWarning):
            warnings.simplefilter("ignore", noisy)
        sys.exit(_run(kept or ["--help"]))


@contextmanager
def _ending_well() -> Iterator[None]:
    """Let a request to end, as batch systems send it, go the way of an error: files are removed, or saved, on it."""

    def end(number: int, _: object) -> None:
        complain("terminated")
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)


def _run(arguments: list[str]) -> int:
    """Exit status of one call."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="flatnorm", standalone_mode=False)
        if sys.stdout is not None:  # a shell may have closed it
            sys.stdout.flush()
    except (typer.Abort, KeyboardInterrupt):
        complain("interrupted")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except Exception as error:
        if hasattr(error, "format_message"):  # a bad option or argument, by whichever click typer is built on
            complain(" ".join(error.format_message().replace("Value error, ", "").split()))
            return 2
        if state.debug:
            raise
        complain(explain(error))
        return 2
    if status == 130:  # typer has caught the interrupt
        complain("interrupted")
    return int(status or 0)


def _show_warning(message: Warning | str, category: type[Warning], filename: str, *_: Any, **__: Any) -> None:
    from flatnorm_xr.show.texts import shown

    # not by typer.echo, which writes past the bar that may be on the terminal, and into its line
    print(f"flatnorm: warning: {shown(for_the_shell(' '.join(str(message).split())), longest=4000)}", file=sys.stderr)
