"""What the task measures is what the definition says, of the pixels that it shall measure, and it is a proper task."""

from __future__ import annotations

import logging
import math
import pickle

import numpy as np
import pytest

pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from lsst.pex.config import FieldValidationError
from lsst.pipe.base import PipelineTask
from numpy.testing import assert_allclose, assert_array_equal

from flatnorm_xr.errors import CameraError, FlatnormError
from flatnorm_xr.lsst.camera import MosaicAmplifier, MosaicDetector
from flatnorm_xr.lsst.flat import Flat
from flatnorm_xr.lsst.measure import CpFlatMeasureConnections, CpFlatMeasureTask, CpFlatMeasureTaskConfig

RAGGED = MosaicDetector(
    id=3,
    name="R1",
    amplifiers=(
        MosaicAmplifier(name="C0", rows=(0, 30), columns=(0, 17)),
        MosaicAmplifier(name="C1", rows=(0, 11), columns=(17, 50)),
        MosaicAmplifier(name="C2", rows=(11, 30), columns=(17, 50)),
    ),
)
# the vertices lie so that no pixel's centre is on an edge
POLYGON = np.array([[3.3, -1.0], [60.0, -1.0], [60.0, 22.7], [45.2, 40.0], [3.3, 40.0]])


def a_flat(seed=0, *, polygon=None, detector=RAGGED):
    """One with dust, cosmic rays, saturated columns, bad pixels and holes; levels differ between amplifiers."""
    rng = np.random.default_rng(seed)
    image = rng.normal(20_000, 120, (30, 50)).astype("f4")
    image[:, 17:] *= 1.03
    image[rng.random(image.shape) < 0.02] *= 0.93
    image[rng.random(image.shape) < 0.01] += 3000
    masks = {"BAD": rng.random(image.shape) < 0.02, "NO_DATA": np.zeros(image.shape, bool)}
    masks |= {"SAT": np.zeros(image.shape, bool), "DETECTED": rng.random(image.shape) < 0.01}
    masks["SAT"][:, 7:9] = True
    image[masks["BAD"]], image[masks["SAT"]] = -1e9, 65_535
    image[rng.random(image.shape) < 0.01] = np.nan
    return Flat(image, masks, detector, polygon)


def definition(pixels, statistic, clip, passes):
    """Level, scatter and number, word for word as documented, with all the time in the world."""
    good = np.asarray(pixels, "f8")
    good = good[np.isfinite(good)]
    kept = good
    if statistic == "meanclip":
        center, sigma = np.median(good), 0.741301109252802 * np.subtract(*np.percentile(good, [75, 25]))
        for _ in range(passes):
            kept = good[np.abs(good - center) <= clip * sigma]
            center, sigma = kept.mean(), kept.std(ddof=1)
    return (np.median(kept) if statistic == "median" else math.fsum(kept) / kept.size), kept.std(ddof=1), kept.size


def in_polygon(shape):
    """POLYGON once more, by the half planes that it is the intersection of."""
    y, x = np.indices(shape)
    return (x > 3.3) & (x - 45.2 < (y - 40.0) * (60.0 - 45.2) / (22.7 - 40.0))


def run(flat, **config):
    task = CpFlatMeasureTask()
    for name, value in config.items():
        setattr(task.config, name, value)
    return task.run(flat).outputStats


@pytest.mark.parametrize("polygon", [None, POLYGON], ids=["whole", "vignetted"])
@pytest.mark.parametrize("statistic", ["meanclip", "median", "mean"])
@pytest.mark.parametrize(("clip", "passes"), [(3.0, 3), (2.0, 1), (2.5, 8)])
def test_statistics_are_those_of_the_definition_on_the_good_pixels(statistic, clip, passes, polygon):
    flat = a_flat(polygon=polygon)
    found = run(flat, statistic=statistic, numSigmaClip=clip, clipMaxIter=passes)
    bad = flat.masks["BAD"] | flat.masks["SAT"] | flat.masks["DETECTED"]
    if polygon is not None:
        bad = bad | ~in_polygon(bad.shape)
        assert 100 < np.count_nonzero(~in_polygon(bad.shape)) < 400
    places = {"DETECTOR{}": np.s_[:, :], "AMP{}_0": np.s_[:30, :17], "AMP{}_1": np.s_[:11, 17:]}
    for key, place in (places | {"AMP{}_2": np.s_[11:, 17:]}).items():
        level, sigma, number = definition(flat.image[place][~bad[place]], statistic, clip, passes)
        assert_allclose(found[key.format("_MEDIAN")], level, rtol=1e-12, err_msg=key)
        assert_allclose(found[key.format("_SIGMA")], sigma, rtol=1e-10, err_msg=key)
        assert found[key.format("_N")] == number, key
    assert [found[f"AMP_NAME_{i}"] for i in range(3)] == ["C0", "C1", "C2"]
    assert len(found) == 1 + 3 + 3 * 4


def test_the_configuration_without_a_word_is_the_documented_one_and_masks_saturation():
    config = CpFlatMeasureTaskConfig()
    assert list(config.maskNameList) == ["DETECTED", "BAD", "NO_DATA", "SAT"]
    assert (config.doVignette, config.numSigmaClip, config.clipMaxIter, config.statistic) == (True, 3.0, 3, "meanclip")
    flat = a_flat()
    documented = run(flat)
    assert documented == run(flat, statistic="meanclip", numSigmaClip=3.0, clipMaxIter=3)
    unmasked = run(flat, maskNameList=["DETECTED", "BAD", "NO_DATA"], statistic="mean")
    assert unmasked["AMP_MEDIAN_0"] > 1.1 * documented["AMP_MEDIAN_0"]


def test_each_plane_named_is_left_out_and_no_other():
    flat = a_flat()
    for name in ("BAD", "SAT"):
        alone = Flat(flat.image, {"BAD": flat.masks[name]}, flat.detector)
        assert run(flat, maskNameList=[name]) == run(alone, maskNameList=["BAD"])
    assert run(flat, maskNameList=[]) == run(Flat(flat.image, {}, flat.detector), maskNameList=[])


def test_the_vignetted_part_is_measured_when_asked():
    assert run(a_flat(polygon=POLYGON), doVignette=False) == run(a_flat())
    assert run(a_flat(polygon=POLYGON)) != run(a_flat())


@given(power=st.integers(-8, 8), seed=st.integers(0, 50))
@settings(deadline=None, max_examples=15)
def test_a_brighter_flat_has_brighter_statistics_and_nothing_else(power, seed):
    flat = a_flat(seed)
    brighter = Flat(flat.image * np.float32(2.0**power), flat.masks, flat.detector)
    for key, value in run(brighter).items():
        factor = 1 if "_N" in key or key == "UNITS" else 2.0**power  # AMP_NAME and all N
        assert value == run(flat)[key] * factor, key


def test_amplifiers_are_measured_in_whatever_order_they_come():
    turned = RAGGED.model_copy(update={"amplifiers": RAGGED.amplifiers[::-1]})
    found, other = run(a_flat()), run(a_flat(detector=turned))
    for i, j in [(0, 2), (1, 1), (2, 0)]:
        for key in ("NAME", "MEDIAN", "SIGMA", "N"):
            assert found[f"AMP_{key}_{i}"] == other[f"AMP_{key}_{j}"]


def test_statistics_say_in_which_units_they_are():
    flat = a_flat()
    assert run(flat)["UNITS"] == "adu"
    assert run(Flat(flat.image, flat.masks, flat.detector, units="electron"))["UNITS"] == "electron"


def test_the_flat_is_not_changed():
    flat = a_flat(polygon=POLYGON)
    image, masks = flat.image.copy(), {name: plane.copy() for name, plane in flat.masks.items()}
    run(flat)
    assert_array_equal(flat.image, image)
    for name, plane in masks.items():
        assert_array_equal(flat.masks[name], plane)


def test_statistics_are_plain_numbers_and_strings_that_any_program_can_store():
    found = run(a_flat())
    assert {type(value) for value in found.values()} == {float, int, str}
    assert yaml.safe_load(yaml.safe_dump(found)) == found


def test_where_no_pixel_is_good_there_is_no_level_and_the_log_says_so(caplog):
    flat = a_flat()
    flat.masks["BAD"][:, :17] = True
    with caplog.at_level(logging.WARNING):
        found = run(flat)
    assert math.isnan(found["AMP_MEDIAN_0"])
    assert math.isnan(found["AMP_SIGMA_0"])
    assert found["AMP_N_0"] == 0
    assert math.isfinite(found["AMP_MEDIAN_1"])
    assert math.isfinite(found["DETECTOR_MEDIAN"])
    assert [record.getMessage() for record in caplog.records] == ["Detector 3 has no good pixel in C0: NaN"]


def test_a_flat_of_nothing_but_holes_is_measured_as_nothing(caplog):
    found = run(Flat(np.full((30, 50), np.nan), a_flat().masks, RAGGED))
    assert [value for key, value in found.items() if "_N" in key and "NAME" not in key] == [0] * 4
    assert all(math.isnan(value) for key, value in found.items() if "MEDIAN" in key or "SIGMA" in key)
    assert "no good pixel in the whole detector, C0, C1, C2" in caplog.text


def test_a_plane_that_the_flat_lacks_is_warned_of_once_except_detected(caplog):
    flat = a_flat()
    for name in ("DETECTED", "SAT"):
        del flat.masks[name]
    with caplog.at_level(logging.WARNING):
        run(flat, maskNameList=["DETECTED", "BAD"])
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        found = run(flat, maskNameList=["DETECTED", "BAD", "SAT", "TYPO"])
    (record,) = caplog.records
    assert "Detector 3 has no mask plane SAT, TYPO" in record.getMessage()
    assert found == run(flat, maskNameList=["BAD"])


def test_amplifiers_without_a_place_are_refused_unless_there_is_but_one():
    nowhere = RAGGED.model_copy(update={"amplifiers": (RAGGED.amplifiers[0], MosaicAmplifier(name="C9"))})
    with pytest.raises(CameraError, match="amplifiers C9 of detector 3 have no rows and columns"):
        run(a_flat(detector=nowhere))
    one = RAGGED.model_copy(update={"amplifiers": (MosaicAmplifier(name="all"),)})
    found = run(a_flat(detector=one))
    assert found["AMP_NAME_0"] == "all"
    assert found["AMP_MEDIAN_0"] == found["DETECTOR_MEDIAN"]


def test_what_is_no_flat_is_refused():
    with pytest.raises(FlatnormError, match="inputExp is a NoneType"):
        run(None)


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("numSigmaClip", 0.0, "numSigmaClip is 0.0; it must be above 0"),
        ("numSigmaClip", math.nan, "numSigmaClip is nan"),
        ("clipMaxIter", 0, "clipMaxIter is 0; it must be at least 1"),
    ],
)
def test_a_configuration_that_clips_nothing_or_all_is_refused(field, value, rule):
    config = CpFlatMeasureTaskConfig()
    config.validate()
    setattr(config, field, value)
    with pytest.raises(FieldValidationError, match=rule):
        config.validate()


def test_a_statistic_that_is_not_known_is_refused():
    with pytest.raises(FieldValidationError, match="modeclip"):
        CpFlatMeasureTaskConfig(statistic="modeclip")


def test_the_task_is_a_pipeline_task_for_each_exposure_and_detector():
    assert issubclass(CpFlatMeasureTask, PipelineTask)
    assert CpFlatMeasureTask.canMultiprocess
    assert CpFlatMeasureTask().getName() == "cpFlatMeasure"
    connections = CpFlatMeasureConnections(config=CpFlatMeasureTaskConfig())
    assert connections.dimensions == {"instrument", "exposure", "detector"}
    given = {name: (one.name, one.storageClass) for name, one in connections.allConnections.items()}
    assert given["inputExp"] == ("postISRCCD", "FlatnormFlat")
    assert given["outputStats"] == ("flatStats", "FlatnormStatistics")
    for name in ("inputExp", "outputStats"):
        assert set(connections.allConnections[name].dimensions) == {"instrument", "exposure", "detector"}


def test_the_task_survives_pickling_with_its_configuration():
    task = CpFlatMeasureTask()
    task.config.numSigmaClip = 2.5
    other = pickle.loads(pickle.dumps(task))
    assert other.config.numSigmaClip == 2.5
    assert other.run(a_flat()).outputStats == task.run(a_flat()).outputStats


def test_how_long_it_took_is_in_the_metadata():
    task = CpFlatMeasureTask()
    task.run(a_flat())
    assert task.metadata["runEndCpuTime"] >= task.metadata["runStartCpuTime"]
    assert task.getFullMetadata()["cpFlatMeasure"]["runStartUtc"] == task.metadata["runStartUtc"]
