"""The pictures of a report, as PNG with words for those who cannot see them."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.words import number, per_cent, plural

__all__ = ["Picture", "draw_pictures"]

_INCHES = (7.2, 4.4)
_DPI = 100


@dataclass(frozen=True)
class Picture:
    """One picture: PNG in base64, its size in pixels, and what it shows."""

    name: str
    png: str
    width: int
    height: int
    alt: str
    caption: str


def draw_pictures(facts: Facts) -> tuple[list[Picture], list[str]]:
    """Draw what can be drawn of a solution, and say why the others cannot."""
    from flatnorm_xr.show import plots

    drawn, missing = [], []
    for name, (caption, words) in _WANTED.items():
        if not hasattr(plots, name):
            continue
        try:
            png, width, height = _png(name, facts)
        except FlatnormError as error:
            missing.append(f"{name}: {error}")
            continue
        drawn.append(Picture(name, png, width, height, words(facts), caption))
    return drawn, missing


def _png(name: str, facts: Facts) -> tuple[str, int, int]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from flatnorm_xr.show import plots

    figure = Figure(figsize=_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    getattr(plots, name)(facts.solution, ax=figure.add_subplot())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a sign that the font lacks is drawn as a box; the tables have it
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(buffer, format="png", dpi=_DPI)
    return base64.b64encode(buffer.getvalue()).decode("ascii"), round(_INCHES[0] * _DPI), round(_INCHES[1] * _DPI)


def _spread(values: Any) -> str:
    known = values[np.isfinite(values)]
    return f"from {number(known.min(), 6)} to {number(known.max(), 6)}" if known.size else "none known"


def _E(facts: Facts) -> str:
    units = facts.solution["E"].attrs.get("units", "adu")
    return f"Level E of {plural(len(facts.exposures), 'exposure')}, {_spread(facts.E)} {units}."


def _G(facts: Facts) -> str:
    return f"Relative response G of {plural(len(facts.units), 'unit')}, {_spread(facts.G)}."


def _pulls(facts: Facts) -> str:
    if facts.pulls is None:
        return "Residuals over their standard deviations."
    used = facts.pulls[(facts.weight > 0) & np.isfinite(facts.pulls)]
    rms = number(np.sqrt(np.mean(used**2)) if used.size else np.nan, 3)
    return (
        f"Histogram of {used.size} residuals over their standard deviations, rms {rms}, with the normal distribution."
    )


def _residuals(facts: Facts) -> str:
    largest = per_cent(np.nanmax(facts.unit_rms)) if np.isfinite(facts.unit_rms).any() else "not known"
    return f"Residuals against the level; the largest rms residual of a unit is {largest} %."


def _weights(facts: Facts) -> str:
    return f"Weights of {facts.weight.size} cells; {int(facts.unused.sum())} have weight 0."


def _convergence(facts: Facts) -> str:
    return f"Correction of ln E left after each of {facts.solution.attrs.get('iterations', 'the')} iterations."


_WANTED: dict[str, tuple[str, Callable[[Facts], str]]] = {
    "E": ("How much light each exposure put on the focal plane.", _E),
    "G": ("The relative response of each unit, in the gauge of the solution.", _G),
    "pulls": ("Residuals over what noise allows them: they follow the curve where errors and model are right.", _pulls),
    "residual_vs_level": ("A slope or a bend means a bias or a nonlinearity; a flat band means neither.", _residuals),
    "weights": ("What each cell counts in the fit.", _weights),
    "convergence": ("How the solver came to its solution.", _convergence),
}
