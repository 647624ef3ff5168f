"""Each packaged camera, from headers made up here in the words of its own files, a few hundred pixels large or not."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from hypothesis import given, settings
from hypothesis import strategies as st

from flatnorm_xr.camera.faults import Fault, faults_text
from flatnorm_xr.camera.geometry import FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.profiles import FALLBACKS, load_profile, packaged_profiles, recognise, why_recognised
from flatnorm_xr.camera.remarks import remarks_on
from flatnorm_xr.errors import CameraError, ReadError

Headers = list[fits.Header]


def header(shape: tuple[int, int] | None = None, **cards: Any) -> fits.Header:
    """Header of an image, or of a primary HDU without one.

    In keywords ``_OBS`` and ``_BEG`` stand for ``-OBS`` and ``-BEG``, ``__`` for a space.
    """
    if shape is None:
        made = fits.Header([("SIMPLE", True), ("NAXIS", 0)])
    else:
        made = fits.Header([("XTENSION", "IMAGE"), ("NAXIS", 2), ("NAXIS1", shape[1]), ("NAXIS2", shape[0])])
    for key, value in cards.items():
        key = key.replace("__", " ").replace("_OBS", "-OBS").replace("_BEG", "-BEG")
        made[f"HIERARCH {key}" if " " in key else key] = value
    return made


def decam() -> Headers:
    ccd = header(
        (40, 30), CCDNUM=25, DETPOS="S1", DATASECA="[16:25,1:40]", BIASSECA="[26:30,1:40]", DATASECB="[6:15,1:40]",
        BIASSECB="[1:5,1:40]", CCDSECA="[11:20,1:40]", CCDSECB="[1:10,1:40]", GAINA=4.1, GAINB=3.9, SATURATA=36000,
        SATURATB=37000,
    )  # fmt: skip
    cards: dict[str, Any] = {
        "FILTER": "g DECam SDSS c0001 4720.0 1520.0",
        "OBSTYPE": "dome flat",
        "DATE_OBS": "2024-01-01T01:00:00",
    }
    return [header(INSTRUME="DECam", EXPNUM=229388, EXPTIME=10.0, **cards), ccd]


def megaprime() -> Headers:
    ccd = header(
        (40, 24), EXTNAME="ccd02", DSECA="[3:12,1:38]", DSECB="[13:22,1:38]", BSECA="[1:2,1:40]", BSECB="[23:24,1:40]",
        CSECA="[1:10,1:38]", CSECB="[11:20,1:38]", BIASSEC="[0:0,0:0]", DETSEC="[20:1,38:1]", DETSIZE="[1:20,1:38]",
        GAINA=1.57, GAINB=1.67, MAXLINA=65535, MAXLINB=65535,
    )  # fmt: skip
    when: dict[str, Any] = {"DATE_OBS": "2008-11-01", "UTC_OBS": "14:33:32.40", "EXPTIME": 10.0}
    return [header(INSTRUME="MegaPrime", EXPNUM=1038843, FILTER="i.MP9702", OBSTYPE="FLAT", **when), ccd]


def subaru(letter: str, **cards: Any) -> Headers:
    sections: dict[str, Any] = {}
    for amp, (first, overscan) in enumerate([(9, 25), (49, 41), (73, 89), (113, 105)], 1):
        for name, (low, high) in {
            f"{letter}_EF{{}}{amp}1": (first, first + 15),
            f"{letter}_EF{{}}{amp}2": (5, 44),
            f"{letter}_OS{{}}{amp}1": (overscan, overscan + 7),
            f"{letter}_OS{{}}{amp}2": (1, 4),
        }.items():
            sections[name.format("MN")], sections[name.format("MX")] = low, high
        sections[f"{letter}_GAIN{amp}"] = 3 + amp / 10
    made = header((48, 136))
    made["SIMPLE"] = True
    made.update({"MJD-STR": 56598.25, "EXPTIME": 10.0, "DATA-TYP": "DOMEFLAT", "GAIN": 0.0, **sections, **cards})
    return [made]


def hsc() -> Headers:
    return subaru("T", **{"EXP-ID": "HSCA90402400", "FRAMEID": "HSCA90402400", "FILTER01": "HSC-i", "DET-ID": 50})


def suprimecam() -> Headers:
    cards = {"INSTRUME": "SuprimeCam", "EXP-ID": "SUPE01118760", "FRAMEID": "SUPA01118766", "FILTER01": "W-J-B"}
    return subaru("S", **cards, **{"DET-ID": 6, "DETECTOR": "chihiro", "EFP-MIN1": 9, "TIMESYS": "UTC"})


def suprimecam_mit() -> Headers:
    made = header((4100, 2080))
    cards = {"INSTRUME": "SuprimeCam", "EXP-ID": "SUPE00535770", "FRAMEID": "SUPA00535770", "FILTER01": "W-S-R+"}
    made.update({**cards, "DET-ID": 0, "DETECTOR": "w67c1", "EFP-MIN1": 33, "EFP-RNG1": 2048, "DATA-TYP": "DOMEFLAT"})
    made.update({"DATE-OBS": "2007-04-23", "UT-STR": "08:02:27.204", "EXPTIME": 10.0})
    return [made]


def rubin(instrument: str, *, datasec: str = "[4:512,1:2000]", **cards: Any) -> Headers:
    primary = header(
        INSTRUME=instrument, RAFTBAY="R22", CCDSLOT="S00", DAYOBS="20241108", SEQNUM=266, CCDGAIN=1.0, TIMESYS="TAI",
        IMGTYPE="FLAT", MJD_BEG=60000.25, EXPTIME=10.0, CCD_MANU="ITL", **cards,
    )  # fmt: skip
    places = {"Segment10": "[509:1,1:2000]", "Segment11": "[1018:510,1:2000]"}
    images = [
        header((2048, 576), EXTNAME=name, DATASEC=datasec, DETSEC=place, DETSIZE="[1:4072,1:4000]", CCDSUM="1 1")
        for name, place in places.items()
    ]
    return [primary, *images]


def gmos() -> Headers:
    """Two of twelve amplifiers, binned by two in both directions."""
    primary = header(
        INSTRUME="GMOS-S", DATALAB="GS-CAL20160202-1-003", OBSID="GS-CAL20160202-1", OBSTYPE="FLAT", OBJECT="GCALflat",
        FILTER1="open1-6", FILTER2="r_G0326", GCALLAMP="QH", EXPTIME=10.0, DATE_OBS="2016-02-02", TIME_OBS="13:12:39.7",
    )  # fmt: skip
    amplifiers = [
        header(
            (20, 32), CCDNAME="BI5-36-4k-2", AMPNAME=f"BI5-36-4k-2, {k}", CCDSUM="2 2", GAIN=1.8, RDNOISE=4.0,
            DATASEC="[17:32,1:20]" if k == 2 else "[1:16,1:20]", BIASSEC="[1:16,1:20]" if k == 2 else "[17:32,1:20]",
            CCDSEC=f"[{32 * k - 31}:{32 * k},1:40]", DETSEC=f"[{32 * k - 31}:{32 * k},1:40]", DETSIZE="[1:64,1:40]",
        )
        for k in (1, 2)
    ]  # fmt: skip
    return [primary, *amplifiers]


def bok() -> Headers:
    gains: dict[str, Any] = {f"GAIN{k}": 1 + k / 10 for k in range(1, 17)}
    primary = header(
        INSTRUME="90prime", IMAGETYP="flat", FILTER="bokr", DATE_OBS="2014-01-08", UTC_OBS="01:00:00", EXPTIME=10.0,
        **gains,
    )  # fmt: skip
    order = [4, 3, 2, 1, 8, 7, 6, 5]
    sections = {"DATASEC": "[1:16,1:20]", "BIASSEC": "[17:20,1:20]", "TRIMSEC": "[1:16,1:20]"}
    return [primary, *(header((20, 20), EXTNAME=f"IM{k}", **sections) for k in order)]


def mosaic() -> Headers:
    primary = header(
        DETECTOR="CCDMosaThin1", NCCDS=8, NAMPS=8, OBSTYPE="dome flat", FILTER="Halpha Mosaic", EXPTIME=10.0,
        TIMESYS="UTC approximate", DATE_OBS="29/09/97", TIME_OBS="23:57:44.0", OBSERVAT="KPNO",
        OBSID="kpno.4m.970929.235744",
    )  # fmt: skip
    ccd = {"CCDNAME": "SITe #7382FAR06", "DATASEC": "[5:20,1:20]", "BIASSEC": "[21:24,1:20]", "GAIN": 2.7}
    sections = {"left": "[1:16,1:20]", "right": "[32:17,1:20]"}
    return [
        primary,
        *(
            header(
                (20, 24),
                EXTNAME=f"im{k}",
                IMAGEID=k,
                AMPNAME=f"SITe #7382FAR06, lower {side} (Amp{k})",
                CCDSEC=place,
                **ccd,
            )
            for k, (side, place) in enumerate(sections.items(), 1)
        ),
    ]


def mosaicv1() -> Headers:
    primary = header(INSTRUME="WideCam", FILTER="V", OBSTYPE="flat", DATE_OBS="2012-02-03T04:05:06", EXPTIME=10.0)
    ccd = {"CCDNAME": "e2v 7", "DATASEC": "[1:16,1:20]", "BIASSEC": "[17:20,1:20]", "GAIN": 2.7}
    return [primary, *(header((20, 20), AMPNAME=f"A{k}", **ccd) for k in (1, 2))]


def kmtnet() -> Headers:
    primary = header(TELESCOP="KMTNet-CTIO", OBSERVAT="CTIO", FILTER="I", EXPTIME=10.0, DATE_OBS="2015-02-02T01:00:00")
    sections = {"DATASEC": "[1:16,1:20]", "BIASSEC": "[17:20,1:20]", "GAIN": 1.4}
    return [primary, *(header((20, 20), EXTNAME=f"im{k}", **sections) for k in range(1, 33))]


def omegacam() -> Headers:
    primary = header(
        INSTRUME="OMEGACAM", ARCFILE="OMEGA.2012-01-01T10:00:00.123.fits", EXPTIME=10.0, MJD_OBS=55927.25,
        ESO__DPR__TYPE="FLAT,DOME", ESO__INS__FILT1__NAME="r_SDSS", ESO__INS__LAMP1__ID="FF_LAMP_2",
    )  # fmt: skip
    out = {"ESO__DET__OUT1__CONAD": 2.5, "ESO__DET__OUT1__GAIN": 0.4, "ESO__DET__OUT1__RON": 5.0}
    return [primary, *(header((4200, 2144), EXTNAME=f"ESO_CCD_#{k}", **out) for k in (65, 80, 81, 96))]


def vircam() -> Headers:
    primary = header(
        INSTRUME="VIRCAM", ARCFILE="VCAM.2009-11-01T10:00:00.123.fits", EXPTIME=10.0, MJD_OBS=55136.25,
        ESO__DPR__TYPE="FLAT,TWILIGHT", ESO__INS__FILT1__NAME="Ks",
    )  # fmt: skip
    chips = [
        header((2048, 2048), EXTNAME=f"DET1.CHIP{k}", ESO__DET__CHIP__NO=k, ESO__DET__CHIP__ID=f"ESO-Virgo{k}")
        for k in (1, 16)
    ]
    return [primary, *chips]


def hawki() -> Headers:
    primary = header(
        INSTRUME="HAWKI", ARCFILE="HAWKI.2009-11-01T10:00:00.123.fits", EXPTIME=10.0, MJD_OBS=55136.25,
        ESO__DPR__TYPE="FLAT", ESO__INS__FILT1__NAME="OPEN", ESO__INS__FILT2__NAME="Ks",
    )  # fmt: skip
    return [primary, *(header((2048, 2048), EXTNAME=f"CHIP{k}.INT1", ESO__DET__CHIP__NO=k) for k in (1, 2, 4, 3))]


def ztf() -> Headers:
    primary = header(
        INSTRUME="ZTF/MOSAIC", FILENAME="ztf_20180214218750_000519_zr_c01_o.fits", IMGTYPE="object", EXPTIME=10.0,
        FILTERID=2, SHUTOPEN="2018-02-14T05:15:00",
    )  # fmt: skip
    light = [header((3080, 3072), CCD_ID=1, AMP_ID=k, GAIN=5.8, READNOI=10.0) for k in range(4)]
    return [primary, *light, *(header((3080, 30)) for _ in range(4))]


def generic() -> Headers:
    return [header(INSTRUME="MyCam"), header((20, 20), CCDNUM=3, DATE_OBS="2018-02-14T05:15:00", EXPTIME=10.0)]


CAMERAS: dict[str, Callable[[], Headers]] = {
    "90prime": bok,
    "comcam": lambda: rubin("ComCam", FILTER="g_01"),
    "decam": decam,
    "gmos": gmos,
    "hawki": hawki,
    "hsc": hsc,
    "kmtnet": kmtnet,
    "latiss": lambda: rubin("LATISS", datasec="[1:509,1:2000]", FILTER="SDSSr", GRATING="empty_1"),
    "lsstcam": lambda: rubin("lsstCam", FILTER="r_57"),
    "megaprime": megaprime,
    "mosaic": mosaic,
    "omegacam": omegacam,
    "suprimecam": suprimecam,
    "suprimecam-mit": suprimecam_mit,
    "vircam": vircam,
    "ztf": ztf,
    "mosaicv1": mosaicv1,
    "generic": generic,
}


def files(name: str, path: str = "night/kmtc.20150202.012345.fits.fz") -> FileHeaders:
    return FileHeaders.from_headers(CAMERAS[name](), path=path)


def described(name: str) -> FileDescription:
    headers = files(name)
    profile, rule = recognise(headers)
    assert profile.name == name
    return describe(headers, profile=profile, rule=rule)


def test_every_packaged_camera_is_here() -> None:
    assert list(CAMERAS) == packaged_profiles()


@pytest.mark.parametrize("name", CAMERAS)
def test_one_profile_fits_and_no_other(name: str) -> None:
    headers = files(name)
    fitting = [one for one in packaged_profiles() if why_recognised(load_profile(one), headers)]
    named = [one for one in fitting if one not in FALLBACKS]
    assert named == ([] if name in FALLBACKS else [name])
    assert recognise(headers)[0].name == name


@pytest.mark.parametrize(
    ("name", "exposure", "middle", "physical_filter", "kind", "lamp", "night"),
    [
        ("90prime", "kmtc.20150202.012345", "2014-01-08T01:00:05", "bokr", "flat", "", "2014-01-07"),
        ("comcam", 2024110800266, "2023-02-25T05:59:28", "g_01", "FLAT", "", "2024-11-08"),
        ("decam", 229388, "2024-01-01T01:00:05", "g DECam SDSS", "dome flat", "", "2023-12-31"),
        ("gmos", "GS-CAL20160202-1-003", "2016-02-02T13:12:44.7", "r_G0326", "FLAT", "QH", "2016-02-01"),
        ("hawki", "HAWKI.2009-11-01T10:00:00.123", "2009-11-01T06:00:05", "Ks", "FLAT", "", "2009-10-31"),
        ("hsc", "HSCA90402400", "2013-11-02T06:00:05", "HSC-i", "DOMEFLAT", "", "2013-11-01"),
        ("kmtnet", "kmtc.20150202.012345", "2015-02-02T01:00:05", "I", "", "", "2015-02-01"),
        ("latiss", 2024110800266, "2023-02-25T05:59:28", "SDSSr", "FLAT", "", "2024-11-08"),
        ("lsstcam", 2024110800266, "2023-02-25T05:59:28", "r_57", "FLAT", "", "2024-11-08"),
        ("megaprime", 1038843, "2008-11-01T14:33:37.4", "i.MP9702", "FLAT", "", "2008-10-31"),
        ("mosaic", "kpno.4m.970929.235744", "1997-09-29T23:57:49", "Halpha Mosaic", "dome flat", "", "1997-09-29"),
        ("omegacam", "OMEGA.2012-01-01T10:00:00.123", "2012-01-01T06:00:05", "r_SDSS", "FLAT,DOME", "FF_LAMP_2", ""),
        ("suprimecam", "SUPE01118760", "2013-11-02T06:00:05", "W-J-B", "DOMEFLAT", "", "2013-11-01"),
        ("suprimecam-mit", "SUPE00535770", "2007-04-23T08:02:32.204", "W-S-R+", "DOMEFLAT", "", "2007-04-22"),
        ("vircam", "VCAM.2009-11-01T10:00:00.123", "2009-11-01T06:00:05", "Ks", "FLAT,TWILIGHT", "", "2009-10-31"),
        ("ztf", 20180214218750, "2018-02-14T05:15:05", "ZTF_r", "object", "", "2018-02-13"),
        ("mosaicv1", "kmtc.20150202.012345", "2012-02-03T04:05:11", "V", "flat", "", ""),
        ("generic", "kmtc.20150202.012345", "2018-02-14T05:15:05", "", "", "", ""),
    ],
)
def test_exposures(
    name: str, exposure: int | str, middle: str, physical_filter: str, kind: str, lamp: str, night: str
) -> None:
    found = described(name).exposure
    assert (found.id, found.physical_filter, found.observation_type, found.lamp) == (
        exposure,
        physical_filter,
        kind,
        lamp,
    )
    assert found.exposure_time == 10
    assert found.time is not None
    assert abs(found.time - np.datetime64(middle)) < np.timedelta64(1, "ms")
    if night:
        assert found.night == night


def table(file: FileDescription, label: int | str) -> list[tuple[str, int, str, str, str]]:
    """Name, HDU, data, overscan and place of each amplifier of a detector."""
    (detector,) = [one for one in file.detectors if one.id == label]
    return [(a.name, a.hdu, str(a.data), str(a.overscan), str(a.trimmed)) for a in detector.amplifiers]


def test_gmos_counts_binned_pixels_in_the_image_and_unbinned_ones_on_the_ccd() -> None:
    file = described("gmos")
    assert table(file, "BI5-36-4k-2") == [
        ("1", 1, "[1:16,1:20]", "[17:32,1:20]", "[1:16,1:20]"),
        ("2", 2, "[17:32,1:20]", "[1:16,1:20]", "[17:32,1:20]"),
    ]
    (detector,) = file.detectors
    assert (detector.trimmed_shape, detector.amplifiers[0].gain) == ((20, 32), 1.8)
    # DETSEC counts unbinned pixels, of 15 um
    assert (detector.width, detector.amplifiers[0].width) == pytest.approx((64 * 0.015, 32 * 0.015))


def test_gmos_with_six_or_three_amplifiers() -> None:
    for count in (6, 3):
        headers = CAMERAS["gmos"]()
        made = []
        for k in range(count):
            one = headers[1].copy()
            one["CCDNAME"] = f"EEV 9273-16-0{k * 3 // count}"
            one["AMPNAME"] = f"{one['CCDNAME']}, {'left' if k % 2 else 'right'}"
            one["CCDSEC"] = f"[{1 + 32 * (k % 2)}:{32 + 32 * (k % 2)},1:40]"
            made.append(one)
        file = describe(FileHeaders.from_headers([headers[0], *made]), profile=load_profile("gmos"))
        assert [len(detector.amplifiers) for detector in file.detectors] == [count // 3] * 3


def test_gmos_twilight_is_a_type_and_two_filters_are_joined() -> None:
    headers = CAMERAS["gmos"]()
    headers[0].update(OBJECT="Twilight", OBSTYPE="OBJECT", FILTER1="HartmannA_G0313")
    exposure = describe(FileHeaders.from_headers(headers), profile=load_profile("gmos")).exposure
    assert (exposure.observation_type, exposure.physical_filter) == ("Twilight", "HartmannA_G0313+r_G0326")
    headers[0].update(FILTER1="open1-6", FILTER2="open2-8")
    assert describe(FileHeaders.from_headers(headers), profile=load_profile("gmos")).exposure.physical_filter == ""


def test_90prime_amplifiers_are_counted_across_ccds_and_gains_stand_in_the_primary_header() -> None:
    file = described("90prime")
    assert [(d.id, [a.name for a in d.amplifiers]) for d in file.detectors] == [
        ("CCD1", ["4", "3", "2", "1"]),
        ("CCD2", ["8", "7", "6", "5"]),
    ]
    assert [a.gain for a in file.detectors[1].amplifiers] == pytest.approx([1.8, 1.7, 1.6, 1.5])
    assert [a.hdu for a in file.detectors[1].amplifiers] == [5, 6, 7, 8]


def test_mosaic_amplifiers_read_towards_each_other() -> None:
    file = described("mosaic")
    assert table(file, "SITe #7382FAR06") == [
        ("lower left (Amp1)", 1, "[5:20,1:20]", "[21:24,1:20]", "[1:16,1:20]"),
        ("lower right (Amp2)", 2, "[5:20,1:20]", "[21:24,1:20]", "[32:17,1:20]"),
    ]
    assert file.detectors[0].trimmed_shape == (20, 32)


def test_mosaicv1_without_places() -> None:
    file = described("mosaicv1")
    assert [a.name for a in file.detectors[0].amplifiers] == ["A1", "A2"]
    assert file.detectors[0].trimmed_shape == ()


def test_kmtnet_has_eight_amplifiers_a_ccd() -> None:
    file = described("kmtnet")
    assert [d.id for d in file.detectors] == ["M", "K", "N", "T"]
    assert all([a.name for a in d.amplifiers] == list("12345678") for d in file.detectors)
    assert [a.hdu for a in file.detectors[2].amplifiers] == list(range(17, 25))


def test_kmtnet_with_the_electronics_of_2026() -> None:
    headers = CAMERAS["kmtnet"]()
    for one, name in zip(
        headers[1:], (f"{ccd}{k:02}{end}" for ccd in "MK" for end in "TB" for k in range(1, 9)), strict=True
    ):
        one["EXTNAME"] = name
    file = describe(FileHeaders.from_headers(headers), profile=load_profile("kmtnet"))
    assert [(d.id, len(d.amplifiers), d.amplifiers[8].name) for d in file.detectors] == [
        ("M", 16, "01B"),
        ("K", 16, "01B"),
    ]


@pytest.mark.parametrize(("ccd", "rows"), [(65, "1:4100"), (80, "1:4100"), (81, "101:4200"), (96, "101:4200")])
def test_omegacam_margins(ccd: int, rows: str) -> None:
    assert table(described("omegacam"), ccd)[0][2:] == (f"[49:2096,{rows}]", f"[2097:2144,{rows}]", "[1:2048,1:4100]")


def test_eso_gives_the_conversion_in_electron_per_adu() -> None:
    (amplifier,) = described("omegacam").detectors[0].amplifiers
    assert (amplifier.gain, amplifier.read_noise, amplifier.saturation) == (2.5, 5.0, 65535)


def test_vircam_channels() -> None:
    file = described("vircam")
    assert [(d.id, d.name) for d in file.detectors] == [(1, "ESO-Virgo1"), (16, "ESO-Virgo16")]
    channels = table(file, 16)
    assert [one[0] for one in channels] == [str(k) for k in range(1, 17)]
    assert channels[0][2:] == ("[1:128,1:2048]", "None", "[1:128,1:2048]")
    assert channels[-1][2:] == ("[1921:2048,1:2048]", "None", "[1921:2048,1:2048]")


def test_hawki_leaves_reference_pixels_out_and_takes_chips_by_number() -> None:
    file = described("hawki")
    assert [d.id for d in file.detectors] == [1, 2, 4, 3]
    assert table(file, 4)[0][2] == "[5:2044,5:2044]"


def test_ztf_overscans_lie_in_hdus_of_their_own() -> None:
    (detector,) = described("ztf").detectors
    assert detector.id == 1
    assert [(a.name, a.hdu, a.overscan_hdu, str(a.data), str(a.overscan)) for a in detector.amplifiers] == [
        (f"q{k}", k, k + 4, "[1:3072,1:3080]", "[1:30,1:3080]") for k in (1, 2, 3, 4)
    ]
    assert detector.trimmed_shape == (6160, 6144)
    assert str(detector.amplifiers[2].trimmed) == "[3073:6144,3081:6160]"


@pytest.mark.parametrize(
    ("name", "gains"),
    [
        ("90prime", [1.4, 1.3]),
        ("decam", [4.1, 3.9]),
        ("gmos", [1.8, 1.8]),
        ("kmtnet", [1.4, 1.4]),
        ("megaprime", [1.57, 1.67]),
        ("mosaic", [2.7, 2.7]),
        ("omegacam", [2.5]),
        ("ztf", [5.8, 5.8]),
        ("mosaicv1", [2.7, 2.7]),
    ],
)
def test_gains(name: str, gains: list[float]) -> None:
    assert [a.gain for a in described(name).detectors[0].amplifiers][:2] == pytest.approx(gains)


@pytest.mark.parametrize("name", ["hsc", "suprimecam"])
def test_subaru_overscan_has_the_rows_of_the_data(name: str) -> None:
    (detector,) = described(name).detectors
    assert [str(a.data) for a in detector.amplifiers] == [
        "[9:24,5:44]",
        "[49:64,5:44]",
        "[73:88,5:44]",
        "[113:128,5:44]",
    ]
    assert [str(a.overscan) for a in detector.amplifiers] == [
        "[25:32,5:44]",
        "[41:48,5:44]",
        "[89:96,5:44]",
        "[105:112,5:44]",
    ]
    assert [a.gain for a in detector.amplifiers] == [3.1, 3.2, 3.3, 3.4]


@pytest.mark.parametrize(("first", "data", "overscan"), [(33, "33:2080", "1:32"), (1, "1:2048", "2049:2080")])
def test_the_older_suprimecam(first: int, data: str, overscan: str) -> None:
    (made,) = CAMERAS["suprimecam-mit"]()
    made["EFP-MIN1"] = first
    file = describe(FileHeaders.from_headers([made]), profile=load_profile("suprimecam-mit"))
    assert table(file, 0) == [("1", 0, f"[{data},1:4100]", f"[{overscan},1:4100]", "[1:2048,1:4100]")]


@pytest.mark.parametrize("name", ["comcam", "latiss", "lsstcam"])
def test_rubin(name: str) -> None:
    file = described(name)
    assert table(file, "R22_S00") == [
        ("Segment10", 1, "[4:512,1:2000]", "[513:576,1:2000]", "[509:1,1:2000]"),
        ("Segment11", 2, "[4:512,1:2000]", "[513:576,1:2000]", "[1018:510,1:2000]"),
    ]
    assert all(math.isnan(a.gain) and a.placeholder_gain for a in file.detectors[0].amplifiers)


def test_kmtnet_is_known_by_the_software_that_wrote_it_too() -> None:
    headers = CAMERAS["kmtnet"]()
    del headers[0]["TELESCOP"]
    assert recognise(FileHeaders.from_headers(headers))[0].name == "generic"
    headers[0]["ICSBUILD"] = "v1.4 2015-01-01"
    assert recognise(FileHeaders.from_headers(headers))[0].name == "kmtnet"


def test_what_a_pipeline_made_is_not_taken_for_raw() -> None:
    for name in ("90prime", "mosaic"):
        headers = CAMERAS[name]()
        headers[0]["PLVER"] = "V4.4"
        assert recognise(FileHeaders.from_headers(headers))[0].name in FALLBACKS


SECTIONS = ["[0:0,0:0]", "[0:0,1:9]", "[1:2]", "[9:1,9:1]", "[1:99999999,1:2]"]
NONSENSE = st.one_of(
    st.sampled_from([*SECTIONS, "", " ", "1 0", "2 2", "0", "{}"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
)
STRUCTURE = ("SIMPLE", "XTENSION", "BITPIX", "NAXIS", "NAXIS1", "NAXIS2")
"""Cards that make an HDU an image; what reads files judges these."""

DAMAGE = st.tuples(st.integers(0, 40), st.integers(0, 40), st.sampled_from(["lose", "replace", "double"]), NONSENSE)
"""HDU and card (counted round), what happens to it, a value."""


def damaged(headers: Headers, changes: list[tuple[int, int, str, Any]]) -> Headers:
    for hdu, card, what, value in changes:
        one = headers[hdu % len(headers)]
        keys = [key for key in one if key not in STRUCTURE]
        key = keys[card % len(keys)] if keys else "EXTNAME"
        if what == "lose":
            one.remove(key, ignore_missing=True)
        elif what == "double" and " " not in key:
            one.append((key, value), end=True)
        else:
            one[f"HIERARCH {key}" if " " in key else key] = value
    return headers


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(CAMERAS)), changes=st.lists(DAMAGE, min_size=1, max_size=4))
def test_cards_that_are_lost_or_nonsense_give_one_clear_line(
    name: str, changes: list[tuple[int, int, str, Any]]
) -> None:
    headers = FileHeaders.from_headers(damaged(CAMERAS[name](), changes), path="night/a.fits")
    said: list[str] = []
    for profile in (recognise(headers)[0], load_profile(name)):
        try:
            file = describe(headers, profile=profile)
        except (CameraError, ReadError) as error:
            said.append(str(error))
        else:
            for amplifier in (a for d in file.detectors for a in d.amplifiers):
                assert amplifier.data.lies_inside(headers.hdus[amplifier.hdu].shape)
        faults: list[Fault] = []
        try:
            said += remarks_on(describe(headers, profile=profile, faults=faults), headers)
            said.append(faults_text("night/a.fits", faults))
        except (CameraError, ReadError) as error:
            said.append(str(error))
    assert not any("\n" in line for line in said)
