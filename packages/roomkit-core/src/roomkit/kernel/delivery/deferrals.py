"""Bounded memory while deliveries wait: those beyond the bound are read from the ledger in their turn."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Protocol

from roomkit.abc.errors import StoreError
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.context import RECENT_EVENTS
from roomkit.kernel.flow.deferred import Deferred, Remainder
from roomkit.kernel.flow.draft import Run
from roomkit.kernel.flow.job import Job, Undone
from roomkit.kernel.flow.recipients import Target
from roomkit.kernel.flow.timers import after_broadcast_id
from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import Claimed, ConversationStore, RoomRecord
    from roomkit.kernel.delivery.settling import Settling
    from roomkit.kernel.flow.draft import TimelineWriter
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.lease import Lease

__all__ = ["Deferrals"]

_MOST_OF_LANE = 32
_PAGE = 4
"""How many deliveries are read at once at least, however many lanes share the bound."""


class _Lane(Protocol):
    key: tuple[str, str]
    queue: deque[Job | Deferred]
    timeline: TimelineWriter | None


class Deferrals:
    """Keeps the whole jobs of lanes within a bound, in a store that outlives the process.

    Lanes share it equally: at most 32 jobs wait in a lane, and at least one. Further deliveries are deferred:
    a lane keeps their place, and reads them again, a page in one statement, when their turn comes. Not
    deferred are an agent's turns, streams under way, and deliveries whose outcome a caller waits for: their
    memory is the caller's.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        lease: Lease,
        channels: Channels,
        settling: Settling,
        clock: Clock,
        most: int,
    ) -> None:
        self._store = store
        self._lease = lease
        self._channels = channels
        self._settling = settling
        self._clock = clock
        self._most = most

    def takes(self, job: Job, waiting: int, lanes: int) -> bool:
        """Whether a job is deferred behind so many that wait in its lane, beside so many lanes."""
        if waiting < self._share(lanes) or job.worker_id != self._lease.worker_id:
            return False
        target = job.target
        if target.is_agent or target.failure is not None or job.recipient is not None:
            return False
        return job.begun is None and not job.run.cascade.has_waiter

    def _share(self, lanes: int) -> int:
        return min(_MOST_OF_LANE, max(1, self._most // lanes))

    def defer(self, job: Job, lane: _Lane) -> Deferred:
        """Return what a lane keeps of a job; called before its run is launched."""
        run = job.run
        lane.timeline = run.timeline
        if run.remainder is None:
            run.remainder = Remainder(run)
        run.remainder.open += 1
        run.pending -= 1
        return Deferred(run.event.index, job.worker_id, run.remainder)

    async def recall(self, lane: _Lane, lanes: int) -> None:
        """Make the jobs of the deferred deliveries at the head of a lane again. Raises Undone.

        In the room's turn: an erasure comes before it, and is read, or after it, and finds the jobs.
        """
        if lane.key[1] not in self._channels:  # unregistered: its deliveries are left to other workers
            self._channels.left.add(lane.key)
            raise Undone
        at_head = takewhile(lambda each: isinstance(each, Deferred), lane.queue)
        page = list(islice(at_head, max(_PAGE, self._share(lanes))))
        launch: list[Callable[[], None]] = []  # bound: twice the page
        assert lane.timeline is not None
        try:
            await lane.timeline.in_turn(lane.key[0], partial(self._recall, lane, page, launch))
        except StoreError as error:
            # Not the deliveries' fault: they are reclaimed when the store is available again.
            self._lease.found_expired()
            raise Undone from error
        for each in launch:
            each()

    async def _recall(
        self, lane: _Lane, page: Sequence[Job | Deferred], launch: list[Callable[[], None]]
    ) -> None:
        room_id, channel_id = lane.key
        waiting = [each for each in page if isinstance(each, Deferred)]
        record = await self._store.load(room_id, recent=RECENT_EVENTS)
        rows = await self._store.read_lane(room_id, channel_id, [each.index for each in waiting])
        found = {row.event.index: row for row in rows}
        jobs: list[Job] = []  # bound: the page
        for each in waiting:
            if not lane.queue or lane.queue[0] is not each:
                break  # released in between, with all behind it
            lane.queue.popleft()
            row = found.get(each.index)
            if record is None or row is None:  # the room is deleted
                each.remainder.abandoned = True
            else:
                jobs += self._again(row, record, each, lane, launch)
        lane.queue.extendleft(reversed(jobs))

    def _again(
        self,
        claimed: Claimed,
        record: RoomRecord,
        deferred: Deferred,
        lane: _Lane,
        launch: list[Callable[[], None]],
    ) -> Sequence[Job]:
        """Return the job of a row that is still to be delivered, and add what launches its run."""
        row, event, remainder = claimed.delivery, claimed.event.without_former_contents(), deferred.remainder
        assert lane.timeline is not None
        run = Run(Cascade(is_awaited=False), event, record, (row.channel_id,), lane.timeline)
        run.remainder, run.resumed = remainder, remainder.resumed
        run.partly_heard = event.generation is not None and row.claims > 0
        if remainder.has_timer:
            run.timer_id = after_broadcast_id(event.id)
        run.cascade.hold()
        launched = partial(self._settling.launched, run)
        binding = record.bindings.get(row.channel_id)
        if row.state is not DeliveryState.PENDING or row.holder != self._lease.worker_id:
            run.pending, run.abandoned = 0, row.state is DeliveryState.PENDING
            launch.append(launched)
            return ()
        if binding is None or event.is_erased:
            reason = "erased" if event.is_erased else "channel_detached"
            skipped = row.outcome(state=DeliveryState.SKIPPED, reason=reason, finished_at=self._clock.now())
            launch += (partial(self._settling.ended, run, skipped), launched)
            return ()
        job = Job(run, Target(binding, self._channels.get(row.channel_id)), claimed=row)
        job.worker_id = row.holder
        launch.append(launched)
        return (job,)
