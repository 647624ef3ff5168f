"""Every key a camera profile may have: its kind, its meaning, and how its value is read and checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flatnorm_xr.camera.rules import Match, Rule, parse_rule
from flatnorm_xr.errors import CameraError

__all__ = ["KEYS", "PER_AMPLIFIER", "SECTIONS", "SIDES", "Key", "Partner", "checked_values"]

LAYOUTS = ("hdu-is-detector", "hdu-is-amplifier", "plain-images")
OVERSCANS = ("median-per-row", "constant", "none")
SIDES = ("left", "right", "bottom", "top")
PER_AMPLIFIER = ("data", "overscan", "trimmed", "gain", "read_noise", "saturation")


@dataclass(frozen=True)
class Key:
    """One key a profile may have; ``name`` has its section before the dot."""

    name: str
    kind: str
    meaning: str
    required: bool = False
    default: Any = None
    words: tuple[str, ...] = ()


_ROWS = (
    Key("name", "text", "name of the profile", required=True),
    Key("title", "text", "camera and telescope, for people", default=""),
    Key(
        "layout",
        "word",
        "hdu-is-detector: every image HDU is a detector, its amplifiers are sections of it; hdu-is-amplifier: every "
        "image HDU is an amplifier; plain-images: every image HDU is a detector without amplifiers",
        required=True,
        words=LAYOUTS,
    ),
    Key("recognise", "matches", "list of alternatives, each {KEYWORD: regex, ...} that must all match", default=()),
    Key("overscan", "word", "how the overscan is subtracted", default="none", words=OVERSCANS),
    Key("apply_gain", "boolean", "true: multiply by the gain, levels in electron; false: adu", default=False),
    Key("border", "integer", "pixels left out along the detector's edges", default=0),
    Key("exposure.id", "rule", "exposure id", required=True),
    Key("exposure.time", "rule", "UTC time: ISO date with time, or modified Julian date"),
    Key("exposure.time_is", "word", "which moment that is", default="start", words=("start", "middle", "end")),
    Key("exposure.time_scale", "rule", "where the header says UTC, TAI, TT, TDB or GPS; UTC when absent"),
    Key("exposure.exposure_time", "rule", "exposure time"),
    Key("exposure.exposure_time_unit", "word", "its unit", default="s", words=("s", "ms")),
    Key("exposure.physical_filter", "rule", "filter"),
    Key("exposure.observation_type", "rule", "kind of observation"),
    Key("exposure.lamp", "rule", "calibration lamp"),
    Key("exposure.night", "rule", "observing night; the local noon-to-noon date when absent and longitude is known"),
    Key("exposure.longitude", "rule", "longitude of the observatory in degrees, east positive"),
    Key("detector.id", "rule", "detector id; for plain-images the first rule that differs between HDUs", required=True),
    Key("detector.name", "rule", "name of the detector"),
    Key("detector.type", "rule", "type of the detector"),
    Key("detector.only", "match", "{KEYWORD: regex}: image HDUs that do not match are left out", default=()),
    Key("detector.skip", "match", "{KEYWORD: regex}: image HDUs that match are left out", default=()),
    Key("detector.binning", "rule", "binning in x and y, as CCDSUM writes it"),
    Key("position.section", "rule", "section of the detector (or amplifier) in the mosaic, unbinned pixels"),
    Key("position.size", "rule", "section of the whole mosaic: its centre is x = y = 0"),
    Key("position.wcs", "text", "letter of a WCS in the header that gives focal plane pixels, instead of section"),
    Key("position.origin", "numbers", "focal plane pixel x, y that is x = y = 0 (with wcs)", default=(0.0, 0.0)),
    Key("position.pixel_size", "number", "size of an unbinned pixel in mm"),
    Key("amplifiers.names", "names", "names of the amplifiers in one image, in order", default=()),
    Key("amplifiers.name", "rule", "name of the amplifier (with hdu-is-amplifier)"),
    Key("amplifiers.data", "rule", "section of the image that holds the amplifier's light; all of it when not given"),
    Key("amplifiers.overscan", "rule", "overscan section; or right-of-data, left-of-data"),
    Key("amplifiers.trimmed", "rule", "section of the trimmed detector image; packed side by side when not given"),
    Key("amplifiers.gain", "rule", "gain in electron per adu"),
    Key("amplifiers.read_noise", "rule", "read noise in electron"),
    Key("amplifiers.saturation", "rule", "raw adu from which a pixel is saturated"),
    Key("amplifiers.gain_placeholders", "numbers", "gains that mean unknown", default=(0.0,)),
    Key("amplifiers.unbinned", "list", "sections that count unbinned pixels", default=("trimmed",)),
    Key(
        "amplifiers.margins",
        "margins",
        "{left: rule, right: rule, bottom: rule, top: rule}: columns and rows at the edges of the image that are no "
        "data, instead of amplifiers.data",
        default={},
    ),
    Key(
        "amplifiers.overscan_hdu",
        "partner",
        "{only: {KEYWORD: regex}, pair: rule}: HDUs that hold overscan alone, and the value each shares with its image "
        "(without pair: the first with the first); amplifiers.overscan, if given, is a section of it",
    ),
    Key("amplifiers.each", "each", "{name: {data: ..., gain: ...}}: names with rules of their own", default={}),
    Key("mask.only", "match", "{KEYWORD: regex}: HDUs that are images of data quality, never detectors", default=()),
    Key("mask.pair", "rule", "the value that an image and its mask share; the first with the first when not given"),
    Key(
        "mask.optional",
        "boolean",
        "true: a file without any such HDU is no news, and those whose image is not known are not used",
        default=False,
    ),
    Key(
        "mask.bits",
        "bits",
        "numbers of the bits that are bad, 0 the lowest; any but 0 is bad when not given",
        default=(),
    ),
    Key("vignetting.circle", "numbers", "[x, y, radius]: pixels outside are left out", default=()),
    Key("vignetting.polygon", "points", "[[x, y], ...]: pixels outside are left out", default=()),
    Key(
        "vignetting.units",
        "word",
        "mm: in the focal plane; pixel: of the detector's trimmed image, the first pixel's centre is 1",
        default="mm",
        words=("mm", "pixel"),
    ),
)

KEYS: dict[str, Key] = {row.name: row for row in _ROWS}
"""Every key of a profile, by dotted name; `position` stands below ``detector`` in the file."""

SECTIONS = {
    "exposure": "exposure.",
    "detector": "detector.",
    "detector.position": "position.",
    "amplifiers": "amplifiers.",
    "mask": "mask.",
    "vignetting": "vignetting.",
}
"""Prefix in `KEYS` of each section of the file."""


@dataclass(frozen=True)
class Partner:
    """HDUs that go with image HDUs: how to know them, and the value that both of a pair have."""

    only: Match
    pair: Rule | None = None


def checked_values(content: dict[str, Any], lines: dict[str, str], problems: list[str]) -> dict[str, Any]:
    """Flatten the file's content to dotted keys, checked against `KEYS`."""
    flat: dict[str, tuple[str, Any]] = {}
    _flatten(content, "", flat, lines, problems)
    values: dict[str, Any] = {}
    for name, row in KEYS.items():
        if name not in flat:
            if row.required:
                problems.append(f"{lines.get(name.rpartition('.')[0], '')}{name} is missing: {row.meaning}")
            else:
                values[name] = row.default
            continue
        written, given = flat[name]
        try:
            values[name] = _READERS[row.kind](given, row)
        except CameraError as error:
            place = f"{written}.{error.below}" if isinstance(error, _BelowError) else written
            problems.append(f"{lines.get(place) or lines.get(written, '')}{place}: {error}")
        except TypeError:
            problems.append(f"{lines.get(written, '')}{written}: {given!r} is not a value it can have")
    return values


def _flatten(
    content: dict[str, Any],
    section: str,
    flat: dict[str, tuple[str, Any]],
    lines: dict[str, str],
    problems: list[str],
) -> None:
    prefix = SECTIONS.get(section, "")
    subsections = [name.rpartition(".")[2] for name in SECTIONS if name.rpartition(".")[0] == section]
    for key, value in content.items():
        written = f"{section}.{key}" if section else str(key)
        if key in subsections:
            if isinstance(value, dict):
                _flatten(value, written, flat, lines, problems)
            else:
                problems.append(f"{lines.get(written, '')}{written} must be a mapping")
        elif prefix + str(key) in KEYS and "." not in str(key):
            flat[prefix + str(key)] = (written, value)
        else:
            keys = [
                name.removeprefix(prefix) for name in KEYS if name.startswith(prefix) and "." not in name[len(prefix) :]
            ]
            problems.append(f"{lines.get(written, '')}unknown key {written}; allowed: {', '.join(keys + subsections)}")


class _BelowError(CameraError):
    """What is wrong with one entry of a mapping; ``below`` names it."""

    def __init__(self, below: str, said: object) -> None:
        super().__init__(str(said))
        self.below = below


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise CameraError(message)


def _read_text(given: Any, row: Key) -> str:
    _require(isinstance(given, str) and bool(given.strip()), f"{given!r} must be a text")
    return str(given)


def _read_word(given: Any, row: Key) -> str:
    _require(given in row.words, f"{given!r} must be one of {', '.join(row.words)}")
    return str(given)


def _read_boolean(given: Any, row: Key) -> bool:
    _require(isinstance(given, bool), f"{given!r} must be true or false")
    return bool(given)


def _read_integer(given: Any, row: Key) -> int:
    ok = isinstance(given, int) and not isinstance(given, bool) and given >= 0
    _require(ok, f"{given!r} must be a whole number, 0 or more")
    return int(given)


def _read_number(given: Any, row: Key) -> float:
    _require(isinstance(given, int | float) and not isinstance(given, bool), f"{given!r} must be a number")
    return float(given)


def _read_numbers(given: Any, row: Key) -> tuple[float, ...]:
    _require(isinstance(given, list), f"{given!r} must be a list of numbers")
    return tuple(_read_number(one, row) for one in given)


def _read_rule(given: Any, row: Key) -> Rule:
    return parse_rule(given)


def _read_match(given: Any, row: Key) -> Match:
    import re

    _require(isinstance(given, dict) and bool(given), f"{given!r} must be a mapping of keywords to regular expressions")
    for key, regex in given.items():
        ok = isinstance(key, str) and (regex is None or isinstance(regex, str))
        _require(ok, f"{key}: {regex!r} must be a regular expression, or null: the keyword must be absent")
        try:
            re.compile(regex or "")
        except re.error as error:
            msg = f"{key}: {regex!r} is not a regular expression ({error})"
            raise CameraError(msg) from error
    return tuple(given.items())


def _read_matches(given: Any, row: Key) -> tuple[Match, ...]:
    _require(isinstance(given, list), f"{given!r} must be a list of mappings, each one way to recognise the camera")
    return tuple(_read_match(one, row) for one in given)


def _read_names(given: Any, row: Key) -> tuple[str, ...]:
    ok = isinstance(given, list) and bool(given) and all(isinstance(n, str | int) and n != "" for n in given)
    _require(ok, f"{given!r} must be a list of names")
    _require(len({str(name) for name in given}) == len(given), f"{given!r} has a name twice")
    return tuple(str(name) for name in given)


def _read_list(given: Any, row: Key) -> tuple[str, ...]:
    allowed = PER_AMPLIFIER[:3]
    _require(isinstance(given, list) and set(given) <= set(allowed), f"{given!r}: a list of {', '.join(allowed)}")
    return tuple(given)


def _read_each(given: Any, row: Key) -> dict[str, dict[str, Rule]]:
    _require(isinstance(given, dict) and bool(given), f"{given!r} must be a mapping of amplifier names")
    return {str(name): _rules(rules, PER_AMPLIFIER, f"{name}") for name, rules in given.items()}


def _rules(given: Any, allowed: tuple[str, ...], below: str) -> dict[str, Rule]:
    """Read a mapping of rules; ``below`` names it, for messages."""
    if not isinstance(given, dict):
        raise _BelowError(below, f"{given!r} must be a mapping of {', '.join(allowed)}")
    rules: dict[str, Rule] = {}
    for key, rule in given.items():
        place = f"{below}.{key}" if below else str(key)
        if key not in allowed:
            raise _BelowError(place, f"unknown key {key}; allowed: {', '.join(allowed)}")
        try:
            rules[key] = parse_rule(rule)
        except CameraError as error:
            raise _BelowError(place, error) from error
    return rules


def _read_margins(given: Any, row: Key) -> dict[str, Rule]:
    _require(isinstance(given, dict) and bool(given), f"{given!r} must be a mapping of {', '.join(SIDES)}")
    return _rules(given, SIDES, "")


def _read_partner(given: Any, row: Key) -> Partner:
    ok = isinstance(given, dict) and "only" in given and set(given) <= {"only", "pair"}
    _require(ok, f"{given!r} must be a mapping with only, and may have pair")
    pair = parse_rule(given["pair"]) if "pair" in given else None
    return Partner(_read_match(given["only"], row), pair)


def _read_bits(given: Any, row: Key) -> tuple[int, ...]:
    ok = isinstance(given, list) and all(isinstance(bit, int) and not isinstance(bit, bool) for bit in given)
    _require(ok and bool(given) and all(0 <= bit < 64 for bit in given), f"{given!r} must be a list of bits, 0 to 63")
    return tuple(given)


def _read_points(given: Any, row: Key) -> tuple[tuple[float, float], ...]:
    _require(isinstance(given, list) and len(given) >= 3, f"{given!r} must be a list of three points or more, [x, y]")
    points = [_read_numbers(point, row) for point in given]
    _require(all(len(point) == 2 for point in points), f"{given!r}: each point must be [x, y]")
    return tuple((point[0], point[1]) for point in points)


_READERS = {
    "text": _read_text,
    "word": _read_word,
    "boolean": _read_boolean,
    "integer": _read_integer,
    "number": _read_number,
    "numbers": _read_numbers,
    "rule": _read_rule,
    "match": _read_match,
    "matches": _read_matches,
    "names": _read_names,
    "list": _read_list,
    "each": _read_each,
    "margins": _read_margins,
    "partner": _read_partner,
    "bits": _read_bits,
    "points": _read_points,
}
