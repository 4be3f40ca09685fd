"""The events of an answer, put together."""

from __future__ import annotations

from collections.abc import Iterable

from roomkit.models.ai import (
    AIThinkingPart,
    AIToolCall,
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit.models.generation import AIResponse
from roomkit_plugins.wire.halves import joined

__all__ = ["collect"]


def collect(events: Iterable[StreamEvent]) -> AIResponse:
    """Make the whole answer of the events. Thinking up to a signature is one part."""
    response = AIResponse(content="")
    thought = ""
    for event in joined(events):
        match event:
            case StreamThinkingDelta():
                thought += event.thinking
                if event.signature or event.redacted_data:
                    response.thinking_parts.append(_thinking(thought, event))
                    thought = ""
            case StreamTextDelta():
                response.content += event.text
            case StreamToolCall():
                response.tool_calls.append(_call(event))
            case StreamDone():
                response.finish_reason = event.finish_reason
                response.usage, response.metadata = event.usage, event.metadata
                response.parsed = event.parsed
    if thought:
        response.thinking_parts.append(AIThinkingPart(thinking=thought))
    parts = response.thinking_parts
    response.thinking = "\n\n".join(part.thinking for part in parts if part.thinking) or None
    response.thinking_signature = next((part.signature for part in parts if part.signature), None)
    return response


def _thinking(thought: str, end: StreamThinkingDelta) -> AIThinkingPart:
    return AIThinkingPart(thinking=thought, signature=end.signature, redacted_data=end.redacted_data)


def _call(event: StreamToolCall) -> AIToolCall:
    return AIToolCall(
        id=event.id,
        name=event.name,
        arguments=event.arguments,
        metadata=event.metadata,
        invalid=event.invalid,
    )
