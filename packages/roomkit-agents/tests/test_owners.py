"""Who has a conversation while people, agents, programs and workers act on it at the same moment."""

from __future__ import annotations

import asyncio
import os
import random
from typing import Any

import pytest
from stage import PIPELINE, Stage, agent, hands_to, worker_maker

from roomkit import (
    ConversationPipeline,
    HandoffResult,
    HookResult,
    HookTrigger,
    PipelineStage,
    RoomEvent,
    get_conversation_state,
    text_of,
)
from roomkit.memory.realtime import InMemoryRealtime

pytestmark = pytest.mark.virtual_time

SEEDS = int(os.environ.get("ROOMKIT_INTERLEAVINGS", "200")) // 10
WATCHED = ConversationPipeline(
    [PipelineStage("triage", "triage", next="billing"), PipelineStage("billing", "billing")],
    supervisor_id="boss",
    human="When they ask for a person.",
)


async def test_what_waited_is_not_answered_where_a_supervisor_watches() -> None:
    """The messages are put to both; the supervisor goes on watching."""
    triage = agent("triage", hands_to("human"), "never", delay=5)
    stage = Stage(triage, agent("billing", "never"), agent("boss", "Noted."))
    WATCHED.install(stage.kit, stage.agents)
    async with stage.kit:
        await stage.open()
        async with asyncio.TaskGroup() as both:
            both.create_task(stage.says("one"))
            await asyncio.sleep(1)
            both.create_task(stage.says("two"))
        assert len(stage.asked("triage")) == 1
        assert "never" not in stage.web.texts()
        assert "a person has the conversation: triage does not answer" in await stage.unanswered()


async def test_what_waited_is_not_answered_once_the_next_agent_has_passed_it_on() -> None:
    """Triage handed to billing, and that to a person, before triage comes to the message."""
    triage = agent("triage", hands_to("billing"), "never", delay=5)
    stage = Stage(triage, agent("billing", "never"))
    _, handler = PIPELINE.install(stage.kit, stage.agents)

    async def passed_on(room_id: str, result: HandoffResult) -> None:
        if result.new_agent_id == "billing":
            await handler.handle(room_id, "billing", {"target": "human"})

    handler.on_handoff_complete = passed_on
    async with stage.kit:
        await stage.open()
        async with asyncio.TaskGroup() as both:
            both.create_task(stage.says("one"))
            await asyncio.sleep(1)
            both.create_task(stage.says("two"))
        assert (await stage.state()).active_agent_id == "human"
        assert (len(stage.asked("triage")), len(stage.asked("billing"))) == (1, 0)
        assert stage.web.texts() == []


@pytest.mark.parametrize("heard", [True, False], ids=["signal", "no signal"])
@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
async def test_another_worker_gives_the_conversation_to_a_person(streaming: bool, heard: bool) -> None:
    """The answer under way ends, also where the signal between the workers is lost."""
    make, stages, handlers = worker_maker(), [], []
    long = "One one. Two two. Three three. Four four. Five five."
    for _ in range(2):
        triage = agent("triage", long, "I am back.", streaming=streaming, delay=2)
        kit = make() if heard else make(realtime=InMemoryRealtime())
        stages.append(Stage(triage, agent("billing"), kit=kit, streaming=streaming))
        handlers.append(PIPELINE.install(kit, stages[-1].agents)[1])
    async with stages[0].kit, stages[1].kit:
        await stages[0].open()
        async with asyncio.TaskGroup() as both:
            both.create_task(stages[0].says("hello"))
            await asyncio.sleep(2.5 if streaming else 1)
            result = await handlers[1].handle("r1", "triage", {"target": "human"})
        assert result.accepted
        shown = "".join(stages[0].web.texts())
        assert "Five" not in shown
        assert bool(shown) == streaming
        answers = [
            each for each in await stages[0].kit.get_timeline("r1") if each.source.channel_id == "triage"
        ]
        said = [text_of(each.content).strip() for each in answers if each.blocked_by is None]
        assert said == ([shown.strip()] if streaming else [])
        refused = {each.block_reason for each in answers if each.blocked_by is not None}
        assert refused == (set() if heard else {"a person has the conversation"})
        await handlers[0].release("r1")
        await stages[1].says("and now?")
        assert stages[1].web.texts()[-1].startswith(("I am back.", "One one."))


class Bustle:
    """Two workers, two people, a program that takes and gives back, and models that do what they like."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.owners: dict[str, tuple[str | None, str | None]] = {}
        self.stages: list[Stage] = []
        self.handlers: list[Any] = []
        make, streaming = worker_maker(), self.random.random() < 0.5
        for _ in range(2):
            agents = [
                agent(name, *[self.model] * 200, streaming=streaming, delay=self.random.uniform(0, 2))
                for name in ("triage", "billing")
            ]
            stage = Stage(*agents, kit=make(), streaming=streaming)
            self.handlers.append(PIPELINE.install(stage.kit, agents)[1])
            stage.kit.hook(HookTrigger.BEFORE_BROADCAST, priority=900, name="owner")(self.note)
            self.stages.append(stage)

    def model(self, context: Any) -> Any:
        """Answer, hand over to the other one, or to a person."""
        drawn = self.random.random()
        if drawn < 0.6 or not any(tool.name == "handoff_conversation" for tool in context.tools):
            return "One one. Two two. Three three."
        if drawn < 0.9:
            return hands_to(self.random.choice(["triage", "billing"]), self.random.choice(["", "Wait."]))
        return hands_to("human", self.random.choice(["", "A person comes."]))

    async def note(self, event: RoomEvent, context: Any) -> HookResult:
        """Keep who had the conversation when an event was committed, and who was handing it over."""
        own = context.room.state.get("agents") or {}
        active = get_conversation_state(context.room).active_agent_id
        self.owners[event.id] = (active, own.get("pending"))
        return HookResult.allow()

    async def people(self, name: str) -> None:
        for number in range(4):
            await asyncio.sleep(self.random.uniform(0, 3))
            stage = self.random.choice(self.stages)
            await stage.says(
                f"{name} {number}", metadata={"agents": {"conversation": {"active_agent_id": name}}}
            )

    async def program(self) -> None:
        for _ in range(3):
            await asyncio.sleep(self.random.uniform(0, 4))
            handler = self.random.choice(self.handlers)
            owner = (await self.stages[0].state()).active_agent_id or "triage"
            await handler.handle("r1", owner, {"target": "human"})
            await asyncio.sleep(self.random.uniform(0, 2))
            await self.random.choice(self.handlers).release("r1")

    async def run(self) -> None:
        async with self.stages[0].kit, self.stages[1].kit:
            await self.stages[0].open()
            async with asyncio.timeout(600), asyncio.TaskGroup() as group:
                group.create_task(self.people("ann"))
                group.create_task(self.people("bob"))
                group.create_task(self.program())
            timeline = await self.stages[0].kit.get_timeline("r1", limit=500)
            state = await self.stages[0].state()
        self.check(timeline, state)

    def check(self, timeline: Any, state: Any) -> None:
        """Check that no agent spoke for a person who had the conversation, and that none played ping-pong."""
        assert state.active_agent_id in ("triage", "billing", "human")
        moves = [each for each in state.phase_history if each.from_agent != each.to_agent]
        assert state.handoff_count >= len(moves)
        asked: dict[str, int] = {}
        for event in timeline:
            if event.source.channel_id not in ("triage", "billing"):
                continue
            asked[event.correlation_id] = asked.get(event.correlation_id, 0) + 1
            owner, pending = self.owners[event.id]
            was_cut = event.generation is not None and event.generation.finish_reason == "taken_over"
            if owner == "human" and not was_cut:
                assert pending == event.source.channel_id, (text_of(event.content), event.generation)
        assert max(asked.values(), default=0) <= 4


@pytest.mark.parametrize("seed", range(SEEDS))
async def test_at_any_moment_one_has_the_conversation(seed: int) -> None:
    await Bustle(seed).run()
