"""WhatsApp's window: within 24 hours of what a person wrote any text, after that an approved template."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from roomkit import (
    ChannelBinding,
    ChannelOutput,
    ChannelType,
    InboundMessage,
    ProviderResult,
    RoomContext,
    RoomEvent,
    TemplateContent,
    TextContent,
    WebhookAnswer,
    WebhookRequest,
    WhatsAppHints,
    text_of,
)
from roomkit.abc import TransportChannel, WebhookPart, WebhookRejected, WhatsAppProvider

_WINDOW = timedelta(hours=24)


class CloudProvider(WhatsAppProvider):
    """The Cloud API in small."""

    idempotent = True

    def __init__(self, post: Callable[..., Awaitable[str]], *, token: str = "token") -> None:
        self._post = post
        self._token = token

    @property
    def name(self) -> str:
        return "cloud"

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: WhatsAppHints | None = None,
    ) -> ProviderResult:
        content = event.content
        kind = content.template_id if isinstance(content, TemplateContent) else "text"
        sent = await self._post(idempotency_key, to=to, kind=kind, text=text_of(content))
        return ProviderResult(success=True, provider_message_id=sent)

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        if request.method == "GET":
            asked = request.query()
            if asked.get("hub.verify_token") != self._token:
                raise WebhookRejected("the token is not ours", status_code=403)
            return [WebhookAnswer(body=asked["hub.challenge"])]
        if request.header("x-token") != self._token:
            raise WebhookRejected("the token is not WhatsApp's")
        item = request.json()
        message = InboundMessage(
            channel_id=channel_id,
            sender_id=item["from"],
            content=TextContent(body=item["text"]),
            external_id=item["id"],
            idempotency_key=item["id"],
            extra={"at": item["at"]},
        )
        return [message]


class WhatsAppChannel(TransportChannel):
    """Knows by the binding's state until when it may write freely."""

    def __init__(self, channel_id: str, provider: CloudProvider, *, template: str = "follow_up") -> None:
        super().__init__(channel_id, ChannelType.WHATSAPP, provider=provider, recipient_key="wa_id")
        self._template = template

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        return {"wrote_at": message.extra["at"]}

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        if self._is_open(binding):
            return await super().deliver(event, binding, context)
        template = TemplateContent(template_id=self._template, language="en", body="We have news for you.")
        output = await super().deliver(event.replace(content=template), binding, context)
        output.rendered = template
        return output

    def _is_open(self, binding: ChannelBinding) -> bool:
        assert self.services is not None
        wrote_at = binding.state.get("wrote_at")
        if wrote_at is None:
            return False
        return self.services.clock.now() - datetime.fromisoformat(wrote_at) < _WINDOW
