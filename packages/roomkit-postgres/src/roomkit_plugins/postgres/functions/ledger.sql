-- Outcomes of deliveries, and vendors' receipts for them.
--
-- Advisory locks of class 1383034733 ('Room' as ASCII) stand for the ids of vendors' messages; no lock of a
-- room has that class.

-- How far a message is by a receipt; see `ReceiptState.follows`. A word of a newer version counts as 'unknown'.
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

-- `ReceiptState.of_parts`; a part without a receipt is NULL.
CREATE OR REPLACE FUNCTION roomkit_of_parts(states text[])
RETURNS text IMMUTABLE LANGUAGE sql AS $$
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

-- Whether a message has other ids than its first.
CREATE OR REPLACE FUNCTION roomkit_has_parts(first text, parts json)
RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN json_typeof(parts) = 'array'
        AND EXISTS (SELECT FROM json_array_elements_text(parts) AS part WHERE part <> first);
END
$$;

-- Moves the receipt of a row forward, or that of one part of its message.
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

-- Set the receipt of a row to that of its parts, if any of them has one.
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

-- `given` has for each row its columns, `n` (its position), `event` (its id) and `others` (the ids of its
-- message but the first); `keys` are the locks of all messages' ids, in order. The state is compared as
-- `state || ''`, which no index offers: the planner must not find one row through the index of pending rows.
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

-- The receipts that arrived before the messages they are for, in order of arrival.
CREATE OR REPLACE FUNCTION roomkit_match(given json, written json)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_receipt(of_provider text, of_message text, key int, what text, said text)
RETURNS json LANGUAGE plpgsql AS $$
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

-- A failed row: back into its lane (reopen), or settled without another attempt (drop).
CREATE OR REPLACE FUNCTION roomkit_reopen(event_id text, of_channel text)
RETURNS json LANGUAGE plpgsql AS $$
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

-- The event of a row into another channel's lane, with what its new row has beyond columns.
CREATE OR REPLACE FUNCTION roomkit_fall_back(event_id text, of_channel text, to_channel text, of_more text)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_drop(event_id text, of_channel text, why text)
RETURNS json LANGUAGE plpgsql AS $$
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
