"""Answers: whatever comes, it becomes our models or a typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit_plugins.mistral.answer import ChatStream
from roomkit_plugins.mistral.wire import MistralRequest, signature
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.tools import ToolNames

FIELDS = [
    "choices", "delta", "content", "type", "text", "thinking", "signature", "closed", "tool_calls",
    "function", "name", "arguments", "id", "index", "finish_reason", "usage", "error", "object",
]  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)


def heard(*chunks: object, ids: tuple[str, ...] = ()) -> list[StreamEvent]:
    stream = ChatStream(MistralRequest({}, ToolNames(64), frozenset(ids), ()))
    events = [event for chunk in chunks for event in stream.feed(json.dumps(chunk))]
    return [*events, stream.end()]


def chunk(finish: str | None = None, usage: object = None, **delta: Any) -> dict[str, Any]:
    return {"choices": [{"delta": delta, "finish_reason": finish}], "usage": usage}


def thinking(text: str, **fields: Any) -> list[dict[str, Any]]:
    return [{"type": "thinking", "thinking": [{"type": "text", "text": text}], **fields}]


def test_thoughts_end_where_the_vendor_ends_them() -> None:
    """By a signature, by saying that it is closed, or by the next chunk; each is marked as Mistral's."""
    events = heard(
        chunk(content=thinking("a")),
        chunk(content=thinking("b", signature="s")),
        chunk(content=thinking("c", closed=True)),
        chunk(content=thinking("d")),
        chunk(content="Hi"),
        chunk(content=thinking("e"), finish="stop"),
    )
    end = StreamThinkingDelta("", signature(""))
    assert events[:-1] == [
        StreamThinkingDelta("a"),
        StreamThinkingDelta("b"),
        StreamThinkingDelta("", signature("s")),
        StreamThinkingDelta("c"),
        end,
        StreamThinkingDelta("d"),
        end,
        StreamTextDelta("Hi"),
        StreamThinkingDelta("e"),
        end,
    ]


def test_ids_of_calls_are_unique_in_the_conversation() -> None:
    """A server that gives none, or one that is there, gets one made up."""
    made = [
        {"id": each, "index": at, "function": {"name": "now", "arguments": {}}}
        for at, each in enumerate(["a", "null", None, "old"])
    ]
    events = heard(chunk(tool_calls=made, finish="stop"), ids=("old",))
    calls = [event for event in events if isinstance(event, StreamToolCall)]
    assert calls[0].id == "a"
    assert len({call.id for call in calls} | {"old", "null"}) == 6
    done = events[-1]
    assert isinstance(done, StreamDone)
    assert done.finish_reason == "tool_calls"


@pytest.mark.parametrize(
    ("reason", "finish"),
    [("length", "length"), ("model_length", "length"), ("error", "error"), ("x", "error")],
)
def test_why_it_stopped(reason: str, finish: str) -> None:
    """The vendor's word stays in the metadata."""
    done = heard(chunk(finish=reason))[-1]
    assert isinstance(done, StreamDone)
    assert (done.finish_reason, done.metadata["finish_reason"]) == (finish, reason)


def test_tokens_read_from_a_cache_are_counted_apart() -> None:
    """Also when they come in an event of their own, after the end."""
    counts = {"prompt_tokens": 100, "completion_tokens": 6, "total_tokens": 106}
    last = {"choices": [], "usage": {**counts, "prompt_tokens_details": {"cached_tokens": 90}}}
    done = heard(chunk(finish="stop"), last)[-1]
    assert isinstance(done, StreamDone)
    assert done.usage == {
        "input_tokens": 10,
        "output_tokens": 6,
        "cache_read_input_tokens": 90,
        "total_tokens": 106,
    }


def test_calls_without_end_are_refused() -> None:
    """No stream fills the memory."""
    call = {"index": 0, "function": {"name": "now", "arguments": "x" * 1_000_000}}
    with pytest.raises(ProviderError, match="more than 8388608 characters") as caught:
        heard(*[chunk(tool_calls=[call])] * 9)
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE


@examples(60)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=5), max_size=3))
def test_anything_is_read_or_refused(chunks: list[dict[str, Any]]) -> None:
    """No answer of any shape raises anything but a typed error."""
    try:
        assert isinstance(heard(*chunks)[-1], StreamDone)
    except ProviderError as error:
        assert error.provider == "mistral"
