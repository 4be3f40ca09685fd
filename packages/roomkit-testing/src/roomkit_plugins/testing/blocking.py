"""Finds calls that block the event loop: while one lasts, every room of the process waits."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable
from types import FrameType
from typing import Any

__all__ = ["assert_loop_stays_free"]

_SOCKET_CALLS = frozenset({"accept", "connect", "recv", "recv_into", "recvfrom", "send", "sendall", "sendto"})
_LOOK_UPS = frozenset({"getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr"})
_BEAT = 0.01
_MISSED_BEATS = 60


async def assert_loop_stays_free(work: Callable[[], Awaitable[object]]) -> None:
    """Run `work` and assert that it never blocks the running event loop.

    It finds `time.sleep`, look-ups of names, calls of sockets that may block, and whatever else keeps the
    loop from turning for about half a second. Raises AssertionError that names the line.
    """
    watch = _Watch(asyncio.get_running_loop())
    with watch:
        await work()
    if watch.found:
        raise AssertionError(
            "the event loop was blocked; await the asynchronous call instead, or use asyncio.to_thread:\n"
            + "\n".join(dict.fromkeys(watch.found))
        )


class _Watch:
    """Sees each call of C code on the loop's thread, and from another thread whether the loop turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.found: list[str] = []  # bound: the blocking calls of one test
        self._loop = loop
        self._thread_id = threading.get_ident()
        self._turned = threading.Event()
        self._stopped = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="watch of the event loop", daemon=True)

    def __enter__(self) -> None:
        self._former = sys.getprofile()
        self._heart.start()
        sys.setprofile(self._called)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._former)
        self._stopped.set()
        self._heart.join()

    def _called(self, frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and _may_block(function):
            name = getattr(function, "__qualname__", function)
            self.found.append(f"  {name} in {frame.f_code.co_filename}:{frame.f_lineno}")

    def _beat(self) -> None:
        """Count beats without a turn of the loop: both threads get their share of a busy machine."""
        missed = 0
        self._loop.call_soon_threadsafe(self._turned.set)
        while not self._stopped.wait(_BEAT):
            if self._turned.is_set():
                self._turned.clear()
                missed = 0
                self._loop.call_soon_threadsafe(self._turned.set)
            elif (missed := missed + 1) == _MISSED_BEATS:
                stack = traceback.format_stack(sys._current_frames()[self._thread_id], limit=None)
                self.found.append("  no turn of the loop during\n" + "".join(stack[-3:]))


def _may_block(function: Any) -> bool:
    if function is time.sleep:
        return True
    name = getattr(function, "__name__", "")
    if name in _LOOK_UPS:
        return getattr(function, "__module__", "") == "_socket"
    owner = getattr(function, "__self__", None)
    return name in _SOCKET_CALLS and isinstance(owner, socket.SocketType) and owner.gettimeout() != 0
