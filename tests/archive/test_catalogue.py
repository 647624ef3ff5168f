"""The catalogue is only an index: made again from the files, it holds the same; broken in any way, it is made again."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest

import flatnorm_xr as fx
from flatnorm_xr.archive import catalogue, database
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.database import VERSION
from flatnorm_xr.archive.store import Moving
from flatnorm_xr.errors import FlatnormError


def content(archive: Archive) -> dict[str, list]:
    """All rows of all tables; which number a set of labels has is of no matter."""
    with contextlib.closing(sqlite3.connect(archive.path / "catalogue.sqlite")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        texts = dict(connection.execute("SELECT id, text FROM labels"))
        found = {table: [list(row) for row in connection.execute(f"SELECT * FROM {table}")] for table in tables}
    used = set()
    for row in found["runs"]:
        used.add(row[6])
        row[6] = texts[row[6]]
    found["labels"] = [texts[number] for number in used]
    return {table: sorted(rows, key=repr) for table, rows in found.items()}


@pytest.fixture
def filled(calib, small_run, solution, unchecked):
    """Runs of every kind, certificates, one that is taken back, one run that was removed."""
    runs = [
        calib.add(small_run(0)),
        calib.add(small_run(1, filters=("g", "r", "r"))),
        calib.add(small_run(2, detectors=5)),
        calib.add(small_run(3).drop_vars("time")),
        calib.add(solution(amplifiers=True, by=True).assign_attrs(camera="decam")),
        calib.add(small_run(4)),
    ]
    calib.certify(runs[0], "2025-01-01", approver="a", thresholds=unchecked)
    wrong = calib.certify(runs[2], "2025-02-01", approver="a", supersede=True, thresholds=unchecked)
    calib.revoke(wrong, approver="a", why="b")
    calib.certify(runs[1], "2025-03-01", "2025-04-01", filter="r", approver="a", supersede=True, thresholds=unchecked)
    calib.remove(runs.pop(), who="a", why="b")
    calib.find("testcam", "r", "2025-01-01")
    calib.list()
    return calib, runs


def test_made_again_it_holds_the_same(filled):
    archive, runs = filled
    before = content(archive)
    assert {table: len(rows) for table, rows in before.items()} == {
        "state": 1,
        "labels": 3,
        "runs": 5,
        "filters": 9,
        "blocks": 9,
        "unreadable": 0,
        "certificates": 3,
        "holding": 3,
    }
    assert archive.reindex() == len(runs)
    assert content(archive) == before
    (archive.path / "catalogue.sqlite").unlink()
    archive.list()
    assert content(archive) == before


def test_it_is_brought_up_to_date_with_the_files(filled, tmp_path):
    archive, runs = filled
    path = archive._holdings.store.path(runs[0])
    shutil.move(path, tmp_path / "away.nc")
    assert runs[0] not in archive.list().index
    shutil.move(tmp_path / "away.nc", path)
    assert runs[0] in archive.list().index


def spoil_garbage(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))


def spoil_truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def spoil_inside(path: Path) -> None:
    """Leave only the first page."""
    content = bytearray(path.read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    path.write_bytes(content)


def spoil_tables(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE state")


def spoil_other_tables(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE filters")


def spoil_log(path: Path) -> None:
    """A log that was left over, and is none."""
    path.with_name(f"{path.name}-wal").write_bytes(b"\x37\x7f\x06\x82" + bytes(4092))


def quiet_deleted(path: Path) -> None:
    path.unlink()


def quiet_empty(path: Path) -> None:
    path.write_bytes(b"")


def quiet_version(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA user_version = {VERSION + 1}")


def quiet_foreign(path: Path) -> None:
    path.unlink()
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE state (records TEXT)")


def quiet_lock(path: Path) -> None:
    path.with_suffix(".lock").unlink()
    path.unlink()


def quiet_half_made(path: Path) -> None:
    """One that was being made when its process was killed."""
    path.rename(path.with_suffix(".new"))
    path.with_name("catalogue.new-wal").write_bytes(b"x")


@pytest.mark.parametrize("spoil", [spoil_garbage, spoil_truncated, spoil_inside, spoil_tables, spoil_other_tables])
def test_a_damaged_one_is_made_again_with_a_warning(filled, spoil, says):
    archive, runs = filled
    before = content(archive)
    spoil(archive.path / "catalogue.sqlite")
    with says(r"the catalogue .* is damaged \(.*\); it is made again from the files"):
        table = archive.list()
    assert set(table.index) == set(runs)
    assert content(archive) == before
    assert archive.find("testcam", "r", "2025-03-15").run == runs[1]


@pytest.mark.parametrize(
    "spoil", [spoil_log, quiet_deleted, quiet_empty, quiet_version, quiet_foreign, quiet_lock, quiet_half_made]
)
def test_one_that_is_gone_or_of_another_program_is_made_again(filled, spoil):
    archive, runs = filled
    before = content(archive)
    spoil(archive.path / "catalogue.sqlite")
    assert archive.find("testcam", "r", "2025-03-15").run == runs[1]
    assert set(archive.list().index) == set(runs)
    assert content(archive) == before


@pytest.mark.parametrize("ask", ["add", "find", "load", "history", "open", "certify", "remove", "reindex", "verify"])
def test_whatever_is_asked_first_mends_it(filled, small_run, unchecked, recwarn, ask):
    archive, runs = filled
    questions = {
        "add": lambda: archive.add(small_run(9)),
        "find": lambda: archive.find("testcam", "r", "2025-01-01"),
        "load": lambda: archive.load("G", camera="testcam", filter="r"),
        "history": lambda: archive.history(camera="testcam", filter="g"),
        "open": lambda: archive.open(runs[0][:8]),
        "certify": lambda: archive.certify(runs[0][:8], "2020-01-01", "2021-01-01", approver="a", thresholds=unchecked),
        "remove": lambda: archive.remove(runs[2][:8], who="a", why="b"),
        "reindex": archive.reindex,
        "verify": archive.verify,
    }
    spoil_garbage(archive.path / "catalogue.sqlite")
    questions[ask]()
    assert set(runs) - set(archive.list().index) <= {runs[2]}
    found = content(archive)
    archive.reindex()
    assert content(archive) == found
    assert all(issubclass(warning.category, fx.FlatnormWarning) for warning in recwarn)


@pytest.mark.parametrize("kind", ["folder", "link to nowhere", "link to a database"])
def test_what_is_no_file_in_its_place(filled, tmp_path, kind):
    archive, runs = filled
    path, outside = archive.path / "catalogue.sqlite", tmp_path / "outside.sqlite"
    if kind == "link to a database":
        shutil.copy(path, outside)
    path.unlink()
    path.mkdir() if kind == "folder" else path.symlink_to(outside)
    before = outside.read_bytes() if outside.exists() else None
    assert set(archive.list().index) == set(runs)
    assert archive.find("testcam", "r", "2025-03-15").run == runs[1]
    archive.remove(runs[3], who="a", why="b")
    assert set(archive.list().index) == set(runs) - {runs[3]}
    assert (outside.read_bytes() if outside.exists() else None) == before
    if kind == "folder":
        with pytest.raises(FlatnormError, match=r"the catalogue .* cannot be written"):
            archive.reindex()


def test_a_catalogue_in_use_is_not_replaced_under_its_user(filled, monkeypatch):
    """A connection that is open keeps others from putting another file under its log."""
    archive, _ = filled
    monkeypatch.setattr(database, "_PATIENCE", 0.05)
    holdings = archive._holdings
    with contextlib.closing(holdings._database.connected(holdings._fill)) as connection:
        with pytest.raises(FlatnormError, match=r"another process has held .*catalogue\.lock"):
            Archive(archive.path).reindex()
        assert connection.execute("SELECT COUNT(*) FROM runs").fetchone() == (5,)
        assert len(Archive(archive.path).list()) == 5
    assert archive.reindex() == 5


def test_a_run_that_comes_while_it_is_brought_up_to_date_is_not_dropped(filled, small_run, monkeypatch):
    archive, runs = filled
    store = archive._holdings.store
    other = Archive(archive.path)
    added = []

    def slow():
        if not added:
            added.append("")
            added[0] = other.add(small_run(9))
        return type(store).runs(store)

    monkeypatch.setattr(store, "runs", slow)
    archive.list()
    known = other._holdings.ask(catalogue.known_runs, scan=False)[0]
    assert known == {*runs, added[0]}


def test_a_run_that_goes_while_it_is_read_is_no_problem(filled, small_run, monkeypatch):
    archive, runs = filled
    holdings = archive._holdings
    run = archive.add(small_run(9))
    (archive.path / "catalogue.sqlite").unlink()
    other = Archive(archive.path)
    stamp = holdings._stamp

    def slow(name):
        if name == run and holdings.store.path(run).exists():
            Moving(holdings.store, run, "trash").do()
        return stamp(name)

    monkeypatch.setattr(holdings, "_stamp", slow)
    assert set(archive.list().index) == set(runs)
    assert set(other.list().index) == set(runs)


def test_members_of_a_group_can_write_what_one_of_them_made(tmp_path, small_run, unchecked):
    before = os.umask(0o002)
    try:
        archive = Archive(tmp_path / "calib")
        run = archive.add(small_run(1))
        archive.certify(run, "2025-01-01", approver="a", thresholds=unchecked)
        archive.remove(archive.add(small_run(2)), who="a", why="b")
        archive.list()
    finally:
        os.umask(before)
    for path in [archive.path, *archive.path.rglob("*")]:
        mode = path.stat().st_mode & 0o777
        if path.suffix == ".nc":
            assert mode == 0o444, path
        else:
            assert mode == (0o775 if path.is_dir() else 0o664), path


def test_what_is_asked_while_another_holds_it_waits_its_turn(filled, monkeypatch):
    """A writer that never ends is named, rather than waited for without end."""
    archive, _ = filled
    path = archive.path / "catalogue.sqlite"
    original = sqlite3.connect

    def impatient(*args, **more):
        return original(*args, **{**more, "timeout": 0.05})

    monkeypatch.setattr(sqlite3, "connect", impatient)
    with contextlib.closing(original(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert len(archive.list()) == 5  # readers do not wait
        Moving(archive._holdings.store, archive.list().index[0], "trash").do()
        with pytest.raises(FlatnormError, match=r"the catalogue .* cannot be used: database is locked") as caught:
            archive.list()
        assert "\n" not in str(caught.value)
        other.execute("ROLLBACK")
    assert len(archive.list()) == 4


def test_the_catalogue_of_another_archive_is_not_believed(tmp_path, small_run, unchecked, says):
    archives = [fx.Archive(tmp_path / name) for name in ("one", "two")]
    runs = [archive.add(small_run(1)) for archive in archives]
    archives[0].certify(runs[0], "2025-01-01", approver="M. Curie", thresholds=unchecked)
    for number in range(3):
        certificate = archives[1].certify(runs[1], "2025-01-01", approver=f"{number}", thresholds=unchecked)
        archives[1].revoke(certificate, approver="M. Curie", why="a test")
    archives[1].list()
    shutil.copy(archives[1].path / "catalogue.sqlite", archives[0].path / "catalogue.sqlite")
    with says("it is that of another archive"):
        assert fx.Archive(archives[0].path).find(date="2025-02-01").run == runs[0]


def test_a_record_lost_from_the_end_is_reported(calib, small_run, unchecked):
    run = calib.add(small_run(1))
    calib.certify(run, "2025-01-01", approver="M. Curie", thresholds=unchecked)
    calib.list()
    (calib.path / "records" / "00000001.json").unlink()
    found = fx.Archive(calib.path).verify()
    assert [Path(path).name for path in found["path"]] == ["00000001.json"]
    assert found["what"].str.contains("is missing; copy it back from a backup").all()
