"""Every Python block of what users were promised runs as it lies there, or says what to install.

Names that the text leaves open are supplied, and the `...` of an argument. Nothing else is changed.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from websockets.asyncio import client

import roomkit
from roomkit_plugins.testing import MockAIProvider, RecordingChannel
from tests.seeds.test_orchestration import SEED
from tests.seeds.test_snippets import Page

pytestmark = pytest.mark.skipif(not SEED.is_file(), reason="the promises do not lie beside this checkout")

LATER = {
    "from roomkit import VoiceChannel": "roomkit-voice",
}
"""The first lines of blocks whose packages are not built."""
GIVEN = {
    "parameters={...}": 'parameters={"type": "object"}',
    "PostgresStore(...)": 'PostgresStore("postgresql://ann@127.0.0.1/rooms")',
}
PRINTED = {
    "Conversation State": ["intake None 0"],
    "Realtime Events": ["user-1 is typing..."],
    "Event-Driven Sources": ["Status: connecting, Messages: 0"],
}


def blocks() -> list[tuple[str, str]]:
    """Return the heading and the code of each Python block."""
    if not SEED.is_file():
        return []
    text = SEED.read_text(encoding="utf-8")
    found, heading = [], ""
    for part in re.finditer(r"^```(\w*)\n(.*?)^```$|^#+ ([^\n]*)$", text, re.MULTILINE | re.DOTALL):
        heading = part[3] or heading
        if part[1] == "python":
            found.append((heading, part[2]))
    return found


async def answers(name: str, arguments: dict[str, Any]) -> str:
    return f"{name} is done"


class MyRedisLockManager(roomkit.InMemoryLockManager):
    """What the text lets the reader write."""


@pytest.fixture
def page() -> Iterator[Page]:
    """A page with what the reader has by then: a kit, a room with a person, agents, and every public name."""
    made = Page()
    made.names |= {name: getattr(roomkit, name) for name in NAMES}
    made.names |= {
        "config": roomkit.GeminiConfig(api_key="key", model="gemini-3.8-flash"),
        "my_provider": MockAIProvider(["Hello."]),
        "ai_provider": MockAIProvider(["Hello."]),
        "context": roomkit.AIContext(messages=[roomkit.AIMessage(role="user", content="Hello?")]),
        "execute_tool": answers,
        "my_custom_handler": answers,
        "my_weather_handler": answers,
        "lookup": answers,
        "MyRedisLockManager": MyRedisLockManager,
        "web": RecordingChannel("ws"),
        "voice": RecordingChannel("voice"),
        "sms": RecordingChannel("sms-out", channel_type=roomkit.ChannelType.SMS),
    }
    made.run(
        "kit = RoomKit()\n"
        "triage, advisor = Agent('agent-triage', my_provider), Agent('agent-advisor', my_provider)\n"
        "await kit.create_room('room-1')\n"
        "for channel in (web, voice, sms, triage, advisor):\n"
        "    kit.register_channel(channel)\n"
        "    await kit.attach_channel('room-1', channel.channel_id)\n"
        "room = await kit.get_room('room-1')\n"
        "handler = HandoffHandler(kit, ConversationRouter(default_agent_id='agent-triage'))\n"
    )
    yield made
    made.close()


NAMES = (
    "Agent",
    "ChannelDirection",
    "ChannelType",
    "ConversationRouter",
    "HandoffHandler",
    "HandoffMemoryProvider",
    "HookResult",
    "HookTrigger",
    "PostgresStore",
    "RoomContext",
    "RoomEvent",
    "RoomKit",
    "SlidingWindowMemory",
)


def test_there_are_blocks_of_every_part() -> None:
    """If the text moves or its form changes, nothing is passed over in silence."""
    found = blocks()
    assert len(found) >= 23
    headings = {heading for heading, _ in found}
    assert headings >= {"Quickstart", "Agent", "ConversationPipeline", "MCP Tools", "Skills", "Telemetry"}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse the web socket of a host on the internet; `test_snippets` talks to it on this machine."""

    class Refused(client.connect):
        def __await__(self) -> NoReturn:
            raise ConnectionRefusedError

    monkeypatch.setattr(client, "connect", Refused)


@pytest.mark.parametrize(
    ("heading", "code"), blocks(), ids=[f"{number} {heading}" for number, (heading, _) in enumerate(blocks())]
)
def test_a_block_runs_as_it_stands(heading: str, code: str, page: Page, tmp_path: Path) -> None:
    distribution = LATER.get(code.splitlines()[0])
    if distribution is not None:
        with pytest.raises(ImportError, match=f"comes with {distribution}, which is not installed"):
            page.run(code)
        return
    for ellipsis, value in GIVEN.items():
        code = code.replace(ellipsis, value)
    assert not any(isinstance(node, ast.Constant) and node.value is ... for node in ast.walk(ast.parse(code)))
    if "asyncio.run(" in code:
        program = tmp_path / "program.py"
        program.write_text(code)
        ran = subprocess.run([sys.executable, program], capture_output=True, text=True, timeout=200)
        assert (ran.stdout, ran.returncode) == ("Handoff accepted: True\n", 0), ran.stderr
        return
    page.run(code)
    page.run("import asyncio; await asyncio.sleep(1)")
    assert page.printed == PRINTED.get(heading, [])


def test_every_name_that_is_imported_is_there() -> None:
    """Of built packages; of others the block says which distribution brings it."""
    for _, code in blocks():
        if code.splitlines()[0] in LATER:
            continue
        for node in ast.walk(ast.parse(code.replace("await ", ""))):
            if isinstance(node, ast.ImportFrom) and node.module == "roomkit":
                assert [each.name for each in node.names if not hasattr(roomkit, each.name)] == []
