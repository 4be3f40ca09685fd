"""The contracts of HTTP providers, of webhooks and of channels, kept over real sockets."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.http import HTTPChannel, HTTPProviderConfig, WebhookHTTPProvider
from roomkit_plugins.testing import MockHTTPProvider
from roomkit_plugins.testing.contracts import ChannelContract, HTTPProviderContract, WebhookContract
from roomkit_plugins.testing.simulators import Drop, WebhookSimulator

from .conftest import SECRET

URL = "https://system.example/hooks"


class TestWebhookHTTPWebhooks(WebhookContract):
    signature_headers = ("x-roomkit-signature-v2", "x-roomkit-timestamp")
    signs_time = True
    retry_status = 503
    has_answers = False
    secrets = (SECRET,)
    receipt_words: Mapping[str, ReceiptState] = {
        **{str(state): state for state in ReceiptState},
        "teleported": ReceiptState.UNKNOWN,
    }

    @pytest.fixture
    def factory(self) -> Callable[[], WebhookHTTPProvider]:
        return lambda: WebhookHTTPProvider(HTTPProviderConfig(webhook_url=URL, secret=SECRET))

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        body = json.dumps({"sender_id": "user-123", "body": "Hello & ünïcode 👋", "external_id": "msg-456"})
        return lambda at: WebhookSimulator(secret=SECRET).signed(body.encode(), at)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        def sign(at: float, message_id: str, word: str) -> WebhookRequest:
            body = {"type": "delivery_status", "message_id": message_id, "status": word}
            return WebhookSimulator(secret=SECRET).signed(json.dumps(body).encode(), at)

        return sign

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda at, body: WebhookSimulator(secret=SECRET).signed(body, at)


class TestWebhookHTTPWebhooksWithoutAnId(TestWebhookHTTPWebhooks):
    """A message that its sender gave no id."""

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        return lambda at: WebhookSimulator(secret=SECRET).signed(b'{"sender_id": "u", "body": "ok"}', at)


class TestWebhookHTTPProvider(HTTPProviderContract):
    honours_idempotency = True
    max_length = 100_000
    reports_ids = True
    webhook_contract = TestWebhookHTTPWebhooks
    secrets = (SECRET,)

    @pytest.fixture
    def factory(self, configure: Callable[..., HTTPProviderConfig]) -> Callable[[], WebhookHTTPProvider]:
        return lambda: WebhookHTTPProvider(configure(idempotent=True))

    @pytest.fixture
    def failing(self, system: WebhookSimulator, factory: Callable[[], Any]) -> Callable[[int], Any]:
        def make(status: int) -> Any:
            system.fail(status)
            return factory()

        return make

    @pytest.fixture
    def breaking_off(self, system: WebhookSimulator, factory: Callable[[], Any]) -> Callable[[], Any]:
        def make() -> Any:
            system.play(Drop())
            return factory()

        return make

    @pytest.fixture
    def unreachable(self, configure: Callable[..., HTTPProviderConfig]) -> Callable[[], Any]:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        return lambda: WebhookHTTPProvider(configure(webhook_url=f"http://127.0.0.1:{port}/hooks"))

    @pytest.fixture(autouse=True)
    def other_side(self, system: WebhookSimulator) -> None:
        self.system = system

    async def sent_texts(self, provider: Any) -> Sequence[str]:
        return [message["content"].get("body", "") for message in self.system.messages]


class TestHTTPChannel(ChannelContract):
    recipient: Mapping[str, Any] = {"recipient_id": "user-123"}

    @pytest.fixture
    def factory(self) -> Callable[[], HTTPChannel]:
        return lambda: HTTPChannel("http", provider=MockHTTPProvider())

    async def sent_texts(self, channel: Any) -> Sequence[str]:
        texts: Sequence[str] = channel.provider.texts
        return texts
