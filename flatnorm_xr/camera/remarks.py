"""What deserves a look in the headers of one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import isfinite
from statistics import median

import numpy as np

from flatnorm_xr.camera.amplifiers import Amplifier
from flatnorm_xr.camera.geometry import Detector, FileDescription
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.times import known_scale
from flatnorm_xr.camera.trimmed import overlapping
from flatnorm_xr.errors import offenders

__all__ = ["missing", "remarks_on"]

WILD_GAIN = 2.5
"""Ratio of a gain to the file's median beyond which it is not believed."""

_SENTENCES = {
    "overscan": "no overscan section: nothing will be subtracted",
    "time": "no time of the exposure",
    "position": "no position in the focal plane",
}


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


def remarks_on(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    """Say what deserves a look in one file, a sentence each.

    Parameters
    ----------
    file : FileDescription
        Made of ``headers``.
    headers : FileHeaders
        All headers of the file.
    """
    if file.damage:
        yield f"the file is damaged: {file.damage}"
    yield from _of_cards(file, headers)
    lacking: dict[str, list[int | str]] = {}
    for kind, what in missing(file):
        lacking.setdefault(kind, []).append(what)
    for kind, whats in lacking.items():
        of = "" if kind == "time" else f" (detector {offenders(whats)})"
        yield _SENTENCES[kind] + of
    yield from _of_gains(file)
    unlimited = [d.id for d in file.detectors if any(not isfinite(a.saturation) for a in d.amplifiers)]
    if unlimited and file.profile.overscan != "none":
        yield f"no saturation level, so saturated pixels will be used (detector {offenders(unlimited)})"
    yield from _of_sections(file)
    unplaced = [detector.id for detector in file.detectors if not detector.trimmed_shape]
    if unplaced:
        yield f"the sections of the trimmed image do not fit the data sections (detector {offenders(unplaced)})"
    yield from _of_clock(file, headers)


def _of_cards(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    twice = [hdu.index for hdu in headers.hdus if "EXTNAME" in hdu.header and hdu.header.count("EXTNAME") > 1]
    if twice:
        yield f"two EXTNAME cards in HDU {offenders(twice)}"
    rule = file.profile.exposure.time_scale
    found = [rule.find(hdu, path=file.path) for hdu in headers.images] if rule is not None else []
    scales = {str(scale) for scale in found if scale is not None and not known_scale(str(scale))}
    if scales and file.exposure.time is not None:
        yield f"the time scale {offenders(sorted(scales))} is not known and was taken for UTC"


def _of_gains(file: FileDescription) -> Iterator[str]:
    amplifiers = [(detector, amplifier) for detector in file.detectors for amplifier in detector.amplifiers]
    placeholders = [_name(d, a) for d, a in amplifiers if a.placeholder_gain]
    if placeholders:
        which = "every amplifier" if len(placeholders) == len(amplifiers) > 1 else offenders(placeholders)
        yield f"the gain is a placeholder and counts as unknown: {which}"
    negative = [f"{_name(d, a)} ({a.gain:g})" for d, a in amplifiers if a.gain <= 0]
    if negative:
        yield f"a gain cannot be zero or less: {offenders(negative)}"
    yield from _wild_gains([(_name(d, a), a.gain) for d, a in amplifiers if a.gain > 0])


def _wild_gains(gains: Sequence[tuple[str, float]]) -> Iterator[str]:
    """Name gains far from the median; of two that differ nobody knows which is wrong."""
    if len(gains) < 2:
        return
    values = [gain for _, gain in gains]
    middle = median(values) if len(gains) > 2 else max(values)
    wild = [(name, gain) for name, gain in gains if not 1 / WILD_GAIN <= gain / middle <= WILD_GAIN]
    if wild:
        named = offenders(f"{name} ({gain:g})" for name, gain in (wild if len(gains) > 2 else gains))
        yield f"gains differ by more than a factor of {WILD_GAIN:g}: {named}" + (
            f", the others about {middle:g} electron per adu" if len(gains) > 2 else ""
        )


def _name(detector: Detector, amplifier: Amplifier) -> str:
    return f"{detector.id} {amplifier.name}".strip()


def _of_sections(file: FileDescription) -> Iterator[str]:
    shared: list[str] = []
    dark: list[str] = []
    short: list[str] = []
    for detector in file.detectors:
        for hdu in detector.shapes:
            inside = [amplifier for amplifier in detector.amplifiers if amplifier.hdu == hdu]
            shared += _sharing(detector, inside)
            dark += _lit_overscans(detector, inside)
        short += [_name(detector, a) for a in detector.amplifiers if _lacks_rows(a)]
    if shared:
        yield f"the data sections of two amplifiers have pixels in common: {offenders(shared)}"
    if dark:
        yield f"the overscan lies in a data section: {offenders(dark)}"
    if short and file.profile.overscan == "median-per-row":
        yield f"the overscan lacks rows of the data section: {offenders(short)}"


def _sharing(detector: Detector, amplifiers: Sequence[Amplifier]) -> list[str]:
    pairs = overlapping([amplifier.data for amplifier in amplifiers])
    return [f"{detector.id} {amplifiers[a].name} and {amplifiers[b].name}" for a, b in pairs]


def _lit_overscans(detector: Detector, amplifiers: Sequence[Amplifier]) -> list[str]:
    beside = [a for a in amplifiers if a.overscan is not None and a.overscan_hdu is None]
    return [
        _name(detector, one)
        for one in beside
        if one.overscan is not None and any(overlapping([one.overscan, other.data]) for other in amplifiers)
    ]


def _lacks_rows(amplifier: Amplifier) -> bool:
    if amplifier.overscan is None:
        return False
    rows, wanted = amplifier.overscan.slices[0], amplifier.data.slices[0]
    if amplifier.overscan_hdu is not None:
        return bool(rows.stop - rows.start != wanted.stop - wanted.start)
    return bool(wanted.start < rows.start or wanted.stop > rows.stop)


def _of_clock(file: FileDescription, headers: FileHeaders) -> Iterator[str]:
    """Compare the exposure with the date of its file: an exposure later than its file shows that a clock was wrong."""
    if headers.stamp is None or file.exposure.time is None:
        return
    written = np.datetime64(headers.stamp.mtime_ns, "ns")
    if file.exposure.time > written + np.timedelta64(1, "D"):
        yield f"the exposure is later than its file, which was written on {str(written)[:10]}: is its time right?"
