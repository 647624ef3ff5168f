from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from astropy.io import fits

from flatnorm_xr.camera import profiles
from flatnorm_xr.camera.headers import FileHeaders
from flatnorm_xr.camera.json_schema import json_schema, schema_text
from flatnorm_xr.camera.profiles import KEYS, UNRECOGNISED, load_profile, packaged_profiles, recognise
from flatnorm_xr.camera.regions import Region
from flatnorm_xr.errors import CameraError

MINIMAL = """\
name: lab
layout: plain-images
exposure:
  id: SHOT
detector:
  id: CAM
"""


@pytest.fixture
def written(tmp_path: Path) -> Any:
    def write(text: str) -> Path:
        path = tmp_path / "lab.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize("name", packaged_profiles())
def test_packaged_profiles_load(name: str) -> None:
    assert load_profile(name).name == name


def test_what_many_cameras_fit_comes_last() -> None:
    names = packaged_profiles()
    assert names[-2:] == ["mosaicv1", "generic"]
    assert names[:-2] == sorted(names[:-2])
    assert {"decam", "hsc", "lsstcam", "megaprime"} <= set(names)


def test_a_profile_is_loaded_from_a_path_and_frozen(written: Any) -> None:
    profile = load_profile(written(MINIMAL))
    assert (profile.name, profile.overscan, profile.units) == ("lab", "none", "adu")
    assert load_profile(profile) is profile
    with pytest.raises(dataclasses.FrozenInstanceError):
        profile.name = "x"  # type: ignore[misc]


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(CameraError, match=r"'nocam'.*decam, .*lsstcam, .*generic"):
        load_profile("nocam")


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ("gian: 3\n", "", ["line 7", "unknown key gian", "apply_gain"]),
        ("border: 1\nborder: 2\n", "", ["line 8", "border", "a second time"]),
        ("border: two\n", "", ["line 7", "border", "'two'", "whole number"]),
        ("border: -4\n", "", ["line 7", "border", "-4 must be a whole number, 0 or more"]),
        ("mask: {optional: true}\n", "", ["line 7: mask.optional", "needs mask.only"]),
        ("apply_gain: 1\n", "", ["apply_gain", "true or false"]),
        ("overscan: mean\n", "", ["overscan", "median-per-row, constant, none"]),
        ("amplifiers: {gain: gain of amp}\n", "", ["amplifiers.gain", "neither a keyword"]),
        (
            "amplifiers: {gain: {keyword: GAIN}}\n",
            "",
            ["amplifiers.gain", "unknown keyword", "key or join, and may have match"],
        ),
        ("amplifiers: {gain: {key: GAIN, match: '('}}\n", "", ["amplifiers.gain", "not a regular expression"]),
        ("amplifiers: {gain: {key: GAIN, type: real}}\n", "", ["amplifiers.gain", "integer, number or text"]),
        ("amplifiers: {each: {A: {dat: '[1:2,1:2]'}}}\n", "", ["line 7: amplifiers.each.A.dat", "unknown key dat"]),
        ("amplifiers: 3\n", "", ["line 7", "amplifiers must be a mapping"]),
        ("recognise: {INSTRUME: x}\n", "", ["recognise", "list of mappings"]),
        ("recognise: [{INSTRUME: '('}]\n", "", ["recognise", "INSTRUME", "not a regular expression"]),
        ("amplifiers: {names: [A, A]}\n", "", ["amplifiers.names", "twice"]),
        ("amplifiers: {names: [A]}\n", "", ["line 2: layout", "plain-images has no named amplifiers"]),
        ("", "  id: SHOT\n", ["exposure.id is missing"]),
        (
            "  time: T\n",
            "  id: SHOT\ndetector:\n  id: CAM\n",
            ["line 3: exposure.id is missing", "detector.id is missing"],
        ),
        ("", "layout: plain-images\n", ["layout is missing", "hdu-is-amplifier"]),
        ("layout: mosaic\n", "layout: plain-images\n", ["layout", "'mosaic'", "hdu-is-detector"]),
        ("layout: hdu-is-detector\n", "layout: plain-images\n", ["line 6: layout", "needs amplifiers.names"]),
        ("layout: hdu-is-amplifier\n", "layout: plain-images\n", ["line 6: layout", "needs amplifiers.name"]),
        ("amplifiers:\n  data: D\n  margins: {left: 3}\n", "", ["line 9: amplifiers.margins", "give one"]),
        ("amplifiers:\n  margins:\n    left: 3\n    lower: 4\n", "", ["line 10: amplifiers.margins.lower"]),
        ("amplifiers:\n  margins: {top: gain of amp}\n", "", ["line 8: amplifiers.margins.top", "neither a keyword"]),
        ("amplifiers: {overscan_hdu: {pair: A}}\n", "", ["line 7: amplifiers.overscan_hdu", "with only"]),
        ("amplifiers: {gain: {key: A, join: [B]}}\n", "", ["line 7: amplifiers.gain", "key or join"]),
        (
            "amplifiers: {gain: {key: A, cases: {'(': 1}}}\n",
            "",
            ["line 7: amplifiers.gain", "not a regular expression"],
        ),
        ("amplifiers: {gain: {key: A, cases: 3}}\n", "", ["line 7: amplifiers.gain", "regular expressions to texts"]),
        ("amplifiers: {gain: [{key: A, mach: B}]}\n", "", ["line 7: amplifiers.gain", "unknown mach"]),
        ("mask: {only: {EXTNAME: DQ}, bits: [64]}\n", "", ["line 7: mask.bits", "0 to 63"]),
        ("mask: {pair: EXTVER}\n", "", ["line 7: mask.pair", "needs mask.only"]),
        ("vignetting: {circle: [1, 2]}\n", "", ["line 7: vignetting", "radius"]),
        ("vignetting: {polygon: [[1, 2], [3, 4]]}\n", "", ["line 7: vignetting.polygon", "three points or more"]),
        ("vignetting: {circle: [1, 2, 3], units: cm}\n", "", ["line 7: vignetting.units", "mm, pixel"]),
        ("recognise: [{INSTRUME: 3}]\n", "", ["line 7: recognise", "null"]),
    ],
)
def test_what_is_wrong_is_named_with_file_and_remedy(written: Any, wrong: str, right: str, words: list[str]) -> None:
    content = (MINIMAL.replace(right, "", 1) if right else MINIMAL) + wrong
    content = content.replace("exposure:\ndetector", "detector") if right == "  id: SHOT\n" else content
    with pytest.raises(CameraError) as error:
        load_profile(written(content))
    message = str(error.value)
    assert "\n" not in message
    for word in ["lab.yaml", *words]:
        assert word in message


def test_all_mistakes_come_in_one_error(written: Any) -> None:
    wrong = "border: x\noverscan: y\ntitel: z\napply_gain: 3\namplifiers: {names: [A], gain: [], data: 3.5.2}\n"
    with pytest.raises(CameraError) as error:
        load_profile(written(MINIMAL + wrong))
    message = str(error.value)
    for line, key in [(7, "border"), (8, "overscan"), (9, "unknown key titel"), (10, "apply_gain"), (2, "layout")]:
        assert f"line {line}: {key}" in message
    for key in ("gain", "data"):
        assert f"line 11: amplifiers.{key}" in message


def test_where_a_detector_lies_needs_the_size_of_a_pixel(written: Any) -> None:
    for position, said in [("{section: S}", "needs pixel_size"), ("{section: S, wcs: F, pixel_size: 1}", "give one")]:
        with pytest.raises(CameraError, match=rf"line 7: detector\.position.*{said}"):
            load_profile(written(f"{MINIMAL}  position: {position}\n"))


def test_new_keys_are_read(written: Any) -> None:
    more = """\
vignetting: {circle: [0, 0, 180]}
mask: {only: {EXTNAME: ^DQ$}, pair: EXTVER, bits: [0, 3]}
amplifiers:
  margins: {left: [PRSCX, 48], top: 4}
  overscan_hdu: {only: {columns: '^30$'}}
  gain: {join: [A, B]}
"""
    profile = load_profile(written(MINIMAL + more))
    assert profile.vignetting == Region(circle=(0, 0, 180), units="mm")
    assert (profile.mask.only, profile.mask.bits, str(profile.mask.pair)) == ((("EXTNAME", "^DQ$"),), (0, 3), "EXTVER")
    assert set(profile.amplifiers.margins) == {"left", "top"}
    assert profile.amplifiers.overscan_hdu is not None
    assert str(profile.amplifiers.gain) == "A + B"
    assert load_profile(written(MINIMAL)).vignetting is None


@pytest.mark.parametrize("text", ["a: [1, 2", "- a\n- b\n", "", "\x00"])
def test_no_yaml_mapping(written: Any, text: str) -> None:
    with pytest.raises(CameraError, match=r"lab\.yaml"):
        load_profile(written(text))


def test_broken_yaml_is_named_by_its_file_and_line(written: Any) -> None:
    with pytest.raises(CameraError, match=r"lab\.yaml: .*in line 2, column") as error:
        load_profile(written("name: lab\nlayout: [1, 2\n"))
    assert "unicode string" not in str(error.value)
    assert "\n" not in str(error.value)


def test_braces_within_braces_need_quotes(written: Any) -> None:
    with pytest.raises(CameraError, match=r'line 7.* in quotes: "DATASEC\{amp\}"$'):
        load_profile(written(MINIMAL + "amplifiers: {data: DATASEC{amp}, gain: GAIN}\n"))
    with pytest.raises(CameraError) as error:
        load_profile(written(MINIMAL + "amplifiers: {data: [DATASEC, gain: GAIN}\n"))
    assert "quotes" not in str(error.value)


def test_every_key_says_what_it_means() -> None:
    assert all(row.meaning and row.name == name for name, row in KEYS.items())


def test_case_is_ignored_and_nothing_known_means_generic() -> None:
    decam = fits.Header([("INSTRUME", "DECAM")])
    assert recognise(FileHeaders.from_headers([decam]))[0].name == "decam"
    other = fits.Header([("INSTRUME", "MyCam")])
    profile, rule = recognise(FileHeaders.from_headers([other]))
    assert (profile.name, rule) == ("generic", UNRECOGNISED)


@pytest.mark.parametrize(
    "text",
    [
        "a: &a [*a]\n",
        "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n",
        "base: &base {id: SHOT}\n",
    ],
)
def test_anchors_and_aliases_are_refused(written: Any, text: str) -> None:
    with pytest.raises(CameraError, match=r"lab\.yaml: line 1: anchors .* are not allowed"):
        load_profile(written(text))


def test_what_is_too_long_or_too_deep_for_a_profile(written: Any) -> None:
    with pytest.raises(CameraError, match="at most 200000"):
        load_profile(written(MINIMAL + "#" * 200_000))
    with pytest.raises(CameraError, match="not readable YAML"):
        load_profile(written("[" * 50_000))


@pytest.mark.parametrize("rule", ["{key: CAM, format: '{}{}{}'}", "{key: CAM, format: '{}{0'}", "'{BITPIX:zz}'"])
def test_formats_that_would_fail_are_refused_when_loaded(written: Any, rule: str) -> None:
    with pytest.raises(CameraError, match=r"lab\.yaml: line 6: detector\.id: .*format"):
        load_profile(written(MINIMAL.replace("CAM", rule)))


def test_a_value_that_a_format_cannot_write(written: Any) -> None:
    profile = load_profile(written(MINIMAL.replace("CAM", "'{CAM:05d}'")))
    headers = FileHeaders.from_headers([fits.Header([("CAM", 1.5)])], path="x.fits")
    with pytest.raises(CameraError, match=r"x\.fits\[0\]: CAM = 1\.5 cannot be written .*\{CAM:05d\}"):
        profile.detector.id.find(headers.hdus[0], path="x.fits")


@pytest.mark.parametrize("given", [3, 3.5, ["decam"]])
def test_what_is_no_profile(given: Any) -> None:
    with pytest.raises(CameraError, match=r"camera: .* must be the name of a profile"):
        load_profile(given)


def test_a_list_that_holds_mappings(written: Any) -> None:
    with pytest.raises(CameraError, match=r"amplifiers\.unbinned"):
        load_profile(written(MINIMAL + "amplifiers:\n  unbinned: [{a: b}]\n"))


@pytest.mark.parametrize("value", ["2026-02-30", "0x_", "!!int foo", "!!bool foo", "!!timestamp foo"])
def test_values_that_yaml_itself_cannot_build_are_one_clear_error(written: Any, value: str) -> None:
    with pytest.raises(CameraError, match=r"lab\.yaml: not readable YAML"):
        load_profile(written(f"{MINIMAL}\ntitle: {value}\n"))


def test_the_schema_for_editors_is_that_of_the_keys() -> None:
    written = Path(profiles.__file__).with_name("profile.schema.json")
    assert written.read_text() == schema_text(), f"python -m flatnorm_xr.camera.json_schema > {written}"


def test_the_schema_for_editors_accepts_packaged_profiles_and_refuses_mistakes() -> None:
    jsonschema = pytest.importorskip("jsonschema")
    yaml = pytest.importorskip("yaml")
    checker = jsonschema.Draft202012Validator(json_schema())
    folder = Path(profiles.__file__).parent / "profiles"
    for name in packaged_profiles():
        content = yaml.safe_load((folder / f"{name}.yaml").read_text())
        # YAML has numbers as keys of mappings, JSON has not
        checker.validate(json.loads(json.dumps(content)))
    for wrong in ["gian: 3\n", "border: two\n", "overscan: mean\n", "amplifiers: {gain: {keyword: GAIN}}\n"]:
        assert not checker.is_valid(yaml.safe_load(MINIMAL + wrong))
