"""A model that answers by script."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit.models.generation import AIContext, AIResponse, ResponseSchema
from roomkit_plugins.testing.mocks.script import Hang

__all__ = ["MockAIProvider"]

type Answer = str | AIResponse | Exception | Hang | Callable[[AIContext], str | AIResponse]

_USAGE = {"input_tokens": 10, "output_tokens": 5}
_STOPPED = {
    "refusal": ErrorCode.REFUSAL,
    "content_filter": ErrorCode.CONTENT_FILTER,
    "length": ErrorCode.BAD_RESPONSE,
}


class MockAIProvider(AIProvider):
    """Answers each call with the next of `responses`, round and round; `calls` keeps the contexts.

    A response is the text of the answer; or an exception to raise (a `ProviderError`, as a rule), a
    `Hang` to wait for before an ordinary answer, or a function from the context to an answer.
    `ai_responses` takes the place of `responses` with whole answers: thinking, tool calls, usage.
    With a `response_schema` the text is JSON that fits it, or the call fails as a vendor's does.

    With `streaming` both streams are offered; text comes in pieces of `chunk_size` characters, or
    all at once. `delay` seconds of the loop's clock pass before the first piece, `chunk_delay`
    before each further one. With `fail_after_chunks` every stream ends in `stream_error` (a
    ConnectionError unless given) after that many pieces.
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
        answers: Sequence[Answer] = ai_responses or responses or ["Hello from AI"]
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
        """Return the next answer."""
        self.calls.append(context)
        answer = next(self._answers)
        if self._delay:
            await asyncio.sleep(self._delay)
        if isinstance(answer, Hang):
            await answer.wait()
            answer = "Hello from AI"
        if callable(answer):
            answer = answer(context)
        if isinstance(answer, Exception):
            raise answer
        if not isinstance(answer, AIResponse):
            answer = AIResponse(content=answer, finish_reason="stop", usage=dict(_USAGE))
        if context.response_schema and not answer.tool_calls:
            return replace(answer, parsed=_parsed(context.response_schema, answer))
        return answer

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        """Yield the next answer: thinking, text in pieces, tool calls, the end."""
        response = await self.generate(context)
        for piece in response.thinking_parts:
            yield StreamThinkingDelta(piece.thinking, piece.signature, piece.redacted_data)
        if response.thinking and not response.thinking_parts:
            yield StreamThinkingDelta(response.thinking, response.thinking_signature)
        for number, text in enumerate(_pieces(response.content, self._chunk_size)):
            if number and self._chunk_delay:
                await asyncio.sleep(self._chunk_delay)
            if number == self._fail_after_chunks:
                raise self._stream_error or ConnectionError("the mock's stream broke, as scripted")
            yield StreamTextDelta(text)
        for call in response.tool_calls:
            yield StreamToolCall(call.id, call.name, dict(call.arguments), dict(call.metadata), call.invalid)
        yield StreamDone(response.finish_reason, response.usage, response.metadata, response.parsed)

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


def _pieces(text: str, size: int | None) -> list[str]:
    if size is None:
        return [text] if text else []
    return [text[start : start + size] for start in range(0, len(text), size)]


def _parsed(schema: ResponseSchema, answer: AIResponse) -> object:
    """Return what an answer says. Raises ProviderError for one that does not fit the schema."""
    if answer.finish_reason in _STOPPED:
        code = _STOPPED[answer.finish_reason]
        raise ProviderError(f"the mock stopped: {answer.finish_reason}", error_code=code, provider="mock")
    try:
        if isinstance(schema, type):
            return schema.model_validate_json(answer.content)
        value = json.loads(answer.content)
        import jsonschema_rs

        jsonschema_rs.validator_for(dict(schema)).validate(value)
    except ValueError as error:
        raise ProviderError(
            f"the mock's answer does not fit response_schema ({type(error).__name__}); script one that does",
            error_code=ErrorCode.BAD_RESPONSE,
            provider="mock",
        ) from None
    return value
