"""Registers what `roomkit-gemini` brings; imports nothing but the core."""

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
        "gemini",
        "roomkit_plugins.gemini:GeminiAIProvider",
        config="roomkit_plugins.gemini:GeminiConfig",
        summary="Gemini, over Google's Gemini API.",
    )


@hookimpl
def roomkit_doctor(report: DoctorReport) -> None:
    """Check that the SDK is there and that a key is."""
    report.expect_module("gemini", "google.genai", distribution="roomkit-gemini")
    report.expect_variable(
        "gemini",
        "GEMINI_API_KEY",
        next_step="set GEMINI_API_KEY, or give GeminiConfig an api_key",
    )
