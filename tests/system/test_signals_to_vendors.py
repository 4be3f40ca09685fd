"""Typing and read marks from web sockets and agents to the people behind vendors, and back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import AIChannel, InboundMessage, RoomKit, TextContent, WebSocketChannel
from roomkit.abc import TransportChannel
from roomkit.models import ChannelCapabilities, ChannelType, EphemeralEventType, InboundSignal
from roomkit.plugins import PluginManager
from roomkit.testing import MockAIProvider, MockWhatsAppProvider, VirtualClock
from roomkit_plugins.telegram import TelegramBotProvider, TelegramChannel, TelegramConfig
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import TelegramSimulator

pytestmark = pytest.mark.virtual_time
NUMBER = "+14165550123"


class Colleague:
    """A web socket's client, whose session the kit serves."""

    def __init__(self, session: Any, frames: list[Any]) -> None:
        self._session = session
        self.frames = frames

    async def send(self, **frame: Any) -> None:
        await self._session.receive(json.dumps(frame))

    def signals(self) -> list[tuple[str, str]]:
        shown = (each["event"] for each in self.frames if each["type"] == "ephemeral")
        return [(each["type"], each["channel_id"]) for each in shown]


class Desk:
    """A room with a colleague's web socket and a customer's WhatsApp."""

    def __init__(self) -> None:
        self.kit = RoomKit(plugins=PluginManager(entry_points=()), clock=VirtualClock())
        self.whatsapp = MockWhatsAppProvider()
        able = ChannelCapabilities(supports_typing=True, supports_read_receipts=True)
        self.channel = TransportChannel(
            "wa", ChannelType.WHATSAPP, provider=self.whatsapp, capabilities=able, recipient_key="phone"
        )
        self.web = WebSocketChannel("web")

    async def open(self) -> None:
        for channel in (self.channel, self.web):
            self.kit.register_channel(channel)
        await self.kit.create_room("r1")
        await self.kit.attach_channel("r1", "web")
        await self.kit.attach_channel("r1", "wa", metadata={"phone": NUMBER})

    async def write(self, text: str, external_id: str) -> Any:
        message = InboundMessage(
            channel_id="wa", sender_id=NUMBER, external_id=external_id, content=TextContent(body=text)
        )
        return (await self.kit.process_inbound(message, room_id="r1")).event

    async def settled(self) -> None:
        await asyncio.sleep(5)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    desk = Desk()
    await desk.open()
    yield desk
    await desk.kit.close()


async def test_a_colleagues_frames_reach_the_customer(desk: Desk) -> None:
    """What she types and reads in the browser shows in the customer's WhatsApp, once each."""
    frames: list[Any] = []

    async def send(text: str) -> None:
        frames.append(json.loads(text))

    async def close(code: int, reason: str) -> None:
        raise AssertionError(reason)

    async with desk.web.session(desk.kit, "r1", "ann", send=send, close=close) as session:
        ann = Colleague(session, frames)
        event = await desk.write("Is it ready?", "wamid.1")
        await ann.send(type="read", event_id=event.id)
        for _ in range(3):
            await ann.send(type="typing")
        await desk.settled()
        await ann.send(type="message", text="Yes.")
        await ann.send(type="typing", is_typing=False)
        await desk.settled()
        await desk.kit.services.inbox.signal(
            InboundSignal(channel_id="wa", sender_id=NUMBER, type=EphemeralEventType.TYPING_START)
        )
        await desk.settled()

    assert desk.whatsapp.signals == [
        {"to": NUMBER, "message_ids": ["wamid.1"]},
        {"to": NUMBER, "is_typing": True, "answering": "wamid.1"},
        {"to": NUMBER, "is_typing": False, "answering": "wamid.1"},
    ]
    assert desk.whatsapp.texts == ["Yes."]
    assert ann.signals()[-1] == ("typing_start", "wa")


async def test_an_agent_at_work_is_typing_until_it_has_answered(desk: Desk) -> None:
    """Also while its answer is streamed, and not for a colleague's web socket, which sees the stream."""
    model = MockAIProvider([["It is ", asyncio.Event(), "never said"], "It is."], streaming=True)
    desk.kit.register_channel(AIChannel("bot", model))
    await desk.kit.attach_channel("r1", "bot")
    asked = asyncio.create_task(desk.write("Is it ready?", "wamid.1"))
    await asyncio.sleep(18)
    assert desk.whatsapp.signals == [{"to": NUMBER, "is_typing": True, "answering": "wamid.1"}] * 2
    assert await desk.kit.services.turns.interrupt("r1") == 1
    await asked
    await desk.settled()
    assert desk.whatsapp.signals[2:] == [{"to": NUMBER, "is_typing": False, "answering": "wamid.1"}]


async def test_telegram_shows_an_agents_typing() -> None:
    """Over the Bot API: the model does not answer before the person has seen it."""
    async with TelegramSimulator() as telegram:
        ann = telegram.person("Ann", 123456789)

        def typed() -> list[Any]:
            return [each["chat_id"] for each in telegram.actions if each.get("action") == "typing"]

        async def answer(_context: Any) -> str:
            await until(typed)
            return "Here you are."

        config = TelegramConfig(
            bot_token=telegram.bot_token, webhook_secret=telegram.webhook_secret, base_url=telegram.origin
        )
        kit = RoomKit(plugins=PluginManager(entry_points=()), clock=VirtualClock())
        kit.register_channel(TelegramChannel("telegram", provider=TelegramBotProvider(config)))
        kit.register_channel(AIChannel("bot", MockAIProvider([answer])))

        @kit.on("session_started")
        async def greet(event: Any) -> None:
            await kit.attach_channel(event.room_id, "bot")

        telegram.connect(lambda request: kit.process_webhook(request, "telegram"))
        await ann.write("hello")
        await ann.write("anyone there?")
        await until(lambda: ann.received)
        await kit.close()
        assert [str(each) for each in typed()][:1] == ["123456789"]
        assert ann.received[0].text == "Here you are."
