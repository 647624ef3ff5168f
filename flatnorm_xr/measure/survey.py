"""Headers of all files of a measurement, before any pixel is read: which camera, and whether the files go together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from flatnorm_xr.camera.faults import by_text, with_paths
from flatnorm_xr.camera.geometry import FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.inspect import take
from flatnorm_xr.camera.night_remarks import at_odds, at_one_time, of_other_shape, twice, without_masks
from flatnorm_xr.camera.profiles import UNRECOGNISED, Profile
from flatnorm_xr.camera.remarks import gains_far_apart, missing, no_flat
from flatnorm_xr.errors import CameraError, FlatnormError, ReadError, offenders, warn
from flatnorm_xr.progress import counted

__all__ = ["survey"]


def survey(
    paths: Sequence[str],
    given: Profile | None,
    *,
    before: Sequence[FileDescription] = (),
    limited: bool = False,
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
    limited : bool
        Whether a saturation level was given for all, so that none need be in the headers.
    strict : bool
        Whether a file whose headers cannot be read, or do not fit the profile, is an error; else it is left out with a
        warning.
    progress : bool
        Show how far it is.

    Returns
    -------
    list of FileDescription
        Of the files that can be measured, in order.

    Raises
    ------
    ReadError
        No file that can be read, or with ``strict`` one that cannot.
    CameraError
        Files of more than one camera, no file that the profile fits, or with ``strict`` one that it does not, two files
        with the same detector and exposure, or with the same exposure id and another filter or time.

    Warns
    -----
    FlatnormWarning
        Files that cannot be read, that the profile does not fit, or that no profile recognises; biases and darks; what
        is read otherwise than one may think; absent overscan, time, position, saturation or data quality; images of
        another size or with other sections than most exposures have; gains far from each other where they are applied;
        exposures that may be detectors of one.
    """
    files = _describe_all(paths, given, strict, progress) if paths else []
    _check_exposures([*before, *files])
    _check_duplicates([*before, *files])
    _warn_of_no_flats(files)
    _warn_of_absences(files, but={"saturation"} if limited else set())
    for remark, members in _grouped(_remarks(files)).items():
        warn(f"measure: {remark} [{offenders(members)}]")
    for remark, members in _grouped(of_other_shape(files)).items():
        # levels of binned pixels do not compare with others
        warn(f"measure: {remark} in {offenders(members)}; measure exposures of each readout mode apart")
    return files


def _describe_all(paths: Sequence[str], given: Profile | None, strict: bool, progress: bool) -> list[FileDescription]:
    taken: list[tuple[FileHeaders, Profile, str]] = []
    failed: list[tuple[FlatnormError, str]] = []
    with counted(paths, "read headers", wanted=progress, keep=False) as each:
        for path in each:
            try:
                taken.append(take(path, given))
            except ReadError as error:
                failed.append((error, path))
    _check_one_camera(taken)
    files = []
    for headers, profile, rule in taken:
        try:
            files.append(describe(headers, profile=profile, rule=rule))
        except FlatnormError as error:
            failed.append((error, headers.path))
    if failed:
        _leave_out(failed, of=len(paths), strict=strict, some=bool(files))
    unknown = [file.path for file in files if file.rule == UNRECOGNISED]
    if unknown:
        warn(
            f"measure: no profile recognises {offenders(unknown)}: taken for processed images, so no overscan is "
            "subtracted and saturation may be unknown; pass camera= to say what it is, or camera='generic' if just that"
        )
    return files


def _leave_out(failed: Sequence[tuple[FlatnormError, str]], *, of: int, strict: bool, some: bool) -> None:
    told = by_text((str(error), path) for error, path in failed)
    said = offenders(with_paths(text, members) for text, members in told.items())
    if some and not strict:
        warn(f"measure: left out {len(failed)} of {of} files: {said}")
        return
    msg = f"measure: {said}{'; without strict=True such files are left out' if some else ''}"
    raise (ReadError if all(isinstance(error, ReadError) for error, _ in failed) else CameraError)(msg)


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
    conflicts: dict[int | str, str] = {}
    for odds in at_odds(files):
        if odds.apart:
            of = "of " if odds.what == "times" else ""
            (one, path), (other, elsewhere) = list(odds.values.items())[:2]
            said = f"exposure {odds.exposure} is {of}{one} in {path} and {of}{other} in {elsewhere}"
            conflicts.setdefault(odds.exposure, said)
    if conflicts:
        msg = f"measure: {offenders(conflicts.values())}: exposure ids repeat; measure them apart"
        raise CameraError(msg)


def _check_duplicates(files: Sequence[FileDescription]) -> None:
    found = [
        f"detector {offenders(one.detectors)} exposure {one.exposure} in {one.first} and {one.path}"
        for one in twice(files)
    ]
    if found:
        msg = f"measure: found twice: {offenders(found)}; pass one file for each detector and exposure"
        raise CameraError(msg)


def _warn_of_no_flats(files: Sequence[FileDescription]) -> None:
    for kind, members in _grouped(
        (file.path, file.exposure.observation_type) for file in files if no_flat(file.exposure)
    ).items():
        warn(f"measure: {kind!r} is no flat, and is measured as if it were; leave out {offenders(members)}")


_ABSENCES = {
    "overscan": "no overscan section, so none was subtracted: detector {}",
    "time": "no time in the header, so it is NaT: {}",
    "position": "no position in the header, so x and y are unknown: detector {}",
    "saturation": "no saturation level in the header, so saturated pixels are used: detector {}; pass saturation=",
    "mask": "no image of data quality, so no pixel was left out by it: detector {}",
}
"""What changes levels or coordinates when it is absent."""


def _warn_of_absences(files: Sequence[FileDescription], but: Collection[str]) -> None:
    lacking: dict[str, dict[int | str, None]] = {}
    for file in files:
        for kind, what in missing(file):
            if kind in _ABSENCES and kind not in but:
                lacking.setdefault(kind, {})[what] = None
    for kind, whats in lacking.items():
        warn(f"measure: {_ABSENCES[kind].format(offenders(whats))}")


def _remarks(files: Sequence[FileDescription]) -> Iterator[tuple[str, str]]:
    """Path and remark of what `inspect` notes too, and what may make levels wrong."""
    for file in files:
        yield from ((file.path, note) for note in file.notes)
        if file.profile.apply_gain:
            yield from ((file.path, f"{remark}, and gains are applied") for remark in gains_far_apart(file))
    if files and files[0].camera == "generic":
        yield from at_one_time(files)
    if files and files[0].profile.mask.optional:
        yield from without_masks(files)


def _grouped(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Paths of each remark."""
    paths: dict[str, list[str]] = {}
    for path, remark in found:
        paths.setdefault(remark, []).append(path)
    return paths
