"""Rules of profiles: cases, joined wheels, rules within rules, words."""

from __future__ import annotations

from typing import Any

import pytest
from astropy.io import fits

from flatnorm_xr.camera.headers import FileHeaders, HduHeader
from flatnorm_xr.camera.rules import match_all, parse_rule
from flatnorm_xr.errors import CameraError


def hdu(**cards: Any) -> HduHeader:
    """HDU 1 of a file: an image of 4 rows and 6 columns; FROM stands in the primary header only."""
    image = fits.Header([("XTENSION", "IMAGE"), ("NAXIS", 2), ("NAXIS1", 6), ("NAXIS2", 4), *cards.items()])
    primary = fits.Header([("SIMPLE", True), ("NAXIS", 0), ("FROM", "primary")])
    return FileHeaders.from_headers([primary, image], path="night/a_c07_o.fits.fz").images[0]


def find(rule: Any, amplifier: str = "", **cards: Any) -> Any:
    one = hdu(**cards)
    return parse_rule(rule).find(one, amplifier=amplifier, path=one.path)


WHEELS = {"join": ["FILTER1", "FILTER2"], "match": "^(?!open)(.+)$"}


@pytest.mark.parametrize(
    ("wheels", "expected"),
    [
        (("open1-6", "r_G0326"), "r_G0326"),
        (("HartmannA", "r_G0326 "), "HartmannA+r_G0326"),
        (("open1-6", "OPEN2"), None),
        (("r", ""), "r"),
    ],
)
def test_two_wheels(wheels: tuple[str, str], expected: str | None) -> None:
    assert find(WHEELS, FILTER1=wheels[0], FILTER2=wheels[1]) == expected


def test_a_wheel_that_is_absent() -> None:
    assert find(WHEELS, FILTER2="r") == "r"
    assert find(WHEELS) is None


def test_cases_are_tried_in_turn_and_what_fits_none_does_not_count() -> None:
    rule = {"key": "EXTNAME", "cases": {"^im[1-4]$": "CCD1", "^im": "others"}}
    assert find(rule, EXTNAME="IM3") == "CCD1"
    assert find(rule, EXTNAME="im9") == "others"
    assert find(rule, EXTNAME="guider") is None
    assert find({"key": ["A", "B"], "cases": {"^2$": 20.5}}, A=1, B=2) == 20.5


def test_rules_within_rules_each_with_its_own_shape() -> None:
    rule = [{"key": "A", "match": r"^x(\d+)$", "type": "integer"}, {"key": "file-stem", "match": r"_c(\d\d)_"}, "B"]
    assert find(rule, A="x12", B=1) == 12
    assert find(rule, A="y12", B=1) == "07"
    assert find([{"key": "A", "match": "x"}, 3.5], A="y") == 3.5


def test_the_shape_of_the_whole_is_put_on_what_is_within() -> None:
    assert find({"key": [{"key": "A", "match": r"\d+"}], "format": "ccd{}"}, A="n7") == "ccd7"


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("columns", 6),
        ("rows", 4),
        ("hdu-number", 1),
        ("file-stem", "a_c07_o"),
        ("FROM", "primary"),
        ("[1:2,3:4]", "[1:2,3:4]"),
        (2.5, 2.5),
        ("{FROM}-{N:03d}", "primary-007"),
        ("{FROM}-{M}", None),
        ("GAIN{amp}", 1.5),
        ({"key": "GAIN{amp}", "format": "{}!"}, "1.5!"),
        ({"key": "N", "type": "text"}, "7"),
        (["M", "N"], 7),
    ],
)
def test_sources(rule: Any, expected: Any) -> None:
    assert find(rule, amplifier="B", N=7, GAINB=1.5) == expected


def test_what_is_written_of_a_rule() -> None:
    assert str(parse_rule(["A", {"key": "B"}])) == "A or B"
    assert str(parse_rule(WHEELS)) == "FILTER1 + FILTER2"


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"match": "x"}, "key is missing"),
        ({"key": "A", "join": ["B"]}, "join beside it"),
        ({"key": "A", "cases": {}}, "must be a mapping"),
        ({"key": "A", "cases": {"x": True}}, "texts or numbers"),
        ({"key": "A", "cases": {"(": 1}}, "not a regular expression"),
        ([{"keyword": "A"}], "unknown keyword"),
        ([[1]], "write a keyword"),
        ([], "an empty list"),
    ],
)
def test_what_is_no_rule(rule: Any, said: str) -> None:
    with pytest.raises(CameraError, match=said):
        parse_rule(rule)


@pytest.mark.parametrize(
    ("match", "fits_"),
    [
        ((("A", "^x"),), True),
        ((("A", "^x"), ("B", None)), True),
        ((("A", None),), False),
        ((("B", "."),), False),
        ((("columns", "^6$"), ("FROM", "PRIM")), True),
    ],
)
def test_matches(match: tuple[tuple[str, str | None], ...], fits_: bool) -> None:
    assert match_all(match, hdu(A="Xyz")) is fits_
