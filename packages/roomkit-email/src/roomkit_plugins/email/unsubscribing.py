"""The webhook behind List-Unsubscribe: RFC 8058 for mail programs, and a page with a button for people."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from roomkit.abc.errors import WebhookRejected
from roomkit.models.content import ConsentContent
from roomkit.models.delivery import InboundMessage
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.webhook import WebhookAnswer
from roomkit_plugins.email.tokens import unsubscribed

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart
    from roomkit.models.webhook import WebhookRequest

__all__ = ["Unsubscribing"]

_PAGE = (
    '<!DOCTYPE html>\n<html><head><meta charset="utf-8"><title>Unsubscribe</title></head>\n'
    '<body><form method="post"><p>Stop these mails?</p><button>Unsubscribe</button></form></body></html>\n'
)
_HEADERS = {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}


class Unsubscribing:
    """Receives what follows the links of a channel's mails: `secret` is the one that signed them.

    A GET changes nothing, since programs follow links to look at them: it shows a page whose button posts.
    """

    retry_status: int | None = None

    def __init__(self, secret: str) -> None:
        self._secret = secret

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Return that the address of a link's token no longer consents. See `ReceivesWebhooks`."""
        found = unsubscribed(self._secret, channel_id, request.query().get("t", ""))
        if found is None:
            raise WebhookRejected("the link to unsubscribe is not one of this channel's mails")
        if request.method.upper() != "POST":
            return [WebhookAnswer(body=_PAGE, content_type="text/html; charset=utf-8", headers=_HEADERS)]
        consent = ConsentContent(
            address_type="email",
            address=found.address,
            state=ConsentState.REVOKED,
            purpose=found.purpose,
            source="one_click",
        )
        message = InboundMessage(
            channel_id=channel_id,
            sender_id=found.address,
            content=consent,
            event_type=EventType.CONSENT,
            organization_id=found.organization_id,
        )
        return [message, WebhookAnswer(body="You are unsubscribed.\n", headers=_HEADERS)]
