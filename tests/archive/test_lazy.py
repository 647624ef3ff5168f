"""One variable of many runs: read when asked for, from the runs that were asked for, each number where it belongs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive import contents, netcdf
from flatnorm_xr.archive import history as history_module
from flatnorm_xr.archive.archive import Archive
from flatnorm_xr.errors import FlatnormError, ReadError


@pytest.fixture
def filled(calib, small_run):
    """Six days; the third run has another detector, the last two an exposure more."""
    datasets = [small_run(number, filters=("r",) * (2 + number // 4)) for number in range(6)]
    datasets[2] = datasets[2].isel(detector=[0, 2]).assign_coords(detector=[2, 9])
    runs = [calib.add(ds) for ds in datasets]
    return calib, runs, datasets


@pytest.fixture
def opened(monkeypatch):
    """Which runs have been read."""
    found: list[str] = []

    def counting(function):
        def counted(path, *args, **more):
            found.append(Path(path).stem)
            return function(path, *args, **more)

        return counted

    monkeypatch.setattr(netcdf, "open_lazily", counting(netcdf.open_lazily))
    monkeypatch.setattr(netcdf, "open", counting(netcdf.open))
    monkeypatch.setattr(history_module, "read_block", counting(history_module.read_block))
    monkeypatch.setattr(history_module, "read_blocks", counting(history_module.read_blocks))
    return found


def expected_G(datasets: list[xr.Dataset]) -> np.ndarray:
    detectors = [1, 2, 3, 9]
    return np.stack([ds["G"].reindex(detector=detectors).values for ds in datasets])


# load ----------------------------------------------------------------------------------------------------------------


def test_load_lines_units_up_by_their_labels(filled):
    archive, runs, datasets = filled
    G = archive.load("G")
    assert G.dims == ("run", "detector")
    assert G["run"].values.tolist() == runs
    assert G["detector"].values.tolist() == [1, 2, 3, 9]
    np.testing.assert_array_equal(G, expected_G(datasets))
    assert G.attrs == datasets[0]["G"].attrs
    assert G.name == "G"


def test_load_tells_the_time_of_each_run(filled):
    archive, _, datasets = filled
    np.testing.assert_array_equal(archive.load("G")["time"], [ds["time"].mean().values for ds in datasets])
    times = archive.load("time")
    assert times.dims == ("run", "exposure_number")
    np.testing.assert_array_equal(times[5], datasets[5]["time"])
    np.testing.assert_array_equal(times[0, :2], datasets[0]["time"])
    assert np.isnat(times[0, 2].values)


def test_what_lies_along_exposure_is_padded_to_the_longest_run(filled):
    archive, _, datasets = filled
    E = archive.load("E")
    assert E.dims == ("run", "exposure_number")
    assert E.shape == (6, 3)
    for k, ds in enumerate(datasets):
        np.testing.assert_array_equal(E[k, : ds.sizes["exposure"]], ds["E"])
        assert np.isnan(E[k, ds.sizes["exposure"] :]).all()


def test_words_and_labels_are_loaded(filled):
    archive, _, datasets = filled
    words = archive.load("physical_filter")
    assert words[0].values.tolist() == ["r", "r", ""]
    labels = archive.load("exposure")
    np.testing.assert_array_equal(labels[4], datasets[4]["exposure"])
    np.testing.assert_array_equal(archive.load("detector")[2], [np.nan, 2, np.nan, 9])


def test_nothing_is_read_before_it_is_asked_for(filled, opened):
    archive, runs, datasets = filled
    G = archive.load("E")
    assert opened == [runs[0]]  # for its dims
    opened.clear()
    part = G[3:5][::-1]
    G.isel(run=1)
    assert (G.sizes["run"], G.dtype, part["run"].values.tolist()) == (6, np.float64, [runs[4], runs[3]])
    assert opened == []
    np.testing.assert_array_equal(part[0], datasets[4]["E"])
    assert set(opened) == {runs[4]}
    opened.clear()
    G.sel(run=runs[2]).load()
    assert opened == [runs[2]]


def test_only_the_runs_of_the_time_are_read(filled, opened):
    archive, runs, _ = filled
    E = archive.load("E", since="2025-01-03", until="2025-01-05")
    assert E["run"].values.tolist() == runs[2:4]
    E.load()
    assert set(opened) == set(runs[2:4])


@pytest.mark.parametrize("name", ["G", "E"])
@pytest.mark.parametrize(
    "key",
    [
        {"run": 2},
        {"run": -1},
        {"run": np.int64(3)},
        {"run": slice(1, None, 2)},
        {"run": slice(None, None, -1)},
        {"run": slice(4, 2)},
        {"run": [5, 0, 0, 3]},
        {"run": np.array([], dtype=int)},
        {"run": np.array([True, False, True, False, False, True])},
        {"unit": 1},
        {"unit": slice(0, 2)},
        {"unit": [2, 0]},
        {"run": [1, 2], "unit": [0, 1]},
        {"run": [4, 2], "unit": slice(None, None, -1)},
        {"run": 2, "unit": 0},
        {"run": xr.DataArray([0, 2, 5], dims="picked"), "unit": xr.DataArray([0, 1, 2], dims="picked")},
        {"run": xr.DataArray([[0, 2], [3, 5]], dims=("row", "column"))},
    ],
    ids=str,
)
def test_any_index_gives_what_it_gives_of_values_in_memory(filled, name, key):
    archive, _, _ = filled
    lazy = archive.load(name)
    whole = lazy.load()
    other = lazy.dims[1]
    key = {{"unit": other}.get(dim, dim): value for dim, value in key.items()}
    xr.testing.assert_identical(archive.load(name).isel(key).load(), whole.isel(key))


def test_indexing_by_steps_reads_what_one_step_reads(filled, opened):
    archive, runs, _ = filled
    whole = archive.load("G").values
    opened.clear()
    part = archive.load("G")[1:][::2][:, [3, 1]][-1]
    opened.clear()
    np.testing.assert_array_equal(part, whole[1:][::2][:, [3, 1]][-1])
    assert set(opened) == {runs[5]}


def test_chunks_compute_to_the_same(filled):
    pytest.importorskip("dask")
    archive, _, _ = filled
    for name in ("G", "E"):
        lazy = archive.load(name).chunk({"run": 2})
        assert lazy.chunks[0] == (2, 2, 2)
        np.testing.assert_array_equal((lazy * 2).compute(), archive.load(name).values * 2)


def test_load_names_what_is_not_there(filled):
    archive, _, _ = filled
    with pytest.raises(FlatnormError, match=r"load: no run has nonsense; open\(run\) shows what is"):
        archive.load("nonsense")
    with pytest.raises(FlatnormError, match=r"load: no run has bgmodel; is it bgModel\?"):
        archive.load("bgmodel")
    with pytest.raises(FlatnormError, match=r"load: no run has exposures from 2031-01-01 on"):
        archive.load("G", since="2031-01-01")
    with pytest.raises(FlatnormError, match=r"load: nothing is archived for 'decam'; there is testcam r"):
        archive.load("G", camera="decam")


def test_load_of_an_empty_archive_says_so(calib):
    with pytest.raises(FlatnormError, match="load: nothing is archived yet"):
        calib.load("G")


def test_load_asks_which_filter(calib, small_run):
    calib.add(small_run(0))
    calib.add(small_run(1, filters=("g",)))
    with pytest.raises(FlatnormError, match=r"load: several are archived; pass filter= with one of g, r"):
        calib.load("G")
    assert calib.load("G", filter="g").sizes["run"] == 1


def test_of_a_run_of_several_filters_only_the_exposures_of_one(calib, small_run):
    mixed = small_run(0, filters=("g", "r", "g", "i"))
    calib.add(mixed)
    calib.add(small_run(1, filters=("g",)))
    E = calib.load("E", filter="g")
    assert E.shape == (2, 2)
    np.testing.assert_array_equal(E[0], mixed["E"][[0, 2]])
    np.testing.assert_array_equal(calib.load("E", filter="i")[0], mixed["E"][[3]])
    assert set(calib.load("physical_filter", filter="g").values.ravel()) == {"g", ""}
    np.testing.assert_array_equal(calib.load("G", filter="g")[0], mixed["G"])


def test_a_run_that_has_it_not_is_missing(calib, small_run):
    calib.add(small_run(0).drop_vars("G_stderr"))
    calib.add(small_run(1))
    errors = calib.load("G_stderr")
    assert np.isnan(errors[0]).all()
    np.testing.assert_array_equal(errors[1], small_run(1)["G_stderr"])


def test_amplifiers_are_lined_up_too(calib, solution):
    one = solution(amplifiers=True).assign_attrs(camera="testcam")
    one = one.assign_coords(physical_filter=("exposure", ["r"] * 4))
    other = one.isel(detector=[2, 0], amplifier=[1]).assign_attrs(title="fewer")
    calib.add(one)
    calib.add(other)
    for name, dims in {
        "background": ("detector", "amplifier", "exposure_number"),
        "exists": ("detector", "amplifier"),
    }.items():
        found = calib.load(name)
        assert found.dims == ("run", *dims)
        fewer = found.isel(run=found.isnull().sum(dims).argmax("run"))
        np.testing.assert_array_equal(
            fewer.sel(detector=[2, 3], amplifier=["B"]).values.astype(float),
            other[name].sel(detector=[2, 3]).values.astype(float),
        )
        assert fewer.sel(detector=1).isnull().all()
        assert fewer.sel(amplifier="A").isnull().all()


def test_runs_of_amplifiers_and_of_detectors_do_not_mix(calib, solution, small_run):
    one = solution(amplifiers=True).assign_attrs(camera="testcam")
    calib.add(one.assign_coords(physical_filter=("exposure", ["r"] * 4)))
    calib.add(small_run(1))
    for ask in (calib.history, lambda: calib.load("G")):
        with pytest.raises(FlatnormError, match="some runs are of amplifiers and others of whole detectors"):
            ask()
    assert calib.load("G", since="2025-01-01").dims == ("run", "detector")


def test_of_groups_the_one_that_holds_the_filter(calib, solution):
    grouped = solution(by=True).assign_attrs(camera="testcam")
    grouped = grouped.assign_coords(physical_filter=("exposure", ["g", "r", "r", "i"]))
    calib.add(grouped)
    np.testing.assert_array_equal(calib.load("G", filter="g")[0], grouped["G"].sel(group="g2").sortby("detector"))
    np.testing.assert_array_equal(calib.load("G", filter="r")[0], grouped["G"].sel(group="g1").sortby("detector"))
    np.testing.assert_array_equal(calib.history(filter="r")["G"][0], grouped["G"].sel(group="g1").sortby("detector"))


def test_a_filter_that_was_solved_in_two_groups_is_refused(calib, solution):
    grouped = solution(by=True).assign_attrs(camera="testcam")
    calib.add(grouped.assign_coords(physical_filter=("exposure", ["r"] * 4)))
    for ask in (calib.history, lambda: calib.load("G").load()):
        with pytest.raises(FlatnormError, match=r"solved this filter in 2 groups \(g1, g2\); solve and archive"):
            ask()


def test_what_lies_along_other_dims_is_refused(calib):
    calib.add(fx.solve(fx.simulate(seed=1)).assign_attrs(camera="testcam"))
    with pytest.raises(FlatnormError, match="load: correction lies along iteration, which are not the same in all"):
        calib.load("correction")


def test_a_damaged_run_is_named_when_it_is_read(filled):
    archive, runs, _ = filled
    E = archive.load("E")
    path = Path(archive.show(runs[3])["path"])
    path.chmod(0o644)
    path.write_bytes(path.read_bytes().replace(b"physical", b"Physical"))
    E[:3].load()
    with pytest.raises(ReadError, match=f"{runs[3]}.nc is damaged"):
        E.load()


# history -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["detectors", "amplifiers", "groups"])
def test_reading_by_place_equals_reading_as_netcdf(tmp_path, monkeypatch, solution, kind):
    def datasets():
        for number in range(3):
            ds = solution(amplifiers=kind == "amplifiers", by=kind == "groups")
            ds = ds.assign(G=ds.G * (1 + 0.01 * number), G_stderr=ds.G * 1e-3)
            ds = ds.assign_coords(physical_filter=("exposure", ["g", "r", "r", "r"]), temperature=ds.E / 1e3)
            ds["time"] = ds["time"] + np.timedelta64(number, "D")
            yield ds.isel(detector=[0, 2] if number == 1 else [1, 0, 2]).assign_attrs(camera="testcam")

    found = []
    for fast in (True, False):
        with monkeypatch.context() as patch:
            if not fast:  # the catalogue knows of no place in any file
                patch.setattr(contents, "_blocks", lambda ds, path: [])
            archive = Archive(tmp_path / f"{fast}")
            for ds in datasets():
                archive.add(ds)
            blocks = archive._holdings.ask(lambda c: c.execute("SELECT COUNT(*) FROM blocks").fetchone()[0])
            assert blocks == (6 if fast else 0)
            found.append(archive.history(filter="r"))
    xr.testing.assert_identical(*found)
    assert np.isfinite(found[0]["G"]).sum() == (3 + 2 + 3) * (2 if kind == "amplifiers" else 1)
    assert found[0]["G_stderr"].dims == found[0]["G"].dims


def test_history_holds_what_each_run_has(filled):
    archive, runs, datasets = filled
    history = archive.history()
    assert history["run"].values.tolist() == runs
    np.testing.assert_array_equal(history["G"], expected_G(datasets))
    np.testing.assert_allclose(history["E"], [ds["E"].mean() for ds in datasets])
    assert history.attrs["camera"] == "testcam"
    assert history.attrs["physical_filter"] == "r"
    part = archive.history(since="2025-01-03", until="2025-01-05")
    np.testing.assert_array_equal(part["G"], expected_G(datasets[2:4]))


def test_history_reads_no_file_as_netcdf_but_the_last(filled, opened):
    archive, runs, _ = filled
    archive.history()
    assert opened.count(runs[0]) <= 2  # G and its errors, by their places
    assert opened.count(runs[5]) > opened.count(runs[0])


def test_runs_without_times_are_left_out_of_a_history(calib, small_run, says):
    calib.add(small_run(1))
    timeless = calib.add(small_run(2).drop_vars("time"))
    with says(f"trend: the runs {timeless[:12]} have no time and are left out"):
        assert calib.history().sizes["run"] == 1
    only = Archive(calib.path.parent / "only")
    only.add(small_run(2).drop_vars("time"))
    with says("left out"), pytest.raises(FlatnormError, match="trend: no run has a time"):
        only.history()


@pytest.mark.parametrize("name", ["G", "G_stderr"])
def test_a_changed_byte_in_what_is_followed_is_refused(calib, small_run, name):
    ds = small_run(1)
    run = calib.add(ds)
    calib.add(small_run(2))
    path = Path(calib.show(run)["path"])
    content = bytearray(path.read_bytes())
    place = bytes(content).index(ds[name].values.astype("<f8").tobytes())
    content[place + 11] ^= 0x20
    path.chmod(0o644)
    path.write_bytes(content)
    with pytest.raises(ReadError, match=rf"{run}\.nc is damaged; flatnorm archive verify tells more"):
        calib.history()
    calib.verify()
    assert calib.history().sizes["run"] == 1


def test_a_run_that_is_gone_is_named(filled, monkeypatch):
    archive, runs, _ = filled
    lazy = archive.load("E")
    archive.remove(runs[2], who="a", why="b")
    with pytest.raises(ReadError, match=f"there is no run {runs[2][:12]}"):
        lazy.load()
    assert archive.load("E").sizes["run"] == archive.history().sizes["run"] == 5
