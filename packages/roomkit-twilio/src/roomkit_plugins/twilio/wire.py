"""Between RoomKit's records and Twilio's parameters: pure functions, without network or SDK.

Outbound: https://www.twilio.com/docs/messaging/api/message-resource; inbound and receipts:
https://www.twilio.com/docs/messaging/guides/webhook-request, .../outbound-message-status-in-status-callbacks
(Nov 2026).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from roomkit.abc.errors import ErrorCode, ProviderError
from roomkit.models.content import (
    ConsentContent,
    EventContent,
    LocationContent,
    MediaContent,
    TemplateContent,
)
from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import ConsentState, EventType, ReceiptState
from roomkit_plugins.twilio.errors import ORIGIN
from roomkit_plugins.twilio.signature import Form
from roomkit_plugins.wire.plain_message import plain_message, text_and_files
from roomkit_plugins.wire.reading import readable_webhook

__all__ = [
    "address_of",
    "content_parameters",
    "parse_twilio_rcs_webhook",
    "parse_twilio_webhook",
    "read_webhook",
]

LONGEST = 1600
"""UTF-16 code units of a `Body`."""
MOST_MEDIA = 10
_INBOUND = frozenset({"received", "receiving"})
_CONSENT = {"STOP": ConsentState.REVOKED, "START": ConsentState.GRANTED}
_PREFIXES = ("rcs:",)
_TEMPLATE = "HX"


# -- outbound -----------------------------------------------------------------------------------


def content_parameters(content: EventContent) -> dict[str, Any]:
    """Return what a message says, by the SDK's names. Raises ProviderError for what Twilio cannot carry."""
    if isinstance(content, TemplateContent):
        return _template(content)
    message = plain_message(content, ORIGIN, longest=LONGEST, most_files=MOST_MEDIA)
    body, urls = message.text, message.urls
    return {**({"body": body} if body else {}), **({"media_url": list(urls)} if urls else {})}


def _template(content: TemplateContent) -> dict[str, Any]:
    if not content.template_id.startswith(_TEMPLATE):
        raise _unsupported(
            f"the template {content.template_id[:40]!r}: give the id of a content template, HX..."
        )
    variables = {"content_variables": json.dumps(content.parameters)} if content.parameters else {}
    return {"content_sid": content.template_id, **variables}


def _unsupported(what: str) -> ProviderError:
    return ORIGIN.refused(f"Twilio cannot carry {what}", error_code=ErrorCode.UNSUPPORTED_CONTENT)


# -- inbound ------------------------------------------------------------------------------------


def read_webhook(
    form: Form, channel_id: str, reference: str | None = None
) -> InboundMessage | DeliveryStatus:
    """Return what a verified webhook says; `reference` is the key in its URL.

    Raises WebhookRejected for neither a message nor a receipt.
    """
    with readable_webhook(ORIGIN.vendor):
        return _status(form, channel_id, reference) if _is_receipt(form) else _message(form, channel_id)


def parse_twilio_webhook(payload: Mapping[str, str], channel_id: str) -> InboundMessage:
    """Return the message in the form of a webhook that the caller has verified.

    Raises ValueError for a receipt, and WebhookRejected for what Twilio does not send.
    """
    found = read_webhook(payload, channel_id)
    if isinstance(found, DeliveryStatus):
        raise ValueError(
            "the webhook is a receipt, not a message: hand it to process_webhook, which takes both"
        )
    return found


def parse_twilio_rcs_webhook(payload: Mapping[str, str], channel_id: str) -> InboundMessage:
    """Return the message of an RCS webhook, as `parse_twilio_webhook` does: Twilio has one form for both."""
    return parse_twilio_webhook(payload, channel_id)


def address_of(address: str) -> str:
    """Return a telephone number without the channel that Twilio puts before it."""
    for prefix in _PREFIXES:
        address = address.removeprefix(prefix)
    return address


def _is_receipt(form: Form) -> bool:
    status = form.get("MessageStatus")
    return status is not None and status not in _INBOUND


def _status(form: Form, channel_id: str, reference: str | None) -> DeliveryStatus:
    word = ReceiptState.READ if form.get("EventType") == "READ" else form["MessageStatus"]
    return DeliveryStatus(
        provider=ORIGIN.provider,
        channel_id=channel_id,
        message_id=_id(form),
        status=word,
        reference=reference,
        recipient=address_of(form.get("To", "")),
        sender=address_of(form.get("From", "")),
        error_code=form.get("ErrorCode") or None,
        error_message=form.get("ChannelStatusMessage") or None,
        raw=dict(form),
    )


def _message(form: Form, channel_id: str) -> InboundMessage:
    sender, recipient = address_of(_needed(form, "From")), address_of(_needed(form, "To"))
    identity = _id(form)
    answered = form.get("OriginalRepliedMessageSid")
    payload = form.get("ButtonPayload")
    state = _CONSENT.get(form.get("OptOutType", ""))
    content = _content(form) if state is None else _consent(sender, state, form)
    return InboundMessage(
        channel_id=channel_id,
        sender_id=sender,
        content=content,
        event_type=EventType.MESSAGE if state is None else EventType.CONSENT,
        external_id=identity,
        provider_message_id=identity,
        idempotency_key=identity,
        in_reply_to=(answered,) if answered else (),
        raw_payload=dict(form),
        extra={"to": recipient},
        metadata={"postback": payload} if payload else {},
    )


def _content(form: Form) -> EventContent:
    """Return what a message says; several things are several parts."""
    body = form.get("Body") or form.get("ButtonText") or ""
    files = [_file(form, number) for number in range(_count(form))]
    place = _place(form)
    return text_and_files(body, [*([place] if place is not None else []), *files])


def _count(form: Form) -> int:
    count = form.get("NumMedia", "0")
    if not (count.isascii() and count.isdigit() and len(count) <= 2):
        raise ValueError("NumMedia is not a number")
    return int(count)


def _file(form: Form, number: int) -> MediaContent:
    mime_type = form.get(f"MediaContentType{number}") or "application/octet-stream"
    return MediaContent(url=_needed(form, f"MediaUrl{number}"), mime_type=mime_type)


def _place(form: Form) -> LocationContent | None:
    if not (form.get("Latitude") and form.get("Longitude")):
        return None
    return LocationContent(
        latitude=float(form["Latitude"]),
        longitude=float(form["Longitude"]),
        label=form.get("Label") or None,
        address=form.get("Address") or None,
    )


def _consent(sender: str, state: ConsentState, form: Form) -> ConsentContent:
    return ConsentContent(
        address_type="phone", address=sender, state=state, source="vendor", body=form.get("Body", "")
    )


def _id(form: Form) -> str:
    return form.get("MessageSid") or _needed(form, "SmsSid")


def _needed(form: Form, name: str) -> str:
    value = form.get(name)
    if not value:
        raise KeyError(name)
    return value
