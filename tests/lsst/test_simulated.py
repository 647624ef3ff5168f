"""Simulated flats are what their truth says, where they are good, and the truth can be found from them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")
import xarray as xr
from numpy.testing import assert_allclose, assert_array_equal

import flatnorm_xr as fx
from flatnorm_xr.errors import FlatnormError
from flatnorm_xr.lsst.camera import MosaicCamera
from flatnorm_xr.lsst.measure import CpFlatMeasureTask
from flatnorm_xr.lsst.simulated import simulate_flats
from flatnorm_xr.lsst.statistics import levels_of

SIZES = [{}, {"ragged": True}, {"n_detectors": 3, "n_amplifiers": 1, "pixels": 16}, {"filters": ["u"], "seed": 4}]
IDS = ["default", "ragged", "one amplifier", "one filter"]


def measured(truth, flats, **config):
    """Levels of the amplifiers, as the task measures them."""
    task = CpFlatMeasureTask()
    for name, value in config.items():
        setattr(task.config, name, value)
    statistics, dims = [], []
    filters = dict(zip(truth.exposure.values.tolist(), truth.physical_filter.values.tolist(), strict=True))
    for detector, exposure, flat in flats:
        statistics.append(task.run(flat).outputStats)
        dims.append({"detector": detector, "exposure": exposure, "physical_filter": filters[exposure]})
    return levels_of(statistics, dims, MosaicCamera.of_levels(truth, name="test"), level="AMP")


def of_filter(truth, name):
    return truth.sel(exposure=truth.physical_filter == name, filter=name)


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_each_amplifier_has_the_level_that_the_truth_says(size):
    truth, flats = simulate_flats(**size)
    levels = measured(truth, flats)
    error = truth.sigma / np.sqrt(truth.counts.where(truth.counts > 0))
    pull = ((levels.background - truth.background) / error).stack(cell=truth.background.dims).dropna("cell")
    assert pull.size == int((truth.counts > 0).sum())
    assert abs(pull).max() < 5
    assert abs((pull**2).mean() - 1) < 6 / np.sqrt(pull.size)
    assert_array_equal(levels.background.isnull(), truth.background.isnull())
    assert ((levels.counts <= truth.counts) & (levels.counts > 0.98 * truth.counts)).where(truth.counts > 0, True).all()


@pytest.mark.parametrize("ragged", [False, True])
def test_the_solution_of_what_is_measured_is_the_truth_of_each_filter(ragged):
    truth, flats = simulate_flats(n_exposures=8, ragged=ragged)
    solution = fx.solve(measured(truth, flats), by="physical_filter")
    for name in ("g", "r"):
        true = of_filter(truth, name)
        ratio = (solution.G.sel(group=name) / true.true_G).where(true.true_G.notnull(), 1.0)
        assert_allclose(ratio, 1, atol=1e-3)
        assert_allclose(solution.E.sel(exposure=true.exposure), true.true_E, rtol=1e-3)


def test_who_does_not_mask_measures_something_else():
    truth, flats = simulate_flats(pixels=16)
    _, others = simulate_flats(pixels=16)
    masked, unmasked = measured(truth, flats), measured(truth, others, maskNameList=["NO_DATA"], statistic="mean")
    wrong = abs(unmasked.background / masked.background - 1) > 0.01
    assert wrong.any("amplifier").all()


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_one_filter_of_the_truth_is_an_outer_product_in_the_default_gauge(size):
    truth, _ = simulate_flats(**size)
    for name in truth["filter"].values:
        one = of_filter(truth, name)
        product = (one.true_G * one.true_E).transpose(*one.background.dims)
        assert_allclose(one.background, product, rtol=1e-12)
        weight = one.counts.sum("exposure")
        assert_allclose((weight * one.true_G).sum() / weight.sum(), 1, rtol=1e-12)
        solution = fx.solve(one)
        assert_allclose(solution.G, one.true_G, rtol=1e-12)
        assert_allclose(solution.E, one.true_E, rtol=1e-12)


def test_filters_follow_each_other_and_have_their_own_response():
    truth, _ = simulate_flats(filters=("g", "r", "i"), n_exposures=4)
    assert truth.exposure.values.tolist() == list(range(101, 113))
    assert "".join(truth.physical_filter.values) == "ggggrrrriiii"
    assert (np.diff(truth.time.values) > np.timedelta64(0)).all()
    for one, other in itertools.combinations(["g", "r", "i"], 2):
        assert abs(truth.true_G.sel(filter=one) / truth.true_G.sel(filter=other) - 1).max() > 0.01


@pytest.mark.parametrize("size", SIZES, ids=IDS)
def test_every_detector_is_there_in_every_exposure_and_tiled_by_its_amplifiers(size):
    truth, flats = simulate_flats(**size)
    camera = MosaicCamera.of_levels(truth, name="test")
    seen = []
    for detector, exposure, flat in flats:
        seen.append((exposure, detector))
        covered = np.zeros(flat.image.shape, int)
        for amplifier in flat.detector:
            covered[slice(*amplifier.rows), slice(*amplifier.columns)] += 1
        assert (covered == 1).all()
        assert flat.image.dtype == np.float32
        assert flat.detector.id == detector
        assert flat.detector.name == camera[detector].name
        assert [one.name for one in flat.detector] == [one.name for one in camera[detector]]
        assert flat.masks["BAD"].any()
        assert flat.masks["SAT"].any()
    assert seen == list(itertools.product(truth.exposure.values.tolist(), truth.detector.values.tolist()))


def test_a_ragged_camera_has_detectors_of_different_numbers_of_amplifiers():
    truth, flats = simulate_flats(ragged=True, n_detectors=3)
    assert truth.exists.sum("amplifier").values.tolist() == [4, 3, 4]
    assert [len(flat.detector) for _, _, flat in itertools.islice(flats, 3)] == [4, 3, 4]
    missing = ~truth.exists
    for name in ("background", "true_G"):
        assert_array_equal(truth[name].isnull(), xr.broadcast(missing, truth[name])[0].transpose(*truth[name].dims))
    assert (truth.counts.where(missing, 0) == 0).all()
    assert truth.detector_background.notnull().all()


def test_the_same_seed_gives_the_same_flats_and_another_seed_others():
    (truth, flats), (again, same), (_, others) = (simulate_flats(pixels=8, seed=seed) for seed in (1, 1, 2))
    xr.testing.assert_identical(truth, again)
    for (_, _, flat), (_, _, twin), (_, _, other) in zip(flats, same, others, strict=True):
        assert_array_equal(flat.image, twin.image)
        assert not np.array_equal(flat.image, other.image)


def test_flats_are_made_one_by_one():
    _, flats = simulate_flats(n_exposures=100_000, n_detectors=2, n_amplifiers=2, filters=["r"], pixels=8)
    assert next(flats)[:2] == (1, 101)
    assert next(flats)[:2] == (2, 101)


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        (
            {"n_detectors": 0, "pixels": 3},
            "n_detectors=0 must be a whole number, at least 1, pixels=3 must be a whole number, at least 4",
        ),
        ({"n_amplifiers": 0}, "n_amplifiers=0 must be a whole number, at least 1"),
        ({"n_exposures": 0}, "n_exposures=0"),
        ({"seed": -1}, "seed=-1 must be a whole number, at least 0"),
        ({"filters": []}, "filters=.. must be a list of different names"),
        ({"filters": "gr"}, "filters='gr'"),
        ({"filters": ["g", "g"]}, "filters="),
        ({"filters": ["g", ""]}, "filters="),
    ],
)
def test_sizes_that_make_no_night_are_refused(arguments, rule):
    with pytest.raises(FlatnormError, match=f"simulate_flats: .*{rule}.*; correct the arguments"):
        simulate_flats(**arguments)
