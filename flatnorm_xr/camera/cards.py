"""Cards of one FITS header, each parsed when it is asked for."""

from __future__ import annotations

import re
import warnings
from typing import Any

__all__ = ["CardError", "Cards"]

_CARD = 80
_VALUE = re.compile(
    r"= *(?:'((?:[^']|'')*)'|([TF])|([+-]?\d+)|([+-]?(?:\.\d+|\d+\.\d*|\d+)(?:[ED][+-]?\d+)?))? *(?:/.*)?$"
)
"""Value of a card that keeps to the rules: text, truth, whole number, number, or none."""


class CardError(ValueError):
    """A card does not follow the rules of FITS, or cannot be what it says."""


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
        self._text = raw.decode("latin-1")
        self._first, self._repeated = _find_keywords(self._text)
        self._values: dict[int, Any] = {}

    def __contains__(self, key: str) -> bool:
        return _padded(key) in self._first

    def count(self, key: str) -> int:
        """How often a keyword occurs."""
        key = _padded(key)
        return len(self._repeated[key]) if key in self._repeated else int(key in self._first)

    def __getitem__(self, key: str | tuple[str, int]) -> Any:
        name, nth = (key, 0) if isinstance(key, str) else key
        padded = _padded(name)
        places = self._repeated.get(padded) if nth else None
        at = self._first.get(padded) if nth == 0 else places[nth] if places and nth < len(places) else None
        if at is None:
            raise KeyError(name)
        if at not in self._values:
            self._values[at] = self._parse(at)
        return self._values[at]

    def get(self, key: str, default: Any = None) -> Any:
        """Value of the first card of this keyword, None if it has no value; ``default`` where there is no card.

        Raises
        ------
        CardError
            The card does not follow the rules of FITS.
        """
        return self[key] if _padded(key) in self._first else default

    def _parse(self, at: int) -> Any:
        card = _clean(self._text[at : at + _CARD])
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
        from astropy.io.fits import Card, VerifyError

        end = at + _CARD
        while self._text.startswith("CONTINUE", end):
            end += _CARD
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            text = _clean(self._text[at:end])
            try:
                value = Card.fromstring(text).value
            except (VerifyError, ValueError) as error:
                key, _, rest = text[:_CARD].partition("=")
                msg = f"{key.strip()} is {rest.strip()}: neither a number nor a text in quotes"
                raise CardError(msg) from error
        return None if type(value).__name__ == "Undefined" else value


def _clean(text: str) -> str:
    """Printable ASCII instead of whatever bytes stand in a header: ``?``, and a space for NUL."""
    return text if text.isascii() and text.isprintable() else re.sub("[^ -~]", "?", text.replace("\0", " "))


def _padded(key: str) -> str:
    key = key.upper()
    return (key[9:].strip() if key.startswith("HIERARCH ") else key).ljust(8)


def _find_keywords(text: str) -> tuple[dict[str, int], dict[str, list[int]]]:
    """Where each keyword, padded to eight characters, stands first; and all places of those that stand twice."""
    places = range(0, len(text), _CARD)
    keys = [text[at : at + 8] for at in places]
    every = "".join(set(keys))
    if "=" in every or "HIERARCH" in every or every != every.upper():
        keys = [_mend(text[at : at + _CARD]) if _is_odd(key) else key for at, key in zip(places, keys, strict=True)]
    first = dict(zip(reversed(keys), reversed(places), strict=True))
    repeated: dict[str, list[int]] = {}
    if len(first) < len(keys):
        for at, key in zip(places, keys, strict=True):
            if first[key] != at:
                repeated.setdefault(key, [first[key]]).append(at)
    return first, repeated


def _is_odd(key: str) -> bool:
    """Whether the first eight characters of a card are not its keyword."""
    return key == "HIERARCH" or "=" in key or key != key.upper()


def _mend(card: str) -> str:
    """Keyword of a card that begins with HIERARCH, or whose keyword is in small letters or not padded."""
    key, equals, _ = card.removeprefix("HIERARCH").partition("=")
    return (key if equals else card[:8]).strip().upper().ljust(8)
