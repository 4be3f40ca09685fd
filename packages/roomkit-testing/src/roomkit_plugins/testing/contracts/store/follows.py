"""The store's contract: followers of a room see what any worker commits, once and in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any, override

import pytest

from roomkit.abc.channel import Channel
from roomkit.abc.errors import FollowEndedError
from roomkit.abc.locks import RoomLockManager
from roomkit.abc.realtime import RealtimeBackend
from roomkit.abc.services import Excerpt, Follow, Piece
from roomkit.abc.store import ConversationStore
from roomkit.kernel.kit import RoomKit
from roomkit.memory.locks import InMemoryLockManager
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.channel import ChannelBinding, ChannelOutput
from roomkit.models.content import TextContent, text_of
from roomkit.models.context import RoomContext
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access, ChannelType, DeliveryState, EventType
from roomkit.models.event import RoomEvent
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.room import Room
from roomkit.plugins import PluginManager
from roomkit_plugins.testing.contracts.base import PATIENCE
from roomkit_plugins.testing.contracts.store.base import StoreSuite
from roomkit_plugins.testing.mocks.channels import ScriptedIntelligence

__all__ = ["FollowsContract", "LossyRealtime", "Screen", "SharedChannel"]

_MANY = 12


class SharedChannel(Channel):
    """A channel whose live things may be on any worker, and follow their rooms."""

    channel_type = ChannelType.WEBSOCKET
    follows_rooms = True
    delivers_to_source = True

    @property
    @override
    def supports_streaming_delivery(self) -> bool:
        return True

    @override
    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        raise AssertionError("a channel that follows rooms is not asked to deliver")


class LossyRealtime(InMemoryRealtime):
    """A backend of several kits that loses, doubles and reorders signals, as `seed` says; by default none."""

    def __init__(self, seed: int | None = None) -> None:
        super().__init__(max_queue_size=10_000)
        self.chance = None if seed is None else random.Random(seed)
        """What loses signals; None: nothing is lost from now on."""
        self._late: list[tuple[str, EphemeralEvent]] = []

    @property
    @override
    def is_process_local(self) -> bool:
        return False

    @override
    async def publish(self, channel: str, event: EphemeralEvent) -> None:
        chance = 1.0 if self.chance is None else self.chance.random()
        if chance < 0.2:
            return
        if chance < 0.5:
            self._late.append((channel, event))
            return
        await super().publish(channel, event)
        if chance < 0.7:
            await super().publish(channel, event.replace(id=f"{event.id} again"))
        late, self._late = self._late, []
        for each in late:
            await super().publish(*each)

    @override
    async def close(self) -> None:
        """Stay open for the other kits."""


class Screen:
    """What one follower was shown; closed, it does not get to the end of what it shows."""

    def __init__(self) -> None:
        self.events: list[RoomEvent] = []
        self.pieces: list[Piece] = []
        self.is_open = asyncio.Event()
        self.is_open.set()
        self.cancelled = 0
        self._changed = asyncio.Event()

    def follow(self, kit: RoomKit, room_id: str, channel_id: str = "web", **options: Any) -> Follow:
        """Follow a room."""
        return kit.services.homes.follow(room_id, channel_id, self.show, pieces=self.show_piece, **options)

    async def show(self, event: RoomEvent) -> None:
        """Take an event."""
        try:
            await self.is_open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        self.events.append(event)
        self._changed.set()

    async def show_piece(self, piece: Piece) -> None:
        """Take a piece of an answer."""
        self.pieces.append(piece)
        self._changed.set()

    @property
    def texts(self) -> list[str]:
        """The words of the messages."""
        return [text_of(event.content) for event in self.events if event.type is EventType.MESSAGE]

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the shown events meet a condition."""
        async with asyncio.timeout(PATIENCE):
            while not condition():
                self._changed.clear()
                await self._changed.wait()

    async def sees(self, text: str, times: int = 1) -> None:
        """Wait until it was shown a message of that text."""
        await self.until(lambda: self.texts.count(text) == times)


class FollowsContract(StoreSuite):
    """Kits on the store and, where other processes can share it, on the other one."""

    @pytest.fixture
    def realtime(self) -> RealtimeBackend:
        """Return the backend that the kits share."""
        return LossyRealtime()

    @pytest.fixture
    async def kits(
        self, store: ConversationStore, other: ConversationStore, realtime: RealtimeBackend, room: Room
    ) -> AsyncIterator[list[RoomKit]]:
        """Return two workers; the same one twice where the data cannot be shared."""
        locks = InMemoryLockManager()
        kits = [_kit(store, locks, realtime)]
        if not store.is_process_local:
            kits.append(_kit(other, locks, realtime))
        for kit in kits:
            await kit.start()
        await kits[0].attach_channel(room.id, "web")
        yield [kits[0], kits[-1]]
        for kit in kits:
            await kit.close()

    @pytest.mark.parametrize("seed", [None, 1, 2])
    async def test_every_follower_sees_each_event_once_and_in_order(
        self, store: ConversationStore, other: ConversationStore, room: Room, seed: int | None
    ) -> None:
        """On every worker; signals of other workers may be lost, duplicated and reordered."""
        realtime, locks = LossyRealtime(seed), InMemoryLockManager()
        kits = [_kit(each, locks, realtime) for each in (store, other)]
        if store.is_process_local:
            kits = kits[:1]
        for kit in kits:
            await kit.start()
        await kits[0].attach_channel(room.id, "web")
        screens = [Screen() for _ in range(4)]
        follows = [screen.follow(kit, room.id) for screen, kit in zip(screens, kits * 4, strict=False)]
        for follow in follows:
            await follow.begun()

        async def talk(kit: RoomKit, name: int) -> None:
            for number in range(_MANY):
                await _say(kit, room.id, f"{name}.{number}")

        async with asyncio.TaskGroup() as group:
            for name, kit in enumerate(kits):
                group.create_task(talk(kit, name))
        realtime.chance = None
        for kit in kits:  # which shows the lost ones
            await _say(kit, room.id, "the end")
        for screen in screens:
            await screen.sees("the end", times=len(kits))
        timeline = await kits[0].get_timeline(room.id, limit=1000, as_channel="web")
        said = [event.id for event in timeline if event.type is EventType.MESSAGE]
        assert len(said) == (_MANY + 1) * len(kits)
        assert all([event.id for event in screen.events] == said for screen in screens)
        for kit in kits:
            await kit.close()

    async def test_a_follower_begins_after_the_index_it_names(self, kits: list[RoomKit], room: Room) -> None:
        """It is shown what it missed, then what happens; nothing twice."""
        first, second = kits
        await _say(first, room.id, "one", "two", "three")
        index = next(
            event.index for event in await first.get_timeline(room.id) if text_of(event.content) == "one"
        )
        resumed, fresh = Screen(), Screen()
        resumed.follow(second, room.id, after=index)
        await fresh.follow(second, room.id).begun()
        await _say(first, room.id, "four")
        await fresh.sees("four")
        await resumed.sees("four")
        assert resumed.texts == ["two", "three", "four"]
        assert fresh.texts == ["four"]

    async def test_a_slow_follower_holds_up_no_other(self, kits: list[RoomKit], room: Room) -> None:
        first, second = kits
        slow, quick = Screen(), Screen()
        slow.is_open.clear()
        for screen in (slow, quick):
            await screen.follow(second, room.id).begun()
        texts = [str(number) for number in range(2 * _MANY)]
        await _say(first, room.id, *texts)
        await quick.sees(texts[-1])
        assert (slow.texts, quick.texts) == ([], texts)
        slow.is_open.set()
        await slow.sees(texts[-1])
        assert slow.texts == texts

    async def test_a_stopped_follower_is_shown_nothing_more(self, kits: list[RoomKit], room: Room) -> None:
        """What it is being shown is cancelled; the others go on."""
        first, second = kits
        stopped, other = Screen(), Screen()
        stopped.is_open.clear()
        follow = stopped.follow(second, room.id)
        await other.follow(second, room.id).begun()
        await follow.begun()
        await _say(first, room.id, "one")
        await other.sees("one")
        follow.stop()
        follow.stop()
        await follow.wait()
        await _say(first, room.id, "two")
        await other.sees("two")
        assert (stopped.events, stopped.cancelled) == ([], 1)

    async def test_only_what_the_channel_may_see_is_shown(self, kits: list[RoomKit], room: Room) -> None:
        """As a delivery would; a change of rights on any worker holds from then on."""
        first, second = kits
        screen, revoked = Screen(), asyncio.Event()

        def note(excerpt: Excerpt | None) -> None:
            if excerpt is not None and excerpt.binding.access is Access.WRITE_ONLY:
                revoked.set()

        await screen.follow(second, room.id, changed=note).begun()
        await _say(first, room.id, "hidden", visibility="internal")
        await _say(first, room.id, "shown")
        await screen.sees("shown")
        await first.set_access(room.id, "web", Access.WRITE_ONLY)
        async with asyncio.timeout(PATIENCE):
            await revoked.wait()
        await _say(second, room.id, "unread")
        assert screen.texts == ["shown"]
        await first.set_access(room.id, "web", Access.READ_WRITE)
        await _say(second, room.id, "read")
        await screen.sees("read")
        assert "hidden" not in screen.texts

    @pytest.mark.parametrize("how", ["detached", "deleted"])
    async def test_the_loss_of_the_room_ends_a_follower(
        self, kits: list[RoomKit], room: Room, how: str
    ) -> None:
        """On any worker."""
        first, second = kits
        lost: list[object] = []
        follow = Screen().follow(second, room.id, changed=lost.append)
        await follow.begun()
        if how == "detached":
            await first.detach_channel(room.id, "web")
        else:
            await first.delete_room(room.id)
        with pytest.raises(FollowEndedError) as ended:
            async with asyncio.timeout(PATIENCE):
                await follow.wait()
        assert ended.value.reason == "room_not_found"
        assert lost[-1] is None

    async def test_an_answer_grows_on_every_worker(self, kits: list[RoomKit], room: Room) -> None:
        """In order, and ends with its event."""
        first = kits[0]
        answer = "word " * 20
        first.register_channel(ScriptedIntelligence("agent", [answer], streaming=True))
        await first.attach_channel(room.id, "agent")
        screens = [Screen(), Screen()]
        for screen, kit in zip(screens, kits, strict=True):
            await screen.follow(kit, room.id).begun()
        await _say(first, room.id, "?")
        for screen in screens:
            await screen.sees(answer)
            pieces = screen.pieces
            assert {piece.stream_id for piece in pieces} == {screen.events[-1].id}
            assert "".join(piece.text for piece in pieces) == answer
            assert [piece.error for piece in pieces if piece.error] == []

    async def test_a_delivery_is_sent_once_it_is_announced(self, kits: list[RoomKit], room: Room) -> None:
        await _say(kits[0], room.id, "one")
        rows = await kits[0].list_deliveries(room.id, channel_id="web")
        assert [row.state for row in rows] == [DeliveryState.SENT] * len(rows) != []

    async def test_closing_the_kit_ends_its_followers(
        self, kits: list[RoomKit], room: Room, store: ConversationStore
    ) -> None:
        """With the index to go on from."""
        screen = Screen()
        follow = screen.follow(kits[1], room.id)
        await follow.begun()
        await _say(kits[1], room.id, "one")
        await kits[1].close()
        with pytest.raises(FollowEndedError) as ended:
            await follow.wait()
        assert screen.texts == ["one"]
        assert (ended.value.reason, ended.value.index) == ("kit_closed", screen.events[-1].index)


def _kit(store: ConversationStore, locks: RoomLockManager, realtime: RealtimeBackend) -> RoomKit:
    kit = RoomKit(
        store=store,
        lock_manager=locks,
        realtime=realtime,
        plugins=PluginManager(entry_points=()),
        single_process=True,
    )
    kit.register_channel(SharedChannel("web"))
    return kit


async def _say(kit: RoomKit, room_id: str, *texts: str, **options: Any) -> None:
    for text in texts:
        await kit.send_event(room_id, "system", TextContent(body=text), **options)
