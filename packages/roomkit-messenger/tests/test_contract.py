"""The contracts of Messenger providers, of webhooks and of channels, over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import EventType, ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.messenger import FacebookMessengerProvider, MessengerChannel, MessengerConfig
from roomkit_plugins.testing import MockMessengerProvider
from roomkit_plugins.testing.contracts import (
    ChannelContract,
    MessengerProviderContract,
    SimulatedVendor,
    WebhookContract,
)
from roomkit_plugins.testing.simulators import MessengerSimulator

TOKEN, SECRET, VERIFY = "EAAcanary-of-the-token", "canary-of-the-app-secret", "canary-of-the-verify-token"
VENDOR = MessengerSimulator(page_access_token=TOKEN, app_secret=SECRET)
ANN = "7012345678901234"


class TestMessengerWebhooks(WebhookContract):
    signature_headers = ("X-Hub-Signature-256",)
    retry_status = 503
    has_answers = False
    secrets = (TOKEN, SECRET, VERIFY)
    receipt_words: Mapping[str, ReceiptState] = {"delivered": ReceiptState.DELIVERED}

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        config = MessengerConfig(page_access_token=TOKEN, app_secret=SECRET, verify_token=VERIFY)
        return lambda: FacebookMessengerProvider(config)

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        said = {"mid": "m_1", "text": "Hello & good bye: 100 %, ünïcode 👋"}
        body = VENDOR.body({"sender": {"id": ANN}, "timestamp": 1795359844900, "message": said})
        return lambda moment: VENDOR.signed(body, moment)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        def sign(moment: float, message_id: str, word: str) -> WebhookRequest:
            said = {"mids": [message_id], "watermark": 1795359849000}
            return VENDOR.signed(VENDOR.body({"sender": {"id": ANN}, "delivery": said}), moment)

        return sign

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: VENDOR.signed(body, moment)


class TestFacebookMessengerProvider(SimulatedVendor, MessengerProviderContract):
    honours_idempotency = False
    webhook_contract = TestMessengerWebhooks
    max_length = 2000
    amends = frozenset({EventType.REACTION})

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.page_access_token, self.vendor.app_secret, self.vendor.verify_token)

    @pytest.fixture
    def simulator(self, messenger: MessengerSimulator) -> MessengerSimulator:
        messenger.has_window = False
        return messenger

    @pytest.fixture
    def make_provider(self, configure: Callable[..., MessengerConfig]) -> Callable[..., Any]:
        return lambda **fields: FacebookMessengerProvider(configure(**fields))

    @pytest.fixture
    def refusing(
        self, messenger: MessengerSimulator, make_provider: Callable[..., Any]
    ) -> Callable[[int], Any]:
        def make(status: int) -> Any:
            messenger.refuses = messenger.failure(status, 0, {})
            return make_provider()

        return make

    async def inbound_id(self, provider: Any) -> str:
        identity: str = self.vendor.new_id()
        self.vendor.person(self.recipient).written.append(identity)
        return identity

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        """A mark is of everything that the person wrote."""
        names = {"typing_on": "typing", "mark_seen": "read"}
        return [
            (names[action], self.vendor.person(to).written[-1] if action == "mark_seen" else to)
            for to, action in self.vendor.actions
            if action in names
        ]

    async def shown(self, provider: Any, message_id: str) -> str | None:
        text: str = next(each.text for each in self.vendor.messages if each.id == message_id)
        return text

    async def reactions_to(self, provider: Any, message_id: str) -> Sequence[str]:
        emoji = self.vendor.person(self.recipient).reactions.get(message_id)
        return [] if emoji is None else [emoji]


class TestMessengerChannel(ChannelContract):
    recipient: Mapping[str, Any] = {"facebook_user_id": ANN}

    @pytest.fixture
    def factory(self) -> Callable[[], MessengerChannel]:
        return lambda: MessengerChannel("messenger", provider=MockMessengerProvider(), window_seconds=None)

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts
