"""Picture of the patterns that residuals share: how strong they are, and the leading one on the focal plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.show.looks import COLOURS, WIDE
from flatnorm_xr.show.plots.focal_plane import FocalPlane, focal_plane
from flatnorm_xr.show.requirements import require, require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import FillBetweenPolyCollection
    from matplotlib.lines import Line2D

    from flatnorm_xr.decompose.structure.residual_table import ResidualTable

__all__ = ["Modes", "modes"]

_CALLER = "plot.modes"

_MOST = 15
"""Modes whose share is drawn."""

_DRAWS = 20
"""Permutations that show what noise has; a mean and a range need no more."""

_SMALLEST = 1e-6
"""Chance below which only that it is less is said."""

_ALIKE = 0.5
"""Share of a mode's pattern from which it is said to look like a known one."""

_PATTERNS = {
    "plane": "a plane in x and y",
    "radius": "the square of the distance from the centre",
    "detector_type": "the type of the detector",
    "amplifier": "the amplifier's name",
}

_LEFT, _RIGHT = (0.0, 0.0, 0.36, 1.0), (0.5, 0.0, 0.5, 1.0)
"""Parts of axes that are divided."""


class Modes(NamedTuple):
    """Artists of `modes`."""

    shares: Line2D
    """Share of the residual variance of each mode, per cent."""
    noise: FillBetweenPolyCollection
    """What the modes of permuted residuals have, from the least to the most."""
    plane: FocalPlane
    """The mode on the focal plane, per cent."""


def modes(
    solution: xr.Dataset,
    *,
    mode: int = 1,
    diagnosis: xr.Dataset | None = None,
    permutations: int = 99,
    seed: int = 0,
    ax: Axes | Sequence[Axes] | None = None,
    figsize: tuple[float, float] | None = None,
) -> Modes:
    """Draw the share of the leading modes of the residuals, and one of them on the focal plane.

    A mode is a pattern over units that exposures have more or less of: a singular pair of the residuals over their
    errors. Where background = G E holds, all modes are noise, and lie where those of permuted residuals do. The pattern
    is in per cent of the level, for an exposure that has the usual (rms) amount of it.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns; groups are pooled. Where modes were fitted (``solve(modes=...)``) without
        groups, it is the fitted pattern that is drawn. Units without weight are grey.
    mode : int
        Number of the mode on the focal plane, 1 for the leading one.
    diagnosis : Dataset, optional
        What `flatnorm_xr.diagnose` returned for this solution; made when not given.
    permutations, seed : int
        Of the diagnosis, and the seed of the noise that is drawn.
    ax : pair of Axes, or Axes, optional
        Where to draw the shares and the focal plane; one Axes is divided. A new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches.

    Returns
    -------
    Modes
        ``shares``, ``noise``, ``plane``.

    Raises
    ------
    FlatnormError
        The dataset is not solved, there are fewer than 3 units or exposures, there is no such mode, the diagnosis is of
        other units, or both ``ax`` and ``figsize``.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import flatnorm_xr as fx
    >>> from flatnorm_xr.show import plots
    >>> drawn = plots.modes(fx.solve(fx.simulate(seed=1)), permutations=19)
    >>> drawn.shares.axes.get_ylabel(), drawn.plane.colorbar.ax.get_ylabel()
    ('share of the residual variance [%]', 'mode 1 [%]')
    >>> plt.close()
    """
    from flatnorm_xr.decompose.structure.diagnosis import diagnose
    from flatnorm_xr.decompose.structure.residual_table import tabulate

    require(solution, "residual", picture="modes")
    require_dims(solution, "residual", "detector", "exposure", picture="modes")
    if diagnosis is None:
        diagnosis = diagnose(solution, permutations=permutations, seed=seed)
    pattern = _pattern(solution, diagnosis, mode)
    left, right = _axes(ax, figsize)
    fitted = solution.sizes.get("mode", 0)
    shares, noise = _draw_shares(
        left, tabulate(solution.drop_vars("path", errors="ignore").compute()), fitted=fitted, seed=seed
    )
    p = _chance(diagnosis)
    if np.isfinite(p):
        chance = f"p = {p:.2g}" if p >= _SMALLEST else f"p < {_SMALLEST:.0e}"
        left.set_title(f"leading mode{' beside those fitted' if fitted else ''}: {chance}", fontsize=10)
    plane = focal_plane(solution, pattern, ax=right)
    if not fitted and mode == 1 and p < diagnosis.attrs["alpha"]:
        right.set_title(_alike(diagnosis), fontsize=10)
    return Modes(shares, noise, plane)


def _pattern(solution: xr.Dataset, diagnosis: xr.Dataset, mode: int) -> xr.DataArray:
    """Pattern of a mode over the units in per cent, NaN for units without weight."""
    if not isinstance(diagnosis, xr.Dataset) or "test" not in diagnosis.dims:
        msg = f"{_CALLER}: diagnosis is no diagnosis; pass what ds.flatnorm.diagnose() returned"
        raise FlatnormError(msg)
    fitted = "mode_unit" in solution and "group" not in solution["mode_unit"].dims
    source = solution if fitted else diagnosis
    if "mode_unit" not in source:
        msg = f"{_CALLER}: fewer than 3 units or exposures with weight, or no residuals: there are no modes to draw"
        raise FlatnormError(msg)
    numbers = source["mode"].values.tolist()
    if mode not in numbers:
        msg = f"{_CALLER}: there is no mode {mode!r}; there are {offenders(numbers)}"
        raise FlatnormError(msg)
    pattern = 100 * source["mode_unit"].isel(mode=numbers.index(mode), drop=True)
    if pattern.sizes != solution["residual"].isel(exposure=0).sizes:
        msg = f"{_CALLER}: the diagnosis is of other units than the solution; diagnose this one"
        raise FlatnormError(msg)
    used = (solution["weight"] > 0).any("exposure").transpose(*pattern.dims)
    words = f"mode {mode}, as fitted" if fitted else f"mode {mode}"
    named = pattern.where(used.values).rename("pattern")
    return named.assign_attrs(long_name=words, units="%")


def _axes(ax: Axes | Sequence[Axes] | None, figsize: tuple[float, float] | None) -> tuple[Axes, Axes]:
    """Axes for the shares and for the focal plane."""
    import matplotlib.pyplot as plt
    from matplotlib.axes import Axes

    if ax is None:
        _, (left, right) = plt.subplots(
            1, 2, figsize=figsize or (11.0, 4.8), layout="constrained", width_ratios=(1.0, 1.3)
        )
        return left, right
    if figsize is not None:
        msg = f"{_CALLER}: ax and figsize are both given; the size is that of the axes' figure, so leave figsize out"
        raise FlatnormError(msg)
    if isinstance(ax, Axes):
        ax.set_axis_off()
        return ax.inset_axes(_LEFT), ax.inset_axes(_RIGHT)
    pair = list(np.ravel(np.asarray(ax, dtype=object)))
    if len(pair) != 2 or not all(isinstance(one, Axes) for one in pair):
        msg = f"{_CALLER}: ax must be two Axes, for the shares and for the focal plane, or one that is divided"
        raise FlatnormError(msg)
    return pair[0], pair[1]


def _draw_shares(
    axes: Axes, table: ResidualTable, *, fitted: int, seed: int
) -> tuple[Line2D, FillBetweenPolyCollection]:
    from matplotlib.ticker import MaxNLocator

    from flatnorm_xr.decompose.structure.leading_mode import leading_modes, shares_of_noise

    # G of each group, E, and modes that were fitted have no residuals
    units, exposures = (int((table.weight > 0).any(axis).sum()) for axis in (1, 0))
    number = max(min(_MOST, units - 1 - fitted, exposures - table.fit.starts.size - fitted), 1)
    counted = np.arange(1, number + 1)
    shares = 100 * np.array([mode.share for mode in leading_modes(table, number)])
    noise: NDArray[np.float64] = 100 * shares_of_noise(table, number, permutations=_DRAWS, seed=seed)
    look = {"color": "0.75", "linewidth": 0, "label": f"permuted residuals, {_DRAWS} times"}
    band = axes.fill_between(counted, noise.min(axis=0), noise.max(axis=0), **look)  # type: ignore[arg-type]
    axes.plot(counted, noise.mean(axis=0), color="0.35", linewidth=1, linestyle="--", label="their mean")
    (line,) = axes.plot(counted, shares, "o-", color=COLOURS[0], markersize=5, linewidth=1, label="residuals")
    if shares.min() > 0 and shares.max() > WIDE * shares.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(0.5, number + 0.5)
    axes.set_xlabel("mode")
    axes.set_ylabel("share of the residual variance [%]")
    axes.legend(frameon=False, fontsize=9)
    return line, band


def _chance(diagnosis: xr.Dataset) -> float:
    """Chance of the leading mode in noise; NaN where that was not tested."""
    tests = diagnosis["test"].values.tolist()
    return float(diagnosis["p_value"].values[tests.index("modes")]) if "modes" in tests else np.nan


def _alike(diagnosis: xr.Dataset) -> str:
    """Words for the known pattern that the leading mode looks like; empty where it looks like none."""
    if "mode_likeness" not in diagnosis:
        return ""
    likeness = diagnosis["mode_likeness"].isel(mode=0).values
    best = int(likeness.argmax())
    share, name = float(likeness[best]), str(diagnosis["pattern"].values[best])
    return f"{100 * share:.0f} % of it is {_PATTERNS.get(name, name)}" if share >= _ALIKE else ""
