"""Say what files are taken for, and by which rule, from their headers alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from flatnorm_xr.camera.files import Paths, find_files
from flatnorm_xr.camera.geometry import Amplifier, Detector, Exposure, FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders, read_headers
from flatnorm_xr.camera.profiles import Profile, load_profile, recognise, why_recognised
from flatnorm_xr.camera.times import known_scale
from flatnorm_xr.errors import FlatnormError, ReadError, offenders
from flatnorm_xr.progress import counted

__all__ = ["Inspection", "inspect", "missing", "take"]


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
        Id, time, exposure time, filter, type; None when there is an error.
    detectors : tuple of Detector
        With their amplifiers and sections.
    remarks : tuple of str
        What deserves a look.
    error : str
        Empty, or in one line why the file cannot be measured.
    """

    path: str
    camera: str = ""
    rule: str = ""
    exposure: Exposure | None = None
    detectors: tuple[Detector, ...] = ()
    remarks: tuple[str, ...] = ()
    error: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers (None for NaN), as JSON holds them."""
        return {
            "path": self.path,
            "camera": self.camera,
            "rule": self.rule,
            "exposure": None if self.exposure is None else _exposure_dict(self.exposure),
            "detectors": [_detector_dict(detector) for detector in self.detectors],
            "remarks": list(self.remarks),
            "error": self.error,
        }


def inspect(paths: Paths, *, camera: str | Path | Profile | None = None, progress: bool = True) -> list[Inspection]:
    """Say of each file which camera it is, what it holds, and what is suspicious.

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
        return [_inspect_file(path, profile) for path in each]


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
    try:
        file = describe(headers, profile=profile, rule=rule)
    except FlatnormError as error:
        return Inspection(path=path, camera=profile.name, rule=rule, error=str(error))
    return Inspection(
        path=path,
        camera=profile.name,
        rule=rule,
        exposure=file.exposure,
        detectors=file.detectors,
        remarks=tuple(_remarks(file, headers)),
    )


def missing(file: FileDescription) -> Iterator[tuple[str, int | str]]:
    """List what the profile promises and the headers lack: ("overscan" | "time" | "position", detector or path)."""
    profile = file.profile
    if profile.exposure.time is not None and file.exposure.time is None:
        yield "time", file.path
    for detector in file.detectors:
        if profile.overscan != "none" and any(a.overscan is None for a in detector.amplifiers):
            yield "overscan", detector.id
        if profile.position.known and not isfinite(detector.x):
            yield "position", detector.id


_SENTENCES = {
    "overscan": "no overscan section: nothing will be subtracted",
    "time": "no time of the exposure",
    "position": "no position in the focal plane",
}


def _remarks(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    if file.damage:
        yield f"the file is damaged: {file.damage}"
    twice = [hdu.index for hdu in headers.hdus if "EXTNAME" in hdu.header and hdu.header.count("EXTNAME") > 1]
    if twice:
        yield f"two EXTNAME cards in HDU {offenders(twice)}"
    rule = file.profile.exposure.time_scale
    found = [rule.find(hdu, path=file.path) for hdu in headers.images] if rule is not None else []
    scales = {str(scale) for scale in found if scale is not None and not known_scale(str(scale))}
    if scales and file.exposure.time is not None:
        yield f"the time scale {offenders(sorted(scales))} is not known and was taken for UTC"
    lacking: dict[str, list[int | str]] = {}
    for kind, what in missing(file):
        lacking.setdefault(kind, []).append(what)
    for kind, whats in lacking.items():
        of = "" if kind == "time" else f" (detector {offenders(whats)})"
        yield _SENTENCES[kind] + of
    placeholders = [f"{d.id} {a.name}".strip() for d in file.detectors for a in d.amplifiers if a.placeholder_gain]
    if placeholders:
        yield f"the gain is a placeholder and counts as unknown: {offenders(placeholders)}"
    unlimited = [d.id for d in file.detectors if any(not isfinite(a.saturation) for a in d.amplifiers)]
    if unlimited and file.profile.overscan != "none":
        yield f"no saturation level, so saturated pixels will be used (detector {offenders(unlimited)})"
    unplaced = [detector.id for detector in file.detectors if not detector.trimmed_shape]
    if unplaced:
        yield f"the sections of the trimmed image do not fit the data sections (detector {offenders(unplaced)})"


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
        "amplifiers": [
            {
                "name": amplifier.name,
                "hdu": amplifier.hdu,
                "data": str(amplifier.data),
                "overscan": None if amplifier.overscan is None else str(amplifier.overscan),
                "trimmed": None if amplifier.trimmed is None else str(amplifier.trimmed),
                "gain": _number(amplifier.gain),
                "read_noise": _number(amplifier.read_noise),
                "saturation": _number(amplifier.saturation),
                **_place_dict(amplifier),
            }
            for amplifier in detector.amplifiers
        ],
    }


def _place_dict(record: Detector | Amplifier) -> dict[str, float | None]:
    return {name: _number(getattr(record, name)) for name in ("x", "y", "width", "height")}


def _number(value: float) -> float | None:
    return value if isfinite(value) else None
