"""Serving files at their signed URLs, in pieces."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from roomkit.abc.errors import MediaNotFoundError

if TYPE_CHECKING:
    from roomkit.abc.clock import Clock
    from roomkit.kernel.media.files import Files
    from roomkit.models.media import MediaRef

__all__ = ["MediaApp"]

type _Send = Callable[[Any], Awaitable[None]]

_RANGE = re.compile(r"bytes=([0-9]{1,18})-([0-9]{0,18})")
_SHOWN_AS_IS = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/avif", "audio/", "video/")
"""Types that a browser shows and that run nothing; all others are to be saved."""


class MediaApp:
    """An ASGI application for GET and HEAD of `/media/{id}`, with ranges of bytes."""

    def __init__(self, files: Files, clock: Clock) -> None:
        self._files = files
        self._clock = clock

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: _Send,
    ) -> None:
        """Answer one request: 403 without a signature that is valid now, 404 for a file that is gone."""
        if scope["type"] != "http":
            return
        if scope["method"] not in ("GET", "HEAD"):
            await _refuse(send, 405, {"allow": "GET, HEAD"})
            return
        media_id = unquote(str(scope["path"]).rpartition("/")[2])
        query = bytes(scope.get("query_string", b"")).decode("latin-1")
        if not await self._files.signer.is_valid(media_id, query, self._clock.now()):
            await _refuse(send, 403)
            return
        try:
            ref = await self._files.find(media_id)
        except MediaNotFoundError:
            await _refuse(send, 404)
            return
        await self._serve(ref, scope, send)

    async def _serve(self, ref: MediaRef, scope: MutableMapping[str, Any], send: _Send) -> None:
        headers = {name.lower(): value for name, value in scope.get("headers", ())}
        asked = _range_of(headers.get(b"range", b"").decode("latin-1"), ref.size_bytes)
        start, end = asked or (0, ref.size_bytes - 1)
        if asked is not None and start > end:
            await _refuse(send, 416, {"content-range": f"bytes */{ref.size_bytes}"})
            return
        answered = _headers_of(ref) | {"content-length": str(end - start + 1)}
        if asked is not None:
            answered["content-range"] = f"bytes {start}-{end}/{ref.size_bytes}"
        await _begin(send, 200 if asked is None else 206, answered)
        if scope["method"] == "GET":
            async for piece in _between(self._files.open(ref.id, start=start), end - start + 1):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _range_of(given: str, size: int) -> tuple[int, int] | None:
    """Return the first and last byte that are asked for; None for all, and for ranges of other kinds."""
    found = _RANGE.fullmatch(given)
    if found is None:
        return None
    last = int(found[2]) if found[2] else size - 1
    return int(found[1]), min(last, size - 1)


async def _between(pieces: AsyncIterator[bytes], left: int) -> AsyncIterator[bytes]:
    async for piece in pieces:
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def _headers_of(ref: MediaRef) -> dict[str, str]:
    is_shown = ref.mime_type.startswith(_SHOWN_AS_IS)
    named = f"; filename*=UTF-8''{quote(ref.filename, safe='')}" if ref.filename else ""
    return {
        "content-type": ref.mime_type,
        "content-disposition": ("inline" if is_shown else "attachment") + named,
        "etag": f'"{ref.sha256}"',
        "accept-ranges": "bytes",
        "cache-control": "private, max-age=300",
        # Nothing in a file from outside runs in the name of this server.
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
    }


async def _refuse(send: _Send, status: int, headers: dict[str, str] | None = None) -> None:
    await _begin(send, status, {"content-length": "0", **(headers or {})})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _begin(send: _Send, status: int, headers: dict[str, str]) -> None:
    encoded = [(name.encode(), value.encode("latin-1", "replace")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
