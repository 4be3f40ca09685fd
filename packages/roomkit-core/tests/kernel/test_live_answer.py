"""One answer and what its recipients read of it, by iterating and by being called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import pytest

from roomkit.abc.text_stream import TextStream, text_stream_of
from roomkit.kernel.flow.live_answer import LiveAnswer, LiveRecipient
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import TextContent, text_of
from roomkit.models.enums import ChannelType
from roomkit.models.event import EventSource, RoomEvent

pytestmark = pytest.mark.virtual_time

READER: ContextVar[str] = ContextVar("READER", default="the agent")


async def iterated(stream: TextStream, take: Callable[[str], object]) -> None:
    async for piece in stream:
        take(piece)


async def called(stream: TextStream, take: Callable[[str], object]) -> None:
    await stream.each(take)


@pytest.fixture(params=[iterated, called])
def read(request: pytest.FixtureRequest) -> Any:
    return request.param


@pytest.fixture
def answer() -> LiveAnswer:
    return LiveAnswer("e1")


@pytest.fixture
def recipient(answer: LiveAnswer) -> LiveRecipient:
    binding = ChannelBinding(channel_id="ws", room_id="r1", channel_type=ChannelType.WEBSOCKET)
    return LiveRecipient(answer, type("Target", (), {"binding": binding})())


async def settled() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def test_what_one_step_of_the_loop_releases_is_one_piece(read, answer, recipient):
    pieces: list[str] = []
    answer.release("be")
    answer.release("fore ")
    reading = asyncio.create_task(read(recipient, pieces.append))
    await settled()
    answer.release("a")
    answer.release("b")
    assert pieces == ["before "]
    await settled()
    answer.release("c")
    await settled()
    answer.release("d")
    answer.end()
    await reading
    assert pieces == ["before ", "ab", "c", "d"]


async def test_an_answer_that_is_over_is_read_whole(read, answer, recipient):
    pieces: list[str] = []
    answer.release("all of it")
    answer.end()
    await read(recipient, pieces.append)
    assert pieces == ["all of it"]


async def test_the_failure_of_the_answer_comes_after_its_text(read, answer, recipient):
    pieces: list[str] = []
    reading = asyncio.create_task(read(recipient, pieces.append))
    await settled()
    answer.release("half")
    answer.end(failure := ValueError("the model broke"))
    with pytest.raises(ValueError, match="broke") as caught:
        await reading
    assert caught.value is failure
    assert recipient.broke_off(caught.value)
    assert pieces == ["half"]


async def test_an_excluded_recipient_reads_nothing_more(read, answer, recipient):
    pieces: list[str] = []
    reading = asyncio.create_task(read(recipient, pieces.append))
    await settled()
    answer.release("for all, ")
    recipient.exclude()
    answer.release("for some")
    await reading
    assert pieces == ["for all, "]


async def test_what_a_reader_raises_ends_its_reading_and_no_other(read, answer, recipient):
    def broken(piece: str) -> None:
        seen.append(piece)
        raise ConnectionResetError("the socket is gone")

    seen: list[str] = []
    pieces: list[str] = []
    other = LiveRecipient(answer, recipient.target)
    reading = asyncio.create_task(read(recipient, broken))
    well = asyncio.create_task(read(other, pieces.append))
    await settled()
    for text in "abc":
        answer.release(text)
        await settled()
    with pytest.raises(ConnectionResetError):
        await reading
    assert not recipient.broke_off(ConnectionResetError())
    answer.end()
    await well
    assert (seen, pieces) == (["a"], ["a", "b", "c"])


async def test_a_cancelled_reader_is_not_called_any_more(read, answer, recipient):
    pieces: list[str] = []
    reading = asyncio.create_task(read(recipient, pieces.append))
    await settled()
    answer.release("a")
    await settled()
    reading.cancel()
    await asyncio.wait([reading])
    answer.release("b")
    await settled()
    assert pieces == ["a"]


async def test_text_that_was_released_in_the_step_of_the_cancellation_is_not_shown_after_it(
    answer, recipient
):
    pieces: list[str] = []
    reading = asyncio.create_task(called(recipient, pieces.append))
    await settled()
    reading.cancel()
    answer.release("late")  # due at the next turn of the loop, in which the reading ends first
    await asyncio.wait([reading])
    seen = list(pieces)
    await settled()
    assert pieces == seen == []


async def test_a_reader_is_called_in_its_own_context(read, answer, recipient):
    readers: list[str] = []

    async def reading() -> None:
        READER.set("the reader")
        await read(recipient, lambda piece: readers.append(READER.get()))

    task = asyncio.create_task(reading())
    await settled()
    answer.release("a")
    await settled()
    answer.release("b")
    answer.end()
    await task
    assert readers == ["the reader", "the reader"]
    assert READER.get() == "the agent"


async def test_a_recipient_that_reads_makes_progress(read, answer, recipient):
    reading = asyncio.create_task(read(recipient, len))
    await settled()
    await asyncio.sleep(5)
    answer.release("a")
    await settled()
    assert recipient.moved_at == asyncio.get_running_loop().time()
    answer.end()
    await reading


async def test_plain_strings_are_read_the_same(read):
    pieces: list[str] = []
    source = EventSource(channel_id="agent", channel_type=ChannelType.AI)
    planned = RoomEvent(room_id="r1", source=source, content=TextContent(body=""))
    stream = text_stream_of(["one ", "two"], planned)
    await read(stream, pieces.append)
    event = await stream.turn()
    assert pieces == ["one ", "two"]
    assert event is not None
    assert text_of(event.content) == "one two"
