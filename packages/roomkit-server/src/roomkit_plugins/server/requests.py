"""Reading requests: their bodies, within bounds, and the address they came from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Network, ip_address
from typing import TYPE_CHECKING
from urllib.parse import unquote

from starlette.requests import ClientDisconnect

from roomkit_plugins.server.errors import BodyTimeoutError, BodyTooLargeError, InvalidRequestError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request
    from starlette.types import Scope

__all__ = ["address_of", "ids_in_path", "keep_slashes", "part_at_slashes", "read_body"]

_KEPT = "roomkit.server.slash"
_NONCHARACTERS = range(0xFDD0, 0xFDF0)
_NETWORK_BITS = 64
"""What a provider gives to one customer at least; a host chooses the other bits as it likes, RFC 8981."""


def keep_slashes(scope: Scope) -> Scope:
    """Return a connection's scope in which an encoded slash (%2F) of a path does not part it.

    `ids_in_path` has it as a slash again. A path that another application has rewritten stays as it is.
    """
    raw = bytes(scope.get("raw_path") or b"").decode("latin-1").partition("?")[0]
    if "%2f" not in raw.lower() or unquote(raw) != scope["path"]:
        return scope
    mark = next((chr(each) for each in _NONCHARACTERS if chr(each) not in scope["path"]), None)
    if mark is None:
        return scope
    path = "/".join(unquote(part).replace("/", mark) for part in raw.split("/"))
    return {**scope, "path": path, _KEPT: mark}


def part_at_slashes(scope: Scope) -> Scope:
    """Undo `keep_slashes`, for an application that knows nothing of it."""
    mark = scope.get(_KEPT)
    return scope if mark is None else {**scope, "path": scope["path"].replace(mark, "/")}


def ids_in_path(connection: HTTPConnection) -> Mapping[str, str]:
    """Return the placeholders of a path, and the ids that stand in their places."""
    names: Mapping[str, str] = connection.path_params
    mark = connection.scope.get(_KEPT)
    return names if mark is None else {name: value.replace(mark, "/") for name, value in names.items()}


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """Return the body of a request; a larger one is refused before the rest of it is read.

    Raises BodyTooLargeError, BodyTimeoutError, and InvalidRequestError for a client that hung up.
    """
    declared = request.headers.get("content-length", "0")
    if declared.isdecimal() and int(declared) > limit:
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            return await _read(request, limit)
    except TimeoutError as late:
        raise BodyTimeoutError(
            f"the body did not arrive within {seconds:g} s: send it faster, or in parts"
        ) from late
    except ClientDisconnect as gone:
        raise InvalidRequestError("the client hung up before the end of its request") from gone


async def _read(request: Request, limit: int) -> bytes:
    pieces: list[bytes] = []  # bound: limit
    size = 0
    async for piece in request.stream():
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"the body is larger than the {limit} bytes that are read: send less at once")


def address_of(connection: HTTPConnection) -> str:
    """Return the address of the other end; of an IPv6 one the network, which has one owner."""
    host = "" if connection.client is None else connection.client.host
    try:
        address = ip_address(host)
    except ValueError:  # a local socket, or a name that a proxy gave
        return host
    if isinstance(address, IPv4Address):
        return host
    mapped = address.ipv4_mapped
    return str(IPv6Network((int(address), _NETWORK_BITS), strict=False)) if mapped is None else str(mapped)
