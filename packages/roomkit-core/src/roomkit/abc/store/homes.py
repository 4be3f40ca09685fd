"""Homes: which worker has a live thing."""

from __future__ import annotations

from abc import ABC, abstractmethod
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.abc.store.records import HomeRecord

__all__ = ["HomeStore"]


class HomeStore(ABC):
    """Homes under the leases of workers: of a channel in a room, or elected by name, in no room.

    A worker has a home for as long as its lease is in force and it does not leave it. A home in a room is
    deleted with the room. Taking, leaving and yielding take effect in one order with the room's commits.
    """

    @abstractmethod
    async def take_home(
        self,
        room_id: str | None,
        name: str,
        worker_id: str,
        *,
        url: str | None = None,
        token: int | None = None,
    ) -> HomeRecord:
        """Make the worker the holder, unless another one in force is; return the home as it is then.

        Each new holder gets a token one higher than the one before; a holder that takes its home again
        keeps the token. With `token` the home is only taken if it was not taken since it had that one. A
        worker whose own lease has run out takes nothing. `url` is where the worker is reached.
        Raises RoomNotFoundError.
        """

    @abstractmethod
    async def leave_home(self, room_id: str | None, name: str, worker_id: str) -> bool:
        """Free a home on purpose; False when the worker is not its holder."""

    @abstractmethod
    async def get_home(self, room_id: str | None, name: str) -> HomeRecord | None:
        """Return a home, None if it was never taken."""

    @abstractmethod
    async def yield_lane(
        self, room_id: str, channel_id: str, worker_id: str, *, at: datetime, grace: float
    ) -> HomeRecord | None:
        """Pass on the pending deliveries that the worker holds of a lane whose live thing it lacks.

        They are handed over to the home's holder in force, in their order. If that is the worker itself, or
        the holder was lost less than `grace` seconds before `at`, they are released: no worker holds them.
        Otherwise they stay as they are. The first call after a loss sets `lost_at` to `at`. Returns the
        home as `get_home` does.
        """
