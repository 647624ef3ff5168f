"""What one file holds: its exposure, its detectors, their amplifiers and sections; made from headers alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite, nan
from typing import Any

import numpy as np

from flatnorm_xr.camera.file_bytes import FileStamp
from flatnorm_xr.camera.headers import FileHeaders, HduHeader
from flatnorm_xr.camera.image_place import ImagePlace
from flatnorm_xr.camera.places import Affine, places_in_mosaic
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.rules import LEFT_OF_DATA, RIGHT_OF_DATA, Rule, match_all
from flatnorm_xr.camera.sections import Section, parse_section
from flatnorm_xr.camera.times import night_of, parse_time, to_utc
from flatnorm_xr.errors import CameraError, FlatnormError, ReadError, offenders

__all__ = ["Amplifier", "Detector", "Exposure", "FileDescription", "describe", "detector_ids"]

_LONGEST = 1e7
"""Exposure times above this many seconds are not believed."""

_GENERIC = 'correct the profile, or pass camera="generic" for processed images'


@dataclass(frozen=True)
class Amplifier:
    """One amplifier in one file.

    Attributes
    ----------
    name : str
        Empty for a detector that was not divided into amplifiers.
    hdu : int
        HDU that holds its pixels.
    data : Section
        Its light, in pixels of that HDU.
    overscan : Section or None
        Its overscan there.
    trimmed : Section or None
        Where its pixels lie in the trimmed image of the detector; reversed where that image is flipped.
    gain, read_noise : float
        Electron per adu, electron; NaN when not known.
    saturation : float
        Raw adu; NaN when not known.
    placeholder_gain : bool
        Whether the header gave a gain that means "unknown".
    x, y, width, height : float
        Centre and size in the focal plane, mm; NaN when not known.
    to_focal_plane : Affine or None
        Pixels of its HDU (column and row, from 1) onto the focal plane, mm; None when not known.
    mask_hdu : int or None
        HDU that says which of its pixels are bad.
    overscan_hdu : int or None
        HDU that ``overscan`` is a section of, where that is not ``hdu``.
    """

    name: str
    hdu: int
    data: Section
    overscan: Section | None
    trimmed: Section | None
    gain: float = nan
    read_noise: float = nan
    saturation: float = nan
    placeholder_gain: bool = False
    x: float = nan
    y: float = nan
    width: float = nan
    height: float = nan
    to_focal_plane: Affine | None = None
    mask_hdu: int | None = None
    overscan_hdu: int | None = None


@dataclass(frozen=True)
class Detector:
    """One detector in one file.

    Attributes
    ----------
    id : int or str
        Label along the dimension ``detector``.
    name, type : str
        Empty when the header does not say.
    amplifiers : tuple of Amplifier
        In the file's order, or that of the profile.
    shapes : dict of int to tuple
        Rows and columns of each HDU it is read from.
    trimmed_shape : tuple of int
        Rows and columns of its trimmed image; empty when its amplifiers' places in it are not known.
    x, y, width, height : float
        Centre and size in the focal plane, mm; NaN when not known.
    """

    id: int | str
    name: str
    type: str
    amplifiers: tuple[Amplifier, ...]
    shapes: dict[int, tuple[int, ...]]
    trimmed_shape: tuple[int, ...] = ()
    x: float = nan
    y: float = nan
    width: float = nan
    height: float = nan


@dataclass(frozen=True)
class Exposure:
    """What a header says of the exposure; None, NaN or an empty text where it does not."""

    id: int | str
    time: np.datetime64 | None = None
    exposure_time: float = nan
    physical_filter: str = ""
    observation_type: str = ""
    lamp: str = ""
    night: str = ""


@dataclass(frozen=True)
class FileDescription:
    """One file as a profile understands it.

    ``damage`` says why a part of it cannot be read; ``datasums`` are those of its detectors' HDUs, if all have one.
    ``images`` say where the pixels of every image HDU lie, ``stamp`` what the file was when its headers were read.
    """

    path: str
    profile: Profile
    rule: str
    exposure: Exposure
    detectors: tuple[Detector, ...]
    damage: str = ""
    datasums: tuple[int, ...] = ()
    images: Mapping[int, ImagePlace] = field(default_factory=dict)
    stamp: FileStamp | None = None


def describe(headers: FileHeaders, *, profile: Profile, rule: str = "") -> FileDescription:
    """Find exposure, detectors, amplifiers and sections of a file; no pixel is read.

    Parameters
    ----------
    headers : FileHeaders
        All headers of the file.
    profile : Profile
        The camera.
    rule : str
        Why this profile was chosen, for the record.

    Returns
    -------
    FileDescription

    Raises
    ------
    CameraError
        The profile does not fit: no image, no detector or exposure id, a section that is missing or outside the
        image, a detector or amplifier found twice.
    ReadError
        A header card that cannot be read, or holds a number that cannot be what it stands for.
    """
    from astropy.io.fits import VerifyError

    try:
        return _describe(headers, profile, rule)
    except FlatnormError:
        raise
    except (VerifyError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        msg = f"{headers.path}: the header does not make sense ({' '.join(str(error).split())})"
        raise ReadError(msg) from error


def _describe(headers: FileHeaders, profile: Profile, rule: str) -> FileDescription:
    hdus = [
        hdu
        for hdu in headers.images
        if (not profile.detector.only or match_all(profile.detector.only, hdu))
        and not (profile.detector.skip and match_all(profile.detector.skip, hdu))
    ]
    if not hdus:
        msg = f"{headers.path}: no image of two dimensions that profile {profile.name} takes for a detector; {_GENERIC}"
        raise CameraError(msg)
    ids = _known_ids(hdus, profile, headers.path)
    groups: dict[int | str, list[HduHeader]] = {}
    for hdu, label in zip(hdus, ids, strict=True):
        groups.setdefault(label, []).append(hdu)
    if profile.layout != "hdu-is-amplifier":
        twice = [label for label, members in groups.items() if len(members) > 1]
        if twice:
            msg = (
                f"{headers.path}: detector {offenders(twice)} found in more than one HDU; correct the rule detector.id"
            )
            raise CameraError(msg)
    return FileDescription(
        path=headers.path,
        profile=profile,
        rule=rule,
        exposure=_exposure(hdus[0], profile, headers.path),
        detectors=tuple(_detector(label, members, profile, headers.path) for label, members in groups.items()),
        damage=headers.damage,
        datasums=_datasums(hdus),
        images=headers.places,
        stamp=headers.stamp,
    )


def _datasums(hdus: Sequence[HduHeader]) -> tuple[int, ...]:
    values = [str(hdu.header.get("DATASUM", "")).strip() for hdu in hdus]
    return tuple(map(int, values)) if all(value.isdigit() for value in values) else ()


def detector_ids(hdus: Sequence[HduHeader], *, profile: Profile, path: str) -> list[int | str | None]:
    """Detector id of each HDU, None where the header does not say."""
    rule = profile.detector.id
    if profile.layout == "plain-images":
        for source in rule.sources:
            found = [replace(rule, sources=(source,)).find(hdu, path=path) for hdu in hdus]
            if None not in found and len(set(map(str, found))) == len(hdus):
                return [_label(value, path) for value in found]
        return [hdu.number for hdu in hdus]
    values = (rule.find(hdu, path=path) for hdu in hdus)
    return [None if value is None else _label(value, path) for value in values]


def _known_ids(hdus: Sequence[HduHeader], profile: Profile, path: str) -> list[int | str]:
    ids = detector_ids(hdus, profile=profile, path=path)
    without = [str(hdu.index) for hdu, label in zip(hdus, ids, strict=True) if label is None]
    if without:
        rule = profile.detector.id
        msg = f"{path}: HDU {offenders(without)}: no detector id ({rule}) as profile {profile.name} wants; {_GENERIC}"
        raise CameraError(msg)
    return [label for label in ids if label is not None]


def _label(value: Any, path: str) -> int | str:
    if not isinstance(value, int) or isinstance(value, bool):
        return str(value).strip()
    if not -(2**63) <= value < 2**63:
        msg = f"{path}: the id {value} does not fit into 64 bits; correct the header"
        raise ReadError(msg)
    return value


def _exposure(hdu: HduHeader, profile: Profile, path: str) -> Exposure:
    rules = profile.exposure

    def text(rule: Rule | None) -> str:
        value = rule.find(hdu, path=path) if rule is not None else None
        return "" if value is None else str(value).strip()

    label = rules.id.find(hdu, path=path)
    if label is None:
        msg = f"{path}: no exposure id ({rules.id}) as profile {profile.name} wants; {_GENERIC}"
        raise CameraError(msg)
    seconds = _number(rules.exposure_time, hdu, path=path) * (1e-3 if rules.exposure_time_unit == "ms" else 1.0)
    if abs(seconds) > _LONGEST:
        msg = f"{path}: an exposure time of {seconds:g} s cannot be ({rules.exposure_time}); correct the header"
        raise ReadError(msg)
    time = _time(hdu, profile, path, seconds)
    night = text(rules.night)
    if len(night) == 8 and night.isdigit():
        night = f"{night[:4]}-{night[4:6]}-{night[6:]}"
    longitude = _number(rules.longitude, hdu, path=path)
    if not night and time is not None and isfinite(longitude):
        night = night_of(time, longitude=longitude)
    return Exposure(
        id=_label(label, path),
        time=time,
        exposure_time=seconds,
        physical_filter=text(rules.physical_filter),
        observation_type=text(rules.observation_type),
        lamp=text(rules.lamp),
        night=night,
    )


def _time(hdu: HduHeader, profile: Profile, path: str, seconds: float) -> np.datetime64 | None:
    """Middle of the exposure in UTC; its start or end where the exposure time is not known."""
    rules = profile.exposure
    if rules.time is None:
        return None
    candidates = (replace(rules.time, sources=(source,)).find(hdu, path=path) for source in rules.time.sources)
    time = next((t for t in map(parse_time, candidates) if t is not None), None)
    if time is None:
        return None
    if rules.time_scale is not None:
        time = to_utc(time, scale=str(rules.time_scale.find(hdu, path=path)))
    half = np.timedelta64(round(seconds * 0.5e9) if isfinite(seconds) else 0, "ns")
    return np.datetime64(time + {"start": half, "middle": np.timedelta64(0, "ns"), "end": -half}[rules.time_is])


def _number(rule: Rule | None, hdu: HduHeader, *, amplifier: str = "", path: str = "") -> float:
    value = rule.find(hdu, amplifier=amplifier, path=path) if rule is not None else None
    try:
        return nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return nan


def _detector(label: int | str, hdus: Sequence[HduHeader], profile: Profile, path: str) -> Detector:
    first = hdus[0]
    amplifiers: list[Amplifier] = []
    for hdu in hdus:
        amplifiers.extend(_amplifiers(hdu, profile, path))
    names = [amplifier.name for amplifier in amplifiers]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        msg = f"{path}: detector {label} has amplifier {offenders(twice)} twice; correct the rule amplifiers.name"
        raise CameraError(msg)
    placed, shape = _place(amplifiers, profile)
    place, places = places_in_mosaic(hdus, placed, shape, profile, path)
    name, kind = (
        rule.find(first, path=path) if rule is not None else None
        for rule in (profile.detector.name, profile.detector.type)
    )
    return Detector(
        id=label,
        name="" if name is None else str(name),
        type="" if kind is None else str(kind),
        amplifiers=tuple(
            replace(amplifier, **one._asdict(), to_focal_plane=pixels)
            for amplifier, (one, pixels) in zip(placed, places, strict=True)
        ),
        shapes={hdu.index: hdu.shape for hdu in hdus},
        trimmed_shape=shape,
        **place._asdict(),
    )


def _amplifiers(hdu: HduHeader, profile: Profile, path: str) -> Iterator[Amplifier]:
    rules = profile.amplifiers
    names = rules.names or ("",)
    if profile.layout == "hdu-is-amplifier":
        name = rules.name.find(hdu, path=path) if rules.name is not None else None
        if name is None:
            msg = f"{path}[{hdu.index}]: no amplifier name ({rules.name}) as profile {profile.name} wants; {_GENERIC}"
            raise CameraError(msg)
        names = (str(name),)
    for name in names:
        data = _section("data", name, hdu, profile, path)
        if data is None and rules.rule("data", name) is not None:
            what = f"data section ({rules.rule('data', name)}) of amplifier {name}"
            msg = f"{path}[{hdu.index}]: no {what} as profile {profile.name} wants; {_GENERIC}"
            raise CameraError(msg)
        data = data or Section(1, hdu.shape[1], 1, hdu.shape[0])
        gain, read_noise, saturation = (
            _number(rules.rule(key, name), hdu, amplifier=name, path=path)
            for key in ("gain", "read_noise", "saturation")
        )
        yield Amplifier(
            name=name,
            hdu=hdu.index,
            data=data,
            overscan=_section("overscan", name, hdu, profile, path, data=data),
            trimmed=_section("trimmed", name, hdu, profile, path),
            gain=nan if gain in rules.gain_placeholders else gain,
            read_noise=read_noise,
            saturation=saturation if saturation > 0 else nan,
            placeholder_gain=gain in rules.gain_placeholders,
        )


def _section(
    what: str,
    amplifier: str,
    hdu: HduHeader,
    profile: Profile,
    path: str,
    *,
    data: Section | None = None,
) -> Section | None:
    rule = profile.amplifiers.rule(what, amplifier)
    value = rule.find(hdu, amplifier=amplifier, path=path) if rule is not None else None
    if value is None:
        return None
    where = f"{path}[{hdu.index}]"
    if value in (RIGHT_OF_DATA, LEFT_OF_DATA) and data is not None:
        return _beside(str(value), data, hdu.shape[1])
    name = f"{what} of amplifier {amplifier}" if amplifier else what
    section = parse_section(str(value), name=name, where=where)
    if section is not None and what in profile.amplifiers.unbinned:
        section = section.binned(*_binning(hdu, profile, path))
    if section is not None and what != "trimmed":
        section.check_inside(hdu.shape, name=name, where=where)
    return section


def _beside(side: str, data: Section, columns: int) -> Section | None:
    first, last = sorted((data.x1, data.x2))
    start, stop = (last + 1, columns) if side == RIGHT_OF_DATA else (1, first - 1)
    return Section(start, stop, data.y1, data.y2) if start <= stop else None


def _binning(hdu: HduHeader, profile: Profile, path: str) -> tuple[int, int]:
    value = profile.detector.binning.find(hdu, path=path) if profile.detector.binning is not None else None
    if value is None:
        return 1, 1
    words = str(value).split()
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        msg = f"{path}[{hdu.index}]: binning ({profile.detector.binning}) is {value!r}; it must be two numbers"
        raise CameraError(msg)
    return int(words[0]), int(words[1])


def _place(amplifiers: Sequence[Amplifier], profile: Profile) -> tuple[list[Amplifier], tuple[int, ...]]:
    """Give each amplifier its place in the trimmed image, from (0, 0) on.

    Places that do not fit the data sections (some files have them wrong) count as not known.
    """
    given = [amplifier.trimmed for amplifier in amplifiers]
    if all(place is not None for place in given):
        places = _shift([place for place in given if place is not None])
    elif profile.layout != "hdu-is-amplifier":
        places = _pack([amplifier.data for amplifier in amplifiers])
    else:
        places = []
    fits = len(places) == len(amplifiers) and all(
        place.shape == amplifier.data.shape for place, amplifier in zip(places, amplifiers, strict=True)
    )
    shape = (max(max(p.y1, p.y2) for p in places), max(max(p.x1, p.x2) for p in places)) if fits else ()
    if not fits or _overlap(places, shape):
        return [replace(amplifier, trimmed=None) for amplifier in amplifiers], ()
    return [replace(a, trimmed=place) for a, place in zip(amplifiers, places, strict=True)], shape


def _shift(places: Sequence[Section]) -> list[Section]:
    x = min(min(place.x1, place.x2) for place in places) - 1
    y = min(min(place.y1, place.y2) for place in places) - 1
    return [Section(p.x1 - x, p.x2 - x, p.y1 - y, p.y2 - y) for p in places]


def _pack(data: Sequence[Section]) -> list[Section]:
    """Push data sections together: columns of overscan between them close up."""

    def starts(ranges: set[tuple[int, int]]) -> dict[tuple[int, int], int]:
        place, taken = {}, 1
        for first, last in sorted(ranges):
            place[first, last] = taken
            taken += last - first + 1
        return place

    columns = [(min(s.x1, s.x2), max(s.x1, s.x2)) for s in data]
    rows = [(min(s.y1, s.y2), max(s.y1, s.y2)) for s in data]
    x, y = starts(set(columns)), starts(set(rows))
    return [Section(x[c], x[c] + c[1] - c[0], y[r], y[r] + r[1] - r[0]) for c, r in zip(columns, rows, strict=True)]


def _overlap(places: Sequence[Section], shape: tuple[int, ...]) -> bool:
    boxes = [place.slices for place in places]
    return any(
        a[0].start < b[0].stop and b[0].start < a[0].stop and a[1].start < b[1].stop and b[1].start < a[1].stop
        for i, a in enumerate(boxes)
        for b in boxes[:i]
    )
