"""A model that plays a script, and requests to it through a turn executor."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, override

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ProviderError
from roomkit.models.ai import (
    AIMessage,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.generation import AIContext, AIResponse

PATIENCE = 20.0
PIECES: Sequence[StreamEvent] = (
    StreamThinkingDelta("Let me see"),
    StreamThinkingDelta("", signature="sig=="),
    StreamThinkingDelta("", redacted_data="opaque"),
    StreamTextDelta("The "),
    StreamTextDelta("answer"),
    StreamToolCall("1", "look_up", {"q": ["a", {"b": None}]}, {"opaque": "x"}),
    StreamToolCall("2", "look_up", {"raw": "{"}, {}, "no JSON object"),
    StreamDone("tool_calls", {"input_tokens": 3, "output_tokens": 2**40}, {"finish_reason": "tool_use"}),
)


type Script = Callable[[AIContext], AsyncGenerator[StreamEvent]]


class ScriptedModel(AIProvider):
    """Streams what a function yields; `asked` has the contexts, `ended` how many calls are over."""

    def __init__(
        self,
        script: Script,
        *,
        whole: AIResponse | None = None,
        has_shapes: bool = False,
        runs_tools: bool = False,
    ) -> None:
        self.has_shapes = has_shapes
        self._runs_tools = runs_tools
        self.asked: list[AIContext] = []  # bound: a test
        self.running = 0
        self.most_running = 0
        self.ended = 0
        self.is_asked = asyncio.Event()
        self.is_ended = asyncio.Event()
        self._script = script
        self._whole = whole

    @property
    @override
    def model_name(self) -> str:
        return "scripted"

    @property
    @override
    def supports_structured_streaming(self) -> bool:
        return True

    @property
    @override
    def supports_response_schema(self) -> bool:
        return self.has_shapes

    @property
    @override
    def runs_tools(self) -> bool:
        return self._runs_tools

    @override
    async def generate(self, context: AIContext) -> AIResponse:
        async for _ in self.generate_structured_stream(context):
            pass
        return self._whole or AIResponse(content="")

    @override
    async def generate_structured_stream(self, context: AIContext) -> AsyncGenerator[StreamEvent]:
        self.asked.append(context)
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        self.is_asked.set()
        try:
            async with aclosing(self._script(context)) as pieces:
                async for piece in pieces:
                    yield piece
        finally:
            self.running -= 1
            self.ended += 1
            self.is_ended.set()


def says(*pieces: StreamEvent) -> Script:
    """Return a script that yields these pieces."""

    async def script(_: AIContext) -> AsyncGenerator[StreamEvent]:
        for piece in pieces:
            yield piece

    return script


def waits(gate: asyncio.Event, *first: StreamEvent) -> Script:
    """Return a script that yields some pieces, and the end after an event."""

    async def script(_: AIContext) -> AsyncGenerator[StreamEvent]:
        for piece in first:
            yield piece
        await gate.wait()
        yield StreamDone("stop")

    return script


def fails(error: Exception, *first: StreamEvent) -> Script:
    """Return a script that raises after some pieces."""

    async def script(_: AIContext) -> AsyncGenerator[StreamEvent]:
        for piece in first:
            yield piece
        raise error

    return script


def asking(text: str = "Hello") -> AIContext:
    """Return a request."""
    return AIContext(messages=[AIMessage(role="user", content=text)])


async def collect(
    executor: Any, agent: str, pieces: list[StreamEvent], context: AIContext | None = None
) -> None:
    """Read an answer into a list."""
    async with asyncio.timeout(PATIENCE), aclosing(executor.stream(agent, context or asking())) as stream:
        async for piece in stream:
            pieces.append(piece)  # noqa: PERF401  # pieces before an error count


async def read(executor: Any, agent: str, context: AIContext | None = None) -> list[Any]:
    """Return an answer's pieces."""
    pieces: list[StreamEvent] = []
    await collect(executor, agent, pieces, context)
    return pieces


async def failure(work: Any) -> ProviderError:
    """Return the error that work ends in."""
    with pytest.raises(ProviderError) as caught:
        await work
    return caught.value


@asynccontextmanager
async def serving(executor: Any, agents: dict[str, Any], **options: Any) -> AsyncIterator[None]:
    """Serve agents while the block runs."""
    task = asyncio.ensure_future(executor.serve(agents, **options))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task], timeout=PATIENCE)
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            raise error
