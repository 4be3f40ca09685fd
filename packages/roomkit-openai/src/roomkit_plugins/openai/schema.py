"""JSON Schemas of answers as OpenAI takes them.

https://developers.openai.com/api/docs/guides/structured-outputs (Nov 2026). With `strict` the answer fits for
certain; that takes a subset of JSON Schema, in which every object is closed and has all its fields. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit_plugins.wire.structured import closed, open_object, subschemas

__all__ = ["json_format"]

_STRICT = frozenset(
    {
        "$ref", "$defs", "type", "enum", "const", "anyOf", "title", "description", "properties", "required",
        "additionalProperties", "items", "pattern", "format", "multipleOf", "minimum", "maximum",
        "exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems",
    }
)  # fmt: skip
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})


def json_format(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Return what asks for an answer of this shape: strictly, or as it is if it cannot be asked so."""
    strict = _strict(schema)
    return {"name": name, "schema": strict or schema, "strict": strict is not None}


def _strict(schema: dict[str, Any]) -> dict[str, Any] | None:
    """Return a narrower schema that `strict` takes, None if there is none: what fits it fits the other."""
    if open_object(schema):
        return None
    narrow: dict[str, Any] = _narrowed(closed(schema))
    return narrow if all(map(_fits, subschemas(narrow))) else None


def _narrowed(value: Any) -> Any:
    """Return a schema without defaults: each field is answered."""
    if isinstance(value, list):
        return [_narrowed(each) for each in value]
    if not isinstance(value, Mapping):
        return value
    if not isinstance(value.get("properties"), Mapping):
        return {name: _narrowed(each) for name, each in value.items() if name != "default"}
    rest = {name: _narrowed(each) for name, each in value.items() if name not in ("default", "properties")}
    fields = {name: _narrowed(each) for name, each in value["properties"].items()}
    return {**rest, "properties": fields, "required": list(fields)}


def _fits(schema: Mapping[str, Any]) -> bool:
    if "$ref" in schema and len(set(schema) - {"$defs"}) > 1:
        return False
    return set(schema) <= _STRICT and schema.get("format", "date") in _FORMATS
