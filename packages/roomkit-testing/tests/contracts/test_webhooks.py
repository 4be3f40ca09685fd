"""The webhook contract, on a vendor that signs the time, the URL and the body."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence

import pytest

from roomkit.abc.errors import WebhookRejected
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.contracts import WebhookContract

SECRET = "whsec-canary"
URL = "https://example.com/webhooks/acme"


def signature(url: str, moment: str, body: bytes) -> str:
    """Sign as the vendor does."""
    return hmac.new(SECRET.encode(), f"{moment}.{url}.".encode() + body, hashlib.sha256).hexdigest()


class AcmeWebhooks:
    """A provider of that vendor."""

    async def webhook(
        self, request: WebhookRequest, *, channel_id: str
    ) -> list[InboundMessage | DeliveryStatus]:
        """Verify, then read."""
        moment = request.header("X-Time", "")
        given = (request.header("X-Signature", "") or "").encode()
        expected = signature(request.url, moment or "", request.body).encode()
        if not hmac.compare_digest(given, expected):
            raise WebhookRejected("the signature is not Acme's")
        if abs(request.received_at - float(moment or 0)) > 300:
            raise WebhookRejected("the request is too old, or from the future")
        payload = request.json()
        if "receipt" in payload:
            return [
                DeliveryStatus(
                    provider="acme",
                    message_id=payload["id"],
                    status=payload["receipt"],
                    channel_id=channel_id,
                    raw=payload,
                )
            ]
        return [
            InboundMessage(
                channel_id=channel_id,
                sender_id=payload["from"],
                content=TextContent(body=payload["text"]),
                idempotency_key=payload["id"],
                raw_payload=payload,
            ),
            DeliveryStatus(
                provider="acme", message_id="1", status="sent", channel_id=channel_id, raw=payload
            ),
        ]


class TestAcmeWebhooks(WebhookContract):
    signs_url = True
    signs_time = True
    signature_headers = ("X-Time", "X-Signature")

    @property
    def secrets(self) -> Sequence[str]:
        return (SECRET,)

    @pytest.fixture
    def factory(self) -> Callable[[], AcmeWebhooks]:
        return AcmeWebhooks

    @property
    def receipt_words(self) -> Mapping[str, ReceiptState]:
        return {"SENT": ReceiptState.SENT, "bounce": ReceiptState.UNDELIVERED}

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        def make(moment: float, message_id: str, word: str) -> WebhookRequest:
            body = json.dumps({"id": message_id, "receipt": word}).encode()
            headers = {"X-Time": str(moment), "X-Signature": signature(URL, str(moment), body)}
            return WebhookRequest(method="POST", url=URL, headers=headers, body=body)

        return make

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        def make(moment: float) -> WebhookRequest:
            body = b'{"id": "m1", "from": "+1", "text": "hello"}'
            headers = {"X-Time": str(moment), "X-Signature": signature(URL, str(moment), body)}
            return WebhookRequest(method="POST", url=URL, headers=headers, body=body)

        return make
