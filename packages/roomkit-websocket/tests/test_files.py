"""Clients get URLs that they can load, and never a reference to a file of the kit's."""

from __future__ import annotations

import asyncio
import json

import pytest
from websockets.asyncio.client import connect

from roomkit import (
    AudioContent,
    CompositeContent,
    InMemoryLockManager,
    InMemoryMediaStore,
    MediaContent,
    RichContent,
    RoomKit,
    TextContent,
    VideoContent,
)
from roomkit.testing import SharedRealtime, SharedStore
from roomkit_plugins.websocket import WebSocketChannel


@pytest.fixture
async def kits():
    """Two workers that serve one room, with a file store that both have."""
    shared = {
        "store": SharedStore(),
        "realtime": SharedRealtime(),
        "lock_manager": InMemoryLockManager(),
        "media": InMemoryMediaStore(),
        "media_url": "https://kit.example",
        "single_process": True,
    }
    kits = [RoomKit(**shared) for _ in range(2)]
    for kit in kits:
        kit.register_channel(WebSocketChannel("ws"))
        await kit.start()
    await kits[0].create_room("room")
    await kits[0].attach_channel("room", "ws")
    yield kits
    for kit in kits:
        await kit.close()


async def event_of(socket):
    async with asyncio.timeout(30):
        while (frame := json.loads(await socket.recv()))["type"] != "event":
            pass
    return frame["event"]


def image(url):
    return MediaContent(url=url, mime_type="image/png")


CONTENTS = {
    "media": image,
    "audio": lambda url: AudioContent(url=url, mime_type="audio/mpeg"),
    "video": lambda url: VideoContent(
        url="https://films.example/1", mime_type="video/mp4", thumbnail_url=url
    ),
    "card": lambda url: RichContent(body="a hat", cards=[{"title": "hat", "media_url": url}]),
    "composite": lambda url: CompositeContent(parts=[TextContent(body="look"), image(url)]),
}


@pytest.mark.parametrize("worker", [0, 1], ids=["the same worker", "another worker"])
@pytest.mark.parametrize("kind", CONTENTS)
async def test_a_file_is_shown_by_its_url_live_and_when_a_client_comes_back(kits, worker, kind):
    kit = kits[worker]
    async with kit.get_channel("ws").serve(kit) as server:
        async with connect(server.url("room", "bob")) as socket:
            assert json.loads(await socket.recv())["type"] == "ready"
            ref = await kits[0].media.put("room", b"\x89PNG\r\n\x1a\n", mime_type="image/png")
            sent = await kits[0].send_event("room", "system", CONTENTS[kind](ref.url))
            live = await event_of(socket)
        async with connect(server.url("room", "bob", after=sent.index - 1)) as socket:
            missed = await event_of(socket)
    for shown in (live, missed):
        assert shown["id"] == sent.id
        text = json.dumps(shown["content"])
        assert f"https://kit.example/media/{ref.id}?until=" in text
        assert ref.url not in text
