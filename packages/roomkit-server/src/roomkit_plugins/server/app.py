"""The ASGI application of a kit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from importlib import import_module
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute

from roomkit.abc.errors import InvalidInputError, RoomKitError
from roomkit_plugins.server.api import ENDPOINTS
from roomkit_plugins.server.around import Around
from roomkit_plugins.server.config import Scope as KeyScope
from roomkit_plugins.server.config import ServerConfig
from roomkit_plugins.server.configured import configured
from roomkit_plugins.server.endpoint import EndpointApp
from roomkit_plugins.server.entrance import Entrance
from roomkit_plugins.server.health import Health
from roomkit_plugins.server.metrics import CONTENT_TYPE, Metrics
from roomkit_plugins.server.openapi import openapi
from roomkit_plugins.server.problems import problem_response, refusal_response
from roomkit_plugins.server.requests import keep_slashes
from roomkit_plugins.server.sockets import Sockets
from roomkit_plugins.server.stopping import Stopping
from roomkit_plugins.server.streams import EventStreams
from roomkit_plugins.server.tickets import Tickets
from roomkit_plugins.server.webhooks import plugin_routes

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.server.mcp import McpEndpoint

__all__ = ["ServerApp", "create_app"]


def create_app(kit: RoomKit, config: ServerConfig | None = None) -> ServerApp:
    """Return an ASGI application that serves `kit`: run it alone, or mount it in another one.

    Without `config` it is the table `[server]` that the kit was built with, else the defaults. The routes of
    plugins are read at the first request, so channels and plugins may be added until then. Run alone, its
    lifespan starts the kit and closes it. In an application that it is mounted in, whose lifespan alone is
    run, the kit is started by the first request, and closing it is the program's.
    """
    return ServerApp(kit, configured(kit) if config is None else config)


_HEADERS = (
    *("Authorization", "Content-Type", "Last-Event-ID"),
    *("MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"),
)
"""What pages may send beyond what every page may."""


class ServerApp:
    """The application: it is built when it is first asked for something. Made by `create_app`."""

    def __init__(self, kit: RoomKit, config: ServerConfig) -> None:
        self.config = config
        self.stopping = Stopping()
        self._kit = kit
        self._entrance = Entrance(kit, config, self.stopping)
        self._health = Health(kit, self.stopping)
        self._building = asyncio.Lock()
        self._app: ASGIApp | None = None
        self._alone = Starlette(lifespan=self._lifespan)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a connection, or the life of the server."""
        if scope["type"] == "lifespan":
            await self._alone(scope, receive, send)
            return
        try:
            app = self._app or await self.build()
        except RoomKitError as error:
            await _refuse(error, scope, receive, send)
            return
        await app(keep_slashes(scope), receive, send)

    @asynccontextmanager
    async def _lifespan(self, app: Starlette) -> AsyncIterator[None]:
        await self.build()
        yield
        self.stopping.begin()
        await self._kit.close()

    async def build(self) -> ASGIApp:
        """Start the kit and return what serves it; later calls return the same.

        Raises what `RoomKit.start` raises, and InvalidInputError for a configuration that does not fit the
        routes of the kit's plugins.
        """
        async with self._building:
            if self._app is None:
                await self._kit.start()
                others = [*plugin_routes(self._kit, self.config)]  # first, for it may raise
                self._app = self._built(others, await self._mcp() if self.config.mcp else None)
        return self._app

    async def _mcp(self) -> ASGIApp:
        """Return the front end for assistants. Raises InvalidInputError where its SDK is not installed."""
        try:
            module = await asyncio.to_thread(import_module, "roomkit_plugins.server.mcp")  # takes a second
        except ModuleNotFoundError as error:
            if error.name not in ("mcp", "mcp_types"):
                raise
            raise InvalidInputError(
                "cannot serve MCP: its SDK is not installed; run pip install 'roomkit-server[mcp]', or set "
                "mcp = false"
            ) from error
        endpoint: McpEndpoint = module.McpEndpoint(self._kit, self._entrance, self.config)
        await endpoint.start()
        return endpoint

    def _built(self, others: Sequence[BaseRoute], mcp: ASGIApp | None) -> ASGIApp:
        config = self.config
        metrics = Metrics(self._kit, lambda: self._entrance.open_connections)
        routes = [*self._routes(metrics), *others]
        if mcp is not None:
            routes.append(Route("/mcp", mcp, methods=["POST"]))
        handlers = {HTTPException: _http_problem, Exception: _failure}
        app: ASGIApp = Starlette(routes=routes, exception_handlers=handlers)
        if config.origins:
            app = CORSMiddleware(
                app,
                allow_origins=config.origins,
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=_HEADERS,
            )
        patterns = {route.endpoint: route.path for route in routes if isinstance(route, Route)}
        is_https = (config.public_url or "").startswith("https:")
        return Around(app, metrics, patterns, is_public_https=is_https)

    def _routes(self, metrics: Metrics) -> Iterator[BaseRoute]:
        for endpoint in ENDPOINTS:
            answer = EndpointApp(endpoint, self._entrance, self.config).answer
            yield Route(endpoint.path, answer, methods=[endpoint.method], name=endpoint.name)
        kit, room = self._kit, "/v1/rooms/{room_id}"
        values = kit.services_of("server").values
        tickets = Tickets(values, kit.clock, self.config.ticket_seconds)
        sockets = Sockets(kit, self.config, self._entrance, tickets)
        yield Route(f"{room}/tickets", sockets.give_ticket, methods=["POST"])
        yield WebSocketRoute(f"{room}/socket", sockets.serve)
        yield Route(f"{room}/stream", EventStreams(kit, self._entrance, self.stopping).answer)
        yield Route("/openapi.json", _document)
        yield Route("/health/live", self._health.live)
        yield Route("/health/ready", self._health.ready)
        yield Route("/metrics", _MetricsRoute(metrics, self._entrance, self.config).answer)


class _MetricsRoute:
    """Serves the metrics to keys with the scope, or to everyone where the configuration says so."""

    def __init__(self, metrics: Metrics, entrance: Entrance, config: ServerConfig) -> None:
        self._metrics = metrics
        self._entrance = entrance
        self._is_open = config.open_metrics

    async def answer(self, request: Request) -> Response:
        """Answer with the metrics."""
        try:
            if not self._is_open:
                self._entrance.admit(request, KeyScope.METRICS_READ)
        except RoomKitError as error:
            return problem_response(error)
        return Response(self._metrics.document(), headers={"Content-Type": CONTENT_TYPE})


async def _document(request: Request) -> Response:
    return JSONResponse(openapi())


async def _http_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return refusal_response(error.status_code, error.headers)


async def _failure(request: Request, error: Exception) -> Response:
    return problem_response(error)


async def _refuse(error: RoomKitError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer while the kit cannot be started."""
    if scope["type"] == "http":
        await problem_response(error)(scope, receive, send)
    else:
        await send({"type": "websocket.close", "code": 1013, "reason": error.code})
