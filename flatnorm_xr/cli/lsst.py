"""flatnorm lsst: a repository for Rubin's middleware, made in one command, and where its packaged files lie."""

from __future__ import annotations

import logging
import math
import shlex
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

import flatnorm_xr
from flatnorm_xr.cli.console import say, show_table, show_values
from flatnorm_xr.cli.options import AsJson, open_levels
from flatnorm_xr.errors import FlatnormError, offenders

if TYPE_CHECKING:
    from flatnorm_xr.lsst.repository import Repository
    from flatnorm_xr.lsst.running import FilterSolution

__all__ = ["EXAMPLE", "app"]

EXAMPLE = "Example: flatnorm lsst init demo-repository --run"

FOLDER = Path(flatnorm_xr.__file__).parent / "lsst"

FILES = {
    "pipeline": FOLDER / "pipelines" / "flatnorm.yaml",
    "configs": FOLDER / "configs",
    "seed": FOLDER / "configs" / "seed.yaml",
    "bps-laptop": FOLDER / "bps" / "laptop.yaml",
    "bps-batch": FOLDER / "bps" / "batch.yaml",
}

app = typer.Typer(
    name="lsst",
    help="Run inside Rubin's middleware.\n\nThat is Butler, pipetask and BPS; needs pip install 'flatnorm-xr\\[lsst]'.",
    epilog=EXAMPLE,
    rich_markup_mode="rich",
)

FileName = Literal["pipeline", "configs", "seed", "bps-laptop", "bps-batch"]


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog=EXAMPLE)
def init(
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="Folder to make; may be there, empty.")],
    levels: Annotated[
        Path | None, typer.Option(help="Measured levels, .nc or a table; default: a night of flats is simulated.")
    ] = None,
    instrument: Annotated[
        str | None, typer.Option(help="Name of the camera of --levels; default: the one they tell.")
    ] = None,
    detectors: Annotated[int | None, typer.Option(help="Detectors to simulate; default 4.", min=1)] = None,
    amplifiers: Annotated[int | None, typer.Option(help="Amplifiers of each; default 4.", min=1)] = None,
    exposures: Annotated[int | None, typer.Option(help="Exposures in each filter; default 5.", min=1)] = None,
    filters: Annotated[str | None, typer.Option(help="Filters to simulate, comma-separated; default g,r.")] = None,
    pixels: Annotated[int | None, typer.Option(help="Side of a simulated amplifier; default 32.", min=8)] = None,
    ragged: Annotated[
        bool, typer.Option("--ragged", metavar="", help="Simulate detectors that lack an amplifier.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Of the simulation; default 0.", min=0)] = None,
    run: Annotated[
        bool, typer.Option("--run", metavar="", help="Run the pipeline at once, and show what it finds.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a repository of a simulated night, or of measured levels.

    Writes a Butler repository with the camera certified, and prints the lines that run the pipeline in it.
    """
    repositories, running = _middleware()
    sizes = {
        "n_detectors": detectors,
        "n_amplifiers": amplifiers,
        "n_exposures": exposures,
        "filters": None if filters is None else tuple(name.strip() for name in filters.split(",")),
        "pixels": pixels,
        "ragged": ragged or None,
        "seed": seed,
    }
    simulation = {name: value for name, value in sizes.items() if value is not None}
    if levels is not None and simulation:
        options = offenders(f"--{name.removeprefix('n_')}" for name in simulation)
        msg = f"{options} with --levels: measured levels are not simulated; leave one or the other out"
        raise FlatnormError(msg)
    with _tidy_log():
        made = repositories.make_repository(
            repository, levels=None if levels is None else open_levels(levels), instrument=instrument, **simulation
        )
        output = f"{made.instrument}/flatnorm"
        if not as_json:
            _show_repository(made)
        results = running.run_pipeline(made, output=output) if run else None
    commands = {"run": _run_command(made, output), "read": _read_command(made, output)}
    if as_json:
        found = {} if results is None else {"solved": [_as_json(one) for one in results]}
        show_values({**asdict(made), "output": output, "commands": commands, **found}, as_json=True)
        return
    if results is not None:
        _show_solutions(results, made.filters, output)
    say("run the pipeline:" if results is None else "run it again, as a batch system would:")
    say(f"  {commands['run']}")
    say("read a solution:")
    say(f"  {commands['read']}")


@app.command(epilog="Example: flatnorm lsst ingest demo-repository levels.nc")
def ingest(
    repository: Annotated[Path, typer.Argument(metavar="REPO", help="A Butler repository.")],
    levels: Annotated[Path, typer.Argument(metavar="LEVELS", help="Measured levels, .nc or a table.")],
    instrument: Annotated[
        str | None,
        typer.Option(help="Name of the camera in the repository; default: the one the levels tell, or the only one."),
    ] = None,
    new_instrument: Annotated[
        bool,
        typer.Option("--new-instrument", metavar="", help="The camera may be one that the repository does not have."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Put one more night of levels into a repository.

    Reads measured levels; writes all of them into the repository, or nothing.
    """
    repositories, _ = _middleware()
    with _tidy_log():
        made = repositories.fill_repository(
            repository, levels=open_levels(levels), instrument=instrument, new_instrument=new_instrument
        )
    command = _run_command(made, f"{made.instrument}/flatnorm", only=True)
    if as_json:
        show_values({**asdict(made), "commands": {"run": command}}, as_json=True)
        return
    _show_repository(made, what="put into")
    say("run the pipeline on this night alone, or, without -d, on all that is there:")
    say(f"  {command}")


@app.command(epilog="Example: flatnorm lsst path pipeline")
def path(
    name: Annotated[FileName, typer.Argument(metavar="NAME", help=", ".join(FILES))],
) -> None:
    """Print where a packaged file lies.

    These are the pipeline, the configuration of repositories, and those of BPS; for example as
    pipetask run -p $(flatnorm lsst path pipeline).
    """
    typer.echo(FILES[name])


def _middleware() -> tuple[ModuleType, ModuleType]:
    """Modules that need the middleware, or one line that says how to get it."""
    try:
        from flatnorm_xr.lsst import repository, running
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "lsst":
            raise
        msg = "flatnorm lsst needs Rubin's middleware: pip install 'flatnorm-xr[lsst]'"
        raise FlatnormError(msg) from error
    return repository, running


class _OneLine(logging.Handler):
    """Shows what the middleware warns of as the other commands show warnings."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("lsst.utils"):  # it misses eups, which no environment of pip or conda has
            return
        if record.getMessage().startswith("Execution of task"):  # has failed; it is raised as well
            return
        typer.echo(f"flatnorm: warning: {' '.join(record.getMessage().split())}", err=True)


@contextmanager
def _tidy_log() -> Iterator[None]:
    """Show warnings of the middleware's log in one line each, and nothing below."""
    root, handler = logging.getLogger(), _OneLine(logging.WARNING)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)


def _show_repository(made: Repository, *, what: str = "repository made in") -> None:
    measured = made.dataset_type == "flatStats"
    say(f"{what} {made.path}:")
    show_values(
        {
            "instrument": made.instrument,
            "camera": f"{made.detectors} detectors, {made.amplifiers} amplifiers",
            "exposures": f"{made.exposures} in filter{'s'[: len(made.filters) - 1]} {offenders(made.filters)}",
            made.dataset_type: f"{made.datasets} {'statistics of levels' if measured else 'flats'}",
            "collection": made.collection,
        },
        as_json=False,
    )
    for remark in made.remarks:
        say(f"  note: {remark}")


def _as_json(one: FilterSolution) -> dict[str, Any]:
    """Give what was found with null for an exposure without E; JSON has no NaN."""
    return asdict(one) | {"E": [value if math.isfinite(value) else None for value in one.E]}


def _show_solutions(results: Sequence[FilterSolution], filters: Sequence[str], output: str) -> None:
    say(f"pipeline run, solutions in {output}:")
    show_table(
        ("filter", "level", "units", "rms residual", "E of the exposures"),
        [
            (
                one.physical_filter,
                one.level,
                str(one.units),
                f"{one.rms_residual:.2e}",
                offenders(f"{value:.6g}" for value in one.E),
            )
            for one in results
        ],
    )
    lost = [name for name in filters if name not in {one.physical_filter for one in results}]
    if lost:
        say(f"  note: no solution in {offenders(lost)}")


def _run_command(made: Repository, output: str, *, only: bool = False) -> str:
    """Shell command that runs the pipeline on what was made, or only on the days that were put."""
    part = f"#{made.tasks}" if made.tasks else ""
    words = shlex.join(["pipetask", "run", "-b", str(made.path), "-i", made.collection, "-o", output])
    days = ", ".join(map(str, made.days))
    which = f" -d \"instrument='{made.instrument}' AND exposure.day_obs IN ({days})\"" if only else ""
    return f'{words}{which} -p "$(flatnorm lsst path pipeline){part}" --register-dataset-types -j 2'


def _read_command(made: Repository, output: str) -> str:
    """Shell command that shows a solution."""
    name = "cpFlatNormAmpSolution" if made.tasks == "cpFlatNormAmp" else "cpFlatNormSolution"
    data_id = f"instrument={made.instrument!r}, physical_filter={made.filters[0]!r}"
    code = (
        f"from lsst.daf.butler import Butler; "
        f"print(Butler.from_config({str(made.path)!r}, collections={output!r}).get({name!r}, {data_id}).flatnorm)"
    )
    return f"python -c {_double_quoted(code)}"


def _double_quoted(text: str) -> str:
    """Text within double quotes for a shell; ``shlex`` would make a thicket of Python's single ones."""
    return '"' + "".join(f"\\{c}" if c in '\\"$`' else c for c in text) + '"'
