"""The contracts of Telegram providers, of webhooks, of sources and of channels, over real sockets."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import EventType, ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.telegram import (
    TelegramBotProvider,
    TelegramChannel,
    TelegramConfig,
    TelegramSource,
    TelegramSourceConfig,
)
from roomkit_plugins.telegram.places import number_in
from roomkit_plugins.testing import MockTelegramProvider
from roomkit_plugins.testing.contracts import (
    ChannelContract,
    SimulatedVendor,
    SourceProviderContract,
    TelegramProviderContract,
    WebhookContract,
)
from roomkit_plugins.testing.simulators import TelegramSimulator

TOKEN, SECRET = "123456:canary-of-the-bot-token", "canary-of-the-webhook-secret"
VENDOR = TelegramSimulator(bot_token=TOKEN, webhook_secret=SECRET)
ANN = {"id": 551234, "is_bot": False, "first_name": "Ana", "username": "anad", "language_code": "en"}
CHAT = {"id": 551234, "type": "private", "first_name": "Ana"}


def update(**said: Any) -> bytes:
    return json.dumps({"update_id": 712345601, **said}).encode()


class TestTelegramWebhooks(WebhookContract):
    signature_headers = ("X-Telegram-Bot-Api-Secret-Token",)
    retry_status = 503
    has_answers = True
    signs_body = False
    secrets = (TOKEN, SECRET)
    receipt_words: Mapping[str, ReceiptState] = {}

    @pytest.fixture
    def factory(self) -> Callable[[], Any]:
        config = TelegramConfig(bot_token=TOKEN, webhook_secret=SECRET)
        return lambda: TelegramBotProvider(config)

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        message = {"message_id": 88, "from": ANN, "chat": CHAT, "date": 1795359845, "text": "Hello 👋 <&>"}
        return lambda moment: VENDOR.signed(update(message=message), moment)

    @pytest.fixture
    def sign_answered(self) -> Callable[[float], WebhookRequest]:
        message = {"message_id": 90, "chat": CHAT, "date": 1795359861}
        query = {"id": "4382bf", "from": ANN, "message": message, "chat_instance": "-31", "data": "order:42"}
        return lambda moment: VENDOR.signed(update(callback_query=query), moment)

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: VENDOR.signed(body, moment)


class TestTelegramBotProvider(SimulatedVendor, TelegramProviderContract):
    honours_idempotency = False
    webhook_contract = TestTelegramWebhooks
    max_length = 4096
    amends = frozenset({EventType.EDIT, EventType.DELETE, EventType.REACTION})

    async def shown_signals(self, provider: Any) -> Sequence[tuple[str, str]]:
        typing = (each for each in self.vendor.actions if each.get("action") == "typing")
        return [("typing", str(each["chat_id"])) for each in typing]

    async def shown(self, provider: Any, message_id: str) -> str | None:
        message = self.vendor.message_of(number_in(message_id))
        return None if message.is_deleted else message.text

    async def reactions_to(self, provider: Any, message_id: str) -> Sequence[str]:
        reactions: Sequence[str] = self.vendor.message_of(number_in(message_id)).reactions
        return reactions

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.bot_token, self.vendor.webhook_secret)

    @pytest.fixture
    def simulator(self, telegram: TelegramSimulator) -> TelegramSimulator:
        return telegram

    @pytest.fixture
    def make_provider(self, configure: Callable[..., TelegramConfig]) -> Callable[..., TelegramBotProvider]:
        return lambda **fields: TelegramBotProvider(configure(**fields))


class TestTelegramSource(SourceProviderContract):
    redelivers = True

    @property
    def secrets(self) -> Sequence[str]:
        return (self.vendor.bot_token,)

    @pytest.fixture
    def factory(self, telegram: TelegramSimulator) -> Callable[[], TelegramSource]:
        self.vendor = telegram
        config = TelegramSourceConfig(
            bot_token=telegram.bot_token,
            base_url=telegram.origin,
            channel_id="telegram",
        )
        return lambda: TelegramSource(config)

    async def bring(self, source: Any, number: int) -> None:
        ann = self.vendor.person("Ann", 123456789)
        for each in range(number):
            await ann.write(f"number {each}")

    async def unacknowledged(self, source: Any) -> int:
        return sum(each["update_id"] >= source.offset for each in self.vendor.pending)


class TestTelegramChannel(ChannelContract):
    recipient: Mapping[str, str] = {"telegram_chat_id": "123456789"}

    @pytest.fixture
    def factory(self) -> Callable[[], TelegramChannel]:
        return lambda: TelegramChannel("telegram", provider=MockTelegramProvider())

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        return channel.provider.texts  # type: ignore[no-any-return]
