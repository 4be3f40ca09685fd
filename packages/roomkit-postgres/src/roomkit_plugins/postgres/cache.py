"""The cache of rooms in use."""

from __future__ import annotations

from collections.abc import Sequence

from roomkit.models.event import RoomEvent
from roomkit_plugins.sql.cached import CachedRoom, CachedRooms, Known

__all__ = ["GrowingRooms"]


class GrowingRooms(CachedRooms):
    """The rooms in use, and how they grow when other processes add to them."""

    def get(self, room_id: str) -> CachedRoom | None:
        """Return the cached state of a room, current or not."""
        return self._records.get(room_id)

    def next_index(self, room_id: str) -> int:
        """Return the index after the newest event that is known."""
        record = self._records.get(room_id)
        return 0 if record is None else record.counters.next_index

    def grown(self, room_id: str, known: Known, events: Sequence[RoomEvent]) -> list[RoomEvent] | None:
        """Return the newest messages with `events` after those that were `known`.

        None when those are in memory no more.
        """
        record = self._records.get(room_id)
        if record is None or record.counters.seq != known.seq or record.tail_size != known.tail:
            return None
        if not events:
            return record.tail
        first = events[0].index
        return [*(event for event in record.tail if event.index < first), *events][-known.tail :]
