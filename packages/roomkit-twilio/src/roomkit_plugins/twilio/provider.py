"""SMS and MMS by Twilio."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from roomkit.abc.sms import SMSProvider
from roomkit.models.delivery import ProviderResult
from roomkit_plugins.twilio import wire
from roomkit_plugins.twilio.account import TwilioProvider
from roomkit_plugins.twilio.client import callback
from roomkit_plugins.twilio.config import TwilioConfig
from roomkit_plugins.twilio.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints

__all__ = ["TwilioSMSProvider"]


class TwilioSMSProvider(TwilioProvider[TwilioConfig], SMSProvider):
    """Sends SMS and MMS by Twilio, and takes its webhooks: messages, status callbacks, opt-outs.

    A message is sent from the number that its hints name, else by the messaging service, else from
    `from_number`. Twilio has no idempotency key: of a message whose fate is not known none is sent again. The
    SDK is imported at the first message, in a worker thread. `http_client` replaces the connections, for a
    proxy or other certificates; its maker closes it.
    """

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
        self._check_recipient(to)
        sender = self._sender(hints.from_ if hints is not None else None)
        content = wire.content_parameters(event.content)
        sent = await self._api.create(
            {"to": to, **sender, **content, **callback(self._config, idempotency_key)}
        )
        return ProviderResult(
            success=True,
            provider_message_id=sent.sid,
            metadata={"status": str(sent.status), "segments": str(sent.num_segments)},
        )

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
