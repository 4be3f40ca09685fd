"""Who is in a room, and who they turn out to be."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import (
    IdentityNotFoundError,
    ParticipantBannedError,
    ParticipantNotFoundError,
    ParticipantRemovedError,
    RoomNotFoundError,
)
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.permissions import address_type_of, are_joined
from roomkit.kernel.flow.quiet import QuietCommit
from roomkit.kernel.rooms.checks import check_id, check_open
from roomkit.models.enums import EventType, HookTrigger, IdentificationStatus, ParticipantStatus
from roomkit.models.event import SYSTEM_CHANNEL_ID
from roomkit.models.participant import Participant, departed_senders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.abc.channel import Channel
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.rooms.notices import ChannelNotices, Notice
    from roomkit.kernel.rooms.rights_signals import RightsSignals
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.models.event import RoomEvent

__all__ = ["Participants"]

_REMOVED = "participant_removed"


class Participants:
    """Adds people to rooms and ties them to identities."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        rights_signals: RightsSignals,
        channels: Channels,
        notices: ChannelNotices,
        writer: Writer,
        observers: Observers,
        lanes: Lanes,
    ) -> None:
        self._store = store
        self._clock = clock
        self._rights_signals = rights_signals
        self._channels = channels
        self._notices = notices
        self._writer = writer
        self._observers = observers
        self._lanes = lanes

    async def ensure(
        self, room_id: str, channel_id: str, participant_id: str, display_name: str | None = None
    ) -> Participant:
        """Return the participant, added or brought up to date."""
        check_id(participant_id, "participant")

        async def work() -> Participant:
            record = await self._load(room_id)
            known = record.participants.get(participant_id)
            person = self._ensured(record, channel_id, participant_id, display_name, known)
            if person is not known:
                check_open(record.room, f"participant {participant_id!r} cannot be added or changed")
                await self._keep(room_id, (person,))
            return person

        return await self._writer.exclusively(room_id, work)

    def _ensured(
        self,
        record: RoomRecord,
        channel_id: str,
        participant_id: str,
        display_name: str | None,
        known: Participant | None,
    ) -> Participant:
        person = known or Participant(
            id=participant_id,
            room_id=record.room_id,
            channel_id=channel_id,
            connected_via=(channel_id,),
            address_type=_address_type(record, channel_id),
            joined_at=self._clock.now(),
        )
        changes: dict[str, object] = {}
        if person.status is ParticipantStatus.LEFT:
            changes["status"] = ParticipantStatus.ACTIVE
        if person.channel_id == SYSTEM_CHANNEL_ID:
            kind = _address_type(record, channel_id)
            changes |= {"channel_id": channel_id, "connected_via": (channel_id,), "address_type": kind}
        elif channel_id not in person.connected_via:
            changes["connected_via"] = (*(person.connected_via or (person.channel_id,)), channel_id)
        if display_name is not None and display_name != person.display_name:
            changes["display_name"] = display_name
        return person.replace(**changes) if changes else person

    async def resolve(
        self, room_id: str, participant_id: str, identity_id: str, resolved_by: str = "manual"
    ) -> Participant:
        """Tie a participant to an identity, and note it."""
        identity = await self._store.get_identity(identity_id)
        if identity is None:
            raise IdentityNotFoundError(f"no identity {identity_id!r}: store.create_identity first")

        def plan(draft: Draft, record: RoomRecord) -> Draft:
            check_open(record.room, f"participant {participant_id!r} cannot be identified")
            person = _person(record, room_id, participant_id)
            identified = person.replace(
                identification=IdentificationStatus.IDENTIFIED,
                identity_id=identity_id,
                display_name=identity.display_name or person.display_name,
                candidates=None,
                resolved_at=self._clock.now(),
                resolved_by=resolved_by,
            )
            return replace(draft, participant=identified)

        event = note(
            room_id,
            EventType.PARTICIPANT_IDENTIFIED,
            "participant_identified",
            f"{participant_id} was identified",
            participant_id=participant_id,
            identity_id=identity_id,
            resolved_by=resolved_by,
        )
        draft = Draft(event=event, cascade=Cascade(), lifecycle=True, plan=plan)
        written = await self._writer.write(draft)
        if written.event is not None:
            identified = partial(self._identified, written.event, draft.cascade)
            await self._observers.afterwards(identified, "observers of an identification")
        assert written.draft is not None
        assert written.draft.participant is not None
        return written.draft.participant

    async def _identified(self, event: RoomEvent, cascade: Cascade) -> None:
        record = await self._load(event.room_id)
        await self._observers.observe(
            HookTrigger.ON_PARTICIPANT_IDENTIFIED, event, record, cascade, event.source
        )

    async def remove(self, room_id: str, participant_id: str, *, banned: bool = False) -> Participant:
        """Mark a participant as left, or as banned, and notify the room's channels on every worker.

        So are other participants of the room whom the same identity joins to this one.
        """
        check_id(participant_id, "participant")
        status = ParticipantStatus.BANNED if banned else ParticipantStatus.LEFT

        def plan(draft: Draft, record: RoomRecord) -> Draft | None:
            if not record.status.is_open:
                return None  # its timeline takes no note
            person, *joined = self._all_departed(record, participant_id, status)
            return replace(draft, participant=person, joined=joined)

        event = note(
            room_id,
            EventType.PARTICIPANT_LEFT,
            f"participant_{status}",
            f"{participant_id}: {status}",
            participant_id=participant_id,
        )
        draft = Draft(event=event, cascade=Cascade(), lifecycle=True, plan=plan)
        written = await self._writer.write(draft)
        if written.draft is not None:
            assert written.draft.participant is not None
            gone = [written.draft.participant, *written.draft.joined]
        else:
            depart = partial(self._depart_without_note, room_id, participant_id, status)
            gone = await self._writer.exclusively(room_id, depart)
        for each in gone if banned else ():  # an answer on their behalf is not said
            self._lanes.end_turns(room_id, "interrupted", for_whom=each.id)
        self._rights_signals.announce(room_id)
        found = [self._channels.get(channel_id) for channel_id in (await self._load(room_id)).bindings]
        await self._notices.send(
            [_notice(channel, room_id, each) for channel in found if channel is not None for each in gone]
        )
        return gone[0]

    async def _depart_without_note(
        self, room_id: str, participant_id: str, status: ParticipantStatus
    ) -> list[Participant]:
        gone = self._all_departed(await self._load(room_id), participant_id, status)
        await self._keep(room_id, gone)
        return gone

    def _all_departed(
        self, record: RoomRecord, participant_id: str, status: ParticipantStatus
    ) -> list[Participant]:
        """Return the participant with a status, and then those who are the same person."""
        person = self._departed(record, participant_id, status)
        others = (each for each in record.participants.values() if each.id != participant_id)
        return [person, *(each.replace(status=status) for each in others if are_joined(each, person))]

    def _departed(self, record: RoomRecord, participant_id: str, status: ParticipantStatus) -> Participant:
        """Return the participant with a status; one who only connected so far has no record yet."""
        known = record.participants.get(participant_id)
        if known is not None:
            return known.replace(status=status)
        return Participant(
            id=participant_id,
            room_id=record.room_id,
            channel_id=SYSTEM_CHANNEL_ID,
            status=status,
            joined_at=self._clock.now(),
        )

    async def readmit(self, room_id: str, channel_id: str, sender_id: str) -> None:
        """Make a participant active again who was removed and connects again; a banned one stays banned."""
        record = await self._store.load(room_id)
        if record is None:
            return
        kind = _address_type(record, channel_id)
        if departed_senders(record.participants, channel_id, kind).get(sender_id) != _REMOVED:
            return

        async def work() -> None:
            record = await self._load(room_id)
            await self._keep(
                room_id,
                [
                    self._ensured(record, channel_id, person.id, None, person)
                    for person in record.participants.values()
                    if departed_senders({person.id: person}, channel_id, kind).get(sender_id) == _REMOVED
                ],
            )

        await self._writer.exclusively(room_id, work)

    async def _keep(self, room_id: str, participants: Sequence[Participant]) -> None:
        """Store participants without a note."""
        at = self._clock.now()
        await self._store.commit(QuietCommit(room_id=room_id, at=at, participants=participants))

    async def check_present(self, room_id: str, channel_id: str, sender_id: str) -> None:
        """Refuse a sender without a right to a room that is there.

        Raises ParticipantBannedError, ParticipantRemovedError.
        """
        record = await self._store.load(room_id)
        if record is None:
            return
        kind = _address_type(record, channel_id)
        reason = departed_senders(record.participants, channel_id, kind).get(sender_id)
        if reason is None:
            return
        cannot = f"participant {sender_id!r} cannot connect to room {room_id!r}"
        if reason == _REMOVED:
            raise ParticipantRemovedError(f"{cannot}: removed while connecting; let them connect again")
        raise ParticipantBannedError(f"{cannot}: they are banned from it; close the socket")

    async def _load(self, room_id: str) -> RoomRecord:
        record = await self._store.load(room_id, recent=0)
        if record is None:
            raise RoomNotFoundError(f"no room {room_id!r}: create_room first")
        return record


def _address_type(record: RoomRecord, channel_id: str) -> str | None:
    """Return the kind of addresses that a channel has in the room, None where it is not attached."""
    return address_type_of(record.bindings, channel_id) if channel_id in record.bindings else None


def _notice(channel: Channel, room_id: str, participant: Participant) -> Notice:
    update = partial(channel.update_participant, room_id, participant)
    return f"update_participant of channel {channel.channel_id}", update


def _person(record: RoomRecord, room_id: str, participant_id: str) -> Participant:
    try:
        return record.participants[participant_id]
    except KeyError:
        raise ParticipantNotFoundError(
            f"participant {participant_id!r} not found in room {room_id!r}: ensure_participant adds them"
        ) from None
