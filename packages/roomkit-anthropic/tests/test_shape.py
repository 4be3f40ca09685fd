"""Whatever the wire lets through, the vendor takes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIContext,
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit_plugins.anthropic import AnthropicConfig
from roomkit_plugins.anthropic.wire import request
from roomkit_plugins.testing.simulators import AnthropicSimulator, Request, ScriptedThinking

TEXTS = st.sampled_from(["Hello", "", " ", "Ünï ☕", "a\n\nb"])
IDS = st.sampled_from(["a", "b", "c"])
TOOLS = st.sampled_from(["now", "files.read", "x" * 200])
THINKING = [
    AIThinkingPart(thinking="Hm.", signature="c2ln"),
    AIThinkingPart(thinking="", redacted_data="xyz"),
    AIThinkingPart(thinking="unsigned"),
    AIThinkingPart(thinking="theirs", signature='{"type": "reasoning"}'),
]
PARTS: st.SearchStrategy[AIPart] = st.one_of(
    TEXTS.map(lambda text: AITextPart(text=text)),
    st.builds(AIToolCallPart, id=IDS, name=TOOLS, arguments=st.just({"x": 1})),
    st.builds(AIToolResultPart, tool_call_id=IDS, name=TOOLS, result=TEXTS, is_error=st.booleans()),
    st.sampled_from(THINKING),
    st.sampled_from(["https://example.com/a.png", "data:image/png;base64,aGk=", "file:///x"]).map(
        lambda url: AIImagePart(url=url)
    ),
)
MESSAGES = st.builds(
    AIMessage,
    role=st.sampled_from(["user", "assistant", "tool", "system"]),
    content=TEXTS | st.lists(PARTS, max_size=3).map(tuple),
    name=st.sampled_from([None, "Ann", "Ann Lee"]),
)


@st.composite
def rounds(draw: st.DrawFn) -> list[AIMessage]:
    """Draw one round of a conversation as a tool loop makes it."""
    messages = [AIMessage(role="user", content=draw(TEXTS), name=draw(st.sampled_from([None, "Ann"])))]
    calls = draw(st.lists(st.uuids().map(str), max_size=3, unique=True))
    said: list[AIPart] = [*draw(st.lists(st.sampled_from(THINKING), max_size=2))]
    said.append(AITextPart(text=draw(TEXTS)))
    said += [AIToolCallPart(id=call, name=draw(TOOLS)) for call in calls]
    messages.append(AIMessage(role="assistant", content=tuple(said)))
    for call in draw(st.permutations(calls)):
        result = AIToolResultPart(tool_call_id=call, name="now", result=draw(TEXTS))
        messages.append(AIMessage(role="tool", content=(result,)))
    return messages


CONVERSATIONS = st.one_of(
    st.lists(MESSAGES, max_size=6),
    st.lists(rounds(), max_size=4).map(
        lambda made: [
            *(message for messages in made for message in messages),
            AIMessage(role="user", content="So?"),
        ]
    ),
)
CONTEXTS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {
        "messages": CONVERSATIONS,
        "system_prompt": st.none() | TEXTS,
        "temperature": st.sampled_from([None, 0.5]),
        "thinking_budget": st.sampled_from([None, 0, 2000]),
        "reasoning_effort": st.sampled_from([None, "high", "none"]),
        "stop": st.sampled_from([(), ("END",)]),
        "tools": st.sampled_from([[], [AITool(name="files.read"), AITool(name="files_read")]]),
        "tool_choice": st.sampled_from([None, "auto", "none", "files.read"]),
    }
)


@settings(max_examples=400)
@given(CONTEXTS)
@pytest.mark.parametrize("model", ["claude-sonnet-5-5", "claude-haiku-4-5"])
def test_what_is_sent_is_taken(model: str, fields: dict[str, Any]) -> None:
    """A context is refused before it is sent, with a typed error, or its request is a good one."""
    simulator = AnthropicSimulator()
    simulator.accept_thinking(ScriptedThinking("Hm.", "c2ln"), ScriptedThinking(redacted_data="xyz"))
    if fields["tool_choice"] == "files.read" and model == "claude-haiku-4-5":
        fields = {**fields, "thinking_budget": None}  # the vendor refuses a forced call with thinking
    try:
        written = request(AnthropicConfig(model=model), AIContext(**fields))
    except ProviderError as error:
        event("refused")
        assert error.error_code in (ErrorCode.INVALID_REQUEST, ErrorCode.UNSUPPORTED_CONTENT)
        return
    event("sent")
    headers = {
        "authorization": f"Bearer {simulator.api_key}",
        "anthropic-version": "2026-10-21",
        "content-type": "application/json",
    }
    body = json.dumps(written.body).encode()
    assert simulator.refusal(Request("POST", "/v1/messages", {}, headers, body)) is None
