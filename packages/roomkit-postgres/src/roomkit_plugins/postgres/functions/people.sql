-- Identities, read marks and tasks, beside the one write path.

-- `made_from` is the revision that the caller read: 0 for none, NULL for whichever there is.
CREATE OR REPLACE FUNCTION roomkit_put_identity(given json, addresses json, made_from bigint)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_delete_identity(identity_id text)
RETURNS json LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM roomkit_identities WHERE id = identity_id;
    RETURN to_json(FOUND);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_mark_read(room_id text, of_channel text, event_id text)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_update_task(room_id text, given json)
RETURNS json LANGUAGE plpgsql AS $$
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
