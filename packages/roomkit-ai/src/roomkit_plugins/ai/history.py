"""The events that one turn may put to its model: filtered once, and carried on as such."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, SupportsIndex, overload, override

from roomkit.models.enums import EventStatus
from roomkit.models.visibility import sees

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.event import RoomEvent

__all__ = ["History", "history_of", "presentable", "window_of"]


def presentable(event: RoomEvent) -> bool:
    """Return whether an event may be put to a model at all: not blocked and not deleted."""
    return event.status is not EventStatus.BLOCKED and not event.deleted


class History(tuple["RoomEvent", ...]):
    """The events before `current` in one turn: each once, and only what `reader` may see.

    A slice is one too. Any other sequence made of its events is not, and is filtered again: what another
    memory made, or kept from another turn, may hold anything.
    """

    current: RoomEvent
    reader: ChannelBinding | None

    @classmethod
    def of(cls, events: Iterable[RoomEvent], current: RoomEvent, reader: ChannelBinding | None) -> History:
        """Make one of events that passed the filter."""
        history = cls(events)
        history.current, history.reader = current, reader
        return history

    @overload
    def __getitem__(self, key: SupportsIndex, /) -> RoomEvent: ...

    @overload
    def __getitem__(self, key: slice, /) -> History: ...

    @override
    def __getitem__(self, key: SupportsIndex | slice, /) -> RoomEvent | History:
        found = super().__getitem__(key)
        return History.of(found, self.current, self.reader) if isinstance(found, tuple) else found

    def is_for(self, current: RoomEvent, reader: ChannelBinding | None) -> bool:
        """Return whether it was made for this event and this reader."""
        return self.current is current and (self.reader is reader or self.reader == reader)


def window_of(events: Sequence[RoomEvent], current: RoomEvent, view: RoomContext) -> History:
    """Return what `view` showed of its history: that is filtered, so only `current` is omitted."""
    if events and events[-1] is current:
        return History.of(events[:-1], current, view.reader)
    return History.of((event for event in events if event.id != current.id), current, view.reader)


def history_of(events: Iterable[RoomEvent], current: RoomEvent, reader: ChannelBinding | None) -> History:
    """Return what of a memory's `events` may go before `current`, each once; all may when `reader` is None.

    A history made for both is not filtered again.
    """
    if isinstance(events, History) and events.is_for(current, reader):
        return events
    found: dict[str, RoomEvent] = {}  # bound: `events`
    for event in events:
        if event.id != current.id and presentable(event) and (reader is None or sees(reader, event)):
            found.setdefault(event.id, event)
    return History.of(found.values(), current, reader)
