"""RCS by Twilio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from roomkit.abc.rcs import RCSDeliveryResult, RCSProvider
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.twilio import wire
from roomkit_plugins.twilio.account import TwilioProvider
from roomkit_plugins.twilio.client import callback
from roomkit_plugins.twilio.config import TwilioRCSConfig
from roomkit_plugins.twilio.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import RCSHints

__all__ = ["TwilioRCSProvider"]


class TwilioRCSProvider(TwilioProvider[TwilioRCSConfig], RCSProvider):
    """Sends RCS messages by a messaging service of Twilio's, and takes its webhooks.

    Twilio takes text, files and content templates: cards and suggestions are a `TemplateContent` whose id
    begins with HX, and rooms send words in the place of other buttons. With a fallback the service sends an
    SMS to a telephone without RCS; which of them it was, only receipts say. Otherwise see
    `TwilioSMSProvider`.
    """

    capabilities = ChannelCapabilities(
        media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA, ChannelMediaType.TEMPLATE),
        max_length=wire.LONGEST,
        supports_delivery_receipts=True,
        supports_read_receipts=True,
        supports_media=True,
        supports_templates=True,
    )

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
        self._check_recipient(to)
        may_fall_back = hints is None or hints.fallback
        content = wire.content_parameters(event.content)
        route = self._with_fallback(to) if may_fall_back else self._without_fallback(to)
        sent = await self._api.create({**route, **content, **callback(self._config, idempotency_key)})
        return RCSDeliveryResult(
            success=True,
            provider_message_id=sent.sid,
            channel_used="unknown" if may_fall_back else "rcs",
            metadata={"status": str(sent.status)},
        )

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
