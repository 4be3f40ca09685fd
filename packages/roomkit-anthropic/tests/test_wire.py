"""Requests: what a context becomes, and refusals before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AIPart,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.models.generation import AIContext
from roomkit_plugins.anthropic import AnthropicConfig
from roomkit_plugins.anthropic.wire import request

CURRENT = AnthropicConfig(model="claude-sonnet-5-5")
OLDER = AnthropicConfig(model="claude-haiku-4-5")


def body(config: AnthropicConfig = CURRENT, *messages: AIMessage, **fields: Any) -> dict[str, Any]:
    said = messages or (AIMessage(role="user", content="Hello"),)
    return request(config, AIContext(messages=list(said), **fields)).body


def of(role: Any, *parts: AIPart, name: str | None = None) -> AIMessage:
    return AIMessage(role=role, content=parts, name=name)


def test_results_come_first_and_in_one_message() -> None:
    messages = body(
        CURRENT,
        AIMessage(role="user", content="Weather?"),
        of("assistant", AIToolCallPart(id="a", name="w"), AIToolCallPart(id="b", name="w")),
        of("tool", AIToolResultPart(tool_call_id="b", name="w", result="sun")),
        of("tool", AIToolResultPart(tool_call_id="a", name="w", result="rain", is_error=True)),
        AIMessage(role="user", content="Well?", name="Ann"),
    )["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]
    assert messages[2]["content"] == [
        {"type": "tool_result", "tool_use_id": "b", "content": "sun"},
        {"type": "tool_result", "tool_use_id": "a", "content": "rain", "is_error": True},
        {"type": "text", "text": "Ann: Well?"},
    ]


def test_thinking_goes_back_in_place() -> None:
    """Signed and redacted blocks stay as and where they were; unsigned and foreign ones are omitted."""
    parts = (
        AIThinkingPart(thinking="one", signature="c2ln"),
        AITextPart(text="Let me see."),
        AIThinkingPart(thinking="", redacted_data="xyz"),
        AIThinkingPart(thinking="unsigned"),
        AIThinkingPart(thinking="theirs", signature='{"type": "reasoning"}'),
        AIToolCallPart(id="a", name="now"),
    )
    result = of("tool", AIToolResultPart(tool_call_id="a", name="now", result="12:00"))
    written = body(CURRENT, AIMessage(role="user", content="?"), of("assistant", *parts), result)
    assert written["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "one", "signature": "c2ln"},
        {"type": "text", "text": "Let me see."},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "tool_use", "id": "a", "name": "now", "input": {}},
    ]


def test_a_conversation_the_agent_opened_begins_with_a_user() -> None:
    messages = body(
        CURRENT, AIMessage(role="assistant", content="Hi!"), AIMessage(role="user", content="Hi!")
    )["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "user"]


def test_a_name_is_put_before_an_image_too() -> None:
    """A message that is an image alone still says whose it is."""
    image = AIImagePart(url="https://example.com/cat.png")
    content = body(CURRENT, of("user", image, name="Ann\nLee"))["messages"][0]["content"]
    assert content[0] == {"type": "text", "text": "Ann Lee:"}
    assert content[1]["source"] == {"type": "url", "url": "https://example.com/cat.png"}


@pytest.mark.parametrize(
    ("config", "budget", "expected"),
    [
        (CURRENT, None, {"max_tokens": 4096}),
        (CURRENT, 0, {"max_tokens": 4096, "thinking": {"type": "disabled"}}),
        (
            CURRENT,
            2048,
            {
                "max_tokens": 6144,
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "low"},
            },
        ),
        (
            CURRENT,
            50_000,
            {
                "max_tokens": 54_096,
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "xhigh"},
            },
        ),
        (
            OLDER,
            2048,
            {"max_tokens": 6144, "thinking": {"type": "enabled", "budget_tokens": 2048}},
        ),
    ],
)
def test_a_budget_leaves_room_for_the_answer(
    config: AnthropicConfig, budget: int | None, expected: dict[str, Any]
) -> None:
    """Thinking is asked for the model's way, and does not eat the answer's tokens."""
    written = body(config, thinking_budget=budget)
    assert {name: written[name] for name in written if name not in ("model", "messages")} == expected


def test_tool_names_go_round() -> None:
    """Names the API does not take are replaced, never by the same, and found again."""
    tools = [AITool(name=name) for name in ("a.b", "a_b", "a b", "x" * 200)]
    context = AIContext(messages=[AIMessage(role="user", content="?")], tools=tools)
    written = request(CURRENT, context)
    names = [tool["name"] for tool in written.body["tools"]]
    assert len(set(names)) == 4
    assert all(len(name) <= 128 for name in names)
    assert [written.names.from_wire(name) for name in names] == [tool.name for tool in tools]


def test_temperature_is_left_out_and_said() -> None:
    """A temperature the model does not take is named, for one warning."""
    context = AIContext(messages=[AIMessage(role="user", content="?")], temperature=0.3)
    written = request(CURRENT, context)
    assert "temperature" not in written.body
    assert written.left_out == ("temperature",)


def test_temperature_goes_out_where_it_is_taken() -> None:
    """The older API version with a model of its time takes it."""
    config = AnthropicConfig(model="claude-haiku-4-5", api_version="2023-06-01")
    assert body(config, temperature=0.3)["temperature"] == 0.3


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reasoning_effort": "minimal"}, "use one of low, medium"),
        ({"tool_choice": "required"}, "no tool is offered"),
        ({"tool_choice": "b", "tools": [AITool(name="a")]}, "not among the tools"),
        ({"tools": [AITool(name="a", parameters={"type": "string"})]}, "tool 'a' are a JSON Schema"),
        (
            {"response_schema": {"type": "object", "properties": {"a": True}}},
            "True where Claude takes a schema",
        ),
        (
            {"response_schema": {"type": "object", "properties": {"a": {"anyOf": [{"type": "null"}, True]}}}},
            "say what the value is",
        ),
    ],
)
def test_what_the_api_would_refuse_is_refused(fields: dict[str, Any], said: str) -> None:
    """A request that cannot be right is not sent, and the error says what to do."""
    with pytest.raises(ProviderError, match=said) as caught:
        body(**fields)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST


def test_a_small_budget_is_refused() -> None:
    """The API's least budget is said, not silently used."""
    with pytest.raises(ProviderError, match="at least 1024"):
        body(OLDER, thinking_budget=100)


@pytest.mark.parametrize(
    "message",
    [
        of("user", AIThinkingPart(thinking="?")),
        of("user", AIToolCallPart(id="a", name="b")),
        of("assistant", AIImagePart(url="https://example.com/a.png")),
        of("tool", AITextPart(text="12:00")),
        of("system", AIImagePart(url="https://example.com/a.png")),
    ],
)
def test_a_part_in_the_wrong_place_is_refused(message: AIMessage) -> None:
    """Nothing is dropped because a role cannot hold it."""
    with pytest.raises(ProviderError, match="cannot stand in a message of the role"):
        body(CURRENT, AIMessage(role="user", content="?"), message, AIMessage(role="user", content="?"))


@pytest.mark.parametrize("url", ["ftp://x/y.png", "data:image/png,abc", "data:image/bmp;base64,aGk="])
def test_an_image_it_cannot_read_is_refused(url: str) -> None:
    """Unknown schemes, encodings and formats are named."""
    with pytest.raises(ProviderError) as caught:
        body(CURRENT, of("user", AIImagePart(url=url)))
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT
