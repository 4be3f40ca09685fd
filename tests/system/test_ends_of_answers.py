"""Whatever takes an agent's voice, or its room, ends its answer: on every worker, in every store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import AIChannel, MockAIProvider, RoomKit, RoomNotFoundError
from roomkit.models.ai import AITool, AIToolCall
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import DeliveryResult, InboundMessage, InboundResult
from roomkit.models.enums import Access, ChannelType, DeliveryState, EventStatus, EventType
from roomkit.models.generation import AIResponse
from roomkit.models.room import RoomTimers
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence
from tests.system.workers import in_memory, on_postgres, on_sqlite

ROOM = "r1"


async def mute(kit: RoomKit) -> None:
    await kit.mute(ROOM, "bot")


async def read_only(kit: RoomKit) -> None:
    await kit.set_access(ROOM, "bot", Access.READ_ONLY)


async def no_access(kit: RoomKit) -> None:
    await kit.set_access(ROOM, "bot", Access.NONE)


async def invisible(kit: RoomKit) -> None:
    await kit.set_visibility(ROOM, "bot", "none")


async def detach(kit: RoomKit) -> None:
    await kit.detach_channel(ROOM, "bot")


async def take_over(kit: RoomKit) -> None:
    await kit.take_over(ROOM, "olga")


async def close(kit: RoomKit) -> None:
    await kit.close_room(ROOM)


async def close_by_timer(kit: RoomKit) -> None:
    hour_ago = datetime.now(UTC) - timedelta(hours=1)
    await kit.set_room_timers(ROOM, RoomTimers(closed_after_seconds=60, last_activity_at=hour_ago))
    await kit.check_room_timers(ROOM)


async def archive(kit: RoomKit) -> None:
    await kit.archive_room(ROOM)


async def delete(kit: RoomKit) -> None:
    await kit.delete_room(ROOM)


async def erase(kit: RoomKit) -> None:
    await kit.erase_room(ROOM)


async def unregister(kit: RoomKit) -> None:
    await kit.unregister_channel("bot")


async def ban(kit: RoomKit) -> None:
    await kit.remove_participant(ROOM, "ann", banned=True)


CHANGES = {
    ban: "interrupted",
    mute: "muted",
    read_only: "muted",
    no_access: "muted",
    invisible: "muted",
    detach: "detached",
    take_over: "taken_over",
    close: "room_closed",
    close_by_timer: "room_closed",
    archive: "room_archived",
    delete: "room_deleted",
    erase: "room_deleted",
    unregister: "unregistered",
}
DELETED = {delete, erase}
OVER = {close, close_by_timer, archive}
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
every_change_elsewhere = pytest.mark.parametrize(
    "change", [each for each in CHANGES if each is not unregister], ids=lambda change: change.__name__
)


@dataclass
class Turn:
    """What an agent does in its turn: it says it has begun, and goes on when it may."""

    begun: asyncio.Event = field(default_factory=asyncio.Event)
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    asked: int = 0

    async def wait(self) -> None:
        self.begun.set()
        await self.may_go_on.wait()


class Speaker(ScriptedIntelligence):
    """An agent that says two sentences, and waits in between."""

    def __init__(self, turn: Turn, *, streaming: bool) -> None:
        super().__init__("bot")
        self.turn = turn
        self.streams = streaming

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        if event.source.channel_type is ChannelType.AI:
            return ChannelOutput.empty()
        self.turn.asked += 1
        if self.streams:
            return ChannelOutput(response_stream=self.words())
        await self.turn.wait()
        body = TextContent(body="one. two.")
        return ChannelOutput(response_events=[event.replace(id=f"{event.id}-answer", content=body)])

    async def words(self) -> AsyncIterator[str]:
        yield "one. "
        await self.turn.wait()
        yield "two."


def streaming(turn: Turn) -> ScriptedIntelligence:
    return Speaker(turn, streaming=True)


def plain(turn: Turn) -> ScriptedIntelligence:
    return Speaker(turn, streaming=False)


def in_a_tool(turn: Turn) -> AIChannel:
    """An agent that says a sentence, runs a tool, and would say another."""

    async def work(name: str, arguments: Any) -> str:
        turn.asked += 1
        await turn.wait()
        return "done"

    provider = MockAIProvider(
        ai_responses=[
            AIResponse(content="one. ", tool_calls=[AIToolCall(id="1", name="work", arguments={})]),
            AIResponse(content="two."),
        ],
        streaming=True,
    )
    return AIChannel("bot", provider, tools=[(AITool(name="work", description="Work."), work)])


every_kind = pytest.mark.parametrize("kind", [streaming, plain, in_a_tool], ids=lambda kind: kind.__name__)


type Workers = tuple[RoomKit, RoomKit]


@pytest.fixture(params=[in_memory, on_sqlite, on_postgres])
async def workers(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Workers]:
    """Two started workers on one store; the agent is asked on the first."""
    monkeypatch.setattr("roomkit.kernel.delivery.streamed_turn._LOOK_EVERY", 0.0)
    make = request.param(tmp_path, lambda: request.getfixturevalue("postgres_store_dsn"))
    kits = make(), make()
    for kit in kits:
        kit.register_channel(RecordingChannel("alice"))
        kit.register_channel(RecordingChannel("bob", streaming=True))
        await kit.start()
    await kits[0].create_room(ROOM)
    yield kits
    for kit in kits:
        await kit.close()


async def ended(
    kit: RoomKit, kind: Callable[[Turn], Any], change: Callable[[], Awaitable[None]], *, at_once: bool
) -> tuple[InboundResult, list[str], Turn]:
    """Make a change in the middle of an agent's turn; return its outcome, and the words seen."""
    turn = Turn()
    kit.register_channel(kind(turn))
    for channel_id in ("alice", "bob", "bot"):
        await kit.attach_channel(ROOM, channel_id)
    message = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body="hello"))
    asking = asyncio.create_task(kit.process_inbound(message, room_id=ROOM))
    await turn.begun.wait()
    await change()
    if not at_once:
        turn.may_go_on.set()
    result = await asking
    assert turn.asked == 1
    bob = kit.get_channel("bob")
    assert isinstance(bob, RecordingChannel)
    return result, ["".join(pieces) for pieces in bob.streams], turn


def row_of(result: InboundResult) -> DeliveryResult:
    assert result.error is None
    return result.delivery_results["bot"]


async def answers(kit: RoomKit) -> list[tuple[str, str | None]]:
    """Return the answers that stand, with their finish reasons."""
    return [
        (text_of(event.content), event.generation.finish_reason if event.generation is not None else None)
        for event in await kit.get_timeline(ROOM)
        if event.source.channel_type is ChannelType.AI and event.status is not EventStatus.BLOCKED
    ]


@every_kind
@every_change
async def test_an_answer_ends_at_once(workers: Workers, change: Any, kind: Any) -> None:
    kit, _ = workers
    result, shown, _ = await ended(kit, kind, lambda: change(kit), at_once=True)
    row = row_of(result)
    assert (row.state, row.reason, row.error) == (DeliveryState.SKIPPED, CHANGES[change], None)
    assert shown == ([] if kind is plain else ["one. "])
    if change in DELETED:
        with pytest.raises(RoomNotFoundError):
            await kit.get_room(ROOM)
        return
    assert await answers(kit) == ([] if kind is plain else [("one. ", CHANGES[change])])
    if change in OVER:
        last = (await kit.get_timeline(ROOM))[-1]
        assert last.type is EventType.SYSTEM
    await kit._kernel.outcomes.ledger.flush()
    stored = {each.channel_id: each for each in await kit.list_deliveries(ROOM, event_id=result.event.id)}
    assert (stored["bot"].state, stored["bot"].reason) == (DeliveryState.SKIPPED, CHANGES[change])


@every_kind
@every_change_elsewhere
async def test_another_workers_change_ends_an_answer_at_its_next_step(
    workers: Workers, change: Any, kind: Any
) -> None:
    kit, other = workers
    result, shown, _ = await ended(kit, kind, lambda: change(other), at_once=False)
    row = row_of(result)
    if (change, kind) == (invisible, plain):
        # Whether or not the other worker's signal comes before the turn ends, no one is shown the answer.
        said = [each for each in await kit.get_timeline(ROOM) if each.id.endswith("-answer")]
        assert {each.visibility for each in said} <= {"none"}
        assert said or row.state is DeliveryState.SKIPPED
        return
    assert (row.state, row.reason) == (DeliveryState.SKIPPED, CHANGES[change])
    assert shown == ([] if kind is plain else ["one. "])
    if change in DELETED:
        return
    if change in OVER:
        assert await answers(kit) == []
        seen = row.error.message if row.error is not None else ""
        assert ("'one. '" in seen) == (kind is not plain)
    else:
        assert await answers(kit) == ([] if kind is plain else [("one. ", CHANGES[change])])


async def test_turns_that_wait_are_handed_over_with_their_agent(workers: Workers) -> None:
    """Another worker that has it registered claims them, without a wait for the first one's lease."""
    kit, other = workers
    here, there, answered, both = Turn(), Turn(), [], asyncio.Event()

    @other.on("delivery_succeeded")
    async def heard(event: Any) -> None:
        answered.extend([event] if event.channel_id == "bot" else [])
        if len(answered) == 2:
            both.set()

    kit.register_channel(streaming(here))
    other.register_channel(plain(there))
    for channel_id in ("alice", "bob", "bot"):
        await kit.attach_channel(ROOM, channel_id)
    for text in ("one?", "two?", "three?"):
        message = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body=text))
        await kit.process_inbound(message, room_id=ROOM, wait="committed")
    await here.begun.wait()
    there.may_go_on.set()
    await kit.unregister_channel("bot")
    other.register_channel(RecordingChannel("another"))  # it looks for deliveries at once
    await both.wait()
    for worker in workers:
        await worker._kernel.outcomes.ledger.flush()
    assert (here.asked, there.asked) == (1, 2)
    rows = [row for row in await kit.list_deliveries(ROOM, limit=100) if row.channel_id == "bot"]
    states = [(row.state, row.reason) for row in sorted(rows, key=lambda row: row.event_index)]
    assert states == [(DeliveryState.SKIPPED, "unregistered"), *[(DeliveryState.SENT, None)] * 2]


@pytest.mark.parametrize("kind", [streaming, plain], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize(
    "change", [mute, read_only, invisible, take_over], ids=lambda change: change.__name__
)
async def test_an_agent_without_a_voice_is_not_asked(workers: Workers, change: Any, kind: Any) -> None:
    kit, other = workers
    turn = Turn()
    turn.may_go_on.set()
    kit.register_channel(kind(turn))
    for channel_id in ("alice", "bot"):
        await kit.attach_channel(ROOM, channel_id)
    await change(other)
    message = InboundMessage(channel_id="alice", sender_id="ann", content=TextContent(body="hello"))
    result = await kit.process_inbound(message, room_id=ROOM)
    assert turn.asked == 0
    row = result.delivery_results.get("bot")
    reasons = {read_only: "read_only", invisible: "invisible"}
    if change in reasons:
        assert row is not None
        assert (row.state, row.reason) == (DeliveryState.SKIPPED, reasons[change])
    else:
        assert row is None
