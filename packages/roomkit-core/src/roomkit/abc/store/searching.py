"""Looking for words in a timeline without an index of words: a walk back from its newest end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError
from roomkit.abc.store.queries import EventQuery
from roomkit.models.searching import best_hits, hits_in, is_searched, phrases_of

if TYPE_CHECKING:
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.enums import EventType
    from roomkit.models.event import RoomEvent
    from roomkit.models.searching import Phrase

__all__ = ["MAX_SEARCH_WORDS", "SEARCH_SCAN", "EventSearch", "ReadPage", "walk_back"]

SEARCH_SCAN = 2_000
"""Among how many of the newest entries `any_word` looks, so that its cost does not grow with the room."""

MAX_SEARCH_WORDS = 64
"""How many words `any_word` takes."""

_PAGE = 200

type ReadPage = Callable[[EventQuery], Awaitable[list[RoomEvent]]]
"""A store's `query_events`."""


@dataclass(slots=True, frozen=True, kw_only=True)
class EventSearch:
    """What `search_events` is asked for."""

    room_id: str
    query: str
    reader: ChannelBinding | None = None
    limit: int = 50
    any_word: bool = False
    before_index: int | None = None
    types: Collection[EventType] | None = None

    def phrases(self) -> list[Phrase]:
        """Return the words and phrases to find. Raises InvalidInputError for too many words."""
        wanted = phrases_of(self.query)
        if self.any_word and len(wanted) > MAX_SEARCH_WORDS:
            raise InvalidInputError(
                f"a search for any of {len(wanted)} words in room {self.room_id!r} is too wide: "
                f"ask for {MAX_SEARCH_WORDS} at most"
            )
        return wanted


async def walk_back(read: ReadPage, search: EventSearch) -> list[RoomEvent]:
    """Return what a search finds, by reading the timeline a page at a time."""
    wanted = search.phrases()
    if not wanted or search.limit <= 0:
        return []
    if search.any_word:
        hits = [(count, event) async for event in _newest(read, search) if (count := hits_in(event, wanted))]
        return best_hits(hits, search.limit)
    found: list[RoomEvent] = []  # bound: the limit
    async for event in _newest(read, search):
        if hits_in(event, wanted) == len(wanted):
            found.append(event)
            if len(found) >= search.limit:
                break
    return found


async def _newest(read: ReadPage, search: EventSearch) -> AsyncIterator[RoomEvent]:
    """Yield the events to look at, from the highest index down."""
    query = EventQuery(
        room_id=search.room_id,
        limit=_PAGE,
        after_index=await _first_index(read, search) if search.any_word else None,
        before_index=search.before_index,
        types=search.types,
        reader=search.reader,
        newest_first=True,
    )
    while page := await read(query):
        for event in page:
            if is_searched(event):
                yield event
        if len(page) < _PAGE:
            return
        query = replace(query, before_index=page[-1].index)


async def _first_index(read: ReadPage, search: EventSearch) -> int | None:
    """Return the index above which `any_word` looks."""
    bounds = EventQuery(room_id=search.room_id, limit=1, before_index=search.before_index, newest_first=True)
    newest = await read(bounds)
    last = newest[0].index - SEARCH_SCAN if newest else -1
    return last if last >= 0 else None
