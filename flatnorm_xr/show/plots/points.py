"""Points with error bars, one look for each group of exposures, and crosses for what was not measured."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.show.axes import axis_label, plain
from flatnorm_xr.show.looks import COLOURS, MARKERS
from flatnorm_xr.show.plots.legend import legend_above

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D

__all__ = ["Points", "draw_points", "finish_points", "ring"]


class Points(NamedTuple):
    """Artists of `E` and `G`."""

    points: list[ErrorbarContainer]
    """One for each group of exposures."""
    unmeasured: Line2D | None
    """Crosses at the foot of the picture, where there is no usable level."""
    rejected: Line2D | None = None
    """Rings around what was left out of the fit as a whole."""
    unplaced: Line2D | None = None
    """Triangles at the right edge: exposures whose place along x is not known."""


def draw_points(
    axes: Axes, x: NDArray[Any], y: NDArray[Any], error: NDArray[Any] | None, k: int, name: str
) -> ErrorbarContainer:
    """Draw the points of the k-th group, smaller the more there are; without bars where ``error`` is None."""
    size = float(np.clip(60 / np.sqrt(max(y.size, 1)), 2.0, 6.0))
    return axes.errorbar(
        x,
        y,
        yerr=error,
        fmt=MARKERS[(k + k // len(COLOURS)) % len(MARKERS)],  # no two alike before both have come round
        color=COLOURS[k % len(COLOURS)],
        markersize=size,
        elinewidth=1,
        capsize=size / 2,
        label=name,
    )


def ring(axes: Axes, x: NDArray[Any], y: NDArray[Any], name: str) -> Line2D | None:
    """Ring points that are not to be trusted."""
    if not x.size:
        return None
    size = float(np.clip(60 / np.sqrt(x.size), 2.0, 6.0)) + 6
    look = {"marker": "o", "markerfacecolor": "none", "markeredgecolor": "black", "linestyle": "none"}
    (rings,) = axes.plot(x, y, markersize=size, label=f"{name} ({x.size})", **look)  # type: ignore[arg-type]
    return rings


def finish_points(
    axes: Axes,
    solution: xr.Dataset,
    name: str,
    points: list[ErrorbarContainer],
    lost: Sequence[Any] | NDArray[Any],
    *,
    rejected: Line2D | None = None,
    unplaced: Line2D | None = None,
) -> Points:
    """Cross what has no usable level, name the axis and its gauge, and make the legend."""
    unmeasured = None
    if len(lost):
        (unmeasured,) = axes.plot(
            lost,
            np.full(len(lost), 0.02),
            "x",
            color="black",
            markersize=5,
            transform=axes.get_xaxis_transform(),
            clip_on=False,
            label=f"no usable level ({len(lost)})",
        )
    gauge = plain(solution.attrs.get("gauge", "")).partition(" (")[0]
    lines = [axis_label(solution[name]), *textwrap.wrap(gauge, 44, max_lines=2, placeholder=" ...")]
    axes.set_ylabel("\n".join(lines))
    if axes.get_yscale() == "linear":
        axes.ticklabel_format(axis="y", useOffset=False)
    if len(points) > 1 or any(mark is not None for mark in (unmeasured, rejected, unplaced)):
        legend_above(axes)
    return Points(points, unmeasured, rejected, unplaced)
