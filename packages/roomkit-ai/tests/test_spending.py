"""Money: the cost of an answer, unknown prices, and the budgets that end a loop."""

from __future__ import annotations

import asyncio

import pytest

from roomkit.abc.errors import ErrorCode, InvalidInputError, ProviderError
from roomkit.kernel.kit import RoomKit
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.steering import Cancel
from roomkit.models.telemetry import Attr, SpanKind
from roomkit_plugins.ai import (
    AIChannel,
    BudgetAwareMemory,
    BudgetError,
    CompactingMemory,
    ModelPrice,
    SlidingWindowMemory,
    cost_of_room,
)
from roomkit_plugins.ai.spending import cost_of
from roomkit_plugins.testing import MockAIProvider, MockTelemetryProvider, RecordingChannel

pytestmark = pytest.mark.virtual_time

PRICE = ModelPrice(input=2.0, output=10.0)
"""With the script's 10 and 5 tokens a request, 0.00007."""
REQUEST = 0.00007
PRICES = {"mock": PRICE}


async def work(name, arguments):
    return "more work"


def busy(stage, script, **options):
    """Return an agent whose model calls a tool again and again, each time differently."""
    rounds = [script.calls(script.call("work", f"c{number}", n=number)) for number in range(50)]
    provider = stage.provider(*rounds)
    return provider, stage.agent(provider, tools=[(script.tool("work"), work)], prices=PRICES, **options)


@pytest.mark.parametrize(
    ("usage", "cost"),
    [
        ({"input_tokens": 1_000_000, "output_tokens": 100_000}, 3.0),
        ({"input_tokens": 0, "output_tokens": 0}, 0.0),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 0}, REQUEST),
        ({"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 1}, None),
        ({"input_tokens": 10, "output_tokens": 5, "cache_creation_input_tokens": 1}, None),
        ({"input_tokens": 10}, None),
        ({}, None),
    ],
)
def test_what_a_request_costs(usage, cost):
    """Each kind of token at its price; one without a price is not free, but unknown."""
    assert cost_of(usage, PRICE) == (None if cost is None else pytest.approx(cost))
    assert cost_of(usage, None) is None


def test_cached_tokens_have_prices_of_their_own():
    price = ModelPrice(input=3, output=15, cache_read=0.3, cache_write=3.75)
    usage = {"cache_read_input_tokens": 1_000_000, "cache_creation_input_tokens": 1_000_000}
    assert cost_of({"input_tokens": 0, "output_tokens": 0, **usage}, price) == pytest.approx(4.05)


async def cost_in(stage, agent, text="Hi"):
    """Return what the one answer says that it cost."""
    heard = await stage.ask(agent, text)
    if heard.output.response_events:
        return heard.output.response_events[0].generation.cost
    return heard.cost


async def test_an_answer_says_what_it_cost(stage, script):
    """All of its requests together."""
    provider = stage.provider(script.calls("work"), script.says("Done."))
    agent = stage.agent(provider, tools=[(script.tool("work"), work)], prices=PRICES)
    assert await cost_in(stage, agent) == pytest.approx(2 * REQUEST)


@pytest.mark.parametrize("prices", [{}, {"other": PRICE}])
async def test_an_unknown_price_is_not_zero(stage, prices):
    assert await cost_in(stage, stage.agent(stage.provider("Hello."), prices=prices)) is None


async def test_an_answer_that_was_not_counted_has_no_cost(stage, script):
    agent = stage.agent(stage.provider(script.says("Hello.", usage={})), prices=PRICES)
    assert await cost_in(stage, agent) is None


async def test_a_turn_ends_at_its_budget(stage, script):
    """Before the next request; the words so far stay, and the error says what to do."""
    provider, agent = busy(stage, script, max_turn_cost=5.5 * REQUEST)
    heard = await stage.ask(agent, "Hi", catch=True)
    assert isinstance(heard.error, BudgetError)
    assert "max_turn_cost" in str(heard.error)
    assert len(provider.calls) == 6


async def test_what_is_not_counted_is_estimated_for_the_budget(stage, script):
    """A vendor that counts nothing gets round no budget."""
    rounds = [script.calls(script.call("work", f"c{number}", n=number)) for number in range(50)]
    for answer in rounds:
        answer.usage = {}
    provider = stage.provider(*rounds)
    tools = [(script.tool("work"), work)]
    agent = stage.agent(provider, tools=tools, prices=PRICES, max_turn_cost=0.002)
    heard = await stage.ask(agent, "Hi", catch=True)
    assert isinstance(heard.error, BudgetError)
    assert 1 < len(provider.calls) < 50


async def test_a_stream_that_broke_is_not_free(new_stage):
    """What it cost is not known, and so is not what the answer did."""
    stage = new_stage(streaming=True)
    error = ProviderError("failed", error_code=ErrorCode.SERVER)
    provider = stage.provider("Hello, Ann!", chunk_size=5, fail_after_chunks=1, stream_error=error)
    agent = stage.agent(provider, fallback_provider=stage.provider(", Ann!"), prices=PRICES)
    assert await cost_in(stage, agent) is None


@pytest.mark.parametrize("budget", ["max_turn_cost", "max_room_cost"])
def test_a_budget_without_a_price_is_refused(new_stage, budget):
    """Of a fallback, too."""
    stage = new_stage()
    fallback = stage.provider(model_name="other")
    for options in ({}, {"prices": PRICES, "fallback_provider": fallback}):
        with pytest.raises(InvalidInputError, match="is not known, which is not zero; add it: prices="):
            stage.agent(stage.provider(), **options, **{budget: 1.0})


@pytest.mark.parametrize(
    "fields", [{"max_turn_cost": 0}, {"max_room_cost": -1}, {"prices": {"m": {"input": -1, "output": 1}}}]
)
def test_budgets_that_cannot_work_are_refused(new_stage, fields):
    with pytest.raises(InvalidInputError):
        new_stage().agent(MockAIProvider(), **fields)


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_room_has_a_budget_for_all_its_turns(streaming):
    """Of all its agents; costs are kept with the room, and another room has its own."""
    providers = [MockAIProvider(["Hello."], streaming=streaming) for _ in range(2)]
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web"))
        for number, provider in enumerate(providers):
            agent = AIChannel(f"agent{number}", provider, prices=PRICES, max_room_cost=3.5 * REQUEST)
            kit.register_channel(agent)
        for room in ("r1", "r2"):
            await kit.create_room(room)
            for channel in ("web", "agent0"):
                await kit.attach_channel(room, channel)

        async def say(room):
            message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Hi"))
            return await kit.process_inbound(message, room_id=room)

        for _ in range(3):
            assert (await say("r1")).error is None
        await kit.detach_channel("r1", "agent0")
        await kit.attach_channel("r1", "agent1")
        assert (await say("r1")).error is None
        assert cost_of_room(await kit.get_room("r1")) == pytest.approx(4 * REQUEST)
        refused = await say("r1")
        assert isinstance(refused.error, BudgetError)
        assert "max_room_cost" in str(refused.error)
        assert sum(len(provider.calls) for provider in providers) == 4
        assert (await say("r2")).error is None
        costs = [e.generation.cost for e in await kit.get_timeline("r1") if e.generation]
        assert costs == [pytest.approx(REQUEST)] * 4


@pytest.mark.parametrize("end", ["cancelled", "broken", "too long", "detached"])
async def test_an_answer_that_ended_in_the_middle_counts_for_the_budget_of_its_room(end):
    """What the vendor did not count is estimated: an agent that is always interrupted is not free."""
    broken = {"fail_after_chunks": 3} if end == "broken" else {}
    said = "word " * 400
    provider = MockAIProvider([said] * 9, streaming=True, chunk_size=500, chunk_delay=1.0, **broken)
    limits = {"max_answer_chars": 1200} if end == "too long" else {}
    async with RoomKit() as kit:
        kit.register_channel(RecordingChannel("web", streaming=True))
        agent = AIChannel("agent", provider, prices=PRICES, max_room_cost=0.007, **limits)
        kit.register_channel(agent)
        await kit.create_room("r1")
        for channel in ("web", "agent"):
            await kit.attach_channel("r1", channel)

        async def say():
            message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="Hi"))
            asked = asyncio.create_task(kit.process_inbound(message, room_id="r1"))
            await asyncio.sleep(2.5)
            if end == "cancelled":
                await agent.steer(Cancel(), room_id="r1")
            elif end == "detached":
                await kit.detach_channel("r1", "agent")
                await kit.attach_channel("r1", "agent")
            return await asked

        await say()
        once = cost_of_room(await kit.get_room("r1"))
        assert 0.001 < once < 0.004
        for _ in range(4):
            last = await say()
        assert isinstance(last.error, BudgetError)
        assert len(provider.calls) < 5


# -- requests of memories -----------------------------------------------------------------------

SUMMARY = ModelPrice(input=20.0, output=100.0)


class Summariser(MockAIProvider):
    """A model of its own name, for which a request costs ten times as much."""

    model_name = "summariser"


class Summarised:
    """A room whose agent summarises at every message from the third on."""

    def __init__(self, kit, streaming, **options):
        self.kit = kit
        self.model, self.summariser = MockAIProvider(["Hello."], streaming=streaming), Summariser(["Short."])
        memory = CompactingMemory(SlidingWindowMemory(), self.summariser, 60, 0.1, 0.0, 1, 0)
        given = {"prices": {**PRICES, "summariser": SUMMARY}, **options}
        kit.register_channel(RecordingChannel("web", streaming=streaming))
        kit.register_channel(AIChannel("agent", self.model, memory=BudgetAwareMemory(memory, 9999), **given))

    async def say(self, *texts):
        await self.kit.create_room("r1")
        for channel in ("web", "agent"):
            await self.kit.attach_channel("r1", channel)
        for text in texts:
            message = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body=text))
            result = await self.kit.process_inbound(message, room_id="r1")
        return result

    async def generations(self):
        return [each.generation for each in await self.kit.get_timeline("r1") if each.generation]


@pytest.mark.parametrize("streaming", [False, True])
async def test_a_summary_is_part_of_its_turn(streaming):
    """The usage and cost of the turn include it, and so does the cost of the room; it is a span."""
    telemetry = MockTelemetryProvider()
    async with RoomKit(telemetry=telemetry) as kit:
        room = Summarised(kit, streaming, max_room_cost=1.0)
        await room.say("Hi", "a word " * 20, "Yes?")
        assert [len(room.summariser.calls), len(room.model.calls)] == [1, 3]
        *_, last = await room.generations()
        assert last.cost == pytest.approx(11 * REQUEST)
        assert last.usage["input_tokens"] == 20
        assert cost_of_room(await kit.get_room("r1")) == pytest.approx(13 * REQUEST)
    spans = telemetry.get_spans(SpanKind.LLM_GENERATE)
    assert [each.attributes[Attr.MODEL] for each in spans] == ["mock", "mock", "summariser", "mock"]
    assert spans[2].attributes[Attr.LLM_INPUT_TOKENS] == 10


@pytest.mark.parametrize("streaming", [False, True])
async def test_no_summary_is_asked_for_beyond_the_budget_of_a_room(streaming):
    async with RoomKit() as kit:
        room = Summarised(kit, streaming, max_room_cost=12.5 * REQUEST, error_reply="Sorry.")
        last = await room.say("Hi", "a word " * 20, *["Yes?"] * 3)
        assert isinstance(last.error, BudgetError)
        assert [len(room.summariser.calls), len(room.model.calls)] == [1, 3]
        assert (await kit.get_timeline("r1"))[-1].content.body == "Sorry."


async def test_a_summary_whose_price_is_not_known_makes_the_cost_unknown():
    async with RoomKit() as kit:
        room = Summarised(kit, False, prices=PRICES)
        await room.say("Hi", "a word " * 20, "Yes?")
        costs = [each.cost for each in await room.generations()]
        assert costs == [pytest.approx(REQUEST), pytest.approx(REQUEST), None]


def test_a_budget_needs_the_price_of_a_memorys_model():
    with pytest.raises(InvalidInputError, match=r"price of 'summariser' is not known"):
        Summarised(RoomKit(), False, prices=PRICES, max_room_cost=1.0)
