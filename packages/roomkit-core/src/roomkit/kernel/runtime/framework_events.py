"""Framework events and their subscribers."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Container, Sequence
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Any, override

from pydantic import ValidationError

from roomkit.abc.log import get_logger
from roomkit.kernel.runtime.deadline import ends_task
from roomkit.kernel.runtime.scope import innermost_gate, outside
from roomkit.models.framework_event import FrameworkEvent
from roomkit.models.values import error_text, repaired

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["FRAMEWORK_EVENTS", "FrameworkEvents"]

FRAMEWORK_EVENTS: dict[str, str] = {
    "room_created": "a room was created",
    "room_paused": "a room was paused: reason",
    "room_resumed": "a paused room became active again",
    "room_closed": "a room was closed: reason",
    "room_archived": "a closed room was archived",
    "room_deleted": "a room was deleted",
    "rooms_merged": "a room was merged into this one: source, events",
    "room_split": "events were split off into this room: source, events",
    "channel_moved": "a channel was moved into this room: source, events",
    "person_erased": "what there was of a person was erased: receipt_id",
    "events_pruned": "a room's retention removed old events: count",
    "room_channel_attached": "a channel was attached: access, visibility",
    "room_channel_detached": "a channel was detached",
    "channel_registered": "a channel was registered",
    "channel_unregistered": "a channel was unregistered",
    "timer_unclaimed": "a timer has been due for an hour, and its kind has no handler: timer_id, timer_kind",
    "timer_dead": "a timer kept killing its workers, and waits for an operator: timer_id, timer_kind",
    "scheduled_refused": "a scheduled message is refused by its room when it is due: reason",
    "turn_resumed": "a parked turn continues: turn_id",
    "turn_dropped": "a parked turn is cancelled, or ends with its room, agent or question: turn_id, reason",
    "turn_executor_lost": "an executor process was lost in the middle of an agent's answer: turn_id",
    "turn_quarantined": "a request for a model that kept ending its processes is not run again: turn_id",
    "channel_broken": "a channel's start failed, and its deliveries stay pending: error",
    "channel_connected": "a socket was connected: connection_id",
    "channel_disconnected": "a socket was disconnected: connection_id, reason",
    "session_started": "a stranger's message opened a room, or a call began",
    "routing_ambiguous": "no room could be determined for a message, so it opened one: sender_id",
    "event_processed": "an event and all it set going has settled",
    "event_gated": "an event went through its gates: verdicts, each with hook, verdict, duration_ms",
    "event_blocked": "an event was refused: reason, blocked_by",
    "hook_error": "a hook failed: hook, trigger, error",
    "hook_timeout": "a hook was late: hook, trigger, error",
    "identity_timeout": "the identity resolver was late: timeout",
    "identity_error": "the identity resolver failed: error",
    "process_timeout": "a message was not committed in time: timeout",
    "delivery_succeeded": "a delivery reached its provider: duration_ms",
    "delivery_fell_back": "an event goes to another channel, in place of another delivery: fallback_of",
    "fallback_unavailable": "an event cannot go to the fallback of its binding: fallback_of, reason",
    "delivery_skipped": "a delivery had nowhere to go: reason",
    "delivery_failed": "a delivery failed for good: code, error",
    "delivery_outcome_repaired": "the store refused values of an outcome, which are omitted: state, error",
    "delivery_outcome_refused": "the store refused a delivery's outcome, which is retried: state, error",
    "delivery_unclaimed": "deliveries wait for a channel that no worker has registered: deliveries",
    "delivery_status_unmatched": "a receipt belongs to no known delivery: provider, message_id, status",
    "broadcast_partial_failure": "some deliveries of an event failed: failed, total",
    "chain_depth_exceeded": "an answer was too deep in a chain: chain_depth, max_chain_depth",
    "sending_paused": "a vendor's rate limit pauses all sends under a pace key: pace_key, seconds",
    "signal_not_shown": "a channel failed to show typing or a read mark, after calls that went well: error",
    "circuit_breaker_opened": "a channel's provider keeps failing: no requests until the next attempt",
    "binding_state_refused": "what a delivery learnt of its binding cannot be stored",
    "circuit_breaker_closed": "a channel's provider works again",
    "speculation_released": "an answer prepared before its message was committed is given: seconds, "
    "characters, usage",
    "speculation_withdrawn": "an answer prepared before its message was committed is not given: reason, "
    "seconds, characters, usage",
    "lease_lost": "the lease on the store ran out, so deliveries under way were released: lost",
    "agent_failed": "an intelligence failed to answer: code, error",
    "background_error": "background work failed: task, error",
    "work_abandoned": "code that ignored its cancellation was left behind: task, seconds",
    "webhook_refused": "a vendor's request was refused or not stored: provider, status, error",
    "message_refused": "a message was refused and left no entry: reason, external_id",
    "webhook_unparsed": "a part of a vendor's request is about no message: provider, reason, raw",
    "invoke_unanswered": "a vendor's invoke got its default answer: provider, name, error",
    "source_attached": "a source was attached: source_name",
    "source_detached": "a source was detached: source_name",
    "source_error": "a source broke: source_name, error, attempt",
    "source_exhausted": "a source was stopped after repeated failures: source_name, attempts, last_error",
    "source_waits": "what a source emitted is retried, as it is not stored: source_name, reason, seconds",
    "source_message_refused": "a detached source emitted a message: source_name, refused (how many so far)",
    "source_unparsed": "what a source got is no message: source_name, error, bytes, unparsed (so far)",
    "source_ended": "a source ended by itself: source_name",
    "media_imported": "a file that an event named by its URL is kept now: media_id",
    "media_import_failed": "such a file was refused or not there for a day, its URL stays: code, error",
    "media_swept": "files that no event refers to were deleted: count",
    "framework_events_dropped": "a slow handler lost framework events: handler, dropped",
}
"""Every type the core emits, and what it says; `"*"` subscribes to all of them."""

_BACKLOG = 1000
_log = get_logger("roomkit.kernel")

type FrameworkHandler = Callable[[FrameworkEvent], Awaitable[None]]


class _Subscription:
    """One handler: it sees events one at a time and in order, and delays no other code."""

    __slots__ = ("_owner", "backlog", "busy", "dropped", "handler", "kind", "name")

    def __init__(self, owner: FrameworkEvents, kind: str, handler: FrameworkHandler) -> None:
        self._owner = owner
        self.kind = kind
        self.handler = handler
        self.name = getattr(handler, "__name__", type(handler).__name__)
        self.backlog: deque[FrameworkEvent] = deque(maxlen=_BACKLOG)
        self.busy = False
        self.dropped = 0

    async def drain(self) -> None:
        self.busy = True
        try:
            while self.backlog:
                event = self.backlog.popleft()
                try:
                    await self.handler(event)
                except BaseException as error:  # a handler may raise anything: it is logged
                    if ends_task(error):
                        raise
                    # Not reported as an event: the handler might be listening to that one too.
                    _log.exception("framework event handler %s failed on %s", self.name, event.type)
                if self.dropped and not self.backlog:
                    self._tell_dropped()
        finally:
            self.busy = False

    def _tell_dropped(self) -> None:
        """Report the lost events, once the handler has caught up."""
        dropped, self.dropped = self.dropped, 0
        _log.warning("framework event handler %s is slow and lost %s events", self.name, dropped)
        self._owner.emit("framework_events_dropped", handler=self.name, dropped=dropped)


class _Everything(Container[str]):
    """Every type, those that plugins make up included."""

    @override
    def __contains__(self, kind: object) -> bool:
        return True


class FrameworkEvents:
    """Hands framework events to their handlers; with no handler nothing is even built."""

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._subscriptions: dict[str, list[_Subscription]] = {}
        self.wanted: Container[str] = ()
        """The types that have a handler, so that what every message would emit costs one look."""
        supervisor.report_to(self)

    def background_error(self, name: str, error: BaseException) -> None:
        """Publish that background work has failed."""
        self.emit("background_error", task=name, error=error_text(error))

    def work_abandoned(self, name: str, seconds: float) -> None:
        """Publish that work which ignored its cancellation was left behind."""
        self.emit("work_abandoned", task=name, seconds=seconds)

    def subscribe(self, kind: str, handler: FrameworkHandler) -> Callable[[], None]:
        """Call `handler` for every event of `kind` (`"*"`: all); return the function that unsubscribes it.

        Plugins emit kinds of their own, so an unknown one is not an error; a near miss of one of the
        core's is logged.
        """
        if kind != "*" and kind not in FRAMEWORK_EVENTS:
            close = get_close_matches(kind, FRAMEWORK_EVENTS, n=1, cutoff=0.8)
            if close:
                _log.warning("the core emits no framework event %r; did you mean %r?", kind, close[0])
        subscription = _Subscription(self, kind, handler)
        self._subscriptions.setdefault(kind, []).append(subscription)
        self._note_wanted()

        def unsubscribe() -> None:
            subscriptions = self._subscriptions.get(kind, [])
            if subscription in subscriptions:
                subscriptions.remove(subscription)
                if not subscriptions:
                    del self._subscriptions[kind]
                    self._note_wanted()

        return unsubscribe

    def wants(self, kind: str) -> bool:
        """Return whether `kind` has a handler."""
        return kind in self.wanted

    def _note_wanted(self) -> None:
        self.wanted = _Everything() if "*" in self._subscriptions else frozenset(self._subscriptions)

    def emit(
        self,
        kind: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        **data: Any,
    ) -> None:
        """Hand an event to its handlers: at once to those that are idle, else in their turn.

        From inside a gate, when the room's lock is free. A handler is not part of a room's work.
        """
        if kind not in self.wanted:
            return
        listeners = [*self._subscriptions.get(kind, ()), *self._subscriptions.get("*", ())]
        fields = {
            "type": kind,
            "room_id": room_id,
            "channel_id": channel_id,
            "event_id": event_id,
            "timestamp": self._clock.now(),
        }
        try:
            event = FrameworkEvent(**fields, data=data)
        except ValidationError:  # an event reports an operation and must not make it fail
            event = FrameworkEvent(**fields, data={name: repaired(repr(each)) for name, each in data.items()})
        self._hand_all(listeners, event)

    def _hand_all(self, listeners: Sequence[_Subscription], event: FrameworkEvent) -> None:
        gate = innermost_gate()
        if gate is not None and gate.after is not None:  # published when the room's lock is free
            gate.after.append(partial(self._hand_all, listeners, event))
            return
        for subscription in listeners:
            self._hand(subscription, event)

    def _hand(self, subscription: _Subscription, event: FrameworkEvent) -> None:
        if len(subscription.backlog) == _BACKLOG:
            subscription.dropped += 1
        subscription.backlog.append(event)
        if not subscription.busy:
            name = f"framework event handler {subscription.name}"
            self._supervisor.start(subscription.drain(), name, outside())
