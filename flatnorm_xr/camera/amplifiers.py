"""What headers say of amplifiers: sections, gain, read noise, saturation, and the HDUs that go with theirs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite, nan
from typing import Any, NamedTuple

from flatnorm_xr.camera.faults import Reading
from flatnorm_xr.camera.headers import FileHeaders, HduHeader
from flatnorm_xr.camera.places import Affine
from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.camera.rules import LEFT_OF_DATA, RIGHT_OF_DATA, Rule, match_all
from flatnorm_xr.camera.sections import Section, parse_section
from flatnorm_xr.errors import CameraError, offenders

__all__ = [
    "USE_GENERIC",
    "Amplifier",
    "Draft",
    "Partners",
    "find_partners",
    "images_of_light",
    "number",
    "read_amplifiers",
]

USE_GENERIC = 'correct the profile, or pass camera="generic" for processed images'
"""What to do where a profile does not fit."""

_WHERE_OUTSIDE = (
    "is the file of another readout mode, binned, or trimmed already? Correct the sections in the camera profile, or "
    'pass camera="generic" for processed images'
)


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


class Draft(NamedTuple):
    """What the headers say of an amplifier before its place is known; attributes as of `Amplifier`."""

    name: str
    hdu: int
    data: Section
    overscan: Section | None
    trimmed: Section | None
    gain: float
    read_noise: float
    saturation: float
    placeholder_gain: bool
    mask_hdu: int | None
    overscan_hdu: int | None


class Partners(NamedTuple):
    """HDUs that go with an image: data quality, and overscan that is not beside the data."""

    mask: HduHeader | None = None
    overscan: HduHeader | None = None


def find_partners(headers: FileHeaders, reading: Reading) -> tuple[list[HduHeader], Mapping[int, Partners]]:
    """Tell images from the masks and overscans that go with them.

    Parameters
    ----------
    headers : FileHeaders
        All of the file.
    reading : Reading
        With the profile.

    Returns
    -------
    list of HduHeader
        Images that the profile takes for detectors or amplifiers.
    dict of int to Partners
        By the number of the image's HDU; absent where there are none.
    """
    profile = reading.profile
    apart = profile.amplifiers.overscan_hdu
    kinds = {"mask": (profile.mask.only, profile.mask.pair)}
    if apart is not None:
        kinds["overscan"] = (apart.only, apart.pair)
    beside: dict[str, list[HduHeader]] = {kind: [] for kind in kinds}
    images = []
    for hdu in headers.images:
        kind = next((kind for kind, (only, _) in kinds.items() if only and match_all(only, hdu)), None)
        if kind is not None:
            beside[kind].append(hdu)
        elif _holds_light(hdu, profile):
            images.append(hdu)
    found: dict[int, Partners] = {}
    for kind, (_, pair) in kinds.items():
        for index, partner in _paired(kind, images, beside[kind], pair, reading):
            found[index] = found.get(index, Partners())._replace(**{kind: partner})
    return images, found


def _holds_light(hdu: HduHeader, profile: Profile) -> bool:
    rules = profile.detector
    return (not rules.only or match_all(rules.only, hdu)) and not (rules.skip and match_all(rules.skip, hdu))


def images_of_light(headers: FileHeaders, profile: Profile) -> list[HduHeader]:
    """Images that the profile takes for detectors or amplifiers, without those that go with them."""
    return find_partners(headers, Reading(headers.path, profile))[0]


def _paired(
    kind: str, images: Sequence[HduHeader], others: Sequence[HduHeader], pair: Rule | None, reading: Reading
) -> Iterator[tuple[int, HduHeader]]:
    """Images with what goes with them: of the same value, or of the same place in the order."""
    key = "mask.pair" if kind == "mask" else "overscan_hdu.pair"
    if not others:
        return
    if pair is None:
        if len(others) == len(images):
            yield from ((image.index, other) for image, other in zip(images, others, strict=True))
            return
        said = f"{len(images)} images and {len(others)} HDUs of {kind}: which belongs to which"
        _unpaired(reading, kind, f"{said} cannot be told from their order", f"give a rule {key}")
        return
    by_value: dict[str | None, list[HduHeader]] = {}
    for other in others:
        value = pair.find(other, path=reading.path)
        by_value.setdefault(None if value is None else str(value), []).append(other)
    nameless = [other.index for other in by_value.pop(None, [])]
    if nameless:
        said = (
            f"{kind} in HDU {offenders(nameless)} has no {pair}, by which it should be known what image it belongs to"
        )
        _unpaired(reading, kind, said, f"correct the rule {key} in the camera profile")
    twice = {value: members for value, members in by_value.items() if len(members) > 1}
    for value, members in twice.items():
        said = f"{kind} of {pair} {value} stands in HDU {offenders(other.index for other in members)}"
        _unpaired(reading, kind, said, f"correct the rule {key} in the camera profile")
    clear = {value: members[0] for value, members in by_value.items() if value not in twice}
    wanted: dict[str, list[int]] = {}
    for image in images:
        value = str(pair.find(image, path=reading.path))
        if value in clear:
            wanted.setdefault(value, []).append(image.index)
    for value, indices in wanted.items():
        if len(indices) > 1 and reading.profile.layout == "plain-images":
            said = f"{kind} of {pair} {value} may belong to any image of HDU {offenders(indices)}"
            _unpaired(reading, kind, said, f"correct the rule {key} in the camera profile")
        else:
            yield from ((index, clear[value]) for index in indices)


def _unpaired(reading: Reading, kind: str, said: str, advice: str) -> None:
    """Collect that it is not known what belongs to what; data quality that may be absent is then not used."""
    if kind == "mask" and reading.profile.mask.optional:
        reading.notes.append(f"data quality is not used: {said}")
    else:
        reading.wrong(said, advice=advice)


def read_amplifiers(hdu: HduHeader, reading: Reading, partners: Partners) -> Iterator[Draft]:
    """Read the amplifiers whose pixels one HDU holds."""
    rules, path = reading.profile.amplifiers, reading.path
    names = rules.names or ("",)
    if reading.profile.layout == "hdu-is-amplifier":
        name = rules.name.find(hdu, path=path) if rules.name is not None else None
        if name is None:
            said = f"no amplifier name ({rules.name}) as profile {reading.profile.name} wants"
            reading.wrong(said, hdu=hdu.index, advice=USE_GENERIC)
            return
        names = (str(name),)
    for name in names:
        data = _data(name, hdu, reading)
        if data is None:
            said = f"no data section ({rules.rule('data', name)}) of amplifier {name}"
            reading.wrong(f"{said} as profile {reading.profile.name} wants", hdu=hdu.index, advice=USE_GENERIC)
            continue
        gain, read_noise, saturation = (
            number(rules.rule(key, name), hdu, amplifier=name, path=path)
            for key in ("gain", "read_noise", "saturation")
        )
        placeholder = gain in rules.gain_placeholders
        yield Draft(
            name=name,
            hdu=hdu.index,
            data=data,
            overscan=_overscan(name, data, hdu, reading, partners.overscan),
            trimmed=_section("trimmed", name, hdu, reading),
            gain=nan if placeholder else gain,
            read_noise=read_noise,
            saturation=saturation if saturation > 0 else nan,
            placeholder_gain=placeholder,
            mask_hdu=partners.mask.index if partners.mask is not None else None,
            overscan_hdu=partners.overscan.index if partners.overscan is not None else None,
        )


def number(rule: Rule | None, hdu: HduHeader, *, amplifier: str = "", path: str = "") -> float:
    """Find a number by a rule; NaN when there is none."""
    value = rule.find(hdu, amplifier=amplifier, path=path) if rule is not None else None
    try:
        return nan if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return nan


def _data(name: str, hdu: HduHeader, reading: Reading) -> Section | None:
    """Section of an amplifier's light; None when the headers lack what the profile promises."""
    rules = reading.profile.amplifiers
    whole = Section(1, hdu.shape[1], 1, hdu.shape[0])
    if rules.rule("data", name) is not None:
        return _section("data", name, hdu, reading)
    if not rules.margins:
        return whole
    left, right, bottom, top = (
        _margin(rules.margins.get(side), name, hdu, reading.path) for side in ("left", "right", "bottom", "top")
    )
    section = Section(1 + left, hdu.shape[1] - right, 1 + bottom, hdu.shape[0] - top)
    if section.x1 > section.x2 or section.y1 > section.y2:
        size = f"{hdu.shape[1]} x {hdu.shape[0]} pixels (x, y)"
        said = f"margins of {left}, {right}, {bottom}, {top} pixels (left, right, bottom, top) leave nothing of {size}"
        reading.wrong(said, hdu=hdu.index, advice="correct amplifiers.margins in the camera profile")
        return whole
    return section


def _margin(rule: Rule | None, name: str, hdu: HduHeader, path: str) -> int:
    value = number(rule, hdu, amplifier=name, path=path)
    if isfinite(value) and value >= 0 and value == int(value):
        return int(value)
    if rule is None:
        return 0
    msg = f"{path}[{hdu.index}]: a margin ({rule}) is {value:g}; it must be a whole number of pixels"
    raise CameraError(msg)


def _overscan(name: str, data: Section, hdu: HduHeader, reading: Reading, apart: HduHeader | None) -> Section | None:
    rule = reading.profile.amplifiers.rule("overscan", name)
    if apart is not None:
        whole = Section(1, apart.shape[1], 1, apart.shape[0])
        return whole if rule is None else _section("overscan", name, apart, reading)
    return _section("overscan", name, hdu, reading, data=data)


def _section(
    what: str, amplifier: str, hdu: HduHeader, reading: Reading, *, data: Section | None = None
) -> Section | None:
    rules = reading.profile.amplifiers
    rule = rules.rule(what, amplifier)
    value = rule.find(hdu, amplifier=amplifier, path=reading.path) if rule is not None else None
    if value is None:
        return None
    if data is not None and value in (RIGHT_OF_DATA, LEFT_OF_DATA):
        return _beside(str(value), data, hdu.shape[1])
    name, where = _name(what, amplifier), f"{reading.path}[{hdu.index}]"
    try:
        section = parse_section(str(value), name=name, where=where)
        if section is not None and what in rules.unbinned:
            section = section.binned(*_binning(hdu, reading))
    except CameraError as error:
        reading.wrong(str(error).removeprefix(f"{where}: "), hdu=hdu.index)
        return None
    if section is None or what == "trimmed" or section.lies_inside(hdu.shape):
        return section
    size = f"{hdu.shape[1]} x {hdu.shape[0]} pixels (x, y)"
    reading.wrong(f"section {name} {section} lies outside the image of {size}", hdu=hdu.index, advice=_WHERE_OUTSIDE)
    return section if what == "data" else None


def _name(what: str, amplifier: str) -> str:
    return f"{what} of amplifier {amplifier}" if amplifier else what


def _beside(side: str, data: Section, columns: int) -> Section | None:
    first, last = sorted((data.x1, data.x2))
    start, stop = (last + 1, columns) if side == RIGHT_OF_DATA else (1, first - 1)
    return Section(start, stop, data.y1, data.y2) if start <= stop else None


def _binning(hdu: HduHeader, reading: Reading) -> tuple[int, int]:
    rule: Any = reading.profile.detector.binning
    value = rule.find(hdu, path=reading.path) if rule is not None else None
    if value is None:
        return 1, 1
    words = str(value).split()
    if len(words) != 2 or not all(word.isdigit() and int(word) > 0 for word in words):
        msg = f"{reading.path}[{hdu.index}]: binning ({rule}) is {value!r}; it must be two numbers"
        raise CameraError(msg)
    return int(words[0]), int(words[1])
