"""The picture of residuals over their own standard deviations, beside the unit normal that they should follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.variance import pulls as pulls_of
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.axes import choose_axes
from flatnorm_xr.show.looks import COLOURS
from flatnorm_xr.show.plots.legend import legend_above
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import BarContainer
    from matplotlib.lines import Line2D
    from matplotlib.patches import StepPatch
    from matplotlib.text import Text

__all__ = ["Pulls", "pulls"]

_END = 5.0
"""Pulls beyond are counted in the bins at the edges."""

_MANY = 1000
"""Cells from which on the tails are too thin for a linear scale."""


class Pulls(NamedTuple):
    """Artists of `pulls`."""

    used: BarContainer
    """Density of the cells of the fit; the first and last bar hold what lies beyond."""
    left_out: StepPatch | None
    """Cells without weight, in the same scale."""
    normal: Line2D
    beyond: list[Text]
    """Numbers of the cells in the first and the last bar, where there are any."""


def pulls(
    solution: xr.Dataset,
    *,
    log: bool | None = None,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
) -> Pulls:
    """Draw the density of the pulls, residuals over their own standard deviations, with the unit normal over it.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns, whole; see `flatnorm_xr.pulls`. Cells without weight that have a level are
        an outline apart and not part of the rms. Pulls beyond 5 are in the hatched bars at the edges, with their
        number.
    log : bool, optional
        Logarithmic density; from 1 000 cells on when not given, so that tails show.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Pulls
        ``used``, ``left_out``, ``normal``, ``beyond``.

    Raises
    ------
    FlatnormError
        The dataset is not solved or a part of what was, no error is known, or both ``ax`` and ``figsize``.
    """
    require(solution, "residual", picture="pulls")
    require_dims(solution, "residual", "detector", "exposure", picture="pulls")
    pull = pulls_of(solution)
    inside, known = solution["weight"].transpose(*pull.dims).values > 0, np.isfinite(pull.values)
    used, left_out = pull.values[inside & known], pull.values[~inside & known]
    if not used.size:
        msg = (
            "plot.pulls: no residual has a known error: the fit has no degrees of freedom left to find one from; "
            "solve more exposures or units together"
        )
        raise FlatnormError(msg)
    axes = choose_axes(ax, figsize, caller="plot.pulls", default=(6.4, 4.2))
    edges = _edges(used.size)
    unit = 1 / (used.size * (edges[2] - edges[1]))
    counted, apart = _count(used, edges), _count(left_out, edges)
    words = f"cells of the fit ({used.size}), rms {np.sqrt(np.mean(used**2)):.2f}"
    bars = _draw_bars(axes, edges, counted * unit, words)
    x = np.linspace(edges[0], edges[-1], 400)
    (normal,) = axes.plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color=COLOURS[0], linewidth=2, label="N(0, 1)")
    outline = None
    if left_out.size:
        heights = np.where(apart > 0, apart * unit, np.nan)
        words = f"left out of the fit ({left_out.size})"
        outline = axes.stairs(heights, edges, color=COLOURS[1], linewidth=2, label=words)
    _scale(axes, float((counted * unit).max()), unit, log=used.size >= _MANY if log is None else log)
    beyond = _number(axes, edges, (counted, apart), unit)
    _finish(axes, int((inside & ~known).sum()), unit)
    return Pulls(bars, outline, normal, beyond)


def _edges(n: int) -> NDArray[np.float64]:
    """Edges of bins whose number grows with the cube root of the cells, and of one wider bin beyond either end."""
    bins = int(np.clip(2 * np.ceil(n ** (1 / 3)), 20, 100))
    inner = np.linspace(-_END, _END, bins + 1)
    return np.concatenate([[-_END - 0.5], inner, [_END + 0.5]])


def _count(pull: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.intp]:
    """Count the cells in each bin, those beyond the ends in the first and last one."""
    within = np.clip(np.searchsorted(edges[1:-1], pull, side="right"), 0, edges.size - 2)
    return np.bincount(within, minlength=edges.size - 1)


def _draw_bars(axes: Axes, edges: NDArray[np.float64], heights: NDArray[np.float64], words: str) -> BarContainer:
    """Draw the histogram, the bars at the edges hatched."""
    look: dict[str, Any] = {"color": "0.75", "edgecolor": "0.35", "linewidth": 0.6}
    bars = axes.bar((edges[:-1] + edges[1:]) / 2, heights, np.diff(edges), label="_", **look)
    for bar in (bars[0], bars[-1]):
        bar.set_hatch("////")
    # a legend shows the first bar of a histogram, which here is not like the others
    axes.bar(0, 0, label=words, **look)
    return bars


def _scale(axes: Axes, highest: float, unit: float, *, log: bool) -> None:
    """Scale the density so that the unit normal and, on a logarithm, a single cell are seen whole."""
    highest = max(highest, 0.4)
    if log:
        axes.set_yscale("log")
        axes.set_ylim(0.4 * unit, 4 * highest)
    else:
        axes.set_ylim(0, 1.15 * highest)


def _number(axes: Axes, edges: NDArray[np.float64], counts: tuple[NDArray[np.intp], ...], unit: float) -> list[Text]:
    """Write over the bars at the edges how many cells they hold."""
    written: list[Text] = []
    for k, x, sign in ((0, edges[0] + 0.25, "<\N{MINUS SIGN}"), (-1, edges[-1] - 0.25, ">")):
        used, apart = (int(count[k]) for count in counts)
        if not used + apart:
            continue
        words = "\n".join(
            [f"{sign}{_END:g}:", *([str(used)] if used else []), *([f"{apart}\nleft out"] if apart else [])]
        )
        top = max(used, apart) * unit
        look: dict[str, Any] = {"ha": "center", "va": "bottom", "fontsize": 8, "xytext": (0, 2)}
        written.append(axes.annotate(words, (x, top), textcoords="offset points", **look))
    return written


def _finish(axes: Axes, unknown: int, unit: float) -> None:
    axes.set_xlabel("pull: residual over its own standard deviation")
    axes.set_ylabel("density of the cells of the fit")
    handles, _ = axes.get_legend_handles_labels()
    if unknown:
        from matplotlib.lines import Line2D

        handles.append(Line2D([], [], linestyle="none", label=f"not drawn, no error known ({unknown})"))
    legend_above(axes, handles)
