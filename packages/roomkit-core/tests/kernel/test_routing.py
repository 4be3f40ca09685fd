"""Routing: the sender decides, and an ambiguous message makes a new room."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.router import InboundRoomRouter
from roomkit.models import Access, InboundMessage, TextContent
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time


async def room_of(stage: Any, sender: str, channel: str = "sms") -> str:
    result = await stage.say(channel=channel, by=sender, room=None)
    assert result.event is not None
    return str(result.event.room_id)


async def test_a_strangers_message_opens_a_room(stage: Any) -> None:
    """With the channel attached and the message in it."""
    stage.kit.register_channel(RecordingChannel("sms"))
    room_id = await room_of(stage, "+1")

    assert room_id != "r1"
    assert [binding.channel_id for binding in await stage.kit.list_bindings(room_id)] == ["sms"]
    assert await stage.texts(room_id) == ["hello"]


async def test_who_writes_again_is_in_the_same_room(stage: Any) -> None:
    """And two senders of one channel are never in one."""
    stage.kit.register_channel(RecordingChannel("sms"))
    first, second = await room_of(stage, "+1"), await room_of(stage, "+2")

    assert first != second
    assert [await room_of(stage, sender) for sender in ("+1", "+2", "+1")] == [first, second, first]


async def test_two_first_messages_at_once_open_one_room(stage: Any) -> None:
    stage.kit.register_channel(RecordingChannel("sms"))
    rooms = await asyncio.gather(*(room_of(stage, "+1") for _ in range(5)))

    assert len(set(rooms)) == 1
    assert len(await stage.texts(rooms[0])) == 5


async def test_a_stranger_comes_to_the_one_room_nobody_else_came_to(stage: Any) -> None:
    await stage.socket("sms")

    assert await room_of(stage, "+1") == "r1"
    assert await room_of(stage, "+2") != "r1"


async def test_a_room_bound_to_somebody_is_theirs(stage: Any) -> None:
    """It never takes in a stranger, and they find it before having said a word."""
    await stage.socket("sms", participant_id="+1")

    assert await room_of(stage, "+2") != "r1"
    assert await room_of(stage, "+1") == "r1"


async def test_somebody_who_came_by_another_channel_does_not_make_the_room_theirs_here(stage: Any) -> None:
    """Their id on one channel says nothing about who writes by another."""
    await stage.socket("sms")
    await stage.socket("web")
    await stage.say(channel="web", by="+2")

    assert await room_of(stage, "+2") == "r1", "no message came by sms yet"
    assert await room_of(stage, "+3") != "r1"


async def test_two_rooms_that_would_do_are_no_answer(stage: Any) -> None:
    await stage.open("r2")
    await stage.join(RecordingChannel("sms"), "r1", "r2")

    assert await room_of(stage, "+1") not in ("r1", "r2")
    assert stage.facts("routing_ambiguous") == [{"sender_id": "+1"}]


async def test_a_person_in_two_rooms_goes_on_in_the_latest(stage: Any) -> None:
    """The one where something was said last."""
    await stage.open("r2")
    await stage.join(RecordingChannel("sms"), "r1", "r2")
    for room_id in ("r2", "r1"):
        await stage.say(channel="sms", by="+1", room=room_id)
        await asyncio.sleep(1)
        assert await room_of(stage, "+1") == room_id
        await asyncio.sleep(1)


async def test_a_closed_room_is_over_and_a_paused_one_goes_on(stage: Any) -> None:
    """The next message after a close opens another."""
    stage.kit.register_channel(RecordingChannel("sms"))
    first = await room_of(stage, "+1")
    await stage.kit.close_room(first)
    second = await room_of(stage, "+1")

    assert second != first
    await stage.kit.archive_room(second)
    assert await room_of(stage, "+1") not in (first, second)


async def test_a_detached_channel_brings_nobody_back(stage: Any) -> None:
    stage.kit.register_channel(RecordingChannel("sms"))
    first = await room_of(stage, "+1")
    await stage.kit.detach_channel(first, "sms")

    result = await stage.say(channel="sms", by="+1", room=first)
    assert (result.reason, result.event) == ("channel_detached", None)
    second = await room_of(stage, "+1")
    assert second != first
    assert await stage.kit.list_bindings(first) == []

    await stage.kit.detach_channel(second, "sms")
    await stage.kit.attach_channel(first, "sms")
    assert await room_of(stage, "+1") == first


async def test_a_named_room_is_not_routed(stage: Any) -> None:
    """It is made when it is not there, and joined when it is."""
    stage.kit.register_channel(RecordingChannel("sms"))
    await stage.say(channel="sms", by="+1", room="r9")
    await stage.say(channel="sms", by="+1", room="r1")

    assert await stage.texts("r9") == await stage.texts("r1") == ["hello"]


async def test_access_is_kept_over_messages(stage: Any) -> None:
    """A message never gives its channel more than it has."""
    await stage.socket("sms", access=Access.READ_ONLY)
    await stage.say(channel="sms")

    assert (await stage.kit.get_binding("r1", "sms")).access is Access.READ_ONLY


async def test_another_router_sees_the_whole_message(staging: Any) -> None:
    """Threads, recipients and metadata are there to go by; one sender's calls come one at a time."""
    asked: list[InboundMessage] = []
    busy = 0

    class ByThread(InboundRoomRouter):
        async def route(
            self, channel_id: Any, channel_type: Any, participant_id: Any = None, *, message: Any = None
        ) -> Any:
            nonlocal busy
            busy += 1
            assert busy == 1
            await asyncio.sleep(1)
            busy -= 1
            asked.append(message)
            return message.thread_id

    async with staging(inbound_router=ByThread()) as stage:
        stage.kit.register_channel(RecordingChannel("mail"))
        messages = [
            InboundMessage(
                channel_id="mail", sender_id="a@b", content=TextContent(body="x"), thread_id=f"t{number % 2}"
            )
            for number in range(4)
        ]
        results = await asyncio.gather(*map(stage.kit.process_inbound, messages))

        assert asked == messages
        assert [result.event.room_id for result in results] == ["t0", "t1", "t0", "t1"]


async def test_a_router_of_the_seed_era_is_asked_as_it_was_written(staging: Any) -> None:
    """It knows nothing of messages; ours is given them all the same."""

    class Seed:
        async def route(
            self, channel_id: Any, channel_type: Any, participant_id: Any = None, channel_data: Any = None
        ) -> Any:
            return f"{channel_id} {channel_type} {participant_id} {channel_data}"

    async with staging(inbound_router=Seed()) as stage:
        stage.kit.register_channel(RecordingChannel("mail"))
        message = InboundMessage(channel_id="mail", sender_id="a@b", content=TextContent(body="x"))
        result = await stage.kit.process_inbound(message)
        assert result.event.room_id == "mail websocket a@b None"


async def test_an_ambiguous_route_is_logged_once_a_channel(staging: Any, caplog: Any) -> None:
    async with staging() as stage:
        stage.kit.register_channel(RecordingChannel("sms"))
        for number in range(3):
            message = InboundMessage(channel_id="sms", sender_id=f"+{number}", content=TextContent(body="x"))
            await stage.kit.process_inbound(message)
    assert [each.message for each in caplog.records if "routing_ambiguous" in each.message] != []
    assert sum("routing_ambiguous" in each.message for each in caplog.records) == 1


def naming(room_id: str, **fields: Any) -> InboundMessage:
    content = TextContent(body="hello")
    return InboundMessage(channel_id="sms", sender_id="+1", content=content, room_id=room_id, **fields)


class Knowing(RecordingChannel):
    """Knows a room for every message."""

    room_id: str | None = None

    async def route(self, message: InboundMessage) -> str | None:
        return self.room_id


async def test_the_room_that_a_message_names_is_before_the_channels_and_the_routers(stage: Any) -> None:
    """The one that the call is given is before all; the channel is attached where it is not yet."""
    for room_id in ("r2", "r3", "r4"):
        await stage.open(room_id)
    channel = await stage.join(Knowing("sms"), "r2")
    assert await room_of(stage, "+1") == "r2"
    channel.room_id = "r2"

    assert (await stage.kit.process_inbound(naming("r3"))).event.room_id == "r3"
    assert (await stage.kit.process_inbound(naming("r3"), room_id="r4")).event.room_id == "r4"
    assert (await stage.kit.process_inbound(naming("r3"))).event.room_id == "r3"
    assert await room_of(stage, "+1") == "r2"


@pytest.mark.parametrize("why", ["missing", "closed", "archived", "detached"])
async def test_a_named_room_that_takes_no_messages_is_passed_over(stage: Any, why: str) -> None:
    """The message is routed as if it named none; no room of that name is made."""
    await stage.join(RecordingChannel("sms"))
    home = await room_of(stage, "+1")
    named = "nowhere" if why == "missing" else (await stage.open("r2")) and "r2"
    if why in ("closed", "archived"):
        await getattr(stage.kit, f"{why.removesuffix('d').removesuffix('e')}e_room")(named)
    elif why == "detached":
        await stage.kit.attach_channel(named, "sms")
        await stage.kit.detach_channel(named, "sms")

    assert (await stage.kit.process_inbound(naming(named))).event.room_id == home
    assert (await stage.kit.store.get_room("nowhere")) is None


async def test_a_redelivery_to_a_named_room_that_has_closed_is_no_second_message(stage: Any) -> None:
    """It gets the first result, though its sender has another room by now."""
    await stage.open("r2")
    await stage.join(RecordingChannel("sms"), "r2")
    first = await stage.kit.process_inbound(naming("r2", idempotency_key="SM1"))
    await stage.kit.close_room("r2")
    assert await room_of(stage, "+1") != "r2"
    again = await stage.kit.process_inbound(naming("r2", idempotency_key="SM1"))

    assert again.duplicate
    assert again.event.id == first.event.id


async def test_a_named_room_of_another_organization_is_passed_over(staging: Any) -> None:
    """Its name leads nowhere by an organization's view, whether it is there or not."""
    async with staging(single_process=True) as stage:
        await stage.socket("sms")
        acme, globex = stage.kit.for_organization("acme"), stage.kit.for_organization("globex")
        theirs, own = await globex.create_room(), await acme.create_room()

        elsewhere = (await acme.process_inbound(naming(theirs.id))).event.room_id
        assert (await acme.get_room(elsewhere)).organization_id == "acme"
        assert (await acme.process_inbound(naming(own.id))).event.room_id == own.id
