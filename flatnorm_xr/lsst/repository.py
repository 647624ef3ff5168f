"""Make a Butler repository of a simulated night of flats or of measured levels, and put more nights into it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from lsst.daf.butler import (  # type: ignore[attr-defined]
    Butler,
    CollectionType,
    Config,
    DatasetType,
    DatasetTypeNotSupportedError,
    Timespan,
)
from sqlalchemy.exc import SQLAlchemyError

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera, amplifier_names
from flatnorm_xr.lsst.instrument import SimulatedCamera, band_of, register_camera
from flatnorm_xr.lsst.night import (
    NightToPut,
    RegisteredIds,
    as_file_name,
    instrument_name,
    measured_night,
    simulated_night,
)

__all__ = ["Repository", "fill_repository", "make_repository"]

SEED = Path(__file__).parent / "configs" / "seed.yaml"
"""Configuration with which repositories are made, so that they know flatnorm's storage classes."""


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
    days: tuple[int, ...]
    """Days of the exposures, as YYYYMMDD."""
    datasets: int
    """Flats or statistics: detectors in exposures."""
    remarks: tuple[str, ...] = ()
    """What had to stand in for something unknown."""


def make_repository(
    path: str | os.PathLike[str],
    *,
    levels: xr.Dataset | None = None,
    instrument: str | None = None,
    **simulation: Any,
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
    **simulation
        Keywords of `flatnorm_xr.lsst.simulated.simulate_flats`, where there are no ``levels``: ``n_detectors``,
        ``n_amplifiers``, ``n_exposures`` (in each filter), ``filters``, ``pixels``, ``ragged``, ``seed``.

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
    night = _night(levels, instrument=instrument, registered=RegisteredIds(), simulation=simulation)
    with _staged(target) as folder:
        Butler.makeRepo(str(folder), config=Config(str(SEED)))
        with _opened(folder) as butler:
            datasets = _fill(butler, night)
    return _record(Path(path), night, datasets)


def fill_repository(
    path: str | os.PathLike[str],
    *,
    levels: xr.Dataset | None = None,
    instrument: str | None = None,
    new_instrument: bool = False,
    **simulation: Any,
) -> Repository:
    """Put one more night of flats, or of measured levels, into a Butler repository that exists.

    Parameters
    ----------
    path : path
        The repository. All of the night is put into it, or nothing.
    new_instrument : bool
        Whether the instrument may be one that the repository does not have, though it has others. The levels of a
        repository's only instrument need not tell which it is.
    levels, instrument, **simulation
        As for `make_repository`. Detectors and exposures whose labels are names are those of these names in the
        repository; exposures of other names get the next numbers. What the repository has of instrument, detectors
        and exposures already is not changed.

    Returns
    -------
    Repository
        Path, names, and counts of what was put.

    Raises
    ------
    FlatnormError
        No repository, one that does not know the storage classes of this package, detectors that its camera does not
        have or has with other amplifiers, an exposure that is there in another filter or has been put already; and as
        for `make_repository`.
    """
    with _opened(path) as butler:
        if levels is not None:
            instrument = _instrument(butler, levels, instrument, new=new_instrument)
        name = SimulatedCamera.getName() if instrument is None else instrument
        registered = _registered_ids(butler, name)
        night = _night(levels, instrument=instrument, registered=registered, simulation=simulation)
        try:
            datasets = _fill(butler, night)
        except DatasetTypeNotSupportedError as error:
            msg = (
                f"fill_repository: {path} does not know how to store what flatnorm-xr writes ({error}); set "
                "DAF_BUTLER_CONFIG_PATH to the folder that `flatnorm lsst path configs` prints"
            )
            raise FlatnormError(msg) from error
    return _record(Path(path), night, datasets)


def _night(
    levels: xr.Dataset | None, *, instrument: str | None, registered: RegisteredIds, simulation: Mapping[str, Any]
) -> NightToPut:
    """Describe the measured night, or a simulated one."""
    if levels is not None and simulation:
        msg = (
            f"repository: {offenders(simulation)} are of a simulation, and levels are given; leave one or the other out"
        )
        raise FlatnormError(msg)
    if levels is not None:
        return measured_night(levels, instrument=instrument, registered=registered)
    if instrument is not None:
        own = SimulatedCamera.getName()
        msg = f"repository: instrument={instrument!r} is a name for measured levels; a simulation is {own}"
        raise FlatnormError(msg)
    return simulated_night(**simulation)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Butler]:
    try:
        butler = Butler.from_config(str(path), writeable=True)
    except Exception as error:  # a file, damaged YAML or a damaged registry each raise their own
        reason = "" if isinstance(error, FileNotFoundError) else f" ({_first_line(error)})"
        msg = (
            f"fill_repository: {path} is no Butler repository that can be opened{reason}; flatnorm lsst init makes one"
        )
        raise FlatnormError(msg) from error
    try:
        yield butler
    except SQLAlchemyError as error:
        msg = f"repository: the registry of {path} cannot be read or written: {_first_line(error)}"
        raise FlatnormError(msg) from error
    finally:
        butler.close()


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0] or type(error).__name__


def _registered_ids(butler: Butler, instrument: str) -> RegisteredIds:
    """Give what the repository has of an instrument, by name."""
    if instrument not in _instruments(butler):
        return RegisteredIds()
    query = butler.registry.queryDimensionRecords
    return RegisteredIds(
        {record.full_name: record.id for record in query("detector", instrument=instrument)},
        {record.obs_id: record.id for record in query("exposure", instrument=instrument)},
    )


def _instruments(butler: Butler) -> list[str]:
    return sorted(record.name for record in butler.registry.queryDimensionRecords("instrument"))


def _instrument(butler: Butler, levels: xr.Dataset, instrument: str | None, *, new: bool) -> str:
    """Name of the instrument of the levels, which the repository has if it has any and no new one is wanted."""
    known = _instruments(butler)
    if instrument is None and not levels.attrs.get("camera") and len(known) == 1:
        return known[0]
    name = instrument_name(levels, instrument=instrument)
    if known and name not in known and not new:
        msg = (
            f"fill_repository: the repository has no instrument {name}, but {offenders(known)}; pass one of these as "
            "instrument='NAME', or new_instrument=True"
        )
        raise FlatnormError(msg)
    return name


def _record(path: Path, night: NightToPut, datasets: int) -> Repository:
    return Repository(
        path=path,
        instrument=night.camera.name,
        collection=f"{night.camera.name}/defaults",
        dataset_type=night.dataset_type,
        tasks=night.tasks,
        filters=night.filters,
        detectors=len(night.camera),
        amplifiers=sum(len(detector) for detector in night.camera),
        exposures=len(night.exposures),
        days=tuple(sorted({record["day_obs"] for record in night.exposures})),
        datasets=datasets,
        remarks=night.remarks,
    )


def _free_place(path: str | os.PathLike[str]) -> Path:
    """Absolute path of a folder that can be made, or filled."""
    target = Path(os.path.abspath(path))
    odd = sorted(set(re.findall(r"[?#%$]", str(target))))
    if odd:  # the middleware takes names for URLs, and for those of variables of the shell
        msg = f"make_repository: {target} has {offenders(odd)} in its name, which Butler misreads; choose another"
    elif target.is_dir() and any(target.iterdir()):
        first = min(child.name for child in target.iterdir())
        msg = f"make_repository: {path} is there and not empty (it has {first}); choose another name"
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
            _moved(inner, target)
        else:
            for child in sorted(inner.iterdir(), key=lambda child: child.name == "butler.yaml"):
                moved.append(_moved(child, target / child.name))
    except BaseException:
        for child in moved:
            shutil.rmtree(child) if child.is_dir() else child.unlink()
        raise
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _moved(source: Path, target: Path) -> Path:
    """Give a file or folder its name, unless another program has made one of this name meanwhile."""
    try:
        if source.is_dir():
            source.rename(target)
        else:
            os.link(source, target)
            source.unlink()
    except OSError as error:
        msg = f"make_repository: {target} was made by another program meanwhile ({error.strerror}); nothing was put"
        raise FlatnormError(msg) from error
    return target


def _fill(butler: Butler, night: NightToPut) -> int:
    """Check, then register and put; gives the number of datasets."""
    name = night.camera.name
    known = name in _instruments(butler)
    camera_type, dataset_type = _dataset_types(butler, night)
    _check_kinds(butler, night, [camera_type, dataset_type])
    certified = _certified_camera(butler, name, camera_type) if known else None
    if known:
        _check_detectors(butler, night.camera, certified)
        _check_exposures(butler, night)
    bands = {physical_filter: band_of(physical_filter) for physical_filter in night.filters}
    _register_collections(butler, night, [camera_type, dataset_type])
    with butler.transaction():
        if known:
            _register_filters(butler, name, bands)
        else:
            register_camera(
                butler.registry,
                night.camera,
                bands=bands,
                instrument=night.instrument,
                maxima=night.instrument.maxima,  # type: ignore[attr-defined]
                purposes=night.purposes,
            )
        _register_exposures(butler, name, night.exposures)
        if certified is None:
            _put_camera(butler, night.camera, camera_type)
        return _put_datasets(butler, night, dataset_type)


def _dataset_types(butler: Butler, night: NightToPut) -> tuple[DatasetType, DatasetType]:
    """Dataset types of the camera and of the night's data."""
    camera_type = DatasetType(
        "camera", ("instrument",), "FlatnormCamera", universe=butler.dimensions, isCalibration=True
    )
    dimensions = ("instrument", "exposure", "detector")
    dataset_type = DatasetType(night.dataset_type, dimensions, night.storage_class, universe=butler.dimensions)
    return camera_type, dataset_type


def _check_kinds(butler: Butler, night: NightToPut, types: Sequence[DatasetType]) -> None:
    """Refuse a repository whose dataset types or collections of these names are of other kinds."""
    name = night.camera.name
    kinds = {
        night.collection: CollectionType.RUN,
        f"{name}/camera/unbounded": CollectionType.RUN,
        f"{name}/calib": CollectionType.CALIBRATION,
        f"{name}/defaults": CollectionType.CHAINED,
    }
    there = {info.name: info.type for info in butler.collections.query_info("*")}
    unknown = [one.storageClass_name for one in types if not _knows(one)]
    if unknown:
        msg = (
            f"fill_repository: the repository does not know the storage classes {offenders(unknown)}; set "
            "DAF_BUTLER_CONFIG_PATH to the folder that `flatnorm lsst path configs` prints"
        )
        raise FlatnormError(msg)
    odd = [f"collection {one} is {there[one].name}" for one, kind in kinds.items() if there.get(one, kind) is not kind]
    for one in types:
        for found in butler.registry.queryDatasetTypes(one.name):
            if found != one:
                odd.append(f"dataset type {one.name} is a {found.storageClass_name} of {found.dimensions}")
    if odd:
        msg = (
            f"fill_repository: {offenders(odd)}: other programs keep their own there; make a repository for these "
            "levels, or measure within that one by the task cpFlatMeasure"
        )
        raise FlatnormError(msg)


def _knows(dataset_type: DatasetType) -> bool:
    """Whether the storage class is known, which Butler looks up when it is asked for it."""
    try:
        return dataset_type.storageClass is not None
    except KeyError:
        return False


def _certified_camera(butler: Butler, instrument: str, camera_type: DatasetType) -> MosaicCamera | None:
    """Camera that the repository has, if any."""
    calib = f"{instrument}/calib"
    if calib not in butler.collections.query("*") or not butler.registry.queryDatasetTypes(camera_type.name):
        return None
    always = Timespan(None, None)
    found = butler.find_dataset(camera_type, instrument=instrument, collections=calib, timespan=always)
    camera: MosaicCamera | None = None if found is None else butler.get(found)
    return camera


def _check_detectors(butler: Butler, camera: MosaicCamera, certified: MosaicCamera | None) -> None:
    """Refuse detectors that the repository does not have, or has by another name or with other amplifiers."""
    records = butler.registry.queryDimensionRecords("detector", instrument=camera.name)
    names = {record.id: record.full_name for record in records}
    problems = {
        "are not there": [one.name for one in camera if one.id not in names],
        "have other names there": [
            f"{one.id}, {one.name}, is {names[one.id]}" for one in camera if names.get(one.id, one.name) != one.name
        ],
        "have other amplifiers there": [
            one.name
            for one in camera
            if certified is not None
            and one.id in certified
            and amplifier_names(certified, one.id) != amplifier_names(camera, one.id)
        ],
    }
    found = [f"{offenders(which)} {what}" for what, which in problems.items() if which]
    if found:
        msg = (
            f"fill_repository: of the detectors of {camera.name}, {'; '.join(found)}; correct the labels, or make a "
            "repository of their own"
        )
        raise FlatnormError(msg)


def _check_exposures(butler: Butler, night: NightToPut) -> None:
    """Refuse exposures that are there in another filter, or whose data were put already."""
    name = night.camera.name
    there = butler.registry.queryDimensionRecords("exposure", instrument=name)
    filters = {record.id: record.physical_filter for record in there}
    differ = [
        f"{record['id']} in {filters[record['id']]}, not {record['physical_filter']}"
        for record in night.exposures
        if filters.get(record["id"], record["physical_filter"]) != record["physical_filter"]
    ]
    names = {record.id: record.obs_id for record in there}
    numbers = {as_file_name(record.obs_id): record.id for record in there}
    differ += [
        f"{number}, {names[number]}, not {record['obs_id']}"
        for record in night.exposures
        if (number := numbers.get(as_file_name(record["obs_id"]), record["id"])) != record["id"]
    ]
    if differ:
        msg = f"fill_repository: the repository has exposures {offenders(differ)}; are these the same exposures?"
        raise FlatnormError(msg)
    known = {record.name for record in butler.registry.queryDimensionRecords("physical_filter", instrument=name)}
    alike = [
        f"{new} and {old}"
        for new in night.filters
        for old in known
        if new != old and as_file_name(new) == as_file_name(old)
    ]
    if alike:
        msg = f"fill_repository: filters {offenders(alike)} would share their files; rename them"
        raise FlatnormError(msg)
    if night.collection not in butler.collections.query("*") or not butler.registry.queryDatasetTypes(
        night.dataset_type
    ):
        return
    put = butler.registry.queryDatasets(night.dataset_type, collections=night.collection, instrument=name)
    again = sorted({ref.dataId["exposure"] for ref in put} & {record["id"] for record in night.exposures})
    if again:
        msg = (
            f"fill_repository: {night.collection} has {night.dataset_type} of exposures {offenders(again)} "
            "already; leave these out"
        )
        raise FlatnormError(msg)


def _register_filters(butler: Butler, instrument: str, bands: Mapping[str, str]) -> None:
    """Register the filters that the repository does not have."""
    records = butler.registry.queryDimensionRecords("physical_filter", instrument=instrument)
    known = {record.name for record in records}
    new = [{"instrument": instrument, "name": name, "band": band} for name, band in bands.items() if name not in known]
    if new:
        butler.registry.insertDimensionData("physical_filter", *new)


def _register_collections(butler: Butler, night: NightToPut, types: Sequence[DatasetType]) -> None:
    """Register dataset types and collections, which cannot be done within a transaction."""
    name = night.camera.name
    for one in types:
        butler.registry.registerDatasetType(one)
    butler.collections.register(night.collection)
    butler.collections.register(f"{name}/camera/unbounded")
    butler.collections.register(f"{name}/calib", CollectionType.CALIBRATION)
    butler.collections.register(f"{name}/defaults", CollectionType.CHAINED)
    before = butler.collections.get_info(f"{name}/defaults").children
    more = [one for one in (night.collection, f"{name}/calib") if one not in before]
    butler.collections.redefine_chain(f"{name}/defaults", [*before, *more])


def _register_exposures(butler: Butler, instrument: str, exposures: list[dict[str, Any]]) -> None:
    """Register the exposures that the repository does not have, with their days and groups."""
    there = butler.registry.queryDimensionRecords("exposure", instrument=instrument)
    known = {record.id for record in there}
    new = [record for record in exposures if record["id"] not in known]
    insert = butler.registry.insertDimensionData
    days = dict.fromkeys(record["day_obs"] for record in new)
    groups = dict.fromkeys(record["group"] for record in new)
    insert("day_obs", *({"instrument": instrument, "id": day} for day in days), skip_existing=True)
    insert("group", *({"instrument": instrument, "name": group} for group in groups), skip_existing=True)
    insert("exposure", *({"instrument": instrument, **record} for record in new))


def _put_camera(butler: Butler, camera: MosaicCamera, camera_type: DatasetType) -> None:
    """Store the camera, and certify it for all times."""
    ref = butler.put(camera, camera_type, instrument=camera.name, run=f"{camera.name}/camera/unbounded")
    butler.registry.certify(f"{camera.name}/calib", [ref], Timespan(None, None))


def _put_datasets(butler: Butler, night: NightToPut, dataset_type: DatasetType) -> int:
    """Put all, or take away the files of those that were put: Butler leaves them when a later one fails."""
    files: list[str] = []
    try:
        for detector, exposure, value in night.datasets:
            data_id = {"instrument": night.camera.name, "detector": detector, "exposure": exposure}
            ref = butler.put(value, dataset_type, data_id, run=night.collection)
            files.append(butler.getURI(ref).ospath)
    except BaseException as error:
        for file in files:
            Path(file).unlink(missing_ok=True)
        if not isinstance(error, RuntimeError | OSError):
            raise
        cause = _first_line(error.__cause__ or error)
        msg = f"repository: dataset {len(files) + 1} of {len(night.datasets)} cannot be written ({cause}); none was put"
        raise FlatnormError(msg) from error
    return len(night.datasets)
