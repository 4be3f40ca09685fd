"""What vendors' providers have alike: settings, connections, and the order in which a webhook is read."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import override

import pytest
from pydantic import SecretStr, ValidationError

from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected, code_for_status
from roomkit.abc.provider import WebhookPart
from roomkit.abc.sms import SMSProvider
from roomkit.models import InboundMessage, ProviderResult, RoomEvent, SMSHints, TextContent
from roomkit.models.webhook import WebhookRequest
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import Exchange, HTTPSimulator, ReceivedRequest
from roomkit_plugins.wire.caller import HTTPAnswer
from roomkit_plugins.wire.origin import Origin
from roomkit_plugins.wire.vendor_provider import (
    JSONProvider,
    VendorConfig,
    check_age,
    reference_of,
    with_reference,
)

KEY, OTHER = "canary-of-the-key", "canary-of-the-other-key"
NOW = 1_700_000_000.0
HELLO = event("room", content=TextContent(body="hello"))


class AcmeConfig(VendorConfig):
    """An account at Acme."""

    key: SecretStr = SecretStr(KEY)
    others: Mapping[str, SecretStr] = {"a": SecretStr(OTHER)}
    base_url: str = "http://127.0.0.1:9"


class AcmeSMSProvider(JSONProvider[AcmeConfig], SMSProvider):
    """The least that a provider over a JSON API consists of."""

    origin = Origin("acme", "Acme")
    distribution = "roomkit-acme"
    read = 0

    @override
    async def send(
        self, event: RoomEvent, to: str, *, idempotency_key: str | None = None, hints: SMSHints | None = None
    ) -> ProviderResult:
        self._check_recipient(to)
        sent = await self._api.call("POST", self._config.base_url, {"to": to})
        return ProviderResult(success=True, provider_message_id=str(sent["id"]))

    @override
    async def _verify(self, request: WebhookRequest) -> None:
        check_age(request, "x-time")
        if request.header("x-key") != self._config.key.get_secret_value():
            raise WebhookRejected("the signature is not Acme's")

    @override
    def _read(self, request: WebhookRequest, channel_id: str) -> Sequence[WebhookPart]:
        self.read += 1
        said = request.json()
        body = TextContent(body=said["text"])
        return [InboundMessage(channel_id=channel_id, sender_id=said["from"], content=body)]

    @override
    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._config.key.get_secret_value()}"}

    @override
    def _refusal(self, answer: HTTPAnswer) -> ProviderError:
        code = code_for_status(answer.status)
        return self.origin.answered(answer.status, code, answer.body.decode(), headers=answer.headers)


class Acme(HTTPSimulator):
    """Answers with what a test puts there."""

    answer: tuple[int, bytes] = (200, b'{"id": "m1"}')

    @override
    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        await exchange.send_bytes(*self.answer)


@pytest.fixture
async def acme() -> AsyncIterator[Acme]:
    """Return the vendor, running."""
    async with Acme() as simulator:
        yield simulator


@pytest.fixture
async def provider(acme: Acme) -> AsyncIterator[AcmeSMSProvider]:
    """Return a provider of the vendor's."""
    made = AcmeSMSProvider(AcmeConfig(base_url=acme.origin))
    yield made
    await made.close()


def webhook(body: bytes, **headers: str) -> WebhookRequest:
    given = {
        "x-time": str(int(NOW)),
        "x-key": KEY,
        **{key.replace("_", "-"): headers[key] for key in headers},
    }
    return WebhookRequest(
        method="POST", url="https://chat.example.org/acme", headers=given, body=body, received_at=NOW
    )


async def test_a_message_goes_to_the_account(acme: Acme, provider: AcmeSMSProvider) -> None:
    assert (await provider.send(HELLO, "+1")).provider_message_id == "m1"
    (request,) = acme.requests
    assert (request.headers["authorization"], request.json()) == (f"Bearer {KEY}", {"to": "+1"})
    assert provider.name == "acme"


async def test_every_secret_of_the_settings_is_masked(acme: Acme, provider: AcmeSMSProvider) -> None:
    """Those in mappings too."""
    acme.answer = (403, f"{KEY} and {OTHER}".encode())
    with pytest.raises(ProviderError, match=r"\*\*\* and \*\*\*"):
        await provider.send(HELLO, "+1")


@pytest.mark.parametrize("to", ["", " "])
async def test_an_empty_address_is_refused_unsent(acme: Acme, provider: AcmeSMSProvider, to: str) -> None:
    with pytest.raises(ProviderError) as caught:
        await provider.send(HELLO, to)
    assert (caught.value.error_code, acme.requests) == (ErrorCode.MISSING_RECIPIENT, [])


async def test_a_closed_provider_says_which_it_is(provider: AcmeSMSProvider) -> None:
    await provider.close()
    with pytest.raises(ProviderError, match="this AcmeSMSProvider is closed"):
        await provider.send(HELLO, "+1")


async def test_nothing_is_read_before_the_request_is_verified(provider: AcmeSMSProvider) -> None:
    with pytest.raises(WebhookRejected) as caught:
        await provider.webhook(webhook(b"nonsense", x_key="forged"), channel_id="sms")
    assert (caught.value.status_code, provider.read) == (401, 0)
    (message,) = await provider.webhook(webhook(b'{"text": "hi", "from": "+1"}'), channel_id="sms")
    assert isinstance(message, InboundMessage)
    assert (message.channel_id, message.content) == ("sms", TextContent(body="hi"))


@pytest.mark.parametrize(("body", "wrong"), [(b"nonsense", "JSON"), (b'{"from": "+1"}', "text is missing")])
async def test_a_verified_body_that_cannot_be_read_is_not_sent_again(
    provider: AcmeSMSProvider, body: bytes, wrong: str
) -> None:
    with pytest.raises((WebhookRejected, ValueError), match=wrong) as caught:
        await provider.webhook(webhook(body), channel_id="sms")
    assert getattr(caught.value, "status_code", 400) == 400


@pytest.mark.parametrize("age", [-300, 0, 300])
def test_a_request_of_five_minutes_is_young_enough(age: int) -> None:
    assert check_age(webhook(b"", x_time=str(int(NOW) - age)), "x-time") == str(int(NOW) - age)


@pytest.mark.parametrize("stamp", [str(int(NOW) - 301), str(int(NOW) + 301), "", "-1", "1e9", "²", "9" * 13])
def test_a_request_of_another_time_or_none_is_refused(stamp: str) -> None:
    with pytest.raises(WebhookRejected):
        check_age(webhook(b"", x_time=stamp), "x-time")


def test_settings_have_no_unknown_names_and_show_no_value() -> None:
    with pytest.raises(ValidationError) as caught:
        AcmeConfig(timeout="canary", nonsense=1)  # type: ignore[call-arg]
    assert "canary" not in str(caught.value)
    assert {each["loc"] for each in caught.value.errors()} == {("timeout",), ("nonsense",)}
    assert KEY not in repr(AcmeConfig())


@pytest.mark.parametrize("key", ["e1:sms", "e1:sms:2", "a&b=c d/?#%", None])
def test_a_key_comes_back_in_the_url_of_a_receipt(key: str | None) -> None:
    url = with_reference("https://chat.example.org/hook", key)
    request = WebhookRequest(method="POST", url=url, headers={})
    assert reference_of(request) == key
    assert url.startswith("https://chat.example.org/hook")
