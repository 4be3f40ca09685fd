"""RCS as a channel of rooms."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, override

from roomkit.authoring.opt_out import OptOutWords
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType, ChannelType

if TYPE_CHECKING:
    from roomkit.abc.rcs import RCSProvider
    from roomkit.models.channel import ChannelBinding
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
    supports_cards=True,
    supports_quick_replies=True,
    supports_media=True,
)
"""What Google's RCS for business carries; a provider says if its vendor carries less."""


class RCSChannel(TransportChannel):
    """Carries text, files, cards and suggestions to telephones with RCS.

    The recipient is the binding's `metadata["phone_number"]`. With `fallback` the vendor may send an SMS to a
    telephone without RCS. To have the kit decide instead, by receipt and deadline, give `fallback=False` and
    attach the channel with `fallback="sms"` and `fallback_after`: see `ChannelBinding`.

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
        self.purpose = purpose
        self._words = OptOutWords(languages, stop=stop_words)

    @override
    def admit(self, message: InboundMessage) -> InboundMessage:
        return self._words.admitted(super().admit(message), self.address_type)

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        said = event.metadata.get("purpose")
        return said if isinstance(said, str) and said else self.purpose
