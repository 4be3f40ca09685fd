"""Waits for conditions that have no event to wait for."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

__all__ = ["until"]

TURNS = 500
"""After so many turns of the loop the processor is left to the process that is waited for."""


async def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition of another process, a socket or a server; it may be async.

    It is looked at in each turn of the loop, later each millisecond; an async one each 10 ms. Raises
    TimeoutError after `seconds`.
    """
    turns = 0
    async with asyncio.timeout(seconds):
        while True:
            held = condition()
            if inspect.isawaitable(held):
                held, pause = await held, 0.01
            else:
                pause = 0 if turns < TURNS else 0.001
            if held:
                return
            turns += 1
            await asyncio.sleep(pause)
