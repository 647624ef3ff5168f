"""An archive keeps runs, each once and whole, finds them by name, camera, filter and time, and removes for a reason."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.errors import FlatnormError, ReadError, SchemaError


def files(archive: Archive) -> list[Path]:
    return sorted((archive.path / "runs").glob("*/*"))


def one_line(caught: pytest.ExceptionInfo[Exception]) -> str:
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.fixture(scope="module")
def solved() -> xr.Dataset:
    return fx.solve(fx.simulate(n_detectors=4, n_exposures=5, seed=3)).assign_attrs(camera="testcam")


# add -----------------------------------------------------------------------------------------------------------------


def test_what_was_added_is_what_is_opened(calib, solved):
    run = calib.add(solved)
    found = calib.open(run)
    assert found.attrs.pop("content_digest")
    xr.testing.assert_identical(found, solved)
    assert [path.name for path in files(calib)] == [f"{run}.nc"]
    assert len(calib) == 1


def test_a_run_is_read_by_plain_xarray(calib, solved):
    run = calib.add(solved)
    with xr.open_dataset(calib.show(run)["path"]) as found:
        np.testing.assert_array_equal(found["G"], solved["G"])
        np.testing.assert_array_equal(found["time"], solved["time"])


def test_the_same_run_twice_is_one(calib, small_run):
    first = calib.add(small_run(1))
    assert calib.add(small_run(1)) == first
    assert len(files(calib)) == len(calib.list()) == 1


def test_a_run_whose_adding_was_cut_short_is_found_when_it_is_solved_again(calib, small_run, monkeypatch):
    def cut_short(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("flatnorm_xr.archive.holdings.Holdings.enter", cut_short)
        with pytest.raises(KeyboardInterrupt):
            calib.add(small_run(1).assign_attrs(history="2025: solve"))
    calib.add(small_run(1).assign_attrs(history="2026: solve"))
    assert len(calib) == 1


def test_a_night_that_was_only_solved_again_is_the_same_run(calib, small_run):
    first = calib.add(small_run(1).assign_attrs(history="2025: solve"))
    assert calib.add(small_run(1).assign_attrs(history="2026: solve")) == first
    assert calib.open(first).attrs["history"] == "2025: solve"
    assert len(files(calib)) == 1


def test_every_other_number_is_another_run(calib, small_run):
    first = calib.add(small_run(1))
    other = small_run(1)
    other["E"][0] = np.nextafter(other["E"][0], np.inf)
    assert calib.add(other) != first
    assert len(calib.list()) == 2


def test_a_file_of_an_archive_keeps_its_name_in_another(calib, small_run, tmp_path):
    run = calib.add(small_run(1).assign_attrs(history="2025: solve"))
    exported = calib.export(run, tmp_path / "handed on.nc")
    other = Archive(tmp_path / "other")
    assert other.add(exported) == run
    assert files(other)[0].read_bytes() == files(calib)[0].read_bytes() == exported.read_bytes()


def test_a_saved_file_is_the_run_that_was_saved(calib, solved, tmp_path):
    run = calib.add(solved)
    assert calib.add(fx.save(solved, tmp_path / "run.nc")) == run


def test_an_exported_file_that_was_changed_is_another_run(calib, small_run, tmp_path):
    run = calib.add(small_run(1))
    changed = fx.open(calib.export(run, tmp_path / "run.nc"))
    changed["G"][0] *= 1.001
    again = calib.add(fx.save(changed, tmp_path / "changed.nc"))
    assert again != run
    assert calib.open(again).attrs["content_digest"] != changed.attrs["content_digest"]


@pytest.mark.parametrize("suffix", ["csv", "ecsv", "parquet"])
def test_runs_in_tables_are_added(calib, solved, tmp_path, suffix):
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        columns = ["detector", "exposure", "background", "E", "G"]
        solved[columns[2:]].to_dataframe().reset_index()[columns].to_parquet(tmp_path / "run.parquet")
    else:
        fx.export(solved, tmp_path / f"run.{suffix}")
    known = {} if suffix == "ecsv" else {"camera": "testcam", "filter": "r"}
    run = calib.add(tmp_path / f"run.{suffix}", **known)
    np.testing.assert_array_equal(calib.open(run)["E"], solved["E"])
    assert calib.list().loc[run, "filter"] == "r"


def test_scales_of_rubin_are_added(calib, tmp_path):
    amplifiers = fx.solve(fx.simulate(n_detectors=2, n_amplifiers=2, n_exposures=4, seed=1))
    run = calib.add(fx.export(amplifiers, tmp_path / "scales.yaml"), camera="testcam", filter="r")
    np.testing.assert_allclose(calib.open(run)["E"], amplifiers["E"], rtol=1e-12)
    row = calib.list().loc[run]
    assert (row["filter"], row["units"], row["lost_units"]) == ("r", 4, 0)
    assert np.isnat(row["begin"].to_datetime64())


def test_a_run_that_tells_no_camera_needs_one(calib, small_run):
    with pytest.raises(FlatnormError, match=r"add: the run does not tell its camera.*pass camera="):
        calib.add(small_run(1, camera=""))
    with pytest.raises(FlatnormError, match="camera"):
        calib.add(small_run(1, camera=""), camera="  ")
    run = calib.add(small_run(1, camera=""), camera=" decam ")
    assert calib.list().loc[run, "camera"] == calib.open(run).attrs["camera"] == "decam"


def test_a_run_of_another_camera_is_refused(calib, small_run):
    with pytest.raises(FlatnormError, match=r"add: camera is 'decam', but the run says 'testcam'"):
        calib.add(small_run(1), camera="decam")
    assert calib.add(small_run(1), camera="testcam")


def test_a_filter_is_told_only_where_the_run_does_not(calib, small_run):
    run = calib.add(small_run(1).drop_vars("physical_filter"), filter="g")
    assert calib.list().loc[run, "filter"] == "g"
    assert calib.add(small_run(2), filter="r")
    with pytest.raises(FlatnormError, match=r"add: filter is 'g', but the run says 'r'"):
        calib.add(small_run(3), filter="g")


def test_measurements_are_no_run(calib, measurements, tmp_path):
    levels = measurements()
    with pytest.raises(SchemaError, match=r"add: the dataset has no E and no G.*solve it first"):
        calib.add(levels, camera="testcam")
    path = fx.save(levels, tmp_path / "levels.nc")
    with pytest.raises(SchemaError, match=r"add: .*levels\.nc has no E and no G"):
        calib.add(path, camera="testcam")
    assert files(calib) == []


def test_files_that_are_no_solutions_are_refused(calib, tmp_path):
    xr.Dataset({"E": ("exposure", [1.0])}).to_netcdf(tmp_path / "foreign.nc")
    (tmp_path / "text.nc").write_text("no NetCDF")
    (tmp_path / "empty.nc").touch()
    for name, rule in {
        "foreign.nc": "was not written by flatnorm-xr",
        "text.nc": "is not a NetCDF file",
        "empty.nc": "is not a NetCDF file",
        "missing.nc": "no such file",
        ".": "is a folder",
    }.items():
        with pytest.raises(FlatnormError, match=rule) as caught:
            calib.add(tmp_path / name, camera="testcam")
        one_line(caught)
    for nothing in (None, 5, {"E": 1}):
        with pytest.raises(FlatnormError, match="pass a solution"):
            calib.add(nothing)
    assert files(calib) == []


def test_groups_of_a_file_are_left_out_with_a_warning(calib, small_run, tmp_path, says):
    path = fx.save(small_run(1), tmp_path / "run.nc")
    with netCDF4.Dataset(path, "a") as file:
        file.createGroup("more").createVariable("x", "f8", ())
    with says(r"add: the groups more of .*run\.nc are no part of a run"):
        run = calib.add(path)
    with netCDF4.Dataset(calib.show(run)["path"]) as kept:
        assert not kept.groups
    assert run == calib.add(small_run(1))


def test_groups_in_a_file_of_an_archive_do_not_come_along(calib, small_run, tmp_path, says):
    path = calib.export(calib.add(small_run(1)), tmp_path / "run.nc")
    path.chmod(0o644)
    with netCDF4.Dataset(path, "a") as file:
        file.createGroup("more")
    with says("groups more"):
        run = Archive(tmp_path / "other").add(path)
    assert run == calib.add(small_run(1))


def test_the_input_is_not_changed(calib, solved):
    before = solved.copy(deep=True)
    calib.add(solved)
    xr.testing.assert_identical(solved, before)
    dask = pytest.importorskip("dask.array")
    lazy = solved.chunk()
    assert calib.add(lazy) == calib.add(solved)
    assert isinstance(lazy["G"].data, dask.Array)


def test_a_damaged_run_is_mended_by_adding_it_again(calib, small_run):
    run = calib.add(small_run(1))
    path = files(calib)[0]
    whole = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(whole[:-1] + b"?")
    assert calib.add(small_run(1)) == run
    assert path.read_bytes() == whole
    assert calib.verify().empty


# list, show, open ----------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(calib, small_run):
    """Two cameras, three filters; days 0, 1, 2 of the year."""
    runs = {
        "r": calib.add(small_run(0)),
        "g": calib.add(small_run(1, filters=("g", "g"))),
        "gr": calib.add(small_run(2, filters=("g", "r"))),
        "other": calib.add(small_run(1, camera="decam", filters=("N964",))),
    }
    return calib, runs


def test_list_has_a_row_a_run_in_order_of_time(filled):
    archive, runs = filled
    table = archive.list(camera="testcam")
    assert table.index.tolist() == [runs["r"], runs["g"], runs["gr"]]
    assert table["filter"].tolist() == ["r", "g", "g, r"]
    assert table["begin"].tolist() == list(np.array(["2025-01-01", "2025-01-02", "2025-01-03"], "M8[s]"))
    assert (table["end"] - table["begin"]).dt.total_seconds().tolist() == [60, 60, 60]
    assert table["exposures"].tolist() == [2, 2, 2]
    assert table["units"].tolist() == table["detectors"].tolist() == [3, 3, 3]
    assert table["lost_units"].tolist() == [0, 0, 0]
    assert table["converged"].tolist() == [1, 1, 1]
    assert table["rms_residual"].tolist() == [1e-3] * 3
    assert set(table["certified"]) == {""}
    assert table.index.name == "run"


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, "r g other gr"),
        ({"camera": "decam"}, "other"),
        ({"camera": "nocam"}, ""),
        ({"filter": "g"}, "g gr"),
        ({"filter": "r"}, "r gr"),
        ({"camera": "testcam", "filter": "N964"}, ""),
        ({"since": "2025-01-02"}, "g other gr"),
        ({"until": "2025-01-02"}, "r"),
        ({"since": "2025-01-02", "until": "2025-01-03"}, "g other"),
        ({"since": "2025-01-01T00:01"}, "r g other gr"),  # the last exposure of the first is at that very moment
        ({"since": "2025-01-01T00:01:00.000001"}, "g other gr"),
        ({"until": "2025-01-01"}, ""),
        ({"until": "2025-01-01T00:00:00.000001"}, "r"),
        ({"since": "2031-01-01"}, ""),
    ],
)
def test_list_narrows_by_camera_filter_and_time(filled, asked, expected):
    archive, runs = filled
    names = {run: name for name, run in runs.items()}
    found = [names[run] for run in archive.list(**asked).index]
    assert sorted(found) == sorted(expected.split())


def test_an_empty_table_has_the_columns_of_a_full_one(filled):
    archive, _ = filled
    full, empty = archive.list(), archive.list(camera="nocam")
    assert list(empty.columns) == list(full.columns)
    assert empty["begin"].dtype.kind == full["begin"].dtype.kind == "M"


def test_runs_without_times_come_last_and_lie_in_no_time(calib, small_run):
    timed = calib.add(small_run(1))
    timeless = calib.add(small_run(2).drop_vars("time"))
    assert calib.list().index.tolist() == [timed, timeless]
    assert np.isnat(calib.list().loc[timeless, "begin"].to_datetime64())
    assert calib.list(since="1900-01-01").index.tolist() == [timed]


def test_padding_is_no_unit_and_lost_units_are_counted(calib, solution):
    run = calib.add(solution(amplifiers=True).assign_attrs(camera="testcam"))
    row = calib.list().loc[run]
    assert row["units"] == 5  # three detectors of two amplifiers, one of which does not exist
    assert row["detectors"] == 3
    lost = solution(amplifiers=True).assign_attrs(camera="testcam")
    lost["G"] = lost["G"].where((lost.detector != 3) | (lost.amplifier != "A"))
    run = calib.add(lost)
    assert calib.list().loc[run, "lost_units"] == 1


def test_a_bad_date_names_its_argument(filled):
    archive, _ = filled
    for name in ("since", "until"):
        with pytest.raises(FlatnormError, match=f"list: {name} is yesterday; give a date such as"):
            archive.list(**{name: "yesterday"})


def test_show_tells_all_that_is_known(filled, unchecked):
    archive, runs = filled
    archive.certify(runs["r"], "2025-01-01", approver="M. Curie", comment="new lamp", thresholds=unchecked)
    shown = archive.show(runs["r"][:8])
    assert shown["run"] == runs["r"]
    assert Path(shown["path"]).name == f"{runs['r']}.nc"
    assert shown["camera"] == "testcam"
    assert shown["filters"] == ["r"]
    assert (shown["begin"], shown["end"]) == ("2025-01-01", "2025-01-01T00:01:00")
    assert [(c["approver"], c["begin"], c["comment"]) for c in shown["certificates"]] == [
        ("M. Curie", "2025-01-01", "new lamp")
    ]
    assert json.loads(json.dumps(shown)) == shown


def test_a_prefix_names_a_run_where_it_is_enough(filled):
    archive, runs = filled
    for run in runs.values():
        assert archive.show(run[:12])["run"] == run
        assert archive.open(run[:4]).attrs["content_digest"] == archive.open(run).attrs["content_digest"]


def test_what_is_no_name_of_a_run_is_refused(filled, tmp_path):
    archive, runs = filled
    run = runs["r"]
    for name in (run[:3], "", run + "0", run.upper(), "../" + run, "x" * 64, 5, None, tmp_path):
        with pytest.raises(ReadError, match="is no run; give the first digits of one, four at least") as caught:
            archive.open(name)
        one_line(caught)
    unknown = ("0" if run[0] != "0" else "1") + run[1:]
    for name in (unknown, unknown[:20]):
        with pytest.raises(ReadError, match="begins no run in"):
            archive.open(name)


def test_a_prefix_of_several_runs_is_not_enough(calib, small_run, monkeypatch):
    run = calib.add(small_run(1))
    twin = run[:5] + ("0" if run[5] != "0" else "1") + run[6:]
    shutil.copy(files(calib)[0], files(calib)[0].with_name(f"{twin}.nc"))
    with pytest.raises(ReadError, match=f"{run[:5]} begins 2 runs; give more digits"):
        calib.open(run[:5])
    calib.open(run[:6])


def test_a_damaged_run_is_not_opened(filled):
    archive, runs = filled
    path = Path(archive.show(runs["r"])["path"])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(ReadError, match=r"is damaged; copy it back from a backup") as caught:
        archive.open(runs["r"])
    assert path.name in one_line(caught)
    archive.open(runs["g"])


def test_runs_are_opened_in_chunks(calib, solved):
    pytest.importorskip("dask")
    run = calib.add(solved)
    with calib.open(run, chunks={}) as lazy:
        assert lazy["background"].chunks
        np.testing.assert_array_equal(lazy["background"].compute(), solved["background"])


def test_export_writes_for_others_and_overwrites_only_when_told(filled, tmp_path):
    archive, runs = filled
    path = tmp_path / "run.nc"
    archive.export(runs["r"][:10], path)
    assert archive.open(runs["r"]).identical(fx.open(path))
    with pytest.raises(FlatnormError, match=r"export: .*run\.nc exists; pass overwrite=True"):
        archive.export(runs["g"], path)
    archive.export(runs["g"], path, overwrite=True)
    assert archive.open(runs["g"]).identical(fx.open(path))
    table = archive.export(runs["r"], tmp_path / "run.csv")
    assert table.read_text().startswith("detector,")


# remove --------------------------------------------------------------------------------------------------------------


def test_a_removed_run_lies_in_the_trash_and_comes_back(filled):
    archive, runs = filled
    trash = archive.remove(runs["r"][:8], who="P. Curie", why="the lamp flickered")
    assert trash == archive.path / "trash" / f"{runs['r']}.nc"
    assert trash.is_file()
    assert runs["r"] not in archive.list().index
    with pytest.raises(ReadError, match=r"was taken out of the archive and is now .*trash") as caught:
        archive.open(runs["r"][:8])
    assert trash.name in one_line(caught)
    assert archive.add(trash) == runs["r"]
    assert runs["r"] in archive.list().index
    assert [(d["who"], d["why"]) for d in archive.show(runs["r"])["decisions"]] == [("P. Curie", "the lamp flickered")]


def test_a_run_that_is_removed_twice_lies_in_the_trash_twice(filled):
    archive, runs = filled
    first = archive.remove(runs["r"], who="a", why="b")
    archive.add(first)
    second = archive.remove(runs["r"], who="a", why="c")
    assert first != second
    assert first.read_bytes() == second.read_bytes()


def test_a_certified_run_is_not_removed(filled, unchecked):
    archive, runs = filled
    certificate = archive.certify(runs["r"], "2025-01-01", approver="M. Curie", thresholds=unchecked)
    with pytest.raises(FlatnormError, match=r"remove: .* holds by certificate 1 \(from 2025-01-01 on\); revoke it, or"):
        archive.remove(runs["r"], who="a", why="b")
    assert archive.open(runs["r"])
    archive.revoke(certificate, approver="M. Curie", why="typing error")
    assert archive.remove(runs["r"], who="a", why="b").exists()


def test_a_run_whose_certificate_was_superseded_is_removed(filled, unchecked):
    archive, runs = filled
    archive.certify(runs["r"], "2025-01-01", approver="M. Curie", thresholds=unchecked)
    archive.certify(runs["gr"], "2025-01-01", filter="r", approver="M. Curie", supersede=True, thresholds=unchecked)
    assert archive.remove(runs["r"], who="a", why="b").exists()


@pytest.mark.parametrize("reason", [{"who": "", "why": "b"}, {"who": "a", "why": "  "}, {"who": "a", "why": None}])
def test_removal_needs_a_name_and_a_reason(filled, reason):
    archive, runs = filled
    with pytest.raises(FlatnormError, match="it must say something, for it goes into the records"):
        archive.remove(runs["r"], **reason)
    assert runs["r"] in archive.list().index


def test_what_could_not_be_moved_is_not_recorded_as_removed(filled):
    archive, runs = filled
    (archive.path / "trash").touch()  # a file where the folder should be
    with pytest.raises(FlatnormError, match="nothing was changed"):
        archive.remove(runs["r"], who="a", why="b")
    assert archive.show(runs["r"])["decisions"] == []
    assert runs["r"] in archive.list().index


def test_what_could_not_be_recorded_is_put_back(filled, monkeypatch):
    archive, runs = filled

    def no_space(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("flatnorm_xr.archive.journal.claim_file", no_space)
        with pytest.raises(FlatnormError, match="No space left on device; nothing was changed"):
            archive.remove(runs["r"], who="a", why="b")
    assert archive.show(runs["r"])["decisions"] == []
    assert list((archive.path / "trash").iterdir()) == []


def test_a_lost_first_record_is_named(filled):
    archive, _ = filled
    archive.remove(archive.list().index[0], who="a", why="b")
    (archive.path / "records" / "00000000.json").unlink()
    for create in (True, False):
        with pytest.raises(ReadError, match=r"the record .*00000000\.json is missing; copy it back from a backup"):
            Archive(archive.path, create=create)


# the folder ----------------------------------------------------------------------------------------------------------


def test_an_archive_is_made_in_an_empty_folder_only(tmp_path):
    assert Archive(tmp_path / "new").path.is_dir()
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "lost+found").mkdir()
    Archive(tmp_path / "empty")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").touch()
    with pytest.raises(FlatnormError, match=r"holds thesis\.tex, so it is no archive; give a new folder"):
        Archive(tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["thesis.tex"]


def test_an_archive_that_is_not_there_is_not_made_unless_wanted(tmp_path):
    with pytest.raises(ReadError, match="there is no archive at"):
        Archive(tmp_path / "calib", create=False)
    with pytest.raises(FlatnormError, match=r"the folder .*no does not exist; create it first"):
        Archive(tmp_path / "no" / "calib")
    (tmp_path / "file").touch()
    with pytest.raises(FlatnormError, match="is a file; give the name of a folder"):
        Archive(tmp_path / "file")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_an_archive_of_a_newer_format_is_refused(calib):
    body = calib._holdings.journal.read(0).body | {"format": 7, "program": "flatnorm 9.9"}
    from flatnorm_xr.archive.journal import _seal

    calib._holdings.journal.path(0).write_text(json.dumps(body | {"sha256": _seal(body)}))
    with pytest.raises(FlatnormError, match=r"was made by flatnorm 9\.9 in format 7; this program reads 1: upgrade"):
        Archive(calib.path)


def test_runs_without_records_are_no_new_archive(filled):
    archive, _ = filled
    shutil.rmtree(archive.path / "records")
    with pytest.raises(FlatnormError, match="has runs but no records"):
        Archive(archive.path)


def test_an_archive_may_move(filled, tmp_path, monkeypatch):
    archive, runs = filled
    archive.path.rename(tmp_path / "moved")
    moved = Archive(tmp_path / "moved")
    assert set(moved.list().index) == set(runs.values())
    monkeypatch.chdir(tmp_path)
    assert set(Archive("moved").list().index) == set(runs.values())
    monkeypatch.chdir(tmp_path / "moved")
    here = Archive(".")
    assert set(here.list().index) == set(runs.values())
    assert here.verify().empty


def test_a_folder_with_a_name_of_any_kind(tmp_path, small_run):
    archive = Archive(tmp_path / "50 % of ä?mode=ro#1 'flats'")
    run = archive.add(small_run(1))
    assert Archive(archive.path).list().index.tolist() == [run]
    assert archive.verify().empty


# trees ---------------------------------------------------------------------------------------------------------------


def test_to_datatree_has_a_node_a_run(filled):
    archive, runs = filled
    tree = archive.to_datatree("testcam")
    assert tree.name == "testcam"
    assert list(tree.children) == [runs[name][:12] for name in ("r", "g", "gr")]
    for run in (runs["r"], runs["gr"]):
        xr.testing.assert_identical(tree[run[:12]].to_dataset().load(), archive.open(run))
    assert list(archive.to_datatree("testcam", filter="r").children) == [runs["r"][:12], runs["gr"][:12]]
    tree.close()


def test_to_datatree_asks_which_camera(filled):
    archive, runs = filled
    with pytest.raises(FlatnormError, match=r"several cameras; pass camera= with one of decam, testcam"):
        archive.to_datatree()
    with archive.to_datatree(filter="N964") as tree:
        assert list(tree.children) == [runs["other"][:12]]


def test_to_datatree_of_nothing_is_empty(calib):
    assert not calib.to_datatree().children
