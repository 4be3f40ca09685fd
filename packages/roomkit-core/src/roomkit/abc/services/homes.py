"""Live things that one worker has: a call, a bot's connection."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable

__all__ = ["Home", "Homes"]


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
        by default. Taking a home that this worker has is no error. Raises HomeElsewhereError if another
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
