"""Several processes write to one archive at once, and others read: nothing is lost, nothing is there twice."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

from flatnorm_xr.archive import catalogue
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.journal import Journal

pytestmark = [
    pytest.mark.skipif(os.name != "posix", reason="locks of POSIX"),
    pytest.mark.slow,
]

WRITERS = 8


def entered(path: Path) -> set[str]:
    """Give the runs that the catalogue knows without a look at the files."""
    return Archive(path)._holdings.ask(catalogue.known_runs, scan=False)[0]


def names(said: list[list]) -> list[str]:
    assert not [words for words in said if words[0] == "warned"]
    return [words[0] for words in said]


def test_eight_add_fifty_runs_each(tmp_path, start):
    path = tmp_path / "calib"  # which they also make
    children = [start("add", path=path, numbers=list(range(50 * k, 50 * k + 50))) for k in range(WRITERS)]
    promised = Counter(name for child in children for name in names(child.wait()))
    assert len(promised) == 400
    assert set(promised.values()) == {1}
    assert entered(path) == set(promised)
    archive = Archive(path)
    assert set(archive.list().index) == set(promised)
    assert len(list((path / "runs").glob("*/*"))) == 400
    assert archive.verify().empty
    assert [record.kind for record in Journal(path / "records").records()] == ["archive"]
    assert not list((path / "incoming").glob(".*"))


def test_eight_add_the_very_same_runs(tmp_path, start):
    path = tmp_path / "calib"
    children = [start("add", path=path, numbers=list(range(5))) for _ in range(WRITERS)]
    said = [names(child.wait()) for child in children]
    assert all(names == said[0] for names in said)
    assert sorted(Archive(path).list().index) == sorted(said[0])
    assert entered(path) == set(said[0])
    assert len(list((path / "runs").glob("*/*"))) == 5


def test_eight_add_the_same_numbers_each_solved_again(tmp_path, start):
    path = tmp_path / "calib"
    children = [start("add", path=path, numbers=list(range(5)), history=f"solve {k}") for k in range(WRITERS)]
    said = [names(child.wait()) for child in children]
    assert all(names == said[0] for names in said)
    assert sorted(Archive(path).list().index) == sorted(said[0])


@pytest.mark.parametrize("links", [True, False])
def test_of_eight_who_certify_the_same_time_one_wins(tmp_path, start, links):
    path = tmp_path / "calib"
    runs = names(start("add", path=path, numbers=list(range(WRITERS))).wait())
    children = [
        start("certify", path=path, runs=[run], begin="2025-01-01", end="2025-02-01", links=links) for run in runs
    ]
    said = [child.wait()[0] for child in children]
    won = [k for k, (word, _) in enumerate(said) if word == "won"]
    assert len(won) == 1
    found = Archive(path).find(date="2025-01-15")
    assert found.run == runs[won[0]]
    assert all(f"{found.run[:12]} (from 2025-01-01 until 2025-02-01)" in why for word, why in said if word != "won")
    assert len(Journal(path / "records").records()) == 2


def test_eight_who_certify_different_times_all_win(tmp_path, start):
    path = tmp_path / "calib"
    run = names(start("add", path=path, numbers=[0]).wait())[0]
    children = [
        start("certify", path=path, runs=[run], begin=f"2025-01-0{k + 1}", end=f"2025-01-0{k + 2}")
        for k in range(WRITERS)
    ]
    said = [child.wait()[0] for child in children]
    assert sorted(number for word, number in said if word == "won") == list(range(1, WRITERS + 1))
    assert len(Archive(path).certificates()) == WRITERS


def test_who_reads_while_others_write_sees_no_error(tmp_path, start):
    path, end = tmp_path / "calib", tmp_path / "end"
    start("add_and_certify", path=path, numbers=[0]).wait()
    readers = [start("read", path=path, until=end) for _ in range(2)]
    carer = start("care", path=path, until=end)
    writers = [
        start("add_and_certify", path=path, numbers=list(range(1, 12))),
        start("add_and_certify", path=path, numbers=list(range(20, 30))),
        start("remove_and_add", path=path, numbers=list(range(40, 44))),
    ]
    for writer in writers:
        assert not [words for words in writer.wait() if words[0] == "warned"]
    end.touch()
    for child in (*readers, carer):
        said = child.wait()
        assert len(said) == 1, said
        assert said[0][0] > 0
    archive = Archive(path)
    assert len(archive.list()) == 26
    assert archive.verify().empty


def test_an_archive_that_is_copied_while_it_is_written_can_be_used(tmp_path, start):
    path = tmp_path / "calib"
    start("add_and_certify", path=path, numbers=[0]).wait()
    writer = start("add_and_certify", path=path, numbers=list(range(1, 40)))
    for k in range(5):
        copy = tmp_path / f"copy{k}"
        shutil.copytree(path, copy, ignore=shutil.ignore_patterns("*.part", "catalogue.*"))
        archive = Archive(copy)
        assert set(archive.list().index) == {file.stem for file in (copy / "runs").glob("*/*")}
        assert archive.find("testcam", "r", "2025-01-01").run in archive.list().index
        problems = archive.verify()
        # decisions may have been copied whose runs were not there yet when those were copied, and that is said
        assert problems["what"].str.contains("is missing, but certified").all()
        shutil.rmtree(copy)
    writer.kill()
