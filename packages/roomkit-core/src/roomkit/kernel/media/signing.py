"""Signed URLs of files: who has one may read one file until a time."""

from __future__ import annotations

import hmac
from datetime import datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, quote

from roomkit.kernel.runtime.kept_secret import KeptSecret

if TYPE_CHECKING:
    from pydantic import SecretStr

    from roomkit.abc.store import ConversationStore

__all__ = ["MediaSigner"]

_NAMESPACE = "core.media"


class MediaSigner:
    """Signs with the key that was configured, else with one that the store keeps, made once."""

    def __init__(self, *, store: ConversationStore, base_url: str | None, key: SecretStr | None) -> None:
        self._secret = KeptSecret(store, _NAMESPACE, key)
        self._base_url = None if base_url is None else base_url.rstrip("/")

    async def url(self, media_id: str, expires_at: datetime) -> str | None:
        """Return the URL of a file; None if the kit does not know where it is reached."""
        if self._base_url is None:
            return None
        until = int(expires_at.timestamp())
        signature = await self._signature(media_id, until)
        return f"{self._base_url}/media/{quote(media_id, safe='')}?until={until}&signature={signature}"

    async def is_valid(self, media_id: str, query: str, now: datetime) -> bool:
        """Return whether a URL's query was signed for this file, and its time is not over."""
        fields = parse_qs(query)
        until, given = fields.get("until", [""])[-1], fields.get("signature", [""])[-1]
        if not (until.isascii() and until.isdigit() and len(until) < 16 and given.isascii()):
            return False
        signature = await self._signature(media_id, int(until))
        return hmac.compare_digest(signature, given) and now < _EPOCH + timedelta(seconds=int(until))

    async def _signature(self, media_id: str, until: int) -> str:
        return hmac.new(await self._secret.get(), f"{until}:{media_id}".encode(), sha256).hexdigest()


_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
