"""A channel over any provider that sends to an address."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.channel import Channel
from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.authoring.addresses import one_spelling
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import CompositeContent, EventContent, MediaContent
from roomkit.models.enums import ChannelType

if TYPE_CHECKING:
    from roomkit.abc.provider import SendsToAddress
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage
    from roomkit.models.event import RoomEvent

__all__ = ["TransportChannel"]


class TransportChannel(Channel):
    """A channel configured by its type, capabilities, provider, and where the address is kept.

    The recipient is the binding's `metadata[recipient_key]`. `defaults` are keywords of the role's
    `send`: a value is fixed, None is read from the binding's metadata at each delivery. A delivery
    without a provider is skipped (`no_provider`); without an address it fails (`missing_recipient`).
    `paced_by` names the keyword whose value the vendor's limits count, such as the sending number
    `from_`; without it they count for the channel.
    """

    def __init__(
        self,
        channel_id: str,
        channel_type: ChannelType,
        *,
        provider: SendsToAddress | None = None,
        capabilities: ChannelCapabilities | None = None,
        recipient_key: str = "recipient_id",
        defaults: Mapping[str, Any] | None = None,
        paced_by: str | None = None,
    ) -> None:
        super().__init__(channel_id)
        self.channel_type = channel_type
        self.provider = provider
        self.recipient_key = recipient_key
        self._capabilities = capabilities or ChannelCapabilities()
        self._defaults = dict(defaults or {})
        self._paced_by = paced_by

    @property
    @override
    def info(self) -> dict[str, Any]:
        return {name: value for name, value in self._defaults.items() if value is not None}

    @property
    @override
    def provider_name(self) -> str | None:
        return self.provider.name if self.provider is not None else None

    @override
    def capabilities(self) -> ChannelCapabilities:
        return self._capabilities

    @override
    def pace_key(self, binding: ChannelBinding, event: RoomEvent) -> str:
        name = self._paced_by
        value = self._option(name, binding) if name is not None else None
        return self.channel_id if value is None else f"{self.channel_type}:{value}"

    @override
    def normalize(self, address: str) -> str:
        return one_spelling(self.address_type, address)

    @override
    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        return {"participant_id": message.sender_id, "metadata": {self.recipient_key: message.sender_id}}

    def _option(self, name: str, binding: ChannelBinding) -> Any:
        """Return the value of a keyword of `send`: the fixed one, else the binding's."""
        fixed = self._defaults.get(name)
        return binding.metadata.get(name) if fixed is None else fixed

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        event = self.event_of(message, context)
        kind = self._type_of(message.content)
        if kind is not self.channel_type:
            event = event.replace(source=event.source.replace(channel_type=kind))
        return event

    def _type_of(self, content: EventContent) -> ChannelType:
        """A text message that carries media is an MMS."""
        if self.channel_type is not ChannelType.SMS:
            return self.channel_type
        parts = content.parts if isinstance(content, CompositeContent) else (content,)
        has_media = any(isinstance(part, MediaContent) for part in parts)
        return ChannelType.MMS if has_media else ChannelType.SMS

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        if self.provider is None:
            return ChannelOutput.skipped("no_provider")
        to = binding.metadata.get(self.recipient_key)
        if not to:
            raise ProviderError(
                f"channel {self.channel_id!r} has no recipient in room {binding.room_id!r}: attach it with "
                f"metadata={{{self.recipient_key!r}: ...}}",
                error_code=ErrorCode.MISSING_RECIPIENT,
                provider=self.provider.name,
            )
        options = {name: self._option(name, binding) for name in self._defaults}
        delivery = context.delivery
        result = await self.provider.send(
            event, str(to), idempotency_key=delivery.id if delivery is not None else None, **options
        )
        return ChannelOutput(provider_result=result)

    @override
    async def close(self) -> None:
        if self.provider is not None:
            await self.provider.close()
