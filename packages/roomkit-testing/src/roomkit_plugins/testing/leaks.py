"""Counts what a process holds, before and after many cycles of the same."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Holdings", "assert_nothing_leaks"]

_DESCRIPTORS = Path("/proc/self/fd") if Path("/proc/self/fd").exists() else Path("/dev/fd")


@dataclass(slots=True, frozen=True)
class Holdings:
    """Resources held at one moment: the names of unfinished tasks and threads, the open descriptors."""

    tasks: tuple[str, ...]
    threads: tuple[str, ...]
    descriptors: tuple[str, ...]

    @classmethod
    def now(cls) -> Holdings:
        """Count, after a garbage collection. Call it on the running loop."""
        gc.collect()
        return cls(
            tasks=tuple(sorted(task.get_name() for task in asyncio.all_tasks())),
            threads=tuple(sorted(name for name in _thread_names() if not name.startswith(_OF_THE_LOOP))),
            descriptors=tuple(_open_descriptors()),
        )

    def beyond(self, before: Holdings) -> str:
        """Return which resources are held beyond those before, "" when none are."""
        more = {
            "tasks": (self.tasks, before.tasks),
            "threads": (self.threads, before.threads),
            "descriptors": (self.descriptors, before.descriptors),
        }
        return "; ".join(
            f"{len(now)} {what}, {len(was)} before: {', '.join(_surplus(now, was))}"
            for what, (now, was) in more.items()
            if len(now) > len(was)
        )


async def assert_nothing_leaks(
    cycle: Callable[[], Awaitable[object]], *, cycles: int = 50, warm_up: int = 3
) -> None:
    """Run `cycle` many times and assert that tasks, threads and file descriptors stay flat.

    The first `warm_up` cycles may fill pools and caches. Raises AssertionError naming what grew.
    """
    for _ in range(warm_up):
        await cycle()
    before = await _settled()
    for _ in range(cycles):
        await cycle()
    leaked = (await _settled()).beyond(before)
    if leaked:
        raise AssertionError(f"after {cycles} cycles there are {leaked}")


async def _settled() -> Holdings:
    """Count once the callbacks that are due have run: transports close one turn later."""
    for _ in range(5):
        await asyncio.sleep(0)
    return Holdings.now()


_OF_THE_LOOP = "asyncio_"
"""The loop's own pool for `to_thread`: it is bounded, and grows by chance while a machine is busy."""


def _thread_names() -> list[str]:
    return [thread.name for thread in threading.enumerate()]


def _open_descriptors() -> list[str]:
    found: list[str] = []  # bound: the process's descriptors
    for descriptor in sorted(_DESCRIPTORS.iterdir()):
        try:
            found.append(os.readlink(descriptor))
        except OSError:  # the one that lists the folder is closed by now
            continue
    return found


def _surplus(now: tuple[str, ...], before: tuple[str, ...]) -> list[str]:
    rest = list(now)
    for name in before:
        if name in rest:
            rest.remove(name)
    return rest
