"""Who is in a room: added, brought up to date, tied to an identity, shown out."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.errors import (
    IdentityNotFoundError,
    InvalidInputError,
    ParticipantNotFoundError,
    RoomNotFoundError,
)
from roomkit.models import HookTrigger, IdentificationStatus, Identity, Participant, ParticipantStatus
from roomkit.models.enums import ChannelType
from roomkit_plugins.testing import MockIdentityResolver, RecordingChannel

pytestmark = pytest.mark.virtual_time

BOB = Identity(id="bob", display_name="Bob")


async def people(stage: Any) -> dict[str, Participant]:
    return {person.id: person for person in await stage.kit.list_participants("r1")}


async def test_somebody_is_added_once(stage: Any) -> None:
    """With the channel they came by, and no note: the host did it."""
    first = await stage.kit.ensure_participant("r1", "sms", "bob", "Bob")
    again = await stage.kit.ensure_participant("r1", "sms", "bob")

    assert again == first == (await people(stage))["bob"]
    assert (first.channel_id, first.connected_via, first.display_name) == ("sms", ("sms",), "Bob")
    assert first.identification is IdentificationStatus.PENDING
    assert first.joined_at == stage.kit.clock.now()
    assert await stage.timeline(messages=False) == []


async def test_a_second_channel_and_a_new_name_are_kept(stage: Any) -> None:
    await stage.kit.ensure_participant("r1", "sms", "bob")
    person = await stage.kit.ensure_participant("r1", "mail", "bob", "Robert")

    assert (person.channel_id, person.connected_via, person.display_name) == (
        "sms",
        ("sms", "mail"),
        "Robert",
    )


async def test_at_once_from_two_channels_is_one_person(stage: Any) -> None:
    """Nothing one of them said is lost."""
    await asyncio.gather(*(stage.kit.ensure_participant("r1", channel, "bob") for channel in "abcde"))

    assert (await people(stage))["bob"].connected_via == tuple("abcde")


async def test_whoever_speaks_is_in_the_room(stage: Any) -> None:
    await stage.socket("alice")
    await stage.agent("bot", ["hi"])
    before = (await stage.kit.get_room("r1")).timers
    await stage.kit.ensure_participant("r1", "alice", "x")
    assert (await stage.kit.get_room("r1")).timers == before
    await stage.say(by="+1")

    assert set(await people(stage)) == {"x", "+1"}
    assert (await people(stage))["+1"].identification is IdentificationStatus.UNKNOWN


@pytest.mark.parametrize("bad", ["", "  ", "a\0b", "x" * 513])
async def test_what_cannot_be_an_id_is_refused(stage: Any, bad: str) -> None:
    with pytest.raises(InvalidInputError, match="cannot be a participant id"):
        await stage.kit.ensure_participant("r1", "sms", bad)


async def test_a_participant_is_tied_to_an_identity(stage: Any) -> None:
    seen = stage.observe(HookTrigger.ON_PARTICIPANT_IDENTIFIED)
    await stage.kit.store.create_identity(BOB)
    await stage.kit.ensure_participant("r1", "sms", "+1", "visitor")
    await asyncio.sleep(5)
    person = await stage.kit.resolve_participant("r1", "+1", "bob", resolved_by="carol")

    assert person == (await people(stage))["+1"]
    assert (person.identification, person.identity_id) == (IdentificationStatus.IDENTIFIED, "bob")
    assert (person.display_name, person.resolved_by, person.resolved_at) == (
        "Bob",
        "carol",
        stage.kit.clock.now(),
    )
    (note,) = await stage.timeline(messages=False)
    assert seen == [note]
    assert note.content.code == "participant_identified"
    assert note.content.data == {"identity_id": "bob", "resolved_by": "carol"}
    assert note.source.participant_id == "+1"


async def test_an_identity_without_a_name_leaves_the_one_there_is(stage: Any) -> None:
    """A name is not lost by being identified."""
    await stage.kit.store.create_identity(Identity(id="bob"))
    await stage.kit.ensure_participant("r1", "sms", "+1", "visitor")

    assert (await stage.kit.resolve_participant("r1", "+1", "bob")).display_name == "visitor"


async def test_whoever_was_identified_by_hand_stays_identified(staging: Any) -> None:
    resolver = MockIdentityResolver({"+1": BOB})
    async with staging(identity_resolver=resolver) as stage:
        await stage.socket("sms")
        await stage.kit.store.create_identity(BOB)
        await stage.kit.ensure_participant("r1", "sms", "+1")
        await stage.kit.resolve_participant("r1", "+1", "bob")
        result = await stage.say(channel="sms", by="+1")

        assert result.event.source.participant_id == "+1"
        assert set(await people(stage)) == {"+1"}
        assert resolver.calls == []


async def test_what_is_not_there_is_named(stage: Any) -> None:
    await stage.kit.ensure_participant("r1", "sms", "+1")
    await stage.kit.store.create_identity(BOB)
    with pytest.raises(RoomNotFoundError, match="no room 'r9': create_room first"):
        await stage.kit.ensure_participant("r9", "sms", "+1")
    with pytest.raises(IdentityNotFoundError, match=r"no identity 'x': store\.create_identity first"):
        await stage.kit.resolve_participant("r1", "+1", "x")
    with pytest.raises(RoomNotFoundError, match="no room 'r9': create_room first"):
        await stage.kit.remove_participant("r9", "+2", banned=True)
    with pytest.raises(ParticipantNotFoundError, match="participant '\\+2' not found in room 'r1'"):
        await stage.kit.resolve_participant("r1", "+2", "bob")
    assert await stage.timeline(messages=False) == []


async def test_whoever_left_may_come_back_and_whoever_is_banned_may_not(stage: Any) -> None:
    """Both are noted; nothing of a banned sender is stored."""
    await stage.socket("sms")
    await stage.say(channel="sms", by="+1")
    await stage.say(channel="sms", by="+2")
    left = await stage.kit.remove_participant("r1", "+1")
    banned = await stage.kit.remove_participant("r1", "+2", banned=True)

    assert (left.status, banned.status) == (ParticipantStatus.LEFT, ParticipantStatus.BANNED)
    codes = [e.content.code for e in await stage.timeline(messages=False) if e.type == "participant_left"]
    assert codes == ["participant_left", "participant_banned"]
    assert not (await stage.say(channel="sms", by="+1")).blocked
    refused = await stage.say(channel="sms", by="+2")
    assert (refused.reason, refused.event) == ("participant_banned", None)


class Attentive(RecordingChannel):
    """A channel that keeps whose status it was notified of."""

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.notified: list[tuple[str, str, str]] = []

    async def update_participant(self, room_id: str, participant: Participant) -> None:
        excerpt = await self.services.rooms.read_timeline(room_id)
        assert excerpt.participants[participant.id] == participant
        self.notified.append((room_id, participant.id, participant.status))


async def test_the_rooms_channels_are_notified_of_who_left_and_who_was_banned(stage: Any) -> None:
    """Each of them, once the status is stored; no channel of another room is."""
    here = [await stage.join(Attentive(name)) for name in ("sms", "web")]
    await stage.kit.create_room("r2")
    elsewhere = await stage.join(Attentive("other"), "r2")
    for participant_id, banned in (("+1", False), ("+2", True)):
        await stage.kit.ensure_participant("r1", "sms", participant_id)
        await stage.kit.remove_participant("r1", participant_id, banned=banned)

    assert [each.notified for each in here] == [[("r1", "+1", "left"), ("r1", "+2", "banned")]] * 2
    assert elsewhere.notified == []


@pytest.mark.parametrize("banned", [True, False])
async def test_who_never_wrote_can_be_removed_and_banned(stage: Any, banned: bool) -> None:
    """By the id they are connected with; what they write next is a banned or a returning participant's."""
    await stage.socket("sms")
    gone = await stage.kit.remove_participant("r1", "+1", banned=banned)
    result = await stage.say(channel="sms", by="+1")
    (person,) = (await people(stage)).values()

    assert gone.status == ("banned" if banned else "left")
    assert result.reason == ("participant_banned" if banned else None)
    assert person.connected_via == (() if banned else ("sms",))


@pytest.mark.parametrize("banned", [True, False])
async def test_a_closed_room_takes_a_ban_without_a_note(stage: Any, banned: bool) -> None:
    """Its timeline is over; who may read there is not."""
    channel = await stage.join(Attentive("sms"))
    await stage.kit.close_room("r1")
    before = await stage.timeline(messages=False)
    await stage.kit.remove_participant("r1", "+1", banned=banned)

    status = "banned" if banned else "left"
    assert [person.status for person in (await people(stage)).values()] == [status]
    assert await stage.timeline(messages=False) == before
    assert channel.notified == [("r1", "+1", status)]


async def test_a_removed_participant_is_active_again_when_they_connect_or_are_ensured(stage: Any) -> None:
    for participant_id, banned in (("+1", False), ("+2", True)):
        await stage.kit.remove_participant("r1", participant_id, banned=banned)
        await stage.kit.ensure_participant("r1", "sms", participant_id)

    assert [person.status for person in (await people(stage)).values()] == ["active", "banned"]


@pytest.mark.parametrize("by", ["address", "identity"])
@pytest.mark.parametrize("spoke", [True, False])
async def test_a_ban_by_address_or_identity_holds_whoever_the_sender_turns_out_to_be(
    staging: Any, by: str, spoke: bool
) -> None:
    """The resolver ties the address to the identity; other senders are not touched."""
    ann = Identity(id="ann")
    async with staging(identity_resolver=MockIdentityResolver({"+1": BOB, "+2": ann})) as stage:
        await stage.socket("sms")
        for identity in (BOB, ann):
            await stage.kit.store.create_identity(identity)
        first = await stage.say(channel="sms", by="+1", idempotency_key="k") if spoke else None
        await stage.kit.remove_participant("r1", "+1" if by == "address" else "bob", banned=True)
        refused = await stage.say(channel="sms", by="+1")

        assert (refused.reason, refused.event) == ("participant_banned", None)
        assert not (await stage.say(channel="sms", by="+2")).blocked
        if first is not None:
            again = await stage.say(channel="sms", by="+1", idempotency_key="k")
            assert (again.duplicate, again.event.id) == (True, first.event.id)


async def test_a_ban_of_a_namesake_does_not_hold_against_another_kind_of_address(staging: Any) -> None:
    """A web user who is named like a telephone number is another person."""
    resolver = MockIdentityResolver({"+1": BOB})
    async with staging(identity_resolver=resolver, identity_channel_types={ChannelType.SMS}) as stage:
        await stage.kit.store.create_identity(BOB)
        await stage.socket("web")
        await stage.join(RecordingChannel("sms", channel_type=ChannelType.SMS))
        await stage.say(channel="web", by="+1")
        await stage.kit.remove_participant("r1", "+1", banned=True)

        assert (await stage.say(channel="web", by="+1")).reason == "participant_banned"
        assert not (await stage.say(channel="sms", by="+1")).blocked


async def test_a_channel_that_fails_at_a_ban_keeps_it_from_no_other(stage):
    """The caller gets the error once all channels are notified."""
    await stage.socket("alice")
    failing, bob = await stage.socket("failing"), await stage.socket("bob")
    told = []

    async def fail(_room_id, _participant):
        raise RuntimeError("no")

    async def hear(_room_id, participant):
        told.append(participant.id)

    failing.update_participant, bob.update_participant = fail, hear
    await stage.say("hello", by="mallory")
    with pytest.raises(RuntimeError, match="no"):
        await stage.kit.remove_participant("r1", "mallory", banned=True)
    assert told == ["mallory"]


async def test_a_channel_that_hangs_at_a_ban_keeps_it_from_no_other(staging):
    """It is left behind after the time of a delivery, and reported."""
    async with staging(delivery_timeout=5.0) as stage:
        await stage.socket("alice")
        hanging, bob = await stage.socket("hanging"), await stage.socket("bob")
        told = []

        async def hang(_room_id, _participant):
            await asyncio.Event().wait()

        async def hear(_room_id, participant):
            told.append(participant.id)

        hanging.update_participant, bob.update_participant = hang, hear
        await stage.say("hello", by="mallory")
        started = asyncio.get_running_loop().time()
        await stage.kit.remove_participant("r1", "mallory", banned=True)
        assert asyncio.get_running_loop().time() - started == 5.0
        assert told == ["mallory"]
        assert "background_error" in stage.kinds()


async def test_a_channel_that_fails_at_a_close_keeps_it_from_no_other(stage):
    """The caller gets the error once all channels are notified."""
    await stage.socket("alice")
    failing, bob = await stage.socket("failing"), await stage.socket("bob")
    told = []

    async def fail(_room_id, _binding):
        raise RuntimeError("no")

    async def hear(room_id, binding):
        told.append((room_id, binding.can_read))

    failing.update_binding, bob.update_binding = fail, hear
    with pytest.raises(RuntimeError, match="no"):
        await stage.kit.close_room("r1")
    assert told == [("r1", False)]
