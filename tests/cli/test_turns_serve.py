"""`roomkit turns serve`: one file for the workers with the rooms and for the machine with the model."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from roomkit import AIChannel, InboundMessage, RoomKit, TextContent
from roomkit.testing import RecordingChannel

from .conftest import COMMAND, environment

FILE = """
[agents.bot]
plugin = "ai"
provider = "mock"
executor = {{ plugin = "redis", url = "{url}" }}

[agents.local]
plugin = "ai"
provider = "mock"
"""


@pytest.fixture
def file(tmp_path: Path, redis_url: str) -> Path:
    path = tmp_path / "roomkit.toml"
    path.write_text(FILE.format(url=redis_url), encoding="utf-8")
    return path


async def test_an_agent_answers_from_the_process_that_serves_it(file: Path) -> None:
    """And SIGTERM ends that process in order."""
    command = [*COMMAND, "turns", "serve", "--config", str(file), "--json"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:  # noqa: ASYNC220  # its lines are read
        try:
            assert process.stdout is not None
            assert json.loads(process.stdout.readline()) == {"serving": ["bot"], "limit": 8}
            async with await RoomKit.from_config(file) as kit:
                kit.register_channel(RecordingChannel("web"))
                await kit.create_room("r1")
                await kit.attach_channel("r1", "web")
                await kit.attach_channel("r1", "bot")
                hello = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Hi"))
                result = await kit.process_inbound(hello, room_id="r1")
                assert result.error is None
                assert (await kit.get_timeline("r1"))[-1].content.body == "Hello from AI"
                bot = kit.get_channel("bot")
                assert isinstance(bot, AIChannel)
                assert bot.provider.executor.counters["answered"] == 1
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 143
        finally:
            process.kill()


@pytest.mark.parametrize("agent", ["local", "unknown"])
def test_only_agents_with_an_executor_are_served(
    file: Path, roomkit: Callable[..., subprocess.CompletedProcess[str]], agent: str
) -> None:
    answer = roomkit("turns", "serve", "--config", str(file), "--agent", agent)
    assert answer.returncode == 1
    assert f"no agent {agent!r} with an executor; there are bot" in answer.stderr


def test_a_file_without_an_executor_says_how_to_give_one(
    tmp_path: Path, roomkit: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    path = tmp_path / "roomkit.toml"
    path.write_text('[agents.bot]\nplugin = "ai"\nprovider = "mock"\n', encoding="utf-8")
    answer = roomkit("turns", "serve", "--config", str(path))
    assert answer.returncode == 1
    assert "has an executor" in answer.stderr
    assert "executor = {" in answer.stderr
