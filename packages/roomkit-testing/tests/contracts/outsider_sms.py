"""An SMS provider and its channel, as an outsider writes them, and the vendor's API on a local port."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from roomkit.abc.channel import Channel
from roomkit.abc.errors import ErrorCode, ProviderError, WebhookRejected, code_for_status
from roomkit.abc.provider import ReceivesWebhooks, WebhookPart
from roomkit.abc.sms import SMSProvider
from roomkit.models.channel import ChannelBinding, ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.context import RoomContext
from roomkit.models.delivery import DeliveryStatus, InboundMessage, ProviderResult
from roomkit.models.enums import ChannelType
from roomkit.models.event import RoomEvent
from roomkit.models.hints import SMSHints
from roomkit.models.webhook import WebhookAnswer, WebhookRequest
from roomkit_plugins.testing.simulators.http import Exchange, HTTPSimulator, ReceivedRequest

__all__ = ["SECRET", "CarrierSMSChannel", "CarrierSMSProvider", "CarrierVendor", "signed"]

SECRET = "whsec-canary"


def signed(payload: Mapping[str, Any] | bytes) -> WebhookRequest:
    """Build a request of the vendor's."""
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    signature = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    return WebhookRequest(
        method="POST", url="https://example.com/sms", headers={"X-Signature": signature}, body=body
    )


class CarrierVendor(HTTPSimulator):
    """Takes messages, one for each idempotency key; with `status` it refuses all, with 0 it breaks off."""

    def __init__(self, status: int = 200) -> None:
        super().__init__()
        self.status = status
        self.texts: dict[str, str] = {}  # bound: one test

    async def handle(self, request: ReceivedRequest, exchange: Exchange) -> None:
        if not self.status:
            exchange.abort()
            return
        if self.status != 200:
            await exchange.send_json(self.status, {"error": "refused"})
            return
        message = request.json()
        message_id = f"SM-{message.get('key') or len(self.texts)}"
        self.texts.setdefault(message_id, message["text"])
        await exchange.send_json(200, {"id": message_id})


class CarrierSMSProvider(SMSProvider):
    """Sends SMS through the carrier's HTTP API."""

    idempotent = True
    returns_key = True

    def __init__(self, origin: str) -> None:
        self._origin = origin

    @property
    def name(self) -> str:
        return "carrier"

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        if not to.strip():
            raise ProviderError("no number", error_code=ErrorCode.MISSING_RECIPIENT, provider=self.name)
        if not isinstance(event.content, TextContent):
            raise ProviderError("text only", error_code=ErrorCode.UNSUPPORTED_CONTENT, provider=self.name)
        answer = await self.post(self.payload(event.content.body, to, idempotency_key))
        return ProviderResult(success=True, provider_message_id=answer["id"])

    def payload(self, text: str, to: str, key: str | None) -> dict[str, Any]:
        """Return what the API is sent."""
        return {"text": text, "to": to, "key": key}

    async def post(self, payload: Mapping[str, Any]) -> Any:
        """Call the API."""
        parts = urlsplit(self._origin)
        try:
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except OSError as error:
            raise self.lost(error, accepted=False) from error
        try:
            writer.write(request_of(payload))
            await writer.drain()
            head, end, body = (await reader.read()).partition(b"\r\n\r\n")
        except OSError as error:
            raise self.lost(error, accepted=None) from error
        finally:
            writer.close()
        if not end:
            raise self.lost(EOFError("no answer"), accepted=None)
        status = int(head.split(b" ")[1])
        if status != 200:
            raise ProviderError(
                f"the carrier answered {status}",
                error_code=code_for_status(status),
                provider=self.name,
                status_code=status,
            )
        return json.loads(body)

    def lost(self, error: Exception, *, accepted: bool | None) -> ProviderError:
        """Return the error of a connection that was not made, or broke after the request was sent."""
        return ProviderError(
            f"no connection to the carrier: {error}",
            error_code=ErrorCode.CONNECTION,
            provider=self.name,
            accepted=accepted,
        )

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        """Verify, then read."""
        self.verify(request)
        payload = request.json()
        if isinstance(payload, dict) and "challenge" in payload:
            return self.answer(payload["challenge"])
        try:
            return self.read(payload, channel_id)
        except (KeyError, TypeError, ValueError) as error:
            raise WebhookRejected("the body is not the carrier's", status_code=400) from error

    def answer(self, challenge: str) -> Sequence[WebhookPart]:
        """Return the answer to the carrier's check of the address."""
        return [WebhookAnswer(body=challenge)]

    def verify(self, request: WebhookRequest) -> None:
        """Raise WebhookRejected unless the carrier signed the request."""
        given = (request.header("X-Signature", "") or "").encode()
        expected = hmac.new(SECRET.encode(), request.body, hashlib.sha256).hexdigest().encode()
        if not hmac.compare_digest(given, expected):
            raise WebhookRejected("the signature is not the carrier's")

    def read(self, payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage | DeliveryStatus]:
        """Return what a request says."""
        if "state" in payload:
            return [
                DeliveryStatus(
                    provider=self.name,
                    channel_id=channel_id,
                    message_id=payload["id"],
                    status=payload["state"],
                    reference=self.key_in(payload),
                    raw=payload,
                )
            ]
        return [
            InboundMessage(
                channel_id=channel_id,
                sender_id=payload["from"],
                content=TextContent(body=payload["text"]),
                idempotency_key=payload["id"],
                raw_payload=payload,
            )
        ]

    def key_in(self, receipt: Mapping[str, Any]) -> str | None:
        """Return the key of the message that a receipt is for."""
        key: str | None = receipt.get("key")
        return key


assert issubclass(CarrierSMSProvider, ReceivesWebhooks)


def request_of(payload: Mapping[str, Any]) -> bytes:
    """Return an HTTP request after whose answer the connection closes."""
    body = json.dumps(payload).encode()
    head = f"POST /messages HTTP/1.1\r\nhost: carrier\r\nconnection: close\r\ncontent-length: {len(body)}\r\n"
    return f"{head}content-type: application/json\r\n\r\n".encode() + body


class CarrierSMSChannel(Channel):
    """SMS by the carrier."""

    channel_type = ChannelType.SMS

    def __init__(self, channel_id: str, provider: CarrierSMSProvider) -> None:
        super().__init__(channel_id)
        self.provider = provider

    @property
    def provider_name(self) -> str:
        return self.provider.name

    def capabilities(self) -> ChannelCapabilities:
        return ChannelCapabilities(max_length=1600)

    def first_binding(self, message: InboundMessage) -> Mapping[str, Any]:
        return {"metadata": {"number": message.sender_id}}

    async def handle_inbound(self, message: InboundMessage, context: RoomContext) -> RoomEvent:
        return self.event_of(message, context)

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        number = binding.metadata.get("number")
        if number is None:
            return ChannelOutput.skipped("no_number")
        key = context.delivery.id if context.delivery is not None else None
        return ChannelOutput(provider_result=await self.provider.send(event, number, idempotency_key=key))

    async def close(self) -> None:
        await self.provider.close()
