"""Any vendor may go on where any other failed: in a tool loop, or in the middle of a sentence."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

import pytest

from roomkit import AIChannel, AITool, RoomKit
from roomkit.abc import AIProvider, ErrorCode
from roomkit.models.ai import AIMessage
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.generation import AIContext
from roomkit.testing import RecordingChannel
from roomkit_plugins.testing.contracts.ai.asking import answered, ask_streamed
from roomkit_plugins.testing.simulators import (
    AISimulator,
    FailMidStream,
    Reply,
    ScriptedThinking,
    ScriptedToolCall,
)
from tests.system.vendors import VENDORS

PAIRS = list(permutations(VENDORS, 2))
STORY = "It was a dark and stormy night; the rain fell in torrents, except at intervals."
OPAQUE = base64.b64encode(b"opaque-state-of-a-vendor").decode()
THOUGHT = ScriptedThinking("Let me see.", signature=OPAQUE)


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let clients load none: the simulators speak plain HTTP, and reading a system's takes long."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@dataclass
class Pair:
    """Two vendors, the first of which fails."""

    first: AISimulator
    second: AISimulator
    providers: tuple[AIProvider, AIProvider]
    signs: bool


@pytest.fixture(params=PAIRS, ids=["-to-".join(pair) for pair in PAIRS])
async def pair(request: pytest.FixtureRequest) -> AsyncIterator[Pair]:
    one, other = (VENDORS[name] for name in request.param)
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(one.simulator())
        second = await stack.enter_async_context(other.simulator())
        providers = one.connect(first, stack), other.connect(second, stack)
        yield Pair(first, second, providers, one.signs)
        for provider in providers:
            await provider.close()


async def said_in_a_room(pair: Pair) -> list[str]:
    """Ask an agent with both providers in a room; return what it said."""

    async def look(name: str, arguments: dict[str, Any]) -> str:
        return "in the warehouse"

    provider, fallback = pair.providers
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        tools = [(AITool(name="look"), look)]
        kit.register_channel(AIChannel("agent", provider, fallback_provider=fallback, tools=tools))
        await kit.create_room("r")
        await kit.attach_channel("r", "web")
        await kit.attach_channel("r", "agent")
        message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Where is it?"))
        result = await kit.process_inbound(message, room_id="r")
        assert result.error is None
        events = await kit.get_timeline("r")
        assert all(
            event.generation and event.generation.provider == fallback.name
            for event in events
            if event.source.channel_id == "agent"
        )
        return [text_of(event.content) for event in events if event.source.channel_id == "agent"]


def knows_the_opaque_state(simulator: AISimulator) -> bool:
    """Whether any request holds what the other vendor signed, as it was or encoded again."""
    again = base64.b64encode(OPAQUE.encode()).decode()
    return any(token.encode() in request.body for request in simulator.requests for token in (OPAQUE, again))


async def test_a_tool_loop_goes_on_with_another_vendor(pair: Pair) -> None:
    """Calls and results of the first are taken by the second, which calls again; reasoning stays behind."""
    thinking = [THOUGHT] if pair.signs else []
    pair.first.reply("I look.", tool_calls=[ScriptedToolCall("look")], thinking=thinking)
    pair.first.fail(ErrorCode.OVERLOADED)
    pair.second.reply("Once more.", tool_calls=[ScriptedToolCall("look")])
    pair.second.reply("It is in the warehouse.")
    (said,) = await said_in_a_room(pair)
    assert said == "I look.\n\nOnce more.\n\nIt is in the warehouse."
    assert b"in the warehouse" in pair.second.requests[0].body
    assert not knows_the_opaque_state(pair.second)


async def test_another_vendor_ends_a_sentence(pair: Pair) -> None:
    """Each word is said once, although the second vendor begins the answer from its start."""
    thinking = [THOUGHT] if pair.signs else []
    pair.first.reply_with(Reply(STORY, thinking=thinking, fault=FailMidStream(ErrorCode.SERVER, after=12)))
    pair.second.reply(STORY)
    assert await said_in_a_room(pair) == [STORY]
    assert STORY[:10].encode() in pair.second.requests[0].body
    assert not knows_the_opaque_state(pair.second)


async def test_the_state_of_a_vendor_is_not_shown_to_another(pair: Pair) -> None:
    """A conversation that is put to another vendor as it stands is taken, without what the first signed."""
    tool = AITool(name="look")
    context = AIContext(messages=[AIMessage(role="user", content="Where is it?")], tools=[tool])
    pair.first.reply(tool_calls=[ScriptedToolCall("look")], thinking=[THOUGHT] if pair.signs else [])
    first = await ask_streamed(pair.providers[0], context)
    assert bool(first.thinking_parts) is pair.signs
    context.messages += answered(first, "in the warehouse")
    pair.second.reply("It is in the warehouse.")
    assert (await ask_streamed(pair.providers[1], context)).content == "It is in the warehouse."
    assert not knows_the_opaque_state(pair.second)
    if pair.signs:  # and the first gets it back
        pair.first.reply("It is in the warehouse.")
        await ask_streamed(pair.providers[0], context)
        assert knows_the_opaque_state(pair.first)
