"""The application of the guide, as it stands, behind a real server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit import RoomKit, TextContent
from tests.docs.blocks import ROOT, blocks_of

PAGE = ROOT / "docs/how-to/use-your-own-web-framework.md"


class App:
    """The page's application, and the address it is served at."""

    def __init__(self, kit: RoomKit, url: str) -> None:
        self.kit = kit
        self.url = url

    @asynccontextmanager
    async def client(self, who: str, query: str = "", room: str = "lobby") -> AsyncIterator[ClientConnection]:
        async with connect(f"{self.url}/rooms/{room}?token=token-of-{who}{query}", max_queue=None) as socket:
            yield socket


class Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.listening = asyncio.Event()

    async def startup(self, sockets: list[Any] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set()


@pytest.fixture
async def app() -> AsyncIterator[App]:
    """Run the code of the page."""
    names: dict[str, Any] = {"__name__": "page"}
    exec(next(blocks_of(PAGE)).compiled(), names)
    server = Server(uvicorn.Config(names["app"], port=0, log_level="error"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        await server.listening.wait()
    port = server.servers[0].sockets[0].getsockname()[1]
    yield App(names["kit"], f"ws://127.0.0.1:{port}")
    server.should_exit = True
    await serving


async def frames(socket: ClientConnection, number: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(20):
        return [json.loads(await socket.recv()) for _ in range(number)]


async def test_two_people_talk_and_one_comes_back_to_what_they_missed(app: App) -> None:
    async with app.client("ann") as ann:
        async with app.client("bob") as bob:
            await frames(bob, 1)
            await ann.send('{"type": "message", "text": "hello", "client_id": "m1"}')
            _, seen = await frames(ann, 1), await frames(bob, 1)
            assert seen[0]["event"]["content"]["body"] == "hello"
        await app.kit.send_event("lobby", "system", TextContent(body="while bob was away"))
        async with app.client("bob", f"&after={seen[0]['event']['index']}") as bob:
            kinds = [frame["type"] for frame in await frames(bob, 2)]
            assert kinds == ["ready", "event"]
        assert [frame["type"] for frame in await frames(ann, 2)] == ["ack", "event"]


@pytest.mark.parametrize("frame", ["no json", b"\x00\xff", '{"type": "message", "text": 7}', ""])
async def test_a_frame_that_cannot_be_read_is_answered_and_ends_nothing(app: App, frame: str | bytes) -> None:
    async with app.client("ann") as ann:
        await ann.send(frame)
        await ann.send('{"type": "message", "text": "hello"}')
        assert [one["type"] for one in await frames(ann, 3)] == ["ready", "error", "ack"]


async def test_a_banned_client_is_closed_with_the_reason(app: App) -> None:
    async with app.client("ann") as ann:
        await frames(ann, 1)
        await app.kit.remove_participant("lobby", "ann", banned=True)
        assert (await frames(ann, 1))[0]["code"] == "participant_banned"
        with pytest.raises(ConnectionClosed):
            await frames(ann, 1)
        assert (ann.close_code, ann.close_reason) == (
            1008,
            "participant_banned: you are banned from this room",
        )


async def test_a_room_that_is_not_there_closes_the_socket(app: App) -> None:
    async with app.client("ann", room="elsewhere") as ann:
        assert (await frames(ann, 1))[0]["code"] == "room_not_found"
        with pytest.raises(ConnectionClosed):
            await frames(ann, 1)
        assert ann.close_code == 1008


async def test_a_client_of_a_page_that_is_known_is_accepted(app: App) -> None:
    address = f"{app.url}/rooms/lobby?token=token-of-ann"
    async with connect(address, additional_headers={"Origin": "https://shop.example"}) as ann:
        assert (await frames(ann, 1))[0]["participant_id"] == "ann"


@pytest.mark.parametrize(
    ("who", "origin"), [("ann", "https://evil.example"), ("mallory", "https://shop.example")]
)
async def test_a_stranger_and_a_foreign_page_are_refused(app: App, who: str, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(
            f"{app.url}/rooms/lobby?token=token-of-{who}", additional_headers={"Origin": origin}
        ):
            pass
    assert refused.value.response.status_code == 403
