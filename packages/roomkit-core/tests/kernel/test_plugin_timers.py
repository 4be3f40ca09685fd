"""Timers of plugins, channels and the host: durable, at least once, left to workers with their kind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from roomkit import HookResult, HookTrigger, RoomContext, RoomKit, TextContent
from roomkit.abc.errors import InvalidInputError, RoomNotFoundError
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.timer import DEAD, Timer
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, SharedStore, VirtualClock

pytestmark = pytest.mark.virtual_time
NAIVE = datetime(2040, 1, 1)  # without a time zone
LEASE = 15.0


def worker(store: InMemoryStore, **options: Any) -> RoomKit:
    return RoomKit(
        store,
        lock_manager=InMemoryLockManager(),
        realtime=InMemoryRealtime(),
        single_process=True,
        clock=VirtualClock(),
        plugins=PluginManager(entry_points=()),
        lease_seconds=LEASE,
        **options,
    )


class Fired:
    """A handler that notes what it was called with, and answers as the test says."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.seen: list[tuple[float, Timer]] = []

    async def __call__(self, timer: Timer) -> datetime | None:
        self.seen.append((asyncio.get_running_loop().time(), timer))
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    @property
    def times(self) -> list[float]:
        """When it was called, to the second."""
        return [round(at) for at, _ in self.seen]


def after(kit: RoomKit, seconds: float) -> datetime:
    return kit.clock.now() + timedelta(seconds=seconds)


@pytest.fixture(params=[InMemoryStore, SharedStore], ids=["one process", "shared"])
async def kit(request: pytest.FixtureRequest) -> Any:
    """Return a started kit with the room `r1`."""
    async with worker(request.param()) as made:
        await made.create_room("r1")
        yield made


async def test_a_timer_fires_when_it_is_due(kit: RoomKit) -> None:
    """Once, on time, as its owner set it."""
    fired, timers = Fired(), kit.services.timers
    timers.on("call", fired)
    made = await timers.set("call", after(kit, 90), id="c1", room_id="r1", data={"who": "ann"}, subject="ann")
    await asyncio.sleep(1000)
    assert fired.times == [90]
    (_, seen) = fired.seen[0]
    assert seen == made
    assert (seen.id, seen.kind, seen.room_id, seen.data, seen.subject) == (
        "c1",
        "call",
        "r1",
        {"who": "ann"},
        "ann",
    )
    assert await kit.store.find_timers() == []


async def test_a_timer_of_no_room_that_is_overdue_fires_at_once(kit: RoomKit) -> None:
    fired = Fired()
    kit.services.timers.on("call", fired)
    made = await kit.services.timers.set("call", after(kit, -90))
    await asyncio.sleep(1)
    assert fired.times == [0]
    assert made.id
    assert made.room_id is None


@pytest.fixture(params=["an event", "a trigger"])
async def decide(request: pytest.FixtureRequest, kit: RoomKit) -> Any:
    """Return a function that has a gate answer with timers, by an event and by a plugin's own trigger."""
    channel = RecordingChannel("web")
    kit.register_channel(channel)
    await kit.attach_channel("r1", "web")

    async def decided(timers: Callable[[], list[Timer]], *, blocks: bool) -> None:
        trigger = HookTrigger.BEFORE_BROADCAST if request.param == "an event" else HookTrigger.BEFORE_TOOL_USE

        @kit.hook(trigger)
        async def deciding(payload: Any, context: RoomContext) -> HookResult:
            if blocks:
                return HookResult.block("ask first", timers=timers())
            return HookResult.allow(timers=timers())

        if request.param == "an event":
            await kit.send_event("r1", "web", TextContent(body="buy"))
        else:
            await kit.services.turns.run_gate(trigger, "buy", room_id="r1", channel_id="web")

    return decided


@pytest.mark.parametrize("blocks", [False, True], ids=["allowed", "blocked"])
@pytest.mark.parametrize("seconds", [0, -90], ids=["now", "overdue"])
async def test_a_gates_timer_that_is_due_at_the_commit_fires_at_once(
    kit: RoomKit, decide: Any, seconds: float, blocks: bool
) -> None:
    """On the worker that commits, though a store leases to it the timers due by then."""
    fired = Fired()
    kit.services.timers.on("call", fired)
    begun = asyncio.get_running_loop().time()
    await decide(lambda: [kit.services.timers.make("call", after(kit, seconds))], blocks=blocks)
    await asyncio.sleep(1)
    assert fired.times == [round(begun)]
    assert await kit.store.find_timers() == []


@pytest.mark.parametrize("blocks", [False, True], ids=["allowed", "blocked"])
@pytest.mark.parametrize("owner", ["host", "plugin", "channel"])
async def test_a_gate_sets_timers_in_the_commit_of_its_decision(
    kit: RoomKit, decide: Any, owner: str, blocks: bool
) -> None:
    """They fire on time, and as `set` would have set them; no other owner gets them."""
    channel = kit.channels["web"]
    timers = {"host": kit.services, "plugin": kit.services_of("acme"), "channel": channel.services}
    handlers = {name: Fired() for name in timers}
    for name, services in timers.items():
        assert services is not None
        services.timers.on("call", handlers[name])
    chosen = timers[owner]
    assert chosen is not None
    made: Any = {"id": "c1", "room_id": "r1", "data": {"who": "ann"}, "subject": "ann"}
    due = after(kit, 90)
    await decide(lambda: [chosen.timers.make("call", due, **made)], blocks=blocks)
    await asyncio.sleep(1000)
    assert {name: each.times for name, each in handlers.items() if each.seen} == {owner: [90]}
    (_, seen) = handlers[owner].seen[0]
    assert seen == await chosen.timers.set("call", due, **made)


async def test_a_timer_that_a_gate_set_is_cancelled_by_its_own_id(kit: RoomKit, decide: Any) -> None:
    fired, timers = Fired(), kit.services.timers
    timers.on("call", fired)
    await decide(lambda: [timers.make("call", after(kit, 90), id="c1", room_id="r1")], blocks=False)
    assert await timers.cancel("c1")
    await asyncio.sleep(1000)
    assert fired.seen == []


async def test_the_same_id_replaces_a_timer(kit: RoomKit) -> None:
    fired, timers = Fired(), kit.services.timers
    timers.on("call", fired)
    await timers.set("call", after(kit, 10), id="c1", data={"n": 1})
    await timers.set("call", after(kit, 40), id="c1", data={"n": 2})
    await asyncio.sleep(100)
    assert [timer.data["n"] for _, timer in fired.seen] == [2]
    assert fired.times == [40]


async def test_a_cancelled_timer_never_fires(kit: RoomKit) -> None:
    fired, timers = Fired(), kit.services.timers
    timers.on("call", fired)
    await timers.set("call", after(kit, 10), id="c1")
    assert await timers.cancel("c1")
    assert not await timers.cancel("c1")
    await asyncio.sleep(100)
    assert fired.seen == []


async def test_a_timer_goes_with_its_room(kit: RoomKit) -> None:
    fired, timers = Fired(), kit.services.timers
    timers.on("call", fired)
    await timers.set("call", after(kit, 10), room_id="r1")
    await kit.delete_room("r1")
    with pytest.raises(RoomNotFoundError):
        await timers.set("call", after(kit, 10), room_id="r1")
    await asyncio.sleep(100)
    assert fired.seen == []


async def test_a_handler_sets_its_timer_again(kit: RoomKit) -> None:
    """By returning when; with the same data, until it returns None."""
    fired, timers = Fired(after(kit, 50), after(kit, 80)), kit.services.timers
    timers.on("call", fired)
    await timers.set("call", after(kit, 10), data={"n": 1})
    await asyncio.sleep(1000)
    assert fired.times == [10, 50, 80]
    assert {timer.data["n"] for _, timer in fired.seen} == {1}


async def test_a_failing_handler_is_called_again_later_each_time(kit: RoomKit) -> None:
    """After 60 s, doubling to an hour; a success starts over."""
    failures = [ValueError("no")] * 9
    fired, timers = Fired(*failures, after(kit, 20_000), ValueError("again")), kit.services.timers
    timers.on("call", fired)
    await timers.set("call", after(kit, 0))
    await asyncio.sleep(30_000)
    pauses = [later - earlier for earlier, later in zip(fired.times, fired.times[1:], strict=False)]
    assert pauses[:9] == [60, 120, 240, 480, 960, 1920, 3600, 3600, 3600]
    assert fired.times[10] == 20_000
    assert fired.times[11] == 20_060


async def test_a_handler_that_hangs_is_cut_and_others_get_their_turn(kit: RoomKit) -> None:
    """It has the time of a delivery; then it has failed, and is called again."""
    ends: list[float] = []

    async def hangs(timer: Timer) -> None:
        try:
            await asyncio.sleep(1e6)
        finally:
            ends.append(round(asyncio.get_running_loop().time()))

    other = Fired()
    kit.services.timers.on("hang", hangs)
    kit.services.timers.on("call", other)
    await kit.services.timers.set("hang", after(kit, 1))
    await kit.services.timers.set("call", after(kit, 2))
    await asyncio.sleep(100)
    assert ends[0] == 31
    assert other.times == [31]


@pytest.mark.parametrize(
    "answer", [3, "soon", datetime(2040, 1, 1)], ids=["a number", "text", "naive"]
)  # the fault
async def test_a_wrong_answer_is_a_failure(kit: RoomKit, answer: Any) -> None:
    """The timer is kept, and its handler called again."""
    fired = Fired(answer)
    kit.services.timers.on("call", fired)
    await kit.services.timers.set("call", after(kit, 0))
    await asyncio.sleep(100)
    assert fired.times == [0, 60]


async def test_owners_have_kinds_and_ids_of_their_own(kit: RoomKit) -> None:
    """Two channels of one class, a plugin and the host do not fire, see or cancel each other's timers."""
    channels = [RecordingChannel("one"), RecordingChannel("two")]
    for channel in channels:
        kit.register_channel(channel)
    everyone = [kit.services, kit.services_of("acme"), *(each.services for each in channels)]
    handlers = []
    for number, services in enumerate(everyone):
        assert services is not None
        handlers.append(Fired())
        services.timers.on("call", handlers[-1])
        await services.timers.set("call", after(kit, 10 + number), id="t", data={"n": number})
        with pytest.raises(InvalidInputError, match="have a handler already"):
            services.timers.on("call", Fired())
    assert await kit.services_of("acme").timers.cancel("t")
    await asyncio.sleep(100)
    assert [[timer.data["n"] for _, timer in each.seen] for each in handlers] == [[0], [], [2], [3]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"due": NAIVE}, "time zone"),
        ({"data": {"x": "y" * 20_000}}, "16384 bytes"),
        ({"kind": ""}, "cannot name a timer"),
        ({"kind": "k" * 2000}, "cannot be stored"),
        ({"id": "\0"}, "cannot be stored"),
    ],
)
async def test_what_cannot_be_a_timer_is_refused(kit: RoomKit, fields: Any, words: str) -> None:
    given = {"kind": "call", "due": after(kit, 1), **fields}
    kind, due = given.pop("kind"), given.pop("due")
    with pytest.raises(InvalidInputError, match=words):
        kit.services.timers.make(kind, due, **given)
    with pytest.raises(InvalidInputError, match=words):
        await kit.services.timers.set(kind, due, **given)
    assert await kit.store.find_timers() == []


async def test_a_timer_outlives_its_worker() -> None:
    """Killed before or while it fires, another worker that knows the kind fires it."""
    store, fired = SharedStore(), Fired()
    first = worker(store)
    await first.start()
    started = asyncio.Event()

    async def dies(timer: Timer) -> None:
        started.set()
        await asyncio.sleep(1e6)

    first.services.timers.on("call", dies)
    await first.services.timers.set("call", after(first, 5), id="c1")
    await started.wait()
    first._kernel.ground.lease.revoke()  # as if it was killed: nothing of it is stored any more
    for task in [*first._kernel.ground.supervisor._services, *first._kernel.ground.supervisor._tasks]:
        task.cancel()
    stranger, second = worker(store), worker(store)
    async with stranger, second:
        second.services.timers.on("call", fired)
        await asyncio.sleep(3 * LEASE)
        assert [timer.id for _, timer in fired.seen] == ["c1"]
        assert fired.times[0] <= 5 + 2 * LEASE + 5


async def test_a_kind_that_no_worker_knows_waits_and_is_reported() -> None:
    """After an hour, once; it fires when a worker comes that has a handler."""
    store, reported = SharedStore(), []
    async with worker(store) as kit:
        await kit.services.timers.set("call", after(kit, 10), id="c1")
        kit.on("timer_unclaimed")(_keep(reported))
        await asyncio.sleep(3000)
        assert reported == []
        await asyncio.sleep(6000)
        assert [event.data for event in reported] == [{"timer_id": "app.c1", "timer_kind": "app.call"}]
        fired = Fired()
        kit.services.timers.on("call", fired)
        await asyncio.sleep(LEASE)
        assert [timer.id for _, timer in fired.seen] == ["c1"]


def _keep(events: list[Any]) -> Any:
    async def keep(event: Any) -> None:
        events.append(event)

    return keep


async def test_a_channel_that_is_unregistered_leaves_its_timers() -> None:
    """They wait for a worker where it is registered."""
    store, fired = SharedStore(), Fired()
    async with worker(store) as kit:
        for _ in range(2):
            channel = RecordingChannel("ws")
            kit.register_channel(channel)
            assert channel.services is not None
            channel.services.timers.on("call", fired)
            await channel.services.timers.set("call", after(kit, 10), id="c1")
            await kit.unregister_channel("ws")
            await asyncio.sleep(100)
            assert fired.seen == []
        kit.register_channel(channel := RecordingChannel("ws"))
        assert channel.services is not None
        channel.services.timers.on("call", fired)
        await asyncio.sleep(LEASE)
        assert len(fired.seen) == 1


async def test_a_timer_that_kills_its_workers_becomes_dead() -> None:
    """After three starts without an outcome: kept, fired no more, and fired again when it is revived."""
    store, fired, dead = SharedStore(), Fired(), []
    async with worker(store, max_claims=1) as kit:
        kit.on("timer_dead")(_keep(dead))
        await kit.services.timers.set("call", after(kit, 1), id="c1", data={"n": 1})
        (timer,) = await store.find_timers()
        data = {**timer.data, "begun": 3}
        await store.set_timer(timer.replace(claims=2, data=data))
        kit.services.timers.on("call", fired)
        await asyncio.sleep(100)
        (kept,) = await store.find_timers(DEAD)
        assert fired.seen == []
        assert kept.is_dead
        assert [event.data for event in dead] == [{"timer_id": "app.c1", "timer_kind": "app.call"}]
        await store.set_timer(kept.revived(kit.clock.now()))
        await asyncio.sleep(LEASE)
        assert [(each.id, each.data) for _, each in fired.seen] == [("c1", {"n": 1})]
        assert await store.find_timers() == []
