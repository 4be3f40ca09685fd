"""RCS as a channel of rooms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.abc.log import get_logger
from roomkit.authoring.opt_out import OptOutWords
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType, ChannelType

if TYPE_CHECKING:
    from roomkit.abc.rcs import RCSProvider
    from roomkit.models.channel import ChannelBinding, ChannelOutput
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent

__all__ = ["CAPABILITIES", "RCSChannel"]

CAPABILITIES = ChannelCapabilities(
    media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH, ChannelMediaType.MEDIA),
    max_length=3072,
    supports_delivery_receipts=True,
    supports_read_receipts=True,
    supports_typing=True,
    supports_rich_text=True,
    supports_buttons=True,
    max_buttons=11,
    max_button_text_length=25,
    supports_cards=True,
    max_cards=10,
    max_card_title_length=200,
    max_card_description_length=2000,
    max_card_buttons=4,
    supports_text_with_cards=False,
    supports_quick_replies=True,
    max_quick_replies=11,
    supports_media=True,
)
"""What Google's RCS for business carries; a provider says if its vendor carries less."""
_KNOWN_FOR = "24h"
"""How long it is known whether a telephone has RCS."""
_log = get_logger("roomkit.rcs")


class RCSChannel(TransportChannel):
    """Carries text, files, cards and suggestions to telephones with RCS.

    The recipient is the binding's `metadata["phone_number"]`. With `fallback` the vendor may send an SMS to a
    telephone without RCS. To have the kit decide instead, by receipt and deadline, give `fallback=False` and
    attach the channel with `fallback="sms"` and `fallback_after`: see `ChannelBinding`. Then the vendor is
    asked before a message whether the telephone has RCS (`is_capable`), unless `check_capability` is False:
    to one without it the delivery fails at once, as `invalid_recipient`, and falls back.

    The channel carries what its first provider does (`RCSProvider.capabilities`). A message that says STOP or
    the like revokes its sender's consent, as by `SMSChannel`; `purpose`, `languages` and `stop_words` are as
    there. Of several `providers` the first is preferred, see `TransportChannel`.
    """

    def __init__(
        self,
        channel_id: str,
        *,
        provider: RCSProvider | None = None,
        providers: Sequence[RCSProvider] = (),
        fallback: bool = True,
        check_capability: bool = True,
        purpose: str = "all",
        languages: Collection[str] | None = None,
        stop_words: Collection[str] = (),
    ) -> None:
        first = provider or next(iter(providers), None)
        super().__init__(
            channel_id,
            ChannelType.RCS,
            provider=provider,
            providers=providers,
            capabilities=(first and first.capabilities) or CAPABILITIES,
            recipient_key="phone_number",
            defaults={"fallback": fallback},
        )
        self.fallback = fallback
        self.check_capability = check_capability
        self._carriers: dict[str, RCSProvider] = {
            each.name: each for each in (*([provider] if provider else ()), *providers)
        }
        self.purpose = purpose
        self._words = OptOutWords(languages, stop=stop_words)

    @override
    def admit(self, message: InboundMessage) -> InboundMessage:
        return self._words.admitted(super().admit(message), self.address_type)

    async def is_capable(self, phone_number: str, *, provider: str | None = None) -> bool:
        """Return whether a telephone has RCS; an answer holds for a day, on every worker.

        `provider` is the name of the one to ask, the first without it. True without a provider, and where
        its vendor cannot say. Raises ProviderError.
        """
        carrier = self._carriers.get(provider or "") or next(iter(self._carriers.values()), None)
        if carrier is None:
            return True
        number = self.normalize(phone_number)
        values = self.services.values if self.services is not None else None
        key = ("capable", self.channel_id, carrier.name, number)
        if values is not None and (known := await values.get(*key)) is not None:
            return bool(known.data["capable"])
        capable = await carrier.check_capability(number)
        if values is not None:
            await values.put(*key, data={"capable": capable}, expires_in=_KNOWN_FOR, subject=number)
        return capable

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        number = binding.metadata.get(self.recipient_key)
        asks = self.check_capability and not self.fallback
        if asks and number and not await self._has_rcs(str(number), context):
            raise ProviderError(
                f"the telephone of room {binding.room_id!r} has no RCS: attach channel {self.channel_id!r} "
                'with fallback="sms", or make it with fallback=True',
                error_code=ErrorCode.INVALID_RECIPIENT,
                accepted=False,
                provider=self.provider_name or "",
            )
        return await super().deliver(event, binding, context)

    async def _has_rcs(self, number: str, context: RoomContext) -> bool:
        """Return whether a message may be sent: also if the vendor does not answer the question."""
        provider = context.delivery.provider if context.delivery is not None else None
        try:
            return await self.is_capable(number, provider=provider)
        except ProviderError as error:
            _log.warning("whether a telephone has RCS is not known, so that it is tried: %s", error)
            return True

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        said = event.metadata.get("purpose")
        return said if isinstance(said, str) and said else self.purpose
