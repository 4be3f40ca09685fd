"""The settings of OpenTelemetry in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["OpenTelemetryConfig"]


class OpenTelemetryConfig(BaseModel):
    """The settings of `OpenTelemetryProvider`; exporters are the SDK's own business."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    record_text: bool = Field(False, description="Whether texts that people said may be attributes.")
