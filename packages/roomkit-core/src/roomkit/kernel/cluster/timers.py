"""Durable one-shot timers, fired by whichever worker claims them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import RoomNotFoundError, StoreUnavailableError
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.poison import Handling, handling_of
from roomkit.kernel.flow.timers import DUE_AT_ONCE, AnswerAlarm
from roomkit.kernel.runtime.store_clock import follow_store
from roomkit.models.alarm import Alarm
from roomkit.models.base import FrozenDict

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.options import KitOptions

__all__ = ["Timers"]

_log = get_logger("roomkit.kernel")
_BEGUN = "begun"
_RETRY_SECONDS = 60.0


class _Left(NamedTuple):
    """A timer that this worker holds and could not finish, and when it is retried (loop time)."""

    alarm: Alarm
    worker_id: str
    not_before: float


class Timers:
    """Fires timers by their kind.

    A timer whose handler failed is retried after a minute, and one claimed while the store failed by the next
    sweep. A poison message (see `handling_of`) is dropped and logged: it would take down the next worker too.
    """

    def __init__(
        self,
        *,
        kinds: Mapping[str, AnswerAlarm],
        settings: KitOptions,
        store: ConversationStore,
        clock: Clock,
        supervisor: Supervisor,
        lease: Lease,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._lease = lease
        self._kinds = dict(kinds)
        self._left: list[_Left] = []  # bound: timers claimed while the store failed

    def register(self, kind: str, fire: AnswerAlarm) -> None:
        """Have `fire` called for timers of a kind."""
        self._kinds[kind] = fire

    def begin(self, period: float) -> None:
        """Look for due timers every `period` seconds."""
        self._supervisor.serve(self._run(period), "timers")

    async def _run(self, period: float) -> None:
        while True:
            try:
                await self.sweep()
            except Exception:  # noqa: BLE001  # whatever a store or a handler raises, other timers are due
                _log.warning("due timers could not be claimed; it is tried again", exc_info=True)
            await asyncio.sleep(period)

    async def sweep(self) -> list[Alarm]:
        """Fire every timer that is due; return those that changed anything. Raises StoreError."""
        await follow_store(self._clock, self._store)
        worker_id = await self._lease.any_worker()
        changed: list[Alarm] = []  # bound: what is due now
        waiting: list[Alarm] = []  # bound: what is due now
        try:
            changed += await self._fire_all(self._take_left(worker_id), worker_id, waiting)
            while due := await self._claim(worker_id):
                changed += await self._fire_all(due, worker_id, waiting)
        finally:
            for alarm in waiting:
                await self._set_again(alarm, worker_id)
        return changed

    async def _claim(self, worker_id: str) -> list[Alarm]:
        try:
            return await self._store.claim_alarms(worker_id, self._clock.now())
        except BaseException as error:  # timers may have been claimed without anyone here knowing
            self._lease.check_write(error)
            raise

    def _take_left(self, worker_id: str) -> list[Alarm]:
        """Take the timers left by earlier sweeps; those claimed under a former lease are not ours."""
        now = asyncio.get_running_loop().time()
        held = [each for each in self._left if each.worker_id == worker_id]
        self._left = [each for each in held if each.not_before > now]
        return [each.alarm for each in held if each.not_before <= now]

    def _leave(self, alarm: Alarm, worker_id: str, seconds: float = 0.0) -> None:
        not_before = asyncio.get_running_loop().time() + seconds
        self._left.append(_Left(alarm, worker_id, not_before))

    async def _fire_all(self, due: list[Alarm], worker_id: str, waiting: list[Alarm]) -> list[Alarm]:
        """Fire timers; return those that changed anything. Those not reached are left to the next sweep."""
        changed: list[Alarm] = []  # bound: what is due now
        done = 0
        try:
            for alarm in due:
                if await self._fire_of_many(alarm, worker_id, waiting):
                    changed.append(alarm)
                done += 1
        finally:
            for alarm in due[done:]:
                self._leave(alarm, worker_id)
        return changed

    async def _fire_of_many(self, alarm: Alarm, worker_id: str, waiting: list[Alarm]) -> bool:
        """Fire one of several timers; if its outcome cannot be written, the others still get their turn."""
        try:
            return await self._fire(alarm, waiting)
        except StoreUnavailableError:  # of them all
            raise
        except Exception:  # noqa: BLE001  # it stays claimed, and a later sweep tries it again
            _log.warning(
                "the outcome of timer %s of room %s was not written", alarm.id, alarm.room_id, exc_info=True
            )
            self._leave(alarm, worker_id, _RETRY_SECONDS)
            return False

    async def _fire(self, alarm: Alarm, waiting: list[Alarm]) -> bool:
        fire = self._kinds.get(alarm.kind)
        starts = int(alarm.data.get(_BEGUN, 0))
        handling = handling_of(alarm.claims, starts, self._settings.max_claims)
        if fire is None or handling is Handling.QUARANTINE:
            why = "no handler for its kind" if fire is None else f"{alarm.claims} workers died with it"
            _log.error("timer %s of room %s (%s) is dropped: %s", alarm.id, alarm.room_id, alarm.kind, why)
            await self._done(alarm)
            return False
        try:
            if handling is Handling.RECORD_START:
                alarm = await self._record_start(alarm, starts + 1)
            again, changed = await fire(alarm)
        except RoomNotFoundError:  # deleted in between, and the timer with it
            return False
        except Exception:  # noqa: BLE001  # a handler may raise anything: it is retried
            _log.warning("timer %s of room %s failed; it is retried", alarm.id, alarm.room_id, exc_info=True)
            again, changed = self._clock.now() + timedelta(seconds=_RETRY_SECONDS), False
        if again is None:
            await self._done(alarm)
            return changed
        data = FrozenDict({name: value for name, value in alarm.data.items() if name != _BEGUN})
        alarm = alarm.replace(due_at=again, claims=0, data=data)
        if again == DUE_AT_ONCE:
            waiting.append(alarm)
            return changed
        try:
            await self._store.set_alarm(alarm)
        except RoomNotFoundError:
            return False
        return changed

    async def _set_again(self, alarm: Alarm, worker_id: str) -> None:
        """Set a timer for the next sweep; if it cannot be set, the others still are."""
        try:
            await self._store.set_alarm(alarm)
        except RoomNotFoundError:  # deleted during the sweep, and the timer with it
            return
        except Exception:  # noqa: BLE001  # it stays claimed, and the next sweep fires it
            _log.warning("timer %s of room %s was not set again", alarm.id, alarm.room_id, exc_info=True)
            self._leave(alarm, worker_id)

    async def _record_start(self, alarm: Alarm, times: int) -> Alarm:
        """Store that a timer is about to be fired; no other worker fires it for a while."""
        due_at = self._clock.now() + timedelta(seconds=_RETRY_SECONDS)
        alarm = alarm.replace(data=FrozenDict({**alarm.data, _BEGUN: times}), due_at=due_at)
        await self._store.set_alarm(alarm)
        return alarm

    async def _done(self, alarm: Alarm) -> None:
        # One with a recorded start has no holder.
        worker_id = None if _BEGUN in alarm.data else await self._lease.any_worker()
        await self._store.complete((), worker_id=worker_id, alarms_done=(alarm.id,))
