"""Make a Butler repository of a simulated night of flats or of measured levels, and put more nights into it."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr
from lsst.daf.butler import Butler, Config, DatasetTypeNotSupportedError
from sqlalchemy.exc import SQLAlchemyError

from flatnorm_xr.errors import FlatnormError, offenders
from flatnorm_xr.lsst.instrument import SimulatedCamera
from flatnorm_xr.lsst.night import NightToPut, RegisteredIds, instrument_name, measured_night, simulated_night
from flatnorm_xr.lsst.registry import first_line, instruments, put_night, registered_ids

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
            datasets = put_night(butler, night)
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
        registered = registered_ids(butler, name)
        night = _night(levels, instrument=instrument, registered=registered, simulation=simulation)
        try:
            datasets = put_night(butler, night)
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
        reason = "" if isinstance(error, FileNotFoundError) else f" ({first_line(error)})"
        msg = (
            f"fill_repository: {path} is no Butler repository that can be opened{reason}; flatnorm lsst init makes one"
        )
        raise FlatnormError(msg) from error
    try:
        yield butler
    except SQLAlchemyError as error:
        msg = f"repository: the registry of {path} cannot be read or written: {first_line(error)}"
        raise FlatnormError(msg) from error
    finally:
        butler.close()


def _instrument(butler: Butler, levels: xr.Dataset, instrument: str | None, *, new: bool) -> str:
    """Name of the instrument of the levels, which the repository has if it has any and no new one is wanted."""
    known = instruments(butler)
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
