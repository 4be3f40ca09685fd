"""The channels registered with a kit."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping
from typing import Any

from roomkit.abc.channel import Channel
from roomkit.abc.errors import ChannelNotRegisteredError

__all__ = ["ChannelStart", "Channels"]


class ChannelStart:
    """The start of a registered channel: not begun, under way, or broken."""

    __slots__ = ("broken", "ended", "task")

    def __init__(self) -> None:
        self.broken: str | None = None
        """Why it failed."""
        self.ended = asyncio.Event()
        self.task: asyncio.Task[None] | None = None

    async def within(self, seconds: float) -> bool:
        """Wait for its end; return whether that came within `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self.ended.wait()
        except TimeoutError:
            return False
        return True


class Channels(dict[str, Channel]):
    """The registered channels by id, and a way to wait for one.

    A dict, because every event looks its recipients up in it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.left: set[tuple[str, str]] = set()  # bound: rooms with turns of an unregistered agent
        """Bindings, by room and channel id, whose deliveries are to be released: for other workers, or for
        when their channel has started."""
        self.starts: dict[str, ChannelStart] = {}  # bound: the registered channels
        """The starts of channels that have not started; most channels have nothing to start."""
        self.typists: dict[str, float] = {}  # bound: the registered channels
        """The channels that can show typing, and for how many seconds the vendor does."""
        self.markers: set[str] = set()  # bound: the registered channels
        """The channels that can show that messages were read."""
        self._defaults: dict[str, Mapping[str, Any]] = {}  # bound: the registered channels
        self._awaited: dict[str, tuple[asyncio.Event, float]] = {}  # bound: channels of stored bindings

    @property
    def working(self) -> Collection[str]:
        """The channels that this worker claims deliveries for: all but those whose start failed."""
        broken = {channel_id for channel_id, start in self.starts.items() if start.broken is not None}
        return self.keys() - broken if broken else self

    def add(self, channel_id: str, channel: Channel, defaults: Mapping[str, Any] | None = None) -> None:
        """Register a channel with the defaults of its bindings, and wake those that wait for it."""
        self[channel_id] = channel
        if channel.typing_seconds is not None:
            self.typists[channel_id] = channel.typing_seconds
        if channel.marks_read:
            self.markers.add(channel_id)
        self._defaults.pop(channel_id, None)
        if defaults:
            self._defaults[channel_id] = defaults
        awaited = self._awaited.pop(channel_id, None)
        if awaited is not None:
            awaited[0].set()

    def __delitem__(self, channel_id: str) -> None:
        super().__delitem__(channel_id)
        self.typists.pop(channel_id, None)
        self.markers.discard(channel_id)

    def binding_fields(self, channel_id: str, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a binding: those given, else the channel's defaults; metadata is merged."""
        defaults = self._defaults.get(channel_id)
        if defaults is None:
            return {**given}
        metadata = {**defaults.get("metadata", {}), **given.get("metadata", {})}
        return {**defaults, **given, **({"metadata": metadata} if metadata else {})}

    def known(self, channel_id: str) -> Channel:
        """Return a registered channel. Raises ChannelNotRegisteredError."""
        try:
            return self[channel_id]
        except KeyError:
            known = ", ".join(sorted(self)) or "none"
            raise ChannelNotRegisteredError(
                f"no channel {channel_id!r} is registered (there are: {known}): register_channel first"
            ) from None

    async def registered(self, channel_id: str, seconds: float) -> Channel | None:
        """Return a channel as soon as it is registered; None if it is not.

        It is waited for until `seconds` after it was first missed, by all together: the deliveries of a lane
        come here one after the other.
        """
        if channel_id not in self:
            now = asyncio.get_running_loop().time()
            awaited, until = self._awaited.setdefault(channel_id, (asyncio.Event(), now + seconds))
            try:
                async with asyncio.timeout_at(until):
                    await awaited.wait()
            except TimeoutError:
                pass
        return self.get(channel_id)
