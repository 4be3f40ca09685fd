"""A conversation that a person has is no agent's, on any worker of a durable store."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    Agent,
    ConversationPipeline,
    HandoffHandler,
    InboundMessage,
    MockAIProvider,
    PipelineStage,
    RoomKit,
    TextContent,
    get_conversation_state,
    text_of,
)
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel
from roomkit_plugins.testing.polling import until
from tests.system.workers import PLUGINS

STAGES = [PipelineStage("intake", "triage", next="money"), PipelineStage("money", "billing")]


class Worker:
    """A worker whose triage answers once it may."""

    def __init__(self, kit: RoomKit) -> None:
        self.kit = kit
        self.asked, self.may_answer = asyncio.Event(), asyncio.Event()
        agents = [Agent(name, MockAIProvider([self.model] * 9)) for name in ("triage", "billing")]
        for channel in (RecordingChannel("web"), *agents):
            kit.register_channel(channel)
        self.handler: HandoffHandler
        _, self.handler = ConversationPipeline(STAGES, human="When they ask.").install(kit, agents)

    async def model(self, _: Any) -> str:
        self.asked.set()
        await self.may_answer.wait()
        return "An answer."

    async def says(self, text: str) -> Any:
        said = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
        return await self.kit.process_inbound(said, room_id="r1")


@pytest.mark.parametrize("name", ["sqlite", "postgres"])
async def test_an_answer_under_way_elsewhere_is_not_said(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """No signal passes between the workers, so nothing ends the turn: its commit is refused."""
    locks = InMemoryLockManager()

    def worker() -> Worker:
        where: Any = request.getfixturevalue("postgres_dsn") if name == "postgres" else tmp_path / "rooms.db"
        store = PostgresStore(where) if name == "postgres" else SQLiteStore(where)
        parts: Any = {"lock_manager": locks, "realtime": InMemoryRealtime(), "single_process": True}
        return Worker(RoomKit(store, plugins=PLUGINS, **parts))

    first, second = worker(), worker()
    async with asyncio.timeout(60), first.kit, second.kit:
        await first.kit.create_room("r1")
        for channel_id in ("web", "triage", "billing"):
            await first.kit.attach_channel("r1", channel_id)
        both = [asyncio.ensure_future(first.says("hello"))]
        await first.asked.wait()
        given = await second.handler.handle("r1", "triage", {"target": "human"})
        assert given.accepted
        both.append(asyncio.ensure_future(second.says("anyone?")))
        await both[1]
        for each in (first, second):
            each.may_answer.set()
        await both[0]
        said = [each for each in await second.kit.get_timeline("r1") if each.source.channel_id != "system"]
        assert [text_of(each.content) for each in said if each.blocked_by is None] == ["hello", "anyone?"]
        assert get_conversation_state(await first.kit.get_room("r1")).active_agent_id == "human"
        await second.handler.release("r1")
        await second.says("and now?")

        async def is_answered() -> bool:  # by either: a lane may be the other worker's
            return text_of((await first.kit.get_timeline("r1"))[-1].content) == "An answer."

        await until(is_answered)
