"""What several agents and channels cost: a handoff, and a streamed answer that three channels show."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic_core import to_json

from benchmarks.agents import ANSWER, Agents, Scripted, Streaming, stream_of
from benchmarks.floor import HandWritten
from benchmarks.harness import Case, contest
from benchmarks.report import Curve, Effort, Figure, Findings
from benchmarks.world import ROOM, Sink, kit_of, send
from roomkit.models.ai import AIToolCall
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.agents import Agent, ConversationPipeline, PipelineStage
from roomkit_plugins.ai import AIChannel
from roomkit_plugins.websocket import WebSocketChannel

__all__ = ["fanout", "handoff"]

_CHANNELS = 3
_STAGES = (PipelineStage("intake", "triage", next="payments"), PipelineStage("payments", "billing"))
_HANDS_OVER = AIResponse(
    content="",
    finish_reason="tool_calls",
    tool_calls=[
        AIToolCall(
            id="call-1",
            name="handoff_conversation",
            arguments={"target": "billing", "reason": "an invoice", "summary": "Invoice 7 was paid twice."},
        )
    ],
)


async def handoff(effort: Effort) -> Findings:
    """A message whose agent hands the conversation over, and the answer of the next one."""
    items, sink = effort.items(100), Sink()
    answered = AIResponse(content=ANSWER, finish_reason="stop")

    def pair(*first: AIResponse) -> list[Agent]:
        return [Agent("triage", Scripted(*first)), Agent("billing", Scripted(answered))]

    first, second = Scripted(_HANDS_OVER), Scripted(answered)

    async def by_hand() -> str:
        owner = (await first.generate(AIContext(messages=[]))).tool_calls[0].arguments["target"]
        assert owner == "billing"
        return (await second.generate(AIContext(messages=[]))).content

    async with Agents() as agents:
        cases: dict[str, Case] = {}
        for name, crew in (("handed", pair(_HANDS_OVER)), ("kept", pair(answered))):
            kit = await agents.kit(None)
            for agent in crew:
                kit.register_channel(agent)
            ConversationPipeline(_STAGES).install(kit, crew)
            cases[name] = agents.in_new_rooms(kit, crew, items)
        floor = HandWritten([sink.send])
        cases["floor"] = Case(lambda items: floor.replies(items, by_hand), items)
        found = await contest(cases, effort.rounds(40))
    handed, kept, least = (found[name].best for name in ("handed", "kept", "floor"))
    return Findings(
        [
            Figure("message, a handoff, and the next agent's answer", handed, "µs", least),
            Figure("message and its answer by an agent of a pipeline", kept, "µs", least),
            Figure("a handoff adds", handed - kept),
        ]
    )


async def fanout(effort: Effort) -> Findings:
    """A streamed answer to three channels, with a listener each, beside one channel."""
    sizes = effort.sizes(0, 10, 1_000, 3_000)
    lines: dict[str, list[tuple[float, float]]] = {}
    added: dict[int, float] = {}
    floors: dict[int, float] = {}
    for channels in (1, _CHANNELS):
        best = await _streamed(effort, channels, sizes)
        name = f"{channels} channel{'s' * (channels > 1)}"
        lines[name] = [(float(size), best[f"{size}"]) for size in sizes]
        added[channels] = (best[f"{sizes[-1]}"] - best[f"{sizes[0]}"]) / sizes[-1]
        floors[channels] = best["floor"] / sizes[-1]
    each = (added[_CHANNELS] - added[1]) / (_CHANNELS - 1)
    least = (floors[_CHANNELS] - floors[1]) / (_CHANNELS - 1)
    return Findings(
        [
            Figure("a streamed delta, shown by three channels", added[_CHANNELS], "µs", floors[_CHANNELS]),
            Figure("a streamed delta, shown by one channel", added[1], "µs", floors[1]),
            Figure("each further channel adds to a delta", each, "µs", least if least > 0 else None),
        ],
        [Curve("stream-channels", "deltas of the answer", "µs of CPU per answer", lines, log=False)],
    )


async def _streamed(effort: Effort, channels: int, sizes: Sequence[int]) -> dict[str, float]:
    """Return the CPU of an answer by its deltas, and of the longest one by hand."""
    sink, model = Sink(), Streaming()

    async def streamed(deltas: int, items: int) -> None:
        model.deltas = deltas
        await send(kit, items)

    async def write(connection_id: str, frame: bytes) -> None:
        sink.bytes += len(frame)

    async def by_hand(items: int) -> None:
        for _ in range(items):
            async for text in stream_of(sizes[-1]):
                frame = to_json(
                    {"type": "stream_chunk", "room_id": ROOM, "stream_id": "0" * 32, "delta": text}
                )
                for _channel in range(channels):
                    await write("socket", frame)

    async with kit_of(*[0] * channels, sink=sink) as kit:
        for number in range(channels):
            channel = kit.get_channel(f"ws{number}")
            assert isinstance(channel, WebSocketChannel)
            watcher = f"watcher-{number}"
            channel.register_connection(
                watcher, sink.send, stream_send_fn=sink.send_frame, room_id=ROOM, participant_id=watcher
            )
        kit.register_channel(AIChannel("agent", model, max_context_events=1))
        await kit.attach_channel(ROOM, "agent")
        cases = {
            f"{size}": Case(partial(streamed, size), max(1, effort.items(1_000) // (size + 10)))
            for size in sizes
        }
        cases["floor"] = Case(by_hand, 1)
        found = await contest(cases, effort.rounds(25))
    return {name: best.best for name, best in found.items()}
