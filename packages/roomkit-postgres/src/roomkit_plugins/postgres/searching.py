"""Looks for words in a timeline.

There is no index of words: it would cost every message more than all its other indexes, and few rooms are
ever searched. So a search reads the room's timeline from its newest end, until it has found enough.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from roomkit.models.channel import ChannelBinding
from roomkit.models.content import text_of
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit.models.visibility import sees
from roomkit_plugins.postgres import reading
from roomkit_plugins.postgres.database import Database

__all__ = ["Phrase", "phrases", "search"]

_WORDS = re.compile(r"[^\W_]+")
_SEARCHED = tuple(each for each in EventType if each not in (EventType.EDIT, EventType.DELETE))


class Phrase:
    """Words that must follow each other; the last one may be no more than a beginning."""

    def __init__(self, words: Sequence[str], *, is_beginning: bool) -> None:
        self._words = tuple(words)
        self._is_beginning = is_beginning

    def is_in(self, words: Sequence[str]) -> bool:
        """Return whether a text of these words has the phrase."""
        *first, last = self._words
        for place in range(len(words) - len(first)):
            found = words[place + len(first)]
            if (found.startswith(last) if self._is_beginning else found == last) and list(
                words[place : place + len(first)]
            ) == first:
                return True
        return False


def phrases(query: str) -> list[Phrase]:
    """Return what a query asks for, all of it: its words, each with a star at its end for a beginning."""
    return [
        Phrase(words, is_beginning=part.endswith("*")) for part in query.split() if (words := _words(part))
    ]


def _words(text: str) -> list[str]:
    """Return the words of a text, without case and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _WORDS.findall("".join(each for each in plain if not unicodedata.combining(each)))


async def search(
    database: Database, room_id: str, query: str, reader: ChannelBinding | None, limit: int
) -> list[RoomEvent]:
    """Return the newest events of a room that have all words of the query and may be seen by the reader."""
    wanted = phrases(query)
    found: list[RoomEvent] = []  # bound: limit
    if not wanted or limit <= 0:
        return found
    async for event in reading.walk_back(database, room_id, _SEARCHED):
        if event.deleted or not (reader is None or sees(reader, event)):
            continue
        words = _words(text_of(event.content))
        if all(each.is_in(words) for each in wanted):
            found.append(event)
            if len(found) >= limit:
                break
    return found
