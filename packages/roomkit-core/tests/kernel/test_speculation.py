"""An answer is prepared to a message before that is committed, and given to that very message or to none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit import RoomKit
from roomkit.abc.errors import InvalidInputError, ProviderError
from roomkit.kernel.flow.speculation import _spoken
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.ai import StreamDone
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import DeliveryState
from roomkit.models.hook import HookResult, InjectedEvent
from roomkit.models.task import Task
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence, VirtualClock

pytestmark = pytest.mark.virtual_time

QUESTION = "Where is my order?"


class Assistant(ScriptedIntelligence):
    """Answers "You said: ..." word by word, a second each, after it used its tool; it keeps what it did."""

    speculates = True

    def __init__(self, channel_id: str = "bot", *, tool: bool = False, fails: int = 0) -> None:
        super().__init__(channel_id)
        self.tool = tool
        self.fails = fails
        self.used: list[str] = []
        self.asked: list[tuple[str, bool]] = []
        self.shown: list[list[str]] = []
        self.ended = 0

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        self.asked.append((text_of(event.content), context.speculative))
        self.shown.append([text_of(each.content) for each in context.recent_events])
        return ChannelOutput(responded=True, response_stream=self._answer(event, context))

    async def _answer(self, event: Any, context: Any) -> AsyncIterator[Any]:
        try:
            for word in f"You said: {text_of(event.content)}".split(" "):
                await asyncio.sleep(1)
                yield f"{word} "
            if self.fails:
                self.fails -= 1
                raise ProviderError("the vendor is down")
            if self.tool:
                await context.confirmed()
                self.used.append(event.id)
                yield "Done."
            yield StreamDone("stop", {"output_tokens": 7})
        finally:
            self.ended += 1


@pytest.fixture
async def room(stage):
    await stage.socket("alice", streaming=True)
    await stage.say("Hello.")
    return stage


def message(text: str = QUESTION, by: str = "alice", **fields: Any) -> InboundMessage:
    return InboundMessage(channel_id="alice", sender_id=by, content=TextContent(body=text), **fields)


async def speculate(room, text: str = QUESTION, **fields):
    return await room.kit.services.turns.speculate("r1", message(text, **fields))


def withdrawals(room):
    return [each["reason"] for each in room.facts("speculation_withdrawn")]


def timeless(events):
    return [event.replace(id="x", created_at=events[0].created_at) for event in events]


async def everything(room):
    """Return all that a store has of the room, but for the times."""
    store = room.kit.store
    state = await store.get_room("r1")
    return (
        await room.timeline(messages=False),
        await room.kit.list_deliveries("r1", limit=1000),
        await room.kit.list_tasks("r1"),
        state.state,
        state.version,
        state.latest_index,
        await store.find_timers(limit=100),
    )


async def test_the_answer_is_there_when_the_message_is(room):
    """It was generated while the person was still speaking."""
    bot = await room.join(Assistant())
    before = await everything(room)
    speculation = await speculate(room)
    await asyncio.sleep(60)
    assert bot.asked == [(QUESTION, True)]
    assert speculation.withdrawn is None
    assert await everything(room) == before
    at = asyncio.get_running_loop().time()
    result = await speculation.confirm(message("where is my order"), wait="settled")
    assert asyncio.get_running_loop().time() == at
    assert await room.texts() == ["Hello.", "where is my order", f"You said: {QUESTION} "]
    assert bot.asked == [(QUESTION, True)]
    answer = (await room.timeline())[-1]
    assert answer.generation.usage == {"output_tokens": 7}
    assert answer.correlation_id == result.event.id
    assert answer.chain_depth == 1
    assert (await room.ledger(result.event))["bot"].state is DeliveryState.SENT
    (released,) = room.facts("speculation_released")
    assert released["usage"] == {"output_tokens": 7}
    assert speculation.withdrawn is None


async def test_what_is_still_generated_streams_on(room):
    """Confirmed in the middle, finished pieces go out at once, and the rest as it comes."""
    await room.join(Assistant())
    speculation = await speculate(room)
    await asyncio.sleep(3.5)
    began = asyncio.get_running_loop().time()
    await speculation.confirm(message(), wait="settled")
    assert asyncio.get_running_loop().time() - began == 2.5
    assert (await room.texts())[-1] == f"You said: {QUESTION} "


async def test_a_turn_is_shown_the_room_as_it_will_be(room):
    """The message is the newest entry, as for an intelligence that is asked after the commit."""
    bot = await room.join(Assistant())
    speculation = await speculate(room)
    await speculation.confirm(message("Something else."), wait="settled")
    assert bot.asked == [(QUESTION, True), ("Something else.", False)]
    assert bot.shown == [["Hello.", QUESTION], ["Hello.", "Something else."]]


async def test_a_tool_waits_for_the_confirmation(room):
    bot = await room.join(Assistant(tool=True))
    speculation = await speculate(room)
    await asyncio.sleep(60)
    assert bot.used == []
    result = await speculation.confirm(message(), wait="settled")
    assert bot.used == [result.event.id]
    assert (await room.texts())[-1].endswith("Done.")


@pytest.mark.parametrize(
    ("last", "reason"),
    [("Where is my parcel?", "message_changed"), ("Where is my order 1.5?", "message_changed")],
)
async def test_to_another_text_the_turn_is_run_again(room, last, reason):
    bot = await room.join(Assistant(tool=True))
    speculation = await speculate(room)
    await asyncio.sleep(60)
    await speculation.confirm(message(last), wait="settled")
    assert await room.texts() == ["Hello.", last, f"You said: {last} Done."]
    assert withdrawals(room) == [reason] == [speculation.withdrawn]
    assert len(bot.used) == 1
    assert bot.ended == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"response_visibility": "internal"},
        {"visibility": "alice,bot"},
        {"thread_id": "t2"},
        {"by": "bob"},
    ],
)
async def test_the_same_words_to_others_or_of_others_are_another_message(room, fields):
    await room.say("I am here too.", by="bob")
    bot = await room.join(Assistant())
    speculation = await speculate(room)
    assert speculation.withdrawn is None
    await speculation.confirm(message(**fields), wait="settled")
    assert withdrawals(room) == ["message_changed"]
    assert [speculative for _, speculative in bot.asked] == [True, False]


async def test_a_withdrawn_one_leaves_no_trace(room):
    bot = await room.join(Assistant())
    before = await everything(room)
    speculation = await speculate(room)
    await asyncio.sleep(2.5)
    await speculation.withdraw()
    await speculation.withdraw()
    assert bot.ended == 1
    assert await everything(room) == before
    assert withdrawals(room) == ["withdrawn"] == [speculation.withdrawn]
    (cost,) = room.facts("speculation_withdrawn")
    assert cost["seconds"] == 2.5
    assert cost["characters"] == len("You said: ")
    await speculation.confirm(message(), wait="settled")
    assert await room.texts() == ["Hello.", QUESTION, f"You said: {QUESTION} "]


async def test_what_a_finished_answer_cost_is_counted_though_it_is_withdrawn(room):
    await room.join(Assistant())
    speculation = await speculate(room)
    await asyncio.sleep(60)
    await speculation.withdraw()
    await asyncio.sleep(0)
    (cost,) = room.facts("speculation_withdrawn")
    assert cost["usage"] == {"output_tokens": 7}


async def test_a_commit_to_the_room_withdraws_it(room):
    bot = await room.join(Assistant())
    speculation = await speculate(room)
    await room.kit.send_event("r1", "alice", TextContent(body="By the way."), participant_id="alice")
    assert speculation.withdrawn == "room_changed"
    await speculation.confirm(message(), wait="settled")
    assert [text for text, _ in bot.asked] == [QUESTION, "By the way.", QUESTION]
    assert len(await room.texts()) == 5


@pytest.mark.parametrize("change", ["state", "binding", "participant", "room"])
async def test_a_change_without_an_entry_withdraws_it_at_the_latest_when_confirmed(room, change):
    bot = await room.join(Assistant())
    kit, speculation = room.kit, await speculate(room)
    if change == "state":
        await kit.change_state("r1", "app", lambda state: {"topic": "orders"})
    elif change == "binding":
        await kit.services.rooms.change_binding(
            "r1", lambda binding: binding.replace(metadata={"name": "Alice"}), channel_id="alice"
        )
    elif change == "participant":
        await kit.ensure_participant("r1", "alice", "carol")
    else:
        await kit.update_room_metadata("r1", {"topic": "orders"})
    await speculation.confirm(message(), wait="settled")
    assert [speculative for _, speculative in bot.asked] == [True, False]
    assert withdrawals(room) == ["room_changed"]


async def test_what_is_heard_meanwhile_withdraws_it(room):
    """An agent that prepared its answer took all that it had said for heard."""

    class Phone(RecordingChannel):
        async def deliver_stream(self, stream, event, binding, context):
            await asyncio.sleep(10)
            stream.heard(3)
            return ChannelOutput.empty()

    await room.join(Phone("phone", streaming=True))
    bot = await room.join(Assistant())
    await room.say("First.", wait="committed")
    await asyncio.sleep(9)
    speculation = await speculate(room)
    assert speculation.withdrawn is None
    await asyncio.sleep(60)
    assert speculation.withdrawn == "room_changed"
    await speculation.confirm(message(), wait="settled")
    assert [speculative for _, speculative in bot.asked] == [False, True, False]


async def test_another_one_of_the_same_channel_replaces_it(room):
    bot = await room.join(Assistant())
    first = await speculate(room, "Where is")
    second = await speculate(room)
    assert (first.withdrawn, second.withdrawn) == ("replaced", None)
    await second.confirm(message(), wait="settled")
    assert await room.texts() == ["Hello.", QUESTION, f"You said: {QUESTION} "]
    assert [text for text, _ in bot.asked] == ["Where is", QUESTION]


async def test_it_is_withdrawn_after_the_time_of_a_turn(staging):
    async with staging(agent_timeout=30) as room:
        await room.socket("alice")
        await room.say()
        bot = await room.join(Assistant(tool=True))
        speculation = await speculate(room)
        await asyncio.sleep(31)
        assert speculation.withdrawn == "expired"
        await asyncio.sleep(0)
        assert bot.ended == 1


async def test_closing_the_kit_withdraws_it_at_once(bare_stage):
    room = await bare_stage().open()
    await room.socket("alice")
    await room.say()
    bot = await room.join(Assistant(tool=True))
    speculation = await speculate(room)
    await asyncio.sleep(60)
    began = asyncio.get_running_loop().time()
    await room.kit.close()
    assert asyncio.get_running_loop().time() == began
    assert speculation.withdrawn == "closing"
    assert bot.ended == 1


async def test_unregistering_the_intelligence_withdraws_it(room):
    bot = await room.join(Assistant(tool=True))
    speculation = await speculate(room)
    await room.kit.unregister_channel("bot")
    assert speculation.withdrawn == "unregistered"
    assert bot.ended == 1


async def test_who_cannot_is_asked_when_it_is_committed(room):
    able, unable = await room.join(Assistant()), await room.join(Assistant("other"))
    unable.speculates = False
    speculation = await speculate(room)
    await asyncio.sleep(60)
    assert (len(able.asked), len(unable.asked)) == (1, 0)
    await speculation.confirm(message(), wait="settled")
    assert able.asked[0] == (QUESTION, True)
    assert unable.asked[0] == (QUESTION, False)
    assert QUESTION not in [text for text, _ in able.asked[1:]]


async def test_an_answer_that_is_not_streamed_is_held_too(room):
    bot = await room.agent("plain", ["Tomorrow."], delay=3)
    bot.speculates = True
    speculation = await speculate(room)
    await asyncio.sleep(60)
    at = asyncio.get_running_loop().time()
    await speculation.confirm(message(), wait="settled")
    assert asyncio.get_running_loop().time() == at
    assert (await room.texts())[-1] == "Tomorrow."
    assert len(bot.seen) == 1


async def test_a_turn_that_failed_before_the_commit_is_run_again(room):
    bot = await room.join(Assistant(fails=1))
    speculation = await speculate(room)
    await asyncio.sleep(60)
    result = await speculation.confirm(message(), wait="settled")
    assert result.error is None
    assert (await room.texts())[-1] == f"You said: {QUESTION} "
    assert len(bot.asked) == 2


async def test_a_turn_that_fails_after_the_commit_has_failed(room):
    bot = await room.join(Assistant(fails=1))
    speculation = await speculate(room)
    result = await speculation.confirm(message(), wait="settled")
    assert isinstance(result.error, ProviderError)
    assert (await room.ledger(result.event))["bot"].state is DeliveryState.FAILED
    assert len(bot.asked) == 1


async def test_an_interruption_ends_the_turn_that_was_prepared(room):
    bot = await room.join(Assistant())
    speculation = await speculate(room)
    await asyncio.sleep(2.5)
    await speculation.confirm(message())
    await asyncio.sleep(1)
    assert await room.kit.services.turns.interrupt("r1") == 1
    await room.idle()
    answer = (await room.timeline())[-1]
    assert text_of(answer.content) == "You said: Where "
    assert answer.generation.finish_reason == "interrupted"
    assert bot.ended == 1


async def test_nothing_is_prepared_while_an_answer_is_given(room):
    bot = await room.join(Assistant())
    await room.say("First.", wait="committed")
    speculation = await speculate(room)
    assert speculation.withdrawn == "not_prepared"
    await speculation.confirm(message(), wait="settled")
    assert bot.asked == [("First.", False), (QUESTION, False)]


async def test_nothing_is_prepared_for_who_is_new_in_the_room(room):
    """What they may do is known when they have joined."""
    bot = await room.join(Assistant())
    speculation = await speculate(room, by="stranger")
    assert speculation.withdrawn == "not_prepared"
    await speculation.confirm(message(by="stranger"), wait="settled")
    assert bot.asked == [(QUESTION, False)]


@pytest.mark.parametrize("what", ["muted", "closed", "no such room", "read only"])
async def test_what_would_not_be_answered_is_not_prepared(room, what):
    bot = await room.join(Assistant())
    room_id = "r1"
    if what == "muted":
        await room.kit.mute("r1", "bot")
    elif what == "closed":
        await room.kit.close_room("r1")
    elif what == "read only":
        await room.kit.set_access("r1", "alice", "read_only")
    else:
        room_id = "nowhere"
    speculation = await room.kit.services.turns.speculate(room_id, message())
    assert speculation.withdrawn == "not_prepared"
    assert bot.asked == []


# -- gates ------------------------------------------------------------------------------------


async def test_gates_see_it_first_and_again(room):
    bot = await room.join(Assistant())
    seen = []

    @room.kit.hook("before_broadcast", channel_ids={"alice"})
    async def censor(event, context):
        seen.append((text_of(event.content), context.speculative))
        return HookResult.modify(event.replace(content=TextContent(body="Where is my [thing]?")))

    speculation = await speculate(room)
    await asyncio.sleep(60)
    await speculation.confirm(message("WHERE is my parcel"), wait="settled")
    assert seen == [(QUESTION, True), ("WHERE is my parcel", False)]
    assert bot.asked == [("Where is my [thing]?", True)]
    assert (await room.texts())[-1] == "You said: Where is my [thing]? "


async def test_a_gate_that_decides_otherwise_at_the_commit_withdraws_it(room):
    bot = await room.join(Assistant())

    @room.kit.hook("before_broadcast", channel_ids={"alice"})
    async def late(event, context):
        words = "early" if context.speculative else "late"
        return HookResult.modify(event.replace(content=TextContent(body=words)))

    speculation = await speculate(room)
    await speculation.confirm(message(), wait="settled")
    assert bot.asked == [("early", True), ("late", False)]
    assert withdrawals(room) == ["message_changed"]


async def test_a_message_refused_at_the_commit_is_not_answered(room):
    bot = await room.join(Assistant(tool=True))

    @room.kit.hook("before_broadcast", channel_ids={"alice"})
    async def late(event, context):
        return HookResult.allow() if context.speculative else HookResult.block("no")

    speculation = await speculate(room)
    await asyncio.sleep(60)
    result = await speculation.confirm(message(), wait="settled")
    assert result.blocked
    assert withdrawals(room) == ["refused"]
    assert bot.used == []
    assert await room.texts() == ["Hello."]


def _effects(room, event):
    other = event.replace(id="other", content=TextContent(body="injected"))
    return HookResult(
        injected_events=[InjectedEvent(other, ["alice"])],
        tasks=[Task(id="task", room_id="r1", title="remember")],
        state={"app": {"gated": True}},
        timers=[room.kit.services.timers.make("t", event.created_at, room_id="r1")],
    )


async def test_what_else_a_gate_returns_is_discarded(room):
    await room.join(Assistant())

    @room.kit.hook("before_broadcast", channel_ids={"alice"})
    async def noting(event, context):
        return _effects(room, event)

    before = await everything(room)
    speculation = await speculate(room)
    assert speculation.withdrawn is None
    await asyncio.sleep(60)
    assert await everything(room) == before
    await speculation.withdraw()
    assert await everything(room) == before


@pytest.mark.parametrize("verdict", ["block", "raise", "late", "wrong"])
async def test_a_gate_that_blocks_or_fails_prevents_it(room, verdict):
    bot = await room.join(Assistant())

    @room.kit.hook("before_broadcast", channel_ids={"alice"}, timeout=5)
    async def strict(event, context):
        if not context.speculative:
            return HookResult.allow()
        if verdict == "raise":
            raise ValueError("no")
        if verdict == "late":
            await asyncio.sleep(60)
        return "wrong" if verdict == "wrong" else HookResult.block("no")

    speculation = await speculate(room)
    assert speculation.withdrawn == "not_prepared"
    assert bot.asked == []
    assert await room.refused() == []
    await speculation.confirm(message(), wait="settled")
    assert bot.asked == [(QUESTION, False)]


async def test_a_gate_may_judge_committed_messages_only(room):
    bot = await room.join(Assistant())
    seen = []

    @room.kit.hook("before_broadcast", channel_ids={"alice"}, speculative=False)
    async def counting(event, context):
        seen.append(context.speculative)
        return HookResult.allow()

    speculation = await speculate(room)
    assert speculation.withdrawn == "not_prepared"
    assert seen == []
    await speculation.confirm(message(), wait="settled")
    assert seen == [False]
    assert bot.asked == [(QUESTION, False)]


async def test_such_a_gate_counts_only_where_it_applies(room):
    await room.join(Assistant())

    @room.kit.hook("before_broadcast", speculative=False, when=lambda room: "billing" in room.state)
    async def counting(event, context):
        return HookResult.allow()

    assert (await speculate(room)).withdrawn is None
    await room.kit.change_state("r1", "billing", lambda state: {})
    assert (await speculate(room)).withdrawn == "not_prepared"


def _writes(room):
    services = room.kit.services
    event = InboundMessage(channel_id="alice", sender_id="alice", content=TextContent(body="x"))
    return {
        "event": lambda: room.kit.send_event("r1", "alice", TextContent(body="x")),
        "message": lambda: services.inbox.receive(event, room_id="r1"),
        "other room": lambda: room.kit.send_event("r2", "alice", TextContent(body="x")),
        "state": lambda: room.kit.change_state("r1", "app", lambda state: {"a": 1}),
        "value": lambda: services.values.put("k", data={}),
        "changed value": lambda: services.values.change("k", fn=lambda data: {}),
        "timer": lambda: services.timers.set("kind", room.kit.clock.now()),
        "task": lambda: room.kit.add_task(Task(id="task", room_id="r1", title="remember")),
    }


WRITES = ["event", "message", "other room", "state", "value", "changed value", "timer", "task"]


@pytest.mark.parametrize("what", WRITES)
@pytest.mark.parametrize("where", ["gate", "turn"])
async def test_nothing_can_be_written_for_a_message_that_is_not_committed(room, what, where):
    """Neither a gate nor a turn gets it past the kit."""
    await room.kit.create_room("r2")
    await room.kit.attach_channel("r2", "alice")
    write, errors = _writes(room)[what], []

    async def tried():
        try:
            await write()
        except InvalidInputError as error:
            errors.append(str(error))
            raise

    class Hasty(Assistant):
        async def on_event(self, event, binding, context):
            await tried()
            return await super().on_event(event, binding, context)

    if where == "gate":

        @room.kit.hook("before_broadcast", channel_ids={"alice"})
        async def hasty(event, context):
            if context.speculative:
                await tried()
            return HookResult.allow()

    await room.join(Hasty() if where == "turn" else Assistant())
    before = await everything(room)
    speculation = await speculate(room)
    await asyncio.sleep(60)
    assert await everything(room) == before
    assert len(errors) == 1
    assert "the message is not committed" in errors[0]
    await speculation.withdraw()


# -- calls that cannot be ---------------------------------------------------------------------


async def test_it_can_be_confirmed_only_once(room):
    await room.join(Assistant())
    speculation = await speculate(room)
    await speculation.confirm(message(), wait="settled")
    with pytest.raises(InvalidInputError, match="confirmed already"):
        await speculation.confirm(message())
    await speculation.withdraw()
    assert len(await room.texts()) == 3


async def test_it_is_confirmed_by_its_own_channel_only(room):
    await room.socket("bob")
    await room.join(Assistant())
    speculation = await speculate(room)
    with pytest.raises(InvalidInputError, match="cannot be confirmed by a message of 'bob'"):
        await speculation.confirm(InboundMessage(channel_id="bob", sender_id="b", content=message().content))
    assert speculation.withdrawn is None
    await speculation.confirm(message(), wait="settled")
    assert len(await room.texts()) == 3


async def test_another_owners_channel_is_not_spoken_for(room):
    bot = await room.join(Assistant())
    with pytest.raises(InvalidInputError, match="not one of"):
        await bot.services.turns.speculate("r1", message())


async def test_a_refused_confirmation_withdraws_it(room):
    """Nothing was committed, so nothing is answered."""
    bot = await room.join(Assistant(tool=True))
    await room.say("Again.", idempotency_key="k")
    await room.idle()
    bot.used.clear()
    speculation = await speculate(room)
    result = await speculation.confirm(message(idempotency_key="k"), wait="settled")
    assert result.duplicate
    assert speculation.withdrawn == "not_committed"
    assert bot.used == []


async def test_gates_of_other_triggers_can_be_asked_ahead(room):
    """As a voice channel does with ON_TRANSCRIPTION."""
    turns, seen = room.kit.services.turns, []

    @room.kit.hook("on_transcription")
    async def censor(payload, context):
        seen.append(context.speculative)
        return HookResult("modify", payload.upper(), tasks=[Task(id="task", room_id="r1", title="x")])

    before = await everything(room)
    outcome = await turns.run_gate(
        "on_transcription", "hello", room_id="r1", channel_id="alice", speculative=True
    )
    assert (outcome.allowed, outcome.payload) == (True, "HELLO")
    assert seen == [True]
    assert await everything(room) == before

    @room.kit.hook("on_transcription", name="counting", speculative=False)
    async def counting(payload, context):
        return HookResult.allow()

    outcome = await turns.run_gate(
        "on_transcription", "hello", room_id="r1", channel_id="alice", speculative=True
    )
    assert (outcome.allowed, outcome.reason, outcome.blocked_by) == (False, "not_speculative", "counting")


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        ("Where is my order?", "where is my order", True),
        ("I don't know.", "I don\u2019t know", True),
        ("e-mail me", "email me", True),
        ("\uff37here", "where", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("well...  yes!", "Well, yes", True),
        ("pay 1.50", "pay 150", False),
        ("pay .5", "pay 5", False),
        ("it is -5", "it is 5", False),
        ("5%", "5", False),
        ("a@b.org", "ab.org", False),
        ("b.org", "borg", False),
        ("yes", "no", False),
        ("yes", "yes please", False),
    ],
)
def test_words_are_compared_as_they_are_spoken(one, other, is_same):
    assert (_spoken(one) == _spoken(other)) is is_same


# -- several workers --------------------------------------------------------------------------


class Shared(InMemoryStore):
    """A store that outlives its workers."""

    @property
    def is_process_local(self) -> bool:
        return False


async def worker(store, realtime, *channels):
    kit = RoomKit(
        store,
        lock_manager=InMemoryLockManager(),
        realtime=realtime,
        single_process=True,
        clock=VirtualClock(),
        plugins=PluginManager(entry_points=()),
    )
    for channel in channels:
        kit.register_channel(channel)
    await kit.start()
    return kit


async def two_workers(*others):
    """Return two workers of one room; the bot is on the first, the given channels on the second."""
    store, realtime = Shared(), InMemoryRealtime()
    bot = Assistant()
    here = await worker(store, realtime, RecordingChannel("alice", streaming=True), bot)
    there = await worker(store, realtime, RecordingChannel("alice", streaming=True), *others)
    await here.create_room("r1")
    await here.attach_channel("r1", "alice")
    await here.attach_channel("r1", "bot")
    await here.ensure_participant("r1", "alice", "alice")
    return here, there, bot


async def test_a_commit_by_another_worker_withdraws_it(room):
    here, there, bot = await two_workers()
    speculation = await here.services.turns.speculate("r1", message())
    await there.send_event("r1", "alice", TextContent(body="By the way."), visibility="alice")
    await speculation.confirm(message(), wait="settled")
    await asyncio.sleep(60)
    assert speculation.withdrawn == "room_changed"
    assert bot.asked == [(QUESTION, True), (QUESTION, False)]
    await here.close()
    await there.close()


async def test_a_turn_that_another_worker_has_is_not_given_twice(room):
    """The agent's lane belongs to the other worker: it answers, and the answer prepared here is withdrawn."""
    other = Assistant(tool=True)
    here, there, bot = await two_workers(other)
    busy = InboundMessage(channel_id="alice", sender_id="alice", content=TextContent(body="First."))
    await there.process_inbound(busy, room_id="r1", wait="committed")
    speculation = await here.services.turns.speculate("r1", message())
    await speculation.confirm(message(), wait="committed")
    await asyncio.sleep(120)
    said = [text_of(event.content) for event in await here.get_timeline("r1")]
    answers = [text for text in said if text.startswith("You said")]
    assert answers == ["You said: First. Done.", f"You said: {QUESTION} Done."]
    assert bot.used == []
    assert bot.ended == 1
    assert speculation.withdrawn == "elsewhere"
    await here.close()
    await there.close()
