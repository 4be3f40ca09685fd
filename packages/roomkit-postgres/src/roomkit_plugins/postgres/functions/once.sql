-- Writes that are made exactly once, though connections break.
--
-- A writer is the connections of one store object; it numbers its writes. A write is done if and only if its
-- number is in roomkit_writers. After a connection broke, roomkit_settle finds out: it waits for a write that
-- is still running, and makes one that has not ended yet impossible.

CREATE OR REPLACE FUNCTION roomkit_seal(writer text, number bigint, result json)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    UPDATE roomkit_writers SET serial = number, outcome = result, used_at = now()
    WHERE id = writer AND serial = number - 1;
    IF NOT FOUND THEN
        INSERT INTO roomkit_writers (id, serial, outcome, used_at) VALUES (writer, number, result, now());
    END IF;
    RETURN result;
END
$$;

CREATE OR REPLACE FUNCTION roomkit_settle(writer text, number bigint)
RETURNS json LANGUAGE plpgsql AS $$
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
