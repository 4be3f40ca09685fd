"""The life of rooms and of the channels in them: every change is a note, and published to observers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import (
    ChannelAlreadyRegisteredError,
    ChannelNotFoundError,
    ChannelNotRegisteredError,
    InvalidInputError,
    RoomAlreadyExistsError,
    RoomClosedError,
    RoomNotFoundError,
)
from roomkit.models import (
    Access,
    AIConfig,
    ChannelCategory,
    ChannelDirection,
    ChannelType,
    EventStatus,
    EventType,
    HookExecution,
    HookTrigger,
    RoomEvent,
    RoomStatus,
    RoomTimers,
    SystemContent,
)
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time


async def notes(stage: Any, room_id: str = "r1") -> list[str | None]:
    """The codes of the framework's notes on a room."""
    events = await stage.timeline(room_id, messages=False)
    return [event.content.code for event in events if isinstance(event.content, SystemContent)]


class TestCreating:
    async def test_a_room_has_what_it_was_given(self, stage: Any) -> None:
        """And the time of the kit's clock."""
        await asyncio.sleep(60)
        room = await stage.kit.create_room(
            "shop",
            {"tier": "gold"},
            timers=RoomTimers(inactive_after_seconds=5),
            ai_config=AIConfig(system_prompt="Be brief."),
            organization_id="acme",
        )

        assert room == await stage.kit.get_room("shop")
        assert (room.metadata, room.organization_id, room.status) == (
            {"tier": "gold"},
            "acme",
            RoomStatus.ACTIVE,
        )
        assert room.ai_config.system_prompt == "Be brief."
        assert room.created_at == room.timers.last_activity_at == stage.kit.clock.now()

    async def test_an_id_is_made_when_none_is_given(self, stage: Any) -> None:
        assert len((await stage.kit.create_room()).id) == 32

    async def test_an_existing_room_is_not_touched(self, stage: Any) -> None:
        await stage.socket("alice")
        await stage.say()
        with pytest.raises(RoomAlreadyExistsError, match="room 'r1' exists already: use get_room, or"):
            await stage.kit.create_room("r1", {"new": True})
        assert (await stage.kit.get_room("r1")).metadata == {}
        assert await stage.texts() == ["hello"]

    @pytest.mark.parametrize("bad", ["", "  ", "a\0b", "x" * 513, "\ud800", 5, b"r"])
    async def test_what_cannot_be_an_id_is_refused(self, stage: Any, bad: Any) -> None:
        """By create and by a message alike."""
        with pytest.raises(InvalidInputError, match="cannot be a room id"):
            await stage.kit.create_room(bad)
        await stage.socket("alice")
        with pytest.raises(InvalidInputError, match="cannot be a room id"):
            await stage.say(room=bad)

    async def test_it_is_told(self, stage: Any) -> None:
        """To observers with the room in their context, and as a framework event."""
        contexts: list[Any] = []

        async def observer(event: RoomEvent, context: Any) -> None:
            content = event.content
            assert isinstance(content, SystemContent)
            contexts.append((content.code, content.data, event.source.channel_id, context.room.id))

        stage.kit.hook(HookTrigger.ON_ROOM_CREATED)(observer)
        await stage.kit.create_room("r2")

        assert contexts == [("room_created", {"room_id": "r2"}, "system", "r2")]
        assert [event.room_id for event in stage.told if event.type == "room_created"] == ["r1", "r2"]

    async def test_an_observer_may_furnish_the_room(self, stage: Any) -> None:
        """Attaching an agent to every new room is what it is for."""
        stage.kit.register_channel(RecordingChannel("alice"))

        async def furnish(event: RoomEvent, context: Any) -> None:
            await stage.kit.attach_channel(event.room_id, "alice")

        stage.kit.hook(HookTrigger.ON_ROOM_CREATED)(furnish)
        await stage.kit.create_room("r2")

        assert [binding.channel_id for binding in await stage.kit.list_bindings("r2")] == ["alice"]


class TestEnding:
    @pytest.mark.parametrize(
        ("end", "status", "code", "told"),
        [
            ("close_room", RoomStatus.CLOSED, "room_closed", "room_closed"),
            ("archive_room", RoomStatus.ARCHIVED, "room_archived", "room_archived"),
        ],
    )
    async def test_a_room_ends_once(
        self, stage: Any, end: str, status: RoomStatus, code: str, told: str
    ) -> None:
        """With a note; ending it again changes and tells nothing."""
        first = await getattr(stage.kit, end)("r1")
        await asyncio.sleep(5)
        again = await getattr(stage.kit, end)("r1")

        assert first.status is status
        assert again == first
        assert await notes(stage) == [code]
        assert stage.kinds().count(told) == 1

    async def test_closing_says_when(self, stage: Any) -> None:
        """By the kit's clock."""
        await asyncio.sleep(60)
        room = await stage.kit.close_room("r1")
        assert room.closed_at == room.updated_at == stage.kit.clock.now()

    async def test_a_closed_room_can_be_archived_and_not_closed_again(self, stage: Any) -> None:
        await stage.kit.close_room("r1")
        await stage.kit.archive_room("r1")
        assert (await stage.kit.close_room("r1")).status is RoomStatus.ARCHIVED
        assert await notes(stage) == ["room_closed", "room_archived"]

    @pytest.mark.parametrize("end", ["close_room", "archive_room"])
    async def test_what_has_ended_takes_nothing_more(self, stage: Any, end: str) -> None:
        await stage.socket("alice")
        stage.kit.register_channel(RecordingChannel("bob"))
        await stage.say()
        await getattr(stage.kit, end)("r1")
        status = "closed" if end == "close_room" else "archived"

        assert (await stage.say()).reason == f"room_{status}"
        with pytest.raises(RoomClosedError, match=f"room 'r1' is {status}: its timeline grows no more"):
            await stage.kit.send_event("r1", "alice", SystemContent(body="x"))
        with pytest.raises(RoomClosedError, match=f"channel 'bob' cannot be attached: room 'r1' is {status}"):
            await stage.kit.attach_channel("r1", "bob")
        assert (await stage.say(channel="bob")).reason == f"room_{status}"
        assert await stage.texts() == ["hello"]

    async def test_observers_see_the_note_as_it_is_stored(self, stage: Any) -> None:
        """The same entry that the timeline holds."""
        seen = stage.observe(HookTrigger.ON_ROOM_CLOSED)
        await stage.kit.close_room("r1")
        (stored,) = await stage.timeline(messages=False)

        assert seen == [stored]
        assert (stored.status, stored.index, stored.visibility) == (EventStatus.DELIVERED, 0, "internal")

    async def test_the_hooks_of_a_room_go_with_it(self, stage: Any) -> None:
        heard: list[str] = []

        async def hook(event: RoomEvent, context: Any) -> None:
            heard.append(event.content.code)  # type: ignore[union-attr,arg-type]

        async def never(event: RoomEvent, context: Any) -> None:
            raise AssertionError

        for room_id in ("r2", "r3"):
            await stage.open(room_id)
            stage.kit.add_room_hook(room_id, HookTrigger.ON_ROOM_CLOSED, HookExecution.ASYNC, hook)
            stage.kit.add_room_hook(room_id, HookTrigger.ON_TASK_CREATED, HookExecution.ASYNC, never)
        await stage.kit.close_room("r2")
        await stage.kit.delete_room("r3")

        assert heard == ["room_closed"]
        assert not stage.kit.hook_engine.has_hooks(HookTrigger.ON_TASK_CREATED, "r2")
        assert not stage.kit.hook_engine.has_hooks(HookTrigger.ON_TASK_CREATED, "r3")

    async def test_a_deleted_room_is_gone(self, stage: Any) -> None:
        """With all that belonged to it; its id is free again."""
        await stage.socket("alice")
        await stage.say(idempotency_key="k")
        assert await stage.kit.delete_room("r1")
        assert not await stage.kit.delete_room("r1")

        with pytest.raises(RoomNotFoundError, match="no room 'r1': create_room first"):
            await stage.kit.get_room("r1")
        assert "room_deleted" in stage.kinds()
        await stage.open("r1")
        await stage.kit.attach_channel("r1", "alice")
        assert not (await stage.say("again", idempotency_key="k")).duplicate
        assert await stage.texts() == ["again"]

    @pytest.mark.parametrize(
        "call", ["get_room", "close_room", "archive_room", "check_room_timers", "get_timeline"]
    )
    async def test_a_room_that_is_not_there_is_named(self, stage: Any, call: str) -> None:
        with pytest.raises(RoomNotFoundError, match="no room 'r9': create_room first"):
            await getattr(stage.kit, call)("r9")

    async def test_timers_of_a_room_that_is_not_there_are_refused(self, stage: Any) -> None:
        with pytest.raises(RoomNotFoundError, match="no room 'r9': create_room first"):
            await stage.kit.set_room_timers("r9", RoomTimers())

    async def test_metadata_is_merged(self, stage: Any) -> None:
        """Key by key; only JSON."""
        await stage.kit.update_room_metadata("r1", {"a": 1, "b": {"x": 1}})
        room = await stage.kit.update_room_metadata("r1", {"b": {"y": 2}})

        assert room.metadata == {"a": 1, "b": {"y": 2}}
        with pytest.raises(InvalidInputError, match="only JSON values can be stored"):
            await stage.kit.update_room_metadata("r1", {"a": object()})


class TestChannels:
    async def test_attaching_is_noted_and_told(self, stage: Any) -> None:
        """To observers, framework events and the channel itself."""
        seen = stage.observe(HookTrigger.ON_CHANNEL_ATTACHED)
        alice = RecordingChannel("alice")
        stage.kit.register_channel(alice)
        binding = await stage.kit.attach_channel(
            "r1", "alice", access=Access.READ_ONLY, visibility="transport"
        )

        assert binding == await stage.kit.get_binding("r1", "alice")
        assert alice.binding_updates == [("r1", binding)]
        (note,) = await stage.timeline(messages=False)
        assert seen == [note]
        assert (note.type, note.content.code) == (EventType.CHANNEL_ATTACHED, "channel_attached")
        assert note.content.data == {"channel_id": "alice", "access": "read_only", "visibility": "transport"}
        assert stage.facts("room_channel_attached") == [{"access": "read_only", "visibility": "transport"}]

    async def test_a_binding_has_what_the_channel_is(self, stage: Any) -> None:
        class Ear(RecordingChannel):
            direction = ChannelDirection.INBOUND

        await stage.join(Ear("ear", channel_type=ChannelType.SMS))
        await stage.agent("bot")
        ear, bot = await stage.kit.list_bindings("r1")

        assert (ear.channel_type, ear.category, ear.direction) == ("sms", "transport", "inbound")
        assert (bot.channel_type, bot.category) == ("ai", ChannelCategory.INTELLIGENCE)
        assert ear.capabilities == stage.kit.get_channel("ear").capabilities()
        assert ear.attached_at == stage.kit.clock.now()

    async def test_attaching_again_replaces_the_binding(self, stage: Any) -> None:
        """There is one binding of a channel in a room."""
        await stage.socket("alice", metadata={"phone": "+1"})
        await stage.kit.attach_channel("r1", "alice", access=Access.READ_ONLY)
        (binding,) = await stage.kit.list_bindings("r1")

        assert (binding.access, binding.metadata) == (Access.READ_ONLY, {})

    async def test_what_cannot_be_attached_says_why(self, stage: Any) -> None:
        stage.kit.register_channel(RecordingChannel("alice"))
        with pytest.raises(RoomNotFoundError, match="no room 'r9'"):
            await stage.kit.attach_channel("r9", "alice")
        with pytest.raises(
            ChannelNotRegisteredError, match=r"no channel 'bob' is registered .there are: ali"
        ):
            await stage.kit.attach_channel("r1", "bob")
        with pytest.raises(InvalidInputError, match="rate_limmit"):
            await stage.kit.attach_channel("r1", "alice", rate_limmit=None)
        assert await stage.timeline(messages=False) == []

    async def test_detaching_is_remembered(self, stage: Any) -> None:
        """Nothing but an attach brings the channel back."""
        alice = await stage.socket("alice")
        seen = stage.observe(HookTrigger.ON_CHANNEL_DETACHED)

        assert await stage.kit.detach_channel("r1", "alice")
        assert not await stage.kit.detach_channel("r1", "alice")
        assert (await stage.kit.get_room("r1")).detached_channels == ("alice",)
        assert (await stage.say()).reason == "channel_detached"
        assert alice.binding_updates[-1][1].access is Access.NONE
        assert [event.content.code for event in seen] == ["channel_detached"]
        assert seen[0] == (await stage.timeline(messages=False))[-1]
        await stage.kit.attach_channel("r1", "alice")
        assert (await stage.kit.get_room("r1")).detached_channels == ()
        assert not (await stage.say()).blocked

    async def test_a_muted_channel_listens(self, stage: Any) -> None:
        """What it says is kept as refused; unmuting lets it speak again."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        muted, unmuted = (
            stage.observe(HookTrigger.ON_CHANNEL_MUTED),
            stage.observe(HookTrigger.ON_CHANNEL_UNMUTED),
        )

        assert (await stage.kit.mute("r1", "bob")).muted
        await stage.say("to bob")
        assert (await stage.say(channel="bob")).reason == "source_muted"
        assert not (await stage.kit.unmute("r1", "bob")).muted
        assert not (await stage.say(channel="bob")).blocked

        assert bob.texts() == ["to bob"]
        assert await stage.refused() == [("source_muted", "source_muted")]
        assert [event.content.data for event in (*muted, *unmuted)] == [
            {"channel_id": "bob", "muted": True},
            {"channel_id": "bob", "muted": False},
        ]

    async def test_access_can_be_changed(self, stage: Any) -> None:
        """From then on, with both sides in the note."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        await stage.kit.set_access("r1", "bob", Access.WRITE_ONLY)
        await stage.say()
        await stage.kit.set_access("r1", "bob", "read_only")

        assert bob.texts() == []
        assert (await stage.say(channel="bob")).reason == "source_read_only"
        changes = [e for e in await stage.timeline(messages=False) if e.type is EventType.CHANNEL_UPDATED]
        assert [event.content.code for event in changes] == ["channel_access_changed"] * 2
        assert changes[1].content.data == {
            "channel_id": "bob",
            "access": "read_only",
            "old_access": "write_only",
        }
        with pytest.raises(ValueError, match="god"):
            await stage.kit.set_access("r1", "bob", "god")

    async def test_visibility_caps_what_a_channel_says(self, stage: Any) -> None:
        """From then on; a message cannot widen it."""
        await stage.socket("alice")
        bob = await stage.socket("bob")
        carol = await stage.socket("carol")
        await stage.kit.set_visibility("r1", "alice", "bob")
        event = (await stage.say(visibility="all")).event

        assert event.visibility == "bob"
        assert (bob.texts(), carol.texts()) == (["hello"], [])
        assert "channel_visibility_changed" in await notes(stage)

    async def test_metadata_of_a_binding_is_merged(self, stage: Any) -> None:
        """The note names the keys and not the values: they may be addresses."""
        alice = await stage.socket("alice", metadata={"phone": "+1", "name": "A"})
        binding = await stage.kit.update_binding_metadata("r1", "alice", {"phone": "+2"})

        assert binding.metadata == {"phone": "+2", "name": "A"}
        assert alice.binding_updates[-1] == ("r1", binding)
        note = (await stage.timeline(messages=False))[-1]
        assert note.content.data == {"channel_id": "alice", "keys": ["phone"]}
        with pytest.raises(InvalidInputError, match="only JSON values"):
            await stage.kit.update_binding_metadata("r1", "alice", {"x": object()})

    async def test_a_channel_that_is_not_attached_is_named(self, stage: Any) -> None:
        kit = stage.kit
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: kit.mute("r1", "fax"),
            lambda: kit.unmute("r1", "fax"),
            lambda: kit.set_access("r1", "fax", Access.NONE),
            lambda: kit.set_visibility("r1", "fax", "all"),
            lambda: kit.update_binding_metadata("r1", "fax", {}),
            lambda: kit.get_binding("r1", "fax"),
            lambda: kit.get_timeline("r1", as_channel="fax"),
        ]
        for call in calls:
            with pytest.raises(ChannelNotFoundError, match="'fax' is not attached to room 'r1': attach"):
                await call()

    async def test_changes_are_no_activity_and_reach_nobody(self, stage: Any) -> None:
        """They are for operators; the idle clock goes on."""
        alice = await stage.socket("alice")
        bot = await stage.agent("bot")
        before = (await stage.kit.get_room("r1")).timers
        await asyncio.sleep(9)
        await stage.kit.mute("r1", "alice")
        await stage.kit.set_access("r1", "alice", Access.READ_ONLY)

        assert (await stage.kit.get_room("r1")).timers == before
        assert alice.attempts == bot.seen == []
        assert await stage.kit.get_timeline("r1", as_channel="alice") == []

    @pytest.mark.parametrize("bad", ["all", "system", "internal", "a,b", "a&b", " a", "", "x" * 513])
    async def test_an_id_that_means_something_in_visibility_is_refused(self, stage: Any, bad: str) -> None:
        with pytest.raises(InvalidInputError, match="cannot be a channel id"):
            stage.kit.register_channel(RecordingChannel(bad))

    async def test_a_channel_is_registered_once_and_can_be_taken_out(self, stage: Any) -> None:
        alice = await stage.socket("alice")
        stage.kit.register_channel(alice)
        with pytest.raises(ChannelAlreadyRegisteredError, match="a RecordingChannel is registered as"):
            stage.kit.register_channel(RecordingChannel("alice"))
        assert stage.kit.list_channels() == [alice]

        await stage.kit.unregister_channel("alice")
        assert alice.closed
        assert stage.kit.get_channel("alice") is None
        assert (await stage.kit.get_binding("r1", "alice")).channel_id == "alice"
        with pytest.raises(ChannelNotRegisteredError, match=r"no channel 'alice' .*there are: none"):
            await stage.kit.unregister_channel("alice")
        assert {"channel_registered", "channel_unregistered"} <= set(stage.kinds())

    @pytest.mark.parametrize("name", ["a\0", "\ud83d", "x" * 851])
    async def test_a_channel_whose_provider_cannot_be_stored_is_not_registered(
        self, stage: Any, name: str
    ) -> None:
        """Every event and delivery of the channel would hold the provider's name, and be refused."""

        class Named(RecordingChannel):
            provider_name = name

        with pytest.raises(InvalidInputError, match="'odd' cannot be registered: its provider_name"):
            stage.kit.register_channel(Named("odd"))
        assert stage.kit.get_channel("odd") is None


TIMERS = RoomTimers(inactive_after_seconds=60, closed_after_seconds=600)


class TestTimers:
    async def test_an_idle_room_is_paused_and_then_closed(self, stage: Any) -> None:
        """Both count from the last activity, with a note, observers and framework events."""
        paused, closed = stage.observe(HookTrigger.ON_ROOM_PAUSED), stage.observe(HookTrigger.ON_ROOM_CLOSED)
        await stage.open("idle", timers=TIMERS)
        changes = []
        for seconds in (59, 1, 539, 1):
            await asyncio.sleep(seconds)
            changes.append([(room.id, str(room.status)) for room in await stage.kit.sweep_room_timers()])

        assert changes == [[], [("idle", "paused")], [], [("idle", "closed")]]
        assert await notes(stage, "idle") == ["room_paused_by_timer", "room_closed_by_timer"]
        stored = await stage.timeline("idle", messages=False)
        assert [*paused, *closed] == stored
        assert stored[1].content.data == {"elapsed_seconds": 600, "threshold": 600}
        assert stage.facts("room_paused") == stage.facts("room_closed") == [{"reason": "timer"}]
        assert (await stage.kit.get_room("idle")).closed_at == stage.kit.clock.now()

    async def test_a_message_resumes_a_paused_room(self, stage: Any) -> None:
        await stage.open("idle", timers=TIMERS)
        await stage.join(RecordingChannel("alice"), "idle")
        await asyncio.sleep(100)
        await stage.kit.sweep_room_timers()
        result = await stage.say(channel="alice", room=None)

        assert result.event.room_id == "idle"
        assert (await stage.kit.get_room("idle")).status is RoomStatus.ACTIVE
        assert stage.kinds().count("room_resumed") == 1
        await asyncio.sleep(59)
        assert await stage.kit.sweep_room_timers() == []
        await asyncio.sleep(1)
        assert len(await stage.kit.sweep_room_timers()) == 1

    async def test_what_is_refused_resumes_nothing(self, stage: Any) -> None:
        await stage.open("idle", timers=TIMERS)
        await stage.join(RecordingChannel("alice"), "idle", muted=True)
        await asyncio.sleep(100)
        await stage.kit.sweep_room_timers()
        await stage.say(room="idle")

        assert (await stage.kit.get_room("idle")).status is RoomStatus.PAUSED

    async def test_activity_of_any_kind_keeps_a_room_awake(self, stage: Any) -> None:
        """A host's event and an agent's answer count as a message does."""
        await stage.open("busy", timers=TIMERS)
        await stage.join(RecordingChannel("alice"), "busy")
        for _ in range(5):
            await asyncio.sleep(50)
            await stage.kit.send_event("busy", "alice", SystemContent(body="x"))
            assert await stage.kit.sweep_room_timers() == []

    async def test_the_sweep_reaches_every_room(self, stage: Any) -> None:
        """However many there are, and however many of them are due at once."""
        for number in range(250):
            timers = TIMERS if number % 2 else RoomTimers(closed_after_seconds=30)
            await stage.open(f"x{number}", timers=timers)
        await asyncio.sleep(61)
        changed = await stage.kit.sweep_room_timers()

        assert len(changed) == 250
        assert {room.status for room in changed} == {RoomStatus.PAUSED, RoomStatus.CLOSED}
        assert await stage.kit.sweep_room_timers() == []

    async def test_a_room_that_goes_away_during_the_sweep_does_not_stop_it(self, stage: Any) -> None:
        """Its observers may delete whatever they like."""
        for number in range(3):
            await stage.open(f"x{number}", timers=RoomTimers(closed_after_seconds=30))

        async def clean_up(event: RoomEvent, context: Any) -> None:
            await stage.kit.delete_room("x1")

        stage.kit.hook(HookTrigger.ON_ROOM_CLOSED)(clean_up)
        await asyncio.sleep(31)

        assert [room.id for room in await stage.kit.sweep_room_timers()] == ["x0", "x2"]

    async def test_a_room_without_timers_lasts(self, stage: Any) -> None:
        """And one room can be checked alone."""
        await stage.open("idle", timers=TIMERS)
        await asyncio.sleep(86_400)

        assert (await stage.kit.check_room_timers("r1")).status is RoomStatus.ACTIVE
        assert (await stage.kit.check_room_timers("idle")).status is RoomStatus.CLOSED
        assert (await stage.kit.check_room_timers("idle")).status is RoomStatus.CLOSED

    async def test_a_given_last_activity_counts(self, stage: Any) -> None:
        since = stage.kit.clock.now() - timedelta(seconds=61)
        await stage.open("old", timers=TIMERS.replace(last_activity_at=since))

        assert [room.id for room in await stage.kit.sweep_room_timers()] == ["old"]

    async def test_timers_of_an_existing_room_are_set(self, stage: Any) -> None:
        """They count from the last activity, and take the place of those before."""
        await stage.open("idle", timers=RoomTimers(closed_after_seconds=1000))
        await asyncio.sleep(30)
        room = await stage.kit.set_room_timers("idle", TIMERS)
        assert room.timers == TIMERS.replace(last_activity_at=room.created_at)
        assert room.updated_at == stage.kit.clock.now()
        await asyncio.sleep(29)
        assert await stage.kit.sweep_room_timers() == []
        await asyncio.sleep(1)
        assert [str(room.status) for room in await stage.kit.sweep_room_timers()] == ["paused"]
        await stage.kit.set_room_timers("idle", RoomTimers(closed_after_seconds=100))
        await asyncio.sleep(40)
        assert [str(room.status) for room in await stage.kit.sweep_room_timers()] == ["closed"]

    async def test_a_room_without_timers_gets_some(self, stage: Any) -> None:
        """And can lose them; its next message moves the clock as ever."""
        await stage.join(RecordingChannel("alice"))
        await asyncio.sleep(50)
        await stage.say(channel="alice")
        await stage.kit.set_room_timers("r1", TIMERS)
        await asyncio.sleep(40)
        await stage.say(channel="alice")
        await asyncio.sleep(59)
        assert await stage.kit.sweep_room_timers() == []
        await asyncio.sleep(1)
        assert [room.id for room in await stage.kit.sweep_room_timers()] == ["r1"]
        await stage.kit.set_room_timers("r1", RoomTimers())
        assert await stage.kit.store.list_timers("r1") == []
        await asyncio.sleep(86_400)
        assert await stage.kit.sweep_room_timers() == []

    async def test_the_last_activity_can_be_moved(self, stage: Any) -> None:
        """Back, so that the room is due at once, and forward."""
        await stage.open("idle", timers=TIMERS)
        now = stage.kit.clock.now()
        moved = TIMERS.replace(last_activity_at=now + timedelta(seconds=100))
        assert (await stage.kit.set_room_timers("idle", moved)).timers == moved
        await asyncio.sleep(159)
        assert await stage.kit.sweep_room_timers() == []
        moved = TIMERS.replace(last_activity_at=now - timedelta(seconds=500))
        assert (await stage.kit.set_room_timers("idle", moved)).timers == moved
        assert [str(room.status) for room in await stage.kit.sweep_room_timers()] == ["closed"]

    async def test_an_update_of_the_store_moves_the_last_activity(self, stage: Any) -> None:
        """A check of the room goes by it."""
        await stage.open("idle", timers=TIMERS)
        room = await stage.kit.get_room("idle")
        since = room.created_at - timedelta(seconds=61)
        await stage.kit.store.update_room(room.replace(timers=TIMERS.replace(last_activity_at=since)))
        assert (await stage.kit.check_room_timers("idle")).status is RoomStatus.PAUSED

    async def test_timers_are_set_whatever_else_changes_the_room(self, stage: Any) -> None:
        """A message that resumes the room and the new timers are both there."""
        await stage.open("idle", timers=TIMERS)
        await stage.join(RecordingChannel("alice"), "idle")
        await asyncio.sleep(60)
        await stage.kit.sweep_room_timers()
        shorter = RoomTimers(inactive_after_seconds=10)
        setting = stage.kit.set_room_timers("idle", shorter)
        await asyncio.gather(stage.say(channel="alice", room="idle"), setting)
        assert (await stage.kit.get_room("idle")).status is RoomStatus.ACTIVE
        await asyncio.sleep(10)
        assert [str(room.status) for room in await stage.kit.sweep_room_timers()] == ["paused"]

    async def test_a_last_activity_without_time_zone_is_refused(self, stage: Any) -> None:
        naive = TIMERS.replace(last_activity_at=stage.kit.clock.now().replace(tzinfo=None))
        for call in (stage.kit.create_room("x", timers=naive), stage.kit.set_room_timers("r1", naive)):
            with pytest.raises(InvalidInputError, match="has no time zone"):
                await call

    async def test_the_sweep_can_run_by_itself(self, staging: Any) -> None:
        """Every `sweep_interval` seconds, until the kit closes."""
        async with staging(sweep_interval=30) as stage:
            await stage.open("idle", timers=TIMERS)
            await asyncio.sleep(700)
            assert (await stage.kit.get_room("idle")).status is RoomStatus.CLOSED
            assert await notes(stage, "idle") == ["room_paused_by_timer", "room_closed_by_timer"]

    async def test_a_sweep_that_fails_is_logged_and_the_next_one_comes(
        self, staging: Any, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A store that is away for a minute ends nothing."""
        from roomkit.abc.errors import StoreError
        from roomkit.memory.store import InMemoryStore

        class Flaky(InMemoryStore):
            failures = 2

            async def claim_timers(self, *given: Any, **options: Any) -> Any:
                if self.failures:
                    self.failures -= 1
                    raise StoreError("away")
                return await super().claim_timers(*given, **options)

        async with staging(sweep_interval=30, store=Flaky()) as stage:
            await stage.open("idle", timers=TIMERS)
            await asyncio.sleep(100)
            assert (await stage.kit.get_room("idle")).status is RoomStatus.PAUSED
            assert caplog.text.count("the sweep of room timers failed; the next is in 30 s") == 2


class TestTimeline:
    async def test_a_page_of_it(self, stage: Any) -> None:
        """By offset, by index, newest first, as one channel sees it."""
        await stage.socket("alice")
        await stage.socket("bob")
        for number in range(5):
            await stage.say(str(number), visibility="alice" if number == 3 else "all")

        async def texts(**options: Any) -> list[str]:
            events = await stage.kit.get_timeline("r1", **options)
            return [event.content.body for event in events if event.type is EventType.MESSAGE]

        assert await texts() == ["0", "1", "2", "3", "4"]
        assert await texts(offset=3, limit=2) == ["1", "2"]
        assert await texts(newest_first=True, limit=2) == ["4", "3"]
        assert await texts(after_index=3, before_index=6) == ["2", "3"]
        assert await texts(as_channel="bob") == ["0", "1", "2", "4"]
        assert await texts(visibility_filter="alice") == ["3"]


@pytest.mark.parametrize("end", ["close_room", "archive_room", "delete_room"])
async def test_channels_are_told_that_a_room_is_over(stage: Any, end: str) -> None:
    """As they are when they are detached, so that they keep nothing of it."""
    told: list[tuple[str, Access]] = []

    class Listening(RecordingChannel):
        async def update_binding(self, room_id: str, binding: Any) -> None:
            told.append((room_id, binding.access))

    await stage.join(Listening("ws"), "r1")
    await getattr(stage.kit, end)("r1")
    await stage.idle()
    assert told == [("r1", Access.READ_WRITE), ("r1", Access.NONE)]


@pytest.mark.parametrize("change", ["mute", "unmute", "set_access", "set_visibility", "detach_channel"])
async def test_the_timeline_of_a_closed_room_does_not_grow(stage, change):
    """What changes a binding would note it there: it is refused, as attaching is."""
    await stage.socket("alice")
    await stage.kit.close_room("r1")
    before = await stage.kit.get_timeline("r1")
    more = {"set_access": (Access.READ_ONLY,), "set_visibility": ("none",)}.get(change, ())
    with pytest.raises(RoomClosedError, match="r1"):
        await getattr(stage.kit, change)("r1", "alice", *more)
    assert await stage.kit.get_timeline("r1") == before
    binding = await stage.kit.get_binding("r1", "alice")
    assert (binding.muted, binding.access, binding.visibility) == (False, Access.READ_WRITE, "all")
