"""Who loses the voice stops speaking: muting, detaching, losing a right, banning, taking over."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import text_of
from roomkit.models.enums import Access, ChannelType, DeliveryState, EventType, HookTrigger
from roomkit.models.hook import HookResult
from roomkit_plugins.testing import ScriptedIntelligence, SharedStore

pytestmark = pytest.mark.virtual_time


def now():
    return asyncio.get_running_loop().time()


async def mute(kit):
    await kit.mute("r1", "bot")


async def read_only(kit):
    await kit.set_access("r1", "bot", Access.READ_ONLY)


async def write_only(kit):
    await kit.set_access("r1", "bot", Access.WRITE_ONLY)


async def no_access(kit):
    await kit.set_access("r1", "bot", Access.NONE)


async def attach_muted(kit):
    await kit.attach_channel("r1", "bot", muted=True)


async def detach(kit):
    await kit.detach_channel("r1", "bot")


async def take_over(kit):
    await kit.take_over("r1", "olga")


async def ban(kit):
    await kit.remove_participant("r1", "alice", banned=True)


CHANGES = {
    mute: "muted",
    read_only: "muted",
    write_only: "muted",
    no_access: "muted",
    attach_muted: "muted",
    detach: "detached",
    take_over: "taken_over",
    ban: "interrupted",
}
every_change = pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)


class Model(ScriptedIntelligence):
    """An agent that speaks a word a second, and counts what it is asked for."""

    def __init__(self, channel_id, *, deaf=False, streaming=True, text=("one ", "two ", "three ", "four")):
        super().__init__(channel_id)
        self.text = text
        self.asked = 0
        self.words = 0
        self.deaf = deaf
        self.whole = not streaming

    async def on_event(self, event, binding, context):
        if event.source.channel_type is ChannelType.AI:
            return ChannelOutput.empty()
        self.asked += 1
        if self.whole:
            await self.think(10)
            return ChannelOutput(response_events=[event.replace(id=f"{event.id}-answer")])
        return ChannelOutput(response_stream=self.stream())

    async def think(self, seconds):
        if self.deaf:
            until = now() + seconds
            while (left := until - now()) > 0:
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(left)
        else:
            await asyncio.sleep(seconds)

    async def stream(self):
        for word in self.text:
            self.words += 1
            yield word
            await self.think(1)


@pytest.fixture
async def room(stage):
    """Return the stage with Alice, a Bob who sees answers grow, and a Carol who does not."""
    await stage.socket("alice")
    stage.bob = await stage.socket("bob", streaming=True)
    stage.carol = await stage.socket("carol")
    return stage


@every_change
async def test_an_answer_ends_with_the_voice(room, change):
    """At once: the model is not asked on, and what people saw is committed as seen."""
    bot = await room.join(Model("bot"))
    talking = room.saying()
    await asyncio.sleep(1.5)
    await change(room.kit)
    assert now() == 1.5
    result = await talking
    assert now() == 1.5
    assert bot.words == 2
    assert "".join(room.bob.streams[0]) == "one two "
    assert await room.texts() == ["hello", "one two "]
    answer = (await room.timeline())[-1]
    reason = CHANGES[change]
    assert answer.generation.finish_reason == reason
    assert (room.bob.events()[-1], room.carol.events()[-1]) == (answer, answer)
    turn = result.delivery_results["bot"]
    assert (turn.state, turn.reason) == (DeliveryState.SKIPPED, reason)
    assert result.error is None


@every_change
async def test_an_answer_that_nobody_saw_is_not_given(room, change):
    await room.join(Model("bot", streaming=False))
    talking = room.saying()
    await asyncio.sleep(1.5)
    await change(room.kit)
    await talking
    assert now() == 1.5
    assert await room.texts() == ["hello"]


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@every_change
async def test_an_agent_that_ignores_it_is_not_heard(room, change, streaming):
    """What it says after it lost its voice does not count, even once it has it back."""
    bot = await room.join(Model("bot", deaf=True, streaming=streaming))
    talking = room.saying()
    await asyncio.sleep(1.5)
    await change(room.kit)
    await room.kit.attach_channel("r1", "bot")
    await talking
    await asyncio.sleep(20)
    said = [text for text in await room.texts() if text != "hello"]
    assert said == (["one two "] if streaming else [])
    assert bot.asked == 1


@pytest.mark.parametrize("change", [mute, take_over], ids=lambda change: change.__name__)
async def test_a_muted_intelligence_is_not_asked(room, change):
    """No call of its model, no row in the ledger, and no late answer when it has its voice back."""
    bot = await room.join(Model("bot"))
    await change(room.kit)
    result = await room.say("are you there?")
    assert bot.asked == 0
    assert "bot" not in result.delivery_results
    await room.kit.give_back("r1")
    await asyncio.sleep(20)
    assert bot.asked == 0
    await room.say("hello again")
    assert bot.asked == 1


async def test_what_waits_in_the_lane_of_a_muted_intelligence_is_skipped(room):
    bot = await room.join(Model("bot", streaming=False))
    first, second = room.saying("one"), room.saying("two")
    await asyncio.sleep(1.5)
    await room.kit.mute("r1", "bot")
    results = [await first, await second]
    assert [one.delivery_results["bot"].reason for one in results] == ["muted", "muted"]
    assert bot.asked == 1


async def test_only_the_turns_of_who_lost_the_voice_end(room):
    """Another agent, and another room, go on."""
    await room.kit.create_room("r2")
    await room.kit.attach_channel("r2", "alice")
    await room.join(Model("bot"), "r1", "r2")
    await room.join(Model("other"))
    here, there = room.saying(), room.saying(room="r2")
    await asyncio.sleep(1.5)
    await room.kit.mute("r1", "bot")
    await asyncio.gather(here, there)
    said = [text_of(event.content) for event in await room.timeline()]
    assert sorted(said) == ["hello", "one two ", "one two three four"]
    assert (await room.texts("r2"))[-1] == "one two three four"


async def test_a_ban_ends_the_turns_for_that_person_alone(room):
    await room.kit.ensure_participant("r1", "carol", "carol")
    await room.join(Model("bot"))
    await room.join(Model("other"))
    talking = room.saying(channel="carol", by="carol")
    await asyncio.sleep(1.5)
    await room.kit.ensure_participant("r1", "alice", "alice")
    await room.kit.remove_participant("r1", "alice", banned=True)
    await talking
    assert (await room.texts()).count("one two three four") == 2


async def test_taking_over_and_giving_back_is_noted(room):
    """With who did it; transports keep their voices, and twice is once."""
    await room.join(Model("bot"))
    await room.join(Model("other"))
    muted = await room.kit.take_over("r1", "olga")
    assert {one.channel_id for one in muted} == {"bot", "other"}
    assert all(one.muted for one in await room.kit.take_over("r1", "olga"))
    assert not (await room.kit.get_binding("r1", "bob")).muted
    back = await room.kit.give_back("r1", "olga")
    assert not any(one.muted for one in back)
    notes = [
        (event.type, event.source.participant_id, event.content.data["channel_id"])
        for event in await room.timeline(messages=False)
        if event.type in (EventType.CHANNEL_MUTED, EventType.CHANNEL_UNMUTED)
    ]
    assert notes == [
        (EventType.CHANNEL_MUTED, "olga", "bot"),
        (EventType.CHANNEL_MUTED, "olga", "other"),
        (EventType.CHANNEL_UNMUTED, "olga", "bot"),
        (EventType.CHANNEL_UNMUTED, "olga", "other"),
    ]


async def test_a_tool_may_hand_over_without_ending_its_own_turn(room):
    """What the agent says in that turn is refused; it is not cancelled in the middle of its call."""
    bot = await room.agent("bot")
    done = []

    async def on_event(event, binding, context):
        async with asyncio.TaskGroup() as tools:
            tools.create_task(room.kit.take_over("r1"))
        done.append(True)
        return ChannelOutput(response_events=[room.event("one more thing", channel="bot")])

    bot.on_event = on_event
    await room.say()
    assert done == [True]
    assert await room.texts() == ["hello"]
    assert await room.refused() == [("source_muted", "source_muted")]


async def test_a_narrower_visibility_takes_the_rest_of_the_answer(room):
    """And the entry, from those whom it does not admit; the others read on."""
    dora = await room.socket("dora", streaming=True)
    await room.join(Model("bot"))
    talking = room.saying()
    await asyncio.sleep(1.5)
    await room.kit.set_visibility("r1", "bot", "dora")
    await talking
    assert ("".join(room.bob.streams[0]), "".join(dora.streams[0])) == ("one two ", "one two three four")
    assert (room.bob.texts(), dora.texts()) == (["hello"], ["hello", "one two three four"])


@pytest.mark.parametrize("deaf", [False, True], ids=["obedient", "deaf"])
async def test_closing_a_room_waits_for_no_agent(room, deaf):
    """One that ignores its cancellation is abandoned; what people saw of its answer comes before the note."""
    bot = await room.join(Model("bot", deaf=deaf, text=("one ", "two ", "three ")))
    if deaf:
        bot.think = lambda seconds: Model.think(bot, 1000)
    talking = room.saying()
    await asyncio.sleep(0.5)
    await room.kit.close_room("r1")
    assert now() == 0.5 + deaf * room.kit._kernel.ground.supervisor.abandon_after
    codes = [
        getattr(event.content, "code", event.content.type) for event in await room.timeline(messages=False)
    ]
    assert codes[-2:] == ["text", "room_closed"]
    assert (await talking).delivery_results["bot"].reason == "room_closed"
    await asyncio.sleep(2000)


@pytest.mark.parametrize("where", ["tool", "gate", "observer"])
async def test_a_room_may_be_closed_from_inside_its_own_work(room, where):
    """Nothing waits for itself; another agent's answer ends, and is in the ledger if the close came first."""
    await room.join(Model("bot", text=("one. ", "two. ", "three. ")))
    closer = await room.agent("closer")

    async def close_it(event, context=None, _=None):
        if text_of(event.content) == "close":
            await room.kit.close_room("r1")
        return HookResult.allow() if where == "gate" else ChannelOutput.empty()

    if where == "tool":
        closer.on_event = close_it
    else:
        trigger = HookTrigger.BEFORE_BROADCAST if where == "gate" else HookTrigger.AFTER_BROADCAST
        room.kit.hook(trigger)(close_it)
    talking = room.saying()
    await asyncio.sleep(1.5)
    await room.say("close", channel="carol", addressed_to=("closer",))
    turn = (await talking).delivery_results["bot"]
    assert now() == 1.5
    assert (turn.state, turn.reason) == (DeliveryState.SKIPPED, "room_closed")
    said = [text for text in await room.texts() if text not in ("hello", "close")]
    assert (said, turn.error is not None) == (([], True) if where == "gate" else (["one. two. "], False))


@pytest.mark.parametrize("gated", [False, True], ids=["plain", "gated"])
@pytest.mark.parametrize("change", [mute, detach, read_only, take_over], ids=lambda change: change.__name__)
async def test_another_workers_change_ends_an_answer_at_its_next_piece(bare_stage, staging, change, gated):
    shared = {
        "store": SharedStore(),
        "lock_manager": InMemoryLockManager(),
        "realtime": InMemoryRealtime(),
        "single_process": True,
    }
    async with staging(**shared) as room:
        if gated:
            room.kit.hook(HookTrigger.BEFORE_BROADCAST)(allowing)
        await room.socket("alice")
        bob = await room.socket("bob", streaming=True)
        bot = await room.join(Model("bot", text=("one. ", "two. ", "three. ", "four. ", "five. ")))
        other = bare_stage(**shared)
        other.kit.register_channel(Model("bot"))
        await other.kit.start()
        talking = room.saying()
        await asyncio.sleep(1.5)
        await change(other.kit)
        await talking
        assert bot.words < 5
        assert now() <= 3
        assert (await room.texts())[-1] == "".join(bob.streams[0]) == bob.texts()[-1]
        answer = (await room.timeline())[-1]
        assert answer.generation.finish_reason == CHANGES[change]
        await other.kit.close()


async def allowing(event, context):
    return HookResult.allow()
