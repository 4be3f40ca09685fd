"""Turns of an agent that this worker no longer has, returned to the store for the other workers."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from roomkit.models.delivery import Delivery, DeliveryError, DeliveryOutcome
from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.commit.writer import Writer
    from roomkit.kernel.delivery.lanes import Lanes
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.lease import Lease

__all__ = ["HandOver"]

_PAGE = 500


class HandOver:
    """Releases the turns of unregistered agents: a worker with their channel claims them at its next look.

    A lane is free for other workers once none of its rows is held, so all that this worker holds of it are
    released together, under the room's lock: an event that is committed in between would join a held lane.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        ledger: OutcomeWriter,
        lease: Lease,
        clock: Clock,
        writer: Writer,
        lanes: Lanes,
        channels: Channels,
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._lease = lease
        self._clock = clock
        self._writer = writer
        self._lanes = lanes
        self._channels = channels

    async def work(self) -> None:
        """Release the deliveries of the bindings in `Channels.left`. Raises StoreError; others stay there.

        In a store that ends with the process there is no other worker: they wait there for their channel.
        """
        if self._lease.worker_id is None:
            return
        for key in tuple(self._channels.left):
            if await self._writer.exclusively(key[0], partial(self._release, *key)):
                self._channels.left.discard(key)

    async def _release(self, room_id: str, channel_id: str) -> bool:
        """Release one lane, unless a turn that ignores its end is still under way there.

        A store releases a row of a worker in force only by its failure and its reopening. If this is
        interrupted in between, the ledger has failed rows that can be retried.
        """
        if self._lanes.get(room_id, channel_id) is not None:
            return False
        await self._ledger.flush()  # a lane with nothing pending has no holder
        rows = await self._held(room_id, channel_id)
        if not rows:
            return True
        completed = await self._store.complete(rows, worker_id=self._lease.worker_id)
        for row in rows:
            if row.id not in completed.refused:
                await self._store.reopen_delivery(row.id)
        return True

    async def _held(self, room_id: str, channel_id: str) -> list[DeliveryOutcome]:
        """Return the rows that this worker holds, as failed."""
        held: list[DeliveryOutcome] = []  # bound: the pending rows of a lane
        after: str | None = None
        while page := await self._store.list_deliveries(
            room_id, channel_id=channel_id, state=DeliveryState.PENDING, limit=_PAGE, after=after
        ):
            now = self._clock.now()
            held += [_left(row, now) for row in page if row.holder == self._lease.worker_id]
            after = page[-1].id
        return held


def _left(row: Delivery, at: datetime) -> DeliveryOutcome:
    error = DeliveryError(
        code="unregistered",
        message=f"channel {row.channel_id!r} was unregistered before this delivery was begun: retry it where "
        "the channel is registered",
        retryable=True,
    )
    return row.outcome(state=DeliveryState.FAILED, error=error, finished_at=at)
