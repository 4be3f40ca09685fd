"""Which locks of a lock service stay with a process, and until when."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.memory import kept_locks as module
from roomkit.memory.kept_locks import KeptLocks

pytestmark = pytest.mark.virtual_time


class Service:
    """Counts what a process asks it for: the locks that it gives and gets back."""

    def __init__(self, most: int = 100) -> None:
        self.acquired = 0
        self.released: list[str] = []
        self.kept: KeptLocks[str] = KeptLocks(self.released.append, most)

    def use(self, *rooms: str, times: int = 1) -> None:
        """Hold the lock of each room in turn, as a lock manager does."""
        for _ in range(times):
            for room in rooms:
                grant = self.kept.take(room)
                if grant is None:
                    self.acquired += 1
                    grant = f"{room}#{self.acquired}"
                if not self.kept.keep(room, grant):
                    self.released.append(grant)


async def test_a_room_in_use_costs_no_request_from_its_third_use_on() -> None:
    service = Service()
    service.use("room", times=100)
    assert (service.acquired, service.released) == (2, ["room#1"])


async def test_a_lock_is_not_kept_after_uses_far_apart() -> None:
    """Keeping the lock of a room that is rarely used saves nothing and is in the way of others."""
    service = Service()
    for _ in range(5):
        service.use("room")
        await asyncio.sleep(31)
    assert len(service.kept) == 0


async def test_a_request_of_another_process_releases_a_kept_lock_at_once() -> None:
    service = Service()
    service.use("room", "other", times=2)
    service.kept.asked("room")
    assert service.released == ["room#1", "other#2", "room#3"]
    assert len(service.kept) == 1


async def test_a_request_during_a_use_has_the_lock_released_after_it() -> None:
    service = Service()
    service.use("room", times=2)
    grant = service.kept.take("room")
    assert grant is not None
    service.kept.asked("room")
    assert not service.kept.keep("room", grant)


async def test_a_room_that_others_ask_for_is_not_kept_for_ten_seconds() -> None:
    service = Service()
    service.use("room", times=2)
    service.kept.asked("room")
    for _ in range(9):
        service.use("room")
        await asyncio.sleep(1)
        assert len(service.kept) == 0
    await asyncio.sleep(1)
    service.use("room")
    assert len(service.kept) == 1


async def test_an_idle_lock_is_released_after_thirty_seconds() -> None:
    service = Service()
    service.use("idle", times=2)
    await asyncio.sleep(20)
    service.use("room", times=2)
    await asyncio.sleep(11)
    service.kept.expire()
    assert "idle" not in service.kept
    assert "room" in service.kept


async def test_the_least_recently_used_lock_leaves_when_too_many_are_kept() -> None:
    service = Service(most=3)
    service.use("a", "b", "c", times=2)
    service.use("a")
    service.use("d", times=2)
    assert [room for room in "abcd" if room in service.kept] == ["a", "c", "d"]
    assert len(service.released) == service.acquired - 3


async def test_nothing_is_kept_for_a_minute_after_a_waiter_that_did_not_ask() -> None:
    service = Service()
    service.use("room", times=2)
    service.kept.rest()
    assert len(service.kept) == 0
    for _ in range(59):
        await asyncio.sleep(1)
        service.use("room")
        assert len(service.kept) == 0
    await asyncio.sleep(1)
    service.use("room")
    assert len(service.kept) == 1


async def test_locks_that_the_service_lost_are_not_released() -> None:
    service = Service()
    service.use("room", times=2)
    service.kept.lose()
    assert service.kept.take("room") is None
    assert service.released == ["room#1"]


async def test_what_is_remembered_of_rooms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REMEMBERED", 10)
    service = Service(most=5)
    for number in range(100):
        service.use(str(number), times=2)
        service.kept.asked(str(number))
    assert len(service.kept._used) <= 10
    assert len(service.kept._asked) <= 10
