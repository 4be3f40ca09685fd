"""Server-sent events: however the network cuts them, they are the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.testing.contracts.strategies import PROPERTY
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.sse import SSEDecoder

ORIGIN = Origin("acme", "Acme", "req_1")


@PROPERTY
@given(
    st.lists(st.text(alphabet="aé\u2028 {}☕", min_size=1, max_size=9), max_size=5),
    st.sampled_from(["\n", "\r\n"]),
    st.data(),
)
def test_events_survive_any_cut(datas: list[str], ending: str, data: st.DataObject) -> None:
    """With either line ending, among comments and named events."""
    wire = "".join(
        f": comment{ending}event: x{ending}data: {text}{ending}{ending}" for text in datas
    ).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    decoder = SSEDecoder(ORIGIN)
    pieces = [wire[start:end] for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True)]
    assert [text for piece in pieces for text in decoder.feed(piece)] == datas


def test_lines_of_one_event_are_joined() -> None:
    """And an event without data is none."""
    assert list(SSEDecoder(ORIGIN).feed(b"data: a\ndata:b\n\nevent: ping\n\n")) == ["a\nb"]


@pytest.mark.parametrize(
    "chunks",
    [[b"data: \xff\n\n"], [b"data: 123456789"], [b"data: 12", b"3456789"], [b"data: 123456\ndata: 789012\n"]],
    ids=["not UTF-8", "a long line", "a long line in pieces", "many lines"],
)
def test_what_is_no_event_is_a_typed_error(monkeypatch: pytest.MonkeyPatch, chunks: list[bytes]) -> None:
    """A line or an event without end does not fill the memory."""
    monkeypatch.setattr("roomkit_plugins.wire.sse._LONGEST", 10)
    decoder = SSEDecoder(ORIGIN)
    with pytest.raises(ProviderError, match="Acme's answer cannot be read") as caught:
        [text for chunk in chunks for text in decoder.feed(chunk)]
    assert caught.value.error_code is ErrorCode.BAD_RESPONSE
    assert caught.value.request_id == "req_1"
