"""Whether a recipient agrees to an attempt of a delivery."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from roomkit.abc.attributes import read
from roomkit.abc.errors import ErrorCode, ForeignCodeError, StoreError
from roomkit.abc.log import get_logger
from roomkit.kernel.flow.contract import OPTIONAL_TEXT, owner_of
from roomkit.models.delivery import DeliveryError
from roomkit.models.values import message_of

if TYPE_CHECKING:
    from collections.abc import Collection

    from roomkit.abc.channel import Channel
    from roomkit.kernel.consent.consents import Consents
    from roomkit.kernel.delivery.pacing import Pacing
    from roomkit.kernel.flow.context import RecordContext
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.event import RoomEvent

__all__ = ["OPTED_OUT", "ConsentCheck"]

_log = get_logger("roomkit.kernel")
_LONGEST_WAIT = 60.0
OPTED_OUT = "opted_out"


class ConsentCheck:
    """Asks the register of consents before each attempt of a channel that names a purpose.

    While the register cannot be read, the delivery waits: that is not a failure of its provider.
    """

    def __init__(self, consents: Consents, pacing: Pacing, require_opt_in: Collection[str]) -> None:
        self._consents = consents
        self._pacing = pacing
        self._require_opt_in = require_opt_in

    async def __call__(
        self,
        event: RoomEvent,
        channel: Channel,
        binding: ChannelBinding,
        context: RecordContext,
    ) -> DeliveryError | str | None:
        """Return why the attempt may not be made: an error, or a reason to skip it. None if it may."""
        owner = owner_of(binding.channel_id)
        try:
            purpose: str | None = read(
                owner, "consent_purpose()", lambda: channel.consent_purpose(event, binding), OPTIONAL_TEXT
            )
        except ForeignCodeError as wrong:
            return DeliveryError(code=wrong.code, message=message_of(wrong))
        if purpose is None:
            return None
        if binding.address is None:
            message = f"{owner} needs consent for {purpose!r}, and its binding has no address to judge it by"
            return DeliveryError(code=ErrorCode.MISSING_RECIPIENT, message=message)
        is_allowed = await self._allows(event, binding, context, purpose, binding.address)
        return None if is_allowed else OPTED_OUT

    async def _allows(
        self, event: RoomEvent, binding: ChannelBinding, context: RecordContext, purpose: str, address: str
    ) -> bool:
        for attempt in count():
            try:
                return await self._consents.allows(
                    binding.addresses,
                    address,
                    purpose,
                    context.room.organization_id,
                    event=event,
                    delivery_id=f"{event.id}:{binding.channel_id}",
                    is_required=purpose in self._require_opt_in,
                )
            except StoreError as error:
                _log.warning(
                    "delivery of %s to %s waits: consent cannot be read: %s",
                    event.id,
                    binding.channel_id,
                    error,
                )
                await self._pacing.sit_out(binding, min(_LONGEST_WAIT, 2.0**attempt))
        raise AssertionError("unreachable")
