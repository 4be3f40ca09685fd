"""The SQL of the room locks."""

from __future__ import annotations

from enum import IntEnum, unique
from typing import Final

from roomkit_plugins.postgres.session import OURS

__all__ = [
    "END_WHEN_SILENT",
    "FIND_FENCE",
    "MAKE_FENCE",
    "ORDERS",
    "RAISE_FENCE",
    "TERMINATE",
    "WAITED_FOR",
    "WHO_AM_I",
    "Act",
    "Answer",
]


@unique
class Act(IntEnum):
    """What to do with the lock of a room."""

    TRY = 1
    """Take it if it is free."""
    ANNOUNCE = 2
    """Say that we wait for it."""
    ANNOUNCE_AND_ASK = 3
    RELEASE = 4
    """Give it back, and notify announced waiters."""
    WITHDRAW = 5
    """We no longer wait."""
    NOTHING = 6
    ASK = 7
    """Take it if it is free, else ask its holder for it: it may only be kept there."""


@unique
class Answer(IntEnum):
    """The result. A positive number is a token: the lock is ours."""

    TAKEN = 0
    """Another session has the lock, and knows that we wait if we announced it."""
    DONE = -1
    AWAITED = -2
    """Released, and another session waited for it."""
    NOT_HELD = -3
    """There was nothing to release: the lock was lost before."""
    UNHEARD = -4
    """We could not announce ourselves because another session was checking at that moment; ask again."""


_ASK = "pg_notify($4 || '_asked', room::text)::text is not null"

# All orders of one moment in one round trip, each by a row, done in the order of the arrays (a scan of
# unnest keeps it, and CASE tries its arms one by one). `room` is the lock; `door` is where those who wait
# for it stand, each with a shared lock. A releasing session finds waiters by trying to
# have it alone; a waiter stands at the door before it tries, so one of the two always sees the other. It asks
# the holder by a notification, on a channel of its own: older workers do not know that a lock can be kept.
# Nothing here blocks. A notification writes to disk, so it is only sent to waiters and by them. In a session
# that is not ours any more nothing is done, and no row comes back.
ORDERS: Final = f"""
select case act
  when {Act.TRY} then
    case when pg_try_advisory_lock(room) then nextval('roomkit_fence') else {Answer.TAKEN} end
  when {Act.ANNOUNCE} then
    case when pg_try_advisory_lock_shared(door) then {Answer.DONE} else {Answer.UNHEARD} end
  when {Act.ANNOUNCE_AND_ASK} then
    case when not pg_try_advisory_lock_shared(door) then {Answer.UNHEARD}
         when pg_try_advisory_lock(room) then nextval('roomkit_fence')
         when {_ASK} then {Answer.TAKEN} end
  when {Act.ASK} then
    case when pg_try_advisory_lock(room) then nextval('roomkit_fence')
         when {_ASK} then {Answer.TAKEN} end
  when {Act.RELEASE} then
    case when not pg_advisory_unlock(room) then {Answer.NOT_HELD}
         when pg_try_advisory_lock(door) then case when pg_advisory_unlock(door) then {Answer.DONE} end
         when pg_notify($4, room::text)::text is not null then {Answer.AWAITED} end
  when {Act.WITHDRAW} then
    case when pg_advisory_unlock_shared(door) then {Answer.DONE} else {Answer.NOT_HELD} end
  else {Answer.DONE}
end
from unnest($1::smallint[], $2::bigint[], $3::bigint[]) as orders (act, room, door)
where {OURS} $5
"""

_IN_TURN = "select pg_advisory_xact_lock(hashtextextended('roomkit_fence', 0));"

FIND_FENCE: Final = "select to_regclass('roomkit_fence') is not null"

# Each of these two is one message, so one transaction that no client can be stopped in the middle of.
MAKE_FENCE: Final = f"{_IN_TURN} create sequence if not exists roomkit_fence"

# Tokens come from a sequence, so they rise whatever the clock does. A sequence falls back when a backup is
# restored, when a standby that lagged behind takes over, and by the last moments when the server crashes, as
# ORDERS does not wait for the disk. But then every session is new, and each new session lifts the sequence:
# to the clock, in microseconds since 1970, which is beyond all tokens that are older than a moment, and by a
# million at least, which is beyond those of that moment. Lifting itself waits for the disk, and for the
# standbys where commits do. It cannot lower: no session takes a million locks while it runs.
RAISE_FENCE: Final = f"""{_IN_TURN}
select set_config('synchronous_commit', 'on', true);
select setval('roomkit_fence', greatest(now_us, last_value + 1000000))
from (select (extract(epoch from clock_timestamp()) * 1000000)::bigint as now_us) as clock, roomkit_fence
"""

END_WHEN_SILENT: Final = """
    select set_config('idle_session_timeout', $1, false)
    where current_setting('server_version_num')::int >= 140000
"""
"""The setting does not exist before PostgreSQL 14."""

# The rooms among these for which other sessions wait.
WAITED_FOR: Final = """
select room from unnest($1::bigint[], $2::bigint[]) as kept (room, door)
where case when pg_try_advisory_lock(door) then not pg_advisory_unlock(door) else true end
"""

WHO_AM_I: Final = """
select pid, backend_start,
    current_setting('max_locks_per_transaction')::int * current_setting('max_connections')::int as lock_table
from pg_stat_activity where pid = pg_backend_pid()
"""

# Our last session may live on where the network swallowed its end, and hold its rooms. A process id alone
# may be another session's by now.
TERMINATE: Final = """
select pg_terminate_backend(pid) from pg_stat_activity where pid = $1 and backend_start = $2
"""
