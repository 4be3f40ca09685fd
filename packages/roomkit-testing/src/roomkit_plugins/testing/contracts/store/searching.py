"""The store's contract: words are found in one room, by who may see them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.store import MAX_SEARCH_WORDS, SEARCH_SCAN, Amend, Commit, ConversationStore, Move
from roomkit.models.base import new_id
from roomkit.models.content import EditContent, RichContent, TextContent
from roomkit.models.enums import Access, ChannelCategory, EventStatus, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit.models.searching import best_hits, hits_in, phrases_of
from roomkit.models.visibility import sees
from roomkit_plugins.testing.contracts.base import NOW, binding, event
from roomkit_plugins.testing.contracts.store.base import StoreSuite, commit, say
from roomkit_plugins.testing.contracts.strategies import PROPERTY, texts

__all__ = ["SearchContract"]

VISIBILITIES = ["all", "none", "internal", "transport", "intelligence", "reader", "x,reader", "other"]
WORDS = ["tea", "Tea", "café", "cafe", "opens", "open", "open-late", "room", "OR", "7"]


class SearchContract(StoreSuite):
    """Words are looked for in the same way by every store, with an index of words or without."""

    async def test_all_words_must_be_there_and_the_newest_comes_first(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Without case and accents; a star asks for a beginning."""
        first, second, _ = await say(store, room.id, "The Café is open", "a cafe, opened late", "tea")
        assert await store.search_events(room.id, "cafe") == [second, first]
        assert await store.search_events(room.id, "CAFÉ open") == [first]
        assert await store.search_events(room.id, "cafe open*") == [second, first]
        assert await store.search_events(room.id, "cafe", limit=1) == [second]
        for nothing in ("coffee", "open late", "", "  ", "*", "-"):
            assert await store.search_events(room.id, nothing) == []
        assert await store.search_events(room.id, "cafe", limit=0) == []

    async def test_with_any_word_more_words_come_first(self, store: ConversationStore, room: Room) -> None:
        """And of events with as many, the newest."""
        tea, both, cake, _ = await say(store, room.id, "tea", "Tea with cake", "cake, cake", "coffee")
        assert await store.search_events(room.id, "tea cake", any_word=True) == [both, cake, tea]
        assert await store.search_events(room.id, "TEA cake nothing", any_word=True, limit=2) == [both, cake]
        assert await store.search_events(room.id, "- *", any_word=True) == []

    @PROPERTY
    @given(
        said=st.lists(st.lists(st.sampled_from(WORDS), min_size=1, max_size=4), min_size=1, max_size=6),
        query=st.lists(st.sampled_from([*WORDS, "op*", "caf*"]), min_size=1, max_size=4),
        any_word=st.booleans(),
        limit=st.integers(0, 6),
        before=st.none() | st.integers(-1, 7),
    )
    async def test_every_store_finds_the_same(
        self,
        store: ConversationStore,
        said: list[list[str]],
        query: list[str],
        any_word: bool,
        limit: int,
        before: int | None,
    ) -> None:
        """What the rule for one text says of each, in the order that the contract says."""
        room = await store.create_room(Room())
        stored = await say(store, room.id, *map(" ".join, said))
        wanted = phrases_of(" ".join(query))
        least = 1 if any_word else len(wanted)
        hits = [
            (count if any_word else 1, each)
            for each in stored
            if (before is None or each.index < before) and (count := hits_in(each, wanted)) >= least
        ]
        found = await store.search_events(
            room.id, " ".join(query), limit=limit, any_word=any_word, before_index=before
        )
        assert found == best_hits(hits, limit)

    async def test_rooms_do_not_mix_in_a_search(self, store: ConversationStore, room: Room) -> None:
        """Whatever the words: another room's events are not found, nor its number."""
        other = await store.create_room(Room())
        await say(store, other.id, "secret plan 1 2 3")
        (mine,) = await say(store, room.id, "our plan")
        assert await store.search_events(room.id, "plan") == [mine]
        hostile = ["secret OR plan", 'plan" OR room : "2', "room : 2", "NOT plan", "* OR secret", "^plan"]
        for query in (*hostile, "{room} : 2", "1 2 3"):
            for any_word in (False, True):
                found = await store.search_events(room.id, query, any_word=any_word)
                assert all(each.room_id == room.id for each in found)
        assert await store.search_events(new_id(), "plan") == []
        assert await store.search_events(new_id(), "plan", any_word=True) == []

    async def test_who_may_not_see_an_event_does_not_find_it(
        self, store: ConversationStore, room: Room
    ) -> None:
        """What a reader finds is what `sees` lets through; the rest takes no place among it."""
        stored = await commit(
            store,
            room.id,
            *(
                event(room.id, "word", visibility=each, channel_id=sender)
                for each in VISIBILITIES
                for sender in ("reader", "writer")
            ),
            event(room.id, "word", status=EventStatus.BLOCKED),
            event(room.id, "word", status=EventStatus.BLOCKED, channel_id="reader"),
        )
        for access in Access:
            for category in ChannelCategory:
                reader = binding(room.id, "reader", access=access, category=category)
                expected = [each for each in reversed(stored) if sees(reader, each)]
                for any_word in (False, True):
                    assert await store.search_events(room.id, "word", reader, any_word=any_word) == expected
                    assert (
                        await store.search_events(room.id, "word", reader, 3, any_word=any_word)
                        == expected[:3]
                    )

    async def test_an_edited_event_is_found_by_its_present_words(
        self, store: ConversationStore, room: Room
    ) -> None:
        """The entry that changed it is not found beside it."""
        first, second = await say(store, room.id, "before", "before")
        after = TextContent(body="after")
        content = EditContent(target_event_id=first.id, new_content=after)
        await commit(store, room.id, event(room.id, type=EventType.EDIT, content=content))
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, amend=Amend(first.id, after, "ann")))
        assert await self._found(store, room, "after") == [first.id]
        assert await self._found(store, room, "before") == [second.id]
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, amend=Amend(second.id, None, "ann")))
        assert await self._found(store, room, "before") == []

    async def test_redacted_words_find_nothing(self, store: ConversationStore, room: Room) -> None:
        """Of an event whose text was erased, though the event is still there."""
        first, second = await say(store, room.id, "my number is 4711", "the number is 4711")
        await store.commit(Commit(room_id=room.id, entries=(), at=NOW, redact=[first.id]))
        assert await self._found(store, room, "4711") == [second.id]

    async def test_nothing_of_a_deleted_room_is_found(self, store: ConversationStore, room: Room) -> None:
        """Not even when the room is made again."""
        await say(store, room.id, "gone")
        await store.delete_room(room.id)
        await store.create_room(Room(id=room.id))
        await say(store, room.id, "new")
        assert await self._found(store, room, "gone") == []

    async def test_moved_events_are_found_where_they_are(
        self, store: ConversationStore, other: ConversationStore, room: Room
    ) -> None:
        """Among the new room's own, in order of their places there."""
        into = await store.create_room(Room())
        moved = await say(store, room.id, "a plan", "another plan")
        (own,) = await say(store, into.id, "the plan")
        move = Move(
            source=Commit(room_id=room.id, entries=(), at=NOW),
            into=Commit(room_id=into.id, entries=(), at=NOW),
            events=[each.id for each in moved],
        )
        await store.move(move)
        for on in (store, other):
            assert await self._found(on, into, "plan") == [moved[1].id, moved[0].id, own.id]
            assert await self._found(on, room, "plan") == []

    async def test_every_kind_of_content_is_found_by_its_words(
        self, store: ConversationStore, room: Room
    ) -> None:
        """What a reader of plain text would read; `types` says of which types."""
        content = RichContent(body="**bold** words", plain_text="bold words")
        rich, note = await commit(
            store,
            room.id,
            event(room.id, content=content),
            event(room.id, "bold note", type=EventType.SYSTEM),
        )
        assert await store.search_events(room.id, "bold words") == [rich]
        assert await store.search_events(room.id, "bold") == [note, rich]
        assert await store.search_events(room.id, "bold", types=[EventType.MESSAGE]) == [rich]
        assert await store.search_events(room.id, "bold", types=[], any_word=True) == []

    @PROPERTY
    @given(query=texts() | st.text("ab\"'*:(){}^+-~ \x00", max_size=20), any_word=st.booleans())
    async def test_no_query_is_an_error(
        self, store: ConversationStore, room: Room, query: str, any_word: bool
    ) -> None:
        """Whatever is typed into a search box is looked for as it stands."""
        query = " ".join(query.split()[:MAX_SEARCH_WORDS])
        assert isinstance(await store.search_events(room.id, query, any_word=any_word), list)

    async def test_too_many_words_are_refused(self, store: ConversationStore, room: Room) -> None:
        """One of any; all of them are one question, however long."""
        text = " ".join(f"w{number}" for number in range(MAX_SEARCH_WORDS + 1))
        (stored,) = await say(store, room.id, text)
        assert await store.search_events(room.id, text) == [stored]
        with pytest.raises(InvalidInputError, match=r"65 words in room .* is too wide: ask for 64 at most"):
            await store.search_events(room.id, text, any_word=True)

    async def test_any_word_does_not_look_at_the_whole_of_a_long_room(
        self, store: ConversationStore, room: Room
    ) -> None:
        """Its cost is bounded by the entries it looks at, counted from where it begins."""
        (old,) = await say(store, room.id, "needle")
        assert await self._any(store, room, None) == [old.id]
        assert await self._any(store, room, SEARCH_SCAN) == [old.id]
        await commit(store, room.id, *(event(room.id, "hay") for _ in range(SEARCH_SCAN)))
        assert await self._any(store, room, None) == []
        assert await self._any(store, room, SEARCH_SCAN) == [old.id]
        assert await store.search_events(room.id, "needle") == [old]

    async def _any(self, store: ConversationStore, room: Room, before: int | None) -> Sequence[str]:
        found = await store.search_events(room.id, "needle pin", any_word=True, before_index=before)
        return ids(found)

    async def _found(self, store: ConversationStore, room: Room, words: str) -> Sequence[str]:
        """Return the ids of what both searches find, which for one word is the same."""
        found = await store.search_events(room.id, words)
        assert await store.search_events(room.id, words, any_word=True) == found
        return ids(found)


def ids(found: Sequence[RoomEvent]) -> list[str]:
    """Return the ids of events."""
    return [each.id for each in found]
