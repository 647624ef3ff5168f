"""Cameras as Butler registers them: one that is simulated, and any whose levels flatnorm measured."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from lsst.daf.butler import DataId, FormatterV2
from lsst.daf.butler.registry import Registry
from lsst.pipe.base import Instrument
from lsst.utils.introspection import get_full_type_name

from flatnorm_xr.errors import CameraError

if TYPE_CHECKING:
    from flatnorm_xr.lsst.camera import MosaicCamera

__all__ = ["MeasuredCamera", "SimulatedCamera", "band_of", "register_camera"]

SIMULATED_BANDS = {"g": "g", "r": "r"}
"""Filters of the simulated camera, and the band of each."""


class SimulatedCamera(Instrument):
    """The camera that `flatnorm_xr.lsst.simulated.simulate_flats` simulates, as its defaults make it."""

    maxima: ClassVar[tuple[int, int]] = (10_000, 1_000_000)
    """Ids of detectors and of exposures are below these."""

    @classmethod
    def getName(cls) -> str:
        """Give the name of the instrument."""
        return "FlatnormSim"

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Register the instrument, filters g and r, and four detectors numbered from 1.

        Detectors that are registered already are kept as they are: the repository may hold a larger simulation.
        """
        from flatnorm_xr.lsst.camera import MosaicCamera
        from flatnorm_xr.simulate.levels import simulate

        levels = simulate(n_detectors=4, n_exposures=1, n_amplifiers=4)
        camera = MosaicCamera.of_levels(levels, name=self.getName())
        known = _known_detectors(registry, self.getName())
        camera = camera.model_copy(update={"detectors": tuple(d for d in camera.detectors if d.id not in known)})
        register_camera(
            registry, camera, bands=SIMULATED_BANDS, instrument=type(self), maxima=self.maxima, update=update
        )

    def getRawFormatter(self, dataId: DataId) -> type[FormatterV2]:
        """Give the formatter of the simulated flats; there are no raw files."""
        from flatnorm_xr.lsst.formatters import FlatFormatter

        return FlatFormatter


class MeasuredCamera(Instrument):
    """Any camera whose levels flatnorm measured; its name and records are written with the levels.

    See `flatnorm_xr.lsst.repository.make_repository`.
    """

    maxima: ClassVar[tuple[int, int]] = (10**6, 2**62)
    """Ids of detectors and of exposures are below these, those of nights to come too."""

    @classmethod
    def getName(cls) -> str:
        """Give the name that stands for all such cameras; each repository names its own."""
        return "FlatnormMeasured"

    def register(self, registry: Registry, *, update: bool = False) -> None:
        """Refuse: what the camera has is known from its levels only."""
        msg = (
            "MeasuredCamera: the detectors and filters of a measured camera are known from its levels only; "
            "register it with `flatnorm lsst init REPO --levels FILE`"
        )
        raise CameraError(msg)

    def getRawFormatter(self, dataId: DataId) -> type[FormatterV2]:
        """Give the formatter of flats; raw files are read by `flatnorm_xr.measure`, not by Butler."""
        from flatnorm_xr.lsst.formatters import FlatFormatter

        return FlatFormatter


def register_camera(
    registry: Registry,
    camera: MosaicCamera,
    *,
    bands: Mapping[str, str],
    instrument: type[Instrument],
    maxima: tuple[int, int],
    purposes: Iterable[str] | None = None,
    update: bool = False,
) -> None:
    """Register an instrument with its filters and detectors, all or nothing; what is there alike stays.

    Parameters
    ----------
    registry : Registry
        Of a repository that can be written.
    camera : MosaicCamera
        Its name is the instrument's; its detectors are registered with id and name.
    bands : mapping
        Physical filter to band.
    instrument : type
        Class that the middleware makes when it meets the instrument.
    maxima : tuple of int
        Ids of detectors, and of exposures, are below these.
    purposes : iterable of str, optional
        What each detector is for, as ``SCIENCE`` or ``GUIDE``; else all are for science.
    update : bool
        Whether to replace records that are there and differ.

    Raises
    ------
    lsst.daf.butler.registry.ConflictingDefinitionError
        A record is there, differs, and ``update`` is False.
    """
    detectors = list(camera.detectors)
    with registry.transaction():
        registry.syncDimensionData(
            "instrument",
            {
                "name": camera.name,
                "class_name": get_full_type_name(instrument),
                "detector_max": maxima[0],
                "exposure_max": maxima[1],
                "visit_max": maxima[1],
            },
            update=update,
        )
        for name, band in bands.items():
            registry.syncDimensionData(
                "physical_filter", {"instrument": camera.name, "name": name, "band": band}, update=update
            )
        for detector, purpose in zip(detectors, purposes or ["SCIENCE"] * len(detectors), strict=True):
            record: dict[str, Any] = {
                "instrument": camera.name,
                "id": detector.id,
                "full_name": detector.name,
                "name_in_raft": detector.name,
                "purpose": purpose,
            }
            registry.syncDimensionData("detector", record, update=update)


def band_of(physical_filter: str) -> str:
    """Band of a filter: the letter of u, g, r, i, z, y that its name starts or ends with, else its own name.

    Examples
    --------
    >>> [band_of(name) for name in ("g DECam SDSS c0001 4720.0 1520.0", "HSC-Y", "r.MP9601", "i_39", "Ha")]
    ['g', 'y', 'r', 'i', 'Ha']
    """
    found = re.match(r"([ugrizyY])(?![A-Za-z])", physical_filter) or re.search(
        r"(?<![A-Za-z])([UGRIZY])$", physical_filter
    )
    return found[1].lower() if found else physical_filter


def _known_detectors(registry: Registry, instrument: str) -> set[int]:
    """Ids of the detectors that the registry has of this instrument."""
    if not any(record.name == instrument for record in registry.queryDimensionRecords("instrument")):
        return set()
    return {record.id for record in registry.queryDimensionRecords("detector", instrument=instrument)}
