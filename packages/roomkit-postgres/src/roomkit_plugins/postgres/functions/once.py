"""Writes that are made exactly once, though connections break."""

from __future__ import annotations

from typing import Final

from roomkit_plugins.postgres.functions.parts import function

__all__ = ["ONCE"]

# A writer is one connection's worth of a store object; it numbers its writes. A write is done iff its
# number is here. `roomkit_settle` finds out, after a connection broke: it waits for a write that is still
# under way, and makes one that has not come to its end yet impossible.
_SEAL = function(
    "roomkit_seal(writer text, number bigint, result json)",
    "json",
    """
BEGIN
    UPDATE roomkit_writers SET serial = number, outcome = result, used_at = now()
    WHERE id = writer AND serial = number - 1;
    IF NOT FOUND THEN
        INSERT INTO roomkit_writers (id, serial, outcome, used_at) VALUES (writer, number, result, now());
    END IF;
    RETURN result;
END""",
)

_SETTLE = function(
    "roomkit_settle(writer text, number bigint)",
    "json",
    """
BEGIN
    INSERT INTO roomkit_writers AS w (id, serial, outcome, used_at) VALUES (writer, number, NULL, now())
    ON CONFLICT (id) DO UPDATE SET
        outcome = CASE WHEN w.serial = number THEN w.outcome END, serial = number, used_at = now()
    RETURNING outcome INTO result;
    RETURN result;
END""",
    "    result json;",
)

ONCE: Final = (
    _SEAL,
    _SETTLE,
)
