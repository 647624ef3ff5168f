"""Cards of one FITS header, each parsed when it is asked for."""

from __future__ import annotations

import re
import warnings
from typing import Any

__all__ = ["Cards"]

_CARD = 80
_VALUE = re.compile(
    r"= *(?:'((?:[^']|'')*)'|([TF])|([+-]?\d+)|([+-]?(?:\.\d+|\d+\.\d*|\d+)(?:[ED][+-]?\d+)?))? *(?:/.*)?$"
)
"""Value of a card that keeps to the rules: text, truth, whole number, number, or none."""


class Cards:
    """Keywords and values of one header.

    A header has some hundred cards, of which a camera profile asks for twenty: nothing is parsed before that. What
    does not keep to the rules of FITS is left to astropy's more forgiving parser.

    Parameters
    ----------
    raw : bytes
        Cards of 80 bytes, without END. Bytes that are no printable ASCII become ``?``, NUL becomes a space.

    Examples
    --------
    >>> cards = Cards(b"GAIN    =                  2.5 / e/adu".ljust(80) + b"FILTER  = 'r       '".ljust(80))
    >>> cards["GAIN"], cards.get("filter"), "EXPTIME" in cards
    (2.5, 'r', False)
    """

    def __init__(self, raw: bytes) -> None:
        text = raw.decode("latin-1")
        if not (text.isascii() and text.isprintable()):
            text = re.sub("[^ -~]", "?", text.replace("\0", " "))
        self._text = text
        self._places = _find_keywords(text)
        self._values: dict[int, Any] = {}

    def _at(self, key: str) -> list[int]:
        key = key.upper()
        key = key[9:].strip() if key.startswith("HIERARCH ") else key
        return self._places.get(key.ljust(8), [])

    def __contains__(self, key: str) -> bool:
        return bool(self._at(key))

    def count(self, key: str) -> int:
        """How often a keyword occurs."""
        return len(self._at(key))

    def __getitem__(self, key: str | tuple[str, int]) -> Any:
        name, nth = (key, 0) if isinstance(key, str) else key
        places = self._at(name)
        if not 0 <= nth < len(places):
            raise KeyError(name)
        at = places[nth]
        if at not in self._values:
            self._values[at] = self._parse(at)
        return self._values[at]

    def get(self, key: str, default: Any = None) -> Any:
        """Value of the first card of this keyword, None if it has no value; ``default`` where there is no card.

        Raises
        ------
        astropy.io.fits.VerifyError
            The card does not follow the rules of FITS.
        """
        return self[key] if self._at(key) else default

    def _parse(self, at: int) -> Any:
        card = self._text[at : at + _CARD]
        long = card.startswith("HIERARCH")
        start = card.find("=") if long else 8
        found = _VALUE.match(card, start) if start >= 0 and (long or card[9] == " ") else None
        if found is None:
            return self._parse_odd(at)
        string, truth, whole, number = found.groups()
        if string is not None:
            # A long text goes on in the next card; "name: 2" is a number by another convention.
            if string.endswith("&") or ": " in string:
                return self._parse_odd(at)
            return string.replace("''", "'").rstrip()
        if truth is not None:
            return truth == "T"
        if whole is not None:
            return int(whole)
        return None if number is None else float(number.replace("D", "E"))

    def _parse_odd(self, at: int) -> Any:
        from astropy.io.fits import Card

        end = at + _CARD
        while self._text.startswith("CONTINUE", end):
            end += _CARD
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = Card.fromstring(self._text[at:end]).value
        return None if type(value).__name__ == "Undefined" else value


def _find_keywords(text: str) -> dict[str, list[int]]:
    """Where each keyword stands, padded to eight characters."""
    places: dict[str, list[int]] = {}
    for at in range(0, len(text), _CARD):
        key = text[at : at + 8]
        if key in places:
            places[key].append(at)
        else:
            places[key] = [at]
    odd = [key for key in places if "=" in key or key != key.upper()]
    for key in odd:
        name = key.partition("=")[0].strip().upper().ljust(8)
        places[name] = sorted([*places.get(name, []), *places.pop(key)])
    for at in places.get("HIERARCH", ()):
        name, equals, _ = text[at + 8 : at + _CARD].partition("=")
        if equals:
            places.setdefault(name.strip().upper().ljust(8), []).append(at)
    return places
