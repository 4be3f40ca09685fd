"""The channels registered with a kit."""

from __future__ import annotations

import asyncio

from roomkit.abc.channel import Channel

__all__ = ["Channels"]


class Channels(dict[str, Channel]):
    """The registered channels by id, and a way to wait for one.

    A dict, because every event looks its recipients up in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left: set[tuple[str, str]] = set()  # bound: rooms with turns of an unregistered agent
        """Bindings, by room and channel id, whose turns are to be released for other workers."""
        self._awaited: dict[str, asyncio.Event] = {}  # bound: channels of stored bindings

    def add(self, channel_id: str, channel: Channel) -> None:
        """Register a channel, and wake those that wait for it."""
        self[channel_id] = channel
        awaited = self._awaited.pop(channel_id, None)
        if awaited is not None:
            awaited.set()

    async def registered(self, channel_id: str, seconds: float) -> Channel | None:
        """Return a channel as soon as it is registered; None if it is not within `seconds`."""
        if channel_id not in self:
            awaited = self._awaited.setdefault(channel_id, asyncio.Event())
            try:
                async with asyncio.timeout(seconds):
                    await awaited.wait()
            except TimeoutError:
                pass
        return self.get(channel_id)
