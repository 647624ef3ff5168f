"""Regions: which points lie inside, how they are written, and what is refused."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatnorm_xr.camera.regions import Region, read_region
from flatnorm_xr.errors import CameraError

SQUARE = ((1.0, 1.0), (4.0, 1.0), (4.0, 4.0), (1.0, 4.0))


def test_points_on_the_edge_are_inside() -> None:
    """Pixels 1 to 4 of a polygon from 1 to 4, the whole image of 4 x 4 pixels."""
    y, x = np.mgrid[0:6, 0:6]
    expected = (x >= 1) & (x <= 4) & (y >= 1) & (y <= 4)
    for vertices in (SQUARE, SQUARE[::-1], SQUARE[2:] + SQUARE[:2]):
        np.testing.assert_array_equal(Region(polygon=vertices).inside(x, y), expected)
    np.testing.assert_array_equal(Region(circle=(0, 0, 5)).inside([3, 5, -5, 4], [4, 0, 0, 4]), [1, 1, 1, 0])


def test_of_a_circle_and_a_polygon_both_count() -> None:
    both = Region(circle=(0, 0, 3), polygon=SQUARE)
    assert both.inside([0, 2, 4, 3], [0, 2, 4, 1]).tolist() == [False, True, False, False]


def test_what_has_no_place_is_outside() -> None:
    assert not Region(circle=(0, 0, 3)).inside([np.nan, np.inf], [0, 0]).any()


def test_a_dent_is_outside() -> None:
    arrow = Region(polygon=((0, 0), (4, 0), (4, 4), (2, 1), (0, 4)))
    assert arrow.inside([2, 2, 0.1, 3.9], [0.5, 3, 3, 3]).tolist() == [True, False, True, True]


angles = st.lists(st.floats(0, 6.28), min_size=3, max_size=8, unique=True).filter(
    lambda found: max(np.diff(sorted(found))) > 0.01
)


@given(angles=angles, points=st.lists(st.tuples(st.floats(-3, 3), st.floats(-3, 3)), min_size=1, max_size=20))
def test_a_convex_polygon_is_the_left_of_all_its_edges(angles: list[float], points: list[tuple[float, float]]) -> None:
    vertices = [(2 * np.cos(angle), 2 * np.sin(angle)) for angle in sorted(angles)]
    x, y = np.array(points).T
    sides = np.array(
        [
            (bx - ax) * (y - ay) - (by - ay) * (x - ax)
            for (ax, ay), (bx, by) in zip(vertices, vertices[1:] + vertices[:1], strict=True)
        ]
    )
    clear = (np.abs(sides) > 1e-6).all(axis=0)
    found = Region(polygon=tuple(vertices)).inside(x, y)
    np.testing.assert_array_equal(found[clear], (sides > 0).all(axis=0)[clear])


def test_the_distance_to_where_the_light_ends() -> None:
    x, y = np.array([2.0, 0.0, 4.0]), np.array([2.5, 0.0, 8.0])
    np.testing.assert_allclose(Region(polygon=SQUARE).distance_to_boundary(x, y), [1, np.sqrt(2), 4])
    np.testing.assert_allclose(
        Region(circle=(0, 0, 5)).distance_to_boundary(x, y), [5 - np.hypot(2, 2.5), 5, np.hypot(4, 8) - 5]
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, None),
        ("none", None),
        ("circle 0 0 180 mm", Region(circle=(0, 0, 180))),
        ("circle 0,0,180 mm", Region(circle=(0, 0, 180))),
        ("mm circle 0 0 180", Region(circle=(0, 0, 180))),
        ("polygon 1 1 4 1 4 4 1 4 pixel", Region(polygon=SQUARE, units="pixel")),
        ("circle 2 2 3 polygon 1 1 4 1 4 4 1 4 pixel", Region((2, 2, 3), SQUARE, "pixel")),
        (
            {"circle": [2, 2, 3], "polygon": [list(p) for p in SQUARE], "units": "pixel"},
            Region((2, 2, 3), SQUARE, "pixel"),
        ),
        (Region(circle=(0, 0, 1)), Region(circle=(0, 0, 1))),
    ],
)
def test_regions_are_read(given: Any, expected: Region | None) -> None:
    assert read_region(given) == expected
    assert pickle.loads(pickle.dumps(read_region(given))) == expected


def test_lists_and_arrays_make_the_same_region_as_tuples() -> None:
    expected = Region((2, 2, 3), SQUARE)
    lists: Any = [2, 2, 3], [list(p) for p in SQUARE]
    arrays: Any = np.array([2, 2, 3]), np.array(SQUARE)
    for one in (Region(*lists), Region(*arrays)):
        assert one == expected
        assert hash(one) == hash(expected)
        assert one.inside([2, 4], [2, 4]).tolist() == expected.inside([2, 4], [2, 4]).tolist()
    assert read_region({"polygon": np.array(SQUARE), "units": "pixel"}) == Region(polygon=SQUARE, units="pixel")
    with pytest.raises(CameraError, match=r"^region: circle None, polygon .* must be lists of numbers"):
        Region(polygon=[1, 2, 3])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("", "no units"),
        ("circle 0 0 180", "no units"),
        ("circle 0 0 mm", "circle .* must be x, y and a positive radius"),
        ("circle 0 0 0 mm", "positive radius"),
        ("circle 0 0 nan mm", "positive radius"),
        ("circle 0 0 x mm", "must be lists of numbers"),
        ("ellipse 0 0 3 mm", "'ellipse' in .* is not understood"),
        ("polygon 1 1 2 pixel", "3 numbers; it needs x and y"),
        ("polygon 1 1 2 2 pixel", "2 vertices must have three or more"),
        ("polygon 1 1 2 2 3 3 4 4 pixel", "all vertices of the polygon lie in one line"),
        ("mm", "neither circle nor polygon"),
        ({"circle": [0, 0, 1], "units": "cm"}, "units 'cm' must be one of mm, pixel"),
        ({"circle": [0, 0, 1], "unit": "mm"}, "unknown key unit; allowed: circle, polygon, units"),
        ({"circle": [0, 0, True], "units": "mm"}, "must be lists of numbers"),
        ({"polygon": [1, 2, 3], "units": "mm"}, "must be lists of numbers"),
        (180, "180 is no region"),
    ],
)
def test_what_is_no_region_is_refused(given: Any, message: str) -> None:
    with pytest.raises(CameraError, match=f"^vignetting: .*{message}"):
        read_region(given)
