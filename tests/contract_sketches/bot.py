"""A bot that is polled: one connection of all workers, and an offset that survives them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from roomkit import (
    BaseSourceProvider,
    ChannelBinding,
    ChannelOutput,
    ChannelType,
    DeliveryStatus,
    EphemeralEvent,
    EphemeralEventType,
    InboundMessage,
    InboundResult,
    ProviderResult,
    RoomContext,
    RoomEvent,
    SourceStatus,
    TextContent,
    text_of,
)
from roomkit.abc import Channel, EmitCallback

type Update = Mapping[str, Any]
type Poll = Callable[[int], Awaitable[Sequence[Update]]]


class BotFeed(BaseSourceProvider):
    """Long polling. An offset confirms the updates before it, so it is stored after them."""

    def __init__(self, channel_id: str, poll: Poll) -> None:
        super().__init__()
        self._channel_id = channel_id
        self._poll = poll

    @property
    def name(self) -> str:
        return f"bot of {self._channel_id}"

    async def start(self, emit: EmitCallback) -> None:
        assert self.services is not None
        values = self.services.values
        self._reset_stop()
        self._set_status(SourceStatus.CONNECTED)
        kept = await values.get("offset", self._channel_id)
        offset = 0 if kept is None else int(kept.data["next"])
        while not self._should_stop():
            updates = await self._poll(offset)
            await asyncio.gather(*(self._hand_over(emit, each) for each in updates))
            offset = max((int(each["id"]) + 1 for each in updates), default=offset)
            await values.put("offset", self._channel_id, data={"next": offset}, fence=self.home)

    async def _hand_over(self, emit: EmitCallback, update: Update) -> None:
        self._record_message()
        result = await emit(self._part(update))
        if isinstance(result, InboundResult) and not result.stored:
            raise ConnectionError(f"update {update['id']} was not stored: it is polled again")

    def _part(self, update: Update) -> InboundMessage | DeliveryStatus | EphemeralEvent:
        if "seen" in update:
            return DeliveryStatus(channel_id=self._channel_id, message_id=update["seen"], status="read")
        if "typing" in update:
            return EphemeralEvent(
                room_id=update["typing"],
                type=EphemeralEventType.TYPING_START,
                user_id=update["chat"],
                channel_id=self._channel_id,
            )
        return InboundMessage(
            channel_id=self._channel_id,
            sender_id=update["chat"],
            content=TextContent(body=update["text"]),
            idempotency_key=str(update["id"]),
        )


class BotChannel(Channel):
    """A channel type of the plugin's own, written on the class."""

    channel_type = ChannelType("pollbot")

    def __init__(self, channel_id: str, post: Callable[..., Awaitable[str]]) -> None:
        super().__init__(channel_id)
        self._post = post

    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        return {"address": message.sender_id, "metadata": {"chat": message.sender_id}}

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        key = None if context.delivery is None else context.delivery.id
        sent = await self._post(key, chat=binding.metadata["chat"], text=text_of(event.content))
        return ChannelOutput(provider_result=ProviderResult(success=True, provider_message_id=sent))
