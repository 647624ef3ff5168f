"""Files from a hostile source give a clear error or do no harm, and nothing is written outside the archive."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.archive.store import sha256_of
from flatnorm_xr.errors import FlatnormError, ReadError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")

UNCHECKED = fx.Thresholds(None, None, None, None, None, None)
EVIL = {
    "upwards": "../../../../tmp/owned",
    "absolute": "/etc/passwd",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "escapes": "\x1b[2J\x1b[31mred\x07\r\nsecond line",
    "template": "{{ 7 * 7 }} {% for x in y %} ${HOME} $(touch owned) `touch owned`",
    "query": "'; DROP TABLE runs; --",
    "format": "{0.__class__} %s %n",
    "direction": "r\u202egpj.nc",
}


def everything(folder: Path) -> dict[str, object]:
    """All that lies in a folder: names, kinds, contents, where links lead."""
    found: dict[str, object] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        found[name] = os.readlink(path) if path.is_symlink() else sha256_of(path) if path.is_file() else "folder"
    return found


@pytest.fixture
def archive(tmp_path) -> Iterator[Archive]:
    """Give an archive beside which nothing may change."""
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "diary.txt").write_text("dear diary")
    found = Archive(tmp_path / "beside" / "calib")
    home, cwd = Path.home(), Path.cwd()
    (tmp_path / "cwd").mkdir()
    os.chdir(tmp_path / "cwd")
    yield found
    os.chdir(cwd)
    outside = {
        name: what for name, what in everything(tmp_path).items() if not name.startswith(("beside/calib", "given"))
    }
    assert outside.keys() == {"beside", "beside/diary.txt", "cwd"}
    assert outside["beside/diary.txt"] == sha256_of(tmp_path / "beside" / "diary.txt")
    assert (tmp_path / "beside" / "diary.txt").read_text() == "dear diary"
    assert not (home / "owned").exists()
    assert not Path("/tmp/owned").exists()


def given(tmp_path: Path, name: str = "run.nc") -> Path:
    """Where what is handed in lies."""
    (tmp_path / "given").mkdir(exist_ok=True)
    return tmp_path / "given" / name


def put(archive: Archive, content: Path) -> Path:
    """Put a file among the runs, under its checksum."""
    path = archive._holdings.store.path(sha256_of(content))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.read_bytes())
    return path


# what stands in a file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("evil", EVIL.values(), ids=EVIL.keys())
def test_names_and_words_of_any_kind_are_only_words(archive, small_run, evil):
    words = dict.fromkeys(("title", "source", "history", "path", "inputs", "run", "filename", "content_digest"), evil)
    ds = small_run(1, camera=evil, filters=(evil, evil)).assign_attrs(words)
    ds = ds.assign_coords(
        detector=[evil, evil + "1", "x"], night=("exposure", [evil, evil]), lamp=("exposure", [evil] * 2)
    )
    run = archive.add(ds)
    other = archive.add(small_run(2, camera=evil + "2"))
    certificate = archive.certify(run, "2025-01-01", "2025-02-01", approver=evil, comment=evil, thresholds=UNCHECKED)
    assert archive.find(evil, evil, "2025-01-15") == certificate
    assert archive.list(camera=evil)["filter"].tolist() == [evil]
    assert archive.load("E", camera=evil, filter=evil).shape == (1, 2)
    assert archive.history(camera=evil).sizes["run"] == 1
    assert list(archive.to_datatree(evil).children) == [run[:12]]
    assert json.loads(json.dumps(archive.show(run)))["camera"] == evil
    archive.remove(other, who=evil, why=evil)
    for ask in (
        lambda: archive.find(evil, evil, "2026-01-01"),
        lambda: archive.find("testcam", evil, "2025-01-15"),
        lambda: archive.certify(run, "2025-01-01", approver="a", thresholds=UNCHECKED),
        lambda: archive.add(ds, camera="testcam"),
        lambda: archive.open(evil),
        lambda: archive.load(evil, camera=evil),
        lambda: archive.list(since=evil),
    ):
        with pytest.raises(FlatnormError) as caught:
            ask()
        assert str(caught.value).isprintable()
    assert archive.verify().empty
    assert archive.reindex() == 1


def test_attributes_of_ten_megabytes(archive, small_run):
    long = "ä" * 5_000_000
    ds = small_run(1).assign_attrs(title=long, source=long, gauge=long)
    ds["E"].attrs["comment"] = long
    run = archive.add(ds)
    assert archive.open(run)["E"].attrs["comment"] == long
    shown = archive.show(run)
    assert len(json.dumps(shown)) < 10_000
    assert archive.list().loc[run, "exposures"] == 2
    assert (archive.path / "catalogue.sqlite").stat().st_size < 1_000_000
    assert archive.verify().empty


def test_names_of_a_megabyte_are_refused(archive, small_run):
    for ds in (small_run(1, camera="x" * 1_000_000), small_run(1, filters=("x" * 1_000_000, "r"))):
        with pytest.raises(
            FlatnormError, match=r"the name of the \w+ has 1000000 characters; it may have 200"
        ) as caught:
            archive.add(ds)
        assert len(str(caught.value)) < 300
    assert len(archive) == 0
    with pytest.raises(FlatnormError, match="is too long; shorten the comment"):
        archive.certify(archive.add(small_run(2)), "2025-01-01", approver="x" * 2_000_000, thresholds=UNCHECKED)


@pytest.mark.parametrize(
    "attrs",
    [
        {"rms_residual": "much"},
        {"rms_residual": np.array([1.0, 2.0])},
        {"converged": "yes"},
        {"converged": np.nan},
        {"camera": 5},
        {"camera": np.array([1.0, 2.0])},
        {"gauge": 1.5},
        {"flatnorm_min_reader": "x"},
        {"content_digest": 5},
        {"group": "x"},
    ],
    ids=str,
)
def test_attributes_of_another_kind(archive, small_run, attrs, tmp_path):
    ds = small_run(1).assign_attrs(attrs)
    try:
        run = archive.add(ds)
    except FlatnormError as error:
        message = str(error)
        assert message.isprintable()
        assert len(archive) == 0
    else:
        assert archive.show(run)["run"] == run
        assert archive.list().index.tolist() == [run]
    assert not list((archive.path / "incoming").glob(".*"))
    again = archive.add(small_run(2))
    assert again in archive.list().index
    assert archive.reindex() == len(archive)
    assert archive.verify().empty


@pytest.mark.parametrize(
    "change",
    [
        {"time": ("exposure", np.array(["9999-12-31", "0001-01-01"], "M8[s]"))},
        {"time": ("exposure", np.array([2**62, -(2**62)], "M8[us]"))},
        {"time": ("exposure", np.array(["NaT", "NaT"], "M8[ns]"))},
        {"time": ("exposure", [1.0, np.nan])},
        {"physical_filter": ("exposure", [1.0, np.nan])},
        {"physical_filter": ("detector", ["a", "b", "c"])},
        {"night": ("exposure", np.array([np.inf, -np.inf]))},
        {"temperature": ("exposure", np.array([2**63 - 1, -(2**63)]))},
        {"run": ("exposure", [1.0, 2.0])},
        {"group": "all"},
    ],
    ids=str,
)
def test_coordinates_of_another_kind(archive, small_run, change):
    ds = small_run(1).drop_vars(list(change), errors="ignore").assign_coords(change)
    try:
        run = archive.add(ds)
    except FlatnormError as error:
        message = str(error)
        assert message.isprintable()
        return
    row = archive.list().loc[run]
    assert np.isnat(row["begin"].to_datetime64()) or row["begin"].year == 2025
    archive.show(run)
    archive.add(small_run(2))
    archive.load("E", filter=archive.list().loc[run, "filter"].split(", ")[0]).load()
    assert archive.reindex() == 2


def test_a_file_that_says_it_is_a_petabyte(archive, small_run, tmp_path):
    path = given(tmp_path)
    with netCDF4.Dataset(path, "w") as file:
        file.setncatts(dict(small_run(1).attrs) | {"flatnorm_schema_version": 2, "flatnorm_min_reader": 1})
        file.createDimension("detector", 10**15)
        file.createDimension("exposure", 10**15)
        for name, dim in (("E", "exposure"), ("G", "detector")):
            file.createVariable(name, "f8", (dim,), chunksizes=(100,), zlib=True)
    with pytest.raises(ReadError, match=r"add: .*run\.nc holds \d+ GiB, a run may take 8; was it made by flatnorm\?"):
        archive.add(path)
    assert len(archive) == 0


def test_a_petabyte_in_a_group_is_not_looked_at(archive, small_run, tmp_path, says):
    path = fx.save(small_run(1), given(tmp_path))
    with netCDF4.Dataset(path, "a") as file:
        group = file.createGroup("more").createGroup("and more")
        group.createDimension("x", 10**15)
        group.createVariable("v", "f8", ("x",), chunksizes=(100,), zlib=True)
    with says("the groups more"):
        run = archive.add(path)
    assert Path(archive.show(run)["path"]).stat().st_size < 100_000


def test_what_is_no_file_does_not_hang(archive, tmp_path):
    os.mkfifo(given(tmp_path, "pipe.nc"))
    os.mkfifo(given(tmp_path, "pipe.csv"))
    given(tmp_path, "loop.nc").symlink_to("loop.nc")
    for path in (given(tmp_path, "pipe.nc"), given(tmp_path, "pipe.csv"), given(tmp_path, "loop.nc"), "/dev/zero"):
        with pytest.raises(FlatnormError) as caught:
            archive.add(path, camera="testcam")
        assert str(caught.value).isprintable()


# what lies in the folder ---------------------------------------------------------------------------------------------


def test_a_link_among_the_runs(archive, small_run, tmp_path, says):
    run = archive.add(small_run(1))
    runs = archive.path / "runs"
    zero = archive._holdings.store.path("0" * 64)
    zero.parent.mkdir(exist_ok=True)
    zero.symlink_to("/dev/zero")
    loop = archive._holdings.store.path("1" * 64)
    loop.parent.mkdir(exist_ok=True)
    loop.symlink_to(loop)
    pipe = archive._holdings.store.path("2" * 64)
    pipe.parent.mkdir(exist_ok=True)
    os.mkfifo(pipe)
    (runs / "up").symlink_to(tmp_path)
    with says("cannot be read; verify tells more"):
        assert archive.list().index.tolist() == [run]
    for name in ("0" * 64, "2" * 64):
        with pytest.raises(ReadError, match="is not a regular file"):
            archive.open(name)
    problems = archive.verify()
    assert {zero, pipe, runs / "up"} <= set(problems["path"])
    assert zero.is_symlink()
    with says("cannot be read"):
        assert archive.list().index.tolist() == [run]


def test_a_linked_folder_among_the_runs_is_not_written_through(archive, small_run, tmp_path):
    elsewhere = Archive(given(tmp_path, "elsewhere"))
    run = elsewhere.add(small_run(1))
    (archive.path / "runs").mkdir(exist_ok=True)
    (archive.path / "runs" / run[:2]).symlink_to(given(tmp_path).parent)
    before = everything(given(tmp_path).parent)
    with pytest.raises(FlatnormError, match=r"add: .* is a symbolic link, and an archive writes nowhere else"):
        archive.add(small_run(1))
    assert everything(given(tmp_path).parent) == before
    assert "is no run of this archive" in archive.verify()["what"].tolist()[0]


@pytest.mark.parametrize("folder", ["runs", "records", "incoming", "trash", "quarantine"])
def test_a_folder_of_an_archive_that_is_a_link_is_refused(archive, small_run, tmp_path, folder):
    archive.remove(archive.add(small_run(1)), who="a", why="b")
    (archive.path / "quarantine").mkdir()
    (archive.path / folder).rename(given(tmp_path, "elsewhere"))
    (archive.path / folder).symlink_to(given(tmp_path, "elsewhere"))
    before = everything(given(tmp_path).parent)
    with pytest.raises(FlatnormError, match=rf"archive: {folder} of .* is a symbolic link"):
        Archive(archive.path)
    assert everything(given(tmp_path).parent) == before


@pytest.mark.parametrize(
    "name",
    [
        "catalogue.sqlite",
        "catalogue.sqlite-wal",
        "catalogue.sqlite-shm",
        "catalogue.lock",
        "catalogue.new",
        "records/lock",
    ],
)
@pytest.mark.parametrize("there", [True, False])
def test_a_file_that_is_a_link_is_not_written_through(archive, small_run, tmp_path, name, there):
    archive.add(small_run(0))
    target = given(tmp_path, "target")
    if there:
        target.write_text("precious")
    (archive.path / name).unlink(missing_ok=True)
    (archive.path / name).symlink_to(target)
    found = Archive(archive.path)
    run = found.add(small_run(1))
    found.certify(run, "2025-01-01", approver="a", thresholds=UNCHECKED)
    assert found.find(date="2025-02-01").run == run
    assert len(found.list()) == 2
    assert target.exists() == there
    assert not there or target.read_text() == "precious"
    assert {path.name for path in given(tmp_path).parent.iterdir()} <= {"target"}


def test_an_archive_is_not_made_over_links(archive, tmp_path):
    folder = given(tmp_path, "new")
    folder.mkdir()
    (folder / "README.txt").symlink_to(tmp_path / "beside" / "owned")
    with pytest.raises(FlatnormError, match=r"holds README\.txt, so it is no archive"):
        Archive(folder)


def test_a_file_of_hdf5_that_is_not_ours_but_has_the_right_name(archive, small_run, tmp_path, says):
    run = archive.add(small_run(1))
    foreign = given(tmp_path)
    xr.Dataset({"G": ("detector", [1.0]), "E": ("exposure", [1.0])}).to_netcdf(foreign)
    path = put(archive, foreign)
    with says(f"list: {path.stem[:12]} cannot be read"):
        assert archive.list().index.tolist() == [run]
    for ask in (archive.open, archive.show, lambda run: archive.certify(run, "2025-01-01", approver="a")):
        with pytest.raises(FlatnormError, match="was not written by flatnorm-xr") as caught:
            ask(path.stem)
        assert "\n" not in str(caught.value)
    assert archive.history().sizes["run"] == 1
    assert path in archive.verify()["path"].tolist()


# the program ---------------------------------------------------------------------------------------------------------


def test_nothing_in_the_program_runs_what_stands_in_a_file():
    """No pickle, no eval, no YAML but what SafeLoader reads, in any module."""
    package = Path(fx.__file__).parent
    banned = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}
    calls = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not banned & {name.partition(".")[0] for name in names}, path
            if not isinstance(node, ast.Call):
                continue
            called = ast.unparse(node.func)
            assert called not in ("eval", "exec", "os.system", "np.fromstring"), (path, called)
            keywords = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            assert keywords.get("allow_pickle", "False") == "False", path
            assert keywords.get("shell", "False") == "False", path
            if called.startswith("yaml."):
                calls.append(called.removeprefix("yaml."))
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"yaml\.C?Loader\b|(Unsafe|Full)Loader", text), path
    assert {"parse", "safe_dump"} <= set(calls)
    # parse gives events, which make nothing; whatever makes objects of a text must be the safe one
    assert {call for call in calls if "load" in call or "construct" in call} <= {"safe_load"}
