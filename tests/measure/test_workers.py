"""Who does the work changes no number: threads, the workers of a cluster, workers that die."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dask
import distributed
import numpy as np
import pytest
import xarray as xr

from flatnorm_xr import FlatnormError, FlatnormWarning
from flatnorm_xr.camera.geometry import FileDescription
from flatnorm_xr.measure import cluster as clusters
from flatnorm_xr.measure import schedule, workers
from flatnorm_xr.measure.assemble import FileLevels
from flatnorm_xr.measure.cluster import cluster_client
from flatnorm_xr.measure.file_levels import Reduction, measure_file
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
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0") as started:
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
    with cluster_client(workers=1) as client:  # a second cluster on the same machine
        assert measured(files, client=client).identical(serial)


def die_once(file: FileDescription, *, setting: Reduction) -> FileLevels:
    """Kill the worker that first has one of the files, when it has read it."""
    levels = measure_file(file, setting=setting)
    mark = Path(f"{file.path}.killed")
    if file.path.endswith("07.fits") and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return levels


def test_a_worker_killed_in_the_middle_changes_nothing(
    files: str, serial: xr.Dataset, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "measure_file", die_once)
    with distributed.Client(cluster) as client:
        assert measured(files, client=client).identical(serial)
    assert len(list(Path(files).parent.glob("*.killed"))) == 1


def die(item: int, *, setting: str) -> str:
    """Kill the process that reads item 3."""
    if item == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return f"{setting}{item}"


@pytest.mark.slow
def test_an_item_that_kills_every_worker_is_lost_alone() -> None:
    with cluster_client(workers=2) as client:
        found = dict(each_done(die, range(5), setting="n", client=client, lost=lambda item, why: f"{item}: {why}"))
    assert found == {0: "n0", 1: "n1", 2: "n2", 3: "3: the workers that read it died", 4: "n4"}


def test_a_cluster_without_workers_is_not_waited_for_for_ever(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PAUSE", 0.05)
    monkeypatch.setattr(workers, "_PATIENCE", 0.2)
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        distributed.Client(empty) as client,
        pytest.raises(FlatnormError, match=r"the dask cluster at tcp://.* has had no worker for 0 s; see to it"),
    ):
        list(each_done(die, range(3), setting="n", client=client, lost=lambda item, why: why))


def test_threads_that_are_asked_for_are_those_of_this_process(files: str, serial: xr.Dataset) -> None:
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=":0") as empty,
        distributed.Client(empty) as client,
    ):
        assert measured(files, threads=2).identical(serial)
        with pytest.raises(FlatnormError, match="client and threads both say who does the work; give one"):
            measured(files, threads=2, client=client)


def stop_scheduler(item: int, *, setting: str) -> str:
    """Close the cluster from within, at item 3."""
    if item == 3:
        distributed.get_client().shutdown()
    return setting


@pytest.mark.slow
def test_a_cluster_that_goes_away_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "_PAUSE", 0.5)
    with (
        dask.config.set({"distributed.comm.timeouts.connect": "1s"}),
        cluster_client(workers=1) as client,
        pytest.raises(FlatnormError, match=r"the dask cluster at .* (is closed|does not answer)"),
    ):
        list(each_done(stop_scheduler, range(9), setting="n", client=client, lost=lambda item, why: why))


def test_what_has_not_begun_is_not_begun_after_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    cancelled = threading.Event()

    class Pool(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            super().shutdown(wait=False, cancel_futures=cancel_futures)
            cancelled.set()
            super().shutdown(wait=wait)

    monkeypatch.setattr(workers, "ThreadPoolExecutor", Pool)
    begun: list[int] = []

    def task(item: int, *, setting: None) -> int:
        begun.append(item)
        if item == 2:
            msg = "item 2 cannot be"
            raise FlatnormError(msg)
        if item > 2:
            cancelled.wait()
        return item

    with pytest.raises(FlatnormError, match="item 2 cannot be"):
        list(each_done(task, range(1000), setting=None, threads=2, lost=lambda item, why: item))
    assert len(begun) <= 5  # two threads had at most one more each


def test_what_is_no_client_is_refused(files: str, cluster: Any) -> None:
    with pytest.raises(FlatnormError, match=r"client must be a dask\.distributed Client, not str"):
        measure(files, client="tcp://localhost:1")
    client = distributed.Client(cluster)
    client.close()
    with pytest.raises(FlatnormError, match="the client is closed"):
        measure(files, client=client)


def test_an_asynchronous_client_is_left_alone_or_refused(files: str, serial: xr.Dataset, cluster: Any) -> None:
    async def with_client() -> xr.Dataset:
        async with distributed.Client(cluster.scheduler_address, asynchronous=True) as client:
            with pytest.raises(FlatnormError, match="the client is asynchronous"):
                measured(files, client=client)
            return measured(files)

    assert asyncio.run(with_client()).identical(serial)


def test_a_cluster_without_flatnorm_is_refused(tmp_path: Path, files: str) -> None:
    (tmp_path / "flatnorm_xr.py").write_text("raise ImportError('No module named flatnorm_xr')")
    script = tmp_path / "elsewhere.py"
    script.write_text(
        "import distributed\n"
        "with distributed.LocalCluster(\n"
        "    n_workers=1, dashboard_address=':0', processes=False, protocol='tcp', host='127.0.0.1'\n"
        ") as cluster:\n"
        "    print(cluster.scheduler_address, flush=True)\n"
        "    input()\n"
    )
    # the script's folder comes first on its path, and so does what stands there for flatnorm_xr
    with (
        subprocess.Popen(
            [sys.executable, str(script)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        ) as elsewhere,
        distributed.Client(elsewhere.stdout.readline().decode().strip()) as client,
    ):
        with pytest.raises(FlatnormError, match=r"the cluster at tcp://.* cannot run flatnorm_xr \(.*install it there"):
            measured(files, client=client)
        elsewhere.communicate(b"\n")


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
