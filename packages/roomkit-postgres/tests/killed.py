"""Workers that share rooms and die: `python killed.py DSN KILLS SEED`. Run by `store/test_killed.py`.

In each round two workers are forked. They commit for the same rooms, carry out deliveries and take over what
others left, and say in a file what they do. One is killed at a random instant, in every other round after
it was paused for longer than its lease; then the other. After each round everything must be whole; at the end
every delivery must have ended once.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import count

import asyncpg

from roomkit.abc.errors import DuplicateEventError
from roomkit.abc.store import Commit, Entry
from roomkit.models.content import TextContent
from roomkit.models.delivery import Delivery, DeliveryOutcome
from roomkit.models.enums import ChannelType, DeliveryState
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit_plugins.postgres import PostgresConfig, PostgresStore

ROOMS = ("one", "two", "three")
TARGETS = ("sms", "email")
LEASE = 0.5


def opened(dsn: str) -> PostgresStore:
    return PostgresStore(PostgresConfig.model_validate({"dsn": dsn, "min_size": 0, "acquire_timeout": 30.0}))


def message(room_id: str, key: str) -> RoomEvent:
    source = EventSource(channel_id="sms", channel_type=ChannelType.SMS)
    return RoomEvent(room_id=room_id, source=source, content=TextContent(body=key), idempotency_key=key)


class Worker:
    """Commits, delivers and takes over, and says so: `acked`, `began`, `ended`."""

    def __init__(self, store: PostgresStore, name: str, said: int) -> None:
        self._store = store
        self._name = name
        self._said = said
        self._lease = ""

    async def work(self) -> None:
        self._lease = await self._store.open_lease(LEASE)
        await asyncio.gather(self._renew(), *map(self._serve, ROOMS))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE / 5)  # other processes watch the lease
            if not await self._store.renew_lease(self._lease, LEASE):
                self._lease = await self._store.open_lease(LEASE)

    async def _serve(self, room_id: str) -> None:
        ends: list[Delivery] = []
        for number in count():
            lease = self._lease
            ends += [self._deliver(each.delivery) for each in await self._store.claim(room_id, lease)]
            key = f"{self._name}-{room_id}-{number}"
            committed = await self._store.commit(
                Commit(
                    room_id=room_id,
                    entries=[Entry(message(room_id, key), TARGETS)],
                    at=datetime.now(UTC),
                    worker_id=lease,
                    metadata={"last": key},
                    tasks=[Task(id=key, room_id=room_id, title=key)],
                    completed=ends,
                )
            )
            self._say("acked", room_id, key)
            refused = set(committed.completed.refused)
            for delivery in ends:
                if delivery.id not in refused:
                    self._say("ended", delivery.id)
            (event,) = committed.events
            rows = [Delivery.planned(event, target) for target in TARGETS]
            ends = [self._deliver(row) for row in rows if row.id not in committed.elsewhere]

    def _deliver(self, delivery: Delivery) -> DeliveryOutcome:
        self._say("began", delivery.room_id, delivery.channel_id, str(delivery.event_index))
        return delivery.outcome(
            state=DeliveryState.SENT, attempts=1, provider="acme", provider_message_id=delivery.id
        )

    def _say(self, *words: str) -> None:
        os.write(self._said, f"{' '.join(words)}\n".encode())


def fork(dsn: str, name: str, said: int) -> int:
    """Start a worker; return its process."""
    child = os.fork()
    if child:
        return child
    try:
        asyncio.run(Worker(opened(dsn), name, said).work())
    finally:
        os._exit(1)  # it was to be killed


def one_round(dsn: str, number: int, chosen: random.Random) -> list[list[str]]:
    """Let two workers work and die; return what they said."""
    # A file and not a pipe: a process that writes to a full pipe stands still, and its lease expires.
    with tempfile.NamedTemporaryFile() as file:
        said = os.open(file.name, os.O_WRONLY | os.O_APPEND)
        workers = [fork(dsn, f"{number}{letter}", said) for letter in "ab"]
        os.close(said)
        while not os.path.getsize(file.name):
            time.sleep(0.005)  # other processes have to begin
        time.sleep(chosen.uniform(0, 0.3))  # other processes work
        if number % 2:
            os.kill(workers[0], signal.SIGSTOP)
            time.sleep(1.5 * LEASE)  # other processes overtake it
            os.kill(workers[0], signal.SIGCONT)
            time.sleep(chosen.uniform(0, 0.1))  # other processes work
        os.kill(workers[0], signal.SIGKILL)
        time.sleep(chosen.uniform(0, 0.1))  # other processes work
        os.kill(workers[1], signal.SIGKILL)
        for worker in workers:
            _, status = os.waitpid(worker, 0)
            assert os.WIFSIGNALED(status), f"a worker ended with status {status}"
            assert os.WTERMSIG(status) == signal.SIGKILL
        return [line.split() for line in file.read().decode().splitlines()]


async def quiet(dsn: str) -> None:
    """Wait until the server has noticed that the workers are dead: a session ends what it has begun."""
    connection = await asyncpg.connect(dsn)
    try:
        while await connection.fetchval(  # noqa: ASYNC110  # sessions of a server
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
            "AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        ):
            await asyncio.sleep(0.005)  # other processes are about to end
    finally:
        await connection.close()


async def check(dsn: str, acked: Iterable[tuple[str, str]]) -> int:
    """Assert that everything is whole, and that all that was acknowledged is there; return the rows."""
    rows = 0
    await quiet(dsn)
    async with opened(dsn) as store:
        for room_id in ROOMS:
            room = await store.get_room(room_id)
            events = await store.list_events(room_id, limit=1_000_000)
            deliveries = await store.list_deliveries(room_id, limit=1_000_000)
            assert room is not None
            keys = [event.idempotency_key or "" for event in events]
            assert len(set(keys)) == len(keys), "a message is there twice"
            assert {key for owner, key in acked if owner == room_id} <= set(keys), "one was lost"
            assert [event.index for event in events] == list(range(room.event_count))
            assert room.latest_index == room.event_count - 1
            assert [row.event_id for row in deliveries] == [event.id for event in events for _ in TARGETS]
            tasks = [task.id for task in await store.list_tasks(room_id)]
            assert tasks == keys, "a commit is there by half"
            rows += len(deliveries)
            if events:
                assert room.metadata["last"] == keys[-1]
                try:  # who was not told sends it again
                    await store.commit(
                        Commit(
                            room_id=room_id,
                            entries=[Entry(message(room_id, keys[-1]))],
                            at=datetime.now(UTC),
                        )
                    )
                except DuplicateEventError as error:
                    assert error.event == events[-1]
                else:
                    raise AssertionError("a message was stored twice")
    return rows


async def finish(dsn: str) -> list[list[str]]:
    """Reclaim the work of dead workers; return the log lines about it."""
    said: list[list[str]] = []
    async with opened(dsn) as store:
        worker = await store.open_lease(600)
        await asyncio.sleep(1.2 * LEASE)  # other processes, whose leases have to run out
        while rooms := await store.find_claimable(worker):
            for room_id in rooms:
                for claimed in await store.claim(room_id, worker):
                    row = claimed.delivery
                    said.append(["began", room_id, row.channel_id, str(row.event_index)])
                    done = await store.complete([row.outcome(state=DeliveryState.SENT)], worker_id=worker)
                    assert not done.refused
                    said.append(["ended", row.id])
        for state in (DeliveryState.PENDING, DeliveryState.FAILED):
            assert await store.list_deliveries(state=state) == [], "a delivery never ended"
    return said


def check_order(said: Sequence[Sequence[str]]) -> None:
    """Assert that in every lane deliveries begin in order, but for those that begin again."""
    begun: dict[tuple[str, str], list[int]] = defaultdict(list)
    for what, *words in said:
        if what == "began":
            room_id, channel_id, index = words
            lane = begun[room_id, channel_id]
            if int(index) not in lane:
                assert not lane or int(index) > max(lane), f"{words} began after {max(lane)}"
                lane.append(int(index))


async def prepare(dsn: str) -> None:
    async with opened(dsn) as store:
        for room_id in ROOMS:
            await store.create_room(Room(id=room_id))


def main(dsn: str, kills: int, seed: int) -> None:
    chosen = random.Random(seed)
    asyncio.run(prepare(dsn))
    said: list[list[str]] = []
    for number in range((kills + 1) // 2):
        said += one_round(dsn, number, chosen)
        acked = {(words[1], words[2]) for words in said if words[0] == "acked"}
        rows = asyncio.run(check(dsn, acked))
    said += asyncio.run(finish(dsn))
    ended = [words[1] for words in said if words[0] == "ended"]
    assert len(set(ended)) == len(ended), "the end of a delivery was taken twice"
    check_order(said)
    began = sum(words[0] == "began" for words in said)
    sys.stdout.write(
        f"{kills} kills, {len(acked)} acknowledged, {rows} deliveries ended once, "
        f"{began - rows} began again\n"
    )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
