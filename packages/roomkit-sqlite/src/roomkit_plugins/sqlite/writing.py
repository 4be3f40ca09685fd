"""The transactions, as they run in the writing connection's thread.

What can be prepared before is: a function here gets everything encoded, and only talks to the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roomkit.abc.errors import (
    ChannelNotFoundError,
    DuplicateEventError,
    EventNotFoundError,
    IdentityNotFoundError,
    ParticipantNotFoundError,
    RoomAlreadyExistsError,
    RoomNotFoundError,
    StaleRoomError,
    StoreError,
)
from roomkit.abc.store import Amend, Commit
from roomkit.models.base import EMPTY, FrozenDict, freeze
from roomkit.models.channel import ChannelBinding
from roomkit.models.delivery import Delivery
from roomkit.models.enums import DeliveryState, EventStatus, ReceiptState
from roomkit.models.event import RoomEvent
from roomkit.models.identity import Identity
from roomkit.models.participant import Participant
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit_plugins.sqlite.record import Change, Counters
from roomkit_plugins.sqlite.rows import (
    EVENT,
    ROOM,
    addresses_of,
    advances,
    amended,
    due_after,
    dump,
    event_of,
    load,
    micros,
    room_of,
    searchable,
    senders_of,
)

__all__ = [
    "PreparedCommit",
    "change_room",
    "commit",
    "create_identity",
    "create_room",
    "delete_room",
    "link_address",
    "mark_read",
    "record_deliveries",
    "record_receipt",
    "remove_binding",
    "update_task",
]

type Row = tuple[Any, ...]

_TOUCH = """
UPDATE rooms SET
    next_index = next_index + ?, event_count = event_count + ?, version = version + ?,
    edition = edition + 1, last_activity = coalesce(?, last_activity)
WHERE id = ? AND version = coalesce(?, version)
RETURNING seq, edition, version, next_index, event_count, last_activity
"""
_CHANGED = (0, 0, 1, None)
_INSERT_EVENT = """
INSERT INTO events (room, idx, id, idempotency_key, type, status, visibility, channel_id, data)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_INSERT_DELIVERY = """
INSERT INTO deliveries (room, event, channel_id, state, created_at) VALUES (?, ?, ?, 'pending', ?)
"""
_PUT_BINDING = """
INSERT INTO bindings (room, channel_id, channel_type, participant_id, data) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (room, channel_id) DO UPDATE SET
    channel_type = excluded.channel_type, participant_id = excluded.participant_id, data = excluded.data
"""
_PUT_PARTICIPANT = """
INSERT INTO participants (room, id, data) VALUES (?, ?, ?)
ON CONFLICT (room, id) DO UPDATE SET data = excluded.data RETURNING seq
"""
_PUT_TASK = """
INSERT INTO tasks (room, id, status, data) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET status = excluded.status, data = excluded.data
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


class PreparedCommit:
    """A commit with everything encoded and nothing that its caller could still change.

    Raises ValueError for what JSON cannot carry. `binding` and `participant` name one that must be
    there already.
    """

    def __init__(self, given: Commit, *, binding: str | None = None, participant: str | None = None) -> None:
        self.room_id = given.room_id
        self.at = given.at
        self.created_at = given.at.isoformat()
        self.expected_version = given.expected_version
        self.metadata = freeze(given.metadata or EMPTY)
        self.room_changes = dict(given.room_changes) if given.room_changes else None
        self.amend: Amend | None = given.amend
        self.activity = micros(given.at) if given.activity else None
        self.entries = [self._entry(each.event, each.targets) for each in given.entries]
        self.bindings = [(each, dump(each)) for each in given.bindings]
        self.participants = [(each, dump(each)) for each in given.participants]
        self.unbind = tuple(given.unbind)
        self.tasks = [(each.id, each.status.value, dump(each)) for each in given.tasks]
        self.observations = [(each.id, dump(each)) for each in given.observations]
        self.binding = binding
        self.participant = participant

    @property
    def changes_room(self) -> bool:
        """Whether more of the room changes than its counters."""
        return bool(self.room_changes or self.metadata)

    @property
    def raises_version(self) -> bool:
        """Whether something changes that a plan depends on."""
        return bool(self.changes_room or self.bindings or self.participants or self.unbind)

    def _entry(self, event: RoomEvent, targets: Sequence[str]) -> _Entry:
        status = EventStatus.DELIVERED if event.status is EventStatus.PENDING else event.status
        event = event.replace(created_at=self.at, status=status)
        row = (
            event.id,
            event.idempotency_key,
            event.type.value,
            status.value,
            event.visibility,
            event.source.channel_id,
            dump(event),
        )
        return _Entry(event, row, searchable(event), tuple(targets))


def commit(connection: sqlite3.Connection, prepared: PreparedCommit) -> Change:
    """Write everything or raise; see `ConversationStore.commit`."""
    counters = _touch(connection, prepared)
    room, first = counters.seq, counters.next_index - len(prepared.entries)
    _require(connection, room, prepared)
    stored = _append(connection, room, first, prepared) if prepared.entries else ()
    for person, data in prepared.participants:
        _put_participant(connection, room, person, data)
    for binding, data in prepared.bindings:
        _put_binding(connection, room, binding, data)
    for channel_id in prepared.unbind:
        connection.execute("DELETE FROM bindings WHERE room = ? AND channel_id = ?", (room, channel_id))
    after = None
    if prepared.amend is not None:
        after = _amend(connection, room, first, prepared)
    for task in prepared.tasks:
        connection.execute(_PUT_TASK, (room, *task))
    for observation in prepared.observations:
        connection.execute(_PUT_OBSERVATION, (room, *observation))
    changed = None
    if prepared.changes_room:
        before = _room(connection, prepared.room_id)
        changes = dict(prepared.room_changes or {})
        if prepared.metadata:
            changes["metadata"] = FrozenDict({**before.metadata, **prepared.metadata})
        changed = before.replace(**changes, updated_at=prepared.at)
        _write_room(connection, changed)
    return Change(
        counters,
        room=changed,
        stored=stored,
        amended=after,
        bindings=[binding for binding, _ in prepared.bindings],
        unbound=prepared.unbind,
        participants=[person for person, _ in prepared.participants],
    )


def _touch(connection: sqlite3.Connection, prepared: PreparedCommit) -> Counters:
    room_id, expected = prepared.room_id, prepared.expected_version
    count = len(prepared.entries)
    moved = (count, count, int(prepared.raises_version), prepared.activity)
    row = _one(connection, _TOUCH, (*moved, room_id, expected))
    if row is not None:
        return Counters(*row)
    found = _one(connection, "SELECT version FROM rooms WHERE id = ?", (room_id,))
    if found is None:
        raise _no_room(room_id)
    raise StaleRoomError(f"room {room_id!r} is at version {found[0]}, not {expected}: plan again")


def _require(connection: sqlite3.Connection, room: int, prepared: PreparedCommit) -> None:
    if prepared.binding is not None:
        _require_binding(connection, room, prepared.room_id, prepared.binding)
    if prepared.participant is not None:
        there = _one(
            connection,
            "SELECT 1 FROM participants WHERE room = ? AND id = ?",
            (room, prepared.participant),
        )
        if there is None:
            raise ParticipantNotFoundError(
                f"nobody with the id {prepared.participant!r} in room {prepared.room_id!r}: "
                "ensure_participant adds them"
            )


def _require_binding(connection: sqlite3.Connection, room: int, room_id: str, channel_id: str) -> None:
    there = _one(connection, "SELECT 1 FROM bindings WHERE room = ? AND channel_id = ?", (room, channel_id))
    if there is None:
        raise ChannelNotFoundError(
            f"channel {channel_id!r} is not attached to room {room_id!r}: attach_channel first"
        )


def _append(
    connection: sqlite3.Connection, room: int, first: int, prepared: PreparedCommit
) -> list[RoomEvent]:
    stored: list[RoomEvent] = []  # bound: the commit
    for index, entry in enumerate(prepared.entries, first):
        try:
            seq = connection.execute(_INSERT_EVENT, (room, index, *entry.row)).lastrowid
        except sqlite3.IntegrityError as error:
            raise _duplicate(connection, room, first, prepared) from error
        if entry.text:
            connection.execute(
                "INSERT INTO search (rowid, room, text) VALUES (?, ?, ?)", (seq, room, entry.text)
            )
        for channel_id in dict.fromkeys(entry.targets):
            connection.execute(_INSERT_DELIVERY, (room, seq, channel_id, prepared.created_at))
        stored.append(entry.event.replace(index=index).forget_given())
    return stored


def _duplicate(connection: sqlite3.Connection, room: int, first: int, prepared: PreparedCommit) -> StoreError:
    """Find which event is there already, among those of earlier commits."""
    earlier = f"SELECT {EVENT}, r.id FROM events e JOIN rooms r ON r.seq = e.room"
    for entry in prepared.entries:
        key, event_id = entry.event.idempotency_key, entry.event.id
        if key is not None:
            query = f"{earlier} WHERE e.room = ? AND e.idempotency_key = ? AND e.idx < ?"
            row = _one(connection, query, (room, key, first))
            if row is not None:
                message = f"room {prepared.room_id!r} has the idempotency key {key!r} already"
                return DuplicateEventError(message, event_of(row[4], row[:4]))
        query = f"{earlier} WHERE e.id = ? AND (e.room <> ? OR e.idx < ?)"
        row = _one(connection, query, (event_id, room, first))
        if row is not None:
            return DuplicateEventError(f"event {event_id!r} exists already", event_of(row[4], row[:4]))
    return StoreError(
        f"a commit to room {prepared.room_id!r} has one event id or idempotency key twice: send it once"
    )


def _amend(connection: sqlite3.Connection, room: int, first: int, prepared: PreparedCommit) -> RoomEvent:
    assert prepared.amend is not None
    wanted = prepared.amend.event_id
    row = _one(
        connection,
        f"SELECT {EVENT}, e.seq FROM events e WHERE e.id = ? AND e.room = ? AND e.idx < ?",
        (wanted, room, first),
    )
    if row is None:
        raise EventNotFoundError(f"room {prepared.room_id!r} has no event {wanted!r} to amend")
    seq, before = row[4], event_of(prepared.room_id, row[:4])
    after = amended(before, prepared.amend, prepared.at)
    connection.execute(
        "UPDATE events SET data = ?, deleted = ? WHERE seq = ?", (dump(after), int(after.deleted), seq)
    )
    connection.execute("DELETE FROM search WHERE rowid = ?", (seq,))
    text = searchable(after)
    if text:
        connection.execute("INSERT INTO search (rowid, room, text) VALUES (?, ?, ?)", (seq, room, text))
    return after


def _put_binding(connection: sqlite3.Connection, room: int, binding: ChannelBinding, data: str) -> None:
    connection.execute(
        _PUT_BINDING,
        (room, binding.channel_id, binding.channel_type.value, binding.participant_id, data),
    )


def _put_participant(connection: sqlite3.Connection, room: int, person: Participant, data: str) -> None:
    ((seq,),) = connection.execute(_PUT_PARTICIPANT, (room, person.id, data)).fetchall()
    connection.execute("DELETE FROM senders WHERE participant = ?", (seq,))
    connection.executemany(
        "INSERT INTO senders (channel_id, sender_id, room, participant) VALUES (?, ?, ?, ?)",
        [(channel_id, who, room, seq) for channel_id, who in senders_of(person)],
    )


def remove_binding(connection: sqlite3.Connection, room_id: str, channel_id: str) -> Change | None:
    """Detach a channel; None when it was not attached."""
    row = _one(connection, "SELECT seq FROM rooms WHERE id = ?", (room_id,))
    if row is None:
        raise _no_room(room_id)
    gone = connection.execute("DELETE FROM bindings WHERE room = ? AND channel_id = ?", (row[0], channel_id))
    if not gone.rowcount:
        return None
    counters = _one(connection, _TOUCH, (*_CHANGED, room_id, None))
    assert counters is not None
    return Change(Counters(*counters), unbound=(channel_id,))


# -- rooms --------------------------------------------------------------------------------------


def create_room(connection: sqlite3.Connection, room: Room, data: str) -> None:
    """Add a room."""
    last = room.timers.last_activity_at
    try:
        connection.execute(
            "INSERT INTO rooms (id, organization_id, status, created_at, last_activity, due_after, data) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                room.id,
                room.organization_id,
                room.status.value,
                micros(room.created_at),
                micros(last) if last is not None else None,
                due_after(room),
                data,
            ),
        )
    except sqlite3.IntegrityError as error:
        raise RoomAlreadyExistsError(
            f"room {room.id!r} exists already: use get_room, or another id"
        ) from error


def change_room(
    connection: sqlite3.Connection,
    room_id: str,
    fields: Mapping[str, Any],
    patch: Mapping[str, Any] | None = None,
    unset: Collection[str] = (),
) -> Change:
    """Set fields of a room, after `patch` and `unset` on its metadata."""
    row = _one(connection, _TOUCH, (*_CHANGED, room_id, None))
    if row is None:
        raise _no_room(room_id)
    before = _room(connection, room_id)
    changes = dict(fields)
    if patch is not None:
        merged = {**before.metadata, **patch}
        changes["metadata"] = FrozenDict((key, value) for key, value in merged.items() if key not in unset)
    timers = changes.get("timers", before.timers)
    changes["timers"] = timers.replace(last_activity_at=before.timers.last_activity_at)
    after = before.replace(**changes)
    _write_room(connection, after)
    return Change(Counters(*row), room=after)


def delete_room(connection: sqlite3.Connection, room_id: str) -> bool:
    """Remove a room and all that belongs to it."""
    row = _one(connection, "SELECT seq FROM rooms WHERE id = ?", (room_id,))
    if row is None:
        return False
    connection.execute("DELETE FROM search WHERE rowid IN (SELECT seq FROM events WHERE room = ?)", row)
    connection.execute("DELETE FROM deliveries WHERE room = ?", row)
    connection.execute("DELETE FROM rooms WHERE seq = ?", row)
    return True


def _room(connection: sqlite3.Connection, room_id: str) -> Room:
    row = _one(connection, f"SELECT {ROOM} FROM rooms r WHERE r.id = ?", (room_id,))
    assert row is not None
    return room_of(row)


def _write_room(connection: sqlite3.Connection, room: Room) -> None:
    connection.execute(
        "UPDATE rooms SET organization_id = ?, status = ?, created_at = ?, due_after = ?, data = ? "
        "WHERE id = ?",
        (
            room.organization_id,
            room.status.value,
            micros(room.created_at),
            due_after(room),
            dump(room),
            room.id,
        ),
    )


# -- people, work, marks ------------------------------------------------------------------------


def create_identity(connection: sqlite3.Connection, identity: Identity) -> None:
    """Add an identity with its addresses, or replace the one of that id with its own."""
    connection.execute("DELETE FROM identity_addresses WHERE identity = ?", (identity.id,))
    connection.execute(
        "INSERT INTO identities (id, organization_id, data) VALUES (?, ?, ?) ON CONFLICT (id) "
        "DO UPDATE SET organization_id = excluded.organization_id, data = excluded.data",
        (identity.id, identity.organization_id or "", dump(identity)),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO identity_addresses (organization_id, channel_type, address, identity) "
        "VALUES (?, ?, ?, ?)",
        [(*address, identity.id) for address in addresses_of(identity)],
    )


def link_address(connection: sqlite3.Connection, identity_id: str, channel_type: str, address: str) -> None:
    """Add an address to an identity."""
    row = _one(connection, "SELECT data FROM identities WHERE id = ?", (identity_id,))
    if row is None:
        raise IdentityNotFoundError(f"no identity {identity_id!r}: create_identity first")
    identity = load(Identity, row[0])
    known = identity.channel_addresses.get(channel_type, ())
    if address not in known:
        addresses = {**identity.channel_addresses, str(channel_type): (*known, address)}
        create_identity(connection, identity.replace(channel_addresses=addresses))


def update_task(connection: sqlite3.Connection, task: Task, data: str) -> None:
    """Replace a task."""
    done = connection.execute(
        "UPDATE tasks SET status = ?, data = ? WHERE id = ?", (task.status.value, data, task.id)
    )
    if not done.rowcount:
        raise StoreError(f"no task {task.id!r}: add_task first")


def mark_read(connection: sqlite3.Connection, room_id: str, channel_id: str, event_id: str | None) -> int:
    """Move a read mark forward to an event, the newest when None."""
    row = _one(connection, "SELECT seq, next_index - 1 FROM rooms WHERE id = ?", (room_id,))
    if row is None:
        raise _no_room(room_id)
    room, index = row
    if event_id is not None:
        found = _one(connection, "SELECT idx FROM events WHERE id = ? AND room = ?", (event_id, room))
        if found is None:
            raise EventNotFoundError(f"room {room_id!r} has no event {event_id!r} to mark as read")
        (index,) = found
    _require_binding(connection, room, room_id, channel_id)
    ((mark,),) = connection.execute(
        "INSERT INTO read_marks (room, channel_id, idx) VALUES (?, ?, ?) ON CONFLICT (room, channel_id) "
        "DO UPDATE SET idx = max(idx, excluded.idx) RETURNING idx",
        (room, channel_id, index),
    ).fetchall()
    return int(mark)


# -- the ledger ---------------------------------------------------------------------------------


def record_deliveries(connection: sqlite3.Connection, rows: Sequence[tuple[Delivery, str]]) -> None:
    """Write how deliveries ended or stand; one that has ended, or is of no event here, is left alone."""
    for delivery, data in rows:
        found = _one(
            connection,
            "SELECT d.seq, d.state, d.data FROM deliveries d JOIN events e ON e.seq = d.event "
            "WHERE e.id = ? AND d.channel_id = ?",
            (delivery.event_id, delivery.channel_id),
        )
        if found is None or found[1] != DeliveryState.PENDING.value:
            continue
        seq, _, before = found
        if before is not None:
            data = _keeping_the_receipt(delivery, data, load(Delivery, before).receipt)
        connection.execute(
            "UPDATE deliveries SET state = ?, data = ? WHERE seq = ?", (delivery.state.value, data, seq)
        )
        if delivery.provider is not None and delivery.provider_message_id is not None:
            connection.executemany(
                "INSERT OR REPLACE INTO delivery_messages (provider, message_id, delivery) VALUES (?, ?, ?)",
                [
                    (delivery.provider, message_id, seq)
                    for message_id in (delivery.provider_message_id, *delivery.parts)
                ],
            )


def _keeping_the_receipt(delivery: Delivery, data: str, receipt: ReceiptState | None) -> str:
    if receipt is None or (delivery.receipt is not None and advances(receipt, delivery.receipt)):
        return data
    return dump(delivery.replace(receipt=receipt))


def record_receipt(
    connection: sqlite3.Connection, provider: str, message_id: str, receipt: ReceiptState
) -> Delivery | None:
    """Move the receipt of a delivery forward."""
    row = _one(
        connection,
        "SELECT d.seq, d.data FROM delivery_messages m JOIN deliveries d ON d.seq = m.delivery "
        "WHERE m.provider = ? AND m.message_id = ?",
        (provider, message_id),
    )
    if row is None:
        return None
    delivery = load(Delivery, row[1])
    if advances(delivery.receipt, receipt):
        delivery = delivery.replace(receipt=receipt)
        connection.execute("UPDATE deliveries SET data = ? WHERE seq = ?", (dump(delivery), row[0]))
    return delivery


def _one(connection: sqlite3.Connection, query: str, parameters: Sequence[Any]) -> Row | None:
    rows = connection.execute(query, parameters).fetchall()
    return rows[0] if rows else None


def _no_room(room_id: str) -> RoomNotFoundError:
    return RoomNotFoundError(f"no room {room_id!r}: create_room first")
