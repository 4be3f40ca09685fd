"""Workers share one file and one clock, which may be wrong."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from roomkit.models.delivery import DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit.models.room import Room
from roomkit.models.timer import Timer
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing.contracts.base import NOW

from .conftest import Opener, Steps, let_leases_run_out, on_writer, plan_sms

HOUR = 3600.0


class WallClock:
    """A clock that the test sets."""

    def __init__(self, *stores: SQLiteStore) -> None:
        self.ahead = 0.0
        for store in stores:
            store._clock = self

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.mark.parametrize("jump", [HOUR, -HOUR], ids=["forward", "back"])
async def test_a_clock_that_jumps_ends_leases_and_keeps_nobody_waiting(
    store: SQLiteStore, opener: Opener, room: Room, jump: float
) -> None:
    other = opener()
    clock = WallClock(store, other)
    worker = await store.open_lease(30)
    (planned,) = (await plan_sms(store, room.id, worker)).events
    await store.set_timer(Timer(id="a", room_id=room.id, kind="look", due_at=NOW))
    assert len(await store.claim_timers(worker, NOW)) == 1
    clock.ahead = jump
    successor = await other.open_lease(30)
    assert await other.find_claimable(successor) == [room.id]
    (claimed,) = await other.claim(room.id, successor)
    assert (claimed.event.id, claimed.delivery.claims) == (planned.id, 1)
    assert [each.claims for each in await other.claim_timers(successor, NOW)] == [1]
    clock.ahead = 0.0
    assert not await store.renew_lease(worker, 30)
    assert await store.claim(room.id, worker) == []
    ended = claimed.delivery.replace(state=DeliveryState.SENT)
    assert (await store.complete([ended.outcome()], worker_id=worker)).refused == [ended.id]


async def test_a_lease_that_was_not_renewed_in_time_is_over_whatever_the_clock_says_later(
    store: SQLiteStore,
) -> None:
    clock = WallClock(store)
    worker = await store.open_lease(30)
    clock.ahead = HOUR
    assert not await store.renew_lease(worker, 30)
    clock.ahead = 0.0
    assert not await store.renew_lease(worker, 30)


async def test_a_clock_that_is_put_right_by_a_little_ends_nothing(store: SQLiteStore, room: Room) -> None:
    clock = WallClock(store)
    worker = await store.open_lease(30)
    clock.ahead = -0.5
    assert (await plan_sms(store, room.id, worker)).elsewhere == {}
    assert await store.renew_lease(worker, 30)


async def test_a_lease_without_end_is_one(store: SQLiteStore, room: Room) -> None:
    worker = await store.open_lease(float("inf"))
    WallClock(store).ahead = 1e9
    assert (await plan_sms(store, room.id, worker)).elsewhere == {}


async def test_leases_that_ran_out_do_not_pile_up(store: SQLiteStore, room: Room) -> None:
    for _ in range(20):
        await store.open_lease(30)
    await let_leases_run_out(store)
    await plan_sms(store, room.id, await store.open_lease(30))

    def count(connection: sqlite3.Connection) -> int:
        (found,) = connection.execute("SELECT count(*) FROM leases").fetchone()
        return int(found)

    assert await on_writer(store, count) == 1


async def test_what_waits_survives_a_restart(store: SQLiteStore, opener: Opener, room: Room) -> None:
    worker = await store.open_lease(HOUR)
    (planned,) = (await plan_sms(store, room.id, worker)).events
    early = DeliveryStatus(provider="acme", message_id="m", status="delivered")
    assert await store.record_receipt(early, ReceiptState.DELIVERED) is None
    await store.set_timer(Timer(id="a", room_id=room.id, kind="look", due_at=NOW))
    await store.close()
    again = opener()
    (row,) = await again.list_deliveries(room.id)
    assert row.holder == worker
    assert await again.renew_lease(worker, HOUR)
    sent = row.replace(state=DeliveryState.SENT, provider="acme", provider_message_id="m")
    completed = await again.complete([sent.outcome()], worker_id=worker)
    assert [(after.event_id, after.receipt, status) for after, status in completed.receipts] == [
        (planned.id, ReceiptState.DELIVERED, early)
    ]
    assert [each.id for each in await again.claim_timers(worker, NOW)] == ["a"]


async def test_old_early_receipts_go_and_the_newest_stay(store: SQLiteStore, room: Room) -> None:
    """A day after they came, if many came since: a clock that jumps takes none that is waited for."""
    clock = WallClock(store)

    async def keep(message_id: str) -> None:
        status = DeliveryStatus(provider="acme", message_id=message_id, status="delivered")
        await store.record_receipt(status, ReceiptState.DELIVERED)

    def read(connection: sqlite3.Connection) -> list[str]:
        rows = connection.execute("SELECT message_id FROM early_receipts ORDER BY seq")
        return [message_id for (message_id,) in rows]

    await keep("oldest")
    clock.ahead = timedelta(days=2).total_seconds()
    await keep("newer")
    assert await on_writer(store, read) == ["oldest", "newer"]
    await on_writer(
        store,
        lambda connection: connection.executemany(
            "INSERT INTO early_receipts (provider, message_id, receipt, arrived_at, data) "
            "VALUES ('acme', ?, 'sent', ?, '{}')",
            [(str(number), store._now()) for number in range(1000)],
        ),
    )
    await keep("newest")
    names = await on_writer(store, read)
    assert (names[0], names[-1], len(names)) == ("newer", "newest", 1002)


async def test_looking_for_work_does_not_read_what_others_hold(store: SQLiteStore, room: Room) -> None:
    """However much is under way elsewhere, and however long the lane: a look takes as many steps."""
    worker, other = await store.open_lease(HOUR), await store.open_lease(HOUR)
    await plan_sms(store, room.id, other)
    steps = await Steps().watch(store)

    async def look() -> tuple[int, int]:
        steps.since_last()
        assert await store.find_claimable(worker) == []
        looking = steps.since_last()
        await plan_sms(store, room.id, other)
        return looking, steps.since_last()

    await look()  # statements are compiled, the full-text index is opened
    few = await look()
    for _ in range(300):
        await plan_sms(store, room.id, other)
    many = await look()
    assert many[0] <= few[0] + 10
    assert many[1] <= few[1] * 1.3 + 50


@pytest.fixture
def doomed(path: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Return what starts a worker in a process of its own, which holds a delivery of the room `doomed`."""
    started: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        script = Path(__file__).with_name("doomed.py")
        process = subprocess.Popen([sys.executable, script, path], stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "holding\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


async def test_the_work_of_a_killed_process_is_reclaimed_at_once(
    path: Path, opener: Opener, doomed: Callable[[], subprocess.Popen[str]]
) -> None:
    """Its lease would have run for an hour; the system says that it is dead, so nothing waits for that.

    No lock file is left behind, neither of the dead nor of who leaves in good order.
    """
    process = await asyncio.to_thread(doomed)
    process.kill()
    process.wait()
    store = opener()
    successor = await store.open_lease(HOUR)
    assert await store.find_claimable(successor) == ["doomed"]
    assert [each.delivery.claims for each in await store.claim("doomed", successor)] == [1]
    await store.close_lease(successor)
    assert not list(path.parent.glob("*-worker-*"))


async def test_a_worker_that_runs_reclaims_it_when_it_renews(
    opener: Opener, doomed: Callable[[], subprocess.Popen[str]]
) -> None:
    """Another process on the file needs no restart for it."""
    process = await asyncio.to_thread(doomed)
    store = opener()
    successor = await store.open_lease(HOUR)
    assert await store.find_claimable(successor) == []
    process.kill()
    process.wait()
    assert await store.renew_lease(successor, HOUR)
    assert await store.find_claimable(successor) == ["doomed"]


async def test_a_process_that_lives_keeps_its_work(
    opener: Opener, doomed: Callable[[], subprocess.Popen[str]]
) -> None:
    """Paused or not: only its lease, which goes on, says until when."""
    process = await asyncio.to_thread(doomed)
    store = opener()
    for _ in range(2):
        successor = await store.open_lease(HOUR)
        assert await store.renew_lease(successor, HOUR)
        assert await store.find_claimable(successor) == []
        process.send_signal(signal.SIGSTOP)


async def test_a_worker_without_a_lock_file_is_not_taken_for_dead(
    path: Path, opener: Opener, doomed: Callable[[], subprocess.Popen[str]]
) -> None:
    """It may be of an older version, or the file was removed: then its lease has to run out."""
    process = await asyncio.to_thread(doomed)
    process.kill()
    process.wait()
    for file in path.parent.glob("*-worker-*"):
        file.unlink()
    store = opener()
    successor = await store.open_lease(HOUR)
    assert await store.find_claimable(successor) == []
