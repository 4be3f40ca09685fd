"""The JSON that messages come as, unless a source has a parser: pure functions, without network.

{"sender_id": "user-1", "text": "Hello", "external_id": "m-1", "metadata": {"lang": "en"}}
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from roomkit.models.content import TextContent
from roomkit.models.delivery import InboundMessage
from roomkit_plugins.wire.reading import json_value

__all__ = ["parse_event", "parse_message"]

_EVENTS = frozenset({"", "message", "msg", "chat"})


def parse_message(raw: str | bytes, channel_id: str) -> InboundMessage:
    """Return the message of a JSON object. Raises ValueError for anything else."""
    payload = json_value(raw)
    if not isinstance(payload, Mapping):
        raise ValueError("it is no JSON object")
    identity = _text(payload, "external_id")
    metadata = payload.get("metadata")
    if metadata is not None and not isinstance(metadata, Mapping):
        raise ValueError("metadata is no JSON object")
    sender = _text(payload, "sender_id")
    if not sender:
        raise ValueError("sender_id is missing")
    return InboundMessage(
        channel_id=channel_id,
        sender_id=sender,
        content=TextContent(body=_text(payload, "text") or ""),
        external_id=identity,
        idempotency_key=identity,
        raw_payload=payload,
        metadata=metadata or {},
    )


def parse_event(event: str, data: str, channel_id: str) -> InboundMessage | None:
    """Return the message of a server-sent event; None for events of other names, which are not for rooms."""
    return parse_message(data, channel_id) if event in _EVENTS else None


def _text(payload: Mapping[str, Any], name: str) -> str | None:
    value = payload.get(name)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value
