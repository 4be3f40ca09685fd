"""Receipts: what a vendor says later of a delivery."""

from __future__ import annotations

from itertools import combinations, permutations
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
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
    ("state", "words"),
    [
        (ReceiptState.QUEUED, ["queued", " Accepted ", "scheduled", "Submission", "processed"]),
        (ReceiptState.SENDING, ["sending", "deferred", "FailedAttempt"]),
        (ReceiptState.SENT, ["sent", "DISPATCHED", "delivery_unconfirmed"]),
        (ReceiptState.PARTIAL, ["partial", "partially_delivered"]),
        (ReceiptState.DELIVERED, ["DELIVERED"]),
        (ReceiptState.READ, ["read", "seen", "PLAYED", "open", "click", "watermark"]),
        (ReceiptState.FAILED, ["failed", "sending_failed", "ABORTED", "REJECTED", "dropped", "Suppress"]),
        (ReceiptState.UNDELIVERED, ["undelivered", "delivery_failed", "bounce", "Error"]),
        (ReceiptState.EXPIRED, ["expired", "EXPIRED"]),
        (ReceiptState.CANCELED, ["canceled", "CANCELLED", "DELETED"]),
        (ReceiptState.UNKNOWN, ["", "typing", "unknown", "UNKNOWN"]),
    ],
)
def test_vendors_words(state: ReceiptState, words: list[str]) -> None:
    """Many words, few meanings; each state's own name means that state."""
    assert {ReceiptState.of_word(word) for word in (*words, state.value)} == {state}


async def test_a_receipt_finds_its_delivery_and_its_event(stage: Any) -> None:
    seen = (await conversation(stage)).observe(HookTrigger.ON_DELIVERY_STATUS)
    result = await stage.say()

    row = await stage.kit.process_delivery_status(status("delivered", recipient="+1"))

    assert (row.event_id, row.receipt, row.state) == (result.event.id, "delivered", DeliveryState.SENT)
    (told,) = seen
    assert (told.room_id, told.channel_id, told.event_id) == ("r1", "sms", result.event.id)
    assert told.recipient == "+1"


async def test_any_part_of_a_split_message_finds_the_delivery(stage: Any) -> None:
    await conversation(stage, sent("m1", "m2", "m3"))
    await stage.say()

    for message_id, reached in (("m3", None), ("m2", None), ("m1", ReceiptState.SENT)):
        row = await stage.kit.process_delivery_status(status("sent", message_id))
        assert row.receipt is reached


@pytest.mark.parametrize(
    ("words", "whole"),
    [
        (["delivered", "delivered", "delivered"], ReceiptState.DELIVERED),
        (["read", "delivered", "sent"], ReceiptState.SENT),
        (["delivered", "delivered"], None),
        (["delivered", "failed"], ReceiptState.PARTIAL),
        (["failed", "undelivered", "expired"], ReceiptState.FAILED),
        (["delivered", "nonsense", "read"], ReceiptState.UNKNOWN),
    ],
)
async def test_a_message_in_pieces_stands_where_its_last_piece_does(
    stage: Any, words: list[str], whole: ReceiptState | None
) -> None:
    """What the kit split is delivered when all of it is."""
    await stage.socket("alice")
    short = RecordingChannel("x").capabilities().replace(max_length=3)
    pieces = [sent(f"p{number}") for number in range(3)]
    await stage.join(Carrier("sms", script=pieces, capabilities=short))
    await stage.say("abcdefghi")
    for number, word in enumerate(words):
        await stage.kit.process_delivery_status(status(word, f"p{number}"))

    assert await receipt_of(stage) is whole


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
        (["failed", "failed", "read"], ReceiptState.READ),
        (["delivered", "expired"], ReceiptState.DELIVERED),
        (["undelivered", "delivered"], ReceiptState.DELIVERED),
    ],
)
async def test_a_failure_is_final_unless_it_was_read(stage: Any, words: list[str], end: ReceiptState) -> None:
    await conversation(stage)
    await stage.say()
    for word in words:
        await stage.kit.process_delivery_status(status(word))

    assert await receipt_of(stage) is end


def test_receipts_lead_to_one_state_in_every_order() -> None:
    """Each state follows the other, or is followed by it."""
    for states in combinations(ReceiptState, 3):
        reached = set()
        for order in permutations(states):
            at: ReceiptState | None = None
            for state in order:
                at = state if state.follows(at) else at
            reached.add(at)
        assert len(reached) == 1, states


@pytest.mark.parametrize("room_id", [None, "r1", "no such room"])
async def test_a_receipt_for_nothing_we_sent_is_shown_to_the_handlers(stage: Any, room_id: Any) -> None:
    """Programs also send outside the kit; nothing is guessed."""
    handled: list[DeliveryStatus] = []
    stage.kit.on_delivery_status(handled.append)
    seen = (await conversation(stage)).observe(HookTrigger.ON_DELIVERY_STATUS)
    await stage.say()

    given = status("delivered", "other", room_id=room_id)
    assert await stage.kit.process_delivery_status(given) is None
    assert seen == handled == [given]
    assert given.event_id is None
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
    matched = [told.status for told in seen if told.event_id is not None]
    assert matched == ["delivered", "sent"]
    assert [told.status for told in seen if told.event_id is None] == ["delivered", "sent"]


async def test_a_word_that_is_not_known_is_kept_as_unknown(stage: Any) -> None:
    """The observers see the vendor's own word, and any known one follows."""
    seen = (await conversation(stage)).observe(HookTrigger.ON_DELIVERY_STATUS)
    await stage.say()

    row = await stage.kit.process_delivery_status(status("pondering"))
    assert (row.receipt, seen[0].status) == (ReceiptState.UNKNOWN, "pondering")
    await stage.kit.process_delivery_status(status("queued"))
    assert await receipt_of(stage) is ReceiptState.QUEUED
    await stage.kit.process_delivery_status(status("pondering"))
    assert await receipt_of(stage) is ReceiptState.QUEUED


@pytest.mark.parametrize(
    "named", [{"provider": ""}, {}, {"provider": "pigeons"}, {"provider": "Emma's loft"}], ids=str
)
@pytest.mark.parametrize("is_early", [False, True])
async def test_a_receipt_for_a_channel_without_a_provider_matches_by_the_channel(
    stage: Any, named: dict[str, str], is_early: bool
) -> None:
    await stage.socket("alice")
    await stage.join(RecordingChannel("pigeons", script=[sent("Emma")]))
    receipt = DeliveryStatus(channel_id="pigeons", message_id="Emma", status="delivered", **named)
    if not is_early:
        await stage.say()
    await stage.kit.process_delivery_status(receipt)
    if is_early:
        await stage.say()

    (row,) = await stage.kit.list_deliveries(channel_id="pigeons")
    assert row.receipt is ReceiptState.DELIVERED


async def test_channels_without_a_provider_do_not_share_their_ids(stage: Any) -> None:
    """Two lofts may have a pigeon of the same name."""
    await stage.socket("alice")
    for loft in ("here", "there"):
        await stage.join(RecordingChannel(loft, script=[sent("Emma")]))
    await stage.say()
    row = await stage.kit.process_delivery_status(
        DeliveryStatus(channel_id="there", message_id="Emma", status="read")
    )
    assert row.channel_id == "there"


@pytest.mark.parametrize("kind", ["function", "coroutine function"])
async def test_receipts_can_be_followed_with_a_decorator(stage: Any, kind: str) -> None:
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
    async def broken(_status: Any, _context: Any) -> None:
        raise ValueError("no")

    stage.kit.hook(HookTrigger.ON_DELIVERY_STATUS)(broken)
    await conversation(stage)
    await stage.say()

    assert (await stage.kit.process_delivery_status(status("read"))).receipt is ReceiptState.READ
    assert stage.facts("hook_error")[0]["hook"] == "broken"


# -- a message whose answer was lost --------------------------------------------------------------


class OnceOnly(Carrier):
    """A carrier without idempotency keys, whose receipts may bring the key of a message back."""

    brings_back = True

    def is_idempotent(self, provider: str | None) -> bool:
        return False

    def returns_key(self, provider: str | None) -> bool:
        return self.brings_back


LOST = ProviderError("no answer", error_code=ErrorCode.TIMEOUT)


async def lost(stage: Any, *script: Any, brings_back: bool = True, say: bool = True) -> Any:
    """Send a message of which the vendor's answer is lost; return the id of its row."""
    await stage.socket("alice")
    channel = await stage.join(OnceOnly("sms", script=[LOST, *script]))
    channel.brings_back = brings_back
    if say:
        await stage.say()
        (row,) = await stage.kit.list_deliveries(channel_id="sms")
        assert (row.state, row.error.code, row.vendor_ids) == (DeliveryState.FAILED, "outcome_unknown", ())
        return row.id
    return None


async def test_a_late_receipt_finds_a_message_whose_answer_was_lost(stage: Any) -> None:
    """By the key that the vendor brings back; observers learn of which event it is."""
    row_id = await lost(stage)
    seen: list[DeliveryStatus] = []
    stage.kit.on_delivery_status(seen.append)
    for word in ("sent", "delivered", "sent"):
        row = await stage.kit.process_delivery_status(status(word, "vendors", reference=row_id))
        assert row.id == row_id
    assert await receipt_of(stage) is ReceiptState.DELIVERED
    assert [(each.message_id, each.event_id) for each in seen] == [("vendors", row_id.split(":")[0])] * 3


async def test_a_receipt_may_come_before_the_failure_is_known(stage: Any) -> None:
    """While the answer is still waited for."""
    await lost(stage, say=False)
    event = await stage.say(wait="committed")
    row_id = f"{event.event.id}:sms"
    await stage.kit.process_delivery_status(status("delivered", "vendors", reference=row_id))
    await stage.idle()
    assert await receipt_of(stage) is ReceiptState.DELIVERED


@pytest.mark.parametrize("reference", [None, "another:sms"])
async def test_without_its_key_a_receipt_finds_no_lost_message(stage: Any, reference: str | None) -> None:
    await lost(stage)
    assert await stage.kit.process_delivery_status(status("sent", "vendors", reference=reference)) is None
    assert await receipt_of(stage) is None


async def test_a_key_that_is_not_brought_back_is_not_kept(stage: Any) -> None:
    await lost(stage, brings_back=False)
    (row,) = await stage.kit.list_deliveries(channel_id="sms")
    assert row.message_ids == ()


async def test_a_known_message_is_matched_by_its_own_id(stage: Any) -> None:
    """A reference changes nothing there."""
    await conversation(stage)
    await stage.say()
    row = await stage.kit.process_delivery_status(status("delivered", reference="nonsense"))
    assert row.receipt is ReceiptState.DELIVERED


async def test_what_is_sent_again_has_the_vendors_id_alone(stage: Any) -> None:
    """The key stood for it; the receipt of either message moves the row."""
    row_id = await lost(stage, sent("m2"))
    await stage.kit.retry_delivery(row_id)
    await stage.idle()
    (row,) = await stage.kit.list_deliveries(channel_id="sms")
    assert (row.state, row.message_ids) == (DeliveryState.SENT, ("m2",))
    for receipt in (status("sent", "vendors", reference=row_id), status("delivered", "m2")):
        assert (await stage.kit.process_delivery_status(receipt)).id == row_id
    assert await receipt_of(stage) is ReceiptState.DELIVERED
