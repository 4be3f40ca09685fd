"""What the plugin tells RoomKit about itself."""

from __future__ import annotations

import pytest

from roomkit.plugins import DoctorReport, PluginManager
from roomkit_plugins.openai import OpenAIAIProvider, OpenAIConfig, create_vllm_provider, plugin


async def test_the_component_is_found_by_name() -> None:
    """`openai` is an AI provider, built from its configuration."""
    manager = PluginManager()
    await manager.ascan()
    component = manager.find("ai", "openai")
    assert component.config == "roomkit_plugins.openai:OpenAIConfig"
    assert await manager.aget("ai", "openai") is OpenAIAIProvider


def test_the_doctor_misses_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a key it warns and says what to set; with one all is well."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    without = DoctorReport()
    plugin.roomkit_doctor(without)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")
    given = DoctorReport()
    plugin.roomkit_doctor(given)
    assert [finding.verdict for finding in without.findings] == ["ok", "warning"]
    assert "OPENAI_API_KEY" in without.findings[1].next_step
    assert [finding.verdict for finding in given.findings] == ["ok", "ok"]
    assert "canary" not in repr(given.findings)


def test_the_doctor_misses_the_sdk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the SDK it fails and says what to install."""
    monkeypatch.setattr(plugin, "find_spec", lambda name: None)
    report = DoctorReport()
    plugin.roomkit_doctor(report)
    assert not report.healthy
    assert report.findings[0].next_step == "pip install roomkit-openai"


def test_the_configuration_has_a_schema() -> None:
    """Editors can complete roomkit.toml."""
    schema = OpenAIConfig.model_json_schema()
    assert schema["required"] == ["model"]
    assert schema["additionalProperties"] is False


async def test_vllm_is_found_by_name() -> None:
    """`vllm` is an AI provider of its own, made by its helper."""
    manager = PluginManager()
    await manager.ascan()
    assert await manager.aget("ai", "vllm") is create_vllm_provider
