"""The contracts of SMS providers and of webhooks, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.contracts import SimulatedVendor, SMSProviderContract, WebhookContract
from roomkit_plugins.testing.simulators import VoiceMeUpSimulator
from roomkit_plugins.voicemeup import VoiceMeUpConfig, VoiceMeUpSMSProvider

TOKEN, SECRET = "canary-of-the-auth-token", "canary-of-the-webhook-token"
VENDOR = VoiceMeUpSimulator(webhook_token=SECRET)


class TestVoiceMeUpWebhooks(WebhookContract):
    """Nothing is signed: the URL's token is tried in test_webhooks.py."""

    signature_headers = ()
    signs_body = False
    retry_status = None
    has_answers = False
    secrets = (TOKEN, SECRET)
    receipt_words: Mapping[str, ReceiptState] = {}

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        config = VoiceMeUpConfig(username="u", auth_token=TOKEN, webhook_token=SECRET)
        return lambda: VoiceMeUpSMSProvider(config)

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        body = {
            "sms_hash": "h1",
            "source_number": "15145550123",
            "destination_number": "15145550999",
            "message": "Hello & good bye: 100 %, ünïcode 👋",
        }
        return lambda moment: VENDOR.signed(json.dumps(body).encode())

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: VENDOR.signed(body)


class TestVoiceMeUpSMSProvider(SimulatedVendor, SMSProviderContract):
    honours_idempotency = False
    webhook_contract = TestVoiceMeUpWebhooks
    recipient = "+15145550123"
    sender = "+15145550999"
    max_length = 1000

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.auth_token, self.vendor.webhook_token)

    @pytest.fixture
    def simulator(self, vendor: VoiceMeUpSimulator) -> VoiceMeUpSimulator:
        return vendor

    @pytest.fixture
    def make_provider(self, configure: Callable[..., VoiceMeUpConfig]) -> Callable[..., VoiceMeUpSMSProvider]:
        return lambda **fields: VoiceMeUpSMSProvider(configure(**fields))
