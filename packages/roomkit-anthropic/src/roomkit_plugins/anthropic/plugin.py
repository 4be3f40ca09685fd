"""Registers what `roomkit-anthropic` brings; imports nothing but the core."""

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
        "anthropic",
        "roomkit_plugins.anthropic:AnthropicAIProvider",
        config="roomkit_plugins.anthropic:AnthropicConfig",
        summary="Claude, over Anthropic's Messages API.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the SDK is there and that a key is."""
    report.expect_module("anthropic", "anthropic", distribution="roomkit-anthropic")
    report.expect_variable(
        "anthropic",
        "ANTHROPIC_API_KEY",
        next_step="set ANTHROPIC_API_KEY, or give AnthropicConfig an api_key",
    )
