"""The contract suite of providers whose vendor calls back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from roomkit.abc.errors import WebhookRejected
from roomkit.abc.provider import Provider, ReceivesWebhooks
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ReceiptState
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.blocking import assert_loop_stays_free
from roomkit_plugins.testing.contracts.base import ContractSuite, unsaid
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["WebhookContract"]

RECEIVED_AT = 1_893_456_000.0


class WebhookContract(ContractSuite):
    """A webhook is believed only when it is signed, whole, for us, and new.

    A subclass also gives the fixture `sign`: a function from POSIX seconds to a valid request, as
    the vendor would have sent and signed it at that time. It says in `receipt_words` what the vendor reports
    of sent messages, and gives `sign_receipt` if that is anything.
    """

    @pytest.fixture
    def sign(self) -> Callable[[float], WebhookRequest]:
        """Return a function that makes a valid request; the subclass gives it."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `sign`, see WebhookContract")

    @pytest.fixture
    def provider(self, subject: ReceivesWebhooks) -> ReceivesWebhooks:
        """Return the provider under test."""
        return subject

    @pytest.fixture
    def valid(self, sign: Callable[[float], WebhookRequest]) -> WebhookRequest:
        """Return a valid request that has just come in."""
        return replace(sign(RECEIVED_AT), received_at=RECEIVED_AT)

    @property
    def receipt_words(self) -> Mapping[str, ReceiptState]:
        """Each word of the vendor's receipts with the state it means; empty if the vendor sends none."""
        raise unsaid(self, "receipt_words", "which receipts the vendor sends")

    @pytest.fixture
    def sign_receipt(self) -> Callable[[float, str, str], WebhookRequest]:
        """Return a function from POSIX seconds, message id and word to a valid request with that receipt."""
        raise unsaid(self, "sign_receipt", "how the vendor sends a receipt")

    @property
    def signs_url(self) -> bool:
        """Whether the vendor's signature covers the URL."""
        return False

    @property
    def signs_time(self) -> bool:
        """Whether the vendor's signature covers the time of sending."""
        return False

    @property
    def signature_headers(self) -> tuple[str, ...]:
        """The headers without which a request cannot be verified, in any case."""
        raise NotImplementedError(f"{type(self).__name__} says which headers carry the signature")

    async def test_a_valid_request_says_something(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """Messages and statuses of the channel it came to; nothing vanishes."""
        found = await provider.webhook(valid, channel_id="channel")
        assert found
        for each in found:
            assert isinstance(each, InboundMessage | DeliveryStatus)
            assert each.channel_id == "channel"

    async def test_every_receipt_is_handed_over(
        self, provider: ReceivesWebhooks, request: pytest.FixtureRequest
    ) -> None:
        """With its message's id and its meaning, whatever the word; a dropped one is never repeated."""
        words = self.receipt_words
        if not words:
            pytest.skip("the vendor sends no receipts")
        sign = request.getfixturevalue("sign_receipt")
        read: dict[str, object] = {}
        for word in words:
            sent = replace(sign(RECEIVED_AT, f"id-{word}", word), received_at=RECEIVED_AT)
            found = await provider.webhook(sent, channel_id="channel")
            read[word] = [
                (each.message_id, ReceiptState.of_word(each.status))
                for each in found
                if isinstance(each, DeliveryStatus)
            ]
        assert read == {word: [(f"id-{word}", state)] for word, state in words.items()}

    async def test_receipts_name_the_provider(
        self, provider: ReceivesWebhooks, request: pytest.FixtureRequest
    ) -> None:
        """As the ledger does; else none matches its delivery."""
        if not self.receipt_words:
            pytest.skip("the vendor sends no receipts")
        sign = request.getfixturevalue("sign_receipt")
        word = next(iter(self.receipt_words))
        sent = replace(sign(RECEIVED_AT, "id", word), received_at=RECEIVED_AT)
        found = await provider.webhook(sent, channel_id="channel")
        named = {each.provider for each in found if isinstance(each, DeliveryStatus)}
        assert named == {provider.name if isinstance(provider, Provider) else min(named)}

    async def test_a_webhook_does_not_block_the_loop(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """Not for any time: all rooms of the process would wait."""
        await assert_loop_stays_free(lambda: provider.webhook(valid, channel_id="channel"))

    async def test_a_webhook_leaves_nothing_behind(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """No task, thread or descriptor for each request."""
        await assert_nothing_leaks(lambda: provider.webhook(valid, channel_id="channel"), cycles=10)

    async def test_header_names_have_no_case(self, provider: ReceivesWebhooks, valid: WebhookRequest) -> None:
        """Servers hand them over as they like."""
        lower = {name.lower(): value for name, value in valid.headers.items()}
        assert await provider.webhook(replace(valid, headers=lower), channel_id="channel")

    async def test_a_request_whose_body_was_touched_is_rejected(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """One bit anywhere is enough, and so is a byte more or less."""
        body = valid.body
        for place in range(0, len(body), max(1, len(body) // 40)):
            flipped = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
            await self.assert_rejected(provider, replace(valid, body=flipped))
        for other in (b"", body[:-1], body + b" "):
            await self.assert_rejected(provider, replace(valid, body=other))

    async def test_a_request_without_its_signature_is_rejected(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """Missing, empty, cut short or of another alphabet."""
        for header in self.signature_headers:
            rest = {name: value for name, value in valid.headers.items() if name.lower() != header.lower()}
            signature = valid.header(header) or ""
            await self.assert_rejected(provider, replace(valid, headers=rest))
            for forged in ("", signature[:-2], signature[::-1], "ä", "=" * 100, "v1=" + signature):
                if forged != signature:
                    await self.assert_rejected(provider, replace(valid, headers={**rest, header: forged}))

    async def test_a_request_for_another_url_is_rejected(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """Where the signature covers the URL: host, path and query."""
        if not self.signs_url:
            pytest.skip("the vendor's signature does not cover the URL")
        for url in (valid.url + "x", valid.url + "?a=b", valid.url.replace("https://", "https://evil.")):
            await self.assert_rejected(provider, replace(valid, url=url))

    async def test_a_request_of_another_time_is_rejected(
        self, provider: ReceivesWebhooks, sign: Callable[[float], WebhookRequest]
    ) -> None:
        """Where the signature covers the time: neither an hour old nor an hour ahead."""
        if not self.signs_time:
            pytest.skip("the vendor's signature does not cover the time")
        for moment in (RECEIVED_AT - 3600, RECEIVED_AT + 3600):
            await self.assert_rejected(provider, replace(sign(moment), received_at=RECEIVED_AT))

    async def test_the_same_request_twice_has_the_same_keys(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """A redelivery is recognisable: each message carries an idempotency key of the vendor's."""
        first, again = [await provider.webhook(valid, channel_id="channel") for _ in range(2)]
        keys = [each.idempotency_key for each in first if isinstance(each, InboundMessage)]
        assert keys == [each.idempotency_key for each in again if isinstance(each, InboundMessage)]
        assert all(keys)

    async def test_what_the_vendor_sent_is_kept(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """The payload as received goes along with each message."""
        for each in await provider.webhook(valid, channel_id="channel"):
            assert each.raw_payload if isinstance(each, InboundMessage) else each.raw

    async def assert_rejected(self, provider: ReceivesWebhooks, request: WebhookRequest) -> None:
        """Assert that the request is refused, with a client's error and no secret."""
        with pytest.raises(WebhookRejected) as caught:
            await provider.webhook(request, channel_id="channel")
        assert caught.value.status_code in (400, 401, 403)
        assert not any(secret in str(caught.value) for secret in self.secrets)
