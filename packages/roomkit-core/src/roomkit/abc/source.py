"""The contract of event-driven sources: connections that bring messages in."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roomkit.models.base import utcnow
from roomkit.models.enums import SourceStatus
from roomkit.models.source import SourceHealth

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage, InboundResult

__all__ = ["BaseSourceProvider", "EmitCallback", "SourceProvider"]

type EmitCallback = Callable[[InboundMessage], Awaitable[InboundResult]]
"""Hands a message to the kit. It never raises: a refused or failed message gives a blocked result."""


class SourceProvider(ABC):
    """A connection that brings messages in."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What the source is connected to, without credentials."""

    @property
    def status(self) -> SourceStatus:
        """The state of the connection."""
        return SourceStatus.STOPPED

    @abstractmethod
    async def start(self, emit: EmitCallback) -> None:
        """Run until stopped (return) or broken beyond the source's own repair (raise).

        Awaiting `emit` is the back-pressure. May be called again after it ended.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Make `start` return soon. Idempotent."""

    async def healthcheck(self) -> SourceHealth:
        """Return a snapshot of the source."""
        return SourceHealth(status=self.status)


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
