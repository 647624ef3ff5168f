"""The same pixels in every exposure: masks of exposures put together, and what that does to levels."""

from __future__ import annotations

import pickle
import weakref
from collections.abc import Iterator
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import flatnorm_xr as fx
from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.errors import CameraError
from flatnorm_xr.measure.common_mask import CommonMask, add_masks, frame_mask, left_out
from flatnorm_xr.measure.frames import Frame
from flatnorm_xr.measure.kernels import Part, corrected_pixels, measure_parts

Array = npt.NDArray[Any]

ROWS, COLUMNS = 4, 40
GRADIENT = np.tile(1000 + np.arange(COLUMNS), (ROWS, 1))
FRACTION = 0.01


WHOLE = Section(1, COLUMNS, 1, ROWS)


def detector(data: Section = WHOLE, **names: Any) -> Detector:
    amplifier = Amplifier(name="A", hdu=1, data=data, overscan=None, trimmed=WHOLE)
    return Detector(7, "", "", (replace(amplifier, **names),), {1: (ROWS, COLUMNS)}, (ROWS, COLUMNS))


def part(dtype: str = ">u2", **given: Any) -> Part:
    return Part(GRADIENT.astype(dtype), **given)


def mask_of(*parts: Part | None, path: str = "a.fits", of: Detector | None = None) -> CommonMask:
    return frame_mask(Frame(of or detector(), parts), path=path, saturated_fraction=FRACTION)


def in_common(*masks: CommonMask) -> Array:
    found = add_masks(masks)[7].of(detector().amplifiers[0], path="a.fits")
    return np.zeros((ROWS, COLUMNS), bool) if found is None else found


def level(one: Part) -> float:
    return measure_parts([one], statistic="mean").parts[0].level


def test_levels_do_not_depend_on_which_exposure_had_the_defect() -> None:
    """A defect over the brighter half of a gradient: ten counts of a thousand, unless all exposures lose that half."""
    defect = GRADIENT >= 1020
    whole, rest = GRADIENT.mean(), GRADIENT[~defect].mean()
    assert (whole, rest) == (1019.5, 1009.5)
    exposures = [part(), part(bad=defect), part("f4")]
    assert [level(one) for one in exposures] == [whole, rest, whole]
    common = in_common(*map(mask_of, exposures))
    assert_array_equal(common, defect)
    assert [level(one._replace(bad=common)) for one in exposures] == [rest] * 3
    turned = in_common(*map(mask_of, exposures[::-1]))
    assert_array_equal(turned, common)


def test_everything_that_is_bad_once_is_bad() -> None:
    value = np.where(GRADIENT == 1003, np.nan, GRADIENT)
    row = np.array([0.0, np.nan, 0, 0])
    once = np.zeros((ROWS, COLUMNS), bool)
    once[2, 7] = True
    bias = np.zeros((ROWS, COLUMNS))
    bias[3, 9] = np.nan
    saturated = GRADIENT.copy()
    saturated[0, 30] = 60_000
    masks = [
        mask_of(Part(value)),
        mask_of(part(offset=row)),
        mask_of(part(bad=once)),
        mask_of(part(bias=bias)),
        mask_of(part("i2", blank=1020)),
        mask_of(Part(saturated.astype("u2"), limit=50_000)),
        mask_of(part()),
        mask_of(None),
    ]
    expected = (GRADIENT == 1003) | (GRADIENT == 1020) | once | np.isnan(bias)
    expected[1] = True
    expected[0, 30] = True
    assert_array_equal(in_common(*masks), expected)


def test_an_exposure_that_is_of_no_use_does_not_empty_the_others() -> None:
    good = mask_of(part(bad=GRADIENT == 1000))
    saturated = mask_of(part(limit=1038.0))
    masked = mask_of(part(bad=np.ones((ROWS, COLUMNS), bool)))
    unread = mask_of(None)
    assert_array_equal(in_common(saturated, good, masked, unread), GRADIENT == 1000)


def test_few_saturated_pixels_do_count() -> None:
    image = GRADIENT.copy()
    image[0, :1] = 60_000
    assert mask_of(Part(image.astype("u2"), limit=50_000.0)).of(detector().amplifiers[0], path="") is not None
    image[0, :2] = 60_000
    assert mask_of(Part(image.astype("u2"), limit=50_000.0)).of(detector().amplifiers[0], path="") is None


@given(
    dtype=st.sampled_from([">u2", ">i2", "u1", ">i4", ">i8", ">f4", "f8"]),
    zero=st.sampled_from([0.0, 32768.0, 0.5]),
    scale=st.sampled_from([1.0, 0.5]),
    limit=st.sampled_from([inf, -5.0, 20.0, 32800.5, 1e6]),
    blank=st.sampled_from([None, 3, 200]),
    holes=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_it_is_what_is_left_out_of_the_statistics(
    dtype: str, zero: float, scale: float, limit: float, blank: int | None, holes: bool, masked: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    words = rng.integers(0, 100, (5, 6)).astype(dtype)
    if holes and words.dtype.kind == "f":
        words[rng.random((5, 6)) < 0.2] = rng.choice([np.nan, np.inf, -np.inf])
    offset = np.where(rng.random(5) < 0.2, np.nan, 1.5) if holes else None
    bias = np.where(rng.random((5, 6)) < 0.1, np.nan, 2.0) if masked else None
    bad = rng.random((5, 6)) < 0.2 if masked else None
    one = Part(words, zero=zero, scale=scale, blank=blank, offset=offset, bias=bias, limit=limit, bad=bad, gain=1.7)
    _, expected = corrected_pixels(one)
    found = left_out(one)
    if found is None:
        assert expected.all() or not expected.any()
    else:
        assert_array_equal(found, expected)


def test_sections_that_change_are_refused() -> None:
    other = detector(Section(2, COLUMNS, 1, ROWS))
    smaller = Part(GRADIENT[:, 1:])
    with pytest.raises(
        CameraError,
        match=r"detector 7 amplifier A is \[1:40,1:4\] in a\.fits and \[2:40,1:4\] in b\.fits, .* apart",
    ):
        add_masks([mask_of(part()), mask_of(smaller, path="b.fits", of=other)])
    with pytest.raises(CameraError, match=r"\[2:40,1:4\] in c\.fits"):
        mask_of(part()).of(other.amplifiers[0], path="c.fits")


def test_amplifiers_that_an_exposure_lacks_are_left_to_the_others() -> None:
    both = Detector(7, "", "", (*detector().amplifiers, *detector(name="B").amplifiers), {1: (ROWS, COLUMNS)})
    lone = mask_of(part(bad=GRADIENT == 1001))
    found = add_masks([lone, mask_of(part(), part(bad=GRADIENT == 1002), of=both)])
    assert set(found) == {7}
    a, b = (found[7].of(amplifier, path="") for amplifier in both.amplifiers)
    assert_array_equal(a, GRADIENT == 1001)
    assert_array_equal(b, GRADIENT == 1002)
    assert lone.of(both.amplifiers[1], path="") is None


def test_masks_of_several_detectors_are_kept_apart_and_can_be_added_to() -> None:
    one, other = mask_of(part(bad=GRADIENT == 1001)), mask_of(part(bad=GRADIENT == 1002))
    first = add_masks([one, replace(other, detector="R22_S11")])
    second = add_masks([replace(one, detector="R22_S11")], to=pickle.loads(pickle.dumps(first)))
    amplifier = detector().amplifiers[0]
    assert_array_equal(second[7].of(amplifier, path=""), GRADIENT == 1001)
    assert_array_equal(second["R22_S11"].of(amplifier, path=""), (GRADIENT == 1001) | (GRADIENT == 1002))
    assert_array_equal(first["R22_S11"].of(amplifier, path=""), GRADIENT == 1002)


def test_a_mask_of_many_exposures_is_no_larger_than_a_bit_a_pixel() -> None:
    """Cosmic rays of two hundred exposures, which together hit a third of the pixels."""
    rng = np.random.default_rng(3)
    found: dict[int | str, CommonMask] = {}
    expected = np.zeros((ROWS, COLUMNS), bool)
    for _ in range(200):
        hit = rng.random((ROWS, COLUMNS)) < 0.002
        expected |= hit
        found = add_masks([mask_of(part(bad=hit))], to=found)
        assert found[7].nbytes <= GRADIENT.size // 8
    assert 0.25 < expected.mean() < 0.4
    assert_array_equal(found[7].of(detector().amplifiers[0], path=""), expected)


def test_of_masks_that_are_made_one_by_one_few_are_in_memory() -> None:
    alive: list[weakref.ref[CommonMask]] = []
    most = 0

    def masks() -> Iterator[CommonMask]:
        nonlocal most
        for n in range(20):
            most = max(most, sum(one() is not None for one in alive))
            new = mask_of(part(bad=GRADIENT - n == 1000))
            alive.append(weakref.ref(new))
            yield new
            del new

    assert_array_equal(add_masks(masks())[7].of(detector().amplifiers[0], path=""), GRADIENT < 1020)
    assert most <= 2


def processed(path: Path, *, exposure: int, factor: float, hole: Array | None = None) -> Path:
    """Write a gradient of the light of one exposure, without a value in a hole."""
    image = (factor * GRADIENT).astype("f4")
    if hole is not None:
        image[hole] = np.nan
    header = fits.Header([("EXPNUM", exposure), ("DETECTOR", "A"), ("DATE-OBS", f"2024-01-01T00:00:0{exposure}")])
    fits.PrimaryHDU(image, header).writeto(path)
    return path


def test_holes_of_one_exposure_move_no_level(tmp_path: Path) -> None:
    """With a hole over the brighter half the level falls by ten in a thousand; ratios of exposures are to stay."""
    factors, hole = (1.0, 2.0, 0.5), GRADIENT >= 1020
    for k, factor in enumerate(factors):
        processed(tmp_path / f"{k}.fits", exposure=k, factor=factor, hole=hole if k == 1 else None)
    options: dict[str, Any] = {"camera": "generic", "statistic": "mean", "progress": False}
    apart = fx.measure(str(tmp_path / "*.fits"), **options).background.values.ravel()
    assert_array_equal(apart / factors, [1019.5, 1009.5, 1019.5])
    alike = fx.measure(str(tmp_path / "*.fits"), common_mask=True, **options)
    assert_array_equal(alike.background.values.ravel() / factors, [1009.5] * 3)
    assert_array_equal(alike["counts"].values.ravel(), [80] * 3)
