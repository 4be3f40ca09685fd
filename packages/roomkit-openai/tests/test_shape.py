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
from roomkit_plugins.openai import OpenAIConfig, VLLMConfig, chat, responses
from roomkit_plugins.openai.errors import Origin
from roomkit_plugins.testing.simulators import OpenAISimulator, Request, VLLMSimulator

TEXTS = st.sampled_from(["Hello", "", " ", "Ünï ☕", "a\n\nb"])
IDS = st.sampled_from(["a", "b", "c"])
TOOLS = st.sampled_from(["now", "files.read", "x" * 200])
THINKING = [
    AIThinkingPart(thinking="theirs", signature="c2ln"),
    AIThinkingPart(thinking="", redacted_data="xyz"),
    AIThinkingPart(thinking="unsigned"),
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


CONFIGS = {
    "responses": OpenAIConfig(model="gpt-5.5", api="responses"),
    "responses, not reasoning": OpenAIConfig(model="gpt-4.1", api="responses"),
    "chat": OpenAIConfig(model="gpt-5.5", api="chat", base_url=None),
    "chat, not reasoning": OpenAIConfig(model="gpt-4.1", api="chat", base_url=None),
    "vllm": VLLMConfig(model="qwen/qwen3-8b", vision=True, think_tags="inline").to_openai(),
}


@settings(max_examples=300)
@given(CONTEXTS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_what_is_sent_is_taken(config: OpenAIConfig, fields: dict[str, Any]) -> None:
    """A context is refused before it is sent, with a typed error, or its request is a good one."""
    if config.model == "gpt-4.1":
        fields = {**fields, "reasoning_effort": None}  # the vendor refuses it
    if config.model == "gpt-5.5":
        fields = {**fields, "stop": ()}  # the vendor refuses it
    api = responses if config.spoken_api == "responses" else chat
    try:
        written = api.request(config, AIContext(**fields), Origin("openai"))
    except ProviderError as error:
        event("refused")
        assert error.error_code in (ErrorCode.INVALID_REQUEST, ErrorCode.UNSUPPORTED_CONTENT)
        return
    event("sent")
    simulator = VLLMSimulator() if "qwen" in config.model else OpenAISimulator()
    path = "/v1/responses" if api is responses else "/v1/chat/completions"
    headers = {"authorization": f"Bearer {simulator.api_key}"}
    body = json.dumps(written.body).encode()
    assert simulator.refusal(Request("POST", path, {}, headers, body)) is None
