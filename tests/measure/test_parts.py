"""Amplifiers and their detector, measured at once from raw words, against plain NumPy on random parts of every kind."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose

from flatnorm_xr.measure.clipping import STATISTICS
from flatnorm_xr.measure.kernels import Part, clipped_statistics, measure_parts

DTYPES = ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "<i4", ">i4", "u4", "i8", "u8", "f2", "<f4", ">f4", "<f8", ">f8"]


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


def reference(good, statistic, clip, iterations):
    """Level, sigma and counts by the definition, and how near a pixel came to a bound, in units of the half-width."""
    if good.size == 0:
        return (math.nan, math.nan, 0), math.inf
    # About one pixel, as plain sums of squares lose digits.
    shift = good[0]
    good = good - shift
    kept, margin = good, math.inf
    if statistic in ("meanclip", "sigmaclip"):
        center, sigma = good.mean(), good.std(ddof=1) if good.size > 1 else 0.0
        if statistic == "meanclip":
            first, center, third = np.percentile(good, [25, 50, 75])
            sigma = 0.741301109252802 * (third - first) if third > first else sigma
        for _ in range(iterations):
            pool = good if statistic == "meanclip" else kept
            away = np.abs(pool - center)
            kept = pool[away <= clip * sigma]
            if sigma > 0:
                margin = min(margin, np.abs(away / (clip * sigma) - 1).min())
            if kept.size == 0 or np.ptp(kept) == 0:
                break
            center, sigma = kept.mean(), kept.std(ddof=1)
    if kept.size == 0:
        return (math.nan, math.nan, 0), margin
    level = np.median(good) if statistic == "median" else math.fsum(kept) / kept.size
    return (level + shift, kept.std(ddof=1) if kept.size > 1 else math.nan, kept.size), margin


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


def assert_measured(measured, good, options):
    expected, margin = reference(good, *options)
    if margin < 1e-11:
        return False
    assert measured.counts == expected[2]
    assert_allclose(measured.level, expected[0], rtol=1e-12, atol=1e-12 * np.abs(good).max(initial=0))
    assert_allclose(measured.sigma, expected[1], rtol=1e-12, atol=1e-14 * np.abs(good).max(initial=0))
    return True


@pytest.mark.parametrize("dtype", DTYPES)
def test_images_of_every_data_type_measure_as_numpy_says(dtype):
    checked = 0
    for seed in range(32):
        rng = np.random.default_rng([1, seed])
        shape = (rng.integers(1, 40), rng.integers(1, 40)) if seed % 4 else (211, 307)
        image = random_section(rng, dtype, shape)
        bad = None if rng.random() < 0.5 else rng.random(shape) < rng.choice([0.1, 0.9])
        options = rng.choice(STATISTICS), rng.choice([1.5, 3.0, 5.0]), int(rng.integers(1, 5))
        measured = clipped_statistics(image, bad, statistic=options[0], clip=options[1], iterations=options[2])
        checked += assert_measured(measured, values_of(Part(image, bad=bad))[0], options)
    assert checked > 20


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
def test_parts_of_every_data_type_measure_as_numpy_says(dtype):
    checked = 0
    for seed in range(32):
        rng = np.random.default_rng([2, seed])
        large = seed % 4 == 0
        plain = seed % 8 == 0
        shapes = [(rng.integers(150, 220), 230) if large else rng.integers(1, 40, 2) for _ in range(rng.integers(1, 5))]
        parts = [random_part(rng, dtype, tuple(shape), plain=plain) for shape in shapes]
        options = rng.choice(STATISTICS), rng.choice([1.5, 3.0, 5.0]), int(rng.integers(1, 5))
        measured = measure_parts(parts, statistic=options[0], clip=options[1], iterations=options[2])
        found = [values_of(part) for part in parts]
        assert measured.saturated == tuple(saturated for _, saturated in found)
        for one, (good, _) in zip(measured.parts, found, strict=True):
            checked += assert_measured(one, good, options)
        checked += assert_measured(measured.whole, np.concatenate([good for good, _ in found]), options)
    assert checked > 60
