"""Two workers on one store are one kit to a sender that neither of them knows yet."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.router import InboundRoomRouter
from roomkit.models.base import new_id
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit_plugins.testing import RecordingChannel
from tests.system.workers import PLUGINS, in_memory, on_postgres, on_sqlite

type Workers = tuple[RoomKit, RoomKit]


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres])
async def workers(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Workers]:
    """Two started workers on one store, with two channels."""
    make = request.param(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
    kits = make(), make()
    for kit in kits:
        for name in ("sms", "mms"):
            kit.register_channel(RecordingChannel(name))
        await kit.start()
    yield kits
    for kit in kits:
        await kit.close()


def said(sender: str, text: str = "hi", *, channel: str = "sms", key: str | None = None) -> InboundMessage:
    return InboundMessage(
        channel_id=channel, sender_id=sender, content=TextContent(body=text), idempotency_key=key
    )


async def test_two_first_messages_open_one_room(workers: Workers) -> None:
    """Though each comes to another worker at the same moment; strangers do not share it."""
    rooms = set()
    for number in range(8):
        pair = await asyncio.gather(
            *(kit.process_inbound(said(f"+{number}", text)) for kit, text in zip(workers, "ab", strict=True))
        )
        opened = {each.event.room_id for each in pair if each.event is not None}
        assert len(opened) == 1
        rooms |= opened
    assert len(rooms) == 8
    for room_id in rooms:
        timeline = await workers[0].get_timeline(room_id)
        texts = [text_of(each.content) for each in timeline if each.type is EventType.MESSAGE]
        assert sorted(texts) == ["a", "b"]


async def test_a_redelivery_to_another_worker_is_one_message(workers: Workers) -> None:
    """Also while the first is still under way."""
    for number in range(8):
        message = said(f"+{number}", key=f"vendor {number}")
        pair = await asyncio.gather(*(kit.process_inbound(message) for kit in workers))
        assert sorted(each.duplicate for each in pair) == [False, True]
        assert len({each.event.id for each in pair if each.event is not None}) == 1


async def test_a_redelivery_after_the_room_was_closed_gets_the_first_result(workers: Workers) -> None:
    """No new room is opened for it; a new message opens one."""
    first, second = workers
    one = await first.process_inbound(said("+1", key="bye"))
    assert one.event is not None
    await first.close_room(one.event.room_id)
    again = await second.process_inbound(said("+1", key="bye"))
    assert (again.duplicate, again.event) == (True, one.event)
    later = await second.process_inbound(said("+1", key="hello"))
    assert later.event is not None
    assert later.event.room_id != one.event.room_id
    assert len(await first.store.find_rooms()) == 2


@pytest.mark.parametrize("at_once", [True, False])
@pytest.mark.parametrize("to", ["named rooms", "senders' rooms", "strangers' rooms"])
async def test_a_key_is_known_to_its_channel(workers: Workers, to: str, at_once: bool) -> None:
    """One key with two rooms or senders is one message, at once and one after the other."""
    for number in range(3):
        senders = f"+{number}1", f"+{number}2"
        rooms: list[str | None] = [None, None]
        if to != "strangers' rooms":
            known = [await workers[0].process_inbound(said(each)) for each in senders]
            rooms = [each.event.room_id for each in known if each.event is not None]
        if to != "named rooms":
            rooms = [None, None]
        calls = [
            kit.process_inbound(said(sender, key=f"vendor {number}"), room_id=room_id)
            for kit, sender, room_id in zip(workers, senders, rooms, strict=True)
        ]
        pair = list(await asyncio.gather(*calls)) if at_once else [await each for each in calls]
        assert sorted(each.duplicate for each in pair) == [False, True]
        assert pair[0].event == pair[1].event
        assert pair[0].event is not None
        assert all(not each.blocked for each in pair)


async def test_a_key_is_known_to_one_organization(workers: Workers) -> None:
    first, second = workers
    for name in ("acme", "umbrella"):
        await first.create_room(name, organization_id=name)
    pair = [
        await kit.process_inbound(said("+1", name, key="1"), room_id=name)
        for kit, name in ((first, "acme"), (second, "umbrella"))
    ]
    assert [each.duplicate for each in pair] == [False, False]
    assert [each.event.room_id for each in pair if each.event is not None] == ["acme", "umbrella"]


async def test_a_redelivery_after_the_room_was_deleted_is_a_new_message(workers: Workers) -> None:
    """Nothing is kept of a deleted room, and a vendor's id may name a person."""
    first, second = workers
    one = await first.process_inbound(said("+1", key="bye"))
    assert one.event is not None
    await first.delete_room(one.event.room_id)
    again = await second.process_inbound(said("+1", key="bye"))
    assert again.event is not None
    assert (again.duplicate, again.event.room_id == one.event.room_id) == (False, False)


async def test_equal_keys_of_two_channels_are_two_messages(workers: Workers) -> None:
    """Vendors count their messages each for itself, also in one room."""
    first, second = workers
    await first.create_room("r")
    for kit, channel in ((first, "sms"), (second, "mms"), (first, "mms")):
        result = await kit.process_inbound(said("+1", channel, channel=channel, key="1"), room_id="r")
        assert result.duplicate is (kit is first and channel == "mms")
    timeline = await first.get_timeline("r")
    assert [text_of(e.content) for e in timeline if e.type is EventType.MESSAGE] == ["sms", "mms"]


async def test_a_claim_outlives_the_worker_that_made_it(workers: Workers) -> None:
    """Killed before the room was made: the next message makes the room of that id."""
    first, second = workers
    claims = first._kernel.entry.inbound._claims
    room_id, _ = await claims.claim(said("+1"), None)
    result = await second.process_inbound(said("+1"))
    assert result.event is not None
    assert result.event.room_id == room_id


async def test_a_claim_on_a_room_that_takes_no_messages_is_replaced(workers: Workers) -> None:
    """Closed, or left by the channel: a new room is opened, by one claim for both workers."""
    first, second = workers
    rooms: list[str] = []
    for end in ("close", "detach", None):
        pair = await asyncio.gather(*(kit.process_inbound(said("+1", new_id())) for kit in workers))
        (room_id,) = {each.event.room_id for each in pair if each.event is not None}
        assert room_id not in rooms
        rooms.append(room_id)
        if end == "close":
            await first.close_room(room_id)
        elif end == "detach":
            await second.detach_channel(room_id, "sms")


async def test_a_known_sender_costs_no_claim(workers: Workers) -> None:
    """Nor does a message for a room that is named."""
    first, second = workers
    await first.process_inbound(said("+1"))
    made: list[Any] = []
    for kit in workers:
        kit._kernel.entry.inbound._claims.claim = lambda *asked: made.append(asked)  # type: ignore[method-assign,assignment]
    await second.process_inbound(said("+1"))
    assert made == []


async def test_the_claim_of_a_person_is_erased_with_them(workers: Workers) -> None:
    first, _ = workers
    await first.process_inbound(said("+1"))
    receipt = await first.privacy.erase_person(participant_id="+1")
    assert sum(each.count for each in receipt.erased if each.kind == "value") == 1
    assert await first.store.delete_values_of("+1") == 0


class Interrupted(RecordingChannel):
    """Makes the event of a message only after something else was done, once."""

    between: Callable[[], Awaitable[object]] | None = None

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Run what the test wants to come between the message's routing and its commit."""
        between, self.between = self.between, None
        if between is not None:
            await between()
        return await super().handle_inbound(message, context)


ENDS: dict[str, Callable[[RoomKit, str], Awaitable[object]]] = {
    "close": lambda kit, room_id: kit.close_room(room_id),
    "delete": lambda kit, room_id: kit.delete_room(room_id),
    "detach": lambda kit, room_id: kit.detach_channel(room_id, "fax"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("is_known", [True, False])
async def test_a_message_that_its_room_ends_before_opens_another(
    workers: Workers, end: str, is_known: bool
) -> None:
    """As the next message would; also where the room was another worker's, opened for a first message."""
    first, second = workers
    for kit in workers:
        kit.register_channel(Interrupted("fax"))
    opened = await first.process_inbound(said("+1", "one", channel="fax"))
    assert opened.event is not None
    room_id = opened.event.room_id
    if not is_known:
        person = (await first.store.list_participants(room_id))[0]
        await first.store.update_participant(person.replace(connected_via=("sms",), channel_id="sms"))
    fax = second.get_channel("fax")
    assert isinstance(fax, Interrupted)
    fax.between = lambda: ENDS[end](first, room_id)
    result = await second.process_inbound(said("+1", "two", channel="fax", key="k"))
    assert (result.blocked, result.reason) == (False, None)
    assert result.event is not None
    assert result.event.room_id != room_id
    assert await second.process_inbound(said("+1", "two", channel="fax", key="k")) == InboundResult(
        result.event, duplicate=True
    )


@pytest.mark.parametrize(("end", "reason"), [("close", "room_closed"), ("detach", "channel_detached")])
async def test_a_message_that_names_its_room_is_refused_when_that_ends(
    workers: Workers, end: str, reason: str
) -> None:
    first, second = workers
    for kit in workers:
        kit.register_channel(Interrupted("fax"))
    await first.create_room("r")
    await first.attach_channel("r", "fax")
    fax = second.get_channel("fax")
    assert isinstance(fax, Interrupted)
    fax.between = lambda: ENDS[end](first, "r")
    result = await second.process_inbound(said("+1", channel="fax"), room_id="r")
    assert (result.blocked, result.reason, result.event) == (True, reason, None)
    assert len(await first.store.find_rooms()) == 1


class Stubborn(InboundRoomRouter):
    """Names one room for every message."""

    asked = 0

    async def route(self, *_: Any, **__: Any) -> str | None:
        """Return the room, whatever became of it."""
        self.asked += 1
        return "r"


async def test_a_closed_room_that_a_router_names_is_passed_over() -> None:
    """The message opens a room, as if the router had named none."""
    router = Stubborn()
    async with RoomKit(inbound_router=router, plugins=PLUGINS) as kit:
        kit.register_channel(RecordingChannel("sms"))
        await kit.create_room("r")
        await kit.close_room("r")
        result = await kit.process_inbound(said("+1"))
    assert (result.blocked, router.asked) == (False, 1)
    assert result.event.room_id != "r"
