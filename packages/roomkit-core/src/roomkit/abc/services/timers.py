"""Durable timers of an owner's own kinds."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from roomkit.models.base import EMPTY

if TYPE_CHECKING:
    from roomkit.models.timer import Timer

__all__ = ["TimerFn", "Timers"]

type TimerFn = Callable[[Timer], Awaitable[datetime | None]]
"""Handles a timer that is due. A datetime sets it again for then, None ends it."""


class Timers(ABC):
    """Stored one-shot timers. Kinds and ids are the owner's own: no other owner has, sees or cancels them.

    A timer fires at least once, however late, on a worker that has its kind registered; others leave it
    to such a worker (framework event `timer_unclaimed` after an hour). Timers fire in no order, one after
    the other on a worker. A handler that raises, or takes longer than `delivery_timeout`, is called again in
    60 s, then after twice that, up to an hour. One that keeps killing its workers becomes dead: it is kept,
    and an operator retries or removes it (`roomkit timers`).
    """

    @abstractmethod
    def on(self, kind: str, fn: TimerFn) -> None:
        """Have `fn` called for timers of a kind, from now on and on this worker.

        Call it in `bind`, `start` or `roomkit_configure`, the same on every worker. It may be called again
        for a timer that it has handled: a worker may be killed before the outcome is stored. Raises
        InvalidInputError for a kind that has a handler already.
        """

    @abstractmethod
    async def set(
        self,
        kind: str,
        due: datetime,
        *,
        id: str | None = None,
        room_id: str | None = None,
        data: Mapping[str, Any] = EMPTY,
        subject: str | None = None,
    ) -> Timer:
        """Set a timer, durable on return; it replaces the owner's timer of the same `id`.

        `due` is aware; one in the past is due at once. It is removed with the room `room_id`, and with the
        person whose address or id is `subject`. `data` is at most 16 KiB as JSON. Raises
        RoomNotFoundError, StoreError, and InvalidInputError for what cannot be stored.
        """

    @abstractmethod
    def make(
        self,
        kind: str,
        due: datetime,
        *,
        id: str | None = None,
        room_id: str | None = None,
        data: Mapping[str, Any] = EMPTY,
        subject: str | None = None,
    ) -> Timer:
        """Return the timer that `set` would store, for `HookResult.timers`; nothing is stored.

        A gate sets it in the commit of its event, so that a decision and its time-out are one write. It has
        the names that the store knows, with the owner's namespace; its handler gets it as `set` returns it.
        Pure, also inside a gate. Raises InvalidInputError for what cannot be stored.
        """

    @abstractmethod
    async def cancel(self, id: str) -> bool:
        """Remove the owner's timer of that id; False when there is none (any more).

        A handler that runs already is not stopped.
        """
