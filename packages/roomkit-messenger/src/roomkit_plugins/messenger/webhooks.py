"""Messenger's webhooks: pure functions, without network.

https://developers.facebook.com/documentation/business-messaging/messenger-platform/webhooks (2026).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import EditContent, EventContent, SystemContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage, ReceiptWatermark
from roomkit.models.enums import EventType, ReceiptState
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.messenger.attachments import content_of
from roomkit_plugins.messenger.errors import ORIGIN

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = ["parse_messenger_webhook", "read_webhook"]

_LONGEST_REASON = 300


@dataclass(frozen=True, slots=True)
class _Event:
    """One event of a page: what it says, whose it is, and all of it."""

    said: VendorPayload
    channel_id: str
    page_id: str

    @property
    def sender(self) -> str:
        """The page-scoped id of the person. Raises ValueError without one."""
        return self.said.inside("sender").needed("id")

    def message(self, content: EventContent, identity: str, **fields: Any) -> InboundMessage:
        """Return a message of the person's; `identity` is the vendor's id, or what makes it recognisable."""
        return InboundMessage(
            channel_id=self.channel_id,
            sender_id=self.sender,
            content=content,
            idempotency_key=identity,
            raw_payload=self.said.raw,
            **{"extra": {"page_id": self.page_id}, **fields},
        )

    def unparsed(self, reason: str) -> UnparsedPart:
        return UnparsedPart(channel_id=self.channel_id, reason=reason[:_LONGEST_REASON], raw=self.said.raw)


def read_webhook(payload: object, channel_id: str, page_id: str | None = None) -> Sequence[WebhookPart]:
    """Return what a verified webhook says. Raises ValueError for what Messenger does not send.

    One request holds any number of events. What is wrong with one is said of that one: the others are taken.
    """
    said = VendorPayload(ORIGIN.vendor, payload)
    if said.needed("object") != "page":
        raise said.wrong("object", "page")
    return [part for entry in said.several("entry") for part in _entry_parts(entry, channel_id, page_id)]


def parse_messenger_webhook(payload: Mapping[str, Any], channel_id: str) -> list[InboundMessage]:
    """Return the messages in the payload of a webhook that the caller has verified, in order.

    Only what people say and do is returned: hand the request to `process_webhook` for receipts and all else.
    Raises ValueError for a payload that is not Messenger's.
    """
    return [each for each in read_webhook(payload, channel_id) if isinstance(each, InboundMessage)]


def _entry_parts(entry: VendorPayload, channel_id: str, page_id: str | None) -> Iterator[WebhookPart]:
    page = entry.text("id")
    for item in entry.several("messaging"):
        event = _Event(item, channel_id, page)
        if page_id is not None and page != page_id:
            yield event.unparsed(f"an event of another page, {page[:40]}")
        else:
            yield from _parts(event)
    for item in entry.several("standby"):
        yield _Event(item, channel_id, page).unparsed("another app has the conversation (standby)")
    for item in entry.several("changes"):
        yield _Event(item, channel_id, page).unparsed(f"a notice on the page: {item.text('field')[:80]}")


def _parts(event: _Event) -> Sequence[WebhookPart]:
    kind = next((name for name in _KINDS if name in event.said), None)
    if kind is None:
        known = {"sender", "recipient", "timestamp"}
        named = ", ".join(sorted(set(map(str, event.said.raw)) - known)) or "nothing"
        return [event.unparsed(f"an event of Messenger: {named[:200]}")]
    try:
        return _KINDS[kind](event, event.said.inside(kind))
    except ValueError as error:
        return [event.unparsed(f"a {kind} that cannot be read: {error}")]


# -- what people say ----------------------------------------------------------------------------


def _message(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    if said.raw.get("is_echo") is True:
        return [event.unparsed("an echo of what the page sent: message_echoes need not be subscribed to")]
    identity = said.needed("mid")
    payload = said.inside("quick_reply").text("payload")
    answered = said.inside("reply_to").text("mid")
    return [
        event.message(
            content_of(said),
            identity,
            external_id=identity,
            provider_message_id=identity,
            in_reply_to=tuple(filter(None, [answered])),
            metadata={"postback": payload} if payload else {},
        )
    ]


def _postback(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    """A button was tapped, or the conversation was begun by one."""
    identity = said.text("mid") or f"postback:{event.sender}:{event.said.text('timestamp')}"
    referral = dict(said.inside("referral").raw)
    return [
        event.message(
            TextContent(body=said.text("title") or said.text("payload")),
            identity,
            external_id=said.text("mid") or None,
            provider_message_id=said.text("mid") or None,
            metadata={
                **({"postback": said.text("payload")} if said.text("payload") else {}),
                **({"referral": referral} if referral else {}),
            },
        )
    ]


def _edit(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    original = said.needed("mid")
    content = EditContent(target_event_id=original, new_content=TextContent(body=said.text("text")))
    identity = f"edit:{original}:{said.text('num_edit') or event.said.text('timestamp')}"
    return [event.message(content, identity, event_type=EventType.EDIT, in_reply_to=(original,))]


def _reaction(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    original, is_put = said.needed("mid"), said.text("action") != "unreact"
    emoji = said.text("emoji") or said.text("reaction")
    identity = f"reaction:{original}:{event.sender}:{event.said.text('timestamp')}"
    return [
        event.message(
            TextContent(body=emoji if is_put else ""),
            identity,
            event_type=EventType.REACTION,
            in_reply_to=(original,),
            metadata={"emoji": emoji if is_put else "", "action": "add" if is_put else "remove"},
        )
    ]


def _arrival(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    """A person came by a link or an advertisement, or agreed to be written to."""
    kind = "referral" if "referral" in event.said else "optin"
    ref = said.text("ref") or said.text("type")
    content = SystemContent(
        body=f"Came to Messenger by {kind}" + (f": {ref}" if ref else ""),
        code=f"messenger.{kind}",
        data={
            name: value
            for name in ("ref", "source", "type", "ad_id", "title", "payload")
            if isinstance(value := said.raw.get(name), str)
        },
    )
    identity = f"{kind}:{event.sender}:{event.said.text('timestamp')}"
    return [event.message(content, identity, event_type=EventType.SYSTEM)]


# -- receipts -----------------------------------------------------------------------------------


def _delivery(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    """By the ids where they are there; a watermark is of everything before it."""
    ids = said.raw.get("mids")
    if not isinstance(ids, list | tuple) or not ids:
        return [_watermark(event, said, ReceiptState.DELIVERED)]
    return [
        DeliveryStatus(
            provider=ORIGIN.provider,
            channel_id=event.channel_id,
            message_id=str(each),
            status=ReceiptState.DELIVERED.value,
            recipient=event.sender,
            timestamp=_time(said.integer("watermark")),
            raw=event.said.raw,
        )
        for each in ids
    ]


def _read(event: _Event, said: VendorPayload) -> Sequence[WebhookPart]:
    return [_watermark(event, said, ReceiptState.READ)]


def _watermark(event: _Event, said: VendorPayload, state: ReceiptState) -> ReceiptWatermark:
    at = _time(said.integer("watermark"))
    if at is None:
        raise said.wrong("watermark", "a time in milliseconds")
    return ReceiptWatermark(
        provider=ORIGIN.provider,
        channel_id=event.channel_id,
        recipient=event.sender,
        status=state.value,
        at=at,
        raw=event.said.raw,
    )


def _time(milliseconds: int | None) -> datetime | None:
    try:
        return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        return None


_KINDS: Mapping[str, Callable[[_Event, VendorPayload], Sequence[WebhookPart]]] = {
    "message": _message,
    "message_edit": _edit,
    "postback": _postback,
    "reaction": _reaction,
    "delivery": _delivery,
    "read": _read,
    "referral": _arrival,
    "optin": _arrival,
}
