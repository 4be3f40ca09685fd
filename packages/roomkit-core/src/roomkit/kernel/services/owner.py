"""For whom services are made: a channel, a provider, a source, a plugin or the host."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

from roomkit.abc.errors import ChannelNotRegisteredError, InvalidInputError
from roomkit.kernel.flow.contract import type_of
from roomkit.kernel.runtime.channels import Channels
from roomkit.models.enums import ChannelDirection
from roomkit.models.event import EventSource

__all__ = ["HOST", "Owner"]

HOST = "app"
"""The namespace of the program that the kit belongs to."""


class Owner:
    """Whose services they are, and which channels it may speak for.

    A channel, its provider and its source have one channel; a plugin has those whose class belongs to it,
    the host has all of them.
    """

    def __init__(
        self, channels: Channels, namespace_of: Callable[[object], str], of: object, channel_id: str | None
    ) -> None:
        self._channels = channels
        self._namespace_of = namespace_of
        self._of = of
        self.channel_id = channel_id

    @cached_property
    def namespace(self) -> str:
        """What the owner keeps is kept under this; `of` is its name where it is text."""
        return self._of if isinstance(self._of, str) else self._namespace_of(self._of)

    def part(self, part: object) -> Owner:
        """Return the owner for a part of this one."""
        return Owner(self._channels, self._namespace_of, part, self.channel_id)

    def channel(self, asked: str | None) -> str:
        """Return the channel that is meant. Raises InvalidInputError for one of another owner."""
        own = self.channel_id
        if asked is None:
            if own is None:
                raise InvalidInputError(
                    f"no channel was named, and {self.namespace!r} is none itself: give channel_id"
                )
            return own
        if asked == own or self._has(asked):
            return asked
        raise InvalidInputError(
            f"channel {asked!r} is not one of {self.namespace!r}: name a channel of your own, or let the "
            "host do it with kit.services"
        )

    def _has(self, channel_id: str) -> bool:
        if self.channel_id is not None:
            return False
        if self.namespace == HOST:
            return True
        channel = self._channels.get(channel_id)
        return channel is not None and self._namespace_of(channel) == self.namespace

    def source(self, asked: str | None, direction: ChannelDirection) -> EventSource | None:
        """Return by what hooks are selected; None for an owner that is not a channel and names none."""
        channel_id = self.channel_id if asked is None else self.channel(asked)
        if channel_id is None:
            return None
        channel = self._channels.get(channel_id)
        if channel is None:
            raise ChannelNotRegisteredError(
                f"no channel {channel_id!r} is registered to select hooks by: register_channel first"
            )
        return EventSource(
            channel_id=channel_id, channel_type=type_of(channel, channel_id), direction=direction
        )
