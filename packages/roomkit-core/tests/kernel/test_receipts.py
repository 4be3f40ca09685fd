"""Receipts: what a vendor says later of what was sent."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from roomkit.kernel.receipts import receipt_state
from roomkit.models import (
    ChannelOutput,
    DeliveryState,
    DeliveryStatus,
    HookTrigger,
    ProviderResult,
    ReceiptState,
)
from roomkit_plugins.testing import Hang, RecordingChannel

pytestmark = pytest.mark.virtual_time


class Carrier(RecordingChannel):
    """A channel whose vendor gives out message ids."""

    @property
    def provider_name(self) -> str:
        return "acme"


def sent(*ids: str) -> ChannelOutput:
    return ChannelOutput(
        provider_result=ProviderResult(success=True, provider_message_id=ids[0], parts=ids[1:])
    )


def status(word: str, message_id: str = "m1", **fields: Any) -> DeliveryStatus:
    return DeliveryStatus(provider="acme", message_id=message_id, status=word, **fields)


async def conversation(stage: Any, *script: Any) -> Any:
    await stage.socket("alice")
    await stage.join(Carrier("sms", script=script or [sent("m1")]))
    return stage


async def receipt_of(stage: Any) -> ReceiptState | None:
    (row,) = await stage.kit.list_deliveries(channel_id="sms")
    found: ReceiptState | None = row.receipt
    return found


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("queued", ReceiptState.QUEUED),
        (" Accepted ", ReceiptState.QUEUED),
        ("sent", ReceiptState.SENT),
        ("DELIVERED", ReceiptState.DELIVERED),
        ("seen", ReceiptState.READ),
        ("undelivered", ReceiptState.FAILED),
        ("", None),
        ("typing", None),
    ],
)
def test_vendors_words(word: str, state: ReceiptState | None) -> None:
    """Many words, five meanings."""
    assert receipt_state(word) is state


async def test_a_receipt_finds_its_delivery_and_its_event(stage: Any) -> None:
    """By the vendor's id; the observers are told which event it was."""
    seen = (await conversation(stage)).observe(HookTrigger.ON_DELIVERY_STATUS)
    result = await stage.say()

    row = await stage.kit.process_delivery_status(status("delivered", recipient="+1"))

    assert (row.event_id, row.receipt, row.state) == (result.event.id, "delivered", DeliveryState.SENT)
    (told,) = seen
    assert (told.room_id, told.channel_id, told.event_id) == ("r1", "sms", result.event.id)
    assert told.recipient == "+1"


async def test_any_part_of_a_split_message_finds_the_delivery(stage: Any) -> None:
    """A vendor reports on each segment."""
    await conversation(stage, sent("m1", "m2", "m3"))
    await stage.say()

    for message_id in ("m3", "m2", "m1"):
        assert await stage.kit.process_delivery_status(status("sent", message_id)) is not None


@pytest.mark.parametrize("order", list(permutations(["queued", "sent", "delivered", "read"]))[::3])
async def test_a_receipt_never_goes_back(stage: Any, order: tuple[str, ...]) -> None:
    """Vendors deliver their callbacks in any order, and twice."""
    await conversation(stage)
    await stage.say()
    for word in (*order, *order):
        await stage.kit.process_delivery_status(status(word))

    assert await receipt_of(stage) is ReceiptState.READ


@pytest.mark.parametrize(
    ("words", "end"),
    [
        (["sent", "failed", "delivered"], ReceiptState.FAILED),
        (["delivered", "failed"], ReceiptState.FAILED),
        (["read", "failed"], ReceiptState.READ),
        (["failed", "failed", "read"], ReceiptState.FAILED),
    ],
)
async def test_a_failure_is_final_unless_it_was_read(stage: Any, words: list[str], end: ReceiptState) -> None:
    """Nobody reads what did not arrive."""
    await conversation(stage)
    await stage.say()
    for word in words:
        await stage.kit.process_delivery_status(status(word))

    assert await receipt_of(stage) is end


async def test_a_receipt_for_nothing_we_sent_is_told(stage: Any) -> None:
    """It is neither guessed at nor dropped in silence."""
    seen = (await conversation(stage)).observe(HookTrigger.ON_DELIVERY_STATUS)
    await stage.say()

    assert await stage.kit.process_delivery_status(status("delivered", "other")) is None
    assert seen == []
    assert stage.facts("delivery_status_unmatched") == [
        {"provider": "acme", "message_id": "other", "status": "delivered"}
    ]


async def test_another_vendors_id_is_another_id(stage: Any) -> None:
    """Two vendors may give out the same."""
    await conversation(stage)
    await stage.say()
    other = DeliveryStatus(provider="umbrella", message_id="m1", status="delivered")

    assert await stage.kit.process_delivery_status(other) is None


async def test_a_receipt_that_overtakes_its_send_is_matched_when_it_was_written(stage: Any) -> None:
    """All of them, however they came: the delivery ends where they say, and the observers see each."""
    hang = Hang()
    await stage.socket("alice")
    carrier = await stage.join(Carrier("sms"))
    seen = stage.observe(HookTrigger.ON_DELIVERY_STATUS)

    async def slow(event: Any, binding: Any, context: Any) -> ChannelOutput:
        await hang.wait()
        return sent("m1")

    carrier.deliver = slow
    saying = stage.saying()
    await hang.reached.wait()
    for word in ("delivered", "sent"):
        assert await stage.kit.process_delivery_status(status(word)) is None
    hang.release()
    await saying
    await stage.idle()

    assert await receipt_of(stage) is ReceiptState.DELIVERED
    assert [told.status for told in seen] == ["delivered", "sent"]


async def test_a_word_nobody_knows_is_told_and_not_waited_for(stage: Any) -> None:
    """It would never be matched."""
    await conversation(stage)
    await stage.say()

    assert await stage.kit.process_delivery_status(status("pondering")) is None
    assert stage.facts("delivery_status_unmatched")[0]["status"] == "pondering"


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
async def test_receipts_can_be_followed_with_a_decorator(stage: Any, kind: str) -> None:
    """A plain function will do."""
    seen: list[str] = []

    def plain(told: DeliveryStatus) -> None:
        seen.append(told.status)

    async def awaited(told: DeliveryStatus) -> None:
        seen.append(told.status)

    chosen = plain if kind == "function" else awaited
    assert stage.kit.on_delivery_status(chosen) is chosen
    await conversation(stage)
    await stage.say()
    await stage.kit.process_delivery_status(status("delivered"))

    assert seen == ["delivered"]


async def test_an_observer_that_fails_changes_nothing(stage: Any) -> None:
    """It is reported."""

    async def broken(_status: Any, _context: Any) -> None:
        raise ValueError("no")

    stage.kit.hook(HookTrigger.ON_DELIVERY_STATUS)(broken)
    await conversation(stage)
    await stage.say()

    assert (await stage.kit.process_delivery_status(status("read"))).receipt is ReceiptState.READ
    assert stage.facts("hook_error")[0]["hook"] == "broken"
