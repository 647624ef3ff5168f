"""What is said of a dataset is true, never fails, is safe in a page, and does not read what is not in memory."""

from __future__ import annotations

import dataclasses
import html.parser

import numpy as np
import pytest
import xarray as xr

import flatnorm_xr as fx
from flatnorm_xr.show.description import LONGEST, Description, describe_dataset
from flatnorm_xr.show.summary import summary, without_level

pytestmark = pytest.mark.filterwarnings("ignore::flatnorm_xr.FlatnormWarning")


def ragged():
    """Levels of a camera of 11 amplifiers, with a dead detector, a dead amplifier and a dead exposure."""
    ds = fx.simulate(n_detectors=4, n_amplifiers=3, n_exposures=6, seed=1).assign_attrs(camera="decam")
    exists = np.ones((4, 3), dtype=bool)
    exists[3, 2] = False
    ds = ds.assign_coords(exists=(("detector", "amplifier"), exists))
    level = ds["background"].where(ds["exists"])
    level[1] = np.nan
    level[2, 0] = -5.0
    level[:, :, 4] = np.nan
    return ds.assign(background=level)


def rows_of(ds):
    return dict(describe_dataset(ds).rows)


def test_levels():
    said = describe_dataset(ragged())
    assert said.title == "levels of decam, measured, not solved"
    rows = dict(said.rows)
    assert rows["units"] == "11 amplifiers of 4 detectors"
    assert rows["exposures"] == "6, filter r, night 2025-03-14"
    assert rows["levels"] == "40 of 66 measured"
    assert rows["dead"] == "units 2 (all amplifiers), 3 C00; exposures 105"
    assert said.next_step == "sol = ds.flatnorm.solve()"
    assert said.warnings == ()


def test_a_solution_says_what_its_variables_say():
    sol = fx.solve(ragged(), weights="variance", robust="tukey", gauge="geometric")
    said = describe_dataset(sol)
    rows = dict(said.rows)
    assert said.title == "solution of decam"
    assert rows["gauge"] == sol.attrs["gauge"]
    assert rows["weights"] == sol.attrs["weights"]
    assert rows["dead"] == "units 2 (all amplifiers), 3 C00; exposures 105"
    assert f"rms residual {100 * sol.attrs['rms_residual']:.3g} %" in rows["fit"]
    assert f"({2500 / np.log(10) * sol.attrs['rms_residual']:.3g} mmag)" in rows["fit"]
    assert rows["E"].startswith(f"{float(sol.E.min()):.6g} to {float(sol.E.max()):.6g} adu, typical error ")
    assert f"NON_POSITIVE {int(((sol.quality & fx.Flag.NON_POSITIVE) != 0).sum())}" in rows["flags"]
    assert "NO_SUCH_AMPLIFIER" not in rows["flags"]
    assert rows["rejected"] == "nothing"
    assert "robust (tukey)" in rows["method"]
    assert said.next_step == "sol.flatnorm.diagnose()"


def test_groups_are_said_one_by_one():
    ds = fx.simulate(n_exposures=8).assign_coords(lamp=("exposure", list("aaaabbbb")))
    fit = rows_of(fx.solve(ds, by="lamp"))["fit"]
    assert fit.count("mmag") == 2
    assert fit.endswith("in b")


def test_two_filters_are_to_be_solved_apart():
    ds = fx.simulate(n_exposures=4).assign_coords(physical_filter=("exposure", list("ggrr")))
    said = describe_dataset(ds)
    assert said.next_step == 'sol = ds.flatnorm.solve(by="physical_filter")'
    assert "filters g, r" in dict(said.rows)["exposures"]


def test_the_next_step_can_be_typed():
    ds = fx.simulate(n_detectors=8, n_exposures=8)
    names = {"ds": ds}
    exec(describe_dataset(ds).next_step, names)
    exec("diagnosis = " + describe_dataset(names["sol"]).next_step, names)
    assert describe_dataset(names["diagnosis"]).next_step == "print(flatnorm_xr.describe(ds))"
    assert describe_dataset(names["diagnosis"]).title == "diagnosis of a solution"
    assert dict(describe_dataset(names["diagnosis"]).rows)["verdict"] == names["diagnosis"].attrs["verdict"]


def test_what_deserves_a_look_comes_as_a_warning():
    sol = fx.solve(fx.simulate())
    assert describe_dataset(sol).warnings == ()
    assert describe_dataset(sol.assign_attrs(converged=0)).warnings == ("the solver did not converge",)
    halves = fx.simulate(n_detectors=4, n_exposures=4)
    halves["background"] = halves.background.where((halves.detector <= 2) == (halves.exposure <= 102))
    (warning,) = describe_dataset(fx.solve(halves, on_disconnected="separate")).warnings
    assert warning.startswith("2 sets of units share no exposure")
    dark = fx.simulate()
    (warning,) = describe_dataset(dark.assign(background=dark.background * np.nan)).warnings
    assert warning == "no cell has a level"


@pytest.mark.parametrize(
    "other",
    [
        xr.Dataset(),
        xr.Dataset({"flux": ("t", [1.0])}),
        3,
        None,
        xr.DataArray([1.0]),
    ],
)
def test_what_is_not_ours_is_told_what_is_missing(other):
    said = describe_dataset(other)
    assert said.title == "not a dataset of flatnorm"
    assert dict(said.rows)["missing"]
    assert said.text()
    assert said.html()


def broken():
    ds = fx.simulate(n_detectors=3, n_amplifiers=2, n_exposures=4, seed=2)
    sol = fx.solve(ds)
    yield ds.isel(exposure=0)
    yield ds.isel(detector=0)
    yield ds.isel(exposure=slice(0))
    yield ds.drop_vars(["exposure", "detector"])
    yield ds.stack(unit=("detector", "amplifier"))
    yield ds.assign(background=ds.background.astype(object))
    yield ds.assign(background=ds.background.astype(str))
    yield ds.assign(quality=ds.background.astype(str))
    yield ds.assign(background=ds.background.drop_attrs()).rename(exposure="visit")
    yield ds.assign_coords(exists=("detector", [1.5, 2.5, np.nan]), time=("exposure", list("abcd")))
    yield ds.assign_coords(physical_filter=("exposure", [1.0, np.nan, None, "g"]), night="x")
    yield sol.assign(E=sol.G, G=sol.E)
    yield sol.assign(E=sol.E.astype(str))
    yield sol.drop_vars("quality").assign_attrs(rms_residual="small", converged="perhaps", iterations=None)
    yield sol.assign_attrs(camera=3, weights=["x"], gauge=None, method={"a": 1}, verdict=object())
    yield sol.assign_attrs(title=np.ones(2), verdict=np.ones(2), converged=np.ones(2))
    yield sol.isel(exposure=0)
    yield sol.drop_vars("background")
    yield sol.assign(component=sol.component.astype(float) * np.nan)


@pytest.mark.parametrize("number", range(18))
def test_broken_ones_never_fail(number):
    ds = list(broken())[number]
    said = describe_dataset(ds)
    assert said.title
    assert said.next_step
    for row in (*said.rows, ("warning", ""), *(("warning", warning) for warning in said.warnings)):
        assert all(isinstance(text, str) for text in row)
    assert repr(ds.flatnorm) == said.text()
    assert ds.flatnorm._repr_html_() == said.html()


class Page(html.parser.HTMLParser):
    """Elements, attributes and text of a page."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.attributes, self.text = [], [], ""
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


HOSTILE = ["<script>alert(1)</script>", "\"a' onmouseover='x", "line\nend\x1b[31m", "&lt;b&gt;" + "y" * 3000]


def hostile():
    ds = fx.simulate(n_detectors=4, n_exposures=5)
    ds = ds.assign_coords(
        detector=HOSTILE, physical_filter=("exposure", [HOSTILE[0]] * 5), night=("exposure", [HOSTILE[1]] * 5)
    )
    ds["background"][1:] = np.nan
    return ds.assign_attrs(camera=HOSTILE[0], gauge=HOSTILE[3], verdict=HOSTILE[1])


@pytest.mark.parametrize("solved", [False, True])
def test_hostile_labels_are_text(solved):
    ds = fx.solve(hostile()).assign_attrs(gauge=HOSTILE[3], verdict=HOSTILE[1]) if solved else hostile()
    said = describe_dataset(ds)
    page = Page(said.html())
    assert set(page.elements) <= {"div", "table", "tbody", "tr", "th", "td", "span", "code"}
    assert {name for name, _ in page.attributes} <= {"class", "style", "scope", "title"}
    assert "<script>alert(1)</script>" in page.text
    assert all(text.isprintable() for row in said.rows for text in row)
    assert "\x1b" not in said.text()


def test_long_texts_are_shortened_and_whole_in_the_title():
    ds = fx.solve(fx.simulate()).assign_attrs(gauge=HOSTILE[3])
    page = Page(describe_dataset(ds).html())
    titles = [value for name, value in page.attributes if name == "title"]
    assert titles == [HOSTILE[3]]
    assert HOSTILE[3] not in page.text
    assert HOSTILE[3][: LONGEST - 3] + "..." in page.text


def test_html_has_every_row_and_no_colour_of_its_own():
    said = describe_dataset(fx.solve(ragged(), robust="tukey"))
    page = Page(said.html())
    for name, value in said.rows:
        assert name in page.text
        assert value in page.text
    assert said.title in page.text
    assert said.next_step in page.text
    styles = " ".join(value for name, value in page.attributes if name == "style")
    assert "color:" not in styles.replace("background", "")
    backgrounds = [part.partition(":")[2].strip() for part in styles.split(";") if "background" in part]
    assert set(backgrounds) == {"transparent"}


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_lines_of_text_are_no_wider_than_asked(width):
    said = describe_dataset(fx.solve(ragged(), robust="tukey"))
    lines = said.text(width).splitlines()
    assert all(len(line) <= width for line in lines)
    assert lines[-1].split() == ["next", said.next_step]


def test_it_is_a_frozen_record():
    said = Description(title="t", rows=(("a", "b"),), warnings=("c",), next_step="d")
    assert said.text() == "t\n  a        b\n  warning  c\n  next     d"
    with pytest.raises(dataclasses.FrozenInstanceError):
        said.title = "x"


def test_what_is_large_and_not_in_memory_is_not_computed():
    dask = pytest.importorskip("dask.array", reason="dask is not installed")

    def refuse(block):
        raise AssertionError

    level = dask.map_blocks(refuse, chunks=((189,), (16,), (600,)), dtype=float, meta=np.empty((0, 0, 0)))
    ds = xr.Dataset({"background": (("detector", "amplifier", "exposure"), level)}).assign_coords(
        detector=np.arange(189), exposure=np.arange(600), physical_filter=("exposure", ["r"] * 600)
    )
    said = describe_dataset(ds)
    rows = dict(said.rows)
    assert rows["units"] == "3 024 amplifiers of 189 detectors"
    assert rows["exposures"] == "600, filter r"
    assert rows["not loaded"] == "background: 15 MB"
    assert "levels" not in rows
    assert said.warnings == ()


def test_small_and_lazy_is_looked_at():
    pytest.importorskip("dask", reason="dask is not installed")
    ds = ragged()
    assert describe_dataset(ds.chunk(exposure=2)) == describe_dataset(ds)


def test_a_file_that_is_opened_lazily_is_not_read(tmp_path):
    ds = fx.simulate(n_detectors=150, n_amplifiers=4, n_exposures=900)
    fx.save(ds, tmp_path / "levels.nc")
    with xr.open_dataset(tmp_path / "levels.nc", engine="netcdf4") as lazy:
        assert dict(describe_dataset(lazy).rows)["not loaded"].startswith("background")
        assert not lazy.variables["background"]._in_memory


def test_the_summary_and_the_description_have_one_source():
    sol = fx.solve(ragged(), robust="tukey")
    found, rows = summary(sol), rows_of(sol)
    assert str(found["units"]) == rows["units"].split()[0]
    assert f"{found['cells']['measured']} of {found['cells']['of']}" in rows["levels"]
    assert rows["E"].startswith(f"{found['E']['smallest']:.6g}")
    assert found["without a usable level"] == {"units": 4, "exposures": 1}
    assert without_level(sol) == {"units": ["2 (all amplifiers)", "3 C00"], "exposures": ["105"]}
    assert without_level(sol) == without_level(ragged())


def test_summary_of_what_is_not_ours_says_what_is_missing():
    with pytest.raises(fx.SchemaError, match="summary: background is missing"):
        xr.Dataset().flatnorm.summary()
