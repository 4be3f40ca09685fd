"""Health, metrics, the OpenAPI document, mounting, and the end of a server."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.routing import Mount
from websockets.exceptions import InvalidStatus

from roomkit import RoomKit
from roomkit.abc import InvalidInputError, Route
from roomkit.models import WebhookAnswer
from roomkit.plugins import PluginManager, hookimpl
from roomkit_plugins.server import KitServer, ServerConfig, create_app
from roomkit_plugins.server.openapi import openapi

from .conftest import Site, key_of, keys, signed


async def test_a_server_is_live_and_ready_until_it_drains(site: Site) -> None:
    client = await site.client(None)
    assert (await client.get("/health/live")).json() == {"status": "live"}
    ready = await client.get("/health/ready")
    assert (ready.status_code, ready.json()) == (200, {"status": "ready", "broken_channels": []})
    site.app.stopping.drain()
    assert (await client.get("/health/ready")).json() == {"status": "draining"}
    assert (await (await site.client()).get("/v1/rooms")).status_code == 200
    site.app.stopping.begin()
    refused = await (await site.client()).get("/v1/rooms")
    assert (refused.status_code, refused.json()["code"]) == (503, "server_stopping")
    assert (await client.post("/webhooks/sms", **signed("last words"))).status_code == 200


async def test_a_server_whose_store_is_away_is_not_ready(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise ConnectionError("away")

    monkeypatch.setattr(site.kit.store, "query_rooms", fail)
    answer = await (await site.client(None)).get("/health/ready")
    assert (answer.status_code, answer.json()) == (503, {"status": "store_unavailable"})


async def test_metrics_count_requests_by_route_and_never_by_what_callers_write(site: Site) -> None:
    client = await site.client()
    await client.get("/v1/rooms/canary")
    await client.get("/canary")
    await client.request("CANARY", "/v1/rooms")
    await client.post("/webhooks/sms", content=b"forged")
    await client.post("/webhooks/canary", content=b"forged")
    await client.post("/webhooks/sms/canary", content=b"forged")
    page = (await client.get("/metrics")).text
    assert 'roomkit_http_requests_total{method="GET",route="/v1/rooms/{room_id}",status="404"} 1.0' in page
    assert 'roomkit_http_requests_total{method="POST",route="/webhooks/{channel}",status="401"} 1.0' in page
    assert 'roomkit_notices_total{channel="sms",type="webhook_refused"} 2.0' in page
    assert 'roomkit_notices_total{channel="",type="webhook_refused"} 1.0' in page
    assert "roomkit_connections 0.0" in page
    assert "canary" not in page.lower()
    assert (await (await site.client(None)).get("/metrics")).status_code == 401


async def test_metrics_may_be_open_to_everyone() -> None:
    async with RoomKit() as kit:
        site = Site(kit, ServerConfig(open_metrics=True))
        assert (await (await site.client(None)).get("/metrics")).status_code == 200
        await site.close()


async def test_every_answer_has_the_headers_of_a_careful_server(site: Site) -> None:
    client = await site.client()
    for path in ("/v1/rooms", "/v1/none", "/health/live", "/webhooks/sms", "/metrics"):
        headers = (await client.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert "server" not in headers


async def test_the_document_describes_every_operation(site: Site) -> None:
    document = (await (await site.client(None)).get("/openapi.json")).json()
    assert document == openapi()
    names = [operation["operationId"] for path in document["paths"].values() for operation in path.values()]
    assert len(names) == len(set(names)) == 31
    text = str(document)
    for reference in {part.split("'")[0] for part in text.split("#/components/schemas/")[1:]}:
        assert reference in document["components"]["schemas"]


async def test_pages_of_named_origins_may_use_the_api(config) -> None:
    async with RoomKit() as kit:
        site = Site(kit, config.model_copy(update={"origins": ("https://shop.example",)}))
        client = await site.client()
        ours = await client.get("/v1/rooms", headers={"Origin": "https://shop.example"})
        theirs = await client.get("/v1/rooms", headers={"Origin": "https://evil.example"})
        assert ours.headers["access-control-allow-origin"] == "https://shop.example"
        assert "access-control-allow-origin" not in theirs.headers
        await site.close()


# -- mounting ---------------------------------------------------------------------------------


async def test_an_application_mounts_it_under_a_path() -> None:
    kit = RoomKit()
    site = Site(kit, ServerConfig(keys=keys(), public_url="https://bot.example/chat"))
    outer = Starlette(routes=[Mount("/chat", app=site.app)])
    transport = httpx2.ASGITransport(app=outer)
    headers = {"Authorization": f"Bearer {key_of('acme')}"}
    async with httpx2.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
        assert (await client.get("/chat/v1/rooms")).status_code == 200
        request = signed("hello", url="https://bot.example/chat/webhooks/sms")
        assert (await client.post("/chat/webhooks/sms", **request)).status_code == 200
    assert await site.texts() == ["hello"]
    await site.close()
    await kit.close()


async def test_an_id_with_a_slash_is_reached_where_it_is_mounted_too() -> None:
    """Also one with a part of the path that it is mounted under."""
    async with RoomKit() as kit:
        app = Starlette(routes=[Mount("/chat", app=create_app(kit, ServerConfig(keys=keys())))])
        headers = {"Authorization": f"Bearer {key_of('operator')}"}
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://x", headers=headers) as client:
            for room_id in ("chat/chat", "a/b"):
                await client.post("/chat/v1/rooms", json={"room_id": room_id})
                answer = await client.get(f"/chat/v1/rooms/{room_id.replace('/', '%2F')}")
                assert answer.json()["id"] == room_id


async def test_alone_its_lifespan_starts_and_closes_the_kit() -> None:
    kit = RoomKit()
    app = create_app(kit)
    messages: asyncio.Queue = asyncio.Queue()
    sent: list[str] = []

    async def send(message):
        sent.append(message["type"])
        if message["type"] == "lifespan.startup.complete":
            messages.put_nowait({"type": "lifespan.shutdown"})

    messages.put_nowait({"type": "lifespan.startup"})
    async with asyncio.timeout(20):
        await app({"type": "lifespan", "state": {}}, messages.get, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(Exception, match="closed"):
        await kit.create_room()


# -- routes of plugins ------------------------------------------------------------------------


class Plugin:
    """Brings a route that verifies its caller, and one that does not."""

    def __init__(self, path: str = "/open") -> None:
        self.path = path

    @hookimpl
    def roomkit_routes(self, kit, services, settings):
        async def answer(request):
            return WebhookAnswer.of_json({"at": request.path_params.get("what")})

        async def app(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"mounted"})

        return [
            Route(path="/verified/{what}", name="verified", method="GET", handler=answer),
            Route(path=self.path, name="open", method="GET", secure=False, handler=answer),
            Route(path="/app", name="app", method="*", asgi=app),
        ]


class Found:
    """An entry point, as installed packages have them."""

    group = "roomkit"
    dist = None

    def __init__(self, plugin: Plugin) -> None:
        self.name = self.value = "acme"
        self.plugin = plugin

    def load(self):
        return self.plugin


async def test_a_route_of_a_plugin_gets_ids_and_paths_as_they_were_written() -> None:
    paths: list[str] = []

    class Mounted(Plugin):
        @hookimpl
        def roomkit_routes(self, kit, services, settings):
            async def app(scope, receive, send):
                paths.append(scope["path"])
                await send({"type": "http.response.start", "status": 200, "headers": []})
                await send({"type": "http.response.body", "body": b""})

            route = Route(path="/app/{rest}/c", name="apps", method="*", asgi=app)
            return [*super().roomkit_routes(kit, services, settings), route]

    async with site_with(Mounted(), ServerConfig()) as site:
        client = await site.client(None)
        assert (await client.get("/verified/a%2Fb")).json() == {"at": "a/b"}
        await client.get("/app/a%2Fb/c")
        assert paths == ["/app/a/b/c"]


@contextlib.asynccontextmanager
async def site_with(plugin: Plugin, config: ServerConfig):
    manager = PluginManager(entry_points=[Found(plugin)])
    async with RoomKit(plugins=manager) as kit:
        site = Site(kit, config)
        yield site
        await site.close()


async def test_a_route_that_verifies_nobody_is_served_only_if_it_is_named() -> None:
    for names, status in (((), 403), (("open",), 200)):
        async with site_with(Plugin(), ServerConfig(insecure_routes=names)) as site:
            client = await site.client(None)
            assert (await client.get("/open")).status_code == status
            assert (await client.get("/verified/it")).json() == {"at": "it"}
            assert (await client.get("/app")).text == "mounted"


async def test_refused_routes_are_counted_each_by_its_own_path() -> None:
    class Two(Plugin):
        @hookimpl
        def roomkit_routes(self, kit, services, settings):
            routes = super().roomkit_routes(kit, services, settings)
            return [
                *routes,
                Route(path="/other", name="other", method="GET", secure=False, handler=routes[0].handler),
            ]

    async with site_with(Two(), ServerConfig(open_metrics=True)) as site:
        client = await site.client(None)
        for path in ("/open", "/other", "/open"):
            assert (await client.get(path)).status_code == 403
        page = (await client.get("/metrics")).text
    assert 'roomkit_http_requests_total{method="GET",route="/open",status="403"} 2.0' in page
    assert 'roomkit_http_requests_total{method="GET",route="/other",status="403"} 1.0' in page


async def test_an_application_that_cannot_be_built_leaves_nothing_behind_at_each_request() -> None:
    async with site_with(Plugin(), ServerConfig(insecure_routes=("opne",), mcp=True)) as site:
        client = await site.client(None)
        for _ in range(3):
            assert (await client.get("/health/live")).status_code == 400
        assert not [task for task in asyncio.all_tasks() if "MCP" in task.get_name()]


@pytest.mark.parametrize(
    ("path", "names", "words"),
    [
        ("/v1/rooms", (), "which the server needs itself"),
        ("/open", ("opne",), "insecure_routes names 'opne'"),
    ],
)
async def test_routes_that_cannot_be_served_are_refused_at_the_start(path, names, words) -> None:
    async with site_with(Plugin(path), ServerConfig(insecure_routes=names)) as site:
        with pytest.raises(InvalidInputError, match=words):
            await site.app.build()


# -- how many connections ---------------------------------------------------------------------


async def test_as_many_connections_as_configured_are_served_and_no_further_one(site: Site) -> None:
    """Neither one that asks for a web socket."""
    small = site.with_config(max_connections=2)
    room = await small.room("acme", "ws")
    url = await small.serve()
    path = f"/v1/rooms/{room}/socket?participant_id=ann"
    headers = {"Authorization": f"Bearer {key_of('acme')}"}
    async with httpx2.AsyncClient(base_url=url) as one, small.socket(path, **headers):
        assert (await one.get("/health/live")).status_code == 200
        async with httpx2.AsyncClient(base_url=url) as third:
            assert (await third.get("/health/live")).status_code == 503
        with pytest.raises(InvalidStatus) as refused:
            async with small.socket(path, **headers):
                pass
        assert refused.value.response.status_code == 503
    await small.close()


# -- the end ----------------------------------------------------------------------------------


async def test_a_stop_under_load_loses_nothing_that_was_answered(site: Site) -> None:
    """Clients send until the server is gone; all answered with 2xx is stored, the rest may be repeated."""
    url = await site.serve()
    client = await site.remote(None)
    answered: list[str] = []
    half = asyncio.Event()

    async def send(number: int) -> None:
        request = signed(f"text {number}", number, url=f"{url}/webhooks/sms")
        with contextlib.suppress(httpx2.TransportError):
            if (await client.post("/webhooks/sms", **request)).status_code == 200:
                answered.append(f"text {number}")
        if len(answered) >= 20:
            half.set()

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number in range(100):
            group.create_task(send(number))
        await half.wait()
        await site.server.close()
    stored = await site.texts()
    assert len(answered) >= 20
    assert sorted(stored) == sorted(set(stored))
    assert set(answered) <= set(stored)


async def test_a_server_that_is_left_open_is_closed_with_its_kit() -> None:
    async with RoomKit() as kit:
        server = KitServer(kit, ServerConfig(port=0))
        await server.start()
        await server.start()  # once
        url = server.url
    async with httpx2.AsyncClient() as client:
        with pytest.raises(httpx2.ConnectError):
            await client.get(f"{url}/health/live")
    await server.close()  # likewise


async def test_an_address_that_is_taken_is_an_error_of_the_caller(site: Site) -> None:
    await site.serve()
    second = KitServer(site.kit, ServerConfig(port=site.server.port))
    with pytest.raises(OSError, match="in use"):
        await second.start()


async def test_while_it_drains_it_serves_on(site: Site) -> None:
    site.config = site.config.model_copy(update={"drain_seconds": 60})
    await site.serve()
    client = await site.remote(None)
    closing = asyncio.ensure_future(site.server.close())
    async with asyncio.timeout(20):
        while (await client.get("/health/ready")).status_code != 503:
            pass
    assert (await client.get("/health/live")).status_code == 200
    closing.cancel()
    site.server._config = site.server._config.model_copy(update={"drain_seconds": 0})


class Who(Plugin):
    """Has a route that notes who calls it."""

    def __init__(self) -> None:
        self.seen = []

    @hookimpl
    def roomkit_routes(self, kit, services, settings):
        async def answer(request):
            self.seen.append(request.client_host)
            return WebhookAnswer()

        return [Route(path="/who", name="who", handler=answer)]


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_all_addresses_are_those_of_both_families() -> None:
    """Limits and proxies know an IPv4 caller by its own address."""
    who = Who()
    config = ServerConfig(host="::", port=0, keys=keys(), trusted_proxies=("127.0.0.0/8",))
    async with site_with(who, config) as site:
        await site.serve()
        assert site.server is not None
        async with httpx2.AsyncClient() as client:
            for host in ("127.0.0.1", "[::1]"):
                url = f"http://{host}:{site.server.port}/who"
                answered = await client.post(url, headers={"X-Forwarded-For": "203.0.113.7"})
                assert answered.status_code == 200
    assert who.seen == ["203.0.113.7", "::1"]
