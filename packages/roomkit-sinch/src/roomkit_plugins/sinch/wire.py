"""Between RoomKit's records and Sinch's JSON: pure functions, without network.

https://developers.sinch.com/docs/sms/api-reference (Nov 2026).
"""

from __future__ import annotations

from base64 import b64decode
from binascii import Error
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from roomkit.authoring.addresses import international
from roomkit.authoring.payload import VendorPayload
from roomkit.models.content import EventContent, MediaContent, SystemContent, TextContent
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.webhook import UnparsedPart
from roomkit_plugins.sinch.errors import ORIGIN
from roomkit_plugins.wire.plain_message import PlainMessage, text_and_files

if TYPE_CHECKING:
    from roomkit.abc.provider import WebhookPart

__all__ = ["body_of", "parse_sinch_webhook", "read_webhook"]

_UNKNOWN_TYPE = "application/octet-stream"
_ON_THE_WAY = frozenset({"", "0", "400", "401"})
"""Codes of a report that are no failure: delivered, queued, dispatched."""


# -- outbound -----------------------------------------------------------------------------------


def body_of(message: PlainMessage) -> dict[str, Any]:
    """Return what a batch says: a text, or a file and perhaps a text."""
    if not message.urls:
        return {"type": "mt_text", "body": message.text}
    said = {"message": message.text} if message.text else {}
    return {"type": "mt_media", "body": {"url": message.urls[0], **said}}


# -- inbound ------------------------------------------------------------------------------------


def read_webhook(payload: object, channel_id: str) -> Sequence[WebhookPart]:
    """Return what a verified callback says. Raises ValueError for what Sinch does not send."""
    said = VendorPayload(ORIGIN.vendor, payload)
    kind = said.needed("type")
    if kind.startswith("recipient_delivery_report"):
        return [_status(said, said, channel_id, said.text("recipient"))]
    if kind.startswith("delivery_report"):
        return _statuses(said, channel_id)
    if kind.startswith("mo_"):
        return [_message(said, kind, channel_id)]
    return [UnparsedPart(channel_id=channel_id, reason=f"a callback of Sinch, {kind[:80]}", raw=said.raw)]


def parse_sinch_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message in the payload of a callback that the caller has verified.

    Raises ValueError for anything else.
    """
    found = read_webhook(payload, channel_id)
    if len(found) != 1 or not isinstance(found[0], InboundMessage):
        raise ValueError("the callback is no message: hand it to process_webhook, which takes every kind")
    return found[0]


def _statuses(said: VendorPayload, channel_id: str) -> Sequence[DeliveryStatus]:
    """Return the receipts of a batch, which has one recipient here; a summary does not name it."""
    found = said.several("statuses")
    if not found:
        raise said.wrong("statuses", "a list of statuses")
    return [_status(said, each, channel_id, _first(each)) for each in found]


def _first(report: VendorPayload) -> str:
    recipients = report.raw.get("recipients")
    first = recipients[0] if isinstance(recipients, list) and recipients else ""
    return first if isinstance(first, str) else ""


def _status(said: VendorPayload, report: VendorPayload, channel_id: str, recipient: str) -> DeliveryStatus:
    code = report.text("code")
    return DeliveryStatus(
        provider=ORIGIN.provider,
        channel_id=channel_id,
        message_id=said.needed("batch_id"),
        status=report.needed("status"),
        reference=said.text("client_reference") or None,
        recipient=international(recipient),
        sender=said.text("applied_originator"),
        error_code=None if code in _ON_THE_WAY else code,
        raw=said.raw,
    )


def _message(said: VendorPayload, kind: str, channel_id: str) -> InboundMessage:
    identity = said.needed("id")
    return InboundMessage(
        channel_id=channel_id,
        sender_id=international(said.needed("from")),
        content=_content(said, kind),
        external_id=identity,
        provider_message_id=identity,
        idempotency_key=identity,
        raw_payload=said.raw,
        extra={"to": international(said.text("to"))},
    )


def _content(said: VendorPayload, kind: str) -> EventContent:
    match kind:
        case "mo_text":
            return TextContent(body=said.text("body"))
        case "mo_binary":
            return _octets(said)
        case "mo_media":
            return _text_and_files(said.inside("body"))
        case _:
            return SystemContent(body=f"A message of an unknown kind, {kind[:40]}", code="unparsed")


def _octets(said: VendorPayload) -> MediaContent:
    """Return a binary message as a file; its header is in the raw payload."""
    body = said.text("body")
    try:
        size = len(b64decode(body, validate=True))
    except (Error, ValueError) as error:
        raise said.wrong("body", "base64") from error
    url = f"data:{_UNKNOWN_TYPE};base64,{body}"
    return MediaContent(url=url, mime_type=_UNKNOWN_TYPE, size_bytes=size)


def _text_and_files(body: VendorPayload) -> EventContent:
    """Return text and files; a file that Sinch could not keep is said to be missing."""
    lines = "\n".join(filter(None, (body.text("subject"), body.text("message"))))
    return text_and_files(lines, [_file(each) for each in body.several("media")])


def _file(said: VendorPayload) -> EventContent:
    mime_type = said.text("content_type") or _UNKNOWN_TYPE
    if "url" in said:
        return MediaContent(url=said.needed("url"), mime_type=mime_type)
    return SystemContent(body=f"A file ({mime_type}) did not arrive", code="missing_file")
