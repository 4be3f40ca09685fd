"""A proposed event, the outcome of writing it, and a committed event on its way out."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, fields
from typing import TYPE_CHECKING, Any, Protocol

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY
from roomkit.models.enums import EventStatus

if TYPE_CHECKING:
    from roomkit.abc.store import RoomRecord
    from roomkit.kernel.flow.cascade import Cascade
    from roomkit.kernel.flow.deferred import Remainder
    from roomkit.kernel.flow.live_answer import LiveRecipient
    from roomkit.kernel.flow.speculation import HeldAnswers
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import DeliveryOutcome
    from roomkit.models.event import RoomEvent
    from roomkit.models.hook import InjectedEvent, StateChange
    from roomkit.models.participant import Participant
    from roomkit.models.task import Observation, Task
    from roomkit.models.timer import Timer
    from roomkit.models.value import Value

__all__ = ["Draft", "Run", "TimelineWriter", "Written", "repeated"]


@dataclass(slots=True)
class Draft:
    """An event proposed to a timeline, and how to write it.

    `gated` puts it to the BEFORE_BROADCAST hooks; `answerable` lets intelligences answer it. `lifecycle`
    marks the framework's own notes on the room, which are written whatever its status, are not judged by
    gates, and do not count as activity. `plan` is called with the room under its lock, and returns the
    draft as it is for that state of the room, or None when there is nothing to do; it may be called several
    times. What it raises reaches the caller, and nothing is stored. `joined` are further participants who
    are the same person. `targets` replaces the recipients by channel ids. `before` are such notes that
    belong right before the event. `blocked`, by whom and why, stores it as refused. `injected` are events
    that gates added to it earlier. `streamed` are recipients that have already seen the text. `record` is
    the room as it was loaded for the draft, with `channel_key`: it is good enough where no gate looks at
    it. `channel_key` is the idempotency key by which its channel knows the message in every room, `address`
    the sender as the channel calls them, where the room is to say which participant that is. With
    `streamed`, people have read it already, and its source may have lost its right to write since.
    `visible_to` is whom gates may not widen its visibility beyond. `refused_as` is its content if it is
    stored as refused. `replaces` is a binding as it was before the draft changes or removes it. `as_shown`
    keeps the visibility that it was streamed with, whatever its source's binding says now. An event without
    `activity` leaves the room's timers alone. `state` are changes of the room's state, in their order,
    `values` are put with it. `binding_state` is merged into the state of its source's binding. `readdressed`
    are the fields of that binding to its sender, who is one of its further addresses. `speculated` are the
    answers that were prepared to it. `recalled` is the version of `record` if that came from memory: it is
    committed at this version, or not at all.
    """

    event: RoomEvent
    cascade: Cascade
    _: KW_ONLY
    gated: bool = True
    answerable: bool = True
    lifecycle: bool = False
    plan: Callable[[Draft, RoomRecord], Draft | None] | None = None
    targets: Sequence[str] | None = None
    blocked: tuple[str, str] | None = None
    before: Sequence[RoomEvent] = ()
    participant: Participant | None = None
    joined: Sequence[Participant] = ()
    bindings: Sequence[ChannelBinding] = ()
    unbind: Sequence[str] = ()
    replaces: ChannelBinding | None = None
    room_changes: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    tasks: Sequence[Task] = ()
    observations: Sequence[Observation] = ()
    timers: Sequence[Timer] = ()
    state: Sequence[tuple[str, StateChange]] = ()
    values: Sequence[Value] = ()
    binding_state: Mapping[str, Any] = EMPTY
    readdressed: Mapping[str, Any] | None = None
    injected: Sequence[InjectedEvent] = ()
    streamed: Mapping[str, LiveRecipient] | None = None
    visible_to: str = "all"
    refused_as: EventContent | None = None
    as_shown: bool = False
    activity: bool = True
    record: RoomRecord | None = None
    channel_key: str | None = None
    address: str | None = None
    speculated: HeldAnswers | None = None
    recalled: int | None = None

    def __copy__(self) -> Draft:
        # `dataclasses.replace` and the default take three times as long, a sixth of attaching a channel.
        made = object.__new__(Draft)
        for name in _FIELDS:
            setattr(made, name, getattr(self, name))
        return made


_FIELDS = tuple(each.name for each in fields(Draft))


class TimelineWriter(Protocol):
    """Where events enter the timelines of rooms."""

    async def write(self, draft: Draft) -> Written:
        """Put a draft to the gates of its room, and commit it."""

    async def in_turn[T](self, room_id: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run the kit's own `work` between the commits that this worker makes to a room."""


class Run:
    """One committed event on its way out: which deliveries are still open, how the others ended."""

    __slots__ = (
        "abandoned",
        "cascade",
        "elsewhere",
        "event",
        "fallbacks",
        "finished",
        "launched",
        "partly_heard",
        "pending",
        "record",
        "remainder",
        "resumed",
        "span",
        "targets",
        "timeline",
        "timer_id",
        "unrecorded",
    )

    def __init__(
        self,
        cascade: Cascade,
        event: RoomEvent,
        record: RoomRecord,
        targets: Sequence[str],
        timeline: TimelineWriter,
    ) -> None:
        self.cascade = cascade
        self.event = event
        self.record = record
        self.targets = targets
        self.timeline = timeline
        """Where an intelligence's answer to the event enters the timeline."""
        self.pending = len(targets)
        self.launched = False
        self.abandoned = False
        self.partly_heard = False
        """Whether a channel said that its person perceived less than all of the event."""
        self.elsewhere = False
        """Whether another worker holds other deliveries of the event, or they must be claimed first."""
        self.resumed = False
        """Whether its deliveries were reclaimed; the event's observers are then run by its timer."""
        self.span: str | None = None
        """The span of its broadcast, which ends with it; None on a worker that did not commit it."""
        self.timer_id: str | None = None
        """The timer that runs the observers if this worker dies before them."""
        self.remainder: Remainder | None = None
        """The event that the run is a part of, once deliveries of it are deferred."""
        self.fallbacks: Sequence[Timer] = ()
        """For its failed deliveries that go to another channel once they are recorded."""
        self.finished: list[DeliveryOutcome] = []  # bound: the event's targets
        self.unrecorded: list[DeliveryOutcome] = []  # bound: the event's targets


@dataclass(slots=True)
class Written:
    """The outcome of a draft. `event` is the stored one; None when nothing was stored."""

    event: RoomEvent | None = None
    blocked: bool = False
    reason: str | None = None
    duplicate: bool = False
    unchanged: bool = False
    """Whether the plan found nothing to do."""
    run: Run | None = None
    draft: Draft | None = None
    """The draft as it was planned for the room that it was committed to."""


def repeated(first: RoomEvent) -> Written:
    """Return the first result for a redelivered message."""
    return Written(first, first.status is EventStatus.BLOCKED, first.block_reason, duplicate=True)
