"""The accessor gives what the functions give, and importing the package stays light."""

from __future__ import annotations

import inspect
import subprocess
import sys

import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr import accessor
from flatnorm_xr.show import plots
from flatnorm_xr.show.pictures import PICTURES, PICTURES_OF_RUNS
from flatnorm_xr.show.summary import summary

ALL_PICTURES = {**PICTURES, **PICTURES_OF_RUNS}


def test_solve_is_the_function():
    ds = fx.simulate(seed=1)
    one, other = (
        solve(weights="variance", floor=1e-3, gauge=1) for solve in (ds.flatnorm.solve, lambda **k: fx.solve(ds, **k))
    )
    one.attrs.pop("history")
    other.attrs.pop("history")
    xr.testing.assert_identical(one, other)


def test_save_export_validate_and_summary_are_the_functions(tmp_path):
    ds = fx.simulate(seed=1)
    xr.testing.assert_identical(fx.open(ds.flatnorm.save(tmp_path / "a.nc")), fx.open(fx.save(ds, tmp_path / "b.nc")))
    ds.flatnorm.export(tmp_path / "a.csv")
    fx.export(ds, tmp_path / "b.csv")
    assert (tmp_path / "a.csv").read_text() == (tmp_path / "b.csv").read_text()
    assert (ds.flatnorm.to_table() == fx.to_table(ds)).all()
    assert ds.flatnorm.to_table().meta == fx.to_table(ds).meta
    assert ds.flatnorm.summary() == summary(ds)
    with pytest.raises(fx.SchemaError, match="background is missing"):
        ds.drop_vars("background").flatnorm.validate()


@pytest.mark.parametrize("name", ALL_PICTURES)
def test_plots_are_the_functions(name, monkeypatch):
    ds = fx.simulate(seed=1)
    plot = ds.flatnorm.plot
    monkeypatch.setattr(plots, name, lambda *arguments, **keywords: (arguments, keywords))
    assert getattr(plot, name)(figsize=(3, 2)) == ((ds,), {"figsize": (3, 2)})


@pytest.mark.parametrize(
    "name",
    [
        "solve",
        "rejections",
        "diagnose",
        "pulls",
        "interval",
        "covariance",
        "hierarchy",
        "validate",
        "save",
        "export",
        "to_table",
        "report",
    ],
)
def test_methods_have_the_signatures_of_the_functions(name):
    method, function = getattr(fx.simulate().flatnorm, name), getattr(fx, name)
    without_first = list(inspect.signature(function).parameters.values())[1:]
    assert list(inspect.signature(method).parameters.values()) == without_first
    assert inspect.signature(method).return_annotation == inspect.signature(function).return_annotation


@pytest.mark.parametrize("name", ALL_PICTURES)
def test_pictures_have_the_signatures_of_the_functions(name):
    method, function = getattr(fx.simulate().flatnorm.plot, name), getattr(plots, name)
    assert (
        list(inspect.signature(method).parameters.values()) == list(inspect.signature(function).parameters.values())[1:]
    )


def test_one_list_names_the_pictures():
    methods = {name: m.__doc__ for name, m in vars(accessor.FlatnormPlotAccessor).items() if not name.startswith("_")}
    functions = {name for name in plots.__all__ if inspect.isfunction(getattr(plots, name))}
    assert set(methods) == functions == set(ALL_PICTURES)
    assert {name: text.partition(";")[0] for name, text in methods.items()} == ALL_PICTURES


def test_plot_lists_its_pictures_and_is_none_itself():
    plot = fx.simulate().flatnorm.plot
    lines = repr(plot).splitlines()[1:]
    assert {line.split()[0]: line.split(maxsplit=1)[1] for line in lines} == ALL_PICTURES
    with pytest.raises(fx.FlatnormError, match=r"plot: name the picture: .*residual.*"):
        plot()


@pytest.mark.parametrize("cls", [accessor.FlatnormAccessor, accessor.FlatnormPlotAccessor])
def test_every_method_is_one_line(cls):
    methods = [m for name, m in vars(cls).items() if inspect.isfunction(m) and not name.startswith("_")]
    assert methods
    for method in methods:
        body = [line for line in inspect.getsource(method).splitlines() if line.strip()][1:]
        assert [line.split()[0] for line in body] == ['"""' + method.__doc__.split()[0], "from", "return"]


def test_importing_loads_nothing_heavy():
    code = (
        "import sys, xarray; before = set(sys.modules); import flatnorm_xr; "
        "heavy = {'astropy', 'matplotlib', 'numba', 'scipy', 'dask', 'netCDF4', 'pyarrow', 'yaml', 'jinja2', 'rich'}; "
        "print(sorted(heavy & (set(sys.modules) - before)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_functions_win_over_the_rooms_of_the_same_name():
    code = (
        "import flatnorm_xr.measure.kernels, flatnorm_xr.simulate.levels; import flatnorm_xr as fx; "
        "print(callable(fx.measure), callable(fx.simulate))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
