"""Statistics of Rubin's tasks become levels by label, whatever holds them, and levels become statistics."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")

from lsst.pipe.base import TaskMetadata

import flatnorm_xr as fx
from flatnorm_xr.lsst.camera import MosaicCamera, amplifier_names
from flatnorm_xr.lsst.statistics import levels_of, statistics_of


class OnlyGet:
    """Statistics that can be asked for one at a time, and raise for those that are not there."""

    def __init__(self, statistics):
        self._statistics = statistics

    def get(self, name):
        return self._statistics[name]


def as_task_metadata(statistics):
    return TaskMetadata.from_dict(statistics)


@pytest.mark.parametrize("holder", ["dict", "TaskMetadata", "PropertyList", "only get"])
@pytest.mark.parametrize("level", ["DETECTOR", "AMP"])
def test_levels_return_whatever_holds_the_statistics(levels, inputs_of, property_list, holder, level):
    wrap = {"dict": dict, "TaskMetadata": as_task_metadata, "PropertyList": property_list, "only get": OnlyGet}[holder]
    statistics, dims, camera = inputs_of(levels)
    back = levels_of([wrap(one) for one in statistics], dims, camera, level=level)
    prefix = "detector_" if level == "DETECTOR" else ""
    for name in ("background", "sigma"):
        np.testing.assert_array_equal(back[name], levels[f"{prefix}{name}"].where(levels[f"{prefix}counts"] > 0))
    np.testing.assert_array_equal(back.counts, levels[f"{prefix}counts"])
    assert back.detector.values.tolist() == levels.detector.values.tolist()


def test_order_of_the_inputs_does_not_matter(levels, inputs_of):
    statistics, dims, camera = inputs_of(levels)
    order = np.random.default_rng(5).permutation(len(dims))
    shuffled = levels_of([statistics[i] for i in order], [dims[i] for i in order], camera, level="AMP")
    assert shuffled.identical(levels_of(statistics, dims, camera, level="AMP"))


def test_amplifiers_are_matched_by_name_not_by_place(levels, inputs_of):
    statistics, dims, camera = inputs_of(levels)
    expected = levels_of(statistics, dims, camera, level="AMP")
    reversed_camera = {detector: amplifiers[::-1] for detector, amplifiers in camera.items()}
    found = levels_of(statistics, dims, reversed_camera, level="AMP")
    np.testing.assert_array_equal(found.background.sel(amplifier=expected.amplifier), expected.background)


def test_amplifiers_without_names_in_the_statistics_are_matched_by_place(levels, inputs_of):
    statistics, dims, camera = inputs_of(levels)
    nameless = [{k: v for k, v in one.items() if not k.startswith("AMP_NAME")} for one in statistics]
    assert levels_of(nameless, dims, camera, level="AMP").identical(levels_of(statistics, dims, camera, level="AMP"))


def test_ragged_camera_has_padding_and_nothing_in_it():
    statistics = [
        {"AMP_MEDIAN_0": 10.0, "AMP_N_0": 5},
        {f"AMP_{k}_{i}": 7.0 + i for i in range(3) for k in ("MEDIAN", "N")},
    ]
    dims = [{"detector": 1, "exposure": 9}, {"detector": 2, "exposure": 9}]
    ds = levels_of(statistics, dims, {1: ["A"], 2: ["A", "B", "C"]}, level="AMP")
    assert ds.exists.values.tolist() == [[True, False, False], [True, True, True]]
    assert ds.background.isel(exposure=0).fillna(-1).values.tolist() == [[10, -1, -1], [7, 8, 9]]


def test_a_pair_that_was_not_measured_gives_no_statistics():
    ds = fx.make([[1.0, np.nan], [2.0, 3.0]], coords={"detector": [5, 6], "exposure": [1, 2]})
    assert [(detector, exposure) for detector, exposure, _ in statistics_of(ds)] == [(5, 1), (6, 1), (6, 2)]


def test_a_flagged_level_is_handed_on_as_not_measured():
    quality = [[0, int(fx.Flag.SATURATED)]]
    ds = fx.make([[1.0, 60000.0]], counts=[[9, 9]], quality=np.array(quality, dtype="u4"))
    handed_on = [statistics for _, _, statistics in statistics_of(ds)]
    assert handed_on[0].pop("UNITS") == "adu"
    assert handed_on[0] == pytest.approx(
        {"DETECTOR_MEDIAN": 1.0, "DETECTOR_SIGMA": np.nan, "DETECTOR_N": 9}, nan_ok=True
    )
    assert np.isnan(handed_on[1]["DETECTOR_MEDIAN"])
    assert handed_on[1]["DETECTOR_N"] == 0


GOOD = {"DETECTOR_MEDIAN": 5.0, "DETECTOR_N": 10}
HERE = {"detector": 1, "exposure": 7}


@pytest.mark.parametrize(
    ("statistics", "dims", "level", "error", "message"),
    [
        ([GOOD], [{"detector": 1}], "DETECTOR", KeyError, r"^run: inputDims lack exposure in \{'detector': 1\}"),
        ([GOOD], [{"exposure": 1}], "DETECTOR", KeyError, "lack detector"),
        (
            [{"DETECTOR_MEAN": 5.0}],
            [HERE],
            "DETECTOR",
            KeyError,
            "no statistic DETECTOR_MEDIAN .*detector 1 exposure 7",
        ),
        ([{"DETECTOR_MEDIAN": 5.0}], [HERE], "DETECTOR", KeyError, "no statistic DETECTOR_N"),
        ([{"DETECTOR_MEDIAN": None, "DETECTOR_N": 3}], [HERE], "DETECTOR", KeyError, "DETECTOR_MEDIAN"),
        ([GOOD], [HERE], "AMP", KeyError, "no statistic AMP_MEDIAN_0"),
        (
            [{"DETECTOR_MEDIAN": "bright", "DETECTOR_N": 3}],
            [HERE],
            "DETECTOR",
            fx.FlatnormError,
            "is 'bright'; it must",
        ),
        ([GOOD, GOOD], [HERE, HERE], "DETECTOR", fx.FlatnormError, "given twice for detector 1 exposure 7"),
        ([GOOD], [HERE, HERE], "DETECTOR", fx.FlatnormError, "1 inputMDs and 2 inputDims"),
        ([], [], "DETECTOR", fx.FlatnormError, "no statistics at all"),
        ([42], [HERE], "DETECTOR", fx.FlatnormError, "are of type int; pass a dict"),
        ([GOOD, GOOD], [HERE, {"detector": "x", "exposure": 7}], "DETECTOR", fx.FlatnormError, "mixture of int, str"),
        (
            [{"AMP_NAME_0": "Z", "AMP_MEDIAN_0": 1.0, "AMP_N_0": 1}],
            [HERE],
            "AMP",
            KeyError,
            "Z is not in the camera, A was",
        ),
        ([GOOD], [{"detector": 3, "exposure": 7}], "AMP", KeyError, "no detector 3"),
    ],
)
def test_wrong_inputs_are_one_clear_line(statistics, dims, level, error, message):
    with pytest.raises(error, match=message) as caught:
        levels_of(statistics, dims, {1: ["A"], "x": ["A"]}, level=level)
    assert "\n" not in str(caught.value)


def test_sigma_must_be_there_only_where_it_is_needed():
    assert "sigma" not in levels_of([GOOD], [HERE], {1: ["A"]}, level="DETECTOR")
    with pytest.raises(KeyError, match="DETECTOR_SIGMA"):
        levels_of([GOOD], [HERE], {1: ["A"]}, level="DETECTOR", needs_sigma=True)


@pytest.mark.parametrize(
    ("camera", "error", "message"),
    [
        (None, fx.CameraError, "camera is None"),
        (3, fx.CameraError, "camera is of type int; it must map"),
        ({1: ["A", "A"]}, fx.CameraError, "two amplifiers of detector 1 alike"),
        ({2: ["A"]}, KeyError, "no detector 1"),
    ],
)
def test_a_camera_that_is_none(camera, error, message):
    with pytest.raises(error, match=message):
        amplifier_names(camera, 1)


def test_our_camera_describes_ragged_levels_and_survives_json():
    ds = fx.make(
        np.ones((2, 2, 1)),
        coords={"detector": ["S1", "S2"], "amplifier": ["A", "B"], "exists": [[True, True], [True, False]]},
    )
    camera = MosaicCamera.of_levels(ds, name="lab")
    assert [detector.getId() for detector in camera] == [0, 1]
    assert [amplifier.getName() for amplifier in camera["S2"]] == ["A"]
    assert [amplifier.getName() for amplifier in camera[0]] == ["A", "B"]
    assert MosaicCamera.model_validate_json(camera.model_dump_json()) == camera
    with pytest.raises(KeyError, match="camera lab has no detector 9; it has 0, 1"):
        camera[9]


def test_units_are_what_the_statistics_say_or_what_is_asked_or_adu(levels, inputs_of):
    statistics, dims, camera = inputs_of(levels)
    silent = [{key: value for key, value in one.items() if key != "UNITS"} for one in statistics]
    electron = [{**one, "UNITS": "electron"} for one in statistics]
    for given, units, expected in [
        (statistics, None, "adu"),
        (silent, None, "adu"),
        (electron, None, "electron"),
        (silent, "electron", "electron"),
    ]:
        found = levels_of(given, dims, camera, level="DETECTOR", units=units)
        assert found.background.attrs["units"] == expected
    with pytest.raises(fx.FlatnormError, match=r"several units: adu \(detector 1 exposure 101\), electron"):
        levels_of([*statistics[:3], *electron[3:]], dims, camera, level="DETECTOR")
    in_electron = fx.make(levels.background.values, counts=levels.counts.values, units="electron")
    assert {one["UNITS"] for _, _, one in statistics_of(in_electron)} == {"electron"}


AMPLIFIERS = {"AMP_MEDIAN_0": 1.0, "AMP_N_0": 9, "AMP_MEDIAN_1": 2.0, "AMP_N_1": 9}


@pytest.mark.parametrize(
    ("more", "error", "words"),
    [
        (
            {"AMP_NAME_1": "A"},
            fx.FlatnormError,
            "AMP_MEDIAN_0 without AMP_NAME; name all amplifiers, each once, or none",
        ),
        ({"AMP_NAME_0": "A", "AMP_NAME_1": "A"}, fx.FlatnormError, "two amplifiers of A; name all"),
        ({"AMP_NAME_0": "A", "AMP_NAME_1": "B", "AMP_NAME_3": "Z"}, KeyError, "Z is not in the camera"),
        ({"AMP_MEDIAN_2": 3.0, "AMP_N_2": 9}, KeyError, "of 3 amplifiers without names, and the camera has 2"),
    ],
)
def test_amplifiers_that_are_named_in_part_are_not_guessed(more, error, words):
    with pytest.raises(error, match=words):
        levels_of([{**AMPLIFIERS, **more}], [HERE], {1: ["A", "B"]}, level="AMP")


@pytest.mark.parametrize(
    ("statistics", "dims", "camera", "error", "words"),
    [
        ({"DETECTOR_MEDIAN": 10**400, "DETECTOR_N": 1}, HERE, {1: ["A"]}, fx.FlatnormError, "must be a number"),
        (GOOD, {"detector": 1, "exposure": [7]}, {1: ["A"]}, fx.FlatnormError, "these are integers or names"),
        (AMPLIFIERS, HERE, {1: [7, 8]}, fx.CameraError, "holds 7; an amplifier is a name, or has getName"),
    ],
)
def test_odd_values_are_one_clear_line(statistics, dims, camera, error, words):
    level = "AMP" if statistics is AMPLIFIERS else "DETECTOR"
    with pytest.raises(error, match=words) as caught:
        levels_of([statistics], [dims], camera, level=level)
    assert "\n" not in str(caught.value)


def test_names_of_detectors_and_exposures_are_kept(levels, inputs_of):
    statistics, dims, _ = inputs_of(levels)
    named = [{**one, "obs_id": f"e{one['exposure']}"} for one in dims]
    camera = MosaicCamera.of_levels(levels, name="sim")
    found = levels_of(statistics, named, camera, level="AMP")
    assert found.detector_name.values.tolist() == levels.detector_name.values.tolist()
    assert found.obs_id.values.tolist() == [f"e{exposure}" for exposure in levels.exposure.values]


def test_levels_of_zero_and_below_are_handed_on_for_the_solve_to_flag():
    quality = np.array([[0, int(fx.Flag.NON_POSITIVE)]], dtype="u4")
    ds = fx.make([[5.0, -3.0]], counts=[[9, 9]], quality=quality)
    assert [one["DETECTOR_MEDIAN"] for _, _, one in statistics_of(ds)] == [5.0, -3.0]
