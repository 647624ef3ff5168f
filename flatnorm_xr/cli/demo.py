"""flatnorm demo: simulate a camera with known truth, run the whole chain, compare."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flatnorm_xr.cli.console import say, show_table, show_values, state
from flatnorm_xr.cli.options import AsJson, Overwrite, output_option
from flatnorm_xr.cli.outputs import Outputs, refuse_outputs, show_solution, write_levels, write_solution

if TYPE_CHECKING:
    from flatnorm_xr.simulate.compare import Recovery

__all__ = ["EXAMPLE", "command"]

EXAMPLE = "Example: flatnorm demo -o flatnorm-demo --camera lsstcam"


SimulatedCamera = Literal["decam", "lsstcam", "hsc"]


def command(
    output: Annotated[Path, output_option("Folder to write to; made when absent.")] = Path("flatnorm-demo"),
    camera: Annotated[SimulatedCamera, typer.Option(help="Whose files to simulate.")] = "decam",
    exposures: Annotated[int, typer.Option(help="Number of exposures.", min=4)] = 8,
    seed: Annotated[int, typer.Option(help="Of the simulation.", min=0)] = 0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Try it all on a simulated night, and compare with the truth.

    Writes a folder with the night's FITS files, levels.nc, run.nc (the solution), residual.png and report.html, which
    opens in any browser. The night has a dead amplifier, a saturated exposure and a lost file or CCD.

    Exit status 1 if E and G are not recovered within the errors that the noise of the pixels predicts.
    """
    from flatnorm_xr.decompose.solve import solve
    from flatnorm_xr.measure.levels import measure
    from flatnorm_xr.simulate.compare import compare, with_truth
    from flatnorm_xr.simulate.night import simulate_night

    outputs = Outputs(output)
    refuse_outputs(outputs, overwrite=overwrite)
    night = output / "night"
    truth = simulate_night(night, camera=camera, n_exposures=exposures, overwrite=overwrite, seed=seed)
    if not as_json:
        say(f"simulated {camera}: {truth.sizes['exposure']} exposures in {night}, broken on purpose:")
        faults: dict[str, dict[str, str]] = json.loads(truth.attrs["faults"])
        show_values({name.replace("_", " "): where for name, where in faults.items()}, as_json=False)
        say("solved:")
    written = sorted({str(path) for path in truth["path"].values.ravel() if path})
    ds = with_truth(measure(written, progress=not state.quiet), truth)
    write_levels(ds, outputs, overwrite=overwrite)
    solution = solve(ds, weights="variance", floor=0.0, uncertainty="analytic")
    write_solution(solution, outputs, overwrite=overwrite)
    rows = compare(solution, truth)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2))
    else:
        show_solution(solution, outputs, as_json=False)
        say("")
        show_table(
            ("compared", "values", "rms error", "predicted", "rms pull", "largest pull", "verdict"),
            [_line(row) for row in rows],
        )
    if not all(row.recovered for row in rows):
        typer.echo("flatnorm: the truth was not recovered within the errors that the noise predicts", err=True)
        raise typer.Exit(1)
    if not as_json:
        say("E and G are recovered within the errors that the noise of the pixels predicts")


def _line(row: Recovery) -> tuple[str, ...]:
    return (
        f"ln {row.name}",
        str(row.number),
        f"{row.rms_error:.2e}",
        f"{row.rms_predicted:.2e}",
        f"{row.rms_pull:.2f}",
        f"{row.largest_pull:.2f}",
        "recovered" if row.recovered else "NOT RECOVERED",
    )
