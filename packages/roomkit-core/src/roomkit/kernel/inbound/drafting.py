"""From a message to the draft of its event: parsed by the channel, its sender identified, its room made."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from roomkit.abc.attributes import read_attribute
from roomkit.abc.channel import Channel
from roomkit.abc.errors import InvalidInputError, RoomAlreadyExistsError, RoomKitError
from roomkit.abc.records import checked
from roomkit.authoring.coroutines import may_wait
from roomkit.kernel.commit.writer import Writer
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RecordContext
from roomkit.kernel.flow.contract import owner_of
from roomkit.kernel.flow.draft import Draft
from roomkit.kernel.flow.permissions import may_speak, may_write, said_by
from roomkit.kernel.inbound.admission import first_fields, learnt_state
from roomkit.kernel.inbound.claims import Home
from roomkit.kernel.inbound.identity import IdentityDesk, SenderCheck, seated
from roomkit.kernel.inbound.signals import EPHEMERAL
from roomkit.kernel.runtime.supervisor import broken
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import EventStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import banned_senders
from roomkit.models.room import Room
from roomkit.models.visibility import narrowest, sees

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.rooms.bindings import Bindings
    from roomkit.kernel.rooms.rooms import Rooms
    from roomkit.kernel.runtime.supervisor import Supervisor


__all__ = ["Drafting", "Refused", "checked_signal", "parsed"]


class Refused(Exception):
    """The message goes no further, for a reason that has a code."""


class Drafting:
    """Makes drafts of messages, in the rooms that they are for."""

    def __init__(
        self,
        *,
        store: ConversationStore,
        supervisor: Supervisor,
        rooms: Rooms,
        bindings: Bindings,
        writer: Writer,
        desk: IdentityDesk,
        organization_id: str | None,
    ) -> None:
        self._store = store
        self._supervisor = supervisor
        self._rooms = rooms
        self._bindings = bindings
        self._writer = writer
        self._desk = desk
        self._organization_id = organization_id

    async def prepare(
        self,
        message: InboundMessage,
        channel: Channel,
        place: Home,
        key: str | None,
        cascade: Cascade,
        make_room: bool,
    ) -> tuple[Draft, bool]:
        """Return the draft of the message, and whether its room was made for it."""
        home, record = place
        if not make_room and (record is None or message.channel_id not in record.bindings):
            raise Refused(_why_absent(record, message.channel_id))
        if record is not None:
            context: RoomContext = RecordContext(record)
        else:
            context = RoomContext(Room(id=home, organization_id=self._organization_id))
        name = f"handle_inbound of channel {message.channel_id}"
        parse = channel.handle_inbound
        waits = may_wait(parse)
        try:
            made: Awaitable[RoomEvent] = parse(message, context)
            event = await (self._supervisor.call(made, name) if waits else made)
        except (RoomKitError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever a channel raises is its failure
            if waits and not isinstance(error, Exception):
                raise
            advice = "raise InvalidInputError for a message that makes no event"
            raise broken(name, error, advice) from error
        event = parsed(event, message, key, home)
        if event.type in EPHEMERAL:
            return Draft(event=checked_signal(event, record), cascade=cascade), False
        if event.parent_event_id is not None:
            await self._check_parent(event, record, key)
        verdict = SenderCheck(event)
        if self._desk.applies(channel, message.channel_id):
            _check_address(message, channel, record, key)
            verdict = await self._desk.identify(message, event, context)
            if verdict.reason is not None and verdict.inject is None:
                raise Refused(verdict.reason)
        fresh, settled_in = await self._settle_in(message, channel, home, record)
        if verdict.reason is not None:
            await self._challenge(verdict, message, cascade)
            raise Refused(verdict.reason)
        bound = None if record is None else record.bindings.get(message.channel_id)
        draft = Draft(verdict.event, cascade)
        draft.channel_key = key
        if not settled_in:
            draft.record = record
        if message.limited:
            draft.answerable = False
        if verdict.seat is not None:
            draft.plan = partial(seated, verdict.seat)
        if type(channel).binding_state is not Channel.binding_state:
            draft.binding_state = learnt_state(message, channel)
        if bound is not None and (message.conversation or message.sender_id) in bound.also:
            draft.readdressed = first_fields(message, channel, home)
        if verdict.event.source is event.source:
            draft.address = event.source.participant_id
        return draft, fresh

    async def _check_parent(
        self, event: RoomEvent, record: RoomRecord | None, idempotency_key: str | None
    ) -> None:
        """Refuse a reply or reaction to what its channel does not see in this room; not a redelivery."""
        if record is None:
            raise Refused("parent_event_not_found")
        if idempotency_key is not None and record.keyed(idempotency_key) is not None:
            return
        parent = await self._store.get_event(event.parent_event_id or "")
        reader = record.bindings.get(event.source.channel_id)
        # It may have been deleted while the reply was on its way.
        seen = parent is not None and (reader is None or sees(reader, parent.replace(amendment=None)))
        if parent is None or parent.room_id != record.room_id or not seen:
            raise Refused("parent_event_not_found")

    async def _settle_in(
        self, message: InboundMessage, channel: Channel, room_id: str, record: RoomRecord | None
    ) -> tuple[bool, bool]:
        """Make the room and attach the channel where that is still to be done.

        Return whether the room was made, and whether anything was done.
        """
        fresh = changed = record is None
        if record is None:
            try:
                await self._rooms.create(room_id)
            except RoomAlreadyExistsError:
                fresh = False
                record = await self._store.load(room_id)
        if record is None or message.channel_id not in record.bindings:
            fields = first_fields(message, channel, room_id)
            await self._bindings.attach(room_id, message.channel_id, unasked=True, **fields)
            changed = True
        return fresh, changed

    async def _challenge(self, verdict: SenderCheck, message: InboundMessage, cascade: Cascade) -> None:
        """Ask the sender who they are; their message is held back."""
        inject, seat = verdict.inject, verdict.seat
        assert inject is not None
        assert seat is not None
        if inject.event.room_id != verdict.event.room_id:
            raise InvalidInputError(
                "an identity challenge goes to the room it was asked for: use context.room.id"
            )
        wanted = inject.target_channel_ids
        await self._writer.write(
            Draft(
                event=inject.event,
                cascade=cascade,
                gated=False,
                lifecycle=True,
                plan=lambda draft, record: replace(draft, participant=seat(record)[1]),
                targets=[message.channel_id] if wanted is None else list(wanted),
            )
        )


def _check_address(
    message: InboundMessage, channel: Channel, record: RoomRecord | None, key: str | None
) -> None:
    """Refuse a sender who was banned by their address, whatever their identity; not a redelivery."""
    if record is None or (key is not None and record.keyed(key) is not None):
        return
    channel_id = message.channel_id
    kind = read_attribute(owner_of(channel_id), channel, "address_type", str)
    if message.sender_id in banned_senders(record.participants, channel_id, kind):
        raise Refused("participant_banned")


def _why_absent(record: RoomRecord | None, channel_id: str) -> str:
    """Return why a message that makes no room and attaches no channel has no place to go."""
    if record is None:
        return "room_not_found"
    return "channel_detached" if channel_id in record.room.detached_channels else "channel_not_attached"


def checked_signal(event: RoomEvent, record: RoomRecord | None) -> RoomEvent:
    """Return the signal as it may be shown. Who may not write to the room does not signal there either.

    A signal opens no room and attaches nothing.
    """
    if record is None:
        raise Refused("room_not_found")
    if not record.status.is_open:
        raise Refused(f"room_{record.status}")
    if event.source.participant_id is not None:
        event = said_by(record, event, event.source.participant_id, is_address=True)
    binding = record.bindings.get(event.source.channel_id)
    reason = may_speak(record, event) or may_write(binding)
    if binding is None or reason is not None:
        raise Refused(reason or "channel_not_attached")
    return event.replace(visibility=narrowest(event.visibility, binding.visibility))


def parsed(event: RoomEvent, message: InboundMessage, key: str | None, room_id: str) -> RoomEvent:
    """Return the channel's event with what the message says of it, in the room it is for."""
    if not isinstance(event, RoomEvent):
        raise InvalidInputError(
            f"channel {message.channel_id!r} made {type(event).__name__} of a message, not a RoomEvent"
        )
    if event.take_source() is not message:
        event = checked(event, RoomEvent, f"that channel {message.channel_id!r} made of a message")
    changes: dict[str, Any] = {}
    if event.room_id != room_id:
        changes["room_id"] = room_id
    if event.source.channel_id != message.channel_id:
        changes["source"] = event.source.replace(channel_id=message.channel_id)
    if event.index != -1 or event.chain_depth or event.status is not EventStatus.PENDING:
        changes |= {"index": -1, "chain_depth": 0, "status": EventStatus.PENDING}
    if key is not None and event.idempotency_key in (None, message.idempotency_key):
        changes["idempotency_key"] = key
    if message.parent_event_id is not None and event.parent_event_id is None:
        changes["parent_event_id"] = message.parent_event_id
    if message.visibility is not None:
        changes["visibility"] = message.visibility
    if message.response_visibility is not None and event.response_visibility is None:
        changes["response_visibility"] = message.response_visibility
    if message.addressed_to is not None and event.addressed_to is None:
        changes["addressed_to"] = message.addressed_to
    if message.limited:
        changes["limited"] = True
    return event.replace(**changes) if changes else event
