"""Files that a vendor keeps for a while: uploaded once, sent by their ids."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from roomkit.abc.errors import ErrorCode
from roomkit.authoring.data_url import inline_file

if TYPE_CHECKING:
    from roomkit.models.content import MediaContent
    from roomkit_plugins.wire.origin import Origin

__all__ = ["KeptUploads"]

_MOST_KEPT = 256

type Upload = Callable[[MediaContent, bytes], Awaitable[str]]
"""Uploads a file with these bytes; returns the vendor's id of it."""


class _Kept(NamedTuple):
    id: str
    until: float


class KeptUploads:
    """Uploads the files of `data:` URLs for any number of rooms at once, equal ones once in `seconds`."""

    def __init__(self, upload: Upload, origin: Origin, *, seconds: float) -> None:
        self._upload = upload
        self._origin = origin
        self._seconds = seconds
        self._known: OrderedDict[bytes, _Kept] = OrderedDict()  # bound: _MOST_KEPT, the oldest go

    async def id_of(self, file: MediaContent) -> str:
        """Return the vendor's id of a file. Raises ProviderError, also for a URL that cannot be read."""
        inline = await asyncio.to_thread(inline_file, file.url)
        if inline is None:
            raise self._origin.refused(
                "the file's data: URL cannot be read: give it as RFC 2397 says",
                error_code=ErrorCode.UNSUPPORTED_CONTENT,
            )
        key = sha256(f"{file.mime_type} {file.filename}\n".encode() + inline.data).digest()
        known = self._known.get(key)
        if known is None or known.until <= time.monotonic():
            known = _Kept(await self._upload(file, inline.data), time.monotonic() + self._seconds)
            self._known[key] = known
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
        return known.id

    def forget(self, identity: str) -> None:
        """Upload a file again for its next message, since the vendor no longer has it."""
        for key in [key for key, kept in self._known.items() if kept.id == identity]:
            del self._known[key]
