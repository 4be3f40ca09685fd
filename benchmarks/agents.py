"""What an agent's turn costs beside the model: a reply, tool rounds, a stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from functools import partial
from itertools import cycle, islice
from typing import Any

from pydantic_core import to_json

from benchmarks.floor import HandWritten
from benchmarks.harness import Case, contest
from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.world import ROOM, SENDER, Sink, inbound, kit_of, send
from roomkit.abc.ai import AIProvider
from roomkit.abc.channel import Channel
from roomkit.kernel.kit import RoomKit
from roomkit.models.ai import AITool, AIToolCall, StreamDone, StreamEvent, StreamTextDelta
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelDirection, ChannelType
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.generation import AIContext, AIResponse
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.websocket import WebSocketChannel

__all__ = ["ANSWER", "Agents", "Scripted", "Streaming", "reply", "stream", "stream_of", "tools", "window"]

_BUSY_ROOMS = 100
_FILLING = 26
"""Messages, with their answers, that fill a window of 50 events."""
ANSWER = "It left our warehouse this morning and arrives tomorrow."
DELTA = "parcel "
_BURST = 4


class Scripted(AIProvider):
    """A model that costs nothing: it answers with what it is given, round and round."""

    def __init__(self, *answers: AIResponse) -> None:
        self._answers = cycle(answers or (AIResponse(content=ANSWER, finish_reason="stop"),))

    @property
    def model_name(self) -> str:
        return "scripted"

    async def generate(self, context: AIContext) -> AIResponse:
        return next(self._answers)


class Streaming(Scripted):
    """A model that streams `deltas` pieces.

    The loop turns before each, as it does for a network, or before `burst` of them: what one read brought.
    """

    deltas = 0
    burst = 1

    @property
    def supports_streaming(self) -> bool:
        return True

    @property
    def supports_structured_streaming(self) -> bool:
        return True

    async def generate_structured_stream(self, context: AIContext) -> AsyncIterator[StreamEvent]:
        async for text in stream_of(self.deltas, self.burst):
            yield StreamTextDelta(text)
        yield StreamDone("stop")


async def stream_of(count: int, burst: int = 1) -> AsyncIterator[str]:
    for number in range(count):
        if number % burst == 0:
            await asyncio.sleep(0)
        yield DELTA


class Echo(Channel):
    """The barest intelligence: it answers everything people say."""

    channel_type = ChannelType.AI
    category = ChannelCategory.INTELLIGENCE

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        raise NotImplementedError

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        raise NotImplementedError

    async def on_event(
        self, event: RoomEvent, binding: ChannelBinding, context: RoomContext
    ) -> ChannelOutput:
        source = EventSource(
            channel_id=self.channel_id,
            channel_type=self.channel_type,
            direction=ChannelDirection.OUTBOUND,
        )
        answer = RoomEvent(room_id=event.room_id, source=source, content=TextContent(body=ANSWER))
        return ChannelOutput(responded=True, response_events=[answer])


class Agents:
    """Kits with an agent each, whose rooms can be made new."""

    def __init__(self) -> None:
        self._stack = AsyncExitStack()
        self._rooms = 0

    async def __aenter__(self) -> Agents:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._stack.aclose()

    async def kit(self, agent: Channel | None, sink: Sink | None = None) -> RoomKit:
        """Open a kit whose room has a sender's socket and an agent."""
        kit = await self._stack.enter_async_context(kit_of(0, sink=sink))
        if agent is not None:
            kit.register_channel(agent)
            await kit.attach_channel(ROOM, agent.channel_id)
        return kit

    async def rooms_of_their_own(self, agent: AIChannel, count: int) -> Case:
        """Return the case of messages to so many rooms in turn, whose windows are full.

        Each has a socket channel of its own; all have the agent.
        """
        kit = await self.kit(agent)
        rooms = [(f"own-{number}", f"{ROOM}-own-{number}") for number in range(count)]
        for channel_id, room_id in rooms:
            channel = WebSocketChannel(channel_id)
            kit.register_channel(channel)
            await kit.create_room(room_id=room_id)
            await kit.attach_channel(room_id, channel_id)
            channel.register_connection("sender", Sink().send, room_id=room_id, participant_id=SENDER)
            await kit.attach_channel(room_id, agent.channel_id)
        following = cycle(rooms)

        async def run(items: int) -> None:
            for channel_id, room_id in islice(following, items):
                await kit.process_inbound(inbound(channel_id), room_id=room_id)

        await run(count * _FILLING)
        return Case(run, count)

    def in_new_rooms(self, kit: RoomKit, agents: Sequence[Channel], items: int) -> Case:
        """Return the case of messages that each open the conversation of their room, which has the agents."""
        names: list[str] = []  # bound: items

        async def prepare() -> None:
            names.clear()
            for _ in range(items):
                self._rooms += 1
                names.append(f"{ROOM}-{self._rooms}")
                await kit.create_room(room_id=names[-1])
                await kit.attach_channel(names[-1], "ws0")
                for agent in agents:
                    await kit.attach_channel(names[-1], agent.channel_id)

        async def run(items: int) -> None:
            for name in names:
                await kit.process_inbound(inbound(), room_id=name)

        return Case(run, items, prepare)


async def reply(effort: Effort) -> Findings:
    """A message that an agent answers, the first of its room and after fifty others."""
    items, busy, sink = effort.items(200), effort.items(_BUSY_ROOMS), Sink()

    async def answer() -> str:
        return ANSWER

    async with Agents() as agents:
        agent, echo = AIChannel("agent", Scripted()), Echo("agent")
        with_agent, with_echo = await agents.kit(agent), await agents.kit(echo)
        alone = await agents.kit(None)
        long_talk = await agents.kit(AIChannel("agent", Scripted()))
        await send(long_talk, 30)
        own_rooms = await agents.rooms_of_their_own(AIChannel("agent", Scripted()), busy)
        by_hand = HandWritten([sink.send])
        found = await contest(
            {
                "own": own_rooms,
                "agent": agents.in_new_rooms(with_agent, [agent], items),
                "fifty": Case(partial(send, long_talk), items),
                "echo": Case(partial(send, with_echo), items),
                "alone": Case(partial(send, alone), items),
                "floor": Case(lambda items: by_hand.replies(items, answer), items),
            },
            effort.rounds(40),
        )
    floor = found["floor"].best
    return Findings(
        [
            Figure("message and its answer by an agent, new room", found["agent"].best, "µs", floor, 110.0),
            Figure(
                "message and its answer by an agent that reads 50 messages",
                found["fifty"].best,
                "µs",
                floor,
                110.0,
            ),
            Figure(
                "the same, rooms with a channel each in turn",
                found["own"].best,
                "µs",
                floor,
                110.0,
            ),
            Figure("message and its answer by a bare intelligence", found["echo"].best, "µs", floor),
            Figure("message without an answer", found["alone"].best),
        ]
    )


async def tools(effort: Effort) -> Findings:
    """A message whose answer takes two rounds of tool calls."""
    items, busy, sink = effort.items(100), effort.items(_BUSY_ROOMS), Sink()

    def asks(number: int) -> AIResponse:
        call = AIToolCall(id=f"call-{number}", name="track", arguments={"parcel": number})
        return AIResponse(content="", finish_reason="tool_calls", tool_calls=[call])

    script = (asks(1), asks(2), AIResponse(content=ANSWER, finish_reason="stop"))
    tool = AITool(
        name="track",
        description="Where a parcel is.",
        parameters={"type": "object", "properties": {"parcel": {"type": "integer"}}, "required": ["parcel"]},
    )

    async def track(name: str, arguments: dict[str, Any]) -> str:
        return "on its way"

    model = Scripted(*script)

    async def answer() -> str:
        for _ in range(2):
            response = await model.generate(AIContext(messages=[]))
            for call in response.tool_calls:
                await track(call.name, dict(call.arguments))
        return (await model.generate(AIContext(messages=[]))).content

    async with Agents() as agents:

        def new_agent() -> AIChannel:
            return AIChannel("agent", Scripted(*script), tools=[(tool, track)])

        agent = new_agent()
        kit, by_hand = await agents.kit(agent), HandWritten([sink.send])
        long_talk = await agents.kit(new_agent())
        await send(long_talk, 30)
        observed, kept = await agents.kit(new_agent()), list[EphemeralEvent]()  # bound: a round
        await send(observed, 30)

        async def keep(event: EphemeralEvent) -> None:
            kept.append(event)

        async def forget() -> None:
            kept.clear()

        await observed.subscribe_room(ROOM, keep)
        own_rooms = await agents.rooms_of_their_own(new_agent(), busy)
        found = await contest(
            {
                "fifty": Case(partial(send, long_talk), items),
                "observed": Case(partial(send, observed), items, forget),
                "own": own_rooms,
                "tools": agents.in_new_rooms(kit, [agent], items),
                "floor": Case(lambda items: by_hand.replies(items, answer), items),
            },
            effort.rounds(40),
        )
    named = {
        "tools": "message and its answer after two tool rounds, new room",
        "fifty": "message and its answer after two tool rounds, with 50 messages",
        "observed": "the same, its tool events kept by an observer",
        "own": "the same, rooms with a channel each in turn",
    }
    floor = found["floor"].best
    return Findings([Figure(name, found[case].best, "µs", floor, 250.0) for case, name in named.items()])


async def window(effort: Effort) -> Findings:
    """A message and its answer, by how many events the agent reads; all windows are full."""
    sizes = effort.sizes(1, 10, 50, 200)
    async with Agents() as agents:
        cases = {}
        for size in sizes:
            kit = await agents.kit(AIChannel("agent", Scripted(), max_context_events=size))
            await send(kit, size // 2 + 1)
            cases[f"{size}"] = Case(partial(send, kit), effort.items(100))
        found = await contest(cases, effort.rounds(20))
    points = [(float(size), found[f"{size}"].best) for size in sizes]
    added = (points[-1][1] - points[0][1]) / max(1, sizes[-1] - sizes[0])
    return Findings(
        [Figure("each further event that an agent reads adds", added)],
        [Curve("window", "events that the agent reads", "µs of CPU per message", {"RoomKit": points})],
    )


async def stream(effort: Effort) -> Findings:
    """A streamed answer: what a delta costs, and how many bytes it makes of a text."""
    sizes = effort.sizes(0, 10, 1_000, 3_000, 10_000)
    sink, model = Sink(), Streaming()

    async def streamed(kit: RoomKit, deltas: int, items: int, burst: int = 1) -> None:
        model.deltas, model.burst = deltas, burst
        await send(kit, items)

    async def by_hand(deltas: int, items: int, burst: int = 1) -> None:
        for _ in range(items):
            async for text in stream_of(deltas, burst):
                frame = to_json(
                    {"type": "stream_chunk", "room_id": ROOM, "stream_id": "0" * 32, "delta": text}
                )
                await write("socket", frame)

    async def write(connection_id: str, frame: bytes) -> None:
        sink.bytes += len(frame)

    async with kit_of(0) as kit:
        channel = kit.get_channel("ws0")
        assert isinstance(channel, WebSocketChannel)
        channel.register_connection(
            "watcher", sink.send, stream_send_fn=sink.send_frame, room_id=ROOM, participant_id="bob"
        )
        kit.register_channel(AIChannel("agent", model, max_context_events=1))
        await kit.attach_channel(ROOM, "agent")
        written: list[tuple[float, float]] = []  # bound: sizes
        for size in sizes:
            before = sink.bytes
            await streamed(kit, size, 1)
            written.append((size * len(DELTA), sink.bytes - before))
        cases = {
            f"{size}": Case(partial(streamed, kit, size), max(1, effort.items(3000) // (size + 10)))
            for size in sizes
        }
        cases["floor"] = Case(partial(by_hand, sizes[-1]), 1)
        cases["bursts"] = Case(partial(streamed, kit, sizes[-1], burst=_BURST), 1)
        cases["floor of bursts"] = Case(partial(by_hand, sizes[-1], burst=_BURST), 1)
        found = await contest(cases, effort.rounds(25))
    most = sizes[-1]
    in_bursts = (found["bursts"].best - found[f"{sizes[0]}"].best) / most
    per_delta = (found[f"{sizes[-1]}"].best - found[f"{sizes[0]}"].best) / most
    (_, start), (shorter, less), (text, sent) = written[0], written[len(written) // 2], written[-1]
    longer = text / shorter
    lines = {
        "RoomKit": written,
        "twice the text": [(characters, 2.0 * characters) for characters, _ in written],
        "if each frame held the text so far": [
            (characters, characters * (characters / len(DELTA) + 1) / 2) for characters, _ in written
        ],
    }
    return Findings(
        [
            Figure("each streamed delta adds", per_delta, "µs", found["floor"].best / most, 3.4),
            Figure(
                f"each streamed delta adds, {_BURST} of them in one read",
                in_bursts,
                "µs",
                found["floor of bursts"].best / most,
                3.4,
            ),
            Figure(f"bytes sent for {most:,} deltas", sent, "bytes", text, start + 100.0 * most),
            Figure(
                f"bytes sent, {longer:g} times the text",
                (sent - start) / (less - start),
                "x",
                longer,
                1.05 * longer,
            ),
        ],
        [
            Curve("stream-bytes", "characters of the answer", "bytes sent", lines, log=False),
            Curve(
                "stream-cost",
                "deltas of the answer",
                "µs of CPU per answer",
                {"RoomKit": [(size, found[f"{size}"].best) for size in sizes]},
                log=False,
            ),
        ],
    )
