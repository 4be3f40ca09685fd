"""Values by organization, namespace and key."""

from __future__ import annotations

from typing import Final

from roomkit_plugins.postgres.functions.parts import function

__all__ = ["GIVEN_VALUE", "PUT_VALUES", "VALUES"]

_COLUMNS = "organization_id, namespace, key, subject, room_id, expires_at, data"
_GIVEN = ", ".join(f"g.{name}" for name in _COLUMNS.split(", "))
GIVEN_VALUE = (
    "organization_id text, namespace text, key text, subject text, room_id text, expires_at timestamptz, "
    "data text"
)
_REPLACED = ", ".join(
    ["revision = nextval('roomkit_revisions')"]
    + [f"{name} = excluded.{name}" for name in _COLUMNS.split(", ")[3:]]
)

PUT_VALUES = f"""
        INSERT INTO roomkit_values ({_COLUMNS})
        SELECT {_GIVEN} FROM json_to_recordset(%s) AS g ({GIVEN_VALUE}) ORDER BY g.key
        ON CONFLICT (organization_id, namespace, key) DO UPDATE SET {_REPLACED};"""

_PLACE = "v.organization_id = %s AND v.namespace = %s AND v.key = %s"

_PUT = function(
    "roomkit_put_value(given json, made_from bigint)",
    "json",
    f"""
BEGIN
    SELECT * INTO g FROM json_to_record(given) AS g ({GIVEN_VALUE});
    IF made_from IS NULL THEN
        INSERT INTO roomkit_values ({_COLUMNS}) VALUES ({_GIVEN})
        ON CONFLICT (organization_id, namespace, key) DO UPDATE SET {_REPLACED}
        RETURNING revision INTO made;
    ELSIF made_from = 0 THEN
        INSERT INTO roomkit_values ({_COLUMNS}) VALUES ({_GIVEN})
        ON CONFLICT (organization_id, namespace, key) DO NOTHING RETURNING revision INTO made;
    ELSE
        UPDATE roomkit_values v SET revision = nextval('roomkit_revisions'), subject = g.subject,
            room_id = g.room_id, expires_at = g.expires_at, data = g.data
        WHERE {_PLACE % ("g.organization_id", "g.namespace", "g.key")} AND v.revision = made_from
        RETURNING v.revision INTO made;
    END IF;
    RETURN json_build_object('revision', made);
END""",
    "    g record;\n    made bigint;",
)

_DELETE = function(
    "roomkit_delete_value(of_organization text, of_namespace text, of_key text, made_from bigint)",
    "json",
    f"""
BEGIN
    SELECT v.revision INTO former FROM roomkit_values v
    WHERE {_PLACE % ("of_organization", "of_namespace", "of_key")} FOR UPDATE;
    IF NOT FOUND THEN
        RETURN '{{"deleted": false}}';
    ELSIF made_from <> former THEN
        RETURN '{{"stale": true}}';
    END IF;
    DELETE FROM roomkit_values v WHERE {_PLACE % ("of_organization", "of_namespace", "of_key")};
    RETURN '{{"deleted": true}}';
END""",
    "    former bigint;",
)

_DELETE_OF = function(
    "roomkit_delete_values_of(of_subject text, of_organization text)",
    "json",
    """
BEGIN
    DELETE FROM roomkit_values v WHERE v.subject = of_subject
    AND (of_organization IS NULL OR v.organization_id = of_organization);
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END""",
    "    count bigint;",
)

_PURGE = function(
    "roomkit_purge_values(until timestamptz, at_most bigint)",
    "json",
    """
BEGIN
    DELETE FROM roomkit_values WHERE revision = ANY(ARRAY(
        SELECT v.revision FROM roomkit_values v WHERE v.expires_at <= until
        ORDER BY v.expires_at LIMIT at_most FOR UPDATE SKIP LOCKED
    ));
    GET DIAGNOSTICS count = ROW_COUNT;
    RETURN to_json(count);
END""",
    "    count bigint;",
)

VALUES: Final = (_PUT, _DELETE, _DELETE_OF, _PURGE)
