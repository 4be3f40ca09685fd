"""Taking up deliveries that wait for somebody: handed over, retried, or left by a worker that is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import RoomKitError, StoreUnavailableError
from roomkit.abc.log import get_logger
from roomkit.kernel.cascade import Cascade, Run
from roomkit.kernel.lanes import Job
from roomkit.kernel.plan import Target
from roomkit.kernel.scope import innermost_gate
from roomkit.kernel.supervisor import Interrupted
from roomkit.kernel.unclaimed import Unclaimed
from roomkit.kernel.view import RECENT_EVENTS
from roomkit.models.enums import DeliveryState, EphemeralEventType
from roomkit.models.realtime import EphemeralEvent

if TYPE_CHECKING:
    from roomkit.abc.store import Claimed, RoomRecord
    from roomkit.kernel.lanes import Lane, Lanes
    from roomkit.kernel.parts import Parts
    from roomkit.kernel.settling import Settling
    from roomkit.kernel.writer import Writer
    from roomkit.models.delivery import Delivery

__all__ = ["Takeover"]

_log = get_logger("roomkit.kernel")
_MAX_UNDER_WAY = 1_000
"""How many claimed deliveries are worked on at a time: what is left of a dead worker may be a lot."""
_MAX_PACED = 50_000
"""How many more are held for lanes that wait for their pace or a retry: no other room waits for those."""


class Takeover:
    """Claims what waits, room by room under the room's lock, and puts it into the lanes.

    It looks when it is woken, and every third of a lease otherwise. Workers wake each other through the
    realtime backend; a signal that is lost costs only the time until the next look.
    """

    def __init__(self, parts: Parts, writer: Writer, lanes: Lanes, settling: Settling) -> None:
        self._parts = parts
        self._writer = writer
        self._lanes = lanes
        self._settling = settling
        self._woken = asyncio.Event()
        self._subscription: str | None = None
        self._under_way: set[Cascade] = set()
        self._progress = asyncio.Event()
        self._unclaimed = Unclaimed(parts)

    def begin(self, period: float) -> None:
        """Look for what is left from before, and go on looking."""
        self._woken.set()
        self._parts.supervisor.serve(self._run(period), "takeover of deliveries")

    async def listen(self, worker_id: str) -> None:
        """Be woken under this id, and no longer under the one before."""
        realtime = self._parts.realtime
        if self._subscription is not None:
            await realtime.unsubscribe(self._subscription)
        self._subscription = await realtime.subscribe(_topic(worker_id), self._called)
        self._woken.set()

    async def _called(self, _event: EphemeralEvent) -> None:
        self._woken.set()

    def channels_changed(self) -> None:
        """Announce the channels that are registered now, and claim what waits for them."""
        self._woken.set()

    def wake(self, room_id: str, workers: Iterable[str | None]) -> None:
        """Have deliveries of a room claimed by the workers that are to: None is whoever comes first."""
        for worker_id in set(workers):
            if worker_id is None or worker_id == self._parts.lease.worker_id:
                work = self._take_quietly(room_id)
                self._parts.supervisor.start(work, f"takeover of room {room_id}", eager=False)
            else:
                work = self._call(room_id, worker_id)
                self._parts.supervisor.start(work, f"call to worker {worker_id}", eager=False)

    async def _call(self, room_id: str, worker_id: str) -> None:
        signal = EphemeralEvent(
            room_id=room_id,
            type=EphemeralEventType.CUSTOM,
            user_id=worker_id,
            timestamp=self._parts.clock.now(),
        )
        try:
            await self._parts.realtime.publish(_topic(worker_id), signal)
        except RoomKitError:
            _log.warning("worker %s could not be called; it looks by itself, later", worker_id, exc_info=True)

    async def _run(self, period: float) -> None:
        while True:
            try:
                async with asyncio.timeout(period):
                    await self._woken.wait()
            except TimeoutError:
                pass
            self._woken.clear()
            try:
                await self._parts.lease.announce()
                await self.sweep()
                await self._unclaimed.look()
                await self._parts.store.purge_values(self._parts.clock.now())
            except Exception:  # noqa: BLE001  # whatever a store raises, what waits must be looked for again
                _log.warning("deliveries that wait could not be looked for; it is tried again", exc_info=True)
                await asyncio.sleep(period)

    async def sweep(self) -> None:
        """Take up whatever waits in any room. Raises StoreError."""
        worker_id = self._parts.lease.worker_id
        seen: set[str] = set()
        while worker_id is not None and worker_id == self._parts.lease.worker_id:
            found = await self._parts.store.find_claimable(worker_id, channels=self._channels)
            fresh = [room_id for room_id in found if room_id not in seen]
            if not fresh:
                return
            for room_id in fresh:
                seen.add(room_id)
                await self._take_of_many(room_id)
                await self._catch_up()

    @property
    def _channels(self) -> Collection[str] | None:
        """The channels to claim for; None is every channel, in a store that only this process sees."""
        if self._parts.lease.worker_id is None:
            return None
        return self._parts.channels.keys() | self._unclaimed.expired

    async def _catch_up(self) -> None:
        """Wait while too much of what was claimed is under way, or is not written down yet."""
        ledger = self._parts.ledger
        while self._busy() > _MAX_UNDER_WAY:
            if self._under_way:
                self._progress.clear()
                try:
                    async with asyncio.timeout(1.0):  # lanes begin to wait without any progress
                        await self._progress.wait()
                except TimeoutError:
                    pass
            await ledger.flush()

    def _busy(self) -> int:
        """Count the claimed deliveries under way, without those of lanes that wait."""
        under_way = len(self._parts.ledger) + sum(cascade.pending for cascade in self._under_way)
        if under_way <= _MAX_UNDER_WAY:
            return under_way
        lanes = (self._lanes.get(*key) for key in self._parts.pacing.waiting)
        paced = sum(1 + len(lane.queue) for lane in lanes if lane is not None)
        return under_way - min(paced, _MAX_PACED)

    def _done(self, cascade: Cascade) -> None:
        self._under_way.discard(cascade)
        self._progress.set()

    async def _take_of_many(self, room_id: str) -> None:
        """Claim what waits in one of several rooms; if that room fails, the others still have their turn."""
        try:
            await self.take(room_id)
        except StoreUnavailableError:  # of them all
            raise
        except Exception:  # noqa: BLE001  # whatever is wrong with the room; the next sweep asks again
            _log.warning("deliveries of room %s could not be claimed; later", room_id, exc_info=True)

    async def _take_quietly(self, room_id: str) -> None:
        try:
            await self.take(room_id)
        except Exception:  # noqa: BLE001  # as above
            _log.warning("deliveries of room %s could not be claimed; later", room_id, exc_info=True)
            self._woken.set()

    async def take(self, room_id: str, *, only: Collection[str] | None = None) -> Cascade:
        """Claim what waits in a room and start it; return what is under way then.

        `only` are the delivery ids meant, where the store knows of no leases: the others are being
        worked on already. Raises StoreError.
        """
        cascade = Cascade()
        launch: list[Callable[[], None]] = []  # bound: the events claimed
        worker_id = await self._parts.lease.any_worker()

        async def work() -> None:
            # Read before it is claimed: nothing may come between a claim and its place in the lanes.
            record = await self._parts.store.load(room_id, recent=RECENT_EVENTS)
            if record is None:
                return
            try:
                claiming = self._parts.store.claim(room_id, worker_id, channels=self._channels)
                claimed = await self._parts.supervisor.complete(claiming, f"claim of room {room_id}")
            except Interrupted as interrupted:
                launch.extend(self._queue(record, interrupted.result, cascade, worker_id))
                raise
            except BaseException as error:
                self._parts.lease.doubt(error)
                raise
            if only is not None:
                claimed = [each for each in claimed if each.delivery.id in only]
            launch.extend(self._queue(record, claimed, cascade, worker_id))

        try:
            await self._writer.exclusively(room_id, work)
        finally:
            if cascade.pending:
                self._under_way.add(cascade)
                cascade.then = partial(self._done, cascade)
            gate = innermost_gate()
            if gate is not None and gate.after is not None:
                gate.after.extend(launch)
            else:
                for start in launch:
                    start()
        return cascade

    def _queue(
        self, record: RoomRecord, claimed: Iterable[Claimed], cascade: Cascade, worker_id: str
    ) -> list[Callable[[], None]]:
        """Put claimed deliveries into their lanes, in order; return what starts them, event by event."""
        by_event: dict[str, list[Claimed]] = {}
        for each in claimed:
            by_event.setdefault(each.event.id, []).append(each)
        launch: list[Callable[[], None]] = []  # bound: the events claimed
        for group in by_event.values():
            event = group[0].event.without_former_contents()
            run = Run(cascade, event, record, [each.delivery.channel_id for each in group])
            run.resumed = True
            cascade.hold()
            jobs: list[tuple[Job, Lane]] = []  # bound: the event's targets
            gone: list[Delivery] = []  # bound: likewise
            for each in group:
                channel_id = each.delivery.channel_id
                binding = record.bindings.get(channel_id)
                if binding is None or each.event.is_erased:
                    gone.append(each.delivery)
                    continue
                job = Job(run, Target(binding, self._parts.channels.get(channel_id)), claimed=each.delivery)
                job.worker_id = worker_id if self._parts.lease.worker_id is not None else None
                jobs.append((job, self._lanes.enqueue(job, always=True)))
            launch.append(partial(self._launch, record.room_id, run, jobs, gone))
        return launch

    def _launch(self, room_id: str, run: Run, jobs: list[tuple[Job, Lane]], gone: Iterable[Delivery]) -> None:
        now = self._parts.clock.now()
        reason = "erased" if run.event.is_erased else "channel_detached"
        for row in gone:
            self._settling.ended(
                run, row.replace(state=DeliveryState.SKIPPED, reason=reason, finished_at=now)
            )
        if jobs:
            self._lanes.start(room_id, jobs)
        self._settling.launched(run)

    async def end(self) -> None:
        """Be woken no more."""
        if self._subscription is not None:
            subscription, self._subscription = self._subscription, None
            await self._parts.realtime.unsubscribe(subscription)


def _topic(worker_id: str) -> str:
    return f"worker:{worker_id}"
