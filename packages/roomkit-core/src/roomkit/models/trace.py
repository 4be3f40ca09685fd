"""A raw record of what a channel said to its vendor, or heard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from datetime import datetime
from typing import Any, Literal

from roomkit._dataclasses import dataclass
from roomkit.models.base import EMPTY, utcnow

__all__ = ["ProtocolTrace"]


@dataclass(slots=True, frozen=True, kw_only=True)
class ProtocolTrace:
    """One protocol message, for debugging; `raw` may hold what people said, so it is never logged."""

    channel_id: str
    direction: Literal["inbound", "outbound"]
    protocol: str
    summary: str
    raw: bytes | str | None = field(default=None, repr=False)
    metadata: Mapping[str, Any] = EMPTY
    timestamp: datetime = field(default_factory=utcnow)
    session_id: str | None = None
    room_id: str | None = None
