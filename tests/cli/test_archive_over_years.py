"""flatnorm archive trend, recommend, diff: what they find of what was planted, for people and machines, into files."""

from __future__ import annotations

import json
import re
import warnings

import pytest

import flatnorm_xr as fx
from flatnorm_xr.cli.archive.followed import show_trend

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


def test_trend_finds_what_was_planted_and_says_so(done, years, runs, rows):
    out = done("trend", years / "calib", "--against", "temperature", "--quiet")
    assert out.startswith("simulated, r: 8 amplifiers, 12 runs from 2025-03-14 to 2028-03-14\n")
    (change,) = rows(out)
    assert (change["amplifier"], change["first run after"]) == ("4/C01", runs[6][:12])
    size, error = map(float, change["size [mmag]"].split(" ± "))
    assert abs(size - 0.012 * 1085.7) < 3 * error
    drifts = rows(out[out.index("significant drifts") :])
    assert {row["amplifier"] for row in drifts} == {"2/C00", "2/C01"}
    for row in drifts:
        size, error = map(float, row["drift [mmag a year]"].split(" ± "))
        assert abs(size - 0.004 * 1085.7) < 4 * error
    responses = rows(out[out.index("significant responses to temperature") :])
    assert {row["amplifier"] for row in responses} == {"3/C00", "3/C01"}
    assert "temperature [mmag per degC]" in responses[0]


def test_trend_for_machines(done, years, runs):
    found = json.loads(done("trend", years / "calib", "--json", "--against", "temperature"))
    assert found["runs"] == runs
    assert found["against"] == ["temperature"]
    assert found["changes"][0]["detector"] == 4
    assert found["changes"][0]["size"] == pytest.approx(0.012, abs=0.003)
    (unit,) = [one for one in found["units"] if (one["detector"], one["amplifier"]) == (2, "C00")]
    trend = fx.Archive(years / "calib").trend(against="temperature")
    assert unit["drift"] == pytest.approx(float(trend.drift.sel(detector=2, amplifier="C00")))
    assert {"drift_p_holm", "response_temperature", "scatter"} <= set(unit)


def test_trend_of_some_units_shows_them_all(done, refused, years, rows):
    calib = years / "calib"
    out = done("trend", calib, "--detector", "1,2", "--amplifier", "C00")
    assert "no significant changes" in out
    drifts = rows(out)
    assert [row["amplifier"] for row in drifts] == ["2/C00", "1/C00"]
    refused("--detector names 9, which no run has; have 1, 2, 3, 4", "trend", calib, "--detector", "9,2")
    refused("--amplifier names nothing", "trend", calib, "--amplifier", ",")
    refused("--gauge names 1b", "trend", calib, "--gauge", "1b")
    named = done("trend", calib, "--gauge", "1,3")
    assert "mean of G over detectors 1, 3" in named


def test_trend_of_detector_scales_says_so(done, years):
    out = done("trend", years / "calib", "--name", "detector_scale")
    assert out.startswith("simulated, r: detector_scale of 4 detectors, 12 runs from")


def test_trend_of_whole_detectors_has_no_amplifiers(done, refused, night, tmp_path):
    done("add", tmp_path / "calib", night)
    out = done("trend", tmp_path / "calib", "--json")
    assert [unit["detector"] for unit in json.loads(out)["units"]] == [1, 2, 3]
    refused("--amplifier: these runs are of whole detectors", "trend", tmp_path / "calib", "--amplifier", "C00")
    refused("needs runs of amplifiers", "trend", tmp_path / "calib", "--name", "detector_scale")


def test_trend_of_few_runs_knows_no_drift(done, years):
    out = done("trend", years / "calib", "--until", "2025-09-01")
    assert "too few runs to tell whether any amplifier changed" in out
    assert "no significant" not in out
    assert "drift not known: there are too few runs" in out


def test_trend_names_units_that_died(years, capsys):
    trend = fx.Archive(years / "calib").trend()
    assert "not in all runs" not in shown(trend, capsys)
    trend.G[9:, 2, 1] = float("nan")
    assert f"not in all runs  3/C01 last measured {str(trend.time.values[8])[:10]}" in shown(trend, capsys)


def shown(trend, capsys):
    show_trend(trend, chosen=False, as_json=False)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("ending", "start"), [(".nc", b"\x89HDF"), (".png", b"\x89PNG"), (".svg", b"<?xml"), (".html", b"<!")]
)
def test_trend_into_a_file(done, refused, years, tmp_path, ending, start):
    target = tmp_path / f"trend{ending}"
    out = done("trend", years / "calib", "-o", target)
    assert out.endswith(f"trend written to {target}\n")
    assert target.read_bytes()[:4].lower().startswith(start.lower()[:4])
    if ending == ".nc":
        assert fx.open(target).identical(fx.Archive(years / "calib").trend())
        with pytest.raises(fx.SchemaError, match="has no E"):
            fx.Archive(tmp_path / "other").add(target)
    refused("already there", "trend", years / "calib", "-o", target)


def test_bad_use_of_trend(refused, years, tmp_path):
    calib = years / "calib"
    refused("ends in none of .nc", "trend", calib, "-o", tmp_path / "trend.gif")
    refused(
        "no run has exposures from 2040-01-01 on; flatnorm archive list shows", "trend", calib, "--since", "2040-01-01"
    )
    refused("against names moon", "trend", calib, "--against", "moon")
    refused("nothing is archived for 'other'; there is simulated r", "trend", calib, "--camera", "other")
    refused("alpha is 2", "trend", calib, "--alpha", "2")
    refused("Invalid value for '--name'", "trend", calib, "--name", "E")
    assert not list(tmp_path.iterdir())


def test_recommend(done, refused, years):
    calib = years / "calib"
    verdict = json.loads(done("recommend", calib, "--date", "2026-12-23", "--against", "temperature", "--json"))
    # detector 2 drifts by 0.4 % a year, and that long after the first run it is beyond 2 mmag
    assert verdict["verdict"] == "renew"
    assert {"2/C00", "2/C01"} <= set(verdict["changed"])
    out = done("recommend", calib, "--date", "2026-11-22", "--tolerance", "1000")
    assert out.startswith("keep: ")
    assert max(map(len, out.splitlines())) <= 120
    refused("no run holds", "recommend", calib, "--date", "2020-01-01")
    refused("tolerance", "recommend", calib, "--date", "2026-11-22", "--tolerance", "-1")


def test_diff(done, refused, years, runs, tmp_path, rows):
    calib = years / "calib"
    out = done("diff", calib, runs[11], runs[0][:5], "--rows", "2", "-o", tmp_path / "diff.nc")
    assert out.startswith(f"{runs[11][:12]} over {runs[0][:12]}: ")
    assert "\n  a is of  r, 2028-03-14\n  b is of  r, 2025-03-14\n" in out
    assert "different filters" not in out
    table = rows(out)
    assert len(table) == 2
    assert {row["amplifier"] for row in table} <= {"4/C01", "2/C00", "2/C01"}
    assert all(float(row["G [mmag]"].split()[0]) > 8 for row in table)
    assert fx.open(tmp_path / "diff.nc").G_ratio.sizes == {"detector": 4, "amplifier": 2}
    done("diff", calib, runs[11], runs[0], "-o", tmp_path / "diff.png", "--quiet")
    assert (tmp_path / "diff.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(done("diff", calib, runs[11], runs[0], "--json", "--gauge", "1,3"))
    assert (found["run_a"], found["run_b"]) == (runs[11], runs[0])
    assert (found["filter_b"], found["date_b"]) == ("r", "2025-03-14")
    assert len(found["units"]) == 8
    refused("ends in none of", "diff", calib, runs[1], runs[0], "-o", tmp_path / "diff.html")
    refused("--gauge names 77", "diff", calib, runs[1], runs[0], "--gauge", "77")


def test_runs_of_two_filters_are_told_apart_by_filter_or_group(done, refused, tmp_path):
    calib = tmp_path / "calib"
    names = ["g DECam SDSS c0001 4720.0 1520.0", "r DECam SDSS c0002 6415.0 1480.0"]
    for seed in (1, 2):
        levels = fx.simulate(n_detectors=4, n_exposures=12, seed=seed)
        levels = levels.assign_coords(physical_filter=("exposure", [name for name in names for _ in range(6)]))
        solution = fx.solve(levels, by="physical_filter", weights="variance", uncertainty="analytic")
        done("add", calib, fx.save(solution.assign_attrs(camera="decam"), tmp_path / f"{seed}.nc"))
    one, other = fx.Archive(calib).list().index
    words = (one, "--begin", "2025-01-01", "--approver", "X")
    refused(f"several filters; pass --filter with one of {names[0]}, {names[1]}", "certify", calib, *words)
    done("certify", calib, *words, "--filter", names[1])
    assert one in done("find", calib, "-d", "2026-01-01", "--path")
    assert [run["certified"] for run in json.loads(done("list", calib, "--json"))] == [names[1], ""]
    refused("several are archived; pass --filter with one of g DECam", "trend", calib)
    assert done("trend", calib, "--filter", names[0]).startswith(f"decam, {names[0]}: 4 detectors, 2 runs")
    refused("solved in groups.*pass --group with one of g DECam", "diff", calib, one, other)
    found = done("diff", calib, one, other, "--group", names[0])
    assert f"{one[:12]} over {other[:12]}" in found
    assert f"a is of  {names[0]}" in found


def test_diff_in_the_gauge_of_one_unit_holds_it_without_a_warning(done, tmp_path, rows):
    for seed in (1, 2):
        solution = fx.solve(fx.simulate(n_detectors=4, n_exposures=12, seed=seed), weights="variance")
        done("add", tmp_path / "calib", fx.save(solution.assign_attrs(camera="sim"), tmp_path / f"{seed}.nc"))
    one, other = fx.Archive(tmp_path / "calib").list().index
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = done("diff", tmp_path / "calib", one, other, "--gauge", "3")
    assert "mean of G over detectors 3 is the same (1 unit)" in out
    assert [row["detector"] for row in rows(out) if row["G [mmag]"] == "held by the gauge"] == ["3"]


def test_diff_of_two_filters_says_so(done, tmp_path):
    for name in ("g", "r"):
        levels = fx.simulate(n_detectors=4, n_exposures=12, seed=1)
        levels = levels.assign_coords(physical_filter=("exposure", [name] * 12))
        done("add", tmp_path / "calib", fx.save(fx.solve(levels).assign_attrs(camera="sim"), tmp_path / f"{name}.nc"))
    one, other = fx.Archive(tmp_path / "calib").list().index
    out = done("diff", tmp_path / "calib", one, other)
    assert re.search(r"^of different filters, [gr] over [gr]: ", out, re.MULTILINE)
