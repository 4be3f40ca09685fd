"""One lane per (room, binding): its deliveries go in commit order, and wait for no other lane."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Collection, Sequence
from contextvars import copy_context
from typing import TYPE_CHECKING, Protocol

from roomkit.authoring.coroutines import at_once
from roomkit.kernel.delivery.prompt import PromptDeliveries, PromptTime
from roomkit.kernel.delivery.waits import Waits
from roomkit.kernel.flow.continuation import continues
from roomkit.kernel.flow.deferred import Deferred
from roomkit.kernel.flow.job import Job, Undone
from roomkit.kernel.runtime.deadline import Abandoned, Deadline
from roomkit.kernel.runtime.scope import Work, innermost_gate, outside
from roomkit.kernel.runtime.tracing import under
from roomkit.models.enums import DoubleText

if TYPE_CHECKING:
    from roomkit.kernel.delivery.deferrals import Deferrals
    from roomkit.kernel.flow.draft import Run, TimelineWriter
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.channel import ChannelBinding

__all__ = ["Executor", "Lane", "Lanes"]

_FOLDING = frozenset({DoubleText.FOLD, DoubleText.INTERRUPT})
_FOLD_WINDOWS = 4
"""A burst that does not end is answered after this many windows."""


class Executor(Protocol):
    """Carries out the jobs of lanes."""

    async def deliver(self, job: Job, lane: Lane) -> None:
        """Carry the job out, whatever comes, and settle it."""

    async def answer(self, job: Job, lane: Lane) -> None:
        """Ask the intelligence to answer, and settle the job. Raises Undone."""

    async def steer(self, job: Job, lane: Lane) -> bool:
        """Hand the job's event to the work under way; False if it was not taken."""

    def skip(self, job: Job, reason: str) -> None:
        """Settle the job as skipped."""

    def refuse(self, job: Job) -> None:
        """Settle the job as failed: its lane is full."""

    def abandon(self, job: Job | Deferred) -> None:
        """Release the job: its ledger row stays pending, for the worker that reclaims it."""


class Lane:
    """The queue of one binding and the task that works it off; it exists only while there is work."""

    _task: asyncio.Task[None] | None = None
    interrupted: str | None = None
    """Why the turn under way was interrupted."""
    over = False
    """Whether any further result of the turn is ignored."""
    finish: str | None = None
    """The finish reason of the answer that was interrupted, where it is not the usual one."""
    is_committing = False
    """Whether text that was shown is being committed: no interruption may cut that."""
    _changed: asyncio.Event | None = None
    deadline: Deadline | None = None
    scope: Work | None = None
    busy: Job | None = None
    answering = False
    working = False
    timeline: TimelineWriter | None = None
    """Where the events of its deferred deliveries are."""

    def __init__(self, owner: Lanes, key: tuple[str, str]) -> None:
        self._owner = owner
        self.key = key
        self.queue: deque[Job | Deferred] = deque()  # bound: max_lane_backlog, kept by Lanes.enqueue

    @property
    def task(self) -> asyncio.Task[None] | None:
        """The task that waits in the middle of the lane's work."""
        return self._task

    @property
    def jobs_waiting(self) -> int:
        """How many jobs wait in memory as a whole."""
        return sum(isinstance(each, Job) for each in self.queue)

    @property
    def deferred(self) -> list[tuple[str, int]]:
        """The deferred deliveries, by channel id and the index of their event."""
        return [(self.key[1], each.index) for each in self.queue if isinstance(each, Deferred)]

    @property
    def waiting_event_ids(self) -> set[str]:
        """The events still to be shown to this binding."""
        return {job.run.event.id for job in self.queue if isinstance(job, Job)}

    def left_waiting(self, task: asyncio.Task[None]) -> None:
        """Note that `task` waits in the middle of the lane's work."""
        self._task = task
        deadline = self.deadline
        if deadline is not None:
            deadline.grace = self._owner.supervisor.abandon_after
            deadline.on_stuck = self._stuck
            deadline.waiting()

    def _stuck(self) -> None:
        """Go on in another task: the one at work ignores that its time is up."""
        job = self.busy
        assert self.deadline is not None
        if job is None or (self.answering and not self.deadline.foreign):
            # The kit's own code, which is on its way out.
            self.deadline.insist()
            return
        self.leave_task()
        job.overdue = True
        self.queue.appendleft(job)
        self._owner.go_on(self)

    def leave_task(self) -> None:
        """Leave behind the task that is at work; when it comes back, it ends."""
        assert self._task is not None
        assert self.deadline is not None
        self.deadline.abandoned = True
        self.deadline.close()
        self._owner.supervisor.abandon(self._task)
        self._task = self.busy = None
        self.answering = False

    def notice(self, job: Job) -> None:
        """Note a job that was put behind the one being worked on."""
        if self._changed is not None:
            self._changed.set()
        policy = job.target.binding.double_text
        if not job.target.is_agent or policy is DoubleText.QUEUE or self.busy is None:
            return
        if continues(job.run.event) or continues(self.busy.run.event):
            return  # results of tools are no more words of the person, and are not lost to them
        if policy is DoubleText.INTERRUPT:
            self.interrupt(over=False)
        elif policy is DoubleText.STEER:
            self._owner.supervisor.start(self._steer(job), f"steer {self.name}")

    def interrupt(self, reason: str = "interrupted", *, over: bool = True, finish: str | None = None) -> bool:
        """Cancel the turn under way, unless the caller is part of it; return whether that ends it now.

        It is `over` unless an answer counts that comes although the turn was cancelled. `finish` is the
        finish reason of its answer.
        """
        task = self._task
        if task is None or not self.answering or (self.scope is not None and self.scope.holds_caller):
            return False
        if self.is_committing:
            self.interrupted = self.interrupted or reason
            return False
        if self.interrupted is None:
            task.cancel()
        elif self.over or not over:
            return False
        self.interrupted, self.over, self.finish = reason, over, finish
        if self.deadline is not None:
            self.deadline.insist()
        return True

    async def _steer(self, job: Job) -> None:
        if await self._owner.executor.steer(job, self) and job in self.queue:
            self.queue.remove(job)
            self._owner.executor.skip(job, "steered")

    def was_interrupted(self) -> bool:
        """Return whether the CancelledError just caught was an interruption, and take it back."""
        if self.interrupted is None:
            return False
        self.interrupted, self.over, self.finish = None, False, None
        return self._task is not None and self._task.uncancel() == 0

    async def work(self, deadline: Deadline, scope: Work) -> None:
        """Work the queue off, in order."""
        executor, queue, lease = self._owner.executor, self.queue, self._owner.lease
        self.deadline, self.scope = deadline, scope
        try:
            while queue:
                if lease.worker_id is not None:
                    if not lease.in_force:
                        lease.found_expired()
                        return
                    if queue[0].worker_id != lease.worker_id:  # of an earlier lease: it is claimed again
                        executor.abandon(queue.popleft())
                        continue
                head = queue[0]
                if isinstance(head, Deferred):
                    await self._owner.recall(self)
                    continue
                job = self.busy = head
                queue.popleft()
                answering = job.target.is_agent and job.recipient is None
                if answering:
                    job = await self._gather(job)
                scope.event, scope.cascade, scope.is_turn = job.run.event, job.run.cascade, answering
                if self._owner.traced:
                    await self._traced(job, answering)
                elif answering:
                    await executor.answer(job, self)
                else:
                    await executor.deliver(job, self)
                self.busy = None
        except Undone:
            return
        finally:
            if not deadline.abandoned:
                if self.busy is not None or queue:
                    # Only a cancellation (the kit is closing), a lease that ran out or a store that is
                    # gone leaves anything here.
                    self.drop()
                self.working = False
                self._owner.forget(self)

    def drop(self) -> None:
        """Release all remaining jobs, for other workers to reclaim."""
        executor = self._owner.executor
        if self.busy is not None:
            executor.abandon(self.busy)
            self.busy = None
        while self.queue:
            executor.abandon(self.queue.popleft())

    async def _traced(self, job: Job, answering: bool) -> None:
        """Carry the job out at its event's place in the trace: the lane has those of many."""
        executor = self._owner.executor
        with under(job.run.event.trace_parent):
            await (executor.answer(job, self) if answering else executor.deliver(job, self))

    async def _gather(self, job: Job) -> Job:
        """Return the job to answer: with FOLD and INTERRUPT the last of those that wait."""
        policy = job.target.binding.double_text
        if job.overdue or policy not in _FOLDING or continues(job.run.event):
            return job
        if policy is DoubleText.FOLD:
            await self._burst(job.target.binding.fold_seconds)
        while self.queue:
            later = self.queue[0]
            if isinstance(later, Deferred) or continues(later.run.event):
                break
            self.queue.popleft()
            self._owner.executor.skip(job, f"folded_into:{later.run.event.id}")
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


class Batch:
    """The jobs of one event: `prompt` ones, which go out when it is started, and those in lanes.

    `busy` is the prompt one at work. It has a `lane` once another part of the kit asks for it.
    """

    __slots__ = ("busy", "lane", "prompt", "queued", "run")

    def __init__(self, run: Run) -> None:
        self.run = run
        self.prompt: deque[Job] = deque()  # bound: the event's targets
        self.queued: list[tuple[Job, Lane]] = []  # bound: likewise
        self.busy: Job | None = None
        self.lane: Lane | None = None


class Lanes:
    """All lanes with work; an idle binding has none.

    A delivery that cannot wait has none either: see `PromptDeliveries`. Between its commit and its start, and
    while it is made, it is put into a lane as soon as a caller asks for the lanes of its room, or another
    event is committed there; so the lanes, and the order in each, look as if it had been there
    from the start.
    """

    def __init__(
        self,
        *,
        supervisor: Supervisor,
        lease: Lease,
        executor: Executor,
        max_backlog: int,
        traced: bool,
        prompt: PromptDeliveries,
        deferrals: Deferrals,
    ) -> None:
        self.supervisor = supervisor
        self.traced = traced
        self.lease = lease
        self.executor = executor
        self._max_backlog = max_backlog
        self._prompt = prompt
        self._deferrals = deferrals
        self._lanes: dict[tuple[str, str], Lane] = {}
        self._planned: dict[str, Batch] = {}  # bound: the rooms with a commit that is not started yet
        self.waits = Waits(self._lanes)

    def __len__(self) -> int:
        return len(self._lanes) + len(self._planned)

    def plan(self, run: Run, jobs: Sequence[Job], *, always: bool = False) -> Batch:
        """Queue an event's jobs; called under the room's lock, so it starts nothing.

        A full lane refuses them, unless `always`: claimed jobs are in the ledger already.
        """
        room_id = run.event.room_id
        if room_id in self._planned:
            self._queue_planned(room_id)
        batch = Batch(run)
        may_take = self._prompt.may_take
        for job in jobs:
            if not self.traced and may_take(job):
                batch.prompt.append(job)
            else:
                batch.queued.append((job, self._enqueue(job, always=always)))
        if batch.prompt:
            self._planned[room_id] = batch
        return batch

    def _enqueue(self, job: Job, *, always: bool = False) -> Lane:
        """Put a job at the end of its lane."""
        lane = self._lane(job)
        waiting = len(lane.queue)
        if waiting >= self._max_backlog and not always:
            job.refused = True
        elif waiting and job.worker_id and self._deferrals.takes(job, waiting, len(self._lanes)):
            lane.queue.append(self._deferrals.defer(job, lane))
        else:
            lane.queue.append(job)
        return lane

    def _lane(self, job: Job) -> Lane:
        key = (job.run.event.room_id, job.target.binding.channel_id)
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(self, key)
        return lane

    def _queue_planned(self, room_id: str) -> None:
        """Put the prompt jobs of a room into lanes, where they go on when their batch is started."""
        batch = self._planned.pop(room_id)
        if batch.busy is not None:
            batch.lane = self._lane(batch.busy)
            batch.lane.working, batch.lane.busy = True, batch.busy
        while batch.prompt:
            job = batch.prompt.popleft()
            batch.queued.append((job, self._enqueue(job)))

    def start(self, batch: Batch) -> None:
        """Have the jobs worked on: at once where the lane is idle, else in their turn.

        Those that cannot wait are done first. One task works through the idle lanes one after the other for
        as long as nothing makes it wait; where something does, it stays there, and another one goes on with
        the rest. So a lane that waits holds up none of the others, and those that do not wait share the price
        of a task.
        """
        if batch.prompt:
            copy_context().run(at_once, self._deliver_at_once(batch))
        idle: list[Lane] = []  # bound: the jobs
        for job, lane in batch.queued:
            if job.refused:
                self.executor.refuse(job)
            elif lane.working:
                lane.notice(job)
                if self.waits.waiting:
                    self.waits.queued()
            elif lane.queue:
                lane.working = True
                idle.append(lane)
            else:  # its jobs were taken out before they began
                self.forget(lane)
        if not idle:
            return
        idle.reverse()
        while idle:
            at: list[Lane] = []  # bound: one, the lane the task is at
            task = self.supervisor.start(self._work(batch.run.event.room_id, idle, at), "lanes")
            if not task.done():
                task.set_name(at[0].name)
                at[0].left_waiting(task)

    async def _deliver_at_once(self, batch: Batch) -> None:
        """Do the prompt jobs of a batch; put those that turn out to be none into their lanes."""
        run, prompt, deliver, lease = batch.run, batch.prompt, self._prompt.deliver, self.lease
        room_id, time = run.event.room_id, PromptTime(self._prompt.clock)
        try:
            with Work(room_id, run.event, run.cascade):
                while prompt:
                    job = batch.busy = prompt.popleft()
                    if self._lanes and (room_id, job.target.binding.channel_id) in self._lanes:
                        batch.queued.append((job, self._enqueue(job)))
                    elif lease.worker_id is None or self._is_ours(job):
                        is_done = await deliver(job, time)
                        if not is_done or batch.lane is not None:
                            self._leave_to_lane(batch, job, is_done=is_done)
                    batch.busy = None
        finally:
            if self._planned.get(room_id) is batch:
                del self._planned[room_id]
            if batch.busy is not None:  # the program ends
                self._abandon(batch.busy, *prompt)

    def _is_ours(self, job: Job) -> bool:
        """Whether the lease that a job was committed under is in force; if not, the job is released."""
        lease = self.lease
        if not lease.in_force:
            lease.found_expired()
        elif job.worker_id == lease.worker_id:
            return True
        self._abandon(job)
        return False

    def _abandon(self, *jobs: Job) -> None:
        for job in jobs:
            self.executor.abandon(job)

    def _leave_to_lane(self, batch: Batch, job: Job, *, is_done: bool) -> None:
        """Have a lane go on after the prompt job at work, or with it."""
        lane, batch.lane = batch.lane, None
        if lane is None:
            lane = self._lane(job)
        lane.working, lane.busy = False, None
        if not is_done:
            lane.queue.appendleft(job)
        if lane.queue:
            batch.queued.append((job, lane))
        else:
            self.forget(lane)

    async def _work(self, room_id: str, idle: list[Lane], at: list[Lane]) -> None:
        try:
            with Deadline(None, lazy=True) as deadline, Work(room_id) as scope:
                while idle:
                    at[:] = (idle.pop(),)
                    await at[0].work(deadline, scope)
        except Abandoned:
            return  # the lane has another task since

    async def recall(self, lane: Lane) -> None:
        """Make the jobs of deferred deliveries at the head of a lane again. Raises Undone."""
        await self._deferrals.recall(lane, len(self._lanes))

    def go_on(self, lane: Lane) -> None:
        """Work on a lane's queue in another task."""
        at: list[Lane] = []  # bound: one
        task = self.supervisor.start(self._work(lane.key[0], [lane], at), lane.name, outside())
        if not task.done():
            lane.left_waiting(task)

    async def let_go(self) -> None:
        """Stop all work under way and wait for its end; the ledger rows stay as they are."""
        tasks = {lane.task for lane in self._lanes.values() if lane.task is not None}
        tasks.discard(asyncio.current_task())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * self.supervisor.abandon_after)
            self.leave_behind(tasks)

    def leave_behind(self, tasks: Collection[asyncio.Task[None]] | None = None) -> None:
        """Leave behind the tasks (None: all) that are still at work; their ledger rows stay as they are."""
        for lane in list(self._lanes.values()):
            task = lane.task
            if task is not None and not task.done() and (tasks is None or task in tasks):
                job = lane.busy
                lane.leave_task()
                lane.busy = job
                lane.drop()
                lane.working = False
                self.forget(lane)

    def interrupt(self, room_id: str, stream_id: str | None, reason: str) -> int:
        """End the turns under way in a room, or the one whose answer has that id; return how many end now."""
        return sum(
            lane.interrupt(reason, finish=reason)
            for lane in list(self._lanes.values())
            if lane.key[0] == room_id and stream_id in (None, _stream_of(lane.busy))
        )

    def end_turns(
        self, room_id: str | None, reason: str, *, of: str | None = None, for_whom: str | None = None
    ) -> None:
        """End turns under way in a room (None: in any) at once: those of one intelligence, or on one
        participant's behalf.

        What people saw of their answers is committed; a turn that the caller is part of goes on.
        """
        for lane in list(self._lanes.values()):
            if room_id not in (None, lane.key[0]) or (of is not None and lane.key[1] != of):
                continue
            if for_whom is None or (lane.busy is not None and for_whom in _asked_by(lane.busy)):
                lane.interrupt(reason)

    async def end_answers(self, room_id: str | None, reason: str, *, of: str | None = None) -> None:
        """End turns under way as `end_turns` does, and wait until what people saw of them is committed.

        Those `of` one intelligence are waited for in any case: its lanes are to be released.

        It waits for no turn that the caller is part of, for none inside a gate, which holds the lock that
        they need, and for an agent that ignores its cancellation no longer than until it is abandoned.
        """
        self.end_turns(room_id, reason, of=of)
        if innermost_gate() is not None:
            return
        ending = [lane.busy for lane in self._lanes.values() if lane.busy and lane.interrupted == reason]
        try:
            async with asyncio.timeout(2 * self.supervisor.abandon_after):
                for job in ending:
                    if job.stream is not None or of is not None:
                        job.settled = job.settled or asyncio.Event()
                        await job.settled.wait()
        except TimeoutError:
            return  # the ledger records the part that was seen

    def take_waiting(self, channel_id: str) -> list[tuple[str, str]]:
        """Take the turns that wait for one intelligence out of its lanes; return the keys of these lanes.

        Their rows stay pending.
        """
        lanes = [lane for lane in self._lanes.values() if lane.key[1] == channel_id and lane.answering]
        for lane in lanes:
            while lane.queue:
                self.executor.abandon(lane.queue.popleft())
        return [lane.key for lane in lanes]

    def narrow(self, binding: ChannelBinding) -> None:
        """Have the answer that an intelligence is giving shown to no more than its binding admits now."""
        lane = self._lanes.get((binding.room_id, binding.channel_id))
        if lane is not None and lane.busy is not None and lane.busy.stream is not None:
            lane.busy.stream.narrow(binding.visibility)

    def get(self, room_id: str, channel_id: str) -> Lane | None:
        """Return the lane of a binding, None while it is idle."""
        if room_id in self._planned:
            self._queue_planned(room_id)
        return self._lanes.get((room_id, channel_id))

    def of_room(self, room_id: str) -> list[str]:
        """Return the channels whose lanes in a room are at work."""
        if room_id in self._planned:
            self._queue_planned(room_id)
        return [channel_id for of_room, channel_id in self._lanes if of_room == room_id]

    def forget(self, lane: Lane) -> None:
        """Drop an idle lane."""
        if not lane.queue and self._lanes.get(lane.key) is lane:
            del self._lanes[lane.key]


def _stream_of(job: Job | None) -> str | None:
    """Return the id of the answer that a turn streams."""
    return None if job is None or job.stream is None else job.stream.event_id


def _asked_by(job: Job) -> tuple[str | None, str | None]:
    """Return on whose behalf a turn is."""
    source = job.run.event.source
    return source.participant_id, source.on_behalf_of
