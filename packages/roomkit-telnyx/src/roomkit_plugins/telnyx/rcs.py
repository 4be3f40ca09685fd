"""RCS by Telnyx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override
from urllib.parse import quote

from roomkit.abc.rcs import RCSDeliveryResult, RCSProvider
from roomkit.authoring.plain_text import described
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.telnyx.account import TelnyxProvider
from roomkit_plugins.telnyx.config import TelnyxRCSConfig
from roomkit_plugins.telnyx.rcs_wire import (
    DESCRIPTION,
    LABEL,
    LONGEST,
    MOST_CARDS,
    MOST_ON_CARD,
    MOST_SUGGESTIONS,
    TITLE,
    content_message,
)
from roomkit_plugins.wire.plain_message import parts_of
from roomkit_plugins.wire.vendor_provider import with_reference

if TYPE_CHECKING:
    from collections.abc import Sequence

    from roomkit.models.content import EventContent
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import RCSHints

__all__ = ["TelnyxRCSProvider"]


class TelnyxRCSProvider(TelnyxProvider[TelnyxRCSConfig], RCSProvider):
    """Sends RCS messages by an agent at Telnyx, and takes its webhooks: messages, taps, receipts.

    With `fallback_from` of its configuration, and where the message allows it, Telnyx sends an SMS to a
    telephone without RCS, which says in words and links what it cannot show; which of them it was, only
    receipts say. Otherwise see `TelnyxSMSProvider`.
    """

    capabilities = ChannelCapabilities(
        media_types=(
            ChannelMediaType.TEXT,
            ChannelMediaType.RICH,
            ChannelMediaType.MEDIA,
            ChannelMediaType.AUDIO,
            ChannelMediaType.VIDEO,
            ChannelMediaType.LOCATION,
        ),
        max_length=LONGEST,
        supports_delivery_receipts=True,
        supports_read_receipts=True,
        supports_typing=True,
        supports_rich_text=True,
        supports_buttons=True,
        max_buttons=MOST_SUGGESTIONS,
        max_button_text_length=LABEL,
        supports_cards=True,
        max_cards=MOST_CARDS,
        max_card_title_length=TITLE,
        max_card_description_length=DESCRIPTION,
        max_card_buttons=MOST_ON_CARD,
        supports_text_with_cards=False,
        supports_quick_replies=True,
        max_quick_replies=MOST_SUGGESTIONS,
        supports_media=True,
        supports_audio=True,
        supports_video=True,
    )
    typing_seconds = 10.0
    """Telephones show it for some seconds more; Telnyx does not say how long."""

    @property
    @override
    def sender_id(self) -> str:
        return self._config.agent_id

    @property
    @override
    def supports_fallback(self) -> bool:
        return self._config.fallback_from is not None

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
        url = self._config.webhook_url
        fallback = self._fallback(event.content) if hints is None or hints.fallback else {}
        document = {
            "agent_id": self._config.agent_id,
            "to": to,
            "messaging_profile_id": self._config.messaging_profile_id,
            "type": "RCS",
            "agent_message": {"content_message": content_message(event.content)},
            **({} if url is None else {"webhook_url": with_reference(url, idempotency_key)}),
            **fallback,
        }
        sent = await self._post("/messages/rcs", document, key=idempotency_key)
        return RCSDeliveryResult(
            success=True, provider_message_id=sent.id, channel_used="unknown" if fallback else "rcs"
        )

    async def show_typing(self, to: str, is_typing: bool, *, answering: str | None) -> None:
        """Show that we type; Telnyx cannot end it early. See `ShowsTyping`."""
        if is_typing:
            await self._signal(to, "IS_TYPING")

    async def mark_read(self, to: str, message_ids: Sequence[str]) -> None:
        """Mark what came from a telephone as read; Telnyx takes no ids. See `MarksRead`."""
        await self._signal(to, "READ")

    async def _signal(self, to: str, kind: str) -> None:
        document = {
            "agent_id": self._config.agent_id,
            "to": to,
            "messaging_profile_id": self._config.messaging_profile_id,
            "agent_message": {"event": {"event_type": kind}},
        }
        await self._api.call("POST", f"{self._config.api_url}/messages/rcs", document)

    @override
    async def check_capability(self, phone_number: str) -> bool:
        """Return whether the phone can receive RCS of this agent. Raises ProviderError."""
        agent, number = (quote(each, safe="") for each in (self._config.agent_id, phone_number))
        found = await self._get(f"/messaging/rcs/capabilities/{agent}/{number}")
        return bool(found.get("features"))

    def _fallback(self, content: EventContent) -> dict[str, Any]:
        """Return the SMS in the place of a message."""
        number = self._config.fallback_from
        if number is None:
            return {}
        text = "\n".join(filter(None, (described(part) for part in parts_of(content))))
        return {"sms_fallback": {"from": number, "text": text}}
