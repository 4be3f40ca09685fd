"""Writes to a store and is killed: `python killed.py PATH KILLS SEED`. Run by `test_killed.py`.

One process forks a worker for each kill. A worker takes over what the one before left, commits for
several rooms at once, ends its deliveries with the next commit, notes acknowledged writes in a pipe,
and kills itself before the n-th statement of its connection that writes, for every n in turn and then
for random ones. After each death the file must be whole and hold all that was acknowledged, and the
dead worker must be overtaken: its lease is moved into the past. In the end every delivery has ended.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
import threading
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

from roomkit.abc.errors import DuplicateEventError
from roomkit.abc.store import Commit, Committed, Completed, Entry
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery, DeliveryOutcome, DeliveryStatus
from roomkit.models.enums import ChannelType, DeliveryState, ReceiptState
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit.models.timer import Timer
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

ROOMS = ("one", "two", "three")
TARGETS = ("sms", "email")
IN_TURN = 40  # the statements of opening, and of the first commits
ALL = 1_000_000


# -- writes --------------------------------------------------------------------------------------


def message(room_id: str, key: str) -> RoomEvent:
    source = EventSource(channel_id="sms", channel_type=ChannelType.SMS)
    return RoomEvent(room_id=room_id, source=source, content=TextContent(body=key), idempotency_key=key)


def timer(room_id: str, key: str, at: datetime) -> Timer:
    return Timer(id=f"{room_id}-{key}", room_id=room_id, kind="look", due_at=at)


def sent(row: Delivery) -> DeliveryOutcome:
    return row.outcome(
        state=DeliveryState.SENT, provider="acme", provider_message_id=f"m-{row.id}", attempts=1
    )


def receipt_for(row: Delivery) -> DeliveryStatus:
    return DeliveryStatus(provider="acme", message_id=f"m-{row.id}", status="delivered")


async def commit(
    store: SQLiteStore,
    room_id: str,
    key: str,
    worker: str | None = None,
    completed: Sequence[DeliveryOutcome] = (),
    timers_done: Sequence[str] = (),
) -> Committed:
    """Commit a message with everything that a commit can write."""
    at = datetime.now(UTC)
    return await store.commit(
        Commit(
            room_id=room_id,
            entries=[Entry(message(room_id, key), TARGETS)],
            at=at,
            worker_id=worker,
            bindings=[ChannelBinding(room_id=room_id, channel_id="sms", channel_type=ChannelType.SMS)],
            metadata={"last": key},
            tasks=[Task(id=f"{room_id}-{key}", room_id=room_id, title=key)],
            timers=[timer(room_id, key, at - timedelta(seconds=1))],
            completed=completed,
            timers_done=timers_done,
        )
    )


# -- the worker that is killed ------------------------------------------------------------------


@dataclass(slots=True)
class Worker:
    """A worker under a lease of its own, that tells what it was acknowledged."""

    store: SQLiteStore
    pipe: int
    id: str = ""

    def tell(self, *words: str) -> None:
        os.write(self.pipe, f"{' '.join(words)}\n".encode())

    def tell_ended(self, rows: Sequence[DeliveryOutcome], completed: Completed) -> None:
        assert not completed.refused, f"no other worker was there, but {completed.refused} were refused"
        for row in rows:
            self.tell("ended", row.id)

    async def take_over(self) -> None:
        """Claim and complete abandoned deliveries, for ever."""
        while True:
            for room_id in await self.store.find_claimable(self.id):
                rows = [sent(each.delivery) for each in await self.store.claim(room_id, self.id)]
                self.tell_ended(rows, await self.store.complete(rows, worker_id=self.id))

    async def write(self, room_id: str, first: int) -> None:
        """Commit one message after the other, each with the ends of the one before."""
        rows: list[DeliveryOutcome] = []
        timers_done: list[str] = []
        for number in count(first):
            key = str(number)
            committed = await commit(self.store, room_id, key, self.id, rows, timers_done)
            self.tell("message", room_id, key)
            self.tell_ended(rows, committed.completed)
            timers_done = [f"{room_id}-{key}"]
            (event,) = committed.events
            planned = [Delivery.planned(event, channel_id) for channel_id in TARGETS]
            rows = [sent(row) for row in planned if row.id not in committed.elsewhere]
            for row in planned[: number % 3]:
                if await self.store.record_receipt(receipt_for(row), ReceiptState.DELIVERED) is None:
                    self.tell("receipt", row.id)


async def work(path: Path, first: int, last_statement: int, pipe: int) -> None:
    """Write until the statement is reached that is the last one."""
    worker = Worker(SQLiteStore(SQLiteConfig(path=path, synchronous="normal")), pipe)
    await worker.store.open()
    statements = count(1)

    def counted(statement: str) -> None:
        if next(statements) == last_statement:
            os.kill(os.getpid(), signal.SIGKILL)

    writer = worker.store._database._writer
    assert writer is not None
    await writer.set_trace_callback(counted)
    worker.id = await worker.store.open_lease(3600)
    await asyncio.gather(worker.take_over(), *(worker.write(room_id, first) for room_id in ROOMS))


def kill_one(path: Path, first: int, last_statement: int) -> list[list[str]]:
    """Fork a worker, wait for its death, and return what it told."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join()  # of a store that is closed: about to end, and no thread is to be forked
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        try:
            asyncio.run(work(path, first, last_statement, writing))
        finally:
            os._exit(1)  # it was to be killed
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the worker ended with status {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL
    return [line.split() for line in lines]


# -- who comes after ----------------------------------------------------------------------------


@dataclass(slots=True)
class Witness:
    """Knows the writes acknowledged so far, and looks for them in the file after each death."""

    path: Path
    first: int = 0
    messages: set[tuple[str, str]] = field(default_factory=set)
    ended: set[str] = field(default_factory=set)
    receipts: set[str] = field(default_factory=set)

    def hear(self, told: Sequence[Sequence[str]]) -> None:
        for kind, *words in told:
            if kind == "message":
                self.messages.add((words[0], words[1]))
            elif kind == "ended":
                self.ended.add(words[0])
            else:
                self.receipts.add(words[0])

    def look_at_the_file(self) -> None:
        """Assert that the file is whole, and let the leases of the dead run out."""
        with closing(sqlite3.connect(self.path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
            connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
            connection.execute("UPDATE leases SET renewed_at = renewed_at - 7200 * 1000000")
            connection.commit()

    async def check(self, *, last: bool) -> None:
        """Assert that acknowledged writes are there; claim pending deliveries, complete some or all."""
        self.look_at_the_file()
        newest = self.first - 1
        async with SQLiteStore(self.path) as store:
            worker = await store.open_lease(3600)
            for room_id in ROOMS:
                newest = max(newest, await self._check_room(store, room_id))
                await self._overtake(store, room_id, worker, last=last)
            await self._check_timers(store, worker)
        self.first = newest + 1

    async def _check_room(self, store: SQLiteStore, room_id: str) -> int:
        room = await store.get_room(room_id)
        events = await store.list_events(room_id, limit=ALL)
        rows = await store.list_deliveries(room_id, limit=ALL)
        assert room is not None
        keys = [event.idempotency_key or "" for event in events]
        assert len(set(keys)) == len(keys), "a message is there twice"
        assert {key for owner, key in self.messages if owner == room_id} <= set(keys), "a message was lost"
        assert [event.index for event in events] == list(range(room.event_count))
        assert room.latest_index == room.event_count - 1
        assert [row.event_id for row in rows] == [event.id for event in events for _ in TARGETS]
        for row in rows:
            assert row.id not in self.ended or row.state is DeliveryState.SENT, "an end was lost"
            wanted = row.id in self.receipts and row.state is DeliveryState.SENT
            assert not wanted or row.receipt is ReceiptState.DELIVERED, "a receipt was lost"
            assert (row.holder is None) or row.state is DeliveryState.PENDING
        assert len(await store.list_tasks(room_id)) == len(events)
        if not events:
            return -1
        assert room.metadata["last"] == keys[-1]
        assert len(await store.search_events(room_id, keys[-1])) == 1
        record = await store.load(room_id, key=keys[-1])
        assert record is not None
        assert record.keyed(keys[-1]) == events[-1]
        try:  # who was not told sends it again
            await commit(store, room_id, keys[-1])
        except DuplicateEventError as error:
            assert error.event == events[-1]
        else:
            raise AssertionError("a message was stored twice")
        return int(keys[-1])

    async def _overtake(self, store: SQLiteStore, room_id: str, worker: str, *, last: bool) -> None:
        """Claim what the dead left: all of it, in order; what they write too late is refused."""
        pending = await store.list_deliveries(room_id, state=DeliveryState.PENDING, limit=ALL)
        claimed = await store.claim(room_id, worker)
        assert [each.delivery.id for each in claimed] == [row.id for row in pending]
        for each, before in zip(claimed, pending, strict=True):
            assert each.delivery.claims == before.claims + (before.holder is not None)
            if before.holder is not None:
                late = await store.complete([sent(before)], worker_id=before.holder)
                assert late.refused == [before.id]
        ending = [sent(each.delivery) for each in (claimed if last else claimed[: len(claimed) // 2])]
        completed = await store.complete(ending, worker_id=worker)
        assert not completed.refused
        self.ended.update(row.id for row in ending)
        matched = {row.id for row, _ in completed.receipts}
        assert {row.id for row in ending} & self.receipts <= matched, "a receipt was lost"

    async def _check_timers(self, store: SQLiteStore, worker: str) -> None:
        """Take and answer the timer of each room's newest message; the others were answered."""
        found: list[str] = []
        for room_id in ROOMS:
            timers = [each.id for each in await store.list_timers(room_id)]
            events = await store.list_events(room_id, limit=1, newest_first=True)
            newest = int(events[0].idempotency_key or "") if events else -1
            assert timers == ([f"{room_id}-{newest}"] if newest >= self.first else [])
            found += timers
        claimed = await store.claim_timers(worker, datetime.now(UTC))
        assert sorted(each.id for each in claimed) == sorted(found)
        assert all(each.claims == 1 for each in claimed)
        await store.complete((), worker_id=worker, timers_done=found)


async def prepare(path: Path) -> None:
    async with SQLiteStore(path) as store:
        for room_id in ROOMS:
            await store.create_room(Room(id=room_id))


async def verdict(path: Path) -> int:
    """Assert that nothing is left to be done; return how many deliveries there were."""
    async with SQLiteStore(path) as store:
        rows = await store.list_deliveries(limit=ALL)
        assert {row.state for row in rows} <= {DeliveryState.SENT}
        events = sum([await store.get_event_count(room_id) for room_id in ROOMS])
        assert len({row.id for row in rows}) == len(rows) == events * len(TARGETS)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM alarms").fetchall() == []
        assert connection.execute("SELECT * FROM early_receipts").fetchall() == []
    return len(rows)


def main(path: Path, kills: int, seed: int) -> None:
    chosen = random.Random(seed)
    asyncio.run(prepare(path))
    witness = Witness(path)
    for number in range(1, kills + 1):
        last_statement = number if number <= IN_TURN else chosen.randint(1, 1500)
        witness.hear(kill_one(path, witness.first, last_statement))
        asyncio.run(witness.check(last=False))
    asyncio.run(witness.check(last=True))
    rows = asyncio.run(verdict(path))
    sys.stdout.write(
        f"{kills} kills, {len(witness.messages)} acknowledged messages, {rows} deliveries, "
        f"{len(witness.receipts)} early receipts: nothing was lost\n"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
