"""Requests as a vendor's SDK writes them, to be sent and read by the provider itself.

Some SDKs give an answer only as their own models, which refuse what answers may hold: half a character, a
null that keeps a stream alive, a field of a kind that is newer than the SDK. Such an SDK still knows where a
request goes, how it is signed and how its fields are called. It gets a client that sends nothing and keeps
the request.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from roomkit.abc.errors import ProviderError
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import json_value
from roomkit_plugins.wire.sdk import ClientErrors, Mask

__all__ = ["Sender", "capturing_client", "written"]

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


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends `written` requests of one vendor.

    `refusal` classifies an error answer by its status, its JSON (None if it has none) and its headers; the
    secrets of `mask` are kept out of its text. `timeout` is the seconds without a byte.
    """

    origin: Origin
    mask: Mask
    refusal: Callable[[int, Any, Mapping[str, str]], ProviderError]
    timeout: float

    @asynccontextmanager
    async def answer(self, client: Any, http: ModuleType, request: Any) -> AsyncIterator[Any]:
        """Send a request through `client` of the library `http`; hold the answer open, unread.

        Headers that the client has of its own are added, redirects are not followed. Raises ProviderError
        for another status than 200, and for what the library raises until the block ends.
        """
        for name, value in client.headers.items():
            request.headers.setdefault(name, value)
        request.extensions["timeout"] = http.Timeout(self.timeout).as_dict()
        errors, response = _errors_of(http), None
        try:
            response = await client.send(request, stream=True, follow_redirects=False)
            if response.status_code != 200:
                raise self._refused(response.status_code, await response.aread(), response.headers)
            yield response
        except errors.kinds as error:
            failure = errors.failure(error, self.origin, timeout=self.timeout)
            raise failure from self.mask.cause(error)
        finally:
            if response is not None:
                await response.aclose()

    def _refused(self, status: int, body: bytes, headers: Mapping[str, str]) -> ProviderError:
        try:
            said = json_value(body)
        except ValueError:
            said = None
        failure = self.refusal(status, said, headers)
        failure.args = (self.mask.hide(str(failure)),)
        return failure


def _errors_of(http: ModuleType) -> ClientErrors:
    return ClientErrors(
        unreadable=(http.DecodingError,),
        timeout=(http.TimeoutException,),
        connection=(http.HTTPError, http.StreamError),
    )
