"""An answer while it is generated, as the followers of one channel in a room are shown it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit.models.event import EventSource

__all__ = ["Growth"]


class Growth:
    """The text so far, kept once for all followers: each continues from where it was.

    `timer` of an answer generated here announces it again, for workers that missed a piece; of another
    worker's, it ends one that no more is received of.
    """

    __slots__ = ("announced", "is_ours", "length", "pieces", "source", "stream_id", "timer", "visibility")

    def __init__(self, stream_id: str, source: EventSource, visibility: str, *, is_ours: bool) -> None:
        self.stream_id = stream_id
        self.source = source
        self.visibility = visibility
        self.is_ours = is_ours
        self.pieces: list[str] = []  # bound: the answer itself
        self.length = 0
        self.announced = 0
        """How many characters other workers were sent."""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def text(self) -> str:
        """All that was said so far."""
        return "".join(self.pieces)

    def add(self, text: str) -> None:
        """Note that more was said."""
        self.pieces.append(text)
        self.length += len(text)

    def later(self, seconds: float, act: Callable[..., None], *arguments: object) -> None:
        """Call `act` after so many seconds, instead of what the timer was set for."""
        self.stop_timer()
        self.timer = asyncio.get_running_loop().call_later(seconds, act, *arguments)

    def stop_timer(self) -> None:
        """Call nothing any more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
