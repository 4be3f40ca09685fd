"""Reading rooms, and writing to them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from datetime import datetime

    from roomkit.models.base import Json
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.content import EventContent
    from roomkit.models.delivery import Delivery, InboundMessage
    from roomkit.models.event import RoomEvent
    from roomkit.models.participant import Participant
    from roomkit.models.room import Room
    from roomkit.models.scheduling import SendAt

__all__ = ["Excerpt", "RoomAccess"]


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


class RoomAccess(ABC):
    """Rooms as one owner reads them, and writes to them.

    `channel_id` is the owner's channel by default. A plugin that is not a channel names one: of those whose
    class belongs to it. The host names any. Another owner's channel raises InvalidInputError.
    """

    @abstractmethod
    async def post(
        self,
        room_id: str,
        what: EventContent | RoomEvent,
        *,
        channel_id: str | None = None,
        at: SendAt | None = None,
        wait: Literal["settled", "committed"] = "committed",
    ) -> RoomEvent:
        """Commit an event of the channel by the one write path; return the stored event.

        It passes gates and permissions, and is delivered and answered like any other; `status` is BLOCKED
        when a gate refused it. A content becomes a message. A RoomEvent may say more: its type, the
        direction, participant and vendor's ids of its source, `generation`, `channel_data`, `metadata`,
        `visibility`, `response_visibility`, `addressed_to`, `parent_event_id` and `idempotency_key`. Room,
        index, status, depth, correlation and time are the kernel's, whatever it says of them: `created_at` is
        when it was committed, because retention goes by it. A repeated `idempotency_key` returns the first
        event. With `at` it is committed then, as `send_event` does it: the pending event is returned. Raises
        what `send_event` raises.
        """

    @abstractmethod
    async def change_binding(
        self,
        room_id: str,
        fn: Callable[[ChannelBinding], ChannelBinding],
        *,
        channel_id: str | None = None,
    ) -> ChannelBinding:
        """Replace the channel's binding by `fn(binding)`; return it. The timeline gets no entry.

        `fn` is pure, and called again when the room changed in between: no concurrent change is lost. It may
        change `metadata`, `state`, `participant_id` and `capabilities`; access, mute and visibility are the
        host's (InvalidInputError). Raises RoomNotFoundError, ChannelNotFoundError, RoomClosedError, and
        StaleRoomError for a room that changes all the time.
        """

    @abstractmethod
    async def change_state(self, room_id: str, fn: Callable[[Json | None], Json | None]) -> Json | None:
        """Replace what the owner keeps with a room, under its namespace, by `fn(state)`; return it.

        `Room.state` has it for reading. The timeline gets no entry. `fn` gets None for none, and returns a
        JSON object of at most 16 KiB, 64 KiB for the room, or None to remove it. It is synchronous, pure
        and quick, and is called again if the room changed in between: no change is lost. Inside a gate of
        the room it raises InvalidInputError: a gate returns `HookResult.allow(state=...)`. Keep ids in it;
        text belongs in values with a subject, or under the key `derived`, which is removed when anything of
        the room is erased. Raises RoomNotFoundError, RoomClosedError, InvalidInputError
        for what cannot be stored, StaleRoomError for a room that changes all the time, and what `fn`
        raises.
        """

    @abstractmethod
    async def read_room(self, room_id: str) -> Room:
        """Return a room as the store has it now. Raises RoomNotFoundError."""

    @abstractmethod
    async def find_event(self, external_id: str, *, channel_id: str | None = None) -> RoomEvent | None:
        """Return the newest event that came by the channel under that id of the vendor's, in whatever room.

        In a gate, delivery, turn or observer only rooms of the same organization are looked at, and otherwise
        only those of the channel's organization, if it has one. Former contents of edits are not in it.
        Raises InvalidInputError for another owner's channel, StoreError.
        """

    @abstractmethod
    async def find_delivery(self, message_id: str, *, channel_id: str | None = None) -> Delivery | None:
        """Return the delivery by the channel of which the vendor calls a message so, also one of its parts.

        Looked for as `find_event` does. Raises InvalidInputError for another owner's channel, StoreError.
        """

    @abstractmethod
    async def find_bindings(
        self, address: str, *, channel_id: str | None = None, limit: int = 20
    ) -> Sequence[ChannelBinding]:
        """Return the channel's bindings that have an address, of the rooms that were active last.

        As the store has them now, those of closed rooms too; looked for as `find_event` does. The address is
        in the spelling of `Channel.normalize`. One read of the store, and one for each binding. Raises
        InvalidInputError for another owner's channel, StoreError.
        """

    @abstractmethod
    async def locate(self, message: InboundMessage) -> str | None:
        """Return the room that a message of the owner's channel would go to; None if it would open one.

        Nothing is claimed or made: a message that comes at the same time may open the room first. Raises
        InvalidInputError for a message of another owner's channel.
        """

    @abstractmethod
    async def read_timeline(
        self,
        room_id: str,
        *,
        channel_id: str | None = None,
        after_index: int | None = None,
        limit: int = 100,
    ) -> Excerpt | None:
        """Return up to `limit` events after `after_index` as the store has them now; without it none.

        None when the room does not exist, or the channel is not attached to it. Every event of an
        index up to `latest_index` is committed: fewer than `limit` events leave none of them out.
        Events say what they say now: former contents of edits are not in them.
        """
