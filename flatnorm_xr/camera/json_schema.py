"""The keys of a camera profile as a JSON Schema, so that editors complete and check them while one writes."""

from __future__ import annotations

import json
from typing import Any

from flatnorm_xr.camera.keys import KEYS, PER_AMPLIFIER, SECTIONS, SIDES, Key

__all__ = ["json_schema", "schema_text"]

_TEXT_OR_NUMBER = {"type": ["string", "number"]}
_MATCH = {"type": "object", "minProperties": 1, "additionalProperties": {"type": ["string", "null"]}}
_RULE = {"$ref": "#/$defs/rule"}

_KINDS: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "boolean": {"type": "boolean"},
    "integer": {"type": "integer", "minimum": 0},
    "number": {"type": "number"},
    "numbers": {"type": "array", "items": {"type": "number"}},
    "points": {
        "type": "array",
        "minItems": 3,
        "items": {"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2},
    },
    "bits": {"type": "array", "minItems": 1, "items": {"type": "integer", "minimum": 0, "maximum": 63}},
    "names": {"type": "array", "minItems": 1, "items": {"type": ["string", "integer"]}, "uniqueItems": True},
    "list": {"type": "array", "items": {"enum": list(PER_AMPLIFIER[:3])}},
    "rule": _RULE,
    "match": _MATCH,
    "matches": {"type": "array", "items": _MATCH},
    "margins": {
        "type": "object",
        "minProperties": 1,
        "properties": dict.fromkeys(SIDES, _RULE),
        "additionalProperties": False,
    },
    "partner": {
        "type": "object",
        "properties": {"only": _MATCH, "pair": _RULE},
        "required": ["only"],
        "additionalProperties": False,
    },
    "each": {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": {
            "type": "object",
            "properties": dict.fromkeys(PER_AMPLIFIER, _RULE),
            "additionalProperties": False,
        },
    },
}

_ONE = [_TEXT_OR_NUMBER, {"$ref": "#/$defs/shaped"}]
_SOURCES = {"anyOf": [*_ONE, {"type": "array", "minItems": 1, "items": {"anyOf": _ONE}}]}

_DEFINITIONS = {
    "rule": {"description": "where a value is", **_SOURCES},
    "shaped": {
        "type": "object",
        "properties": {
            "key": _SOURCES,
            "join": _SOURCES,
            "match": {"type": "string", "description": "regular expression; its group, if any, is the value"},
            "cases": {
                "type": "object",
                "minProperties": 1,
                "additionalProperties": _TEXT_OR_NUMBER,
                "description": "regular expressions, and what the value becomes",
            },
            "format": {"type": "string", "description": "text around the value, {}"},
            "type": {"enum": ["integer", "number", "text"]},
        },
        "oneOf": [{"required": ["key"]}, {"required": ["join"]}],
        "additionalProperties": False,
    },
}


def json_schema() -> dict[str, Any]:
    """Make the JSON Schema of a profile from `KEYS`; what keys mean to each other is checked only when it is loaded.

    Examples
    --------
    >>> json_schema()["required"]
    ['name', 'layout', 'exposure', 'detector']
    """
    made = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flatnorm-xr camera profile",
        **_mapping(""),
        "$defs": _DEFINITIONS,
    }
    for section, prefix in SECTIONS.items():
        place = made
        for name in section.split("."):
            place = place["properties"].setdefault(name, _mapping(prefix))
    made["required"] += ["exposure", "detector"]
    return made


def schema_text() -> str:
    """Content of ``profile.schema.json``."""
    return json.dumps(json_schema(), indent=1) + "\n"


def _mapping(prefix: str) -> dict[str, Any]:
    rows = {
        name.removeprefix(prefix): row
        for name, row in KEYS.items()
        if name.startswith(prefix) and "." not in name.removeprefix(prefix)
    }
    return {
        "type": "object",
        "properties": {name: _property(row) for name, row in rows.items()},
        "required": [name for name, row in rows.items() if row.required],
        "additionalProperties": False,
    }


def _property(row: Key) -> dict[str, Any]:
    kind = {"enum": list(row.words)} if row.kind == "word" else _KINDS[row.kind]
    default = {} if row.default in (None, "", (), {}) else {"default": row.default}
    return {"description": row.meaning, **kind, **default}


if __name__ == "__main__":
    print(schema_text(), end="")
