"""A model that answers by script."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from itertools import cycle

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.conversation import Conversation, check_tools, conversation
from roomkit.models.ai import (
    AIImagePart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.values import repaired
from roomkit_plugins.testing.mocks.script import Hang
from roomkit_plugins.testing.mocks.shape import check_shape, parsed

__all__ = ["MockAIProvider", "asked"]

type Piece = str | Exception | Hang | asyncio.Event
"""A piece of a streamed text, what the stream waits for, or what breaks it."""

type Scripted = str | AIResponse | Exception | Hang | Sequence[Piece]
type Answer = Scripted | Callable[[AIContext], Scripted | Awaitable[Scripted]]

_HELLO = "Hello from AI"
_USAGE = {"input_tokens": 10, "output_tokens": 5}
_COUNTED = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_IMAGES = ("image/png", "image/jpeg", "image/webp", "image/gif", "image/heic", "image/heif")
"""What at least one vendor reads."""


class MockAIProvider(AIProvider):
    """Answers each call with the next of `responses`, round and round; `calls` keeps the contexts.

    A response is the text of the answer; or an exception to raise (a `ProviderError`, as a rule), a
    `Hang` to wait for before an ordinary answer, or a list of pieces: texts as they are streamed, each
    `Hang` or `asyncio.Event` waited for, an exception raised after the texts before it. Or it is a
    function, or coroutine function, from the context to any of these.
    `ai_responses` takes the place of `responses` with whole answers: thinking, tool calls, usage.
    With a `response_schema` the text is JSON that fits it, or the call fails as a vendor's does.

    It refuses what vendors refuse, with ProviderError and before it takes an answer: a conversation of a
    shape that no API takes, an image without `vision`, two tools of one name, parameters of no object, a
    `tool_choice` without the tool, a `response_schema` of no object. Such a context is in `calls` too.
    Answers have what a vendor's have: valid Unicode, a `finish_reason`, `total_tokens` beside other usage.

    With `streaming` both streams are offered; text comes in pieces of `chunk_size` characters, or
    all at once. `delay` seconds of the loop's clock pass before the first piece, `chunk_delay`
    before each further one. With `fail_after_chunks` every stream ends in `stream_error` (a
    ProviderError, `connection`, unless given) after that many pieces.
    """

    def __init__(
        self,
        responses: Sequence[Answer] | None = None,
        *,
        vision: bool = False,
        ai_responses: Sequence[AIResponse] | None = None,
        streaming: bool = False,
        chunk_size: int | None = None,
        delay: float = 0.0,
        chunk_delay: float = 0.0,
        fail_after_chunks: int | None = None,
        stream_error: Exception | None = None,
        model_name: str = "mock",
    ) -> None:
        answers: Sequence[Answer] = ai_responses or responses or [_HELLO]
        self.calls: list[AIContext] = []  # bound: the life of a test
        self.closed = False
        self._answers: Iterator[Answer] = cycle(answers)
        self._vision = vision
        self._streaming = streaming
        self._chunk_size = chunk_size
        self._delay = delay
        self._chunk_delay = chunk_delay
        self._fail_after_chunks = fail_after_chunks
        self._stream_error = stream_error
        self._model_name = model_name

    @property
    def name(self) -> str:
        """The name in its errors."""
        return "mock"

    @property
    def model_name(self) -> str:
        """The model asked."""
        return self._model_name

    @property
    def supports_vision(self) -> bool:
        """Whether it says that it sees images."""
        return self._vision

    @property
    def supports_streaming(self) -> bool:
        """Whether it streams."""
        return self._streaming

    @property
    def supports_structured_streaming(self) -> bool:
        """Whether it streams."""
        return self._streaming

    @property
    def supports_response_schema(self) -> bool:
        """Whether a context's `response_schema` is honoured."""
        return True

    async def generate(self, context: AIContext) -> AIResponse:
        """Return the next answer. Raises ProviderError for a context that vendors refuse, or as scripted."""
        answer = await self._next(context)
        pieces = answer.pieces or [answer.response.content]
        async with aclosing(_played(pieces)) as texts:
            return _finished(context, answer.response, "".join([text async for text in texts]))

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the next answer: thinking, text in pieces, tool calls, the end. Raises as `generate` does."""
        answer = await self._next(context)
        response = answer.response
        for piece in response.thinking_parts:
            yield StreamThinkingDelta(piece.thinking, piece.signature, piece.redacted_data)
        if response.thinking and not response.thinking_parts:
            yield StreamThinkingDelta(response.thinking, response.thinking_signature)
        said: list[str] = []  # bound: one answer
        async with aclosing(_played(answer.pieces or self._cut(response.content))) as texts:
            async for text in texts:
                said.append(text)
                yield StreamTextDelta(text)
        done = _finished(context, response, "".join(said))
        for call in done.tool_calls:
            yield StreamToolCall(call.id, call.name, dict(call.arguments), dict(call.metadata), call.invalid)
        yield StreamDone(done.finish_reason, done.usage, done.metadata, done.parsed)

    async def close(self) -> None:
        """Note that it was closed; later calls fail."""
        self.closed = True

    async def _next(self, context: AIContext) -> _Next:
        """Check the context, and play the next answer up to its first piece."""
        self.calls.append(context)
        self._check(context)
        answer = next(self._answers)
        if self._delay:
            await asyncio.sleep(self._delay)
        if callable(answer):
            made = answer(context)
            answer = await made if inspect.isawaitable(made) else made
        if isinstance(answer, Hang):
            await answer.wait()
            answer = _HELLO
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, AIResponse):
            return _Next(answer)
        pieces = () if isinstance(answer, str) else answer
        text = answer if isinstance(answer, str) else ""
        return _Next(AIResponse(content=text, usage=dict(_USAGE)), pieces)

    def _check(self, context: AIContext) -> None:
        """Raise ProviderError for what vendors refuse."""
        if self.closed:
            raise ProviderError(
                "this MockAIProvider is closed; make another one",
                error_code=ErrorCode.CANCELED,
                provider=self.name,
            )
        asked(context, vision=self._vision)
        check_tools(context, self.name)
        if context.response_schema:
            check_shape(context.response_schema)

    def _cut(self, text: str) -> Sequence[Piece | _Pause]:
        """Cut a text to the pieces of a stream, with the pauses and the error between them."""
        text = repaired(text, keep_nul=True)
        size = self._chunk_size or max(len(text), 1)
        pieces: list[Piece | _Pause] = []  # bound: one answer
        for number, start in enumerate(range(0, len(text), size)):
            if number and self._chunk_delay:
                pieces.append(_Pause(self._chunk_delay))
            if number == self._fail_after_chunks:
                return [*pieces, self._stream_error or _broken()]
            pieces.append(text[start : start + size])
        return pieces


@dataclass(frozen=True, slots=True)
class _Next:
    """The answer to one call. `pieces`, if there are any, are its text."""

    response: AIResponse
    pieces: Sequence[Piece] = ()


@dataclass(frozen=True, slots=True)
class _Pause:
    """Seconds of the loop's clock between two pieces."""

    seconds: float

    async def wait(self) -> None:
        """Let them pass."""
        await asyncio.sleep(self.seconds)


async def _played(pieces: Sequence[Piece | _Pause]) -> AsyncGenerator[str]:
    """Yield the texts in valid Unicode; half a character at the end of one waits for the next."""
    half = ""
    for piece in pieces:
        if isinstance(piece, Exception):
            raise piece
        if not isinstance(piece, str):
            await piece.wait()
            continue
        text = half + piece
        half = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        if text := text.removesuffix(half):
            yield repaired(text, keep_nul=True)
    if half:
        yield "\ufffd"


def asked(context: AIContext, *, vision: bool) -> Conversation:
    """Return the conversation to be continued. Raises ProviderError for one that vendors refuse."""
    return conversation(context, "mock", vision=vision, image_problem=_image_problem)


def _finished(context: AIContext, response: AIResponse, text: str) -> AIResponse:
    """Return a scripted answer as a vendor gives it. Raises ProviderError for one of another shape."""
    finish = response.finish_reason or ("tool_calls" if response.tool_calls else "stop")
    thoughts = [part.thinking for part in response.thinking_parts if part.thinking]
    answer = replace(
        response,
        content=text,
        thinking=response.thinking or "\n\n".join(thoughts) or None,
        finish_reason=finish,
        usage=_counted(response.usage),
        metadata={"finish_reason": finish, **response.metadata},
    )
    if context.response_schema:
        return replace(answer, parsed=parsed(context.response_schema, answer))
    return answer


def _counted(usage: dict[str, int]) -> dict[str, int]:
    """Return a usage with its `total_tokens`; one that counts nothing stays empty."""
    if not usage:
        return {}
    return {"total_tokens": sum(usage.get(key, 0) for key in _COUNTED), **usage}


def _image_problem(part: AIImagePart) -> str | None:
    """Return why an image can be sent to no vendor, None if it can."""
    if part.is_fetched:
        return None
    if part.inline is None:
        return f"an image is given as {part.url[:40]!r}; use an http(s) URL, or data: with base64"
    if part.inline.media_type in _IMAGES:
        return None
    types = ", ".join(_IMAGES)
    return f"no vendor reads images of the type {part.inline.media_type}; convert it to one of {types}"


def _broken() -> ProviderError:
    return ProviderError(
        "the mock's stream broke, as scripted", error_code=ErrorCode.CONNECTION, provider="mock"
    )
