"""Commands take solutions from tables and from Rubin's scales as they take them from NetCDF."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Folder with run.nc, run.ecsv, run.csv, scales.yaml and levels.csv of one night."""
    folder = tmp_path_factory.mktemp("files")
    ds = fx.simulate(n_detectors=4, n_amplifiers=2, n_exposures=6, seed=3)
    solution = fx.solve(ds, weights="variance")
    fx.save(solution, folder / "run.nc")
    for name in ("run.ecsv", "run.csv", "scales.yaml"):
        fx.export(solution, folder / name)
    fx.export(ds, folder / "levels.csv")
    return folder


def test_a_table_and_its_netcdf_are_the_same_run(flatnorm, files, tmp_path):
    assert flatnorm("export", files / "run.ecsv", "-o", tmp_path / "run.nc")[0] == 0
    xr.testing.assert_identical(fx.open(tmp_path / "run.nc"), fx.open(files / "run.nc"))
    status, out, _ = flatnorm("export", files / "run.nc", "--to", "ecsv", "-o", tmp_path / "again.ecsv")
    assert status == 0
    assert out == f"table written to {tmp_path / 'again.ecsv'}\n"
    assert (tmp_path / "again.ecsv").read_bytes() == (files / "run.ecsv").read_bytes()


def test_scales_come_from_yaml_and_go_back(flatnorm, files, tmp_path):
    status, out, _ = flatnorm("export", files / "scales.yaml", "--to", "nc", "-o", tmp_path / "scales.nc")
    assert status == 0
    assert out == f"NetCDF written to {tmp_path / 'scales.nc'}\n"
    np.testing.assert_array_equal(fx.open(tmp_path / "scales.nc").G, fx.open(files / "run.nc").G)
    status, out, _ = flatnorm("export", tmp_path / "scales.nc", "--to", "lsst", "-o", tmp_path / "scales.yaml")
    assert out == f"scales written to {tmp_path / 'scales.yaml'}\n"
    assert (tmp_path / "scales.yaml").read_bytes() == (files / "scales.yaml").read_bytes()


@pytest.mark.parametrize("name", ["run.ecsv", "run.csv"])
def test_a_table_of_a_solution_is_solved_and_drawn(flatnorm, files, tmp_path, name):
    assert flatnorm("solve", files / name, "-o", tmp_path / "run.nc", "--weights", "variance")[0] == 0
    np.testing.assert_allclose(fx.open(tmp_path / "run.nc").G, fx.open(files / "run.nc").G, rtol=1e-12)
    assert flatnorm("plot", "residual", files / name, "-o", tmp_path / "residual.png")[0] == 0


def test_ecsv_is_diagnosed_and_reported_and_csv_has_not_enough_for_that(flatnorm, files, tmp_path):
    status, out, _ = flatnorm("diagnose", files / "run.ecsv", "--permutations", "99")
    assert status == 0
    assert out == flatnorm("diagnose", files / "run.nc", "--permutations", "99")[1]
    assert flatnorm("report", files / "run.ecsv", "-o", tmp_path / "run.html")[0] == 0
    for command in (("report", "-o", tmp_path / "other.html"), ("diagnose",)):
        status, _, err = flatnorm(command[0], files / "run.csv", *command[1:])
        assert status == 2
        words = "the solution has no variance_factor, as one that was read from CSV; solve it again"
        assert err == f"flatnorm: error: {command[0]}: {words}\n"


def test_scales_without_levels_are_drawn_but_not_solved(flatnorm, files, tmp_path):
    assert flatnorm("plot", "G", files / "scales.yaml", "-o", tmp_path / "G.png")[0] == 0
    status, _, err = flatnorm("solve", files / "scales.yaml", "-o", tmp_path / "run.nc")
    assert status == 2
    assert "background is missing" in err
    assert err.count("\n") == 1


def test_a_table_of_levels_is_read_as_before(flatnorm, files, tmp_path):
    assert flatnorm("solve", files / "levels.csv", "-o", tmp_path / "run.nc", "--weights", "variance")[0] == 0
    np.testing.assert_allclose(fx.open(tmp_path / "run.nc").G, fx.open(files / "run.nc").G, rtol=1e-12)


@pytest.mark.parametrize("name", ["cut.ecsv", "cut.yaml", "cut.csv", "cut.parquet", "cut.txt"])
def test_damaged_files_are_one_line(flatnorm, tmp_path, name):
    (tmp_path / name).write_text("detector,exposure,E,G,background\n1,1,2")
    status, _, err = flatnorm("plot", "G", tmp_path / name, "-o", tmp_path / "G.png")
    assert status == 2
    assert err.startswith("flatnorm: error: ")
    assert err.count("\n") == 1
    assert not (tmp_path / "G.png").exists()
