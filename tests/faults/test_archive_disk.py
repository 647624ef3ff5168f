"""Where the disk is full or may not be written to, reading goes on, writing says why not, and nothing is half done."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.journal import Journal
from flatnorm_xr.archive.store import sha256_of

pytestmark = pytest.mark.skipif(os.name != "posix", reason="limits and permissions of POSIX")

NOBODY = 65534
as_root = pytest.mark.skipif(os.name == "posix" and os.getuid() != 0, reason="only root can become another user")


def snapshot(path: Path) -> dict[str, str]:
    """All files of a folder with the checksums of what is in them, without locks and the index."""
    return {
        str(file.relative_to(path)): sha256_of(file)
        for file in sorted(path.rglob("*"))
        if file.is_file() and file.suffix != ".lock" and file.name != "lock" and not file.name.startswith("catalogue.")
    }


def answers(said: list[list]) -> dict[str, list]:
    """What was said of each attempt; each refusal is one line that says why."""
    found = {name: words for name, *words in said if name not in ("warned", "failed")}
    for words in found.values():
        if words[0] == "refused":
            assert "\n" not in words[1]
    return found


@pytest.fixture
def filled(tmp_path, start) -> Path:
    """Two runs, of which the first is certified."""
    path = tmp_path / "calib"
    start("add_and_certify", path=path, numbers=[0]).wait()
    start("add", path=path, numbers=[1]).wait()
    return path


def assert_nothing_is_half_done(path: Path, found: dict[str, list], before: dict[str, str]) -> None:
    after = snapshot(path)
    gone = {name for name in before if name not in after}
    assert all(name.startswith("runs/") and f"trash/{Path(name).name}" in after for name in gone)
    assert len(gone) == (found["remove"][0] == "worked")
    assert all(after[name] == checksum for name, checksum in before.items() if name in after)
    new = {name for name in after if name not in before}
    assert not [name for name in new if Path(name).name.startswith(".")]
    kept = {Path(name).stem for name in new if name.startswith("runs/")}
    assert kept == ({found["add"][1]} if found["add"][0] == "worked" else set())
    assert len(Journal(path / "records").records()) == 2 + sum(
        found[name][0] == "worked" for name in ("certify", "remove")
    )


@pytest.mark.parametrize("limit", [0, 1_000, 5_000, 12_000, 20_000, 60_000, 200_000])
def test_files_that_may_not_grow(filled, start, limit):
    """The limit strikes at another step each time: the record, the run, the catalogue or its log."""
    before = snapshot(filled)
    said = start("write_within", path=filled, limit=limit, number=5, detectors=20_000).wait()
    found = answers(said)
    assert found["add"][0] == "refused"
    assert "File too large" in found["add"][1] or "is the disk full?" in found["add"][1]
    assert found["list"][0] == "worked"
    assert_nothing_is_half_done(filled, found, before)
    archive = Archive(filled)
    assert archive.verify(quarantine=False).empty
    start("add_and_certify", path=filled, numbers=[5]).wait()
    assert archive.reindex() == 3 - (found["remove"][0] == "worked")
    assert archive.verify().empty


@pytest.fixture
def small_disk(tmp_path):
    """A disk of a megabyte."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no disk can be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@as_root
@pytest.mark.parametrize("left", [0, 4_096, 12_288, 40_960, 90_112])
def test_a_full_disk(filled, small_disk, start, left):
    path = small_disk / "calib"
    shutil.copytree(filled, path)
    before = snapshot(path)
    free = os.statvfs(small_disk).f_bavail * os.statvfs(small_disk).f_bsize
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(free - left))
    found = answers(start("write_within", path=path, limit=None, number=5, detectors=20_000).wait())
    assert found["add"][0] == "refused"
    assert "No space left on device" in found["add"][1] or "is the disk full?" in found["add"][1]
    assert found["list"][0] == "worked"
    assert_nothing_is_half_done(path, found, before)
    ballast.unlink()
    start("add_and_certify", path=path, numbers=[6]).wait()
    assert Archive(path).reindex() == 3 - (found["remove"][0] == "worked")
    assert Archive(path).verify().empty


@pytest.fixture
def passable():
    """A folder of our own, for others may not pass through that of the tests."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    if any(not parent.stat().st_mode & 0o001 for parent in folder.parents):
        pytest.skip(f"others cannot reach {folder}")
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def for_others(filled, passable):
    """Put the archive where others can read it."""
    shutil.copytree(filled, passable / "calib")
    return passable / "calib"


READ = ("list", "find", "open", "load", "history", "show", "certificates", "tree", "verify")
WRITTEN = ("add", "certify", "revoke", "remove", "reindex")


def assert_read_but_not_written(said: list[list], runs: set[str]) -> None:
    found = {name: words[0] for name, *words in said if name != "warned"}
    assert set(READ) <= set(found)
    assert set(found["list"]) == runs
    assert found["certificates"] == 1
    assert found["verify"] == 0
    for name in WRITTEN:
        assert "Permission denied" in found[name] or "cannot be" in found[name], (name, found[name])
        assert "\n" not in found[name]


@as_root
@pytest.mark.parametrize("catalogue", ["current", "behind", "absent", "damaged", "of the records behind", "with a log"])
def test_a_folder_that_may_not_be_written_to(for_others, start, catalogue):
    """The index is read where it is right, and what it does not know is read from the files."""
    index = for_others / "catalogue.sqlite"
    old = index.read_bytes()
    if catalogue in ("behind", "of the records behind"):
        start("add_and_certify" if catalogue != "behind" else "add", path=for_others, numbers=[2]).wait()
        if catalogue == "behind":
            assert Archive(for_others).reindex() == 3
        index.write_bytes(old)
    if catalogue == "absent":
        index.unlink()
    if catalogue == "damaged":
        index.write_bytes(b"x" * 20_000)
    if catalogue == "with a log":
        index.with_name("catalogue.sqlite-wal").write_bytes(b"x" * 5_000)
    runs = {file.stem for file in (for_others / "runs").glob("*/*")}
    before = snapshot(for_others)
    said = start("use", path=for_others, number=7, uid=NOBODY).wait()
    if catalogue == "of the records behind":
        found = {name: words[0] for name, *words in said}
        assert set(found["list"]) == runs
        assert found["certificates"] == 2
    else:
        assert_read_but_not_written(said, runs)
    warned = [words[1] for words in said if words[0] == "warned"]
    assert all("is damaged" in warning for warning in warned)
    assert bool(warned) == (catalogue == "damaged")
    assert snapshot(for_others) == before


@as_root
def test_a_folder_on_a_disk_that_may_not_be_written_to(filled, small_disk, start):
    path = small_disk / "calib"
    shutil.copytree(filled, path)
    runs = {file.stem for file in (path / "runs").glob("*/*")}
    remount = ["mount", "-o", "remount,ro", str(small_disk)]
    if subprocess.run(remount, capture_output=True, check=False).returncode:
        pytest.skip("the disk cannot be made read-only here")
    said = start("use", path=path, number=7).wait()  # not even by root
    found = {name: words[0] for name, *words in said}
    assert set(found["list"]) == runs
    for name in WRITTEN:
        assert "Read-only file system" in found[name] or "cannot be" in found[name], (name, found[name])
    assert not [words for words in said if words[0] == "warned"]


@as_root
@pytest.mark.parametrize("part", [".", "records", "records/*.json", "runs", "runs/*"])
def test_what_may_not_even_be_read_is_named(for_others, start, part):
    for path in for_others.glob(part) if part != "." else [for_others]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    process = start("use", path=for_others, number=7, uid=NOBODY)
    assert process.status() == 1
    (said,) = [words for words in process.said() if words[0] == "failed"]
    last = said[1].strip().splitlines()[-1]
    assert last.startswith("flatnorm_xr.errors.")
    assert last.endswith(("Permission denied", "Permission denied; nothing was changed"))


@as_root
def test_runs_that_one_user_may_not_read_stay_in_the_list_of_others(for_others, start):
    """A run added by someone whose umask keeps others out is named, and taken for neither damaged nor gone."""
    hidden = sorted((for_others / "runs").glob("*/*"))[0]
    hidden.chmod(0o400)
    (for_others / "catalogue.sqlite").unlink()
    process = start("use", path=for_others, number=7, uid=NOBODY)
    process.status()
    said = process.said()
    assert said[0] == ["list", [file.stem for file in sorted((for_others / "runs").glob("*/*"))[1:]]]
    assert [words for words in said if words[0] == "warned" and f"{hidden.stem[:12]} cannot be read" in words[1]]
    problems = Archive(for_others).verify()
    assert problems.empty
    assert len(Archive(for_others).list()) == 2


@as_root
def test_a_group_shares_an_archive(passable, start):
    """Two users of one group, each of whom lets the group write: what one makes the other can go on with."""
    folder = passable / "shared"
    folder.mkdir()
    os.chown(folder, 0, 1000)
    folder.chmod(0o2775)
    path, runs = folder / "calib", []
    for k in range(3):
        user = (1001, 1002)[k % 2]
        said = start("add_and_certify", path=path, numbers=[k], uid=user, gid=1000, umask=0o002).wait()
        assert [words[0] for words in said] == ["run", "certificate"], said
        runs.append(said[0][1])
    owners = {(path / "runs" / run[:2] / f"{run}.nc").stat().st_uid for run in runs}
    assert owners == {1001, 1002}
    runs.append(start("add", path=path, numbers=[8], uid=1001, gid=1000, umask=0o002).wait()[0][0])
    said = start("write_within", path=path, limit=None, number=9, detectors=3, uid=1002, gid=1000, umask=0o002).wait()
    assert {name: words[0] for name, *words in said} == {
        "add": "worked",
        "certify": "worked",
        "remove": "worked",
        "reindex": "worked",
        "list": "worked",
    }
    said = start("add_and_certify", path=path, numbers=[20], uid=1001, gid=1000, umask=0o002).wait()
    assert [words[0] for words in said] == ["run", "certificate"], said
    assert Archive(path).verify().empty
