"""The contract of everything that takes part in a room."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from roomkit.abc.log import get_logger
from roomkit.abc.provider import ReceivesWebhooks
from roomkit.abc.text_stream import TextStream, text_stream_of
from roomkit.models.base import new_id, utcnow
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput, default_address_type
from roomkit.models.content import text_of
from roomkit.models.enums import (
    ChannelCategory,
    ChannelDirection,
    ChannelType,
    EventStatus,
    EventType,
    MediaForm,
)
from roomkit.models.event import NO_CHANNEL_DATA, EventSource, RoomEvent
from roomkit.models.vocabulary import declare, is_declared

if TYPE_CHECKING:
    from roomkit.abc.services import Services
    from roomkit.models.channel import RateLimit
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.enums import ConsentState
    from roomkit.models.parking import ParkedRound
    from roomkit.models.participant import Participant
    from roomkit.models.realtime import EphemeralEvent
    from roomkit.models.steering import SteeringDirective
    from roomkit.models.trace import ProtocolTrace

__all__ = [
    "Channel",
    "LiveSession",
    "SupportsConnections",
    "SupportsParking",
    "SupportsSessions",
    "SupportsSteering",
    "WritesText",
]

_log = get_logger("roomkit.channel")

type TraceObserver = Callable[[ProtocolTrace], Awaitable[None] | None]


_TEXT_ONLY = ChannelCapabilities()
_OURS = frozenset({(str, ChannelType, datetime), (type(None), ChannelType, datetime)})
"""The types that a channel's provider name, type and clock have to give an event."""


def own_channel_type(word: str) -> ChannelType:
    """Return the type that a channel names; a new word is declared by that.

    Raises ValueError for a text that is not a word.
    """
    return ChannelType(word) if is_declared(ChannelType, word) else declare(ChannelType, word)


class Channel(ABC):
    """Anything that takes part in rooms: a transport carries events outside, an intelligence answers.

    One object serves every room it is attached to, with calls running concurrently for different
    rooms (for one room and one kind of call, one at a time and in order): the caches about a room
    is passed in, or kept under the room's id. No method is called under a room's lock.
    """

    channel_type: ChannelType
    category: ChannelCategory = ChannelCategory.TRANSPORT
    direction: ChannelDirection = ChannelDirection.BIDIRECTIONAL
    responds_to: frozenset[EventType] = frozenset({EventType.MESSAGE})
    """The event types that are put to an intelligence."""
    speculates: bool = False
    """Whether the intelligence can prepare an answer to a message that is not committed yet.

    `on_event` is then also called with a context that is `speculative`, for an event as it is expected to be,
    and gives its answer as always, best as a `response_stream`: the kit holds it. Until
    `await context.confirmed()` returns, nothing may come of the turn: no tool call, nothing stored, published
    or shown, no state that another turn sees. The call is cancelled if the message turns out otherwise; a
    second one, for the committed message, may begin while it ends. A channel without it is only asked about
    committed messages.
    """
    delivers_to_source: bool = False
    """Whether the channel also wants its own events, to hand them to its other recipients."""
    needs_vendor_ids: bool = False
    """Whether the vendor knows a message by its own id alone, not by that of our event.

    Then an edit, a deletion or a reaction is delivered with `context.about`, and, where `supports_threading`,
    an answer with `context.answered`: the ids of the message that came by this channel, or was sent by it. An
    edit or a deletion of a message that the vendor has no id of is said in words, a reaction to it skipped as
    `target_unknown`.
    """
    home_grace: float = 0.0
    """For how many seconds deliveries wait for a worker to take the home of a live thing that was lost.

    They fail as `unreachable` after that. See `Homes`.
    """
    follows_rooms: bool = False
    """Whether the channel's live things may be on any worker and follow their rooms (`Homes.follow`).

    `deliver` and `deliver_stream` are not called then: the kit announces events, and answers while they are
    generated, to the channel's followers on all workers. A delivery is `sent` once it is announced.
    """
    opens_sessions: bool = False
    """Whether the channel itself reports the start of its sessions (ON_SESSION_STARTED), such as calls.

    For other channels, the kit takes the first message of a stranger for it.
    """
    rate_limit: RateLimit | None = None
    """How often the channel sends, over all rooms, beside what its bindings say."""
    organization: str | None = None
    """The organization of the messages that come by the channel and name none; None for no organization."""
    delivery_timeout: float | None = None
    """Seconds for one attempt of `deliver`; None for the kit's option, `math.inf` for playback."""
    stream_idle_timeout: float = 60.0
    """Seconds for which `deliver_stream` may make no progress once the answer is committed: it takes no text,
    and reports nothing more as heard. Then it is cancelled."""
    media_form: MediaForm = MediaForm.URL
    """How `deliver` gets files that the kit keeps. Intelligences get references (`services.media.shown`)."""
    typing_seconds: float | None = None
    """For how many seconds the vendor shows that someone types, after one call of `show_signal`.

    None if the channel cannot show it. While an agent works, the kit repeats the call before they pass.
    """
    marks_read: bool = False
    """Whether `show_signal` can show the person that their messages were read."""
    provider_names: Sequence[str] = ()
    """The providers that the channel can send by, in order of preference, where there are several."""
    services: Services | None = None
    _trace_observers: tuple[tuple[TraceObserver, frozenset[str] | None], ...] = ()

    def __init_subclass__(cls) -> None:
        """Declare the `channel_type` that a class names, a text or a member, as a word of the vocabulary."""
        super().__init_subclass__()
        kind = cls.__dict__.get("channel_type")
        if isinstance(kind, str):
            cls.channel_type = own_channel_type(kind)

    def __init__(self, channel_id: str) -> None:
        self.channel_id = channel_id

    def bind(self, services: Services) -> None:
        """Take the kit's services; called once, by `register_channel`, possibly before an event loop runs.

        No I/O, and no tasks: those begin in `start`. A channel with a provider binds it to
        `services.for_part(provider)`; `TransportChannel` does.
        """
        self.services = services

    async def start(self) -> None:
        """Prepare what the channel needs before its first delivery: log in, connect, begin its tasks.

        Called once, by the kit's `start()` after the plugins' and before any delivery, or at once for a
        channel that is registered later; the channel's services may be used. Deliveries wait for it, each
        attempt for as long as a lease is (`channel_not_started`). If it raises, the channel is broken: a
        framework event `channel_broken` says why, its deliveries stay pending until it is registered again
        or another worker takes them, and the kit runs on. It may be cancelled at any await, and `close()` is
        called whatever became of it. `TransportChannel` starts its providers.
        """

    @property
    def info(self) -> dict[str, Any]:
        """Facts for operators, without secrets."""
        return {}

    @property
    def address_type(self) -> str:
        """The kind of the addresses that `InboundMessage.sender_id` has, such as "phone" or "email".

        A person is (kind, address): equal addresses of channels with one kind are one participant of a
        room, equal ones of two kinds are two until an identity joins them. By default "phone" for the
        channel types whose senders are telephone numbers, else the channel's type. Override it where that
        is not so, and return the same word always: it is kept with each binding.
        """
        return default_address_type(self.channel_type)

    @property
    def provider_name(self) -> str | None:
        """The name of the provider behind the channel, None without one."""
        return None

    def capabilities(self) -> ChannelCapabilities:
        """Return what the channel carries natively; read when it is attached. Text only by default."""
        return _TEXT_ONLY

    def is_idempotent(self, provider: str | None) -> bool:
        """Return whether a delivery may be made again, under its id, if it is not known whether it was made.

        Asked after a failure whose `accepted` is None; `provider` is the one that it went by. If not, the
        delivery fails as `outcome_unknown`. By default True: the channel itself, or its vendor, recognises
        `context.delivery.id`. No I/O.
        """
        return True

    def returns_key(self, provider: str | None) -> bool:
        """Return whether a vendor's receipts bring `context.delivery.id` back: `DeliveryStatus.reference`.

        They find a delivery that failed as `outcome_unknown` by it. By default False. No I/O.
        """
        return False

    def pace_key(self, binding: ChannelBinding, event: RoomEvent) -> str:
        """Return what the vendor counts a delivery against, such as the sending number; no I/O.

        Deliveries of the same key share the rate limits of the channel and of its bindings, and the pause
        that the vendor asks for with a RATE_LIMIT error and `retry_after`. Channels that return the same
        key share pauses and equal limits, so name the kind: "sms:+15550100". By default the channel's id.
        """
        return self.channel_id

    def normalize(self, address: str) -> str:
        """Return the one spelling of an address of this channel; pure, and the same for its own result.

        Senders and recipients are compared by it: `InboundMessage.sender_id` is replaced by it before
        anything else is done with a message, and a binding's `address` is in it. By default the address.
        """
        return address

    def address_of(self, metadata: Mapping[str, Any]) -> str | None:
        """Return the recipient's address of a binding with that metadata, in its one spelling; pure.

        It becomes the binding's `address`, unless the host gives one: a message from it is routed to that
        room. By default None.
        """
        return None

    def admit(self, message: InboundMessage) -> InboundMessage:
        """Return the message as the kit is to take it; pure, no I/O, before limits and routing.

        By default its sender and conversation in the one spelling of `normalize`. A channel may add what it
        reads in the message, such as a room in a signed reply address; the `channel_id` stays. A message by
        which its sender revokes or grants consent becomes one with `ConsentContent` about the sender's own
        address, and the type CONSENT: it is kept before any limit, gate or closed room can refuse it.
        """
        sender, shared = self.normalize(message.sender_id), message.conversation
        if shared is not None and (normal := self.normalize(shared)) != shared:
            return message.replace(sender_id=sender, conversation=normal)
        return message if sender == message.sender_id else message.replace(sender_id=sender)

    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        """Return the fields of the binding that a first message makes; pure, no I/O.

        They are those that `attach_channel` takes (`BindingFields`), such as the recipient of the answers.
        Asked when the channel is attached because of a message: to a room made for it, or to one that
        it was routed to. By default none.
        """
        return {}

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        """Return what a message says of the channel's side of the conversation; pure, no I/O.

        Such as the vendor's conversation reference that answers need. It is merged, key by key, into
        `ChannelBinding.state` in the message's commit. By default nothing: return only what may be new, in a
        few hundred bytes; the state has at most 4 KiB as JSON.
        """
        return {}

    def merged_state(self, kept: ChannelBinding, other: ChannelBinding) -> Mapping[str, Any]:
        """Return the state of a binding that stands for two, as their rooms are merged; pure, no I/O.

        `kept` is the one whose recipient is written to. By default its state, and what only `other` has.
        """
        return {**other.state, **kept.state}

    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        """Return the purpose that a delivery needs the recipient's consent for; None needs none. Pure.

        By default None. With a purpose, such as "marketing" or "all", each attempt is judged by the register
        of consents for the binding's `address`: where it was revoked, the delivery is skipped as `opted_out`.
        Such a channel is sent whole answers, also where it could stream them.
        """
        return None

    def takes_text(self, text: str) -> bool:
        """Return whether a text goes out as one message; pure, no I/O.

        Asked besides `capabilities().max_length`, which counts code points, where the vendor counts
        otherwise: UTF-16 code units, bytes, segments. A text that is not taken is sent in parts, so whatever
        begins a text that is taken has to be taken too. By default True.
        """
        return True

    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the headers that fetching a file of an inbound event needs; no I/O.

        Such as the credentials of the vendor that keeps the file. They are sent to the URL's own origin and
        nowhere else: give them for the vendor's URLs alone. By default none.
        """
        return {}

    async def locate_file(self, url: str) -> str:
        """Return where a file of an inbound event is to be fetched now, as the kit imports it.

        For a URL that names a file of the vendor's without leading to it, such as one of a file id: its
        vendor says where that is, for some minutes and often with a secret. The answer is used at once, with
        its own `file_headers`, and neither stored nor shown. By default the URL. Raises ProviderError: the
        import is retried if that is retryable.
        """
        return url

    async def route(self, message: InboundMessage) -> str | None:
        """Return the room that the channel knows a message to be for; None leaves it to the kit's router.

        Asked for messages that came without a room, neither given nor in `message.room_id`. It is for what
        is certain, such as the room of a live connection: nothing is made for the message then, and it is
        refused if that room is not there. A room of another organization is not taken for an answer.
        """
        return None

    def webhooks(self) -> Mapping[str, ReceivesWebhooks]:
        """Return what receives the vendors' webhooks, by the provider's name; no I/O.

        Without an override the channel's attribute `provider`, if it receives webhooks.
        """
        provider: object = getattr(self, "provider", None)
        if not isinstance(provider, ReceivesWebhooks):
            return {}
        return {self.provider_name or type(provider).__name__: provider}

    @abstractmethod
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make the event of a message that came in, usually with `event_of`; no I/O.

        It may be called again for one message, if the room has changed when the event is committed. Of the
        context's recent events, the newest that other workers took may be missing. Raises InvalidInputError
        when the message makes no event.
        """

    def event_of(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Return the event of `message`, with everything that the message says.

        For `handle_inbound`; a channel replaces fields of the result that it knows better.
        """
        provider, channel_type = self.provider_name, self.channel_type
        now = utcnow() if self.services is None else self.services.clock.now()
        source = EventSource.trusted(
            {
                "channel_id": self.channel_id,
                "channel_type": channel_type,
                "direction": ChannelDirection.INBOUND,
                "participant_id": message.sender_id or None,
                "on_behalf_of": None,
                "connection_id": message.connection_id,
                "external_id": message.external_id,
                "provider": provider,
                "provider_message_id": message.provider_message_id,
                "raw_payload": message.raw_payload,
            }
        )
        event = RoomEvent.trusted(
            {
                "id": new_id(),
                "room_id": context.room_id,
                "type": message.event_type,
                "source": source,
                "content": message.content,
                "status": EventStatus.PENDING,
                "blocked_by": None,
                "block_reason": None,
                "visibility": message.visibility or "all",
                "response_visibility": message.response_visibility,
                "addressed_to": message.addressed_to,
                "index": -1,
                "chain_depth": 0,
                "parent_event_id": message.parent_event_id,
                "correlation_id": None,
                "idempotency_key": message.idempotency_key,
                "created_at": now,
                "metadata": message.metadata,
                "channel_data": NO_CHANNEL_DATA
                if provider is message.external_id is message.thread_id is None and not message.extra
                else NO_CHANNEL_DATA.replace(
                    provider=provider,
                    external_id=message.external_id,
                    thread_id=message.thread_id,
                    extra=message.extra,
                ),
                "generation": None,
                "amendment": None,
                "limited": None,
                "origin": None,
                "trace_parent": None,
            }
        )
        if (type(provider), type(channel_type), type(now)) in _OURS:
            event.made_from(message)  # so the kit, which checked the message, need not check it again
        return event

    @abstractmethod
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Carry `event` to the recipient of `binding`.

        `event` is already transcoded and no longer than `max_length`. `context.delivery.id` is the
        stable idempotency key; `context.delivery.provider` says by which of several providers (see
        `provider_names`) to send. Returns `ChannelOutput.skipped(reason)` when there is no recipient to send
        to. Raises ProviderError for a failure; any other exception counts as a permanent one.
        Called in commit order per binding; retried only after a retryable failure. It may be
        cancelled at any await, when its deadline passes.
        """

    async def show_signal(
        self, signal: EphemeralEvent, binding: ChannelBinding, context: RoomContext
    ) -> None:
        """Show a signal of the room to the recipient of `binding`: typing, or that messages were read.

        Called for a binding that may see the signal and whose capabilities say so: TYPING_START and
        TYPING_STOP with `supports_typing` and `typing_seconds`, READ_RECEIPT with `supports_read_receipts`
        and `marks_read`. `signal.data` has `answering`, the vendor's id of the newest message that came by
        the binding, if there is one; of a READ_RECEIPT, `message_ids` has the vendor's ids of the messages
        that came by it and are now read, the newest last, at most 50 and at least one.

        Not for the signals of the binding itself. It is called beside the deliveries, one call at a time for
        each binding, with the newest state, while what came in between is omitted; typing also for as long as
        an agent's turn in the room is under way. A call has 10 seconds and may be cancelled at any await. It
        raises NoHomeError where another worker has the channel's connection: that one is called then. No call
        is repeated. A failure is logged once; a ProviderError with RATE_LIMIT pauses the channel's signals
        for its `retry_after`.
        """

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Answer `event`, or have it noticed; the whole of an intelligence's work."""
        return ChannelOutput.empty()

    def can_stream(self, binding: ChannelBinding) -> bool:
        """Return whether an answer can be shown in that room while it is generated."""
        return self.supports_streaming_delivery

    @property
    def supports_streaming_delivery(self) -> bool:
        """Whether the channel can show an answer while it is generated."""
        return False

    async def deliver_stream(
        self, text_stream: TextStream, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Show an answer while it is generated.

        `event` has the id, source and visibility of the event to come, and no text yet. Runs beside
        the other deliveries to the binding; `text_stream.turn()` waits for its turn among them. The
        kit hands over a TextStream, programs perhaps strings or an iterator of them: see `text_stream_of`.
        """
        stream = text_stream_of(text_stream, event)
        async for _ in stream:
            pass
        final = await stream.turn()
        if final is None:
            return ChannelOutput.skipped("nothing_committed")
        return await self.deliver(final, binding, context)

    async def connect_session(self, session: Any, room_id: str, binding: ChannelBinding) -> None:
        """Take over a live session that came with an inbound message."""

    async def disconnect_session(self, session: Any, room_id: str) -> None:
        """Release a live session."""

    async def update_binding(self, room_id: str, binding: ChannelBinding) -> None:
        """Notice that the channel's binding in a room changed, or is over (access NONE).

        It is over when the channel was detached and when the room was closed, archived or deleted.
        """

    async def update_participant(self, room_id: str, participant: Participant) -> None:
        """Notice that a participant was removed from a room the channel is attached to, or banned from it.

        Called once `participant`, with its new status, is stored. A channel of live connections closes
        theirs, with the reason of `departed_senders`.
        """

    async def update_rights(self, room_id: str) -> None:
        """Notice that another worker changed who may do what in a room.

        It removed or banned a participant, changed or detached a binding, or deleted the room. A channel of
        live connections with some in that room reads it (`services.rooms.read_timeline`: None where the room
        or the binding is gone) and closes those without a right to it. Called for every room of the store,
        soon after the change and at least once, except where the realtime backend lost the signal.
        """

    async def consent_changed(self, room_id: str, address: str, purpose: str, state: ConsentState) -> None:
        """Notice that the person of an address agreed, or no longer agrees, to something.

        For live channels: a call ends its recording. Called for each open room where the channel's binding
        has that `address`, or where its person wrote by the channel, when the consent for that purpose
        ("all" for each) has changed: on the worker that has the home of the channel's live thing, within a
        second as a rule, or where there is no home on every worker with the channel. Deliveries are judged
        without it.
        """

    def resolve_trace_room(self, session_id: str) -> str | None:
        """Return the room of a live session, for traces that do not name theirs; None if it has none."""
        return None

    @property
    def trace_enabled(self) -> bool:
        """Whether protocol traces have an observer; build a trace only if they have."""
        return bool(self._trace_observers) or (
            self.services is not None and self.services.traces_are_observed
        )

    def on_trace(self, callback: TraceObserver, protocols: Collection[str] | None = None) -> None:
        """Call `callback(trace)`, a function or a coroutine function, for each trace of this channel.

        `protocols` selects traces by their protocol. Failures are logged. A coroutine function is run by
        the kit, so it is called only while the channel is registered.
        """
        chosen = None if protocols is None else frozenset(protocols)
        self._trace_observers = (*self._trace_observers, (callback, chosen))

    def emit_trace(self, trace: ProtocolTrace) -> None:
        """Show a trace to the observers of this channel, and to the kit's (ON_PROTOCOL_TRACE).

        The kit's see it with its room: the trace's own, else that of `resolve_trace_room`.
        """
        for callback, protocols in self._trace_observers:
            if protocols is None or trace.protocol in protocols:
                self._observe_trace(callback, trace)
        if self.services is not None:
            self.services.trace(trace)

    def _observe_trace(self, callback: TraceObserver, trace: ProtocolTrace) -> None:
        try:
            answer = callback(trace)
        except Exception:  # noqa: BLE001  # an observer must not fail what it observes
            _log.warning("an observer of the traces of channel %s failed", self.channel_id, exc_info=True)
            return
        if not isinstance(answer, Coroutine):
            return
        if self.services is None:
            answer.close()
            _log.warning("channel %s is not registered: a trace was not observed", self.channel_id)
        else:
            self.services.tasks.spawn(answer, name=f"observer of the traces of channel {self.channel_id}")

    async def close(self) -> None:
        """Release what the channel holds. Idempotent."""

    @staticmethod
    def extract_text(event: RoomEvent) -> str:
        """Return the words of an event, "" when it has none."""
        return text_of(event.content)


@runtime_checkable
class SupportsSteering(Protocol):
    """An intelligence that takes directions while it works."""

    async def steer(
        self, directive: SteeringDirective, *, room_id: str | None = None, loop_id: str | None = None
    ) -> bool:
        """Hand `directive` to the work under way in that room; False when there is none."""


@runtime_checkable
class SupportsParking(Protocol):
    """An intelligence whose turns can wait for results of their tools (`ChannelOutput.parked`)."""

    async def on_resume(
        self, parked: ParkedRound, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        """Continue the turn that answers `event`, from the round that it parked.

        Each of its calls has a result. `context` is the room as it is now, `context.delivery` the row of the
        turn's continuation. Called on any worker, again after a kill; what it returns is what `on_event` may
        return, another parked round too.
        """


@runtime_checkable
class SupportsConnections(Protocol):
    """A channel of live connections, such as web sockets."""

    def register_connection(
        self,
        connection_id: str,
        send_fn: Callable[[str, RoomEvent], Awaitable[None]],
        *,
        stream_send_fn: Callable[[str, Any], Awaitable[None]] | None = None,
        close_fn: Callable[[str, str], Awaitable[None]] | None = None,
        room_id: str | None = None,
        participant_id: str | None = None,
    ) -> None:
        """Begin to send to a connection.

        `close_fn` is called with the connection's id and a reason, once, when the channel drops the
        connection by itself. Raises InvalidInputError when another's connection has that id.
        """

    def unregister_connection(self, connection_id: str) -> bool:
        """Stop sending to a connection; False when there is none of that id."""


class LiveSession(Protocol):
    """One client of a channel that serves sockets; see `SupportsSessions`."""

    async def receive(self, data: str | bytes) -> None:
        """Take in one frame of the client, and answer it. Raises nothing for what a client sends."""


@runtime_checkable
class WritesText(Protocol):
    """A `send` of `SupportsSessions.session` that is asked first to write without waiting.

    It saves a coroutine for each socket and frame.
    """

    def write_text(self, data: bytes) -> bool:
        """Write a text frame of UTF-8 now; False if that would have to wait, or the socket is closing.

        Then `send` is called with it. Called in order, and never while `send` is under way.
        """


@runtime_checkable
class SupportsSessions(Protocol):
    """A channel that serves the sockets of a web server: their frames, limits and resume."""

    def session(
        self,
        kit: Any,
        room_id: str,
        participant_id: str | None = None,
        *,
        send: Callable[[str], Awaitable[object]],
        close: Callable[[int, str], Awaitable[object]],
        after: int | str | None = None,
        max_frame_bytes: int = 65_536,
    ) -> AbstractAsyncContextManager[LiveSession]:
        """Serve one socket that was accepted, for as long as the session is entered.

        `kit` is the RoomKit that the channel is registered with. `participant_id` is who the caller has
        verified the client to be, `after` the index of the last event that the client says it has seen.
        `send(text)` writes a text frame, and is called once at a time; it may also have the method of
        `WritesText`. `close(code, reason)` closes the socket. A client without a right to the room is sent
        the reason and closed, on entering or later.
        """
