"""FITS files of flats to a dataset of levels: find the cameras, read the frames, measure each amplifier."""

from __future__ import annotations

import datetime
import json
import numbers
import os
from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from flatnorm_xr.camera.files import Paths, find_files
from flatnorm_xr.camera.geometry import FileDescription
from flatnorm_xr.camera.profiles import Profile, load_profile
from flatnorm_xr.errors import FlatnormError, ReadError, offenders, warn
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.assemble import FileLevels, assemble
from flatnorm_xr.measure.file_levels import Reduction, measure_file
from flatnorm_xr.measure.reference import load_reference
from flatnorm_xr.measure.survey import survey
from flatnorm_xr.progress import counted

__all__ = ["measure"]

_CONFIGURATION = ("statistic", "clip", "iterations", "saturation", "border", "edge_strips")


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
    files = survey(find_files(paths, caller="measure"), profile, strict=strict, progress=progress)
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
