"""flatnorm archive: every command, used well and badly; what it says, prints for machines, and leaves behind."""

from __future__ import annotations

import inspect
import json
import re
import shutil
import subprocess
from dataclasses import fields

import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.acceptance import Thresholds
from flatnorm_xr.cli import console
from flatnorm_xr.cli.archive import certify
from flatnorm_xr.cli.archive.program import PANELS

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")

ESCAPE = "\x1b[31mred\x1b[0m\n\u202elines"


# all commands -----------------------------------------------------------------------------------------------------


READING = {
    "list": (),
    "show": ("abcd",),
    "export": ("abcd", "-o", "x.nc"),
    "remove": ("abcd", "--why", "x"),
    "certify": ("abcd", "--begin", "2026-01-01", "--approver", "x"),
    "find": (),
    "certificates": (),
    "revoke": ("1", "--approver", "x", "--why", "y"),
    "trend": (),
    "recommend": (),
    "diff": ("abcd", "abce"),
    "verify": (),
    "reindex": (),
}


def test_every_command_but_add_is_known_to_need_an_archive():
    names = {command.__name__.rpartition(".")[2] for commands in PANELS.values() for command in commands}
    assert names == {*READING, "add"}


@pytest.mark.parametrize("name", READING)
def test_only_add_makes_an_archive(refused, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    refused("no archive at calib; flatnorm archive add makes one", name, "calib", *READING[name])
    (tmp_path / "empty").mkdir()
    refused("no archive at empty", name, "empty", *READING[name])
    assert [path.name for path in tmp_path.rglob("*")] == ["empty"]


def test_without_a_command_it_shows_those_that_there_are(done):
    out = done()
    assert all(f"─ {panel} ─" in out for panel in PANELS)


@pytest.mark.parametrize("name", ["show", "export", "remove", "certify", "diff"])
@pytest.mark.parametrize(
    ("run", "says"), [("0000000", "begins no run"), ("abc", "is no run"), ("../../x", "is no run"), ("G", "is no run")]
)
def test_a_run_that_is_not_there(refused, years, tmp_path, name, run, says):
    rest = [str(tmp_path / "x.nc") if word == "x.nc" else word for word in READING[name][1:]]
    refused(says, name, years / "calib", run, *rest)
    assert not (tmp_path / "x.nc").exists()


# add --------------------------------------------------------------------------------------------------------------


def test_add_makes_the_archive_and_keeps_each_run_once(done, night, tmp_path, monkeypatch, rows):
    monkeypatch.chdir(tmp_path)
    shutil.copy(night, tmp_path / "copy.nc")
    out = done("add", "calib", "night.nc", "*.nc")
    assert out.startswith("archive made: calib\n")
    first, second = rows(out)
    assert (first[""], first["file"]) == ("new", "night.nc")
    assert (second[""], second["file"]) == ("there already", "copy.nc")
    (run,) = fx.Archive("calib").list().index
    assert first["run"] == second["run"] == run[:12]
    assert done("add", "calib", "night.nc", "--quiet") == ""
    assert json.loads(done("add", "calib", "night.nc", "--json")) == [{"file": "night.nc", "run": run, "new": False}]


def test_add_goes_on_past_a_file_that_cannot_be_added(flatnorm, night, tmp_path, rows):
    (tmp_path / "text.nc").write_text("hello")
    fx.save(fx.simulate(), tmp_path / "levels.nc")
    bad = [tmp_path / "absent.nc", tmp_path / "text.nc", tmp_path / "levels.nc", tmp_path]
    status, out, err = flatnorm("archive", "add", tmp_path / "calib", *bad[:2], night, *bad[2:])
    assert status == 2
    assert [row[""] for row in rows(out)] == ["not added", "not added", "new", "not added", "not added"]
    lines = err.splitlines()
    assert len(lines) == 5
    for path, line in zip(bad, lines, strict=False):
        assert line.startswith("flatnorm: error: add: ")
        assert str(path) in line
    assert "solve it first" in lines[2]
    assert lines[3].endswith(f"is a folder: name its files, for example {tmp_path / '*.nc'}")
    assert lines[-1].startswith("flatnorm: error: 4 of 5 files not added: ")
    assert len(fx.Archive(tmp_path / "calib")) == 1
    status, out, _ = flatnorm("archive", "add", tmp_path / "calib", bad[0], night, "--json")
    failed, kept = json.loads(out)
    assert status == 2
    assert failed["file"] == str(bad[0])
    assert "no such file" in failed["error"]
    assert kept["new"] is False


def test_add_goes_on_past_what_nobody_foresaw(flatnorm, night, tmp_path, monkeypatch, rows):
    add = fx.Archive.add

    def broken(self, run, **keywords):
        if "odd" in str(run):
            raise RuntimeError("first\nsecond")  # noqa: EM101
        return add(self, run, **keywords)

    monkeypatch.setattr(fx.Archive, "add", broken)
    shutil.copy(night, tmp_path / "odd.nc")
    status, out, err = flatnorm("archive", "add", tmp_path / "calib", tmp_path / "odd.nc", night)
    assert status == 2
    assert [row[""] for row in rows(out)] == ["not added", "new"]
    assert "odd.nc: internal error, please report it: RuntimeError: first second" in err.splitlines()[0]
    with pytest.raises(RuntimeError, match="first"):
        flatnorm("archive", "add", tmp_path / "calib", tmp_path / "odd.nc", "--debug")


def test_add_makes_nothing_for_nothing(refused, night, tmp_path):
    refused("absent.nc: no such file", "add", tmp_path / "calib", tmp_path / "absent.nc")
    refused("no file matches", "add", tmp_path / "calib", tmp_path / "*.fits")
    refused("Missing argument", "add", tmp_path / "calib")
    assert not (tmp_path / "calib").exists()
    refused("folder .*none does not exist", "add", tmp_path / "none" / "calib", night)
    refused("is a file; give the name of a folder", "add", night, night)
    refused("holds night.nc, so it is no archive", "add", tmp_path, night)


def test_add_tells_the_camera_where_the_run_does_not(done, flatnorm, solution, tmp_path):
    path = fx.save(solution.drop_attrs(deep=False).drop_vars("physical_filter"), tmp_path / "night.nc")
    status, _, err = flatnorm("archive", "add", tmp_path / "calib", path)
    assert status == 2
    assert re.search(r"night\.nc: the run does not tell its camera.*pass --camera\n$", err)
    done("add", tmp_path / "calib", path, "--camera", "mycam", "--filter", "z")
    assert list(fx.Archive(tmp_path / "calib").list()[["camera", "filter"]].iloc[0]) == ["mycam", "z"]
    other = fx.save(solution, tmp_path / "other.nc")
    status, _, err = flatnorm("archive", "add", tmp_path / "calib", other, "--camera", "mycam")
    assert status == 2
    assert "the run says 'testcam'; leave camera out" in err


# list and show ----------------------------------------------------------------------------------------------------


def test_list_has_one_line_a_run_in_order_of_time(done, years, runs, rows):
    table = rows(done("list", years / "calib"))
    assert [row["run"] for row in table] == [run[:12] for run in runs]
    assert [row["from"] for row in table] == sorted(row["from"] for row in table)
    assert [row["certified"] for row in table] == ["yes", *[""] * 11]
    assert {(row["camera"], row["filter"], row["exposures"], row["units"], row["lost"]) for row in table} == {
        ("simulated", "r", "5", "8", "0")
    }
    listed = json.loads(done("list", years / "calib", "--json", "--quiet"))
    assert [row["run"] for row in listed] == runs
    assert all(row["begin"][:10] == line["from"] for row, line in zip(listed, table, strict=True))


def test_list_of_some(done, refused, years, runs, rows):
    table = rows(done("list", years / "calib", "--since", "2026-01-01", "--until", "2027-01-01"))
    assert 0 < len(table) < len(runs)
    assert all(row["from"].startswith("2026") for row in table)
    assert done("list", years / "calib", "--camera", "other") == f"no runs in {years / 'calib'} that are asked for\n"
    assert json.loads(done("list", years / "calib", "--filter", "other", "--json")) == []
    refused("since is 'soon'|since is soon; give a date", "list", years / "calib", "--since", "soon")


def test_show_tells_all_of_a_run(done, calib, runs):
    out = done("show", calib, runs[0][:8])
    assert f"run           {runs[0]}\n" in out
    assert "converged     yes" in out
    assert "r from 2026-06-01 until 2026-12-24, by M. Curie" in out
    facts = json.loads(done("show", calib, runs[0], "--json"))
    assert facts["certificates"][0]["approver"] == "M. Curie"
    assert xr.open_dataset(facts["path"]).sizes["exposure"] == 5
    done("revoke", calib, 1, "--approver", "P. Curie", "--why", "too old")
    assert "REVOKED: too old" in done("show", calib, runs[0])
    done("remove", calib, runs[0], "--why", "lamp off", "--who", "me")
    done("add", calib, calib / "trash" / f"{runs[0]}.nc")
    assert "removed by me on " in done("show", calib, runs[0])


# certificates -----------------------------------------------------------------------------------------------------


def test_find_gives_the_path_alone_for_a_shell(done, years, runs):
    out = done("find", years / "calib", "-d", "2026-11-22", "--path", "--quiet")
    assert out.count("\n") == 1
    assert fx.open(out.strip()).attrs["camera"] == "simulated"
    assert runs[0] in out
    text = done("find", years / "calib", "--camera", "simulated", "--date", "2026-11-22")
    assert re.search(rf"run +{runs[0][:12]}\n", text)
    assert "from 2026-06-01 until 2026-12-24" in text
    assert "M. Curie (certificate 1, " in text
    found = json.loads(done("find", years / "calib", "--filter", "r", "-d", "2026-11-22", "--json"))
    assert (found["run"], found["number"], found["begin"][:10]) == (runs[0], 1, "2026-06-01")
    assert found["path"] == out.strip()


def test_find_where_nothing_holds_names_the_neighbours(refused, years, runs):
    calib = years / "calib"
    refused(f"no run holds for simulated r at 2026-12-24: {runs[0][:12]} held until", "find", calib, "-d", "2026-12-24")
    refused(f"{runs[0][:12]} holds from 2026-06-01", "find", calib, "-d", "2020-01-01", "--path")
    refused("nothing is certified for 'z'; there is simulated r", "find", calib, "--filter", "z")
    refused("date is soon; give a date such as", "find", calib, "-d", "soon")


def test_certify_and_find(done, calib, runs, rows):
    words = ("--begin", "2026-12-24", "--approver", "M. Curie", "--comment", "new lamp")
    out = done("certify", calib, runs[5][:9], *words)
    assert out == f"certificate 2: {runs[5][:12]} holds for simulated r from 2026-12-24 on\n"
    assert fx.Archive(calib).find(date="2030-01-01").run == runs[5]
    assert "comment    new lamp" in done("find", calib, "-d", "2030-01-01")
    first, second = rows(done("certificates", calib))
    assert [first[name] for name in ("no.", "from", "until", "run")] == ["1", "2026-06-01", "2026-12-24", runs[0][:12]]
    assert (second["until"], second["remarks"]) == ("", "new lamp")
    words = ("--begin", "2027-06-01", "--end", "2027-07-01", "--approver", "X")
    told = json.loads(done("certify", calib, runs[6], *words, "--supersede", "--json"))
    assert (told["run"], told["supersede"], told["number"]) == (runs[6], True, 3)
    assert [row["no."] for row in rows(done("certificates", calib))] == ["1", "2", "3", "2"]
    assert [row["no."] for row in rows(done("certificates", calib, "--history"))] == ["1", "2", "3"]


def test_certificates_as_json_and_where_there_are_none(done, years, night, tmp_path):
    (one,) = json.loads(done("certificates", years / "calib", "--json"))
    assert (one["number"], one["approver"], one["end"][:10], one["revoked"]) == (1, "M. Curie", "2026-12-24", "")
    assert (
        done("certificates", years / "calib", "--filter", "z") == f"nothing is certified in {years / 'calib'} for z\n"
    )
    done("add", tmp_path / "calib", night)
    assert done("certificates", tmp_path / "calib") == f"nothing is certified in {tmp_path / 'calib'}\n"


def test_certify_refuses_a_run_that_fails_with_status_1(flatnorm, calib, runs):
    words = ("certify", calib, runs[5], "--begin", "2027-01-01", "--approver", "X", "--rms-residual", "1e-7")
    status, out, err = flatnorm("archive", *words, "--g-stderr", "1e-9")
    assert (status, out) == (1, "")
    lines = err.splitlines()
    assert lines[0] == f"flatnorm: certify: refused, for {runs[5][:12]} fails 2 of its checks:"
    assert lines[1].startswith("  rms residual 0.000")
    assert lines[1].endswith("is above 1e-07")
    assert lines[2].startswith("  median relative error of G ")
    assert lines[3] == "certify another, or pass --waive WHY --waived-by NAME"
    status, out, _ = flatnorm("archive", *words, "--json")
    assert status == 1
    assert len(json.loads(out)["failures"]) == 1
    assert len(fx.Archive(calib).certificates(history=True)) == 1


def test_a_waiver_is_signed_and_kept(done, refused, calib, runs, rows):
    words = ("certify", calib, runs[5], "--begin", "2027-01-01", "--approver", "X", "--rms-residual", "1e-7")
    refused("a waiver says why and by whom; pass --waive WHY --waived-by NAME", *words, "--waive", "why not")
    refused("a waiver says why and by whom", *words, "--waived-by", "me")
    refused("why of the waiver is ' '|must say something", *words, "--waived-by", "me", "--waive", " ")
    out = done(*words, "--waived-by", "P. Curie", "--waive", "no other night", "--waived-on", "2026-12-31")
    assert "waived by P. Curie: rms residual 0.000" in out
    (row,) = [row for row in rows(done("certificates", calib)) if row["no."] == "2"]
    assert row["remarks"] == "waived: no other night (P. Curie, 2026-12-31)"
    found = done("find", calib, "-d", "2027-02-02")
    assert re.search(r"although +rms residual", found)
    assert re.search(r"waived +by P. Curie on 2026-12-31: no other night", found)


def test_limits_of_the_checks(done, refused, calib, runs, monkeypatch):
    from flatnorm_xr.archive import acceptance

    parameters = inspect.signature(certify.command).parameters
    assert {f.name: f"{getattr(Thresholds(), f.name):g}" for f in fields(Thresholds)} == {
        f.name: f"{float(parameters[f.name].default):g}" for f in fields(Thresholds)
    }
    words = ("certify", calib, runs[5], "--begin", "2027-01-01", "--approver", "X")
    refused("--lost-units is 'few'; it must be a number, or none", *words, "--lost-units", "few")
    refused("threshold rms_residual is -1", *words, "--rms-residual", "-1")

    def never(*_, **__):
        raise AssertionError

    monkeypatch.setattr("flatnorm_xr.decompose.structure.diagnose", never)
    assert acceptance.Thresholds(alpha=None).alpha is None
    done(*words, "--alpha", "none", "--rms-residual", "None")


def test_bad_use_of_certify_is_status_2(refused, calib, runs):
    refused("Missing option '--approver'", "certify", calib, runs[0], "--begin", "2026-01-01")
    refused("Missing option '--begin'", "certify", calib, runs[0], "--approver", "X")
    words = ("certify", calib, runs[5], "--approver", "X", "--begin")
    unsigned = ("certify", calib, runs[5], "--approver", "  ", "--begin", "2027-01-01")
    refused("approver is ' +'; it must say something", *unsigned)
    refused("begin is soon; give a date", *words, "soon")
    refused("is not after begin", *words, "2027-01-01", "--end", "2027-01-01")
    refused("no filter 'z'; pass --filter with one of r", *words, "2027-01-01", "--filter", "z")
    refused(f"{runs[0][:12]}.*give another interval, or pass --supersede$", *words, "2026-12-01")


def test_revoke(done, refused, calib, runs, rows):
    words = ("--approver", "P. Curie", "--why", "lamp leaned")
    refused("Missing option '--approver'", "revoke", calib, 1, "--why", "x")
    refused("7 is no certificate; flatnorm archive certificates lists them", "revoke", calib, 7, *words)
    out = done("revoke", calib, 1, *words)
    assert out == f"revoked: certificate 1 of {runs[0][:12]} for simulated r, from 2026-06-01 until 2026-12-24\n"
    refused("revoked before", "revoke", calib, 1, *words)
    (row,) = rows(done("certificates", calib, "--history"))
    assert row["remarks"] == "REVOKED: lamp leaned"
    refused("Invalid value for 'NUMBER'", "revoke", calib, "one", *words)


# care -------------------------------------------------------------------------------------------------------------


def test_remove_goes_to_the_trash_and_comes_back(done, refused, calib, runs, monkeypatch):
    refused("Missing option '--why'", "remove", calib, runs[3])
    refused("holds by certificate 1 .*in its place with --supersede$", "remove", calib, runs[0], "--why", "x")
    monkeypatch.setattr("getpass.getuser", lambda: "observer")
    out = done("remove", calib, runs[3][:7], "--why", "lamp was off")
    trashed = calib / "trash" / f"{runs[3]}.nc"
    assert out == f"moved to {trashed}; adding that file brings it back\n"
    assert runs[3] not in fx.Archive(calib).list().index
    done("add", calib, trashed)
    (removed,) = fx.Archive(calib).show(runs[3])["decisions"]
    assert (removed["who"], removed["why"]) == ("observer", "lamp was off")

    def nobody():
        raise OSError("No username set in the environment")  # noqa: EM101

    monkeypatch.setattr("getpass.getuser", nobody)
    refused("it is not known who you are; pass --who NAME", "remove", calib, runs[4], "--why", "x")
    done("remove", calib, runs[4], "--why", "x", "--who", "me")


def flip(path):
    path.chmod(0o644)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_verify(done, flatnorm, calib, runs):
    assert done("verify", calib) == f"all is well: 12 runs in {calib}\n"
    damaged = calib / "runs" / runs[2][:2] / f"{runs[2]}.nc"
    flip(damaged)
    status, out, err = flatnorm("archive", "verify", calib, "--no-quarantine", "--quiet")
    assert (status, err) == (1, f"flatnorm: 1 thing is wrong in {calib}\n")
    assert out.startswith(f"  {damaged}: is damaged")
    assert damaged.exists()
    status, out, _ = flatnorm("archive", "verify", calib, "--json")
    (problem,) = json.loads(out)
    assert status == 1
    assert problem["path"] == str(damaged)
    assert problem["done"].startswith("moved to ")
    assert not damaged.exists()
    assert done("verify", calib, "--quiet") == ""


def test_verify_misses_a_certified_run(flatnorm, calib, runs):
    (calib / "runs" / runs[0][:2] / f"{runs[0]}.nc").unlink()
    status, out, _ = flatnorm("archive", "verify", calib)
    assert status == 1
    assert "is missing, but certified from 2026-06-01 until 2026-12-24 by M. Curie" in out


@pytest.mark.parametrize("harm", ["deleted", "damaged"])
def test_reindex(done, calib, runs, harm):
    before = done("list", calib)
    for path in calib.glob("catalogue.sqlite*"):
        path.unlink() if harm == "deleted" else path.write_bytes(b"no database " * 100)
    assert done("reindex", calib) == f"catalogue of {calib} made again: 12 runs\n"
    assert done("list", calib) == before


# export -----------------------------------------------------------------------------------------------------------


def test_export_gives_the_very_file_or_a_table(done, refused, years, runs, tmp_path):
    calib = years / "calib"
    target = tmp_path / "run.nc"
    words = ("export", calib, runs[1], "-o")
    assert done("export", calib, runs[1][:6], "-o", target) == f"run {runs[1][:6]} written to {target}\n"
    assert target.read_bytes() == (calib / "runs" / runs[1][:2] / f"{runs[1]}.nc").read_bytes()
    refused("already there: .*pass --overwrite", "export", calib, runs[2], "-o", target)
    done("export", calib, runs[2], "-o", target, "--overwrite", "--quiet")
    assert fx.open(target).time.values[0] > fx.Archive(calib).open(runs[1]).time.values[-1]
    done("export", calib, runs[1], "-o", tmp_path / "run.csv")
    assert fx.read_table(tmp_path / "run.csv", units="adu").sizes["amplifier"] == 2
    done("export", calib, runs[1], "-o", tmp_path / "scales.yaml", "--to", "lsst")
    refused("ends in .csv and to is 'lsst'; leave --to out", *words, tmp_path / "other.csv", "--to", "lsst")
    refused("run.gif", "export", calib, runs[1], "-o", tmp_path / "run.gif")
    refused("Missing option", "export", calib, runs[1])


# what reaches the terminal ----------------------------------------------------------------------------------------


def test_what_stands_in_files_reaches_no_terminal_as_it_is(flatnorm, solution, tmp_path):
    lying = solution.assign_attrs(camera=ESCAPE).assign_coords(physical_filter=("exposure", [ESCAPE] * 6))
    path = fx.save(lying, tmp_path / "lying.nc")
    calib = tmp_path / "calib"
    out, err = "", ""

    def seen(*words):
        nonlocal out, err
        status, printed, said = flatnorm("archive", *words)
        out, err = out + printed, err + said
        return status

    assert seen("add", calib, path) == 0
    (run,) = fx.Archive(calib).list().index
    words = ("--begin", "2026-01-01", "--approver", ESCAPE, "--comment", ESCAPE)
    assert seen("certify", calib, run, *words, "--waive", ESCAPE, "--waived-by", ESCAPE, "--rms-residual", "0") == 0
    for name in ("list", "show", "find", "certificates", "trend", "verify"):
        assert seen(name, calib, *([run] if name == "show" else [])) == 0
    assert seen("find", calib, "-d", "2020-01-01") == 2
    assert seen("trend", calib, "--camera", "other") == 2
    assert seen("add", calib, path, "--camera", "other") == 2
    assert seen("revoke", calib, "1", "--approver", ESCAPE, "--why", ESCAPE) == 0
    assert seen("certificates", calib, "--history") == 0
    text = out + err
    assert r"\x1b[31mred" in text
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("name", ["list", "certificates", "trend", "show", "find"])
def test_what_is_shown_fits_the_terminal(years, runs, flatnorm, monkeypatch, name):
    monkeypatch.setattr(console, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    rest = {"show": runs[:1], "find": ["-d", "2026-11-22"]}.get(name, [])
    _, out, _ = flatnorm("archive", name, years / "calib", *rest)
    whole = [line for line in out.splitlines() if "/calib/runs/" not in line]  # a path must not be broken
    assert max(map(len, whole)) <= 80


def test_long_texts_of_a_table_are_broken_and_not_cut(capsys, monkeypatch, rows):
    monkeypatch.setattr(console, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "60")
    long = "a reason that many words are needed for, as there are in this one"
    console.show_table(("no.", "run", "remarks"), [("1", "3f2a91c05b7e", long), ("2", "9c01d2e47a66", "short")])
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 60
    assert " ".join(out.split()).count("3f2a91c05b7e") == 1
    table = rows(out)
    assert " ".join(row["remarks"] for row in table) == f"{long} short"


@pytest.mark.slow
def test_find_in_a_shell(years):
    import os
    import sys
    from pathlib import Path

    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    line = f'ls "$(flatnorm archive find {years / "calib"} -d 2026-11-22 --path)"'
    found = subprocess.run(
        ["bash", "-c", line], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.endswith(".nc\n")
