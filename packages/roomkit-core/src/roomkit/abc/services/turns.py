"""Gates and observers of an owner's own triggers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

from roomkit._dataclasses import dataclass
from roomkit.models.enums import ChannelDirection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from roomkit.abc.errors import RoomKitError
    from roomkit.models.delivery import InboundMessage, InboundResult
    from roomkit.models.enums import HookTrigger
    from roomkit.models.event import RoomEvent
    from roomkit.models.parking import ParkedCall, ParkedTurn

__all__ = ["GateOutcome", "Speculation", "Turns"]


@dataclass(slots=True, frozen=True)
class GateOutcome[P]:
    """What the gates of one trigger decided: go on with `payload`, or stop for `reason`."""

    allowed: bool
    payload: P
    reason: str | None = None
    blocked_by: str | None = None


class Speculation(ABC):
    """Answers that are prepared to a message before it is certain, such as speech whose end is likely.

    End it with one `confirm` or with `withdraw`. Until it is confirmed, nothing of it is stored, shown or
    signalled; what it cost is in the framework events `speculation_released` and `speculation_withdrawn`.
    """

    @property
    @abstractmethod
    def withdrawn(self) -> str | None:
        """Why no answer is prepared or held; None while one is, or once it was released.

        `not_prepared`: no intelligence of the room can, a gate does not allow it, or the room is busy. Else
        the reason for its withdrawal: `withdrawn`, `replaced` (by another one of that room and channel),
        `room_changed`, `message_changed`, `refused`, `not_committed`, `expired`, `unregistered`, `closing`,
        or `elsewhere` (another worker has the turns).
        """

    @abstractmethod
    async def confirm(
        self, message: InboundMessage, *, wait: Literal["settled", "committed"] = "committed"
    ) -> InboundResult:
        """Take the message in, as `Inbox.receive` does for that room; its answer is the prepared one.

        It is, if gates return the same words as before, apart from case, punctuation and spelling in Unicode,
        from the same sender to the same audience, and nothing else was committed to the room in between. If
        not, the prepared answer is withdrawn, and the intelligences are asked as for any message. Either way
        each answers once. Once only: raises InvalidInputError the second time, and for a message of another
        channel; beside these what `Inbox.receive` raises.
        """

    @abstractmethod
    async def withdraw(self) -> None:
        """Cancel the prepared answer; of no effect once confirmed. Idempotent."""


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
        speculative: bool = False,
    ) -> GateOutcome[P]:
        """Put `payload` to the gates of `trigger`; a gate that fails in any way blocks.

        With no gate registered this costs one truth test. A room that does not exist permits nothing
        (`room_not_found`). `speculative` asks about a payload that may turn out otherwise: gates see
        `context.speculative`, what they return beside their verdict is discarded, and one that was registered
        with `speculative=False` blocks as `not_speculative`.
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
    async def speculate(self, room_id: str, message: InboundMessage) -> Speculation:
        """Have the answers to a message of the owner's channel prepared before it is certain.

        It passes the BEFORE_BROADCAST gates, with `context.speculative`; what they return beside the
        message is discarded, and nothing is prepared where one blocks, fails, or was registered with
        `speculative=False`. The intelligences that would be asked, and can prepare (`Channel.speculates`),
        get what the gates return, with all of their tools; a turn waits at its first tool call. There is
        one per room and channel: another one replaces it. It is withdrawn by any other commit to the room,
        and after `agent_timeout`. Nothing is prepared for a sender who is new to the room. Raises
        InvalidInputError for a message that makes no event or is of another owner's channel,
        ChannelNotRegisteredError, and what the store raises.
        """

    @abstractmethod
    async def interrupt(
        self, room_id: str, *, stream_id: str | None = None, reason: str = "interrupted"
    ) -> int:
        """End the answers under way in a room, of every intelligence and on every worker.

        `stream_id` ends only the answer whose event will have that id. Generations are cancelled at once;
        what people were shown of them is committed with `reason` as the finish reason, and the delivery to
        the intelligence is skipped for that reason. Turns that wait are not affected, and the turn that
        the caller is part of goes on. Returns how many it ended, before their text is committed; those of
        other workers are ended by a signal, and counted when it is sent. Idempotent. Raises what the
        realtime backend raises.
        """

    @abstractmethod
    async def resume(self, room_id: str, turn_id: str, results: Mapping[str, str | RoomKitError]) -> bool:
        """Give results, by the id of the call, to a turn that waits for them (`Park`).

        From any room, worker or channel. Each call takes one result, a RoomKitError as a failure; they are
        durable on return. With the last one the turn continues, on a worker that has its agent, and True is
        returned; False while other calls of it wait. The caller has decided that the answer counts:
        of messages `asked` says so. Raises TurnNotParkedError for a turn that was resumed, whose deadline
        was over, or that was dropped; InvalidInputError for a call that does not wait and for a result that
        is too long (64 KiB for all of a turn); RoomNotFoundError, RoomClosedError, StoreError.
        """

    @abstractmethod
    async def parked(self, room_id: str) -> Sequence[ParkedTurn]:
        """Return turns of a room that wait for results, at most a hundred, in no order."""

    @abstractmethod
    async def asked(self, event: RoomEvent) -> Sequence[tuple[ParkedTurn, ParkedCall]]:
        """Return the waiting calls that a message answers, each with its turn.

        Its sender is the person who was asked (`Park.asked`), as the kit knows them: by their id in the room
        where they were asked, or by an identity. It replies to the request (`parent_event_id`, which
        `InboundMessage.in_reply_to` sets), or else has the code of the request as one of its words. A code
        alone, said by another person, answers nothing.
        """
