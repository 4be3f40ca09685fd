"""The state of an event-driven source."""

from __future__ import annotations

from datetime import datetime

from roomkit.models.base import EMPTY, Record
from roomkit.models.enums import SourceStatus
from roomkit.models.values import Summary, VendorJson

__all__ = ["SourceHealth"]


class SourceHealth(Record):
    """A snapshot of a source: since when it is connected, its counters and its last failure."""

    status: SourceStatus = SourceStatus.STOPPED
    connected_at: datetime | None = None
    last_message_at: datetime | None = None
    messages_received: int = 0
    error: Summary | None = None
    metadata: VendorJson = EMPTY
