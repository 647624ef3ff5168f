"""Verify finds any changed byte, names the file, and takes it out of the way; what is whole it leaves where it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive import verify as module
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.store import sha256_of
from flatnorm_xr.errors import FlatnormError, ReadError
from flatnorm_xr.model.schema import SCHEMA_VERSION


@pytest.fixture
def filled(calib, small_run, unchecked):
    """Three runs, the first two certified."""
    runs = [calib.add(small_run(number)) for number in range(3)]
    calib.certify(runs[0], "2025-01-01", "2025-02-01", approver="M. Curie", thresholds=unchecked)
    calib.certify(runs[1], "2025-02-01", approver="M. Curie", thresholds=unchecked)
    return calib, runs


def path_of(archive: Archive, run: str) -> Path:
    return archive._holdings.store.path(run)


def write(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def test_nothing_is_wrong_with_a_whole_archive(filled):
    archive, _ = filled
    problems = archive.verify()
    assert problems.empty
    assert list(problems.columns) == ["path", "what", "done"]


def test_a_flipped_bit_anywhere_is_found(calib, small_run):
    run = calib.add(small_run(1))
    path, rng = path_of(calib, run), np.random.default_rng(3)
    whole = path.read_bytes()
    places = [0, 1, len(whole) - 1, *rng.choice(len(whole), 37, replace=False)]
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        write(path, content)
        problems = calib.verify()
        assert problems["path"].tolist() == [path]
        assert problems["what"].tolist() == ["is damaged: its checksum is not its name"]
        moved = Path(problems["done"].tolist()[0].removeprefix("moved to "))
        assert moved.parent == calib.path / "quarantine"
        assert moved.read_bytes() == content
        assert not path.exists()
        assert len(calib.list()) == 0
        write(moved, whole)
        assert calib.add(moved) == run
    assert len(list((calib.path / "quarantine").iterdir())) == len(places)
    assert calib.verify().empty


@pytest.mark.parametrize("content", [b"", b"\x89HDF\r\n\x1a\n", b"x" * 100])
def test_a_file_of_other_content_is_found(filled, content):
    archive, runs = filled
    write(path_of(archive, runs[2]), content)
    assert archive.verify()["path"].tolist() == [path_of(archive, runs[2])]
    assert set(archive.list().index) == set(runs[:2])


def test_what_was_found_is_written_down_and_the_rest_goes_on(filled):
    archive, runs = filled
    write(path_of(archive, runs[2]), b"x")
    archive.verify()
    record = archive._holdings.journal.records()[-1]
    assert (record.kind, record.body["run"]) == ("quarantine", runs[2])
    assert set(archive.list().index) == set(runs[:2])
    assert archive.history().sizes["run"] == archive.load("E").sizes["run"] == 2
    assert archive.find(date="2025-03-01").run == runs[1]
    with pytest.raises(ReadError, match=r"was taken out of the archive and is now .*quarantine"):
        archive.open(runs[2])


def test_a_certified_run_that_is_damaged_makes_find_say_so(filled, small_run):
    archive, runs = filled
    write(path_of(archive, runs[1]), b"x")
    problems = archive.verify()
    assert problems["what"].tolist()[0] == "is damaged: its checksum is not its name"
    assert problems["what"].tolist()[1] == (
        f"is missing, but certified from 2025-02-01 on by M. Curie; add {runs[1][:12]} from a backup"
    )
    with pytest.raises(
        ReadError, match=rf"the run {runs[1][:12]}, certified by M\. Curie .*; add {runs[1]}\.nc from a"
    ):
        archive.find(date="2025-03-01")
    assert archive.find(date="2025-01-15").run == runs[0]
    assert archive.add(small_run(1)) == runs[1]
    assert archive.find(date="2025-03-01").run == runs[1]
    assert archive.verify().empty


def test_without_quarantine_nothing_is_moved(filled):
    archive, runs = filled
    write(path_of(archive, runs[2]), b"x")
    for _ in range(2):
        problems = archive.verify(quarantine=False)
        assert problems["path"].tolist() == [path_of(archive, runs[2])]
        assert problems["done"].tolist() == [""]
    assert path_of(archive, runs[2]).exists()
    assert not (archive.path / "quarantine").exists()
    assert len(archive._holdings.journal.records()) == 3


def test_files_that_are_no_runs_are_named_and_left(filled):
    archive, runs = filled
    folder = path_of(archive, runs[0]).parent
    strange = [folder / "notes.txt", folder / ("f" * 63 + ".nc"), archive.path / "runs" / f"{runs[0]}.nc"]
    for path in strange:
        path.write_text("x")
    (archive.path / "runs" / "aa").mkdir(exist_ok=True)
    misplaced = shutil.copy(path_of(archive, runs[0]), archive.path / "runs" / "aa" / ("0" * 64 + ".nc"))
    problems = archive.verify()
    assert set(problems["path"]) == {*strange, Path(misplaced)}
    assert set(problems["what"]) == {
        "is no run of this archive: a run is named by its checksum; add it, or take it away"
    }
    assert all(path.exists() for path in strange)
    assert set(archive.list().index) == set(runs)


def in_place(archive: Archive, path: Path) -> str:
    """Put a file among the runs under its checksum, as `add` would not."""
    run = sha256_of(path)
    path_of(archive, run).parent.mkdir(exist_ok=True)
    shutil.copy(path, path_of(archive, run))
    return run


def test_a_whole_run_of_a_newer_program_stays(filled, small_run, tmp_path, says):
    archive, runs = filled
    newest = {"flatnorm_schema_version": SCHEMA_VERSION + 1, "flatnorm_min_reader": SCHEMA_VERSION + 1}
    small_run(7).assign_attrs(newest).to_netcdf(tmp_path / "newer.nc")
    run = in_place(archive, tmp_path / "newer.nc")
    problems = archive.verify()
    assert problems["path"].tolist() == [path_of(archive, run)]
    assert "upgrade flatnorm-xr" in problems["what"].tolist()[0]
    assert problems["done"].tolist() == [""]
    assert path_of(archive, run).exists()
    with says(f"list: {run[:12]} cannot be read; verify tells more"):
        assert set(archive.list().index) == set(runs)
    with pytest.raises(ReadError, match=f"show: {run[:12]} cannot be read: .*upgrade flatnorm-xr"):
        archive.show(run)
    with pytest.raises(FlatnormError, match="upgrade flatnorm-xr"):
        archive.open(run[:10])


def test_a_file_that_is_no_solution_stays_and_is_named(filled, tmp_path, says):
    archive, _ = filled
    xr.Dataset({"v": ("x", [1.0])}).to_netcdf(tmp_path / "foreign.nc")
    run = in_place(archive, tmp_path / "foreign.nc")
    assert "was not written by flatnorm-xr" in archive.verify()["what"].tolist()[0]
    with says(f"{run[:12]} cannot be read"):
        archive.list()
    with says(f"reindex: {run[:12]} cannot be read"):
        assert archive.reindex() == 3
    archive.remove(run[:10], who="a", why="not ours")
    assert archive.verify().empty


def test_a_run_that_is_copied_back_is_listed_again(filled, says):
    archive, runs = filled
    path = path_of(archive, runs[2])
    whole = path.read_bytes()
    write(path, b"x")
    (archive.path / "catalogue.sqlite").unlink()
    with says(f"list: {runs[2][:12]} cannot be read"):
        assert set(archive.list().index) == set(runs[:2])
    write(path, whole)
    assert set(archive.list().index) == set(runs)


def test_a_run_mended_while_it_is_put_aside_is_kept(filled, monkeypatch):
    """Another process adds the run again after its checksum was found wrong and before the file is moved."""
    archive, runs = filled
    path = path_of(archive, runs[2])
    whole = path.read_bytes()
    write(path, b"x")
    damaged = module._is_damaged

    def mended_meanwhile(path, run):
        found = damaged(path, run)
        if path.parent.parent.name == "runs":
            write(path, whole)
        return found

    monkeypatch.setattr(module, "_is_damaged", mended_meanwhile)
    assert archive.verify()["done"].tolist() == ["mended by another process"]
    assert path.read_bytes() == whole
    assert archive.verify().empty


def test_a_decision_written_while_it_verifies_is_no_missing_record(filled, unchecked, monkeypatch):
    archive, runs = filled
    records = archive._holdings.journal.records

    def slow():
        found = records()
        other = Archive(archive.path)
        other.certify(runs[0], "2031-01-01", approver="a", supersede=True, thresholds=unchecked)
        other.find(date="2031-02-01")
        return found

    monkeypatch.setattr(archive._holdings.journal, "records", slow)
    assert archive.verify().empty


def test_what_killed_writers_left_is_deleted_after_a_day(filled):
    archive, _ = filled
    old, young = (archive.path / "incoming" / f".flatnorm-{word}.part" for word in ("old", "young"))
    records = archive.path / "records" / ".flatnorm-old.part"
    for path in (old, young, records):
        path.touch()
    for path in (old, records):
        os.utime(path, (0, 0))
    assert archive.verify(quarantine=False).empty
    assert old.exists()
    assert archive.verify().empty
    assert [path.exists() for path in (old, records, young)] == [False, False, True]


def test_a_run_that_says_it_is_a_petabyte_is_named_and_not_read(filled, tmp_path, says):
    archive, _ = filled
    with netCDF4.Dataset(tmp_path / "huge.nc", "w") as file:
        file.setncatts(dict(fx.make([[1.0, 2.0]]).attrs))
        file.createDimension("detector", 10**15)
        for name in ("E", "G"):
            file.createVariable(name, "f8", ("detector",), chunksizes=(1000,), zlib=True)
    run = in_place(archive, tmp_path / "huge.nc")
    problems = archive.verify()
    assert problems["path"].tolist() == [path_of(archive, run)]
    assert "GiB, a run may take 8" in problems["what"].tolist()[0]
    with pytest.raises(FlatnormError, match=r"add: .*huge\.nc holds \d+ GiB, a run may take 8"):
        archive.add(tmp_path / "huge.nc", camera="testcam")
    with says(f"{run[:12]} cannot be read"):
        assert len(archive.list()) == 3
