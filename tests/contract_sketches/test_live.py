"""A speech-to-speech plugin in small."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from roomkit import (
    AIChannel,
    HookResult,
    HookTrigger,
    InboundMessage,
    RealtimeToolCall,
    RealtimeToolCallEvent,
    RealtimeTranscript,
    RoomContext,
    RoomKit,
    TextContent,
    VoiceSession,
    text_of,
)
from roomkit.testing import MockAIProvider, RecordingChannel
from tests.contract_sketches.live import LiveChannel, Model, ModelSession
from tests.contract_sketches.stage import Workers, die, killed, until_killed, worker_on


def said(role: str, text: str, number: int = 1) -> RealtimeTranscript:
    assert role in ("user", "assistant")
    return RealtimeTranscript(text, role, is_final=True, item_id=f"{role}-{number}")  # type: ignore[arg-type]


async def call(kit: RoomKit, live: LiveChannel, model: Model, *others: str) -> ModelSession:
    """Open the room `r1`, unless it is there, and begin a call in it."""
    if others:
        await kit.create_room("r1")
        for name in ("live", *others):
            await kit.attach_channel("r1", name)
    binding = await kit.get_binding("r1", "live")
    await live.join(VoiceSession("s1", "r1", "ann", "live"), binding)
    return model.sessions[-1]


async def text(kit: RoomKit, words: str, *, to: tuple[str, ...] | None = ()) -> None:
    message = InboundMessage(
        channel_id="sms", sender_id="ben", content=TextContent(body=words), addressed_to=to
    )
    await kit.process_inbound(message, room_id="r1")


async def words_of(kit: RoomKit) -> list[str]:
    return [text for event in await kit.get_timeline("r1") if (text := text_of(event.content))]


@pytest.mark.virtual_time
async def test_a_text_agent_does_not_take_the_models_words_for_the_callers(workers: Workers) -> None:
    """Both lines are in the timeline, once, and no agent was asked for them."""
    model, provider = Model(), MockAIProvider(["noted"])
    live, sms = LiveChannel("live", model), RecordingChannel("sms")
    kit = await workers.start(live, sms, AIChannel("agent", provider))
    session = await call(kit, live, model, "sms", "agent")
    session.brings(said("user", "what is open?"), said("assistant", "Until nine."))
    session.brings(said("assistant", "Until nine."))  # the vendor repeats an item after a reconnect
    await asyncio.sleep(1)
    assert sms.texts() == ["what is open?", "Until nine."]
    assert provider.calls == []
    await text(kit, "sum up", to=("agent",))
    (asked,) = provider.calls
    (read,) = asked.messages
    assert read.content == "ann: what is open?\n[agent live]: Until nine.\nben: sum up"
    answered = [event for event in await kit.get_timeline("r1") if text_of(event.content) == "Until nine."]
    assert [(event.source.direction, event.generation is not None) for event in answered] == [
        ("outbound", True)
    ]


@pytest.mark.virtual_time
async def test_a_change_of_the_binding_on_any_worker_changes_the_conversation(workers: Workers) -> None:
    """Without an entry in the timeline; messages written there reach the model, too; a detach ends it."""
    model = Model()
    live, other = LiveChannel("live", model), LiveChannel("live", Model())
    kits = [await workers.start(each, RecordingChannel("sms")) for each in (live, other)]
    session = await call(kits[0], live, model, "sms")
    for number, kit in enumerate(kits):
        await kit.update_binding_metadata("r1", "live", {"system_prompt": f"be {number}"})
        await asyncio.sleep(1)
    await text(kits[1], "tell her I am late")
    await asyncio.sleep(1)
    assert [config.system_prompt for config in session.configs] == [None, "be 0", "be 1"]
    assert session.texts == [("user", "tell her I am late", True)]
    await kits[1].detach_channel("r1", "live")
    await asyncio.sleep(5)
    await kits[1].attach_channel("r1", "live")
    await text(kits[1], "too late")
    await asyncio.sleep(5)
    assert len(session.texts) == 1
    rows = await kits[0].list_deliveries("r1", channel_id="live")
    assert [row.state for row in rows] == ["sent", "skipped"]


@pytest.mark.virtual_time
async def test_tools_are_used_through_gates(workers: Workers) -> None:
    model = Model()
    live = LiveChannel("live", model)
    kit = await workers.start(live, RecordingChannel("sms"))

    @kit.hook(HookTrigger.ON_REALTIME_TOOL_CALL)
    async def tools(asked: RealtimeToolCallEvent, context: RoomContext) -> HookResult:
        if asked.name != "hours":
            return HookResult.block("no such tool")
        answer = RealtimeToolCallEvent(
            asked.session, asked.tool_call_id, asked.name, asked.arguments, result="9 to 9"
        )
        return HookResult.modify(answer)

    session = await call(kit, live, model, "sms")
    session.brings(RealtimeToolCall("c1", "hours"), RealtimeToolCall("c2", "refund"))
    await asyncio.sleep(1)
    assert session.results == {"c1": "9 to 9", "c2": "refused: no such tool"}


async def _talk_and_die(folder: Path) -> None:
    """Die when the caller's words are committed and the model's are not."""
    model = Model()
    live = LiveChannel("live", model)
    async with worker_on(folder, live, RecordingChannel("sms")) as kit:
        session = await call(kit, live, model, "sms")

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def answer(event: object, context: RoomContext) -> HookResult:
            if "what is open?" in [text_of(each.content) for each in context.recent_events]:
                die()
            return HookResult.allow()

        session.brings(said("user", "what is open?"), said("assistant", "Until nine."))
        await until_killed()


async def test_a_conversation_goes_on_in_the_next_call_with_what_was_said(tmp_path: Path) -> None:
    """The vendor resumes and repeats its items; the room has each once."""
    await killed(_talk_and_die, tmp_path)
    model = Model()
    live = LiveChannel("live", model)
    arrived = asyncio.Event()
    async with worker_on(tmp_path, live, RecordingChannel("sms")) as kit:

        @kit.hook(HookTrigger.BEFORE_BROADCAST)
        async def answer(event: object, context: RoomContext) -> HookResult:
            arrived.set()
            return HookResult.allow()

        session = await call(kit, live, model)
        session.brings(said("user", "what is open?"), said("assistant", "Until nine."))
        await arrived.wait()
        await text(kit, "thanks")
        assert (await words_of(kit))[-3:] == ["what is open?", "Until nine.", "thanks"]
