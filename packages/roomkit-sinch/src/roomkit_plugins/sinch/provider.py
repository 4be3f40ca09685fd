"""SMS and MMS by Sinch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, override

from roomkit.abc.sms import SMSProvider
from roomkit.models.channel import ChannelCapabilities
from roomkit.models.delivery import ProviderResult
from roomkit.models.enums import ChannelMediaType
from roomkit_plugins.sinch.account import SinchProvider
from roomkit_plugins.sinch.errors import ORIGIN
from roomkit_plugins.sinch.wire import body_of
from roomkit_plugins.wire.plain_message import plain_message

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints

__all__ = ["SinchSMSProvider"]


class SinchSMSProvider(SinchProvider, SMSProvider):
    """Sends SMS and MMS by Sinch, and takes its callbacks: messages and receipts.

    A message is sent from the number that its hints name, else from `from_number`, and has one file at most.
    Sinch has no idempotency key: of a message whose fate is not known none is sent again. `http_client`
    replaces the connections, for a proxy or other certificates; its maker closes it.
    """

    idempotent = False
    returns_key = True
    capabilities = ChannelCapabilities(
        media_types=(ChannelMediaType.TEXT, ChannelMediaType.MEDIA),
        max_length=1600,
        supports_composite=False,
        supports_media=True,
        supports_delivery_receipts=True,
    )

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
        self._check_recipient(to)
        message = plain_message(event.content, ORIGIN, most_files=1)
        optional = self._optional(idempotency_key, hints)
        document = {"to": [to], "delivery_report": "per_recipient", **optional, **body_of(message)}
        return ProviderResult(success=True, provider_message_id=await self._create(document))

    def _optional(self, key: str | None, hints: SMSHints | None) -> dict[str, Any]:
        config = self._config
        given = {
            "from": hints.from_ if hints is not None and hints.from_ is not None else config.from_number,
            "callback_url": config.callback_url,
            "client_reference": key,
        }
        return {name: value for name, value in given.items() if value is not None}
