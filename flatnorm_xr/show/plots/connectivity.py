"""The picture of which units share exposures, and so of which ratios were measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.decompose.cells import usable_cells
from flatnorm_xr.decompose.connectivity import bridges, connect
from flatnorm_xr.model.validate import validate
from flatnorm_xr.show.axes import (
    Rows,
    choose_axes,
    name_columns,
    name_rows,
    plain,
    rows_of,
    separate,
    size_inches,
    table,
)
from flatnorm_xr.show.looks import COLOURS, HOLE
from flatnorm_xr.show.plots.legend import legend_above
from flatnorm_xr.show.plots.matrix import matrix_size, quality_of
from flatnorm_xr.show.requirements import require_dims

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.image import AxesImage
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

__all__ = ["Connectivity", "connectivity"]

_MOST_ROWS = 150
"""Units from which on there is one row a detector."""

_PALED = 0.55
_RULED = 6.0
"""Points of the shorter side of a cell above which lines part the cells."""


class Connectivity(NamedTuple):
    """Artists of `connectivity`."""

    image: AxesImage
    components: dict[str, Patch]
    """Colours, by the words of the legend."""
    bridges: Line2D | None
    """Cells whose loss would tear a component apart."""
    words: str
    """The line above the picture."""


def connectivity(ds: xr.Dataset, *, ax: Axes | None = None, figsize: tuple[float, float] | None = None) -> Connectivity:
    """Draw which units share exposures: a matrix of the cells that tie them, coloured by connected component.

    Where two units share no exposure, not even through others, the ratio of their responses was not measured.

    Parameters
    ----------
    ds : Dataset
        Levels (the cells that a solve could use) or a solution (the cells with weight). Cells that tie nothing are
        grey; bridges, whose loss would tear a component apart, are framed. From 150 units on a row is a detector,
        paler where only some of its amplifiers were measured. Groups of exposures that were solved by themselves are
        looked at by themselves.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    figsize : (float, float), optional
        Of the new figure, inches; chosen by the number of rows and exposures when not given.

    Returns
    -------
    Connectivity
        ``image``, ``components``, ``bridges``, ``words``.

    Raises
    ------
    FlatnormError
        Both ``ax`` and ``figsize``, a dim that a selection dropped, or levels that do not follow the data model.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> import numpy as np
    >>> import flatnorm_xr as fx
    >>> from flatnorm_xr.show import plots
    >>> plots.connectivity(fx.make([[1, 2, np.nan], [np.nan, np.nan, 3]])).words
    '2 components: the ratio between them was not measured'
    >>> plt.close()
    """
    require_dims(ds, "background", "detector", "exposure", picture="connectivity")
    validate(ds, caller="plot.connectivity")
    rows = rows_of(ds)
    found = _find(ds, rows)
    if len(rows.labels) >= _MOST_ROWS and len(rows.labels) > len(rows.detectors):
        found, rows = _by_detector(found, rows)
    axes = choose_axes(ax, figsize, caller="plot.connectivity", default=matrix_size(ds, rows))
    image = axes.imshow(_colours(found), aspect="auto", interpolation="nearest")
    name_columns(axes, ds["exposure"].values)
    name_rows(axes, rows)
    _rule(axes, found.component.shape)
    if len(rows.labels) > len(rows.detectors):
        separate(axes, rows, colour="white")
    marks = _mark_bridges(axes, found.bridge)
    words = _words(found)
    patches = _legend(axes, found, words, marks)
    return Connectivity(image, patches, marks, words)


class _Found(NamedTuple):
    """What ties what, one row a unit (or a detector), one column an exposure."""

    component: NDArray[np.intp]
    """-1 where nothing was measured. An exposure ties all that is measured in it, so amplifiers of a detector agree."""
    share: NDArray[np.float64]
    """Of the units of the row that were measured."""
    bridge: NDArray[np.bool_]
    solved: bool
    groups: list[tuple[str, list[tuple[int, int]]]]
    """Name of each group, and the numbers of units and exposures in each of its components."""


def _find(ds: xr.Dataset, rows: Rows) -> _Found:
    """Find components and bridges of each group of exposures."""
    measured = (ds["weight"] > 0) if "weight" in ds else usable_cells(quality_of(ds))
    bare = measured.drop_vars(list(measured.coords)).transpose(*ds["background"].dims).compute()
    component = xr.full_like(bare, -1, dtype=int)
    bridge = xr.zeros_like(bare)
    groups = []
    for name, chosen in _groups(ds):
        here = {"exposure": chosen}
        part = bare[here]
        tied = connect(part)
        number = tied.exposure.astype(int).where(part, -1)
        component[here] = number.transpose(*part.dims).values
        bridge[here] = bridges(part).transpose(*part.dims).values
        sizes = [(int((tied.unit == k).sum()), int((tied.exposure == k).sum())) for k in range(tied.number)]
        groups.append((name, sizes))
    used = table(bare, rows)
    return _Found(table(component, rows), used.astype(float), table(bridge, rows), "weight" in ds, groups)


def _groups(ds: xr.Dataset) -> list[tuple[str, NDArray[np.intp]]]:
    if "exposure_group" not in ds.coords:
        return [("", np.arange(ds.sizes["exposure"]))]
    labels = ds["exposure_group"].values
    return [(str(name), np.flatnonzero(labels == name)) for name in np.unique(labels)]


def _by_detector(found: _Found, rows: Rows) -> tuple[_Found, Rows]:
    """Join the amplifiers of each detector."""
    first = rows.starts[:-1]
    component = np.maximum.reduceat(found.component, first)
    share = np.add.reduceat(found.share, first) / np.diff(rows.starts)[:, None]
    bridge = np.logical_or.reduceat(found.bridge, first)
    n = len(rows.detectors)
    joined = Rows(np.ones(n, dtype=bool), rows.detectors, rows.detectors, np.arange(n + 1))
    return _Found(component, share, bridge, found.solved, found.groups), joined


def _colours(found: _Found) -> NDArray[np.float64]:
    """Colour of each cell: of its component, paled where only a part was measured."""
    from matplotlib.colors import to_rgb

    palette = np.array([to_rgb(colour) for colour in (*COLOURS[:-1], HOLE)])
    last = len(COLOURS) - 2
    index = np.where(found.component >= 0, np.minimum(found.component, last), -1)
    pale = np.where((found.component >= 0) & (found.share < 1), _PALED, 0.0)[..., None]
    mixed: NDArray[np.float64] = palette[index] * (1 - pale) + pale
    return mixed


def _rule(axes: Axes, shape: tuple[int, ...]) -> None:
    """Part the cells by thin lines where there is room."""
    width, height = size_inches(axes)
    if min(72 * width / shape[1], 72 * height / shape[0]) > _RULED:
        axes.hlines(np.arange(1, shape[0]) - 0.5, -0.5, shape[1] - 0.5, color="white", linewidth=0.4)
        axes.vlines(np.arange(1, shape[1]) - 0.5, -0.5, shape[0] - 0.5, color="white", linewidth=0.4)


def _mark_bridges(axes: Axes, bridge: NDArray[np.bool_]) -> Line2D | None:
    row, column = np.nonzero(bridge)
    if not row.size:
        return None
    (marks,) = axes.plot(
        column,
        row,
        "s",
        markersize=float(np.clip(60 / np.sqrt(row.size), 3, 7)),
        markerfacecolor="white",
        markeredgecolor="black",
        label=f"bridge ({row.size}): no other cell holds this tie",
    )
    return marks


def _words(found: _Found) -> str:
    several = [(name, len(sizes)) for name, sizes in found.groups if len(sizes) > 1]
    if len(found.groups) == 1:
        n = len(found.groups[0][1])
        if n == 0:
            return "nothing was measured"
        return "1 component" if n == 1 else f"{n} components: the ratio between them was not measured"
    if not several:
        return f"1 component in each of {len(found.groups)} groups"
    listed = ", ".join(f"{n} components in {name}" for name, n in several)
    return f"{listed}: the ratio between them was not measured"


def _pale(colour: str) -> tuple[float, ...]:
    from matplotlib.colors import to_rgb

    return tuple(part * (1 - _PALED) + _PALED for part in to_rgb(colour))


def _legend(axes: Axes, found: _Found, words: str, marks: Line2D | None) -> dict[str, Patch]:
    from matplotlib.patches import Patch

    patches: dict[str, Patch] = {}

    def add(name: str, colour: Any) -> None:
        patches[name] = Patch(facecolor=colour, edgecolor="0.4", linewidth=0.5, label=name)

    last = len(COLOURS) - 2
    most = max((len(sizes) for _, sizes in found.groups), default=0)
    for k in range(min(most, last + 1)):
        sizes = [sizes[k] for _, sizes in found.groups if len(sizes) > k]
        name = f"component {k}" + (" and more" if k == last and most > last + 1 else "")
        if len(found.groups) == 1:
            name += f": {sizes[0][0]} units, {sizes[0][1]} exposures"
        add(name, COLOURS[k])
    if ((found.component >= 0) & (found.share < 1)).any():
        add("paler: only some amplifiers", _pale(COLOURS[0]))
    if (found.component == -1).any():
        add(f"{'without weight' if found.solved else 'not usable'} ({int((found.component == -1).sum())})", HOLE)
    handles = [*patches.values(), *([] if marks is None else [marks])]
    legend_above(axes, handles, title=plain(words))
    return patches
