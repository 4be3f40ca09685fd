"""One request to a vendor's HTTP API: no redirects, a bounded answer, and every failure typed."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.request_log import unlogged
from roomkit_plugins.wire.tls import shared_context

__all__ = ["HTTPAnswer", "HTTPCaller"]

_LARGEST_ANSWER = 1_048_576


@dataclass(frozen=True, slots=True)
class HTTPAnswer:
    """What the vendor answered; `headers` ignore the case of names."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class HTTPCaller:
    """Calls one vendor's API for any number of rooms at once.

    `library` is an HTTP library of the httpx family. `client` is the program's own client of that library,
    for a proxy or other certificates: it is used with its own headers, and its maker closes it. `timeout`
    bounds a whole call in seconds; connecting may take half of it. Making one blocks, because certificates
    are read: do it in a `LazyClient`.
    """

    def __init__(
        self, origin: Origin, library: ModuleType, *, timeout: float, client: Any | None = None
    ) -> None:
        http: Any = library
        self._origin = origin
        self._http = http
        self._timeout = timeout
        self._is_ours = client is None
        if client is None:
            limits = http.Timeout(timeout, connect=timeout / 2)
            client = http.AsyncClient(verify=shared_context(http.create_ssl_context), timeout=limits)
        self._client: Any = client

    async def call(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str],
        body: bytes = b"",
        tls_name: str | None = None,
        timeout: float | None = None,
        largest: int = _LARGEST_ANSWER,
    ) -> HTTPAnswer:
        """Make the request, and return the answer whatever its status below 300 or from 400 on.

        `tls_name` is what the server's certificate is checked for where the URL has its address. `timeout`
        is in place of the caller's, in seconds, for a request that the vendor keeps open; `largest` is how
        many bytes the answer may have.
        Raises ProviderError: `accepted` is False if the vendor was not reached or redirected, None if it did
        not answer in time, broke off, or answered more than `largest` bytes or what cannot be decoded.
        """
        http, seconds = self._http, self._timeout if timeout is None else timeout
        try:
            with unlogged():
                async with asyncio.timeout(seconds):
                    limits = {} if timeout is None else {"timeout": http.Timeout(seconds)}
                    asking = self._asking(method, url, headers, body, tls_name, limits)
                    return await self._answer(asking, largest)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout) as error:
            raise self._origin.not_reached(error) from error
        except (http.TimeoutException, TimeoutError) as error:
            raise self._origin.timed_out(seconds) from error
        except http.DecodingError as error:
            raise self._origin.bad_response(type(error).__name__) from error
        except (http.HTTPError, http.StreamError) as error:
            raise self._origin.broke_off(error) from error

    async def close(self) -> None:
        """Close the connections; calls under way fail. Idempotent."""
        if self._is_ours:
            await self._client.aclose()

    def _asking(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        tls_name: str | None,
        limits: Mapping[str, Any],
    ) -> AbstractAsyncContextManager[Any]:
        """Return the request to be made, which yields its answer."""
        given = {**headers, "Accept-Encoding": "identity"}
        extensions = {} if tls_name is None else {"sni_hostname": tls_name}
        asking: AbstractAsyncContextManager[Any] = self._client.stream(
            method, url, headers=given, content=body, follow_redirects=False, extensions=extensions, **limits
        )
        return asking

    async def _answer(self, asking: AbstractAsyncContextManager[Any], largest: int) -> HTTPAnswer:
        async with asking as answer:
            if 300 <= answer.status_code < 400:
                raise self._origin.redirected(answer.status_code, answer.headers)
            found = bytearray()
            async for piece in answer.aiter_bytes():
                found += piece
                if len(found) > largest:
                    raise self._origin.bad_response(f"it has more than {largest} bytes")
            return HTTPAnswer(answer.status_code, answer.headers, bytes(found))
