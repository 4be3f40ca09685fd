"""What a mock does, call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

__all__ = ["Hang", "Script"]


class Hang:
    """A step that does not end before `release()`, or the caller's cancellation.

    `await hang.reached.wait()` to know that the call has come; `cancelled` counts the calls that
    were cancelled while they hung.
    """

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self.cancelled = 0
        self._released = asyncio.Event()

    def release(self) -> None:
        """Let what hangs, and what will come, go on as if nothing had been."""
        self._released.set()

    async def wait(self) -> None:
        """Hang."""
        self.reached.set()
        try:
            await self._released.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise


class Script[Outcome]:
    """Plays one step a call: a value is returned, an exception raised, a `Hang` waited for.

    None, a released `Hang` and the end of the script mean that the mock does what it always does.
    `delay` seconds of the loop's clock pass before each step.
    """

    def __init__(self, steps: Iterable[Outcome | Exception | Hang | None] = (), *, delay: float = 0.0):
        self._steps = iter(steps)
        self.delay = delay

    async def play(self) -> Outcome | None:
        """Play the next step; return its value, None for the usual."""
        step = next(self._steps, None)
        if self.delay:
            await asyncio.sleep(self.delay)
        if isinstance(step, Exception):
            raise step
        if isinstance(step, Hang):
            await step.wait()
            return None
        return step
