"""G of many runs as one dataset, read from the places where it lies in their files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.catalogue import Series
from flatnorm_xr.archive.contents import read_block, read_blocks
from flatnorm_xr.decompose.confidence import covariance_factors
from flatnorm_xr.errors import FlatnormError, offenders, warn
from flatnorm_xr.model.schema import attributes_of

__all__ = ["Labels", "UnitLabels", "of_detectors", "read_history", "union", "values_in_place"]

Labels = tuple[Sequence[str | int], Sequence[str] | None]
"""Of the detectors, and of the amplifiers where units are amplifiers."""

Array = np.ndarray[Any, np.dtype[np.float64]]

_TAKEN = frozenset(
    (
        *("run", "time", "detector", "amplifier", "rank", "change"),
        *("G", "model", "gauge_offset", "in_gauge", "drift", "scatter", "noise_factor"),
    )
)
"""Names of what stands in a history, or in what is made of it."""


class UnitLabels:
    """The units of several runs together, and where those of each run are among them.

    Parameters
    ----------
    several : mapping of int to Labels
        By the number under which runs refer to them.

    Raises
    ------
    FlatnormError
        Some runs are of amplifiers and others of whole detectors.
    """

    def __init__(self, several: Mapping[int, Labels]) -> None:
        if len({amplifiers is None for _, amplifiers in several.values()}) > 1:
            msg = (
                "archive: some runs are of amplifiers and others of whole detectors; choose those of one kind with "
                "since= and until=, or solve with the same level"
            )
            raise FlatnormError(msg)
        self.detectors = union(detectors for detectors, _ in several.values())
        amplifiers = [names for _, names in several.values() if names is not None]
        self.amplifiers = union(amplifiers) if amplifiers else None
        self._places = {number: self._placed(labels) for number, labels in several.items()}

    @property
    def dims(self) -> tuple[str, ...]:
        """Of the units."""
        return ("detector",) if self.amplifiers is None else ("detector", "amplifier")

    @property
    def shape(self) -> tuple[int, ...]:
        """Numbers of labels along `dims`."""
        return (len(self.detectors),) if self.amplifiers is None else (len(self.detectors), len(self.amplifiers))

    @property
    def coords(self) -> dict[str, Any]:
        """Labels, as coordinates."""
        named = {"detector": np.asarray(self.detectors)}
        return named if self.amplifiers is None else named | {"amplifier": np.asarray(self.amplifiers)}

    def complete(self, number: int) -> bool:
        """Whether a run has all units, in order."""
        return all(places is None for places in self._places[number].values())

    def place(self, values: Any, number: int, *, into: Any, dims: Sequence[str] | None = None) -> None:
        """Put the values of a run where its units are.

        Parameters
        ----------
        values : array
        number : int
            Of the run's labels.
        into : array
            Of all units; what the run has not stays as it is.
        dims : sequence of str, optional
            Of the values; those of the units by default. Along other dims the values come first.
        """
        places = self._places[number]
        named = self.dims if dims is None else dims
        if values.shape == into.shape and all(places.get(dim) is None for dim in named):
            into[...] = values
            return
        where = [places.get(dim) or range(size) for dim, size in zip(named, values.shape, strict=True)]
        into[np.ix_(*where)] = values

    def _placed(self, labels: Labels) -> dict[str, list[int] | None]:
        """Where along each dim the labels are; None: they are all of them, in order."""
        placed: dict[str, list[int] | None] = {}
        for dim, own, all_of in zip(("detector", "amplifier"), labels, (self.detectors, self.amplifiers), strict=True):
            if own is not None and all_of is not None:
                where = {label: k for k, label in enumerate(all_of)}
                placed[dim] = None if [*own] == all_of else [where[label] for label in own]
        return placed


def union(several: Any) -> list[Any]:
    """Sort the labels of all, each once.

    Raises
    ------
    FlatnormError
        Some are numbers and others text: the same detector would be two.
    """
    found = list(dict.fromkeys(label for labels in several for label in labels))
    if len({type(label) for label in found}) > 1:
        msg = (
            "archive: some runs label their detectors with numbers and others with text, so that one detector would be "
            "two; choose runs of one kind with since= and until="
        )
        raise FlatnormError(msg)
    return sorted(found)


def read_history(
    series: Sequence[Series],
    labels: Mapping[int, Labels],
    *,
    path: Callable[[str], Path],
    covariances: bool = False,
) -> xr.Dataset:
    """Read G and its errors of many runs.

    Parameters
    ----------
    series : sequence of Series
        In order of time; those without a time are left out, with a warning.
    labels : mapping of int to Labels
    path : callable
        Of the file of a run.
    covariances : bool
        Find the covariance of each run's ln G from its weights; every file is then read whole.

    Returns
    -------
    Dataset
        ``G``, ``G_stderr`` (run, detector[, amplifier]), NaN where there is none; ``time`` and the means of each run
        along ``run``. With covariances also ``G_own_variance`` and ``G_shared`` (..., rank), whose product with itself,
        the former on the diagonal, is the covariance of ln G.
    """
    timeless = [one.run[:12] for one in series if one.time is None]
    if timeless:
        warn(f"trend: the runs {offenders(timeless)} have no time and are left out")
    known = [one for one in series if one.time is not None]
    if not known:
        msg = "trend: no run has a time; without times nothing can be followed"
        raise FlatnormError(msg)
    units = UnitLabels({one.labels: labels[one.labels] for one in known})
    arrays = {name: np.empty((len(known), *units.shape)) for name in ("G", "G_stderr")}
    for k, one in enumerate(known):
        _read_responses(one, units, {name: array[k] for name, array in arrays.items()}, path)
    history = xr.Dataset(
        {name: (("run", *units.dims), values, attributes_of(name)) for name, values in arrays.items()},
        coords={
            "run": ("run", [one.run for one in known], {"long_name": "run"}),
            "time": ("run", np.array([one.time for one in known], "datetime64[us]").astype("datetime64[ns]")),
            **{dim: (dim, values, attributes_of(dim)) for dim, values in units.coords.items()},
            **_covariates(known, path),
        },
    )
    history = history.assign_coords(_of_units(known, units, path))
    history["time"].attrs = {"long_name": "mean time of the exposures, UTC"}
    if covariances:
        history = history.assign(_factors(known, units, path))
    return history if np.isfinite(arrays["G_stderr"]).any() else history.drop_vars("G_stderr")


def of_detectors(history: xr.Dataset) -> xr.Dataset:
    """Give the scale of each detector in place of G of its amplifiers.

    Parameters
    ----------
    history : Dataset
        Of `read_history`, with amplifiers.

    Returns
    -------
    Dataset
        ``G`` (run, detector), the geometric mean of G over the amplifiers of the detector that were measured in most
        runs, so that one that dies does not move it; NaN in a run that lacks one of them. ``G_stderr`` with
        amplifiers taken for independent.

    Raises
    ------
    FlatnormError
        The runs are of whole detectors.
    """
    if "amplifier" not in history["G"].dims:
        msg = "trend: detector_scale needs runs of amplifiers; these are of whole detectors: follow 'G'"
        raise FlatnormError(msg)
    logarithm = xr.ufuncs.log(history["G"].where(history["G"] > 0))
    runs = logarithm.notnull().sum("run")
    member = (runs == runs.max("amplifier")) & (runs > 0)
    number = member.sum("amplifier")
    known = (logarithm.notnull() | ~member).all("amplifier") & (number > 0)
    scale = xr.ufuncs.exp(logarithm.where(member).sum("amplifier") / number.where(number > 0)).where(known)
    of_amplifiers = [name for name, array in history.variables.items() if "amplifier" in array.dims]
    found = history.drop_vars(of_amplifiers).assign(G=scale)
    found["G"].attrs = attributes_of("detector_scale")
    if "G_stderr" in history:
        variance = ((history["G_stderr"] / history["G"]) ** 2).where(member)
        # without an error of every member there is none of the mean
        total = variance.sum("amplifier", skipna=True).where((variance.notnull() | ~member).all("amplifier"))
        found["G_stderr"] = scale * total**0.5 / number
        found["G_stderr"].attrs = attributes_of("detector_scale_stderr")
    return found


def values_in_place(
    one: Series, name: str, *, dims: Sequence[str], path: Callable[[str], Path], caller: str
) -> Array | None:
    """Read a variable of a run by its place in the file, without opening that as NetCDF.

    Parameters
    ----------
    one : Series
    name : str
    dims : sequence of str
        Order in which the values are given; of groups, the one that holds the filter.
    path : callable
        Of the file of a run.
    caller : str
        Name of the function that errors name.

    Returns
    -------
    array or None
        None for a variable that does not lie in the file as it is in memory.
    """
    block = one.blocks.get(name)
    if block is None:
        return None
    values, own = read_block(path(one.run), block), list(block.dims)
    if "group" in own:
        values = np.take(values, one.only_group(caller), axis=own.index("group"))
        own.remove("group")
    return values.transpose([own.index(dim) for dim in dims])


def _read_responses(one: Series, units: UnitLabels, wanted: Mapping[str, Array], path: Callable[[str], Path]) -> None:
    """Read what is wanted of one run; NaN where it has nothing."""
    whole = {one.blocks[name]: values for name, values in wanted.items() if name in one.blocks}
    if len(whole) == len(wanted) and units.complete(one.labels) and all(b.dims == units.dims for b in whole):
        read_blocks(path(one.run), whole)
        return
    for name, into in wanted.items():
        into.fill(np.nan)
        values = values_in_place(one, name, dims=units.dims, path=path, caller="trend")
        if values is None and "G" not in one.blocks:
            array = netcdf.open(path(one.run)).get(name)
            if array is not None and "group" in array.dims:
                array = array.isel(group=one.only_group("trend"))
            values = None if array is None else array.transpose(*units.dims).values
        if values is not None:
            units.place(values, one.labels, into=into)


def _factors(series: Sequence[Series], units: UnitLabels, path: Callable[[str], Path]) -> dict[str, Any]:
    """Give the covariances of ln G of all runs, as a diagonal and factors."""
    rank = max(one.all_exposures for one in series)
    own = np.full((len(series), *units.shape), np.nan)
    shared = np.zeros((len(series), *units.shape, rank))
    for k, one in enumerate(series):
        label = None if one.group_names is None else one.only_group("trend")
        of_run, factors = covariance_factors(netcdf.open(path(one.run)), group=label)
        units.place(of_run.transpose(*units.dims).values, one.labels, into=own[k])
        values = factors.transpose(*units.dims, "rank").values
        units.place(values, one.labels, into=shared[k, ..., : values.shape[-1]], dims=(*units.dims, "rank"))
    return {
        "G_own_variance": (
            ("run", *units.dims),
            own,
            {"long_name": "variance of ln G of the unit alone", "units": "1"},
        ),
        "G_shared": (("run", *units.dims, "rank"), shared, {"long_name": "factors of what ln G share", "units": "1"}),
    }


def _is_taken(name: str) -> bool:
    """Whether what follows a history gives something of its own this name."""
    return name in _TAKEN or name.startswith(("G_", "change_", "correlation_", "drift_", "response_"))


def _of_units(series: Sequence[Series], units: UnitLabels, path: Callable[[str], Path]) -> dict[str, Any]:
    """Give what is known of the units, such as their places, as the latest run that has them knows it."""
    found: dict[str, Any] = {}
    latest = {one.labels: one for one in series}
    for one in sorted(latest.values(), key=lambda one: one.time or 0):
        with netcdf.open_lazily(path(one.run)) as ds:
            for name, array in ds.coords.items():
                dims = tuple(map(str, array.dims))
                kind = array.dtype.kind
                if not dims or name in dims or not set(dims) <= set(units.dims) or kind not in "biufOUT":
                    continue
                if _is_taken(str(name)):
                    continue
                values = array.values.astype(bool if kind == "b" else float if kind in "iuf" else object)
                shape = tuple(n for dim, n in zip(units.dims, units.shape, strict=True) if dim in dims)
                empty = np.full(shape, False if kind == "b" else np.nan if kind in "iuf" else "", values.dtype)
                if name not in found or found[name][0] != dims:
                    found[str(name)] = (dims, empty, dict(array.attrs))
                units.place(values, one.labels, into=found[str(name)][1], dims=dims)
    return {name: (dims, _as_text(values), attrs) for name, (dims, values, attrs) in found.items()}


def _as_text(values: Any) -> Any:
    return values.astype(str) if values.dtype == object else values


def _covariates(series: Sequence[Series], path: Callable[[str], Path]) -> dict[str, Any]:
    """Give what exposures tell as numbers, the mean of each run, in the units and words of the latest run."""
    names = sorted({name for one in series for name in one.means if not _is_taken(name)})
    with netcdf.open_lazily(path(series[-1].run)) as ds:
        told = {name: ds[name].attrs for name in names if name in ds.variables}
    return {
        name: (
            "run",
            np.array([one.means.get(name, np.nan) for one in series], dtype=float),
            {key: value for key, value in told.get(name, {}).items() if key in ("units", "long_name")},
        )
        for name in names
    }
