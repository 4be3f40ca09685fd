"""Rooms and their timers, beside the one write path."""

from __future__ import annotations

from typing import Final

from roomkit_plugins.postgres.functions.parts import SET_TIMERS, function
from roomkit_plugins.postgres.rows import IN_LANE, ROOMS

__all__ = ["ROOM_FUNCTIONS"]

_CREATE_ROOM = function(
    "roomkit_create_room(given json, alarms json)",
    "json",
    f"""
BEGIN
    INSERT INTO roomkit_rooms (facets, {ROOMS.names})
    SELECT ARRAY(SELECT json_array_elements_text(g.facets)), {ROOMS.values("g")}
    FROM json_to_record(given) AS g (facets json, {ROOMS.given})
    ON CONFLICT (id) DO NOTHING RETURNING seq INTO made;
    IF NOT FOUND THEN
        RETURN '{{"error": "exists"}}';
    END IF;
    INSERT INTO roomkit_heads (room, last_activity) VALUES (made, (given->>'last_activity')::timestamptz);
    {SET_TIMERS % ("made", "NULL", "alarms")}
    RETURN '{{}}';
END""",
    "    made bigint;",
)

_DELETE_ROOM = function(
    "roomkit_delete_room(room_id text)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO gone FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR UPDATE OF h;
    IF NOT FOUND THEN
        RETURN 'false';
    END IF;
    PERFORM FROM roomkit_deliveries d WHERE d.room = gone AND {IN_LANE} ORDER BY d.seq FOR UPDATE;
    DELETE FROM roomkit_values v WHERE v.room_id = roomkit_delete_room.room_id;
    DELETE FROM roomkit_rooms WHERE seq = gone;
    RETURN 'true';
END""",
    "    gone bigint;",
)

_PRUNE = function(
    "roomkit_prune(room_id text, before timestamptz, at_most bigint)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO head FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR NO KEY UPDATE OF h;
    IF NOT FOUND THEN
        RETURN '{{"error": "no_room"}}';
    END IF;
    SELECT least(
        (SELECT min(d.idx) FROM roomkit_deliveries d WHERE d.room = head.room AND {IN_LANE}),
        (SELECT coalesce(min(e.idx) FILTER (WHERE e.created_at >= before), max(e.idx) + 1, -1) FROM (
            SELECT idx, created_at FROM roomkit_events WHERE room = head.room ORDER BY idx LIMIT at_most
        ) AS e)
    ) INTO bound;
    DELETE FROM roomkit_events e WHERE e.room = head.room AND e.idx < bound;
    GET DIAGNOSTICS count = ROW_COUNT;
    IF count = 0 THEN
        RETURN '{{"count": 0}}';
    END IF;
    UPDATE roomkit_heads h SET edition = h.edition + 1, version = h.version + 1,
        event_count = h.event_count - count
    WHERE h.room = head.room
    RETURNING json_build_array(h.room, h.edition, h.version, h.next_index, h.event_count, h.last_activity)
    INTO counters;
    RETURN json_build_object('count', count, 'counters', counters);
END""",
    "    head record;\n    bound bigint;\n    count bigint;\n    counters json;",
)

_SET_TIMER = function(
    "roomkit_set_alarm(room_id text, given json)",
    "json",
    f"""
BEGIN
    SELECT h.room INTO of_room FROM roomkit_rooms r JOIN roomkit_heads h ON h.room = r.seq
    WHERE r.id = room_id FOR KEY SHARE OF h;
    IF NOT FOUND THEN
        RETURN '{{"error": "no_room"}}';
    END IF;
    {SET_TIMERS % ("of_room", "NULL", "given")}
    RETURN '{{}}';
END""",
    "    of_room bigint;",
)

ROOM_FUNCTIONS: Final = (
    _CREATE_ROOM,
    _DELETE_ROOM,
    _PRUNE,
    _SET_TIMER,
)
