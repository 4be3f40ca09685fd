"""Answers that are being shown while they are generated."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from roomkit_plugins.websocket.frames import StreamStart

__all__ = ["LiveAnswers", "ShownAnswer"]


class ShownAnswer:
    """An answer that is being shown, and its text so far, for those who join during it.

    `over` is set once its end was shown, `withheld` if that was because the channel may not see it any more.
    """

    __slots__ = ("over", "pieces", "start", "visibility", "withheld")

    def __init__(self, start: StreamStart, visibility: str = "all") -> None:
        self.start = start
        self.visibility = visibility
        self.pieces: list[str] = []  # bound: the answer itself
        self.over = False
        self.withheld = False

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self.pieces)


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
        return live
