"""Write the report of a solution or a trend: one HTML file that needs no network and no script to be read."""

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
from flatnorm_xr.errors import FlatnormError, offenders

if TYPE_CHECKING:
    from flatnorm_xr.archive.trend.recommend import Recommendation
    from flatnorm_xr.show.report.contents import Page
    from flatnorm_xr.show.report.facts import Facts
    from flatnorm_xr.show.report.trend_contents import TrendPage
    from flatnorm_xr.show.report.trend_section import TrendSection

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
    trend: xr.Dataset | None = None,
    recommendation: Recommendation | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a solution as one HTML file: verdict, pictures, tables, provenance; or a trend over many.

    The file holds all it shows and loads nothing: scripts, pictures and numbers are inside, and a policy in its head
    keeps a browser from anything else. What stands in headers is text there, whatever it looks like. Without scripts
    it shows the same pictures and tables; with them tables sort and filter, a click on a detector shows its row, and
    pointing at a residual shows its numbers.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns; (detector[, amplifier], exposure). NaN is shown as unknown, cells
        with weight 0 by their cause. Or what `flatnorm_xr.Archive.trend` returns, for a page of its own.
    path : path
        Ends in .html or .htm.
    diagnosis : Dataset, optional
        What `flatnorm_xr.diagnose` returned for this solution; made when not given.
    trend : Dataset, optional
        What `flatnorm_xr.Archive.trend` returned for the camera of the solution; it has a section then.
    recommendation : Recommendation, optional
        What `flatnorm_xr.Archive.recommend` returned; its sentence stands with the trend.
    overwrite : bool
        Replace a file that is there.

    Returns
    -------
    Path
        The file, whole or not written at all. Under 5 MB for 3 024 amplifiers and 100 exposures, or 3 650 runs. Where
        there are more than 400 000 cells, or the file would be larger, a row of the residuals is a detector, the mean
        of its amplifiers.

    Raises
    ------
    FlatnormError
        Not a solution, or a diagnosis or a trend of another one; a path with another ending, a file that exists, a
        folder that does not.

    Examples
    --------
    >>> import tempfile
    >>> import flatnorm_xr as fx
    >>> solution = fx.solve(fx.simulate(seed=1), weights="variance")
    >>> fx.report(solution, Path(tempfile.mkdtemp()) / "run.html").name
    'run.html'
    """
    from flatnorm_xr.archive.atomic import whole_file
    from flatnorm_xr.show.followed import is_trend

    target = Path(path)
    if target.suffix.lower() not in (".html", ".htm"):
        msg = f"report: {target} does not end in .html; what is written is HTML"
        raise FlatnormError(msg)
    if is_trend(solution):
        text = _of_trend(solution, recommendation, others=(diagnosis, trend))
    else:
        text = _of_solution(solution, diagnosis, trend, recommendation)
    with whole_file(target, overwrite=overwrite, caller="report") as temporary:
        temporary.write_bytes(text.encode("utf-8", "backslashreplace"))
    return target


def _of_solution(
    solution: xr.Dataset, diagnosis: xr.Dataset | None, trend: xr.Dataset | None, recommendation: Recommendation | None
) -> str:
    """Make the page of a solution."""
    from flatnorm_xr.decompose.structure import diagnose
    from flatnorm_xr.decompose.variance import check_solution
    from flatnorm_xr.model.validate import validate
    from flatnorm_xr.show.report.facts import Facts

    check_solution(solution, "report", needs=("background", "bgModel", "quality"), figures=("variance_factor",))
    validate(solution, caller="report")
    solution = solution.compute()
    section = _section(solution, trend, recommendation)
    facts = Facts(solution, diagnose(solution) if diagnosis is None else _checked(diagnosis, solution))
    by_detector = facts.by_amplifier and facts.residual.size > MOST_CELLS
    text = _written(facts, section, by_detector=by_detector)
    if facts.by_amplifier and not by_detector and len(text) > LARGEST:
        text = _written(facts, section, by_detector=True)
    return text


def _written(facts: Facts, section: TrendSection | None, *, by_detector: bool) -> str:
    from flatnorm_xr.show.report.contents import make_page
    from flatnorm_xr.show.report.residual_image import draw_residuals
    from flatnorm_xr.show.report.values import values_of

    image = draw_residuals(facts, by_detector=by_detector)
    return _render("report.html", make_page(facts, image, section), values_of(facts, image))


def _of_trend(
    trend: xr.Dataset, recommendation: Recommendation | None, *, others: tuple[xr.Dataset | None, ...]
) -> str:
    """Make the page of a trend."""
    from flatnorm_xr.show.followed import Followed
    from flatnorm_xr.show.report.trend_contents import make_trend_page, trend_numbers
    from flatnorm_xr.show.requirements import require_trend

    if any(other is not None for other in others):
        msg = "report: a trend has a page of its own; pass it alone, or the solution first and the trend as trend="
        raise FlatnormError(msg)
    require_trend(trend, caller="report")
    _check_recommendation(recommendation)
    followed = Followed(trend.compute())
    return _render("trend.html", make_trend_page(followed, recommendation), trend_numbers(followed))


def _section(
    solution: xr.Dataset, trend: xr.Dataset | None, recommendation: Recommendation | None
) -> TrendSection | None:
    """Collect what a page says of a trend below a solution."""
    from flatnorm_xr.show.followed import Followed, is_trend
    from flatnorm_xr.show.report.trend_section import make_section, sum_up
    from flatnorm_xr.show.requirements import require_trend
    from flatnorm_xr.show.texts import shown

    if trend is None:
        if recommendation is not None:
            msg = "report: a recommendation stands with the trend it was made from; pass that as trend="
            raise FlatnormError(msg)
        return None
    if not is_trend(trend):
        msg = "report: trend is not what archive.trend returns; pass that, or leave it out"
        raise FlatnormError(msg)
    require_trend(trend, caller="report")
    _check_recommendation(recommendation)
    cameras = [str(ds.attrs.get("camera", "")) for ds in (trend, solution)]
    if all(cameras) and cameras[0] != cameras[1]:
        msg = (
            f"report: the trend is of camera {offenders(cameras[:1])}, the solution of {offenders(cameras[1:])}; pass "
        )
        raise FlatnormError(msg + "a trend of the same camera")
    followed = Followed(trend.compute())
    advice = [] if recommendation is None else [shown(recommendation.sentence)]
    return make_section(followed, sentences=[*advice, sum_up(followed)], anchors=False)


def _check_recommendation(recommendation: Any) -> None:
    if recommendation is not None and not (hasattr(recommendation, "sentence") and hasattr(recommendation, "verdict")):
        msg = "report: recommendation is not what archive.recommend returns; pass that, or leave it out"
        raise FlatnormError(msg)


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


def _render(template: str, page: Page | TrendPage, values: dict[str, Any]) -> str:
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
    return environment.get_template(template).render(
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
