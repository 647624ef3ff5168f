"""Times and nights as headers write them: UTC, start or middle of the exposure, local noon to noon."""

from __future__ import annotations

import re

import numpy as np

__all__ = ["known_scale", "night_of", "parse_time", "to_utc"]

_MJD_0 = np.datetime64("1858-11-17", "ns")

_GPS_BEHIND_TAI = np.timedelta64(19, "s")

_SCALES = {
    **dict.fromkeys(("UTC", "GMT", "UT", "UT1"), "utc"),
    **dict.fromkeys(("TAI", "IAT"), "tai"),
    **dict.fromkeys(("TT", "TDT", "ET"), "tt"),
    "TDB": "tdb",
    "GPS": "gps",
}

_YEARS = range(1678, 2262)
"""Those that 64 bits of nanoseconds hold in full."""

_OLD_DATE = re.compile(r"(\d\d)/(\d\d)/(\d\d)(?=T)")


_TIME = re.compile(
    r"(?P<time>(?P<year>\d{4})-\d\d-\d\dT\d\d(:\d\d(:\d\d(\.\d+)?)?)?)"
    r"((?P<sign>[+-])(?P<hours>\d\d):?(?P<minutes>\d\d))?"
)
"""ISO date and time; FITS knows no offset from UTC, and some write one all the same."""


def parse_time(value: object) -> np.datetime64 | None:
    """Read a time as headers write it.

    Parameters
    ----------
    value : object
        A number is a modified Julian date; a string an ISO date with time, or the old DD/MM/YY with time.

    Returns
    -------
    datetime64 or None
        None when ``value`` is not a time: a date alone, a year before 1678 or after 2261, or anything else.

    Examples
    --------
    >>> str(parse_time("2008-11-01T14:33:32.40"))
    '2008-11-01T14:33:32.400000000'
    >>> str(parse_time(56536.25))
    '2013-09-01T06:00:00.000000000'
    >>> parse_time("2008-11-01") is None
    True
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        # Days and the rest apart: a float64 of nanoseconds since 1858 would be wrong by half a microsecond.
        if not np.isfinite(value) or not 10_000 < value < 147_000:
            return None
        day, rest = divmod(float(value), 1.0)
        return np.datetime64(_MJD_0 + np.timedelta64(int(day), "D") + np.timedelta64(round(rest * 86_400e9), "ns"))
    text = re.sub(r"[T ]+", "T", str(value).strip().removesuffix("Z"), count=1)
    if "T" not in text:
        return None
    text = _OLD_DATE.sub(r"19\3-\2-\1", text)
    text = re.sub(r"T(\d):", r"T0\1:", text)
    found = _TIME.fullmatch(text)
    if found is None or int(found["year"]) not in _YEARS:
        return None
    east = 0
    if found["sign"]:
        east = int(found["sign"] + "1") * (60 * int(found["hours"]) + int(found["minutes"]))
    try:
        return np.datetime64(found["time"], "ns") - np.timedelta64(east, "m")
    except ValueError:
        return None


def to_utc(time: np.datetime64, *, scale: str) -> np.datetime64:
    """Convert a time to UTC.

    Parameters
    ----------
    time : datetime64
        Within the years 1678 to 2261.
    scale : str
        As ``TIMESYS`` writes it: TAI (or IAT), TT (or TDT, ET), TDB, GPS; what follows a bracket or a space ("UTC
        approximate") is not looked at.
        Any other is taken for UTC (`known_scale`).

    Examples
    --------
    >>> str(to_utc(np.datetime64("2024-01-01T00:00:37", "ns"), scale="TAI"))
    '2024-01-01T00:00:00.000000000'
    """
    name = _SCALES.get(_scale_name(scale), "utc")
    if name == "utc":
        return time
    import warnings

    from astropy.time import Time

    if name == "gps":
        time, name = np.datetime64(time + _GPS_BEHIND_TAI), "tai"
    with warnings.catch_warnings():
        # Before 1960 and years from now leap seconds are not known; the nearest that is known is good enough.
        warnings.filterwarnings("ignore", message=".*dubious year")
        text = str(Time(str(time), format="isot", scale=name, precision=9).utc.value)
    if ":60." in text:  # NumPy has no leap second: the moment after it stands for it
        return np.datetime64(np.datetime64(text.replace(":60.", ":59."), "ns") + np.timedelta64(1, "s"))
    return np.datetime64(text, "ns")


def known_scale(scale: str) -> bool:
    """Whether a value of ``TIMESYS`` is one that `to_utc` knows."""
    return _scale_name(scale) in _SCALES


def _scale_name(scale: str) -> str:
    return scale.partition("(")[0].strip().partition(" ")[0].upper()


def night_of(time: np.datetime64, *, longitude: float) -> str:
    """Local date of the evening: a night runs from noon to noon.

    Parameters
    ----------
    time : datetime64
        UTC.
    longitude : float
        Degrees, east positive.

    Returns
    -------
    str
        ISO date.

    Examples
    --------
    >>> night_of(np.datetime64("2013-09-01T06:02:55"), longitude=-70.8)
    '2013-08-31'
    """
    local = time + np.timedelta64(round((longitude / 15 - 12) * 3600), "s")
    return str(np.datetime_as_string(local, unit="D"))
