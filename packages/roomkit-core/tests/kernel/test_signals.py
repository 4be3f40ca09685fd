"""Signals: typing, presence, read marks and reactions, seen once by whom they are meant for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from roomkit.abc.errors import ChannelNotFoundError, EventNotFoundError, KitClosedError, RoomNotFoundError
from roomkit.models import Access, EphemeralEvent, EphemeralEventType, EventType
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time
Kind = EphemeralEventType
TOOLS = [{"name": "look"}]


class Listener(list[EphemeralEvent]):
    async def __call__(self, event: EphemeralEvent) -> None:
        self.append(event)

    @property
    def said(self) -> list[tuple[Kind, str, dict[str, Any]]]:
        return [(event.type, event.user_id, dict(event.data)) for event in self]


async def listen(stage: Any, room_id: str = "r1", **options: Any) -> Listener:
    listener = Listener()
    await stage.kit.subscribe_room(room_id, listener, **options)
    return listener


async def heard(listener: Listener) -> Listener:
    await asyncio.sleep(1)
    return listener


async def test_what_can_be_published(stage: Any) -> None:
    """Each method is one kind, with its data and the kit's time."""
    listener = await listen(stage)
    kit = stage.kit
    await kit.publish_typing("r1", "bob")
    await kit.publish_typing("r1", "bob", is_typing=False, data={"in": "thread"})
    for status in ("online", "away", "offline", "dancing"):
        await kit.publish_presence("r1", "bob", status)
    await kit.publish_read_receipt("r1", "bob", "e1")
    await kit.publish_reaction("r1", "bob", "e1", "👍")
    await kit.publish_reaction("r1", "bob", "e1", "👍", "remove")
    await kit.publish_tool_call("r1", "bot", TOOLS, Kind.TOOL_CALL_END, duration_ms=2.5)

    assert (await heard(listener)).said == [
        (Kind.TYPING_START, "bob", {}),
        (Kind.TYPING_STOP, "bob", {"in": "thread"}),
        (Kind.PRESENCE_ONLINE, "bob", {}),
        (Kind.PRESENCE_AWAY, "bob", {}),
        (Kind.PRESENCE_OFFLINE, "bob", {}),
        (Kind.CUSTOM, "bob", {"status": "dancing"}),
        (Kind.READ_RECEIPT, "bob", {"event_id": "e1"}),
        (Kind.REACTION, "bob", {"target_event_id": "e1", "emoji": "👍", "action": "add"}),
        (Kind.REACTION, "bob", {"target_event_id": "e1", "emoji": "👍", "action": "remove"}),
        (
            Kind.TOOL_CALL_END,
            "bot",
            {"tool_calls": [{"name": "look"}], "channel_id": "bot", "duration_ms": 2.5},
        ),
    ]
    assert {event.room_id for event in listener} == {"r1"}
    assert listener[0].timestamp == stage.kit.clock._start


async def test_a_room_is_heard_alone_and_until_unsubscribed(stage: Any) -> None:
    """The other room's typing is not ours."""
    listener = Listener()
    subscription = await stage.kit.subscribe_room("r1", listener)
    await stage.kit.publish_typing("r2", "bob")
    await stage.kit.publish_typing("r1", "bob")
    await heard(listener)
    assert await stage.kit.unsubscribe_room(subscription)
    assert not await stage.kit.unsubscribe_room(subscription)
    await stage.kit.publish_typing("r1", "bob")

    assert len(await heard(listener)) == 1


async def test_a_channel_hears_only_what_it_may_see(stage: Any) -> None:
    await stage.socket("alice")
    await stage.socket("mute", access=Access.WRITE_ONLY)
    await stage.agent("bot")
    names = ("alice", "mute", "bot", "stranger")
    listeners = {name: await listen(stage, as_channel=name) for name in names}
    everything = await listen(stage)
    await stage.kit.publish_tool_call("r1", "bot", [{"name": "look"}])
    await stage.kit.publish_tool_call("r1", "bot", [{"name": "show"}], visibility="all")
    await heard(everything)

    assert {name: len(listener) for name, listener in listeners.items()} == {
        "alice": 1,
        "mute": 0,
        "bot": 2,
        "stranger": 0,
    }
    assert len(everything) == 2


async def test_rights_are_looked_at_for_each_signal(stage: Any) -> None:
    """Not once for all, when the subscription was made."""
    await stage.socket("alice")
    listener = await listen(stage, as_channel="alice")
    await stage.kit.publish_typing("r1", "bob")
    await heard(listener)
    await stage.kit.detach_channel("r1", "alice")
    await stage.kit.publish_typing("r1", "bob")

    assert len(await heard(listener)) == 1


@pytest.mark.parametrize(
    ("kind", "metadata", "expected"),
    [
        (EventType.TYPING, {}, Kind.TYPING_START),
        (EventType.TYPING, {"is_typing": False}, Kind.TYPING_STOP),
        (EventType.PRESENCE, {"status": "away"}, Kind.PRESENCE_AWAY),
        (EventType.PRESENCE, {"status": "dancing"}, Kind.CUSTOM),
        (EventType.READ_RECEIPT, {"event_id": "e1"}, Kind.READ_RECEIPT),
        (EventType.DELIVERY_RECEIPT, {}, Kind.CUSTOM),
    ],
)
async def test_what_a_channel_brings_in_is_shown_and_not_stored(
    stage: Any, kind: EventType, metadata: dict[str, Any], expected: Kind
) -> None:
    bob = await stage.socket("bob")
    await stage.socket("alice")
    before = await stage.timeline(messages=False)
    listener = await listen(stage)
    result = await stage.say("", event_type=kind, metadata=metadata)

    assert not result.blocked
    assert (await heard(listener)).said == [(expected, "alice", metadata)]
    assert listener[0].channel_id == "alice"
    assert await stage.timeline(messages=False) == before
    assert bob.attempts == []


async def test_marking_as_read_moves_the_mark_and_shows_it(stage: Any) -> None:
    """Never backwards; the count is of others' messages that one may see."""
    await stage.socket("alice")
    await stage.socket("bob")
    events = [(await stage.say(str(number))).event for number in range(3)]
    listener = await listen(stage)
    assert await stage.kit.get_unread_count("r1", "bob") == 3
    assert await stage.kit.get_unread_count("r1", "alice") == 0

    await stage.kit.mark_read("r1", "bob", events[1].id)
    await stage.kit.mark_read("r1", "bob", events[0].id)
    assert await stage.kit.get_unread_count("r1", "bob") == 1
    await stage.kit.mark_all_read("r1", "bob")
    assert await stage.kit.get_unread_count("r1", "bob") == 0

    said = (await heard(listener)).said
    assert [data.get("event_id") for _, _, data in said] == [events[1].id, events[0].id, None]
    assert said[2][2] == {"index": events[2].index}


async def test_what_cannot_be_marked_is_named(stage: Any) -> None:
    await stage.socket("bob")
    with pytest.raises(RoomNotFoundError, match="no room 'r9'"):
        await stage.kit.mark_read("r9", "bob", "e")
    with pytest.raises(EventNotFoundError, match="room 'r1' has no event 'e' to mark as read"):
        await stage.kit.mark_read("r1", "bob", "e")
    with pytest.raises(ChannelNotFoundError, match="channel 'fax' is not attached to room 'r1'"):
        await stage.kit.mark_all_read("r1", "fax")


async def test_a_closed_kit_publishes_nothing_and_says_so(bare_stage: Any) -> None:
    """A signal into nowhere is not dropped in silence."""
    stage = await bare_stage().open()
    kit = stage.kit
    await kit.close()

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: kit.publish_typing("r1", "bob"),
        lambda: kit.publish_presence("r1", "bob", "online"),
        lambda: kit.publish_read_receipt("r1", "bob", "e"),
        lambda: kit.publish_reaction("r1", "bob", "e", "x"),
        lambda: kit.publish_tool_call("r1", "bot", []),
        lambda: kit.subscribe_room("r1", Listener()),
        lambda: kit.mark_all_read("r1", "bob"),
    ]
    for call in calls:
        with pytest.raises(KitClosedError, match="the kit is closed, or closing"):
            await call()
    assert not await kit.unsubscribe_room("x")


async def test_sockets_come_and_go(stage: Any) -> None:
    """A channel without connections says so; leaving never fails."""
    from roomkit.abc.errors import ChannelNotRegisteredError

    async def send(connection_id: str, event: Any) -> None:
        raise AssertionError

    stage.kit.register_channel(RecordingChannel("sms"))
    with pytest.raises(ChannelNotRegisteredError, match="'sms' is a RecordingChannel, which has no conn"):
        await stage.kit.connect_websocket("sms", "c1", send)
    with pytest.raises(ChannelNotRegisteredError, match="no channel 'ws' is registered"):
        await stage.kit.connect_websocket("ws", "c1", send)
    await stage.kit.disconnect_websocket("sms", "c1")
    await stage.kit.disconnect_websocket("ws", "c1")
    assert "channel_disconnected" not in stage.kinds()


async def typing(stage: Any, room: str | None = "r1", by: str = "u1") -> Any:
    return await stage.say(channel="ws", by=by, room=room, event_type=EventType.TYPING)


async def test_a_signal_opens_no_room(stage: Any) -> None:
    """A stranger who types and never writes leaves nothing behind."""
    stage.kit.register_channel(RecordingChannel("ws"))
    result = await typing(stage, room=None)
    assert (result.blocked, result.reason) == (True, "room_not_found")
    assert [room.id for room in await stage.kit.store.list_rooms()] == ["r1"]


async def test_who_may_not_write_does_not_signal_either(stage: Any) -> None:
    stage.kit.register_channel(RecordingChannel("ws"))
    heard_of = await listen(stage)
    assert (await typing(stage)).reason == "channel_not_attached"
    await stage.kit.attach_channel("r1", "ws")
    await stage.kit.mute("r1", "ws")
    assert (await typing(stage)).reason == "source_muted"
    await stage.kit.unmute("r1", "ws")
    await stage.kit.ensure_participant("r1", "ws", "mallory")
    await stage.kit.remove_participant("r1", "mallory", banned=True)
    assert (await typing(stage, by="mallory")).reason == "participant_banned"
    await stage.kit.close_room("r1")
    assert (await typing(stage)).reason == "room_closed"
    assert await heard(heard_of) == []


async def test_a_binding_caps_who_sees_its_signals(stage: Any) -> None:
    """As it caps who sees its messages."""
    await stage.socket("ws", visibility="intelligence")
    await stage.socket("other")
    watching = await listen(stage, as_channel="other")
    assert (await typing(stage)).blocked is False
    assert await heard(watching) == []


async def test_a_signal_costs_one_read_however_many_subscribe(stage: Any) -> None:
    """Each sees what the channel may see now; a subscriber that lags behind costs no more."""
    await stage.socket("bob")
    store, reads = stage.kit.store, []
    get_binding = store.get_binding

    async def counted(room_id: str, channel_id: str) -> Any:
        reads.append((room_id, channel_id))
        return await get_binding(room_id, channel_id)

    store.get_binding = counted
    listeners = [Listener() for _ in range(50)]
    for each in listeners:
        await stage.kit.subscribe_room("r1", each, as_channel="bob")
    gate, late = asyncio.Event(), []

    async def slow(event: Any) -> None:
        late.append(event)
        await gate.wait()

    await stage.kit.subscribe_room("r1", slow, as_channel="bob")
    for _ in range(5):
        await stage.kit.publish_typing("r1", "alice")
        await asyncio.sleep(1)  # virtual time
    gate.set()
    await asyncio.sleep(1)  # virtual time
    assert [len(each) for each in listeners] == [5] * 50
    assert len(late) == 5
    assert len(reads) == 5

    await stage.kit.set_access("r1", "bob", Access.WRITE_ONLY)
    await stage.kit.publish_typing("r1", "alice")
    await asyncio.sleep(1)  # virtual time
    assert [len(each) for each in listeners] == [5] * 50
