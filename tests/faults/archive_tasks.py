"""What processes do to an archive in the tests: run as a program, it forks a process for each task it is told.

A line of JSON on standard input starts a task; its process number comes back on a line. The program itself has no
threads, has imported everything and does nothing else, so that forking is quick and safe.
"""

from __future__ import annotations

import importlib.util
import json
import os
import resource
import signal
import sys
import traceback
import warnings
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import flatnorm_xr as fx
from flatnorm_xr.archive.archive import Archive

Say = Callable[..., None]
TASKS: dict[str, Callable[..., None]] = {}
UNCHECKED = fx.Thresholds(**{field.name: None for field in fields(fx.Thresholds)})


def task(function: Callable[..., None]) -> Callable[..., None]:
    TASKS[function.__name__] = function
    return function


def _builder() -> Callable[..., Any]:
    """Give what builds the runs of a few numbers of all tests."""
    spec = importlib.util.spec_from_file_location("shared", Path(__file__).parents[1] / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.build_small_run


small_run = _builder()


@task
def add(say: Say, path: str, numbers: list[int], history: str = "", camera: str = "testcam") -> None:
    """Add runs one by one, and say the name of each once it is kept."""
    archive = Archive(path)
    for number in numbers:
        say(archive.add(small_run(number, camera=camera).assign_attrs(history=history)))


@task
def add_and_certify(say: Say, path: str, numbers: list[int]) -> None:
    """Add runs, and certify each for a day."""
    archive = Archive(path)
    for number in numbers:
        run = archive.add(small_run(number))
        say("run", run)
        day = small_run(number)["time"].values[0].astype("datetime64[D]")
        certificate = archive.certify(run, day, day + 1, approver="a", thresholds=UNCHECKED, supersede=True)
        say("certificate", certificate.number)


@task
def certify(say: Say, path: str, runs: list[str], begin: str, end: str | None, links: bool = True) -> None:
    """Certify one run after the other for the same time, and say which it was or why that was refused."""
    if not links:
        os.link = _no_links  # type: ignore[assignment]
    archive = Archive(path)
    for run in runs:
        try:
            say("won", archive.certify(run, begin, end, approver="a", thresholds=UNCHECKED).number)
        except fx.FlatnormError as error:
            say("refused", str(error))


def _no_links(*args: Any, **more: Any) -> None:
    raise PermissionError(1, "Operation not permitted")


@task
def read(say: Say, path: str, until: str) -> None:
    """Read in every way until a file appears; any error ends it."""
    archive = Archive(path)
    times = 0
    while not os.path.exists(until):
        table = archive.list(camera="testcam")
        if len(table):
            archive.open(table.index[-1])
            assert archive.load("G", camera="testcam", filter="r").values.shape[0] >= len(table)
            assert archive.history(camera="testcam", filter="r").sizes["run"] >= len(table)
        if len(archive.certificates()):
            archive.find("testcam", "r", "2025-01-01")
        times += 1
    say(times)


@task
def care(say: Say, path: str, until: str) -> None:
    """Verify and make the catalogue again until a file appears."""
    archive = Archive(path)
    times = 0
    while not os.path.exists(until):
        problems = archive.verify()
        assert problems.empty, problems.to_dict()
        archive.reindex()
        times += 1
    say(times)


@task
def remove_and_add(say: Say, path: str, numbers: list[int]) -> None:
    """Add runs of another camera, remove them, and bring them back."""
    archive = Archive(path)
    for number in numbers:
        run = archive.add(small_run(number, camera="decam"))
        assert archive.add(archive.remove(run, who="a", why="b")) == run
        say(run)


@task
def die_at_a_step(say: Say, path: str, step: int, what: str) -> None:
    """Be killed at the n-th time that Python asks the system for a file, a lock or the database."""
    archive = Archive(path)
    run = sorted(archive.list().index)[0]
    steps = 0
    watched = ("open", "os.", "fcntl.", "sqlite3.")

    def count(event: str, args: tuple[Any, ...]) -> None:
        nonlocal steps
        if event.startswith(watched) and steps >= 0:
            steps += 1
            if steps == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)
    if what == "add":
        archive.add(small_run(9))
    elif what == "certify":
        archive.certify(run, "2025-03-01", approver="a", thresholds=UNCHECKED)
    elif what == "remove":
        archive.remove(run, who="a", why="b")
    elif what == "reindex":
        archive.reindex()
    steps = -1


@task
def write_within(say: Say, path: str, limit: int | None, number: int, detectors: int) -> None:
    """Add, certify, remove and make the catalogue again where files may not grow beyond a number of bytes."""
    archive = Archive(path)
    table = archive.list()
    run, other = table.index[table["certified"] != ""][0], table.index[table["certified"] == ""][0]
    answers = []
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, unlimited[1]))
    for name, attempt in {
        "add": lambda: archive.add(small_run(number, detectors=detectors)),
        "certify": lambda: archive.certify(run, "2025-05-01", approver="a" * 3000, thresholds=UNCHECKED),
        "remove": lambda: archive.remove(other, who="a", why="b" * 3000),
        "reindex": archive.reindex,
        "list": lambda: sorted(archive.list().index),
    }.items():
        try:
            answers.append((name, "worked", str(attempt())))
        except fx.FlatnormError as error:
            answers.append((name, "refused", str(error)))
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    for answer in answers:
        say(*answer)


@task
def use(say: Say, path: str, number: int) -> None:
    """Read an archive in every way, then try to write to it."""
    archive = Archive(path)
    table = archive.list()
    say("list", sorted(table.index))
    say("find", archive.find("testcam", "r", "2025-01-01T12:00").run)
    say("open", archive.open(table.index[0]).attrs["camera"])
    say("load", archive.load("G", camera="testcam", filter="r").values.shape)
    say("history", dict(archive.history(camera="testcam", filter="r").sizes))
    say("show", archive.show(table.index[0])["run"])
    say("certificates", len(archive.certificates()))
    say("tree", len(archive.to_datatree("testcam").children))
    say("verify", len(archive.verify()))
    for name, attempt in {
        "add": lambda: archive.add(small_run(number)),
        "certify": lambda: archive.certify(table.index[0], "2026-01-01", approver="a", thresholds=UNCHECKED),
        "revoke": lambda: archive.revoke(1, approver="a", why="b"),
        "remove": lambda: archive.remove(table.index[-1], who="a", why="b"),
        "reindex": archive.reindex,
    }.items():
        try:
            attempt()
            say(name, "worked")
        except fx.FlatnormError as error:
            say(name, str(error))


def _run(name: str, out: str, *, uid: int | None, gid: int | None, umask: int | None, given: dict[str, Any]) -> None:
    """Do a task in a process of its own; each thing said is a line of JSON, whole or not there."""
    descriptor = os.open(out, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o666)

    def say(*words: Any) -> None:
        os.write(descriptor, json.dumps(words).encode() + b"\n")

    if umask is not None:
        os.umask(umask)
    if uid is not None:
        os.setgroups([])
        os.setgid(uid if gid is None else gid)
        os.setuid(uid)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            TASKS[name](say, **given)
            status = 0
        except BaseException:
            say("failed", traceback.format_exc())
            status = 1
    for warning in caught:
        say("warned", str(warning.message))
    os._exit(status)


def main() -> None:
    """Fork a process for each line that comes in."""
    for line in sys.stdin:
        told = json.loads(line)
        if "wait" in told:
            answer = os.waitstatus_to_exitcode(os.waitpid(told["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                _run(**told)
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    # what is imported late, imported before the first fork
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        add_and_certify(lambda *words: None, folder + "/calib", [0])
        use(lambda *words: None, folder + "/calib", 1)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    main()
