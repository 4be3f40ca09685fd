"""What a store erases is not kept by an agent, which keeps messages of its rooms for their next turns."""

from __future__ import annotations

import gc

import pytest

from roomkit import AIChannel, ChannelCategory, InboundMessage, RoomKit, TextContent
from roomkit.models.base import Record
from roomkit_plugins.ai.transcript import Transcript
from roomkit_plugins.testing import MockAIProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time

WORDS = "my number is 4711-c4n4ry"
NAME = "Alice Canary"
_HOLDERS = (Transcript, Record, list, tuple, dict, set)


def texts_kept_by(agent):
    """Return every text that the agent's transcripts keep in memory, joined."""
    gc.collect()
    found, todo, seen = [], list(agent._transcripts.rooms.values()), set()
    for each in todo:
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, str):
            found.append(each)
        elif isinstance(each, _HOLDERS):
            todo += gc.get_referents(each)
    return "\n".join(found)


@pytest.fixture
async def kit():
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("ws"))
        await kit.create_room(room_id="r1")
        await kit.attach_channel("r1", "ws")
        yield kit


@pytest.fixture
async def agent(kit):
    """Return an agent that keeps what Alice and Bob said."""
    agent = AIChannel("agent", MockAIProvider(["Noted."]))
    kit.register_channel(agent)
    await kit.attach_channel("r1", "agent", category=ChannelCategory.INTELLIGENCE)
    await kit.ensure_participant("r1", "ws", "alice", NAME)
    await say(kit, "alice", WORDS)
    await say(kit, "bob", "And now?")
    kept = texts_kept_by(agent)
    assert WORDS in kept
    assert NAME in kept
    return agent


async def say(kit, person, words):
    message = InboundMessage(channel_id="ws", sender_id=person, content=TextContent(body=words))
    result = await kit.process_inbound(message, room_id="r1")
    assert result.error is None


async def erase(kit):
    await kit.erase_person(participant_id="alice")


async def delete(kit):
    await kit.delete_room("r1")


@pytest.mark.parametrize("remove", [erase, delete])
async def test_what_is_erased_is_not_kept_for_the_next_turn(kit, agent, remove):
    agent.provider.calls.clear()  # the scripted model keeps its requests, and with them the room
    await remove(kit)
    kept = texts_kept_by(agent)
    assert WORDS not in kept
    assert NAME not in kept


async def test_a_turn_after_an_erasure_reads_what_is_left(kit, agent):
    await erase(kit)
    await say(kit, "bob", "Still there?")
    request = agent.provider.calls[-1]
    assert "Still there?" in str(request.messages)
    assert WORDS not in str(request.messages)
