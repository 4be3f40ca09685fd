"""One lane per (room, binding): its deliveries go in commit order, and wait for nobody else's."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from roomkit.kernel.deadline import Deadline
from roomkit.kernel.scope import Work
from roomkit.kernel.tracing import under
from roomkit.models.enums import DoubleText

if TYPE_CHECKING:
    from roomkit.kernel.cascade import Run
    from roomkit.kernel.lease import Lease
    from roomkit.kernel.plan import Target
    from roomkit.kernel.streams import Recipient
    from roomkit.kernel.supervisor import Supervisor
    from roomkit.models.delivery import Delivery

__all__ = ["Job", "Lane", "Lanes", "Undone", "Worker"]

_FOLD_WINDOWS = 4
"""A burst that does not end is answered after this many windows."""


class Job:
    """One delivery: an event on its way to one binding."""

    __slots__ = ("claimed", "recipient", "refused", "run", "target", "worker_id")

    def __init__(
        self,
        run: Run,
        target: Target,
        recipient: Recipient | None = None,
        claimed: Delivery | None = None,
    ) -> None:
        self.run = run
        self.target = target
        self.claimed = claimed
        """The ledger row, when it was taken over or up again."""
        self.recipient = recipient
        """Where the event was already streamed to, when it was."""
        self.refused = False
        """Whether its lane had no place for it."""
        self.worker_id: str | None = None
        """Under which lease it is held."""

    @property
    def delivery_id(self) -> str:
        """The id of its row in the ledger."""
        return f"{self.run.event.id}:{self.target.binding.channel_id}"


class Undone(Exception):
    """A job that could not be carried out now, for no fault of its own: its ledger row stays pending."""


class Worker(Protocol):
    """What a lane does with its jobs."""

    async def deliver(self, job: Job, lane: Lane) -> None:
        """Carry the job out, whatever comes, and settle it."""

    async def answer(self, job: Job, lane: Lane) -> None:
        """Have the intelligence answer, and settle the job. Raises Undone."""

    async def steer(self, job: Job, lane: Lane) -> bool:
        """Hand the job's event to the work under way; False when nobody took it."""

    def skip(self, job: Job, reason: str) -> None:
        """Settle the job as skipped."""

    def refuse(self, job: Job) -> None:
        """Settle the job as failed: its lane is full."""

    def abandon(self, job: Job) -> None:
        """Let go of the job: its ledger row stays pending, for whoever resumes it."""


class Lane:
    """The queue of one binding and the task that works it off; it exists only while there is work."""

    _task: asyncio.Task[None] | None = None
    _interrupting = False
    _changed: asyncio.Event | None = None
    deadline: Deadline | None = None
    busy: Job | None = None
    answering = False
    working = False

    def __init__(self, owner: Lanes, key: tuple[str, str]) -> None:
        self._owner = owner
        self.key = key
        self.queue: deque[Job] = deque()  # bound: max_lane_backlog, kept by Lanes.enqueue

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that waits in the middle of the lane's work."""
        return self._task

    @property
    def waiting_event_ids(self) -> set[str]:
        """The events still to be shown to this binding."""
        return {job.run.event.id for job in self.queue}

    def left_waiting(self, task: asyncio.Task[None]) -> None:
        """Note that `task` waits in the middle of the lane's work."""
        self._task = task
        if self.deadline is not None:
            self.deadline.waiting()

    def notice(self, job: Job) -> None:
        """Note a job that was put behind the one being worked on."""
        if self._changed is not None:
            self._changed.set()
        policy = job.target.binding.double_text
        if not job.target.is_agent or policy is DoubleText.QUEUE or self.busy is None:
            return
        if policy is DoubleText.INTERRUPT:
            self.interrupt()
        elif policy is DoubleText.STEER:
            self._owner.supervisor.start(self._steer(job), f"steer {self.name}")

    def interrupt(self) -> None:
        """Cancel the turn under way, unless it is this turn that made the message."""
        task = self._task
        if task is None or task is asyncio.current_task():
            return
        if self.answering and not self._interrupting:
            self._interrupting = True
            task.cancel()

    async def _steer(self, job: Job) -> None:
        if await self._owner.worker.steer(job, self) and job in self.queue:
            self.queue.remove(job)
            self._owner.worker.skip(job, "steered")

    def was_interrupted(self) -> bool:
        """Return whether the CancelledError just caught was an interruption, and take it back."""
        if not self._interrupting:
            return False
        self._interrupting = False
        return self._task is not None and self._task.uncancel() == 0

    async def work(self, deadline: Deadline) -> None:
        """Work the queue off, in order."""
        worker, queue, lease = self._owner.worker, self.queue, self._owner.lease
        self.deadline = deadline
        try:
            while queue:
                if lease.worker_id is not None:
                    if not lease.in_force:
                        lease.found_expired()
                        return
                    if queue[0].worker_id != lease.worker_id:  # of a lease before: it is claimed anew
                        worker.abandon(queue.popleft())
                        continue
                job = self.busy = queue.popleft()
                answering = job.target.is_agent and job.recipient is None
                if answering:
                    job = await self._gather(job)
                if self._owner.traced:
                    await self._traced(job, answering)
                elif answering:
                    await worker.answer(job, self)
                else:
                    await worker.deliver(job, self)
                self.busy = None
        except Undone:
            return
        finally:
            # Only a cancellation (the kit is closing), a lease that ran out or a store that is gone leaves
            # anything here.
            if self.busy is not None:
                worker.abandon(self.busy)
            while queue:
                worker.abandon(queue.popleft())
            self.working = False
            self._owner.forget(self)

    async def _traced(self, job: Job, answering: bool) -> None:
        """Carry the job out at its event's place in the trace: the lane has those of many."""
        worker = self._owner.worker
        with under(job.run.event.trace_parent):
            await (worker.answer(job, self) if answering else worker.deliver(job, self))

    async def _gather(self, job: Job) -> Job:
        """Return the job to answer: with FOLD and INTERRUPT the last of those that wait."""
        policy = job.target.binding.double_text
        if policy is DoubleText.FOLD:
            await self._burst(job.target.binding.fold_seconds)
        if policy is DoubleText.FOLD or policy is DoubleText.INTERRUPT:
            while self.queue:
                later = self.queue.popleft()
                self._owner.worker.skip(job, f"folded_into:{later.run.event.id}")
                job = self.busy = later
        return job

    async def _burst(self, window: float) -> None:
        """Wait until nothing has come for `window` seconds, but not for ever."""
        loop = asyncio.get_running_loop()
        latest = loop.time() + window * _FOLD_WINDOWS
        self._changed = asyncio.Event()
        try:
            while (left := min(window, latest - loop.time())) > 0:
                try:
                    async with asyncio.timeout(left):
                        await self._changed.wait()
                except TimeoutError:
                    return
                self._changed.clear()
        finally:
            self._changed = None

    @property
    def name(self) -> str:
        """What the lane is called."""
        return f"lane {self.key[1]} of room {self.key[0]}"


class Lanes:
    """All lanes with work; an idle binding has none."""

    def __init__(self, supervisor: Supervisor, lease: Lease, max_backlog: int, *, traced: bool) -> None:
        self.supervisor = supervisor
        self.traced = traced
        self.lease = lease
        self.worker: Worker  # set by the kit: the worker needs the writer, which needs the lanes
        self._max_backlog = max_backlog
        self._lanes: dict[tuple[str, str], Lane] = {}

    def __len__(self) -> int:
        return len(self._lanes)

    def enqueue(self, job: Job, *, always: bool = False) -> Lane:
        """Put a job at the end of its lane; called under the room's lock, so it starts nothing.

        A full lane refuses it, but not `always`: what was claimed is in the ledger already.
        """
        key = (job.run.event.room_id, job.target.binding.channel_id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, key)
        if len(lane.queue) >= self._max_backlog and not always:
            job.refused = True
        else:
            lane.queue.append(job)
        return lane

    def start(self, room_id: str, jobs: Sequence[tuple[Job, Lane]]) -> None:
        """Have the jobs worked on: at once where the lane is idle, else in their turn.

        One task works through the idle lanes one after the other for as long as nothing makes it
        wait; where something does, it stays there, and another one goes on with the rest. So a lane
        that waits holds up none of the others, and those that do not wait share the price of a task.
        """
        idle: list[Lane] = []  # bound: the jobs
        for job, lane in jobs:
            if job.refused:
                self.worker.refuse(job)
            elif lane.working:
                lane.notice(job)
            elif lane.queue:
                lane.working = True
                idle.append(lane)
        if not idle:
            return
        idle.reverse()
        while idle:
            at: list[Lane] = []  # bound: one, the lane the task is at
            task = self.supervisor.start(self._work(room_id, idle, at), "lanes")
            if not task.done():
                task.set_name(at[0].name)
                at[0].left_waiting(task)

    async def _work(self, room_id: str, idle: list[Lane], at: list[Lane]) -> None:
        with Deadline(None, lazy=True) as deadline, Work(room_id):
            while idle:
                at[:] = (idle.pop(),)
                await at[0].work(deadline)

    async def let_go(self) -> None:
        """Stop all work under way and wait for its end; the ledger rows stay as they are."""
        tasks = {lane.task for lane in self._lanes.values() if lane.task is not None}
        tasks.discard(asyncio.current_task())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def get(self, room_id: str, channel_id: str) -> Lane | None:
        """Return the lane of a binding, None while it is idle."""
        return self._lanes.get((room_id, channel_id))

    def forget(self, lane: Lane) -> None:
        """Drop an idle lane."""
        if not lane.queue:
            self._lanes.pop(lane.key, None)
