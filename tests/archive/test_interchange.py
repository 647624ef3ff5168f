"""What was written for other programs comes back: tables as they were, Rubin's scales as far as they go."""

from __future__ import annotations

import json
import math
import os
import re
import tempfile
import warnings
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
import xarray as xr
import yaml
from astropy import units as u
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time
from hypothesis import given, settings
from hypothesis import strategies as st

import flatnorm_xr as fx
from flatnorm_xr.archive.beside import BESIDE
from flatnorm_xr.archive.merged_order import merged_order
from flatnorm_xr.archive.read_solution import read_solution
from flatnorm_xr.archive.scales import pack_scales
from flatnorm_xr.archive.tables import from_table, to_table
from flatnorm_xr.errors import FlatnormError, ReadError, SchemaError
from flatnorm_xr.flags import Flag

GOLDEN = Path(__file__).parents[1] / "golden"
COORDINATES_OF_MODEL = set(fx.model.schema.COORDINATES)


def without_own_variables(ds: xr.Dataset) -> xr.Dataset:
    """Drop what has no place in a table: variables that the model does not know."""
    return ds.drop_vars([name for name in ds.data_vars if name not in fx.model.schema.VARIABLES])


@pytest.fixture(scope="module")
def solved() -> xr.Dataset:
    """Ragged, with a dead amplifier, rejections, modes, hierarchy, two kinds of errors, flags, text labels."""
    return without_own_variables(fx.open(GOLDEN / "v2-solution.nc"))


@pytest.fixture(scope="module")
def grouped() -> xr.Dataset:
    return without_own_variables(fx.open(GOLDEN / "v2-groups.nc"))


@pytest.fixture
def written(tmp_path):
    def write(text: str | bytes, name: str = "scales.yaml") -> Path:
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return write


def same_dtypes(one: xr.Dataset, other: xr.Dataset) -> bool:
    return {n: v.dtype.kind for n, v in one.variables.items()} == {n: v.dtype.kind for n, v in other.variables.items()}


# tables


@pytest.mark.parametrize("kind", ["solved", "grouped"])
def test_ecsv_and_astropy_tables_come_back_identical(kind, request, tmp_path):
    ds = request.getfixturevalue(kind)
    before = ds.copy(deep=True)
    to_table(ds).write(tmp_path / "astropy.ecsv")
    for back in (
        read_solution(fx.export(ds, tmp_path / "run.ecsv")),
        from_table(to_table(ds)),
        read_solution(tmp_path / "astropy.ecsv"),
    ):
        xr.testing.assert_identical(back, ds)
        assert same_dtypes(back, ds)
        xr.testing.assert_identical(fx.open(fx.save(back, tmp_path / "run.nc", overwrite=True)), ds)
    xr.testing.assert_identical(ds, before)


@pytest.mark.parametrize("kind", ["solved", "grouped"])
def test_csv_comes_back_to_the_last_digit(kind, request, tmp_path):
    ds = request.getfixturevalue(kind)
    path = fx.export(ds, tmp_path / "run.csv")
    back = read_solution(path, units="electron")
    of_cells = {"detector", "amplifier", "exposure", "group"}
    told = {name for name, v in ds.variables.items() if v.dims and set(v.dims) <= of_cells and set(v.dims) != {"group"}}
    assert set(back.variables) == told | ({"group"} & set(ds.variables))
    for name in back.variables:
        xr.testing.assert_identical(back[name].drop_vars(back[name].coords), ds[name].drop_vars(ds[name].coords))
        assert back[name].dtype.kind == ds[name].dtype.kind
    assert back.attrs["source"] == "table run.csv"
    assert "read_solution('run.csv')" in back.attrs["history"]
    assert json.loads(back.attrs["inputs"])[0]["size"] == path.stat().st_size
    assert fx.export(back, tmp_path / "again.csv").read_bytes() == path.read_bytes()
    xr.testing.assert_identical(fx.open(fx.save(back, tmp_path / "run.nc")), back)


def test_units_of_levels_are_those_of_the_file_or_said(solved, tmp_path):
    path = fx.export(solved, tmp_path / "run.csv")
    assert read_solution(path).E.attrs["units"] == "adu"
    assert read_solution(path, units="electron").scales.attrs["units"] == "electron"
    with pytest.raises(SchemaError, match=r"run\.ecsv: the units conflict \(units= adu, background electron, "):
        read_solution(fx.export(solved, tmp_path / "run.ecsv"), units="adu")
    with pytest.raises(SchemaError, match="read_solution: units 'dn' are unknown"):
        read_solution(path, units="dn")


def test_levels_alone_are_a_table_too(measurements):
    for amplifiers in (False, True):
        ds = measurements(amplifiers=amplifiers)
        xr.testing.assert_identical(from_table(to_table(ds)), ds)


def test_a_solution_without_levels_is_a_table_too(solved, tmp_path):
    bare = solved[["E", "G", "scales", "bgModel"]]
    xr.testing.assert_identical(read_solution(fx.export(bare, tmp_path / "run.ecsv")), bare)
    xr.testing.assert_identical(from_table(to_table(bare[["E", "G"]])), bare[["E", "G"]])


def test_coordinates_of_ones_own_keep_dims_types_and_attributes():
    ds = fx.make(np.ones((2, 3, 1)), coords={"detector": ["7", "8"], "exposure": [2**62]})
    ds = ds.assign_coords(
        constant=("detector", ["a", "a"], {"units": "K", "note": "one\ntwo", "points": np.array([1, 2])}),
        of_amplifiers=("amplifier", np.array([1.5, np.nan, -np.inf], dtype="f4")),
        whole=(("detector", "amplifier"), np.arange(6, dtype="i2").reshape(2, 3)),
        seen=("detector", [True, False]),
        end=("exposure", np.array(["2024-01-01T00:00:00.5"], dtype="M8[ns]")),
        digits=("detector", ["007", "8"]),
        site="Cerro Tololo, 2207 m",
        height_of_site=2207.0,
        exists=(("detector", "amplifier"), np.ones((2, 3), dtype=bool)),
    )
    ds.attrs |= {"history": "2\n1\n", "points": np.array([1.5, 2.5]), "empty": "", "code": "a: [b, #c]\u2028d"}
    for back in (from_table(to_table(ds)), read_solution_of_ecsv(ds)):
        xr.testing.assert_identical(back, ds)
        assert back.of_amplifiers.dtype == "f4"
        assert back.whole.dtype == "i2"


def read_solution_of_ecsv(ds: xr.Dataset) -> xr.Dataset:
    """Give the dataset as it comes back from ECSV, with an E and a G that make a solution of it."""
    solved = ds.assign(E=("exposure", [1.0]), G=(("detector", "amplifier"), np.ones((2, 3))))
    with tempfile.TemporaryDirectory() as folder:
        return read_solution(fx.export(solved, Path(folder) / "run.ecsv")).drop_vars(["E", "G"])


text = st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Zs"]), min_size=1, max_size=5)


@st.composite
def datasets(draw):
    """Solutions of any numbers, with or without amplifiers and groups, ragged or not."""
    sizes = [draw(st.integers(1, 3)) for _ in range(3)]
    shape = sizes if draw(st.booleans()) else sizes[::2]
    unit = ("detector", "amplifier")[: len(shape) - 1]
    labels = st.one_of(
        st.lists(st.integers(-(2**62), 2**62), min_size=3, max_size=3, unique=True),
        st.lists(text, min_size=3, max_size=3, unique=True),
    )
    names = {dim: draw(labels)[:n] for dim, n in zip((*unit, "exposure"), shape, strict=True)}
    if "amplifier" in names:
        names["amplifier"] = [str(name) for name in names["amplifier"]]
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    ds = fx.make(rng.lognormal(9, 1, shape), coords=names, attrs={"title": draw(st.text(max_size=20))})
    special = draw(st.lists(st.floats(), min_size=ds.background.size, max_size=ds.background.size))
    ds["residual"] = (ds.background.dims, np.reshape(special, shape))
    ds["quality"] = (ds.background.dims, rng.integers(0, 2**32, shape, dtype="u4"))
    ds["E"] = ("exposure", rng.lognormal(9, 1, shape[-1]))
    if draw(st.booleans()):
        ds = ds.assign_coords(
            group=["g", "r"], exposure_group=("exposure", rng.permutation(["g", "r", "g"])[: shape[-1]])
        )
        ds = ds.sel(group=np.unique(ds.exposure_group))
        ds["G"] = ((*unit, "group"), rng.lognormal(0, 1, (*shape[:-1], ds.sizes["group"])))
    else:
        ds["G"] = (unit, rng.lognormal(0, 1, shape[:-1]))
    if "amplifier" in ds.dims:
        exists = rng.random(shape[:2]) < draw(st.sampled_from([0.5, 1.0]))
        exists[:, 0] |= ~exists.any(1)
        ds = ds.assign_coords(exists=(unit, exists))
        for name in ("background", "residual", "G"):
            ds[name] = ds[name].where(ds.exists)
        ds["quality"] = ds.quality.where(ds.exists, np.uint32(Flag.NO_SUCH_AMPLIFIER))
    return fx.model.make.stamp(ds, units=draw(st.sampled_from(["adu", "electron"])))


@given(ds=datasets())
@settings(max_examples=60, deadline=None)
def test_any_solution_comes_back_identical(ds):
    xr.testing.assert_identical(from_table(to_table(ds)), ds)
    with tempfile.TemporaryDirectory() as folder:
        path = fx.export(ds, Path(folder) / "run.ecsv")
        xr.testing.assert_identical(read_solution(path), ds)
        assert fx.export(read_solution(path), Path(folder) / "again.ecsv").read_bytes() == path.read_bytes()


def test_table_has_units_times_and_descriptions(solved):
    table = to_table(solved)
    assert isinstance(table, QTable)
    assert table["background"].unit == u.electron
    assert table["x"].unit == u.mm
    assert table["gain"].unit == u.electron / u.adu
    assert isinstance(table["time"], Time)
    assert table["time"].scale == "utc"
    assert not hasattr(table["G"], "unit") or table["G"].unit is None
    assert table["G"].info.description == "relative response G"
    assert table.meta["gauge"] == solved.attrs["gauge"]
    assert len(table) == int(solved.exists.sum()) * solved.sizes["exposure"]
    dead = table[(table["detector"] == 1) & (table["amplifier"] == "É 1")]
    assert np.isnan(dead["G"]).all(), "NaN stays NaN"


def test_a_time_that_is_not_known_is_masked(solved):
    ds = solved.copy()
    ds["time"] = ds.time.where(np.arange(10) > 0)
    table = to_table(ds)
    assert table["time"].mask.sum() == int(ds.exists.sum())
    xr.testing.assert_identical(from_table(table).time, fx.model.make.stamp(ds, units="electron").time)


def test_a_table_made_by_hand():
    table = QTable(
        {
            "detector": ["S2", "S2", "S1", "S1"],
            "exposure": [5, 4, 5, 4],
            "E": [100.0, 200.0, 100.0, 200.0] * u.electron,
            "G": MaskedColumn([1.0, 1.0, 2.0, 2.0], mask=[False, False, True, True]),
            "x": [1.0, 1.0, 2.0, 2.0] * u.cm,
            "time": Time(["2024-01-01T00:00:37", "2024-01-01T00:01:37"] * 2, scale="tai"),
            "lamp": MaskedColumn(["a", "b", "a", "b"], mask=[False, True] * 2),
        }
    )
    before = table.copy()
    ds = from_table(table)
    assert ds.detector.values.tolist() == ["S2", "S1"], "in order of first appearance"
    assert ds.E.attrs["units"] == "electron"
    np.testing.assert_array_equal(ds.G, [1.0, np.nan])
    np.testing.assert_array_equal(ds.x, [10.0, 20.0])
    np.testing.assert_array_equal(
        ds.time.values.astype(str), ["2024-01-01T00:00:00.000000000", "2024-01-01T00:01:00.000000000"]
    )
    assert ds.lamp.values.tolist() == ["a", ""]
    assert ds.attrs["source"] == "table"
    assert (table == before).all()


def test_amplifiers_keep_the_order_of_every_detector():
    rows = [("a", "B"), ("a", "D"), ("b", "A"), ("b", "B"), ("b", "C"), ("b", "D")]
    table = Table(
        {
            "detector": [d for d, _ in rows],
            "amplifier": [a for _, a in rows],
            "exposure": [1] * 6,
            "background": np.arange(6.0),
        }
    )
    ds = from_table(table)
    assert ds.amplifier.values.tolist() == ["A", "B", "C", "D"]
    assert ds.exists.values.tolist() == [[False, True, False, True], [True] * 4]
    assert merged_order([[1, 2], [2, 1]]) == [1, 2], "where they disagree, that of first appearance"
    assert merged_order([range(5000, 0, -1), [1, 5000]])[:2] == [5000, 4999]


def test_a_cell_without_a_row_was_not_measured():
    ds = fx.solve(fx.simulate(n_detectors=3, n_exposures=6, seed=1))
    back = from_table(to_table(ds)[1:])
    cell = back.sel(detector=1, exposure=101)
    assert np.isnan(cell.background)
    assert cell.quality == Flag.NOT_MEASURED
    assert cell.weight == 0
    xr.testing.assert_equal(back.E, ds.E)
    xr.testing.assert_equal(
        back.isel(detector=slice(1, None)), ds.isel(detector=slice(1, None)).sel(exposure=back.exposure)
    )


def test_columns_without_a_place_are_left_out_with_a_warning(solved, says):
    table = Table(to_table(solved.drop_vars("mode_unit"))[["detector", "amplifier", "exposure", "E", "G"]])
    table["wild"] = np.arange(len(table))
    table["iterations"] = 5
    table["mode"] = 1
    table.meta = {"nothing": None, "title": "mine"}
    with says(
        "columns wild vary along every", "columns iterations, mode have a name", "attributes nothing are neither"
    ):
        ds = from_table(table)
    assert not {"wild", "iterations", "mode"} & set(ds.variables)


# bad tables


def broken(table: Table, change: object) -> Table:
    table = Table(table, copy=True)
    change(table)
    return table


BAD_TABLES = {
    "has no column E, G": lambda t: t.remove_columns(["background", "E", "G"]),
    "has no column detector": lambda t: t.remove_column("detector"),
    "the table has no rows": lambda t: t.remove_rows(slice(None)),
    r"E \(exposure\) differ between rows of the same labels": lambda t: t["E"].__setitem__(0, 7.0),
    r"G \(detector, amplifier\) differ": lambda t: t["G"].__setitem__(0, 7.0),
    "rows occur twice": lambda t: t.add_row(t[0]),
    "quality must be whole numbers from 0": lambda t: t.replace_column("quality", np.linspace(0, 1, len(t))),
    "component must be whole numbers from -2147483648": lambda t: t.replace_column("component", np.full(len(t), 2**40)),
    "column E must be numbers, but is not in row 1": lambda t: t.replace_column("E", ["x"] * len(t)),
    "the units conflict": lambda t: setattr(t["E"], "unit", u.adu),
    "unknown units": lambda t: [
        setattr(t[n], "unit", u.m) for n in t.colnames if getattr(t[n], "unit", None) == u.electron
    ],
    "x is in 's', not in mm": lambda t: setattr(t["x"], "unit", u.s),
    "sigma is negative": lambda t: t["sigma"].__imul__(-1),
    "detector is empty in row 1": lambda t: t.replace_column("detector", [""] * len(t)),
    "has several values a row": lambda t: t.add_column(np.ones((len(t), 2)), name="two"),
    "data model 99; this program reads up to": lambda t: t.meta.update(
        flatnorm_min_reader=99, flatnorm_schema_version=99
    ),
}


@pytest.mark.parametrize("words", BAD_TABLES)
def test_a_bad_table_is_one_clear_line(words, solved):
    table = broken(to_table(solved), BAD_TABLES[words])
    with pytest.raises(FlatnormError, match=words) as caught:
        from_table(table)
    assert str(caught.value).startswith("from_table: ")
    assert "\n" not in str(caught.value)


HOSTILE = {
    "no JSON": "}",
    "a list": "[]",
    "deep": "[" * 100_000,
    "number": 7,
    "labels": '{"labels": ["A"]}',
    "labels twice": '{"labels": ["A", "A", "É 1"]}',
    "labels of numbers": '{"labels": [1, 2]}',
    "dims": '{"dims": {"E": ["foo"]}}',
    "dims of text": '{"dims": "E"}',
    "padding": '{"padding": {"G": "x"}}',
    "padding of lists": '{"padding": {"G": [1]}}',
    "grouped": '{"grouped": 5}',
    "grouped without groups": '{"grouped": true}',
    "arrays": '{"arrays": {"modes": 5}}',
    "array of objects": '{"arrays": {"mode": {"dims": ["mode"], "shape": [1], "dtype": "O", "values": [1]}}}',
    "array of lists": '{"arrays": {"mode": {"dims": ["mode"], "shape": [1], "dtype": "f8", "values": [[1]]}}}',
    "array of another size": '{"arrays": {"chi2": {"dims": ["exposure"], "shape": [1], "dtype": "f8", "values": [1]}}}',
    "array of another shape": '{"arrays": {"chi2": {"dims": ["a"], "shape": [9], "dtype": "f8", "values": [1]}}}',
    "array for a column": '{"arrays": {"E": {"dims": ["exposure"], "shape": [1], "dtype": "f8", "values": [1]}}}',
    "array of numbers too large": '{"arrays": {"chi2": {"dims": [], "shape": [], "dtype": "i4", "values": [1e99]}}}',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_table_whose_header_was_edited(kind, solved):
    table = to_table(solved)
    table.meta[BESIDE] = HOSTILE[kind]
    with pytest.raises(
        SchemaError, match=r"^from_table: the table: what it says of .* is damaged; was it edited\?"
    ) as caught:
        from_table(table)
    assert "\n" not in str(caught.value)


def test_few_rows_do_not_become_a_huge_grid():
    n = 4_000
    table = Table({name: np.arange(n) for name in ("detector", "exposure")} | {"E": np.ones(n), "G": np.ones(n)})
    with pytest.raises(
        SchemaError, match=r"4000 detectors x 4000 exposures, but only 4000 rows; is a column something"
    ):
        from_table(table)


def test_what_is_no_table():
    with pytest.raises(SchemaError, match="from_table: table is a Dataset, not an astropy Table"):
        from_table(xr.Dataset())
    with pytest.raises(SchemaError, match="to_table: background is missing"):
        to_table(xr.Dataset())


# files


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("run.csv", "detector,exposure,background\n1,1,5\n", "has no columns E and G, so it is no solution; read its"),
        ("run.csv", "detector,exposure,E\n1,1,5\n", "has no column G; it has detector, exposure, E"),
        ("run.csv", "", "the file is empty"),
        ("run.csv", b"\x89HDF\r\n\x1a\n\0", "it is not text"),
        ("run.csv", "detector,exposure,E,G\n1,1,5\n", "another number of them: line 2"),
        ("run.ecsv", "# %ECSV 1.0\n# ---\n# {}\ndetector exposure E G\n1 1 1 1\n", "it is not valid ECSV"),
        ("run.nc", "", "is NetCDF; read it with flatnorm_xr.open"),
        ("run.txt", "", "has the extension '.txt'"),
        ("none.csv", None, "no such file"),
        ("none.yaml", None, "no such file"),
    ],
)
def test_a_file_that_holds_no_solution_is_one_clear_line(written, tmp_path, name, content, words):
    if content is not None:
        written(content, name)
    with pytest.raises(FlatnormError, match=re.escape(words)) as caught:
        read_solution(tmp_path / name)
    assert str(caught.value).startswith(f"read_solution: {tmp_path / name}")
    assert "\n" not in str(caught.value)


def test_a_folder_and_a_pipe_are_no_solutions(tmp_path):
    (tmp_path / "a.yaml").mkdir()
    os.mkfifo(tmp_path / "b.yaml")
    with pytest.raises(ReadError, match="is a folder"):
        read_solution(tmp_path / "a.yaml")
    with pytest.raises(ReadError, match="is not a regular file"):
        read_solution(tmp_path / "b.yaml")


# Rubin's scales


def test_scales_of_amplifiers_come_back(solved, tmp_path):
    path = fx.export(solved.drop_vars([n for n in solved.variables if "mode" in n]), tmp_path / "scales.yaml")
    with pytest.warns(fx.FlatnormWarning, match="differ; E is their geometric mean there"):
        back = read_solution(path, units="electron")  # it was solved with modes
    fx.validate(back, needs_levels=False)
    finite = solved.scales.where(np.isfinite(solved.scales)).dropna("exposure", how="all")
    for name in ("scales", "G", "exists"):
        ours = finite if name == "scales" else solved[name]
        xr.testing.assert_equal(back[name].reset_coords(drop=True), ours.reset_coords(drop=True))
    xr.testing.assert_allclose(back.bgModel.reset_coords(drop=True), (back.G * back.scales).reset_coords(drop=True))
    assert back.E.attrs["units"] == "electron"
    assert back.attrs["source"] == "Rubin YAML scales.yaml"
    assert fx.export(back, tmp_path / "again.yaml").read_bytes() == path.read_bytes()
    xr.testing.assert_identical(fx.open(fx.save(back, tmp_path / "run.nc")), back)
    xr.testing.assert_identical(read_solution(fx.export(back, tmp_path / "run.ecsv")), back)


@pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
def test_E_is_what_all_units_share_and_a_dark_exposure_is_not_there(tmp_path):
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=5, seed=2)
    ds["background"] = ds.background.where((ds.exposure != 103) & ~((ds.detector == 1) & (ds.amplifier == "C01")))
    solution = fx.solve(ds)
    path = fx.export(solution, tmp_path / "scales.yaml")
    back = read_solution(path)
    assert back.exposure.values.tolist() == [101, 102, 104, 105]
    np.testing.assert_array_equal(back.E, solution.E.sel(exposure=back.exposure))
    assert np.isnan(back.G.sel(detector=1, amplifier="C01"))
    assert "exists" not in back.coords
    assert fx.export(back, tmp_path / "again.yaml").read_bytes() == path.read_bytes()


def test_scales_of_whole_detectors_remember_their_amplifiers(written, tmp_path):
    solution = fx.solve(fx.simulate(n_detectors=2, n_amplifiers=0, n_exposures=3, seed=1), uncertainty=None)
    packed = pack_scales(solution, {1: ["A", "B"], 2: ["C"]})
    path = written(yaml.safe_dump(packed, sort_keys=False))
    back = read_solution(path)
    assert back.G.dims == ("detector",)
    np.testing.assert_array_equal(back.scales, solution.scales)
    np.testing.assert_array_equal(back.E, solution.E)
    assert json.loads(back.attrs["amplifiers"]) == [[1, ["A", "B"]], [2, ["C"]]]
    assert (
        fx.export(fx.open(fx.save(back, tmp_path / "run.nc")), tmp_path / "again.yaml").read_bytes()
        == path.read_bytes()
    )
    assert pack_scales(back.isel(detector=[1]))["detScale"] == {2: solution.G.values[1]}


SCALES = """expScale:
  1:
    A: {10: 100.0, 11: 200.0}
    B: {10: 100.0, 11: .nan}
  2:
    A: {12: 3.0e+2, 10: 100.0, 11: 200}
detScale:
  1: {A: 0.5, B: .NaN}
  2: {A: 1.5}
"""


def test_a_file_made_by_hand(written):
    ds = read_solution(written(SCALES))
    assert ds.exposure.values.tolist() == [12, 10, 11], "an order that agrees with every amplifier's"
    np.testing.assert_array_equal(ds.E, [300.0, 100.0, 200.0])
    assert ds.exists.values.tolist() == [[True, True], [True, False]]
    np.testing.assert_array_equal(ds.scales.sel(detector=1, amplifier="B"), [np.nan, 100.0, np.nan])
    np.testing.assert_array_equal(ds.G, [[0.5, np.nan], [1.5, np.nan]])
    np.testing.assert_array_equal(ds.bgModel.sel(detector=2, amplifier="A"), [450.0, 150.0, 300.0])


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("detScale", "other", "has no detScale, so it is none of Rubin's scales"),
        ("detScale:\n  1: {A: 0.5, B: .NaN}\n  2: {A: 1.5}", "detScale: 5", "so it is none of Rubin's scales"),
        ("  2: {A: 1.5}", "", "detectors 2 are in one of expScale and detScale only"),
        ("  2: {A: 1.5}", "  2: 1.5", "detScale has numbers for some detectors and amplifiers for others"),
        ("  2: {A: 1.5}", "  2: {C: 1.5}", "detector 2 has other amplifiers in expScale than in detScale"),
        ("{10: 100.0, 11: 200.0}", "5", "expScale of detectors 1 is not by amplifier and exposure"),
        ("{A: 1.5}", "{A: 0}", "detScale of 2 A is 0, not a positive number"),
        ("{A: 1.5}", "{A: -.inf}", "detScale of 2 A is -inf, not a positive number"),
        ("{A: 1.5}", "{A: yes}", "detScale of 2 A is 'yes', not a positive number"),
        ("{A: 1.5}", "{A: {B: 1}}", "detScale of 2 A is {'B': 1}, not a positive number"),
        ("11: 200}", "11: .inf}", "expScale of 2 A 11 is inf, not a positive number"),
        ("11: 200}", "x: 200}", "exposures must be all integers or all text"),
        ("11: 200}", "1.5: 200}", "exposures must be all integers or all text"),
        ("12:", "9999999999999999999:", "exposures are larger than integers of 8 bytes"),
        ("B: {10", "7: {10", "amplifiers 7 are no text; quote their names"),
        ("B: {10", "A: {10", "line 4: A stands there a second time"),
        ("  2:\n    A", "  1:\n    A", "line 5: 1 stands there a second time"),
        ("detScale:", "expScale:", "line 7: expScale stands there a second time"),
        ("{10: 100.0, 11: 200.0}", "&a {10: 100.0}", "line 3: anchors (&), aliases (*) and tags (!) are not allowed"),
        ("{A: 1.5}", "*a", "line 9: anchors (&), aliases (*) and tags (!) are not allowed"),
        ("{A: 1.5}", "!!python/object/apply:os.system [ls]", "line 9: anchors (&), aliases (*) and tags (!)"),
        ("{A: 1.5}", "!!float 1.5", "line 9: anchors (&), aliases (*) and tags (!)"),
        ("{A: 1.5}", "[1, 2]", "line 9: this is no mapping of text and numbers"),
        ("{A: 1.5}", "{[1]: 2}", "line 9: this is no mapping of text and numbers"),
        ("{A: 1.5}", "{? {a: 1} : 2}", "line 9: this is no mapping of text and numbers"),
        ("11: 200}", "11: {a: {b: 1}}}", "line 6: more than 4 mappings lie in each other"),
        ("{A: 1.5}", "{A: 1.5}\n---\na: 1", "line 10: another document begins"),
        ("{A: 1.5}", "{A: 1.5", "is not readable YAML (while parsing a flow mapping"),
        ("{A: 1.5}", "{A: \x01}", "is not readable YAML ("),
    ],
)
def test_scales_that_are_none_are_one_clear_line(written, old, new, words):
    path = written(SCALES.replace(old, new, 1))
    with pytest.raises(FlatnormError, match=re.escape(words)) as caught:
        read_solution(path)
    assert str(caught.value).startswith(f"read_solution: {path}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", ["", "5", "- 1", "# nothing", "expScale: {}\ndetScale: {}", b"\xff\xfe\x00", b"\0" * 50]
)
def test_other_yaml_is_one_clear_line(written, content):
    with pytest.raises(FlatnormError, match=r"^read_solution: ") as caught:
        read_solution(written(content))
    assert "\n" not in str(caught.value)


def test_whole_detectors_whose_amplifiers_differ(written):
    content = "expScale: {1: {A: {5: 1.0}, B: {5: 2.0}}}\ndetScale: {1: 1.0}"
    with pytest.raises(SchemaError, match="detScale is of whole detectors, but the amplifiers of 1 differ in expScale"):
        read_solution(written(content))


def test_a_file_too_large_or_too_sparse(written):
    path = written(SCALES)
    os.truncate(path, 200_000_000)
    with pytest.raises(ReadError, match=r"has 200000000 bytes, more than the \d+ that are read"):
        read_solution(path)
    sparse = {"expScale": {d: {"A": {d: 1.0}} for d in range(1500)}, "detScale": {d: {"A": 1.0} for d in range(1500)}}
    with pytest.raises(
        SchemaError, match="expScale has 1500 scales for 1500 detectors x 1 amplifiers x 1500 exposures"
    ):
        read_solution(written(yaml.safe_dump(sparse)))


def test_text_that_looks_like_a_number_stays_text(written):
    content = "expScale: {'01': {'1e3': {'7': 1.0}}}\ndetScale: {'01': {'1e3': 1.0}}"
    ds = read_solution(written(content))
    assert [ds[dim].item() for dim in ("detector", "amplifier", "exposure")] == ["01", "1e3", "7"]
    assert math.isclose(ds.E.item(), 1.0)


# what can be done with what was read


def test_a_solution_from_csv_is_looked_at_and_solved_again(tmp_path):
    solution = fx.solve(fx.simulate(n_detectors=4, n_amplifiers=2, n_exposures=6, seed=1))
    back = read_solution(fx.export(solution, tmp_path / "run.csv"))
    assert "solution\n" in repr(back.flatnorm)
    again = fx.solve(back)
    np.testing.assert_allclose(again.G, solution.G, rtol=1e-12)
    for tool in (fx.covariance, fx.hierarchy, lambda ds: fx.report(ds, tmp_path / "run.html")):
        with pytest.raises(FlatnormError, match="the solution has no variance_factor, as one that was read from CSV"):
            tool(back)


def test_scales_without_levels_are_looked_at(written, tmp_path):
    ds = read_solution(written(SCALES))
    assert repr(ds.flatnorm).splitlines()[0] == "solution without levels"
    assert ds.flatnorm.summary()["units"] == 3
    assert ds.flatnorm.plot.E() is not None
    assert ds.flatnorm.plot.G() is not None
    assert ds.flatnorm.plot.focal_plane("G") is not None
    for tool in (ds.flatnorm.solve, ds.flatnorm.diagnose, ds.flatnorm.hierarchy, ds.flatnorm.plot.amplifier_ratio):
        with pytest.raises(FlatnormError, match=r"background is missing|has no .*(background|residual)"):
            tool()
    plt.close("all")


def test_no_damage_makes_it_fail_otherwise_than_by_one_clear_line(solved, grouped, tmp_path):
    rng = np.random.default_rng(5)
    few = solved.isel(exposure=slice(3)), grouped.isel(exposure=slice(3, 7))
    paths = [fx.export(ds, tmp_path / f"{i}.{to}") for i, ds in enumerate(few) for to in ("csv", "ecsv")]
    paths.append(fx.export(few[0].drop_vars("mode_unit"), tmp_path / "s.yaml"))
    pieces = [
        "nan",
        ".nan",
        "-1",
        "1e400",
        '"',
        "{",
        "}",
        "[",
        ":",
        ",",
        "&a",
        "*a",
        "!!x",
        "\n",
        "#",
        "9" * 20,
        "é",
        "",
    ]
    messages = []
    for _ in range(60):
        path = paths[rng.integers(len(paths))]
        content = path.read_text(encoding="utf-8")
        at = int(rng.integers(len(content)))
        damaged = content[:at] + pieces[rng.integers(len(pieces))] + content[at + int(rng.integers(6)) :]
        (tmp_path / f"damaged{path.suffix}").write_text(damaged, encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read_solution(tmp_path / f"damaged{path.suffix}")
            except FlatnormError as error:
                messages.append(str(error))
    assert len(messages) > 20
    assert not any("\n" in message for message in messages)
