"""Events that are longer than a source takes."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from roomkit import InMemoryStore, RoomKit
from roomkit.models import TextContent
from roomkit.sources import SSESource
from roomkit_plugins.sources.bounded import OVERSIZED, EventBound
from roomkit_plugins.sources.sse import _LARGEST_EVENT
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.contracts.source import Emitted, running

from .servers import EventServer, said

MOST = 40
LINES = st.sampled_from(
    [
        *("", "data: short", "id: 7", "retry: 5", "event: chat", ": comment", "data"),
        *(
            f"data: {'x' * 39}",
            f"data: {'x' * 100}",
            f": {'c' * 100}",
            f"id: {'9' * 100}",
            "data: \u00e9" * 9,
        ),
    ]
)


def passed(text: str, cuts: list[int]) -> str:
    """What is passed on of a text that comes in pieces."""
    bound = EventBound(MOST)
    places = sorted({0, len(text), *(cut % (len(text) + 1) for cut in cuts)})
    return "".join(bound.feed(text[begin:end]) for begin, end in pairwise(places))


@given(lines=st.lists(LINES, max_size=30), cuts=st.lists(st.integers(0, 10_000), max_size=20), data=st.data())
def test_however_a_stream_is_cut_the_same_is_passed_on(
    lines: list[str], cuts: list[int], data: st.DataObject
) -> None:
    """Line ends of all three kinds mean the same; an event within the bound is not touched."""
    end = data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    text = "".join(f"{line}{end}" for line in [*lines, "", "data: last", "", ""])
    whole = passed(text.replace(end, "\n"), [])
    assert passed(text + ("x" if end == "\r" else ""), cuts) == whole
    assert whole.endswith("data: last\n\n\n")


@given(lines=st.lists(LINES, max_size=30))
def test_an_event_is_within_the_bound_or_has_its_size_in_place_of_its_data(lines: list[str]) -> None:
    events = "\n".join(lines).split("\n\n")
    seen = passed("\n\n".join([*events, "", ""]), []).split("\n\n")
    for event in seen:
        size = sum(len(line.encode()) for line in event.split("\n") if not line.startswith(":"))
        assert size <= MOST or f"event: {OVERSIZED}\ndata: " in event
        if OVERSIZED in event:
            assert "xxx" not in event


async def test_a_stream_goes_on_after_an_event_that_is_too_long() -> None:
    """It is reported with its size, and not asked for again."""
    long = f"id: 2\ndata: {'x' * (3 * _LARGEST_EVENT)}\nid: 2\n\n"
    async with EventServer() as events:
        await events.say(said(1))
        await events.say_raw(long, f"id: 3\ndata: {said(3)}\n\n")
        source = SSESource(events.url, "chat")
        emitted = Emitted(expected=2)
        async with running(source, emitted):
            messages = await emitted.all()
            assert len(events.requests) == 1
    assert [text.body for each in messages if isinstance(text := each.content, TextContent)] == [
        "number 1",
        "number 3",
    ]
    assert (await source.healthcheck()).metadata == {"unparsed": 1, "ignored": 0}


async def test_streams_of_one_url_have_a_position_each() -> None:
    """Their parameters tell them apart."""
    async with EventServer() as events, RoomKit(store=InMemoryStore()) as kit:
        kit.register_channel(RecordingChannel("chat"))
        await events.say(said(1), said(2))
        keys = set()
        for topic in ("news", "sport"):
            source = SSESource(events.url, "chat", params={"topic": topic})
            keys.add(source._key)
        assert len(keys) == 2
        assert SSESource(events.url, "chat", params={"topic": "news"})._key in keys
