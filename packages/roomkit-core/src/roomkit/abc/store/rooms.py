"""Rooms."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roomkit.abc.store.queries import RoomQuery

if TYPE_CHECKING:
    from roomkit.models.enums import ChannelType, RoomStatus
    from roomkit.models.room import Room
    from roomkit.models.timer import Timer

__all__ = ["RoomStore"]


class RoomStore(ABC):
    """Creates, changes, removes and finds rooms."""

    @abstractmethod
    async def create_room(self, room: Room, *, timers: Sequence[Timer] = ()) -> Room:
        """Add a room, with its first timers. Raises RoomAlreadyExistsError."""

    @abstractmethod
    async def get_room(self, room_id: str, *, organization_id: str | None = None) -> Room | None:
        """Return a room."""

    @abstractmethod
    async def update_room(self, room: Room) -> Room:
        """Replace a room, but for the fields the store owns (see `Room`); return it as stored.

        `timers.last_activity_at` is set too, unless it is None. An update of a room that was read before
        its newest event (by `room.latest_index`) moves it forward only. The timer that watches the
        room's timers is not rescheduled: `RoomKit.set_room_timers` does that. Raises StaleRoomError when
        the room has changed since `room` was read, by `room.version`.
        """

    @abstractmethod
    async def patch_room_metadata(
        self, room_id: str, patch: Mapping[str, Any], unset: Collection[str] = ()
    ) -> Room:
        """Merge `patch` into the room's metadata and drop `unset`, atomically; return the room."""

    @abstractmethod
    async def delete_room(self, room_id: str) -> bool:
        """Remove a room and all that belongs to it; False when there is none.

        The idempotency keys of its events are removed with them, those that span rooms too, because a
        vendor's id may name a person.
        """

    @abstractmethod
    async def query_rooms(self, query: RoomQuery) -> list[Room]:
        """Return a page of rooms. Raises StaleCursorError when the room `query.after` is gone."""

    async def find_rooms(
        self,
        organization_id: str | None = None,
        status: RoomStatus | str | None = None,
        metadata_filter: Mapping[str, Any] | None = None,
        *,
        limit: int = 100,
        offset: int = 0,
        after: str | None = None,
    ) -> list[Room]:
        """Return a page of rooms: `query_rooms` with the filters of a `RoomQuery`."""
        query = RoomQuery(
            organization_id=organization_id,
            status=status,
            metadata=dict(metadata_filter or {}),
            limit=limit,
            offset=offset,
            after=after,
        )
        return await self.query_rooms(query)

    async def list_rooms(
        self, offset: int = 0, limit: int = 50, *, organization_id: str | None = None
    ) -> list[Room]:
        """Return a page of all rooms."""
        query = RoomQuery(organization_id=organization_id, limit=limit, offset=offset)
        return await self.query_rooms(query)

    @abstractmethod
    async def find_latest_room(
        self,
        participant_id: str,
        channel_type: ChannelType | None = None,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> Room | None:
        """Return the newest room where the id is a participant, or a binding's participant.

        `channel_type` wants a binding of that type in the room; `status` defaults to the open ones.
        """

    @abstractmethod
    async def find_sender_room_ids(
        self, channel_id: str, sender_id: str, *, limit: int = 2, organization_id: str | None = None
    ) -> list[str]:
        """Return open rooms where `sender_id` came by `channel_id`, the last active first.

        Not those the channel is no longer attached to.
        """

    @abstractmethod
    async def find_address_room_ids(
        self,
        channel_id: str,
        address: str,
        *,
        limit: int = 2,
        organization_id: str | None = None,
        closed: bool = False,
    ) -> list[str]:
        """Return open rooms where the channel's binding has that `address`, the last active first.

        With `closed`, rooms of any other status, too. Addresses are compared character by character: callers
        normalise them.
        """

    @abstractmethod
    async def find_bound_room_ids(
        self,
        address: str,
        *,
        organization_id: str | None = None,
        limit: int = 100,
        after: str | None = None,
    ) -> list[str]:
        """Return a page of the rooms of any status where a binding of any channel has that `address`.

        They are in order of their ids, by code point; `after` is the last id of the page before. Addresses
        are compared as `find_address_room_ids` does.
        """

    @abstractmethod
    async def find_room_ids_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        limit: int = 2,
        organization_id: str | None = None,
    ) -> list[str]:
        """Return rooms the channel is attached to; `status` defaults to the open ones."""

    async def find_room_id_by_channel(
        self,
        channel_id: str,
        status: RoomStatus | str | None = None,
        *,
        organization_id: str | None = None,
    ) -> str | None:
        """Return the room the channel is attached to, None when there is none or more than one."""
        found = await self.find_room_ids_by_channel(
            channel_id, status, limit=2, organization_id=organization_id
        )
        return found[0] if len(found) == 1 else None
