"""The contract suite of providers whose vendor calls back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest

from roomkit.abc.errors import WebhookRejected
from roomkit.abc.provider import Provider, ReceivesWebhooks, WebhookPart
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ReceiptState
from roomkit.models.invoke import InvokeAnswer, WebhookInvoke
from roomkit.models.realtime import EphemeralEvent
from roomkit.models.webhook import UnparsedPart, WebhookAnswer, WebhookBodyError, WebhookRequest
from roomkit_plugins.testing.blocking import assert_loop_stays_free
from roomkit_plugins.testing.contracts.base import ContractSuite, unsaid
from roomkit_plugins.testing.leaks import assert_nothing_leaks

__all__ = ["WebhookContract"]

RECEIVED_AT = 1_893_456_000.0
_MALFORMED = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"{}",
    b"[{}]",
    b'"text"',
    b"0",
    b"\xff\xfe",
    b"[" * 9000,
    b"a=%FF&b",
)


class WebhookContract(ContractSuite):
    """A webhook is believed only when it is signed, whole, for us, and new.

    A subclass also gives the fixture `sign`: a function from POSIX seconds to a valid request, as
    the vendor would have sent and signed it at that time, and `sign_body`, the same for any body. It says in
    `receipt_words` what the vendor reports of sent messages, and gives `sign_receipt` if that is anything; in
    `retry_status` on which status the vendor repeats; and in `has_answers` whether some of its requests want
    more than a status, and then gives `sign_answered`.
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

    @pytest.fixture
    def sign_body(self) -> Callable[[float, bytes], WebhookRequest]:
        """Return a function from POSIX seconds and any body to a request that the vendor signed."""
        raise unsaid(self, "sign_body", "how the vendor signs a body, whatever is in it")

    @property
    def retry_status(self) -> int | None:
        """The status on which the vendor sends a request again; None if it repeats none."""
        raise unsaid(self, "retry_status", "on which status the vendor sends a request again")

    @property
    def has_answers(self) -> bool:
        """Whether the vendor wants more than a status for some requests: a challenge, an invoke, TwiML."""
        raise unsaid(self, "has_answers", "whether the vendor reads the answers to its requests")

    @pytest.fixture
    def sign_answered(self) -> Callable[[float], WebhookRequest]:
        """Return a function from POSIX seconds to a valid request that wants an answer."""
        raise unsaid(self, "sign_answered", "which request wants an answer")

    @property
    def signs_url(self) -> bool:
        """Whether the vendor's signature covers the URL."""
        return False

    @property
    def signs_time(self) -> bool:
        """Whether the vendor's signature covers the time of sending."""
        return False

    @property
    def signs_body(self) -> bool:
        """Whether the vendor's signature covers the body; not so where a secret in the URL stands for one."""
        return True

    @property
    def signature_headers(self) -> tuple[str, ...]:
        """The headers without which a request cannot be verified, in any case."""
        raise NotImplementedError(f"{type(self).__name__} says which headers carry the signature")

    async def test_a_valid_request_says_something(
        self, provider: ReceivesWebhooks, valid: WebhookRequest
    ) -> None:
        """Messages, statuses and signals of the channel it came to; nothing vanishes."""
        found = await provider.webhook(valid, channel_id="channel")
        assert found
        self.assert_takeable(found)

    async def test_a_request_that_wants_an_answer_gets_one(
        self, provider: ReceivesWebhooks, request: pytest.FixtureRequest
    ) -> None:
        """Ready to send, or one that the app gives: then there is a default, and time left to commit."""
        if not self.has_answers:
            pytest.skip("the vendor reads no answers")
        sign = request.getfixturevalue("sign_answered")
        asking = replace(sign(RECEIVED_AT), received_at=RECEIVED_AT)
        found = await provider.webhook(asking, channel_id="channel")
        self.assert_takeable(found)
        (answer,) = [each for each in found if isinstance(each, WebhookAnswer | WebhookInvoke)]
        if isinstance(answer, WebhookInvoke):
            assert 0 < answer.answer_timeout <= 15
            assert answer.message.idempotency_key
            given = [answer.default, InvokeAnswer(body="yes"), InvokeAnswer(status=403)]
            assert all(isinstance(answer.render(each), WebhookAnswer) for each in given)

    async def test_a_signed_body_that_is_malformed_is_rejected_or_read(
        self, provider: ReceivesWebhooks, request: pytest.FixtureRequest
    ) -> None:
        """With a client's error: the vendor is not asked to send again what can never be read."""
        sign = request.getfixturevalue("sign_body")
        for body in _MALFORMED:
            signed = replace(sign(RECEIVED_AT, body), received_at=RECEIVED_AT)
            refusal: WebhookRejected | WebhookBodyError | None = None
            try:
                self.assert_takeable(await provider.webhook(signed, channel_id="channel"))
            except (WebhookRejected, WebhookBodyError) as error:
                refusal = error
            if isinstance(refusal, WebhookRejected):
                assert refusal.status_code == 400, f"{body[:20]!r} is answered with {refusal.status_code}"

    async def test_the_status_on_which_the_vendor_repeats_is_declared(
        self, provider: ReceivesWebhooks
    ) -> None:
        """Else a request that could not be stored is lost."""
        assert getattr(provider, "retry_status", 503) == self.retry_status

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
        if not self.signs_body:
            pytest.skip("the vendor signs nothing")
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
            if isinstance(each, InboundMessage):
                assert each.raw_payload
            elif isinstance(each, DeliveryStatus | UnparsedPart):
                assert each.raw

    def assert_takeable(self, found: Sequence[WebhookPart]) -> None:
        """Assert that the kit takes what a request said: its kinds of parts, and at most one answer."""
        answers = 0
        for each in found:
            answers += isinstance(each, WebhookAnswer | WebhookInvoke)
            part = each.message if isinstance(each, WebhookInvoke) else each
            assert isinstance(
                part, InboundMessage | DeliveryStatus | EphemeralEvent | UnparsedPart | WebhookAnswer
            )
            assert isinstance(part, WebhookAnswer) or part.channel_id == "channel"
        assert answers <= 1

    async def assert_rejected(self, provider: ReceivesWebhooks, request: WebhookRequest) -> None:
        """Assert that the request is refused, with a client's error and no secret."""
        with pytest.raises(WebhookRejected) as caught:
            await provider.webhook(request, channel_id="channel")
        assert caught.value.status_code in (400, 401, 403)
        assert not any(secret in str(caught.value) for secret in self.secrets)
