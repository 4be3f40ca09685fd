"""Receipts for everything up to an instant, and signals of people whose room the vendor does not know."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pytest

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError, StoreUnavailableError
from roomkit.abc.provider import WebhookPart
from roomkit.abc.store import ConversationStore
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import DeliveryStatus, ProviderResult, ReceiptWatermark
from roomkit.models.enums import (
    Access,
    ChannelType,
    EphemeralEventType,
    HookTrigger,
    ParticipantStatus,
    ReceiptState,
)
from roomkit.models.realtime import EphemeralEvent, InboundSignal
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing import MockSMSProvider, ScriptedSource

READ, DELIVERED, FAILED = ReceiptState.READ, ReceiptState.DELIVERED, ReceiptState.FAILED
NUMBER, OTHER = "+14165550123", "+14165550199"
REQUEST = WebhookRequest(method="POST", url="https://example.com/", headers={}, body=b"")


class Vendor(MockSMSProvider):
    """A vendor that takes a while for each message, numbers them, and calls back with `parts`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(name="acme", **options)
        self.parts: Sequence[WebhookPart] = ()
        self.count = 0

    def _accepted(self, send: Any) -> ProviderResult:
        self.count += 1
        return ProviderResult(success=True, provider_message_id=f"m{self.count}")

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        return self.parts


async def sms(stage: Any, room: str = "r1", to: str = NUMBER, **options: Any) -> Vendor:
    vendor = Vendor(**options)
    channel = TransportChannel(
        "sms", ChannelType.SMS, provider=vendor, capabilities=ChannelCapabilities(max_length=40)
    )
    await stage.join(channel, room, metadata={"recipient_id": to})
    return vendor


async def send(stage: Any, *texts: str, room: str = "r1") -> None:
    for text in texts:
        await stage.say(text, room=room)


async def receipts(stage: Any, room: str = "r1") -> list[ReceiptState | None]:
    rows = await stage.kit.list_deliveries(room, channel_id="sms", limit=1000)
    return [row.receipt for row in rows]


def mark(stage: Any, status: str = "read", seconds: float = 0.0, **fields: Any) -> ReceiptWatermark:
    at = stage.kit.clock.now() + timedelta(seconds=seconds)
    return ReceiptWatermark(**{"channel_id": "sms", "recipient": NUMBER, "status": status, "at": at} | fields)


@pytest.fixture
async def vendor(stage: Any) -> Vendor:
    await stage.socket("alice")
    return await sms(stage)


@pytest.mark.virtual_time
class TestWatermarks:
    async def test_everything_sent_by_then_has_the_receipt(self, stage: Any, vendor: Vendor) -> None:
        seen = stage.observe(HookTrigger.ON_DELIVERY_STATUS)
        await send(stage, "one", "two")
        await asyncio.sleep(10)
        passed = mark(stage)
        await asyncio.sleep(10)
        await send(stage, "three")
        row = await stage.kit.process_delivery_status(passed)

        assert await receipts(stage) == [READ, READ, None]
        assert row.provider_message_id == "m2"
        said = [(each.message_id, each.status, each.recipient, each.timestamp) for each in seen]
        assert said == [(each, "read", NUMBER, passed.at) for each in ("m1", "m2")]
        assert all(each.event_id for each in seen)

    async def test_a_message_counts_from_its_call_of_the_vendor(self, stage: Any, vendor: Vendor) -> None:
        """The vendor's own time of a message is before its answer."""
        vendor._script.delay = 1
        await send(stage, "one")
        await stage.kit.process_delivery_status(mark(stage, seconds=-0.5))
        assert await receipts(stage) == [READ]
        await stage.kit.process_delivery_status(mark(stage, "read", -1.5))
        await send(stage, "two")
        await stage.kit.process_delivery_status(mark(stage, seconds=-1.5))
        assert await receipts(stage) == [READ, None]

    async def test_a_message_that_waited_long_counts_from_its_end(self, stage: Any, vendor: Vendor) -> None:
        """So that what was read while it waited is not taken for it."""
        await send(stage, "one")
        vendor._script.delay = 20
        sending = stage.saying("two")
        await asyncio.sleep(5)
        passed = mark(stage)
        await sending
        await stage.kit.process_delivery_status(passed)
        assert await receipts(stage) == [READ, None]

    async def test_a_receipt_never_goes_back(self, stage: Any, vendor: Vendor) -> None:
        await send(stage, "one", "two")
        for status in ("read", "delivered"):
            await stage.kit.process_delivery_status(mark(stage, status))
        assert await receipts(stage) == [READ, READ]

    async def test_a_message_that_the_vendor_lost_was_not_read(self, stage: Any, vendor: Vendor) -> None:
        await send(stage, "one", "two")
        await stage.kit.process_delivery_status(
            DeliveryStatus(provider="acme", message_id="m1", status="failed")
        )
        await stage.kit.process_delivery_status(mark(stage))
        assert await receipts(stage) == [FAILED, READ]

    async def test_what_was_not_sent_has_no_receipt(self, stage: Any, vendor: Vendor) -> None:
        vendor.fail_with = ProviderError("no", error_code=ErrorCode.INVALID_RECIPIENT)
        await send(stage, "one")
        assert await stage.kit.process_delivery_status(mark(stage)) is None
        assert await receipts(stage) == [None]

    async def test_every_part_of_a_message_has_it(self, stage: Any, vendor: Vendor) -> None:
        await send(stage, "a message of more than forty characters, in parts")
        await stage.kit.process_delivery_status(mark(stage))
        assert vendor.count == 2
        assert await receipts(stage) == [READ]

    async def test_only_that_recipients_messages_are_meant(self, stage: Any, vendor: Vendor) -> None:
        """In all their rooms, closed ones too; however the vendor writes the number."""
        for room, to in (("r2", NUMBER), ("r3", OTHER), ("r4", NUMBER)):
            await stage.kit.create_room(room)
            await stage.kit.attach_channel(room, "alice")
            await stage.kit.attach_channel(room, "sms", metadata={"recipient_id": to})
            await send(stage, "hello", room=room)
        await stage.kit.close_room("r4")
        await send(stage, "hello")
        await stage.kit.process_delivery_status(mark(stage, recipient="+1 (416) 555-0123"))
        found = [await receipts(stage, room) for room in ("r1", "r2", "r3", "r4")]
        assert found == [[READ], [READ], [None], [READ]]

    async def test_another_providers_messages_are_not_meant(self, stage: Any, vendor: Vendor) -> None:
        await send(stage, "one")
        await stage.kit.process_delivery_status(mark(stage, provider="other"))
        assert await receipts(stage) == [None]
        await stage.kit.process_delivery_status(mark(stage, provider="acme"))
        assert await receipts(stage) == [READ]

    async def test_all_pages_of_a_long_room_are_gone_through(self, stage: Any, vendor: Vendor) -> None:
        """And in steady state, one page for each watermark."""
        await send(stage, *map(str, range(120)))
        await stage.kit.process_delivery_status(mark(stage))
        assert set(await receipts(stage)) == {READ}
        pages = 0
        query = stage.seen_by_store.query_deliveries

        async def counting(asked: Any) -> Any:
            nonlocal pages
            pages += 1
            return await query(asked)

        stage.seen_by_store.query_deliveries = counting
        await send(stage, "more")
        await stage.kit.process_delivery_status(mark(stage))
        assert pages == 2  # one that has something to move, and one that has not
        stage.seen_by_store.query_deliveries = query
        assert set(await receipts(stage)) == {READ}

    async def test_messages_after_a_full_page_of_newer_ones_are_found(
        self, stage: Any, vendor: Vendor
    ) -> None:
        await send(stage, "old")
        await asyncio.sleep(10)
        passed = mark(stage)
        await asyncio.sleep(10)
        await send(stage, *map(str, range(60)))
        await stage.kit.process_delivery_status(passed)
        assert (await receipts(stage))[:2] == [READ, None]

    async def test_a_watermark_before_the_vendors_answer_is_looked_at_again(
        self, stage: Any, vendor: Vendor
    ) -> None:
        """The recipient had the conversation open: the callback came before the answer to the send."""
        vendor._script.delay = 1.5
        sending = stage.saying("one")
        await asyncio.sleep(1)
        assert await stage.kit.process_delivery_status(mark(stage, "delivered")) is None
        assert await stage.kit.process_delivery_status(mark(stage)) is None
        await sending
        assert await receipts(stage) == [None]
        await asyncio.sleep(6)
        assert await receipts(stage) == [READ]

    async def test_closing_does_not_wait_for_that(self, bare_stage: Any) -> None:
        stage = bare_stage()
        await stage.open()
        await stage.socket("alice")
        vendor = await sms(stage)
        vendor._script.delay = 1.5
        await stage.say("one", wait="committed")
        await stage.kit.process_delivery_status(mark(stage))
        began = asyncio.get_running_loop().time()
        await stage.kit.close()
        assert asyncio.get_running_loop().time() - began < 2
        assert stage.leftovers()["tasks"] == 0

    @pytest.mark.parametrize("status", ["failed", "queued", "whatever", ""])
    async def test_what_says_neither_delivered_nor_read_is_refused(
        self, stage: Any, vendor: Vendor, status: str
    ) -> None:
        with pytest.raises(InvalidInputError, match="it can say that all was delivered or read"):
            await stage.kit.process_delivery_status(mark(stage, status))

    async def test_one_without_a_channel_is_refused(self, stage: Any, vendor: Vendor) -> None:
        with pytest.raises(InvalidInputError, match="name the channel that it is for"):
            await stage.kit.process_delivery_status(mark(stage, channel_id=None))

    async def test_a_time_without_a_zone_is_refused(self, stage: Any, vendor: Vendor) -> None:
        """Whether it is UTC cannot be guessed."""
        with pytest.raises(InvalidInputError, match="without a time zone: use datetime"):
            await stage.kit.process_delivery_status(mark(stage, at=datetime(2026, 1, 1)))

    async def test_a_failing_store_is_said(self, stage: Any, vendor: Vendor) -> None:
        """Then the vendor sends the webhook again."""
        await send(stage, "one")
        vendor.parts = [mark(stage)]
        query = stage.seen_by_store.query_deliveries

        async def failing(_asked: Any) -> Any:
            raise StoreUnavailableError("gone")

        stage.seen_by_store.query_deliveries = failing
        assert (await stage.kit.process_webhook(REQUEST, "sms")).answer.status == 503
        stage.seen_by_store.query_deliveries = query
        assert (await stage.kit.process_webhook(REQUEST, "sms")).answer.status == 200
        assert await receipts(stage) == [READ]


async def test_watermarks_on_every_store(bare_stage: Any, store: ConversationStore) -> None:
    """Rooms are found by the recipient's address, and the deliveries in the room's ledger."""
    stage = await bare_stage(store=store, single_process=True).open()
    await stage.socket("alice")
    await sms(stage)
    await send(stage, "one", "two")
    await stage.kit.process_delivery_status(mark(stage, seconds=1, recipient="+1 416 555 0123"))
    assert await receipts(stage) == [READ, READ]
    await stage.kit.close()


@pytest.mark.virtual_time
class TestWaysIn:
    """Webhooks, sources and channels bring watermarks and signals."""

    async def test_a_webhook_brings_a_watermark(self, stage: Any, vendor: Vendor) -> None:
        """Without a channel it is of the one that the webhook is for."""
        await send(stage, "one")
        vendor.parts = [mark(stage, channel_id=None)]
        outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert outcome.answer.status == 200
        assert outcome.results[0].receipt is READ

    @pytest.mark.parametrize("part", ["watermark", "signal"])
    async def test_another_channels_is_refused(self, stage: Any, vendor: Vendor, part: str) -> None:
        """And the parts after it are taken in."""
        await send(stage, "one")
        wrong: WebhookPart = mark(stage, channel_id="other")
        if part == "signal":
            wrong = signal(channel_id="other")
        vendor.parts = [wrong, mark(stage)]
        outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert outcome.answer.status == 400
        assert "'sms' brought a " in str(outcome.error)
        assert await receipts(stage) == [READ]

    async def test_a_source_brings_both(self, stage: Any, vendor: Vendor) -> None:
        """For the channel that it is attached to."""
        await send(stage, "one")
        heard = await listen(stage)
        passed = mark(stage, channel_id=None)
        source = ScriptedSource([passed, signal()])
        await stage.kit.attach_source("sms", source)
        await asyncio.sleep(1)
        assert await receipts(stage) == [READ]
        assert [each.type for each in heard] == [EphemeralEventType.TYPING_START]
        await stage.kit.detach_source("sms")

    async def test_a_channel_brings_both(self, stage: Any, vendor: Vendor) -> None:
        """By its services, of itself alone."""
        await send(stage, "one")
        heard = await listen(stage)
        services = stage.kit.get_channel("sms").services
        row = await services.inbox.receipt(mark(stage, channel_id=None))
        assert row.receipt is READ
        await services.inbox.signal(signal())
        await asyncio.sleep(1)
        assert [each.type for each in heard] == [EphemeralEventType.TYPING_START]
        for wrong in (
            services.inbox.receipt(mark(stage, channel_id="alice")),
            services.inbox.signal(signal(channel_id="alice")),
        ):
            with pytest.raises(InvalidInputError, match="name a channel of your own"):
                await wrong


def signal(kind: EphemeralEventType = EphemeralEventType.TYPING_START, **fields: Any) -> InboundSignal:
    return InboundSignal(**{"channel_id": "sms", "sender_id": NUMBER, "type": kind} | fields)


async def listen(stage: Any, room: str = "r1") -> list[EphemeralEvent]:
    heard: list[EphemeralEvent] = []

    async def hear(event: EphemeralEvent) -> None:
        heard.append(event)

    await stage.kit.subscribe_room(room, hear)
    return heard


async def bring(stage: Any, vendor: Vendor, *signals: InboundSignal) -> None:
    vendor.parts = signals
    outcome = await stage.kit.process_webhook(REQUEST, "sms")
    assert outcome.answer.status == 200, outcome.error
    await asyncio.sleep(1)  # virtual time


@pytest.mark.virtual_time
class TestSignals:
    async def test_it_is_shown_where_a_message_of_the_sender_would_go(
        self, stage: Any, vendor: Vendor
    ) -> None:
        """As said by their participant, however the vendor writes the number; and not stored."""
        await stage.say("hello", channel="sms", by=NUMBER)
        before = await stage.timeline(messages=False)
        heard = await listen(stage)
        await bring(
            stage,
            vendor,
            signal(sender_id="+1 (416) 555-0123", data={"in": "thread"}),
            signal(EphemeralEventType.TYPING_STOP),
            signal(EphemeralEventType.PRESENCE_AWAY),
            signal(EphemeralEventType.CUSTOM, data={"status": "dancing"}),
        )

        (person,) = [each for each in await stage.kit.list_participants("r1") if each.channel_id == "sms"]
        assert [(each.type, each.user_id, each.channel_id, dict(each.data)) for each in heard] == [
            (EphemeralEventType.TYPING_START, person.id, "sms", {"in": "thread"}),
            (EphemeralEventType.TYPING_STOP, person.id, "sms", {}),
            (EphemeralEventType.PRESENCE_AWAY, person.id, "sms", {}),
            (EphemeralEventType.CUSTOM, person.id, "sms", {"status": "dancing"}),
        ]
        assert await stage.timeline(messages=False) == before

    async def test_a_person_who_has_not_written_yet_is_known_by_their_address(
        self, stage: Any, vendor: Vendor
    ) -> None:
        heard = await listen(stage)
        await bring(stage, vendor, signal())
        assert [each.user_id for each in heard] == [NUMBER]

    async def test_a_strangers_signal_opens_no_room(self, stage: Any, vendor: Vendor) -> None:
        before = len(await stage.kit.find_rooms())
        await bring(stage, vendor, signal(sender_id=OTHER))
        assert len(await stage.kit.find_rooms()) == before

    @pytest.mark.parametrize("why", ["closed", "read_only", "detached", "banned"])
    async def test_who_may_not_speak_does_not_signal(self, stage: Any, vendor: Vendor, why: str) -> None:
        result = await stage.say("hello", channel="sms", by=NUMBER)
        heard = await listen(stage)
        if why == "closed":
            await stage.kit.close_room("r1")
        elif why == "read_only":
            await stage.kit.set_access("r1", "sms", Access.READ_ONLY)
        elif why == "detached":
            await stage.kit.detach_channel("r1", "sms")
        else:
            person = result.event.source.participant_id
            (known,) = [each for each in await stage.kit.list_participants("r1") if each.id == person]
            await stage.kit.store.update_participant(known.replace(status=ParticipantStatus.BANNED))
        await bring(stage, vendor, signal())
        assert heard == []

    async def test_the_binding_caps_who_sees_it(self, stage: Any, vendor: Vendor) -> None:
        await stage.kit.set_visibility("r1", "sms", "intelligence")
        heard = await listen(stage)
        await bring(stage, vendor, signal())
        assert [each.visibility for each in heard] == ["intelligence"]

    async def test_a_shared_conversation_is_found_by_its_own_address(self, stage: Any) -> None:
        await stage.socket("alice")
        vendor = await sms(stage, to="group-7")
        heard = await listen(stage)
        await bring(stage, vendor, signal(conversation="group-7"))
        assert [each.user_id for each in heard] == [NUMBER]

    @pytest.mark.parametrize(
        "kind", [each for each in EphemeralEventType if each.startswith(("reaction", "tool", "thinking"))]
    )
    async def test_what_is_no_signal_from_outside_is_refused(
        self, stage: Any, vendor: Vendor, kind: EphemeralEventType
    ) -> None:
        vendor.parts = [signal(kind)]
        outcome = await stage.kit.process_webhook(REQUEST, "sms")
        assert outcome.answer.status == 400
        assert f"'sms' brought {kind} as a signal: it can be one of custom, " in str(outcome.error)
