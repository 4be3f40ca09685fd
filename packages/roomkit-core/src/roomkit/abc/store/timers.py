"""Timers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.timer import Timer

__all__ = ["TimerStore"]


class TimerStore(ABC):
    """Timers: stored, one-shot, claimed by one worker."""

    @abstractmethod
    async def set_timer(self, timer: Timer) -> None:
        """Set a timer that no worker holds, in place of the one of its id. Raises RoomNotFoundError."""

    @abstractmethod
    async def delete_timer(self, timer_id: str) -> bool:
        """Remove a timer, whether or not a worker holds it; False when there is none."""

    @abstractmethod
    async def delete_timers_of(self, subject: str, *, organization_id: str | None = None) -> int:
        """Remove the timers about a person; return how many there were.

        With an organization only those of its rooms: a timer of no room is of no organization.
        """

    @abstractmethod
    async def claim_timers(
        self, worker_id: str, now: datetime, kinds: Collection[str] | None = None, *, limit: int = 100
    ) -> list[Timer]:
        """Take timers that are due at `now` and that no lease in force holds, those due longest first.

        Only timers of the given kinds, None for all: others are left to workers that handle them.
        One taken from a worker whose lease ran out counts one more in `claims`. Nothing for a worker
        whose own lease has run out.
        """

    @abstractmethod
    async def list_timers(self, room_id: str) -> list[Timer]:
        """Return the timers of a room, by the time they are due."""

    @abstractmethod
    async def find_timers(
        self,
        kind: str | None = None,
        *,
        due_before: datetime | None = None,
        after: str | None = None,
        limit: int = 100,
    ) -> list[Timer]:
        """Return a page of the timers of a kind, or of all, in order of their ids, by code point.

        `due_before` leaves out those that are due later; `after` is the id of the last timer of the page
        before, which need not be there any more.
        """
