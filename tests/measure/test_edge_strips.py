"""Amplifiers compared where they meet: gains come out whatever the gradient of the light."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

import flatnorm_xr as fx
from flatnorm_xr.camera.geometry import Amplifier, Detector
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.measure.edges import Pixels, edge_ratios

OPTIONS = {"statistic": "mean", "clip": 3.0, "iterations": 3}
WIDTH, HEIGHT = 40, 60


def detector(columns: int = 8, rows: int = 2) -> Detector:
    """Segments of 40 x 60 pixels, each read in a direction of its own."""
    data = Section(1, WIDTH, 1, HEIGHT)
    amplifiers = []
    for k in range(rows):
        for i in range(columns):
            x = (i * WIDTH + 1, (i + 1) * WIDTH)
            y = (k * HEIGHT + 1, (k + 1) * HEIGHT)
            place = Section(*(x[::-1] if i % 3 else x), *(y[::-1] if k else y))
            amplifiers.append(Amplifier(f"C{k}{i}", 1, data, None, place))
    shape = (rows * HEIGHT, columns * WIDTH)
    return Detector("S1", "", "", tuple(amplifiers), {1: (HEIGHT, WIDTH)}, shape)


def read_out(chip: Detector, image: np.ndarray, response: np.ndarray, bad: np.ndarray | None = None) -> list[Pixels]:
    """Cut an image of the detector into its amplifiers, as each is read."""
    pixels = []
    bad = np.zeros(image.shape, dtype=bool) if bad is None else bad
    for amplifier, factor in zip(chip.amplifiers, response, strict=True):
        place = amplifier.trimmed
        assert place is not None
        flip = (slice(None, None, -1 if place.flip_y else 1), slice(None, None, -1 if place.flip_x else 1))
        pixels.append((factor * image[place.slices][flip], bad[place.slices][flip]))
    return pixels


def sloping(chip: Detector, *, along_x: float = 2e-3, along_y: float = -1e-3) -> np.ndarray:
    """Light that changes by these per pixel."""
    y, x = np.indices(chip.trimmed_shape)
    return 20_000 * (1 + along_x * x / 8 + along_y * y / 8)


def responses(n: int, seed: int = 0) -> np.ndarray:
    log = np.random.default_rng(seed).normal(0, 0.05, n)
    return np.exp(log - log.mean())


def compare(chip: Detector, pixels: list[Pixels], *, width: int = 8, dead: tuple[str, ...] = ()) -> Any:
    measured = {amplifier.name for amplifier in chip.amplifiers} - set(dead)
    return edge_ratios(pixels, chip, width=width, measured=measured, options=OPTIONS)


def in_order(chip: Detector, found: Any) -> np.ndarray:
    return np.array([found[amplifier.name].ratio for amplifier in chip.amplifiers])


@pytest.mark.parametrize("width", [1, 8, 20, 32])
def test_gains_come_out_exactly_under_a_plane_of_light(width: int) -> None:
    chip, gains = detector(), responses(16)
    found = compare(chip, read_out(chip, sloping(chip), gains), width=width)
    assert_allclose(in_order(chip, found), gains, rtol=1e-9)
    plain = np.array([gains[k] * sloping(chip)[a.trimmed.slices].mean() for k, a in enumerate(chip.amplifiers)])
    assert np.abs(np.log(plain / plain.mean()) - np.log(gains)).max() > 0.01


def test_curved_light_leaves_next_to_nothing() -> None:
    chip, gains = detector(), responses(16)
    y, x = np.indices(chip.trimmed_shape)
    light = 20_000 * (1 - 0.05 * ((x - 150) / 300) ** 2 - 0.03 * ((y - 60) / 120) ** 2)
    found = compare(chip, read_out(chip, light, gains))
    assert_allclose(in_order(chip, found), gains, rtol=2e-4)


def test_errors_are_those_of_the_noise() -> None:
    chip, gains = detector(), responses(16)
    pulls = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        light = sloping(chip) + rng.normal(0, 150, chip.trimmed_shape)
        found = compare(chip, read_out(chip, light, gains))
        errors = np.array([found[amplifier.name].error for amplifier in chip.amplifiers])
        pulls.append(np.log(in_order(chip, found) / gains) / errors)
    assert abs(np.std(pulls) - 1) < 0.1


def test_pixel_bad_on_one_side_is_left_out_on_the_other() -> None:
    """Light that changes along the border alone: what is masked on one side only must not move the level there."""
    chip, gains = detector(columns=2, rows=1), responses(2)
    bad = np.zeros(chip.trimmed_shape, dtype=bool)
    bad[:35, 30:40] = True
    light = sloping(chip, along_x=0.0, along_y=0.02)
    pixels = read_out(chip, light, gains, bad)
    assert_allclose(in_order(chip, compare(chip, pixels)), gains, rtol=1e-9)


def test_bad_and_missing_pixels_do_not_count() -> None:
    chip, gains = detector(), responses(16)
    light, bad = sloping(chip), np.zeros(chip.trimmed_shape, dtype=bool)
    spots = np.random.default_rng(1).random(light.shape) < 0.02
    light[spots] = 1e6
    bad[spots] = True
    light[5, 37:43] = np.nan
    # columns that are left out move the middle of a strip by a few hundredths of a pixel
    assert_allclose(in_order(chip, compare(chip, read_out(chip, light, gains, bad))), gains, rtol=3e-4)


def test_dead_amplifier_has_no_ratio_and_its_neighbours_keep_theirs() -> None:
    chip, gains = detector(), responses(16)
    found = compare(chip, read_out(chip, sloping(chip), gains), dead=("C03",))
    assert set(found) == {a.name for a in chip.amplifiers} - {"C03"}
    ratio = np.array([found[a.name].ratio for a in chip.amplifiers if a.name in found])
    others = np.delete(gains, 3)
    assert_allclose(ratio, others / np.exp(np.log(others).mean()), rtol=1e-9)


def test_largest_set_that_hangs_together_is_taken() -> None:
    chip, gains = detector(columns=5, rows=1), responses(5)
    found = compare(chip, read_out(chip, sloping(chip), gains), dead=("C02", "C03"))
    assert set(found) == {"C00", "C01"}
    assert compare(chip, read_out(chip, sloping(chip), gains), dead=("C01", "C03")) == {}


def test_corners_do_not_meet() -> None:
    chip, gains = detector(columns=2, rows=2), responses(4)
    assert compare(chip, read_out(chip, sloping(chip), gains), dead=("C01", "C10")) == {}


@pytest.fixture(scope="module", params=["lsstcam", "decam", "hsc"])
def night(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, xr.Dataset]:
    folder = tmp_path_factory.mktemp(request.param)
    return folder, fx.simulate_night(folder, camera=request.param, n_exposures=5, seed=3)


def measure(folder: Path, **options: Any) -> xr.Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        return fx.measure(f"{folder}/*", progress=False, **options)


def test_files_of_a_night_give_the_gains(night: tuple[Path, xr.Dataset]) -> None:
    folder, truth = night
    ds = measure(folder, edge_strips=8)
    assert ds.edge_ratio.dims == ("detector", "amplifier", "exposure")
    seen = ds.edge_ratio.notnull()
    assert 0.5 < seen.mean() < 1
    assert_array_equal(seen, ds.edge_ratio_stderr.notnull())
    assert (ds.quality.where(seen, 0) == 0).all()
    assert_allclose(np.log(ds.edge_ratio).mean("amplifier").fillna(0), 0, atol=1e-12)
    expected = -np.log(truth.gain).where(seen)
    error = np.log(ds.edge_ratio) - (expected - expected.mean("amplifier"))
    pulls = error / (ds.edge_ratio_stderr / ds.edge_ratio)
    assert abs(float(pulls.std()) - 1) < 0.2
    level = np.log(ds.background.where(seen))
    of_levels = level - level.mean("amplifier") - (expected - expected.mean("amplifier"))
    assert np.sqrt((error.mean("exposure") ** 2).mean()) < 0.9 * np.sqrt((of_levels.mean("exposure") ** 2).mean())


def test_levels_stay_what_they_are(night: tuple[Path, xr.Dataset]) -> None:
    folder, _ = night
    plain, with_edges = measure(folder), measure(folder, edge_strips=8)
    assert "edge_ratio" not in plain
    assert with_edges.drop_vars(["edge_ratio", "edge_ratio_stderr"]).drop_attrs().identical(plain.drop_attrs())


@pytest.mark.parametrize("strips", [-1, 1.5, True, "32"])
def test_width_must_be_a_number_of_pixels(tmp_path: Path, strips: Any) -> None:
    with pytest.raises(fx.FlatnormError, match="edge_strips must be a number of pixels"):
        fx.measure(str(tmp_path), edge_strips=strips)


def test_cameras_without_amplifiers_have_no_borders(tmp_path: Path) -> None:
    fx.simulate_night(tmp_path, camera="hsc", n_exposures=1, n_detectors=1, faults=False)
    with pytest.raises(fx.CameraError, match="generic has none"):
        measure(tmp_path, camera="generic", edge_strips=32)
