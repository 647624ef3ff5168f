"""Clipped statistics against a slow reference, and what must be true of them for any image."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.testing import assert_allclose, assert_array_equal

from flatnorm_xr import FlatnormError
from flatnorm_xr.compiled import compiled
from flatnorm_xr.measure import brackets, scan
from flatnorm_xr.measure.brackets import FEW_PIXELS
from flatnorm_xr.measure.clipping import IQR_TO_SIGMA
from flatnorm_xr.measure.kernels import clipped_statistics

STATISTICS = ["meanclip", "sigmaclip", "median", "mean"]
UNCHANGED = settings(deadline=None, max_examples=60)


def assert_same(measured, expected, rtol=1e-12):
    assert measured.counts == expected.counts
    scale = 0.0 if math.isnan(expected.level) else abs(expected.level)
    assert_allclose(measured.level, expected.level, rtol=rtol, atol=1e-300)
    assert_allclose(measured.sigma, expected.sigma, rtol=1e-9, atol=1e-13 * scale)


def flat(rng, dtype, size, level=90, sigma=6):
    """A flat with a little dust and a few cosmic rays, in any data type."""
    pixels = rng.normal(level, sigma, size)
    pixels[rng.random(size) < 0.02] = 127
    pixels[rng.random(size) < 0.01] = 3
    return (np.rint(pixels) if np.dtype(dtype).kind in "iu" else pixels).astype(dtype)


# Both ways to quartiles: all pixels sorted, and brackets from a sample.
SIZES = [1, 2, 3, 4, 5, 10, 1001, FEW_PIXELS, FEW_PIXELS + 1, 200_003]


@pytest.mark.parametrize("statistic", STATISTICS)
def test_agrees_with_the_definition_for_every_data_type(reference, dtype, statistic):
    rng = np.random.default_rng(1)
    for size in SIZES:
        pixels = flat(rng, dtype, size)
        assert_same(clipped_statistics(pixels, statistic=statistic), reference(pixels, statistic=statistic)[0])


def test_agrees_with_the_definition_when_pixels_are_masked(reference, dtype):
    rng = np.random.default_rng(2)
    for size in SIZES:
        pixels, bad = flat(rng, dtype, size), rng.random(size) < 0.3
        assert_same(clipped_statistics(pixels, bad), reference(pixels, bad)[0])


@pytest.mark.parametrize("dtype", ["f2", "f4", ">f4", "f8"])
def test_nan_and_infinities_are_left_out(reference, dtype):
    pixels = flat(np.random.default_rng(3), dtype, 50_000)
    dirty = pixels.copy()
    dirty[::7], dirty[1::70], dirty[2::70] = np.nan, np.inf, -np.inf
    for statistic in STATISTICS:
        measured = clipped_statistics(dirty, statistic=statistic)
        clean = clipped_statistics(dirty[np.isfinite(dirty)], statistic=statistic)
        assert measured.counts == clean.counts
        assert_allclose(measured, clean, rtol=1e-14)
        assert_same(measured, reference(dirty, statistic=statistic)[0])
    assert clipped_statistics(dirty).counts < np.isfinite(dirty).sum() < pixels.size


@pytest.mark.parametrize("sigma", [0.3, 1, 4, 20, 80])
@pytest.mark.parametrize("dtype", ["f4", "f8", "i4", "u2"])
def test_quantised_pixels_have_exact_quartiles(reference, dtype, sigma):
    pixels = np.rint(np.random.default_rng(4).normal(700, sigma, 300_000)).astype(dtype)
    assert_same(clipped_statistics(pixels), reference(pixels)[0])


def test_pixels_in_rows_of_equal_level_have_exact_quartiles(reference):
    for pixels in (np.repeat(np.arange(512.0), 512), np.tile(np.arange(512.0), 512)):
        assert_same(clipped_statistics(pixels.reshape(512, 512)), reference(pixels)[0])


@pytest.mark.parametrize("name", ["BRACKET", "MARGIN"])
def test_what_the_sample_foretells_wrongly_is_found_all_the_same(reference, name, monkeypatch):
    pixels = np.random.default_rng(5).normal(1000, 30, 100_000)
    expected = {statistic: reference(pixels, statistic=statistic)[0] for statistic in STATISTICS}
    listed = []
    list_all = brackets._list_all
    monkeypatch.setattr(brackets, "_list_all", lambda *args: listed.append(1) or list_all(*args))
    monkeypatch.setattr(brackets, name, 0.0)
    for statistic in STATISTICS:
        assert_same(clipped_statistics(pixels, statistic=statistic), expected[statistic])
    assert listed


@pytest.mark.parametrize("size", [2, 9, 100_000])
def test_constant_image_has_its_level_and_no_scatter(dtype, size):
    for statistic in STATISTICS:
        assert clipped_statistics(np.full(size, 73, dtype), statistic=statistic) == (73.0, 0.0, size)


def test_constant_image_off_the_grid_of_float64_loses_no_pixel():
    assert clipped_statistics(np.full(100_001, 0.1)) == (0.1, 0.0, 100_001)


@pytest.mark.parametrize("statistic", STATISTICS)
def test_one_pixel_has_a_level_but_no_sigma(dtype, statistic):
    level, sigma, counts = clipped_statistics(np.array([[42]], dtype), statistic=statistic)
    assert (level, counts) == (42.0, 1)
    assert math.isnan(sigma)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize("dtype", ["u2", "i4", "f4"])
@pytest.mark.parametrize("size", [0, 1, 6])
def test_without_a_good_pixel_level_and_sigma_are_nan(dtype, statistic, size):
    measured = clipped_statistics(np.ones(size, dtype), np.ones(size, bool), statistic=statistic)
    assert_array_equal(measured, [np.nan, np.nan, 0])
    assert clipped_statistics(np.full(size, np.nan), statistic=statistic).counts == 0


def test_bounds_are_inclusive(dtype):
    # Median 8 and IQR 8; this clip times the sigma of that IQR is 8 to the last bit, so 0 and 16 are on the bounds.
    pixels = np.array([0, 4, 8, 12, 16], dtype)
    clip = np.nextafter(1 / IQR_TO_SIGMA, 2)
    assert clip * (8 * IQR_TO_SIGMA) == 8
    assert clipped_statistics(pixels, clip=clip, iterations=1).counts == 5
    assert clipped_statistics(pixels, clip=clip * (1 - 1e-12), iterations=1).counts == 3


@pytest.mark.parametrize("dtype", ["u2", "i4", "f4", "f8"])
def test_bounds_about_the_mean_are_inclusive(dtype):
    # First pass about 20 with IQR 0: the standard deviation of all, 2, keeps all. The mean is 20 too, so that
    # 20 - 2 * 2 and 20 + 2 * 2 are on the bounds of the second pass.
    pixels = np.array([16, 24] + [20] * 7, dtype)
    assert pixels.std(ddof=1) == 2.0
    for iterations in (1, 2, 3):
        assert clipped_statistics(pixels, clip=2.0, iterations=iterations) == (20.0, 2.0, 9)


def test_first_pass_is_about_the_median_and_is_counted():
    # Median 11, IQR 2: bounds 6.6 to 15.4. About the mean, 175, one standard deviation of 435 would reach them all.
    pixels = np.array([9, 10, 10, 11, 12, 12, 1161], "f8")
    once = clipped_statistics(pixels, iterations=1)
    assert once.counts == 6
    assert_allclose(once.level, 64 / 6)


def test_every_pass_starts_again_from_all_good_pixels(reference):
    # About the median, 9.5, the first pass drops the 2; about the mean of the others the second takes it back.
    pixels = np.array([2, 3, 8, 9, 10, 10, 16, 16], "u2")
    counts = [clipped_statistics(pixels, clip=2.0, iterations=n).counts for n in (1, 2)]
    assert counts == [7, 8]
    assert counts == [reference(pixels, clip=2.0, iterations=n)[0].counts for n in (1, 2)]


def test_each_pass_may_drop_more(reference):
    pixels = np.random.default_rng(6).standard_cauchy(20_000)
    counts = [clipped_statistics(pixels, iterations=n).counts for n in range(1, 6)]
    assert counts == [reference(pixels, iterations=n)[0].counts for n in range(1, 6)]
    assert len(set(counts)) == 5


def test_clip_so_narrow_that_nothing_is_kept_is_no_measurement():
    assert_array_equal(clipped_statistics(np.array([1.0, 2.0, 3.0, 4.0]), clip=1e-3), [np.nan, np.nan, 0])


def test_infinite_clip_is_the_mean():
    for pixels in (flat(np.random.default_rng(7), "f4", 1000), np.full(5, 3, "u2")):
        assert clipped_statistics(pixels, clip=math.inf) == clipped_statistics(pixels, statistic="mean")


@pytest.mark.parametrize("dtype", [">u2", ">i2", ">i4", ">i8", ">f4", ">f8"])
def test_trap_big_endian_pixels_are_what_they_say(dtype):
    pixels = flat(np.random.default_rng(8), dtype, 40_000)
    bad = np.random.default_rng(9).random(pixels.size) < 0.1
    native = pixels.astype(pixels.dtype.newbyteorder("="))
    for statistic in STATISTICS:
        assert clipped_statistics(pixels, bad, statistic=statistic) == clipped_statistics(
            native, bad, statistic=statistic
        )


def test_trap_float32_sums_of_many_pixels_lose_nothing():
    # 2e7 pixels of 30000 and 30002: summed in float32 the mean is wrong in its first digits.
    pixels = np.full(20_000_000, 30_000, "f4")
    pixels[::2] += 2
    for statistic in ("mean", "meanclip"):
        assert_allclose(
            clipped_statistics(pixels, statistic=statistic), [30_001, math.sqrt(2e7 / (2e7 - 1)), 2e7], rtol=1e-14
        )


@pytest.mark.parametrize(("dtype", "low", "high"), [("u2", 0, 65535), ("i2", -32768, 32767), ("u1", 0, 255)])
def test_trap_differences_of_short_integers_do_not_wrap(dtype, low, high):
    pixels = np.array([low, high] * 500_000, dtype)
    for statistic in STATISTICS:
        level, sigma, counts = clipped_statistics(pixels, statistic=statistic)
        assert (level, counts) == ((low + high) / 2, 1_000_000)
        assert_allclose(sigma, (high - low) / 2 * math.sqrt(1e6 / (1e6 - 1)), rtol=1e-15)


@pytest.mark.parametrize("dtype", ["f4", "f8", "i4"])
def test_trap_sum_of_squares_does_not_cancel_when_the_first_pixel_is_far_off(dtype):
    pixels = np.array([2_000_000_000] + [100_000, 100_001] * 50_000, dtype)
    bad = np.zeros(pixels.size, bool)
    bad[0] = True
    with_outlier = clipped_statistics(pixels, clip=5.0)
    assert_allclose(with_outlier, [100_000.5, 0.5 * math.sqrt(1e5 / (1e5 - 1)), 100_000], rtol=1e-14)
    assert_allclose(clipped_statistics(pixels, bad, statistic="mean"), with_outlier, rtol=1e-14)
    # A level 1e9 times the scatter.
    pixels = 1e9 + np.tile([0.0, 2.0], 100_000)
    pixels[0] = -1e9
    assert_allclose(clipped_statistics(pixels).sigma, 1.0, rtol=1e-5)
    assert_allclose(clipped_statistics(pixels, statistic="mean").sigma, pixels.std(ddof=1), rtol=1e-12)


def with_sentinels(dtype, size, sentinel, share=0.005):
    rng = np.random.default_rng(16)
    pixels = rng.normal(10_000, 100, size).astype(dtype)
    pixels[rng.random(size) < 0.01] = 30_000
    pixels[rng.random(size) < share] = sentinel
    return pixels


HUGE = [("f4", huge) for huge in (1e15, 1e25, 1e30, 3.4028235e38)]
HUGE += [("f8", huge) for huge in (1e40, 1e150, 1e160, 1e300, np.finfo("f8").max)]


@pytest.mark.parametrize("size", [10_000, 60_000])
@pytest.mark.parametrize(("dtype", "huge"), HUGE)
def test_trap_how_far_off_a_sentinel_is_does_not_matter(reference, dtype, huge, size):
    masked = np.random.default_rng(17).random(size) < 0.1
    for statistic, bad, sign in itertools.product(("meanclip", "sigmaclip"), (None, masked), (1, -1)):
        near = with_sentinels(dtype, size, sign * 1e7)
        expected = clipped_statistics(near, bad, statistic=statistic)
        assert_same(expected, reference(near, bad, statistic=statistic)[0])
        assert_same(clipped_statistics(with_sentinels(dtype, size, sign * huge), bad, statistic=statistic), expected)


@pytest.mark.parametrize(("dtype", "huge"), HUGE)
def test_trap_nor_does_it_where_the_sample_foretold_too_wide_a_clip(dtype, huge, monkeypatch):
    pixels = {value: with_sentinels(dtype, 60_000, value) for value in (1e7, huge, -huge)}
    expected = clipped_statistics(pixels[1e7], statistic="sigmaclip")
    monkeypatch.setattr(brackets, "_core", lambda *_: (-huge, huge))
    for one in pixels.values():
        assert_same(clipped_statistics(one, statistic="sigmaclip"), expected)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_pixels_near_the_ends_of_float64_scale_as_others_do(statistic, share):
    # A power of two rounds nothing; squares and sums of such pixels, and the distance of two, are beyond float64.
    for size in (5, 1001, 60_000):
        pixels = with_sentinels("f8", size, -1e7, share) * 2.0**-24
        level, sigma, counts = clipped_statistics(pixels, statistic=statistic)
        for factor in (2.0**520, 2.0**1023, -(2.0**1023)):
            expected = level * factor, sigma * abs(factor), counts
            assert_allclose(clipped_statistics(pixels * factor, statistic=statistic), expected, rtol=1e-12)


def test_the_middle_of_the_ends_of_float64_is_zero():
    ends = np.array([-1, 1]) * np.finfo("f8").max
    assert clipped_statistics(ends, statistic="median")[::2] == (0.0, 2)
    assert clipped_statistics(ends, statistic="mean")[::2] == (0.0, 2)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_brackets_and_bounds_reach_the_largest_pixel_there_can_be(dtype):
    largest = float(np.finfo(dtype).max)
    pixels = with_sentinels(dtype, 60_000, largest, share=0.6)
    assert clipped_statistics(pixels, statistic="median").level == largest
    for statistic in STATISTICS:
        assert clipped_statistics(pixels, statistic=statistic).counts == pixels.size


@pytest.mark.parametrize("outlier", [1.0, 1e9, 1e30])
def test_equal_pixels_have_no_scatter_once_an_outlier_is_clipped(outlier):
    for size in (100, 60_000):
        pixels = np.full(size, 0.1)
        pixels[7] = outlier
        assert clipped_statistics(pixels, statistic="sigmaclip") == (0.1, 0.0, size - 1)


@pytest.mark.parametrize("dtype", ["u2", ">i2", "i4", ">f4", "f8"])
def test_any_layout_gives_the_same(dtype):
    frame = flat(np.random.default_rng(10), dtype, 120 * 90).reshape(120, 90)
    bad = np.random.default_rng(11).random(frame.shape) < 0.1
    section = (slice(5, 110), slice(7, 80, 2))
    expected = clipped_statistics(frame[section].copy(), bad[section].copy())
    assert clipped_statistics(frame[section], bad[section]) == expected
    assert clipped_statistics(frame[section].T, bad[section].T) == pytest.approx(expected, rel=1e-13)
    assert clipped_statistics(np.asfortranarray(frame)[section], bad[section]) == expected
    assert clipped_statistics(frame[section].ravel(), bad[section].ravel()) == expected
    assert clipped_statistics(frame[::-1, ::-1], bad[::-1, ::-1]) == pytest.approx(
        clipped_statistics(frame, bad), rel=1e-13
    )
    unaligned = np.zeros(frame.shape, [("flag", "u1"), ("pixel", dtype)])
    unaligned["pixel"] = frame
    assert clipped_statistics(unaligned["pixel"][section], bad[section]) == expected
    assert clipped_statistics(frame[section].tolist(), bad[section].tolist()) == pytest.approx(expected, rel=1e-13)


def test_inputs_are_neither_changed_nor_need_be_writeable(dtype):
    pixels = flat(np.random.default_rng(12), dtype, 400).reshape(20, 20)
    bad = np.random.default_rng(13).random(pixels.shape) < 0.1
    before = pixels.tobytes(), bad.tobytes()
    expected = clipped_statistics(pixels, bad)
    assert (pixels.tobytes(), bad.tobytes()) == before
    assert pixels.flags.writeable
    assert bad.flags.writeable
    pixels.flags.writeable = bad.flags.writeable = False
    assert clipped_statistics(pixels, bad) == expected


def test_a_memory_map_is_read_as_it_is(tmp_path):
    pixels = flat(np.random.default_rng(14), ">f4", 900)
    pixels.tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", ">f4", "r", shape=(30, 30))
    assert clipped_statistics(mapped) == clipped_statistics(pixels)


def test_every_kernel_is_compiled_once_for_a_data_type():
    pixels = flat(np.random.default_rng(15), "f4", 40_000)
    clipped_statistics(pixels)
    before = len(scan._scan.signatures)
    frozen = pixels.copy()
    frozen.flags.writeable = False
    for same in (frozen, pixels.astype(">f4"), pixels[::-2], pixels.reshape(200, 200).T, pixels[:0]):
        clipped_statistics(same)
    assert len(scan._scan.signatures) == before


def test_kernels_compile_where_no_cache_can_be_written():
    # A function without a source file is refused by Numba's cache, as is one whose folders are all read-only.
    namespace = {}
    exec("def double(x):\n    return 2 * x", namespace)
    with pytest.raises(RuntimeError, match="cannot cache"):
        __import__("numba").njit(cache=True)(namespace["double"])
    assert compiled()(namespace["double"])(21) == 42


def arrays(dtype, low, high, step=1):
    """Multiples of a step that is a power of two, exact in any data type."""
    elements = st.integers(low, high).map(lambda number: number * step)
    return hnp.arrays(dtype, st.integers(1, 60), elements=elements)


short = st.one_of(arrays("u2", 0, 65535), arrays("i2", -32768, 32767), arrays("u2", 10, 20))
floats = st.one_of(arrays("f4", -65536, 65536, 2.0**-6), arrays("f8", -(10**12), 10**12, 2.0**-20))
anything = st.one_of(short, arrays("i4", -(10**6), 10**6), floats)
statistics = st.sampled_from(STATISTICS)


@UNCHANGED
@given(
    pixels=anything,
    statistic=statistics,
    clip=st.floats(0.5, 5),
    iterations=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_follows_the_definition_for_any_pixels(reference, pixels, statistic, clip, iterations, seed):
    bad = np.random.default_rng(seed).random(pixels.shape) < 0.2
    expected, margin = reference(pixels, bad, statistic=statistic, clip=clip, iterations=iterations)
    assume(margin > 1e-9)
    measured = clipped_statistics(pixels, bad, statistic=statistic, clip=clip, iterations=iterations)
    assert measured.counts == expected.counts
    size = float(np.abs(np.where(bad, 0, pixels.astype("f8"))).max())
    assert_allclose(measured[:2], expected[:2], rtol=1e-10, atol=1e-12 * size)


@UNCHANGED
@given(pixels=anything, statistic=statistics, seed=st.integers(0, 99))
def test_order_of_pixels_does_not_matter(reference, pixels, statistic, seed):
    assume(reference(pixels)[1] > 1e-9)
    shuffled = np.random.default_rng(seed).permutation(pixels)
    size = float(np.abs(pixels.astype("f8")).max())
    measured = clipped_statistics(shuffled, statistic=statistic), clipped_statistics(pixels, statistic=statistic)
    assert_allclose(*measured, rtol=1e-10, atol=1e-12 * size)


@UNCHANGED
@given(pixels=short, statistic=statistics, shift=st.integers(-(10**5), 10**5), power=st.integers(-20, 20))
def test_shift_and_scale_of_pixels_shift_and_scale_the_level(reference, pixels, statistic, shift, power):
    # Powers of two and small integers: no rounding, so that even pixels on a bound stay where they are.
    level, sigma, counts = clipped_statistics(pixels.astype("f8"), statistic=statistic)
    assume(reference(pixels)[1] > 1e-9)
    factor = 2.0**power
    moved = clipped_statistics((pixels + float(shift)) * factor, statistic=statistic)
    assert moved.counts == counts
    assert_allclose(moved.level, (level + shift) * factor, rtol=1e-10, atol=1e-9 * factor)
    assert_allclose(moved.sigma, sigma * factor, rtol=1e-9, atol=1e-7 * factor)


@UNCHANGED
@given(pixels=anything, statistic=statistics, seed=st.integers(0, 99))
def test_a_masked_pixel_might_as_well_not_be_there(pixels, statistic, seed):
    bad = np.random.default_rng(seed).random(pixels.shape) < 0.3
    masked = clipped_statistics(pixels, bad, statistic=statistic)
    assert_array_equal(masked, clipped_statistics(pixels[~bad], statistic=statistic))
    garbage = pixels.copy()
    garbage[bad] = np.nan if pixels.dtype.kind == "f" else np.iinfo(pixels.dtype).max
    assert_array_equal(masked, clipped_statistics(garbage, bad, statistic=statistic))


@UNCHANGED
@given(pixels=short, statistic=statistics, dtype=st.sampled_from(["i4", "i8", "f4", "f8"]))
def test_data_type_does_not_matter(reference, pixels, statistic, dtype):
    assume(reference(pixels)[1] > 1e-9)
    measured = clipped_statistics(pixels, statistic=statistic)
    assert_allclose(clipped_statistics(pixels.astype(dtype), statistic=statistic), measured, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"statistic": "mode"}, "statistic must be one of meanclip, sigmaclip, median, mean, not 'mode'"),
        ({"statistic": None}, "statistic must be one of"),
        ({"clip": 0}, "clip must be .* above 0, not 0"),
        ({"clip": -1.0}, "clip must be"),
        ({"clip": math.nan}, "clip must be"),
        ({"clip": "wide"}, "clip must be"),
        ({"clip": None}, "clip must be"),
        ({"iterations": 0}, "iterations must be a whole number of passes, at least 1, not 0"),
        ({"iterations": 2.5}, "iterations must be"),
        ({"iterations": True}, "iterations must be"),
        ({"bad": np.zeros((2, 3), bool)}, r"bad has shape \(2, 3\) but pixels \(3, 2\)"),
        ({"bad": np.zeros(6, bool)}, "bad has shape"),
        ({"bad": np.zeros((3, 2), "u1")}, "bad must be bool .* not uint8"),
        ({"pixels": np.zeros(3, bool)}, "pixels must be integers or floats, not bool"),
        ({"pixels": np.zeros(3, complex)}, "pixels must be integers or floats, not complex128"),
        ({"pixels": np.array(["a"])}, "pixels must be integers or floats"),
        ({"pixels": np.ma.masked_less(np.arange(3), 1)}, "pixels is a masked array"),
    ],
)
def test_bad_arguments_are_named_in_one_line(arguments, message):
    pixels = arguments.pop("pixels", np.ones((3, 2)))
    with pytest.raises(FlatnormError, match=message) as caught:
        clipped_statistics(pixels, arguments.pop("bad", None), **arguments)
    assert str(caught.value).startswith("clipped_statistics: ")
    assert "\n" not in str(caught.value)


def test_options_are_checked_before_an_empty_image_is_excused():
    with pytest.raises(FlatnormError, match="iterations"):
        clipped_statistics(np.array([]), statistic="median", iterations=0)


def test_numba_is_not_imported_before_it_is_needed():
    code = "import sys, flatnorm_xr; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
