"""The tables, their version, and how a database gets from one version to the next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from roomkit.abc.errors import StoreSchemaError
from roomkit_plugins.postgres.functions import FUNCTIONS
from roomkit_plugins.postgres.rows import (
    BINDINGS,
    DELIVERIES,
    EVENTS,
    IDENTITIES,
    IN_LANE,
    IS_HELD,
    OBSERVATIONS,
    PARTICIPANTS,
    ROOMS,
    TASKS,
    TIMERS,
    in_more,
)
from roomkit_plugins.sql.migrations import MigrationPlan, Step, check_version, planned

__all__ = ["STEPS", "migrate", "plan"]

_SEQ = "seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY"
_ROOM = "room bigint NOT NULL REFERENCES roomkit_rooms (seq) ON DELETE CASCADE"
_ID = 'text COLLATE "C"'


_FIRST = (
    "CREATE TABLE roomkit_schema (version int PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now())",
    # `seq` is the order of creation, and never used again. `facets` is what rooms are found by.
    f"""CREATE TABLE {ROOMS.name} (
    {_SEQ},
    {ROOMS.definitions},
    facets text[] NOT NULL,
    UNIQUE (id)
)""",
    "CREATE INDEX roomkit_rooms_by_organization ON roomkit_rooms (organization_id, seq) "
    "WHERE organization_id IS NOT NULL",
    "CREATE INDEX roomkit_rooms_by_facet ON roomkit_rooms USING gin (facets)",
    # What moves with every commit, apart from what does not: the row is narrow, has no index on anything
    # that changes, and has room beside it, so that its new version goes where the old one was.
    """CREATE TABLE roomkit_heads (
    room bigint PRIMARY KEY REFERENCES roomkit_rooms (seq) ON DELETE CASCADE,
    edition bigint NOT NULL DEFAULT 0,
    version bigint NOT NULL DEFAULT 0,
    next_index bigint NOT NULL DEFAULT 0,
    event_count bigint NOT NULL DEFAULT 0,
    fence bigint,
    last_activity timestamptz
) WITH (fillfactor = 50)""",
    f"""CREATE TABLE {EVENTS.name} (
    {_ROOM},
    idx bigint NOT NULL,
    is_history boolean NOT NULL,
    source_channel_id {_ID} NOT NULL,
    {EVENTS.definitions},
    PRIMARY KEY (room, idx),
    UNIQUE (id)
)""",
    "CREATE UNIQUE INDEX roomkit_events_by_key ON roomkit_events (room, idempotency_key) "
    "WHERE idempotency_key IS NOT NULL",
    f"""CREATE TABLE {BINDINGS.name} (
    {_SEQ},
    {_ROOM},
    {BINDINGS.definitions},
    UNIQUE (room, channel_id)
)""",
    "CREATE INDEX roomkit_bindings_by_channel ON roomkit_bindings (channel_id, room)",
    "CREATE INDEX roomkit_bindings_by_participant ON roomkit_bindings (participant_id, channel_id, room) "
    "WHERE participant_id IS NOT NULL",
    f"""CREATE TABLE {PARTICIPANTS.name} (
    {_SEQ},
    {_ROOM},
    {PARTICIPANTS.definitions},
    UNIQUE (room, id)
)""",
    "CREATE INDEX roomkit_participants_by_id ON roomkit_participants (id, room)",
    "CREATE INDEX roomkit_participants_by_identity ON roomkit_participants (identity_id, room) "
    "WHERE identity_id IS NOT NULL",
    f"""CREATE TABLE roomkit_senders (
    channel_id {_ID} NOT NULL,
    sender_id {_ID} NOT NULL,
    room bigint NOT NULL,
    participant bigint NOT NULL REFERENCES roomkit_participants (seq) ON DELETE CASCADE,
    PRIMARY KEY (participant, channel_id, sender_id)
)""",
    "CREATE INDEX roomkit_senders_by_address ON roomkit_senders (channel_id, sender_id, room)",
    f"""CREATE TABLE {IDENTITIES.name} (
    {IDENTITIES.definitions},
    revision bigint NOT NULL DEFAULT 1,
    PRIMARY KEY (id)
)""",
    f"""CREATE TABLE roomkit_addresses (
    organization_id {_ID} NOT NULL,
    channel_type {_ID} NOT NULL,
    address {_ID} NOT NULL,
    identity {_ID} NOT NULL REFERENCES roomkit_identities (id) ON DELETE CASCADE,
    PRIMARY KEY (organization_id, channel_type, address)
)""",
    "CREATE INDEX roomkit_addresses_by_identity ON roomkit_addresses (identity)",
    f"CREATE TABLE {TASKS.name} ({_SEQ}, {_ROOM}, {TASKS.definitions}, UNIQUE (id))",
    "CREATE INDEX roomkit_tasks_by_room ON roomkit_tasks (room, seq)",
    f"CREATE TABLE {OBSERVATIONS.name} ({_SEQ}, {_ROOM}, {OBSERVATIONS.definitions}, UNIQUE (room, id))",
    f"""CREATE TABLE roomkit_read_marks (
    {_ROOM},
    channel_id {_ID} NOT NULL,
    idx bigint NOT NULL,
    PRIMARY KEY (room, channel_id)
)""",
    f"""CREATE TABLE {DELIVERIES.name} (
    {_SEQ},
    room bigint NOT NULL,
    idx bigint NOT NULL,
    handed boolean NOT NULL DEFAULT false,
    {DELIVERIES.definitions},
    UNIQUE (room, idx, channel_id),
    FOREIGN KEY (room, idx) REFERENCES roomkit_events (room, idx) ON DELETE CASCADE
)""",
    # Of the ledger's rows only those that are to be carried out, or looked at, are looked for at large. The
    # second halves of these conditions always hold: they keep the indexes apart, so that a query that asks
    # for a lane never walks through everything a worker holds, whatever statistics say.
    "CREATE INDEX roomkit_deliveries_by_lane ON roomkit_deliveries (room, channel_id, handed) "
    f"WHERE {IN_LANE.replace('d.', '')}",
    "CREATE INDEX roomkit_deliveries_by_holder ON roomkit_deliveries (holder, handed, seq) "
    f"WHERE {IS_HELD.replace('d.', '')}",
    "CREATE INDEX roomkit_deliveries_failed ON roomkit_deliveries (seq) WHERE state = 'failed'",
    "CREATE INDEX roomkit_deliveries_by_message ON roomkit_deliveries (provider_message_id, provider) "
    "WHERE provider_message_id IS NOT NULL",
    # The ids of messages that are not in their rows: those of parts, and of earlier attempts.
    f"""CREATE TABLE roomkit_messages (
    provider {_ID} NOT NULL,
    message_id {_ID} NOT NULL,
    delivery bigint NOT NULL REFERENCES roomkit_deliveries (seq) ON DELETE CASCADE,
    PRIMARY KEY (provider, message_id)
)""",
    "CREATE INDEX roomkit_messages_by_delivery ON roomkit_messages (delivery)",
    f"""CREATE TABLE roomkit_receipts (
    {_SEQ},
    provider {_ID} NOT NULL,
    message_id {_ID} NOT NULL,
    receipt text NOT NULL,
    status text NOT NULL,
    kept_at timestamptz NOT NULL
)""",
    "CREATE INDEX roomkit_receipts_by_message ON roomkit_receipts (provider, message_id)",
    "CREATE INDEX roomkit_receipts_by_age ON roomkit_receipts (kept_at)",
    f"""CREATE TABLE roomkit_leases (
    id {_ID} PRIMARY KEY,
    renewed_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL
) WITH (fillfactor = 50)""",
    f"""CREATE TABLE {TIMERS.name} (
    {_SEQ},
    {_ROOM},
    holder {_ID},
    {TIMERS.definitions},
    UNIQUE (id)
)""",
    "CREATE INDEX roomkit_alarms_by_time ON roomkit_alarms (due_at, seq)",
    "CREATE INDEX roomkit_alarms_by_room ON roomkit_alarms (room, due_at)",
    f"""CREATE TABLE roomkit_writers (
    id {_ID} PRIMARY KEY,
    serial bigint NOT NULL,
    used_at timestamptz NOT NULL,
    outcome json
) WITH (fillfactor = 20)""",
    # A statement of its own: CREATE TABLE takes STORAGE only since PostgreSQL 16.
    "ALTER TABLE roomkit_writers ALTER COLUMN outcome SET STORAGE MAIN",
)

# The ids of the channels that are registered with the worker; NULL is all of them.
_SECOND = ("ALTER TABLE roomkit_leases ADD COLUMN channels text[]",)

# The state of each part of a message, by the vendor's receipts.
_THIRD = ("ALTER TABLE roomkit_messages ADD COLUMN receipt text",)

_FOURTH = (
    "CREATE SEQUENCE roomkit_revisions",
    f"""CREATE TABLE roomkit_values (
    revision bigint NOT NULL DEFAULT nextval('roomkit_revisions'),
    organization_id {_ID} NOT NULL,
    namespace {_ID} NOT NULL,
    key {_ID} NOT NULL,
    subject {_ID},
    room_id {_ID},
    expires_at timestamptz,
    data text NOT NULL,
    PRIMARY KEY (organization_id, namespace, key),
    UNIQUE (revision)
)""",
    "CREATE INDEX roomkit_values_by_subject ON roomkit_values (subject) WHERE subject IS NOT NULL",
    "CREATE INDEX roomkit_values_by_room ON roomkit_values (room_id) WHERE room_id IS NOT NULL",
    "CREATE INDEX roomkit_values_by_expiry ON roomkit_values (expires_at) WHERE expires_at IS NOT NULL",
    "CREATE INDEX roomkit_events_by_any_key ON roomkit_events (idempotency_key) "
    "WHERE idempotency_key IS NOT NULL",
)

# The organization in which the event's key is taken in every room, '' for none; NULL: in its own room.
_FIFTH = (
    f"ALTER TABLE roomkit_events ADD COLUMN key_scope {_ID}",
    "CREATE UNIQUE INDEX roomkit_events_by_wide_key ON roomkit_events (key_scope, idempotency_key) "
    "WHERE key_scope IS NOT NULL",
)

# Columns for lookups; a text in JSON that has a NUL cannot be read with it. What workers of an
# earlier version do not know stays in `more` when they write the row back.
_SIXTH = (
    "ALTER TABLE roomkit_alarms ALTER COLUMN room DROP NOT NULL",
    f"CREATE INDEX roomkit_alarms_by_subject ON roomkit_alarms (({in_more('subject')})) "
    f"WHERE {in_more('subject')} IS NOT NULL",
    f"CREATE INDEX roomkit_bindings_by_address ON roomkit_bindings (({in_more('address')}), channel_id) "
    f"WHERE {in_more('address')} IS NOT NULL",
    # The vendor's id in the event's source.
    f"ALTER TABLE roomkit_events ADD COLUMN external_id {_ID}",
    "UPDATE roomkit_events SET external_id = replace(source::text, '\\u0000', '')::json->>'external_id' "
    "WHERE strpos(source::text, '\"external_id\"') > 0",
    "CREATE INDEX roomkit_events_by_external_id ON roomkit_events (external_id, source_channel_id) "
    "WHERE external_id IS NOT NULL",
    "ALTER TABLE roomkit_values ADD COLUMN derived boolean NOT NULL DEFAULT false",
    """UPDATE roomkit_values SET derived = true WHERE data LIKE '%"derived":true}'""",
)

# Which worker has a live thing: that of a channel in a room, or one elected by name, whose room is NULL. The
# functions of before that no other one calls now stay: a call that was under way uses them to its end.
_SEVENTH = (
    f"""CREATE TABLE roomkit_homes (
    {_SEQ},
    room bigint REFERENCES roomkit_rooms (seq) ON DELETE CASCADE,
    name {_ID} NOT NULL,
    worker {_ID},
    token bigint NOT NULL,
    url text,
    lost_at timestamptz
)""",
    "CREATE UNIQUE INDEX roomkit_homes_by_room ON roomkit_homes (room, name) WHERE room IS NOT NULL",
    "CREATE UNIQUE INDEX roomkit_homes_elected ON roomkit_homes (name) WHERE room IS NULL",
)

# Which events refer to which files; the files themselves, in pieces. A file that has lost its last reference
# is unused at once.
_EIGHTH = (
    f"CREATE TABLE roomkit_media (id {_ID} PRIMARY KEY, room_id {_ID} NOT NULL, unused_at timestamptz)",
    "CREATE INDEX roomkit_media_unused ON roomkit_media (unused_at, id) WHERE unused_at IS NOT NULL",
    f"""CREATE TABLE roomkit_media_uses (
    event {_ID} NOT NULL REFERENCES roomkit_events (id) ON DELETE CASCADE,
    media {_ID} NOT NULL,
    PRIMARY KEY (event, media)
)""",
    "CREATE INDEX roomkit_media_uses_by_media ON roomkit_media_uses (media)",
    """CREATE FUNCTION roomkit_media_used() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE roomkit_media SET unused_at = NULL WHERE id = new.media;
    RETURN NULL;
END
$$""",
    """CREATE FUNCTION roomkit_media_released() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    UPDATE roomkit_media m SET unused_at = '-infinity' WHERE m.id = old.media
    AND NOT EXISTS (SELECT FROM roomkit_media_uses u WHERE u.media = m.id);
    RETURN NULL;
END
$$""",
    "CREATE TRIGGER roomkit_media_used AFTER INSERT ON roomkit_media_uses "
    "FOR EACH ROW EXECUTE FUNCTION roomkit_media_used()",
    "CREATE TRIGGER roomkit_media_released AFTER DELETE ON roomkit_media_uses "
    "FOR EACH ROW EXECUTE FUNCTION roomkit_media_released()",
    f"CREATE TABLE roomkit_media_files (id {_ID} PRIMARY KEY, room_id {_ID} NOT NULL, data text NOT NULL)",
    "CREATE INDEX roomkit_media_files_by_room ON roomkit_media_files (room_id)",
    f"""CREATE TABLE roomkit_media_pieces (
    file {_ID} NOT NULL,
    number int NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (file, number)
)""",
    # Files are packed already, and read from any byte.
    "ALTER TABLE roomkit_media_pieces ALTER COLUMN data SET STORAGE EXTERNAL",
)

# Functions that move what belongs to one room to another.
_NINTH = ()

# Functions in which receipts lead to the same state whatever their order.
_TENTH = ()

# A commit answers what others added to the room since the committing worker read it.
_ELEVENTH = ()

# After the last step the functions are replaced by those of this version, which also serve workers of the
# version before.
STEPS = (
    Step(1, "rooms, timelines, people, work, leases, timers and the ledger", _FIRST),
    Step(2, "the channels of each worker", _SECOND),
    Step(3, "receipts of the parts of a message", _THIRD),
    Step(4, "values, and events by their keys over all rooms", _FOURTH),
    Step(5, "keys that span the rooms of an organization", _FIFTH),
    Step(6, "bindings by address, events by vendors' ids, timers by kind and person", _SIXTH),
    Step(7, "homes of live things", _SEVENTH),
    Step(8, "files, and the events that refer to them", _EIGHTH),
    Step(9, "rooms that meet", _NINTH),
    Step(10, "one order of receipts", _TENTH),
    Step(11, "commits that answer what others added", _ELEVENTH),
)
"""All steps, oldest first; a step that was released is never changed."""

_TABLES = """
SELECT c.relname, greatest(c.reltuples, 0)::bigint FROM pg_class c
WHERE c.relnamespace = to_regnamespace(current_schema()) AND c.relkind IN ('r', 'p')
AND starts_with(c.relname, 'roomkit_') ORDER BY c.relname
"""
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('roomkit schema ' || current_schema(), 0))"


async def _version(connection: Any, where: str, steps: Sequence[Step]) -> int:
    """Return the schema's version; 0 for none. Raises StoreSchemaError for a foreign schema."""
    if await connection.fetchval("SELECT current_schema()") is None:
        raise StoreSchemaError(
            f"{where} has no such schema as schema_name says: create it, or correct the name"
        )
    tables = {name for name, _ in await connection.fetch(_TABLES)}
    if "roomkit_schema" not in tables:
        if foreign := sorted(tables & _NAMES):
            raise StoreSchemaError(
                f"{where} has tables of RoomKit's names that are not RoomKit's ({', '.join(foreign)}); "
                "nothing was changed: choose another database or schema_name"
            )
        return 0
    found = await connection.fetchval("SELECT coalesce(max(version), 0) FROM roomkit_schema")
    way_out = "nothing was changed: upgrade roomkit-postgres"
    return check_version(where, int(found), steps, "roomkit-postgres", way_out)


async def migrate(connection: Any, where: str, steps: Sequence[Step] = STEPS) -> None:
    """Bring a database to the newest version, in one transaction; many processes may try at once."""
    if await _version(connection, where, steps) == steps[-1].version:
        return
    async with connection.transaction():
        await connection.execute(_LOCK)
        found = await _version(connection, where, steps)
        for step in steps:
            if step.version > found:
                for statement in step.statements:
                    await connection.execute(statement)
                await connection.execute("INSERT INTO roomkit_schema (version) VALUES ($1)", step.version)
        for script in FUNCTIONS:
            await connection.execute(script)


async def plan(connection: Any, where: str, steps: Sequence[Step] = STEPS) -> MigrationPlan:
    """Return what `migrate` would do, reading only."""
    async with connection.transaction(readonly=True):
        found = await _version(connection, where, steps)
        rows = dict(map(tuple, await connection.fetch(_TABLES)))
    return planned(where, found, steps, rows if found else {})


_NAMES = frozenset(statement.split()[2] for statement in _FIRST if statement.startswith("CREATE TABLE"))
