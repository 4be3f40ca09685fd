"""The suites of the outsider's roles; `test_beacon.py` runs them where the package is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from beacon_roomkit.channel import PagerChannel
from beacon_roomkit.provider import WORDS, BeaconAccount, BeaconProvider, signature
from beacon_roomkit.source import PagerFeed
from pydantic import SecretStr

from roomkit.abc.source import SourceProvider
from roomkit.models import ReceiptState, WebhookRequest
from roomkit.testing.contracts import (
    ChannelContract,
    ProviderContract,
    SourceProviderContract,
    WebhookContract,
)

SECRET = "beacon-canary"


def provider() -> BeaconProvider:
    BeaconProvider.sent.clear()
    return BeaconProvider(BeaconAccount(secret=SecretStr(SECRET)))


def signed(body: bytes) -> WebhookRequest:
    headers = {"X-Beacon-Signature": signature(SECRET, body)}
    return WebhookRequest(method="POST", url="https://example.com/pages", headers=headers, body=body)


def report(**payload: Any) -> WebhookRequest:
    return signed(json.dumps(payload).encode())


class TestBeaconWebhooks(WebhookContract):
    signature_headers = ("x-beacon-signature",)
    receipt_words = {word: ReceiptState.of_word(state) for word, state in WORDS.items()}  # noqa: RUF012
    retry_status = 502
    has_answers = True
    secrets = (SECRET,)

    @pytest.fixture
    def factory(self) -> Callable[[], BeaconProvider]:
        return provider

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        return lambda moment: report(id="m1", **{"from": "2000"}, text="hello")

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: signed(body)

    @pytest.fixture
    def sign_answered(self) -> Callable[[float], WebhookRequest]:
        return lambda moment: report(id="m2", **{"from": "2000"}, text="who is on call", asks=True)

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        return lambda moment, message_id, word: report(id=message_id, state=word)


class TestBeaconProvider(ProviderContract):
    webhook_contract = TestBeaconWebhooks
    honours_idempotency = True
    max_length = 240
    recipient = "2000"
    secrets = (SECRET,)

    @pytest.fixture
    def factory(self) -> Callable[[], BeaconProvider]:
        return provider

    async def sent_texts(self, _subject: Any) -> Sequence[str]:
        return [text for _, text in BeaconProvider.sent.values()]


class TestPagerChannel(ChannelContract):
    sender = "2000"

    @property
    def recipient(self) -> Mapping[str, Any]:
        return {"pager": "2000"}

    @pytest.fixture
    def factory(self) -> Callable[[], PagerChannel]:
        return lambda: PagerChannel("pagers", [provider()])

    async def sent_texts(self, _subject: Any) -> Sequence[str]:
        return [text for _, text in BeaconProvider.sent.values()]


class TestPagerFeed(SourceProviderContract):
    redelivers = True

    @pytest.fixture
    def factory(self) -> Callable[[], PagerFeed]:
        def make() -> PagerFeed:
            PagerFeed.queues.clear()
            return PagerFeed("suite", "pagers")

        return make

    async def bring(self, source: SourceProvider, number: int) -> None:
        assert isinstance(source, PagerFeed)
        known = len(source.queue.items)
        source.queue.put(*(f"page {known + each}" for each in range(number)))

    async def unacknowledged(self, source: SourceProvider) -> int:
        assert isinstance(source, PagerFeed)
        return len(source.queue.items)
