"""Registers what `roomkit-anthropic` brings; imports nothing but the core."""

from __future__ import annotations

import os
from importlib.util import find_spec
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
    if find_spec("anthropic") is None:
        report.fail(
            "anthropic",
            "the anthropic SDK is not installed",
            next_step="pip install roomkit-anthropic",
        )
    else:
        report.ok("anthropic", "the anthropic SDK is installed")
    if os.environ.get("ANTHROPIC_API_KEY"):
        report.ok("anthropic", "ANTHROPIC_API_KEY is set")
    else:
        report.warn(
            "anthropic",
            "ANTHROPIC_API_KEY is not set",
            next_step="set ANTHROPIC_API_KEY, or give AnthropicConfig an api_key",
        )
