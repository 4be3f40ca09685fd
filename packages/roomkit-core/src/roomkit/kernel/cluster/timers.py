"""Durable one-shot timers, each fired by the worker that claims it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import RoomNotFoundError, StoreUnavailableError
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.poison import Handling, handling_of
from roomkit.kernel.flow.timers import DUE_AT_ONCE, TimerHandler
from roomkit.kernel.runtime.deadline import ends_task
from roomkit.kernel.runtime.store_clock import follow_store
from roomkit.models.base import FrozenDict
from roomkit.models.timer import Timer

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.options import KitOptions

__all__ = ["TimerRunner"]

_log = get_logger("roomkit.kernel")
_BEGUN = "begun"
_RETRY_SECONDS = 60.0


class _Left(NamedTuple):
    """A timer that this worker holds and could not finish, and when it is retried (loop time)."""

    timer: Timer
    worker_id: str
    not_before: float


class TimerRunner:
    """Fires timers by their kind.

    A timer whose handler failed is retried after a minute, and one claimed while the store failed by the next
    sweep. A poison message (see `handling_of`) is dropped and logged: it would take down the next worker too.
    """

    def __init__(
        self,
        *,
        kinds: Mapping[str, TimerHandler],
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

    def register(self, kind: str, fire: TimerHandler) -> None:
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

    async def sweep(self) -> list[Timer]:
        """Fire every timer that is due; return those that changed anything. Raises StoreError."""
        await follow_store(self._clock, self._store)
        worker_id = await self._lease.any_worker()
        changed: list[Timer] = []  # bound: timers due now
        waiting: list[Timer] = []  # bound: timers due now
        try:
            changed += await self._fire_all(self._take_left(worker_id), worker_id, waiting)
            while due := await self._claim(worker_id):
                changed += await self._fire_all(due, worker_id, waiting)
        finally:
            for timer in waiting:
                await self._set_again(timer, worker_id)
        return changed

    async def _claim(self, worker_id: str) -> list[Timer]:
        try:
            return await self._store.claim_timers(worker_id, self._clock.now(), tuple(self._kinds))
        except BaseException as error:  # timers may have been claimed without anyone here knowing
            self._lease.check_write(error)
            raise

    def _take_left(self, worker_id: str) -> list[Timer]:
        """Take the timers left by earlier sweeps; those claimed under a former lease are not ours."""
        now = asyncio.get_running_loop().time()
        held = [each for each in self._left if each.worker_id == worker_id]
        self._left = [each for each in held if each.not_before > now]
        return [each.timer for each in held if each.not_before <= now]

    def _leave(self, timer: Timer, worker_id: str, seconds: float = 0.0) -> None:
        not_before = asyncio.get_running_loop().time() + seconds
        self._left.append(_Left(timer, worker_id, not_before))

    async def _fire_all(self, due: list[Timer], worker_id: str, waiting: list[Timer]) -> list[Timer]:
        """Fire timers; return those that changed anything. Those not reached are left to the next sweep."""
        changed: list[Timer] = []  # bound: timers due now
        done = 0
        try:
            for timer in due:
                if await self._fire_of_many(timer, worker_id, waiting):
                    changed.append(timer)
                done += 1
        finally:
            for timer in due[done:]:
                self._leave(timer, worker_id)
        return changed

    async def _fire_of_many(self, timer: Timer, worker_id: str, waiting: list[Timer]) -> bool:
        """Fire one of several timers; if its outcome cannot be written, the others still get their turn."""
        try:
            return await self._fire(timer, waiting)
        except StoreUnavailableError:  # of them all
            raise
        except Exception:  # noqa: BLE001  # it stays claimed, and a later sweep tries it again
            _log.warning(
                "the outcome of timer %s of room %s was not written", timer.id, timer.room_id, exc_info=True
            )
            self._leave(timer, worker_id, _RETRY_SECONDS)
            return False

    async def _fire(self, timer: Timer, waiting: list[Timer]) -> bool:
        fire = self._kinds[timer.kind]
        starts = int(timer.data.get(_BEGUN, 0))
        handling = handling_of(timer.claims, starts, self._settings.max_claims)
        if handling is Handling.QUARANTINE:
            _log.error(
                "timer %s of room %s (%s) is dropped: %d workers died with it",
                *(timer.id, timer.room_id, timer.kind, timer.claims),
            )
            await self._done(timer)
            return False
        try:
            if handling is Handling.RECORD_START:
                timer = await self._record_start(timer, starts + 1)
            again, changed = await fire(timer)
        except RoomNotFoundError:  # deleted in between, and the timer with it
            return False
        except BaseException as error:  # a handler may raise anything: it is retried
            if ends_task(error):
                raise
            _log.warning("timer %s of room %s failed; it is retried", timer.id, timer.room_id, exc_info=True)
            again, changed = self._clock.now() + timedelta(seconds=_RETRY_SECONDS), False
        if again is None:
            await self._done(timer)
            return changed
        data = FrozenDict({name: value for name, value in timer.data.items() if name != _BEGUN})
        timer = timer.replace(due_at=again, claims=0, data=data)
        if again == DUE_AT_ONCE:
            waiting.append(timer)
            return changed
        try:
            await self._store.set_timer(timer)
        except RoomNotFoundError:
            return False
        return changed

    async def _set_again(self, timer: Timer, worker_id: str) -> None:
        """Set a timer for the next sweep; if it cannot be set, the others still are."""
        try:
            await self._store.set_timer(timer)
        except RoomNotFoundError:  # deleted during the sweep, and the timer with it
            return
        except Exception:  # noqa: BLE001  # it stays claimed, and the next sweep fires it
            _log.warning("timer %s of room %s was not set again", timer.id, timer.room_id, exc_info=True)
            self._leave(timer, worker_id)

    async def _record_start(self, timer: Timer, times: int) -> Timer:
        """Store that a timer is about to be fired; no other worker fires it for a while."""
        due_at = self._clock.now() + timedelta(seconds=_RETRY_SECONDS)
        timer = timer.replace(data=FrozenDict({**timer.data, _BEGUN: times}), due_at=due_at)
        await self._store.set_timer(timer)
        return timer

    async def _done(self, timer: Timer) -> None:
        # One with a recorded start has no holder.
        worker_id = None if _BEGUN in timer.data else await self._lease.any_worker()
        await self._store.complete((), worker_id=worker_id, timers_done=(timer.id,))
