"""Stores with one fault each in their search, and the contract test that must find it.

Not collected: `test_planted_faults.py` runs it in a process of its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
from planting import planted

from roomkit.abc.store import Commit, Committed, EventSearch
from roomkit.memory.store import InMemoryStore
from roomkit.models.event import RoomEvent
from roomkit.models.searching import best_hits, hits_in
from roomkit_plugins.testing.contracts import ConversationStoreContract

pytestmark = pytest.mark.virtual_time

found_by = partial(planted, ConversationStoreContract)


class WalkingStore(InMemoryStore):
    """Searches as it should, but for what a fault overrides."""

    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        found = await super().find_words(self.altered(search))
        return found[: max(search.limit, 0)]

    def altered(self, search: EventSearch) -> EventSearch:
        return search


@found_by("test_who_may_not_see_an_event_does_not_find_it")
class ShowsWhatIsHidden(WalkingStore):
    def altered(self, search: EventSearch) -> EventSearch:
        return replace(search, reader=None)


@found_by("test_who_may_not_see_an_event_does_not_find_it")
class CountsWhatIsHidden(InMemoryStore):
    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        found = await super().find_words(replace(search, reader=None))
        seen = await super().find_words(replace(search, limit=1000))
        return [event for event in found if event in seen]


@found_by("test_all_words_must_be_there_and_the_newest_comes_first", "test_every_store_finds_the_same")
class TakesAnyWordForAll(WalkingStore):
    def altered(self, search: EventSearch) -> EventSearch:
        return replace(search, any_word=True)


@found_by("test_with_any_word_more_words_come_first", "test_every_store_finds_the_same")
class DoesNotCountWords(InMemoryStore):
    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        everything = await super().find_words(replace(search, limit=1000))
        return best_hits([(1, event) for event in everything], search.limit)


@found_by("test_every_kind_of_content_is_found_by_its_words")
class IgnoresTypes(WalkingStore):
    def altered(self, search: EventSearch) -> EventSearch:
        return replace(search, types=None)


@found_by("test_every_store_finds_the_same")
class IgnoresTheBound(WalkingStore):
    def altered(self, search: EventSearch) -> EventSearch:
        return replace(search, before_index=None)


@found_by("test_any_word_does_not_look_at_the_whole_of_a_long_room")
class LooksAtEverything(InMemoryStore):
    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        if not search.any_word:
            return await super().find_words(search)
        timeline = await self.list_events(
            search.room_id, limit=10_000, before_index=search.before_index, reader=search.reader
        )
        hits = ((hits_in(event, search.phrases()), event) for event in timeline)
        return best_hits([hit for hit in hits if hit[0]], search.limit)


@found_by(
    "test_an_edited_event_is_found_by_its_present_words",
    "test_redacted_words_find_nothing",
    "test_nothing_of_a_deleted_room_is_found",
)
class IndexesWordsOnce(InMemoryStore):
    """Finds an event by what it said when it was committed."""

    def __init__(self) -> None:
        super().__init__()
        self._said: dict[str, list[RoomEvent]] = {}

    async def commit(self, commit: Commit) -> Committed:
        result = await super().commit(commit)
        self._said.setdefault(commit.room_id, []).extend(result.events)
        return result

    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        wanted = search.phrases()
        said = self._said.get(search.room_id, ())
        return [event for event in reversed(said) if hits_in(event, wanted) == len(wanted)]


@found_by("test_rooms_do_not_mix_in_a_search")
class SearchesEveryRoom(InMemoryStore):
    async def find_words(self, search: EventSearch) -> list[RoomEvent]:
        rooms = [replace(search, room_id=room_id) for room_id in self._rooms]
        return [event for room in rooms for event in await super(SearchesEveryRoom, self).find_words(room)]


@found_by("test_too_many_words_are_refused")
class DropsWords(WalkingStore):
    def altered(self, search: EventSearch) -> EventSearch:
        return replace(search, query=" ".join(search.query.split()[:64]))
