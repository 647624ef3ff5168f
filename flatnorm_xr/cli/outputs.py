"""The folder that a run writes: levels, solution and picture of the residuals."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flatnorm_xr.cli.console import refuse_existing, say, show_values
from flatnorm_xr.cli.rejected import show_rejections
from flatnorm_xr.errors import FlatnormError

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

    def exist(self) -> bool:
        """Whether an earlier run left a solution or its picture."""
        return self.solution.exists() or self.picture.exists()


def refuse_outputs(outputs: Outputs, *, overwrite: bool) -> None:
    """Refuse what is in the way before any work is done; nothing is written yet."""
    if outputs.folder.exists() and not outputs.folder.is_dir():
        msg = f"{outputs.folder} is a file, not a folder; choose another name"
        raise FlatnormError(msg)
    if outputs.folder.is_dir():
        refuse_existing([outputs.levels, outputs.solution, outputs.picture], overwrite=overwrite)


def write_levels(ds: xr.Dataset, outputs: Outputs, *, overwrite: bool) -> None:
    """Save what was measured, in a folder that is made now that there is something to put into it."""
    from flatnorm_xr.archive.netcdf import save

    outputs.folder.mkdir(parents=True, exist_ok=True)
    save(ds, outputs.levels, overwrite=overwrite)


def write_solution(solution: xr.Dataset, outputs: Outputs, *, overwrite: bool) -> None:
    """Save the solution and draw its residuals."""
    from flatnorm_xr.archive.netcdf import save
    from flatnorm_xr.show.picture import write_picture

    save(solution, outputs.solution, overwrite=overwrite)
    write_picture(solution, "residual", outputs.picture, overwrite=overwrite)


def show_solution(solution: xr.Dataset, outputs: Outputs, *, as_json: bool) -> None:
    """Say how it went, and where the files are."""
    from flatnorm_xr.show.summary import summary

    files = {"levels": outputs.levels, "solution": outputs.solution, "residuals": outputs.picture}
    values = summary(solution)
    if as_json:
        show_values({**values, "files": {name: str(path) for name, path in files.items()}}, as_json=True)
        return
    show_values(values, as_json=False)
    show_rejections(solution)
    for name, path in files.items():
        say(f"{name:<9} written to {path}")
