"""Rooms that meet."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.abc.store.records import Move

__all__ = ["MoveStore"]


class MoveStore(ABC):
    """Moves what belongs to one room to another one."""

    @abstractmethod
    async def move(self, move: Move) -> int:
        """Write everything in `move` or nothing; return how many events were moved.

        Indexes strictly rise in both rooms for ever: those of moved events are not used again in the source,
        where they stay holes. Entries found by an event's, delivery's or task's id, by a vendor's id or by an
        idempotency key that spans rooms is found as before.

        Raises what `commit` raises for either room. Raises RoomBusyError when a delivery of an event to be
        moved is pending; with `everything`, any of the source; of a channel that one of the two commits binds
        or unbinds, any in that room.
        """
