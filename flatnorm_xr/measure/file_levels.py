"""One file to levels: every detector as a whole, and each of its amplifiers."""

from __future__ import annotations

import datetime
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flatnorm_xr.camera.geometry import Detector, FileDescription
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.flags import Flag
from flatnorm_xr.measure.assemble import FileLevels, Level
from flatnorm_xr.measure.reference import Reference

__all__ = ["Reduction", "measure_file"]

SATURATED_FRACTION = 0.01
"""Share of saturated pixels above which a level is flagged."""


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
