"""What a provider returns without validation: the message is sent, and its row can be read and matched."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.models.channel import ChannelOutput
from roomkit.models.delivery import DeliveryStatus, ProviderResult
from roomkit.models.enums import DeliveryState, ReceiptState
from roomkit_plugins.testing import RecordingChannel


class Unchecked(RecordingChannel):
    """A channel whose provider's results were made by `model_construct`."""

    fields: dict[str, Any]

    async def deliver(self, *_arguments: Any, **_options: Any) -> ChannelOutput:
        values = {"success": True, "provider_message_id": "m", "parts": (), **self.fields}
        return ChannelOutput(provider_result=ProviderResult.model_construct(**values))


@pytest.mark.parametrize(
    ("fields", "ids"),
    [
        ({"provider_message_id": 17}, ("17",)),
        ({"parts": (1,)}, ("m", "1")),
        ({"parts": ("m", 2, None)}, ("m", "2", "NoneType")),
        ({"parts": 5}, ("m", "5")),
        ({"parts": ["a"]}, ("m", "list")),
        ({"provider_message_id": object()}, ("object",)),
        ({"provider_message_id": 10**4300}, ("int",)),
        ({"provider_message_id": True}, ("bool",)),
    ],
)
async def test_ids_that_are_no_text_are_repaired(
    stage: Any, fields: dict[str, Any], ids: tuple[str, ...]
) -> None:
    """So that the row can be read, and a receipt finds it."""
    channel = Unchecked("out")
    channel.fields = fields
    stage.kit.register_channel(channel)
    await stage.socket("alice")
    await stage.kit.attach_channel("r1", "out")
    await stage.say("hello", by="alice")

    (row,) = await stage.kit.list_deliveries("r1", channel_id="out")
    assert (row.state, row.message_ids) == (DeliveryState.SENT, ids)
    status = DeliveryStatus(channel_id="out", provider="out", message_id=ids[0], status="delivered")
    matched = await stage.kit.process_delivery_status(status)
    assert matched is not None
    assert matched.receipt in (ReceiptState.DELIVERED, None)
