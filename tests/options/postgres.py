"""The components of PostgreSQL: which sessions and tables the server sees, and how long they wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any
from unittest.mock import patch

from roomkit import Room
from roomkit.authoring.turns.queue import QueuedTurn
from roomkit.models.base import new_id
from roomkit.models.enums import EphemeralEventType
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing.services import CutProxy
from tests.options.executors import turn_changes
from tests.options.mechanism import Change, Observe, Settings, Subject
from tests.options.servers import LONG, SERVERS, SHORT, is_over, made, placed, still, until

__all__ = ["POSTGRES"]

_SCHEMA = "beside"
_APP = "observed"
_BASE: Settings = {"dsn": "{a}", "application_name": _APP, "acquire_timeout": LONG}
_THROUGH: Settings = {"dsn": "{proxy}"}


@asynccontextmanager
async def _opened(kind: str, settings: Settings, **places: str) -> AsyncIterator[Any]:
    """Make a component at a place, open it and use it once."""
    component = await made(kind, "postgres", placed(settings, **places))
    try:
        await _open(kind, component)
        await _use(kind, component, 0)
        yield component
    finally:
        with suppress(Exception):
            await asyncio.wait_for(component.close(), 5)


async def _open(kind: str, component: Any) -> None:
    await (component.start() if kind == "media" else component.open())


async def _use(kind: str, component: Any, number: int) -> None:
    """Have the server do something."""
    match kind:
        case "store":
            await component.create_room(Room(id=new_id()))
        case "locks":
            async with component.locked(f"r{number}"):
                pass
        case "realtime":
            await component.publish("topic", _signal(number))
        case "media":
            await component.find(f"m{number}")
        case "executor":
            await component.quarantined()


def _signal(number: int) -> EphemeralEvent:
    return EphemeralEvent(
        room_id="r", type=EphemeralEventType.TYPING_START, user_id="ann", data={"n": number}
    )


def _ask(query: str, database: str | None = None) -> list[str]:
    return sorted(SERVERS.postgres.execute(query, database).splitlines())


@cache
def _sessions(kind: str) -> Observe:
    """Return an observation of which sessions are there, in which database."""

    async def observe(settings: Settings) -> object:
        (begun,) = _ask("select clock_timestamp()")
        async with _opened(kind, settings, **SERVERS.places):
            return _ask(
                "select distinct datname, application_name from pg_stat_activity "
                f"where backend_start > '{begun}' and application_name in ('{_APP}', 'other')"
            )

    return observe


@cache
def _tables(kind: str) -> Observe:
    """Return an observation of the schemas that have tables or sequences of RoomKit."""

    async def observe(settings: Settings) -> object:
        with SERVERS.postgres.database() as dsn:
            SERVERS.postgres.execute(f"create schema {_SCHEMA}", dsn)
            async with _opened(kind, settings, a=dsn):
                return _ask(
                    "select distinct relnamespace::regnamespace from pg_class where relname like 'roomkit%'",
                    dsn,
                )

    return observe


@asynccontextmanager
async def _two(kind: str, settings: Settings) -> AsyncIterator[tuple[Any, Any]]:
    """Open a component with settings, and one of the same database with the default ones."""
    async with (
        _opened(kind, {"dsn": "{a}"}, **SERVERS.places) as other,
        _opened(kind, settings, **SERVERS.places) as observed,
    ):
        yield observed, other


async def _locks_meet(settings: Settings) -> object:
    """Ask for a lock that a manager with the default settings holds."""
    async with _two("locks", settings) as (observed, other):
        return await _asked_for_held(observed, other, acts="namespace" in settings)


async def _store_locks_meet(settings: Settings) -> object:
    """Ask for a lock of the manager that a store makes for a kit."""
    async with _two("store", settings) as (observed, other):
        locks = [store.make_lock_manager() for store in (observed, other)]
        try:
            return await _asked_for_held(*locks, acts="namespace" in settings)
        finally:
            for each in locks:
                await each.close()


async def _asked_for_held(observed: Any, other: Any, *, acts: bool) -> str:
    async with other.locked("held"):

        async def enter() -> None:
            async with observed.locked("held"):
                pass

        return await still(enter(), acts=acts)


async def _signals_meet(settings: Settings) -> object:
    """Return what one with the default settings gets of a signal; a last one of its own ends the wait."""
    async with _two("realtime", settings) as (observed, other):
        seen: list[int] = []
        ended = asyncio.Event()

        async def take(event: EphemeralEvent) -> None:
            seen.append(int(event.data["n"]))
            if seen[-1] == 9:
                ended.set()

        await other.subscribe("shared", take)
        await observed.publish("shared", _signal(1))
        await other.publish("shared", _signal(9))
        async with asyncio.timeout(LONG):
            await ended.wait()
        return seen


async def _turns_meet(settings: Settings) -> object:
    async with _two("executor", settings) as (observed, other):
        turn = QueuedTurn(new_id(), "agent", "{}")
        await observed.queue.put(turn)
        return [claim.id == turn.id for claim in await other.queue.claim(["agent"], 1)]


@cache
def _connecting(kind: str) -> Observe:
    """Return an observation of whether a server that takes a connection and says nothing is tried again."""

    async def observe(settings: Settings) -> object:
        async with CutProxy(SERVERS.places["a"]) as proxy:
            proxy.hold()
            component = await made(kind, "postgres", placed(settings, proxy=proxy.url))
            opening = asyncio.ensure_future(_open(kind, component))
            acts = settings["connect_timeout"] < LONG
            seen = await until(lambda: proxy.connections > 1, LONG if acts else SHORT)
            await _ended(opening, component)
            return seen

    return observe


async def _ended(task: asyncio.Future[Any], component: Any) -> None:
    task.cancel()
    await asyncio.wait((task,))
    with suppress(Exception):
        await asyncio.wait_for(component.close(), 0.1)


@cache
def _without_server(kind: str) -> Observe:
    """Return an observation of what becomes of a request while no server runs."""

    async def observe(settings: Settings) -> object:
        async with CutProxy(SERVERS.places["a"]) as proxy:
            await proxy.refuse()
            component = await made(kind, "postgres", placed(settings, proxy=proxy.url))
            seen = await still(_open(kind, component), acts=settings["acquire_timeout"] < LONG)
            with suppress(Exception):
                await asyncio.wait_for(component.close(), 0.1)
            return seen

    return observe


@cache
def _unanswered(kind: str) -> Observe:
    """Return an observation of whether a statement without an answer is dropped."""

    async def observe(settings: Settings) -> object:
        async with CutProxy(SERVERS.places["a"]) as proxy:
            component = await made(kind, "postgres", placed(settings, proxy=proxy.url))
            await _open(kind, component)
            await _use(kind, component, 0)
            proxy.hold()
            work = _use(kind, component, 1)
            seen = await is_over(work, proxy, acts=settings["command_timeout"] < LONG)
            proxy.release()
            with suppress(Exception):
                await component.close()
            return seen

    return observe


@cache
def _round_trips(kind: str) -> Observe:
    """Return an observation of how many round trips a use takes, once its statements are prepared."""

    async def observe(settings: Settings) -> object:
        async with (
            CutProxy(SERVERS.places["a"]) as proxy,
            _opened(kind, settings, proxy=proxy.url) as component,
        ):
            for number in (1, 2):
                await _use(kind, component, number)
            before = proxy.requests
            for number in range(10, 30):
                await _use(kind, component, number)
            return (proxy.requests - before) // 20  # a look at the connection may come in between

    return observe


async def _now(kind: str, component: Any) -> object:
    return await (component.now() if kind == "store" else component.find("m"))


@cache
def _pool(kind: str, *, idle: bool) -> Observe:
    """Return an observation of the sessions after a rush, or five minutes later."""

    async def observe(settings: Settings) -> object:
        loop = asyncio.get_running_loop()
        wanted = settings["min_size" if idle else "max_size"]
        async with (
            CutProxy(SERVERS.places["a"]) as proxy,
            _opened(kind, settings, proxy=proxy.url) as component,
        ):
            await asyncio.gather(*(_now(kind, component) for _ in range(20)))
            if idle:
                now = loop.time
                with patch.object(loop, "time", lambda: now() + 400):
                    await _now(kind, component)
            await until(lambda: proxy.open_connections == wanted, 5)
            return proxy.open_connections

    return observe


_NAMESPACES: dict[str, Observe] = {
    "store": _store_locks_meet,
    "locks": _locks_meet,
    "realtime": _signals_meet,
    "executor": _turns_meet,
}


def _changes(kind: str) -> Iterator[tuple[str, Change]]:
    """Yield the changes of a component's options."""
    yield "dsn", Change("{b}", observe=_sessions(kind))
    yield "application_name", Change("other", observe=_sessions(kind))
    yield "connect_timeout", Change(0.1, {**_THROUGH, "connect_timeout": LONG}, _connecting(kind))
    yield "acquire_timeout", Change(SHORT, _THROUGH, _without_server(kind))
    yield "command_timeout", Change(SHORT, {**_THROUGH, "command_timeout": LONG}, _unanswered(kind))
    yield "statement_cache_size", Change(0, _THROUGH, _round_trips(kind))
    if kind != "realtime":
        yield "schema_name", Change(_SCHEMA, observe=_tables(kind))
    if kind in _NAMESPACES:
        yield "namespace", Change("apart", observe=_NAMESPACES[kind])
    if kind in ("store", "media"):
        sizes: Settings = {**_THROUGH, "min_size": 2, "max_size": 10}
        yield "min_size", Change(5, sizes, _pool(kind, idle=True))
        yield "max_size", Change(3, sizes, _pool(kind, idle=False))


@asynccontextmanager
async def _executors(settings: Settings) -> AsyncIterator[tuple[Any, Any]]:
    async with _two("executor", settings) as pair:
        yield pair


def _subject(kind: str, more: Callable[[], dict[str, Change]] = dict) -> Subject:
    changes = {**dict(_changes(kind)), **more()}
    return Subject(f"{kind}:postgres", changes, base=_BASE, real_time=True, needs_servers=True)


POSTGRES = (
    *map(_subject, ("store", "locks", "realtime", "media")),
    _subject("executor", lambda: turn_changes(_executors)),
)
