"""Registers what `roomkit-opentelemetry` brings; imports nothing but the core."""

from __future__ import annotations

from typing import TYPE_CHECKING

from roomkit.plugins import hookimpl

if TYPE_CHECKING:
    from roomkit.plugins import Registry


@hookimpl
def roomkit_register(registry: Registry) -> None:
    """Declare the telemetry provider."""
    registry.add(
        "telemetry",
        "opentelemetry",
        "roomkit_plugins.opentelemetry:OpenTelemetryProvider",
        config="roomkit_plugins.opentelemetry:OpenTelemetryConfig",
        summary="Spans and metrics by the OpenTelemetry SDK, with its GenAI conventions.",
    )
