"""Turns of an agent that this worker no longer has, returned to the store for the other workers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.models.delivery import Delivery, DeliveryError
from roomkit.models.enums import DeliveryState

if TYPE_CHECKING:
    from roomkit.kernel.lanes import Job
    from roomkit.kernel.parts import Parts

__all__ = ["hand_over"]


async def hand_over(parts: Parts, jobs: Sequence[Job]) -> None:
    """Have nobody hold the deliveries of `jobs`: a worker with their channel claims them at its next look.

    A store releases a row of a worker in force only by its failure and its reopening. If this is interrupted
    in between, the ledger has failed rows that can be retried. Raises StoreError.
    """
    await parts.ledger.flush()  # a lane with nothing pending is held by nobody
    rows = [_left(row, parts) for job in jobs if (row := await parts.store.get_delivery(job.delivery_id))]
    completed = await parts.store.complete(rows, worker_id=parts.lease.worker_id)
    for row in rows:
        if row.id not in completed.refused:
            await parts.store.reopen_delivery(row.id)


def _left(row: Delivery, parts: Parts) -> Delivery:
    error = DeliveryError(
        code="unregistered",
        message=f"channel {row.channel_id!r} was unregistered before this delivery was begun: retry it where "
        "the channel is registered",
        retryable=True,
    )
    return row.replace(state=DeliveryState.FAILED, error=error, finished_at=parts.clock.now())
