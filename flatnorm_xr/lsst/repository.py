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

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.lsst.camera import MosaicCamera, amplifier_names
from flatnorm_xr.lsst.content import Content, Known, instrument_name, measured_content, simulated_content
from flatnorm_xr.lsst.instrument import SimulatedCamera, band_of, register_camera

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
    datasets: int
    """Flats or statistics: detectors in exposures."""
    remarks: tuple[str, ...] = ()
    """What had to stand in for something unknown."""


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
    simulation = _sizes(n_detectors, n_amplifiers, n_exposures, filters, pixels, ragged, seed)
    content = _content(levels, instrument, Known(), simulation)
    with _staged(target) as folder:
        Butler.makeRepo(str(folder), config=Config(str(SEED)))
        with _opened(folder) as butler:
            datasets = _fill(butler, content)
    return _described(Path(path), content, datasets)


def fill_repository(
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
    """Put one more night of flats, or of measured levels, into a Butler repository that exists.

    Parameters
    ----------
    path : path
        The repository. All of the night is put into it, or nothing.
    levels, instrument, n_detectors, n_amplifiers, n_exposures, filters, pixels, ragged, seed
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
    simulation = _sizes(n_detectors, n_amplifiers, n_exposures, filters, pixels, ragged, seed)
    with _opened(path) as butler:
        name = SimulatedCamera.getName() if levels is None else instrument_name(levels, instrument)
        content = _content(levels, instrument, _known(butler, name), simulation)
        try:
            datasets = _fill(butler, content)
        except (DatasetTypeNotSupportedError, KeyError) as error:
            if "Flatnorm" not in str(error):
                raise
            msg = (
                f"fill_repository: {path} does not know the storage classes of flatnorm-xr; set DAF_BUTLER_CONFIG_PATH "
                "to the folder that `flatnorm lsst path configs` prints"
            )
            raise FlatnormError(msg) from error
    return _described(Path(path), content, datasets)


def _sizes(*values: Any) -> dict[str, Any]:
    """Arguments of a simulation by their names."""
    names = ("n_detectors", "n_amplifiers", "n_exposures", "filters", "pixels", "ragged", "seed")
    return dict(zip(names, values, strict=True)) | {"filters": tuple(values[3])}


def _content(levels: xr.Dataset | None, instrument: str | None, known: Known, simulation: dict[str, Any]) -> Content:
    if levels is not None:
        return measured_content(levels, instrument, known)
    if instrument is not None:
        own = SimulatedCamera.getName()
        msg = f"repository: instrument={instrument!r} is a name for measured levels; a simulation is {own}"
        raise FlatnormError(msg)
    return simulated_content(**simulation)


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Butler]:
    try:
        butler = Butler.from_config(str(path), writeable=True)
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError, PermissionError) as error:
        msg = f"fill_repository: {path} is no Butler repository that can be opened; make one with make_repository"
        raise FlatnormError(msg) from error
    try:
        yield butler
    finally:
        butler.close()


def _known(butler: Butler, instrument: str) -> Known:
    """Give what the repository has of an instrument, by name."""
    if not _has_instrument(butler, instrument):
        return Known()
    query = butler.registry.queryDimensionRecords
    return Known(
        {record.full_name: record.id for record in query("detector", instrument=instrument)},
        {record.obs_id: record.id for record in query("exposure", instrument=instrument)},
    )


def _has_instrument(butler: Butler, instrument: str) -> bool:
    return any(record.name == instrument for record in butler.registry.queryDimensionRecords("instrument"))


def _described(path: Path, content: Content, datasets: int) -> Repository:
    return Repository(
        path=path,
        instrument=content.camera.name,
        collection=f"{content.camera.name}/defaults",
        dataset_type=content.dataset_type,
        tasks=content.tasks,
        filters=content.filters,
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


def _fill(butler: Butler, content: Content) -> int:
    """Register and put; gives the number of datasets."""
    name = content.camera.name
    bands = {physical_filter: band_of(physical_filter) for physical_filter in content.filters}
    if _has_instrument(butler, name):
        _check_detectors(butler, content.camera)
        _register_filters(butler, name, bands)
    else:
        register_camera(
            butler.registry,
            content.camera,
            bands=bands,
            instrument=content.instrument,
            maxima=content.maxima,
            purposes=content.purposes,
        )
    camera_type, dataset_type = _register_dataset_types(butler, content)
    with butler.transaction():
        _register_exposures(butler, name, content.exposures)
        _put_camera(butler, content.camera, camera_type)
        number = _put_datasets(butler, content, dataset_type)
    chain = f"{name}/defaults"
    if butler.collections.register(chain, CollectionType.CHAINED):
        butler.collections.redefine_chain(chain, [])
    before = butler.collections.get_info(chain).children
    more = [one for one in (content.collection, f"{name}/calib") if one not in before]
    butler.collections.redefine_chain(chain, [*before, *more])
    return number


def _check_detectors(butler: Butler, camera: MosaicCamera) -> None:
    """Refuse detectors that the repository does not have."""
    records = butler.registry.queryDimensionRecords("detector", instrument=camera.name)
    known = {record.id for record in records}
    strange = [detector.name for detector in camera if detector.id not in known]
    if strange:
        msg = (
            f"fill_repository: the repository's {camera.name} has no detector {offenders(strange)}; "
            "make a repository of their own, or correct the labels"
        )
        raise FlatnormError(msg)


def _register_filters(butler: Butler, instrument: str, bands: Mapping[str, str]) -> None:
    """Register the filters that the repository does not have."""
    records = butler.registry.queryDimensionRecords("physical_filter", instrument=instrument)
    known = {record.name for record in records}
    new = [{"instrument": instrument, "name": name, "band": band} for name, band in bands.items() if name not in known]
    if new:
        butler.registry.insertDimensionData("physical_filter", *new)


def _register_dataset_types(butler: Butler, content: Content) -> tuple[DatasetType, DatasetType]:
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
    """Store the camera, and certify it for all times; one that is there must have the detectors and amplifiers."""
    calib = f"{camera.name}/calib"
    there = butler.find_dataset(dataset_type, instrument=camera.name, collections=calib, timespan=Timespan(None, None))
    if there is None:
        ref = butler.put(camera, dataset_type, instrument=camera.name, run=f"{camera.name}/camera/unbounded")
        butler.registry.certify(calib, [ref], Timespan(None, None))
        return
    certified = butler.get(there)
    other = [
        detector.name
        for detector in camera
        if detector.id not in certified
        or amplifier_names(certified, detector.id) != amplifier_names(camera, detector.id)
    ]
    if other:
        msg = (
            f"fill_repository: detectors {offenders(other)} are not in the repository's camera, or have other "
            "amplifiers there; make a repository of their own"
        )
        raise FlatnormError(msg)


def _put_datasets(butler: Butler, content: Content, dataset_type: DatasetType) -> int:
    ids = [record["id"] for record in content.exposures]
    there = butler.registry.queryDatasets(dataset_type, collections=content.collection, instrument=content.camera.name)
    again = sorted({ref.dataId["exposure"] for ref in there} & set(ids))
    if again:
        msg = (
            f"fill_repository: {content.collection} has {content.dataset_type} of exposures {offenders(again)} "
            "already; leave these out"
        )
        raise FlatnormError(msg)
    number = 0
    for detector, exposure, value in content.datasets:
        data_id = {"instrument": content.camera.name, "detector": detector, "exposure": exposure}
        butler.put(value, dataset_type, data_id, run=content.collection)
        number += 1
    if not number:
        msg = "repository: no detector was measured in any exposure; there is nothing to put into a repository"
        raise FlatnormError(msg)
    return number


def _register_exposures(butler: Butler, instrument: str, exposures: list[dict[str, Any]]) -> None:
    """Register exposures with their days and groups; those that are there must be in the same filter."""
    there = butler.registry.queryDimensionRecords("exposure", instrument=instrument)
    filters = {record.id: record.physical_filter for record in there}
    differ = [
        f"{record['id']} in {filters[record['id']]}, not {record['physical_filter']}"
        for record in exposures
        if filters.get(record["id"], record["physical_filter"]) != record["physical_filter"]
    ]
    if differ:
        msg = f"fill_repository: the repository has exposures {offenders(differ)}; are these the same exposures?"
        raise FlatnormError(msg)
    new = [record for record in exposures if record["id"] not in filters]
    insert = butler.registry.insertDimensionData
    days = dict.fromkeys(record["day_obs"] for record in new)
    groups = dict.fromkeys(record["group"] for record in new)
    insert("day_obs", *({"instrument": instrument, "id": day} for day in days), skip_existing=True)
    insert("group", *({"instrument": instrument, "name": group} for group in groups), skip_existing=True)
    insert("exposure", *({"instrument": instrument, **record} for record in new))
