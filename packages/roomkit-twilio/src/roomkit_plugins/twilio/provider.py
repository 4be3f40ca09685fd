"""SMS and MMS by Twilio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ErrorCode, WebhookRejected
from roomkit.abc.sms import SMSProvider
from roomkit.models.delivery import ProviderResult
from roomkit_plugins.twilio import wire
from roomkit_plugins.twilio.client import TwilioAPI, callback, file_headers
from roomkit_plugins.twilio.errors import ORIGIN
from roomkit_plugins.twilio.probe import probed
from roomkit_plugins.twilio.signature import Form, verified_form

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.twilio.config import TwilioConfig

__all__ = ["TwilioSMSProvider"]


class TwilioSMSProvider(SMSProvider):
    """Sends SMS and MMS by Twilio, and takes its webhooks: messages, status callbacks, opt-outs.

    A message is sent from the number that its hints name, else by the messaging service, else from
    `from_number`. Twilio has no idempotency key: of a message whose fate is not known none is sent again. The
    SDK is imported at the first message, in a worker thread. `http_client` replaces the connections, for a
    proxy or other certificates; its maker closes it.
    """

    idempotent = False
    retry_status = None  # Twilio calls the fallback URL, and repeats only as connection overrides say

    def __init__(self, config: TwilioConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._api = TwilioAPI(config, owner=type(self).__name__, http_client=http_client)

    @property
    @override
    def name(self) -> str:
        return ORIGIN.provider

    @property
    def from_number(self) -> str | None:
        """The configured sender; None if the messaging service chooses."""
        return self._config.from_number

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        if not to.strip():
            raise ORIGIN.refused("there is no number to send to", error_code=ErrorCode.MISSING_RECIPIENT)
        sender = self._sender(hints.from_ if hints is not None else None)
        content = wire.content_parameters(event.content)
        sent = await self._api.create({"to": to, **sender, **content, **callback(self._config)})
        return ProviderResult(
            success=True,
            provider_message_id=sent.sid,
            metadata={"status": str(sent.status), "segments": str(sent.num_segments)},
        )

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify Twilio's signature, then return the one message or receipt. See `ReceivesWebhooks`."""
        return [wire.read_webhook(verified(request, self._config), channel_id)]

    async def probe(self) -> str:
        """Return that Twilio's account is active; nothing is sent. See `SupportsProbe`."""
        return await probed(self._api, self._config)

    @override
    def file_headers(self, url: str) -> Mapping[str, str]:
        """Return the account's credentials for Twilio's own URLs of files."""
        return file_headers(self._config, url)

    @override
    async def close(self) -> None:
        await self._api.close()

    def _sender(self, named: str | None) -> dict[str, Any]:
        config = self._config
        if named is None and config.messaging_service_sid is not None:
            return {"messaging_service_sid": config.messaging_service_sid}
        sender = named or config.from_number
        if sender is None:
            raise ORIGIN.refused(
                "there is no number to send from: set from_number or messaging_service_sid of TwilioConfig, "
                "or from_number of the channel"
            )
        return {"from_": sender}


def verified(request: WebhookRequest, config: TwilioConfig) -> Form:
    """Return the form of a request of this account. Raises WebhookRejected."""
    form = verified_form(
        request,
        token=config.auth_token.get_secret_value(),
        keys={name: key.get_secret_value() for name, key in config.webhook_keys.items()},
        public_url=config.public_url,
    )
    if form.get("AccountSid", config.account_sid) != config.account_sid:
        raise WebhookRejected("the webhook is of another Twilio account", status_code=403)
    return form
