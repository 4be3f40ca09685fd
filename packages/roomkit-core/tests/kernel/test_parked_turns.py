"""Turns that any intelligence parks: an outsider's, on every way an answer can take."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from roomkit.abc.errors import (
    ForeignCodeError,
    InvalidInputError,
    RoomNotFoundError,
    StoreUnavailableError,
    TurnNotParkedError,
)
from roomkit.kernel.kit import RoomKit
from roomkit.models.channel import ChannelOutput
from roomkit.models.enums import DeliveryState
from roomkit.models.hook import HookResult
from roomkit.models.parking import ParkedCall, ParkedRound
from roomkit_plugins.testing import ScriptedIntelligence

pytestmark = pytest.mark.virtual_time

SOON = timedelta(minutes=10)


class Asking(ScriptedIntelligence):
    """An agent whose first turn parks a round, and that says what it got for it."""

    def __init__(self, *rounds: Any, words: str = "", streaming: bool = False) -> None:
        super().__init__("agent")
        self.rounds, self.words, self.live = list(rounds), words, streaming
        self.resumed: list[tuple[str, dict[str, Any], str]] = []

    async def on_event(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        if not self.rounds:
            return ChannelOutput.empty()
        parked: list[Any] = []
        if self.live:
            return ChannelOutput(
                responded=True, response_stream=self.stream(self.rounds.pop(0), parked), parked=parked
            )
        return ChannelOutput(parked=[self.rounds.pop(0)])

    async def stream(self, round_: Any, parked: list[Any]) -> Any:
        if self.words:
            yield self.words
        parked.append(round_)

    async def on_resume(self, parked: Any, event: Any, binding: Any, context: Any) -> ChannelOutput:
        self.resumed.append((event.id, dict(parked.state), context.delivery.id))
        said = ", ".join(call.result for call in parked.calls)
        return ChannelOutput(responded=True, response_events=[self._event(said, context)])

    def _event(self, text: str, context: Any) -> Any:
        (event,) = self._output(text, _Nothing, context).response_events
        return event


class _Nothing:
    room_id = "r1"


def call(stage: Any, call_id: str = "c1", **fields: Any) -> ParkedCall:
    return ParkedCall(
        call_id=call_id, name="ask", reason="why", deadline=stage.kit.clock.now() + SOON, **fields
    )


@pytest.fixture
async def stage(stage: Any) -> Any:
    """Return a room with a person."""
    await stage.socket("alice")
    return stage


WAYS = {
    "whole": {},
    "streamed": {"streaming": True},
    "streamed with words": {"streaming": True, "words": "wait "},
}


@pytest.mark.parametrize("way", WAYS)
async def test_an_outsiders_intelligence_parks_and_continues(stage: Any, way: str) -> None:
    """With the state that it gave, the question, and a delivery of its own."""
    state = {"step": 3, "text": "é\u0000 " * 20_000}
    agent = Asking(ParkedRound([call(stage)], state), **WAYS[way])
    await stage.join(agent)
    question = (await stage.say()).event
    (turn,) = await stage.kit.list_parked_turns("r1")
    assert (turn.turn_id, turn.event_id) == (f"{question.id}:agent", question.id)
    assert await stage.kit.services.turns.parked("r1") == [turn]
    assert await stage.kit.services.turns.resume("r1", turn.turn_id, {"c1": "yes"})
    await asyncio.sleep(1)
    ((seen, kept, row_id),) = agent.resumed
    assert (seen, kept) == (question.id, state)
    assert row_id != turn.turn_id
    assert (await stage.kit.get_delivery(row_id)).state is DeliveryState.SENT
    assert (await stage.timeline())[-1].content.body == "yes"
    assert await stage.kit.store.list_room_values("r1") == []


@pytest.mark.parametrize("removed", range(4))
async def test_a_removal_that_was_cut_short_is_finished(
    stage: Any, monkeypatch: pytest.MonkeyPatch, removed: int
) -> None:
    """By the turn's timer, wherever it stopped: no piece of a round outlives it."""
    agent = Asking(ParkedRound([call(stage)], {"text": "a" * 12_000}))
    await stage.join(agent)
    await stage.say()
    (turn,) = await stage.kit.list_parked_turns("r1")
    left, delete = [None] * removed, stage.kit.store.delete_value

    async def cut(*place: Any, **conditions: Any) -> bool:
        if not left:
            raise StoreUnavailableError("the connection is gone")
        left.pop()
        return await delete(*place, **conditions)

    with monkeypatch.context() as broken:
        broken.setattr(stage.kit.store, "delete_value", cut)
        assert await stage.kit.services.turns.resume("r1", turn.turn_id, {"c1": "yes"})
        await asyncio.sleep(1)
        assert len(await stage.kit.store.list_room_values("r1")) == 4 - removed
    await asyncio.sleep(stage.kit.settings.lease_seconds + 1)
    assert await stage.kit.store.list_room_values("r1") == []
    assert await stage.kit.store.list_timers("r1") == []
    assert len(agent.resumed) == 1


async def test_the_round_is_in_the_commit_of_the_words(stage: Any) -> None:
    """Also when a gate refuses those: the tool was called."""
    agent = Asking(ParkedRound([call(stage)]), words="wait ", streaming=True)
    await stage.join(agent)

    @stage.kit.hook("before_broadcast")
    async def gate(event: Any, context: Any) -> HookResult:
        return HookResult.block("no") if event.source.channel_id == "agent" else HookResult.allow()

    await stage.say()
    assert len(await stage.kit.list_parked_turns("r1")) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda stage: ParkedRound([]), "no call that waits"),
        (lambda stage: ParkedRound([call(stage)], {"x": object()}), "not stored"),
        (lambda stage: ParkedRound(["c1"]), "not stored"),
        (lambda stage: "round", "not stored"),
        (lambda stage: ParkedRound([call(stage, arguments={"x": "y" * 70_000})]), "65536 bytes"),
    ],
    ids=["no calls", "no JSON", "no call", "no round", "too long"],
)
@pytest.mark.parametrize("way", WAYS)
async def test_a_round_that_cannot_be_stored_fails_the_turn(
    stage: Any, way: str, wrong: Any, words: str
) -> None:
    """With a typed error in the ledger; the words before it stay."""
    await stage.join(Asking(wrong(stage), **WAYS[way]))
    result = await stage.say()
    assert isinstance(result.error, InvalidInputError)
    assert words in str(result.error)
    assert await stage.kit.list_parked_turns("r1") == []
    (row,) = await stage.kit.list_deliveries("r1", channel_id="agent", state=DeliveryState.FAILED)
    assert row.error.code == "invalid_input"


async def test_a_channel_that_cannot_continue_fails_the_turn(stage: Any) -> None:
    """The one that is registered now has no `on_resume`; nothing of the turn is left."""
    await stage.join(Asking(ParkedRound([call(stage)])))
    await stage.say()
    (turn,) = await stage.kit.list_parked_turns("r1")
    await stage.kit.unregister_channel("agent")
    stage.kit.register_channel(ScriptedIntelligence("agent"))
    await stage.kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await asyncio.sleep(1)
    (row,) = await stage.kit.list_deliveries("r1", channel_id="agent", state=DeliveryState.FAILED)
    assert row.error.code == ForeignCodeError.code
    assert "on_resume" in row.error.message
    assert await stage.kit.store.list_room_values("r1") == []


async def test_only_the_framework_continues_a_turn(stage: Any) -> None:
    """An event that looks like its continuation continues nothing."""
    from roomkit.models.content import SystemContent
    from roomkit.models.enums import EventType

    agent = Asking(ParkedRound([call(stage)]))
    agent.responds_to = frozenset({EventType.SYSTEM, EventType.MESSAGE})
    await stage.join(agent)
    await stage.say()
    (turn,) = await stage.kit.list_parked_turns("r1")
    data = {"turn_id": turn.turn_id, "event_id": turn.event_id}
    forged = SystemContent(body="go on", code="turn_resumed", data=data)
    await stage.kit.send_event("r1", "alice", forged, EventType.SYSTEM)
    rows = await stage.kit.list_deliveries("r1", channel_id="agent", state=DeliveryState.SKIPPED)
    assert [row.reason for row in rows] == ["turn_dropped"]
    assert agent.resumed == []
    assert await stage.kit.list_parked_turns("r1") == [turn]


async def test_a_view_of_an_organization_lists_its_own(stage: Any) -> None:
    await stage.join(Asking(*(ParkedRound([call(stage)]) for _ in range(2))))
    acme = stage.kit.for_organization("acme")
    room = await acme.create_room()
    for channel_id in ("alice", "agent"):
        await acme.attach_channel(room.id, channel_id)
    await stage.say()
    await stage.say(room=room.id)
    assert {turn.room_id for turn in await stage.kit.list_parked_turns()} == {"r1", room.id}
    (turn,) = await acme.list_parked_turns()
    assert turn.room_id == room.id
    assert await stage.kit.for_organization("globex").list_parked_turns() == []
    assert len(await stage.kit.list_parked_turns(limit=1)) == 1


async def test_a_cancelled_turn_is_not_continued(stage: Any) -> None:
    """Nothing of it is kept, and a later answer to it is refused."""
    agent = Asking(ParkedRound([call(stage, asked="alice")], {"text": "x" * 12_000}))
    await stage.join(agent)
    await stage.say()
    (turn,) = await stage.kit.list_parked_turns("r1")
    dropped: list[Any] = []
    stage.kit.subscribe_events("turn_dropped", _into(dropped))
    assert await stage.kit.cancel_turn("r1", turn.turn_id)
    assert not await stage.kit.cancel_turn("r1", turn.turn_id)
    with pytest.raises(TurnNotParkedError, match="it was resumed, expired or dropped"):
        await stage.kit.resume_turn("r1", turn.turn_id, {"c1": "yes"})
    await asyncio.sleep(SOON.total_seconds() + 1)
    assert agent.resumed == []
    assert await stage.kit.store.list_room_values("r1") == []
    assert [event.data for event in dropped] == [{"turn_id": turn.turn_id, "reason": "cancelled"}]


async def test_a_cancellation_that_is_cut_short_is_finished_by_the_timer(
    stage: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is left of the turn then: it does not continue, and nothing of it stays."""
    agent = Asking(ParkedRound([call(stage)], {"text": "x" * 12_000}))
    await stage.join(agent)
    await stage.say()
    (turn,) = await stage.kit.list_parked_turns("r1")

    async def broken(*args: Any, **given: Any) -> bool:
        raise StoreUnavailableError("away")

    with monkeypatch.context() as patch:
        patch.setattr(stage.kit.store, "delete_value", broken)
        with pytest.raises(StoreUnavailableError):
            await stage.kit.cancel_turn("r1", turn.turn_id)
    assert await stage.kit.list_parked_turns("r1") == []
    assert not await stage.kit.cancel_turn("r1", turn.turn_id)
    await asyncio.sleep(SOON.total_seconds())
    assert agent.resumed == []
    assert await stage.kit.store.list_room_values("r1") == []
    assert await stage.kit.store.find_timers("parked_turn") == []


async def test_a_turn_is_cancelled_or_resumed_whichever_is_first(stage: Any) -> None:
    """Never both, however many do either at once."""
    agent = Asking(*(ParkedRound([call(stage)]) for _ in range(4)))
    await stage.join(agent)
    for _ in range(4):
        await stage.say()
    for turn in await stage.kit.list_parked_turns("r1"):
        outcomes = await asyncio.gather(
            *(stage.kit.cancel_turn("r1", turn.turn_id) for _ in range(3)),
            stage.kit.resume_turn("r1", turn.turn_id, {"c1": "yes"}),
            return_exceptions=True,
        )
        assert [each for each in outcomes if not isinstance(each, TurnNotParkedError)].count(True) == 1
        before = len(agent.resumed)
        await asyncio.sleep(1)
        assert len(agent.resumed) - before == (outcomes[3] is True)


async def test_a_program_beside_the_workers_answers_and_cancels(stage: Any) -> None:
    """With a kit that is not started: it has no channels and no gates, and a worker does the rest."""
    agent = Asking(ParkedRound([call(stage)]), ParkedRound([call(stage)]))
    await stage.join(agent)
    await stage.say()
    await stage.say()
    first, second = await stage.kit.list_parked_turns("r1")
    program = RoomKit(stage.kit.store, clock=stage.kit.clock)
    assert await program.resume_turn("r1", first.turn_id, {"c1": "yes"}, continue_here=False)
    assert await program.cancel_turn("r1", second.turn_id)
    assert await program.list_parked_turns("r1") == []
    with pytest.raises(RoomNotFoundError):
        await program.cancel_turn("r2", second.turn_id)
    assert agent.resumed == []
    await asyncio.sleep(11)
    assert [event_id for event_id, _, _ in agent.resumed] == [first.event_id]
    assert (await stage.timeline())[-1].content.body == "yes"


def _into(events: list[Any]) -> Any:
    async def note(event: Any) -> None:
        events.append(event)

    return note
