"""Durable one-shot timers, each fired by the worker that claims it."""

from __future__ import annotations

import asyncio
import heapq
import math
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import RoomNotFoundError, StoreUnavailableError
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.poison import Handling, handling_of
from roomkit.kernel.flow.timers import DUE_AT_ONCE, TimerHandler
from roomkit.kernel.runtime.deadline import ends_task
from roomkit.kernel.runtime.store_clock import follow_store
from roomkit.models.base import FrozenDict
from roomkit.models.timer import BEGUN, Timer

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.options import KitOptions

__all__ = ["TimerRunner"]

_log = get_logger("roomkit.kernel")
_FAILURES = "failures"
_SHORTEST_PERIOD = 1.0
_RETRY_SECONDS = 60.0
_LONGEST_RETRY = 3600.0
_UNCLAIMED_AFTER = timedelta(hours=1)
_MOST_EXPECTED = 10_000
"""More are found by the look every period."""
_MARGIN = 0.001
"""Seconds by which a timer is late, so that it is due by every clock."""


class _Left(NamedTuple):
    """A timer that this worker holds and could not finish, and when it is retried (loop time)."""

    timer: Timer
    worker_id: str
    not_before: float


class TimerRunner:
    """Fires timers by their kind, once a handler is registered for it.

    A timer whose handler failed is retried after a minute, then after twice that, up to an hour; one claimed
    while the store failed by the next sweep. A poison message (see `handling_of`) becomes dead: it would take
    down the next worker too.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        clock: Clock,
        supervisor: Supervisor,
        lease: Lease,
        events: FrameworkEvents,
    ) -> None:
        self._settings = settings
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._lease = lease
        self._kinds: dict[str, TimerHandler] = {}  # bound: the kinds of the core and of plugins
        self._left: list[_Left] = []  # bound: timers claimed while the store failed
        self._events = events
        self._task: asyncio.Task[None] | None = None
        self._expected: list[float] = []  # bound: timers that this worker set, and that are not due yet
        self._sooner = asyncio.Event()
        self._looked = -math.inf
        self._unclaimed: set[str] = set()  # bound: the kinds that were reported

    def register(self, kind: str, fire: TimerHandler) -> bool:
        """Have `fire` called for timers of a kind; False when it has a handler already."""
        return self._kinds.setdefault(kind, fire) is fire

    def unregister(self, ending: str) -> None:
        """Leave the kinds with that ending to other workers."""
        for kind in [each for each in self._kinds if each.endswith(ending)]:
            del self._kinds[kind]

    def begin(self) -> None:
        """Look for due timers: every third of a lease, and when one is due that this worker expects."""
        if self._task is None:
            self._task = self._supervisor.serve(self._run(), "timers")

    def expect(self, due_at: datetime) -> None:
        """Look for due timers when this one is, on this worker."""
        now = asyncio.get_running_loop().time()
        due = now + max(0.0, (due_at - self._clock.now()).total_seconds()) + _MARGIN
        heapq.heappush(self._expected, due)
        if len(self._expected) > 2 * _MOST_EXPECTED:
            self._expected = heapq.nsmallest(_MOST_EXPECTED, self._expected)
        if self._expected[0] == due:
            self._sooner.set()
        self.begin()

    def expect_set(self, timers: Iterable[Timer]) -> None:
        """Look for the timers of a commit when they are due, on this worker."""
        for timer in timers:
            if timer.due_at != DUE_AT_ONCE:  # those are held by the worker that set them
                self.expect(timer.due_at)

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
                await self._look_for_unclaimed()
            except Exception:  # noqa: BLE001  # whatever a store or a handler raises, other timers are due
                _log.warning("due timers could not be claimed; it is tried again", exc_info=True)
            await self._wait()

    async def _wait(self) -> None:
        """Wait for the next look."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + max(_SHORTEST_PERIOD, self._settings.lease_seconds / 3)
        while (until := min((latest, *self._expected[:1]))) > loop.time():
            self._sooner.clear()
            try:
                async with asyncio.timeout_at(until):
                    await self._sooner.wait()
            except TimeoutError:
                break
        while self._expected and self._expected[0] <= loop.time():
            heapq.heappop(self._expected)

    async def _look_for_unclaimed(self) -> None:
        """Report, once, the kinds of which a timer has been due for an hour without a handler."""
        now = asyncio.get_running_loop().time()
        if self._lease.worker_id is None or now - self._looked < _UNCLAIMED_AFTER.total_seconds() / 12:
            return
        self._looked = now
        overdue = await self._store.find_timers(due_before=self._clock.now() - _UNCLAIMED_AFTER)
        for timer in overdue:
            if timer.kind not in self._kinds and timer.kind not in self._unclaimed and not timer.is_dead:
                self._unclaimed.add(timer.kind)
                self._report_unclaimed(timer)

    def _report_unclaimed(self, timer: Timer) -> None:
        _log.warning(
            "timer %s has been due for an hour and kind %s has no handler on any worker that looked: install "
            "the plugin that set it, or remove it",
            timer.id,
            timer.kind,
        )
        self._events.emit("timer_unclaimed", room_id=timer.room_id, timer_id=timer.id, timer_kind=timer.kind)

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
        fire = self._kinds.get(timer.kind)
        if fire is None:  # its channel was unregistered since it was claimed
            await self._store.set_timer(timer)
            return False
        starts = int(timer.data.get(BEGUN, 0))
        handling = handling_of(timer.claims, starts, self._settings.max_claims)
        if handling is Handling.QUARANTINE:
            await self._bury(timer)
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
            failures = int(timer.data.get(_FAILURES, 0))
            seconds = min(_RETRY_SECONDS * 2.0 ** min(failures, 10), _LONGEST_RETRY)
            _log.warning(
                "timer %s of room %s failed; it is retried in %g s",
                *(timer.id, timer.room_id, seconds),
                exc_info=True,
            )
            again, changed = self._clock.now() + timedelta(seconds=seconds), False
            timer = timer.replace(data=FrozenDict({**timer.data, _FAILURES: failures + 1}))
            forget: tuple[str, ...] = (BEGUN,)
        else:
            forget = (BEGUN, _FAILURES)
        if again is None:
            await self._done(timer)
            return changed
        data = FrozenDict({name: value for name, value in timer.data.items() if name not in forget})
        timer = timer.replace(due_at=again, claims=0, data=data)
        if again == DUE_AT_ONCE:
            waiting.append(timer)
            return changed
        try:
            await self._store.set_timer(timer)
        except RoomNotFoundError:
            return False
        if self._task is not None:  # else a program sweeps by itself
            self.expect(again)
        return changed

    async def _bury(self, timer: Timer) -> None:
        """Keep a poison timer where nothing claims it, until an operator decides."""
        _log.error(
            "timer %s of room %s (%s) is dead: %d workers died with it; check their logs, then `roomkit "
            "timers retry` or `drop`",
            *(timer.id, timer.room_id, timer.kind, timer.claims),
        )
        await self._store.set_timer(timer.buried())
        self._events.emit("timer_dead", room_id=timer.room_id, timer_id=timer.id, timer_kind=timer.kind)

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
        timer = timer.replace(data=FrozenDict({**timer.data, BEGUN: times}), due_at=due_at)
        await self._store.set_timer(timer)
        return timer

    async def _done(self, timer: Timer) -> None:
        # One with a recorded start has no holder.
        worker_id = None if BEGUN in timer.data else await self._lease.any_worker()
        await self._store.complete((), worker_id=worker_id, timers_done=(timer.id,))
