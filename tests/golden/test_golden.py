"""A file of every version of the data model that was ever written opens, with the numbers it was written with."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.model.schema import MIN_READER, SCHEMA_VERSION

FOLDER = Path(__file__).parent
KINDS = ("levels", "solution", "groups", "diagnosis")
FILES = sorted(path.name for path in FOLDER.glob("v*.nc"))


def test_every_version_has_its_files():
    assert set(FILES) == {f"v{version}-{kind}.nc" for version in range(1, SCHEMA_VERSION + 1) for kind in KINDS}
    assert 1 <= MIN_READER <= SCHEMA_VERSION


@pytest.mark.parametrize("name", FILES)
def test_it_opens_with_the_numbers_it_was_written_with(name):
    ds = fx.open(FOLDER / name)
    recorded = json.loads((FOLDER / name).with_suffix(".json").read_text(encoding="utf-8"))
    assert sorted(map(str, ds.coords)) == recorded["coords"]
    assert set(ds.variables) == set(recorded["variables"])
    for variable, was in recorded["variables"].items():
        array = ds.variables[variable]
        assert list(array.dims) == was["dims"], variable
        values = np.array(was["values"], dtype=was["dtype"]).reshape(array.shape)
        np.testing.assert_array_equal(array.values, values, err_msg=variable, strict=array.dtype.kind not in "OUT")
        assert {key: np.asarray(value).tolist() for key, value in array.attrs.items()} == was["attrs"], variable
    assert {key: np.asarray(value).tolist() for key, value in ds.attrs.items()} == recorded["attrs"]
    assert f"v{ds.attrs['flatnorm_schema_version']}-" == name[:3]


@pytest.mark.parametrize("name", FILES)
def test_it_can_be_used_and_saved_again(name, tmp_path):
    ds = fx.open(FOLDER / name)
    ds.flatnorm.validate(needs_levels="background" in ds)
    again = fx.open(fx.save(ds, tmp_path / "again.nc"))
    assert again.attrs["flatnorm_schema_version"] == SCHEMA_VERSION, "the file is one of today"
    xr.testing.assert_identical(again.assign_attrs(ds.attrs), ds)


@pytest.mark.parametrize("name", [name for name in FILES if "solution" in name])
@pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
def test_it_can_be_solved_again(name):
    ds = fx.open(FOLDER / name)
    configuration = json.loads(ds.attrs["configuration"])
    again = fx.solve(ds, **{key: value for key, value in configuration.items() if key != "tolerance"})
    np.testing.assert_allclose(again.G, ds.G, rtol=1e-9)
    np.testing.assert_allclose(again.E, ds.E, rtol=1e-9)
    assert len(fx.rejections(ds)) == len(fx.rejections(again)) == 2


def edited(path: Path, folder: Path, **attributes: object) -> Path:
    """Copy of a file, with other global attributes."""
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    with netCDF4.Dataset(copy, "a") as file:
        file.setncatts(attributes)
    return copy


def test_a_newer_file_that_this_program_cannot_read(tmp_path):
    newest = FOLDER / f"v{SCHEMA_VERSION}-solution.nc"
    later = {"flatnorm_version": "9.1", "flatnorm_schema_version": 99, "flatnorm_min_reader": SCHEMA_VERSION + 1}
    with pytest.raises(fx.SchemaError) as caught:
        fx.open(edited(newest, tmp_path, **later))
    assert str(caught.value).endswith(
        f"v{SCHEMA_VERSION}-solution.nc was written by flatnorm 9.1 with data model 99; "
        f"this program reads up to {SCHEMA_VERSION}: upgrade flatnorm-xr"
    )


def test_a_newer_file_that_this_program_can_read(tmp_path):
    newest = FOLDER / f"v{SCHEMA_VERSION}-solution.nc"
    path = edited(newest, tmp_path, flatnorm_schema_version=99, flatnorm_min_reader=SCHEMA_VERSION)
    with netCDF4.Dataset(path, "a") as file:
        of_the_future = file.createVariable("of_the_future", "f8", ("exposure",))
        of_the_future[:] = np.arange(10.0)
    ds = fx.open(path)
    np.testing.assert_array_equal(ds.of_the_future, np.arange(10.0))
    xr.testing.assert_identical(ds.drop_vars("of_the_future").assign_attrs(fx.open(newest).attrs), fx.open(newest))
    assert fx.open(fx.save(ds, tmp_path / "again.nc")).attrs["flatnorm_schema_version"] == 99, "what is newer stays so"


def test_making_them_again_touches_nothing(tmp_path, monkeypatch):
    spec = importlib.util.spec_from_file_location("make_golden", FOLDER / "make_golden.py")
    make_golden = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make_golden)
    monkeypatch.setattr(make_golden, "FOLDER", tmp_path)
    for kind in KINDS:
        (tmp_path / f"v{SCHEMA_VERSION}-{kind}.nc").write_text("mine")
    make_golden.main()
    assert {path.read_text() for path in tmp_path.iterdir()} == {"mine"}
    xr.testing.assert_identical(make_golden.levels(), make_golden.levels())
