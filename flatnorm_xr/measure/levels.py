"""FITS files of flats to a dataset of levels: find the cameras, read the frames, measure each amplifier."""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr

from flatnorm_xr.camera.files import Paths, find_files
from flatnorm_xr.camera.profiles import Profile, load_profile
from flatnorm_xr.errors import FlatnormError, ReadError, offenders, warn
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.assemble import FileLevels, assemble
from flatnorm_xr.measure.options import MeasureOptions, check_count
from flatnorm_xr.measure.resume import check_same_way, kept, levels_by_file
from flatnorm_xr.measure.schedule import Work, bad_anywhere, measure_all
from flatnorm_xr.measure.survey import survey
from flatnorm_xr.measure.workers import Client, check_client, default_threads

__all__ = ["measure"]


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
    mask_bits: Any = None,
    border: int = 0,
    vignetting: Any = None,
    common_mask: bool = False,
    edge_strips: int = 0,
    checksum: bool = False,
    verify_checksum: bool = False,
    strict: bool = False,
    client: Client | None = None,
    threads: int | None = None,
    resume: xr.Dataset | None = None,
    partial: Callable[[xr.Dataset], object] | None = None,
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
    statistic : {"meanclip", "sigmaclip", "median", "mean"}
        What the level is (`flatnorm_xr.measure.kernels.clipped_statistics`).
    clip : float
        Half-width of the clip in standard deviations.
    iterations : int
        Clipping passes.
    bias : path, DataArray, or a mapping of detector to one of these, optional
        Image to subtract, laid out like the raw files or trimmed. From a raw one its own overscan is subtracted.
    mask : same, optional
        Image whose non-zero pixels are left out, or those that have one of ``mask_bits``.
    saturation : float, optional
        Raw adu from which a pixel is saturated, instead of what headers and profile say.
    mask_bits : int, str, or a list of these, optional
        Bits of the mask that are bad, by number or by the name that the mask's header gives them; any but 0 when not
        given. Without ``mask``, bits of the data-quality images in the files themselves.
    border : int
        Pixels left out along the edges of each detector.
    vignetting : mapping or str, optional
        Where the camera gets light, instead of what the profile says: ``"circle 0 0 180 mm"`` or ``{"polygon": [...],
        "units": "pixel"}`` (`flatnorm_xr.camera.regions.read_region`). Pixels outside are left out; with ``"none"``
        none is.
    common_mask : bool
        Measure every exposure of a detector on the same pixels: what is bad in one of them (masked, saturated, without
        a value) is left out of all, so that no mask moves a level from one exposure to the next. The files are read
        twice. An amplifier with more than 1 % saturated pixels in an exposure, which is flagged, takes nothing from the
        other exposures.
    edge_strips : int
        Width in pixels (32 is usual) of strips on both sides of the borders between amplifiers: adds ``edge_ratio``,
        how the amplifiers of one detector compare where they meet. It tells gains apart from gradients of the light,
        which ``background`` cannot. 0 leaves it out.
    checksum : bool
        Also record the sha256 of every file.
    verify_checksum : bool
        Compare the bytes of every image with the DATASUM and CHECKSUM of its header: where they differ, it counts as
        unreadable; so does the whole file if another header of it is wrong, which may hide an image. Images without
        them are taken as they are.
    strict : bool
        Make an error of what is otherwise a warning and a hole: files and images that cannot be read, files that do not
        fit the profile.
    client : distributed.Client, optional
        The workers of its dask cluster do the work, a file at a time; they need to see the files under the same paths.
        The active client of this process when not given, unless it is asynchronous; without one, threads of this
        process. Whoever does it, the numbers are the same. A worker that dies is dask's to replace.
    threads : int, optional
        Number of files in flight at once in this process, whatever client is active: it bounds the memory. Without a
        client the number of cores, at most 8, when not given.
    resume : Dataset, optional
        Levels that an earlier call with the same keywords, profile, bias and mask gave. Files that it has, and that
        have the same size and time of change since, are not read again, unless something in them could not be read;
        what it has of other files is kept.
    partial : callable, optional
        Called about once a minute, and when an error or an interruption ends the work early, with the levels of what
        has been measured so far: save them, and pass them to ``resume``.
    progress : bool
        Show how far it is: a bar on a terminal, elsewhere a few lines on standard error if it takes long.

    Returns
    -------
    Dataset
        ``background``, ``sigma``, ``counts`` and ``quality`` along (detector[, amplifier], exposure), and
        ``detector_...`` of the whole detectors where there are amplifiers; with ``edge_strips``, ``edge_ratio`` and its
        standard error (detector, amplifier, exposure), geometric mean 1 over the amplifiers of a detector, NaN for
        those without a level or a neighbour. In adu, or in electron when the profile applies the gain. NaN (with a
        flag, counts 0) where nothing was measured. Detectors are sorted, exposures are sorted by time if all have one,
        else by id.

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
        Files or images that cannot be read, files that do not fit the profile (left out) or that no profile recognises;
        biases and darks; absent overscan (nothing subtracted), time (NaT), position, saturation level or data quality;
        images read out otherwise than most; no level at all.
    """
    options = MeasureOptions(
        statistic=statistic,
        clip=clip,
        iterations=iterations,
        saturation=saturation,
        edge_strips=edge_strips,
        bias=bias,
        mask=mask,
        mask_bits=mask_bits,
        border=border,
        vignetting=vignetting,
        common_mask=common_mask,
        checksum=checksum,
        verify_checksum=verify_checksum,
        strict=strict,
    )
    work = _work(client, threads, progress)
    if options.common_mask and resume is not None:
        msg = "measure: common_mask needs all exposures in one call, so resume cannot be given; leave one of them out"
        raise FlatnormError(msg)
    given = None if camera is None else load_profile(str(camera) if isinstance(camera, os.PathLike) else camera)
    paths = find_files(paths, caller="measure")
    earlier = {} if resume is None else levels_by_file(resume, given)
    before = kept(earlier, paths)
    known = {one.file.path for one in before}
    files = survey(
        [path for path in paths if path not in known],
        given,
        before=[one.file for one in before],
        limited=options.saturation is not None,
        strict=options.strict,
        progress=progress,
    )
    profile = (files or [one.file for one in before])[0].profile
    detectors = dict.fromkeys(detector.id for file in files for detector in file.detectors)
    reduction = options.reduction(profile, list(detectors))
    configuration = options.configuration(profile)
    if resume is not None:
        check_same_way(resume, configuration)
    if options.edge_strips and files:
        from flatnorm_xr.measure.edges import check_places

        check_places(files)
    if options.common_mask:
        reduction = replace(reduction, common=bad_anywhere(files, setting=reduction, work=work))

    def together(measured: Sequence[FileLevels]) -> xr.Dataset:
        levels = [*before, *measured]
        attrs = _attributes(levels, configuration, kept=len(before))
        return assemble(levels, attrs=attrs, edges=options.edge_strips > 0)

    levels = measure_all(
        files, setting=reduction, work=work, partial=None if partial is None else lambda some: partial(together(some))
    )
    ds = together(levels)
    _report_holes(levels, ds, options.strict)
    _warn_of_nothing(ds)
    return ds


def _work(client: Client | None, threads: int | None, progress: bool) -> Work:
    """Find out who does the work: threads of this process if their number is given, else a client if there is one."""
    if threads is None:
        return Work(check_client(client), default_threads(), progress)
    number = check_count("threads", threads, of="files in flight", least=1)
    if client is not None:
        msg = "measure: client and threads both say who does the work; give one"
        raise FlatnormError(msg)
    return Work(None, number, progress)


def _report_holes(levels: Sequence[FileLevels], ds: xr.Dataset, strict: bool) -> None:
    """Say which parts of which files are holes, and why; of a damaged file also if none is."""
    unreadable = (ds["quality"] & np.uint32(Flag.UNREADABLE)).astype(bool)
    lossy, harmless = [], []
    for one in levels:
        holes = []
        if one.faults or one.file.damage:
            at = unreadable.sel(exposure=one.file.exposure.id)
            ours = ds["path"].sel(exposure=one.file.exposure.id).isin(["", os.path.abspath(one.file.path)])
            holes = [" ".join(map(str, cell)) for cell in _labels_of(at & ours)]
        reason = offenders(one.faults, show=1) or one.file.damage
        if holes:
            lossy.append(f"{one.file.path} ({offenders(holes, show=3)}: {reason})")
        elif reason:
            harmless.append(f"{one.file.path} ({reason})")
    if (lossy or harmless) and strict:
        msg = f"measure: damaged files: {offenders([*lossy, *harmless])}; without strict=True what is lost becomes NaN"
        raise ReadError(msg)
    if lossy:
        warn(f"measure: parts that cannot be read are NaN and flagged UNREADABLE: {offenders(lossy)}")
    if harmless:
        warn(f"measure: damaged files, in which all that is measured could be read: {offenders(harmless)}")


def _labels_of(chosen: xr.DataArray) -> Iterator[tuple[Any, ...]]:
    """Labels of the cells that are True, one of each dim."""
    labels = [chosen[dim].values for dim in chosen.dims]
    for place in np.argwhere(chosen.values):
        yield tuple(values[i] for values, i in zip(labels, place, strict=True))


def _warn_of_nothing(ds: xr.Dataset) -> None:
    """Say so when no cell has a level, and what the flags say instead."""
    if np.isfinite(ds["background"]).any():
        return
    quality = ds["quality"].values
    of = {flag: int(np.count_nonzero(quality & np.uint32(flag))) for flag in Flag if flag is not Flag.NO_SUCH_AMPLIFIER}
    warn(
        f"measure: nothing was measured, no cell has a level: {offenders(f'{n} {f.name}' for f, n in of.items() if n)}"
    )


def _attributes(levels: Sequence[FileLevels], configuration: dict[str, Any], *, kept: int) -> dict[str, Any]:
    from flatnorm_xr import __version__

    camera, statistic = configuration["camera"], configuration["statistic"]
    exposures = {one.file.exposure.id for one in levels}
    before = f" ({kept} of them measured before)" if kept else ""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "title": f"Flat levels of {camera}: {len(exposures)} exposures",
        "history": f"{now} flatnorm-xr {__version__} measure: {len(levels)} files of {camera}{before}, {statistic}",
        "source": f"FITS files of {camera}, statistic {statistic}",
        "camera": camera,
        "inputs": json.dumps([one.provenance for one in levels]),
        "measure_configuration": json.dumps(configuration),
    }
