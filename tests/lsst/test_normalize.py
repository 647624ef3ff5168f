"""The task by itself: what it computes, what it says of bad input, and what it inherits."""

from __future__ import annotations

import json
import logging
import math
import pickle

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")

from lsst.pex.config import Config, ConfigurableField, FieldValidationError
from lsst.pipe.base import (
    NoWorkFound,
    PipelineTask,
    PipelineTaskConfig,
    PipelineTaskConnections,
    Struct,
    Task,
    TaskMetadata,
)
from lsst.utils.timer import timeMethod

import flatnorm_xr as fx
from flatnorm_xr.lsst.normalize import (
    CpFlatNormalizationConnections,
    CpFlatNormalizationTask,
    CpFlatNormalizationTaskConfig,
)

OUR_LEVEL = {"DETECTOR": "detector", "AMP": "amplifier"}

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


def task_with(**settings):
    config = CpFlatNormalizationTaskConfig()
    for name, value in settings.items():
        setattr(config, name, value)
    config.validate()
    return CpFlatNormalizationTask(config=config)


@pytest.fixture
def quantum(levels, inputs_of):
    statistics, dims, camera = inputs_of(levels)
    return {"inputMDs": statistics, "inputDims": dims, "camera": camera}


def test_they_are_what_the_middleware_takes_them_for():
    assert issubclass(CpFlatNormalizationTask, PipelineTask)
    assert issubclass(CpFlatNormalizationTaskConfig, PipelineTaskConfig)
    assert issubclass(CpFlatNormalizationConnections, PipelineTaskConnections)
    assert CpFlatNormalizationTask.ConfigClass.ConnectionsClass is CpFlatNormalizationConnections
    assert CpFlatNormalizationTask.canMultiprocess


@pytest.mark.parametrize("level", ["DETECTOR", "AMP"])
def test_scales_and_solution_are_those_of_solve(levels, quantum, level):
    result = task_with(level=level).run(**quantum)
    expected = fx.solve(levels, level=OUR_LEVEL[level], method="alternation", uncertainty=None)
    np.testing.assert_allclose(result.solution.E, expected.E, rtol=1e-12)
    np.testing.assert_allclose(result.solution.G, expected.G, rtol=1e-12)
    assert list(result.outputScales) == [1, 2, 3, 4]
    for of_detector in result.outputScales.values():
        assert list(of_detector) == ["C00", "C01", "C02", "C03"]
        for of_amplifier in of_detector.values():
            assert list(of_amplifier) == levels.exposure.values.tolist()
            np.testing.assert_allclose(list(of_amplifier.values()), expected.E, rtol=1e-12)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "exact"},
        {"weights": "uniform"},
        {"weights": "variance"},
        {"robust": "tukey"},
        {"uncertainty": "jackknife"},
        {"gauge": "geometric"},
        {"gauge": "detectors: 2, 3"},
        {"scaleMaxIter": 2},
    ],
    ids=str,
)
def test_settings_are_those_of_solve(levels, quantum, settings):
    found = task_with(level="AMP", **settings).run(**quantum).solution
    keywords = {"method": "alternation", "uncertainty": None, **settings}
    keywords["iterations"] = keywords.pop("scaleMaxIter", 10)
    keywords["gauge"] = [2, 3] if "detectors" in keywords.get("gauge", "") else keywords.get("gauge", "mean")
    expected = fx.solve(levels, level="amplifier", **keywords)
    for name in ("E", "G", "E_stderr", "G_stderr"):
        assert (name in found) == (name in expected)
        if name in found:
            np.testing.assert_allclose(found[name], expected[name], rtol=1e-12)


def test_every_iterate_that_is_on_record(shared):
    cases = json.loads((shared / "golden" / "decomposition.json").read_text())["cases"]
    checked = 0
    for case in cases:
        levels = np.array([[np.nan if value is None else value for value in row] for row in case["background"]])
        counts = None if case["counts"] is None else np.array(case["counts"])
        for iterations, expected in case.get("alternating", {}).items():
            scales = CpFlatNormalizationTask().measureScales(levels, counts, iterations=int(iterations))
            np.testing.assert_allclose(scales.vectorE, expected["E"], rtol=1e-12)
            np.testing.assert_allclose(scales.vectorG, expected["G"], rtol=1e-12)
            np.testing.assert_allclose(scales.bgModel, np.outer(expected["G"], expected["E"]), rtol=1e-12)
            assert scales.expScales is scales.vectorE
            assert scales.detScales is scales.vectorG
            if np.isfinite(levels).all():
                weights = np.ones_like(levels) if counts is None else counts
                assert_run_agrees(levels, weights, int(iterations), expected)
                checked += 1
    assert checked >= 10


def assert_run_agrees(levels, counts, iterations, expected):
    """Run, given the same levels as statistics, finds the same iterate."""
    dims = [{"detector": d, "exposure": e} for d in range(len(levels)) for e in range(len(levels[0]))]
    statistics = [
        {"DETECTOR_MEDIAN": levels[d["detector"], d["exposure"]], "DETECTOR_N": counts[d["detector"], d["exposure"]]}
        for d in dims
    ]
    result = task_with(scaleMaxIter=iterations).run(statistics, dims, {d: ["A"] for d in range(len(levels))})
    found = [result.outputScales[0]["A"][exposure] for exposure in range(len(levels[0]))]
    np.testing.assert_allclose(found, expected["E"], rtol=1e-12)


def test_an_amplifier_that_is_nan_has_no_part_and_no_response_and_the_others_keep_theirs(levels, inputs_of):
    background = levels.background.copy()
    background.loc[{"detector": 2, "amplifier": "C01"}] = np.nan
    statistics, dims, camera = inputs_of(levels.assign(background=background))
    result = task_with(level="AMP").run(statistics, dims, camera)
    expected = fx.solve(levels.assign(background=background), method="alternation", uncertainty=None)
    np.testing.assert_allclose(result.solution.E, expected.E, rtol=1e-12)
    assert math.isnan(result.solution.G.sel(detector=2, amplifier="C01"))
    assert all(math.isfinite(scale) for scale in result.outputScales[2]["C01"].values())


@pytest.mark.parametrize("counts_of_amplifiers", [(1, 2, 3), (4, 4, 1), (2, 16, 8, 5)], ids=str)
@pytest.mark.parametrize("level", ["DETECTOR", "AMP"])
def test_cameras_with_ragged_amplifiers(inputs_of, counts_of_amplifiers, level):
    most = max(counts_of_amplifiers)
    ds = fx.simulate(n_detectors=len(counts_of_amplifiers), n_amplifiers=most, n_exposures=6, seed=most)
    exists = np.arange(most) < np.array(counts_of_amplifiers)[:, None]
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    for name in ("background", "sigma"):
        ds[name] = ds[name].where(ds.exists)
    ds["counts"] = ds.counts.where(ds.exists, 0)
    statistics, dims, camera = inputs_of(ds)
    result = task_with(level=level).run(statistics, dims, camera)
    expected = fx.solve(ds, level=OUR_LEVEL[level], method="alternation", uncertainty=None)
    np.testing.assert_allclose(result.solution.E, expected.E, rtol=1e-12)
    np.testing.assert_allclose(result.solution.G, expected.G, rtol=1e-12)
    assert [len(of_detector) for of_detector in result.outputScales.values()] == list(counts_of_amplifiers)


def test_a_lost_input_is_named_in_the_log(inputs_of, caplog):
    statistics, dims, camera = inputs_of(fx.simulate(n_detectors=4, n_amplifiers=2, n_exposures=5, seed=1))
    del statistics[7], dims[7]
    with caplog.at_level(logging.WARNING, "lsst.cpFlatNorm"):
        solution = task_with(level="DETECTOR").run(statistics, dims, camera).solution
    assert "1 of 20 statistics are missing or empty: detector 2 exposure 103\n" in caplog.text
    assert np.isfinite(solution.E).all()


def test_levels_none_of_which_can_be_used_are_no_work():
    statistics = [{"DETECTOR_MEDIAN": value, "DETECTOR_N": 4} for value in (math.nan, 0.0, -3.0)]
    dims = [{"detector": 1, "exposure": exposure} for exposure in range(3)]
    with pytest.raises(NoWorkFound, match=r"none of the 3 levels can be used \(1 NaN, 2 zero or negative\)"):
        task_with().run(statistics, dims, {1: ["A"]})


def test_sets_of_detectors_that_share_no_exposure_are_refused():
    statistics = [{"DETECTOR_MEDIAN": 10.0, "DETECTOR_N": 4}] * 2
    dims = [{"detector": 1, "exposure": 1}, {"detector": 2, "exposure": 2}]
    with pytest.raises(fx.DisconnectedError, match=r"share no exposure.*set onDisconnected to separate"):
        task_with().run(statistics, dims, {1: ["A"], 2: ["A"]})
    apart = task_with(onDisconnected="separate").run(statistics, dims, {1: ["A"], 2: ["A"]})
    np.testing.assert_allclose(apart.solution.G, 1.0, rtol=1e-12)


@pytest.mark.parametrize("level", ["DETECTOR", "AMP"])
def test_a_camera_is_needed_at_both_levels(quantum, level):
    with pytest.raises(fx.CameraError, match="camera is None; pass a mapping"):
        task_with(level=level).run(**{**quantum, "camera": None})


def test_inputs_are_not_changed(quantum):
    before = pickle.dumps((quantum["inputMDs"], quantum["inputDims"]))
    task_with(level="AMP").run(**quantum)
    assert pickle.dumps((quantum["inputMDs"], quantum["inputDims"])) == before


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"level": "CHIP"}, FieldValidationError, "CHIP"),
        ({"scaleMaxIter": 0}, FieldValidationError, "scaleMaxIter"),
        ({"method": "svd"}, FieldValidationError, "svd"),
        ({"method": None}, FieldValidationError, "method"),
        ({"level": None}, FieldValidationError, "level"),
        ({"gauge": "geometic"}, FieldValidationError, "gauge is 'geometic'; it must be mean"),
        ({"gauge": "detectors:"}, FieldValidationError, "detectors:94,95"),
        ({"gauge": ""}, FieldValidationError, "it must be mean"),
        ({"downSelection": "day_obs"}, FieldValidationError, "write FIELD:VALUE"),
        ({"downSelection": ":1"}, FieldValidationError, "write FIELD:VALUE"),
        ({"downSelection": "day_obs:1,"}, FieldValidationError, "write FIELD:VALUE"),
    ],
)
def test_a_configuration_that_means_nothing_is_refused(settings, error, message):
    with pytest.raises(error, match=message):
        task_with(**settings)


def test_defaults_are_the_documented_behaviour():
    config = CpFlatNormalizationTaskConfig()
    assert (config.level, config.scaleMaxIter) == ("DETECTOR", 10)
    assert (config.method, config.weights, config.robust) == ("alternation", "counts", None)
    assert (config.uncertainty, config.gauge, config.downSelection) == ("none", "mean", None)


# What a task inherits, each used as the middleware documents it.


class NightConfig(Config):
    normalize = ConfigurableField(target=CpFlatNormalizationTask, doc="How the flats are normalised.")


class NightTask(Task):
    """A task that has ours as its subtask."""

    ConfigClass = NightConfig
    _DefaultName = "night"

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.makeSubtask("normalize")

    @timeMethod
    def run(self, **inputs):
        return self.normalize.run(**inputs)


def test_constructor_takes_what_the_middleware_passes():
    log = logging.getLogger("elsewhere")
    task = CpFlatNormalizationTask(config=CpFlatNormalizationTaskConfig(), log=log, initInputs={})
    assert task.log.name.startswith("elsewhere")
    with pytest.raises(TypeError):
        CpFlatNormalizationTask(CpFlatNormalizationTaskConfig())


def test_makeSubtask_and_makeField_put_the_task_into_another(quantum):
    task = NightTask()
    assert isinstance(task.normalize, CpFlatNormalizationTask)
    assert isinstance(task.run(**quantum), Struct)
    field = CpFlatNormalizationTask.makeField("How the flats are normalised.")
    assert isinstance(field, ConfigurableField)

    class OtherConfig(Config):
        normalize = CpFlatNormalizationTask.makeField("How the flats are normalised.")

    config = OtherConfig()
    config.normalize.level = "AMP"
    assert config.normalize.apply().config.level == "AMP"


def test_getName_getFullName_and_getTaskDict_know_the_tree():
    task = NightTask()
    assert (task.getName(), task.normalize.getName()) == ("night", "normalize")
    assert task.normalize.getFullName() == "night.normalize"
    assert set(task.getTaskDict()) == {"night", "night.normalize"}
    assert CpFlatNormalizationTask().getFullName() == "cpFlatNorm"


def test_getFullMetadata_has_timings_under_the_path_of_the_subtask(quantum):
    task = NightTask()
    task.run(**quantum)
    metadata = task.getFullMetadata()
    assert isinstance(metadata, TaskMetadata)
    assert set(metadata) == {"night", "night:normalize"}
    assert metadata["night:normalize"]["runEndCpuTime"] >= metadata["night:normalize"]["runStartCpuTime"]
    assert metadata["night:normalize"]["converged"] in (0, 1)
    assert metadata["night"]["runEndCpuTime"] >= metadata["night:normalize"]["runEndCpuTime"]


def test_emptyMetadata_forgets_all_of_the_tree(quantum):
    task = NightTask()
    task.run(**quantum)
    task.emptyMetadata()
    assert not task.getFullMetadata()["night"].names()
    assert not task.getFullMetadata()["night:normalize"].names()


def test_timer_notes_what_it_encloses():
    task = CpFlatNormalizationTask()
    with task.timer("decompose"):
        task.measureScales([[1.0, 2.0], [3.0, 6.0]])
    assert task.metadata["decomposeEndCpuTime"] >= task.metadata["decomposeStartCpuTime"]
    assert task.metadata["measureScalesEndCpuTime"] >= task.metadata["measureScalesStartCpuTime"]


def test_a_pickled_task_computes_the_same(quantum):
    task = task_with(level="AMP", scaleMaxIter=3)
    again = pickle.loads(pickle.dumps(task))
    assert again.config == task.config
    assert again.run(**quantum).outputScales == task.run(**quantum).outputScales
