from __future__ import annotations

import errno
import io
import os
import stat
import tempfile
import warnings
from pathlib import Path

import netCDF4
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

import flatnorm_xr as fx
from flatnorm_xr.archive import netcdf
from flatnorm_xr.archive.netcdf import save
from flatnorm_xr.errors import FlatnormError, ReadError, SchemaError
from flatnorm_xr.model.schema import SCHEMA_VERSION


def there_and_back(ds: xr.Dataset, folder: Path, **keywords: object) -> xr.Dataset:
    return netcdf.open(save(ds, folder / "file.nc"), **keywords)


@pytest.mark.parametrize("amplifiers", [False, True])
@pytest.mark.parametrize("by", [False, True])
def test_solution_comes_back_identical(solution, tmp_path, amplifiers, by):
    ds = solution(amplifiers=amplifiers, by=by)
    before = ds.copy(deep=True)
    back = there_and_back(ds, tmp_path)
    xr.testing.assert_identical(back, ds)
    xr.testing.assert_identical(ds, before)
    assert {name: v.dtype for name, v in back.variables.items()} == {name: v.dtype for name, v in ds.variables.items()}
    assert all(not variable.encoding for variable in back.variables.values())


def test_one_flag_alone_stays_an_array(measurements, tmp_path):
    ds = measurements()
    ds.quality.attrs["flag_masks"] = np.array([4], dtype="u4")
    back = there_and_back(ds, tmp_path)
    assert back.identical(ds)
    assert back.quality.attrs["flag_masks"].shape == (1,)


def test_own_variables_of_plain_type_come_back(measurements, tmp_path):
    ds = measurements().assign_coords(
        airmass=("exposure", np.array([1, 2, 3, 4], dtype="f4")),
        seen=("detector", [True, False, True]),
        end=("exposure", np.array(["2500-01-01T00:00:00.000001", "NaT", "0001-01-01", "2024-02-29"], dtype="M8[us]")),
        site="Cerro Tololo, 2207 m ü. M.",
    )
    ds["elapsed"] = ("exposure", np.arange(4.0), {"units": "seconds"})
    ds["cube"] = (("exposure", "step"), np.arange(8, dtype="i2").reshape(4, 2), {"points": np.array([1.5, 2.5])})
    back = there_and_back(ds, tmp_path)
    xr.testing.assert_identical(back, ds)
    assert back.end.dtype == ds.end.dtype
    assert back.elapsed.dtype == float


labels = st.one_of(
    st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=4, unique=True),
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
        min_size=1,
        max_size=4,
        unique=True,
    ),
)


@st.composite
def datasets(draw):
    """Any labels, with or without amplifiers, any float as level, times that may be missing, text attributes."""
    coords = {dim: draw(labels) for dim in ("detector", "exposure")}
    if draw(st.booleans()):
        coords["amplifier"] = [str(label) for label in draw(labels)]
    dims = [dim for dim in ("detector", "amplifier", "exposure") if dim in coords]
    shape = tuple(len(coords[dim]) for dim in dims)
    levels = draw(st.lists(st.floats(), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
    moments = st.one_of(st.none(), st.integers(-(2**62), 2**62))
    times = draw(st.lists(moments, min_size=shape[-1], max_size=shape[-1]))
    coords["time"] = np.array([np.datetime64("NaT") if t is None else t for t in times], dtype="M8[ns]")
    flags = draw(st.lists(st.integers(0, 2**32 - 1), min_size=len(levels), max_size=len(levels)))
    text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
    names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
    values = st.one_of(text, st.integers(-(2**63), 2**63 - 1), st.floats())
    return fx.make(
        np.array(levels).reshape(shape),
        coords=coords,
        quality=np.array(flags, dtype="u4").reshape(shape),
        attrs=draw(st.dictionaries(names.map("user_".__add__), values, max_size=4)),
    )


@given(ds=datasets())
@settings(max_examples=60, deadline=None)
def test_any_dataset_comes_back_identical(ds):
    with tempfile.TemporaryDirectory() as folder:
        xr.testing.assert_identical(there_and_back(ds, Path(folder)), ds)


def test_encoding_of_another_file_does_not_leak(measurements, tmp_path):
    ds = measurements()
    ds.background.encoding = {
        "dtype": "i2",
        "scale_factor": 100.0,
        "_FillValue": -1,
        "chunksizes": (7, 7),
        "zlib": True,
    }
    ds.time.encoding = {"units": "days since 2000-01-01", "dtype": "i4"}
    ds.encoding["unlimited_dims"] = {"exposure"}
    xr.testing.assert_identical(there_and_back(ds, tmp_path), ds)
    assert ds.background.encoding["scale_factor"] == 100.0


def test_saving_what_was_opened_gives_the_same(solution, tmp_path):
    once = netcdf.open(save(solution(), tmp_path / "1.nc"))
    xr.testing.assert_identical(netcdf.open(save(once, tmp_path / "2.nc")), once)


def test_opening_and_saving_writes_no_history(measurements, tmp_path):
    ds = measurements()
    assert there_and_back(ds, tmp_path).attrs["history"] == ds.attrs["history"] == ""


def test_a_dataset_built_by_hand_is_given_the_version_it_is_saved_in(tmp_path):
    ds = xr.Dataset({"background": (("detector", "exposure"), [[1.0]])})
    back = there_and_back(ds, tmp_path)
    assert back.attrs["flatnorm_schema_version"] == SCHEMA_VERSION
    xr.testing.assert_equal(back, ds)


def test_chunks_leave_the_values_in_the_file(measurements, tmp_path):
    pytest.importorskip("dask")
    ds = measurements(amplifiers=True)
    lazy = there_and_back(ds, tmp_path, chunks={})
    assert lazy.background.chunks is not None
    xr.testing.assert_identical(lazy.compute(), ds)
    xr.testing.assert_identical(netcdf.open(save(lazy, tmp_path / "again.nc")), ds)
    lazy.close()


def test_without_chunks_the_file_is_closed(measurements, tmp_path):
    path = save(measurements(), tmp_path / "file.nc")
    held = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    ds = netcdf.open(path)
    still = set(os.listdir("/proc/self/fd")) if held else set()
    assert str(path) not in {os.path.realpath(f"/proc/self/fd/{n}") for n in still}
    path.unlink()
    assert ds.background.shape == (3, 4)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda ds: ds.assign_attrs(converged=True), "converged"),
        (lambda ds: ds.assign_attrs(camera=None), "camera"),
        (lambda ds: ds.assign_attrs(configuration={"a": 1}), "configuration"),
        (lambda ds: ds.assign_attrs(time=np.datetime64("2024-01-01")), "time"),
        (lambda ds: ds.assign_attrs(coordinates="x"), "coordinates"),
        (lambda ds: ds.assign_attrs(note="a\0b"), "NUL"),
        (lambda ds: ds.assign_attrs(note="\udcff"), "Unicode"),
        (lambda ds: ds.assign_attrs(count=2**70), "count"),
        (lambda ds: ds.assign(user=("exposure", np.ones(4), {"scale_factor": 2.0})), "scale_factor"),
        (lambda ds: ds.assign(user=("exposure", np.ones(4), {"units": "days since 2000-01-01"})), "units"),
        (lambda ds: ds.assign(user=("exposure", np.ones(4) * 1j)), "complex"),
        (lambda ds: ds.assign(user=("exposure", np.ones(4, dtype="m8[ns]"))), "timedelta"),
        (lambda ds: ds.assign(user=("exposure", np.array([1, "a", None, 2.0], dtype=object))), "NoneType"),
        (lambda ds: ds.assign(user=("exposure", np.array(["a", "b", "c\0d", ""]))), "NUL"),
        (lambda ds: ds.assign({"a/b": ("exposure", np.ones(4))}), "a/b"),
        (lambda ds: ds.assign_coords({"two words": ("exposure", np.ones(4))}), "two words"),
        (lambda ds: ds.drop_vars("background"), "background"),
    ],
)
def test_what_netcdf_cannot_hold_is_named_and_nothing_is_written(measurements, tmp_path, change, named):
    with pytest.raises(SchemaError, match=named) as caught:
        save(change(measurements()), tmp_path / "file.nc")
    assert "\n" not in str(caught.value)
    assert not any(tmp_path.iterdir())


def test_refuses_to_overwrite_unless_told(measurements, tmp_path):
    path = save(measurements(), tmp_path / "file.nc")
    other = measurements(seed=2)
    with pytest.raises(FlatnormError, match="overwrite=True"):
        save(other, path)
    xr.testing.assert_identical(netcdf.open(path), measurements())
    assert save(other, path, overwrite=True) == path
    xr.testing.assert_identical(netcdf.open(path), other)
    assert [file.name for file in tmp_path.iterdir()] == ["file.nc"]


def test_a_link_is_followed(measurements, tmp_path):
    save(measurements(), tmp_path / "file.nc")
    (tmp_path / "link.nc").symlink_to("file.nc")
    save(measurements(seed=2), tmp_path / "link.nc", overwrite=True)
    assert (tmp_path / "link.nc").is_symlink()
    xr.testing.assert_identical(netcdf.open(tmp_path / "file.nc"), measurements(seed=2))


def test_permissions_are_those_of_any_new_file(measurements, tmp_path):
    former = os.umask(0o027)
    try:
        path = save(measurements(), tmp_path / "file.nc")
    finally:
        os.umask(former)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize("path", ["missing/file.nc", "."])
def test_saving_where_one_cannot_is_one_line(measurements, tmp_path, path):
    with pytest.raises(FlatnormError, match=r"^save: .*(does not exist|is a folder)") as caught:
        save(measurements(), tmp_path / path)
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission(measurements, tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(FlatnormError, match="Permission denied"):
            save(measurements(), tmp_path / "file.nc")
    finally:
        tmp_path.chmod(0o700)


def test_names_with_spaces_and_accents(measurements, tmp_path):
    path = save(measurements(), tmp_path / "nuit d'été #1.nc")
    xr.testing.assert_identical(netcdf.open(path), measurements())


def test_opening_what_is_not_there(tmp_path):
    with pytest.raises(ReadError, match="no such file"):
        netcdf.open(tmp_path / "missing.nc")
    with pytest.raises(ReadError, match="folder"):
        netcdf.open(tmp_path)


@pytest.mark.parametrize("content", [b"", b"detector,exposure\n", b"SIMPLE  =                    T"])
def test_opening_what_is_not_netcdf(tmp_path, content):
    (tmp_path / "file.nc").write_bytes(content)
    with pytest.raises(ReadError, match="not a NetCDF file"):
        netcdf.open(tmp_path / "file.nc")


def test_opening_a_file_of_another_program(tmp_path):
    xr.Dataset({"background": (("detector", "exposure"), [[1.0]])}).to_netcdf(tmp_path / "file.nc", engine="netcdf4")
    with pytest.raises(SchemaError, match="was not written by flatnorm-xr"):
        netcdf.open(tmp_path / "file.nc")


def test_opening_a_file_of_a_newer_program(measurements, tmp_path):
    newer = measurements().assign_attrs(flatnorm_version="2.0", flatnorm_schema_version=55, flatnorm_min_reader=55)
    words = rf"was written by flatnorm 2\.0 with data model 55; this program reads up to {SCHEMA_VERSION}: upgrade"
    with pytest.raises(SchemaError, match=words):
        there_and_back(newer, tmp_path)


def test_a_newer_file_that_old_readers_may_read(measurements, tmp_path):
    newer = measurements().assign_attrs(flatnorm_version="1.5", flatnorm_schema_version=SCHEMA_VERSION + 1)
    xr.testing.assert_identical(there_and_back(newer, tmp_path), newer)


def test_a_file_that_xarray_edited_can_be_opened(measurements, tmp_path):
    ds = netcdf.open(save(measurements(), tmp_path / "file.nc"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ds.to_netcdf(tmp_path / "edited.nc", engine="netcdf4")
    xr.testing.assert_identical(netcdf.open(tmp_path / "edited.nc"), ds)


def test_open_keeps_the_builtin_of_the_same_name():
    assert netcdf.open is not io.open


@pytest.mark.parametrize("labels", [["a", "b"], [1, 2]])
def test_categorical_labels_are_refused(tmp_path, labels):
    ds = fx.make(np.ones((2, 2))).assign_coords(lamp=("exposure", pd.Categorical(labels)))
    with pytest.raises(SchemaError, match="lamp is categorical"):
        save(ds, tmp_path / "file.nc")
    assert not list(tmp_path.iterdir())


def test_a_file_name_that_is_not_utf8(measurements, tmp_path):
    with pytest.raises(FlatnormError, match=r"save: .*\\udcff.* is no name in UTF-8") as caught:
        save(measurements(), f"{tmp_path}/a\udcff.nc")
    str(caught.value).encode()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("reader", [np.inf, np.nan, "x"])
def test_a_reader_version_that_is_none(measurements, tmp_path, reader):
    path = save(measurements(), tmp_path / "file.nc")
    with netCDF4.Dataset(path, "a") as file:
        file.flatnorm_min_reader = reader
    with pytest.raises(SchemaError, match="flatnorm_min_reader"):
        netcdf.open(path)


def test_values_that_were_never_written(measurements, tmp_path):
    ds = measurements()
    path = save(ds.assign(sigma=xr.full_like(ds.sigma, netCDF4.default_fillvals["f8"])), tmp_path / "file.nc")
    with pytest.raises(ReadError, match="is damaged: no value of sigma was ever written"):
        netcdf.open(path)


def test_a_pipe_is_no_run(tmp_path):
    os.mkfifo(tmp_path / "file.nc")
    with pytest.raises(ReadError, match="is not a regular file"):
        netcdf.open(tmp_path / "file.nc")


def test_a_disk_that_holds_nothing_more_gives_its_own_reason(measurements, tmp_path, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(errno.EACCES, "Permission denied")

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(xr.Dataset, "to_netcdf", refuse)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FlatnormError, match="No space left on device; nothing was written"):
        save(measurements(), tmp_path / "file.nc")
    assert not list(tmp_path.iterdir())
