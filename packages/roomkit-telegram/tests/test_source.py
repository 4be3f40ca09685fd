"""Long polling with a kit: where it continues from, on which worker, and what it refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import ProviderError
from roomkit.memory import InMemoryMediaStore, InMemoryStore
from roomkit.models import MediaContent, RichContent, SourceStatus, TextContent
from roomkit.plugins import PluginManager
from roomkit_plugins.telegram import (
    TelegramBotProvider,
    TelegramChannel,
    TelegramConfig,
    TelegramSource,
    TelegramSourceConfig,
)
from roomkit_plugins.testing import VirtualClock
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import TelegramPerson, TelegramSimulator

pytestmark = pytest.mark.virtual_time


@pytest.fixture
async def ann(telegram: TelegramSimulator) -> TelegramPerson:
    """Return a person who has started the bot."""
    return telegram.person("Ann", 123456789)


@pytest.fixture
def polling(telegram: TelegramSimulator, configure: Callable[..., TelegramConfig]) -> Callable[..., Any]:
    """Return what opens a kit that polls: `async with polling(store) as (kit, source)`."""

    @asynccontextmanager
    async def opened(
        store: InMemoryStore | None = None, **run: Any
    ) -> AsyncIterator[tuple[RoomKit, TelegramSource]]:
        kit = RoomKit(
            plugins=PluginManager(entry_points=()),
            clock=VirtualClock(),
            store=store or InMemoryStore(),
            media=InMemoryMediaStore(),
        )
        kit.register_channel(TelegramChannel("telegram", provider=TelegramBotProvider(configure())))
        source = TelegramSource(
            TelegramSourceConfig(
                bot_token=configure().bot_token, base_url=telegram.origin, channel_id="telegram"
            )
        )
        async with kit:
            await kit.attach_source("telegram", source, **{"single": True, **run})
            yield kit, source
        await source.close()

    return opened


async def said(kit: RoomKit) -> list[Any]:
    return [
        each.content
        for room in await kit.store.list_rooms()
        for each in await kit.get_timeline(room.id)
        if each.type == "message"
    ]


async def test_updates_are_polled_and_answered(
    polling: Callable[..., Any], telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    async with polling() as (kit, source):
        await ann.write("hello")
        await until(lambda: _count(kit, 1))
        (room,) = await kit.store.list_rooms()
        await kit.send_event(room.id, "system", TextContent(body="hi"))
        assert (await ann.receive()).text == "hi"
        await ann.send_file("photo", b"\xff\xd8\xff\xe0" + bytes(80_000))
        await until(lambda: _count(kit, 3))
        assert isinstance((await said(kit))[-1], MediaContent)
        assert source.status is SourceStatus.CONNECTED


async def _count(kit: RoomKit, count: int) -> bool:
    return len(await said(kit)) >= count


async def test_it_continues_where_it_was(
    polling: Callable[..., Any], telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Also in another process: the offset is in the store, and what is acknowledged does not come again."""
    store = InMemoryStore()
    async with polling(store) as (kit, source):
        await ann.write("one")
        await until(lambda: _count(kit, 1))
        await until(lambda: source.offset)
        offset = source.offset
    await ann.write("two")
    telegram.polls.clear()
    async with polling(store) as (kit, source):
        await until(lambda: _count(kit, 2))
        assert telegram.polls[0] == offset
    assert [each.body for each in await said(kit)] == ["one", "two"]


async def test_a_pressed_button_is_acknowledged(
    polling: Callable[..., Any], telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    async with polling() as (kit, _):
        await ann.write("hello")
        await until(lambda: _count(kit, 1))
        (room,) = await kit.store.list_rooms()
        buttons = ({"text": "Yes", "type": "reply", "payload": "y"},)
        await kit.send_event(room.id, "system", RichContent(body="Sure?", buttons=buttons))
        await ann.press(await ann.receive(), "Yes")
        await until(lambda: telegram.answered)
        assert (await said(kit))[-1] == TextContent(body="Yes")


async def test_an_album_that_is_polled_is_one_message(
    polling: Callable[..., Any], ann: TelegramPerson
) -> None:
    async with polling() as (kit, _):
        for caption in ("one", "two"):
            await ann.send_file("photo", bytes(100), media_group_id="g", caption=caption)
        await until(lambda: _count(kit, 1))
        await asyncio.sleep(10)
        (content,) = await said(kit)
        assert [part.caption for part in content.parts] == ["one", "two"]


async def test_updates_that_are_no_message_are_reported_and_acknowledged(
    polling: Callable[..., Any], telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Also one that nobody could read: it would stop all that come after it."""
    async with polling() as (kit, _):
        reported: asyncio.Queue[Any] = asyncio.Queue()
        kit.on("source_unparsed")(reported.put)
        await telegram.post({"update_id": telegram.next_number(), "inline_query": _query(ann)})
        await telegram.post({"update_id": telegram.next_number(), "message": {"text": "of nobody"}})
        await ann.write("hello")
        await until(lambda: _count(kit, 1))
        reasons = "; ".join([(await reported.get()).data["error"] for _ in range(2)])
        assert "inline query" in reasons
        assert "cannot be read" in reasons


def _query(ann: TelegramPerson) -> dict[str, Any]:
    return {"id": "1", "from": ann.user, "query": "tea", "offset": ""}


async def test_a_webhook_that_is_set_is_a_conflict_that_says_what_to_do(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig]
) -> None:
    async def refuse(request: Any) -> Any:
        raise AssertionError("nothing is sent")

    telegram.connect(refuse)
    source = TelegramSource(
        TelegramSourceConfig(bot_token=configure().bot_token, base_url=telegram.origin, channel_id="t")
    )
    with pytest.raises(ProviderError, match="call deleteWebhook") as caught:
        await source.start(refuse)
    assert telegram.bot_token not in str(caught.value)
    assert source.status is SourceStatus.ERROR
    await source.close()


async def test_a_token_that_is_revoked_ends_it(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig]
) -> None:
    config = TelegramSourceConfig(
        bot_token="123456:another",
        base_url=telegram.origin,
        channel_id="t",
    )
    source = TelegramSource(config)
    with pytest.raises(ProviderError, match="401"):
        await source.start(_nothing)
    await source.close()


async def _nothing(emitted: Any) -> Any:
    raise AssertionError("nothing comes")


async def test_one_worker_of_two_polls(
    polling: Callable[..., Any], telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """And the other goes on, from the same offset, when that one is closed."""
    store = InMemoryStore()
    async with polling(store) as (second, _):
        async with polling(store):
            await ann.write("one")
            await until(lambda: _count(second, 1))
        await ann.write("two")
        await until(lambda: _count(second, 2))
        await asyncio.sleep(60)
        assert [each.body for each in await said(second)] == ["one", "two"]
