"""Requests as a vendor's SDK writes them, to be sent and read by the provider itself.

Some SDKs give an answer only as their own models, which refuse what answers may hold: half a character, a
null that keeps a stream alive, a field of a kind that is newer than the SDK. Such an SDK still knows where a
request goes, how it is signed and how its fields are called. It gets a client that sends nothing and keeps
the request.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from types import ModuleType
from typing import Any

__all__ = ["capturing_client", "send", "written"]

_WRITTEN: ContextVar[list[Any]] = ContextVar("roomkit_written_requests")
_ENDED = {"content-type": "text/event-stream"}


def capturing_client(http: ModuleType) -> Any:
    """Return a client of `http`, a library of the httpx family, for an SDK whose requests are `written`."""

    async def keep(_: object, request: Any, **__: object) -> Any:
        _WRITTEN.get().append(request)
        return http.Response(200, headers=_ENDED, content=b"", request=request)

    nowhere = http.MockTransport(lambda request: http.Response(500))  # spares reading certificates
    return type("CapturingClient", (http.AsyncClient,), {"send": keep})(transport=nowhere)


async def written(call: Callable[[], Awaitable[object]]) -> Any:
    """Return the last request that the SDK writes while `call` runs; `call` reads the empty answer, too.

    Calls of other tasks do not mix with this one.
    """
    requests: list[Any] = []  # bound: one call
    token = _WRITTEN.set(requests)
    try:
        await call()
    finally:
        _WRITTEN.reset(token)
    return requests[-1]


async def send(client: Any, http: ModuleType, request: Any, *, timeout: float) -> Any:
    """Send a `written` request through `client`, and return the answer, open and unread.

    `timeout` is the seconds without a byte. Headers that the client has of its own are added, redirects
    are not followed.
    """
    for name, value in client.headers.items():
        request.headers.setdefault(name, value)
    request.extensions["timeout"] = http.Timeout(timeout).as_dict()
    return await client.send(request, stream=True, follow_redirects=False)
