"""Writes to a store and is killed: `python killed.py PATH KILLS SEED`. Run by `test_killed.py`.

One process forks a worker for each kill. A worker commits for several rooms at once, notes each
acknowledged message in a pipe, and kills itself before the n-th statement of its connection that
writes, for every n in turn and then for random ones. After each death the file must be whole.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from roomkit.abc.errors import DuplicateEventError
from roomkit.abc.store import Commit, Entry
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.room import Room
from roomkit.models.task import Task
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

ROOMS = ("one", "two", "three")
TARGETS = ("sms", "email")
IN_TURN = 30  # the statements of opening, and of the first commits


def message(room_id: str, key: str) -> RoomEvent:
    source = EventSource(channel_id="sms", channel_type=ChannelType.SMS)
    return RoomEvent(room_id=room_id, source=source, content=TextContent(body=key), idempotency_key=key)


async def commit(store: SQLiteStore, room_id: str, key: str) -> None:
    """Commit a message with everything that a commit can write."""
    await store.commit(
        Commit(
            room_id=room_id,
            entries=[Entry(message(room_id, key), TARGETS)],
            at=datetime.now(UTC),
            bindings=[ChannelBinding(room_id=room_id, channel_id="sms", channel_type=ChannelType.SMS)],
            metadata={"last": key},
            tasks=[Task(id=f"{room_id}-{key}", room_id=room_id, title=key)],
        )
    )


async def work(path: Path, first: int, last_statement: int, acknowledged: int) -> None:
    """Write until the statement is reached that is the last one."""
    store = SQLiteStore(SQLiteConfig(path=path, synchronous="normal"))
    await store.open()
    statements = count(1)

    def counted(statement: str) -> None:
        if next(statements) == last_statement:
            os.kill(os.getpid(), signal.SIGKILL)

    writer = store._database._writer
    assert writer is not None
    await writer.set_trace_callback(counted)

    async def write(room_id: str) -> None:
        for number in count(first):
            await commit(store, room_id, str(number))
            os.write(acknowledged, f"{room_id} {number}\n".encode())

    await asyncio.gather(*map(write, ROOMS))


def kill_one(path: Path, first: int, last_statement: int) -> list[tuple[str, str]]:
    """Fork a worker, wait for its death, and return what it acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        asyncio.run(work(path, first, last_statement, writing))
        os._exit(1)  # it was to be killed
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the worker ended with status {status}"
    assert os.WTERMSIG(status) == signal.SIGKILL
    return [(room_id, key) for room_id, _, key in (line.partition(" ") for line in lines)]


async def check(path: Path, acknowledged: set[tuple[str, str]]) -> int:
    """Assert that the file is whole and has all that was acknowledged; return the next free number."""
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
        connection.execute("INSERT INTO search (search) VALUES ('integrity-check')")
    newest = -1
    async with SQLiteStore(path) as store:
        for room_id in ROOMS:
            room = await store.get_room(room_id)
            events = await store.list_events(room_id, limit=100_000)
            deliveries = await store.list_deliveries(room_id, limit=100_000)
            assert room is not None
            keys = [event.idempotency_key or "" for event in events]
            assert len(set(keys)) == len(keys), "a message is there twice"
            assert {key for owner, key in acknowledged if owner == room_id} <= set(keys), "one was lost"
            assert [event.index for event in events] == list(range(room.event_count))
            assert room.latest_index == room.event_count - 1
            assert [row.event_id for row in deliveries] == [event.id for event in events for _ in TARGETS]
            assert len(await store.list_tasks(room_id)) == len(events)
            if events:
                assert room.metadata["last"] == keys[-1]
                assert len(await store.search_events(room_id, keys[-1])) == 1
                newest = max(newest, *map(int, keys))
                try:  # who was not told sends it again
                    await commit(store, room_id, keys[-1])
                except DuplicateEventError as error:
                    assert error.event == events[-1]
                else:
                    raise AssertionError("a message was stored twice")
    return newest + 1


async def prepare(path: Path) -> None:
    async with SQLiteStore(path) as store:
        for room_id in ROOMS:
            await store.create_room(Room(id=room_id))


def main(path: Path, kills: int, seed: int) -> None:
    chosen = random.Random(seed)
    asyncio.run(prepare(path))
    acknowledged: set[tuple[str, str]] = set()
    first = 0
    for number in range(1, kills + 1):
        last_statement = number if number <= IN_TURN else chosen.randint(1, 1500)
        acknowledged.update(kill_one(path, first, last_statement))
        first = asyncio.run(check(path, acknowledged))
    sys.stdout.write(f"{kills} kills, {len(acknowledged)} acknowledged\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
