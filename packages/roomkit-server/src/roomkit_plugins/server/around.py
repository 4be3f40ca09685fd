"""What every answer gets: security headers, a line in the log, and its place in the metrics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from roomkit.abc.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from roomkit_plugins.server.metrics import Metrics

__all__ = ["Around"]

_log = get_logger("roomkit.server.access")
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_HEADERS = {
    b"x-content-type-options": b"nosniff",
    b"referrer-policy": b"no-referrer",
    b"cache-control": b"no-store",
    b"content-security-policy": b"default-src 'none'; frame-ancestors 'none'",
}
_HSTS = (b"strict-transport-security", b"max-age=31536000")


class Around:
    """An ASGI middleware. A header that an answer has already stays as it is.

    `patterns` are the paths of routes by their endpoints. The log has the pattern and no query: ids and
    tickets stay out of it.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, patterns: Mapping[Any, str], *, is_public_https: bool
    ) -> None:
        self._app = app
        self._patterns = patterns
        self._metrics = metrics
        self._headers = dict([*_HEADERS.items(), _HSTS] if is_public_https else _HEADERS.items())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or serve a socket."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 500

        async def send_more(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": self._completed(message.get("headers", ()))}
            await send(message)

        try:
            await self._app(scope, receive, send_more)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _completed(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        given = {name.lower() for name, _ in headers}
        return [*headers, *((name, value) for name, value in self._headers.items() if name not in given)]

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = self._patterns.get(scope.get("endpoint"), "none")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.request(route, method, status, seconds)
        _log.info("%s %s %s in %.1f ms", method, route, status, seconds * 1000)
