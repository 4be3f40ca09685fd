"""Live things that one worker of several has: deliveries to them, and their outcomes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from roomkit.abc.errors import (
    HomeElsewhereError,
    HomeLostError,
    InvalidInputError,
    NoHomeError,
)
from roomkit.abc.services import Home
from roomkit.memory.locks import InMemoryLockManager
from roomkit.models.channel import ChannelOutput
from roomkit.models.content import text_of
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import Access
from roomkit_plugins.testing import (
    Hang,
    RecordingChannel,
    ScriptedIntelligence,
    ScriptedSource,
    SharedRealtime,
)

from .house import FAILED, LEASE, PENDING, SENT, SKIPPED, SharedStore

pytestmark = pytest.mark.virtual_time


class Homes(SharedStore):
    """A store of which also the writes of homes fail once it is `gone`."""

    async def take_home(self, *args: Any, **options: Any) -> Any:
        self._fail_if_gone()
        return await super().take_home(*args, **options)

    async def yield_lane(self, *args: Any, **options: Any) -> Any:
        self._fail_if_gone()
        return await super().yield_lane(*args, **options)


class Calls(RecordingChannel):
    """A channel with a call in each room of `live`."""

    def __init__(self, channel_id: str, *, grace: float = 0.0, streaming: bool = False) -> None:
        super().__init__(channel_id, streaming=streaming)
        self.home_grace = grace
        self.live: dict[str, Home] = {}
        self.refused = 0

    async def answer(self, room_id: str) -> Home:
        """Take a call in a room."""
        assert self.services is not None
        home = self.live[room_id] = await self.services.homes.take(room_id)
        return home

    async def hang_up(self, room_id: str) -> None:
        """End the call."""
        assert self.services is not None
        del self.live[room_id]
        await self.services.homes.leave(room_id)

    async def deliver(self, event: Any, binding: Any, context: Any) -> ChannelOutput:
        self._check_live(event.room_id)
        return await super().deliver(event, binding, context)

    async def deliver_stream(self, stream: Any, event: Any, binding: Any, context: Any) -> ChannelOutput:
        self._check_live(binding.room_id)
        return await super().deliver_stream(stream, event, binding, context)

    def _check_live(self, room_id: str) -> None:
        if room_id not in self.live:
            self.refused += 1
            raise NoHomeError(f"no call in room {room_id}")


class House:
    """Workers that share a store, each with the channel `voice` and a transport that speaks."""

    def __init__(self, stage_class: type[Any]) -> None:
        self._stage_class = stage_class
        self.store = Homes()
        self.locks = InMemoryLockManager()
        self.realtime = SharedRealtime()
        self.stages: list[Any] = []

    async def worker(self, *, grace: float = 0.0, streaming: bool = False, **options: Any) -> Any:
        """Return a started worker, the first of which makes the room."""
        stage = self._stage_class(
            store=self.store,
            lock_manager=self.locks,
            realtime=self.realtime,
            single_process=True,
            lease_seconds=LEASE,
            **options,
        )
        voice, sms = Calls("voice", grace=grace, streaming=streaming), RecordingChannel("alice")
        if not self.stages:
            await stage.open()
            await stage.join(sms)
            await stage.join(voice)
        else:
            stage.kit.register_channel(sms)
            stage.kit.register_channel(voice)
        self.stages.append(stage)
        await stage.kit.start()
        stage.voice = voice
        return stage

    async def kill(self, stage: Any) -> None:
        """End a worker as SIGKILL would: nothing is said, written or given back."""
        supervisor = stage.kit._kernel.ground.supervisor
        supervisor.start = supervisor.serve = lambda work, *args, **options: work.close()
        for task in [*supervisor._services, *supervisor._tasks]:
            task.cancel()
        await asyncio.sleep(0)
        self.stages.remove(stage)

    async def rows(self) -> dict[str, Any]:
        """Return what became of the deliveries to `voice`, by text."""
        rows = await self.store.list_deliveries("r1", channel_id="voice", limit=1000)
        events = [await self.store.get_event(row.event_id) for row in rows]
        return {text_of(event.content): row for event, row in zip(events, rows, strict=True) if event}


@pytest.fixture
async def house(bare_stage: type[Any]) -> AsyncIterator[House]:
    """Return a house without workers."""
    house = House(bare_stage)
    yield house
    house.store.gone = False
    for stage in house.stages:
        await stage.kit.close()


async def test_what_is_said_elsewhere_is_delivered_by_the_worker_with_the_call(house: House) -> None:
    """In order, on whichever worker they are committed, without an attempt on a worker that has no call."""
    first, second = await house.worker(), await house.worker()
    await second.voice.answer("r1")
    for number in range(10):
        await (first, second)[number % 2].say(f"{number}", wait="committed")
    await asyncio.sleep(1.0)
    assert second.voice.texts() == [f"{number}" for number in range(10)]
    assert first.voice.refused == 0
    assert {row.state for row in (await house.rows()).values()} == {SENT}


async def test_what_waits_for_a_call_goes_to_the_worker_that_takes_it(house: House) -> None:
    """Deliveries that a worker without the call holds are handed over whole, in order."""
    first, second = await house.worker(grace=60.0), await house.worker(grace=60.0)
    await second.voice.answer("r1")
    await house.kill(second)
    await asyncio.sleep(LEASE)
    for text in ("one", "two", "three"):
        await first.say(text, wait="committed")
    await asyncio.sleep(1.0)
    assert {row.state for row in (await house.rows()).values()} == {PENDING}
    third = await house.worker(grace=60.0)
    await third.voice.answer("r1")
    await first.say("four", wait="committed")
    await asyncio.sleep(1.0)
    assert third.voice.texts() == ["one", "two", "three", "four"]
    rows = (await house.rows()).values()
    assert {row.state for row in rows} == {SENT}
    assert {row.attempts for row in rows} == {1}


async def test_a_call_taken_while_another_worker_delivers_gets_what_follows(house: House) -> None:
    """The other worker's lane, with all that waits in it, is yielded at its next delivery."""
    first, second = await house.worker(), await house.worker()
    first.voice.live["r1"] = Home(0)
    first.voice._script.delay = 1.0
    for text in ("one", "two", "three"):
        await first.say(text, wait="committed")
    await second.voice.answer("r1")
    await asyncio.sleep(0.5)
    del first.voice.live["r1"]
    await asyncio.sleep(1.0)
    assert (first.voice.texts(), second.voice.texts()) == (["one"], ["two", "three"])


async def test_what_comes_after_a_call_has_ended_is_skipped(house: House) -> None:
    first, second = await house.worker(grace=60.0), await house.worker(grace=60.0)
    await first.say("before", wait="settled")
    await second.voice.answer("r1")
    await second.voice.hang_up("r1")
    await first.say("after", wait="settled")
    await asyncio.sleep(1.0)
    rows = await house.rows()
    assert [(row.state, row.reason) for row in rows.values()] == [(SKIPPED, "no_session")] * 2
    assert not first.kit._kernel.sending.breakers


async def test_a_call_that_ends_while_it_is_spoken_to_skips_the_rest(house: House) -> None:
    """The live thing is gone before the home is left: the delivery waits for which of both it is."""
    stage = await house.worker()
    await stage.voice.answer("r1")
    home = stage.voice.live.pop("r1")
    await stage.say("too late", wait="committed")
    await asyncio.sleep(0.1)
    assert (await house.rows())["too late"].state is PENDING
    stage.voice.live["r1"] = home
    await stage.voice.hang_up("r1")
    await asyncio.sleep(1.0)
    row = (await house.rows())["too late"]
    assert (row.state, row.reason) == (SKIPPED, "no_session")


async def test_a_message_in_parts_keeps_what_was_said_before_the_call_ended(house: House) -> None:
    """Its row says how many parts, and by which ids, when it is skipped for want of a call."""
    stage = await house.worker()
    voice = stage.voice
    bound = await house.store.get_binding("r1", "voice")
    assert bound is not None
    short = bound.capabilities.replace(max_length=3)
    await house.store.update_binding(bound.replace(capabilities=short))
    said = ProviderResult(success=True, provider_message_id="p1")
    voice._script = type(voice._script)([ChannelOutput(provider_result=said)])
    await voice.answer("r1")
    heard = voice.delivered

    def check_live(room_id: str) -> None:
        if heard:
            raise NoHomeError("the call has ended")

    voice._check_live = check_live
    await stage.say("abcdefghi", wait="committed")
    await asyncio.sleep(0.1)
    assert (await house.rows())["abcdefghi"].state is PENDING
    await voice.hang_up("r1")
    await asyncio.sleep(1.0)
    row = (await house.rows())["abcdefghi"]
    assert (row.state, row.reason) == (SKIPPED, "no_session")
    assert (row.sent_parts, row.message_ids) == (1, ("p1",))


@pytest.mark.parametrize("grace", [0.0, 120.0])
async def test_what_is_for_a_lost_call_fails_when_its_grace_is_over(house: House, grace: float) -> None:
    """Never skipped: the worker with the call was killed."""
    first, second = await house.worker(grace=grace), await house.worker(grace=grace)
    await second.voice.answer("r1")
    await first.say("one", wait="committed")
    await asyncio.sleep(0.1)
    second.voice._script.delay = 3600.0
    await first.say("two", wait="committed")
    await house.kill(second)
    await asyncio.sleep(2 * LEASE)
    before = (await house.rows())["two"]
    assert before.state is (PENDING if grace else FAILED)
    await asyncio.sleep(grace)
    after = (await house.rows())["two"]
    assert (after.state, after.error.code, after.error.retryable) == (FAILED, "unreachable", True)
    assert (await house.rows())["one"].state is SENT


async def test_a_call_is_on_one_worker(house: House) -> None:
    """The other worker gets the holder's name; taking it again is not an error."""
    first = await house.worker(worker_url="http://first")
    second = await house.worker()
    home = await first.voice.answer("r1")
    assert await first.voice.answer("r1") is home
    with pytest.raises(HomeElsewhereError, match="channel 'voice' is live in room 'r1' on worker") as refused:
        await second.voice.answer("r1")
    assert refused.value.worker_id == first.kit._kernel.ground.lease.worker_id
    assert refused.value.url == "http://first"
    await first.voice.hang_up("r1")
    assert (await second.voice.answer("r1")).token > home.token


async def test_only_its_own_channel_can_be_taken(house: House) -> None:
    stage = await house.worker()
    with pytest.raises(InvalidInputError, match="channel 'alice' is not one of"):
        await stage.voice.services.homes.take("r1", "alice")


async def test_a_home_outlives_the_lease_that_was_replaced(house: House) -> None:
    """It has a higher token, and deliveries go there as before."""
    first, second = await house.worker(), await house.worker()
    home = await first.voice.answer("r1")
    token, worker_id = home.token, first.kit._kernel.ground.lease.worker_id
    house.store._leases.close(worker_id)  # as if it had overslept
    await asyncio.sleep(LEASE)
    assert first.kit._kernel.ground.lease.worker_id != worker_id
    assert not home.lost.is_set()
    assert home.token == token + 1
    await second.say("still there?", wait="committed")
    await asyncio.sleep(0.1)
    assert first.voice.texts() == ["still there?"]


async def test_a_home_that_another_worker_took_in_between_is_lost(house: House) -> None:
    first, second = await house.worker(), await house.worker()
    home = await first.voice.answer("r1")
    house.store._leases.close(first.kit._kernel.ground.lease.worker_id)
    await second.voice.answer("r1")
    await second.voice.hang_up("r1")
    await asyncio.sleep(LEASE)
    assert home.lost.is_set()
    await first.kit.close()
    house.stages.remove(first)


async def test_a_call_that_ends_under_another_lease_has_been_left(house: House) -> None:
    """Not lost, also before its home was taken again; taking it keeps the home."""
    first, second = await house.worker(grace=60.0), await house.worker(grace=60.0)
    home = await first.voice.answer("r1")
    lease = first.kit._kernel.ground.lease
    house.store._leases.close(lease.worker_id)
    lease.granted(await house.store.open_lease(LEASE), asyncio.get_running_loop().time() + LEASE)
    assert await first.voice.answer("r1") is home
    house.store._leases.close(lease.worker_id)
    lease.granted(await house.store.open_lease(LEASE), asyncio.get_running_loop().time() + LEASE)
    await first.voice.hang_up("r1")
    record = await house.store.get_home("r1", "voice")
    assert (record.worker_id, record.is_lost) == (None, False)
    await second.say("hello?", wait="settled")
    await asyncio.sleep(1.0)
    assert [row.reason for row in (await house.rows()).values()] == ["no_session"]


async def test_homes_are_taken_again_when_the_store_is_back(house: House) -> None:
    stage = await house.worker()
    home = await stage.voice.answer("r1")
    house.store._leases.close(stage.kit._kernel.ground.lease.worker_id)
    house.store.gone = True
    await asyncio.sleep(LEASE)
    house.store.gone = False
    await asyncio.sleep(2 * LEASE)
    record = await house.store.get_home("r1", "voice")
    assert (record.worker_id, record.is_alive) == (stage.kit._kernel.ground.lease.worker_id, True)
    assert not home.lost.is_set()


async def test_agents_answer_where_the_call_is(house: House) -> None:
    first, second = await house.worker(), await house.worker()
    agents = [ScriptedIntelligence("agent", ["hello"]) for _ in range(2)]
    await first.join(agents[0])
    second.kit.register_channel(agents[1])
    await asyncio.sleep(LEASE)  # until the channels are announced
    await second.voice.answer("r1")
    await first.say("hi", wait="committed")
    await asyncio.sleep(1.0)
    assert [len(agent.seen) for agent in agents] == [0, 1]
    assert second.voice.texts() == ["hi", "hello"]


async def test_a_streamed_answer_is_spoken_where_the_call_is(house: House) -> None:
    """Also of an agent that only the other worker has: the call gets the committed answer, once."""
    first, second = await house.worker(streaming=True), await house.worker(streaming=True)
    await first.join(ScriptedIntelligence("agent", ["hello there"], streaming=True))
    await second.voice.answer("r1")
    await first.say("hi", wait="committed")
    await asyncio.sleep(2.0)
    assert second.voice.texts() == ["hi", "hello there"]
    assert first.voice.texts() == []
    assert {row.state for row in (await house.rows()).values()} == {SENT}


async def test_one_process_needs_no_lease_for_its_homes(bare_stage: type[Any]) -> None:
    stage = bare_stage()
    await stage.open()
    voice = Calls("voice")
    await stage.join(RecordingChannel("alice"))
    await stage.join(voice)
    await stage.say("no one there")
    await voice.answer("r1")
    await stage.say("hello")
    home = voice.live.pop("r1")
    await stage.say("hung up?")
    voice.live["r1"] = home
    await voice.hang_up("r1")
    await stage.say("gone")
    assert voice.texts() == ["hello"]
    rows = await stage.kit.list_deliveries("r1", channel_id="voice")
    assert [row.reason or (row.error and row.error.code) for row in rows] == [
        "no_session",
        None,
        "unreachable",
        "no_session",
    ]
    await stage.kit.close()


# -- changes elsewhere --------------------------------------------------------------------------


CHANGES: dict[str, tuple[Any, Any]] = {
    "muted": (lambda kit: kit.mute("r1", "voice"), lambda binding: binding.muted),
    "metadata": (
        lambda kit: kit.update_binding_metadata("r1", "voice", {"voice": "calm"}),
        lambda binding: binding.metadata == {"voice": "calm"},
    ),
    "visibility": (
        lambda kit: kit.set_visibility("r1", "voice", "none"),
        lambda binding: binding.visibility == "none",
    ),
    "access": (
        lambda kit: kit.set_access("r1", "voice", Access.READ_ONLY),
        lambda binding: binding.access is Access.READ_ONLY,
    ),
    "detached": (lambda kit: kit.detach_channel("r1", "voice"), lambda binding: _is_over(binding)),
    "closed": (lambda kit: kit.close_room("r1"), lambda binding: _is_over(binding)),
    "archived": (lambda kit: kit.archive_room("r1"), lambda binding: _is_over(binding)),
    "deleted": (lambda kit: kit.delete_room("r1"), lambda binding: _is_over(binding)),
}


def _is_over(binding: Any) -> bool:
    return binding.access is Access.NONE and (binding.room_id, binding.channel_id) == ("r1", "voice")


@pytest.mark.parametrize("change", CHANGES)
async def test_the_worker_with_the_call_hears_of_its_binding(house: House, change: str) -> None:
    """Within a second of a change that another worker made; a worker without the call does not."""
    first, second, third = [await house.worker() for _ in range(3)]
    await second.voice.answer("r1")
    make, is_known = CHANGES[change]
    await make(first.kit)
    await asyncio.sleep(1.0)
    (known,) = second.voice.binding_updates
    assert known[0] == "r1"
    assert is_known(known[1])
    assert third.voice.binding_updates == []


@pytest.mark.parametrize("change", ["mute", "detach", "close", "ban"])
async def test_a_turn_ends_on_whichever_worker_it_is(house: House, change: str) -> None:
    """When its agent may no longer answer, or the person whom it answers was banned."""
    first, second = await house.worker(), await house.worker()
    agent = ScriptedIntelligence("agent", ["too late"], delay=60.0)
    await first.join(agent)
    second.kit.register_channel(ScriptedIntelligence("agent", []))
    await first.say("hi", wait="committed")
    await asyncio.sleep(1.0)
    assert len(agent.seen) == 1
    kit = second.kit
    (person,) = await kit.list_participants("r1")
    await {
        "mute": lambda: kit.mute("r1", "agent"),
        "detach": lambda: kit.detach_channel("r1", "agent"),
        "close": lambda: kit.close_room("r1"),
        "ban": lambda: kit.remove_participant("r1", person.id, banned=True),
    }[change]()
    await asyncio.sleep(1.0)
    assert agent.cancelled == 1


# -- elections ----------------------------------------------------------------------------------


class Bot:
    """Work that one worker of all does, noting who."""

    def __init__(self) -> None:
        self.at_work: list[str] = []
        self.tokens: list[int] = []

    def on(self, stage: Any, name: str) -> None:
        """Have a worker stand for election."""

        async def work(home: Home) -> None:
            self.at_work.append(name)
            self.tokens.append(home.token)
            try:
                await asyncio.Event().wait()
            finally:
                self.at_work.remove(name)

        services = stage.kit.services
        services.tasks.serve(services.homes.elect("bot", work), name="bot")


async def test_elected_work_runs_on_one_worker_and_goes_on_elsewhere(house: House) -> None:
    """Whether its worker closes or is killed."""
    first, second, third = [await house.worker() for _ in range(3)]
    bot = Bot()
    for stage, name in ((first, "first"), (second, "second"), (third, "third")):
        bot.on(stage, name)
        await asyncio.sleep(1.0)
    assert bot.at_work == ["first"]
    house.stages.remove(first)
    await first.kit.close()
    await asyncio.sleep(LEASE / 3)
    (winner,) = bot.at_work
    assert winner in ("second", "third")
    await house.kill(second if winner == "second" else third)
    await asyncio.sleep(2 * LEASE)
    assert bot.at_work == ["third" if winner == "second" else "second"]
    assert bot.tokens == sorted(set(bot.tokens))


class Connection(ScriptedSource):
    """A source that notes which of its kind are connected."""

    def __init__(self, name: str, connected: list[str], *script: Any) -> None:
        super().__init__([*script, Hang()])
        self.name_of_worker = name
        self._connected = connected

    async def start(self, emit: Any) -> None:
        self._connected.append(self.name_of_worker)
        try:
            await super().start(emit)
        finally:
            self._connected.remove(self.name_of_worker)


async def test_a_single_source_is_connected_on_one_worker(house: House) -> None:
    """The next worker connects when it breaks or its worker is gone; it does not when it is detached."""
    connected: list[str] = []
    stages = [await house.worker() for _ in range(2)]
    sources = [Connection("first", connected, ConnectionError("lost")), Connection("second", connected)]
    for stage, source in zip(stages, sources, strict=True):
        await stage.kit.attach_source("alice", source, single=True, restart_delay=60.0)
        await asyncio.sleep(0.1)
    await asyncio.sleep(LEASE)
    assert connected == ["second"]
    assert sources[0].home.token < sources[1].home.token
    await asyncio.sleep(60.0)
    await house.kill(stages[1])
    await asyncio.sleep(2 * LEASE)
    assert connected == ["first"]
    await stages[0].kit.detach_source("alice")
    await asyncio.sleep(2 * LEASE)
    assert connected == []


async def test_elected_work_stops_before_another_worker_can_be_elected(house: House) -> None:
    """A worker that cannot renew its lease stops by its own clock; it is elected again later."""
    stage = await house.worker()
    bot = Bot()
    bot.on(stage, "first")
    house.store.gone = True
    await asyncio.sleep(LEASE * 0.85)
    assert bot.at_work == ["first"]
    await asyncio.sleep(LEASE * 0.1)
    assert bot.at_work == []
    house.store.gone = False
    await asyncio.sleep(LEASE)
    assert bot.at_work == ["first"]
    assert len(set(bot.tokens)) == 2


async def test_a_worker_that_lost_its_election_writes_no_offset(house: House) -> None:
    """Also one that was paused, and does not know yet; the next holder's offset stays."""
    first, second = [await house.worker() for _ in range(2)]
    homes: list[Home] = []

    async def work(home: Home) -> None:
        homes.append(home)
        await asyncio.Event().wait()

    for stage in (first, second):
        services = stage.kit.services
        services.tasks.serve(services.homes.elect("bot", work), name="bot")
        await asyncio.sleep(1.0)
    paused = first.kit.services.values
    await paused.put("offset", data={"at": 1}, fence=homes[0])
    await paused.change("offset", fn=lambda data: {"at": data["at"] + 1}, fence=homes[0])
    await house.kill(first)
    await asyncio.sleep(2 * LEASE)
    former, home = homes
    values = second.kit.services.values
    kept = await values.put("offset", data={"at": 3}, fence=home)
    for write in (
        values.put("offset", data={"at": 2}, fence=former),
        values.put("other", data={"at": 2}, if_revision=0, fence=former),
        values.change("offset", fn=lambda _: {"at": 2}, fence=former),
        values.change("offset", fn=lambda _: None, fence=former),
        values.delete("offset", fence=former),
    ):
        with pytest.raises(HomeLostError, match="end the work that holds it"):
            await write
    assert await values.get("offset") == kept


async def test_elected_work_that_ends_or_fails_frees_its_name(house: House) -> None:
    stage = await house.worker()
    homes = stage.kit.services.homes
    seen: list[Home] = []

    async def end(home: Home) -> None:
        seen.append(home)

    async def fail(home: Home) -> None:
        seen.append(home)
        raise TimeoutError("the vendor is silent")

    await homes.elect("job", end)
    with pytest.raises(TimeoutError, match="the vendor is silent"):
        await homes.elect("job", fail)
    await homes.elect("job", end)
    assert [home.token for home in seen] == [1, 2, 3]
    assert not any(home.lost.is_set() for home in seen)
