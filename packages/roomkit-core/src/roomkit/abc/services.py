"""What the kit lends to a channel that is registered with it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from roomkit.models.enums import ChannelDirection

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.abc.clock import Clock
    from roomkit.abc.realtime import RealtimeBackend
    from roomkit.abc.telemetry import TelemetryProvider
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.enums import HookTrigger
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.trace import ProtocolTrace

__all__ = ["ChannelServices", "Excerpt", "GateOutcome"]


@dataclass(slots=True, frozen=True)
class Excerpt:
    """A part of a timeline as one channel may see it.

    `latest_index` is the place of the room's newest event when it was read, -1 of none, whether or
    not the channel may see that. `events` are in order of index, and may go beyond it. `participants` are
    the room's by id. A room that was deleted and made again under its id has another `room_created_at`.
    """

    binding: ChannelBinding
    latest_index: int
    events: Sequence[RoomEvent] = ()
    participants: Mapping[str, Participant] = field(default_factory=dict)
    room_created_at: datetime | None = None


@dataclass(slots=True, frozen=True)
class GateOutcome[P]:
    """What the gates of one trigger decided: go on with `payload`, or stop for `reason`."""

    allowed: bool
    payload: P
    reason: str | None = None
    blocked_by: str | None = None


class ChannelServices(ABC):
    """The kit as a channel sees it; handed over by `Channel.bind` when it is registered.

    Shared by every room of the channel, so each call names its room.
    """

    clock: Clock
    realtime: RealtimeBackend
    telemetry: TelemetryProvider
    has_other_workers: bool = False
    """Whether other processes may serve the same rooms, and receive messages published on `realtime`."""

    @abstractmethod
    async def run_gate[P](
        self,
        trigger: HookTrigger,
        payload: P,
        *,
        room_id: str | None,
        channel_id: str,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
    ) -> GateOutcome[P]:
        """Put `payload` to the gates of `trigger`; a gate that fails in any way blocks.

        `direction` is what the gates' filters see. Without a room only the kit's gates run, not those of
        rooms, with a context of a room that is not there; tasks and events that they add are dropped.
        With no gate registered this costs one truth test. Not run under the room's lock.
        """

    @abstractmethod
    async def observe(self, trigger: HookTrigger, payload: object, *, room_id: str, channel_id: str) -> None:
        """Show `payload` to the observers of `trigger`; their failures are reported, never raised."""

    async def read_timeline(
        self, room_id: str, channel_id: str, *, after_index: int | None = None, limit: int = 100
    ) -> Excerpt | None:
        """Return up to `limit` events after `after_index` as the store has them now; without it none.

        None when the room does not exist, or the channel is not attached to it. Every event of an
        index up to `latest_index` is committed: fewer than `limit` events leave none of them out.
        Events say what they say now: former contents of edits are not in them.
        """
        return None

    @abstractmethod
    def report(
        self,
        kind: str,
        *,
        room_id: str | None = None,
        channel_id: str | None = None,
        event_id: str | None = None,
        **data: Any,
    ) -> None:
        """Publish a framework event; its handlers run in the background."""

    @abstractmethod
    def spawn(self, work: Coroutine[Any, Any, None], *, name: str) -> None:
        """Run `work` as a supervised task: its failure is reported, and `close()` ends it."""

    @abstractmethod
    def trace(self, trace: ProtocolTrace) -> None:
        """Hand a protocol trace to its observers; free of cost when there are none."""

    @property
    def traces_are_observed(self) -> bool:
        """Whether the kit has an observer of protocol traces."""
        return False
