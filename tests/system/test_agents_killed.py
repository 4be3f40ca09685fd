"""Handoffs and delegated tasks whose worker is killed are finished by the next one, once."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from roomkit import HookExecution, HookTrigger, TaskStatus, get_conversation_state, text_of
from tests.system.killed_agents import worker_on

ANSWERS = {"handoff": "Rain.", "task": "I read: "}


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
