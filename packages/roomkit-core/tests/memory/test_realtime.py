"""Particulars of the in-memory realtime backend."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

import pytest

from roomkit.abc.errors import InvalidInputError
from roomkit.memory.realtime import InMemoryRealtime
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent


def signal(event_id: str, **data: object) -> EphemeralEvent:
    """Build an ephemeral event."""
    return EphemeralEvent(
        id=event_id, room_id="room", type=EphemeralEventType.CUSTOM, user_id="user", data=data
    )


async def turns() -> None:
    """Let everything run that is ready."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_an_event_published_again_takes_the_place_of_the_one_waiting() -> None:
    """A newer state of the same thing is seen once, where the older would have been."""
    backend = InMemoryRealtime()
    heard: list[EphemeralEvent] = []

    async def hear(event: EphemeralEvent) -> None:
        heard.append(event)

    await backend.subscribe("topic", hear)
    for event in (signal("a", version=1), signal("b"), signal("a", version=2)):
        await backend.publish("topic", event)
    await turns()
    assert heard == [signal("a", version=2).replace(timestamp=heard[0].timestamp), heard[1]]
    assert [event.id for event in heard] == ["a", "b"]


async def test_what_a_slow_subscriber_missed_is_counted() -> None:
    """Beyond the bound the oldest are dropped, and `dropped` says how many."""
    backend = InMemoryRealtime(max_queue_size=3)
    release = asyncio.Event()
    heard: list[str] = []

    async def slow(event: EphemeralEvent) -> None:
        heard.append(event.id)
        await release.wait()

    subscription = await backend.subscribe("topic", slow)
    await backend.publish("topic", signal("at work"))
    await turns()
    for number in range(5):
        await backend.publish("topic", signal(str(number)))
    assert backend.dropped(subscription) == 2
    release.set()
    await turns()
    assert heard == ["at work", "2", "3", "4"]
    assert backend.dropped("unknown") == 0


async def test_subscriptions_are_counted() -> None:
    """`subscription_count` follows subscribing, unsubscribing and closing."""
    backend = InMemoryRealtime()

    async def ignore(event: EphemeralEvent) -> None:
        pass

    first = await backend.subscribe("topic", ignore)
    await backend.subscribe("topic", ignore)
    assert backend.subscription_count == 2
    await backend.unsubscribe(first)
    assert backend.subscription_count == 1
    await backend.close()
    assert backend.subscription_count == 0
    assert not await backend.unsubscribe(await backend.subscribe("topic", ignore))


async def test_an_idle_subscription_has_no_task() -> None:
    """The task is made when there is something to show, and ends when there is not."""
    backend = InMemoryRealtime()
    before = asyncio.all_tasks()

    async def ignore(event: EphemeralEvent) -> None:
        pass

    await backend.subscribe("topic", ignore)
    assert asyncio.all_tasks() == before
    await backend.publish("topic", signal("a"))
    assert len(asyncio.all_tasks() - before) == 1
    await turns()
    assert asyncio.all_tasks() == before


async def test_a_callback_that_awaits_something_cancelled_does_not_end_the_subscription(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A CancelledError from inside the callback is a failure like any other."""
    backend = InMemoryRealtime()
    heard: list[str] = []

    async def hear(event: EphemeralEvent) -> None:
        heard.append(event.id)
        if event.id == "a":
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            future.cancel()
            await future

    await backend.subscribe("topic", hear)
    await backend.publish("topic", signal("a"))
    await backend.publish("topic", signal("b"))
    await turns()
    assert heard == ["a", "b"]
    assert "A subscriber of topic failed on the custom event a" in caplog.text


async def test_a_callback_runs_in_the_context_of_its_subscriber() -> None:
    backend = InMemoryRealtime()
    who: ContextVar[str] = ContextVar("who", default="no one")
    heard: list[str] = []

    async def hear(event: EphemeralEvent) -> None:
        heard.append(who.get())

    who.set("subscriber")
    await backend.subscribe("topic", hear)
    who.set("publisher")
    await backend.publish("topic", signal("a"))
    await turns()
    assert heard == ["subscriber"]


async def test_a_callback_is_not_run_inside_publish_whatever_the_task_factory() -> None:
    """With eager tasks too, publishing returns before any subscriber is called."""
    loop = asyncio.get_running_loop()
    backend = InMemoryRealtime()
    heard: list[str] = []

    async def hear(event: EphemeralEvent) -> None:
        heard.append(event.id)

    await backend.subscribe("topic", hear)
    loop.set_task_factory(asyncio.eager_task_factory)
    try:
        for event_id in ("a", "b"):
            await backend.publish("topic", signal(event_id))
            assert not heard
        await turns()
        assert heard == ["a", "b"]
    finally:
        loop.set_task_factory(None)


async def test_a_callback_may_close_the_backend() -> None:
    """It ends every other subscription at once, and itself when it is done."""
    backend = InMemoryRealtime()
    closed = asyncio.Event()

    async def hang(event: EphemeralEvent) -> None:
        await asyncio.Event().wait()

    async def close(event: EphemeralEvent) -> None:
        await backend.close()
        closed.set()

    await backend.subscribe("topic", hang)
    await backend.subscribe("topic", close)
    await backend.publish("topic", signal("a"))
    async with asyncio.timeout(30):
        await closed.wait()


def test_a_bound_below_one_is_refused() -> None:
    """A queue that holds nothing would show nothing."""
    with pytest.raises(InvalidInputError, match="max_queue_size is 0"):
        InMemoryRealtime(max_queue_size=0)


async def test_a_topic_without_a_subscription_says_so() -> None:
    backend = InMemoryRealtime()

    async def hear(event: EphemeralEvent) -> None: ...

    await backend.subscribe("topic", hear)
    subscription = await backend.subscribe_to_room("r", hear)
    assert backend.has_subscribers("topic")
    assert backend.has_subscribers_in_room("r")
    assert not backend.has_subscribers("other")
    await backend.unsubscribe(subscription)
    assert not backend.has_subscribers_in_room("r")


def test_a_subclass_may_show_events_to_others() -> None:
    class Recording(InMemoryRealtime):
        """As a program's own, which records publications."""

    assert Recording().has_subscribers("topic")
