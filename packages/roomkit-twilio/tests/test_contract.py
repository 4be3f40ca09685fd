"""The contracts of SMS providers and of webhooks, kept with the real SDK over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from urllib.parse import parse_qsl

import pytest

from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.contracts import SimulatedVendor, SMSProviderContract, WebhookContract
from roomkit_plugins.testing.simulators import TwilioSimulator
from roomkit_plugins.twilio import TwilioConfig, TwilioSMSProvider
from roomkit_plugins.twilio.signature import signature_of

URL = "https://chat.example.org/webhooks/sms?tenant=a"
ACCOUNT = "AC" + "0" * 32
TOKEN = "canary-of-the-auth-token"


class TestTwilioWebhooks(WebhookContract):
    signature_headers = ("x-twilio-signature",)
    retry_status = None
    has_answers = False
    signs_url = True
    secrets = (TOKEN,)
    receipt_words: Mapping[str, ReceiptState] = {
        "accepted": ReceiptState.QUEUED,
        "scheduled": ReceiptState.QUEUED,
        "queued": ReceiptState.QUEUED,
        "sending": ReceiptState.SENDING,
        "sent": ReceiptState.SENT,
        "delivered": ReceiptState.DELIVERED,
        "partially_delivered": ReceiptState.PARTIAL,
        "undelivered": ReceiptState.UNDELIVERED,
        "failed": ReceiptState.FAILED,
        "canceled": ReceiptState.CANCELED,
        "read": ReceiptState.READ,
        "teleported": ReceiptState.UNKNOWN,
    }

    @pytest.fixture
    def factory(self) -> Callable[[], TwilioSMSProvider]:
        return lambda: TwilioSMSProvider(TwilioConfig(account_sid=ACCOUNT, auth_token=TOKEN))

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        simulator = TwilioSimulator(account_sid=ACCOUNT, auth_token=TOKEN)
        form = {
            "MessageSid": "SM1",
            "AccountSid": ACCOUNT,
            "From": "+14165550123",
            "To": "+14375550999",
            "Body": "Hello & good bye: 100 %, ünïcode 👋",
            "NumMedia": "0",
            "SmsStatus": "received",
            "FromZip": "",
        }
        return lambda moment: simulator.signed(form.items(), URL)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        simulator = TwilioSimulator(account_sid=ACCOUNT, auth_token=TOKEN)

        def sign(moment: float, message_id: str, word: str) -> WebhookRequest:
            form = {"MessageSid": message_id, "MessageStatus": word, "AccountSid": ACCOUNT}
            return simulator.signed(form.items(), URL)

        return sign

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        def sign(moment: float, body: bytes) -> WebhookRequest:
            pairs = parse_qsl(body.decode("latin-1"), keep_blank_values=True)
            signature = signature_of(TOKEN, URL, pairs)
            return WebhookRequest(
                method="POST", url=URL, headers={"X-Twilio-Signature": signature}, body=body
            )

        return sign


class TestTwilioSMSProvider(SimulatedVendor, SMSProviderContract):
    honours_idempotency = False
    returning_settings: Mapping[str, str] = {"status_callback_url": "https://chat.example.org/hook"}
    webhook_contract = TestTwilioWebhooks
    recipient = "+14165550123"
    sender = "+14375550999"

    @property
    def secrets(self) -> Sequence[str]:
        return ("simulated-auth-token",)

    @pytest.fixture
    def simulator(self, twilio: TwilioSimulator) -> TwilioSimulator:
        return twilio

    @pytest.fixture
    def make_provider(self, configure: Callable[..., TwilioConfig]) -> Callable[..., TwilioSMSProvider]:
        return lambda **fields: TwilioSMSProvider(configure(**fields))
