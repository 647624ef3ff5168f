"""Who does the work changes no number: threads, the workers of a cluster, workers that die."""

from __future__ import annotations

import os
import signal
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import distributed
import numpy as np
import pytest
import xarray as xr

from flatnorm_xr import FlatnormError, FlatnormWarning
from flatnorm_xr.measure import cluster as clusters
from flatnorm_xr.measure import schedule
from flatnorm_xr.measure.cluster import cluster_client
from flatnorm_xr.measure.levels import measure
from flatnorm_xr.measure.workers import each_done
from flatnorm_xr.simulate.night import simulate_night


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Twelve exposures of four detectors."""
    folder = tmp_path_factory.mktemp("night")
    simulate_night(folder, camera="decam", n_detectors=4, n_exposures=12, seed=5)
    return str(folder / "*.fits")


@pytest.fixture(scope="module")
def serial(files: str) -> xr.Dataset:
    return measured(files, threads=1)


def measured(files: str | list[str], **how: Any) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FlatnormWarning)
        return measure(files, progress=False, **how).drop_attrs(deep=False)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as started:
        yield started


@pytest.mark.parametrize("threads", [None, 2, 5, 100])
def test_threads_change_nothing(files: str, serial: xr.Dataset, threads: int | None) -> None:
    assert measured(files, threads=threads).identical(serial)


@pytest.mark.parametrize("camera", ["decam", "lsstcam", "hsc"])
def test_one_exposure_is_shared_between_threads(tmp_path: Path, camera: str) -> None:
    simulate_night(tmp_path, camera=camera, n_detectors=5, n_exposures=2, faults=False, seed=3)
    files = [str(path) for path in sorted(tmp_path.glob("*.fits")) if not path.name.endswith("2.fits")]
    assert measured(files, threads=7).identical(measured(files, threads=1))


def test_a_cluster_changes_nothing(files: str, serial: xr.Dataset, cluster: Any) -> None:
    with distributed.Client(cluster) as client:
        assert measured(files, client=client).identical(serial)
        assert measured(files).identical(serial)  # the active client is found


def test_a_worker_killed_in_the_middle_changes_nothing(
    files: str, serial: xr.Dataset, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "_BETWEEN_PARTIALS", 0.0)
    killed = []

    def kill_one(so_far: xr.Dataset) -> None:
        if not killed:
            killed.append(so_far.sizes["exposure"])
            os.kill(cluster.workers[0].pid, signal.SIGKILL)

    with distributed.Client(cluster) as client:
        assert measured(files, client=client, partial=kill_one).identical(serial)
    assert killed
    assert killed[0] < 12


def die(item: int, *, setting: str) -> str:
    """Kill the process that reads item 3."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{setting}{item}"


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_lost_alone(cluster: Any) -> None:
    with distributed.Client(cluster) as client:
        found = dict(each_done(die, range(5), setting="n", client=client, lost=lambda item, why: f"{item}: {why}"))
    assert found == {0: "n0", 1: "n1", 2: "n2", 3: "3: the workers that read it died", 4: "n4"}


def test_what_has_not_begun_is_not_begun_after_an_error() -> None:
    begun: list[int] = []

    def task(item: int, *, setting: threading.Event) -> int:
        begun.append(item)
        if item == 2:
            msg = "item 2 cannot be"
            raise FlatnormError(msg)
        setting.wait(0.01)
        return item

    with pytest.raises(FlatnormError, match="item 2 cannot be"):
        list(each_done(task, range(1000), setting=threading.Event(), threads=2, lost=lambda item, why: item))
    assert len(begun) < 1000


def test_what_is_no_client_is_refused(files: str, cluster: Any) -> None:
    with pytest.raises(FlatnormError, match=r"client must be a dask\.distributed Client, not str"):
        measure(files, client="tcp://localhost:1")
    client = distributed.Client(cluster)
    client.close()
    with pytest.raises(FlatnormError, match="the client is closed"):
        measure(files, client=client)


@pytest.mark.parametrize("threads", [0, -1, 1.5, True])
def test_threads_are_a_number(files: str, threads: Any) -> None:
    with pytest.raises(FlatnormError, match="threads must be a number of files in flight"):
        measure(files, threads=threads)


def test_a_scheduler_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "_PATIENCE", 0.2)
    with (
        pytest.raises(FlatnormError, match=r"no dask scheduler answers at tcp://127\.0\.0\.1:9 "),
        cluster_client(scheduler="tcp://127.0.0.1:9"),
    ):
        pass
    with pytest.raises(FlatnormError, match="give one"), cluster_client(scheduler="tcp://127.0.0.1:9", workers=2):
        pass


def test_an_error_in_a_file_is_the_same_on_a_cluster(files: str, serial: xr.Dataset, cluster: Any) -> None:
    bias = {detector: np.zeros((3, 3)) for detector in serial.detector.values.tolist()}
    with pytest.raises(FlatnormError) as here:
        measured(files, bias=bias)
    with distributed.Client(cluster) as client, pytest.raises(FlatnormError) as there:
        measured(files, bias=bias, client=client)
    assert str(here.value).startswith("measure: bias of detector ")
    assert type(here.value) is type(there.value)
