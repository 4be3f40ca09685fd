"""The channel that sends codes: the code is made when it is sent, so nothing that is stored has it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, override

from roomkit.abc.channel import Channel
from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import CustomContent, TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelCategory, ChannelMediaType, ChannelType
from roomkit.models.event import SYSTEM_CHANNEL_ID, EventSource, RoomEvent
from roomkit_plugins.agents.state import NAMESPACE
from roomkit_plugins.agents.verification.codes import digest_of, new_code

if TYPE_CHECKING:
    from roomkit.kernel.kit import RoomKit
    from roomkit.models.context import RoomContext
    from roomkit_plugins.agents.verification.book import Book, Whom
    from roomkit_plugins.agents.verification.rules import VerificationRules

__all__ = ["CODE_DESK", "CodeDesk", "carrier_of", "code_event"]

CODE_DESK = "agent-codes"
"""The id of the channel that codes go by on their way to the channel that sends them."""
_KIND = "verification_code"
_TEXT = ChannelCapabilities(media_types=(ChannelMediaType.TEXT, ChannelMediaType.CUSTOM))


def code_event(room_id: str, challenge_id: str) -> RoomEvent:
    """Return what the timeline says of a code: that one is sent."""
    return RoomEvent(
        room_id=room_id,
        source=EventSource(channel_id=SYSTEM_CHANNEL_ID, channel_type=ChannelType.SYSTEM),
        content=CustomContent(kind=_KIND, body="A code was sent.", data={"challenge": challenge_id}),
        visibility=CODE_DESK,
        addressed_to=(),
        idempotency_key=f"code:{challenge_id}",
    )


def carrier_of(kit: RoomKit, channel_id: str) -> Channel:
    """Return the channel that sends the codes.

    Raises InvalidInputError for one that is not registered, or that does not write to an address.
    """
    channel = kit.get_channel(channel_id)
    if channel is None:
        raise InvalidInputError(
            f"codes cannot be sent by {channel_id!r}: no channel of that id is registered; register_channel "
            "first"
        )
    writes = type(channel).first_binding is not Channel.first_binding
    if channel.category is not ChannelCategory.TRANSPORT or channel.follows_rooms or not writes:
        raise InvalidInputError(
            f"codes cannot be sent by {channel_id!r}: it does not write to the address of one person; name a "
            "channel such as SMS or e-mail in send_by="
        )
    return channel


class CodeDesk(Channel):
    """Sends a code by another channel, to the address of its person.

    It is a recipient like any other: the ledger has the delivery, which is retried by the class of its
    failure, on another worker if this one is killed. Each attempt makes another code; all of them count.
    """

    channel_type = ChannelType(NAMESPACE)

    def __init__(self, kit: RoomKit, book: Book, rules: VerificationRules) -> None:
        super().__init__(CODE_DESK)
        self._kit = kit
        self._book = book
        self._rules = rules

    @property
    def _carrier(self) -> Channel | None:
        return self._kit.get_channel(self._rules.send_by or "")

    @property
    @override
    def address_type(self) -> str:
        return super().address_type if self._carrier is None else self._carrier.address_type

    @override
    def capabilities(self) -> ChannelCapabilities:
        return _TEXT

    @override
    def is_idempotent(self, provider: str | None) -> bool:
        return self._carrier is not None and self._carrier.is_idempotent(provider)

    @override
    def pace_key(self, binding: ChannelBinding, event: RoomEvent) -> str:
        return self.channel_id if self._carrier is None else self._carrier.pace_key(binding, event)

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        return None if self._carrier is None else self._carrier.consent_purpose(event, binding)

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        """Make an event of a message; none comes this way."""
        return self.event_of(message, context)

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        """Make a code, keep its digest, and send it."""
        challenge_id = _challenge_in(event)
        organization_id = context.room.organization_id
        whom = None if challenge_id is None else await self._book.whose(challenge_id, organization_id)
        if challenge_id is None or whom is None:
            return ChannelOutput.skipped("verification_over")
        carrier = carrier_of(self._kit, self._rules.send_by or "")
        if binding.address is None:
            raise ProviderError(
                f"a code cannot be sent by {carrier.channel_id!r}: room {binding.room_id!r} has no address",
                error_code=ErrorCode.MISSING_RECIPIENT,
            )
        to = _binding_to(carrier, binding.address, binding.room_id)
        code = new_code(self._rules.code_length)
        minutes = max(1, round(self._rules.code_ttl.total_seconds() / 60))
        words = self._rules.texts.code.format(code=code, minutes=minutes)
        said = event.replace(content=TextContent(body=words))
        if not await self._keep(whom, challenge_id, code):
            return ChannelOutput.skipped("verification_over")
        sent = await carrier.deliver(said, to, context)
        return replace(sent, binding_state=None, rendered=None)  # `rendered` would be kept, with the code

    async def _keep(self, whom: Whom, challenge_id: str, code: str) -> bool:
        """Keep the digest of a code; False if its challenge is over."""
        standing = await self._book.read(whom)
        now = self._book.now()
        if standing is None or standing.with_code(challenge_id, "", now) is None:
            return False
        digest = await digest_of(code, standing.salt)
        after = await self._book.change(
            whom, lambda before: before.with_code(challenge_id, digest, now) or before
        )
        return after.challenge is not None and digest in after.challenge.digests


def _challenge_in(event: RoomEvent) -> str | None:
    content = event.content
    if not isinstance(content, CustomContent) or content.kind != _KIND:
        return None
    return str(content.data.get("challenge"))


def _binding_to(carrier: Channel, address: str, room_id: str) -> ChannelBinding:
    """Return a binding of the carrier to an address, as a message from there would make it."""
    to = carrier.normalize(address)
    first = InboundMessage(channel_id=carrier.channel_id, sender_id=to, content=TextContent(body=""))
    fields = {**carrier.first_binding(first)}
    return ChannelBinding(
        channel_id=carrier.channel_id,
        room_id=room_id,
        channel_type=carrier.channel_type,
        capabilities=carrier.capabilities(),
        **{"address": to, **fields},
    )
