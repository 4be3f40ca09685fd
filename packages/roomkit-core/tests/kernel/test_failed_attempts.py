"""A failed attempt leaves its failure in the ledger, and nothing in memory."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any
from weakref import ref

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.channel import ChannelOutput, RetryPolicy
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time


class Sent:
    """An object of an attempt, such as the request that a vendor refused."""


@pytest.fixture
def sent() -> Iterator[list[ref[Sent]]]:
    """The objects of attempts, with the collector of garbage switched off."""
    gc.disable()
    yield []
    gc.enable()


def _vendors_error() -> Exception:
    error = ProviderError("the vendor is out of order", error_code=ErrorCode.SERVER)
    error.__cause__ = ConnectionError("503")
    return error


def _defect() -> Exception:
    return LookupError("a defect of the channel")


def failing(channel: RecordingChannel, sent: list[ref[Sent]], error: Callable[[], Exception]) -> None:
    async def deliver(*_: Any) -> ChannelOutput:
        request = Sent()
        sent.append(ref(request))
        try:
            raise ValueError("as a client's library would")
        except ValueError as cause:
            raise error() from cause

    channel.deliver = deliver  # type: ignore[method-assign]  # the test's own channel


@pytest.mark.parametrize("error", [_vendors_error, _defect])
async def test_a_failed_delivery_leaves_no_garbage(
    stage: Any, sent: list[ref[Sent]], error: Callable[[], Exception]
) -> None:
    """Neither while it waits to be retried, nor afterwards: references count down, none go in a circle."""
    await stage.socket("alice")
    policy = RetryPolicy(max_retries=2, base_delay_seconds=10, jitter=0)
    failing(await stage.socket("bob", retry_policy=policy), sent, error)
    said = asyncio.create_task(stage.say())
    await asyncio.sleep(1)
    assert [each() for each in sent] == [None]
    await said
    (row,) = [row for row in await stage.kit.list_deliveries("r1") if row.channel_id == "bob"]
    assert row.state is DeliveryState.FAILED
    assert len(sent) == row.attempts
    assert {each() for each in sent} == {None}
