"""JSON Schemas of answers as Claude takes them.

https://platform.claude.com/docs/en/build-with-claude/structured-outputs (Nov 2026): a subset of JSON Schema
without recursion, in which every object is closed. Pure. What the subset lacks is put into the description,
for the model to heed; the answer is checked against the whole schema here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roomkit_plugins.anthropic.errors import ORIGIN
from roomkit_plugins.wire.structured import closed, is_recursive, open_object

__all__ = ["output_format"]

_KEPT = frozenset(
    {"$ref", "type", "enum", "const", "title", "description", "required", "additionalProperties"}
)
_FORMATS = frozenset(
    {"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"}
)
_LISTS = frozenset({"anyOf", "allOf"})
_MAPS = frozenset({"properties", "$defs"})


def output_format(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the field that asks for an answer of this shape. Raises ProviderError for what it cannot say."""
    if is_recursive(schema):
        raise ORIGIN.refused("the response_schema refers to itself, and Claude takes no recursive ones")
    if open_object(schema):
        raise ORIGIN.refused(
            "the response_schema has an object with fields of any name (additionalProperties), and Claude "
            "takes none; list the fields, or use a list of names and values"
        )
    return {"type": "json_schema", "schema": _subset(closed(schema))}


def _subset(schema: object) -> dict[str, Any]:
    if not isinstance(schema, Mapping):
        raise ORIGIN.refused(
            f"the response_schema has {schema!r:.20} where Claude takes a schema of its own; say what the "
            "value is"
        )
    if "$ref" in schema and "$defs" not in schema:
        return {"$ref": schema["$ref"]}  # it stands alone
    written: dict[str, Any] = {}
    advice: list[str] = []
    for name, value in schema.items():
        taken = _keyword("$defs" if name == "definitions" else name, value)
        if taken:
            written |= taken
        elif name != "default":
            advice.append(f"{name}: {json.dumps(value, ensure_ascii=False)}")
    if advice:
        written["description"] = " ".join(
            [*filter(None, [schema.get("description")]), f"({', '.join(advice)})"]
        )
    return written


def _keyword(name: str, value: Any) -> dict[str, Any]:
    """Return a keyword as the subset has it; nothing if it has none."""
    if name in _KEPT or (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1)):
        return {name: value.replace("#/definitions/", "#/$defs/") if name == "$ref" else value}
    if name == "items" and isinstance(value, Mapping):
        return {name: _subset(value)}
    if name in _LISTS or name == "oneOf":
        return {"anyOf" if name == "oneOf" else name: [_subset(each) for each in value]}
    if name in _MAPS:
        return {name: {key: _subset(each) for key, each in value.items()}}
    return {}
