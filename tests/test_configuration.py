"""A kit from `roomkit.toml`, with the plugins that are really there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from roomkit import AIChannel, AnthropicAIProvider, InMemoryStore, RoomKit, SlidingWindowMemory
from roomkit.plugins import ConfigError, PluginManager, default_manager, json_schema

CONFIGURATION = """
[kit]
process_timeout = 5
close_timeout = 2

[store]
plugin = "memory"

[telemetry]
plugin = "none"

[agents.front]
plugin = "ai"
system_prompt = "file:prompt.txt"
provider = { plugin = "anthropic", model = "claude-test", api_key = "env:ACME_KEY" }
memory = { plugin = "sliding-window", max_events = 7 }
"""


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ACME_KEY", "key-canary")
    (tmp_path / "prompt.txt").write_text("Be brief.\n")
    (tmp_path / "roomkit.toml").write_text(CONFIGURATION)
    return tmp_path / "roomkit.toml"


async def test_a_kit_is_built_from_a_file(path: Path) -> None:
    """Store, agent, its provider and its memory: each from its table, each by the plugin that brings it."""
    kit = await RoomKit.from_config(path)
    try:
        assert isinstance(kit.store, InMemoryStore)
        agent = kit.channels["front"]
        assert isinstance(agent, AIChannel)
        assert isinstance(agent.provider, AnthropicAIProvider)
        assert isinstance(agent.memory, SlidingWindowMemory)
    finally:
        await kit.close()


async def test_a_secret_does_not_show(path: Path) -> None:
    kit = await RoomKit.from_config(path)
    try:
        agent = kit.channels["front"]
        assert "canary" not in repr(agent) + repr(vars(agent)) + repr(agent.info)
    finally:
        await kit.close()
    path.write_text(CONFIGURATION.replace("api_key", "api_kee"))

    with pytest.raises(ConfigError) as raised:
        await RoomKit.from_config(path)
    assert "agents.front.provider.api_kee is unknown; did you mean 'api_key'?" in raised.value.problems
    assert "canary" not in str(raised.value)


async def test_a_missing_plugin_is_named_with_what_to_install(path: Path) -> None:
    """At the place in the file that asks for it."""
    path.write_text(f'{CONFIGURATION}\n[channels.phone]\nplugin = "voice"\n')

    with pytest.raises(ConfigError, match=r"channels\.phone: .* comes with roomkit-voice"):
        await RoomKit.from_config(path)


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return json_schema(default_manager())


def test_the_schema_knows_every_installed_component_a_table_can_hold(schema: dict[str, Any]) -> None:
    """With its own settings, so that an editor completes them."""
    assert {"channel:ai", "ai:anthropic", "memory:sliding-window", "store:memory"} <= set(schema["$defs"])
    assert {"system_prompt", "provider"} <= set(schema["$defs"]["channel:ai"]["properties"])


def test_every_reference_in_the_schema_leads_somewhere(schema: dict[str, Any]) -> None:
    """Also where components hold each other, and where settings are nested."""
    for reference in re.findall(r'"\$ref": "#/\$defs/([^"]+)"', json.dumps(schema)):
        assert reference in schema["$defs"]


def test_every_installed_plugin_is_in_order() -> None:
    manager = PluginManager()

    assert [plugin.reason for plugin in manager.plugins() if plugin.reason] == []
    assert manager.clashes() == ()
    for component in manager.components():
        assert manager.get(component.kind, component.name)
