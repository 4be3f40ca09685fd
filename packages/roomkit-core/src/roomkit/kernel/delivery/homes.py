"""Homes of live things: those that this worker has, and deliveries to those that it lacks."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, HomeElsewhereError, RoomNotFoundError, StoreBusyError, StoreError
from roomkit.abc.log import get_logger
from roomkit.abc.services.homes import Home
from roomkit.kernel.delivery.outcome import SendOutcome
from roomkit.kernel.flow.contract import grace_of
from roomkit.kernel.flow.job import Undone
from roomkit.models.delivery import DeliveryError

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, HomeRecord
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.delivery.wakeups import Wakeups
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.lease import Lease
    from roomkit.models.options import KitOptions

__all__ = ["HeldHomes"]

_log = get_logger("roomkit.kernel")


class _Held:
    """A home of this worker's, and the id of the lease under which it has it."""

    __slots__ = ("home", "worker_id")

    def __init__(self, home: Home, worker_id: str) -> None:
        self.home = home
        self.worker_id = worker_id


class HeldHomes:
    """The homes of this worker's live things, kept when it goes on under another lease."""

    def __init__(
        self,
        *,
        settings: KitOptions,
        store: ConversationStore,
        clock: Clock,
        lease: Lease,
        ledger: OutcomeWriter,
        wakeups: Wakeups,
    ) -> None:
        self._url = settings.worker_url
        self._period = settings.lease_seconds / 3
        self._store = store
        self._clock = clock
        self._lease = lease
        self._ledger = ledger
        self._wakeups = wakeups
        self._held: dict[tuple[str, str], _Held] = {}  # bound: the live things of this worker

    async def take(self, room_id: str, channel_id: str) -> Home:
        """Take a home of a room; pending deliveries to it are claimed in the background.

        Raises HomeElsewhereError, StoreError.
        """
        worker_id = await self._lease.any_worker()
        record = await self._store.take_home(room_id, channel_id, worker_id, url=self._url)
        if not _is_of(record, worker_id):
            raise _refused(record)
        held = self._held.get((room_id, channel_id))
        if held is None:
            held = self._held[room_id, channel_id] = _Held(_home(record), worker_id)
        held.home.token, held.worker_id = record.token, worker_id
        self._wake(room_id)
        return held.home

    async def leave(self, room_id: str, channel_id: str) -> None:
        """Leave a home; pending deliveries to it are claimed, and skipped. Raises StoreError."""
        held = self._held.get((room_id, channel_id))
        if held is None:
            return
        worker_id = await self._lease.any_worker()
        if held.worker_id != worker_id:  # not taken again since there is another lease
            await self._retake(room_id, channel_id, held, worker_id)
        await self._store.leave_home(room_id, channel_id, worker_id)
        self._held.pop((room_id, channel_id), None)
        self._wake(room_id)

    def of_room(self, room_id: str) -> list[str]:
        """Return the channels whose live things of a room this worker has."""
        return [channel_id for of_room, channel_id in self._held if of_room == room_id]

    def _wake(self, room_id: str) -> None:
        if self._lease.worker_id is not None:
            self._wakeups.wake(room_id, [None])

    async def retake(self) -> None:
        """Take the homes of an earlier lease again; those that another worker has had are lost.

        Raises StoreError; those not taken again by then are tried the next time.
        """
        worker_id = self._lease.worker_id
        assert worker_id is not None
        for (room_id, channel_id), held in list(self._held.items()):
            if held.worker_id != worker_id:
                await self._retake(room_id, channel_id, held, worker_id)

    async def _retake(self, room_id: str, channel_id: str, held: _Held, worker_id: str) -> None:
        try:
            record = await self._store.take_home(
                room_id, channel_id, worker_id, url=self._url, token=held.home.token
            )
        except RoomNotFoundError:
            record = None
        if self._held.get((room_id, channel_id)) is not held or held.worker_id == worker_id:
            return  # left, or taken again, in between
        if record is not None and _is_of(record, worker_id):
            held.home.token, held.worker_id = record.token, worker_id
        else:
            del self._held[room_id, channel_id]
            held.home.lost.set()

    async def without(self, job: Job) -> SendOutcome:
        """Return the outcome of a delivery to a live thing that this worker lacks.

        Raises Undone if it was handed over to the worker that has it, or waits for one that takes it;
        StoreError.
        """
        room_id, channel_id = job.run.event.room_id, job.target.binding.channel_id
        channel = job.target.channel
        assert channel is not None
        await self._ledger.flush()  # of deliveries that were made, none is passed on
        now, grace = self._clock.now(), grace_of(channel, channel_id)
        worker_id = await self._lease.any_worker()
        record = await self._store.yield_lane(room_id, channel_id, worker_id, at=now, grace=grace)
        if record is None or record.worker_id is None:
            return SendOutcome().skipped("no_session")
        if record.is_alive and record.worker_id != worker_id:
            self._wakeups.wake(room_id, [record.worker_id])
            raise Undone
        if self._lease.worker_id is not None and (record.is_alive or record.is_awaited(now, grace)):
            raise Undone
        return SendOutcome().failed(_unreachable(channel_id, record))

    # -- elections ------------------------------------------------------------------------------

    async def elect(self, name: str, work: Callable[[Home], Awaitable[None]]) -> None:
        """Run `work` on one worker of all; see `Homes.elect`."""
        while True:
            worker_id, home = await self._elected(name)
            try:
                async with self._lease.in_force_only() as limit:
                    await work(home)
            except TimeoutError:
                if not limit.expired():
                    await self._step_down(name, worker_id)
                    raise
            except BaseException:  # whatever ended the work, another worker may be elected
                await self._step_down(name, worker_id)
                raise
            else:
                await self._step_down(name, worker_id)
                return
            home.lost.set()

    async def _elected(self, name: str) -> tuple[str, Home]:
        """Wait until this worker is elected; return its id and the home."""
        while True:
            worker_id = await self._lease.any_worker()
            if self._lease.in_force:
                try:
                    record = await self._store.take_home(None, name, worker_id, url=self._url)
                except StoreError:
                    _log.warning("no worker could be elected for %r; it is tried again", name, exc_info=True)
                else:
                    if _is_of(record, worker_id) and worker_id == self._lease.held_id:
                        return worker_id, _home(record)
            await asyncio.sleep(self._period)

    async def _step_down(self, name: str, worker_id: str) -> None:
        try:
            await self._store.leave_home(None, name, worker_id)
        except StoreError:
            _log.warning(
                "the work elected as %r goes on elsewhere when the lease runs out", name, exc_info=True
            )


def _home(record: HomeRecord) -> Home:
    return Home(record.token, room_id=record.room_id, name=record.name)


def _is_of(record: HomeRecord, worker_id: str) -> bool:
    return record.is_alive and record.worker_id == worker_id


def _refused(record: HomeRecord) -> HomeElsewhereError | StoreBusyError:
    if record.is_alive and record.worker_id is not None:
        return HomeElsewhereError(
            f"channel {record.name!r} is live in room {record.room_id!r} on worker {record.worker_id}: "
            "send its second leg there, or refuse it",
            worker_id=record.worker_id,
            url=record.url,
        )
    return StoreBusyError(
        f"the home of channel {record.name!r} in room {record.room_id!r} was not taken: the lease of this "
        "worker has just run out; try again"
    )


def _unreachable(channel_id: str, record: HomeRecord) -> DeliveryError:
    what = "holds no live thing" if record.is_alive else "was lost"
    return DeliveryError(
        code=ErrorCode.UNREACHABLE,
        message=f"channel {channel_id!r} is not live on any worker: the worker with its home {what}; "
        "retry_delivery once it is live again",
        retryable=True,
    )
