"""Handoffs and delegated tasks whose worker is killed are finished by the next one, once."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    HookExecution,
    HookTrigger,
    InboundMessage,
    TaskStatus,
    TextContent,
    get_conversation_state,
    text_of,
)
from roomkit_plugins.testing.polling import until
from tests.system.killed_agents import worker_on

ANSWERS = {"handoff": "Rain.", "task": "I read: "}


def said(text: str) -> InboundMessage:
    return InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))


@pytest.mark.parametrize("scenario", ANSWERS)
async def test_the_next_worker_finishes_what_a_killed_one_began(scenario: str, tmp_path: Path) -> None:
    """It dies after the state was changed and before the words were committed, or before the result was."""
    begun = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.killed_agents", scenario, str(tmp_path)
    )
    async with asyncio.timeout(120):
        assert await begun.wait() == -signal.SIGKILL
        answered = asyncio.Event()
        kit = worker_on(tmp_path, scenario)

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def seen(event: Any, context: Any) -> None:
            if event.room_id == "r1" and text_of(event.content).startswith(ANSWERS[scenario]):
                answered.set()

        async with kit:
            await answered.wait()
            events = await kit.get_timeline("r1")
            said = [each for each in events if text_of(each.content).startswith(ANSWERS[scenario])]
            assert len(said) == 1
            if scenario == "handoff":
                state = get_conversation_state(await kit.get_room("r1"))
                assert (state.active_agent_id, state.handoff_count) == ("clerk", 1)
            else:
                (task,) = await kit.list_tasks("r1")
                assert (task.status, task.metadata["output"]) == (TaskStatus.COMPLETED, "Rain.")
                assert "has this result: Rain." in text_of(said[0].content)


async def test_what_a_killed_worker_gave_to_a_person_stays_theirs(tmp_path: Path) -> None:
    """The next worker re-runs the turn, and asks no agent before the conversation is released."""
    begun = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.killed_agents", "person", str(tmp_path)
    )
    async with asyncio.timeout(120):
        assert await begun.wait() == -signal.SIGKILL
        kit = worker_on(tmp_path, "person")

        async def unanswered() -> list[str]:
            return [each.content for each in await kit.list_observations("r1")]

        async def is_on_record() -> bool:
            return "a person has the conversation: lead does not answer" in await unanswered()

        async with kit:
            await until(is_on_record)
            await kit.process_inbound(said("anyone?"), room_id="r1")
            assert (await unanswered())[-1] == "a person has the conversation"
            state = get_conversation_state(await kit.get_room("r1"))
            assert (state.active_agent_id, state.handoff_count) == ("human", 1)
            agents = {"lead", "clerk"}
            timeline = await kit.get_timeline("r1")
            assert not [each for each in timeline if each.source.channel_id in agents]
