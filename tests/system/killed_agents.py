"""A worker with agents that kills itself in a handoff, or before the result of a task is posted."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AIToolCall,
    ConversationPipeline,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    PipelineStage,
    RoomKit,
    Supervision,
    TextContent,
)
from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore
from roomkit_plugins.testing import MockAIProvider, RecordingChannel

LEASE = 2.0
TARGETS = {"handoff": "clerk", "person": "human"}


def lead_of(scenario: str) -> Callable[[AIContext], AIResponse]:
    """Return a model that hands over if it is asked to; else it repeats the last message."""

    def lead(context: AIContext) -> AIResponse:
        words = str(context.messages[-1].content)
        if scenario in TARGETS and "hello" in words:
            arguments = {"target": TARGETS[scenario], "reason": "r", "summary": "s"}
            call = AIToolCall(id="c", name="handoff_conversation", arguments=arguments)
            return AIResponse(content="", tool_calls=[call])
        return AIResponse(content=f"I read: {words}")

    return lead


def worker_on(folder: Path, scenario: str) -> RoomKit:
    """Return a worker on the store in a folder, as the program of the scenario makes it."""
    store = SQLiteStore(SQLiteConfig(path=folder / "rooms.db", synchronous="normal"))
    kit = RoomKit(store=store, lease_seconds=LEASE, single_process=True)
    agents = (
        Agent("lead", MockAIProvider([lead_of(scenario)] * 9)),
        Agent("clerk", MockAIProvider(["Rain."] * 9)),
    )
    for channel in (RecordingChannel("web"), *agents):
        kit.register_channel(channel)
    if scenario in TARGETS:
        stages = [PipelineStage("intake", "lead", next="handling"), PipelineStage("handling", "clerk")]
        ConversationPipeline(stages, human="When they ask.").install(kit, agents)
    else:
        Supervision("lead", {"clerk": None}).install(kit, agents)
    return kit


def die(*_: Any) -> None:
    """End this process as a power cut would."""
    os.kill(os.getpid(), signal.SIGKILL)


async def main(scenario: str, folder: Path) -> None:
    """Begin, and be killed."""
    async with worker_on(folder, scenario) as kit:
        await kit.create_room("r1")
        for name in ("web", "lead", *(["clerk"] if scenario in TARGETS else [])):
            await kit.attach_channel("r1", name)

        @kit.hook(HookTrigger.ON_HANDOFF, HookExecution.ASYNC)
        async def on_handoff(handoff: Any, context: Any) -> None:
            die()

        @kit.hook(HookTrigger.BEFORE_BROADCAST, priority=100, name="late")
        async def on_result(event: Any, context: Any) -> Any:
            if event.idempotency_key == "task:task-k" and event.room_id == "r1":
                die()
            return HookResult.allow()

        if scenario in TARGETS:
            message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="hello"))
            await kit.process_inbound(message, room_id="r1")
        else:
            await kit.delegate("r1", "clerk", "look out", notify="lead", key="k")
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
