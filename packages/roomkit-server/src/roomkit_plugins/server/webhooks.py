"""Routes of plugins, vendors' webhooks among them, as the server serves them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from starlette.responses import Response
from starlette.routing import Route as ServedRoute

from roomkit.abc.errors import InvalidInputError
from roomkit.abc.log import get_logger
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.server.errors import ScopeMissingError
from roomkit_plugins.server.problems import problem_response
from roomkit_plugins.server.requests import ids_in_path, part_at_slashes, read_body

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from roomkit.abc.route import ASGIApp, Route
    from roomkit.kernel.kit import RoomKit
    from roomkit_plugins.server.config import ServerConfig

__all__ = ["plugin_routes"]

_log = get_logger("roomkit.server")
_OWN = ("/v1/", "/health/")
_OWN_PATHS = frozenset({"/metrics", "/mcp", "/openapi.json", "/v1", "/health"})


def plugin_routes(kit: RoomKit, config: ServerConfig) -> Iterator[ServedRoute]:
    """Yield the routes of the kit's plugins.

    One that does not verify its caller is answered with 403 unless the configuration names it. Raises
    InvalidInputError for a path that the server needs itself, and for a name that no route has.
    """
    routes = kit.plugins.routes(kit)
    _check_names(config, {route.name for route in routes})
    for route in routes:
        if route.path.startswith(_OWN) or route.path in _OWN_PATHS:
            raise InvalidInputError(
                f"route {route.name!r} of a plugin has the path {route.path}, which the server needs itself"
            )
        if not route.secure and route.name not in config.insecure_routes:
            _log.warning(
                "route %s (%s) verifies no caller and is refused: name it in insecure_routes to serve it",
                route.name,
                route.path,
            )
            yield ServedRoute(route.path, _Refused().answer, methods=None if route.asgi else [route.method])
        elif route.asgi is not None:
            yield ServedRoute(route.path, _Mounted(route.asgi), name=route.name)
        else:
            answer = _Handler(kit, config, route).answer
            yield ServedRoute(route.path, answer, methods=[route.method], name=route.name)


def _check_names(config: ServerConfig, names: set[str]) -> None:
    for name in config.insecure_routes:
        if name not in names:
            raise InvalidInputError(
                f"insecure_routes names {name!r}, and no plugin has a route of that name: there are "
                f"{', '.join(sorted(names))}"
            )


class _Refused:
    """A route that is not served; one for each, since metrics know a route by its endpoint."""

    async def answer(self, request: Request) -> Response:
        """Answer that the route is not served."""
        return problem_response(
            ScopeMissingError("this route verifies no caller: the server's configuration does not allow it")
        )


class _Mounted:
    """An ASGI application of a plugin; Starlette takes a function for a handler of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(part_at_slashes(scope), receive, send)


class _Handler:
    """A plugin's handler: the request is read within bounds, and handed over as it came."""

    def __init__(self, kit: RoomKit, config: ServerConfig, route: Route) -> None:
        self._kit = kit
        self._config = config
        self._route = route

    async def answer(self, request: Request) -> Response:
        """Answer a request as the handler says."""
        handler = self._route.handler
        assert handler is not None  # a route has this, or an application
        try:
            answer = await handler(await self._read(request))
        except Exception as error:  # noqa: BLE001  # a plugin may raise anything: it gets an answer
            return problem_response(error)
        return Response(answer.body, answer.status, dict(answer.headers), media_type=answer.content_type)

    async def _read(self, request: Request) -> WebhookRequest:
        limit = self._kit.settings.max_webhook_bytes
        body = await read_body(request, limit=limit, seconds=self._config.body_timeout)
        return WebhookRequest(
            method=request.method,
            url=_public_url(request, self._config.public_url),
            headers=dict(request.headers),
            body=body,
            received_at=self._kit.clock.now().timestamp(),
            client_host=None if request.client is None else request.client.host,
            path_params=dict(ids_in_path(request)),
        )


def _public_url(request: Request, public_url: str | None) -> str:
    """Return the URL that the caller used: vendors sign it, each character of it."""
    scope = request.scope
    raw = bytes(scope.get("raw_path") or request.url.path.encode()).decode("latin-1").partition("?")[0]
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    if public_url is None:
        base = f"{request.url.scheme}://{request.url.netloc}"
    else:
        base = public_url
        raw = raw.removeprefix(scope.get("root_path", ""))
    return f"{base}{raw}?{query}" if query else f"{base}{raw}"
