"""Registers what `roomkit-mistral` brings; imports nothing but the core."""

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
        "mistral",
        "roomkit_plugins.mistral:MistralAIProvider",
        config="roomkit_plugins.mistral:MistralConfig",
        summary="Mistral, over its chat API.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the SDK is there and that a key is."""
    report.expect_module("mistral", "mistralai", distribution="roomkit-mistral")
    report.expect_variable(
        "mistral",
        "MISTRAL_API_KEY",
        next_step="set MISTRAL_API_KEY, or give MistralConfig an api_key",
    )
