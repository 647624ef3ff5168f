"""Scalars measured in each file, put together into one dataset of the data model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan, nan
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from flatnorm_xr.camera.geometry import Amplifier, Detector, Exposure, FileDescription
from flatnorm_xr.flags import Flag
from flatnorm_xr.model.make import make

__all__ = ["FileLevels", "Level", "assemble"]

Label = int | str

_PLACE = ("x", "y", "width", "height")


@dataclass(frozen=True)
class Level:
    """Level of one amplifier, or of the whole detector (``amplifier`` None), in one file."""

    detector: Label
    amplifier: str | None
    level: float = nan
    sigma: float = nan
    counts: int = 0
    quality: int = 0
    edge_ratio: float = nan
    edge_error: float = nan


@dataclass(frozen=True)
class FileLevels:
    """Everything measured in one file; ``faults`` say why some of it could not be read."""

    file: FileDescription
    levels: tuple[Level, ...]
    provenance: Mapping[str, Any]
    faults: tuple[str, ...] = ()


def assemble(files: Sequence[FileLevels], *, attrs: Mapping[str, Any], edges: bool = False) -> xr.Dataset:
    """Put the levels of files of one camera on their cells.

    Parameters
    ----------
    files : sequence of FileLevels
        At least one; no (detector, exposure) twice.
    attrs : mapping
        Global attributes.
    edges : bool
        Whether amplifiers were compared at their borders.

    Returns
    -------
    Dataset
        Cells without a file are NaN, NOT_MEASURED; those that a damaged file should have had UNREADABLE. The level
        of a detector is PARTIAL where some of its amplifiers gave none.
    """
    detectors = _sorted({d.id: None for one in files for d in one.file.detectors})
    exposures = _sorted_exposures([one.file.exposure for one in files])
    amplifiers = list(dict.fromkeys(x.amplifier for one in files for x in one.levels if x.amplifier is not None))
    whole = _fill(files, detectors, exposures, None)
    coords = {
        **_detector_coordinates(files, detectors, amplifiers),
        **_exposure_coordinates(files, exposures),
        "detector": _labels(detectors),
        "exposure": _labels(exposures),
        "path": _paths(files, detectors, exposures),
    }
    units = files[0].file.profile.units
    if not amplifiers:
        return make(whole.pop("background"), units=units, coords=coords, attrs=attrs, **whole)
    cells = _fill(files, detectors, exposures, amplifiers)
    exists = _existing(files, detectors, amplifiers)
    coords["amplifier"] = np.array(amplifiers, dtype=str)
    if not exists.all():
        coords["exists"] = exists
        cells["quality"][~exists] = Flag.NO_SUCH_AMPLIFIER
    silent = exists[:, :, np.newaxis] & (cells["counts"] == 0)
    partial = silent.any(axis=1) & (cells["counts"] > 0).any(axis=1) & (whole["counts"] > 0)
    whole["quality"][partial] |= np.uint32(Flag.PARTIAL)
    cells.update({f"detector_{name}": values for name, values in whole.items()})
    if edges:
        cells.update(_edges(files, detectors, exposures, amplifiers))
    return make(cells.pop("background"), units=units, coords=coords, attrs=attrs, **cells)


def _sorted(labels: Iterable[Label]) -> list[Label]:
    """Sort numbers as numbers, and texts as texts; a mixture as texts."""
    labels = list(labels)
    numbers = [label for label in labels if isinstance(label, int)]
    return [*sorted(numbers)] if len(numbers) == len(labels) else sorted(labels, key=str)


def _sorted_exposures(exposures: Sequence[Exposure]) -> list[Label]:
    times: dict[Label, Any] = {}
    for exposure in exposures:
        if times.get(exposure.id) is None:
            times[exposure.id] = exposure.time
    by_id = _sorted(times)
    if any(time is None for time in times.values()):
        return by_id
    return sorted(by_id, key=lambda label: times[label])


def _labels(labels: Sequence[Label]) -> npt.NDArray[Any]:
    whole = all(isinstance(label, int) for label in labels)
    return np.array(labels, dtype=np.int64) if whole else np.array([str(label) for label in labels])


def _fill(
    files: Sequence[FileLevels],
    detectors: Sequence[Label],
    exposures: Sequence[Label],
    amplifiers: Sequence[str] | None,
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of background, sigma, counts and quality of the amplifiers, or of whole detectors (None)."""
    row, column = _index(detectors), _index(exposures)
    layer: dict[str | None, int] = {None: 0} if amplifiers is None else dict(_index(amplifiers))
    shape = len(detectors), len(layer), len(exposures)
    arrays: dict[str, npt.NDArray[Any]] = {
        "background": np.full(shape, np.nan),
        "sigma": np.full(shape, np.nan),
        "counts": np.zeros(shape, dtype=np.int64),
        "quality": np.full(shape, Flag.NOT_MEASURED, dtype=np.uint32),
    }
    for one in files:
        if one.file.damage:
            _mark_damage(arrays["quality"], one.file, row, column[one.file.exposure.id])
    for one in files:
        for x in one.levels:
            if x.amplifier in layer:
                cell = row[x.detector], layer[x.amplifier], column[one.file.exposure.id]
                for name, value in zip(arrays, (x.level, x.sigma, x.counts, x.quality), strict=True):
                    arrays[name][cell] = value
    return {name: array[:, 0] if amplifiers is None else array for name, array in arrays.items()}


def _edges(
    files: Sequence[FileLevels], detectors: Sequence[Label], exposures: Sequence[Label], amplifiers: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Arrays of the ratios of amplifiers at their borders; NaN where there is none."""
    row, layer, column = _index(detectors), _index(amplifiers), _index(exposures)
    ratio, error = np.full((2, len(detectors), len(amplifiers), len(exposures)), np.nan)
    for one in files:
        for x in one.levels:
            if x.amplifier is not None:
                cell = row[x.detector], layer[x.amplifier], column[one.file.exposure.id]
                ratio[cell], error[cell] = x.edge_ratio, x.edge_ratio * x.edge_error
    return {"edge_ratio": ratio, "edge_ratio_stderr": error}


def _mark_damage(quality: npt.NDArray[Any], file: FileDescription, row: Mapping[Label, int], column: int) -> None:
    """Flag what a file that ends early should have held: the rest of its detector, or of the exposure."""
    if len(file.detectors) == 1 and file.profile.layout == "hdu-is-amplifier":
        quality[row[file.detectors[0].id], :, column] = Flag.UNREADABLE
    else:
        quality[:, :, column] = Flag.UNREADABLE


def _index(labels: Sequence[Any]) -> dict[Any, int]:
    return {label: i for i, label in enumerate(labels)}


def _existing(
    files: Sequence[FileLevels], detectors: Sequence[Label], amplifiers: Sequence[str]
) -> npt.NDArray[np.bool_]:
    row, layer = _index(detectors), _index(amplifiers)
    exists = np.zeros((len(detectors), len(amplifiers)), dtype=np.bool_)
    for one in files:
        for x in one.levels:
            if x.amplifier is not None:
                exists[row[x.detector], layer[x.amplifier]] = True
    return exists


def _detector_coordinates(
    files: Sequence[FileLevels], detectors: Sequence[Label], amplifiers: Sequence[str]
) -> dict[str, npt.NDArray[Any]]:
    """Coordinates along detector (and amplifier): the first file that knows a value gives it."""
    row, layer = _index(detectors), _index(amplifiers or [""])
    texts = {name: [""] * len(detectors) for name in ("detector_name", "detector_type")}
    places = {name: np.full(len(detectors), np.nan) for name in _PLACE}
    of_units = {name: np.full((len(detectors), len(layer)), np.nan) for name in ("gain", "read_noise", *_PLACE)}
    # a damaged file may lack amplifiers, and what is left of its detector lies elsewhere
    for one in sorted(files, key=lambda one: bool(one.file.damage)):
        for detector in one.file.detectors:
            i = row[detector.id]
            texts["detector_name"][i] = texts["detector_name"][i] or detector.name
            texts["detector_type"][i] = texts["detector_type"][i] or detector.type
            _first_known(places, i, detector)
            for amplifier in detector.amplifiers:
                _first_known(of_units, (i, layer[amplifier.name]), amplifier)
    known = {name: np.array(values) for name, values in texts.items() if any(values)}
    known |= {name: values for name, values in places.items() if np.isfinite(values).any()}
    for name, values in of_units.items():
        if np.isfinite(values).any() and (amplifiers or name not in _PLACE):
            known[f"amplifier_{name}" if name in _PLACE else name] = values if amplifiers else values[:, 0]
    return known


def _first_known(
    arrays: Mapping[str, npt.NDArray[Any]], where: int | tuple[int, int], record: Detector | Amplifier
) -> None:
    for name, values in arrays.items():
        if isnan(values[where]):
            values[where] = getattr(record, name)


_OF_EXPOSURE: dict[str, tuple[Callable[[Exposure], Any], Any]] = {
    "time": (lambda exposure: exposure.time, np.datetime64("NaT", "ns")),
    "exposure_time": (lambda exposure: None if isnan(exposure.exposure_time) else exposure.exposure_time, np.nan),
    "physical_filter": (lambda exposure: exposure.physical_filter or None, ""),
    "observation_type": (lambda exposure: exposure.observation_type or None, ""),
    "lamp": (lambda exposure: exposure.lamp or None, ""),
    "night": (lambda exposure: exposure.night or None, ""),
}


def _exposure_coordinates(files: Sequence[FileLevels], exposures: Sequence[Label]) -> dict[str, npt.NDArray[Any]]:
    """Coordinates along exposure that at least one file knows; the first file of an exposure that knows decides."""
    coords = {}
    for name, (get, unknown) in _OF_EXPOSURE.items():
        values: dict[Label, Any] = dict.fromkeys(exposures)
        for one in files:
            label = one.file.exposure.id
            values[label] = get(one.file.exposure) if values[label] is None else values[label]
        promised = name == "time" and files[0].file.profile.exposure.time is not None
        if promised or any(value is not None for value in values.values()):
            coords[name] = np.array([unknown if value is None else value for value in values.values()])
    return coords


def _paths(files: Sequence[FileLevels], detectors: Sequence[Label], exposures: Sequence[Label]) -> npt.NDArray[Any]:
    row, column = _index(detectors), _index(exposures)
    paths = np.full((len(detectors), len(exposures)), "", dtype=object)
    for one in files:
        for detector in one.file.detectors:
            paths[row[detector.id], column[one.file.exposure.id]] = os.path.abspath(one.file.path)
    return paths.astype(str)
