"""What the other side may say: messages and receipts, and nothing of the kit's own."""

from __future__ import annotations

from typing import Any

import pytest

from roomkit.abc.errors import WebhookRejected
from roomkit.models import EditContent, EventType, MediaContent, TextContent
from roomkit_plugins.http import HTTPProviderConfig, WebhookHTTPProvider, parse_http_webhook, sign_webhook
from roomkit_plugins.testing import VirtualClock
from roomkit_plugins.testing.simulators import WebhookSimulator

NOW = 1_893_456_000


def provider(**fields: Any) -> WebhookHTTPProvider:
    return WebhookHTTPProvider(
        HTTPProviderConfig(webhook_url="https://system.example/hooks", **{"secret": "s1", **fields})
    )


def test_a_payload_of_the_first_version_is_read() -> None:
    payload = {
        "sender_id": "user-123",
        "body": "Hello!",
        "external_id": "msg-456",
        "metadata": {"lang": "en"},
        "more": [1],
    }
    message = parse_http_webhook(payload, "http")
    assert (message.channel_id, message.sender_id, message.content) == (
        "http",
        "user-123",
        TextContent(body="Hello!"),
    )
    assert message.external_id == message.provider_message_id == message.idempotency_key == "msg-456"
    assert message.metadata == {"lang": "en"}
    assert message.raw_payload["more"] == [1]


def test_any_content_of_people_is_read() -> None:
    """As RoomKit's models have it; an edit is one by its content."""
    media = {"type": "media", "url": "https://files.example/a.png", "mime_type": "image/png"}
    message = parse_http_webhook({"sender_id": "u", "content": media, "thread_id": "t-1"}, "http")
    assert message.content == MediaContent(url="https://files.example/a.png", mime_type="image/png")
    assert (message.thread_id, message.idempotency_key) == ("t-1", None)
    edit = {"type": "edit", "target_event_id": "e1", "new_content": {"type": "text", "body": "b"}}
    message = parse_http_webhook({"sender_id": "u", "content": edit}, "http")
    assert isinstance(message.content, EditContent)
    assert message.event_type is EventType.EDIT
    message = parse_http_webhook({"sender_id": "u", "event_type": "ticket_opened"}, "http")
    assert (message.event_type, message.content) == ("ticket_opened", TextContent(body=""))


@pytest.mark.parametrize(
    ("payload", "said"),
    [
        ({}, "sender_id is missing"),
        ({"sender_id": ""}, "sender_id is missing"),
        ({"sender_id": 7}, "sender_id is no text"),
        ({"sender_id": "u\0"}, "sender_id"),
        ({"sender_id": "u" * 2000}, "sender_id"),
        ({"sender_id": "u", "body": ["CANARY"]}, "body is no text"),
        ({"sender_id": "u", "body": "a", "content": {"type": "text", "body": "b"}}, "give one of them"),
        ({"sender_id": "u", "content": "CANARY"}, "content is no JSON object"),
        ({"sender_id": "u", "content": {"body": "CANARY"}}, r"content\.type"),
        ({"sender_id": "u", "content": {"type": "media", "url": "CANARY"}}, "content"),
        ({"sender_id": "u", "content": {"type": "nonsense"}}, "content"),
        ({"sender_id": "u", "content": {"type": "system", "body": "CANARY"}}, r"content\.type"),
        (
            {
                "sender_id": "u",
                "content": {"type": "consent", "address_type": "phone", "address": "+1", "state": "granted"},
            },
            r"content\.type",
        ),
        ({"sender_id": "u", "event_type": "participant_joined"}, "event_type"),
        ({"sender_id": "u", "event_type": "consent"}, "event_type"),
        ({"sender_id": "u", "event_type": "NOT A TYPE"}, "event_type|vocabulary|NOT"),
        ({"sender_id": "u", "metadata": "CANARY"}, "metadata is no JSON object"),
        ({"type": "delivery_status", "status": "read"}, "message_id is missing"),
        ({"type": "delivery_status", "message_id": "m"}, "status is missing"),
        ([{"sender_id": "CANARY"}], "no JSON object"),
    ],
)
def test_what_is_wrong_is_named_and_not_quoted(payload: Any, said: str) -> None:
    with pytest.raises(WebhookRejected, match=said) as caught:
        parse_http_webhook(payload, "http")
    assert caught.value.status_code == 400
    assert "CANARY" not in str(caught.value)


def test_a_receipt_is_no_message() -> None:
    with pytest.raises(ValueError, match="process_webhook"):
        parse_http_webhook({"type": "delivery_status", "message_id": "m", "status": "read"}, "http")


async def test_without_a_secret_every_webhook_is_refused() -> None:
    """Whatever it is signed with, the empty secret included."""
    for secret in (None, ""):
        request = WebhookSimulator(secret=secret).signed(b'{"sender_id": "u"}')
        with pytest.raises(WebhookRejected, match="set secret"):
            await provider(secret=None).webhook(request, channel_id="http")


async def test_the_secret_before_is_taken_while_it_changes() -> None:
    body = b'{"sender_id": "u", "body": "hi"}'
    request = WebhookSimulator(secret="s0").signed(body)
    assert await provider(previous_secret="s0").webhook(request, channel_id="http")
    with pytest.raises(WebhookRejected):
        await provider().webhook(request, channel_id="http")


async def test_our_own_messages_come_back_as_nothing() -> None:
    """Both sides share one secret: a posted message is refused when it is posted back."""
    body = b'{"recipient_id": "u", "content": {"type": "text", "body": "hi"}, "sender": "bot"}'
    with pytest.raises(WebhookRejected, match="sender_id"):
        await provider().webhook(WebhookSimulator(secret="s1").signed(body), channel_id="http")


@pytest.mark.virtual_time
async def test_a_signature_is_good_for_five_minutes(virtual_clock: VirtualClock) -> None:
    made = provider()
    now = int(made._now())
    for offset, good in ((0, True), (-299, True), (299, True), (-302, False), (302, False)):
        stamp = now + offset
        assert made.verify_signature(b"body", sign_webhook(b"body", "s1", stamp), str(stamp)) is good
    signature = sign_webhook(b"body", "s1", now)
    assert not made.verify_signature(b"body!", signature, str(now))
    assert not made.verify_signature(b"body", signature)
    assert not made.verify_signature(b"body", signature, "now")
    assert not made.verify_signature(b"body", sign_webhook(b"body", "s2", now), str(now))
    assert made.verify_signature(b"body", f"v1={'0' * 64}, {signature}", str(now))
