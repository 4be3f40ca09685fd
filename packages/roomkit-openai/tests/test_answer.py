"""Answers of both APIs: whatever comes, it becomes our models or a typed error."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit_plugins.openai import OpenAIConfig, chat, responses
from roomkit_plugins.openai.think import ThinkTags, tagged
from roomkit_plugins.openai.wire import AnswerReader, OpenAIRequest
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.answer import collect
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.tools import ToolNames

FUZZ = examples(40)
ASKED = OpenAIRequest({}, ToolNames(64), frozenset({"call_old"}), ())
CHAT = OpenAIConfig(model="m", base_url="http://localhost:1/v1")
RESPONSES = OpenAIConfig(model="m", base_url=None)

LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8)
NAMES = [
    "choices",
    "message",
    "delta",
    "content",
    "tool_calls",
    "function",
    "finish_reason",
    "error",
    "output",
    "item",
    "response",
    "status",
    "type",
    "summary",
    "text",
    "usage",
]
ANY_JSON = st.recursive(
    LEAVES,
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.sampled_from(NAMES), children, max_size=5)
    ),
    max_leaves=14,
)
CHUNKS = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {
                    "delta": st.fixed_dictionaries(
                        {
                            "content": st.sampled_from(["a", None]) | ANY_JSON,
                            "tool_calls": st.lists(
                                st.fixed_dictionaries(
                                    {
                                        "index": st.integers(0, 1) | LEAVES,
                                        "function": st.just({"name": "f", "arguments": "{"}) | ANY_JSON,
                                    }
                                )
                                | ANY_JSON,
                                max_size=2,
                            ),
                        }
                    )
                    | ANY_JSON,
                    "finish_reason": st.sampled_from([None, "stop"]) | LEAVES,
                }
            )
            | ANY_JSON,
            max_size=2,
        )
    }
)
EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            [
                "response.output_text.delta",
                "response.reasoning_summary_text.delta",
                "response.output_item.done",
                "response.completed",
                "response.incomplete",
                "response.failed",
                "error",
                "new.event",
            ]
        ),
        "delta": st.just("a") | ANY_JSON,
        "item": st.just({"type": "function_call", "name": "f"}) | ANY_JSON,
        "response": st.just({"status": "completed"}) | ANY_JSON,
    }
)


def read(config: OpenAIConfig, request: OpenAIRequest = ASKED) -> AnswerReader:
    api = responses if config.spoken_api == "responses" else chat
    origin = Origin("openai", request_id="req_1")
    made: AnswerReader = api.answer(config, request, origin)
    return made


def heard(answer: AnswerReader, events: Iterable[Any]) -> list[StreamEvent]:
    return [
        *(item for event in events for item in answer.feed(json.dumps(event))),
        *answer.end(),
    ]


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


@FUZZ
@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
@pytest.mark.parametrize("config", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_any_body_is_an_answer_or_a_typed_error(config: OpenAIConfig, body: bytes) -> None:
    """No body makes anything but an AIResponse or a ProviderError."""
    try:
        collect(read(config).whole(body))
    except ProviderError as error:
        assert error.provider == "openai"


@FUZZ
@given(st.lists(CHUNKS | EVENTS | ANY_JSON, max_size=6))
@pytest.mark.parametrize("config", [CHAT, RESPONSES], ids=["chat", "responses"])
def test_any_events_are_a_stream_or_a_typed_error(config: OpenAIConfig, events: list[Any]) -> None:
    """No sequence of events makes anything but stream events or a ProviderError."""
    try:
        items = heard(read(config), events)
    except ProviderError as error:
        assert error.provider == "openai"
    else:
        assert [isinstance(item, StreamDone) for item in items].count(True) == 1
        assert isinstance(items[-1], StreamDone)


@FUZZ
@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<", "th", "a < b", "</thi", "\n", "So."]), max_size=8),
    st.booleans(),
    st.data(),
)
def test_think_tags_survive_any_cut(pieces: list[str], inside: bool, data: st.DataObject) -> None:
    """However the text is cut, the same is thinking and the same is text."""
    text = "".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    cut = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    assert _thought_and_said(cut, inside) == _thought_and_said([text], inside)


def _thought_and_said(pieces: list[str], inside: bool) -> tuple[str, str]:
    tags = ThinkTags(inside=inside)
    events = [*(event for piece in pieces for event in tags.feed(piece)), *tags.flush()]
    return (
        "".join(event.thinking for event in events if isinstance(event, StreamThinkingDelta)),
        "".join(event.text for event in events if isinstance(event, StreamTextDelta)),
    )


def test_think_tags_part_text_from_thinking() -> None:
    assert _thought_and_said(["<think>Hm.</think>\n\nYes <b>"], False) == ("Hm.", "Yes <b>")
    assert _thought_and_said(["Hm.</think>\n\nYes"], True) == ("Hm.", "Yes")
    assert _thought_and_said([tagged("Hm.") + "Yes"], False) == ("Hm.\n", "Yes")


def test_think_tags_are_taken_out_of_answers() -> None:
    """Whole and streamed, when the configuration says so."""
    config = CHAT.model_copy(update={"think_tags": "inline"})
    text = "<think>Hm.</think>Yes"
    message = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    response = collect(read(config).whole(json.dumps(message).encode()))
    assert (response.thinking, response.content) == ("Hm.", "Yes")
    items = heard(read(config), [chunk({"content": text[:4]}), chunk({"content": text[4:]}, "stop")])
    assert [StreamThinkingDelta("Hm."), StreamTextDelta("Yes")] == items[:-1]


@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_has_two_names(field: str) -> None:
    """Both are thinking."""
    items = heard(read(CHAT), [chunk({field: "Hm."}), chunk({"content": "Yes"}, "stop")])
    assert items[0] == StreamThinkingDelta("Hm.")


@pytest.mark.parametrize(
    "deltas",
    [
        [
            {"index": 0, "id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"index": 1, "id": "b", "function": {"name": "g", "arguments": "{}"}},
            {"index": 0, "function": {"arguments": ": 1}"}},
        ],
        [
            {"id": "a", "function": {"name": "f", "arguments": '{"x"'}},
            {"function": {"arguments": ": 1}"}},
            {"id": "b", "function": {"name": "g"}},
        ],
        [
            {"id": "a", "function": {"name": "f", "arguments": {"x": 1}}},
            {"id": "b", "function": {"name": "g", "arguments": None}},
        ],
    ],
    ids=["by index", "by id", "as objects"],
)
def test_tool_calls_come_in_pieces(deltas: list[dict[str, Any]]) -> None:
    events = [chunk({"tool_calls": [delta]}) for delta in deltas]
    items = heard(read(CHAT), [*events, chunk({}, "stop")])
    assert items[:-1] == [StreamToolCall("a", "f", {"x": 1}), StreamToolCall("b", "g", {})]
    assert isinstance(items[-1], StreamDone)
    assert items[-1].finish_reason == "tool_calls"


@pytest.mark.parametrize("identity", ["call_old", "", None])
def test_a_call_has_an_id_of_its_own(identity: str | None) -> None:
    """A server that gives none, or the same again in the next turn, does not confuse two calls."""
    call = {"index": 0, "id": identity, "function": {"name": "f", "arguments": ""}}
    twice = [{**call, "index": 1}, call]
    items = heard(read(CHAT), [chunk({"tool_calls": twice}, "tool_calls")])
    ids = [item.id for item in items if isinstance(item, StreamToolCall)]
    assert len({*ids, "call_old", "", None}) == 5


@pytest.mark.parametrize("given", ["{", "[1]", '"x"', '{"a": NaN}', "[" * 3000])
def test_arguments_that_cannot_be_used(given: str) -> None:
    """They are kept as written, and the call is marked."""
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": given}}
    item = heard(read(CHAT), [chunk({"tool_calls": [call]}, "tool_calls")])[0]
    assert isinstance(item, StreamToolCall)
    assert item.invalid
    assert item.arguments == {"raw": given}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("stop", "stop"),
        ("length", "length"),
        ("tool_calls", "tool_calls"),
        ("function_call", "tool_calls"),
        ("content_filter", "content_filter"),
        ("invented_tomorrow", "error"),
    ],
)
def test_why_chat_stopped(reason: str, finish: str) -> None:
    """Each of the vendor's words has ours; an unknown one is kept and called an error."""
    done = heard(read(CHAT), [chunk({"content": "a"}, reason)])[-1]
    assert isinstance(done, StreamDone)
    assert (done.finish_reason, done.metadata["finish_reason"]) == (finish, reason)


@pytest.mark.parametrize(
    ("response", "finish"),
    [
        ({"status": "completed"}, "stop"),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}},
            "length",
        ),
        (
            {"status": "incomplete", "incomplete_details": {"reason": "content_filter"}},
            "content_filter",
        ),
        ({"status": "incomplete"}, "length"),
    ],
)
def test_why_a_response_stopped(response: dict[str, Any], finish: str) -> None:
    """Its status and details say it together."""
    event = {"type": f"response.{response['status']}", "response": response}
    done = heard(read(RESPONSES), [event])[-1]
    assert isinstance(done, StreamDone)
    assert done.finish_reason == finish


@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "rate_limit_exceeded", "message": "slow down"},
        {"error": {"code": "rate_limit_exceeded", "message": "slow down"}},
        {
            "type": "response.failed",
            "response": {"status": "failed", "error": {"code": "rate_limit_exceeded"}},
        },
    ],
)
def test_an_error_inside_a_stream_is_classified(event: dict[str, Any]) -> None:
    """The vendor's code decides, for the status was 200."""
    with pytest.raises(ProviderError) as caught:
        heard(read(RESPONSES), [event])
    assert caught.value.error_code is ErrorCode.RATE_LIMIT
    assert caught.value.request_id == "req_1"


def test_parts_of_a_summary_are_set_apart() -> None:
    """Streamed and whole, two parts of one summary are two paragraphs."""
    kind = "response.reasoning_summary_text.delta"
    deltas = [("rs_1", 0, "A"), ("rs_1", 0, "B"), ("rs_1", 1, "C"), ("rs_2", 0, "D")]
    events = [
        {"type": kind, "item_id": item, "summary_index": index, "delta": text} for item, index, text in deltas
    ]
    done = {"type": "response.completed", "response": {"status": "completed"}}
    items = heard(read(RESPONSES), [*events, done])
    thinking = [item.thinking for item in items if isinstance(item, StreamThinkingDelta)]
    assert thinking == ["A", "B", "\n\nC", "D"]


def test_a_stream_with_usage_alone_at_its_end() -> None:
    """The last chunk has no choice, and is counted."""
    events = [chunk({"content": "a"}, "stop"), {"choices": [], "usage": {"prompt_tokens": 3}}]
    done = heard(read(CHAT), events)[-1]
    assert isinstance(done, StreamDone)
    assert done.usage == {"input_tokens": 3}
