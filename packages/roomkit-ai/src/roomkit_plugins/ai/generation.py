"""One round: the model is asked once, with second chances until it has said anything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

from pydantic import ValidationError

from roomkit.abc.errors import ErrorCode, ForeignCodeError, ProviderError
from roomkit.models.ai import (
    AITextPart,
    AIThinkingPart,
    AIToolCallPart,
    StreamDone,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.generation import AIResponse
from roomkit_plugins.ai.errors import AnswerTooLongError, StalledAnswerError
from roomkit_plugins.ai.providers import KNOWN_RESPONSES, check_parts, check_response, fields_of
from roomkit_plugins.ai.turn import Call

if TYPE_CHECKING:
    from types import TracebackType

    from roomkit.abc.ai import AIProvider
    from roomkit.models.ai import AIPart, AIToolCall, StreamEvent
    from roomkit.models.generation import AIContext
    from roomkit_plugins.ai.recovery import Recovery
    from roomkit_plugins.ai.turn import Turn

__all__ = ["Echo", "Round", "Seam", "generate", "streams", "whole"]

SHORTEST_ECHO = 16
SHORTEST_OVERLAP = 8
SHORTEST_WORD = 4
SHORTEST_PIECE = 2


@dataclass(slots=True)
class Round:
    """What the model answered in one round, its parts in the order they came."""

    parts: list[AIPart] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    done: StreamDone | AIResponse | None = None
    started: bool = False
    _text: list[str] = field(default_factory=list)
    _thinking: list[str] | None = None

    @property
    def is_thinking(self) -> bool:
        """Whether a block of reasoning is under way."""
        return self._thinking is not None

    @property
    def text(self) -> str:
        """The words of the round, once that is over."""
        self._close_text()
        return "".join([part.text for part in self.parts if isinstance(part, AITextPart)])

    def add_text(self, text: str) -> None:
        """Take a piece of the answer."""
        self._text.append(text)

    def add_thinking(self, piece: str) -> bool:
        """Take a piece of reasoning; return whether a block begins with it."""
        self._close_text()
        if self._thinking is None:
            self._thinking = [piece]
            return True
        self._thinking.append(piece)
        return False

    def close_thinking(
        self, signature: str | None = None, redacted: str | None = None
    ) -> AIThinkingPart | None:
        """End the block of reasoning under way, if there is one, and return it."""
        if self._thinking is None:
            return None
        thinking = "".join(self._thinking)
        part = AIThinkingPart(thinking=thinking, signature=signature, redacted_data=redacted)
        self._thinking = None
        self.parts.append(part)
        return part

    def add_call(self, call: Call) -> None:
        """Take a tool call, under the id it has in the conversation."""
        self._close_text()
        self.parts.append(call.part)
        self.calls.append(call)

    def restart(self) -> None:
        """Discard the collected pieces: another model continues."""
        self.parts, self.calls, self._text = [], [], []
        self.done, self.started, self._thinking = None, False, None

    def close(self) -> None:
        """End the round; its last words become a part of it when they are asked for."""
        if self.calls:
            self._close_text()

    def _close_text(self) -> None:
        text = "".join(self._text)
        if text.strip():  # vendors refuse a block of white space
            self.parts.append(AITextPart(text=text))
        self._text.clear()


class Echo:
    """Holds back the start of a round while it repeats, word for word, the text before it.

    Some models begin the round after a tool call with the text they began the former one with.
    """

    __slots__ = ("_held", "_said")

    def __init__(self, said: str) -> None:
        self._said = said if len(said) >= SHORTEST_ECHO else ""
        self._held = ""

    def release(self, piece: str) -> str:
        """Return what of the text so far is new and may be shown."""
        if not self._said:
            return piece
        self._held += piece
        if self._said.startswith(self._held) and len(self._held) < len(self._said):
            return ""
        text = self._held.removeprefix(self._said)
        self._said = self._held = ""
        return text

    def rest(self) -> str:
        """Return the text still held back when the round ends: it was no repetition after all."""
        held, self._held = self._held, ""
        return held


class Seam:
    """Holds back the start of a continuation while it repeats words of the text `said` before it.

    A model that is to go on where another one broke off begins with its last words, or from the start.
    """

    __slots__ = ("_held", "_said")

    def __init__(self, said: str) -> None:
        self._said = said
        self._held = ""

    def release(self, piece: str) -> str:
        """Return what of the text so far is new and may be shown."""
        if not self._said:
            return piece
        self._held += piece
        return "" if self._held in self._said else self.rest()

    def rest(self) -> str:
        """Return the text still held back, without what it repeats."""
        said, held = self._said, self._held
        self._said = self._held = ""
        longest = min(len(said), len(held))
        size = next((size for size in range(longest, 0, -1) if said.endswith(held[:size])), 0)
        return held[size:] if _is_repeated(said, held, size) else held


def _is_repeated(said: str, held: str, size: int) -> bool:
    """Whether the last `size` characters of `said` are said again by `held`, and not by chance."""
    if size >= SHORTEST_OVERLAP or size == len(said):
        return True
    again = held[:size]
    if said[-size - 1 : -size].isalnum() or again.isdigit():  # inside of a word; a number may go on so
        return False
    # Letters that follow letters without a space: a word was begun, and begins again.
    return size >= (SHORTEST_PIECE if again[-1:].isalnum() else SHORTEST_WORD)


async def whole(turn: Turn, answer: Round, echo: Echo | Seam, recovery: Recovery) -> str | None:
    """Ask a model that does not stream; return what of its text is new, all of it collected in `answer`.

    None when the turn's provider streams, from the start or as the fallback: `generate` asks that.
    Raises as `generate` does.
    """
    while not streams(turn.provider, turn.request):
        try:
            return await _ask_whole(turn, answer, echo)
        except ProviderError as error:
            if answer.started:
                raise
            await recovery.recover(error)
    return None


async def generate(turn: Turn, answer: Round, echo: Echo, recovery: Recovery) -> AsyncGenerator[str]:
    """Ask the model, and yield the text of its answer as it comes, all of it collected in `answer`.

    Raises ProviderError when it fails for good, and `Stopped` when the turn is to end. Once the
    provider has yielded anything, it is not asked again: a fallback goes on after the text that was seen,
    and `answer` collects what that one says.
    """
    seam: Echo | Seam = echo
    shown: list[str] = []  # bound: one answer
    while (text := await whole(turn, answer, seam, recovery)) is None:
        try:
            async with aclosing(_ask(turn, answer, seam)) as pieces:
                async for piece in pieces:
                    shown.append(piece)
                    yield piece
            return
        except ProviderError as error:
            if not answer.started:
                await recovery.recover(error)
                continue
            if turn.spending is not None:
                turn.spending.break_off()
            if not recovery.take_over(error, "".join(shown)):
                raise
            await _end_thinking(turn, answer)
            answer.restart()
            seam = Seam("".join(shown))
    if text:
        yield text


def streams(provider: AIProvider, request: AIContext) -> bool:
    """Return whether the provider's answers can be shown while they are made.

    One that has to fit a schema is shown when that is certain.
    """
    if request.response_schema:
        return False
    return provider.supports_structured_streaming or (provider.supports_streaming and not request.tools)


class _Request:
    """One request under way: its span, and whether the model has begun to answer."""

    __slots__ = ("_answer", "_begun", "_live", "_span", "_turn")

    def __init__(self, turn: Turn, answer: Round, *, live: bool) -> None:
        self._turn = turn
        self._answer = answer
        self._live = live

    def __enter__(self) -> Self:
        turn = self._turn
        self._begun = asyncio.get_running_loop().time()
        self._span = turn.signals.generation_started(
            turn.provider, tools=len(turn.request.tools), streaming=self._live
        )
        if self._span is not None:
            turn.request.trace_parent = turn.signals.trace_parent(self._span)
        return self

    def answered(self) -> None:
        """Note that the model has begun to answer."""
        self._answer.started = True
        turn, answer = self._turn, self._answer
        if turn.spending is not None:
            turn.spending.begin(turn.provider, turn.request, lambda: answer.text)
        if self._span is not None:
            took = asyncio.get_running_loop().time() - self._begun
            self._turn.signals.first_token(self._span, took * 1000)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._span is None:
            return
        done = self._answer.done
        failed = None
        if kind is not None:
            failed = kind.__name__ if issubclass(kind, Exception) else "Cancelled"
        self._turn.signals.generation_ended(self._span, {} if done is None else done.usage, failed)


async def _ask_whole(turn: Turn, answer: Round, echo: Echo | Seam) -> str:
    """Make one request to a provider that does not stream; return what of its text is new."""
    with _Request(turn, answer, live=False) as request:
        with turn.stop:
            response = await turn.provider.generate(turn.request)
        request.answered()
        return await _take_whole(turn, answer, response, echo)


async def _take_whole(turn: Turn, answer: Round, response: AIResponse, echo: Echo | Seam) -> str:
    if type(response) is not AIResponse or (*map(type, fields_of(response)),) not in KNOWN_RESPONSES:
        check_response(response, turn.provider, turn.channel_id)
    turn.tasks += response.tasks
    turn.observations += response.observations
    if turn.request.response_schema and response.parsed is None and not response.tool_calls:
        raise ForeignCodeError(
            f"the answer of provider {type(turn.provider).__name__} in a turn of {turn.channel_id!r} has no "
            "`parsed`, which a provider that supports a response_schema gives"
        )
    if response.thinking_parts or response.tool_calls:
        check_parts(response, turn.provider, turn.channel_id)
    if response.thinking_parts or response.thinking:
        await _think_whole(turn, answer, response)
    text = ""
    if response.content:
        _lengthen(turn, response.content)
        answer.add_text(response.content)
        text = echo.release(response.content)
    for call in response.tool_calls:
        answer.add_call(_known_call(call, turn.unique_id(call.id)))
    answer.done = response
    answer.close()
    return text + echo.rest()


async def _think_whole(turn: Turn, answer: Round, response: AIResponse) -> None:
    parts: Iterable[StreamThinkingDelta]
    if response.thinking_parts:
        parts = [
            StreamThinkingDelta(part.thinking, part.signature, part.redacted_data)
            for part in response.thinking_parts
        ]
    else:
        parts = [StreamThinkingDelta(response.thinking or "", response.thinking_signature)]
    for part in parts:
        _lengthen(turn, part.thinking)
        await _think(turn, answer, part)
    await _end_thinking(turn, answer)


async def _ask(turn: Turn, answer: Round, echo: Echo | Seam) -> AsyncGenerator[str]:
    """Make one request to a provider that streams; yield what of its text is new."""
    loop = asyncio.get_running_loop()
    idle = turn.options.answer_idle_seconds
    with _Request(turn, answer, live=True) as request:
        stream = _open(turn)
        try:
            while True:
                with turn.stop:
                    item = await anext(stream, None)
                if item is None:
                    break
                turn.stop.heard = loop.time()
                if not answer.started:
                    request.answered()
                    if idle:
                        turn.stop.after_silence(idle, lambda: _stalled(turn))
                if isinstance(item, StreamTextDelta) and isinstance(item.text, str):
                    _lengthen(turn, item.text)
                    if answer.is_thinking:
                        await _end_thinking(turn, answer)
                    answer.add_text(item.text)
                    if text := echo.release(item.text):
                        yield text
                else:
                    await _take(turn, answer, item)
            if answer.done is None:
                raise _cut_short(turn.provider)
            answer.close()
            if text := echo.rest():
                yield text
        finally:
            if answer.started and idle:
                turn.stop.listen_no_more()
            await _close(stream)


def _lengthen(turn: Turn, text: str) -> None:
    """Count a piece of the answer. Raises AnswerTooLongError."""
    turn.answered += len(text) or 1
    if turn.answered > turn.options.max_answer_chars:
        raise _too_long(turn)


async def _take(turn: Turn, answer: Round, item: StreamEvent) -> None:
    match item:
        case StreamThinkingDelta() if isinstance(item.thinking, str):
            _lengthen(turn, item.thinking)
            await _think(turn, answer, item)
        case StreamToolCall():
            await _end_thinking(turn, answer)
            answer.add_call(_call(item, turn.unique_id(item.id)))
        case StreamDone() if isinstance(item.usage, Mapping):
            await _end_thinking(turn, answer)
            answer.done = item
        case _:
            raise ForeignCodeError(
                f"the stream of provider {type(turn.provider).__name__} in a turn of {turn.channel_id!r} has "
                f"{type(item).__name__} that cannot be used: yield stream events with fields of their types"
            )


def _too_long(turn: Turn) -> AnswerTooLongError:
    return AnswerTooLongError(
        f"the answer of {turn.provider.name} in a turn of {turn.channel_id} has more than "
        f"{turn.options.max_answer_chars} characters: lower max_tokens, or raise max_answer_chars"
    )


def _stalled(turn: Turn) -> StalledAnswerError:
    return StalledAnswerError(
        f"{turn.provider.name} began an answer for {turn.channel_id} and then said nothing for "
        f"{turn.options.answer_idle_seconds:g} s"
    )


async def _think(turn: Turn, answer: Round, item: StreamThinkingDelta) -> None:
    if item.redacted_data is not None:
        await _end_thinking(turn, answer)
    if answer.add_thinking(item.thinking):
        await turn.signals.thinking_started()
    if item.signature is not None or item.redacted_data is not None:
        await _end_thinking(turn, answer, item.signature, item.redacted_data)


async def _end_thinking(
    turn: Turn, answer: Round, signature: str | None = None, redacted: str | None = None
) -> None:
    thought = answer.close_thinking(signature, redacted)
    if thought is not None:
        await turn.signals.thinking_ended(thought)


def _open(turn: Turn) -> AsyncIterator[StreamEvent]:
    provider, request = turn.provider, turn.request
    if provider.supports_structured_streaming:
        return provider.generate_structured_stream(request)
    return _plain(provider.generate_stream(request))


async def _plain(stream: AsyncIterator[str]) -> AsyncGenerator[StreamEvent]:
    try:
        async for text in stream:
            yield StreamTextDelta(text)
    finally:
        await _close(stream)
    yield StreamDone()


async def _close(stream: AsyncIterator[object]) -> None:
    """Close a stream that is left in its middle, and with it the provider's connection."""
    if isinstance(stream, AsyncGenerator):
        await stream.aclose()


def _call(item: StreamToolCall, call_id: str) -> Call:
    try:
        part = AIToolCallPart(id=call_id, name=item.name, arguments=item.arguments, metadata=item.metadata)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        return Call(AIToolCallPart(id=call_id, name=item.name), reason)
    return Call(part, item.invalid)


def _known_call(call: AIToolCall, call_id: str) -> Call:
    """Return a call of a record, whose fields were checked."""
    part = AIToolCallPart.trusted(
        {
            "type": "tool_call",
            "id": call_id,
            "name": call.name,
            "arguments": call.arguments,
            "metadata": call.metadata,
        }
    )
    return Call(part, call.invalid)


def _cut_short(provider: AIProvider) -> ProviderError:
    return ProviderError(
        f"{provider.name} ended its stream without saying that it was done",
        error_code=ErrorCode.BAD_RESPONSE,
        provider=provider.name,
    )
