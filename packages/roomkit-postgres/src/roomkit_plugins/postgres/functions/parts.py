"""What several functions are made of."""

from __future__ import annotations

from typing import Any

from roomkit_plugins.postgres.rows import TIMERS, Table

__all__ = ["ALIVE", "LOCK_MESSAGES", "MESSAGE_LOCKS", "ROW_OF_EVENT", "SET_TIMERS", "assignments", "function"]

MESSAGE_LOCKS = 0x526F6F6D  # the class of our locks on vendors' message ids, apart from all room locks


def function(signature: str, result: str, body: str, declare: str = "", *, kind: str = "VOLATILE") -> str:
    """Return the statement that makes a function, or replaces it."""
    declaration = f"DECLARE\n{declare}" if declare else ""
    head = f"CREATE OR REPLACE FUNCTION {signature} RETURNS {result} {kind} LANGUAGE plpgsql"
    return f"{head} AS $$\n{declaration}\n{body}\n$$"


def assignments(table: Table[Any], leave: str = "") -> str:
    """Return what an upsert sets: all columns but some."""
    names = [column.name for column in table.columns if column.name not in leave.split()]
    return ", ".join(f"{name} = excluded.{name}" for name in names)


ALIVE = "l.renewed_at <= clock_timestamp() + interval '1 second' AND clock_timestamp() < l.ends_at"

LOCK_MESSAGES = f"""
    PERFORM pg_advisory_xact_lock({MESSAGE_LOCKS}, key::int) FROM json_array_elements_text(%s) AS key;"""

# The row of the ledger for g's event and channel. OFFSET 0 keeps the planner from another way than this one.
ROW_OF_EVENT = """LATERAL (
        SELECT e.room, e.idx FROM roomkit_events e WHERE e.id = g.event OFFSET 0
    ) AS e, LATERAL (
        SELECT d.seq, d.state, d.provider_message_id FROM roomkit_deliveries d
        WHERE d.room = e.room AND d.idx = e.idx AND d.channel_id = g.channel_id OFFSET 0
    ) AS d"""

SET_TIMERS = f"""
        INSERT INTO roomkit_alarms (room, holder, {TIMERS.names})
        SELECT %s, %s, {TIMERS.values("g")} FROM json_to_recordset(%s) AS g ({TIMERS.given})
        ORDER BY g.id
        ON CONFLICT (id) DO UPDATE SET room = excluded.room, holder = excluded.holder,
            {assignments(TIMERS, "id")};"""
