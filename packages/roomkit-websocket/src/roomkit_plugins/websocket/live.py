"""Answers that are being shown while they are generated, here or on another worker."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit_plugins.websocket.frames import StreamStart

__all__ = ["LiveAnswers", "ShownAnswer"]


class ShownAnswer:
    """An answer that is being shown, and its text so far, for those who join during it.

    `timer` is of another worker's answer: it ends one that is no longer announced; of our own it
    announces the answer again. `over` is set once its end was shown, `withheld` if that was because the
    channel may not see it any more.
    """

    __slots__ = ("is_ours", "length", "over", "pieces", "start", "timer", "visibility", "withheld")

    def __init__(self, start: StreamStart, visibility: str = "all", *, is_ours: bool = True) -> None:
        self.start = start
        self.visibility = visibility
        self.is_ours = is_ours
        self.pieces: list[str] = []  # bound: the answer itself
        self.length = 0
        """Characters that were announced to other workers, or by them."""
        self.over = False
        self.withheld = False
        self.timer: asyncio.TimerHandle | None = None

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self.pieces)

    def stop_timer(self) -> None:
        """Wait for nothing more."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class LiveAnswers:
    """The answers under way, by room."""

    def __init__(self) -> None:
        self._rooms: dict[str, dict[str, ShownAnswer]] = {}  # bound: answers under way

    def __len__(self) -> int:
        return sum(map(len, self._rooms.values()))

    def of(self, room_id: str) -> tuple[ShownAnswer, ...]:
        """Return those of a room."""
        return tuple(self._rooms.get(room_id, {}).values())

    def get(self, room_id: str, stream_id: str) -> ShownAnswer | None:
        """Return one, None when it is not under way."""
        return self._rooms.get(room_id, {}).get(stream_id)

    def add(self, live: ShownAnswer) -> None:
        """Note that an answer began."""
        self._rooms.setdefault(live.start.room_id, {})[live.start.stream_id] = live

    def end(self, room_id: str, stream_id: str) -> ShownAnswer | None:
        """Note that an answer is over; return it, None when it was not under way."""
        answers = self._rooms.get(room_id)
        if answers is None or (live := answers.pop(stream_id, None)) is None:
            return None
        if not answers:
            del self._rooms[room_id]
        live.over = True
        live.stop_timer()
        return live

    def __iter__(self) -> Iterator[ShownAnswer]:
        return iter([live for answers in self._rooms.values() for live in answers.values()])
