"""Live things: those that one worker has, such as a call, and those that any may have, such as sockets."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Literal

from roomkit._dataclasses import dataclass

if TYPE_CHECKING:
    from roomkit.abc.services.rooms import Excerpt
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import EventSource, RoomEvent
    from roomkit.models.participant import Participant

__all__ = ["Follow", "Home", "Homes", "Piece", "PieceError", "RoomChanged", "ShowEvent", "ShowPiece"]

type PieceError = Literal["answer_failed", "answer_cancelled", "answer_withheld"]
"""Why an answer ended without an event: its agent failed, it was cut short, or nothing of it may be shown."""

type ShowEvent = Callable[[RoomEvent], Awaitable[None]]
"""`async (event)`: shows a committed event to a follower."""

type ShowPiece = Callable[[Piece], Awaitable[None]]
"""`async (piece)`: shows a follower that an answer has grown, or ended without an event."""

type RoomChanged = Callable[[Excerpt | None], None]
"""`(excerpt)`: takes the room, without events, as it was just read; None: the follower has lost it."""


@dataclass(slots=True, frozen=True)
class Piece:
    """A piece that an answer grew by while it is generated; the first piece of an answer may be empty.

    `stream_id` is the id that the answer's event will have. With an `error` it ended without one; otherwise
    it ends with that event, whose content is what counts.
    """

    stream_id: str
    source: EventSource
    text: str = ""
    error: PieceError | None = None


class Follow(ABC):
    """One follower of a room.

    `index` is that of the newest event it was shown, or that was not for it. `binding` and `participants` are
    those of the room as it was last read, or committed to here; None and empty before.
    """

    room_id: str
    channel_id: str
    index: int = -1
    binding: ChannelBinding | None = None
    participants: Mapping[str, Participant]

    @abstractmethod
    async def begun(self) -> None:
        """Wait until every event that is committed from now on will be shown, or the follower has ended.

        It waits for the store; and for the realtime backend for two seconds at most.
        """

    @abstractmethod
    async def wait(self) -> None:
        """Wait until the follower ends; return when it was stopped. Raises FollowEndedError."""

    @abstractmethod
    def stop(self) -> None:
        """Show nothing more; a `show` under way is cancelled. Idempotent."""


class Home:
    """A live thing that this worker has.

    `token` is higher than that of every holder before; it rises when the worker goes on under another
    lease. `lost` is set when another worker has the home: end the live thing. `room_id` (None of an elected
    one) and `name` say which home it is. As `fence` of a value, it refuses the write once it is lost.
    """

    def __init__(self, token: int, *, room_id: str | None = None, name: str = "") -> None:
        self.token = token
        self.room_id = room_id
        self.name = name
        self.lost = asyncio.Event()


class Homes(ABC):
    """Says which worker has a live thing, so that deliveries to it go there.

    A worker has a home under its lease on the store. A home that is not left is lost with the lease, such as
    when the worker is killed; another worker can take it then. If a worker that was paused or cut off gets
    another lease, it takes its homes again; `Home.lost` is set for those that another worker has had since.
    """

    @abstractmethod
    async def take(self, room_id: str, channel_id: str | None = None) -> Home:
        """Make this worker the home of a channel's live thing in a room, and claim pending deliveries to it.

        Call it when the live thing is there and can be delivered to. `channel_id` is the owner's own channel
        by default. Taking a home that this worker has is not an error. Raises HomeElsewhereError if another
        worker in force has it, RoomNotFoundError, StoreError.
        """

    @abstractmethod
    async def leave(self, room_id: str, channel_id: str | None = None) -> None:
        """Leave a home because the live thing has ended; pending deliveries are skipped as `no_session`.

        Nothing happens if this worker does not have it. Raises StoreError.
        """

    @abstractmethod
    async def elect(self, name: str, work: Callable[[Home], Awaitable[None]]) -> None:
        """Run `work` on one worker of all that call this with the name; return when it has ended here.

        The others wait, and ask again every third of a lease. `work` is cancelled when this worker's lease
        runs out, before another worker can be elected, and this one waits to be elected again. What it raises
        is raised, and another worker is elected. Names belong to the owner's namespace. Endless, as a rule:
        `tasks.serve(homes.elect(...), name=...)`.
        """

    @abstractmethod
    def follow(
        self,
        room_id: str,
        channel_id: str | None,
        show: ShowEvent,
        *,
        after: int | None = None,
        pieces: ShowPiece | None = None,
        changed: RoomChanged | None = None,
    ) -> Follow:
        """Show each event of a room that is for a channel, once and in order of index, from any worker.

        Events after the index `after` are read from the timeline first; without it, those committed from now
        on are shown. What signals of other workers lose, double or reorder is repaired from the timeline: at
        the next event, or once the room was quiet for half a minute. `pieces` is called with answers while
        they are generated, best effort: in order, perhaps not to their end. `changed` is called whenever the
        room was read, as after each change of rights in it, and with None when the follower has lost it.

        Each follower has its own position in the timeline: a slow one holds up no other, and continues from
        there. Its functions are called one at a time. If one raises, or takes longer than the kit's
        `delivery_timeout`, it ends with FollowEndedError, as when the room is deleted or the channel detached
        from it. While the channel may not read, events are not shown. Other workers signal at once what is
        delivered to a channel that `follows_rooms`; for other channels, their commits are found with
        the next one of this worker, or by the look at quiet rooms. A room that does not exist yet can be
        followed. Raises InvalidInputError.
        """
