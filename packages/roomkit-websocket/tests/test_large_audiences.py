"""Frames to more connections than one step of the event loop may write to."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import override

import pytest

from roomkit.kernel.kit import RoomKit
from roomkit_plugins.websocket.connection import _SLICE as SLICE
from roomkit_plugins.websocket.frames import Frame, StreamChunk

from .conftest import Stage, Wire, WritingWire, deliver, said, turns

pytestmark = pytest.mark.virtual_time

_MANY = 8 * SLICE + 10


class Steps:
    """Numbers the passes of the event loop, and counts the writes in each."""

    def __init__(self) -> None:
        self.writes: Counter[int] = Counter()
        self._now = 0
        self._loop = asyncio.get_running_loop()
        self._next()

    def _next(self) -> None:
        self._now += 1
        self._handle = self._loop.call_soon(self._next)

    def note(self) -> None:
        self.writes[self._now] += 1

    def stop(self) -> None:
        self._handle.cancel()


class CountedWire(WritingWire):
    """Counts a write, by `write` or by the awaited function, in the step it is made in."""

    steps: Steps
    is_awaited = False

    @override
    async def __call__(self, connection_id: str, frame: Frame) -> None:
        self.steps.note()
        await WritingWire.__call__(self, connection_id, frame)

    @override
    def write(self, connection_id: str, frame: Frame) -> bool:
        if self.is_awaited:
            return False
        self.steps.note()
        return WritingWire.write(self, connection_id, frame)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """A kit on the test's own clock."""
    async with RoomKit() as kit:
        yield Stage(kit)


def crowd(stage: Stage, kind: type[Wire], size: int, room_id: str = "room") -> list[Wire]:
    return [
        kind(f"{room_id} {number}").join(stage.channel, room_id, streaming=True) for number in range(size)
    ]


@pytest.mark.parametrize("is_awaited", [False, True], ids=["written at once", "awaited"])
async def test_one_step_of_the_loop_writes_to_one_slice(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, is_awaited: bool
):
    """Also with several frames and rooms at once: other work waits for one slice at a time."""
    steps = Steps()
    monkeypatch.setattr(CountedWire, "steps", steps, raising=False)
    monkeypatch.setattr(CountedWire, "is_awaited", is_awaited)
    wires = [*crowd(stage, CountedWire, _MANY), *crowd(stage, CountedWire, _MANY, "other")]
    for room_id in ("room", "other"):
        await deliver(stage.channel, said("first", room_id))
        await deliver(stage.channel, said("second", room_id))
        await turns(1)
    await turns(40)
    steps.stop()
    assert [wire.texts for wire in wires] == [["first", "second"]] * len(wires)
    assert steps.writes.total() == 2 * len(wires)
    assert max(steps.writes.values()) <= 2 * SLICE  # the first slice of a frame, and the next of another room
    assert len(steps.writes) >= len(wires) * 2 // (2 * SLICE)


async def test_frames_of_a_room_keep_their_order_at_each_connection(stage: Stage):
    """Events and pieces of answers, at slow connections and quick ones of all kinds."""
    wires = [
        (WritingWire if number % 3 else Wire)(str(number)).join(stage.channel, "room", streaming=True)
        for number in range(_MANY)
    ]
    shuffled = random.Random(12)
    expected = []
    for number in range(30):
        slow = shuffled.choice(wires)
        slow.open.clear()
        await deliver(stage.channel, said(str(number)))
        stage.channel._display.show_frame("room", StreamChunk("room", f"answer {number}", "text"))
        expected += [str(number), f"answer {number}"]
        await turns(shuffled.randrange(4))
        slow.open.set()
    await turns(600)
    for wire in wires:
        seen = [
            frame.stream_id if isinstance(frame, StreamChunk) else frame.content.body for frame in wire.frames
        ]
        assert seen == expected


async def test_a_frame_for_no_connection_passes_those_that_wait(stage: Stage):
    wires = crowd(stage, WritingWire, _MANY)
    await deliver(stage.channel, said("hello"))
    stage.channel._fan_out.send((), said("for no connection"))
    await turns(40)
    assert [wire.texts for wire in wires] == [["hello"]] * _MANY


async def test_a_small_room_does_not_wait_for_a_large_one(stage: Stage):
    crowd(stage, WritingWire, _MANY)
    (other,) = crowd(stage, WritingWire, 1, "other")
    await deliver(stage.channel, said("hello"))
    await deliver(stage.channel, said("quick", "other"))
    assert other.texts == ["quick"]


async def test_frames_beyond_the_bound_are_sent_and_not_dropped():
    """The oldest ones are then sent in one step."""
    async with RoomKit() as kit:
        stage = Stage(kit)
        wires = crowd(stage, WritingWire, _MANY)
        for number in range(20):
            await deliver(stage.channel, said(str(number)))
        assert min(len(wire.frames) for wire in wires) >= 9  # of a backlog of ten
        await turns(200)
        assert [wire.texts for wire in wires] == [[str(number) for number in range(20)]] * _MANY


async def test_a_connection_that_left_before_its_slice_gets_nothing(stage: Stage):
    wires = crowd(stage, WritingWire, _MANY)
    await deliver(stage.channel, said("hello"))
    assert stage.channel.unregister_connection(wires[-1].id)
    await turns(40)
    assert [len(wire.frames) for wire in wires] == [1] * (_MANY - 1) + [0]


async def test_a_kit_that_closes_sends_the_rest():
    async with RoomKit() as kit:
        stage = Stage(kit)
        wires = crowd(stage, WritingWire, _MANY)
        await deliver(stage.channel, said("hello"))
        assert wires[-1].texts == []
    assert [wire.texts for wire in wires] == [["hello"]] * _MANY


async def test_a_large_audience_that_is_done_leaves_no_task(stage: Stage):
    wires = crowd(stage, WritingWire, _MANY)
    before = asyncio.all_tasks()
    for number in range(3):
        await deliver(stage.channel, said(str(number)))
        await turns(40)
        assert asyncio.all_tasks() == before
    assert wires[-1].texts == ["0", "1", "2"]
