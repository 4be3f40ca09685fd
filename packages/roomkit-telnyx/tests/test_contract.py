"""The contracts of SMS and RCS providers and of webhooks, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.telnyx import TelnyxConfig, TelnyxRCSConfig, TelnyxRCSProvider, TelnyxSMSProvider
from roomkit_plugins.testing.contracts import (
    RCSProviderContract,
    SimulatedVendor,
    SMSProviderContract,
    WebhookContract,
)
from roomkit_plugins.testing.simulators import TelnyxSimulator

KEY = "KEY-canary-of-the-api-key"
VENDOR = TelnyxSimulator(api_key=KEY)
HOOK = "https://chat.example.org/hook"


def envelope(event_type: str, **payload: Any) -> bytes:
    event = {"record_type": "event", "id": "e1", "event_type": event_type, "payload": payload}
    return json.dumps({"data": event, "meta": {"attempt": 1}}).encode()


class TestTelnyxWebhooks(WebhookContract):
    signature_headers = ("telnyx-signature-ed25519", "telnyx-timestamp")
    retry_status = 503
    has_answers = False
    signs_time = True
    secrets = (KEY,)
    receipt_words: Mapping[str, ReceiptState] = {
        "queued": ReceiptState.QUEUED,
        "sending": ReceiptState.SENDING,
        "sent": ReceiptState.SENT,
        "delivered": ReceiptState.DELIVERED,
        "delivery_unconfirmed": ReceiptState.SENT,
        "read": ReceiptState.READ,
        "sending_failed": ReceiptState.FAILED,
        "delivery_failed": ReceiptState.UNDELIVERED,
        "expired": ReceiptState.EXPIRED,
        "teleported": ReceiptState.UNKNOWN,
    }

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        return lambda: TelnyxSMSProvider(TelnyxConfig(api_key=KEY, public_key=VENDOR.public_key))

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        body = envelope(
            "message.received",
            id="m1",
            direction="inbound",
            type="SMS",
            **{"from": {"phone_number": "+14165550123"}},
            to=[{"phone_number": "+14375550999"}],
            text="Hello & good bye: 100 %, ünïcode 👋",
        )
        return lambda moment: VENDOR.signed(body, moment)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        def sign(moment: float, message_id: str, word: str) -> WebhookRequest:
            to = [{"phone_number": "+14165550123", "status": word}]
            return VENDOR.signed(envelope("message.finalized", id=message_id, to=to), moment)

        return sign

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: VENDOR.signed(body, moment)


class TestTelnyxRCSWebhooks(TestTelnyxWebhooks):
    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        config = TelnyxRCSConfig(
            api_key=KEY, public_key=VENDOR.public_key, agent_id="acme", messaging_profile_id="P1"
        )
        return lambda: TelnyxRCSProvider(config)


class TestTelnyxSMSProvider(SimulatedVendor, SMSProviderContract):
    honours_idempotency = True
    returning_settings: Mapping[str, Any] = {"webhook_url": HOOK}
    webhook_contract = TestTelnyxWebhooks
    recipient = "+14165550123"
    sender = "+14375550999"

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.api_key,)

    @pytest.fixture
    def simulator(self, telnyx: TelnyxSimulator) -> TelnyxSimulator:
        return telnyx

    @pytest.fixture
    def make_provider(self, configure: Callable[..., TelnyxConfig]) -> Callable[..., TelnyxSMSProvider]:
        return lambda **fields: TelnyxSMSProvider(configure(**fields))


class TestTelnyxRCSProvider(SimulatedVendor, RCSProviderContract):
    honours_idempotency = True
    returning_settings: Mapping[str, Any] = {"webhook_url": HOOK}
    webhook_contract = TestTelnyxRCSWebhooks
    recipient = "+14165550123"
    max_length = 3072

    async def inbound_id(self, provider: Any) -> str:
        """Telnyx takes no ids: the person stands for what they wrote."""
        return self.recipient

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        words = {"IS_TYPING": "typing", "READ": "read"}
        return [(words[kind], to) for to, kind in self.vendor.signals]

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.api_key,)

    @pytest.fixture
    def simulator(self, telnyx: TelnyxSimulator) -> TelnyxSimulator:
        return telnyx

    @pytest.fixture
    def make_provider(
        self, configure_rcs: Callable[..., TelnyxRCSConfig]
    ) -> Callable[..., TelnyxRCSProvider]:
        return lambda **fields: TelnyxRCSProvider(configure_rcs(**fields))
