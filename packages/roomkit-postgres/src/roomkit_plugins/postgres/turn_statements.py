"""The statements of the turn queue: each is one atomic step, harmless when it is made twice.

Times are the server's. `frames` is how many frames a turn has had, `taken` how many its reader has; a frame
is there from the one to the other. `server` and `reader` are the channels of the two processes. Only the
reader and the server of a turn wait for its row: claims skip rows that are locked.
"""

from __future__ import annotations

__all__ = [
    "APPEND",
    "CLAIM",
    "CREATE",
    "DROP",
    "KEEP",
    "MISSING",
    "PUT",
    "QUARANTINE",
    "QUARANTINED",
    "READ",
    "RELEASE",
    "RENEW",
]

_NOW = "clock_timestamp()"

MISSING = """
SELECT to_regclass('roomkit_turn_queue') IS NULL OR to_regclass('roomkit_turn_frames') IS NULL
OR to_regclass('roomkit_turn_quarantine') IS NULL
"""

# In one transaction, as a text of several statements is; the lock keeps two processes from making the tables.
CREATE = """
SELECT pg_advisory_xact_lock(7022674182431);
CREATE UNLOGGED TABLE IF NOT EXISTS roomkit_turn_queue (
    id text COLLATE "C" PRIMARY KEY,
    agent text COLLATE "C" NOT NULL,
    body text NOT NULL,
    reader text NOT NULL,
    server text,
    token bigint NOT NULL DEFAULT 0,
    attempts int NOT NULL DEFAULT 0,
    frames int NOT NULL DEFAULT 0,
    taken int NOT NULL DEFAULT 0,
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    wanted_until timestamptz NOT NULL,
    queued_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ends_at timestamptz NOT NULL
) WITH (fillfactor = 50);
CREATE INDEX IF NOT EXISTS roomkit_turn_queue_by_agent ON roomkit_turn_queue (agent, queued_at)
    WHERE frames = 0;
CREATE INDEX IF NOT EXISTS roomkit_turn_queue_by_end ON roomkit_turn_queue (ends_at);
CREATE UNLOGGED TABLE IF NOT EXISTS roomkit_turn_frames (
    turn text COLLATE "C" NOT NULL REFERENCES roomkit_turn_queue (id) ON DELETE CASCADE,
    number int NOT NULL,
    body text NOT NULL,
    PRIMARY KEY (turn, number)
);
CREATE TABLE IF NOT EXISTS roomkit_turn_quarantine (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    id text COLLATE "C" NOT NULL UNIQUE,
    agent text NOT NULL,
    attempts int NOT NULL,
    reason text NOT NULL,
    at timestamptz NOT NULL DEFAULT clock_timestamp()
);
"""

# Their readers are gone: the conversation in them is not to stay.
_OLD = f"""old AS (
    DELETE FROM roomkit_turn_queue WHERE id IN (
        SELECT id FROM roomkit_turn_queue WHERE ends_at <= {_NOW} LIMIT 100 FOR UPDATE SKIP LOCKED
    )
)"""

PUT = f"""
WITH {_OLD}, waiting AS (
    SELECT FROM roomkit_turn_queue
    WHERE agent = $2 AND frames = 0 AND token = 0 AND wanted_until > {_NOW} LIMIT $7
), put AS (
    INSERT INTO roomkit_turn_queue (id, agent, body, reader, wanted_until, ends_at)
    SELECT $1, $2, $3, $4, {_NOW} + make_interval(secs => $5), {_NOW} + make_interval(secs => $6)
    WHERE (SELECT count(*) FROM waiting) < $7
    ON CONFLICT (id) DO NOTHING RETURNING id
)
SELECT EXISTS (SELECT FROM put) OR EXISTS (SELECT FROM roomkit_turn_queue WHERE id = $1) AS accepted,
    pg_notify($8, $9)
"""

READ = f"""
WITH turn AS (
    UPDATE roomkit_turn_queue
    SET taken = greatest(taken, $2), wanted_until = {_NOW} + make_interval(secs => $4)
    WHERE id = $1 RETURNING frames, attempts, server, lease_until > {_NOW} AS is_held
), old AS (
    DELETE FROM roomkit_turn_frames WHERE turn = $1 AND number <= $2
), following AS (
    SELECT number, body FROM roomkit_turn_frames WHERE turn = $1 AND number > $2 ORDER BY number LIMIT $3
)
SELECT frames, attempts, is_held, (SELECT array_agg(number ORDER BY number) FROM following) AS numbers,
    (SELECT array_agg(body ORDER BY number) FROM following) AS bodies,
    CASE WHEN $5 AND server IS NOT NULL THEN pg_notify(server, $1) END
FROM turn
"""

KEEP = f"""
UPDATE roomkit_turn_queue SET wanted_until = {_NOW} + make_interval(secs => $2) WHERE id = ANY($1::text[])
"""

DROP = """
WITH gone AS (DELETE FROM roomkit_turn_queue WHERE id = $1 RETURNING id, server)
SELECT pg_notify(server, id) FROM gone WHERE server IS NOT NULL
"""

CLAIM = f"""
WITH {_OLD}, free AS MATERIALIZED (
    SELECT id FROM roomkit_turn_queue
    WHERE agent = ANY($1::text[]) AND frames = 0 AND attempts < $3
    AND lease_until <= {_NOW} AND wanted_until > {_NOW} AND ends_at > {_NOW}
    ORDER BY queued_at LIMIT $2 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE roomkit_turn_queue t SET token = token + 1, attempts = attempts + 1, server = $5,
        lease_until = {_NOW} + make_interval(secs => $4)
    FROM free WHERE t.id = free.id RETURNING t.id, t.token, t.body, t.queued_at
)
SELECT id, token, body FROM claimed ORDER BY queued_at
"""

_IS_HELD = f"id = $1 AND token = $2 AND lease_until > {_NOW} AND wanted_until > {_NOW} AND ends_at > {_NOW}"
_IS_WANTED = (
    f"EXISTS (SELECT FROM roomkit_turn_queue WHERE id = $1 AND wanted_until > {_NOW} AND ends_at > {_NOW}) "
    "AS is_wanted"
)

RENEW = f"""
WITH held AS (
    UPDATE roomkit_turn_queue SET lease_until = {_NOW} + make_interval(secs => $3)
    WHERE {_IS_HELD} RETURNING taken
)
SELECT (SELECT taken FROM held) AS taken, {_IS_WANTED}
"""

APPEND = f"""
WITH held AS (
    UPDATE roomkit_turn_queue SET frames = $4, lease_until = {_NOW} + make_interval(secs => $3)
    WHERE {_IS_HELD} AND frames IN ($4 - 1, $4) RETURNING id, taken, reader
), put AS (
    INSERT INTO roomkit_turn_frames (turn, number, body) SELECT id, $4, $5 FROM held WHERE taken < $4
    ON CONFLICT DO NOTHING
)
SELECT (SELECT taken FROM held) AS taken, {_IS_WANTED}, (SELECT pg_notify(reader, id) FROM held)
"""

RELEASE = f"""
WITH given AS (
    UPDATE roomkit_turn_queue SET lease_until = '-infinity', attempts = attempts - 1
    WHERE {_IS_HELD} AND frames = 0 RETURNING id
)
SELECT count(*) FROM given
"""

QUARANTINE = """
WITH put AS (
    INSERT INTO roomkit_turn_quarantine (namespace, id, agent, attempts, reason)
    VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING
)
DELETE FROM roomkit_turn_quarantine WHERE namespace = $1 AND seq <= (
    SELECT seq FROM roomkit_turn_quarantine WHERE namespace = $1 ORDER BY seq DESC OFFSET 99 LIMIT 1
)
"""

QUARANTINED = """
SELECT id, agent, attempts, reason, at FROM roomkit_turn_quarantine WHERE namespace = $1
ORDER BY seq DESC LIMIT 100
"""
