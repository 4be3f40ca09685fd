"""An answer on its way out while it is generated: one text, any number of recipients."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, override

from roomkit.abc.text_stream import TextStream, check_heard

if TYPE_CHECKING:
    from roomkit.kernel.flow.recipients import Target
    from roomkit.models.channel import ChannelOutput
    from roomkit.models.event import RoomEvent

__all__ = ["LiveAnswer", "LiveRecipient", "segments_of"]

_SENTENCE_END = re.compile(r"[.!?…。！？]['\")\]]*\s|\n")  # noqa: RUF001  # full-width marks end sentences too
_LONGEST_SEGMENT = 600


class LiveAnswer:
    """The text released so far, and whether more will come.

    Pieces are kept once for all recipients; each reads on from where it was, so one that is slow
    gets what it missed as one piece, and costs the others nothing.
    """

    __slots__ = ("_endings", "_listeners", "_waiters", "done", "error", "id", "pieces")

    def __init__(self, event_id: str) -> None:
        self.id = event_id
        self.pieces: list[str] = []  # bound: the answer itself
        self.done = False
        self.error: Exception | None = None
        self._waiters: list[asyncio.Future[None]] = []  # bound: the recipients
        self._endings: list[asyncio.Future[None]] = []  # bound: likewise
        self._listeners: list[_Listener] = []  # bound: likewise

    def release(self, text: str) -> None:
        """Let `text` go out."""
        if text:
            self.pieces.append(text)
            for listener in self._listeners:
                if not listener.is_due:
                    listener.is_due = True
                    asyncio.get_running_loop().call_soon(listener.show, context=listener.context)
            if self._waiters:
                waiters, self._waiters = self._waiters, []
                _wake(waiters)

    def end(self, error: Exception | None = None) -> None:
        """Say that nothing more will come."""
        self.done = True
        self.error = error
        self.wake()

    @property
    def text(self) -> str:
        """All that was released."""
        return "".join(self.pieces)

    def wake(self) -> None:
        """Let those who wait, for more or for the end, look again."""
        waiters, self._waiters, self._endings = self._waiters + self._endings, [], []
        _wake(waiters)

    def listen(self, listener: _Listener) -> None:
        """Have `listener` show the released text, once in each turn of the loop."""
        self._listeners.append(listener)

    def ignore(self, listener: _Listener) -> None:
        """Show nothing more by `listener`."""
        self._listeners.remove(listener)

    async def more(self) -> None:
        """Wait until something was released, or the end, or `wake`."""
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        await waiter

    async def ending(self) -> None:
        """Wait for the end, or `wake`."""
        waiter = asyncio.get_running_loop().create_future()
        self._endings.append(waiter)
        await waiter


class LiveRecipient(TextStream):
    """The answer as one binding sees it; `task` is its `deliver_stream` at work.

    `turn` comes when the committed event has reached the front of the binding's lane.
    """

    def __init__(self, answer: LiveAnswer, target: Target) -> None:
        self.id = answer.id
        self.target = target
        self.event: RoomEvent | None = None
        self.task: asyncio.Task[ChannelOutput] | None = None
        self.excluded = False
        """Whether a gate took the rest of the answer from it."""
        self.heard_chars: int | None = None
        """How much its person is known to have perceived, None if the channel does not say."""
        self.is_estimated = False
        self.moved_at = 0.0
        """When it last made progress, by the loop's clock: took text, said some is heard, got its turn."""
        self.on_heard: Callable[[LiveRecipient], None] | None = None
        """Called each time that more is known to be heard."""
        self._answer = answer
        self._last: int | None = None
        self._turn = asyncio.Event()

    def commit(self, event: RoomEvent | None) -> None:
        """Give the recipient the committed event, None when nothing was committed, and its turn."""
        self.event = event
        self.moved_at = asyncio.get_running_loop().time()
        self._turn.set()

    def exclude(self) -> None:
        """Show the recipient nothing beyond the text released so far."""
        if not self.excluded:
            self.excluded, self._last = True, len(self._answer.pieces)
            self._answer.wake()

    @property
    def has_all(self) -> bool:
        """Whether nothing more will be released for it."""
        return self._answer.done or self._last is not None

    def wake(self) -> None:
        """Have its task look again."""
        self._answer.wake()

    def broke_off(self, error: BaseException) -> bool:
        """Return whether `error` is the answer's own, and not the recipient's."""
        return self._answer.error is error

    def after(self, position: int) -> tuple[str, int]:
        """Return the text for it that was released after a position, and the position of its end."""
        pieces = self._answer.pieces
        end = len(pieces) if self._last is None else self._last
        if position >= end:
            return "", position
        self.moved_at = asyncio.get_running_loop().time()
        return pieces[position] if position + 1 == end else "".join(pieces[position:end]), end

    async def __aiter__(self) -> AsyncIterator[str]:
        answer, position = self._answer, 0
        while True:
            text, position = self.after(position)
            if text:
                yield text
            elif self.has_all:
                break
            else:
                await answer.more()
        if answer.error is not None:
            raise answer.error

    @override
    async def each(self, take: Callable[[str], object]) -> None:
        answer, listener = self._answer, _Listener(self, take)
        answer.listen(listener)
        try:
            listener.show()
            while listener.failure is None and not self.has_all:
                await answer.ending()
            listener.show()
        finally:
            answer.ignore(listener)
            listener.close()
        if listener.failure is not None:
            raise listener.failure
        if answer.error is not None:
            raise answer.error

    @override
    async def complete(self) -> None:
        while not self.has_all:
            await self._answer.ending()

    @override
    async def turn(self) -> RoomEvent | None:
        await self._turn.wait()
        return self.event

    @override
    def heard(self, chars: int, *, estimated: bool = False) -> None:
        check_heard(chars)
        if self.heard_chars is None or chars > self.heard_chars:
            self.heard_chars, self.is_estimated = chars, estimated
            self.moved_at = asyncio.get_running_loop().time()
            if self.on_heard is not None:
                self.on_heard(self)


class _Listener:
    """Hands a recipient's `take` the released text, from the event loop and in the recipient's context.

    What `take` raises is its `failure`, and it is called no more.
    """

    __slots__ = ("_position", "_recipient", "_take", "context", "failure", "is_due")

    def __init__(self, recipient: LiveRecipient, take: Callable[[str], object]) -> None:
        self.context = copy_context()
        self.failure: BaseException | None = None
        self.is_due = False
        """Whether `show` is called at the next turn of the loop."""
        self._recipient = recipient
        self._take: Callable[[str], object] | None = take
        self._position = 0

    def show(self) -> None:
        """Hand over the new text."""
        self.is_due = False
        if self._take is None:
            return
        text, self._position = self._recipient.after(self._position)
        if not text:
            return
        try:
            self._take(text)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001  # it is raised by the recipient's task
            self.failure, self._take = error, None
            self._recipient.wake()

    def close(self) -> None:
        """Hand over nothing more, even if that is due."""
        self._take = None


def _wake(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def segments_of(buffer: str, *, final: bool) -> tuple[list[str], str]:
    """Cut `buffer` into segments that a gate can judge; return them and the rest.

    A segment ends with a sentence or a line, or after 600 characters at a space; with `final` the
    rest is one too. The segments and the rest, joined, are the buffer.
    """
    segments: list[str] = []  # bound: the buffer
    start = 0
    for match in _SENTENCE_END.finditer(buffer):
        segments.append(buffer[start : match.end()])
        start = match.end()
    rest = buffer[start:]
    while len(rest) > _LONGEST_SEGMENT:
        cut = rest.rfind(" ", 1, _LONGEST_SEGMENT) + 1 or _LONGEST_SEGMENT
        segments.append(rest[:cut])
        rest = rest[cut:]
    if final and rest:
        segments.append(rest)
        rest = ""
    return segments, rest
