"""Starting channels: with the kit, or as soon as they are registered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from roomkit.abc.channel import Channel
from roomkit.abc.log import get_logger
from roomkit.kernel.runtime.channels import ChannelStart
from roomkit.kernel.runtime.scope import outside
from roomkit.models.values import error_text

if TYPE_CHECKING:
    from roomkit.kernel.cluster.reclaim import Reclaim
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.framework_events import FrameworkEvents
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.options import KitOptions

__all__ = ["ChannelStarts"]

_log = get_logger("roomkit.kernel")


class ChannelStarts:
    """Awaits `Channel.start` of each channel that has one, beside each other.

    Deliveries of a channel wait for its start. If that fails the channel is broken: its deliveries stay
    pending, for other workers or until it is registered again, and everything else goes on.
    """

    def __init__(
        self,
        *,
        settings: KitOptions,
        channels: Channels,
        supervisor: Supervisor,
        events: FrameworkEvents,
        reclaim: Reclaim,
    ) -> None:
        self._settings = settings
        self._channels = channels
        self._supervisor = supervisor
        self._events = events
        self._reclaim = reclaim
        self._is_running = False

    def registered(self, channel_id: str, channel: Channel) -> None:
        """Have a channel started: now, or when the kit starts."""
        if getattr(channel.start, "__func__", None) is Channel.start:
            return
        start = self._channels.starts[channel_id] = ChannelStart()
        if self._is_running:
            self._begin(channel_id, channel, start)

    async def begin(self) -> None:
        """Start the channels that are registered, and wait for them: no longer than a lease is."""
        self._is_running = True
        for channel_id, start in tuple(self._channels.starts.items()):
            if start.task is None:
                self._begin(channel_id, self._channels[channel_id], start)
        tasks = {start.task for start in self._channels.starts.values() if start.task is not None}
        if tasks:
            await asyncio.wait(tasks, timeout=self._settings.lease_seconds)

    def _begin(self, channel_id: str, channel: Channel, start: ChannelStart) -> None:
        name = f"start of channel {channel_id}"
        start.task = self._supervisor.start(self._run(channel_id, channel, start), name, outside())

    async def _run(self, channel_id: str, channel: Channel, start: ChannelStart) -> None:
        try:
            await self._supervisor.call(channel.start(), f"start() of channel {channel_id}")
        except asyncio.CancelledError:
            start.broken = "it was cancelled"
            raise
        except Exception as error:  # noqa: BLE001  # a channel may raise anything: it is reported
            self._broke(channel_id, start, error)
        else:
            if self._channels.starts.get(channel_id) is start:
                del self._channels.starts[channel_id]
        finally:
            start.ended.set()
        if start.broken is not None:
            await asyncio.sleep(0)  # the deliveries that waited are on their way back
            self._reclaim.channels_changed()
        elif channel_id in self._channels:
            await self._reclaim.resume(channel_id)

    def _broke(self, channel_id: str, start: ChannelStart, error: Exception) -> None:
        start.broken = error_text(error)
        _log.error(
            "channel %s did not start and is broken: its deliveries stay pending; remove the cause, then "
            "unregister and register it",
            channel_id,
            exc_info=error,
        )
        self._events.emit("channel_broken", channel_id=channel_id, error=start.broken)

    async def unregistered(self, channel_id: str) -> None:
        """Cancel the start of a channel that is closed next."""
        start = self._channels.starts.pop(channel_id, None)
        if start is not None and start.task is not None:
            await self._cancel({start.task})

    async def close(self) -> None:
        """Cancel the starts under way: the channels are closed next."""
        await self._cancel({start.task for start in self._channels.starts.values() if start.task is not None})

    async def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=2 * self._supervisor.abandon_after)
