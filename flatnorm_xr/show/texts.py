"""Texts from headers and labels, written so that every character of them is seen."""

from __future__ import annotations

import unicodedata
from datetime import datetime

import numpy as np

__all__ = ["shown"]

_LONGEST = 600
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
"""Categories of characters that would not be seen, or would turn the text that follows around."""


def shown(value: object, *, longest: int = _LONGEST) -> str:
    r"""Write anything as a text in which every character is seen, shortened when it is very long.

    Control characters, surrogates and those that change the direction of writing are written as ``\x1b`` or ``\u202e``;
    line ends and tabs stay.

    Examples
    --------
    >>> shown("flat\x00 \u202egnp")
    'flat\\x00 \\u202egnp'
    """
    if isinstance(value, np.datetime64):
        text = str(value)[:19]
    elif isinstance(value, datetime):
        text = value.isoformat(timespec="seconds")
    else:
        text = str(value)
    if len(text) > longest:
        text = f"{text[:longest]} ... ({len(text)} characters)"
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_seen, text))


def _seen(character: str) -> str:
    if character in "\n\t" or unicodedata.category(character) not in _UNSEEN:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
