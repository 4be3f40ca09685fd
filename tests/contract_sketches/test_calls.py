"""A voice plugin in small."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roomkit import (
    AudioFrame,
    CallRequest,
    ChannelDirection,
    DeliveryState,
    EndCause,
    EventType,
    HomeElsewhereError,
    HookResult,
    HookTrigger,
    InboundMessage,
    RoomContext,
    RoomKit,
    TextContent,
    TranscriptionEvent,
    VoiceSession,
    text_of,
)
from roomkit.testing import RecordingChannel, ScriptedIntelligence
from tests.contract_sketches.calls import RATE, CallChannel, Ear, Line, Speaker
from tests.contract_sketches.stage import Workers, die, killed, until_killed, worker_on

ORDER = "It left us today.\nIt arrives tomorrow.\nIt is blue.\n"


def calls() -> tuple[CallChannel, Line]:
    line = Line()
    return CallChannel("phone", line, Ear(), Speaker()), line


async def open_room(kit: RoomKit, *others: str) -> None:
    await kit.create_room("r1")
    for name in ("phone", "sms", *others):
        await kit.attach_channel("r1", name)


async def ring(phone: CallChannel) -> VoiceSession:
    session = await phone.ring(CallRequest("line", "ann", requested_room_id="r1"))
    assert isinstance(session, VoiceSession)
    return session


def speaks(line: Line, session: VoiceSession, words: str) -> None:
    line.emit("audio", session, AudioFrame(words.encode("utf-16-le"), RATE))


async def text(kit: RoomKit, words: str) -> None:
    message = InboundMessage(channel_id="sms", sender_id="ben", content=TextContent(body=words))
    await kit.process_inbound(message, room_id="r1", wait="committed")


async def words_of(kit: RoomKit) -> list[str]:
    return [text for event in await kit.get_timeline("r1") if (text := text_of(event.content))]


@pytest.mark.virtual_time
async def test_an_answer_is_spoken_while_it_is_made_and_stops_where_the_caller_interrupts(
    workers: Workers,
) -> None:
    """The agent is of no special kind. The text message has all that was released, and no correction."""
    phone, line = calls()
    sms = RecordingChannel("sms")
    bot = ScriptedIntelligence("bot", [ORDER + "And so on. " * 200], streaming=True, word_delay=0.3)
    kit = await workers.start(phone, sms, bot)
    await open_room(kit, "bot")
    session = await ring(phone)
    speaks(line, session, "where is it?")
    await asyncio.sleep(4)
    assert ORDER.startswith(line.heard)
    assert len(line.heard) > 15
    line.emit("barge_in", session)
    await asyncio.sleep(5)
    heard = line.heard
    await asyncio.sleep(60)
    assert (line.heard, bot.cancelled) == (heard, 1)
    answer = (await kit.get_timeline("r1"))[-1]
    assert answer.generation is not None
    assert answer.generation.finish_reason == "interrupted"
    assert answer.heard_by("phone") == heard
    assert sms.texts()[-1] == text_of(answer.content)
    assert [event.type for event in sms.events()].count(EventType.EDIT) == 0


@pytest.mark.virtual_time
async def test_a_speech_of_more_than_half_a_minute_is_heard_once(workers: Workers) -> None:
    phone, line = calls()
    kit = await workers.start(phone, RecordingChannel("sms"))
    await open_room(kit)
    await ring(phone)
    long = "a long story, " * 50
    await text(kit, long)
    await text(kit, "the end")
    await asyncio.sleep(200)
    assert line.heard == long + "the end"
    rows = await kit.list_deliveries("r1", channel_id="phone")
    assert [(row.state, row.attempts) for row in rows] == [(DeliveryState.SENT, 1)] * 2
    event = (await kit.get_timeline("r1"))[-1]
    assert event.heard_by("phone") == "the end"


@pytest.mark.virtual_time
async def test_gates_judge_what_was_said_and_what_is_spoken(workers: Workers) -> None:
    phone, line = calls()
    kit = await workers.start(phone, RecordingChannel("sms"))

    @kit.hook(HookTrigger.ON_TRANSCRIPTION, directions={ChannelDirection.INBOUND})
    async def mask(said: TranscriptionEvent, context: RoomContext) -> HookResult:
        return HookResult.modify(TranscriptionEvent(said.session, said.text.replace("4711", "****")))

    @kit.hook(HookTrigger.BEFORE_TTS)
    async def polite(words: str, context: RoomContext) -> HookResult:
        return HookResult.block("rude") if "fool" in words else HookResult.allow()

    await open_room(kit)
    session = await ring(phone)
    speaks(line, session, "my pin is 4711")
    await text(kit, "you fool")
    await text(kit, "thank you")
    await asyncio.sleep(10)
    assert line.heard == "thank you"
    assert "my pin is ****" in await words_of(kit)


@pytest.mark.virtual_time
async def test_what_another_worker_commits_is_heard_where_the_call_is(workers: Workers) -> None:
    """A second leg is sent there, a detach ends the call there, and after the call nothing waits for it."""
    pairs = [calls() for _ in range(2)]
    kits = [
        await workers.start(phone, RecordingChannel("sms"), worker_url=f"sip:{number}")
        for number, (phone, _) in enumerate(pairs)
    ]
    await open_room(kits[0])
    (phone, line), (other, _) = pairs
    session = await ring(phone)
    await text(kits[1], "from the other worker")
    await asyncio.sleep(10)
    assert line.heard == "from the other worker"
    with pytest.raises(HomeElsewhereError) as elsewhere:
        await ring(other)
    assert elsewhere.value.url == "sip:0"
    await kits[1].detach_channel("r1", "phone")
    await asyncio.sleep(10)
    assert session.ended is EndCause.LOCAL
    await kits[1].attach_channel("r1", "phone")
    await text(kits[1], "after the call")
    await asyncio.sleep(10)
    rows = await kits[0].list_deliveries("r1", channel_id="phone")
    assert [(row.state, row.reason) for row in rows] == [
        (DeliveryState.SENT, None),
        (DeliveryState.SKIPPED, "no_session"),
    ]


async def _hang_up_by_dying(folder: Path) -> None:
    """Die while the first of two messages is spoken."""
    phone, line = calls()
    async with worker_on(folder, phone, RecordingChannel("sms")) as kit:
        await open_room(kit)
        await ring(phone)
        line.on_audio_played(lambda session, frame: die())
        await text(kit, "one")
        await until_killed()


async def test_what_a_dead_worker_had_to_say_is_heard_in_the_next_call(tmp_path: Path) -> None:
    await killed(_hang_up_by_dying, tmp_path)
    phone, line = calls()
    async with worker_on(tmp_path, phone, RecordingChannel("sms")) as kit:
        await text(kit, "two")
        done = asyncio.Event()
        line.on_audio_played(lambda session, frame: done.set() if line.heard == "onetwo" else None)
        await ring(phone)
        async with asyncio.timeout(20):
            await done.wait()
