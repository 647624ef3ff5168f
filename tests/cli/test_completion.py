"""What a shell completes: commands, options, names; and that it need not wait for it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys

import pytest

import flatnorm_xr as fx
from flatnorm_xr.camera.profiles import packaged_profiles
from flatnorm_xr.model.schema import COORDINATES
from flatnorm_xr.show.pictures import PICTURES

COMMANDS = [
    *("demo", "run", "inspect", "measure", "solve", "diagnose", "plot", "report", "export"),
    *("lsst", "archive"),
]
PROGRAM = "import sys; from flatnorm_xr.cli.main import main; main()"


def ask(words, shell="bash", code=PROGRAM):
    """What the program answers to a shell that asks how ``words`` go on."""
    given = {
        "_FLATNORM_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "_TYPER_COMPLETE_ARGS": words,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | given, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("flatnorm ", COMMANDS),
        ("flatnorm in", ["inspect"]),
        ("flatnorm lsst ", ["init", "ingest", "path"]),
        ("flatnorm archive c", ["certify", "certificates"]),
        ("flatnorm plot ", [*PICTURES, "all"]),
        ("flatnorm plot re", [name for name in PICTURES if name.startswith("re")]),
        ("flatnorm measure --camera ", packaged_profiles()),
        ("flatnorm run --camera de", ["decam"]),
        ("flatnorm solve --ju", []),
        ("flatnorm solve --ja", ["--jackknife-block"]),
        ("flatnorm solve --weights ", ["counts", "variance", "uniform"]),
    ],
)
def test_words_go_on_in_bash(words, expected):
    assert ask(words).split() == expected


@pytest.mark.parametrize("option", ["--by", "--floor-by", "--jackknife-block"])
def test_coordinates_of_exposures_complete(option):
    found = ask(f"flatnorm solve {option} ").split()
    assert {"physical_filter", "night", "lamp", "exposure_time"} <= set(found)
    assert all(COORDINATES[name].dims == "exposure" for name in found)


def test_names_of_an_archive_complete(years):
    calib = years / "calib"
    runs = fx.Archive(calib).list().index
    before = {path: path.stat().st_mtime_ns for path in calib.rglob("*")}
    assert sorted(ask(f"flatnorm archive show {calib} ").split()) == sorted(run[:12] for run in runs)
    assert ask(f"flatnorm archive certify {calib} {runs[3][:5]}").split() == [runs[3][:12]]
    assert ask(f"flatnorm archive find {calib} --camera ").split() == ["simulated"]
    assert ask(f"flatnorm archive find {calib} --filter ").split() == ["r"]
    assert ask(f"flatnorm archive revoke {calib} ").split() == ["1"]
    assert ask(f"flatnorm archive trend {calib} --against E,t").split() == ["E,temperature"]
    assert "simulated r 2025-03-14" in ask(f"flatnorm archive diff {calib} ", "zsh")
    assert {path: path.stat().st_mtime_ns for path in calib.rglob("*")} == before


@pytest.mark.parametrize("kind", ["absent", "empty", "damaged", "other"])
def test_where_there_is_no_archive_nothing_completes(tmp_path, kind):
    calib = tmp_path / "calib"
    if kind != "absent":
        calib.mkdir()
    if kind == "damaged":
        (calib / "catalogue.sqlite").write_bytes(b"no database " * 100)
    if kind == "other":
        sqlite3.connect(calib / "catalogue.sqlite").close()
    before = sorted(tmp_path.rglob("*"))
    assert ask(f"flatnorm archive show {calib} ").strip() == ""
    assert ask(f"flatnorm archive find {calib} --camera ").strip() == ""
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_show_a_line_on_each(shell):
    found = ask("flatnorm plot ", shell)
    for name, line in PICTURES.items():
        assert name in found
        assert line[:20] in found


@pytest.mark.parametrize(
    "words",
    [
        *("flatnorm ", "flatnorm plot ", "flatnorm run --camera ", "flatnorm solve --by "),
        *("flatnorm archive ", "flatnorm archive show {calib} "),
    ],
)
def test_completing_imports_nothing_slow(words, request):
    if "{calib}" in words:
        words = words.format(calib=request.getfixturevalue("years") / "calib")
    code = (
        "import sys, atexit\n"
        "slow = {'xarray', 'pandas', 'astropy', 'numba', 'scipy', 'matplotlib', 'netCDF4'}\n"
        "atexit.register(lambda: print('SLOW', sorted(slow & set(sys.modules))))\n" + PROGRAM
    )
    assert ask(words, code=code).splitlines()[-1] == "SLOW []"


def test_what_bash_is_told_completes_there():
    shown = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{PROGRAM}" --show-completion; true'],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "_FLATNORM_COMPLETE=complete_bash" in shown.stdout


def test_completion_can_be_installed(tmp_path):
    environment = os.environ | {"HOME": str(tmp_path)}
    line = f'"{sys.executable}" -c "{PROGRAM}" --install-completion; true'
    done = subprocess.run(
        ["bash", "-c", line], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert "installed" in done.stdout
    (script,) = [path for path in tmp_path.rglob("*") if path.is_file() and "flatnorm" in path.name]
    assert "_FLATNORM_COMPLETE=complete_bash" in script.read_text()
    bash = f"source {script}; COMP_WORDS=(flatnorm ins); COMP_CWORD=1; flatnorm() {{ :; }}; complete -p flatnorm"
    done = subprocess.run(["bash", "-c", bash], capture_output=True, text=True, timeout=60, check=False)
    assert "-F _flatnorm_completion flatnorm" in done.stdout
