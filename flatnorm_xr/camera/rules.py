"""How a camera profile says where a value is: keyword, text with keywords, literal, or the first of several."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from flatnorm_xr.camera.headers import HduHeader
from flatnorm_xr.errors import CameraError

__all__ = [
    "FILE_STEM",
    "HDU_NUMBER",
    "LEFT_OF_DATA",
    "RIGHT_OF_DATA",
    "Match",
    "Rule",
    "file_stem",
    "match_all",
    "parse_rule",
]

FILE_STEM = "file-stem"
"""Word in a rule: the file's name without directory, .fits, .fz, .gz."""

HDU_NUMBER = "hdu-number"
"""Word in a rule: the number of the HDU before compression, 0 the primary."""

COLUMNS, ROWS = "columns", "rows"
"""Words in a rule: size of the image."""

RIGHT_OF_DATA = "right-of-data"
"""Word in the rule of an overscan: all columns right of the data section, its rows."""

LEFT_OF_DATA = "left-of-data"
"""Word in the rule of an overscan: all columns left of the data section, its rows."""

Match = tuple[tuple[str, str | None], ...]
"""Keywords and the regular expressions that their values must have; None: the keyword must be absent."""

_WORDS = (FILE_STEM, HDU_NUMBER, COLUMNS, ROWS, RIGHT_OF_DATA, LEFT_OF_DATA)
_KEYWORD = re.compile(r"[A-Z0-9_-]+(?: [A-Z0-9_-]+)*")
_INSERT = re.compile(r"\{([^{}:]+)(?::([^{}]*))?\}")
_ALLOWED = ("key", "join", "match", "cases", "format", "type")


@dataclass(frozen=True)
class Rule:
    """Where a value is.

    Attributes
    ----------
    sources : tuple of str, number or Rule
        Tried in turn; the first that is in the header (and matches) is the value. Each is a keyword, a text with
        ``{KEYWORD}`` in it, a section in brackets, a number (a literal), a word such as ``file-stem``, or a rule.
        ``{amp}`` stands for the amplifier's name, and is put in first.
    match : str
        Regular expression (case is ignored) the value must have; its first group, if it has one, becomes the value.
    format : str
        Text around the value, ``{}`` the value.
    type : str
        "integer", "number", "text", or empty for the header's own type.
    cases : tuple of (str, value)
        Regular expressions and what the value becomes where one is found, the first that is; a value that none of them
        fits does not count.
    join : bool
        All sources that are there, joined by "+", instead of the first: filters of two wheels.
    """

    sources: tuple[str | float | Rule, ...]
    match: str = ""
    format: str = ""
    type: str = ""
    cases: tuple[tuple[str, str | float], ...] = ()
    join: bool = False

    def find(self, hdu: HduHeader, *, amplifier: str = "", path: str = "") -> Any:
        """Value for one HDU, or None when no source is there.

        Raises
        ------
        CameraError
            The value is not of the type the profile promises.
        """
        every = bool(self.match or self.cases)  # else the first value that is there will do
        parts = []
        for source in self.sources:
            for value in _values(source, hdu, amplifier, path, every=every):
                shaped = self._shape(value) if every or self.format else value
                if shaped is not None:
                    if not self.join:
                        return _typed(shaped, self.type, source, hdu, path) if self.type else shaped
                    parts.append(str(shaped).strip())
                    break
        return "+".join(parts) if parts else None

    def _shape(self, value: Any) -> Any:
        if self.match:
            found = _compiled(self.match).search(str(value))
            if found is None:
                return None
            value = found.group(1) if found.re.groups else found.group(0)
        if self.cases:
            text = str(value)
            value = next((result for regex, result in self.cases if _compiled(regex).search(text)), None)
        return self.format.format(value) if self.format and value is not None else value

    def __str__(self) -> str:
        return (" + " if self.join else " or ").join(map(str, self.sources))


@lru_cache(maxsize=1024)
def _compiled(regex: str) -> re.Pattern[str]:
    return re.compile(regex, re.IGNORECASE)


def match_all(match: Match, hdu: HduHeader) -> bool:
    """Whether each keyword of ``match`` has a value that its regular expression finds (None: it has none)."""
    for key, regex in match:
        values = _values(key, hdu, "", hdu.path, every=regex is not None)
        if regex is None:
            if any(value is not None for value in values):
                return False
        elif not any(_compiled(regex).search(str(value)) for value in values):
            return False
    return True


class _Plan(NamedTuple):
    """A source, taken apart once: a keyword, a literal, a word, or texts between inserts (keyword and format)."""

    kind: str
    text: str
    inserts: tuple[tuple[str, str], ...] = ()


@lru_cache(maxsize=4096)
def _plan(source: str, amplifier: str) -> _Plan:
    text = source.replace("{amp}", amplifier)
    if text in _WORDS:
        return _Plan("word", text)
    if "{" in text:
        return _Plan(
            "template", text, tuple((found.group(1), found.group(2) or "") for found in _INSERT.finditer(text))
        )
    return _Plan("literal" if text.startswith("[") else "keyword", text)


def _values(source: str | float | Rule, hdu: HduHeader, amplifier: str, path: str, *, every: bool) -> Iterable[Any]:
    """Give what one source has in a header: a keyword's ``every`` value, or only its first."""
    if isinstance(source, Rule):
        value = source.find(hdu, amplifier=amplifier, path=path)
        return () if value is None else (value,)
    if not isinstance(source, str):
        return (source,)
    kind, text, inserts = _plan(source, amplifier)
    if kind == "keyword":
        if not every:
            value = hdu.get(text)
            return () if value is None else (value.strip() if isinstance(value, str) else value,)
        return (value.strip() if isinstance(value, str) else value for value in hdu.values(text))
    if kind == "word":
        return _of_word(text, hdu, path)
    return (text,) if kind == "literal" else _filled(text, inserts, hdu, path)


def _of_word(word: str, hdu: HduHeader, path: str) -> tuple[Any, ...]:
    if word == FILE_STEM:
        return (file_stem(path),)
    if word == HDU_NUMBER:
        return (hdu.number,)
    if word in (COLUMNS, ROWS):
        return (hdu.shape[word == COLUMNS],) if hdu.shape else ()
    return (word,)


def _filled(text: str, inserts: tuple[tuple[str, str], ...], hdu: HduHeader, path: str) -> tuple[str, ...]:
    """Put values into a text; nothing when one of its keywords is not there."""
    values = [hdu.get(key) for key, _ in inserts]
    if None in values:
        return ()
    try:
        words = iter([_insert(value, spec) for value, (_, spec) in zip(values, inserts, strict=True)])
    except (TypeError, ValueError) as error:
        given = ", ".join(f"{key} = {value!r}" for value, (key, _) in zip(values, inserts, strict=True))
        msg = f"{path}[{hdu.index}]: {given} cannot be written as the camera profile wants, {text!r} ({error})"
        raise CameraError(msg) from error
    return (_INSERT.sub(lambda _: next(words), text),)


def _insert(value: Any, spec: str) -> str:
    if isinstance(value, str):
        value = int(value) if spec.endswith("d") and value.strip().isdigit() else value.strip()
    return format(value, spec)


def _typed(value: Any, kind: str, source: object, hdu: HduHeader, path: str) -> Any:
    if kind == "text":
        return str(value)
    if not kind:
        return value
    try:
        number = float(value)
        if kind == "number":
            return number
        whole = int(value)
    except (TypeError, ValueError):
        number, whole = 0.5, 0
    if number != whole:
        msg = f"{path}[{hdu.index}]: {source} is {value!r}, and the camera profile says it is of type {kind}"
        raise CameraError(msg)
    return whole


def file_stem(path: str) -> str:
    """Name of a file without its directory and without .fits, .fit, .fts, .fz, .gz.

    Examples
    --------
    >>> file_stem("night/c4d_1.fits.fz")
    'c4d_1'
    """
    name = path.rsplit("/", 1)[-1]
    return re.sub(r"(\.(fits?|fts))?(\.(fz|gz|bz2))?$", "", name, flags=re.IGNORECASE)


def parse_rule(given: Any) -> Rule:
    """Make a rule of what stands in the YAML.

    Raises
    ------
    CameraError
        Saying what is allowed; the caller adds file and key.
    """
    if isinstance(given, Mapping):
        unknown = [str(key) for key in given if key not in _ALLOWED]
        if unknown or ("key" in given) == ("join" in given):
            problem = f"unknown {', '.join(unknown)}" if unknown else "key is missing, or there is join beside it"
            msg = f"{problem}; a rule written as a mapping has key or join, and may have match, cases, format, type"
            raise CameraError(msg)
        return Rule(
            parse_rule(given["key"] if "key" in given else given["join"]).sources,
            _regex(given.get("match", "")),
            _format(given.get("format", "")),
            _type(given),
            _cases(given["cases"]) if "cases" in given else (),
            "join" in given,
        )
    sources = tuple(given) if isinstance(given, list) else (given,)
    if not sources:
        msg = "an empty list; name at least one keyword"
        raise CameraError(msg)
    return Rule(tuple(_source(source) for source in sources))


def _source(source: Any) -> str | float | Rule:
    if isinstance(source, Mapping):
        return parse_rule(source)
    if isinstance(source, int | float) and not isinstance(source, bool):
        return source
    if not isinstance(source, str):
        msg = f"{source!r}: write a keyword, a text with {{KEYWORD}} in it, a number, or a list of these"
        raise CameraError(msg)
    text = source.replace("{amp}", "")
    if text in _WORDS or text.startswith("[") or _KEYWORD.fullmatch(text):
        return source
    keys = [found.group(1) for found in _INSERT.finditer(text)]
    if keys and all(_KEYWORD.fullmatch(key) for key in keys):
        wrong = [found.group(2) for found in _INSERT.finditer(text) if not _is_spec(found.group(2) or "")]
        if wrong:
            msg = f"{source!r}: {', '.join(wrong)} is no format of a text or number; write for example {{KEYWORD:05d}}"
            raise CameraError(msg)
        return source
    msg = f"{source!r} is neither a keyword (capitals) nor one of the words {', '.join(_WORDS)}"
    raise CameraError(msg)


def _cases(given: Any) -> tuple[tuple[str, str | float], ...]:
    ok = isinstance(given, Mapping) and bool(given)
    if not ok or any(isinstance(value, bool) or not isinstance(value, str | int | float) for value in given.values()):
        msg = f"cases {given!r} must be a mapping of regular expressions to texts or numbers"
        raise CameraError(msg)
    return tuple((_regex(regex), value) for regex, value in given.items())


def _is_spec(spec: str) -> bool:
    for value in ("1", 1, 1.0):
        with contextlib.suppress(ValueError):
            format(value, spec)
            return True
    return False


def _regex(pattern: Any) -> str:
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        msg = f"match {pattern!r} is not a regular expression ({error})"
        raise CameraError(msg) from error
    return str(pattern)


def _format(text: Any) -> str:
    if text and (not isinstance(text, str) or "{}" not in text):
        msg = f"format {text!r} must be a text with {{}} in it"
        raise CameraError(msg)
    try:
        str(text).format("1")
    except (AttributeError, LookupError, ValueError) as error:
        msg = f"format {text!r} must have one {{}} and no other braces ({error})"
        raise CameraError(msg) from error
    return str(text)


def _type(given: Mapping[str, Any]) -> str:
    kind = given.get("type", "")
    if kind not in ("", "integer", "number", "text"):
        msg = f"type {kind!r} must be integer, number or text"
        raise CameraError(msg)
    return str(kind)
