"""Which exposures are solved together."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["Groups", "exposure_labels", "group_exposures", "join_groups", "split_groups"]


@dataclass(frozen=True)
class Groups:
    """Groups of exposures: the coordinate they come from, their labels, and the group number of each exposure."""

    by: str | None
    labels: NDArray[Any]
    number: NDArray[np.intp]

    def members(self) -> Iterator[tuple[str, NDArray[np.intp] | slice]]:
        """For each group, the words that name it in a message and where its exposures are."""
        if self.by is None:
            yield "", slice(None)
            return
        for k, label in enumerate(self.labels):
            yield f" in {self.by} {offenders([label])}", np.flatnonzero(self.number == k)


def group_exposures(coords: Mapping[Hashable, xr.DataArray], by: str | None) -> Groups:
    """Group exposures by one of their coordinates.

    Parameters
    ----------
    coords : mapping of DataArray
        Coordinates by name, exposure among them.
    by : str or None
        Coordinate along exposure; its distinct values, sorted, are the groups. None: one group.

    Raises
    ------
    FlatnormError
        No such coordinate, missing values in it, or a group that holds more than one ``physical_filter``.
    """
    if by is None:
        groups = Groups(None, np.array([""]), np.zeros(coords["exposure"].size, dtype=np.intp))
    else:
        if by != "group" and "group" in coords:
            msg = "solve: the dataset has a coordinate named group, the name by= needs for its own; rename it"
            raise FlatnormError(msg)
        groups = Groups(by, *exposure_labels(coords, by, "by"))
    if "physical_filter" in coords and coords["physical_filter"].dims == ("exposure",):
        _check_filters(coords["physical_filter"].values.astype(str), groups)
    return groups


def exposure_labels(
    coords: Mapping[Hashable, xr.DataArray], name: str, argument: str
) -> tuple[NDArray[Any], NDArray[np.intp]]:
    """Distinct values of a coordinate along exposure, sorted, and the number of the value of each exposure.

    Parameters
    ----------
    coords : mapping of DataArray
        Coordinates by name, exposure among them.
    name : str
        Of the coordinate.
    argument : str
        Keyword of solve that named it, for the message.

    Raises
    ------
    FlatnormError
        No such coordinate, or missing values in it.
    """
    along = [str(key) for key, coord in coords.items() if coord.dims == ("exposure",)]
    if name not in along:
        msg = f"solve: {argument} is {name!r}; it must be a coordinate along exposure: {offenders(along, show=20)}"
        raise FlatnormError(msg)
    values = coords[name].values
    missing = pd.isna(values) | (values.astype(str) == "")
    if missing.any():
        msg = (
            f"solve: {name} is missing for exposures {offenders(coords['exposure'].values[missing])}; "
            f"select the others with ds.isel, or pass another coordinate as {argument}"
        )
        raise FlatnormError(msg)
    try:
        labels, number = np.unique(values, return_inverse=True)
    except TypeError as error:
        msg = f"solve: {name} mixes kinds of values ({offenders(set(values))}), which have no order; use strings"
        raise FlatnormError(msg) from error
    return labels, number.astype(np.intp)


def _check_filters(filters: NDArray[np.str_], groups: Groups) -> None:
    for within, chosen in groups.members():
        names, numbers = np.unique(filters[chosen], return_counts=True)
        if names.size > 1:
            pairs = zip(names, numbers, strict=True)
            found = offenders([f"{name or 'none'}: {n}" for name, n in pairs])
            msg = (
                f"solve: the exposures{within} were taken in {names.size} filters ({found}), and G differs between "
                f"filters; pass by='physical_filter', or select one filter first"
            )
            raise FlatnormError(msg)


def split_groups(solution: xr.Dataset) -> list[tuple[Any, xr.Dataset]]:
    """Cut a solution into the groups of exposures that were solved by themselves.

    Parameters
    ----------
    solution : Dataset
        What `flatnorm_xr.solve` returns.

    Returns
    -------
    list of (label, Dataset)
        Without the dim ``group``, figures of the fit (degrees of freedom and so on) as attributes; the label is None
        where all exposures were solved together. Groups that hold none of the exposures are left out.
    """
    if "group" not in solution.dims:
        return [(None, solution)]
    parts = []
    for k, label in enumerate(solution["group"].values):
        chosen = np.flatnonzero(solution["exposure_group"].values == solution["group"].values[k])
        if chosen.size == 0:
            continue
        part = solution.isel(group=k, exposure=chosen)
        figures = {str(name): array.item() for name, array in part.data_vars.items() if array.ndim == 0}
        part = part.drop_vars([*figures, "group"])
        part.attrs = {**solution.attrs, **figures}
        parts.append((label, part))
    return parts


def join_groups(arrays: list[xr.DataArray], solution: xr.Dataset) -> xr.DataArray:
    """Put arrays with a dim exposure, one for each of `split_groups`, back into the order of the solution."""
    if len(arrays) == 1:
        return arrays[0]
    joined: xr.DataArray = xr.concat(arrays, "exposure", join="exact", coords="minimal", compat="override")
    return joined.sel(exposure=solution["exposure"].values)
