"""The base of a source: its status, its counters and its stop signal."""

from __future__ import annotations

import asyncio

from roomkit.abc.source import SourceProvider
from roomkit.models.base import utcnow
from roomkit.models.enums import SourceStatus
from roomkit.models.source import SourceHealth

__all__ = ["BaseSourceProvider"]


class BaseSourceProvider(SourceProvider):
    """A source that keeps its status, counters and stop signal here."""

    def __init__(self) -> None:
        self._health = SourceHealth()
        self._stop = asyncio.Event()

    @property
    def status(self) -> SourceStatus:
        """The state of the connection."""
        return self._health.status

    async def stop(self) -> None:
        """Signal `start` to return."""
        self._stop.set()
        self._set_status(SourceStatus.STOPPED)

    async def healthcheck(self) -> SourceHealth:
        """Return a snapshot of the source."""
        return self._health

    def _set_status(self, status: SourceStatus, error: str | None = None) -> None:
        changes: dict[str, object] = {"status": status, "error": error}
        if status is SourceStatus.CONNECTED:
            changes |= {"connected_at": utcnow(), "error": None}
        self._health = self._health.replace(**changes)

    def _record_message(self) -> None:
        self._health = self._health.replace(
            messages_received=self._health.messages_received + 1, last_message_at=utcnow()
        )

    def _should_stop(self) -> bool:
        return self._stop.is_set()

    def _reset_stop(self) -> None:
        self._stop.clear()
