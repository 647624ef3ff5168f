"""Where pictures draw units: real places where they are known, and a stand-in that says so where they are not."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.typing import NDArray

from flatnorm_xr.show.axes import rows_of
from flatnorm_xr.show.places import Places, places_of
from flatnorm_xr.simulate.levels import simulate

AMPLIFIERS = ["amplifier_x", "amplifier_y", "amplifier_width", "amplifier_height"]


def overlaps(boxes: NDArray[Any]) -> int:
    """Number of pairs of rectangles that overlap by more than rounding."""
    low, high = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    common = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    return int(((common > 1e-6 * boxes[:, 2:].max()).all(axis=-1).sum() - len(boxes)) // 2)


def centres(boxes: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(boxes[:, :2] + boxes[:, 2:] / 2)


def within(boxes: NDArray[Any], outer: NDArray[Any]) -> bool:
    slack = 1e-9 * abs(outer).max()
    low, high = boxes[:, :2] >= outer[:2] - slack, boxes[:, :2] + boxes[:, 2:] <= outer[:2] + outer[2:] + slack
    return bool((low & high).all())


def check(ds: xr.Dataset, places: Places) -> None:
    """Units of a detector tile it, and no two rectangles overlap."""
    rows = rows_of(ds)
    assert places.units.shape == (len(rows.labels), 4)
    assert places.detectors.shape == (ds.sizes["detector"], 4)
    assert np.isfinite(places.units).all()
    assert np.isfinite(places.detectors).all()
    assert overlaps(places.detectors) == 0
    assert overlaps(places.units) == 0
    labels = [str(label) for label in ds.detector.values]
    for k, name in enumerate(rows.detectors):
        units, detector = places.units[rows.starts[k] : rows.starts[k + 1]], places.detectors[labels.index(name)]
        assert within(units, detector)
        assert units[:, 2] @ units[:, 3] == pytest.approx(detector[2] * detector[3])


def without_some(ds: xr.Dataset, name: str, *labels: int) -> xr.Dataset:
    return ds.assign_coords({name: ("detector", np.where(ds.detector.isin(labels), np.nan, ds[name]))})


def ragged(ds: xr.Dataset) -> xr.Dataset:
    exists = np.ones((ds.sizes["detector"], ds.sizes["amplifier"]), dtype=bool)
    exists[-1, ds.sizes["amplifier"] // 2 :] = False
    return ds.assign_coords(exists=(("detector", "amplifier"), exists))


def test_known_places_are_drawn_as_they_are() -> None:
    ds = simulate(n_detectors=5, n_amplifiers=4)
    places = places_of(ds)
    check(ds, places)
    assert (places.unit_of_length, places.note) == ("mm", "")
    np.testing.assert_allclose(centres(places.detectors), np.stack([ds.x, ds.y], axis=1))
    np.testing.assert_allclose(places.detectors[:, 2:], 40)
    expected = [ds[name].values.ravel() for name in AMPLIFIERS]
    np.testing.assert_allclose(centres(places.units), np.stack(expected[:2], axis=1))
    np.testing.assert_allclose(places.units[:, 2:], np.stack(expected[2:], axis=1))


def test_padding_is_not_drawn() -> None:
    ds = simulate(n_detectors=3, n_amplifiers=4)
    exists = np.ones((3, 4), dtype=bool)
    exists[1, 0] = False
    places = places_of(ds.assign_coords(exists=(("detector", "amplifier"), exists)))
    np.testing.assert_array_equal(places.units, places_of(ds).units[exists.ravel()])


def test_units_of_detectors_are_the_detectors() -> None:
    ds = simulate(n_detectors=5)
    places = places_of(ds)
    check(ds, places)
    np.testing.assert_array_equal(places.units, places.detectors)


@pytest.mark.parametrize("n", [2, 5, 12, 189])
def test_sizes_that_are_not_known_follow_from_the_neighbours(n: int) -> None:
    ds = simulate(n_detectors=n, n_exposures=1).drop_vars(["width", "height"])
    places = places_of(ds)
    check(ds, places)
    assert (places.unit_of_length, places.note) == ("mm", "")
    np.testing.assert_allclose(places.detectors[:, 2:], 0.95 * 42)
    np.testing.assert_allclose(centres(places.detectors), np.stack([ds.x, ds.y], axis=1))


def test_sizes_in_a_staggered_mosaic() -> None:
    """Columns of chips twice as high as wide, every other column half a chip up."""
    column, row = (part.ravel() for part in np.meshgrid(np.arange(6), np.arange(5)))
    x, y = column * 30.0, row * 60.0 + 30.0 * (column % 2)
    ds = simulate(n_detectors=30, n_exposures=1).drop_vars(["width", "height"])
    places = places_of(ds.assign_coords(x=("detector", x), y=("detector", y)))
    assert overlaps(places.detectors) == 0
    assert places.detectors[0, 2] * places.detectors[0, 3] == pytest.approx(0.95**2 * 1800)


@pytest.mark.parametrize("seed", range(30))
def test_sizes_found_from_any_positions_leave_no_overlap(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(2, 30))
    x, y = (scale * rng.normal(size=n).round(int(rng.integers(0, 3))) for scale in (1.0, 10 ** rng.uniform(-3, 3)))
    ds = simulate(n_detectors=n, n_exposures=1).drop_vars(["width", "height"])
    ds = ds.assign_coords(x=("detector", x), y=("detector", y))
    places = places_of(ds)
    check(ds, places)
    assert (places.unit_of_length == "mm") == ("coincide" not in places.note and "sizes" not in places.note)


def test_a_size_that_is_lacking_is_that_of_the_others() -> None:
    ds = without_some(simulate(n_detectors=4), "width", 2)
    np.testing.assert_allclose(places_of(ds).detectors[:, 2:], 40)


@pytest.mark.parametrize("n_amplifiers", [0, 2])
def test_without_positions_detectors_stand_in_a_grid(n_amplifiers: int) -> None:
    ds = simulate(n_detectors=7, n_amplifiers=n_amplifiers).drop_vars(["x", "y", *AMPLIFIERS], errors="ignore")
    places = places_of(ds)
    check(ds, places)
    assert places.unit_of_length == ""
    assert places.note.startswith("positions are not known: detectors in a grid, in order")
    x, y = centres(places.detectors).T
    assert list(zip(-y.round(6), x.round(6), strict=True)) == sorted(zip(-y.round(6), x.round(6), strict=True))


def test_places_of_amplifiers_alone_are_enough() -> None:
    ds = simulate(n_detectors=5, n_amplifiers=4)
    places = places_of(ds.drop_vars(["x", "y", "width", "height"]))
    np.testing.assert_allclose(places.units, places_of(ds).units)
    assert (places.unit_of_length, places.note) == ("mm", "")


def test_detectors_without_a_position_stand_beneath() -> None:
    ds = simulate(n_detectors=9, n_amplifiers=2).drop_vars(AMPLIFIERS)
    some = without_some(ds, "x", 2, 5)
    places = places_of(some)
    check(some, places)
    assert places.note.startswith("no position of detectors 2, 5: beneath the others")
    beneath = np.isin(ds.detector, [2, 5])
    np.testing.assert_allclose(places.detectors[~beneath], places_of(ds).detectors[~beneath])
    top = (places.detectors[:, 1] + places.detectors[:, 3])[beneath]
    assert (top < places.detectors[~beneath, 1].min()).all()


def test_amplifiers_move_with_a_detector_that_is_drawn_elsewhere() -> None:
    ds = simulate(n_detectors=4, n_amplifiers=4)
    same = ds.assign_coords({name: (ds[name].dims, 0 * ds[name].values) for name in ("x", "y", *AMPLIFIERS[:2])})
    for name, centre in zip(AMPLIFIERS[:2], ("x", "y"), strict=True):
        same[name].values[:] = ds[name].values - ds[centre].values[:, None]
    places = places_of(same)
    check(same, places)
    assert re.match("positions of detectors 1, 2, 3, 4 coincide: detectors in a grid, in order$", places.note)
    np.testing.assert_allclose(centres(places.units[:4]) - centres(places.detectors[:1]), [
        [-10, -10], [10, -10], [-10, 10], [10, 10]
    ])  # fmt: skip


@pytest.mark.parametrize(
    ("n", "rows", "how"), [(1, 1, ""), (2, 1, "as strips"), (3, 1, "as strips"), (8, 1, "as strips"),
                           (9, 1, "in two rows"), (16, 2, "in two rows")],
)  # fmt: skip
def test_amplifiers_of_unknown_place_split_their_detector(n: int, rows: int, how: str) -> None:
    ds = simulate(n_detectors=3, n_amplifiers=n).drop_vars(AMPLIFIERS)
    places = places_of(ds)
    check(ds, places)
    assert len(np.unique(places.units[:n, 1])) == rows
    how = "as strips" if n == 9 else how
    assert places.note == (f"amplifiers drawn {how}, in order: their sections are not known" if how else "")


def test_ragged_detectors_are_split_among_the_amplifiers_they_have() -> None:
    ds = ragged(simulate(n_detectors=3, n_amplifiers=16).drop_vars(AMPLIFIERS))
    places = places_of(ds)
    check(ds, places)
    assert places.units.shape == (40, 4)


def test_one_detector_with_an_unknown_amplifier_is_split() -> None:
    ds = simulate(n_detectors=3, n_amplifiers=4)
    x = ds.amplifier_x.copy(deep=True)
    x[1, 2] = np.nan
    places = places_of(ds.assign_coords(amplifier_x=x))
    check(ds, places)
    assert places.note == "amplifiers of detector 2 drawn as strips, in order: their sections are not known"
    np.testing.assert_allclose(places.units[:4], places_of(ds).units[:4])


def test_one_detector_of_unknown_size() -> None:
    ds = simulate(n_detectors=1)
    assert places_of(ds).note == ""
    places = places_of(ds.drop_vars(["width", "height"]))
    assert (places.unit_of_length, places.note) == ("", "sizes are not known: squares, in order")


@pytest.mark.parametrize("bad", [np.nan, np.inf, 0.0, -1.0])
def test_sizes_that_cannot_be_are_not_known(bad: float) -> None:
    ds = simulate(n_detectors=4)
    ds = ds.assign_coords(width=("detector", np.full(4, bad)))
    check(ds, places_of(ds))


def test_a_detector_without_amplifiers_keeps_its_place() -> None:
    ds = simulate(n_detectors=3, n_amplifiers=2)
    exists = np.array([[True, True], [False, False], [True, True]])
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    check(ds, places_of(ds))


def test_matplotlib_is_not_needed() -> None:
    code = "import sys; import flatnorm_xr.show.places; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
