"""All that the page of a trend says, in its order, before it is written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.show.coming_and_going import lost
from flatnorm_xr.show.followed import Followed
from flatnorm_xr.show.report.contents import provenance, source_of
from flatnorm_xr.show.report.findings import Finding, Verdict
from flatnorm_xr.show.report.plane import PlaneDrawing, draw_plane
from flatnorm_xr.show.report.scales import ABOUT, PLAIN, ramp
from flatnorm_xr.show.report.trend_section import TrendSection, find_three, kind, make_section, sum_up
from flatnorm_xr.show.report.values import listed_numbers
from flatnorm_xr.show.report.words import number, plural, with_mmag
from flatnorm_xr.show.sizes import day
from flatnorm_xr.show.texts import shown

if TYPE_CHECKING:
    from flatnorm_xr.archive.trend.recommend import Recommendation

__all__ = ["TrendPage", "make_trend_page", "trend_numbers"]

_FIRST = "drift [% a year]"


@dataclass(frozen=True)
class TrendPage:
    """All that the template is given of a trend."""

    title: str
    source: str
    verdict: Verdict
    findings: list[Finding]
    glance: list[tuple[str, str]]
    plane: PlaneDrawing
    trend: TrendSection
    provenance: list[tuple[str, str]]
    by_amplifier: bool
    first_variable: str = _FIRST

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchors and words of the sections."""
        head = [
            ("verdict", "Verdict"),
            ("glance", "At a glance"),
            ("trend", "Over the years"),
            ("focal-plane", "Focal plane"),
        ]
        return [*head, *((table.name, table.title) for table in self.trend.tables), ("provenance", "Provenance")]


def make_trend_page(followed: Followed, recommendation: Recommendation | None) -> TrendPage:
    """Collect what the template shows of a trend.

    Parameters
    ----------
    followed : Followed
    recommendation : Recommendation or None
        With ``verdict``, "renew" or "keep", and ``sentence``.
    """
    drift = 100 * followed.drift
    return TrendPage(
        title=_title(followed),
        source=source_of(followed.trend),
        verdict=judge(followed, recommendation),
        findings=find_three(followed),
        glance=[(name, shown(value)) for name, value in _glance(followed) if value],
        plane=draw_plane(
            followed.trend, followed, drift, means=_means(followed, drift), words="drift, % a year,", centre=0.0
        ),
        trend=make_section(followed, sentences=[], anchors=True),
        provenance=provenance(followed.trend),
        by_amplifier=followed.by_amplifier,
    )


def judge(followed: Followed, recommendation: Recommendation | None) -> Verdict:
    """Sum a trend up: what is recommended where that is known, else whether anything moved."""
    sentence = sum_up(followed)
    if recommendation is not None:
        renew = str(recommendation.verdict) == "renew"
        word, status = ("Renew the flat", "look") if renew else ("Keep the flat", "good")
        return Verdict(status, word, f"{shown(recommendation.sentence)} {sentence}")  # type: ignore[arg-type]
    if not followed.tells:
        return Verdict("look", "Too few runs to tell", sentence)
    out = len(followed.standing_out)
    gone = lost(followed).size
    if not out and gone:
        return Verdict("look", f"{kind(followed, gone)} no longer measured", sentence)
    if not out:
        return Verdict("good", "Steady", sentence)
    return Verdict("look", f"{kind(followed, out)} moved", sentence)


def trend_numbers(followed: Followed) -> dict[str, Any]:
    """Collect the numbers that the script of a page reads: what the focal plane can be coloured by."""
    variables: list[dict[str, Any]] = []

    def add(name: str, values: NDArray[np.float64], *, centre: float | None = None) -> None:
        if np.isfinite(values).any() or name == _FIRST:
            variables.append({"name": name, "values": listed_numbers(values, 6), "centre": centre})

    largest = np.zeros(len(followed.units))
    for change in sorted(followed.changes, key=lambda change: abs(change.size)):
        largest[change.unit] = change.size
    add(_FIRST, 100 * followed.drift, centre=0.0)
    add("standard error of the drift [% a year]", 100 * followed.drift_stderr)
    add("largest change [%]", 100 * largest, centre=0.0)
    add("scatter [%]", 100 * followed.of_units("scatter"))
    for response in followed.responses:
        per = f"% per {response.units or 'unit'}"
        add(f"response to {response.name} [{per}]", 100 * response.size, centre=0.0)
        add(f"correlation with {response.name}", response.correlation, centre=0.0)
    add("runs", np.isfinite(followed.percent).sum(axis=1).astype(float))
    return {
        "rows": [],
        "perUnit": False,
        "units": followed.units,
        "detectors": followed.detectors,
        "exposures": [],
        "variables": variables,
        "ramps": {"plain": ramp(PLAIN), "about": ramp(ABOUT)},
    }


def _title(followed: Followed) -> str:
    attrs = followed.trend.attrs
    names = [shown(attrs.get(name, ""), longest=60) for name in ("camera", "physical_filter")]
    known = [name for name in names if name]
    what = "Flats" if followed.name == "G" else followed.name
    return f"{what} over the years: {', '.join(known)}" if known else f"{what} over the years"


def _glance(followed: Followed) -> list[tuple[str, str]]:
    attrs, scatter = followed.trend.attrs, followed.of_units("scatter")
    in_gauge = followed.of_units("in_gauge")
    return [
        ("camera", str(attrs.get("camera", ""))),
        ("filter", str(attrs.get("physical_filter", ""))),
        ("runs", f"{followed.time.size}, from {day(followed.time[0])} to {day(followed.time[-1])}"),
        ("followed", followed.name if followed.name != "G" else ""),
        ("units", kind(followed, len(followed.units))),
        ("gauge", str(attrs.get("gauge", ""))),
        ("units in the gauge", f"{int(np.nansum(in_gauge))}" if np.isfinite(in_gauge).any() else ""),
        ("changes", plural(len(followed.changes), "change")),
        ("drifts", kind(followed, int(followed.drifts.sum()))),
        ("scatter", with_mmag(float(np.nanmedian(scatter))) if np.isfinite(scatter).any() else ""),
        ("followed against", str(attrs.get("against", ""))),
        ("significant", f"p below {number(followed.alpha)} among all units"),
    ]


def _means(followed: Followed, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean over the units of each detector; NaN where none is known."""
    known, starts = np.isfinite(values), followed.rows.starts[:-1]
    count = np.add.reduceat(known, starts, dtype=int)
    total = np.add.reduceat(np.where(known, values, 0.0), starts)
    means: NDArray[np.float64] = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return means
