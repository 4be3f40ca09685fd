"""Events whose delivery failed, or was not confirmed in time, on their way to another channel of the room."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode, StoreError
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.cascade import Cascade
from roomkit.kernel.flow.timers import FALLBACK, TimerOutcome, fallback_timer
from roomkit.models.enums import ChannelCategory, DeliveryState, ReceiptState
from roomkit.models.visibility import admits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.clock import Clock
    from roomkit.abc.store import ConversationStore, RoomRecord
    from roomkit.kernel.commit.ledger import OutcomeWriter
    from roomkit.kernel.delivery.outcome import SendOutcome
    from roomkit.kernel.flow.job import Job
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.delivery import Delivery
    from roomkit.models.timer import Timer

__all__ = ["FALLBACK", "MOST_FALLBACKS", "Fallbacks"]

_log = get_logger("roomkit.kernel")
MOST_FALLBACKS = 3
"""How many channels an event may go to in place of one, one after another."""
_PAUSE = timedelta(seconds=60)
_CONFIRMED = frozenset({ReceiptState.DELIVERED, ReceiptState.READ})


class Fallbacks:
    """Sets a timer before the outcome is recorded, and acts on it once that is, on any worker.

    The row of the other channel is made once, however often the timer fires. `take` starts it.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        clock: Clock,
        supervisor: Supervisor,
        events: FrameworkEvents,
        ledger: OutcomeWriter,
        take: Callable[[Delivery], Awaitable[Cascade]],
    ) -> None:
        self._store = store
        self._clock = clock
        self._supervisor = supervisor
        self._events = events
        self._ledger = ledger
        self._take = take

    async def note(self, job: Job, outcome: SendOutcome) -> None:
        """Provide for a delivery whose binding has a fallback, before its outcome is recorded."""
        after = job.target.binding.fallback_after
        if outcome.state is DeliveryState.FAILED and not _is_in_doubt(outcome):
            timer = fallback_timer(job.delivery_id, job.run.event.room_id, self._clock.now())
        elif outcome.state is DeliveryState.SENT and after is not None:
            due_at = self._clock.now() + timedelta(seconds=after)
            timer = fallback_timer(job.delivery_id, job.run.event.room_id, due_at)
        else:
            return
        try:
            await self._store.set_timer(timer)
        except StoreError:
            _log.warning(
                "delivery %s: its fallback is lost if this worker dies", job.delivery_id, exc_info=True
            )
        if outcome.state is DeliveryState.FAILED:
            job.run.fallbacks = (*job.run.fallbacks, timer)
        elif self._store.is_process_local:  # in which no sweep looks for timers
            assert after is not None
            self._supervisor.serve(self._later(timer, after), f"fallback of delivery {job.delivery_id}")

    async def reported(self, row: Delivery) -> None:
        """Fall back from a delivery of which a receipt says that it did not arrive, in the background."""
        if row.state is not DeliveryState.SENT or row.receipt is None or not row.receipt.is_failure:
            return
        record = await self._store.load(row.room_id)
        binding = None if record is None else record.bindings.get(row.channel_id)
        if binding is None or binding.fallback is None or await self._made_before(row, binding.fallback):
            return
        timer = fallback_timer(row.id, row.room_id, self._clock.now())
        await self._store.set_timer(timer)
        self._supervisor.start(self.now(timer), f"fallback of delivery {row.id}")

    async def _made_before(self, row: Delivery, channel_id: str) -> bool:
        found = await self._store.get_delivery(f"{row.event_id}:{channel_id}")
        return found is not None and found.fallback_of == row.id

    async def _later(self, timer: Timer, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.now(timer)

    async def now(self, timer: Timer) -> None:
        """Act on a timer at once, and remove it; wait for the deliveries that this starts."""
        await self._ledger.flush()
        cascade = await self._fall_back(f"{timer.data['delivery_id']}")
        await self._store.delete_timer(timer.id)
        if cascade is not None:
            await cascade.settled()

    async def fire(self, timer: Timer) -> TimerOutcome:
        """Act on a timer of this worker, or of one that was lost."""
        delivery_id = f"{timer.data['delivery_id']}"
        row = await self._store.get_delivery(delivery_id)
        if row is not None and row.state is DeliveryState.PENDING:
            return TimerOutcome(self._clock.now() + _PAUSE)
        return TimerOutcome(None, await self._fall_back(delivery_id) is not None)

    async def _fall_back(self, delivery_id: str) -> Cascade | None:
        """Make the row of the other channel and start it; None where there is nothing to do."""
        row = await self._store.get_delivery(delivery_id)
        if row is None or not _is_due(row):
            return None
        record = await self._store.load(row.room_id)
        binding = None if record is None else record.bindings.get(row.channel_id)
        if record is None or binding is None or binding.fallback is None:
            return None
        why_not = await self._why_not(row, record, binding.fallback)
        made = None if why_not else await self._store.add_fallback(row.id, binding.fallback)
        about = {"room_id": row.room_id, "channel_id": binding.fallback, "event_id": row.event_id}
        if made is None and not why_not and await self._made_before(row, binding.fallback):
            return None
        if made is None:
            reason = why_not or "delivered_before"
            self._events.emit("fallback_unavailable", **about, fallback_of=row.id, reason=reason)
            return None
        self._events.emit("delivery_fell_back", **about, fallback_of=row.id)
        return await self._take(made)

    async def _why_not(self, row: Delivery, record: RoomRecord, channel_id: str) -> str | None:
        """Return why the event of a row may not go to another channel."""
        steps, before = 1, row
        while before.fallback_of is not None:
            found = await self._store.get_delivery(before.fallback_of)
            if found is None:
                break
            steps, before = steps + 1, found
        if steps > MOST_FALLBACKS:
            return "too_many_fallbacks"
        binding = record.bindings.get(channel_id)
        if binding is None or binding.category is not ChannelCategory.TRANSPORT:
            return "channel_not_attached"
        event = await self._store.get_event(row.event_id)
        sees = event is not None and binding.can_read
        sees = sees and event is not None and admits(event.visibility, channel_id, binding.category)
        return None if sees else "not_visible"


def _is_in_doubt(outcome: SendOutcome) -> bool:
    return outcome.error is not None and outcome.error.code == ErrorCode.OUTCOME_UNKNOWN


def _is_due(row: Delivery) -> bool:
    """Whether a row that was to be confirmed, or to be sent, was not."""
    if row.state is DeliveryState.FAILED:
        return row.error is None or row.error.code != ErrorCode.OUTCOME_UNKNOWN
    return row.state is DeliveryState.SENT and row.receipt not in _CONFIRMED
