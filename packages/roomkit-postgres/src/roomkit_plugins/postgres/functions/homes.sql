-- Homes: which worker has a live thing. Those in rooms change under the lock of the room's head, as commits do;
-- elected ones, of no room, under the lock of their row or of the index.

CREATE OR REPLACE FUNCTION roomkit_home_of(of_room bigint, of_name text)
RETURNS json STABLE LANGUAGE plpgsql AS $$
BEGIN
    RETURN (
        SELECT json_build_object('worker', h.worker, 'token', h.token, 'url', h.url, 'lost_at', h.lost_at,
            'alive', h.worker IS NOT NULL AND roomkit_seems_alive(h.worker))
        FROM roomkit_homes h WHERE h.name = of_name AND h.room IS NOT DISTINCT FROM of_room
    );
END
$$;

CREATE OR REPLACE FUNCTION roomkit_take_home(
    room_id text, of_name text, new_worker text, new_url text, known bigint
)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_leave_home(room_id text, of_name text, of_worker text)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_yield_lane(
    room_id text, of_channel text, of_worker text, at timestamptz, grace float8
)
RETURNS json LANGUAGE plpgsql AS $$
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
