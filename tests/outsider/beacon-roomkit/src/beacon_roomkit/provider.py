"""Talks to Beacon's network, which this package keeps in memory instead of calling it."""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, Field, SecretStr

from roomkit.abc import ErrorCode, Provider, ProviderError, WebhookPart, WebhookRejected
from roomkit.models import (
    DeliveryStatus,
    Hints,
    InboundMessage,
    InvokeAnswer,
    ProviderResult,
    RoomEvent,
    TextContent,
    WebhookAnswer,
    WebhookInvoke,
    WebhookRequest,
)

WORDS = {"beeped": "delivered", "dead_battery": "undelivered"}


class PagerProvider(Provider):
    """The role: what a pager channel needs of a network."""

    @abstractmethod
    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: Hints | None = None,
    ) -> ProviderResult:
        """Send to the pager number `to`."""


class BeaconAccount(BaseModel):
    """An account at Beacon."""

    secret: SecretStr = Field(description="Signs webhooks.")


class BeaconProvider(PagerProvider):
    """Sends pages, and receives what pagers send back."""

    name = "beacon"
    idempotent = True
    retry_status = 502
    sent: ClassVar[dict[str, tuple[str, str]]] = {}

    def __init__(self, config: BeaconAccount) -> None:
        self._secret = config.secret

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: Hints | None = None,
    ) -> ProviderResult:
        """Send a text; the same key is the same page."""
        if not to.strip():
            raise ProviderError("no pager", error_code=ErrorCode.MISSING_RECIPIENT, provider=self.name)
        if not isinstance(event.content, TextContent):
            raise ProviderError("text only", error_code=ErrorCode.UNSUPPORTED_CONTENT, provider=self.name)
        message_id = f"page-{idempotency_key or event.id}"
        self.sent.setdefault(message_id, (to, event.content.body))
        return ProviderResult(success=True, provider_message_id=message_id)

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify, then read."""
        expected = signature(self._secret.get_secret_value(), request.body)
        given = request.header("x-beacon-signature") or ""
        if not hmac.compare_digest(given.encode(), expected.encode()):
            raise WebhookRejected("the signature is not Beacon's")
        try:
            return self.read(request.json(), channel_id)
        except (KeyError, TypeError, ValueError) as error:
            raise WebhookRejected("the body is not Beacon's", status_code=400) from error

    def read(self, payload: Mapping[str, Any], channel_id: str) -> Sequence[WebhookPart]:
        """Return what a request says."""
        if "challenge" in payload:
            return [WebhookAnswer(body=str(payload["challenge"]))]
        if "state" in payload:
            status = DeliveryStatus(
                provider=self.name,
                channel_id=channel_id,
                message_id=payload["id"],
                status=WORDS.get(payload["state"], payload["state"]),
                raw=payload,
            )
            return [status]
        message = InboundMessage(
            channel_id=channel_id,
            sender_id=payload["from"],
            content=TextContent(body=payload["text"]),
            idempotency_key=payload["id"],
            raw_payload=payload,
        )
        if payload.get("asks"):
            # The pager shows the answer at once, or that the message was taken.
            return [WebhookInvoke(message=message, name="page", default=InvokeAnswer(status=202))]
        return [message]


def signature(secret: str, body: bytes) -> str:
    """Sign as Beacon does."""
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
