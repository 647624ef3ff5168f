"""What a page says of a trend: a few sentences, pictures and tables; alone, or below those of a solution."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from flatnorm_xr.show.coming_and_going import coming_and_going, lost
from flatnorm_xr.show.followed import Change, Followed, Response
from flatnorm_xr.show.report.findings import Finding
from flatnorm_xr.show.report.pictures import Picture, encoded, new_figure
from flatnorm_xr.show.report.tables import Table
from flatnorm_xr.show.report.trend_tables import trend_tables
from flatnorm_xr.show.report.words import number, per_cent, plural, with_mmag
from flatnorm_xr.show.sizes import day, in_mmag, sized

__all__ = ["TrendSection", "find_three", "kind", "make_section", "sum_up", "what_moved"]

_INCHES, _OF_ONE = (9.6, 5.2), (7.2, 4.4)

_MOST_ALONE = 4
"""Units that have a picture of their own."""


@dataclass(frozen=True)
class TrendSection:
    """Sentences, pictures and tables of a trend."""

    sentences: list[str]
    pictures: list[Picture]
    tables: list[Table]


def make_section(followed: Followed, *, sentences: list[str], anchors: bool) -> TrendSection:
    """Collect what is shown of a trend; ``anchors`` as in `trend_tables`."""
    return TrendSection(sentences, list(_pictures(followed)), trend_tables(followed, anchors=anchors))


def kind(followed: Followed, n: int) -> str:
    """Write how many units there are, and what they are."""
    return plural(n, "amplifier" if followed.by_amplifier else "detector")


def sum_up(followed: Followed) -> str:
    """Say in a few sentences what a trend found, and which units came or went."""
    moved = coming_and_going(followed)
    return f"{what_moved(followed)} Not in all runs: {moved}." if moved else what_moved(followed)


def what_moved(followed: Followed) -> str:
    """Say in a sentence or two what changed, drifts or follows something."""
    measured, runs = int(followed.measured.sum()), followed.time.size
    if runs < 2:
        return f"One run of {kind(followed, measured)}: there is nothing to follow yet."
    span = f"{runs} runs from {day(followed.time[0])} to {day(followed.time[-1])}"
    if not followed.tells:
        return f"{span} of {kind(followed, measured)} are too few to tell whether a response changed or drifts."
    changed = len({change.unit for change in followed.changes})
    drifting = int(followed.drifts.sum())
    typical = followed.of_units("scatter")
    scatter = float(np.nanmedian(typical)) if np.isfinite(typical).any() else np.nan
    noise = f" A typical one scatters by {with_mmag(scatter)} from run to run." if np.isfinite(scatter) else ""
    if not followed.standing_out:
        return f"In {span} no response of {kind(followed, measured)} changed or drifts significantly.{noise}"
    parts = [f"{changed or 'none'} changed suddenly", f"{drifting or 'none'} drift{'s' * (drifting == 1)}"]
    for response in followed.responses:
        number_of = int(response.significant.sum())
        parts.append(f"{number_of or 'none'} follow{'s' * (number_of == 1)} {response.name}")
    told = " and ".join([", ".join(parts[:-1]), parts[-1]])
    return f"In {span} of {kind(followed, measured)}, {told} significantly.{noise}"


def find_three(followed: Followed) -> list[Finding]:
    """Choose three things that deserve a look first: the largest change, the largest drift, then what is largest."""
    found = []
    for finding in _candidates(followed):
        found.append(finding)
        if len(found) == 3:
            break
    return found


def _candidates(followed: Followed) -> Iterator[Finding]:
    changes = sorted(followed.changes, key=lambda change: -abs(change.size))
    for change in changes[:1]:
        grew = "grew" if change.size > 0 else "shrank"
        text = f"{_size(change)} between {day(change.earliest)} and {day(change.latest)}."
        more = f" {plural(len(changes) - 1, 'more change')} in the table." if len(changes) > 1 else ""
        yield Finding(f"The response of {followed.units[change.unit]} {grew}", text + more, "#changes")
    drifting = np.flatnonzero(followed.drifts)
    if drifting.size:
        yield _drift(followed, int(drifting[np.argmax(abs(followed.drift[drifting]))]), drifting.size)
    for response in followed.responses:
        if response.significant.any():
            yield _follows(followed, response)
    moved = coming_and_going(followed)
    if moved:
        gone = lost(followed).size
        head = f"{kind(followed, gone)} no longer measured" if gone else "Units that came later"
        yield Finding(head, f"{moved}.", "#drifts", grave=bool(gone))
    for change in changes[1:2]:
        text = f"{_size(change)} on {day(change.after)}."
        yield Finding(f"Next in size, {followed.units[change.unit]}", text, "#changes")
    yield from _extremes(followed)


def _size(change: Change) -> str:
    return f"{sized(change.size, change.error)} ({in_mmag(change.size)})"


def _drift(followed: Followed, unit: int, number_of: int) -> Finding:
    drift, error = float(followed.drift[unit]), float(followed.drift_stderr[unit])
    text = f"{sized(drift, error)} a year ({in_mmag(drift)}), {in_mmag(drift * followed.years)} in all."
    more = f" {number_of - 1} more drift{'s' * (number_of == 2)}." if number_of > 1 else ""
    return Finding(f"{followed.units[unit]} drifts", text + more, "#drifts")


def _follows(followed: Followed, response: Response) -> Finding:
    most = int(np.argmax(np.where(response.significant, np.abs(response.size), 0.0)))
    more = int(response.significant.sum()) - 1
    text = f"{sized(response.size[most], response.error[most])} per {response.per}."
    rest = f" {more} more follow{'s' * (more == 1)} it." if more else ""
    return Finding(f"{followed.units[most]} follows {response.name}", text + rest, "#drifts")


def _extremes(followed: Followed) -> Iterator[Finding]:
    """Name what is largest where nothing is wrong."""
    scatter = followed.of_units("scatter")
    if np.isfinite(scatter).any():
        noisiest = int(np.nanargmax(scatter))
        typical = with_mmag(float(np.nanmedian(scatter)))
        text = f"{followed.units[noisiest]}: {with_mmag(scatter[noisiest])} from run to run; typical is {typical}."
        yield Finding("The response that scatters most", text, "#drifts", grave=False)
    runs = np.isfinite(followed.percent).sum(axis=1)
    least = int(runs.argmin())
    text = f"{followed.units[least]}: in {runs[least]} of {followed.time.size} runs."
    yield Finding("The unit measured least", text, "#drifts", grave=False)
    if np.isfinite(followed.drift_stderr).any() and not followed.drifts.any():
        error = float(np.nanmedian(followed.drift_stderr))
        text = f"A drift of {per_cent(4 * error, 2)} % a year would be 4 of its errors."
        yield Finding("What could have been seen", text, "#drifts", grave=False)
    gaps = np.diff(followed.time)
    if gaps.size:
        longest = int(gaps.argmax())
        text = f"No run between {day(followed.time[longest])} and {day(followed.time[longest + 1])}."
        yield Finding("The longest gap", text, "#runs", grave=False)
    else:
        text = f"{kind(followed, int(followed.measured.sum()))} in it."
        yield Finding(f"{plural(followed.time.size, 'run')} so far", text, "#runs", grave=False)
    yield Finding(
        "What is significant", f"What has a p below {number(followed.alpha)} among all units.", "#drifts", grave=False
    )


def _pictures(followed: Followed) -> Iterator[Picture]:
    """Draw all units together, then each of those that stand out most."""
    shown = followed.standing_out[:_MOST_ALONE]
    if followed.measured.sum() > 1:
        out = f"{len(followed.standing_out) or 'none'} of them stand{'s' * (len(followed.standing_out) < 2)} out"
        alt = f"Responses of {kind(followed, int(followed.measured.sum()))} over their means against time; {out}."
        caption = "All units, relative to their means."
        if followed.time.size == 1:
            alt, caption = (
                f"ln {followed.name} of {kind(followed, int(followed.measured.sum()))} of one run.",
                "All units of the run.",
            )
        yield _drawn(followed, {}, _INCHES, "trend", alt, caption)
    elif followed.measured.any():
        shown = [int(np.flatnonzero(followed.measured)[0])]
    for unit in shown:
        labels = _labels(followed, unit)
        effects = [f"{sized(change.size, change.error)} on {day(change.after)}" for change in followed.changes_of(unit)]
        drift = f"drift {sized(float(followed.drift[unit]), float(followed.drift_stderr[unit]))} a year"
        alt = f"Response of {followed.units[unit]} against time: {', '.join([*effects, drift])}."
        caption = f"{followed.units[unit]}, with its errors, its model and its changes."
        yield _drawn(followed, labels, _OF_ONE, f"trend-{unit}", alt, caption)


def _labels(followed: Followed, unit: int) -> dict[str, Any]:
    """Labels by which the picture finds a unit."""
    trend = followed.trend
    place = int(np.flatnonzero(followed.rows.exists)[unit])
    if not followed.by_amplifier:
        return {"detector": trend["detector"].values[place]}
    detector, amplifier = divmod(place, trend.sizes["amplifier"])
    return {"detector": trend["detector"].values[detector], "amplifier": trend["amplifier"].values[amplifier]}


def _drawn(
    followed: Followed, labels: dict[str, Any], inches: tuple[float, float], name: str, alt: str, caption: str
) -> Picture:
    from flatnorm_xr.show import plots

    figure = new_figure(inches)
    plots.trend(followed.trend, ax=figure.add_subplot(), **labels)
    png, width, height = encoded(figure)
    return Picture(name, png, width, height, alt, caption, wide=inches == _INCHES)
