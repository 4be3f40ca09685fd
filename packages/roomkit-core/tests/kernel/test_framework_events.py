"""Framework events: handlers in order, beside everything else, bounded and told when they fall behind."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.kernel.runtime import framework_events
from roomkit.kernel.runtime.framework_events import FRAMEWORK_EVENTS
from roomkit.models import FrameworkEvent

pytestmark = pytest.mark.virtual_time


async def test_a_handler_hears_its_type_and_a_star_hears_all(stage: Any) -> None:
    """With the ids, the kit's time and what the type says."""
    rooms: list[FrameworkEvent] = []

    async def hear(event: FrameworkEvent) -> None:
        rooms.append(event)

    stage.kit.on("room_created")(hear)

    await asyncio.sleep(7)
    await stage.open("r2")
    await stage.socket("alice")

    (created,) = rooms
    assert (created.type, created.room_id) == ("room_created", "r2")
    assert created.timestamp == stage.kit.clock.now()
    assert {"room_created", "channel_registered", "room_channel_attached"} <= set(stage.kinds())


async def test_a_subscription_can_be_ended(stage: Any) -> None:
    """From the next event on, and twice is once."""
    heard: list[str] = []

    async def hear(event: FrameworkEvent) -> None:
        heard.append(str(event.room_id))

    end = stage.kit.subscribe_events("room_created", hear)
    await stage.open("r2")
    end()
    end()
    await stage.open("r3")

    assert heard == ["r2"]


async def test_a_slow_handler_delays_nobody_and_hears_in_order(stage: Any) -> None:
    heard: list[tuple[str | None, float]] = []

    async def slow(event: FrameworkEvent) -> None:
        await asyncio.sleep(5)
        heard.append((event.room_id, asyncio.get_running_loop().time()))

    stage.kit.on("room_created")(slow)

    for number in range(3):
        await stage.open(f"x{number}")
    assert asyncio.get_running_loop().time() == 0
    await stage.idle()
    assert heard == [("x0", 5), ("x1", 10), ("x2", 15)]


async def test_a_handler_that_fails_is_logged_and_hears_the_next(
    stage: Any, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str | None] = []

    async def fragile(event: FrameworkEvent) -> None:
        heard.append(event.room_id)
        raise ValueError("no")

    stage.kit.on("room_created")(fragile)

    await stage.open("r2")
    await stage.open("r3")

    assert heard == ["r2", "r3"]
    assert "framework event handler fragile failed on room_created" in caplog.text


async def test_a_handler_that_falls_behind_loses_the_oldest_and_it_is_told(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A bound, a policy and a counter: the program learns that its view has a hole."""
    monkeypatch.setattr(framework_events, "_BACKLOG", 3)
    heard: list[str | None] = []

    async def slow(event: FrameworkEvent) -> None:
        await asyncio.sleep(1)
        heard.append(event.room_id)

    stage.kit.on("room_created")(slow)

    for number in range(10):
        await stage.open(f"x{number}")
    await stage.idle()

    assert heard == ["x0", "x7", "x8", "x9"]
    assert stage.facts("framework_events_dropped") == [{"handler": "slow", "dropped": 6}]


async def test_a_near_miss_of_a_type_is_told(stage: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def never(event: FrameworkEvent) -> None:
        raise AssertionError

    stage.kit.on("room_craeted")(never)
    stage.kit.on("acme_phone_rang")(never)

    assert [record.getMessage() for record in caplog.records] == [
        "the core emits no framework event 'room_craeted'; did you mean 'room_created'?"
    ]


async def test_with_nobody_listening_nothing_is_built(bare_stage: Any) -> None:
    stage = bare_stage()
    events = stage.kit._kernel.ground.events
    events._subscriptions.clear()
    events._note_wanted()
    assert not events.wants("room_created")
    events.emit("room_created", anything=object())  # would not even fit into the record
    await stage.kit.close()


def test_every_type_says_what_it_tells() -> None:
    assert all(kind.islower() and about for kind, about in FRAMEWORK_EVENTS.items())
