"""The statistics that Rubin's tasks hand on, as levels on labelled arrays, and back."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.flags import WITHOUT_WEIGHT, Flag, has_flag
from flatnorm_xr.lsst.camera import amplifier_names, detector_names
from flatnorm_xr.lsst.errors import MissingInputError
from flatnorm_xr.model.make import make
from flatnorm_xr.model.schema import level_units

__all__ = ["levels_of", "statistics_of"]

Level = Literal["DETECTOR", "AMP"]

_DIMS = ("detector", "exposure")

_OF_EXPOSURES = ("obs_id", "time", "exposure_time", "physical_filter", "night", "observation_type")
"""What the data ids may say of exposures, beside the two dimensions."""


_SEEN_BY_SOLVE = Flag.NON_FINITE | Flag.NON_POSITIVE
"""What a solve finds in the levels themselves, so that they can be handed on as they are."""


class _Cell(NamedTuple):
    level: float
    sigma: float
    counts: float


def levels_of(
    inputMDs: Sequence[Any],
    inputDims: Sequence[Mapping[str, Any]],
    camera: Any,
    *,
    level: Level,
    units: str | None = None,
    needs_sigma: bool = False,
) -> xr.Dataset:
    """Gather the statistics of many detectors and exposures into levels.

    Parameters
    ----------
    inputMDs : sequence
        Statistics of one detector in one exposure each: a dict, a ``TaskMetadata``, a ``PropertyList``, or anything
        with ``get``. Keys ``DETECTOR_MEDIAN``, ``DETECTOR_N`` and ``DETECTOR_SIGMA``, or ``AMP_MEDIAN_i``,
        ``AMP_N_i``, ``AMP_SIGMA_i`` and, if there, ``AMP_NAME_i`` and ``UNITS`` (adu or electron). A level that is NaN
        is "not measured".
    inputDims : sequence of mappings
        Of each, its ``exposure`` and ``detector``; optionally ``time``, ``exposure_time`` (s), ``physical_filter``,
        ``night``, ``observation_type``, ``obs_id``, which become coordinates where every exposure has them.
    camera : mapping
        From detector to its amplifiers; see `flatnorm_xr.lsst.camera.amplifier_names`. Detectors may have different
        numbers of amplifiers; where they have ``getName()``, it becomes the coordinate ``detector_name``. Amplifiers
        are matched by ``AMP_NAME_i``; by position where there are no names.
    level : {"DETECTOR", "AMP"}
        Which statistics to take.
    units : {"adu", "electron"}, optional
        Of the levels; else what the statistics say, and adu if they do not.
    needs_sigma : bool
        Whether ``..._SIGMA`` must be there; else it is taken where it is.

    Returns
    -------
    Dataset
        ``background``, ``counts``, ``sigma`` on (detector[, amplifier], exposure), both sorted; NaN and 0 where there
        is no input.

    Raises
    ------
    MissingInputError
        A KeyError: ``exposure`` or ``detector`` is missing from the dimensions, a statistic from the metadata, a
        detector or an amplifier from the camera.
    FlatnormError
        No input, as many dimensions as metadata are not there, one detector twice in one exposure, a statistic that
        is no number, or statistics in different units.
    """
    if level not in ("DETECTOR", "AMP"):
        msg = f"run: level is {level!r}; it must be DETECTOR or AMP"
        raise FlatnormError(msg)
    if len(inputMDs) != len(inputDims):
        msg = f"run: {len(inputMDs)} inputMDs and {len(inputDims)} inputDims; there must be one of each for each input"
        raise FlatnormError(msg)
    if len(inputMDs) == 0:
        msg = "run: no statistics at all; pass those of at least one detector in one exposure"
        raise FlatnormError(msg)
    cells = [_cell_labels(dims) for dims in inputDims]
    _check_duplicates(cells)
    detectors, exposures = (_sorted(labels, name) for labels, name in zip(zip(*cells, strict=True), _DIMS, strict=True))
    amplifiers = {detector: amplifier_names(camera, detector) for detector in detectors} if level == "AMP" else {}
    columns = list(dict.fromkeys(name for names in amplifiers.values() for name in names))
    if level == "AMP" and not columns:
        msg = f"run: the camera has no amplifiers on any of the {len(detectors)} detectors; set level to DETECTOR"
        raise FlatnormError(msg)
    names = amplifiers if level == "AMP" else None
    values = _gathered(inputMDs, cells, detectors, exposures, names, columns, needs_sigma=needs_sigma)
    coords: dict[str, Any] = {"detector": detectors, "exposure": exposures, **_exposure_coordinates(cells, inputDims)}
    full_names = detector_names(camera, detectors)
    if full_names is not None:
        coords["detector_name"] = full_names
    if level == "AMP":
        coords |= {
            "amplifier": columns,
            "exists": [[name in amplifiers[detector] for name in columns] for detector in detectors],
        }
    measured: dict[str, Any] = {"counts": values.counts}
    if np.isfinite(values.sigma).any():
        measured["sigma"] = values.sigma
    return make(values.level, units=units or _units_of(inputMDs, cells), coords=coords, **measured)


def statistics_of(levels: xr.Dataset) -> Iterator[tuple[int | str, int | str, dict[str, Any]]]:
    """Write measured levels as the statistics that Rubin's tasks hand on.

    Parameters
    ----------
    levels : Dataset
        Of `flatnorm_xr.measure` or `flatnorm_xr.read_table`. The statistics have no flags: a cell whose flags take it
        out of a solve is handed on as NaN with count 0. Without ``counts`` every measured cell counts 1.

    Yields
    ------
    detector, exposure : int or str
        Labels; a pair where nothing was measured is left out.
    statistics : dict
        ``DETECTOR_MEDIAN``, ``DETECTOR_SIGMA``, ``DETECTOR_N``, and with amplifiers ``AMP_NAME_i``,
        ``AMP_MEDIAN_i``, ``AMP_SIGMA_i``, ``AMP_N_i`` of those that exist, and ``UNITS``; plain numbers and strings.
    """
    levels = levels.transpose("detector", "amplifier", "exposure", ..., missing_dims="ignore")
    amplified = "amplifier" in levels["background"].dims
    names = [str(name) for name in levels["amplifier"].values] if amplified else []
    amplifiers = _good_cells(levels, "") if amplified else None
    whole = _good_cells(levels, "detector_" if amplified else "")
    exists = levels["exists"].values if amplified and "exists" in levels.coords else None
    skipped = _never_measured(levels)
    units = level_units(levels["background"].attrs.get("units"))
    for i, detector in enumerate(levels["detector"].values.tolist()):
        there = np.flatnonzero(exists[i]).tolist() if exists is not None else range(len(names))
        for j, exposure in enumerate(levels["exposure"].values.tolist()):
            if skipped[i, j]:
                continue
            statistics: dict[str, Any] = {"UNITS": units}
            if whole is not None:
                statistics |= dict(zip(_keys("DETECTOR"), whole[i, j].tolist(), strict=True))
            if amplifiers is not None:
                for number, a in enumerate(there):
                    statistics[f"AMP_NAME_{number}"] = names[a]
                    statistics |= dict(zip(_keys("AMP", number), amplifiers[i, a, j].tolist(), strict=True))
            yield detector, exposure, statistics


def _keys(part: str, number: int | None = None) -> tuple[str, str, str]:
    """Keys of the level, its sigma and its counts."""
    end = "" if number is None else f"_{number}"
    return f"{part}_MEDIAN{end}", f"{part}_SIGMA{end}", f"{part}_N{end}"


def _good_cells(levels: xr.Dataset, prefix: str) -> NDArray[np.float64] | None:
    """Level, sigma and counts along a new last axis; NaN, NaN and 0 where a flag takes the cell out of a solve."""
    if f"{prefix}background" not in levels:
        return None
    level = levels[f"{prefix}background"].astype(float)
    good = level.notnull()
    if f"{prefix}quality" in levels:
        good &= ~has_flag(levels[f"{prefix}quality"], WITHOUT_WEIGHT & ~_SEEN_BY_SOLVE)
    sigma = levels.get(f"{prefix}sigma", xr.full_like(level, np.nan)).astype(float)
    counts = levels.get(f"{prefix}counts", xr.ones_like(level)).astype(float)
    return np.stack([level.where(good), sigma.where(good), counts.where(good, 0.0)], axis=-1)


def _never_measured(levels: xr.Dataset) -> NDArray[np.bool_]:
    """Where a detector has no file, or no row in the table, for an exposure."""
    nothing = levels["background"].isnull()
    if "quality" in levels:
        nothing &= has_flag(levels["quality"], Flag.NOT_MEASURED | Flag.NO_SUCH_AMPLIFIER)
    if "detector_background" in levels:
        nothing = nothing & levels["detector_background"].isnull()
    rest = [dim for dim in nothing.dims if dim not in _DIMS]
    return np.asarray(nothing.all(rest).transpose(*_DIMS).values)


def _gathered(
    inputMDs: Sequence[Any],
    cells: Sequence[tuple[Any, Any]],
    detectors: Sequence[Any],
    exposures: Sequence[Any],
    amplifiers: Mapping[Any, Sequence[str]] | None,
    columns: Sequence[str],
    *,
    needs_sigma: bool,
) -> _Cell:
    """Level, sigma and counts, each an array of (detector[, amplifier], exposure)."""
    shape = (len(detectors), *(() if amplifiers is None else (len(columns),)), len(exposures))
    values = _Cell(*(np.full(shape, fill) for fill in (np.nan, np.nan, 0.0)))  # type: ignore[arg-type]
    at_detector = {label: i for i, label in enumerate(detectors)}
    at_exposure = {label: j for j, label in enumerate(exposures)}
    at_amplifier = {name: a for a, name in enumerate(columns)}
    for statistics, (detector, exposure) in zip(inputMDs, cells, strict=True):
        where = f"detector {detector} exposure {exposure}"
        for name, cell in _cells(statistics, None if amplifiers is None else amplifiers[detector], where, needs_sigma):
            middle = () if name is None else (at_amplifier[name],)
            place = (at_detector[detector], *middle, at_exposure[exposure])
            for array, value in zip(values, cell, strict=True):
                array[place] = value  # type: ignore[index]
    return values


def _cell_labels(dims: Mapping[str, Any]) -> tuple[Any, Any]:
    """Detector and exposure of one input."""
    missing = [name for name in _DIMS if name not in dims]
    if missing:
        msg = f"run: inputDims lack {offenders(missing)} in {dict(dims)}; each needs an exposure and a detector"
        raise MissingInputError(msg)
    cell = dims["detector"], dims["exposure"]
    if not all(isinstance(label, int | str | np.integer) for label in cell):
        msg = f"run: inputDims have detector {cell[0]!r} and exposure {cell[1]!r}; these are integers or names"
        raise FlatnormError(msg)
    return cell


def _units_of(inputMDs: Sequence[Any], cells: Sequence[tuple[Any, Any]]) -> str | None:
    """Units that the statistics say they are in; None where none does."""
    said: dict[str, str] = {}
    for statistics, (detector, exposure) in zip(inputMDs, cells, strict=True):
        where = f"detector {detector} exposure {exposure}"
        units = _Statistics(statistics, where).value("UNITS")
        said.setdefault(str(units or "adu"), where)
    if len(said) > 1:
        found = offenders(f"{units} ({where})" for units, where in said.items())
        msg = f"run: statistics in several units: {found}; measure all flats in one, or set units"
        raise FlatnormError(msg)
    return next(iter(said))


def _check_duplicates(cells: Sequence[tuple[Hashable, Hashable]]) -> None:
    seen: set[tuple[Hashable, Hashable]] = set()
    twice = [cell for cell in cells if cell in seen or seen.add(cell)]  # type: ignore[func-returns-value]
    if twice:
        named = offenders(f"detector {detector} exposure {exposure}" for detector, exposure in dict.fromkeys(twice))
        msg = f"run: statistics given twice for {named}; pass one input for each detector in each exposure"
        raise FlatnormError(msg)


def _sorted(labels: Sequence[Any], name: str) -> list[Any]:
    try:
        return sorted(set(labels))
    except TypeError as error:
        kinds = sorted({type(label).__name__ for label in labels})
        msg = f"run: {name} ids are a mixture of {offenders(kinds)}; they must be all integers or all strings"
        raise FlatnormError(msg) from error


def _cells(
    statistics: Any, amplifiers: Sequence[str] | None, where: str, needs_sigma: bool
) -> Iterator[tuple[str | None, _Cell]]:
    """Level, sigma and counts of the detector (name None), or of each of its amplifiers."""
    found = _Statistics(statistics, where)
    if amplifiers is None:
        yield None, found.cell(_keys("DETECTOR"), needs_sigma)
        return
    numbers = found.amplifier_numbers(amplifiers)
    for position, name in enumerate(amplifiers):
        yield name, found.cell(_keys("AMP", numbers.get(name, position)), needs_sigma)


class _Statistics:
    """The statistics of one detector in one exposure, whatever holds them."""

    def __init__(self, holder: Any, where: str) -> None:
        self._where = where
        for convert in ("to_dict", "toDict"):
            if not isinstance(holder, Mapping) and hasattr(holder, convert):
                holder = getattr(holder, convert)()
        if not hasattr(holder, "get"):
            kind = type(holder).__name__
            msg = f"run: the statistics of {where} are of type {kind}; pass a dict, TaskMetadata or PropertyList"
            raise FlatnormError(msg)
        self._holder = holder

    def value(self, key: str) -> Any:
        """Give the value, or None where it is missing."""
        try:
            return self._holder.get(key)
        except LookupError:
            return None

    def number(self, key: str) -> float:
        """Give the value of a statistic that must be there."""
        value = self.value(key)
        if value is None:
            other, level = ("AMP_MEDIAN_0", "AMP") if key.startswith("DETECTOR") else ("DETECTOR_MEDIAN", "DETECTOR")
            there = self.value(other) is not None and (key.startswith("DETECTOR") or self.value("AMP_MEDIAN_0") is None)
            advice = f"there is one for level {level}" if there else "was it measured by cpFlatMeasure?"
            msg = f"run: no statistic {key} in the metadata of {self._where}; {advice}"
            raise MissingInputError(msg)
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError) as error:
            msg = f"run: statistic {key} of {self._where} is {value!r}; it must be a number"
            raise FlatnormError(msg) from error

    def cell(self, keys: tuple[str, str, str], needs_sigma: bool) -> _Cell:
        """Level, sigma and counts under these keys."""
        level, sigma, counts = keys
        has_sigma = needs_sigma or self.value(sigma) is not None
        found = _Cell(self.number(level), self.number(sigma) if has_sigma else math.nan, self.number(counts))
        return _Cell(math.nan, math.nan, 0.0) if math.isnan(found.level) else found

    def amplifier_numbers(self, amplifiers: Sequence[str]) -> dict[str, int]:
        """Place of each amplifier in the statistics, by its name; empty where they have no names."""
        measured = self._numbers("AMP_MEDIAN_", len(amplifiers))
        named = {i: str(self.value(f"AMP_NAME_{i}")) for i in self._numbers("AMP_NAME_", len(amplifiers))}
        if not named:
            if set(measured) - set(range(len(amplifiers))):
                msg = (
                    f"run: {self._where} has statistics of {len(measured)} amplifiers without names, and the camera "
                    f"has {len(amplifiers)}; is it the camera of these flats?"
                )
                raise MissingInputError(msg)
            return {}
        numbers = {name: i for i, name in named.items()}
        nameless = [f"AMP_MEDIAN_{i}" for i in measured if i not in named]
        if nameless or len(numbers) < len(named):
            what = f"{offenders(nameless)} without AMP_NAME" if nameless else f"two amplifiers of {offenders(numbers)}"
            msg = f"run: the statistics of {self._where} have {what}; name all amplifiers, each once, or none"
            raise FlatnormError(msg)
        unknown = [f"{name} is not in the camera" for name in numbers if name not in amplifiers]
        lacking = [f"{name} was not measured" for name in amplifiers if name not in numbers]
        if unknown or lacking:
            what = offenders([*unknown, *lacking])
            msg = f"run: amplifiers of {self._where} differ between statistics and camera: {what}"
            raise MissingInputError(msg)
        return numbers

    def _numbers(self, start: str, expected: int) -> list[int]:
        """Numbers that keys of this start have."""
        if isinstance(self._holder, Mapping):
            ends = (str(key).removeprefix(start) for key in self._holder if str(key).startswith(start))
            found = sorted(int(end) for end in ends if end.isdecimal())
        else:
            found = list(range(expected + 1))
        return [i for i in found if self.value(f"{start}{i}") is not None]


def _exposure_coordinates(
    cells: Sequence[tuple[Any, Any]], inputDims: Sequence[Mapping[str, Any]]
) -> dict[str, tuple[str, list[Any]]]:
    """Coordinates that the data ids give every exposure, in the order of the sorted exposures."""
    of = {exposure: dims for (_, exposure), dims in zip(cells, inputDims, strict=True)}
    names = [name for name in _OF_EXPOSURES if all(dims.get(name) is not None for dims in of.values())]
    return {name: ("exposure", [of[exposure][name] for exposure in sorted(of)]) for name in names}
