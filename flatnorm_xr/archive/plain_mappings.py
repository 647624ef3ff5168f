"""Read YAML that is mappings of numbers and text from the events of its parser, so that nothing else can be built."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from flatnorm_xr.camera.files import check_regular
from flatnorm_xr.errors import ReadError, SchemaError, offenders

__all__ = ["read_mappings"]

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?")
_NAMED = {".nan": math.nan, ".inf": math.inf, "+.inf": math.inf, "-.inf": -math.inf}


def read_mappings(path: Path, *, caller: str, largest: int, deepest: int) -> dict[Any, Any]:
    """Read a file of nested mappings.

    Parameters
    ----------
    path : Path
        YAML without lists, anchors, aliases and tags.
    caller : str
        Name of the function that was called, for the messages.
    largest : int
        Bytes that the file may have.
    deepest : int
        Mappings that may lie in each other.

    Returns
    -------
    dict
        Keys are text or numbers, values these or dictionaries. What is written in quotes, and what is no decimal
        number, ``.nan`` or ``.inf``, is text. Empty for an empty file.

    Raises
    ------
    ReadError
        The file is missing, too large, no YAML, or has something else in it.
    SchemaError
        A key stands there twice.
    """
    import yaml

    said = f"{caller}: {path}"
    if not path.exists():
        msg = f"{said}: no such file"
        raise ReadError(msg)
    if path.is_dir():
        msg = f"{said} is a folder; give the name of a file"
        raise ReadError(msg)
    check_regular(path, caller=caller)
    if path.stat().st_size > largest:
        msg = f"{said} has {path.stat().st_size} bytes, more than the {largest} that are read; is it another file?"
        raise ReadError(msg)
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        with open(path, "rb") as stream:
            return _Built(said, deepest).of(yaml.parse(stream, Loader=loader))
    except OSError as error:
        msg = f"{said}: {error.strerror or error}"
        raise ReadError(msg) from error
    except yaml.YAMLError as error:
        reason = " ".join(str(error).replace(f'in "{path}",', "in").split())
        msg = f"{said} is not readable YAML ({reason[:200]})"
        raise ReadError(msg) from error


class _Built:
    """Mappings as they grow, event by event."""

    def __init__(self, said: str, deepest: int) -> None:
        self._said, self._deepest = said, deepest
        self._open: list[dict[Any, Any]] = []
        self._key: list[Any] = []
        """The key that waits for its value, none or one."""

    def of(self, events: Iterable[Any]) -> dict[Any, Any]:
        import yaml

        root: dict[Any, Any] = {}
        documents = 0
        for event in events:
            if getattr(event, "anchor", None) is not None or getattr(event, "tag", None) is not None:
                raise self._refused(event, "anchors (&), aliases (*) and tags (!) are not allowed; write the value out")
            if isinstance(event, yaml.ScalarEvent) and self._open:
                self._scalar(event)
            elif isinstance(event, yaml.MappingStartEvent) and (self._key or not self._open):
                if len(self._open) == self._deepest:
                    raise self._refused(event, f"more than {self._deepest} mappings lie in each other")
                self._open.append(self._inner() if self._open else root)
            elif isinstance(event, yaml.MappingEndEvent):
                self._open.pop()
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise self._refused(event, "another document begins; keep one in a file")
            elif isinstance(event, yaml.NodeEvent):
                raise self._refused(event, "this is no mapping of text and numbers")
        return root

    def _inner(self) -> dict[Any, Any]:
        inner: dict[Any, Any] = {}
        self._open[-1][self._key.pop()] = inner
        return inner

    def _scalar(self, event: Any) -> None:
        value = _value(event)
        if self._key:
            self._open[-1][self._key.pop()] = value
            return
        if value in self._open[-1]:
            msg = f"{self._said}: line {_line(event)}: {offenders([value])} stands there a second time; keep one"
            raise SchemaError(msg)
        self._key.append(value)

    def _refused(self, event: Any, rule: str) -> ReadError:
        return ReadError(f"{self._said}: line {_line(event)}: {rule}")


def _line(event: Any) -> int:
    return int(event.start_mark.line) + 1


def _value(event: Any) -> Any:
    """Give a number for what is written plainly as one, else the text."""
    text = str(event.value)
    if event.style not in (None, ""):
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else _NAMED.get(text.lower(), text)
