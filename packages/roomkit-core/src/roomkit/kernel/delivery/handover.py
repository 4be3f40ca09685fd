"""Turns of an agent that this worker no longer has, returned to the store for the other workers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from roomkit.models.delivery import Delivery, DeliveryError
from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.commit.ledger import Ledger
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.lease import Lease

__all__ = ["hand_over"]


async def hand_over(
    jobs: Sequence[Job], *, store: ConversationStore, ledger: Ledger, lease: Lease, clock: Clock
) -> None:
    """Release the deliveries of `jobs`: a worker with their channel claims them at its next look.

    A store releases a row of a worker in force only by its failure and its reopening. If this is interrupted
    in between, the ledger has failed rows that can be retried. Raises StoreError.
    """
    await ledger.flush()  # a lane with nothing pending has no holder
    found = [await store.get_delivery(job.delivery_id) for job in jobs]
    rows = [_left(row, clock.now()) for row in found if row is not None]
    completed = await store.complete(rows, worker_id=lease.worker_id)
    for row in rows:
        if row.id not in completed.refused:
            await store.reopen_delivery(row.id)


def _left(row: Delivery, at: datetime) -> Delivery:
    error = DeliveryError(
        code="unregistered",
        message=f"channel {row.channel_id!r} was unregistered before this delivery was begun: retry it where "
        "the channel is registered",
        retryable=True,
    )
    return row.replace(state=DeliveryState.FAILED, error=error, finished_at=at)
