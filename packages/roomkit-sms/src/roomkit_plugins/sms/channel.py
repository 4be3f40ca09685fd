"""SMS and MMS as a channel of rooms."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.opt_out import OptOutWords
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType, ChannelType
from roomkit_plugins.sms.segments import segments_of, utf16_length

if TYPE_CHECKING:
    from roomkit.abc.sms import SMSProvider
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent

__all__ = ["CAPABILITIES", "SMSChannel"]

LONGEST = 1600
"""Characters of one message, in UTF-16 code units: what Twilio takes, and ten to eleven segments of GSM-7."""
CAPABILITIES = ChannelCapabilities(
    media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA),
    max_length=LONGEST,
    supports_media=True,
    supports_delivery_receipts=True,
)
_WRITTEN_TO = "written_to"


class SMSChannel(TransportChannel):
    """Carries text and files to telephones; the recipient is the binding's `metadata["phone_number"]`.

    Text of more than 1,600 characters, or than a provider takes, goes out in several messages, each of at
    most `max_segments` segments if that is given, divided where a reader would. Of several `providers` the
    first is preferred, see `TransportChannel`.

    The sender of a message is the first of: `from_number`; the event's or binding's `from_`; the number that
    the person wrote to last; one of `from_numbers`, always the same for a recipient, on any worker; the
    provider's own.

    A message that says STOP, or a like word of `languages` (see `OptOutWords`) or of `stop_words`, revokes
    its sender's consent to everything, START grants it. Each delivery needs consent for the `purpose` of its
    event's metadata, else for that of the channel; a recipient who opted out at the vendor is skipped as
    `opted_out` as well.
    """

    def __init__(
        self,
        channel_id: str,
        *,
        provider: SMSProvider | None = None,
        providers: Sequence[SMSProvider] = (),
        from_number: str | None = None,
        from_numbers: Sequence[str] = (),
        max_segments: int | None = None,
        purpose: str = "all",
        languages: Collection[str] | None = None,
        stop_words: Collection[str] = (),
    ) -> None:
        super().__init__(
            channel_id,
            ChannelType.SMS,
            provider=provider,
            providers=providers,
            capabilities=_carried_by_all(providers if provider is None else (provider, *providers)),
            recipient_key="phone_number",
            defaults={"from_": from_number},
        )
        if from_number is not None and from_numbers:
            raise InvalidInputError(
                f"channel {channel_id!r} was given from_number and from_numbers: a fixed number leaves no "
                "choice, so give one of them"
            )
        if max_segments is not None and max_segments < 1:
            raise InvalidInputError(
                f"max_segments of channel {channel_id!r} is {max_segments}: give 1 or more"
            )
        self.from_number = from_number
        self.from_numbers = tuple(map(self.normalize, from_numbers))
        self.max_segments = max_segments
        self.purpose = purpose
        self._words = OptOutWords(languages, stop=stop_words)

    # -- inbound ------------------------------------------------------------------------------

    @override
    def admit(self, message: InboundMessage) -> InboundMessage:
        return self._words.admitted(super().admit(message), self.address_type)

    @override
    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        number = message.extra.get("to")
        return {_WRITTEN_TO: number} if isinstance(number, str) and 0 < len(number) <= 40 else {}

    # -- outbound -----------------------------------------------------------------------------

    @override
    def takes_text(self, text: str) -> bool:
        if utf16_length(text) > (self.capabilities().max_length or LONGEST):
            return False
        return self.max_segments is None or segments_of(text).count <= self.max_segments

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        said = event.metadata.get("purpose")
        return said if isinstance(said, str) and said else self.purpose

    @override
    def pace_key(self, binding: ChannelBinding, event: RoomEvent) -> str:
        sender = self.from_number or _named_sender(event, binding) or self._own_sender(binding)
        return self.channel_id if sender is None else f"{self.channel_type}:{sender}"

    @override
    def hints(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Mapping[str, Any]:
        if self.from_number is not None or _named_sender(event, binding) is not None:
            return {}
        sender = self._own_sender(binding)
        return {} if sender is None else {"from_": sender}

    def _own_sender(self, binding: ChannelBinding) -> str | None:
        """Return the number that the person wrote to, or the recipient's own of the pool."""
        pool, written_to = self.from_numbers, binding.state.get(_WRITTEN_TO)
        if isinstance(written_to, str) and (not pool or self.normalize(written_to) in pool):
            return written_to
        if not pool:
            return None
        # Rendezvous hashing: when the pool changes, only those recipients change their number who have to.
        return max(pool, key=lambda number: sha256(f"{number} {binding.address}".encode()).digest())


def _carried_by_all(providers: Sequence[SMSProvider]) -> ChannelCapabilities:
    """Return what each of the providers carries: a message has one form, whichever of them it goes by."""
    each = [provider.capabilities or CAPABILITIES for provider in providers]
    return CAPABILITIES.replace(
        max_length=min((one.max_length or LONGEST for one in each), default=LONGEST),
        supports_delivery_receipts=all(one.supports_delivery_receipts for one in each),
        supports_composite=all(one.supports_composite for one in each),
    )


def _named_sender(event: RoomEvent, binding: ChannelBinding) -> str | None:
    """Return the sender that an event or its binding names."""
    given = event.channel_data.extra.get(ChannelType.SMS)
    said = given.get("from_") if isinstance(given, Mapping) else None
    named = binding.metadata.get("from_") if said is None else said
    return named if isinstance(named, str) and named else None
