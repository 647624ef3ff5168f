"""The pictures of a report, as PNG with words for those who cannot see them."""

from __future__ import annotations

import base64
import io
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.words import number, per_cent, plural

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Picture", "draw_pictures", "encoded", "new_figure"]

_INCHES, _WIDE = (7.2, 4.4), (9.6, 4.8)
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
    wide: bool = False
    """Whether it takes the width of the page."""


def draw_pictures(facts: Facts) -> tuple[list[Picture], list[str]]:
    """Draw what can be drawn of a solution, and say why the others cannot."""
    drawn, missing = [], []
    for name, (caption, words) in _WANTED.items():
        try:
            png, width, height = _png(name, facts)
        except FlatnormError as error:
            missing.append(f"{name}: {error}")
            continue
        drawn.append(Picture(name, png, width, height, words(facts), caption))
    return drawn, missing


def _png(name: str, facts: Facts) -> tuple[str, int, int]:
    from flatnorm_xr.show import plots

    figure = new_figure(_WIDE if name == "modes" else _INCHES)
    if name == "modes":
        plots.modes(facts.solution, diagnosis=facts.diagnosis, ax=list(figure.subplots(1, 2)))
    else:
        getattr(plots, name)(facts.solution, ax=figure.add_subplot())
    return encoded(figure)


def new_figure(inches: tuple[float, float]) -> Figure:
    """Make a figure that no screen knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=inches, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def encoded(figure: Figure) -> tuple[str, int, int]:
    """Draw a figure as PNG in base64, with its width and height in pixels."""
    width, height = (round(float(side) * _DPI) for side in figure.get_size_inches())
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        # a sign that the font lacks is drawn as a box; the tables have it
        warnings.filterwarnings("ignore", "Glyph .* missing", UserWarning)
        figure.savefig(buffer, format="png", dpi=_DPI)
    return _with_few_colours(buffer), width, height


def _with_few_colours(picture: io.BytesIO) -> str:
    """Encode a picture again with 128 colours, which takes half the room and looks the same."""
    from PIL import Image

    smaller = io.BytesIO()
    Image.open(picture).convert("RGB").quantize(128).save(smaller, format="png", optimize=True)
    return base64.b64encode(smaller.getvalue()).decode("ascii")


def _spread(values: Any) -> str:
    known = values[np.isfinite(values)]
    return f"from {number(known.min(), 6)} to {number(known.max(), 6)}" if known.size else "none known"


def _E(facts: Facts) -> str:
    return f"Level E of {plural(len(facts.exposures), 'exposure')}, {_spread(facts.E)} {facts.level_units}."


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


def _ratios(facts: Facts) -> str:
    within = plural(len(facts.detectors), "detector")
    return f"Responses of amplifiers within each of {within} against those of their gains."


def _modes(facts: Facts) -> str:
    share = facts.diagnosis["mode_share"].values
    leading = per_cent(share[0]) if share.size else "not known"
    return (
        f"Shares of the leading patterns of the residuals, {leading} % the first, and where it is on the focal plane."
    )


def _convergence(facts: Facts) -> str:
    return f"Correction of ln E left after each of {facts.solution.attrs.get('iterations', 'the')} iterations."


_WANTED: dict[str, tuple[str, Callable[[Facts], str]]] = {
    "pulls": ("Residuals over what noise allows them: they follow the curve where errors and model are right.", _pulls),
    "residual_vs_level": ("A slope or a bend means a bias or a nonlinearity; a flat band means neither.", _residuals),
    "E": ("How much light each exposure put on the focal plane.", _E),
    "G": ("The relative response of each unit, in the gauge of the solution.", _G),
    "amplifier_ratio": ("Amplifiers of a detector compared with what the gains of the headers say.", _ratios),
    "modes": ("Patterns that units share: those above the grey band are more than noise makes.", _modes),
    "convergence": ("How the solver came to its solution.", _convergence),
}
