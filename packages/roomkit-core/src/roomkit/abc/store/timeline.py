"""Timelines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

from roomkit.abc.store.queries import EventQuery
from roomkit.abc.store.searching import EventSearch, walk_back

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.enums import EventType
    from roomkit.models.event import RoomEvent

__all__ = ["TimelineStore"]


class TimelineStore(ABC):
    """The events of a room, and how far each channel has read."""

    @abstractmethod
    async def get_event(self, event_id: str, *, organization_id: str | None = None) -> RoomEvent | None:
        """Return an event, as amended."""

    @abstractmethod
    async def query_events(self, query: EventQuery) -> list[RoomEvent]:
        """Return a page of a timeline."""

    async def list_events(
        self,
        room_id: str,
        offset: int = 0,
        limit: int = 50,
        visibility_filter: str | None = None,
        *,
        after_index: int | None = None,
        before_index: int | None = None,
        types: Collection[EventType] | None = None,
        reader: ChannelBinding | None = None,
        newest_first: bool = False,
        by_time: bool = False,
    ) -> list[RoomEvent]:
        """Return a page of a timeline: `query_events` with the filters of an `EventQuery`."""
        query = EventQuery(
            room_id=room_id,
            offset=offset,
            limit=limit,
            visibility=visibility_filter,
            after_index=after_index,
            before_index=before_index,
            types=None if types is None else tuple(types),
            reader=reader,
            newest_first=newest_first,
            by_time=by_time,
        )
        return await self.query_events(query)

    async def search_events(
        self,
        room_id: str,
        query: str,
        reader: ChannelBinding | None = None,
        limit: int = 50,
        *,
        any_word: bool = False,
        before_index: int | None = None,
        types: Collection[EventType] | None = None,
    ) -> list[RoomEvent]:
        """Return the room's events that have all words of `query`, the newest (the highest index) first.

        Words match whole, without case and accents; one that ends in `*` matches as a beginning, and parts
        that punctuation divides must follow each other. Nothing in a query is a command, and one without
        words finds nothing. With `any_word` one word is enough: events that have more of them come first,
        and only the newest `SEARCH_SCAN` entries are looked at. Edits, deletions and deleted events are not
        found, edited events by their present words. `reader` keeps what that binding may see; `before_index`
        is exclusive. Raises InvalidInputError for more than `MAX_SEARCH_WORDS` words with `any_word`.

        As it is here it reads the timeline from its newest end; a store with an index of words overrides it.
        """
        search = EventSearch(
            room_id=room_id,
            query=query,
            reader=reader,
            limit=limit,
            any_word=any_word,
            before_index=before_index,
            types=types,
        )
        return await self.find_words(search)

    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        """Return what `search_events` describes."""
        return await walk_back(self.query_events, search)

    @abstractmethod
    async def find_event_by_key(self, room_id: str, idempotency_key: str) -> RoomEvent | None:
        """Return the room's event with that idempotency key."""

    @abstractmethod
    async def find_keyed_event(
        self, idempotency_key: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        """Return the newest event of any room with that idempotency key."""

    @abstractmethod
    async def find_event(
        self, channel_id: str, external_id: str, *, organization_id: str | None = None
    ) -> RoomEvent | None:
        """Return the newest event of any room whose source has that channel and that vendor's id."""

    async def check_idempotency(self, room_id: str, idempotency_key: str) -> bool:
        """Return whether the room has an event with that idempotency key."""
        return await self.find_event_by_key(room_id, idempotency_key) is not None

    @abstractmethod
    async def get_event_count(self, room_id: str) -> int:
        """Return how many events of any status the room has."""

    @abstractmethod
    async def prune_events(
        self, room_id: str, before: datetime, *, limit: int = 1000, interleaved: bool = False
    ) -> int:
        """Remove the oldest events, with all that hangs on them; return how many were removed.

        Those created before `before`, at most `limit`, and none from the first on that still has a
        pending delivery. Newer events end the search, unless the room is `interleaved`: then they are passed
        over. The room's `event_count` falls, its `latest_index` stays. Raises RoomNotFoundError.
        """

    @abstractmethod
    async def mark_read(self, room_id: str, channel_id: str, event_id: str) -> int:
        """Move the channel's read mark to the event, never backwards; return the mark's index.

        Raises ChannelNotFoundError, EventNotFoundError.
        """

    @abstractmethod
    async def mark_all_read(self, room_id: str, channel_id: str) -> int:
        """Move the channel's read mark to the newest event; return its index (-1: none)."""

    @abstractmethod
    async def get_unread_count(self, room_id: str, channel_id: str) -> int:
        """Return how many messages after the mark the channel may see and did not send itself."""

    @abstractmethod
    async def list_read_marks(self, room_id: str) -> dict[str, int]:
        """Return the read marks of a room by channel id."""
