"""The store's contract: reading the timeline."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.store import ConversationStore
from roomkit.models.base import new_id
from roomkit.models.enums import Access, ChannelCategory, EventStatus, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.models.visibility import sees
from roomkit_plugins.testing.contracts.base import binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, say
from roomkit_plugins.testing.contracts.strategies import PROPERTY

__all__ = ["TimelineContract"]

VISIBILITIES = [
    "all",
    "none",
    "internal",
    "transport",
    "intelligence",
    "reader",
    "x,reader",
    "reader&transport",
]
TYPES = [EventType.MESSAGE, EventType.SYSTEM, EventType.EDIT]


class TimelineContract(StoreSuite):
    """The timeline is read by index, in pages, and through a reader's eyes."""

    @pytest.fixture
    async def timeline(self, store: ConversationStore, room: Room) -> list[RoomEvent]:
        """Return a stored timeline of every visibility, several types, senders and states."""
        return await commit(
            store,
            room.id,
            *(
                event(
                    room.id,
                    channel_id="reader" if number % 5 == 0 else "writer",
                    visibility=VISIBILITIES[number % len(VISIBILITIES)],
                    type=TYPES[number % len(TYPES)],
                    status=EventStatus.BLOCKED if number % 7 == 0 else EventStatus.PENDING,
                )
                for number in range(24)
            ),
        )

    @PROPERTY
    @given(
        offset=st.integers(0, 30),
        limit=st.integers(0, 30),
        bounds=st.fixed_dictionaries(
            {},
            optional={
                "after_index": st.integers(-2, 30),
                "before_index": st.integers(-2, 30),
                "types": st.sets(st.sampled_from(TYPES)),
                "visibility_filter": st.sampled_from(VISIBILITIES),
                "newest_first": st.booleans(),
                "reader": st.builds(
                    binding,
                    st.just("room"),
                    st.sampled_from(["reader", "writer", "stranger"]),
                    access=st.sampled_from(Access),
                    category=st.sampled_from(ChannelCategory),
                ),
            },
        ),
    )
    async def test_a_page_is_what_all_filters_leave(
        self,
        store: ConversationStore,
        room: Room,
        timeline: list[RoomEvent],
        offset: int,
        limit: int,
        bounds: dict[str, Any],
    ) -> None:
        """Every combination of bounds, types, visibility, reader, order, offset and limit."""
        expected = [each for each in timeline if _admitted(each, bounds)]
        if bounds.get("newest_first"):
            expected.reverse()
        assert await store.list_events(room.id, offset, limit, **bounds) == expected[offset : offset + limit]

    async def test_by_default_it_is_the_first_fifty(self, store: ConversationStore, room: Room) -> None:
        stored = await commit(store, room.id, *(event(room.id) for _ in range(60)))
        assert await store.list_events(room.id) == stored[:50]
        assert await store.list_events(room.id, newest_first=True, limit=1) == stored[-1:]

    async def test_a_cursor_by_index_sees_every_event_once(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Whatever is added while the pages are read."""
        await say(store, room.id, *map(str, range(10)))
        seen: list[int] = []
        while page := await store.list_events(room.id, limit=4, after_index=seen[-1] if seen else -1):
            seen += [each.index for each in page]
            if len(seen) < 12:
                await say(store, room.id, "one more")
        assert seen == list(range(len(seen)))
        assert len(seen) == await store.get_event_count(room.id)

    async def test_rooms_do_not_mix(self, store: ConversationStore, timeline: list[RoomEvent]) -> None:
        """Another room's timeline is its own, and so are its indexes and keys."""
        other = await store.create_room(Room())
        (stored,) = await commit(store, other.id, event(other.id, idempotency_key="k"))
        assert stored.index == 0
        assert await store.list_events(other.id) == [stored]
        assert await store.find_event_by_key(timeline[0].room_id, "k") is None

    async def test_an_event_that_is_not_there_is_none(self, store: ConversationStore, room: Room) -> None:
        """By id and by key; nothing is a duplicate of nothing."""
        assert await store.get_event(new_id()) is None
        assert await store.find_event_by_key(room.id, new_id()) is None
        assert await store.find_event_by_key(new_id(), "key") is None
        assert not await store.check_idempotency(room.id, new_id())


def _admitted(each: RoomEvent, bounds: dict[str, Any]) -> bool:
    return (
        each.index > bounds.get("after_index", -1)
        and each.index < bounds.get("before_index", 1000)
        and ("types" not in bounds or each.type in bounds["types"])
        and bounds.get("visibility_filter", each.visibility) == each.visibility
        and ("reader" not in bounds or sees(bounds["reader"], each))
    )
