"""Amplifiers of one detector that jump together keep the same side, so that their responses are of one time."""

from __future__ import annotations

import numpy as np
import pytest

import flatnorm_xr as fx
from flatnorm_xr.decompose.robust.jumps_in_step import in_step
from flatnorm_xr.decompose.robust.unit_faults import Event
from flatnorm_xr.flags import Flag


@pytest.mark.parametrize("seed", [0, 1, 2, 5])
def test_a_detector_that_jumps_has_responses_of_one_time(seed, says):
    """By itself each amplifier leaves out its smaller side, and which that is hangs on the cells that are missing."""
    ds = fx.simulate(n_detectors=20, n_amplifiers=4, n_exposures=16, missing=0.05, seed=seed)
    ds.background.loc[{"detector": 7, "exposure": slice(109, None)}] *= 1.02
    with says("rejected"):
        sol = fx.solve(ds, weights="variance", robust="tukey")
        turned = fx.solve(ds.transpose("amplifier", "exposure", "detector"), weights="variance", robust="tukey")
    ratio = (sol.G / sol.true_G).sel(detector=7)
    assert float(ratio.max() / ratio.min() - 1) < 0.003
    jumps = fx.rejections(sol).query("kind == 'gain jump'")
    assert jumps["detector"].tolist() == [7] * 4
    np.testing.assert_allclose(jumps["size"], 0.02, atol=0.003)
    np.testing.assert_allclose(turned.G.transpose(*sol.G.dims), sol.G, rtol=1e-9)


def jump(unit, first, last):
    return Event(Flag.GAIN_JUMP, unit * 8 + np.arange(first, last), 9.0)


def test_the_side_with_fewer_cells_in_all_of_them_goes():
    measured = np.ones((3, 8), dtype=bool)
    measured[0, 6:] = measured[1, 7] = False
    events = [jump(0, 4, 6), jump(1, 4, 7), jump(2, 0, 4)]
    changed = in_step(events, measured, np.zeros(3, dtype=int))
    assert [(event.cells % 8).tolist() for event in changed] == [[4, 5], [4, 5, 6], [4, 5, 6, 7]]
    assert [event.cells[0] // 8 for event in changed] == [0, 1, 2]


@pytest.mark.parametrize(
    ("events", "detector"),
    [
        ([jump(0, 4, 8), jump(1, 0, 4)], [0, 1]),  # two detectors
        ([jump(0, 5, 8), jump(1, 0, 3)], [0, 0]),  # two jumps
        ([jump(0, 4, 8), jump(1, 4, 8)], [0, 0]),  # in step already
        ([jump(0, 6, 8), Event(Flag.OUTLIER, np.array([8]), 9.0)], [0, 0]),
        ([], [0, 0]),
    ],
)
def test_what_is_no_common_jump_stays(events, detector):
    assert in_step(events, np.ones((2, 8), dtype=bool), np.array(detector)) == tuple(events)


def test_an_amplifier_does_not_lose_most_of_its_cells_for_the_others():
    measured = np.ones((3, 8), dtype=bool)
    measured[0, :2] = measured[1, :2] = False
    few_after = [jump(0, 2, 4), jump(1, 2, 4), jump(2, 4, 8)]
    measured[2, 5:] = False
    few_after[2] = jump(2, 4, 5)
    changed = in_step(few_after, measured, np.zeros(3, dtype=int))
    assert changed[2] is few_after[2]
