"""Say what files are taken for, and by which rule, from their headers alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Any

from flatnorm_xr.camera.faults import Fault, faults_text
from flatnorm_xr.camera.files import Paths, find_files
from flatnorm_xr.camera.geometry import Amplifier, Detector, Exposure, describe
from flatnorm_xr.camera.headers import FileHeaders, read_headers
from flatnorm_xr.camera.night_remarks import remarks_between
from flatnorm_xr.camera.profiles import Profile, load_profile, recognise, why_recognised
from flatnorm_xr.camera.remarks import remarks_on
from flatnorm_xr.errors import FlatnormError, ReadError
from flatnorm_xr.progress import counted

__all__ = ["Inspection", "inspect", "take"]


@dataclass(frozen=True)
class Inspection:
    """What one file was taken for.

    Attributes
    ----------
    path : str
        The file.
    camera : str
        Name of the profile, empty when the file could not be read.
    rule : str
        Why that profile; reads well after "because".
    exposure : Exposure or None
        Id, time, exposure time, filter, type; None when an error left nothing to say.
    detectors : tuple of Detector
        With their amplifiers and sections; with an error, what could be found of them.
    remarks : tuple of str
        What deserves a look, in the file itself and beside the others.
    error : str
        Empty, or in one line why the file cannot be measured.
    title : str
        What the profile calls the camera.
    """

    path: str
    camera: str = ""
    rule: str = ""
    exposure: Exposure | None = None
    detectors: tuple[Detector, ...] = ()
    remarks: tuple[str, ...] = ()
    error: str = ""
    title: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers (None for NaN), as JSON holds them."""
        return {
            "path": self.path,
            "camera": self.camera,
            "title": self.title,
            "rule": self.rule,
            "exposure": None if self.exposure is None else _exposure_dict(self.exposure),
            "detectors": [_detector_dict(detector) for detector in self.detectors],
            "remarks": list(self.remarks),
            "error": self.error,
        }


def inspect(paths: Paths, *, camera: str | Path | Profile | None = None, progress: bool = True) -> list[Inspection]:
    """Say of each file which camera it is, what it holds, and what is suspicious in it or beside the others.

    Only headers are read.

    Parameters
    ----------
    paths : str, path, or a list of these
        FITS files, or a glob.
    camera : str, path or Profile, optional
        A profile; recognised from the header when not given.
    progress : bool
        Show how far it is: a bar on a terminal, elsewhere a few lines on standard error if it takes long.

    Returns
    -------
    list of Inspection
        One a file, in order. A file that cannot be read has its ``error``.

    Raises
    ------
    ReadError
        A path that names no file.
    CameraError
        ``camera`` is no profile.
    """
    profile = None if camera is None else load_profile(camera)
    files = find_files(paths, caller="inspect")
    with counted(files, "read headers", wanted=progress, keep=False) as each:
        records = [_inspect_file(path, profile) for path in each]
    between = remarks_between(records)
    return [replace(record, remarks=(*record.remarks, *between.get(record.path, ()))) for record in records]


def take(path: str, profile: Profile | None) -> tuple[FileHeaders, Profile, str]:
    """Headers of a file, its profile and why: the given one, else the one that recognises it."""
    headers = read_headers(path)
    if profile is not None:
        surprise = profile.recognise and not why_recognised(profile, headers)
        return headers, profile, "the camera was given" + (", though its rules do not match" if surprise else "")
    return headers, *recognise(headers)


def _inspect_file(path: str, given: Profile | None) -> Inspection:
    try:
        headers, profile, rule = take(path, given)
    except ReadError as error:
        return Inspection(path=path, error=str(error))
    known = Inspection(path=path, camera=profile.name, title=profile.title, rule=rule)
    faults: list[Fault] = []
    try:
        file = describe(headers, profile=profile, rule=rule, faults=faults)
        remarks = tuple(remarks_on(file, headers))
    except FlatnormError as error:
        return replace(known, error=str(error))
    return replace(
        known,
        exposure=file.exposure,
        detectors=file.detectors,
        remarks=remarks,
        error=faults_text(path, faults),
    )


def _exposure_dict(exposure: Exposure) -> dict[str, Any]:
    return {
        "id": exposure.id,
        "time": None if exposure.time is None else str(exposure.time),
        "exposure_time": _number(exposure.exposure_time),
        "physical_filter": exposure.physical_filter,
        "observation_type": exposure.observation_type,
        "lamp": exposure.lamp,
        "night": exposure.night,
    }


def _detector_dict(detector: Detector) -> dict[str, Any]:
    return {
        "id": detector.id,
        "name": detector.name,
        "type": detector.type,
        **_place_dict(detector),
        "shapes": {str(hdu): list(shape) for hdu, shape in detector.shapes.items()},
        "trimmed_shape": list(detector.trimmed_shape) or None,
        "amplifiers": [
            {
                "name": amplifier.name,
                "hdu": amplifier.hdu,
                "data": str(amplifier.data),
                "overscan": None if amplifier.overscan is None else str(amplifier.overscan),
                "trimmed": None if amplifier.trimmed is None else str(amplifier.trimmed),
                "gain": _number(amplifier.gain),
                "read_noise": _number(amplifier.read_noise),
                "placeholder_gain": amplifier.placeholder_gain,
                "saturation": _number(amplifier.saturation),
                "overscan_hdu": amplifier.overscan_hdu,
                "mask_hdu": amplifier.mask_hdu,
                **_place_dict(amplifier),
            }
            for amplifier in detector.amplifiers
        ],
    }


def _place_dict(record: Detector | Amplifier) -> dict[str, float | None]:
    return {name: _number(getattr(record, name)) for name in ("x", "y", "width", "height")}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
