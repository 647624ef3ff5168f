"""Processes that write to and read from an archive, started quickly, waited for or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

TASKS = Path(__file__).parent / "archive_tasks.py"


class Process:
    """A task that a process of its own does."""

    def __init__(self, starter: Starter, number: int, out: Path) -> None:
        assert number > 1, "never signal a group of processes"
        self._starter, self._number, self._out = starter, number, out

    def said(self) -> list[Any]:
        """What it has said until now."""
        content = self._out.read_bytes() if self._out.exists() else b""
        return [json.loads(line) for line in content.splitlines()]

    def kill(self) -> int:
        """End it in the middle of whatever it does; gives -9, or the status with which it had ended before."""
        os.kill(self._number, signal.SIGKILL)
        return self._starter.ask({"wait": self._number})

    def wait(self) -> list[Any]:
        """Wait until it has done all; give what it said."""
        status = self._starter.ask({"wait": self._number})
        said = self.said()
        assert status == 0, said[-1][-1]
        return said

    def status(self) -> int:
        """Wait until it ends; give how."""
        return self._starter.ask({"wait": self._number})


class Starter:
    """A process that has imported all, and forks one for each task."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, 0
        environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, str(TASKS)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, told: dict[str, Any]) -> int:
        """Tell it what to do; give its answer."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(told) + "\n")
        self.process.stdin.flush()
        return int(self._line())

    def start(
        self, task: str, *, uid: int | None = None, gid: int | None = None, umask: int | None = None, **given: Any
    ) -> Process:
        """Start a task, as another user where one is given; see ``archive_tasks.py``."""
        self._count += 1
        out = self._folder / f"{self._count}.jsonl"
        told = {"name": task, "out": str(out), "uid": uid, "gid": gid, "umask": umask, "given": given}
        return Process(self, self.ask(json.loads(json.dumps(told, default=str))), out)


@pytest.fixture(scope="session")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    found = Starter(tmp_path_factory.mktemp("said"))
    yield found
    assert found.process.stdin is not None
    found.process.stdin.close()
    found.process.wait()
    assert found.process.stdout is not None
    found.process.stdout.close()


@pytest.fixture
def start(starter: Starter) -> Callable[..., Process]:
    """Start tasks in processes of their own."""
    return starter.start
