"""Identities, marks and tasks, beside the one write path."""

from __future__ import annotations

from typing import Final

from roomkit_plugins.postgres.functions.parts import MESSAGE_LOCKS, assignments, function
from roomkit_plugins.postgres.rows import IDENTITIES, TASKS

__all__ = ["PEOPLE"]

# Whoever puts an identity says which revision they made it from: 0 for none, NULL for whichever there is.
_PUT_IDENTITY = function(
    "roomkit_put_identity(given json, addresses json, made_from bigint)",
    "json",
    f"""
BEGIN
    PERFORM pg_advisory_xact_lock({MESSAGE_LOCKS}, hashtext('identity ' || (given->>'id')));
    SELECT i.revision INTO former FROM roomkit_identities i WHERE i.id = given->>'id' FOR UPDATE;
    IF made_from <> coalesce(former, 0) THEN
        RETURN '{{"error": "moved"}}';
    END IF;
    INSERT INTO roomkit_identities AS i ({IDENTITIES.names})
    SELECT {IDENTITIES.values("g")} FROM json_to_record(given) AS g ({IDENTITIES.given})
    ON CONFLICT (id) DO UPDATE SET revision = i.revision + 1, {assignments(IDENTITIES, "id")};
    DELETE FROM roomkit_addresses WHERE identity = given->>'id';
    INSERT INTO roomkit_addresses (organization_id, channel_type, address, identity)
    SELECT a.value->>0, a.value->>1, a.value->>2, given->>'id' FROM json_array_elements(addresses) AS a
    ON CONFLICT (organization_id, channel_type, address) DO UPDATE SET identity = excluded.identity;
    RETURN '{{}}';
END""",
    "    former bigint;",
)

_DELETE_IDENTITY = function(
    "roomkit_delete_identity(identity_id text)",
    "json",
    """
BEGIN
    DELETE FROM roomkit_identities WHERE id = identity_id;
    RETURN to_json(FOUND);
END""",
)

_MARK_READ = function(
    "roomkit_mark_read(room_id text, of_channel text, event_id text)",
    "json",
    """
BEGIN
    SELECT h.room, h.next_index - 1 INTO of_room, newest FROM roomkit_rooms r
    JOIN roomkit_heads h ON h.room = r.seq WHERE r.id = room_id FOR KEY SHARE OF h;
    IF NOT FOUND THEN
        RETURN '{"error": "no_room"}';
    END IF;
    IF event_id IS NOT NULL THEN
        SELECT e.idx INTO newest FROM roomkit_events e WHERE e.id = event_id AND e.room = of_room;
        IF NOT FOUND THEN
            RETURN '{"error": "no_event"}';
        END IF;
    END IF;
    IF NOT EXISTS (SELECT FROM roomkit_bindings b WHERE b.room = of_room AND b.channel_id = of_channel) THEN
        RETURN '{"error": "no_binding"}';
    END IF;
    INSERT INTO roomkit_read_marks AS m (room, channel_id, idx) VALUES (of_room, of_channel, newest)
    ON CONFLICT (room, channel_id) DO UPDATE SET idx = greatest(m.idx, excluded.idx)
    RETURNING idx INTO newest;
    RETURN json_build_object('mark', newest);
END""",
    "    of_room bigint;\n    newest bigint;",
)

_UPDATE_TASK = function(
    "roomkit_update_task(room_id text, given json)",
    "json",
    f"""
BEGIN
    UPDATE roomkit_tasks t SET {
        ", ".join(
            f"{column.name} = g.{column.name}{'::json' if column.type == 'json' else ''}"
            for column in TASKS.columns
            if column.name != "id"
        )
    }
    FROM json_to_record(given) AS g ({TASKS.given})
    WHERE t.id = g.id AND t.room = (SELECT r.seq FROM roomkit_rooms r WHERE r.id = room_id);
    RETURN to_json(FOUND);
END""",
)

PEOPLE: Final = (
    _PUT_IDENTITY,
    _DELETE_IDENTITY,
    _MARK_READ,
    _UPDATE_TASK,
)
