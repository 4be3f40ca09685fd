"""Rooms that meet: merging two, splitting one, moving a channel."""

from __future__ import annotations

import asyncio
import sys
from datetime import timedelta
from types import ModuleType
from typing import Any

import pytest

from roomkit.abc.errors import (
    ChannelNotFoundError,
    EventNotFoundError,
    InvalidInputError,
    RoomBusyError,
    RoomClosedError,
    RoomNotFoundError,
    StoreError,
)
from roomkit.abc.store import Commit, Committed
from roomkit.authoring.transport import TransportChannel
from roomkit.kernel.flow.timers import MOVING
from roomkit.kernel.meeting import moves, plans
from roomkit.memory.store import InMemoryStore
from roomkit.models import (
    ChannelType,
    HookTrigger,
    Identity,
    ParticipantStatus,
    RoomStatus,
    Task,
    TextContent,
)
from roomkit.models.content import text_of
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.testing import MockEmailProvider, MockSMSProvider, RecordingChannel, ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

ANN, BEN = "+14165550001", "+14165550002"
MAIL = "ann@example.com"


def sms(channel_id: str = "sms") -> TransportChannel:
    return TransportChannel(channel_id, ChannelType.SMS, provider=MockSMSProvider(name="acme"))


def mail() -> TransportChannel:
    return TransportChannel("mail", ChannelType.EMAIL, provider=MockEmailProvider(name="smtp"))


async def texted(stage: Any, room_id: str, to: str, channel: str = "sms", **options: Any) -> str:
    """Open a room that writes first; return the vendor's id of the message."""
    await stage.open(room_id, **options)
    await stage.kit.attach_channel(room_id, channel, metadata={"recipient_id": to})
    event = await stage.kit.send_event(room_id, "system", TextContent(body=f"hello {to}"))
    (row,) = await stage.kit.list_deliveries(room_id, event_id=event.id)
    return str(row.provider_message_id)


async def answered(stage: Any, room_id: str, channel: TransportChannel, text: str = "answer") -> str:
    """Say something in a room; return the address that the channel's provider sent it to."""
    await stage.kit.send_event(room_id, "system", TextContent(body=text))
    sent = channel.provider.sent[-1]
    assert text_of(sent["event"].content) == text
    return str(sent["to"])


# -- what moves ------------------------------------------------------------------------------------------


async def test_moved_events_keep_what_they_were(stage: Any) -> None:
    """Their ids, times and rows; indexes rise, and by time they come where they were said."""
    texts = sms()
    stage.kit.register_channel(texts)
    await texted(stage, "other", ANN)
    await asyncio.sleep(10)
    await stage.socket("alice")
    own = (await stage.say("own")).event
    await asyncio.sleep(10)
    late = (await stage.say("late", channel="sms", by=ANN, room="other")).event
    before = {each.id: each for each in await stage.kit.get_timeline("other")}
    rows = {each.id: each for each in await stage.kit.list_deliveries("other")}

    await stage.kit.merge_rooms("other", "r1")

    events = await stage.kit.get_timeline("r1", limit=100)
    assert [each.index for each in events] == list(range(len(events)))
    for each in events:
        if each.id in before:
            was = before[each.id]
            assert (each.origin.room_id, each.origin.index) == ("other", was.index)
            assert each.replace(room_id="other", index=was.index, origin=None) == was
    assert set(before) <= {each.id for each in events}
    times = await stage.kit.get_timeline("r1", limit=100, order="time")
    assert [each.created_at for each in times] == sorted(each.created_at for each in events)
    said = [text_of(each.content) for each in times if each.type == "message"]
    assert said == [f"hello {ANN}", "own", "late"]
    moved = {each.id: each for each in await stage.kit.list_deliveries("r1") if each.id in rows}
    assert {each.provider_message_id for each in moved.values()} == {
        each.provider_message_id for each in rows.values()
    }
    assert own.index < (await stage.kit.store.get_event(late.id)).index


# -- who is written to ---------------------------------------------------------------------------------


@pytest.mark.parametrize("keep", ["source", "into"])
async def test_one_channel_in_both_rooms_needs_a_decision(stage: Any, keep: Any) -> None:
    """Who is written to; the other is recognised, and is written to once they write."""
    texts = sms()
    stage.kit.register_channel(texts)
    await texted(stage, "ann", ANN)
    await texted(stage, "ben", BEN)
    with pytest.raises(InvalidInputError, match="keep='source' or keep='into'"):
        await stage.kit.merge_rooms("ann", "ben")
    assert (await stage.kit.get_room("ann")).status is RoomStatus.ACTIVE

    await stage.kit.merge_rooms("ann", "ben", keep=keep)

    kept, other = (ANN, BEN) if keep == "source" else (BEN, ANN)
    assert await answered(stage, "ben", texts) == kept
    result = await stage.say("me too", channel="sms", by=other, room=None)
    assert result.event.room_id == "ben"
    assert await answered(stage, "ben", texts, "to you") == other
    assert (await stage.kit.get_binding("ben", "sms")).also == (kept,)
    assert (await stage.say("and me", channel="sms", by=kept, room=None)).event.room_id == "ben"
    assert await answered(stage, "ben", texts, "back") == kept


async def test_an_agent_and_a_socket_in_both_rooms_need_none(stage: Any) -> None:
    """They write to no one: the room's own bindings stay."""
    await stage.open("other")
    await stage.join(RecordingChannel("web"), "r1", "other", visibility="transport")
    await stage.join(ScriptedIntelligence("ai", ["yes"]), "r1", "other")
    await stage.kit.set_visibility("other", "web", "all")
    await stage.kit.merge_rooms("other", "r1")
    assert (await stage.kit.get_binding("r1", "web")).visibility == "transport"


# -- participants --------------------------------------------------------------------------------------


async def test_people_are_joined_by_identity_then_by_address(stage: Any) -> None:
    """Where neither matches, both stay; a ban of either holds, and events name the joined."""
    store = stage.kit.store
    stage.kit.register_channel(sms())
    stage.kit.register_channel(mail())
    await store.create_identity(Identity(id="i1", display_name="Ann"))
    await texted(stage, "other", MAIL, "mail")
    await stage.kit.attach_channel("other", "sms")
    by_mail = (await stage.say("mail", channel="mail", by=MAIL, room="other")).event
    await stage.say("ben", channel="sms", by=BEN, room="other")
    await stage.say("cid", channel="sms", by="+14165550003", room="other")
    await stage.kit.attach_channel("r1", "sms")
    await stage.say("ann", channel="sms", by=ANN)
    await stage.say("ben here", channel="sms", by=BEN)
    await stage.kit.resolve_participant("other", MAIL, "i1")
    await stage.kit.resolve_participant("r1", ANN, "i1")
    await stage.kit.remove_participant("other", BEN, banned=True)

    await stage.kit.merge_rooms("other", "r1", keep="into")

    people = {each.id: each for each in await stage.kit.list_participants("r1")}
    assert set(people) == {ANN, BEN, "+14165550003"}
    assert ("mail", MAIL) in people[ANN].also
    assert people[BEN].status is ParticipantStatus.BANNED
    assert (await store.get_event(by_mail.id)).source.participant_id == ANN
    assert (await stage.say("again", channel="mail", by=MAIL, room=None)).event.source.participant_id == ANN
    refused = await stage.say("let me in", channel="sms", by=BEN, room=None)
    assert (refused.blocked, refused.reason) == (True, "participant_banned")


# -- state, values, tasks, timers ----------------------------------------------------------------------


class Ticket:
    """A plugin that adds up what it keeps of two rooms."""

    @hookimpl
    def roomkit_register(self, registry: Any) -> None:
        registry.add_merge("ticket_state:added")


class _EntryPoint:
    name = "ticket"
    value = "ticket.plugin"

    def load(self) -> object:
        return Ticket()


def added(into: Any, source: Any) -> Any:
    return {"count": (into or {}).get("count", 0) + (source or {}).get("count", 0)}


async def test_state_is_merged_by_its_plugins_function_else_stays(
    staging: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = ModuleType("ticket_state")
    module.added = added  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ticket_state", module)
    plugins = PluginManager(entry_points=[_EntryPoint()])
    async with staging(plugins=plugins) as stage:
        await stage.open("other")
        for room_id, count in (("r1", 2), ("other", 3)):
            await stage.kit.change_state(room_id, "ticket", lambda _, count=count: {"count": count})
            await stage.kit.change_state(room_id, "app", lambda _, room_id=room_id: {"of": room_id})
        await stage.kit.change_state("other", "crm", lambda _: {"id": 7})
        room = await stage.kit.merge_rooms("other", "r1")
        assert dict(room.state) == {"ticket": {"count": 5}, "app": {"of": "r1"}, "crm": {"id": 7}}
        assert (await stage.kit.change_state("other", "app", lambda state: {**state, "by": "old id"})) == {
            "of": "r1",
            "by": "old id",
        }


async def test_tasks_values_and_timers_follow(stage: Any) -> None:
    await stage.open("other")
    await stage.kit.add_task(Task(id="t1", room_id="other", title="call back"))
    services = stage.kit.services
    await services.values.put("summary", data={"text": "short"}, room_id="other")
    fired: list[str | None] = []

    async def fire(timer: Any) -> None:
        fired.append(timer.room_id)

    services.timers.on("remind", fire)
    await services.timers.set("remind", stage.kit.clock.now() + timedelta(hours=1), room_id="other")
    await stage.kit.merge_rooms("other", "r1")
    assert [each.id for each in await stage.kit.list_tasks("r1")] == ["t1"]
    assert [each.id for each in await stage.kit.list_tasks("other")] == ["t1"]
    assert (await services.values.get("summary")).room_id == "r1"
    await asyncio.sleep(3700)
    assert fired == ["r1"]


# -- refusals ------------------------------------------------------------------------------------------


async def test_what_cannot_meet_is_refused_and_unchanged(stage: Any) -> None:
    kit = stage.kit
    await stage.open("theirs", organization_id="globex")
    await stage.open("closed")
    await kit.close_room("closed")
    await stage.open("live")
    phone = await stage.join(RecordingChannel("phone"), "live")
    await phone.services.homes.take("live")
    cases = [
        (kit.merge_rooms("r1", "r1"), InvalidInputError, "into itself"),
        (kit.merge_rooms("theirs", "r1"), InvalidInputError, "different organizations"),
        (kit.merge_rooms("closed", "r1"), RoomClosedError, "nothing can be moved"),
        (kit.merge_rooms("r1", "closed"), RoomClosedError, "nothing can be moved"),
        (kit.merge_rooms("live", "r1"), RoomBusyError, "is live in room 'live'"),
        (kit.move_channel("phone", "live", "r1"), RoomBusyError, "is live"),
        (kit.merge_rooms("nowhere", "r1"), RoomNotFoundError, "no room 'nowhere'"),
        (kit.merge_rooms("r1", "nowhere"), RoomNotFoundError, "no room 'nowhere'"),
        (kit.split_room("r1"), InvalidInputError, "either after_index or event_ids"),
        (kit.split_room("r1", after_index=100), InvalidInputError, "no event after index 100"),
        (kit.split_room("r1", event_ids=[]), InvalidInputError, "1 to 5000"),
        (kit.split_room("r1", event_ids=["x"]), EventNotFoundError, "no event 'x' to move"),
        (kit.move_channel("none", "r1", "live"), ChannelNotFoundError, "not attached"),
        (kit.merge_rooms("live", "r1", keep="both"), InvalidInputError, "keep"),
    ]
    rooms = [each.id for each in await kit.store.find_rooms(limit=100)]
    for work, kind, words in cases:
        with pytest.raises(kind, match=words):
            await work
    assert [each.id for each in await kit.store.find_rooms(limit=100)] == rooms
    for room_id in ("r1", "live"):
        assert (await kit.get_room(room_id)).status is RoomStatus.ACTIVE
    await phone.services.homes.leave("live")


async def test_new_input_is_refused_while_lanes_drain(stage: Any) -> None:
    """With the time to try again in; deliveries begun before continue, and are moved."""
    await stage.open("other")
    agent = await stage.join(ScriptedIntelligence("ai", ["an answer"], delay=5.0), "other")
    web = await stage.join(RecordingChannel("web"), "other")
    await stage.kit.attach_channel("r1", "web")
    asked = asyncio.create_task(stage.say("question", channel="web", by="ann", room="other"))
    await asyncio.sleep(1)
    merging = asyncio.create_task(stage.kit.merge_rooms("other", "r1"))
    await asyncio.sleep(1)

    for room_id in ("other", "r1"):
        refused = await stage.say("now", channel="web", by="ann", room=room_id)
        assert (refused.blocked, refused.reason, refused.stored) == (True, "room_moving", False)
        assert refused.retry_after == 1.0
        with pytest.raises(RoomBusyError, match="send it again"):
            await stage.kit.send_event(room_id, "system", TextContent(body="now"))
    with pytest.raises(RoomBusyError, match="already"):
        await stage.kit.merge_rooms("r1", "other")
    await merging
    await asked
    assert await stage.texts("r1") == ["question", "an answer"]
    assert (await stage.say("now", channel="web", by="ann", room="other")).event.room_id == "r1"
    assert agent.seen
    assert web.delivered


async def test_what_is_pending_at_the_timeout_refuses_it(stage: Any) -> None:
    """Nothing is changed, and the rooms take messages again."""
    await stage.open("other")
    await stage.join(ScriptedIntelligence("ai", ["late"], delay=60.0), "other")
    await stage.join(RecordingChannel("web"), "other")
    asked = asyncio.create_task(stage.say("question", channel="web", by="ann", room="other"))
    await asyncio.sleep(1)
    with pytest.raises(RoomBusyError, match="still pending at the timeout"):
        await stage.kit.merge_rooms("other", "r1", timeout=5.0)
    for room_id in ("other", "r1"):
        room = await stage.kit.get_room(room_id)
        assert (room.id, room.status, room.merged_into) == (room_id, RoomStatus.ACTIVE, None)
    assert (
        await stage.say("more", channel="web", by="ann", room="other", wait="committed")
    ).event is not None
    await asked
    assert "late" in await stage.texts("other")


class Away(InMemoryStore):
    """A store that is out of reach for the next commits that open a room again."""

    failures = 0

    async def commit(self, commit: Commit) -> Committed:
        if self.failures and commit.timers_done and commit.room_changes.get("status") == RoomStatus.ACTIVE:
            self.failures -= 1
            raise StoreError("out of reach")
        return await super().commit(commit)


@pytest.mark.parametrize("failures", [1, 2])
async def test_rooms_take_messages_again_though_the_store_fails(staging: Any, failures: int) -> None:
    """Each by itself: what could not be opened at once is opened by a timer."""
    async with staging(store=Away()) as stage:
        await stage.open("other")
        await stage.join(RecordingChannel("web"), "r1", "other")
        await stage.join(ScriptedIntelligence("ai", ["late"], delay=60.0), "other")
        asked = asyncio.create_task(stage.say("question", channel="web", by="ann", room="other"))
        await asyncio.sleep(1)
        stage.kit.store.failures = failures
        with pytest.raises(RoomBusyError, match="still pending"):
            await stage.kit.merge_rooms("other", "r1", timeout=5.0)
        await asked
        await asyncio.sleep(70)  # a timer that failed is fired again after a minute
        for room_id in ("other", "r1"):
            assert (await stage.say("more", channel="web", by="ann", room=room_id)).event is not None


async def test_a_move_from_the_rooms_own_work_is_refused(stage: Any) -> None:
    """It would wait for itself."""
    await stage.open("other")
    refused: list[str] = []

    @stage.kit.hook(HookTrigger.AFTER_BROADCAST)
    async def observer(event: Any, context: Any) -> None:
        try:
            await stage.kit.merge_rooms("r1", "other")
        except InvalidInputError as error:
            refused.append(str(error))

    await stage.socket("alice")
    await stage.say("hi")
    assert len(refused) == 1
    assert "from inside its own work" in refused[0]


# -- old ids -------------------------------------------------------------------------------------------


async def test_an_old_id_leads_to_the_merged_room(stage: Any) -> None:
    """Over several merges, for reads and changes alike; a repeated merge is not an error."""
    kit = stage.kit
    await stage.open("a")
    await stage.open("b")
    await stage.join(RecordingChannel("web"), "a", metadata={"k": 1})
    await stage.say("hi", channel="web", by="ann", room="a")
    await kit.merge_rooms("a", "b")
    await kit.merge_rooms("b", "r1")
    assert (await kit.merge_rooms("a", "r1")).id == "r1"

    assert (await kit.get_room("a")).id == "r1"
    assert [text_of(each.content) for each in await kit.get_timeline("a") if each.type == "message"] == ["hi"]
    assert (await kit.get_binding("a", "web")).room_id == "r1"
    assert [each.id for each in await kit.list_participants("a")] == ["ann"]
    assert (await kit.mute("a", "web")).room_id == "r1"
    assert not (await kit.unmute("a", "web")).muted
    assert (await kit.send_event("a", "web", TextContent(body="more"))).room_id == "r1"
    assert (await kit.update_room_metadata("a", {"x": 1})).id == "r1"
    assert (await kit.export_room("a")).room.id == "r1"
    assert (await kit.set_retention("a", "90d")).id == "r1"
    assert (await kit.add_task(Task(id="t", room_id="a", title="call"))).room_id == "r1"
    assert {row.room_id for row in await kit.list_deliveries("a")} <= {"r1"}
    with pytest.raises(RoomClosedError):
        await kit.merge_rooms("a", "other") if await stage.open("other") else None
    excerpt = await kit.services.rooms.read_timeline("a", channel_id="web", after_index=-1)
    assert excerpt is not None
    assert excerpt.binding.room_id == "r1"
    assert await kit.delete_room("r1")
    for room_id in ("a", "b", "r1"):
        with pytest.raises(RoomNotFoundError):
            await kit.get_room(room_id)


async def test_at_most_eight_merges_lie_in_a_row(stage: Any) -> None:
    rooms = [f"m{number}" for number in range(10)]
    for each in rooms:
        await stage.open(each)
    for number in range(8):
        await stage.kit.merge_rooms(rooms[number], rooms[number + 1])
    assert (await stage.kit.get_room("m0")).id == "m8"
    with pytest.raises(InvalidInputError, match="cannot be merged again"):
        await stage.kit.merge_rooms("m8", "m9")
    assert (await stage.kit.merge_rooms("m9", "m8")).id == "m8"


async def test_an_erasure_follows_a_merge(stage: Any) -> None:
    """Of a person, by each address that they had, and of a room by its old id."""
    stage.kit.register_channel(sms())
    await texted(stage, "other", ANN)
    said = (await stage.say("secret", channel="sms", by=ANN, room="other")).event
    await stage.kit.merge_rooms("other", "r1")
    await stage.kit.erase_person(participant_id=ANN)
    event = await stage.kit.store.get_event(said.id)
    assert event.is_erased
    assert not await stage.kit.list_participants("r1")
    receipt = await stage.kit.erase_room("other")
    assert not receipt.found_nothing
    assert await stage.kit.store.get_room("r1") is None


async def test_an_erased_persons_address_is_not_recognised_any_more(stage: Any) -> None:
    """Of a binding that another person's answers go to, their address alone is removed."""
    stage.kit.register_channel(sms())
    await texted(stage, "ann", ANN)
    await texted(stage, "ben", BEN)
    await stage.say("hi", channel="sms", by=ANN, room="ann")
    await stage.kit.merge_rooms("ann", "ben", keep="into")
    assert (await stage.kit.get_binding("ben", "sms")).also == (ANN,)
    await stage.kit.erase_person(participant_id=ANN)
    binding = await stage.kit.get_binding("ben", "sms")
    assert (binding.address, binding.also) == (BEN, ())
    assert (await stage.say("hi again", channel="sms", by=ANN, room=None)).event.room_id != "ben"


async def test_a_tenants_rooms_meet_among_themselves(stage: Any) -> None:
    """Another organization's are not there."""
    acme = stage.kit.for_organization("acme")
    one, two = await acme.create_room(), await acme.create_room()
    for work in (acme.merge_rooms("r1", one.id), acme.merge_rooms(one.id, "r1"), acme.split_room("r1")):
        with pytest.raises(RoomNotFoundError, match="no room 'r1'"):
            await work
    await stage.socket("web")
    assert (await acme.merge_rooms(one.id, two.id)).id == two.id
    assert (await acme.get_room(one.id)).id == two.id
    assert (await stage.kit.get_room(one.id)).organization_id == "acme"


# -- split and channels --------------------------------------------------------------------------------


async def test_a_room_is_split_after_an_index(stage: Any) -> None:
    """Into a new room of its own; answers to what moved follow it."""
    letters = mail()
    stage.kit.register_channel(letters)
    sent = await texted(stage, "other", MAIL, "mail")
    first = (await stage.say("one", channel="mail", by=MAIL, room="other", external_id="<1>")).event
    second = (await stage.say("two", channel="mail", by=MAIL, room="other", external_id="<2>")).event
    third = (await stage.say("three", channel="mail", by=MAIL, room="other", external_id="<3>")).event
    seen = stage.observe(HookTrigger.ON_ROOM_SPLIT)

    room = await stage.kit.split_room("other", after_index=first.index, participant_id="operator")

    assert [each.id for each in await stage.timeline(room.id)] == [second.id, third.id]
    assert await stage.texts("other") == [f"hello {MAIL}", "one"]
    assert (await stage.kit.list_participants(room.id))[0].id == MAIL
    source = await stage.kit.store.get_room("other")
    assert source.latest_index > third.index
    to_moved = await stage.say("re", channel="mail", by=MAIL, room=None, in_reply_to=("<3>",))
    to_kept = await stage.say("re", channel="mail", by=MAIL, room=None, in_reply_to=(sent,))
    assert (to_moved.event.room_id, to_kept.event.room_id) == (room.id, "other")
    (noted,) = seen
    assert (noted.room_id, noted.content.data["into"], noted.source.participant_id) == (
        "other",
        room.id,
        "operator",
    )


async def test_chosen_events_are_split_off_into_a_given_room(stage: Any) -> None:
    await stage.socket("alice")
    await stage.open("other")
    events = [(await stage.say(text)).event for text in ("a", "b", "c", "d")]
    room = await stage.kit.split_room("r1", event_ids=[events[2].id, events[0].id], into="other")
    assert room.id == "other"
    assert await stage.texts("other") == ["a", "c"]
    assert await stage.texts("r1") == ["b", "d"]
    after = await stage.kit.get_timeline("r1", after_index=events[1].index)
    assert [each.id for each in after][:1] == [events[3].id]


async def test_a_channel_moves_with_those_who_came_by_it(stage: Any) -> None:
    """Its memory moves, the messages stay; the next message goes to the other room."""
    texts = sms()
    stage.kit.register_channel(texts)
    await stage.open("other")
    await texted(stage, "ann", ANN)
    await stage.say("hi", channel="sms", by=ANN, room=None)
    gone, come = (
        stage.observe(each) for each in (HookTrigger.ON_CHANNEL_DETACHED, HookTrigger.ON_CHANNEL_ATTACHED)
    )
    binding = await stage.kit.move_channel("sms", "ann", "other")
    assert (binding.room_id, binding.address) == ("other", ANN)
    assert (await stage.say("again", channel="sms", by=ANN, room=None)).event.room_id == "other"
    assert await answered(stage, "other", texts) == ANN
    assert await stage.kit.list_bindings("ann") == []
    assert await stage.texts("ann") == [f"hello {ANN}", "hi"]
    assert (await stage.kit.get_room("ann")).detached_channels == ("sms",)
    assert [each.room_id for each in (*gone, *come)] == ["ann", "other"]
    await stage.open("third")
    await stage.kit.attach_channel("third", "sms")
    with pytest.raises(InvalidInputError, match="attached to room 'other' already"):
        await stage.kit.move_channel("sms", "third", "other")


# -- long rooms -----------------------------------------------------------------------------------------


async def test_the_rest_of_a_long_room_follows_in_the_background(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the merged room is in use; a batch that is run twice moves nothing twice."""
    for module in (moves, plans):
        monkeypatch.setattr(module, "AT_ONCE", 3)
    await stage.open("other")
    await stage.join(RecordingChannel("web"), "other")
    ids = [
        (await stage.say(str(number), channel="web", by="ann", room="other")).event.id for number in range(10)
    ]
    before = await stage.kit.get_timeline("other", limit=100)
    await stage.kit.merge_rooms("other", "r1")
    await stage.say("in between", channel="web", by="ann", room="other")
    await asyncio.sleep(60)
    events = await stage.kit.get_timeline("r1", limit=100)
    assert [each.index for each in events] == sorted({each.index for each in events})
    moved = [each.id for each in events if each.origin is not None]
    assert moved == [each.id for each in before]
    assert set(ids) <= set(moved)
    assert await stage.kit.store.list_events("other") == []
    assert (await stage.kit.store.get_room("r1")).event_count == len(events)


async def test_the_rest_of_a_move_leaves_the_mark_of_another(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the room would take no messages any more if the other's worker died."""
    for module in (moves, plans):
        monkeypatch.setattr(module, "AT_ONCE", 3)
    await stage.open("long")
    await stage.open("busy")
    await stage.join(RecordingChannel("web"), "long", "busy")
    for number in range(10):
        await stage.say(str(number), channel="web", by="ann", room="long")
    await stage.join(ScriptedIntelligence("ai", ["an answer"], delay=60.0), "busy")
    asked = asyncio.create_task(stage.say("question", channel="web", by="ann", room="busy"))
    await asyncio.sleep(1)
    await stage.kit.merge_rooms("long", "r1")
    merging = asyncio.create_task(stage.kit.merge_rooms("busy", "r1", timeout=120.0))
    await asyncio.sleep(30)
    assert await stage.kit.store.list_events("long") == []
    assert f"{MOVING}:r1" in [timer.id for timer in await stage.kit.store.list_timers("r1")]
    await merging
    await asked
    assert f"{MOVING}:r1" not in [timer.id for timer in await stage.kit.store.list_timers("r1")]
