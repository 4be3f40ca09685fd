-- Leases, lanes and timers: which worker carries out what.

CREATE OR REPLACE FUNCTION roomkit_begin_lease(worker text, seconds float8, announced text[])
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM roomkit_leases WHERE ends_at < clock_timestamp() - interval '1 hour';
    INSERT INTO roomkit_leases (id, renewed_at, ends_at, channels)
    VALUES (worker, clock_timestamp(), clock_timestamp() + make_interval(secs => seconds), announced);
    RETURN 'true';
END
$$;

CREATE OR REPLACE FUNCTION roomkit_extend_lease(worker text, seconds float8, announced text[])
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_open_lease(worker text, seconds float8)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN roomkit_begin_lease(worker, seconds, NULL);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_renew_lease(worker text, seconds float8)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN roomkit_extend_lease(worker, seconds, NULL);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_close_lease(worker text)
RETURNS json LANGUAGE plpgsql AS $$
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

-- For queries, which only read: without the lock, so the answer may be out of date.
CREATE OR REPLACE FUNCTION roomkit_seems_alive(worker text)
RETURNS boolean STABLE LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM roomkit_leases l
    WHERE l.id = worker AND l.renewed_at <= clock_timestamp() + interval '1 second'
        AND clock_timestamp() < l.ends_at;
    RETURN FOUND;
END
$$;

-- A lease that seems to have run out may have been renewed by a transaction that is not visible yet. A renewal
-- locks the lease and reads the clock while it holds the lock; so after a wait for that lock the answer is
-- right, and nothing can change it while the lock is held.
CREATE OR REPLACE FUNCTION roomkit_is_alive(worker text)
RETURNS boolean LANGUAGE plpgsql AS $$
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

-- The living worker to which a free lane goes: with the channel's home, or for an agent's lane any of the room
-- that announces the agent. Nearly always there is no row.
CREATE OR REPLACE FUNCTION roomkit_home_holder(of_room bigint, of_channel text, is_agent boolean)
RETURNS text LANGUAGE plpgsql AS $$
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

-- All pending rows of a lane have one holder, if that holder is alive, so any of them shows it. `worker` is a
-- committing worker that is alive, or NULL.
CREATE OR REPLACE FUNCTION roomkit_place(
    of_room bigint, of_channel text, worker text, is_agent boolean, OUT new_holder text, OUT new_handed boolean,
    OUT is_direct boolean
)
RETURNS record LANGUAGE plpgsql AS $$
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

-- Of a channel that the committing worker lacks: a free lane is handed over to a worker that announces it.
CREATE OR REPLACE FUNCTION roomkit_place_absent(
    of_room bigint, of_channel text, worker text, is_agent boolean, OUT new_holder text, OUT new_handed boolean
)
RETURNS record LANGUAGE plpgsql AS $$
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

-- `registered` are channel ids; NULL is every channel.
CREATE OR REPLACE FUNCTION roomkit_take(room_id text, worker text, registered text[])
RETURNS json LANGUAGE plpgsql AS $$
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

-- Called by workers of an earlier version, as are roomkit_open_lease and roomkit_renew_lease.
CREATE OR REPLACE FUNCTION roomkit_claim(room_id text, worker text)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN roomkit_take(room_id, worker, NULL);
END
$$;

-- Timers of some kinds, NULL for all.
CREATE OR REPLACE FUNCTION roomkit_claim_timers(
    worker text, until timestamptz, wanted text[], at_most bigint
)
RETURNS json LANGUAGE plpgsql AS $$
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

-- Called by workers of an earlier version: they would drop timers of other kinds.
CREATE OR REPLACE FUNCTION roomkit_claim_alarms(worker text, until timestamptz, at_most bigint)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    RETURN roomkit_claim_timers(worker, until, '{room_timers,retention,after_broadcast}', at_most);
END
$$;
