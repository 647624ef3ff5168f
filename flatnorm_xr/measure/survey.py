"""Headers of all files of a measurement, before any pixel is read: which camera, and whether the files go together."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import Any

from flatnorm_xr.camera.geometry import FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.inspect import missing, take
from flatnorm_xr.camera.night_remarks import of_other_shape
from flatnorm_xr.camera.profiles import UNRECOGNISED, Profile
from flatnorm_xr.errors import CameraError, ReadError, offenders, warn
from flatnorm_xr.progress import counted

__all__ = ["survey"]

_ONE_EXPOSURE = datetime.timedelta(minutes=10)
"""Files whose times are farther apart are not of one exposure."""


def survey(
    paths: Sequence[str],
    given: Profile | None,
    *,
    before: Sequence[FileDescription] = (),
    strict: bool,
    progress: bool,
) -> list[FileDescription]:
    """Describe all files from their headers, and check that they go together.

    Parameters
    ----------
    paths : sequence of str
        The files.
    given : Profile or None
        The camera; recognised from the headers when None.
    before : sequence of FileDescription
        Files measured before, which these must go together with.
    strict : bool
        Whether a file whose headers cannot be read is an error; else it is left out with a warning.
    progress : bool
        Show how far it is.

    Returns
    -------
    list of FileDescription
        Of the files that can be read, in order.

    Raises
    ------
    ReadError
        No file that can be read, or with ``strict`` one that cannot.
    CameraError
        Files of more than one camera, a profile that does not fit, two files with the same detector and exposure, or
        with the same exposure id and another filter or time.

    Warns
    -----
    FlatnormWarning
        Files that cannot be read, or that no profile recognises; absent overscan, time or position; images of another
        size or with other sections than most exposures have.
    """
    files = _describe_all(paths, given, strict, progress) if paths else []
    _check_exposures([*before, *files])
    _check_duplicates([*before, *files])
    _warn_of_absences(files)
    _warn_of_other_shapes(files)
    return files


def _describe_all(paths: Sequence[str], given: Profile | None, strict: bool, progress: bool) -> list[FileDescription]:
    taken, unreadable = [], []
    with counted(paths, "read headers", wanted=progress, keep=False) as each:
        for path in each:
            try:
                taken.append(take(path, given))
            except ReadError as error:
                unreadable.append(str(error))
    _check_one_camera(taken)
    files = []
    for headers, profile, rule in taken:
        try:
            files.append(describe(headers, profile=profile, rule=rule))
        except ReadError as error:
            unreadable.append(str(error))
    if unreadable and (strict or not files):
        msg = f"measure: {offenders(unreadable)}; without strict=True such files are left out, unless all are such"
        raise ReadError(msg)
    if unreadable:
        msg = f"measure: left out {len(unreadable)} of {len(paths)} files: {offenders(unreadable)}"
        warn(msg)
    unknown = [file.path for file in files if file.rule == UNRECOGNISED]
    if unknown:
        warn(
            f"measure: no profile recognises {offenders(unknown)}: taken for processed images, so no overscan is "
            "subtracted and saturation may be unknown; pass camera= to say what it is (camera='generic': just that)"
        )
    return files


def _check_one_camera(taken: Sequence[tuple[FileHeaders, Profile, str]]) -> None:
    cameras: dict[str, list[str]] = {}
    for headers, profile, _ in taken:
        cameras.setdefault(profile.name, []).append(headers.path)
    if len(cameras) > 1:
        names = "; ".join(f"{name}: {offenders(members)}" for name, members in cameras.items())
        msg = f"measure: files of {len(cameras)} cameras ({names}); measure one camera at a time, or pass camera="
        raise CameraError(msg)


def _check_exposures(files: Sequence[FileDescription]) -> None:
    """Refuse files of one exposure id that cannot be of one exposure."""
    first: dict[tuple[int | str, str], tuple[Any, str]] = {}
    conflicts: dict[int | str, str] = {}
    for file in files:
        exposure = file.exposure
        time = None if exposure.time is None else exposure.time.astype("datetime64[s]").item()
        known = {"physical_filter": exposure.physical_filter or None, "time": time}
        for what, value in known.items():
            if value is None:
                continue
            before, path = first.setdefault((exposure.id, what), (value, file.path))
            far = abs(value - before) > _ONE_EXPOSURE if what == "time" else value != before
            if far:
                conflicts.setdefault(
                    exposure.id, f"exposure {exposure.id} is {_in(before, path)} and {_in(value, file.path)}"
                )
    if conflicts:
        msg = f"measure: {offenders(conflicts.values())}: exposure ids repeat; measure them apart"
        raise CameraError(msg)


def _in(value: Any, path: str) -> str:
    shown = value if isinstance(value, str) else f"of {value.isoformat()}"
    return f"{shown} in {path}"


def _check_duplicates(files: Sequence[FileDescription]) -> None:
    seen: dict[tuple[int | str, int | str], str] = {}
    twice = []
    for file in files:
        for detector in file.detectors:
            cell = detector.id, file.exposure.id
            if cell in seen:
                twice.append(f"detector {cell[0]} exposure {cell[1]} in {seen[cell]} and {file.path}")
            seen.setdefault(cell, file.path)
    if twice:
        msg = f"measure: found twice: {offenders(twice)}; pass one file for each detector and exposure"
        raise CameraError(msg)


_ABSENCES = {
    "overscan": "no overscan section, so none was subtracted: detector {}",
    "time": "no time in the header, so it is NaT: {}",
    "position": "no position in the header, so x and y are unknown: detector {}",
}


def _warn_of_absences(files: Sequence[FileDescription]) -> None:
    lacking: dict[str, dict[int | str, None]] = {}
    for file in files:
        for kind, what in missing(file):
            lacking.setdefault(kind, {})[what] = None
    for kind, whats in lacking.items():
        warn(f"measure: {_ABSENCES[kind].format(offenders(whats))}")


def _warn_of_other_shapes(files: Sequence[FileDescription]) -> None:
    """Say when a camera was read out in another way during the night; levels of binned pixels do not compare."""
    odd: dict[str, list[str]] = {}
    for path, remark in of_other_shape(files):
        odd.setdefault(remark, []).append(path)
    for remark, paths in odd.items():
        warn(f"measure: {remark} in {offenders(paths)}; measure exposures of each readout mode apart")
