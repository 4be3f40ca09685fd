"""SMS and MMS by Sinch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected
from roomkit.abc.sms import SMSProvider
from roomkit.models.delivery import ProviderResult
from roomkit_plugins.sinch.client import SinchAPI
from roomkit_plugins.sinch.errors import ORIGIN
from roomkit_plugins.sinch.signature import check_signature
from roomkit_plugins.sinch.wire import read_webhook, requests_of
from roomkit_plugins.wire.plain_message import plain_message
from roomkit_plugins.wire.reading import readable_webhook

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.sinch.config import SinchConfig

__all__ = ["SinchSMSProvider"]


class SinchSMSProvider(SMSProvider):
    """Sends SMS and MMS by Sinch, and takes its callbacks: messages and receipts.

    A message is sent from the number that its hints name, else from `from_number`. Of several files each is a
    message of its own, the first with the text. Sinch has no idempotency key: of a message whose fate is not
    known none is sent again. `http_client` replaces the connections, for a proxy or other certificates; its
    maker closes it.
    """

    idempotent = False

    def __init__(self, config: SinchConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._api = SinchAPI(config, owner=type(self).__name__, http_client=http_client)

    @property
    @override
    def name(self) -> str:
        return ORIGIN.provider

    @property
    def from_number(self) -> str | None:
        """The configured sender; None if Sinch chooses."""
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
        common = {"to": [to], "delivery_report": "per_recipient", **self._optional(idempotency_key, hints)}
        bodies = requests_of(plain_message(event.content, ORIGIN))
        sent = await self._send_each([{**common, **body} for body in bodies])
        return ProviderResult(
            success=True, provider_message_id=sent[0], parts=tuple(sent) if len(sent) > 1 else ()
        )

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify Sinch's signature and time, then return what it says. See `ReceivesWebhooks`."""
        secret = self._config.webhook_secret
        if secret is None:
            raise WebhookRejected("the callback cannot be verified: set webhook_secret, the service plan's")
        check_signature(request, secret.get_secret_value())
        with readable_webhook(ORIGIN.vendor):
            return read_webhook(request.json(), channel_id)

    async def probe(self) -> str:
        """Return that Sinch accepts the credentials; nothing is sent. See `SupportsProbe`."""
        return await self._api.probe()

    @override
    async def close(self) -> None:
        await self._api.close()

    async def _send_each(self, documents: Sequence[dict[str, Any]]) -> list[str]:
        """Send batches in their order. After the first, a failure leaves it open what the person has."""
        sent: list[str] = []
        for document in documents:
            try:
                sent.append(await self._api.send(document))
            except ProviderError as error:
                if not sent:
                    raise
                raise ProviderError(
                    f"{len(sent)} of {len(documents)} files were sent, then: {error}",
                    error_code=error.error_code,
                    provider=ORIGIN.provider,
                    status_code=error.status_code,
                    vendor_code=error.vendor_code,
                    accepted=None,
                ) from error
        return sent

    def _optional(self, key: str | None, hints: SMSHints | None) -> dict[str, Any]:
        config = self._config
        given = {
            "from": hints.from_ if hints is not None and hints.from_ is not None else config.from_number,
            "callback_url": config.callback_url,
            "client_reference": key,
        }
        return {name: value for name, value in given.items() if value is not None}
