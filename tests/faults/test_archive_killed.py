"""A process that is killed while it adds or certifies leaves an archive that is whole, and lost nothing it promised."""

from __future__ import annotations

import contextlib
import os
import random
import select
import shutil
import sqlite3
from pathlib import Path

import pytest

from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.journal import Journal
from flatnorm_xr.archive.store import sha256_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def pause(seconds: float) -> None:
    select.select([], [], [], seconds)


def catalogue_of(path: Path) -> dict[str, list]:
    """All rows of all tables of the catalogue; which number a set of labels has is of no matter."""
    with contextlib.closing(sqlite3.connect(path / "catalogue.sqlite")) as connection:
        texts = dict(connection.execute("SELECT id, text FROM labels"))
        found = {
            table: [list(row) for row in connection.execute(f"SELECT * FROM {table}")]
            for table in ("runs", "filters", "blocks", "unreadable", "certificates", "holding", "state")
        }
    for row in found["runs"]:
        row[6] = texts[row[6]]
    return {table: sorted(rows, key=repr) for table, rows in found.items()}


def assert_whole(path: Path, promised: set[str], numbers: set[int]) -> None:
    """No promised run is lost, no file broken, the chain of records whole, the catalogue right."""
    files = {file.stem: file for file in (path / "runs").glob("*/*")}
    assert promised <= set(files)
    for name, file in files.items():
        assert sha256_of(file) == name
    records = Journal(path / "records").records()
    assert numbers <= {record.number for record in records}
    assert set(Archive(path).list().index) == set(files)


def assert_index_is_that_of_the_files(path: Path) -> None:
    archive = Archive(path)
    archive.list()
    archive.certificates()
    before = catalogue_of(path)
    archive.reindex()
    assert catalogue_of(path) == before


@pytest.mark.slow
def test_killed_a_hundred_times_at_random_moments(tmp_path, start):
    path = tmp_path / "calib"
    chance = random.Random(4)
    promised, numbers = set(), set()
    Archive(path)
    for kill in range(100):
        begin = len(promised)
        child = start("add_and_certify", path=path, numbers=list(range(begin, begin + 100)))
        words = chance.randrange(3)
        while len(child.said()) < words:
            pause(0.002)
        pause(chance.uniform(0.0, 0.1))
        assert child.kill() == -9
        for kind, said in child.said():
            (promised if kind == "run" else numbers).add(said)
        if promised:
            assert_whole(path, promised, numbers)
        if kill % 33 == 0:
            assert_index_is_that_of_the_files(path)
    assert_index_is_that_of_the_files(path)
    assert len(promised) >= 50
    assert len(numbers) >= 25
    found = Archive(path)
    assert found.verify().empty
    assert len(start("add_and_certify", path=path, numbers=[1000]).wait()) == 2
    assert_whole(path, promised, numbers)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["add", "certify", "remove", "reindex"])
def test_killed_at_every_step(tmp_path, start, what):
    """Not only where chance leads: at each file, lock and connection that is opened, made, renamed or deleted."""
    before, path = tmp_path / "before", tmp_path / "calib"
    runs = {said for (said,) in start("add", path=before, numbers=[0, 1]).wait()}
    steps, status = 0, -9
    while status == -9:
        steps += 1
        shutil.copytree(before, path)
        child = start("die_at_a_step", path=path, step=steps, what=what)
        status = child.status()
        assert status in (0, -9), child.said()
        removed = {file.stem for file in (path / "trash").glob("*")}
        assert_whole(path, runs - removed, set())
        assert removed <= runs
        if steps % 5 == 0 or status == 0:
            assert_index_is_that_of_the_files(path)
            assert Archive(path).verify().empty
        shutil.rmtree(path)
    assert steps > 8
