"""Files that WhatsApp keeps for 30 days.

https://developers.facebook.com/documentation/business-messaging/whatsapp (June 2026): business phone numbers,
media.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from roomkit_plugins.whatsapp.errors import ORIGIN
from roomkit_plugins.wire.multipart import multipart
from roomkit_plugins.wire.plain_message import file_url
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.uploads import KeptUploads

if TYPE_CHECKING:
    from roomkit.models.content import MediaContent
    from roomkit_plugins.wire.graph import GraphAPI

__all__ = ["Uploads"]

_KEPT_FOR = 29 * 86_400.0
_READER = JSONReader(ORIGIN)


class Uploads:
    """The files of one number: where WhatsApp gets each."""

    def __init__(self, api: GraphAPI, number: str, *, allowed: bool) -> None:
        self._api = api
        self._number = number
        self._allowed = allowed
        self._kept = KeptUploads(self._upload, ORIGIN, seconds=_KEPT_FOR)

    async def place(self, file: MediaContent) -> Mapping[str, str]:
        """Return where WhatsApp gets a file: its link, or the id of its upload. Raises ProviderError."""
        if not (self._allowed and file.url[:5].lower() == "data:"):
            return {"link": file_url(file.url, ORIGIN)}
        return {"id": await self._kept.id_of(file)}

    def forget(self, where: Mapping[str, str]) -> None:
        """Upload a file again for its next message, since WhatsApp no longer has it."""
        self._kept.forget(where.get("id", ""))

    async def _upload(self, file: MediaContent, data: bytes) -> str:
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
        return identity
