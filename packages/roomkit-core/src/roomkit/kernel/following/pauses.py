"""Pauses between attempts, which end when the kit closes."""

from __future__ import annotations

import asyncio
from contextlib import suppress

__all__ = ["may_retry"]

_FIRST = 0.1
_LONGEST = 15.0


async def may_retry(closing: asyncio.Event, failures: int) -> bool:
    """Wait before the next attempt, a tenth of a second doubled with each failure; False: make none."""
    with suppress(TimeoutError):
        async with asyncio.timeout(min(_FIRST * 2 ** min(failures, 10), _LONGEST)):
            await closing.wait()
    return not closing.is_set()
