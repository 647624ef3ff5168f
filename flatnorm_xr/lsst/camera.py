"""A mosaic camera as the tasks need it: which detectors it has, and the amplifiers of each in their order."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pydantic
import xarray as xr

from flatnorm_xr.errors import CameraError, offenders
from flatnorm_xr.lsst.errors import MissingInputError

__all__ = ["MosaicAmplifier", "MosaicCamera", "MosaicDetector", "amplifier_names", "detector_names"]


class MosaicAmplifier(pydantic.BaseModel, frozen=True):
    """One amplifier: its name, and where its pixels lie in the detector's trimmed image."""

    name: str
    rows: tuple[int, int] | None = None
    """First row and the row after the last, from 0; None when not known."""
    columns: tuple[int, int] | None = None
    """First column and the column after the last, from 0; None when not known."""

    def getName(self) -> str:
        """Give the name of the amplifier."""
        return self.name


class MosaicDetector(pydantic.BaseModel, frozen=True):
    """One detector: its number, its name, its amplifiers in the order of the statistics; iterates over these."""

    id: int
    name: str
    amplifiers: tuple[MosaicAmplifier, ...]

    def __iter__(self) -> Iterator[MosaicAmplifier]:  # type: ignore[override]
        return iter(self.amplifiers)

    def __len__(self) -> int:
        return len(self.amplifiers)

    def getId(self) -> int:
        """Give the number of the detector."""
        return self.id

    def getName(self) -> str:
        """Give the name of the detector."""
        return self.name


class MosaicCamera(pydantic.BaseModel, frozen=True):
    """A camera for repositories without the compiled stack: ``camera[detector]`` iterates over its amplifiers.

    Stored as JSON by the storage class ``FlatnormCamera``.
    """

    name: str
    detectors: tuple[MosaicDetector, ...]

    def __iter__(self) -> Iterator[MosaicDetector]:  # type: ignore[override]
        return iter(self.detectors)

    def __len__(self) -> int:
        return len(self.detectors)

    def __contains__(self, detector: object) -> bool:
        return any(detector in (one.id, one.name) for one in self.detectors)

    def __getitem__(self, detector: int | str) -> MosaicDetector:
        for one in self.detectors:
            if detector in (one.id, one.name):
                return one
        msg = f"camera {self.name} has no detector {detector!r}; it has {offenders(one.id for one in self.detectors)}"
        raise MissingInputError(msg)

    def getName(self) -> str:
        """Give the name of the camera."""
        return self.name

    @classmethod
    def of_levels(cls, ds: xr.Dataset, *, name: str) -> MosaicCamera:
        """Describe the camera whose levels these are; detectors whose labels are names are numbered from 0.

        Parameters
        ----------
        ds : Dataset
            Levels with the dim ``detector``. Amplifiers that do not exist are left out. Without the dim ``amplifier``
            each detector has one amplifier, of the detector's name.
        name : str
            Of the camera.
        """
        labels = ds["detector"].values.tolist()
        names = (
            [str(text) for text in ds["detector_name"].values] if "detector_name" in ds.coords else [""] * len(labels)
        )
        numbered = ds["detector"].dtype.kind in "iu"
        detectors = []
        for position, (label, full) in enumerate(zip(labels, names, strict=True)):
            shown = (full or f"{label:03d}") if numbered else str(label)
            if "amplifier" in ds.dims:
                there = ds["amplifier"].values
                if "exists" in ds.coords:
                    there = there[ds["exists"].isel(detector=position).values]
                amplifiers = [str(text) for text in there]
            else:
                amplifiers = [shown]
            detectors.append(
                MosaicDetector(
                    id=label if numbered else position,
                    name=shown,
                    amplifiers=tuple(MosaicAmplifier(name=one) for one in amplifiers),
                )
            )
        return cls(name=name, detectors=tuple(detectors))

    @classmethod
    def from_afw(cls, camera: Any) -> MosaicCamera:
        """Describe an ``lsst.afw.cameraGeom.Camera``; only what the tasks use is kept.

        Not tested here: ``lsst.afw`` cannot be installed from PyPI. A stand-in with its methods is.
        """
        return cls(
            name=camera.getName(),
            detectors=tuple(
                MosaicDetector(
                    id=detector.getId(),
                    name=detector.getName(),
                    amplifiers=tuple(
                        MosaicAmplifier(
                            name=amplifier.getName(),
                            rows=(amplifier.getBBox().getBeginY(), amplifier.getBBox().getEndY()),
                            columns=(amplifier.getBBox().getBeginX(), amplifier.getBBox().getEndX()),
                        )
                        for amplifier in detector
                    ),
                )
                for detector in camera
            ),
        )


def amplifier_names(camera: Any, detector: int | str) -> list[str]:
    """Names of the amplifiers of a detector, in the camera's order.

    Parameters
    ----------
    camera : mapping
        From the detector's id to amplifiers that have ``getName()``, or to their names: a `MosaicCamera`, Rubin's
        camera, a dict of lists.
    detector : int or str
        Its id.

    Raises
    ------
    CameraError
        No camera, or nothing that can be asked for a detector.
    MissingInputError
        A KeyError: the camera has no such detector.
    """
    if camera is None:
        msg = "camera is None; pass a mapping from detector to its amplifiers, or certify a camera in the repository"
        raise CameraError(msg)
    try:
        amplifiers = list(camera[detector])
    except TypeError as error:
        msg = (
            f"camera is of type {type(camera).__name__}; it must map a detector's id to amplifiers that have getName()"
        )
        raise CameraError(msg) from error
    except LookupError as error:
        msg = f"the camera has no detector {detector!r}; is it the camera of these flats?"
        raise MissingInputError(msg) from error
    try:
        names = [one if isinstance(one, str) else str(one.getName()) for one in amplifiers]
    except AttributeError as error:
        msg = f"the camera's detector {detector!r} holds {amplifiers[0]!r}; an amplifier is a name, or has getName()"
        raise CameraError(msg) from error
    if len(set(names)) < len(names):
        msg = f"the camera names two amplifiers of detector {detector!r} alike: {offenders(names)}; give each its own"
        raise CameraError(msg)
    return names


def detector_names(camera: Any, detectors: Sequence[int | str]) -> list[str] | None:
    """Names of detectors; None where the camera has a detector that has no name, or not all of them.

    Parameters
    ----------
    camera : mapping
        From the detector's id to a detector, which may have ``getName()``.
    detectors : sequence of int or str
        Their ids.
    """
    try:
        return [str(camera[detector].getName()) for detector in detectors]
    except (AttributeError, LookupError, TypeError):
        return None
