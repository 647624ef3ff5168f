"""What is seen on a terminal, and in a log: one bar for a night, few lines, no control characters where none belong."""

from __future__ import annotations

import os
import pty
import re
import signal
import struct
import subprocess
import sys
from fcntl import ioctl
from termios import TIOCSWINSZ

import pytest

import flatnorm_xr as fx
from flatnorm_xr import progress

PROGRAM = [sys.executable, "-c", "from flatnorm_xr.cli.main import main; main()"]


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """300 small files."""
    folder = tmp_path_factory.mktemp("night")
    fx.simulate_night(folder, camera="hsc", n_exposures=75, n_detectors=4, faults=False, seed=1)
    return folder


def on_a_terminal(*arguments, columns=100, interrupt_at=None):
    """Exit status of the program, and all that a terminal got from it; interrupted once it has shown some text."""
    terminal, screen = pty.openpty()
    ioctl(screen, TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    # the size is that of the terminal, whatever another test has left in the environment
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    child = subprocess.Popen(
        [*PROGRAM, *map(str, arguments)],
        stdin=screen,
        stdout=screen,
        stderr=screen,
        env=environment | {"TERM": "xterm-256color"},
        start_new_session=True,
    )
    os.close(screen)
    seen = b""
    while True:
        try:
            part = os.read(terminal, 65536)
        except OSError:  # how a terminal says that nobody writes any more
            break
        if not part:
            break
        seen += part
        if interrupt_at is not None and interrupt_at in seen:
            child.send_signal(signal.SIGINT)
            interrupt_at = None
    os.close(terminal)
    return child.wait(), seen.decode()


def what_stays(seen):
    """Lines that are on the screen in the end: without those that were taken back, and without colours."""
    lines = [""]
    for part in re.split(r"(\x1b\[[0-9;?]*[A-Za-z]|\r|\n)", seen):
        if part == "\n":
            lines.append("")
        elif part == "\r" or part == "\x1b[2K":
            lines[-1] = "" if part == "\x1b[2K" else lines[-1]
        elif part == "\x1b[1A":
            lines.pop()
        elif not part.startswith("\x1b"):
            lines[-1] += part
    return [line for line in lines if line.strip()]


def test_a_night_of_many_files_is_one_bar_and_few_lines(night, tmp_path):
    status, seen = on_a_terminal("run", night / "*.fits", "-o", tmp_path / "out")
    assert status == 0, seen
    lines = what_stays(seen)
    assert len(lines) < 40
    (bar,) = [line for line in lines if "━" in line]
    assert re.search(r"measure ━+ 300 of 300 files, \S+/s$", bar.strip())
    assert re.search(r"\d+ of 300 files, \S+/s, \d+:\d\d left", seen)
    assert not any(path.name in seen for path in night.iterdir())
    assert any(line.split() == ["files", "300"] for line in lines)
    assert any(line.split() == ["exposures", "75"] for line in lines)


@pytest.mark.parametrize("columns", [60, 80])
def test_the_bar_fits_the_terminal_and_is_not_cut(night, tmp_path, columns):
    _, seen = on_a_terminal("measure", night / "*.fits", "-o", tmp_path / "out.nc", columns=columns)
    assert "…" not in seen
    (bar,) = [line for line in what_stays(seen) if "━" in line]
    assert len(bar) <= columns
    assert "300 of 300 files" in bar


def test_inspect_has_a_line_for_every_file_and_a_bar_that_goes_away(night):
    status, seen = on_a_terminal("inspect", night / "*.fits")
    assert status == 0
    assert "read headers" in seen
    lines = what_stays(seen)
    assert not any("━" in line for line in lines)
    assert sum(".fits" in line for line in lines) == 300


def test_a_log_has_no_control_characters(night, tmp_path):
    for arguments in (
        ["measure", night / "*.fits", "-o", tmp_path / "out.nc"],
        ["inspect", night / "*.fits"],
        ["--help"],
    ):
        done = subprocess.run([*PROGRAM, *arguments], capture_output=True, text=True, timeout=120, check=True)
        assert all(character.isprintable() or character == "\n" for character in done.stdout + done.stderr)
        assert "━" not in done.stderr


def test_quiet_shows_no_bar(night, tmp_path):
    assert on_a_terminal("measure", night / "*.fits", "-o", tmp_path / "out.nc", "--quiet") == (0, "")


@pytest.mark.parametrize("at", [b"read headers", b"solve"])
def test_interrupted_it_says_so_in_one_line(night, tmp_path, at):
    status, seen = on_a_terminal("run", night / "*.fits", "-o", tmp_path / "out", interrupt_at=at)
    assert status == 130
    assert what_stays(seen)[-1].strip() == "flatnorm: error: interrupted"
    assert "Traceback" not in seen


class Clock:
    """Seconds that go by at every look."""

    def __init__(self, step):
        self.now, self.step = 0.0, step

    def __call__(self):
        self.now += self.step
        return self.now


def test_a_long_job_has_at_most_ten_lines_in_a_log(capsys):
    with progress.counted(range(3000), "measure", clock=Clock(2.0)) as numbers:
        assert list(numbers) == list(range(3000))
    lines = capsys.readouterr().err.splitlines()
    assert 5 <= len(lines) <= 10
    assert lines[0] == "flatnorm: measure: 300 of 3000 files, 0.5/s, 1:30:00 left"
    assert lines[-1] == "flatnorm: measure: 3000 of 3000 files, 0.5/s"


def test_a_short_job_has_none(capsys):
    with progress.counted(range(3000), "measure", clock=Clock(0.001)) as numbers:
        list(numbers)
    assert capsys.readouterr() == ("", "")


def test_slow_files_are_counted_in_seconds_each(capsys):
    with progress.counted(range(20), "measure", clock=Clock(40.0)) as numbers:
        list(numbers)
    assert "2 of 20 files, 40 s each, 12:00 left" in capsys.readouterr().err


def test_warnings_have_lines_of_their_own_and_tables_fit(tmp_path):
    fx.simulate_night(tmp_path / "night", camera="decam", n_exposures=5, n_detectors=4, seed=1)
    files = tmp_path / "night" / "*.fits"
    status, seen = on_a_terminal("run", files, "-o", tmp_path / "out", columns=90)
    assert status == 0
    lines = what_stays(seen)
    warnings = [line for line in lines if "warning:" in line]
    assert warnings
    assert all(line.startswith("flatnorm: warning:") for line in warnings)
    start = next(i for i, line in enumerate(lines) if line.split()[0] == "file")
    assert lines[start - 1].strip().startswith("all files: camera decam, ")
    assert "camera" not in lines[start]
    assert all(len(line) <= 90 for line in lines[start : start + 7])
    done = subprocess.run([*PROGRAM, "inspect", str(files)], capture_output=True, text=True, timeout=60, check=True)
    assert "all files" not in done.stdout
