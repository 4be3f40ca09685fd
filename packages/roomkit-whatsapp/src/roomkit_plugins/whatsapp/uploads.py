"""Files that WhatsApp keeps for a while: uploaded once, sent by their ids.

https://developers.facebook.com/documentation/business-messaging/whatsapp (June 2026): business phone numbers,
media.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from roomkit.abc.errors import ErrorCode
from roomkit.authoring.data_url import inline_file
from roomkit_plugins.whatsapp.errors import ORIGIN
from roomkit_plugins.wire.multipart import multipart
from roomkit_plugins.wire.plain_message import file_url
from roomkit_plugins.wire.reading import JSONReader

if TYPE_CHECKING:
    from roomkit.models.content import MediaContent
    from roomkit_plugins.wire.graph import GraphAPI

__all__ = ["Uploads"]

_KEPT_FOR = 29 * 86_400.0
"""Seconds that an id is used: WhatsApp keeps an upload for 30 days."""
_MOST_KEPT = 256
_READER = JSONReader(ORIGIN)


@dataclass(frozen=True, slots=True)
class _Upload:
    id: str
    until: float


class Uploads:
    """Uploads the files of one number, for any number of rooms at once; equal files once."""

    def __init__(self, api: GraphAPI, number: str, *, allowed: bool) -> None:
        self._api = api
        self._number = number
        self._allowed = allowed
        self._known: OrderedDict[bytes, _Upload] = OrderedDict()  # bound: _MOST_KEPT, the oldest go

    async def place(self, file: MediaContent) -> Mapping[str, str]:
        """Return where WhatsApp gets a file: its link, or the id of its upload. Raises ProviderError."""
        if not (self._allowed and file.url.lower().startswith("data:")):
            return {"link": file_url(file.url, ORIGIN)}
        data = await asyncio.to_thread(_data_of, file.url)
        key = sha256(f"{file.mime_type} {file.filename}\n".encode() + data).digest()
        known = self._known.get(key)
        if known is None or known.until <= time.monotonic():
            known = await self._upload(file, data)
            self._known[key] = known
            while len(self._known) > _MOST_KEPT:
                self._known.popitem(last=False)
        return {"id": known.id}

    async def _upload(self, file: MediaContent, data: bytes) -> _Upload:
        kind = file.mime_type.partition(";")[0].strip().lower()
        form = multipart(
            {"messaging_product": "whatsapp", "type": kind},
            name="file",
            filename=file.filename or "file",
            mime_type=kind,
            data=data,
        )
        answer = await self._api.post_form(f"{self._number}/media", form)
        identity = _READER.as_text(answer.get("id"), "id")
        if not identity:
            raise ORIGIN.bad_response("an upload without its id")
        return _Upload(identity, time.monotonic() + _KEPT_FOR)


def _data_of(url: str) -> bytes:
    """Return the bytes of a `data:` URL. Raises ProviderError."""
    file = inline_file(url)
    if file is None:
        raise ORIGIN.refused(
            "the file's data: URL cannot be read: give it as RFC 2397 says",
            error_code=ErrorCode.UNSUPPORTED_CONTENT,
        )
    return file.data
