from __future__ import annotations

import numpy as np
import pytest

from flatnorm_xr.camera.times import known_scale, night_of, parse_time, to_utc


@pytest.mark.parametrize(
    ("value", "time"),
    [
        ("2017-07-12T18:32:31.951Z", "2017-07-12T18:32:31.951"),
        ("2017-07-12 18:32:31", "2017-07-12T18:32:31"),
        ("04/07/98T01:02:03", "1998-07-04T01:02:03"),
        ("2017-07-12T18:32:31.5+02:00", "2017-07-12T16:32:31.5"),
        ("2017-07-12T18:32-0730", "2017-07-13T02:02"),
        ("2017-07-12T18", "2017-07-12T18:00"),
        ("2017-07-12 8:32:31.5", "2017-07-12T08:32:31.5"),
        (51544, "2000-01-01T00:00"),
    ],
)
def test_times(value: object, time: str) -> None:
    assert parse_time(value) == np.datetime64(time)


@pytest.mark.parametrize(
    "value",
    [
        "2008-11-01",
        "yesterdayTnoon",
        "2017-07-12T18:32 CLT",
        "2017-07-12T18:32:31+9",
        "2017-02-30T01:00",
        None,
        True,
        0.0,
        float("nan"),
        -1.0,
        2456536.2,
    ],
)
def test_no_time(value: object) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize("value", ["0001-01-01T00:00:00", "1677-12-31T23:59:59", "2262-01-01T00:00:00", 149_999.0])
def test_times_that_nanoseconds_do_not_hold(value: object) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    ("scale", "time", "utc"),
    [
        ("TAI", "2024-01-01T00:00:37", "2024-01-01T00:00:00"),
        ("tai ", "2016-12-31T23:59:36", "2016-12-31T23:59:00"),
        ("TAI", "2017-01-01T00:00:36.5", "2017-01-01T00:00:00.5"),  # within the leap second
        ("TT(TAI)", "2024-01-01T00:01:09.184", "2024-01-01T00:00:00"),
        ("GPS", "2024-01-01T00:00:18", "2024-01-01T00:00:00"),
        ("UTC", "2024-01-01T00:00:18", "2024-01-01T00:00:18"),
        ("UTC approximate", "1999-06-17T18:39:33.5", "1999-06-17T18:39:33.5"),
        ("LOCAL", "2024-01-01T00:00:18", "2024-01-01T00:00:18"),
        ("TAI", "2261-12-31T00:00:37", "2261-12-31T00:00:00"),
    ],
)
def test_scales(scale: str, time: str, utc: str) -> None:
    assert to_utc(np.datetime64(time, "ns"), scale=scale) == np.datetime64(utc)
    assert known_scale(scale) == (scale != "LOCAL")


def test_barycentric_time_is_terrestrial_time_within_milliseconds() -> None:
    time = np.datetime64("2024-01-01T00:01:09.184", "ns")
    assert abs(to_utc(time, scale="TDB") - to_utc(time, scale="TT")) < np.timedelta64(2, "ms")


def test_a_night_spans_two_utc_dates() -> None:
    evening, morning = np.datetime64("2024-05-01T23:30", "ns"), np.datetime64("2024-05-02T10:00", "ns")
    assert night_of(evening, longitude=-70.8) == night_of(morning, longitude=-70.8) == "2024-05-01"
    assert night_of(np.datetime64("2024-05-02T17:00", "ns"), longitude=-70.8) == "2024-05-02"
