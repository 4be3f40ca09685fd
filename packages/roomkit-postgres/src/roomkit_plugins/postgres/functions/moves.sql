-- Rooms that meet.

-- Write everything of a move: one room's commit, the events and what hangs on them, the other room's commit. The
-- events' new texts were made from the source at `edition`: if it has changed since, nothing is written.
CREATE OR REPLACE FUNCTION roomkit_move(
    source_op json, into_op json, edition bigint, moved json, channels text[], everything boolean
)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    source record;
    target record;
    answer json;
    count bigint;
    touched json;
BEGIN
    PERFORM FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id IN (source_op->>'room', into_op->>'room') ORDER BY h.room FOR NO KEY UPDATE OF h;
    SELECT h.*, r.id INTO source FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = source_op->>'room';
    IF NOT FOUND THEN
        RETURN json_build_object('error', 'no_room', 'room', source_op->>'room');
    ELSIF source.edition <> roomkit_move.edition THEN
        RETURN '{"error": "moved"}';
    END IF;
    SELECT h.*, r.id INTO target FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = into_op->>'room';
    IF NOT FOUND THEN
        RETURN json_build_object('error', 'no_room', 'room', into_op->>'room');
    END IF;
    SELECT json_agg(g.channel) INTO touched FROM (
        SELECT json_array_elements_text(source_op->'unbind') AS channel
        UNION ALL SELECT b->>'channel_id' FROM json_array_elements(source_op->'bindings') AS b
    ) AS g;
    IF roomkit_has_pending(source.room, touched, everything, moved) THEN
        RETURN json_build_object('error', 'busy', 'room', source_op->>'room');
    END IF;
    SELECT json_agg(g.channel) INTO touched FROM (
        SELECT json_array_elements_text(into_op->'unbind') AS channel
        UNION ALL SELECT b->>'channel_id' FROM json_array_elements(into_op->'bindings') AS b
    ) AS g;
    IF roomkit_has_pending(target.room, touched, false, '[]') THEN
        RETURN json_build_object('error', 'busy', 'room', into_op->>'room');
    END IF;
    answer := roomkit_write_one(source_op);
    IF answer->>'error' IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'RK001',
            MESSAGE = (answer::jsonb || jsonb_build_object('room', source_op->>'room'))::text;
    END IF;
    WITH given AS (
        SELECT g.id, g.i, g.source, g.more, g.other_key
        FROM json_to_recordset(moved) AS g (id text, i bigint, source text, more text, other_key text)
    ), events AS (
        UPDATE roomkit_events e SET room = target.room, idx = target.next_index + g.i,
            source = g.source::json, more = g.more::json,
            idempotency_key = CASE WHEN EXISTS (
                SELECT FROM roomkit_events t
                WHERE t.room = target.room AND t.idempotency_key = e.idempotency_key
            ) THEN g.other_key ELSE e.idempotency_key END
        FROM given g WHERE e.id = g.id AND e.room = source.room
        RETURNING e.id
    ), rows AS (
        UPDATE roomkit_deliveries d SET room = target.room, idx = target.next_index + g.i
        FROM given g JOIN roomkit_events e ON e.id = g.id
        WHERE d.room = e.room AND d.idx = e.idx AND e.room = source.room
        RETURNING d.seq
    )
    SELECT (SELECT count(*) FROM events) + 0 * (SELECT count(*) FROM rows) INTO count;
    IF count <> json_array_length(moved) THEN
        RAISE EXCEPTION USING ERRCODE = 'RK001', MESSAGE = '{"error": "moved"}';
    END IF;
    UPDATE roomkit_heads h SET edition = h.edition + 1, version = h.version + 1,
        event_count = h.event_count - count WHERE h.room = source.room;
    UPDATE roomkit_heads h SET edition = h.edition + 1, next_index = h.next_index + count,
        event_count = h.event_count + count WHERE h.room = target.room;
    PERFORM roomkit_move_marks(source.room, target.room, target.next_index, moved, channels);
    IF everything THEN
        PERFORM roomkit_move_everything(source.room, target.room, source_op->>'room', into_op->>'room');
    END IF;
    answer := roomkit_write_one(into_op);
    IF answer->>'error' IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'RK001',
            MESSAGE = (answer::jsonb || jsonb_build_object('room', into_op->>'room'))::text;
    END IF;
    RETURN json_build_object('moved', count);
EXCEPTION WHEN SQLSTATE 'RK001' THEN
    RETURN SQLERRM::json;
END
$$;

-- Whether a delivery is pending that stands in the way: of the room, of some channels, or of some events.
CREATE OR REPLACE FUNCTION roomkit_has_pending(
    of_room bigint, touched json, everything boolean, moved json
)
RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    RETURN EXISTS (
        SELECT FROM roomkit_deliveries d JOIN roomkit_events e ON e.room = d.room AND e.idx = d.idx
        WHERE d.room = of_room AND d.state = 'pending' AND d.room >= 0 AND (
            everything
            OR d.channel_id = ANY(ARRAY(SELECT json_array_elements_text(touched)))
            OR e.id = ANY(ARRAY(SELECT g->>'id' FROM json_array_elements(moved) AS g))
        )
    );
END
$$;

CREATE OR REPLACE FUNCTION roomkit_move_marks(
    from_room bigint, to_room bigint, first bigint, moved json, channels text[]
)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    mark record;
    read bigint;
BEGIN
    FOR mark IN
        DELETE FROM roomkit_read_marks m WHERE m.room = from_room AND m.channel_id = ANY(channels)
        RETURNING m.channel_id, m.idx
    LOOP
        SELECT count(*) INTO read FROM json_to_recordset(moved) AS g (idx bigint) WHERE g.idx <= mark.idx;
        IF read > 0 THEN
            INSERT INTO roomkit_read_marks (room, channel_id, idx)
            VALUES (to_room, mark.channel_id, first + read - 1)
            ON CONFLICT (room, channel_id) DO UPDATE SET idx = greatest(roomkit_read_marks.idx, excluded.idx);
        END IF;
    END LOOP;
END
$$;

CREATE OR REPLACE FUNCTION roomkit_move_everything(
    from_room bigint, to_room bigint, from_id text, to_id text
)
RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    UPDATE roomkit_observations o SET id = roomkit_moved_key(from_id, o.id)
    WHERE o.room = from_room AND EXISTS (
        SELECT FROM roomkit_observations t WHERE t.room = to_room AND t.id = o.id
    );
    UPDATE roomkit_tasks SET room = to_room WHERE room = from_room;
    UPDATE roomkit_observations SET room = to_room WHERE room = from_room;
    UPDATE roomkit_alarms SET room = to_room WHERE room = from_room;
    UPDATE roomkit_values SET room_id = to_id WHERE room_id = from_id;
    DELETE FROM roomkit_homes WHERE room = from_room;
END
$$;

-- As `moved_key` of roomkit.abc.moved.
CREATE OR REPLACE FUNCTION roomkit_moved_key(from_id text, key text)
RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN CASE WHEN octet_length(from_id || '/' || key) <= 850 THEN from_id || '/' || key
        ELSE left(from_id, 64) || '/' || encode(sha256(convert_to(key, 'UTF8')), 'hex') END;
END
$$;

-- Remove the oldest events of a room whose indexes are not in the order of time, wherever they are, up to the first
-- with a pending delivery.
CREATE OR REPLACE FUNCTION roomkit_prune_interleaved(room_id text, before timestamptz, at_most bigint)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    of_room bigint;
    bound bigint;
    count bigint;
    counters json;
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        RETURN '{"error": "no_room"}';
    END IF;
    SELECT min(d.idx) INTO bound FROM roomkit_deliveries d
    WHERE d.room = of_room AND d.state = 'pending' AND d.room >= 0;
    DELETE FROM roomkit_events e WHERE e.room = of_room AND e.idx = ANY(ARRAY(
        SELECT o.idx FROM roomkit_events o
        WHERE o.room = of_room AND o.created_at < before AND (bound IS NULL OR o.idx < bound)
        ORDER BY o.idx LIMIT at_most
    ));
    GET DIAGNOSTICS count = ROW_COUNT;
    IF count = 0 THEN
        RETURN '{"count": 0}';
    END IF;
    UPDATE roomkit_heads h SET edition = h.edition + 1, version = h.version + 1,
        event_count = h.event_count - count
    WHERE h.room = of_room
    RETURNING json_build_array(h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity)
    INTO counters;
    RETURN json_build_object('count', count, 'counters', counters);
END
$$;
