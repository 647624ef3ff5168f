"""A flat is renewed for a change that matters and is no chance, and for nothing else."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from flatnorm_xr.archive.trend.compare import MMAG
from flatnorm_xr.archive.trend.follow import follow
from flatnorm_xr.archive.trend.recommend import recommend_from
from flatnorm_xr.errors import FlatnormError, SchemaError
from flatnorm_xr.simulate.years import simulate_history

SCATTER = {"noise": 0.0, "run_noise": 4e-4}


def years(**planted):
    settings = {"runs": 60, "years": 2.0, "n_detectors": 20, "seed": 1, **SCATTER, **planted}
    return follow(simulate_history(**settings))


def advice(trend, run=5, **keywords):
    return recommend_from(trend, str(trend.run.values[run]), **keywords)


def test_a_jump_beyond_the_tolerance_renews():
    found = advice(years(jumps=[(7, 1.0, 0.01), (9, 1.0, -0.004)]))
    assert found.verdict == "renew"
    assert found.changed == ("7", "9")
    assert found.unit == "7"
    assert found.change == pytest.approx(0.01 * MMAG, abs=3 * found.error)
    assert found.error == pytest.approx(4e-4 * np.sqrt(1.1) * MMAG, rel=0.5)
    assert found.p < 1e-6
    assert found.runs == 10
    assert found.sentence.startswith("2 of 20 detectors changed by more than 2 mmag since 000000000000: 7 by +1")
    assert "the mean of 10 runs until 2027-03-15" in found.sentence


def test_a_change_within_the_tolerance_keeps_however_certain():
    trend = years(jumps=[(7, 1.0, 0.004)])
    found = advice(trend, tolerance=8.0)
    assert found.verdict == "keep"
    assert found.unit == "7"
    assert found.p < 0.01
    assert found.sentence.startswith("No detector changed by more than 8 mmag; most 7 by +")
    assert advice(trend, tolerance=2.0).verdict == "renew"


def test_a_large_change_that_chance_explains_keeps():
    found = advice(years(run_noise=4e-3))
    assert found.verdict == "keep"
    assert abs(found.change) > 2
    assert found.p > 0.01
    assert "seems to have changed" in found.sentence
    assert "but chance explains it: p " in found.sentence


def test_nothing_measured_since_keeps():
    trend = years()
    found = advice(trend, run=-1)
    assert (found.verdict, found.runs, found.unit) == ("keep", 0, "")
    assert found.sentence.startswith("No detector was measured since 000000000000")
    assert advice(trend, since="2030-01-01").runs == 0


def test_one_run_since_is_said_to_be_one():
    found = advice(years(), run=-2)
    assert found.runs == 1
    assert "a single run until" in found.sentence


def test_a_slow_drift_renews_when_it_has_come_so_far():
    trend = years(drift={3: 0.003}, years=4.0)
    assert advice(trend, run=50).verdict == "keep"
    found = advice(trend, run=0)
    assert found.changed == ("3",)
    # the mean of the last ten runs lags the last by five
    assert found.change == pytest.approx(0.003 * 4 * 55 / 59 * MMAG, abs=3 * found.error)


def test_only_runs_after_a_change_say_what_a_unit_is_now():
    trend = years(jumps=[(7, 1.9, 0.01)])
    found = advice(trend)
    assert found.changed == ("7",)
    assert found.change == pytest.approx(0.01 * MMAG, abs=3 * found.error)


def test_a_change_that_was_undone_is_none():
    assert advice(years(jumps=[(7, 0.7, 0.01), (7, 1.4, -0.01)])).verdict == "keep"


def test_a_reference_that_was_off_itself_is_renewed():
    history = simulate_history(runs=60, years=2.0, n_detectors=20, seed=1, **SCATTER)
    history.G[5, 3] *= 1.02
    found = advice(follow(history))
    assert found.changed == ("4",)
    assert found.change == pytest.approx(-0.02 * MMAG, rel=0.15)


def test_a_unit_that_dies_is_named_and_no_reason():
    found = advice(years(dead={3: 1.0}))
    assert found.verdict == "keep"
    assert found.lost == ("3",)
    assert found.sentence.endswith("Not measured in the latest runs: 3.")


def test_a_detector_that_came_is_a_reason_for_a_flat_that_has_it():
    trend = years(replaced={5: 1.2})
    (new,) = set(trend.detector.values.tolist()) - set(range(1, 21))
    found = advice(trend)
    assert found.verdict == "renew"
    assert found.changed == ()
    assert found.appeared == (str(new),)
    assert f"It has nothing for {new}, measured since" in found.sentence
    assert advice(trend, run=-3).verdict == "keep"


def test_one_noisy_unit_does_not_stand_for_all():
    rng = np.random.default_rng(2)
    renewed = 0
    for _ in range(60):
        history = simulate_history(runs=40, years=2.0, n_detectors=30, seed=1, noise=0.0, run_noise=3e-4)
        history["G"].loc[{"detector": 4}] *= np.exp(15e-3 * rng.normal(size=40))
        renewed += advice(follow(history), tolerance=0.5).verdict == "renew"
    assert renewed <= 4


def test_all_units_together_may_have_changed_where_none_has_for_sure():
    rng = np.random.default_rng(1)
    history = simulate_history(runs=60, years=2.0, n_detectors=300, seed=1, noise=0.0, run_noise=2e-3)
    later = np.arange(60) > 30
    history["G"] *= np.exp(np.outer(later, rng.choice([-1, 1], 300) * 3e-3)).reshape(history.G.shape)
    trend = follow(history, alpha=1e-12)
    found = advice(trend, alpha=1e-5)
    assert found.verdict == "renew"
    assert found.changed == ()
    assert found.rms == pytest.approx(3e-3 * MMAG, rel=0.15)
    assert found.sentence.startswith("All detectors together changed by 2.8 mmag rms")


def test_steady_years_are_renewed_as_rarely_as_asked():
    renewed = sum(advice(years(seed=seed, run_noise=3e-3), alpha=0.05).verdict == "renew" for seed in range(100))
    assert renewed <= 5 + 3 * np.sqrt(5)


def test_amplifiers_are_named_with_their_detectors():
    found = advice(years(n_detectors=6, n_amplifiers=3, jumps=[((2, "C01"), 1.0, 0.01)]))
    assert found.changed == ("2/C01",)
    assert "1 of 18 amplifiers changed" in found.sentence


def test_the_advice_is_plain_data():
    found = advice(years())
    assert json.loads(json.dumps(asdict(found)))["verdict"] == "keep"
    assert found.reference == str(years().run.values[5])


def test_bad_input_is_named():
    trend = years()
    with pytest.raises(FlatnormError, match="the run ffff is not in the trend"):
        recommend_from(trend, "ffff")
    with pytest.raises(FlatnormError, match="tolerance is 0"):
        advice(trend, tolerance=0)
    with pytest.raises(FlatnormError, match="alpha is 1"):
        advice(trend, alpha=1)
    with pytest.raises(SchemaError, match="trend is not what follow returns"):
        recommend_from(trend.drop_vars("gauge_offset"), "ffff")
