"""Posts messages to a URL, and takes those that the other side posts."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import ErrorCode, FetchFailedError, FetchRefusedError, ProviderError, code_for_status
from roomkit.abc.http import HTTPProvider
from roomkit.models.base import utcnow
from roomkit.models.delivery import InboundMessage, ProviderResult
from roomkit_plugins.http import wire
from roomkit_plugins.http.config import REMEDY
from roomkit_plugins.http.signature import is_recent, is_signed, signature_headers, verify
from roomkit_plugins.wire.caller import HTTPAnswer, HTTPCaller
from roomkit_plugins.wire.connection import plain_headers
from roomkit_plugins.wire.guard import Address, AddressGuard, Resolver, resolve
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.sdk import LazyClient, needed
from roomkit_plugins.wire.tls import shared_context

if TYPE_CHECKING:
    import ssl

    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import HTTPHints
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.http.config import HTTPProviderConfig

__all__ = ["WebhookHTTPProvider"]


@dataclass(frozen=True, slots=True)
class _Connections:
    """The library's client, and what asks by it."""

    client: httpx2.AsyncClient
    caller: HTTPCaller


class WebhookHTTPProvider(HTTPProvider):
    """Posts each message as JSON to one URL, and takes messages and receipts by `process_webhook`.

    Every request is signed (`X-RoomKit-Signature-V2`, see `sign_webhook`) and has an `Idempotency-Key`. The
    host is resolved for each, all its addresses are checked, and the connection is made to a checked one
    under the host's name; redirects are not followed. Any 2xx is a success, and `message_id` of a JSON
    object in the answer becomes the vendor's id. What the URL is never depends on a message.

    `resolver` replaces the system's. `ssl_context` verifies servers by other certificates. With
    `http_client`, for a proxy, addresses are the client's matter and are not checked; its maker closes it.
    """

    def __init__(
        self,
        config: HTTPProviderConfig,
        *,
        resolver: Resolver = resolve,
        ssl_context: ssl.SSLContext | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        self.idempotent = config.idempotent
        self._config = config
        self._location = config.location
        self._origin = Origin(config.name, f"the endpoint at {self._location.host}", setting="webhook_url")
        self._guard = AddressGuard(remedy=REMEDY, any_address=config.allow_private_hosts, resolver=resolver)
        self._ssl = ssl_context
        self._given = http_client
        self._client = LazyClient(self._make, self._close, owner=type(self).__name__, provider=config.name)

    @property
    @override
    def name(self) -> str:
        return self._config.name

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: HTTPHints | None = None,
    ) -> ProviderResult:
        if not to.strip():
            raise self._origin.refused(
                "there is no recipient to post to", error_code=ErrorCode.MISSING_RECIPIENT
            )
        body = wire.body_of(event, to, idempotency_key)
        answer = await self._post(body, self._headers(body, event, idempotency_key))
        if answer.status >= 400:
            raise self._origin.answered(
                answer.status,
                code_for_status(answer.status),
                "it does not take the message",
                headers=answer.headers,
            )
        return ProviderResult(
            success=True, provider_message_id=wire.message_id_of(answer.body), status_code=answer.status
        )

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify the signature, then return the one message or receipt. See `ReceivesWebhooks`.

        A message without `external_id` has a key made of the request, so that only the same request sent
        twice is one message.
        """
        config = self._config
        timestamp = verify(request, config.secrets, tolerance=config.tolerance)
        found = wire.read_webhook(request.json(), channel_id, provider=self.name)
        if isinstance(found, InboundMessage) and found.idempotency_key is None:
            digest = sha256(f"{timestamp}.".encode() + request.body).hexdigest()
            found = found.replace(idempotency_key=f"sha256:{digest}")
        return [found]

    def verify_signature(self, payload: bytes, signature: str, timestamp: str | None = None) -> bool:
        """Return whether the other side signed these exact bytes, within the tolerance of now.

        `signature` and `timestamp` are the headers `X-RoomKit-Signature-V2` and `X-RoomKit-Timestamp`.
        Without a time nothing is verified, since it could be replayed for ever.
        """
        secrets = self._config.secrets
        if timestamp is None or not is_signed(payload, signature, timestamp, secrets):
            return False
        return is_recent(timestamp, now=self._now(), tolerance=self._config.tolerance)

    async def probe(self) -> str:
        """Return that the host leads to addresses that may be posted to; see `SupportsProbe`.

        Nothing is posted, and no connection is made: a post is a message, and of no other request it is known
        that the endpoint takes it. Raises ProviderError.
        """
        host = self._location.host
        if self._given is not None:
            return f"{host} is reached by the program's own http_client, so that nothing was checked"
        count = len(await self._addresses())
        addresses = "1 address" if count == 1 else f"{count} addresses"
        return (
            f"{host} has {addresses} that may be posted to; nothing was posted, so that the path and the "
            "secret are not checked"
        )

    @override
    async def close(self) -> None:
        await self._client.close()

    def _headers(self, body: bytes, event: RoomEvent, key: str | None) -> dict[str, str]:
        return {
            **plain_headers(self._config.headers),
            "Content-Type": "application/json",
            "X-RoomKit-Event-Id": wire.header_text(event.id),
            **({} if key is None else {"Idempotency-Key": wire.header_text(key)}),
            **signature_headers(body, self._config.secrets, int(self._now())),
        }

    def _now(self) -> float:
        """Return POSIX seconds by the kit's clock."""
        return (self.services.clock.now() if self.services is not None else utcnow()).timestamp()

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> HTTPAnswer:
        """Post once, within the time. Raises ProviderError."""
        caller = (await self._client.get()).caller
        if self._given is not None:
            return await caller.call("POST", self._location.url, headers=headers, body=body)
        named = {**headers, "Host": self._location.authority}
        try:
            async with asyncio.timeout(self._config.timeout):
                return await self._post_to(await self._addresses(), caller, body, named)
        except TimeoutError as error:
            raise self._origin.timed_out(self._config.timeout) from error

    async def _post_to(
        self, addresses: Sequence[Address], caller: HTTPCaller, body: bytes, headers: Mapping[str, str]
    ) -> HTTPAnswer:
        """Post to the first address that takes a connection."""
        *others, last = addresses
        location = self._location
        for address in others:
            try:
                return await caller.call(
                    "POST", location.at(address), headers=headers, body=body, tls_name=location.tls_name
                )
            except ProviderError as error:
                if error.accepted is not False or error.error_code is not ErrorCode.CONNECTION:
                    raise
        return await caller.call(
            "POST", location.at(last), headers=headers, body=body, tls_name=location.tls_name
        )

    async def _addresses(self) -> Sequence[Address]:
        """Return the addresses of the host, all of them checked, in half of the time."""
        try:
            async with asyncio.timeout(self._config.timeout / 2):
                # A refusal quotes the URL, whose path may hold a key.
                return await self._guard.addresses(self._location._replace(target="/"))
        except FetchRefusedError as error:
            raise self._origin.refused(str(error), error_code=ErrorCode.PERMISSION) from error
        except (FetchFailedError, TimeoutError) as error:
            raise self._origin.not_reached(error) from error

    def _make(self) -> _Connections:
        """Import the library and read the certificates: never on the loop."""
        with needed("httpx2", by=type(self).__name__, distribution="roomkit-http"):
            import httpx2

        timeout = self._config.timeout
        client = self._given or httpx2.AsyncClient(
            verify=self._ssl or shared_context(httpx2.create_ssl_context),
            trust_env=False,  # a proxy would resolve the host again, and reach it from where it stands
            timeout=httpx2.Timeout(timeout, connect=timeout / 2),
        )
        return _Connections(client, HTTPCaller(self._origin, httpx2, timeout=timeout, client=client))

    async def _close(self, made: _Connections) -> None:
        if self._given is None:
            await made.client.aclose()
