"""Leases and lanes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.abc.store.records import Claimed

__all__ = ["LeaseStore"]


class LeaseStore(ABC):
    """The leases of workers, and the deliveries that they claim under them."""

    @abstractmethod
    async def open_lease(self, seconds: float, *, channels: Collection[str] | None = None) -> str:
        """Begin a lease that runs out after `seconds` unless it is renewed; return the worker's new id.

        `channels` are the ids of the channels that the worker announces; None announces every channel.
        """

    @abstractmethod
    async def renew_lease(
        self, worker_id: str, seconds: float, *, channels: Collection[str] | None = None
    ) -> bool:
        """Let a lease run for another `seconds` from now; False when it has run out already, for good.

        `channels` replace those that the worker announces; None leaves them as they are.
        """

    @abstractmethod
    async def close_lease(self, worker_id: str) -> None:
        """End a lease, which releases everything the worker held. Not an error when it has run out."""

    @abstractmethod
    async def find_claimable(
        self, worker_id: str, *, channels: Collection[str] | None = None, limit: int = 100
    ) -> list[str]:
        """Return ids of rooms with deliveries for `claim` to take, those waiting longest first."""

    @abstractmethod
    async def claim(
        self, room_id: str, worker_id: str, *, channels: Collection[str] | None = None
    ) -> list[Claimed]:
        """Take the room's pending deliveries that were handed over to this worker, or that no worker holds.

        Nor is a lease that has run out a hold. Of free deliveries, only those of `channels` are
        taken; None takes those of every channel. In order of the events' indexes. A row taken from a
        worker whose lease ran out counts one more in `claims`. Nothing for a worker whose own lease
        has run out.
        """

    @abstractmethod
    async def read_lane(self, room_id: str, channel_id: str, indexes: Sequence[int]) -> list[Claimed]:
        """Return the deliveries to a channel of the events at these indexes, with the events as they are now.

        Whatever their state and holder, in order of the timeline, in one request; nothing is claimed. An
        index without an event, or whose event does not go to the channel, is passed over.
        """

    @abstractmethod
    async def count_unclaimed(self) -> dict[str, int]:
        """Return, by channel, how many pending deliveries wait for a worker to announce their channel.

        Only channels that no lease in force announces, and deliveries that no lease in force holds.
        """
