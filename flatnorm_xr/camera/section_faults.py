"""Sections and gains that would give wrong numbers: light in the overscan, pixels counted twice, no gain to apply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from flatnorm_xr.camera.amplifiers import Draft
from flatnorm_xr.camera.faults import Reading
from flatnorm_xr.camera.sections import Section
from flatnorm_xr.camera.trimmed import overlapping
from flatnorm_xr.errors import offenders

if TYPE_CHECKING:
    from flatnorm_xr.camera.geometry import Detector

__all__ = ["check_gains", "check_sections"]

_Sections = tuple[Section, Section | None, bool]
"""Of an amplifier: data, overscan, whether that lies in an HDU of its own."""

_CORRECT = "correct the sections in the camera profile"


def check_sections(drafts: Sequence[Draft], reading: Reading) -> None:
    """Collect what sections of one detector cannot be.

    Parameters
    ----------
    drafts : sequence of Draft
        Its amplifiers.
    reading : Reading
        Takes the faults: a pixel that two amplifiers have, an overscan in which light falls, and one that lacks rows
        of the data where it is subtracted row by row.
    """
    together: dict[int, list[Draft]] = {}
    for draft in drafts:
        together.setdefault(draft.hdu, []).append(draft)
    for hdu, inside in together.items():
        sections = tuple((one.data, one.overscan, one.overscan_hdu is not None) for one in inside)
        for what, members in _clashes(sections, reading.profile.overscan):
            names = " and ".join(inside[i].name for i in members)
            advice = f"set overscan: constant, or {_CORRECT}" if "lacks rows" in what else _CORRECT
            reading.wrong(f"{what} (amplifier {names})" if names else what, hdu=hdu, advice=advice)


@lru_cache(maxsize=256)
def _clashes(sections: tuple[_Sections, ...], kind: str) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Give what is wrong, and the numbers of the amplifiers; the CCDs of a camera have much the same sections."""
    return tuple(_find_clashes(sections, kind))


def _find_clashes(sections: tuple[_Sections, ...], kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    for pair in overlapping([data for data, _, _ in sections]):
        yield "the data sections of two amplifiers have pixels in common", pair
    for i, (data, overscan, apart) in enumerate(sections):
        if overscan is None or kind == "none":
            continue
        if not apart and any(overlapping([overscan, other]) for other, _, _ in sections):
            yield f"the overscan {overscan} lies in a data section", (i,)
        if kind == "median-per-row" and _lacks_rows(data, overscan, apart):
            yield f"the overscan {overscan} lacks rows of the data section {data}", (i,)


def _lacks_rows(data: Section, overscan: Section, apart: bool) -> bool:
    rows, wanted = overscan.slices[0], data.slices[0]
    if apart:
        return bool(rows.stop - rows.start != wanted.stop - wanted.start)
    return bool(wanted.start < rows.start or wanted.stop > rows.stop)


def check_gains(detectors: Iterable[Detector], reading: Reading) -> None:
    """Collect amplifiers without a gain above zero, where the profile multiplies by it."""
    amplifiers = [(one.id, amplifier) for one in detectors for amplifier in one.amplifiers if not amplifier.gain > 0]
    if reading.profile.apply_gain and amplifiers:
        rule = reading.profile.amplifiers.rule("gain", amplifiers[0][1].name)
        found = "the profile has no rule" if rule is None else str(rule)
        names = offenders(f"{label} {amplifier.name}".strip() for label, amplifier in amplifiers)
        reading.wrong(
            f"apply_gain is true, and no gain above zero is known ({found}): {names}",
            advice="write the gains into the camera profile, or set apply_gain: false",
        )
