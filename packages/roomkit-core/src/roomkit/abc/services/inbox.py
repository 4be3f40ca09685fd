"""Receiving messages, receipts and signals from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from roomkit.models.delivery import (
        Delivery,
        DeliveryStatus,
        InboundMessage,
        InboundResult,
        ReceiptWatermark,
    )
    from roomkit.models.realtime import EphemeralEvent, InboundSignal

__all__ = ["Inbox"]


class Inbox(ABC):
    """Messages, receipts and signals on their way in, as `process_inbound` takes them."""

    @abstractmethod
    async def receive(
        self,
        message: InboundMessage,
        *,
        room_id: str | None = None,
        wait: Literal["settled", "committed"] = "committed",
    ) -> InboundResult:
        """Take a message of the owner's channel in; return once it is committed or refused.

        A refusal is a result, `blocked` with its `reason`. StoreError means that nothing was stored: retry
        with the same `idempotency_key`, and do not acknowledge the message before. With `wait="settled"` it
        returns when the deliveries and answers are completed too. Without `room_id` the message is routed.
        Raises InvalidInputError for a message of another owner's channel, and what `process_inbound` raises.
        """

    @abstractmethod
    async def receipt(self, status: DeliveryStatus | ReceiptWatermark) -> Delivery | None:
        """Match a vendor's receipt to its delivery; None if nothing matches yet. Idempotent.

        A watermark is a receipt for all that it passes, of which the newest is returned; without `channel_id`
        it is of the owner's channel. Raises InvalidInputError for one with wrong fields, and for a watermark
        of another owner's channel.
        """

    @abstractmethod
    async def signal(self, signal: EphemeralEvent | InboundSignal) -> None:
        """Publish a signal of the owner's channel, such as typing, to its room; nothing is stored.

        An `InboundSignal` goes to the room where a message of its sender would go. A signal is dropped where
        the channel may not write: in a room that is closed or that it is not attached to.
        Raises InvalidInputError for a signal of another owner's channel.
        """
