"""The picture of how much each cell weighs in the fit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from flatnorm_xr.show.axes import choose_axes, plain, rows_of, table
from flatnorm_xr.show.looks import WIDE
from flatnorm_xr.show.plots.cells import causes_of
from flatnorm_xr.show.plots.matrix import Matrix, draw_matrix, matrix_size
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["weights"]


def weights(
    solution: xr.Dataset,
    *,
    ax: Axes | None = None,
    figsize: tuple[float, float] | None = None,
    cmap: str = "viridis",
) -> Matrix:
    r"""Draw the weight of each cell in the fit, relative to the median, as a matrix.

    Parameters
    ----------
    solution : Dataset
        With ``weight`` (detector[, amplifier], exposure). Cells with weight 0 are hatched, one legend entry a cause,
        as in `residual`.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of units and exposures when not given.
    cmap : str
        Colour map. The scale is logarithmic when the weights span more than a factor of 10.

    Returns
    -------
    Matrix
        ``image`` (weight over the median of those above 0), ``colorbar``, ``marks``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, a selection dropped a dim, or both ``ax`` and ``figsize``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import flatnorm_xr as fx
    >>> from flatnorm_xr.show import plots
    >>> plots.weights(fx.solve(fx.simulate(), weights="uniform")).colorbar.ax.get_ylabel()
    'weight of the cell over the median\nweights: uniform'
    >>> plt.close()
    """
    from matplotlib.colors import LogNorm, Normalize

    require(solution, "weight", picture="weights")
    require_dims(solution, "weight", "detector", "exposure", picture="weights")
    rows = rows_of(solution)
    weight = table(solution["weight"], rows)
    used = weight > 0
    relative = np.where(used, weight / np.median(weight[used]) if used.any() else np.nan, np.nan)
    low, high = (relative[used].min(), relative[used].max()) if used.any() else (1.0, 1.0)
    norm = LogNorm(low, high) if high > WIDE * low else Normalize(0, high)
    kind = plain(solution.attrs.get("weights", ""))
    return draw_matrix(
        choose_axes(ax, figsize, caller="plot.weights", default=matrix_size(solution, rows)),
        solution,
        rows,
        relative,
        causes_of(solution, rows),
        norm=norm,
        cmap=cmap,
        extend="neither",
        label="weight of the cell over the median" + (f"\nweights: {kind}" if kind else ""),
        line_colour="white",
        bar_gap=0.15,
    )
