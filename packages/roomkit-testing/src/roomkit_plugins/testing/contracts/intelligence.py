"""The contract suite of intelligences: channels that answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any

import pytest

from roomkit.abc.channel import Channel
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore
from roomkit.models.channel import ChannelBinding
from roomkit.models.content import text_of
from roomkit.models.context import RoomContext
from roomkit.models.enums import ChannelCategory, EventStatus, EventType, HookTrigger
from roomkit.models.event import RoomEvent
from roomkit.models.hook import is_gate
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.room import Room
from roomkit.plugins import PluginManager
from roomkit_plugins.testing.cancellation import Cancellation, cancel_at_every_await
from roomkit_plugins.testing.contracts.base import ContractSuite, close, event, make, message
from roomkit_plugins.testing.mocks.channels import RecordingChannel
from roomkit_plugins.testing.virtual_time import VirtualClock

__all__ = ["IntelligenceContract"]

_ROOM = "room"
_LONG = 3_600.0
"""Seconds of virtual time in which everything has happened that will."""


class _Scene:
    """A kit with one room: a person, and the intelligence under test."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.store = InMemoryStore()
        self.kit = RoomKit(self.store, clock=VirtualClock(), plugins=PluginManager(entry_points=()))
        self.noticed: list[object] = []  # bound: one test
        """What anyone outside could notice: signals, and calls of observers."""

    async def open(self) -> None:
        kit = self.kit
        kit.register_channel(RecordingChannel("sender", streaming=True))
        kit.register_channel(self.channel)
        await kit.create_room(_ROOM)
        await kit.attach_channel(_ROOM, "sender")
        await kit.attach_channel(_ROOM, self.channel.channel_id)
        await kit.ensure_participant(_ROOM, "sender", "sender")
        await kit.services.realtime.subscribe_to_room(_ROOM, self._signalled)
        for trigger in HookTrigger:
            if not is_gate(trigger):
                kit.hook(trigger)(self._observed)

    async def _signalled(self, signal: EphemeralEvent) -> None:
        self.noticed.append(signal)

    async def _observed(self, payload: object, context: RoomContext) -> None:
        self.noticed.append(payload)

    async def ask(self, text: str) -> str:
        """Have a message answered; return the answer."""
        await self.kit.process_inbound(message(text, channel_id="sender"), room_id=_ROOM)
        return await self.answer()

    async def answer(self) -> str:
        """Return what the intelligence said last."""
        said = [
            event for event in await self.timeline() if event.source.channel_id == self.channel.channel_id
        ]
        return text_of(said[-1].content) if said else ""

    async def timeline(self) -> list[RoomEvent]:
        events = await self.kit.get_timeline(_ROOM, limit=1_000)
        return [
            each
            for each in events
            if each.type is EventType.MESSAGE and each.status is not EventStatus.BLOCKED
        ]


class IntelligenceContract(ContractSuite):
    """What every intelligence promises: one answer to a message, and nothing once it is stopped.

    The object that `factory` makes answers each message, always alike to the same conversation. Where it can,
    let it use a tool for that, and say in `acts` what it did. Runs in virtual time.
    """

    pytestmark = pytest.mark.virtual_time

    async def acts(self, channel: Any) -> Sequence[object]:
        """Return what the intelligence did so far beside speaking, such as calls of its tools."""
        return ()

    @asynccontextmanager
    async def scene(self, factory: Callable[[], Channel | Awaitable[Channel]]) -> AsyncIterator[_Scene]:
        """Put a fresh intelligence into a room."""
        scene = _Scene(await make(factory))
        try:
            await scene.open()
            yield scene
        finally:
            await scene.kit.close()

    async def test_it_says_what_it_is(self, factory: Callable[[], Any]) -> None:
        """An intelligence, which can prepare answers or cannot."""
        channel = await make(factory)
        assert channel.category is ChannelCategory.INTELLIGENCE
        assert type(channel.speculates) is bool
        await close(channel)

    async def test_it_answers_a_message_once(self, factory: Callable[[], Any]) -> None:
        """In words, and the next one too."""
        async with self.scene(factory) as scene:
            assert await scene.ask("hello")
            assert await scene.ask("and again")
            assert len(await scene.timeline()) == 4

    async def test_it_answers_alike(self, factory: Callable[[], Any]) -> None:
        """Another object says and does the same, so that this suite can compare."""
        answers, acts = [], []
        for _ in range(2):
            async with self.scene(factory) as scene:
                answers.append([await scene.ask("hello"), await scene.ask("and again")])
                acts.append(len(await self.acts(scene.channel)))
        assert answers[0] == answers[1]
        assert acts[0] == acts[1]

    async def test_what_is_interrupted_does_nothing_more(self, factory: Callable[[], Any]) -> None:
        """At whatever await, token or tool: no word, no call, no signal after it."""
        async with self.scene(factory) as scene:
            asked = event(_ROOM, "hello", channel_id="sender")
            bound = await scene.kit.get_binding(_ROOM, scene.channel.channel_id)
            assert bound is not None

            async def check(cancellation: Cancellation) -> None:
                done, noticed = len(await self.acts(scene.channel)), len(scene.noticed)
                await asyncio.sleep(_LONG)
                assert len(await self.acts(scene.channel)) == done, cancellation
                assert len(scene.noticed) == noticed, cancellation

            await cancel_at_every_await(lambda: _turn(scene.channel, asked, bound), check)
            assert await scene.ask("hello")

    # -- answers prepared before their message is committed ---------------------------------------

    @pytest.fixture
    async def able(self, factory: Callable[[], Any]) -> Callable[[], Any]:
        """Skip tests of speculation, unless the intelligence can do that."""
        channel = await make(factory)
        can = channel.speculates
        await close(channel)
        if not can:
            pytest.skip("it is asked about committed messages only")
        return factory

    async def test_a_speculative_turn_has_no_effect(self, able: Callable[[], Any]) -> None:
        """However long it waits, and also if it is withdrawn."""
        async with self.scene(able) as scene:
            scene.noticed.clear()
            before = await scene.store.load(_ROOM)
            assert before is not None
            state, timeline = before.room, await scene.timeline()
            speculation = await scene.kit.services.turns.speculate(
                _ROOM, message("hello", channel_id="sender")
            )
            assert speculation.withdrawn is None
            for _ in range(2):
                await asyncio.sleep(_LONG / 10)
                assert not await self.acts(scene.channel)
                assert not scene.noticed
                after = await scene.store.load(_ROOM)
                assert after is not None
                assert (after.room, await scene.timeline()) == (state, timeline)
                await speculation.withdraw()

    async def test_a_confirmed_turn_is_the_turn_it_would_have_been(self, able: Callable[[], Any]) -> None:
        """The same words, the same acts, once."""
        async with self.scene(able) as scene:
            expected = [await scene.ask("hello"), await scene.ask("and again")]
            acts = len(await self.acts(scene.channel))
        for wait in (0.0, _LONG / 10):
            async with self.scene(able) as scene:
                assert await scene.ask("hello") == expected[0]
                asked = message("and again", channel_id="sender")
                speculation = await scene.kit.services.turns.speculate(_ROOM, asked)
                await asyncio.sleep(wait)
                await speculation.confirm(asked, wait="settled")
                assert speculation.withdrawn is None
                assert await scene.answer() == expected[1]
                assert len(await scene.timeline()) == 4
                assert len(await self.acts(scene.channel)) == acts

    async def test_a_withdrawn_turn_is_forgotten(self, able: Callable[[], Any]) -> None:
        """The next message is answered as if it had never been."""
        async with self.scene(able) as scene:
            expected = await scene.ask("something else")
            acts = len(await self.acts(scene.channel))
        for wait in (0.0, _LONG / 10):
            async with self.scene(able) as scene:
                speculation = await scene.kit.services.turns.speculate(
                    _ROOM, message("hello", channel_id="sender")
                )
                await asyncio.sleep(wait)
                await speculation.withdraw()
                assert await scene.ask("something else") == expected
                assert len(await self.acts(scene.channel)) == acts


async def _turn(channel: Channel, asked: RoomEvent, bound: ChannelBinding) -> None:
    """Ask the intelligence as the kit does, and read its whole answer."""
    context = RoomContext(Room(id=_ROOM), (bound,), (), (asked,), reader=bound)
    output = await channel.on_event(asked, bound, context)
    stream: Any = output.response_stream
    if stream is not None:
        async with aclosing(stream):
            async for _ in stream:
                pass
