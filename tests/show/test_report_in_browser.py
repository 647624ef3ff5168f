"""The report as people see it: in a browser, with a mouse, with a keyboard, on a narrow screen, without scripts."""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.flags import SENTENCES, Flag
from flatnorm_xr.show.report import page as report_page

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip install playwright)")

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
HOSTILE = "</title></svg><script>hacked=1</script>\"'&lt;é🔭"
IMAGE = "<img src=x onerror=hacked=1>{{7*7}}"
SCREENSHOTS = os.environ.get("FLATNORM_SCREENSHOTS")
"""Folder to keep screenshots in, to be looked at."""

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed (apt-get install chromium)")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def solution() -> xr.Dataset:
    """Ragged, one cell 3 % too bright, one negative, a dead amplifier."""
    ds = fx.simulate(n_detectors=6, n_amplifiers=3, n_exposures=8, seed=4)
    exists = np.ones((6, 3), dtype=bool)
    exists[5, 2] = False
    level = ds.background.copy(deep=True).where(xr.DataArray(exists, dims=("detector", "amplifier")))
    level[1, 1, 4] *= 1.03
    level[2, 0, 2] = -1.0
    level[4, 2] = np.nan
    ds = ds.assign(background=level).assign_coords(exists=(("detector", "amplifier"), exists))
    with warnings.catch_warnings(action="ignore"):  # it says what was broken on purpose
        return fx.solve(ds, weights="variance", robust="tukey", uncertainty="analytic")


@pytest.fixture(scope="module")
def path(solution: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fx.report(solution, tmp_path_factory.mktemp("report") / "run.html")


@pytest.fixture
def look(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a page; at the end nothing was asked of the network and no script failed or was refused."""
    contexts, troubles = [], []

    def opened(path: Path, *, width: int = 1400, javascript: bool = True) -> Any:
        context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=javascript)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(message.text))
        page.on("pageerror", lambda error: troubles.append(str(error)))
        page.on("dialog", lambda dialog: troubles.append(dialog.message))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or troubles.append(request.url))
        page.goto(path.as_uri())
        return page

    yield opened
    for context in contexts:
        context.close()
    assert troubles == []


def cell_of(page: Any, row: int, column: int, *, rows: int, columns: int) -> tuple[float, float]:
    """Middle of a cell of the residuals, in pixels of the screen."""
    page.locator("#matrix").scroll_into_view_if_needed()
    box = page.locator("#matrix").bounding_box()
    return box["x"] + (column + 0.5) * box["width"] / columns, box["y"] + (row + 0.5) * box["height"] / rows


@pytest.mark.parametrize("width", [1400, 420])
def test_page_fits_the_screen_and_shows_its_pictures(
    look: Callable[..., Any], path: Path, width: int, tmp_path: Path
) -> None:
    page = look(path, width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#verdict h2").text_content() == "Look before you use it"
    assert page.locator("#first li").count() == 3
    for image in page.locator("img").all():
        assert image.evaluate("image => image.complete && image.naturalWidth > 300")
        assert image.evaluate("image => image.getBoundingClientRect().width") > 0.5 * min(width, 600)
    folder = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    picture = page.screenshot(path=folder / f"report-{width}.png", full_page=True)
    assert len(picture) > 50_000


def test_click_on_a_detector_shows_its_row(look: Callable[..., Any], path: Path, solution: xr.Dataset) -> None:
    page = look(path)
    page.locator('#plane a[data-d="1"]').click()
    panel = page.locator("#chosen")
    assert panel.locator("h3").text_content() == "Detector 2"
    G = float(panel.locator("table tbody tr").nth(1).locator("td").nth(1).text_content())
    np.testing.assert_allclose(G, float(solution.G[1, 1]), rtol=1e-6)
    assert page.locator("#detectors tr.chosen th").all_text_contents() == ["2"]
    assert page.locator("#units tr.chosen td:nth-child(2)").all_text_contents() == ["C00", "C01", "C02"]
    box = page.locator("#units .scroll").bounding_box()
    row = page.locator("#units tr.chosen").first.bounding_box()
    assert box["y"] <= row["y"] <= box["y"] + box["height"]
    page.locator('#plane a[data-d="5"]').press("Enter")
    assert panel.locator("h3").text_content() == "Detector 6"
    assert page.locator("#detectors tr.chosen th").all_text_contents() == ["6"]
    panel.get_by_text("Its row in the table").click()
    assert page.url.endswith("#detector-5")


def test_table_sorts_both_ways_and_what_is_not_known_stays_last(look: Callable[..., Any], path: Path) -> None:
    page = look(path)
    heads = page.locator("#units thead th")
    k = [text.strip() for text in heads.all_text_contents()].index("G")

    def column() -> list[str]:
        return [text.strip() for text in page.locator(f"#units tbody tr > :nth-child({k + 1})").all_text_contents()]

    before = column()
    heads.nth(k).locator("button").click()
    assert heads.nth(k).get_attribute("aria-sort") == "ascending"
    known = sorted(float(text) for text in before if text)
    assert [float(text) for text in column()[:-1]] == known
    assert column()[-1] == ""
    heads.nth(k).locator("button").click()
    assert heads.nth(k).get_attribute("aria-sort") == "descending"
    assert [float(text) for text in column()[:-1]] == known[::-1]
    assert column()[-1] == ""
    heads.nth(0).locator("button").press("Enter")
    assert [head.get_attribute("aria-sort") for head in heads.all()].count("ascending") == 1


def test_table_filters_by_all_words(look: Callable[..., Any], path: Path) -> None:
    page = look(path)
    page.locator("#units .filter").fill("c01 outlier")
    assert page.locator("#units tbody tr:visible").count() == 1
    assert page.locator("#units .count").text_content() == "1 of 17 rows"
    page.locator("#units .filter").fill("")
    assert page.locator("#units tbody tr:visible").count() == 17


def test_table_can_be_copied(look: Callable[..., Any], path: Path, solution: xr.Dataset) -> None:
    page = look(path)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#exposures .copy").click()
    page.get_by_text("Copied").wait_for()
    lines = [line.split("\t") for line in page.evaluate("navigator.clipboard.readText()").splitlines()]
    k = next(i for i, name in enumerate(lines[0]) if name.startswith("E "))
    np.testing.assert_allclose([float(line[k]) for line in lines[1:]], solution.E.values, rtol=1e-7)


def test_hover_shows_the_numbers_of_the_cell(look: Callable[..., Any], path: Path, solution: xr.Dataset) -> None:
    page = look(path)
    page.mouse.move(*cell_of(page, 4, 4, rows=17, columns=8))
    text = page.locator("#cell").text_content()
    residual = float(solution.residual[1, 1, 4])
    assert text.startswith("2/C01, exposure 105; ")
    assert f"residual {100 * residual:.4f} %" in text
    assert f"{float(solution.background[1, 1, 4]):.2f} adu" in text
    assert SENTENCES[Flag.OUTLIER] in text
    page.mouse.move(*cell_of(page, 6, 2, rows=17, columns=8))
    text = page.locator("#cell").text_content()
    assert text == f"3/C00, exposure 103; no residual; {SENTENCES[Flag.NON_POSITIVE]}"


def test_click_keeps_a_cell_until_the_next(look: Callable[..., Any], path: Path) -> None:
    page = look(path)
    where = cell_of(page, 0, 0, rows=17, columns=8)
    page.mouse.click(*where)
    kept = page.locator("#cell").text_content()
    page.mouse.move(*cell_of(page, 3, 3, rows=17, columns=8))
    assert page.locator("#cell").text_content() == kept
    page.mouse.click(*cell_of(page, 3, 3, rows=17, columns=8))
    assert page.locator("#cell").text_content().startswith("2/C00, exposure 104")


def test_keyboard_reaches_every_cell(look: Callable[..., Any], path: Path) -> None:
    page = look(path)
    page.locator("#matrix").focus()
    for key in ("ArrowDown", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    assert page.locator("#cell").text_content().startswith("1/C01, exposure 103")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    assert page.locator("#cell").text_content().startswith("1/C00, exposure 103")


def test_focal_plane_takes_other_colours(look: Callable[..., Any], path: Path, solution: xr.Dataset) -> None:
    page = look(path)
    fill = "#plane rect[data-u='4']"
    before = page.locator(fill).get_attribute("fill")
    page.select_option("#variable", label="residual [%]")
    page.select_option("#exposure", label="105")
    assert page.locator(fill).get_attribute("fill") != before
    told = page.locator(f"{fill} title").text_content()
    assert told.startswith("2/C01: ")
    np.testing.assert_allclose(float(told.split()[-1]), 100 * float(solution.residual[1, 1, 4]), rtol=1e-5)
    assert page.locator(".plane .scale figcaption").text_content() == "residual [%], exposure 105"
    page.select_option("#variable", label="G")
    assert page.locator(fill).get_attribute("fill") == before


def test_without_scripts_everything_is_still_there(look: Callable[..., Any], path: Path) -> None:
    page = look(path, javascript=False)
    assert page.locator(".needs-js:visible").count() == 0
    assert page.locator("#units tbody tr:visible").count() == 17
    assert page.locator("#plane rect[data-u]:visible").count() == 17
    assert page.locator("#matrix image").bounding_box()["width"] > 500
    assert page.locator("#pictures img:visible").count() == page.locator("#pictures img").count() >= 2
    page.locator('#plane a[data-d="3"]').click()
    assert page.url.endswith("#detector-3")
    assert page.locator("#detectors tr:target th").text_content() == "4"
    assert page.locator("#detectors tr:target").bounding_box()["y"] < 900


@pytest.mark.parametrize("javascript", [True, False])
def test_whatever_stands_in_a_header_is_text(look: Callable[..., Any], tmp_path: Path, javascript: bool) -> None:
    ds = fx.simulate(n_detectors=4, n_amplifiers=2, n_exposures=4, seed=1)
    ds = ds.assign_coords(
        detector=[f"{HOSTILE}{k}" for k in range(4)],
        amplifier=[f"{k}{IMAGE * 30}" for k in range(2)],
        exposure=[f"{k}{HOSTILE}" for k in range(4)],
        physical_filter=("exposure", [HOSTILE] * 4),
        path=(("detector", "exposure"), np.full((4, 4), f"javascript:{HOSTILE}")),
    )
    solution = fx.solve(ds.assign_attrs(camera=HOSTILE, comment=IMAGE))
    page = look(fx.report(solution, tmp_path / "run.html"), javascript=javascript, width=420)
    assert HOSTILE in page.title()
    assert HOSTILE in page.locator("h1").text_content()
    assert IMAGE in page.locator("#provenance").text_content()
    assert page.locator("script").count() == 2
    assert page.locator("a[href^=javascript]").count() == 0
    if javascript:
        page.locator('#plane a[data-d="0"]').click()
        assert page.locator("#chosen h3").text_content() == f"Detector {HOSTILE}0"
        page.mouse.move(*cell_of(page, 1, 1, rows=8, columns=4))
        assert page.locator("#cell").text_content().startswith(HOSTILE)
        page.select_option("#variable", label="residual [%]")
        assert page.evaluate("window.hacked") is None
        assert page.evaluate("document.documentElement.scrollWidth") <= 420


def test_every_word_can_be_read_and_everything_has_a_name(look: Callable[..., Any], path: Path) -> None:
    page = look(path)
    faint = page.evaluate(
        """() => {
          const rgb = (text) => text.match(/[\\d.]+/g).map(Number);
          const luminance = ([r, g, b]) => [r, g, b].map((v) => v / 255)
            .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
            .reduce((sum, v, k) => sum + v * [0.2126, 0.7152, 0.0722][k], 0);
          const behind = (element) => {
            for (let at = element; at; at = at.parentElement) {
              const colour = rgb(getComputedStyle(at).backgroundColor);
              if (colour.length === 3 || colour[3] > 0) return colour;
            }
            return [255, 255, 255];
          };
          const found = [];
          for (const element of document.querySelectorAll("body *:not(svg, svg *, script)")) {
            const own = Array.from(element.childNodes).some((node) => node.nodeType === 3 && node.textContent.trim());
            if (!own || !element.checkVisibility()) continue;
            const [a, b] = [luminance(rgb(getComputedStyle(element).color)), luminance(behind(element))];
            const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (contrast < 4.5) found.push(`${element.tagName} ${element.className} ${contrast}`);
          }
          return found;
        }"""
    )
    assert faint == []
    nameless = page.evaluate(
        """() => Array.from(document.querySelectorAll("a, button, input, select, img, svg[role], [role=region]"))
          .filter((element) => !(element.textContent.trim() || element.getAttribute("aria-label") || element.alt
            || element.labels?.length || document.getElementById(element.getAttribute("aria-labelledby"))))
          .map((element) => element.outerHTML.slice(0, 200))"""
    )
    assert nameless == []
    levels = page.evaluate("Array.from(document.querySelectorAll('h1, h2, h3'), (head) => head.tagName)")
    assert levels[0] == "H1"
    assert levels.count("H1") == 1
    assert page.evaluate("document.documentElement.lang") == "en"


def test_units_keep_their_names_where_rows_are_detectors(
    look: Callable[..., Any], solution: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_page, "MOST_CELLS", 10)
    page = look(fx.report(solution, tmp_path / "run.html"))
    page.select_option("#variable", label="rms residual [%]")
    page.select_option("#variable", label="G")
    titles = page.locator("#plane rect[data-u] title").all_text_contents()
    assert [title.split(":")[0] for title in titles[:4]] == ["1/C00", "1/C01", "1/C02", "2/C00"]
    assert len(titles) == 17
    page.mouse.move(*cell_of(page, 1, 4, rows=6, columns=8))
    assert page.locator("#cell").text_content().startswith("2, exposure 105; ")


def test_labels_that_are_numbers_sort_as_numbers(look: Callable[..., Any], tmp_path: Path) -> None:
    ds = fx.simulate(n_detectors=3, n_exposures=4, seed=1).assign_coords(exposure=[5, -2, 30, -10])
    page = look(fx.report(fx.solve(ds), tmp_path / "run.html"))
    page.locator("#exposures thead button").first.click()
    assert page.locator("#exposures tbody th").all_text_contents() == ["-10", "-2", "5", "30"]


def test_all_of_it_is_printed(look: Callable[..., Any], path: Path) -> None:
    page = look(path)
    page.emulate_media(media="print")
    boxes = "Array.from(document.querySelectorAll('.scroll'), (box) => [box.scrollHeight, box.clientHeight])"
    sizes = page.evaluate(boxes)
    assert len(sizes) > 4
    assert all(whole <= seen + 1 for whole, seen in sizes)
    assert page.locator("#residuals .tools").is_hidden()


def test_residuals_can_be_copied(look: Callable[..., Any], path: Path, solution: xr.Dataset) -> None:
    page = look(path)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.locator("#copy-residuals").click()
    page.get_by_text("Copied").wait_for()
    lines = [line.split("\t") for line in page.evaluate("navigator.clipboard.readText()").split("\n")]
    assert lines[0] == ["residual [%]", *map(str, solution.exposure.values)]
    told = np.array([[float(text or "nan") for text in line[1:]] for line in lines[1:]])
    np.testing.assert_allclose(told, 100 * solution.residual.values[solution.exists.values], rtol=1e-6)


@pytest.mark.parametrize("width", [1400, 420])
def test_trend_fits_the_screen_and_shows_what_moved(
    look: Callable[..., Any], trend: xr.Dataset, width: int, tmp_path: Path
) -> None:
    page = look(fx.report(trend, tmp_path / "trend.html"), width=width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("#verdict h2").text_content() == "5 amplifiers moved"
    for image in page.locator("img").all():
        assert image.evaluate("image => image.getBoundingClientRect().width") > 0.5 * min(width, 600)
    page.locator('#plane a[data-d="4"]').click()
    assert page.locator("#chosen h3").text_content() == "Detector 5"
    assert page.locator("#changes tr.chosen td:nth-child(2)").all_text_contents() == ["C00", "C00"]
    assert page.locator("#drifts tr.chosen").count() == 4
    folder = Path(SCREENSHOTS) if SCREENSHOTS else tmp_path
    assert len(page.screenshot(path=folder / f"trend-{width}.png", full_page=True)) > 50_000


def test_drifts_sort_and_filter_and_colour_the_focal_plane(
    look: Callable[..., Any], trend: xr.Dataset, tmp_path: Path
) -> None:
    page = look(fx.report(trend, tmp_path / "trend.html"))
    page.locator("#drifts thead button").nth(2).click()
    drifts = [float(text) for text in page.locator("#drifts tbody td:nth-child(3)").all_text_contents()]
    np.testing.assert_allclose(drifts, np.sort(100 * trend.drift.values.ravel()), atol=1e-5)
    page.locator("#drifts .filter").fill("c03")
    assert page.locator("#drifts .count").text_content() == "6 of 24 rows"
    titles = page.locator("#plane rect[data-u] title")
    page.select_option("#variable", label="largest change [%]")
    np.testing.assert_allclose(float(titles.nth(6).text_content().split()[-1]), -0.5, rtol=1e-5)
    page.select_option("#variable", label="drift [% a year]")
    told = [float(text.split()[-1]) for text in titles.all_text_contents()]
    np.testing.assert_allclose(told, 100 * trend.drift.values.ravel(), rtol=1e-4)


def test_trend_is_there_without_scripts(look: Callable[..., Any], trend: xr.Dataset, tmp_path: Path) -> None:
    page = look(fx.report(trend, tmp_path / "trend.html"), javascript=False)
    assert page.locator(".needs-js:visible").count() == 0
    assert page.locator("#drifts tbody tr:visible").count() == 24
    page.locator('#plane a[data-d="3"]').click()
    assert page.locator("#drifts tr:target th").text_content() == "4"
