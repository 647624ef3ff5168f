"""Pictures of many runs: every unit once, sizes and dates as planted, bands that hold the rest; and of two runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.archive.trend.follow import follow
from flatnorm_xr.show import plots
from flatnorm_xr.show.looks import MMAG_PER_PERCENT
from flatnorm_xr.simulate.years import simulate_history

pytestmark = pytest.mark.usefixtures("figures")

Maker = Callable[..., xr.Dataset]


def title() -> str:
    """Words above the legend."""
    import matplotlib.pyplot as plt

    legend = plt.gca().get_legend()
    assert legend is not None
    return legend.get_title().get_text().replace("\n", " ")


def words() -> list[str]:
    """Entries of the legend."""
    import matplotlib.pyplot as plt

    legend = plt.gca().get_legend()
    assert legend is not None
    return [text.get_text() for text in legend.get_texts()]


def values(container: Any) -> np.ndarray[Any, Any]:
    return np.asarray(container.lines[0].get_ydata(), dtype=float)


def test_units_that_changed_or_drift_are_named_with_what_they_did_and_all_others_are_a_band(trend: xr.Dataset) -> None:
    drawn = plots.trend(trend)
    assert list(drawn.points) == ["1/C01", "4/C03", "2/C02", "6/C00", "5/C00"]
    assert set(drawn.changes) == {"2/C02", "5/C00"}
    assert drawn.lines is drawn.beyond is None
    assert title().startswith("simulated, r, 120 runs, 24 amplifiers, of which 5 stand out; common gauge: mean ln G")
    assert "5/C00: +0.3 % on 2017-09-19, +0.2 % on 2023-08-08" in words()
    assert words()[-2:] == ["19 other amplifiers, all", "16 to 84 % of them"]
    times = [text for text in words() if text.startswith("1/C01")]
    assert times == ["1/C01: drift +0.1 % a year"]


def test_points_are_logarithms_over_the_mean_of_each_unit(trend: xr.Dataset) -> None:
    drawn = plots.trend(trend)
    ln_G = np.log(trend.G.sel(detector=4, amplifier="C03"))
    np.testing.assert_allclose(values(drawn.points["4/C03"]), 100 * (ln_G - ln_G.mean()), atol=1e-12)
    model = np.log(trend.model.sel(detector=4, amplifier="C03")) - ln_G.mean()
    np.testing.assert_allclose(drawn.models["4/C03"].get_ydata(), 100 * model, atol=1e-12)


def test_axes_are_in_per_cent_and_mmag(trend: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    plots.trend(trend)
    axes = plt.gca()
    assert axes.get_ylabel() == "ln(G / its mean over the runs) [%]"
    (mmag,) = axes.child_axes
    axes.figure.draw_without_rendering()
    assert mmag.get_ylabel() == "2.5 log10(G / its mean) [mmag]"
    assert mmag.get_ylim()[1] / axes.get_ylim()[1] == pytest.approx(MMAG_PER_PERCENT)


def test_bands_hold_the_units_without_a_name(trend: xr.Dataset) -> None:
    wide, narrow = plots.trend(trend).bands
    named = [(1, "C01"), (4, "C03"), (2, "C02"), (6, "C00"), (5, "C00")]
    units = trend.G.stack(unit=("detector", "amplifier")).drop_sel(unit=named)
    percent = 100 * (np.log(units) - np.log(units).mean("run")).values
    for band, low, high in ((wide, 0, 100), (narrow, 16, 84)):
        edges = band.get_paths()[0].vertices[:, 1]
        assert edges.min() == pytest.approx(np.percentile(percent, low, axis=1).min())
        assert edges.max() == pytest.approx(np.percentile(percent, high, axis=1).max())


def test_one_unit_has_errors_its_drift_and_numbered_changes(trend: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    drawn = plots.trend(trend, detector=5, amplifier="C00")
    (points,) = drawn.points.values()
    bars = points.lines[2][0].get_segments()
    error = 100 * (trend.G_stderr / trend.G).sel(detector=5, amplifier="C00").values
    np.testing.assert_allclose([np.ptp(bar[:, 1]) / 2 for bar in bars], error, rtol=1e-6)
    assert list(drawn.changes) == [
        "1: +0.3000 ± 0.0040 % (+3.3 mmag), 2017-08-20 to 2017-09-19",
        "2: +0.2000 ± 0.0040 % (+2.2 mmag), 2023-07-08 to 2023-08-08",
    ]
    assert [text.get_text() for text in plt.gca().texts] == ["1", "2"]
    assert words()[:2] == ["5/C00, 120 runs", drawn.models["5/C00"].get_label()]
    assert words()[1].endswith("a year (+0.005 mmag), not significant")
    assert np.isnan(np.asarray(drawn.models["5/C00"].get_ydata(), dtype=float)).sum() == 2  # broken at the changes
    assert not drawn.bands


def test_a_drift_that_is_significant_says_so_by_its_size(trend: xr.Dataset) -> None:
    plots.trend(trend, detector=[1], amplifier="C01")
    drift, error = float(trend.drift[0, 1]), float(trend.drift_stderr[0, 1])
    assert words()[1] == f"drift {100 * drift:+.5f} ± {100 * error:.5f} % a year (+1.1 mmag)"


def test_a_unit_that_follows_the_temperature_stands_out(make_trend: Maker) -> None:
    ds = make_trend(against={(2, 3): 2e-4})
    drawn = plots.trend(ds)
    assert list(drawn.points) == ["3/C03"]
    assert "3/C03: +0.02 % per degC of temperature" in words()
    plots.trend(ds, detector=3, amplifier="C03")
    assert re.search(r"not significant\n\+0\.02000 ± 0\.0003\d % per degC of temperature$", words()[1])
    plots.trend(ds, detector=1, amplifier="C00")
    assert words()[1].endswith("per degC of temperature, not significant")


def test_a_response_to_what_has_no_unit_is_per_unit_of_it(make_trend: Maker) -> None:
    ds = make_trend(against={(2, 3): 2e-4})
    del ds.temperature.attrs["units"]
    plots.trend(ds)
    assert "3/C03: +0.02 % per unit of temperature" in words()


def test_few_units_have_a_colour_each_whatever_they_did(trend: xr.Dataset) -> None:
    drawn = plots.trend(trend, detector=5)
    assert list(drawn.points) == ["5/C00", "5/C01", "5/C02", "5/C03"]
    colours = [container.lines[0].get_color() for container in drawn.points.values()]
    assert len(set(colours)) == 4
    assert not drawn.bands
    assert len(plots.trend(trend, detector=[1, 2], named=8).points) == 8


def test_more_that_changed_than_can_be_named_are_lines_and_many_more_a_band(make_trend: Maker) -> None:
    some = make_trend(n_detectors=10, drifts={(k, 0): 1e-3 + 1e-4 * k for k in range(10)})
    drawn = plots.trend(some, named=3)
    assert list(drawn.points) == ["10/C00", "9/C00", "8/C00"]
    assert drawn.lines is not None
    assert len(drawn.lines.get_paths()) == 7
    assert "7 more amplifiers that stand out" in words()
    assert "30 other amplifiers, all" in words()
    many = make_trend(n_detectors=20, drifts={(k, a): 1e-3 for k in range(20) for a in range(4)})
    drawn = plots.trend(many)
    assert drawn.lines is None
    assert "73 other amplifiers, all" in words()


def test_many_runs_become_medians_that_span_no_change(make_trend: Maker) -> None:
    ds = make_trend(n_runs=700, jumps=[((1, 2), 333, -5e-3)])
    drawn = plots.trend(ds)
    percent = values(drawn.points["2/C02"])
    assert 40 < percent.size < 80
    level = 0.5 * 333 / 700
    assert np.all(np.minimum(abs(percent - (0.5 - level)), abs(percent + level)) < 0.03)  # 4 of their errors
    one = plots.trend(ds, detector=2, amplifier="C02")
    assert values(one.points["2/C02"]).size == 700
    assert not one.points["2/C02"].has_yerr
    assert "2/C02, 700 runs, error of each 0.02 %" in words()


def test_runs_that_lack_a_unit_have_no_point_and_units_never_measured_are_counted(trend: xr.Dataset) -> None:
    ds = trend.copy(deep=True)
    ds.G[30:60, 0, 1] = np.nan
    ds.G[:, 5, 3] = np.nan
    drawn = plots.trend(ds)
    assert values(drawn.points["1/C01"]).size == 90
    assert "23 amplifiers, of which 5 stand out, 1 never measured" in title()
    with pytest.raises(fx.FlatnormError, match=r"^plot\.trend: no run has measured 6/C03; choose other units$"):
        plots.trend(ds, detector=6, amplifier="C03")


def test_a_wild_run_is_marked_at_the_end_of_the_axis(trend: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    ds = trend.copy(deep=True)
    ds.G[7, 0, 1] *= 3
    drawn = plots.trend(ds)
    assert drawn.beyond is not None
    assert drawn.beyond.get_label() == "beyond the axis (1)"
    assert plt.gca().get_ylim()[1] < 5


@pytest.mark.parametrize("n_runs", [1, 2])
def test_the_first_runs_of_an_archive_can_be_drawn(make_trend: Maker, n_runs: int) -> None:
    few = make_trend(n_runs=n_runs)
    nothing = few.drift * np.nan
    few = few.assign(drift=nothing, drift_stderr=nothing, drift_p_holm=nothing, model=few.model * np.nan)
    drawn = plots.trend(few)
    assert list(drawn.points) == ["24 amplifiers"] * (n_runs == 1)
    assert ("1 run of 2016-01-15 and nothing to hold it against" in title()) == (n_runs == 1)
    if n_runs == 1:
        np.testing.assert_allclose(values(drawn.points["24 amplifiers"]), 100 * np.log(few.G[0].values.ravel()))
    one = plots.trend(few, detector=1, amplifier="C00")
    assert values(one.points["1/C00"]).size == n_runs
    assert not one.models


def test_detectors_without_amplifiers_are_units(trend: xr.Dataset) -> None:
    names = [name for name in trend.variables if "amplifier" in trend[name].dims and name != "amplifier"]
    whole = trend.isel(amplifier=0).drop_vars(["amplifier", "change_amplifier"])
    assert set(names) <= set(whole.variables)
    drawn = plots.trend(whole.sel(change=trend.change_amplifier.values == "C00"))
    assert list(drawn.points) == ["1", "2", "3", "4", "5", "6"]  # no more than can be named
    assert "6 detectors, of which 2 stand out" in title()
    assert list(plots.trend(whole, detector=5).points) == ["5"]
    with pytest.raises(fx.FlatnormError, match=r"^plot\.trend: the trend has no dim amplifier; leave amplifier out$"):
        plots.trend(whole, amplifier="C00")


def test_amplifiers_that_do_not_exist_are_no_units(trend: xr.Dataset) -> None:
    exists = np.ones((6, 4), dtype=bool)
    exists[1, 1:] = False
    ds = trend.assign_coords(exists=(("detector", "amplifier"), exists))
    ds = ds.isel(change=np.flatnonzero(ds.change_detector != 2))
    plots.trend(ds)
    assert "21 amplifiers, of which 4 stand out" in title()
    with pytest.raises(
        fx.FlatnormError, match=r"^plot\.trend: there is no 2/C03; choose amplifiers that the detector has"
    ):
        plots.trend(ds, detector=2, amplifier="C03")


def test_pictures_of_a_solution_point_a_trend_and_a_comparison_to_their_own(
    trend: xr.Dataset, make_comparison: Maker
) -> None:
    with pytest.raises(
        fx.FlatnormError, match=r"^plot\.G: the dataset is a trend, over runs; draw it by plot\.trend\(\)"
    ):
        trend.flatnorm.plot.G()
    with pytest.raises(fx.FlatnormError, match=r"^plot\.residual: the dataset is a trend, .* plot\.trend\(\)$"):
        plots.residual(trend)
    with pytest.raises(fx.FlatnormError, match=r"^plot\.E: the dataset is a comparison .* plot\.comparison\(\)$"):
        plots.E(make_comparison())
    plots.G(trend.isel(run=0))


def test_a_part_of_a_trend_forgets_the_changes_of_the_rest(trend: xr.Dataset) -> None:
    drawn = plots.trend(trend.sel(detector=[1, 2]), named=1)
    assert not drawn.changes
    late = plots.trend(trend.isel(run=slice(60, None)), detector=[5], amplifier=["C00"])
    assert [text.partition(":")[0] for text in late.changes] == ["1"]
    assert next(iter(late.changes)).startswith("1: +0.2000")


def test_trend_is_not_changed_and_its_dims_may_be_in_any_order(trend: xr.Dataset) -> None:
    before = trend.copy(deep=True)
    one = plots.trend(trend)
    assert trend.identical(before)
    other = plots.trend(trend.transpose("amplifier", "run", "detector", ...))
    for name, points in one.points.items():
        np.testing.assert_array_equal(values(points), values(other.points[name]))


def test_labels_that_are_mathematics_or_hostile_are_text(trend: xr.Dataset) -> None:
    hostile = "$\\frac{1}{0}$\u202e<b>"
    ds = trend.assign_coords(detector=[f"{hostile}{k}" for k in range(6)])
    ds = ds.assign_coords(change_detector=("change", ds.detector.values[trend.change_detector.values - 1]))
    plots.trend(ds.assign_attrs(camera=hostile, gauge=hostile))
    import matplotlib.pyplot as plt

    plt.gcf().draw_without_rendering()
    assert any("\\$\\frac{1}{0}\\$" in text for text in words())
    assert not any("\u202e" in text for text in [title(), *words()])


def test_draws_where_it_is_told_and_refuses_what_is_no_trend(trend: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    plots.trend(trend, ax=ax)
    assert plt.get_fignums() == [figure.number]
    with pytest.raises(fx.FlatnormError, match=r"^plot\.trend: ax and figsize are both given"):
        plots.trend(trend, ax=ax, figsize=(6, 3))
    with pytest.raises(fx.FlatnormError, match=r"^plot\.trend: the dataset is not a trend; make one from an archive"):
        plots.trend(fx.simulate())
    with pytest.raises(fx.FlatnormError, match=r"^plot\.trend: detector has no 99; choose from 1, 2, 3, 4, 5, 6$"):
        plots.trend(trend, detector=[1, 99])
    with pytest.raises(fx.FlatnormError, match=r"the trend has no dim run; select with a list: trend"):
        plots.trend(trend.isel(run=0))


def test_focal_plane_shows_what_a_trend_says_of_units(trend: xr.Dataset) -> None:
    drawn = plots.focal_plane(trend, "drift")
    assert drawn.values is not None
    assert drawn.colorbar is not None
    np.testing.assert_allclose(drawn.values.get_array(), 100 * trend.drift.values.ravel())
    assert drawn.colorbar.ax.get_ylabel().startswith("drift of G [% a year]\ncommon gauge")
    with pytest.raises(fx.FlatnormError, match=r"^plot\.focal_plane: G has dims \(run, detector, amplifier\)"):
        plots.focal_plane(trend, "G")
    one_run = plots.focal_plane(trend.isel(run=3), "G")
    assert one_run.values is not None
    np.testing.assert_array_equal(one_run.values.get_array(), trend.G[3].values.ravel())


def test_the_gauge_is_told_of_units_that_were_ever_measured() -> None:
    history = simulate_history(n_detectors=9, runs=12, seed=1)
    history.G[:, 6:] = np.nan
    history.G[3:, 5] = np.nan
    assert "over 5 of 6 units, those" in follow(history).attrs["gauge"]
    assert follow(history, gauge=1).attrs["gauge"].endswith("(equal weights of 1 unit)")


def test_what_is_followed_in_place_of_G_is_named(trend: xr.Dataset) -> None:
    import matplotlib.pyplot as plt

    whole = trend.isel(amplifier=0).drop_vars(["amplifier", "change_amplifier"]).isel(change=[])
    scales = whole.assign_attrs(title="detector_scale over the runs of an archive")
    plots.trend(scales)
    axes = plt.gca()
    assert axes.get_ylabel() == "ln(detector_scale / its mean over the runs) [%]"
    assert axes.child_axes[0].get_ylabel() == "2.5 log10(detector_scale / its mean) [mmag]"
    assert title().startswith("simulated, r, detector_scale, 120 runs")
    plots.trend(scales.isel(run=[0]))
    assert plt.gca().get_ylabel() == "ln detector_scale [%]"


# two runs


def test_responses_and_levels_are_logarithms_in_the_order_of_units(make_comparison: Maker) -> None:
    ds = make_comparison(differences={(0, 1): 4e-3, (4, 2): -2e-3})
    drawn = plots.comparison(ds)
    np.testing.assert_allclose(values(drawn.responses), 100 * np.log(ds.G_ratio.values.ravel()))
    assert drawn.levels is not None
    np.testing.assert_allclose(values(drawn.levels), 100 * np.log(ds.level_ratio.values.ravel()))
    heights = [np.ptp(bar[:, 1]) / 2 for bar in drawn.responses.lines[2][0].get_segments()]
    np.testing.assert_allclose(heights, 100 * (ds.G_ratio_stderr / ds.G_ratio).values.ravel(), rtol=1e-6)
    assert title().startswith("run 3f3f3f3f3f3f over run a0a0a0a0a0a0, 2 of 24 differ, rms 1.0")


def test_units_that_differ_for_sure_are_named_the_largest_first(make_comparison: Maker) -> None:
    ds = make_comparison(differences={(0, 1): 4e-3, (4, 2): -2e-3, (2, 2): 1e-3, (3, 3): 1.2e-3})
    drawn = plots.comparison(ds, named=2)
    first, second, rest = drawn.significant
    percent = 100 * np.log(ds.G_ratio)
    size = float(percent[0, 1])
    assert first == f"1: 1/C01: {size:+.3g} ± 0.02 % ({size * MMAG_PER_PERCENT:+.2g} mmag)"
    assert second.startswith("2: 5/C02: -0.2")
    assert rest == "2 more that differ"
    x = [point for ring in drawn.significant.values() for point in ring.get_ydata()]
    np.testing.assert_allclose(sorted(x), sorted(percent.values[[0, 4, 2, 3], [1, 2, 2, 3]]))
    assert len(plots.comparison(ds, alpha=1e-12).significant) == 0


def test_title_has_filter_and_date_of_the_runs_and_says_when_filters_differ(make_comparison: Maker) -> None:
    ds = make_comparison().assign_attrs(filter_a="r", date_a="2025-03-14", filter_b="r", date_b="2026-01-02")
    plots.comparison(ds)
    assert title().startswith(
        "run 3f3f3f3f3f3f (r, 2025-03-14) over run a0a0a0a0a0a0 (r, 2026-01-02), none of 24 differ"
    )
    plots.comparison(ds.assign_attrs(filter_b="$g$"))
    assert title().startswith("different filters: run 3f3f3f3f3f3f (r, 2025-03-14) over run a0a0a0a0a0a0 (\\$g\\$, ")


def test_units_of_one_run_alone_are_crosses(make_comparison: Maker) -> None:
    ds = make_comparison()
    ds.G_ratio[2] = np.nan
    drawn = plots.comparison(ds)
    assert drawn.unmeasured is not None
    assert len(np.asarray(drawn.unmeasured.get_xdata())) == 4
    assert "none of 20 differ" in title()
    with pytest.raises(fx.FlatnormError, match=r"^plot\.comparison: no unit was measured in both runs"):
        plots.comparison(ds.assign(G_ratio=ds.G_ratio * np.nan))


def test_a_unit_far_off_that_is_not_certain_does_not_flatten_the_rest(make_comparison: Maker) -> None:
    import matplotlib.pyplot as plt

    ds = make_comparison()
    ds.G_ratio[1, 1], ds.G_ratio_stderr[1, 1] = 2.0, 1.0
    drawn = plots.comparison(ds)
    assert drawn.beyond is not None
    assert plt.gca().get_ylim()[1] < 1


def test_comparison_of_detectors_without_errors_or_levels(make_comparison: Maker) -> None:
    ds = make_comparison().isel(amplifier=0, drop=True)[["G_ratio"]]
    drawn = plots.comparison(ds)
    assert drawn.levels is None
    assert not drawn.responses.has_yerr
    assert not drawn.significant
    with pytest.raises(fx.FlatnormError, match=r"^plot\.comparison: the dataset is not a comparison"):
        plots.comparison(fx.simulate())


def test_focal_plane_shows_ratios_about_one(make_comparison: Maker) -> None:
    drawn = plots.focal_plane(make_comparison(), "G_ratio")
    assert drawn.values is not None
    low, high = drawn.values.get_clim()
    assert low + high == pytest.approx(2)


def test_accessor_says_what_a_trend_and_a_comparison_found(trend: xr.Dataset, make_comparison: Maker) -> None:
    text = repr(trend.flatnorm)
    assert text.startswith("trend over runs of simulated\n  runs     120\n  units    24 amplifiers of 6 detectors\n")
    assert "2 changed" in text
    assert text.endswith("trend.flatnorm.plot.trend()")
    text = repr(make_comparison(differences={(0, 1): 4e-3}).flatnorm)
    assert text.startswith("comparison of two runs\n  runs     3f3f3f3f3f3f over a0a0a0a0a0a0\n")
    assert "1 of 24 differ significantly" in text
    assert "not measured" not in repr(trend.isel(run=0).flatnorm)
