"""The contract of the ephemeral side: signals that are seen once and never stored."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from roomkit.models.realtime import EphemeralEvent

__all__ = ["EphemeralCallback", "RealtimeBackend"]

type EphemeralCallback = Callable[[EphemeralEvent], Awaitable[None]]
"""A coroutine function that is shown each ephemeral event."""


class RealtimeBackend(ABC):
    """Publish and subscribe by topic.

    Each subscription sees a topic's events in the order published by one publisher, one at a time.
    A slow subscriber delays no other: beyond its bound the oldest are dropped, and counted.
    Callback failures are logged and end nothing.
    """

    @property
    def is_process_local(self) -> bool:
        """Whether other processes cannot receive messages published here.

        True unless a backend says otherwise: the kit relies on declared properties only. One that carries
        signals between processes returns False, and then events reach the sockets of other workers.
        """
        return True

    async def open(self) -> Self:
        """Connect, and check that signals can pass. A kit calls it when it starts; idempotent.

        Raises a RoomKitError within a few seconds if not, which names the service, what failed and what
        to do. The default does nothing.
        """
        return self

    @abstractmethod
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        """Show `event` to the subscribers of the topic `channel`; does not wait for them."""

    @abstractmethod
    async def subscribe(self, channel: str, callback: EphemeralCallback) -> str:
        """Call `callback` for each event of the topic from now on; return the subscription's id."""

    @abstractmethod
    async def unsubscribe(self, subscription_id: str) -> bool:
        """End a subscription; False when there is none of that id."""

    def has_subscribers(self, channel: str) -> bool:
        """Whether an event published on the topic now may reach a subscriber; False only if that is certain.

        A publisher need not make an event that has no subscriber. The default does not know, and says True.
        """
        return True

    def has_subscribers_in_room(self, room_id: str) -> bool:
        """As `has_subscribers`, for the room's topic."""
        return self.has_subscribers(f"room:{room_id}")

    async def publish_to_room(self, room_id: str, event: EphemeralEvent) -> None:
        """Publish on the room's topic."""
        await self.publish(f"room:{room_id}", event)

    async def subscribe_to_room(self, room_id: str, callback: EphemeralCallback) -> str:
        """Subscribe to the room's topic."""
        return await self.subscribe(f"room:{room_id}", callback)

    async def close(self) -> None:
        """End every subscription; publishing afterwards does nothing. Idempotent."""
