"""Answers prepared to a message that is not committed yet: held until it is, or withdrawn without a trace."""

from __future__ import annotations

import asyncio
import unicodedata
from typing import TYPE_CHECKING, Any, Protocol

from roomkit.models.content import TextContent

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from roomkit.abc.channel import Channel
    from roomkit.models.channel import ChannelOutput
    from roomkit.models.event import RoomEvent

__all__ = ["HeldAnswers", "Prepared"]

_ASKED = ("type", "visibility", "response_visibility", "addressed_to", "parent_event_id", "limited")
"""What of an event, beside its words and its author, may change how an intelligence answers it."""


_SAID = frozenset("%‰#@&*/\\")
_APOSTROPHES = frozenset("'\u2019")
_HYPHENS = frozenset("-\u2010\u2011")


class Prepared(Protocol):
    """One intelligence's turn on such a message; its output is kept until a lane takes it."""

    channel: Channel
    error: BaseException | None
    """The error of a turn that failed."""
    usage: dict[str, int]
    characters: int

    def begin(self) -> None:
        """Have the answer prepared."""

    def drop(self) -> None:
        """End the turn, unless it has ended."""

    async def over(self) -> None:
        """End the turn, and return when it has ended or was abandoned."""

    def output(self, lane: Any) -> Awaitable[ChannelOutput]:  # a Work, which is of a room above
        """Let the turn go on as part of a lane's work; return what it gave. Raises what it raised."""


class HeldAnswers:
    """The turns on one message, by intelligence, and the room that they were prepared for."""

    def __init__(self, channel_id: str, event: RoomEvent, version: int) -> None:
        self.channel_id = channel_id
        self.event = event
        """As the gates returned it, with the index that it would get."""
        self.version = version
        self.turns: dict[str, Prepared] = {}  # bound: the room's intelligences
        self.begun = asyncio.get_running_loop().time()
        self.ended: str | None = None
        """Why nothing is held any longer."""
        self.is_released = False
        """Whether the event was committed, and lanes take the answers."""
        self.expiry: asyncio.TimerHandle | None = None

    async def over(self) -> None:
        """Wait until the turns have ended, or were abandoned."""
        for turn in self.turns.values():
            await turn.over()

    @property
    def key(self) -> tuple[str, str]:
        """There is one per room and channel of the speaker."""
        return self.event.room_id, self.channel_id

    def why_not(self, event: RoomEvent, version: int) -> str | None:
        """Return why the answers are not those to a committed event; None if they are."""
        if event.index != self.event.index or version != self.version:
            return "room_changed"
        return None if _question(event) == _question(self.event) else "message_changed"


def _question(event: RoomEvent) -> tuple[Any, ...]:
    """Return what of an event may change its answer."""
    source, content = event.source, event.content
    words: object = content
    if type(content) is TextContent:
        words = content.replace(body=_spoken(content.body))
    asked = tuple(getattr(event, name) for name in _ASKED)
    return words, source.participant_id, source.on_behalf_of, event.channel_data.thread_id, *asked


def _spoken(text: str) -> str:
    """Return the words of a text: without case, punctuation and the ways to write them in Unicode."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    kept = [each for at, each in enumerate(folded) if not _is_mark(folded, at)]
    return " ".join("".join(kept).split())


def _is_mark(text: str, at: int) -> bool:
    """Return whether a character is punctuation without a meaning, unlike the point in "1.5"."""
    mark = text[at]
    if not unicodedata.category(mark).startswith("P") or mark in _SAID:
        return False
    following = text[at + 1 : at + 2]
    if following.isdigit() and mark not in _APOSTROPHES:
        return False
    joins = at > 0 and text[at - 1].isalnum() and following.isalnum()
    return not joins or mark in _APOSTROPHES or mark in _HYPHENS
