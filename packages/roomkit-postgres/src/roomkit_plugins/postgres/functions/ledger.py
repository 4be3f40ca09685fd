"""How deliveries end, and what vendors say of them later."""

from __future__ import annotations

from typing import Final

from roomkit_plugins.postgres.functions.parts import LOCK_MESSAGES, MESSAGE_LOCKS, ROW_OF_EVENT, function
from roomkit_plugins.postgres.rows import DELIVERIES

__all__ = ["LEDGER"]

_STEPS = "ARRAY['unknown', 'queued', 'sending', 'sent', 'partial', 'delivered', 'read']"
_OUTCOMES = "ARRAY['failed', 'undelivered', 'expired', 'canceled']"

# `ReceiptState.follows`, which says why. A word of a newer version stands where 'unknown' does.
_FOLLOWS = f"""
CREATE OR REPLACE FUNCTION roomkit_follows(later text, before text) RETURNS boolean
IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE
        WHEN later IS NULL THEN false
        WHEN before IS NULL THEN true
        WHEN later = ANY({_OUTCOMES}) THEN before <> ALL({_OUTCOMES}) AND before <> 'read'
        WHEN before = ANY({_OUTCOMES})
            THEN later IN ('delivered', 'read') AND before IN ('undelivered', 'expired')
        ELSE coalesce(array_position({_STEPS}, later), 1) > coalesce(array_position({_STEPS}, before), 1)
    END
$$"""

# `ReceiptState.of_parts`; a part without a receipt is NULL.
_OF_PARTS = f"""
CREATE OR REPLACE FUNCTION roomkit_of_parts(states text[]) RETURNS text IMMUTABLE LANGUAGE sql AS $$
    SELECT CASE
        WHEN count(*) FILTER (WHERE s = ANY({_OUTCOMES})) = count(*)
            THEN ({_OUTCOMES})[min(array_position({_OUTCOMES}, s))]
        WHEN count(*) FILTER (WHERE s = ANY({_OUTCOMES})) > 0 THEN 'partial'
        WHEN count(s) < count(*) THEN NULL
        ELSE ({_STEPS})[min(coalesce(array_position({_STEPS}, s), 1))]
    END
    FROM unnest(states) AS s
$$"""

# Moves the receipt of a row forward, or that of one part of its message.
_MOVE = function(
    "roomkit_move_receipt(row_of bigint, of_provider text, of_message text, what text)",
    "void",
    """
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
END""",
    "    ids record;",
)

# `given` has for each row its columns, `n` (its place), `event` (its id) and `others` (ids of its message but
# the first); `keys` stand for the ids of all messages, in order. The state is compared in a way no index
# offers: the index of what is pending is not the way to one row.
_MINE = "d.state || '' = 'pending' AND (worker IS NULL OR d.holder = worker)"

_COMPLETED = ", ".join(
    f"{column.name} = {'g.' + column.name}{'::json' if column.type == 'json' else ''}"
    for column in DELIVERIES.columns
    if column.name not in ("channel_id", "holder", "claims", "receipt")
)

_COMPLETE = function(
    "roomkit_complete(given json, keys json, worker text)",
    "json",
    f"""
BEGIN
    {LOCK_MESSAGES % "keys"}
    SELECT array_agg(g.n), array_agg(d.seq), bool_or(d.provider_message_id IS NOT NULL)
    INTO numbers, rows, was_sent
    FROM json_to_recordset(given) AS g (n bigint, event text, channel_id text), {ROW_OF_EVENT};
    IF was_sent OR cardinality(rows) > 1 THEN
        PERFORM FROM roomkit_deliveries d WHERE d.seq = ANY(rows) ORDER BY d.seq FOR UPDATE;
    END IF;
    IF was_sent THEN
        INSERT INTO roomkit_messages (provider, message_id, delivery)
        SELECT d.provider, d.provider_message_id, d.seq FROM roomkit_deliveries d
        WHERE d.seq = ANY(rows) AND {_MINE} AND d.provider IS NOT NULL AND d.provider_message_id IS NOT NULL
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery,
            receipt = CASE WHEN roomkit_messages.delivery = excluded.delivery
                THEN roomkit_messages.receipt END;
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
        ON CONFLICT (provider, message_id) DO UPDATE SET delivery = excluded.delivery,
            receipt = CASE WHEN roomkit_messages.delivery = excluded.delivery
                THEN roomkit_messages.receipt END;
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
_MATCH = function(
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
            RETURNING r.seq, r.provider, r.message_id, r.receipt, r.status, ids.n, ids.event, ids.channel_id
        )
        SELECT g.provider, g.message_id, g.receipt, g.status, g.n, d.seq AS delivery
        FROM taken g, {ROW_OF_EVENT} ORDER BY g.seq
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
END""",
    "    early record;\n    after record;\n    matched json[] := '{}';",
)

_KNOWN_MESSAGE = """
    SELECT coalesce(
        (SELECT max(d.seq) FROM roomkit_deliveries d
            WHERE d.provider = of_provider AND d.provider_message_id = of_message),
        (SELECT m.delivery FROM roomkit_messages m
            WHERE m.provider = of_provider AND m.message_id = of_message)
    ) INTO known;"""

_RECEIPT = function(
    "roomkit_receipt(of_provider text, of_message text, key int, what text, said text)",
    "json",
    f"""
BEGIN
    {_KNOWN_MESSAGE}
    IF known IS NULL THEN
        PERFORM pg_advisory_xact_lock({MESSAGE_LOCKS}, key);
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
    PERFORM roomkit_move_receipt(known, of_provider, of_message, what);
    RETURN to_json(known);
END""",
    "    known bigint;",
)

# Both take a row that has failed: one back into its lane, the other out of the world.
_REOPEN = function(
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
    UPDATE roomkit_deliveries SET state = 'pending', claims = 0, error = NULL, finished_at = NULL,
        duration_ms = NULL, holder = lane.new_holder, handed = lane.new_handed
    WHERE seq = target.seq;
    RETURN json_build_object('delivery', target.seq);
END""",
    "    place record;\n    target record;\n    lane record;",
)

_DROP = function(
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

LEDGER: Final = (
    _FOLLOWS,
    _OF_PARTS,
    _MOVE,
    _COMPLETE,
    _MATCH,
    _RECEIPT,
    _REOPEN,
    _DROP,
)
