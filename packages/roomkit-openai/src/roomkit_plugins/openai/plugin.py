"""Registers what `roomkit-openai` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import DoctorReport, Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the components of this distribution."""
    registry.add(
        "ai",
        "openai",
        "roomkit_plugins.openai:OpenAIAIProvider",
        config="roomkit_plugins.openai:OpenAIConfig",
        summary="OpenAI's models, and any server that speaks its API.",
    )
    registry.add(
        "ai",
        "azure",
        "roomkit_plugins.openai:AzureAIProvider",
        config="roomkit_plugins.openai:AzureAIConfig",
        summary="OpenAI's models, and others, deployed on Azure.",
    )
    registry.add(
        "ai",
        "vllm",
        "roomkit_plugins.openai:create_vllm_provider",
        config="roomkit_plugins.openai:VLLMConfig",
        summary="A model served by vLLM, or by Ollama, LM Studio, llama.cpp.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the SDK is there and that a key is."""
    report.expect_module("openai", "openai", distribution="roomkit-openai")
    report.expect_variable(
        "openai",
        "OPENAI_API_KEY",
        next_step="set OPENAI_API_KEY, or give OpenAIConfig an api_key; vLLM needs none",
    )
