"""Pictures of every cell as matrices: levels and residuals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.flags import WITHOUT_WEIGHT
from flatnorm_xr.model.validate import validate
from flatnorm_xr.show.axes import Rows, axis_label, choose_axes, mmag_axis, residual_label, rows_of, table
from flatnorm_xr.show.looks import WIDE, residual_limit
from flatnorm_xr.show.plots.matrix import Matrix, draw_matrix, extend_of, matrix_size, quality_of
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["background", "causes_of", "residual"]


def background(
    ds: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None, cmap: str = "cividis"
) -> Matrix:
    """Draw the levels as a matrix, one row a unit, one column an exposure.

    Parameters
    ----------
    ds : Dataset
        Measurements or a solution: ``background`` (detector[, amplifier], exposure). Amplifiers that do not exist
        have no row. Cells that a solve leaves out are hatched (filled when too small for that), one legend entry a
        cause; a level that is NaN, infinite, zero or negative is grey.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of units and exposures when not given.
    cmap : str
        Colour map. The scale is logarithmic when the levels span more than a factor of 10.

    Returns
    -------
    Matrix
        ``image``, ``colorbar``, ``marks``.

    Raises
    ------
    FlatnormError
        Both ``ax`` and ``figsize``, a dim that a selection dropped, or levels that do not follow the data model.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from flatnorm_xr.show import plots
    >>> from flatnorm_xr.simulate.levels import simulate
    >>> plots.background(simulate()).colorbar.ax.get_ylabel()
    'level of the flat light [adu]'
    >>> plt.close()
    """
    from matplotlib.colors import LogNorm, Normalize

    require_dims(ds, "background", "detector", "exposure")
    validate(ds, caller="plot.background")
    rows = rows_of(ds)
    levels = table(ds["background"], rows)
    levels = np.where(np.isfinite(levels) & (levels > 0), levels, np.nan)
    causes = table(quality_of(ds), rows) & np.uint32(WITHOUT_WEIGHT)
    shown = levels[(causes == 0) & np.isfinite(levels)]
    shown = shown if shown.size else levels[np.isfinite(levels)]
    low, high = (shown.min(), shown.max()) if shown.size else (1.0, 10.0)
    norm = LogNorm(low, high) if high > WIDE * low else Normalize(low, high)
    extend = extend_of(levels, low, high)
    axes = choose_axes(ax, figsize, caller="plot.background", default=matrix_size(ds, rows))
    return draw_matrix(
        axes,
        ds,
        rows,
        levels,
        causes,
        norm=norm,
        cmap=cmap,
        extend=extend,
        label=axis_label(ds["background"]),
        line_colour="white",
        bar_gap=0.15,
    )


def residual(
    solution: xr.Dataset,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    limit: float | None = None,
    cmap: str = "RdBu_r",
) -> Matrix:
    """Draw ln(background / bgModel) as a matrix, in per cent and mmag.

    Parameters
    ----------
    solution : Dataset
        With ``residual``. Cells with weight 0 are hatched, one legend entry a cause; NaN is grey.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of units and exposures when not given.
    limit : float, optional
        End of the colour scale in per cent, the same on both sides; four robust standard deviations of the cells
        with weight, or the largest of them if that is less, when not given.
    cmap : str
        Diverging colour map.

    Returns
    -------
    Matrix
        ``image`` (per cent), ``colorbar``, ``marks``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, a selection dropped a dim, both ``ax`` and ``figsize``, or a limit that is not
        positive.
    """
    from matplotlib.colors import Normalize

    require(solution, "residual")
    require_dims(solution, "residual", "detector", "exposure")
    rows = rows_of(solution)
    percent = 100 * table(solution["residual"], rows)
    weight = table(solution["weight"], rows)
    causes = causes_of(solution, rows)
    limit = 100 * residual_limit(percent[(weight > 0) & np.isfinite(percent)] / 100) if limit is None else limit
    if not limit > 0:
        msg = f"plot.residual: limit is {limit}; it must be a positive number of per cent"
        raise FlatnormError(msg)
    axes = choose_axes(ax, figsize, caller="plot.residual", default=matrix_size(solution, rows))
    drawn = draw_matrix(
        axes,
        solution,
        rows,
        percent,
        causes,
        norm=Normalize(-limit, limit),
        cmap=cmap,
        extend=extend_of(percent, -limit, limit),
        label=residual_label(solution["residual"]),
        line_colour="black",
        bar_gap=0.9,
    )
    mmag_axis(drawn.colorbar.ax, side="left")
    return drawn


def causes_of(solution: xr.Dataset, rows: Rows) -> NDArray[Any]:
    """Find the flags that took cells out of the fit, one row a unit; 0 for cells with weight."""
    flags = table(quality_of(solution), rows) & np.uint32(WITHOUT_WEIGHT)
    return np.where(table(solution["weight"], rows) > 0, np.uint32(0), flags)
