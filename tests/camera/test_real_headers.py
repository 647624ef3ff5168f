"""Packaged profiles against real headers: every number here was read off the header by eye."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from flatnorm_xr.camera.geometry import FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.profiles import recognise
from flatnorm_xr.errors import CameraError

fits = pytest.importorskip("astropy.io.fits")
yaml = pytest.importorskip("yaml")


class _Loader(yaml.SafeLoader):  # type: ignore[misc]
    pass


_Loader.add_constructor(
    "!<lsst.daf.base.PropertyList>", lambda loader, node: loader.construct_sequence(node, deep=True)
)
_Loader.add_multi_constructor("", lambda loader, suffix, node: loader.construct_sequence(node, deep=True))


def property_list(path: Path) -> Any:
    """Header of a merged list of [key, type, value, comment]."""
    header = fits.Header()
    for key, _, value, comment in yaml.load(path.read_text(), Loader=_Loader):
        for one in value if isinstance(value, list) else [value]:
            card = (key if len(key) <= 8 else f"HIERARCH {key}", one, "" if key == "COMMENT" else comment)
            header.append(card, end=True)
    return header


def cards(path: Path) -> list[Any]:
    """Headers of a text file of cards, those of an HDU after a line ``# HDU n``."""
    parts = path.read_text().split("# HDU ")[1:]
    return [fits.Header.fromstring(part.split("\n", 1)[1].split("\nEND")[0], sep="\n") for part in parts]


def described(headers: FileHeaders) -> FileDescription:
    profile, rule = recognise(headers)
    return describe(headers, profile=profile, rule=rule)


def from_merged(path: Path) -> FileDescription:
    return described(FileHeaders.from_headers([property_list(path)], path=str(path)))


@pytest.fixture
def headers(shared: Path) -> Path:
    return shared / "data" / "headers"


def test_decam(headers: Path) -> None:
    file = from_merged(headers / "decam.yaml")
    assert (file.profile.name, file.rule) == ("decam", "INSTRUME = 'DECam' matches '^DECam$'")
    assert file.exposure.id == 229388
    # DATE-OBS 2013-09-01T06:02:55.753848 + 200 s / 2
    assert file.exposure.time == np.datetime64("2013-09-01T06:04:35.753848")
    assert file.exposure.exposure_time == 200.0
    assert file.exposure.physical_filter == "z DECam SDSS"
    assert file.exposure.observation_type == "object"
    assert file.exposure.night == "2013-08-31"
    (detector,) = file.detectors
    assert (detector.id, detector.name, detector.shapes) == (25, "S1", {0: (4146, 2160)})
    a, b = detector.amplifiers
    assert (a.name, str(a.data), str(a.overscan), str(a.trimmed)) == (
        "A",
        "[1081:2104,51:4146]",
        "[2105:2154,51:4146]",
        "[1025:2048,1:4096]",
    )
    assert (b.name, str(b.data), str(b.overscan), str(b.trimmed)) == (
        "B",
        "[57:1080,51:4146]",
        "[7:56,51:4146]",
        "[1:1024,1:4096]",
    )
    assert (a.gain, a.read_noise, a.saturation) == (4.59347726229, 7.17960496096, 43266.0)
    assert (b.gain, b.read_noise, b.saturation) == (4.4014084507, 7.01628521127, 44935.0)
    # DETSEC [12289:14336,1:4096] in DETSIZE [1:29400,1:29050], pixels of 15 um
    assert detector.x == pytest.approx((13312.5 - 14700.5) * 0.015)
    assert detector.y == pytest.approx((2048.5 - 14525.5) * 0.015)


def test_night_of_decam_follows_from_the_longitude(headers: Path) -> None:
    header = property_list(headers / "decam.yaml")
    del header["DTCALDAT"]
    file = described(FileHeaders.from_headers([header]))
    assert file.exposure.night == "2013-08-31"


def test_decam_without_instrument_is_known_by_its_filter(headers: Path) -> None:
    header = property_list(headers / "decam.yaml")
    del header["INSTRUME"]
    file = described(FileHeaders.from_headers([header]))
    assert file.profile.name == "decam"
    assert file.rule.startswith("FILTER = ")


def test_megaprime(headers: Path) -> None:
    file = from_merged(headers / "megaprime.yaml")
    assert file.profile.name == "megaprime"
    assert file.exposure.id == 1038843
    # DATE-OBS 2008-11-01, UTC-OBS 14:33:32.40, + 615.037 s / 2
    assert file.exposure.time == np.datetime64("2008-11-01T14:38:39.918500")
    assert file.exposure.physical_filter == "i.MP9702"
    assert file.exposure.observation_type == "OBJECT"
    assert file.exposure.night == "2008-10-31"
    (detector,) = file.detectors
    assert (detector.id, detector.name, detector.type) == ("ccd02", "Aubin", "Marconi/EEV CCD42-90")
    a, b = detector.amplifiers
    assert (a.name, str(a.data), str(a.overscan), str(a.trimmed)) == (
        "A",
        "[33:1056,1:4612]",
        "[1:32,1:4644]",
        "[1:1024,1:4612]",
    )
    assert (b.name, str(b.data), str(b.overscan), str(b.trimmed)) == (
        "B",
        "[1057:2080,1:4612]",
        "[2081:2112,1:4644]",
        "[1025:2048,1:4612]",
    )
    assert (a.gain, a.read_noise, a.saturation, b.gain, b.read_noise, b.saturation) == (1.57, 3, 65535, 1.67, 5, 65535)
    # DETSEC [8394:6347,19353:14742] in DETSIZE [1:23219,1:19354], pixels of 13.5 um
    assert detector.x == pytest.approx((7370.5 - 11610) * 0.0135)
    assert detector.y == pytest.approx((17047.5 - 9677.5) * 0.0135)


def test_hsc_without_instrument(headers: Path) -> None:
    header = property_list(headers / "hsc.yaml")
    assert "INSTRUME" not in header
    file = described(FileHeaders.from_headers([header]))
    assert (file.profile.name, file.rule) == ("hsc", "EXP-ID = 'HSCA90402400' matches '^HSC'")
    assert file.exposure.id == "HSCA90402400"
    # MJD-STR 56598.26106374757 = 06:15:55.908, + 30 s / 2
    assert abs(file.exposure.time - np.datetime64("2013-11-02T06:16:10.908")) < np.timedelta64(1, "ms")
    assert (file.exposure.physical_filter, file.exposure.observation_type) == ("HSC-i", "OBJECT")
    assert file.exposure.night == "2013-11-01"
    (detector,) = file.detectors
    assert detector.id == 50
    assert [a.name for a in detector.amplifiers] == ["1", "2", "3", "4"]
    assert [str(a.data) for a in detector.amplifiers] == [
        "[9:520,50:4225]",
        "[553:1064,50:4225]",
        "[1081:1592,50:4225]",
        "[1625:2136,50:4225]",
    ]
    assert [str(a.overscan) for a in detector.amplifiers] == [
        "[521:536,50:4225]",
        "[537:552,50:4225]",
        "[1593:1608,50:4225]",
        "[1609:1624,50:4225]",
    ]
    assert [str(a.trimmed) for a in detector.amplifiers] == [
        "[1:512,1:4176]",
        "[513:1024,1:4176]",
        "[1025:1536,1:4176]",
        "[1537:2048,1:4176]",
    ]
    assert [a.gain for a in detector.amplifiers] == [3.53, 3.48, 3.67, 3.48]
    assert all(math.isnan(a.read_noise) for a in detector.amplifiers)
    assert math.isnan(detector.x)


def test_suprimecam(headers: Path) -> None:
    """The header is that of a trimmed image: before that, it had 32 columns and 4 rows more."""
    header = property_list(headers / "suprimecam-CORR40535770.yaml")
    assert (header["PRD-RNG1"], header["PRD-RNG2"]) == (2080, 4100)
    with pytest.raises(CameraError, match=r"data of amplifier 1 \[33:2080,1:4100\] lies outside .*2048 x 4096"):
        described(FileHeaders.from_headers([header]))
    header.update(NAXIS1=2080, NAXIS2=4100)
    file = described(FileHeaders.from_headers([header]))
    assert (file.profile.name, file.rule) == (
        "suprimecam-mit",
        "INSTRUME = 'SuprimeCam' matches '^SuprimeCam$', there is no S_EFMN11",
    )
    assert file.exposure.id == "SUPE00535770"
    # MJD-STR 54213.335036 = 08:02:27.110, + 200 s / 2
    assert abs(file.exposure.time - np.datetime64("2007-04-23T08:04:07.110")) < np.timedelta64(1, "ms")
    assert (file.exposure.physical_filter, file.exposure.observation_type) == ("W-S-R+", "OBJECT")
    assert (file.exposure.exposure_time, file.exposure.night) == (200.0, "2007-04-22")
    (detector,) = file.detectors
    assert (detector.id, detector.name, detector.trimmed_shape) == (0, "w67c1", (4100, 2048))
    (amplifier,) = detector.amplifiers
    assert (amplifier.name, str(amplifier.data), str(amplifier.overscan), str(amplifier.trimmed)) == (
        "1",
        "[33:2080,1:4100]",
        "[1:32,1:4100]",
        "[1:2048,1:4100]",
    )
    assert math.isnan(amplifier.gain)


def test_lsstcam(headers: Path) -> None:
    path = headers / "lsstcam-R10-S02.txt"
    file = described(FileHeaders.from_headers(cards(path), path=str(path)))
    assert file.profile.name == "lsstcam"
    assert file.exposure.id == 2019031900001
    assert file.exposure.time == np.datetime64("2019-03-19T15:50:28.145") or abs(
        file.exposure.time - np.datetime64("2019-03-19T15:50:28.145")
    ) < np.timedelta64(1, "ms")
    assert file.exposure.exposure_time == 0.0
    assert (file.exposure.physical_filter, file.exposure.observation_type) == ("", "BIAS")
    assert file.exposure.night == "2019-03-19"
    (detector,) = file.detectors
    assert (detector.id, detector.name, detector.type) == ("R10_S02", "ITL-3800C-041", "ITL")
    assert [a.name for a in detector.amplifiers] == ["Segment10", "Segment11", "Segment07", "Segment00"]
    assert [a.hdu for a in detector.amplifiers] == [1, 2, 3, 4]
    assert {str(a.data) for a in detector.amplifiers} == {"[4:512,1:2000]"}
    assert {str(a.overscan) for a in detector.amplifiers} == {"[513:576,1:2000]"}
    assert [str(a.trimmed) for a in detector.amplifiers] == [
        "[509:1,1:2000]",
        "[1018:510,1:2000]",
        "[4072:3564,4000:2001]",
        "[509:1,4000:2001]",
    ]
    assert all(math.isnan(a.gain) and a.placeholder_gain for a in detector.amplifiers)
    assert {a.saturation for a in detector.amplifiers} == {262143}


def test_place_of_an_lsst_sensor_agrees_with_the_raft_grid(headers: Path) -> None:
    # Raft R10 is one raft of 127 mm below and two beside the centre; sensor S02 one of 42.25 mm below and one beside.
    file = described(FileHeaders.from_headers(cards(headers / "lsstcam-R10-S02.txt")))
    (detector,) = file.detectors
    assert detector.x == pytest.approx(-127 - 42.25, abs=0.1)
    assert detector.y == pytest.approx(-2 * 127 + 42.25, abs=0.1)


def place(record: Any) -> tuple[float, float, float, float]:
    """Centre and size of a detector or amplifier, mm."""
    return record.x, record.y, record.width, record.height


def test_halves_of_a_decam_ccd(headers: Path) -> None:
    # DETSEC [12289:14336,1:4096], DETSECA [13313:14336,1:4096] in DETSIZE [1:29400,1:29050], pixels of 15 um
    (found,) = from_merged(headers / "decam.yaml").detectors
    a, b = found.amplifiers
    assert (found.width, found.height) == pytest.approx((30.72, 61.44))
    assert place(a) == pytest.approx(((13824.5 - 14700.5) * 0.015, (2048.5 - 14525.5) * 0.015, 15.36, 61.44))
    assert place(b) == pytest.approx(((12800.5 - 14700.5) * 0.015, (2048.5 - 14525.5) * 0.015, 15.36, 61.44))


def test_halves_of_a_megaprime_ccd_that_is_mirrored(headers: Path) -> None:
    # DETSEC [8394:6347,19353:14742]; DETSECA [8394:7371,...] is the right half though CSECA is [1:1024,...]
    a, b = from_merged(headers / "megaprime.yaml").detectors[0].amplifiers
    assert place(a) == pytest.approx((((8394 + 7371) / 2 - 11610) * 0.0135, 99.495, 13.824, 62.262))
    assert b.x == pytest.approx(((6347 + 7370) / 2 - 11610) * 0.0135)


def test_segments_of_an_lsst_sensor_are_turned(headers: Path) -> None:
    # the file has 4 of the 16 segments, at three corners of the CCD; x of the CCD runs along y of the focal plane
    (found,) = described(FileHeaders.from_headers(cards(headers / "lsstcam-R10-S02.txt"))).detectors
    assert (found.width, found.height) == pytest.approx((40.0, 40.72), abs=0.02)
    s10, s11, s07, s00 = map(place, found.amplifiers)
    for one in (s10, s11, s07, s00):
        assert (one[2], one[3]) == pytest.approx((20.0, 5.09))
    assert s11[1] - s10[1] == pytest.approx(5.09)
    assert s10[1] == s00[1]
    assert s07[1] - s00[1] == pytest.approx(7 * 5.09)
    assert s10[0] - s00[0] == pytest.approx(20.0, abs=0.02)
    assert s07[0] == s00[0]


def test_hsc_has_no_place(headers: Path) -> None:
    (found,) = from_merged(headers / "hsc.yaml").detectors
    assert np.isnan([place(found), *map(place, found.amplifiers)]).all()
