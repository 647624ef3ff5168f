"""What a repository has of an instrument, whether a night fits into it, and how it is put there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lsst.daf.butler import Butler, CollectionType, DatasetType, Timespan  # type: ignore[attr-defined]

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera, amplifier_names
from flatnorm_xr.lsst.instrument import band_of, register_camera
from flatnorm_xr.lsst.night import NightToPut, RegisteredIds, as_file_name

__all__ = ["first_line", "instruments", "put_night", "registered_ids"]


def instruments(butler: Butler) -> list[str]:
    """Give the names of the instruments that a repository has."""
    return sorted(record.name for record in butler.registry.queryDimensionRecords("instrument"))


def registered_ids(butler: Butler, instrument: str) -> RegisteredIds:
    """Give what the repository has of an instrument, by name."""
    if instrument not in instruments(butler):
        return RegisteredIds()
    query = butler.registry.queryDimensionRecords
    return RegisteredIds(
        {record.full_name: record.id for record in query("detector", instrument=instrument)},
        {record.obs_id: record.id for record in query("exposure", instrument=instrument)},
    )


def put_night(butler: Butler, night: NightToPut) -> int:
    """Put a night into a repository: check all of it, then register and put.

    Parameters
    ----------
    butler : Butler
        That can write.
    night : NightToPut
        What is to be put.

    Returns
    -------
    int
        Number of datasets put.

    Raises
    ------
    FlatnormError
        The repository has something that the night contradicts, or cannot be written; nothing was put.
    """
    name = night.camera.name
    known = name in instruments(butler)
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
        cause = first_line(error.__cause__ or error)
        msg = f"repository: dataset {len(files) + 1} of {len(night.datasets)} cannot be written ({cause}); none was put"
        raise FlatnormError(msg) from error
    return len(night.datasets)


def first_line(error: BaseException) -> str:
    """Give the first line of what an error says."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
