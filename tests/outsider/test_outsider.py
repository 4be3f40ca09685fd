"""A stranger's package is a first-class citizen: built, installed and found, from wheels alone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def installed(fresh: Callable[[], Environment], core_wheel: Path, outsider_wheel: Path) -> Environment:
    """The core and the stranger's package, and what they declare; nothing else."""
    environment = fresh()
    environment.install(core_wheel, outsider_wheel)
    return environment


@pytest.fixture(scope="module")
def core_alone(fresh: Callable[[], Environment], core_wheel: Path) -> Environment:
    environment = fresh()
    environment.install(core_wheel)
    return environment


def test_an_outsiders_plugin_is_found_and_used(installed: Environment) -> None:
    """By its entry point, without any of its code being imported before it is used."""
    printed = installed.run(
        """
import asyncio, json, sys
from roomkit.plugins import default_manager

manager = default_manager()
plugin = {plugin.name: plugin for plugin in manager.plugins()}["acme"]
facts = {"plugin": str(plugin), "state": plugin.state, "lazy": "acme_roomkit.provider" not in sys.modules}
provider = manager.create("sms", "acme", {"token": "canary", "sender": "+15550100"})

async def main():
    from roomkit import ChannelType, EventSource, RoomEvent, TextContent
    source = EventSource(channel_id="c", channel_type=ChannelType.SMS)
    event = RoomEvent(room_id="r", source=source, content=TextContent(body="hi"))
    return await provider.send(event, "+15550199")

facts["sent"] = asyncio.run(main()).provider_message_id
facts["secret"] = "canary" in repr(provider.config)
print(json.dumps(facts))
"""
    )
    assert json.loads(printed) == {
        "plugin": "plugin 'acme' (acme-roomkit 1.0.0)",
        "state": "loaded",
        "lazy": True,
        "sent": "acme-1",
        "secret": False,
    }


def test_an_outsiders_component_is_configured_like_any_other(installed: Environment) -> None:
    """From the configuration file's tables, with the nearest key for an unknown one."""
    printed = installed.run(
        """
from roomkit.plugins import ConfigError, default_manager

manager = default_manager()
try:
    manager.create("sms", "acme", {"tokn": "x", "sender": "+15550100"})
except ConfigError as error:
    print(error.problems[0])
"""
    )
    assert printed.strip() == "sms:acme.tokn is unknown; did you mean 'token'?"


def test_the_core_works_alone(core_alone: Environment) -> None:
    """Nothing but its three dependencies: a star import works, and a missing name says what to install."""
    printed = core_alone.run(
        """
from roomkit import *
import roomkit

print(Room.__name__, InMemoryStore.__name__)
for name in ("DeepgramSTTProvider", "WebSocketChannel"):
    try:
        exec(f"from roomkit import {name}")
    except ImportError as error:
        print(error)
"""
    )
    assert printed.splitlines() == [
        "Room InMemoryStore",
        "roomkit.DeepgramSTTProvider comes with roomkit-deepgram, which is not installed: "
        "it is not built yet, and a package of that name on an index is not ours",
        "roomkit.WebSocketChannel comes with roomkit-websocket, which is not installed: "
        "it is not on a package index yet; run `uv build --all-packages -o dist && pip install dist/*.whl` "
        "in a checkout of RoomKit",
    ]


def test_checkers_understand_the_core_alone(core_alone: Environment, tmp_path: Path) -> None:
    """Strict mypy sees the core's types, a typo is an error, and a missing plugin breaks nothing."""
    program = tmp_path / "program.py"
    program.write_text(
        "from roomkit import AnthropicAIProvider, InMemoryStore, Room\n"
        "from roomkit.abc import ConversationStore\n"
        "store: ConversationStore = InMemoryStore()\n"
        "room: int = Room()\n"
        "from roomkit import RoomEvnt\n"
    )
    answer = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", core_alone.python, program],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    errors = [line.partition(": error: ")[2] for line in answer.stdout.splitlines() if ": error:" in line]
    assert len(errors) == 2, answer.stdout
    assert errors[0].startswith("Incompatible types in assignment")
    assert errors[1].startswith('Module "roomkit" has no attribute "RoomEvnt"')
