"""The contract of event-driven sources: connections that bring messages in."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from roomkit.models.enums import SourceStatus
from roomkit.models.source import SourceHealth

if TYPE_CHECKING:
    from roomkit.abc.services import Home, Services
    from roomkit.models.delivery import (
        Delivery,
        DeliveryStatus,
        InboundMessage,
        InboundResult,
        ReceiptWatermark,
    )
    from roomkit.models.realtime import EphemeralEvent, InboundSignal

__all__ = ["EmitCallback", "SourceProvider"]

type EmitCallback = Callable[
    [InboundMessage | DeliveryStatus | ReceiptWatermark | EphemeralEvent | InboundSignal],
    Awaitable[InboundResult | Delivery | None],
]
"""Hands a message, receipt or signal to the kit; returns once it is committed.

A message has an InboundResult: acknowledge it at the vendor if `result.stored`. A receipt has the delivery
that it belongs to, or None. While the store fails, a message is not committed in time, or the channel's
limit is used up, `emit` waits and retries until the source is stopped. It never raises: a message that is
refused or fails otherwise has a blocked InboundResult. Calls for one sender are taken in one after the
other, in the order in which they were made; others beside each other. If the store fails after it has
committed, a message without `idempotency_key` may be committed twice.
"""


class SourceProvider(ABC):
    """A connection that brings messages in."""

    services: Services | None = None
    home: Home | None = None
    """The election under which it runs, if it is attached with `single`; its token fences what it writes."""

    def bind(self, services: Services) -> None:
        """Take the kit's services; called once, by `attach_source`, before `start`.

        They have the source's own namespace; the channel is the one that it is attached to.
        """
        self.services = services

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

        Awaiting `emit` is the back-pressure. May be called again after it ended. Attached with `single`, it
        is called on one worker of all, and cancelled when the worker's lease runs out.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Make `start` return soon. Idempotent."""

    async def healthcheck(self) -> SourceHealth:
        """Return a snapshot of the source."""
        return SourceHealth(status=self.status)
