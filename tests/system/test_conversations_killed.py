"""What survives a kill of the two conversations that the documentation compares with other frameworks."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from roomkit import get_conversation_state
from tests.system.killed_conversations import Worker

ANSWERED = {
    "answering": ["triage: Welcome aboard."],
    "handed": ["seats: Which seat?"],
    "between": ["seats: Which seat?"],
    "waiting": ["seats: Which seat?"],
    "resumed": ["seats: Which seat?"],
}


async def until(worker: Worker, room_id: str, answers: list[str]) -> None:
    async with asyncio.timeout(30):
        while await worker.answers(room_id) != answers:  # noqa: ASYNC110  # the ledger is polled by the kit, too
            await asyncio.sleep(0.05)  # other processes


@pytest.mark.parametrize("dies", ANSWERED)
async def test_the_next_worker_continues_where_the_killed_one_was(dies: str, tmp_path: Path) -> None:
    """No answer is lost or said twice, the owner keeps the conversation, the e-mail is sent once."""
    begun = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.system.killed_conversations", dies, str(tmp_path)
    )
    async with asyncio.timeout(60):
        assert await begun.wait() == -signal.SIGKILL
    worker = Worker(tmp_path)
    async with worker.kit as kit:
        await until(worker, "r1", ANSWERED[dies])
        await worker.says("A seat by the window.")
        state = get_conversation_state(await kit.get_room("r1"))
        assert (state.active_agent_id, state.handoff_count) == ("seats", 1)
        assert (await worker.answers())[-1] == "seats: Which seat?"
        if dies in ("waiting", "resumed"):
            if dies == "waiting":
                assert len(await kit.list_parked_turns("mail")) == 1
                await worker.olga_says("M1 yes")
            await until(worker, "mail", ["writer: It was sent."])
            assert (worker.effects("asked"), worker.effects("sent")) == (["alice"], ["alice"])
            assert await kit.list_parked_turns("mail") == []
