"""Characters that a stream cuts in two, and halves that stay alone."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.models.ai import (
    StreamDone,
    StreamEvent,
    StreamTextDelta,
    StreamThinkingDelta,
    StreamToolCall,
)
from roomkit_plugins.testing.contracts.strategies import examples
from roomkit_plugins.wire.halves import joined, repaired_json
from roomkit_plugins.wire.reading import json_value

HIGH, LOW = "\ud83d", "\ude00"
UNITS = st.lists(st.sampled_from([HIGH, LOW, "a", "é", "😀"]), max_size=8)


def whole(text: str) -> str:
    """Return what Python itself makes of the same UTF-16 units."""
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def said(events: list[StreamEvent]) -> tuple[str, str]:
    heard = list(joined([*events, StreamDone()]))
    return (
        "".join(event.text for event in heard if isinstance(event, StreamTextDelta)),
        "".join(event.thinking for event in heard if isinstance(event, StreamThinkingDelta)),
    )


@examples(40)
@given(UNITS, UNITS)
def test_however_a_text_is_cut_it_is_the_same_text(thought: list[str], text: list[str]) -> None:
    events = [*map(StreamThinkingDelta, thought), *map(StreamTextDelta, text)]
    assert said(events) == (whole("".join(text)), whole("".join(thought)))


def test_a_half_does_not_wait_past_the_end_of_its_block() -> None:
    """Neither for text behind a thought, nor for a call, nor for the next thought."""
    call = StreamToolCall("a", "now")
    heard = list(joined([StreamThinkingDelta(HIGH), StreamTextDelta(LOW), StreamTextDelta(HIGH), call]))
    assert heard == [
        StreamThinkingDelta("\ufffd"),
        StreamTextDelta("\ufffd"),
        StreamTextDelta("\ufffd"),
        call,
    ]
    signed = StreamThinkingDelta(HIGH, signature="s")
    assert list(joined([signed, StreamThinkingDelta(LOW)])) == [
        StreamThinkingDelta("\ufffd", signature="s"),
        StreamThinkingDelta("\ufffd"),
    ]


def test_a_call_is_repaired() -> None:
    """Its id and its name are one piece each."""
    (call,) = joined([StreamToolCall(HIGH, f"now{LOW}")])
    assert call == StreamToolCall("\ufffd", "now\ufffd")


def test_json_values_are_repaired_at_any_depth() -> None:
    assert repaired_json({f"k{HIGH}": [1, None, {"a": HIGH + LOW}]}) == {"k\ufffd": [1, None, {"a": "😀"}]}


@pytest.mark.parametrize("data", ['{"a": "\\ud83d"}', b'{"a": "\\uD83D"}'])
def test_json_with_a_half_is_read(data: str | bytes) -> None:
    """As text or bytes, for its neighbour may hold the other half."""
    assert json_value(data) == {"a": HIGH}


@pytest.mark.parametrize(
    "data", ['{"a": "\\ud83d"', '["\\ud83d", NaN]', '"\\ud83d"' + "[" * 100_000, '"\\u00"']
)
def test_other_broken_json_stays_broken(data: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - the contract says no more
        json_value(data, strict=True)


def test_numbers_that_are_none_are_read_unless_it_is_strict() -> None:
    """Servers send them as logarithms of probabilities."""
    assert json.dumps(json_value('["\\ud83d", -Infinity]')) == '["\\ud83d", -Infinity]'
