"""A vendor's JSON API over connections of ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

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

    `headers` are sent with each request. `refusal` classifies an answer from 400 on; `secrets` are
    kept out of what it says. `owner` is the provider's class name, `distribution` what brings it.
    `http_client` replaces the connections, for a proxy or other certificates; its maker closes it. The
    library is imported at the first call, in a worker thread.
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
        secrets: Callable[[], Iterable[str]],
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self._origin = origin
        self._distribution = distribution
        self._timeout = timeout
        self._headers = headers
        self._refusal = refusal
        self._secrets = secrets
        self._http_client = http_client
        self._owner = owner
        self._client = LazyClient(self._make, self._close, owner=owner, provider=origin.provider)

    async def call(
        self,
        method: str,
        url: str,
        document: Any = None,
        *,
        form: Mapping[str, str] | None = None,
        encoded: tuple[str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """Return the object that the vendor answers to a JSON document, to a form, or to an empty body.

        `encoded` is a body that is ready, with its media type, such as `multipart` makes. An empty answer is
        an empty object. Raises ProviderError; see `HTTPCaller.call` for `accepted`.
        """
        answer = await self.ask(method, url, document, form=form, encoded=encoded, headers=headers)
        return JSONReader(self._origin).parse(answer.body) if answer.body else {}

    async def ask(
        self,
        method: str,
        url: str,
        document: Any = None,
        *,
        form: Mapping[str, str] | None = None,
        encoded: tuple[str, bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HTTPAnswer:
        """Return the answer itself, for what a vendor says in its headers. Raises ProviderError."""
        caller = await self._client.get()
        kind, body = encoded or _body(document, form)
        typed = {"Content-Type": kind} if kind else {}
        given = {**self._headers(), **(headers or {}), **typed}
        answer = await caller.call(method, url, headers=given, body=body)
        if answer.status >= 400:
            raise self.masked(self._refusal(answer))
        return answer

    async def close(self) -> None:
        """Close the connections; calls under way fail. Idempotent."""
        await self._client.close()

    def masked(self, error: ProviderError) -> ProviderError:
        """Return an error without the secrets, for one that the plugin found in an answer itself."""
        for secret in self._secrets():
            error.args = (Mask(partial(str, secret)).hide(str(error)),)
        return error

    async def _close(self, caller: HTTPCaller) -> None:
        await caller.close()

    def _make(self) -> HTTPCaller:
        """Import the library and read the certificates: never on the loop."""
        with needed("httpx2", by=self._owner, distribution=self._distribution):
            import httpx2

        return HTTPCaller(self._origin, httpx2, timeout=self._timeout, client=self._http_client)


def _body(document: Any, form: Mapping[str, str] | None) -> tuple[str, bytes]:
    """Return the type and the bytes of a body; both empty without one."""
    if form is not None:
        return "application/x-www-form-urlencoded", urlencode(form).encode()
    return ("", b"") if document is None else ("application/json", to_json(document))
