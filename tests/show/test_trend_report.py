"""The page of a trend, and the trend on the page of a solution: its verdict, tables, pictures, and nothing but text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.show.looks import MMAG_PER_PERCENT
from flatnorm_xr.show.report import pictures, trend_section

HOSTILE = "<script>hacked=1</script>\"'`&amp;</title><img src=x onerror=hacked=1>\u202e\x00é🔭"

Maker = Callable[..., xr.Dataset]

RENEW = SimpleNamespace(verdict="renew", sentence="Renew: 2/C02 is off by -5.4 ± 0.1 mmag.")
KEEP = SimpleNamespace(verdict="keep", sentence="Keep: nothing is off by 2 mmag.")


@pytest.fixture(autouse=True)
def few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no picture where a test is not about them: drawing takes most of the time of a page."""
    if "all_pictures" not in request.keywords:
        monkeypatch.setattr(trend_section, "_pictures", lambda followed: [])
        monkeypatch.setattr(pictures, "_WANTED", {})


def written(ds: xr.Dataset, folder: Path, **keywords: Any) -> str:
    return fx.report(ds, folder / "trend.html", overwrite=True, **keywords).read_text(encoding="utf-8")


def rows(text: str, section: str) -> list[list[str]]:
    """Texts of the cells of the table of a section, its head first."""
    found = re.search(rf'<section id="{section}".*?</section>', text, re.DOTALL)
    assert found is not None
    lines = re.findall(r"<tr[^>]*>(.*?)(?=<tr|</table>)", found[0], re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)(?=<t[hd]|</t[hdrb]|\n|$)", line, re.DOTALL) for line in lines]
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)).strip() for cell in line] for line in cells]


def column(text: str, section: str, name: str) -> list[str]:
    head, *rest = rows(text, section)
    k = head.index(name)
    return [row[k] for row in rest]


def verdict(text: str) -> tuple[str, str, str]:
    found = re.search(r'<section id="verdict" class="(\w+)".*?<h2[^>]*>(.*?)</h2>\s*<p>(.*?)</p>', text, re.DOTALL)
    assert found is not None
    return found[1], found[2], html.unescape(found[3])


def numbers_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_verdict_says_whether_anything_moved(trend: xr.Dataset, make_trend: Maker, tmp_path: Path) -> None:
    status, word, sentence = verdict(written(trend, tmp_path))
    assert (status, word) == ("look", "5 amplifiers moved")
    assert sentence.startswith(
        "In 120 runs from 2016-01-15 to 2026-01-14 of 24 amplifiers, 2 changed suddenly and 3 drift significantly."
    )
    status, word, sentence = verdict(written(make_trend(), tmp_path))
    assert (status, word) == ("good", "Steady")
    assert "no response of 24 amplifiers changed or drifts significantly" in sentence
    status, word, sentence = verdict(written(make_trend(n_runs=1), tmp_path))
    assert (status, word) == ("look", "Too few runs to tell")
    few = make_trend(n_runs=3)
    few = few.assign({name: few[name] * np.nan for name in ("drift", "drift_stderr", "drift_p_holm", "scatter")})
    status, word, sentence = verdict(written(few, tmp_path))
    assert (status, word) == ("look", "Too few runs to tell")
    assert "of 24 amplifiers are too few to tell whether a response changed or drifts." in sentence
    assert "are too few to tell" in " ".join(repr(few.flatnorm).split())


def test_units_that_die_or_come_are_named(make_trend: Maker, tmp_path: Path) -> None:
    ds = make_trend(n_runs=12, years=1.0)
    ds.G[8:, 3, 1] = np.nan  # dies
    ds.G[:5, 4] = np.nan  # comes, all of the detector
    ds.G[5, 0, 0] = np.nan  # a gap is neither
    ds.G[:, 5, 3] = np.nan  # never there
    days = [str(time)[:10] for time in ds.time.values]
    told = f"4/C01 last measured {days[7]}; detector 5 from {days[5]}"
    text = written(ds, tmp_path)
    status, word, sentence = verdict(text)
    assert (status, word) == ("look", "1 amplifier no longer measured")
    assert sentence.endswith(f" Not in all runs: {told}.")
    assert f"{told}." in text.partition('id="first"')[2].partition("</ol>")[0]
    assert f" not in all {told} " in " ".join(repr(ds.flatnorm).split())
    ds.G[7:, 1:4] = np.nan
    ds.G[6:, 0, :3] = np.nan
    *_, last = verdict(written(ds, tmp_path))[2].partition("Not in all runs: ")
    assert last.count(";") == 5
    assert last.endswith("; 2 more that came or went.")
    assert "Not in all runs" not in verdict(written(make_trend(), tmp_path))[2]


def test_recommendation_is_the_verdict_where_there_is_one(trend: xr.Dataset, tmp_path: Path) -> None:
    status, word, sentence = verdict(written(trend, tmp_path, recommendation=RENEW))
    assert (status, word) == ("look", "Renew the flat")
    assert sentence.startswith(RENEW.sentence)
    assert verdict(written(trend, tmp_path, recommendation=KEEP))[:2] == ("good", "Keep the flat")


def test_table_of_changes_has_each_with_its_size_error_and_dates(trend: xr.Dataset, tmp_path: Path) -> None:
    text = written(trend, tmp_path)
    assert column(text, "changes", "detector") == ["2", "5", "5"]
    assert column(text, "changes", "amplifier") == ["C02", "C00", "C00"]
    assert column(text, "changes", "size [%]") == ["-0.5000", "0.3000", "0.2000"]
    assert column(text, "changes", "size [mmag]") == ["-5.429", "3.257", "2.171"]
    assert column(text, "changes", "error [%]") == ["0.004"] * 3
    days = [str(time)[:10] for time in trend.change_time.values]
    assert [cell[:10] for cell in column(text, "changes", "first run after")] == days


def test_table_of_units_has_every_unit_once_with_its_drift(trend: xr.Dataset, tmp_path: Path) -> None:
    text = written(trend, tmp_path)
    names = list(zip(column(text, "drifts", "detector"), column(text, "drifts", "amplifier"), strict=True))
    assert names == [(d, f"C0{a}") for d in "123456" for a in range(4)]
    told = [float(cell) for cell in column(text, "drifts", "drift [% a year]")]
    np.testing.assert_allclose(told, 100 * trend.drift.values.ravel(), atol=1e-5)
    mmag = [float(cell) for cell in column(text, "drifts", "drift [mmag a year]")]
    np.testing.assert_allclose(mmag, 100 * MMAG_PER_PERCENT * trend.drift.values.ravel(), atol=1e-3)
    assert column(text, "drifts", "changes")[16:18] == ["2", "0"]
    assert len(column(text, "runs", "run")) == 120
    temperatures = [float(cell) for cell in column(text, "runs", "temperature [degC]")]
    np.testing.assert_allclose(temperatures, trend.temperature, rtol=1e-4)


def test_responses_to_a_covariate_have_columns_a_colour_and_a_sentence(make_trend: Maker, tmp_path: Path) -> None:
    text = written(make_trend(against={(2, 3): 2e-4}), tmp_path)
    assert "none changed suddenly, none drift and 1 follows temperature significantly" in verdict(text)[2]
    assert "3/C03 follows temperature" in text
    assert column(text, "drifts", "temperature [% per degC]")[11] == "0.02000"
    colours = [variable["name"] for variable in numbers_of(text)["variables"]]
    assert "response to temperature [% per degC]" in colours
    assert colours[0] == "drift [% a year]"
    bare = make_trend(against={(2, 3): 2e-4})
    bare.temperature.attrs["units"] = "1"
    text = written(bare, tmp_path)
    assert column(text, "drifts", "temperature [% per unit]")[11] == "0.02000"
    assert "% per unit of temperature" in text


@pytest.mark.all_pictures
def test_pictures_are_of_all_units_and_of_those_that_stand_out(trend: xr.Dataset, tmp_path: Path) -> None:
    text = written(trend, tmp_path)
    alts = [html.unescape(alt) for alt in re.findall(r'alt="([^"]*)"', text)]
    assert len(alts) == 5
    assert alts[0] == "Responses of 24 amplifiers over their means against time; 5 of them stand out."
    assert alts[3].startswith("Response of 2/C02 against time: -0.5000 ± 0.0040 % on 2020-03-28, drift ")
    assert text.count("data-u=") == 24


def test_three_things_are_named_whatever_the_trend(trend: xr.Dataset, make_trend: Maker, tmp_path: Path) -> None:
    for ds in (trend, make_trend(), make_trend(n_runs=1), make_trend(n_detectors=1, n_amplifiers=1, n_runs=2)):
        text = written(ds, tmp_path)
        first = re.findall(r'<li><a href="#(\w+)">(.*?)</a>', text.partition('id="first"')[2].partition("</ol>")[0])
        assert len({headline for _, headline in first}) == 3
        assert all(f'id="{anchor}"' in text for anchor, _ in first)


def test_detectors_without_amplifiers_have_a_page(trend: xr.Dataset, tmp_path: Path) -> None:
    whole = trend.isel(amplifier=0, drop=True).isel(change=[]).drop_vars("change_amplifier")
    text = written(whole, tmp_path)
    assert "amplifier" not in rows(text, "drifts")[0]
    assert 'id="changes"' not in text
    assert column(text, "drifts", "detector") == list("123456")
    text = written(whole.assign_attrs(title="detector_scale over the runs of an archive"), tmp_path)
    assert "<title>detector_scale over the years: simulated, r" in text
    assert "How ln detector_scale of each moves in a year" in text


def test_trend_stands_below_a_solution(trend: xr.Dataset, tmp_path: Path) -> None:
    solution = fx.solve(fx.simulate(n_detectors=6, n_amplifiers=4, seed=1), weights="variance")
    text = written(solution, tmp_path, trend=trend, recommendation=RENEW)
    section = text.partition('<section id="trend"')[2].partition("</section>")[0]
    assert RENEW.sentence in section
    assert "2 changed suddenly and 3 drift significantly" in section
    assert len(rows(text, "drifts")) == len(rows(text, "units")) == 25
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<a href="#([^"]*)"', text)) <= set(ids)
    assert 'id="trend"' not in written(solution, tmp_path)


def test_every_link_of_a_page_leads_somewhere(trend: xr.Dataset, tmp_path: Path) -> None:
    text = written(trend, tmp_path)
    ids = re.findall(r' id="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'<a href="#([^"]*)"', text)) <= set(ids)


@pytest.mark.all_pictures
def test_a_large_camera_over_ten_years_stays_under_five_megabytes(make_trend: Maker, tmp_path: Path) -> None:
    many = {(k, k % 16): 1e-3 for k in range(150)}
    jumps = [((k % 189, (k // 189) % 16), 5 * k + 5, 2e-3) for k in range(700)]
    ds = make_trend(n_detectors=189, n_amplifiers=16, n_runs=3650, drifts=many, jumps=jumps)
    text = written(ds, tmp_path)
    assert len(text.encode()) < 5_000_000
    assert len(rows(text, "drifts")) == 1 + 3024
    assert len(rows(text, "runs")) == 1 + 3650
    assert "100 more are not listed here" in text
    assert text.count("data-u=") == 3024


@pytest.mark.all_pictures
def test_nothing_from_a_file_is_more_than_text(trend: xr.Dataset, tmp_path: Path) -> None:
    ds = trend.assign_coords(
        detector=[f"{k}{HOSTILE}" for k in range(6)],
        amplifier=[f"{HOSTILE}{k}" for k in range(4)],
        run=[f"{k}{HOSTILE}" for k in range(120)],
        change_detector=("change", [f"{k}{HOSTILE}" for k in (1, 4, 4)]),
        change_amplifier=("change", [f"{HOSTILE}{k}" for k in (2, 0, 0)]),
        change_run=("change", [HOSTILE] * 3),
    )
    ds.temperature.attrs["units"] = HOSTILE
    ds = ds.assign_attrs(camera=HOSTILE, gauge=HOSTILE * 300, comment=HOSTILE, physical_filter=HOSTILE)
    text = written(ds, tmp_path, recommendation=SimpleNamespace(verdict=HOSTILE, sentence=HOSTILE))
    assert text.count("<script") == 2
    assert text.count("<img") == written(trend, tmp_path).count("<img")
    attributes: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: attributes.extend(name for name, _ in attrs)  # type: ignore[method-assign]
    parser.feed(text)
    assert "alt" in attributes
    assert "onerror" not in attributes
    assert "\x00" not in text
    assert "\u202e" not in text
    assert "default-src &#39;none&#39;" in text
    assert len(rows(text, "changes")) == 4


def test_trend_is_not_changed_and_its_dims_may_be_in_any_order(trend: xr.Dataset, tmp_path: Path) -> None:
    before = trend.copy(deep=True)
    text = written(trend, tmp_path)
    assert trend.identical(before)
    turned = written(trend.transpose("amplifier", "run", "detector", ...), tmp_path)
    assert all(rows(turned, section) == rows(text, section) for section in ("changes", "drifts", "runs"))


def test_refusals_say_what_to_do(trend: xr.Dataset, tmp_path: Path) -> None:
    solution = fx.solve(fx.simulate(seed=1))
    target = tmp_path / "x.html"
    with pytest.raises(fx.FlatnormError, match=r"^report: a trend has a page of its own; pass it alone"):
        fx.report(trend, target, trend=trend)
    with pytest.raises(fx.FlatnormError, match=r"^report: trend is not what archive\.trend returns"):
        fx.report(solution, target, trend=solution)
    with pytest.raises(fx.FlatnormError, match=r"^report: a recommendation stands with the trend"):
        fx.report(solution, target, recommendation=KEEP)
    with pytest.raises(fx.FlatnormError, match=r"^report: recommendation is not what archive\.recommend returns"):
        fx.report(trend, target, recommendation="keep")
    with pytest.raises(fx.FlatnormError, match=r"^report: the trend is of camera simulated, the solution of decam"):
        fx.report(solution.assign_attrs(camera="decam"), target, trend=trend)
    with pytest.raises(fx.FlatnormError, match=r"^report: the trend has no dim detector; select with a list"):
        fx.report(solution, target, trend=trend.isel(detector=0))
    assert not target.exists()


def test_command_writes_the_same_pages(trend: xr.Dataset, tmp_path: Path) -> None:
    from flatnorm_xr.cli.main import main

    solution = fx.solve(fx.simulate(n_detectors=6, n_amplifiers=4, seed=1), weights="variance")
    fx.save(trend, tmp_path / "trend.nc")
    fx.save(solution, tmp_path / "run.nc")
    for words in (["trend.nc"], ["run.nc", "--trend", str(tmp_path / "trend.nc")]):
        with pytest.raises(SystemExit) as left:
            main(["report", str(tmp_path / words[0]), "-o", str(tmp_path / "a.html"), "--overwrite", *words[1:]])
        assert left.value.code == 0
        text = (tmp_path / "a.html").read_text(encoding="utf-8")
        expected = written(trend, tmp_path) if len(words) == 1 else written(solution, tmp_path, trend=trend)
        assert rows(text, "drifts") == rows(expected, "drifts")
        assert verdict(text) == verdict(expected)
