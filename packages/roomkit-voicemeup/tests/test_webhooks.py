"""Callbacks: who may call, what they say, and MMS in the memory of a process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from roomkit.abc.errors import InvalidInputError, WebhookRejected
from roomkit.models import CompositeContent, InboundMessage, MediaContent, SystemContent, TextContent
from roomkit.models.webhook import UnparsedPart, WebhookRequest
from roomkit_plugins.testing.simulators import VoiceMeUpSimulator
from roomkit_plugins.voicemeup import (
    VoiceMeUpConfig,
    VoiceMeUpSMSProvider,
    configure_voicemeup_mms,
    parse_voicemeup_webhook,
)
from roomkit_plugins.voicemeup.wire import MMSPart, message_of

ANN = "+15145550123"
PNG = "https://files.example.org/a.png"
PAGE = "https://files.example.org/a.mms.html"


def received(**fields: Any) -> dict[str, Any]:
    said = {"sms_hash": "h1", "source_number": "15145550123", "destination_number": "15145550999"}
    sent = {"direction": "inbound", "datetime_transmission": "2026-11-22 10:04:05", "message": "Bonjour"}
    return {**said, **sent, **fields}


def first(**fields: Any) -> dict[str, Any]:
    return received(attachment=PAGE, attachment_mime_type="text/html", **fields)


def second(sms_hash: str = "h2", url: str = PNG, **fields: Any) -> dict[str, Any]:
    file = {"message": "", "attachment": url, "attachment_mime_type": "image/png", **fields}
    return received(sms_hash=sms_hash, **file)


@pytest.fixture
def provider() -> VoiceMeUpSMSProvider:
    """Return a provider of no kit."""
    return VoiceMeUpSMSProvider(
        VoiceMeUpConfig(username="u", auth_token="t", webhook_token="secret")  # type: ignore[arg-type]
    )


def called(url: str = "https://chat.example.org/voicemeup?token=secret", **fields: Any) -> WebhookRequest:
    given: dict[str, Any] = {"method": "POST", "headers": {}, "body": b'{"sms_hash": "h1"}', **fields}
    return WebhookRequest(url=url, **given)


@pytest.mark.parametrize(
    "url",
    [
        "https://chat.example.org/voicemeup",
        "https://chat.example.org/voicemeup?token=",
        "https://chat.example.org/voicemeup?token=Secret",
        "https://chat.example.org/voicemeup?token=secretx",
        "https://chat.example.org/voicemeup?a=token=secret",
        "https://chat.example.org/voicemeup?token=ß",
        "https://chat.example.org/voicemeup#token=secret",
    ],
)
async def test_without_the_token_nothing_is_read(provider: VoiceMeUpSMSProvider, url: str) -> None:
    with pytest.raises(WebhookRejected, match="not webhook_token") as caught:
        await provider.webhook(called(url, body=b"nonsense"), channel_id="sms")
    assert caught.value.status_code == 401


async def test_without_a_configured_token_none_is_taken() -> None:
    config = VoiceMeUpConfig(username="u", auth_token="t")  # type: ignore[arg-type]
    with pytest.raises(WebhookRejected, match="set webhook_token"):
        await VoiceMeUpSMSProvider(config).webhook(called(), channel_id="sms")


@pytest.mark.parametrize(
    ("host", "taken"),
    [("203.0.113.7", True), ("2001:db8::1", True), ("203.0.114.7", False), ("", False), ("proxy", False)],
)
async def test_the_caller_is_of_the_networks(host: str, taken: bool) -> None:
    config = VoiceMeUpConfig.model_validate(
        {
            "username": "u",
            "auth_token": "t",
            "webhook_token": "secret",
            "webhook_networks": ["203.0.113.0/24", "2001:db8::/32"],
        }
    )
    provider = VoiceMeUpSMSProvider(config)
    request = called(client_host=host or None, body=b'{"sms_hash": "h", "source_number": "15145550123"}')
    if taken:
        assert len(await provider.webhook(request, channel_id="sms")) == 1
    else:
        with pytest.raises(WebhookRejected) as caught:
            await provider.webhook(request, channel_id="sms")
        assert caught.value.status_code == 403


@pytest.mark.parametrize("kind", ["json", "form", "query"])
async def test_fields_are_of_json_a_form_or_the_query(provider: VoiceMeUpSMSProvider, kind: str) -> None:
    """How VoiceMeUp is set up to call decides."""
    query = "sms_hash=h1&source_number=15145550123&destination_number=15145550999&message=Bonjour+%26+merci"
    json = b'{"sms_hash": "h1", "source_number": 15145550123, "destination_number": "15145550999", '
    request = {
        "json": called(body=json + b'"message": "Bonjour & merci"}'),
        "form": called(body=query.encode()),
        "query": called(f"https://chat.example.org/voicemeup?token=secret&{query}", body=b""),
    }[kind]
    (message,) = await provider.webhook(request, channel_id="sms")
    assert isinstance(message, InboundMessage)
    assert (message.sender_id, message.extra, message.content) == (
        ANN,
        {"to": "+15145550999"},
        TextContent(body="Bonjour & merci"),
    )
    assert {message.external_id, message.provider_message_id, message.idempotency_key} == {"h1"}
    assert "token" not in message.raw_payload


@pytest.mark.parametrize(
    ("payload", "wrong"),
    [
        (b"{}", "sms_hash is not there"),
        (b"[]", "sms_hash is not there"),
        (b'{"sms_hash": "h"}', "source_number is not there"),
        (b'{"sms_hash": "h", "source_number": "1", "message": []}', "message is not a text"),
    ],
)
async def test_what_voicemeup_does_not_send_is_refused_by_name(
    provider: VoiceMeUpSMSProvider, payload: bytes, wrong: str
) -> None:
    with pytest.raises(WebhookRejected, match=wrong) as caught:
        await provider.webhook(called(body=payload), channel_id="sms")
    assert caught.value.status_code == 400


async def test_a_copy_of_what_was_sent_is_no_message(provider: VoiceMeUpSMSProvider) -> None:
    body = b'{"sms_hash": "h", "source_number": "15145550999", "direction": "outbound"}'
    (found,) = await provider.webhook(called(body=body), channel_id="sms")
    assert isinstance(found, UnparsedPart)
    assert "outbound" in found.reason


async def test_without_a_kit_each_part_is_a_message(
    provider: VoiceMeUpSMSProvider, vendor: VoiceMeUpSimulator
) -> None:
    requests = [
        replace(each, url=called().url) for each in vendor.parts_of(ANN, "look", [("image/png", b"x")])
    ]
    found = [(await provider.webhook(each, channel_id="sms"))[0] for each in requests]
    assert isinstance(found[0], InboundMessage)
    assert isinstance(found[1], InboundMessage)
    assert found[0].content == TextContent(body="look")
    assert isinstance(found[1].content, MediaContent)


# -- parts --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "is_page"),
    [
        ({"attachment": PAGE}, True),
        ({"attachment_url": PAGE}, True),
        ({"attachment": "https://x.org/a.mms.x?y", "attachment_mime_type": "text/html"}, True),
        ({"attachment": "https://x.org/a.mms.x?y", "attachment_type": "text/html"}, True),
        ({"attachment": "https://x.org/a.mms.x?y", "attachment_mime_type": "image/png"}, False),
        ({"attachment": "https://x.org/a.html", "attachment_mime_type": "text/html"}, False),
        ({}, False),
    ],
)
def test_a_page_about_a_file_is_no_file(fields: dict[str, str], is_page: bool) -> None:
    part = MMSPart(received(**fields))
    assert part.is_page is is_page
    assert bool(part.url) is (bool(fields) and not is_page)


def test_words_with_a_file_are_a_whole_message() -> None:
    """As VoiceMeUp sends other attachments than those of an MMS."""
    part = MMSPart(received(attachment=PNG, attachment_mime_type="image/png"))
    assert not part.is_of_several
    picture = MediaContent(url=PNG, mime_type="image/png", caption="Bonjour")
    assert message_of([part], "sms").content == picture


def test_joined_parts_keep_words_files_and_payloads() -> None:
    parts = [MMSPart(second()), MMSPart(first()), MMSPart(second("h3", f"{PNG}?2"))]
    message = message_of(parts, "sms")
    assert message.content == CompositeContent(
        parts=(
            TextContent(body="Bonjour"),
            MediaContent(url=PNG, mime_type="image/png"),
            MediaContent(url=f"{PNG}?2", mime_type="image/png"),
        )
    )
    assert message.idempotency_key == message.external_id == "h1+h2+h3"
    assert [each["sms_hash"] for each in message.raw_payload["parts"]] == ["h2", "h1", "h3"]


def test_words_alone_say_that_their_file_is_missing() -> None:
    message = message_of([MMSPart(first())], "sms")
    assert (message.content, message.metadata) == (TextContent(body="Bonjour"), {"missing_file": True})
    missing = SystemContent(body="A file did not arrive", code="missing_file")
    assert message_of([MMSPart(first(message=""))], "sms").content == missing


def test_the_key_of_many_parts_is_short_and_their_own() -> None:
    parts = [MMSPart(second(f"{number:040d}")) for number in range(30)]
    keys = {message_of(parts[:count], "sms").idempotency_key or "" for count in range(1, 31)}
    assert len(keys) == 30
    assert max(map(len, keys)) <= 201


# -- in memory ----------------------------------------------------------------------------------


@pytest.fixture
def timed_out() -> Iterator[list[InboundMessage]]:
    """Have parts joined in memory; return the messages whose other part did not come."""
    found: list[InboundMessage] = []
    configure_voicemeup_mms(timeout_seconds=5.0, on_timeout=found.append)
    yield found
    configure_voicemeup_mms()


def test_nothing_waits_unless_it_is_configured() -> None:
    """So that nothing is lost without a word."""
    assert parse_voicemeup_webhook(first(), "sms") == message_of([MMSPart(first())], "sms")
    assert parse_voicemeup_webhook(second(), "sms") == message_of([MMSPart(second())], "sms")


@pytest.mark.virtual_time
@pytest.mark.parametrize("order", [(first(), second()), (second(), first())], ids=["words", "file"])
async def test_two_parts_make_a_message(timed_out: list[InboundMessage], order: Any) -> None:
    assert parse_voicemeup_webhook(order[0], "sms") is None
    assert parse_voicemeup_webhook(order[0], "sms") is None  # sent again
    await asyncio.sleep(4)
    message = parse_voicemeup_webhook(order[1], "sms")
    assert message is not None
    assert message.content == MediaContent(url=PNG, mime_type="image/png", caption="Bonjour")
    await asyncio.sleep(100)
    assert timed_out == []


@pytest.mark.virtual_time
async def test_a_part_whose_other_does_not_come_is_handed_over(timed_out: list[InboundMessage]) -> None:
    """And so is the first of two that are alike; other numbers, seconds and channels are other messages."""
    for payload in (first(), second("h2"), first(sms_hash="h4"), second("h5", datetime_transmission="x")):
        parse_voicemeup_webhook(payload, "sms")
    assert parse_voicemeup_webhook(second("h6", source_number="15145550124"), "sms") is None
    assert parse_voicemeup_webhook(second("h7"), "other") is None
    assert timed_out == []
    assert parse_voicemeup_webhook(first(sms_hash="h8"), "sms") is None
    assert [each.external_id for each in timed_out] == ["h4"]
    await asyncio.sleep(6)
    assert sorted(each.external_id or "" for each in timed_out) == ["h4", "h5", "h6", "h7", "h8"]


def test_what_cannot_be_joined_is_refused(configure: Callable[..., VoiceMeUpConfig]) -> None:
    async def taking(message: InboundMessage) -> None: ...

    for given in ({"timeout_seconds": 0.0}, {"on_timeout": taking}):
        with pytest.raises(InvalidInputError):
            configure_voicemeup_mms(**given)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="process_webhook"):
        parse_voicemeup_webhook(received(direction="outbound"), "sms")
