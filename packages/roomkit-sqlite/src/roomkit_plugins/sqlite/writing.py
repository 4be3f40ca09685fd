"""The transactions, as they run in the writing connection's thread.

Values are prepared before: a function here gets everything encoded, and only executes statements.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import islice, takewhile
from typing import Any

from roomkit.abc.errors import StoreError
from roomkit.abc.store import NOTHING_COMPLETED, Commit, Committed, Entry
from roomkit.models.base import FrozenDict
from roomkit.models.channel import ChannelBinding
from roomkit.models.enums import DeliveryState
from roomkit.models.event import RoomEvent
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit_plugins.sql import commits as sql
from roomkit_plugins.sql.cached import Change, Counters, RoomGrowth
from roomkit_plugins.sql.filters import clamp
from roomkit_plugins.sql.refusals import (
    duplicate_event,
    event_twice,
    foreign_task,
    lock_lost,
    no_binding,
    no_event,
    no_participant,
    no_room,
    room_exists,
    stale_room,
)
from roomkit_plugins.sqlite.leases import Clock, still_alive
from roomkit_plugins.sqlite.ledger import (
    LedgerPlace,
    complete,
    finished,
    place_of,
    place_of_absent,
    redact_deliveries,
)
from roomkit_plugins.sqlite.media import release_media, use_media
from roomkit_plugins.sqlite.reading import first_unknown, messages
from roomkit_plugins.sqlite.rows import (
    COUNTERS,
    EVENT,
    ROOM,
    counters_of,
    dump,
    event_of,
    micros,
    room_of,
    searchable,
)
from roomkit_plugins.sqlite.sql import Row, one
from roomkit_plugins.sqlite.timers import PreparedTimer, prepare_timer, put_timer
from roomkit_plugins.sqlite.values import delete_derived_values, delete_room_values, prepare_value, put_value

__all__ = [
    "CommitRows",
    "Pruned",
    "WrittenCommit",
    "commit",
    "create_room",
    "delete_room",
    "mark_read",
    "patch_room",
    "prune_events",
    "remove_binding",
    "seq_of",
    "set_timer",
    "update_room",
    "update_task",
]

_OWNED = ("event_count", "latest_index", "version", "id")

_TOUCH = f"""
UPDATE rooms SET
    next_index = next_index + ?, event_count = event_count + ?, version = version + ?,
    edition = edition + 1, last_activity = coalesce(?, last_activity), fence = coalesce(?, fence)
WHERE id = ? AND version = coalesce(?, version) AND coalesce(fence <= ?, true)
RETURNING {COUNTERS}
"""
_INSERT_EVENT = """
INSERT INTO events (
    room, idx, id, idempotency_key, type, status, visibility, channel_id, data, external_id, key_scope
)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?,
    CASE WHEN ? THEN (SELECT coalesce(organization_id, '') FROM rooms WHERE seq = ?) END)
"""
_INSERT_DELIVERY = """
INSERT INTO deliveries (room, event, channel_id, state, created_at, holder, handed)
VALUES (?, ?, ?, 'pending', ?, ?, ?)
"""
_PUT_BINDING = """
INSERT INTO bindings (room, channel_id, channel_type, participant_id, address, data)
VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (room, channel_id) DO UPDATE SET
    channel_type = excluded.channel_type, participant_id = excluded.participant_id,
    address = excluded.address, data = excluded.data
"""
_PUT_PARTICIPANT = """
INSERT INTO participants (room, id, data) VALUES (?, ?, ?)
ON CONFLICT (room, id) DO UPDATE SET data = excluded.data RETURNING seq
"""
_PUT_TASK = """
INSERT INTO tasks (room, id, status, data) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, data = excluded.data WHERE room = excluded.room
"""
_PUT_OBSERVATION = """
INSERT INTO observations (room, id, data) VALUES (?, ?, ?)
ON CONFLICT (room, id) DO UPDATE SET data = excluded.data
"""


@dataclass(slots=True, frozen=True)
class _Entry:
    event: RoomEvent
    row: Row
    text: str
    targets: tuple[str, ...]


class CommitRows(sql.PreparedCommit):
    """A commit as rows for the file. Raises InvalidInputError for what JSON cannot carry."""

    def __init__(self, given: Commit, *, binding: str | None = None, participant: str | None = None) -> None:
        super().__init__(given, binding=binding, participant=participant)
        self.created_at = given.at.isoformat()
        self.due = micros(given.at)
        self.absent = frozenset(given.absent)
        self.agents = frozenset(given.agents)
        self.activity = self.due if given.activity else None
        self.entries = list(map(_entry, self.events, given.entries))
        self.binding_rows = [dump(each) for each in self.bindings]
        self.participant_rows = [dump(each) for each in self.participants]
        self.tasks = [(each.id, each.status.value, dump(each)) for each in given.tasks]
        self.observations = [(each.id, dump(each)) for each in given.observations]
        self.timers = [prepare_timer(each) for each in given.timers]
        self.values = [prepare_value(each) for each in given.values]
        self.completed = [finished(each) for each in given.completed]
        self.media = tuple(given.media)

    @property
    def asks_who_is_alive(self) -> bool:
        """Whether there is anything that a worker may hold."""
        return bool(self.timers) or any(entry.targets for entry in self.entries)


def _entry(event: RoomEvent, given: Entry) -> _Entry:
    row = (
        event.id,
        event.idempotency_key,
        event.type.value,
        event.status.value,
        event.visibility,
        event.source.channel_id,
        dump(event),
        event.source.external_id,
        given.key_spans_rooms and event.idempotency_key is not None,
    )
    return _Entry(event, row, searchable(event), tuple(dict.fromkeys(given.targets)))


@dataclass(slots=True, frozen=True)
class WrittenCommit:
    """What became of a commit, for the caller and for the cache."""

    committed: Committed
    change: Change


def commit(connection: sqlite3.Connection, prepared: CommitRows, now: Clock) -> WrittenCommit:
    """Write everything or raise; see `ConversationStore.commit`."""
    counters = _touch(connection, prepared)
    room, first = counters.seq, counters.next_index - len(prepared.entries)
    _require(connection, room, prepared)
    growth = _growth(connection, prepared, counters, first)
    completed = NOTHING_COMPLETED
    if prepared.completed or prepared.timers_done:
        completed = complete(connection, prepared.completed, prepared.worker, prepared.timers_done)
    living = still_alive(connection, now) if prepared.asks_who_is_alive else frozenset()
    stored, elsewhere = _append(connection, room, first, prepared, living)
    _write_members(connection, room, prepared)
    amended = _amend(connection, room, first, prepared)
    for task in prepared.tasks:
        _put_task(connection, room, prepared.room_id, task)
    for observation in prepared.observations:
        connection.execute(_PUT_OBSERVATION, (room, *observation))
    for value in prepared.values:
        put_value(connection, value, None)
    if prepared.media:
        use_media(connection, room, prepared.media)
    worker = prepared.worker if prepared.worker in living else None
    for timer in prepared.timers:
        of_room = room if timer.room_id == prepared.room_id else _room_of(connection, timer)
        put_timer(connection, of_room, timer, worker if timer.due_at <= prepared.due else None)
    room_after = _set_fields(connection, prepared) if prepared.changes_room else None
    change = prepared.done(counters, room_after, stored, amended, growth)
    return WrittenCommit(
        Committed(stored, elsewhere if prepared.worker is not None else {}, completed), change
    )


def _growth(
    connection: sqlite3.Connection, prepared: CommitRows, counters: Counters, first: int
) -> RoomGrowth | None:
    """Return the messages that others added to the room since it was cached; None if they wrote nothing."""
    known, edition = prepared.known, counters.edition - 1
    if known.seq != counters.seq or known.edition == edition:
        return None
    since = first_unknown(known, edition, first)
    added = messages(connection, prepared.room_id, counters, known.tail, since, first)
    return RoomGrowth(known, added, is_whole=not since)


def _write_members(connection: sqlite3.Connection, room: int, prepared: CommitRows) -> None:
    """Add, replace and remove participants and bindings."""
    for person, data in zip(prepared.participants, prepared.participant_rows, strict=True):
        _put_participant(connection, room, person, data)
    for participant_id in prepared.remove_participants:
        connection.execute("DELETE FROM participants WHERE room = ? AND id = ?", (room, participant_id))
    for binding, data in zip(prepared.bindings, prepared.binding_rows, strict=True):
        _put_binding(connection, room, binding, data)
    for channel_id in prepared.unbind:
        connection.execute("DELETE FROM bindings WHERE room = ? AND channel_id = ?", (room, channel_id))


def _set_fields(connection: sqlite3.Connection, prepared: CommitRows) -> Room:
    after = prepared.changed_room(_room(connection, prepared.room_id))
    _write_room(connection, after)
    return after


def _touch(connection: sqlite3.Connection, prepared: CommitRows) -> Counters:
    room_id, expected, fence = prepared.room_id, prepared.expected_version, prepared.fence
    count = len(prepared.entries)
    moved = (count, count, int(prepared.raises_version), prepared.activity, fence)
    row = one(connection, _TOUCH, (*moved, room_id, expected, fence))
    if row is not None:
        return counters_of(row)
    found = one(connection, "SELECT version, fence FROM rooms WHERE id = ?", (room_id,))
    if found is None:
        raise no_room(room_id)
    if expected is not None and expected != found[0]:
        raise stale_room(room_id, found[0], expected)
    raise lock_lost(room_id, found[1], fence)


def _changed(connection: sqlite3.Connection, room_id: str, *, activity: int | None = None) -> Counters:
    """Note that something of the room changed that a plan depends on, and its last activity if given."""
    row = one(connection, _TOUCH, (0, 0, 1, activity, None, room_id, None, None))
    if row is None:
        raise no_room(room_id)
    return counters_of(row)


def _require(connection: sqlite3.Connection, room: int, prepared: CommitRows) -> None:
    if prepared.binding is not None:
        _require_binding(connection, room, prepared.room_id, prepared.binding)
    if prepared.participant is not None:
        there = one(
            connection,
            "SELECT 1 FROM participants WHERE room = ? AND id = ?",
            (room, prepared.participant),
        )
        if there is None:
            raise no_participant(prepared.room_id, prepared.participant)


def _require_binding(connection: sqlite3.Connection, room: int, room_id: str, channel_id: str) -> None:
    there = one(connection, "SELECT 1 FROM bindings WHERE room = ? AND channel_id = ?", (room, channel_id))
    if there is None:
        raise no_binding(room_id, channel_id)


def _append(
    connection: sqlite3.Connection, room: int, first: int, prepared: CommitRows, living: Set[str]
) -> tuple[list[RoomEvent], dict[str, str | None]]:
    """Add the events and a row for each of their targets; return what the committer must leave, too."""
    stored: list[RoomEvent] = []  # bound: the commit
    elsewhere: dict[str, str | None] = {}  # bound: the targets of the commit
    places: dict[str, LedgerPlace] = {}  # bound: the channels of the commit
    for index, entry in enumerate(prepared.entries, first):
        try:
            seq = connection.execute(_INSERT_EVENT, (room, index, *entry.row, room)).lastrowid
        except sqlite3.IntegrityError as error:
            raise _duplicate(connection, room, first, prepared) from error
        if entry.text:
            connection.execute(
                "INSERT INTO search (rowid, room, text) VALUES (?, ?, ?)", (seq, room, entry.text)
            )
        for channel_id in entry.targets:
            place = places.get(channel_id)
            if place is None:  # the rows of one commit all have the place of the first in their lane
                find = place_of_absent if channel_id in prepared.absent else place_of
                is_agent = channel_id in prepared.agents
                place = find(connection, room, channel_id, prepared.worker, living, is_agent=is_agent)
                places[channel_id] = place
            connection.execute(_INSERT_DELIVERY, (room, seq, channel_id, prepared.created_at, *place))
            if not place.is_direct:
                elsewhere[f"{entry.event.id}:{channel_id}"] = place.holder
        stored.append(entry.event.replace(index=index).forget_given())
    return stored, elsewhere


def _duplicate(connection: sqlite3.Connection, room: int, first: int, prepared: CommitRows) -> StoreError:
    """Find which event is there already, among those of earlier commits."""
    earlier = f"SELECT {EVENT}, r.id FROM events e JOIN rooms r ON r.seq = e.room"
    scope = "(SELECT coalesce(organization_id, '') FROM rooms WHERE seq = ?)"
    for entry in prepared.entries:
        key, event_id = entry.event.idempotency_key, entry.event.id
        if key is not None:
            query = f"{earlier} WHERE e.room = ? AND e.idempotency_key = ? AND e.idx < ?"
            row = one(connection, query, (room, key, first))
            if row is None and entry.row[-1]:
                query = f"{earlier} WHERE e.key_scope = {scope} AND e.idempotency_key = ? AND e.room <> ?"
                row = one(connection, query, (room, key, room))
            if row is not None:
                return duplicate_event(event_of(row[4], row[:4]), key)
        query = f"{earlier} WHERE e.id = ? AND (e.room <> ? OR e.idx < ?)"
        row = one(connection, query, (event_id, room, first))
        if row is not None:
            return duplicate_event(event_of(row[4], row[:4]), None)
    return event_twice(prepared.room_id)


def _amend(connection: sqlite3.Connection, room: int, first: int, prepared: CommitRows) -> list[RoomEvent]:
    """Replace the events to amend, to redact and that were heard; return them as they are now."""
    after: list[RoomEvent] = []  # bound: the commit
    amend = prepared.amend
    if amend is not None:
        seq, before = _earlier(connection, room, first, prepared.room_id, amend.event_id, "amend")
        after.append(before.amended(amend.content, amend.amended_by, prepared.at))
        _put_event(connection, room, seq, after[-1])
    if prepared.redact:
        delete_derived_values(connection, prepared.room_id)
    for each in prepared.heard:
        seq, before = _earlier(connection, room, first, prepared.room_id, each.event_id, "mark as heard")
        after.append(before.as_heard(each.heard))
        _put_event(connection, room, seq, after[-1])
    for event_id in prepared.redact:
        seq, before = _earlier(connection, room, first, prepared.room_id, event_id, "redact")
        after.append(before.redacted(prepared.at))
        _put_event(connection, room, seq, after[-1])
        redact_deliveries(connection, seq)
        release_media(connection, seq)
    return after


def _earlier(
    connection: sqlite3.Connection, room: int, first: int, room_id: str, event_id: str, verb: str
) -> tuple[int, RoomEvent]:
    """Find an event that was there before this commit."""
    query = f"SELECT e.seq, {EVENT} FROM events e WHERE e.id = ? AND e.room = ? AND e.idx < ?"
    row = one(connection, query, (event_id, room, first))
    if row is None:
        raise no_event(room_id, event_id, verb)
    return row[0], event_of(room_id, row[1:])


def _put_event(connection: sqlite3.Connection, room: int, seq: int, event: RoomEvent) -> None:
    connection.execute(
        "UPDATE events SET data = ?, deleted = ? WHERE seq = ?", (dump(event), int(event.deleted), seq)
    )
    connection.execute("DELETE FROM search WHERE rowid = ?", (seq,))
    text = searchable(event)
    if text:
        connection.execute("INSERT INTO search (rowid, room, text) VALUES (?, ?, ?)", (seq, room, text))


def _put_binding(connection: sqlite3.Connection, room: int, binding: ChannelBinding, data: str) -> None:
    kind, who = binding.channel_type.value, binding.participant_id
    connection.execute(_PUT_BINDING, (room, binding.channel_id, kind, who, binding.address, data))


def _put_participant(connection: sqlite3.Connection, room: int, person: Participant, data: str) -> None:
    ((seq,),) = connection.execute(_PUT_PARTICIPANT, (room, person.id, data)).fetchall()
    connection.execute("DELETE FROM senders WHERE participant = ?", (seq,))
    connection.executemany(
        "INSERT INTO senders (channel_id, sender_id, room, participant) VALUES (?, ?, ?, ?)",
        [(channel_id, who, room, seq) for channel_id, who in person.senders],
    )


def _put_task(connection: sqlite3.Connection, room: int, room_id: str, task: tuple[str, str, str]) -> None:
    if not connection.execute(_PUT_TASK, (room, *task)).rowcount:
        raise foreign_task(room_id, task[0])


def remove_binding(connection: sqlite3.Connection, room_id: str, channel_id: str) -> Change | None:
    """Detach a channel; None when it was not attached."""
    room = seq_of(connection, room_id)
    gone = connection.execute("DELETE FROM bindings WHERE room = ? AND channel_id = ?", (room, channel_id))
    if not gone.rowcount:
        return None
    return Change(_changed(connection, room_id), unbound=(channel_id,))


@dataclass(slots=True, frozen=True)
class Pruned:
    """How many events were removed, and what that did to the room."""

    count: int
    change: Change | None = None


def prune_events(
    connection: sqlite3.Connection, room_id: str, before: datetime, limit: int, *, interleaved: bool = False
) -> Pruned:
    """Remove the oldest events, up to the first that is too new or not delivered everywhere yet.

    In an `interleaved` room those that are too new are passed over.
    """
    room = seq_of(connection, room_id)
    rows = connection.execute(
        f"SELECT {EVENT}, e.seq, EXISTS (SELECT 1 FROM deliveries d WHERE d.event = e.seq AND d.state = ?) "
        "FROM events e WHERE e.room = ? ORDER BY e.idx LIMIT ?",
        (DeliveryState.PENDING.value, room, -1 if interleaved else clamp(limit)),
    ).fetchall()

    def is_old(row: Row) -> bool:
        return event_of(room_id, row[:4]).created_at < before

    settled = takewhile(lambda row: not row[5], rows)
    found = filter(is_old, settled) if interleaved else takewhile(is_old, settled)
    old = [(row[4],) for row in islice(found, clamp(limit))]
    if not old:
        return Pruned(0)
    connection.executemany("DELETE FROM search WHERE rowid = ?", old)
    connection.executemany("DELETE FROM events WHERE seq = ?", old)
    row = one(
        connection,
        "UPDATE rooms SET event_count = event_count - ?, edition = edition + 1 WHERE seq = ? "
        f"RETURNING {COUNTERS}",
        (len(old), room),
    )
    assert row is not None
    return Pruned(len(old), Change(counters_of(row), pruned=True))


# -- rooms --------------------------------------------------------------------------------------


def create_room(
    connection: sqlite3.Connection, room: Room, data: str, timers: Sequence[PreparedTimer]
) -> None:
    """Add a room, with its first timers."""
    last = room.timers.last_activity_at
    try:
        seq = connection.execute(
            "INSERT INTO rooms (id, organization_id, status, created_at, last_activity, data) "
            "VALUES (?, ?, ?, ?, ?, ?)",
            (
                room.id,
                room.organization_id,
                room.status.value,
                micros(room.created_at),
                micros(last) if last is not None else None,
                data,
            ),
        ).lastrowid
    except sqlite3.IntegrityError as error:
        raise room_exists(room.id) from error
    assert seq is not None
    for timer in timers:
        of_room = seq if timer.room_id == room.id else _room_of(connection, timer)
        put_timer(connection, of_room, timer, None)


def set_timer(connection: sqlite3.Connection, timer: PreparedTimer) -> None:
    """Set a timer that no worker holds."""
    put_timer(connection, _room_of(connection, timer), timer, None)


def _room_of(connection: sqlite3.Connection, timer: PreparedTimer) -> int | None:
    return None if timer.room_id is None else seq_of(connection, timer.room_id)


def patch_room(
    connection: sqlite3.Connection,
    room_id: str,
    patch: Mapping[str, Any],
    unset: Collection[str],
    at: datetime,
) -> Change:
    """Merge `patch` into a room's metadata and drop `unset`."""
    counters = _changed(connection, room_id)
    before = _room(connection, room_id)
    merged = {**before.metadata, **patch}
    kept = FrozenDict((key, value) for key, value in merged.items() if key not in unset)
    after = before.replace(metadata=kept, updated_at=at)
    _write_room(connection, after)
    return Change(counters, room=after)


def update_room(connection: sqlite3.Connection, room: Room) -> Change:
    """Replace a room but for its counters, if it is of the version that `room` was read at."""
    row = one(connection, f"SELECT {ROOM} FROM rooms r WHERE r.id = ?", (room.id,))
    if row is None:
        raise no_room(room.id)
    before = room_of(row)
    if before.version != room.version:
        raise stale_room(room.id, before.version, room.version, "read it and decide again")
    moved = before.moved_activity(room)
    counters = _changed(connection, room.id, activity=None if moved is None else micros(moved))
    fields = {name: getattr(room, name) for name in Room.model_fields if name not in _OWNED}
    fields["timers"] = room.timers.replace(last_activity_at=counters.last_activity)
    after = before.replace(**fields, version=counters.version)
    _write_room(connection, after)
    return Change(counters, room=after)


def delete_room(connection: sqlite3.Connection, room_id: str) -> bool:
    """Remove a room and all that belongs to it."""
    row = one(connection, "SELECT seq FROM rooms WHERE id = ?", (room_id,))
    if row is None:
        return False
    connection.execute("DELETE FROM search WHERE rowid IN (SELECT seq FROM events WHERE room = ?)", row)
    connection.execute("DELETE FROM deliveries WHERE room = ?", row)
    delete_room_values(connection, room_id)
    connection.execute("DELETE FROM rooms WHERE seq = ?", row)
    return True


def _room(connection: sqlite3.Connection, room_id: str) -> Room:
    row = one(connection, f"SELECT {ROOM} FROM rooms r WHERE r.id = ?", (room_id,))
    assert row is not None
    return room_of(row)


def _write_room(connection: sqlite3.Connection, room: Room) -> None:
    connection.execute(
        "UPDATE rooms SET organization_id = ?, status = ?, created_at = ?, data = ? WHERE id = ?",
        (room.organization_id, room.status.value, micros(room.created_at), dump(room), room.id),
    )


# -- work, marks ---------------------------------------------------------------------------------


def update_task(connection: sqlite3.Connection, task: Task, data: str) -> None:
    """Replace a task of its room."""
    row = one(
        connection, "SELECT r.id FROM tasks t JOIN rooms r ON r.seq = t.room WHERE t.id = ?", (task.id,)
    )
    if row is None:
        raise StoreError(f"no task {task.id!r}: add_task first")
    if row[0] != task.room_id:
        raise foreign_task(task.room_id, task.id)
    connection.execute(
        "UPDATE tasks SET status = ?, data = ? WHERE id = ?", (task.status.value, data, task.id)
    )


def mark_read(connection: sqlite3.Connection, room_id: str, channel_id: str, event_id: str | None) -> int:
    """Move a read mark forward to an event, the newest when None."""
    row = one(connection, "SELECT seq, next_index - 1 FROM rooms WHERE id = ?", (room_id,))
    if row is None:
        raise no_room(room_id)
    room, index = row
    if event_id is not None:
        found = one(connection, "SELECT idx FROM events WHERE id = ? AND room = ?", (event_id, room))
        if found is None:
            raise no_event(room_id, event_id, "mark as read")
        (index,) = found
    _require_binding(connection, room, room_id, channel_id)
    ((mark,),) = connection.execute(
        "INSERT INTO read_marks (room, channel_id, idx) VALUES (?, ?, ?) ON CONFLICT (room, channel_id) "
        "DO UPDATE SET idx = max(idx, excluded.idx) RETURNING idx",
        (room, channel_id, index),
    ).fetchall()
    return int(mark)


# -- which room ---------------------------------------------------------------------------------


def seq_of(connection: sqlite3.Connection, room_id: str) -> int:
    """Return the number of a room. Raises RoomNotFoundError."""
    row = one(connection, "SELECT seq FROM rooms WHERE id = ?", (room_id,))
    if row is None:
        raise no_room(room_id)
    return int(row[0])
