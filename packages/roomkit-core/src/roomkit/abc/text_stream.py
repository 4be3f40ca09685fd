"""Answers that are shown while they are generated, as a channel gets them."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable

from roomkit.abc.errors import InvalidInputError
from roomkit.models.content import TextContent
from roomkit.models.event import RoomEvent

__all__ = ["TextStream", "check_heard", "text_stream_of"]


class TextStream(ABC):
    """An answer on its way out, as one recipient sees it.

    Iterating yields pieces of text, each passed by the gates; a recipient that falls behind gets
    the missed pieces as one. It ends with the generation, before the commit: a voice can speak the last
    sentence at once. A recipient that shows the committed event then awaits `turn`.
    """

    id: str
    """The id the committed event will have."""
    event: RoomEvent | None = None
    """The committed event once `turn` has come; None before, and when nothing of the answer was committed."""

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[str]:
        """Yield the text that this recipient has not yet seen, until all of it was generated and released.

        A generation that failed raises its error after the text that was released; `turn` then gives the part
        that was committed, if any.
        """

    async def each(self, take: Callable[[str], object]) -> None:
        """Call `take` with each piece that iterating would yield; return or raise as iterating would.

        For recipients that never wait. The kit's own streams call `take` from the event loop, in this
        task's context: a piece costs a function call and no turn of a task, and text released in one
        step of the loop is one piece. What `take` raises is raised here. It is not called after this has
        returned or raised.
        """
        async for piece in self:
            take(piece)

    @abstractmethod
    async def complete(self) -> None:
        """Wait until all text is released, whether or not this recipient has read it."""

    @abstractmethod
    async def turn(self) -> RoomEvent | None:
        """Wait for the commit, and for the event's turn in this recipient's order; return the event.

        None when nothing of the answer was committed. Await it before anything is sent that has to come after
        earlier deliveries to this recipient. Raises nothing of a generation that failed.
        """

    @abstractmethod
    def heard(self, chars: int, *, estimated: bool = False) -> None:
        """Say how many characters of the text, from its start, the recipient's person has perceived by now.

        It only rises: a smaller number than before is ignored. Call it before the answer is interrupted,
        and as often as it becomes known, also after the commit until `deliver_stream` returns. The number
        is kept beside the event (`Generation.heard`), so that agents distinguish heard text from unheard.
        If the worker is killed before that, it is kept as it was a second before, at most, and as an
        estimate. Raises InvalidInputError for a number that is negative or no integer.
        """


class _Pieces(TextStream):
    """Plain strings as a stream; the event is made of their text when they have ended."""

    def __init__(self, pieces: AsyncIterable[str] | Iterable[str], event: RoomEvent) -> None:
        self.id = event.id
        self._pieces = pieces if isinstance(pieces, AsyncIterable) else _one_by_one(pieces)
        self._planned = event
        self._ended = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[str]:
        said: list[str] = []  # bound: one answer
        try:
            async for piece in self._pieces:
                said.append(piece)
                yield piece
        finally:
            if said:
                self.event = self._planned.replace(content=TextContent(body="".join(said)))
            self._ended.set()

    async def complete(self) -> None:
        await self._ended.wait()

    async def turn(self) -> RoomEvent | None:
        await self._ended.wait()
        return self.event

    def heard(self, chars: int, *, estimated: bool = False) -> None:
        check_heard(chars)


def check_heard(chars: int) -> None:
    """Refuse anything but a number of characters. Raises InvalidInputError."""
    if type(chars) is not int or chars < 0:
        raise InvalidInputError(f"heard() was given {chars!r}: give it a number of characters, 0 or more")


async def _one_by_one(pieces: Iterable[str]) -> AsyncIterator[str]:
    for piece in (pieces,) if isinstance(pieces, str) else pieces:
        yield piece


def text_stream_of(stream: TextStream | AsyncIterable[str] | Iterable[str], event: RoomEvent) -> TextStream:
    """Return what `deliver_stream` was given as a TextStream; programs may hand it plain strings.

    For strings (one, a list, or an iterator of either kind), `event` with all of their text is the committed
    event.
    """
    return stream if isinstance(stream, TextStream) else _Pieces(stream, event)
