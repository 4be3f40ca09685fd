"""What the suite of AI providers asks, and how it reads the answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence

import pytest

from roomkit.abc.ai import AIProvider
from roomkit.abc.errors import ProviderError
from roomkit.models.ai import (
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCall,
    AIToolCallPart,
    AIToolResultPart,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.testing.simulators.http import ReceivedRequest

PATIENCE = 50.0
"""Enough for the first use of an SDK on a busy machine: its import takes seconds of CPU."""

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = AITool(
    name="weather.look up",  # a name that most vendors do not take as it is
    description="Says how the weather is.",
    parameters={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
)


def patient() -> asyncio.Timeout:
    """Limit what would hang if the provider is wrong; PATIENCE is in seconds."""
    return asyncio.timeout(PATIENCE)


def ask(text: str = "Hello", *, tools: Sequence[AITool] = ()) -> AIContext:
    """Build a context in which a user says `text`."""
    return AIContext(messages=[AIMessage(role="user", content=text)], tools=list(tools))


async def listen(provider: AIProvider, context: AIContext) -> list[StreamEvent]:
    """Return everything a stream yields."""
    return [event async for event in provider.generate_structured_stream(context)]


def response_of(events: Sequence[StreamEvent]) -> AIResponse:
    """Put a stream together to the answer it is."""
    response = AIResponse(content="")
    thought = ""
    for event in events:
        match event:
            case StreamThinkingDelta():
                thought += event.thinking
                if event.signature or event.redacted_data:
                    part = AIThinkingPart(
                        thinking=thought,
                        signature=event.signature,
                        redacted_data=event.redacted_data,
                    )
                    response.thinking_parts.append(part)
                    thought = ""
            case StreamTextDelta():
                response.content += event.text
            case StreamToolCall():
                response.tool_calls.append(_as_call(event))
            case StreamDone():
                response.finish_reason = event.finish_reason
                response.usage, response.metadata = event.usage, event.metadata
                response.parsed = event.parsed
    if thought:
        response.thinking_parts.append(AIThinkingPart(thinking=thought))
    thinking = [part.thinking for part in response.thinking_parts if part.thinking]
    response.thinking = "\n\n".join(thinking) or None
    return response


def answered(response: AIResponse, result: str) -> list[AIMessage]:
    """Build the two messages that follow an answer with tool calls, as a tool loop does."""
    calls = [
        AIToolCallPart(id=c.id, name=c.name, arguments=c.arguments, metadata=c.metadata)
        for c in response.tool_calls
    ]
    text = [AITextPart(text=response.content)] if response.content else []
    results = [AIToolResultPart(tool_call_id=c.id, name=c.name, result=result) for c in calls]
    return [
        assistant_said(*response.thinking_parts, *text, *calls),
        AIMessage(role="tool", content=tuple(results)),
    ]


async def ask_whole(provider: AIProvider, context: AIContext) -> AIResponse:
    """Return the answer that comes whole."""
    return await provider.generate(context)


async def ask_streamed(provider: AIProvider, context: AIContext) -> AIResponse:
    """Return the answer that comes as a stream."""
    return response_of(await listen(provider, context))


async def failure_of(call: Awaitable[object]) -> ProviderError:
    """Return the error that a call raises."""
    async with patient():
        with pytest.raises(ProviderError) as caught:
            await call
    return caught.value


def calls_of(response: AIResponse) -> list[tuple[str, str, object]]:
    """Return id, name and arguments of each call."""
    return [(call.id, call.name, call.arguments) for call in response.tool_calls]


def _as_call(event: StreamToolCall) -> AIToolCall:
    return AIToolCall(
        id=event.id,
        name=event.name,
        arguments=event.arguments,
        metadata=event.metadata,
        invalid=event.invalid,
    )


def user_said(*parts: AIPart) -> AIMessage:
    """Build a message of the user."""
    return AIMessage(role="user", content=parts)


def assistant_said(*parts: AIPart) -> AIMessage:
    """Build a message of the assistant."""
    return AIMessage(role="assistant", content=parts)


def tool_said(call_id: str, text: str, *, is_error: bool = False) -> AIMessage:
    """Build a tool's result."""
    part = AIToolResultPart(tool_call_id=call_id, name="now", result=text, is_error=is_error)
    return AIMessage(role="tool", content=(part,))


def broken_conversation(shape: str) -> list[AIMessage]:
    """Build a conversation that no API takes."""
    hello = AIMessage(role="user", content="Hello")
    call = assistant_said(AIToolCallPart(id="call_1", name="now"))
    return {
        "empty": [],
        "unanswered": [hello, call, hello],
        "orphan": [hello, tool_said("call_1", "12:00")],
        "twice": [hello, call, tool_said("call_1", "1"), call, tool_said("call_1", "2")],
        "last": [hello, call],
        "prefill": [hello, AIMessage(role="assistant", content="The answer is")],
    }[shape]


def offered_name(request: ReceivedRequest) -> str:
    """Return the name under which the first tool was sent."""
    tool = request.json()["tools"][0]
    (first, *_) = tool.get("functionDeclarations") or [tool.get("function", tool)]
    name: str = first["name"]
    return name


def number_in(request: ReceivedRequest) -> str:
    """Return the number that a request asks about."""
    text = request.body.decode()
    start = text.index("number-")
    return text[start : text.index('"', start)]
