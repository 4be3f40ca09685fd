"""Looks for words in a timeline, by the file's index of words."""

from __future__ import annotations

import sqlite3
from itertools import islice
from typing import TYPE_CHECKING, Any

from roomkit.abc.store import SEARCH_SCAN
from roomkit.models.visibility import sees
from roomkit_plugins.sql.filters import bounded, clamp
from roomkit_plugins.sqlite.rows import EVENT, event_of
from roomkit_plugins.sqlite.sql import Conditions, marks, one, snapshot

if TYPE_CHECKING:
    from roomkit.abc.store import EventSearch
    from roomkit.models.event import RoomEvent
    from roomkit.models.searching import Phrase

__all__ = ["find_words"]


def find_words(connection: sqlite3.Connection, search: EventSearch) -> list[RoomEvent]:
    """Return the events of a room that have the words that are looked for, the best first.

    Only the rows' numbers are sorted; events are read as they are needed.
    """
    words = [_quoted(phrase) for phrase in search.phrases()]
    with snapshot(connection):
        row = one(connection, "SELECT seq, next_index - 1 FROM rooms WHERE id = ?", (search.room_id,))
        if row is None or not words:
            return []
        room, latest = row
        if not search.any_word:
            words = [" AND ".join(words)]
        matches = [f'room : "{room}" AND text : ({word})' for word in words]
        conditions = _searched(search, room, latest)
        each = " UNION ALL ".join(["SELECT rowid FROM search WHERE search MATCH ?"] * len(matches))
        sql = (
            f"SELECT e.seq FROM (SELECT rowid AS seq, count(*) AS hits FROM ({each}) GROUP BY rowid) s "
            f"JOIN events e ON e.seq = s.seq {conditions} ORDER BY s.hits DESC, e.idx DESC"
        )
        found = connection.execute(sql, (*matches, *conditions.values)).fetchall()
        events = (event_of(search.room_id, _event_row(connection, seq)) for (seq,) in found)
        shown = (event for event in events if search.reader is None or sees(search.reader, event))
        return list(islice(shown, clamp(search.limit)))


def _searched(search: EventSearch, room: int, latest: int) -> Conditions:
    """Return which events of the room are looked at."""
    conditions = Conditions()
    conditions.all("e.room = ?", room)
    conditions.given("e.idx < ?", bounded(search.before_index))
    if search.any_word:
        newest = latest if search.before_index is None else min(latest, search.before_index - 1)
        conditions.given("e.idx > ?", bounded(newest - SEARCH_SCAN))
    if search.types is not None:
        types = sorted(str(each) for each in search.types)
        conditions.all(f"e.type IN ({marks(types)})", *types)
    return conditions


def _event_row(connection: sqlite3.Connection, seq: int) -> tuple[Any, ...]:
    row = one(connection, f"SELECT {EVENT} FROM events e WHERE e.seq = ?", (seq,))
    assert row is not None  # the snapshot has it
    return row


def _quoted(phrase: Phrase) -> str:
    """Return a phrase in the language of queries, quoted so that nothing in it is taken for a command."""
    return '"{}"{}'.format(phrase.text.replace('"', '""'), "*" if phrase.is_beginning else "")
