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
from roomkit_plugins.gemini import GeminiConfig
from roomkit_plugins.gemini.wire import GeminiRequest, request, signature, signature_of_text

CURRENT = GeminiConfig(model="gemini-3.8-flash")
OLDER = GeminiConfig(model="gemini-2.5-flash")
HELLO = AIMessage(role="user", content="Hello")


def written(config: GeminiConfig = CURRENT, *messages: AIMessage, **fields: Any) -> GeminiRequest:
    return request(config, AIContext(messages=list(messages or (HELLO,)), **fields))


def of(role: Any, *parts: AIPart, name: str | None = None) -> AIMessage:
    return AIMessage(role=role, content=parts, name=name)


def test_calls_and_results_have_their_ids_and_names() -> None:
    """Two calls of one function do not mix; a result has the name of its call, whatever it says."""
    contents = written(
        CURRENT,
        HELLO,
        of("assistant", AIToolCallPart(id="a", name="w"), AIToolCallPart(id="b", name="w")),
        of("tool", AIToolResultPart(tool_call_id="a", name="other", result="sun")),
        of("tool", AIToolResultPart(tool_call_id="b", name="w", result="rain", is_error=True)),
        AIMessage(role="user", content="Well?", name="Ann"),
    ).contents
    assert [content["role"] for content in contents] == ["user", "model", "user"]
    assert contents[2]["parts"] == [
        {"function_response": {"id": "a", "name": "w", "response": {"output": "sun"}}},
        {"function_response": {"id": "b", "name": "w", "response": {"error": "rain"}}},
        {"text": "Ann: Well?"},
    ]


def test_what_gemini_signed_goes_back_in_place() -> None:
    """Thoughts, texts and calls keep their signatures; unsigned and foreign thoughts are omitted."""
    parts = (
        AIThinkingPart(thinking="one", signature=signature("c2ln")),
        AIThinkingPart(thinking="unsigned"),
        AIThinkingPart(thinking="theirs", signature="c2ln"),
        AIThinkingPart(thinking="theirs", signature='{"type": "reasoning"}'),
        AIThinkingPart(thinking="theirs", redacted_data="xyz"),
        AITextPart(text="Let me see."),
        AIThinkingPart(thinking="", signature=signature_of_text("dGV4dA==")),
        AIToolCallPart(id="a", name="now", metadata={"thought_signature": "Y2FsbA=="}),
        AIToolCallPart(id="b", name="now"),
    )
    results = [AIToolResultPart(tool_call_id=each, name="now", result="12:00") for each in ("a", "b")]
    contents = written(CURRENT, HELLO, of("assistant", *parts), of("tool", *results)).contents
    assert contents[1]["parts"] == [
        {"text": "one", "thought": True, "thought_signature": b"sig"},
        {"text": "Let me see."},
        {"text": "", "thought_signature": b"text"},
        {"function_call": {"id": "a", "name": "now", "args": {}}, "thought_signature": b"call"},
        {"function_call": {"id": "b", "name": "now", "args": {}}},
    ]


def test_calls_of_another_model_are_marked() -> None:
    """Gemini 3 refuses a call of the current turn without a signature; Google has a word for these."""
    call = AIToolCallPart(id="toolu/1", name="now", metadata={"thought_signature": "not base64!"})
    result = AIToolResultPart(tool_call_id="toolu/1", name="now", result="12:00")
    contents = written(CURRENT, HELLO, of("assistant", call), of("tool", result)).contents
    (part,) = contents[1]["parts"]
    assert part["thought_signature"] == b"skip_thought_signature_validator"
    assert part["function_call"]["id"] == contents[2]["parts"][0]["function_response"]["id"] != "toolu/1"


@pytest.mark.parametrize(
    ("config", "fields", "expected"),
    [
        (CURRENT, {}, None),
        (CURRENT, {"thinking_budget": 0}, {"thinking_level": "MINIMAL"}),
        (CURRENT, {"thinking_budget": 2048}, {"thinking_level": "LOW"}),
        (CURRENT, {"thinking_budget": 50_000}, {"thinking_level": "XHIGH"}),
        (CURRENT, {"thinking_budget": 0, "reasoning_effort": "high"}, {"thinking_level": "HIGH"}),
        (OLDER, {"thinking_budget": 2048}, {"thinking_budget": 2048}),
        (
            GeminiConfig(model="gemini-3.8-flash", thinking_level="low", include_thoughts=True),
            {},
            {"include_thoughts": True, "thinking_level": "LOW"},
        ),
        (GeminiConfig(model="gemini-3.8-flash", thinking_budget=9000), {}, {"thinking_level": "HIGH"}),
    ],
)
def test_thinking_is_asked_for_in_the_way_of_the_model(
    config: GeminiConfig, fields: dict[str, Any], expected: dict[str, Any] | None
) -> None:
    assert written(config, **fields).config.get("thinking_config") == expected


def test_an_effort_that_the_model_does_not_know_is_said() -> None:
    """An older model has no levels: one warning says so, and nothing is sent."""
    asked = written(OLDER, reasoning_effort="high")
    assert (asked.left_out, "thinking_config" in asked.config) == (("reasoning_effort",), False)


def test_settings_reach_the_request() -> None:
    """Each under the name that the SDK gives it."""
    config = GeminiConfig(
        model="gemini-3.8-flash",
        temperature=0.5,
        max_tokens=100,
        safety={"harassment": "none", "hate_speech": "off"},
        service_tier="flex",
    )
    assert written(config, stop=("END",)).config == {
        "temperature": 0.5,
        "max_output_tokens": 100,
        "stop_sequences": ["END"],
        "safety_settings": [
            {"category": "HARM_CATEGORY_HARASSMENT", "threshold": "BLOCK_NONE"},
            {"category": "HARM_CATEGORY_HATE_SPEECH", "threshold": "OFF"},
        ],
        "service_tier": "flex",
    }


def test_names_that_gemini_does_not_take_are_replaced() -> None:
    """A letter comes first, and no two names become one."""
    tools = [AITool(name=name) for name in ("2fa", "_2fa", "a b", "x" * 200)]
    asked = written(CURRENT, tools=tools)
    names = [each["name"] for each in asked.config["tools"][0]["function_declarations"]]
    assert len(set(names)) == 4
    assert all(len(name) <= 64 and (name[0].isalpha() or name[0] == "_") for name in names)
    assert [asked.names.from_wire(name) for name in names] == [tool.name for tool in tools]


@pytest.mark.parametrize(
    ("url", "mime_type", "part"),
    [
        ("https://x/a.png?v=1", None, {"file_uri": "https://x/a.png?v=1", "mime_type": "image/png"}),
        ("gs://x/a", "image/webp", {"file_uri": "gs://x/a", "mime_type": "image/webp"}),
    ],
)
def test_google_fetches_an_image_by_its_url(url: str, mime_type: str | None, part: dict[str, str]) -> None:
    contents = written(CURRENT, of("user", AIImagePart(url=url, mime_type=mime_type), name="Ann")).contents
    assert contents[0]["parts"] == [{"text": "Ann:"}, {"file_data": part}]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://x/a.png", "use an https or gs URL"),
        ("ftp://x/y.png", "use an https or gs URL"),
        ("https://x/a", "set mime_type"),
        ("data:image/png,abc", "use an https or gs URL"),
        ("data:image/bmp;base64,aGk=", "convert it to one of"),
        ("data:image/png;base64,a", "is not base64"),
    ],
)
def test_an_image_it_cannot_read_is_refused(url: str, said: str) -> None:
    """Unknown schemes, types, encodings and formats are named."""
    with pytest.raises(ProviderError, match=said) as caught:
        written(CURRENT, of("user", AIImagePart(url=url)))
    assert caught.value.error_code is ErrorCode.UNSUPPORTED_CONTENT


@pytest.mark.parametrize(
    ("config", "fields", "said"),
    [
        (CURRENT, {"reasoning_effort": "none"}, "use one of minimal, low"),
        (CURRENT, {"tool_choice": "required"}, "no tool is offered"),
        (CURRENT, {"stop": tuple("abcdef")}, "takes 5 stop sequences, not 6"),
        (CURRENT, {"tools": [AITool(name="a", parameters={"type": "string"})]}, "tool 'a' are a JSON Schema"),
        (
            GeminiConfig(model="m", cached_content="cachedContents/a"),
            {"system_prompt": "Be short."},
            "cached_content holds the system prompt",
        ),
    ],
)
def test_what_the_api_would_refuse_is_refused(
    config: GeminiConfig, fields: dict[str, Any], said: str
) -> None:
    """A request that cannot be right is not sent, and the error says what to do."""
    with pytest.raises(ProviderError, match=said) as caught:
        written(config, **fields)
    assert caught.value.error_code is ErrorCode.INVALID_REQUEST
