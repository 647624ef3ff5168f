"""All that a page says of a solution, in its order, before it is written."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.show.description import describe_dataset
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.findings import Finding, Verdict, find_three, judge
from flatnorm_xr.show.report.pictures import Picture, draw_pictures
from flatnorm_xr.show.report.plane import PlaneDrawing, draw_plane
from flatnorm_xr.show.report.residual_image import ResidualImage
from flatnorm_xr.show.report.tables import Table, all_tables
from flatnorm_xr.show.report.trend_section import TrendSection
from flatnorm_xr.show.report.words import listed, plural
from flatnorm_xr.show.texts import shown

__all__ = ["Page", "make_page", "provenance", "source_of"]

_LONGEST_ATTRIBUTE = 20_000


@dataclass(frozen=True)
class Page:
    """All that the template is given of a solution."""

    title: str
    source: str
    verdict: Verdict
    findings: list[Finding]
    glance: list[tuple[str, str]]
    plane: PlaneDrawing
    image: ResidualImage
    matrix_words: str
    residual_words: str
    pictures: list[Picture]
    not_drawn: list[str]
    tables: list[Table]
    provenance: list[tuple[str, str]]
    by_amplifier: bool
    first_variable: str
    trend: TrendSection | None

    @property
    def contents(self) -> list[tuple[str, str]]:
        """Anchors and words of the sections."""
        head = [
            ("verdict", "Verdict"),
            ("glance", "At a glance"),
            ("focal-plane", "Focal plane"),
            ("residuals", "Residuals"),
        ]
        tables = [(table.name, table.title) for table in self.tables]
        trend = [("trend", "Trend"), *((table.name, table.title) for table in self.trend.tables)] if self.trend else []
        return [*head, ("pictures", "Pictures"), *tables, *trend, ("provenance", "Provenance")]


def make_page(facts: Facts, image: ResidualImage, trend: TrendSection | None = None) -> Page:
    """Collect what the template shows of a solution."""
    solution = facts.solution
    pictures, missing = draw_pictures(facts)
    description = describe_dataset(solution)
    values = facts.residual[(facts.weight > 0) & np.isfinite(facts.residual)]
    rms = 100 * float(np.sqrt(np.mean(values**2))) if values.size else np.nan
    return Page(
        title=_title(facts),
        source=source_of(solution),
        verdict=judge(facts),
        findings=find_three(facts),
        glance=[(name, shown(value)) for name, value in description.rows],
        plane=draw_plane(solution, facts, facts.G[:, 0], means=facts.detector_G[:, 0], words="G", centre=1.0),
        image=image,
        matrix_words=(
            f"Residuals of {plural(image.rows, 'row')} by {plural(image.columns, 'exposure')}, rms {rms:.3g} %, "
            f"{int(facts.unused.sum())} cells without weight"
        ),
        residual_words=facts.residual_words,
        pictures=pictures,
        tables=list(all_tables(facts).values()),
        not_drawn=[shown(line) for line in missing],
        provenance=provenance(solution),
        by_amplifier=facts.by_amplifier,
        first_variable=f"G{', ' + facts.groups[0] if facts.groups else ''}",
        trend=trend,
    )


def _title(facts: Facts) -> str:
    parts = [shown(facts.solution.attrs.get("camera", ""), longest=60)]
    for name in ("night", "physical_filter"):
        coordinate = facts.solution.coords.get(name)
        if coordinate is not None and coordinate.dims == ("exposure",):
            parts.append(listed(sorted({str(value) for value in coordinate.values} - {""}), most=3))
    known = [part for part in parts if part]
    return f"Flat normalisation: {', '.join(known)}" if known else "Flat normalisation"


def source_of(ds: xr.Dataset) -> str:
    """Say from which file a dataset is, if it is from one."""
    path = ds.encoding.get("source")
    return f" from {shown(path, longest=300)}" if path else ""


def provenance(ds: xr.Dataset) -> list[tuple[str, str]]:
    """List the attributes of a dataset as a page shows them."""
    return [(shown(name, longest=80), _attribute(value)) for name, value in sorted(ds.attrs.items())]


def _attribute(value: Any) -> str:
    """Write an attribute as the file has it; a list of objects or an object, one entry a line."""
    text = str(value)
    if text[:1] == "[":
        text = text.replace("}, {", "},\n{")
    elif text[:1] == "{":
        text = re.sub(', (?="[^"]*": )', ",\n", text)
    return shown(text, longest=_LONGEST_ATTRIBUTE)
