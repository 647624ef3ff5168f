"""What is wrong with a file as its profile reads it: collected, and said in one line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from flatnorm_xr.camera.profiles import Profile
from flatnorm_xr.errors import offenders

__all__ = ["Fault", "Reading", "by_text", "faults_text", "with_paths"]


class Fault(NamedTuple):
    """What is wrong, the HDU it is wrong in (None: the file), and what to do."""

    said: str
    hdu: int | None = None
    advice: str = ""


@dataclass(frozen=True)
class Reading:
    """One file that is read by one profile; what is wrong, and what deserves a look, is collected on the way."""

    path: str
    profile: Profile
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def wrong(self, said: str, *, hdu: int | None = None, advice: str = "") -> None:
        """Collect what is wrong: the file cannot be measured."""
        self.faults.append(Fault(said, hdu, advice))


def faults_text(path: str, faults: Iterable[Fault]) -> str:
    """Say in one line all that is wrong with a file: what is wrong in several HDUs once, and what to do once.

    Examples
    --------
    >>> faults_text("a.fits", [Fault("no gain", 1, "correct it"), Fault("no gain", 2, "correct it")])
    'a.fits: HDU 1, 2: no gain; correct it'
    """
    alike: dict[str, dict[str, dict[int | None, None]]] = {}
    for said, hdu, advice in faults:
        alike.setdefault(advice, {}).setdefault(said, {})[hdu] = None
    return "; ".join(
        offenders(f"{_where(path, list(hdus))}: {said}" for said, hdus in texts.items())
        + (f"; {advice}" if advice else "")
        for advice, texts in alike.items()
    )


def _where(path: str, hdus: Sequence[int | None]) -> str:
    if len(hdus) > 1:
        return f"{path}: HDU {offenders(hdus)}"
    return path if hdus == [None] else f"{path}[{hdus[0]}]"


def by_text(found: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Paths of each text; texts that differ in the path alone are one, without it.

    Parameters
    ----------
    found : iterable of (text, path)

    Examples
    --------
    >>> by_text([("a.fits[1]: no gain", "a.fits"), ("b.fits[1]: no gain", "b.fits"), ("c.fits: no id", "c.fits")])
    {'HDU 1: no gain': ['a.fits', 'b.fits'], 'c.fits: no id': ['c.fits']}
    """
    alike: dict[str, dict[str, list[str]]] = {}
    for text, path in found:
        here = re.escape(path)
        key = re.sub(rf"{here}: ", "", re.sub(rf"{here}\[(\d+)\]", r"HDU \1", text))
        alike.setdefault(key, {}).setdefault(text, []).append(path)
    return {
        next(iter(texts)) if len(texts) == 1 else key: [path for paths in texts.values() for path in paths]
        for key, texts in alike.items()
    }


def with_paths(text: str, paths: Sequence[str]) -> str:
    """Put the paths before a text of `by_text`, unless it names its only one."""
    return text if len(paths) == 1 and paths[0] in text else f"{offenders(paths)}: {text}"
