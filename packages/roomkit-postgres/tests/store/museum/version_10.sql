-- After version_9.sql: what the step changed.

INSERT INTO roomkit_schema (version) VALUES (10);

CREATE OR REPLACE FUNCTION roomkit_reached(receipt text)
RETURNS int IMMUTABLE LANGUAGE sql AS $$
    SELECT coalesce(array_position(ARRAY[
        'unknown', 'queued', 'sending', 'sent', 'partial', 'expired', 'undelivered', 'delivered', 'canceled',
        'failed', 'read'
    ], receipt), 1)
$$;

CREATE OR REPLACE FUNCTION roomkit_follows(later text, before text)
RETURNS boolean IMMUTABLE LANGUAGE sql AS $$
    SELECT later IS NOT NULL AND (before IS NULL OR roomkit_reached(later) > roomkit_reached(before))
$$;

CREATE OR REPLACE FUNCTION roomkit_has_parts(first text, parts json)
RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN json_typeof(parts) = 'array'
        AND EXISTS (SELECT FROM json_array_elements_text(parts) AS part WHERE part <> first);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_move_receipt(row_of bigint, of_provider text, of_message text, what text)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    ids record;
BEGIN
    SELECT d.provider_message_id AS first, d.parts INTO ids FROM roomkit_deliveries d
    WHERE d.seq = row_of FOR UPDATE;
    IF NOT roomkit_has_parts(ids.first, ids.parts) THEN
        UPDATE roomkit_deliveries d SET receipt = what
        WHERE d.seq = row_of AND roomkit_follows(what, d.receipt);
        RETURN;
    END IF;
    INSERT INTO roomkit_messages AS m (provider, message_id, delivery, receipt)
    VALUES (of_provider, of_message, row_of, what)
    ON CONFLICT (provider, message_id) DO UPDATE SET receipt = excluded.receipt
    WHERE roomkit_follows(excluded.receipt, m.receipt);
    PERFORM roomkit_join_parts(row_of);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_join_parts(row_of bigint)
RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    states text[];
BEGIN
    SELECT array_agg(m.receipt) INTO states
    FROM roomkit_deliveries d CROSS JOIN LATERAL (
        SELECT d.provider_message_id UNION SELECT json_array_elements_text(
            CASE WHEN json_typeof(d.parts) = 'array' THEN d.parts END
        )
    ) AS part (id)
    LEFT JOIN roomkit_messages m ON m.provider = d.provider AND m.message_id = part.id
        AND m.delivery = row_of
    WHERE d.seq = row_of;
    IF EXISTS (SELECT FROM unnest(states) AS s WHERE s IS NOT NULL) THEN
        UPDATE roomkit_deliveries d SET receipt = roomkit_of_parts(states) WHERE d.seq = row_of;
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION roomkit_complete(given json, keys json, worker text)
RETURNS json LANGUAGE plpgsql AS $$
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
        INSERT INTO roomkit_messages AS m (provider, message_id, delivery, receipt)
        SELECT d.provider, d.provider_message_id, d.seq,
            CASE WHEN NOT roomkit_has_parts(d.provider_message_id, d.parts) THEN d.receipt END
        FROM roomkit_deliveries d
        WHERE d.seq = ANY(rows) AND d.state || '' = 'pending' AND (worker IS NULL OR d.holder = worker)
            AND d.provider IS NOT NULL AND d.provider_message_id IS NOT NULL
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery,
            receipt = CASE WHEN m.delivery = excluded.delivery AND excluded.receipt IS NULL
                THEN m.receipt ELSE excluded.receipt END;
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
        IF was_sent THEN
            PERFORM roomkit_join_parts(o.seq) FROM json_to_recordset(in_parts) AS o (seq bigint);
        END IF;
    END IF;
    IF keys IS NOT NULL AND EXISTS (SELECT FROM roomkit_receipts) THEN
        receipts := roomkit_match(given, written);
    END IF;
    RETURN json_build_object('written', written, 'receipts', receipts);
END
$$;
