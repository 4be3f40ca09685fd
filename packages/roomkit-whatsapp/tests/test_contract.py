"""The contracts of WhatsApp providers, of webhooks and of channels, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import EventType, ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing import MockWhatsAppProvider
from roomkit_plugins.testing.contracts import (
    ChannelContract,
    SimulatedVendor,
    WebhookContract,
    WhatsAppProviderContract,
)
from roomkit_plugins.testing.simulators import WhatsAppSimulator
from roomkit_plugins.whatsapp import WhatsAppChannel, WhatsAppCloudConfig, WhatsAppCloudProvider

TOKEN, SECRET = "EAAcanary-of-the-token", "canary-of-the-app-secret"
VENDOR = WhatsAppSimulator(access_token=TOKEN, app_secret=SECRET)
CONTACT = {"profile": {"name": "Ann"}, "wa_id": "14165550123", "user_id": "CA.13491208655302741918"}


def envelope(**fields: Any) -> bytes:
    change = VENDOR.change("messages", {"contacts": [CONTACT], **fields})
    entry = [{"id": VENDOR.waba_id, "changes": [change]}]
    return json.dumps({"object": "whatsapp_business_account", "entry": entry}).encode()


def make() -> WhatsAppCloudProvider:
    return WhatsAppCloudProvider(
        WhatsAppCloudConfig(
            access_token=TOKEN,
            app_secret=SECRET,
            verify_token="canary-of-the-verify-token",
            phone_number_id=VENDOR.phone_number_id,
        )
    )


class TestWhatsAppWebhooks(WebhookContract):
    signature_headers = ("X-Hub-Signature-256",)
    retry_status = 503
    has_answers = False
    secrets = (TOKEN, SECRET, "canary-of-the-verify-token")
    receipt_words: Mapping[str, ReceiptState] = {
        "sent": ReceiptState.SENT,
        "delivered": ReceiptState.DELIVERED,
        "read": ReceiptState.READ,
        "played": ReceiptState.READ,
        "failed": ReceiptState.FAILED,
        "teleported": ReceiptState.UNKNOWN,
    }

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        return make

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        message = {
            "from": "14165550123",
            "id": "wamid.1",
            "timestamp": "1795359845",
            "type": "text",
            "text": {"body": "Hello & good bye: 100 %, ünïcode 👋"},
        }
        return lambda moment: VENDOR.signed(envelope(messages=[message]), moment)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        def sign(moment: float, message_id: str, word: str) -> WebhookRequest:
            status = {
                "id": message_id,
                "status": word,
                "timestamp": "1795359850",
                "recipient_id": "14165550123",
            }
            return VENDOR.signed(envelope(statuses=[status]), moment)

        return sign

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: VENDOR.signed(body, moment)


class TestWhatsAppCloudProvider(SimulatedVendor, WhatsAppProviderContract):
    honours_idempotency = False
    returning_settings: Mapping[str, Any] = {}
    webhook_contract = TestWhatsAppWebhooks
    recipient = "+14165550123"
    max_length = 4096
    amends = frozenset({EventType.REACTION})

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.access_token, self.vendor.app_secret, self.vendor.verify_token)

    @pytest.fixture
    def simulator(self, whatsapp: WhatsAppSimulator) -> WhatsAppSimulator:
        whatsapp.has_window = False
        whatsapp.templates["welcome"] = 1
        return whatsapp

    @pytest.fixture
    def make_provider(self, configure: Callable[..., WhatsAppCloudConfig]) -> Callable[..., Any]:
        return lambda **fields: WhatsAppCloudProvider(configure(**fields))

    @pytest.fixture
    def refusing(
        self, whatsapp: WhatsAppSimulator, make_provider: Callable[..., Any]
    ) -> Callable[[int], Any]:
        def make(status: int) -> Any:
            whatsapp.refuses = whatsapp.failure(status, 0, {})
            return make_provider()

        return make

    async def inbound_id(self, provider: Any) -> str:
        identity: str = self.vendor.stamps()["id"]
        return identity

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        """Typing is shown in answer to a message of the person's."""
        return [
            ("typing", self.recipient) if each.is_typing else ("read", each.message_id)
            for each in self.vendor.acknowledged
        ]

    async def shown(self, provider: Any, message_id: str) -> str | None:
        text: str = next(each.text for each in self.vendor.messages if each.id == message_id)
        return text

    async def reactions_to(self, provider: Any, message_id: str) -> Sequence[str]:
        emoji = self.vendor.phone(self.recipient).reactions.get(message_id)
        return [] if emoji is None else [emoji]


class TestWhatsAppChannel(ChannelContract):
    recipient: Mapping[str, Any] = {"phone_number": "+15551230002"}

    @pytest.fixture
    def factory(self) -> Callable[[], WhatsAppChannel]:
        return lambda: WhatsAppChannel("whatsapp", provider=MockWhatsAppProvider(), window_seconds=None)

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts
