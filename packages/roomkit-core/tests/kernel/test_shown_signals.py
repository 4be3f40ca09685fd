"""Typing and read marks on their way out: shown to people behind transports, beside the deliveries."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from roomkit.abc.channel import Channel
from roomkit.abc.errors import (
    ErrorCode,
    InvalidInputError,
    NoHomeError,
    ProviderError,
    StoreUnavailableError,
)
from roomkit.authoring.transport import TransportChannel
from roomkit.models import Access, EphemeralEvent, EphemeralEventType, EventType
from roomkit.models.channel import ChannelBinding, ChannelCapabilities
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelType
from roomkit_plugins.testing import (
    MockSMSProvider,
    MockTelegramProvider,
    MockWhatsAppProvider,
    RecordingChannel,
    SharedRealtime,
)

pytestmark = pytest.mark.virtual_time
ABLE = ChannelCapabilities(supports_typing=True, supports_read_receipts=True)
NUMBER = "+14165550123"


async def whatsapp(
    stage: Any, channel_id: str = "wa", to: str = NUMBER, able: ChannelCapabilities = ABLE, **binding: Any
) -> MockWhatsAppProvider:
    """Add a channel whose vendor shows typing for 20 s, and read marks; return its provider."""
    provider = MockWhatsAppProvider()
    channel = TransportChannel(
        channel_id, ChannelType.WHATSAPP, provider=provider, capabilities=able, recipient_key="phone"
    )
    await stage.join(channel, metadata={"phone": to}, **binding)
    return provider


async def write(stage: Any, text: str = "hello", external_id: str | None = None, **fields: Any) -> Any:
    """Have the customer write by WhatsApp."""
    return await stage.say(text, channel="wa", by=NUMBER, external_id=external_id, **fields)


def typing(provider: Any) -> list[bool]:
    return [each["is_typing"] for each in provider.signals if "is_typing" in each]


def read(provider: Any) -> list[list[str]]:
    return [each["message_ids"] for each in provider.signals if "message_ids" in each]


class TestTyping:
    async def test_a_colleague_who_types_is_shown_to_the_customer(self, stage: Any) -> None:
        """With the vendor's id of the message that is being answered."""
        await stage.socket("alice")
        provider = await whatsapp(stage)
        await write(stage, external_id="wamid.1")
        await stage.say("", event_type=EventType.TYPING)
        await asyncio.sleep(1)
        await stage.say("", event_type=EventType.TYPING, metadata={"is_typing": False})
        await asyncio.sleep(1)

        assert provider.signals == [
            {"to": NUMBER, "is_typing": True, "answering": "wamid.1"},
            {"to": NUMBER, "is_typing": False, "answering": "wamid.1"},
        ]

    async def test_the_program_shows_typing(self, stage: Any) -> None:
        """Without a message there is none that is answered."""
        provider = await whatsapp(stage)
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()

        assert provider.signals == [{"to": NUMBER, "is_typing": True, "answering": None}]

    async def test_typing_is_not_shown_to_where_it_came_from(self, stage: Any) -> None:
        provider, other = await whatsapp(stage), await whatsapp(stage, "wa2")
        await stage.say("", channel="wa", by=NUMBER, event_type=EventType.TYPING)
        await stage.idle()

        assert provider.signals == []
        assert typing(other) == [True]

    @pytest.mark.parametrize(
        ("able", "binding"),
        [
            (ChannelCapabilities(supports_read_receipts=True), {}),
            (ABLE, {"access": Access.WRITE_ONLY}),
            (ABLE, {"access": Access.NONE}),
        ],
    )
    async def test_a_binding_that_may_not_see_it_is_shown_nothing(
        self, stage: Any, able: ChannelCapabilities, binding: dict[str, Any]
    ) -> None:
        provider = await whatsapp(stage, able=able, **binding)
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()

        assert provider.signals == []

    async def test_what_is_for_intelligences_is_not_shown_outside(self, stage: Any) -> None:
        await stage.socket("alice", visibility="intelligence")
        provider = await whatsapp(stage)
        await stage.say("", event_type=EventType.TYPING)
        await stage.idle()

        assert provider.signals == []

    async def test_a_vendor_without_typing_is_not_called(self, stage: Any) -> None:
        channel = TransportChannel(
            "sms", ChannelType.SMS, provider=MockSMSProvider(), capabilities=ABLE, recipient_key="phone"
        )
        await stage.join(channel, metadata={"phone": NUMBER})
        assert channel.typing_seconds is None
        assert not channel.marks_read
        await stage.kit.publish_typing("r1", "ann")
        assert stage.leftovers()["tasks"] == 0

    async def test_each_keystroke_is_not_a_call(self, stage: Any) -> None:
        """The vendor shows it for 20 s: it is called again when those are nearly over, not before."""
        provider = await whatsapp(stage)
        for _ in range(60):
            await stage.kit.publish_typing("r1", "ann")
            await asyncio.sleep(0.5)

        assert typing(provider) == [True, True]

    async def test_a_stop_that_nothing_was_shown_before_is_not_a_call(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        await stage.kit.publish_typing("r1", "ann", is_typing=False)
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(30)
        await stage.kit.publish_typing("r1", "ann", is_typing=False)
        await stage.idle()

        assert typing(provider) == [True]

    async def test_the_newest_state_is_shown_after_a_slow_call(self, stage: Any) -> None:
        """One call at a time: what came during it is one more call, however much that was."""
        provider = await whatsapp(stage)
        provider.signal_delay = 5
        for is_typing in (True, False, True, False, True, False):
            await stage.kit.publish_typing("r1", "ann", is_typing)
            await asyncio.sleep(0.1)
        await stage.idle()

        assert typing(provider) == [True, False]

    async def test_a_publisher_does_not_wait_for_the_vendor(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        provider.signal_delay = 5
        began = asyncio.get_running_loop().time()
        await stage.kit.publish_typing("r1", "ann")
        assert asyncio.get_running_loop().time() == began

    async def test_a_closed_room_shows_no_typing(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        await stage.kit.close_room("r1")
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()

        assert provider.signals == []


class TestAgents:
    async def test_an_agent_that_works_is_shown_as_typing_for_as_long(self, stage: Any) -> None:
        """From soon after its turn begins, renewed before 20 s are over, to the end of the turn."""
        provider = await whatsapp(stage)
        await stage.agent("bot", ["There you are"], delay=50)
        await write(stage, external_id="wamid.1", wait="committed")
        shown = []
        for _ in range(70):
            shown.append(len(typing(provider)))
            await asyncio.sleep(1)

        assert typing(provider) == [True, True, True, True, False]
        assert [shown.index(calls) for calls in range(1, 6)] == [1, 17, 33, 49, 51]
        assert provider.signals[0] == {"to": NUMBER, "is_typing": True, "answering": "wamid.1"}
        assert provider.texts == ["There you are"]

    async def test_an_answer_that_is_there_at_once_shows_no_typing(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        await stage.agent("bot", ["There you are"])
        await write(stage)
        await stage.idle()

        assert provider.signals == []
        assert provider.texts == ["There you are"]

    async def test_a_turn_that_fails_ends_it(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        await stage.agent("bot", [RuntimeError("no")], delay=5)
        await write(stage)
        await stage.idle()

        assert typing(provider) == [True, False]

    async def test_a_turn_that_is_interrupted_ends_it(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        await stage.agent("bot", ["never"], delay=50)
        said = asyncio.create_task(write(stage))
        await asyncio.sleep(5)
        assert await stage.kit.services.turns.interrupt("r1") == 1
        await said
        await stage.idle()

        assert typing(provider) == [True, False]

    @pytest.mark.parametrize("hidden", ["agent", "answer"])
    async def test_an_agent_whose_answer_is_not_for_the_person_is_not_shown(
        self, stage: Any, hidden: str
    ) -> None:
        provider = await whatsapp(stage)
        await stage.socket("alice")
        await stage.agent("bot", ["hm"], delay=5, **({"visibility": "alice"} if hidden == "agent" else {}))
        await write(stage, **({"response_visibility": "alice"} if hidden == "answer" else {}))
        await stage.idle()

        assert provider.signals == []

    async def test_two_agents_are_one_typing(self, stage: Any) -> None:
        """It ends with the last of them."""
        provider = await whatsapp(stage)
        await stage.agent("quick", ["one"], delay=5)
        await stage.agent("slow", ["two"], delay=10, visibility="wa")
        await write(stage, wait="committed")
        await asyncio.sleep(9)
        assert typing(provider) == [True]
        await stage.idle()
        assert provider.texts == ["one", "two"]
        assert typing(provider)[-1] is False
        assert typing(provider).count(False) == 1

    async def test_a_person_who_stops_does_not_stop_an_agent(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        await stage.agent("bot", ["one"], delay=10)
        said = asyncio.create_task(write(stage))
        await asyncio.sleep(2)
        await stage.kit.publish_typing("r1", "ann", is_typing=False)
        await asyncio.sleep(2)
        assert typing(provider) == [True]
        await said
        await stage.idle()
        assert typing(provider) == [True, False]

    async def test_a_vendor_that_hangs_delays_no_answer(self, stage: Any) -> None:
        provider = await whatsapp(stage)
        provider.signal_delay = 3_600
        await stage.agent("bot", ["There you are"], delay=5)
        began = asyncio.get_running_loop().time()
        await write(stage)

        assert provider.texts == ["There you are"]
        assert asyncio.get_running_loop().time() - began == 5

    async def test_a_kit_that_closes_ends_the_typing_of_a_turn_with_the_turn(self, bare_stage: Any) -> None:
        """And waits for nothing else: not for the renewal of what people type."""
        stage = bare_stage()
        await stage.open()
        provider = await whatsapp(stage)
        await stage.agent("bot", ["There you are"], delay=5)
        await write(stage, wait="committed")
        await asyncio.sleep(1)
        await stage.kit.publish_typing("r1", "ann")
        began = asyncio.get_running_loop().time()
        await stage.kit.close()

        assert asyncio.get_running_loop().time() - began == 4
        assert typing(provider) == [True, False]
        assert stage.leftovers()["tasks"] == 0

    async def test_closing_does_not_wait_for_what_a_person_types(self, bare_stage: Any) -> None:
        """The vendor shows it for 20 s; nothing is renewed or ended after that by a kit that is closed."""
        stage = bare_stage()
        await stage.open()
        provider = await whatsapp(stage)
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await stage.kit.close()

        assert asyncio.get_running_loop().time() == began
        assert typing(provider) == [True]
        assert stage.leftovers()["tasks"] == 0

    async def test_closing_does_not_wait_for_the_renewal_of_an_endless_turn(self, bare_stage: Any) -> None:
        stage = bare_stage(close_timeout=8.0)
        await stage.open()
        provider = await whatsapp(stage)
        await stage.agent("bot", ["never"], delay=10_000)
        await write(stage, wait="committed")
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await stage.kit.close()

        assert asyncio.get_running_loop().time() - began < 8
        assert typing(provider)[0]
        assert stage.leftovers()["tasks"] == 0


class TestReadMarks:
    @pytest.fixture
    async def provider(self, stage: Any) -> MockWhatsAppProvider:
        await stage.socket("alice")
        return await whatsapp(stage)

    async def test_what_is_read_is_marked_by_the_vendors_ids(self, stage: Any, provider: Any) -> None:
        """Of all messages up to the one that was read, and no others; what is marked is not marked again."""
        events = [(await write(stage, str(each), f"wamid.{each}")).event for each in range(4)]
        await stage.kit.mark_read("r1", "alice", events[1].id)
        await asyncio.sleep(1)
        await stage.kit.publish_read_receipt("r1", "ann", events[2].id)
        await asyncio.sleep(1)
        await stage.kit.publish_read_receipt("r1", "ann", events[0].id)
        await stage.kit.mark_all_read("r1", "alice")
        await stage.idle()

        assert provider.signals == [
            {"to": NUMBER, "message_ids": ["wamid.0", "wamid.1"]},
            {"to": NUMBER, "message_ids": ["wamid.2"]},
            {"to": NUMBER, "message_ids": ["wamid.3"]},
        ]

    async def test_a_web_sockets_read_frame_is_shown(self, stage: Any, provider: Any) -> None:
        event = (await write(stage, external_id="wamid.1")).event
        await stage.say("", event_type=EventType.READ_RECEIPT, metadata={"event_id": event.id})
        await stage.idle()

        assert read(provider) == [["wamid.1"]]

    async def test_only_messages_that_came_by_the_binding_are_marked(self, stage: Any, provider: Any) -> None:
        """Not what was sent by it, nor a message without the vendor's id."""
        await write(stage, "no id")
        mine = (await stage.say("ours", external_id="ws.1")).event
        await stage.kit.publish_read_receipt("r1", "ann", mine.id)
        await stage.kit.publish_read_receipt("r1", "ann", "no such event")
        await stage.idle()

        assert provider.signals == []

    async def test_an_event_of_another_room_marks_nothing(self, stage: Any, provider: Any) -> None:
        await write(stage, external_id="wamid.1")
        await stage.kit.create_room("r2")
        await stage.kit.attach_channel("r2", "alice")
        for _ in range(5):
            other = (await stage.say("there", room="r2")).event
        await stage.kit.publish_read_receipt("r1", "ann", other.id)
        await stage.idle()

        assert provider.signals == []

    async def test_marks_during_a_slow_call_are_one_more(self, stage: Any, provider: Any) -> None:
        provider.signal_delay = 5
        events = [(await write(stage, str(each), f"wamid.{each}")).event for each in range(5)]
        for event in events:
            await stage.kit.publish_read_receipt("r1", "ann", event.id)
            await asyncio.sleep(0.1)
        await stage.idle()

        assert read(provider) == [["wamid.0"], ["wamid.1", "wamid.2", "wamid.3", "wamid.4"]]

    async def test_a_mark_that_is_late_takes_nothing_back(self, stage: Any, provider: Any) -> None:
        """Two of a colleague's windows may send theirs in any order."""
        provider.signal_delay = 5
        events = [(await write(stage, str(each), f"wamid.{each}")).event for each in range(3)]
        for event in (events[0], events[2], events[1]):
            await stage.kit.publish_read_receipt("r1", "ann", event.id)
            await asyncio.sleep(0.1)
        await stage.idle()

        assert read(provider) == [["wamid.0"], ["wamid.1", "wamid.2"]]

    async def test_at_most_fifty_are_marked_at_once(self, stage: Any, provider: Any) -> None:
        """The newest: vendors take all older ones as read."""
        for each in range(51):
            await write(stage, str(each), f"wamid.{each}")
        await stage.kit.mark_all_read("r1", "alice")
        await stage.idle()

        assert read(provider) == [[f"wamid.{each}" for each in range(1, 51)]]

    async def test_the_end_of_a_closed_room_can_still_be_read(self, stage: Any, provider: Any) -> None:
        event = (await write(stage, external_id="wamid.1")).event
        await stage.kit.close_room("r1")
        await stage.kit.mark_read("r1", "alice", event.id)
        await stage.idle()

        assert read(provider) == [["wamid.1"]]

    async def test_a_vendor_without_read_marks_is_not_called(self, stage: Any) -> None:
        telegram = MockTelegramProvider()
        channel = TransportChannel(
            "tg", ChannelType.TELEGRAM, provider=telegram, capabilities=ABLE, recipient_key="chat"
        )
        await stage.join(channel, metadata={"chat": "7"})
        event = (await stage.say(channel="tg", by="7", external_id="7:1")).event
        await stage.kit.publish_read_receipt("r1", "ann", event.id)
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()

        assert telegram.signals == [{"to": "7", "is_typing": True, "answering": "7:1"}]


class TestFailures:
    @pytest.fixture
    async def provider(self, stage: Any) -> MockWhatsAppProvider:
        await stage.socket("alice")
        return await whatsapp(stage)

    @pytest.mark.parametrize(
        "error",
        [
            RuntimeError("boom"),
            ProviderError("no", error_code=ErrorCode.SERVER),
            asyncio.CancelledError(),
            GeneratorExit(),
        ],
        ids=repr,
    )
    async def test_a_failure_is_said_once_and_harms_nothing(
        self, stage: Any, provider: Any, error: BaseException
    ) -> None:
        """It is not repeated; the next signal is tried after a pause."""
        provider.fail_signals_with = error
        for _ in range(3):
            await stage.kit.publish_typing("r1", "ann")
            await asyncio.sleep(60)
        assert len(provider.signals) == 3
        assert stage.kit._kernel.sending.shown.failures == {"wa": 3}
        assert len(stage.facts("signal_not_shown")) == 1
        provider.fail_signals_with = None
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(60)
        assert stage.kit._kernel.sending.shown.failures == {}
        assert (await stage.say("hello")).delivery_results["wa"].success

    async def test_a_rate_limit_pauses_the_whole_channel(self, stage: Any, provider: Any) -> None:
        """For as long as the vendor says; deliveries go on."""
        await stage.kit.create_room("r2")
        await stage.kit.attach_channel("r2", "wa", metadata={"phone": "+14165550199"})
        provider.fail_signals_with = ProviderError("slow", error_code=ErrorCode.RATE_LIMIT, retry_after=100)
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(1)
        provider.fail_signals_with = None
        for _ in range(9):
            await stage.kit.publish_typing("r2", "ann")
            await asyncio.sleep(10)
        assert len(provider.signals) == 1
        assert (await stage.say("hello")).delivery_results["wa"].success
        await asyncio.sleep(10)
        await stage.kit.publish_typing("r2", "ann")
        await stage.idle()
        assert [each["to"] for each in provider.signals] == [NUMBER, "+14165550199"]

    async def test_a_read_mark_outlasts_a_short_pause(self, stage: Any, provider: Any) -> None:
        event = (await write(stage, external_id="wamid.1")).event
        provider.fail_signals_with = ProviderError("slow", error_code=ErrorCode.RATE_LIMIT, retry_after=20)
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(1)
        provider.fail_signals_with = None
        await stage.kit.publish_read_receipt("r1", "ann", event.id)
        await asyncio.sleep(10)
        assert read(provider) == []
        await stage.idle()
        assert read(provider) == [["wamid.1"]]

    async def test_a_pause_of_deliveries_is_one_of_signals(self, stage: Any, provider: Any) -> None:
        provider._script.steps = None
        await write(stage, external_id="wamid.1")
        provider.fail_with = ProviderError("slow", error_code=ErrorCode.RATE_LIMIT, retry_after=40)
        said = stage.saying("hello")
        await asyncio.sleep(1)
        provider.fail_with = None
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(30)
        assert provider.signals == []
        await said
        await asyncio.sleep(60)
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()
        assert typing(provider) == [True]

    async def test_an_open_circuit_takes_no_signals(self, stage: Any, provider: Any) -> None:
        await write(stage, external_id="wamid.1")
        breaker = stage.kit._kernel.sending.breakers.of("wa", provider.name)
        for _ in range(5):
            breaker.record_failure()
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()
        assert provider.signals == []

    async def test_a_call_that_takes_too_long_is_ended(self, stage: Any, provider: Any) -> None:
        provider.signal_delay = 3_600
        await stage.kit.publish_typing("r1", "ann")
        await asyncio.sleep(11)
        (failed,) = stage.facts("signal_not_shown")
        assert "10" in failed["error"]
        provider.signal_delay = 0
        await asyncio.sleep(60)
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()
        assert len(provider.signals) == 2

    async def test_a_store_that_fails_does_not_fail_the_publisher(self, stage: Any, provider: Any) -> None:
        load = stage.seen_by_store.load

        async def failing(*args: Any, **options: Any) -> Any:
            raise StoreUnavailableError("gone")

        stage.seen_by_store.load = failing
        await stage.kit.publish_typing("r1", "ann")
        stage.seen_by_store.load = load
        await stage.idle()
        assert provider.signals == []

    async def test_a_channel_that_is_unregistered_is_shown_nothing(self, stage: Any, provider: Any) -> None:
        await stage.kit.publish_typing("r1", "ann")
        await stage.kit.unregister_channel("wa")
        await stage.kit.publish_typing("r1", "ann")
        await stage.idle()
        assert provider.signals == []

    async def test_a_binding_that_is_detached_meanwhile_is_shown_nothing(
        self, stage: Any, provider: Any
    ) -> None:
        await stage.kit.publish_typing("r1", "ann")
        await stage.kit.detach_channel("r1", "wa")
        await stage.idle()
        assert provider.signals == []


class Beacon(RecordingChannel):
    """A channel of its own, that shows typing."""

    typing_seconds = 4.0

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id, capabilities=ABLE)
        self.shown: list[tuple[EphemeralEventType, str, str, int]] = []

    async def show_signal(
        self, signal: EphemeralEvent, binding: ChannelBinding, context: RoomContext
    ) -> None:
        self.shown.append((signal.type, signal.user_id, binding.channel_id, len(context.recent_events)))


async def test_a_channel_of_ones_own_is_shown_signals(stage: Any) -> None:
    beacon = await stage.join(Beacon("beacon"))
    await stage.socket("alice")
    await stage.say()
    await stage.kit.publish_typing("r1", "ann")
    event = (await stage.say()).event
    await stage.kit.publish_read_receipt("r1", "ann", event.id)
    await stage.idle()

    assert beacon.shown == [(EphemeralEventType.TYPING_START, "ann", "beacon", 2)]


class Connected(Beacon):
    """A channel whose vendor's connection is on one worker alone."""

    marks_read = True
    is_here = False
    calls = 0

    async def show_signal(
        self, signal: EphemeralEvent, binding: ChannelBinding, context: RoomContext
    ) -> None:
        self.calls += 1
        if not self.is_here:
            raise NoHomeError("elsewhere")
        await super().show_signal(signal, binding, context)
        assert not any(key.startswith("_") for key in signal.data)


async def test_the_worker_that_has_the_connection_shows_it(house: Any) -> None:
    """Also a third one is asked, which has none either; none asks again."""
    house.realtime = SharedRealtime()
    stages, beacons = [house.worker() for _ in range(3)], [Connected("beacon") for _ in range(3)]
    await stages[0].open()
    await stages[0].socket("alice")
    await stages[0].join(beacons[0])
    for stage, beacon in zip(stages[1:], beacons[1:], strict=True):
        stage.kit.register_channel(beacon)
    beacons[1].is_here = True
    for stage in stages:
        await stage.kit.start()
    event = (await stages[0].say(channel="beacon", by="bob", external_id="b1")).event
    await stages[0].kit.publish_typing("r1", "ann")
    await asyncio.sleep(1)
    await stages[0].kit.publish_read_receipt("r1", "ann", event.id)
    await stages[0].kit.publish_typing("r1", "ann", is_typing=False)
    await asyncio.sleep(10)

    assert [kind for kind, *_ in beacons[1].shown] == [
        EphemeralEventType.TYPING_START,
        EphemeralEventType.READ_RECEIPT,
        EphemeralEventType.TYPING_STOP,
    ]
    assert beacons[0].shown == beacons[2].shown == []
    assert [beacon.calls for beacon in beacons][:2] == [3, 3]
    assert stages[0].kit._kernel.sending.shown.failures == {}


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"channel_id": "beacon"},
        {"channel_id": 1, "type": "typing_start", "user_id": "ann", "read_to": None},
        {"channel_id": "beacon", "type": "presence_online", "user_id": "ann", "read_to": None},
        {"channel_id": "beacon", "type": ["typing_start"], "user_id": "ann", "read_to": None},
        {"channel_id": "beacon", "type": "typing_start", "user_id": None, "read_to": None},
        {"channel_id": "beacon", "type": "read_receipt", "user_id": "ann", "read_to": "all"},
        {"channel_id": "beacon", "type": "read_receipt", "user_id": "ann", "read_to": None},
        {"channel_id": "beacon", "type": "typing_start", "user_id": "ann", "read_to": 3},
        {"channel_id": "other", "type": "typing_start", "user_id": "ann", "read_to": None},
    ],
)
async def test_what_no_worker_hands_over_is_not_shown(house: Any, data: Any) -> None:
    """Anyone who can publish on the backend may write anything."""
    house.realtime = SharedRealtime()
    stage, beacon = house.worker(), Connected("beacon")
    beacon.is_here = True
    await stage.open()
    await stage.join(beacon)
    await stage.kit.start()
    forged = EphemeralEvent(room_id="r1", type=EphemeralEventType.CUSTOM, user_id="x", data=data)
    await house.realtime.publish("shown-signals", forged)
    await asyncio.sleep(1)
    assert beacon.calls == 0
    assert stage.kinds().count("background_error") == 0


async def test_by_default_a_channel_shows_nothing(stage: Any) -> None:
    channel = await stage.socket("alice", capabilities=ABLE)
    assert type(channel).show_signal is Channel.show_signal
    await stage.kit.publish_typing("r1", "ann")
    assert stage.leftovers()["tasks"] == 0


@pytest.mark.parametrize("seconds", [0, -1.0])
async def test_typing_that_lasts_no_time_is_refused(stage: Any, seconds: float) -> None:
    beacon = Beacon("beacon")
    beacon.typing_seconds = seconds
    with pytest.raises(InvalidInputError, match="'beacon' cannot be registered: its typing_seconds are"):
        stage.kit.register_channel(beacon)


async def test_a_message_makes_no_task_in_a_room_without_typing(stage: Any) -> None:
    """With one such channel it is one task for each."""
    await stage.socket("alice")
    await stage.agent("bot", ["one", "two"], delay=1)
    started = 0
    supervisor = stage.kit._kernel.ground.supervisor
    start = supervisor.start

    def counting(work: Any, name: str, *args: Any, **options: Any) -> Any:
        nonlocal started
        started += name.startswith("signals to ")
        return start(work, name, *args, **options)

    supervisor.start = counting
    await stage.say()
    assert started == 0
    await whatsapp(stage)
    await stage.say()
    assert started == 1
