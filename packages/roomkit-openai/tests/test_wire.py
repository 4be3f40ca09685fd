"""Requests: what a context becomes on either API, and refusals before anything is sent."""

from __future__ import annotations

import json
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
from roomkit_plugins.openai import OpenAIConfig, VLLMConfig, chat, responses
from roomkit_plugins.wire.origin import Origin

ORIGIN = Origin("openai")
HELLO = AIMessage(role="user", content="Hello")
COMPATIBLE = OpenAIConfig(model="llama", base_url="http://localhost:1/v1")
OFFICIAL_CHAT = OpenAIConfig(model="gpt-4.1", api="chat", base_url=None)
RESPONSES = OpenAIConfig(model="gpt-5.5", base_url=None)


def body(config: OpenAIConfig, *messages: AIMessage, **fields: Any) -> dict[str, Any]:
    context = AIContext(messages=list(messages or (HELLO,)), **fields)
    api = responses if config.spoken_api == "responses" else chat
    written: dict[str, Any] = api.request(config, context, ORIGIN).body
    return written


def of(role: Any, *parts: AIPart, name: str | None = None) -> AIMessage:
    return AIMessage(role=role, content=parts, name=name)


def test_which_api_is_spoken() -> None:
    """Responses with OpenAI itself, in every region; chat with any other server."""
    assert OpenAIConfig(model="m", base_url=None).spoken_api == "responses"
    for url, api in {
        "https://api.openai.com/v1": "responses",
        "https://eu.api.openai.com/v1": "responses",
        "https://api.openai.com.evil.test/v1": "chat",
        "http://localhost:8000/v1": "chat",
    }.items():
        assert OpenAIConfig(model="m", base_url=url).spoken_api == api


def test_a_tool_loop_on_chat() -> None:
    """Calls are JSON strings, each result a message of its own, and what users add comes after."""
    call = AIToolCallPart(id="a", name="w", arguments={"city": "Genève"})
    failed = AIToolResultPart(tool_call_id="a", name="w", result="no such city", is_error=True)
    messages = body(
        OFFICIAL_CHAT,
        HELLO,
        of("assistant", AITextPart(text="I look."), AITextPart(text="Wait."), call),
        of("user", AITextPart(text="And?"), failed, name="Ann"),
    )["messages"]
    function = {"name": "w", "arguments": '{"city": "Genève"}'}
    assert messages[1:] == [
        {
            "role": "assistant",
            "content": "I look.\n\nWait.",
            "tool_calls": [{"id": "a", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "a", "content": "Error: no such city"},
        {"role": "user", "content": "And?", "name": "Ann"},
    ]


def test_a_tool_loop_on_responses() -> None:
    """Reasoning, text, calls and results are items, in their order."""
    item = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
    parts = (
        AIThinkingPart(thinking="", signature=json.dumps(item)),
        AIThinkingPart(thinking="another vendor's", signature="c2ln"),
        AITextPart(text="I look."),
        AIToolCallPart(id="a", name="w", metadata={"item_id": "fc_1"}),
    )
    result = of("tool", AIToolResultPart(tool_call_id="a", name="w", result="rain"))
    items = body(RESPONSES, HELLO, of("assistant", *parts), result)["input"]
    assert items[1:] == [
        item,
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "I look."}],
        },
        {"type": "function_call", "call_id": "a", "name": "w", "arguments": "{}", "id": "fc_1"},
        {"type": "function_call_output", "call_id": "a", "output": "rain"},
    ]


def test_the_speaker_has_a_field_at_openai_only() -> None:
    """A name that fits goes into the field; any other, and any other server, gets it in the text."""
    ann = AIMessage(role="user", content="Hi", name="Ann")
    spaced = AIMessage(role="user", content="Hi", name="Ann Lee")
    named = body(OFFICIAL_CHAT, ann, spaced)["messages"]
    assert named[0] == {"role": "user", "content": "Hi", "name": "Ann"}
    assert named[1] == {"role": "user", "content": "Ann Lee: Hi"}
    assert body(COMPATIBLE, ann)["messages"] == [{"role": "user", "content": "Ann: Hi"}]


def test_users_in_a_row_are_one_message_elsewhere() -> None:
    """Templates that want turns to alternate are served; images keep their place."""
    image = AIImagePart(url="https://example.com/a.png")
    two = body(COMPATIBLE, AIMessage(role="user", content="A"), AIMessage(role="user", content="B"))
    assert two["messages"] == [{"role": "user", "content": "A\n\nB"}]
    mixed = body(COMPATIBLE, AIMessage(role="user", content="A"), of("user", image, name="Ann"))
    assert mixed["messages"][0]["content"] == [
        {"type": "text", "text": "A"},
        {"type": "text", "text": "Ann:"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
    ]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"model": "gpt-4.1", "api": "chat"}, "max_completion_tokens"),
        ({"model": "llama", "base_url": "http://localhost:1/v1"}, "max_tokens"),
        ({"model": "gpt-5.5", "base_url": "http://localhost:1/v1"}, "max_completion_tokens"),
        (
            {
                "model": "llama",
                "base_url": "http://localhost:1/v1",
                "max_tokens_field": "max_completion_tokens",
            },
            "max_completion_tokens",
        ),
        ({"model": "gpt-5.5"}, "max_output_tokens"),
    ],
)
def test_the_limit_has_the_name_the_server_takes(fields: dict[str, Any], field: str) -> None:
    written = body(OpenAIConfig.model_validate({"base_url": None, **fields}), max_tokens=99)
    assert {name: value for name, value in written.items() if value == 99} == {field: 99}


def test_thinking_on_chat_goes_where_the_server_wants_it() -> None:
    """Back as tags, in a field, or not at all."""
    said = of("assistant", AIThinkingPart(thinking="Hm."), AITextPart(text="Yes."))
    base = {"model": "llama", "base_url": "http://localhost:1/v1"}
    without = body(OpenAIConfig.model_validate(base), HELLO, said, HELLO)
    tags = body(OpenAIConfig.model_validate({**base, "think_tags": "inline"}), HELLO, said, HELLO)
    field = body(OpenAIConfig.model_validate({**base, "reasoning_field": "reasoning"}), HELLO, said, HELLO)
    assert without["messages"][1] == {"role": "assistant", "content": "Yes."}
    assert tags["messages"][1]["content"] == "<think>\nHm.\n</think>\n\nYes."
    assert field["messages"][1] == {"role": "assistant", "content": "Yes.", "reasoning": "Hm."}


def test_thinking_alone_is_no_message_without_content() -> None:
    """An assistant's message always has a content the server takes."""
    said = of("assistant", AIThinkingPart(thinking="Hm."))
    assert body(COMPATIBLE, HELLO, said, HELLO)["messages"][1]["content"] == ""


@pytest.mark.parametrize(("budget", "effort"), [(0, "none"), (2000, "low"), (99_999, "xhigh")])
def test_a_thinking_budget_becomes_an_effort(budget: int, effort: str) -> None:
    """A reasoning model is asked in the words it knows."""
    assert body(RESPONSES, thinking_budget=budget)["reasoning"] == {"effort": effort}


def test_what_the_model_does_not_take_is_left_out_and_said() -> None:
    context = AIContext(messages=[HELLO], temperature=0.3, thinking_budget=2000)
    assert responses.request(RESPONSES, context, ORIGIN).left_out == ("temperature",)
    written = chat.request(COMPATIBLE, context, ORIGIN)
    assert written.left_out == ("thinking_budget",)
    assert written.body["temperature"] == 0.3


def test_tool_names_go_round() -> None:
    """Names the API does not take are replaced, never by the same, and found again."""
    tools = [AITool(name=name) for name in ("a.b", "a_b", "a b", "x" * 200)]
    written = chat.request(COMPATIBLE, AIContext(messages=[HELLO], tools=tools), ORIGIN)
    names = [tool["function"]["name"] for tool in written.body["tools"]]
    assert len(set(names)) == 4
    assert all(len(name) <= 64 for name in names)
    assert [written.names.from_wire(name) for name in names] == [tool.name for tool in tools]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"stop": ("x",)}, "no stop sequences"),
        ({"reasoning_effort": "huge"}, "use one of none, minimal"),
        ({"tool_choice": "required"}, "no tool is offered"),
        ({"tool_choice": "b", "tools": [AITool(name="a")]}, "not among the tools"),
        ({"tools": [AITool(name="a", parameters={"type": "string"})]}, "tool 'a' are a JSON Schema"),
    ],
)
def test_what_the_api_would_refuse_is_refused(fields: dict[str, Any], said: str) -> None:
    """A request that cannot be right is not sent, and the error says what to do."""
    with pytest.raises(ProviderError, match=said) as caught:
        body(RESPONSES, **fields)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST


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
@pytest.mark.parametrize("config", [RESPONSES, COMPATIBLE])
def test_a_part_in_the_wrong_place_is_refused(config: OpenAIConfig, message: AIMessage) -> None:
    """Nothing is dropped because a role cannot hold it."""
    with pytest.raises(ProviderError, match="cannot stand in a message of the role"):
        body(config, HELLO, message, HELLO)


@pytest.mark.parametrize("url", ["ftp://x/y.png", "data:image/png,abc", "data:text/plain;base64,aGk="])
def test_an_image_it_cannot_read_is_refused(url: str) -> None:
    """Unknown schemes, encodings and formats are named."""
    with pytest.raises(ProviderError) as caught:
        body(RESPONSES, of("user", AIImagePart(url=url)))
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT


def test_vllm_is_told_whether_to_think() -> None:
    config = VLLMConfig(
        model="q",
        enable_thinking=False,
        extra_body={"top_k": 5, "chat_template_kwargs": {"thinking": True}},
    )
    assert config.to_openai().extra_body == {
        "top_k": 5,
        "chat_template_kwargs": {"enable_thinking": False, "thinking": True},
    }
