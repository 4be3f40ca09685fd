"""What a server says wrongly costs that one tool, never the others, and the reason has a name."""

from __future__ import annotations

import logging

import pytest

from roomkit import MCPToolProvider, Room

from .conftest import Scripted, served

GOOD = {"name": "good", "inputSchema": {"type": "object", "properties": {"a": {"type": "string"}}}}


def nested(levels: int) -> dict[str, object]:
    schema: dict[str, object] = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


HOSTILE = {
    "no name": ({"inputSchema": {"type": "object"}}, "(without a name)", "name: Field required"),
    "a name that is a number": ({"name": 7, "inputSchema": {"type": "object"}}, "(without a name)", "name"),
    "not an object at all": ("bad", "(without a name)", "valid dictionary"),
    "no schema": ({"name": "bad"}, "bad", "inputSchema: Field required"),
    "a schema that is a list": ({"name": "bad", "inputSchema": [1]}, "bad", "valid dictionary"),
    "a schema of a text": ({"name": "bad", "inputSchema": {"type": "string"}}, "bad", "is of type 'string'"),
    "a schema without a type": ({"name": "bad", "inputSchema": {}}, "bad", "is of type None"),
    "a schema too deep": ({"name": "bad", "inputSchema": nested(40)}, "bad", "nested deeper than 32 levels"),
    "a schema too large": (
        {"name": "bad", "inputSchema": {"type": "object", "properties": {str(n): {} for n in range(9000)}}},
        "bad",
        "characters; at most 65536",
    ),
    "a schema from elsewhere": (
        {"name": "bad", "inputSchema": {"type": "object", "properties": {"a": {"$ref": "http://evil/x"}}}},
        "bad",
        "refers to 'http://evil/x'",
    ),
    "an endless description": (
        {"name": "bad", "description": "x" * 9000, "inputSchema": {"type": "object"}},
        "bad",
        "description has 9000 characters",
    ),
    "an empty name": ({"name": "", "inputSchema": {"type": "object"}}, "", "name"),
    "a second one of a name": ({**GOOD, "description": "evil twin"}, "good", "same name"),
}


@pytest.mark.parametrize(("tool", "name", "reason"), HOSTILE.values(), ids=HOSTILE)
async def test_one_bad_tool_is_left_out_with_its_reason(tool, name, reason, caplog):
    """And the good ones around it are offered; the warning is not repeated at each turn."""
    other = {**GOOD, "name": "other"}
    async with served(Scripted(GOOD, tool, other)) as url:
        tools = MCPToolProvider(url)
        with caplog.at_level(logging.WARNING, "roomkit.mcp"):
            offers = [await tools.offer(Room(id="room")) for _ in range(2)]
            tools._on_change()
            offers.append(await tools.offer(Room(id="room")))
        await tools.close()
    for offer in offers:
        assert [each.definition.name for each in offer.tools] == ["good", "other"]
        assert offer.tools[0].definition.description == ""
    assert reason in tools.disabled_tools[name]
    assert len([each for each in caplog.messages if "is not offered" in each]) == 1


async def test_more_tools_than_wanted_are_left_out():
    many = [{**GOOD, "name": f"tool{number}"} for number in range(5)]
    async with served(Scripted(*many)) as url, MCPToolProvider(url, max_tools=3) as tools:
        assert tools.tool_names == ["tool0", "tool1", "tool2"]
        assert "only 3 are" in tools.disabled_tools["tool4"]
