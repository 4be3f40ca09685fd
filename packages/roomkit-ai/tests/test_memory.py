"""What an agent remembers: windows, budgets, summaries, and the estimate they count with."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.abc.memory import MemoryRequest, MemoryResult
from roomkit.models.ai import (
    AIImagePart,
    AIMessage,
    AITextPart,
    AIThinkingPart,
    AITool,
    AIToolCallPart,
    AIToolResultPart,
)
from roomkit.models.content import CompositeContent, TextContent
from roomkit.models.enums import EventStatus
from roomkit.models.event import Amendment
from roomkit.models.generation import AIContext, AIResponse
from roomkit_plugins.ai import (
    BudgetAwareMemory,
    CompactingMemory,
    RetrievalMemory,
    SlidingWindowMemory,
    estimate_context_tokens,
    estimate_tokens,
)
from roomkit_plugins.ai.tokens import of_event
from roomkit_plugins.testing import MockAIProvider, MockMemoryProvider


@pytest.fixture
def room(new_stage):
    """Return a room without an agent at work."""
    return new_stage()


async def recall(memory, stage, current=None):
    """Return what a memory shows for the newest event, without that event."""
    event = current or stage.events[-1]
    return await memory.retrieve("r1", event, stage.context(), channel_id="agent")


def say(stage, count, length=1):
    """Let two sides speak in turn."""
    for number in range(len(stage.events), len(stage.events) + count):
        body = f"m{number}".ljust(length, "x")
        stage.event(body, channel="agent" if number % 2 else "ws")


def bodies(result):
    return [event.content.body.rstrip("x") for event in result.events]


async def test_the_window_slides(room):
    """The newest events before the current one, oldest first."""
    say(room, 10)
    assert bodies(await recall(SlidingWindowMemory(3), room)) == ["m6", "m7", "m8"]
    assert bodies(await recall(SlidingWindowMemory(50), room)) == [f"m{n}" for n in range(9)]
    assert bodies(await recall(SlidingWindowMemory(0), room)) == []


async def test_the_window_is_not_filled_with_what_is_not_shown(room):
    """Blocked and deleted events take no place in it."""
    say(room, 3)
    room.event("curse", status=EventStatus.BLOCKED)
    room.event("regret", amendment=Amendment(deleted_at="2026-01-01T00:00:00Z"))
    say(room, 1)
    assert bodies(await recall(SlidingWindowMemory(2), room)) == ["m1", "m2"]


async def test_a_current_event_outside_the_timeline_takes_no_place(room, new_stage):
    """One that was never committed is simply not there."""
    say(room, 3)
    elsewhere = new_stage().event("now")
    assert bodies(await recall(SlidingWindowMemory(2), room, elsewhere)) == ["m1", "m2"]


def test_a_negative_window_is_refused():
    """It would show everything but the newest."""
    with pytest.raises(InvalidInputError, match="max_events is -1"):
        SlidingWindowMemory(-1)


# -- the estimate -------------------------------------------------------------------------------


@given(st.text(max_size=200))
def test_an_estimate_is_positive_and_grows_with_the_text(text):
    assert estimate_tokens(text) >= 1
    assert estimate_tokens(text + text) >= estimate_tokens(text)


def test_an_estimate_is_a_quarter_of_the_bytes():
    """English by letters; scripts that take a token a character cost more."""
    assert estimate_tokens("a" * 40) == 11
    assert estimate_tokens("好" * 40) == 31


@given(st.text(max_size=200))
def test_an_event_of_text_is_counted_as_the_part_it_becomes(new_stage, text):
    """The shortcut for it is the same number."""
    event = new_stage().event(TextContent(body=text))
    whole = event.replace(content=CompositeContent(parts=(TextContent(body=text),)))
    assert of_event(event) == of_event(whole)


def test_a_request_is_counted_whole():
    parts = (
        AITextPart(text="a" * 40),
        AIImagePart(url="https://x/p.png"),
        AIThinkingPart(thinking="a" * 40),
        AIToolCallPart(id="c", name="t", arguments={}),
        AIToolResultPart(tool_call_id="c", name="t", result="a" * 40),
    )
    context = AIContext(
        system_prompt="a" * 40,
        tools=[AITool(name="t", description="a" * 40)],
        messages=[AIMessage(role="user", content=parts), AIMessage(role="user", content="a" * 40)],
    )
    assert estimate_context_tokens(context) == 11 + (1 + 11 + 1) + (4 + 11 + 1000 + 11 + 2 + 11) + 15


# -- budget -------------------------------------------------------------------------------------


async def test_a_budget_drops_the_oldest(room):
    """As many of the newest as fit beside the current event."""
    say(room, 10, length=40)  # 4 + 11 tokens each
    memory = BudgetAwareMemory(SlidingWindowMemory(), 100, safety_margin_ratio=0.0, min_events=0)
    assert bodies(await recall(memory, room)) == ["m4", "m5", "m6", "m7", "m8"]


async def test_messages_and_a_reserve_count_against_the_budget(room):
    say(room, 10, length=40)
    inner = MockMemoryProvider(messages=[AIMessage(role="user", content="a" * 40)], events=room.events[:-1])
    memory = BudgetAwareMemory(inner, 100, safety_margin_ratio=0.0, min_events=0, reserve_tokens=30)
    assert bodies(await recall(memory, room)) == ["m7", "m8"]
    assert len((await recall(memory, room)).messages) == 1


async def test_the_newest_few_are_kept_whatever_they_cost(room):
    """An agent without the last words answers nonsense."""
    say(room, 10, length=4000)
    memory = BudgetAwareMemory(SlidingWindowMemory(), 100)
    assert bodies(await recall(memory, room)) == ["m6", "m7", "m8"]


@pytest.mark.parametrize(("tokens", "margin"), [(0, 0.1), (-5, 0.1), (100, 1.0), (100, -0.1)])
def test_a_budget_of_nothing_is_refused(tokens, margin):
    with pytest.raises(InvalidInputError, match="leaves no room"):
        BudgetAwareMemory(SlidingWindowMemory(), tokens, margin)


async def test_wrapping_memories_pass_everything_on(room):
    """Notes, forgetting and closing reach the inner one."""
    for wrap in (
        lambda inner: BudgetAwareMemory(inner, 1000),
        lambda inner: CompactingMemory(inner, MockAIProvider(), 1000),
    ):
        inner = MockMemoryProvider()
        memory = wrap(inner)
        await memory.ingest("r1", room.event("x"), channel_id="agent")
        await memory.clear("r1")
        await memory.close()
        assert (len(inner.ingest_calls), len(inner.clear_calls), inner.closed) == (1, 1, True)


@pytest.mark.parametrize("length", [1, 100], ids=["all fits", "some fits"])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: BudgetAwareMemory(inner, 200),
        lambda inner: CompactingMemory(inner, MockAIProvider(), 200),
        lambda inner: RetrievalMemory(inner),
    ],
    ids=["budget-aware", "compacting", "retrieval"],
)
async def test_requests_of_a_wrapped_memory_are_handed_on(room, wrap, length):
    """The turn that needed them has their usage and their cost."""

    class Asking(MockMemoryProvider):
        providers = (MockAIProvider(),)

        async def retrieve(self, *_, **__):
            return MemoryResult((), room.events[:-1], (request,))

    (inner,) = Asking.providers
    request = MemoryRequest(inner, AIContext(), AIResponse(content="x"))
    say(room, 20, length=length)
    memory = wrap(Asking())
    assert (await recall(memory, room)).requests[0] is request
    assert memory.providers[-1] is inner


# -- summaries ----------------------------------------------------------------------------------


def compacting(*answers, **options):
    """Return a memory with room for about 12 events, and its model."""
    model = MockAIProvider(list(answers) or ["They greeted."])
    inner = options.pop("inner", None) or SlidingWindowMemory()
    settings = {"safety_margin_ratio": 0.0, "min_events": 2, "summary_ratio": 0.1, **options}
    return CompactingMemory(inner, model, 200, **settings), model


async def test_what_fits_is_not_summarised(room):
    say(room, 5, length=40)
    memory, model = compacting()
    assert bodies(await recall(memory, room)) == ["m0", "m1", "m2", "m3"]
    assert model.calls == []


async def test_what_no_longer_fits_becomes_a_summary(room):
    """The oldest part; the newest stays word for word, with room to grow."""
    say(room, 20, length=40)
    memory, model = compacting()
    result = await recall(memory, room)
    assert [message.content for message in result.messages] == [
        "[Summary of the conversation so far]\nThey greeted."
    ]
    assert bodies(result) == ["m14", "m15", "m16", "m17", "m18"]
    (request,) = model.calls
    assert request.max_tokens == 20
    assert request.messages[0].content.startswith("Alice: m0xxx")
    assert "assistant: m13" in request.messages[0].content


async def test_a_summary_serves_until_the_window_is_full_again(room):
    say(room, 20, length=40)
    memory, model = compacting("first", "second")
    await recall(memory, room)
    say(room, 3, length=40)
    result = await recall(memory, room)
    assert len(model.calls) == 1
    assert bodies(result) == [f"m{n}" for n in range(14, 22)]
    say(room, 8, length=40)
    result = await recall(memory, room)
    assert len(model.calls) == 2
    text = model.calls[1].messages[0].content
    assert "first" in text
    assert "m14" in text
    assert "m13" not in text
    assert "second" in result.messages[0].content


async def test_every_event_is_either_summarised_or_shown(room):
    memory, model = compacting(*[f"s{n}" for n in range(100)], inner=SlidingWindowMemory(1000))
    for _ in range(60):
        say(room, 1, length=40 + len(room.events) % 7 * 10)
        shown = bodies(await recall(memory, room))
        told = [line.split()[1].rstrip("x") for call in model.calls for line in lines_of(call)]
        assert told + shown == [f"m{n}" for n in range(len(room.events) - 1)]


def lines_of(call):
    text = call.messages[0].content.split("\n")
    return [line for line in text if line.startswith(("Alice:", "assistant:"))]


async def test_an_edited_event_makes_a_new_summary(room):
    """A summary that is no longer true is not shown."""
    say(room, 20, length=40)
    memory, model = compacting("old", "new")
    await recall(memory, room)
    edited = Amendment(edited_at="2026-01-01T00:00:00Z")
    room.events[3] = room.events[3].replace(content=TextContent(body="corrected"), amendment=edited)
    result = await recall(memory, room)
    assert "new" in result.messages[0].content
    assert "corrected" in model.calls[1].messages[0].content
    assert "old" not in model.calls[1].messages[0].content


async def test_a_deleted_event_leaves_the_summary(room):
    say(room, 20, length=40)
    memory, model = compacting("old", "new")
    await recall(memory, room)
    del room.events[3]
    assert "new" in (await recall(memory, room)).messages[0].content
    assert "m3" not in model.calls[1].messages[0].content


@pytest.mark.virtual_time
async def test_a_summary_is_made_afresh_in_time(room):
    import asyncio

    say(room, 20, length=40)
    memory, model = compacting("old", "new", summary_cache_ttl_seconds=300)
    await recall(memory, room)
    await asyncio.sleep(301)
    assert "new" in (await recall(memory, room)).messages[0].content
    assert "old" not in model.calls[1].messages[0].content


@pytest.mark.parametrize(
    "down",
    [
        ProviderError("secret words", error_code=ErrorCode.SERVER),
        RuntimeError("secret words"),
        TimeoutError("secret words"),
        UnicodeError("secret words"),
    ],
    ids=lambda down: type(down).__name__,
)
async def test_without_a_summary_the_gap_is_told(room, caplog, down):
    """The model is down, however it says so: the agent still answers, and tries again next time."""
    say(room, 20, length=40)
    memory, model = compacting(down, "They greeted.")
    result = await recall(memory, room)
    assert result.messages[0].content == "[14 earlier messages are not shown.]"
    assert "secret" not in caplog.text
    assert "They greeted." in (await recall(memory, room)).messages[0].content
    assert len(model.calls) == 2


async def test_a_summary_without_a_word_is_none(room):
    """It would drop the messages in silence; the request is counted all the same."""
    say(room, 20, length=40)
    memory, model = compacting(" ", "They greeted.")
    result = await recall(memory, room)
    assert result.messages[0].content == "[14 earlier messages are not shown.]"
    assert [each.provider for each in result.requests] == [model]
    assert "They greeted." in (await recall(memory, room)).messages[0].content


def test_a_provider_that_calls_tools_of_its_own_makes_no_summaries():
    """No gate would see the calls."""

    class Agent(MockAIProvider):
        runs_tools = True

    with pytest.raises(InvalidInputError, match="cannot make summaries: it calls tools of its own"):
        CompactingMemory(SlidingWindowMemory(), Agent(), 1000)


async def test_rooms_and_agents_have_summaries_of_their_own(room):
    """And a room is forgotten on demand."""
    say(room, 20, length=40)
    memory, model = compacting(*"abcd")
    event, context = room.events[-1], room.context()
    for room_id, agent in [("r1", "a"), ("r1", "b"), ("r2", "a"), ("r1", "a")]:
        await memory.retrieve(room_id, event, context, channel_id=agent)
    assert len(model.calls) == 3
    await memory.clear("r1")
    await memory.retrieve("r2", event, context, channel_id="a")
    assert len(model.calls) == 3
    await memory.retrieve("r1", event, context, channel_id="a")
    assert len(model.calls) == 4


async def test_a_summary_never_tells_what_is_hidden(room):
    """Even when the inner memory brings it."""
    say(room, 20, length=40)
    secret = room.event("the secret", visibility="none")
    say(room, 1)
    inner = MockMemoryProvider(events=[secret, *room.events[:-1]])
    memory, model = compacting(inner=inner)
    await recall(memory, room)
    assert "secret" not in str(model.calls)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda inner: inner,
        lambda inner: BudgetAwareMemory(inner, 1000),
        lambda inner: CompactingMemory(inner, MockAIProvider(), 1000),
    ],
    ids=["alone", "budget-aware", "compacting"],
)
def test_a_memory_gets_the_services_of_its_agents_kit(new_stage, wrap):
    """Also one that another one wraps."""
    bound = []

    class Bound(MockMemoryProvider):
        def bind(self, services):
            bound.append(services)

    room = new_stage()
    agent = room.agent(MockAIProvider(), memory=wrap(Bound()))
    bound.clear()
    agent.bind(room.services)
    assert bound == [room.services]
