"""Workers are killed and paused; nothing is lost, and every delivery ends once."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

from roomkit.models.enums import DeliveryState
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.base import event

from .conftest import StoreMaker, send

SLEEPER = """
import asyncio, os, signal, sys
from roomkit.models.enums import DeliveryState
from roomkit_plugins.postgres import PostgresStore

async def main():
    dsn, room_id = sys.stdin.readline().split()
    async with PostgresStore(dsn) as store:
        worker = await store.open_lease(0.3)
        (claimed,) = await store.claim(room_id, worker)
        os.kill(os.getpid(), signal.SIGSTOP)
        done = await store.complete(
            [claimed.delivery.outcome(state=DeliveryState.SENT)], worker_id=worker
        )
        print(*done.refused, await store.renew_lease(worker, 60))

asyncio.run(main())
"""


async def test_killed_and_paused_workers_lose_nothing(dsn: str) -> None:
    """A short run of `python killed.py DSN KILLS SEED`."""
    script = Path(__file__).parent.parent / "killed.py"
    process = await asyncio.create_subprocess_exec(
        sys.executable, script, dsn, "8", "1", stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    assert out.decode().startswith("8 kills, ")


async def test_a_worker_that_was_paused_beyond_its_lease_ends_nothing(stores: StoreMaker, dsn: str) -> None:
    """It stops with a delivery in hand, and wakes when another has it: its end is refused."""
    store = stores()
    room = await store.create_room(Room())
    await send(store, event(room.id, id="event"), targets=("sms",))
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SLEEPER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(f"{dsn} {room.id}\n".encode())
    await asyncio.to_thread(os.waitpid, process.pid, os.WUNTRACED)  # until it has stopped
    worker = await store.open_lease(600)
    async with asyncio.timeout(20):
        while not (taken := await store.claim(room.id, worker)):
            pass
    assert [(each.delivery.id, each.delivery.claims) for each in taken] == [("event:sms", 1)]
    os.kill(process.pid, signal.SIGCONT)
    out, _ = await process.communicate()
    assert out.decode().split() == ["event:sms", "False"]
    row = await store.get_delivery("event:sms")
    assert row is not None
    assert (row.state, row.holder) == (DeliveryState.PENDING, worker)
    done = await store.complete([row.outcome(state=DeliveryState.SENT)], worker_id=worker)
    assert not done.refused
