"""Telegram: what the Bot API gets, which updates are taken, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from roomkit import TextContent
from roomkit.abc.errors import ProviderError, WebhookRejected
from roomkit.models import InboundMessage, InboundResult, RoomEvent
from roomkit.models.event import EventSource
from roomkit.models.webhook import WebhookAnswer
from roomkit.plugins import default_manager
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import NeverAnswer, TelegramSimulator
from tests.options.channels import made
from tests.options.kit import a_kit
from tests.options.mechanism import Change, Settings, Subject

__all__ = ["TELEGRAM"]

_CHAT = 551000
_EVENT = RoomEvent(
    id="e1",
    room_id="r",
    source=EventSource(channel_id="telegram", channel_type="telegram", direction="outbound"),
    content=TextContent(body="hello"),
)


class _Edge(TelegramSimulator):
    """Telegram, also below a path, as behind a proxy."""

    async def handle(self, request: Any, exchange: Any) -> None:
        request = replace(request, path=request.path.removeprefix("/edge"))
        await super().handle(request, exchange)


async def _created(vendor: TelegramSimulator, kind: str, name: str, settings: Settings) -> Any:
    given = {"bot_token": vendor.bot_token, "base_url": vendor.origin, **settings}
    filled = {
        option: value.replace("{origin}", vendor.origin) if isinstance(value, str) else value
        for option, value in given.items()
    }
    return await default_manager().acreate(kind, name, filled)


async def _sends(settings: Settings) -> object:
    """Return the requests that come by the simulator's socket."""
    async with _Edge() as vendor:
        vendor.person("Ann", _CHAT)
        provider = await _created(vendor, "telegram", "bot", settings)
        try:
            result = (await provider.send(_EVENT, str(_CHAT))).success
        except ProviderError as error:
            result = str(error.error_code)
        await provider.close()
        return [(each.path, each.body) for each in vendor.requests], result


async def _waits(settings: Settings) -> object:
    """Return how long an answer is waited for."""
    async with TelegramSimulator() as vendor:
        vendor.person("Ann", _CHAT)
        vendor.play(NeverAnswer())
        provider = await _created(vendor, "telegram", "bot", settings)
        try:
            async with asyncio.timeout(60 if settings["timeout"] < 1 else 0.2):
                await provider.send(_EVENT, str(_CHAT))
        except ProviderError as error:
            return str(error.error_code)
        except TimeoutError:
            return "still waiting"
        finally:
            await provider.close()
    return "answered"


async def _taken(settings: Settings) -> object:
    """Return what a webhook with a file, and one of a group, come to."""
    async with TelegramSimulator() as vendor:
        provider = await _created(vendor, "telegram", "bot", settings)
        found: list[object] = []

        async def take(request: Any) -> Any:
            try:
                for part in await provider.webhook(request, channel_id="telegram"):
                    assert isinstance(part, InboundMessage)
                    found.append((part.content, part.addressed_to))
            except WebhookRejected as error:
                found.append(str(error)[:30])
            return WebhookAnswer()

        vendor.connect(take)
        ann, group = vendor.person("Ann", _CHAT), vendor.group("Team", -1001)
        await ann.send_file("document", bytes(2000))
        await ann.write("hello", in_chat=group)
        await provider.close()
        return found


async def _polls(settings: Settings) -> object:
    """Return what a source asks for, and what becomes of it."""
    async with _Edge() as vendor:
        ann, group = vendor.person("Ann", _CHAT), vendor.group("Team", -1001)
        await ann.send_file("document", bytes(2000))
        await ann.write("hello", in_chat=group)
        source = await _created(vendor, "source", "telegram", {"channel_id": "telegram", **settings})
        emitted: list[Any] = []
        enough = asyncio.Event()

        async def emit(part: Any) -> InboundResult:
            emitted.append((part.channel_id, part.content, part.addressed_to))
            if len(emitted) == 2:
                enough.set()
            return InboundResult()

        async def run() -> str:
            try:
                await source.start(emit)
            except ProviderError as error:
                enough.set()
                return str(error.error_code)
            return "stopped"

        task = asyncio.create_task(run())
        async with asyncio.timeout(20):
            await enough.wait()
            if not task.done():
                await source.stop()
            ended = await task
        await source.close()
        asked = next(each for each in vendor.requests if each.path.endswith("/getUpdates"))
        return asked.path, asked.body, emitted, ended


async def _gives_up(settings: Settings) -> object:
    """Return whether a source has given up on a server that takes its request, and never answers."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        origin = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        given = {"bot_token": "123456:token", "channel_id": "telegram", **settings, "base_url": origin}
        source = await default_manager().acreate("source", "telegram", given)
        task = asyncio.create_task(source.start(_unexpected))
        try:
            await until(partial(_has_failed, source), 20 if settings["timeout"] < 1 else 0.3)
            return "given up"
        except TimeoutError:
            return "still waiting"
        finally:
            await source.stop()
            await task
            await source.close()


async def _has_failed(source: Any) -> bool:
    return (await source.healthcheck()).error is not None


async def _unexpected(emitted: object) -> InboundResult:
    raise AssertionError("nothing comes")


async def _delivers(settings: Settings) -> object:
    """Return what the channel's provider is handed."""
    channel = await made("telegram", settings, "telegram")
    async with a_kit({}, channel) as kit:
        await kit.create_room("t")
        await kit.attach_channel("t", "telegram", metadata={"telegram_chat_id": str(_CHAT)})
        await kit.send_event("t", "system", TextContent(body="hello"))
        providers = [each for each in (channel.provider,) if each is not None]
        return [sent["hints"] for each in providers for sent in each.sent]


_OF_A_BOT: Mapping[str, Change] = {
    "bot_token": Change("123456:another-token"),
    "base_url": Change("{origin}/edge"),
    "groups": Change("all"),
    "max_file_bytes": Change(100),
}
_SECRET: Settings = {"webhook_secret": "simulated-webhook-secret"}
TELEGRAM = (
    Subject(
        "channel:telegram",
        {
            "silent": Change(True, {"provider": "mock"}),
            "provider": Change("mock"),
            "providers": Change(["mock"]),
        },
        _delivers,
    ),
    Subject(
        "telegram:bot",
        {
            **_OF_A_BOT,
            "groups": Change("all", _SECRET, _taken),
            "max_file_bytes": Change(100, _SECRET, _taken),
            "webhook_secret": Change("simulated-webhook-secret", observe=_taken),
            "timeout": Change(0.05, {"timeout": 10.0}, _waits),
        },
        _sends,
        real_time=True,
    ),
    Subject(
        "source:telegram",
        {
            **_OF_A_BOT,
            "channel_id": Change("other"),
            "poll_seconds": Change(7),
            "limit": Change(9),
            "timeout": Change(0.05, {"timeout": 10.0, "poll_seconds": 0}, _gives_up),
        },
        _polls,
        real_time=True,
    ),
)
