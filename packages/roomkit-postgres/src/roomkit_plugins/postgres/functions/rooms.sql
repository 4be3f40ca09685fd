-- Rooms and their timers, beside the one write path.

CREATE OR REPLACE FUNCTION roomkit_create_room(given json, alarms json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    made bigint;
BEGIN
    INSERT INTO roomkit_rooms (facets, id, organization_id, status, created_at, updated_at, closed_at, timers,
        metadata, ai_config, agent_response_policy, detached_channels, retention_seconds, state, more)
    SELECT ARRAY(SELECT json_array_elements_text(g.facets)), g.id, g.organization_id, g.status, g.created_at,
        g.updated_at, g.closed_at, g.timers::json, g.metadata::json, g.ai_config::json,
        g.agent_response_policy, g.detached_channels::json, g.retention_seconds, g.state::json, g.more::json
    FROM json_to_record(given) AS g (
        facets json, id text, organization_id text, status text, created_at timestamptz,
        updated_at timestamptz, closed_at timestamptz, timers text, metadata text, ai_config text,
        agent_response_policy text, detached_channels text, retention_seconds float8, state text, more text
    )
    ON CONFLICT (id) DO NOTHING RETURNING seq INTO made;
    IF NOT FOUND THEN
        RETURN '{"error": "exists"}';
    END IF;
    INSERT INTO roomkit_heads (room, last_activity) VALUES (made, (given->>'last_activity')::timestamptz);
    INSERT INTO roomkit_alarms (room, holder, id, kind, due_at, data, claims, more)
    SELECT made, NULL, g.id, g.kind, g.due_at, g.data::json, g.claims, g.more::json
    FROM json_to_recordset(alarms) AS g (
        id text, kind text, due_at timestamptz, data text, claims bigint, more text
    )
    ORDER BY g.id
    ON CONFLICT (id) DO UPDATE SET
        room = excluded.room, holder = excluded.holder, kind = excluded.kind, due_at = excluded.due_at,
        data = excluded.data, claims = excluded.claims, more = excluded.more;
    RETURN '{}';
END
$$;

CREATE OR REPLACE FUNCTION roomkit_delete_room(room_id text)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    gone bigint;
BEGIN
    SELECT h.room INTO gone FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR UPDATE OF h;
    IF NOT FOUND THEN
        RETURN 'false';
    END IF;
    PERFORM FROM roomkit_deliveries d
    WHERE d.room = gone AND d.state = 'pending' AND d.room >= 0
    ORDER BY d.seq FOR UPDATE;
    DELETE FROM roomkit_values v WHERE v.room_id = roomkit_delete_room.room_id;
    DELETE FROM roomkit_rooms WHERE seq = gone;
    RETURN 'true';
END
$$;

CREATE OR REPLACE FUNCTION roomkit_prune(room_id text, before timestamptz, at_most bigint)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    head record;
    bound bigint;
    count bigint;
    counters json;
BEGIN
    SELECT h.room INTO head FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        RETURN '{"error": "no_room"}';
    END IF;
    SELECT least(
        (SELECT min(d.idx) FROM roomkit_deliveries d
            WHERE d.room = head.room AND d.state = 'pending' AND d.room >= 0),
        (SELECT coalesce(min(e.idx) FILTER (WHERE e.created_at >= before), max(e.idx) + 1, -1) FROM (
            SELECT idx, created_at FROM roomkit_events WHERE room = head.room ORDER BY idx LIMIT at_most
        ) AS e)
    ) INTO bound;
    DELETE FROM roomkit_events e WHERE e.room = head.room AND e.idx < bound;
    GET DIAGNOSTICS count = ROW_COUNT;
    IF count = 0 THEN
        RETURN '{"count": 0}';
    END IF;
    UPDATE roomkit_heads h SET edition = h.edition + 1, version = h.version + 1,
        event_count = h.event_count - count
    WHERE h.room = head.room
    RETURNING json_build_array(h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity)
    INTO counters;
    RETURN json_build_object('count', count, 'counters', counters);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_set_alarm(room_id text, given json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    of_room bigint;
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR KEY SHARE OF h;
    IF NOT FOUND AND room_id IS NOT NULL THEN
        RETURN '{"error": "no_room"}';
    END IF;
    INSERT INTO roomkit_alarms (room, holder, id, kind, due_at, data, claims, more)
    SELECT of_room, NULL, g.id, g.kind, g.due_at, g.data::json, g.claims, g.more::json
    FROM json_to_recordset(given) AS g (
        id text, kind text, due_at timestamptz, data text, claims bigint, more text
    )
    ORDER BY g.id
    ON CONFLICT (id) DO UPDATE SET
        room = excluded.room, holder = excluded.holder, kind = excluded.kind, due_at = excluded.due_at,
        data = excluded.data, claims = excluded.claims, more = excluded.more;
    RETURN '{}';
END
$$;

CREATE OR REPLACE FUNCTION roomkit_delete_timer(timer_id text)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM roomkit_alarms WHERE id = timer_id;
    RETURN to_json(FOUND);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_delete_timers_of(of_subject text, of_organization text)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM roomkit_alarms a
    WHERE (replace(a.more::text, '\u0000', '\ufffd')::json->>'subject') = of_subject
    AND (of_organization IS NULL OR EXISTS (
        SELECT FROM roomkit_rooms r WHERE r.seq = a.room AND r.organization_id = of_organization
    ));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END
$$;
