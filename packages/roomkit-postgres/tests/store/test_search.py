"""Words are found in one room, by who may see them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.store import Amend, Commit
from roomkit.models.content import EditContent, RichContent, TextContent
from roomkit.models.enums import Access, ChannelCategory, EventStatus, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.models.visibility import sees
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.strategies import PROPERTY, texts

from .conftest import send


async def say(store: PostgresStore, *events: RoomEvent) -> list[RoomEvent]:
    """Commit events of one room; return them as stored."""
    return list((await send(store, *events)).events)


async def test_all_words_must_be_there_and_the_newest_comes_first(store: PostgresStore, room: Room) -> None:
    """Without case and accents; a star asks for a beginning."""
    first, second, _ = await say(
        store,
        event(room.id, "The Café is open"),
        event(room.id, "a cafe, opened late"),
        event(room.id, "tea"),
    )
    assert await store.search_events(room.id, "cafe") == [second, first]
    assert await store.search_events(room.id, "CAFÉ open") == [first]
    assert await store.search_events(room.id, "cafe open*") == [second, first]
    assert await store.search_events(room.id, "cafe", limit=1) == [second]
    for nothing in ("coffee", "open late", "", "  ", "*", "-"):
        assert await store.search_events(room.id, nothing) == []


async def test_rooms_do_not_mix(store: PostgresStore, room: Room) -> None:
    """Whatever the words: another room's events are not found, nor its number."""
    other = await store.create_room(Room())
    await say(store, event(other.id, "secret plan 1 2 3"))
    (mine,) = await say(store, event(room.id, "our plan"))
    assert await store.search_events(room.id, "plan") == [mine]
    hostile = [
        "secret OR plan",
        'plan" OR room : "2',
        "room : 2",
        "NOT plan",
        "* OR secret",
        "^plan",
        "{room} : 2",
    ]
    for query in hostile:
        found = await store.search_events(room.id, query)
        assert all(each.room_id == room.id for each in found)
    assert await store.search_events("nowhere", "plan") == []


async def test_who_may_not_see_an_event_does_not_find_it(store: PostgresStore, room: Room) -> None:
    """What a reader finds is what `sees` lets through, and nothing else."""
    visibilities = ["all", "none", "internal", "transport", "intelligence", "reader", "x,reader", "other"]
    stored = await say(
        store,
        *(
            event(room.id, "word", visibility=each, channel_id=sender)
            for each in visibilities
            for sender in ("reader", "writer")
        ),
        event(room.id, "word", status=EventStatus.BLOCKED),
        event(room.id, "word", status=EventStatus.BLOCKED, channel_id="reader"),
    )
    for access in Access:
        for category in ChannelCategory:
            reader = binding(room.id, "reader", access=access, category=category)
            expected = [each for each in reversed(stored) if sees(reader, each)]
            assert await store.search_events(room.id, "word", reader) == expected


async def test_an_edited_event_is_found_by_its_present_words(store: PostgresStore, room: Room) -> None:
    first, second = await say(store, event(room.id, "before"), event(room.id, "before"))
    after = TextContent(body="after")
    await say(
        store,
        event(room.id, type=EventType.EDIT, content=EditContent(target_event_id=first.id, new_content=after)),
    )
    await store.commit(Commit(room_id=room.id, entries=(), at=NOW, amend=Amend(first.id, after, "ann")))
    assert [each.id for each in await store.search_events(room.id, "after")] == [first.id]
    assert await store.search_events(room.id, "before") == [second]
    await store.commit(Commit(room_id=room.id, entries=(), at=NOW, amend=Amend(second.id, None, "ann")))
    assert await store.search_events(room.id, "before") == []


async def test_nothing_of_a_deleted_room_is_found(store: PostgresStore, room: Room) -> None:
    """Not even when the room is made again."""
    await say(store, event(room.id, "gone"))
    await store.delete_room(room.id)
    await store.create_room(Room(id=room.id))
    await say(store, event(room.id, "new"))
    assert await store.search_events(room.id, "gone") == []


async def test_every_kind_of_content_is_found_by_its_words(store: PostgresStore, room: Room) -> None:
    """What a reader of plain text would read."""
    (stored,) = await say(
        store, event(room.id, content=RichContent(body="**bold** words", plain_text="bold words"))
    )
    assert await store.search_events(room.id, "bold words") == [stored]


@PROPERTY
@given(query=texts() | st.text("ab\"'*:(){}^+-~ \x00", max_size=20))
async def test_no_query_is_an_error(store: PostgresStore, room: Room, query: str) -> None:
    """Whatever is typed into a search box is looked for as it stands."""
    assert isinstance(await store.search_events(room.id, query), list)


async def test_a_search_goes_on_until_it_has_found_enough(store: PostgresStore, room: Room) -> None:
    (mine,) = await say(store, event(room.id, "rare"))
    await say(store, *(event(room.id, "common") for _ in range(450)))
    assert await store.search_events(room.id, "rare") == [mine]
    assert len(await store.search_events(room.id, "common", limit=300)) == 300
