"""Fetching from URLs that come from outside."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping

from roomkit._dataclasses import dataclass

__all__ = ["Fetched", "GuardedFetch"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A fetched file. `url` is where it was found, after redirects; `mime_type` what the bytes show."""

    url: str
    mime_type: str
    data: bytes
    filename: str | None = None


class GuardedFetch(ABC):
    """Fetches a file from a URL that a user, a model or a webhook has a say in.

    A host is resolved once, each of its addresses is checked, and the connection is made to a checked address
    under the host's own name (`Host`, SNI, certificate). Only public addresses are reached: none that is
    private, loopback, link-local, shared, multicast, reserved, or embeds an IPv4 address in IPv6. Exceptions
    are an operator's to configure. At most three redirects are followed, each checked the same way. Proxies
    of the environment are not used. May be called concurrently.
    """

    @abstractmethod
    async def __call__(
        self,
        url: str,
        *,
        limit: int,
        timeout: float = 30.0,
        types: Collection[str] = ("*/*",),
        headers: Mapping[str, str] | None = None,
    ) -> Fetched:
        """Fetch a file of at most `limit` bytes within `timeout` seconds, redirects included.

        `types` are the media types that are accepted, as in "image/*"; both the answer's header and the
        first bytes must match one. `headers` are sent to the URL's own origin only, not where it redirects
        to. `limit` counts bytes after decompression, and reading stops there.

        Raises FetchRefusedError for a URL that must not be requested, MediaTooLargeError,
        MediaTypeRefusedError, and FetchFailedError for an answer that did not come or is not a success.
        """

    async def close(self) -> None:
        """Close connections. Idempotent."""
