"""Make a Butler repository of a simulated night of flats, or of levels that were measured."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from lsst.daf.butler import Butler, CollectionType, Config, DatasetType, Timespan  # type: ignore[attr-defined]
from lsst.pipe.base import Instrument

from flatnorm_xr.errors import FlatnormError, SchemaError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera
from flatnorm_xr.lsst.instrument import SIMULATED_MAXIMA, MeasuredCamera, SimulatedCamera, band_of, register_camera
from flatnorm_xr.model.validate import validate

__all__ = ["Repository", "make_repository"]

SEED = Path(__file__).parent / "configs" / "seed.yaml"
"""Configuration with which repositories are made, so that they know flatnorm's storage classes."""

UNKNOWN_FILTER = "unknown"
"""Filter of an exposure whose filter is not known."""

UNKNOWN_DAY = 19700101
"""Day of an exposure whose night and time are not known; a registry cannot do without one."""

_LONGEST = {"instrument": 32, "detector": 32, "physical_filter": 32, "exposure": 64}
"""Characters that the registry has for a name."""


@dataclass(frozen=True)
class Repository:
    """What `make_repository` made."""

    path: Path
    instrument: str
    collection: str
    """Where tasks find their inputs."""
    dataset_type: str
    """``postISRCCD``, flats to be measured; or ``flatStats``, statistics of levels that are measured."""
    tasks: str
    """Part of the pipeline that can be run: a label or subset of pipelines/flatnorm.yaml, empty for all of it."""
    filters: tuple[str, ...]
    detectors: int
    amplifiers: int
    """Of all detectors together."""
    exposures: int
    datasets: int
    """Flats or statistics: detectors in exposures."""
    remarks: tuple[str, ...] = ()
    """What had to stand in for something unknown."""


@dataclass(frozen=True)
class _Content:
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
    remarks: tuple[str, ...]


def make_repository(
    path: str | os.PathLike[str],
    *,
    levels: xr.Dataset | None = None,
    instrument: str | None = None,
    n_detectors: int = 4,
    n_amplifiers: int = 4,
    n_exposures: int = 5,
    filters: Sequence[str] = ("g", "r"),
    pixels: int = 32,
    ragged: bool = False,
    seed: int = 0,
) -> Repository:
    """Make a Butler repository with an instrument, its camera and a night of flats, ready for ``pipetask run``.

    Parameters
    ----------
    path : path
        Folder to make; an empty one may be there. Nothing is left behind if anything fails.
    levels : Dataset, optional
        Measured levels, (detector[, amplifier], exposure); they become datasets ``flatStats``. Without, a night is
        simulated and its flats become datasets ``postISRCCD``. Detectors and exposures whose labels are names are
        numbered from 0, and keep their names as the detectors' ``full_name`` and the exposures' ``obs_id``. An
        exposure without ``physical_filter`` is in the filter ``unknown``; one without ``time`` has no timespan; one
        without ``night`` is of the day on which its time less 12 hours lies, UTC; without either, of 19700101.
    instrument : str, optional
        Name of the instrument of ``levels``; else their attribute ``camera``.
    n_detectors, n_amplifiers, n_exposures, filters, pixels, ragged, seed
        Of the simulation; see `flatnorm_xr.lsst.simulated.simulate_flats`. Exposures are counted in each filter.

    Returns
    -------
    Repository
        Path, names and counts. Collections: RUN ``NAME/flats`` or ``NAME/levels``, RUN ``NAME/camera/unbounded``,
        CALIBRATION ``NAME/calib`` where the camera is certified for all times, CHAINED ``NAME/defaults`` of all.

    Raises
    ------
    FlatnormError
        The folder is not empty, is a file, has no parent or cannot be written; the instrument has no name, or one
        that a collection cannot have; detectors or exposures are missing, alike, named with too many characters, or
        numbered below 0 or above what a registry holds; the sizes of the simulation are none.
    """
    target = _free_place(path)
    if levels is None:
        if instrument is not None:
            own = SimulatedCamera.getName()
            msg = f"make_repository: instrument={instrument!r} is a name for measured levels; a simulation is {own}"
            raise FlatnormError(msg)
        content = _simulated(
            n_detectors=n_detectors,
            n_amplifiers=n_amplifiers,
            n_exposures=n_exposures,
            filters=tuple(filters),
            pixels=pixels,
            ragged=ragged,
            seed=seed,
        )
    else:
        content = _measured(levels, instrument)
    with _staged(target) as folder:
        datasets = _fill(folder, content)
    return _described(Path(path), content, datasets)


def _described(path: Path, content: _Content, datasets: int) -> Repository:
    return Repository(
        path=path,
        instrument=content.camera.name,
        collection=f"{content.camera.name}/defaults",
        dataset_type=content.dataset_type,
        tasks=content.tasks,
        filters=_filters(content),
        detectors=len(content.camera),
        amplifiers=sum(len(detector) for detector in content.camera),
        exposures=len(content.exposures),
        datasets=datasets,
        remarks=content.remarks,
    )


def _free_place(path: str | os.PathLike[str]) -> Path:
    """Absolute path of a folder that can be made, or filled."""
    target = Path(os.path.abspath(path))
    odd = sorted(set(re.findall(r"[?#%$]", str(target))))
    if odd:  # the middleware takes names for URLs, and for those of variables of the shell
        msg = f"make_repository: {target} has {offenders(odd)} in its name, which Butler misreads; choose another"
    elif target.is_dir() and any(target.iterdir()):
        msg = f"make_repository: {path} is there and not empty; choose another name"
    elif os.path.lexists(target) and not target.is_dir():
        msg = f"make_repository: {path} is a file, not a folder; choose another name"
    elif not target.parent.is_dir():
        msg = f"make_repository: the folder {Path(path).parent} does not exist; make it first"
    else:
        return target
    raise FlatnormError(msg)


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """Folder to fill; it takes the target's place once that has worked, and goes away if not.

    Its name has no dot: Butler cannot make a repository where the last name has one, but opens it.
    """
    existed = target.is_dir()
    home = target if existed else target.parent
    try:
        outer = Path(tempfile.mkdtemp(prefix=".flatnorm-", dir=home))
    except OSError as error:
        msg = f"make_repository: cannot write to {home} ({error.strerror}); choose another folder"
        raise FlatnormError(msg) from error
    moved: list[Path] = []
    try:
        inner = outer / "repository"
        inner.mkdir()
        yield inner
        if not existed:
            inner.rename(target)
        else:
            for child in sorted(inner.iterdir(), key=lambda child: child.name == "butler.yaml"):
                moved.append(child.rename(target / child.name))
    except BaseException:
        for child in moved:
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        raise
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _fill(folder: Path, content: _Content) -> int:
    """Make the repository in an empty folder; gives the number of datasets."""
    Butler.makeRepo(str(folder), config=Config(str(SEED)))
    butler = Butler.from_config(str(folder), writeable=True)
    name = content.camera.name
    try:
        bands = {physical_filter: band_of(physical_filter) for physical_filter in _filters(content)}
        register_camera(
            butler.registry,
            content.camera,
            bands=bands,
            instrument=content.instrument,
            maxima=content.maxima,
            purposes=content.purposes,
        )
        _register_exposures(butler, name, content.exposures)
        camera_type, dataset_type = _register_dataset_types(butler, content)
        with butler.transaction():
            _put_camera(butler, content.camera, camera_type)
            number = _put_datasets(butler, content, dataset_type)
        butler.collections.register(f"{name}/defaults", CollectionType.CHAINED)
        butler.collections.redefine_chain(f"{name}/defaults", [content.collection, f"{name}/calib"])
    finally:
        butler.close()
    return number


def _register_dataset_types(butler: Butler, content: _Content) -> tuple[DatasetType, DatasetType]:
    """Register dataset types and collections, which cannot be done within a transaction."""
    camera_type = DatasetType(
        "camera", ("instrument",), "FlatnormCamera", universe=butler.dimensions, isCalibration=True
    )
    dimensions = ("instrument", "exposure", "detector")
    dataset_type = DatasetType(content.dataset_type, dimensions, content.storage_class, universe=butler.dimensions)
    for one in (camera_type, dataset_type):
        butler.registry.registerDatasetType(one)
    butler.collections.register(content.collection)
    butler.collections.register(f"{content.camera.name}/camera/unbounded")
    butler.collections.register(f"{content.camera.name}/calib", CollectionType.CALIBRATION)
    return camera_type, dataset_type


def _put_camera(butler: Butler, camera: MosaicCamera, dataset_type: DatasetType) -> None:
    """Store the camera, and certify it for all times."""
    ref = butler.put(camera, dataset_type, instrument=camera.name, run=f"{camera.name}/camera/unbounded")
    butler.registry.certify(f"{camera.name}/calib", [ref], Timespan(None, None))


def _put_datasets(butler: Butler, content: _Content, dataset_type: DatasetType) -> int:
    number = 0
    for detector, exposure, value in content.datasets:
        data_id = {"instrument": content.camera.name, "detector": detector, "exposure": exposure}
        butler.put(value, dataset_type, data_id, run=content.collection)
        number += 1
    if not number:
        msg = "make_repository: no detector was measured in any exposure; there is nothing to put into a repository"
        raise FlatnormError(msg)
    return number


def _register_exposures(butler: Butler, instrument: str, exposures: list[dict[str, Any]]) -> None:
    days = dict.fromkeys(record["day_obs"] for record in exposures)
    groups = dict.fromkeys(record["group"] for record in exposures)
    insert = butler.registry.insertDimensionData
    insert("day_obs", *({"instrument": instrument, "id": day} for day in days))
    insert("group", *({"instrument": instrument, "name": group} for group in groups))
    insert("exposure", *({"instrument": instrument, **record} for record in exposures))


def _filters(content: _Content) -> tuple[str, ...]:
    return tuple(dict.fromkeys(record["physical_filter"] for record in content.exposures))


def _simulated(**sizes: Any) -> _Content:
    """Simulate a night of flats."""
    from flatnorm_xr.lsst.simulated import simulate_flats

    truth, simulated = simulate_flats(**sizes)
    flats = list(simulated)
    detectors = {flat.detector.id: flat.detector for _, _, flat in flats}
    exposures, remarks = _exposure_records(truth, simulated=True)
    ids = (max(detectors) + 1, max(record["id"] for record in exposures) + 1)
    if ids[0] > SIMULATED_MAXIMA[0] or ids[1] > SIMULATED_MAXIMA[1]:
        most = " x ".join(map(str, SIMULATED_MAXIMA))
        msg = f"make_repository: the simulated camera has ids below {most} (detectors x exposures); simulate fewer"
        raise FlatnormError(msg)
    name = SimulatedCamera.getName()
    return _Content(
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


def _measured(levels: xr.Dataset, instrument: str | None) -> _Content:
    """Describe measured levels as the registry wants them: numbered, named, within what it holds."""
    from flatnorm_xr.lsst.statistics import statistics_of

    validate(levels, caller="make_repository")
    name = _instrument_name(levels, instrument)
    camera = MosaicCamera.of_levels(levels, name=name)
    _check_names("detector", [detector.name for detector in camera])
    exposures, remarks = _exposure_records(levels, simulated=False)
    numbered = _numbered(_numbered(levels, "detector"), "exposure")
    numbered = numbered.assign_coords(detector_name=("detector", [detector.name for detector in camera]))
    return _Content(
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


def _instrument_name(levels: xr.Dataset, instrument: str | None) -> str:
    name = instrument if instrument is not None else str(levels.attrs.get("camera", ""))
    if not name:
        msg = "make_repository: the levels do not say of which camera they are; pass instrument='NAME'"
        raise FlatnormError(msg)
    if not re.fullmatch(r"\w[\w.+-]*", name, flags=re.ASCII):
        msg = (
            f"make_repository: the instrument's name {offenders([repr(name)])} becomes the name of collections; "
            "pass one of letters, digits and . _ + -"
        )
        raise FlatnormError(msg)
    _check_names("instrument", [name])
    return name


def _numbered(levels: xr.Dataset, dim: str) -> xr.Dataset:
    """Levels whose labels are integers; names are numbered from 0."""
    labels = levels[dim].values.tolist()
    if levels[dim].dtype.kind in "iu":
        bad = [label for label in labels if not 0 <= label < 2**63 - 1]
        if bad:
            msg = (
                f"make_repository: {dim} ids must be from 0 to {2**63 - 2}, but are {offenders(bad)}; number them anew"
            )
            raise FlatnormError(msg)
        return levels
    bad = [label for label in labels if not isinstance(label, str)]
    if bad:
        msg = f"make_repository: {dim} labels must be all integers or all names, but some are {offenders(bad)}"
        raise SchemaError(msg)
    return levels.assign_coords({dim: np.arange(len(labels))})


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
        msg = f"make_repository: names of {kind} that no registry holds, {'; '.join(found)}; rename them"
        raise FlatnormError(msg)


def _texts(ds: xr.Dataset, name: str, dim: str) -> list[str]:
    """Values of a coordinate as text; empty where there is none."""
    if name not in ds.coords:
        return [""] * ds.sizes[dim]
    values = np.broadcast_to(ds[name].values, ds.sizes[dim])
    return ["" if value is None or value != value else str(value).strip() for value in values]


def _exposure_records(ds: xr.Dataset, *, simulated: bool) -> tuple[list[dict[str, Any]], tuple[str, ...]]:
    """Give the records of exposures, without their instrument, and remarks on what is not known of them."""
    labels = [str(label) for label in ds["exposure"].values.tolist()]
    numbers = _numbered(ds, "exposure")["exposure"].values.tolist()
    _check_names("exposure", labels)
    known = {name: _texts(ds, name, "exposure") for name in ("physical_filter", "night", "observation_type", "lamp")}
    filters = [text or UNKNOWN_FILTER for text in known["physical_filter"]]
    _check_names("physical_filter", filters)
    times, seconds = _times(ds), _seconds(ds)
    days = [_day(night, time) for night, time in zip(known["night"], times, strict=True)]
    records = [
        {
            "id": numbers[i],
            "obs_id": label,
            "group": label,
            "day_obs": days[i] or UNKNOWN_DAY,
            "physical_filter": filters[i],
            "exposure_time": seconds[i],
            "observation_type": "flat",
            "observation_reason": known["observation_type"][i][:68] or "unknown",
            "target_name": known["lamp"][i][:64] or None,
            "seq_num": i + 1,
            "has_simulated": simulated,
            "timespan": _timespan(times[i], seconds[i] or 0.0),
        }
        for i, label in enumerate(labels)
    ]
    stood_in = {
        f"no filter is known of exposures {{}}: it is called {UNKNOWN_FILTER!r}": [
            not text for text in known["physical_filter"]
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
