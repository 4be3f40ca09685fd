"""A parked round is continued on every vendor's API, with its reasoning as the vendor gave it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    AIChannel,
    AITool,
    AnthropicAIProvider,
    AnthropicConfig,
    HookTrigger,
    OpenAIAIProvider,
    OpenAIConfig,
    Park,
    RoomContext,
    RoomEvent,
    RoomKit,
)
from roomkit.abc import AIProvider
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.testing import RecordingChannel
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.simulators import (
    AISimulator,
    AnthropicSimulator,
    OpenAISimulator,
    ScriptedThinking,
    ScriptedToolCall,
)


def claude(simulator: AISimulator) -> AIProvider:
    config = AnthropicConfig(
        model="claude-sonnet-5-5", api_key=simulator.api_key, base_url=simulator.base_url
    )
    return AnthropicAIProvider(config)


def chat(simulator: AISimulator) -> AIProvider:
    config = OpenAIConfig(model="gpt-4.1", api="chat", api_key=simulator.api_key, base_url=simulator.base_url)
    return OpenAIAIProvider(config)


def responses(simulator: AISimulator) -> AIProvider:
    config = OpenAIConfig(
        model="gpt-5.5", api="responses", api_key=simulator.api_key, base_url=simulator.base_url
    )
    return OpenAIAIProvider(config)


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let clients load none: the simulators speak plain HTTP, and reading a system's takes long."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@dataclass
class Stage:
    kit: RoomKit
    vendor: AISimulator
    thinking: tuple[ScriptedThinking, ...]
    approved: asyncio.Event

    async def say(self, text: str) -> None:
        message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
        result = await self.kit.process_inbound(message, room_id="r")
        assert result.error is None

    async def said(self) -> list[str]:
        return [
            text_of(event.content)
            for event in await self.kit.get_timeline("r")
            if event.source.channel_id == "agent"
        ]


@pytest.fixture(params=[claude, chat, responses], ids=["anthropic", "chat", "responses"])
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    """Return a room with an agent on each vendor's API, over a store that writes JSON."""
    connect: Callable[[AISimulator], AIProvider] = request.param
    vendor = AnthropicSimulator() if connect is claude else OpenAISimulator()
    thinking = () if connect is chat else (ScriptedThinking("let me see"),)

    async def handler(name: str, arguments: dict[str, Any]) -> str | Park:
        return Park("a manager decides", timedelta(minutes=5)) if name == "ask" else "it is noon"

    tools = [(AITool(name=name), handler) for name in ("ask", "look")]
    async with vendor, RoomKit(SQLiteStore(str(tmp_path / "rooms.db")), single_process=True) as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("agent", connect(vendor), tools=tools, thinking_budget=None))
        await kit.create_room("r")
        await kit.attach_channel("r", "web")
        await kit.attach_channel("r", "agent")
        approved = asyncio.Event()

        @kit.hook(HookTrigger.AFTER_BROADCAST)
        async def notice(event: RoomEvent, context: RoomContext) -> None:
            if "approved" in text_of(event.content):
                approved.set()

        yield Stage(kit, vendor, thinking, approved)


async def test_a_parked_round_is_accepted_by_its_vendor_again(stage: Stage) -> None:
    """Calls with their ids, results in order, reasoning with its signature; also after later messages."""
    vendor, kit = stage.vendor, stage.kit
    calls = (ScriptedToolCall("ask", {"n": 1}), ScriptedToolCall("look", {}))
    vendor.reply("I ask my manager.", tool_calls=calls, thinking=stage.thinking)
    await stage.say("refund please")
    vendor.reply("It is noon.")
    await stage.say("what time is it?")
    (turn,) = await kit.list_parked_turns("r")
    vendor.reply("It is approved.")
    await kit.resume_turn("r", turn.turn_id, {turn.calls[0].call_id: "yes"})
    async with asyncio.timeout(30):
        await stage.approved.wait()
    assert await stage.said() == ["I ask my manager.", "It is noon.", "It is approved."]
    body = vendor.requests[-1].body
    for part in (b"yes", b"it is noon", b"what time is it?", turn.calls[0].call_id.encode()):
        assert part in body
