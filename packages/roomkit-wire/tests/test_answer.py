"""The events of an answer make the whole of it."""

from __future__ import annotations

from roomkit.models.ai import (
    AIThinkingPart,
    AIToolCall,
    StreamDone,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit_plugins.wire.answer import collect


def test_everything_said_is_in_the_answer() -> None:
    response = collect(
        [
            StreamThinkingDelta("First "),
            StreamThinkingDelta("this."),
            StreamThinkingDelta("", signature="s1"),
            StreamThinkingDelta("", redacted_data="xyz"),
            StreamThinkingDelta("Then that."),
            StreamTextDelta("Let me "),
            StreamTextDelta("look."),
            StreamToolCall("a", "now", {"x": 1}, {"item": "i"}, "odd"),
            StreamDone("tool_calls", {"input_tokens": 3}, {"model": "m"}),
        ]
    )
    assert response.content == "Let me look."
    assert response.thinking == "First this.\n\nThen that."
    assert response.thinking_signature == "s1"
    assert response.thinking_parts == [
        AIThinkingPart(thinking="First this.", signature="s1"),
        AIThinkingPart(thinking="", redacted_data="xyz"),
        AIThinkingPart(thinking="Then that."),
    ]
    called = AIToolCall(id="a", name="now", arguments={"x": 1}, metadata={"item": "i"}, invalid="odd")
    assert response.tool_calls == [called]
    assert (response.finish_reason, response.usage, response.metadata) == (
        "tool_calls",
        {"input_tokens": 3},
        {"model": "m"},
    )


def test_an_answer_may_be_empty() -> None:
    response = collect([StreamDone("stop")])
    assert (response.content, response.thinking, response.thinking_parts) == ("", None, [])
