"""Stored events as their readers see them: what they say now, and never what they said before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.abc.services.rooms import Excerpt
from roomkit.models.content import EditContent, TextContent

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent

__all__ = ["as_read", "read_excerpt"]

_NOTHING = TextContent(body="")


async def read_excerpt(
    store: ConversationStore, room_id: str, channel_id: str, after_index: int | None, limit: int
) -> Excerpt | None:
    """Return a room, and a page of its events, as a channel may see them; see `RoomAccess.read_timeline`."""
    record = await store.load(room_id)
    binding = record.bindings.get(channel_id) if record is not None else None
    if record is None or binding is None:
        return None
    room, events = record.room, []  # bound: limit
    if after_index is not None and after_index < room.latest_index:
        events = await store.list_events(room_id, limit=limit, after_index=after_index, reader=binding)
        events = await as_read(store, events)
    return Excerpt(binding, room.latest_index, events, record.participants, room.created_at)


async def as_read(store: ConversationStore, events: Sequence[RoomEvent]) -> list[RoomEvent]:
    """Return a page of events without former contents, in the same order and number.

    The entry of an edit shows what its target says now, which a later edit may have changed; nothing
    when the target was deleted. Each target costs one read.
    """
    current: dict[str, EventContent] = {}  # bound: one page
    for event in events:
        target_id = _target_of(event)
        if target_id is not None and target_id not in current:
            current[target_id] = await _words(store, event.room_id, target_id)
    return [_without_former_words(event, current) for event in events]


async def _words(store: ConversationStore, room_id: str, event_id: str) -> EventContent:
    target = await store.get_event(event_id)
    return _NOTHING if target is None or target.deleted or target.room_id != room_id else target.content


def _target_of(event: RoomEvent) -> str | None:
    return event.content.target_event_id if isinstance(event.content, EditContent) else None


def _without_former_words(event: RoomEvent, current: dict[str, EventContent]) -> RoomEvent:
    event = event.without_former_contents()
    if isinstance(event.content, EditContent):
        words = current[event.content.target_event_id]
        return event.replace(content=event.content.replace(new_content=words))
    return event
