-- After version_10.sql: what the step changed.

INSERT INTO roomkit_schema (version) VALUES (11);

CREATE OR REPLACE FUNCTION roomkit_added(of_room bigint, since bigint, until bigint, at_most bigint)
RETURNS json STABLE LANGUAGE sql AS $$
    SELECT coalesce(json_agg(found.columns ORDER BY found.idx), '[]') FROM (
        SELECT e.idx, json_build_array(
            e.id, e.type, e.source::text, e.content::text, e.status, e.blocked_by, e.block_reason,
            e.visibility, e.response_visibility, e.addressed_to::text, e.chain_depth, e.parent_event_id,
            e.correlation_id, e.idempotency_key, e.created_at, e.metadata::text, e.channel_data::text,
            e.generation::text, e.amendment::text, e.more::text, e.idx
        ) AS columns
        FROM roomkit_events e
        WHERE e.room = of_room AND e.is_history AND e.idx < until
            AND e.idx >= greatest(since, until - at_most * 10)
        ORDER BY e.idx DESC LIMIT at_most
    ) AS found
$$;

CREATE OR REPLACE FUNCTION roomkit_write_one(operation json)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    c record;
    head record;
    count bigint := 0;
    unbound bigint := 0;
    worker_alive boolean;
    foreign_task text;
    completed json;
    elsewhere json;
    counters json;
    added json;
BEGIN
    SELECT * INTO c FROM json_to_record(operation) AS c (
        room text, expected bigint, fence bigint, worker text, at timestamptz, activity boolean, bump int,
        base bigint, missing text, binding text, participant text, changed json, events json, targets json,
        replaced json, bindings json, unbind json, participants json, removed json, tasks json,
        observations json, alarms json, completed json, keys json, alarms_done json,
        absent text[], agents text[], kept json, redacted json, media json, known bigint[]
    );
    IF c.room IS NOT NULL THEN
        SELECT h.room, h.edition, h.version, h.fence, h.next_index,
            coalesce(r.organization_id, '') AS scope INTO head
        FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
        WHERE r.id = c.room FOR NO KEY UPDATE OF h;
        IF NOT FOUND THEN
            RETURN '{"error": "no_room"}';
        ELSIF c.expected <> head.version THEN
            RETURN json_build_object('error', 'stale', 'version', head.version);
        ELSIF c.fence < head.fence THEN
            RETURN json_build_object('error', 'lock_lost', 'fence', head.fence);
        ELSIF c.base <> head.version THEN
            RETURN '{"error": "moved"}';
        ELSIF c.missing IS NOT NULL THEN
            RETURN '{"error": "no_event"}';
        ELSIF c.binding IS NOT NULL AND NOT EXISTS (
            SELECT FROM roomkit_bindings b WHERE b.room = head.room AND b.channel_id = c.binding
        ) THEN
            RETURN '{"error": "no_binding"}';
        ELSIF c.participant IS NOT NULL AND NOT EXISTS (
            SELECT FROM roomkit_participants p WHERE p.room = head.room AND p.id = c.participant
        ) THEN
            RETURN '{"error": "no_participant"}';
        ELSIF c.tasks IS NOT NULL THEN
            SELECT t.id INTO foreign_task FROM json_to_recordset(c.tasks) AS g (id text)
            JOIN roomkit_tasks t ON t.id = g.id WHERE t.room <> head.room LIMIT 1;
            IF FOUND THEN
                RETURN json_build_object('error', 'foreign_task', 'id', foreign_task);
            END IF;
        END IF;
    END IF;
    IF c.events IS NOT NULL THEN
        INSERT INTO roomkit_events (room, idx, source_channel_id, external_id, is_history, key_scope, id, type, source,
            content, status, blocked_by, block_reason, visibility, response_visibility, addressed_to,
            chain_depth, parent_event_id, correlation_id, idempotency_key, created_at, metadata, channel_data, generation,
            amendment, more)
        SELECT head.room, head.next_index + g.i, g.source_channel_id, g.external_id, g.is_history,
            CASE WHEN g.key_spans_rooms THEN head.scope END, g.id, g.type, g.source::json, g.content::json,
            g.status, g.blocked_by, g.block_reason, g.visibility, g.response_visibility,
            g.addressed_to::json, g.chain_depth, g.parent_event_id, g.correlation_id, g.idempotency_key,
            g.created_at, g.metadata::json, g.channel_data::json, g.generation::json, g.amendment::json,
            g.more::json
        FROM json_to_recordset(c.events) AS g (
            i int, source_channel_id text, external_id text, is_history boolean, key_spans_rooms boolean, id text, type text,
            source text, content text, status text, blocked_by text, block_reason text, visibility text,
            response_visibility text, addressed_to text, chain_depth bigint, parent_event_id text,
            correlation_id text, idempotency_key text, created_at timestamptz, metadata text,
            channel_data text, generation text, amendment text, more text
        )
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
            ), '{"error": "twice"}');
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
                FROM roomkit_place(head.room, g.id, CASE WHEN worker_alive THEN c.worker END,
                    c.agents IS NOT NULL AND g.id = ANY(c.agents)) AS l
                WHERE c.absent IS NULL OR g.id <> ALL(c.absent)
                UNION ALL
                SELECT l.new_holder, l.new_handed FROM roomkit_place_absent(head.room, g.id, c.worker,
                    c.agents IS NOT NULL AND g.id = ANY(c.agents)) AS l
                WHERE g.id = ANY(c.absent)
            ) AS lane
            RETURNING idx, channel_id, holder, handed
        )
        SELECT json_agg(json_build_array(idx - head.next_index, channel_id, holder)) INTO elsewhere FROM rows
        WHERE c.worker IS NOT NULL AND (handed OR holder IS NULL);
    END IF;
    IF c.participants IS NOT NULL THEN
        INSERT INTO roomkit_participants (room, id, channel_id, display_name, role, status, identification,
            identity_id, candidates, connected_via, external_id, resolved_at, resolved_by, joined_at,
            metadata, more)
        SELECT head.room, g.id, g.channel_id, g.display_name, g.role, g.status, g.identification,
            g.identity_id, g.candidates::json, g.connected_via::json, g.external_id, g.resolved_at,
            g.resolved_by, g.joined_at, g.metadata::json, g.more::json
        FROM json_to_recordset(c.participants) AS g (
            id text, channel_id text, display_name text, role text, status text, identification text,
            identity_id text, candidates text, connected_via text, external_id text, resolved_at timestamptz,
            resolved_by text, joined_at timestamptz, metadata text, more text
        )
        ON CONFLICT (room, id) DO UPDATE SET
            channel_id = excluded.channel_id, display_name = excluded.display_name, role = excluded.role,
            status = excluded.status, identification = excluded.identification,
            identity_id = excluded.identity_id, candidates = excluded.candidates,
            connected_via = excluded.connected_via, external_id = excluded.external_id,
            resolved_at = excluded.resolved_at, resolved_by = excluded.resolved_by,
            joined_at = excluded.joined_at, metadata = excluded.metadata, more = excluded.more;
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
    IF c.bindings IS NOT NULL THEN
        INSERT INTO roomkit_bindings (room, channel_id, channel_type, category, direction, access, muted,
            visibility, participant_id, last_read_index, attached_at, capabilities, rate_limit, retry_policy,
            length_policy, double_text, fold_seconds, metadata, more)
        SELECT head.room, g.channel_id, g.channel_type, g.category, g.direction, g.access, g.muted,
            g.visibility, g.participant_id, g.last_read_index, g.attached_at, g.capabilities::json,
            g.rate_limit::json, g.retry_policy::json, g.length_policy, g.double_text, g.fold_seconds,
            g.metadata::json, g.more::json
        FROM json_to_recordset(c.bindings) AS g (
            channel_id text, channel_type text, category text, direction text, access text, muted boolean,
            visibility text, participant_id text, last_read_index bigint, attached_at timestamptz,
            capabilities text, rate_limit text, retry_policy text, length_policy text, double_text text,
            fold_seconds float8, metadata text, more text
        )
        ON CONFLICT (room, channel_id) DO UPDATE SET
            channel_type = excluded.channel_type, category = excluded.category,
            direction = excluded.direction, access = excluded.access, muted = excluded.muted,
            visibility = excluded.visibility, participant_id = excluded.participant_id,
            last_read_index = excluded.last_read_index, attached_at = excluded.attached_at,
            capabilities = excluded.capabilities, rate_limit = excluded.rate_limit,
            retry_policy = excluded.retry_policy, length_policy = excluded.length_policy,
            double_text = excluded.double_text, fold_seconds = excluded.fold_seconds,
            metadata = excluded.metadata, more = excluded.more;
    END IF;
    IF c.unbind IS NOT NULL THEN
        DELETE FROM roomkit_bindings WHERE room = head.room
        AND channel_id = ANY(ARRAY(SELECT json_array_elements_text(c.unbind)));
        GET DIAGNOSTICS unbound = ROW_COUNT;
    END IF;
    IF c.replaced IS NOT NULL THEN
        UPDATE roomkit_events e SET
            type = g.type, source = g.source::json, content = g.content::json, status = g.status,
            blocked_by = g.blocked_by, block_reason = g.block_reason, visibility = g.visibility,
            response_visibility = g.response_visibility, addressed_to = g.addressed_to::json,
            chain_depth = g.chain_depth, parent_event_id = g.parent_event_id,
            correlation_id = g.correlation_id, metadata = g.metadata::json,
            channel_data = g.channel_data::json, generation = g.generation::json,
            amendment = g.amendment::json, more = g.more::json, is_history = g.is_history,
            external_id = g.external_id
        FROM json_to_recordset(c.replaced) AS g (
            external_id text, is_history boolean, id text, type text, source text, content text, status text, blocked_by text,
            block_reason text, visibility text, response_visibility text, addressed_to text,
            chain_depth bigint, parent_event_id text, correlation_id text, idempotency_key text,
            created_at timestamptz, metadata text, channel_data text, generation text, amendment text,
            more text
        )
        WHERE e.id = g.id AND e.room = head.room;
    END IF;
    IF c.redacted IS NOT NULL THEN
        DELETE FROM roomkit_values v WHERE v.room_id = c.room AND v.derived;
        UPDATE roomkit_deliveries d SET more = NULL, error = CASE WHEN d.error IS NOT NULL THEN
            json_build_object('code', d.error ->> 'code', 'message', 'erased') END
        WHERE d.seq = ANY(ARRAY(
            SELECT o.seq FROM roomkit_events e JOIN roomkit_deliveries o ON o.room = e.room AND o.idx = e.idx
            WHERE e.room = head.room AND e.id = ANY(ARRAY(SELECT json_array_elements_text(c.redacted)))
            ORDER BY o.seq FOR UPDATE OF o
        ));
    END IF;
    IF c.redacted IS NOT NULL THEN
        DELETE FROM roomkit_media_uses u USING roomkit_events e
        WHERE u.event = e.id AND e.room = head.room
        AND e.id = ANY(ARRAY(SELECT json_array_elements_text(c.redacted)));
    END IF;
    IF c.media IS NOT NULL THEN
        INSERT INTO roomkit_media_uses (media, event)
        SELECT m.id, e.id FROM json_array_elements(c.media) AS g
        JOIN roomkit_media m ON m.id = g->>0 JOIN roomkit_events e ON e.id = g->>1 AND e.room = head.room
        ORDER BY m.id ON CONFLICT DO NOTHING;
    END IF;
    IF c.tasks IS NOT NULL THEN
        INSERT INTO roomkit_tasks (room, id, title, description, assigned_to, status, created_at, metadata,
            more)
        SELECT head.room, g.id, g.title, g.description, g.assigned_to, g.status, g.created_at,
            g.metadata::json, g.more::json
        FROM json_to_recordset(c.tasks) AS g (
            id text, title text, description text, assigned_to text, status text, created_at timestamptz,
            metadata text, more text
        )
        ON CONFLICT (id) DO UPDATE SET
            title = excluded.title, description = excluded.description, assigned_to = excluded.assigned_to,
            status = excluded.status, created_at = excluded.created_at, metadata = excluded.metadata,
            more = excluded.more;
    END IF;
    IF c.observations IS NOT NULL THEN
        INSERT INTO roomkit_observations (room, id, channel_id, content, category, confidence, created_at,
            metadata, more)
        SELECT head.room, g.id, g.channel_id, g.content, g.category, g.confidence, g.created_at,
            g.metadata::json, g.more::json
        FROM json_to_recordset(c.observations) AS g (
            id text, channel_id text, content text, category text, confidence float8, created_at timestamptz,
            metadata text, more text
        )
        ON CONFLICT (room, id) DO UPDATE SET
            channel_id = excluded.channel_id, content = excluded.content, category = excluded.category,
            confidence = excluded.confidence, created_at = excluded.created_at, metadata = excluded.metadata,
            more = excluded.more;
    END IF;
    IF c.alarms IS NOT NULL THEN
        INSERT INTO roomkit_alarms (room, holder, id, kind, due_at, data, claims, more)
        SELECT CASE WHEN g.roomless IS NULL THEN head.room END,
            CASE WHEN worker_alive AND g.due_at <= c.at THEN c.worker END, g.id, g.kind,
            g.due_at, g.data::json, g.claims, g.more::json
        FROM json_to_recordset(c.alarms) AS g (
            roomless boolean, id text, kind text, due_at timestamptz, data text, claims bigint, more text
        )
        ORDER BY g.id
        ON CONFLICT (id) DO UPDATE SET
            room = excluded.room, holder = excluded.holder, kind = excluded.kind, due_at = excluded.due_at,
            data = excluded.data, claims = excluded.claims, more = excluded.more;
    END IF;
    IF c.kept IS NOT NULL THEN
        INSERT INTO roomkit_values (
            organization_id, namespace, key, subject, room_id, expires_at, data, derived
        )
        SELECT g.organization_id, g.namespace, g.key, g.subject, g.room_id, g.expires_at, g.data,
            coalesce(g.derived, false)
        FROM json_to_recordset(c.kept) AS g (
            organization_id text, namespace text, key text, subject text, room_id text,
            expires_at timestamptz, data text, derived boolean
        )
        ORDER BY g.key
        ON CONFLICT (organization_id, namespace, key) DO UPDATE SET
            revision = nextval('roomkit_revisions'), subject = excluded.subject, room_id = excluded.room_id,
            expires_at = excluded.expires_at, data = excluded.data, derived = excluded.derived;
    END IF;
    IF c.changed IS NOT NULL THEN
        UPDATE roomkit_rooms r SET
            organization_id = g.organization_id, status = g.status, created_at = g.created_at,
            updated_at = g.updated_at, closed_at = g.closed_at, timers = g.timers::json,
            metadata = g.metadata::json, ai_config = g.ai_config::json,
            agent_response_policy = g.agent_response_policy, detached_channels = g.detached_channels::json,
            retention_seconds = g.retention_seconds, state = g.state::json, more = g.more::json,
            facets = ARRAY(SELECT json_array_elements_text(g.facets))
        FROM json_to_record(c.changed) AS g (
            facets json, id text, organization_id text, status text, created_at timestamptz,
            updated_at timestamptz, closed_at timestamptz, timers text, metadata text, ai_config text,
            agent_response_policy text, detached_channels text, retention_seconds float8, state text,
            more text
        )
        WHERE r.seq = head.room;
    END IF;
    UPDATE roomkit_heads h SET
        edition = h.edition + 1, version = h.version + c.bump, next_index = h.next_index + count,
        event_count = h.event_count + count, fence = greatest(h.fence, c.fence),
        last_activity = CASE WHEN c.activity THEN c.at ELSE h.last_activity END
    WHERE h.room = head.room
    RETURNING json_build_array(h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity)
    INTO counters;
    IF c.known[1] <> head.edition THEN
        added := roomkit_added(head.room, c.known[2], head.next_index, c.known[3]);
    END IF;
    RETURN json_build_object(
        'counters', counters, 'elsewhere', elsewhere, 'completed', completed, 'unbound', unbound,
        'added', added
    );
END
$$;
