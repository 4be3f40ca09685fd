"""SMS and MMS by Telnyx."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from roomkit.abc.sms import SMSProvider
from roomkit.models.delivery import ProviderResult
from roomkit_plugins.telnyx.account import TelnyxProvider
from roomkit_plugins.telnyx.config import TelnyxConfig
from roomkit_plugins.telnyx.errors import ORIGIN
from roomkit_plugins.wire.plain_message import plain_message
from roomkit_plugins.wire.vendor_provider import with_reference

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints

__all__ = ["TelnyxSMSProvider"]


class TelnyxSMSProvider(TelnyxProvider[TelnyxConfig], SMSProvider):
    """Sends SMS and MMS by Telnyx, and takes its webhooks: messages, receipts, opt-outs.

    A message is sent from the number that its hints name, else from `from_number`, else from one that the
    messaging profile chooses. Its idempotency key goes along, so that a retry sends none twice.
    `http_client` replaces the connections, for a proxy or other certificates; its maker closes it.
    """

    @property
    def from_number(self) -> str | None:
        """The configured sender; None if the messaging profile chooses."""
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
        self._check_recipient(to)
        document = {"to": to, **self._sender(hints), **_content(event), **self._webhooks(idempotency_key)}
        sent = await self._post("/messages", document, key=idempotency_key)
        return ProviderResult(
            success=True, provider_message_id=sent.id, metadata={"segments": str(sent.segments or "")}
        )

    def _sender(self, hints: SMSHints | None) -> dict[str, Any]:
        config = self._config
        named = hints.from_ if hints is not None and hints.from_ is not None else config.from_number
        if named is None and config.messaging_profile_id is None:
            raise ORIGIN.refused(
                "there is no number to send from: set from_number or messaging_profile_id of TelnyxConfig, "
                "or from_number of the channel"
            )
        profile = config.messaging_profile_id
        return {
            **({} if named is None else {"from": named}),
            **({} if profile is None else {"messaging_profile_id": profile}),
        }

    def _webhooks(self, key: str | None) -> dict[str, Any]:
        given = {
            "webhook_url": self._config.webhook_url,
            "webhook_failover_url": self._config.webhook_failover_url,
        }
        return {name: with_reference(url, key) for name, url in given.items() if url is not None}


def _content(event: RoomEvent) -> dict[str, Any]:
    message = plain_message(event.content, ORIGIN)
    text = {"text": message.text} if message.text else {}
    return {**text, "media_urls": list(message.urls), "type": "MMS"} if message.urls else text
