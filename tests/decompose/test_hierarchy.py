"""G of amplifiers split into detectors and ratios: exact identities, errors, gains and borders beside them."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import xarray as xr
from numpy.testing import assert_allclose

import flatnorm_xr as fx
from flatnorm_xr.decompose.hierarchy import hierarchy, split_response


def solved(ds, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        return fx.solve(ds, **{"uncertainty": None, **options})


def levels(**options):
    return fx.simulate(**{"n_detectors": 5, "n_amplifiers": 4, "n_exposures": 6, "seed": 2, **options})


def ln(array):
    return np.log(array.where(array > 0))


def test_product_is_G_and_ratios_have_geometric_mean_one():
    solution = solved(levels(missing=0.2))
    found = hierarchy(solution)
    assert_allclose(found.detector_scale * found.amplifier_ratio, solution.G, rtol=1e-13)
    assert_allclose(ln(found.amplifier_ratio).mean("amplifier"), 0, atol=1e-13)
    assert found.amplifier_ratio.dims == ("detector", "amplifier")
    assert found.detector_scale.attrs["units"] == "1"


def test_gauge_moves_scales_only():
    ds = levels(missing=0.2)
    mean, one = hierarchy(solved(ds)), hierarchy(solved(ds, gauge=3))
    assert_allclose(one.amplifier_ratio, mean.amplifier_ratio, rtol=1e-12)
    assert_allclose(one.amplifier_ratio_stderr, mean.amplifier_ratio_stderr, rtol=1e-9)
    moved = one.detector_scale / mean.detector_scale
    assert_allclose(moved, moved[0], rtol=1e-12)
    assert abs(float(moved[0]) - 1) > 0.01


def test_dead_amplifiers_and_detectors_are_missing():
    ds = levels()
    dead = (ds.detector == 2) & (ds.amplifier == "C01") | (ds.detector == 4)
    found = hierarchy(solved(ds.assign(background=ds.background.where(~dead))))
    assert found.amplifier_ratio.isnull().sel(detector=2).values.tolist() == [False, True, False, False]
    assert found.amplifier_ratio.sel(detector=4).isnull().all()
    assert found.detector_scale.isnull().values.tolist() == [False, False, False, True, False]
    assert found.detector_scale_stderr.isnull().values.tolist() == [False, False, False, True, False]
    assert_allclose(ln(found.amplifier_ratio).sel(detector=2).mean("amplifier"), 0, atol=1e-13)


def test_rejected_amplifier_has_a_ratio_and_no_part_in_the_mean():
    solution = solved(levels())
    component = solution.component.where((solution.detector != 2) | (solution.amplifier != "C01"), -1).astype("i4")
    found = hierarchy(solution.assign(component=component))
    others = ln(found.amplifier_ratio).sel(detector=2).drop_sel(amplifier="C01")
    assert_allclose(others.mean("amplifier"), 0, atol=1e-13)
    assert found.amplifier_ratio.notnull().all()
    assert found.amplifier_ratio_stderr.sel(detector=2).isnull().sum() == 1


def test_amplifiers_that_share_no_exposure_are_not_compared():
    ds = levels(n_detectors=2, noise=0, photon_noise=False)
    late = (ds.amplifier == "C03") == (ds.exposure > 103)
    solution = solved(ds.assign(background=ds.background.where(late)), on_disconnected="separate")
    found = hierarchy(solution)
    assert found.amplifier_ratio.sel(amplifier="C03").isnull().all()
    truth = ln(ds.true_G).drop_sel(amplifier="C03")
    assert_allclose(ln(found.amplifier_ratio).drop_sel(amplifier="C03"), truth - truth.mean("amplifier"), atol=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.25])
def test_errors_are_those_of_the_scatter(missing):
    pulls = {"amplifier_ratio": [], "detector_scale": []}
    for seed in range(14):
        ds = levels(n_exposures=8, missing=missing, seed=seed)
        found = hierarchy(solved(ds, weights="uniform", gauge="geometric"))
        truth = ln(ds.true_G) - ln(ds.true_G).mean()
        of_detector = truth.mean("amplifier")
        for name, expected in (("amplifier_ratio", truth - of_detector), ("detector_scale", of_detector)):
            error = ln(found[name]) - expected
            pulls[name].append((error / (found[f"{name}_stderr"] / found[name])).values.ravel())
    for name, values in pulls.items():
        assert abs(np.std(values) - 1) < 0.12, name


def test_errors_are_the_linear_map_of_the_covariance():
    solution = solved(levels(missing=0.25))
    found = hierarchy(solution)
    matrix = fx.covariance(solution).sel(detector=3, detector_2=3).values
    contrast = np.eye(4) - 0.25
    expected = np.sqrt(np.diag(contrast @ matrix @ contrast.T))
    assert_allclose(found.amplifier_ratio_stderr.sel(detector=3) / found.amplifier_ratio.sel(detector=3), expected)
    scale = found.sel(detector=3)
    assert_allclose(scale.detector_scale_stderr / scale.detector_scale, np.sqrt(matrix.mean()))


def test_groups_are_split_each_by_itself():
    ds = levels(n_exposures=8)
    ds = ds.assign_coords(physical_filter=("exposure", list("gggrrrrr")))
    ds["background"] = ds.background * xr.where((ds.physical_filter == "g") & (ds.amplifier == "C02"), 1.1, 1.0)
    found = hierarchy(solved(ds, by="physical_filter"))
    assert found.amplifier_ratio.dims == ("detector", "amplifier", "group")
    assert found.detector_scale_stderr.dims == ("detector", "group")
    red = ds.isel(exposure=slice(3, None))
    alone = hierarchy(solved(red))
    for name in ("amplifier_ratio", "amplifier_ratio_stderr", "gain_times_ratio"):
        assert_allclose(found[name].sel(group="r"), alone[name], rtol=1e-9)
    change = ln(found.amplifier_ratio).sel(group="g") - ln(found.amplifier_ratio).sel(group="r")
    assert_allclose(change.sel(amplifier="C02"), np.log(1.1) * 0.75, atol=5e-3)
    part = hierarchy(solved(ds, by="physical_filter").isel(exposure=slice(0, 3)))
    assert part.amplifier_ratio_stderr.sel(group="r").isnull().all()
    assert_allclose(part.amplifier_ratio_stderr.sel(group="g"), found.amplifier_ratio_stderr.sel(group="g"))


def with_gains(seed=0, **options):
    """Levels whose amplifiers differ by their gains alone."""
    ds = levels(noise=0, photon_noise=False, **options)
    gain = 1.5 * np.exp(np.random.default_rng(seed).normal(0, 0.05, ds.gain.shape))
    light = xr.DataArray([1.0, 0.9, 1.1, 1.2, 0.8], dims="detector")
    background = (light * ds.true_E / xr.DataArray(gain, dims=ds.gain.dims)).transpose(*ds.background.dims)
    return ds.assign(background=ds.background.copy(data=background)).assign_coords(gain=ds.gain.copy(data=gain))


def test_ratio_times_gain_is_constant_in_smooth_light():
    found = hierarchy(solved(with_gains()))
    assert_allclose(found.gain_times_ratio, 1, rtol=1e-12)
    assert_allclose(found.gain_ratio * found.amplifier_ratio, 1, rtol=1e-12)
    assert float(found.gain_ratio.std()) > 0.01


def test_unknown_gain_is_left_out_of_both_means():
    ds = with_gains()
    ds["gain"] = ds.gain.where((ds.detector != 1) | (ds.amplifier != "C00"))
    found = hierarchy(solved(ds))
    assert found.gain_ratio.isnull().sum() == found.gain_times_ratio.isnull().sum() == 1
    assert_allclose(found.gain_times_ratio.fillna(1), 1, rtol=1e-12)


def test_levels_in_electrons_are_not_multiplied_again():
    ds = with_gains()
    ds["background"] = (ds.background * ds.gain).assign_attrs(units="electron")
    found = hierarchy(solved(ds))
    assert_allclose(found.gain_times_ratio, 1, rtol=1e-12)


def test_without_gain_there_is_none():
    assert "gain_ratio" not in hierarchy(solved(levels().drop_vars("gain")))


def test_edge_ratios_are_averaged_over_the_exposures_used():
    ds = levels(missing=0.0)
    rng = np.random.default_rng(1)
    truth = xr.DataArray(rng.normal(0, 0.05, (5, 4)), dims=("detector", "amplifier"))
    truth = truth - truth.mean("amplifier")
    edge = truth + xr.DataArray(rng.normal(0, 1e-4, ds.background.shape), dims=ds.background.dims)
    # an exposure without amplifier C01 of the first detector has its mean over the other three
    edge[0, 1, 2] = np.nan
    edge = np.exp(edge - edge.mean("amplifier")).transpose(*ds.background.dims)
    edge[3, :, 4] = 17.0
    weight = xr.ones_like(ds.background)
    weight[3, :, 4] = 0.0
    ds = ds.assign(edge_ratio=ds.background.copy(data=edge))
    found = hierarchy(solved(ds, weights=weight))
    error = ln(found.edge_ratio) - truth
    assert float(abs(error).max()) < 2e-4
    relative = found.edge_ratio_stderr / found.edge_ratio
    assert_allclose(relative, 1e-4 * np.sqrt(0.75 / 6), rtol=0.8)
    assert abs(float((error / relative).std()) - 1) < 0.35
    assert_allclose(ln(found.edge_ratio).mean("amplifier"), 0, atol=1e-13)


def test_amplifier_without_a_border_has_no_edge_ratio():
    ds = levels()
    edge = xr.ones_like(ds.background)
    edge[1, 2] = np.nan
    found = hierarchy(solved(ds.assign(edge_ratio=edge)))
    assert found.edge_ratio.isnull().sum() == 1
    assert found.edge_ratio_stderr.isnull().sum() == 1


def test_borders_tell_gains_from_a_gradient_of_the_light(tmp_path):
    fx.simulate_night(tmp_path, camera="decam", n_exposures=6, faults=False, seed=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", fx.FlatnormWarning)
        ds = fx.measure(f"{tmp_path}/*", edge_strips=8, progress=False)
    found = hierarchy(solved(ds))
    gain = -ln(found.gain_ratio)
    of_edges, of_levels = ln(found.edge_ratio) - gain, ln(found.amplifier_ratio) - gain
    assert float(of_edges.std()) < 0.5 * float(of_levels.std())


def test_solution_without_amplifiers_is_refused_in_one_line():
    with pytest.raises(fx.FlatnormError, match=r"hierarchy: the solution has no amplifiers; [^\n]*$"):
        hierarchy(solved(fx.simulate()))
    with pytest.raises(fx.FlatnormError, match="was not solved"):
        hierarchy(levels())
    with pytest.raises(fx.FlatnormError, match="no dim amplifier"):
        split_response(xr.DataArray([1.0], dims="detector"))
