"""What readers and clients see of an event that was edited, by every way to read, over every store."""

from __future__ import annotations

import json

import pytest

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import TextContent
from roomkit.models.enums import DeliveryState, EventType, HookTrigger
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence

SECRET = "my pin is 9999"


class Attentive(ScriptedIntelligence):
    """An agent that keeps all it is shown."""

    def __init__(self, channel_id):
        super().__init__(channel_id)
        self.shown = []

    async def on_event(self, event, binding, context):
        self.shown += [event, *context.recent_events]
        return await super().on_event(event, binding, context)


class Reading(RecordingChannel):
    """A transport that reads the room through its services."""

    def __init__(self, channel_id):
        super().__init__(channel_id)
        self.shown = []

    async def deliver(self, event, binding, context):
        self.shown += [event, *context.recent_events]
        excerpt = await self.services.rooms.read_timeline(event.room_id, after_index=-1)
        self.shown += excerpt.events
        return await super().deliver(event, binding, context)


@pytest.fixture
async def edited(store, bare_stage):
    """A room of every store, where something was said and edited twice before the others go on."""
    stage = await bare_stage(store=store, single_process=True).open()
    await stage.socket("alice")
    reader, agent = await stage.join(Reading("reader")), await stage.join(Attentive("agent"))
    said = (await stage.say(SECRET)).event
    for words in (f"{SECRET}, really", "(removed)"):
        await stage.kit.edit_event("r1", said.id, TextContent(body=words))
    del reader.shown[:], agent.shown[:]
    yield stage, said, reader, agent
    await stage.kit.close()


async def test_no_reader_is_shown_former_words(edited):
    """Delivery's and the agent's context, a gate's, the timeline as a channel and the channel's services."""
    stage, said, reader, agent = edited
    gated = []

    @stage.kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event, context):
        gated.extend(context.recent_events)
        return HookResult.allow()

    await stage.say("hello")
    timelines = [
        event
        for name in ("alice", "reader", "agent")
        for event in await stage.kit.get_timeline("r1", as_channel=name)
        if event.id == said.id
    ]
    ways = {"delivery": reader.shown, "agent": agent.shown, "gate": gated, "timeline": timelines}
    for way, events in ways.items():
        again = [event for event in events if event.id == said.id]
        assert again, way
        for event in again:
            assert event.content == TextContent(body="(removed)"), way
            assert event.edited, way
            assert SECRET not in event.model_dump_json(), way


async def test_a_page_read_as_a_channel_has_no_former_words_in_its_edits_either(edited):
    """The entry of an edit shows what its target says now: the newest words, or none after a deletion."""
    stage, said, _, _ = edited
    whole = await stage.kit.get_timeline("r1")
    page = await stage.kit.get_timeline("r1", as_channel="reader")
    edits = [event.content.new_content.body for event in page if event.type is EventType.EDIT]
    assert edits == ["(removed)", "(removed)"]
    assert SECRET not in " ".join(event.model_dump_json() for event in page)
    assert any(SECRET in event.model_dump_json() for event in whole if event.type is EventType.EDIT)

    await stage.kit.edit_event("r1", said.id, TextContent(body=SECRET))
    await stage.kit.delete_event("r1", said.id)
    page = await stage.kit.get_timeline("r1", as_channel="reader")
    excerpt = await stage.kit.get_channel("reader").services.rooms.read_timeline("r1", after_index=-1)
    assert [event.type for event in page].count(EventType.EDIT) == 3
    assert SECRET not in " ".join(event.model_dump_json() for event in (*page, *excerpt.events))


async def test_a_retried_delivery_has_no_former_words(store, bare_stage):
    stage = await bare_stage(store=store, single_process=True).open()
    await stage.socket("alice")
    fails = ProviderError("no", error_code=ErrorCode.INVALID_REQUEST)
    bob = await stage.socket("bob", script=[fails])
    said = (await stage.say(SECRET)).event
    (row,) = await stage.kit.list_deliveries("r1", state=DeliveryState.FAILED)
    await stage.kit.edit_event("r1", said.id, TextContent(body="(removed)"))
    await stage.kit.retry_delivery(row.id)
    await stage.idle()
    again = bob.events()[-1]
    assert (again.id, again.content) == (said.id, TextContent(body="(removed)"))
    assert SECRET not in again.model_dump_json()
    await stage.kit.close()


async def test_operators_and_exports_keep_the_former_words(edited):
    stage, said, _, _ = edited
    (kept,) = [event for event in await stage.kit.get_timeline("r1") if event.id == said.id]
    exported = [line async for line in stage.kit.export_room_lines("r1")]
    assert [content.body for content in kept.amendment.former_contents] == [SECRET, f"{SECRET}, really"]
    assert any(SECRET in line for line in exported)


async def test_the_json_of_an_event_is_what_a_client_may_see(edited):
    stage, said, _, _ = edited
    (kept,) = [event for event in await stage.kit.get_timeline("r1") if event.id == said.id]
    assert SECRET not in kept.json_bytes.decode()
    assert json.loads(kept.json_bytes) == kept.client_view()
    assert kept.client_view()["content"]["body"] == "(removed)"
    assert kept.client_view()["amendment"]["edited_at"]
