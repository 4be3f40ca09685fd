"""Routes that plugins add to a server, free of any web framework."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any

from roomkit._dataclasses import dataclass
from roomkit.abc.errors import InvalidInputError

if TYPE_CHECKING:
    from roomkit.models.webhook import WebhookAnswer, WebhookRequest

__all__ = ["ASGIApp", "Route"]

type RouteHandler = Callable[[WebhookRequest], Awaitable[WebhookAnswer]]
type ASGIApp = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]],
    Awaitable[None],
]
"""An application of the ASGI specification, `await app(scope, receive, send)`: any values of the server's."""

_METHOD = re.compile(r"[A-Z]+|\*")
_PATH = re.compile(r"(/(\{[a-z_]+\}|[^{}/?#\s]+))+")
_PLACEHOLDER = re.compile(r"\{[a-z_]+\}")


@dataclass(slots=True, frozen=True, kw_only=True)
class Route:
    """One route: `handler` answers a request once it is read, or `asgi` takes it as it comes.

    `path` may have placeholders, as in `/webhooks/{channel}`; the handler finds them in
    `request.path_params`. `method` is `*` for an ASGI application, which gets every method. A route is
    `secure` if its code verifies the caller; a server serves others only where its configuration allows
    them. `name` is for logs and links.
    Raises InvalidInputError for a route that no server could serve.
    """

    path: str
    name: str
    method: str = "POST"
    secure: bool = True
    handler: RouteHandler | None = None
    asgi: ASGIApp | None = None

    def __post_init__(self) -> None:
        if not _PATH.fullmatch(self.path):
            raise InvalidInputError(
                f"route {self.name!r} has the path {self.path!r}: write '/parts/and/{{placeholders}}'"
            )
        if not _METHOD.fullmatch(self.method):
            raise InvalidInputError(f"route {self.name!r} has the method {self.method!r}: write 'POST'")
        if (self.handler is None) is (self.asgi is None):
            raise InvalidInputError(f"route {self.name!r} needs either a handler or an ASGI application")
        if (self.method == "*") is not (self.asgi is not None):
            raise InvalidInputError(f"route {self.name!r}: '*' is the method of ASGI applications alone")

    def collides_with(self, other: Route) -> bool:
        """Return whether a server could not say which of two routes a request is for."""
        same_method = self.method == other.method or "*" in (self.method, other.method)
        return same_method and _PLACEHOLDER.sub("{}", self.path) == _PLACEHOLDER.sub("{}", other.path)
