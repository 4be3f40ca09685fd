"""What waits for its time: stored, due once, answered by whichever worker is there then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import RoomNotFoundError, StoreUnavailableError
from roomkit.abc.log import get_logger
from roomkit.models.alarm import Alarm
from roomkit.models.base import FrozenDict

if TYPE_CHECKING:
    from roomkit.kernel.parts import Parts
    from roomkit.models.event import RoomEvent
    from roomkit.models.room import Room

__all__ = [
    "AFTER_BROADCAST",
    "DUE_AT_ONCE",
    "RETENTION",
    "ROOM_TIMERS",
    "Alarms",
    "Answer",
    "AnswerAlarm",
    "after_broadcast_alarm",
    "after_broadcast_id",
    "room_alarms",
    "timers_alarm",
    "timers_id",
]

_log = get_logger("roomkit.kernel")
_BEGUN = "begun"
_SUSPICIOUS_STARTS = 3
_RETRY_SECONDS = 60.0

ROOM_TIMERS = "room_timers"
RETENTION = "retention"
AFTER_BROADCAST = "after_broadcast"

DUE_AT_ONCE = datetime(1970, 1, 1, tzinfo=UTC)
"""Due whatever a worker's clock shows: the clock of the worker that set the timer may be fast."""


class Answer(NamedTuple):
    """What became of an alarm: when it is due again (None: done with), and whether anything changed.

    One that is due again at once is set at the end of the sweep, for the next one of any worker.
    """

    again: datetime | None
    changed: bool = False


type AnswerAlarm = Callable[[Alarm], Awaitable[Answer]]
"""Does what an alarm is for."""


class _Left(NamedTuple):
    """An alarm that this worker holds and could not finish, and when it is retried (loop time)."""

    alarm: Alarm
    worker_id: str
    not_before: float


class Alarms:
    """Answers alarms by their kind.

    An alarm that could not be answered is tried again after a minute. One that was often taken over is
    written down each time before it is answered, and dropped, and logged, when that was in vain three
    times: it would take down the next worker too. What a sweep claimed and could not finish, because the
    store failed, is left to the next sweep of this worker, or to other workers when its lease has ended.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._kinds: dict[str, AnswerAlarm] = {}
        self._left: list[_Left] = []  # bound: what was claimed while the store failed

    def register(self, kind: str, answer: AnswerAlarm) -> None:
        """Have `answer` called for alarms of a kind."""
        self._kinds[kind] = answer

    def begin(self, period: float) -> None:
        """Look for due alarms every `period` seconds."""
        self._parts.supervisor.serve(self._run(period), "alarms")

    async def _run(self, period: float) -> None:
        while True:
            try:
                await self.sweep()
            except Exception:  # noqa: BLE001  # whatever a store or an answer raises, others wait to be answered
                _log.warning("due alarms could not be looked for; it is tried again", exc_info=True)
            await asyncio.sleep(period)

    async def sweep(self) -> list[Alarm]:
        """Answer every alarm that is due; return those that changed anything. Raises StoreError."""
        await self._parts.follow_store_clock()
        worker_id = await self._parts.lease.any_worker()
        changed: list[Alarm] = []  # bound: what is due now
        waiting: list[Alarm] = []  # bound: what is due now
        try:
            changed += await self._answer_all(self._take_left(worker_id), worker_id, waiting)
            while due := await self._claim(worker_id):
                changed += await self._answer_all(due, worker_id, waiting)
        finally:
            for alarm in waiting:
                await self._set_again(alarm, worker_id)
        return changed

    async def _claim(self, worker_id: str) -> list[Alarm]:
        try:
            return await self._parts.store.claim_alarms(worker_id, self._parts.clock.now())
        except BaseException as error:  # alarms may have been claimed that nobody knows of
            self._parts.lease.doubt(error)
            raise

    def _take_left(self, worker_id: str) -> list[Alarm]:
        """Take what earlier sweeps could not finish; what they claimed under a former lease is not ours."""
        now = asyncio.get_running_loop().time()
        held = [each for each in self._left if each.worker_id == worker_id]
        self._left = [each for each in held if each.not_before > now]
        return [each.alarm for each in held if each.not_before <= now]

    def _leave(self, alarm: Alarm, worker_id: str, seconds: float = 0.0) -> None:
        not_before = asyncio.get_running_loop().time() + seconds
        self._left.append(_Left(alarm, worker_id, not_before))

    async def _answer_all(self, due: list[Alarm], worker_id: str, waiting: list[Alarm]) -> list[Alarm]:
        """Answer alarms; return those that changed anything. Those not reached are left to the next sweep."""
        changed: list[Alarm] = []  # bound: what is due now
        done = 0
        try:
            for alarm in due:
                if await self._answer_of_many(alarm, worker_id, waiting):
                    changed.append(alarm)
                done += 1
        finally:
            for alarm in due[done:]:
                self._leave(alarm, worker_id)
        return changed

    async def look_later(self, event: RoomEvent) -> None:
        """Leave an event's observers to the next sweep of any worker. Raises StoreError."""
        await self._parts.store.set_alarm(after_broadcast_alarm(event))

    async def _answer_of_many(self, alarm: Alarm, worker_id: str, waiting: list[Alarm]) -> bool:
        """Answer one of several alarms; if its end cannot be written, the others still have their turn."""
        try:
            return await self._answer(alarm, waiting)
        except StoreUnavailableError:  # of them all
            raise
        except Exception:  # noqa: BLE001  # it stays claimed, and a later sweep tries it again
            _log.warning(
                "the end of alarm %s of room %s was not written", alarm.id, alarm.room_id, exc_info=True
            )
            self._leave(alarm, worker_id, _RETRY_SECONDS)
            return False

    async def _answer(self, alarm: Alarm, waiting: list[Alarm]) -> bool:
        answer = self._kinds.get(alarm.kind)
        suspicious = alarm.claims > self._parts.settings.max_claims
        begun = int(alarm.data.get(_BEGUN, 0))
        if answer is None or (suspicious and begun >= _SUSPICIOUS_STARTS):
            why = "nobody answers its kind" if answer is None else "its workers did not come back"
            _log.error("alarm %s of room %s (%s) is dropped: %s", alarm.id, alarm.room_id, alarm.kind, why)
            await self._done(alarm)
            return False
        try:
            if suspicious:
                alarm = await self._mark_begun(alarm, begun + 1)
            again, changed = await answer(alarm)
        except RoomNotFoundError:  # deleted meanwhile, and the alarm with it
            return False
        except Exception:  # noqa: BLE001  # an alarm's answer may raise anything: it is tried again
            _log.warning(
                "alarm %s of room %s failed; it is tried again", alarm.id, alarm.room_id, exc_info=True
            )
            again, changed = self._parts.clock.now() + timedelta(seconds=_RETRY_SECONDS), False
        if again is None:
            await self._done(alarm)
            return changed
        data = FrozenDict({name: value for name, value in alarm.data.items() if name != _BEGUN})
        alarm = alarm.replace(due_at=again, claims=0, data=data)
        if again == DUE_AT_ONCE:
            waiting.append(alarm)
            return changed
        try:
            await self._parts.store.set_alarm(alarm)
        except RoomNotFoundError:
            return False
        return changed

    async def _set_again(self, alarm: Alarm, worker_id: str) -> None:
        """Set an alarm that waits for the next sweep; if it cannot be set, the others still are."""
        try:
            await self._parts.store.set_alarm(alarm)
        except RoomNotFoundError:  # deleted during the sweep, and the alarm with it
            return
        except Exception:  # noqa: BLE001  # it stays claimed, and the next sweep answers it
            _log.warning("alarm %s of room %s was not set again", alarm.id, alarm.room_id, exc_info=True)
            self._leave(alarm, worker_id)

    async def _mark_begun(self, alarm: Alarm, times: int) -> Alarm:
        """Write down that an alarm is about to be answered; nobody else does for a while."""
        due_at = self._parts.clock.now() + timedelta(seconds=_RETRY_SECONDS)
        alarm = alarm.replace(data=FrozenDict({**alarm.data, _BEGUN: times}), due_at=due_at)
        await self._parts.store.set_alarm(alarm)
        return alarm

    async def _done(self, alarm: Alarm) -> None:
        # One that was marked is held by nobody.
        worker_id = None if _BEGUN in alarm.data else await self._parts.lease.any_worker()
        await self._parts.store.complete((), worker_id=worker_id, alarms_done=(alarm.id,))


def room_alarms(room: Room) -> list[Alarm]:
    """Return the alarms a room needs as it is: for its timers, and for what it keeps only for a time."""
    alarms: list[Alarm] = []  # bound: two
    timers = timers_alarm(room, room.next_due)
    if timers is not None:
        alarms.append(timers)
    if room.retention_seconds is not None:
        due_at = room.created_at + timedelta(seconds=room.retention_seconds)
        alarms.append(Alarm(id=f"retention:{room.id}", room_id=room.id, kind=RETENTION, due_at=due_at))
    return alarms


def after_broadcast_id(event_id: str) -> str:
    """Return the id of an event's `after_broadcast_alarm`."""
    return f"after:{event_id}"


def after_broadcast_alarm(event: RoomEvent) -> Alarm:
    """Return the alarm that has an event's observers run even if its worker is killed before.

    Its worker holds it from the commit on; for others it is due as soon as that worker's lease has ended.
    """
    return Alarm(
        id=after_broadcast_id(event.id),
        room_id=event.room_id,
        kind=AFTER_BROADCAST,
        due_at=DUE_AT_ONCE,
        data={"event_id": event.id},
    )


def timers_id(room_id: str) -> str:
    """Return the id of a room's `timers_alarm`."""
    return f"timers:{room_id}"


def timers_alarm(room: Room, due_at: datetime | None) -> Alarm | None:
    """Return the alarm for a room's timers, None when they ask for nothing."""
    if due_at is None:
        return None
    return Alarm(id=timers_id(room.id), room_id=room.id, kind=ROOM_TIMERS, due_at=due_at)
