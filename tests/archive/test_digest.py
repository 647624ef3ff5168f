"""The digest of a run changes with every value, label and attribute, and with nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

import flatnorm_xr as fx
from flatnorm_xr.archive.digest import content_digest


@pytest.fixture(params=["detectors", "amplifiers", "groups"])
def run(request, solution) -> xr.Dataset:
    kinds = {"detectors": {}, "amplifiers": {"amplifiers": True}, "groups": {"amplifiers": True, "by": True}}
    ds = solution(**kinds[request.param])
    return ds.assign_attrs(history="solve", number=5, small=0.1, limits=np.array([1.0, 2.0]), text="ä")


def test_a_file_does_not_change_it(run, tmp_path):
    digest = content_digest(run)
    again = fx.open(fx.save(run, tmp_path / "run.nc"))
    assert content_digest(again) == digest
    assert content_digest(fx.open(fx.save(again, tmp_path / "again.nc"))) == digest


def test_the_order_in_which_things_are_listed_does_not_change_it(run):
    turned = xr.Dataset(
        {name: run.variables[name] for name in reversed(list(run.data_vars))},
        {name: run.variables[name] for name in reversed(list(run.coords))},
        dict(reversed(run.attrs.items())),
    )
    for variable in turned.variables.values():
        variable.attrs = dict(reversed(variable.attrs.items()))
    assert list(turned.variables) != list(run.variables)
    assert content_digest(turned) == content_digest(run)


def test_what_only_happened_to_it_does_not_change_it(run):
    digest = content_digest(run)
    assert content_digest(run.assign_attrs(history="solved again", content_digest="x")) == digest
    assert content_digest(run.drop_attrs(deep=False).assign_attrs({k: run.attrs[k] for k in run.attrs})) == digest
    encoded = run.copy()
    encoded["G"].encoding = {"dtype": "f4", "zlib": True}
    assert content_digest(encoded) == digest
    big_endian = run.copy()
    big_endian["G"] = big_endian["G"].astype(">f8")
    assert content_digest(big_endian) == digest
    assert content_digest(run.assign(G=run.G.transpose(*reversed(run.G.dims)).transpose(*run.G.dims))) == digest


def changed(run: xr.Dataset, name: str) -> xr.Dataset:
    """Change one value of a variable by the least that there is."""
    ds = run.copy(deep=True)
    values = ds[name].values.copy()
    last = (-1,) * values.ndim
    if values.dtype.kind == "f":
        values[last] = np.nextafter(values[last], np.inf) if np.isfinite(values[last]) else 0.0
    elif values.dtype.kind == "b":
        values[last] = not values[last]
    elif values.dtype.kind in "iu":
        values[last] += 1
    elif values.dtype.kind == "M":
        values[last] += np.timedelta64(1, "ns")
    else:
        values = values.astype(object)
        values[last] = values[last] + " "
    return (
        ds.assign_coords({name: (ds[name].dims, values, ds[name].attrs)})
        if name in ds.coords
        else ds.assign({name: (ds[name].dims, values, ds[name].attrs)})
    )


def test_every_value_and_label_changes_it(run):
    digests = {content_digest(run), *(content_digest(changed(run, str(name))) for name in run.variables)}
    assert len(digests) == 1 + len(run.variables)


def test_every_name_and_attribute_changes_it(run):
    versions = [run, run.rename(E="F"), run.drop_vars("E"), run.reset_coords("x"), run.rename(exposure="shot")]
    for name in (*run.variables, None):
        attrs = run.attrs if name is None else run[name].attrs
        for key in [key for key in attrs if key != "history"]:
            for edit in ("value", "name", "gone"):
                ds = run.copy(deep=True)
                own = ds.attrs if name is None else ds[name].attrs
                value = own.pop(key)
                if edit != "gone":
                    own[f"{key}_" if edit == "name" else key] = value if edit == "name" else f"{value} "
                versions.append(ds)
    digests = [content_digest(ds) for ds in versions]
    assert len(set(digests)) == len(versions)


def test_nan_zero_and_minus_zero_differ(run):
    kinds = [run.assign(E=run["E"].copy(data=np.full(run.sizes["exposure"], v))) for v in (np.nan, 0.0, -0.0, np.inf)]
    assert len({content_digest(ds) for ds in kinds}) == 4


def test_numbers_and_words_that_look_alike_differ(run):
    kinds = [run.assign_attrs(small=value) for value in ("1", 1, 1.0, np.array([1, 1]), "[1]", "[1, 1]")]
    assert len({content_digest(ds) for ds in kinds}) == 6
    same = [run.assign_attrs(small=value) for value in (1, np.int64(1), np.int32(1), np.array([1]))]
    assert len({content_digest(ds) for ds in same}) == 1
    labels = [run.assign_coords(detector=labels) for labels in ([3, 1, 2], ["3", "1", "2"], [3.0, 1.0, 2.0])]
    assert len({content_digest(ds) for ds in labels}) == 3


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=3), min_size=2, max_size=2))
def test_words_do_not_run_into_each_other(words):
    one = xr.Dataset(coords={"a": ("x", words)})
    joined = xr.Dataset(coords={"a": ("x", ["".join(words), ""])})
    assert (content_digest(one) == content_digest(joined)) == (words == ["".join(words), ""])


def test_an_attribute_does_not_change_places_unseen():
    value = xr.Variable("x", [1.0])
    described = xr.Variable("x", [1.0], {"a": "b"})
    versions = [
        xr.Dataset({"u": value, "v": value}, attrs={"a": "b"}),
        xr.Dataset({"u": described, "v": value}),
        xr.Dataset({"u": value, "v": described}),
    ]
    assert len({content_digest(ds) for ds in versions}) == 3


def test_shape_and_dims_change_it():
    flat = np.arange(6.0)
    versions = [
        xr.Dataset({"v": (("a", "b"), flat.reshape(2, 3))}),
        xr.Dataset({"v": (("a", "b"), flat.reshape(3, 2))}),
        xr.Dataset({"v": (("b", "a"), flat.reshape(2, 3))}),
        xr.Dataset({"v": (("a", "b"), flat.reshape(2, 3).astype("f4"))}),
    ]
    assert len({content_digest(ds) for ds in versions}) == 4
