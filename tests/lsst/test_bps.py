"""BPS with Parsl: the laptop's configuration runs the pipeline, and the batch template makes a workflow for Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

for module in ("lsst.daf.butler", "lsst.ctrl.bps", "lsst.ctrl.bps.parsl", "lsst.ctrl.mpexec"):
    pytest.importorskip(module, reason="BPS with Parsl is not installed (pip install lsst-ctrl-bps-parsl)")

from lsst.ctrl.bps import BpsConfig
from lsst.ctrl.bps.parsl.site import SiteConfig
from lsst.daf.butler import Butler

from flatnorm_xr.cli.lsst import FILES
from flatnorm_xr.lsst.instrument import SimulatedCamera
from flatnorm_xr.lsst.repository import make_repository

BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bps") / "repository"
    return make_repository(folder, n_detectors=2, n_amplifiers=2, n_exposures=1, pixels=8, seed=3)


def bps(command, configuration, repository, collection, *, folder, output, seconds):
    """Call BPS as a shell would, in a folder of its own; a call that hangs is ended with all that it started."""
    environment = os.environ | {
        "CTRL_MPEXEC_DIR": str(BIN.parent),
        "DAF_BUTLER_DIR": str(BIN.parent),
        "PWD": str(folder),  # where BPS makes its folder
        "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]),
    }
    places = ["-b", str(repository), "-i", collection, "-o", output, "-p", str(FILES["pipeline"])]
    with subprocess.Popen(
        [BIN / "bps", command, str(FILES[configuration]), *places],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    assert process.returncode == 0, said
    return said


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
def test_the_laptop_writes_what_solve_finds(repository, simulated, is_what_solve_finds, tmp_path):
    name = SimulatedCamera.getName()
    bps("submit", "bps-laptop", repository, f"{name}/defaults", folder=tmp_path, output="out/bps", seconds=400)
    assert [child.name for child in tmp_path.iterdir()] == ["submit"]
    truth, levels = simulated
    butler = Butler.from_config(str(repository), collections="out/bps")
    try:
        for physical_filter in ("g", "r"):
            chosen = levels.isel(exposure=(truth.physical_filter == physical_filter).values)
            for level in ("DETECTOR", "AMP"):
                data_id = {"instrument": name, "physical_filter": physical_filter}
                is_what_solve_finds(butler, chosen, level, data_id)
        assert len(butler.query_datasets("cpFlatMeasure_metadata")) == 40
    finally:
        butler.close()


@pytest.mark.slow
def test_the_batch_template_makes_a_workflow_where_an_exposure_is_one_job(made, tmp_path):
    said = bps("prepare", "bps-batch", made.path, made.collection, folder=tmp_path, output="out/batch", seconds=120)
    assert f"contains {made.exposures + 4 + 2} job(s) (including final)" in said  # and the one before all
    assert [child.name for child in tmp_path.iterdir()] == ["submit"]
    assert list(tmp_path.rglob("parsl_workflow.pickle"))


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # Parsl's, when it looks for its own addresses
@pytest.mark.parametrize(
    ("configuration", "provider", "workers"), [("bps-laptop", "LocalProvider", 2), ("bps-batch", "SlurmProvider", None)]
)
def test_the_site_can_be_built(configuration, provider, workers):
    config = BpsConfig(str(FILES[configuration]))
    config["operator"] = "somebody"  # as bps does
    site = SiteConfig.from_config(config).get_parsl_config()
    (executor,) = site.executors
    assert type(executor.provider).__name__ == provider
    assert site.run_dir == "submit/runinfo"
    if workers is not None:
        assert executor.max_workers_per_node == workers
    else:
        assert executor.provider.walltime == "01:00:00"
        assert executor.provider.cores_per_node == 16
        assert "--job-name=flatnorm.batch" in executor.provider.scheduler_options


@pytest.mark.parametrize("configuration", ["bps-laptop", "bps-batch"])
def test_the_jobs_are_of_tasks_that_the_pipeline_has(configuration):
    settings = yaml.safe_load(FILES[configuration].read_text())
    labels = yaml.safe_load(FILES["pipeline"].read_text())["tasks"]
    for cluster in settings["cluster"].values():
        assert {label.strip() for label in cluster["pipetasks"].split(",")} <= set(labels)
    assert settings["finalJob"]["requestCpus"] == 1
    assert isinstance(settings["site"][settings["computeSite"]]["class"], str)


def test_the_template_marks_what_is_to_be_filled_in():
    text = FILES["bps-batch"].read_text()
    for key in ("account", "nodes", "cores_per_node", "walltime"):
        assert any(line.strip().startswith(f"{key}:") and "FILL IN" in line for line in text.splitlines()), key
