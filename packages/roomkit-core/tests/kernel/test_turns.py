"""What a message of several workers needs: the turn of its own process, or the lock of them all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from itertools import count
from typing import Any, override

import pytest

from roomkit.abc.locks import RoomLockManager
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import HookTrigger, RoomStatus
from roomkit.models.event import RoomEvent
from roomkit.models.hook import HookResult
from roomkit.plugins import PluginManager
from roomkit_plugins.testing import RecordingChannel, ScriptedIntelligence


class Server:
    """The locks that several managers share."""

    def __init__(self) -> None:
        self.locks = InMemoryLockManager()
        self.tokens = count(1)


class WorkerLocks(RoomLockManager):
    """One worker's part of a server's locks; `asked` counts its requests."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._turns = InMemoryLockManager()
        self.asked = 0

    @asynccontextmanager
    async def locked(self, room_id: str) -> AsyncIterator[int]:
        async with self._turns.locked(room_id):
            self.asked += 1
            async with self._server.locks.locked(room_id):
                yield next(self._server.tokens)

    @override
    def turn(self, room_id: str) -> AbstractAsyncContextManager[None]:
        return self._turns.locked(room_id)


class Arrivals:
    """The deliveries, by any worker, in order."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._changed = asyncio.Event()

    def add(self, text: str) -> None:
        self.texts.append(text)
        self._changed.set()

    async def reach(self, number: int) -> None:
        """Wait until so many have arrived."""
        while len(self.texts) < number:
            self._changed.clear()
            await self._changed.wait()


class Arriving(RecordingChannel):
    """A transport whose deliveries are noted in one list for all workers."""

    def __init__(self, channel_id: str, arrivals: Arrivals) -> None:
        super().__init__(channel_id)
        self._arrivals = arrivals

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        await asyncio.sleep(0)
        self._arrivals.add(text_of(event.content))
        return ChannelOutput.empty()


class Slow(RecordingChannel):
    """A transport whose parse waits until it may go on."""

    def __init__(self, channel_id: str) -> None:
        super().__init__(channel_id)
        self.parsing = asyncio.Event()
        self.may_go_on = asyncio.Event()
        self.parsed = 0

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        self.parsed += 1
        self.parsing.set()
        await self.may_go_on.wait()
        return await super().handle_inbound(message, context)


type Workers = Sequence[tuple[RoomKit, WorkerLocks]]


@pytest.fixture
async def workers(store: ConversationStore) -> AsyncIterator[Workers]:
    """Return two workers with the room `r1`, and alice and bob in it, who have spoken before."""
    plugins = PluginManager(entry_points=())
    server, realtime, handle = Server(), InMemoryRealtime(), store
    other = store if isinstance(store, InMemoryStore) else _opened_again(handle)
    made: list[tuple[RoomKit, WorkerLocks]] = []
    async with AsyncExitStack() as stack:
        for each in (store, other):
            locks = WorkerLocks(server)
            kit = RoomKit(
                store=each, lock_manager=locks, realtime=realtime, single_process=True, plugins=plugins
            )
            for name in ("alice", "bob"):
                kit.register_channel(RecordingChannel(name))
            stack.push_async_callback(kit.close)
            made.append((kit, locks))
        first = made[0][0]
        await first.create_room("r1")
        for name in ("alice", "bob"):
            await first.attach_channel("r1", name)
            await say(first, "hello", name)
        for kit, locks in made:
            await kit.start()
            locks.asked = 0
        yield made


def _opened_again(store: Any) -> ConversationStore:
    made: ConversationStore = type(store)(store.config)
    return made


async def say(kit: RoomKit, text: str, by: str = "alice", **fields: Any) -> Any:
    message = InboundMessage(channel_id=by, sender_id=by, content=TextContent(body=text), **fields)
    return await kit.process_inbound(message, room_id="r1")


async def spoken(kit: RoomKit) -> list[RoomEvent]:
    events = await kit.get_timeline("r1", limit=1000)
    return [event for event in events if isinstance(event.content, TextContent)]


async def test_a_message_that_no_gate_judges_asks_for_no_lock(workers: Workers) -> None:
    """With an observer, with an idempotency key, and by either worker."""
    for kit, locks in workers:
        kit.hook(HookTrigger.AFTER_BROADCAST)(_observing)
        await say(kit, "one")
        await say(kit, "two", idempotency_key=f"key {id(locks)}")
        await kit.send_event("r1", "bob", TextContent(body="three"))
        assert locks.asked == 0


async def _observing(event: RoomEvent, context: RoomContext) -> None:
    return None


async def _gated(kit: RoomKit) -> None:
    @kit.hook(HookTrigger.BEFORE_BROADCAST)
    async def gate(event: RoomEvent, context: RoomContext) -> HookResult:
        return HookResult.allow()

    await say(kit, "judged")


async def _edit(kit: RoomKit) -> None:
    await kit.edit_event("r1", (await spoken(kit))[0].id, TextContent(body="changed"))


async def _newcomer(kit: RoomKit) -> None:
    message = InboundMessage(channel_id="alice", sender_id="new", content=TextContent(body="x"))
    await kit.process_inbound(message, room_id="r1")


async def _to_an_agent(kit: RoomKit) -> None:
    kit.register_channel(ScriptedIntelligence("bot", ["answer"]))
    await kit.attach_channel("r1", "bot")
    await say(kit, "question")


async def _to_a_paused_room(kit: RoomKit) -> None:
    room = await kit.store.get_room("r1")
    assert room is not None
    await kit.store.update_room(room.replace(status=RoomStatus.PAUSED))
    await say(kit, "on with it")


@pytest.mark.parametrize("act", [_gated, _edit, _newcomer, _to_an_agent, _to_a_paused_room])
async def test_what_other_workers_could_come_between_is_written_under_the_lock(
    workers: Workers, act: Callable[[RoomKit], Awaitable[None]]
) -> None:
    kit, locks = workers[0]
    before = len(await spoken(kit))
    await act(kit)
    assert locks.asked
    assert len(await spoken(kit)) >= before


@pytest.mark.parametrize("in_memory", [True, False], ids=["in memory", "loaded"])
@pytest.mark.parametrize(
    ("change", "refused"),
    [
        (lambda kit: kit.close_room("r1"), True),
        (lambda kit: kit.mute("r1", "alice"), True),
        (lambda kit: kit.mute("r1", "bob"), False),
    ],
    ids=["room closed", "sender muted", "recipient muted"],
)
async def test_a_room_that_another_worker_changed_is_loaded_again(
    workers: Workers, change: Callable[[RoomKit], Awaitable[object]], refused: bool, in_memory: bool
) -> None:
    """Nothing is committed to the room as it was when the message was parsed.

    A message that was decided on the room in memory is decided again on the room as it is loaded; if that
    changes again, it takes the lock.
    """
    first, second = workers if in_memory else reversed(workers)
    kit, locks = first
    slow = Slow("alice")
    await kit.unregister_channel("alice")
    kit.register_channel(slow)
    waiting = asyncio.create_task(say(kit, "late"))
    await slow.parsing.wait()
    await change(second[0])
    slow.may_go_on.set()
    result = await waiting
    is_shared = not isinstance(kit.store, InMemoryStore)  # whose records are always the newest
    assert (slow.parsed, locks.asked) == (1 + (is_shared and in_memory), is_shared and not in_memory)
    assert result.blocked == refused


async def test_messages_of_two_workers_at_once_are_each_committed_and_delivered_once_in_order(
    workers: Workers,
) -> None:
    """Each worker's own in the order that it was given them, on one timeline without a gap."""
    each = 15
    arrivals = Arrivals()
    for kit, _ in workers:
        await kit.unregister_channel("bob")
        kit.register_channel(Arriving("bob", arrivals))

    async def speak(number: int) -> None:
        kit = workers[number][0]
        for place in range(each):
            assert not (await say(kit, f"{number}:{place}")).blocked

    await asyncio.gather(*map(speak, range(2)))
    kit = workers[0][0]
    events = [event for event in await spoken(kit) if ":" in text_of(event.content)]
    assert [event.index for event in events] == list(range(events[0].index, events[0].index + 2 * each))
    said = [text_of(event.content) for event in events]
    for number in range(2):
        assert [text for text in said if text[0] == str(number)] == [
            f"{number}:{place}" for place in range(each)
        ]
    async with asyncio.timeout(30):
        await arrivals.reach(2 * each)
    if isinstance(kit.store, InMemoryStore):  # where each worker has lanes of its own
        assert sorted(arrivals.texts) == sorted(said)
    else:
        assert arrivals.texts == said
    assert [locks.asked for _, locks in workers] == [0, 0]
