"""The tables of a trend: what changed and when, how each unit drifts, and the runs it was followed through."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from flatnorm_xr.show.axes import axis_label
from flatnorm_xr.show.followed import Followed
from flatnorm_xr.show.looks import MMAG_PER_PERCENT
from flatnorm_xr.show.report.tables import MOST_ROWS, Column, Row, Table
from flatnorm_xr.show.report.words import number, per_cent
from flatnorm_xr.show.sizes import day, digits_of
from flatnorm_xr.show.texts import shown

__all__ = ["trend_tables"]

_ID = 12
"""Characters of a run's id that a table shows."""


def trend_tables(followed: Followed, *, anchors: bool) -> list[Table]:
    """Make the tables that have something to say, in the order of the page.

    Parameters
    ----------
    followed : Followed
    anchors : bool
        Whether the rows of units are where the focal plane leads; on a page that has other such rows they are not.
    """
    tables = [_changes(followed, anchors=anchors), _drifts(followed, anchors=anchors), _runs(followed)]
    return [table for table in tables if table.rows]


def _unit_columns(followed: Followed) -> list[Column]:
    return [Column("detector", kind="t"), *([Column("amplifier", kind="t")] if followed.by_amplifier else [])]


def _unit_texts(followed: Followed, unit: int) -> list[str]:
    amplifier = [followed.amplifiers[unit]] if followed.by_amplifier else []
    return [followed.detectors[int(followed.detector[unit])], *amplifier]


def _to_error(value: float, error: float) -> str:
    """Write a number to the decimals to which its error has two digits."""
    if not (np.isfinite(value) and np.isfinite(error) and error > 0):
        return number(value, 3)
    return f"{value:.{digits_of(error)}f}"


def _in_mmag(size: float, error: float) -> str:
    return _to_error(100 * MMAG_PER_PERCENT * size, 100 * MMAG_PER_PERCENT * error)


def _changes(followed: Followed, *, anchors: bool) -> Table:
    columns = [
        *_unit_columns(followed),
        Column("first run after", kind="t", help="where the change fits best"),
        Column("not before", kind="t", help="with that beside it: where it was with a probability of 95 %"),
        Column("not after", kind="t"),
        Column("size", "%", "ln of the response after over that before"),
        Column("error", "%"),
        Column("size", "mmag", "positive where the response grew"),
        Column("significance", help="size over its error"),
        Column("p", help="of so large a change by chance, in any run of any unit"),
        Column("run", kind="t", help="the first after"),
    ]
    rows = [
        Row(
            [
                *_unit_texts(followed, change.unit),
                _minute(change.after),
                day(change.earliest),
                day(change.latest),
                _to_error(100 * change.size, 100 * change.error),
                per_cent(change.error, 2),
                _in_mmag(change.size, change.error),
                number(change.size / change.error if change.error > 0 else np.nan, 3),
                number(change.p, 2),
                change.label[:_ID],
            ],
            detector=int(followed.detector[change.unit]) if anchors else None,
        )
        for change in followed.changes
    ]
    caption = "Responses that changed from one run to the next and stayed so, the most significant first."
    listed, omitted = rows[:MOST_ROWS], max(len(rows) - MOST_ROWS, 0)
    return Table("changes", "Changes", caption, columns, listed, omitted)


def _drifts(followed: Followed, *, anchors: bool) -> Table:
    columns, texts = _drift_columns(followed)
    rows = []
    for unit, detector in enumerate(followed.detector.tolist()):
        first = unit == followed.rows.starts[detector]
        anchor = f"detector-{detector}" if anchors and first else ""
        cells = [*_unit_texts(followed, unit), *(column[unit] for column in texts)]
        rows.append(Row(cells, anchor=anchor, detector=detector if anchors else None))
    title = "Amplifiers over the years" if followed.by_amplifier else "Detectors over the years"
    caption = (
        f"How ln {followed.name} of each moves in a year, beside its changes, and how it scatters about that. A "
        f"drift is significant where its p, for all of them together, is below {number(followed.alpha)}."
    )
    return Table("drifts", title, caption, [*_unit_columns(followed), *columns], rows)


def _drift_columns(followed: Followed) -> tuple[list[Column], list[list[str]]]:
    """Columns of the table of units, and the texts of each."""
    drifts = list(zip(followed.drift.tolist(), followed.drift_stderr.tolist(), strict=True))
    runs = np.isfinite(followed.percent).sum(axis=1)
    changes = np.bincount([change.unit for change in followed.changes], minlength=len(followed.units))
    columns = [
        Column("drift", "% a year"),
        Column("error", "% a year"),
        Column("drift", "mmag a year"),
        Column("p", help="of so large a drift by chance, in any unit (Holm)"),
        Column("changes"),
        Column("scatter", "%", f"standard deviation of ln {followed.name} about its model"),
        Column("runs", help="in which it was measured"),
    ]
    texts = [
        [_to_error(100 * value, 100 * error) for value, error in drifts],
        [per_cent(error, 2) for _, error in drifts],
        [_in_mmag(value, error) for value, error in drifts],
        [number(value, 2) for value in followed.drift_p],
        [str(value) for value in changes],
        [per_cent(value) for value in followed.of_units("scatter")],
        [str(value) for value in runs],
    ]
    for response in followed.responses:
        per = f"% per {response.units or 'unit'}"
        columns += [
            Column(response.name, per, f"response of ln {followed.name} to {response.name}"),
            Column("error", per),
            Column(f"p, {response.name}"),
        ]
        texts += [
            [_to_error(100 * one, 100 * its) for one, its in zip(response.size, response.error, strict=True)],
            [per_cent(value, 2) for value in response.error],
            [number(value, 2) for value in response.p],
        ]
    return columns, texts


def _runs(followed: Followed) -> Table:
    trend = followed.trend
    numeric = [
        str(name)
        for name, coord in trend.coords.items()
        if coord.dims == ("run",) and coord.dtype.kind in "iuf" and name != "run"
    ]
    measured = np.isfinite(followed.percent).sum(axis=0)
    columns = [
        Column("run", kind="t"),
        Column("time (UTC)", kind="t"),
        Column("units", help="measured in it"),
        *([Column("gauge", "%", "ln of what its G was divided by")] if "gauge_offset" in trend else []),
        *(Column(axis_label(trend[name])) for name in numeric),
    ]
    texts: list[list[str]] = [
        [shown(label)[:_ID] for label in np.atleast_1d(trend["run"].values)],
        [_minute(time) for time in followed.time],
        [str(value) for value in measured],
        *(
            [[per_cent(value) for value in _along_runs(trend["gauge_offset"].values)]]
            if "gauge_offset" in trend
            else []
        ),
        *([number(value, 5) for value in _along_runs(trend[name].values)] for name in numeric),
    ]
    rows = [Row(list(cells)) for cells in zip(*texts, strict=True)]
    return Table("runs", "Runs", "The runs that were followed, in time.", columns, rows)


def _along_runs(values: Any) -> NDArray[np.float64]:
    return np.atleast_1d(np.asarray(values, dtype=float))


def _minute(time: np.datetime64) -> str:
    return "" if np.isnat(time) else str(time)[:16].replace("T", " ")
