"""The guarded fetch over HTTP."""

from __future__ import annotations

import asyncio
import ssl
import zlib
from collections.abc import AsyncIterator, Collection, Mapping
from functools import cached_property
from typing import override

import httpx2

from roomkit.abc.errors import (
    FetchFailedError,
    InvalidInputError,
    MediaTooLargeError,
    MediaTypeRefusedError,
)
from roomkit.abc.services.fetch import Fetched, GuardedFetch
from roomkit.authoring.sniffing import SNIFFED_BYTES, matches_type, sniffed_type
from roomkit_plugins.media.config import FetchConfig
from roomkit_plugins.wire.guard import Address, AddressGuard, Resolver, resolve
from roomkit_plugins.wire.location import Location, refused
from roomkit_plugins.wire.request_log import unlogged

__all__ = ["PinnedFetch"]

_MOST_REDIRECTS = 3
_OWN_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "upgrade"}
)
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses after which a later try may succeed."""


class PinnedFetch(GuardedFetch):
    """Fetches over HTTP/1.1, each request on a connection of its own to the address that was checked."""

    def __init__(
        self,
        config: FetchConfig | None = None,
        *,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        self.config = config or FetchConfig()
        self._guard = AddressGuard(
            remedy="an operator allows it with allow_hosts or allow_networks",
            hosts=self.config.allow_hosts,
            networks=self.config.allow_networks,
            ports=self.config.ports,
            resolver=resolver,
        )
        self._given_ssl = ssl_context

    @cached_property
    def _ssl(self) -> ssl.SSLContext:
        return self._given_ssl or ssl.create_default_context()

    @override
    async def __call__(
        self,
        url: str,
        *,
        limit: int,
        timeout: float = 30.0,  # bounds redirects and reading too
        types: Collection[str] = ("*/*",),
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        given = _checked(headers or {})
        location = first = Location.of(url)
        try:
            async with asyncio.timeout(timeout):
                for _ in range(_MOST_REDIRECTS + 1):
                    own = given if location.origin == first.origin else {}
                    found = await self._request(location, own, limit, types)
                    if isinstance(found, Fetched):
                        return found
                    location = found
        except TimeoutError:
            raise FetchFailedError(
                f"{location.host} did not answer within {timeout:g} s: try again later", retryable=True
            ) from None
        raise refused(url, f"it redirects more than {_MOST_REDIRECTS} times")

    async def _request(
        self, location: Location, headers: Mapping[str, str], limit: int, types: Collection[str]
    ) -> Fetched | Location:
        """Return the file, or where the answer redirects to."""
        problem: Exception | None = None
        for address in await self._guard.addresses(location):
            try:
                with unlogged():  # a URL may be signed
                    return await self._ask(address, location, headers, limit, types)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as error:
                problem = error
            except httpx2.HTTPError as error:
                raise FetchFailedError(
                    f"{location.host} broke off ({type(error).__name__}): try again later", retryable=True
                ) from error
        raise FetchFailedError(
            f"{location.host} cannot be reached ({type(problem).__name__}): try again later", retryable=True
        ) from problem

    async def _ask(
        self,
        address: Address,
        location: Location,
        headers: Mapping[str, str],
        limit: int,
        types: Collection[str],
    ) -> Fetched | Location:
        async with (
            self._client() as client,
            client.stream(
                "GET",
                location.at(address),
                headers={**headers, "Host": location.authority, "Accept-Encoding": "gzip"},
                extensions={} if location.tls_name is None else {"sni_hostname": location.tls_name},
            ) as answer,
        ):
            if answer.is_redirect:
                return location.to(answer.headers.get("location", ""))
            if answer.status_code != 200:
                raise FetchFailedError(
                    f"{location.host} answered {answer.status_code}: correct the URL, or try again later",
                    status=answer.status_code,
                    retryable=answer.status_code in _PASSING,
                )
            return await _read(answer, location, limit, types)

    def _client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            verify=self._ssl,
            trust_env=False,  # a proxy would resolve the host again, and reach it from where it stands
            follow_redirects=False,
            timeout=httpx2.Timeout(None, connect=self.config.connect_timeout),
            headers={"User-Agent": self.config.user_agent},
        )


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if name.lower() in _OWN_HEADERS or not (name + value).isprintable() or not (name + value).isascii():
            raise InvalidInputError(
                f"the header {name!r} cannot be sent by a fetch: leave it out, or give plain ASCII text"
            )
    return headers


async def _read(answer: httpx2.Response, location: Location, limit: int, types: Collection[str]) -> Fetched:
    declared = answer.headers.get("content-type", "")
    _check_type(declared, location, types)
    length = answer.headers.get("content-length", "")
    if length.isascii() and length.isdigit() and int(length) > limit:
        raise _too_large(location, limit)
    data = bytearray()
    mime_type = declared
    async for piece in _decoded(answer, location, limit + 1):
        is_begun = len(data) >= SNIFFED_BYTES
        data += piece
        if len(data) > limit:
            raise _too_large(location, limit)
        if not is_begun and len(data) >= SNIFFED_BYTES:  # before the rest is read
            _check_type(sniffed_type(declared, bytes(data[:SNIFFED_BYTES])), location, types)
    mime_type = sniffed_type(declared, bytes(data[:SNIFFED_BYTES]))
    _check_type(mime_type, location, types)
    return Fetched(url=location.url, mime_type=mime_type, data=bytes(data), filename=location.filename)


def _check_type(mime_type: str, location: Location, types: Collection[str]) -> None:
    if not any(matches_type(mime_type, each) for each in types):
        raise MediaTypeRefusedError(
            f"{location.host} answered with {mime_type.partition(';')[0]!r}, not one of "
            f"{', '.join(types)}: ask for that type, or correct the URL"
        )


def _too_large(location: Location, limit: int) -> MediaTooLargeError:
    return MediaTooLargeError(
        f"the file of {location.host} has more than {limit} bytes: raise the limit, or ask for a smaller one"
    )


async def _decoded(answer: httpx2.Response, location: Location, most: int) -> AsyncIterator[bytes]:
    """Yield the bytes of the body, decompressed; never more than `most` at once."""
    encoding = answer.headers.get("content-encoding", "identity").strip().lower()
    if encoding in ("identity", ""):
        async for chunk in answer.aiter_raw():
            yield chunk
        return
    if encoding not in ("gzip", "x-gzip"):
        raise FetchFailedError(
            f"{location.host} answered in the encoding {encoding[:20]!r}, which was not asked"
        )
    unpacking = zlib.decompressobj(wbits=31)
    try:
        async for chunk in answer.aiter_raw():
            piece = unpacking.decompress(chunk, most)
            while piece:
                yield piece
                piece = unpacking.decompress(unpacking.unconsumed_tail, most)
        yield unpacking.flush()
    except zlib.error as error:
        raise FetchFailedError(f"the answer of {location.host} is not the gzip that it says") from error
    if not unpacking.eof:
        raise FetchFailedError(f"the answer of {location.host} broke off", retryable=True)
