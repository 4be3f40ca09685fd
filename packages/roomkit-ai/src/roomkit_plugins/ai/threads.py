"""Threads of their own for tools that are plain functions."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor, Future
from functools import partial
from typing import override

from roomkit.abc.log import get_logger
from roomkit_plugins.ai.errors import ToolsBusyError

__all__ = ["TOOL_THREADS", "ToolThreads"]

logger = get_logger("roomkit.ai")

MAX_THREADS = 32
MAX_WAITING = 1000
IDLE_SECONDS = 10.0
"""After which a thread without work ends."""

type _Work = tuple[Future[object], Callable[[], object]]


class ToolThreads(Executor):
    """Runs functions in at most `most` threads, in the order in which they come.

    Nothing can stop a thread. So functions that hang must not hold those of the event loop, by which host
    names are looked up and files are read; nor the end of the process: the threads are daemons. At most
    `most_waiting` functions wait for a thread; `refused` counts those beyond.
    """

    def __init__(self, most: int = MAX_THREADS, most_waiting: int = MAX_WAITING) -> None:
        self.refused = 0
        self._most = most
        self._most_waiting = most_waiting
        self._begin()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        """Begin without threads: a forked process has none of its parent's."""
        self._waiting: deque[_Work] = deque()  # bound: `most_waiting`
        self._changed = threading.Condition()
        self._count = 0
        self._idle = 0

    @override
    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a function run. Raises ToolsBusyError if too many wait."""
        future: Future[T] = Future()
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                self.refused += 1
                raise ToolsBusyError(
                    f"the tool cannot run: {self._count} calls of plain functions are under way, and "
                    f"{self._most_waiting} wait; let tools end, or make them coroutine functions"
                )
            self._waiting.append((future, partial(fn, *args, **kwargs)))  # type: ignore[arg-type]  # any result
            if len(self._waiting) <= self._idle:
                self._changed.notify()
            elif self._count < self._most:
                self._count += 1
                number = self._count
                threading.Thread(target=self._serve, name=f"roomkit-tool-{number}", daemon=True).start()
            elif len(self._waiting) == 1:
                logger.warning("all %d threads for tools are busy: calls wait", self._most)
        return future

    def _serve(self) -> None:
        while (work := self._next()) is not None:
            future, function = work
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function())
                except BaseException as error:  # noqa: BLE001  # it is the caller's
                    future.set_exception(error)
            del work, future, function  # a waiting thread keeps nothing of what it ran

    def _next(self) -> _Work | None:
        """Return what to run; None for a thread that is to end."""
        with self._changed:
            self._idle += 1
            has_work = self._changed.wait_for(lambda: self._waiting, IDLE_SECONDS)
            self._idle -= 1
            if has_work:
                return self._waiting.popleft()
            self._count -= 1
            return None


TOOL_THREADS = ToolThreads()
"""Those of this process."""
