"""Requests: how a context is written, and which are refused before they are sent."""

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
from roomkit_plugins.mistral import MistralConfig
from roomkit_plugins.mistral.wire import MistralRequest, request, signature

CURRENT = MistralConfig(model="mistral-large-latest")
HELLO = AIMessage(role="user", content="Hello")


def written(config: MistralConfig = CURRENT, *messages: AIMessage, **fields: Any) -> MistralRequest:
    return request(config, AIContext(messages=list(messages or (HELLO,)), **fields))


def of(role: Any, *parts: AIPart, name: str | None = None) -> AIMessage:
    return AIMessage(role=role, content=parts, name=name)


def test_roles_come_in_the_order_that_the_api_takes() -> None:
    """Results follow their calls; the assistant speaks between a result and a user."""
    messages = written(
        CURRENT,
        AIMessage(role="assistant", content="Welcome!"),
        AIMessage(role="assistant", content="How are you?"),
        HELLO,
        of("assistant", AIToolCallPart(id="a", name="w"), AIToolCallPart(id="b", name="w")),
        of("tool", AIToolResultPart(tool_call_id="b", name="other", result="sun")),
        of("tool", AIToolResultPart(tool_call_id="a", name="w", result="rain", is_error=True)),
        AIMessage(role="user", content="Well?", name="Ann"),
        system_prompt="Be short.",
    ).body["messages"]
    assert [message["role"] for message in messages] == [
        "system", "user", "assistant", "user", "assistant", "tool", "tool", "assistant", "user",
    ]  # fmt: skip
    assert messages[2]["content"] == "Welcome!\n\nHow are you?"
    calls = [call["id"] for call in messages[4]["tool_calls"]]
    assert all(len(call) == 9 and call.isalnum() for call in calls)
    assert messages[5] == {"role": "tool", "tool_call_id": calls[1], "name": "w", "content": "sun"}
    assert messages[6] == {"role": "tool", "tool_call_id": calls[0], "name": "w", "content": "Error: rain"}
    assert messages[8]["content"] == "Ann: Well?"


def test_thinking_goes_back_in_place() -> None:
    """Mistral's own, signed or not; unsigned and foreign thoughts are omitted."""
    parts = (
        AIThinkingPart(thinking="one", signature=signature("c2ln")),
        AIThinkingPart(thinking="", signature=signature("")),
        AIThinkingPart(thinking="unsigned"),
        AIThinkingPart(thinking="theirs", signature="c2ln"),
        AIThinkingPart(thinking="theirs", signature='{"gemini": "c2ln"}'),
        AIThinkingPart(thinking="theirs", redacted_data="xyz"),
        AITextPart(text="Let me see."),
    )
    messages = written(CURRENT, HELLO, of("assistant", *parts), HELLO).body["messages"]
    assert messages[1]["content"] == [
        {
            "type": "thinking",
            "closed": True,
            "thinking": [{"type": "text", "text": "one"}],
            "signature": "c2ln",
        },
        {"type": "thinking", "closed": True, "thinking": []},
        {"type": "text", "text": "Let me see."},
    ]


def test_two_answers_in_a_row_become_one_with_their_thoughts() -> None:
    thought = AIThinkingPart(thinking="Hm.", signature=signature("s"))
    first, second = AIMessage(role="assistant", content="Hi!"), of("assistant", thought)
    messages = written(CURRENT, HELLO, first, second, HELLO).body["messages"]
    assert [chunk["type"] for chunk in messages[1]["content"]] == ["text", "thinking"]


def test_settings_reach_the_request() -> None:
    """Each under the name that the API gives it."""
    config = MistralConfig(
        model="m",
        temperature=0.5,
        max_tokens=100,
        reasoning_effort="high",
        prompt_mode="reasoning",
        random_seed=7,
        safe_prompt=True,
        parallel_tool_calls=False,
        prompt_cache_key="k",
        service_tier="priority",
    )
    asked = written(config, stop=("END",), tools=[AITool(name="a.b", description="d")], tool_choice="a.b")
    body = {name: value for name, value in asked.body.items() if name not in ("messages", "tools")}
    name = asked.names.to_wire("a.b")
    assert body == {
        "model": "m",
        "tool_choice": {"type": "function", "function": {"name": name}},
        "parallel_tool_calls": False,
        "max_tokens": 100,
        "temperature": 0.5,
        "stop": ["END"],
        "reasoning_effort": "high",
        "prompt_mode": "reasoning",
        "random_seed": 7,
        "safe_prompt": True,
        "prompt_cache_key": "k",
        "service_tier": "priority",
    }
    schema = {"type": "object", "properties": {}}
    assert asked.body["tools"][0]["function"] == {"name": name, "parameters": schema, "description": "d"}


def test_a_budget_is_left_out_and_said() -> None:
    """The API has none, and one warning names it."""
    assert written(CURRENT, thinking_budget=100).left_out == ("thinking_budget",)


def test_a_name_is_put_before_an_image_too() -> None:
    image = AIImagePart(url="https://example.com/cat")
    (message,) = written(CURRENT, of("user", image, name="Ann\nLee")).body["messages"]
    assert message["content"] == [
        {"type": "text", "text": "Ann Lee:"},
        {"type": "image_url", "image_url": "https://example.com/cat"},
    ]


@pytest.mark.parametrize("url", ["ftp://x/y.png", "data:image/png,abc", "data:image/bmp;base64,aGk="])
def test_an_image_it_cannot_read_is_refused(url: str) -> None:
    """Unknown schemes, encodings and formats are named."""
    with pytest.raises(ProviderError) as caught:
        written(CURRENT, of("user", AIImagePart(url=url)))
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"reasoning_effort": "extreme"}, "use one of none, minimal"),
        ({"tool_choice": "required"}, "no tool is offered"),
        ({"tools": [AITool(name="a", parameters={"type": "string"})]}, "tool 'a' are a JSON Schema"),
    ],
)
def test_what_the_api_would_refuse_is_refused(fields: dict[str, Any], said: str) -> None:
    """A request that cannot be right is not sent, and the error says what to do."""
    with pytest.raises(ProviderError, match=said) as caught:
        written(CURRENT, **fields)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST
