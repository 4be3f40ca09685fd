"""The protocol that the writer hands committed events on to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from roomkit.abc.store import Commit
    from roomkit.kernel.flow.draft import Run
    from roomkit.kernel.flow.job import Job

__all__ = ["Dispatcher"]


class Dispatcher(Protocol):
    """Takes committed events from the writer to their recipients."""

    def enqueue(self, run: Run, jobs: Sequence[Job]) -> Callable[[], None]:
        """Put an event's jobs into their lanes; called under the room's lock, so that lanes keep its order.

        Return what starts them, to be called once the lock is free.
        """

    def rights_changed(self, commit: Commit) -> None:
        """End the turns of intelligences that lost their voice, or the room, by a commit."""

    def launched(self, run: Run) -> None:
        """Note that everything for an event was started."""

    def wake(self, room_id: str, workers: Iterable[str | None]) -> None:
        """Have other deliveries of a room claimed by these workers; None is any worker."""
