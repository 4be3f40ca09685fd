"""Reading requests: their bodies, within bounds, and the address they came from."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect

from roomkit_plugins.server.errors import BodyTimeoutError, BodyTooLargeError, InvalidRequestError

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection, Request

__all__ = ["address_of", "read_body"]


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
    return ":".join(host.split(":")[:4]) if ":" in host else host
