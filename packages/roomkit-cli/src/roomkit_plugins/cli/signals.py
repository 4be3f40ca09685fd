"""How signals end a command: in order at the first, at once at the second Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["INTERRUPTED", "TERMINATED", "ended_by_signals"]

INTERRUPTED, TERMINATED = 128 + signal.SIGINT, 128 + signal.SIGTERM


@contextmanager
def ended_by_signals(seen: list[int]) -> Iterator[None]:
    """Have SIGTERM end the command as Ctrl-C does, with everything closed, and note it in `seen`.

    A second Ctrl-C ends the process at once, whatever is still being closed. Only in the main thread: signals
    do not reach another one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with _ended_by_the_second_interrupt(), _ended_by_sigterm(seen):
        yield


@contextmanager
def _ended_by_sigterm(seen: list[int]) -> Iterator[None]:
    def end(signum: int, frame: FrameType | None) -> None:
        seen.append(signum)
        interrupt = signal.getsignal(signal.SIGINT)
        # That of a running loop cancels what it runs. A background job ignores SIGINT, and is to end too.
        (interrupt if callable(interrupt) else signal.default_int_handler)(signal.SIGINT, frame)

    former = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


@contextmanager
def _ended_by_the_second_interrupt() -> Iterator[None]:
    """Watch signals from a thread: asyncio handles the first in the loop, which may hang as it closes."""
    read, write = os.pipe()
    os.set_blocking(write, False)
    former = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    watch = threading.Thread(target=_watch, args=(read,), name="roomkit-interrupts", daemon=True)
    watch.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(former)
        os.close(write)
        watch.join()
        os.close(read)


def _watch(read: int) -> None:
    interrupts = 0
    while numbers := os.read(read, 64):
        interrupts += numbers.count(signal.SIGINT)
        if interrupts > 1:
            os._exit(INTERRUPTED)
