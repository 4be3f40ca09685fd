










CREATE FUNCTION public.roomkit_begin_lease(worker text, seconds double precision, announced text[]) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM roomkit_leases WHERE ends_at < clock_timestamp() - interval '1 hour';
    INSERT INTO roomkit_leases (id, renewed_at, ends_at, channels)
    VALUES (worker, clock_timestamp(), clock_timestamp() + make_interval(secs => seconds), announced);
    RETURN 'true';
END
$$;



CREATE FUNCTION public.roomkit_claim(room_id text, worker text) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN roomkit_take(room_id, worker, NULL);
END
$$;



CREATE FUNCTION public.roomkit_claim_alarms(worker text, until timestamp with time zone, at_most bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN roomkit_claim_timers(worker, until, '{room_timers,retention,after_broadcast}', at_most);
END
$$;



CREATE FUNCTION public.roomkit_claim_timers(worker text, until timestamp with time zone, wanted text[], at_most bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    dead text[];
    result json;
BEGIN
    IF NOT roomkit_is_alive(worker) THEN
        RETURN '[]';
    END IF;
    SELECT coalesce(array_agg(h.holder), '{}') INTO dead FROM (
        SELECT DISTINCT a.holder FROM roomkit_alarms a WHERE a.due_at <= until AND a.holder IS NOT NULL
    ) AS h WHERE NOT roomkit_is_alive(h.holder);
    WITH mine AS MATERIALIZED (
        SELECT a.seq FROM roomkit_alarms a
        WHERE a.due_at <= until AND (a.holder IS NULL OR a.holder = ANY(dead))
        AND (wanted IS NULL OR a.kind = ANY(wanted))
        ORDER BY a.due_at, a.seq LIMIT at_most
        FOR UPDATE OF a SKIP LOCKED
    ), taken AS (
        UPDATE roomkit_alarms a SET claims = claims + (holder IS NOT NULL)::int, holder = worker
        FROM mine WHERE a.seq = mine.seq RETURNING a.seq
    )
    SELECT coalesce(json_agg(seq), '[]') INTO result FROM taken;
    RETURN result;
END
$$;



CREATE FUNCTION public.roomkit_close_lease(worker text) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM roomkit_leases WHERE id = worker;
    UPDATE roomkit_deliveries SET holder = NULL, handed = false WHERE seq = ANY(ARRAY(
        SELECT d.seq FROM roomkit_deliveries d
        WHERE d.holder = worker AND d.state = 'pending' AND d.claims >= 0
        ORDER BY d.seq FOR UPDATE
    ));
    UPDATE roomkit_alarms SET holder = NULL WHERE holder = worker;
    RETURN 'true';
END
$$;



CREATE FUNCTION public.roomkit_complete(given json, keys json, worker text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    numbers bigint[];
    rows bigint[];
    was_sent boolean;
    written json;
    in_parts json;
    receipts json;
BEGIN
    PERFORM pg_advisory_xact_lock(1383034733, key::int) FROM json_array_elements_text(keys) AS key;
    SELECT array_agg(g.n), array_agg(d.seq), bool_or(d.provider_message_id IS NOT NULL)
    INTO numbers, rows, was_sent
    FROM json_to_recordset(given) AS g (n bigint, event text, channel_id text), LATERAL (
        SELECT e.room, e.idx FROM roomkit_events e WHERE e.id = g.event OFFSET 0
    ) AS e, LATERAL (
        SELECT d.seq, d.state, d.provider_message_id FROM roomkit_deliveries d
        WHERE d.room = e.room AND d.idx = e.idx AND d.channel_id = g.channel_id OFFSET 0
    ) AS d;
    IF was_sent OR cardinality(rows) > 1 THEN
        PERFORM FROM roomkit_deliveries d WHERE d.seq = ANY(rows) ORDER BY d.seq FOR UPDATE;
    END IF;
    IF was_sent THEN
        INSERT INTO roomkit_messages (provider, message_id, delivery)
        SELECT d.provider, d.provider_message_id, d.seq FROM roomkit_deliveries d
        WHERE d.seq = ANY(rows) AND d.state || '' = 'pending' AND (worker IS NULL OR d.holder = worker)
            AND d.provider IS NOT NULL AND d.provider_message_id IS NOT NULL
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery,
            receipt = CASE WHEN roomkit_messages.delivery = excluded.delivery
                THEN roomkit_messages.receipt END;
    END IF;
    WITH changed AS (
        UPDATE roomkit_deliveries d SET
            state = g.state, attempts = g.attempts, provider = g.provider,
            provider_message_id = g.provider_message_id, parts = g.parts::json, error = g.error::json,
            reason = g.reason, created_at = g.created_at, finished_at = g.finished_at,
            duration_ms = g.duration_ms, more = g.more::json,
            receipt = CASE WHEN d.receipt IS NULL OR roomkit_follows(g.receipt, d.receipt)
                THEN g.receipt ELSE d.receipt END,
            holder = CASE WHEN g.state = 'pending' THEN d.holder END,
            handed = g.state = 'pending' AND d.handed
        FROM unnest(numbers, rows) AS r (n, seq)
        JOIN json_to_recordset(given) AS g (
            n bigint, others json, channel_id text, state text, attempts bigint, provider text,
            provider_message_id text, parts text, error text, reason text, receipt text, holder text,
            claims bigint, created_at timestamptz, finished_at timestamptz, duration_ms float8, more text
        ) ON g.n = r.n
        WHERE d.seq = r.seq AND d.state || '' = 'pending' AND (worker IS NULL OR d.holder = worker)
        RETURNING g.n, d.seq, d.provider, g.others
    )
    SELECT coalesce(json_agg(n), '[]'), json_agg(changed) FILTER (WHERE others IS NOT NULL)
    INTO written, in_parts FROM changed;
    IF in_parts IS NOT NULL THEN
        INSERT INTO roomkit_messages (provider, message_id, delivery)
        SELECT DISTINCT ON (o.provider, id) o.provider, id, o.seq
        FROM json_to_recordset(in_parts) AS o (seq bigint, provider text, others json),
            json_array_elements_text(o.others) AS id
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery,
            receipt = CASE WHEN roomkit_messages.delivery = excluded.delivery
                THEN roomkit_messages.receipt END;
    END IF;
    IF keys IS NOT NULL AND EXISTS (SELECT FROM roomkit_receipts) THEN
        receipts := roomkit_match(given, written);
    END IF;
    RETURN json_build_object('written', written, 'receipts', receipts);
END
$$;



CREATE FUNCTION public.roomkit_create_room(given json, alarms json) RETURNS json
    LANGUAGE plpgsql
    AS $$
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



CREATE FUNCTION public.roomkit_delete_identity(identity_id text) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM roomkit_identities WHERE id = identity_id;
    RETURN to_json(FOUND);
END
$$;



CREATE FUNCTION public.roomkit_delete_room(room_id text) RETURNS json
    LANGUAGE plpgsql
    AS $$
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



CREATE FUNCTION public.roomkit_delete_timer(timer_id text) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    DELETE FROM roomkit_alarms WHERE id = timer_id;
    RETURN to_json(FOUND);
END
$$;



CREATE FUNCTION public.roomkit_delete_timers_of(of_subject text, of_organization text) RETURNS json
    LANGUAGE plpgsql
    AS $$
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



CREATE FUNCTION public.roomkit_delete_value(of_organization text, of_namespace text, of_key text, made_from bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    former bigint;
BEGIN
    SELECT v.revision INTO former FROM roomkit_values v
    WHERE v.organization_id = of_organization AND v.namespace = of_namespace AND v.key = of_key FOR UPDATE;
    IF NOT FOUND THEN
        RETURN '{"deleted": false}';
    ELSIF made_from <> former THEN
        RETURN '{"stale": true}';
    END IF;
    DELETE FROM roomkit_values v
    WHERE v.organization_id = of_organization AND v.namespace = of_namespace AND v.key = of_key;
    RETURN '{"deleted": true}';
END
$$;



CREATE FUNCTION public.roomkit_delete_values_of(of_subject text, of_organization text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM roomkit_values v WHERE v.subject = of_subject
    AND (of_organization IS NULL OR v.organization_id = of_organization);
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END
$$;



CREATE FUNCTION public.roomkit_drop(event_id text, of_channel text, why text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    place record;
    target record;
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
END
$$;



CREATE FUNCTION public.roomkit_extend_lease(worker text, seconds double precision, announced text[]) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM roomkit_leases l WHERE l.id = worker FOR UPDATE;
    UPDATE roomkit_leases l SET renewed_at = clock_timestamp(),
        ends_at = clock_timestamp() + make_interval(secs => seconds),
        channels = coalesce(announced, l.channels)
    WHERE l.id = worker AND l.renewed_at <= clock_timestamp() + interval '1 second'
        AND clock_timestamp() < l.ends_at;
    RETURN to_json(FOUND);
END
$$;



CREATE FUNCTION public.roomkit_fall_back(event_id text, of_channel text, to_channel text, of_more text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    place record;
    target record;
    lane record;
    made bigint;
BEGIN
    SELECT e.room, e.idx INTO place FROM roomkit_events e WHERE e.id = event_id;
    IF NOT FOUND THEN
        RETURN '{"error": "missing"}';
    END IF;
    PERFORM FROM roomkit_heads WHERE room = place.room FOR NO KEY UPDATE;
    SELECT d.created_at INTO target FROM roomkit_deliveries d
    WHERE d.room = place.room AND d.idx = place.idx AND d.channel_id = of_channel;
    IF NOT FOUND THEN
        RETURN '{"error": "missing"}';
    END IF;
    IF EXISTS (SELECT FROM roomkit_deliveries d
        WHERE d.room = place.room AND d.idx = place.idx AND d.channel_id = to_channel) THEN
        RETURN '{"delivery": null}';
    END IF;
    SELECT * INTO lane FROM roomkit_place(place.room, to_channel, NULL, false);
    INSERT INTO roomkit_deliveries (
        room, idx, channel_id, state, attempts, claims, created_at, holder, handed, more
    ) VALUES (
        place.room, place.idx, to_channel, 'pending', 0, 0, target.created_at, lane.new_holder, lane.new_handed,
        of_more::json
    ) RETURNING seq INTO made;
    RETURN json_build_object('delivery', made);
END
$$;



CREATE FUNCTION public.roomkit_follows(later text, before text) RETURNS boolean
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN later IS NULL THEN false
        WHEN before IS NULL THEN true
        WHEN later = ANY(ARRAY['failed', 'undelivered', 'expired', 'canceled'])
            THEN before <> ALL(ARRAY['failed', 'undelivered', 'expired', 'canceled']) AND before <> 'read'
        WHEN before = ANY(ARRAY['failed', 'undelivered', 'expired', 'canceled'])
            THEN later IN ('delivered', 'read') AND before IN ('undelivered', 'expired')
        ELSE
            coalesce(array_position(
                ARRAY['unknown', 'queued', 'sending', 'sent', 'partial', 'delivered', 'read'], later
            ), 1)
            > coalesce(array_position(
                ARRAY['unknown', 'queued', 'sending', 'sent', 'partial', 'delivered', 'read'], before
            ), 1)
    END
$$;



CREATE FUNCTION public.roomkit_forget_media(media_ids text[]) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM roomkit_media WHERE id = ANY(ARRAY(
        SELECT m.id FROM roomkit_media m WHERE m.id = ANY(media_ids) AND m.unused_at IS NOT NULL
        ORDER BY m.id FOR UPDATE
    ));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END
$$;



CREATE FUNCTION public.roomkit_home_holder(of_room bigint, of_channel text, is_agent boolean) RETURNS text
    LANGUAGE plpgsql
    AS $$
DECLARE
    home record;
BEGIN
    FOR home IN
        SELECT h.worker, h.name FROM roomkit_homes h
        WHERE h.room = of_room AND (is_agent OR h.name = of_channel) AND h.worker IS NOT NULL
        ORDER BY h.name <> of_channel, h.name
    LOOP
        IF roomkit_is_alive(home.worker) AND (home.name = of_channel OR EXISTS (
            SELECT FROM roomkit_leases l WHERE l.id = home.worker
            AND (l.channels IS NULL OR of_channel = ANY(l.channels))
        )) THEN
            RETURN home.worker;
        END IF;
    END LOOP;
    RETURN NULL;
END
$$;



CREATE FUNCTION public.roomkit_home_of(of_room bigint, of_name text) RETURNS json
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    RETURN (
        SELECT json_build_object('worker', h.worker, 'token', h.token, 'url', h.url, 'lost_at', h.lost_at,
            'alive', h.worker IS NOT NULL AND roomkit_seems_alive(h.worker))
        FROM roomkit_homes h WHERE h.name = of_name AND h.room IS NOT DISTINCT FROM of_room
    );
END
$$;



CREATE FUNCTION public.roomkit_is_alive(worker text) RETURNS boolean
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM roomkit_leases l
    WHERE l.id = worker AND l.renewed_at <= clock_timestamp() + interval '1 second'
        AND clock_timestamp() < l.ends_at;
    IF FOUND OR worker IS NULL THEN
        RETURN FOUND;
    END IF;
    PERFORM FROM roomkit_leases l WHERE l.id = worker FOR SHARE;
    PERFORM FROM roomkit_leases l
    WHERE l.id = worker AND l.renewed_at <= clock_timestamp() + interval '1 second'
        AND clock_timestamp() < l.ends_at;
    RETURN FOUND;
END
$$;



CREATE FUNCTION public.roomkit_leave_home(room_id text, of_name text, of_worker text) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    PERFORM FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    UPDATE roomkit_homes h SET worker = NULL, url = NULL, lost_at = NULL
    WHERE h.name = of_name AND h.worker = of_worker
        AND h.room IS NOT DISTINCT FROM (SELECT r.seq FROM roomkit_rooms r WHERE r.id = room_id)
        AND (h.room IS NOT NULL OR room_id IS NULL);
    RETURN to_json(FOUND);
END
$$;



CREATE FUNCTION public.roomkit_mark_read(room_id text, of_channel text, event_id text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    of_room bigint;
    newest bigint;
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
END
$$;



CREATE FUNCTION public.roomkit_match(given json, written json) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    early record;
    after record;
    matched json[] := '{}';
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
            RETURNING r.seq, r.provider, r.message_id, r.receipt, r.status, ids.n, ids.event, ids.channel_id
        )
        SELECT g.provider, g.message_id, g.receipt, g.status, g.n, d.seq AS delivery
        FROM taken g, LATERAL (
            SELECT e.room, e.idx FROM roomkit_events e WHERE e.id = g.event OFFSET 0
        ) AS e, LATERAL (
            SELECT d.seq, d.state, d.provider_message_id FROM roomkit_deliveries d
            WHERE d.room = e.room AND d.idx = e.idx AND d.channel_id = g.channel_id OFFSET 0
        ) AS d ORDER BY g.seq
    LOOP
        PERFORM roomkit_move_receipt(early.delivery, early.provider, early.message_id, early.receipt);
        SELECT d.receipt, d.holder, d.claims INTO after FROM roomkit_deliveries d
        WHERE d.seq = early.delivery;
        matched := matched || json_build_object(
            'n', early.n, 'status', early.status, 'receipt', after.receipt, 'holder', after.holder,
            'claims', after.claims
        );
    END LOOP;
    RETURN array_to_json(matched);
END
$$;



CREATE FUNCTION public.roomkit_media_released() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE roomkit_media m SET unused_at = '-infinity' WHERE m.id = old.media
    AND NOT EXISTS (SELECT FROM roomkit_media_uses u WHERE u.media = m.id);
    RETURN NULL;
END
$$;



CREATE FUNCTION public.roomkit_media_used() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE roomkit_media SET unused_at = NULL WHERE id = new.media;
    RETURN NULL;
END
$$;



CREATE FUNCTION public.roomkit_move_receipt(row_of bigint, of_provider text, of_message text, what text) RETURNS void
    LANGUAGE plpgsql
    AS $$
DECLARE
    ids record;
BEGIN
    SELECT d.provider_message_id AS first,
        CASE WHEN json_typeof(d.parts) = 'array' THEN d.parts END AS parts INTO ids
    FROM roomkit_deliveries d
    WHERE d.seq = row_of FOR UPDATE;
    IF NOT EXISTS (SELECT FROM json_array_elements_text(ids.parts) AS part WHERE part <> ids.first) THEN
        UPDATE roomkit_deliveries d SET receipt = what
        WHERE d.seq = row_of AND roomkit_follows(what, d.receipt);
        RETURN;
    END IF;
    INSERT INTO roomkit_messages AS m (provider, message_id, delivery, receipt)
    VALUES (of_provider, of_message, row_of, what)
    ON CONFLICT (provider, message_id) DO UPDATE SET receipt = excluded.receipt
    WHERE roomkit_follows(excluded.receipt, m.receipt);
    UPDATE roomkit_deliveries d SET receipt = coalesce(roomkit_of_parts(ARRAY(
        SELECT m.receipt
        FROM (SELECT ids.first UNION SELECT json_array_elements_text(ids.parts)) AS part (id)
        LEFT JOIN roomkit_messages m ON m.provider = d.provider AND m.message_id = part.id
            AND m.delivery = row_of
    )), d.receipt) WHERE d.seq = row_of;
END
$$;



CREATE FUNCTION public.roomkit_of_parts(states text[]) RETURNS text
    LANGUAGE sql IMMUTABLE
    AS $$
    SELECT CASE
        WHEN count(*) FILTER (WHERE s = ANY(ARRAY['failed', 'undelivered', 'expired', 'canceled'])) = count(*)
            THEN (ARRAY['failed', 'undelivered', 'expired', 'canceled'])[min(array_position(
                ARRAY['failed', 'undelivered', 'expired', 'canceled'], s
            ))]
        WHEN count(*) FILTER (WHERE s = ANY(ARRAY['failed', 'undelivered', 'expired', 'canceled'])) > 0
            THEN 'partial'
        WHEN count(s) < count(*) THEN NULL
        ELSE (ARRAY['unknown', 'queued', 'sending', 'sent', 'partial', 'delivered', 'read'])[
            min(coalesce(array_position(
                ARRAY['unknown', 'queued', 'sending', 'sent', 'partial', 'delivered', 'read'], s
            ), 1))
        ]
    END
    FROM unnest(states) AS s
$$;



CREATE FUNCTION public.roomkit_open_lease(worker text, seconds double precision) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN roomkit_begin_lease(worker, seconds, NULL);
END
$$;



CREATE FUNCTION public.roomkit_place(of_room bigint, of_channel text, worker text, is_agent boolean, OUT new_holder text, OUT new_handed boolean, OUT is_direct boolean) RETURNS record
    LANGUAGE plpgsql
    AS $$
BEGIN
    new_handed := false;
    is_direct := false;
    SELECT d.holder INTO new_holder FROM roomkit_deliveries d
    WHERE d.room = of_room AND d.channel_id = of_channel AND d.state = 'pending' AND d.room >= 0 LIMIT 1;
    IF NOT FOUND THEN
        new_holder := coalesce(roomkit_home_holder(of_room, of_channel, is_agent), worker);
        new_handed := new_holder IS DISTINCT FROM worker;
        is_direct := worker IS NOT NULL AND NOT new_handed;
    ELSIF new_holder IS NOT NULL THEN
        IF new_holder IS DISTINCT FROM worker AND NOT roomkit_is_alive(new_holder) THEN
            new_holder := NULL;
        ELSE
            new_handed := new_holder IS DISTINCT FROM worker OR EXISTS (
                SELECT FROM roomkit_deliveries d WHERE d.room = of_room AND d.channel_id = of_channel
                AND d.state = 'pending' AND d.room >= 0 AND d.handed
            );
            is_direct := NOT new_handed;
        END IF;
    END IF;
END
$$;



CREATE FUNCTION public.roomkit_place_absent(of_room bigint, of_channel text, worker text, is_agent boolean, OUT new_holder text, OUT new_handed boolean) RETURNS record
    LANGUAGE plpgsql
    AS $$
BEGIN
    SELECT d.holder INTO new_holder FROM roomkit_deliveries d
    WHERE d.room = of_room AND d.channel_id = of_channel AND d.state = 'pending' AND d.room >= 0 LIMIT 1;
    IF FOUND THEN
        new_holder := CASE WHEN roomkit_is_alive(new_holder) THEN new_holder END;
    ELSE
        new_holder := nullif(roomkit_home_holder(of_room, of_channel, is_agent), worker);
    END IF;
    IF NOT FOUND AND new_holder IS NULL THEN
        SELECT min(l.id) INTO new_holder FROM roomkit_leases l
        WHERE l.renewed_at <= clock_timestamp() + interval '1 second' AND clock_timestamp() < l.ends_at
            AND l.id IS DISTINCT FROM worker
        AND (l.channels IS NULL OR of_channel = ANY(l.channels));
    END IF;
    new_handed := new_holder IS NOT NULL;
END
$$;



CREATE FUNCTION public.roomkit_prune(room_id text, before timestamp with time zone, at_most bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
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



CREATE FUNCTION public.roomkit_purge_values(until timestamp with time zone, at_most bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM roomkit_values WHERE revision = ANY(ARRAY(
        SELECT v.revision FROM roomkit_values v WHERE v.expires_at <= until
        ORDER BY v.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END
$$;



CREATE FUNCTION public.roomkit_put_identity(given json, addresses json, made_from bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    former bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(1383034733, hashtext('identity ' || (given->>'id')));
    SELECT i.revision INTO former FROM roomkit_identities i WHERE i.id = given->>'id' FOR UPDATE;
    IF made_from <> coalesce(former, 0) THEN
        RETURN '{"error": "moved"}';
    END IF;
    INSERT INTO roomkit_identities AS i (id, organization_id, display_name, email, phone, channel_addresses,
        external_id, external_ids, metadata, more)
    SELECT g.id, g.organization_id, g.display_name, g.email, g.phone, g.channel_addresses::json,
        g.external_id, g.external_ids::json, g.metadata::json, g.more::json
    FROM json_to_record(given) AS g (
        id text, organization_id text, display_name text, email text, phone text, channel_addresses text,
        external_id text, external_ids text, metadata text, more text
    )
    ON CONFLICT (id) DO UPDATE SET
        revision = i.revision + 1, organization_id = excluded.organization_id,
        display_name = excluded.display_name, email = excluded.email, phone = excluded.phone,
        channel_addresses = excluded.channel_addresses, external_id = excluded.external_id,
        external_ids = excluded.external_ids, metadata = excluded.metadata, more = excluded.more;
    DELETE FROM roomkit_addresses WHERE identity = given->>'id';
    INSERT INTO roomkit_addresses (organization_id, channel_type, address, identity)
    SELECT a.value->>0, a.value->>1, a.value->>2, given->>'id' FROM json_array_elements(addresses) AS a
    ON CONFLICT (organization_id, channel_type, address) DO UPDATE SET identity = excluded.identity;
    RETURN '{}';
END
$$;



CREATE FUNCTION public.roomkit_put_value(given json, made_from bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    g record;
    made bigint;
BEGIN
    SELECT * INTO g
    FROM json_to_record(given) AS g (
        organization_id text, namespace text, key text, subject text, room_id text, expires_at timestamptz,
        data text, derived boolean
    );
    g.derived := coalesce(g.derived, false);
    IF made_from IS NULL THEN
        INSERT INTO roomkit_values (
            organization_id, namespace, key, subject, room_id, expires_at, data, derived
        )
        VALUES (
            g.organization_id, g.namespace, g.key, g.subject, g.room_id, g.expires_at, g.data, g.derived
        )
        ON CONFLICT (organization_id, namespace, key) DO UPDATE SET
            revision = nextval('roomkit_revisions'), subject = excluded.subject, room_id = excluded.room_id,
            expires_at = excluded.expires_at, data = excluded.data, derived = excluded.derived
        RETURNING revision INTO made;
    ELSIF made_from = 0 THEN
        INSERT INTO roomkit_values (
            organization_id, namespace, key, subject, room_id, expires_at, data, derived
        )
        VALUES (
            g.organization_id, g.namespace, g.key, g.subject, g.room_id, g.expires_at, g.data, g.derived
        )
        ON CONFLICT (organization_id, namespace, key) DO NOTHING RETURNING revision INTO made;
    ELSE
        UPDATE roomkit_values v SET revision = nextval('roomkit_revisions'), subject = g.subject,
            room_id = g.room_id, expires_at = g.expires_at, data = g.data, derived = g.derived
        WHERE v.organization_id = g.organization_id AND v.namespace = g.namespace AND v.key = g.key
            AND v.revision = made_from
        RETURNING v.revision INTO made;
    END IF;
    RETURN json_build_object('revision', made);
END
$$;



CREATE FUNCTION public.roomkit_receipt(of_provider text, of_message text, key integer, what text, said text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    known bigint;
BEGIN
    SELECT coalesce(
        (SELECT max(d.seq) FROM roomkit_deliveries d
            WHERE d.provider = of_provider AND d.provider_message_id = of_message),
        (SELECT m.delivery FROM roomkit_messages m
            WHERE m.provider = of_provider AND m.message_id = of_message)
    ) INTO known;
    IF known IS NULL THEN
        PERFORM pg_advisory_xact_lock(1383034733, key);
        SELECT coalesce(
            (SELECT max(d.seq) FROM roomkit_deliveries d
                WHERE d.provider = of_provider AND d.provider_message_id = of_message),
            (SELECT m.delivery FROM roomkit_messages m
                WHERE m.provider = of_provider AND m.message_id = of_message)
        ) INTO known;
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
    PERFORM roomkit_move_receipt(known, of_provider, of_message, what);
    RETURN to_json(known);
END
$$;



CREATE FUNCTION public.roomkit_register_media(of_room text, media_ids text[], until timestamp with time zone) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    INSERT INTO roomkit_media (id, room_id, unused_at)
    SELECT g.id, of_room, until FROM unnest(media_ids) AS g (id) ORDER BY g.id ON CONFLICT DO NOTHING;
    RETURN 'true';
END
$$;



CREATE FUNCTION public.roomkit_renew_lease(worker text, seconds double precision) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    RETURN roomkit_extend_lease(worker, seconds, NULL);
END
$$;



CREATE FUNCTION public.roomkit_reopen(event_id text, of_channel text) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    place record;
    target record;
    lane record;
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
    SELECT * INTO lane FROM roomkit_place(place.room, of_channel, NULL, false);
    UPDATE roomkit_deliveries SET state = 'pending', claims = 0, error = NULL, finished_at = NULL,
        duration_ms = NULL, holder = lane.new_holder, handed = lane.new_handed
    WHERE seq = target.seq;
    RETURN json_build_object('delivery', target.seq);
END
$$;



CREATE FUNCTION public.roomkit_seal(writer text, number bigint, result json) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE roomkit_writers SET serial = number, outcome = result, used_at = now()
    WHERE id = writer AND serial = number - 1;
    IF NOT FOUND THEN
        INSERT INTO roomkit_writers (id, serial, outcome, used_at) VALUES (writer, number, result, now());
    END IF;
    RETURN result;
END
$$;



CREATE FUNCTION public.roomkit_seems_alive(worker text) RETURNS boolean
    LANGUAGE plpgsql STABLE
    AS $$
BEGIN
    PERFORM FROM roomkit_leases l
    WHERE l.id = worker AND l.renewed_at <= clock_timestamp() + interval '1 second'
        AND clock_timestamp() < l.ends_at;
    RETURN FOUND;
END
$$;



CREATE FUNCTION public.roomkit_set_alarm(room_id text, given json) RETURNS json
    LANGUAGE plpgsql
    AS $$
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



CREATE FUNCTION public.roomkit_settle(writer text, number bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    result json;
BEGIN
    INSERT INTO roomkit_writers AS w (id, serial, outcome, used_at) VALUES (writer, number, NULL, now())
    ON CONFLICT (id) DO UPDATE SET
        outcome = CASE WHEN w.serial = number THEN w.outcome END, serial = number, used_at = now()
    RETURNING outcome INTO result;
    RETURN result;
END
$$;



CREATE FUNCTION public.roomkit_take(room_id text, worker text, registered text[]) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    of_room bigint;
    dead text[];
    result json;
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    IF NOT FOUND OR NOT roomkit_is_alive(worker) THEN
        RETURN '[]';
    END IF;
    -- One verdict on each holder, for all of its rows: else a lane might be torn.
    SELECT coalesce(array_agg(h.holder), '{}') INTO dead FROM (
        SELECT DISTINCT d.holder FROM roomkit_deliveries d
        WHERE d.room = of_room AND d.state = 'pending' AND d.room >= 0 AND d.holder IS NOT NULL
    ) AS h WHERE NOT roomkit_is_alive(h.holder);
    WITH mine AS MATERIALIZED (
        SELECT d.seq FROM roomkit_deliveries d
        WHERE d.room = of_room AND d.state = 'pending' AND d.room >= 0
        AND ((d.handed AND d.holder = worker) OR ((d.holder IS NULL OR d.holder = ANY(dead))
            AND (registered IS NULL OR d.channel_id = ANY(registered))))
        ORDER BY d.seq FOR UPDATE OF d
    ), taken AS (
        UPDATE roomkit_deliveries d SET
            claims = claims + (holder IS NOT NULL AND holder <> worker)::int, holder = worker, handed = false
        FROM mine WHERE d.seq = mine.seq RETURNING d.seq
    )
    SELECT coalesce(json_agg(seq), '[]') INTO result FROM taken;
    RETURN result;
END
$$;



CREATE FUNCTION public.roomkit_take_home(room_id text, of_name text, new_worker text, new_url text, known bigint) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    of_room bigint;
    home record;
BEGIN
    IF room_id IS NOT NULL THEN
        SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
        WHERE r.id = room_id FOR NO KEY UPDATE OF h;
        IF NOT FOUND THEN
            RETURN '{"error": "no_room"}';
        END IF;
    ELSE
        PERFORM pg_advisory_xact_lock(hashtextextended('roomkit home ' || of_name, 0));
    END IF;
    SELECT * INTO home FROM roomkit_homes h
    WHERE h.name = of_name AND h.room IS NOT DISTINCT FROM of_room FOR UPDATE;
    IF NOT FOUND THEN
        IF coalesce(known, 0) = 0 AND roomkit_is_alive(new_worker) THEN
            INSERT INTO roomkit_homes (room, name, worker, token, url)
            VALUES (of_room, of_name, new_worker, 1, new_url);
        END IF;
    ELSIF (home.worker IS NULL OR home.worker = new_worker OR NOT roomkit_is_alive(home.worker))
        AND coalesce(known, home.token) = home.token AND roomkit_is_alive(new_worker)
    THEN
        UPDATE roomkit_homes h SET worker = new_worker, url = new_url, lost_at = NULL,
            token = h.token + (h.worker IS DISTINCT FROM new_worker)::int
        WHERE h.seq = home.seq;
    END IF;
    RETURN coalesce(
        roomkit_home_of(of_room, of_name), '{"worker": null, "token": 0, "alive": false}'
    );
END
$$;



CREATE FUNCTION public.roomkit_update_task(room_id text, given json) RETURNS json
    LANGUAGE plpgsql
    AS $$
BEGIN
    UPDATE roomkit_tasks t SET
        title = g.title, description = g.description, assigned_to = g.assigned_to, status = g.status,
        created_at = g.created_at, metadata = g.metadata::json, more = g.more::json
    FROM json_to_record(given) AS g (
        id text, title text, description text, assigned_to text, status text, created_at timestamptz,
        metadata text, more text
    )
    WHERE t.id = g.id AND t.room = (SELECT r.seq FROM roomkit_rooms r WHERE r.id = room_id);
    RETURN to_json(FOUND);
END
$$;



CREATE FUNCTION public.roomkit_write(operations json) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    operation json;
    free text[];
    ending json;
    rows bigint[];
    answers json[] := '{}';
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
        PERFORM pg_advisory_xact_lock(1383034733, keys.key) FROM (
            SELECT k.key::int FROM json_array_elements(operations) AS o,
                json_array_elements_text(o->'keys') AS k (key) ORDER BY 1
        ) AS keys;
        SELECT array_agg(d.seq) INTO rows
        FROM json_to_recordset(ending) AS g (event text, channel_id text), LATERAL (
            SELECT e.room, e.idx FROM roomkit_events e WHERE e.id = g.event OFFSET 0
        ) AS e, LATERAL (
            SELECT d.seq, d.state, d.provider_message_id FROM roomkit_deliveries d
            WHERE d.room = e.room AND d.idx = e.idx AND d.channel_id = g.channel_id OFFSET 0
        ) AS d;
        PERFORM FROM roomkit_deliveries d WHERE d.seq = ANY(rows) ORDER BY d.seq FOR UPDATE;
    END IF;
    FOR operation IN SELECT value FROM json_array_elements(operations) LOOP
        answers := answers || CASE WHEN operation->>'room' <> ALL(coalesce(free, '{}'))
            THEN '{"error": "busy"}' ELSE roomkit_write_one(operation) END;
    END LOOP;
    RETURN array_to_json(answers);
END
$$;



CREATE FUNCTION public.roomkit_write_one(operation json) RETURNS json
    LANGUAGE plpgsql
    AS $$
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
BEGIN
    SELECT * INTO c FROM json_to_record(operation) AS c (
        room text, expected bigint, fence bigint, worker text, at timestamptz, activity boolean, bump int,
        base bigint, missing text, binding text, participant text, changed json, events json, targets json,
        replaced json, bindings json, unbind json, participants json, removed json, tasks json,
        observations json, alarms json, completed json, keys json, alarms_done json,
        absent text[], agents text[], kept json, redacted json, media json
    );
    IF c.room IS NOT NULL THEN
        SELECT h.room, h.version, h.fence, h.next_index, coalesce(r.organization_id, '') AS scope INTO head
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
    RETURN json_build_object(
        'counters', counters, 'elsewhere', elsewhere, 'completed', completed, 'unbound', unbound
    );
END
$$;



CREATE FUNCTION public.roomkit_yield_lane(room_id text, of_channel text, of_worker text, at timestamp with time zone, grace double precision) RETURNS json
    LANGUAGE plpgsql
    AS $$
DECLARE
    of_room bigint;
    home record;
    new_holder text;
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    SELECT h.*, roomkit_is_alive(h.worker) AS alive INTO home FROM roomkit_homes h
    WHERE h.room = of_room AND h.name = of_channel;
    IF NOT FOUND THEN
        RETURN 'null';
    END IF;
    IF home.worker IS NOT NULL AND NOT home.alive AND home.lost_at IS NULL THEN
        home.lost_at := at;
        UPDATE roomkit_homes h SET lost_at = at WHERE h.seq = home.seq;
    END IF;
    IF home.alive OR (home.worker IS NOT NULL AND at < home.lost_at + make_interval(secs => grace)) THEN
        new_holder := CASE WHEN home.alive AND home.worker <> of_worker THEN home.worker END;
        UPDATE roomkit_deliveries SET holder = new_holder, handed = new_holder IS NOT NULL
        WHERE seq = ANY(ARRAY(
            SELECT d.seq FROM roomkit_deliveries d
            WHERE d.room = of_room AND d.channel_id = of_channel AND d.state = 'pending' AND d.room >= 0
                AND d.holder = of_worker
            ORDER BY d.seq FOR UPDATE
        ));
    END IF;
    RETURN roomkit_home_of(of_room, of_channel);
END
$$;





CREATE TABLE public.roomkit_addresses (
    organization_id text NOT NULL COLLATE pg_catalog."C",
    channel_type text NOT NULL COLLATE pg_catalog."C",
    address text NOT NULL COLLATE pg_catalog."C",
    identity text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE public.roomkit_alarms (
    seq bigint NOT NULL,
    room bigint,
    holder text COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    kind text NOT NULL COLLATE pg_catalog."C",
    due_at timestamp with time zone NOT NULL,
    data json,
    claims bigint NOT NULL,
    more json
);



ALTER TABLE public.roomkit_alarms ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_alarms_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_bindings (
    seq bigint NOT NULL,
    room bigint NOT NULL,
    channel_id text NOT NULL COLLATE pg_catalog."C",
    channel_type text NOT NULL COLLATE pg_catalog."C",
    category text NOT NULL COLLATE pg_catalog."C",
    direction text NOT NULL COLLATE pg_catalog."C",
    access text NOT NULL COLLATE pg_catalog."C",
    muted boolean NOT NULL,
    visibility text NOT NULL COLLATE pg_catalog."C",
    participant_id text COLLATE pg_catalog."C",
    last_read_index bigint,
    attached_at timestamp with time zone NOT NULL,
    capabilities json NOT NULL,
    rate_limit json,
    retry_policy json,
    length_policy text NOT NULL COLLATE pg_catalog."C",
    double_text text NOT NULL COLLATE pg_catalog."C",
    fold_seconds double precision NOT NULL,
    metadata json,
    more json
);



ALTER TABLE public.roomkit_bindings ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_bindings_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_deliveries (
    seq bigint NOT NULL,
    room bigint NOT NULL,
    idx bigint NOT NULL,
    handed boolean DEFAULT false NOT NULL,
    channel_id text NOT NULL COLLATE pg_catalog."C",
    state text NOT NULL COLLATE pg_catalog."C",
    attempts bigint NOT NULL,
    provider text COLLATE pg_catalog."C",
    provider_message_id text COLLATE pg_catalog."C",
    parts json,
    error json,
    reason text COLLATE pg_catalog."C",
    receipt text COLLATE pg_catalog."C",
    holder text COLLATE pg_catalog."C",
    claims bigint NOT NULL,
    created_at timestamp with time zone NOT NULL,
    finished_at timestamp with time zone,
    duration_ms double precision,
    more json
);



ALTER TABLE public.roomkit_deliveries ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_deliveries_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_events (
    room bigint NOT NULL,
    idx bigint NOT NULL,
    is_history boolean NOT NULL,
    source_channel_id text NOT NULL COLLATE pg_catalog."C",
    id text NOT NULL COLLATE pg_catalog."C",
    type text NOT NULL COLLATE pg_catalog."C",
    source json NOT NULL,
    content json NOT NULL,
    status text NOT NULL COLLATE pg_catalog."C",
    blocked_by text COLLATE pg_catalog."C",
    block_reason text COLLATE pg_catalog."C",
    visibility text NOT NULL COLLATE pg_catalog."C",
    response_visibility text COLLATE pg_catalog."C",
    addressed_to json,
    chain_depth bigint NOT NULL,
    parent_event_id text COLLATE pg_catalog."C",
    correlation_id text COLLATE pg_catalog."C",
    idempotency_key text COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    metadata json,
    channel_data json,
    generation json,
    amendment json,
    more json,
    key_scope text COLLATE pg_catalog."C",
    external_id text COLLATE pg_catalog."C"
);



CREATE TABLE public.roomkit_heads (
    room bigint NOT NULL,
    edition bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    next_index bigint DEFAULT 0 NOT NULL,
    event_count bigint DEFAULT 0 NOT NULL,
    fence bigint,
    last_activity timestamp with time zone
)
WITH (fillfactor='50');



CREATE TABLE public.roomkit_homes (
    seq bigint NOT NULL,
    room bigint,
    name text NOT NULL COLLATE pg_catalog."C",
    worker text COLLATE pg_catalog."C",
    token bigint NOT NULL,
    url text,
    lost_at timestamp with time zone
);



ALTER TABLE public.roomkit_homes ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_homes_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_identities (
    id text NOT NULL COLLATE pg_catalog."C",
    organization_id text COLLATE pg_catalog."C",
    display_name text COLLATE pg_catalog."C",
    email text COLLATE pg_catalog."C",
    phone text COLLATE pg_catalog."C",
    channel_addresses json,
    external_id text COLLATE pg_catalog."C",
    external_ids json,
    metadata json,
    more json,
    revision bigint DEFAULT 1 NOT NULL
);



CREATE TABLE public.roomkit_leases (
    id text NOT NULL COLLATE pg_catalog."C",
    renewed_at timestamp with time zone NOT NULL,
    ends_at timestamp with time zone NOT NULL,
    channels text[]
)
WITH (fillfactor='50');



CREATE TABLE public.roomkit_media (
    id text NOT NULL COLLATE pg_catalog."C",
    room_id text NOT NULL COLLATE pg_catalog."C",
    unused_at timestamp with time zone
);



CREATE TABLE public.roomkit_media_files (
    id text NOT NULL COLLATE pg_catalog."C",
    room_id text NOT NULL COLLATE pg_catalog."C",
    data text NOT NULL
);



CREATE TABLE public.roomkit_media_pieces (
    file text NOT NULL COLLATE pg_catalog."C",
    number integer NOT NULL,
    data bytea NOT NULL
);
ALTER TABLE ONLY public.roomkit_media_pieces ALTER COLUMN data SET STORAGE EXTERNAL;



CREATE TABLE public.roomkit_media_uses (
    event text NOT NULL COLLATE pg_catalog."C",
    media text NOT NULL COLLATE pg_catalog."C"
);



CREATE TABLE public.roomkit_messages (
    provider text NOT NULL COLLATE pg_catalog."C",
    message_id text NOT NULL COLLATE pg_catalog."C",
    delivery bigint NOT NULL,
    receipt text
);



CREATE TABLE public.roomkit_observations (
    seq bigint NOT NULL,
    room bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    channel_id text NOT NULL COLLATE pg_catalog."C",
    content text NOT NULL COLLATE pg_catalog."C",
    category text COLLATE pg_catalog."C",
    confidence double precision NOT NULL,
    created_at timestamp with time zone NOT NULL,
    metadata json,
    more json
);



ALTER TABLE public.roomkit_observations ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_observations_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_participants (
    seq bigint NOT NULL,
    room bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    channel_id text NOT NULL COLLATE pg_catalog."C",
    display_name text COLLATE pg_catalog."C",
    role text NOT NULL COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    identification text NOT NULL COLLATE pg_catalog."C",
    identity_id text COLLATE pg_catalog."C",
    candidates json,
    connected_via json,
    external_id text COLLATE pg_catalog."C",
    resolved_at timestamp with time zone,
    resolved_by text COLLATE pg_catalog."C",
    joined_at timestamp with time zone NOT NULL,
    metadata json,
    more json
);



ALTER TABLE public.roomkit_participants ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_participants_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_read_marks (
    room bigint NOT NULL,
    channel_id text NOT NULL COLLATE pg_catalog."C",
    idx bigint NOT NULL
);



CREATE TABLE public.roomkit_receipts (
    seq bigint NOT NULL,
    provider text NOT NULL COLLATE pg_catalog."C",
    message_id text NOT NULL COLLATE pg_catalog."C",
    receipt text NOT NULL,
    status text NOT NULL,
    kept_at timestamp with time zone NOT NULL
);



ALTER TABLE public.roomkit_receipts ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_receipts_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE SEQUENCE public.roomkit_revisions
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;



CREATE TABLE public.roomkit_rooms (
    seq bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    organization_id text COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    updated_at timestamp with time zone NOT NULL,
    closed_at timestamp with time zone,
    timers json,
    metadata json,
    ai_config json,
    agent_response_policy text COLLATE pg_catalog."C",
    detached_channels json,
    retention_seconds double precision,
    state json,
    more json,
    facets text[] NOT NULL
);



ALTER TABLE public.roomkit_rooms ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_rooms_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_schema (
    version integer NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);



CREATE TABLE public.roomkit_senders (
    channel_id text NOT NULL COLLATE pg_catalog."C",
    sender_id text NOT NULL COLLATE pg_catalog."C",
    room bigint NOT NULL,
    participant bigint NOT NULL
);



CREATE TABLE public.roomkit_tasks (
    seq bigint NOT NULL,
    room bigint NOT NULL,
    id text NOT NULL COLLATE pg_catalog."C",
    title text NOT NULL COLLATE pg_catalog."C",
    description text COLLATE pg_catalog."C",
    assigned_to text COLLATE pg_catalog."C",
    status text NOT NULL COLLATE pg_catalog."C",
    created_at timestamp with time zone NOT NULL,
    metadata json,
    more json
);



ALTER TABLE public.roomkit_tasks ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.roomkit_tasks_seq_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);



CREATE TABLE public.roomkit_values (
    revision bigint DEFAULT nextval('public.roomkit_revisions'::regclass) NOT NULL,
    organization_id text NOT NULL COLLATE pg_catalog."C",
    namespace text NOT NULL COLLATE pg_catalog."C",
    key text NOT NULL COLLATE pg_catalog."C",
    subject text COLLATE pg_catalog."C",
    room_id text COLLATE pg_catalog."C",
    expires_at timestamp with time zone,
    data text NOT NULL,
    derived boolean DEFAULT false NOT NULL
);



CREATE TABLE public.roomkit_writers (
    id text NOT NULL COLLATE pg_catalog."C",
    serial bigint NOT NULL,
    used_at timestamp with time zone NOT NULL,
    outcome json
)
WITH (fillfactor='20');
ALTER TABLE ONLY public.roomkit_writers ALTER COLUMN outcome SET STORAGE MAIN;



INSERT INTO public.roomkit_addresses VALUES ('acme', 'sms', '+1', 'i');



INSERT INTO public.roomkit_alarms OVERRIDING SYSTEM VALUE VALUES (1, 1, NULL, 'a', 'timer', '2030-01-02 12:00:00+00', '{"k":1}', 0, NULL);
INSERT INTO public.roomkit_alarms OVERRIDING SYSTEM VALUE VALUES (2, NULL, NULL, 'acme.call', 'acme.call', '2030-01-01 12:00:00+00', NULL, 0, '{"subject":"ann"}');



INSERT INTO public.roomkit_bindings OVERRIDING SYSTEM VALUE VALUES (2, 1, 'ai', 'ai', 'transport', 'bidirectional', 'read_write', false, 'all', NULL, NULL, '2030-01-01 12:00:00+00', '{"media_types":["text"],"supports_threading":false,"supports_reactions":false,"supports_edit":false,"supports_delete":false,"supports_read_receipts":false,"supports_delivery_receipts":false,"supports_typing":false,"supports_templates":false,"supports_rich_text":false,"supports_buttons":false,"supports_cards":false,"supports_quick_replies":false,"supports_media":false,"supported_media_types":[],"supports_audio":false,"supported_audio_formats":[],"supports_video":false,"supported_video_formats":[],"delivery_mode":"broadcast","custom":{}}', NULL, NULL, 'split', 'queue', 0.5, NULL, NULL);
INSERT INTO public.roomkit_bindings OVERRIDING SYSTEM VALUE VALUES (1, 1, 'sms', 'sms', 'transport', 'bidirectional', 'read_write', false, 'all', NULL, NULL, '2030-01-01 12:00:00+00', '{"media_types":["text"],"supports_threading":false,"supports_reactions":false,"supports_edit":false,"supports_delete":false,"supports_read_receipts":false,"supports_delivery_receipts":false,"supports_typing":false,"supports_templates":false,"supports_rich_text":false,"supports_buttons":false,"supports_cards":false,"supports_quick_replies":false,"supports_media":false,"supported_media_types":[],"supports_audio":false,"supported_audio_formats":[],"supports_video":false,"supported_video_formats":[],"delivery_mode":"broadcast","custom":{}}', NULL, NULL, 'split', 'queue', 0.5, NULL, '{"address":"+15550001","state":{"conversation":"c"}}');



INSERT INTO public.roomkit_deliveries OVERRIDING SYSTEM VALUE VALUES (2, 1, 1, false, 'ai', 'pending', 0, NULL, NULL, NULL, NULL, NULL, NULL, '8a87cfbda148bf25e044e287bcb3d4d2', 0, '2030-01-01 12:00:00+00', NULL, NULL, NULL);
INSERT INTO public.roomkit_deliveries OVERRIDING SYSTEM VALUE VALUES (1, 1, 0, false, 'sms', 'sent', 0, 'acme', 'm1', '["m1","m2"]', NULL, NULL, NULL, NULL, 0, '2030-01-01 12:00:00+00', '2030-01-01 12:00:00+00', NULL, NULL);



INSERT INTO public.roomkit_events VALUES (1, 1, true, 'alice', 'e1', 'message', '{"channel_id":"alice","channel_type":"sms","direction":"inbound","participant_id":"alice","raw_payload":{}}', '{"type":"text","body":"a\u0000b"}', 'delivered', NULL, NULL, 'all', NULL, NULL, 0, NULL, NULL, NULL, '2030-01-01 12:00:00+00', '{"m":[1]}', NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO public.roomkit_events VALUES (1, 0, true, 'alice', 'e0', 'message', '{"channel_id":"alice","channel_type":"sms","direction":"inbound","participant_id":"alice","raw_payload":{}}', '{"type":"text","body":"edited"}', 'delivered', NULL, NULL, 'all', NULL, NULL, 0, NULL, NULL, 'k0', '2030-01-01 12:00:00+00', NULL, NULL, NULL, '{"edited_at":"2030-01-01T12:00:00Z","amended_by":"ann","former_contents":[{"type":"text","body":"first"}]}', NULL, 'acme', NULL);



INSERT INTO public.roomkit_heads VALUES (1, 3, 3, 2, 2, NULL, '2030-01-01 12:00:00+00');



INSERT INTO public.roomkit_homes OVERRIDING SYSTEM VALUE VALUES (1, 1, 'voice', 'gone', 3, 'http://a', '2030-01-01 12:00:00+00');
INSERT INTO public.roomkit_homes OVERRIDING SYSTEM VALUE VALUES (2, NULL, 'bot', NULL, 2, NULL, NULL);



INSERT INTO public.roomkit_identities VALUES ('i', 'acme', NULL, NULL, NULL, '{"sms":["+1"]}', NULL, '{}', NULL, NULL, 1);



INSERT INTO public.roomkit_leases VALUES ('8a87cfbda148bf25e044e287bcb3d4d2', '2026-11-22 18:44:25.846821+00', '2026-11-22 18:44:26.846821+00', NULL);



INSERT INTO public.roomkit_media VALUES ('f2', 'museum', '2030-01-01 13:00:00+00');
INSERT INTO public.roomkit_media VALUES ('f1', 'museum', NULL);



INSERT INTO public.roomkit_media_files VALUES ('f1', 'museum', '{"id":"f1","room_id":"museum","mime_type":"text/plain","size_bytes":2,"sha256":"8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4","filename":"a.txt","created_at":"2030-01-01T12:00:00Z"}');



INSERT INTO public.roomkit_media_pieces VALUES ('f1', 0, '\x6869');



INSERT INTO public.roomkit_media_uses VALUES ('e0', 'f1');



INSERT INTO public.roomkit_messages VALUES ('acme', 'm2', 1, NULL);



INSERT INTO public.roomkit_observations OVERRIDING SYSTEM VALUE VALUES (1, 1, 'o', 'ai', 'calm', NULL, 1, '2030-01-01 12:00:00+00', NULL, NULL);



INSERT INTO public.roomkit_participants OVERRIDING SYSTEM VALUE VALUES (1, 1, 'ann', 'sms', NULL, 'member', 'active', 'pending', 'i', NULL, NULL, NULL, NULL, NULL, '2030-01-01 12:00:00+00', NULL, NULL);



INSERT INTO public.roomkit_read_marks VALUES (1, 'sms', 1);






INSERT INTO public.roomkit_rooms OVERRIDING SYSTEM VALUE VALUES (1, 'museum', 'acme', 'paused', '2030-01-01 12:00:00+00', '2030-01-01 12:00:00+00', NULL, NULL, '{"tier":"gold","nested":{"a":[1,null]}}', NULL, NULL, NULL, NULL, NULL, NULL, '{"tier=\"gold\"",nested?}');



INSERT INTO public.roomkit_schema VALUES (1, '2026-11-22 18:44:25.460285+00');
INSERT INTO public.roomkit_schema VALUES (2, '2026-11-29 14:01:21.296937+00');
INSERT INTO public.roomkit_schema VALUES (3, '2026-11-29 14:25:57.98998+00');
INSERT INTO public.roomkit_schema VALUES (4, '2026-11-29 14:42:41.395124+00');
INSERT INTO public.roomkit_schema VALUES (5, '2026-11-29 17:05:00+00');
INSERT INTO public.roomkit_schema VALUES (6, '2026-11-30 00:20:00+00');
INSERT INTO public.roomkit_schema VALUES (7, '2026-11-30 01:05:00+00');
INSERT INTO public.roomkit_schema VALUES (8, '2026-11-30 04:48:52.681182+00');



INSERT INTO public.roomkit_senders VALUES ('sms', 'ann', 1, 1);



INSERT INTO public.roomkit_tasks OVERRIDING SYSTEM VALUE VALUES (1, 1, 't', 'call', NULL, NULL, 'pending', '2030-01-01 12:00:00+00', NULL, NULL);



INSERT INTO public.roomkit_values VALUES (1, 'acme', 'n', '["k","\u0000"]', 'ann', 'museum', '2030-01-01 12:00:00+00', '{"namespace":"n","key":["k","\u0000"],"data":{"a":1},"revision":0,"expires_at":"2030-01-01T12:00:00Z","subject":"ann","room_id":"museum","organization_id":"acme","derived":false}', false);






SELECT pg_catalog.setval('public.roomkit_alarms_seq_seq', 2, true);



SELECT pg_catalog.setval('public.roomkit_bindings_seq_seq', 3, true);



SELECT pg_catalog.setval('public.roomkit_deliveries_seq_seq', 2, true);



SELECT pg_catalog.setval('public.roomkit_homes_seq_seq', 2, true);



SELECT pg_catalog.setval('public.roomkit_observations_seq_seq', 1, true);



SELECT pg_catalog.setval('public.roomkit_participants_seq_seq', 1, true);



SELECT pg_catalog.setval('public.roomkit_receipts_seq_seq', 1, false);



SELECT pg_catalog.setval('public.roomkit_revisions', 1, true);



SELECT pg_catalog.setval('public.roomkit_rooms_seq_seq', 1, true);



SELECT pg_catalog.setval('public.roomkit_tasks_seq_seq', 1, true);



ALTER TABLE ONLY public.roomkit_addresses
    ADD CONSTRAINT roomkit_addresses_pkey PRIMARY KEY (organization_id, channel_type, address);



ALTER TABLE ONLY public.roomkit_alarms
    ADD CONSTRAINT roomkit_alarms_id_key UNIQUE (id);



ALTER TABLE ONLY public.roomkit_alarms
    ADD CONSTRAINT roomkit_alarms_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_bindings
    ADD CONSTRAINT roomkit_bindings_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_bindings
    ADD CONSTRAINT roomkit_bindings_room_channel_id_key UNIQUE (room, channel_id);



ALTER TABLE ONLY public.roomkit_deliveries
    ADD CONSTRAINT roomkit_deliveries_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_deliveries
    ADD CONSTRAINT roomkit_deliveries_room_idx_channel_id_key UNIQUE (room, idx, channel_id);



ALTER TABLE ONLY public.roomkit_events
    ADD CONSTRAINT roomkit_events_id_key UNIQUE (id);



ALTER TABLE ONLY public.roomkit_events
    ADD CONSTRAINT roomkit_events_pkey PRIMARY KEY (room, idx);



ALTER TABLE ONLY public.roomkit_heads
    ADD CONSTRAINT roomkit_heads_pkey PRIMARY KEY (room);



ALTER TABLE ONLY public.roomkit_homes
    ADD CONSTRAINT roomkit_homes_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_identities
    ADD CONSTRAINT roomkit_identities_pkey PRIMARY KEY (id);



ALTER TABLE ONLY public.roomkit_leases
    ADD CONSTRAINT roomkit_leases_pkey PRIMARY KEY (id);



ALTER TABLE ONLY public.roomkit_media_files
    ADD CONSTRAINT roomkit_media_files_pkey PRIMARY KEY (id);



ALTER TABLE ONLY public.roomkit_media_pieces
    ADD CONSTRAINT roomkit_media_pieces_pkey PRIMARY KEY (file, number);



ALTER TABLE ONLY public.roomkit_media
    ADD CONSTRAINT roomkit_media_pkey PRIMARY KEY (id);



ALTER TABLE ONLY public.roomkit_media_uses
    ADD CONSTRAINT roomkit_media_uses_pkey PRIMARY KEY (event, media);



ALTER TABLE ONLY public.roomkit_messages
    ADD CONSTRAINT roomkit_messages_pkey PRIMARY KEY (provider, message_id);



ALTER TABLE ONLY public.roomkit_observations
    ADD CONSTRAINT roomkit_observations_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_observations
    ADD CONSTRAINT roomkit_observations_room_id_key UNIQUE (room, id);



ALTER TABLE ONLY public.roomkit_participants
    ADD CONSTRAINT roomkit_participants_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_participants
    ADD CONSTRAINT roomkit_participants_room_id_key UNIQUE (room, id);



ALTER TABLE ONLY public.roomkit_read_marks
    ADD CONSTRAINT roomkit_read_marks_pkey PRIMARY KEY (room, channel_id);



ALTER TABLE ONLY public.roomkit_receipts
    ADD CONSTRAINT roomkit_receipts_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_rooms
    ADD CONSTRAINT roomkit_rooms_id_key UNIQUE (id);



ALTER TABLE ONLY public.roomkit_rooms
    ADD CONSTRAINT roomkit_rooms_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_schema
    ADD CONSTRAINT roomkit_schema_pkey PRIMARY KEY (version);



ALTER TABLE ONLY public.roomkit_senders
    ADD CONSTRAINT roomkit_senders_pkey PRIMARY KEY (participant, channel_id, sender_id);



ALTER TABLE ONLY public.roomkit_tasks
    ADD CONSTRAINT roomkit_tasks_id_key UNIQUE (id);



ALTER TABLE ONLY public.roomkit_tasks
    ADD CONSTRAINT roomkit_tasks_pkey PRIMARY KEY (seq);



ALTER TABLE ONLY public.roomkit_values
    ADD CONSTRAINT roomkit_values_pkey PRIMARY KEY (organization_id, namespace, key);



ALTER TABLE ONLY public.roomkit_values
    ADD CONSTRAINT roomkit_values_revision_key UNIQUE (revision);



ALTER TABLE ONLY public.roomkit_writers
    ADD CONSTRAINT roomkit_writers_pkey PRIMARY KEY (id);



CREATE INDEX roomkit_addresses_by_identity ON public.roomkit_addresses USING btree (identity);



CREATE INDEX roomkit_alarms_by_room ON public.roomkit_alarms USING btree (room, due_at);



CREATE INDEX roomkit_alarms_by_subject ON public.roomkit_alarms USING btree ((((replace((more)::text, '\u0000'::text, '\ufffd'::text))::json ->> 'subject'::text))) WHERE (((replace((more)::text, '\u0000'::text, '\ufffd'::text))::json ->> 'subject'::text) IS NOT NULL);



CREATE INDEX roomkit_alarms_by_time ON public.roomkit_alarms USING btree (due_at, seq);



CREATE INDEX roomkit_bindings_by_address ON public.roomkit_bindings USING btree ((((replace((more)::text, '\u0000'::text, '\ufffd'::text))::json ->> 'address'::text)), channel_id) WHERE (((replace((more)::text, '\u0000'::text, '\ufffd'::text))::json ->> 'address'::text) IS NOT NULL);



CREATE INDEX roomkit_bindings_by_channel ON public.roomkit_bindings USING btree (channel_id, room);



CREATE INDEX roomkit_bindings_by_participant ON public.roomkit_bindings USING btree (participant_id, channel_id, room) WHERE (participant_id IS NOT NULL);



CREATE INDEX roomkit_deliveries_by_holder ON public.roomkit_deliveries USING btree (holder, handed, seq) WHERE ((state = 'pending'::text) AND (claims >= 0));



CREATE INDEX roomkit_deliveries_by_lane ON public.roomkit_deliveries USING btree (room, channel_id, handed) WHERE ((state = 'pending'::text) AND (room >= 0));



CREATE INDEX roomkit_deliveries_by_message ON public.roomkit_deliveries USING btree (provider_message_id, provider) WHERE (provider_message_id IS NOT NULL);



CREATE INDEX roomkit_deliveries_failed ON public.roomkit_deliveries USING btree (seq) WHERE (state = 'failed'::text);



CREATE INDEX roomkit_events_by_any_key ON public.roomkit_events USING btree (idempotency_key) WHERE (idempotency_key IS NOT NULL);



CREATE INDEX roomkit_events_by_external_id ON public.roomkit_events USING btree (external_id, source_channel_id) WHERE (external_id IS NOT NULL);



CREATE UNIQUE INDEX roomkit_events_by_key ON public.roomkit_events USING btree (room, idempotency_key) WHERE (idempotency_key IS NOT NULL);



CREATE UNIQUE INDEX roomkit_events_by_wide_key ON public.roomkit_events USING btree (key_scope, idempotency_key) WHERE (key_scope IS NOT NULL);



CREATE UNIQUE INDEX roomkit_homes_by_room ON public.roomkit_homes USING btree (room, name) WHERE (room IS NOT NULL);



CREATE UNIQUE INDEX roomkit_homes_elected ON public.roomkit_homes USING btree (name) WHERE (room IS NULL);



CREATE INDEX roomkit_media_files_by_room ON public.roomkit_media_files USING btree (room_id);



CREATE INDEX roomkit_media_unused ON public.roomkit_media USING btree (unused_at, id) WHERE (unused_at IS NOT NULL);



CREATE INDEX roomkit_media_uses_by_media ON public.roomkit_media_uses USING btree (media);



CREATE INDEX roomkit_messages_by_delivery ON public.roomkit_messages USING btree (delivery);



CREATE INDEX roomkit_participants_by_id ON public.roomkit_participants USING btree (id, room);



CREATE INDEX roomkit_participants_by_identity ON public.roomkit_participants USING btree (identity_id, room) WHERE (identity_id IS NOT NULL);



CREATE INDEX roomkit_receipts_by_age ON public.roomkit_receipts USING btree (kept_at);



CREATE INDEX roomkit_receipts_by_message ON public.roomkit_receipts USING btree (provider, message_id);



CREATE INDEX roomkit_rooms_by_facet ON public.roomkit_rooms USING gin (facets);



CREATE INDEX roomkit_rooms_by_organization ON public.roomkit_rooms USING btree (organization_id, seq) WHERE (organization_id IS NOT NULL);



CREATE INDEX roomkit_senders_by_address ON public.roomkit_senders USING btree (channel_id, sender_id, room);



CREATE INDEX roomkit_tasks_by_room ON public.roomkit_tasks USING btree (room, seq);



CREATE INDEX roomkit_values_by_expiry ON public.roomkit_values USING btree (expires_at) WHERE (expires_at IS NOT NULL);



CREATE INDEX roomkit_values_by_room ON public.roomkit_values USING btree (room_id) WHERE (room_id IS NOT NULL);



CREATE INDEX roomkit_values_by_subject ON public.roomkit_values USING btree (subject) WHERE (subject IS NOT NULL);



CREATE TRIGGER roomkit_media_released AFTER DELETE ON public.roomkit_media_uses FOR EACH ROW EXECUTE FUNCTION public.roomkit_media_released();



CREATE TRIGGER roomkit_media_used AFTER INSERT ON public.roomkit_media_uses FOR EACH ROW EXECUTE FUNCTION public.roomkit_media_used();



ALTER TABLE ONLY public.roomkit_addresses
    ADD CONSTRAINT roomkit_addresses_identity_fkey FOREIGN KEY (identity) REFERENCES public.roomkit_identities(id) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_alarms
    ADD CONSTRAINT roomkit_alarms_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_bindings
    ADD CONSTRAINT roomkit_bindings_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_deliveries
    ADD CONSTRAINT roomkit_deliveries_room_idx_fkey FOREIGN KEY (room, idx) REFERENCES public.roomkit_events(room, idx) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_events
    ADD CONSTRAINT roomkit_events_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_heads
    ADD CONSTRAINT roomkit_heads_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_homes
    ADD CONSTRAINT roomkit_homes_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_media_uses
    ADD CONSTRAINT roomkit_media_uses_event_fkey FOREIGN KEY (event) REFERENCES public.roomkit_events(id) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_messages
    ADD CONSTRAINT roomkit_messages_delivery_fkey FOREIGN KEY (delivery) REFERENCES public.roomkit_deliveries(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_observations
    ADD CONSTRAINT roomkit_observations_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_participants
    ADD CONSTRAINT roomkit_participants_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_read_marks
    ADD CONSTRAINT roomkit_read_marks_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_senders
    ADD CONSTRAINT roomkit_senders_participant_fkey FOREIGN KEY (participant) REFERENCES public.roomkit_participants(seq) ON DELETE CASCADE;



ALTER TABLE ONLY public.roomkit_tasks
    ADD CONSTRAINT roomkit_tasks_room_fkey FOREIGN KEY (room) REFERENCES public.roomkit_rooms(seq) ON DELETE CASCADE;






SET search_path = public;

INSERT INTO roomkit_schema (version) VALUES (9);

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
