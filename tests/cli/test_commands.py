"""The program: every command does its work, and gives what the functions give."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.cli import demo, export, inspect, measure, plot, run, solve
from flatnorm_xr.simulate import compare as comparison

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    folder = tmp_path_factory.mktemp("night")
    fx.simulate_night(folder, camera="decam", n_exposures=5, n_detectors=4, seed=1)
    return folder


@pytest.fixture
def levels(tmp_path):
    return fx.save(fx.simulate(n_detectors=5, n_exposures=6, seed=3), tmp_path / "levels.nc")


def same_but_history(a, b):
    a, b = a.copy(), b.copy()
    a.attrs.pop("history")
    b.attrs.pop("history")
    xr.testing.assert_identical(a, b)


@pytest.mark.parametrize("camera", ["decam", "lsstcam", "hsc"])
def test_demo_recovers_the_truth_and_says_so(flatnorm, tmp_path, camera):
    status, out, err = flatnorm("demo", "-o", tmp_path / "demo", "--camera", camera)
    assert status == 0
    assert "E and G are recovered within the errors" in out
    assert out.count("recovered\n") >= 2
    assert "no usable level" in err
    sol = fx.open(tmp_path / "demo" / "run.nc")
    assert float(abs(np.log(sol.E / sol.true_E)).max()) < 3e-3
    assert (tmp_path / "demo" / "residual.png").stat().st_size > 10_000
    assert "<h2" in (tmp_path / "demo" / "report.html").read_text(encoding="utf-8")


def test_demo_over_what_an_earlier_one_left(flatnorm, tmp_path):
    assert flatnorm("demo", "-o", tmp_path, "--camera", "hsc", "--exposures", 6)[0] == 0
    assert flatnorm("demo", "-o", tmp_path, "--camera", "decam", "--overwrite")[0] == 0
    assert flatnorm("demo", "-o", tmp_path, "--camera", "hsc", "--exposures", 4, "--overwrite")[0] == 0
    assert fx.open(tmp_path / "run.nc").sizes["exposure"] == 4


def test_demo_fails_with_status_one_when_the_truth_is_not_recovered(flatnorm, tmp_path, monkeypatch):
    true_comparison = comparison.compare

    def wrong(solution, truth):
        return true_comparison(
            solution.assign(E=solution.E * np.exp(1e-3 * (-1.0) ** np.arange(solution.E.size))), truth
        )

    monkeypatch.setattr(comparison, "compare", wrong)
    status, out, err = flatnorm("demo", "-o", tmp_path / "demo")
    assert status == 1
    assert "NOT RECOVERED" in out
    assert "not recovered within the errors" in err


def test_demo_as_json(flatnorm, tmp_path):
    status, out, _ = flatnorm("demo", "-o", tmp_path / "demo", "--json")
    assert status == 0
    assert [row["name"] for row in json.loads(out)] == ["E", "G"]


def test_run_gives_what_measure_and_solve_give(flatnorm, night, tmp_path):
    files = sorted(night.glob("*.fits"))
    status, out, _ = flatnorm("run", *files, "-o", tmp_path / "out", "--gauge", "geometric")
    assert status == 0
    assert "5 files taken for decam (Dark Energy Camera" in out
    assert "because INSTRUME" in " ".join(out.split())
    ds = fx.measure([str(f) for f in files])
    same_but_history(fx.open(tmp_path / "out" / "levels.nc"), ds)
    expected = fx.solve(ds, gauge="geometric", weights="variance", robust="tukey")
    found = fx.open(tmp_path / "out" / "run.nc")
    assert found.attrs["history"].count("\n") == 1
    same_but_history(found, expected)
    assert (tmp_path / "out" / "residual.png").read_bytes().startswith(b"\x89PNG")


def test_measure_then_solve_then_plot_then_export(flatnorm, night, tmp_path):
    stats, solution = tmp_path / "stats.nc", tmp_path / "run.nc"
    assert flatnorm("measure", night / "*.fits", "-o", stats, "--statistic", "median", "--border", 2)[0] == 0
    same_but_history(fx.open(stats), fx.measure(str(night / "*.fits"), statistic="median", border=2))
    keywords = ["--weights", "variance", "--uncertainty", "analytic", "--floor", "1e-4", "--level", "detector"]
    assert flatnorm("solve", stats, "-o", solution, *keywords)[0] == 0
    expected = fx.solve(fx.open(stats), weights="variance", uncertainty="analytic", floor=1e-4, level="detector")
    same_but_history(fx.open(solution), expected)
    for name in ("background", "residual", "E", "G"):
        status, out, _ = flatnorm("plot", name, solution, "-o", tmp_path / f"{name}.svg")
        assert status == 0, out
        assert (tmp_path / f"{name}.svg").read_text().startswith("<?xml")
    assert flatnorm("export", solution, "--to", "ecsv")[0] == 0
    again = fx.read_table(tmp_path / "run.ecsv")
    np.testing.assert_array_equal(again.background, fx.open(solution).background)


def test_solve_reads_tables_and_names_integer_detectors_in_the_gauge(flatnorm, levels, tmp_path):
    assert flatnorm("export", levels, "-o", tmp_path / "levels.csv")[0] == 0
    status, _, err = flatnorm("solve", tmp_path / "levels.csv", "-o", tmp_path / "run.nc", "--gauge", "2,4")
    assert status == 0, err
    sol = fx.open(tmp_path / "run.nc")
    assert float(sol.G.sel(detector=[2, 4]).mean()) == pytest.approx(1.0)


def test_solve_by_group(flatnorm, levels, tmp_path):
    ds = fx.open(levels).assign_coords(lamp=("exposure", list("ababab")))
    fx.save(ds, levels, overwrite=True)
    assert flatnorm("solve", levels, "-o", tmp_path / "run.nc", "--by", "lamp")[0] == 0
    same_but_history(fx.open(tmp_path / "run.nc"), fx.solve(ds, by="lamp"))


def test_inspect_tells_what_files_are(flatnorm, night):
    status, out, _ = flatnorm("inspect", night / "*.fits")
    assert status == 0
    assert out.count("decam") >= 5
    status, out, _ = flatnorm("inspect", night / "*.fits", "--json")
    records = json.loads(out)
    assert {record["camera"] for record in records} == {"decam"}
    assert records[0]["detectors"][0]["amplifiers"][0]["data"].startswith("[")


def test_summaries_as_json(flatnorm, night, levels, tmp_path):
    for arguments in (
        ("measure", night / "*.fits", "-o", tmp_path / "a.nc"),
        ("solve", levels, "-o", tmp_path / "b.nc"),
        ("run", night / "*.fits", "-o", tmp_path / "c"),
    ):
        status, out, _ = flatnorm(*arguments, "--json")
        assert status == 0
        assert json.loads(out)["cells"]["measured"] > 0


def test_summary_does_not_take_padding_for_holes():
    ds = fx.simulate(n_detectors=4, n_amplifiers=3, n_exposures=5)
    exists = np.ones((4, 3), dtype=bool)
    exists[1, 2] = False
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    found = fx.solve(ds.assign(background=ds.background.where(ds.exists))).flatnorm.summary()
    assert found["cells"] == {"measured": 55, "of": 55}
    assert "without a usable level" not in found


def test_quiet_says_nothing_on_standard_output(flatnorm, levels, tmp_path):
    assert flatnorm("solve", levels, "-o", tmp_path / "run.nc", "--quiet") == (0, "", "")


def test_version_and_help(flatnorm):
    assert flatnorm("--version") == (0, f"flatnorm {fx.__version__}\n", "")
    status, out, _ = flatnorm("--help")
    assert status == 0
    for command in ("demo", "run", "inspect", "measure", "solve", "plot", "export"):
        assert command in out
    assert flatnorm() == (status, out, "")


@pytest.mark.parametrize("command", [demo, export, inspect, measure, plot, run, solve])
def test_help_of_each_command_has_an_example(flatnorm, command):
    name = command.__name__.rpartition(".")[2]
    status, out, _ = flatnorm(name, "--help")
    assert status == 0
    assert command.EXAMPLE.split()[1] == "flatnorm"
    assert f"flatnorm {name}" in " ".join(out.split())


def test_warnings_are_one_line_each(flatnorm, levels, tmp_path):
    ds = fx.open(levels)
    ds.background[0, 0] = -1.0
    fx.save(ds, levels, overwrite=True)
    _, _, err = flatnorm("solve", levels, "-o", tmp_path / "run.nc")
    assert err.startswith("flatnorm: warning: solve: 1 of 30 cells carry no weight (NON_POSITIVE 1")
    assert err.count("\n") == 1
