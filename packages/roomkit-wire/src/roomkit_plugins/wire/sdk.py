"""A vendor's SDK: imported at first use, its client made off the loop and closed once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.tls import shared_context

__all__ = ["ClientErrors", "LazyClient", "Mask", "connections_of", "errors_of", "needed"]

type Kinds = tuple[type[Exception], ...]


@contextmanager
def needed(module: str, *, by: str, distribution: str) -> Iterator[None]:
    """Say what to install when the import of `module` inside the block finds no such module.

        with needed("acme", by="AcmeSMSProvider", distribution="roomkit-acme"):
            import acme

    A module that the SDK itself misses is another problem, and stays what it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        raise ImportError(f"{by} needs the {module} SDK: pip install {distribution}", name=module) from error


class LazyClient[C]:
    """The client of one provider, made at its first use.

    `make` runs in a worker thread, for it imports the SDK and reads files; `close` is None for a
    client whose connections another owner closes. `owner` is the provider's class name.
    """

    def __init__(
        self,
        make: Callable[[], C],
        close: Callable[[C], Awaitable[None]] | None,
        *,
        owner: str,
        provider: str,
    ) -> None:
        self._make = make
        self._close = close
        self._owner = owner
        self._provider = provider
        self._client: C | None = None
        self._making = asyncio.Lock()
        self._closed = False

    @property
    def made(self) -> C | None:
        """The client, if there is one now."""
        return self._client

    async def get(self) -> C:
        """Return the client. Raises ProviderError once it is closed, and what `make` raises."""
        async with self._making:
            if self._client is None and not self._closed:
                self._client = await asyncio.to_thread(self._make)
            client = self._client
        if self._closed:
            await self.close()  # it was closed while the client was being made
            client = None
        if client is None:
            raise ProviderError(
                f"this {self._owner} is closed; make another one",
                error_code=ErrorCode.CANCELED,
                provider=self._provider,
            )
        return client

    async def close(self) -> None:
        """Close the connections; requests under way fail. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None and self._close is not None:
            await self._close(client)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientErrors:
    """What a client library raises instead of an answer. The first kind that fits counts."""

    unreadable: Kinds
    timeout: Kinds
    connection: Kinds
    credentials: Kinds = ()
    """The rest of the library's errors: it found no key to sign the request with."""

    @property
    def kinds(self) -> Kinds:
        """All of them, to be caught."""
        return (*self.unreadable, *self.timeout, *self.connection, *self.credentials)

    def failure(self, error: Exception, origin: Origin, *, timeout: float) -> ProviderError:
        """Classify one of `kinds`; `timeout` is what the client was given, in seconds."""
        if isinstance(error, self.unreadable):
            return origin.bad_response(type(error).__name__)
        if isinstance(error, self.timeout):
            return origin.timed_out(timeout)
        if isinstance(error, self.connection):
            return origin.broke_off(error)
        return origin.without_credentials(error)


def errors_of(sdk: ModuleType, http: ModuleType, root: type[Exception]) -> ClientErrors:
    """Say what the exceptions of a generated SDK mean, and those of the HTTP library under it.

    The SDKs of OpenAI and Anthropic come from one generator and name theirs alike; `root` is their base.
    """
    return ClientErrors(
        unreadable=(sdk.APIResponseValidationError, http.DecodingError),
        timeout=(sdk.APITimeoutError, http.TimeoutException),
        connection=(sdk.APIConnectionError, http.HTTPError, http.StreamError),
        credentials=(root,),
    )


def connections_of(sdk: ModuleType, http: ModuleType) -> Any:
    """Return the HTTP client that a generated SDK makes for itself: no redirects, the shared certificates.

    It has the type of the HTTP library's own. Blocks, as `shared_context` does.
    """
    verify = shared_context(http.create_ssl_context)
    return sdk.DefaultAsyncHttpxClient(follow_redirects=False, verify=verify)


class Mask:
    """Keeps a secret out of error texts, wherever the vendor repeats it.

    `secret` returns it, or None while there is none; it is not kept here.
    """

    def __init__(self, secret: Callable[[], str | None]) -> None:
        self._secret = secret

    def hide(self, text: str) -> str:
        """Return `text` without the secret."""
        secret = self._secret()
        # A server without keys is given a short word for one, which may stand in any message.
        return text.replace(secret, "***") if secret and len(secret) >= 8 else text

    def cause(self, error: Exception) -> Exception | None:
        """Return `error` to be chained, or None if it or its cause shows the secret."""
        link: BaseException | None = error
        while link is not None:
            if self.hide(str(link)) != str(link):
                return None
            link = link.__cause__ or link.__context__
        return error
