"""The folder that a run writes: levels, solution, picture of the residuals, report."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flatnorm_xr.cli.console import refuse_existing, say, show_description, show_values, state
from flatnorm_xr.cli.rejected import show_rejections
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.progress import waiting

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["Outputs", "refuse_outputs", "show_solution", "write_levels", "write_solution"]


@dataclass(frozen=True)
class Outputs:
    """Names of the files in the folder."""

    folder: Path

    @property
    def levels(self) -> Path:
        """What was measured."""
        return self.folder / "levels.nc"

    @property
    def solution(self) -> Path:
        """What was solved."""
        return self.folder / "run.nc"

    @property
    def picture(self) -> Path:
        """The residuals."""
        return self.folder / "residual.png"

    @property
    def report(self) -> Path:
        """What is to be looked at."""
        return self.folder / "report.html"

    def exist(self) -> bool:
        """Whether an earlier run left a solution or what was drawn of it."""
        return any(path.exists() for path in (self.solution, self.picture, self.report))


def refuse_outputs(outputs: Outputs, *, overwrite: bool) -> None:
    """Refuse what is in the way before any work is done; nothing is written yet."""
    if outputs.folder.exists() and not outputs.folder.is_dir():
        msg = f"{outputs.folder} is a file, not a folder; choose another name"
        raise FlatnormError(msg)
    if outputs.folder.is_dir():
        existing = [outputs.levels, outputs.solution, outputs.picture, outputs.report]
        refuse_existing(existing, overwrite=overwrite)


def write_levels(ds: xr.Dataset, outputs: Outputs, *, overwrite: bool) -> None:
    """Save what was measured, in a folder that is made now that there is something to put into it."""
    from flatnorm_xr.archive.netcdf import save

    outputs.folder.mkdir(parents=True, exist_ok=True)
    save(ds, outputs.levels, overwrite=overwrite)


def write_solution(solution: xr.Dataset, outputs: Outputs, *, overwrite: bool) -> None:
    """Save the solution, draw its residuals, and write its report."""
    from flatnorm_xr.archive.netcdf import save
    from flatnorm_xr.show.picture import write_picture
    from flatnorm_xr.show.report import report

    save(solution, outputs.solution, overwrite=overwrite)
    write_picture(solution, "residual", outputs.picture, overwrite=overwrite)
    with waiting("report", wanted=not state.quiet):
        report(solution, outputs.report, overwrite=overwrite)


def show_solution(solution: xr.Dataset, outputs: Outputs, *, as_json: bool) -> None:
    """Say how it went, and where the files are."""
    files = {
        "levels": outputs.levels,
        "solution": outputs.solution,
        "residuals": outputs.picture,
        "report": outputs.report,
    }
    if as_json:
        from flatnorm_xr.show.summary import summary

        show_values({**summary(solution), "files": {name: str(path) for name, path in files.items()}}, as_json=True)
        return
    show_description(solution, as_json=False, next_step=f"flatnorm diagnose {outputs.solution}")
    show_rejections(solution)
    for name, path in files.items():
        say(f"{name:<9} written to {path}")
