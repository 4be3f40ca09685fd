"""The one write path."""

from __future__ import annotations

from typing import Any, Final

from roomkit_plugins.postgres.functions.parts import (
    MESSAGE_LOCKS,
    ROW_OF_EVENT,
    SET_TIMERS,
    assignments,
    function,
)
from roomkit_plugins.postgres.functions.values import PUT_VALUES
from roomkit_plugins.postgres.rows import BINDINGS, EVENTS, OBSERVATIONS, PARTICIPANTS, ROOMS, TASKS, Table

__all__ = ["COMMITS"]


def _put(table: Table[Any], key: str, given: str) -> str:
    """Insert rows of a room, or replace those of the same key in their place."""
    return f"""
        INSERT INTO {table.name} (room, {table.names})
        SELECT head.room, {table.values("g")} FROM json_to_recordset({given}) AS g ({table.given})
        ON CONFLICT {key} DO UPDATE SET {assignments(table, key.strip("()").replace(",", ""))};"""


_REPLACED = ", ".join(
    f"{column.name} = g.{column.name}{'::json' if column.type == 'json' else ''}"
    for column in EVENTS.columns
    if column.name not in ("id", "idempotency_key", "created_at")
)

_ROOM_ROW = ", ".join(
    f"{column.name} = g.{column.name}{'::json' if column.type == 'json' else ''}"
    for column in ROOMS.columns
    if column.name != "id"
)

_WRITE_ONE = function(
    "roomkit_write_one(operation json)",
    "json",
    f"""
BEGIN
    SELECT * INTO c FROM json_to_record(operation) AS c (
        room text, expected bigint, fence bigint, worker text, at timestamptz, activity boolean, bump int,
        base bigint, missing text, binding text, participant text, changed json, events json, targets json,
        replaced json, bindings json, unbind json, participants json, removed json, tasks json,
        observations json, alarms json, completed json, keys json, alarms_done json,
        absent text[], kept json
    );
    IF c.room IS NOT NULL THEN
        SELECT h.room, h.version, h.fence, h.next_index, coalesce(r.organization_id, '') AS scope INTO head
        FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
        WHERE r.id = c.room FOR NO KEY UPDATE OF h;
        IF NOT FOUND THEN
            RETURN '{{"error": "no_room"}}';
        ELSIF c.expected <> head.version THEN
            RETURN json_build_object('error', 'stale', 'version', head.version);
        ELSIF c.fence < head.fence THEN
            RETURN json_build_object('error', 'lock_lost', 'fence', head.fence);
        ELSIF c.base <> head.version THEN
            RETURN '{{"error": "moved"}}';
        ELSIF c.missing IS NOT NULL THEN
            RETURN '{{"error": "no_event"}}';
        ELSIF c.binding IS NOT NULL AND NOT EXISTS (
            SELECT FROM roomkit_bindings b WHERE b.room = head.room AND b.channel_id = c.binding
        ) THEN
            RETURN '{{"error": "no_binding"}}';
        ELSIF c.participant IS NOT NULL AND NOT EXISTS (
            SELECT FROM roomkit_participants p WHERE p.room = head.room AND p.id = c.participant
        ) THEN
            RETURN '{{"error": "no_participant"}}';
        ELSIF c.tasks IS NOT NULL THEN
            SELECT t.id INTO foreign_task FROM json_to_recordset(c.tasks) AS g (id text)
            JOIN roomkit_tasks t ON t.id = g.id WHERE t.room <> head.room LIMIT 1;
            IF FOUND THEN
                RETURN json_build_object('error', 'foreign_task', 'id', foreign_task);
            END IF;
        END IF;
    END IF;
    IF c.events IS NOT NULL THEN
        INSERT INTO roomkit_events (room, idx, source_channel_id, is_history, key_scope, {EVENTS.names})
        SELECT head.room, head.next_index + g.i, g.source_channel_id, g.is_history,
            CASE WHEN g.key_spans_rooms THEN head.scope END, {EVENTS.values("g")}
        FROM json_to_recordset(c.events) AS g
            (i int, source_channel_id text, is_history boolean, key_spans_rooms boolean, {EVENTS.given})
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS count = ROW_COUNT;
        IF count <> json_array_length(c.events) THEN
            DELETE FROM roomkit_events e WHERE e.room = head.room AND e.idx >= head.next_index;
            RETURN coalesce((
                SELECT json_build_object('error', 'duplicate', 'id', e.id, 'key',
                    e.id <> g.id OR (e.room = head.room AND e.idempotency_key = g.idempotency_key))
                FROM json_to_recordset(c.events)
                    AS g (i int, id text, idempotency_key text, key_spans_rooms boolean)
                JOIN roomkit_events e ON e.id = g.id
                    OR (e.room = head.room AND e.idempotency_key = g.idempotency_key)
                    OR (g.key_spans_rooms AND e.key_scope = head.scope
                        AND e.idempotency_key = g.idempotency_key)
                ORDER BY g.i, e.id = g.id LIMIT 1
            ), '{{"error": "twice"}}');
        END IF;
    END IF;
    IF c.completed IS NOT NULL THEN
        completed := roomkit_complete(c.completed, c.keys, c.worker);
    END IF;
    IF c.alarms_done IS NOT NULL THEN
        DELETE FROM roomkit_alarms a WHERE a.seq = ANY(ARRAY(
            SELECT seq FROM roomkit_alarms
            WHERE id = ANY(ARRAY(SELECT json_array_elements_text(c.alarms_done)))
            AND (c.worker IS NULL OR holder = c.worker) ORDER BY id FOR UPDATE
        ));
    END IF;
    IF c.room IS NULL THEN
        RETURN json_build_object('completed', completed);
    END IF;
    worker_alive := c.worker IS NOT NULL AND (c.targets IS NOT NULL OR c.alarms IS NOT NULL)
        AND roomkit_is_alive(c.worker);
    IF c.targets IS NOT NULL THEN
        WITH rows AS (
            INSERT INTO roomkit_deliveries (
                room, idx, channel_id, state, attempts, claims, created_at, holder, handed
            )
            SELECT head.room, head.next_index + g.i, g.id, 'pending', 0, 0, c.at,
                lane.new_holder, lane.new_handed
            FROM json_to_recordset(c.targets) AS g (i int, id text), LATERAL (
                SELECT l.new_holder, l.new_handed
                FROM roomkit_lane(head.room, g.id, CASE WHEN worker_alive THEN c.worker END) AS l
                WHERE c.absent IS NULL OR g.id <> ALL(c.absent)
                UNION ALL
                SELECT l.new_holder, l.new_handed FROM roomkit_lane_of_absent(head.room, g.id, c.worker) AS l
                WHERE g.id = ANY(c.absent)
            ) AS lane
            RETURNING idx, channel_id, holder, handed
        )
        SELECT json_agg(json_build_array(idx - head.next_index, channel_id, holder)) INTO elsewhere FROM rows
        WHERE c.worker IS NOT NULL AND (handed OR holder IS NULL);
    END IF;
    IF c.participants IS NOT NULL THEN{_put(PARTICIPANTS, "(room, id)", "c.participants")}
        DELETE FROM roomkit_senders s USING roomkit_participants p
        WHERE s.participant = p.seq AND p.room = head.room
        AND p.id = ANY(ARRAY(SELECT g.id FROM json_to_recordset(c.participants) AS g (id text)));
        INSERT INTO roomkit_senders (channel_id, sender_id, room, participant)
        SELECT s.value->>0, s.value->>1, head.room, p.seq
        FROM json_to_recordset(c.participants) AS g (id text, senders json)
        JOIN roomkit_participants p ON p.room = head.room AND p.id = g.id,
        json_array_elements(g.senders) AS s;
    END IF;
    IF c.removed IS NOT NULL THEN
        DELETE FROM roomkit_participants WHERE room = head.room
        AND id = ANY(ARRAY(SELECT json_array_elements_text(c.removed)));
    END IF;
    IF c.bindings IS NOT NULL THEN{_put(BINDINGS, "(room, channel_id)", "c.bindings")}
    END IF;
    IF c.unbind IS NOT NULL THEN
        DELETE FROM roomkit_bindings WHERE room = head.room
        AND channel_id = ANY(ARRAY(SELECT json_array_elements_text(c.unbind)));
        GET DIAGNOSTICS unbound = ROW_COUNT;
    END IF;
    IF c.replaced IS NOT NULL THEN
        UPDATE roomkit_events e SET {_REPLACED}, is_history = g.is_history
        FROM json_to_recordset(c.replaced) AS g (is_history boolean, {EVENTS.given})
        WHERE e.id = g.id AND e.room = head.room;
    END IF;
    IF c.tasks IS NOT NULL THEN{_put(TASKS, "(id)", "c.tasks")}
    END IF;
    IF c.observations IS NOT NULL THEN{_put(OBSERVATIONS, "(room, id)", "c.observations")}
    END IF;
    IF c.alarms IS NOT NULL THEN{
        SET_TIMERS
        % ("head.room", "CASE WHEN worker_alive AND g.due_at <= c.at THEN c.worker END", "c.alarms")
    }
    END IF;
    IF c.kept IS NOT NULL THEN{PUT_VALUES % "c.kept"}
    END IF;
    IF c.changed IS NOT NULL THEN
        UPDATE roomkit_rooms r SET {_ROOM_ROW}, facets = ARRAY(SELECT json_array_elements_text(g.facets))
        FROM json_to_record(c.changed) AS g (facets json, {ROOMS.given}) WHERE r.seq = head.room;
    END IF;
    UPDATE roomkit_heads h SET
        edition = h.edition + 1, version = h.version + c.bump, next_index = h.next_index + count,
        event_count = h.event_count + count, fence = greatest(h.fence, c.fence),
        last_activity = CASE WHEN c.activity THEN c.at ELSE h.last_activity END
    WHERE h.room = head.room
    RETURNING json_build_array(h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity)
    INTO counters;
    RETURN json_build_object(
        'counters', counters, 'elsewhere', elsewhere, 'completed', completed, 'unbound', unbound
    );
END""",
    """    c record;
    head record;
    count bigint := 0;
    unbound bigint := 0;
    worker_alive boolean;
    foreign_task text;
    completed json;
    elsewhere json;
    counters json;""",
)

# Writes of several rooms in one transaction. All their locks come first, each kind in its order. For a room
# that somebody else is writing to right now the others do not wait: it is `busy`, and to be tried alone.
_WRITE = function(
    "roomkit_write(operations json)",
    "json",
    f"""
BEGIN
    IF json_array_length(operations) = 1 THEN
        RETURN json_build_array(roomkit_write_one(operations->0));
    END IF;
    SELECT array_agg(locked.id) INTO free FROM (
        SELECT r.id FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
        WHERE r.id = ANY(ARRAY(SELECT o->>'room' FROM json_array_elements(operations) AS o))
        FOR NO KEY UPDATE OF h SKIP LOCKED
    ) AS locked;
    SELECT json_agg(g) INTO ending FROM json_array_elements(operations) AS o,
        json_array_elements(o->'completed') AS g;
    IF ending IS NOT NULL THEN
        PERFORM pg_advisory_xact_lock({MESSAGE_LOCKS}, keys.key) FROM (
            SELECT k.key::int FROM json_array_elements(operations) AS o,
                json_array_elements_text(o->'keys') AS k (key) ORDER BY 1
        ) AS keys;
        SELECT array_agg(d.seq) INTO rows
        FROM json_to_recordset(ending) AS g (event text, channel_id text), {ROW_OF_EVENT};
        PERFORM FROM roomkit_deliveries d WHERE d.seq = ANY(rows) ORDER BY d.seq FOR UPDATE;
    END IF;
    FOR operation IN SELECT value FROM json_array_elements(operations) LOOP
        answers := answers || CASE WHEN operation->>'room' <> ALL(coalesce(free, '{{}}'))
            THEN '{{"error": "busy"}}' ELSE roomkit_write_one(operation) END;
    END LOOP;
    RETURN array_to_json(answers);
END""",
    """    operation json;
    free text[];
    ending json;
    rows bigint[];
    answers json[] := '{}';""",
)

COMMITS: Final = (
    _WRITE_ONE,
    _WRITE,
)
