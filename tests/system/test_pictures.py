"""A picture that a vendor refuses, through a whole kit: it costs the turn that answers it only."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from roomkit import AIChannel, AnthropicAIProvider, AnthropicConfig, OpenAIAIProvider, OpenAIConfig, RoomKit
from roomkit.abc import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import EventContent, MediaContent, TextContent
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.testing import RecordingChannel
from roomkit_plugins.testing.simulators import (
    AISimulator,
    AnthropicSimulator,
    OpenAISimulator,
    ReceivedRequest,
    Reply,
)

DATA = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"


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
        model="gpt-4.1", api="responses", api_key=simulator.api_key, base_url=simulator.base_url
    )
    return OpenAIAIProvider(config)


@dataclass
class Chat:
    """One person and one agent in a room, and the vendor behind the agent."""

    kit: RoomKit
    vendor: AISimulator

    async def say(self, content: EventContent | str) -> InboundResult:
        body = TextContent(body=content) if isinstance(content, str) else content
        message = InboundMessage(channel_id="web", sender_id="ann", content=body)
        return await self.kit.process_inbound(message, room_id="r")

    def refuse_pictures(self) -> None:
        """Have the vendor refuse every request that holds a picture, as one it cannot decode."""

        def answer(request: ReceivedRequest) -> Reply:
            broken = DATA.encode() in request.body
            fault = self.vendor.failure(ErrorCode.UNSUPPORTED_CONTENT) if broken else None
            return Reply("I am here.", fault=fault)

        self.vendor.reply_always(answer)


@pytest.fixture(autouse=True)
def no_certificates(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let clients load none: the simulators speak plain HTTP, and reading a system's takes long."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))


@pytest.fixture(params=[claude, chat, responses], ids=["anthropic", "chat", "responses"])
async def room(request: pytest.FixtureRequest) -> AsyncIterator[Chat]:
    """Return a room with an agent on each vendor's API."""
    connect: Callable[[AISimulator], AIProvider] = request.param
    vendor = AnthropicSimulator() if connect is claude else OpenAISimulator()
    async with vendor, RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        kit.register_channel(AIChannel("agent", connect(vendor)))
        await kit.create_room("r")
        await kit.attach_channel("r", "web")
        await kit.attach_channel("r", "agent")
        vendor.reply_always(lambda asked: Reply("I am here."))
        yield Chat(kit, vendor)


@pytest.mark.parametrize("mime_type", ["image/heic", "image/png"])
async def test_later_turns_are_answered(room: Chat, mime_type: str) -> None:
    """Whether the plugin knows that the vendor takes no such picture, or the vendor says so."""
    room.refuse_pictures()
    photo = MediaContent(url=f"data:{mime_type};base64,{DATA}", mime_type=mime_type)
    failed = (await room.say(photo)).error
    assert isinstance(failed, ProviderError)
    assert failed.error_code in (ErrorCode.UNSUPPORTED_CONTENT, ErrorCode.INVALID_REQUEST)
    for text in ("are you there?", "hello??"):
        assert (await room.say(text)).error is None
    assert f"[image: {mime_type}]".encode() in room.vendor.requests[-1].body


async def test_a_misspelt_type_is_a_picture_like_any_other(room: Chat) -> None:
    """`image/jpg` is sent as image/jpeg, and answered."""
    photo = MediaContent(url=f"data:image/jpg;base64,{DATA}", mime_type="image/jpg")
    assert (await room.say(photo)).error is None
    assert b"image/jpeg" in room.vendor.requests[-1].body
