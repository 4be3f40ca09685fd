"""SMS and MMS by Sinch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, override

from roomkit.abc.errors import ProviderError
from roomkit.abc.sms import SMSProvider
from roomkit.models.delivery import ProviderResult
from roomkit_plugins.sinch.account import SinchProvider
from roomkit_plugins.sinch.errors import ORIGIN
from roomkit_plugins.sinch.wire import requests_of
from roomkit_plugins.wire.plain_message import plain_message

if TYPE_CHECKING:
    from roomkit.models.event import RoomEvent
    from roomkit.models.hints import SMSHints

__all__ = ["SinchSMSProvider"]


class SinchSMSProvider(SinchProvider, SMSProvider):
    """Sends SMS and MMS by Sinch, and takes its callbacks: messages and receipts.

    A message is sent from the number that its hints name, else from `from_number`. Of several files each is a
    message of its own, the first with the text. Sinch has no idempotency key: of a message whose fate is not
    known none is sent again. `http_client` replaces the connections, for a proxy or other certificates; its
    maker closes it.
    """

    idempotent = False

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
        common = {"to": [to], "delivery_report": "per_recipient", **self._optional(idempotency_key, hints)}
        bodies = requests_of(plain_message(event.content, ORIGIN))
        sent = await self._send_each([{**common, **body} for body in bodies])
        return ProviderResult(
            success=True, provider_message_id=sent[0], parts=tuple(sent) if len(sent) > 1 else ()
        )

    async def _send_each(self, documents: Sequence[dict[str, Any]]) -> list[str]:
        """Send batches in their order. After the first, a failure leaves it open what the person has."""
        sent: list[str] = []
        for document in documents:
            try:
                sent.append(await self._create(document))
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
