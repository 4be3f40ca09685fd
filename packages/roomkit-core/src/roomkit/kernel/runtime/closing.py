"""Ending a kit: every step is taken, within its time, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.kernel.runtime.supervisor import Supervisor

__all__ = ["Closing"]

_MOMENT = 0.1


class Closing:
    """Runs steps one after the other and collects their failures."""

    def __init__(self, seconds: float, supervisor: Supervisor) -> None:
        self._seconds = seconds
        self._supervisor = supervisor
        self._deadline = asyncio.get_running_loop().time() + seconds
        self.failures: list[Exception] = []  # bound: the steps

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; never less than a tenth of a second for a step."""
        return max(_MOMENT, self._deadline - asyncio.get_running_loop().time())

    async def step(self, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """Take one step, as long as the budget allows; one that ignores its cancellation is left behind."""

        async def take() -> None:
            await act()

        task = self._supervisor.begin(take(), f"close of {what}")
        await asyncio.wait((task,), timeout=self.left)
        if not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=_MOMENT)
            self.failures.append(TimeoutError(f"{what} did not end within the rest of {self._seconds:g} s"))
        elif task.cancelled():
            self.failures.append(RuntimeError(f"{what} raised a CancelledError without being cancelled"))
        elif isinstance(error := task.exception(), Exception):
            error.add_note(f"while closing: {what}")
            self.failures.append(error)
        else:
            task.result()
