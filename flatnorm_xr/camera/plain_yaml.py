"""Read the YAML of a profile: plain mappings and lists, with the line of every key."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from flatnorm_xr.errors import CameraError

__all__ = ["read_plain_yaml"]

_LONGEST = 200_000
_DEEPEST = 20


def read_plain_yaml(path: Path, problems: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Content of a file, and where each of its dotted keys stands ("line 7: ").

    Parameters
    ----------
    path : Path
        The file.
    problems : list of str
        What is wrong and lets the rest be read is added to it: a key that stands there twice.

    Raises
    ------
    CameraError
        The file cannot be read, is no mapping, is too long, or has anchors and aliases.
    """
    import yaml

    text = ""
    try:
        text = path.read_text(encoding="utf-8")
        _check_plain(text, path)
        loader = _loader()(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
    except (OSError, RecursionError, ValueError, KeyError, AttributeError, yaml.YAMLError) as error:
        said = " ".join(str(error).split()).replace('in "<unicode string>", line', "in line")
        msg = f"camera profile {path}: not readable YAML ({said}){_hint(error, text)}"
        raise CameraError(msg) from error
    if not isinstance(content, dict):
        msg = f"camera profile {path}: must be a mapping with the keys name, layout, exposure, detector, ..."
        raise CameraError(msg)
    return content, _lines(node, problems)


def _hint(error: Exception, text: str) -> str:
    """Say what mends the usual slip: a rule with braces, not quoted, in a mapping that has braces too."""
    mark = getattr(error, "problem_mark", None)
    lines = text.splitlines()
    if mark is None or mark.line >= len(lines):
        return ""
    found = re.search(r"[^\s'\",:{]*\{[\w -]+\}[^\s'\",}]*", lines[mark.line])
    return f'; between {{ and }} write a text that has braces in quotes: "{found[0]}"' if found else ""


def _loader() -> Any:
    """Give the safe loader: the one in C, six times as fast, where PyYAML was built with it."""
    import yaml

    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_plain(text: str, path: Path) -> None:
    """Refuse, before anything is built of it, what may become endlessly large."""
    import yaml

    if len(text) > _LONGEST:
        msg = (
            f"camera profile {path}: has {len(text)} characters; a profile has at most {_LONGEST}: is it another file?"
        )
        raise CameraError(msg)
    depth = 0
    for event in yaml.parse(text, Loader=_loader()):
        line = event.start_mark.line + 1 if event.start_mark is not None else 0
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            msg = f"camera profile {path}: not readable YAML (line {line} is nested too deeply)"
            raise CameraError(msg)
        if getattr(event, "anchor", None) is not None:
            msg = (
                f"camera profile {path}: line {line}: anchors (&) and aliases (*) are not allowed; write the value out"
            )
            raise CameraError(msg)


def _lines(node: Any, problems: list[str], prefix: str = "") -> dict[str, str]:
    """Line of each dotted key, for messages; a key written twice is a problem, which YAML itself lets pass."""
    import yaml

    lines: dict[str, str] = {}
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            name = f"{prefix}{key.value}"
            line = f"line {key.start_mark.line + 1}: "
            if name in lines:
                problems.append(f"{line}{name} stands here a second time")
            lines[name] = line
            lines.update(_lines(value, problems, f"{name}."))
    return lines
