"""Timers go by the clock that workers share; those that a failing store interrupts fire in the next sweep."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.clock import SystemClock
from roomkit.abc.errors import StoreError, StoreUnavailableError
from roomkit.abc.store import ConversationStore
from roomkit.kernel.flow.timers import TimerOutcome
from roomkit.memory.store import InMemoryStore
from roomkit.models.content import TextContent
from roomkit.models.enums import RoomStatus
from roomkit.models.room import RoomTimers
from roomkit.models.timer import Timer
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()
APART = timedelta(minutes=5)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)

type Opener = Callable[[], ConversationStore]


class WrongClock(SystemClock):
    """The system's clock, set wrong."""

    def __init__(self, by: timedelta) -> None:
        self.by = by

    def now(self) -> datetime:
        return super().now() + self.by


@pytest.fixture(params=["sqlite", "postgres"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Return what opens the shared data once more."""
    if request.param == "sqlite":
        return lambda: SQLiteStore(str(tmp_path / "rooms.db"))
    dsn = request.getfixturevalue("postgres_store_dsn")
    return lambda: PostgresStore(dsn)


def a_kit(store: ConversationStore, by: timedelta = timedelta(0)) -> RoomKit:
    return RoomKit(
        store=store, plugins=PLUGINS, single_process=True, clock=WrongClock(by), sweep_interval=3600.0
    )


@pytest.fixture
async def slow_and_fast(open_store: Opener) -> AsyncIterator[tuple[RoomKit, RoomKit]]:
    """Return two workers of one store, whose clocks are ten minutes apart."""
    kits = a_kit(open_store(), -APART), a_kit(open_store(), APART)
    for kit in kits:
        await kit.start()
    yield kits
    for kit in kits:
        await kit.close()


@pytest.mark.parametrize("setter", [0, 1], ids=["set by the slow one", "set by the fast one"])
async def test_a_timer_is_due_at_the_same_instant_for_every_worker(
    slow_and_fast: tuple[RoomKit, RoomKit], setter: int
) -> None:
    sets, fires = slow_and_fast[setter], slow_and_fast[1 - setter]
    await sets.create_room("due", timers=RoomTimers(closed_after_seconds=0))
    await sets.create_room("later", timers=RoomTimers(closed_after_seconds=9 * 60))
    assert [room.id for room in await fires.sweep_room_timers()] == ["due"]
    assert (await fires.get_room("later")).status is RoomStatus.ACTIVE
    assert (await fires.check_room_timers("later")).status is RoomStatus.ACTIVE


async def say(kit: RoomKit, room_id: str) -> None:
    await kit.send_event(room_id, "system", TextContent(body="hi"))


@pytest.mark.parametrize("setter", [0, 1], ids=["set by the slow one", "set by the fast one"])
async def test_a_rooms_timers_run_from_its_last_activity_by_the_shared_clock(
    slow_and_fast: tuple[RoomKit, RoomKit], setter: int
) -> None:
    sets, other = slow_and_fast[setter], slow_and_fast[1 - setter]
    timers = {
        "due": RoomTimers(inactive_after_seconds=0),
        "later": RoomTimers(inactive_after_seconds=9 * 60),
        "closing": RoomTimers(inactive_after_seconds=0, closed_after_seconds=0),
    }
    for room_id, each in timers.items():
        await sets.create_room(room_id)
        await sets.set_room_timers(room_id, each)
        await say(other, room_id)
    for room_id, seconds in (("pruned", 0.001), ("kept", 9 * 60.0)):
        await sets.create_room(room_id)
        await say(other, room_id)
        await sets.set_retention(room_id, seconds)
    now = await sets.store.now()
    assert now is not None
    for room_id in (*timers, "pruned", "kept"):
        for timer in await sets.store.list_timers(room_id):
            assert timer.due_at < now + timedelta(minutes=10)
        activity = (await other.get_room(room_id)).timers.last_activity_at
        assert activity is not None
        assert abs(activity - now) < timedelta(minutes=1)
    for kit in (other, sets, other):
        await kit.sweep_room_timers()
    found = {room_id: (await sets.get_room(room_id)).status for room_id in timers}
    assert found["later"] is RoomStatus.ACTIVE
    assert found["due"] is RoomStatus.PAUSED
    assert found["closing"] is RoomStatus.CLOSED
    assert await sets.get_timeline("kept")
    assert not await sets.get_timeline("pruned")


async def test_a_failed_timer_is_retried_after_a_minute_by_the_shared_clock(
    slow_and_fast: tuple[RoomKit, RoomKit],
) -> None:
    async def fail(_timer: Timer) -> TimerOutcome:
        raise ValueError("not today")

    for kit in slow_and_fast:
        await kit.create_room(f"room of {id(kit)}")
        kit._kernel.ground.timers.register("k", fail)
        await kit.store.set_timer(
            Timer(id=f"{id(kit)}", room_id=f"room of {id(kit)}", kind="k", due_at=LONG_AGO)
        )
        await kit.sweep_room_timers()
        (again,) = await kit.store.list_timers(f"room of {id(kit)}")
        now = await kit.store.now()
        assert now is not None
        assert timedelta(seconds=50) < again.due_at - now < timedelta(seconds=70)


async def test_a_clock_that_is_right_is_not_corrected(
    open_store: Opener, caplog: pytest.LogCaptureFixture
) -> None:
    """One that is wrong is, and the log says by how much."""
    kit = a_kit(open_store())
    await kit.start()
    assert "apart from the store's" not in caplog.text
    await kit.close()
    kit = a_kit(open_store(), APART)
    await kit.start()
    assert "this worker's clock is -300.0 s apart from the store's" in caplog.text
    await kit.close()


STORES: dict[str, type[ConversationStore]] = {
    "memory": InMemoryStore,
    "sqlite": SQLiteStore,
    "postgres": PostgresStore,
}
FAILURES = ("get_room", "complete", "set_timer", "claim_timers")


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        (kind, method)
        for kind in STORES
        for method in FAILURES
        if (kind, method) != ("memory", "claim_timers")  # no answer is lost within a process
    ],
)
async def test_a_store_that_fails_in_a_sweep_keeps_no_timer(
    kind: str,
    method: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The worker that claimed them lives on, and the next sweeps fire every one."""
    where: dict[str, tuple[Any, ...]] = {
        "memory": (),
        "sqlite": (str(tmp_path / "rooms.db"),),
        "postgres": () if kind != "postgres" else (request.getfixturevalue("postgres_store_dsn"),),
    }
    store = STORES[kind](*where[kind])
    kit = RoomKit(store=store, plugins=PLUGINS, single_process=True, sweep_interval=3600.0)
    await kit.start()
    fired: list[str] = []

    async def fire(timer: Timer) -> TimerOutcome:
        await store.get_room(timer.room_id)
        fired.append(timer.id)
        return TimerOutcome(datetime(2100, 1, 1, tzinfo=UTC) if timer.id == "again" else None)

    kit._kernel.ground.timers.register("k", fire)
    await kit.create_room("r")
    for name in ("one", "two", "again"):
        await store.set_timer(Timer(id=name, room_id="r", kind="k", due_at=LONG_AGO))
    real, begun = getattr(store, method), asyncio.Event()
    listen = kit._kernel.sending.wakeups.listen
    assert listen is not None

    async def note(worker_id: str) -> None:
        await listen(worker_id)
        begun.set()

    kit._kernel.sending.wakeups.listen = note

    async def fails(*arguments: Any, **options: Any) -> Any:
        if method == "claim_timers":
            await real(*arguments, **options)  # the answer is lost on its way
        raise StoreUnavailableError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(store, method, fails)
        with suppress(StoreError):
            await kit.sweep_room_timers()
    if method == "claim_timers":  # the outcome of the claim is unknown, so the lease begins again
        async with asyncio.timeout(30):
            await begun.wait()
    await kit.sweep_room_timers()
    waiting = {timer.id: timer.due_at for timer in await store.list_timers("r")}
    assert {"one", "two", "again"} <= {*fired, *waiting}
    assert all(due_at > datetime.now(UTC) for due_at in waiting.values()), waiting
    await kit.close()
