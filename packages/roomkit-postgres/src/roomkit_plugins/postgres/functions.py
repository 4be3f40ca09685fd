"""The writes, as functions in the database: each is one round trip, and decides after the locks it takes.

Locks are always taken in one order: rooms (by their number), then the ids of vendors' messages, then
rows of the ledger (by their number), then the rest. So two writes do not wait for each other in a circle.
What is refused for a reason that a caller may hear of is an answer, `{"error": ...}`, and has written nothing.
"""

from __future__ import annotations

from typing import Any, Final

from roomkit_plugins.postgres.rows import (
    ALARMS,
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
    Table,
)

__all__ = ["FUNCTIONS"]

_MESSAGE_LOCKS = 0x526F6F6D  # the class of our locks on vendors' message ids, apart from all room locks


def _function(signature: str, result: str, body: str, declare: str = "", *, kind: str = "VOLATILE") -> str:
    declaration = f"DECLARE\n{declare}" if declare else ""
    return f"CREATE FUNCTION {signature} RETURNS {result} {kind} LANGUAGE plpgsql AS $$\n{declaration}\n{body}\n$$"


def _assignments(table: Table[Any], leave: str = "") -> str:
    names = [column.name for column in table.columns if column.name not in leave.split()]
    return ", ".join(f"{name} = excluded.{name}" for name in names)


# -- exactly once -------------------------------------------------------------------------------

# A writer is one connection's worth of a store object; it numbers its writes. A write is done iff its
# number is here. `roomkit_settle` finds out, after a connection broke: it waits for a write that is still
# under way, and makes one that has not come to its end yet impossible.
_SEAL = _function(
    "roomkit_seal(writer text, number bigint, result json)",
    "json",
    """
BEGIN
    UPDATE roomkit_writers SET serial = number, outcome = result, used_at = now()
    WHERE id = writer AND serial = number - 1;
    IF NOT FOUND THEN
        INSERT INTO roomkit_writers (id, serial, outcome, used_at) VALUES (writer, number, result, now());
    END IF;
    RETURN result;
END""",
)
_SETTLE = _function(
    "roomkit_settle(writer text, number bigint)",
    "json",
    """
BEGIN
    INSERT INTO roomkit_writers AS w (id, serial, outcome, used_at) VALUES (writer, number, NULL, now())
    ON CONFLICT (id) DO UPDATE SET
        outcome = CASE WHEN w.serial = number THEN w.outcome END, serial = number, used_at = now()
    RETURNING outcome INTO result;
    RETURN result;
END""",
    "    result json;",
)

# -- leases and lanes ---------------------------------------------------------------------------

_ALIVE = "l.renewed_at <= clock_timestamp() + interval '1 second' AND clock_timestamp() < l.ends_at"

_IS_ALIVE = _function(
    "roomkit_is_alive(worker text)",
    "boolean",
    f"""
BEGIN
    PERFORM FROM roomkit_leases l WHERE l.id = worker AND {_ALIVE};
    RETURN FOUND;
END""",
    kind="STABLE",
)

# All pending rows of a lane have one holder, if one that is alive, so any of them tells who that is. `worker`
# is a committer who is alive, or NULL.
_LANE = _function(
    "roomkit_lane(of_room bigint, of_channel text, worker text, OUT new_holder text, OUT new_handed boolean, "
    "OUT is_direct boolean)",
    "record",
    f"""
BEGIN
    new_handed := false;
    is_direct := false;
    SELECT d.holder INTO new_holder FROM roomkit_deliveries d
    WHERE d.room = of_room AND d.channel_id = of_channel AND {IN_LANE} LIMIT 1;
    IF NOT FOUND THEN
        new_holder := worker;
        is_direct := worker IS NOT NULL;
    ELSIF new_holder IS NOT NULL THEN
        IF new_holder IS DISTINCT FROM worker AND NOT roomkit_is_alive(new_holder) THEN
            new_holder := NULL;
        ELSE
            new_handed := new_holder IS DISTINCT FROM worker OR EXISTS (
                SELECT FROM roomkit_deliveries d WHERE d.room = of_room AND d.channel_id = of_channel
                AND {IN_LANE} AND d.handed
            );
            is_direct := NOT new_handed;
        END IF;
    END IF;
END""",
    kind="STABLE",
)

_CLAIM = _function(
    "roomkit_claim(room_id text, worker text)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    IF NOT FOUND OR NOT roomkit_is_alive(worker) THEN
        RETURN '[]';
    END IF;
    WITH mine AS MATERIALIZED (
        SELECT d.seq FROM roomkit_deliveries d LEFT JOIN roomkit_leases l ON l.id = d.holder AND {_ALIVE}
        WHERE d.room = of_room AND {IN_LANE} AND (l.id IS NULL OR (d.handed AND d.holder = worker))
        ORDER BY d.seq FOR UPDATE OF d
    ), taken AS (
        UPDATE roomkit_deliveries d SET
            claims = claims + (holder IS NOT NULL AND holder <> worker)::int, holder = worker, handed = false
        FROM mine WHERE d.seq = mine.seq RETURNING d.seq
    )
    SELECT coalesce(json_agg(seq), '[]') INTO result FROM taken;
    RETURN result;
END""",
    "    of_room bigint;\n    result json;",
)

_CLAIM_ALARMS = _function(
    "roomkit_claim_alarms(worker text, until timestamptz, at_most bigint)",
    "json",
    f"""
BEGIN
    IF NOT roomkit_is_alive(worker) THEN
        RETURN '[]';
    END IF;
    WITH mine AS MATERIALIZED (
        SELECT a.seq FROM roomkit_alarms a LEFT JOIN roomkit_leases l ON l.id = a.holder AND {_ALIVE}
        WHERE a.due_at <= until AND l.id IS NULL ORDER BY a.due_at, a.seq LIMIT at_most
        FOR UPDATE OF a SKIP LOCKED
    ), taken AS (
        UPDATE roomkit_alarms a SET claims = claims + (holder IS NOT NULL)::int, holder = worker
        FROM mine WHERE a.seq = mine.seq RETURNING a.seq
    )
    SELECT coalesce(json_agg(seq), '[]') INTO result FROM taken;
    RETURN result;
END""",
    "    result json;",
)

# -- the ledger ---------------------------------------------------------------------------------

_FOLLOWS = """CREATE FUNCTION roomkit_follows(later text, before text) RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE
        WHEN later IS NULL THEN false
        WHEN before IS NULL THEN true
        WHEN before IN ('failed', 'read') THEN false
        ELSE array_position(ARRAY['queued', 'sent', 'delivered', 'read', 'failed'], later)
            > array_position(ARRAY['queued', 'sent', 'delivered', 'read', 'failed'], before)
    END
$$"""

_LOCK_MESSAGES = f"""
    PERFORM pg_advisory_xact_lock({_MESSAGE_LOCKS}, key::int) FROM json_array_elements_text(%s) AS key;"""

_COMPLETED = ", ".join(
    f"{column.name} = {'g.' + column.name}{'::json' if column.type == 'json' else ''}"
    for column in DELIVERIES.columns
    if column.name not in ("channel_id", "holder", "claims", "receipt")
)

# The row of the ledger for g's event and channel. OFFSET 0 keeps the planner from another way than this one.
_ROW_OF_EVENT = """LATERAL (
        SELECT e.room, e.idx FROM roomkit_events e WHERE e.id = g.event OFFSET 0
    ) AS e, LATERAL (
        SELECT d.seq, d.state, d.provider_message_id FROM roomkit_deliveries d
        WHERE d.room = e.room AND d.idx = e.idx AND d.channel_id = g.channel_id OFFSET 0
    ) AS d"""

# `given` has for each row its columns, `n` (its place), `event` (its id) and `others` (ids of its message but
# the first); `keys` stand for the ids of all messages, in order. The state is compared in a way no index
# offers: the index of what is pending is not the way to one row.
_MINE = "d.state || '' = 'pending' AND (worker IS NULL OR d.holder = worker)"
_COMPLETE = _function(
    "roomkit_complete(given json, keys json, worker text)",
    "json",
    f"""
BEGIN
    {_LOCK_MESSAGES % "keys"}
    SELECT array_agg(g.n), array_agg(d.seq), bool_or(d.provider_message_id IS NOT NULL)
    INTO numbers, rows, was_sent
    FROM json_to_recordset(given) AS g (n bigint, event text, channel_id text), {_ROW_OF_EVENT};
    IF was_sent OR cardinality(rows) > 1 THEN
        PERFORM FROM roomkit_deliveries d WHERE d.seq = ANY(rows) ORDER BY d.seq FOR UPDATE;
    END IF;
    IF was_sent THEN
        INSERT INTO roomkit_messages (provider, message_id, delivery)
        SELECT d.provider, d.provider_message_id, d.seq FROM roomkit_deliveries d
        WHERE d.seq = ANY(rows) AND {_MINE} AND d.provider IS NOT NULL AND d.provider_message_id IS NOT NULL
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery;
    END IF;
    WITH changed AS (
        UPDATE roomkit_deliveries d SET {_COMPLETED},
            receipt = CASE WHEN d.receipt IS NULL OR roomkit_follows(g.receipt, d.receipt)
                THEN g.receipt ELSE d.receipt END,
            holder = CASE WHEN g.state = 'pending' THEN d.holder END,
            handed = g.state = 'pending' AND d.handed
        FROM unnest(numbers, rows) AS r (n, seq)
        JOIN json_to_recordset(given) AS g (n bigint, others json, {DELIVERIES.given}) ON g.n = r.n
        WHERE d.seq = r.seq AND {_MINE}
        RETURNING g.n, d.seq, d.provider, g.others
    )
    SELECT coalesce(json_agg(n), '[]'), json_agg(changed) FILTER (WHERE others IS NOT NULL)
    INTO written, in_parts FROM changed;
    IF in_parts IS NOT NULL THEN
        INSERT INTO roomkit_messages (provider, message_id, delivery)
        SELECT DISTINCT ON (o.provider, id) o.provider, id, o.seq
        FROM json_to_recordset(in_parts) AS o (seq bigint, provider text, others json),
            json_array_elements_text(o.others) AS id
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery;
    END IF;
    IF keys IS NOT NULL AND EXISTS (SELECT FROM roomkit_receipts) THEN
        receipts := roomkit_match(given, written);
    END IF;
    RETURN json_build_object('written', written, 'receipts', receipts);
END""",
    """    numbers bigint[];
    rows bigint[];
    was_sent boolean;
    written json;
    in_parts json;
    receipts json;""",
)

# The receipts that came before the messages they are of, in order of arrival.
_MATCH = _function(
    "roomkit_match(given json, written json)",
    "json",
    f"""
BEGIN
    FOR early IN
        WITH ids AS (
            SELECT g.n, g.event, g.channel_id, g.provider, m.id
            FROM json_to_recordset(given) AS g (
                n bigint, event text, channel_id text, provider text, provider_message_id text, others json
            ),
            LATERAL (
                SELECT g.provider_message_id UNION SELECT json_array_elements_text(g.others)
            ) AS m (id)
            WHERE g.n = ANY(ARRAY(SELECT json_array_elements_text(written)::bigint))
        ), taken AS (
            DELETE FROM roomkit_receipts r USING ids
            WHERE r.provider = ids.provider AND r.message_id = ids.id
            RETURNING r.seq, r.receipt, r.status, ids.n, ids.event, ids.channel_id
        )
        SELECT g.receipt, g.status, g.n, d.seq AS delivery FROM taken g, {_ROW_OF_EVENT} ORDER BY g.seq
    LOOP
        UPDATE roomkit_deliveries d SET receipt = early.receipt
        WHERE d.seq = early.delivery AND roomkit_follows(early.receipt, d.receipt);
        SELECT d.receipt, d.holder, d.claims INTO after FROM roomkit_deliveries d WHERE d.seq = early.delivery;
        matched := matched || json_build_object(
            'n', early.n, 'status', early.status, 'receipt', after.receipt, 'holder', after.holder,
            'claims', after.claims
        );
    END LOOP;
    RETURN array_to_json(matched);
END""",
    "    early record;\n    after record;\n    matched json[] := '{}';",
)

_KNOWN_MESSAGE = """
    SELECT coalesce(
        (SELECT max(d.seq) FROM roomkit_deliveries d
            WHERE d.provider = of_provider AND d.provider_message_id = of_message),
        (SELECT m.delivery FROM roomkit_messages m WHERE m.provider = of_provider AND m.message_id = of_message)
    ) INTO known;"""

_RECEIPT = _function(
    "roomkit_receipt(of_provider text, of_message text, key int, what text, said text)",
    "json",
    f"""
BEGIN
    {_KNOWN_MESSAGE}
    IF known IS NULL THEN
        PERFORM pg_advisory_xact_lock({_MESSAGE_LOCKS}, key);
        {_KNOWN_MESSAGE}
    END IF;
    IF known IS NULL THEN
        DELETE FROM roomkit_receipts WHERE seq = ANY(ARRAY(
            SELECT seq FROM roomkit_receipts WHERE kept_at < now() - interval '1 day'
            ORDER BY kept_at LIMIT 10 FOR UPDATE SKIP LOCKED
        ));
        INSERT INTO roomkit_receipts (provider, message_id, receipt, status, kept_at)
        SELECT of_provider, of_message, what, said, now() WHERE NOT EXISTS (
            SELECT FROM roomkit_receipts r WHERE r.provider = of_provider AND r.message_id = of_message
            AND r.receipt = what AND r.status = said
        );
        DELETE FROM roomkit_receipts WHERE seq = ANY(ARRAY(
            SELECT seq FROM roomkit_receipts r WHERE r.provider = of_provider AND r.message_id = of_message
            ORDER BY seq DESC OFFSET 8
        ));
        RETURN 'null';
    END IF;
    UPDATE roomkit_deliveries d SET receipt = what WHERE d.seq = known AND roomkit_follows(what, d.receipt);
    RETURN to_json(known);
END""",
    "    known bigint;",
)

# Both take a row that has failed: one back into its lane, the other out of the world.
_REOPEN = _function(
    "roomkit_reopen(event_id text, of_channel text)",
    "json",
    """
BEGIN
    SELECT e.room, e.idx INTO place FROM roomkit_events e WHERE e.id = event_id;
    IF NOT FOUND THEN
        RETURN '{"error": "missing"}';
    END IF;
    PERFORM FROM roomkit_heads WHERE room = place.room FOR NO KEY UPDATE;
    SELECT d.seq, d.state INTO target FROM roomkit_deliveries d
    WHERE d.room = place.room AND d.idx = place.idx AND d.channel_id = of_channel FOR UPDATE;
    IF NOT FOUND THEN
        RETURN '{"error": "missing"}';
    ELSIF target.state <> 'failed' THEN
        RETURN json_build_object('error', 'state', 'state', target.state);
    END IF;
    SELECT * INTO lane FROM roomkit_lane(place.room, of_channel, NULL);
    UPDATE roomkit_deliveries SET state = 'pending', claims = 0, error = NULL, finished_at = NULL, duration_ms = NULL,
        holder = lane.new_holder, handed = lane.new_handed
    WHERE seq = target.seq;
    RETURN json_build_object('delivery', target.seq);
END""",
    "    place record;\n    target record;\n    lane record;",
)
_DROP = _function(
    "roomkit_drop(event_id text, of_channel text, why text)",
    "json",
    """
BEGIN
    SELECT e.room, e.idx INTO place FROM roomkit_events e WHERE e.id = event_id;
    IF NOT FOUND THEN
        RETURN '{"error": "missing"}';
    END IF;
    SELECT d.seq, d.state INTO target FROM roomkit_deliveries d
    WHERE d.room = place.room AND d.idx = place.idx AND d.channel_id = of_channel FOR UPDATE;
    IF NOT FOUND THEN
        RETURN '{"error": "missing"}';
    ELSIF target.state <> 'failed' THEN
        RETURN json_build_object('error', 'state', 'state', target.state);
    END IF;
    UPDATE roomkit_deliveries SET state = 'skipped', reason = why WHERE seq = target.seq;
    RETURN json_build_object('delivery', target.seq);
END""",
    "    place record;\n    target record;",
)

# -- the one write path -------------------------------------------------------------------------


def _put(table: Table[Any], key: str, given: str) -> str:
    """Insert rows of a room, or replace those of the same key in their place."""
    return f"""
        INSERT INTO {table.name} (room, {table.names})
        SELECT head.room, {table.values("g")} FROM json_to_recordset({given}) AS g ({table.given})
        ON CONFLICT {key} DO UPDATE SET {_assignments(table, key.strip("()").replace(",", ""))};"""


_SET_ALARMS = f"""
        INSERT INTO roomkit_alarms (room, holder, {ALARMS.names})
        SELECT %s, %s, {ALARMS.values("g")} FROM json_to_recordset(%s) AS g ({ALARMS.given})
        ORDER BY g.id
        ON CONFLICT (id) DO UPDATE SET room = excluded.room, holder = excluded.holder,
            {_assignments(ALARMS, "id")};"""

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

_WRITE_ONE = _function(
    "roomkit_write_one(operation json)",
    "json",
    f"""
BEGIN
    SELECT * INTO c FROM json_to_record(operation) AS c (
        room text, expected bigint, fence bigint, worker text, at timestamptz, activity boolean, bump int,
        base bigint, missing text, binding text, participant text, changed json, events json, targets json,
        replaced json, bindings json, unbind json, participants json, removed json, tasks json,
        observations json, alarms json, completed json, keys json, alarms_done json
    );
    IF c.room IS NOT NULL THEN
        SELECT h.room, h.version, h.fence, h.next_index INTO head
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
        INSERT INTO roomkit_events (room, idx, source_channel_id, is_history, {EVENTS.names})
        SELECT head.room, head.next_index + g.i, g.source_channel_id, g.is_history, {EVENTS.values("g")}
        FROM json_to_recordset(c.events)
            AS g (i int, source_channel_id text, is_history boolean, {EVENTS.given})
        ON CONFLICT DO NOTHING;
        GET DIAGNOSTICS count = ROW_COUNT;
        IF count <> json_array_length(c.events) THEN
            DELETE FROM roomkit_events e WHERE e.room = head.room AND e.idx >= head.next_index;
            RETURN coalesce((
                SELECT json_build_object('error', 'duplicate', 'id', e.id, 'key', e.room = head.room
                    AND e.idempotency_key IS NOT DISTINCT FROM g.idempotency_key)
                FROM json_to_recordset(c.events) AS g (i int, id text, idempotency_key text)
                JOIN roomkit_events e ON e.id = g.id
                    OR (e.room = head.room AND e.idempotency_key = g.idempotency_key)
                ORDER BY g.i, e.id = g.id LIMIT 1
            ), '{{"error": "twice"}}');
        END IF;
    END IF;
    IF c.completed IS NOT NULL THEN
        completed := roomkit_complete(c.completed, c.keys, c.worker);
    END IF;
    IF c.alarms_done IS NOT NULL THEN
        DELETE FROM roomkit_alarms a WHERE a.seq = ANY(ARRAY(
            SELECT seq FROM roomkit_alarms WHERE id = ANY(ARRAY(SELECT json_array_elements_text(c.alarms_done)))
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
            INSERT INTO roomkit_deliveries (room, idx, channel_id, state, attempts, claims, created_at, holder, handed)
            SELECT head.room, head.next_index + g.i, g.id, 'pending', 0, 0, c.at, lane.new_holder, lane.new_handed
            FROM json_to_recordset(c.targets) AS g (i int, id text),
                roomkit_lane(head.room, g.id, CASE WHEN worker_alive THEN c.worker END) AS lane
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
        _SET_ALARMS
        % ("head.room", "CASE WHEN worker_alive AND g.due_at <= c.at THEN c.worker END", "c.alarms")
    }
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
_WRITE = _function(
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
        PERFORM pg_advisory_xact_lock({_MESSAGE_LOCKS}, keys.key) FROM (
            SELECT k.key::int FROM json_array_elements(operations) AS o,
                json_array_elements_text(o->'keys') AS k (key) ORDER BY 1
        ) AS keys;
        SELECT array_agg(d.seq) INTO rows
        FROM json_to_recordset(ending) AS g (event text, channel_id text), {_ROW_OF_EVENT};
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

# -- rooms, people, marks -----------------------------------------------------------------------

_CREATE_ROOM = _function(
    "roomkit_create_room(given json, alarms json)",
    "json",
    f"""
BEGIN
    INSERT INTO roomkit_rooms (facets, {ROOMS.names})
    SELECT ARRAY(SELECT json_array_elements_text(g.facets)), {ROOMS.values("g")}
    FROM json_to_record(given) AS g (facets json, {ROOMS.given})
    ON CONFLICT (id) DO NOTHING RETURNING seq INTO made;
    IF NOT FOUND THEN
        RETURN '{{"error": "exists"}}';
    END IF;
    INSERT INTO roomkit_heads (room, last_activity) VALUES (made, (given->>'last_activity')::timestamptz);
    {_SET_ALARMS % ("made", "NULL", "alarms")}
    RETURN '{{}}';
END""",
    "    made bigint;",
)

_DELETE_ROOM = _function(
    "roomkit_delete_room(room_id text)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO gone FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR UPDATE OF h;
    IF NOT FOUND THEN
        RETURN 'false';
    END IF;
    PERFORM FROM roomkit_deliveries d WHERE d.room = gone AND {IN_LANE} ORDER BY d.seq FOR UPDATE;
    DELETE FROM roomkit_rooms WHERE seq = gone;
    RETURN 'true';
END""",
    "    gone bigint;",
)

_PRUNE = _function(
    "roomkit_prune(room_id text, before timestamptz, at_most bigint)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO head FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        RETURN '{{"error": "no_room"}}';
    END IF;
    SELECT least(
        (SELECT min(d.idx) FROM roomkit_deliveries d WHERE d.room = head.room AND {IN_LANE}),
        (SELECT coalesce(min(e.idx) FILTER (WHERE e.created_at >= before), max(e.idx) + 1, -1) FROM (
            SELECT idx, created_at FROM roomkit_events WHERE room = head.room ORDER BY idx LIMIT at_most
        ) AS e)
    ) INTO bound;
    DELETE FROM roomkit_events e WHERE e.room = head.room AND e.idx < bound;
    GET DIAGNOSTICS count = ROW_COUNT;
    IF count = 0 THEN
        RETURN '{{"count": 0}}';
    END IF;
    UPDATE roomkit_heads h SET edition = h.edition + 1, version = h.version + 1,
        event_count = h.event_count - count
    WHERE h.room = head.room
    RETURNING json_build_array(h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity)
    INTO counters;
    RETURN json_build_object('count', count, 'counters', counters);
END""",
    "    head record;\n    bound bigint;\n    count bigint;\n    counters json;",
)

_SET_ALARM = _function(
    "roomkit_set_alarm(room_id text, given json)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR KEY SHARE OF h;
    IF NOT FOUND THEN
        RETURN '{{"error": "no_room"}}';
    END IF;
    {_SET_ALARMS % ("of_room", "NULL", "given")}
    RETURN '{{}}';
END""",
    "    of_room bigint;",
)

# Whoever puts an identity says which revision they made it from: 0 for none, NULL for whichever there is.
_PUT_IDENTITY = _function(
    "roomkit_put_identity(given json, addresses json, made_from bigint)",
    "json",
    f"""
BEGIN
    PERFORM pg_advisory_xact_lock({_MESSAGE_LOCKS}, hashtext('identity ' || (given->>'id')));
    SELECT i.revision INTO former FROM roomkit_identities i WHERE i.id = given->>'id' FOR UPDATE;
    IF made_from <> coalesce(former, 0) THEN
        RETURN '{{"error": "moved"}}';
    END IF;
    INSERT INTO roomkit_identities AS i ({IDENTITIES.names})
    SELECT {IDENTITIES.values("g")} FROM json_to_record(given) AS g ({IDENTITIES.given})
    ON CONFLICT (id) DO UPDATE SET revision = i.revision + 1, {_assignments(IDENTITIES, "id")};
    DELETE FROM roomkit_addresses WHERE identity = given->>'id';
    INSERT INTO roomkit_addresses (organization_id, channel_type, address, identity)
    SELECT a.value->>0, a.value->>1, a.value->>2, given->>'id' FROM json_array_elements(addresses) AS a
    ON CONFLICT (organization_id, channel_type, address) DO UPDATE SET identity = excluded.identity;
    RETURN '{{}}';
END""",
    "    former bigint;",
)

_DELETE_IDENTITY = _function(
    "roomkit_delete_identity(identity_id text)",
    "json",
    """
BEGIN
    DELETE FROM roomkit_identities WHERE id = identity_id;
    RETURN to_json(FOUND);
END""",
)

_MARK_READ = _function(
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

_UPDATE_TASK = _function(
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

_LEASES = (
    _function(
        "roomkit_open_lease(worker text, seconds float8)",
        "json",
        """
BEGIN
    DELETE FROM roomkit_leases WHERE ends_at < clock_timestamp() - interval '1 hour';
    INSERT INTO roomkit_leases (id, renewed_at, ends_at)
    VALUES (worker, clock_timestamp(), clock_timestamp() + make_interval(secs => seconds));
    RETURN 'true';
END""",
    ),
    _function(
        "roomkit_renew_lease(worker text, seconds float8)",
        "json",
        f"""
BEGIN
    UPDATE roomkit_leases l SET renewed_at = clock_timestamp(),
        ends_at = clock_timestamp() + make_interval(secs => seconds)
    WHERE l.id = worker AND {_ALIVE};
    RETURN to_json(FOUND);
END""",
    ),
    _function(
        "roomkit_close_lease(worker text)",
        "json",
        f"""
BEGIN
    DELETE FROM roomkit_leases WHERE id = worker;
    UPDATE roomkit_deliveries SET holder = NULL, handed = false WHERE seq = ANY(ARRAY(
        SELECT d.seq FROM roomkit_deliveries d WHERE d.holder = worker AND {IS_HELD}
        ORDER BY d.seq FOR UPDATE
    ));
    UPDATE roomkit_alarms SET holder = NULL WHERE holder = worker;
    RETURN 'true';
END""",
    ),
)

FUNCTIONS: Final = (
    _SEAL,
    _SETTLE,
    _IS_ALIVE,
    _LANE,
    _CLAIM,
    _CLAIM_ALARMS,
    _FOLLOWS,
    _MATCH,
    _COMPLETE,
    _RECEIPT,
    _REOPEN,
    _DROP,
    _WRITE_ONE,
    _WRITE,
    _CREATE_ROOM,
    _DELETE_ROOM,
    _PRUNE,
    _SET_ALARM,
    _PUT_IDENTITY,
    _DELETE_IDENTITY,
    _MARK_READ,
    _UPDATE_TASK,
    *_LEASES,
)
