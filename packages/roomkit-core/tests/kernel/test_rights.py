"""Data-subject requests: a copy of the stored data of a person, its erasure, and bounded retention."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from roomkit.abc.clock import SystemClock
from roomkit.abc.errors import (
    IdentityNotFoundError,
    InvalidInputError,
    ParticipantNotFoundError,
    RoomNotFoundError,
    StoreError,
)
from roomkit.abc.store import Commit, ConversationStore, Entry
from roomkit.kernel.privacy import exports, person
from roomkit.kernel.privacy import requests as rights
from roomkit.models import (
    ChannelType,
    DeliveryState,
    EventType,
    HookResult,
    HookTrigger,
    Identity,
    Observation,
    Participant,
    RoomStatus,
    Task,
)
from roomkit.models.base import utcnow
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import ParticipantRole
from roomkit.models.rights import ErasureReceipt, ExportLine, PersonExport, RoomExport
from roomkit.models.value import Value
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import Hang, MockIdentityResolver

ANN = Identity(
    id="id-quetzal",
    display_name="Ann Canary",
    email="ann@canary.example",
    phone="+15550001111",
    channel_addresses={"sms": ("+15550001111",)},
)
CANARIES = ("quetzal", "canary", "+15550001111", "pelican")
"""Whatever of Ann's must be gone; she never says anything without her pelican."""

type Staging = Callable[..., Any]


@pytest.fixture
async def house(store: ConversationStore, staging: Staging) -> AsyncIterator[Any]:
    """Return a stage over the store, with `r1` to begin with."""
    async with staging(store=store, single_process=True) as stage:
        yield stage


@pytest.fixture
def pages_of_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have everything read in pages of two."""
    for module in (exports, person, rights):
        monkeypatch.setattr(module, "_PAGE", 2)


async def furnish(stage: Any) -> None:
    """Let Ann talk by SMS and the web, Ben by the web, an agent answer, and the desk whisper."""
    kit = stage.kit
    await kit.store.create_identity(ANN)
    await stage.socket("sms", channel_type=ChannelType.SMS, metadata={"phone_number": "+15550001111"})
    await stage.socket("web")
    await stage.socket("desk")
    await stage.agent("bot", ["Dear Ann, the pelican is on its way"])
    address, alone = "+15550001111", {"addressed_to": ()}
    await stage.say("this is my pelican", channel="sms", by=address, raw_payload={"From": address}, **alone)
    await kit.resolve_participant("r1", "+15550001111", ANN.id)
    await stage.say("what a bird", channel="web", by="ben", metadata={"ip": "10.0.0.1"}, **alone)
    await stage.say("she is odd", channel="desk", by="boss", visibility="intelligence", **alone)
    await stage.say("where is my pelican", channel="sms", by="+15550001111")
    await kit.store.add_task(Task(id="t1", room_id="r1", title="feed the bird", assigned_to="+15550001111"))
    await kit.store.add_task(Task(id="t2", room_id="r1", title="sweep"))
    await kit.store.add_observation(
        Observation(id="o1", room_id="r1", channel_id="bot", content="Ann Canary likes birds")
    )
    await kit.store.add_observation(Observation(id="o2", room_id="r1", channel_id="bot", content="busy day"))
    await kit.mark_all_read("r1", "sms")


async def everything(stage: Any) -> str:
    """Return all that the store has, as text."""
    parts = [identity.model_dump_json() if (identity := await stage.kit.store.get_identity(ANN.id)) else ""]
    for room in await stage.kit.store.find_rooms(limit=1000):
        parts += [line async for line in stage.kit.export_room_lines(room.id)]
    return "\n".join(parts)


def canaries_in(text: str) -> list[str]:
    return [canary for canary in CANARIES if canary in text.lower()]


# -- exports ------------------------------------------------------------------------------------


async def test_a_room_is_exported_whole(house: Any) -> None:
    """As a record that comes back from its JSON, and as lines that say the same."""
    await furnish(house)
    export = await house.kit.export_room("r1")

    assert RoomExport.model_validate_json(export.model_dump_json()) == export
    assert list(export.events) == await house.timeline(messages=False)
    assert {row.id for row in export.deliveries} == {row.id for row in await house.kit.list_deliveries("r1")}
    assert [each.channel_id for each in export.bindings] == ["sms", "web", "desk", "bot"]
    assert {each.id for each in export.participants} == {"+15550001111", "ben", "boss"}
    assert [each.id for each in (*export.tasks, *export.observations)] == ["t1", "t2", "o1", "o2"]
    assert [(each.channel_id, each.index) for each in export.read_marks] == [("sms", export.events[-1].index)]
    lines = [ExportLine.model_validate_json(line) async for line in house.kit.export_room_lines("r1")]
    assert lines[0].kind == "room"
    assert tuple(line.record for line in lines if line.kind == "event") == export.events
    assert sum(line.kind == "delivery" for line in lines) == len(export.deliveries)


@pytest.mark.usefixtures("pages_of_two")
async def test_an_export_read_in_pages_misses_nothing(house: Any) -> None:
    """Neither at the end of a page nor after it."""
    await house.socket("alice")
    await house.socket("bob")
    for number in range(5):
        await house.say(str(number))
    export = await house.kit.export_room("r1")

    assert [text_of(each.content) for each in export.events if each.type is EventType.MESSAGE] == [*"01234"]
    assert len({row.id for row in export.deliveries}) == len(export.deliveries) == 5


@pytest.mark.usefixtures("pages_of_two")
async def test_an_export_goes_on_when_retention_takes_what_it_read_last(house: Any) -> None:
    await house.socket("alice")
    await house.socket("bob")
    for number in range(6):
        await house.say(str(number))
    store = house.kit.store
    rows = [row.id for row in await house.kit.list_deliveries("r1")]
    seen = []
    async for row in exports.deliveries_of(store, "r1"):
        seen.append(row.id)
        if len(seen) == 2:
            newer = (await store.get_event(row.event_id)).created_at + timedelta(microseconds=1)
            await store.prune_events("r1", newer)
    left = [row.id for row in await house.kit.list_deliveries("r1")]

    assert seen == rows[:2] + [each for each in left if each not in rows[:2]]


async def test_a_person_gets_what_they_said_and_saw(house: Any) -> None:
    await furnish(house)
    export = await house.kit.export_person(identity_id=ANN.id)
    texts = [text_of(each.content) for each in export.events if each.type is EventType.MESSAGE]

    assert export.identity == ANN
    assert texts == [
        "this is my pelican",
        "what a bird",
        "where is my pelican",
        "Dear Ann, the pelican is on its way",
    ]
    assert [each.id for each in export.participants] == ["+15550001111"]
    assert [each.channel_id for each in export.bindings] == ["sms"]
    assert [each.id for each in (*export.tasks, *export.observations)] == ["t1", "o1"]
    assert {row.channel_id for row in export.deliveries} == {"sms"}
    assert len(export.deliveries) == 2
    assert [each.channel_id for each in export.read_marks] == ["sms"]
    assert "10.0.0.1" not in export.model_dump_json()
    assert "odd" not in export.model_dump_json()
    assert PersonExport.model_validate_json(export.model_dump_json()) == export
    lines = [json.loads(line) async for line in house.kit.export_person_lines(identity_id=ANN.id)]
    assert lines[0]["kind"] == "identity"
    assert sum(line["kind"] == "event" for line in lines) == len(export.events)


async def test_a_channel_that_is_shared_shows_no_ones_whispers(house: Any) -> None:
    """A channel sees all that came by it; a person who shares it does not."""
    await house.socket("web")
    await house.socket("desk")
    await house.say("hello all", channel="web", by="ann")
    await house.say("hello ann", channel="web", by="ben")
    await house.say("for the desk alone", channel="web", by="ben", visibility="desk")
    await house.say("mine, for the desk", channel="web", by="ann", visibility="desk")
    export = await house.kit.export_person(participant_id="ann")

    assert [text_of(each.content) for each in export.events] == [
        "hello all",
        "hello ann",
        "mine, for the desk",
    ]


async def test_a_binding_of_somebody_else_shows_nothing(house: Any) -> None:
    """Even if the person came by that channel once."""
    await house.socket("web", participant_id="ben")
    await house.socket("desk")
    await house.say("let me in", channel="web", by="ann")
    await house.say("welcome", channel="desk", by="boss")
    export = await house.kit.export_person(participant_id="ann")

    assert [text_of(each.content) for each in export.events] == ["let me in"]
    assert export.deliveries == ()


async def test_a_person_gets_the_values_about_them(house: Any, pages_of_two: None) -> None:
    await furnish(house)
    store = house.kit.store
    subjects = (ANN.id, "+15550001111", "+15550001111", "+15550001111", "ben", None)
    values = [
        await store.put_value(
            Value(namespace="notes", key=(str(number),), data={"n": number}, subject=subject)
        )
        for number, subject in enumerate(subjects)
    ]
    by_identity = await house.kit.export_person(identity_id=ANN.id)
    by_participant = await house.kit.export_person(participant_id="+15550001111")
    lines = [line async for line in house.kit.export_person_lines(identity_id=ANN.id)]

    assert {each.key: each for each in by_identity.values} == {each.key: each for each in values[:4]}
    assert by_participant.values == by_identity.values
    assert [ExportLine.model_validate_json(line).record for line in lines[-4:]] == list(by_identity.values)
    assert (await house.kit.privacy.count_person(identity_id=ANN.id))["value"] == 4
    assert (await house.kit.privacy.count_person(participant_id="+15550001111"))["value"] == 4
    assert (await house.kit.erase_person(identity_id=ANN.id)).count("value") == 4
    assert "value" not in await house.kit.privacy.count_person(participant_id="+15550001111")
    assert await store.list_values_of("ben") == [values[4]]


async def test_what_a_state_keeps_as_derived_goes_with_what_it_was_made_from(house: Any) -> None:
    """In every namespace; the rest of the state stays, and so do other rooms."""
    await furnish(house)
    await house.open("r9")
    for room_id in ("r1", "r9"):
        for namespace in ("app", "notes"):
            state = {"phase": "intake", "derived": {"summary": "her bird is ill"}}
            await house.kit.change_state(room_id, namespace, lambda _, state=state: state)
    await house.kit.erase_person(identity_id=ANN.id)
    room, other = await house.kit.get_room("r1"), await house.kit.get_room("r9")
    assert [room.state[each] for each in ("app", "notes")] == [{"phase": "intake"}] * 2
    assert "derived" in other.state["app"]


async def test_the_values_of_a_room_are_exported_counted_and_erased_with_it(
    house: Any, pages_of_two: None
) -> None:
    await furnish(house)
    store = house.kit.store
    claims = await store.list_room_values("r1")  # where a stranger's first messages go
    base = Value(namespace="notes", key=(), room_id="r1")
    values = [
        await store.put_value(base.replace(key=(str(number),), subject=subject, room_id=room_id))
        for number, (subject, room_id) in enumerate(
            ((ANN.id, "r1"), (None, "r1"), ("ben", "r1"), ("ben", "r2"))
        )
    ]
    expected = (*claims, *values[:3])
    assert (await house.kit.export_room("r1")).values == expected
    assert (await house.kit.privacy.count_room("r1"))["value"] == len(expected)
    assert (await house.kit.erase_room("r1")).count("value") == len(expected)
    assert await store.list_room_values("r1") == []
    assert await store.list_values_of("ben") == values[3:]


async def test_a_person_whom_only_values_know_gets_those(house: Any) -> None:
    """Of the organization that is asked for."""
    store = house.kit.store
    base = Value(namespace="consent", key=("sms",), subject="+9")
    values = [await store.put_value(base.replace(organization_id=each)) for each in ("acme", "globex")]

    assert (await house.kit.export_person(participant_id="+9")).values == tuple(values)
    acme = house.kit.for_organization("acme")
    assert (await acme.export_person(participant_id="+9")).values == (values[0],)
    assert await house.kit.privacy.count_person(participant_id="+9") == {"value": 2}
    assert await house.kit.privacy.count_person(participant_id="+9", organization_id="acme") == {"value": 1}
    with pytest.raises(ParticipantNotFoundError):
        await house.kit.for_organization("other").export_person(participant_id="+9")


async def test_who_is_asked_for_must_be_told_apart(house: Any) -> None:
    """One id, of one person; each refusal says what to do."""
    kit = house.kit
    with pytest.raises(RoomNotFoundError, match="'nowhere'"):
        await kit.export_room("nowhere")
    with pytest.raises(RoomNotFoundError, match="'nowhere'"):
        [line async for line in kit.export_room_lines("nowhere")]
    with pytest.raises(IdentityNotFoundError, match="'stranger'"):
        await kit.export_person(identity_id="stranger")
    with pytest.raises(ParticipantNotFoundError, match="'stranger'"):
        await kit.export_person(participant_id="stranger")
    for wrong in ({}, {"identity_id": "a", "participant_id": "b"}):
        with pytest.raises(InvalidInputError, match="exactly one"):
            await kit.erase_person(**wrong)
    for empty in ({"identity_id": ""}, {"participant_id": ""}):
        for ask in (kit.erase_person, kit.export_person):
            with pytest.raises(InvalidInputError, match="empty id"):
                await ask(**empty)
    await house.open("acme", organization_id="acme")
    for room_id in ("r1", "acme"):
        await kit.ensure_participant(room_id, "web", "ann")
    with pytest.raises(InvalidInputError, match=r"\(acme, none\).*organization_id"):
        await kit.erase_person(participant_id="ann")
    assert len((await kit.export_person(participant_id="ann", organization_id="acme")).participants) == 1
    await house.open("r2")
    for room_id, identity_id in (("r1", "one"), ("r2", "two")):
        await kit.store.create_identity(Identity(id=identity_id))
        await kit.ensure_participant(room_id, "web", "guest")
        await kit.resolve_participant(room_id, "guest", identity_id)
    with pytest.raises(InvalidInputError, match="2 identities"):
        await kit.erase_person(participant_id="guest")


# -- erasure of a person ------------------------------------------------------------------------


async def test_nothing_of_a_person_is_left(house: Any) -> None:
    """Not in words, edits, answers, bindings, tasks, observations or identities; the others' stay."""
    await furnish(house)
    mine = next(each for each in await house.timeline() if "this is" in text_of(each.content))
    await house.kit.edit_event("r1", mine.id, TextContent(body="this is my big pelican"))
    before = await house.timeline(messages=False)
    receipt = await house.kit.erase_person(identity_id=ANN.id)
    after = await house.timeline(messages=False)

    assert canaries_in(await everything(house)) == []
    assert [each.index for each in after][: len(before)] == [each.index for each in before]
    assert [each.type for each in after][: len(before)] == [each.type for each in before]
    assert await house.texts() == ["", "what a bird", "she is odd", "", ""]
    assert {each.id for each in await house.kit.list_participants("r1")} == {"ben", "boss"}
    assert [each.channel_id for each in await house.kit.list_bindings("r1")] == ["web", "desk", "bot"]
    assert [each.title for each in await house.kit.list_tasks("r1")] == ["erased", "sweep"]
    assert [each.content for each in await house.kit.list_observations("r1")] == ["erased", "busy day"]
    assert await house.kit.store.get_identity(ANN.id) is None
    assert await house.kit.store.resolve_identity("sms", "+15550001111") is None
    assert receipt.count("event") == 5  # two messages, an edit, an answer, and who was identified
    assert (receipt.count("participant"), receipt.count("binding"), receipt.count("identity")) == (1, 1, 1)
    assert house.facts("person_erased") == [{"receipt_id": receipt.id}]


async def test_a_receipt_may_be_kept(house: Any) -> None:
    """It names rooms, events and reasons, and nothing of the person; it comes back from its JSON."""
    await furnish(house)
    receipt = await house.kit.erase_person(participant_id="+15550001111")

    assert canaries_in(receipt.model_dump_json()) == []
    assert ErasureReceipt.model_validate_json(receipt.model_dump_json()) == receipt
    redacted = next(each for each in receipt.erased if each.kind == "event")
    assert (redacted.room_id, redacted.action, redacted.count) == ("r1", "redacted", len(redacted.ids))
    for event_id in redacted.ids:
        assert (await house.kit.store.get_event(event_id)).deleted
    assert {each.reason for each in receipt.retained} == {
        "place_in_the_timeline",
        "words_of_others",
        "ledger",
        "metadata",
        "outside",
    }


async def test_asking_again_finds_nothing(house: Any) -> None:
    """And changes nothing: no note, no framework event."""
    await furnish(house)
    await house.kit.erase_person(identity_id=ANN.id)
    before = await everything(house)
    for again in ({"identity_id": ANN.id}, {"participant_id": "+15550001111"}):
        receipt = await house.kit.erase_person(**again)
        assert receipt.found_nothing
        assert receipt.retained == ()
    assert await everything(house) == before
    assert house.kinds().count("person_erased") == 1


class Crashing:
    """A store whose worker is cut off after so many writes."""

    def __init__(self, store: ConversationStore, monkeypatch: pytest.MonkeyPatch) -> None:
        self._left: int | None = None
        for name in ("commit", "delete_identity"):
            monkeypatch.setattr(store, name, self._guarded(getattr(store, name)))

    def _guarded(self, write: Callable[..., Any]) -> Callable[..., Any]:
        async def guarded(*arguments: Any, **options: Any) -> Any:
            if self._left is not None:
                if self._left == 0:
                    raise StoreError("cut off")
                self._left -= 1
            return await write(*arguments, **options)

        return guarded

    def after(self, writes: int | None) -> None:
        self._left = writes


@pytest.mark.parametrize("asked", ["identity_id", "participant_id"])
@pytest.mark.usefixtures("pages_of_two")
async def test_what_a_crash_interrupts_is_finished_by_asking_again(
    house: Any, store: ConversationStore, monkeypatch: pytest.MonkeyPatch, asked: str
) -> None:
    """Wherever it comes: whatever leads to the rest goes last."""
    crashing = Crashing(store, monkeypatch)
    await furnish(house)
    # Two more rooms: one where Ann is known by her identity, one where her identity is not known yet.
    await house.open("r2")
    await house.kit.attach_channel("r2", "web")
    await house.kit.ensure_participant("r2", "web", "ann-on-the-web")
    await house.kit.resolve_participant("r2", "ann-on-the-web", ANN.id)
    await house.say("a pelican on the web", channel="web", by="ann-on-the-web", room="r2")
    await house.open("r0")
    await house.kit.attach_channel("r0", "sms")
    await house.say("my first pelican", channel="sms", by="+15550001111", room="r0")
    who = {asked: ANN.id if asked == "identity_id" else "+15550001111"}
    crashes = 0
    while True:
        crashing.after(1)  # each time it gets one step further
        try:
            await house.kit.erase_person(**who)
        except StoreError:
            crashes += 1
            assert crashes < 50
        else:
            break
    crashing.after(None)

    assert crashes > 5
    assert canaries_in(await everything(house)) == []


async def test_who_they_were_before_they_were_identified_is_erased_too(
    staging: Staging, store: ConversationStore
) -> None:
    """The same address by the same channel is the same person."""
    resolver = MockIdentityResolver()
    async with staging(store=store, single_process=True, identity_resolver=resolver) as stage:
        await stage.socket("sms", channel_type=ChannelType.SMS)
        await stage.socket("web")
        await stage.say("a stranger's pelican", channel="sms", by="+15550001111")
        await stage.kit.store.create_identity(ANN)
        known = Participant(
            id=ANN.id,
            room_id="r1",
            channel_id="sms",
            connected_via=("sms",),
            external_id="+15550001111",
            identity_id=ANN.id,
        )
        await stage.kit.store.add_participant(known)
        await stage.say("a known pelican", channel="sms", by=ANN.id)
        await stage.say("no bird of hers", channel="web", by="ben")
        await stage.kit.erase_person(identity_id=ANN.id)

        assert canaries_in(await everything(stage)) == []
        assert await stage.texts() == ["", "", "no bird of hers"]


async def test_rooms_that_only_wrote_to_a_person_are_found(house: Any) -> None:
    """Every one, closed ones too: by the participant of the binding."""
    await house.socket("sms", participant_id="+15550001111", metadata={"phone_number": "+15550001111"})
    for room_id in ("r2", "r3", "r4"):
        await house.open(room_id)
        await house.kit.attach_channel(
            room_id, "sms", participant_id="+15550001111", metadata={"phone_number": "+15550001111"}
        )
    await house.kit.close_room("r3")
    receipt = await house.kit.erase_person(participant_id="+15550001111")

    assert {each.room_id for each in receipt.erased} == {"r1", "r2", "r3", "r4"}
    assert receipt.count("binding") == 4
    assert canaries_in(await everything(house)) == []
    assert (await house.kit.get_room("r3")).status is RoomStatus.CLOSED


@pytest.mark.parametrize(
    "asked",
    [{"identity_id": ANN.id}, {"participant_id": "+15550001111"}, {"participant_id": "phone:+15550001111"}],
    ids=["identity", "address", "address with its kind"],
)
async def test_rooms_that_know_a_person_by_a_bindings_address_are_found(
    house: Any, pages_of_two: None, asked: dict[str, str]
) -> None:
    """No participant, closed or not; the same words as an address of another kind are another person's."""
    kit, address = house.kit, "+15550001111"
    await kit.store.create_identity(ANN)
    await house.socket("sms", channel_type=ChannelType.SMS)
    await house.socket("web")
    rooms = ["r1", "r2", "r3", "r4", "r5"]
    for room_id in rooms:
        if room_id != "r1":
            await house.open(room_id)
        way = "web" if room_id == "r5" else "sms"
        await kit.attach_channel(room_id, way, metadata={"to": address})
        found = await kit.store.get_binding(room_id, way)
        await kit.store.update_binding(found.replace(address=address))
    await kit.close_room("r3")
    if asked.get("participant_id") == address:
        with pytest.raises(InvalidInputError, match=r"'phone:\+15550001111' or 'websocket:"):
            await kit.erase_person(**asked)
        await kit.store.remove_binding("r5", "web")
    exported = await kit.export_person(**asked)
    assert {each.room_id for each in exported.bindings} == {*rooms[:4]}
    assert (await kit.privacy.count_person(**asked))["binding"] == 4
    receipt = await kit.erase_person(**asked)

    assert receipt.count("binding") == 4
    assert {each.room_id for each in receipt.erased if each.kind == "binding"} == {*rooms[:4]}
    assert [await kit.store.get_binding(each, "sms") for each in rooms[:4]] == [None] * 4
    if "web" in {each.channel_id for each in await kit.list_bindings("r5")}:
        assert (await kit.store.get_binding("r5", "web")).address == address
    assert (await kit.erase_person(**asked)).found_nothing


async def test_the_receipt_counts_the_values_made_from_what_was_said(house: Any) -> None:
    """Those of each room in which something is redacted, as the preview does."""
    await furnish(house)
    values = house.kit.services.values
    await values.put("summary", data={"text": "birds"}, room_id="r1", derived=True)
    await values.put("count", data={"n": 1}, room_id="r1")
    counted = await house.kit.privacy.count_person(identity_id=ANN.id)
    receipt = await house.kit.erase_person(identity_id=ANN.id)

    assert [(each.room_id, each.count) for each in receipt.erased if each.kind == "value"] == [("r1", 1)]
    assert counted["value"] == 1
    assert await values.get("summary") is None
    assert await values.get("count") is not None


async def test_what_is_noticed_about_somebody_alone_is_about_them(house: Any) -> None:
    """An observation needs no name where there is one customer; the colleague at the desk does not count."""
    await house.socket("sms")
    await house.say("help", channel="sms", by="ann")
    colleague = await house.kit.ensure_participant("r1", "desk", "colleague")
    await house.kit.store.update_participant(colleague.replace(role=ParticipantRole.AGENT))
    await house.kit.store.add_observation(
        Observation(id="o1", room_id="r1", channel_id="sms", content="the customer is angry")
    )
    await house.kit.store.add_task(Task(id="t1", room_id="r1", title="call back"))

    assert len((await house.kit.export_person(participant_id="ann")).observations) == 1
    await house.kit.erase_person(participant_id="ann")
    assert [each.content for each in await house.kit.list_observations("r1")] == ["erased"]
    assert [each.title for each in await house.kit.list_tasks("r1")] == ["erased"]


async def test_agents_stay_and_forget_whom_they_were_for(house: Any) -> None:
    """Their binding loses the person's id and address, and keeps the rest."""
    await house.socket("sms")
    await house.agent("bot", participant_id="ann", metadata={"customer": "ann", "tone": "warm"})
    await house.say("help", channel="sms", by="ann", addressed_to=())
    await house.kit.erase_person(participant_id="ann")
    binding = await house.kit.get_binding("r1", "bot")

    assert (binding.participant_id, binding.metadata) == (None, {"tone": "warm"})


async def test_who_might_have_been_the_person_cannot_be_any_more(house: Any) -> None:
    """Candidates of other participants lose the erased identity."""
    await furnish(house)
    maybe = Participant(id="x", room_id="r1", channel_id="web", candidates=(ANN.id, "id-ben"))
    await house.kit.store.add_participant(maybe)
    await house.kit.erase_person(identity_id=ANN.id)

    assert (await house.kit.store.get_participant("r1", "x")).candidates == ("id-ben",)


async def test_others_keep_who_deleted_their_words_and_the_receipt_says_so(house: Any) -> None:
    from roomkit.models.content import DeleteContent
    from roomkit.models.enums import DeleteType

    await house.socket("web")
    theirs = (await house.say("rude", channel="web", by="ben")).event
    owner = await house.kit.ensure_participant("r1", "web", "ann")
    await house.kit.store.update_participant(owner.replace(role=ParticipantRole.OWNER))
    deletion = DeleteContent(target_event_id=theirs.id, delete_type=DeleteType.ADMIN)
    await house.say(deletion, channel="web", by="ann", event_type=EventType.DELETE)
    receipt = await house.kit.erase_person(participant_id="ann")

    kept = [each for each in receipt.retained if each.reason == "amended_by"]
    assert [(each.room_id, each.count) for each in kept] == [("r1", 1)]


async def test_channels_and_watchers_learn_that_a_channel_was_detached(house: Any) -> None:
    sms = await house.socket("sms", metadata={"phone_number": "ann"})
    await house.socket("web")
    seen = house.observe(HookTrigger.ON_CHANNEL_DETACHED)
    await house.say("hello", channel="sms", by="ann")
    await house.kit.erase_person(participant_id="ann")

    assert [each.content.data["channel_id"] for each in seen] == ["sms"]
    assert sms.binding_updates[-1][1].access == "none"
    assert house.kinds().count("room_channel_detached") == 1
    result = await house.say("it is me again", channel="sms", by="ann")
    assert not result.blocked
    assert (await house.texts())[-1] == "it is me again"


# -- work under way -----------------------------------------------------------------------------


async def test_what_waits_in_a_lane_is_not_sent_any_more(house: Any) -> None:
    hang = Hang()
    await house.socket("web")
    desk = await house.socket("desk", script=[hang])
    seen = house.observe(HookTrigger.AFTER_BROADCAST)
    await house.say("my pelican", channel="web", by="ann", wait="committed")
    await house.say("another pelican", channel="web", by="ann", wait="committed")
    await house.say("no bird", channel="web", by="ben", wait="committed")
    await hang.reached.wait()
    receipt = await house.kit.erase_person(participant_id="ann")
    hang.release()
    await house.idle()

    assert desk.texts() == ["my pelican", "no bird"]
    rows = [(row.state, row.reason) for row in await house.kit.list_deliveries("r1")]
    assert rows == [
        (DeliveryState.SENT, None),
        (DeliveryState.SKIPPED, "erased"),
        (DeliveryState.SENT, None),
    ]
    under_way = [each for each in receipt.retained if each.reason == "under_way"]
    assert [each.count for each in under_way] == [1]
    assert receipt.count("delivery") == 1
    assert [text_of(each.content) for each in seen] == ["", "", "no bird"]


async def test_a_person_is_not_written_to_any_more(house: Any) -> None:
    hang = Hang()
    sms = await house.socket("sms", script=[hang], participant_id="ann")
    await house.socket("web")
    for text in ("one", "two"):
        await house.say(text, channel="web", by="ben", wait="committed")
    await hang.reached.wait()
    await house.kit.erase_person(participant_id="ann")
    hang.release()
    await house.idle()

    assert sms.texts() == ["one"]
    rows = [(row.state, row.reason) for row in await house.kit.list_deliveries("r1")]
    assert rows == [(DeliveryState.SENT, None), (DeliveryState.SKIPPED, "erased")]


async def test_deliveries_that_nobody_holds_are_skipped_in_the_ledger(house: Any) -> None:
    """So that no worker that comes later takes them up."""
    await house.socket("web")
    await house.kit.ensure_participant("r1", "web", "ann")
    event = house.event("my pelican", channel="web")
    event = event.replace(source=event.source.replace(participant_id="ann"))
    commit = Commit(room_id="r1", entries=[Entry(event, ["elsewhere"])], at=house.kit.clock.now())
    await house.kit.store.commit(commit)
    receipt = await house.kit.erase_person(participant_id="ann")
    row = await house.kit.get_delivery(f"{event.id}:elsewhere")

    assert (row.state, row.reason) == (DeliveryState.SKIPPED, "erased")
    assert [each.ids for each in receipt.erased if each.kind == "delivery"] == [(row.id,)]


async def test_what_another_worker_writes_meanwhile_is_erased_too(
    house: Any, store: ConversationStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the last look and the last commit, from one whose locks are its own."""
    await house.socket("web")
    await house.say("my pelican", channel="web", by="ann")
    commit = store.commit
    late = house.event("my other pelican", channel="web")
    late = late.replace(source=late.source.replace(participant_id="ann"))

    async def interleaved(given: Commit) -> Any:
        if given.remove_participants:
            await commit(Commit(room_id="r1", entries=[Entry(late, ["elsewhere"])], at=given.at))
        return await commit(given)

    monkeypatch.setattr(store, "commit", interleaved)
    await house.kit.erase_person(participant_id="ann")

    assert canaries_in(await everything(house)) == []
    assert (await house.kit.get_delivery(f"{late.id}:elsewhere")).reason == "erased"


@pytest.mark.virtual_time
async def test_an_answer_to_erased_words_is_not_given(staging: Staging) -> None:
    """The agent's turn is ended: what it was about to say would repeat them."""
    async with staging() as stage:
        await stage.socket("web")
        await stage.agent("bot", ["Dear Ann, your pelican ..."], delay=10)
        asking = stage.saying("where is my pelican", channel="web", by="ann")
        await asyncio.sleep(5)
        await stage.kit.erase_person(participant_id="ann")
        await asking
        await stage.idle()

        assert await stage.texts() == [""]
        assert (await stage.ledger())["bot"].reason == "interrupted"


async def test_a_gate_may_erase(house: Any) -> None:
    """From inside, under the lock it holds; what follows comes when the lock is free."""
    await house.socket("web")
    await house.socket("desk")
    await house.say("my pelican", channel="web", by="ann")
    receipts: list[ErasureReceipt] = []

    @house.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def on_request(event: Any, _context: object) -> HookResult:
        if text_of(event.content) == "forget ann":
            receipts.append(await house.kit.erase_person(participant_id="ann"))
        return HookResult.allow()

    await house.say("forget ann", channel="desk", by="boss")

    assert [receipt.count("event") for receipt in receipts] == [1]
    assert await house.texts() == ["", "forget ann"]


# -- erasure of a room --------------------------------------------------------------------------


async def test_a_room_is_erased_whole(house: Any) -> None:
    await furnish(house)
    export = await house.kit.export_room("r1")
    receipt = await house.kit.erase_room("r1")

    assert await house.kit.store.get_room("r1") is None
    assert await house.kit.list_deliveries("r1") == []
    for kind, records in (
        ("event", export.events),
        ("delivery", export.deliveries),
        ("participant", export.participants),
        ("binding", export.bindings),
        ("task", export.tasks),
        ("observation", export.observations),
        ("read_mark", export.read_marks),
    ):
        assert receipt.count(kind) == len(records), kind
    assert {each.reason for each in receipt.retained} == {"not_of_the_room", "outside"}
    assert canaries_in(receipt.model_dump_json()) == []
    assert "room_deleted" in house.kinds()
    assert (await house.kit.erase_room("r1")).found_nothing


async def test_nothing_more_goes_out_of_an_erased_room(house: Any) -> None:
    hang = Hang()
    await house.socket("web")
    desk = await house.socket("desk", script=[hang])
    for text in ("one", "two"):
        await house.say(text, channel="web", by="ann", wait="committed")
    await hang.reached.wait()
    receipt = await house.kit.erase_room("r1")
    hang.release()
    await house.idle()

    assert desk.texts() == ["one"]
    assert [each.count for each in receipt.retained if each.reason == "under_way"] == [1]


async def test_a_kit_that_was_never_started_erases_and_delivers_nothing(
    house: Any, store: ConversationStore, staging: Staging
) -> None:
    """As a command does beside running workers."""
    from roomkit.kernel.kit import RoomKit

    await furnish(house)
    other = RoomKit(store, single_process=True, plugins=PluginManager(entry_points=()))
    receipt = await other.privacy.erase_person(identity_id=ANN.id)

    assert receipt.count("event") == 4
    assert other._kernel.ground.lease.worker_id is None
    assert canaries_in(await everything(house)) == []


# -- retention ----------------------------------------------------------------------------------


class Calendar(SystemClock):
    """A clock whose days the test counts: the store's threads need no patience with it."""

    follows_store = False

    def __init__(self) -> None:
        self.today = utcnow()

    def now(self) -> datetime:
        return self.today

    async def pass_by(self, kit: Any, **time: float) -> None:
        """Let time go by, and have the kit fire the timers that are due then."""
        self.today += timedelta(**time)
        await kit.sweep_room_timers()


async def test_a_room_keeps_its_events_for_so_long(store: ConversationStore, staging: Staging) -> None:
    """From creation to removal, over days; a new term holds from then on, and None ends it."""
    calendar = Calendar()
    async with staging(store=store, single_process=True, clock=calendar) as stage:
        kit = stage.kit
        await stage.open("kept", retention="2d")
        await stage.socket("alice")
        await kit.attach_channel("kept", "alice")
        await stage.say("old", room="kept")
        await stage.say("old", room="r1")
        await calendar.pass_by(kit, days=1)
        await stage.say("newer", room="kept")
        await calendar.pass_by(kit, days=1, hours=1)
        assert await stage.texts("kept") == ["newer"]
        assert await stage.texts("r1") == ["old"]
        assert stage.facts("events_pruned")
        await kit.set_retention("kept", None)
        await calendar.pass_by(kit, days=5)
        assert await stage.texts("kept") == ["newer"]
        await kit.set_retention("kept", timedelta(days=1))
        await calendar.pass_by(kit, hours=1)
        assert await stage.texts("kept") == []
        assert (await kit.get_room("kept")).latest_index > 0
