"""Amplifiers from headers: margins, and the masks and overscans that lie in HDUs of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from flatnorm_xr.camera.faults import Fault
from flatnorm_xr.camera.geometry import FileDescription, describe
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.profiles import Profile, load_profile
from flatnorm_xr.errors import CameraError

PROFILE = """\
name: lab
layout: plain-images
exposure: {id: file-stem}
detector: {id: [EXTVER, hdu-number], skip: {EXTNAME: ^VAR$}}
"""


@pytest.fixture
def profile(tmp_path: Path) -> Any:
    def load(more: str, layout: str = "plain-images") -> Profile:
        path = tmp_path / "lab.yaml"
        path.write_text(PROFILE.replace("plain-images", layout) + more)
        return load_profile(path)

    return load


def headers(*images: dict[str, Any]) -> FileHeaders:
    made = [fits.Header([("SIMPLE", True), ("NAXIS", 0)])]
    for cards in images:
        size = {"NAXIS1": 30, "NAXIS2": 20} | cards
        made.append(fits.Header([("XTENSION", "IMAGE"), ("NAXIS", 2), *size.items()]))
    return FileHeaders.from_headers(made, path="a.fits")


def described(profile: Profile, *images: dict[str, Any], faults: list[Fault] | None = None) -> FileDescription:
    return describe(headers(*images), profile=profile, faults=faults)


def sci(version: int) -> dict[str, Any]:
    return {"EXTNAME": "SCI", "EXTVER": version}


def dq(version: Any) -> dict[str, Any]:
    return {"EXTNAME": "DQ", "EXTVER": version}


MASKS = "mask: {only: {EXTNAME: ^DQ$}, pair: EXTVER, bits: [1]}\n"
IN_ORDER = "mask: {only: {EXTNAME: ^DQ$}}\n"


def masks(file: FileDescription) -> dict[Any, int | None]:
    return {detector.id: detector.amplifiers[0].mask_hdu for detector in file.detectors}


def test_masks_are_found_by_what_they_share_with_their_image(profile: Any) -> None:
    file = described(profile(MASKS), sci(1), sci(2), {"EXTNAME": "VAR", "EXTVER": 1}, dq(2), dq(1))
    assert masks(file) == {1: 5, 2: 4}
    assert file.profile.mask.bits == (1,)


def test_an_image_without_mask(profile: Any) -> None:
    assert masks(described(profile(MASKS), sci(1), sci(2), dq(2))) == {1: None, 2: 3}
    assert masks(described(profile(MASKS), sci(1))) == {1: None}


def test_masks_in_the_order_of_the_images(profile: Any) -> None:
    assert masks(described(profile(IN_ORDER), sci(5), dq(0), sci(3), dq(0))) == {5: 2, 3: 4}


def test_masks_whose_order_cannot_tell(profile: Any) -> None:
    with pytest.raises(CameraError, match=r"a\.fits: 2 images and 1 HDUs of mask.*mask\.pair"):
        described(profile(IN_ORDER), sci(1), sci(2), dq(1))


def test_two_masks_of_one_image(profile: Any) -> None:
    with pytest.raises(CameraError, match=r"mask of EXTVER 1 stands in HDU 2, 3"):
        described(profile(MASKS), sci(1), dq(1), dq(1))


def test_masks_without_what_they_share_with_their_image(profile: Any) -> None:
    with pytest.raises(CameraError, match=r"mask in HDU 2, 3 has no EXTNR.*correct the rule mask\.pair"):
        described(profile(MASKS.replace("EXTVER", "EXTNR")), sci(1), dq(1), dq(2))


OPTIONAL = "mask: {only: {EXTNAME: ^DQ$}, pair: EXTVER, optional: true}\n"


@pytest.mark.parametrize(
    ("versions", "note"), [((1, 1), "mask of EXTVER 1 stands in HDU 2, 3"), ((1, ""), "HDU 3 has no")]
)
def test_masks_that_may_be_absent_are_not_used_where_it_is_not_known_whose_they_are(
    profile: Any, versions: tuple[Any, Any], note: str
) -> None:
    file = described(profile(OPTIONAL), sci(1), *map(dq, versions))
    assert "data quality is not used" in file.notes[0]
    assert note in file.notes[0]
    assert masks(file) == {1: 2 if versions[1] == "" else None}


OVERSCANS = "overscan: constant\namplifiers:\n  overscan_hdu: {only: {EXTNAME: ^OS$}, pair: EXTVER}\n"


def test_overscans_in_hdus_of_their_own(profile: Any) -> None:
    (detector,) = described(profile(OVERSCANS), sci(1), {"EXTNAME": "OS", "EXTVER": 1, "NAXIS1": 5}).detectors
    (amplifier,) = detector.amplifiers
    assert (str(amplifier.data), amplifier.overscan_hdu, str(amplifier.overscan)) == ("[1:30,1:20]", 2, "[1:5,1:20]")
    assert detector.shapes == {1: (20, 30)}


def test_a_section_of_such_an_overscan(profile: Any) -> None:
    found = profile(OVERSCANS + "  overscan: '[2:4,1:20]'\n")
    (detector,) = described(found, sci(1), {"EXTNAME": "OS", "EXTVER": 1, "NAXIS1": 5}).detectors
    assert str(detector.amplifiers[0].overscan) == "[2:4,1:20]"
    with pytest.raises(CameraError, match=r"a\.fits\[2\].*overscan \[2:4,1:20\] lies outside the image of 3 x 20"):
        described(found, sci(1), {"EXTNAME": "OS", "EXTVER": 1, "NAXIS1": 3})


@pytest.mark.parametrize(
    ("margins", "data", "overscan"),
    [
        ("{left: 4}", "[5:30,1:20]", "None"),
        ("{left: 4, right: 6}", "[5:24,1:20]", "[25:30,1:20]"),
        ("{right: [ABSENT, WIDE], bottom: 1, top: 2}", "[1:27,2:18]", "[28:30,2:18]"),
        ("{top: 0}", "[1:30,1:20]", "None"),
    ],
)
def test_margins(profile: Any, margins: str, data: str, overscan: str) -> None:
    found = profile(f"amplifiers: {{margins: {margins}, overscan: right-of-data}}\n")
    (amplifier,) = described(found, {"EXTVER": 1, "WIDE": 3}).detectors[0].amplifiers
    assert (str(amplifier.data), str(amplifier.overscan)) == (data, overscan)


@pytest.mark.parametrize(
    ("margins", "said"),
    [
        ("{left: 20, right: 10}", "leave nothing of 30 x 20 pixels"),
        ("{left: ABSENT}", r"a margin \(ABSENT\) is nan"),
        ("{left: -1}", r"a margin \(-1\) is -1"),
        ("{left: 1.5}", "whole number of pixels"),
    ],
)
def test_margins_that_cannot_be(profile: Any, margins: str, said: str) -> None:
    with pytest.raises(CameraError, match=rf"a\.fits\[1\].*{said}"):
        described(profile(f"amplifiers: {{margins: {margins}}}\n"), sci(1))


def test_faults_are_collected_and_the_rest_is_described(profile: Any) -> None:
    found = profile("amplifiers: {names: [A, B], data: 'DATA{amp}'}\n", layout="hdu-is-detector")
    faults: list[Fault] = []
    images = [{"EXTVER": 1, "DATAA": "[1:15,1:20]", "DATAB": "[16:31,1:20]"}, {"EXTVER": 2, "DATAA": "[1:9,1:9]"}]
    file = described(found, *images, faults=faults)
    assert [(d.id, [a.name for a in d.amplifiers]) for d in file.detectors] == [(1, ["A", "B"]), (2, ["A"])]
    assert len(faults) == 2
    assert (faults[0].hdu, faults[1].hdu) == (1, 2)
    assert "[16:31,1:20] lies outside" in faults[0].said
    assert "no data section (DATA{amp}) of amplifier B" in faults[1].said
    with pytest.raises(
        CameraError, match=r"a\.fits\[1\]: .*\[16:31,1:20\] lies outside.*a\.fits\[2\]: no data section"
    ):
        described(found, *images)
