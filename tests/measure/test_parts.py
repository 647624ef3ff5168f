"""Amplifiers and their detector, measured at once from raw words, against plain NumPy on random parts of every kind."""

from __future__ import annotations

import itertools
import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from astropy.stats import sigma_clipped_stats
from numpy.testing import assert_allclose, assert_array_equal

from flatnorm_xr import FlatnormError
from flatnorm_xr.measure import brackets, histograms, kernels, scan
from flatnorm_xr.measure.clipping import STATISTICS
from flatnorm_xr.measure.kernels import Part, clipped_statistics, corrected_pixels, measure_parts
from flatnorm_xr.measure.parts import saturated_pixels


def values_of(part):
    """Good corrected values of one part, and the number of its saturated pixels, as `Part` defines them."""
    words = part.words.astype("f8")
    with np.errstate(invalid="ignore"):
        raw = part.zero + part.scale * words
        has_word = np.ones(words.shape, bool) if part.blank is None else part.words != part.blank
        saturated = has_word & np.isfinite(raw) & (raw >= part.limit)
        value = raw - (0 if part.offset is None else np.broadcast_to(part.offset, len(raw))[:, None])
        value = (value - (0 if part.bias is None else part.bias.astype("f8"))) * part.gain
        good = has_word & ~saturated & np.isfinite(value)
    if part.bad is not None:
        good &= ~part.bad
    return value[good], int(saturated.sum())


def random_image(rng, dtype, shape):
    """Noise about a level, ties, equal pixels, or anything: all that a data type can hold, with outliers."""
    kind = np.dtype(dtype)
    sigma = rng.choice([0.0, 0.4, 3.0, 12.0])
    image = rng.normal(70, sigma, shape) if rng.random() < 0.8 else rng.uniform(0, 120, shape)
    wide = kind.itemsize > 2
    if wide:
        image = image * rng.choice([1, 300])
    image[rng.random(shape) < 0.01] = 127 * (2000 if wide and rng.random() < 0.5 else 1)
    image[rng.random(shape) < 0.01] = 0
    if kind.kind != "f" or rng.random() < 0.3:
        image = np.rint(image)
    image = image.astype(kind)
    if kind.kind == "f" and rng.random() < 0.5:
        image[rng.random(shape) < 0.02] = np.nan
        image[rng.random(shape) < 0.01] = rng.choice([np.inf, -np.inf])
    return image


def random_section(rng, dtype, shape):
    """Section of a larger image, in one of many layouts."""
    rows, columns = shape
    image = random_image(rng, dtype, (rows + 3, columns + 5))
    layout = rng.integers(5)
    if layout == 0:
        return image[:rows, :columns].copy()
    if layout == 1:
        return image[1 : rows + 1, 2 : columns + 2]
    if layout == 2:
        return image[rows::-1, columns::-1][1:, 1:]
    if layout == 3:
        return np.asfortranarray(image)[3:, 5:]
    return np.repeat(image, 2, axis=1)[:rows, 1 : 2 * columns : 2]


def random_offset(rng, rows):
    kind = rng.integers(5)
    if kind == 0:
        return None
    if kind == 1:
        return [np.array([3.5]), np.full(rows, 2.25), np.array([math.nan])][rng.choice(3, p=[0.5, 0.45, 0.05])]
    offset = rng.integers(0, 9, rows) / 2.0
    if kind == 2:
        offset = np.rint(offset)
    if kind == 3:
        offset = rng.normal(3, 0.2, rows)
    if rng.random() < 0.3:
        offset[rng.random(rows) < 0.2] = math.nan
    return offset


def random_part(rng, dtype, shape, *, plain=False):
    words = random_section(rng, dtype, shape)
    if plain:
        return Part(words)
    is_integer = words.dtype.kind in "iu"
    some = rng.random(8) < [0.4, 0.2, 0.3, 0.3, 0.4, 0.5, 0.3, 0.5]
    return Part(
        words,
        zero=rng.choice([32768.0, 0.25]) if some[0] else 0.0,
        scale=rng.choice([2.0, -1.0, 0.37]) if some[1] else 1.0,
        blank=int(words[0, 0]) if is_integer and some[2] else None,
        offset=random_offset(rng, shape[0]) if some[3] or some[7] else None,
        bias=rng.normal(0, 2, shape).astype(rng.choice(["f4", "f8", "i2"])) if some[4] and not some[7] else None,
        gain=rng.choice([1.7, 0.5]) if some[5] else 1.0,
        limit=rng.choice([32768.0 + 90, 100.0, -40.0]) if some[6] else math.inf,
        bad=random_section(rng, "u1", shape) > 75 if rng.random() < 0.4 else None,
    )


def random_options(rng):
    return {
        "statistic": rng.choice(STATISTICS),
        "clip": rng.choice([1.5, 3.0, 5.0]),
        "iterations": int(rng.integers(1, 5)),
    }


def assert_measured(measured, good, expected, margin):
    if margin < 1e-11:
        return False
    assert measured.counts == expected.counts
    assert_allclose(measured.level, expected.level, rtol=1e-12, atol=1e-12 * np.abs(good).max(initial=0))
    assert_allclose(measured.sigma, expected.sigma, rtol=1e-12, atol=1e-14 * np.abs(good).max(initial=0))
    return True


def test_five_hundred_images_of_every_data_type_measure_as_numpy_says(reference, dtype):
    checked = 0
    for seed in range(500):
        rng = np.random.default_rng([1, seed])
        shape = (rng.integers(1, 40), rng.integers(1, 40)) if seed % 50 else (211, 307)
        image = random_section(rng, dtype, shape)
        bad = None if rng.random() < 0.5 else rng.random(shape) < rng.choice([0.1, 0.9])
        options = random_options(rng)
        measured = clipped_statistics(image, bad, **options)
        good = values_of(Part(image, bad=bad))[0]
        checked += assert_measured(measured, good, *reference(good, **options))
    assert checked > 450


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_parts_of_every_data_type_measure_as_numpy_says(reference, dtype):
    checked = 0
    for seed in range(32):
        rng = np.random.default_rng([2, seed])
        large = seed % 4 == 0
        plain = seed % 8 == 0
        shapes = [(rng.integers(150, 220), 230) if large else rng.integers(1, 40, 2) for _ in range(rng.integers(1, 5))]
        parts = [random_part(rng, dtype, tuple(shape), plain=plain) for shape in shapes]
        options = random_options(rng)
        measured = measure_parts(parts, **options)
        found = [values_of(part) for part in parts]
        assert measured.saturated == tuple(saturated for _, saturated in found)
        for one, (good, _) in zip(measured.parts, found, strict=True):
            checked += assert_measured(one, good, *reference(good, **options))
        good = np.concatenate([good for good, _ in found])
        checked += assert_measured(measured.whole, good, *reference(good, **options))
    assert checked > 60


def test_corrected_pixels_are_those_that_are_measured(dtype):
    for seed in range(20):
        rng = np.random.default_rng([3, seed])
        part = random_part(rng, dtype, (17, 29))
        with np.errstate(invalid="ignore"):
            values, bad = corrected_pixels(part)
            expected = values_of(part)[0]
        assert values.shape == bad.shape == part.words.shape
        assert_allclose(values[~bad], expected, rtol=1e-15, atol=1e-15 * np.abs(expected).max(initial=0))
        assert measure_parts([part], statistic="mean").parts[0].counts == np.count_nonzero(~bad)


def amplifiers(dtype="<f4", number=3, shape=(220, 230)):
    rng = np.random.default_rng(4)
    return [Part(rng.normal(900 + 5 * k, 20, shape).astype(dtype), gain=1 + k / 10) for k in range(number)]


@pytest.mark.parametrize("name", ["BRACKET", "MARGIN"])
@pytest.mark.parametrize("statistic", STATISTICS)
def test_what_a_sample_foretells_wrongly_of_parts_is_found_all_the_same(name, statistic, monkeypatch):
    parts = amplifiers()
    foretold = measure_parts(parts, statistic=statistic)
    monkeypatch.setattr(brackets, name, 0.0)
    found = measure_parts(parts, statistic=statistic)
    assert_allclose([*found.parts, found.whole], [*foretold.parts, foretold.whole], rtol=1e-12)


def test_quartiles_at_the_very_edges_of_their_brackets_are_exact(reference, monkeypatch):
    # Sorted pixel k is k: quartiles lie between 9999 and 10000, 19999 and 20000, 29999 and 30000.
    pixels = np.random.default_rng(9).permutation(40_000).astype("f4")
    expected = reference(pixels, clip=1.0, iterations=1)[0]
    for low, high in itertools.product((-2, -1, 0, 1), repeat=2):
        edges = np.array([[10_000 * k + low - 1, 10_000 * k + high] for k in (1, 2, 3)], "f4")
        fixed = scan.Edges((-math.inf, math.inf), 0.0, edges, edges[:, 0] < edges[:, 1])
        monkeypatch.setattr(brackets, "_edges", lambda *_, fixed=fixed: fixed)
        assert_allclose(clipped_statistics(pixels, clip=1.0, iterations=1), expected, rtol=1e-13)


def test_the_whole_of_one_part_is_the_part():
    for dtype in ("<f4", ">i2", "f8"):
        (part,) = amplifiers(dtype, 1)
        measured = measure_parts([part])
        assert measured.whole == measured.parts[0]


def test_the_whole_is_measured_only_when_wanted():
    for dtype in ("<f4", ">i2"):
        parts = amplifiers(dtype)
        measured = measure_parts(parts, whole=False)
        assert_array_equal(measured.whole, (np.nan, np.nan, 0))
        assert_allclose(measured.parts, measure_parts(parts).parts, rtol=1e-13)


def test_no_parts_and_parts_without_pixels_measure_nothing():
    assert measure_parts([]).parts == ()
    empty = Part(np.empty((0, 0), "i2"))
    full = Part(np.arange(12, dtype="i2").reshape(3, 4))
    measured = measure_parts([empty, full])
    assert_array_equal(measured.parts[0], (np.nan, np.nan, 0))
    assert measured.whole == measured.parts[1] == clipped_statistics(full.words)
    for other in (Part(np.empty((0, 7), "f4")), Part(np.empty((5, 0), ">f8"), offset=np.zeros(5))):
        assert measure_parts([other, full]).whole.counts == 12


class RefusedError(Exception):
    """What `refuse` says."""


def refuse(*_, **__):
    raise RefusedError


def test_levels_on_a_grid_of_halves_are_counted_and_never_read_singly(monkeypatch):
    rng = np.random.default_rng(5)
    words = rng.integers(0, 200, (300, 200)).astype(">i2")
    offset = rng.integers(0, 9, 300) / 2
    on_grid = [
        Part(words, 32768.0, offset=offset, gain=1.7, limit=32900.0, blank=7),
        Part(words.astype(">i4"), offset=offset, bad=words > 150),
        Part(words, scale=0.3, offset=np.array([0.123])),
    ]
    monkeypatch.setattr(kernels, "measure_floats", refuse)
    assert measure_parts(on_grid).whole.counts > 0
    for off_grid in ({"offset": offset + rng.random(300)}, {"bias": np.zeros(words.shape)}):
        with pytest.raises(RefusedError):
            measure_parts([Part(words, **off_grid)])


def test_a_part_without_a_histogram_leaves_the_others_theirs(reference, monkeypatch):
    rng = np.random.default_rng(11)
    words = rng.integers(0, 200, (300, 200))
    one_far_off = words.astype("i4")
    one_far_off[150, 77] = 2**31 - 1
    parts = [Part(words.astype("u2")), Part(words.astype("u2"), bias=rng.random(words.shape)), Part(one_far_off)]
    read = []
    measure_floats = kernels.measure_floats
    monkeypatch.setattr(
        kernels, "measure_floats", lambda few, *a, **k: read.append(few) or measure_floats(few, *a, **k)
    )
    found = measure_parts(parts, whole=False).parts
    assert [[id(part) for part in few] for few in read] == [[id(part) for part in parts[1:]]]
    for part, one in zip(parts, found, strict=True):
        assert_allclose(one, reference(values_of(part)[0])[0], rtol=1e-12)


def test_no_part_is_counted_when_the_whole_is_read_as_floats(monkeypatch):
    words = np.random.default_rng(12).integers(0, 200, (300, 200)).astype("u2")
    monkeypatch.setattr(kernels, "count", refuse)
    assert measure_parts([Part(words), Part(words, bias=np.full(words.shape, 0.3))]).whole.counts > 0


def test_a_count_ends_where_words_leave_their_window(reference):
    words = np.random.default_rng(13).integers(0, 200, (300, 200)).astype("i4")
    words[1, 1] = 2**31 - 1
    expected = reference(words)[0]
    plan = histograms.planned(Part(words))
    assert plan is not None
    assert histograms.count(plan) is None
    assert_allclose(clipped_statistics(words), expected, rtol=1e-12)


def test_a_sigma_clip_is_astropys_but_for_the_denominator():
    rng = np.random.default_rng(6)
    pixels = rng.normal(1000, 30, (400, 500))
    pixels[rng.random(pixels.shape) < 0.01] = 1e4
    for iterations in (1, 2, 5):
        mean, _, sigma = sigma_clipped_stats(pixels, sigma=3, maxiters=iterations, cenfunc="mean")
        measured = clipped_statistics(pixels, statistic="sigmaclip", iterations=iterations)
        n = measured.counts
        assert_allclose(measured[:2], (mean, sigma * math.sqrt(n / (n - 1))), rtol=1e-12)


def test_a_sigma_clip_takes_back_nothing_that_it_left_out():
    # One sigma about the mean of all is 0.1 to 85.7, which leaves out 0 and 100, twice. About the mean of the others it
    # is -2.5 to 67.9: the 81 goes, and the 0 does not come back, as it would if the pass began with all pixels again.
    pixels = np.array([0, 1, 1, 9, 9, 64, 64, 81, 100, 100], "u2")
    assert [clipped_statistics(pixels, statistic="sigmaclip", clip=1, iterations=n).counts for n in (1, 2)] == [7, 6]


def test_saturated_pixels_are_counted_though_they_be_bad_but_not_blank():
    words = np.array([[10, 90, 90, 95, 99]], "u2")
    bad = np.array([[False, True, False, False, False]])
    for dtype in ("u2", ">i4", "f8"):
        blank = None if dtype == "f8" else 99
        measured = measure_parts([Part(words.astype(dtype), limit=90, bad=bad, blank=blank)])
        assert measured.saturated == ((4,) if blank is None else (3,))
        assert measured.whole[::2] == (10.0, 1)


@pytest.mark.parametrize("dtype", ["u2", "i2", ">i4", "u4", "f4"])
@pytest.mark.parametrize(("scale", "limit"), [(1.0, 1e10), (-1.0, 1e10), (2.0, 1e20)])
def test_a_limit_beyond_every_word_saturates_none(dtype, scale, limit):
    words = np.arange(50_000).reshape(200, 250).astype(dtype)
    part = Part(words, scale=scale, limit=limit, bad=np.zeros(words.shape, bool))
    measured = measure_parts([part], statistic="mean")
    assert measured.saturated == (0,)
    assert measured.whole.counts == words.size
    assert not corrected_pixels(part)[1].any()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_infinite_pixels_are_not_saturated_whatever_the_limit(dtype):
    for limit in (-math.inf, -5.0, 1.0):
        part = Part(np.array([[-np.inf, np.nan, np.inf, 2.0]], dtype), limit=limit)
        assert measure_parts([part]).saturated == (np.count_nonzero(saturated_pixels(part)),) == (1,)


def test_pixels_that_a_correction_makes_infinite_do_not_count():
    words = np.full((200, 250), 1000.0)
    words[::20] = 1.7e308
    for part in (Part(words, gain=1.6), Part(words, scale=3.0), Part(words, zero=1e308), Part(-words, bias=words)):
        measured = measure_parts([part], statistic="median")
        assert measured.whole.counts == words.size * 19 // 20
        assert_array_equal(corrected_pixels(part)[1], np.abs(words) > 1e300)


def test_threads_measure_what_one_does():
    parts = amplifiers("<f4") + amplifiers(">i2")
    expected = [measure_parts([part]) for part in parts]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda part: measure_parts([part]), parts)) == expected


def test_parts_are_not_changed():
    rng = np.random.default_rng(7)
    shape = (60, 50)
    part = Part(
        rng.integers(0, 99, shape).astype(">i2"),
        offset=rng.random(60),
        bias=rng.random(shape),
        bad=rng.random(shape) < 0.1,
    )
    arrays = [part.words, part.offset, part.bias, part.bad]
    before = [array.tobytes() for array in arrays]
    expected = measure_parts([part]), corrected_pixels(part)[0].sum()
    assert [array.tobytes() for array in arrays] == before
    for array in arrays:
        array.flags.writeable = False
    assert (measure_parts([part]), corrected_pixels(part)[0].sum()) == expected


def test_kernels_are_compiled_for_few_kinds_of_arguments(dtypes):
    rng = np.random.default_rng(8)
    for dtype in dtypes:
        measure_parts([random_part(rng, dtype, (199, 201)) for _ in range(3)])
    assert len(scan._scan.signatures) <= 2
    assert len(scan._accumulate.signatures) <= 2
    assert len(histograms._count_every_word.signatures) == 1
    assert len(histograms._count_good_words.signatures) <= 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"offset": np.zeros(4)}, r"offset has shape \(4,\) but words \(3, 5\); pass \(1,\) or \(3,\)"),
        ({"offset": np.zeros((3, 1))}, "offset has shape"),
        ({"bias": np.zeros((5, 3))}, r"bias has shape \(5, 3\) but words \(3, 5\); pass \(3, 5\)"),
        ({"bad": np.zeros(15, bool)}, "bad has shape"),
        ({"words": np.zeros(15)}, r"words has shape \(15,\); pass \(rows, columns\)"),
    ],
)
def test_shapes_that_do_not_fit_are_named_in_one_line(arguments, message):
    part = Part(**{"words": np.zeros((3, 5))} | arguments)
    for function in (corrected_pixels, lambda part: measure_parts([part])):
        with pytest.raises(FlatnormError, match=message) as caught:
            function(part)
        assert "\n" not in str(caught.value)


def test_options_of_parts_are_checked_in_their_own_name():
    with pytest.raises(FlatnormError, match="measure_parts: statistic must be one of"):
        measure_parts([], statistic="mode")
