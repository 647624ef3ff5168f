"""flatnorm plot: any picture, with its options, or all of them; what cannot be drawn is one clear line."""

from __future__ import annotations

import inspect
import re

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.cli import plot
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.show.picture import picture_options, write_picture, write_pictures
from flatnorm_xr.show.pictures import PICTURES

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture(scope="module")
def levels():
    ds = fx.simulate(n_detectors=4, n_amplifiers=2, n_exposures=8, noise=5e-4, seed=2)
    return ds.assign_coords(lamp=("exposure", list("aabbaabb")))


@pytest.fixture(scope="module")
def run(levels, tmp_path_factory):
    sol = fx.solve(levels, weights="variance", modes=1)
    return fx.save(sol, tmp_path_factory.mktemp("run") / "run.nc")


@pytest.mark.parametrize(
    ("name", "suffix"), [*((name, ".png") for name in PICTURES), ("residual", ".pdf"), ("residual", ".svg")]
)
def test_any_picture_in_any_format(flatnorm, run, tmp_path, name, suffix):
    path = tmp_path / f"picture{suffix}"
    status, out, err = flatnorm("plot", name, run, "-o", path)
    assert (status, out, err) == (0, f"picture written to {path}\n", "")
    start = {".png": b"\x89PNG", ".pdf": b"%PDF", ".svg": b"<?xml"}[suffix]
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize("name", PICTURES)
def test_every_keyword_of_a_picture_is_an_option(name):
    assert set(picture_options(name)) <= set(inspect.signature(plot.command).parameters)


def test_all_of_them(flatnorm, run, tmp_path):
    status, out, err = flatnorm("plot", "all", run, "-o", tmp_path / "pictures")
    assert (status, err) == (0, "")
    assert "skipped" not in out
    assert {path.name for path in (tmp_path / "pictures").iterdir()} == {f"{name}.png" for name in PICTURES}


def test_all_that_levels_allow_and_why_not_the_others(flatnorm, levels, tmp_path):
    stats = fx.save(levels, tmp_path / "levels.nc")
    status, out, err = flatnorm("plot", "all", stats, "-o", tmp_path / "pictures")
    assert (status, err) == (0, "")
    drawn = {path.stem for path in (tmp_path / "pictures").iterdir()}
    assert "background" in drawn
    reasons = dict(line.removeprefix("  skipped ").split(": ", 1) for line in out.splitlines() if "skipped" in line)
    assert set(reasons) == set(PICTURES) - drawn
    assert reasons["residual"] == "the dataset has no residual; solve it first: flatnorm solve"


def test_options_reach_the_picture(run, tmp_path, monkeypatch):
    from flatnorm_xr.show import plots

    seen = {}

    def spy(ds, variable="G", *, exposure=None, detector=None, ax=None, figsize=None, cmap=None):
        import matplotlib.pyplot as plt

        seen.update(variable=variable, exposure=exposure, detector=detector)
        plt.figure(figsize=(1, 1))

    monkeypatch.setattr(plots, "focal_plane", spy)
    sol = fx.open(run)
    write_picture(sol, "focal_plane", tmp_path / "x.png", variable="residual", exposure="103", detector=["2", "no"])
    assert seen == {"variable": "residual", "exposure": 103, "detector": [2, "no"]}
    assert type(seen["exposure"]) is int
    assert picture_options("focal_plane") == ["variable", "exposure", "detector", "cmap"]


def test_options_of_the_command(flatnorm, run, tmp_path):
    for number, words in enumerate(
        [
            ("focal_plane", "--variable", "residual", "--exposure", "103"),
            ("residual", "--limit", "0.5"),
            ("E", "--against", "lamp"),
            ("residual_vs_level", "--detector", "1, 3"),
        ]
    ):
        status, _, err = flatnorm("plot", words[0], run, "-o", tmp_path / f"{number}.png", *words[1:])
        assert (status, err) == (0, "")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nonesuch",), "there is no picture 'nonesuch'; choose one of background, residual"),
        (("trend",), "trend is drawn from an archive: flatnorm archive trend ARCHIVE -o "),
        (("G", "--limit", "3"), "G has no option limit"),
        (("residual", "--exposure", "3"), "residual has no option exposure; those of residual: limit"),
        (("residual", "--limit", "-1"), "limit is -1"),
        (("residual", "--limit", "much"), "Invalid value for '--limit'"),
        (("focal_plane", "--variable", "moon"), "moon"),
        (("focal_plane", "--variable", "residual", "--exposure", "moon"), "moon"),
        (("E", "--against", "moon"), "against is 'moon'"),
        (("residual_vs_level", "--detector", "1,99"), "99"),
        (("focal_plane", "--group", "g"), "group"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(flatnorm, run, tmp_path, words, says):
    status, out, err = flatnorm("plot", words[0], run, "-o", tmp_path / "x.png", *words[1:])
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert "internal" not in err
    assert not list(tmp_path.iterdir())


def test_all_is_refused_where_it_would_replace(flatnorm, run, tmp_path):
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "G.png").touch()
    status, _, err = flatnorm("plot", "all", run, "-o", tmp_path / "pictures")
    assert status == 2
    assert "already there" in err
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["G.png"]
    assert flatnorm("plot", "all", run, "-o", tmp_path / "pictures", "--overwrite", "--quiet") == (0, "", "")
    status, _, err = flatnorm("plot", "all", run, "-o", tmp_path / "pictures" / "G.png")
    assert status == 2
    assert "is a file, not a folder" in err


def test_what_is_drawn_leaves_no_figure_behind(run, tmp_path):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    write_picture(fx.open(run), "G", tmp_path / "G.png")
    with pytest.raises(FlatnormError):
        write_picture(fx.open(run).drop_vars("residual"), "residual", tmp_path / "residual.png")
    assert plt.get_fignums() == before
    assert [path.name for path in tmp_path.iterdir()] == ["G.png"]


def test_an_option_that_no_picture_has(run, tmp_path):
    with pytest.raises(FlatnormError, match="no picture has the option colour"):
        write_pictures(fx.open(run), tmp_path, colour=1)
    assert not list(tmp_path.iterdir())
    written, skipped = write_pictures(fx.open(run), tmp_path, limit=0.2)
    assert set(written) | set(skipped) == set(PICTURES)
    assert np.all([path.exists() for path in written.values()])


@pytest.mark.parametrize("name", ["residual", "all"])
@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("text", "is not a NetCDF file"),
        ("folder", "is a folder"),
        ("absent", "no such file"),
        ("other", "was not written by flatnorm-xr"),
        ("diagnosis", "solve it first: flatnorm solve|none of the pictures can be drawn"),
    ],
)
def test_what_is_no_solution_is_one_line_and_leaves_nothing(flatnorm, run, tmp_path, name, kind, says):
    given = tmp_path / "given.nc"
    if kind == "text":
        given.write_text("hello")
    elif kind == "folder":
        given.mkdir()
    elif kind == "other":
        xr.Dataset({"x": ("t", [1.0])}).to_netcdf(given)
    elif kind == "diagnosis":
        fx.save(fx.diagnose(fx.open(run), permutations=99), given)
    target = tmp_path / ("pictures" if name == "all" else "picture.png")
    status, _, err = flatnorm("plot", name, given, "-o", target)
    assert status == 2
    assert re.search(says, err)
    assert err.count("\n") == 1
    assert "internal" not in err
    assert not target.exists()


def test_a_picture_that_cannot_be_written_is_no_picture_that_cannot_be_drawn(flatnorm, run, tmp_path, monkeypatch):
    from matplotlib.figure import Figure

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    status, out, err = flatnorm("plot", "all", run, "-o", tmp_path / "pictures")
    assert (status, out) == (2, "")
    assert "No space left on device" in err
