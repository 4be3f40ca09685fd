"""The socket of a web framework: one frame at a time, in order, also if a sender is cancelled."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.kernel.kit import RoomKit
from roomkit_plugins.websocket.transport import FunctionTransport, TransportClosed


class Socket:
    """What a framework gives: a function that writes, and takes as long as the test says."""

    def __init__(self):
        self.written = []
        self.writing = 0
        self.open = asyncio.Event()
        self.broken = False
        self.transport = FunctionTransport(RoomKit(), self.send, self.close)

    async def send(self, text):
        self.writing += 1
        assert self.writing == 1
        try:
            await self.open.wait()
            if self.broken:
                raise RuntimeError("the client is gone")
            self.written.append(text)
        finally:
            self.writing -= 1

    async def close(self, code, reason):
        self.written.append(f"closed {code}")

    async def begin(self, *texts):
        """Have frames sent, each by a task of its own."""
        tasks = [asyncio.create_task(self.transport.send(text.encode())) for text in texts]
        await asyncio.sleep(0)
        return tasks


async def test_frames_are_written_in_the_order_they_came():
    socket = Socket()
    tasks = await socket.begin("a", "b", "c")
    socket.open.set()
    tasks += await socket.begin("d")
    await asyncio.gather(*tasks)
    await socket.transport.send(b"e")
    assert socket.written == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("steps", range(5))
@pytest.mark.parametrize("given_up", [("a",), ("b",), ("b", "c"), ("a", "b"), ("a", "b", "c")])
async def test_a_frame_that_is_given_up_holds_up_no_other(given_up, steps):
    """Whether it is being written, waits, or has just got its turn."""
    socket = Socket()
    tasks = dict(zip("abcd", await socket.begin(*"abcd"), strict=True))
    socket.open.set()
    for _ in range(steps):
        await asyncio.sleep(0)
    for name in given_up:
        tasks[name].cancel()
    await asyncio.wait(tasks.values())
    await socket.transport.send(b"e")
    ended = [name for name, task in tasks.items() if not task.cancelled()]
    assert socket.written == [*ended, "e"]
    assert "d" in ended


async def test_frames_that_wait_for_a_client_that_is_gone_are_refused():
    socket = Socket()
    tasks = await socket.begin("a", "b")
    socket.broken = True
    socket.open.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(error) for error in errors] == [TransportClosed] * 2
    with pytest.raises(TransportClosed):
        await socket.transport.send(b"c")
    assert socket.written == []


class QuickSocket(Socket):
    """One whose function can also write at once, while there is room."""

    def __init__(self):
        self.has_room = True
        super().__init__()
        self.open.set()
        self.transport = FunctionTransport(RoomKit(), _Writer(self), self.close)


class _Writer:
    def __init__(self, socket):
        self._socket = socket

    async def __call__(self, text):
        await self._socket.send(text)

    def write_text(self, data):
        if self._socket.has_room:
            self._socket.written.append(f"{data.decode()} at once")
        return self._socket.has_room


async def test_a_function_that_can_write_at_once_is_asked_first():
    socket = QuickSocket()
    assert socket.transport.writes_at_once
    assert socket.transport.write(b"a")
    socket.has_room = False
    assert not socket.transport.write(b"b")
    assert socket.written == ["a at once"]
    assert not Socket().transport.writes_at_once


async def test_no_frame_overtakes_one_that_is_being_written():
    socket = QuickSocket()
    socket.open.clear()
    tasks = await socket.begin("a", "b")
    assert not socket.transport.write(b"c")
    socket.open.set()
    await asyncio.gather(*tasks)
    assert socket.transport.write(b"d")
    assert socket.written == ["a", "b", "d at once"]


async def test_nothing_is_written_at_once_after_the_end():
    socket = QuickSocket()
    await socket.transport.close(1000, "bye")
    assert not socket.transport.write(b"a")
    assert socket.written == ["closed 1000"]
