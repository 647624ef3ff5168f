from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flatnorm_xr.camera.sections import Section, parse_section
from flatnorm_xr.errors import CameraError

pixels = st.integers(1, 10_000)


@given(pixels, pixels, pixels, pixels)
def test_written_and_read_a_section_is_the_same(x1: int, x2: int, y1: int, y2: int) -> None:
    section = Section(x1, x2, y1, y2)
    assert parse_section(str(section)) == section


@given(pixels, pixels, pixels, pixels)
def test_slices_and_section_name_the_same_pixels(x1: int, x2: int, y1: int, y2: int) -> None:
    section = Section(x1, x2, y1, y2)
    again = Section.from_slices(*section.slices)
    assert again == Section(min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2))
    assert again.shape == section.shape == tuple(s.stop - s.start for s in section.slices)


def test_x_comes_first_and_both_ends_are_inside() -> None:
    image = np.arange(20).reshape(4, 5)
    section = parse_section("[2:3,1:4]")
    assert section is not None
    assert image[section.slices].tolist() == [[1, 2], [6, 7], [11, 12], [16, 17]]


def test_reversed_is_flipped_and_names_the_same_pixels() -> None:
    section = parse_section(" [509:1,4000:2001] ")
    assert section is not None
    assert (section.flip_x, section.flip_y) == (True, True)
    assert section.slices == (slice(2000, 4000), slice(0, 509))


@pytest.mark.parametrize("text", ["[0:0,0:0]", "", "   "])
def test_none(text: str) -> None:
    assert parse_section(text) is None


@pytest.mark.parametrize("text", ["[1:2]", "1:2,3:4", "[a:b,1:2]", "[1:2,3:4,5:6]", "[1.5:2,3:4]"])
def test_what_is_no_section_is_named(text: str) -> None:
    with pytest.raises(CameraError, match=r"night\.fits.*DATASECA.*must be written"):
        parse_section(text, name="DATASECA", where="night.fits[3]")


def test_binned() -> None:
    assert Section(1, 2048, 1, 4096).binned(2, 4) == Section(1, 1024, 1, 1024)
    assert Section(2048, 1025, 4096, 1).binned(2, 2) == Section(1024, 513, 2048, 1)


@pytest.mark.parametrize(
    "section", [Section(1, 11, 1, 5), Section(1, 10, 1, 6), Section(0, 9, 1, 5), Section(10, 1, 6, 1)]
)
def test_outside_the_image(section: Section) -> None:
    assert not section.lies_inside((5, 10))
    assert section.lies_inside((6, 11)) == (min(section.x1, section.x2) > 0)
