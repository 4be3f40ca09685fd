"""Every argument of every method of a plugin's services, given what it cannot be: a typed error."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from roomkit.abc.errors import RoomKitError
from roomkit.kernel.services.homes import KitHomes
from roomkit.kernel.services.inbox import KitInbox
from roomkit.kernel.services.media import KitMedia
from roomkit.kernel.services.room_access import KitRoomAccess
from roomkit.kernel.services.timers import KitTimers
from roomkit.kernel.services.turns import KitTurns
from roomkit.kernel.services.values import KitValues
from roomkit.memory.media import InMemoryMediaStore
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ChannelType, EphemeralEventType, EventType, HookTrigger, MediaForm
from roomkit.models.event import EventSource, RoomEvent
from roomkit.models.realtime import EphemeralEvent
from roomkit_plugins.testing import RecordingChannel

pytestmark = pytest.mark.virtual_time

GROUPS: Mapping[str, type] = {
    "homes": KitHomes,
    "inbox": KitInbox,
    "media": KitMedia,
    "rooms": KitRoomAccess,
    "timers": KitTimers,
    "turns": KitTurns,
    "values": KitValues,
}
WRONG: Mapping[str, object] = {
    "none": None,
    "empty": "",
    "long": "x" * 100_000,
    "NUL": "\0",
    "surrogate": "\ud800",
    "zero": 0,
    "negative": -1,
    "NaN": math.nan,
    "infinite": math.inf,
    "huge": 10**400,
    "bytes": b"x",
    "list": [],
    "dict": {},
    "object": object(),
    "naive": datetime(2020, 1, 1),
    "last": datetime.max.replace(tzinfo=UTC),
    "length": timedelta(days=-1),
}


async def nothing(*_args: Any, **_given: Any) -> None: ...


async def no_bytes() -> AsyncIterator[bytes]:
    yield b""


SAID = InboundMessage(channel_id="web", sender_id="ann", content=TextContent(body="x"))
SEEN = DeliveryStatus(channel_id="web", message_id="m1", status="sent")
TYPING = EphemeralEvent(room_id="r1", type=EphemeralEventType.TYPING_START, user_id="ann", channel_id="web")
EVENT = RoomEvent(
    room_id="r1",
    type=EventType.MESSAGE,
    source=EventSource(channel_id="web", channel_type=ChannelType.WEBSOCKET),
    content=TextContent(body="x"),
)
RIGHT: Mapping[str, Any] = {
    "room_id": "r1",
    "channel_id": "web",
    "what": TextContent(body="x"),
    "fn": lambda given: given,
    "external_id": "x",
    "message_id": "x",
    "message": SAID,
    "status": SEEN,
    "signal": TYPING,
    "turn_id": "t",
    "results": {"c1": "yes"},
    "trigger": HookTrigger.AFTER_BROADCAST,
    "payload": None,
    "kind": "k",
    "due": datetime(2100, 1, 1, tzinfo=UTC),
    "id": "x",
    "address": "x",
    "name": "x",
    "work": nothing,
    "show": nothing,
    "organization_id": "acme",
    "media": "media:x",
    "event_id": "x",
    "event": EVENT,
    "content": TextContent(body="x"),
    "form": MediaForm.URL,
    "mime_type": "image/png",
}
"""What each argument may be, where a call needs it."""


def family() -> Iterator[tuple[str, str, str]]:
    for group, owner in GROUPS.items():
        for name, method in inspect.getmembers(owner, inspect.isfunction):
            if not name.startswith("_"):
                for parameter in list(inspect.signature(method).parameters)[1:]:
                    yield group, name, parameter


@pytest.fixture
async def services(staging: Any) -> AsyncIterator[Any]:
    async with staging(media=InMemoryMediaStore()) as stage:
        yield (await stage.join(RecordingChannel("web"))).services


def right(group: str, name: str) -> Any:
    """Return what an argument that a call needs may be."""
    if name == "data":
        return {} if group == "values" else no_bytes()
    return RIGHT[name]


async def completed(given: Any) -> None:
    """Await, read or take what a method returned."""
    if inspect.isawaitable(given):
        async with asyncio.timeout(60):
            given = await given
    if isinstance(given, AsyncIterator):
        async for _ in given:
            pass


@pytest.mark.parametrize(("group", "name", "argument"), list(family()))
async def test_what_an_argument_cannot_be_is_a_typed_error(
    services: Any, group: str, name: str, argument: str
) -> None:
    """Or it is taken: nothing else is raised, and nothing waits for ever."""
    method = getattr(getattr(services, group), name)
    parameters = inspect.signature(method).parameters
    is_key = parameters[argument].kind is inspect.Parameter.VAR_POSITIONAL
    for label, wrong in WRONG.items():
        keys = (wrong,) if is_key else ("key",) if "key" in parameters else ()
        given = {
            each.name: right(group, each.name)
            for each in parameters.values()
            if each.default is each.empty and each.kind is not each.VAR_POSITIONAL
        }
        if not is_key:
            given[argument] = wrong
        try:
            await completed(method(*keys, **given))
        except RoomKitError:
            continue
        except Exception as error:  # noqa: BLE001  # what the test looks for
            pytest.fail(f"{group}.{name}({argument}={label}) raised {error!r}")
