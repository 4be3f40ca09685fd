"""Agents from a configuration file, and the README's code."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from roomkit.plugins import build_components, default_manager, load_config
from roomkit_plugins.agents import Agent, HandoffMemoryProvider

FILE = """
[agents.triage]
plugin = "agent"
provider = { plugin = "mock" }
role = "Receptionist"
system_prompt = "Be kind."
memory = { plugin = "handoff", inner = { plugin = "sliding-window", max_events = 9 } }

[agents.caller]
plugin = "agent"
voice = "Zephyr"
"""
README = Path(__file__).parent.parent / "README.md"


async def test_an_agent_is_built_from_a_file(tmp_path: Path) -> None:
    """With its memory; one without a provider only configures."""
    path = tmp_path / "roomkit.toml"
    path.write_text(FILE)
    built = await build_components(load_config(path), default_manager())
    triage, caller = built.agents["triage"], built.agents["caller"]
    assert isinstance(triage, Agent)
    assert isinstance(caller, Agent)
    assert (triage.role, caller.voice, caller.is_config_only) == ("Receptionist", "Zephyr", True)
    assert isinstance(triage.memory, HandoffMemoryProvider)


async def test_the_readmes_code_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    text = README.read_text(encoding="utf-8")
    code, output = re.findall(r"```(?:python|text)\n(.*?)```", text, re.DOTALL)[:2]
    names: dict[str, Any] = {"__name__": "__main__"}
    await asyncio.to_thread(exec, code, names)
    assert capsys.readouterr().out == output
