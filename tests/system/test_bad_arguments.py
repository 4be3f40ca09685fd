"""Every argument of every method of the kit, given what it cannot be: a typed error, and nothing written."""

from __future__ import annotations

import inspect
import sys
import types
import typing
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from roomkit import RoomKit, models
from roomkit.abc.errors import RoomKitError
from roomkit.abc.store import ConversationStore
from roomkit.kernel.tenant import Tenant
from roomkit.memory.store import InMemoryStore
from roomkit.models import enums
from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import Access, ChannelType
from roomkit.models.room import RoomTimers
from roomkit.models.task import Task
from roomkit.plugins import PluginManager
from roomkit_plugins.postgres import PostgresStore
from roomkit_plugins.sqlite import SQLiteStore
from roomkit_plugins.testing import RecordingChannel

PLUGINS = PluginManager(entry_points=())
PLUGINS.scan()

MODELS = {name: getattr(models, name) for name in models.__all__}

HUGE = 10**4300
NESTED: dict[str, Any] = {}
for _ in range(2000):
    NESTED = {"n": NESTED}

TEXTS: tuple[object, ...] = ("\0", "\ud83d", "x" * 900, "é" * 450, "", HUGE, 5, b"x", object(), ["x"])
NUMBERS: tuple[object, ...] = (HUGE, -HUGE, 2**63, -1, 0, 1e12, 1e308, float("nan"), float("inf"), "x", "\0")
LENGTHS: tuple[object, ...] = (timedelta.max, timedelta(0), timedelta(days=-1), "5m", "9" * 5000 + "d")
OBJECTS: tuple[object, ...] = (
    {"n": HUGE}, {"n": float("nan")}, {"t": "\ud83d"}, {"\ud83d": 1}, {1: 2}, {"o": object()}, NESTED, 5, "x"
)  # fmt: skip
TIMERS: tuple[object, ...] = (
    RoomTimers(closed_after_seconds=1e12),
    RoomTimers(inactive_after_seconds=1e308),
    RoomTimers.model_construct(closed_after_seconds=float("nan")),
    RoomTimers.model_construct(closed_after_seconds="\0"),
    5,
)
SEQUENCES: tuple[object, ...] = (("\0",), ("\ud83d",), (5,), ("x" * 900,), ({"n": HUGE},), 5)
BAD: Mapping[object, Sequence[object]] = {
    str: TEXTS,
    int: NUMBERS,
    float: NUMBERS,
    timedelta: LENGTHS,
    Mapping: OBJECTS,
    RoomTimers: TIMERS,
    Sequence: SEQUENCES,
    Access: TEXTS,
    ChannelType: TEXTS,
}
GIVEN: Mapping[str, Any] = {
    "room_id": "r",
    "room": "r",
    "source": "r",
    "into": "other",
    "channel_id": "web",
    "participant_id": "ann",
    "identity_id": "i",
    "event_id": "e",
    "delivery_id": "e:sms",
    "turn_id": "e:sms",
    "results": {"c1": "yes"},
    "organization_id": "org",
    "user_id": "ann",
    "target_event_id": "e",
    "emoji": "+",
    "status": "online",
    "connection_id": "c",
    "subscription_id": "s",
    "task_id": "t",
    "task": Task(id="t2", room_id="r", title="call back"),
    "address_type": "phone",
    "state": "revoked",
    "address": "a",
    "channel_type": "sms",
    "event_type": "message",
    "name": "n",
    "namespace": "acme",
    "metadata": {},
    "timers": RoomTimers(),
    "retention": "1d",
    "access": Access.READ_WRITE,
    "visibility": "all",
    "content": TextContent(body="x"),
    "tool_calls": (),
    "message": InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="x")),
}
NOT_CALLED = {
    "from_config": "it has its own tests of every key",
    "start": "it takes nothing",
    "close": "it takes nothing",
    "spawn": "it takes a coroutine",
    "push_async_callback": "it takes a function",
    "register_channel": "it takes a channel",
    "process_webhook": "it takes a request",
    "process_delivery_status": "it takes a checked record",
    "update_task": "it takes functions",
    "change_state": "it takes functions",
    "hook": "it takes functions",
    "add_room_hook": "it takes functions",
    "identity_hook": "it takes functions",
    "on_delivery_status": "it takes functions",
    "on": "it takes functions",
    "subscribe_events": "it takes functions",
    "connect_websocket": "it takes functions",
    "subscribe_room": "it takes functions",
    "attach_source": "it takes a source",
}


def kinds_of(annotation: object) -> set[object]:
    """Return the types that an annotation names, without those inside a mapping or a sequence."""
    origin = typing.get_origin(annotation)
    if origin in (typing.Union, types.UnionType):
        return {kind for each in typing.get_args(annotation) for kind in kinds_of(each)}
    if origin is typing.Literal or isinstance(annotation, typing.TypeAliasType):
        return {str}
    if isinstance(annotation, type) and issubclass(annotation, str) and annotation not in BAD:
        return {str}
    return {annotation if origin is None else getattr(origin, "__origin__", origin)}


def methods(of: type) -> Iterator[tuple[str, inspect.Signature, dict[str, object]]]:
    """Yield the methods that are called here, with the types of their arguments."""
    for name, method in inspect.getmembers(of, inspect.isfunction):
        if not name.startswith("_") and name not in NOT_CALLED:
            home = vars(sys.modules[method.__module__])
            names = {**vars(typing), **vars(enums), **MODELS, **home, "return": None}
            hints = {
                key: eval(text, names)  # annotations of our own
                for key, text in method.__annotations__.items()
                if key != "return"
            }
            yield name, inspect.signature(method), hints


def calls(of: type, only: tuple[type, ...] | None) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield each method with each of its arguments in turn given what it cannot be, `only` of some types."""
    for name, signature, hints in methods(of):
        parameters = [each for each in signature.parameters.values() if each.name != "self"]
        needed = {
            each.name: GIVEN[each.name]
            for each in parameters
            if each.default is each.empty and each.kind is not each.VAR_KEYWORD
        }
        for each in parameters:
            for kind in kinds_of(hints.get(each.name)):
                for value in BAD.get(kind, ()):
                    if only is not None and not isinstance(value, only):
                        continue
                    yield name, each.name, {**needed, each.name: value}
    for field in ("participant_id", "rate_limit", "fold_seconds", "metadata", "last_read_index", "no_field"):
        for value in (*TEXTS, *NUMBERS):
            yield "attach_channel", field, {"room_id": "r", "channel_id": "sms", field: value}


@pytest.fixture(params=["memory", "sqlite", "postgres"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[RoomKit]:
    """Return a kit with a room of one conversation, over each store."""
    make: Mapping[str, Callable[[], ConversationStore]] = {
        "memory": InMemoryStore,
        "sqlite": lambda: SQLiteStore(str(tmp_path / "rooms.db")),
        "postgres": lambda: PostgresStore(request.getfixturevalue("postgres_store_dsn")),
    }
    made = RoomKit(store=make[request.param](), plugins=PLUGINS, single_process=True)
    for channel_id in ("web", "sms"):
        made.register_channel(RecordingChannel(channel_id))
    yield made
    await made.close()


async def written(kit: RoomKit, room_id: str) -> object:
    """Return what the store holds of a room, and whether there are rooms after it."""
    store = kit.store
    return (
        await store.get_room(room_id),
        await store.list_timers(room_id),
        await store.find_rooms(after=room_id),
    )


@pytest.mark.parametrize("of", [RoomKit, Tenant])
async def test_no_argument_gets_through_to_anything_but_a_typed_error(
    kit: RoomKit, of: type[RoomKit | Tenant]
) -> None:
    found: dict[str, str] = {}
    subject = kit if of is RoomKit else kit.for_organization("org")
    only = None if kit.store.is_process_local else (str, int)  # other types are refused before the store
    room = 0
    before: object = None
    for name, parameter, arguments in calls(of, only):
        if before is None:
            room += 1
            await kit.create_room(f"r{room}", organization_id="org")
            await kit.attach_channel(f"r{room}", "web")
            before = await written(kit, f"r{room}")
        given = {**arguments}
        if given.get("room_id") == "r":
            given["room_id"] = f"r{room}"
        try:
            answer = getattr(subject, name)(**given)
            if inspect.isasyncgen(answer):
                async for _ in answer:
                    pass
            elif inspect.isawaitable(answer):
                await answer
        except RoomKitError:
            after = await written(kit, f"r{room}")
            if after != before:
                found[f"{name}({parameter}=...) wrote something"] = _shown(arguments[parameter])
                before = None
        except Exception as error:  # noqa: BLE001  # every other one is a finding
            found[f"{name}({parameter}=...) raised {type(error).__name__}"] = (
                f"{_shown(arguments[parameter])}: {error!s:.120}".replace("\n", " ")
            )
            before = None
        else:
            before = None
    assert not found, "\n".join(f"{what}: {how}" for what, how in found.items())


def _shown(value: object) -> str:
    try:
        return f"{value!r:.40}"
    except (ValueError, RecursionError) as error:
        return f"({type(error).__name__})"
