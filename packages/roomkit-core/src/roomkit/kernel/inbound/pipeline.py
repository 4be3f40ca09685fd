"""The life of a message from outside: admit, route, parse, identify, then the one write path."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Literal

from roomkit.abc.attributes import read_attribute
from roomkit.abc.channel import Channel
from roomkit.abc.choice import check_choice
from roomkit.abc.errors import (
    InvalidInputError,
    ProcessTimeoutError,
    RoomKitError,
    RoomNotFoundError,
    StaleRoomError,
)
from roomkit.abc.records import checked
from roomkit.abc.store import ConversationStore
from roomkit.authoring.addresses import one_spelling
from roomkit.kernel.commit.writer import Writer
from roomkit.kernel.flow.cascade import Cascade, DeliveryResults, result_of
from roomkit.kernel.flow.context import RECENT_EVENTS, RecordContext
from roomkit.kernel.flow.contract import RAISED, organization_of, owner_of
from roomkit.kernel.flow.draft import Draft, Written, repeated
from roomkit.kernel.flow.merged import successor
from roomkit.kernel.inbound.admission import admitted, without_reserved
from roomkit.kernel.inbound.arrivals import Arrivals
from roomkit.kernel.inbound.drafting import Drafting, Refused, checked_signal, parsed
from roomkit.kernel.inbound.finding import RoomFinder
from roomkit.kernel.inbound.identity import IdentityDesk, known_sender
from roomkit.kernel.inbound.recall import Recall
from roomkit.kernel.inbound.replies import Replies, about
from roomkit.kernel.inbound.signals import EPHEMERAL
from roomkit.kernel.rooms.checks import check_id
from roomkit.kernel.runtime.deadline import Cause, Deadline, Expiry, cause_of
from roomkit.kernel.runtime.scope import inside, present, working_for
from roomkit.kernel.runtime.supervisor import Overdue, broken
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.base import new_id
from roomkit.models.content import ConsentContent
from roomkit.models.delivery import InboundMessage, InboundResult
from roomkit.models.enums import EventStatus, EventType, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.telemetry import Attr, SpanKind

if TYPE_CHECKING:
    from roomkit.authoring.limits import TokenBucketRateLimiter
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.consent.consents import Consents
    from roomkit.kernel.delivery.waits import Waits
    from roomkit.kernel.flow.speculation import HeldAnswers
    from roomkit.kernel.inbound.claims import Claims, Home
    from roomkit.kernel.inbound.organizations import Organizations
    from roomkit.kernel.inbound.signals import InboundSignals
    from roomkit.kernel.runtime.channels import Channels
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


class _Outrun(Exception):
    """The room that a message was routed to was closed, deleted or detached before the commit."""


class _Outdated(Exception):
    """The room in memory, on which a message was decided, may not be as it is now."""


class Inbound:
    """Takes messages in."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        tracing: ConfiguredTelemetry | None,
        supervisor: Supervisor,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        limiter: TokenBucketRateLimiter,
        channels: Channels,
        writer: Writer,
        signals: InboundSignals,
        finder: RoomFinder,
        replies: Replies,
        drafting: Drafting,
        arrivals: Arrivals,
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
        self._events = events
        self._ledger = ledger
        self._limiter = limiter
        self._channels = channels
        self._writer = writer
        self._signals = signals
        self.finder = finder
        self._replies = replies
        self._drafting = drafting
        self._arrivals = arrivals
        self._desk = desk
        self._organization_id = organization_id
        self._claims = claims
        self._organizations = organizations
        self._consents = consents
        self._waits = waits
        self._recalls = type(store).recall is not ConversationStore.recall
        """Whether the store has rooms in memory that cost more to load."""
        self._routing = InMemoryLockManager()
        self._expiry = Expiry()
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
        channel = self._channels.known(message.channel_id)
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
        channel = self._channels.known(message.channel_id)
        message = admitted(without_reserved(message), channel)
        owner = message.organization_id or organization_of(channel, message.channel_id)
        if owner not in (None, self._organization_id):
            return await self._of(message, channel).rehearse(message, room_id)
        if message.event_type is EventType.CONSENT or message.session is not None or message.in_reply_to:
            return None
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        if record is None or message.channel_id not in record.bindings or not self.finder.owns(record):
            return None
        version, index, context = record.version, record.room.latest_index, RecordContext(record)
        name = f"handle_inbound of channel {message.channel_id}"
        try:
            event = await self._supervisor.call(channel.handle_inbound(message, context), name)
        except RoomKitError:
            raise
        except Exception as error:  # whatever a channel raises is its failure
            raise broken(name, error, "raise InvalidInputError for a message that makes no event") from error
        event = parsed(event, message, None, room_id)
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
        with Deadline(seconds, self._expiry) as deadline:
            try:
                recalls = self._recalls and self._may_recall(message, channel)
                for attempt in count(1):
                    try:
                        recall = Recall(self._store) if recalls else None
                        return await self._process(
                            message, channel, room_id, wait, deadline, make_room, speculated, recall
                        )
                    except _Outdated:
                        recalls = False
                    except _Outrun as outrun:
                        if attempt == _MAX_ROUTES:
                            raise Refused(str(outrun)) from None
                raise AssertionError("unreachable")
            except Refused as refused:
                self._report_refused(message, str(refused))
                return InboundResult(blocked=True, reason=str(refused))
            except (asyncio.CancelledError, TimeoutError) as error:
                if cause_of(error, deadline) is not Cause.LATE:
                    raise
                self._events.emit(
                    "process_timeout", room_id=room_id, channel_id=message.channel_id, timeout=seconds
                )
                return InboundResult(blocked=True, reason=ProcessTimeoutError.code)

    def _may_recall(self, message: InboundMessage, channel: Channel) -> bool:
        """Whether a message is only to be committed: nothing else of it asks how its room is now."""
        return (
            message.parent_event_id is None
            and not message.in_reply_to
            and message.event_type not in EPHEMERAL
            and not self._desk.applies(channel, message.channel_id)
        )

    async def _process(
        self,
        message: InboundMessage,
        channel: Channel,
        room_id: str | None,
        wait: Wait,
        deadline: Deadline,
        make_room: bool,
        speculated: HeldAnswers | None,
        recall: Recall | None,
    ) -> InboundResult:
        cascade = Cascade(is_awaited=wait == "settled")
        own_key = message.idempotency_key
        stored_key = inbound_key(message.channel_id, own_key) if own_key else None
        routed = room_id is None
        prepare = self._drafting.prepare if recall is None else partial(self._draft, recall)
        answered = await self._replies.answered(message, channel) if message.in_reply_to else None
        if room_id is None and (message.room_id is not None or message.session is not None):
            room_id = await self.finder.named(message)
            if room_id is None and (first := await self.finder.first(stored_key)) is not None:
                return await self._repeated(first, cascade, message, channel, wait, stored_key)
        if room_id is None and (room_id := await self.finder.known(message, channel)) is not None:
            routed = make_room = False
        if room_id is None and answered is not None:
            room_id = await self._replies.room_of(answered, message, channel)
        if room_id is None:
            # One at a time per address, until the room knows it: two first messages make one room.
            async with self._routing.locked(_address_of(message)):
                home = await self._home_of(message, channel, stored_key, make_room, recall)
                if isinstance(home, RoomEvent):
                    return await self._repeated(home, cascade, message, channel, wait, stored_key)
                if message.in_reply_to:
                    message = about(message, answered, *home)
                try:
                    draft, fresh = await prepare(message, channel, home, stored_key, cascade, make_room)
                except RoomNotFoundError as deleted:
                    raise _Outrun("room_not_found") from deleted
        else:
            check_id(room_id, "room")
            recalled = None if recall is None else recall.home(room_id, message.channel_id)
            home = recalled or (
                room_id,
                await self._store.load(room_id, recent=RECENT_EVENTS, key=stored_key),
            )
            if home[1] is not None and home[1].status is RoomStatus.CLOSED:
                home = await self.finder.merged(home, stored_key)
            if self._organization_id is not None and not self.finder.owns(home[1]):
                raise Refused("room_not_found")
            if message.in_reply_to:
                message = about(message, answered, *home)
            draft, fresh = await prepare(message, channel, home, stored_key, cascade, make_room)
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
            written = await (self._writer.write if recall is None else self._write)(draft, deadline)
            if written.blocked and (reason := await self._outrun_by(written, draft, routed)) is not None:
                raise _Outrun(reason)
            deadline.close()
            if fresh:
                self._arrivals.session_started(message, channel, draft)
            if written.draft is not None and written.draft.participant is not None and not written.blocked:
                self._arrivals.joined(written.draft)
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

    async def _draft(
        self,
        recall: Recall,
        message: InboundMessage,
        channel: Channel,
        home: Home,
        key: str | None,
        cascade: Cascade,
        make_room: bool,
    ) -> tuple[Draft, bool]:
        """Return what `Drafting.prepare` does. Of a room from memory only a draft to be committed is made."""
        prepare = self._drafting.prepare
        if recall.version is None:
            return await prepare(message, channel, home, key, cascade, make_room)
        try:
            made = await prepare(message, channel, home, key, cascade, make_room)
        except (Refused, RoomKitError) as refused:
            raise _Outdated from refused
        made[0].recalled = recall.version
        if made[0].event.type in EPHEMERAL:
            raise _Outdated
        return made

    async def _write(self, draft: Draft, deadline: Deadline) -> Written:
        """Write a draft that may be of a room from memory."""
        try:
            return await self._writer.write(draft, deadline)
        except (StaleRoomError, RoomNotFoundError) as error:
            if draft.recalled is None:
                raise
            raise _Outdated from error

    async def _outrun_by(self, written: Written, draft: Draft, routed: bool) -> str | None:
        """Return why the room takes the message no more, where another room may; else None."""
        if written.event is not None or written.reason not in _NO_PLACE:
            return None
        moved = routed or await successor(self._store, draft.event.room_id) is not None
        return written.reason if moved else None

    async def _home_of(
        self,
        message: InboundMessage,
        channel: Channel,
        key: str | None,
        make_room: bool,
        recall: Recall | None,
    ) -> Home | RoomEvent:
        """Return where a message goes that no room was named for; its first event if it is redelivered."""
        home = await self.finder.routed(message, channel, key, recall)
        if home is not None:
            return home
        if not make_room or message.event_type in EPHEMERAL:
            return new_id(), None
        return await self.finder.first(key) or await self._claims.claim(message, key)

    async def locate(self, message: InboundMessage) -> str | None:
        """Return the room that routing would choose for a message; nothing is claimed or made.

        None when the message would open a room. Raises as `process` does.
        """
        message = checked(message, InboundMessage, "given to locate()")
        channel = self._channels.known(message.channel_id)
        message = admitted(message, channel)
        if (message.organization_id or organization_of(channel, message.channel_id)) not in (
            None,
            self._organization_id,
        ):
            return await self._of(message, channel).locate(message)
        room_id = await self.finder.named(message) or await self.finder.known(message, channel)
        if room_id is None and message.in_reply_to:
            answered = await self._replies.answered(message, channel)
            if answered is not None:
                room_id = await self._replies.room_of(answered, message, channel)
        if room_id is not None:
            return room_id
        home = await self.finder.routed(message, channel, None, None) or await self._claims.known(message)
        return None if home is None else home[0]

    async def signalled(self, message: InboundMessage) -> RoomEvent | None:
        """Return the event of a signal, in the room where such a message would go; None if not shown there.

        Raises as `locate` does.
        """
        room_id = await self.locate(message)
        record = None if room_id is None else await self._store.load(room_id)
        if record is None:
            return None
        channel = self._channels.known(message.channel_id)
        event = channel.event_of(admitted(message, channel), RecordContext(record))
        try:
            return checked_signal(event, record)
        except Refused:
            return None

    # -- afterwards ---------------------------------------------------------------------------

    async def _repeated(
        self,
        first: RoomEvent,
        cascade: Cascade,
        message: InboundMessage,
        channel: Channel,
        wait: Wait,
        stored_key: str | None,
    ) -> InboundResult:
        """Return the result of a message whose first delivery made an event."""
        key = None if stored_key is None else (first.room_id, stored_key)
        return await self._result(repeated(first), cascade, message, channel, wait, key)

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
        if event is None and written.blocked:
            self._report_refused(message, written.reason)
        return InboundResult(
            event, written.blocked, written.reason, cascade.error, results, written.duplicate, retry_after
        )

    def _report_refused(self, message: InboundMessage, reason: str | None) -> None:
        """Report a message that leaves no entry: a vendor that sent it is told that it was taken."""
        if message.event_type not in EPHEMERAL:
            self._events.emit(
                "message_refused",
                channel_id=message.channel_id,
                reason=reason,
                external_id=message.external_id,
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
        return {row.channel_id: result_of(row.outcome()) for row in rows if row.finished_at is not None}


def inbound_key(channel_id: str, key: str) -> str:
    """Return the idempotency key under which a channel's message is stored.

    Equal ids that two channels' vendors give are two messages, also in one room.
    """
    return f"in:{channel_id}:{key}"


def _address_of(message: InboundMessage) -> str:
    """Return by what messages are routed one at a time: two first ones of an address make one room."""
    return f"{message.channel_id}\0{message.conversation or message.sender_id}"
