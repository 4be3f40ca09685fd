"""Frames that a server writes to its sockets itself."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

import pytest
from starlette.websockets import WebSocket
from websockets.asyncio.client import ClientConnection, connect

from roomkit import TextContent
from roomkit_plugins.server import ServerConfig
from roomkit_plugins.server.writing import sender_of

from .conftest import Site, key_of, keys

PATIENCE = 20
_PATH = "/v1/rooms/{}/socket?participant_id={}"


@pytest.fixture
def config() -> ServerConfig:
    return ServerConfig(port=0, keys=keys())


@pytest.fixture
async def served(site: Site) -> Site:
    await site.serve()
    return site


async def texts(socket: ClientConnection, number: int) -> list[str]:
    """The words of so many events, as they come."""
    found: list[str] = []
    async with asyncio.timeout(PATIENCE):
        while len(found) < number:
            frame = json.loads(await socket.recv())
            if frame["type"] == "event":
                found.append(frame["event"]["content"]["body"])
    return found


async def test_frames_of_quick_sockets_take_no_coroutine_of_the_framework(
    served: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames of every length that the format knows arrive as they were sent."""
    awaited: Counter[str] = Counter()
    send_text = WebSocket.send_text

    async def counted(self: WebSocket, data: str) -> None:
        awaited[json.loads(data)["type"]] += 1
        await send_text(self, data)

    monkeypatch.setattr(WebSocket, "send_text", counted)
    room = await served.room("acme", "ws")
    said = ["hello", "\u00e9" * 200, "a" * 100_000, "last"]
    header = {"Authorization": f"Bearer {key_of('acme')}"}
    async with (
        served.socket(_PATH.format(room, "ann"), **header) as ann,
        served.socket(_PATH.format(room, "bob"), **header) as bob,
    ):
        for socket in (ann, bob):
            assert json.loads(await socket.recv())["type"] == "ready"
        for text in said:
            await served.kit.send_event(room, "system", TextContent(body=text))
        assert [await texts(socket, len(said)) for socket in (ann, bob)] == [said] * 2
    assert not awaited["event"]


async def test_a_client_that_pauses_has_every_event_once_and_in_order(served: Site) -> None:
    """What does not fit into its buffer waits, and nothing overtakes it."""
    room = await served.room("acme", "ws")
    header = {"Authorization": f"Bearer {key_of('acme')}"}
    assert served.server is not None
    url = served.server.url.replace("http:", "ws:") + _PATH.format(room, "ann")
    said = [f"{number} {'x' * 40_000}" for number in range(300)]
    async with connect(url, additional_headers=header, max_queue=1) as ann:
        assert json.loads(await ann.recv())["type"] == "ready"
        for text in said:
            await served.kit.send_event(room, "system", TextContent(body=text))
        assert await texts(ann, len(said)) == said


@pytest.mark.parametrize("extensions", [{}, {"websocket.http.response": {}}])
async def test_behind_another_server_the_frameworks_function_sends(extensions: dict[str, Any]) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "websocket.connect"}

    socket = WebSocket({"type": "websocket", "extensions": extensions}, receive, send)
    await socket.accept()
    await sender_of(socket)("hello")
    assert sent[-1] == {"type": "websocket.send", "text": "hello"}
