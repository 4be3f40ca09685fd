"""What fails before a message is committed reaches the caller typed, with the cause chained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from roomkit.abc.errors import ForeignCodeError, InvalidInputError
from roomkit.kernel.kit import RoomKit
from roomkit.memory.store import InMemoryStore

pytestmark = pytest.mark.virtual_time


async def _raises(*_: Any, **__: Any) -> Any:
    raise KeyError("text")


async def _waits_then_raises(*_: Any, **__: Any) -> Any:
    await asyncio.sleep(0)
    raise KeyError("text")


def _raises_at_once(*_: Any, **__: Any) -> Any:
    raise KeyError("text")


async def _number(*_: Any, **__: Any) -> Any:
    return 5


class _Router:
    route: Any


def _channels(name: str) -> Callable[[Any, Any], str]:
    def break_it(stage: Any, act: Any) -> str:
        setattr(stage.kit.channels["alice"], name, act)
        return "alice"

    return break_it


def _router(stage: Any, act: Any) -> str:
    router = _Router()
    router.route = act
    stage.kit._kernel.entry.inbound.finder.router = router
    return "_Router"


ENTRIES = {"handle_inbound": _channels("handle_inbound"), "route": _channels("route"), "router": _router}
every_entry = pytest.mark.parametrize("entry", ENTRIES)


@pytest.mark.parametrize("act", [_raises, _waits_then_raises, _raises_at_once])
@every_entry
async def test_an_exception_is_typed_and_chained(stage: Any, entry: str, act: Any) -> None:
    await stage.socket("alice")
    owner = ENTRIES[entry](stage, act)
    with pytest.raises(ForeignCodeError, match=f"{owner} raised KeyError: see its cause") as caught:
        await stage.say(room=None)
    assert isinstance(caught.value.__cause__, KeyError)
    assert await stage.texts() == []


@every_entry
async def test_an_error_of_ours_is_raised_itself(stage: Any, entry: str) -> None:
    await stage.socket("alice")
    refusal = InvalidInputError("no text in it")

    async def refuse(*_: Any, **__: Any) -> Any:
        raise refusal

    ENTRIES[entry](stage, refuse)
    with pytest.raises(InvalidInputError) as caught:
        await stage.say(room=None)
    assert caught.value is refusal


@pytest.mark.parametrize("entry", ["route", "router"])
async def test_a_route_that_is_no_room_id_is_refused(stage: Any, entry: str) -> None:
    await stage.socket("alice")
    owner = ENTRIES[entry](stage, _number)
    with pytest.raises(ForeignCodeError, match=f"route.*{owner}.* is int"):
        await stage.say(room=None)


@pytest.mark.parametrize("act", [_raises_at_once, lambda *_: 5])
@pytest.mark.parametrize("name", ["make_lock_manager", "make_realtime"])
async def test_a_kit_is_not_made_with_a_store_whose_parts_fail(name: str, act: Any) -> None:
    store = type("Broken", (InMemoryStore,), {name: act})()
    with pytest.raises(ForeignCodeError, match=rf"{name}\(\) of Broken"):
        RoomKit(store=store)
