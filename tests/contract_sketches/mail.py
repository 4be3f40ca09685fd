"""E-mail with threads: replies find their room, and answers continue the thread however long it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from roomkit import (
    ChannelBinding,
    ChannelCapabilities,
    ChannelMediaType,
    ChannelOutput,
    ChannelType,
    EmailHints,
    InboundMessage,
    ProviderResult,
    RoomContext,
    RoomEvent,
    TextContent,
    WebhookRequest,
    text_of,
)
from roomkit.abc import EmailProvider, TransportChannel, WebhookPart, WebhookRejected

type Post = Callable[..., Awaitable[str]]

_KEPT = 10
"""How many Message-IDs of a thread are kept: the first, and the latest."""


class MailProvider(EmailProvider):
    """A mail service. It is given the Message-ID, and sends none twice."""

    idempotent = True

    def __init__(self, post: Post, *, sender: str = "help@example.org", token: str = "token") -> None:
        self._post = post
        self._sender = sender
        self._token = token

    @property
    def name(self) -> str:
        return "mail"

    async def send(
        self,
        event: RoomEvent,
        to: str,
        *,
        idempotency_key: str | None = None,
        hints: EmailHints | None = None,
    ) -> ProviderResult:
        hints = hints or EmailHints()
        message_id = f"<{(idempotency_key or event.id).replace(':', '.')}@example.org>"
        await self._post(
            message_id,
            to=to,
            sender=hints.from_ or self._sender,
            cc=list(hints.cc),
            subject=hints.subject or "Your request",
            references=list(hints.references),
            text=text_of(event.content),
        )
        return ProviderResult(success=True, provider_message_id=message_id)

    async def webhook(self, request: WebhookRequest, *, channel_id: str) -> Sequence[WebhookPart]:
        if request.header("authorization") != f"Bearer {self._token}":
            raise WebhookRejected("the token is not the mail service's")
        mail = request.json()
        answered = [mail["in_reply_to"]] if mail.get("in_reply_to") else []
        message = InboundMessage(
            channel_id=channel_id,
            sender_id=mail["from"],
            content=TextContent(body=mail["text"]),
            external_id=mail["id"],
            idempotency_key=mail["id"],
            in_reply_to=tuple(dict.fromkeys([*answered, *reversed(mail.get("references", []))])),
            extra={"mail": {"subject": mail.get("subject", ""), "cc": mail.get("cc", [])}},
        )
        return [message]


class MailChannel(TransportChannel):
    """Mails of any length; the binding knows the thread, its subject and who else reads it."""

    def __init__(self, channel_id: str, provider: MailProvider) -> None:
        super().__init__(
            channel_id,
            ChannelType.EMAIL,
            provider=provider,
            capabilities=ChannelCapabilities(
                media_types=(ChannelMediaType.TEXT, ChannelMediaType.RICH), supports_threading=True
            ),
            recipient_key="email_address",
        )

    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        mail = message.extra["mail"]
        state: dict[str, Any] = {"answers": message.external_id, "cc": list(mail["cc"])}
        if mail["subject"]:
            state["subject"] = mail["subject"].removeprefix("Re: ")
        return state

    def hints(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Mapping[str, Any]:
        state = binding.state
        said: dict[str, Any] = {"references": tuple(_thread(state))}
        if "subject" in state:
            said |= {"subject": f"Re: {state['subject']}", "cc": tuple(state.get("cc", ()))}
        return said

    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        output = await super().deliver(event, binding, context)
        assert output.provider_result is not None
        sent = output.provider_result.provider_message_id
        # Not under "answers": a mail that comes in while this one goes out must stay the one to answer.
        output.binding_state = {"thread": [*_thread(binding.state), sent]}
        return output


def _thread(state: Mapping[str, Any]) -> list[str]:
    """Return the Message-IDs of a thread, the one that is answered last."""
    known = list(dict.fromkeys([*state.get("thread", ()), *filter(None, [state.get("answers")])]))
    return known if len(known) <= _KEPT else [known[0], *known[1 - _KEPT :]]
