"""The tables, their version, and how a file gets from one version to the next."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

from roomkit.abc.errors import StoreSchemaError
from roomkit.models.base import utcnow
from roomkit_plugins.sql.migrations import MigrationPlan, Step, check_version, planned

__all__ = ["STEPS", "migrate", "plan", "version_of"]

APPLICATION_ID = 0x526F6F6D  # "Room", in the file's header


_FIRST = (
    """CREATE TABLE schema_version (
        version INTEGER NOT NULL PRIMARY KEY,
        applied_at TEXT NOT NULL
    ) STRICT""",
    # `seq` is the order of creation and never used again; `next_index` only rises. `edition` rises with
    # every change of the room or of its timeline, `version` with those a plan depends on.
    """CREATE TABLE rooms (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        organization_id TEXT,
        status TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        last_activity INTEGER,
        due_after INTEGER,
        next_index INTEGER NOT NULL DEFAULT 0,
        event_count INTEGER NOT NULL DEFAULT 0,
        version INTEGER NOT NULL DEFAULT 0,
        edition INTEGER NOT NULL DEFAULT 0,
        data TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX rooms_by_organization ON rooms (organization_id, seq) WHERE organization_id IS NOT NULL",
    """CREATE INDEX rooms_by_due ON rooms (coalesce(last_activity, created_at) + due_after)
        WHERE due_after IS NOT NULL""",
    """CREATE TABLE events (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        idx INTEGER NOT NULL,
        id TEXT NOT NULL UNIQUE,
        idempotency_key TEXT,
        type TEXT NOT NULL,
        status TEXT NOT NULL,
        visibility TEXT NOT NULL,
        channel_id TEXT NOT NULL,
        deleted INTEGER NOT NULL DEFAULT 0,
        data TEXT NOT NULL,
        UNIQUE (room, idx)
    ) STRICT""",
    """CREATE UNIQUE INDEX events_by_key ON events (room, idempotency_key)
        WHERE idempotency_key IS NOT NULL""",
    """CREATE VIRTUAL TABLE search USING fts5
        (room, text, columnsize = 0, tokenize = 'unicode61 remove_diacritics 2')""",
    """CREATE TABLE bindings (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        channel_id TEXT NOT NULL,
        channel_type TEXT NOT NULL,
        participant_id TEXT,
        data TEXT NOT NULL,
        UNIQUE (room, channel_id)
    ) STRICT""",
    "CREATE INDEX bindings_by_channel ON bindings (channel_id, room)",
    """CREATE INDEX bindings_by_participant ON bindings (participant_id, channel_id, room)
        WHERE participant_id IS NOT NULL""",
    """CREATE TABLE participants (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        id TEXT NOT NULL,
        data TEXT NOT NULL,
        UNIQUE (room, id)
    ) STRICT""",
    "CREATE INDEX participants_by_id ON participants (id, room)",
    """CREATE TABLE senders (
        channel_id TEXT NOT NULL,
        sender_id TEXT NOT NULL,
        room INTEGER NOT NULL,
        participant INTEGER NOT NULL REFERENCES participants (seq) ON DELETE CASCADE,
        PRIMARY KEY (channel_id, sender_id, room, participant)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX senders_by_participant ON senders (participant)",
    """CREATE TABLE identities (
        id TEXT NOT NULL PRIMARY KEY,
        organization_id TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT""",
    """CREATE TABLE identity_addresses (
        organization_id TEXT NOT NULL,
        channel_type TEXT NOT NULL,
        address TEXT NOT NULL,
        identity TEXT NOT NULL REFERENCES identities (id) ON DELETE CASCADE,
        PRIMARY KEY (organization_id, channel_type, address)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX identity_addresses_by_identity ON identity_addresses (identity)",
    """CREATE TABLE tasks (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        id TEXT NOT NULL UNIQUE,
        status TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX tasks_by_room ON tasks (room, status)",
    """CREATE TABLE observations (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        id TEXT NOT NULL,
        data TEXT NOT NULL,
        UNIQUE (room, id)
    ) STRICT""",
    """CREATE TABLE read_marks (
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        channel_id TEXT NOT NULL,
        idx INTEGER NOT NULL,
        PRIMARY KEY (room, channel_id)
    ) STRICT, WITHOUT ROWID""",
    # `data` is NULL until something becomes of the delivery: all of a pending row follows from its event.
    """CREATE TABLE deliveries (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        event INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
        channel_id TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at TEXT NOT NULL,
        data TEXT,
        UNIQUE (event, channel_id)
    ) STRICT""",
    "CREATE INDEX deliveries_by_room ON deliveries (room)",
    "CREATE INDEX deliveries_pending ON deliveries (state) WHERE state = 'pending'",
    "CREATE INDEX deliveries_pending_by_room ON deliveries (room) WHERE state = 'pending'",
    "CREATE INDEX deliveries_failed ON deliveries (state) WHERE state = 'failed'",
    """CREATE TABLE delivery_messages (
        provider TEXT NOT NULL,
        message_id TEXT NOT NULL,
        delivery INTEGER NOT NULL REFERENCES deliveries (seq) ON DELETE CASCADE,
        PRIMARY KEY (provider, message_id)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX delivery_messages_by_delivery ON delivery_messages (delivery)",
    f"PRAGMA application_id = {APPLICATION_ID}",
)

_LAST_MOMENT = 253_402_300_799_000_000  # of the year 9999, which is as far as a datetime goes
_LONG_AGO = -62_135_596_800_000_000  # of the year 1
_TIMERS_DUE = f"min(coalesce(last_activity, created_at) + due_after, {_LAST_MOMENT})"

_SECOND = (
    # Times are microseconds since 1970, by this machine's clock. Who is not in the table is not alive.
    """CREATE TABLE leases (
        worker TEXT NOT NULL PRIMARY KEY,
        renewed_at INTEGER NOT NULL,
        length INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID""",
    # Of a pending row: the worker that holds it, whether that one must claim it first, and how often it
    # was reclaimed. The first index finds the holder of a lane, the second the workers with rows to claim.
    "ALTER TABLE deliveries ADD COLUMN holder TEXT",
    "ALTER TABLE deliveries ADD COLUMN handed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE deliveries ADD COLUMN claims INTEGER NOT NULL DEFAULT 0",
    "CREATE INDEX deliveries_lanes ON deliveries (room, channel_id, handed, holder) WHERE state = 'pending'",
    "CREATE INDEX deliveries_held ON deliveries (holder, handed, room, state) WHERE state = 'pending'",
    # Receipts that came before what they are for, in order of arrival.
    """CREATE TABLE early_receipts (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        provider TEXT NOT NULL,
        message_id TEXT NOT NULL,
        receipt TEXT NOT NULL,
        arrived_at INTEGER NOT NULL,
        data TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX early_receipts_by_message ON early_receipts (provider, message_id)",
    "CREATE INDEX early_receipts_by_arrival ON early_receipts (arrived_at)",
    """CREATE TABLE alarms (
        seq INTEGER NOT NULL PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        room INTEGER NOT NULL REFERENCES rooms (seq) ON DELETE CASCADE,
        due_at INTEGER NOT NULL,
        holder TEXT,
        claims INTEGER NOT NULL DEFAULT 0,
        data TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX alarms_by_due ON alarms (due_at)",
    "CREATE INDEX alarms_by_room ON alarms (room, due_at)",
    "CREATE INDEX alarms_by_holder ON alarms (holder) WHERE holder IS NOT NULL",
    # The highest token of a lock that wrote to the room.
    "ALTER TABLE rooms ADD COLUMN fence INTEGER",
    """CREATE INDEX participants_by_identity ON participants (json_extract(data, '$.identity_id'), room)
        WHERE json_extract(data, '$.identity_id') IS NOT NULL""",
    # `RoomTimers` of rooms become stored timers; `due_after` is no longer used.
    f"""INSERT INTO alarms (id, room, due_at, data)
        SELECT 'timers:' || id, seq, due, json_object('id', 'timers:' || id, 'room_id', id, 'kind',
            'room_timers', 'due_at', strftime('%Y-%m-%dT%H:%M:%S', due / 1000000, 'unixepoch')
            || printf('.%06dZ', due % 1000000), 'data', json('{{}}'))
        FROM (SELECT id, seq, {_TIMERS_DUE} AS due FROM rooms WHERE due_after IS NOT NULL)
        WHERE true ORDER BY seq""",
)

_THIRD = (
    # The ids of the channels that are registered with the worker, as a JSON array; NULL is all of them.
    "ALTER TABLE leases ADD COLUMN channels TEXT",
)

# The state of each part of a message, by the vendor's receipts.
_FOURTH = ("ALTER TABLE delivery_messages ADD COLUMN receipt TEXT",)

_FIFTH = (
    """CREATE TABLE kept_values (
        seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT,
        organization_id TEXT NOT NULL,
        namespace TEXT NOT NULL,
        key TEXT NOT NULL,
        subject TEXT,
        room_id TEXT,
        expires_at INTEGER,
        data TEXT NOT NULL,
        UNIQUE (organization_id, namespace, key)
    ) STRICT""",
    "CREATE INDEX kept_values_by_subject ON kept_values (subject) WHERE subject IS NOT NULL",
    "CREATE INDEX kept_values_by_room ON kept_values (room_id) WHERE room_id IS NOT NULL",
    "CREATE INDEX kept_values_by_expiry ON kept_values (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX events_by_any_key ON events (idempotency_key) WHERE idempotency_key IS NOT NULL",
)

_SIXTH = (
    # The organization in which the event's key is taken in every room, "" for none; NULL: in its own room.
    "ALTER TABLE events ADD COLUMN key_scope TEXT",
    """CREATE UNIQUE INDEX events_by_wide_key ON events (key_scope, idempotency_key)
        WHERE key_scope IS NOT NULL""",
)

# A timer may belong to no room. One of a kind that workers of earlier versions would drop is never due for
# them: its time is in `due`. Those that they set have no `kind`.
_SEVENTH = (
    "ALTER TABLE alarms RENAME TO former_alarms",
    """CREATE TABLE alarms (
        seq INTEGER NOT NULL PRIMARY KEY,
        id TEXT NOT NULL UNIQUE,
        room INTEGER REFERENCES rooms (seq) ON DELETE CASCADE,
        due_at INTEGER NOT NULL,
        holder TEXT,
        claims INTEGER NOT NULL DEFAULT 0,
        data TEXT NOT NULL,
        due INTEGER,
        kind TEXT,
        subject TEXT
    ) STRICT""",
    """INSERT INTO alarms (seq, id, room, due_at, holder, claims, data, kind)
        SELECT seq, id, room, due_at, holder, claims, data,
            CASE WHEN json_valid(data) THEN json_extract(data, '$.kind') END
        FROM former_alarms ORDER BY seq""",
    "DROP TABLE former_alarms",
    "CREATE INDEX alarms_by_due ON alarms (due_at)",
    "CREATE INDEX alarms_by_time ON alarms (coalesce(due, due_at))",
    "CREATE INDEX alarms_by_room ON alarms (room, due_at)",
    "CREATE INDEX alarms_by_holder ON alarms (holder) WHERE holder IS NOT NULL",
    "CREATE INDEX alarms_by_subject ON alarms (subject) WHERE subject IS NOT NULL",
    "ALTER TABLE bindings ADD COLUMN address TEXT",
    "CREATE INDEX bindings_by_address ON bindings (address, channel_id, room) WHERE address IS NOT NULL",
    "ALTER TABLE kept_values ADD COLUMN derived INTEGER NOT NULL DEFAULT 0",
    """UPDATE kept_values SET derived = 1 WHERE data LIKE '%"derived":true}'""",
    # The vendor's id in the event's source. A change of the event by a worker of any version changes it.
    "ALTER TABLE events ADD COLUMN external_id TEXT",
    """UPDATE events SET external_id = json_extract(data, '$.source.external_id')
        WHERE instr(data, '"external_id"') AND json_valid(data)""",
    """CREATE INDEX events_by_external_id ON events (external_id, channel_id)
        WHERE external_id IS NOT NULL""",
    """CREATE TRIGGER events_external_id AFTER UPDATE OF data ON events WHEN old.external_id IS NOT NULL
        BEGIN
            UPDATE events SET external_id =
                CASE WHEN json_valid(new.data) THEN json_extract(new.data, '$.source.external_id') END
            WHERE seq = new.seq;
        END""",
)

# Which worker has a live thing: that of a channel in a room, or one elected by name, whose room is NULL.
_EIGHTH = (
    """CREATE TABLE homes (
        seq INTEGER NOT NULL PRIMARY KEY,
        room INTEGER REFERENCES rooms (seq) ON DELETE CASCADE,
        name TEXT NOT NULL,
        worker TEXT,
        token INTEGER NOT NULL,
        url TEXT,
        lost_at INTEGER
    ) STRICT""",
    "CREATE UNIQUE INDEX homes_by_room ON homes (room, name) WHERE room IS NOT NULL",
    "CREATE UNIQUE INDEX homes_elected ON homes (name) WHERE room IS NULL",
)

# Which events refer to which files; the files themselves, in pieces. A file that has lost its last reference
# is unused at once.
_NINTH = (
    "CREATE TABLE media (id TEXT NOT NULL PRIMARY KEY, room_id TEXT NOT NULL, unused_at INTEGER) STRICT",
    "CREATE INDEX media_unused ON media (unused_at, id) WHERE unused_at IS NOT NULL",
    """CREATE TABLE media_uses (
        event INTEGER NOT NULL REFERENCES events (seq) ON DELETE CASCADE,
        media TEXT NOT NULL,
        PRIMARY KEY (event, media)
    ) STRICT, WITHOUT ROWID""",
    "CREATE INDEX media_uses_by_media ON media_uses (media)",
    """CREATE TRIGGER media_used AFTER INSERT ON media_uses
        BEGIN
            UPDATE media SET unused_at = NULL WHERE id = new.media;
        END""",
    f"""CREATE TRIGGER media_released AFTER DELETE ON media_uses
        BEGIN
            UPDATE media SET unused_at = {_LONG_AGO} WHERE id = old.media
            AND NOT EXISTS (SELECT 1 FROM media_uses WHERE media = old.media);
        END""",
    """CREATE TABLE media_files (
        id TEXT NOT NULL PRIMARY KEY,
        room_id TEXT NOT NULL,
        data TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX media_files_by_room ON media_files (room_id)",
    """CREATE TABLE media_pieces (
        file TEXT NOT NULL,
        number INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (file, number)
    ) STRICT""",
)

STEPS = (
    Step(1, "rooms, timelines, people, work, the ledger and the full-text index", _FIRST),
    Step(2, "leases, lanes, timers, early receipts, tenants", _SECOND),
    Step(3, "the channels of each worker", _THIRD),
    Step(4, "receipts of the parts of a message", _FOURTH),
    Step(5, "values, and events by their keys over all rooms", _FIFTH),
    Step(6, "keys that span the rooms of an organization", _SIXTH),
    Step(7, "bindings by address, events by vendors' ids, timers by kind and person", _SEVENTH),
    Step(8, "homes of live things", _EIGHTH),
    Step(9, "files, and the events that refer to them", _NINTH),
)
"""All steps, oldest first; a step that was released is never changed."""


def version_of(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> int:
    """Return the version of a file's schema, 0 for an empty file.

    Raises StoreSchemaError for a database of another program, and for one of a newer RoomKit.
    """
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if application != APPLICATION_ID:
        if tables:
            raise StoreSchemaError(
                f"{str(path)!r} is a database, but not one of RoomKit's; nothing was changed in it: "
                "choose another path"
            )
        return 0
    (found,) = connection.execute("SELECT max(version) FROM schema_version").fetchone()
    way_out = "nothing was changed in it: upgrade roomkit-sqlite, or open a backup from before the upgrade"
    return check_version(repr(str(path)), found, steps, "roomkit-sqlite", way_out)


def migrate(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> None:
    """Bring a file to the newest version, in one transaction; several processes may try at once."""
    if version_of(connection, path, steps) == steps[-1].version:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = version_of(connection, path, steps)
        for step in steps:
            if step.version > found:
                for statement in step.statements:
                    connection.execute(statement)
                connection.execute(
                    "INSERT INTO schema_version VALUES (?, ?)", (step.version, utcnow().isoformat())
                )
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def plan(connection: sqlite3.Connection, path: Path, steps: Sequence[Step] = STEPS) -> MigrationPlan:
    """Return what `migrate` would do, reading only."""
    found = version_of(connection, path, steps)
    tables = [
        name
        for (name,) in connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%' "
            "AND name NOT LIKE 'sqlite!_%' ESCAPE '!' AND name NOT LIKE 'search!_%' ESCAPE '!' ORDER BY name"
        )
    ]
    rows = {name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for name in tables}
    return planned(str(path), found, steps, rows)
