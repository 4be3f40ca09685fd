"""The webhook contract, on a vendor that signs the time, the URL and the body."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.abc.errors import WebhookRejected
from roomkit.abc.provider import WebhookPart
from roomkit.models.content import TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ReceiptState
from roomkit.models.invoke import WebhookInvoke
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.contracts import WebhookContract

SECRET = "whsec-canary"
URL = "https://example.com/webhooks/acme"


def signature(url: str, moment: str, body: bytes) -> str:
    """Sign as the vendor does."""
    return hmac.new(SECRET.encode(), f"{moment}.{url}.".encode() + body, hashlib.sha256).hexdigest()


class AcmeWebhooks:
    """A provider of that vendor, which repeats on 500 and asks for the app's answers."""

    retry_status = 500

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify, then read."""
        moment = request.header("X-Time", "")
        given = (request.header("X-Signature", "") or "").encode()
        expected = signature(request.url, moment or "", request.body).encode()
        if not hmac.compare_digest(given, expected):
            raise WebhookRejected("the signature is not Acme's")
        if abs(request.received_at - float(moment or 0)) > 300:
            raise WebhookRejected("the request is too old, or from the future")
        payload = request.json()
        try:
            return self.read(payload, channel_id)
        except (KeyError, TypeError, ValueError) as error:
            raise WebhookRejected("the body is not Acme's", status_code=400) from error

    def read(self, payload: Mapping[str, Any], channel_id: str) -> Sequence[WebhookPart]:
        """Return what a request says."""
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
        message = InboundMessage(
            channel_id=channel_id,
            sender_id=payload["from"],
            content=TextContent(body=payload["text"]),
            idempotency_key=payload["id"],
            raw_payload=payload,
        )
        if "invoke" in payload:
            return [WebhookInvoke(message=message, name=payload["invoke"], answer_timeout=5)]
        status = DeliveryStatus(
            provider="acme", message_id="1", status="sent", channel_id=channel_id, raw=payload
        )
        return [message, status]


def signed(moment: float, body: bytes) -> WebhookRequest:
    headers = {"X-Time": str(moment), "X-Signature": signature(URL, str(moment), body)}
    return WebhookRequest(method="POST", url=URL, headers=headers, body=body)


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

    retry_status = 500
    has_answers = True

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        return lambda moment, message_id, word: signed(
            moment, json.dumps({"id": message_id, "receipt": word}).encode()
        )

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return signed

    @pytest.fixture
    def sign_answered(self) -> Callable[[float], WebhookRequest]:
        body = b'{"id": "m2", "from": "+1", "text": "", "invoke": "task/fetch"}'
        return lambda moment: signed(moment, body)

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        return lambda moment: signed(moment, b'{"id": "m1", "from": "+1", "text": "hello"}')
