"""A server plugin in small."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from roomkit import ChannelType, HookExecution, HookTrigger, RoomContext, RoomEvent, RoomKit
from roomkit.plugins import ConfigError
from tests.contract_sketches import server
from tests.contract_sketches.server import AccountProvider, Door, call
from tests.contract_sketches.sms import signature
from tests.contract_sketches.stage import LEASE, Vendor, die, killed, manager_of, until_killed

SQLITE = "roomkit_plugins.sqlite.plugin"
ANN = "+14165550123"
FILE: dict[str, Any] = {
    "desk": {"token": "t0ken"},
    "channels": {
        "desk": {"plugin": "desk"},
        "texts": {
            "plugin": "texts",
            "providers": [
                {"plugin": "carrier", "name": "north", "secret": "n"},
                {"plugin": "carrier", "name": "south", "secret": "s"},
            ],
            "binding": {"retry_policy": {"max_retries": 1, "base_delay_seconds": 0.01}},
        },
    },
}
DESK = {"Authorization": "Bearer t0ken"}


async def refused(*_: Any, **__: Any) -> str:
    raise ConnectionRefusedError("down")


@asynccontextmanager
async def serving(
    vendor: Vendor, folder: Path | None = None, **networks: Any
) -> AsyncIterator[tuple[RoomKit, int]]:
    """Serve a kit of the file; in a folder its store outlives it."""
    AccountProvider.networks |= {"north": vendor.post, "south": vendor.post, **networks}
    file = dict(FILE)
    if folder is not None:
        file |= {
            "store": {"plugin": "sqlite", "path": str(folder / "rooms.db")},
            "kit": {"single_process": True, "lease_seconds": LEASE},
        }
    async with await RoomKit.from_config(
        file, plugins=manager_of(server=server, sqlite=import_module(SQLITE))
    ) as kit:
        kit.hook(HookTrigger.ON_ROOM_CREATED, HookExecution.ASYNC)(_note)
        door = Door(kit)
        port = await door.open()
        try:
            yield kit, port
        finally:
            await door.close()


opened: list[str] = []  # bound: the rooms of a test


async def _note(event: RoomEvent, context: RoomContext) -> None:
    opened.append(event.room_id)


async def carrier(port: int, name: str, secret: bytes, *items: dict[str, Any]) -> int:
    """Send a webhook as a carrier."""
    body = json.dumps(items).encode()
    signed = {"X-Carrier-Signature": signature(secret, body)}
    return (await call(port, "POST", f"/webhooks/texts/{name}", list(items), **signed))[0]


async def test_two_carriers_of_one_channel_and_a_desk_share_a_server() -> None:
    """The first carrier is down: the text goes by the second, whose receipt comes by its own path."""
    vendor = Vendor()
    async with serving(vendor, north=refused) as (kit, port):
        assert await carrier(port, "north", b"n", {"id": "in1", "from": ANN, "text": "hello"}) == 200
        room = opened[-1]
        await kit.attach_channel(room, "desk")
        note = {"text": "How can we help?"}
        once = [
            await call(port, "POST", f"/rooms/{room}/notes", note, **DESK, **{"Idempotency-Key": "n1"})
            for _ in range(2)
        ]
        assert [status for status, _ in once] == [201, 201]
        assert json.loads(once[0][1])["event"] == json.loads(once[1][1])["event"]
        assert await vendor.sends(1) == ["How can we help?"]
        (row,) = [each for each in await kit.list_deliveries(room) if each.channel_id == "texts"]
        assert await carrier(port, "south", b"s", {"id": vendor.messages[0]["id"], "state": "arrived"}) == 200
        confirmed = await kit.get_delivery(row.id)
        assert confirmed is not None
        assert confirmed.receipt == "delivered"
        status, body = await call(port, "GET", f"/rooms/{room}", **DESK)
        assert status == 200
        assert [text for text in json.loads(body) if text in ("hello", "How can we help?")] == [
            "hello",
            "How can we help?",
        ]


async def test_what_the_server_refuses_has_the_status_that_says_so() -> None:
    """A carrier's name with another's signature, no token, no route, another method, an insecure route."""
    async with serving(Vendor()) as (_, port):
        item = {"id": "in1", "from": ANN, "text": "hello"}
        assert await carrier(port, "south", b"n", item) == 401
        assert await carrier(port, "west", b"n", item) == 404
        assert (await call(port, "POST", "/rooms/r1/notes", {"text": "x"}))[0] == 401
        assert (await call(port, "GET", "/rooms/r1", **DESK))[0] == 404
        assert (await call(port, "GET", "/nowhere"))[0] == 404
        assert (await call(port, "DELETE", "/rooms/r1", **DESK))[0] == 405
        assert (await call(port, "GET", "/debug", **DESK))[0] == 404


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"desk": {"tokn": "x"}}, "desk.tokn is unknown; did you mean 'token'?"),
        ({"dask": {}}, "dask is unknown; did you mean 'desk'?"),
        (
            {"channels": {"texts": {"plugin": "texts", "providers": [{"plugin": "carier"}]}}},
            "channels.texts.providers[0]: there is no sms 'carier'. Did you mean 'carrier'?",
        ),
    ],
    ids=["key", "table", "provider"],
)
async def test_a_misspelt_word_of_the_file_gets_the_nearest(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        await RoomKit.from_config({**FILE, **change}, plugins=manager_of(server=server))
    assert said in str(refusal.value)


async def _serve_and_die(folder: Path) -> None:
    async with serving(Vendor(), folder) as (kit, port):

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC, channel_types={ChannelType.SMS})
        async def committed(event: RoomEvent, context: RoomContext) -> None:
            die()

        await carrier(port, "north", b"n", {"id": "in1", "from": ANN, "text": "hello"})
        await until_killed()


async def test_a_webhook_whose_worker_died_before_it_answered_is_one_message(tmp_path: Path) -> None:
    """The carrier got no answer, and repeats it to the next worker."""
    await killed(_serve_and_die, tmp_path)
    async with serving(Vendor(), tmp_path) as (kit, port):
        rooms = set()

        @kit.hook(HookTrigger.AFTER_BROADCAST, HookExecution.ASYNC)
        async def seen(event: RoomEvent, context: RoomContext) -> None:
            rooms.add(event.room_id)

        for _ in range(2):
            assert await carrier(port, "north", b"n", {"id": "in1", "from": ANN, "text": "hello"}) == 200
        await carrier(port, "north", b"n", {"id": "in2", "from": ANN, "text": "are you there?"})
        (room,) = rooms
        texts = [getattr(event.content, "body", "") for event in await kit.get_timeline(room)]
        assert texts.count("hello") == 1
