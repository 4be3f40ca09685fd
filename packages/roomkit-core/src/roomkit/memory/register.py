"""Which events refer to which files, in memory."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from roomkit.abc.store.media import MediaUse
from roomkit.models.event import RoomEvent

__all__ = ["MediaTable"]

_AT_ONCE = datetime.min.replace(tzinfo=UTC)


class MediaTable:
    """Files by id with their rooms, and the references of events."""

    def __init__(self) -> None:
        self._rooms: dict[str, str] = {}  # bound: registered files, until forgotten
        self._unused: dict[str, datetime] = {}  # bound: the same
        self._events: dict[str, set[str]] = {}  # bound: the references of files
        self.by_event: dict[str, set[str]] = {}  # bound: the references of events

    def register(self, room_id: str, media_ids: Collection[str], unused_at: datetime) -> None:
        """Register files."""
        for media_id in media_ids:
            if media_id not in self._rooms:
                self._rooms[media_id] = room_id
                self._unused[media_id] = unused_at

    def use(self, uses: Iterable[MediaUse]) -> None:
        """Add references; those to files that are not registered are passed over."""
        for media_id, event_id in uses:
            if media_id in self._rooms:
                self._unused.pop(media_id, None)
                self._events.setdefault(media_id, set()).add(event_id)
                self.by_event.setdefault(event_id, set()).add(media_id)

    def release(self, event_id: str) -> None:
        """Remove the references of an event."""
        for media_id in self.by_event.pop(event_id, ()):
            events = self._events[media_id]
            events.discard(event_id)
            if not events:
                del self._events[media_id]
                self._unused[media_id] = _AT_ONCE

    def rooms(self, media_ids: Collection[str], events: Mapping[str, RoomEvent]) -> dict[str, frozenset[str]]:
        """Return the rooms of registered files: of the events that refer to them, else their own."""
        return {
            each: frozenset(events[event_id].room_id for event_id in self._events.get(each, ()))
            or frozenset({self._rooms[each]})
            for each in media_ids
            if each in self._rooms
        }

    def unused(self, before: datetime, limit: int) -> list[tuple[str, str]]:
        """Return files that no event refers to, oldest first."""
        due = sorted((at, media_id) for media_id, at in self._unused.items() if at <= before)
        return [(self._rooms[media_id], media_id) for _, media_id in due[: max(0, limit)]]

    def forget(self, media_ids: Collection[str]) -> int:
        """Remove files that no event refers to."""
        found = {each for each in media_ids if each in self._unused}
        for media_id in found:
            del self._rooms[media_id], self._unused[media_id]
        return len(found)

    def uses(self, event_ids: Sequence[str]) -> list[MediaUse]:
        """Return what events refer to."""
        return [
            MediaUse(media_id, event_id)
            for event_id in event_ids
            for media_id in sorted(self.by_event.get(event_id, ()))
        ]
