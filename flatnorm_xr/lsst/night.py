"""What goes into a repository: a simulated night of flats, or levels that were measured, as a registry wants them."""

from __future__ import annotations

import itertools
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import xarray as xr
from lsst.daf.butler import Timespan
from lsst.pipe.base import Instrument

from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera
from flatnorm_xr.lsst.instrument import MeasuredCamera, SimulatedCamera
from flatnorm_xr.model.validate import validate

__all__ = ["NightToPut", "RegisteredIds", "as_file_name", "instrument_name", "measured_night", "simulated_night"]

UNKNOWN_FILTER = "unknown"
"""Filter of an exposure whose filter is not known."""

UNKNOWN_DAY = 19700101
"""Day of an exposure whose night and time are not known; a registry cannot do without one."""

_LONGEST = {"instrument": 32, "detector": 32, "physical_filter": 32, "exposure": 64}
"""Bytes that the registry, or the name of a file, has for a name."""

_FIRST_TIME, _LAST_TIME = np.datetime64("1970-01-02", "ns"), np.datetime64("2099-12-30", "ns")
"""Times that a registry can hold."""

_LONGEST_TIME = 1e6
"""Exposure times above this many seconds are not believed."""


@dataclass(frozen=True)
class NightToPut:
    """What is to be put into a repository."""

    camera: MosaicCamera
    """Its name is the instrument's."""
    instrument: type[Instrument]
    """Class that the middleware makes when it meets the instrument."""
    purposes: Sequence[str] | None
    """What each detector is for, as SCIENCE or GUIDE; None: all are for science."""
    exposures: list[dict[str, Any]]
    """Records of the registry's dimension exposure, without their instrument."""
    collection: str
    """RUN collection of the datasets."""
    dataset_type: str
    storage_class: str
    tasks: str
    """Part of the pipeline that has its inputs; see `flatnorm_xr.lsst.repository.Repository`."""
    datasets: Sequence[tuple[int, int, Any]]
    """Detector, exposure, and what is stored of them."""
    remarks: tuple[str, ...]
    """What had to stand in for something unknown."""

    @property
    def filters(self) -> tuple[str, ...]:
        """Filters, each once."""
        return tuple(dict.fromkeys(record["physical_filter"] for record in self.exposures))


@dataclass(frozen=True)
class RegisteredIds:
    """What a repository has of the instrument already: numbers of detectors and exposures by their names."""

    detectors: Mapping[str, int] = field(default_factory=dict)
    exposures: Mapping[str, int] = field(default_factory=dict)


def simulated_night(**simulation: Any) -> NightToPut:
    """Simulate a night of flats.

    Parameters
    ----------
    **simulation
        Keywords of `flatnorm_xr.lsst.simulated.simulate_flats`.

    Raises
    ------
    FlatnormError
        More detectors or exposures than the simulated camera has ids; and as the simulation does.
    """
    from flatnorm_xr.lsst.simulated import simulate_flats

    truth, simulated = simulate_flats(**simulation)
    flats = list(simulated)
    detectors = {flat.detector.id: flat.detector for _, _, flat in flats}
    exposures, remarks = _exposure_records(truth, simulated=True, known={})
    most_detectors, most_exposures = SimulatedCamera.maxima
    if max(detectors) >= most_detectors or max(record["id"] for record in exposures) >= most_exposures:
        msg = f"repository: a simulation has ids below {most_detectors} x {most_exposures}; simulate fewer"
        raise FlatnormError(msg)
    name = SimulatedCamera.getName()
    return NightToPut(
        camera=MosaicCamera(name=name, detectors=tuple(detectors[i] for i in sorted(detectors))),
        instrument=SimulatedCamera,
        purposes=None,
        exposures=exposures,
        collection=f"{name}/flats",
        dataset_type="postISRCCD",
        tasks="",
        storage_class="FlatnormFlat",
        datasets=flats,
        remarks=remarks,
    )


def measured_night(
    levels: xr.Dataset, *, instrument: str | None = None, registered: RegisteredIds | None = None
) -> NightToPut:
    """Describe measured levels as the registry wants them: numbered, named, within what it holds.

    Parameters
    ----------
    levels : Dataset
        Measured levels.
    instrument : str, optional
        Name of the instrument; else the levels' attribute ``camera``.
    registered : RegisteredIds, optional
        What the repository has; names that are not known to it are numbered from the next free number.

    Raises
    ------
    SchemaError
        The levels depart from the data model, or their labels are neither all integers nor all names.
    FlatnormError
        The instrument has no name; names or numbers that no registry holds.
    """
    from flatnorm_xr.lsst.statistics import statistics_of

    validate(levels, caller="repository")
    known = registered or RegisteredIds()
    name = instrument_name(levels, instrument=instrument)
    exposures, remarks = _exposure_records(levels, simulated=False, known=known.exposures)
    named = levels["detector"].dtype.kind not in "iu"
    numbered = _numbered(_numbered(levels, "detector", known.detectors), "exposure", known.exposures)
    if named:
        numbered = numbered.assign_coords(detector_name=("detector", [str(text) for text in levels["detector"].values]))
    camera = MosaicCamera.of_levels(numbered, name=name)
    _check_names("detector", [detector.name for detector in camera])
    _check_amplifiers(camera)
    datasets = [(int(d), int(e), values) for d, e, values in statistics_of(numbered)]
    if not datasets:
        msg = "repository: no detector was measured in any exposure; there is nothing to put into a repository"
        raise FlatnormError(msg)
    return NightToPut(
        camera=camera,
        instrument=MeasuredCamera,
        purposes=[text[:32] or "SCIENCE" for text in _texts(levels, "detector_type", "detector")],
        exposures=exposures,
        collection=f"{name}/levels",
        dataset_type="flatStats",
        tasks=_tasks_of(levels),
        storage_class="FlatnormStatistics",
        datasets=datasets,
        remarks=remarks,
    )


def _tasks_of(levels: xr.Dataset) -> str:
    """Part of the pipeline that has its statistics: of detectors, of amplifiers, or both."""
    if "amplifier" not in levels["background"].dims:
        return "cpFlatNorm"
    return "normalize" if "detector_background" in levels else "cpFlatNormAmp"


def instrument_name(levels: xr.Dataset, *, instrument: str | None) -> str:
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
    distinct = list(dict.fromkeys(names)) if kind == "physical_filter" else names
    in_files = Counter(as_file_name(name) for name in distinct)
    problems = {
        f"have over {longest} bytes": [name for name in names if len(name.encode(errors="replace")) > longest],
        "are empty": [f"number {i}" for i, name in enumerate(names) if not name.strip()],
        "have characters that cannot be printed": [name for name in names if not name.isprintable()],
        "would share their files": [name for name in distinct if in_files[as_file_name(name)] > 1 and name.strip()],
    }
    found = [f"{what} ({offenders(dict.fromkeys(which))})" for what, which in problems.items() if which]
    if found:
        msg = f"repository: some names of {kind}s {', and some '.join(found)}, which no registry can hold; rename them"
        raise FlatnormError(msg)


def _check_amplifiers(camera: MosaicCamera) -> None:
    """Refuse names of amplifiers that no file can hold."""
    odd = dict.fromkeys(one.name for detector in camera for one in detector if not one.name.isprintable())
    if odd:
        msg = f"repository: amplifiers {offenders(odd)} have characters that cannot be printed; rename them"
        raise FlatnormError(msg)


def as_file_name(name: str) -> str:
    """Give what Butler's names of files may leave of a name; names of which the same is left share their files."""
    return re.sub(r"[^A-Za-z0-9-]", "_", name)


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
    days = [_day(text, time) for text, time in zip(texts["night"], times, strict=True)]
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
            "has_simulated": simulated,
            "timespan": _timespan(times[i], seconds[i] or 0.0),
        }
        for i, label in enumerate(labels)
    ]
    stood_in = {
        f"no filter is known of exposures {{}}: it is called {UNKNOWN_FILTER!r}{_hint(ds, 'filter')}": [
            not text for text in texts["physical_filter"]
        ],
        "no time that a registry can hold is known of exposures {}: they have no timespan": [
            time is None for time in times
        ],
        f"no night is known of exposures {{}}: day_obs {UNKNOWN_DAY} stands in": [day is None for day in days],
    }
    remarks = tuple(
        text.format(offenders(label for label, one in zip(labels, missing, strict=True) if one))
        for text, missing in stood_in.items()
        if any(missing)
    )
    return records, remarks


def _hint(ds: xr.Dataset, name: str) -> str:
    """Say what a coordinate of this name would have to be called."""
    return f" (the levels have {name}; call it physical_{name} for it to count)" if name in ds.coords else ""


def _times(ds: xr.Dataset) -> list[np.datetime64 | None]:
    """Middle of each exposure, UTC."""
    if "time" not in ds.coords:
        return [None] * ds.sizes["exposure"]
    values = np.broadcast_to(ds["time"].values, ds.sizes["exposure"]).astype("datetime64[ns]")
    return [value if _FIRST_TIME < value < _LAST_TIME else None for value in values]  # NaT is not


def _seconds(ds: xr.Dataset) -> list[float | None]:
    if "exposure_time" not in ds.coords:
        return [None] * ds.sizes["exposure"]
    values = np.broadcast_to(ds["exposure_time"].values, ds.sizes["exposure"]).astype(float)
    return [float(value) if 0 <= value < _LONGEST_TIME else None for value in values]


def _day(night: str, time: np.datetime64 | None) -> int | None:
    """Day as YYYYMMDD, of the night's date or of the time."""
    digits = re.match(r"(\d{4})-?(\d{2})-?(\d{2})", night)
    if digits is None and time is not None:
        digits = re.match(r"(\d{4})-(\d{2})-(\d{2})", str(time - np.timedelta64(12, "h")))
    try:
        return None if digits is None else int(date(*map(int, digits.groups())).strftime("%Y%m%d"))
    except ValueError:  # no such day
        return None


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
