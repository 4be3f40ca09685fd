"""How long a delivery and a stream may take, by the channel's word; and the messages really sent."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest

from roomkit.abc.text_stream import text_stream_of
from roomkit.abc.transcoder import ContentTranscoder
from roomkit.models import (
    ChannelCapabilities,
    ChannelMediaType,
    ChannelOutput,
    Delivery,
    DeliveryState,
    LengthPolicy,
    LocationContent,
    RetryPolicy,
    TemplateContent,
    TextContent,
    UnknownContent,
)
from roomkit_plugins.testing import Hang, RecordingChannel

pytestmark = pytest.mark.virtual_time
ONCE = RetryPolicy(max_retries=0)


def now() -> float:
    return asyncio.get_running_loop().time()


@pytest.mark.parametrize(
    ("own", "seconds", "state"),
    [
        (None, 20, DeliveryState.SENT),
        (None, 40, DeliveryState.FAILED),
        (60, 40, DeliveryState.SENT),
        (5, 20, DeliveryState.FAILED),
        (math.inf, 3600, DeliveryState.SENT),
    ],
)
async def test_an_attempt_has_the_time_that_its_channel_says(
    stage: Any, own: float | None, seconds: float, state: DeliveryState
) -> None:
    """Without a time of its own it has the kit's; playback may have no end."""
    await stage.socket("alice")
    phone = RecordingChannel("phone", delay=seconds)
    phone.delivery_timeout = own
    await stage.join(phone, retry_policy=ONCE)
    result = await stage.say("a long text to be played")
    row = (await stage.ledger(result.event))["phone"]

    assert row.state is state
    if state is DeliveryState.FAILED:
        assert f"did not deliver within {own or 30.0} s" in row.error.message


class Player(RecordingChannel):
    """Shows an answer at once, and plays it word by word after it was committed."""

    def __init__(self, channel_id: str, *, pause: float, says_heard: bool) -> None:
        super().__init__(channel_id, streaming=True)
        self._pause = pause
        self._says_heard = says_heard
        self.played = 0

    async def deliver_stream(self, text_stream: Any, event: Any, binding: Any, context: Any) -> ChannelOutput:
        stream = text_stream_of(text_stream, event)
        text = "".join([piece async for piece in stream])
        await stream.turn()
        for word in text.split():
            await asyncio.sleep(self._pause)
            self.played += len(word)
            if self._says_heard:
                stream.heard(min(self.played, len(text)))
        return ChannelOutput.empty()


ANSWER = "ten words that take a while to be played out loud"


@pytest.mark.parametrize(
    ("pause", "says_heard", "idle", "state"),
    [
        (50.0, True, 60.0, DeliveryState.SENT),
        (70.0, True, 60.0, DeliveryState.FAILED),
        (50.0, False, 60.0, DeliveryState.FAILED),
        (50.0, False, math.inf, DeliveryState.SENT),
    ],
)
async def test_a_stream_may_take_as_long_as_it_makes_progress(
    stage: Any, pause: float, says_heard: bool, idle: float, state: DeliveryState
) -> None:
    """Its end is not awaited for longer than that after the last progress."""
    await stage.socket("alice")
    player = Player("phone", pause=pause, says_heard=says_heard)
    player.stream_idle_timeout = idle
    await stage.join(player)
    await stage.agent("bot", [ANSWER], streaming=True)
    begun = now()
    await stage.say("hello")
    row = (await stage.ledger())["phone"]

    assert row.state is state
    if state is DeliveryState.FAILED:
        assert (row.error.code, now() - begun) == ("timeout", 60)


# -- messages really sent -------------------------------------------------------------------------


async def rendered(stage: Any, content: Any, channel: RecordingChannel, **binding: Any) -> Delivery:
    await stage.socket("alice")
    await stage.join(channel, **binding)
    result = await stage.say(content)
    row: Delivery = (await stage.ledger(result.event))[channel.channel_id]
    return row


async def test_a_row_says_what_was_sent_in_place_of_the_event(stage: Any) -> None:
    """In another form."""
    place = LocationContent(latitude=52.5, longitude=13.4, label="Berlin")
    sms = RecordingChannel("sms")
    row = await rendered(stage, place, sms)

    assert row.rendered == sms.events()[0].content
    assert isinstance(row.rendered, TextContent)


async def test_a_row_says_what_is_left_of_a_text_that_was_cut(stage: Any) -> None:
    sms = RecordingChannel("sms", capabilities=ChannelCapabilities(max_length=5))
    row = await rendered(stage, "hello world", sms, length_policy=LengthPolicy.TRUNCATE)
    assert row.rendered == TextContent(body="hell…")


async def test_what_went_out_as_it_is_or_in_pieces_is_not_said_twice(stage: Any) -> None:
    sms = RecordingChannel("sms", capabilities=ChannelCapabilities(max_length=5))
    row = await rendered(stage, "hello world", sms)
    assert (row.rendered, sms.texts()) == (None, ["hello", "world"])


async def test_a_channel_says_which_template_it_sent(stage: Any) -> None:
    """And an erasure takes that too."""
    template = TemplateContent(template_id="welcome", parameters={"name": "Ann"}, body="Welcome, Ann")
    sms = RecordingChannel("sms", script=[ChannelOutput(rendered=template)])
    row = await rendered(stage, "hello", sms)

    assert row.rendered == template
    assert row.redacted().rendered is None
    await stage.kit.erase_person(participant_id="alice")
    assert "Ann" not in str(await stage.kit.list_deliveries("r1"))


async def test_a_row_of_a_newer_version_may_have_sent_what_is_not_known() -> None:
    made = Delivery(
        id="e:c", room_id="r", event_id="e", event_index=0, channel_id="c", created_at="2026-01-01"
    )
    text = made.replace(rendered=TextContent(body="x")).model_dump_json()
    read = Delivery.from_stored(text.replace('"type":"text"', '"type":"hologram"'))
    assert isinstance(read.rendered, UnknownContent)


@pytest.mark.parametrize("whose", ["channel", "transcoder"])
async def test_content_that_is_none_fails_the_delivery(staging: Any, whose: str) -> None:
    """It could not be stored."""

    class Wrong(ContentTranscoder):
        async def transcode(self, content: Any, source: Any, target: Any) -> Any:
            return "no content"

    options = {"transcoder": Wrong()} if whose == "transcoder" else {}
    async with staging(**options) as stage:
        script = [ChannelOutput(rendered="no content")] if whose == "channel" else []  # type: ignore[arg-type]  # wrong on purpose
        media = (ChannelMediaType.TEXT,)
        sms = RecordingChannel("sms", script=script, capabilities=ChannelCapabilities(media_types=media))
        content = LocationContent(latitude=0, longitude=0) if whose == "transcoder" else "hello"
        row = await rendered(stage, content, sms)

        assert row.state is DeliveryState.FAILED
        assert "rendered content of" in row.error.message
        assert "is str: use an EventContent" in row.error.message


async def test_a_hanging_channel_is_late_by_its_own_time(stage: Any) -> None:
    """Also when it ignores its cancellation and is abandoned."""
    hang = Hang()
    await stage.socket("alice")
    phone = RecordingChannel("phone", script=[hang])
    phone.delivery_timeout = 7
    await stage.join(phone, retry_policy=ONCE)
    begun = now()
    await stage.say("hello")
    assert (now() - begun, hang.cancelled) == (7, 1)
