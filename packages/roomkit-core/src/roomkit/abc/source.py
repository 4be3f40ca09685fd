"""The contract of event-driven sources: connections that bring messages in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roomkit.models.enums import SourceStatus
from roomkit.models.source import SourceHealth

if TYPE_CHECKING:
    from roomkit.models.delivery import InboundMessage, InboundResult

__all__ = ["EmitCallback", "SourceProvider"]

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
