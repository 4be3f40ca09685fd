"""Between RoomKit's records and the JSON of webhooks: pure functions, without network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pydantic_core import to_json

from roomkit.models.delivery import DeliveryStatus, InboundMessage
from roomkit.models.enums import EventType
from roomkit.models.event import RoomEvent
from roomkit_plugins.wire.reading import json_value, readable_webhook

__all__ = ["body_of", "header_text", "message_id_of", "parse_http_webhook", "read_webhook"]

VERSION = 1
_RECEIPT = "delivery_status"
_TYPES_OF_PEOPLE = frozenset({EventType.MESSAGE, EventType.EDIT, EventType.DELETE})
_TYPE_OF_CONTENT = {"edit": EventType.EDIT, "delete": EventType.DELETE}
_CONTENT_OF_THE_KIT = frozenset({"system", "consent", "unknown"})


# -- outbound -----------------------------------------------------------------------------------


def body_of(event: RoomEvent, to: str, idempotency_key: str | None) -> bytes:
    """Return the JSON that says an event; `channel_id` is the channel it came from."""
    source = event.source
    return to_json(
        {
            "version": VERSION,
            "event_id": event.id,
            "event_type": event.type,
            "created_at": event.created_at,
            "idempotency_key": idempotency_key,
            "recipient_id": to,
            "channel_id": source.channel_id,
            "room_id": event.room_id,
            "sender": source.participant_id,
            "thread_id": event.channel_data.thread_id,
            "content": event.content.model_dump(mode="json"),
            "metadata": event.metadata,
        }
    )


def header_text(text: str) -> str:
    """Return an id as a header can hold it: other than visible ASCII is percent-encoded."""
    return quote(text, safe="!\"#$&'()*+,/:;<=>?@[\\]^_`{|}~")


def message_id_of(body: bytes) -> str | None:
    """Return the `message_id` of an answer; None where it names none, or is no JSON object."""
    try:
        said = json_value(body)
    except ValueError:
        return None
    found = said.get("message_id") if isinstance(said, dict) else None
    if isinstance(found, int) and not isinstance(found, bool):
        return str(found)
    return found if isinstance(found, str) and found else None


# -- inbound ------------------------------------------------------------------------------------


def read_webhook(payload: object, channel_id: str, *, provider: str) -> InboundMessage | DeliveryStatus:
    """Return what a verified webhook says. Raises WebhookRejected for neither a message nor a receipt."""
    with readable_webhook("the other side"):
        if not isinstance(payload, Mapping):
            raise ValueError("it is no JSON object")
        is_receipt = payload.get("type") == _RECEIPT
        return _status(payload, channel_id, provider) if is_receipt else _message(payload, channel_id)


def parse_http_webhook(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    """Return the message of a JSON payload that the caller has verified.

        {"sender_id": "user-123", "body": "Hello!", "external_id": "msg-456", "metadata": {"lang": "en"}}

    Only `sender_id` is needed. `content` is any content model of RoomKit in place of `body`; `thread_id` and
    `event_type` are as in `InboundMessage`. `external_id` makes a redelivery recognisable. Raises
    WebhookRejected for a payload with wrong fields, ValueError for a receipt.
    """
    found = read_webhook(payload, channel_id, provider="")
    if isinstance(found, DeliveryStatus):
        raise ValueError(
            "the webhook is a receipt, not a message: hand it to process_webhook, which takes both"
        )
    return found


def _status(payload: Mapping[str, Any], channel_id: str, provider: str) -> DeliveryStatus:
    return DeliveryStatus(
        provider=provider,
        channel_id=channel_id,
        message_id=_needed(payload, "message_id"),
        status=_needed(payload, "status"),
        recipient=_text(payload, "recipient_id") or "",
        error_code=_text(payload, "error_code"),
        error_message=_text(payload, "error_message"),
        raw=payload,
    )


def _message(payload: Mapping[str, Any], channel_id: str) -> InboundMessage:
    identity = _text(payload, "external_id")
    content = _content(payload)
    return InboundMessage(
        channel_id=channel_id,
        sender_id=_needed(payload, "sender_id"),
        content=content,
        event_type=_event_type(payload, str(content["type"])),
        external_id=identity,
        provider_message_id=identity,
        idempotency_key=identity,
        thread_id=_text(payload, "thread_id"),
        raw_payload=payload,
        metadata=_object(payload, "metadata"),
    )


def _content(payload: Mapping[str, Any]) -> Any:
    """Return the content's fields, which the message checks; a text where only words are given."""
    content = _object(payload, "content")
    if not content:
        return {"type": "text", "body": _text(payload, "body") or ""}
    if _text(payload, "body"):
        raise ValueError("it has body and content: give one of them")
    kind = content.get("type")
    if not isinstance(kind, str) or kind in _CONTENT_OF_THE_KIT:
        raise ValueError("content.type is none that the other side can say")
    return content


def _event_type(payload: Mapping[str, Any], kind: str) -> EventType:
    """Return the type that is given, else the content's. Those that only the kit makes are refused."""
    said = _text(payload, "event_type")
    found = EventType(said) if said else _TYPE_OF_CONTENT.get(kind, EventType.MESSAGE)
    if found in EventType.__members__.values() and found not in _TYPES_OF_PEOPLE:
        raise ValueError("event_type is none that the other side can say")
    return found


def _object(payload: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = payload.get(name)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ValueError(f"{name} is no JSON object")
    return value


def _text(payload: Mapping[str, Any], name: str) -> str | None:
    value = payload.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _needed(payload: Mapping[str, Any], name: str) -> str:
    value = _text(payload, name)
    if not value:
        raise KeyError(name)
    return value
