"""FITS files of flats to a dataset of levels: find the cameras, read the frames, measure each amplifier."""

from __future__ import annotations

import datetime
import hashlib
import json
import numbers
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import xarray as xr

from flatnorm_xr.camera.files import Paths, find_files
from flatnorm_xr.camera.geometry import Detector, FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.inspect import missing, take
from flatnorm_xr.camera.profiles import UNRECOGNISED, Profile, load_profile
from flatnorm_xr.errors import CameraError, FlatnormError, ReadError, offenders, warn
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.assemble import FileLevels, Level, assemble
from flatnorm_xr.measure.reference import Reference, load_reference
from flatnorm_xr.progress import counted

__all__ = ["Reduction", "measure", "measure_file"]

SATURATED_FRACTION = 0.01
"""Share of saturated pixels above which a level is flagged."""

_CONFIGURATION = ("statistic", "clip", "iterations", "saturation", "border", "edge_strips")

_ONE_EXPOSURE = datetime.timedelta(minutes=10)
"""Files whose times are farther apart are not of one exposure."""


@dataclass(frozen=True)
class Reduction:
    """How pixels become levels: all that `measure_file` needs besides the file."""

    statistic: str = "meanclip"
    clip: float = 3.0
    iterations: int = 3
    bias: Reference | None = None
    mask: Reference | None = None
    saturation: float | None = None
    border: int = 0
    edge_strips: int = 0
    checksum: bool = False


def measure(
    paths: Paths,
    *,
    camera: str | os.PathLike[str] | Profile | None = None,
    statistic: str = "meanclip",
    clip: float = 3.0,
    iterations: int = 3,
    bias: Any = None,
    mask: Any = None,
    saturation: float | None = None,
    border: int = 0,
    edge_strips: int = 0,
    checksum: bool = False,
    strict: bool = False,
    progress: bool = True,
) -> xr.Dataset:
    """Measure the level of every amplifier and detector in every exposure.

    Pixels are overscan-subtracted, trimmed, bias-subtracted, and multiplied by the gain if the camera's profile says
    so; saturated pixels, the border, bad pixels and NaN are left out.

    Parameters
    ----------
    paths : str, path, or a list of these
        FITS files (plain, .gz or .fz), or globs.
    camera : str, path or Profile, optional
        Name of a packaged profile, or a profile of your own; recognised from the headers when not given.
    statistic : {"meanclip", "median", "mean"}
        What the level is (`flatnorm_xr.measure.kernels.clipped_statistics`).
    clip : float
        Half-width of the clip in standard deviations.
    iterations : int
        Clipping passes.
    bias : path, DataArray, or a mapping of detector to one of these, optional
        Image to subtract, laid out like the raw files or trimmed. From a raw one its own overscan is subtracted.
    mask : same, optional
        Image whose non-zero pixels are left out.
    saturation : float, optional
        Raw adu from which a pixel is saturated, instead of what headers and profile say.
    border : int
        Pixels left out along the edges of each detector.
    edge_strips : int
        Width in pixels (32 is usual) of strips on both sides of the borders between amplifiers: adds ``edge_ratio``,
        how the amplifiers of one detector compare where they meet. It tells gains apart from gradients of the light,
        which ``background`` cannot. 0 leaves it out.
    checksum : bool
        Also record the sha256 of every file.
    strict : bool
        Make an error of what is otherwise a warning and a hole: files and images that cannot be read.
    progress : bool
        Show how far it is: a bar on a terminal, elsewhere a few lines on standard error if it takes long.

    Returns
    -------
    Dataset
        ``background``, ``sigma``, ``counts`` and ``quality`` along (detector[, amplifier], exposure), and
        ``detector_...`` of the whole detectors where there are amplifiers; with ``edge_strips``, ``edge_ratio`` and its
        standard error (detector, amplifier, exposure), geometric mean 1 over the amplifiers of a detector, NaN for
        those without a level or a neighbour. In adu, or in electron when the profile
        applies the gain. NaN (with a flag, counts 0) where nothing was measured. Detectors are sorted, exposures are
        sorted by time if all have one, else by id.

    Raises
    ------
    ReadError
        No file, none that is readable, or with ``strict`` one that is not.
    CameraError
        Files of more than one camera, a profile that does not fit, a bias or mask that does not fit, two files with
        the same detector and exposure, or with the same exposure id and another filter or time.

    Warns
    -----
    FlatnormWarning
        Files or images that cannot be read, or that no profile recognises; absent overscan (nothing subtracted), time
        (NaT) or position; no level at all.
    """
    _check(statistic, clip, iterations, saturation, {"border": border, "edge_strips": edge_strips})
    profile = None if camera is None else load_profile(str(camera) if isinstance(camera, os.PathLike) else camera)
    files = _describe_all(find_files(paths, caller="measure"), profile, strict, progress)
    _check_exposures(files)
    _check_duplicates(files)
    _warn_of_absences(files)
    if edge_strips:
        from flatnorm_xr.measure.edges import check_places

        check_places(files)
    detectors = list(dict.fromkeys(detector.id for file in files for detector in file.detectors))
    reduction = Reduction(
        statistic=statistic,
        clip=float(clip),
        iterations=int(iterations),
        bias=load_reference(bias, what="bias", detectors=detectors),
        mask=load_reference(mask, what="mask", detectors=detectors),
        saturation=None if saturation is None else float(saturation),
        border=int(border),
        edge_strips=int(edge_strips),
        checksum=checksum,
    )
    with counted(files, "measure", wanted=progress) as each:
        levels = [measure_file(file, reduction=reduction) for file in each]
    _report_holes(levels, strict)
    configuration = {
        "camera": files[0].profile.name,
        **{name: getattr(reduction, name) for name in _CONFIGURATION},
        "bias": _name_of(bias),
        "mask": _name_of(mask),
        "checksum": checksum,
        "strict": strict,
    }
    ds = assemble(levels, attrs=_attributes(files, levels, configuration), edges=edge_strips > 0)
    _warn_of_nothing(ds)
    return ds


def measure_file(file: FileDescription, *, reduction: Reduction) -> FileLevels:
    """Measure one file: every detector as a whole, and its amplifiers.

    Parameters
    ----------
    file : FileDescription
        From its headers.
    reduction : Reduction
        What to do with the pixels.

    Returns
    -------
    FileLevels
        Scalars only.
    """
    from astropy.io import fits

    from flatnorm_xr.measure.frames import open_images

    levels: list[Level] = []
    with warnings.catch_warnings():
        # That the file ends early is known from its headers, and becomes a flag.
        warnings.filterwarnings("ignore", message=".*truncated")
        try:
            with fits.open(file.path, memmap=False, lazy_load_hdus=True) as hdus:
                images = open_images(hdus)
                for detector in file.detectors:
                    levels.extend(_measure_detector(images, detector, file, reduction))
        except OSError:
            # The file was readable a moment ago; what is left of it is unreadable.
            done = {level.detector for level in levels}
            levels.extend(level for d in file.detectors if d.id not in done for level in _unreadable(d, file.profile))
    return FileLevels(file, tuple(levels), _provenance(file, reduction.checksum))


def _measure_detector(
    images: Callable[[int], Any], detector: Detector, file: FileDescription, reduction: Reduction
) -> Iterator[Level]:
    from flatnorm_xr.measure.frames import read_detector
    from flatnorm_xr.measure.kernels import clipped_statistics

    pixels = read_detector(
        images,
        detector,
        profile=file.profile,
        path=file.path,
        bias=reduction.bias,
        mask=reduction.mask,
        saturation=reduction.saturation,
        border=reduction.border,
    )

    def level(amplifier: str | None, part: slice, saturated: int, readable: bool) -> Level:
        if not readable:
            return Level(detector.id, amplifier, quality=Flag.UNREADABLE)
        values, bad = pixels.values[part], pixels.bad[part]
        found = clipped_statistics(
            values, bad, statistic=reduction.statistic, clip=reduction.clip, iterations=reduction.iterations
        )
        quality = 0
        if found.counts == 0:
            quality |= Flag.ALL_MASKED
        elif found.level <= 0:
            quality |= Flag.NON_POSITIVE
        elif found.level == float("inf"):
            quality |= Flag.NON_FINITE
        if saturated > SATURATED_FRACTION * values.size:
            quality |= Flag.SATURATED
        return Level(detector.id, amplifier, found.level, found.sigma, found.counts, quality)

    yield level(None, slice(None), sum(pixels.saturated), all(pixels.readable))
    if file.profile.has_amplifiers:
        parts = zip(detector.amplifiers, pixels.slices, pixels.saturated, pixels.readable, strict=True)
        levels = [level(amplifier.name, part, count, whole) for amplifier, part, count, whole in parts]
        if reduction.edge_strips:
            from flatnorm_xr.measure.edges import with_edges

            options = {name: getattr(reduction, name) for name in ("statistic", "clip", "iterations")}
            levels = with_edges(levels, pixels, detector, width=reduction.edge_strips, options=options)
        yield from levels


def _unreadable(detector: Detector, profile: Profile) -> Iterator[Level]:
    names = [None, *(a.name for a in detector.amplifiers)] if profile.has_amplifiers else [None]
    for name in names:
        yield Level(detector.id, name, quality=Flag.UNREADABLE)


def _check(
    statistic: str, clip: float, iterations: int, saturation: float | None, widths: Mapping[str, object]
) -> None:
    """Refuse wrong keywords before any file is opened."""
    import numpy as np

    from flatnorm_xr.measure.kernels import clipped_statistics

    clipped_statistics(np.empty(0, dtype=np.float32), statistic=statistic, clip=clip, iterations=iterations)
    if saturation is not None and (
        not isinstance(saturation, numbers.Real) or isinstance(saturation, bool) or not saturation > 0
    ):
        msg = f"measure: saturation must be a positive number of raw adu, not {saturation!r}"
        raise FlatnormError(msg)
    for name, pixels in widths.items():
        if not isinstance(pixels, numbers.Integral) or isinstance(pixels, bool) or pixels < 0:
            msg = f"measure: {name} must be a number of pixels, 0 or more, not {pixels!r}"
            raise FlatnormError(msg)


def _describe_all(paths: Sequence[str], given: Profile | None, strict: bool, progress: bool) -> list[FileDescription]:
    """Headers of all files, before any pixel is read."""
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


def _report_holes(levels: Sequence[FileLevels], strict: bool) -> None:
    damaged = []
    for one in levels:
        holes = [f"{x.detector} {x.amplifier}" for x in one.levels if x.quality & Flag.UNREADABLE and x.amplifier]
        holes = holes or [str(x.detector) for x in one.levels if x.quality & Flag.UNREADABLE]
        if holes or one.file.damage:
            damaged.append(f"{one.file.path} ({offenders(holes, show=3) or one.file.damage})")
    if damaged and strict:
        msg = f"measure: parts that cannot be read: {offenders(damaged)}; without strict=True they become NaN"
        raise ReadError(msg)
    if damaged:
        msg = f"measure: parts that cannot be read are NaN and flagged UNREADABLE: {offenders(damaged)}"
        warn(msg)


def _warn_of_nothing(ds: xr.Dataset) -> None:
    """Say so when no cell has a level, and what the flags say instead."""
    import numpy as np

    if np.isfinite(ds["background"]).any():
        return
    quality = ds["quality"].values
    of = {flag: int(np.count_nonzero(quality & np.uint32(flag))) for flag in Flag if flag is not Flag.NO_SUCH_AMPLIFIER}
    warn(
        f"measure: nothing was measured, no cell has a level: {offenders(f'{n} {f.name}' for f, n in of.items() if n)}"
    )


def _provenance(file: FileDescription, checksum: bool) -> dict[str, Any]:
    """Name, size, time and checksums of one file, for the attribute ``inputs``."""
    path = file.path
    stat = os.stat(path)
    entry: dict[str, Any] = {
        "name": Path(path).name,
        "size": stat.st_size,
        "mtime": datetime.datetime.fromtimestamp(stat.st_mtime, datetime.UTC).isoformat(timespec="seconds"),
    }
    if file.datasums:
        entry["DATASUM"] = _add_checksums(file.datasums)
    if checksum:
        with open(path, "rb") as stream:
            entry["sha256"] = hashlib.file_digest(stream, "sha256").hexdigest()
    return entry


def _add_checksums(sums: Sequence[int]) -> int:
    """One DATASUM for all images of a file: the FITS checksum is a ones' complement sum, so sums of it are too."""
    total = sum(sums)
    while total >> 32:
        total = (total & 0xFFFFFFFF) + (total >> 32)
    return total


def _name_of(given: Any) -> Any:
    """How a bias or mask is written into the configuration."""
    if given is None or isinstance(given, str | os.PathLike):
        return None if given is None else os.fspath(given)
    if isinstance(given, dict):
        return {str(key): _name_of(value) for key, value in given.items()}
    return type(given).__name__


def _attributes(
    files: Sequence[FileDescription], levels: Sequence[FileLevels], configuration: dict[str, Any]
) -> dict[str, Any]:
    from flatnorm_xr import __version__

    camera, statistic = configuration["camera"], configuration["statistic"]
    exposures = {file.exposure.id for file in files}
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "title": f"Flat levels of {camera}: {len(exposures)} exposures",
        "history": f"{now} flatnorm-xr {__version__} measure: {len(files)} files of {camera}, {statistic}",
        "source": f"FITS files of {camera}, statistic {statistic}",
        "camera": camera,
        "inputs": json.dumps([one.provenance for one in levels]),
        "measure_configuration": json.dumps(configuration),
    }
