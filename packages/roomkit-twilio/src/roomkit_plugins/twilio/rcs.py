"""RCS by Twilio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ErrorCode
from roomkit.abc.rcs import RCSDeliveryResult, RCSProvider
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.twilio import wire
from roomkit_plugins.twilio.client import TwilioAPI, callback, file_headers
from roomkit_plugins.twilio.errors import ORIGIN
from roomkit_plugins.twilio.probe import probed
from roomkit_plugins.twilio.provider import verified

if TYPE_CHECKING:
    import httpx2

    from roomkit.abc.provider import WebhookPart
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import RCSHints
    from roomkit.models.webhook import WebhookRequest
    from roomkit_plugins.twilio.config import TwilioRCSConfig

__all__ = ["TwilioRCSProvider"]


class TwilioRCSProvider(RCSProvider):
    """Sends RCS messages by a messaging service of Twilio's, and takes its webhooks.

    Twilio takes text, files and content templates: cards and suggestions are a `TemplateContent` whose id
    begins with HX, and rooms send words in the place of other buttons. With a fallback the service sends an
    SMS to a telephone without RCS; which of them it was, only receipts say. Otherwise see
    `TwilioSMSProvider`.
    """

    idempotent = False
    retry_status = None
    capabilities = ChannelCapabilities(
        media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA, ChannelMediaType.TEMPLATE),
        max_length=wire.LONGEST,
        supports_delivery_receipts=True,
        supports_read_receipts=True,
        supports_media=True,
        supports_templates=True,
    )

    def __init__(self, config: TwilioRCSConfig, *, http_client: httpx2.AsyncClient | None = None) -> None:
        self._config = config
        self._api = TwilioAPI(config, owner=type(self).__name__, http_client=http_client)

    @property
    @override
    def name(self) -> str:
        return ORIGIN.provider

    @property
    @override
    def sender_id(self) -> str:
        return self._config.sender_id or self._config.messaging_service_sid

    @override
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: RCSHints | None = None,
    ) -> RCSDeliveryResult:
        if not to.strip():
            raise ORIGIN.refused("there is no number to send to", error_code=ErrorCode.MISSING_RECIPIENT)
        may_fall_back = hints is None or hints.fallback
        content = wire.content_parameters(event.content)
        route = self._with_fallback(to) if may_fall_back else self._without_fallback(to)
        sent = await self._api.create({**route, **content, **callback(self._config)})
        return RCSDeliveryResult(
            success=True,
            provider_message_id=sent.sid,
            channel_used="unknown" if may_fall_back else "rcs",
            metadata={"status": str(sent.status)},
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

    def _with_fallback(self, to: str) -> dict[str, Any]:
        route = {"to": to, "messaging_service_sid": self._config.messaging_service_sid}
        number = self._config.from_number
        return route if number is None else {**route, "fallback_from": number}

    def _without_fallback(self, to: str) -> dict[str, Any]:
        sender = self._config.sender_id
        if sender is None:
            raise ORIGIN.refused(
                "without a fallback to SMS Twilio asks for the RCS sender: set sender_id of TwilioRCSConfig"
            )
        return {"to": f"rcs:{to}", "from_": f"rcs:{sender.removeprefix('rcs:')}"}
