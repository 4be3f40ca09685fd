"""From a room that was merged to the room that has its contents now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomNotFoundError

if TYPE_CHECKING:
    from roomkit.abc.store import ConversationStore
    from roomkit.models.room import Room

__all__ = ["MOST_HOPS", "followed", "successor"]

MOST_HOPS = 8
"""How many merges may lie between a room and the one that has its contents."""


async def followed(store: ConversationStore, room: Room) -> Room:
    """Return the room itself, or the one that it was merged into. Raises RoomNotFoundError."""
    for _ in range(MOST_HOPS + 1):
        if room.merged_into is None:
            return room
        after = await store.get_room(room.merged_into)
        if after is None:
            break
        room = after
    raise RoomNotFoundError(
        f"room {room.id!r} is gone: it was merged into {room.merged_into!r}, which was deleted"
    )


async def successor(
    store: ConversationStore, room_id: str, organization_id: str | None = None
) -> Room | None:
    """Return the room that a room was merged into; None for one that was not merged, or is not there."""
    room = await store.get_room(room_id, organization_id=organization_id)
    return None if room is None or room.merged_into is None else await followed(store, room)
