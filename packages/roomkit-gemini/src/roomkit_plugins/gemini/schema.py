"""JSON Schemas as Gemini takes them.

https://ai.google.dev/api/caching#FunctionDeclaration (Nov 2026): a subset of JSON Schema, in which `$ref`
stands alone. Pure. A keyword that the subset lacks says less to the model; the tool's arguments are still
checked against the whole schema where the call runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["subset"]

_KEPT = frozenset(
    {
        "$id", "$anchor", "type", "format", "title", "description", "enum", "minItems", "maxItems",
        "minimum", "maximum", "required", "propertyOrdering",
    }
)  # fmt: skip
_SCHEMAS = frozenset({"items", "additionalProperties"})
_LISTS = frozenset({"anyOf", "oneOf", "prefixItems"})
_MAPS = frozenset({"properties", "$defs"})


def subset(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return `schema` in the keywords that Gemini knows; `const`, `allOf` and `definitions` in those."""
    if isinstance(schema.get("$ref"), str):
        return {"$ref": schema["$ref"].replace("#/definitions/", "#/$defs/")}
    written: dict[str, Any] = {}
    for part in schema.get("allOf") or ():
        if isinstance(part, Mapping):
            written |= subset(part)
    for name, value in schema.items():
        written |= _keyword("$defs" if name == "definitions" else name, value)
    if set(written) > {"$ref"} and "$ref" in written:  # of an `allOf`, the usual way to describe a reference
        written = {"$ref": written["$ref"]}
    return written


def _keyword(name: str, value: Any) -> dict[str, Any]:
    if name == "const":
        return {"enum": [value]}
    if name in _KEPT:
        return {name: value}
    if name in _SCHEMAS and isinstance(value, Mapping | bool):
        return {name: value if isinstance(value, bool) else subset(value)}
    if name in _LISTS and isinstance(value, list | tuple):
        return {name: [subset(one) for one in value if isinstance(one, Mapping)]}
    if name in _MAPS and isinstance(value, Mapping):
        return {name: {key: subset(one) if isinstance(one, Mapping) else {} for key, one in value.items()}}
    return {}
