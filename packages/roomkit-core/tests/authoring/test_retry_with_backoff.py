"""`retry_with_backoff`: ordinary exceptions are retried too, and only what cannot pass is raised at once."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc import retry_with_backoff
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.channel import RetryPolicy

pytestmark = pytest.mark.virtual_time

POLICY = RetryPolicy(max_retries=2, base_delay_seconds=1, jitter=0)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("x"),
        ConnectionError("x"),
        TimeoutError("x"),
        ProviderError("x", error_code=ErrorCode.SERVER),
    ],
    ids=lambda error: type(error).__name__,
)
async def test_a_failure_is_retried_as_the_policy_says(error: Exception) -> None:
    calls = []

    async def attempt(word: str) -> str:
        calls.append(word)
        if len(calls) % 3:
            raise error
        return word

    began = asyncio.get_running_loop().time()
    assert await retry_with_backoff(attempt, POLICY, "done") == "done"
    assert asyncio.get_running_loop().time() - began == 1 + 2
    with pytest.raises(type(error)):
        await retry_with_backoff(attempt, POLICY.replace(max_retries=1), "never")
    assert len(calls) == 3 + 2


async def test_what_cannot_pass_is_raised_at_once() -> None:
    """A provider's permanent failure, and a cancellation."""
    for error in (ProviderError("x", error_code=ErrorCode.AUTH), asyncio.CancelledError()):
        calls = []

        async def attempt(error: BaseException = error, calls: list[int] = calls) -> None:
            calls.append(1)
            raise error

        with pytest.raises(type(error)):
            await retry_with_backoff(attempt, POLICY)
        assert len(calls) == 1
