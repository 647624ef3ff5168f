"""The verdict on a solution in one sentence, and the three things that deserve a look first."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np
import pandas as pd

from flatnorm_xr.flags import SENTENCES, Flag
from flatnorm_xr.show.report.facts import Facts
from flatnorm_xr.show.report.words import listed, number, per_cent, plural, with_mmag
from flatnorm_xr.show.texts import shown

__all__ = ["Finding", "Verdict", "find_three", "judge"]

Status = Literal["good", "look", "bad"]

_EXPECTED_FACTOR = 2.0
"""Variance factor above which levels scatter more than their sigma says."""


@dataclass(frozen=True)
class Finding:
    """One thing to look at: what, its numbers, and where on the page it is seen."""

    headline: str
    text: str
    anchor: str
    grave: bool = True
    """Whether it takes the verdict away from good."""


@dataclass(frozen=True)
class Verdict:
    """The verdict: a status, its words, and a sentence."""

    status: Status
    word: str
    sentence: str


def judge(facts: Facts) -> Verdict:
    """Sum a solution up.

    "bad" when it did not converge or has no E or no G at all; "look" when something was left out or lost, or the levels
    are not G times E; "good" when nothing of that was found.
    """
    found: str = facts.diagnosis.attrs["verdict"]
    if not np.isfinite(facts.E).any() or not np.isfinite(facts.G).any():
        return Verdict("bad", "Nothing to use", "No exposure or no unit has a usable level, so there is no E and no G.")
    if not (facts.weight > 0).any():
        return Verdict("bad", "Nothing to use", "No cell of this part of a solution was used in the fit.")
    rms = with_mmag(float(np.sqrt(np.average(np.nan_to_num(facts.residual) ** 2, weights=facts.weight))))
    causes = set(filter(None, str(facts.diagnosis.attrs.get("causes", "")).split(", ")))
    if causes - _left_out(facts):
        sentence = f"The levels are not G times E: {found}. They are within {rms} rms of it."
    elif causes:
        sentence = f"The levels are G times E to {rms} rms, once what does not follow is left out: {found}."
    else:
        sentence = f"The levels are G times E to {rms} rms: {found}."
    if not _converged(facts):
        return Verdict("bad", "Do not use", f"The solver did not converge. {sentence}")
    if _unchecked(facts):
        return Verdict("look", "Cannot be checked", f"{found[0].upper()}{found[1:]}.")
    grave = [_lower(finding.headline) for finding in _candidates(facts) if finding.grave]
    if grave:
        why = "" if causes - _left_out(facts) else f" But look at {listed(grave, most=3)}."
        return Verdict("look", "Look before you use it", sentence + why)
    return Verdict("good", "Good", sentence)


def find_three(facts: Facts) -> list[Finding]:
    """Choose the three things that deserve a look first, the gravest first.

    Where there are fewer faults than three, the extremes of what is good follow: the largest residual, the least
    certain unit, the unit whose response is farthest from the others'.
    """
    return list(islice(_candidates(facts), 3))


def _candidates(facts: Facts) -> Iterator[Finding]:
    yield from _solver(facts)
    yield from _departures(facts, of_one_unit=False)
    yield from _rejected(facts)
    yield from _departures(facts, of_one_unit=True)
    yield from _dead_exposures(facts)
    yield from _dead_units(facts)
    yield from _holes(facts)
    yield from _weak(facts)
    yield from _extremes(facts)


def _lower(headline: str) -> str:
    return headline[0].lower() + headline[1:]


def _converged(facts: Facts) -> bool:
    values = facts.solution.get("converged", facts.solution.attrs.get("converged", 1))
    return bool(np.all(np.asarray(values) != 0))


def _unchecked(facts: Facts) -> bool:
    """Whether any levels at all would follow the model, so that nothing speaks for these."""
    return not bool((facts.diagnosis["made"] != 0).any()) and int(facts.diagnosis.attrs["dof"]) <= 0


def _solver(facts: Facts) -> Iterator[Finding]:
    if not _converged(facts):
        number_of = shown(facts.solution.attrs.get("iterations", "some"), longest=20)
        text = f"It stopped after {number_of} iterations; E and G are less certain than told."
        yield Finding("The solver did not converge", text, "#pictures")
    if _unchecked(facts):
        text = "There are as many parameters as levels; more exposures of more detectors would tell."
        yield Finding("Nothing speaks for or against the model", text, "#diagnosis")
    if "component" in facts.solution:
        sets = int(facts.of_units("component").max()) + 1
        if sets > 1:
            text = "The ratio of their responses was not measured; each set has a gauge of its own."
            yield Finding(f"{sets} sets of units that share no exposure", text, "#units")


def _departures(facts: Facts, *, of_one_unit: bool) -> Iterator[Finding]:
    """Name the causes that the diagnosis found, in its order."""
    diagnosis = facts.diagnosis
    told = _left_out(facts)
    order = diagnosis["cause"].values
    for k in sorted(np.flatnonzero(order > 0), key=lambda k: order[k]):
        name = str(diagnosis["test"].values[k])
        if (name in _OF_ONE_UNIT) is of_one_unit and name not in told:
            yield Finding(
                f"Not a product: {_TESTS.get(name, name)}", str(diagnosis["sentence"].values[k]), "#diagnosis"
            )


def _left_out(facts: Facts) -> set[str]:
    """Name the tests whose finding was left out of the fit as a fault already."""
    return set() if facts.rejections is None else {_SAME[kind] for kind in facts.rejections["kind"] if kind in _SAME}


_OF_ONE_UNIT = ("bias", "slope", "jump", "scatter")

_SAME = {"gain jump": "jump", "unit": "scatter"}
"""Tests that find again what was left out as such."""

_TESTS = {
    "plane": "a gradient across the focal plane that changes",
    "modes": "a pattern that units share",
    "nonlinearity": "a nonlinearity common to all units",
    "tukey": "ln G times ln E enters the levels",
    "bias": "a bias left in the levels of a unit",
    "slope": "a response that changes with the level",
    "jump": "a gain that jumps",
    "scatter": "a noisy unit",
    "time": "responses that drift with time",
    "lamp": "lamps that light the camera differently",
}


def _rejected(facts: Facts) -> Iterator[Finding]:
    events = facts.rejections
    if events is None:
        return
    for kind in ("exposure", "unit", "gain jump", "run", "cell"):
        of_kind = events[events["kind"] == kind]
        if len(of_kind):
            yield Finding(_kinds(len(of_kind), kind), _largest(of_kind, kind), "#rejections")


def _kinds(n: int, kind: str) -> str:
    what = {"run": "run of exposures of a unit", "cell": "cell", "gain jump": "gain jump"}.get(kind, kind)
    many = {"run": "runs of exposures of single units"}.get(kind, f"{what}s")
    return f"{n} {what if n == 1 else many} left out of the fit"


def _largest(events: pd.DataFrame, kind: str) -> str:
    """Write the largest event of one kind."""
    size = events["size"].abs().fillna(-1.0)
    event = events.iloc[int(size.to_numpy().argmax())]
    who = _who(event, kind)
    if pd.isna(event["size"]):
        return f"{who}: nothing is left to hold it against."
    if kind in ("exposure", "unit"):
        noise = per_cent(event["stderr"])
        return f"{who} scatters by {per_cent(event['size'])} %, where noise alone would give {noise} %."
    error = f" ± {per_cent(event['stderr'], 2)}" if pd.notna(event["stderr"]) else ""
    if kind == "gain jump":
        size_words = f"{'grew' if event['size'] > 0 else 'shrank'} by {per_cent(abs(event['size']))}{error} %"
        return f"The response of {who} {size_words} at exposure {shown(event['jump_at'])}."
    return f"{'The largest: ' if len(events) > 1 else ''}{who}, {100 * event['size']:+.3g}{error} %."


def _who(event: pd.Series[Any], kind: str) -> str:
    first, last = shown(event["first_exposure"], longest=60), shown(event["last_exposure"], longest=60)
    if kind == "exposure":
        return f"Exposure {first}"
    unit = shown(event["detector"], longest=60)
    if "amplifier" in event.index and pd.notna(event["amplifier"]):
        unit += f"/{shown(event['amplifier'], longest=60)}"
    if kind in ("unit", "gain jump"):
        return unit
    return f"{unit} in exposure {first}" if first == last else f"{unit} in exposures {first} to {last}"


def _dead_exposures(facts: Facts) -> Iterator[Finding]:
    dead = np.flatnonzero(~np.isfinite(facts.E) & ~_mostly(facts.cause, Flag.REJECTED_EXPOSURE, axis=0))
    if dead.size:
        names = listed(f"{facts.exposures[k]} ({_main_cause(facts.cause[:, k])})" for k in dead)
        yield Finding(f"{plural(dead.size, 'exposure')} without a scale", f"No usable level: {names}.", "#exposures")


def _dead_units(facts: Facts) -> Iterator[Finding]:
    dead = np.flatnonzero(~np.isfinite(facts.G).any(axis=1) & ~_mostly(facts.cause, Flag.REJECTED_UNIT, axis=1))
    if not dead.size:
        return
    whole = [
        d for d in np.unique(facts.detector[dead]) if (facts.detector == d).sum() == (facts.detector[dead] == d).sum()
    ]
    names = [f"{facts.units[k]} ({_main_cause(facts.cause[k])})" for k in dead if facts.detector[k] not in whole]
    names = [f"{facts.detectors[d]} ({_main_cause(facts.cause[facts.detector == d])})" for d in whole] + names
    word = "amplifier" if facts.by_amplifier else "detector"
    yield Finding(f"{plural(dead.size, word)} without a response", f"No usable level: {listed(names)}.", "#units")


def _mostly(causes: Any, flag: Flag, *, axis: int) -> Any:
    """Where a flag is the cause of more than half of the cells along an axis."""
    return (causes == np.uint32(flag)).mean(axis=axis) > 0.5


def _main_cause(causes: Any) -> str:
    given = causes[causes != 0]
    if not given.size:
        return "no weight"
    values, counts = np.unique(given, return_counts=True)
    return Flag(int(values[counts.argmax()])).words


def _holes(facts: Facts) -> Iterator[Finding]:
    """Lost cells of units and exposures that are alive, by their most frequent cause."""
    alive = np.logical_and.outer(np.isfinite(facts.G).any(axis=1), np.isfinite(facts.E))
    causes = np.where(alive, facts.cause, 0)
    values, counts = np.unique(causes[causes != 0], return_counts=True)
    for value, count in sorted(zip(values.tolist(), counts.tolist(), strict=True), key=lambda pair: -pair[1]):
        flag = Flag(value)
        if flag in (Flag.OUTLIER, Flag.GAIN_JUMP, Flag.REJECTED_UNIT, Flag.REJECTED_EXPOSURE):
            continue  # told with the rejections
        where = np.flatnonzero(np.any(causes == value, axis=0))
        in_exposures = listed(facts.exposures[k] for k in where)
        text = f"{SENTENCES[flag]} In exposure{'s' if where.size > 1 else ''} {in_exposures}."
        yield Finding(f"{plural(int(count), 'cell')} not used: {flag.words}", text, "#holes")


def _weak(facts: Facts) -> Iterator[Finding]:
    for flag in (Flag.FRAGILE, Flag.LOW_SIGNAL):
        cells = facts.quality & np.uint32(flag) != 0
        if cells.any():
            units = np.flatnonzero(cells.any(axis=1))
            names = listed(facts.units[k] for k in units)
            yield Finding(f"{plural(units.size, 'unit')} {_WEAK[flag]}", f"{SENTENCES[flag]} {names}.", "#units")
    factor = float(np.max(facts.solution.get("variance_factor", facts.solution.attrs.get("variance_factor", np.nan))))
    if str(facts.solution.attrs.get("weights", "")).startswith("variance") and factor > _EXPECTED_FACTOR:
        text = f"The variance factor is {number(factor, 3)}; standard errors carry its root."
        headline = f"Levels scatter {number(math.sqrt(factor), 3)} times more than sigma and floor say"
        yield Finding(headline, text, "#pictures")


_WEAK = {Flag.FRAGILE: "held by one exposure", Flag.LOW_SIGNAL: "with little light"}


def _extremes(facts: Facts) -> Iterator[Finding]:
    """Name what is largest where nothing is wrong."""
    yield from _largest_residual(facts)
    if facts.G_stderr is not None:
        relative = (facts.G_stderr / facts.G).max(axis=1)
        if np.isfinite(relative).any():
            least = int(np.nanargmax(relative))
            typical = with_mmag(float(np.nanmedian(relative)))
            text = f"{facts.units[least]}: {with_mmag(relative[least])}; typical is {typical}."
            yield Finding("The least certain response", text, "#units", grave=False)
    away = np.abs(np.log(facts.G))
    if not np.isfinite(away).any() or not np.isfinite(facts.E).any():
        return
    unit, group = np.unravel_index(int(np.nanargmax(away)), away.shape)
    text = f"{facts.units[unit]}: G = {number(facts.G[unit, group], 6)}."
    yield Finding("The response farthest from the mean", text, "#units", grave=False)
    brightest = int(np.nanargmax(facts.E))
    units = facts.level_units
    text = f"{facts.exposures[brightest]}: E = {number(facts.E[brightest], 7)} {units}."
    yield Finding("The brightest exposure", text, "#exposures", grave=False)


def _largest_residual(facts: Facts) -> Iterator[Finding]:
    if facts.pulls is None:
        return
    pulls = np.where(facts.weight > 0, np.abs(facts.pulls), np.nan)
    if not np.isfinite(pulls).any():
        return
    i, j = np.unravel_index(int(np.nanargmax(pulls)), pulls.shape)
    expected = float(np.isfinite(pulls).sum()) * math.erfc(float(pulls[i, j]) / math.sqrt(2))
    text = (
        f"{facts.units[i]} in exposure {facts.exposures[j]}: {with_mmag(facts.residual[i, j], signed=True)}, "
        f"{number(pulls[i, j], 3)} standard deviations. Noise alone makes {number(expected, 2)} such cells among "
        f"{int(np.isfinite(pulls).sum())}."
    )
    yield Finding("The largest residual of the fit", text, "#residuals", grave=False)
