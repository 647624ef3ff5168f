"""The pages name all there is: names, commands, pictures, notebooks, dependencies; notebooks are stored bare."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

import flatnorm_xr as fx
from flatnorm_xr.cli.main import app
from flatnorm_xr.show import plots

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"

PAGES = {
    path.relative_to(DOCS).with_suffix("").as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(DOCS.rglob("*.md"))
    if not {"_build", "jupyter_execute", "generated"} & set(path.parts)
}
"""The text of every page by its name."""


def test_api_page_has_every_public_name() -> None:
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [name for name in fx.__all__ if not re.search(rf"(?<![\w.]){name}(?!\w)", page)] == []


def test_every_dependency_has_its_reason() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    page = (ROOT / "docs" / "decisions.md").read_text(encoding="utf-8")
    names = [re.split(r"[\[<>=]", line)[0] for line in project["dependencies"]]
    assert [name for name in names if not re.search(rf"\b{name}\b", page)] == []


def test_the_long_table_of_the_page_can_be_read(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data-model.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"## The long table.*?```text\n(.*?)```", page, re.DOTALL)
    path = tmp_path / "levels.csv"
    path.write_text(example, encoding="utf-8")
    ds = fx.read_table(path)
    assert ds.background.sizes == {"detector": 2, "exposure": 2}
    assert ds.lamp.dims == ds.time.dims == ("exposure",)


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert code
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


def test_every_setting_of_the_tasks_is_on_the_page_for_those_who_come_from_cp_pipe() -> None:
    pytest.importorskip("lsst.pipe.base", reason="Rubin's middleware is not installed (pip install flatnorm-xr[lsst])")
    from flatnorm_xr.lsst.measure import CpFlatMeasureTaskConfig
    from flatnorm_xr.lsst.normalize import CpFlatNormalizationTaskConfig

    page = (ROOT / "docs" / "coming-from-cp-pipe.md").read_text(encoding="utf-8")
    ours = {"connections", "saveLogOutput"}
    for config in (CpFlatMeasureTaskConfig, CpFlatNormalizationTaskConfig):
        assert [name for name in config() if name not in ours and f"| `{name}` |" not in page] == []


def toctree_entries() -> list[str]:
    entries: list[str] = []
    for name, page in PAGES.items():
        folder = Path(name).parent
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page, re.DOTALL):
            lines = [line.strip() for line in block.splitlines()]
            entries += [(folder / line).as_posix() for line in lines if line and not line.startswith(":")]
    return entries


def test_every_page_is_in_the_table_of_contents_once() -> None:
    assert sorted([*toctree_entries(), "index"]) == sorted(PAGES)


def command_names() -> list[str]:
    import typer

    return sorted(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_every_command_has_a_page_that_shows_it() -> None:
    pages = {name: f"how-to/{name}" for name in command_names()} | {"lsst": "coming-from-cp-pipe"}
    assert [name for name, page in pages.items() if f"flatnorm {name} " not in PAGES.get(page, "")] == []


def test_every_command_has_its_help_on_the_page_of_the_command_line() -> None:
    assert [name for name in command_names() if f'help_of("{name}")' not in PAGES["command-line"]] == []


def pictures() -> list[str]:
    methods = vars(fx.accessor.FlatnormPlotAccessor)
    return [name for name in plots.__all__ if name in methods]


def test_every_picture_is_drawn_and_explained_on_the_page_of_pictures() -> None:
    assert {"E", "G", "background", "focal_plane", "residual"} <= set(pictures())
    sections = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGES["how-to/plot"], re.DOTALL | re.MULTILINE))
    drawn = [name for name in pictures() if f".plot.{name}(" in sections.get(name, "")]
    explained = [name for name in drawn if "\nLook for\n: " in sections[name]]
    assert drawn == explained == pictures()


def test_api_page_has_every_picture_and_what_it_returns() -> None:
    assert [name for name in plots.__all__ if f"   show.plots.{name}\n" not in PAGES["api"]] == []


def test_every_notebook_is_listed_in_the_pages_and_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert [name for name in names if f"<../notebooks/{name}>" not in PAGES["notebooks"]] == []
    assert [name for name in names if f"notebooks/{name}" not in readme] == []


def test_every_benchmark_is_named_on_the_page_of_performance() -> None:
    names = [path.name for path in (ROOT / "benchmarks").glob("*.py")]
    assert [name for name in names if f"benchmarks/{name}" not in PAGES["performance"]] == []
