"""The picture of how the solver came to its solution."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.axes import choose_axes, plain
from flatnorm_xr.show.looks import COLOURS, MARKERS
from flatnorm_xr.show.plots.legend import legend_above
from flatnorm_xr.show.requirements import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

__all__ = ["Convergence", "convergence"]


class Convergence(NamedTuple):
    """Artists of `convergence`."""

    lines: list[Line2D]
    """One for each group of exposures."""
    tolerance: Line2D | None
    exact: Line2D | None
    """Crosses at the foot where nothing at all was left, which a logarithmic axis cannot show."""


def convergence(
    solution: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None
) -> Convergence:
    """Draw the largest correction that was left after each iteration of the solver, with the tolerance.

    Parameters
    ----------
    solution : Dataset
        With ``correction`` ([group, ]iteration): of ln E, and for the alternation of ln G. Groups of exposures have a
        line each.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Convergence
        ``lines``, ``tolerance``, ``exact``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, or was by a version that kept no record; both ``ax`` and ``figsize``.
    """
    from matplotlib.ticker import MaxNLocator

    require(solution, "E", picture="convergence")
    if "correction" not in solution:
        msg = "plot.convergence: the solution has no record of its iterations; solve it again: ds.flatnorm.solve()"
        if np.all(_figure(solution, "iterations") == 0):
            msg = "plot.convergence: the fit needed no iteration, so there is none to draw"
        raise FlatnormError(msg)
    axes = choose_axes(ax, figsize, caller="plot.convergence", default=(6.4, 4.2))
    left = np.atleast_2d(solution["correction"].transpose(..., "iteration").values)
    iteration = solution["iteration"].values
    lines = _draw_lines(axes, solution, iteration, left)
    tolerance = _tolerance(solution)
    line = None
    if tolerance:
        line = axes.axhline(tolerance, color="black", linestyle="--", linewidth=1, label=f"tolerance {tolerance:g}")
    _scale(axes, left, tolerance)
    exact = _cross(axes, iteration[(left == 0).any(axis=0)])
    axes.set_xlabel("iteration")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"largest correction of ln {'G' if solution.attrs.get('method') == 'alternation' else 'E'} left")
    if any(not str(handle.get_label()).startswith("_") for handle in axes.lines):
        legend_above(axes)
    return Convergence(lines, line, exact)


def _draw_lines(
    axes: Axes, solution: xr.Dataset, iteration: NDArray[np.int64], left: NDArray[np.float64]
) -> list[Line2D]:
    """Draw a line for each group, whose name says so when it did not converge."""
    names = [plain(name) for name in np.atleast_1d(solution["group"].values)] if "group" in solution.coords else [""]
    converged = np.broadcast_to(_figure(solution, "converged"), len(names))
    lines = []
    for k, (name, values) in enumerate(zip(names, left, strict=True)):
        look: dict[str, Any] = {
            "color": COLOURS[k % len(COLOURS)],
            "marker": MARKERS[(k + k // len(COLOURS)) % len(MARKERS)],
        }
        known = not np.isnan(converged[k])
        state = "not converged" if known and not converged[k] else ""
        words = " ".join(part for part in (name, state) if part)
        shown = np.where(values > 0, values, np.nan)
        lines += axes.plot(
            iteration,
            shown,
            label=words or ("converged" if known else "not known whether it converged"),
            markersize=5,
            **look,
        )
    return lines


def _tolerance(solution: xr.Dataset) -> float | None:
    """Tolerance of the solve; None where its configuration does not say."""
    try:
        return float(json.loads(str(solution.attrs.get("configuration", "{}")))["tolerance"])
    except (ValueError, TypeError, KeyError):
        return None


def _figure(solution: xr.Dataset, name: str) -> NDArray[np.float64]:
    """Figure of the fit, one for each group or one for all."""
    value = solution[name].values if name in solution else solution.attrs.get(name, np.nan)
    return np.atleast_1d(np.asarray(value, dtype=float))


def _scale(axes: Axes, left: NDArray[np.float64], tolerance: float | None) -> None:
    shown = left[np.isfinite(left) & (left > 0)]
    marked = np.append(shown, tolerance) if tolerance else shown
    axes.set_yscale("log")
    if marked.size:
        axes.set_ylim(marked.min() / 10, marked.max() * 10)
    n = left.shape[1]
    axes.set_xlim(min(0.5, 1 - 0.04 * n), n + max(0.5, 0.04 * n))


def _cross(axes: Axes, iterations: NDArray[np.int64]) -> Line2D | None:
    if not iterations.size:
        return None
    (crosses,) = axes.plot(
        iterations,
        np.full(iterations.size, 0.02),
        "x",
        color="black",
        transform=axes.get_xaxis_transform(),
        clip_on=False,
        label="nothing left",
    )
    return crosses
