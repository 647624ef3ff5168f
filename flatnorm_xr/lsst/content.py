"""What goes into a repository: a simulated night of flats, or levels that were measured, as a registry wants them."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from lsst.daf.butler import Timespan
from lsst.pipe.base import Instrument

from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera
from flatnorm_xr.lsst.instrument import SIMULATED_MAXIMA, MeasuredCamera, SimulatedCamera
from flatnorm_xr.model.validate import validate

__all__ = ["Content", "Known", "instrument_name", "measured_content", "simulated_content"]

UNKNOWN_FILTER = "unknown"
"""Filter of an exposure whose filter is not known."""

UNKNOWN_DAY = 19700101
"""Day of an exposure whose night and time are not known; a registry cannot do without one."""

_LONGEST = {"instrument": 32, "detector": 32, "physical_filter": 32, "exposure": 64}
"""Characters that the registry has for a name."""


@dataclass(frozen=True)
class Content:
    """What is to be put into a repository."""

    camera: MosaicCamera
    instrument: type[Instrument]
    purposes: Sequence[str] | None
    maxima: tuple[int, int]
    exposures: list[dict[str, Any]]
    collection: str
    dataset_type: str
    tasks: str
    storage_class: str
    datasets: Iterable[tuple[int, int, Any]]
    """Detector, exposure, and what is stored of them."""
    remarks: tuple[str, ...]

    @property
    def filters(self) -> tuple[str, ...]:
        """Filters, each once."""
        return tuple(dict.fromkeys(record["physical_filter"] for record in self.exposures))


@dataclass(frozen=True)
class Known:
    """What a repository has of the instrument already: numbers of detectors and exposures by their names."""

    detectors: Mapping[str, int] = field(default_factory=dict)
    exposures: Mapping[str, int] = field(default_factory=dict)


def simulated_content(**sizes: Any) -> Content:
    """Simulate a night of flats."""
    from flatnorm_xr.lsst.simulated import simulate_flats

    truth, simulated = simulate_flats(**sizes)
    flats = list(simulated)
    detectors = {flat.detector.id: flat.detector for _, _, flat in flats}
    exposures, remarks = _exposure_records(truth, simulated=True, known={})
    ids = (max(detectors) + 1, max(record["id"] for record in exposures) + 1)
    if ids[0] > SIMULATED_MAXIMA[0] or ids[1] > SIMULATED_MAXIMA[1]:
        most = " x ".join(map(str, SIMULATED_MAXIMA))
        msg = f"repository: the simulated camera has ids below {most} (detectors x exposures); simulate fewer"
        raise FlatnormError(msg)
    name = SimulatedCamera.getName()
    return Content(
        camera=MosaicCamera(name=name, detectors=tuple(detectors[i] for i in sorted(detectors))),
        instrument=SimulatedCamera,
        purposes=None,
        maxima=SIMULATED_MAXIMA,
        exposures=exposures,
        collection=f"{name}/flats",
        dataset_type="postISRCCD",
        tasks="",
        storage_class="FlatnormFlat",
        datasets=flats,
        remarks=remarks,
    )


def measured_content(levels: xr.Dataset, instrument: str | None, known: Known | None = None) -> Content:
    """Describe measured levels as the registry wants them: numbered, named, within what it holds.

    Parameters
    ----------
    levels : Dataset
        Measured levels.
    instrument : str, optional
        Name of the instrument; else the levels' attribute ``camera``.
    known : Known, optional
        What the repository has; names that are not known to it are numbered from the next free number.
    """
    from flatnorm_xr.lsst.statistics import statistics_of

    validate(levels, caller="repository")
    known = known or Known()
    name = instrument_name(levels, instrument)
    exposures, remarks = _exposure_records(levels, simulated=False, known=known.exposures)
    named = levels["detector"].dtype.kind not in "iu"
    numbered = _numbered(_numbered(levels, "detector", known.detectors), "exposure", known.exposures)
    if named:
        numbered = numbered.assign_coords(detector_name=("detector", [str(text) for text in levels["detector"].values]))
    camera = MosaicCamera.of_levels(numbered, name=name)
    _check_names("detector", [detector.name for detector in camera])
    return Content(
        camera=camera,
        instrument=MeasuredCamera,
        purposes=[text or "SCIENCE" for text in _texts(levels, "detector_type", "detector")],
        maxima=(max(detector.id for detector in camera) + 1, max(record["id"] for record in exposures) + 1),
        exposures=exposures,
        collection=f"{name}/levels",
        dataset_type="flatStats",
        tasks=_tasks_of(levels),
        storage_class="FlatnormStatistics",
        datasets=((int(d), int(e), values) for d, e, values in statistics_of(numbered)),
        remarks=remarks,
    )


def _tasks_of(levels: xr.Dataset) -> str:
    """Part of the pipeline that has its statistics: of detectors, of amplifiers, or both."""
    if "amplifier" not in levels["background"].dims:
        return "cpFlatNorm"
    return "normalize" if "detector_background" in levels else "cpFlatNormAmp"


def instrument_name(levels: xr.Dataset, instrument: str | None) -> str:
    """Name of the instrument: that given, else the levels' own; one that collections can have."""
    name = instrument if instrument is not None else str(levels.attrs.get("camera", ""))
    if not name:
        msg = "repository: the levels do not say of which camera they are; pass instrument='NAME'"
        raise FlatnormError(msg)
    if not re.fullmatch(r"\w[\w.+-]*", name, flags=re.ASCII):
        msg = (
            f"repository: the instrument's name {offenders([repr(name)])} becomes the name of collections; "
            "pass one of letters, digits and . _ + -"
        )
        raise FlatnormError(msg)
    _check_names("instrument", [name])
    return name


def _numbered(levels: xr.Dataset, dim: str, known: Mapping[str, int]) -> xr.Dataset:
    """Levels whose labels are integers; names that are not known are numbered from the next free number."""
    labels = levels[dim].values.tolist()
    if levels[dim].dtype.kind in "iu":
        bad = [label for label in labels if not 0 <= label < 2**63 - 1]
        if bad:
            msg = f"repository: {dim} ids must be from 0 to {2**63 - 2}, but are {offenders(bad)}; number them anew"
            raise FlatnormError(msg)
        return levels
    bad = [label for label in labels if not isinstance(label, str)]
    if bad:
        msg = f"repository: {dim} labels must be all integers or all names, but some are {offenders(bad)}"
        raise SchemaError(msg)
    free = itertools.count(max(known.values(), default=-1) + 1)
    return levels.assign_coords({dim: [known[label] if label in known else next(free) for label in labels]})


def _check_names(kind: str, names: Sequence[str]) -> None:
    """Refuse names that a registry cannot hold; all offenders in one error."""
    longest = _LONGEST[kind]
    alike = sorted({name for name in names if names.count(name) > 1})
    problems = {
        f"longer than {longest} characters": [name for name in names if len(name) > longest],
        "empty": [f"number {i}" for i, name in enumerate(names) if not name.strip()],
        "given twice": [name for name in alike if kind != "physical_filter" and name.strip()],
    }
    found = [f"{what}: {offenders(dict.fromkeys(which))}" for what, which in problems.items() if which]
    if found:
        msg = f"repository: names of {kind} that no registry holds, {'; '.join(found)}; rename them"
        raise FlatnormError(msg)


def _texts(ds: xr.Dataset, name: str, dim: str) -> list[str]:
    """Values of a coordinate as text; empty where there is none."""
    if name not in ds.coords:
        return [""] * ds.sizes[dim]
    values = np.broadcast_to(ds[name].values, ds.sizes[dim])
    return ["" if value is None or value != value else str(value).strip() for value in values]


def _exposure_records(
    ds: xr.Dataset, *, simulated: bool, known: Mapping[str, int]
) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Give the records of exposures, without their instrument, and remarks on what is not known of them."""
    labels = [str(label) for label in ds["exposure"].values.tolist()]
    numbers = _numbered(ds, "exposure", known)["exposure"].values.tolist()
    _check_names("exposure", labels)
    texts = {name: _texts(ds, name, "exposure") for name in ("physical_filter", "night", "observation_type", "lamp")}
    filters = [text or UNKNOWN_FILTER for text in texts["physical_filter"]]
    _check_names("physical_filter", filters)
    times, seconds = _times(ds), _seconds(ds)
    days = [_day(night, time) for night, time in zip(texts["night"], times, strict=True)]
    records = [
        {
            "id": numbers[i],
            "obs_id": label,
            "group": label,
            "day_obs": days[i] or UNKNOWN_DAY,
            "physical_filter": filters[i],
            "exposure_time": seconds[i],
            "observation_type": "flat",
            "observation_reason": texts["observation_type"][i][:68] or "unknown",
            "target_name": texts["lamp"][i][:64] or None,
            "seq_num": i + 1,
            "has_simulated": simulated,
            "timespan": _timespan(times[i], seconds[i] or 0.0),
        }
        for i, label in enumerate(labels)
    ]
    stood_in = {
        f"no filter is known of exposures {{}}: it is called {UNKNOWN_FILTER!r}": [
            not text for text in texts["physical_filter"]
        ],
        "no time is known of exposures {}: they have no timespan": [time is None for time in times],
        f"no night is known of exposures {{}}: day_obs {UNKNOWN_DAY} stands in": [day is None for day in days],
    }
    remarks = tuple(
        text.format(offenders(label for label, one in zip(labels, missing, strict=True) if one))
        for text, missing in stood_in.items()
        if any(missing)
    )
    return records, remarks


def _times(ds: xr.Dataset) -> list[np.datetime64 | None]:
    """Middle of each exposure, UTC."""
    if "time" not in ds.coords:
        return [None] * ds.sizes["exposure"]
    values = np.broadcast_to(ds["time"].values, ds.sizes["exposure"]).astype("datetime64[ns]")
    return [None if np.isnat(value) else value for value in values]


def _seconds(ds: xr.Dataset) -> list[float | None]:
    if "exposure_time" not in ds.coords:
        return [None] * ds.sizes["exposure"]
    values = np.broadcast_to(ds["exposure_time"].values, ds.sizes["exposure"]).astype(float)
    return [float(value) if np.isfinite(value) and value >= 0 else None for value in values]


def _day(night: str, time: np.datetime64 | None) -> int | None:
    """Day as YYYYMMDD, of the night's date or of the time."""
    digits = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", night)
    if digits is None and time is not None:
        digits = re.match(r"(\d{4})-(\d{2})-(\d{2})", str(time - np.timedelta64(12, "h")))
    return None if digits is None else int("".join(digits.groups()))


def _timespan(middle: np.datetime64 | None, seconds: float) -> Timespan | None:
    """From the begin to the end of an exposure whose middle is given in UTC; Butler keeps TAI."""
    if middle is None:
        return None
    from astropy.time import Time, TimeDelta

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # years whose leap seconds are not known yet
        time = Time(middle, format="datetime64", scale="utc").tai
        half = TimeDelta(seconds / 2, format="sec", scale="tai")
        return Timespan(time - half, time + half)
