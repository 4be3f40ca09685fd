"""Traces and metrics of RoomKit for OpenTelemetry."""

from typing import TYPE_CHECKING

from roomkit.plugins import lazy_names

if TYPE_CHECKING:
    from roomkit_plugins.opentelemetry.config import OpenTelemetryConfig as OpenTelemetryConfig
    from roomkit_plugins.opentelemetry.provider import OpenTelemetryProvider as OpenTelemetryProvider
else:
    __getattr__, __dir__, __all__ = lazy_names(
        __name__, {"OpenTelemetryConfig": "config", "OpenTelemetryProvider": "provider"}
    )
