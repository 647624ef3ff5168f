"""The help reads like a table of contents, and every example in it runs."""

from __future__ import annotations

import shlex
import shutil

import numpy as np
import pytest
import typer

import flatnorm_xr as fx
from flatnorm_xr.cli.archive import program as archive
from flatnorm_xr.cli.main import PANELS, app
from flatnorm_xr.show.pictures import PICTURES

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


def commands_of(group, *before):
    """Every command below a group, by its words."""
    found = {}
    for name, command in group.commands.items():
        words = (*before, name)
        found |= commands_of(command, *words) if hasattr(command, "commands") else {" ".join(words): command}
    return found


RUNS = ("3f2a91c05b7e", "9c01d2e47a66")
"""Names that stand in examples for those of the first runs of an archive."""

LOOKING = (
    *("inspect", "diagnose", "lsst path"),
    *(f"archive {name}" for name in ("list", "show", "find", "certificates", "recommend", "verify", "reindex")),
)
"""Commands that write no new file."""

PROGRAM = typer.main.get_command(app)
COMMANDS = commands_of(PROGRAM)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
    """A night, its levels and their solution, under the names that the examples use."""
    folder = tmp_path_factory.mktemp("examples")
    fx.simulate_night(folder / "night", camera="decam", n_exposures=5, n_detectors=3, compress=True, seed=1)
    ds = fx.simulate(n_detectors=6, n_exposures=8, noise=5e-4, seed=4).assign_attrs(camera="decam")
    fx.save(ds, folder / "levels.nc")
    fx.save(fx.solve(ds, weights="variance"), folder / "run.nc")
    return folder


@pytest.fixture
def here(made_once, tmp_path, monkeypatch):
    """The folder that an example runs in."""
    for path in made_once.iterdir():
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def keep_runs(words, years, folder):
    """Copy an archive to where an example finds it, and name its runs in the words."""
    shutil.copytree(years / "calib", folder / "calib")
    runs = fx.Archive(folder / "calib").list().index
    return [runs[RUNS.index(word)] if word in RUNS else word for word in words]


def needs_middleware(words):
    if words[:1] == ["lsst"] and words[1] != "path":
        pytest.importorskip("lsst.daf.butler", reason="Rubin's middleware is not installed")
        pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed")


def outputs_of(words):
    """Files or folders that the words of a command say it writes."""
    named = [words[words.index("-o") + 1]] if "-o" in words else []
    return named or {"export": ["run.ecsv"], "lsst init": ["demo-repository"]}.get(" ".join(words[:2]), [])


def make_repository(flatnorm, folder):
    """One that has the night before that of levels.nc."""
    ds = fx.open(folder / "levels.nc")
    earlier = ds.assign_coords(
        exposure=ds.exposure - 50, time=ds.time - np.timedelta64(1, "D"), night=("exposure", ["2025-03-13"] * 8)
    )
    path = fx.save(earlier, folder / "earlier.nc")
    assert flatnorm("lsst", "init", folder / "demo-repository", "--levels", path)[0] == 0


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_every_command_runs(flatnorm, here, request, name):
    start, _, example = (COMMANDS[name].epilog or "").partition("flatnorm ")
    assert start == "Example: "
    words = shlex.split(example)
    assert " ".join(words).startswith(name)
    needs_middleware(words)
    if name == "lsst ingest":
        make_repository(flatnorm, here)
    if words[0] == "archive":
        words = keep_runs(words, request.getfixturevalue("years"), here)
    outputs = [here / output for output in outputs_of(words)]
    for path in outputs:
        path.unlink(missing_ok=True)
    before = set(here.rglob("*"))
    status, out, err = flatnorm(*words)
    assert status == 0, err
    assert out
    assert all(line.startswith("flatnorm: warning:") for line in err.splitlines())
    assert all(path.exists() for path in outputs)
    written = set(here.rglob("*")) - before
    assert bool(written) == (name not in LOOKING)
    assert all(path.stat().st_size > 0 for path in written if path.suffix != ".lock")


def test_the_program_lists_its_commands_in_the_order_of_the_work(flatnorm):
    _, out, _ = flatnorm("--help")
    lines = [line.strip("│ ") for line in out.splitlines()]
    first_words = [line.split()[0] for line in lines if line and line.split()[0] in PROGRAM.commands]
    expected = [module.__name__.rpartition(".")[2] for modules in PANELS.values() for module in modules]
    assert first_words == [*expected, "lsst", "archive"]
    titles = [line for line in out.splitlines() if line.startswith("╭")]
    assert [title.strip("╭─╮ ") for title in titles] == ["Options", *PANELS, "Keep for years"]


def test_an_archive_lists_its_commands_in_the_order_of_the_work(flatnorm):
    _, out, _ = flatnorm("archive", "--help")
    lines = [line.strip("│ ") for line in out.splitlines()]
    first_words = [
        line.split()[0] for line in lines if line and line.split()[0] in PROGRAM.commands["archive"].commands
    ]
    expected = [module.__name__.rpartition(".")[2] for modules in archive.PANELS.values() for module in modules]
    assert first_words == expected
    assert all(f"─ {panel} ─" in out for panel in archive.PANELS)


@pytest.mark.parametrize("name", [name for name in (*PROGRAM.commands, *COMMANDS) if not name.startswith("lsst")])
def test_every_command_has_one_plain_line(name):
    command = PROGRAM
    for word in name.split():
        command = command.commands[word]
    line = command.help.split("\n\n")[0]
    assert "\n" not in line
    assert line.endswith(".")
    assert len(line) <= (63 if name.startswith("archive ") else 66)  # what 80 columns have room for


@pytest.mark.parametrize("name", COMMANDS)
def test_help_is_no_wider_than_the_terminal(flatnorm, monkeypatch, name):
    for width in (60, 80, 100):
        monkeypatch.setattr("typer.rich_utils.MAX_WIDTH", width)
        status, out, _ = flatnorm(*name.split(), "--help")
        assert status == 0
        assert max(map(len, out.splitlines())) <= width


def test_help_of_plot_has_a_line_on_every_picture(flatnorm):
    _, out, _ = flatnorm("plot", "--help")
    lines = [line.split(maxsplit=1) for line in out.splitlines()]
    for name, words in PICTURES.items():
        assert any(line[0] == name and line[1].strip().startswith(words[:20]) for line in lines if len(line) == 2)


def test_options_of_a_solve_are_in_panels_of_their_own(flatnorm):
    for name in ("solve", "run"):
        _, out, _ = flatnorm(name, "--help")
        for panel in ("Output", "How to solve", "Standard errors"):
            assert f"─ {panel} ─" in out
        panel = out[out.index("─ Standard errors ─") :]
        assert panel.index("--uncertainty") < panel.index("╰")
