"""A corpus of tool schemas: every vendor takes each, or that one tool is disabled for a named reason."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from mcp.server.mcpserver import MCPServer
from pydantic import BaseModel, Field, ValidationError

from roomkit import AIChannel, AITool, RoomKit, ToolUse, tool
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.testing import RecordingChannel
from tests.system.vendors import VENDORS, Vendor


class Size(enum.Enum):
    SMALL = "s"
    LARGE = "l"


class Cat(BaseModel):
    kind: Literal["cat"]
    lives: int = Field(default=9, ge=0, le=9)


class Dog(BaseModel):
    kind: Literal["dog"]
    tricks: list[str] = Field(default_factory=list, max_length=5)


class Order(BaseModel):
    """An order of a pet."""

    pet: Annotated[Cat | Dog, Field(discriminator="kind")]
    size: Size | None = None
    price: Decimal = Field(gt=0, decimal_places=2)
    day: date | None = None
    notes: dict[str, list[int | str]] = Field(default_factory=dict)
    at: tuple[float, float] = (0.0, 0.0)


class Folder(BaseModel):
    name: str
    inside: list[Folder] = []


async def search(
    query: str,
    kinds: list[Literal["a", "b"]] | None = None,
    limit: int = 10,
    filters: dict[str, Any] | None = None,
) -> str:
    """Search for something, as a server describes its function."""
    return query


def deep(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"inside": schema}}
    return schema


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def ordered(order: Order, use: ToolUse, folders: list[Folder], express: bool = False) -> str:
    """Take an order.

    Args:
        order: The items ordered.
        express: Whether it is urgent.
    """
    return order.pet.kind


TAKEN: dict[str, dict[str, Any]] = {
    "pydantic": Order.model_json_schema(),
    "function": tool(ordered).definition.model_dump()["parameters"],
    "typed lists": tool(search).definition.model_dump()["parameters"],
    "recursive": {
        "type": "object",
        "properties": {"root": {"$ref": "#/$defs/F"}},
        "$defs": {
            "F": {
                "type": "object",
                "properties": {"inside": {"type": "array", "items": {"$ref": "#/$defs/F"}}},
            }
        },
    },
    "nothing": {},
    "no properties": {"type": "object"},
    "no type": {"properties": {"city": {"type": "string"}}},
    "list of types": fields(city={"type": ["string", "null"]}),
    "any of null": fields(city={"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}),
    "zod": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "additionalProperties": False,
        "required": ["n"],
        **fields(n={"type": "number", "exclusiveMinimum": 0}, t={"const": "x"}),
    },
    "draft 4": fields(n={"type": "number", "minimum": 0, "exclusiveMinimum": True})
    | {"$schema": "http://json-schema.org/draft-04/schema#"},
    "definitions": fields(p={"$ref": "#/definitions/p"}) | {"definitions": {"p": {"type": "string"}}},
    "any value": fields(x=True, y={}),
    "fields named as keywords": fields(
        **{"type": {"type": "string"}, "$ref": {"type": "string"}, "items": {}}
    ),
    "fields beyond letters": fields(
        **{"größe": {"type": "integer"}, "a b/c.d": {"type": "string"}, "\u2603": {}}
    ),
    "open": {"type": "object", "additionalProperties": {"type": "integer"}},
    "patterns": {"type": "object", "patternProperties": {"^x-": {"type": "string"}}},
    "conditions": fields(a={"type": "string"}) | {"if": {"required": ["a"]}, "then": {"minProperties": 1}},
    "all of": fields(a={"allOf": [{"type": "string"}, {"minLength": 1}]}) | {"not": {"required": ["b"]}},
    "unknown format": fields(a={"type": "string", "format": "klingon"}),
    "unknown keywords": fields(a={"type": "string", "x-internal": {"deep": [1]}})
    | {"examples": [{"a": "b"}]},
    "tuples": fields(a={"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}),
    "deep": deep(25),
    "long enum": fields(a={"enum": [f"value {number}" for number in range(500)]}),
    "mixed enum": fields(a={"enum": [1, "one", None, True, 1.5]}),
    "odd default": fields(a={"type": "string", "default": {"not": "a string"}}),
}
DISABLED: dict[str, dict[str, Any]] = {
    "a list": {"type": "array", "items": {"type": "string"}},
    "a string": {"type": "string"},
    "no schema": fields(a={"type": "strnig"}),
    "no list of names": {"type": "object", "required": "city"},
    "no limits": fields(a={"type": "string", "minLength": -1}),
}
"""No vendor takes these; the reason is in the log."""
NAMES = ["files.read", "a" * 200, "9lives", "größe ☃", "-", "files_read"]
"""Names that some vendors do not take as they are; two are the same without their signs."""
GOOD = AITool(name="good", description="A good tool.", parameters=fields(city={"type": "string"}))


def test_a_schema_that_is_no_unicode_text_makes_no_tool() -> None:
    """No vendor takes it: the error names the position."""
    with pytest.raises(ValidationError, match=r"properties\.a\.description is not valid Unicode text"):
        AITool(name="halves", parameters=fields(a={"type": "string", "description": "a\ud83d"}))


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let clients load none: the simulators speak plain HTTP, and reading a system's takes long."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture(params=list(VENDORS))
def vendor(request: pytest.FixtureRequest) -> Vendor:
    return VENDORS[request.param]


class Room:
    """A room with an agent, whose tools a test sets."""

    def __init__(self, kit: RoomKit, agent: AIChannel, requests: list[Any]) -> None:
        self.kit, self.agent, self.requests = kit, agent, requests

    async def offer(self, *tools: AITool) -> tuple[Exception | None, bytes]:
        """Have the agent answer with these tools; return its failure, and what the vendor was sent."""
        self.agent.extra_tools = [*tools, GOOD]
        message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Hi"))
        result = await self.kit.process_inbound(message, room_id="r")
        return result.error, self.requests[-1].body if self.requests else b""


@pytest.fixture
async def room(vendor: Vendor) -> AsyncIterator[Room]:
    async with AsyncExitStack() as stack:
        simulator = await stack.enter_async_context(vendor.simulator())
        simulator.reply_always(lambda request: _fine())
        kit = await stack.enter_async_context(RoomKit())
        agent = AIChannel("agent", vendor.connect(simulator, stack))
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(agent)
        await kit.create_room("r")
        await kit.attach_channel("r", "web")
        await kit.attach_channel("r", "agent")
        yield Room(kit, agent, simulator.requests)


def _fine() -> Any:
    from roomkit_plugins.testing.simulators import Reply

    return Reply("Fine.")


async def test_every_schema_is_taken(room: Room) -> None:
    """Whatever its author wrote it with, the vendor takes the request, and the tool is in it."""
    refused = {}
    for number, (kind, schema) in enumerate(TAKEN.items()):
        error, sent = await room.offer(AITool(name=f"tool_{number}", parameters=schema))
        if error is not None or f"tool_{number}".encode() not in sent:
            refused[kind] = str(error)
    assert refused == {}


async def test_the_schemas_of_a_server_are_taken(room: Room) -> None:
    """As the SDK of MCP makes them of typed functions and models."""
    server = MCPServer("shop", log_level="ERROR")

    async def place(order: Order, folder: Folder, size: Size = Size.SMALL) -> str:
        """Place an order."""
        return order.model_dump_json()

    server.add_tool(search)
    server.add_tool(place)
    tools = [AITool(name=each.name, parameters=each.input_schema) for each in await server.list_tools()]
    assert [tool.name for tool in tools] == ["search", "place"]
    error, sent = await room.offer(*tools)
    assert error is None
    assert b"search" in sent
    assert b"place" in sent


@pytest.mark.parametrize("kind", list(DISABLED))
async def test_a_schema_that_is_none_disables_its_tool_alone(
    room: Room, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    error, sent = await room.offer(AITool(name="broken", parameters=DISABLED[kind]))
    assert error is None
    assert b"broken" not in sent
    assert b"good" in sent
    assert "the tool 'broken' is not offered: its parameters are" in caplog.text


async def test_every_name_is_taken(room: Room) -> None:
    """All at once: none becomes another's."""
    error, sent = await room.offer(*[AITool(name=name) for name in NAMES])
    assert error is None
    assert sent.count(b"good") >= 1
