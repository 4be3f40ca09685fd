"""Schemas of answers: named, closed, refused; and answers checked against them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import BaseModel

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamTextDelta, StreamToolCall
from roomkit.models.base import freeze
from roomkit.models.generation import AIContext
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.structured import (
    Structured,
    answer_name,
    answer_schema,
    closed,
    is_recursive,
    open_object,
)

ORIGIN = Origin("acme", "Acme")
POINT = {"type": "object", "properties": {"x": {"type": "integer"}}, "required": ["x"]}


class Node(BaseModel):
    name: str
    children: list[Node] = []


def asking(schema: Any) -> AIContext:
    return AIContext(response_schema=schema)


def test_no_schema_is_none() -> None:
    """An empty one asks for prose, too."""
    assert answer_schema(AIContext(), ORIGIN) is None
    assert answer_schema(asking({}), ORIGIN) is None


def test_a_root_that_refers_is_written_out() -> None:
    """As pydantic writes a model that holds itself."""
    schema = answer_schema(asking(Node), ORIGIN)
    assert schema is not None
    assert schema["type"] == "object"
    assert set(schema["$defs"]) == {"Node"}
    assert "$ref" not in schema


def test_a_frozen_schema_of_a_room_is_taken() -> None:
    assert answer_schema(asking(freeze(POINT)), ORIGIN) == POINT


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "array"},
        {"anyOf": [POINT]},
        {"type": "object", "properties": {"x": {"type": "nonsense"}}},
        {"type": "object", "properties": {"x": {"$ref": "https://example.com/x"}}},
        {"$ref": "#/$defs/none"},
        {"type": "object", "default": object()},
    ],
    ids=["list", "union", "no type", "elsewhere", "nowhere", "no JSON"],
)
def test_what_no_vendor_takes_is_refused(schema: dict[str, Any]) -> None:
    """With the schema's name; nothing is fetched."""
    with pytest.raises(ProviderError, match="response_schema 'answer'") as caught:
        answer_schema(asking(schema), ORIGIN)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST


def test_a_shape_has_a_name_that_vendors_take() -> None:
    """The model's, or the title: letters, digits, and at most 64 of them."""
    assert answer_name(asking(Node)) == "Node"
    assert answer_name(asking({"title": "Größe & Gewicht " * 9}))[:14] == "Gr_e_Gewicht_G"
    assert len(answer_name(asking({"title": "x" * 99}))) == 64


def test_parts_of_one_object_are_not_closed() -> None:
    """Each would refuse the fields of the other."""
    parts = [{"properties": {name: {"type": "string"}}} for name in "ab"]
    schema = {"type": "object", "properties": {"c": {"allOf": parts}}}
    assert closed(copy.deepcopy(schema)) == schema


def test_objects_are_closed_wherever_they_are() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"anyOf": [dict(POINT), {"type": "null"}]}},
        "$defs": {"p": dict(POINT)},
    }
    shut = closed(schema)
    assert shut["additionalProperties"] is False
    assert shut["properties"]["a"]["anyOf"][0]["additionalProperties"] is False
    assert shut["$defs"]["p"]["additionalProperties"] is False


def test_open_objects_are_found() -> None:
    """At the root and inside; a closed one is none."""
    assert not open_object(closed(dict(POINT)))
    assert open_object({"type": "object", "properties": {"a": {"additionalProperties": {"type": "string"}}}})
    assert open_object({"type": "object", "additionalProperties": True})


def test_recursion_is_found() -> None:
    """Direct, by way of another, and to the root; not where a definition is used twice."""
    node = answer_schema(asking(Node), ORIGIN)
    assert node is not None
    assert is_recursive(node)
    way = {"a": {"items": {"$ref": "#/$defs/b"}}, "b": {"items": {"$ref": "#/$defs/a"}}}
    assert is_recursive({"type": "object", "$defs": way})
    assert is_recursive({"type": "object", "properties": {"again": {"$ref": "#"}}})
    twice = {"x": {"$ref": "#/$defs/p"}, "y": {"$ref": "#/$defs/p"}}
    assert not is_recursive({"type": "object", "properties": twice, "$defs": {"p": POINT}})


def heard(schema: Any, *events: Any) -> Any:
    structured = Structured(asking(schema), ORIGIN)
    last = [structured.seen(event) for event in events][-1]
    assert isinstance(last, StreamDone)
    return last.parsed


def test_pieces_of_a_stream_are_parsed_at_its_end() -> None:
    pieces = StreamTextDelta('{"x"'), StreamTextDelta(": 1}"), StreamDone("stop")
    assert heard(POINT, *pieces) == {"x": 1}
    assert heard(None, *pieces) is None
    assert (
        heard(POINT, StreamTextDelta("Wait."), StreamToolCall("1", "look"), StreamDone("tool_calls")) is None
    )


@pytest.mark.parametrize(
    "text", ["", "{", '{"x": 1} and more', '{"x": NaN}', '{"x": "SECRET"}', "[1]", "null"]
)
def test_what_does_not_fit_is_an_error_without_its_text(text: str) -> None:
    with pytest.raises(ProviderError, match="Acme gave no 'answer' as response_schema asks") as caught:
        heard(POINT, StreamTextDelta(text), StreamDone("stop"))
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE
    assert "SECRET" not in repr(caught.value)
