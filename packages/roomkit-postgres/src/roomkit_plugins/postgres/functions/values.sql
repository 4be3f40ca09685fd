-- Values by organization, namespace and key.

CREATE OR REPLACE FUNCTION roomkit_put_value(given json, made_from bigint)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_delete_value(
    of_organization text, of_namespace text, of_key text, made_from bigint
)
RETURNS json LANGUAGE plpgsql AS $$
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

CREATE OR REPLACE FUNCTION roomkit_delete_values_of(of_subject text, of_organization text)
RETURNS json LANGUAGE plpgsql AS $$
DECLARE
    count bigint;
BEGIN
    DELETE FROM roomkit_values v WHERE v.subject = of_subject
    AND (of_organization IS NULL OR v.organization_id = of_organization);
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END
$$;

CREATE OR REPLACE FUNCTION roomkit_purge_values(until timestamptz, at_most bigint)
RETURNS json LANGUAGE plpgsql AS $$
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
