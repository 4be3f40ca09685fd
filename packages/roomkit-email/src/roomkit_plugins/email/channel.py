"""E-mail as a channel of rooms."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, override

from pydantic import SecretStr

from roomkit.abc.errors import InvalidInputError
from roomkit.authoring.opt_out import OptOutWords
from roomkit.authoring.transport import TransportChannel
from roomkit.models.channel import ChannelCapabilities, ChannelOutput
from roomkit.models.content import TextContent
from roomkit.models.enums import ChannelMediaType, ChannelType, EventType, MediaForm
from roomkit_plugins.email.threads import answered_thread, answering, begun_thread, thread_of
from roomkit_plugins.email.tokens import (
    UnsubscribeLink,
    plus_address,
    reply_token,
    tokens_in,
    unsubscribe_token,
)
from roomkit_plugins.email.unsubscribing import Unsubscribing

if TYPE_CHECKING:
    from roomkit.abc.email import EmailProvider
    from roomkit.abc.provider import ReceivesWebhooks
    from roomkit.models.channel import ChannelBinding
    from roomkit.models.context import RoomContext
    from roomkit.models.delivery import InboundMessage, ProviderResult
    from roomkit.models.event import RoomEvent

__all__ = ["CAPABILITIES", "EmailChannel"]

CAPABILITIES = ChannelCapabilities(
    media_types=(
        ChannelMediaType.TEXT,
        ChannelMediaType.RICH,
        ChannelMediaType.MEDIA,
        ChannelMediaType.AUDIO,
        ChannelMediaType.VIDEO,
    ),
    supports_threading=True,
    supports_rich_text=True,
    supports_media=True,
    supports_audio=True,
    supports_video=True,
    supports_delivery_receipts=True,
    max_media_size_bytes=18_000_000,  # in base64, with its line breaks, 25 MB: what most servers take
)
_TOKEN = "reply"
_PLAIN_ADDRESS = re.compile(r"[A-Za-z0-9._-]{1,37}@[A-Za-z0-9.-]{1,253}")


class EmailChannel(TransportChannel):
    """Carries messages by mail; the recipient is the binding's `metadata["email_address"]`.

    The sender is `from_address`; else `from_` of the event or of the binding's metadata; else the provider's.
    The subject is the first of: the event's or binding's `subject`; that of the person's newest mail, with
    `Re:`; the `subject` given here; the provider's. Answers are in the thread of what they answer.

    With `reply_address`, such as "reply@in.example.com", each room has an address of its own for answers,
    "reply+<token>@in.example.com": a mail to it belongs to that room, whoever sends it. With
    `unsubscribe_url`, the public URL of the webhook `unsubscribe` of this channel, mails have a link by which
    one click revokes consent (RFC 8058). Both need a `secret`, the same on all workers, which signs them.

    A mail that says one word such as STOP or UNSUBSCRIBE, in its text or as the subject of an empty one,
    revokes consent too: see `OptOutWords` for `languages` and `stop_words`. Each delivery needs consent for
    the `purpose` of its event's metadata, else for that of the channel. Mail that a program wrote is
    committed, and asks no agent.
    """

    media_form = MediaForm.BYTES

    def __init__(
        self,
        channel_id: str,
        *,
        provider: EmailProvider | None = None,
        providers: Sequence[EmailProvider] = (),
        from_address: str | None = None,
        subject: str | None = None,
        reply_address: str | None = None,
        unsubscribe_url: str | None = None,
        secret: SecretStr | str | None = None,
        purpose: str = "all",
        languages: Collection[str] | None = None,
        stop_words: Collection[str] = (),
    ) -> None:
        super().__init__(
            channel_id,
            ChannelType.EMAIL,
            provider=provider,
            providers=providers,
            capabilities=CAPABILITIES,
            recipient_key="email_address",
            defaults={"from_": from_address, "subject": None},
        )
        self.from_address = from_address
        self.subject = subject
        self.reply_address = _checked_address(channel_id, reply_address)
        self.unsubscribe_url = unsubscribe_url
        self.purpose = purpose
        self._words = OptOutWords(languages, stop=stop_words)
        self._secret = secret.get_secret_value() if isinstance(secret, SecretStr) else secret or ""
        if (reply_address or unsubscribe_url) and not self._secret:
            raise InvalidInputError(
                f"channel {channel_id!r} has a reply_address or an unsubscribe_url, and no secret: give one, "
                "or their tokens could be guessed"
            )

    # -- inbound ------------------------------------------------------------------------------

    @override
    def admit(self, message: InboundMessage) -> InboundMessage:
        admitted = self._words.admitted(super().admit(message), self.address_type)
        said, subject = admitted.content, admitted.extra.get("subject")
        is_empty = isinstance(said, TextContent) and not said.body.strip()
        if admitted.event_type is not EventType.MESSAGE or not is_empty or not isinstance(subject, str):
            return admitted
        titled = self._words.admitted(admitted.replace(content=TextContent(body=subject)), self.address_type)
        return titled if titled.event_type is EventType.CONSENT else admitted

    @override
    async def route(self, message: InboundMessage) -> str | None:
        if self.reply_address is None or self.services is None:
            return None
        for token in tokens_in(_addresses(message.extra), self.reply_address)[:3]:
            kept = await self.services.values.of(None).get(_TOKEN, self.channel_id, token)
            room_id = None if kept is None else kept.data.get("room_id")
            if isinstance(room_id, str) and token == self._token(room_id):
                return room_id
        return None

    @override
    def binding_state(self, message: InboundMessage) -> Mapping[str, Any]:
        if message.event_type is not EventType.MESSAGE:
            return {}
        return answered_thread(message.external_id, message.extra)

    @override
    def webhooks(self) -> Mapping[str, ReceivesWebhooks]:
        found = super().webhooks()
        if self.unsubscribe_url is None:
            return found
        return {**found, "unsubscribe": Unsubscribing(self._secret)}

    # -- outbound -----------------------------------------------------------------------------

    @override
    def consent_purpose(self, event: RoomEvent, binding: ChannelBinding) -> str | None:
        said = event.metadata.get("purpose")
        return said if isinstance(said, str) and said else self.purpose

    @override
    async def deliver(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> ChannelOutput:
        learnt = await self._give_token(binding)
        output = await super().deliver(event, binding, context)
        result = output.provider_result
        if result is not None and result.success and not thread_of(binding.state).references:
            subject = _named(event, binding, "subject") or self.subject
            learnt = {**learnt, **begun_thread(_message_ids(result), subject)}
        return replace(output, binding_state=learnt) if learnt else output

    @override
    def hints(self, event: RoomEvent, binding: ChannelBinding, context: RoomContext) -> Mapping[str, Any]:
        thread = thread_of(binding.state)
        found: dict[str, Any] = {}
        if references := answering(thread, context.answered):
            found["references"] = references
        subject = thread.subject or self.subject
        if subject is not None and _named(event, binding, "subject") is None:
            found["subject"] = subject
        if self.reply_address is not None and _named(event, binding, "reply_to") is None:
            found["reply_to"] = plus_address(self.reply_address, self._token(binding.room_id))
        if self.unsubscribe_url is not None and binding.address:
            found["unsubscribe_url"] = self._link(event, binding, context.room.organization_id)
        return found

    def _link(self, event: RoomEvent, binding: ChannelBinding, organization_id: str | None) -> str:
        """Return where the recipient's consent to what is sent ends with one click."""
        purpose = self.consent_purpose(event, binding) or self.purpose
        link = UnsubscribeLink(binding.address or "", purpose, organization_id)
        token = unsubscribe_token(self._secret, self.channel_id, link)
        mark = "&" if "?" in (self.unsubscribe_url or "") else "?"
        return f"{self.unsubscribe_url}{mark}t={token}"

    def _token(self, room_id: str) -> str:
        return reply_token(self._secret, self.channel_id, room_id)

    async def _give_token(self, binding: ChannelBinding) -> Mapping[str, Any]:
        """Keep, before the room's address is first sent, which room it is; return what the binding learns."""
        if self.reply_address is None or self.services is None:
            return {}
        token = self._token(binding.room_id)
        if binding.state.get(_TOKEN) == token:
            return {}
        await self.services.values.of(None).put(
            _TOKEN, self.channel_id, token, data={"room_id": binding.room_id}, room_id=binding.room_id
        )
        return {_TOKEN: token}


def _checked_address(channel_id: str, address: str | None) -> str | None:
    """Return an address that a token can be put into. Raises InvalidInputError."""
    if address is not None and not _PLAIN_ADDRESS.fullmatch(address):
        raise InvalidInputError(
            f"reply_address of channel {channel_id!r} is {address[:80]!r}: give an address without a + whose "
            "local part has at most 37 characters, as 26 of a token are added"
        )
    return address


def _addresses(extra: Mapping[str, Any]) -> Iterable[str]:
    """Yield the addresses that a mail came to: those of the server first."""
    for name in ("envelope_to", "to"):
        said = extra.get(name)
        if isinstance(said, Sequence) and not isinstance(said, str):
            yield from (each for each in said if isinstance(each, str))


def _named(event: RoomEvent, binding: ChannelBinding, name: str) -> str | None:
    """Return a hint that an event or its binding names."""
    given = event.channel_data.extra.get(ChannelType.EMAIL)
    said = given.get(name) if isinstance(given, Mapping) else None
    named = binding.metadata.get(name) if said is None else said
    return named if isinstance(named, str) and named else None


def _message_ids(result: ProviderResult) -> Sequence[str]:
    """Return the Message-ID of a mail that was sent: the vendor's own id is none at some."""
    return [each for each in (*result.parts, result.provider_message_id or "") if each.startswith("<")][:1]
