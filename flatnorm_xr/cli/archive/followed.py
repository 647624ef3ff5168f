"""A trend as text: what changed, what drifts, and what the responses depend on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from flatnorm_xr.cli.archive.words import (
    cell,
    day,
    p_value,
    print_json,
    printed,
    rows_of_units,
    short,
    show_facts,
    with_errors,
)
from flatnorm_xr.cli.console import show_table

if TYPE_CHECKING:
    import xarray as xr

    from flatnorm_xr.show.followed import Followed

__all__ = ["show_trend"]

MOST = 20
"""Rows of a table; the files have all."""


def show_trend(trend: xr.Dataset, *, chosen: bool, as_json: bool) -> None:
    """Show what a trend found.

    Parameters
    ----------
    trend : Dataset
        What `flatnorm_xr.Archive.trend` returned.
    chosen : bool
        Units were asked for: all of them are shown, whether they drift or not.
    as_json : bool
        Of all units, in the numbers of the dataset.
    """
    from flatnorm_xr.show.followed import Followed

    followed = Followed(trend)
    if as_json:
        print_json(_values(followed))
        return
    _show_head(followed)
    _show_changes(followed)
    for name, noun, head in _terms(followed):
        _show_term(followed, name, noun, head, everything=chosen)


def _show_head(followed: Followed) -> None:
    import numpy as np

    from flatnorm_xr.show.coming_and_going import coming_and_going
    from flatnorm_xr.show.sizes import in_mmag

    attrs, time = followed.trend.attrs, followed.time
    of = ", ".join(cell(attrs[name]) for name in ("camera", "physical_filter") if attrs.get(name))
    measured = int(followed.measured.sum())
    what = "" if followed.name == "G" else f"{followed.name} of "
    units = f"{what}{measured} {_kind(followed)}{'s' * (measured != 1)}"
    span = f"from {day(time[0])} to {day(time[-1])}" if time.size > 1 else f"of {day(time[0])}"
    printed([f"{of}: {units}, {time.size} run{'s' * (time.size != 1)} {span}"])
    scatter, words = followed.of_units("scatter"), ""
    if np.isfinite(scatter).any():
        words = f"{in_mmag(float(np.nanmedian(scatter))).lstrip('+')} from run to run, typically"
    moved = coming_and_going(followed)
    show_facts({"gauge": attrs.get("gauge", ""), "scatter": words, "not in all runs": moved})


def _show_changes(followed: Followed) -> None:
    changes = followed.changes
    if not followed.tells:
        printed(["", f"too few runs to tell whether any {_kind(followed)} changed"])
        return
    printed([_found(followed, len(changes), "change")])
    if not changes:
        return
    sizes = with_errors([one.size for one in changes], [one.error for one in changes])
    show_table(
        (_kind(followed), "not before", "not after", "size [mmag]", "p", "first run after"),
        [
            (cell(followed.units[one.unit]), day(one.earliest), day(one.latest), size, p_value(one.p), short(one.label))
            for one, size in zip(changes[:MOST], sizes, strict=False)
        ],
        noun="changes",
        asked_for=True,
    )


def _terms(followed: Followed) -> Iterator[tuple[str, str, str]]:
    """Names of what a response may do beside changes, the noun for it, and the head of its column."""
    yield "drift", "drift", "drift [mmag a year]"
    for name in filter(None, str(followed.trend.attrs.get("against", "")).split(", ")):
        units = cell(followed.trend[name].attrs.get("units", "1")) if name in followed.trend.coords else "1"
        per = f" per {units if units not in ('1', '') else 'unit'}"
        yield f"response_{name}", f"response to {cell(name)}", f"{cell(name)} [mmag{per}]"


def _show_term(followed: Followed, name: str, noun: str, head: str, *, everything: bool) -> None:
    """Show the units that do it significantly, or all of them."""
    import numpy as np

    size, error, p = (followed.of_units(f"{name}{what}") for what in ("", "_stderr", "_p_holm"))
    known = np.isfinite(size)
    if not known.any():
        printed(["", f"{noun} not known: there are too few runs, or they do not tell"])
        return
    with np.errstate(invalid="ignore"):
        significant = known & (p < followed.alpha)
    printed([_found(followed, int(significant.sum()), noun)])
    listed = np.flatnonzero(known if everything else significant)
    if not listed.size:
        return
    with np.errstate(divide="ignore", invalid="ignore"):
        listed = listed[np.argsort(-np.abs(size[listed] / error[listed]), kind="stable")][:MOST]
    show_table(
        (_kind(followed), head, "p"),
        [
            (cell(followed.units[unit]), text, p_value(p[unit]))
            for unit, text in zip(listed.tolist(), with_errors(size[listed], error[listed]), strict=True)
        ],
        noun="units",
        asked_for=True,
    )


def _found(followed: Followed, number: int, noun: str) -> str:
    """Say how many there are, below an empty line, and that not all are listed."""
    several = noun.replace("drift", "drifts").replace("change", "changes").replace("response", "responses")
    rest = f"; the {MOST} most significant, -o has all" if number > MOST else ""
    return f"\n{number or 'no'} significant {noun if number == 1 else several} (p below {followed.alpha:g}){rest}"


def _kind(followed: Followed) -> str:
    return "amplifier" if followed.by_amplifier else "detector"


def _values(followed: Followed) -> dict[str, Any]:
    """All that was found, as numbers."""
    trend = followed.trend
    of_changes = [str(name) for name, array in trend.data_vars.items() if array.dims == ("change",)]
    return {
        **{name: trend.attrs[name] for name in ("camera", "physical_filter", "gauge", "alpha") if name in trend.attrs},
        "against": [name for name in str(trend.attrs.get("against", "")).split(", ") if name],
        "runs": [*map(str, trend["run"].values)],
        "time": [*followed.time],
        "changes": [
            {name.removeprefix("change_"): trend[name].values[k] for name in of_changes}
            for k in range(trend.sizes.get("change", 0))
        ],
        "units": rows_of_units(trend, "drift"),
    }
