"""Deliveries that wait for their channel to start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.abc.errors import ProviderError
from roomkit.authoring.retry import pause_before
from roomkit.kernel.flow.job import Undone
from roomkit.models.delivery import DeliveryError

if TYPE_CHECKING:
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.options import KitOptions

__all__ = ["wait_for_start"]


async def wait_for_start(
    channels: Channels, binding: ChannelBinding, settings: KitOptions
) -> DeliveryError | None:
    """Wait until a channel has started; return why its delivery fails if it takes too long.

    Each attempt waits for a lease's length, and is retried as the binding's policy says. Raises Undone if
    the start has failed, and if earlier deliveries of the lane still wait to be claimed.
    """
    channel_id, key = binding.channel_id, (binding.room_id, binding.channel_id)
    policy, retry = binding.retry_policy or settings.retry_policy, 0
    while (start := channels.starts.get(channel_id)) is not None:
        if start.broken is not None:
            channels.left.add(key)
            raise Undone
        if await start.within(settings.lease_seconds):
            continue
        if retry >= policy.max_retries:
            return DeliveryError(
                code="channel_not_started",
                message=f"channel {channel_id!r} did not start within {settings.lease_seconds:g} s, in "
                f"{retry + 1} attempts: see why its start() takes so long, then retry_delivery",
                retryable=True,
            )
        await asyncio.sleep(pause_before(retry, policy, ProviderError("not started")))
        retry += 1
    if key in channels.left:
        raise Undone
    return None
