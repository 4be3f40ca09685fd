"""Web sockets and event streams, by real connections."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx2
import pytest
from pydantic import ValidationError
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from roomkit import TextContent
from roomkit_plugins.server import Scope, ServerConfig
from roomkit_plugins.testing import ScriptedIntelligence

from .conftest import Site, key_of, keys

PATIENCE = 20


@pytest.fixture
def config():
    return ServerConfig(
        port=0,
        keys=keys(reader=(Scope.ROOMS_READ,), few=tuple(Scope)),
        origins=("https://shop.example",),
    )


@pytest.fixture
async def served(site):
    await site.serve()
    return site


async def frames(socket: ClientConnection, number: int) -> list[dict]:
    async with asyncio.timeout(PATIENCE):
        return [json.loads(await socket.recv()) for _ in range(number)]


async def ticket(site: Site, room: str, who: str = "ann") -> str:
    answer = await (await site.client()).post(
        f"/v1/rooms/{room}/tickets", json={"channel_id": "ws", "participant_id": who}
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["ticket"]


def by_key(name: str = "acme") -> dict[str, str]:
    return {"Authorization": f"Bearer {key_of(name)}"}


# -- sockets ----------------------------------------------------------------------------------


async def test_a_room_whose_id_has_a_slash_has_tickets_sockets_and_streams(served: Site) -> None:
    await served.kit.create_room("a/b", organization_id="acme")
    await served.kit.attach_channel("a/b", "ws")
    given = await ticket(served, "a%2Fb")
    async with served.socket(f"/v1/rooms/a%2Fb/socket?ticket={given}") as ann:
        assert (await frames(ann, 1))[0]["type"] == "ready"
        client = await served.remote()
        async with client.stream("GET", "/v1/rooms/a%2Fb/stream?channel_id=ws") as stream:
            assert stream.status_code == 200


async def test_people_with_tickets_talk_and_one_resumes_where_they_were(served: Site) -> None:
    room = await served.room("acme", "ws")
    path = f"/v1/rooms/{room}/socket"
    async with served.socket(f"{path}?ticket={await ticket(served, room)}") as ann:
        async with served.socket(f"{path}?ticket={await ticket(served, room, 'bob')}") as bob:
            assert (await frames(bob, 1))[0]["participant_id"] == "bob"
            await ann.send('{"type": "typing"}')
            await ann.send('{"type": "message", "text": "hello", "client_id": "m1"}')
            kinds = {frame["type"]: frame for frame in await frames(bob, 2)}
            assert kinds["event"]["event"]["content"]["body"] == "hello"
            assert kinds["ephemeral"]["event"]["type"] == "typing_start"
            index = kinds["event"]["event"]["index"]
        await served.kit.send_event(room, "system", TextContent(body="while bob was away"))
        async with served.socket(f"{path}?ticket={await ticket(served, room, 'bob')}&after={index}") as bob:
            _, missed = await frames(bob, 2)
            assert missed["event"]["content"]["body"] == "while bob was away"


async def test_an_answer_is_shown_while_it_grows(served: Site) -> None:
    served.kit.register_channel(ScriptedIntelligence("bot", ["one two three"], streaming=True))
    room = await served.room("acme", "ws", "bot")
    async with served.socket(f"/v1/rooms/{room}/socket?participant_id=ann", **by_key()) as ann:
        await ann.send('{"type": "message", "text": "count"}')
        seen = []
        while not seen or seen[-1]["type"] != "stream_end":
            seen += await frames(ann, 1)
        assert "".join(frame["delta"] for frame in seen if frame["type"] == "stream_chunk") == "one two three"


async def test_a_ticket_is_good_once(served: Site) -> None:
    room = await served.room("acme", "ws")
    path = f"/v1/rooms/{room}/socket?ticket={await ticket(served, room)}"

    async def enter() -> int:
        try:
            async with served.socket(path) as ann:
                await frames(ann, 1)
                return 101
        except InvalidStatus as refused:
            return refused.response.status_code

    assert sorted(await asyncio.gather(*(enter() for _ in range(5)))) == [101, 401, 401, 401, 401]


async def test_a_ticket_that_is_too_old_is_refused(site: Site) -> None:
    """The store's time has passed; no client has to wait for it."""
    site = site.with_config(ticket_seconds=1e-6)
    await site.serve()
    room = await site.room("acme", "ws")
    with pytest.raises(InvalidStatus) as refused:
        async with site.socket(f"/v1/rooms/{room}/socket?ticket={await ticket(site, room)}"):
            pass
    assert refused.value.response.status_code == 401
    await site.close()


async def test_a_ticket_is_for_its_room_alone(served: Site) -> None:
    room, other = await served.room("acme", "ws"), await served.room("acme", "ws")
    with pytest.raises(InvalidStatus) as refused:
        async with served.socket(f"/v1/rooms/{other}/socket?ticket={await ticket(served, room)}"):
            pass
    assert refused.value.response.status_code == 401


@pytest.mark.parametrize(
    ("query", "key", "status"),
    [
        ("", None, 401),
        ("?ticket=nonsense", None, 401),
        ("?participant_id=ann", "reader", 403),
        ("", "acme", 400),
        ("?participant_id=ann&channel_id=desk", "acme", 404),
        ("?participant_id=ann&channel_id=none", "acme", 404),
        ("?participant_id=ann&after=x", "acme", 400),
    ],
)
async def test_who_may_not_connect_is_refused_before_the_socket_opens(
    served: Site, query: str, key: str | None, status: int
) -> None:
    room = await served.room("acme", "ws", "desk")
    with pytest.raises(InvalidStatus) as refused:
        async with served.socket(f"/v1/rooms/{room}/socket{query}", **(by_key(key) if key else {})):
            pass
    response = refused.value.response
    assert response.status_code == status
    assert json.loads(response.body)["status"] == status


async def test_a_page_of_another_site_is_refused(served: Site) -> None:
    room = await served.room("acme", "ws")
    for origin, status in (("https://evil.example", 401), ("https://shop.example", 101)):
        path = f"/v1/rooms/{room}/socket?ticket={await ticket(served, room)}"
        try:
            async with served.socket(path, Origin=origin) as ann:
                await frames(ann, 1)
            assert status == 101
        except InvalidStatus as refused:
            assert refused.response.status_code == status


@pytest.mark.parametrize(
    "origin", ["*", "null", "shop.example", "https://shop.example/", "https://Shop.example", "https://"]
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    """Each page would be refused, and nothing would say why."""
    with pytest.raises(ValidationError, match="is not an origin as browsers send it: write https://"):
        ServerConfig(origins=(origin,))
    for known in ("https://shop.example", "http://localhost:3000", "capacitor://localhost", "http://[::1]:8"):
        assert ServerConfig(origins=(known,)).origins == (known,)


async def test_a_key_has_so_many_connections_and_no_more(site: Site) -> None:
    few = site.config.keys["few"].model_copy(update={"max_connections": 1})
    site = site.with_config(keys={"few": few})
    await site.serve()
    room = await site.room("acme", "ws")
    path = f"/v1/rooms/{room}/socket?participant_id=ann"
    async with site.socket(path, **by_key("few")) as ann:
        await frames(ann, 1)
        with pytest.raises(InvalidStatus) as refused:
            async with site.socket(path, **by_key("few")):
                pass
        assert refused.value.response.status_code == 429
        stream = await (await site.remote("few")).get(f"/v1/rooms/{room}/stream?channel_id=ws")
        assert stream.status_code == 429
    await site.close()


async def test_a_banned_participant_is_closed_with_the_reason(served: Site) -> None:
    room = await served.room("acme", "ws")
    async with served.socket(f"/v1/rooms/{room}/socket?participant_id=ann", **by_key()) as ann:
        await frames(ann, 1)
        await served.kit.remove_participant(room, "ann", banned=True)
        assert (await frames(ann, 1))[0]["code"] == "participant_banned"
        with pytest.raises(ConnectionClosed):
            await frames(ann, 1)


# -- streams ----------------------------------------------------------------------------------


@asynccontextmanager
async def stream(
    client: httpx2.AsyncClient, room: str, query: str = "", **headers: str
) -> AsyncIterator[AsyncIterator[dict]]:
    """The events of a stream: kind, id and data."""
    path = f"/v1/rooms/{room}/stream?channel_id=ws{query}"
    async with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")

        async def events() -> AsyncIterator[dict]:
            found: dict = {}
            async for line in answer.aiter_lines():
                name, _, value = line.partition(": ")
                if line:
                    found[name] = value
                elif "data" in found:
                    yield {**found, "data": json.loads(found["data"])}
                    found = {}

        yield events()


async def take(events: AsyncIterator[dict], number: int) -> list[dict]:
    async with asyncio.timeout(PATIENCE):
        return [await anext(events) for _ in range(number)]


async def test_a_stream_has_what_was_and_what_comes_and_resumes_by_the_last_id(served: Site) -> None:
    room = await served.room("acme", "ws")
    client = await served.remote()
    for text in ("one", "two"):
        await served.kit.send_event(room, "system", TextContent(body=text))
    async with stream(client, room, "&after=-1") as events:
        seen = await take(events, 2)
        await served.kit.send_event(room, "system", TextContent(body="three"))
        seen += await take(events, 1)
    assert [each["data"]["content"]["body"] for each in seen] == ["one", "two", "three"]
    assert [int(each["id"]) for each in seen] == [each["data"]["index"] for each in seen]
    async with stream(client, room, "&after=-1", **{"Last-Event-ID": seen[0]["id"]}) as events:
        assert [each["data"]["content"]["body"] for each in await take(events, 2)] == ["two", "three"]


async def test_the_head_of_a_stream_is_answered_at_once(served: Site) -> None:
    """It holds no connection: the next request of the client is answered, too."""
    room = await served.room("acme", "ws")
    client = await served.remote()
    path = f"/v1/rooms/{room}/stream?channel_id=ws"
    async with asyncio.timeout(PATIENCE):
        answer = await client.head(path)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert (await client.head(f"{path}&after=-2")).status_code == 400
        assert (await client.get("/v1/rooms")).status_code == 200
    assert served.server.app._entrance.open_connections == 0


async def test_a_stream_shows_what_its_channel_sees_and_nothing_else(served: Site) -> None:
    room = await served.room("acme", "ws", "desk")
    for text, visibility in (("hidden", "desk"), ("none", "none"), ("shown", "all")):
        await served.kit.send_event(room, "system", TextContent(body=text), visibility=visibility)
    async with stream(await served.remote(), room, "&after=-1") as events:
        assert [each["data"]["content"]["body"] for each in await take(events, 1)] == ["shown"]


async def test_a_stream_shows_answers_while_they_grow(served: Site) -> None:
    served.kit.register_channel(ScriptedIntelligence("bot", ["one two"], streaming=True))
    room = await served.room("acme", "ws", "bot")
    async with served.socket(f"/v1/rooms/{room}/socket?participant_id=ann", **by_key()) as ann:
        await frames(ann, 1)
        async with stream(await served.remote(), room, "&after=-1") as events:
            await ann.send('{"type": "message", "text": "count"}')
            seen = []
            while not seen or seen[-1]["data"].get("content", {}).get("body") != "one two":
                seen += await take(events, 1)
    assert seen[0]["data"]["content"]["body"] == "count"


async def test_a_stream_ends_with_the_reason_when_its_room_is_deleted(served: Site) -> None:
    room = await served.room("acme", "ws")
    async with stream(await served.remote(), room, "&after=-1") as events:
        await served.kit.send_event(room, "system", TextContent(body="one"))
        await take(events, 1)
        await served.kit.detach_channel(room, "ws")
        (end,) = await take(events, 1)
        assert (end["event"], end["data"]) == ("end", {"code": "room_not_found"})


async def test_a_stopping_server_ends_its_streams_and_sockets(served: Site) -> None:
    room = await served.room("acme", "ws")
    async with (
        served.socket(f"/v1/rooms/{room}/socket?participant_id=ann", **by_key()) as ann,
        stream(await served.remote(), room, "&after=-1") as events,
    ):
        await frames(ann, 1)
        async with asyncio.timeout(PATIENCE):
            closing = asyncio.ensure_future(served.server.close())
            (end,) = await take(events, 1)
            assert end["data"] == {"code": "server_stopping"}
            with pytest.raises(ConnectionClosed):
                await ann.recv()
            await closing


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("", {}, 400),
        ("?channel_id=sms", {}, 404),
        ("?channel_id=ws", {"Last-Event-ID": "x"}, 400),
        ("?channel_id=ws", {"Last-Event-ID": "9" * 30}, 400),
        ("?channel_id=ws&after=-2", {}, 400),
    ],
)
async def test_a_stream_of_nothing_is_refused(site: Site, query: str, headers: dict, status: int) -> None:
    room = await site.room("acme", "ws")
    answer = await (await site.client()).get(f"/v1/rooms/{room}/stream{query}", headers=headers)
    assert answer.status_code == status
