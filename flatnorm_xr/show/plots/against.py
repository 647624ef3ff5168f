"""Where each exposure stands along x: at its time, in order, or at the value of one of its coordinates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.show.axes import axis_label, name_columns, time_axis
from flatnorm_xr.show.looks import WIDE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Places", "name_places", "place_exposures"]

_SPREAD = 0.3
"""Half the width over which the exposures of one category stand beside each other."""


class Places(NamedTuple):
    """Places of the exposures."""

    kind: Literal["time", "order", "number", "category"]
    x: NDArray[Any]
    """Numbers or times; NaN or NaT where the coordinate is missing."""
    missing: NDArray[np.bool_]
    label: str
    names: NDArray[Any]
    """Of the exposures in order, or of the categories; else empty."""


def place_exposures(solution: xr.Dataset, against: str | None, *, caller: str) -> Places:
    """Find the places of the exposures.

    Parameters
    ----------
    solution : Dataset
    against : str or None
        ``"time"``, ``"order"`` or a coordinate along exposure; None is the time, or the order where one is missing.
    caller : str
        For the message.

    Raises
    ------
    FlatnormError
        There is no such coordinate.
    """
    if against is not None and not isinstance(against, str):
        msg = f"{caller}: against is a {type(against).__name__}; it must be the name of a coordinate of the exposures"
        raise FlatnormError(msg)
    if against is None:
        time = solution.coords.get("time")
        timed = time is not None and time.dims == ("exposure",) and not bool(time.isnull().any())
        against = "time" if timed else "order"
    if against in ("order", "exposure"):
        n = solution.sizes["exposure"]
        return Places("order", np.arange(n), np.zeros(n, dtype=bool), "exposure", solution["exposure"].values)
    along = {str(name): coord for name, coord in solution.coords.items() if coord.dims == ("exposure",)}
    if against not in along:
        choices = offenders(["order", *(name for name in along if name != "exposure")], show=20)
        msg = f"{caller}: against is {against!r}; it must be one of {choices}"
        raise FlatnormError(msg)
    return _at_values(along[against])


def _at_values(coord: xr.DataArray) -> Places:
    values, label = coord.values, axis_label(coord)
    missing = np.asarray(pd.isna(values))
    if values.dtype.kind == "M":
        return Places("time", values, missing, str(coord.attrs.get("long_name", coord.name)), np.array([]))
    # a night may be written as a number, 20250314, whose differences mean nothing
    if values.dtype.kind in "iuf" and coord.name not in ("night", "exposure_group"):
        missing = ~np.isfinite(values)
        return Places("number", np.where(missing, np.nan, values), missing, label, np.array([]))
    texts = np.array([str(value) for value in values])
    missing |= texts == ""
    names = np.array(list(dict.fromkeys(texts[~missing])))
    x = np.full(texts.size, np.nan)
    for k, name in enumerate(names):
        members = np.flatnonzero((texts == name) & ~missing)
        x[members] = k + (_SPREAD * np.linspace(-1, 1, members.size) if members.size > 1 else 0.0)
    return Places("category", x, missing, label, names)


def name_places(axes: Axes, places: Places) -> None:
    """Write along x what the places are."""
    if places.kind == "time":
        time_axis(axes, places.label)
        return
    if places.kind == "number":
        known = places.x[~places.missing]
        if known.size and known.min() > 0 and known.max() > WIDE * known.min():
            axes.set_xscale("log")
        axes.set_xlabel(places.label)
        return
    if not places.names.size:
        axes.set_xticks([])
        axes.set_xlabel(places.label)
        return
    name_columns(axes, places.names)
    axes.set_xlim(-0.6, places.names.size - 0.4)
    axes.set_xlabel(places.label)
    if places.kind == "category":
        axes.set_xlabel(f"{places.label}, exposures of each in their order")
        for k in range(1, places.names.size, 2):
            axes.axvspan(k - 0.5, k + 0.5, color="0.94", linewidth=0, zorder=-1)
