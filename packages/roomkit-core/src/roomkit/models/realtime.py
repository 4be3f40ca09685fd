"""Signals that are seen once and never stored."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Self

from pydantic import Field

from roomkit.models.base import EMPTY, Json, Record, new_id, utcnow
from roomkit.models.enums import EphemeralEventType
from roomkit.models.values import Key, Reference

__all__ = ["EphemeralEvent", "InboundSignal"]


class EphemeralEvent(Record):
    """Typing, presence, a read mark, a reaction, an agent's tool call or thinking.

    `visibility` is in the vocabulary of events: a subscriber that names itself sees what it may.
    """

    room_id: Key
    type: EphemeralEventType
    user_id: Key
    id: Key = Field(default_factory=new_id)
    channel_id: Key | None = None
    visibility: Reference = "all"
    data: Json = EMPTY
    timestamp: datetime = Field(default_factory=utcnow)

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return self.model_dump(mode="json")

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the event of a JSON form; raises pydantic.ValidationError when it is none.

        Messages from another worker are read by `from_stored`, which accepts fields that a newer one added.
        """
        return cls.model_validate(data)


class InboundSignal(Record):
    """A signal from outside, before it belongs to a room: that a person types, or is online.

    It is shown in the open room where a message of that sender would go, as said by their participant, and
    dropped where there is none: a signal opens no room, and attaches nothing. `sender_id`, `conversation` and
    `thread_id` are those of an `InboundMessage`. That a person read what was sent to them is a
    `DeliveryStatus` or a `ReceiptWatermark`; a reaction is an `InboundMessage`.
    """

    channel_id: Key
    sender_id: Key
    type: EphemeralEventType
    conversation: Key | None = None
    thread_id: Key | None = None
    data: Json = EMPTY
