"""A channel of your own: a pager that fails at times. The kernel retries, and the ledger has the truth.

Prints:
    pager: Disk is full (attempt 2)
    sent after 2 attempts as page-1
    failed: invalid_recipient, tried once
"""

import asyncio

from roomkit import (
    Channel,
    ChannelBinding,
    ChannelOutput,
    ChannelType,
    InboundMessage,
    ProviderError,
    ProviderResult,
    RetryPolicy,
    RoomContext,
    RoomEvent,
    RoomKit,
    TextContent,
)
from roomkit.abc.errors import ErrorCode
from roomkit.models.event import EventSource


class PagerChannel(Channel):
    channel_type = ChannelType.PUSH

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.attempts = 0

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        source = EventSource(
            channel_id=self.channel_id, channel_type=self.channel_type, participant_id=message.sender_id
        )
        return RoomEvent(room_id=context.room.id, source=source, content=message.content)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        number = binding.metadata.get("pager")
        if number is None:  # no recipient: trying again would not help
            raise ProviderError("the binding has no pager", error_code=ErrorCode.INVALID_RECIPIENT)
        self.attempts += 1
        if self.attempts == 1:  # the vendor is busy: the kernel tries again
            raise ProviderError("busy", error_code=ErrorCode.OVERLOADED)
        # context.delivery.id is the same for every attempt: give it to vendors as idempotency key.
        print(f"pager: {self.extract_text(event)} (attempt {self.attempts})")
        return ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id="page-1"))


async def main() -> None:
    async with RoomKit(retry_policy=RetryPolicy(base_delay_seconds=0.01)) as kit:
        kit.register_channel(PagerChannel("pager"))
        for room_id, metadata in (("on-call", {"pager": "7"}), ("off-call", {})):
            await kit.create_room(room_id)
            await kit.attach_channel(room_id, "pager", metadata=metadata)
            await kit.send_event(room_id, "system", TextContent(body="Disk is full"))

        sent, failed = await kit.list_deliveries()
        print(f"{sent.state} after {sent.attempts} attempts as {sent.provider_message_id}")
        code = failed.error.code if failed.error is not None else "no error"
        print(f"{failed.state}: {code}, tried {'once' if failed.attempts == 1 else 'again'}")


asyncio.run(main())
