"""Drives a store by random calls: deliveries, receipts, workers and timers, while time passes."""

# the name of a rule says what it does

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import (
    precondition,
    rule,
)

from roomkit.abc.store import Commit, Committed, ConversationStore, Entry
from roomkit.models.delivery import DeliveryOutcome
from roomkit.models.enums import (
    DeliveryState,
    EventType,
    ReceiptState,
)
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.contracts.store.base import (
    LEASE,
    reported,
)
from roomkit_plugins.testing.contracts.store.driving import (
    NUMBERS,
    PEOPLE,
    PLACES,
    WORKER,
    WORKERS,
    StoreMachine,
)

__all__ = ["LedgerMachine"]

CHANNELS = st.sampled_from([None, (), ("sms",), ("ai", "email")])


class LedgerMachine(StoreMachine):
    """Several workers on several rooms, which lose their leases every now and then."""

    @rule(number=NUMBERS, worker=WORKERS, kinds=st.integers(1, 2))
    def say_as(self, number: int, worker: int, kinds: int) -> None:
        said = [EventType.MESSAGE] * kinds
        self.commit_events(number, said, None, "ai", "all", False, {"sms"}, True, worker)

    @precondition(lambda self: self._events)
    @rule(number=NUMBERS, places=st.lists(PLACES, min_size=1, max_size=2), who=st.none() | PEOPLE)
    def redact(self, number: int, places: list[int], who: str | None) -> None:
        self._commit(
            Commit(
                room_id=self._room(number),
                entries=[],
                at=self._tick(),
                redact=[self._event(place).id for place in places],
                remove_participants=[] if who is None else [f"{self._prefix}-{who}"],
            )
        )

    @rule(number=NUMBERS, fence=st.integers(0, 5))
    def commit_under_lock(self, number: int, fence: int) -> None:
        self._commit(Commit(room_id=self._room(number), entries=[], at=self._tick(), fence=fence))

    @precondition(lambda self: self._rows)
    @rule(
        number=NUMBERS,
        worker=WORKER,
        place=PLACES,
        state=st.sampled_from(DeliveryState),
        fence=st.none() | st.integers(0, 5),
        timer=st.none() | st.integers(-1, 1),
        done=st.none() | PLACES,
        number_of_key=st.none() | st.integers(0, 4),
    )
    def commit_ends(
        self,
        number: int,
        worker: int | None,
        place: int,
        state: DeliveryState,
        fence: int | None,
        timer: int | None,
        done: int | None,
        number_of_key: int | None,
    ) -> None:
        """Ends and timers that ride along with a message, which may fail."""
        room_id, row, at = self._room(number), self._row(place), self._tick()
        key = None if number_of_key is None or fence is not None else f"key {number_of_key}"
        said = event(room_id, channel_id="ai", idempotency_key=key)  # one reason to fail is enough
        timers = [] if timer is None else [self._timer(room_id, timer)]
        completed = [] if done is None else self._timers[done : done + 1]

        async def commit(store: ConversationStore) -> Any:
            ended = await _ended(store, row, state)
            return await store.commit(
                Commit(
                    room_id=room_id,
                    entries=[Entry(said, ["sms"])],
                    at=at,
                    fence=fence,
                    worker_id=self._who(worker, store),
                    timers=timers,
                    completed=ended,
                    timers_done=completed,
                )
            )

        if isinstance(self._same(commit), Committed):
            self._events.append(said)
            self._rows.append(f"{said.id}:sms")

    @precondition(lambda self: self._rows)
    @rule(place=PLACES, state=st.sampled_from(DeliveryState), worker=WORKER)
    def complete(self, place: int, state: DeliveryState, worker: int | None) -> None:
        row = self._row(place)

        async def complete(store: ConversationStore) -> Any:
            ended = await _ended(store, row, state)
            return await store.complete(ended, worker_id=self._who(worker, store))

        self._same(complete)

    @precondition(lambda self: self._rows)
    @rule(
        place=PLACES,
        provider=st.sampled_from(["acme", "acme", "other"]),
        part=st.sampled_from(["", "/part"]),
        receipts=st.lists(st.sampled_from(ReceiptState), min_size=1, max_size=3),
        is_sent=st.booleans(),
    )
    def receive(
        self, place: int, provider: str, part: str, receipts: list[ReceiptState], is_sent: bool
    ) -> None:
        """Before the send was recorded, or after."""
        if is_sent:
            self.complete(place, DeliveryState.SENT, None)
        status = reported(self._row(place) + part, provider=provider)
        for receipt in receipts:
            self._same(partial(_receive, status=status, receipt=receipt))

    @precondition(lambda self: self._rows)
    @rule(place=PLACES, again=st.booleans())
    def settle(self, place: int, again: bool) -> None:
        row = self._row(place)
        self._same(lambda store: store.reopen_delivery(row) if again else store.drop_delivery(row, "no"))

    # -- workers and timers -------------------------------------------------------------------

    @rule()
    def let_time_pass(self) -> None:
        """Every lease runs out, also those of workers that are to go on."""
        asyncio.run_coroutine_threadsafe(self._wait(), self._loop).result()

    @rule(worker=WORKERS)
    def begin_work(self, worker: int) -> None:
        self._begin_work(worker)

    @rule(worker=WORKERS)
    def end_work(self, worker: int) -> None:
        self._same(lambda store: store.close_lease(self._id(worker, store)))

    @rule(worker=WORKERS)
    def go_on_working(self, worker: int) -> None:
        self._same(lambda store: store.renew_lease(self._id(worker, store), LEASE))

    @rule(worker=WORKERS, number=NUMBERS, channels=CHANNELS)
    def claim(self, worker: int, number: int, channels: Sequence[str] | None) -> None:
        self._same(lambda store: store.claim(self._room(number), self._id(worker, store), channels=channels))

    @rule(worker=WORKERS, limit=st.sampled_from([1, 2, 100]), channels=CHANNELS)
    def find_claimable(self, worker: int, limit: int, channels: Sequence[str] | None) -> None:
        self._same(
            lambda store: store.find_claimable(self._id(worker, store), channels=channels, limit=limit)
        )

    @rule(worker=WORKERS, channels=CHANNELS)
    def announce(self, worker: int, channels: Sequence[str] | None) -> None:
        self._same(lambda store: store.renew_lease(self._id(worker, store), LEASE, channels=channels))

    @rule(number=NUMBERS, offset=st.integers(-2, 2), again=st.none() | PLACES)
    def set_timer(self, number: int, offset: int, again: int | None) -> None:
        timer = self._timer(self._room(number), offset, again)
        self._same(lambda store: store.set_timer(timer))

    @rule(worker=WORKERS, offset=st.integers(-2, 2), limit=st.sampled_from([1, 100]))
    def claim_timers(self, worker: int, offset: int, limit: int) -> None:
        now = self._now + timedelta(minutes=offset)
        self._same(lambda store: store.claim_timers(self._id(worker, store), now, limit=limit))

    @precondition(lambda self: self._rows)
    @rule(place=PLACES, organization=st.sampled_from(["a", "b"]), limit=st.integers(1, 9))
    def ask_as(self, place: int, organization: str, limit: int) -> None:
        owner, row, said = f"{self._prefix}-{organization}", self._row(place), self._event(place).id
        room_id = self._room(place % 4)
        self._same(lambda store: store.get_room(room_id, organization_id=owner))
        self._same(lambda store: store.get_event(said, organization_id=owner))
        self._same(lambda store: store.get_delivery(row, organization_id=owner))
        self._same(lambda store: store.list_deliveries(organization_id=owner, limit=limit))
        self._same(lambda store: store.list_deliveries(organization_id=owner, limit=limit, newest_first=True))
        self._same(lambda store: store.list_deliveries(room_id, organization_id=owner, after=row))


async def _ended(store: ConversationStore, delivery_id: str, state: DeliveryState) -> list[DeliveryOutcome]:
    """Return a row as it is to end, if it is there; the vendor's message has the id of the row."""
    row = await store.get_delivery(delivery_id)
    if row is None:
        return []
    parts = (delivery_id, f"{delivery_id}/part")
    return [row.outcome(state=state, provider="acme", provider_message_id=delivery_id, parts=parts)]


async def _receive(store: ConversationStore, **receipt: Any) -> Any:
    return await store.record_receipt(**receipt)
