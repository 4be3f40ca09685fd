"""Schemas of tools: what Gemini knows is kept, and the rest leaves nothing that it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit_plugins.gemini.schema import subset
from roomkit_plugins.testing.contracts.strategies import PROPERTY
from roomkit_plugins.testing.simulators.gemini_requests import check_schema

KEYWORDS = [
    "type", "properties", "items", "anyOf", "oneOf", "allOf", "$ref", "$defs", "definitions", "enum",
    "const", "not", "if", "patternProperties", "additionalProperties", "description", "minLength",
    "default", "$schema",
]  # fmt: skip
ANY_SCHEMA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(KEYWORDS), inner, max_size=4)
        | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=15,
)


@pytest.mark.parametrize(
    ("schema", "written"),
    [
        ({"type": ["string", "null"]}, {"type": ["string", "null"]}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}, None),
        ({"const": "a"}, {"enum": ["a"]}),
        ({"allOf": [{"$ref": "#/$defs/A"}], "description": "x"}, {"$ref": "#/$defs/A"}),
        ({"$ref": "#/definitions/A", "title": "x"}, {"$ref": "#/$defs/A"}),
        ({"definitions": {"A": {"not": {}}}}, {"$defs": {"A": {}}}),
        ({"allOf": [{"type": "object"}, {"required": ["a"]}]}, {"type": "object", "required": ["a"]}),
        ({"type": "array", "items": True, "uniqueItems": True}, {"type": "array", "items": True}),
        ({"properties": {"a": True, "b": {"pattern": "x"}}}, {"properties": {"a": {}, "b": {}}}),
    ],
)
def test_what_means_the_same_stays(schema: dict[str, Any], written: dict[str, Any] | None) -> None:
    expected = {"anyOf": [{"type": "string"}, {"type": "null"}]} if written is None else written
    assert subset(schema) == expected
    check_schema(subset(schema), "tool")


@PROPERTY
@given(st.dictionaries(st.sampled_from(KEYWORDS), ANY_SCHEMA, max_size=5))
def test_any_schema_becomes_one_that_is_taken(schema: dict[str, Any]) -> None:
    """Whatever a tool brings; odd values of a known keyword included."""
    check_schema(subset(schema), "tool")
