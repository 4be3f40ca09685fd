"""Ending a kit: every step is taken, within its time, whatever the others do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from roomkit.kernel.deadline import is_cancelled

__all__ = ["Closing"]


class Closing:
    """Takes steps one after the other and keeps what went wrong."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline = asyncio.get_running_loop().time() + seconds
        self.failures: list[Exception] = []  # bound: the steps

    @property
    def left(self) -> float:
        """Seconds of the budget that are left; never less than a tenth of a second for a step."""
        return max(0.1, self._deadline - asyncio.get_running_loop().time())

    async def step(self, what: str, act: Callable[[], Awaitable[object]]) -> None:
        """Take one step, as long as the budget allows."""
        try:
            async with asyncio.timeout(self.left):
                await act()
        except TimeoutError as error:
            failure = TimeoutError(f"{what} did not end within what was left of {self._seconds} s")
            failure.__cause__ = error
            self.failures.append(failure)
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            cancelled = RuntimeError(f"{what} ended with a CancelledError that nobody sent")
            cancelled.__cause__ = error
            self.failures.append(cancelled)
        except Exception as error:  # noqa: BLE001  # kept for the report
            error.add_note(f"while closing: {what}")
            self.failures.append(error)
