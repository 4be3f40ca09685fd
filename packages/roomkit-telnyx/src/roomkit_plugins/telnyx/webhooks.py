"""Telnyx's webhooks: pure functions, without network.

https://developers.telnyx.com/docs/messaging/messages/receiving-webhooks, .../receiving-rcs-webhooks
(Nov 2026).
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import (
    ConsentContent,
    EventContent,
    LocationContent,
    MediaContent,
    TextContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ConsentState, EventType
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.telnyx.errors import ORIGIN
from roomkit_plugins.wire.plain_message import text_and_files

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = ["parse_telnyx_rcs_webhook", "parse_telnyx_webhook", "read_webhook"]

_RECEIVED = "message.received"
_RECEIPTS = frozenset({"message.sent", "message.finalized"})
_CONSENT = {"STOP": ConsentState.REVOKED, "START": ConsentState.GRANTED}
_UNKNOWN_TYPE = "application/octet-stream"


def read_webhook(payload: object, channel_id: str, reference: str | None = None) -> Sequence[WebhookPart]:
    """Return what a verified webhook says; `reference` is the key in its URL.

    Raises ValueError for what Telnyx does not send.
    """
    data = VendorPayload(ORIGIN.vendor, payload).inside("data")
    kind, said = data.needed("event_type"), data.inside("payload")
    if kind == _RECEIVED:
        return [_message(said, channel_id, data.raw)]
    if kind in _RECEIPTS:
        return _receipts(said, channel_id, data.raw, reference)
    return [UnparsedPart(channel_id=channel_id, reason=f"an event of Telnyx, {kind[:80]}", raw=data.raw)]


def parse_telnyx_webhook(
    payload: Mapping[str, Any], channel_id: str, *, strict: bool = True
) -> InboundMessage:
    """Return the message in the payload of a webhook that the caller has verified.

    Raises ValueError for anything but a message that came in; without `strict`, a payload whose event type
    or direction says otherwise is read as one.
    """
    data = VendorPayload(ORIGIN.vendor, payload).inside("data")
    said = data.inside("payload")
    if strict and (data.text("event_type") != _RECEIVED or said.text("direction") != "inbound"):
        raise ValueError(
            "the webhook is no message that came in: hand it to process_webhook, which takes every kind"
        )
    return _message(said, channel_id, data.raw)


def parse_telnyx_rcs_webhook(
    payload: Mapping[str, Any], channel_id: str, *, strict: bool = True
) -> InboundMessage:
    """Return the message of an RCS webhook, as `parse_telnyx_webhook` does: one envelope is for both."""
    return parse_telnyx_webhook(payload, channel_id, strict=strict)


# -- receipts -----------------------------------------------------------------------------------


def _receipts(
    said: VendorPayload, channel_id: str, raw: Mapping[str, Any], reference: str | None
) -> Sequence[WebhookPart]:
    """Return what became of the message for each recipient: the event's own name does not say it."""
    identity = said.needed("id")
    error = next(iter(said.several("errors")), None)
    code = error.text("code") if error is not None else ""
    words = (error.text("detail") or error.text("title")) if error is not None else ""
    recipients = [] if said.is_text("to") else said.several("to")
    if not recipients:
        raise said.wrong("to", "a list of recipients with their statuses")
    return [
        DeliveryStatus(
            provider=ORIGIN.provider,
            channel_id=channel_id,
            message_id=identity,
            status=each.needed("status"),
            reference=reference,
            recipient=each.text("phone_number"),
            sender=_address(said.inside("from")),
            error_code=code or None,
            error_message=words or None,
            raw=raw,
        )
        for each in recipients
    ]


# -- messages -----------------------------------------------------------------------------------


def _message(said: VendorPayload, channel_id: str, raw: Mapping[str, Any]) -> InboundMessage:
    sender, identity = said.inside("from").needed("phone_number"), said.needed("id")
    state = _CONSENT.get(said.text("autoresponse_type").upper())
    content, postback = _body(said) if said.text("type") == "RCS" else (_text_and_files(said), "")
    if state is not None:
        words = said.text("text")
        content = ConsentContent(
            address_type="phone", address=sender, state=state, source="vendor", body=words
        )
    return InboundMessage(
        channel_id=channel_id,
        sender_id=sender,
        content=content,
        event_type=EventType.MESSAGE if state is None else EventType.CONSENT,
        external_id=identity,
        provider_message_id=identity,
        idempotency_key=identity,
        raw_payload=raw,
        extra={"to": _recipient(said)},
        metadata={"postback": postback} if postback else {},
    )


def _recipient(said: VendorPayload) -> str:
    """Return the first of the numbers that a message was sent to; a group has several."""
    if said.is_text("to"):
        return said.text("to")
    return next((_address(each) for each in said.several("to")), "")


def _address(of: VendorPayload) -> str:
    return of.text("phone_number") or of.text("agent_id")


def _text_and_files(said: VendorPayload) -> EventContent:
    lines = filter(None, (said.text("subject"), said.text("text")))
    files = [
        MediaContent(
            url=each.needed("url"),
            mime_type=each.text("content_type") or _UNKNOWN_TYPE,
            size_bytes=each.integer("size"),
        )
        for each in said.several("media")
    ]
    return text_and_files("\n".join(lines), files)


def _body(said: VendorPayload) -> tuple[EventContent, str]:
    """Return what an RCS message says, and the data of the suggestion that was tapped."""
    body = said.inside("body")
    for name, read in _KINDS.items():
        if name in body:
            return read(body.inside(name)), ""
    if "suggestion_response" in body:
        tapped = body.inside("suggestion_response")
        return TextContent(body=tapped.text("text")), _decoded(tapped.text("postback_data"))
    return TextContent(body=body.text("text")), ""


def _user_file(found: VendorPayload) -> EventContent:
    file = found.inside("payload")
    return MediaContent(
        url=file.needed("file_uri"),
        mime_type=file.text("mime_type") or _UNKNOWN_TYPE,
        filename=file.text("file_name") or None,
        size_bytes=file.integer("file_size_bytes"),
    )


def _location(found: VendorPayload) -> EventContent:
    return LocationContent(latitude=found.number("latitude"), longitude=found.number("longitude"))


_KINDS: Mapping[str, Callable[[VendorPayload], EventContent]] = {
    "user_file": _user_file,
    "location": _location,
}


def _decoded(data: str) -> str:
    """Return a suggestion's data as it was given; as it came, if it is not base64 of a text."""
    try:
        return b64decode(data, validate=True).decode()
    except (Error, ValueError):
        return data
