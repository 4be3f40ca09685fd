"""The channel in rooms: lengths, senders, opt-outs."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from roomkit import ChannelType, HookResult, HookTrigger, InboundMessage, MediaContent, RoomKit, TextContent
from roomkit.abc import ErrorCode, InvalidInputError, ProviderError
from roomkit.models import CompositeContent, LengthPolicy
from roomkit_plugins.sms import SMSChannel, segments_of
from roomkit_plugins.sms.channel import CAPABILITIES
from roomkit_plugins.sms.segments import utf16_length
from roomkit_plugins.testing import MockSMSProvider, VirtualClock

pytestmark = pytest.mark.virtual_time
ANN, BEN = "+14165550123", "+14165550124"
PICTURE = "https://example.com/a.png"


@pytest.fixture
async def kit(virtual_clock: VirtualClock) -> AsyncIterator[RoomKit]:
    async with RoomKit(clock=virtual_clock) as kit:
        yield kit


async def attached(
    kit: RoomKit, channel: SMSChannel, phone: str = ANN, room: str = "r1", **metadata: str
) -> None:
    if channel.services is None:
        kit.register_channel(channel)
    await kit.create_room(room)
    await kit.attach_channel(room, channel.channel_id, metadata={"phone_number": phone, **metadata})


async def says(kit: RoomKit, text: str, *, sender: str = ANN, **fields: object) -> None:
    message = InboundMessage(channel_id="sms", sender_id=sender, content=TextContent(body=text), **fields)
    result = await kit.process_inbound(message)
    assert not result.blocked, result.reason


# -- length -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["word " * 900, "👋" * 1700, "€uro [and] {more}. " * 200], ids=["words", "emoji", "extended"]
)
@pytest.mark.parametrize("max_segments", [None, 1, 3])
async def test_long_text_goes_out_in_parts_and_whole(
    kit: RoomKit, text: str, max_segments: int | None
) -> None:
    """Each part is one that the carrier takes; together they say all words in their order."""
    carrier = MockSMSProvider()
    await attached(kit, SMSChannel("sms", provider=carrier, max_segments=max_segments))
    await kit.send_event("r1", "system", TextContent(body=text))
    assert len(carrier.texts) > 1
    assert all(utf16_length(part) <= 1600 for part in carrier.texts)
    if max_segments is not None:
        assert all(segments_of(part).count <= max_segments for part in carrier.texts)
    assert "".join("".join(carrier.texts).split()) == "".join(text.split())


async def test_the_parts_are_as_long_as_every_provider_takes(kit: RoomKit) -> None:
    """Whichever of them a part goes by."""
    one, spare = MockSMSProvider(name="one"), MockSMSProvider(name="spare")
    spare.capabilities = CAPABILITIES.replace(
        max_length=1000, supports_delivery_receipts=False, supports_composite=False
    )
    channel = SMSChannel("sms", providers=[one, spare])
    await attached(kit, channel)
    text = "word " * 399
    await kit.send_event("r1", "system", TextContent(body=text))
    assert [len(part) <= 1000 for part in one.texts] == [True, True]
    assert " ".join(one.texts).split() == text.split()
    found = channel.capabilities()
    assert (found.max_length, found.supports_delivery_receipts, found.supports_composite) == (
        1000,
        False,
        False,
    )
    assert SMSChannel("other", providers=[one]).capabilities() == CAPABILITIES


async def test_what_is_said_beside_files_is_divided_too(kit: RoomKit) -> None:
    """The words first, then the files."""
    carrier = MockSMSProvider()
    await attached(kit, SMSChannel("sms", provider=carrier))
    picture = MediaContent(url=PICTURE, mime_type="image/png", caption="c" * 2000)
    await kit.send_event("r1", "system", picture)
    assert [len(text) for text in carrier.texts] == [1600, 400, 0]
    both = CompositeContent(parts=(TextContent(body="t" * 1000), picture.replace(caption="c" * 1000)))
    await kit.send_event("r1", "system", both)
    assert [len(text) for text in carrier.texts[3:]] == [1000, 1000, 0]
    last = carrier.sent[-1]["event"].content
    assert (last.url, last.caption) == (PICTURE, None)


async def test_a_policy_of_truncating_keeps_within_the_segments(kit: RoomKit) -> None:
    """The mark at the end makes the text UCS-2, and counts."""
    carrier = MockSMSProvider()
    kit.register_channel(SMSChannel("sms", provider=carrier, max_segments=1))
    await kit.create_room("r1")
    metadata = {"phone_number": ANN}
    await kit.attach_channel("r1", "sms", metadata=metadata, length_policy=LengthPolicy.TRUNCATE)
    await kit.send_event("r1", "system", TextContent(body="x" * 200))
    assert carrier.texts == ["x" * 69 + "…"]


# -- who sends ----------------------------------------------------------------------------------


async def test_a_fixed_number_goes_before_all(kit: RoomKit) -> None:
    carrier = MockSMSProvider()
    await attached(kit, SMSChannel("sms", provider=carrier, from_number="+14375550000"), from_="+14375550001")
    await kit.send_event("r1", "system", TextContent(body="hello"))
    assert carrier.sent[0]["from"] == "+14375550000"


async def test_the_answer_comes_from_the_number_that_was_written_to(kit: RoomKit) -> None:
    """The last one; a number that the binding names goes before it."""
    carrier = MockSMSProvider()
    kit.register_channel(SMSChannel("sms", provider=carrier))
    await says(kit, "hello", extra={"to": "+14375550001"})
    (room,) = await kit.store.list_rooms()
    await kit.send_event(room.id, "system", TextContent(body="one"))
    await says(kit, "hello again", extra={"to": "+14375550002"})
    await kit.send_event(room.id, "system", TextContent(body="two"))
    await kit.update_binding_metadata(room.id, "sms", {"from_": "+14375550003"})
    await kit.send_event(room.id, "system", TextContent(body="three"))
    assert [send["from"] for send in carrier.sent] == ["+14375550001", "+14375550002", "+14375550003"]


async def test_a_recipient_keeps_its_number_of_a_pool(kit: RoomKit) -> None:
    """On every worker; when a number leaves the pool, only those who had it get another."""
    numbers = [f"+1437555{number:04d}" for number in range(8)]
    people = [f"+1416555{number:04d}" for number in range(80)]

    async def senders(pool: list[str], channel_id: str) -> list[str]:
        carrier = MockSMSProvider()
        channel = SMSChannel(channel_id, provider=carrier, from_numbers=pool)
        for person in people:
            room = f"{channel_id} {person}"
            await attached(kit, channel, person, room)
            await kit.send_event(room, "system", TextContent(body="hello"))
        return [send["from"] for send in carrier.sent]

    first, second = await senders(numbers, "sms"), await senders(numbers[::-1], "other")
    assert first == second
    assert set(first) == set(numbers)
    fewer = await senders(numbers[1:], "fewer")
    assert [new for old, new in zip(first, fewer, strict=True) if old != numbers[0]] == [
        old for old in first if old != numbers[0]
    ]


async def test_limits_count_for_each_sender(kit: RoomKit) -> None:
    """A number that the vendor asks to rest holds up no other."""
    refusal = ProviderError("slow down", error_code=ErrorCode.RATE_LIMIT, retry_after=30.0)
    carrier = MockSMSProvider(script=[refusal])
    channel = SMSChannel("sms", provider=carrier)
    await attached(kit, channel, ANN, "r1", from_="+14375550001")
    await attached(kit, channel, BEN, "r2", from_="+14375550002")
    bindings = [await kit.get_binding(room, "sms") for room in ("r1", "r2")]
    event = await kit.send_event("r2", "system", TextContent(body="hello"))
    assert [channel.pace_key(each, event) for each in bindings] == ["sms:+14375550001", "sms:+14375550002"]


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="from_number and from_numbers"):
        SMSChannel("sms", from_number="+14375550001", from_numbers=["+14375550002"])
    with pytest.raises(InvalidInputError, match="max_segments"):
        SMSChannel("sms", max_segments=0)
    with pytest.raises(InvalidInputError, match="opt-out words of xx"):
        SMSChannel("sms", languages=["xx"])


# -- opt-out ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "word",
    ["STOP", " stop. ", "\uff33\uff34\uff2f\uff30", "Stop!!", "STOP ALL", "arrêt", "Baja", "停止", "退订"],
)
async def test_a_person_who_says_stop_gets_nothing_more(kit: RoomKit, word: str) -> None:
    """In any room, whatever a gate thinks of it; START brings messages back."""
    carrier = MockSMSProvider()
    channel = SMSChannel("sms", provider=carrier)
    await attached(kit, channel)

    @kit.hook(HookTrigger.BEFORE_BROADCAST, channel_types={ChannelType.SMS})
    async def down(event, context):
        return HookResult.block("down")

    message = InboundMessage(channel_id="sms", sender_id=ANN, content=TextContent(body=word))
    await kit.process_inbound(message, room_id="r1")
    await attached(kit, channel, "+1 416 555-0123", "r2")
    for room in ("r1", "r2"):
        await kit.send_event(room, "system", TextContent(body="and another thing"))
    assert carrier.texts == []
    rows = [row for room in ("r1", "r2") for row in await kit.list_deliveries(room)]
    assert [(str(row.state), row.reason) for row in rows] == [("skipped", "opted_out")] * 2
    await kit.process_inbound(message.replace(content=TextContent(body="start")), room_id="r1")
    await kit.send_event("r2", "system", TextContent(body="welcome back"))
    assert carrier.texts == ["welcome back"]


@pytest.mark.parametrize("text", ["Please stop by at 5", "don't stop", "yes", "Stop " * 20, "full stop"])
async def test_other_words_are_messages(kit: RoomKit, text: str) -> None:
    """Only a word by itself is meant so; YES answers questions."""
    carrier = MockSMSProvider()
    await attached(kit, SMSChannel("sms", provider=carrier))
    await says(kit, text)
    await kit.send_event("r1", "system", TextContent(body="fine"))
    assert carrier.texts == ["fine"]


async def test_languages_and_words_are_the_programs_to_choose(kit: RoomKit) -> None:
    carrier = MockSMSProvider()
    await attached(kit, SMSChannel("sms", provider=carrier, languages=["fr"], stop_words=["Ruhe, bitte"]))
    await says(kit, "baja")
    await kit.send_event("r1", "system", TextContent(body="one"))
    await says(kit, "ruhe bitte!")
    await kit.send_event("r1", "system", TextContent(body="two"))
    assert carrier.texts == ["one"]


async def test_who_opted_out_at_the_vendor_is_skipped_and_no_fallback_writes(kit: RoomKit) -> None:
    """The refusal is neither a failure of the provider nor one to go around."""
    refusal = ProviderError("unsubscribed", error_code=ErrorCode.OPTED_OUT)
    carrier, spare, other = (
        MockSMSProvider(fail_with=refusal),
        MockSMSProvider(name="spare"),
        MockSMSProvider(),
    )
    await attached(kit, SMSChannel("other", provider=other), room="r1")
    kit.register_channel(SMSChannel("sms", providers=[carrier, spare]))
    await kit.attach_channel("r1", "sms", metadata={"phone_number": ANN}, fallback="other")
    await kit.send_event("r1", "system", TextContent(body="hello"))
    (row,) = [row for row in await kit.list_deliveries("r1") if row.channel_id == "sms"]
    assert (str(row.state), row.reason, row.attempts) == ("skipped", "opted_out", 1)
    assert (spare.attempts, other.attempts) == ([], [])


async def test_a_purpose_needs_its_own_consent(kit: RoomKit) -> None:
    """Marketing is refused to who said no to marketing; a code still goes out."""
    carrier = MockSMSProvider()
    await attached(kit, SMSChannel("sms", provider=carrier, purpose="service"))
    await kit.set_consent("phone", ANN, "revoked", purpose="marketing", source="form 12")
    await kit.send_event("r1", "system", TextContent(body="Buy!"), metadata={"purpose": "marketing"})
    await kit.send_event("r1", "system", TextContent(body="Your code is 1234"))
    assert carrier.texts == ["Your code is 1234"]
