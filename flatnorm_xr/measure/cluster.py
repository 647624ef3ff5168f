"""A client of a dask cluster for the time of one job: one that runs somewhere, or workers on this machine."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flatnorm_xr.errors import FlatnormError

__all__ = ["cluster_client"]

_PATIENCE = 30
"""Seconds in which a scheduler must answer."""


@contextmanager
def cluster_client(*, scheduler: str | None = None, workers: int | None = None) -> Iterator[Any]:
    """Connect to a dask scheduler, or start worker processes on this machine; all is closed at the end.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running scheduler, such as ``tcp://node7:8786``.
    workers : int, optional
        Number of processes to start instead.

    Yields
    ------
    distributed.Client or None
        None when neither is given.

    Raises
    ------
    FlatnormError
        Both are given, dask.distributed is not installed, nothing answers at the address.
    """
    if scheduler is None and workers is None:
        yield None
        return
    if scheduler is not None and workers is not None:
        msg = "scheduler and workers both say who does the work; give one"
        raise FlatnormError(msg)
    try:
        distributed: Any = importlib.import_module("distributed")
    except ImportError as error:
        msg = "dask.distributed is not installed; pip install 'flatnorm-xr[dask]'"
        raise FlatnormError(msg) from error
    with _silence(logging.getLogger("distributed")):
        yield from _client(distributed, scheduler, workers)


@contextmanager
def _silence(logger: logging.Logger) -> Iterator[None]:
    """Say nothing meanwhile: that a worker is lost or slow is dask's to mend, and no news for who waits for levels."""
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _client(distributed: Any, scheduler: str | None, workers: int | None) -> Iterator[Any]:
    if workers is not None:
        with (
            distributed.LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL
            ) as cluster,
            distributed.Client(cluster) as client,
        ):
            yield client
        return
    try:
        client = distributed.Client(scheduler, timeout=_PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        said = " ".join(str(error).split())
        msg = f"no dask scheduler answers at {scheduler} ({said}); start one with dask scheduler, or use --workers"
        raise FlatnormError(msg) from error
    with client:
        if not client.scheduler_info()["workers"]:
            msg = f"the dask scheduler at {scheduler} has no worker; start some with dask worker {scheduler}"
            raise FlatnormError(msg)
        yield client
