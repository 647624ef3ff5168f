"""Files follow the CF conventions that they name, by the checker of the IOOS (which needs no network for it)."""

from __future__ import annotations

import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.file_units import with_file_units, with_model_units

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")
CF = "cf:1.11"
ERROR = 3
"""Weight of what the checker calls an error; what it only recommends has less."""

MONOTONIC = "check_coordinate_variables_strict_monotonicity"


def simulated(**keywords: object) -> xr.Dataset:
    return fx.simulate(**{"n_detectors": 4, "n_amplifiers": 2, "n_exposures": 8, "seed": 1, **keywords})


def by_filter() -> xr.Dataset:
    ds = simulated().assign_coords(physical_filter=("exposure", ["g"] * 4 + ["r"] * 4))
    return fx.solve(ds, by="physical_filter", modes=1, hierarchy=True)


WRITTEN = {
    "detectors": lambda _: simulated(n_amplifiers=0),
    "amplifiers": lambda _: simulated(),
    "every kind of level": lambda kinds: kinds(amplifiers=True),
    "solution of detectors": lambda _: fx.solve(simulated(n_amplifiers=0)),
    "solution with all": lambda _: fx.solve(
        simulated(), weights="variance", robust="tukey", uncertainty=("jackknife", "analytic"), hierarchy=True, modes=1
    ),
    "groups": lambda _: by_filter(),
    "diagnosis": lambda _: fx.diagnose(fx.solve(simulated()), permutations=99),
    "solution without levels": lambda _: fx.solve(simulated(n_amplifiers=0))[["E", "G", "scales", "bgModel"]],
}


def checked(path: Path) -> tuple[list[str], set[str]]:
    """Errors that the checker found in a file, and the names of its checks that broke down."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the checker and its libraries warn of is theirs
        from compliance_checker.suite import CheckSuite

        CheckSuite.load_all_available_checkers()
        suite = CheckSuite()
        opened = suite.load_dataset(str(path))
        try:
            groups, broken = suite.run_all(opened, [CF])[CF]
        finally:
            opened.close()
    assert len(groups) > 15, "it has checked something"
    wrong = [group for group in groups if group.weight >= ERROR and group.value[0] < group.value[1]]
    return [message for group in wrong for message in group.msgs], set(broken)


def without_text_labels(path: Path) -> Path:
    """Copy of a file whose dims of text labels are numbered, which the checker cannot subtract."""
    raw = xr.open_dataset(path, decode_cf=False)
    bare = raw.drop_vars([dim for dim in raw.dims if dim in raw.coords and raw[dim].dtype.kind in "OUT"])
    raw.close()
    bare.to_netcdf(path.with_name("numbered.nc"), engine="netcdf4")
    return path.with_name("numbered.nc")


@pytest.mark.parametrize("kind", WRITTEN)
def test_no_errors(kind, measurements, tmp_path):
    ds = WRITTEN[kind](measurements)
    path = fx.save(ds, tmp_path / "file.nc")
    assert ds.attrs["Conventions"] == "CF-1.11"
    errors, broken = checked(path)
    assert errors == []
    assert broken <= {MONOTONIC}
    if kind != "every kind of level":  # whose detectors are not in order
        assert checked(without_text_labels(path)) == ([], set())


def test_the_checker_finds_what_is_wrong(tmp_path):
    path = fx.save(fx.solve(simulated(n_amplifiers=0)), tmp_path / "file.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["sigma"].units = "adu"
        file["quality"].flag_masks = np.array([1, 2], dtype="u4")
    errors, _ = checked(path)
    assert any("sigma" in error and "UDUNITS" in error for error in errors)
    assert any("flag" in error for error in errors)


def test_integer_labels_out_of_order_are_the_users(tmp_path):
    errors, _ = checked(fx.save(simulated(n_amplifiers=0).isel(detector=[2, 0, 1]), tmp_path / "file.nc"))
    assert errors == ['Coordinate variable "detector" must be strictly monotonic']


@pytest.mark.parametrize("units", ["adu", "electron"])
def test_units_are_counts_in_the_file_and_themselves_again_in_memory(units, tmp_path):
    ds = fx.make(np.ones((2, 3)), units=units, coords={"gain": [1.0, 2.0]})
    ds["leftover"] = ("detector", [1.0, 2.0], {"units": f"{units}-1 mm"})
    path = fx.save(ds, tmp_path / "file.nc")
    with netCDF4.Dataset(path) as file:
        found = {name: file[name].units for name in ("background", "gain", "leftover")}
        assert found == {"background": "count", "gain": "count count-1", "leftover": "count-1 mm"}
        assert file["background"].flatnorm_units == units
    xr.testing.assert_identical(fx.open(path), ds)


def test_what_plain_xarray_opens_is_understood(tmp_path):
    ds = fx.make(np.full((3, 4), 100.0), units="electron")
    path = fx.save(ds, tmp_path / "file.nc")
    plain = xr.open_dataset(path, engine="netcdf4").load()
    plain.close()
    assert plain.background.attrs["units"] == "count"
    assert fx.solve(plain).E.attrs["units"] == "electron"
    assert fx.make(plain.background).background.attrs["units"] == "electron"
    xr.testing.assert_identical(with_model_units(plain).background, ds.background)
    xr.testing.assert_identical(fx.open(fx.save(plain, tmp_path / "again.nc")), fx.open(path))


@pytest.mark.parametrize("units", ["badu", "adus", "1/adu", "electronvolt", "adu.s", "count", 3])
def test_other_units_are_left_alone(units):
    ds = xr.Dataset({"a": ("x", [1.0], {"units": units})})
    xr.testing.assert_identical(with_file_units(ds), ds)
