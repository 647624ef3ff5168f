"""Write the report of a solution: one HTML file that needs no network, no server and no script to be read."""

from __future__ import annotations

import base64
import hashlib
import os
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import xarray as xr

from flatnorm_xr import __version__
from flatnorm_xr.errors import FlatnormError

if TYPE_CHECKING:
    from flatnorm_xr.show.report.contents import Page
    from flatnorm_xr.show.report.facts import Facts

__all__ = ["report"]

MOST_CELLS = 400_000
"""Cells up to which every amplifier has a row of its own among the residuals; above, every detector."""

LARGEST = 5_000_000
"""Bytes above which the residuals of amplifiers are those of detectors, whatever their number."""


def report(
    solution: xr.Dataset,
    path: str | os.PathLike[str],
    *,
    diagnosis: xr.Dataset | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a solution as one HTML file: verdict, pictures, tables, provenance.

    The file holds all it shows and loads nothing: scripts, pictures and numbers are inside, and a policy in its head
    keeps a browser from anything else. What stands in headers is text there, whatever it looks like. Without scripts
    it shows the same pictures and tables; with them tables sort and filter, a click on a detector shows its row, and
    pointing at a residual shows its numbers.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns; (detector[, amplifier], exposure). NaN is shown as unknown, cells
        with weight 0 by their cause.
    path : path
        Ends in .html or .htm.
    diagnosis : Dataset, optional
        What `flatnorm_xr.diagnose` returned for this solution; made when not given.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file, whole or not written at all. Under 5 MB for 3 024 amplifiers and 100 exposures. Where there are more
        than 400 000 cells, or the file would be larger, a row of the residuals is a detector, the mean of its
        amplifiers.

    Raises
    ------
    FlatnormError
        Not a solution, or a diagnosis of another one; a path with another ending, a file that exists, a folder
        that does not.

    Examples
    --------
    >>> import tempfile
    >>> import flatnorm_xr as fx
    >>> solution = fx.solve(fx.simulate(seed=1), weights="variance")
    >>> fx.report(solution, Path(tempfile.mkdtemp()) / "run.html").name
    'run.html'
    """
    from flatnorm_xr.archive.atomic import whole_file
    from flatnorm_xr.decompose.structure import diagnose
    from flatnorm_xr.decompose.variance import check_solution
    from flatnorm_xr.model.validate import validate
    from flatnorm_xr.show.report.facts import Facts

    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        msg = f"report: {target} does not end in .html; what is written is HTML"
        raise FlatnormError(msg)
    check_solution(solution, "report", needs=("background", "bgModel", "quality"))
    validate(solution, caller="report")
    solution = solution.compute()
    facts = Facts(solution, diagnose(solution) if diagnosis is None else _checked(diagnosis, solution))
    by_detector = facts.by_amplifier and facts.residual.size > MOST_CELLS
    text = _written(facts, by_detector=by_detector)
    if facts.by_amplifier and not by_detector and len(text) > LARGEST:
        text = _written(facts, by_detector=True)
    with whole_file(target, overwrite=overwrite, caller="report") as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return target


def _written(facts: Facts, *, by_detector: bool) -> str:
    from flatnorm_xr.show.report.contents import make_page
    from flatnorm_xr.show.report.residual_image import draw_residuals
    from flatnorm_xr.show.report.values import values_of

    image = draw_residuals(facts, by_detector=by_detector)
    return _render(make_page(facts, image), values_of(facts, image))


def _checked(diagnosis: xr.Dataset, solution: xr.Dataset) -> xr.Dataset:
    if not isinstance(diagnosis, xr.Dataset) or "verdict" not in diagnosis.attrs or "sentence" not in diagnosis:
        msg = "report: diagnosis is not what diagnose returns; pass diagnose(solution), or leave it out"
        raise FlatnormError(msg)
    cells = int((solution["weight"] > 0).sum())
    if (
        any(diagnosis.sizes.get(dim) != solution.sizes[dim] for dim in ("detector", "exposure"))
        or diagnosis.attrs["cells"] != cells
    ):
        msg = "report: the diagnosis is of another solution; pass diagnose(solution), or leave it out"
        raise FlatnormError(msg)
    return diagnosis


def _render(page: Page, values: dict[str, Any]) -> str:
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    from flatnorm_xr.show.looks import MMAG_PER_PERCENT

    templates = files("flatnorm_xr.show.report") / "templates"
    style, script = ((templates / f"report.{ending}").read_text(encoding="utf-8") for ending in ("css", "js"))
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=FunctionLoader(lambda name: (templates / name).read_text(encoding="utf-8")),
    )
    return environment.get_template("report.html").render(
        page=page,
        numbers=values,
        mmag=MMAG_PER_PERCENT,
        policy=_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        version=__version__,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
    )


def _policy(style: str, script: str) -> str:
    """Allow the style and the script that are inside, by what they are, images that are inside, and nothing else."""
    hashes = [base64.b64encode(hashlib.sha256(text.encode()).digest()).decode("ascii") for text in (style, script)]
    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{hashes[0]}'; script-src 'sha256-{hashes[1]}'; "
        "base-uri 'none'; form-action 'none'"
    )
