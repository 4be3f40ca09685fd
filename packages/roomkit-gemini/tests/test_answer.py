"""Answers: whatever comes, it becomes our models or a typed error."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.ai import StreamDone, StreamEvent, StreamTextDelta, StreamThinkingDelta, StreamToolCall
from roomkit_plugins.gemini.answer import ContentStream
from roomkit_plugins.gemini.wire import GeminiRequest, signature, signature_of_text
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.tools import ToolNames

FIELDS = [
    "candidates", "content", "parts", "text", "thought", "thoughtSignature", "functionCall", "name", "args",
    "id", "finishReason", "usageMetadata", "promptFeedback", "blockReason", "error",
]  # fmt: skip
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=12,
)


def heard(*chunks: object, ids: tuple[str, ...] = ()) -> list[StreamEvent]:
    request = GeminiRequest([], {}, ToolNames(64), frozenset(ids), ())
    stream = ContentStream(request)
    events = [event for chunk in chunks for event in stream.feed(json.dumps(chunk))]
    return [*events, stream.end()]


def chunk(*parts: dict[str, Any], finish: str | None = "STOP", **fields: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": list(parts)}, "finishReason": finish}], **fields}


def test_signatures_stay_with_what_they_sign() -> None:
    """A call's in its metadata, a thought's and a text's as thinking, each marked as Gemini's."""
    events = heard(
        chunk({"text": "Hm.", "thought": True, "thoughtSignature": "dGg="}, finish=None),
        chunk({"text": "Hi", "thoughtSignature": "dHg="}, finish=None),
        chunk({"functionCall": {"name": "now"}, "thoughtSignature": "Y2E="}),
    )
    thought, text, sign, call, done = events
    assert thought == StreamThinkingDelta("Hm.", signature("dGg="))
    assert text == StreamTextDelta("Hi")
    assert sign == StreamThinkingDelta("", signature_of_text("dHg="))
    assert isinstance(call, StreamToolCall)
    assert (call.arguments, call.metadata) == ({}, {"thought_signature": "Y2E="})
    assert isinstance(done, StreamDone)
    assert done.finish_reason == "tool_calls"


def test_ids_of_calls_are_unique_in_the_conversation() -> None:
    """A server that gives none, or one that is there, gets one made up."""
    made = [{"functionCall": {"id": each, "name": "now"}} for each in ("a", "a", None, "old")]
    calls = [event for event in heard(chunk(*made), ids=("old",)) if isinstance(event, StreamToolCall)]
    assert calls[0].id == "a"
    assert len({call.id for call in calls} | {"old"}) == 5


def test_the_last_usage_counts() -> None:
    """Tokens are counted up in a stream; the prompt's include those read from a cache."""
    usage = {
        "promptTokenCount": 100,
        "cachedContentTokenCount": 90,
        "candidatesTokenCount": 2,
        "thoughtsTokenCount": 4,
        "totalTokenCount": 106,
    }
    first = chunk({"text": "a"}, finish=None, usageMetadata={"promptTokenCount": 100})
    done = heard(first, chunk({"text": "b"}, usageMetadata=usage))[-1]
    assert isinstance(done, StreamDone)
    assert done.usage == {
        "input_tokens": 10,
        "output_tokens": 6,
        "cache_read_input_tokens": 90,
        "reasoning_tokens": 4,
        "total_tokens": 106,
    }


@pytest.mark.parametrize(
    ("last", "finish"),
    [
        (chunk(finish="MAX_TOKENS"), "length"),
        (chunk(finish="SAFETY"), "content_filter"),
        (chunk(finish="SPII"), "content_filter"),
        (chunk(finish="MALFORMED_FUNCTION_CALL"), "error"),
        (chunk(finish="MISSING_THOUGHT_SIGNATURE"), "error"),
        (chunk(finish="SOMETHING_NEW"), "error"),
        ({"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}}, "content_filter"),
    ],
)
def test_why_it_stopped(last: dict[str, Any], finish: str) -> None:
    """A blocked prompt has no candidate at all, and is an answer all the same."""
    (done,) = heard(last)
    assert isinstance(done, StreamDone)
    assert done.finish_reason == finish
    assert done.metadata["finish_reason"]


def test_calls_without_end_are_refused() -> None:
    part = {"functionCall": {"name": "now", "args": {"x": "y" * 1_000_000}}}
    with pytest.raises(ProviderError, match="more than 8388608 characters") as caught:
        heard(*[chunk(part, finish=None)] * 9)
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE


@examples(60)
@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), ANY_JSON, max_size=5), max_size=3))
def test_anything_is_read_or_refused(chunks: list[dict[str, Any]]) -> None:
    """No answer of any shape raises anything but a typed error."""
    try:
        assert isinstance(heard(*chunks)[-1], StreamDone)
    except ProviderError as error:
        assert error.provider == "gemini"
