"""What a description says of a dataset, gathered so that nothing in the dataset can make it fail."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import xarray as xr

from flatnorm_xr.errors import SchemaError, offenders
from flatnorm_xr.flags import Flag
from flatnorm_xr.model.validate import needs_levels, validate
from flatnorm_xr.show.axes import rows_of
from flatnorm_xr.show.followed import is_comparison, is_trend
from flatnorm_xr.show.looks import MMAG_PER_PERCENT
from flatnorm_xr.show.summary import PARTS, without_level

__all__ = ["Facts", "facts_of", "next_step_of", "rows_from", "title_of", "warnings_from"]

LARGE = 10_000_000
"""Bytes of a dataset from which on values that are not in memory are left where they are."""

Kind = Literal["levels", "solution", "solution without levels", "diagnosis", "trend", "comparison", "other"]


@dataclass(frozen=True)
class Facts:
    """What is known of a dataset."""

    kind: Kind
    values: dict[str, Any] = field(default_factory=dict)
    """As `summary` gives them; less where the dataset is broken or not in memory."""
    lost: dict[str, list[str]] = field(default_factory=dict)
    """Units and exposures without a usable level."""
    problems: tuple[str, ...] = ()
    """What keeps the dataset from being used."""
    unloaded: tuple[str, ...] = ()
    """Variables whose values were not looked at."""
    size: int = 0
    """Bytes of those."""


def facts_of(ds: Any) -> Facts:
    """Find out what there is to say of a dataset; of one that is large only what is in memory. Never raises."""
    if not isinstance(ds, xr.Dataset):
        return Facts("other", problems=(f"it is of type {type(ds).__name__}, not an xarray.Dataset",))
    unloaded = _unloaded(ds)
    if is_trend(ds) or is_comparison(ds):
        return Facts("trend" if is_trend(ds) else "comparison", _of_runs(ds))
    if "background" not in ds and ("verdict" in ds.attrs or needs_levels(ds)):
        if "verdict" in ds.attrs and "sentence" in ds:
            return Facts("diagnosis", values={**_text_attributes(ds), "tests": ds.sizes.get("test", 0)})
        found = offenders(ds.data_vars) or "nothing"
        return Facts("other", problems=(f"no variable background, which holds the levels; there is {found}",))
    problems: list[str] = []
    if not unloaded:
        try:
            validate(ds, caller="", needs_levels=needs_levels(ds))
        except SchemaError as error:
            problems.append(str(error).removeprefix(": "))
        except Exception as error:
            problems.append(f"the dataset cannot be checked ({type(error).__name__})")
    values = _values_of(ds, unloaded)
    lost: dict[str, list[str]] = {}
    with contextlib.suppress(Exception):
        if not {"background", "quality", "exists", "E", "G"} & set(unloaded):
            lost = without_level(ds)
    kind: Kind = "levels"
    if "E" in ds and "G" in ds:
        kind = "solution" if "background" in ds else "solution without levels"
    size = sum(ds.variables[name].nbytes for name in unloaded)
    return Facts(kind, values, lost, tuple(problems), unloaded, size)


def _of_runs(ds: xr.Dataset) -> dict[str, Any]:
    """Gather what there is to say of a trend over runs, or of a comparison of two."""
    attrs = {name: text for name in ("camera", "gauge") if isinstance(text := ds.attrs.get(name), str)}
    values: dict[str, Any] = {**attrs, "sizes": {str(dim): size for dim, size in ds.sizes.items()}}
    with contextlib.suppress(Exception):
        values["units"] = len(rows_of(ds).labels)
        if is_trend(ds):
            from flatnorm_xr.show.coming_and_going import coming_and_going
            from flatnorm_xr.show.followed import Followed
            from flatnorm_xr.show.report.trend_section import what_moved

            values["verdict"] = what_moved(Followed(ds))
            values["not in all"] = coming_and_going(Followed(ds))
        else:
            values["runs"] = " over ".join(str(ds.attrs[name])[:12] for name in ("run_a", "run_b"))
            differ = int((ds["p_holm"] < 0.01).sum())
            values["verdict"] = f"{differ} of {int(ds['G_ratio'].notnull().sum())} differ significantly"
    return values


def _unloaded(ds: xr.Dataset) -> tuple[str, ...]:
    """Variables that a large dataset does not hold in memory."""
    if ds.nbytes <= LARGE:
        return ()
    return tuple(str(name) for name, variable in ds.variables.items() if not variable._in_memory)


def _values_of(ds: xr.Dataset, unloaded: tuple[str, ...]) -> dict[str, Any]:
    values = _text_attributes(ds)
    for part in PARTS:
        if any(name not in ds for name in part.reads) or {*part.reads, *part.may_read} & set(unloaded):
            continue
        # a part that a broken dataset does not allow is left out; what is wrong with it is said by `validate`
        with contextlib.suppress(Exception):
            values |= part.tell(ds)
    return values


def _text_attributes(ds: xr.Dataset) -> dict[str, Any]:
    return {name: ds.attrs[name] for name in ("title", "verdict") if isinstance(ds.attrs.get(name), str)}


def title_of(facts: Facts) -> str:
    """Say what it is, and of which camera."""
    if facts.kind == "other":
        return "not a dataset of flatnorm"
    if facts.kind == "diagnosis":
        return "diagnosis of a solution"
    camera = f" of {_one_line(facts.values['camera'])}" if "camera" in facts.values else ""
    if facts.kind == "comparison":
        return "comparison of two runs"
    if facts.kind == "trend":
        return f"trend over runs{camera}"
    if facts.kind == "levels":
        return f"levels{camera}, measured, not solved"
    return f"{facts.kind}{camera}"


def rows_from(facts: Facts) -> tuple[tuple[str, str], ...]:
    """Names and values, in the order in which they are read."""
    rows = []
    for name, tell in _ROWS.items():
        # attributes may hold anything, also what is no number
        with contextlib.suppress(Exception):
            value = tell(facts)
            if value:
                rows.append((name, _one_line(value)))
    return tuple(rows)


def warnings_from(facts: Facts) -> tuple[str, ...]:
    """List what deserves a look before anything is done with the dataset."""
    values = facts.values
    warnings: list[str] = []
    if facts.kind != "other":
        warnings += facts.problems
    if values.get("cells", {}).get("measured") == 0:
        warnings.append("no cell has a level")
    converged = values.get("converged", 1)
    if isinstance(converged, dict):
        failed = [group for group, done in converged.items() if not done]
        if failed:
            warnings.append(f"the solver did not converge in group {offenders(failed)}")
    elif not np.all(converged):
        warnings.append("the solver did not converge")
    if "connected sets" in values:
        sets = values["connected sets"]
        warnings.append(f"{sets} sets of units share no exposure; the ratio between them was not measured")
    return tuple(_one_line(warning) for warning in warnings)


def next_step_of(facts: Facts) -> str:
    """Line of Python to type next."""
    if facts.kind == "diagnosis":
        return "print(flatnorm_xr.describe(ds))"
    if facts.kind == "solution":
        return "sol.flatnorm.diagnose()"
    if facts.kind in ("trend", "comparison"):
        return f"{facts.kind}.flatnorm.plot.{facts.kind}()"
    if facts.kind == "solution without levels":
        return "sol.flatnorm.plot.G()"
    if facts.kind == "other":
        return 'ds = flatnorm_xr.read_table("levels.csv")'
    if facts.problems:
        return "ds.flatnorm.validate()"
    if facts.values.get("cells", {}).get("measured") == 0:
        return "ds.flatnorm.plot.background()"
    by = 'by="physical_filter"' if len(facts.values.get("filters", ())) > 1 else ""
    return f"sol = ds.flatnorm.solve({by})"


def _units(facts: Facts) -> str:
    values = facts.values
    sizes = values.get("sizes", {})
    detectors = sizes.get("detector")
    if detectors is None:
        return ""
    if "amplifier" not in sizes:
        return _counted(detectors, "detector")
    amplifiers = values.get("units")
    known = _counted(amplifiers, "amplifier") if amplifiers is not None else f"up to {sizes['amplifier']} amplifiers"
    return f"{known} of {_counted(detectors, 'detector')}"


def _exposures(facts: Facts) -> str:
    values = facts.values
    number = values.get("sizes", {}).get("exposure")
    parts = [] if number is None else [_number(number)]
    if values.get("filters"):
        parts.append(f"filter{'s'[: len(values['filters']) - 1]} {offenders(values['filters'])}")
    nights = values.get("nights", [])
    if nights:
        parts.append(f"night {nights[0]}" if len(nights) == 1 else f"{len(nights)} nights, {nights[0]} to {nights[-1]}")
    elif "times" in values:
        parts.append(f"{values['times']['first']} to {values['times']['last']} UTC")
    return ", ".join(parts)


def _levels(facts: Facts) -> str:
    values = facts.values
    cells = values.get("cells")
    if not cells:
        return ""
    if cells["measured"] == cells["of"]:
        return f"all {_number(cells['of'])} measured"
    return f"{_number(cells['measured'])} of {_number(cells['of'])} measured"


def _method(facts: Facts) -> str:
    values = facts.values
    words = [str(values["method"])] if "method" in values else []
    words += [f"model {values['model']}"] if "model" in values else []
    if values.get("robust") not in (None, "none"):
        words.append(f"robust ({values['robust']})")
    if values.get("uncertainty") not in (None, "none"):
        words.append(f"errors: {values['uncertainty']}")
    return ", ".join(words)


def _fit(facts: Facts) -> str:
    values = facts.values
    rms = values.get("rms_residual")
    if rms is None:
        return ""
    if isinstance(rms, dict):
        return "rms residual " + offenders(f"{_relative(value)} in {group}" for group, value in rms.items())
    steps = values.get("iterations")
    done = f", converged in {steps} iteration{'s'[: steps != 1]}" if values.get("converged") and steps else ""
    return f"rms residual {_relative(rms)}{done}"


def _relative(value: float) -> str:
    return f"{100 * value:.3g} % ({100 * MMAG_PER_PERCENT * value:.3g} mmag)"


def _vector(facts: Facts, name: str) -> str:
    values = facts.values
    found = values.get(name)
    if not found:
        return ""
    if found["smallest"] is None:
        return "unknown"
    units = f" {found['units']}" if "units" in found else ""
    error = values.get("typical relative error", {}).get(name)
    typical = f", typical error {_relative(error)}" if error is not None else ""
    return f"{found['smallest']:.6g} to {found['largest']:.6g}{units}{typical}"


def _rejected(facts: Facts) -> str:
    values = facts.values
    found = values.get("rejected")
    if found is None:
        return ""
    return ", ".join(f"{name} {_number(count)}" for name, count in found.items()) or "nothing"


def _flags(facts: Facts) -> str:
    """Count the flags of cells that are there."""
    found = facts.values.get("flags", {})
    return ", ".join(f"{name} {_number(n)}" for name, n in found.items() if name != Flag.NO_SUCH_AMPLIFIER.name)


def _dead(facts: Facts) -> str:
    return "; ".join(f"{kind} {offenders(labels)}" for kind, labels in facts.lost.items() if labels)


def _counted(number: int, noun: str) -> str:
    return f"{_number(number)} {noun}{'s'[: number != 1]}"


def _number(value: int | np.integer[Any]) -> str:
    return f"{int(value):,}".replace(",", " ")


def _one_line(text: object) -> str:
    """Text without line ends and other characters that are not printed."""
    return offenders([text])


_ROWS: dict[str, Callable[[Facts], str]] = {
    "missing": lambda facts: "; ".join(facts.problems) if facts.kind == "other" else "",
    "runs": lambda facts: str(facts.values.get("runs", facts.values.get("sizes", {}).get("run", ""))),
    "units": _units,
    "exposures": _exposures,
    "levels": _levels,
    "method": _method,
    "weights": lambda facts: str(facts.values.get("weights", "")),
    "gauge": lambda facts: str(facts.values.get("gauge", "")),
    "fit": _fit,
    "E": lambda facts: _vector(facts, "E"),
    "G": lambda facts: _vector(facts, "G"),
    "rejected": _rejected,
    "flags": _flags,
    "dead": _dead,
    "verdict": lambda facts: facts.values.get("verdict", ""),
    "not in all": lambda facts: facts.values.get("not in all", ""),
    "tests": lambda facts: str(facts.values["tests"]) if facts.kind == "diagnosis" else "",
    "not loaded": lambda facts: f"{offenders(facts.unloaded)}: {facts.size / 1e6:,.0f} MB" if facts.unloaded else "",
}
"""What is told, in order; nothing is told where the text is empty."""
