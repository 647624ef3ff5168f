"""The pages name what there is: the public names, the reason of every dependency; notebooks are stored bare."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

import flatnorm_xr as fx

ROOT = Path(__file__).resolve().parents[2]


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
