"""What robust fitting leaves out: what is wrong, all of it, by its right name, and hardly ever anything else."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import xarray as xr

from flatnorm_xr.decompose.conjugate_gradient import solve_exactly
from flatnorm_xr.decompose.connectivity import connect
from flatnorm_xr.decompose.robust.run_scan import largest_contrasts, widest_runs
from flatnorm_xr.decompose.robust.search import find_faults
from flatnorm_xr.decompose.sweeps import NormalEquations
from flatnorm_xr.flags import Flag

NOISE = 1e-3


class Night:
    """ln(background) of one night that follows G E up to noise, for faults to be put into."""

    def __init__(self, units=62, exposures=12, *, seed=0, missing=0.0, noise=NOISE, unequal=1.0, known=True):
        self.rng = np.random.default_rng(seed)
        sigma = noise * self.rng.uniform(1, unequal, units)[:, np.newaxis] * np.ones(exposures)
        self.e = self.rng.normal(9, 0.05, exposures)
        y = self.rng.normal(0, 0.06, units)[:, np.newaxis] + self.e
        self.y = y + sigma * self.rng.normal(size=y.shape)
        self.weight = 1 / sigma**2 if known else np.ones_like(y)
        lost = self.rng.random(y.shape) < missing
        lost[self.rng.integers(units)] = False
        lost[:, self.rng.integers(exposures)] = False
        self.weight[lost] = 0.0

    @property
    def part(self):
        return tuple(xr.DataArray(array, dims=("detector", "exposure")) for array in (self.y, self.weight))

    def faults(self, robust="tukey"):
        return find_faults([self.part], robust=robust)[0]

    def find(self, robust="tukey"):
        return events(self.faults(robust))

    def used(self, unit, exposures):
        """Those cells that were measured."""
        return {(unit, j) for j in exposures if self.weight[unit, j] > 0}

    def dome_light(self, exposure, size=0.01):
        """Light that reaches part of the focal plane only, in one exposure."""
        place = self.rng.uniform(-1, 1, len(self.y))
        self.y[:, exposure] += np.log1p(size * (1 + place))
        return {(i, exposure) for i in range(len(self.y)) if self.weight[i, exposure] > 0}


def events(faults):
    """Kind and cells of each event, in order of their numbers."""
    number, quality = faults.rejection.values, faults.quality.values
    found = []
    for k in np.unique(number[number > 0]):
        flags = set(quality[number == k].tolist())
        assert len(flags) == 1
        found.append((Flag(flags.pop()), {tuple(cell) for cell in np.argwhere(number == k).tolist()}))
    assert ((number > 0) == (quality > 0)).all()
    return found


missing = pytest.mark.parametrize("missing", [0.0, 0.25], ids=["complete", "missing"])


@missing
@pytest.mark.parametrize("robust", ["tukey", "huber"])
def test_each_fault_has_its_name(missing, robust):
    night = Night(missing=missing, seed=4)
    night.weight[:5] = 1 / NOISE**2
    expected = []
    expected.append((Flag.REJECTED_EXPOSURE, night.dome_light(7)))
    night.y[0, 2] += np.log(0.7)
    expected.append((Flag.OUTLIER, night.used(0, [2])))
    night.y[1, 8:] += 0.01
    expected.append((Flag.GAIN_JUMP, night.used(1, range(8, 12))))
    night.y[2, 3:6] += 0.02
    expected.append((Flag.OUTLIER, night.used(2, range(3, 6))))
    night.y[3] += 0.02 * night.rng.normal(size=12)
    expected.append((Flag.REJECTED_UNIT, night.used(3, set(range(12)) - {7})))
    night.y[4] = np.log(1 + night.rng.uniform(0, 5, 12))
    expected.append((Flag.REJECTED_UNIT, night.used(4, set(range(12)) - {7})))
    found = night.find(robust)
    assert sorted(found, key=str) == sorted(expected, key=str)


def test_whole_exposures_have_the_first_numbers_and_then_units_in_order():
    night = Night(seed=1)
    night.y[9, 4] += 0.05
    night.y[3, 1] += 0.05
    night.dome_light(10, size=0.03)
    night.dome_light(2, size=0.02)
    found = night.find()
    assert [flag for flag, _ in found] == [Flag.REJECTED_EXPOSURE] * 2 + [Flag.OUTLIER] * 2
    assert [min(j for _, j in cells) for _, cells in found] == [2, 10, 1, 4]


def test_numbers_go_on_through_the_tables_and_one_scale_holds_for_all():
    first, second, third = (Night(10, 4, seed=seed) for seed in range(3))
    first.y[2, 1] += 0.03
    third.y[5, 3] += 0.03
    found = find_faults([first.part, second.part, third.part], robust="tukey")
    assert [events(faults) for faults in found] == [
        [(Flag.OUTLIER, {(2, 1)})],
        [],
        [(Flag.OUTLIER, {(5, 3)})],
    ]
    assert int(found[0].rejection.max()) == 1
    assert int(found[2].rejection.max()) == 2


@pytest.mark.parametrize("order", [("detector", "amplifier", "exposure"), ("exposure", "amplifier", "detector")])
def test_units_may_be_amplifiers_and_dims_in_any_order(order):
    night = Night(60, 8, seed=3)
    night.y[17, 5:] -= 0.02
    shape, dims = (15, 4, 8), ("detector", "amplifier", "exposure")
    part = tuple(xr.DataArray(a.reshape(shape), dims=dims).transpose(*order) for a in (night.y, night.weight))
    faults = find_faults([part], robust="tukey")[0]
    assert faults.quality.dims == faults.rejection.dims == order
    assert faults.quality.dtype == np.uint32
    assert faults.rejection.dtype == np.int32
    bad = faults.quality.isel(detector=4, amplifier=1).values
    assert bad.tolist() == [0] * 5 + [int(Flag.GAIN_JUMP)] * 3
    assert int((faults.quality > 0).sum()) == 3


@pytest.mark.parametrize(("unit", "exposure"), [(0, 0), (20, 11)])
def test_neither_factors_nor_order_of_units_matter(unit, exposure):
    night = Night(seed=5)
    night.y[unit, exposure] += 0.05
    night.y[40, 3:] += 0.01
    before = night.find()
    assert len(before) == 2
    night.y += night.rng.normal(size=(62, 1)) + night.rng.normal(size=12)
    night.weight *= 1e7
    assert night.find() == before
    order = night.rng.permutation(62)
    night.y, night.weight = night.y[order], night.weight[order]
    moved = [(flag, {(int(order[i]), j) for i, j in cells}) for flag, cells in night.find()]
    assert sorted(moved, key=str) == sorted(before, key=str)


def test_input_is_not_changed():
    night = Night(seed=5)
    night.y[1, 1] += 0.1
    y, weight = night.part
    before = y.copy(deep=True), weight.copy(deep=True)
    find_faults([(y, weight)], robust="tukey")
    xr.testing.assert_identical(y, before[0])
    xr.testing.assert_identical(weight, before[1])


def test_what_stands_where_the_weight_is_zero_is_not_looked_at():
    night = Night(missing=0.2, seed=6)
    night.y[8, 6:] += 0.02
    before = night.find()
    night.y[night.weight == 0] = 1e300
    assert night.find() == before


@missing
def test_far_cells_neither_hide_near_ones_nor_take_good_ones_along(missing):
    found, errors = [], []
    for seed in range(40):
        night = Night(missing=missing, seed=seed)
        cells = {
            (int(i), int(j))
            for i, j in np.column_stack([night.rng.permutation(62)[:8], night.rng.integers(12, size=8)])
        }
        for (i, j), size in zip(sorted(cells), [-0.3, *6 * [0.03], -0.2], strict=True):
            night.y[i, j] += np.log1p(size)
        bad = {cell for cell in cells if night.weight[cell] > 0}
        faults = night.faults()
        found.append({tuple(cell) for cell in np.argwhere(faults.rejection.values).tolist()} == bad)
        assert (night.weight[tuple(np.transpose(sorted(bad)))] > 0).all()
        y, weight = night.part
        e = solve_exactly(NormalEquations.of(y, weight.where(faults.rejection == 0, 0.0))).e.values
        errors.append(e - e.mean() - night.e + night.e.mean())
    assert np.mean(found) >= 0.95
    assert np.sqrt(np.mean(np.square(errors))) < 2e-4


def test_no_good_cell_goes_for_standing_between_two_bad_ones():
    night = Night(seed=2)
    night.y[7, [3, 5]] += 0.03
    assert night.find() == [(Flag.OUTLIER, {(7, 3)}), (Flag.OUTLIER, {(7, 5)})]


def test_smaller_side_of_a_jump_goes():
    night = Night(seed=8)
    night.y[0, :4] += 0.01
    night.y[1, 4:] += 0.01
    assert night.find() == [(Flag.GAIN_JUMP, {(i, j) for j in range(4)}) for i in range(2)]


def test_of_two_halves_the_later_goes_unless_the_earlier_weighs_less():
    night = Night(seed=8)
    night.y[:2, 6:] += 0.01
    night.weight[1, :6] *= 0.8
    assert night.find() == [
        (Flag.GAIN_JUMP, {(0, j) for j in range(6, 12)}),
        (Flag.GAIN_JUMP, {(1, j) for j in range(6)}),
    ]


def test_ends_of_a_series_are_those_of_its_measured_cells():
    night = Night(seed=9)
    night.weight[5, [0, 1, 10, 11]] = 0.0
    night.y[5, 2:5] -= 0.02
    assert night.find() == [(Flag.GAIN_JUMP, {(5, 2), (5, 3), (5, 4)})]


def test_unit_that_drifts_goes_whole():
    night = Night(seed=10)
    night.y[11] += np.linspace(0, 0.05, 12)
    assert night.find() == [(Flag.REJECTED_UNIT, {(11, j) for j in range(12)})]


def test_exposure_goes_whole_when_most_of_its_cells_do():
    night = Night(20, 12, seed=11)
    bad = night.rng.permutation(20)[:12]
    night.y[bad[:6], 4] += 0.05
    night.y[bad[6:], 4] -= 0.05
    assert night.find() == [(Flag.REJECTED_EXPOSURE, {(i, 4) for i in range(20)})]


@pytest.mark.parametrize("exposures", [1, 2])
def test_too_few_exposures_judge_nothing(exposures):
    night = Night(30, exposures, seed=12)
    night.y[3, 0] += 0.5
    assert night.find() == []


@pytest.mark.parametrize("shape", [(1, 12), (2, 12), (2, 3)])
def test_too_few_units_judge_nothing(shape):
    night = Night(*shape, seed=13)
    night.y[0, 0] += 0.5
    assert night.find() == []


def test_nothing_measured_is_nothing_found():
    night = Night(5, 4)
    night.weight[:] = 0.0
    faults = night.faults()
    assert not faults.rejection.any()
    assert faults.refused == 0.0


def test_exact_levels_have_no_fault_and_one_wrong_cell_stands_out():
    night = Night(12, 6, noise=1e-30)
    night.weight[:] = 1.0
    assert night.find() == []
    night.y[3, 2] += 1e-6
    assert night.find() == [(Flag.OUTLIER, {(3, 2)})]


def two_blocks(*, seed):
    """Two sets of units that share no exposure, but for one unit that was in all."""
    night = Night(13, 12, seed=seed)
    night.weight[:6, 6:] = night.weight[6:12, :6] = 0.0
    return night


def is_one_piece(night, faults):
    left = xr.DataArray(night.weight > 0, dims=("detector", "exposure")) & (faults.rejection == 0)
    return int(connect(left).exposure.max()) == 0


def test_fault_that_holds_two_sets_together_stays():
    for seed in range(5):
        night = two_blocks(seed=seed)
        night.y[12, 6:] += 0.02
        night.y[2, 3] += 0.1
        faults = night.faults()
        assert is_one_piece(night, faults)
        assert np.argwhere(faults.rejection.values).tolist() == [[2, 3]]


def test_unit_that_holds_two_sets_together_stays_though_erratic():
    for seed in range(5):
        night = two_blocks(seed=seed)
        night.y[12] += 0.05 * night.rng.normal(size=12)
        faults = night.faults()
        assert is_one_piece(night, faults)
        assert int(faults.rejection.max()) <= 1


@pytest.mark.parametrize("interleaved", [False, True])
def test_two_lamps_are_no_fault_of_cells(interleaved):
    for seed in range(5):
        night = Night(seed=seed)
        second = np.arange(12) % 2 == 0 if interleaved else np.arange(12) < 6
        night.y += np.multiply.outer(0.05 * night.rng.uniform(-1, 1, 62), second)
        assert (night.faults().rejection.values > 0).mean() < 0.1


@pytest.mark.parametrize("noise", [1e-3, 2e-4])
def test_tilted_exposures_are_kept_but_for_those_that_stand_out(noise):
    shares = []
    for seed in range(20):
        night = Night(seed=seed, noise=noise)
        x = night.rng.uniform(-1.7, 1.7, 62)
        night.y += np.multiply.outer(x, 0.002 * night.rng.normal(size=12))
        rejected = night.faults().rejection.values > 0
        assert rejected.all(axis=0).sum() <= 4
        shares.append(rejected.mean())
    assert np.mean(shares) < 0.1


def test_where_a_third_of_all_cells_is_wrong_the_model_is_and_says_so():
    night = Night(seed=14)
    wrong = night.rng.random(night.y.shape) < 0.35
    night.y[wrong] += 0.05 * night.rng.normal(size=wrong.sum())
    faults = night.faults()
    assert 0.2 < faults.refused < 0.6
    assert float((faults.rejection > 0).mean()) < 0.1


def test_model_at_fault_in_one_table_leaves_the_others_as_they_are():
    wrong, good = Night(seed=15), Night(seed=16)
    bad = wrong.rng.random(wrong.y.shape) < 0.35
    wrong.y[bad] += 0.05 * wrong.rng.normal(size=bad.sum())
    good.y[4, 4] += 0.05
    first, second = find_faults([wrong.part, good.part], robust="tukey")
    assert first.refused > 0
    assert second.refused == 0
    assert [cells for _, cells in events(second)] == [{(4, 4)}]


def test_never_half_of_the_exposures_nor_of_the_units():
    for seed in range(10):
        night = Night(12, 8, seed=seed)
        night.y[:7] += night.rng.normal(size=(7, 8)) * 0.03
        night.y[:, :5] += night.rng.normal(size=(12, 5)) * 0.02
        rejected = night.faults().rejection.values > 0
        assert rejected.all(axis=0).sum() <= 4
        assert rejected.all(axis=1).sum() <= 6


def brute_force(residual, precision):
    """Largest |T| over runs of at most half of the cells of one unit, by looking at all of them."""
    valid = np.flatnonzero(precision > 0)
    best, cells = 0.0, set()
    for length in range(1, valid.size // 2 + 1):
        for start in range(valid.size - length + 1):
            inside = valid[start : start + length]
            outside = np.setdiff1d(valid, inside)
            means = [np.average(residual[side], weights=precision[side]) for side in (inside, outside)]
            variance = sum(1 / precision[side].sum() for side in (inside, outside))
            t = abs(means[0] - means[1]) / np.sqrt(variance)
            if t > best * (1 + 1e-12):
                best, cells = t, set(inside.tolist())
    return best, cells


def test_scan_finds_the_largest_contrast_of_all_runs():
    rng = np.random.default_rng(0)
    residual, precision = rng.normal(size=(30, 11)), rng.uniform(0.1, 3, (30, 11))
    precision[rng.random(precision.shape) < 0.3] = 0.0
    runs = widest_runs(residual, precision)
    first_look = largest_contrasts(residual, precision, limit=0.0)
    for i in range(30):
        size, cells = brute_force(residual[i], precision[i])
        assert runs.size[i] == pytest.approx(size)
        assert first_look[i] == pytest.approx(size)
        got = set(np.flatnonzero(runs.cells[i] & (precision[i] > 0)).tolist())
        assert got == cells or 2 * len(got) == (precision[i] > 0).sum()


def test_first_look_at_a_long_series_misses_no_run_above_the_limit():
    rng = np.random.default_rng(1)
    residual, precision = rng.normal(size=(200, 300)), np.ones((200, 300))
    for i in range(100):
        length = int(rng.integers(2, 150))
        start = int(rng.integers(0, 300 - length))
        residual[i, start : start + length] += 7.5 / np.sqrt(length * (1 - length / 300))
    limit = 5.6
    exact = widest_runs(residual, precision).size
    looked = largest_contrasts(residual, precision, limit=limit)
    assert (exact > limit).sum() > 80
    assert ((looked > limit) == (exact > limit)).all()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("shape", [(3, 3), (4, 5), (30, 3), (3, 30)])
def test_small_tables_with_gross_faults_end_well(shape):
    for seed in range(20):
        night = Night(*shape, seed=seed, missing=0.2)
        night.y += 0.5 * night.rng.standard_t(1, size=shape) * (night.rng.random(shape) < 0.3)
        rejected = night.faults().rejection.values > 0
        assert not (rejected & (night.weight == 0)).any()
        assert ((night.weight > 0) & ~rejected).any()


@pytest.fixture
def desi_gfa(shared):
    """Names of cameras, and ln of the relative level in 64 exposures, four of equal time after another."""
    with open(shared / "data" / "desi-gfa" / "gfa_rescale_factors.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    names = sorted({row["detector"] for row in rows})
    exposures = sorted({int(row["expid"]) for row in rows})
    y = np.full((len(names), len(exposures)), np.nan)
    for row in rows:
        y[names.index(row["detector"]), exposures.index(int(row["expid"]))] = np.log(float(row["rel_level"]))
    return names, y


def test_two_cameras_of_desi_are_erratic_and_eight_agree_to_a_few_parts_in_100000(desi_gfa):
    names, y = desi_gfa
    parts = []
    for k in range(16):
        array = xr.DataArray(y[:, 4 * k : 4 * k + 4], dims=("detector", "exposure"))
        parts.append((array, xr.ones_like(array)))
    found = find_faults(parts, robust="tukey")
    gone = sum((faults.quality == Flag.REJECTED_UNIT).any("exposure").values.astype(int) for faults in found)
    assert {name for name, times in zip(names, gone, strict=True) if times > 1} == {"GUIDE3", "GUIDE7"}
    assert gone[names.index("GUIDE3")] >= 14
    assert gone[names.index("GUIDE7")] >= 12
    residuals = []
    for (array, weight), faults in zip(parts, found, strict=True):
        assert faults.refused == 0
        kept = weight.where(faults.rejection == 0, 0.0)
        fit = solve_exactly(NormalEquations.of(array, kept))
        residuals.append((array - fit.g - fit.e).where(kept > 0))
    scatter = 1.4826 * abs(xr.concat(residuals, "exposure")).median("exposure")
    for name, size in zip(names, scatter.values, strict=True):
        assert name in {"GUIDE3", "GUIDE7"} or 1.5e-5 < size < 4e-5, (name, size)


def share(nights):
    """Share of nights in which the first of a pair is the second."""
    return np.mean([found == expected for found, expected in nights])


@pytest.mark.slow
@missing
def test_dome_light_with_a_pattern_is_one_exposure_always(missing):
    nights = []
    for seed in range(40):
        night = Night(seed=seed, missing=missing)
        exposure = int(night.rng.integers(12))
        expected = [(Flag.REJECTED_EXPOSURE, night.dome_light(exposure))]
        found = night.find()
        assert [event for event in found if event[0] == Flag.REJECTED_EXPOSURE] == expected
        nights.append((found, expected))
    assert share(nights) >= 0.95


@pytest.mark.slow
@missing
@pytest.mark.parametrize(("size", "least"), [(0.01, 0.95), (0.005, 0.9)])
def test_gain_jump_is_one_jump_at_the_right_exposure(missing, size, least):
    nights = []
    for seed in range(100):
        night = Night(seed=seed, missing=missing)
        at = int(night.rng.integers(3, 10)) if size == 0.01 else 6
        night.weight[0, [at - 3, at - 2, at - 1, at, at + 1, at + 2]] = 1 / NOISE**2
        lost = night.y[0] == 0
        night.y[0, lost] = night.e[lost] + NOISE * night.rng.normal(size=lost.sum())
        night.y[0, at:] += size * night.rng.choice([-1, 1])
        before, after = night.used(0, range(at)), night.used(0, range(at, 12))
        expected = [(Flag.GAIN_JUMP, before if len(before) < len(after) else after)]
        nights.append((night.find(), expected))
    assert share(nights) >= least


@pytest.mark.slow
@missing
def test_erratic_and_dead_detectors_go_whole(missing):
    erratic, dead = [], []
    for seed in range(100):
        night = Night(seed=seed, missing=missing)
        night.y[5] += 15 * NOISE * night.rng.normal(size=12)
        erratic.append((night.find(), [(Flag.REJECTED_UNIT, night.used(5, range(12)))]))
        night = Night(seed=seed, missing=missing)
        night.y[5] = np.log1p(np.abs(night.rng.normal(0, 5, 12)))
        dead.append((night.find(), [(Flag.REJECTED_UNIT, night.used(5, range(12)))]))
    assert share(erratic) >= 0.95
    assert share(dead) >= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(
    ("shape", "nights", "limit"),
    [((62, 12), 200, 0.03), ((4, 5), 300, 0.04), ((8, 5), 300, 0.04), ((12, 8), 200, 0.04), ((62, 5), 200, 0.03)],
)
@missing
def test_clean_nights_are_clean(shape, nights, limit, missing):
    alarms = [bool(Night(*shape, seed=seed, missing=missing).find()) for seed in range(nights)]
    assert np.mean(alarms) <= limit


@pytest.mark.slow
@pytest.mark.parametrize("known", [True, False])
def test_clean_nights_with_unequal_noise_are_clean(known):
    alarms = [bool(Night(seed=seed, unequal=3.0, known=known).find()) for seed in range(200)]
    assert np.mean(alarms) <= 0.04


@pytest.mark.slow
@missing
def test_many_small_clean_groups_are_clean(missing):
    alarms = []
    for seed in range(40):
        parts = [Night(10, 4, seed=100 * seed + k, missing=missing).part for k in range(16)]
        alarms.append(any(faults.rejection.any() for faults in find_faults(parts, robust="tukey")))
    assert np.mean(alarms) <= 0.05


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "width"), [((12, 12), 4), ((30, 30), 8), ((62, 40), 7)])
def test_clean_chains_of_exposures_are_clean(shape, width):
    units, exposures = shape
    i, j = np.indices(shape)
    alarms = []
    for seed in range(100):
        night = Night(*shape, seed=seed)
        night.weight[(j * units // exposures - i) % units >= width] = 0.0
        alarms.append(bool(night.find()))
    assert np.mean(alarms) <= 0.06
