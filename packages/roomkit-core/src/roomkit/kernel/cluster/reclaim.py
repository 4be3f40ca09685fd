"""Claiming deliveries that wait: handed over, retried, or abandoned by a dead worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING

from roomkit.abc.errors import StoreUnavailableError
from roomkit.abc.log import get_logger
from roomkit.kernel.cluster.unclaimed import Unclaimed
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.draft import Run
from roomkit.kernel.flow.job import Job
from roomkit.kernel.flow.recipients import Target
from roomkit.kernel.runtime.scope import innermost_gate
from roomkit.kernel.runtime.supervisor import Interrupted
from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import Claimed, ConversationStore, RoomRecord
    from roomkit.kernel.cluster.keeper import LeaseKeeper
    from roomkit.kernel.cluster.unclaimed import Unclaimed
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.dispatch import LaneDispatcher
    from roomkit.kernel.delivery.handover import HandOver
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.delivery.pacing import Pacing
    from roomkit.kernel.delivery.settling import Settling
    from roomkit.kernel.delivery.wakeups import Wakeups
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.delivery import Delivery

__all__ = ["Reclaim"]

_log = get_logger("roomkit.kernel")
_MAX_UNDER_WAY = 1_000
"""How many claimed deliveries are worked on at a time: a dead worker may leave very many."""
_MAX_PACED = 50_000
"""How many more are held for lanes that wait for their pace or a retry: no other room waits for those."""


class Reclaim:
    """Claims waiting deliveries, room by room in the room's turn, and puts them into the lanes.

    The store gives a delivery to one worker only, so a claim excludes this worker's own commits to the
    room, which would come between a claim and its place in a lane, and no other worker.

    It looks when it is woken, and every third of a lease otherwise. Workers wake each other through the
    realtime backend; a signal that is lost costs only the time until the next look.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        supervisor: Supervisor,
        lease: Lease,
        ledger: OutcomeWriter,
        channels: Channels,
        pacing: Pacing,
        writer: Writer,
        lanes: Lanes,
        settling: Settling,
        dispatcher: LaneDispatcher,
        wakeups: Wakeups,
        keeper: LeaseKeeper,
        unclaimed: Unclaimed,
        hand_over: HandOver,
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._lease = lease
        self._ledger = ledger
        self._channels = channels
        self._pacing = pacing
        self._writer = writer
        self._lanes = lanes
        self._settling = settling
        self._dispatcher = dispatcher
        self._wakeups = wakeups
        self._keeper = keeper
        self._under_way: set[Cascade] = set()
        self._progress = asyncio.Event()
        self._unclaimed = unclaimed
        self._hand_over = hand_over

    def begin(self, period: float) -> None:
        """Look for abandoned deliveries now, and every `period` seconds."""
        self._wakeups.woken.set()
        self._supervisor.serve(self._run(period), "reclaim of deliveries")
        self._supervisor.serve(self._run_woken(), "reclaim of rooms")

    def channels_changed(self) -> None:
        """Announce the channels registered now, and claim the deliveries that wait for them."""
        self._wakeups.woken.set()

    async def resume(self, channel_id: str) -> None:
        """Claim the deliveries that waited for a channel to start, in their order. Raises StoreError."""
        waiting = [room_id for room_id, each in self._channels.left if each == channel_id]
        if self._lease.worker_id is not None:
            if waiting:
                self.channels_changed()
            return
        for room_id in waiting:
            lane = self._lanes.get(room_id, channel_id)
            if lane is not None and lane.task is not None:  # its jobs are on their way back
                await asyncio.wait((lane.task,))
            await self.take(room_id, waiting_for=channel_id)

    async def _run_woken(self) -> None:
        """Look at once into rooms that this worker was called to."""
        while True:
            for room_id in await self._wakeups.rooms():
                self._supervisor.start(self._take_quietly(room_id), f"reclaim of room {room_id}")

    async def _run(self, period: float) -> None:
        while True:
            try:
                async with asyncio.timeout(period):
                    await self._wakeups.woken.wait()
            except TimeoutError:
                pass
            self._wakeups.woken.clear()
            try:
                await self._keeper.announce()
                await self._hand_over.work()
                await self.sweep()
                await self._unclaimed.look()
                await self._store.purge_values(self._clock.now())
            except Exception:  # noqa: BLE001  # whatever a store raises, the next look must come
                _log.warning("waiting deliveries could not be listed; it is tried again", exc_info=True)
                await asyncio.sleep(period)

    async def sweep(self) -> None:
        """Claim the waiting deliveries of every room. Raises StoreError."""
        worker_id = self._lease.worker_id
        seen: set[str] = set()
        while worker_id is not None and worker_id == self._lease.worker_id:
            found = await self._store.find_claimable(worker_id, channels=self._claimable)
            fresh = [room_id for room_id in found if room_id not in seen]
            if not fresh:
                return
            for room_id in fresh:
                seen.add(room_id)
                await self._take_of_many(room_id)
                await self._catch_up()

    @property
    def _claimable(self) -> Collection[str] | None:
        """The channels to claim for; None is every channel, in a store that only this process sees."""
        if self._lease.worker_id is None:
            return None
        channels = self._channels
        return {*channels.working, *(each for each in self._unclaimed.expired if each not in channels)}

    async def _catch_up(self) -> None:
        """Wait while too many claimed deliveries are under way, or not recorded yet."""
        ledger = self._ledger
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
        under_way = len(self._ledger) + sum(cascade.pending for cascade in self._under_way)
        if under_way <= _MAX_UNDER_WAY:
            return under_way
        lanes = (self._lanes.get(*key) for key in self._pacing.waiting)
        paced = sum(1 + lane.jobs_waiting for lane in lanes if lane is not None)
        return under_way - min(paced, _MAX_PACED)

    def _done(self, cascade: Cascade) -> None:
        self._under_way.discard(cascade)
        self._progress.set()

    async def _take_of_many(self, room_id: str) -> None:
        """Claim the deliveries of one of several rooms; the failure of one does not stop the others."""
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
            self._wakeups.woken.set()

    async def start(self, row: Delivery) -> Cascade:
        """Start a row that was put into its lane just now, here or at the worker that holds the lane."""
        if row.holder is not None and row.holder != self._lease.worker_id:
            self._wakeups.wake(row.room_id, (row.holder,))
            return Cascade()
        only = None if self._lease.worker_id is not None else (row.id,)
        return await self.take(row.room_id, only=only, is_awaited=True)

    async def take(
        self,
        room_id: str,
        *,
        only: Collection[str] | None = None,
        waiting_for: str | None = None,
        is_awaited: bool = False,
    ) -> Cascade:
        """Claim a room's waiting deliveries and start them; return the cascade of those under way.

        Where the store knows of no leases, `only` are the delivery ids meant, or those to the channel
        `waiting_for`, which has just started: the others are being worked on already. Raises StoreError.
        """
        cascade = Cascade(is_awaited=is_awaited)
        launch: list[Callable[[], None]] = []  # bound: the events claimed
        worker_id = await self._lease.any_worker()

        async def work() -> None:
            # Read before it is claimed: nothing may come between a claim and its place in the lanes.
            record = await self._store.load(room_id, recent=RECENT_EVENTS)
            if record is None:
                return
            try:
                claiming = self._store.claim(room_id, worker_id, channels=self._claimable)
                claimed = await self._supervisor.complete(claiming, f"claim of room {room_id}")
            except Interrupted as interrupted:
                launch.extend(self._queue(record, interrupted.result, cascade, worker_id))
                raise
            except BaseException as error:
                self._lease.check_write(error)
                raise
            if worker_id == self._lease.worker_id and any(not each.delivery.claims for each in claimed):
                self._ledger.handed_over(room_id)  # by a worker that lives: a dead one's are claims
            if waiting_for is not None:
                self._channels.left.discard((room_id, waiting_for))
                claimed = [each for each in claimed if each.delivery.channel_id == waiting_for]
            if only is not None:
                claimed = [each for each in claimed if each.delivery.id in only]
            launch.extend(self._queue(record, claimed, cascade, worker_id))

        try:
            await self._writer.in_turn(room_id, work)
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
            if self._is_left(each.delivery):
                continue
            by_event.setdefault(each.event.id, []).append(each)
        launch: list[Callable[[], None]] = []  # bound: the events claimed
        for group in by_event.values():
            event = group[0].event.without_former_contents()
            channel_ids = [each.delivery.channel_id for each in group]
            run = Run(cascade, event, record, channel_ids, self._writer)
            run.resumed = True
            # A dead worker may have played some of it.
            run.partly_heard = event.generation is not None and any(each.delivery.claims for each in group)
            jobs: list[Job] = []  # bound: the event's targets
            gone: list[Delivery] = []  # bound: likewise
            for each in group:
                channel_id = each.delivery.channel_id
                binding = record.bindings.get(channel_id)
                if binding is None or each.event.is_erased:
                    gone.append(each.delivery)
                    continue
                job = Job(run, Target(binding, self._channels.get(channel_id)), claimed=each.delivery)
                job.worker_id = worker_id if self._lease.worker_id is not None else None
                jobs.append(job)
            start = self._dispatcher.enqueue(run, jobs, always=True)
            launch.append(partial(self._launch, run, start, gone))
        return launch

    def _is_left(self, row: Delivery) -> bool:
        """Whether a row joined a lane of this worker's after its channel was unregistered; it is released."""
        channel_id = row.channel_id
        if self._claimable is None or channel_id in self._claimable:
            return False
        self._channels.left.add((row.room_id, channel_id))
        return True

    def _launch(self, run: Run, start: Callable[[], None], gone: Iterable[Delivery]) -> None:
        now = self._clock.now()
        reason = "erased" if run.event.is_erased else "channel_detached"
        for row in gone:
            self._settling.ended(
                run, row.outcome(state=DeliveryState.SKIPPED, reason=reason, finished_at=now)
            )
        start()
        self._dispatcher.launched(run)
