"""The report as a file: its verdict, its tables, its size, and that nothing from a header is more than text."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.flags import Flag
from flatnorm_xr.show.report import page as report_page
from flatnorm_xr.show.report import pictures
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.findings import find_three, judge
from flatnorm_xr.show.report.residual_image import draw_residuals
from flatnorm_xr.show.report.tables import all_tables, file_link
from flatnorm_xr.show.texts import shown

HOSTILE = "<script>hacked=1</script>\"'`&amp;</title><img src=x onerror=hacked=1>\u202e\x00é🔭"


class Page(HTMLParser):
    """Ids, links, attributes and the cells of tables of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.rows: dict[str, list[list[str]]] = {}
        self._section = ""
        self._in_cell = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag == "section":
            self._section = str(given["id"])
        if tag == "tr":
            self.rows.setdefault(self._section, []).append([])
        self._in_cell = tag in ("td", "th") or (self._in_cell and tag in ("a", "span"))
        if tag in ("td", "th"):
            self.rows[self._section][-1].append("")

    def handle_endtag(self, tag: str) -> None:
        self._in_cell = self._in_cell and tag not in ("td", "th", "tr")

    def handle_data(self, data: str) -> None:
        if self._in_cell:
            self.rows[self._section][-1][-1] += data

    def column(self, section: str, name: str) -> list[str]:
        """Texts of the first column whose head starts so."""
        head, *rows = self.rows[section]
        k = next(i for i, text in enumerate(head) if text.startswith(name))
        return [row[k] for row in rows]

    def attributes(self, name: str) -> list[str]:
        """Values of an attribute, in order."""
        return [str(given[name]) for _, given in self.elements if name in given]


@pytest.fixture(autouse=True)
def few_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw one picture a page where a test is not about them: drawing takes most of the time of a small report."""
    if "all_pictures" not in request.keywords:
        monkeypatch.setattr(pictures, "_WANTED", {"E": pictures._WANTED["E"]})


@pytest.fixture
def clean() -> xr.Dataset:
    return fx.solve(fx.simulate(n_detectors=30, n_exposures=12, seed=5), weights="variance")


@pytest.fixture
def ragged(says: Callable[..., Any]) -> xr.Dataset:
    """Detectors with 4, 4, 1 amplifiers; one dead, one cell negative."""
    ds = fx.simulate(n_detectors=3, n_amplifiers=4, n_exposures=6, seed=1)
    exists = np.ones((3, 4), dtype=bool)
    exists[2, 1:] = False
    level = ds.background.copy(deep=True).where(xr.DataArray(exists, dims=("detector", "amplifier")))
    level[1, 2], level[0, 0, 3] = np.nan, -4.0
    ds = ds.assign(background=level).assign_coords(exists=(("detector", "amplifier"), exists))
    with says("no usable level"):
        return fx.solve(ds)


def written(solution: xr.Dataset, folder: Path, **keywords: Any) -> str:
    return fx.report(solution, folder / "run.html", **keywords).read_text(encoding="utf-8")


def verdict_of(solution: xr.Dataset) -> str:
    return judge(Facts(solution, fx.diagnose(solution))).status


def test_verdict_says_good_only_when_nothing_was_found(clean: xr.Dataset, says: Callable[..., Any]) -> None:
    facts = Facts(clean, fx.diagnose(clean))
    assert judge(facts).status == "good"
    assert clean.flatnorm.diagnose().attrs["verdict"] in judge(facts).sentence
    ds = clean.copy(deep=True)
    ds.background[4, 5] *= 1.02
    with says("rejected"):
        assert verdict_of(fx.solve(ds, weights="variance", robust="tukey")) == "look"
    assert verdict_of(clean.assign_attrs(converged=0)) == "bad"
    tilt = 1 + 1e-4 * clean.x * xr.DataArray(np.linspace(-1, 1, 12), dims="exposure")
    tilted = clean.assign(background=clean.background * tilt)
    with says("does not hold"):
        assert verdict_of(fx.solve(tilted, weights="variance")) == "look"


def test_levels_that_follow_any_model_are_not_called_good(says: Callable[..., Any]) -> None:
    with says("nothing can be checked"):
        one = fx.solve(fx.simulate(n_detectors=2, n_exposures=1))
    verdict = judge(Facts(one, fx.diagnose(one)))
    assert (verdict.status, verdict.word) == ("look", "Cannot be checked")
    exact = fx.solve(fx.simulate(noise=0, photon_noise=False))
    assert judge(Facts(exact, fx.diagnose(exact))).status == "good"


@pytest.mark.parametrize("name", ["E", "G"])
def test_a_solution_without_any_number_is_of_no_use(clean: xr.Dataset, tmp_path: Path, name: str) -> None:
    page = Page(written(clean.assign({name: clean[name] * np.nan}), tmp_path))
    assert "bad" in page.attributes("class")


def test_three_things_are_named_whatever_the_solution(
    clean: xr.Dataset, ragged: xr.Dataset, says: Callable[..., Any]
) -> None:
    with says("nothing can be checked"):
        least = fx.solve(fx.simulate(n_detectors=1, n_exposures=1))
    for solution in (clean, ragged, least, fx.solve(fx.simulate(n_detectors=2, n_exposures=2), uncertainty=None)):
        found = find_three(Facts(solution, fx.diagnose(solution)))
        assert len(found) == 3
        assert len({finding.headline for finding in found}) == 3
    assert [finding.grave for finding in find_three(Facts(clean, fx.diagnose(clean)))] == [False] * 3
    dead, cell, _ = find_three(Facts(ragged, fx.diagnose(ragged)))
    assert (dead.headline, dead.text) == ("1 amplifier without a response", "No usable level: 2/C02 (not measured).")
    assert cell.headline == "1 cell not used: non positive"
    assert cell.text.endswith("In exposure 104.")


def test_what_was_rejected_is_named_first_with_its_size(says: Callable[..., Any]) -> None:
    ds = fx.simulate(n_detectors=30, n_exposures=12, seed=5)
    ds.background[4, 5] *= 1.02
    ds.background[7, 6:] *= 0.99
    with says("rejected"):
        solution = fx.solve(ds, weights="variance", robust="tukey")
    facts = Facts(solution, fx.diagnose(solution))
    assert facts.diagnosis.attrs["causes"] == "jump"
    assert "rms, once what does not follow is left out: jump of the gain of detector 8" in judge(facts).sentence
    jump, cell, _ = find_three(facts)
    assert jump.headline == "1 gain jump left out of the fit"
    assert re.fullmatch(r"The response of 8 shrank by (0\.9|1\.0)\d* ± 0\.\d+ % at exposure 107\.", jump.text)
    assert cell.headline == "1 cell left out of the fit"
    assert re.fullmatch(r"5 in exposure 106, \+(1\.9|2\.0)\d* ± 0\.\d+ %\.", cell.text)


def test_tables_have_every_unit_and_exposure_once_with_its_numbers(ragged: xr.Dataset, tmp_path: Path) -> None:
    page = Page(written(ragged, tmp_path))
    names = list(zip(page.column("units", "detector"), page.column("units", "amplifier"), strict=True))
    assert names == [(d, f"C0{a}") for d in "123" for a in range(4) if d != "3" or a == 0]
    told = [float(text) if text else np.nan for text in page.column("units", "G")]
    expected = ragged.G.values[ragged.exists.values]
    np.testing.assert_allclose(told, expected, rtol=1e-6)
    np.testing.assert_allclose([float(text) for text in page.column("exposures", "E")], ragged.E.values, rtol=1e-7)
    assert page.column("detectors", "amplifiers") == ["4 of 4", "3 of 4", "1 of 1"]
    assert page.column("units", "used")[:2] == ["5 of 6", "6 of 6"]


def test_every_hole_is_in_the_table_of_holes(ragged: xr.Dataset, tmp_path: Path) -> None:
    page = Page(written(ragged, tmp_path))
    rows = {(row[0], row[1], row[2], row[3]) for row in page.rows["holes"][1:]}
    assert rows == {("not measured", "2/C02", "all", "6"), ("non positive", "1/C00", "104", "1")}


def test_groups_have_columns_of_their_own(tmp_path: Path) -> None:
    ds = fx.simulate(n_detectors=5, n_exposures=8, seed=2).assign_coords(lamp=("exposure", ["red", "blue"] * 4))
    solution = fx.solve(ds, by="lamp")
    page = Page(written(solution, tmp_path))
    for name in ("red", "blue"):
        told = [float(text) for text in page.column("units", f"G, {name}")]
        np.testing.assert_allclose(told, solution.G.sel(group=name).values, rtol=1e-6)
    assert page.column("exposures", "group") == ["red", "blue"] * 4


def test_numbers_behind_the_pictures_are_those_of_the_solution(ragged: xr.Dataset, tmp_path: Path) -> None:
    values = numbers_of(written(ragged, tmp_path))
    residual = np.frombuffer(base64.b64decode(values["residual"]), dtype="<f4").reshape(9, 6)
    np.testing.assert_allclose(residual, ragged.residual.values[ragged.exists.values], rtol=1e-6)
    assert values["rows"][4:] == ["2/C00", "2/C01", "2/C02", "2/C03", "3/C00"]
    flags = np.array(values["flagSets"])[np.frombuffer(base64.b64decode(values["flags"]), dtype="<u2")].reshape(9, 6)
    np.testing.assert_array_equal(flags, ragged.quality.values[ragged.exists.values])
    assert flags[0, 3] == int(Flag.NON_POSITIVE)
    assert values["G"][0][6] is None


def test_every_link_on_the_page_leads_somewhere_and_every_id_is_one(ragged: xr.Dataset, tmp_path: Path) -> None:
    page = Page(written(ragged, tmp_path))
    ids = page.attributes("id")
    assert [name for name, n in Counter(ids).items() if n > 1] == []
    inside = [link[1:] for link in page.attributes("href") if link.startswith("#")]
    assert len(inside) > 15
    assert set(inside) <= set(ids)


def test_nothing_is_loaded_and_only_what_is_inside_may_run(clean: xr.Dataset, tmp_path: Path) -> None:
    text = written(clean, tmp_path)
    page = Page(text)
    policy = next(given["content"] for tag, given in page.elements if given.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    for tag, given in page.elements:
        assert not any(name.startswith("on") or name == "style" for name in given), (tag, given)
        for name in ("src", "href"):
            assert str(given.get(name, "#")).startswith(("#", "data:image/png;base64,", "file:///")), (tag, name)
        assert tag not in ("link", "iframe", "object", "form")


@pytest.mark.all_pictures
def test_whatever_stands_in_a_header_is_text(tmp_path: Path) -> None:
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=4, seed=1)
    paths = np.full((3, 4), "javascript:alert(1)//" + HOSTILE)
    quality = xr.zeros_like(ds.background, dtype="u4")
    quality[0, 0, 0] = int(Flag.LOW_SIGNAL)
    ds = ds.assign(quality=quality).assign_coords(
        detector=[f"{k}{HOSTILE}" for k in range(3)],
        amplifier=[f"{HOSTILE}{k}" for k in range(2)],
        exposure=[f"{k}{HOSTILE}" for k in range(4)],
        physical_filter=("exposure", [HOSTILE] * 4),
        lamp=("exposure", [HOSTILE * 3000] * 4),
        detector_name=("detector", [HOSTILE] * 3),
        path=(("detector", "exposure"), paths),
    )
    solution = fx.solve(ds.assign_attrs(camera=HOSTILE, comment=HOSTILE * 10_000, inputs="[" * 5000), robust="tukey")
    text = written(solution, tmp_path)
    tags = Counter(tag for tag, _ in Page(text).elements)
    plain = Counter(
        tag
        for tag, _ in Page(
            written(fx.solve(fx.simulate(n_detectors=3, n_amplifiers=2)), tmp_path, overwrite=True)
        ).elements
    )
    assert tags["script"] == plain["script"] == 2
    assert tags["img"] == plain["img"]
    assert not any("javascript" in link for link in Page(text).attributes("href"))
    assert "<script>hacked" not in text
    assert "\x00" not in text
    assert "\u202e" not in text
    assert len(text) < 1_500_000


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/data/a b.fits", "file:///data/a%20b.fits"),
        ("/data/é.fits", "file:///data/%C3%A9.fits"),
        ("https://example.org/x.fits", ""),
        ("/data/\x00.fits", ""),
        ("/data/\udcff.fits", ""),
    ],
)
def test_links_lead_to_local_files_only(path: str, expected: str) -> None:
    assert file_link(path) == expected


def test_relative_paths_are_links_only_where_the_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert file_link("night/a.fits") == file_link("javascript:alert(1)") == ""
    (tmp_path / "night").mkdir()
    (tmp_path / "night" / "a.fits").touch()
    assert file_link("night/a.fits") == (tmp_path / "night" / "a.fits").as_uri()


def test_files_with_flags_are_linked(tmp_path: Path, says: Callable[..., Any]) -> None:
    ds = fx.simulate(n_detectors=3, n_exposures=4, seed=1)
    level = ds.background.copy(deep=True)
    level[1, 2] = -1.0
    names = [f"/nights/flat {k}.fits" for k in range(4)]
    ds = ds.assign(background=level).assign_coords(path=(("detector", "exposure"), np.tile(names, (3, 1))))
    with says("NON_POSITIVE 1"):
        solution = fx.solve(ds)
    page = Page(written(solution, tmp_path))
    assert page.column("files", "file") == ["/nights/flat 2.fits"]
    assert "file:///nights/flat%202.fits" in page.attributes("href")
    assert page.column("files", "detectors") == ["2"]


@pytest.mark.all_pictures
@pytest.mark.parametrize("worst", [False, True])
def test_a_large_camera_stays_under_five_megabytes(tmp_path: Path, says: Callable[..., Any], worst: bool) -> None:
    ds = fx.simulate(n_detectors=189, n_amplifiers=16, n_exposures=100, missing=0.02, seed=3)
    names = [f"/data/nights/20261122/raw/exposure-{k:08}.fits.fz" for k in range(100)]
    ds = ds.assign_coords(
        path=(("detector", "exposure"), np.tile(names, (189, 1))),
        lamp=("exposure", ["abcdef"[k % 6] for k in range(100)]),
    )
    with says("of 302400"):
        solution = fx.solve(ds, by="lamp" if worst else None, uncertainty="analytic")
    if worst:  # six groups, and a flag on every cell
        solution = solution.assign(quality=solution.quality | np.uint32(Flag.LOW_SIGNAL))
    text = written(solution, tmp_path)
    assert len(text.encode()) < 5_000_000
    assert len(Page(text).rows["units"]) == 1 + 3024
    assert text.count("data-u=") == 3024


def test_causes_have_the_colours_that_the_picture_gives_them(
    ragged: xr.Dataset, figures: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.colors import to_hex

    from flatnorm_xr.show import plots
    from flatnorm_xr.show.plots import matrix

    monkeypatch.setattr(matrix, "SMALLEST_HATCHED", 1e9)  # as if cells were so small that they are filled
    legend = draw_residuals(Facts(ragged, fx.diagnose(ragged)), by_detector=False).legend
    assert [(entry.words, entry.count) for entry in legend] == [("not measured", 6), ("non positive", 1)]
    marks = plots.residual(ragged).marks
    assert {name: to_hex(mark.get_facecolor()[0]) for name, mark in marks.items()} == {
        f"{entry.words} ({entry.count})": to_hex(entry.colour) for entry in legend
    }


def numbers_of(text: str) -> Any:
    found = re.search(r'<script type="application/json" id="numbers">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


@pytest.mark.parametrize(("limit", "value"), [("MOST_CELLS", 40), ("LARGEST", 40_000)])
def test_too_many_cells_are_shown_by_detector(
    ragged: xr.Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(report_page, limit, value)
    values = numbers_of(written(ragged, tmp_path))
    assert values["rows"] == ["1", "2", "3"]
    assert len(values["units"]) == len(values["variables"][0]["values"]) == 9
    residual = np.frombuffer(base64.b64decode(values["residual"]), dtype="<f4").reshape(3, 6)
    used = ragged.residual.where(ragged.weight > 0).mean("amplifier").transpose("detector", "exposure")
    np.testing.assert_allclose(residual, used.values, rtol=1e-5, atol=1e-9)


def test_same_page_whatever_the_order_of_dims(ragged: xr.Dataset, tmp_path: Path) -> None:
    turned = written(ragged.transpose("exposure", "amplifier", "detector", ...), tmp_path)
    plain = written(ragged, tmp_path, overwrite=True)
    assert Page(turned).rows == Page(plain).rows


def test_solution_is_not_changed(ragged: xr.Dataset, tmp_path: Path) -> None:
    before = ragged.copy(deep=True)
    written(ragged, tmp_path)
    assert ragged.identical(before)


def test_a_diagnosis_that_was_made_is_used_and_one_of_another_solution_refused(
    clean: xr.Dataset, tmp_path: Path
) -> None:
    diagnosis = fx.diagnose(clean, alpha=0.2, permutations=99)
    assert "adjusted p is below 0.2" in written(clean, tmp_path, diagnosis=diagnosis)
    other = fx.diagnose(fx.solve(fx.simulate(n_detectors=5, n_exposures=12)))
    with pytest.raises(fx.FlatnormError, match=r"^report: the diagnosis is of another solution; pass diagnose"):
        fx.report(clean, tmp_path / "x.html", diagnosis=other)
    with pytest.raises(fx.FlatnormError, match=r"^report: diagnosis is not what diagnose returns"):
        fx.report(clean, tmp_path / "x.html", diagnosis=clean)
    assert not (tmp_path / "x.html").exists()


def test_refusals_say_what_to_do(clean: xr.Dataset, tmp_path: Path) -> None:
    target = tmp_path / "run.html"
    with pytest.raises(fx.FlatnormError, match=r"does not end in \.html; what is written is HTML$"):
        fx.report(clean, tmp_path / "run.pdf")
    with pytest.raises(fx.FlatnormError, match=r"^report: the dataset has no E, G, residual, weight"):
        fx.report(fx.simulate(), target)
    target.write_text("mine")
    with pytest.raises(fx.FlatnormError, match="exists; pass overwrite=True"):
        fx.report(clean, target)
    assert target.read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["run.html"]


@pytest.mark.all_pictures
def test_accessor_and_command_write_the_same_page(clean: xr.Dataset, tmp_path: Path, capsys: Any) -> None:
    from flatnorm_xr.cli.main import main

    fx.save(clean, tmp_path / "run.nc")
    with pytest.raises(SystemExit) as left:
        main(["report", str(tmp_path / "run.nc"), "-o", str(tmp_path / "a.html")])
    assert left.value.code == 0
    fx.open(tmp_path / "run.nc").flatnorm.report(tmp_path / "b.html")
    one, two = (Page((tmp_path / f"{name}.html").read_text(encoding="utf-8")) for name in "ab")
    assert one.rows == two.rows
    assert one.elements == two.elements


@pytest.mark.parametrize(
    ("value", "expected"),
    [("a\x1b[31mb", "a\\x1b[31mb"), ("\u202ex", "\\u202ex"), ("\udc80", "\\udc80"), ("é🔭", "é🔭"), (3, "3")],
)
def test_characters_that_are_not_seen_are_written_out(value: object, expected: str) -> None:
    assert shown(value) == expected


def test_long_texts_are_cut_and_say_so() -> None:
    assert shown("x" * 1000, longest=10) == "xxxxxxxxxx ... (1000 characters)"


def test_tables_name_what_they_leave_out(monkeypatch: pytest.MonkeyPatch, ragged: xr.Dataset) -> None:
    from flatnorm_xr.show.report import tables

    monkeypatch.setattr(tables, "MOST_ROWS", 1)
    holes = all_tables(Facts(ragged, fx.diagnose(ragged)))["holes"]
    assert (len(holes.rows), holes.omitted) == (1, 1)


def test_a_log_link_says_what_its_residuals_are(tmp_path: Path) -> None:
    ds = fx.simulate(n_detectors=6, n_exposures=8, noise=0.05, seed=1)
    solution = fx.solve(ds, model="log-link", weights="uniform")
    np.testing.assert_allclose(solution.residual, solution.background / solution.bgModel - 1, atol=1e-12)
    assert solution.residual.attrs["long_name"] == "background / bgModel - 1"
    text = written(solution, tmp_path)
    assert "background / bgModel - 1: one row" in text
    assert numbers_of(text)["logarithmic"] is False


def test_spread_and_mean_are_those_of_one_group() -> None:
    ds = fx.simulate(n_detectors=4, n_amplifiers=1, n_exposures=8, noise=0, photon_noise=False, seed=3)
    ds = ds.assign_coords(lamp=("exposure", ["a", "b"] * 4))
    ds.background[2, :, ::2] *= 1.1
    solution = fx.solve(ds, by="lamp")
    (detectors, *_) = all_tables(Facts(solution, fx.diagnose(solution))).values()
    heads = [column.name for column in detectors.columns]
    assert [row.cells[heads.index("spread")] for row in detectors.rows] == [""] * 4
    means = [float(str(row.cells[heads.index("mean G, a")])) for row in detectors.rows]
    np.testing.assert_allclose(means, solution.G.sel(group="a").values[:, 0], rtol=1e-6)


def test_a_detector_that_was_lost_is_one_row(says: Callable[..., Any]) -> None:
    ds = fx.simulate(n_detectors=4, n_amplifiers=3, n_exposures=6, seed=3)
    level = ds.background.copy(deep=True)
    level[1], level[2, :, 4] = np.nan, np.nan
    with says("no usable level"):
        solution = fx.solve(ds.assign(background=level))
    holes = all_tables(Facts(solution, fx.diagnose(solution)))["holes"]
    told = {tuple(getattr(cell, "text", cell) for cell in row.cells[:4]) for row in holes.rows}
    assert told == {("not measured", "2", "all", "18"), ("not measured", "3", "105", "3")}


def test_parts_of_a_solution_that_say_nothing_are_refused_or_told(clean: xr.Dataset, tmp_path: Path) -> None:
    unused = clean.assign(weight=clean.weight.where(clean.exposure != 103, 0.0)).isel(exposure=[2])
    assert "Nothing to use" in written(unused, tmp_path)
    grouped = fx.solve(
        fx.simulate(n_detectors=5, n_exposures=8).assign_coords(lamp=("exposure", list("aabbaabb"))), by="lamp"
    )
    for part in (grouped.isel(group=[1]), grouped.isel(group=1)):
        with pytest.raises(fx.FlatnormError, match=r"^report: group a.* was selected away, but not its exposures"):
            fx.report(part, tmp_path / "x.html")
    whole = grouped.sel(exposure=grouped.exposure_group == "b").isel(group=[1])
    assert fx.report(whole, tmp_path / "b.html").exists()


@pytest.mark.parametrize("text", ["[" * 994 + "]" * 994, '{"a": 1, "a": 1e400}', "\udc80", "{}, {}"])
def test_attributes_stand_as_the_file_has_them(clean: xr.Dataset, tmp_path: Path, text: str) -> None:
    solution = clean.assign_attrs(comment=text, iterations="\udc80")
    solution["E"].attrs["units"] = "adu\x1b\udc80"
    page = written(solution, tmp_path)
    shown_text = shown(text, longest=20_000).replace("&", "&amp;").replace('"', "&#34;").replace(", &#34;", ",\n&#34;")
    assert f">{shown_text}</dd>" in page


def test_longer_labels_keep_what_tells_them_apart(tmp_path: Path) -> None:
    ds = fx.simulate(n_detectors=3, n_exposures=4, seed=1)
    ds = ds.assign_coords(exposure=[f"the-same-beginning-of-a-name-{k}" for k in range(4)])
    facts = Facts(solved := fx.solve(ds), fx.diagnose(solved))
    names = [name.text for name in draw_residuals(facts, by_detector=False).column_names]
    assert len(set(names)) == 4
