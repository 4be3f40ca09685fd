"""The life of a message from outside: admit, route, parse, identify, then the one write path."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from roomkit.abc.attributes import mistyped, read_attribute
from roomkit.abc.channel import Channel
from roomkit.abc.choice import check_choice
from roomkit.abc.errors import (
    ForeignCodeError,
    InvalidInputError,
    ProcessTimeoutError,
    RoomAlreadyExistsError,
    RoomKitError,
    RoomNotFoundError,
    SelfCancelledError,
)
from roomkit.abc.records import checked
from roomkit.authoring.addresses import one_spelling
from roomkit.authoring.coroutines import may_wait
from roomkit.kernel.commit.writer import Writer
from roomkit.kernel.flow.cascade import Cascade, DeliveryResults, result_of
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, RAISED, organization_of, owner_of, type_of
from roomkit.kernel.flow.draft import Draft, Written, repeated
from roomkit.kernel.flow.merged import followed, successor
from roomkit.kernel.flow.notes import note
from roomkit.kernel.flow.permissions import may_speak, may_write, said_by
from roomkit.kernel.inbound.admission import admitted, first_fields, learnt_state, without_reserved
from roomkit.kernel.inbound.claims import Home
from roomkit.kernel.inbound.identity import IdentityDesk, SenderCheck, known_sender, seated
from roomkit.kernel.inbound.replies import Replies, in_thread_of, may_attach
from roomkit.kernel.inbound.routing import DefaultInboundRoomRouter
from roomkit.kernel.inbound.signals import EPHEMERAL
from roomkit.kernel.rooms.rooms import check_id
from roomkit.kernel.runtime.deadline import Cause, Deadline, cause_of
from roomkit.kernel.runtime.scope import inside, present, working_for
from roomkit.kernel.runtime.supervisor import Overdue, panicked
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.base import EMPTY, new_id
from roomkit.models.content import ConsentContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import AutoAttach, EventStatus, EventType, HookTrigger, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.participant import banned_senders
from roomkit.models.room import Room
from roomkit.models.session_event import SessionStartedEvent
from roomkit.models.telemetry import Attr, SpanKind
from roomkit.models.visibility import narrowest, sees

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from roomkit.abc.router import InboundRoomRouter
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.hooks import HookEngine
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.observers import Observers
    from roomkit.kernel.consent.consents import Consents
    from roomkit.kernel.delivery.limits import TokenBucketRateLimiter
    from roomkit.kernel.delivery.waits import Waits
    from roomkit.kernel.flow.speculation import HeldAnswers
    from roomkit.kernel.inbound.claims import Claims
    from roomkit.kernel.inbound.organizations import Organizations
    from roomkit.kernel.inbound.signals import InboundSignals
    from roomkit.kernel.rooms.rooms import Rooms
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.kernel.runtime.tracing import ConfiguredTelemetry
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.options import KitOptions

__all__ = ["Inbound", "Wait"]

type Wait = Literal["settled", "committed"]
WAITS = ("settled", "committed")

_MAX_ROUTES = 3
_MOVING_SECONDS = 1.0
"""After which a message may be sent again to a room that was moving."""
_NO_PLACE = frozenset(
    {"room_closed", "room_archived", "channel_detached", "channel_not_attached", "room_not_found"}
)
"""Why a room that a message was routed to takes it no more; the next one of that sender opens another."""


class _Refused(Exception):
    """The message goes no further, for a reason that has a code."""


class _Outrun(Exception):
    """The room that a message was routed to was closed, deleted or detached before the commit."""


class Inbound:
    """Takes messages in."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        tracing: ConfiguredTelemetry | None,
        supervisor: Supervisor,
        hooks: HookEngine,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        limiter: TokenBucketRateLimiter,
        rooms: Rooms,
        writer: Writer,
        observers: Observers,
        signals: InboundSignals,
        router: InboundRoomRouter,
        desk: IdentityDesk,
        claims: Claims,
        organizations: Organizations[Inbound],
        consents: Consents,
        waits: Waits,
        organization_id: str | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._tracing = tracing
        self._supervisor = supervisor
        self._hooks = hooks
        self._events = events
        self._ledger = ledger
        self._limiter = limiter
        self._rooms = rooms
        self._writer = writer
        self._observers = observers
        self._signals = signals
        self.router = router
        self._desk = desk
        self._organization_id = organization_id
        self._claims = claims
        self._organizations = organizations
        self._consents = consents
        self._waits = waits
        self._replies = Replies(store, organization_id=organization_id)
        self._routing = InMemoryLockManager()
        self._in_flight: dict[tuple[str, str], Cascade] = {}

    async def process(
        self,
        message: InboundMessage,
        room_id: str | None,
        wait: Wait,
        *,
        make_room: bool = True,
        refuses: bool = True,
        speculated: HeldAnswers | None = None,
    ) -> InboundResult:
        """Take one message through the whole of it. Raises InvalidInputError for another `wait`.

        Beyond the channel's limit it is refused, or with `refuses=False` marked as `limited`. `speculated`
        are the answers that were prepared to it.
        """
        if wait not in WAITS:
            check_choice(wait, WAITS, "wait")
        message = checked(message, InboundMessage, "given to process_inbound()")
        channel = self._rooms.channel(message.channel_id)
        kind = type(channel)
        if message.metadata:
            message = without_reserved(message)
        if kind.admit is not Channel.admit or kind.normalize is not Channel.normalize:
            message = admitted(message, channel)
        owner: object = message.organization_id
        if owner is None:
            try:
                owner = channel.organization
            except RAISED as error:
                owner = error
        if owner is not None and owner != self._organization_id:
            pipeline = self._of(message, channel)
            return await pipeline.process(
                message, room_id, wait, make_room=make_room, refuses=refuses, speculated=speculated
            )
        if message.event_type is EventType.CONSENT:
            await self._keep_consent(message, channel)
        limit = self._settings.inbound_rate_limit
        if limit is not None and not self._limiter.acquire(("inbound", message.channel_id), limit):
            if refuses:
                retry_after = self._limiter.delay(("inbound", message.channel_id), limit)
                return InboundResult(blocked=True, reason="rate_limited", retry_after=retry_after)
            message = message.replace(limited=True)
        tracing = self._tracing
        if tracing is None:
            return await self._in_time(message, channel, room_id, wait, make_room, speculated)
        with tracing.span(
            SpanKind.INBOUND_PIPELINE,
            SpanKind.INBOUND_PIPELINE.value,
            room_id=room_id,
            channel_id=message.channel_id,
        ) as span:
            result = await self._in_time(message, channel, room_id, wait, make_room, speculated)
            if room_id is None and result.event is not None:
                tracing.set_attribute(span, Attr.ROOM_ID, result.event.room_id)
            return result

    async def rehearse(self, message: InboundMessage, room_id: str) -> tuple[Draft, int, int] | None:
        """Return the draft that a message would be, with the room's version and last index.

        None where it would do more than be committed to that room. Nothing is stored. Raises as `process`.
        """
        message = checked(message, InboundMessage, "given to speculate()")
        channel = self._rooms.channel(message.channel_id)
        message = admitted(without_reserved(message), channel)
        owner = message.organization_id or organization_of(channel, message.channel_id)
        if owner not in (None, self._organization_id):
            return await self._of(message, channel).rehearse(message, room_id)
        if message.event_type is EventType.CONSENT or message.session is not None or message.in_reply_to:
            return None
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is None or message.channel_id not in record.bindings or not self._owns(record):
            return None
        version, index, context = record.version, record.room.latest_index, RecordContext(record)
        name = f"handle_inbound of channel {message.channel_id}"
        try:
            event = await self._supervisor.call(channel.handle_inbound(message, context), name)
        except RoomKitError:
            raise
        except Exception as error:  # whatever a channel raises is its failure
            raise _broken(name, error, "raise InvalidInputError for a message that makes no event") from error
        event = _parsed(event, message, None, room_id)
        if event.type in EPHEMERAL or event.parent_event_id is not None:
            return None
        address = event.source.participant_id
        if self._desk.applies(channel, message.channel_id):
            known = known_sender(context, message)
            if known is None:
                return None
            event, address = event.replace(source=event.source.replace(participant_id=known.id)), None
        return Draft(event=event, cascade=Cascade(), record=record, address=address), version, index

    def _of(self, message: InboundMessage, channel: Channel) -> Inbound:
        """Return the pipeline of a message's organization. Raises InvalidInputError, ForeignCodeError."""
        owner = message.organization_id or organization_of(channel, message.channel_id)
        assert owner is not None
        if self._organization_id is not None:
            raise InvalidInputError(
                f"a message of organization {owner!r} was given to the view of {self._organization_id!r}: "
                f"use for_organization({owner!r}), or process_inbound of the kit"
            )
        return self._organizations.of(check_id(owner, "organization"))

    async def _keep_consent(self, message: InboundMessage, channel: Channel) -> None:
        """Store a sender's consent or revocation, also if their message is refused later.

        Raises InvalidInputError for another person's address, and StoreError: nothing is stored then.
        """
        said = message.content
        kind = read_attribute(owner_of(message.channel_id), channel, "address_type", str)
        if not isinstance(said, ConsentContent):
            raise InvalidInputError(
                f"a message of type {EventType.CONSENT} has {said.type} content: give it ConsentContent"
            )
        own = one_spelling(kind, message.sender_id)
        if (said.address_type, one_spelling(kind, said.address)) != (kind, own):
            raise InvalidInputError(
                f"a message from {message.sender_id!r} on channel {message.channel_id!r} speaks for another "
                "address: a sender's consent is about their own; the host's is kit.set_consent()"
            )
        key = message.idempotency_key
        stored_key = None if key is None else inbound_key(message.channel_id, key)
        await self._consents.put(said, self._organization_id, message_key=stored_key)

    async def _in_time(
        self,
        message: InboundMessage,
        channel: Channel,
        room_id: str | None,
        wait: Wait,
        make_room: bool,
        speculated: HeldAnswers | None,
    ) -> InboundResult:
        """Process under the one deadline of everything before the commit."""
        seconds = self._settings.process_timeout
        with Deadline(seconds) as deadline:
            try:
                for attempt in count(1):
                    try:
                        return await self._process(
                            message, channel, room_id, wait, deadline, make_room, speculated
                        )
                    except _Outrun as outrun:
                        if attempt == _MAX_ROUTES:
                            raise _Refused(str(outrun)) from None
                raise AssertionError("unreachable")
            except _Refused as refused:
                return InboundResult(blocked=True, reason=str(refused))
            except (asyncio.CancelledError, TimeoutError) as error:
                if cause_of(error, deadline) is not Cause.LATE:
                    raise
                self._events.emit(
                    "process_timeout", room_id=room_id, channel_id=message.channel_id, timeout=seconds
                )
                return InboundResult(blocked=True, reason=ProcessTimeoutError.code)

    async def _process(
        self,
        message: InboundMessage,
        channel: Channel,
        room_id: str | None,
        wait: Wait,
        deadline: Deadline,
        make_room: bool,
        speculated: HeldAnswers | None,
    ) -> InboundResult:
        cascade = Cascade()
        stored_key = None
        if message.idempotency_key:
            stored_key = inbound_key(message.channel_id, message.idempotency_key)
        routed = room_id is None
        answered = await self._replies.answered(message, channel) if message.in_reply_to else None
        if room_id is None and (message.room_id is not None or message.session is not None):
            room_id = await self._named(message)
            if room_id is None and (first := await self._first(stored_key)) is not None:
                return await self._result(
                    repeated(first), cascade, message, channel, wait, _key_of(first, stored_key)
                )
        if room_id is None and (room_id := await self._known(message, channel)) is not None:
            routed = make_room = False
        if room_id is None and answered is not None:
            room_id = await self._replies.room_of(answered, message, channel)
        if room_id is None:
            # One at a time per sender, until the room knows them: two first messages make one room.
            async with self._routing.locked(f"{message.channel_id}\0{message.sender_id}"):
                home = await self._routed(message, channel, stored_key)
                if home is None and make_room and message.event_type not in EPHEMERAL:
                    first = await self._first(stored_key)
                    if first is not None:
                        return await self._result(
                            repeated(first), cascade, message, channel, wait, _key_of(first, stored_key)
                        )
                    home = await self._claims.claim(message, stored_key)
                elif home is None:
                    home = new_id(), None
                if answered is not None:
                    message = in_thread_of(message, answered, *home)
                try:
                    draft, fresh = await self._prepare(message, channel, home, stored_key, cascade, make_room)
                except RoomNotFoundError as deleted:
                    raise _Outrun("room_not_found") from deleted
        else:
            check_id(room_id, "room")
            home = room_id, await self._store.load(room_id, recent=RECENT_EVENTS, key=stored_key)
            if home[1] is not None and home[1].status is RoomStatus.CLOSED:
                home = await self._merged(home, stored_key)
            if self._organization_id is not None and not self._owns(home[1]):
                raise _Refused("room_not_found")
            if answered is not None:
                message = in_thread_of(message, answered, *home)
            draft, fresh = await self._prepare(message, channel, home, stored_key, cascade, make_room)
        if draft.event.type in EPHEMERAL:
            await self._signals.take(draft.event)
            return InboundResult(draft.event)
        if speculated is not None:
            draft.speculated = speculated
            draft.event = draft.event.replace(id=speculated.event.id)
        key = (draft.event.room_id, stored_key) if stored_key is not None else None
        if key is not None and key not in self._in_flight:
            self._in_flight[key] = cascade
        try:
            written = await self._writer.write(draft, deadline)
            if (
                written.blocked
                and written.reason in _NO_PLACE
                and written.event is None
                and (routed or await successor(self._store, draft.event.room_id) is not None)
            ):
                raise _Outrun(written.reason)
            deadline.close()
            if fresh:
                self._session_started(message, channel, draft)
            if written.draft is not None and written.draft.participant is not None and not written.blocked:
                self._joined(written.draft)
            return await self._result(written, cascade, message, channel, wait, key)
        except RoomNotFoundError as deleted:
            if routed:
                raise _Outrun("room_not_found") from deleted
            raise
        finally:
            if key is not None and self._in_flight.get(key) is cascade:
                if cascade.pending:  # the caller goes, what the message set going does not
                    cascade.then = partial(self._in_flight.pop, key, None)
                else:
                    del self._in_flight[key]

    # -- route --------------------------------------------------------------------------------

    async def locate(self, message: InboundMessage) -> str | None:
        """Return the room that routing would choose for a message; nothing is claimed or made.

        None when the message would open a room. Raises as `process` does.
        """
        message = checked(message, InboundMessage, "given to locate()")
        channel = self._rooms.channel(message.channel_id)
        message = admitted(message, channel)
        if (message.organization_id or organization_of(channel, message.channel_id)) not in (
            None,
            self._organization_id,
        ):
            return await self._of(message, channel).locate(message)
        room_id = await self._named(message) or await self._known(message, channel)
        if room_id is None and message.in_reply_to:
            answered = await self._replies.answered(message, channel)
            if answered is not None:
                room_id = await self._replies.room_of(answered, message, channel)
        if room_id is not None:
            return room_id
        home = await self._routed(message, channel, None) or await self._claims.known(message)
        return None if home is None else home[0]

    async def _named(self, message: InboundMessage) -> str | None:
        """Return the room that a message or its session names, if it takes messages by that channel."""
        for room_id in (message.room_id, getattr(message.session, "room_id", None)):
            if not isinstance(room_id, str):
                continue
            record = await self._store.load(room_id)
            if record is not None and record.status is RoomStatus.CLOSED:
                room_id, record = await self._merged((room_id, record), None)
            if record is not None and self._takes(record, message.channel_id):
                return room_id
        return None

    async def _merged(self, home: Home, key: str | None) -> Home:
        """Return a closed room, or the one that it was merged into."""
        record = home[1]
        if record is None or record.room.merged_into is None:
            return home
        room = await followed(self._store, record.room)
        return room.id, await self._store.load(room.id, recent=RECENT_EVENTS, key=key)

    def _owns(self, record: RoomRecord | None) -> bool:
        """Whether a room is this organization's, or not there yet."""
        return record is None or record.room.organization_id == self._organization_id

    def _takes(self, record: RoomRecord, channel_id: str) -> bool:
        """Whether a room that is named takes messages that come by a channel."""
        room = record.room
        if not record.status.is_open or channel_id in room.detached_channels:
            return False
        if self._organization_id is not None and not self._owns(record):
            return False
        return channel_id in record.bindings or room.auto_attach is not AutoAttach.NONE

    async def _known(self, message: InboundMessage, channel: Channel) -> str | None:
        """Return the room that the channel knows the message to be for."""
        name = f"route of channel {message.channel_id}"
        waits = may_wait(channel.route)
        try:
            routing: Awaitable[str | None] = channel.route(message)
            room_id = await (self._supervisor.call(routing, name) if waits else routing)
        except (RoomKitError, KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # whatever a channel raises is its failure
            if waits and not isinstance(error, Exception):
                raise
            raise _broken(name, error, "return None for a room that is not known") from error
        if room_id is not None and type(room_id) is not str:
            raise mistyped(owner_of(message.channel_id), "what route() returned", room_id, OPTIONAL_TEXT)
        if room_id is None or self._organization_id is None:
            return room_id
        room = await self._store.get_room(room_id, organization_id=self._organization_id)
        return None if room is None else room_id

    async def _route(self, message: InboundMessage, channel: Channel) -> str | None:
        router = self.router
        is_foreign = type(router) is not DefaultInboundRoomRouter
        try:
            routing = router.route(
                message.channel_id, type_of(channel, message.channel_id), message.sender_id, message=message
            )
            if is_foreign:
                routing = self._supervisor.call(routing, f"router {type(router).__name__}")
            if self._tracing is not None:
                routing = self._traced_route(self._tracing, message, routing)
            found = await routing
        except RoomKitError:
            raise
        except Exception as error:  # a foreign router may raise anything
            if not is_foreign:
                raise
            advice = "return None for a sender who has no room"
            raise _broken(f"router {type(router).__name__}", error, advice) from error
        if found is not None and type(found) is not str:
            raise mistyped(f"router {type(router).__name__}", "what route() returned", found, OPTIONAL_TEXT)
        if found is None and self._events.wants("routing_ambiguous"):
            others = await self._store.find_room_ids_by_channel(message.channel_id, limit=1)
            if others:
                self._events.emit(
                    "routing_ambiguous", channel_id=message.channel_id, sender_id=message.sender_id
                )
        return found

    async def _traced_route(
        self, tracing: ConfiguredTelemetry, message: InboundMessage, routing: Awaitable[str | None]
    ) -> str | None:
        with tracing.span(SpanKind.ROUTE, SpanKind.ROUTE.value, channel_id=message.channel_id) as span:
            found = await routing
            if found is not None:
                tracing.set_attribute(span, Attr.ROOM_ID, found)
            return found

    async def _routed(self, message: InboundMessage, channel: Channel, key: str | None) -> Home | None:
        """Return the room that the kit's router finds; None for a new one."""
        room_id = await self._route(message, channel)
        if room_id is None:
            return None
        record = await self._store.load(room_id, recent=RECENT_EVENTS, key=key)
        if record is not None and record.status is RoomStatus.CLOSED:
            room_id, record = await self._merged((room_id, record), key)
        if record is None:
            return room_id, None
        if not record.status.is_open or message.channel_id in record.room.detached_channels:
            return None
        if message.channel_id in record.bindings:
            return room_id, record
        if record.room.auto_attach is AutoAttach.ALL:
            return room_id, record
        may_come = may_attach(record, channel) and await self._replies.knows(record, message, channel)
        return (room_id, record) if may_come else None

    async def _first(self, key: str | None) -> RoomEvent | None:
        """Return the event of a redelivered message, though its room takes no messages now."""
        if key is None:
            return None
        return await self._store.find_keyed_event(key, organization_id=self._organization_id)

    # -- parse and identify -------------------------------------------------------------------

    async def _prepare(
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
            raise _Refused(_why_absent(record, message.channel_id))
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
            raise _broken(name, error, advice) from error
        event = _parsed(event, message, key, home)
        if event.type in EPHEMERAL:
            return Draft(event=_checked_signal(event, record), cascade=cascade), False
        if event.parent_event_id is not None:
            await self._check_parent(event, record, key)
        verdict = SenderCheck(event)
        if self._desk.applies(channel, message.channel_id):
            _check_address(message, channel, record, key)
            verdict = await self._desk.identify(message, event, context)
            if verdict.reason is not None and verdict.inject is None:
                raise _Refused(verdict.reason)
        fresh, settled_in = await self._settle_in(message, channel, home, record)
        if verdict.reason is not None:
            await self._challenge(verdict, message, cascade)
            raise _Refused(verdict.reason)
        bound = None if record is None else record.bindings.get(message.channel_id)
        draft = Draft(
            event=verdict.event,
            cascade=cascade,
            answerable=not message.limited,
            plan=None if verdict.seat is None else partial(seated, verdict.seat),
            record=None if settled_in else record,
            binding_state=EMPTY
            if type(channel).binding_state is Channel.binding_state  # as nearly always
            else learnt_state(message, channel),
            readdressed=None  # as nearly always
            if bound is None or message.sender_id not in bound.also
            else first_fields(message, channel, home),
            channel_key=key,
            address=event.source.participant_id if verdict.event.source is event.source else None,
        )
        return draft, fresh

    async def _check_parent(
        self, event: RoomEvent, record: RoomRecord | None, idempotency_key: str | None
    ) -> None:
        """Refuse a reply or reaction to what its channel does not see in this room; not a redelivery."""
        if record is None:
            raise _Refused("parent_event_not_found")
        if idempotency_key is not None and record.keyed(idempotency_key) is not None:
            return
        parent = await self._store.get_event(event.parent_event_id or "")
        reader = record.bindings.get(event.source.channel_id)
        # It may have been deleted while the reply was on its way.
        seen = parent is not None and (reader is None or sees(reader, parent.replace(amendment=None)))
        if parent is None or parent.room_id != record.room_id or not seen:
            raise _Refused("parent_event_not_found")

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
            await self._rooms.attach(room_id, message.channel_id, unasked=True, **fields)
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

    # -- afterwards ---------------------------------------------------------------------------

    def _session_started(self, message: InboundMessage, channel: Channel, draft: Draft) -> None:
        if read_attribute(owner_of(message.channel_id), channel, "opens_sessions", bool):
            return
        channel_type = type_of(channel, message.channel_id)
        event = draft.event
        started = SessionStartedEvent(
            room_id=event.room_id,
            channel_id=message.channel_id,
            channel_type=channel_type,
            participant_id=event.source.participant_id,
        )
        self._events.emit(
            "session_started",
            room_id=event.room_id,
            channel_id=message.channel_id,
            channel_type=channel_type,
        )
        if self._hooks.has_hooks(HookTrigger.ON_SESSION_STARTED, event.room_id):
            draft.cascade.hold()
            self._observers.start(
                partial(self._observe_later, HookTrigger.ON_SESSION_STARTED, started, draft),
                "observers of a session's start",
            )

    def _joined(self, draft: Draft) -> None:
        """Notify the observers that a sender was identified."""
        person = draft.participant
        if person is None or person.identity_id is None or person.resolved_by != "resolver":
            return
        if self._hooks.has_hooks(HookTrigger.ON_PARTICIPANT_IDENTIFIED, draft.event.room_id):
            payload = note(
                draft.event.room_id,
                EventType.PARTICIPANT_IDENTIFIED,
                "participant_identified",
                f"{person.id} was identified",
                participant_id=person.id,
                identity_id=person.identity_id,
                resolved_by=person.resolved_by,
            )
            draft.cascade.hold()
            self._observers.start(
                partial(self._observe_later, HookTrigger.ON_PARTICIPANT_IDENTIFIED, payload, draft),
                "observers of who a sender is",
            )

    async def _observe_later(self, trigger: HookTrigger, payload: object, draft: Draft) -> None:
        try:
            record = await self._store.load(draft.event.room_id, recent=RECENT_EVENTS)
            if record is not None:
                await self._observers.observe(trigger, payload, record, draft.cascade, draft.event.source)
        finally:
            draft.cascade.release()

    async def _result(
        self,
        written: Written,
        cascade: Cascade,
        message: InboundMessage,
        channel: Channel,
        wait: Wait,
        key: tuple[str, str] | None,
    ) -> InboundResult:
        event = written.event
        if written.duplicate and key is not None and event is not None and not inside():
            # The first one may still be under way, also in another room: both get one result. Not from inside
            # a room's work, which the first one may itself be waiting for: that gets the outcomes so far.
            cascade = self._in_flight.get((event.room_id, key[1]), cascade)
        if event is not None and message.session is not None and not written.blocked:
            binding = await self._store.get_binding(event.room_id, message.channel_id)
            if binding is not None:
                await self._connect(message.session, channel, binding, cascade)
        if wait == "settled" and cascade.pending and not working_for(event.room_id if event else ""):
            await (cascade.settled() if present() is None else self._waits.settled(cascade))
        if written.run is not None:
            results: Any = DeliveryResults(written.run.finished)
        elif written.duplicate and event is not None and event.status is not EventStatus.BLOCKED:
            results = await self._results_of(event)
        else:
            results = {}
        retry_after = _MOVING_SECONDS if written.reason == "room_moving" else None
        return InboundResult(
            event, written.blocked, written.reason, cascade.error, results, written.duplicate, retry_after
        )

    async def _connect(
        self, session: object, channel: Channel, binding: ChannelBinding, cascade: Cascade
    ) -> None:
        """Hand a live session to its channel. The message is committed, whatever comes of it."""
        name = f"connect_session of channel {binding.channel_id}"
        seconds = self._settings.delivery_timeout
        try:
            work = channel.connect_session(session, binding.room_id, binding)
            await self._supervisor.call(work, name, seconds)
        except Overdue as late:
            self._supervisor.report(name, late)
            cascade.failed(late)

    async def _results_of(self, event: RoomEvent) -> dict[str, Any]:
        if self._ledger:
            await self._ledger.flush()
        rows = await self._store.list_deliveries(event.room_id, event_id=event.id, limit=1000)
        return {row.channel_id: result_of(row) for row in rows if row.finished_at is not None}


def _broken(name: str, error: BaseException, advice: str) -> RoomKitError:
    """Return the failure of foreign code; a CancelledError is its own, as it never waits."""
    if isinstance(error, Exception):
        # Logs withhold what other code's exceptions say: it may quote the message. The cause has it.
        return ForeignCodeError(f"{name} raised {type(error).__name__}: see its cause; {advice}")
    if not isinstance(error, asyncio.CancelledError):
        return panicked(name, error)
    return SelfCancelledError(f"{name} raised CancelledError although nothing cancelled it: {advice}")


def _check_address(
    message: InboundMessage, channel: Channel, record: RoomRecord | None, key: str | None
) -> None:
    """Refuse a sender who was banned by their address, whatever their identity; not a redelivery."""
    if record is None or (key is not None and record.keyed(key) is not None):
        return
    channel_id = message.channel_id
    kind = read_attribute(owner_of(channel_id), channel, "address_type", str)
    if message.sender_id in banned_senders(record.participants, channel_id, kind):
        raise _Refused("participant_banned")


def _why_absent(record: RoomRecord | None, channel_id: str) -> str:
    """Return why a message that makes no room and attaches no channel has no place to go."""
    if record is None:
        return "room_not_found"
    return "channel_detached" if channel_id in record.room.detached_channels else "channel_not_attached"


def _checked_signal(event: RoomEvent, record: RoomRecord | None) -> RoomEvent:
    """Return the signal as it may be shown. Who may not write to the room does not signal there either.

    A signal opens no room and attaches nothing.
    """
    if record is None:
        raise _Refused("room_not_found")
    if not record.status.is_open:
        raise _Refused(f"room_{record.status}")
    if event.source.participant_id is not None:
        event = said_by(record, event, event.source.participant_id, is_address=True)
    binding = record.bindings.get(event.source.channel_id)
    reason = may_speak(record, event) or may_write(binding)
    if binding is None or reason is not None:
        raise _Refused(reason or "channel_not_attached")
    return event.replace(visibility=narrowest(event.visibility, binding.visibility))


def _key_of(event: RoomEvent, key: str | None) -> tuple[str, str] | None:
    return None if key is None else (event.room_id, key)


def inbound_key(channel_id: str, key: str) -> str:
    """Return the idempotency key under which a channel's message is stored.

    Equal ids that two channels' vendors give are two messages, also in one room.
    """
    return f"in:{channel_id}:{key}"


def _parsed(event: RoomEvent, message: InboundMessage, key: str | None, room_id: str) -> RoomEvent:
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
