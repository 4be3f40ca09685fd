"""Text messages through carriers: receipts, opt-outs, and a second carrier to go on to."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from roomkit import (
    ChannelBinding,
    ChannelCapabilities,
    ChannelType,
    CompositeContent,
    ConsentContent,
    ConsentState,
    DeliveryStatus,
    EventType,
    InboundMessage,
    MediaContent,
    ProviderError,
    ProviderResult,
    RateLimit,
    RoomEvent,
    SMSHints,
    TextContent,
    WebhookRequest,
    text_of,
)
from roomkit.abc import ErrorCode, SMSProvider, TransportChannel, WebhookPart, WebhookRejected

type Post = Callable[..., Awaitable[str]]

WORDS = {"dispatched": "sent", "partially_delivered": "partial", "arrived": "delivered", "gone": "expired"}
OPT_OUTS = {
    "stop": ConsentState.REVOKED,
    "arret": ConsentState.REVOKED,
    "start": ConsentState.GRANTED,
}


class CarrierProvider(SMSProvider):
    """One carrier. It takes keys, and signs what it sends back."""

    idempotent = True

    def __init__(self, name: str, post: Post, *, secret: bytes = b"secret") -> None:
        self._name = name
        self._post = post
        self._secret = secret

    @property
    def name(self) -> str:
        return self._name

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: SMSHints | None = None,
    ) -> ProviderResult:
        sender = (hints or SMSHints()).from_ or "+15550100"
        try:
            message_id = await self._post(idempotency_key, to=to, sender=sender, text=text_of(event.content))
        except ConnectionRefusedError as error:
            raise ProviderError(
                f"{self.name} cannot be reached",
                error_code=ErrorCode.CONNECTION,
                provider=self.name,
                accepted=False,
            ) from error
        return ProviderResult(success=True, provider_message_id=message_id)

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        given = request.header("x-carrier-signature") or ""
        if not hmac.compare_digest(given, signature(self._secret, request.body)):
            raise WebhookRejected("the signature is not the carrier's")
        return [self._part(each, channel_id) for each in request.json()]

    def _part(self, item: Mapping[str, Any], channel_id: str) -> WebhookPart:
        if "state" in item:
            return DeliveryStatus(
                provider=self.name,
                message_id=item["id"],
                status=WORDS.get(item["state"], item["state"]),
                raw=item,
            )
        picture = item.get("picture")
        words = TextContent(body=item["text"])
        return InboundMessage(
            channel_id=channel_id,
            sender_id=item["from"],
            content=words if picture is None else _with_picture(words, picture),
            external_id=item["id"],
            idempotency_key=item["id"],
            extra={"to": item.get("to")},
        )


class CarrierChannel(TransportChannel):
    """Texts of 160 characters. Consent is asked for everything but what answers a STOP."""

    def __init__(
        self, channel_id: str, providers: Iterable[CarrierProvider], *, per_second: float = 5
    ) -> None:
        super().__init__(
            channel_id,
            ChannelType.SMS,
            providers=tuple(providers),
            capabilities=ChannelCapabilities(max_length=160),
            defaults={"from_": None},
            paced_by="from_",
        )
        self.rate_limit = RateLimit(max_per_second=per_second)

    def admit(self, message: InboundMessage) -> InboundMessage:
        message = super().admit(message)
        words = text_of(message.content)
        state = OPT_OUTS.get(words.strip().lower())
        if state is None:
            return message
        said = ConsentContent(
            address_type=self.address_type,
            address=message.sender_id,
            state=state,
            source="keyword",
            body=words,
        )
        return message.replace(content=said, event_type=EventType.CONSENT)

    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        return "all"


def _with_picture(words: TextContent, url: str) -> CompositeContent:
    return CompositeContent(parts=(words, MediaContent(url=url, mime_type="image/jpeg")))


def signature(secret: bytes, body: bytes) -> str:
    """Sign a body as the carriers do."""
    return hmac.new(secret, body, hashlib.sha256).hexdigest()
