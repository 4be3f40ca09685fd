"""An agent from a configuration file, and what importing and registering it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roomkit.plugins import ConfigError, build_components, default_manager, load_config
from roomkit_plugins.ai import (
    AIChannel,
    AIChannelConfig,
    BudgetAwareMemory,
    CompactingMemory,
    SlidingWindowMemory,
)

FILE = """
[agents.front]
plugin = "ai"
provider = { plugin = "mock" }
system_prompt = "Be kind."
temperature = 0.2
error_reply = "Sorry."
tool_loop_timeout_seconds = 30
memory = { plugin = "compacting", max_context_tokens = 8000, inner = { plugin = "budget-aware", \
max_context_tokens = 9000, inner = { plugin = "sliding-window", max_events = 9 } }, \
provider = { plugin = "mock" } }

[agents.front.retry_policy]
max_retries = 1

[agents.front.tool_policy]
deny = ["refund_*"]
role_overrides = { owner = { mode = "replace" } }

[[agents.front.tools]]
name = "look"
description = "Looks."
"""


@pytest.fixture
def manager():
    """Return a plugin manager that has found the installed plugins."""
    return default_manager()


@pytest.fixture
def load(tmp_path):
    """Return a function that reads a configuration."""

    def load(text):
        path = tmp_path / "roomkit.toml"
        path.write_text(text)
        return load_config(path)

    return load


async def test_an_agent_is_built_from_a_file(manager, load):
    """With its provider, memories, policies and tools."""
    parts = await build_components(load(FILE), manager)
    agent = parts.agents["front"]
    assert isinstance(agent, AIChannel)
    assert (agent.channel_id, agent.system_prompt, agent.error_reply) == ("front", "Be kind.", "Sorry.")
    assert agent.retry_policy.max_retries == 1
    assert not agent.tool_policy.is_allowed("refund_all")
    assert agent.tool_policy.resolve("owner").is_allowed("refund_all")
    assert isinstance(agent.memory, CompactingMemory)
    assert isinstance(agent.memory.inner, BudgetAwareMemory)
    assert isinstance(agent.memory.inner.inner, SlidingWindowMemory)
    assert agent.memory.inner.inner.max_events == 9


async def test_a_slip_in_the_settings_names_the_nearest_key(manager, load):
    text = '[agents.front]\nplugin = "ai"\nprovider = "mock"\nsystem_promt = "x"\n'
    with pytest.raises(ConfigError, match="system_prompt"):
        await build_components(load(text), manager)


def test_the_config_has_the_defaults_of_the_constructor():
    import inspect

    signature = inspect.signature(AIChannel)
    for name, field in AIChannelConfig.model_fields.items():
        assert signature.parameters[name].default == field.default, name
    fallbacks = {"fallback_provider", "fallback_providers"}
    parts = {"channel_id", "provider", *fallbacks, "memory", "tool_handler", "tool_providers", "executor"}
    assert set(signature.parameters) - set(AIChannelConfig.model_fields) == parts


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import roomkit_plugins.ai", "pydantic"),
        ("import roomkit_plugins.ai.plugin", "pydantic"),
        ("from roomkit_plugins.ai import AIChannel", "jsonschema"),
    ],
)
def test_importing_costs_only_what_is_used(code, unwanted):
    """Names load at first use; the schema library when there is a schema."""
    check = f"{code}; import sys; assert {unwanted!r} not in sys.modules, {unwanted!r}"
    subprocess.run([sys.executable, "-c", check], check=True)
