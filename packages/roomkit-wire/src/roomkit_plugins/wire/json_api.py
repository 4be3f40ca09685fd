"""A vendor's JSON API over connections of ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from roomkit_plugins.wire.caller import HTTPAnswer, HTTPCaller
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.reading import JSONReader
from roomkit_plugins.wire.sdk import LazyClient, Mask, needed

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.errors import ProviderError

__all__ = ["JSONAPI"]

type Refusal = Callable[[HTTPAnswer], ProviderError]


class JSONAPI:
    """Calls a vendor that takes and answers JSON objects, for any number of rooms at once.

    `headers` are sent with each request. `refusal` classifies an answer from 400 on; `mask` keeps a secret
    out of what it says. `owner` is the provider's class name, `distribution` what brings it. `http_client`
    replaces the connections, for a proxy or other certificates; its maker closes it. The library is imported
    at the first call, in a worker thread.
    """

    def __init__(
        self,
        origin: Origin,
        *,
        owner: str,
        distribution: str,
        timeout: float,
        headers: Callable[[], Mapping[str, str]],
        refusal: Refusal,
        mask: Mask,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._origin = origin
        self._distribution = distribution
        self._timeout = timeout
        self._headers = headers
        self._refusal = refusal
        self._mask = mask
        self._http_client = http_client
        self._owner = owner
        self._client = LazyClient(self._make, self._close, owner=owner, provider=origin.provider)

    async def call(
        self, method: str, url: str, document: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Return the object that the vendor answers to a JSON document, or to an empty body for None.

        An empty answer is an empty object. Raises ProviderError; see `HTTPCaller.call` for `accepted`.
        """
        answer = await self.ask(method, url, document, headers=headers)
        return JSONReader(self._origin).parse(answer.body) if answer.body else {}

    async def ask(
        self, method: str, url: str, document: Any = None, *, headers: Mapping[str, str] | None = None
    ) -> HTTPAnswer:
        """Return the answer itself, for what a vendor says in its headers. Raises ProviderError."""
        caller = await self._client.get()
        given = {**self._headers(), **(headers or {})}
        if document is None:
            answer = await caller.call(method, url, headers=given)
        else:
            typed = {**given, "Content-Type": "application/json"}
            answer = await caller.call(method, url, headers=typed, body=to_json(document))
        if answer.status >= 400:
            raise self._masked(self._refusal(answer))
        return answer

    async def close(self) -> None:
        """Close the connections; calls under way fail. Idempotent."""
        await self._client.close()

    def _masked(self, error: ProviderError) -> ProviderError:
        error.args = (self._mask.hide(str(error)),)
        return error

    async def _close(self, caller: HTTPCaller) -> None:
        await caller.close()

    def _make(self) -> HTTPCaller:
        """Import the library and read the certificates: never on the loop."""
        with needed("httpx2", by=self._owner, distribution=self._distribution):
            import httpx2

        return HTTPCaller(self._origin, httpx2, timeout=self._timeout, client=self._http_client)
