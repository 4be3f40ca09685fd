"""Gates and observers of an owner's own triggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING

from roomkit.models.enums import ChannelDirection

if TYPE_CHECKING:
    from roomkit.models.enums import HookTrigger

__all__ = ["GateOutcome", "Turns"]


@dataclass(slots=True, frozen=True)
class GateOutcome[P]:
    """What the gates of one trigger decided: go on with `payload`, or stop for `reason`."""

    allowed: bool
    payload: P
    reason: str | None = None
    blocked_by: str | None = None


class Turns(ABC):
    """Gates, observers and interruptions of the turns in a room.

    Hooks are selected by channel, its type and `direction`: of `channel_id`, else of the owner's channel. A
    plugin that names none has no channel to select by, and every hook of the trigger runs. Without a
    `room_id` only the hooks of all rooms run, and their context has no room. Not run under a room's lock.
    """

    @abstractmethod
    async def run_gate[P](
        self,
        trigger: HookTrigger,
        payload: P,
        *,
        room_id: str | None,
        channel_id: str | None = None,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
    ) -> GateOutcome[P]:
        """Put `payload` to the gates of `trigger`; a gate that fails in any way blocks.

        With no gate registered this costs one truth test. A room that does not exist permits nothing
        (`room_not_found`).
        """

    @abstractmethod
    async def observe(
        self,
        trigger: HookTrigger,
        payload: object,
        *,
        room_id: str | None,
        channel_id: str | None = None,
        direction: ChannelDirection = ChannelDirection.OUTBOUND,
    ) -> None:
        """Show `payload` to the observers of `trigger`; their failures are reported, never raised."""

    @abstractmethod
    async def interrupt(
        self, room_id: str, *, stream_id: str | None = None, reason: str = "interrupted"
    ) -> int:
        """End the answers under way in a room, whichever intelligence gives them and on whichever worker.

        `stream_id` ends only the answer whose event will have that id. Generations are cancelled at once;
        what people were shown of them is committed with `reason` as the finish reason, and the delivery to
        the intelligence is skipped for that reason. Turns that wait are not affected, and the turn that
        the caller is part of goes on. Returns how many it ended, before their text is committed; those of
        other workers are ended by a signal, and counted when it is sent. Idempotent. Raises what the
        realtime backend raises.
        """
