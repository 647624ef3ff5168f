"""Labels of units, and output names, as they were typed: held against what there is before any work is done."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from flatnorm_xr.errors import FlatnormError, offenders

__all__ = ["PICTURES", "commas", "known_ending", "labels_of"]

PICTURES = (".png", ".pdf", ".svg")
"""Endings of pictures."""


def commas(text: str | None) -> list[str]:
    """Names in a text, with commas between them.

    Examples
    --------
    >>> commas("temperature, exposure_time")
    ['temperature', 'exposure_time']
    """
    return [] if text is None else [name.strip() for name in text.split(",") if name.strip()]


def labels_of(text: str, known: Iterable[Any], *, caller: str, option: str) -> list[Any]:
    """Labels that a text names, as the runs have them: integers where theirs are.

    Examples
    --------
    >>> labels_of("3, 1", [1, 2, 3], caller="trend", option="--detector")
    [3, 1]

    Raises
    ------
    FlatnormError
        One that is not there, or none at all.
    """
    labels = {str(label): label for label in known}
    asked = commas(text)
    absent = [one for one in asked if one not in labels]
    if absent or not asked:
        said = f"names {offenders(absent)}, which no run has" if absent else "names nothing"
        msg = f"{caller}: {option} {said}; have {offenders(labels)}"
        raise FlatnormError(msg)
    return [labels[one] for one in asked]


def known_ending(output: Path, endings: Sequence[str], *, caller: str) -> None:
    """Refuse a file whose ending does not say what it shall be."""
    if output.suffix.lower() not in endings:
        msg = f"{caller}: {output} ends in none of {', '.join(endings)}; choose one of these"
        raise FlatnormError(msg)
