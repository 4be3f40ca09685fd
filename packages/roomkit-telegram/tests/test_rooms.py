"""Conversations over the simulated Bot API: what comes, what goes, and where."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import StoreError
from roomkit.memory import InMemoryMediaStore, InMemoryStore
from roomkit.models import (
    AudioContent,
    CompositeContent,
    DeliveryState,
    LocationContent,
    MediaContent,
    RichContent,
    TextContent,
    VideoContent,
)
from roomkit.models.webhook import WebhookRequest
from roomkit.plugins import PluginManager
from roomkit_plugins.telegram import TelegramBotProvider, TelegramChannel, TelegramConfig
from roomkit_plugins.testing import VirtualClock
from roomkit_plugins.testing.polling import until
from roomkit_plugins.testing.simulators import TelegramPerson, TelegramSimulator

pytestmark = pytest.mark.virtual_time

PNG = b"\x89PNG\r\n\x1a\n" + bytes(80_000)


def make_kit(config: TelegramConfig, **options: Any) -> RoomKit:
    kit = RoomKit(plugins=PluginManager(entry_points=()), clock=VirtualClock(), **options)
    kit.register_channel(TelegramChannel("telegram", provider=TelegramBotProvider(config)))
    return kit


@pytest.fixture
async def kit(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig]
) -> AsyncIterator[RoomKit]:
    """Return a kit whose channel has the simulator's bot, with a media store."""
    async with make_kit(configure(), media=InMemoryMediaStore()) as kit:
        telegram.connect(lambda request: kit.process_webhook(request, "telegram"))
        yield kit


@pytest.fixture
async def ann(telegram: TelegramSimulator) -> TelegramPerson:
    """Return a person who has started the bot."""
    return telegram.person("Ann", 123456789)


async def the_room(kit: RoomKit) -> str:
    (room,) = await kit.store.list_rooms()
    return room.id


async def messages(kit: RoomKit, room_id: str | None = None, kind: str = "message") -> list[Any]:
    room_id = room_id or await the_room(kit)
    return [each for each in await kit.get_timeline(room_id) if each.type == kind]


async def said(kit: RoomKit) -> Any:
    """Return the content of the newest message."""
    return (await messages(kit))[-1].content


async def test_a_person_and_the_bot_talk(kit: RoomKit, ann: TelegramPerson) -> None:
    answer = await ann.write("Is my table ready?")
    assert answer is not None
    room_id = await the_room(kit)
    (event,) = await messages(kit)
    assert event.content == TextContent(body="Is my table ready?")
    assert event.metadata["sender_name"] == "Ann"
    await kit.send_event(room_id, "system", TextContent(body="It is."))
    assert (await ann.receive()).text == "It is."
    (row,) = [each for each in await kit.list_deliveries(room_id) if each.state is DeliveryState.SENT]
    assert row.provider_message_id is not None
    assert row.provider_message_id.startswith("123456789:")


async def test_an_update_that_comes_again_is_there_once(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    telegram.duplicating = True
    await ann.write("once")
    assert len(await messages(kit)) == 1


@pytest.mark.parametrize(
    ("kind", "content", "mime_type", "start"),
    [
        ("photo", MediaContent, "image/jpeg", b"\xff\xd8\xff\xe0"),
        ("document", MediaContent, "application/octet-stream", b"\x00\x01"),
        ("sticker", MediaContent, "image/webp", b"RIFF\x00\x00\x00\x00WEBP"),
        ("voice", AudioContent, "audio/ogg", b"OggS"),
        ("audio", AudioContent, "audio/mpeg", b"ID3\x03"),
        ("video", VideoContent, "video/mp4", b"\x00\x00\x00\x18ftypmp42"),
        ("video_note", VideoContent, "video/mp4", b"\x00\x00\x00\x18ftypmp42"),
        ("animation", VideoContent, "video/mp4", b"\x00\x00\x00\x18ftypmp42"),
    ],
)
async def test_each_kind_of_file_is_kept_with_its_message(
    kit: RoomKit,
    telegram: TelegramSimulator,
    ann: TelegramPerson,
    kind: str,
    content: Any,
    mime_type: str,
    start: bytes,
) -> None:
    """In the media store; the URL that Telegram has it at, with the token, is nowhere."""
    data = start + bytes(80_000)
    await ann.send_file(kind, data)
    found = await said(kit)
    assert type(found) is content
    assert found.mime_type == mime_type
    assert found.url.startswith("media:")
    assert b"".join([piece async for piece in kit.media.open(found.url)]) == data
    assert telegram.bot_token not in str([each.model_dump() for each in await messages(kit)])


async def test_a_caption_stays_with_its_file(kit: RoomKit, ann: TelegramPerson) -> None:
    await ann.send_file("photo", PNG, caption="the meter")
    assert (await said(kit)).caption == "the meter"
    await ann.send_file("voice", PNG, caption="listen")
    words, sound = (await said(kit)).parts
    assert (words, type(sound)) == (TextContent(body="listen"), AudioContent)


async def test_a_file_that_is_too_large_is_named(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig], ann: TelegramPerson
) -> None:
    """And is not fetched."""
    async with make_kit(configure(max_file_bytes=1000)) as kit:
        telegram.connect(lambda request: kit.process_webhook(request, "telegram"))
        await ann.send_file("document", PNG, facts={"file_name": "plan.pdf"}, caption="the plan")
        words, lost = (await said(kit)).parts
        assert (words.body, lost.code) == ("the plan", "missing_file")
        assert "plan.pdf" in lost.body
        assert telegram.requests == []


@pytest.mark.parametrize(
    ("options", "size"),
    [({"media": InMemoryMediaStore(), "media_limit": 50_000}, 50_001), ({}, 1_048_577)],
)
async def test_a_file_that_the_kit_does_not_keep_is_named(
    telegram: TelegramSimulator,
    configure: Callable[..., TelegramConfig],
    ann: TelegramPerson,
    options: dict[str, Any],
    size: int,
) -> None:
    """The message is taken all the same: else Telegram would send it again, and nothing after it."""
    async with make_kit(configure(), **options) as kit:
        telegram.connect(lambda request: kit.process_webhook(request, "telegram"))
        answer: Any = await ann.send_file("photo", bytes(size), caption="see")
        assert answer.status == 200
        words, lost = (await said(kit)).parts
        assert (words.body, lost.code) == ("see", "missing_file")


async def test_a_file_that_cannot_be_had_now_has_the_update_come_again(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson, configure: Callable[..., TelegramConfig]
) -> None:
    """Telegram is answered 503, and nothing is stored, until the file is there."""
    await telegram.close()
    answer: Any = await ann.send_file("photo", PNG)
    assert answer.status == 503
    assert await kit.store.list_rooms() == []
    assert telegram.bot_token not in str(answer.error)


async def test_a_group_has_one_room_and_its_members_are_known(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """What a member writes to the bot alone is in another one."""
    group, ben = telegram.group("Team", -1001), telegram.person("Ben", 42)
    await ann.write("hello", in_chat=group)
    await ben.write("hi", in_chat=group)
    room_id = await the_room(kit)
    senders = [each.source.participant_id for each in await messages(kit)]
    assert len(set(senders)) == 2
    await ann.write("psst")
    rooms = await kit.store.list_rooms()
    assert len(rooms) == 2
    await kit.send_event(room_id, "system", TextContent(body="welcome"))
    assert telegram.messages[-1].chat_id == group


async def test_agents_are_asked_in_a_group_only_where_the_bot_is_addressed(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """By its name, a command or an answer to it; every message is in the timeline."""
    group = telegram.group("Team", -1001)
    await ann.write("what a day", in_chat=group)
    name = f"@{telegram.username}"
    mention = {"offset": 3, "length": len(name), "type": "mention"}
    await ann.write(f"hi {name}", in_chat=group, entities=[mention])
    await ann.write("hi @other_bot", in_chat=group, entities=[{"offset": 3, "length": 10, "type": "mention"}])
    command = {"offset": 0, "length": 5, "type": "bot_command"}
    await ann.write("/help", in_chat=group, entities=[command])
    other = {"offset": 0, "length": 15, "type": "bot_command"}
    await ann.write("/help@other_bot", in_chat=group, entities=[other])
    replied = {"message_id": 9, "from": telegram._me(), "chat": telegram.chat(group, ann), "date": 1}
    await ann.write("yes", in_chat=group, reply_to_message=replied)
    await ann.write("alone")
    asked = {
        each.content.body: each.addressed_to
        for room in await kit.store.list_rooms()
        for each in await messages(kit, room.id)
    }
    assert {body for body, to in asked.items() if to is None} == {f"hi {name}", "/help", "yes", "alone"}
    assert len(asked) == 7


async def test_an_album_is_one_message(kit: RoomKit, ann: TelegramPerson) -> None:
    """Whatever the order of its parts, and however often they come."""
    for caption in ("the first", None, None):
        words: dict[str, Any] = {} if caption is None else {"caption": caption}
        await ann.send_file("photo", PNG, media_group_id="g1", **words)
    assert await kit.store.list_rooms() == []
    await until(lambda: kit.store.list_rooms())
    await until(lambda: messages(kit))
    (event,) = await messages(kit)
    assert isinstance(event.content, CompositeContent)
    assert [type(part) for part in event.content.parts] == [MediaContent] * 3
    first: Any = event.content.parts[0]
    assert first.caption == "the first"
    await ann.send_file("photo", PNG, media_group_id="g2")
    await until(lambda: _has(kit, 2))
    assert isinstance(await said(kit), MediaContent)


async def _has(kit: RoomKit, count: int) -> bool:
    return len(await messages(kit)) == count


async def test_parts_of_an_album_that_come_again_make_no_second_one(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    for _ in range(2):
        await ann.send_file("photo", PNG, media_group_id="g1")
    await until(lambda: kit.store.list_rooms())
    await until(lambda: _has(kit, 1))
    for sent in telegram.webhooks[:]:
        await kit.process_webhook(sent.request, "telegram")
    await asyncio.sleep(30)
    assert len(await messages(kit)) == 1


async def test_an_album_whose_worker_is_lost_is_joined_by_another(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig], ann: TelegramPerson
) -> None:
    """Its parts came to two workers, and the one that has the timer is closed before it fires."""
    store, media = InMemoryStore(), InMemoryMediaStore()
    first, second = (make_kit(configure(), store=store, media=media) for _ in range(2))
    async with second:
        await first.start()
        telegram.connect(lambda request: first.process_webhook(request, "telegram"))
        await ann.send_file("photo", PNG, media_group_id="g1", caption="one")
        telegram.connect(lambda request: second.process_webhook(request, "telegram"))
        await ann.send_file("photo", PNG, media_group_id="g1", caption="two")
        await first.close()
        await until(lambda: second.store.list_rooms())
        await until(lambda: _has(second, 1))
        await asyncio.sleep(30)
        assert [part.caption for part in (await said(second)).parts] == ["one", "two"]


async def test_an_edit_a_deletion_and_a_reaction_reach_their_message(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Of the bot's own, by Telegram's number."""
    await ann.write("hello")
    room_id = await the_room(kit)
    event = await kit.send_event(room_id, "system", TextContent(body="wrogn"))
    (sent,) = telegram.messages
    await kit.edit_event(room_id, event.id, TextContent(body="right"))
    assert sent.text == "right"
    await kit.delete_event(room_id, event.id)
    assert sent.is_deleted
    assert telegram.messages == [sent]


async def test_what_people_edit_and_how_they_react_is_found(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    await ann.write("helo")
    room_id = await the_room(kit)
    (event,) = await messages(kit)
    number = int((event.channel_data.external_id or "").rpartition(":")[2])
    await ann.edit(number, "hello")
    assert (await messages(kit))[0].content == TextContent(body="hello")
    bot = await kit.send_event(room_id, "system", TextContent(body="hi"))
    await ann.react(telegram.messages[0].number, "👍")
    await ann.react(telegram.messages[0].number, before=["👍"])
    found = [
        (each.parent_event_id, each.content.body, each.metadata["action"])
        for each in await messages(kit, kind="reaction")
    ]
    assert found == [(bot.id, "👍", "add"), (bot.id, "👍", "remove")]


async def test_an_answer_names_what_it_answers(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Both ways."""
    await ann.write("one")
    room_id = await the_room(kit)
    (event,) = await messages(kit)
    sent = await kit.send_event(room_id, "system", TextContent(body="two"), parent_event_id=event.id)
    replied = telegram.messages[0].fields["reply_parameters"]
    assert replied["message_id"] == int((event.channel_data.external_id or "").rpartition(":")[2])
    await ann.write("three", reply_to_message=telegram.as_sent(telegram.messages[0]))
    assert (await messages(kit))[-1].parent_event_id == sent.id


async def test_buttons_come_back_as_answers_and_are_acknowledged(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    await ann.write("book")
    room_id = await the_room(kit)
    buttons = (
        {"text": "At eight", "type": "reply", "payload": "t:8"},
        {"text": "Map", "type": "url", "url": "https://example.org"},
    )
    await kit.send_event(room_id, "system", RichContent(body="**When?**", buttons=buttons))
    message = await ann.receive()
    assert message.text == "When?"
    await ann.press(message, "At eight")
    event = (await messages(kit))[-1]
    assert event.content == TextContent(body="At eight")
    assert event.metadata["callback_data"] == "t:8"
    assert event.parent_event_id is not None
    assert len(telegram.answered) == 1


async def test_quick_replies_are_a_keyboard(kit: RoomKit, ann: TelegramPerson) -> None:
    await ann.write("book")
    await kit.send_event(await the_room(kit), "system", RichContent(body="When?", quick_replies=("8", "9")))
    assert (await ann.receive()).keys == ["8", "9"]


async def test_a_topic_is_answered_in_it(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    group = telegram.group("Forum", -1007, is_forum=True)
    await ann.write("in the topic", in_chat=group, message_thread_id=55, is_topic_message=True)
    room_id = await the_room(kit)
    (event,) = await messages(kit)
    await kit.send_event(room_id, "system", TextContent(body="here"), thread_id=event.channel_data.thread_id)
    assert telegram.messages[-1].fields["message_thread_id"] in (55, "55")


async def test_who_blocks_the_bot_is_not_written_to_until_they_start_it_again(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    await ann.write("hello")
    room_id = await the_room(kit)
    await ann.block()
    await kit.send_event(room_id, "system", TextContent(body="are you there?"))
    row = (await kit.list_deliveries(room_id))[-1]
    assert (row.state, row.reason) == (DeliveryState.SKIPPED, "opted_out")
    assert telegram.messages == []
    await ann.start()
    await kit.send_event(room_id, "system", TextContent(body="welcome back"))
    assert telegram.messages[-1].text == "welcome back"


async def test_a_group_that_gets_another_id_keeps_its_room(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """By what Telegram says in the old group, and by its answer to a message there."""
    old, new = telegram.group("Team", -55), telegram.group("Team", -10055)
    await ann.write("hello", in_chat=old)
    room_id = await the_room(kit)
    telegram.migrated[old] = new
    await kit.send_event(room_id, "system", TextContent(body="hi"))
    assert telegram.messages[-1].chat_id == new
    binding = (await kit.list_bindings(room_id))[0]
    assert (binding.address, binding.metadata["telegram_chat_id"]) == ("-10055", "-10055")
    await ann.write("still here", in_chat=new)
    assert await the_room(kit) == room_id


async def test_a_supergroup_that_a_group_became_is_found_by_its_own_message(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    old, new = telegram.group("Team", -55), telegram.group("Team", -10055)
    await ann.write("hello", in_chat=old)
    await ann.send(in_chat=old, migrate_to_chat_id=new)
    await ann.write("still here", in_chat=new)
    assert (await said(kit)).body == "still here"


async def test_too_many_messages_wait_as_long_as_telegram_says(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    await ann.write("hello")
    room_id = await the_room(kit)
    telegram.limit(7)
    before = asyncio.get_running_loop().time()
    await kit.send_event(room_id, "system", TextContent(body="patience"))
    assert telegram.messages[-1].text == "patience"
    assert asyncio.get_running_loop().time() - before >= 7


async def test_a_place_and_a_venue_go_both_ways(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    await ann.send(location={"latitude": 52.5, "longitude": 13.4})
    assert await said(kit) == LocationContent(latitude=52.5, longitude=13.4)
    room_id = await the_room(kit)
    await kit.send_event(room_id, "system", LocationContent(latitude=1, longitude=2, label="Here"))
    assert (telegram.messages[-1].method, telegram.messages[-1].fields["title"]) == ("sendVenue", "Here")


async def test_a_business_chat_is_apart_from_the_bots_own(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Though the customer's id is the same; answers go through the connection."""
    await ann.write("to the bot")
    await ann.send(kind="business_message", business_connection_id="bc1", text="to the shop")
    rooms = await kit.store.list_rooms()
    assert len(rooms) == 2
    first = {(await messages(kit, room.id))[0].content.body: room.id for room in rooms}
    shop = first["to the shop"]
    await kit.send_event(shop, "system", TextContent(body="hello"))
    assert telegram.messages[-1].fields["business_connection_id"] == "bc1"
    assert telegram.messages[-1].chat_id == 123456789


async def test_a_file_goes_out_as_its_bytes(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Or by its URL, where it has one that Telegram can fetch."""
    await ann.write("hello")
    room_id = await the_room(kit)
    ref = await kit.media.put(room_id, PNG, mime_type="image/png", filename="a.png")
    await kit.send_event(room_id, "system", MediaContent(url=ref.url, mime_type="image/png", caption="see"))
    sent: Any = telegram.messages[-1]
    assert (sent.method, sent.text, sent.file.data) == ("sendPhoto", "see", PNG)
    url = "https://files.example.org/a.ogg"
    await kit.send_event(room_id, "system", AudioContent(url=url, duration_seconds=2.4))
    assert (telegram.messages[-1].method, telegram.messages[-1].file) == ("sendVoice", url)


async def test_long_text_is_divided_by_utf16(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    await ann.write("hello")
    text = "👋 " * 3000
    await kit.send_event(await the_room(kit), "system", TextContent(body=text))
    assert "".join("".join(each.text.split()) for each in telegram.messages) == "👋" * 3000
    assert len(telegram.messages) == 3


async def test_that_an_answer_is_written_is_shown(
    kit: RoomKit, telegram: TelegramSimulator, ann: TelegramPerson
) -> None:
    """Telegram shows it for five seconds at a time."""
    await ann.write("hello")
    await kit.publish_typing(await the_room(kit), "desk")
    await until(lambda: telegram.actions)
    assert telegram.actions[0]["action"] == "typing"


async def test_an_album_is_not_doubled_if_its_worker_is_lost_after_the_commit(
    telegram: TelegramSimulator, configure: Callable[..., TelegramConfig], ann: TelegramPerson
) -> None:
    """The timer fires again, for the same parts; one that came since is a message of its own."""

    class Lost(InMemoryStore):
        async def put_value(self, value: Any, **options: Any) -> Any:
            if value.data.get("joined") and not self.lost:
                self.lost = True
                raise StoreError("the worker is lost here")
            return await super().put_value(value, **options)

        lost = False

    store = Lost()
    async with make_kit(configure(), store=store, media=InMemoryMediaStore()) as kit:
        telegram.connect(lambda request: kit.process_webhook(request, "telegram"))
        for _ in range(2):
            await ann.send_file("photo", PNG, media_group_id="g1")
        await until(lambda: store.lost)
        await ann.send_file("photo", PNG, media_group_id="g1", caption="late")
        await asyncio.sleep(300)
        first, late = await messages(kit)
        assert (len(first.content.parts), late.content.caption) == (2, "late")
        (value,) = await store.list_values("telegram")
        assert value.data["parts"] == []


async def test_a_part_of_an_album_that_is_too_large_to_be_kept_is_a_message(
    kit: RoomKit, ann: TelegramPerson
) -> None:
    entities = [{"offset": 0, "length": 1, "type": "bold"}] * 200
    await ann.send_file("photo", PNG, media_group_id="g1", caption="x", caption_entities=entities)
    assert len(await messages(kit)) == 1


async def test_an_update_that_cannot_be_read_is_reported_and_not_repeated(
    kit: RoomKit, telegram: TelegramSimulator
) -> None:
    """Telegram would send it again for a day, and what comes after it only then."""
    reported: asyncio.Queue[Any] = asyncio.Queue()
    kit.on("webhook_unparsed")(reported.put)
    body = b'{"update_id": 1, "message": {"text": "of nobody"}}'
    request = _signed(telegram, body)
    assert (await kit.process_webhook(request, "telegram")).status == 200
    said_of_it = (await reported.get()).data
    assert "cannot be read" in said_of_it["reason"]
    assert said_of_it["raw"]["update_id"] == 1


def _signed(telegram: TelegramSimulator, body: bytes) -> WebhookRequest:
    headers = {"X-Telegram-Bot-Api-Secret-Token": telegram.webhook_secret}
    return WebhookRequest(method="POST", url=telegram.webhook_url, headers=headers, body=body)
