"""Records are an unbroken chain of decisions; a changed, missing or foreign one is seen and named."""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime

import numpy as np
import pytest

from flatnorm_xr.archive import journal as module
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.certificates import certificates_of
from flatnorm_xr.archive.journal import Journal
from flatnorm_xr.errors import FlatnormError, ReadError


@pytest.fixture
def journal(tmp_path):
    (tmp_path / "records").mkdir()
    journal = Journal(tmp_path / "records")
    for number in range(4):
        journal.append("test", lambda records, number=number: {"said": number, "words": "ä\n"})
    return journal


def fresh(journal) -> Journal:
    """Give one that has not read anything yet."""
    return Journal(journal.folder)


def test_records_are_numbered_without_gaps_and_each_repeats_the_seal_before(journal):
    records = fresh(journal).records()
    assert [r.number for r in records] == [r.body["said"] for r in records] == [0, 1, 2, 3]
    assert [r.body["previous"] for r in records] == ["", *(r.seal for r in records[:-1])]
    assert all(re.fullmatch("[0-9a-f]{64}", r.seal) for r in records)
    assert {r.body["kind"] for r in records} == {"test"}
    assert all(r.body["recorded"].endswith("+00:00") for r in records)


def test_a_record_is_read_without_this_program(journal):
    body = json.loads(journal.path(2).read_text(encoding="ascii"))
    assert body["said"] == 2
    assert body["words"] == "ä\n"


def test_a_decision_sees_all_that_were_before(journal):
    seen = []
    journal.append("test", lambda records: seen.extend(r.number for r in records) or {})
    assert seen == [0, 1, 2, 3]


def test_one_that_raises_leaves_nothing(journal):
    def refuse(records):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        journal.append("test", refuse)
    assert len(fresh(journal).records()) == 4
    assert sorted(path.name for path in journal.folder.iterdir() if path.suffix != ".json") == ["lock"]


def test_who_was_slower_decides_again_on_what_was_decided_meanwhile(journal, monkeypatch):
    """Where no lock keeps them apart."""
    monkeypatch.setattr(module, "held", lambda path: open(os.devnull))  # noqa: SIM115
    counts = []

    def slow(records):
        counts.append(len(records))
        if len(counts) < 3:
            fresh(journal).append("other", lambda records: {})
        return {"mine": True}

    record = journal.append("test", slow)
    assert counts == [4, 5, 6]
    assert record.number == 6
    assert [r.kind for r in fresh(journal).records()] == ["test"] * 4 + ["other"] * 2 + ["test"]


def test_without_hard_links_records_are_whole_too(journal, monkeypatch):
    def no_links(*args, **more):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", no_links)
    record = journal.append("test", lambda records: {"said": 4})
    assert fresh(journal).records()[-1] == record
    assert [path.name for path in journal.folder.iterdir() if path.name.startswith(".")] == []


def test_the_order_is_that_of_the_numbers_whatever_the_clock_says(journal, monkeypatch):
    class Backwards(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(1999, 1, 1, tzinfo=UTC)

    monkeypatch.setattr(module, "datetime", Backwards)
    journal.append("test", lambda records: {"said": 4})
    records = fresh(journal).records()
    assert [r.body["said"] for r in records] == [0, 1, 2, 3, 4]
    assert records[-1].body["recorded"] < records[0].body["recorded"]


@pytest.mark.parametrize("number", range(4))
def test_a_missing_record_is_named(journal, number):
    journal.path(number).unlink()
    if number == 3:  # the last is missed only by who knows of it
        assert len(fresh(journal).records()) == 3
        with pytest.raises(ReadError, match=r"00000003\.json is missing"):
            fresh(journal).read(3)
        return
    with pytest.raises(ReadError, match=rf"the record .*0000000{number}\.json is missing; copy it back from a backup"):
        fresh(journal).records()
    with pytest.raises(ReadError):
        fresh(journal).append("test", lambda records: {})


def test_any_changed_byte_is_seen(journal):
    path = journal.path(1)
    content = path.read_bytes()
    rng = np.random.default_rng(1)
    unseen = 0
    for place in rng.choice(len(content), 60, replace=False):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(7))
        path.write_bytes(changed)
        if json.loads(content) == parsed(changed):  # white space, which says nothing
            unseen += 1
            assert fresh(journal).records() == journal.records()
        else:
            with pytest.raises(ReadError, match=r"00000001\.json is damaged; copy it back from a backup"):
                fresh(journal).records()
    assert unseen < 12


def parsed(content: bytearray) -> object:
    try:
        return json.loads(content.decode("ascii"))
    except ValueError:
        return None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b'"sha256"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a":' * 50_000,
        b"9" * 10_000,
        b'{"number": 1, "kind": "test", "previous": "", "sha256": "0"}',
        b" " * 2_000_000,
    ],
)
def test_what_is_no_record_is_refused_in_one_line(journal, content):
    journal.path(1).write_bytes(content)
    with pytest.raises(ReadError, match=r"the record .*00000001\.json is damaged; copy it back") as caught:
        fresh(journal).records()
    assert "\n" not in str(caught.value)


def test_a_record_that_is_no_file_does_not_hang(journal):
    journal.path(1).unlink()
    os.mkfifo(journal.path(1))
    with pytest.raises(ReadError, match="is not a regular file"):
        fresh(journal).records()


def test_a_record_put_in_the_place_of_another_is_seen(journal, tmp_path):
    (tmp_path / "other").mkdir()
    other = Journal(tmp_path / "other")
    for _ in range(4):
        other.append("test", lambda records: {"said": "something else"})
    other.path(1).replace(journal.path(1))
    with pytest.raises(ReadError, match=r"00000000\.json is not the record that 00000001\.json followed"):
        fresh(journal).records()
    journal.path(1).write_bytes(journal.path(2).read_bytes())
    with pytest.raises(ReadError, match=r"00000001\.json is damaged"):
        fresh(journal).records()


def test_other_files_among_the_records_are_left_alone(journal):
    for name in ("00000009.json.bak", "9.json", "000000009.json", "notes.txt", ".00000009.json.swp"):
        (journal.folder / name).touch()
    assert len(fresh(journal).records()) == 4


def test_a_record_must_not_be_endless(journal):
    with pytest.raises(FlatnormError, match=r"a record of \d+ bytes is too long; shorten the comment"):
        journal.append("test", lambda records: {"comment": "x" * 1_000_001})
    assert len(fresh(journal).records()) == 4


def sealed(journal, kind: str, **said) -> None:
    """Write a record by other means, well sealed."""
    journal.append(kind, lambda records: said)


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("certify", {}),
        ("certify", {"run": 5, "camera": [], "filter": {}, "begin": "soon", "end": None}),
        ("revoke", {}),
        ("revoke", {"certificate": [1], "why": "x"}),
        ("revoke", {"certificate": "one", "why": "x"}),
    ],
)
def test_a_record_that_does_not_say_what_it_must_is_named(journal, kind, said):
    sealed(journal, kind, **said)
    with pytest.raises(ReadError, match=rf"the record 4 \({kind}\) cannot be understood") as caught:
        certificates_of(fresh(journal).records())
    assert "\n" not in str(caught.value)


def test_kinds_of_later_programs_are_passed_over(journal):
    sealed(journal, "annotate", anything=["else"])
    assert certificates_of(fresh(journal).records()) == []


def test_a_certificate_for_a_path_leads_nowhere(tmp_path, small_run, unchecked):
    archive = Archive(tmp_path / "calib")
    archive.certify(archive.add(small_run(1)), "2025-01-01", approver="a", thresholds=unchecked)
    body = dict(archive._holdings.journal.read(1).body)
    for key in ("number", "kind", "recorded", "program", "previous"):
        body.pop(key)
    archive._holdings.journal.append("certify", lambda records: {**body, "run": "../../../etc/passwd"})
    with pytest.raises(FlatnormError, match=r"\.\./etc/passwd is no run; a run is named by 64 hexadecimal digits"):
        archive.find()
    assert archive.verify()["what"].str.contains("is no run").tolist() == [True]


def test_find_and_certify_stop_at_a_damaged_record_and_list_goes_on(tmp_path, small_run, unchecked, says):
    archive = Archive(tmp_path / "calib")
    runs = [archive.add(small_run(number)) for number in range(2)]
    archive.certify(runs[0], "2025-01-01", "2025-02-01", approver="a", thresholds=unchecked)
    archive.certify(runs[1], "2025-02-01", approver="a", thresholds=unchecked)
    path = archive._holdings.journal.path(1)
    whole = path.read_text()
    path.write_text(whole.replace("2025-01-01", "2025-01-02"))
    again = Archive(archive.path)
    with pytest.raises(ReadError, match=r"00000001\.json is damaged"):
        again.certify(runs[1], "2026-01-01", approver="a", thresholds=unchecked, supersede=True)
    with pytest.raises(ReadError, match=r"00000001\.json is damaged"):
        again.find(date="2025-01-15")
    assert again.verify()["what"].str.contains("00000001.json is damaged").tolist() == [True]
    unknown = r"00000001\.json is damaged.*until then it is not known which run holds"
    with says(unknown):
        assert set(again.list().index) == set(runs)
    with says(unknown):
        again.reindex()
    path.write_text(whole)
    assert Archive(archive.path).find(date="2025-01-15").run == runs[0]


def test_find_sees_that_records_were_replaced_by_those_of_a_backup(tmp_path, small_run, unchecked):
    """The catalogue knows as many records as there are, but others."""
    archive = Archive(tmp_path / "calib")
    runs = [archive.add(small_run(number)) for number in range(2)]
    archive.certify(runs[0], "2025-01-01", approver="a", thresholds=unchecked)
    assert archive.find(date="2025-02-01").run == runs[0]
    archive._holdings.journal.path(1).unlink()
    again = Archive(archive.path)
    with pytest.raises(ReadError, match=r"00000001\.json is missing"):
        again.find(date="2025-02-01")
    again.certify(runs[1], "2025-01-01", approver="b", thresholds=unchecked)
    assert Archive(archive.path).find(date="2025-02-01").run == runs[1]
