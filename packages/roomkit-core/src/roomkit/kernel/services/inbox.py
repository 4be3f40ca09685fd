"""Receiving messages, receipts and signals from outside, for one owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, override

from roomkit.abc.records import checked
from roomkit.abc.services.inbox import Inbox
from roomkit.kernel.runtime.scope import check_committed
from roomkit.models.delivery import InboundMessage, ReceiptWatermark
from roomkit.models.realtime import EphemeralEvent, InboundSignal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.kernel.inbound.pipeline import Wait
    from roomkit.kernel.inbound.signals import InboundSignals
    from roomkit.kernel.operations import RoomOperations
    from roomkit.kernel.services.owner import Owner
    from roomkit.models.delivery import Delivery, DeliveryStatus, InboundResult

__all__ = ["KitInbox"]


class KitInbox(Inbox):
    """Hands an owner's messages, receipts and signals to the kit."""

    def __init__(
        self,
        kit: RoomOperations,
        owner: Owner,
        *,
        receipt: Callable[[DeliveryStatus | ReceiptWatermark], Awaitable[Delivery | None]],
        signals: InboundSignals,
        enter: Callable[[], Awaitable[None]],
    ) -> None:
        self._kit = kit
        self._owner = owner
        self._receipt = receipt
        self._signals = signals
        self._enter = enter

    @override
    async def receive(
        self, message: InboundMessage, *, room_id: str | None = None, wait: Wait = "committed"
    ) -> InboundResult:
        message = checked(message, InboundMessage, "given to inbox.receive()")
        self._owner.channel(message.channel_id)
        return await self._kit.process_inbound(message, room_id=room_id, wait=wait)

    @override
    async def receipt(self, status: DeliveryStatus | ReceiptWatermark) -> Delivery | None:
        if isinstance(status, ReceiptWatermark):
            status = status.replace(channel_id=self._owner.channel(status.channel_id))
        return await self._receipt(status)

    @override
    async def signal(self, signal: EphemeralEvent | InboundSignal) -> None:
        check_committed("a signal")
        if isinstance(signal, InboundSignal):
            signal = checked(signal, InboundSignal, "given to inbox.signal()")
        else:
            signal = checked(signal, EphemeralEvent, "given to inbox.signal()")
        channel_id = self._owner.channel(signal.channel_id)
        await self._enter()
        await self._signals.accept(signal, channel_id)
