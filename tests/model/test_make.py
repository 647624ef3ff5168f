from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from astropy import units as u

import flatnorm_xr as fx
from flatnorm_xr.errors import SchemaError
from flatnorm_xr.model.make import stamp, version_attributes
from flatnorm_xr.model.schema import ATTRIBUTES, COORDINATES, VARIABLES, attributes_of, level_units, solved_names


def levels(detectors=(1, 2), exposures=(10, 11, 12)) -> xr.DataArray:
    values = np.arange(1.0, 1 + len(detectors) * len(exposures)).reshape(len(detectors), len(exposures))
    coords = {"detector": list(detectors), "exposure": list(exposures)}
    return xr.DataArray(values, dims=("detector", "exposure"), coords=coords)


def test_plain_arrays_are_numbered():
    ds = fx.make(np.ones((2, 3, 4)))
    assert ds.background.dims == ("detector", "amplifier", "exposure")
    assert ds.amplifier.values.tolist() == ["0", "1", "2"]
    assert ds.exposure.values.tolist() == [0, 1, 2, 3]


def test_dims_are_put_in_the_order_of_the_model():
    ds = fx.make(levels().transpose(), counts=levels())
    assert ds.background.dims == ds.counts.dims == ("detector", "exposure")
    xr.testing.assert_equal(ds.background, levels())


def test_arrays_whose_labels_differ_are_refused_and_not_joined():
    with pytest.raises(SchemaError, match="make: the labels or sizes of the arrays differ") as caught:
        fx.make(levels((1, 2)), counts=levels((2, 3)))
    assert "\n" not in str(caught.value)


def test_same_labels_in_another_order_are_refused():
    with pytest.raises(SchemaError, match="labels or sizes"):
        fx.make(levels(), counts=levels().isel(detector=[1, 0]))


@pytest.mark.parametrize("labels", [[2, 3], [2, 1]])
def test_coordinates_whose_labels_differ_are_refused_and_not_filled(labels):
    x = xr.DataArray([0.5, 1.5], dims="detector", coords={"detector": labels})
    with pytest.raises(SchemaError, match="labels or sizes"):
        fx.make(levels(), coords={"x": x})
    relabelled = fx.make(levels(), coords={"detector": labels, "x": x})
    assert relabelled.x.sel(detector=2).item() == 0.5


@pytest.mark.parametrize(("flags", "said"), [(-1, "quality is negative at"), (1.5, "quality is float64; flags are")])
def test_flags_are_not_wrapped_or_cut(flags, said):
    with pytest.raises(SchemaError, match=said):
        fx.make(levels(), quality=np.full((2, 3), flags))


def test_attributes_come_from_the_table_and_not_through_arithmetic():
    background = levels()
    background.attrs = {"units": "electron", "long_name": "something else"}
    ds = fx.make(background, sigma=background, counts=background)
    assert ds.background.attrs == attributes_of("background", units="electron")
    assert ds.sigma.attrs["units"] == "electron"
    assert ds.counts.attrs["units"] == "1"
    assert ds.detector.attrs == {"long_name": "detector"}
    assert background.attrs["long_name"] == "something else"


def test_masked_values_are_not_measured():
    ds = fx.make(np.ma.MaskedArray([[1, 2]], [[True, False]]))
    np.testing.assert_array_equal(ds.background, [[np.nan, 2.0]])


def test_units_are_adu_unless_said():
    assert fx.make(levels()).background.attrs["units"] == "adu"
    assert fx.make(levels(), units="electron").background.attrs["units"] == "electron"
    assert level_units("") == level_units(None) == "adu"


def test_types_are_those_of_the_model():
    ds = fx.make(np.ones((2, 2), dtype="i2"), counts=np.ones((2, 2), dtype="i4"), quality=np.ones((2, 2), dtype="i8"))
    assert ds.background.dtype == float
    assert ds.quality.dtype == np.uint32
    assert ds.counts.dtype.kind == "i"


def test_versions_are_written():
    ds = fx.make(levels(), attrs={"title": "mine"})
    assert ds.attrs["title"] == "mine"
    assert version_attributes().items() <= ds.attrs.items()
    assert ds.attrs["flatnorm_version"] == fx.__version__


@pytest.mark.parametrize(
    ("keywords", "said"),
    [
        ({"flux": levels()}, "flux not in the data model"),
        ({"coords": {"airmass": [1, 2, 3]}}, r"airmass is not in the data model.*give \(dims, values\)"),
        ({"coords": {"airmass": ("exposure", [[1, 2, 3]])}}, r"airmass does not have the dims \(exposure\)"),
        ({"coords": {"airmass": ("exposure", [1, 2])}}, "labels or sizes"),
        ({"coords": {"counts": levels()}}, "counts among coords"),
        ({"coords": {"time": ["noon", "2024", "2025"]}}, "time must be datetime64 or ISO 8601"),
        ({"counts": [1, 2, 3]}, "counts has 1 dimensions"),
        ({"counts": np.ones((3, 3))}, "labels or sizes"),
        ({"coords": {"lamp": ["a", "b"]}}, "labels or sizes"),
        ({"units": "DN"}, "units 'DN'"),
        ({"counts": -levels()}, "counts is negative"),
    ],
)
def test_wrong_arguments_are_named(keywords, said):
    with pytest.raises(SchemaError, match=said) as caught:
        fx.make(levels(), **keywords)
    assert str(caught.value).startswith("make: ")
    assert "\n" not in str(caught.value)


def test_coordinates_of_your_own_say_their_dims():
    airmass = xr.DataArray([1.0, 1.1, 1.2], dims="exposure", coords={"exposure": [10, 11, 12]})
    ds = fx.make(levels(), coords={"airmass": airmass, "raft": ("detector", ["R", "S"]), "x": (["detector"], [1, 2])})
    assert ds.airmass.dims == ("exposure",)
    assert ds.raft.sel(detector=2).item() == "S"
    assert ds.x.attrs["units"] == "mm"


def test_times_may_be_iso_strings():
    ds = fx.make(levels(), coords={"time": ["2024-01-01T01:00:00Z", "2024-01-01T03:00:00+01:00", "2024-01-02"]})
    expected = np.array(["2024-01-01T01", "2024-01-01T02", "2024-01-02"], dtype="M8[ns]")
    np.testing.assert_array_equal(ds.time, expected)


def test_inputs_are_not_changed():
    background, counts, coords = levels(), levels(), {"lamp": np.array(["a", "b", "c"])}
    before = background.copy(deep=True)
    fx.make(background, counts=counts, coords=coords, units="electron")
    xr.testing.assert_identical(background, before)
    xr.testing.assert_identical(counts, before)
    assert list(coords) == ["lamp"]


def test_stamp_leaves_its_input_alone_and_coordinates_coordinates():
    ds = fx.make(levels(), coords={"time": np.array(["2024-01-01"] * 3, dtype="M8[ns]")}).assign(
        own=("exposure", [1, 2, 3])
    )
    ds.own.attrs["units"] = "km"
    before = ds.copy(deep=True)
    stamped = stamp(ds, units="electron")
    xr.testing.assert_identical(ds, before)
    assert set(stamped.coords) == set(ds.coords)
    assert stamped.own.attrs == {"units": "km"}
    assert stamped.background.attrs["units"] == "electron"


def test_tables_of_the_model_are_consistent():
    assert not set(VARIABLES) & set(COORDINATES)
    for name, row in {**VARIABLES, **COORDINATES}.items():
        assert row.name == name
        assert set(row.required_dims) <= set(row.allowed_dims)
        assert set(row.allowed_dims) <= {
            "detector",
            "amplifier",
            "exposure",
            "group",
            "mode",
            "modes_tried",
            "iteration",
        }
    assert {"E", "G", "bgModel", "scales", "group", "exposure_group"} <= solved_names()[0]
    assert not {"background", "quality", "time"} & solved_names()[0]
    assert {"gauge", "converged"} <= solved_names()[1] <= set(ATTRIBUTES)
    assert set(version_attributes()) <= set(ATTRIBUTES)


def test_a_simulation_writes_only_attributes_of_the_model(tmp_path):
    levels = fx.simulate(n_detectors=2, n_exposures=2, seed=1)
    truth = fx.simulate_night(tmp_path, camera="decam", n_detectors=4, seed=1)
    written = {str(name) for name in {**levels.attrs, **truth.attrs}}
    assert written <= set(ATTRIBUTES)
    assert {name for name, row in ATTRIBUTES.items() if row.stage == "simulate"} <= written


def test_a_quantity_brings_its_units():
    ds = fx.make(np.ones((2, 2)) * u.electron, sigma=np.ones((2, 2)) * u.electron)
    assert ds.background.attrs["units"] == ds.sigma.attrs["units"] == "electron"
    with pytest.raises(SchemaError, match="background is in 'm'"):
        fx.make(np.ones((2, 2)) * u.m)


@pytest.mark.parametrize(
    ("background", "options"),
    [
        (np.ones((2, 3)) * u.electron, {"units": "adu"}),
        (levels().assign_attrs(units="electron"), {"units": "adu"}),
        (levels().assign_attrs(units="electron"), {"sigma": levels().assign_attrs(units="adu")}),
    ],
)
def test_units_that_conflict_are_refused(background, options):
    with pytest.raises(SchemaError, match="make: the units conflict") as caught:
        fx.make(background, **options)
    assert "electron" in str(caught.value)


@pytest.mark.parametrize("background", [[[1.0, 2.0], [3.0]], levels().to_dataset(name="background"), None])
def test_what_is_no_array(background):
    with pytest.raises(SchemaError, match=r"^make: background ") as caught:
        fx.make(background)
    assert "\n" not in str(caught.value)


def test_a_time_is_not_that_of_the_call():
    with pytest.raises(SchemaError, match=r"time must be .* not now"):
        fx.make(levels(), coords={"time": ["2024-01-01", "now", "2024-01-03"]})


def test_masked_quantity_is_not_measured_where_it_is_masked():
    from astropy import units as u
    from astropy.utils.masked import Masked

    levels = Masked([[10.0, 1e9], [11.0, 22.0]] * u.adu, mask=[[False, True], [False, False]])
    ds = fx.make(levels)
    assert np.isnan(ds.background[0, 1])
    assert ds.background.attrs["units"] == "adu"


def test_quantities_of_coordinates_come_in_the_units_of_the_model():
    from astropy import units as u

    levels = np.ones((2, 2))
    assert fx.make(levels, coords={"exposure_time": [1, 2] * u.min}).exposure_time.values.tolist() == [60, 120]
    assert fx.make(levels, coords={"x": ("detector", [1, 2] * u.cm)}).x.values.tolist() == [10, 20]
    with pytest.raises(fx.SchemaError, match="exposure_time is in m; it must be in s"):
        fx.make(levels, coords={"exposure_time": [1, 2] * u.m})


def test_coordinate_that_is_no_array_is_one_clear_error():
    with pytest.raises(fx.SchemaError, match="exposure_time is no array"):
        fx.make(np.ones((2, 2)), coords={"exposure_time": ("foo", [1, 2, 3])})
