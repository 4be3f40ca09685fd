"""`Channel.event_of` sets each field of an event itself: none is missing, and each is valid."""

from __future__ import annotations

from typing import override

import pytest
from hypothesis import given

from roomkit.abc.channel import Channel
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ChannelType
from roomkit.models.event import RoomEvent
from roomkit.models.room import Room
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records


class _Post(Channel):
    channel_type = ChannelType.EMAIL

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        return ChannelOutput.empty()


@pytest.mark.parametrize("provider", [None, "acme"])
@PROPERTY
@given(message=records(InboundMessage))
def test_the_event_of_a_message_is_a_valid_and_whole_record(
    message: InboundMessage, provider: str | None
) -> None:
    channel = (
        _Post("post") if provider is None else type("_Acme", (_Post,), {"provider_name": provider})("post")
    )
    event = channel.event_of(message, RoomContext(Room(id="r1")))
    event.take_source()
    for record in (event, event.source, event.channel_data):
        assert list(record.__dict__) == list(type(record).model_fields)
        assert type(record)(**record.__dict__) == record
