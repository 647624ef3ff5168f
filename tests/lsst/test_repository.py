"""Repositories: what the registry then knows, what comes back, and that nothing half-made stays behind."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

pytest.importorskip("lsst.daf.butler", reason="Rubin's middleware is not installed")

from lsst.daf.butler import Butler, CollectionType, Config, DatasetType, Timespan
from lsst.pipe.base import Instrument

import flatnorm_xr as fx
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.lsst import registry, repository
from flatnorm_xr.lsst.camera import MosaicCamera
from flatnorm_xr.lsst.instrument import MeasuredCamera, SimulatedCamera, band_of
from flatnorm_xr.lsst.repository import SEED, fill_repository, make_repository
from flatnorm_xr.lsst.running import read_solutions, run_pipeline
from flatnorm_xr.lsst.simulated import simulate_flats
from flatnorm_xr.lsst.statistics import levels_of

SIZES = {"n_detectors": 3, "n_amplifiers": 2, "n_exposures": 2, "pixels": 8, "seed": 5}


def records(butler, dimension):
    name = butler.registry.getCollectionSummary(butler.collections.defaults[0]).governors["instrument"]
    return sorted(butler.registry.queryDimensionRecords(dimension, instrument=next(iter(name))), key=lambda r: r.id)


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    made = make_repository(tmp_path_factory.mktemp("lsst") / "night", **SIZES)
    butler = Butler.from_config(str(made.path), collections=made.collection)
    yield made, butler
    butler.close()


@pytest.fixture(scope="module")
def named():
    """Levels of a ragged camera whose detectors and exposures have names, in two filters, one cell never measured."""
    ds = fx.simulate(n_detectors=3, n_exposures=4, n_amplifiers=2, seed=8)
    exists = np.array([[True, True], [True, False], [True, True]])
    there = ds.exists if "exists" in ds.coords else ds.background.isel(exposure=0, drop=True).copy(data=exists)
    ds = ds.assign({name: ds[name].where(there) for name in ("background", "sigma")})
    ds = ds.assign(counts=ds.counts.where(there, 0))
    ds = ds.assign_coords(
        exists=(("detector", "amplifier"), exists),
        detector=["N1", "N2", "S1"],
        exposure=[f"flat-{i}" for i in range(4)],
        physical_filter=("exposure", ["HSC-R", "", "HSC-R", "Ha"]),
    ).drop_vars("detector_name")
    ds["time"][1] = np.datetime64("NaT", "ns")
    ds.background[2, :, 3] = np.nan
    ds.detector_background[2, 3] = np.nan
    return ds


@pytest.fixture(scope="module")
def measured(tmp_path_factory, named):
    made = make_repository(tmp_path_factory.mktemp("lsst") / "v1.2", levels=named, instrument="Mosaic-2.b")
    butler = Butler.from_config(str(made.path), collections=made.collection)
    yield made, butler
    butler.close()


def test_simulated_flats_come_back_as_they_were_simulated(simulated):
    made, butler = simulated
    truth, flats = simulate_flats(**SIZES)
    number = 0
    for detector, exposure, flat in flats:
        stored = butler.get("postISRCCD", instrument="FlatnormSim", detector=detector, exposure=exposure)
        np.testing.assert_array_equal(stored.image, flat.image)
        assert set(stored.masks) == set(flat.masks)
        number += 1
    assert number == made.datasets == 3 * 4
    assert (made.detectors, made.amplifiers, made.exposures, made.remarks) == (3, 6, 4, ())
    assert made.filters == ("g", "r")
    for record in records(butler, "exposure"):
        one = truth.sel(exposure=record.id)
        assert record.physical_filter == one.physical_filter.item()
        assert record.exposure_time == one.exposure_time.item()
        assert record.has_simulated
        middle = record.timespan.begin + (record.timespan.end - record.timespan.begin) / 2
        assert abs(np.datetime64(middle.utc.isot, "ms") - one.time.values) <= np.timedelta64(1, "ms")
        assert (record.timespan.end - record.timespan.begin).sec == pytest.approx(record.exposure_time)
        assert record.day_obs == 20250314


def test_the_camera_is_certified_for_all_times_and_is_that_of_the_flats(simulated):
    made, butler = simulated
    camera = butler.get("camera", instrument="FlatnormSim")
    assert isinstance(camera, MosaicCamera)
    assert [detector.id for detector in camera] == [record.id for record in records(butler, "detector")] == [1, 2, 3]
    flat = butler.get("postISRCCD", instrument="FlatnormSim", detector=2, exposure=101)
    assert camera[2] == flat.detector
    (found,) = butler.registry.queryDatasetAssociations("camera", collections=[f"{made.instrument}/calib"])
    assert found.timespan == Timespan(None, None)


def test_registering_the_simulated_camera_again_changes_nothing(simulated):
    made, _ = simulated
    butler = Butler.from_config(str(made.path), writeable=True, collections=made.collection)
    try:
        before = records(butler, "detector")
        assert type(Instrument.fromName("FlatnormSim", butler.registry)) is SimulatedCamera
        SimulatedCamera().register(butler.registry)
        SimulatedCamera().register(butler.registry, update=True)
        assert records(butler, "detector")[:3] == before
        assert [record.id for record in records(butler, "detector")] == [1, 2, 3, 4]
    finally:
        butler.close()


def test_a_ragged_simulation_has_a_ragged_camera(tmp_path):
    made = make_repository(tmp_path / "r", **{**SIZES, "ragged": True}, filters=["i", "dark sky"])
    assert (made.amplifiers, made.filters) == (5, ("i", "dark sky"))


def test_the_default_simulation_is_what_register_instrument_registers(tmp_path):
    made = make_repository(tmp_path / "night", n_exposures=1, pixels=4)
    butler = Butler.from_config(str(made.path), writeable=True, collections=made.collection)
    try:
        before = records(butler, "detector")
        filters = set(butler.registry.queryDimensionRecords("physical_filter", instrument="FlatnormSim"))
        SimulatedCamera().register(butler.registry)
        assert records(butler, "detector") == before
        assert filters == set(butler.registry.queryDimensionRecords("physical_filter", instrument="FlatnormSim"))
    finally:
        butler.close()


def test_named_and_ragged_levels_come_back_label_by_label(measured, named):
    made, butler = measured
    detectors, exposures = records(butler, "detector"), records(butler, "exposure")
    assert [(record.id, record.full_name) for record in detectors] == [(0, "N1"), (1, "N2"), (2, "S1")]
    assert [record.obs_id for record in exposures] == named.exposure.values.tolist()
    refs = list(butler.query_datasets("flatStats"))
    assert len(refs) == made.datasets == 11  # S1 has nothing in the last exposure
    camera = butler.get("camera", instrument=made.instrument)
    assert [len(camera[d]) for d in ("N1", "N2", "S1")] == [2, 1, 2]
    assert made.amplifiers == 5
    back = levels_of(
        [butler.get(ref) for ref in refs], [dict(ref.dataId.required) for ref in refs], camera, level="AMP"
    )
    np.testing.assert_array_equal(back.background, named.background)
    np.testing.assert_array_equal(back.counts, named.counts.where(named.background.notnull(), 0))


def test_what_is_not_known_of_an_exposure_is_said_and_not_made_up(measured):
    made, butler = measured
    exposures = records(butler, "exposure")
    assert [record.physical_filter for record in exposures] == ["HSC-R", "unknown", "HSC-R", "Ha"]
    assert [record.timespan is None for record in exposures] == [False, True, False, False]
    assert [record.observation_reason for record in exposures] == ["dome flat"] * 4
    bands = {r.name: r.band for r in butler.registry.queryDimensionRecords("physical_filter", instrument="Mosaic-2.b")}
    assert bands == {"HSC-R": "r", "Ha": "Ha", "unknown": "unknown"}
    assert "flat-1" in made.remarks[0]
    assert "timespan" in made.remarks[1]
    assert len(made.remarks) == 2


def test_an_exposure_without_night_or_time_is_of_a_day_that_is_none(tmp_path):
    ds = fx.simulate(n_detectors=2, n_exposures=3, seed=1)
    ds = ds.drop_vars("night").assign_coords(exposure_time=("exposure", [np.nan, 15.0, 15.0]))
    ds["time"][2] = np.datetime64("NaT", "ns")
    ds["time"][1] = np.datetime64("2025-03-15T11:59:00", "ns")
    made = make_repository(tmp_path / "r", levels=ds, instrument="Toy")
    butler = Butler.from_config(str(made.path), collections=made.collection)
    try:
        exposures = records(butler, "exposure")
    finally:
        butler.close()
    assert [record.day_obs for record in exposures] == [20250314, 20250314, 19700101]
    assert [record.exposure_time for record in exposures] == [None, 15.0, 15.0]
    assert made.remarks[-1] == "no night is known of exposures 103: day_obs 19700101 stands in"


def test_the_pipeline_finds_what_solve_finds(measured, named):
    made, _ = measured
    results = run_pipeline(made, output="out/norm")
    assert {(one.physical_filter, one.level) for one in results} == {
        (name, level) for name in ("HSC-R", "Ha", "unknown") for level in ("detector", "amplifier")
    }
    one = next(one for one in results if (one.physical_filter, one.level) == ("HSC-R", "detector"))
    ds = named.isel(exposure=[0, 2])
    expected = fx.solve(ds, level="detector", method="alternation", iterations=10)
    assert one.exposures == (0, 2)
    np.testing.assert_allclose(one.E, expected.E, rtol=1e-12)
    assert one.units == 3
    assert list(read_solutions(made, output="out/norm")) == results


@pytest.mark.parametrize(
    ("change", "tasks"),
    [
        (lambda ds: ds, "normalize"),
        (lambda ds: ds.drop_vars([name for name in ds if str(name).startswith("detector_")]), "cpFlatNormAmp"),
    ],
)
def test_only_the_tasks_whose_statistics_are_there_are_run(tmp_path, change, tasks):
    ds = change(fx.simulate(n_detectors=3, n_exposures=2, n_amplifiers=2, seed=1))
    made = make_repository(tmp_path / "r", levels=ds, instrument="Toy")
    assert made.tasks == tasks
    assert len(run_pipeline(made, output="out")) == (2 if tasks == "normalize" else 1)


def test_levels_without_amplifiers_give_detectors_of_one_amplifier(tmp_path):
    ds = fx.simulate(n_detectors=3, n_exposures=2, seed=1)
    ds.attrs["camera"] = "toy"
    made = make_repository(tmp_path / "r", levels=ds)
    assert (made.instrument, made.tasks, made.amplifiers) == ("toy", "cpFlatNorm", 3)
    assert [one.level for one in run_pipeline(made, output="out")] == ["detector"]


def test_an_empty_folder_is_filled_and_may_have_a_dot(tmp_path):
    folder = tmp_path / "a.folder"
    folder.mkdir()
    inode = folder.stat().st_ino
    make_repository(folder, levels=fx.simulate(n_detectors=2, n_exposures=1), instrument="Toy")
    assert folder.stat().st_ino == inode
    assert {child.name for child in folder.iterdir()} == {"butler.yaml", "gen3.sqlite3", "Toy"}


def levels_with(**coords):
    return fx.simulate(n_detectors=2, n_exposures=2, seed=1).assign_coords(coords)


BAD_LEVELS = {
    "no exposure": (lambda: levels_with().isel(exposure=[]), "repository: dim exposure is empty"),
    "nothing measured": (lambda: levels_with().map(lambda v: v * np.nan, keep_attrs=True), "no detector was measured"),
    "negative": (lambda: levels_with(exposure=[-1, 2]), "exposure ids must be from 0 to .* but are -1;"),
    "too large": (lambda: levels_with(detector=np.array([1, 2**64 - 1], "u8")), "detector ids must be .* 1844674407"),
    "long": (lambda: levels_with(detector=["a" * 33, "b"]), "have over 32 bytes .aaa"),
    "long exposure": (lambda: levels_with(exposure=["a" * 65, "b"]), "names of exposures have over 64"),
    "alike": (
        lambda: levels_with(detector_name=("detector", ["A", "A"])),
        "names of detectors would share their files .A.",
    ),
    "long filter": (
        lambda: levels_with(physical_filter=("exposure", ["f" * 33, "r"])),
        "names of physical_filters have over 32",
    ),
}


@pytest.mark.parametrize("case", BAD_LEVELS)
@pytest.mark.parametrize("exists", [True, False])
def test_levels_that_no_registry_holds_leave_nothing_behind(tmp_path, case, exists):
    make, words = BAD_LEVELS[case]
    target = tmp_path / "r"
    if exists:
        target.mkdir()
    with pytest.raises(FlatnormError, match=words) as error:
        make_repository(target, levels=make(), instrument="Toy")
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == ([target] if exists else [])
    assert not exists or not any(target.iterdir())


@pytest.mark.parametrize("exists", [True, False])
def test_a_failure_in_the_middle_leaves_nothing_behind(tmp_path, monkeypatch, exists):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(registry, "_put_datasets", interrupted)
    target = tmp_path / "r"
    if exists:
        target.mkdir()
    with pytest.raises(KeyboardInterrupt):
        make_repository(target, levels=levels_with(), instrument="Toy")
    assert list(tmp_path.rglob("*")) == ([target] if exists else [])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("full", "is there and not empty"),
        ("file", "is a file, not a folder"),
        ("absent/r", "the folder .*absent does not exist"),
        ("what?", r"has \? in its name"),
        ("$HOME", r"has \$ in its name"),
        ("closed/r", "cannot write to .*closed"),
    ],
)
def test_places_where_no_repository_can_be_made(tmp_path, monkeypatch, name, words):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("kept")
    (tmp_path / "file").write_text("kept")
    (tmp_path / "closed").mkdir()
    if name.startswith("closed"):  # whoever runs the tests may be allowed to write anywhere

        def refuse(**kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(repository.tempfile, "mkdtemp", refuse)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FlatnormError, match=words):
        make_repository(tmp_path / name, levels=levels_with(), instrument="Toy")
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("name", [None, "", "my camera", "a/b", "a,b", "x" * 33])
def test_an_instrument_needs_a_name_that_collections_can_have(tmp_path, name):
    with pytest.raises(FlatnormError, match="instrument"):
        make_repository(tmp_path / "r", levels=levels_with(), instrument=name)
    with pytest.raises(FlatnormError, match="instrument='Toy' is a name for measured levels"):
        make_repository(tmp_path / "r", instrument="Toy")
    with pytest.raises(FlatnormError, match="simulate_flats"):
        make_repository(tmp_path / "r", pixels=0)
    assert not any(tmp_path.iterdir())


def test_a_measured_camera_cannot_be_registered_without_its_levels(simulated):
    _, butler = simulated
    with pytest.raises(FlatnormError, match="flatnorm lsst init REPO --levels FILE"):
        MeasuredCamera().register(butler.registry)


def test_class_names_fit_into_the_registry():
    for instrument in (SimulatedCamera, MeasuredCamera):
        assert len(f"{instrument.__module__}.{instrument.__name__}") <= 64
        assert instrument().getRawFormatter({}).default_extension == ".fits"


@pytest.mark.parametrize(
    ("name", "band"), [("y", "y"), ("Y", "y"), ("HSC-I2", "HSC-I2"), ("r_57", "r"), ("red", "red"), ("empty", "empty")]
)
def test_bands(name, band):
    assert band_of(name) == band


# A repository that exists takes one more night.


@contextmanager
def opened(path, **options):
    butler = Butler.from_config(path, **options)
    yield butler
    butler.close()


def nights():
    """Two nights of one camera whose detectors and exposures have names; the second has a detector less."""
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=4, seed=8)
    ds = ds.assign_coords(detector=["S1", "S2", "S3"], exposure=["a", "b", "c", "d"]).drop_vars("detector_name")
    ds.attrs["camera"] = "lab"
    return ds.isel(exposure=[0, 1]), ds.isel(exposure=[3, 2], detector=[2, 0])


def test_a_second_night_takes_the_numbers_of_the_names_that_are_known(tmp_path):
    first, second = nights()
    make_repository(tmp_path / "repo", levels=first)
    put = fill_repository(tmp_path / "repo", levels=second)
    assert (put.exposures, put.detectors, put.datasets, put.collection) == (2, 2, 4, "lab/defaults")
    with opened(tmp_path / "repo") as butler:
        exposures = {one.obs_id: one.id for one in butler.registry.queryDimensionRecords("exposure", instrument="lab")}
        assert exposures == {"a": 0, "b": 1, "d": 2, "c": 3}
        found = butler.get("flatStats", instrument="lab", detector=2, exposure=3, collections="lab/defaults")
        assert found["AMP_MEDIAN_0"] == float(second.background.sel(detector="S3", amplifier="C00", exposure="c"))
        assert len(list(butler.registry.queryDatasets("camera", collections="lab/calib"))) == 1


def everything_in(path):
    """All that a repository has: records of its dimensions, dataset types, collections, datasets."""
    with opened(path) as butler:
        records = [
            list(butler.registry.queryDimensionRecords(name, instrument="lab"))
            for name in ("detector", "physical_filter", "day_obs", "group", "exposure")
        ]
        collections = sorted((one.name, one.type.name) for one in butler.collections.query_info("*"))
        types = sorted(one.name for one in butler.registry.queryDatasetTypes())
        data = sorted(str(ref) for name in types for ref in butler.registry.queryDatasets(name, collections="lab/*"))
        return [sorted(map(str, some)) for some in records], collections, types, data


def with_filter(levels, *names):
    return levels.assign_coords(physical_filter=("exposure", list(names)))


CANNOT_TAKE = {
    "detector": (lambda a, b: b.assign_coords(detector=["S9", "S1"]), "S9 are not there; correct the labels"),
    "number": (lambda a, b: b.assign_coords(detector=[0, 2]), "0, 000, is S1, 2, 002, is S3 have other names there"),
    "amplifiers": (lambda a, b: b.assign_coords(amplifier=["L", "R"]), "S3, S1 have other amplifiers there"),
    "again": (lambda a, b: a, "lab/levels has flatStats of exposures 0, 1 already"),
    "filter": (lambda a, b: with_filter(a, "r", "zz"), "has exposures 1 in r, not zz; are these"),
    "nothing": (lambda a, b: with_filter(b * np.nan, "zz", "zz"), "no detector was measured in any exposure"),
}


@pytest.mark.parametrize("case", CANNOT_TAKE)
def test_what_a_repository_cannot_take_changes_nothing_in_it(tmp_path, case):
    change, words = CANNOT_TAKE[case]
    first, second = nights()
    make_repository(tmp_path / "repo", levels=first)
    before = everything_in(tmp_path / "repo")
    with pytest.raises(FlatnormError, match=words):
        fill_repository(tmp_path / "repo", levels=change(first, second).assign_attrs(second.attrs))
    assert everything_in(tmp_path / "repo") == before


def test_a_repository_of_another_program_is_left_alone(tmp_path):
    Butler.makeRepo(str(tmp_path / "theirs"), config=Config(str(SEED)))
    with opened(tmp_path / "theirs", writeable=True) as butler:
        theirs = DatasetType("camera", ("instrument",), "Camera", universe=butler.dimensions, isCalibration=True)
        butler.registry.registerDatasetType(theirs)
        butler.collections.register("lab/calib", CollectionType.CHAINED)
    before = everything_in(tmp_path / "theirs")[1:3]
    with pytest.raises(
        FlatnormError, match="collection lab/calib is CHAINED, dataset type camera is a Camera of"
    ) as error:
        fill_repository(tmp_path / "theirs", levels=nights()[0])
    assert "\n" not in str(error.value)
    assert everything_in(tmp_path / "theirs")[1:3] == before


def test_a_folder_that_is_no_repository_is_refused(tmp_path):
    first, _ = nights()
    with pytest.raises(FlatnormError, match="is no Butler repository that can be opened"):
        fill_repository(tmp_path, levels=first)
    with pytest.raises(FlatnormError, match="is no Butler repository"):
        fill_repository(tmp_path / "nowhere", levels=first)


def test_a_repository_that_does_not_know_our_storage_classes_is_told_how_to(tmp_path):
    first, _ = nights()
    Butler.makeRepo(str(tmp_path / "plain"))
    with pytest.raises(FlatnormError, match="DAF_BUTLER_CONFIG_PATH"):
        fill_repository(tmp_path / "plain", levels=first)


@pytest.mark.parametrize(
    ("coordinate", "names", "kind"),
    [
        ("exposure", ["flat 1", "flat_1"], "exposures"),
        ("exposure", ["a/b", "a.b"], "exposures"),
        ("physical_filter", ["a/b", "a_b"], "physical_filters"),
    ],
)
def test_names_that_would_share_their_files_are_refused(tmp_path, coordinate, names, kind):
    first, _ = nights()
    alike = first.assign_coords({coordinate: ("exposure", names)})
    with pytest.raises(FlatnormError, match=rf"names of {kind} would share their files .{names[0]}, {names[1]}."):
        make_repository(tmp_path / "repo", levels=alike)
    make_repository(tmp_path / "repo", levels=first.assign_coords({coordinate: ("exposure", [names[0], "z"])}))
    second = first.assign_coords(exposure=["x", "y"]).assign_coords({coordinate: ("exposure", [names[1], "w"])})
    with pytest.raises(FlatnormError, match=r"are these the same exposures|would share their files"):
        fill_repository(tmp_path / "repo", levels=second)


def test_a_number_that_another_exposure_has_as_its_name_is_refused(tmp_path):
    first, _ = nights()
    make_repository(tmp_path / "repo", levels=first.assign_coords(exposure=["101", "102"]))
    with pytest.raises(FlatnormError, match=r"has exposures 0, 101, not 101; are these"):
        fill_repository(tmp_path / "repo", levels=first.assign_coords(exposure=[101, 103]))


def test_a_night_that_cannot_be_written_leaves_no_file(tmp_path, monkeypatch):
    first, second = nights()
    make_repository(tmp_path / "repo", levels=first)
    files = sorted((tmp_path / "repo").rglob("*.yaml"))
    before = everything_in(tmp_path / "repo")
    put, number = Butler.put, iter(range(100))

    def full_disk(self, *args, **kwargs):
        if next(number) == 3:
            msg = "Failed to serialize dataset"
            raise RuntimeError(msg) from OSError(28, "No space left on device")
        return put(self, *args, **kwargs)

    butler_class = type(Butler.from_config(tmp_path / "repo"))
    put = butler_class.put
    monkeypatch.setattr(butler_class, "put", full_disk)
    with pytest.raises(FlatnormError, match=r"dataset 4 of 4 cannot be written \(.*No space left.*\); none was put"):
        fill_repository(tmp_path / "repo", levels=second)
    monkeypatch.undo()
    assert sorted((tmp_path / "repo").rglob("*.yaml")) == files
    assert everything_in(tmp_path / "repo") == before
    assert fill_repository(tmp_path / "repo", levels=second).datasets == 4


def test_a_folder_that_another_program_fills_meanwhile_keeps_what_it_has(tmp_path, monkeypatch):
    first, _ = nights()
    (tmp_path / "repo").mkdir()
    fill = repository.put_night

    def fill_and_be_overtaken(*args):
        number = fill(*args)
        (tmp_path / "repo" / "gen3.sqlite3").write_text("theirs")
        return number

    monkeypatch.setattr(repository, "put_night", fill_and_be_overtaken)
    with pytest.raises(FlatnormError, match=r"gen3\.sqlite3 was made by another program meanwhile"):
        make_repository(tmp_path / "repo", levels=first)
    assert [child.name for child in (tmp_path / "repo").iterdir()] == ["gen3.sqlite3"]
    assert (tmp_path / "repo" / "gen3.sqlite3").read_text() == "theirs"


@pytest.mark.parametrize("damage", ["file", "yaml", "no registry", "damaged registry"])
def test_what_is_no_repository_any_more_is_one_line(tmp_path, damage):
    first, second = nights()
    path = tmp_path / "repo"
    make_repository(path, levels=first)
    if damage == "file":
        path = tmp_path / "levels.nc"
        path.write_bytes(b"levels")
    elif damage == "yaml":
        (path / "butler.yaml").write_text("a: [")
    elif damage == "no registry":
        (path / "gen3.sqlite3").write_bytes(b"")
    else:
        (path / "gen3.sqlite3").write_bytes(b"\0" * 4096)
    with pytest.raises(
        FlatnormError, match=r"no Butler repository that can be opened|cannot be read or written"
    ) as error:
        fill_repository(path, levels=second)
    assert "\n" not in str(error.value)


def test_times_that_no_registry_holds_are_said_and_left_out(tmp_path):
    first, _ = nights()
    times = np.array(["1950-01-01T00:00:00", "2025-03-14T21:00:00"], dtype="datetime64[ns]")
    odd = first.assign_coords(time=("exposure", times), exposure_time=("exposure", [15.0, 1e12]))
    made = make_repository(tmp_path / "repo", levels=odd.drop_vars("night"))
    assert any("no time that a registry can hold is known of exposures a" in remark for remark in made.remarks)
    with opened(tmp_path / "repo") as butler:
        records = {one.obs_id: one for one in butler.registry.queryDimensionRecords("exposure", instrument="lab")}
    assert records["a"].timespan is None
    assert records["b"].exposure_time is None
    assert records["b"].day_obs == 20250314


def test_names_that_cannot_be_printed_are_refused(tmp_path):
    first, _ = nights()
    for levels in (
        first.assign_coords(detector=["S\0x", "S2", "S3"]),
        first.assign_coords(amplifier=["A\0x", "B"]),
        first.assign_coords(exposure=["e\n", "f"]),
    ):
        with pytest.raises(FlatnormError, match="have characters that cannot be printed"):
            make_repository(tmp_path / "repo", levels=levels)
    long = first.assign_coords(detector_type=("detector", ["T" * 40, "SCIENCE", "GUIDE"]))
    assert make_repository(tmp_path / "repo", levels=long).detectors == 3


def test_order_of_the_dims_does_not_matter(tmp_path):
    first, _ = nights()
    make_repository(tmp_path / "a", levels=first)
    make_repository(tmp_path / "b", levels=first.transpose("exposure", "amplifier", "detector"))
    with opened(tmp_path / "a") as a, opened(tmp_path / "b") as b:
        for exposure in (0, 1):
            for detector in (0, 1, 2):
                where = {"instrument": "lab", "detector": detector, "exposure": exposure}
                data = [one.get("flatStats", where, collections="lab/defaults") for one in (a, b)]
                assert data[0] == data[1]
