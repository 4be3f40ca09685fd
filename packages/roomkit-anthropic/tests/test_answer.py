"""Answers: whatever comes, it becomes our models or a typed error."""

from __future__ import annotations

import json
from itertools import chain
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamEvent, StreamThinkingDelta, StreamToolCall
from roomkit_plugins.anthropic.answer import MessageStream, whole
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.tools import ToolNames

FUZZ = examples(40)
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "content", "message", "usage", "index", "delta", "text", "stop_reason", "input"]
            ),
            children,
            max_size=5,
        )
    ),
    max_leaves=12,
)
KINDS = st.sampled_from(
    [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
        "error",
        "ping",
        "new_event",
    ]
)
BLOCKS = st.sampled_from(["text", "thinking", "redacted_thinking", "tool_use", "server_tool_use"])


@st.composite
def likely_events(draw: st.DrawFn) -> dict[str, Any]:
    """Draw an event that is nearly right."""
    return {
        "type": draw(KINDS),
        "index": draw(st.integers(0, 2) | ANY_JSON),
        "message": draw(st.just({"usage": {"input_tokens": 1}}) | ANY_JSON),
        "content_block": draw(st.fixed_dictionaries({"type": BLOCKS, "text": ANY_JSON}) | ANY_JSON),
        "delta": draw(
            st.sampled_from(
                [
                    {"type": "text_delta", "text": "a"},
                    {"type": "input_json_delta", "partial_json": "{"},
                    {"stop_reason": "end_turn"},
                ]
            )
            | ANY_JSON
        ),
        "usage": draw(st.just({"output_tokens": 2}) | ANY_JSON),
    }


def message(**fields: Any) -> bytes:
    return json.dumps(
        {
            "type": "message",
            "content": [{"type": "text", "text": "Hi"}],
            "stop_reason": "end_turn",
            "usage": {"input_tokens": 1, "output_tokens": 2},
            **fields,
        }
    ).encode()


@FUZZ
@given(st.binary(max_size=60) | ANY_JSON.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_an_answer_or_a_typed_error(body: bytes) -> None:
    """No body makes anything but an AIResponse or a ProviderError."""
    try:
        whole(body, ToolNames(128))
    except ProviderError as error:
        assert error.error_code in (ErrorCode.BAD_RESPONSE, ErrorCode.SERVER)


@FUZZ
@given(st.lists(likely_events() | ANY_JSON, max_size=8))
def test_any_events_are_a_stream_or_a_typed_error(events: list[Any]) -> None:
    """No sequence of events makes anything but stream events or a ProviderError."""
    stream = MessageStream(ToolNames(128))
    heard: list[StreamEvent] = []
    try:
        for event in events:
            heard += stream.feed(json.dumps(event))
        heard.append(stream.end())
    except ProviderError as error:
        assert error.provider == "anthropic"
    assert sum(isinstance(event, StreamDone) for event in heard) <= 1


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("pause_turn", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("invented_tomorrow", "error"),
    ],
)
def test_why_it_stopped(reason: str, finish: str) -> None:
    """Each of the vendor's words has ours; an unknown one is kept and called an error."""
    response = whole(
        message(stop_reason=reason), ToolNames(128), origin=Origin("anthropic", request_id="req_1")
    )
    assert response.finish_reason == finish
    assert response.metadata == {"finish_reason": reason, "request_id": "req_1"}


def test_usage_that_is_not_said_is_not_made_up() -> None:
    """Without a count there is none, and odd ones are not believed."""
    assert whole(message(usage=None), ToolNames(128)).usage == {}
    counts = {"input_tokens": -1, "output_tokens": "many", "cache_read_input_tokens": True}
    assert whole(message(usage=counts), ToolNames(128)).usage == {}


@pytest.mark.parametrize("given", ["{", "[1]", '"x"', '{"a": NaN}', "[" * 3000])
def test_arguments_that_cannot_be_used(given: str) -> None:
    """They are kept as written, and the call is marked."""
    stream = MessageStream(ToolNames(128))
    block = {"type": "tool_use", "id": "t", "name": "now", "input": {}}
    list(stream.feed(json.dumps({"type": "content_block_start", "index": 0, "content_block": block})))
    delta = {"type": "input_json_delta", "partial_json": given}
    list(stream.feed(json.dumps({"type": "content_block_delta", "index": 0, "delta": delta})))
    (call,) = stream.feed(json.dumps({"type": "content_block_stop", "index": 0}))
    assert isinstance(call, StreamToolCall)
    assert call.invalid
    assert call.arguments == {"raw": given}


def test_a_block_without_deltas_is_read_from_its_start() -> None:
    """Redacted thinking, and a call without streamed arguments, are there from the beginning."""
    stream = MessageStream(ToolNames(128))
    blocks: list[dict[str, Any]] = [
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "tool_use", "id": "t", "name": "now", "input": {"zone": "UTC"}},
    ]
    heard: list[StreamEvent] = []
    for index, block in enumerate(blocks):
        start = {"type": "content_block_start", "index": index, "content_block": block}
        heard += stream.feed(json.dumps(start))
        heard += stream.feed(json.dumps({"type": "content_block_stop", "index": index}))
    assert heard == [
        StreamThinkingDelta("", redacted_data="xyz"),
        StreamToolCall("t", "now", {"zone": "UTC"}),
    ]


def test_an_error_inside_a_stream_is_classified() -> None:
    """The vendor's type decides, for the status was 200."""
    event = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    with pytest.raises(ProviderError) as caught:
        list(MessageStream(ToolNames(128)).feed(json.dumps(event)))
    assert caught.value.error_code is ErrorCode.OVERLOADED
    assert caught.value.retryable


def test_a_call_without_end_is_ended() -> None:
    stream = MessageStream(ToolNames(128))
    block = {"type": "tool_use", "id": "t", "name": "now", "input": {}}
    list(stream.feed(json.dumps({"type": "content_block_start", "index": 0, "content_block": block})))
    delta = {"type": "input_json_delta", "partial_json": "a" * 1_000_000}
    event = json.dumps({"type": "content_block_delta", "index": 0, "delta": delta})
    with pytest.raises(ProviderError, match="more than 8388608 characters"):
        list(chain.from_iterable(map(stream.feed, [event] * 10)))
