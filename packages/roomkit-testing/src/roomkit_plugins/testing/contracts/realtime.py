"""The contract suite of realtime backends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given

from roomkit.abc.realtime import RealtimeBackend
from roomkit.models.base import new_id
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing.contracts.base import ContractSuite, make
from roomkit_plugins.testing.contracts.strategies import PROPERTY, records
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["RealtimeBackendContract"]

PATIENCE = 10.0
SILENCE = 15.0
"""Seconds after which a connection without a sign of life has been replaced."""


class RealtimeBackendContract(ContractSuite):
    """Publish and subscribe: in order, to all subscribers, none of which slows down another."""

    @pytest.fixture
    def backend(self, subject: RealtimeBackend) -> RealtimeBackend:
        """Return the backend under test."""
        return subject

    @pytest.fixture
    def topic(self) -> str:
        """Return a topic of the test's own."""
        return new_id()

    @property
    def queue_size(self) -> int:
        """How many events a slow subscription holds before the oldest are dropped."""
        return 100

    @property
    def reaches_others(self) -> bool:
        """Whether the subscribers of one backend see what another of the factory's publishes."""
        return False

    @property
    def large_event(self) -> int:
        """How many characters of text an event has that must still arrive."""
        return 100_000

    async def test_a_subscriber_sees_events_in_the_order_published(
        self, backend: RealtimeBackend, topic: str
    ) -> None:
        ear = Ear(expected=50)
        await backend.subscribe(topic, ear)
        published = [signal(data={"number": number}) for number in range(50)]
        for event in published:
            await backend.publish(topic, event)
        assert await ear.heard_all() == published

    @PROPERTY
    @given(event=records(EphemeralEvent))
    async def test_every_field_arrives(self, backend: RealtimeBackend, event: EphemeralEvent) -> None:
        """Subscribers see each published field."""
        topic, ear = new_id(), Ear()
        subscription = await backend.subscribe(topic, ear)
        await backend.publish(topic, event)
        assert await ear.heard_all() == [event]
        await backend.unsubscribe(subscription)

    async def test_every_subscriber_of_the_topic_sees_it_and_nobody_else(
        self, backend: RealtimeBackend, topic: str
    ) -> None:
        """Topics are apart, whatever their names have in common."""
        ears = [Ear(), Ear()]
        for ear in ears:
            await backend.subscribe(topic, ear)
        strangers = {name: Ear() for name in (f"{topic}x", topic[:-1], f"room:{topic}", f"{topic}*")}
        for name, ear in strangers.items():
            await backend.subscribe(name, ear)
        event = signal()
        await backend.publish(topic, event)
        for ear in ears:
            assert await ear.heard_all() == [event]
        await self.settle()
        assert not any(ear.heard for ear in strangers.values())

    async def test_rooms_have_topics_of_their_own(self, backend: RealtimeBackend) -> None:
        """`publish_to_room` reaches `subscribe_to_room` of that room only."""
        here, there = Ear(), Ear()
        room = new_id()
        await backend.subscribe_to_room(room, here)
        await backend.subscribe_to_room(new_id(), there)
        event = signal()
        await backend.publish_to_room(room, event)
        assert await here.heard_all() == [event]
        await self.settle()
        assert not there.heard

    async def test_topics_may_have_any_name(self, backend: RealtimeBackend) -> None:
        """Long ones and strange ones are topics of their own, however alike they look."""
        prefix = new_id()
        endings = [
            "",
            " ",
            "ro\x00om",
            "ROOM",
            "room",
            "räum",
            "ra\u0308um",
            '"; --',
            "*",
            "r" * 300,
            "r" * 301,
        ]
        ears = {prefix + ending: Ear() for ending in endings}
        for name, ear in ears.items():
            await backend.subscribe(name, ear)
        events = {name: signal() for name in ears}
        for name, event in events.items():
            await backend.publish(name, event)
        for name, ear in ears.items():
            assert await ear.heard_all() == [events[name]]
        await self.settle()
        assert all(len(ear.heard) == 1 for ear in ears.values())

    async def test_large_events_arrive_in_their_place(self, backend: RealtimeBackend, topic: str) -> None:
        """Whole, and in order with the small ones around them."""
        ear = Ear(expected=5)
        await backend.subscribe(topic, ear)
        text = "ä\x00\U0001f600'\\" * (self.large_event // 5)
        published = [signal(data={"text": each}) for each in ("small", text, "", text[1:], "small")]
        for event in published:
            await backend.publish(topic, event)
        assert await ear.heard_all() == published

    async def test_concurrent_publications_all_arrive(self, backend: RealtimeBackend, topic: str) -> None:
        """Each of them once, also when two are the same."""
        ears = [Ear(expected=20), Ear(expected=20)]
        for ear in ears:
            await backend.subscribe(topic, ear)
        published = [signal() for _ in range(20)]
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*(backend.publish(topic, event) for event in published))
        for ear in ears:
            heard = await ear.heard_all()
            assert sorted(event.id for event in heard) == sorted(event.id for event in published)

    async def test_others_subscribers_see_it_too(
        self,
        backend: RealtimeBackend,
        topic: str,
        factory: Callable[[], RealtimeBackend | Awaitable[RealtimeBackend]],
    ) -> None:
        """Once, and in order: its own subscribers, and those of another backend."""
        if not self.reaches_others:
            pytest.skip("the backend is for one process, and the suite says so")
        other = await make(factory)
        ears = {backend: Ear(expected=20), other: Ear(expected=20)}
        for each, ear in ears.items():
            await each.subscribe(topic, ear)
        published = {backend: [signal() for _ in range(10)], other: [signal() for _ in range(10)]}
        for pair in zip(*published.values(), strict=True):
            for each, event in zip(published, pair, strict=True):
                await each.publish(topic, event)
        for ear in ears.values():
            heard = await ear.heard_all()
            for events in published.values():
                assert [event for event in heard if event in events] == events
        await self.settle()
        assert [len(ear.heard) for ear in ears.values()] == [20, 20]
        await other.close()

    async def test_a_topic_with_a_subscriber_says_so(
        self,
        backend: RealtimeBackend,
        topic: str,
        factory: Callable[[], RealtimeBackend | Awaitable[RealtimeBackend]],
    ) -> None:
        """Its own subscribers, and those of another backend that it reaches: else no event would be made."""
        subscribed = await make(factory) if self.reaches_others else backend
        await subscribed.subscribe(topic, Ear())
        await subscribed.subscribe_to_room(topic, Ear())
        await self.settle()
        assert backend.has_subscribers(topic)
        assert backend.has_subscribers_in_room(topic)
        if subscribed is not backend:
            await subscribed.close()

    async def test_nothing_is_replayed(self, backend: RealtimeBackend, topic: str) -> None:
        """A subscription sees later signals."""
        await backend.publish(topic, signal())
        await self.settle()
        ear = Ear()
        await backend.subscribe(topic, ear)
        event = signal()
        await backend.publish(topic, event)
        assert await ear.heard_all() == [event]

    async def test_a_hanging_subscriber_delays_nobody(self, backend: RealtimeBackend, topic: str) -> None:
        """The publisher goes on, and the others see everything."""
        stuck = asyncio.Event()

        async def hang(event: EphemeralEvent) -> None:
            await stuck.wait()

        await backend.subscribe(topic, hang)
        ear = Ear(expected=self.queue_size // 2)
        await backend.subscribe(topic, ear)
        published = [signal() for _ in range(self.queue_size // 2)]
        async with asyncio.timeout(PATIENCE):
            for event in published:
                await backend.publish(topic, event)
        assert await ear.heard_all() == published
        stuck.set()

    async def test_a_subscription_shows_one_event_at_a_time(
        self, backend: RealtimeBackend, topic: str
    ) -> None:
        """The callback is not called again before it has returned."""
        ear = Ear(expected=5, pause=True)
        await backend.subscribe(topic, ear)
        for _ in range(5):
            await backend.publish(topic, signal())
        await ear.heard_all()
        assert ear.most_at_once == 1

    async def test_beyond_its_bound_a_slow_subscriber_loses_the_oldest(
        self, backend: RealtimeBackend, topic: str
    ) -> None:
        """The newest are seen, in order, and no more than the bound are kept."""
        release = asyncio.Event()
        heard: list[int] = []
        first = asyncio.Event()

        async def slow(event: EphemeralEvent) -> None:
            first.set()
            await release.wait()
            heard.append(event.data["number"])

        await backend.subscribe(topic, slow)
        await backend.publish(topic, signal(data={"number": -1}))
        async with asyncio.timeout(PATIENCE):
            await first.wait()
            published = range(3 * self.queue_size)
            for number in published:
                await backend.publish(topic, signal(data={"number": number}))
            await self.settle()
            release.set()
            while not heard or heard[-1] != published[-1]:
                await self.settle()
        assert heard == [-1, *published[-self.queue_size :]]

    async def test_a_failing_callback_is_logged_and_ends_nothing(
        self, backend: RealtimeBackend, topic: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        calls: list[EphemeralEvent] = []

        async def fail(event: EphemeralEvent) -> None:
            calls.append(event)
            raise RuntimeError("the callback is broken")

        await backend.subscribe(topic, fail)
        ear = Ear(expected=2)
        await backend.subscribe(topic, ear)
        published = [signal(data={"text": "between us"}), signal()]
        with caplog.at_level(logging.ERROR):
            for event in published:
                await backend.publish(topic, event)
            assert await ear.heard_all() == published
            await self.settle()
        assert calls == published
        assert caplog.records
        assert "between us" not in caplog.text

    async def test_unsubscribing_ends_it(self, backend: RealtimeBackend, topic: str) -> None:
        """Once it is unsubscribed the callback is not called, not for signals that were waiting either."""
        gone, ear = Ear(), Ear()
        subscription = await backend.subscribe(topic, gone)
        await backend.subscribe(topic, ear)
        assert await backend.unsubscribe(subscription) is True
        assert await backend.unsubscribe(subscription) is False
        await backend.publish(topic, signal())
        await ear.heard_all()
        await self.settle()
        assert not gone.heard

    async def test_an_unknown_subscription_is_no_subscription(self, backend: RealtimeBackend) -> None:
        """Unsubscribing what never was says so, and does not raise."""
        assert await backend.unsubscribe("no-such-subscription") is False

    async def test_a_callback_may_end_its_own_subscription(
        self, backend: RealtimeBackend, topic: str
    ) -> None:
        """It finishes what it is doing, and is not called again."""
        heard: list[EphemeralEvent] = []
        done = asyncio.Event()
        subscription = ""

        async def once(event: EphemeralEvent) -> None:
            heard.append(event)
            assert await backend.unsubscribe(subscription)
            await asyncio.sleep(0)
            done.set()

        subscription = await backend.subscribe(topic, once)
        await backend.publish(topic, signal())
        await backend.publish(topic, signal())
        async with asyncio.timeout(PATIENCE):
            await done.wait()
        await self.settle()
        assert len(heard) == 1

    async def test_after_close_publishing_does_nothing(self, backend: RealtimeBackend, topic: str) -> None:
        """Every subscription has ended, and publishing is silently of no effect."""
        ear = Ear()
        await backend.subscribe(topic, ear)
        await backend.close()
        await backend.publish(topic, signal())
        await self.settle()
        assert not ear.heard

    async def test_close_ends_a_callback_that_hangs(self, backend: RealtimeBackend, topic: str) -> None:
        reached = asyncio.Event()

        async def hang(event: EphemeralEvent) -> None:
            reached.set()
            await asyncio.Event().wait()

        await backend.subscribe(topic, hang)
        await backend.publish(topic, signal())
        async with asyncio.timeout(PATIENCE):
            await reached.wait()
            await backend.close()

    @pytest.mark.virtual_time(io_patience=0.3)
    async def test_a_link_that_goes_silent_is_replaced(
        self,
        backend: RealtimeBackend,
        topic: str,
        factory: Callable[[], RealtimeBackend | Awaitable[RealtimeBackend]],
    ) -> None:
        """Within 15 seconds, though nothing says that it is gone: what others publish then is seen."""
        ear = Ear()
        await backend.subscribe(topic, ear)
        if not await self.silence_link(backend):
            pytest.skip("there is no link that could go silent")
        await asyncio.sleep(SILENCE)
        other = await make(factory)
        event = signal()
        await other.publish(topic, event)
        assert await ear.heard_all() == [event]
        await other.close()

    async def test_nothing_leaks(self, backend: RealtimeBackend) -> None:
        """Subscribing, hearing and unsubscribing leaves tasks, threads and descriptors flat."""

        async def cycle() -> None:
            topic, ear = new_id(), Ear()
            subscription = await backend.subscribe(topic, ear)
            await backend.publish(topic, signal())
            await ear.heard_all()
            await backend.unsubscribe(subscription)

        await assert_nothing_leaks(cycle)

    async def silence_link(self, backend: RealtimeBackend) -> bool:
        """Let nothing more pass on the backend's connections, without an end; return True.

        New connections must work; see `CutProxy.silence`. False when the backend has no connection.
        """
        return False

    async def settle(self) -> None:
        """Wait until published messages have reached the callbacks; override where that takes I/O."""
        for _ in range(5):
            await asyncio.sleep(0)


class Ear:
    """A subscriber that collects what it hears."""

    def __init__(self, *, expected: int = 1, pause: bool = False) -> None:
        self.heard: list[EphemeralEvent] = []
        self.most_at_once = 0
        self._expected = expected
        self._pause = pause
        self._at_once = 0
        self._enough = asyncio.Event()

    async def __call__(self, event: EphemeralEvent) -> None:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        if self._pause:
            await asyncio.sleep(0)
        self._at_once -= 1
        self.heard.append(event)
        if len(self.heard) >= self._expected:
            self._enough.set()

    async def heard_all(self) -> list[EphemeralEvent]:
        """Wait for the expected number of events, and return the events."""
        async with asyncio.timeout(PATIENCE):
            await self._enough.wait()
        return self.heard


def signal(**fields: object) -> EphemeralEvent:
    """Build an ephemeral event."""
    return EphemeralEvent.model_validate(
        {"room_id": "room", "type": EphemeralEventType.TYPING_START, "user_id": "user", **fields}
    )
