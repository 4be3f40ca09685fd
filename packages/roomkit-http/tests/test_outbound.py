"""What the other side is sent: the payload, the headers, and what becomes of its answers."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models import ChannelData, RichContent
from roomkit_plugins.http import HTTPProviderConfig, WebhookHTTPProvider
from roomkit_plugins.testing.contracts.base import event
from roomkit_plugins.testing.simulators import HTTPSimulator, WebhookSimulator
from roomkit_plugins.testing.simulators.http import Exchange, ReceivedRequest

from .conftest import SECRET


class Answering(HTTPSimulator):
    """A system that answers everything alike."""

    def __init__(self, status: int = 200, body: bytes = b"", **headers: str) -> None:
        super().__init__()
        self.answer = status, body, {"content-type": "text/plain", **headers}

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        await exchange.send_bytes(*self.answer)


async def sent_to(system: Answering, **fields: Any) -> Any:
    config = HTTPProviderConfig(webhook_url=f"{system.origin}/hooks", allow_private_hosts=True, **fields)
    provider = WebhookHTTPProvider(config)
    try:
        return await provider.send(event("room-1", "Hello"), "user-123", idempotency_key="key")
    finally:
        await provider.close()


async def test_the_payload_says_the_whole_event(
    system: WebhookSimulator, configure: Callable[..., HTTPProviderConfig]
) -> None:
    """What the first version had, and more beside it; content is RoomKit's own model."""
    content = RichContent(body="**Tonight?**", quick_replies=("Yes", "No"))
    sent = event(
        "room-1",
        channel_id="ws-user",
        content=content,
        metadata={"lang": "en"},
        channel_data=ChannelData(thread_id="t-9", extra={"private": "x"}),
        created_at=datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC),
    )
    provider = WebhookHTTPProvider(configure())
    result = await provider.send(sent, "user-123", idempotency_key="key")
    await provider.close()
    assert (result.provider_message_id, result.status_code) == ("out-1", 200)
    assert system.messages == [
        {
            "version": 1,
            "event_id": sent.id,
            "event_type": "message",
            "created_at": "2030-01-02T03:04:05Z",
            "idempotency_key": "key",
            "recipient_id": "user-123",
            "channel_id": "ws-user",
            "room_id": "room-1",
            "sender": "ws-user",
            "thread_id": "t-9",
            "content": content.model_dump(mode="json"),
            "metadata": {"lang": "en"},
        }
    ]


async def test_each_request_is_signed_and_named(
    system: WebhookSimulator, configure: Callable[..., HTTPProviderConfig]
) -> None:
    """By both versions of the signature, with both secrets while they change; ids in a header are ASCII."""
    headers = {"X-Team": "blue", "Authorization": SecretStr("Bearer CANARY")}
    provider = WebhookHTTPProvider(configure(previous_secret="before", headers=headers))
    await provider.send(event("room-1", "Grüße"), "user-123", idempotency_key="e1:büro ☎%")
    await provider.close()
    (request,) = system.requests
    stamp = request.headers["x-roomkit-timestamp"]
    digests = [
        hmac.new(key.encode(), stamp.encode() + b"." + request.body, sha256).hexdigest()
        for key in (SECRET, "before")
    ]
    assert request.headers["x-roomkit-signature-v2"] == ",".join(f"v1={each}" for each in digests)
    assert (
        request.headers["x-roomkit-signature"] == hmac.new(SECRET.encode(), request.body, sha256).hexdigest()
    )
    assert request.headers["idempotency-key"] == "e1:b%C3%BCro%20%E2%98%8E%25"
    assert request.headers["x-roomkit-event-id"] == json.loads(request.body)["event_id"]
    assert request.headers["content-type"] == "application/json"
    assert (request.headers["x-team"], request.headers["authorization"]) == ("blue", "Bearer CANARY")


async def test_without_a_secret_nothing_is_signed() -> None:
    async with Answering(204) as system:
        await sent_to(system)
    assert not [name for name in system.requests[0].headers if "signature" in name or "timestamp" in name]


@pytest.mark.parametrize(
    ("status", "body", "identity"),
    [
        (200, b'{"message_id": "m-1"}', "m-1"),
        (202, b'{"message_id": 17}', "17"),
        (204, b"", None),
        (200, b"ok", None),
        (200, b'[{"message_id": "m-1"}]', None),
        (200, b'"m-1"', None),
        (200, b'{"message_id": true}', None),
        (200, b'{"message_id": ""}', None),
        (200, b'{"message_id": {"id": 1}}', None),
        (200, b"[" * 9000, None),
        (200, b"\xff\xfe", None),
    ],
)
async def test_any_2xx_is_a_success(status: int, body: bytes, identity: str | None) -> None:
    """With the id that a JSON object names; other answers have none."""
    async with Answering(status, body) as system:
        result = await sent_to(system)
    assert (result.success, result.provider_message_id) == (True, identity)


@pytest.mark.parametrize(
    ("status", "code", "retryable"),
    [
        (400, ErrorCode.INVALID_REQUEST, False),
        (408, ErrorCode.TIMEOUT, True),
        (409, ErrorCode.OVERLOADED, True),
        (410, ErrorCode.INVALID_REQUEST, False),
        (413, ErrorCode.TOO_LONG, False),
        (425, ErrorCode.OVERLOADED, True),
        (429, ErrorCode.RATE_LIMIT, True),
        (500, ErrorCode.SERVER, True),
        (502, ErrorCode.SERVER, True),
        (504, ErrorCode.TIMEOUT, True),
    ],
)
async def test_a_refusal_has_the_class_of_its_status(status: int, code: ErrorCode, retryable: bool) -> None:
    """`Retry-After` is handed on; what the other side says is not."""
    async with Answering(status, b"CANARY of theirs", **{"retry-after": "7"}) as system:
        with pytest.raises(
            ProviderError, match=f"the endpoint at 127.0.0.1 refused the request .{status}"
        ) as caught:
            await sent_to(system)
    error = caught.value
    assert (error.error_code, error.retryable, error.retry_after) == (code, retryable, 7.0)
    assert "CANARY" not in str(error)
    assert len(system.requests) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(system: WebhookSimulator, status: int) -> None:
    """Not even within the same host: the message and its signature stay where they were sent."""
    async with Answering(status, location=system.url) as moved:
        with pytest.raises(ProviderError, match="set webhook_url") as caught:
            await sent_to(moved)
    assert (caught.value.accepted, caught.value.retryable) == (False, False)
    assert system.requests == []


async def test_an_endless_answer_is_left() -> None:
    async with Answering(200, bytes(2_000_000)) as system:
        with pytest.raises(ProviderError) as caught:
            await sent_to(system)
    assert (caught.value.error_code, caught.value.accepted) == (ErrorCode.BAD_RESPONSE, None)


async def test_the_connection_is_kept_for_the_next_message(
    system: WebhookSimulator, configure: Callable[..., HTTPProviderConfig]
) -> None:
    """Although the host is resolved and checked again for each."""
    asked: list[str] = []

    async def resolver(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = system.url.replace("127.0.0.1", "system.test")
    provider = WebhookHTTPProvider(configure(webhook_url=url), resolver=resolver)
    ports = set()
    for text in ("one", "two", "three"):
        await provider.send(event("room-1", text), "user-123")
        ports |= {each.get_name() for each in system._connections}
    await provider.close()
    assert asked == ["system.test"] * 3
    assert len(ports) == 1
    assert system.requests[0].headers["host"] == url.split("/")[2]


async def test_a_client_of_the_program_is_used_and_left_open(system: WebhookSimulator) -> None:
    """For a proxy: its addresses are its own matter."""
    config = HTTPProviderConfig(webhook_url="https://system.example/hooks/roomkit", secret=SECRET)

    async def answer(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"message_id": str(request.url)})

    client = httpx2.AsyncClient(transport=httpx2.MockTransport(answer))
    provider = WebhookHTTPProvider(config, http_client=client)
    result = await provider.send(event("room-1", "Hello"), "user-123")
    await provider.close()
    assert result.provider_message_id == "https://system.example/hooks/roomkit"
    assert not client.is_closed
    await client.aclose()
