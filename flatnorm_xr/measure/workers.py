"""Do one task for each file: one after the other, in threads, or on the workers of a dask cluster."""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, NoReturn, TypeVar

from flatnorm_xr.errors import FlatnormError

__all__ = ["Client", "check_client", "default_threads", "each_done"]

Item = TypeVar("Item")
Done = TypeVar("Done")

Client = Any
"""A ``distributed.Client``."""

_MOST_THREADS = 8
"""Frames in flight, when not said otherwise: they bound the memory."""

_PATIENCE = 600.0
"""Seconds for which a cluster may have no worker; where they take longer to come, wait for them first."""

_PAUSE = 5.0
"""Seconds after which to ask whether there is a worker, when no task has been done."""


def default_threads() -> int:
    """Count the cores this process may use, and be content with 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MOST_THREADS)


def check_client(client: Client | None) -> Client | None:
    """Client to use: the one given, else the active one of this process, else None.

    An active client that is asynchronous, which only a coroutine could wait for, is not used.

    Raises
    ------
    FlatnormError
        The one given is no client, is closed, or is asynchronous.
    """
    distributed = sys.modules.get("distributed")
    if client is None:
        try:
            active = distributed.default_client() if distributed is not None else None
        except ValueError:
            return None
        return None if active is None or active.asynchronous else active
    if distributed is None or not isinstance(client, distributed.Client):
        msg = f"measure: client must be a dask.distributed Client, not {type(client).__name__}"
        raise FlatnormError(msg)
    if client.status != "running" or client.asynchronous:
        what = "is asynchronous" if client.asynchronous else f"is {client.status}"
        msg = f"measure: the client {what}; make one with distributed.Client(address)"
        raise FlatnormError(msg)
    return client


def each_done(
    task: Callable[..., Done],
    items: Sequence[Item],
    *,
    setting: Any,
    client: Client | None = None,
    threads: int = 1,
    lost: Callable[[Item, str], Done],
) -> Iterator[tuple[int, Done]]:
    """Give ``task(item, setting=setting)`` of each item, with its number, as they are done.

    Parameters
    ----------
    task : callable
        Releases the GIL where it takes long; can be pickled when there is a client.
    items : sequence
        What it is called with. Small: all are held, or sent, at once.
    setting : object
        The same for all; sent to each worker once.
    client : distributed.Client, optional
        Whose workers do it.
    threads : int
        How many items are in flight at once, without a client.
    lost : callable
        What to give for an item whose worker died again and again, and why.

    Yields
    ------
    int, object
        When the caller stops early, or a task raises, what has not begun is not begun.
    """
    if client is not None:
        yield from _on_cluster(task, items, setting, client, lost)
    elif threads <= 1 or len(items) <= 1:
        yield from ((i, task(item, setting=setting)) for i, item in enumerate(items))
    else:
        yield from _in_threads(task, items, setting, threads)


def _in_threads(
    task: Callable[..., Done], items: Sequence[Item], setting: Any, threads: int
) -> Iterator[tuple[int, Done]]:
    pool = ThreadPoolExecutor(threads, thread_name_prefix="flatnorm")
    try:
        number = {pool.submit(task, item, setting=setting): i for i, item in enumerate(items)}
        for future in as_completed(list(number)):
            yield number.pop(future), future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _on_cluster(
    task: Callable[..., Done],
    items: Sequence[Item],
    setting: Any,
    client: Client,
    lost: Callable[[Item, str], Done],
) -> Iterator[tuple[int, Done]]:
    import distributed

    # A task gives the setting, and not the client: what a dead worker had of it can be made again.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sending large graph", category=UserWarning)
        shared = client.submit(_same, setting, pure=False)
        _check_workers(shared, client)
        futures = client.map(task, items, setting=shared, pure=False)
    number = {future.key: i for i, future in enumerate(futures)}
    suspects = []
    try:
        for future, outcome in _outcomes(futures, client):
            i = number[future.key]
            if isinstance(outcome, distributed.KilledWorker):
                suspects.append(i)
            else:
                yield i, _value(outcome)
                future.release()
        for i in suspects:  # a worker that died takes all its tasks with it: only alone one is known to be the cause
            futures[i] = client.submit(task, items[i], setting=shared, pure=False)
            ((_, outcome),) = _outcomes([futures[i]], client)
            killed = isinstance(outcome, distributed.KilledWorker)
            yield i, lost(items[i], "the workers that read it died") if killed else _value(outcome)
    finally:
        client.cancel([*futures, shared], force=True)


def _same(value: Any) -> Any:
    return value


def _value(outcome: Any) -> Any:
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _check_workers(shared: Any, client: Client) -> None:
    """Refuse a cluster that cannot take what it is to share: flatnorm_xr is not there, or another version of it."""
    ready: SimpleQueue[Any] = SimpleQueue()
    shared.add_done_callback(ready.put)
    _next(ready, client)
    if shared.status == "error":
        error = shared.exception()
        said = " ".join(str(error.__cause__ or error).split())
        msg = f"measure: the cluster at {client.scheduler.address} cannot run flatnorm_xr ({said}); install it there"
        raise FlatnormError(msg) from error


def _outcomes(futures: Sequence[Any], client: Client) -> Iterator[tuple[Any, Any]]:
    """Give futures as they are done, with what a task gave or raised.

    Raises
    ------
    FlatnormError
        The cluster is gone, or has had no worker for long.
    """
    ready: SimpleQueue[Any] = SimpleQueue()
    waiting = {future.key for future in futures}
    for future in futures:
        future.add_done_callback(ready.put)
    while waiting:
        future = _next(ready, client)
        if future.status == "cancelled":
            _gone(client, "is closed")
        try:
            outcome = future.exception(timeout=_PAUSE) or future.result(timeout=_PAUSE)
        except TimeoutError:
            future.add_done_callback(ready.put)  # it died with the worker that had done it, and is done once more
            continue
        waiting.remove(future.key)
        yield future, outcome


def _next(ready: SimpleQueue[Any], client: Client) -> Any:
    alone_since = None
    while True:
        with suppress(Empty):
            return ready.get(timeout=_PAUSE)
        try:
            workers = client.nthreads()
        except (OSError, TimeoutError, ValueError) as error:
            _gone(client, f"does not answer ({' '.join(str(error).split())})")
        now = time.monotonic()
        alone_since = None if workers else alone_since or now
        if alone_since is not None and now - alone_since > _PATIENCE:
            _gone(client, f"has had no worker for {_PATIENCE:.0f} s")


def _gone(client: Client, what: str) -> NoReturn:
    where = client.scheduler.address if client.scheduler is not None else "an address that is forgotten"
    msg = f"measure: the dask cluster at {where} {what}; see to it, then go on with resume"
    raise FlatnormError(msg)
