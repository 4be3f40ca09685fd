"""The components of Redis: which keys and channels the server has, and how long they wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any

from redis.asyncio import Redis

from roomkit.authoring.turns.queue import QueuedTurn
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing.services import CutProxy
from tests.options.executors import turn_changes
from tests.options.mechanism import Change, Observe, Settings, Subject
from tests.options.servers import LONG, SERVERS, SHORT, is_over, made, placed, still

__all__ = ["REDIS"]

_THROUGH: Settings = {"url": "{proxy}", "connect_timeout": LONG}


def _places() -> dict[str, str]:
    url = SERVERS.redis
    return {"a": url, "b": f"{url.rpartition('/')[0]}/7"}


@asynccontextmanager
async def _opened(kind: str, settings: Settings, **places: str) -> AsyncIterator[Any]:
    component = await made(kind, "redis", placed(settings, **places))
    try:
        await component.open()
        yield component
    finally:
        with suppress(Exception):
            await asyncio.wait_for(component.close(), 5)


async def _drop(event: EphemeralEvent) -> None:
    """Take a signal."""


@asynccontextmanager
async def _in_use(kind: str, component: Any) -> AsyncIterator[None]:
    """Have something on the server: a lock, a subscription, a turn."""
    if kind == "locks":
        async with component.locked("r"):
            yield
        return
    if kind == "realtime":
        await component.subscribe("topic", _drop)
    else:
        await component.queue.put(QueuedTurn("t", "agent", "{}"))
    yield


@cache
def _traces(kind: str) -> Observe:
    """Return an observation of what keys and channels begin with, in each database."""

    async def observe(settings: Settings) -> object:
        places = _places()
        async with _opened(kind, settings, **places) as component, _in_use(kind, component):
            return [await _stems(url) for url in places.values()]

    return observe


async def _stems(url: str) -> set[bytes]:
    async with Redis.from_url(url) as client:
        names = [*await client.keys(), *await client.pubsub_channels()]
    return {b":".join(name.partition(b"{")[0].split(b":")[:2]) for name in names}


async def _use(kind: str, component: Any) -> None:
    async with _in_use(kind, component):
        pass


async def _opening(kind: str, component: Any) -> None:
    await component.open()
    if kind == "executor":
        await component.quarantined()


def _connecting(kind: str) -> Observe:
    """Return an observation of whether a server that takes a connection and says nothing is dropped."""

    async def observe(settings: Settings) -> object:
        async with CutProxy(SERVERS.redis) as proxy:
            proxy.hold()
            component = await made(kind, "redis", placed(settings, proxy=proxy.url))
            seen = await is_over(_opening(kind, component), proxy, acts=settings["connect_timeout"] < LONG)
            proxy.cut()
            with suppress(Exception):
                await asyncio.wait_for(component.close(), 5)
            return seen

    return observe


async def _without_answer(settings: Settings) -> object:
    """Ask for a lock of a server that does not answer any more."""
    async with (
        CutProxy(SERVERS.redis) as proxy,
        _opened("locks", settings, proxy=proxy.url) as locks,
    ):
        proxy.hold()
        seen = await still(_use("locks", locks), acts=settings["acquire_timeout"] < LONG)
        proxy.release()
        return seen


async def _silent_holder(settings: Settings) -> object:
    """Ask for a lock whose holder cannot renew it."""
    url = SERVERS.redis
    async with (
        CutProxy(url) as proxy,
        _opened("locks", settings, proxy=proxy.url) as holder,
        _opened("locks", {"url": url}) as other,
        holder.locked("r"),
    ):
        proxy.hold()
        seen = await still(_use("locks", other), acts=settings["lock_seconds"] < LONG)
        proxy.release()
        return seen


async def _slow_subscriber(settings: Settings) -> object:
    """Return whether a subscriber that is busy misses any of ten signals."""
    async with _opened("realtime", settings, **_places()) as realtime:
        may_end = asyncio.Event()

        async def wait(event: EphemeralEvent) -> None:
            await may_end.wait()

        subscription = await realtime.subscribe("topic", wait)
        await _publish_ten(realtime)
        missed = realtime.dropped(subscription)
        may_end.set()
        return missed > 0


async def _publish_ten(realtime: Any) -> None:
    for number in range(10):
        data = {"n": number}
        event = EphemeralEvent(room_id="r", type=EphemeralEventType.TYPING_START, user_id="ann", data=data)
        await realtime.publish("topic", event)


async def _full_outbox(settings: Settings) -> object:
    """Return whether any of ten signals is dropped while the server does not answer."""
    async with CutProxy(SERVERS.redis) as proxy, _opened("realtime", settings, proxy=proxy.url) as realtime:
        proxy.hold()
        await _publish_ten(realtime)
        await asyncio.sleep(0)
        seen = realtime.unsent > 0
        proxy.release()
        return seen


def _changes(kind: str) -> Iterator[tuple[str, Change]]:
    yield "url", Change("{b}", {"url": "{a}"}, _traces(kind))
    yield "prefix", Change("other", {"url": "{a}"}, _traces(kind))
    yield "connect_timeout", Change(SHORT, _THROUGH, _connecting(kind))
    if kind == "locks":
        yield "acquire_timeout", Change(SHORT, {**_THROUGH, "acquire_timeout": LONG}, _without_answer)
        yield "lock_seconds", Change(0.3, {**_THROUGH, "lock_seconds": LONG}, _silent_holder)
    if kind == "realtime":
        yield "max_queue_size", Change(1, {"url": "{a}"}, _slow_subscriber)
        yield "max_outbox", Change(2, _THROUGH, _full_outbox)
    if kind == "executor":
        yield from turn_changes(_executors).items()


@asynccontextmanager
async def _executors(settings: Settings) -> AsyncIterator[tuple[Any, Any]]:
    """Open an executor with settings, and one of the same server with the default ones."""
    places = _places()
    given = {"url": "{a}", "connect_timeout": LONG, **settings}
    async with (
        _opened("executor", {"url": "{a}"}, **places) as other,
        _opened("executor", given, **places) as observed,
    ):
        yield observed, other


REDIS = tuple(
    Subject(f"{kind}:redis", dict(_changes(kind)), real_time=True, needs_servers=True)
    for kind in ("locks", "realtime", "executor")
)
