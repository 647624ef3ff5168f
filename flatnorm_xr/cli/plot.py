"""flatnorm plot: one picture of a solution to a file, or all of them to a folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from flatnorm_xr.cli.console import for_the_shell, refuse_existing, say, state
from flatnorm_xr.cli.options import Overwrite, coordinates, open_levels, output_option
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.pictures import PICTURES, PICTURES_OF_RUNS

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm plot residual run.nc -o residual.png"

EVERY = "all"

_SHOWN = "What is shown"

_OF_ARCHIVE = {"trend": "trend ARCHIVE", "comparison": "diff ARCHIVE RUN_A RUN_B"}
"""Commands that draw the pictures of many runs, or of two."""


def _names(given: str) -> list[tuple[str, str]]:
    """Names of pictures with a line on each, for the shell to complete."""
    known = {**PICTURES, EVERY: "Each of these, into a folder"}
    return [(name, line) for name, line in known.items() if name.startswith(given)]


def _against(given: str) -> list[str]:
    return [name for name in ("order", "time", *coordinates("")) if name.startswith(given)]


def _variables(given: str) -> list[str]:
    from flatnorm_xr.model.schema import VARIABLES

    return [name for name, row in VARIABLES.items() if name.startswith(given) and "detector" in row.dims]


def _option(help: str, *, metavar: str, completion: Any = None) -> Any:
    return typer.Option(metavar=metavar, help=help, rich_help_panel=_SHOWN, autocompletion=completion)


def command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Picture, one of those above; or all.", autocompletion=_names)
    ],
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Solution (or levels, for some): .nc, a table or .yaml.")],
    output: Annotated[Path, output_option("Picture to write: .png, .pdf or .svg; for all, a folder.")],
    variable: Annotated[
        str | None, _option("Variable to show (focal_plane).", metavar="NAME", completion=_variables)
    ] = None,
    exposure: Annotated[str | None, _option("Exposure to show, by its label.", metavar="LABEL")] = None,
    group: Annotated[str | None, _option("Group of exposures to show, by its label.", metavar="LABEL")] = None,
    detector: Annotated[
        str | None, _option("Detectors to show, comma-separated (residual_vs_level).", metavar="LABELS")
    ] = None,
    against: Annotated[
        str | None, _option("What exposures are drawn against (E).", metavar="NAME", completion=_against)
    ] = None,
    mode: Annotated[int | None, _option("Mode to show, counted from 1 (modes, focal_plane).", metavar="N")] = None,
    limit: Annotated[
        float | None, _option("End of the colour scale, in per cent (residual).", metavar="PERCENT")
    ] = None,
    limits: Annotated[
        str | None, _option("Ends of the colour scale, comma-separated (focal_plane).", metavar="LOW,HIGH")
    ] = None,
    cmap: Annotated[str | None, _option("Colour map of matplotlib.", metavar="NAME")] = None,
    log: Annotated[
        bool | None, typer.Option("--log/--linear", help="Scale of the densities (pulls).", rich_help_panel=_SHOWN)
    ] = None,
    named: Annotated[int | None, _option("Amplifiers to name (amplifier_ratio).", metavar="N")] = None,
    permutations: Annotated[int | None, _option("Of the residuals, for what noise makes (modes).", metavar="N")] = None,
    seed: Annotated[int | None, _option("Of the permutations (modes).", metavar="N")] = None,
    overwrite: Overwrite = False,
) -> None:
    """Draw a picture of a solution, or all of them."""
    options = {
        "variable": variable,
        "exposure": exposure,
        "group": group,
        "detector": None if detector is None else [label.strip() for label in detector.split(",")],
        "against": against,
        "mode": mode,
        "limit": limit,
        "limits": None if limits is None else _two_numbers(limits),
        "cmap": cmap,
        "log": log,
        "named": named,
        "permutations": permutations,
        "seed": seed,
    }
    given = {option: value for option, value in options.items() if value is not None}
    if name == EVERY:
        _write_all(run, output, given, overwrite=overwrite)
        return
    if name in PICTURES_OF_RUNS:
        msg = f"{name} is drawn from an archive: flatnorm archive {_OF_ARCHIVE[name]} -o {output}"
        raise FlatnormError(msg)
    if name not in PICTURES:
        msg = f"there is no picture {name!r}; choose one of {', '.join(PICTURES)}, or {EVERY}"
        raise FlatnormError(msg)
    refuse_existing([output], overwrite=overwrite, inputs=[run])
    from flatnorm_xr.show.picture import write_picture

    write_picture(open_levels(run), name, output, overwrite=overwrite, **given)
    say(f"picture written to {output}")


def _two_numbers(text: str) -> tuple[float, float]:
    try:
        low, high = map(float, text.split(","))
    except ValueError as error:
        msg = f"--limits is {text!r}; it must be two numbers with a comma between them"
        raise FlatnormError(msg) from error
    return low, high


_LINES = [f"  {name:<{max(map(len, PICTURES))}}  {line}" for name, line in PICTURES.items()]
command.__doc__ = "\n".join(
    [
        "Draw a picture of a solution, or all of them.",
        "",
        "Reads a solution; for background and connectivity, levels will do. Writes pictures, and needs no display.",
        "",
        *_LINES,
    ]
)


def _write_all(run: Path, folder: Path, options: dict[str, Any], *, overwrite: bool) -> None:
    """Draw what can be drawn, and say why the rest cannot."""
    if folder.exists() and not folder.is_dir():
        msg = f"{folder} is a file, not a folder; choose another name"
        raise FlatnormError(msg)
    if folder.is_dir():
        refuse_existing([folder / f"{name}.png" for name in PICTURES], overwrite=overwrite)
    from flatnorm_xr.show.picture import write_pictures

    ds = open_levels(run)
    written, skipped = write_pictures(ds, folder, overwrite=overwrite, progress=not state.quiet, **options)
    for name, reason in skipped.items():
        say(f"  skipped {name}: {for_the_shell(reason.partition(': ')[2])}")
    if not written:
        msg = f"none of the pictures can be drawn from {run}"
        raise FlatnormError(msg)
    say(f"{len(written)} pictures written to {folder}: {', '.join(path.name for path in written.values())}")
