"""One account at Sinch: https://developers.sinch.com/docs/sms/api-reference/batches (Nov 2026)."""

from __future__ import annotations

import asyncio
import time
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected
from roomkit_plugins.sinch.config import SinchConfig
from roomkit_plugins.sinch.errors import ORIGIN, api_error
from roomkit_plugins.sinch.signature import check_signature
from roomkit_plugins.sinch.wire import read_webhook
from roomkit_plugins.wire.reading import JSONReader, count
from roomkit_plugins.wire.vendor_provider import JSONProvider

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.wire.caller import HTTPAnswer

__all__ = ["SinchProvider"]

_EARLY = 60
"""Seconds before its end that a token is not used any more."""


class SinchProvider(JSONProvider[SinchConfig]):
    """A provider's requests and callbacks; the credentials are a plan's token, or a key that gets one."""

    origin = ORIGIN
    distribution = "roomkit-sinch"

    def __init__(self, config: SinchConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        super().__init__(config, http_client=http_client)
        self._reader = JSONReader(ORIGIN)
        self._token = ""
        self._ends_at = 0.0
        self._asking = asyncio.Lock()

    async def probe(self) -> str:
        """Return that Sinch accepts the credentials; nothing is sent. See `SupportsProbe`."""
        config = self._config
        try:
            await self._call("GET", f"{config.api_url}?page_size=1")
        except ProviderError as error:
            error.args = (f"{error}{_remedy(error, config)}",)
            raise
        what = "project" if config.project_id is not None else "service plan"
        signed = "" if config.webhook_secret else "; without webhook_secret no callback is taken"
        return f"{what} {config.account_id} is accepted by {config.api_url.partition('/xms/')[0]}{signed}"

    async def _create(self, document: Mapping[str, Any]) -> str:
        """Send a batch; return its id. Raises ProviderError."""
        answer = await self._call("POST", self._config.api_url, document)
        identity = self._reader.as_text(answer.get("id"), "id")
        if not identity:
            raise ORIGIN.bad_response("a batch without its id")
        return identity

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        secret = self._config.webhook_secret
        if secret is None:
            raise WebhookRejected("the callback cannot be verified: set webhook_secret, the service plan's")
        check_signature(request, secret.get_secret_value())

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        return read_webhook(request.json(), channel_id)

    @override
    def _headers(self) -> Mapping[str, str]:
        return {"Accept": "application/json"}

    @override
    def _refusal(self, answer: HTTPAnswer) -> ProviderError:
        return api_error(answer)

    @override
    def _secrets(self) -> Iterable[str]:
        return (*super()._secrets(), self._token)

    async def _call(self, method: str, url: str, document: Any = None) -> dict[str, Any]:
        try:
            return await self._api.call(method, url, document, headers=await self._authorization())
        except ProviderError as error:
            if error.error_code is ErrorCode.AUTH:
                self._token = ""  # it was revoked, say: the next request asks for another one
            raise

    async def _authorization(self) -> Mapping[str, str]:
        config = self._config
        if config.project_id is None and config.api_token is not None:
            return {"Authorization": f"Bearer {config.api_token.get_secret_value()}"}
        async with self._asking:
            if not self._token or time.monotonic() >= self._ends_at:
                await self._exchange()
            return {"Authorization": f"Bearer {self._token}"}

    async def _exchange(self) -> None:
        """Exchange the access key for a token.

        https://developers.sinch.com/docs/sms/api-reference/authentication (Nov 2026).
        """
        config = self._config
        secret = "" if config.key_secret is None else config.key_secret.get_secret_value()
        basic = b64encode(f"{config.key_id}:{secret}".encode()).decode()
        try:
            answer = await self._api.call(
                "POST",
                f"{config.auth_url.rstrip('/')}/oauth2/token",
                form={"grant_type": "client_credentials"},
                headers={"Authorization": f"Basic {basic}"},
            )
        except ProviderError as error:
            error.accepted = False  # no message was sent yet
            raise
        self._token = self._reader.as_text(answer.get("access_token"), "access_token")
        self._ends_at = time.monotonic() + max(0, (count(answer, "expires_in") or 0) - _EARLY)


def _remedy(error: ProviderError, config: SinchConfig) -> str:
    if error.error_code in (ErrorCode.AUTH, ErrorCode.PERMISSION):
        return "; compare the credentials with the dashboard, and region with that of the service plan"
    if error.error_code is ErrorCode.NOT_FOUND or error.accepted is not False:
        return f"; check that {config.api_url} is Sinch's API and can be reached from here"
    if error.error_code is ErrorCode.CONNECTION:
        return f"; check that {config.api_url} can be reached from here"
    return ""
