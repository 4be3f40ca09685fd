"""Conversations that outlive their worker, on each store: what the next one knows, and what people see."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import (
    Agent,
    AIContext,
    AIResponse,
    AITool,
    ConversationPipeline,
    HookExecution,
    HookTrigger,
    Park,
    PipelineStage,
    RoomKit,
    TextContent,
    text_of,
)
from roomkit.abc.clock import SystemClock
from roomkit.memory.locks import InMemoryLockManager
from roomkit_plugins.testing import SharedStore
from tests.system.hotel import Hotel, agent, asked, calls, hands_to


class LeapingClock(SystemClock):
    """The system's clock, after the time that was leapt over."""

    def __init__(self) -> None:
        self.leapt = timedelta()

    def now(self) -> datetime:
        return super().now() + self.leapt


PHONE, MANAGER, STRANGER = "+14165550101", "+14165550199", "+14165550666"
FILM = AITool(name="render", description="Render the film.", parameters={"type": "object"})
REFUND = AITool(name="refund", description="Pay money back.", parameters={"type": "object"})
DESKS = [
    PipelineStage("intake", "triage", next="payments"),
    PipelineStage("payments", "billing", can_return_to={"intake"}),
]


@pytest.fixture
def clock() -> LeapingClock:
    return LeapingClock()


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def hotel(request: pytest.FixtureRequest, tmp_path: Path, clock: LeapingClock) -> Hotel:
    """Return a house whose workers share a store of each kind."""
    return Hotel(_parts(request, tmp_path), clock)


def _parts(request: pytest.FixtureRequest, folder: Path) -> Callable[[], Mapping[str, Any]]:
    if request.param == "memory":
        shared = {"store": SharedStore(), "lock_manager": InMemoryLockManager(), "single_process": True}
        return lambda: shared
    if request.param == "sqlite":
        from roomkit_plugins.sqlite import SQLiteConfig, SQLiteStore

        path = folder / "rooms.db"
        return lambda: {"store": SQLiteStore(SQLiteConfig(path=path)), "single_process": True}
    from roomkit_plugins.postgres import PostgresStore

    dsn = request.getfixturevalue("postgres_store_dsn")
    return lambda: {"store": PostgresStore(dsn)}


async def test_triage_hands_to_the_specialist_and_back_over_three_workers(hotel: Hotel) -> None:
    """Each worker knows who has the conversation; people see words, and no trace of the handoffs."""

    def crew() -> list[Agent]:
        triage = agent("triage", hands_to("billing"), "Until noon.")
        return [triage, agent("billing", "It goes back today.", hands_to("triage"))]

    first = crew()
    async with hotel.open(*first, install=lambda kit: ConversationPipeline(DESKS).install(kit, first)):
        await hotel.room("r1", "triage", "billing", phone=PHONE)
        await hotel.sits("ann")
        await hotel.says("ann", "Invoice 7 was paid twice.")
    second = [agent("triage", "Until noon."), agent("billing", "Anything else?", hands_to("triage"))]
    async with hotel.open(*second, install=lambda kit: ConversationPipeline(DESKS).install(kit, second)):
        await hotel.sits("ann")
        await hotel.says("ann", "Thanks.")
        assert (await hotel.state()).active_agent_id == "billing"
        assert "for billing" in str(asked(second[1])[0].messages[0].content)
        await hotel.texts(PHONE, "Do you deliver on Saturdays?")
    third = [agent("triage", "Bye!"), agent("billing")]
    async with hotel.open(*third, install=lambda kit: ConversationPipeline(DESKS).install(kit, third)):
        await hotel.sits("ann")
        await hotel.says("ann", "Bye.")
        state = await hotel.state()
        assert (state.active_agent_id, state.handoff_count) == ("triage", 2)
        assert [each.to_phase for each in state.phase_history] == ["payments", "intake"]
        assert await hotel.timeline() == [
            "ann: Invoice 7 was paid twice.",
            "billing: It goes back today.",
            "ann: Thanks.",
            "billing: Anything else?",
            f"{PHONE}: Do you deliver on Saturdays?",
            "triage: Until noon.",
            "ann: Bye.",
            "triage: Bye!",
        ]
    everything = [
        "billing: It goes back today.",
        "billing: Anything else?",
        f"{PHONE}: Do you deliver on Saturdays?",
        "triage: Until noon.",
        "triage: Bye!",
    ]
    assert hotel.seen["ann"] == everything
    assert hotel.phone(PHONE) == [
        "ann: Invoice 7 was paid twice.",
        "billing: It goes back today.",
        "ann: Thanks.",
        "billing: Anything else?",
        "triage: Until noon.",
        "ann: Bye.",
        "triage: Bye!",
    ]
    assert [trigger for trigger, _ in hotel.fired] == ["on_handoff", "on_phase_transition"] * 2


async def test_a_tool_takes_an_hour_and_the_room_goes_on(hotel: Hotel, clock: LeapingClock) -> None:
    """The job outlives its worker: the next one is given the result, and the turn continues there, once."""
    ran: list[str] = []

    async def render(name: str, arguments: dict[str, Any]) -> Park:
        ran.append(name)
        return Park("the film is being rendered", timedelta(hours=3))

    def studio() -> Agent:
        def answer(context: AIContext) -> AIResponse:
            if context.messages[-1].role == "tool":
                return AIResponse(content="Your film is ready: film-7.")
            if "film" in str(context.messages[-1].content):
                return calls("render", "That takes an hour.")
            return AIResponse(content="We open at nine.")

        return agent("studio", answer, tools=[(FILM, render)])

    async with hotel.open(studio()) as kit:
        await hotel.room("r1", "studio", phone=PHONE)
        await hotel.sits("ann")
        await hotel.says("ann", "Render my film, please.")
        await hotel.texts(PHONE, "When do you open?")
        (turn,) = await kit.list_parked_turns("r1")
    clock.leapt += timedelta(hours=1)
    async with hotel.open(studio()) as kit:
        await hotel.sits("ann")
        assert await kit.resume_turn("r1", turn.turn_id, {"c1": "film-7"})
        await hotel.until(lambda: len(hotel.seen["ann"]) == 4)
        assert await kit.list_parked_turns("r1") == []
    assert ran == ["render"]
    assert hotel.seen["ann"] == [
        "studio: That takes an hour.",
        f"{PHONE}: When do you open?",
        "studio: We open at nine.",
        "studio: Your film is ready: film-7.",
    ]


class Shop:
    """A shop whose refunds a manager approves by text message."""

    def __init__(self, hotel: Hotel) -> None:
        self.hotel = hotel
        self.paid: list[str] = []

    def agent(self) -> Agent:
        def answer(context: AIContext) -> AIResponse:
            if context.messages[-1].role == "tool":
                return AIResponse(content=f"It is {context.messages[-1].content[0].result}.")
            return calls("refund", "I ask my manager.", amount=40)

        return agent("shop", answer, tools=[(REFUND, self.refund)])

    async def refund(self, name: str, arguments: dict[str, Any]) -> Park:
        words = TextContent(body=f"Refund {arguments['amount']}? K7 yes or K7 no")
        request = await self.hotel.kit.send_event("office", "system", words)
        return Park("a manager decides", timedelta(days=2), asked=MANAGER, request=request.id, code="K7")

    def install(self, kit: RoomKit) -> None:
        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, name="decide")
        async def decide(event: Any, context: Any) -> None:
            for turn, call in await kit.services.turns.asked(event):
                is_yes = "yes" in text_of(event.content).split()
                if is_yes:
                    self.paid.append(str(call.arguments["amount"]))
                result = "paid" if is_yes else "refused"
                await kit.services.turns.resume(turn.room_id, turn.turn_id, {call.call_id: result})


@pytest.mark.parametrize("decision", ["yes", "no"])
async def test_an_approval_comes_by_another_channel_after_a_restart(
    hotel: Hotel, clock: LeapingClock, decision: str
) -> None:
    """By the manager's phone, a day later, to another worker; a stranger with the code approves nothing."""
    shop = Shop(hotel)
    async with hotel.open(shop.agent(), install=shop.install) as kit:
        await hotel.room("r1", "shop")
        await kit.create_room("office")
        await kit.attach_channel("office", "sms", metadata={"recipient_id": MANAGER})
        await hotel.sits("ann")
        await hotel.says("ann", "My lamp broke.")
    assert hotel.phone(MANAGER) == ["system: Refund 40? K7 yes or K7 no"]
    clock.leapt += timedelta(days=1)
    async with hotel.open(shop.agent(), install=shop.install):
        await hotel.sits("ann")
        await hotel.texts(STRANGER, f"K7 {decision}")
        await hotel.says("ann", f"K7 {decision}", addressed_to=())
        assert len(await hotel.kit.list_parked_turns("r1")) == 1
        await hotel.texts(MANAGER, f"K7 {decision}")
        await hotel.until(lambda: len(hotel.seen["ann"]) == 2)
        await hotel.texts(MANAGER, f"K7 {decision}")
        assert await hotel.kit.list_parked_turns("r1") == []
    outcome = {"yes": "paid", "no": "refused"}[decision]
    assert hotel.seen["ann"] == ["shop: I ask my manager.", f"shop: It is {outcome}."]
    assert shop.paid == (["40"] if decision == "yes" else [])
