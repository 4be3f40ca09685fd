"""The settings of the channel in a configuration file."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["WebSocketChannelConfig"]


class WebSocketChannelConfig(BaseModel):
    """The options of `WebSocketChannel` in a configuration file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    send_timeout: float = Field(5.0, gt=0, allow_inf_nan=False, description="Seconds one send may take.")
    backlog: int = Field(1000, ge=1, description="How many frames may wait for a slow connection.")
    max_failures: int = Field(3, ge=1, description="Failed sends in a row that end a connection.")
