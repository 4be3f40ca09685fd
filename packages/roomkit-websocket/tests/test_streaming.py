"""Answers that are shown while they are generated."""

from __future__ import annotations

import asyncio
import json

import pytest

from roomkit.abc.errors import ProviderError
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit_plugins.testing import ScriptedIntelligence
from roomkit_plugins.websocket import StreamChunk

pytestmark = pytest.mark.virtual_time


async def test_an_answer_is_start_chunks_and_end(stage):
    """The pieces come as they are said; the end has the committed event."""
    wire = stage.join("c1", streaming=True)
    answer = stage.answer("Hello world")
    await answer.say("Hello ", "world")
    assert wire.kinds == ["stream_start", "stream_chunk", "stream_chunk"]
    assert (await answer.finish()).state is DeliveryState.SENT
    start, first, second, end = wire.stream
    assert (start.event_id, start.stream_id, start.source) == (answer.event.id,) * 2 + (answer.event.source,)
    assert (first.delta, second.delta) == ("Hello ", "world")
    assert end.event is answer.event
    assert {frame.stream_id for frame in wire.stream} == {answer.event.id}
    assert {frame.room_id for frame in wire.stream} == {"room"}


async def test_the_frames_are_json_once(stage):
    """Encoded at first use, and the same bytes for everybody."""
    wires = [stage.join(f"c{number}", streaming=True) for number in range(2)]
    answer = stage.answer("Hello")
    await answer.say("Hé\u2028llo")
    await answer.finish()
    for mine, yours in zip(wires[0].stream, wires[1].stream, strict=True):
        assert mine is yours
        assert mine.json_bytes is yours.json_bytes
    documents = [json.loads(frame.json_bytes) for frame in wires[0].stream]
    assert [sorted(document) for document in documents] == [
        ["event_id", "room_id", "source", "stream_id", "type"],
        ["delta", "room_id", "stream_id", "type"],
        ["event", "room_id", "stream_id", "type"],
    ]
    assert documents[1]["delta"] == "Hé\u2028llo"
    assert documents[2]["event"]["id"] == answer.event.id


async def test_bytes_grow_with_the_text_and_not_with_its_square(stage):
    wire = stage.join("c1", streaming=True)
    sizes = []
    for pieces in (100, 200):
        answer = stage.answer("x")
        for _ in range(pieces):
            answer.words.say("word ")
            await stage.turns(2)
        await answer.finish()
        sizes.append(sum(len(frame.json_bytes) for frame in wire.stream))
        wire.frames.clear()
    assert sizes[1] < 2.1 * sizes[0]


async def test_a_connection_that_does_not_stream_gets_the_event_alone(stage):
    """Once, when it is committed, in its place among the others."""
    streaming, plain = stage.join("c1", streaming=True), stage.join("c2")
    answer = stage.answer("Hello")
    await answer.say("Hel", "lo")
    assert plain.frames == []
    await answer.finish()
    assert plain.frames == [answer.event]
    assert streaming.kinds[-1] == "stream_end"


async def test_streaming_is_asked_for_by_room(stage):
    """One room's connections may stream while another's do not."""
    stage.join("c1", "first", streaming=True)
    stage.join("c2", "second")
    assert stage.channel.can_stream(stage.bound("first"))
    assert not stage.channel.can_stream(stage.bound("second"))
    assert stage.channel.supports_streaming_delivery


async def test_who_joins_late_gets_the_text_so_far(stage):
    """A start and one chunk, then the rest as it comes: nothing twice, nothing missing."""
    stage.join("c1", streaming=True)
    answer = stage.answer("Hello there world")
    await answer.say("Hello ", "there ")
    late = stage.join("c2", streaming=True)
    other = stage.join("c3", "elsewhere", streaming=True)
    await answer.say("world")
    await answer.finish()
    assert late.kinds == ["stream_start", "stream_chunk", "stream_chunk", "stream_end"]
    assert late.streamed_text == "Hello there world"
    assert other.frames == []


@pytest.mark.parametrize("way", ["subscribe", "follow", "replace"])
async def test_there_are_other_ways_to_join_late(stage, way):
    """By subscribing, by following a channel that comes to have one room, by taking a connection over."""
    stage.join("c1", streaming=True)
    await stage.attach("room", "other")
    rooms = {"subscribe": "other", "follow": None, "replace": "room"}
    late = stage.join("c2", rooms[way], participant_id="ann", streaming=True)
    answer = stage.answer("Hello")
    await answer.say("Hello")
    if way == "subscribe":
        stage.channel.subscribe("c2", "room")
    elif way == "follow":
        await stage.detach("other")
    else:
        late = stage.join("c2", participant_id="ann", streaming=True)
    await answer.finish()
    assert late.kinds == ["stream_start", "stream_chunk", "stream_end"]


async def test_a_slow_connection_gets_what_it_missed_as_one_piece(stage):
    """Three hundred pieces are one frame in its backlog of ten; the others get them one by one."""
    slow, quick = stage.join("c1", streaming=True), stage.join("c2", streaming=True)
    slow.open.clear()
    answer = stage.answer("x" * 300)
    await answer.say(*"x" * 300)
    assert quick.streamed_text == "x" * 300
    slow.open.set()
    await answer.finish()
    await stage.turns()
    assert slow.streamed_text == "x" * 300
    assert len([frame for frame in slow.stream if isinstance(frame, StreamChunk)]) == 1
    assert slow.kinds[-1] == "stream_end"
    assert stage.evicted.reasons == []


async def test_an_answer_that_fails_ends_in_an_error_without_the_vendors_words(stage):
    """A stable code; the error itself goes to the kernel."""
    wire = stage.join("c1", streaming=True)
    answer = stage.answer(error=ProviderError("sk-secret: quota exceeded at vendor"))
    answer.words.committed = None
    await answer.say("Hel")
    with pytest.raises(ProviderError):
        await answer.finish()
    assert wire.kinds == ["stream_start", "stream_chunk", "stream_error"]
    assert wire.stream[-1].error == "answer_failed"
    assert b"quota" not in wire.stream[-1].json_bytes


async def test_an_answer_that_broke_off_ends_with_what_was_committed(stage):
    """For those that stream and those that do not."""
    wire, plain = stage.join("c1", streaming=True), stage.join("c2")
    answer = stage.answer("Hel", error=ProviderError("boom"))
    await answer.say("Hel")
    with pytest.raises(ProviderError):
        await answer.finish()
    assert wire.kinds == ["stream_start", "stream_chunk", "stream_end"]
    assert plain.texts == ["Hel"]


async def test_an_answer_of_which_nothing_was_let_through_ends_in_an_error(stage):
    wire = stage.join("c1", streaming=True)
    answer = stage.answer()
    answer.words.committed = None
    output = await answer.finish()
    assert wire.stream[-1].error == "answer_withheld"
    assert (output.state, output.skip_reason) == (DeliveryState.SKIPPED, "nothing_committed")


async def test_an_answer_that_is_cut_short_ends_in_an_error(stage):
    wire = stage.join("c1", streaming=True)
    answer = stage.answer()
    await answer.say("Hel")
    answer.task.cancel()
    await asyncio.wait((answer.task,))
    assert wire.stream[-1].error == "answer_cancelled"
    assert not stage.channel._live


async def test_an_answer_to_a_room_that_emptied_is_skipped(stage):
    stage.join("c1", streaming=True)
    answer = stage.answer("Hello")
    await answer.say("Hello")
    stage.channel.unregister_connection("c1")
    assert (await answer.finish()).skip_reason == "no_connections"


async def test_an_agents_answer_streams_through_a_kit(stage):
    """The frames carry the identity the committed event has, and the ledger says sent."""
    kit = stage.kit
    kit.register_channel(ScriptedIntelligence("agent", ["one two three"], streaming=True, word_delay=1.0))
    await kit.create_room("room")
    await kit.attach_channel("room", "ws")
    await kit.attach_channel("room", "agent")
    wire = stage.join("c1", participant_id="alice", streaming=True)
    message = InboundMessage(
        channel_id="ws", sender_id="alice", content=TextContent(body="count"), connection_id="c1"
    )
    await kit.process_inbound(message, room_id="room")
    stored = (await kit.get_timeline("room"))[-1]
    assert wire.kinds == ["stream_start", *["stream_chunk"] * 3, "stream_end"]
    assert wire.stream[-1].event == stored
    assert stored.index >= 0
    assert {frame.stream_id for frame in wire.stream} == {stored.id}
    (row,) = await kit.list_deliveries("room", event_id=stored.id)
    assert (row.channel_id, row.state) == ("ws", DeliveryState.SENT)
