"""Through Butler, pipetask and the executors: what is read back is what solve finds, and faults are told apart."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

pytest.importorskip("lsst.ctrl.mpexec", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")

from lsst.daf.butler import Butler, DatasetType
from lsst.pipe.base import Pipeline, QuantumSuccessCaveats, TaskMetadata
from lsst.pipe.base.simple_pipeline_executor import SimplePipelineExecutor

import flatnorm_xr as fx
from flatnorm_xr.lsst.errors import ExposuresWithoutScaleError
from flatnorm_xr.lsst.instrument import SimulatedCamera
from flatnorm_xr.lsst.repository import make_repository
from flatnorm_xr.lsst.statistics import statistics_of

PIPELINE = Path(fx.__file__).parent / "lsst" / "pipelines" / "flatnorm.yaml"
SIM = SimulatedCamera.getName()

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture(scope="module")
def ran(repository, call):
    """Collection of the whole pipeline, run by pipetask in two processes."""
    printed = call(
        *("pipetask", "run", "-b", repository, "-i", f"{SIM}/defaults", "-o", "u/test/pipetask", "-p", PIPELINE),
        *("--register-dataset-types", "-j", "2"),
    )
    assert "Executed 44 quanta successfully, 0 failed" in printed
    return "u/test/pipetask"


@pytest.mark.slow
@pytest.mark.parametrize("physical_filter", ["g", "r"])
@pytest.mark.parametrize("level", ["DETECTOR", "AMP"])
def test_pipetask_writes_what_solve_finds(repository, ran, simulated, level, physical_filter, is_what_solve_finds):
    truth, levels = simulated
    chosen = levels.isel(exposure=(truth.physical_filter == physical_filter).values)
    assert chosen.sizes == {"detector": 4, "amplifier": 4, "exposure": 5}
    butler = Butler.from_config(repository, collections=ran)
    data_id = {"instrument": SIM, "physical_filter": physical_filter}
    solution = is_what_solve_finds(butler, chosen, level, data_id)
    assert solution.attrs["camera"] == SIM
    np.testing.assert_array_equal(solution.time, truth.time.sel(exposure=solution.exposure))
    np.testing.assert_array_equal(solution.physical_filter, physical_filter)
    np.testing.assert_array_equal(solution.exposure_time, truth.exposure_time.sel(exposure=solution.exposure))


@pytest.mark.slow
def test_metadata_of_the_quantum_have_timings_and_figures(repository, ran):
    butler = Butler.from_config(repository, collections=ran)
    metadata = butler.get("cpFlatNorm_metadata", instrument=SIM, physical_filter="g")
    of_task = metadata["cpFlatNorm"]
    assert of_task["runEndCpuTime"] >= of_task["runStartCpuTime"]
    assert of_task["rms_residual"] > 0
    assert metadata["quantum"]["caveats"] == QuantumSuccessCaveats.NO_CAVEATS.value


def test_pipetask_qgraph_predicts_the_quanta(repository, tmp_path, call):
    where = ("-b", repository, "-i", f"{SIM}/defaults", "-o", "u/test/graph")
    printed = call("pipetask", "qgraph", *where, "-p", f"{PIPELINE}#amplifier", "--save-qgraph", tmp_path / "night.qg")
    assert "40 cpFlatMeasure" in printed
    assert "2 cpFlatNormAmp" in printed
    assert (tmp_path / "night.qg").stat().st_size > 0


def executor(path, *, levels_of="", output="u/test/simple", config=None, inputs=None, **options):
    """A simple executor of a part of the pipeline, with its butler."""
    inputs = inputs or sorted(
        name for name in Butler.from_config(path).collections.query("*/defaults", flatten_chains=False)
    )
    pipeline = Pipeline.fromFile(str(PIPELINE) + (f"#{levels_of}" if levels_of else ""))
    for (label, field), value in (config or {}).items():
        pipeline.addConfigPython(label, f"config.{field} = {value!r}")
    butler = SimplePipelineExecutor.prep_butler(str(path), inputs=inputs, output=output)
    return SimplePipelineExecutor.from_pipeline(pipeline, butler=butler, **options)


def run(path, **options):
    """Run a part of the pipeline in this process, and give the butler of its output."""
    simple = executor(path, **options)
    simple.run(register_dataset_types=True)
    return simple.butler


@pytest.mark.parametrize("level", ["DETECTOR", "AMP"])
def test_the_simple_executor_writes_what_solve_finds(repository, simulated, level, is_what_solve_finds):
    truth, levels = simulated
    subset = {"DETECTOR": "detector", "AMP": "amplifier"}[level]
    butler = run(repository, levels_of=subset, output=f"u/test/simple{level}", inputs=[f"{SIM}/defaults"])
    for physical_filter in ("g", "r"):
        chosen = levels.isel(exposure=(truth.physical_filter == physical_filter).values)
        is_what_solve_finds(butler, chosen, level, {"instrument": SIM, "physical_filter": physical_filter})


@pytest.mark.parametrize("amplifiers", [(1, 2, 3), (4, 4, 1), (2, 16, 8, 5)], ids=str)
def test_measured_levels_of_ragged_cameras(tmp_path, amplifiers, is_what_solve_finds):
    most = max(amplifiers)
    ds = fx.simulate(n_detectors=len(amplifiers), n_amplifiers=most, n_exposures=4, missing=0.0, seed=most)
    exists = np.arange(most) < np.array(amplifiers)[:, None]
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    for name in ("background", "sigma"):
        ds[name] = ds[name].where(ds.exists)
    ds["counts"] = ds.counts.where(ds.exists, 0)
    make_repository(tmp_path / "repo", levels=ds, instrument=f"Ragged{most}")
    butler = run(tmp_path / "repo", levels_of="normalize")
    for level in ("DETECTOR", "AMP"):
        is_what_solve_finds(butler, ds, level, {"instrument": f"Ragged{most}", "physical_filter": "r"})


# Faults, each on a small night of levels that are measured.

NIGHT = {"instrument": "Faulty", "physical_filter": "r"}


@pytest.fixture
def night():
    return fx.simulate(n_detectors=4, n_amplifiers=2, n_exposures=5, seed=3)


def with_statistics(path, *, detector, exposure, statistics):
    """Change the statistics of one detector in one exposure, a key to None takes it away; None takes all away."""
    butler = Butler.from_config(path, writeable=True)
    data_id = {"instrument": "Faulty", "detector": detector, "exposure": exposure}
    ref = butler.find_dataset("flatStats", data_id, collections="Faulty/levels")
    before = butler.get(ref)
    butler.pruneDatasets([ref], disassociate=True, unstore=True, purge=True)
    if statistics is not None:
        after = {key: value for key, value in {**before, **statistics}.items() if value is not None}
        butler.put(after, "flatStats", data_id, run="Faulty/levels")


def repository_of(night, tmp_path):
    make_repository(tmp_path / "repo", levels=night, instrument="Faulty")
    return tmp_path / "repo"


def test_statistics_that_were_never_there_are_done_without(night, tmp_path, is_what_solve_finds):
    path = repository_of(night, tmp_path)
    with_statistics(path, detector=2, exposure=103, statistics=None)
    butler = run(path, levels_of="normalize")
    lost = night.copy(deep=True)
    for name in ("background", "detector_background"):
        lost[name].loc[{"detector": 2, "exposure": 103}] = np.nan
    for name in ("counts", "detector_counts"):
        lost[name].loc[{"detector": 2, "exposure": 103}] = 0
    for level in ("DETECTOR", "AMP"):
        is_what_solve_finds(butler, lost, level, NIGHT)
    log = butler.get("cpFlatNorm_log", NIGHT)
    assert any("1 of 20 statistics are missing or empty: detector 2 exposure 103" in one.message for one in log)


def lose_a_file(path, tasks, **options):
    """An executor whose graph was made before the file of one of its inputs was lost."""
    simple = executor(path, levels_of=tasks, **options)
    lost = simple.butler.find_dataset("flatStats", instrument="Faulty", detector=2, exposure=103)
    Path(simple.butler.getURI(lost).ospath).unlink()
    return simple


def test_a_file_that_is_lost_after_the_graph_was_made_is_named(night, tmp_path):
    simple = lose_a_file(repository_of(night, tmp_path), "cpFlatNorm")
    simple.run(register_dataset_types=True)
    log = simple.butler.get("cpFlatNorm_log", NIGHT)
    assert any("1 of 20 statistics are missing or empty: detector 2 exposure 103" in one.message for one in log)


def test_a_file_that_the_graph_says_is_there_fails_the_quantum(night, tmp_path):
    simple = lose_a_file(repository_of(night, tmp_path), "cpFlatNorm", attach_datastore_records=True)
    with pytest.raises(FileNotFoundError, match="flatStats_Faulty_r_103"):
        simple.run(register_dataset_types=True)


def test_a_nan_amplifier_has_weight_zero_and_the_night_goes_on(night, tmp_path, is_what_solve_finds):
    night.background.loc[{"detector": 3, "amplifier": "C01"}] = np.nan
    night["counts"] = night.counts.where(night.background.notnull(), 0)
    butler = run(repository_of(night, tmp_path), levels_of="cpFlatNormAmp")
    is_what_solve_finds(butler, night.drop_vars("sigma"), "AMP", NIGHT)
    scales = butler.get("cpFlatNormAmpScales", NIGHT)
    assert math.isnan(scales["detScale"][3]["C01"])
    assert len(scales["expScale"][3]["C01"]) == 5


def test_without_a_camera_there_is_no_graph(night, tmp_path, call):
    path = repository_of(night, tmp_path)
    words = r"Not enough datasets \(0\) found for non-optional connection cpFlatNorm.camera \(camera\)"
    with pytest.raises(FileNotFoundError, match=words):
        executor(path, levels_of="cpFlatNorm", inputs=["Faulty/levels"])
    printed = call(
        *("pipetask", "qgraph", "-b", path, "-i", "Faulty/levels", "-o", "u/none", "-p", f"{PIPELINE}#cpFlatNorm"),
        status=1,
    )
    assert re.search(words, printed), printed


def test_a_wrong_statistic_fails_the_quantum_with_its_name(night, tmp_path, call):
    path = repository_of(night, tmp_path)
    with_statistics(path, detector=1, exposure=102, statistics={"DETECTOR_MEDIAN": None, "DETECTOR_MEAN": 2e4})
    with pytest.raises(KeyError, match="no statistic DETECTOR_MEDIAN in the metadata of detector 1 exposure 102"):
        run(path, levels_of="cpFlatNorm")
    printed = call(
        *("pipetask", "run", "-b", path, "-i", "Faulty/defaults", "-o", "u/test/wrong", "-p", f"{PIPELINE}#cpFlatNorm"),
        "--register-dataset-types",
        status=1,
    )
    assert "no statistic DETECTOR_MEDIAN in the metadata of detector 1 exposure 102" in printed


def dark(night, exposures):
    """Levels of a night of which every pixel of some exposures was masked."""
    night = night.copy(deep=True)
    for prefix in ("", "detector_"):
        night[f"{prefix}background"].loc[{"exposure": exposures}] = np.nan
        night[f"{prefix}quality"] = xr.zeros_like(night[f"{prefix}background"], dtype="u4")
        night[f"{prefix}quality"].loc[{"exposure": exposures}] = fx.Flag.ALL_MASKED
    return night


def test_levels_none_of_which_can_be_used_are_no_work(night, tmp_path):
    path = repository_of(dark(night, night.exposure.values), tmp_path)
    butler = run(path, levels_of="cpFlatNorm")
    assert not butler.exists("cpFlatNormScales", NIGHT)
    caveats = QuantumSuccessCaveats(butler.get("cpFlatNorm_metadata", NIGHT)["quantum"]["caveats"])
    assert caveats & QuantumSuccessCaveats.UNPROCESSABLE_DATA
    assert caveats & QuantumSuccessCaveats.NO_WORK


def test_a_dark_exposure_makes_outputs_partial_and_the_executor_decides(night, tmp_path):
    path = repository_of(dark(night, [104]), tmp_path)
    with pytest.raises(
        ExposuresWithoutScaleError, match="1 of 5 exposures have no scale and must not be combined: 104"
    ):
        run(path, levels_of="cpFlatNorm", raise_on_partial_outputs=True, output="u/test/raise")
    butler = run(path, levels_of="cpFlatNorm", raise_on_partial_outputs=False, output="u/test/go-on")
    scales = butler.get("cpFlatNormScales", NIGHT)
    assert list(scales["expScale"][1]["C00"]) == [101, 102, 103, 105]
    assert math.isnan(butler.get("cpFlatNormSolution", NIGHT).E.sel(exposure=104))
    metadata = butler.get("cpFlatNorm_metadata", NIGHT)
    assert QuantumSuccessCaveats(metadata["quantum"]["caveats"]) & QuantumSuccessCaveats.PARTIAL_OUTPUTS_ERROR
    assert metadata["cpFlatNorm"]["failure"]["type"].endswith("ExposuresWithoutScaleError")


@pytest.mark.parametrize(
    ("option", "status"), [("--raise-on-partial-outputs", 1), ("--no-raise-on-partial-outputs", 0)]
)
def test_pipetask_takes_partial_outputs_as_it_is_told(night, tmp_path, option, status, call):
    path = repository_of(dark(night, [104]), tmp_path)
    printed = call(
        *("pipetask", "run", "-b", path, "-i", "Faulty/defaults", "-o", "u/test/partial"),
        *("-p", f"{PIPELINE}#cpFlatNorm", "--register-dataset-types", option),
        status=status,
    )
    assert "1 of 5 exposures have no scale and must not be combined: 104" in printed


def test_down_selection_keeps_the_exposures_whose_record_says_so(night, tmp_path, is_what_solve_finds):
    seconds = np.array([15.0, 15.0, 30.0, 15.0, 30.0])
    path = repository_of(night.assign_coords(exposure_time=("exposure", seconds)), tmp_path)
    choice = {("cpFlatNorm", "downSelection"): "exposure_time: 30, 60"}
    butler = run(path, levels_of="cpFlatNorm", config=choice)
    chosen = night.isel(exposure=[2, 4])
    assert butler.get("cpFlatNormSolution", NIGHT).exposure.values.tolist() == chosen.exposure.values.tolist()
    is_what_solve_finds(butler, chosen, "DETECTOR", NIGHT)


def test_down_selection_of_nothing_is_no_quantum(night, tmp_path):
    choice = {("cpFlatNorm", "downSelection"): "exposure_time:999"}
    simple = executor(repository_of(night, tmp_path), levels_of="cpFlatNorm", config=choice)
    assert len(simple.predicted.quanta_by_task["cpFlatNorm"]) == 0


def test_down_selection_by_a_field_that_no_record_has_is_refused(night, tmp_path):
    choice = {("cpFlatNorm", "downSelection"): "colour:red"}
    with pytest.raises(fx.FlatnormError, match="downSelection is by 'colour'; exposure records have "):
        executor(repository_of(night, tmp_path), levels_of="cpFlatNorm", config=choice)


def test_without_the_solution_only_scales_are_written(night, tmp_path):
    path = repository_of(night, tmp_path)
    butler = run(path, levels_of="cpFlatNorm", config={("cpFlatNorm", "doWriteSolution"): False})
    assert butler.get("cpFlatNormScales", NIGHT)["detScale"].keys() == {1, 2, 3, 4}
    assert not butler.collections.query_info("u/test/simple", include_summary=True)[0].dataset_types & {
        "cpFlatNormSolution"
    }


def test_statistics_that_cp_pipe_stored_are_converted(night, tmp_path):
    """As task metadata here; a PropertyList needs the compiled stack, and goes the same way."""
    path = repository_of(night, tmp_path)
    butler = Butler.from_config(path, writeable=True)
    theirs = DatasetType(
        "theirStats", ("instrument", "exposure", "detector"), "TaskMetadata", universe=butler.dimensions
    )
    butler.registry.registerDatasetType(theirs)
    butler.collections.register("Faulty/theirs")
    for detector, exposure, statistics in statistics_of(night):
        silent = {key: value for key, value in statistics.items() if key != "UNITS"}
        data_id = {"instrument": "Faulty", "detector": detector, "exposure": exposure}
        butler.put(TaskMetadata.from_dict(silent), theirs, data_id, run="Faulty/theirs")
    found = run(
        path,
        levels_of="cpFlatNorm",
        config={("cpFlatNorm", "connections.inputMDs"): "theirStats"},
        inputs=["Faulty/theirs", "Faulty/calib"],
    )
    expected = fx.solve(night, level="detector", method="alternation", uncertainty=None)
    np.testing.assert_allclose(found.get("cpFlatNormSolution", NIGHT).E, expected.E, rtol=1e-12)


def test_a_repository_that_exists_learns_our_storage_classes_from_the_environment(night, tmp_path, call):
    call("butler", "create", tmp_path / "plain")
    fx.save(night, tmp_path / "levels.nc")
    ours = ("lsst", "ingest", tmp_path / "plain", tmp_path / "levels.nc", "--instrument", "Faulty")
    refused = call("flatnorm", *ours, status=2)
    assert "does not know the storage classes FlatnormCamera, FlatnormStatistics; set DAF_BUTLER_CONFIG_PATH" in refused
    environment = {"DAF_BUTLER_CONFIG_PATH": str(PIPELINE.parents[1] / "configs")}
    assert "20 statistics of levels" in call("flatnorm", *ours, **environment)
    printed = call(
        *("pipetask", "run", "-b", tmp_path / "plain", "-i", "Faulty/defaults", "-o", "u/test"),
        *("-p", f"{PIPELINE}#cpFlatNorm", "--register-dataset-types"),
        **environment,
    )
    assert "Executed 1 quanta successfully, 0 failed" in printed
