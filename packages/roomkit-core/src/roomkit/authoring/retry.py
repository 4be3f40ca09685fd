"""Trying again what failed for a while, and only that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roomkit.abc.errors import ProviderError

if TYPE_CHECKING:
    from roomkit.models.channel import RetryPolicy

__all__ = ["pause_before", "retry_with_backoff"]


async def retry_with_backoff[**P, T](
    attempt: Callable[P, Awaitable[T]], policy: RetryPolicy, *args: P.args, **kwargs: P.kwargs
) -> T:
    """Call `attempt` until it returns; a failure is waited out as `policy` says.

    Raises the last failure, and at once a ProviderError that is not retryable.
    """
    retry = 0
    while True:
        try:
            return await attempt(*args, **kwargs)
        except Exception as error:
            if retry >= policy.max_retries or not _may_pass(error):
                raise
            await asyncio.sleep(pause_before(retry, policy, error))
        retry += 1


def _may_pass(error: Exception) -> bool:
    """Whether trying again may help: only a ProviderError knows that it does not."""
    return not isinstance(error, ProviderError) or error.retryable


def pause_before(retry: int, policy: RetryPolicy, error: Exception) -> float:
    """Return the seconds to wait before retry number `retry` (from 0).

    What the vendor asks for is waited for when it is longer.
    """
    wish = error.retry_after if isinstance(error, ProviderError) else None
    return max(policy.delay(retry, spread=random.uniform(-1, 1)), wish or 0.0)
