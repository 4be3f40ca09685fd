"""Receipts for everything up to an instant, as some vendors give them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read
from roomkit.abc.errors import InvalidInputError, StoreError
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.contract import owner_of
from roomkit.models.delivery import DeliveryStatus
from roomkit.models.enums import DeliveryState, ReceiptState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from roomkit.abc.store import ConversationStore
    from roomkit.kernel.runtime.channels import Channels
    from roomkit.kernel.runtime.supervisor import Supervisor
    from roomkit.models.delivery import Delivery, ReceiptWatermark

__all__ = ["Watermarks", "of_channel"]

_log = get_logger("roomkit.kernel")
_MOST_ROOMS = 20
_PAGE = 50
_MOST_PAGES = 200
_AGAIN = 5.0
"""Seconds until a watermark is looked at again that came while a message was on its way."""
_LONGEST_CALL = 2.0
"""The seconds of a delivery that count as its call of the vendor: before that it may have waited."""


class Watermarks:
    """Turns a watermark into a receipt for each delivery that it passes.

    A vendor may report that a message was read before its answer to the send of it has come: where
    something is still on its way, the watermark is looked at once more.
    """

    def __init__(
        self,
        *,
        store: ConversationStore,
        channels: Channels,
        supervisor: Supervisor,
        take: Callable[[DeliveryStatus], Awaitable[Delivery | None]],
    ) -> None:
        self._store = store
        self._channels = channels
        self._supervisor = supervisor
        self._take = take
        self._waiting: dict[tuple[str, str, str], ReceiptWatermark] = {}  # bound: the recipients of _AGAIN s

    async def take(self, mark: ReceiptWatermark) -> Delivery | None:
        """Move the receipts of the deliveries that a watermark passes; return the newest of them.

        Raises InvalidInputError for one that names no channel, has a time without a zone, or says neither
        delivered nor read.
        """
        channel_id = mark.channel_id
        if channel_id is None:
            raise InvalidInputError("a ReceiptWatermark has no channel_id: name the channel that it is for")
        if mark.at.tzinfo is None:
            raise InvalidInputError(
                f"a ReceiptWatermark for channel {channel_id!r} is at {mark.at.isoformat()}, without a "
                "time zone: use datetime.fromtimestamp(seconds, UTC)"
            )
        receipt = ReceiptState.of_word(mark.status)
        if receipt not in (ReceiptState.DELIVERED, ReceiptState.READ):
            raise InvalidInputError(
                f"a ReceiptWatermark for channel {channel_id!r} says {mark.status!r}: it can say that all "
                "was delivered or read; give a DeliveryStatus for one message"
            )
        newest, is_open = await self._apply(mark, channel_id, receipt)
        if is_open:
            self._look_again(mark, channel_id, receipt)
        return newest

    def _look_again(self, mark: ReceiptWatermark, channel_id: str, receipt: ReceiptState) -> None:
        key = channel_id, mark.recipient, receipt.value
        is_awaited = key in self._waiting
        self._waiting[key] = mark
        if not is_awaited:
            name = f"a watermark of channel {channel_id}"
            self._supervisor.serve(self._applied_later(key, channel_id, receipt), name)

    async def _applied_later(self, key: tuple[str, str, str], channel_id: str, receipt: ReceiptState) -> None:
        await asyncio.sleep(_AGAIN)
        try:
            await self._apply(self._waiting.pop(key), channel_id, receipt)
        except StoreError:
            _log.warning("a watermark of channel %s was not looked at again", channel_id, exc_info=True)

    async def _apply(
        self, mark: ReceiptWatermark, channel_id: str, receipt: ReceiptState
    ) -> tuple[Delivery | None, bool]:
        """Return the newest delivery whose receipt was moved, and whether any is still on its way."""
        channel = self._channels.get(channel_id)
        address = mark.recipient
        if channel is not None:
            address = read(owner_of(channel_id), "normalize()", lambda: channel.normalize(address), str)
        newest: Delivery | None = None
        is_open = False
        for room_id in await self._store.find_address_room_ids(
            channel_id, address, limit=_MOST_ROOMS, closed=True
        ):
            found, waits = await self._apply_to(room_id, mark, channel_id, receipt)
            newest, is_open = newest or found, is_open or waits
        return newest, is_open

    async def _apply_to(
        self, room_id: str, mark: ReceiptWatermark, channel_id: str, receipt: ReceiptState
    ) -> tuple[Delivery | None, bool]:
        """Go through the deliveries of a room, page by page, until one has nothing more to be moved."""
        newest: Delivery | None = None
        is_open, after = False, None
        for _ in range(_MOST_PAGES):
            page = await self._store.list_deliveries(
                room_id, channel_id=channel_id, limit=_PAGE, after=after, newest_first=True
            )
            is_open = is_open or any(row.state is DeliveryState.PENDING for row in page)
            passed = [row for row in page if _is_passed(row, mark)]
            due = [row for row in passed if _may_move(row, receipt)]
            moved = [await self._move(row, mark, channel_id) for row in reversed(due)]
            newest = newest or (moved[-1] if moved else None)
            if len(page) < _PAGE or (passed and not due):
                return newest, is_open
            after = page[-1].id
        _log.warning(
            "a watermark of channel %s passes more than %s deliveries of room %s: older ones have no receipt",
            channel_id,
            _PAGE * _MOST_PAGES,
            room_id,
        )
        return newest, is_open

    async def _move(self, row: Delivery, mark: ReceiptWatermark, channel_id: str) -> Delivery:
        """Give every part of a delivery its receipt; return its row."""
        for message_id in row.message_ids:
            status = DeliveryStatus(
                provider=row.provider or channel_id,
                message_id=message_id,
                status=mark.status,
                channel_id=channel_id,
                recipient=mark.recipient,
                timestamp=mark.at,
                raw=mark.raw,
            )
            row = await self._take(status) or row
        return row


def of_channel(mark: ReceiptWatermark, channel_id: str) -> ReceiptWatermark:
    """Return a watermark that came in by a channel, for it. Raises InvalidInputError for another's."""
    if mark.channel_id is None:
        return mark.replace(channel_id=channel_id)
    if mark.channel_id != channel_id:
        raise InvalidInputError(
            f"channel {channel_id!r} brought a watermark of channel {mark.channel_id!r}: name its own"
        )
    return mark


def _is_passed(row: Delivery, mark: ReceiptWatermark) -> bool:
    """Whether a delivery was sent before a watermark, by the provider that it is of.

    The vendor's time of a message lies between the call and its answer, so that it counts from the call.
    """
    if row.state is not DeliveryState.SENT or row.finished_at is None or not row.message_ids:
        return False
    if mark.provider and row.provider not in (None, mark.provider):
        return False
    call = min((row.duration_ms or 0.0) / 1000, _LONGEST_CALL)
    return row.finished_at - timedelta(seconds=call) <= mark.at


def _may_move(row: Delivery, receipt: ReceiptState) -> bool:
    """Whether a receipt says more of a delivery than is known; one that the vendor lost was not read."""
    return row.receipt is None or (not row.receipt.is_failure and receipt.follows(row.receipt))
