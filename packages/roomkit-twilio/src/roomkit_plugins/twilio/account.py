"""What both products of an account at Twilio have alike: requests, webhooks and the probe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, override

from roomkit.abc.errors import WebhookRejected
from roomkit_plugins.twilio import wire
from roomkit_plugins.twilio.client import TwilioAPI, file_headers
from roomkit_plugins.twilio.config import TwilioConfig
from roomkit_plugins.twilio.errors import ORIGIN
from roomkit_plugins.twilio.probe import probed
from roomkit_plugins.twilio.signature import check_signature, form_of
from roomkit_plugins.wire.vendor_provider import VendorProvider, reference_of

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.webhook import WebhookRequest

__all__ = ["TwilioProvider"]


class TwilioProvider[Config: TwilioConfig](VendorProvider[Config, TwilioAPI]):
    """A provider by Twilio, for any of its products."""

    origin = ORIGIN
    idempotent = False
    retry_status = None  # Twilio calls the fallback URL, and repeats only as connection overrides say

    @property
    def returns_key(self) -> bool:  # type: ignore[override]  # it follows from the settings
        """Whether receipts come to a URL of ours, which has the key: see `Provider.returns_key`."""
        return self._config.status_callback_url is not None

    async def probe(self) -> str:
        """Return that Twilio's account is active; nothing is sent. See `SupportsProbe`."""
        return await probed(self._api, self._config)

    @override
    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the account's credentials for Twilio's own URLs of files."""
        return file_headers(self._config, url)

    @override
    def _connect(self, http_client: httpx2.AsyncClient | None) -> TwilioAPI:
        return TwilioAPI(self._config, owner=type(self).__name__, http_client=http_client)

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        config = self._config
        check_signature(
            request,
            token=config.auth_token.get_secret_value(),
            keys={name: key.get_secret_value() for name, key in config.webhook_keys.items()},
            public_url=config.public_url,
        )

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        form = form_of(request)
        if form.get("AccountSid", self._config.account_sid) != self._config.account_sid:
            raise WebhookRejected("the webhook is of another Twilio account", status_code=403)
        return [wire.read_webhook(form, channel_id, reference_of(request))]
