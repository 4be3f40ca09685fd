"""Workers that share a store, locks and realtime, as kits of one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from roomkit.abc.errors import StoreUnavailableError
from roomkit.abc.locks import RoomLockManager
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import text_of
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import RecordingChannel

LEASE = 9.0
PENDING, SENT, FAILED, SKIPPED = (
    DeliveryState.PENDING,
    DeliveryState.SENT,
    DeliveryState.FAILED,
    DeliveryState.SKIPPED,
)


class SharedStore(InMemoryStore):
    """A store that says it outlives its workers; `gone` has every write fail."""

    write_delay = 0.5
    gone = False

    @property
    def is_process_local(self) -> bool:
        return False

    async def complete(self, *args: Any, **options: Any) -> Any:
        self._fail_if_gone()
        return await super().complete(*args, **options)

    async def renew_lease(self, *args: Any, **options: Any) -> bool:
        self._fail_if_gone()
        return await super().renew_lease(*args, **options)

    def _fail_if_gone(self) -> None:
        if self.gone:
            raise StoreUnavailableError("the store is gone")


class Carried(RecordingChannel):
    """A transport with a provider's name, so that receipts can be told apart."""

    @property
    def provider_name(self) -> str | None:
        return "acme"


class WorkerLocks(RoomLockManager):
    """One worker's part of the locks that all share, as a lock service has them."""

    def __init__(self, shared: InMemoryLockManager) -> None:
        self._shared = shared
        self._turns = InMemoryLockManager()

    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[None]:
        async with self._turns.locked(room_id), self._shared.locked(room_id):
            yield

    def turn(self, room_id: str) -> AbstractAsyncContextManager[None]:
        return self._turns.locked(room_id)


class House:
    """Workers that share a store, locks and realtime, as kits of one event loop."""

    def __init__(self, stage_class: type[Any]) -> None:
        self._stage_class = stage_class
        self.store = SharedStore()
        self.locks = InMemoryLockManager()
        self.realtime = InMemoryRealtime()
        self.stages: list[Any] = []

    def worker(self, **options: Any) -> Any:
        """Return a worker that is not started yet."""
        stage = self._stage_class(
            store=self.store,
            lock_manager=WorkerLocks(self.locks),
            realtime=self.realtime,
            single_process=True,
            lease_seconds=LEASE,
            **options,
        )
        self.stages.append(stage)
        return stage

    async def kill(self, stage: Any) -> None:
        """End a worker as SIGKILL would: nothing is said, written or given back."""
        supervisor = stage.kit._kernel.ground.supervisor
        stage.kit._kernel.outcomes.ledger._rows.clear()
        stage.kit._kernel.outcomes.ledger._timers.clear()
        supervisor.start = supervisor.serve = lambda work, *args, **options: work.close()
        for task in [*supervisor._services, *supervisor._tasks]:
            task.cancel()
        await asyncio.sleep(0)
        self.stages.remove(stage)

    async def rows(self, room: str = "r1") -> dict[str, Any]:
        """Return the ledger's rows by channel and text."""
        found = {}
        for row in await self.store.list_deliveries(room, limit=1000):
            event = await self.store.get_event(row.event_id)
            found[row.channel_id, text_of(event.content)] = row
        return found


async def add(stage: Any, name: str, *, attach: bool, **options: Any) -> RecordingChannel:
    """Register a transport with a worker, and attach it to the room once."""
    channel = Carried(name, **options)
    if attach:
        return await stage.join(channel)
    stage.kit.register_channel(channel)
    return channel


def slow(stage: Any, name: str, seconds: float) -> None:
    """Have a worker's channel take so long for each delivery from now on."""
    stage.kit.get_channel(name)._script.delay = seconds


def heard(stage: Any, name: str) -> list[str]:
    """Return what a worker's channel has delivered."""
    return stage.kit.get_channel(name).texts()
