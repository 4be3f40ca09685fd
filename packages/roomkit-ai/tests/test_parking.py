"""Tools that park their turn: the round waits, the room does not, and each call gets one result."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roomkit import (
    AIChannel,
    ChannelCategory,
    HookExecution,
    HookResult,
    HookTrigger,
    InboundMessage,
    InvalidInputError,
    Park,
    RoomClosedError,
    RoomKit,
    RoomNotFoundError,
    TextContent,
    TurnNotParkedError,
    UnknownToolError,
)
from roomkit.models.ai import AIThinkingPart
from roomkit.models.enums import DeliveryState, DoubleText
from roomkit_plugins.testing import MockAIProvider, RecordingChannel, VirtualClock

pytestmark = pytest.mark.virtual_time

SOON = timedelta(minutes=10)


@pytest.fixture
async def kit():
    """Return a kit with a room, in which people sit at a socket."""
    kit = RoomKit(clock=VirtualClock())
    async with kit:
        kit.register_channel(RecordingChannel("ws"))
        await kit.create_room("r1")
        await kit.attach_channel("r1", "ws")
        yield kit


@pytest.fixture
def join(kit, streaming):
    """Return a function that lets an agent with these answers join the room; it returns the script."""

    async def join(*answers, double_text=DoubleText.QUEUE, **options):
        provider = MockAIProvider(list(answers), streaming=streaming, chunk_size=4)
        kit.register_channel(AIChannel("agent", provider, **options))
        await kit.attach_channel(
            "r1", "agent", category=ChannelCategory.INTELLIGENCE, double_text=double_text
        )
        return provider

    return join


def message(text, sender="alice", **fields):
    return InboundMessage(channel_id="ws", sender_id=sender, content=TextContent(body=text), **fields)


async def said(kit, room_id="r1"):
    """Return what agents said."""
    events = await kit.store.list_events(room_id)
    return [event.content.body for event in events if event.source.channel_id == "agent"]


async def parked(kit):
    """Return the one turn that waits."""
    (turn,) = await kit.list_parked_turns("r1")
    return turn


async def quiet(kit):
    """Let everything that is under way come to rest."""
    await asyncio.sleep(1)


def parks(park=None):
    """Return a tool handler that parks calls of `ask` and answers all others."""

    async def handler(name: str, arguments: dict[str, Any]) -> str | Park:
        if name == "ask":
            return park or Park("a manager decides", SOON)
        return f"{name} is done"

    return handler


async def ask_one(kit, join, script, *, text="", park=None, **options):
    """Have the agent park one call of a turn; return the model and the turn."""
    provider = await join(
        script.calls(script.call("ask", "c1", amount=5), text=text),
        script.says("It is approved."),
        *[script.says("And later.")] * 20,
        tools=[(script.tool("ask"), parks(park))],
        **options,
    )
    await kit.process_inbound(message("refund please"))
    return provider, await parked(kit)


async def test_a_parked_call_ends_its_turn_and_its_result_continues_it(kit, join, script):
    provider, turn = await ask_one(kit, join, script)
    row = await kit.get_delivery(turn.turn_id)
    assert (row.state, row.reason) == (DeliveryState.SENT, "parked")
    (call,) = turn.waiting
    assert (call.call_id, call.name, call.arguments, call.reason) == (
        "c1",
        "ask",
        {"amount": 5},
        "a manager decides",
    )
    assert call.deadline == turn.deadline == turn.parked_at + SOON
    assert await said(kit) == []
    await asyncio.sleep(100)
    assert await kit.resume_turn("r1", turn.turn_id, {"c1": "yes, up to 5"})
    await quiet(kit)
    assert await said(kit) == ["It is approved."]
    (result,) = script.results(provider.calls[-1])
    assert (result.tool_call_id, result.result, result.is_error) == ("c1", "yes, up to 5", False)
    assert await kit.list_parked_turns() == []
    assert await kit.store.find_timers("parked_turn") == []
    assert await kit.store.list_room_values("r1") == []


async def test_text_before_the_call_is_said_at_once_and_once(kit, join, script):
    """The answer that is committed with the park says that it is not the end."""
    _, turn = await ask_one(kit, join, script, text="I ask my manager.")
    assert await said(kit) == ["I ask my manager."]
    first = next(each for each in await kit.get_timeline("r1") if each.source.channel_id == "agent")
    assert first.generation.finish_reason == "parked"
    await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await quiet(kit)
    assert await said(kit) == ["I ask my manager.", "It is approved."]
    answer = (await kit.get_timeline("r1"))[-1]
    assert answer.source.on_behalf_of == "alice"
    assert answer.chain_depth == 1
    assert answer.correlation_id == turn.event_id
    assert answer.generation.usage == {"input_tokens": 20, "output_tokens": 10, "total_tokens": 30}
    assert answer.generation.tool_rounds == 1


async def test_later_messages_are_ordinary_turns(kit, join, script):
    """The lane is free; the turn that continues reads later messages too."""
    provider, turn = await ask_one(kit, join, script, text="I ask.")
    await kit.process_inbound(message("what time is it?"))
    assert await said(kit) == ["I ask.", "It is approved."]  # the model's second answer, to the question
    await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await quiet(kit)
    assert await said(kit) == ["I ask.", "It is approved.", "And later."]
    lines = [content for _, content in script.lines(provider.calls[-1])]
    assert "what time is it?" in str(lines)
    assert script.lines(provider.calls[-1])[-1][0] == "tool"
    question = [place for place, line in enumerate(lines) if "refund please" in str(line)]
    assert question == [len(lines) - 3]  # right before its calls, and only there


@pytest.mark.parametrize("policy", list(DoubleText))
async def test_no_message_costs_a_result(kit, join, script, policy):
    """Whatever is done about several messages at once: results are neither folded nor interrupted."""
    provider, turn = await ask_one(kit, join, script, double_text=policy)
    provider._delay = 1.0
    await kit.process_inbound(message("one"), wait="committed")
    await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await kit.process_inbound(message("two"), wait="committed")
    await asyncio.sleep(0.5)
    await kit.process_inbound(message("three"), wait="committed")
    await asyncio.sleep(100)
    rows = await kit.list_deliveries("r1", channel_id="agent")
    (resumed,) = [row for row in rows if row.event_id != turn.event_id and (await _is_note(kit, row))]
    assert (resumed.state, resumed.reason) == (DeliveryState.SENT, None)
    assert any(script.results(each) for each in provider.calls)


async def _is_note(kit, row):
    event = await kit.store.get_event(row.event_id)
    return event.source.channel_id == "system"


async def test_of_parallel_calls_only_those_that_wait_are_parked(kit, join, script):
    """Results come in any order; the model gets all of them in the order of its calls."""
    provider = await join(
        script.calls(
            script.call("ask", "c1", who="first"),
            script.call("look", "c2"),
            script.call("ask", "c3", who="last"),
        ),
        script.says("done"),
        tools=[(script.tool("ask"), parks()), (script.tool("look"), parks())],
    )
    await kit.process_inbound(message("go"))
    turn = await parked(kit)
    assert [call.call_id for call in turn.waiting] == ["c1", "c3"]
    assert not await kit.resume_turn("r1", turn.turn_id, {"c3": "last"})
    assert [call.call_id for call in (await parked(kit)).waiting] == ["c1"]
    with pytest.raises(InvalidInputError, match="no waiting call c3: give results for c1"):
        await kit.resume_turn("r1", turn.turn_id, {"c3": "other"})
    assert await kit.resume_turn("r1", turn.turn_id, {"c1": "first"})
    await quiet(kit)
    results = [(each.tool_call_id, each.result) for each in script.results(provider.calls[-1])]
    assert results == [("c1", "first"), ("c2", "look is done"), ("c3", "last")]
    assert await said(kit) == ["done"]


async def test_a_turn_parks_again_and_again(kit, join, script):
    """Each time under the id of the delivery that continued it, with all rounds before."""
    thought = AIThinkingPart(thinking="hm", signature="opaque==")
    provider = await join(
        script.calls(script.call("look", "c0")),
        script.calls(script.call("ask", "c1", n=1), thinking_parts=[thought]),
        script.calls(script.call("ask", "c1", n=2), text="once more"),
        script.says("done"),
        tools=[(script.tool("ask"), parks()), (script.tool("look"), parks())],
    )
    await kit.process_inbound(message("go"))
    first = await parked(kit)
    await kit.resume_turn("r1", first.turn_id, {"c1": "one"})
    await quiet(kit)
    second = await parked(kit)
    assert second.turn_id != first.turn_id
    assert second.event_id == first.event_id
    (call,) = second.waiting
    assert call.call_id == "c1-2"  # ids are unique in the conversation
    await kit.resume_turn("r1", second.turn_id, {call.call_id: "two"})
    await quiet(kit)
    assert await said(kit) == ["once more", "done"]
    last = provider.calls[-1]
    assert [each.result for each in script.results(last)] == ["look is done", "one", "two"]
    assert thought in [part for _, content in script.lines(last)[1:] for part in content]
    assert await kit.store.list_room_values("r1") == []


async def test_a_turn_is_resumed_once(kit, join, script):
    """Of concurrent results one counts; a later one is refused."""
    _, turn = await ask_one(kit, join, script)
    results = await asyncio.gather(
        *(kit.resume_turn("r1", turn.turn_id, {"c1": f"yes {number}"}) for number in range(8)),
        return_exceptions=True,
    )
    assert [each for each in results if each is True] == [True]
    refused = [each for each in results if each is not True]
    assert all(isinstance(each, TurnNotParkedError) for each in refused)
    await quiet(kit)
    assert await said(kit) == ["It is approved."]
    with pytest.raises(TurnNotParkedError, match="resumed, expired or dropped"):
        await kit.resume_turn("r1", turn.turn_id, {"c1": "again"})


async def test_the_deadline_resumes_with_a_typed_error(kit, join, script):
    provider, turn = await ask_one(kit, join, script)
    await asyncio.sleep(SOON.total_seconds() + 1)
    assert await said(kit) == ["It is approved."]
    (result,) = script.results(provider.calls[-1])
    assert result.is_error
    assert result.result.startswith("call_expired: ask got no answer by ")
    with pytest.raises(TurnNotParkedError):
        await kit.resume_turn("r1", turn.turn_id, {"c1": "late"})
    await asyncio.sleep(3 * 3600)
    assert await kit.store.find_timers() == []


async def test_each_call_has_a_deadline_of_its_own(kit, join, script):
    """The turn continues when the last one is answered or over."""
    deadlines = iter((timedelta(minutes=1), datetime(2099, 1, 1, tzinfo=UTC)))

    async def handler(name, arguments):
        return Park("wait", next(deadlines))

    provider = await join(
        script.calls(script.call("ask", "c1"), script.call("ask", "c2")),
        script.says("done"),
        tools=[(script.tool("ask"), handler)],
    )
    await kit.process_inbound(message("go"))
    turn = await parked(kit)
    await asyncio.sleep(100)
    assert await said(kit) == []
    assert [call.call_id for call in (await parked(kit)).waiting] == ["c2"]
    await kit.resume_turn("r1", turn.turn_id, {"c2": "yes"})
    await quiet(kit)
    assert [each.is_error for each in script.results(provider.calls[-1])] == [True, False]


async def test_an_error_is_a_result(kit, join, script):
    provider, turn = await ask_one(kit, join, script)
    await kit.resume_turn("r1", turn.turn_id, {"c1": UnknownToolError("the manager has left")})
    await quiet(kit)
    (result,) = script.results(provider.calls[-1])
    assert (result.result, result.is_error) == ("unknown_tool: the manager has left", True)


@pytest.mark.parametrize(
    ("results", "words"),
    [({}, "named"), ({"c9": "x"}, "c9"), ({"c1": 3}, "int"), ({"c1": "x" * 70_000}, "65536 bytes")],
    ids=["none", "of another call", "no text", "too long"],
)
async def test_a_wrong_result_changes_nothing(kit, join, script, results, words):
    _, turn = await ask_one(kit, join, script)
    with pytest.raises(InvalidInputError, match=words):
        await kit.resume_turn("r1", turn.turn_id, results)
    assert await parked(kit) == turn


@pytest.mark.parametrize(
    "deadline", [datetime(2030, 1, 1), "soon", None], ids=["naive", "text", "none"]
)  # the fault
async def test_a_park_without_a_usable_deadline_is_a_failed_call(kit, join, script, deadline):
    provider = await join(
        script.calls("ask"), script.says("sorry"), tools=[(script.tool("ask"), parks(Park("x", deadline)))]
    )
    await kit.process_inbound(message("go"))
    (result,) = script.results(provider.calls[-1])
    assert result.is_error
    assert "deadline" in result.result
    assert await said(kit) == ["sorry"]


async def drop_by_deleting_the_room(kit, turn):
    await kit.delete_room("r1")


async def drop_by_detaching(kit, turn):
    await kit.detach_channel("r1", "agent")
    await kit.attach_channel("r1", "agent")


async def drop_by_erasing_the_person(kit, turn):
    await kit.erase_person(participant_id="alice")


async def drop_by_erasing_another(kit, turn):
    """What anybody said may be quoted in the round."""
    await kit.process_inbound(message("hello", "bob", room_id="r1"))
    await kit.erase_person(participant_id="bob")


DROPS = [
    drop_by_deleting_the_room,
    drop_by_detaching,
    drop_by_erasing_the_person,
    drop_by_erasing_another,
]


@pytest.mark.parametrize("drop", DROPS, ids=[each.__name__[8:] for each in DROPS])
async def test_what_is_dropped_never_continues(kit, join, script, drop):
    _, turn = await ask_one(kit, join, script)
    await drop(kit, turn)
    spoken = await said(kit)
    with pytest.raises((TurnNotParkedError, RoomNotFoundError)):
        await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await asyncio.sleep(3 * 3600)
    assert await said(kit) == spoken
    assert [each for each in await kit.store.find_timers() if each.kind == "parked_turn"] == []
    assert [each for each in await kit.store.list_room_values("r1") if each.namespace == "core.turn"] == []


async def test_a_closed_room_takes_no_result(kit, join, script):
    """At its deadline the turn is dropped, which is reported."""
    dropped = []

    async def keep(event):
        dropped.append(event.data["reason"])

    kit.on("turn_dropped")(keep)
    _, turn = await ask_one(kit, join, script)
    await kit.close_room("r1")
    with pytest.raises(RoomClosedError, match="do not continue"):
        await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await asyncio.sleep(3 * 3600)
    assert await kit.store.list_room_values("r1") == []
    assert dropped == ["room_closed"]


async def test_a_deleted_question_is_not_answered(kit, join, script):
    _, turn = await ask_one(kit, join, script)
    await kit.delete_event("r1", turn.event_id)
    await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await quiet(kit)
    assert await said(kit) == []
    assert await kit.store.list_room_values("r1") == []


async def test_hooks_see_a_call_when_it_has_its_result(kit, join, script):
    """Its gate when it is made, its observers once, with the result."""
    gated, observed = [], []

    @kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def gate(use, context):
        gated.append(use.call_id)
        return HookResult.allow()

    @kit.hook(HookTrigger.ON_TOOL_CALL, execution=HookExecution.ASYNC)
    async def observer(use, context):
        observed.append((use.call_id, use.participant_id, use.result))

    _, turn = await ask_one(kit, join, script)
    assert (gated, observed) == (["c1"], [])
    await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await quiet(kit)
    assert (gated, observed) == (["c1"], [("c1", "alice", "yes")])


class TestWhoMayAnswer:
    """The person who was asked, by a reply or by a code; no one by a code alone."""

    @pytest.fixture
    async def answer(self, kit, join, script):
        """Return a function that takes a message, and returns the calls that it answers."""
        await kit.create_room("r2")
        mail = RecordingChannel("mail")
        kit.register_channel(mail)
        await kit.attach_channel("r2", "mail")

        async def tool(name, arguments):
            request = await kit.send_event(
                "r2", "mail", TextContent(body="Approve refund 7? Code K7"), participant_id="bot"
            )
            self.request = request
            return Park("approval", SOON, asked="boss", request=request.id, code="K7")

        await join(script.calls("ask"), *[script.says("done")] * 20, tools=[(script.tool("ask"), tool)])
        await kit.process_inbound(message("refund"))
        self.turn = await parked(kit)

        async def answer(text, sender, room_id="r2", **fields):
            channel_id = "mail" if room_id == "r2" else "ws"
            said = await kit.process_inbound(
                InboundMessage(
                    channel_id=channel_id,
                    sender_id=sender,
                    content=TextContent(body=text),
                    room_id=room_id,
                    **fields,
                )
            )
            found = await kit.services.turns.asked(said.event)
            return [(turn.turn_id, call.call_id) for turn, call in found]

        return answer

    async def test_the_asked_person_by_a_reply(self, answer):
        assert await answer("fine", "boss", parent_event_id=self.request.id) == [(self.turn.turn_id, "c0")]

    async def test_the_asked_person_by_the_code(self, answer):
        assert await answer("ok k7 go", "boss") == [(self.turn.turn_id, "c0")]

    async def test_not_the_asked_person_without_either(self, answer):
        assert await answer("fine", "boss") == []
        assert await answer("not K77 but", "boss") == []

    async def test_not_another_person_by_the_code_or_a_reply(self, answer):
        assert await answer("K7", "mallory") == []
        assert await answer("fine", "mallory", parent_event_id=self.request.id) == []

    async def test_not_a_namesake_in_another_room(self, answer):
        """An id is one person's in one room; elsewhere it takes an identity."""
        assert await answer("K7", "boss", "r1") == []

    async def test_not_by_a_reply_to_something_else(self, kit, answer):
        other = await kit.send_event("r2", "mail", TextContent(body="K7?"), participant_id="bot")
        assert await answer("K7", "boss", parent_event_id=other.id) == []

    @pytest.mark.parametrize("asked", ["participant", "identity"])
    async def test_the_same_identity_in_another_room(self, kit, answer, asked):
        await kit.store.create_identity(_identity("i1"))
        await answer("hello", "boss")
        await answer("hello", "chef", "r1")
        for room_id, person in (("r2", "boss"), ("r1", "chef")):
            await kit.resolve_participant(room_id, person, "i1")
        assert await answer("K7", "chef", "r1") == [(self.turn.turn_id, "c0")]

    async def test_nobody_when_the_call_has_its_result(self, kit, answer):
        await kit.resume_turn("r1", self.turn.turn_id, {"c0": "yes"})
        assert await answer("K7", "boss") == []


def _identity(identity_id):
    from roomkit import Identity

    return Identity(id=identity_id)


async def test_a_call_names_the_event_that_its_turn_answers(kit, join, script):
    """The same while it waits and when it has continued: tools make keys of it."""
    uses = []

    @kit.hook(HookTrigger.BEFORE_TOOL_USE)
    async def gate(use, context):
        uses.append(use.event_id)
        return HookResult.allow()

    @kit.hook(HookTrigger.ON_TOOL_CALL, HookExecution.ASYNC)
    async def ended(use, context):
        uses.append(use.event_id)

    _, turn = await ask_one(kit, join, script)
    await kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await quiet(kit)
    assert uses == [turn.event_id, turn.event_id]
