"""The contracts of SMS providers and of webhooks, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.sinch import SinchConfig, SinchSMSProvider
from roomkit_plugins.testing.contracts import SimulatedVendor, SMSProviderContract, WebhookContract
from roomkit_plugins.testing.simulators import SinchSimulator

TOKEN, SECRET = "canary-of-the-api-token", "canary-of-the-webhook-secret"
VENDOR = SinchSimulator(webhook_secret=SECRET)


class TestSinchWebhooks(WebhookContract):
    signature_headers = (
        "x-sinch-webhook-signature",
        "x-sinch-webhook-signature-nonce",
        "x-sinch-webhook-signature-timestamp",
        "x-sinch-webhook-signature-algorithm",
    )
    retry_status = 503
    has_answers = False
    signs_time = True
    secrets = (TOKEN, SECRET)
    receipt_words: Mapping[str, ReceiptState] = {
        "QUEUED": ReceiptState.QUEUED,
        "DISPATCHED": ReceiptState.SENT,
        "DELIVERED": ReceiptState.DELIVERED,
        "ABORTED": ReceiptState.FAILED,
        "FAILED": ReceiptState.FAILED,
        "REJECTED": ReceiptState.FAILED,
        "CANCELLED": ReceiptState.CANCELED,
        "DELETED": ReceiptState.CANCELED,
        "EXPIRED": ReceiptState.EXPIRED,
        "UNKNOWN": ReceiptState.UNKNOWN,
    }

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        config = SinchConfig(service_plan_id="p", api_token=TOKEN, webhook_secret=SECRET)
        return lambda: SinchSMSProvider(config)

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        body = {
            "type": "mo_text",
            "id": "m1",
            "from": "14165550123",
            "to": "14375550999",
            "body": "Hello & good bye: 100 %, ünïcode 👋",
        }
        return lambda moment: VENDOR.signed(json.dumps(body).encode(), moment)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        def sign(moment: float, message_id: str, word: str) -> WebhookRequest:
            report = {"type": "recipient_delivery_report_sms", "batch_id": message_id, "status": word}
            return VENDOR.signed(json.dumps(report).encode(), moment)

        return sign

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: VENDOR.signed(body, moment)


class TestSinchSMSProvider(SimulatedVendor, SMSProviderContract):
    honours_idempotency = False
    returning_settings: Mapping[str, Any] = {}
    webhook_contract = TestSinchWebhooks
    recipient = "+14165550123"
    sender = "+14375550999"

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.api_token, self.vendor.webhook_secret)

    @pytest.fixture
    def simulator(self, sinch: SinchSimulator) -> SinchSimulator:
        return sinch

    @pytest.fixture
    def make_provider(self, configure: Callable[..., SinchConfig]) -> Callable[..., SinchSMSProvider]:
        return lambda **fields: SinchSMSProvider(configure(**fields))
