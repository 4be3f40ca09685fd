"""Measuring things against each other, in turns, on a machine that has other work."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

__all__ = ["Best", "Case", "contest"]


@dataclass(frozen=True, slots=True)
class Case:
    """Something to measure: `run(items)` does that many of it, after an unmeasured `prepare`."""

    run: Callable[[int], Awaitable[object]]
    items: int
    prepare: Callable[[], Awaitable[object]] | None = None


@dataclass(frozen=True, slots=True)
class Best:
    """Microseconds an item took: in the best round, and in the middle one."""

    best: float
    median: float


async def contest(
    cases: Mapping[str, Case], rounds: int, clock: Callable[[], float] = time.process_time
) -> dict[str, Best]:
    """Measure all cases in turns, `rounds` times, and return the best of each.

    CPU time of the process, so that waiting for a busy machine does not count; `time.perf_counter` for what
    is mostly waiting for a disk, or for another process. The collector is on,
    as in production, but each round begins with an empty nursery and earlier objects are frozen:
    no scenario pays for another's garbage, nor for walking the objects of earlier rounds. The first,
    unmeasured round fills caches and compiles code that is compiled at first use.
    """
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(rounds + 1):
        for name, case in cases.items():
            if case.prepare is not None:
                await case.prepare()
            gc.collect()
            gc.freeze()
            began = clock()
            await case.run(case.items)
            spent = clock() - began
            if turn:
                seconds[name].append(spent / case.items)
    gc.unfreeze()
    return {name: Best(min(spent) * 1e6, statistics.median(spent) * 1e6) for name, spent in seconds.items()}
