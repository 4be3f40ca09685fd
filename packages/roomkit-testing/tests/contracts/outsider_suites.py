"""The suites of the outsider's SMS plugin, for a provider and a channel that may have a fault."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import pytest
from outsider_sms import SECRET, CarrierSMSChannel, CarrierSMSProvider, CarrierVendor, signed
from outsider_source import QueueContract, QueueSource

from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.contracts import (
    ChannelContract,
    ContractSuite,
    SMSProviderContract,
    WebhookContract,
)

__all__ = ["CarrierChannelSuite", "CarrierProviderSuite", "CarrierSuite", "CarrierWebhookSuite"]


class CarrierSuite(ContractSuite):
    """What the three suites share: the vendor, and the classes under test."""

    provider_class: type[CarrierSMSProvider] = CarrierSMSProvider
    channel_class: type[CarrierSMSChannel] = CarrierSMSChannel

    @property
    def secrets(self) -> Sequence[str]:
        return (SECRET,)

    @pytest.fixture
    async def vendor(self) -> AsyncIterator[CarrierVendor]:
        async with CarrierVendor() as vendor:
            self.running = vendor
            yield vendor

    async def sent_texts(self, _subject: Any) -> Sequence[str]:
        return list(self.running.texts.values())


class CarrierProviderSuite(CarrierSuite, SMSProviderContract):
    """The provider's."""

    honours_idempotency = True

    @property
    def webhook_contract(self) -> type[WebhookContract]:
        return CarrierWebhookSuite

    @pytest.fixture
    def factory(self, vendor: CarrierVendor) -> Callable[[], CarrierSMSProvider]:
        return lambda: self.provider_class(vendor.origin)

    @pytest.fixture
    def failing(self, vendor: CarrierVendor) -> Callable[[int], CarrierSMSProvider]:
        def make(status: int) -> CarrierSMSProvider:
            vendor.status = status
            return self.provider_class(vendor.origin)

        return make

    @pytest.fixture
    def returning_key(self, factory: Callable[[], CarrierSMSProvider]) -> Callable[[], CarrierSMSProvider]:
        return factory

    async def last_receipt(self, provider: CarrierSMSProvider) -> WebhookRequest:
        message_id = list(self.running.texts)[-1]
        return signed({"id": message_id, "state": "sent", "key": message_id.removeprefix("SM-")})

    @pytest.fixture
    def unreachable(self) -> Callable[[], CarrierSMSProvider]:
        return lambda: self.provider_class("http://127.0.0.1:1")

    @pytest.fixture
    def breaking_off(self, failing: Callable[[int], CarrierSMSProvider]) -> Callable[[], CarrierSMSProvider]:
        return lambda: failing(0)


class CarrierWebhookSuite(CarrierSuite, WebhookContract):
    """The provider's webhook's."""

    signature_headers = ("X-Signature",)
    retry_status = 503
    has_answers = True

    @pytest.fixture
    def factory(self) -> Callable[[], CarrierSMSProvider]:
        return lambda: self.provider_class("http://127.0.0.1:1")

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        return lambda moment: signed({"id": "m1", "from": "+15550001", "text": "hello"})

    @property
    def receipt_words(self) -> Mapping[str, ReceiptState]:
        return {
            "queued": ReceiptState.QUEUED,
            "sent": ReceiptState.SENT,
            "delivered": ReceiptState.DELIVERED,
            "undelivered": ReceiptState.UNDELIVERED,
            "REJECTED": ReceiptState.FAILED,
        }

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        return lambda moment, message_id, word: signed({"id": message_id, "state": word})

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        return lambda moment, body: signed(body)

    @pytest.fixture
    def sign_answered(self) -> Callable[[float], WebhookRequest]:
        return lambda moment: signed({"challenge": "1158201444"})


class CarrierChannelSuite(CarrierSuite, ChannelContract):
    """The channel's."""

    @property
    def recipient(self) -> Mapping[str, Any]:
        return {"number": "+15550001"}

    @pytest.fixture
    def factory(self, vendor: CarrierVendor) -> Callable[[], CarrierSMSChannel]:
        return lambda: self.channel_class("sms", self.provider_class(vendor.origin))


class TestCarrierSMSProvider(CarrierProviderSuite):
    """Without a fault."""


class TestCarrierWebhooks(CarrierWebhookSuite):
    """Without a fault."""


class TestCarrierSMSChannel(CarrierChannelSuite):
    """Without a fault."""


class TestQueueSource(QueueContract):
    """Without a fault."""

    @pytest.fixture
    def factory(self) -> Callable[[], QueueSource]:
        return QueueSource
