"""One account at Telnyx: https://developers.telnyx.com/api-reference/messages/send-a-message (Nov 2026)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, override
from urllib.parse import quote

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected
from roomkit_plugins.telnyx.config import TelnyxAccount
from roomkit_plugins.telnyx.errors import ORIGIN, api_error
from roomkit_plugins.telnyx.signature import check_signature, public_key
from roomkit_plugins.telnyx.webhooks import read_webhook
from roomkit_plugins.wire.reading import JSONReader, count
from roomkit_plugins.wire.sdk import LazyClient
from roomkit_plugins.wire.vendor_provider import JSONProvider, reference_of

if TYPE_CHECKING:
    import httpx2
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.wire.caller import HTTPAnswer

__all__ = ["SentMessage", "TelnyxProvider"]


@dataclass(frozen=True, slots=True)
class SentMessage:
    """A message that Telnyx took; `segments` is None where it does not say how many."""

    id: str
    segments: int | None


class TelnyxProvider[Config: TelnyxAccount](JSONProvider[Config]):
    """What both products of an account have alike: requests, webhooks and the probe."""

    origin = ORIGIN
    distribution = "roomkit-telnyx"
    idempotent = True

    def __init__(self, config: Config, *, http_client: httpx2.AsyncClient | None = None) -> None:
        super().__init__(config, http_client=http_client)
        self._reader = JSONReader(ORIGIN)
        self._key = LazyClient(self._load_key, None, owner=type(self).__name__, provider=self.name)

    @property
    def returns_key(self) -> bool:  # type: ignore[override]  # it follows from the settings
        """Whether receipts come to a URL of ours, which has the key: see `Provider.returns_key`."""
        return self._config.webhook_url is not None

    async def probe(self) -> str:
        """Return that Telnyx accepts the key, and knows the profile; nothing is sent. See `SupportsProbe`."""
        host, profile_id = self._config.base_url, self._config.messaging_profile_id
        path = "/balance" if profile_id is None else f"/messaging_profiles/{quote(profile_id, safe='')}"
        try:
            found = await self._get(path)
        except ProviderError as error:
            raise _explained(error, profile_id, host) from error
        signed = "" if self._config.public_key else "; without public_key no webhook is taken"
        if profile_id is None:
            return f"the API key is accepted by {host}{signed}"
        if found.get("enabled") is not True:
            raise ORIGIN.refused(
                f"messaging profile {profile_id} is disabled, so that it sends nothing: enable it in the "
                "portal",
                error_code=ErrorCode.PERMISSION,
            )
        return f"messaging profile {profile_id} of {host} is enabled{signed}"

    @override
    async def close(self) -> None:
        await super().close()
        await self._key.close()

    async def _post(self, path: str, document: Mapping[str, Any], *, key: str | None) -> SentMessage:
        """Send a message; `key` is its idempotency key. Raises ProviderError."""
        headers = {} if key is None else {"Idempotency-Key": key}
        answer = await self._api.call("POST", self._config.api_url + path, document, headers=headers)
        data = self._reader.as_object(answer.get("data"), "data")
        identity = self._reader.as_text(data.get("id"), "data.id")
        if not identity:
            raise ORIGIN.bad_response("a message without its id")
        return SentMessage(identity, count(data, "parts"))

    async def _get(self, path: str) -> dict[str, Any]:
        """Return the `data` of a resource. Raises ProviderError."""
        answer = await self._api.call("GET", self._config.api_url + path)
        return self._reader.as_object(answer.get("data"), "data")

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        if self._config.public_key is None:
            raise WebhookRejected(
                "the webhook cannot be verified: set public_key, from the portal, Keys & Credentials"
            )
        check_signature(request, await self._key.get())

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        return read_webhook(request.json(), channel_id, reference_of(request))

    @override
    def _headers(self) -> Mapping[str, str]:
        return {
            "Authorization": f"Bearer {self._config.api_key.get_secret_value()}",
            "Accept": "application/json",
        }

    @override
    def _refusal(self, answer: HTTPAnswer) -> ProviderError:
        return api_error(answer)

    def _load_key(self) -> Ed25519PublicKey:
        return public_key(self._config.public_key or "")


def _explained(error: ProviderError, profile_id: str | None, host: str) -> ProviderError:
    """Return the failure with what to do about it."""
    if error.error_code is ErrorCode.AUTH:
        why = "api_key is wrong, or was deleted: compare it with the portal, API Keys"
    elif error.error_code is ErrorCode.NOT_FOUND and profile_id is not None:
        why = f"the account has no messaging profile {profile_id}, or {host} is not Telnyx's API"
    elif error.error_code.accepted is not False or error.error_code is ErrorCode.NOT_FOUND:
        why = f"check that base_url, {host}, is Telnyx's API and can be reached from here"
    else:
        return error
    error.args = (f"{error}; {why}",)
    return error
